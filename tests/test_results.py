"""docs/results.md is what the JSON files of benchmarks and studies give, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_results_are_generated() -> None:
    done = subprocess.run([sys.executable, "docs/results.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_file_of_figures_is_rendered() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    assert len(files) >= 4
    assert page.count("\n## ") == len(files) + 1              # the study of first light has two sections
