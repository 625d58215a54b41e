"""Every technique keeps the contract of its kind: encore/types.py declares all that is read from
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from beartype.door import is_bearable
from jaxtyping import Float32, jaxtyped
from small_model import taught
from torch import Tensor, nn

import encore.types
from encore import catalogue
from encore.encoder import dropout
from encore.encoder.encoder import Shape
from encore.types import (
    Adapter,
    Average,
    Batch,
    Combine,
    Curve,
    Encoded,
    Head,
    LabelSpace,
    Loss,
    LossTerm,
    Metric,
    Mixing,
    Output,
    Pairing,
    Plan,
    Pooling,
    Sharing,
    Tokens,
)

PROTOCOLS: dict[str, Any] = {
    "pooling": Pooling,
    "heads": Head,
    "losses": Loss,
    "pairs": Pairing,
    "adapters": Adapter,
    "sharing": Sharing,
    "mixing": Mixing,
    "combine": Combine,
    "plans": Plan,
    "curves": Curve,
    "averages": Average,
    "metrics": Metric,
}
ALL = [(kind, name) for kind in PROTOCOLS for name in catalogue.names(kind)]
WIDTH, LENGTHS = 12, (3, 1, 5, 2)
LABELS = {
    "binary": LabelSpace("binary", ("no", "yes")),
    "multiclass": LabelSpace("multiclass", ("a", "b", "c")),
    "multilabel": LabelSpace("multilabel", ("a", "b", "c")),
    "regression": LabelSpace("regression"),
    "unlabelled": LabelSpace("unlabelled"),
}
TARGETS = {
    "binary": torch.tensor([0, 1, 1, 0]),
    "multiclass": torch.tensor([0, 2, 1, 0]),
    "multilabel": torch.tensor([[0.0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]]),
    "regression": torch.tensor([0.5, 1.5, -1.0, 3.0]),
    "unlabelled": torch.zeros(4),
}


def kind_of_task(technique: Any) -> str:
    fitting = (*technique.kinds, *getattr(technique, "joins", ()))
    return next(kind for kind in LABELS if kind in fitting)


def built(kind: str, name: str) -> Any:
    if kind == "metrics":
        return catalogue.find(kind, name)
    if kind == "pooling":
        return catalogue.build(kind, name, Shape(WIDTH, 3, 2))
    if kind == "heads":
        labels = LABELS[kind_of_task(catalogue.find(kind, name))]
        return catalogue.build(kind, name, WIDTH, labels.n_scores)
    if kind == "losses":
        labels = LABELS[kind_of_task(catalogue.find(kind, name))]
        return taught(catalogue.build(kind, name, labels), labels)
    return catalogue.build(kind, name)


def test_every_kind_has_a_protocol() -> None:
    assert set(PROTOCOLS) == set(catalogue.kinds())
    assert {protocol.__module__ for protocol in PROTOCOLS.values()} == {"encore.types"}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_technique_has_what_its_kind_declares(kind: str, name: str) -> None:
    technique, protocol = built(kind, name), PROTOCOLS[kind]
    if kind != "metrics":  # these are functions
        assert protocol in type(technique).__mro__
    names = vars(encore.types) | {"np": np, "Tensor": Tensor, "nn": nn}
    hints = {key: hint for key, hint in get_type_hints(protocol, names).items() if key[0] != "_"}
    wrong = {key for key, hint in hints.items() if not is_bearable(getattr(technique, key), hint)}
    assert not wrong
    methods = {
        key
        for key, value in vars(protocol).items()
        if callable(value) and (key == "__call__" or key[0] != "_")
    }
    assert methods
    assert all(callable(getattr(technique, key)) for key in methods)


@pytest.fixture
def encoded() -> Encoded:
    torch.manual_seed(1)
    n = sum(LENGTHS)
    offsets = torch.tensor([0, *np.cumsum(LENGTHS)])
    ids = torch.randint(5, 90, (n,))
    tokens = Tokens(ids, torch.zeros_like(ids), torch.zeros_like(ids), offsets, LENGTHS)
    return Encoded(tuple(torch.randn(n, WIDTH) for _ in range(4)), tokens)


@pytest.mark.parametrize("name", catalogue.names("pooling"))
def test_shapes_of_poolings(name: str, encoded: Encoded) -> None:
    pooling: Pooling = built("pooling", name)
    rows, tokens = len(LENGTHS), sum(LENGTHS)
    lines = {"rows": rows, "tokens": tokens}[pooling.unit]
    reduced = pooling.reduce(encoded)
    with jaxtyped("context"):
        assert isinstance(reduced, Float32[Tensor, f"{lines} {pooling.reduced_width}"])
        for vectors in (pooling(encoded), pooling.finish(reduced, encoded.tokens)):
            assert isinstance(vectors, Float32[Tensor, f"{rows} {pooling.width}"])
        if pooling.weights is not None:
            assert isinstance(pooling.weights(encoded), Float32[Tensor, f"{tokens} *heads"])
    if pooling.layer_counts is not None:
        n_lines = tokens if pooling.unit == "tokens" else rows
        assert int(pooling.layer_counts(encoded).sum()) == n_lines


@pytest.mark.parametrize("name", catalogue.names("heads"))
def test_shapes_of_heads(name: str) -> None:
    head: Head = built("heads", name)
    labels = LABELS[kind_of_task(head)]
    sides = [torch.randn(4, WIDTH) for _ in range(head.n_sides)]
    with jaxtyped("context"):
        embeddings = [head.embed(side) for side in sides]
        assert all(isinstance(side, Float32[Tensor, "rows embedding"]) for side in embeddings)
        assert isinstance(head.score(*embeddings), Float32[Tensor, f"rows {labels.n_scores}"])


@pytest.mark.parametrize("name", catalogue.names("losses"))
def test_shapes_of_losses(name: str, encoded: Encoded) -> None:
    loss: Loss = built("losses", name)
    kind = kind_of_task(loss)
    n_sides = loss.n_sides
    passes = []

    def model(
        tokens: Tokens, embedded: Sequence[Tensor] | None = None, exact: bool = False
    ) -> Output:
        passes.append(tokens)
        places = (torch.randn(tokens.n_tokens, 5),) if embedded is None else tuple(embedded)
        sides = tuple(torch.randn(4, 5) for _ in range(n_sides))
        scores = torch.randn(4, LABELS[kind].n_scores) + places[0].sum()
        return Output(scores, sides, places)

    weights = torch.tensor([1.0, 2.0, 0.5, 1.0])
    batch = Batch("task", "digest", np.arange(4), encoded.tokens, TARGETS[kind], weights)
    output = model(encoded.tokens)
    with dropout.drawing(1, 1):
        term = loss(model, batch, output)
    assert isinstance(term, LossTerm)
    with jaxtyped("context"):
        assert isinstance(term.sum, Float32[Tensor, ""])
        assert isinstance(term.weight, Float32[Tensor, ""])
    # beside a binary loss, ranking reads the pairs of the second class alone
    expected = 2.5 if (name, kind) == ("mnr", "binary") else 4.5
    assert float(term.weight) == float(loss.weight(batch)) == expected
    assert len(passes) == 1 + loss.extra_passes
