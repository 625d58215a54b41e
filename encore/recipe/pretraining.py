"""The recipe of `encore pretrain`: texts, the encoder to begin with, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from encore.catalogue import Flaw
from encore.errors import Problem, RecipeError, did_you_mean, format_given
from encore.recipe import builtin, fields
from encore.recipe.data_recipe import Count, RecipeSection, Text
from encore.recipe.fields import Flaws, refuse, unsafe_name_problems
from encore.recipe.load import file_text, recipe_error
from encore.recipe.located_yaml import read_yaml
from encore.recipe.overrides import Override, assignment, with_value
from encore.recipe.schema import Fraction
from encore.recipe.technique import Technique, parse_technique
from encore.recipe.validation import validation_problems
from encore.recipe.values import Locations, Value, from_python, to_plain
from encore.types import DEFAULTS, OptimiserSettings

__all__ = [
    "PretrainPlan",
    "PretrainRecipe",
    "SizeRecipe",
    "TextsRecipe",
    "pretraining_recipes",
]


class TextsRecipe(RecipeSection):
    """Texts to train on: the training rows of a named task, or a file with the columns of texts."""

    task: Text | None = None
    file: Text | None = None
    columns: Annotated[tuple[Text, ...], Field(min_length=1)] | None = (
        None  # None: `text`, or the only column of texts
    )


class SizeRecipe(RecipeSection):
    """The size of an encoder from scratch, a BERT."""

    layers: Count
    width: Count
    heads: Count
    inner: Count | None = None  # None: four times the width
    positions: Annotated[int, Field(ge=8)] = 512

    @field_validator("heads")
    @classmethod
    def _divides(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("width")
        if width is not None and width % value:
            refuse(f"a width of {width} cannot be split into {value} heads.")
        return value


class PretrainPlan(RecipeSection):
    """The length and the rate of training. Neither steps nor epochs: one epoch."""

    steps: Count | None = None
    epochs: Count | None = None
    lr: Annotated[float, Field(gt=0, le=1)] | None = None  # None: 5e-5, from scratch 5e-4
    batch_size: Count = DEFAULTS.batch_size
    micro_batch: Count | None = None
    warmup_frac: Fraction = 0.0
    curve: Annotated[
        Technique, PlainValidator(partial(parse_technique, kind="curves", default="linear"))
    ] = Technique("linear")
    weight_decay: Annotated[float, Field(ge=0, le=1)] = DEFAULTS.weight_decay
    clip_norm: Annotated[float, Field(gt=0)] | None = DEFAULTS.clip_norm
    optimiser: Literal["torch", "minbert"] = "torch"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    embedding_lr: Annotated[float, Field(ge=0, le=1)] | None = None
    decay_embeddings: bool = False

    @field_validator("epochs")
    @classmethod
    def _one_length(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("steps") is not None:
            refuse("plan.steps says how long already.", remedy="Keep one of the two.")
        return value

    @property
    def rates(self) -> OptimiserSettings:
        """The optimiser and its rates."""
        return OptimiserSettings(
            self.optimiser, self.layer_decay, 1.0, self.embedding_lr, self.decay_embeddings
        )


def _parse_texts(value: Any) -> tuple[TextsRecipe, ...]:
    """A list of task names, files, and mappings of a file and its columns. Raises Flaws."""
    given = [value] if isinstance(value, str | dict) else value
    if not isinstance(given, list | tuple) or not given:
        expected = "named tasks and files, such as [sst5, reviews.csv]"
        refuse(expected=expected, got=format_given(value))
    found, flaws = [], list[Flaw]()
    for position, entry in enumerate(given):
        texts = entry if isinstance(entry, TextsRecipe) else _texts(entry)
        if texts is None:
            expected = "a named task, a file, or {file: …, columns: [name, …]}"
            flaws.append(((position,), Problem(expected=expected, got=format_given(entry))))
        else:
            found.append(texts)
    if flaws:
        raise Flaws(flaws)
    return tuple(found)


def _texts(entry: Any) -> TextsRecipe | None:
    """One entry of `texts`; None where it is none."""
    if isinstance(entry, str) and entry:
        is_file = bool(Path(entry).suffix) or "/" in entry
        return TextsRecipe(file=entry) if is_file else TextsRecipe(task=entry)
    if not isinstance(entry, dict):
        return None
    columns = entry.get("columns")
    given = {key: value for key, value in entry.items() if value is not None}
    try:
        texts = TextsRecipe(**given | ({} if columns is None else {"columns": _names(columns)}))
    except (ValidationError, TypeError):
        return None
    one = (texts.task is None) != (texts.file is None)
    return texts if one and (texts.columns is None or texts.file is not None) else None


def _names(columns: Any) -> tuple[Any, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _parse_steps(value: Any) -> tuple[int, ...]:
    given = [value] if isinstance(value, int) and not isinstance(value, bool) else value
    whole = isinstance(given, list | tuple) and all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in given
    )
    if not whole:
        refuse(expected="steps such as [0, 1000, 2000]", got=format_given(value))
    return tuple(sorted(set(given)))


class PretrainRecipe(RecipeSection):
    """A complete recipe of pre-training. `base`: the folder that relative paths start from."""

    source: Text | None = None
    claim: Text | None = None
    texts: Annotated[tuple[TextsRecipe, ...], PlainValidator(_parse_texts)]
    text_frac: Annotated[float, Field(gt=0, le=1)] = 1.0  # each text is read with this probability
    encoder: Text | None = None  # None: minilm, or from scratch where there is a size
    size: SizeRecipe | None = None
    vocabulary: Annotated[int, Field(ge=32, le=1_000_000)] | Text = 8192  # pieces, or a tokenizer
    lowercase: bool = True
    min_characters: Annotated[int, Field(ge=0)] = 0  # shorter texts are left out
    max_length: Annotated[int, Field(ge=8)] = 128  # tokens per row, special ones included
    masking: Literal["tokens", "words"] = "tokens"
    mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.15
    compat: Literal["gen"] | None = None
    next_sentence: bool = False
    hidden_dropout: Fraction | None = None
    attention_dropout: Fraction | None = None
    dev_rows: Annotated[int, Field(ge=0)] | None = None  # None: 512, at most a twentieth
    keep: Annotated[tuple[int, ...], PlainValidator(_parse_steps)] = ()
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    plan: PretrainPlan = Field(default_factory=PretrainPlan)
    fine_tune: dict[str, Any] | None = None  # a recipe to compare the kept encoders with
    _base: Path = PrivateAttr(default_factory=Path.cwd)
    _places: Locations = PrivateAttr(default_factory=lambda: Locations())

    @field_validator("size")
    @classmethod
    def _one_start(cls, value: SizeRecipe | None, info: ValidationInfo) -> SizeRecipe | None:
        if value is not None and info.data.get("encoder") is not None:
            message = "an encoder of a given size begins from scratch, and encoder names one."
            refuse(message, remedy="Remove one of the two.")
        return value

    @field_validator("vocabulary", "lowercase")
    @classmethod
    def _of_a_new_encoder(cls, value: Any, info: ValidationInfo) -> Any:
        usual = cls.model_fields[str(info.field_name)].default
        if value != usual and info.data.get("size") is None:
            message = "a checkpoint has a vocabulary; this is of an encoder from scratch."
            refuse(message, remedy="Remove it, or give a size in place of the encoder.")
        return value

    @field_validator("max_length")
    @classmethod
    def _within_positions(cls, value: int, info: ValidationInfo) -> int:
        size = info.data.get("size")
        if size is not None and value > size.positions:
            refuse(expected=f"at most size.positions ({size.positions})", got=str(value))
        return value

    @property
    def base(self) -> Path:
        return self._base

    def problem(self, steps: Sequence[str | int], problem: str | Problem) -> Problem:
        """A problem with one of this recipe's settings, with the file and the line of it."""
        return self._places.problem(steps, problem)

    def path(self, given: str) -> Path:
        """A path of this recipe as the operating system understands it."""
        return fields.without_dots(self._base / Path(given).expanduser())

    def with_lr(self, lr: float) -> PretrainRecipe:
        """The same recipe with a peak rate."""
        return self.model_copy(update={"plan": self.plan.model_copy(update={"lr": lr})})

    @property
    def anchored(self) -> PretrainRecipe:
        """The same recipe with absolute paths, so that it can be written into another folder."""
        texts = tuple(
            one if one.file is None else one.model_copy(update={"file": str(self.path(one.file))})
            for one in self.texts
        )
        named = {
            key: str(self.path(value))
            for key in ("encoder", "vocabulary")
            if isinstance(value := getattr(self, key), str) and self.path(value).is_dir()
        }
        fine_tune = None if self.fine_tune is None else self._with_paths(self.fine_tune)
        return self.model_copy(update={"texts": texts, "fine_tune": fine_tune, **named})

    def _with_paths(self, settings: Any, *, of_data: bool = False, path: bool = False) -> Any:
        """`fine_tune` or a part of it, its paths absolute. of_data: of a section `data`; path: a
        path, or a mapping of paths.
        """
        if isinstance(settings, dict):
            found = {}
            for key, value in settings.items():
                *outer, last = key.split(".")
                here = of_data or outer[-1:] == ["data"]
                own = path or (here and last in ("train", "dev", "test"))
                found[key] = self._with_paths(value, of_data=last == "data", path=own)
            return found
        return str(self.path(settings)) if path and isinstance(settings, str) else settings


_VARIANTS = "variants"


def pretraining_recipes(
    what: str | Path | Mapping[str, Any],
    overrides: Sequence[Override] = (),
    only: Sequence[str] | None = None,
) -> dict[str, PretrainRecipe]:
    """Variant → recipe, of a YAML file, of the name of one that comes with Encore, or of a mapping,
    with `key=value` overrides on top; "" where there are no variants. only: these variants. Raises
    RecipeError with every problem.
    """
    problems: list[Problem] = []
    if isinstance(what, Mapping):
        document, base = from_python(what, problems), Path()
    else:
        file = builtin.file_of(what)
        document, base = read_yaml(file_text(file), str(file), problems=problems), file.parent
    found = _recipes(document, overrides, base.absolute(), problems)
    unknown = [name for name in only or () if name not in found]
    if unknown:
        known = tuple(name for name in found if name)
        remedy = did_you_mean(unknown[0], known) if known else "Leave --only out."
        message = f"no variant called {format_given(unknown[0])}."
        raise RecipeError(Problem(where="--only", message=message, remedy=remedy))
    return {name: recipe for name, recipe in found.items() if not only or name in only}


def _recipes(
    document: Value, overrides: Sequence[Override], base: Path, problems: list[Problem]
) -> dict[str, PretrainRecipe]:
    changes = [
        change for given in overrides if (change := assignment(given, base, problems)) is not None
    ]
    entries = dict(document.data) if isinstance(document.data, dict) else {}
    if not isinstance(document.data, dict):
        problems.append(document.problem(expected="a mapping", got=format_given(document.data)))
    listed = entries.pop(_VARIANTS, Value({}))
    trees = {"": Value(entries, document.where, document.line)}
    if listed.data:
        trees = {}
        for name, own in dict(listed.data).items():
            problems += [own.problem(each) for each in unsafe_name_problems(name, "variant")]
            tree = Value(entries, document.where, document.line)
            for key, value in (own.data if isinstance(own.data, dict) else {}).items():
                tree = with_value(tree, key.split("."), value)
            trees[name] = tree
    found: dict[str, PretrainRecipe] = {}
    for name, tree in trees.items():
        for steps, value in changes:
            tree = with_value(tree, steps, value)
        try:
            recipe = PretrainRecipe.model_validate(to_plain(tree))
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=True):
                problems += validation_problems(tree, detail, PretrainRecipe)
            continue
        recipe._base, recipe._places = base, Locations(tree)
        found[name] = recipe
    if problems:
        raise recipe_error(problems)
    return found
