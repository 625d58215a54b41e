"""The weights that the tasks have in common: how many there are in all, which of them a batch of
one task moves, and that what is shared is one object.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from small_encoders import BERT_BASE
from torch import Tensor

from encore import catalogue
from encore.encoder import load
from encore.encoder.encoder import Frozen
from encore.errors import RecipeError
from encore.model.assembly import TaskSpec, assemble
from encore.model.parameters import first_names, unique_parameters, unique_state
from encore.model.task_model import TaskModel
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.gradients.pcgrad import Pcgrad
from encore.training import optimiser as optimiser_module
from encore.training import step
from encore.types import Batch, LabelSpace, Phase, Spec, Tokens

TINY = BERT_BASE | {
    "vocab_size": 61,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
SST, QQP, STS = (
    LabelSpace("multiclass", ("1", "2", "3", "4", "5")),
    LabelSpace("binary", ("no", "yes")),
    LabelSpace("regression"),
)
CROSS = {"name": "cross"}


def parts(pooling: str = "pooler", dropout: float = 0.1) -> dict[str, TaskSpec]:
    """SerBERTus' three tasks, with 5 logits, one logit and one value."""
    linear = {"name": "linear", "dropout": dropout}
    return {
        "sst": TaskSpec(SST, {"name": pooling}, linear, CROSS),
        "qqp": TaskSpec(QQP, {"name": pooling}, linear | {"one_logit": True}, CROSS),
        "sts": TaskSpec(STS, {"name": pooling}, linear, CROSS),
    }


def on_paper(sharing: Spec) -> dict[str, TaskModel]:
    encoder = load.build_skeleton(BERT_BASE)
    with load.on_meta_device():
        return assemble(parts(), sharing, encoder, encoder.shape, seed=1)


def tiny(
    sharing: Spec,
    *,
    pooling: str = "pooler",
    dropout: float = 0.1,
    only: tuple[str, ...] = ("sst", "qqp", "sts"),
    dtype: torch.dtype = torch.float32,
) -> dict[str, TaskModel]:
    """The same with weights: random ones stand for the pretrained."""
    config = TINY | {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    encoder = load.build_encoder(config)
    encoder.dtype = dtype
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=draw) * 0.2
                + (1.0 if "norm" in name and "weight" in name else 0.0)
            )
    pooler = torch.nn.Linear(12, 12)
    with torch.no_grad():
        pooler.weight.copy_(torch.randn(12, 12, generator=draw) * 0.3)
        pooler.bias.copy_(torch.randn(12, generator=draw) * 0.1)
    chosen = {name: part for name, part in parts(pooling, dropout).items() if name in only}
    return assemble(chosen, sharing, encoder, replace(encoder.shape, pooler=pooler), seed=1)


def count(models: Mapping[str, TaskModel]) -> int:
    return sum(p.numel() for p in unique_parameters(models).values())


BERT, LAYER, POOLER = 109_482_240, 7_087_872, 590_592
HEADS, WIDE_HEADS = 3_845 + 769 + 769, (2 * 768 + 1) * 7
ALL: dict[str, Spec] = {
    **{name: name for name in catalogue.names("sharing")},
    "branch_of_1": {"name": "branch", "own_layers": 1},
    "branch_of_own_poolers": {"name": "branch", "own_layers": 1, "pooler": "own"},
    "one_of_own_poolers": {"name": "one", "pooler": "own"},
    "static_of_one": {"name": "static", "of": "one"},
    "static_of_multi_and_own": {"name": "static", "of": "multi_and_own"},
    "static_of_branch": {"name": "static", "of": {"name": "branch", "own_layers": 2}},
}


@pytest.mark.parametrize(
    ("sharing", "total"),
    [
        ("one", BERT + HEADS),
        ({"name": "branch", "own_layers": 0}, 109_482_240 + 5_383),
        ({"name": "branch", "own_layers": 2}, 137_833_728 + 5_383),
        ({"name": "branch", "own_layers": 3}, 152_009_472 + 5_383),
        ({"name": "branch", "own_layers": 12}, 279_591_168 + 5_383),
        ({"name": "branch", "own_layers": 2, "pooler": "own"}, 137_833_728 + 2 * POOLER + HEADS),
        ({"name": "branch", "own_layers": 3, "pooler": "own"}, 152_009_472 + 2 * POOLER + HEADS),
        ({"name": "one", "pooler": "own"}, BERT + 2 * POOLER + HEADS),
        ("separate", 3 * BERT + HEADS),
        ("multi_and_own", 4 * BERT + WIDE_HEADS),
        ("static", 4 * BERT + WIDE_HEADS),
        ({"name": "static", "of": "one"}, 2 * BERT + WIDE_HEADS),
        ({"name": "static", "of": "multi_and_own"}, 5 * BERT + (3 * 768 + 1) * 7),
    ],
)
def test_the_parameters_are_those_that_methods_counts(sharing: Spec, total: int) -> None:
    assert count(on_paper(sharing)) == total


def test_the_printed_sizes() -> None:
    """SerBERTus prints 138 M and 153 M, between what a shared and an own pooler give (METHODS
    4.6).
    """
    sizes = [BERT + 2 * k * LAYER + poolers * POOLER for k in (2, 3) for poolers in (0, 2)]
    assert [round(size / 1e6, 2) for size in sizes] == [137.83, 139.01, 152.01, 153.19]


# ---------------------------------------------------------------------------------------- isolation


def tokens(seed: int, lengths: tuple[int, ...] = (5, 3, 7, 4)) -> Tokens:
    ids = torch.randint(61, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    positions = torch.cat([torch.arange(length) for length in lengths])
    return Tokens(
        ids,
        torch.zeros_like(ids),
        positions,
        torch.tensor([0, *itertools.accumulate(lengths)]),
        lengths,
    )


def batch(task: str, seed: int) -> Batch:
    targets = {
        "sst": torch.tensor([0, 4, 2, 2]),
        "qqp": torch.tensor([1, 0, 1, 1]),
        "sts": torch.tensor([0.5, 4.0, 2.5, 1.0]),
    }[task]
    return Batch(task, "digest", np.arange(4), tokens(seed), targets, torch.ones(4))


LOSSES = {
    task: catalogue.build("losses", "mse" if labels is STS else "cross_entropy", labels)
    for task, labels in {"sst": SST, "qqp": QQP, "sts": STS}.items()
}


def optimiser_of(models: Mapping[str, TaskModel]) -> torch.optim.AdamW:
    return optimiser_module.adamw(
        unique_parameters(models),
        Phase(tuple(models), epochs=1, lr=0.01, curve=ConstantCurve(), weight_decay=0.1),
    )


def take(
    models: Mapping[str, TaskModel], optimiser: torch.optim.AdamW, task: str, number: int
) -> None:
    part = step.StepInput(models[task], [batch(task, number)], {"task": (1.0, LOSSES[task])})
    step.take_step([part], optimiser, seed=3, step=number, clip_norm=1.0)


def snapshot(
    parameters: Mapping[str, torch.nn.Parameter], optimiser: torch.optim.AdamW
) -> dict[str, Tensor]:
    found = {name: p.detach().clone() for name, p in parameters.items()}
    return found | {
        f"{name}/{key}": value.clone()
        for name, p in parameters.items()
        for key, value in optimiser.state.get(p, {}).items()
    }


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_one_task_moves_nothing_that_is_another_s_alone(name: str) -> None:
    """Bit for bit, with weight decay on, and with the momentum that the other's own batches have
    left behind.
    """
    models = tiny(ALL[name])
    parameters, optimiser = unique_parameters(models), optimiser_of(models)
    users = {
        key: {task for task, model in models.items() if any(p is q for q in model.parameters())}
        for key, p in parameters.items()
    }
    for number, task in enumerate(("qqp", "sts", "sst", "qqp"), start=1):
        take(models, optimiser, task, number)
    before = snapshot(parameters, optimiser)
    take(models, optimiser, "sst", 9)
    after = snapshot(parameters, optimiser)
    # The keys' bias has no gradient but rounding, and segment 1 does not occur.
    moved = {key for key in parameters if not torch.equal(before[key], after[key])}
    for key in parameters:
        if "sst" not in users[key]:
            assert all(
                torch.equal(before[entry], after[entry])
                for entry in before
                if entry == key or entry.startswith(f"{key}/")
            ), key
            assert f"{key}/exp_avg" in before or not parameters[key].requires_grad
    assert moved == {
        key for key in parameters if "sst" in users[key] and parameters[key].requires_grad
    }
    assert any(users[key] == {"qqp"} for key in parameters)


@pytest.mark.parametrize("name", ALL)
def test_what_is_shared_gets_a_gradient_from_every_task_and_what_is_not_from_its_own(
    name: str,
) -> None:
    models = tiny(ALL[name])
    parameters = unique_parameters(models)
    for task, model in models.items():
        total, weight = LOSSES[task](model, batch(task, 1), model(tokens(1)))
        (total / weight).backward()
        own = {id(p) for p in model.parameters() if p.requires_grad}
        for key, p in parameters.items():
            assert (p.grad is not None) == (id(p) in own), (task, key)
            p.grad = None


@pytest.mark.parametrize("name", ALL)
def test_at_the_start_all_tasks_see_the_same(name: str) -> None:
    models = {task: model.eval() for task, model in tiny(ALL[name]).items()}
    with torch.no_grad():
        found = [model.vectors(tokens(2))[0] for model in models.values()]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    width = found[0].shape[1] // len(models["sst"].branches)
    assert all(torch.equal(half, found[0][:, :width]) for half in found[0].split(width, dim=1))


@pytest.mark.parametrize("dropout", [0.1, 0.0])
def test_no_two_tasks_of_a_step_draw_the_same_masks(dropout: float) -> None:
    """The same batch and model twice in one step: without dropout the losses are equal."""
    models = tiny("one", dropout=dropout)
    part = step.StepInput(models["sst"], [batch("sst", 1)], {"task": (1.0, LOSSES["sst"])})
    first, second = step.take_step(
        [part, part], optimiser_of(models), seed=3, step=1, clip_norm=1.0
    ).parts
    assert (first.loss == second.loss) == (dropout == 0)


def test_a_combine_is_given_each_task_s_own_gradient_and_an_order_drawn_for_each_task_and_step() -> (  # noqa: E501
    None
):
    models = tiny("one", dropout=0.0)
    parameters, optimiser = unique_parameters(models), optimiser_of(models)
    given: list[tuple[Any, Any]] = []

    def watched(gradients: Any, order: Any) -> Any:
        given.append((gradients, order))
        return Pcgrad()(gradients, order)

    parts = [
        step.StepInput(model, [batch(task, 1)], {"task": (1.0, LOSSES[task])})
        for task, model in models.items()
    ]
    alone = []
    for task, model in models.items():
        total, weight = LOSSES[task](model, batch(task, 1), model(tokens(1)))
        (total / weight).backward()
        alone.append({p: p.grad.clone() for p in parameters.values() if p.grad is not None})
        model.zero_grad()
    optimiser_module.set_rate(optimiser, 0.0)
    for number in (1, 1, 2, 3, 4, 5, 6, 7):
        step.take_step(parts, optimiser, seed=3, step=number, clip_norm=None, combine=watched)
    for found, expected in zip(given[0][0], alone, strict=True):
        assert set(found) == set(expected)
        for p, gradient in expected.items():
            torch.testing.assert_close(found[p], gradient)
    orders = [order for _, order in given]
    assert orders[0] == orders[1]  # a function of seed and step
    assert len({str(order) for order in orders}) > 4
    assert all(sorted(own) == [0, 1, 2] for order in orders for own in order)
    assert any(len({tuple(own) for own in order}) > 1 for order in orders)


def test_the_weight_of_a_loss_scales_its_gradient_and_adam_does_not_care() -> None:
    """METHODS 4.10: a tenth of the loss is a tenth of the gradient; with one task AdamW takes the
    same way, but for its epsilon and what it divides by.
    """
    found = {}
    for weight in (1.0, 0.1):
        models = tiny("one", dropout=0.0, only=("qqp",))
        optimiser, norms = optimiser_of(models), []
        optimiser_module.set_rate(optimiser, 0.001)
        for number in range(1, 4):
            part = step.StepInput(
                models["qqp"], [batch("qqp", number)], {"task": (weight, LOSSES["qqp"])}
            )
            norms.append(
                step.take_step([part], optimiser, seed=3, step=number, clip_norm=None).grad_norm
            )
        found[weight] = (
            norms[0],
            {name: p for name, p in models["qqp"].named_parameters() if "key.bias" not in name},
        )
    assert found[0.1][0] == pytest.approx(0.1 * found[1.0][0], rel=1e-5)
    start = dict(tiny("one", dropout=0.0, only=("qqp",))["qqp"].named_parameters())
    for name, parameter in found[1.0][1].items():
        moved = (parameter - start[name]).abs().mean()
        assert (found[0.1][1][name] - parameter).abs().mean() <= 0.02 * moved, name


# --------------------------------------------------------------------------------------- one by one


def test_one_shares_all_but_the_heads() -> None:
    models = tiny("one")
    assert models["sst"].branches[0] is models["sts"].branches[0]
    assert len({id(model.head) for model in models.values()}) == 3


def test_branch_shares_what_is_below_and_only_that() -> None:
    models = tiny({"name": "branch", "own_layers": 1})
    first, second = (models[task].branches[0].encoder for task in ("sst", "sts"))
    assert first.embed is second.embed
    assert [one is other for one, other in zip(first.blocks, second.blocks, strict=True)] == [
        True,
        True,
        False,
    ]
    assert models["sst"].branches[0].pooling is models["sts"].branches[0].pooling
    own = tiny({"name": "branch", "own_layers": 1, "pooler": "own"})
    assert own["sst"].branches[0].pooling is not own["sts"].branches[0].pooling
    assert (
        unique_parameters(tiny({"name": "branch", "own_layers": 0})).keys()
        == unique_parameters(tiny("one")).keys()
    )


def test_more_own_layers_than_there_are_is_refused() -> None:
    with pytest.raises(
        RecipeError,
        match="sharing: own_layers: expected a number from 0 to 3, the encoder's layers, got 4",
    ):
        tiny({"name": "branch", "own_layers": 4})


@pytest.mark.parametrize(
    "other",
    [
        TaskSpec(STS, {"name": "attention"}, {"name": "linear"}, CROSS),
        TaskSpec(STS, {"name": "max_cls", "k": 3}, {"name": "linear"}, CROSS),
        TaskSpec(
            STS,
            {"name": "max_cls", "k": 2},
            {"name": "siamese_cosine"},
            {"name": "siamese_attend", "n_heads": 3},
        ),
    ],
)
def test_other_poolings_are_not_shared(other: TaskSpec) -> None:
    """Of another kind, of other settings, or with a layer in front."""
    encoder = load.build_encoder(TINY)
    mixed = (
        parts()
        | {
            task: replace(part, pooling={"name": "max_cls", "k": 2})
            for task, part in parts().items()
            if task != "sts"
        }
        | {"sts": other}
    )
    models = assemble(mixed, "one", encoder, encoder.shape, seed=1)
    poolings = [model.branches[0].pooling for model in models.values()]
    assert poolings[0] is poolings[1]
    assert poolings[2] is not poolings[0]
    assert models["sts"].branches[0].encoder is models["sst"].branches[0].encoder
    twins = assemble({"a": other, "b": other}, "one", encoder, encoder.shape, seed=1)
    assert twins["a"].branches[0] is twins["b"].branches[0]


@pytest.mark.parametrize(
    ("written", "pair"),
    [
        ({"name": "pooler", "frozen": False}, {"name": "siamese_attend", "n_heads": 4}),
        ({"name": "max_seq_mha", "k": 3, "n_heads": 4}, CROSS),
        ({"name": "concat", "of": ["cls", "mean"]}, CROSS),
        ({"name": "concat", "of": ("cls", "mean")}, CROSS),
    ],
)
def test_a_default_that_is_written_out_parts_nothing(
    written: dict[str, Any], pair: dict[str, Any]
) -> None:
    """The name of a run does not tell the two apart, so neither may its weights. What was a tuple
    is a list when it is loaded.
    """
    encoder = load.build_encoder(TINY | {"hidden_size": 16})
    head = {"name": "linear" if pair is CROSS else "siamese_concat"}
    of = {
        "bare": TaskSpec(SST, {"name": written["name"]}, head, {"name": pair["name"]}),
        "written": TaskSpec(SST, written, head, pair),
    }
    models = assemble(of, "one", encoder, encoder.shape, seed=1)
    assert models["bare"].branches[0] is models["written"].branches[0]


def test_the_norm_behind_a_task_s_own_layers_is_its_own() -> None:
    """Of a family that has one there."""
    sizes = {
        key: TINY[key]
        for key in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
        )
    }
    for own_layers, apart in ((1, True), (0, False)):
        encoder = load.build_encoder({**sizes, "model_type": "modernbert"})
        models = assemble(
            parts("mean"),
            {"name": "branch", "own_layers": own_layers},
            encoder,
            encoder.shape,
            seed=1,
        )
        first, second = (models[task].branches[0].encoder.final_norm for task in ("sst", "sts"))
        assert isinstance(first, torch.nn.Module)
        assert isinstance(second, torch.nn.Module)
        assert (first is not second) == apart


@pytest.mark.parametrize("name", ALL)
def test_every_encoder_computes_in_the_precision_of_the_pretrained_one(name: str) -> None:
    models = tiny(ALL[name], dtype=torch.bfloat16)
    assert {
        branch.encoder.embedded(tokens(1)).dtype
        for model in models.values()
        for branch in model.branches
    } == {torch.bfloat16}


def test_new_weights_are_drawn_for_each_task_and_not_for_its_place() -> None:
    """Two tasks with equal poolings and heads start apart, and each starts as it does alone."""
    how: dict[str, Any] = {"sharing": {"name": "one", "pooler": "own"}, "pooling": "attention"}
    models = tiny(**how)
    for part in ("branches.0.pooling.score.weight", "head.out.weight"):
        qqp, sts = (models[task].get_parameter(part) for task in ("qqp", "sts"))
        assert not torch.equal(qqp, sts)
        assert torch.equal(sts, tiny(**how, only=("sts",))["sts"].get_parameter(part))


def test_the_frozen_half_is_always_the_same() -> None:
    models = tiny("static")
    still = models["sst"].branches[1]
    assert isinstance(still.encoder, Frozen)
    assert not any(p.requires_grad for p in still.parameters())
    models["sst"].train()
    first, second = (models["sst"].vectors(tokens(1))[0] for _ in range(2))
    assert torch.equal(first[:, 12:], second[:, 12:])
    assert not torch.equal(first[:, :12], second[:, :12])  # dropout is on in the other half
    assert models["sst"].head.out.weight.shape == (5, 2 * 12)


def test_a_frozen_copy_needs_a_pooling_that_is_pretrained() -> None:
    with pytest.raises(
        RecipeError,
        match="sharing: task 'sst' reads its texts with weights that start from nothing",
    ):
        tiny("static", pooling="attention")
    tiny("static", pooling="mean")


def test_without_its_shared_half_multi_and_own_is_separate() -> None:
    both, alone = tiny("multi_and_own"), tiny("separate")
    for task, model in both.items():
        with torch.no_grad():
            model.head.out.weight[:, :12] = 0
            model.head.out.weight[:, 12:] = alone[task].head.out.weight
            model.head.out.bias.copy_(alone[task].head.out.bias)
            torch.testing.assert_close(
                model.eval()(tokens(3)).scores, alone[task].eval()(tokens(3)).scores
            )


def test_separate_is_training_each_task_by_itself() -> None:
    """METHODS §11: each weight sees its own task's batches only, so what the others do in between
    changes nothing.
    """
    together = tiny("separate", dropout=0.0)
    optimiser = optimiser_of(together)
    for number, task in enumerate(("sst", "qqp", "sts", "qqp", "sst", "sts"), start=1):
        take(together, optimiser, task, number)
    for task, numbers in (("sst", (1, 5)), ("qqp", (2, 4)), ("sts", (3, 6))):
        alone = tiny("separate", dropout=0.0, only=(task,))
        own = optimiser_of(alone)
        for number in numbers:
            take(alone, own, task, number)
        for name, p in alone[task].named_parameters():
            assert torch.equal(p, together[task].get_parameter(name)), (task, name)


# ---------------------------------------------------------------------------------- kept and loaded


@pytest.mark.parametrize("name", ALL)
def test_everything_is_written_once_and_comes_back(name: str, tmp_path: Path) -> None:
    models = tiny(ALL[name])
    state = unique_state(models)
    assert sum(tensor.numel() for tensor in state.values()) == count(models)
    safetensors.torch.save_file(
        state, tmp_path / "weights.safetensors"
    )  # which takes no tensor twice
    assert set(state) == set(first_names(models).values())
    for task, model in models.items():
        for key, value in model.state_dict().items():
            assert torch.equal(value, state[first_names(models)[f"{task}.{key}"]])


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
@pytest.mark.parametrize("name", ALL)
def test_tasks_asked_together_say_what_each_says_alone(name: str, pooling: str) -> None:
    """The pooler reads first tokens, of which the highest block computes no more; for the mean it
    computes all.
    """
    models = {task: model.eval() for task, model in tiny(ALL[name], pooling=pooling).items()}
    optimiser = optimiser_of(models)
    for number, task in enumerate(models, start=1):
        take(models, optimiser, task, number)  # so that what is not shared differs
    memo: dict[Any, Tensor] = {}
    with torch.no_grad():
        for model in models.values():
            assert torch.equal(model(tokens(4), memo=memo).scores, model(tokens(4)).scores)


@pytest.mark.parametrize(
    ("sharing", "runs"),
    [("one", [1, 1, 1]), ({"name": "branch", "own_layers": 2}, [1, 3, 3]), ("separate", [3, 3, 3])],
)
def test_what_is_shared_is_run_once_for_all_tasks(
    sharing: Spec, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {task: model.eval() for task, model in tiny(sharing, pooling="mean").items()}
    counted = [0, 0, 0]
    for model in models.values():
        for depth, block in enumerate(model.branches[0].encoder.blocks):
            if not hasattr(block, "counted"):

                def watched(
                    x: Tensor, given: Tokens, *, depth: int = depth, run: Any = block.forward
                ) -> Tensor:
                    counted[depth] += 1
                    return run(x, given)

                block.counted = True
                block.forward = watched
    memo: dict[Any, Tensor] = {}
    with torch.no_grad():
        for model in models.values():
            model(tokens(4), memo=memo)
    assert counted == runs


def test_what_only_first_tokens_need_is_run_once_too() -> None:
    """Tasks of two poolings that read no other token, of which two have the same one: the highest
    block once, each pooling once.
    """
    encoder: Any = tiny("one", only=("sst",))["sst"].branches[0].encoder
    mixed = {
        task: replace(part, pooling={"name": "cls"}) if task == "sst" else part
        for task, part in parts().items()
    }
    models = {
        task: model.eval()
        for task, model in assemble(mixed, "one", encoder, encoder.shape, seed=1).items()
    }
    expected = {task: model(tokens(4)).scores for task, model in models.items()}
    counted: list[str] = []

    def counting(owner: Any, name: str) -> None:
        run = getattr(owner, name)
        setattr(owner, name, lambda *given: counted.append(type(owner).__name__) or run(*given))

    counting(encoder.blocks[-1], "first")
    for task in ("sst", "qqp"):
        counting(models[task].branches[0].pooling, "forward")
    memo: dict[Any, Tensor] = {}
    with torch.no_grad():
        assert all(
            torch.equal(model(tokens(4), memo=memo).scores, expected[task])
            for task, model in models.items()
        )
    assert sorted(counted) == sorted([type(encoder.blocks[-1]).__name__, "Cls", "Pooler"])
