"""The parameters that a phase trains, and their rates (METHODS 3.2, 3.4)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from torch import nn

from encore import catalogue
from encore.encoder.families import bert
from encore.errors import RecipeError
from encore.model.parameters import unique_parameters
from encore.model.selection import Selector, freezes_encoder, parameter_infos, rate_factor
from encore.model.task_model import Branch, TaskModel
from encore.training.state import freeze
from encore.types import OptimiserSettings, Phase

CONFIG = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


def models(n_scores: int = 5, n_layers: int = 12) -> dict[str, TaskModel]:
    """BERT base with its pretrained pooler and a linear head, and nothing in its weights."""
    encoder = bert.build(CONFIG | {"num_hidden_layers": n_layers})
    shape = encoder.shape
    pooler = nn.Linear(shape.width, shape.width)
    pooling = catalogue.build("pooling", "pooler", replace(shape, pooler=pooler))
    head = catalogue.build("heads", "linear", pooling.width, n_scores)
    return {"task": TaskModel([Branch(encoder, pooling)], head)}


def phase(**settings: object) -> Phase:
    return Phase(("task",), 1, 1e-5, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decay", "layer", "rate"),
    [(0.9, 12, 1e-5), (0.9, 11, 9e-6), (0.9, 10, 8.1e-6), (0.9, 1, 3.138e-6), (0.95, 1, 5.688e-6)],
)
def test_layers_have_the_rates_of_methods(decay: float, layer: int, rate: float) -> None:
    one = phase(rates=OptimiserSettings(layer_decay=decay))
    found = {
        info.depth: one.lr * rate_factor(info, one)
        for info in parameter_infos(models()).values()
        if info.role == "block"
    }
    assert found[layer] == pytest.approx(rate, rel=2e-4)


def test_the_options_multiply_and_leave_the_rest_at_the_base_rate() -> None:
    one = phase(rates=OptimiserSettings(layer_decay=0.9, head_multiplier=10, embedding_lr=5e-6))
    found = {
        (info.role, info.depth): round(one.lr * rate_factor(info, one), 12)
        for info in parameter_infos(models(n_layers=2)).values()
    }
    assert found == {
        ("tables", 0): 5e-6,
        ("embeddings", 0): 1e-5,
        ("block", 1): 9e-6,
        ("block", 2): 1e-5,
        ("pooler", None): 1e-5,
        ("head", None): 1e-4,
    }
    deeper = phase(rates=OptimiserSettings(layer_decay=0.9, decay_embeddings=True))
    rates = {
        info.role: rate_factor(info, deeper)
        for info in parameter_infos(models(n_layers=2)).values()
    }
    assert rates["tables"] == rates["embeddings"] == pytest.approx(0.81)


def test_every_parameter_has_one_place() -> None:
    built = models()
    infos, parameters = parameter_infos(built), unique_parameters(built)
    assert set(infos) == {id(parameter) for parameter in parameters.values()}
    sizes: Counter[str] = Counter()
    for parameter in parameters.values():
        sizes[infos[id(parameter)].role] += parameter.numel()
    assert sizes["block"] == 12 * 7_087_872
    assert sizes["pooler"] == 590_592
    assert sizes["tables"] == (30_522 + 512) * 768
    assert sizes["head"] == 768 * 5 + 5
    assert sum(sizes.values()) == sum(parameter.numel() for parameter in parameters.values())


@pytest.mark.parametrize("epoch", [0, 1, 7, 12, 13, 20])
def test_gradual_unfreezing_trains_what_methods_counts(epoch: int) -> None:
    """METHODS 3.4: heads + 590,592 + e · 7,087,872 in epoch e ≤ 12; from 13 on everything."""
    built = models()
    plan = catalogue.build("plans", {"name": "gradual_unfreezing", "epochs": 25})(("task",))
    assert [one.epochs for one in plan] == [1] * 25
    freeze(built, plan[epoch])
    trains = sum(p.numel() for p in built["task"].parameters() if p.requires_grad)
    whole = sum(p.numel() for p in built["task"].parameters())
    heads = 768 * 5 + 5
    assert trains == (heads + 590_592 + epoch * 7_087_872 if epoch <= 12 else whole)
    assert freezes_encoder(plan[epoch]) is (epoch == 0)


def test_frozen_tables_are_words_and_positions_alone() -> None:
    built = models(n_layers=1)
    freeze(built, phase(rates=OptimiserSettings(embedding_lr=0)))
    fixed = {name for name, p in built["task"].named_parameters() if not p.requires_grad}
    assert fixed == {
        "branches.0.encoder.embed.word.weight",
        "branches.0.encoder.embed.position.weight",
    }


def test_what_is_frozen_by_a_part_never_thaws() -> None:
    built = models(n_layers=1)
    head = built["task"].head
    assert isinstance(head, nn.Module)
    first = next(head.parameters()).requires_grad_(False)
    infos = parameter_infos(built)
    for trainable in ("heads", "all"):
        freeze(built, phase(trainable=trainable), infos)
        assert not first.requires_grad


@pytest.mark.parametrize("text", ["", "top", "top:-1", "all+", "layers"])
def test_unknown_selectors_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is no part of a model"):
        Selector.parse(text)


def test_a_union_selects_what_any_part_selects() -> None:
    built = models(n_layers=3)
    freeze(built, phase(trainable="embeddings+top:1"))
    roles = {
        (info.role, info.depth)
        for p in built["task"].parameters()
        if p.requires_grad and (info := parameter_infos(built).get(id(p)))
    }
    assert roles == {("tables", 0), ("embeddings", 0), ("block", 3)}
