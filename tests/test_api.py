"""Epochs of a file without a recipe; comparisons from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Tables

from encore.api import prepared_from


def _csv(path: Path, rows: int) -> Path:
    path.write_text(
        "text,label\n"
        + "".join(
            f"row number {row} says so,{'yes' if row % 2 else 'no'}\n" for row in range(rows)
        ),
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("rows", "epochs"), [(20, 20), (354, 10), (1000, 4)]
)  # 17, 301 and 850 train rows: 1, 10 and 27 steps of 32 rows
def test_few_rows_get_a_hundred_steps_but_never_more_than_twenty_epochs(
    tmp_path: Path, tiny_encoder: Path, rows: int, epochs: int
) -> None:
    prepared = prepared_from(
        _csv(tmp_path / "few.csv", rows), (f"encoder={tiny_encoder}", "max_length=16")
    )
    assert prepared.recipe.plan.epochs == prepared.plan[0].epochs == epochs
    assert bool(prepared.decided) == (epochs != 4)


def test_who_chooses_the_epochs_gets_them(tmp_path: Path, tiny_encoder: Path) -> None:
    prepared = prepared_from(
        _csv(tmp_path / "few.csv", 20),
        (f"encoder={tiny_encoder}", "max_length=16", "plan.epochs=4"),
    )
    assert (prepared.plan[0].epochs, prepared.decided) == (4, ())


def test_a_recipe_is_left_as_it_is(tmp_path: Path, tiny_encoder: Path) -> None:
    recipe = {
        "encoder": str(tiny_encoder),
        "max_length": 16,
        "tasks": {"few": {"data": {"train": str(_csv(tmp_path / "few.csv", 20))}}},
    }
    assert prepared_from(recipe).plan[0].epochs == 4


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
