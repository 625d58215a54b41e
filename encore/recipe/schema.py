"""The recipe: every setting with its type, default and range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from encore import catalogue
from encore.catalogue import Flaw
from encore.data.settings import DataSettings
from encore.errors import Problem, did_you_mean, format_given
from encore.recipe import fields
from encore.recipe.data_recipe import Count, DataRecipe, RecipeSection, Text
from encore.recipe.decision_recipe import DecisionRecipe
from encore.recipe.fields import Flaws, KeptEpoch, refuse
from encore.recipe.reference import RunReference, parse_encoder, parse_reference
from encore.recipe.technique import Technique, Term, parse_loss_terms, parse_technique
from encore.recipe.values import Locations
from encore.types import DEFAULTS, OptimiserSettings

__all__ = [
    "TECHNIQUE_KINDS",
    "PLAN_KEYS",
    "PROSE",
    "PlanRecipe",
    "Recipe",
    "STUDY",
    "TASK_KEYS",
    "TOP_KEYS",
    "TaskRecipe",
    "data_settings",
]

PROSE = ("source", "claim", "expect")  # keys about a run that change none of its bits
# Keys of comparisons and searches: encore.experiments reads them.
STUDY = (
    *("variants", "each", "seeds", "reference", "race", "ensemble", "claims", "folds"),
    *("search", "trials", "seeds_per_trial"),
)
TECHNIQUE_KINDS = {  # settings that are techniques → their kind
    "adapter": "adapters",
    "sharing": "sharing",
    "pooling": "pooling",
    "head": "heads",
    "pair": "pairs",
    "curve": "curves",
    "mixing": "mixing",
    "combine": "combine",
    "average": "averages",
}


def _chosen(setting: str, default: str | None = None) -> PlainValidator:
    """Reads a technique. default: of a mapping without a name; None: null is allowed."""
    parse = partial(
        parse_technique, kind=TECHNIQUE_KINDS[setting], default=default, optional=default is None
    )
    return PlainValidator(parse)


Fraction = Annotated[float, Field(ge=0, lt=1)]


class TaskRecipe(RecipeSection):
    """One task: rows, model and losses."""

    data: DataRecipe = DataRecipe()
    pooling: Annotated[Technique | None, _chosen("pooling")] = None  # None: the encoder's
    head: Annotated[Technique, _chosen("head", "linear")] = Technique("linear")
    # the run whose head this one begins as
    head_from: Annotated[str | RunReference | None, PlainValidator(parse_reference)] = None
    losses: Annotated[dict[str, Term], PlainValidator(parse_loss_terms)] = Field(
        default_factory=lambda: {"task": Term()}
    )
    metrics: Annotated[tuple[str, ...] | None, PlainValidator(fields.parse_metric_names)] = (
        None  # the first decides; None: the task's own
    )
    # tokens per row, special ones included
    max_length: Annotated[int, Field(ge=8), AfterValidator(fields.require_countable)] = 128
    # Of a longer text these tokens stay: the first, the last, 128 of 510 from the front and the
    # rest from the end (Sun et al. 2019), or half of each.
    truncation: Literal["head", "tail", "head_tail", "half_half"] = "head"
    class_weights: Annotated[
        Literal["balanced"] | dict[str, float] | None, PlainValidator(fields.parse_class_weights)
    ] = None
    # no_duplicates: no text twice in a batch
    sampling: Literal["balanced", "no_duplicates"] | None = None
    pair: Annotated[Technique | None, _chosen("pair")] = None  # None: what the head reads
    same_as: Text | None = None  # the task whose head this one has, instead of one of its own
    batch_size: Count | None = None  # None: the plan's
    # fitted on the dev set when the run ends; None: answers are the model's own
    decision: DecisionRecipe | None = None

    @field_validator("same_as")
    @classmethod
    def _one_head(cls, value: str | None, info: ValidationInfo) -> str | None:
        usual = cls.model_fields["head"].default
        if value is not None and info.data.get("head", usual) != usual:
            remedy = f"Keep one of head and same_as: {value}."
            refuse("this task has a head of its own already.", remedy=remedy)
        return value

    @field_validator("class_weights")
    @classmethod
    def _of_known_labels(cls, value: Any, info: ValidationInfo) -> Any:
        data = info.data.get("data")
        if isinstance(value, dict) and data is not None and data.labels is not None:
            names = tuple(data.labels.values()) if isinstance(data.labels, dict) else data.labels
            unknown: list[Flaw] = [
                ((label,), _unknown("label", label, names)) for label in value if label not in names
            ]
            if unknown:
                raise Flaws(unknown)
        return value


def _unknown(what: str, name: str, known: Sequence[str], where: str = "") -> Problem:
    message = f"no {what} called {format_given(name)}{where}."
    return Problem(message=message, remedy=did_you_mean(name, known))


class PlanRecipe(RecipeSection):
    """The plan of training. `settings` are those of the plan's own (a probe's epochs, say); in YAML
    they are written beside the others.
    """

    name: Text = "fine_tune"
    epochs: Count | None = None  # None: chosen for the rows, see encore.runs.default_plan
    lr: Annotated[float, Field(gt=0, le=1)] | None = None  # None: chosen for the encoder
    batch_size: Count = DEFAULTS.batch_size
    micro_batch: Count | None = None  # None: the whole batch at once
    warmup_frac: Fraction = DEFAULTS.warmup_frac
    curve: Annotated[Technique, _chosen("curve", "linear")] = Technique("linear")
    weight_decay: Annotated[float, Field(ge=0, le=1)] = DEFAULTS.weight_decay
    clip_norm: Annotated[float, Field(gt=0)] | None = DEFAULTS.clip_norm
    # the epoch whose weights the run keeps, or its number
    keep: Annotated[KeptEpoch, PlainValidator(fields.parse_keep)] = "last"
    early_stopping: Count | None = None  # epochs without a better dev figure before it stops
    score_train: bool = False  # the training rows once more after each epoch, in eval mode
    mixing: Annotated[Technique, _chosen("mixing", "even")] = Technique("even")
    combine: Annotated[Technique | None, _chosen("combine")] = None  # None: added
    # of the weights, evaluated and kept in their place; None: as the plan has it
    average: Annotated[Technique | None, _chosen("average")] = None
    optimiser: Literal["torch", "minbert"] = "torch"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the rate, per layer from the top
    head_multiplier: Annotated[float, Field(gt=0)] = 1.0  # of the rate, for poolings and heads
    embedding_lr: Annotated[float, Field(ge=0, le=1)] | None = None  # word and position tables
    decay_embeddings: bool = False  # layer_decay also applies to the embeddings
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def rates(self) -> OptimiserSettings:
        """The optimiser and its rates, which hold for every phase of the plan."""
        return OptimiserSettings(
            self.optimiser,
            self.layer_decay,
            self.head_multiplier,
            self.embedding_lr,
            self.decay_embeddings,
        )

    @property
    def spec(self) -> dict[str, Any]:
        """The plan as `catalogue.build("plans", recipe.plan.spec)` takes it once nothing is open:
        its name, its common settings, and its own. A curve without settings is its bare name.
        """
        curve = dict(self.curve) if self.curve.settings else self.curve.name
        common = {
            key: curve if key == "curve" else getattr(self, key)
            for key in PLAN_KEYS
            if key in catalogue.settings("plans", self.name)
        }
        return {"name": self.name, **common, **self.settings}

    @field_validator("name")
    @classmethod
    def _known_plan(cls, value: str) -> str:
        if value not in catalogue.names("plans"):
            raise Flaws([((), catalogue.unknown_name("plans", value))])
        return value

    @field_validator("curve", "warmup_frac")
    @classmethod
    def _has_a_curve(cls, value: Any, info: ValidationInfo) -> Any:
        name, key = info.data.get("name"), str(info.field_name)
        usual = cls.model_fields[key].default
        if name is None or value in (usual, 0, Technique("constant")):
            return value
        if key not in catalogue.settings("plans", name):
            refuse(f"plan '{name}' has a rate of its own and takes no {key}.", remedy="Remove it.")
        return value

    @field_validator("combine")
    @classmethod
    def _of_one_step(cls, value: Technique | None, info: ValidationInfo) -> Technique | None:
        mixing = info.data.get("mixing")
        if value is None or mixing is None:
            return value
        per_step = {
            name: catalogue.find("mixing", name).tasks_per_step
            for name in catalogue.names("mixing")
        }
        if per_step[mixing.name] == "one":
            message = (
                f"'{value.name}' works on the gradients of several tasks in one step, and "
                f"mixing: {mixing.name} has one task in each."
            )
            fitting = " or ".join(name for name, tasks in per_step.items() if tasks == "all")
            refuse(message, remedy=f"Write mixing: {fitting}.")
        return value

    @field_validator("early_stopping")
    @classmethod
    def _keeps_the_best(cls, value: int | None, info: ValidationInfo) -> int | None:
        keep = info.data.get("keep")
        if value is not None and (keep == "last" or isinstance(keep, int)):
            message = (
                f"training stops early because the last epochs were not the best, but keep: {keep} "
                f"would keep {'them' if keep == 'last' else 'that one whichever is the best'}."
            )
            refuse(message, remedy="Add keep: best, or remove early_stopping.")
        return value


class Recipe(RecipeSection):
    """A complete recipe; every setting has its value. `base` is the folder that relative paths
    start from; it is not a setting.
    """

    source: Text | None = None
    claim: Text | None = None
    expect: dict[str, float] = Field(
        default_factory=dict
    )  # "sst5.accuracy" → what the source reports
    encoder: Annotated[str | RunReference, PlainValidator(parse_encoder)] = "minilm"
    hidden_dropout: Fraction | None = None  # None: the checkpoint's
    attention_dropout: Fraction | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42  # scikit-learn takes no more
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # of a process; None: see shares
    # the processes that compute each batch together; None: as many as pay, if threads is None too
    shares: Annotated[int, Field(ge=1, le=64)] | None = None
    adapter: Annotated[Technique | None, _chosen("adapter")] = None  # None: the encoder trains
    # the adapter that this one begins as: a folder, or the run that trained it
    adapter_from: Annotated[str | RunReference | None, PlainValidator(parse_reference)] = None
    sharing: Annotated[Technique, _chosen("sharing", "one")] = Technique("one")
    tasks: dict[str, TaskRecipe]
    plan: PlanRecipe = Field(default_factory=PlanRecipe)
    _base: Path = PrivateAttr(default_factory=Path.cwd)
    _places: Locations = PrivateAttr(default_factory=lambda: Locations())

    @field_validator("tasks")
    @classmethod
    def _heads_of_others(cls, value: dict[str, TaskRecipe]) -> dict[str, TaskRecipe]:
        flaws: list[Flaw] = []
        for name, task in value.items():
            owner = task.same_as
            if owner is not None and owner not in value:
                problem = _unknown("task", owner, tuple(value), " in this recipe")
                flaws.append(((name, "same_as"), problem))
            elif owner is not None and value[owner].same_as is not None:
                message = f"'{owner}' has no head of its own."
                problem = Problem(message=message, remedy="Name the task that has one.")
                flaws.append(((name, "same_as"), problem))
        if flaws:
            raise Flaws(flaws)
        return value

    @field_validator("plan")
    @classmethod
    def _within_a_batch(cls, value: PlanRecipe, info: ValidationInfo) -> PlanRecipe:
        sizes = [
            task.batch_size or value.batch_size for task in info.data.get("tasks", {}).values()
        ]
        if value.micro_batch is not None and sizes and value.micro_batch > max(sizes):
            problem = Problem(
                expected=f"at most the batch size ({max(sizes)})",
                got=str(value.micro_batch),
                remedy="Micro-batches are parts of a batch; they change memory and no result.",
            )
            raise Flaws([(("micro_batch",), problem)])
        return value

    @property
    def base(self) -> Path:
        return self._base

    def problem(self, steps: Sequence[str | int], problem: str | Problem) -> Problem:
        """A problem with one of this recipe's settings, with the file and the line of it."""
        return self._places.problem(steps, problem)

    @property
    def placeless(self) -> Recipe:
        """The same recipe, whose problems name no file."""
        copied = self.model_copy()
        copied._places = Locations()
        return copied

    @property
    def pretrained(self) -> str:
        """The name of the pretrained encoder: of a run that starts from another run, that run's."""
        encoder = self.encoder
        while isinstance(encoder, RunReference):
            first = encoder.run
            if isinstance(first, str):
                return str(encoder)
            found = first.get("encoder", "minilm") if isinstance(first, Mapping) else first.encoder
            encoder = parse_encoder(found)
        return encoder

    @property
    def encoder_name(self) -> str:
        """The encoder as messages name it."""
        return f"'{self.encoder}'" if isinstance(self.encoder, str) else str(self.encoder)

    def path(self, given: str) -> Path:
        """A path of this recipe as the operating system understands it."""
        return fields.without_dots(self._base / Path(given).expanduser())


TASK_KEYS = tuple(TaskRecipe.model_fields)
PLAN_KEYS = tuple(key for key in PlanRecipe.model_fields if key != "settings")
TOP_KEYS = (
    *(key for key in Recipe.model_fields if key not in ("tasks", "plan")),
    "task",
    "tasks",
    *TASK_KEYS,
    "plan",
    *STUDY,
)


def data_settings(recipe: Recipe, task: str) -> DataSettings:
    """The settings of a task's data: those of its recipe, with the recipe's seed where it has none
    of its own.
    """
    data = recipe.tasks[task].data
    given = {key: getattr(data, key) for key in type(data).model_fields}
    seed = recipe.seed if data.seed is None else data.seed
    return DataSettings(
        **{**given, "more": data.more or (), "seed": seed},
        metrics=recipe.tasks[task].metrics,
        base=recipe.base,
    )
