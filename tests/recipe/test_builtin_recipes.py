"""The recipes that come with Encore are right, and say of what paper and table they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from small_encoders import BERT_BASE

from encore.data.named import read_named_tasks
from encore.errors import RecipeError
from encore.experiments.search_space import load_search
from encore.experiments.variants import load_study
from encore.recipe.located_yaml import write_yaml
from encore.recipe.pretraining import pretraining_recipes
from encore.recipe.schema import Recipe
from encore.recipe.write import to_yaml
from encore.runs.compatibility import NotApplicable, build_skeletons, pair_of, parts_of
from encore.types import LabelSpace

ALL = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))
PRETRAINING = [path for path in ALL if "\ntexts:" in path.read_text(encoding="utf-8")]
RECIPES = [path for path in ALL if path not in PRETRAINING]
# Studies, variants and seeds.
EXTENT = {
    "maxpoolbert": (9, 5, 3),
    "maxpoolbert_cls_k": (3, 6, 3),
    "maxpoolbert_glue_minilm": (9, 4, 3),
    "maxpoolbert_k": (3, 6, 3),
    "maxpoolbert_mean": (9, 4, 3),
    "maxpoolbert_norm": (3, 4, 3),
    "maxpoolbert_size": (4, 2, 3),
    "rte_pooling": (1, 6, 3),
    "maxpoolbert_rte_minilm": (1, 2, 10),
    "serbertus_architectures": (1, 7, 3),
    "serbertus_static": (2, 2, 3),
    "serbertus_pairs": (2, 8, 3),
    "serbertus_rates": (1, 4, 3),
    "cfimdb": (2, 2, 3),
    "branch_minilm": (1, 2, 10),
    "after_training_minilm": (1, 5, 5),
    "even_minilm": (1, 2, 5),
    "smart_minilm": (1, 2, 10),
    "layer_decay_minilm": (1, 2, 10),
    "mnr_minilm": (1, 2, 10),
    "gen_baseline": (1, 1, 3),
    "gen_heads": (1, 7, 3),
    "gen_mixing": (1, 13, 5),
    "gen_single_tasks": (4, 2, 3),
    "serbertus_dropout": (1, 7, 3),
    "serbertus_dropout_sts": (1, 7, 2),
    "serbertus_dropout_hidden": (1, 8, 3),
    "serbertus_dropout_tasks": (1, 4, 3),
    "serbertus_dropout_static": (1, 5, 3),
    "serbertus_adamw": (1, 2, 3),
    "serbertus_weight_decay": (1, 5, 3),
    "serbertus_weight_decay_multi": (1, 5, 3),
    "serbertus_layer_decay": (1, 9, 3),
    "serbertus_smart": (1, 8, 3),
    "serbertus_single": (1, 5, 3),
    "serbertus_slanted": (1, 5, 3),
    "serbertus_unfreezing": (1, 4, 3),
    "serbertus_poolings": (2, 8, 3),
    "gen_lp_ft": (1, 3, 3),
    "gen_ensemble": (1, 3, 3),
    "serbertus_ensemble": (1, 4, 3),
    "gen_losses": (1, 9, 3),
    "gen_sizes": (1, 6, 3),
    "gen_rates": (1, 5, 3),
    "gen_swa": (1, 2, 3),
    "gen_b1": (1, 3, 3),
    "gen_b2": (1, 3, 3),
    "gen_b3": (1, 4, 3),
    "gen_ablations": (1, 14, 3),
    "gen_ablations_single": (4, 2, 3),
    "gen_poolings": (1, 9, 3),
    "rte_hybrid": (1, 9, 3),
    "imdb_truncation": (1, 4, 3),
    "gen_distill": (1, 4, 3),
    "adapterfusion_table1": (4, 11, 3),
    "adapterfusion_epochs": (4, 2, 3),
    "adapterfusion_rates": (8, 2, 3),
    "fusion_minilm": (4, 2, 5),
    "adapter_rates_minilm": (4, 4, 2),
    "forgetting_minilm": (3, 4, 3),
}


def test_there_are_recipes() -> None:
    searches = {*SEARCHES, "maxpoolbert_tuned"}
    assert set(EXTENT) | searches == {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_right(path: Path) -> None:
    study = load_study(path)
    assert all(cell.recipe.source and cell.recipe.claim for cell in study.cells)
    if path.stem in EXTENT:
        assert (len(study.points), len(study.variants), len(study.seeds)) == EXTENT[path.stem]


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
    [path for path in RECIPES if path.stem in SEARCHES],
    ids=lambda path: path.stem,
)
def test_a_search_is_the_paper_s(path: Path) -> None:
    search = load_search(path)
    trials, pooling, space = SEARCHES[path.stem]
    assert (
        search.trials,
        search.seeds_per_trial,
        search.seed,
        {one.path: one.spec for one in search.parameters},
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


def test_depth_heads_and_schedule_are_searched_for_any_task() -> None:
    """And the paper's own settings may be drawn."""
    path = next(path for path in RECIPES if path.stem == "maxpoolbert_tuned")
    other = load_search(path, ["task=mrpc"])
    assert list(other.recipe(other.first).tasks) == ["mrpc"]
    search = load_search(path)
    own = {"pooling.k": 3, "pooling.n_heads": 4, "plan.epochs": 4, "plan.warmup_frac": 0.1}
    space = {one.path: one.spec["choice"] for one in search.parameters if "choice" in one.spec}
    assert all(value in space[path] for path, value in own.items())
    assert space["plan.curve"] == ["linear", "cosine", "constant"]


def test_a_review_is_cut_in_four_ways_at_the_length_of_its_encoder() -> None:
    study = load_study(next(path for path in RECIPES if path.stem == "imdb_truncation"))
    (tasks,) = {tuple(cell.recipe.tasks) for cell in study.cells}
    cut = {cell.variant: cell.recipe.tasks["imdb"].truncation for cell in study.cells}
    assert tasks == ("imdb",)
    assert list(cut.values()) == ["head", "tail", "head_tail", "half_half"]
    lengths = {cell.recipe.tasks["imdb"].max_length for cell in study.cells}
    assert lengths == {BERT_BASE["max_position_embeddings"]}


def test_the_ablations_are_of_b3() -> None:
    """The baseline of gen_ablations is gen_b3's, b2 and b1 are the baselines of those recipes at
    ten epochs, and each row takes one thing away or adds one.
    """
    by_name = {path.stem: path for path in RECIPES}

    def plain(recipe: Recipe) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(to_yaml(recipe))
        return found

    studies = {
        name: load_study(by_name[name], overrides)
        for name, overrides in {
            "gen_ablations": (),
            "gen_b3": (),
            "gen_b1": ("plan.epochs=10",),
            "gen_b2": ("plan.epochs=10",),
        }.items()
    }

    def settings(name: str, variant: str) -> Any:
        recipe = next(cell.recipe for cell in studies[name].cells if cell.variant == variant)
        told = ("source", "claim", "expect")
        return {key: value for key, value in plain(recipe).items() if key not in told}

    b3 = settings("gen_ablations", "baseline")
    assert b3 == settings("gen_b3", "baseline")
    assert settings("gen_ablations", "b1") == settings("gen_b1", "baseline")
    assert settings("gen_ablations", "b2") == settings("gen_b2", "baseline")
    for own, other in {"no_even_batches": "task_by_task", "no_rescaling": "not_rescaled"}.items():
        assert settings("gen_ablations", own) == settings("gen_b3", other)
    rows = [cell.recipe for cell in studies["gen_ablations"].cells if cell.seed == 11]
    assert len({to_yaml(row) for row in rows}) == len(rows) == EXTENT["gen_ablations"][1]
    together = plain(load_study(by_name["gen_ablations_single"]).cells[0].recipe)
    assert together["tasks"] == b3["tasks"]


def test_the_joint_study_and_the_single_ones_are_told_apart_by_their_tasks() -> None:
    study = load_study(next(path for path in RECIPES if path.stem == "gen_single_tasks"))
    assert list(dict.fromkeys(cell.study for cell in study.cells)) == [
        "sts+quora+sst5",
        "sts",
        "quora",
        "sst5",
    ]


MANY_TASKS = [
    name for name in EXTENT if name.startswith(("serbertus", "gen", "cfimdb", "rte_hybrid"))
]


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
        source = SimpleNamespace(config=BERT_BASE, has_pooler=True)
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


# ------------------------------------------------------------------------------------- pre-training


@pytest.mark.parametrize("path", PRETRAINING, ids=lambda path: path.stem)
def test_a_recipe_of_pre_training_is_right(path: Path, tmp_path: Path) -> None:
    """Each variant is read, and what it fine-tunes afterwards is a comparison."""
    for recipe in pretraining_recipes(path).values():
        assert recipe.source
        assert recipe.claim
        assert recipe.fine_tune is not None
        assert {texts.task for texts in recipe.texts} <= set(read_named_tasks())
        document = {**recipe.fine_tune, "variants": {"step_1": {"encoder": "minilm"}}}
        (tmp_path / "compare.yaml").write_text(write_yaml(document), encoding="utf-8")
        assert load_study(tmp_path / "compare.yaml").cells
    with pytest.raises(RecipeError, match=r"is a recipe of pre-training.* Run it: encore pretrain"):
        load_study(path)


def test_the_pretraining_of_the_papers() -> None:
    """METHODS 6."""
    serbertus, gen = (pretraining_recipes(f"{name}_pretraining") for name in ("serbertus", "gen"))
    rates = {name: (one.plan.lr, one.plan.layer_decay) for name, one in serbertus.items()}
    assert rates["sst_fast"] == (1e-5, 1.0)
    assert rates["sst_decay"] == (1e-5, 0.95)
    assert rates["sst_slow"] == (5e-6, 1.0)
    assert {(one.masking, one.plan.batch_size) for one in serbertus.values()} == {("tokens", 32)}
    described = gen["as_described"]
    assert (described.masking, described.compat, described.min_characters) == ("words", None, 10)
    assert (described.plan.epochs, described.plan.lr, described.plan.batch_size) == (3, 5e-5, 64)
    assert (described.max_length, described.mask_rate) == (100, 0.15)
    assert described.plan.warmup_frac == 0
    assert gen["as_coded"].compat == "gen"
