"""The runs that a recipe describes, and that all their problems are reported before anything
is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encore.errors import RecipeError
from encore.experiments.variants import Study, load_study, study_from
from encore.recipe.load import load_recipe


def cells(study: Study) -> list[tuple[str, str, int]]:
    return [(cell.study, cell.variant, cell.seed) for cell in study.cells]


def recipe_of(study: Study, variant: str) -> Any:
    return next(cell.recipe for cell in study.cells if cell.variant == variant)


def test_every_study_has_every_variant_with_every_seed() -> None:
    study = study_from(
        {
            "each": {"task": ["rte", "stsb"]},
            "variants": {"mean": {"pooling": "mean"}},
            "seeds": [7, 8],
        }
    )
    assert cells(study) == [
        (task, variant, seed)
        for task in ("rte", "stsb")
        for variant in ("baseline", "mean")
        for seed in (7, 8)
    ]
    assert [(cell.recipe.seed, cell.recipe.threads) for cell in study.cells[:2]] == [(7, 1), (8, 1)]


def test_axes_are_multiplied_and_named() -> None:
    study = study_from(
        {
            "task": "rte",
            "each": {"encoder": ["minilm", "bert-base-uncased"], "plan.epochs": [1, 2]},
            "seeds": [1],
        }
    )
    assert [cell.study for cell in study.cells] == [
        f"rte encoder={encoder} plan.epochs={n}"
        for encoder in ("minilm", "bert-base-uncased")
        for n in (1, 2)
    ]
    assert [(cell.recipe.encoder, cell.recipe.plan.epochs) for cell in study.cells][-1] == (
        "bert-base-uncased",
        2,
    )


def test_a_recipe_alone_is_its_baseline_with_three_seeds() -> None:
    study = study_from({"task": "rte", "seed": 5})
    assert cells(study) == [("rte", "baseline", seed) for seed in (5, 6, 7)]
    assert study.notes == ("no seeds: in the recipe; these 3 are taken: 5, 6, 7",)


@pytest.mark.parametrize(
    "variant",
    [
        {"plan": {"lr": 1e-4, "epochs": 9}},
        {"plan.lr": 1e-4, "plan.epochs": 9},
        {"plan": {"lr": 1e-4}, "plan.epochs": 9},
    ],
)
def test_dotted_and_nested_are_one(variant: dict[str, Any]) -> None:
    study = study_from(
        {"task": "rte", "plan": {"batch_size": 16}, "variants": {"other": variant}, "seeds": [1]}
    )
    plan = recipe_of(study, "other").plan
    assert (plan.lr, plan.epochs, plan.batch_size) == (1e-4, 9, 16)
    assert recipe_of(study, "baseline").plan.epochs is None


def test_a_technique_is_replaced_and_its_setting_changed() -> None:
    variants = {"mean": {"pooling": {"name": "mean_cls", "k": 2}}, "deeper": {"pooling.k": 4}}
    study = study_from(
        {
            "task": "rte",
            "pooling": {"name": "max_seq_mha", "k": 3, "n_heads": 2},
            "variants": variants,
            "seeds": [1],
        }
    )
    assert dict(recipe_of(study, "mean").tasks["rte"].pooling) == {"name": "mean_cls", "k": 2}
    assert dict(recipe_of(study, "deeper").tasks["rte"].pooling) == {
        "name": "max_seq_mha",
        "k": 4,
        "n_heads": 2,
    }


def test_a_variant_adds_a_task_which_is_trained_and_not_compared() -> None:
    """Shared settings and overrides hold for it as for the others."""
    added = {"same_as": "sts", "losses": {"task": "mnr"}}
    study = study_from(
        {
            "pair": "siamese",
            "data": {"train_rows": 10},
            "tasks": {"sts": {"head": "siamese_cosine"}},
            "variants": {"with_nli": {"tasks": {"sts": {"metrics": ["pearson"]}, "allnli": added}}},
            "seeds": [1],
        },
        ["max_length=48", "data.train_rows=20"],
    )
    recipe = recipe_of(study, "with_nli")
    assert cells(study) == [("sts", "baseline", 1), ("sts", "with_nli", 1)]
    assert list(recipe_of(study, "baseline").tasks) == ["sts"]
    assert {
        name: (one.pair.name, one.max_length, one.data.train_rows, one.same_as)
        for name, one in recipe.tasks.items()
    } == {"sts": ("siamese", 48, 20, None), "allnli": ("siamese", 48, 20, "sts")}
    assert recipe.tasks["allnli"].losses["task"].loss == {"name": "mnr"}
    assert recipe.tasks["sts"].metrics == ("pearson",)


def test_a_variant_replaces_the_tasks_of_each_study_and_is_the_same_run_in_all() -> None:
    tasks = {"sst5": {"max_length": 32}, "sts": {}}
    study = study_from(
        {
            "each": {"tasks": [{"sts": {}}, {"sst5": {}}]},
            "variants": {"together": {"tasks": tasks, "plan.mixing": "sum"}},
            "seeds": [1],
        }
    )
    assert [list(cell.recipe.tasks) for cell in study.cells] == [
        ["sts"],
        ["sst5", "sts"],
        ["sst5"],
        ["sst5", "sts"],
    ]
    assert [cell.tasks for cell in study.cells] == [("sts",), ("sts",), ("sst5",), ("sst5",)]
    one, other = (cell.recipe for cell in study.cells if cell.variant == "together")
    assert one == other
    assert one.tasks["sst5"].max_length == 32


def test_a_reference_is_to_the_study_of_the_same_other_settings() -> None:
    rates = {"plan.lr": [1e-3, 1e-5], "tasks": [{"sts": {}}, {"sst5": {}}]}
    after = {"encoder": {"run": "baseline", "task": "sts"}}
    study = study_from({"each": rates, "variants": {"after": after}, "seeds": [1]})
    found = [
        (cell.recipe.plan.lr, cell.recipe.encoder.run.plan.lr)
        for cell in study.cells
        if cell.variant == "after" and not cell.idle
    ]
    assert found == [(1e-3, 1e-3), (1e-5, 1e-5)]


def test_a_task_that_is_changed_and_not_there_is_still_a_mistake() -> None:
    for changes in ({"tasks.stss.max_length": 5}, {"tasks": {"stss": {"max_length": 5}}}):
        with pytest.raises(RecipeError, match=r"no task called 'stss'.*Did you mean 'sts"):
            study_from({"tasks": {"sts": {}}, "variants": {"other": changes}, "seeds": [1]})


def test_the_source_s_figures_are_not_inherited() -> None:
    variants = {
        "mean": {"pooling": "mean", "expect": {"rte.accuracy": 0.7}},
        "cls": {"pooling": "cls"},
    }
    study = study_from(
        {"task": "rte", "expect": {"rte.accuracy": 0.6}, "variants": variants, "seeds": [1]}
    )
    assert [recipe_of(study, variant).expect for variant in ("baseline", "mean", "cls")] == [
        {"rte.accuracy": 0.6},
        {"rte.accuracy": 0.7},
        {},
    ]


def test_the_command_line_comes_before_a_variant_and_after_each() -> None:
    given = {
        "each": {"plan.epochs": [1, 2]},
        "task": "rte",
        "variants": {"slow": {"plan.lr": 1e-6}},
        "seeds": [1, 2],
    }
    study = study_from(given, ["plan.lr=1e-3", "plan.epochs=8", "seed=3"])
    assert cells(study) == [("rte", "baseline", 3), ("rte", "slow", 3)]
    assert [(cell.recipe.plan.lr, cell.recipe.plan.epochs) for cell in study.cells] == [
        (1e-3, 8),
        (1e-6, 8),
    ]


def test_the_command_line_changes_the_study_itself() -> None:
    given = {
        "each": {"task": ["rte", "mrpc"]},
        "variants": {"slow": {"plan.lr": 1e-6}},
        "seeds": [1, 2],
    }
    study = study_from(
        given,
        [
            "seeds=[9]",
            "each.task=[stsb]",
            "variants.slow.plan.epochs=2",
            "variants.short={plan.epochs: 1}",
            "reference=slow",
        ],
    )
    assert cells(study) == [("stsb", variant, 9) for variant in ("baseline", "slow", "short")]
    assert (
        recipe_of(study, "slow").plan.lr,
        recipe_of(study, "slow").plan.epochs,
        study.reference,
    ) == (1e-6, 2, "slow")


def test_rows_that_are_drawn_are_the_same_for_every_seed(tmp_path: Path) -> None:
    split = study_from(
        {"tasks": {"mine": {"data": {"train": "a.csv"}}}, "seeds": [42, 43]}, base=tmp_path
    )
    cut = study_from({"task": "rte", "data": {"train_rows": 100}, "seeds": [42, 43]})
    fixed = study_from({"task": "rte", "seeds": [42, 43]})
    # The recipe's own seed needs no mention: its run is the one that `encore train` makes.
    assert [
        [cell.recipe.tasks[name].data.seed for cell in study.cells]
        for study, name in ((split, "mine"), (cut, "rte"), (fixed, "rte"))
    ] == [
        [None, 42],
        [None, 42],
        [None, None],
    ]


def test_only_some_variants(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "task: rte\nseeds: [1]\nvariants: {a: {plan.lr: 1e-4}, b: {plan.lr: 1e-3}, c: "
        "{plan.lr: 1e-2}}\n"
    )
    assert load_study(file, only=["c"]).variants == ("baseline", "c")
    with pytest.raises(
        RecipeError, match=r"--only: no variant called 'd'\. Known: a, b, baseline, c\."
    ):
        load_study(file, only=["d"])


MISTAKES = """\
each: {task: [rte, sst, rte]}
seeds: [1, x]
reference: meen
variants:
  mean: {pooling: maen}
  seedy: {seed: 3}
  a.b: {plan.lr: 3}
  empty: {}
  baseline: {plan.lr: 2e-5}
  long:
    plan:
      epochs: many
      lrr: 1
search: {plan.lr: {log_uniform: [1e-5, 5e-5]}}
"""
TOLD = """\
recipe.yaml:1 each.task: 'rte' is listed twice. Keep one.
recipe.yaml:1 each.task: no task called 'sst', and no data.train that names a file. Did you mean
recipe.yaml:2 seeds: expected a list of whole numbers, such as [42, 43, 44], got the list [1, x].
recipe.yaml:3 reference: no variant called 'meen'. Did you mean 'mean'?
recipe.yaml:5 variants.mean.pooling: no pooling called 'maen'. Did you mean 'mean'?
recipe.yaml:6 variants.seedy.seed: a variant cannot set this. Write it at the top of the recipe: seeds: …
recipe.yaml:7 variants.a.b: the name of a variant consists of at most 64 letters, digits, '_' and '-', got 'a.b'.
recipe.yaml:7 variants.a.b.plan.lr: expected a number above 0 and at most 1 or null, got 3.
recipe.yaml:8 variants.empty: expected what it changes, such as {pooling: mean} or {plan.lr: 3e-5}, got an empty mapping. The recipe itself is in the table already, as 'baseline'.
recipe.yaml:9 variants.baseline: this is the name of the recipe itself. Give the variant another name.
recipe.yaml:12 variants.long.plan.epochs: expected a whole number of at least 1 or null, got 'many'.
recipe.yaml:13 variants.long.plan.lrr: no such setting. Did you mean 'lr'?
"""  # noqa: E501


def test_all_mistakes_are_told_at_once_with_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(MISTAKES)
    with pytest.raises(RecipeError) as caught:
        load_study("recipe.yaml")
    assert len(caught.value.lines) == len(TOLD.splitlines())
    for problem, told in zip(caught.value.lines, TOLD.splitlines(), strict=True):
        assert problem.startswith(told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"variants": ["a"]}, "variants: expected a mapping from names to what they change"),
        ({"variants": {"a": "mean"}}, "variants.a: expected what it changes"),
        ({"each": ["rte"]}, "each: expected a mapping from settings to lists"),
        (
            {"each": {"task": "rte"}},
            "each.task: expected a list of values, such as [rte, mrpc], got 'rte'",
        ),
        ({"each": {"seed": [1, 2]}}, "each.seed: seeds and variants are not studies of their own"),
        ({"seeds": 3}, "seeds: expected a list of whole numbers"),
        ({"seeds": [1, 1]}, "seeds: a seed is listed twice"),
        ({"seeds": [-1]}, "seeds: expected a list of whole numbers"),
        (
            {"variants": {"a": {"variants": {"b": {}}}}},
            "variants.a.variants: a variant cannot set this",
        ),
    ],
)
def test_a_mistake_in_the_study_s_own_keys(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        study_from({"task": "rte", **given})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seeds=1,2", r"got '1,2'\. Write \[1,2\]\."),
        (
            "seed=[1,2]",
            r"^override seed=\[1,2\]: expected one seed, got the list \[1, 2\]\. Several are "
            r"seeds=\[1,2\]\.$",
        ),
    ],
)
def test_several_seeds_are_a_list(override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        study_from({"task": "rte"}, [override])
    assert len(caught.value.lines) == 1


def test_a_single_run_of_such_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "each: {task: [rte, mrpc]}\nseeds: [1, 2]\nreference: a\nvariants: {a: {plan.lr: "
        "1e-4}}\nsearch: {plan.lr: {log_uniform: [1e-5, 1e-4]}}\n"
    )
    with pytest.raises(
        RecipeError,
        match=r"recipe\.yaml:1 each: these are separate studies, for `encore compare`\. For a "
        r"single run name one: task=rte",
    ):
        load_recipe(file)
    assert list(load_recipe(file, ["task=mrpc"]).tasks) == ["mrpc"]
    with pytest.raises(
        RecipeError,
        match=r"'seeds' belongs to a comparison, and this is a single run\. Write seed=3 for a "
        r"single run\.",
    ):
        load_recipe(file, ["task=mrpc", "seeds=3"])
    file.write_text("each:\n  tasks:\n    - rte: {}\n    - {rte: {}, mrpc: {}}\n")
    with pytest.raises(
        RecipeError,
        match=r"recipe\.yaml:1 each: these are separate studies, for `encore compare`\.$",
    ):
        load_recipe(file)


def test_too_many_runs_are_refused() -> None:
    with pytest.raises(RecipeError, match="more than 5,000 runs"):
        study_from({"task": "rte", "seeds": list(range(6000))})
