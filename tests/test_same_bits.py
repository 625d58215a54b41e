"""benchmarks/same_bits.py sees each kind of difference, and none where there is none."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

FILE = Path(__file__).parents[1] / "benchmarks" / "result_files.py"


@pytest.fixture(scope="module")
def compared() -> ModuleType:
    spec = importlib.util.spec_from_file_location("result_files", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_manifest(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    digests = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != "cost.json"
    }
    (folder / "manifest.json").write_text(json.dumps(digests), encoding="utf-8")


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Two working folders with the same comparison of one run, at different speed."""
    for side in ("rev", "now"):
        runs = tmp_path / side / "runs" / "case"
        run, study = runs / "stars-0123abcdef", runs / "compare-case-4567abcdef"
        (run / "predictions").mkdir(parents=True)
        study.mkdir()
        (run / "recipe.yaml").write_text(f"train: {tmp_path / side}/train.csv\n", encoding="utf-8")
        (run / "resolved.json").write_text('{"seed": 1}', encoding="utf-8")
        (run / "results.json").write_text('{"accuracy": {"value": 0.5}}', encoding="utf-8")
        (run / "steps.jsonl").write_text('{"loss": 0.25}\n{"loss": 0.125}\n', encoding="utf-8")
        (run / "cost.json").write_text(json.dumps({"seconds": len(side), "side": side}))
        table = pa.table({"row": [0, 1], "scores": pa.array([[0.5], [0.25]])})
        pq.write_table(table, run / "predictions" / "dev-1.parquet")
        weights = {"head.weight": np.ones((2, 3), np.float32)}
        safetensors.numpy.save_file(weights, run / "weights.safetensors")
        cell = {"study": "stars", "variant": "max", "seed": 1, "run": run.name}
        gone = {"study": "stars", "variant": "cls", "seed": 1, "run": "stars-89ababcdef"}
        (study / "study.json").write_text('{"name": "case"}', encoding="utf-8")
        (study / "cells.json").write_text(json.dumps({"cells": [cell, gone]}), encoding="utf-8")
        for folder in (run, study):
            write_manifest(folder)
    return tmp_path / "rev", tmp_path / "now"


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_results_that_differ_in_place_and_time_alone_are_equal(
    compared: ModuleType, sides: tuple[Path, Path]
) -> None:
    assert compared.differences(*sides, "case", by_name=True) == ([], 10)
    assert compared.differences(*sides, "case", by_name=False) == ([], 9)


def other_scores(run: Path) -> None:
    table = pa.table({"row": [0, 1], "scores": pa.array([[0.5], [0.375]])})
    pq.write_table(table, run / "predictions" / "dev-1.parquet")


def other_weights(run: Path) -> None:
    weights = {"head.weight": np.full((2, 3), 1 + 2**-20, np.float32)}
    safetensors.numpy.save_file(weights, run / "weights.safetensors")


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "result": (
        lambda run: replace_in(run / "results.json", "0.5", "0.75"),
        "results.json: accuracy.value is 0.5 at REV, 0.75 here",
    ),
    "loss": (
        lambda run: replace_in(run / "steps.jsonl", "0.125", "0.1250001"),
        "steps.jsonl: line 2: loss is 0.125 at REV, 0.1250001 here",
    ),
    "layout": (
        lambda run: replace_in(run / "results.json", ": 0.5", ":  0.5"),
        "results.json: the bytes differ, though they hold the same",
    ),
    "setting": (
        lambda run: replace_in(run / "recipe.yaml", "train.csv", "dev.csv"),
        "recipe.yaml: line 1 is train: <folder>/train.csv at REV, train: <folder>/dev.csv here",
    ),
    "scores": (
        other_scores,
        "predictions/dev-1.parquet: row 1: scores.0 is 0.25 at REV, 0.375 here",
    ),
    "weights": (other_weights, "weights.safetensors: head.weight is float32[2, 3] of norm 2.449"),
    "lost": (lambda run: (run / "steps.jsonl").unlink(), "steps.jsonl: only at REV"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_one_line(
    change: str, compared: ModuleType, sides: tuple[Path, Path]
) -> None:
    make, expected = CHANGES[change]
    run = sides[1] / "runs" / "case" / "stars-0123abcdef"
    make(run)
    write_manifest(run)
    for by_name in (True, False):
        lines, _ = compared.differences(*sides, "case", by_name=by_name)
        label = "comparison case, stars, max, seed 1"
        assert lines[-1].startswith(f"{label}/{expected}")
        manifest = f"{label}/manifest.json: steps.jsonl only at REV"
        assert lines[:-1] == ([manifest] if change == "lost" else [])


def test_a_wrong_digest_is_a_difference(compared: ModuleType, sides: tuple[Path, Path]) -> None:
    run = sides[1] / "runs" / "case" / "stars-0123abcdef"
    replace_in(run / "manifest.json", '"results.json": "', '"results.json": "0')
    (line,), _ = compared.differences(*sides, "case", by_name=True)
    assert "manifest.json: results.json is as the file at REV, 0" in line


def test_renamed_runs_differ_by_name_and_not_by_recipe(
    compared: ModuleType, sides: tuple[Path, Path]
) -> None:
    runs = sides[1] / "runs" / "case"
    study = runs / "compare-case-4567abcdef"
    replace_in(study / "cells.json", "stars-0123abcdef", "stars-ffff00000000")
    replace_in(study / "cells.json", "stars-89ababcdef", "stars-eeee00000000")
    write_manifest(study)
    (runs / "stars-0123abcdef" / "resolved.json").write_text('{"seed": 2}', encoding="utf-8")
    write_manifest(runs / "stars-0123abcdef")
    (runs / "stars-0123abcdef").rename(runs / "stars-ffff00000000")
    assert compared.differences(*sides, "case", by_name=False) == ([], 9)
    lines, _ = compared.differences(*sides, "case", by_name=True)
    assert [line.partition(": ")[2][:29] for line in lines] == [
        "cells.0.run is stars-0123abcd",
        "name stars-0123abcdef at REV,",
        "seed is 1 at REV, 2 here",
    ]
