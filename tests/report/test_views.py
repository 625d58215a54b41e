"""Views of whole studies: pairs by the words that they share, ordered classes by distance, score
against cost, and all tasks by epoch. Each number is computed again from the files of the runs.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Warm, sentences, write_csv
from report.reading import Element, csv_of, parsed
from safetensors import safe_open

import encore
from encore import catalogue, files
from encore.report import figures
from encore.report.write import write_report
from encore.runs.folder import read_predictions

RECIPE = """\
encoder: {encoder}
precision: fp32
max_length: 32
data: {{train: {folder}/train.csv, dev: {folder}/dev.csv, text: text}}
tasks:
  stars: {{data: {{label: stars}}}}
  same: {{data: {{text_pair: other, label: same}}}}
  close: {{data: {{text_pair: other, label: close}}}}
pooling: mean
plan: {{epochs: 3, lr: 1e-2, batch_size: 13}}
seeds: [1, 2, 3]
variants:
  attention: {{pooling: attention}}
"""
N_DEV = 66


@dataclass(frozen=True)
class Compared:
    folder: Path
    page: Element
    results: Any
    dev: Path

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.dev.open(encoding="utf-8", newline="")))

    def runs(self, variant: str) -> list[Path]:
        cells = files.read_json(self.folder / "cells.json")["cells"]
        return [self.folder.parent / one["run"] for one in cells if one["variant"] == variant]

    def epochs(self, variant: str) -> list[list[dict[str, Any]]]:
        """The lines of metrics.jsonl of each run."""
        return [
            [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            for run in self.runs(variant)
        ]


def pairs(n_rows: int, seed: int) -> dict[str, list[Any]]:
    """Texts with a second one that has some of their words; `same`: more than half of them."""
    texts, balance = sentences(n_rows, seed)
    draw, others, shares = np.random.default_rng(seed), [], []
    for text, new in zip(texts, sentences(n_rows, seed + 5)[0], strict=True):
        words = text.split()
        kept = words[: draw.integers(0, len(words) + 1)]
        others.append(" ".join([*kept, *new.split()[: len(words) - len(kept)]]))
        shares.append(len(kept) / len(words))
    return {
        "text": texts,
        "other": others,
        "stars": [value + 3 for value in balance],
        "same": ["yes" if share > 0.5 else "no" for share in shares],
        "close": [round(5 * share, 2) for share in shares],
    }


@pytest.fixture(scope="module")
def compared(warm: Warm, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    place = tmp_path_factory.mktemp("views")
    write_csv(place / "train.csv", pairs(52, 1))
    dev = write_csv(place / "dev.csv", pairs(N_DEV, 2))
    recipe = place / "views.yaml"
    recipe.write_text(RECIPE.format(encoder=tiny_encoder, folder=place), encoding="utf-8")
    done = warm.run(["compare", recipe, "--runs", place / "runs", "--keep-models", "--quiet"])
    assert done.code == 0, done.err
    (folder,) = (place / "runs").glob("compare-*")
    page = parsed(write_report(folder).html.read_text(encoding="utf-8"))
    return Compared(folder, page, files.read_json(folder / "results.json"), dev)


def overlaps(rows: list[dict[str, str]]) -> list[int]:
    """In whole percent, by a loop over words."""
    found = []
    for row in rows:
        one, other = row["text"].lower().split(), row["other"].lower().split()
        words = sorted({*one, *other})
        found.append(round(100 * sum(word in one and word in other for word in words) / len(words)))
    return found


def thirds(rows: list[dict[str, str]], names: list[str]) -> dict[str, list[int]]:
    """The rows of each bin, by its name."""
    shared = overlaps(rows)
    spans = {name: (int(name.split("–")[0]), int(name.split("–")[-1])) for name in names}
    return {
        name: [row for row, value in enumerate(shared) if low <= value <= high]
        for name, (low, high) in spans.items()
    }


def test_pairs_by_word_overlap(compared: Compared) -> None:
    for task, metric in (("same", "accuracy"), ("close", "pearson")):
        found = csv_of(compared.page, f"overlap-stars-same-close-{task}-dev")
        names = list(dict.fromkeys(line["word_overlap_percent"] for line in found))
        of_bin = thirds(compared.rows, names)
        assert len(names) == 3
        assert sum(map(len, of_bin.values())) == N_DEV
        assert all(15 < len(rows) < 29 for rows in of_bin.values())
        for line in found:
            at = of_bin[line["word_overlap_percent"]]
            values = []
            for run in compared.runs(line["group"]):
                one = read_predictions(run, task, "dev", 3)
                if task == "same":
                    values.append(np.mean(one.scores.argmax(axis=1)[at] == one.targets[at]))
                else:
                    values.append(np.corrcoef(one.scores[at, 0], one.targets[at])[0, 1])
            assert int(line["rows"]) == len(at)
            told = [float(line[key]) for key in (metric, "low", "high")]
            assert told == pytest.approx([np.mean(values), min(values), max(values)], rel=1e-5)
    assert "overlap-stars-same-close-stars-dev" not in names_of(compared.page), (
        "its texts are no pairs"
    )


def names_of(page: Element) -> list[str]:
    return [figure.attributes["id"] for figure in page.all("figure")]


def test_ordered_classes_by_distance(compared: Compared) -> None:
    (table,) = [
        one
        for one in compared.page.all("table")
        if one.attributes.get("aria-label") == "Distance from the true class, in %"
    ]
    heads = [cell.text for cell in table.one("thead").all("th")]
    assert heads == ["variant", "seeds", "exact", *(f"off by {n}" for n in (1, 2, 3, 4))]
    for line in table.one("tbody").all("tr"):
        variant, seeds, *shares = (cell.text for cell in line.all("th", "td"))
        assert seeds == "3"
        counts: Counter[int] = Counter()
        for run in compared.runs(variant):
            one = read_predictions(run, "stars", "dev", 3)
            for scores, truth in zip(one.scores.tolist(), one.targets.tolist(), strict=True):
                counts[abs(scores.index(max(scores)) - truth)] += 1
        expected = [f"{100 * counts[distance] / (3 * N_DEV):.1f} %" for distance in range(5)]
        assert [share.partition(" [")[0] for share in shares] == expected
        assert all(re.fullmatch(r"[\d.]+ % \[[\d.]+, [\d.]+\]", share) for share in shares)


def test_a_score_stands_against_the_parameters_and_minutes_of_its_runs(compared: Compared) -> None:
    for study in compared.results["studies"]:
        metric = study["metrics"][0]
        found = csv_of(compared.page, f"cost-stars-same-close-{study['task']}-dev")
        assert [line["variant"] for line in found] == ["baseline", "attention"]
        for line, row in zip(found, metric["variants"], strict=True):
            assert float(line[metric["metric"]]) == pytest.approx(row["mean"])
            assert float(line["low"]) <= row["mean"] <= float(line["high"])
            runs = compared.runs(line["variant"])
            seconds = [files.read_json(run / "cost.json")["seconds"] for run in runs]
            minutes = [float(line[key]) for key in ("minutes", "shortest", "longest")]
            told = [np.mean(seconds) / 60, min(seconds) / 60, max(seconds) / 60]
            assert minutes == pytest.approx(told)
            with safe_open(runs[0] / "model" / "weights.safetensors", "np") as weights:
                sizes = [weights.get_tensor(name).size for name in weights.keys()]  # noqa: SIM118
            assert int(line["parameters"]) == sum(sizes)
        assert found[0]["parameters"] != found[1]["parameters"]


def test_all_tasks_by_epoch(compared: Compared) -> None:
    found = csv_of(compared.page, "epochs")
    assert len(found) == 3 * 2 * 3
    metrics = {"stars": "accuracy", "same": "accuracy", "close": "pearson"}
    for line in found:
        task, at = line["task"], int(line["epoch"]) - 1
        epochs = [records[at] for records in compared.epochs(line["variant"])]
        assert (line["metric"], line["seeds"]) == (metrics[task], "3")
        for key, values in (
            ("train_loss", [one["train"][task]["loss"] for one in epochs]),
            ("dev_loss", [one["dev_loss"][task]["dev"] for one in epochs]),
            ("score", [one["dev"][task]["dev"][metrics[task]] for one in epochs]),
        ):
            assert float(line[key]) == pytest.approx(np.mean(values)), key
    (figure,) = [one for one in compared.page.all("figure") if one.attributes["id"] == "epochs"]
    words = figure.one("svg").text
    for title in ("stars, log loss", "same, accuracy, %", "close, squared error", "close, Pearson"):
        assert title in words


@pytest.fixture(scope="module")
def run(compared: Compared) -> tuple[Path, Element]:
    folder = compared.runs("attention")[0]
    return folder, parsed(write_report(folder).html.read_text(encoding="utf-8"))


def test_a_run_of_several_tasks_has_them_in_one_picture(
    compared: Compared, run: tuple[Path, Element]
) -> None:
    found = csv_of(run[1], "epochs-all-tasks")
    records = compared.epochs("attention")[0]
    assert [(line["task"], line["epoch"], float(line["score"])) for line in found] == [
        (task, str(one["epoch"]), one["dev"][task]["dev"][metric])
        for task, metric in (("stars", "accuracy"), ("same", "accuracy"), ("close", "pearson"))
        for one in records
    ]
    headings = [heading.text for heading in run[1].one("main").all("h2")]
    assert headings[:3] == ["Results", "Over all tasks", "stars, dev"]


def test_evaluate_says_what_the_report_says(compared: Compared, run: tuple[Path, Element]) -> None:
    folder, page = run
    (table,) = [
        one
        for one in page.all("table")
        if one.attributes.get("aria-label") == "Distance from the true class"
    ]
    shown = [
        tuple(cell.text for cell in line.all("th", "td")) for line in table.one("tbody").all("tr")
    ]
    stars = encore.evaluate(folder, compared.dev, task="stars")
    (printed,) = [one for one in stars.tables() if one.title == "distance from the true class"]
    assert list(printed.rows) == shown
    told = stars.as_object()["distances"]
    assert [one["distance"] for one in told] == [0, 1, 2, 3, 4]
    assert sum(one["rows"] for one in told) == N_DEV
    assert stars.as_object()["overlap"] == []
    same = encore.evaluate(folder, compared.dev, task="same")
    assert same.as_object()["distances"] == []
    drawn = csv_of(page, "overlap-same")
    assert [
        (one.value, one.n_rows, one.estimates["accuracy"].low, one.estimates["accuracy"].high)
        for one in same.overlap
    ] == [
        (
            line["word_overlap_percent"],
            int(line["rows"]),
            float(line["low"]),
            float(line["high"]),
        )
        for line in drawn
    ]
    assert [one["value"] for one in same.as_object()["overlap"]] == [
        line["word_overlap_percent"] for line in drawn
    ]
    (by_overlap,) = [one for one in same.tables() if one.title == "by word overlap"]
    assert by_overlap.columns[:3] == ("word overlap, %", "rows", "accuracy")
    assert "(Jaccard)" in by_overlap.notes[0]


def costs(*parameters: int | None) -> Iterator[figures.VariantCost]:
    for number, n in enumerate(parameters):
        yield figures.VariantCost(f"v{number}", (0.5, 0.6), n, (90.0, 150.0))


def panels(figure: figures.Figure | None) -> int:
    assert figure is not None
    ids = [one.get("id", "") for one in ElementTree.fromstring(figure.svg).iter()]
    return sum(re.fullmatch(r"axes_\d+", name) is not None for name in ids)


def test_a_panel_only_where_variants_differ() -> None:
    accuracy = catalogue.find("metrics", "accuracy")

    def drawn(*parameters: int | None) -> figures.Figure | None:
        return figures.score_by_cost("cost", accuracy, list(costs(*parameters)), where="dev")

    assert drawn(1_000) is None
    assert panels(drawn(1_000, 2_000)) == 2
    same, unknown = drawn(1_000, 1_000), drawn(None, 2_000)
    assert (panels(same), panels(unknown)) == (1, 1)
    assert same is not None
    assert unknown is not None
    assert same.caption.endswith("All variants have the same number of parameters.")
    assert "same number" not in unknown.caption
    # Two seeds have a mean and no interval; two runs of 90 and 150 seconds are two minutes each.
    assert same.rows[0] == ("v0", 2, 0.55, None, None, 1_000, 2.0, 1.5, 2.5)


def test_heads_without_probabilities_show_the_loss_of_their_steps() -> None:
    point = figures.LearningCurvePoint
    losses = [point(epoch, 1, None, (0.5 / epoch,) * 3) for epoch in (1, 2)]
    scores = [point(epoch, 1, None, (0.4 * epoch,) * 3) for epoch in (1, 2)]
    accuracy = catalogue.find("metrics", "accuracy")
    curves = figures.TaskCurves("training loss", {"": losses}, accuracy, {"": scores}, kept=2)
    figure = figures.epochs_of_tasks("epochs", {"one": curves, "two": curves})
    assert figure is not None
    assert figure.alt.startswith("one training loss 0.5 → 0.25, accuracy 40.0 → 80.0; two ")
    assert figure.rows[1] == ("one", "", 2, 1, None, 0.25, "accuracy", 0.8)
    once = figures.TaskCurves("log loss", {"": losses[:1]}, accuracy, {"": scores[:1]})
    assert figures.epochs_of_tasks("epochs", {"one": once, "two": once}) is None
