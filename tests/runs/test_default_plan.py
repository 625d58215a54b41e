"""The rate and the epochs of a plan that leaves them open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Tables

from encore.api import prepared_from
from encore.cli.dry_run import filled_in
from encore.cli.train import announcements
from encore.files import read_json
from encore.recipe.load import load_recipe, recipe_from
from encore.runs.default_plan import default_epochs, default_lr
from encore.runs.execute import execute
from encore.runs.prepare import prepare


def recipe(tmp_path: Path, encoder: Path, rows: int, **plan: Any) -> dict[str, Any]:
    """A recipe whose train file has so many rows, 15 % of them for the dev set."""
    table = tmp_path / "rows.csv"
    lines = [f"row number {row} says so,{'yes' if row % 2 else 'no'}" for row in range(rows)]
    table.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    tasks = {"rows": {"data": {"train": str(table)}}}
    return {"encoder": str(encoder), "max_length": 16, "tasks": tasks, "plan": plan}


def test_the_rate_falls_with_the_width_and_has_an_upper_limit() -> None:
    widths = (24, 128, 256, 312, 384, 512, 768, 1024)
    rates = [default_lr(width, steps=100) for width in widths]
    assert rates == [4e-4, 4e-4, 4e-4, 3e-4, 2e-4, 1.1e-4, 5e-5, 2.8e-5]


@pytest.mark.parametrize(
    ("width", "steps", "n_classes", "expected"),
    [
        (384, 126, 2, 2e-4),
        (384, 250, 5, 1.4e-4),
        (384, 500, 5, 1e-4),
        (384, 500, 20, 2e-4),  # 25 steps for each class
        (384, 2_000, 20, 1e-4),
        (384, 100_000, 2, 5e-5),  # a quarter
        (768, 500, 2, 2.5e-5),
        (768, 5_000, 2, 2e-5),
        (1536, 5_000, 2, 1.3e-5),  # below 2e-5 already
    ],
)
def test_the_rate_falls_with_the_steps(
    width: int, steps: int, n_classes: int, expected: float
) -> None:
    assert default_lr(width, steps, n_classes) == expected


@pytest.mark.parametrize(
    ("rows", "epochs"), [(20, 20), (354, 10), (1000, 4)]
)  # 17, 301 and 850 train rows: 1, 10 and 27 steps of 32 rows
def test_few_rows_get_more_epochs(
    tmp_path: Path, tiny_encoder: Path, rows: int, epochs: int
) -> None:
    prepared = prepare(recipe_from(recipe(tmp_path, tiny_encoder, rows)))
    assert prepared.recipe.plan.epochs == prepared.plan[0].epochs == epochs
    assert prepared.recipe.plan.lr == prepared.plan[0].lr == 4e-4
    steps = prepared.steps[0]
    assert default_epochs(steps) == epochs
    (line,) = prepared.decided
    assert line in announcements(prepared)
    assert line == (
        f"chosen: {epochs} epochs of {steps} step{'s' if steps > 1 else ''}, peak rate 0.0004 for "
        f"an encoder of width 24 (to change: plan.epochs=N plan.lr=X)"
    )


def test_many_classes_of_few_rows_get_more_epochs(tmp_path: Path, tiny_encoder: Path) -> None:
    found = recipe(tmp_path, tiny_encoder, 1000)
    table = tmp_path / "rows.csv"
    lines = [f"row number {row} says so,class {row % 77}" for row in range(1000)]
    table.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    prepared = prepare(recipe_from(found))
    assert len(prepared.data["rows"].labels.names) == 77
    assert (prepared.steps[0], prepared.plan[0].epochs) == (27, 8)  # nine would be three per class


@pytest.mark.parametrize(
    ("plan", "expected", "chosen"),
    [
        ({"epochs": 3, "lr": 1e-5}, (3, 1e-5), None),
        ({"epochs": 3}, (3, 4e-4), "chosen: peak rate 0.0004 for an encoder of width 24"),
        ({"lr": 1e-5}, (20, 1e-5), "chosen: 20 epochs of 1 step"),
    ],
)
def test_what_a_recipe_states_is_left_as_it_is(
    plan: dict[str, Any],
    expected: tuple[int, float],
    chosen: str | None,
    tmp_path: Path,
    tiny_encoder: Path,
) -> None:
    prepared = prepare(recipe_from(recipe(tmp_path, tiny_encoder, 20, **plan)))
    assert (prepared.plan[0].epochs, prepared.plan[0].lr) == expected
    assert [line.partition(" (")[0] for line in prepared.decided] == ([chosen] if chosen else [])
    assert {key: filled_in(prepared)["plan"][key] for key in ("epochs", "lr")} == dict(
        zip(("epochs", "lr"), expected, strict=True)
    )


def test_the_name_of_a_run_holds_what_was_chosen(tmp_path: Path, tiny_encoder: Path) -> None:
    """A chosen value is the same run as the value itself, and BERT's protocol has the name that it
    had as the default.
    """
    open_, written, protocol = (
        prepare(recipe_from(recipe(tmp_path, tiny_encoder, 20, **plan)))
        for plan in ({}, {"epochs": 20, "lr": 4e-4}, {"epochs": 4, "lr": 5e-5})
    )
    assert open_.name == written.name != protocol.name
    assert open_.identity["plan"] == {"epochs": 20, "lr": 4e-4}
    assert "plan" not in protocol.identity


def test_the_run_folder_holds_what_was_chosen(tables: Tables, tmp_path: Path) -> None:
    prepared = tables.prepared("plan.epochs=1")
    assert prepared.recipe.plan.lr is not None
    result = execute(prepared, tmp_path)
    assert read_json(result.folder / "resolved.json")["plan"]["lr"] == prepared.recipe.plan.lr
    again = prepared_from(result.folder / "recipe.yaml")
    assert again.name == prepared.name
    assert again.decided == ()
    assert load_recipe(result.folder / "recipe.yaml").plan.lr == prepared.recipe.plan.lr
