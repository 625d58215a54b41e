"""How many epochs a bare file gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore.api import prepared_from


def _csv(path: Path, rows: int) -> Path:
    path.write_text("text,label\n" + "".join(f"row number {row} says so,{'yes' if row % 2 else 'no'}\n" for row in range(rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("rows", "epochs"), [(20, 20), (354, 10), (1000, 4)])     # 17, 301 and 850 train rows: 1, 10 and 27 steps of 32 rows
def test_few_rows_get_a_hundred_steps_but_never_more_than_twenty_epochs(tmp_path: Path, tiny_encoder: Path, rows: int, epochs: int) -> None:
    prepared = prepared_from(_csv(tmp_path / "few.csv", rows), (f"encoder={tiny_encoder}", "max_length=16"))
    assert prepared.recipe.plan.epochs == prepared.plan[0].epochs == epochs
    assert bool(prepared.decided) == (epochs != 4)


def test_who_chooses_the_epochs_gets_them(tmp_path: Path, tiny_encoder: Path) -> None:
    prepared = prepared_from(_csv(tmp_path / "few.csv", 20), (f"encoder={tiny_encoder}", "max_length=16", "plan.epochs=4"))
    assert (prepared.plan[0].epochs, prepared.decided) == (4, ())


def test_a_recipe_is_left_as_it_is(tmp_path: Path, tiny_encoder: Path) -> None:
    recipe = {"encoder": str(tiny_encoder), "max_length": 16, "tasks": {"few": {"data": {"train": str(_csv(tmp_path / "few.csv", 20))}}}}
    assert prepared_from(recipe).plan[0].epochs == 4
