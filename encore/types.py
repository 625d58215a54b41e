"""The values that flow from data to results, and what each kind of technique must offer.

Each kind of technique is a protocol, from `Pooling` down to `Metric`: derive from it, set the
attributes without a default, and write the methods without a body. Nothing else is read from it;
a recipe's settings are the keyword-only parameters of its constructor. A batch is its real tokens,
end to end: row `r` owns `offsets[r]:offsets[r + 1]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, cast

from encore.errors import single_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

# fmt: off
__all__ = [
    "Adapter", "Average", "Batch", "BatchIndex", "Combine", "Curve", "DEFAULTS", "Defaults",
    "Encoded", "Form", "Head", "LabelSpace", "Loss", "LossTerm", "Metric", "Mixing", "Note",
    "OptimiserSettings", "Output", "Pairing", "Phase", "Plan", "Pooling", "Progress", "Sharing",
    "Spec", "TaskKind", "TaskSize", "Tokens",
]
# fmt: on

TaskKind = Literal["binary", "multiclass", "multilabel", "regression", "unlabelled"]
Form = Literal["percent", "coefficient", "amount"]  # of a metric's value: 61.0 %, .280, 0.512
Spec = str | Mapping[str, Any]  # how a recipe names a technique: `name`, or `{name: …, setting: …}`
LABELLED: tuple[TaskKind, ...] = ("binary", "multiclass", "multilabel", "regression")
BranchT = TypeVar("BranchT")  # encore.model.task_model.Branch


@dataclass(frozen=True)
class LabelSpace:
    """The labels that a task predicts. names: the labels' own words in the order of the score
    columns, empty for regression and without labels; a binary task's second is the positive class.
    """

    kind: TaskKind
    names: tuple[str, ...] = ()
    ordered: bool = False  # "1".."5": the distance between two labels means something

    @property
    def n_scores(self) -> int:
        """Columns of the score matrix: one per name, one for regression, none without labels."""
        return 1 if self.kind == "regression" else len(self.names)


@dataclass(frozen=True)
class Note:
    """A remark that qualifies figures, or that reports what was inferred. task: its task, "" for
    the whole run. about: its set of rows or file ("train", "dev"), or "".
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
    """The real tokens of some rows. ids, segments, positions: (tokens,) int64. offsets: (rows + 1,)
    int64; lengths: on the host. reduced: each branch's cached `reduce`, None: the encoder must run.
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
        """Layouts that depend on the lengths alone, each made by the first who needs it."""
        return {}


@dataclass(frozen=True)
class Batch:
    """Rows of one task. Example i is (`digest`, `rows[i]`): its file's sha256, its row from 0.
    targets: (rows,) int64 or float32, 0 without labels; (rows, labels) float32 for several labels
    and soft ones. weights: (rows,) float32, 1 by default.
    """

    task: str
    digest: str
    rows: np.ndarray
    tokens: Tokens
    targets: Tensor
    weights: Tensor
    swapped: np.ndarray | None = None  # (rows,) bool: pairs that are turned round; None for none


@dataclass(frozen=True)
class Encoded:
    """Hidden states, (tokens, width) each or None; H[0] is the embedding output."""

    states: tuple[Tensor | None, ...]
    tokens: Tokens

    def read(self, layers: tuple[int, ...]) -> list[Tensor]:
        """The states of a pooling's `layers`, in its order. Raises LookupError for one not kept."""
        found = [self.states[layer] for layer in layers]
        if any(state is None for state in found):
            raise LookupError(f"layers {layers} of {len(self.states)}: not all of them were kept")
        return cast("list[Tensor]", found)


@dataclass(frozen=True)
class Output:
    """A task model's output. scores: (rows, n_scores) float32, logits or values. embeddings: (rows,
    head width) per side. A loss may enter again at `embedded`, (tokens, width) per branch, None
    where the encoder did not run; or at `vectors`, (rows, width), the input of the head.
    """

    scores: Tensor
    embeddings: tuple[Tensor, ...]
    embedded: tuple[Tensor | None, ...] = ()
    vectors: Tensor | None = None


class LossTerm(NamedTuple):
    """The sum over the rows of a (micro-)batch, and the weight; the whole batch's divides it."""

    sum: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Defaults:
    """The defaults of settings that more than one signature has. Those of plans are the protocol of
    Devlin et al. 2019 (METHODS §2). A changed default raises RESULTS_VERSION.
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
class OptimiserSettings:
    """The rates of parts of a model (METHODS 3.1, 3.2). layer_decay: per layer below the top one.
    head_multiplier: of poolings, heads. embedding_lr: of word and position tables; 0 freezes them.
    """

    optimiser: Literal["torch", "minbert"] = "torch"
    layer_decay: float = 1.0
    head_multiplier: float = 1.0
    embedding_lr: float | None = None
    decay_embeddings: bool = False  # layer_decay also applies to them


@dataclass(frozen=True)
class Phase:
    """A stage of training. trainable: a selector (encore.model.selection): all, heads+top:2.
    selects: its epochs may be kept. average: kept in place of what trains, anew with the optimiser.
    """

    tasks: tuple[str, ...]
    epochs: int
    lr: float
    batch_size: int = DEFAULTS.batch_size
    curve: Curve | None = None  # None: 1
    weight_decay: float = DEFAULTS.weight_decay
    clip_norm: float | None = DEFAULTS.clip_norm
    trainable: str = "all"
    fresh_optimiser: bool = True
    rates: OptimiserSettings = OptimiserSettings()
    curve_spans: Literal["phase", "plan"] = "phase"  # what the curve counts
    selects: bool = True
    average: Average | None = None


@dataclass(frozen=True)
class Progress:
    """The steps and epochs before a step, and in total, of the phase or of the plan."""

    step: int
    steps: int
    epoch: int = 0
    epochs: int = 1
    lr: float = DEFAULTS.lr  # the phase's, for curves in absolute rates


@dataclass(frozen=True)
class TaskSize:
    """The share of one task in an epoch: rows, and batches of its own batch size."""

    rows: int
    batches: int


@dataclass(frozen=True)
class BatchIndex:
    """One batch of a task: the `number`-th, from 0, of its shuffled order number `order`."""

    task: str
    order: int
    number: int


class Pooling(Protocol):
    """Hidden states → one vector for each row, (rows, width) float32: a module, built as
    `Pooling(shape, …)` with the encoder's Shape; `finish(reduce(encoded), encoded.tokens)`.
    `reduce` has no parameters: a frozen encoder's is computed once and cached, `reduced_width`
    numbers for each row or token as `unit` says. What trains is in `finish`, which reads lengths
    and offsets of its tokens and never ids: lines of several batches may be put together.
    """

    width: int
    reduced_width: int
    layers: tuple[int, ...]  # the hidden states that it reads; negative ones count from the top
    unit: Literal["rows", "tokens"]
    first_only: bool = False  # reads first tokens only, which spares the encoder most of a block
    couples_sides: bool = False  # the texts of a pair see each other, so none can be embedded alone
    frozen: bool = False  # keeps weights of the checkpoint unchanged, which it therefore needs
    # (tokens,) or (tokens, heads): how much of each token goes into its row; adds up to 1 in a row
    weights: Callable[[Encoded], Tensor] | None = None
    # (layers,) int64: how many rows or tokens take their vector from each of `layers`
    layer_counts: Callable[[Encoded], Tensor] | None = None

    def reduce(self, encoded: Encoded) -> Tensor: ...
    def finish(self, reduced: Tensor, tokens: Tokens) -> Tensor: ...
    def __call__(self, encoded: Encoded) -> Tensor: ...

    def pretrained(self) -> list[nn.Parameter]:
        """Weights from the checkpoint that train, and freeze, with the encoder."""
        return []


class Head(Protocol):
    """A vector of each text → scores. A module, built as `Head(width, n_scores, …)`. embed: (rows,
    width) → (rows, …), each text alone. score: one for each side → (rows, n_scores) float32.
    """

    kinds: tuple[TaskKind, ...] = LABELLED  # the kinds of task that it can predict
    n_sides: int = 1  # texts of an example, each with a vector of its own
    gives_probabilities: bool = True  # False: scores decide, and are no logits
    suite: str = ""  # heads of one suite have layers in common; see `share_layers`
    score: Callable[..., Tensor]

    def embed(self, vectors: Tensor) -> Tensor: ...

    def share_layers(self, first: Head) -> None:
        """Take over the common layers of `first`. Raises RecipeError if their sizes differ."""
        raise LookupError("a head without a suite has no layers in common with others")


class Loss(Protocol):
    """(model, batch, output) → LossTerm, built as `Loss(labels, …)`; with parameters, a module."""

    kinds: tuple[TaskKind, ...]  # the kinds of task whose main term it can be
    joins: tuple[TaskKind, ...] = ()  # those where it needs another term beside it
    summed: bool = False  # the term is the sum over the rows of a batch, and not their mean
    n_sides: int = 1  # texts of an example that it needs read apart
    couples_rows: bool = False  # compares rows of a batch; micro-batches are then read twice
    extra_passes: int = 0  # forward and backward passes through the model that it adds
    rereads: Literal["", "embeddings", "scores"] = ""  # compared, so dropout has to differ
    has_teacher: bool = False  # learns from the scores of other runs, which `teacher` gets
    teacher: Any = None  # encore.evaluation.teacher_scores.TeacherScores

    def weight(self, batch: Batch) -> Tensor:
        """The term's weight, known before the model runs."""
        return batch.weights.sum()

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm: ...
    def diagnose(self, model: Any, batch: Batch, output: Output) -> Mapping[str, float]:
        """Figures about itself, for the log: asked for in one of 50 steps, drawing as before."""
        return {}

    def begin(self, model: nn.Module) -> None:
        """Before training, on the copy that is trained with `model`."""

    def after_step(self, model: nn.Module) -> None:
        """After each step in which the loss had a part."""


class Pairing(Protocol):
    """A way to turn an example's texts into rows."""

    n_sides: int  # rows of an example, side by side
    single_texts: bool = False  # also reads examples of one text
    random_order: bool = False  # in training, the order of a pair is drawn each time
    both_orders: bool = False  # a pair's scores are the mean over both orders
    # (pooling, encoder width) → one behind a layer between the two texts
    attend: Callable[[Pooling, int], Pooling] | None = None

    def tokenize(
        self, tokenizer: Any, texts: Any, pairs: Any, *, max_length: int, truncation: Any
    ) -> Any:
        """The TokenStore of all examples, all first sides (or orders) before all second ones."""


class Adapter(Protocol):
    """An encoder → one with new layers inside that aliases the rest, which never trains."""

    merges: bool = False  # what it learns can be added to the encoder's own weights
    term: tuple[str, float] | None = None  # a loss that every task has beside its own; its weight

    def __call__(self, encoder: Any) -> Any: ...


class Sharing(Protocol[BranchT]):
    """Each task's pooling on the one encoder → its branches; shared parts are the same objects.
    owners: task → the first with an equal pooling.
    """

    shares_weights: bool = True  # False: no step of one task changes the model of another
    keeps_pretrained: bool = False  # has branches that stay as the checkpoint is

    def __call__(
        self, branches: Mapping[str, BranchT], owners: Mapping[str, str]
    ) -> dict[str, list[BranchT]]: ...


class Mixing(Protocol):
    """The batches of an epoch, one or more to a step: a function of its arguments, with nothing to
    save. Orders are numbered over the run; each goes once through a task's rows. `epoch`: from 0.
    """

    tasks_per_step: Literal["one", "all"] = "one"
    nominal: bool = False  # a short batch's loss is divided by the batch size that was set

    def __call__(
        self, sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]: ...


class Combine(Protocol):
    """The gradients of a step's tasks → one for each parameter; `order`: task → drawn order."""

    def __call__(
        self, gradients: Sequence[Mapping[nn.Parameter, Tensor]], order: Sequence[Sequence[int]]
    ) -> Mapping[nn.Parameter, Tensor]: ...


class Plan(Protocol):
    """Tasks → the phases of training."""

    def __call__(self, tasks: tuple[str, ...]) -> list[Phase]: ...


class Curve(Protocol):
    """The place of a step → factor on the learning rate."""

    def __call__(self, progress: Progress) -> float: ...


class Average(Protocol):
    """The number of weights in a running average → the share of the next ones; 1 for the first."""

    every: Literal["step", "epoch"]  # when weights are added

    def __call__(self, n: int) -> float: ...


class Metric(Protocol):
    """(raw scores, targets, labels) → value: a function under `evaluation.metric.metric`."""

    __name__: str
    title: str  # as a table prints it
    kinds: tuple[TaskKind, ...]
    form: Form
    bounds: tuple[float, float]  # its lowest and highest value
    higher_is_better: bool
    # (scores, targets, labels) → evaluation.metric.Weighted; None: once per resample
    weighted: Callable[..., Any] | None
    needs_probabilities: bool  # True: not for heads whose scores are no logits
    decides: bool  # True: of the predictions alone, so that thresholds change it

    def __call__(self, scores: np.ndarray, targets: np.ndarray, labels: LabelSpace) -> float: ...
