from __future__ import annotations

import torch
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.pooling.mean import Mean

SHAPE = Shape(2, 1, 1)


def test_methods_own_numbers(by_hand) -> None:
    assert Mean(SHAPE)(by_hand([[(1, -2), (3, 0)], [(9, 9)]])).tolist() == [[2, -1], [9, 9]]


def test_it_is_the_loop_over_rows(at_random) -> None:
    lengths, width = (5, 1, 70, 2, 3), 11
    encoded = at_random(lengths, width, 2)
    assert_close(
        Mean(Shape(width, 2, 1))(encoded),
        torch.stack([row.mean(0) for row in encoded.states[-1].split(lengths)]),
    )


def test_special_tokens_can_be_left_out(by_hand) -> None:
    """The rows are [CLS] a b [SEP]; [CLS] [SEP]; [CLS]: a row of special tokens alone is 0 (the
    denominator is at least 1).
    """
    encoded = by_hand(
        [[(100, 100), (1, -2), (3, 0), (100, 100)], [(100, 100), (100, 100)], [(100, 100)]]
    )
    out = Mean(SHAPE, include_special=False)(encoded)
    assert out.tolist() == [[2, -1], [0, 0], [0, 0]]
    (gradient,) = torch.autograd.grad(out.sum(), encoded.states[-1])
    assert gradient.tolist() == [[0, 0], [0.5, 0.5], [0.5, 0.5], [0, 0], [0, 0], [0, 0], [0, 0]]
