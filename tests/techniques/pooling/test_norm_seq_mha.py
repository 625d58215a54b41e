from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.pooling.mha import Mha
from encore.techniques.pooling.norm_seq_mha import NormSeqMha

LENGTHS, WIDTH, LAYERS, HEADS = (5, 1, 70, 2, 13, 12, 8), 3 * 7, 5, 3
SHAPE = Shape(WIDTH, LAYERS, 1)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_is_torchs_attention_over_a_slow_choice(at_random, padded, gradients, k: int) -> None:
    encoded, ours = at_random(LENGTHS, WIDTH, LAYERS), NormSeqMha(SHAPE, k=k, n_heads=HEADS)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    theirs.load_state_dict(ours.attention.state_dict())
    slow = torch.stack(
        [
            max(vectors, key=lambda vector: vector.norm().item())
            for vectors in zip(*encoded.states[-k:], strict=True)
        ]
    )
    chosen, mask = padded(slow, encoded.tokens)
    expected = theirs(chosen[:, :1], chosen, chosen, key_padding_mask=mask)[0].squeeze(1)
    assert_close(ours(encoded), expected, atol=2e-6, rtol=1e-5)
    got, want = gradients(ours(encoded), encoded.states), gradients(expected, encoded.states)
    assert [gradient is not None for gradient in got] == [
        layer > LAYERS - k for layer in range(LAYERS + 1)
    ]
    for a, b in zip(got[-k:], want[-k:], strict=True):
        assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_every_token_chooses_for_itself(by_hand) -> None:
    """Norms of the last token are equal: the highest layer."""
    encoded = by_hand(
        [[(1, -2), (9, 0), (1, 1)]], [[(0, 5), (0, 1), (-1, 1)]], [[(3, -1), (2, 2), (1, -1)]]
    )
    pooling = NormSeqMha(Shape(2, 3, 1), n_heads=1)
    assert pooling.reduce(encoded).tolist() == [[0, 5], [9, 0], [1, -1]]
    assert pooling.layer_counts(encoded).tolist() == [1, 1, 1]


def test_one_layer_is_mha_bit_for_bit(at_random) -> None:
    encoded, one = at_random(LENGTHS, WIDTH, LAYERS), Mha(SHAPE, n_heads=HEADS)
    ours = NormSeqMha(SHAPE, k=1, n_heads=HEADS)
    ours.load_state_dict(one.state_dict())
    assert torch.equal(ours(encoded), one(encoded))


def test_the_numbers_of_bert_base() -> None:
    pooling = NormSeqMha(Shape(768, 12, 12))
    assert (pooling.layers, pooling.attention.n_heads) == ((-3, -2, -1), 4)
    assert sum(p.numel() for p in pooling.parameters()) == 2_362_368
