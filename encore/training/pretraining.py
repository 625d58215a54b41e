"""Pre-training: masked language modelling, and telling whether one text follows another.

A generator like `train_loop`: it yields a report for every step and every kept encoder, and has no
callbacks. Rows, masks and pairs of a step are functions of (seed, step), so the state is the
weights, the optimiser and one number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encore import rng
from encore.data.batches import batch_places, collate, epoch_order
from encore.data.masking import Masking
from encore.data.row_file import RowFile
from encore.data.token_store import TokenStore, tokenize
from encore.data.tokenizer import Template, Templates
from encore.encoder import dropout
from encore.errors import TrainingError
from encore.model.language_model import LanguageModel
from encore.model.parameters import unique_parameters
from encore.training import optimiser, step
from encore.training.reports import StepReport
from encore.training.terms import places_of
from encore.types import Phase, Progress, Tokens

__all__ = [
    "HeldOut",
    "Keep",
    "PretrainSettings",
    "PretrainState",
    "TextRows",
    "pretrain_loop",
    "steps_per_epoch",
]

_TASK = "pretraining"  # purpose of the order of rows, and prefix of parameters


@dataclass(frozen=True)
class TextRows:
    """Rows of texts to train and to measure on. templates: the tokenizer's. train, dev: their
    numbers. next_sentence: each row is two texts, halves of one or of two documents.
    """

    rows: RowFile
    templates: Mapping[bool, Template]
    max_length: int
    masking: Masking
    train: np.ndarray
    dev: np.ndarray
    next_sentence: bool = False


@dataclass(frozen=True)
class PretrainSettings:
    """The length and the rate of training. steps: of the whole run. keep: the steps after which
    the encoder is kept; the last is one of them.
    """

    phase: Phase
    steps: int
    keep: frozenset[int]
    seed: int
    micro_batch: int | None = None


@dataclass(frozen=True)
class HeldOut:
    """Figures of rows that are not trained on: mean −ln p of the hidden tokens, the fraction that
    is guessed, and the same of the next text (None where it is not trained).
    """

    loss: float
    accuracy: float
    next_loss: float | None = None


@dataclass(frozen=True)
class Keep:
    """The encoder after `step` is to be kept. train_loss: the mean over the steps since the one
    before, None at step 0; held_out: None where there are no such rows.
    """

    step: int
    train_loss: float | None
    held_out: HeldOut | None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Keep:
        """The report of which `stored` is the `asdict`."""
        held_out = stored.get("held_out")
        return cls(**{**stored, "held_out": held_out and HeldOut(**held_out)})


@dataclass
class PretrainState:
    """All that is needed to resume, bit for bit."""

    model: LanguageModel
    phase: Phase
    step: int = 0
    kept: int = -1  # the latest step whose encoder was kept
    loss_sum: float = 0.0  # over the steps since then
    optimiser: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        infos = self.model.infos
        for parameter in self.model.parameters():
            info = infos.get(id(parameter))
            if info is not None and info.role == "tables" and self.phase.rates.embedding_lr == 0:
                parameter.requires_grad_(False)
        self.optimiser = optimiser.adamw(self.parameters, self.phase, infos)

    @property
    def epoch(self) -> int:
        """Part of a checkpoint's name; the step alone says where training is."""
        return 0

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return unique_parameters({_TASK: self.model})

    @property
    def numbers(self) -> dict[str, Any]:
        """All that is not a tensor, ready for JSON."""
        return {"step": self.step, "kept": self.kept, "loss_sum": self.loss_sum}

    def snapshot(self) -> PretrainState:
        """The run as it is now, between two steps."""
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and optimiser state by name. Aliases, not copies."""
        found = {f"model/{name}": p.detach() for name, p in self.parameters.items()}
        return found | optimiser.state_tensors(self.optimiser)

    def restore(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Resume from the numbers and tensors of a snapshot."""
        for name in self.numbers:
            setattr(self, name, numbers[name])
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"model/{name}"])
        optimiser.restore_tensors(self.optimiser, tensors)


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Steps in which each row is met once; the last batch may be short."""
    return math.ceil(n_rows / batch_size)


def pretrain_loop(
    state: PretrainState, texts: TextRows, settings: PretrainSettings
) -> Iterator[StepReport | Keep]:
    """Train from `state` on. Raises TrainingError where the loss is not finite."""
    training = _Training(state, texts, settings)
    state.model.train()
    if state.step in settings.keep and state.kept < state.step:
        yield training.keep()
    while state.step < settings.steps:
        yield training.take()
        if state.step in settings.keep:
            yield training.keep()


@dataclass(frozen=True)
class _Batch:
    """Some rows as the model reads them; the arguments of `LanguageModel.loss`."""

    tokens: Tokens
    places: Tensor
    targets: Tensor
    second: Tensor

    @property
    def n_pairs(self) -> int:
        return int((self.second >= 0).sum())


class _Training:
    """The steps of one run."""

    def __init__(self, state: PretrainState, texts: TextRows, settings: PretrainSettings) -> None:
        self.state, self.texts, self.settings = state, texts, settings
        self.device = next(state.model.parameters()).device
        self.per_epoch = steps_per_epoch(len(texts.train), settings.phase.batch_size)
        self.lengths = texts.rows.lengths[texts.train]
        self.order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def take(self) -> StepReport:
        """Train on one batch."""
        state, phase, settings = self.state, self.settings.phase, self.settings
        epoch, number = divmod(state.step, self.per_epoch)
        if self.order[0] != epoch:
            order = epoch_order(len(self.texts.train), settings.seed, _TASK, epoch)
            self.order = (epoch, order)
        places = batch_places(self.order[1], number, phase.batch_size, self.lengths)
        rows = self.texts.train[self.order[1][places]]
        size = settings.micro_batch or len(rows)
        batches = [
            self.batch(rows[start : start + size], epoch) for start in range(0, len(rows), size)
        ]
        lr = phase.lr
        if phase.curve is not None:
            lr *= phase.curve(Progress(state.step, settings.steps, epoch, phase.epochs, phase.lr))
        optimiser.set_rate(state.optimiser, lr)
        terms = self._backward(batches)
        loss = sum(terms.values())
        if not math.isfinite(loss):
            raise TrainingError(
                f"step {state.step + 1}: the loss is not finite. {step.remedy_for(state.optimiser)}"
            )
        norm = step.update(
            state.optimiser, (), step=state.step + 1, loss=loss, clip_norm=phase.clip_norm
        )
        state.step, state.loss_sum = state.step + 1, state.loss_sum + terms["masked"]
        return StepReport(
            step=state.step,
            epoch=epoch + 1,
            steps_in_epoch=self.per_epoch,
            task=_TASK,
            loss=loss,
            terms=terms,
            lr=lr,
            grad_norm=norm,
            n_tokens=sum(batch.tokens.n_tokens for batch in batches),
            n_rows=len(rows),
        )

    def _backward(self, batches: Sequence[_Batch]) -> dict[str, float]:
        """Add the gradients of a batch; returns the terms of its loss."""
        state = self.state
        n_hidden = max(1, sum(len(batch.places) for batch in batches))
        n_pairs = max(1, sum(batch.n_pairs for batch in batches))
        sums = np.zeros(2)
        places = places_of((batch.tokens, batch.tokens.n_rows) for batch in batches)
        for batch, place in zip(batches, places, strict=True):
            with dropout.drawing(self.settings.seed, state.step + 1, place):
                missed, _, other = state.model.loss(
                    batch.tokens, batch.places, batch.targets, batch.second
                )
                (missed / n_hidden + other / n_pairs).backward()
            sums += [missed.item() / n_hidden, other.item() / n_pairs]
        terms = {"masked": float(sums[0])}
        return terms | ({"next": float(sums[1])} if self.texts.next_sentence else {})

    def batch(self, rows: np.ndarray, *turn: str | int) -> _Batch:
        """The tokens of these rows with some of them hidden. turn: the pass over the texts."""
        texts, seed = self.texts, self.settings.seed
        parts = texts.rows.take(rows)
        second = np.full(len(rows), -100)
        if texts.next_sentence:
            store, second = self._pairs(rows, parts, *turn)
        else:
            store = self._store(parts, None)
        hidden = texts.masking.hide(store.ids, store.offsets, rows.tolist(), seed, *turn)
        masked = TokenStore(hidden.ids, store.segments, store.offsets, store.cut, texts.max_length)
        there = self.device
        return _Batch(
            collate(masked, np.arange(len(store)), there),
            torch.from_numpy(hidden.places).to(there),
            torch.from_numpy(hidden.targets).to(there),
            torch.from_numpy(second).to(there),
        )

    def _store(self, first: list[np.ndarray], second: list[np.ndarray] | None) -> TokenStore:
        templates = Templates(self.texts.templates)
        return tokenize(
            templates,
            first,  # type: ignore[arg-type]
            second,  # type: ignore[arg-type]
            max_length=self.texts.max_length,
            truncation="head",
        )

    def _pairs(
        self, rows: np.ndarray, parts: list[np.ndarray], *turn: str | int
    ) -> tuple[TokenStore, np.ndarray]:
        """Each row as a pair: its first half, then its second one or, every other time by chance,
        that of a row of another document.
        """
        documents = self.texts.rows.documents
        first, second, labels = [], [], []
        for row, own in zip(rows.tolist(), parts, strict=True):
            draw = rng.generator(self.settings.seed, "next sentence", *turn, row)
            foreign = draw.random() < 0.5
            other = int(self.texts.train[draw.integers(len(self.texts.train))])
            half = -(-len(own) // 2)
            first.append(own[:half])
            if foreign and len(own) > 1 and documents[other] != documents[row]:
                [ids] = self.texts.rows.take([other])
                second.append(ids[-(-len(ids) // 2) :][: len(own) - half] if len(ids) > 1 else ids)
                labels.append(1)
            else:
                second.append(own[half:])
                labels.append(0 if len(own) > 1 else -100)
        return self._store(first, second), np.array(labels)

    def keep(self) -> Keep:
        """Measure the model, and start a new mean of losses."""
        state = self.state
        n_steps = state.step - max(state.kept, 0)
        mean = state.loss_sum / n_steps if n_steps else None
        state.kept, state.loss_sum = state.step, 0.0
        return Keep(state.step, mean, self._held_out())

    @torch.no_grad()
    def _held_out(self) -> HeldOut | None:
        """Always the same rows with the same tokens hidden."""
        texts, model = self.texts, self.state.model
        if not len(texts.dev):
            return None
        order = texts.dev[np.argsort(texts.rows.lengths[texts.dev], kind="stable")]
        sums, n_hidden, n_pairs = np.zeros(3), 0, 0
        model.eval()
        for start in range(0, len(order), 32):
            batch = self.batch(order[start : start + 32], "dev")
            found = model.loss(batch.tokens, batch.places, batch.targets, batch.second)
            sums += [each.item() for each in found]
            n_hidden, n_pairs = n_hidden + len(batch.places), n_pairs + batch.n_pairs
        model.train()
        return HeldOut(
            sums[0] / max(1, n_hidden),
            sums[1] / max(1, n_hidden),
            sums[2] / max(1, n_pairs) if texts.next_sentence else None,
        )
