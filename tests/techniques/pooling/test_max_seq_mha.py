from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.techniques.pooling.max_seq_mha import MaxSeqMha
from encore.techniques.pooling.mha import Mha

LENGTHS, WIDTH, LAYERS, HEADS = (5, 1, 70, 2, 13, 12, 8), 3 * 7, 5, 3
SHAPE = Shape(WIDTH, LAYERS, 1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_is_torchs_attention_over_torchs_maximum(at_random, padded, gradients, k: int) -> None:
    encoded, ours = at_random(LENGTHS, WIDTH, LAYERS), MaxSeqMha(SHAPE, k=k, n_heads=HEADS)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    theirs.load_state_dict(ours.attention.state_dict())
    peaks, mask = padded(torch.stack(encoded.states[-k:]).max(dim=0).values, encoded.tokens)
    expected = theirs(peaks[:, :1], peaks, peaks, key_padding_mask=mask)[0].squeeze(1)
    assert_close(ours(encoded), expected, atol=2e-6, rtol=1e-5)
    got, want = gradients(ours(encoded), encoded.states), gradients(expected, encoded.states)
    assert [gradient is not None for gradient in got] == [
        layer > LAYERS - k for layer in range(LAYERS + 1)
    ]
    for a, b in zip(got[-k:], want[-k:], strict=True):
        assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_one_layer_is_mha_bit_for_bit(at_random) -> None:
    encoded, one = at_random(LENGTHS, WIDTH, LAYERS), Mha(SHAPE, n_heads=HEADS)
    ours = MaxSeqMha(SHAPE, k=1, n_heads=HEADS)
    ours.load_state_dict(one.state_dict())
    assert torch.equal(ours(encoded), one(encoded))
    assert torch.equal(ours.weights(encoded), one.weights(encoded))


def test_the_query_is_the_cls_after_the_maximum(by_hand) -> None:
    """The last layer's [CLS] is 0: as a query it would weigh all tokens alike."""
    pooling = MaxSeqMha(Shape(2, 2, 1), k=2, n_heads=1)
    pooling.attention.in_proj_weight.data = torch.eye(2).repeat(3, 1)
    encoded = by_hand([[(1, 0), (0, 0)]], [[(0, 0), (0, 1)]])
    assert_close(
        pooling.weights(encoded).flatten(), torch.tensor([0.6698, 0.3302]), atol=5e-5, rtol=0
    )


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6, 12])
def test_the_papers_ablation_reads_the_last_k_layers(at_random, k: int) -> None:
    encoded, pooling = (
        at_random((3, 2), WIDTH, 12),
        MaxSeqMha(Shape(WIDTH, 12, 1), k=k, n_heads=HEADS),
    )
    assert pooling.layers == tuple(range(-k, 0))
    out = pooling(encoded)
    below = [torch.full_like(state, torch.nan) for state in encoded.states[: 13 - k]]
    assert torch.equal(
        pooling(dataclasses.replace(encoded, states=(*below, *encoded.states[13 - k :]))), out
    )
    lowest = encoded.states[13 - k] + 100
    assert not torch.allclose(
        pooling(dataclasses.replace(encoded, states=(*below, lowest, *encoded.states[14 - k :]))),
        out,
    )


def test_settings_that_do_not_fit_are_refused_together() -> None:
    with pytest.raises(RecipeError) as caught:
        MaxSeqMha(SHAPE, k=6, n_heads=4)
    assert [problem.split(", ")[0] for problem in caught.value.lines] == [
        "pooling 'max_seq_mha': expected k from 1 to 5",
        "pooling 'max_seq_mha': expected n_heads that divide the encoder's width of 21",
    ]


def test_the_numbers_of_bert_base() -> None:
    pooling = MaxSeqMha(Shape(768, 12, 12))
    assert (pooling.layers, pooling.attention.n_heads) == ((-3, -2, -1), 4)
    assert sum(p.numel() for p in pooling.parameters()) == 2_362_368
