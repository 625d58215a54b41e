"""Ranking beside the losses of sentence-transformers, also with negatives and in cached form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_model import LABELS, batch_of, model_of
from torch import Tensor

from encore.techniques.losses.mnr import Mnr
from encore.training.step import StepInput, take_step
from encore.types import Batch, Output

losses = pytest.importorskip(
    "sentence_transformers.sentence_transformer.losses",
    reason="sentence-transformers, the reference, is not installed",
)
util = pytest.importorskip("sentence_transformers.util")


class Lookup(torch.nn.Module):
    """Stands in for their model, whose first module is asked for: looks its vectors up."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = torch.nn.Parameter(vectors.detach().clone())

    def __getitem__(self, number: int) -> torch.nn.Module:
        return self

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.vectors[features["input_ids"][:, 0]]}


def sides(n_sides: int, rows: int = 9) -> list[Tensor]:
    draw = torch.Generator().manual_seed(6)
    return [torch.randn(rows, 5, generator=draw, requires_grad=True) for _ in range(n_sides)]


def ours(loss: Mnr, given: list[Tensor]) -> tuple[float, list[Tensor]]:
    rows = len(given[0])
    batch = Batch(
        "t", "d", batch_of("binary").rows[:rows], None, torch.zeros(rows), torch.ones(rows)
    )  # type: ignore[arg-type]
    total, weight = loss(None, batch, Output(torch.zeros(rows, 1), tuple(given)))  # type: ignore[arg-type]
    value = total / weight
    return float(value.detach()), list(torch.autograd.grad(value, given))


CASES: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "cosine": (
        {"scale": 20.0},
        lambda model, **more: losses.MultipleNegativesRankingLoss(model, **more),
    ),
    "dot": (
        {"scale": 1.0, "similarity": "dot"},
        lambda model, **more: losses.MultipleNegativesRankingLoss(
            model, scale=1.0, similarity_fct=util.dot_score, **more
        ),
    ),
    "cached": (
        {"scale": 20.0},
        lambda model, **more: losses.CachedMultipleNegativesRankingLoss(
            model, mini_batch_size=4, **more
        ),
    ),
}


@pytest.mark.parametrize("n_sides", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_ranking_is_that_of_sentence_transformers(case: str, n_sides: int) -> None:
    """Value and gradients; their cached form reads nine rows four at a time."""
    how, build = CASES[case]
    given = sides(n_sides)
    value, gradients = ours(Mnr(LABELS["unlabelled"], **how), given)
    model = Lookup(torch.cat(given))
    rows = torch.arange(len(given[0]))
    features = [
        {"input_ids": (side * len(rows) + rows).unsqueeze(1), "attention_mask": torch.ones(9, 1)}
        for side in range(n_sides)
    ]
    theirs = build(model)(features, None)
    theirs.backward()
    assert value == pytest.approx(float(theirs.detach()), rel=1e-5)
    torch.testing.assert_close(torch.cat(gradients), model.vectors.grad, rtol=1e-4, atol=1e-6)


def test_symmetric_ranking_is_that_of_sentence_transformers() -> None:
    given = sides(2)
    value, gradients = ours(Mnr(LABELS["unlabelled"], scale=20.0, symmetric=True), given)
    model, rows = Lookup(torch.cat(given)), torch.arange(9)
    theirs = losses.MultipleNegativesSymmetricRankingLoss(model)(
        [{"input_ids": (side * 9 + rows).unsqueeze(1)} for side in range(2)], None
    )
    theirs.backward()
    assert value == pytest.approx(float(theirs.detach()), rel=1e-5)
    torch.testing.assert_close(torch.cat(gradients), model.vectors.grad, rtol=1e-4, atol=1e-6)


def test_a_split_step_is_their_cached_loss() -> None:
    """Of a real model without dropout: our micro-batches of 4, 4 and 3 pairs beside their cached
    loss on the vectors of the same weights.
    """
    found: dict[str, Tensor] = {}
    model = model_of("unlabelled", rate=0.0)
    named = dict(model.named_parameters())
    for name, parameter in named.items():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: found.update({name: p.grad.clone()})
        )
    optimiser = torch.optim.AdamW(named.values(), lr=0.0)
    optimiser.param_groups[0]["factor"] = 1.0
    parts = [batch_of("unlabelled", slice(*ends)) for ends in ((0, 4), (4, 8), (8, None))]
    for part in parts:
        part.weights.fill_(1.0)
    loss = Mnr(LABELS["unlabelled"], scale=20.0)
    step = StepInput(model, parts, {"task": (1.0, loss)})
    outcome = take_step([step], optimiser, seed=1, step=1, clip_norm=None)
    other = model_of("unlabelled", rate=0.0)
    output = other(batch_of("unlabelled").tokens)
    reader = Lookup(torch.cat(output.embeddings))
    rows = torch.arange(len(output.scores))
    theirs = losses.CachedMultipleNegativesRankingLoss(reader, mini_batch_size=4)(
        [{"input_ids": (side * len(rows) + rows).unsqueeze(1)} for side in range(2)], None
    )
    theirs.backward()
    torch.cat(output.embeddings).backward(reader.vectors.grad)
    assert outcome.loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    largest = max(float(p.grad.abs().max()) for p in other.parameters() if p.grad is not None)
    for name, parameter in other.named_parameters():
        if parameter.grad is not None:
            assert float((found[name] - parameter.grad).abs().max()) < 1e-4 * largest, name
