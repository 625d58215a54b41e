"""Adapters: their sizes, what they leave as it is, and that they are a model's only changes
(METHODS 7.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from small_encoders import BERT_BASE, CONFIGS, LABELS, batch_of, encoder_of, last, stirred, tokens
from torch import Tensor, nn

from encore import catalogue
from encore.encoder import dropout, load
from encore.encoder.adapted import LoraLinear, Wrapper, copied, merged, without_adapters
from encore.encoder.encoder import Encoder
from encore.errors import RecipeError
from encore.model.assembly import TaskSpec, assemble
from encore.model.parameters import unique_parameters
from encore.model.selection import base_names, parameter_infos
from encore.model.task_model import TaskModel
from encore.training import optimiser as optimiser_module
from encore.training import step
from encore.training.state import FitState, freeze
from encore.types import Phase, Spec

SPECS: dict[str, Spec] = {
    "houlsby": "houlsby",
    "houlsby_norms": {"name": "houlsby", "size": 5, "top": 2, "train_norms": True},
    "pfeiffer": {"name": "pfeiffer", "size": 7, "activation": "relu"},
    "lora": "lora",
    "lora_everywhere": {
        "name": "lora",
        "rank": 2,
        "targets": ["query", "key", "value", "out", "up", "down"],
    },
    "lora_dropout": {"name": "lora", "rank": 3, "dropout": 0.3, "top": 1},
}
# Its own numbers are in test_fusion.py.
WITH_FUSION: dict[str, Spec] = {
    **SPECS,
    "fusion": {"name": "fusion", "of": ["houlsby", "pfeiffer"]},
}


def adapted(family: str, spec: Spec, seed: int = 1) -> tuple[Encoder, Encoder]:
    """An encoder, and the same with an adapter."""
    encoder = encoder_of(family)
    torch.manual_seed(seed)
    return encoder, catalogue.build("adapters", spec)(encoder).eval()


def size(encoder: Encoder) -> int:
    assert encoder.own is not None
    return sum(p.numel() for name, p in encoder.named_parameters() if name in encoder.own)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"name": "houlsby", "size": 64}, 2_379_264),  # METHODS 7.1: 24 of 99,136
        ({"name": "houlsby", "size": 96}, 3_559_680),
        ({"name": "houlsby", "size": 128}, 4_740_096),
        ({"name": "houlsby", "size": 8, "top": 1}, 2 * 13_064),
        ({"name": "pfeiffer", "size": 64}, 12 * 99_136),
        ({"name": "lora", "rank": 8}, 12 * 2 * 8 * (768 + 768)),  # query and value
        ({"name": "lora", "rank": 4, "targets": ["up"]}, 12 * 4 * (768 + 3072)),
    ],
)
def test_parameters_on_bert_base(spec: Spec, expected: int) -> None:
    encoder = load.build_skeleton(BERT_BASE)
    with load.on_meta_device():
        found = catalogue.build("adapters", spec)(encoder)
    assert size(found) == expected
    assert sum(p.numel() for p in found.parameters() if p.requires_grad) == expected


def test_the_first_weights_of_a_bottleneck_are_small() -> None:
    encoder = encoder_of("bert")
    torch.manual_seed(0)
    found = catalogue.build("adapters", {"name": "houlsby", "size": 500})(encoder)
    assert found.own is not None
    drawn = [p for name, p in found.named_parameters() if name in found.own and p.ndim == 2]
    values = torch.cat([each.detach().flatten() for each in drawn])
    assert float(values.abs().max()) <= 2e-3
    assert float(values.std()) == pytest.approx(0.88e-3, rel=0.01)  # a normal of 1e-3, cut at 2 sd
    biases = [p for name, p in found.named_parameters() if name in found.own and p.ndim == 1]
    assert all(not bool(each.any()) for each in biases)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", SPECS)
def test_a_fresh_adapter_changes_little_or_nothing(family: str, name: str) -> None:
    encoder, found = adapted(family, SPECS[name])
    batch = tokens()
    with torch.no_grad():
        change = float((last(found, batch) - last(encoder, batch)).abs().max())
    assert change == 0 if name.startswith("lora") else 0 < change < 1e-2


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", ["houlsby", "pfeiffer", "houlsby_norms"])
def test_with_an_up_projection_of_0_it_is_the_encoder(family: str, name: str) -> None:
    encoder, found = adapted(family, SPECS[name])
    batch = tokens()
    with torch.no_grad():
        for key, parameter in found.named_parameters():
            if ".adapter.up." in key:
                parameter.zero_()
        assert torch.equal(last(found, batch), last(encoder, batch))


def slow_block(block: nn.Module, x: Tensor) -> Tensor:
    """A BERT block of one row, with adapters and LoRA, by the formulas; (length, width)."""
    parts = dict(block.named_children())

    def project(name: str, values: Tensor) -> Tensor:
        layer = parts[name]
        if not isinstance(layer, LoraLinear):
            return values @ layer.weight.T + layer.bias  # type: ignore[operator, union-attr]
        plain = cast(nn.Linear, layer.plain)
        found = values @ plain.weight.T + plain.bias
        for part, where in layer.parts.items():
            found[:, where] += layer.scale * (values @ layer.down[part].T) @ layer.up[part].T
        return found

    def closed(name: str, residual: Tensor, y: Tensor) -> Tensor:
        end: Any = parts[name]
        if isinstance(end, Wrapper):
            adapter: Any = end.adapter
            inner = y @ adapter.down.weight.T + adapter.down.bias
            inner = (
                torch.relu(inner)
                if adapter.activation(torch.tensor(-1.0)) == 0
                else (inner * (1 + torch.erf(inner / 2**0.5)) / 2)
            )
            y = y + inner @ adapter.up.weight.T + adapter.up.bias
            end = end.plain
        total = residual + y
        normal = (total - total.mean(1, keepdim=True)) / (
            total.var(1, keepdim=True, unbiased=False) + end.eps
        ).sqrt()
        return normal * end.weight + end.bias

    n_heads, width = 2, x.shape[1]
    q, k, v = project("qkv", x).view(len(x), 3, n_heads, -1).unbind(1)
    weights = torch.softmax(torch.einsum("qhd,khd->hqk", q, k) / (width / n_heads) ** 0.5, -1)
    mixed = torch.einsum("hqk,khd->qhd", weights, v).reshape(len(x), width)
    x = closed("attention_norm", x, project("out", mixed))
    inner = project("up", x)
    inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
    return closed("output_norm", x, project("down", inner))


@pytest.mark.parametrize("name", SPECS)
def test_equals_the_formulas(name: str) -> None:
    _, found = adapted("bert", SPECS[name])
    found = cast(Encoder, stirred(found).double())
    found.dtype = torch.float64
    batch = tokens(1)
    with torch.no_grad():
        expected = found.embedded(batch)
        for block in found.blocks:
            expected = slow_block(block, expected)
        assert torch.allclose(last(found, batch), expected, atol=1e-6)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", SPECS)
def test_the_first_tokens_alone_are_the_same(family: str, name: str) -> None:
    _, found = adapted(family, SPECS[name])
    stirred(found)
    batch = tokens()
    with torch.no_grad():
        whole, firsts = last(found, batch), last(found, batch, first_only=True)
    assert torch.allclose(firsts, whole[batch.offsets[:-1]], atol=1e-5)


def test_dropout_of_lora_is_drawn_for_first_tokens_too() -> None:
    """The short way to first tokens has no inputs to drop, so it is not taken."""
    spec: Spec = {"name": "lora", "dropout": 0.5}
    _, found = adapted("bert", spec)
    stirred(found).train()
    for module in found.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    batch = tokens()
    with torch.no_grad(), dropout.drawing(1, 1):
        firsts = last(found, batch, first_only=True)
    with torch.no_grad(), dropout.drawing(1, 1):
        whole = last(found, batch)
    assert torch.allclose(firsts, whole[batch.offsets[:-1]], atol=1e-5)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", SPECS)
def test_removed_it_leaves_the_encoder_with_the_same_weights(family: str, name: str) -> None:
    encoder, found = adapted(family, SPECS[name])
    stirred(found)
    batch = tokens()
    with torch.no_grad():
        assert not torch.equal(last(found, batch), last(encoder, batch))
        if name != "houlsby_norms":  # its LayerNorms are trained copies
            assert torch.equal(last(without_adapters(found), batch), last(encoder, batch))
    mine = {id(parameter) for parameter in encoder.parameters()}
    assert all(id(p) in mine for p in found.parameters() if not p.requires_grad)
    assert not any(id(p) in mine for p in found.parameters() if p.requires_grad)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("name", ["lora", "lora_everywhere", "lora_dropout"])
def test_merged_lora_is_a_plain_encoder_that_gives_the_same(family: str, name: str) -> None:
    encoder, found = adapted(family, SPECS[name])
    stirred(found)
    batch = tokens()
    plain = merged(found)
    assert not any(isinstance(module, Wrapper) for module in plain.modules())
    assert plain.state_dict().keys() == encoder.state_dict().keys()
    with torch.no_grad():
        assert torch.allclose(last(plain, batch), last(found, batch), rtol=1e-4, atol=1e-4)
        before = last(encoder, batch)
        assert torch.equal(last(encoder_of(family), batch), before), "the encoder is untouched"


def test_a_copy_shares_what_is_frozen_and_nothing_else() -> None:
    _, found = adapted("bert", "houlsby")
    other = copied(found)
    assert found.own == other.own is not None
    mine, theirs = dict(found.named_parameters()), dict(other.named_parameters())
    shared = {name for name in mine if mine[name] is theirs[name]}
    assert shared == set(mine) - set(found.own or ())
    assert other.embed is found.embed


def test_encoders_that_cannot_have_one() -> None:
    encoder = encoder_of("bert")
    with pytest.raises(RecipeError, match=r"top: expected at most 3, the encoder's layers, got 4"):
        catalogue.build("adapters", {"name": "houlsby", "top": 4})(encoder)
    with pytest.raises(RecipeError, match=r"comes from transformers.*cannot have adapters"):
        catalogue.build("adapters", "lora")(nn.Linear(2, 2))


# ------------------------------------------------------------------------------------- task models


def models_of(
    adapter: Spec | None, sharing: Spec = "one", pooling: Mapping[str, Any] | None = None
) -> dict[str, TaskModel]:
    encoder = encoder_of("bert")
    pooler = nn.Linear(12, 12)
    chosen = dict(pooling or {"name": "mean"})
    part = TaskSpec(LABELS, chosen, {"name": "linear", "dropout": 0.1}, {"name": "cross"})
    shape = replace(encoder.shape, pooler=pooler)
    return assemble({"a": part, "b": part}, sharing, encoder, shape, seed=1, adapter=adapter)


def train(models: dict[str, TaskModel], task: str, *, micro: int = 9) -> FitState:
    """Three steps on one task."""
    phase = Phase(("a", "b"), 1, 1e-2)
    state = FitState(models)
    freeze(models, phase, state.infos)
    state.optimiser = optimiser_module.adamw(state.parameters, phase, state.infos)
    loss = catalogue.build("losses", "cross_entropy", LABELS)
    for number in range(3):
        parts = [batch_of(task, slice(start, start + micro)) for start in range(0, 9, micro)]
        inputs = step.StepInput(models[task].train(), parts, {"task": (1.0, loss)})
        step.take_step([inputs], state.optimiser, seed=1, step=number + 1, clip_norm=1.0)
    return state


def values(models: Mapping[str, TaskModel]) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in unique_parameters(models).items()}


@pytest.mark.parametrize("sharing", catalogue.names("sharing"))
@pytest.mark.parametrize(
    "name", ["houlsby", "houlsby_norms", "pfeiffer", "lora_everywhere", "fusion"]
)
def test_training_changes_the_adapter_and_the_head_alone(name: str, sharing: str) -> None:
    models = models_of(WITH_FUSION[name], sharing, {"name": "pooler"})
    before = values(models)
    state = train(models, "a")
    changed = {key for key, value in values(models).items() if not torch.equal(value, before[key])}
    places = {id(p): key for key, p in unique_parameters(models).items()}
    own = {places[number] for number, info in state.infos.items() if info.role == "adapter"}
    assert changed <= own | {key for key in before if ".head." in key}
    assert {key for key in changed if ".encoder." in key}
    assert any(key.startswith("a.head.") for key in changed)
    assert not any(".adapters." in key for key in changed), "what is fused stays as it is"
    assert not any("pooling" in key for key in changed), "the checkpoint's pooler is frozen too"
    fixed = base_names(models)
    assert not fixed & set(state.parameters)
    assert not [key for key in changed if key in fixed]
    if sharing == "separate":
        assert not any(key.startswith("b.") for key in changed)


@pytest.mark.parametrize("name", WITH_FUSION)
def test_micro_batches_give_the_same(name: str) -> None:
    whole, parts = models_of(WITH_FUSION[name]), models_of(WITH_FUSION[name])
    train(whole, "a")
    train(parts, "a", micro=4)
    one, other = values(whole), values(parts)
    assert max(float((one[key] - other[key]).abs().max()) for key in one) < 1e-5


@pytest.mark.parametrize("pooling", catalogue.names("pooling"))
@pytest.mark.parametrize("name", ["houlsby", "pfeiffer", "lora", "fusion"])
def test_every_pooling_reads_an_encoder_with_an_adapter(pooling: str, name: str) -> None:
    k = {"k": 2} if "k" in catalogue.settings("pooling", pooling) else {}
    models = models_of(WITH_FUSION[name], pooling={"name": pooling, **k})
    before = values(models)
    train(models, "a")
    after = values(models)
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    own = {key for key in before if ".adapter." in key or ".down." in key or ".up." in key}
    assert {key for key in moved if "encoder" in key} <= own
    assert any(".blocks.0." in key for key in moved), "the lowest layer learns too"


def test_tasks_with_encoders_of_their_own_hold_the_frozen_one_once() -> None:
    plain, models = models_of(None, "separate"), models_of("houlsby", "separate")
    one = encoder_of("bert")
    n_base = sum(p.numel() for p in one.parameters())
    n_adapter = 6 * (2 * 12 * 64 + 12 + 64)
    heads = sum(p.numel() for key, p in unique_parameters(plain).items() if ".head." in key)
    assert sum(p.numel() for p in unique_parameters(models).values()) == (
        n_base + 2 * n_adapter + heads
    )


def test_the_frozen_branch_of_static_has_no_adapter() -> None:
    models = models_of("houlsby", "static")
    trained, frozen = models["a"].branches
    assert any(isinstance(module, Wrapper) for module in cast(nn.Module, trained).modules())
    assert not any(isinstance(module, Wrapper) for module in cast(nn.Module, frozen).modules())


def test_places_and_rates() -> None:
    models = models_of("houlsby")
    infos = parameter_infos(models)
    adapters = [info for info in infos.values() if info.role == "adapter"]
    assert sorted({(info.depth, info.above) for info in adapters}) == [(1, 2), (2, 1), (3, 0)]
    assert {info.role for info in infos.values()} == {"adapter", "head"}
    phase = Phase(("a", "b"), 1, 1e-3, trainable="top:1")
    freeze(models, phase, infos)
    moving = {key for key, p in unique_parameters(models).items() if p.requires_grad}
    assert moving
    assert all(".blocks.2." in key and ".adapter." in key for key in moving)
    freeze(models, Phase(("a", "b"), 1, 1e-3, trainable="heads"), infos)
    moving = {key for key, p in unique_parameters(models).items() if p.requires_grad}
    assert moving
    assert all(".head." in key for key in moving)
    freeze(models, Phase(("a", "b"), 1, 1e-3, trainable="adapters"), infos)
    moving = {key for key, p in unique_parameters(models).items() if p.requires_grad}
    assert moving
    assert all(".adapter." in key for key in moving)


def test_every_adapter_is_in_here() -> None:
    here = {catalogue.specify("adapters", spec).name for spec in WITH_FUSION.values()}
    assert here == set(catalogue.names("adapters"))


def test_the_seed_draws_the_first_weights() -> None:
    one, same = values(models_of("houlsby")), values(models_of("houlsby"))
    assert all(torch.equal(one[key], same[key]) for key in one)
