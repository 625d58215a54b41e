"""Tables in memory, predictions and comparisons from Python."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Tables

import encore
from encore.errors import DataError, RecipeError
from encore.runs.predict import Model

COMPARE = """
import json, sys
import encore
recipe, train = json.loads(sys.argv[1])
# It leaves threads behind, of which copies of this process know nothing.
encore.fit(train, *recipe.pop("settings"), "threads=2", label="verdict", text="text")
lines = []
found = encore.compare(recipe, "variants.cls.pooling=cls", "plan.epochs=1", runs="runs", seeds=[1, 2], tell=lines.append)
assert str(found.folder).startswith("runs/compare-study-"), found.folder
print(json.dumps([found.results["variants"], found.results["seeds"], list(found.failed), len(lines), found.table]))
again = encore.compare(recipe, "variants.cls.pooling=cls", "plan.epochs=1", runs="runs", seeds=[1, 2])
assert (again.table, again.n_reused) == (found.table, 4)
"""  # noqa: E501


def test_a_comparison_from_python(tables: Tables, tmp_path: Path) -> None:
    encoder = next(
        text.partition("=")[2] for text in tables.settings if text.startswith("encoder=")
    )
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    recipe = {
        "encoder": encoder,
        "max_length": 32,
        "precision": "fp32",
        "tasks": {"verdict": {"data": data}},
        "settings": list(tables.settings),
    }
    command = [sys.executable, "-c", COMPARE, json.dumps([recipe, str(tables.train)])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert done.returncode == 0, done.stderr
    variants, seeds, failed, n_lines, table = json.loads(done.stdout.splitlines()[-1])
    assert (variants, seeds, failed, n_lines) == (["baseline", "cls"], [1, 2], [], 4)
    assert "two seeds are too few for a verdict" in table


def test_an_interactive_shell_sees_the_functions_before_torch_is_there() -> None:
    code = "import encore, sys; print(dir(encore), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    functions = ["calibrate", "compare", "cross_validate", "distill", "ensemble", "evaluate"]
    functions += ["fill_mask", "fit", "load", "out_of_fold", "pretrain", "soup", "tune"]
    names = [*functions, "EncoreClassifier", "DataError"]
    assert done.stdout.endswith(" False\n"), done.stderr
    assert all(f"'{name}'" in done.stdout for name in names)
    assert not [
        name
        for name in dir(encore)
        if not (name.startswith("__") or name[0].isupper()) and name not in names
    ]
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        encore.train  # noqa: B018


def columns(file: Path) -> dict[str, list[str]]:
    with file.open(encoding="utf-8") as lines:
        found = list(csv.DictReader(lines))
    return {name: [row[name] for row in found] for name in found[0]}


@pytest.fixture(scope="module")
def from_memory(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A run of tables in memory."""
    result = encore.fit(
        pa.table(columns(tables.train)),
        *tables.settings,
        runs=tmp_path_factory.mktemp("memory") / "runs",
        name="reviews",
        text="text",
        label="verdict",
        dev=columns(tables.dev),
        test=columns(tables.dev),
    )
    return encore.load(result.folder)


def test_a_run_of_a_table_in_memory_is_that_of_its_file(tables: Tables, from_memory: Model) -> None:
    folder = from_memory.folder
    assert folder.name.startswith("reviews-")
    (train,) = folder.parent.glob("data/*/reviews.jsonl")
    dev, test = (next(folder.parent.glob(f"data/*/{name}.jsonl")) for name in ("dev", "test"))
    how = {"text": "text", "label": "verdict", "dev": dev, "test": test}
    again = encore.fit(train, *tables.settings, **how, runs=folder.parent)
    assert (again.folder, again.already_complete) == (folder, True)


def test_a_text_a_table_and_a_file_are_predicted_alike(tables: Tables, from_memory: Model) -> None:
    cells = columns(tables.dev)
    expected = from_memory.predict(cells["text"])
    for given in (cells, pa.table(cells), pa.array(cells["text"]), tables.dev):
        assert from_memory.predict(given) == expected
    assert from_memory.predict(cells["text"][0]) == expected[:1]
    assert from_memory.predict([]) == from_memory.predict({"text": []}) == []
    found = from_memory.predict_proba(cells["text"])
    names = from_memory.task().labels.names
    assert names == ("bad", "fair", "good")
    by_name = [[one.probabilities[name] for name in names] for one in expected]
    np.testing.assert_array_equal(found, by_name)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert from_memory.predict_proba([]).shape == (0, 3)
    with pytest.raises(DataError, match="text 1: expected a string, got int"):
        from_memory.predict(["a", 1])


def test_a_regression_has_no_probabilities(tables: Tables, tmp_path: Path) -> None:
    result = encore.fit(
        columns(tables.train), *tables.settings, "plan.epochs=1", runs=tmp_path, label="score",
        text="text",
    )  # fmt: skip
    model = encore.load(result.folder)
    assert isinstance(model.predict("the lamp")[0].label, float)
    with pytest.raises(RecipeError, match="task 'table': its model predicts no probabilities"):
        model.predict_proba("the lamp")


def test_evaluate_measures_files_tables_and_the_test_file(
    tables: Tables, from_memory: Model
) -> None:
    cells = columns(tables.dev)
    texts, truth = cells["text"], cells["verdict"]
    right = [one.label for one in from_memory.predict(texts)] == np.array(truth)
    for rows in (cells, tables.dev):
        found = encore.evaluate(from_memory.folder, rows, slices=["tags"])
        assert found.estimates["accuracy"].value == pytest.approx(np.mean(right))
        assert sum(part.n_rows for part in found.slices["tags"]) == len(right)
    final = encore.evaluate(from_memory, final=True)
    assert final.estimates == found.estimates
    assert "is opened" in (from_memory.folder / "test_opened.log").read_text()
    seen = encore.evaluate(from_memory, columns(tables.train), n_mistakes=0)
    assert "is the file that this run was trained on" in seen.notes[0]
    for wrong in ({}, {"rows": cells, "final": True}):
        with pytest.raises(RecipeError, match="give labelled rows, or final=True"):
            encore.evaluate(from_memory, **wrong)


@pytest.mark.parametrize("what", [3, ["a text"], None])
def test_fit_takes_files_recipes_and_tables(what: object) -> None:
    with pytest.raises(RecipeError, match="fit: expected a file, a recipe or a table, got"):
        encore.fit(what)
