"""The recipes that come with Encore are right, and say of what paper and table they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from encore import catalogue
from encore.data.named import read_named_tasks
from encore.experiments.search_space import load_search
from encore.experiments.variants import load_study
from encore.runs.compatibility import NotApplicable, build_skeletons, pair_of, parts_of
from encore.training.state import freeze
from encore.types import LabelSpace

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))
# Studies, variants and seeds.
EXTENT = {
    "maxpoolbert": (9, 4, 3),
    "maxpoolbert_k": (3, 6, 3),
    "maxpoolbert_mean": (9, 3, 3),
    "maxpoolbert_norm": (3, 3, 3),
    "maxpoolbert_size": (4, 2, 3),
    "rte_pooling": (1, 6, 3),
    "maxpoolbert_rte_minilm": (1, 2, 10),
    "serbertus_architectures": (1, 6, 3),
    "serbertus_static": (2, 2, 3),
    "serbertus_pairs": (2, 8, 3),
    "serbertus_rates": (1, 4, 3),
    "cfimdb": (1, 2, 3),
    "branch_minilm": (1, 2, 10),
    "even_minilm": (1, 2, 5),
    "gen_baseline": (1, 1, 3),
    "gen_heads": (1, 5, 3),
    "gen_mixing": (1, 13, 5),
    "gen_single_tasks": (4, 1, 3),
}


def test_there_are_recipes() -> None:
    assert set(EXTENT) <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_right(path: Path) -> None:
    study = load_study(path)
    assert all(cell.recipe.source for cell in study.cells)
    if path.stem in EXTENT:
        assert (len(study.points), len(study.variants), len(study.seeds)) == EXTENT[path.stem]


BERT_BASE = {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


# Trials and space of the study's searches (METHODS 8.4).
SEARCHES = {
    "rte_tune_cls": (
        48,
        "pooler",
        {
            "plan.lr": {"log_uniform": [1e-5, 1e-4]},
            "plan.epochs": {"choice": [3, 5, 10, 15]},
            "max_length": {"choice": [64, 128, 256]},
            "head.dropout": {"uniform": [0.0, 0.2]},
        },
    ),
    **{
        f"rte_tune_{name}": (
            30,
            name,
            {
                "plan.lr": {"log_uniform": [1e-5, 1e-4]},
                "plan.epochs": {"choice": [5, 10, 15]},
                "max_length": {"choice": [32, 64, 128, 256]},
            },
        )
        for name in ("mean_max", "attention")
    },
}


@pytest.mark.parametrize(
    "path",
    [path for path in RECIPES if "search:" in path.read_text(encoding="utf-8")],
    ids=lambda path: path.stem,
)
def test_a_search_is_the_paper_s(path: Path) -> None:
    search = load_search(path)
    trials, pooling, space = SEARCHES[path.stem]
    assert (
        search.trials,
        search.seeds_per_trial,
        search.seed,
        {one.path: one.said for one in search.parameters},
    ) == (trials, 1, 42, space)
    recipe = search.recipe(search.first)
    task = recipe.tasks["rte"]
    assert (
        task.pooling.name if task.pooling else "",
        recipe.plan.weight_decay,
        recipe.plan.warmup_frac,
        recipe.plan.keep,
    ) == (pooling, 0.0, 0.0, "last")
    assert path.stem == "rte_tune_cls" or task.head.settings == {"dropout": 0.1}
    assert recipe.expect


def test_there_are_three_searches() -> None:
    assert set(SEARCHES) <= {path.stem for path in RECIPES}


def test_the_printed_figures_stand_where_they_belong() -> None:
    study = load_study(next(path for path in RECIPES if path.stem == "maxpoolbert"))
    expected = {cell.variant: cell.recipe.expect for cell in study.cells}
    assert expected["max_seq_mha"]["rte.accuracy"] - expected["baseline"][
        "rte.accuracy"
    ] == pytest.approx(0.0264)
    assert (expected["baseline"]["cola.mcc.sd"], expected["baseline"]["qqp.accuracy.sd"]) == (
        0.0634,
        0.00108,
    )
    columns = [
        value
        for name, value in expected["max_seq_mha"].items()
        if not name.endswith(".sd") and name != "glue.columns"
    ]
    assert len(columns) == 12
    assert sum(columns) / 12 == pytest.approx(expected["max_seq_mha"]["glue.columns"], abs=5e-5)


def test_serbertus_table_6_adds_up() -> None:
    """The mean of the three best figures is the column that the paper prints, but for the last row:
    76.4, where its figures give 76.3.
    """
    study = load_study(next(path for path in RECIPES if path.stem == "serbertus_architectures"))
    printed = {
        "baseline": 75.8,
        "branch_2": 76.4,
        "branch_4": 75.9,
        "branch_6": 76.1,
        "separate": 74.5,
        "multi_and_own": 76.4,
    }
    for cell in study.cells:
        *best, average = cell.recipe.expect.values()
        assert 100 * average == pytest.approx(printed[cell.variant]), cell.variant
        assert 100 * sum(best) / 3 == pytest.approx(
            76.3 if cell.variant == "multi_and_own" else 100 * average, abs=0.051
        ), cell.variant
    sizes = {cell.variant: cell.recipe.plan.batch_size for cell in study.cells}
    assert sizes == {
        "baseline": 32,
        "branch_2": 24,
        "branch_4": 20,
        "branch_6": 16,
        "separate": 32,
        "multi_and_own": 8,
    }


def test_the_joint_study_and_the_single_ones_are_told_apart_by_their_tasks() -> None:
    study = load_study(next(path for path in RECIPES if path.stem == "gen_single_tasks"))
    assert list(dict.fromkeys(cell.study for cell in study.cells)) == [
        "sts+quora+sst5",
        "sts",
        "quora",
        "sst5",
    ]


MANY_TASKS = [name for name in EXTENT if name.startswith(("serbertus", "gen", "cfimdb"))]


@pytest.mark.parametrize("name", MANY_TASKS)
def test_the_parts_of_every_variant_go_together(name: str) -> None:
    """Every model is put together on paper, at the size of the encoder that the recipe names."""
    study = load_study(next(path for path in RECIPES if path.stem == name))
    apart = []
    for cell in study.cells[:: len(study.seeds)]:
        labels = {
            task: LabelSpace(read_named_tasks()[task].kind, read_named_tasks()[task].labels)
            for task in cell.recipe.tasks
        }
        source = SimpleNamespace(config=BERT_BASE)
        try:
            models = build_skeletons(
                parts_of(
                    cell.recipe,
                    labels,
                    {task: dict(one.pooling or {}) for task, one in cell.recipe.tasks.items()},
                ),
                cell.recipe,
                source,
            )
        except NotApplicable as error:
            apart.append((cell.study, cell.variant, error.lines[0].split(": ", 1)[1].split(",")[0]))
            continue
        assert {task: model.n_sides for task, model in models.items()} == {
            task: 1 if pair_of(cell.recipe, task)["name"] == "cross" else 2
            for task in cell.recipe.tasks
        }
    value, logit = (
        "'siamese_cosine' is for regression tasks",
        "'cosine_threshold' is for binary tasks",
    )
    expected = [("sts", "siamese_cosine_logit", logit), ("quora", "siamese_cosine", value)]
    assert sorted(apart) == sorted(expected if name == "serbertus_pairs" else [])


def test_gen_chooses_the_epoch_by_its_own_overall_score() -> None:
    """Two accuracies and (1 + r) / 2 (its section 5.2); so is what its committed predictions score
    overall (METHODS, table J).
    """
    for name in ("gen_baseline", "gen_heads", "gen_mixing", "gen_single_tasks"):
        for cell in load_study(next(path for path in RECIPES if path.stem == name)).cells:
            recipe, found = cell.recipe, cell.recipe.expect
            assert "sts" not in recipe.tasks or recipe.tasks["sts"].metrics == (
                "normalised_pearson",
                "pearson",
            )
            if found:
                overall = (
                    found["sst5.accuracy"]
                    + found["quora.accuracy"]
                    + (1 + found["sts.pearson"]) / 2
                ) / 3
                assert found["cs224n.normalised"] == pytest.approx(overall, abs=1.5e-4)


def test_the_frozen_variant_of_cfimdb_trains_the_head_alone() -> None:
    """BERT's pooler is part of what the course freezes."""
    study = load_study(next(path for path in RECIPES if path.stem == "cfimdb"))
    trained = {}
    for cell in study.cells[:: len(study.seeds)]:
        recipe = cell.recipe
        parts = parts_of(
            recipe,
            {"cfimdb": LabelSpace("binary", ("0", "1"))},
            {"cfimdb": dict(recipe.tasks["cfimdb"].pooling or {})},
        )
        model = build_skeletons(parts, recipe, SimpleNamespace(config=BERT_BASE))["cfimdb"]
        (phase,) = catalogue.build("plans", recipe.plan.spec, ("cfimdb",))
        freeze({"cfimdb": model}, phase)
        trained[cell.variant] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == {"baseline": 109_482_240 + 1_538, "frozen": 1_538}
