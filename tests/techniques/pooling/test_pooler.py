from __future__ import annotations

import torch
from torch import nn
from torch.testing import assert_close

from encore.encoder.encoder import Shape
from encore.techniques.pooling.cls import Cls
from encore.techniques.pooling.pooler import Pooler

LENGTHS, WIDTH = (5, 2, 3), 11


def test_it_is_the_hyperbolic_tangent_of_a_dense_layer_on_cls(at_random) -> None:
    encoded, dense = at_random(LENGTHS, WIDTH, 2), nn.Linear(WIDTH, WIDTH)
    pooling = Pooler(Shape(WIDTH, 2, 1, dense))
    cls = Cls(Shape(WIDTH, 2, 1))(encoded)
    assert_close(
        pooling(encoded), torch.stack([torch.tanh(dense.weight @ row + dense.bias) for row in cls])
    )
    assert (pooling(encoded).abs() < 1).all()


def test_the_checkpoints_layer_is_copied(at_random) -> None:
    dense = nn.Linear(WIDTH, WIDTH)
    pooling = Pooler(Shape(WIDTH, 2, 1, dense))
    dense.weight.data.zero_()
    assert pooling.dense.weight.abs().sum() > 0


def test_frozen_it_stays_as_it_was_pretrained(at_random) -> None:
    shape = Shape(WIDTH, 2, 1, nn.Linear(WIDTH, WIDTH))
    encoded, pooling = at_random(LENGTHS, WIDTH, 2), Pooler(shape, frozen=True)
    assert_close(pooling(encoded), Pooler(shape)(encoded))
    assert [p.requires_grad for p in pooling.parameters()] == [False, False]
    assert [p.requires_grad for p in Pooler(shape).parameters()] == [True, True]


def test_without_a_checkpoint_it_starts_as_bert_did() -> None:
    torch.manual_seed(0)
    pooling = Pooler(Shape(768, 12, 12))
    assert sum(p.numel() for p in pooling.parameters()) == 590_592
    assert_close(pooling.dense.weight.std().item(), 0.02, atol=1e-4, rtol=0)
    assert not pooling.dense.bias.any()


def test_it_is_cls_where_the_dense_layer_and_tanh_do_nothing(at_random, monkeypatch) -> None:
    monkeypatch.setattr(torch, "tanh", lambda x: x)
    encoded, pooling = at_random(LENGTHS, WIDTH, 2), Pooler(Shape(WIDTH, 2, 1))
    pooling.load_state_dict({"dense.weight": torch.eye(WIDTH), "dense.bias": torch.zeros(WIDTH)})
    assert_close(pooling(encoded), Cls(Shape(WIDTH, 2, 1))(encoded))
