"""The loop of pre-training: rows, steps, and what a step computes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VOCABULARY
from torch.testing import assert_close

from encore.data.masking import Masking, Symbols
from encore.data.row_file import RowFile, write_row_file
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.model.language_model import load_language_model
from encore.training.pretraining import (
    Keep,
    PretrainSettings,
    PretrainState,
    TextRows,
    pretrain_loop,
)
from encore.training.reports import StepReport
from encore.types import OptimiserSettings, Phase

TEXTS = [
    f"the {word} was very {other} and it came after my week"
    for word in ("lamp", "zip", "box", "tent", "kettle")
    for other in ("great", "awful", "quick")
]
MASK, N_WORDS, MAX_LENGTH = 4, len(VOCABULARY), 16


def rows_of(folder: Path, encoder: Path, *, next_sentence: bool = False) -> TextRows:
    tokenizer = TextTokenizer(encoder)
    (folder / "rows").mkdir()
    write_row_file(folder / "rows", TEXTS, tokenizer, N_WORDS, MAX_LENGTH - 3)
    rows = RowFile(folder / "rows", N_WORDS)
    symbols = Symbols(MASK, N_WORDS, frozenset({0, 2, 3, 4}), np.zeros(N_WORDS, dtype=bool))
    numbers = np.arange(len(rows))
    return TextRows(
        rows,
        tokenizer.templates,
        MAX_LENGTH,
        Masking(0.15, "tokens", symbols),
        numbers[numbers != 3],
        numbers[numbers == 3],
        next_sentence,
    )


def state_of(encoder: Path, phase: Phase, *, next_sentence: bool = False) -> PretrainState:
    source = load.locate(str(encoder))
    return PretrainState(load_language_model(source, seed=1, next_sentence=next_sentence), phase)


def settings_of(phase: Phase, steps: int, **others: int | None) -> PretrainSettings:
    return PretrainSettings(phase, steps, frozenset({steps}), 11, **others)


def test_each_pass_meets_each_row_once_with_other_masks(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, phase = rows_of(tmp_path, tiny_encoder), Phase((), 2, 1e-3, batch_size=4)
    met: list[tuple[int, tuple[int, ...]]] = []
    hide = Masking.hide

    def watched(self, ids, offsets, rows, seed, *turn):  # type: ignore[no-untyped-def]
        found = hide(self, ids, offsets, rows, seed, *turn)
        for row, begin, end in zip(rows, offsets, offsets[1:], strict=False):
            met.append((row, tuple(found.ids[begin:end].tolist())))
        return found

    monkeypatch.setattr(Masking, "hide", watched)
    state = state_of(tiny_encoder, phase)
    n_steps = 2 * -(-len(texts.train) // 4)
    reports = list(pretrain_loop(state, texts, settings_of(phase, n_steps)))
    trained = met[: 2 * len(texts.train)]
    counts = Counter(row for row, _ in trained)
    assert counts == dict.fromkeys(texts.train.tolist(), 2)
    first, second = (dict(trained[at : at + len(texts.train)]) for at in (0, len(texts.train)))
    assert sum(first[row] != second[row] for row in first) > len(first) * 0.8
    assert [row for row, _ in met[len(trained) :]] == texts.dev.tolist()
    steps = [report for report in reports if isinstance(report, StepReport)]
    assert [report.epoch for report in steps] == [1] * (n_steps // 2) + [2] * (n_steps // 2)
    assert sum(report.n_rows for report in steps) == len(trained)
    [kept] = [report for report in reports if isinstance(report, Keep)]
    assert kept.step == n_steps
    assert kept.train_loss == pytest.approx(np.mean([report.loss for report in steps]))


def test_micro_batches_change_the_rounding_only(tmp_path: Path, tiny_encoder: Path) -> None:
    """With dropout, whose masks are those of the whole batch."""
    texts, phase = rows_of(tmp_path, tiny_encoder, next_sentence=True), Phase((), 1, 1e-3, 12)
    found = []
    for size in (None, 5):
        state = state_of(tiny_encoder, phase, next_sentence=True)
        settings = settings_of(phase, 2, micro_batch=size)
        losses = [
            r.terms for r in pretrain_loop(state, texts, settings) if isinstance(r, StepReport)
        ]
        found.append((losses, state.parameters))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert one["masked"] == pytest.approx(other["masked"], abs=1e-5)
        assert one["next"] == pytest.approx(other["next"], abs=1e-5)
    for name, parameter in found[0][1].items():
        if not name.endswith("qkv.bias"):  # a key's bias has no gradient but rounding
            assert_close(parameter, found[1][1][name], rtol=1e-4, atol=2e-5)


def test_layer_decay_and_a_frozen_table(tmp_path: Path, tiny_encoder: Path) -> None:
    """METHODS 3.2 and its line on MLM: the head has the base rate."""
    rates = OptimiserSettings(layer_decay=0.5, embedding_lr=0)
    phase = Phase((), 1, 1e-2, batch_size=8, rates=rates)
    state = state_of(tiny_encoder, phase)
    factors = {
        name: group["factor"] for group in state.optimiser.param_groups for name in group["names"]
    }
    assert factors["pretraining.encoder.blocks.1.up.weight"] == 1
    assert factors["pretraining.encoder.blocks.0.up.weight"] == 0.5
    assert factors["pretraining.head.dense.weight"] == 1
    assert factors["pretraining.head.bias"] == 1
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    list(pretrain_loop(state, rows_of(tmp_path, tiny_encoder), settings_of(phase, 2)))
    still = {name for name, p in state.parameters.items() if torch.equal(p, before[name])}
    assert still == {
        "pretraining.encoder.embed.word.weight",
        "pretraining.encoder.embed.position.weight",
        "pretraining.pooler.weight",
        "pretraining.pooler.bias",
    }


def test_the_second_text_follows_or_is_of_another_document(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    from encore.training.pretraining import _Training

    texts = rows_of(tmp_path, tiny_encoder, next_sentence=True)
    phase = Phase((), 1, 1e-3, batch_size=4)
    training = _Training(
        state_of(tiny_encoder, phase, next_sentence=True), texts, settings_of(phase, 2)
    )
    seconds = {
        tuple(ids[-(-len(ids) // 2) :]): texts.rows.documents[row]
        for row, [ids] in ((row, texts.rows.take([row])) for row in texts.train)
    }
    n_foreign = 0
    for turn in range(40):
        batch = training.batch(texts.train[:8], turn)
        ids = batch.tokens.ids.clone()
        ids[batch.places] = batch.targets  # as they were before they were hidden
        for row, tokens, segments, label in zip(
            texts.train,
            ids.split(batch.tokens.lengths),
            batch.tokens.segments.split(batch.tokens.lengths),
            batch.second.tolist(),
            strict=False,
        ):
            [own] = texts.rows.take([row])
            half = -(-len(own) // 2)
            assert tokens[0] == 2
            assert tokens[1 : half + 1].tolist() == own[:half].tolist()
            assert segments.tolist() == [0] * (half + 2) + [1] * (len(tokens) - half - 2)
            second = tokens[half + 2 : -1].tolist()
            if label == 0:
                assert second == own[half:].tolist()
            else:
                owners = {d for key, d in seconds.items() if list(key)[: len(second)] == second}
                assert owners - {texts.rows.documents[row]}
                n_foreign += 1
    assert 0.35 < n_foreign / 320 < 0.6
