"""docs/results.md is what the JSON files of benchmarks and studies give, and nothing else."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_results_are_generated() -> None:
    done = subprocess.run([sys.executable, "docs/results.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_file_of_figures_is_rendered() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    assert len(files) >= 4
    assert page.count("\n## ") == len(files) + 1              # the study of first light has two sections


def test_a_comparison_that_is_taken_in_leaves_a_record_of_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    for name in ("docs/results", "recipes", "runs/compare-mine-0123456789", "runs/mine-1", "runs/mine-2"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(page, "HERE", tmp_path / "docs")
    (tmp_path / "recipes" / "mine.yaml").write_text("source: a\n")
    folder = tmp_path / "runs" / "compare-mine-0123456789"
    (folder / "recipe.yaml").write_text("source: a\nclaim: b\n")
    cells = [{"run": "mine-1", "state": "complete"}, {"run": "never", "state": "left the race in round 1"}, {"run": None, "state": "not applicable"}]
    written: dict[str, object] = {"manifest": {"results.json": "abc"}, "study": {"name": "mine", "overrides": ["seeds=[1]"]}, "results": {"name": "mine"}}
    written["cells"] = {"cells": cells, "screening": [{"run": "mine-2", "state": "complete"}, {"run": "mine-3", "state": "not needed"}]}
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    for run in ("mine-1", "mine-2"):
        (tmp_path / "runs" / run / "environment.json").write_text('{"processor": "p", "device": "cpu", "precision": "bf16"}')
        (tmp_path / "runs" / run / "cost.json").write_text('{"seconds": 3}')
    os.utime(folder / "manifest.json", (1_780_000_000, 1_780_000_000))
    page.take_in(folder, small=True)
    assert page.smoke(json.loads((tmp_path / "docs" / "results" / "smoke.json").read_text())).endswith("| mine | a | `seeds=[1]` | 3 | 2 | 0 | 1 |\n")
    assert not (tmp_path / "recipes" / "verified.json").exists()
    for _ in range(2):
        page.take_in(folder, small=False)
    assert json.loads((tmp_path / "docs" / "results" / "compare-mine.json").read_text())["n_runs"] == 2
    assert json.loads((tmp_path / "recipes" / "verified.json").read_text()) == {"mine": [{
        "date": "2026-05-28", "with": "seeds=[1]", "comparison": folder.name, "machine": "p, cpu, bf16", "sha256": "abc", "runs": 2,
        "recipe_sha256": hashlib.sha256(b"source: a\nclaim: b\n").hexdigest(),
    }]}
