from __future__ import annotations

from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.heads.linear import LinearHead
from encore.techniques.pooling.max import Max
from encore.techniques.pooling.mean import Mean
from encore.techniques.pooling.mean_max import MeanMax


def test_methods_own_numbers(by_hand) -> None:
    assert MeanMax(Shape(2, 1, 1))(by_hand([[(1, -2), (3, 0)], [(9, 9)]])).tolist() == [
        [2, -1, 3, 0],
        [9, 9, 9, 9],
    ]


def test_it_is_the_mean_and_then_the_maximum(at_random, gradients) -> None:
    width = 11
    shape, encoded = Shape(width, 2, 1), at_random((5, 1, 70, 2, 3), width, 2)
    out = MeanMax(shape)(encoded)
    assert_close(out[:, :width], Mean(shape)(encoded))
    assert_close(out[:, width:], Max(shape)(encoded))


def test_its_head_has_the_papers_parameters() -> None:
    head = LinearHead(MeanMax(Shape(768, 12, 12)).width, 2)
    assert sum(p.numel() for p in head.parameters()) == 3_074
