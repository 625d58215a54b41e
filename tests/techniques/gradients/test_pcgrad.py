"""PCGrad: by hand, and against the paper's algorithm on flat vectors, one number after the
other.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from encore.techniques.gradients.pcgrad import Pcgrad


def parameters(*sizes: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(size)) for size in sizes]


def test_by_hand() -> None:
    """g₁ = (1, 0), g₂ = (−1, 1): g₁·g₂ = −1, so g₁ becomes (½, ½) and g₂ becomes (0, 1). Without a
    conflict nothing changes.
    """
    (p,) = parameters(2)
    g1, g2 = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    assert Pcgrad()([{p: g1}, {p: g2}], [[0, 1], [1, 0]])[p].tolist() == [0.5, 1.5]
    assert Pcgrad()([{p: g1}, {p: -g2}], [[0, 1], [1, 0]])[p].tolist() == [2.0, -1.0]
    assert (g1.tolist(), g2.tolist()) == ([1.0, 0.0], [-1.0, 1.0])


def slow(gradients: list[list[float]], order: list[list[int]]) -> list[float]:
    total = [0.0] * len(gradients[0])
    for number, gradient in enumerate(gradients):
        own = list(gradient)
        for other in order[number]:
            against = gradients[other]
            product = sum(a * b for a, b in zip(own, against, strict=True))
            if other != number and product < 0:
                squared = sum(b * b for b in against)
                own = [a - product / squared * b for a, b in zip(own, against, strict=True)]
        total = [a + b for a, b in zip(total, own, strict=True)]
    return total


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_it_is_the_paper_s_algorithm_over_all_shared_weights_at_once(
    order: tuple[int, ...],
) -> None:
    p, q = parameters(3, 4)
    draw = torch.Generator().manual_seed(1)
    flat = [torch.randn(7, generator=draw) for _ in range(3)]
    assert sum(float(a @ b) < 0 for a, b in itertools.combinations(flat, 2)) >= 1
    found = Pcgrad()([{p: g[:3], q: g[3:]} for g in flat], [order] * 3)
    torch.testing.assert_close(
        torch.cat([found[p], found[q]]),
        torch.tensor(slow([g.tolist() for g in flat], [list(order)] * 3)),
    )


def test_weights_of_one_task_alone_keep_their_gradient() -> None:
    shared, private, other = parameters(2, 2, 2)
    mine, theirs = torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0])
    found = Pcgrad()(
        [
            {shared: torch.tensor([1.0, 0.0]), private: mine},
            {shared: torch.tensor([-1.0, 1.0]), other: theirs},
        ],
        [[0, 1], [0, 1]],
    )
    assert torch.equal(found[private], mine)
    assert torch.equal(found[other], theirs)
    assert found[shared].tolist() == [0.5, 1.5]
