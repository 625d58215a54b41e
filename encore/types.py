"""The frozen data that flows from left to right, and the protocols of the parts.

A batch is its real tokens, end to end, with no padding. Row `r` owns `offsets[r]:offsets[r + 1]`.
Only attention, pooling and what lets the sides of a pair see each other know about rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from encore.errors import single_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

__all__ = [
    "DEFAULTS",
    "Batch",
    "BatchIndex",
    "Combine",
    "Defaults",
    "Encoded",
    "EvalReport",
    "LabelSpace",
    "Loss",
    "Mixing",
    "Note",
    "Output",
    "Pairing",
    "Phase",
    "Pooling",
    "Spec",
    "StepReport",
    "TaskKind",
    "TaskSize",
    "Tokens",
]

TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "unlabelled"]
Spec = str | Mapping[str, Any]  # how a recipe names a technique: `name`, or `{name: …, setting: …}`


@dataclass(frozen=True)
class LabelSpace:
    """What a task predicts.

    `names` are the labels' own words in the order of the score columns: `("negative", "positive")`;
    empty for regression. A binary task has two names and the second is the positive class. An
    unlabelled task predicts nothing: it trains what it shares with others.
    """

    kind: TaskKind
    names: tuple[str, ...] = ()
    ordered: bool = False  # "1".."5": the distance between two labels means something

    @property
    def n_scores(self) -> int:
        """Columns of the score matrix: one per name (two for a binary task), one for regression,
        none without labels.
        """
        return 1 if self.kind == "regression" else len(self.names)


@dataclass(frozen=True)
class Note:
    """A remark that qualifies figures, or that tells what was inferred.

    task: the task that it is about, "" for the whole run. about: the set of rows or the file that
    it is about ("train", "dev"), "" where it is about none of them.
    """

    text: str
    task: str = ""
    about: str = ""

    def __str__(self) -> str:
        return single_line(f"{self.about}: {self.text}" if self.about else self.text)

    def line(self, *, several_tasks: bool) -> str:
        """The note as it is printed; in a run of several tasks the one it is about comes first."""
        return f"{self.task}: {self}" if several_tasks and self.task else str(self)


@dataclass(frozen=True)
class Tokens:
    """The real tokens of some rows, end to end.

    reduced: per branch what its pooling reduces them to, where that is known and the encoder need
    not be asked (encore.model.feature_cache), None where it is not. ids, segments, positions:
    (tokens,) int64; offsets: (rows + 1,) int64, on the device of ids; lengths: the same on the
    host, so that nothing waits for the device.
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    offsets: Tensor
    lengths: tuple[int, ...]
    reduced: tuple[Tensor | None, ...] | None = None

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

    @property
    def n_tokens(self) -> int:
        return int(self.ids.shape[0])

    @cached_property
    def cache(self) -> dict[Any, Any]:
        """Layouts that depend on the lengths alone (attention's groups, row numbers); filled by
        those who need them, once per batch.
        """
        return {}


@dataclass(frozen=True)
class Batch:
    """Rows of one task. (`digest`, `rows[i]`) names example i for ever: the sha256 of its file and
    its row there, from 0.
    """

    task: str
    digest: str
    rows: np.ndarray
    tokens: Tokens
    # (rows,) int64 or float32, 0 where there are no labels; (rows, labels) float32 for multi-label
    # or soft targets
    targets: Tensor
    weights: Tensor  # (rows,) float32: class weights; 1 where none are asked for


@dataclass(frozen=True)
class Encoded:
    """`states[i]`: (tokens, width), H[0] is the embedding output. A state that no pooling reads is
    None.
    """

    states: tuple[Tensor | None, ...]
    tokens: Tokens

    def read(self, layers: tuple[int, ...]) -> list[Tensor]:
        """The states that a pooling announced, in its order."""
        found = [self.states[layer] for layer in layers]
        if any(state is None for state in found):
            raise LookupError(
                f"layers {layers} of {len(self.states)} were to be read, and not all of them "
                f"were kept"
            )
        return cast("list[Tensor]", found)


@dataclass(frozen=True)
class Output:
    """What a task model says of a batch."""

    scores: Tensor  # (rows, n_scores) float32: logits, or the value for regression
    embeddings: tuple[Tensor, ...]  # one (rows, head width) per side
    embedded: tuple[
        Tensor | None, ...
        # one (tokens, width) per branch: where SMART re-enters; None where a frozen encoder was not
        # asked again
    ] = ()


@runtime_checkable
class Pooling(Protocol):
    """(Encoded) → (items, width), float32. It is `finish(reduce(encoded), encoded.tokens)`:
    `reduce` has no parameters, so that a frozen phase can keep what it returns, by example, and
    need no encoder any more; all that trains is in `finish`.

    `reduce` gives one line of `reduced_width` numbers to each row or to each token, as `unit` says.
    Lines of other batches may be put together as a new one: `finish` reads lengths and offsets of
    its tokens, never ids. One that says `first_only = True` reads each row's first token and no
    other, which spares the encoder most of its highest block.
    """

    width: int
    layers: tuple[int, ...]  # indices into `states`, negative from the top
    unit: Literal["rows", "tokens"]
    reduced_width: int

    def reduce(self, encoded: Encoded) -> Tensor: ...
    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor: ...
    def __call__(self, encoded: Encoded) -> Tensor: ...


class Loss(Protocol):
    """(model, batch, output) → (sum, weight): the effective batch does not depend on the
    micro-batch.

    `weight` is known from the batch alone, so that a micro-batch can be scaled by the weight of the
    whole batch before the rest has been seen. A loss with parameters of its own is a module; `fit`
    trains a copy of it and saves that.
    """

    couples_rows: bool  # True: the step must not split a batch
    kinds: tuple[TaskKind, ...]  # the kinds of task that this loss can be the term `task` of

    def weight(self, batch: Batch) -> Tensor: ...
    def __call__(self, model: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Defaults:
    """The defaults of settings that more than one signature has: the field's protocol for
    fine-tuning (Devlin et al. 2019; METHODS §2), the share of the train file that becomes the dev
    set, and the sampler of searches. A changed default raises RESULTS_VERSION.
    """

    epochs: int = 4
    lr: float = 5e-5
    batch_size: int = 32
    warmup_frac: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dev_frac: float = 0.15
    sampler: str = "tpe"


DEFAULTS = Defaults()


@dataclass(frozen=True)
class Phase:
    """What trains, for how long, at which rate. A phase never changes structure."""

    tasks: tuple[str, ...]
    epochs: int
    lr: float
    batch_size: int = DEFAULTS.batch_size
    curve: Any = None  # (step, total) → factor on the rate, step from 0
    weight_decay: float = DEFAULTS.weight_decay
    clip_norm: float | None = DEFAULTS.clip_norm
    trainable: Literal["all", "heads"] = "all"
    fresh_optimiser: bool = True


class Pairing(Protocol):
    """How the texts of an example become rows of a batch.

    n_sides: rows of an example, side by side. random_order: each time a pair is met in training its
    order is drawn. both_orders: what is said of a pair is the mean over both orders. One with
    `attend` puts a layer between the encoder and the pooling, through which the sides see each
    other.
    """

    n_sides: int
    random_order: bool
    both_orders: bool

    def tokenize(
        self, tokenizer: Any, texts: Any, pairs: Any, *, max_length: int, truncation: Any
    ) -> Any:
        """The TokenStore of all examples, all first sides (or orders) before all second ones."""
        ...


@dataclass(frozen=True)
class TaskSize:
    """How much one task brings to an epoch: rows, and batches of its own size."""

    rows: int
    batches: int


@dataclass(frozen=True)
class BatchIndex:
    """One batch of a task: the `number`-th, from 0, when its rows are gone through in the order
    number `order`.
    """

    task: str
    order: int
    number: int


class Mixing(Protocol):
    """Which batches make the steps of an epoch, one or more to a step: a function of its arguments
    alone, so nothing of it needs saving.

    Orders are numbered over the whole run; every one goes once through all rows of its task.
    `epoch` counts from 0.
    """

    nominal: (
        bool  # True: a batch's loss is divided by the batch size that was asked for, not by its own
    )

    def __call__(
        self, extents: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]: ...


class Combine(Protocol):
    """The gradients of the tasks of one step → one gradient for each parameter. `order`: a
    permutation of the tasks for each of them, drawn for this step.
    """

    def __call__(
        self, gradients: Sequence[Mapping[nn.Parameter, Tensor]], order: Sequence[Sequence[int]]
    ) -> Mapping[nn.Parameter, Tensor]: ...


@dataclass(frozen=True)
class StepReport:
    """One optimiser step. Where it is of several tasks, `task` is their names with + between, and
    `terms` are called TASK.TERM.
    """

    step: int  # counts from 1 over the whole run
    epoch: int  # counts from 1
    steps_in_epoch: int
    task: str
    loss: float
    terms: Mapping[str, float]
    lr: float
    grad_norm: float
    n_tokens: int
    n_rows: int


@dataclass(frozen=True)
class EvalReport:
    """The end of an epoch: mean train loss, metrics of every split, and the raw scores of every dev
    set.
    """

    epoch: int
    step: int
    train: Mapping[
        str, Mapping[str, float]
    ]  # task → metric → value, on the rows as they were trained on
    dev: Mapping[str, Mapping[str, Mapping[str, float]]]  # task → dev set → metric → value
    scores: Mapping[str, Mapping[str, np.ndarray]] = field(
        default_factory=dict
    )  # task → dev set → (rows, n_scores)
    selected: float | None = None  # what `keep: best` and early stopping look at; higher is better
    is_best: bool = False
    is_last: bool = False  # early stopping or the plan's end
    best: tuple[
        str, ...
    ] = ()  # the tasks for which this is the best epoch so far, each by its own metric
