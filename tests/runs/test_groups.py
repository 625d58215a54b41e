"""A run whose rows belong together: its intervals, and those of what is measured with it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import encore
from encore.evaluation.estimates import estimate_metrics
from encore.evaluation.paired import paired_differences
from encore.report.write import write_report
from encore.runs.folder import RunResult, read_predictions

WORDS = {"good": ["good film", "a fine story"], "bad": ["bad film", "a dull story"]}


def write(file: Path, n_authors: int, header: tuple[str, ...] = ("text", "label", "author")) -> str:
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        for author in range(n_authors):
            for post in range(4):
                label = "good" if author % 2 else "bad"
                said = label if author % 3 else "good" if label == "bad" else "bad"
                text = f"{WORDS[said][post % 2]} {author} {post}"
                writer.writerow([text, label, f"author {author}"][: len(header)])
    return str(file)


@pytest.fixture(scope="module")
def runs(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    folder = tmp_path_factory.mktemp("groups")
    data = {"train": write(folder / "posts.csv", 24), "group": "author", "dev_frac": 0.4}
    recipe: dict[str, Any] = {
        "encoder": str(tiny_encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "tasks": {"posts": {"data": data}},
        "plan": {"epochs": 1, "lr": 1e-2, "batch_size": 16},
    }
    other = recipe | {"plan": {"epochs": 1, "lr": 1e-4, "batch_size": 16}}
    return {
        name: encore.fit(each, runs=folder / "runs")
        for name, each in (("one", recipe), ("other", other))
    }


def test_the_groups_are_kept_and_the_intervals_draw_them(runs: dict[str, RunResult]) -> None:
    run = runs["one"]
    stored = read_predictions(run.folder, "posts", "dev", run.epoch)
    assert stored.groups is not None
    labels = encore.load(run.folder).task("posts").labels
    given = (stored.scores, stored.targets, labels, ["accuracy", "f1"], 42)
    kept = run.metrics["posts"]["dev"]["model"]
    assert kept == estimate_metrics(*given, groups=stored.groups)
    assert kept != estimate_metrics(*given)
    table = pq.read_table(run.folder / f"predictions/posts/dev-{run.epoch}.parquet")
    counts = np.unique(table["group"].to_pylist(), return_counts=True)[1]
    assert set(counts.tolist()) == {4}
    assert any("intervals draw the" in note for note in run.note_lines)


def test_a_file_is_measured_by_its_groups(runs: dict[str, RunResult], tmp_path: Path) -> None:
    rows = write(tmp_path / "new.csv", 12)
    found = encore.evaluate(runs["one"].folder, rows, compare=runs["other"].folder)
    groups = np.repeat(np.arange(12), 4)
    labels = found.task.labels
    assert found.estimates == estimate_metrics(
        found.scores, found.targets, labels, ["accuracy", "f1"], 42, groups=groups
    )
    assert found.other is not None
    assert found.other.differences == paired_differences(
        found.scores,
        found.other.scores,
        found.targets,
        labels,
        ["accuracy", "f1"],
        42,
        groups=groups,
    )
    assert any("intervals draw the 12 groups of 'author'" in note for note in found.notes)


def test_a_file_that_does_not_name_its_groups_is_measured_by_rows(
    runs: dict[str, RunResult], tmp_path: Path
) -> None:
    rows = write(tmp_path / "new.csv", 12, ("text", "label"))
    found = encore.evaluate(runs["one"].folder, rows)
    assert found.estimates == estimate_metrics(
        found.scores, found.targets, found.task.labels, ["accuracy", "f1"], 42
    )
    assert any(
        "no column 'author' in " in note and "each row as independent" in note
        for note in found.notes
    )


def test_footnotes_say_that_groups_are_drawn(runs: dict[str, RunResult], tmp_path: Path) -> None:
    """In the tables of evaluate and of a decision, and in the report."""
    rows = write(tmp_path / "new.csv", 9)
    run = tmp_path / "run"
    shutil.copytree(runs["one"].folder, run)
    encore.calibrate(run, abstain=0.5)

    def footnotes(file: str) -> list[str]:
        tables = encore.evaluate(run, file).tables()
        return [each for one in tables for each in one.notes if each.startswith("[low, high]")]

    assert [" over the groups" in each for each in footnotes(rows)] == [True, True]
    no_authors = write(tmp_path / "none.csv", 9, ("text", "label"))
    assert [" over the rows" in each for each in footnotes(no_authors)] == [True, True]
    page = write_report(run).html.read_text()
    assert "interval over the groups of the dev set" in page
    assert "Bar: its 95 % bootstrap interval over the groups." in page
    assert "interval over the groups. Metrics count" in page
