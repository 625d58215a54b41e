"""METHODS 3: what optimisation does to a model in training, by its worked rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import Tables

from encore.encoder import dropout
from encore.encoder.dropout import Dropout
from encore.encoder.layers import ResidualNorm
from encore.model.parameters import unique_parameters, word_tables
from encore.runs.prepare import build_models
from encore.runs.prepared import Prepared
from encore.training.loop import train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.scoring import collate_cached, score_rows
from encore.training.state import FitState


def trained(prepared: Prepared, epochs: int | None = None) -> tuple[FitState, dict[str, Any], Any]:
    """The state after so many epochs, the parameters before, and the last report of an epoch."""
    models = build_models(prepared)
    state = FitState(models)
    state.narrow(prepared.streams)
    before = {name: p.detach().clone() for name, p in unique_parameters(models).items()}
    end = None
    for report in train_loop(
        models, prepared.plan, prepared.streams, prepared.settings, state=state
    ):
        if isinstance(report, EvalReport):
            end = report
            if report.epoch == epochs:
                break
    return state, before, end


@pytest.mark.parametrize("optimiser", ["torch", "minbert"])
def test_frozen_embeddings_keep_their_bits_and_all_else_moves(
    optimiser: str, tables: Tables
) -> None:
    """3.2: word and position tables at rate 0, weight decay included. Key biases are parts of
    tensors that move.
    """
    prepared = tables.prepared(
        "plan.embedding_lr=0", f"plan.optimiser={optimiser}", "plan.weight_decay=0.1"
    )
    state, before, _ = trained(prepared)
    after = unique_parameters(state.models)
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    tables_ = {name for name in before if "embed.word" in name or "embed.position" in name}
    assert len(tables_) == 2
    assert same == tables_ | {name for name in before if "pooler" in name}
    assert [table.decay for table in word_tables(state.models.values())] == [1.0]


def test_probing_leaves_the_encoder_and_tuning_starts_from_its_scores(tables: Tables) -> None:
    """3.5: the encoder with its pooler keeps its bits, cached features score as the encoder itself
    does, and the second phase starts there, with a fresh optimiser.
    """
    prepared = tables.prepared(
        "pooling=pooler", "plan.name=lp_ft", "plan.probe_epochs=2", "plan.epochs=1"
    )
    state, before, end = trained(prepared, epochs=2)
    after = unique_parameters(state.models)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(".head." in f".{name}" for name in moved)
    ((task, stream),) = prepared.streams.items()
    own = score_rows(state.models[task], stream.dev["dev"], stream.labels)
    np.testing.assert_allclose(own, end.scores[task]["dev"], atol=1e-6, rtol=0)
    reports = train_loop(
        state.models, prepared.plan, prepared.streams, prepared.settings, state=state
    )
    first = next(reports)
    assert isinstance(first, StepReport)
    assert first.phase is not None
    assert (first.phase.number, first.phase.epochs, first.epoch) == (2, 1, 3)
    assert state.optimiser is not None
    ages = {int(value["step"]) for value in state.optimiser.state.values()}
    assert ages == {1}


def test_hidden_and_attention_dropout_are_set_everywhere_together(tables: Tables) -> None:
    """3.6: embeddings, attention output and feed-forward output have one rate, attention weights
    another, and the head its own.
    """
    prepared = tables.prepared("hidden_dropout=0.4", "attention_dropout=0.2", "head.dropout=0.3")
    (model,) = build_models(prepared).values()
    encoder = model.branches[0].encoder
    inside = [each.p for each in encoder.modules() if isinstance(each, Dropout)]
    behind = [each.dropout for each in encoder.modules() if isinstance(each, ResidualNorm)]
    weights = [each.attention_dropout for each in encoder.blocks]
    assert (inside, behind, weights) == ([0.4], [0.4] * 4, [0.2] * 2)
    assert [each.p for each in model.head.modules() if isinstance(each, Dropout)] == [0.3]


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_without_dropout_training_and_evaluation_read_alike(rate: float, tables: Tables) -> None:
    rates = [f"{key}={rate}" for key in ("hidden_dropout", "attention_dropout", "head.dropout")]
    prepared = tables.prepared(*rates)
    (model,) = build_models(prepared).values()
    (stream,) = prepared.streams.values()
    tokens = collate_cached(stream.train.store, np.arange(6), torch.device("cpu"), None)
    with torch.no_grad(), dropout.drawing(1, 1):
        training, evaluation = (getattr(model, mode)()(tokens).scores for mode in ("train", "eval"))
    assert torch.equal(training, evaluation) is (rate == 0)
