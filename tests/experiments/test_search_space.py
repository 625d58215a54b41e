"""The search space of a recipe: every mistake with its place, and the recipe of every
trial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encore.errors import RecipeError
from encore.experiments.search_space import Search, load_search, search_from

PAPER = {
    "task": "rte",
    "pooling": "pooler",
    "head": {"name": "linear", "dropout": 0.1},
    "search": {
        "plan.lr": {"log_uniform": [1e-5, 1e-4]},
        "plan.epochs": {"choice": [3, 5, 10, 15]},
        "max_length": {"choice": [64, 128, 256]},
        "head.dropout": {"uniform": [0.0, 0.2]},
    },
    "trials": 48,
}
SPACE = {"plan.lr": {"log_uniform": [1e-5, 1e-4]}}


def problems(search: Any, *overrides: str, **keys: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        search_from({"task": "rte", "search": search, **keys}, overrides)
    return list(caught.value.lines)


def test_the_papers_space() -> None:
    found = search_from(PAPER)
    assert (found.trials, found.seeds_per_trial, found.trial_seeds, found.seeds) == (
        48,
        1,
        (42,),
        (43, 44, 45),
    )
    assert {one.path: (one.kind, one.tried) for one in found.parameters} == {
        "plan.lr": ("log_uniform", (1e-5, 1e-4)),
        "plan.epochs": ("choice", (3, 5, 10, 15)),
        "max_length": ("choice", (64, 128, 256)),
        "head.dropout": ("uniform", (0.0, 0.2)),
    }
    recipe = found.recipe(
        {"plan.lr": 3e-5, "plan.epochs": 10, "max_length": 256, "head.dropout": 0.05}, 43
    )
    task = recipe.tasks["rte"]
    assert (recipe.plan.lr, recipe.plan.epochs, task.max_length, dict(task.head)) == (
        3e-5,
        10,
        256,
        {"name": "linear", "dropout": 0.05},
    )
    assert (recipe.seed, recipe.threads, task.pooling.name if task.pooling else None) == (
        43,
        1,
        "pooler",
    )


def test_whole_techniques_are_values() -> None:
    space = {
        "pooling": {
            "choice": [
                "cls",
                {"name": "max_cls", "k": 2},
                {"name": "concat", "of": ["mean", {"name": "max_cls", "k": 1}]},
            ]
        },
        "losses.task": {"choice": [None, {"name": "cross_entropy"}]},
    }
    found = search_from({"task": "rte", "search": space})
    pooling, loss = found.parameters
    assert pooling.labels == (
        "cls",
        "{name: max_cls, k: 2}",
        "{name: concat, of: [mean, {name: max_cls, k: 1}]}",
    )
    assert loss.labels == (None, "{name: cross_entropy}")
    told = [
        found.recipe({"pooling": label, "losses.task": loss.labels[-1]}).tasks["rte"]
        for label in pooling.labels
    ]
    assert [task.pooling.settings for task in told if task.pooling] == [
        {},
        {"k": 2},
        {"of": ({"name": "mean", "include_special": True}, {"name": "max_cls", "k": 1})},
    ]
    assert told[0].losses["task"].loss is not None


def test_dotted_and_nested_are_one() -> None:
    nested = search_from(
        {
            "task": "rte",
            "search": {"plan": {"lr": {"log_uniform": [1e-5, 1e-4]}, "epochs": {"int": [1, 3]}}},
        }
    )
    assert [(one.path, one.tried) for one in nested.parameters] == [
        ("plan.lr", (1e-5, 1e-4)),
        ("plan.epochs", (1, 2, 3)),
    ]


def test_what_the_command_line_sets_is_not_searched() -> None:
    found = search_from(
        PAPER,
        [
            "plan.lr=3e-5",
            "trials=7",
            "seeds=[1, 2]",
            "seeds_per_trial=2",
            "search.plan.batch_size={choice: [8, 16]}",
            "seed=9",
        ],
    )
    assert [one.path for one in found.parameters] == [
        "plan.epochs",
        "max_length",
        "head.dropout",
        "plan.batch_size",
    ]
    assert found.notes == ("plan.lr is set on the command line and not searched",)
    assert (found.trials, found.trial_seeds, found.seeds, found.recipe(found.first).plan.lr) == (
        7,
        (9, 10),
        (1, 2),
        3e-5,
    )
    assert search_from(PAPER, trials=5).trials == 5
    for narrower in (
        "search.plan.lr={log_uniform: [2e-5, 3e-5]}",
        "search.plan.lr.log_uniform=[2e-5, 3e-5]",
    ):
        assert search_from(PAPER, [narrower]).parameters[0].tried == (2e-5, 3e-5), narrower


@pytest.mark.parametrize("asked", [0, 100_001, 10**12])
def test_as_many_trials_as_nobody_can_run(asked: int) -> None:
    with pytest.raises(RecipeError) as caught:
        search_from(PAPER, trials=asked)
    assert caught.value.lines == (
        f"trials: expected a number of trials, such as 48 (1 to 100,000), got {asked}.",
    )


def test_rows_that_are_drawn_are_the_same_for_every_seed() -> None:
    found = search_from({"task": "rte", "data": {"train_rows": 100}, "search": SPACE})
    assert [found.recipe(found.first, seed).tasks["rte"].data.seed for seed in (42, 43)] == [
        None,
        42,
    ]


def test_everything_that_is_wrong_is_told_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    lines = {
        "plan.lrr: {log_uniform: [1e-5, 1e-4]}": "search.plan.lrr: no such setting. Did you mean 'lr'?",  # noqa: E501
        "plan.lr: {log_uniform: [0, 1e-4]}": "search.plan.lr: log_uniform: expected two numbers above 0, got the list [0, "  # noqa: E501
        "0.0001].",
        "plan.weight_decay: {uniform: [0.2, 0.1]}": "search.plan.weight_decay: uniform: expected the lower end first, got the list "  # noqa: E501
        "[0.2, 0.1]. Did you mean",
        "plan.epochs: {uniform: [1, 5]}": "search.plan.epochs: uniform gives any number between its ends, and this setting "  # noqa: E501
        "is a whole one. Write int",
        "plan.batch_size: {categorical: [8, 16]}": "search.plan.batch_size: no search space "
        "called 'categorical'. Did you mean "
        "'choice'?",
        "max_length: {choice: [4, 64]}": "search.max_length: expected a whole number of at least 8, got 4.",  # noqa: E501
        "head: {dropout: {uniform: [0, 0.2]}}": "search.head: write the setting with dots: head.dropout: {uniform: …}.",  # noqa: E501
        "pooling: {choice: [maen, cls]}": "search.pooling: no pooling called 'maen'. Did you mean 'mean'?",  # noqa: E501
        "seed: {int: [1, 5]}": "search.seed: this cannot be searched. A seed is luck: seeds_per_trial: 3 averages "  # noqa: E501
        "over it.",
        "losses.task: {choice: [mse, {name: hinge}]}": "no loss called 'hinge'.",
        "plan.clip_norm: 3": "search.plan.clip_norm: expected a search space, such as {uniform: "
        "[0.0, 0.2]}, "
        "got 3.",
        "truncation: [head, tail]": "search.truncation: expected a search space, such as "
        "{choice: ['head', 'tail']}, "
        "got the list [head, tail].",
    }
    file.write_text(
        "task: rte\nsearch:\n"
        + "".join(f"  {line}\n" for line in lines)
        + "trials: none\nseeds: [42]\nseeds_per_trial: 0\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_search(file)
    told = list(caught.value.lines)
    for number, said in enumerate(lines.values(), 3):
        assert any(line.startswith(f"{file}:{number} ") and said in line for line in told), said
    end = 3 + len(lines)
    assert told[-3].startswith(
        f"{file}:{end} trials: expected a number of trials, such as 48 (1 to 100,000), got 'none'."
    )
    assert told[-2].startswith(
        f"{file}:{end + 1} seeds: 42: trials are trained with this seed, so it is not a fresh one."
    )
    assert told[-1].startswith(f"{file}:{end + 2} seeds_per_trial: expected a number of seeds")


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (None, "nothing to search. Add search: {plan.lr: {log_uniform: [1e-5, 1e-4]}}."),
        ([1], "expected a mapping from settings to search spaces"),
        (
            {"plan.lr": {"log_uniform": [1e-5]}},
            "log_uniform: expected two numbers, such as [1e-5, 1e-4], got the list [1e-05].",
        ),
        ({"plan.lr": {"log_uniform": [1e-5, 1e-4, 1e-3]}}, "For single values write choice."),
        (
            {"plan.lr": {"log_uniform": [1e-5, 2]}},
            "plan.lr: expected a number above 0 and at most 1 or null, got 2.0.",
        ),
        (
            {"plan.epochs": {"int": [1, 2.5]}},
            "int: expected two whole numbers, such as [1, 6], got the list [1, 2.5].",
        ),
        (
            {"plan.epochs": {"int": [3, 3]}},
            "For a single value write it in the recipe, outside search.",
        ),
        (
            {"plan.epochs": {"int": [1, 10**24]}},
            "int: expected two whole numbers of at most 15 digits, got the list [1, "
            "1000000000000000000000000].",
        ),
        (
            {"plan.lr": {"loguniform": [1e-5, 1e-4]}},
            "called 'loguniform'. Did you mean 'log_uniform'? Known: choice, int, log_uniform, "
            "uniform.",
        ),
        ({"plan.lr": {"range": [1e-5, 1e-4]}}, "called 'range'. Did you mean 'uniform'? Known: "),
        ({"plan.epochs": {"choice": [3]}}, "choice: expected a list of two values or more"),
        ({"plan.epochs": {"choice": [3, 5, 3]}}, "choice: 3 is listed twice. Keep one."),
        ({"plan.lr": {"log_uniform": [1e-5, 1e-4], "uniform": [0, 1]}}, "Keep one of them."),
        (
            {"pooling": {"choice": ["cls", "mean"]}, "pooling.k": {"int": [1, 2]}},
            "pooling.k: 'pooling' is searched too, and one is a part of the other.",
        ),
        (
            {"pooling.k": {"int": [1, 2]}, "pooling": {"choice": ["cls", "mean"]}},
            "pooling: 'pooling.k' is searched too, and one is a part of the other.",
        ),
        (
            {"max_length": {"int": [64, 65]}, "tasks.rte.max_length": {"int": [64, 65]}},
            "'max_length' is searched too, and one is a part of the other.",
        ),
        ({"tasks.mrpc.max_length": {"int": [64, 65]}}, "no task called 'mrpc'."),
        (
            {"metrics": {"choice": [["accuracy"], ["f1"]]}},
            "metrics: this cannot be searched: it decides how trials are measured",
        ),
        (
            {"tasks.rte.metrics": {"choice": [["accuracy"], ["f1"]]}},
            "tasks.rte.metrics: this cannot be searched: it decides how trials are measured",
        ),
        (
            {"tasks.rte.data.dev_rows": {"int": [10, 20]}},
            "tasks.rte.data.dev_rows: this cannot be searched: it decides how trials are measured",
        ),
        ({"variants.x": {"int": [1, 2]}}, "variants.x: this cannot be searched."),
        ({"plan.early_stopping": {"int": [1, 2]}}, "keep: last would keep them"),
    ],
)
def test_a_wrong_space(search: Any, said: str) -> None:
    told = problems(search)
    assert any(said in line for line in told), told


def test_values_that_do_not_go_together_are_found() -> None:
    together = {"plan.batch_size": {"choice": [8, 32]}, "plan.micro_batch": {"choice": [4, 16]}}
    (told,) = problems(together)
    assert "plan.micro_batch: expected at most the batch size (8), got 16." in told
    # 32 alone would not go with micro-batches of 4 and 8 either, if the recipe's own value counted
    # and not the searched one.
    right = {"plan.batch_size": {"choice": [8, 16]}, "plan.micro_batch": {"choice": [4, 8]}}
    assert search_from({"task": "rte", "plan": {"micro_batch": 32}, "search": right}).trials == 20


def test_ends_of_ranges_that_do_not_go_together_are_found() -> None:
    """Each goes with the first value of the other."""
    (told,) = problems(
        {"plan.batch_size": {"choice": [32, 8]}, "plan.micro_batch": {"int": [4, 16]}}
    )
    assert "plan.micro_batch: expected at most the batch size (8), got 16." in told


def test_long_ranges_are_tried_out_at_their_ends_and_short_ones_throughout() -> None:
    found = [
        search_from({"task": "rte", "search": {"plan.batch_size": {"int": [1, most]}}})
        .parameters[0]
        .tried
        for most in (64, 65)
    ]
    assert found == [tuple(range(1, 65)), (1, 65)]


def test_fresh_seeds_are_those_that_no_trial_has() -> None:
    found = search_from({"task": "rte", "search": SPACE, "seeds_per_trial": 3, "seed": 9})
    assert (found.trial_seeds, found.seeds) == ((9, 10, 11), (12, 13, 14))
    (told,) = problems(SPACE, seeds_per_trial=3, seeds=[41, 44])
    assert "seeds: 44: trials are trained with this seed, so it is not a fresh one." in told


def test_a_recipe_that_is_wrong_by_itself_is_told_once() -> None:
    assert (
        problems(SPACE, pooling="maen")
        == [line for line in problems(SPACE, pooling="maen") if "maen" in line][:1]
    )


def test_other_commands_pass_over_it() -> None:
    from encore.experiments.variants import study_from
    from encore.recipe.load import recipe_from

    assert recipe_from(PAPER).plan.epochs is None
    assert study_from(PAPER).variants == ("baseline",)
    assert isinstance(search_from(PAPER), Search)
