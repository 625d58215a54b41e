from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.techniques.pooling.mha import Mha

LENGTHS, WIDTH, HEADS = (5, 1, 70, 2, 13, 12, 8), 3 * 7, 3


def pair(*, n_heads: int = HEADS) -> tuple[Mha, nn.MultiheadAttention]:
    """Ours, and torch's with the same weights. The biases start at 0, where much could be
    forgotten: so they are something else here.
    """
    ours, theirs = (
        Mha(Shape(WIDTH, 2, 1), n_heads=n_heads),
        nn.MultiheadAttention(WIDTH, n_heads, batch_first=True),
    )
    draw = torch.Generator().manual_seed(1)
    theirs.load_state_dict(
        {
            name: 0.4 * torch.randn(value.shape, generator=draw)
            for name, value in theirs.state_dict().items()
        }
    )
    ours.attention.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_methods_own_numbers(by_hand) -> None:
    pooling = Mha(Shape(2, 1, 1), n_heads=1)
    identity, zero = torch.eye(2), torch.zeros(2)
    weights = {
        "in_proj_weight": identity.repeat(3, 1),
        "in_proj_bias": zero.repeat(3),
        "out_proj.weight": identity,
        "out_proj.bias": zero,
    }
    pooling.attention.load_state_dict(weights)
    encoded = by_hand([[(1, 0), (0, 1)]])
    expected = torch.tensor([[0.6698, 0.3302]])
    assert_close(pooling(encoded), expected, atol=5e-5, rtol=0)
    assert_close(pooling.weights(encoded), expected.T, atol=5e-5, rtol=0)


@pytest.mark.parametrize("n_heads", [1, 3, 7])
def test_it_is_torchs_attention_with_padding_masked(
    at_random, padded, gradients, n_heads: int
) -> None:
    encoded, (ours, theirs) = at_random(LENGTHS, WIDTH, 2), pair(n_heads=n_heads)
    values, mask = padded(encoded.states[-1], encoded.tokens)
    expected, weights = theirs(
        values[:, :1], values, values, key_padding_mask=mask, average_attn_weights=False
    )
    assert_close(ours(encoded), expected.squeeze(1), atol=2e-6, rtol=1e-5)
    real = weights.squeeze(2).transpose(1, 2)[~mask]  # (rows, heads, 1, longest) → (tokens, heads)
    assert_close(ours.weights(encoded), real, atol=1e-6, rtol=1e-5)
    names = list(theirs.state_dict())
    got = gradients(
        ours(encoded), [*encoded.states, *(ours.attention.get_parameter(name) for name in names)]
    )
    want = gradients(
        expected.squeeze(1), [*encoded.states, *(theirs.get_parameter(name) for name in names)]
    )
    assert got[:2] == want[:2] == [None, None], "the layers below are not read"
    for a, b in zip(got[2:], want[2:], strict=True):
        assert_close(a, b, atol=2e-5, rtol=1e-4)
    assert not dict(zip(names, got[3:], strict=True))["in_proj_bias"].chunk(3)[1].any(), (
        "the bias of the keys does nothing, exactly"
    )


def test_it_starts_as_torchs_does_seed_for_seed() -> None:
    torch.manual_seed(5)
    ours = Mha(Shape(WIDTH, 2, 1), n_heads=HEADS).attention.state_dict()
    torch.manual_seed(5)
    theirs = nn.MultiheadAttention(WIDTH, HEADS).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_numbers_of_bert_base() -> None:
    torch.manual_seed(0)
    pooling = Mha(Shape(768, 12, 12))
    assert sum(p.numel() for p in pooling.parameters()) == 2_362_368
    assert_close(pooling.attention.in_proj_weight.abs().max().item(), 0.04419, atol=1e-5, rtol=0)
    assert_close(pooling.attention.out_proj.weight.abs().max().item(), 0.03608, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_heads", [0, -3, 2, 42])
def test_heads_that_do_not_divide_the_width_are_refused(n_heads: int) -> None:
    expected = (
        rf"^pooling 'mha': expected n_heads that divide the encoder's width of 21, got "
        rf"{n_heads}\. Set one of 1, 3, 7, 21\.$"
    )
    with pytest.raises(RecipeError, match=expected):
        Mha(Shape(WIDTH, 2, 1), n_heads=n_heads)
