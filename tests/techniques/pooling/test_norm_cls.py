from __future__ import annotations

import torch

from encore.encoder.encoder import Shape
from encore.techniques.pooling.norm_cls import NormCls

SHAPE = Shape(2, 3, 1)


def test_methods_own_numbers(by_hand) -> None:
    """Norms √5, 5, √10: the second layer's vector as a whole, where the element-wise maximum would
    be (3, 5).
    """
    encoded = by_hand([[(1, -2), (50, 50)]], [[(0, 5), (50, 50)]], [[(3, -1), (50, 50)]])
    assert NormCls(SHAPE)(encoded).tolist() == [[0, 5]]
    assert NormCls(SHAPE, k=1)(encoded).tolist() == [[3, -1]]


def test_each_row_chooses_and_only_the_chosen_get_a_gradient(by_hand) -> None:
    encoded = by_hand(
        [[(9, 9)], [(1, 0)], [(1, 1)]],
        [[(1, 0)], [(2, 0)], [(1, -1)]],
        [[(0, 1)], [(3, 0)], [(-1, 1)]],
    )
    pooling = NormCls(SHAPE)
    out = pooling(encoded)
    assert out.tolist() == [[9, 9], [3, 0], [-1, 1]], (
        "the third row's are equally long: the highest layer"
    )
    grads = torch.autograd.grad(out.sum(), encoded.states[1:])
    assert [gradient.any(dim=1).tolist() for gradient in grads] == [
        [True, False, False],
        [False, False, False],
        [False, True, True],
    ]
    assert all(set(gradient.flatten().tolist()) <= {0.0, 1.0} for gradient in grads), (
        "the choice itself has no gradient"
    )
    assert pooling.layer_counts(encoded).tolist() == [1, 0, 2]
