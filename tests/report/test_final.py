"""The report of a run whose test file was opened: the figure, when, and each class."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Tables, sentences, write_csv
from report.reading import Element, parsed

import encore
from encore.cli import app
from encore.evaluation.estimates import confusion
from encore.report.write import write_report
from encore.runs.evaluate import RunEvaluation
from encore.runs.folder import read_predictions
from encore.runs.predict import load


@pytest.fixture(scope="module")
def opened(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunEvaluation]:
    """A run of a model that has one answer, after `encore evaluate --final`; and what it gave."""
    folder = tmp_path_factory.mktemp("opened")
    texts, values = sentences(40, seed=9)
    verdicts = ["bad" if value < 0 else "good" if value else "fair" for value in values]
    test = write_csv(folder / "test.csv", {"text": texts, "verdict": verdicts})
    data = {"text": "text", "label": "verdict", "dev": str(tables.dev), "test": str(test)}
    settings = (*tables.settings, "plan.epochs=1", "plan.lr=1e-9")
    run = encore.fit(tables.train, *settings, runs=folder / "runs", **data).folder
    with pytest.raises(SystemExit) as end:
        app.main(["evaluate", str(run), "--final", "--quiet"])
    assert end.value.code == 0
    return run, encore.evaluate(run, test)


@pytest.fixture(scope="module")
def page(opened: tuple[Path, object]) -> Element:
    return parsed(write_report(opened[0]).html.read_text(encoding="utf-8"))


def test_the_test_figure_is_among_the_verdicts(
    page: Element, opened: tuple[Path, RunEvaluation]
) -> None:
    value = opened[1].estimates["accuracy"].value
    text = " ".join(page.text.split())
    line = re.search(r"accuracy ([\d.]+) % [^%]*%[^%]* on 40 rows of (\S+), opened (\S+?)\.", text)
    assert line is not None
    assert float(line[1]) == round(100 * value, 1)
    assert line[2].endswith("test.csv")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line[3])


def test_each_class_has_precision_recall_and_f1(page: Element, opened: tuple[Path, object]) -> None:
    run = opened[0]
    dev = read_predictions(run, "train", "dev", 1)
    labels = load(run).task().labels
    matrix = confusion(dev.scores, dev.targets, labels)
    (table,) = [
        each
        for each in page.all("table")
        if [cell.text.strip() for cell in each.all("th")][:4]
        == ["class", "rows", "predicted", "precision"]
    ]
    rows = [[cell.text.strip() for cell in row.all("td", "th")] for row in table.all("tr")][1:]
    assert [row[:3] for row in rows] == [
        [name, f"{matrix[at].sum()}", f"{matrix[:, at].sum()}"]
        for at, name in enumerate(labels.names)
    ]
    right, true, chosen = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    assert [row[3:] for row in rows] == [
        [
            f"{100 * right[at] / chosen[at]:.1f} %",
            f"{100 * right[at] / true[at]:.1f} %",
            f"{200 * right[at] / (true[at] + chosen[at]):.1f} %",
        ]
        for at in range(3)
    ]


def test_evaluating_notes_that_there_is_one_answer(
    opened: tuple[Path, RunEvaluation],
) -> None:
    run, found = opened
    texts = found.dataset.texts.to_pylist()
    answers = [each.label for each in load(run).predict(texts)]
    only = max(set(answers), key=answers.count)
    rows = [row for row, answer in enumerate(answers) if answer == only]
    verdicts = [found.task.labels.names[found.targets[row]] for row in rows]
    assert len(set(verdicts)) > 1
    again = encore.evaluate(run, {"text": [texts[row] for row in rows], "verdict": verdicts})
    assert again.notes == (
        f"the model predicts '{only}' for every row: try class_weights=balanced, or train longer "
        f"or at a higher rate (plan.epochs, plan.lr).",
    )
