"""Numbers of hundreds of digits: one line that names the setting, at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore.cli.options import whole_number
from encore.data.read import read_table
from encore.errors import DataError, RecipeError
from encore.experiments.find import study_of
from encore.recipe.load import load_recipe, recipe_for_file, recipe_from

LONG, LONGER = "9" * 400, "9" * 5000
SETTINGS = (
    "plan.lr",
    "plan.epochs",
    "plan.batch_size",
    "plan.clip_norm",
    "max_length",
    "losses.task.weight",
    "data.skip_lines",
    "data.train_rows",
    "seed",
    "threads",
)


@pytest.mark.parametrize("number", [LONG, f"-{LONG}", f"1e{LONG}", f"{LONG}.5", LONGER])
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_override_is_one_line_that_names_the_setting(setting: str, number: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_for_file("reviews.csv", (f"{setting}={number}",))
    (line,) = caught.value.lines
    assert line.startswith(f"override {setting}={number[:9]}")
    assert len(line) < 400


def test_each_number_of_a_recipe_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"task: rte\nseed: {LONG}\nplan:\n  lr: {LONGER}\n  epochs: {LONG}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert [line.split(": ")[0] for line in caught.value.lines] == [
        f"{path}:2 seed",
        f"{path}:4 plan.lr",
        f"{path}:5 plan.epochs",
    ]


def test_numbers_from_python_are_named() -> None:
    with pytest.raises(RecipeError, match=r"^plan\.epochs: expected a finite number, got 999"):
        recipe_from({"task": "rte", "plan": {"epochs": int(LONG)}})


def test_what_counts_has_a_limit_below_that_of_arrays() -> None:
    recipe_for_file("reviews.csv", (f"plan.batch_size={10**15}",))
    with pytest.raises(
        RecipeError, match=r"expected a whole number of at most 1,000,000,000,000,000"
    ):
        recipe_for_file("reviews.csv", (f"plan.batch_size={10**15 + 1}",))


def test_options_are_named() -> None:
    with pytest.raises(RecipeError, match=r"^--mistakes: expected .* and at most 15 digits"):
        whole_number("--mistakes", LONGER)
    with pytest.raises(RecipeError, match=r"^--curve: expected train_rows and two different"):
        study_of("maxpoolbert", curve=f"train_rows=500,{LONGER}")


def test_lines_are_skipped_to_the_end_of_a_file_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("text,label\nthe lamp,good\n")
    with pytest.raises(DataError, match=r"short\.csv"):  # it would take years to count so far
        read_table(path, skip_lines=10**15)
