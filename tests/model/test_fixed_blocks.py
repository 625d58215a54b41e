"""Blocks below the lowest adapter run once for each text, and give what they give every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import Tables
from small_encoders import encoder_of, last, tokens

from encore import catalogue
from encore.encoder.encoder import Encoder
from encore.model import feature_cache
from encore.runs.memory import estimate_memory
from encore.runs.prepare import build_models
from encore.training.loop import train_loop
from encore.training.reports import EvalReport, StepReport
from encore.types import Spec

ADAPTER = "adapter={name: houlsby, size: 5, top: 1, cache_below: true}"


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("first_only", [False, True])
def test_entered_above_a_block_it_gives_the_same(family: str, first_only: bool) -> None:
    encoder, batch = encoder_of(family), tokens()
    with torch.no_grad():
        whole = encoder.run(encoder.embedded(batch), batch, layers=(2, 3), first_only=first_only)
        below = Encoder(encoder.embed, encoder.blocks[:2]).eval()
        entered = encoder.run(
            last(below, batch), batch, layers=(2, 3), first_only=first_only, start=2
        )
    for layer in (2, 3):
        one, other = whole.states[layer], entered.states[layer]
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)
    assert entered.states[:2] == (None, None)


@pytest.mark.parametrize("name", ["houlsby", "pfeiffer", "lora"])
def test_what_lies_below_has_no_dropout(name: str) -> None:
    spec: Spec = {"name": name, "top": 1, "cache_below": True}
    found = catalogue.build("adapters", spec)(encoder_of("bert")).train()
    assert found.n_fixed == 2
    assert not found.embed.training
    assert [block.training for block in found.blocks] == [False, False, True]
    usual = catalogue.build("adapters", {"name": name, "top": 1})(encoder_of("bert")).train()
    assert all(block.training for block in usual.blocks)


def trained(
    tables: Tables, *overrides: str
) -> tuple[list[StepReport | EvalReport], dict[str, torch.Tensor]]:
    prepared = tables.prepared("plan.epochs=2", *overrides)
    models = build_models(prepared)
    reports = list(train_loop(models, prepared.plan, prepared.streams, prepared.settings))
    return reports, next(iter(models.values())).state_dict()


@pytest.mark.parametrize(
    "settings",
    [
        ("pooling=mean",),
        ("pooling=cls", "plan.micro_batch=4"),
        ("pooling={name: max_cls, k: 2}",),
        ("losses={task: cross_entropy, smart: {name: smart, weight: 1}}",),
        ("data.text_pair=other", "head=siamese_concat"),
    ],
)
def test_cached_or_not_the_bits_are_the_same(
    settings: tuple[str, ...], tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (ADAPTER, *settings)
    once, kept = trained(tables, *given)
    asked: list[Any] = []
    monkeypatch.setattr(
        "encore.training.loop.fits_in_memory", lambda *given: bool(asked.append(given))
    )
    each, fresh = trained(tables, *given)
    assert asked
    steps = [(r.loss, r.grad_norm) for r in once if isinstance(r, StepReport)]
    assert steps == [(r.loss, r.grad_norm) for r in each if isinstance(r, StepReport)]
    assert all(torch.equal(kept[name], fresh[name]) for name in kept)
    scores = [r.scores for r in once if isinstance(r, EvalReport)]
    for one, other in zip(
        scores, [r.scores for r in each if isinstance(r, EvalReport)], strict=True
    ):
        for task in one:
            assert all(np.array_equal(one[task][name], other[task][name]) for name in one[task])


def test_the_blocks_below_run_once_for_each_text(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = tables.prepared("plan.epochs=3", ADAPTER, "pooling=mean")
    models = build_models(prepared)
    (model,) = models.values()
    (encoder,) = feature_cache.partly_fixed(model)
    counted = [0, 0]
    for number, block in enumerate(encoder.blocks):
        block.register_forward_hook(
            lambda module, given, found, number=number: counted.__setitem__(
                number, counted[number] + given[1].n_tokens
            )
        )
    list(train_loop(models, prepared.plan, prepared.streams, prepared.settings))
    (stream,) = prepared.streams.values()
    n_tokens = len(stream.train.store.ids) + sum(len(r.store.ids) for r in stream.dev.values())
    assert counted == [n_tokens, 3 * n_tokens]


def test_a_pooling_that_reads_lower_states_runs_them_all(tables: Tables) -> None:
    (model,) = build_models(tables.prepared(ADAPTER, "pooling={name: max_cls, k: 2}")).values()
    assert len(feature_cache.partly_fixed(model)) == 1  # it reads the output of layers 1 and 2
    model.branches[0].pooling.layers = (0, 2)
    assert feature_cache.partly_fixed(model) == []


def test_the_estimate_counts_what_is_kept(tables: Tables) -> None:
    prepared = tables.prepared(ADAPTER, "pooling=mean")
    (stream,) = prepared.streams.values()
    n_tokens = len(stream.train.store.ids) + sum(len(r.store.ids) for r in stream.dev.values())
    assert estimate_memory(prepared).features == 4 * 24 * n_tokens
