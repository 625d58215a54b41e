from __future__ import annotations

import torch
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.pooling.cls import Cls
from encore.techniques.pooling.mean_cls import MeanCls

SHAPE = Shape(2, 3, 1)


def test_methods_own_numbers(by_hand) -> None:
    encoded = by_hand([[(1, -2), (50, 50)]], [[(0, 5), (50, 50)]], [[(3, -1), (50, 50)]])
    assert_close(MeanCls(SHAPE)(encoded), torch.tensor([[4 / 3, 2 / 3]]))
    assert_close(MeanCls(SHAPE, k=2)(encoded), torch.tensor([[3 / 2, 2]]))


def test_each_layer_gets_its_share_of_the_gradient(by_hand) -> None:
    encoded = by_hand([[(1, -2), (50, 50)]], [[(0, 5), (50, 50)]], [[(3, -1), (50, 50)]])
    upstream = torch.tensor([7.0, 11.0])
    for gradient in torch.autograd.grad(MeanCls(SHAPE)(encoded) @ upstream, encoded.states[1:]):
        assert torch.equal(gradient, torch.stack([upstream / 3, torch.zeros(2)]))


def test_one_layer_is_cls_bit_for_bit(at_random) -> None:
    encoded = at_random((5, 1, 13), 11, 4)
    assert torch.equal(MeanCls(Shape(11, 4, 1), k=1)(encoded), Cls(Shape(11, 4, 1))(encoded))
