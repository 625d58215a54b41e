"""The recipes that come with Encore are right, and say of what paper and table they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore.search import load_search
from encore.study import load_study

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))
# Studies, variants and seeds.
EXTENT = {
    "maxpoolbert": (9, 4, 3), "maxpoolbert_k": (3, 6, 3), "maxpoolbert_mean": (9, 3, 3), "maxpoolbert_norm": (3, 3, 3), "maxpoolbert_size": (4, 2, 3),
    "rte_pooling": (1, 6, 3), "maxpoolbert_rte_minilm": (1, 2, 10),
}


def test_there_are_recipes() -> None:
    assert set(EXTENT) <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_right(path: Path) -> None:
    study = load_study(path)
    assert all(cell.recipe.source for cell in study.cells)
    if path.stem in EXTENT:
        assert (len(study.points), len(study.variants), len(study.seeds)) == EXTENT[path.stem]


# Trials and space of the study's searches (METHODS 8.4).
SEARCHES = {
    "rte_tune_cls": (48, "pooler", {
        "plan.lr": {"log_uniform": [1e-5, 1e-4]}, "plan.epochs": {"choice": [3, 5, 10, 15]}, "max_length": {"choice": [64, 128, 256]},
        "head.dropout": {"uniform": [0.0, 0.2]},
    }),
    **{f"rte_tune_{name}": (30, name, {
        "plan.lr": {"log_uniform": [1e-5, 1e-4]}, "plan.epochs": {"choice": [5, 10, 15]}, "max_length": {"choice": [32, 64, 128, 256]},
    }) for name in ("mean_max", "attention")},
}


@pytest.mark.parametrize("path", [path for path in RECIPES if "search:" in path.read_text(encoding="utf-8")], ids=lambda path: path.stem)
def test_a_search_is_the_paper_s(path: Path) -> None:
    search = load_search(path)
    trials, pooling, space = SEARCHES[path.stem]
    assert (search.trials, search.seeds_per_trial, search.seed, {one.path: one.said for one in search.parameters}) == (trials, 1, 42, space)
    recipe = search.recipe(search.first)
    task = recipe.tasks["rte"]
    assert (task.pooling.name if task.pooling else "", recipe.plan.weight_decay, recipe.plan.warmup_frac, recipe.plan.keep) == (pooling, 0.0, 0.0, "last")
    assert path.stem == "rte_tune_cls" or task.head.settings == {"dropout": 0.1}
    assert recipe.expect


def test_there_are_three_searches() -> None:
    assert set(SEARCHES) <= {path.stem for path in RECIPES}


def test_the_printed_figures_stand_where_they_belong() -> None:
    study = load_study(next(path for path in RECIPES if path.stem == "maxpoolbert"))
    expected = {cell.variant: cell.recipe.expect for cell in study.cells}
    assert expected["max_seq_mha"]["rte.accuracy"] - expected["baseline"]["rte.accuracy"] == pytest.approx(0.0264)
    assert (expected["baseline"]["cola.mcc.sd"], expected["baseline"]["qqp.accuracy.sd"]) == (0.0634, 0.00108)
    columns = [value for name, value in expected["max_seq_mha"].items() if not name.endswith(".sd") and name != "glue.columns"]
    assert len(columns) == 12
    assert sum(columns) / 12 == pytest.approx(expected["max_seq_mha"]["glue.columns"], abs=5e-5)
