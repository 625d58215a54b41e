from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from encore import catalogue
from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.techniques.pooling.cls import Cls
from encore.techniques.pooling.mean import Mean
from encore.techniques.pooling.weighted_layers import WeightedLayers

LENGTHS, WIDTH, LAYERS = (5, 1, 70, 2, 13), 11, 5
SHAPE = Shape(WIDTH, LAYERS, 1)


def pooling_with(logits: Tensor, **settings: str) -> WeightedLayers:
    pooling = WeightedLayers(SHAPE, k=len(logits), **settings)
    pooling.load_state_dict({"logits": logits})
    return pooling


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("then", ["mean", "cls"])
def test_it_is_the_mix_at_every_token_and_then_the_loop(
    at_random, gradients, k: int, then: str
) -> None:
    encoded, pooling = (
        at_random(LENGTHS, WIDTH, LAYERS),
        pooling_with(torch.linspace(-1, 2, k), then=then),
    )
    mixed = sum(
        weight * state
        for weight, state in zip(pooling.logits.softmax(0), encoded.states[-k:], strict=True)
    )
    slow = torch.stack([row.mean(0) if then == "mean" else row[0] for row in mixed.split(LENGTHS)])
    assert_close(pooling(encoded), slow, atol=2e-6, rtol=1e-5)
    inputs = [*encoded.states, pooling.logits]
    got, want = gradients(pooling(encoded), inputs), gradients(slow, inputs)
    assert [gradient is not None for gradient in got[:-1]] == [
        layer > LAYERS - k for layer in range(LAYERS + 1)
    ]
    for a, b in zip(got[-k - 1 :], want[-k - 1 :], strict=True):
        assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_it_starts_as_the_mean_of_all_layers(at_random) -> None:
    encoded, pooling = at_random(LENGTHS, WIDTH, LAYERS), WeightedLayers(SHAPE)
    assert pooling.layers == (-5, -4, -3, -2, -1)
    everything = torch.stack(encoded.states[1:]).mean(0)
    assert_close(pooling(encoded), torch.stack([row.mean(0) for row in everything.split(LENGTHS)]))


def test_all_weight_on_the_last_layer_is_that_layer(at_random) -> None:
    encoded, logits = at_random(LENGTHS, WIDTH, LAYERS), torch.tensor([0.0, 0, 0, 0, 200])
    assert_close(pooling_with(logits)(encoded), Mean(SHAPE)(encoded))
    assert_close(pooling_with(logits, then="cls")(encoded), Cls(SHAPE)(encoded))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        RecipeError,
        match=r"^then: expected one of mean, cls, got 'max'\.",
    ):
        catalogue.build("pooling", {"name": "weighted_layers", "then": "max"}, SHAPE)
    with pytest.raises(RecipeError, match="pooling 'weighted_layers': expected k from 1 to 5"):
        WeightedLayers(SHAPE, k=6)
