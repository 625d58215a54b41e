from __future__ import annotations

import torch
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.pooling.max import Max

SHAPE = Shape(2, 1, 1)


def test_by_hand(by_hand) -> None:
    assert Max(SHAPE)(by_hand([[(1, -2), (3, -5)], [(-9, -9)]])).tolist() == [[3, -2], [-9, -9]]


def test_it_is_the_loop_over_rows(at_random, gradients) -> None:
    lengths, width = (5, 1, 70, 2, 3), 11
    encoded = at_random(lengths, width, 2)
    out = Max(Shape(width, 2, 1))(encoded)
    slow = torch.stack([row.max(dim=0).values for row in encoded.states[-1].split(lengths)])
    assert_close(out, slow, atol=0, rtol=0)
    assert_close(gradients(out, encoded.states), gradients(slow, encoded.states))


def test_the_gradient_goes_to_one_of_equal_tokens(by_hand) -> None:
    encoded = by_hand([[(1, 4), (5, 4), (5, 4)]])
    (gradient,) = torch.autograd.grad(Max(SHAPE)(encoded).sum(), encoded.states[-1])
    assert gradient.tolist() == [[0, 1], [1, 0], [0, 0]]
