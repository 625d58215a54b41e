"""docs/results.md is what the JSON files of benchmarks and studies give, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from encore.experiments.search_space import load_search
from encore.experiments.variants import load_study
from encore.recipe.builtin import recipe_path, verified_results
from encore.recipe.digest import settings_digest
from encore.recipe.write import to_yaml
from encore.runs.identity import RESULTS_VERSION

ROOT = Path(__file__).resolve().parents[1]


def test_results_are_generated() -> None:
    done = subprocess.run(
        [sys.executable, "docs/results.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_file_of_figures_is_rendered() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    assert len(files) >= 4
    assert page.count("\n## ") == len(files) + 1  # the study of first light has two sections


def page_of_results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    return page


def test_the_searches_stand_beside_the_paper() -> None:
    row = {"mean": 0.6, "sd": 0.02, "values": [0.58, 0.62], "expected": 0.6227}
    study = {
        "metrics": [{"metric": "accuracy", "variants": [row]}],
        "baselines": {"majority": {"accuracy": 0.527}},
        "notes": ["dev: cut"],
    }
    results = {
        "trials": {"requested": 12, "complete": 11},
        "best": {"value": 0.65, "params": {"plan.lr": 1.25e-5, "plan.epochs": 5, "max_length": 64}},
        "importances": {"values": {"plan.lr": 0.75, "max_length": 0.25}, "why": None},
        "fresh": {"studies": [study]},
    }
    search = {
        "recipe": "rte_tune_mean_max",
        "results": results,
        "pictures": {"history": "a dot per trial"},
        "command": "encore tune x",
        "seconds": 90.0,
        "results_version": 1,
    }
    text = page_of_results().result_studies.rte_tune(
        {"searches": [search | {"machine": "m", "sha256": "abc"}]}
    )
    assert (
        "| mean and max | 11 of 12 | 65.0 % | 60.0 ± 2.0 % (58.0 %, 62.0 %) | 62.3 % | 30 |" in text
    )
    assert "| mean and max | 1.25e-05 (9.94e-05) | 5 (10) | 64 (256) | – |" in text
    assert (
        "| mean and max | plan.lr 0.75, max_length 0.25 | maximum length most, then learning "
        "rate, then epochs |" in text
    )
    assert "Without an encoder: majority 52.7 %." in text
    assert "![a dot per trial](results/rte_tune/rte_tune_mean_max-history.svg)" in text
    assert (
        "* `encore tune x`: 2 min of training in all, on m. sha256 of results.json: abc.\n* "
        f"Made with results version 1; the code is at {RESULTS_VERSION}, where the same recipe is "
        "another draw of the same experiment.\n* dev: cut" in text
    )
    assert "names no sampler, seed or pruning rule" in text


def test_a_comparison_that_is_taken_in_leaves_a_record_of_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of_results()
    for name in (
        "docs/results",
        "recipes",
        "runs/compare-mine-0123456789",
        "runs/mine-1",
        "runs/mine-2",
    ):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(page, "HERE", tmp_path / "docs")
    (tmp_path / "recipes" / "mine.yaml").write_text("source: a\n")
    recipe = {"source": "a", "claim": "b", "plan": {"lr": 2e-5}}
    folder = tmp_path / "runs" / "compare-mine-0123456789"
    (folder / "recipe.yaml").write_text("source: a\nclaim: b\nplan: {lr: 2e-5}\n")
    cells = [
        {"run": "mine-1", "state": "complete"},
        {"run": "never", "state": "left the race in round 1"},
        {"run": None, "state": "not applicable"},
    ]
    written: dict[str, object] = {
        "manifest": {"results.json": "abc"},
        "study": {"name": "mine", "overrides": ["seeds=[1]"]},
        "results": {"name": "mine"},
    }
    written["cells"] = {
        "cells": cells,
        "screening": [
            {"run": "mine-2", "state": "complete"},
            {"run": "mine-3", "state": "not needed"},
        ],
    }
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    for run in ("mine-1", "mine-2"):
        (tmp_path / "runs" / run / "environment.json").write_text(
            '{"processor": "p", "device": "cpu", "precision": "bf16"}'
        )
        (tmp_path / "runs" / run / "cost.json").write_text('{"seconds": 3}')
        version = {"results_version": {"mine-1": 3, "mine-2": 2}[run]}
        (tmp_path / "runs" / run / "resolved.json").write_text(json.dumps(version))
    os.utime(folder / "manifest.json", (1_780_000_000, 1_780_000_000))
    page.take_in(folder, small=True)
    assert page.result_studies.smoke(
        json.loads((tmp_path / "docs" / "results" / "smoke.json").read_text())
    ).endswith("| mine | a | `seeds=[1]` | 3 | 2 | 0 | 1 |\n")
    assert not (tmp_path / "recipes" / "verified.json").exists()
    for _ in range(2):
        page.take_in(folder, small=False)
    assert (
        json.loads((tmp_path / "docs" / "results" / "compare-mine.json").read_text())["n_runs"] == 2
    )
    assert json.loads((tmp_path / "recipes" / "verified.json").read_text()) == {
        "mine": [
            {
                "date": "2026-05-28",
                "with": "seeds=[1]",
                "comparison": folder.name,
                "machine": "p, cpu, bf16",
                "sha256": "abc",
                "results_version": 3,
                "runs": 2,
                "settings_sha256": settings_digest(recipe),
            }
        ]
    }


def test_every_figure_names_its_results_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the code's version where that is another."""
    page, recorded = page_of_results(), "6"  # the newest version that a figure was made with
    n_files = len(list((ROOT / "docs" / "results").glob("*.json"))) - 1  # no figure of smoke.json
    monkeypatch.setattr("encore.runs.identity.RESULTS_VERSION", int(recorded))
    notes = re.findall(
        r"(Made|Measured) with results version ([0-9, and]+)(; the code|, that)", page.render()
    )
    assert len(notes) == n_files
    assert {told for _, version, told in notes if version == recorded} == {", that"}
    assert {told for _, version, told in notes if version != recorded} == {"; the code"}
    monkeypatch.setattr("encore.runs.identity.RESULTS_VERSION", RESULTS_VERSION + 1)
    later = page.render()
    assert "that of the code" not in later
    assert later.count(f"; the code is at {RESULTS_VERSION + 1}") == n_files


def test_records_of_recipes_are_those_of_the_page() -> None:
    for name, records in verified_results().items():
        file = ROOT / "docs" / "results" / f"compare-{name}.json"
        found = json.loads(file.read_text(encoding="utf-8"))
        for key in ("sha256", "machine", "results_version"):
            assert records[-1][key] == found[key]


def test_a_comparison_has_the_claim_of_its_recipe_as_it_is_now() -> None:
    """A claim may be corrected after the runs; what was measured stays."""
    found = json.loads((ROOT / "docs" / "results" / "compare-even_minilm.json").read_text())
    text = page_of_results().result_studies.comparison(found)
    claim = load_study(recipe_path("even_minilm")).cells[0].recipe.claim
    assert claim is not None
    assert claim[1:] in text
    assert found["claim"] not in text


def test_smoke_tests_are_of_every_cell_of_the_recipes_there_are() -> None:
    known = json.loads((ROOT / "docs" / "results" / "smoke.json").read_text(encoding="utf-8"))
    for name, entry in known.items():
        words, counts = entry["with"].split(), entry["counts"]
        if "-n" in words:  # a search, with so many trials
            assert load_search(recipe_path(name), words[: words.index("-n")]).parameters
            assert counts == [int(words[-1]), int(words[-1]), 0, 0], name
            continue
        study = load_study(recipe_path(name), words)
        n_cells, n_runs, n_failed, n_unfit = counts
        assert (n_cells, n_failed) == (len(study.cells), 0), name
        # A variant that puts other tasks in the place of each study's is one run for all of them.
        n_distinct = len({to_yaml(cell.recipe) for cell in study.cells})
        assert n_runs + n_unfit == n_distinct, name
