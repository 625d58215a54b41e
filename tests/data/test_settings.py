"""The settings of a task's data: paths, dev sets, and what is refused before a file is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encore.data.settings import DataSettings, check_settings
from encore.errors import RecipeError
from encore.recipe.load import recipe_from
from encore.recipe.schema import data_settings


def problems(**settings: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        check_settings("rte", DataSettings(seed=1, **settings), is_named=True)
    return list(caught.value.lines)


def test_paths_are_relative_to_the_base_and_standard_input_is_not() -> None:
    settings = DataSettings(
        train="x.csv", dev={"one": "d/y.csv", "two": "-"}, base=Path("/b"), seed=1
    )
    assert settings.path("x.csv") == Path("/b/x.csv")
    assert settings.dev_files == {"one": Path("/b/d/y.csv"), "two": Path("-")}
    assert settings.reads_standard_input
    single = DataSettings(train="-", dev="y.csv", seed=1)
    assert single.dev_files == {"dev": Path("y.csv")}
    assert single.reads_standard_input
    assert not DataSettings(train="x.csv", seed=1).reads_standard_input


def test_what_a_named_task_brings_is_not_set_beside_it() -> None:
    assert problems(text="a", kind="binary") == [
        f"task 'rte' brings its own data.{key}; leave it out, or name a file of your own: "
        f"data.train=FILE"
        for key in ("text", "kind")
    ]
    check_settings("rte", DataSettings(train="x.csv", text="a", seed=1), is_named=True)


def test_all_wrong_settings_are_reported_together() -> None:
    assert problems(
        train="x.csv", dev={"test": "y.csv"}, dev_frac=1.0, train_rows=1, normalise="minbart"
    ) == [
        "data.dev.test: a dev set cannot be called 'test'; choose another name.",
        "data.dev_frac: expected a number between 0 and 1, got 1.0.",
        "data.train_rows: expected a whole number of 2 or more, got 1.",
        "data.normalise: no normalisation called 'minbart'. Did you mean 'minbert'? Known: "
        "minbert, minbert_pair, none.",
    ]
    assert problems(train="x.csv", dev={}) == [
        "data.dev: expected one dev set or more, got none. Leave it out to have one split off."
    ]


def test_a_recipe_gives_its_seed_unless_the_data_have_one() -> None:
    recipe = recipe_from(
        {
            "seed": 7,
            "tasks": {
                "a": {"data": {"train": "x.csv", "text": "t"}, "metrics": ["accuracy"]},
                "b": {"data": {"train": "y.csv", "seed": 3}},
            },
        }
    )
    first, second = data_settings(recipe, "a"), data_settings(recipe, "b")
    assert (first.seed, first.text, first.metrics, first.train) == (7, "t", ("accuracy",), "x.csv")
    assert (second.seed, second.text, second.metrics) == (3, None, None)
    assert first.base == recipe.base
