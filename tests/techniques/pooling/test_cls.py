from __future__ import annotations

import torch
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.heads.linear import LinearHead
from encore.techniques.pooling.cls import Cls


def test_it_is_the_last_layers_first_token(by_hand) -> None:
    encoded = by_hand([[(8, 9), (7, 7)], [(6, 6)]], [[(1, -2), (3, 0)], [(0, 5)]])
    assert Cls(Shape(2, 2, 1))(encoded).tolist() == [[1, -2], [0, 5]]


def test_a_head_of_the_identitys_first_lines_gives_its_first_coordinates(at_random) -> None:
    encoded = at_random((5, 2, 3), 11, 2)
    pooling, head = Cls(Shape(11, 2, 1)), LinearHead(11, 3, dropout=0.0)
    head.load_state_dict({"out.weight": torch.eye(11)[:3], "out.bias": head.out.bias})
    assert_close(head.score(pooling(encoded)), encoded.states[-1][[0, 5, 7], :3], atol=0, rtol=0)
    assert not list(pooling.parameters())
