from __future__ import annotations

import pytest
import torch

from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.techniques.pooling.cls import Cls
from encore.techniques.pooling.max_cls import MaxCls

SHAPE = Shape(2, 3, 1)
LAYERS = ([[(1, -2), (50, 50)]], [[(0, 5), (50, 50)]], [[(3, -1), (50, 50)]])


@pytest.mark.parametrize(("k", "expected"), [(1, (3, -1)), (2, (3, 5)), (3, (3, 5))])
def test_methods_own_numbers(by_hand, k: int, expected: tuple[float, float]) -> None:
    assert MaxCls(SHAPE, k=k)(by_hand(*LAYERS)).tolist() == [list(expected)]


def test_one_layer_is_cls_bit_for_bit(at_random) -> None:
    encoded = at_random((5, 1, 13), 11, 4)
    assert torch.equal(MaxCls(Shape(11, 4, 1), k=1)(encoded), Cls(Shape(11, 4, 1))(encoded))


def test_the_gradient_of_a_coordinate_reaches_one_layer(by_hand) -> None:
    encoded = by_hand(*LAYERS)
    grads = torch.autograd.grad(
        MaxCls(SHAPE)(encoded) @ torch.tensor([7.0, 11.0]), encoded.states[1:]
    )
    assert [gradient[0].tolist() for gradient in grads] == [[0, 0], [0, 11], [7, 0]]
    assert not any(gradient[1].any() for gradient in grads)


def test_of_equal_layers_the_highest_gets_it_all(by_hand) -> None:
    encoded = by_hand([[(4, 4)]], [[(4, 4)]], [[(4, 1)]])
    grads = torch.autograd.grad(MaxCls(SHAPE)(encoded).sum(), encoded.states[1:])
    assert [gradient[0].tolist() for gradient in grads] == [[0, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("k", [0, -1, 4])
def test_layers_that_are_not_there_are_refused(k: int) -> None:
    with pytest.raises(
        RecipeError,
        match=rf"^pooling 'max_cls': expected k from 1 to 3, the layers of this encoder, got "
        rf"{k}\. Set another k\.$",
    ):
        MaxCls(SHAPE, k=k)
