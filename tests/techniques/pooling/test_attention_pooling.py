from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.errors import DataError
from encore.techniques.pooling.attention import Attention
from encore.techniques.pooling.mean import Mean
from encore.types import Encoded

LENGTHS, WIDTH = (5, 1, 70, 2, 3), 11


def pooling_with(direction: Tensor) -> Attention:
    pooling = Attention(Shape(len(direction), 2, 1))
    pooling.load_state_dict({"score.weight": direction.unsqueeze(0)})
    return pooling


def test_methods_own_numbers(by_hand) -> None:
    pooling, encoded = (
        pooling_with(torch.tensor([1.0, 0.0])),
        by_hand([[(1, -2), (3, 0)], [(9, 9)]]),
    )
    assert_close(pooling.weights(encoded), torch.tensor([0.1192, 0.8808, 1.0]), atol=5e-5, rtol=0)
    assert_close(pooling(encoded), torch.tensor([[2.7616, -0.2384], [9, 9]]), atol=5e-5, rtol=0)


def test_without_a_direction_it_is_the_mean(at_random) -> None:
    encoded = at_random(LENGTHS, WIDTH, 2)
    assert_close(pooling_with(torch.zeros(WIDTH))(encoded), Mean(Shape(WIDTH, 2, 1))(encoded))


def test_it_is_the_loop_over_rows(at_random, gradients) -> None:
    encoded, pooling = at_random(LENGTHS, WIDTH, 2), pooling_with(torch.linspace(-1, 1, WIDTH))
    (w,) = pooling.score.weight
    slow = torch.stack([(row @ w).softmax(0) @ row for row in encoded.states[-1].split(LENGTHS)])
    out, inputs = pooling(encoded), [*encoded.states, pooling.score.weight]
    assert_close(out, slow)
    assert_close(gradients(out, inputs), gradients(slow, inputs))
    assert_close(
        torch.stack([row.sum() for row in pooling.weights(encoded).split(LENGTHS)]),
        torch.ones(len(LENGTHS)),
    )


def test_its_parameters_and_their_first_values() -> None:
    torch.manual_seed(0)
    (weight,) = Attention(Shape(20_011, 2, 1)).parameters()
    assert weight.shape == (1, 20_011)
    assert_close(weight.std().item(), 0.02, atol=4e-4, rtol=0)


def test_a_row_of_nothing_is_refused(at_random) -> None:
    encoded = at_random((3, 0), WIDTH, 2)
    with pytest.raises(DataError, match="row 1 of a batch has no tokens"):
        Attention(Shape(WIDTH, 2, 1))(Encoded(encoded.states, encoded.tokens))
