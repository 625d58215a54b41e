"""Claims of the recipes about losses and optimisation that can be computed: what a variant changes,
printed figures, rates, phases.
"""

from __future__ import annotations

from typing import Any

import pytest

from encore import catalogue
from encore.model.selection import Selector
from encore.recipe.schema import Recipe
from encore.types import Progress
from recipe.test_recipe_claims import N_BERT, n_parameters, plan_of, recipes

OF_SST = {  # METHODS, tables E and F: mean and maximum of three seeds, in points
    "serbertus_dropout": {
        "baseline": (51.7, 52.6),
        "dropout_10": (51.6, 52.0),
        "dropout_20": (51.5, 52.1),
        "dropout_30": (51.4, 52.1),
        "dropout_50": (51.6, 52.0),
        "dropout_70": (51.4, 51.9),
        "dropout_90": (51.4, 52.1),
    },
    "serbertus_adamw": {"baseline": (52.6, 52.8), "torch": (52.7, 53.2)},
    "serbertus_weight_decay": {
        "baseline": (52.7, 53.2),
        "decay_1e_5": (52.6, 53.1),
        "decay_1e_4": (52.5, 53.1),
        "decay_1e_3": (51.9, 53.1),
        "decay_1e_2": (51.6, 52.8),
    },
    "serbertus_layer_decay": {
        "baseline": (51.7, 52.6),
        "embed_0": (51.3, 51.8),
        "embed_5e_6": (51.9, 52.1),
        "layer_95": (52.4, 53.2),
        "layer_90": (52.2, 52.9),
        "head_15e_6": (52.1, 52.6),
        "head_2e_5": (51.9, 52.4),
        "head_1e_4": (51.7, 51.7),
        "head_1e_3": (50.6, 51.1),
    },
}
OF_STS = {
    "baseline": (86.6, 86.6),
    "dropout_10": (86.4, 86.5),
    "dropout_20": (86.2, 86.3),
    "dropout_30": (86.2, 86.5),
    "dropout_50": (86.4, 86.6),
    "dropout_70": (86.4, 86.4),
    "dropout_90": (86.8, 87.0),
}


@pytest.mark.parametrize("name", [*OF_SST, "serbertus_dropout_sts"])
def test_the_printed_rows_of_tables_1_to_4(name: str) -> None:
    key, rows = ("sst5.accuracy", OF_SST[name]) if name in OF_SST else ("sts.pearson", OF_STS)
    found = {
        variant: (100 * recipe.expect[key], 100 * recipe.expect[f"{key}.max"])
        for variant, recipe in recipes(name).items()
    }
    assert found.keys() == rows.keys()
    for variant, figures in rows.items():
        assert found[variant] == pytest.approx(figures), variant


def test_the_rows_of_three_tasks_have_the_means_that_the_paper_prints() -> None:
    """Table 3 (75.3 at 1e-2 is the mean of 88.7, 86.5, 50.7), and table 7 to two digits."""
    for name in ("serbertus_weight_decay_multi", "serbertus_single"):
        for variant, recipe in recipes(name).items():
            said = dict(recipe.expect)
            if "cs224n.r" in said:
                mean = said.pop("cs224n.r")
                assert sum(said.values()) / 3 == pytest.approx(mean, abs=6e-4), (name, variant)


@pytest.mark.parametrize("name", OF_SST)
def test_a_row_differs_from_the_baseline_in_what_its_name_says(name: str) -> None:
    """And 90 % of dropout in its 30 epochs (section 4.3.2)."""
    found = recipes(name)
    base = found.pop("baseline")
    for variant, recipe in found.items():
        changed = plan_changes(base, recipe) | head_changes(base, recipe)
        assert len(changed) == (2 if variant == "dropout_90" else 1), (variant, changed)
    dropout = recipes("serbertus_dropout")
    assert dropout["dropout_90"].plan.epochs == 30
    assert {name: one.tasks["sst5"].head.settings["dropout"] for name, one in dropout.items()} == {
        "baseline": 0.0,
        **{name: int(name[-2:]) / 100 for name in dropout if name != "baseline"},
    }


def plan_changes(base: Recipe, other: Recipe) -> dict[str, Any]:
    """Setting → its value in `other`, where the plans differ."""
    old, new = plan_of(base, ""), plan_of(other, "")
    return {key: value for key, value in new.items() if old[key] != value}


def head_changes(base: Recipe, other: Recipe) -> dict[str, Any]:
    (old,), (new,) = base.tasks.values(), other.tasks.values()
    return {} if old.head == new.head else {"head": new.head}


def test_table_4_s_names_are_its_rates() -> None:
    """At the base rate 1e-5."""
    found = recipes("serbertus_layer_decay")
    rates = {name: one.plan.head_multiplier * 1e-5 for name, one in found.items()}
    assert {name: rates[name] for name in rates if name.startswith("head")} == pytest.approx(
        {"head_15e_6": 1.5e-5, "head_2e_5": 2e-5, "head_1e_4": 1e-4, "head_1e_3": 1e-3}
    )
    assert (found["embed_0"].plan.embedding_lr, found["embed_5e_6"].plan.embedding_lr) == (0, 5e-6)
    assert (found["layer_95"].plan.layer_decay, found["layer_90"].plan.layer_decay) == (0.95, 0.9)


def test_smart_has_the_paper_s_settings_by_default() -> None:
    """Section 4.3.5: one step, ε = 1e-6, σ = 1e-5, η = 1e-3."""
    settings = catalogue.settings("losses", "smart")
    names = ("steps", "epsilon", "sigma", "step_size", "mode")
    assert [settings[name].default for name in names] == [1, 1e-6, 1e-5, 1e-3, "reference"]
    for variant, recipe in recipes("serbertus_smart").items():
        terms = recipe.tasks["sst5"].losses
        if variant != "baseline":
            assert terms["smart"].weight == int(variant.rpartition("_")[2])
            summed = dict(terms["smart"].loss or {}).get("reduction") == "sum"
            assert summed is not variant.startswith("mean")


def test_table_7_has_one_weight_for_all_tasks() -> None:
    weights = {
        variant: {
            term.weight
            for task in recipe.tasks.values()
            for name, term in task.losses.items()
            if name == "smart"
        }
        for variant, recipe in recipes("serbertus_single").items()
    }
    assert weights == {
        "baseline": {12},
        "branch_2": {15},
        "branch_3": {12},
        "branch_2_best": {12},
        "no_smart": set(),
    }


def test_bert_is_unfrozen_whole_in_the_14th_epoch_of_20() -> None:
    for variant, recipe in recipes("serbertus_unfreezing").items():
        plan = catalogue.build("plans", recipe.plan.spec)(tuple(recipe.tasks))
        if variant == "baseline":
            assert len(plan) == 1
            continue
        assert [phase.epochs for phase in plan] == [1] * 20
        assert [Selector.parse(phase.trainable).k for phase in plan[:15]] == list(range(15))


def test_the_rate_falls_by_what_the_paper_says() -> None:
    """1e-5 − 4e-7 · epoch; 2.4e-6 in the last of twenty (METHODS 3.3)."""
    plan = recipes("gen_b1")["baseline"].plan
    (phase,) = catalogue.build("plans", plan.spec)(("sts",))
    assert phase.curve is not None
    rates = [1e-5 * phase.curve(Progress(0, 1, epoch=epoch, lr=1e-5)) for epoch in (0, 1, 19)]
    assert (rates, plan.epochs) == (pytest.approx([1e-5, 9.6e-6, 2.4e-6]), 20)


def test_b1_b2_and_b3_differ_as_the_paper_says() -> None:
    """B2 is B1 without AllNLI, B3 is B2 with dropout .3 in the heads (section 5.4)."""
    b1, b2, b3 = (recipes(f"gen_b{number}") for number in (1, 2, 3))
    assert b2["with_allnli"].tasks == b1["baseline"].tasks
    assert set(b1["baseline"].tasks) - set(b2["baseline"].tasks) == {"allnli"}
    assert b2["with_dropout"].tasks == b3["baseline"].tasks
    assert plan_of(b1["baseline"], "") == plan_of(b2["baseline"], "")
    assert plan_of(b2["baseline"], "epochs") == plan_of(b3["baseline"], "epochs")
    assert (b2["baseline"].plan.epochs, b3["baseline"].plan.epochs) == (20, 10)
    assert n_parameters(b2["baseline"]) - N_BERT == 1_315_334  # METHODS 4.13, size 256


def test_two_registered_studies_share_their_baseline() -> None:
    smart, decay = (recipes(f"{name}_minilm")["baseline"] for name in ("smart", "layer_decay"))
    assert smart.tasks == decay.tasks
    assert plan_of(smart, "") == plan_of(decay, "")
    assert (smart.encoder, smart.precision, smart.seed) == (
        decay.encoder,
        decay.precision,
        decay.seed,
    )
