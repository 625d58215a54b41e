"""Strict YAML ⇄ Recipe: what to train, on what, and how.

The same words are YAML keys, constructor parameters and overrides on the command line: `plan: {lr: 3e-5}` and `plan.lr=3e-5` are one setting. Everything
that can be wrong with a recipe is said before a model is loaded, all at once, with file, line, what was expected, and what to write instead.

A task setting written at the top (`pooling: mean`) holds for every task that does not set its own, and is gone from the Recipe: `tasks` is complete. On the
command line (`pooling=mean`) it holds for every task, whether or not the file says otherwise.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr, ValidationError, ValidationInfo, field_validator

from encore import catalogue
from encore import recipe_fields as fields
from encore.errors import RecipeError, did_you_mean
from encore.recipe_fields import Technique, Term, accepted_settings, refuse, refuse_all, typed_settings, unsafe
from encore.recipe_words import MEANT, SYNONYMS, describe, no_such, remedy, shown
from encore.yaml_lines import Value, from_python, is_text, one_line, plain, read_yaml, walk, write_yaml

__all__ = [
    "PROSE", "STUDY", "SYNONYMS", "Change", "DataRecipe", "PlanRecipe", "Recipe", "TaskRecipe", "Technique", "Term",
    "anchored", "assignment", "composed", "file_text", "load_recipe", "meant", "reading", "recipe_for_file", "recipe_from", "refusal", "resolved", "to_yaml",
]

PROSE = ("source", "claim", "expect")            # keys that say something about a run and change none of its bits
# Keys that say which runs to compare or to search: encore/study.py and encore/search.py read them.
STUDY = ("variants", "each", "seeds", "reference", "race", "search", "trials", "seeds_per_trial")
Change = tuple[tuple[str, ...], Value]           # the keys that lead to a setting, and what it becomes

# -------------------------------------------------------------------------------------------------------------------------------------- the recipe

class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


class DataRecipe(_Section):
    """Where the rows come from. Nothing set: the named task that the task's name stands for. Paths are relative to the recipe's folder."""

    train: Text | None = None
    dev: Annotated[str | dict[str, str] | None, PlainValidator(fields.dev_sets)] = None       # None: a part of the train file
    test: Text | None = None                                                              # opened by `evaluate --final` only
    text: Text | None = None                                                              # column names; None: inferred and announced
    text_pair: Text | None = None
    label: Text | None = None
    kind: Literal["binary", "multiclass", "multilabel", "regression", "unlabelled"] | None = None
    labels: Annotated[tuple[str, ...] | dict[str, str] | None, PlainValidator(fields.label_names)] = None
    dev_frac: Annotated[float, Field(gt=0, lt=1)] = 0.15
    train_rows: Count | None = None
    dev_rows: Count | None = None
    delimiter: Annotated[str | None, PlainValidator(fields.delimiter)] = None
    encoding: Text | None = None
    on_bad_row: Literal["fail", "skip"] = "fail"
    normalise: Literal["none", "minbert", "minbert_pair"] | None = None                   # None: the named task's own
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None                         # of dev_frac, train_rows and dev_rows; None: the recipe's

    @field_validator("text_pair", "label")
    @classmethod
    def _another_column(cls, value: str | None, info: ValidationInfo) -> str | None:
        for other in ("text", "text_pair"):
            if value is not None and other != info.field_name and info.data.get(other) == value:
                refuse(f"the column {shown(value)} is already data.{other}. Name another column.")
        return value

    @field_validator("kind")
    @classmethod
    def _only_trains(cls, value: str | None, info: ValidationInfo) -> str | None:
        useless = [f"data.{key}" for key in ("dev", "test", "label") if value == "unlabelled" and info.data.get(key) is not None]
        if useless:
            refuse(f"a task without labels only trains, and {' and '.join(useless)} would be of no use. Remove {'it' if len(useless) == 1 else 'them'}.")
        return value

    @field_validator("labels")
    @classmethod
    def _labels_of_classes(cls, value: Any, info: ValidationInfo) -> Any:
        has = {"regression": "a regression has numbers and no labels", "unlabelled": "an unlabelled task has none"}.get(info.data.get("kind") or "")
        if value is not None and has:
            refuse(f"{has}. Remove data.labels, or set another data.kind.")
        return value

    @field_validator("dev_frac")
    @classmethod
    def _only_without_dev(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("dev") is not None and value != 0.15:
            refuse("says how much of the train file becomes the dev set, but data.dev names a dev file. Remove one of the two.")
        return value


class TaskRecipe(_Section):
    """One task: rows, model and losses."""

    data: DataRecipe = DataRecipe()
    pooling: Annotated[Technique | None, PlainValidator(partial(fields.technique, kind="pooling", default=None, optional=True))] = None  # None: the encoder's
    head: Annotated[Technique, PlainValidator(partial(fields.technique, kind="heads", default="linear", optional=False))] = Technique("linear")
    losses: Annotated[dict[str, Term], PlainValidator(fields.loss_terms)] = Field(default_factory=lambda: {"task": Term()})
    metrics: Annotated[tuple[str, ...] | None, PlainValidator(fields.metric_names)] = None      # the first decides; None: the task's own
    max_length: Annotated[int, Field(ge=8)] = 128                                         # tokens per row, special ones included
    truncation: Literal["head", "tail", "head_tail"] = "head"
    class_weights: Annotated[Literal["balanced"] | dict[str, float] | None, PlainValidator(fields.class_weights)] = None
    sampling: Literal["balanced"] | None = None
    pair: Annotated[Technique | None, PlainValidator(partial(fields.technique, kind="pairs", default=None, optional=True))] = None   # None: what the head reads
    same_as: Text | None = None                                                           # the task whose head this one has, instead of one of its own
    batch_size: Count | None = None                                                       # None: the plan's

    @field_validator("same_as")
    @classmethod
    def _one_head(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("head", Technique("linear")) != Technique("linear"):
            refuse(f"this task has a head of its own already. Keep one of head and same_as: {value}.")
        return value

    @field_validator("class_weights", "sampling")
    @classmethod
    def _needs_classes(cls, value: Any, info: ValidationInfo) -> Any:
        data = info.data.get("data")
        if value is None or data is None:
            return value
        if data.kind == "regression":
            refuse("a regression has no classes to balance. Remove it, or set another data.kind.")
        if isinstance(value, dict) and data.labels is not None:
            names = tuple(data.labels.values()) if isinstance(data.labels, dict) else data.labels
            unknown = [((label,), f"no label called {shown(label)}. {did_you_mean(label, names)}") for label in value if label not in names]
            if unknown:
                raise refuse_all(unknown)
        return value


class PlanRecipe(_Section):
    """How it is trained. `settings` are those of the plan's own (a probe's epochs, say); in YAML they stand beside the others."""

    name: Text = "fine_tune"
    epochs: Count = 4
    lr: Annotated[float, Field(gt=0, le=1)] = 5e-5
    batch_size: Count = 32
    micro_batch: Count | None = None             # None: the whole batch at once
    warmup_frac: Annotated[float, Field(ge=0, lt=1)] = 0.1
    curve: Annotated[Technique, PlainValidator(partial(fields.technique, kind="curves", default="linear", optional=False))] = Technique("linear")
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    keep: Literal["last", "best", "best_per_task"] = "last"
    early_stopping: Count | None = None          # epochs without a better dev figure before it stops
    mixing: Annotated[Technique, PlainValidator(partial(fields.technique, kind="mixing", default="even", optional=False))] = Technique("even")
    combine: Annotated[Technique | None, PlainValidator(partial(fields.technique, kind="combine", default=None, optional=True))] = None   # None: added
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """What the plan's constructor wants: `catalogue.build("plans", recipe.plan.spec, tasks)`. A curve without settings is its bare name."""
        curve = dict(self.curve) if self.curve.settings else self.curve.name
        common = {key: curve if key == "curve" else getattr(self, key) for key in _PLAN_KEYS if key in catalogue.settings("plans", self.name)}
        return {"name": self.name, **common, **self.settings}

    @field_validator("name")
    @classmethod
    def _known_plan(cls, value: str) -> str:
        if value not in catalogue.names("plans"):
            refuse(no_such("plans", value))
        return value

    @field_validator("combine")
    @classmethod
    def _of_one_step(cls, value: Technique | None, info: ValidationInfo) -> Technique | None:
        mixing = info.data.get("mixing")
        if value is not None and mixing is not None and mixing.name != "sum":
            refuse(f"'{value.name}' works on the gradients of several tasks in one step, and mixing: {mixing.name} has one task in each. Write mixing: sum.")
        return value

    @field_validator("early_stopping")
    @classmethod
    def _keeps_the_best(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("keep") == "last":
            refuse("training stops early because the last epochs were not the best, but keep: last would keep them. Add keep: best, or remove early_stopping.")
        return value


class _Places:
    """Where the settings of a recipe stand. It is no part of what the recipe says, so any two are equal."""

    def __init__(self, tree: Value | None = None) -> None:
        self.tree = tree or Value({})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Places)

    __hash__ = None                              # type: ignore[assignment]

    def problem(self, steps: Sequence[str | int], message: str) -> str:
        found = list(walk(self.tree, steps))
        if len(found) <= len(steps):             # a default, which stands nowhere
            return replace(found[-1], path=".".join(map(str, steps))).problem(message)
        return found[-1].problem(message)


class Recipe(_Section):
    """A complete recipe; every setting has its value. `base` is the folder that relative paths start from; it is no part of what the recipe says."""

    source: Text | None = None
    claim: Text | None = None
    expect: dict[str, float] = Field(default_factory=dict)        # "sst5.accuracy" → what the source reports
    encoder: Text = "minilm"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42          # scikit-learn takes no more
    threads: Count | None = None                                  # None: all cores
    sharing: Annotated[Technique, PlainValidator(partial(fields.technique, kind="sharing", default="one", optional=False))] = Technique("one")
    tasks: dict[str, TaskRecipe]
    plan: PlanRecipe = Field(default_factory=PlanRecipe)
    _base: Path = PrivateAttr(default_factory=Path.cwd)
    _places: _Places = PrivateAttr(default_factory=lambda: _Places())

    @field_validator("tasks")
    @classmethod
    def _heads_of_others(cls, value: dict[str, TaskRecipe]) -> dict[str, TaskRecipe]:
        problems: list[tuple[fields.Steps, str]] = []
        for name, task in value.items():
            owner = task.same_as
            if owner is not None and owner not in value:
                problems.append(((name, "same_as"), f"no task called {shown(owner)} in this recipe. {did_you_mean(owner, tuple(value))}"))
            elif owner is not None and value[owner].same_as is not None:
                problems.append(((name, "same_as"), f"'{owner}' has no head of its own. Name the task that has one."))
        if problems:
            raise refuse_all(problems)
        return value

    @field_validator("plan")
    @classmethod
    def _within_a_batch(cls, value: PlanRecipe, info: ValidationInfo) -> PlanRecipe:
        sizes = [task.batch_size or value.batch_size for task in info.data.get("tasks", {}).values()]
        if value.micro_batch is not None and sizes and value.micro_batch > max(sizes):
            what = "Micro-batches are parts of a batch; they change memory and no result."
            raise refuse_all([(("micro_batch",), f"expected at most the batch size ({max(sizes)}), got {value.micro_batch}. {what}")])
        return value

    @property
    def base(self) -> Path:
        return self._base

    def problem(self, steps: Sequence[str | int], message: str) -> str:
        """A line about one of this recipe's settings, with the file and the line where it stands."""
        return self._places.problem(steps, message)

    @property
    def placeless(self) -> Recipe:
        """The same, whose lines about its settings name no file."""
        copied = self.model_copy()
        copied._places = _Places()
        return copied

    def path(self, given: str) -> Path:
        """A path of this recipe as the operating system understands it."""
        return self._base / Path(given).expanduser()


_TASK_KEYS = tuple(TaskRecipe.model_fields)
_PLAN_KEYS = tuple(key for key in PlanRecipe.model_fields if key != "settings")
_PLAN_KINDS = {"curve": "curves", "mixing": "mixing", "combine": "combine"}
_TOP_KEYS = (*(key for key in Recipe.model_fields if key not in ("tasks", "plan")), "task", "tasks", *_TASK_KEYS, "plan", *STUDY)
_PATHS = ("train", "dev", "test")
_DATA_FILE = r"\.(csv|tsv|jsonl|parquet)$"
_WORDS = ("text", "text_pair", "label", "labels")      # cells and column names are text, however they look: `label: 1`, `labels: [1, 2]`
_EXAMPLES = {
    "tasks": "{reviews: {data: {train: reviews.csv}}}", "data": "{train: reviews.csv, text: review, label: stars}", "plan": "{epochs: 4, lr: 5e-5}",
    "expect": "{sst5.accuracy: 0.52}", "losses": "{task: cross_entropy}", "task": "rte",
}


# ------------------------------------------------------------------------------------------------------------------------------------------ reading

def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `key=value` overrides on top. Paths in the file start from its folder, paths in overrides from the working directory.

    Raises RecipeError with every problem that was found.
    """
    text = file_text(Path(path))
    problems: list[str] = []
    return _checked(read_yaml(text, str(path), problems=problems), overrides, Path(path).absolute().parent, problems)


def recipe_from(mapping: Mapping[str, Any], overrides: Sequence[str] = (), *, base: str | Path | None = None) -> Recipe:
    """The recipe that a mapping (of mappings) describes. `base`: where its relative paths start, the working directory if None.

    Raises RecipeError with every problem that was found.
    """
    problems: list[str] = []
    return _checked(from_python(mapping, problems), overrides, Path(base or ".").absolute(), problems)


def recipe_for_file(path: str | Path, overrides: Sequence[str] = (), **data: Any) -> Recipe:
    """The recipe that `encore train reviews.csv` stands for: one task, named after the file.

    data: settings of DataRecipe (`text`, `label`, …); None is as good as not given. The path starts from the working directory.
    """
    name = re.sub(r"[^\w-]+", "_", "stdin" if str(path) == "-" else Path(path).stem).strip("_")[:64] or "task"
    given = {key: value for key, value in data.items() if value is not None}
    return recipe_from({"tasks": {name: {"data": {"train": os.fspath(path), **given}}}}, overrides)


def file_text(path: Path) -> str:
    """What a recipe file holds. Raises RecipeError where there is none, or no text."""
    if path.is_dir():
        raise RecipeError(f"{path}: expected a recipe file, got a folder. Name the .yaml file in it.")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise RecipeError(f"{path}: no such folder as '{path.parent}'. Check the path.") from None
        near = difflib.get_close_matches(path.name, sorted(entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")), n=1, cutoff=0.5)
        raise RecipeError(f"{path}: no such file. " + (f"Did you mean '{path.parent / near[0]}'?" if near else "Check the path.")) from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text (byte 0x{content[error.start]:02x}). Save the file as UTF-8.") from None


def _checked(document: Value, overrides: Sequence[str], base: Path, problems: list[str]) -> Recipe:
    """The recipe that a document describes; `problems` are those of reading it."""
    changes = [found for text in overrides if (found := assignment(text, base, problems)) is not None]
    recipe, rest = composed(document, changes, base, problems)
    if problems or recipe is None:
        raise refusal(problems, rest)
    return recipe


def composed(document: Value, changes: Sequence[Change], base: Path, problems: list[str]) -> tuple[Recipe | None, Recipe | None]:
    """The recipe that a document with changes describes; or, where something is wrong with it, which `problems` takes, what remains of it without that."""
    said = len(problems)
    tree = _complete(document, changes, problems)
    recipe, culprits = None, []
    try:
        recipe = Recipe.model_validate(plain(tree))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=True):
            problems += _told(tree, detail)
            culprits.append(detail["loc"])
    if len(problems) > said or recipe is None:
        return None, _without(plain(tree), culprits, base)
    recipe._base, recipe._places = base, _Places(tree)
    return recipe, recipe


def refusal(problems: Sequence[str], rest: Recipe | None = None) -> RecipeError:
    """What is raised: each problem once, in the order of the file, at most twenty."""
    found = sorted(dict.fromkeys(problems), key=_line)
    error = RecipeError(found if len(found) <= _MOST_SHOWN else [*found[:_MOST_SHOWN], f"… and {len(found) - _MOST_SHOWN} more"])
    error.rest = rest
    return error


def _without(tree: dict[str, Any], culprits: Sequence[tuple[str | int, ...]], base: Path) -> Recipe | None:
    """The recipe without the settings that are wrong, so that its files and its encoder can be checked in the same go. A task whose data settings are among
    them is left out: what would be read without them is not what was meant. None where too little is left."""
    if any(steps[0] == "encoder" for steps in culprits):
        return None
    for steps in [*culprits, ("tasks", _NO_TASK)]:
        end = 2 if steps[0] == "tasks" and steps[2:3] == ("data",) else len(steps)
        inner: Any = tree
        for step in steps[: end - 1]:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(steps[end - 1], None)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError:
        return None
    recipe._base = base
    return recipe


_MOST_SHOWN = 20


def _line(problem: str) -> int:
    """Complaints in the order of the file, then those about overrides and about what Python handed over, in the order in which they were found."""
    found = re.match(r"(?!override ).*?:(\d+)[: ]", problem)
    return int(found[1]) if found else sys.maxsize


def _complete(document: Value, changes: Sequence[Change], problems: list[str]) -> Value:
    """The document in the one form that Recipe has: sugar and shared settings moved into the tasks, changes applied. Every value still knows its line."""
    if document.data is None and not changes:
        problems.append(document.problem("the recipe is empty. A named task needs one line: `task: rte`."))
        return _top({"tasks": Value({})})
    if document.data is not None and not isinstance(document.data, dict):
        doubt = " Is this a data file?" if isinstance(document.data, str) else ""
        problems.append(document.problem(f"expected keys such as `task: rte`, got {shown(plain(document))}.{doubt}"))
        return _top({"tasks": Value({})})
    top = dict(document.data or {})
    studied = {key: top.pop(key) for key in STUDY if key in top}
    for steps, value in changes:
        if steps in (("task",), ("tasks",)):
            top[steps[0]] = value
    tasks, shared = _tasks(top, document, studied.get("each"), problems)
    for steps, value in changes:
        if steps in (("task",), ("tasks",)):
            continue
        if steps[0] in STUDY:
            instead = f" Write seed={value.data} for a single run." if steps == ("seeds",) and isinstance(value.data, int) else ""
            problems.append(value.problem(f"'{steps[0]}' says what to compare, and this is a single run.{instead}"))
            continue
        if steps[0] == "expect" and len(steps) > 1:
            steps = ("expect", ".".join(steps[1:]))
        if steps[0] == "task":
            problems.append(value.problem(f"a task's name has no settings. Write {'.'.join(steps[1:])}=…"))
        elif steps[0] in _TASK_KEYS:
            tasks = {name: task if steps[0] == "head" and _borrows(task) else _with(task, steps, value) for name, task in tasks.items()}
        elif steps[0] != "tasks":
            top = _with(Value(top), steps, value).data
        elif steps[1] in tasks:
            name, *inner = steps[1:]
            own = replace(value, data={**shared, **value.data}) if not inner and isinstance(value.data, dict) else value
            tasks[name] = _with(tasks[name], inner, own)
        elif _NO_TASK not in tasks:
            problems.append(value.problem(f"no task called {shown(steps[1])}. {did_you_mean(steps[1], tuple(tasks))}"))
    for name, task in tasks.items():
        if isinstance(task.data, dict):
            if _borrows(task) and task.data.get("head") is shared.get("head"):             # a shared head is for tasks that have one of their own
                task = replace(task, data={key: entry for key, entry in task.data.items() if key != "head"})
            tasks[name] = task = replace(task, data=_without_empty(task.data))
            problems += _unfounded(name, task) if name != _NO_TASK else []
    top["tasks"] = Value(tasks, document.where, "tasks")
    if "plan" in top:
        top["plan"] = _plan(top["plan"], problems)
    if "expect" in top and top["expect"].data is None:
        del top["expect"]
    return _top(top, document)


def _top(entries: dict[str, Value], document: Value | None = None) -> Value:
    return Value(entries, document.where if document else "")


_NO_TASK = "?"                                   # stands for the task that is missing, so that the other settings are checked all the same


def _tasks(top: dict[str, Value], document: Value, each: Value | None, problems: list[str]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Takes `task`, `tasks` and the shared task settings out of `top`: each task's own complete mapping, and the shared settings. `each`: the recipe's."""
    task, tasks = top.pop("task", None), top.pop("tasks", None)
    shared = {key: top.pop(key) for key in _TASK_KEYS if key in top}
    own: dict[str, Value] = {}
    if task is not None and tasks is not None:
        problems.append(task.problem("task and tasks are both given. Keep one: `task: rte` is short for `tasks: {rte: {}}`."))
    if tasks is not None:
        if isinstance(tasks.data, dict) and tasks.data:
            own = dict(tasks.data)
        else:
            (name,) = tasks.data if isinstance(tasks.data, tuple) and len(tasks.data) == 1 else (tasks,)
            remedy = f"`task: {name.data}`" if isinstance(name.data, str) and name.data else f"tasks: {_EXAMPLES['tasks']}"
            problems.append(tasks.problem(f"expected a mapping from task names to their settings, got {shown(plain(tasks))}. Write {remedy}."))
    elif task is not None:
        if isinstance(task.data, str) and task.data:
            own = {task.data: Value({}, task.where, task.path)}
        else:
            problems.append(task.problem(f"expected the name of a task, such as rte, got {shown(plain(task))}."))
    elif each is not None and isinstance(each.data, dict) and {"task", "tasks"} & each.data.keys():
        items = each.data["task"].data if "task" in each.data else None
        some = [item.data for item in items if isinstance(item.data, str)] if isinstance(items, tuple) else []
        single = f" For a single run name one: task={some[0] if some else 'rte'}" if "task" in each.data else ""
        problems.append(each.problem(f"these are separate studies, for `encore compare`.{single}"))
    else:
        problems.append(document.problem("no task. Add `task: rte` (a named task), or `tasks: {reviews: {data: {train: reviews.csv}}}`."))
    complete: dict[str, Value] = {}
    for name, value in own.items():
        problems += [value.problem(message) for message in unsafe(name, "task")]
        settings = value.data if isinstance(value.data, dict) else {}
        if value.data is not None and not isinstance(value.data, dict):
            file = value.data if isinstance(value.data, str) and re.search(_DATA_FILE, value.data) else None
            instead = f"{name}: {{data: {{train: {file}}}}}" if file else f"{name}: {{}} for a named task"
            problems.append(value.problem(f"expected a mapping with the task's settings, got {shown(plain(value))}. Write {instead}."))
            settings = {"data": Value({"train": value}, value.where, value.path)} if file else {}
        entries = {**shared, **settings}
        if "data" in shared and "data" in settings and isinstance(shared["data"].data, dict) and isinstance(settings["data"].data, dict):
            entries["data"] = replace(settings["data"], data={**shared["data"].data, **settings["data"].data})
        complete[name] = replace(value, data=entries)
    return complete or {_NO_TASK: Value(shared)}, shared


def _borrows(task: Value) -> bool:
    """Whether the task has the head of another."""
    return isinstance(task.data, dict) and "same_as" in task.data and task.data["same_as"].data is not None


def _unfounded(name: str, task: Value) -> list[str]:
    """A task without a train file is a named one: is there such a task, and can it be weighted by class?"""
    data = task.data.get("data", Value({})).data
    if not isinstance(data, dict) or ("train" in data and data["train"].data is not None) or unsafe(name, "task"):
        return []
    from encore.data.tasks import find_task

    label = data["label"] if "label" in data and isinstance(data["label"].data, str) else None
    try:
        named = find_task(name, label=label.data if label else None)
    except RecipeError as error:
        culprit = label if label and f"'{label.data}'" in error.problems[0] else task
        return [culprit.problem(problem) for problem in error.problems]
    if named.kind != "regression":
        return []
    balance = [task.data[key] for key in ("class_weights", "sampling") if key in task.data and task.data[key].data is not None]
    return [value.problem(f"'{name}' is a regression, which has no classes to balance. Remove it.") for value in balance]


def _without_empty(entries: dict[str, Value]) -> dict[str, Value]:
    """`data:` with nothing behind it (all of it commented out, say) sets nothing; column names and labels become text."""
    return {key: _worded(value) if key == "data" else value for key, value in entries.items() if key not in ("data", "losses") or value.data is not None}


def _worded(data: Value) -> Value:
    """Column names and labels as text, as they were written: `labels: [01, 02]` are '01' and '02'."""
    if not isinstance(data.data, dict):
        return data
    return replace(data, data={key: _as_text(entry) if key in _WORDS else entry for key, entry in data.data.items()})


def _as_text(value: Value) -> Value:
    if isinstance(value.data, dict):
        return replace(value, data={key: _as_text(entry) for key, entry in value.data.items()})
    if isinstance(value.data, tuple):
        return replace(value, data=tuple(_as_text(item) for item in value.data))
    if isinstance(value.data, (bool, int, float)):
        return replace(value, data=value.text if value.text is not None else str(value.data).lower() if isinstance(value.data, bool) else str(value.data))
    return value


def _plan(plan: Value, problems: list[str]) -> Value:
    """A plan's own settings, which stand beside the common ones, moved into `settings`; unknown ones stay where Recipe refuses them."""
    if plan.data is None:
        return replace(plan, data={})
    if isinstance(plan.data, str):
        return replace(plan, data={"name": plan})
    if not isinstance(plan.data, dict):
        return plan
    entries, extra = dict(plan.data), [key for key in plan.data if key not in _PLAN_KEYS]
    if "settings" in entries:                    # the Recipe's own field; in YAML these settings stand beside the others
        problems.append(entries.pop("settings").problem("no such setting. Write the plan's own settings beside the others."))
        plan = replace(plan, data=entries)
    name = entries["name"].data if "name" in entries else PlanRecipe.model_fields["name"].default
    if not extra or name not in catalogue.names("plans"):
        return plan
    accepted = {key: parameter for key, parameter in catalogue.settings("plans", name).items() if key not in _PLAN_KEYS}
    settings = {key: entries.pop(key) for key in accepted if key in entries}
    fitting, ill_typed = typed_settings("plans", name, {key: plain(value) for key, value in settings.items()})
    problems += [settings[str(steps[0])].problem(message) for steps, message in ill_typed]
    return replace(plan, data={**entries, "settings": from_python(fitting)} if fitting else entries)


# ---------------------------------------------------------------------------------------------------------------------------------------- overrides

def assignment(text: str, base: Path, problems: list[str]) -> Change | None:
    """`plan.lr=3e-5` → (("plan", "lr"), 0.00003 which knows that it is an override)."""
    where = one_line(f"override {text if len(text) <= 80 else text[:77] + '…'}")
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not key or key.startswith("-") or not all(key.split(".")):
        example = re.match(r"-*([\w.-]+)[ :=]*(.*)", text)
        instead = f"{meant(example[1]) or example[1]}={example[2] or '…'}" if example and text.startswith("-") else "plan.lr=3e-5"
        second = " A second file has an option: --dev FILE, --test FILE." if re.search(_DATA_FILE, text) and not equals else ""
        problems.append(one_line(f"{where}: expected key=value, for example {instead}.{second}"))
        return None
    steps = tuple(key.split("."))
    try:
        if not is_text(written):
            raise RecipeError(f"{where}: holds a character that cannot be written as UTF-8.")
        # A lone punctuation mark (a delimiter, say) is itself; YAML would want quotes inside the shell's quotes.
        verbatim = steps[-1] in ("source", "claim") or (len(written) == 1 and not written.isalnum() and written != "~")
        value = Value(written, where, "", written) if verbatim else read_yaml(written, where, numbered=False)
    except RecipeError as error:
        problems.extend(error.problems)
        return None
    inner = steps[2:] if steps[0] == "tasks" else steps
    if inner[:1] == ("data",) and len(inner) > 1 and inner[1] in _PATHS:
        value = _from_here(value, base)
    elif inner == ("data",) and isinstance(value.data, dict):
        value = replace(value, data={key: _from_here(entry, base) if key in _PATHS else entry for key, entry in value.data.items()})
    elif steps == ("encoder",) and isinstance(value.data, str) and Path(value.data).is_dir():
        value = _from_here(value, base)
    return steps, value


def _from_here(value: Value, base: Path) -> Value:
    """A path of the command line starts from the working directory; the recipe's paths start from `base`."""
    if isinstance(value.data, dict):
        return replace(value, data={key: _from_here(entry, base) for key, entry in value.data.items()})
    if not isinstance(value.data, str) or not value.data or value.data == "-" or "://" in value.data:
        return value
    path = Path(value.data).expanduser().absolute()
    return replace(value, data=path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path))


def _with(tree: Value, steps: Sequence[str], value: Value) -> Value:
    """`tree` with `value` at the end of `steps`. On the way, a technique's bare name becomes {name: …}, so that `head.dropout=0.2` works on `head: linear`."""
    if not steps:
        return value
    entries = tree.data if isinstance(tree.data, dict) else {"name": tree} if isinstance(tree.data, str) else {}
    below = entries.get(steps[0], Value(None, value.where))
    return replace(tree, data={**entries, steps[0]: _with(below, steps[1:], value)})


# --------------------------------------------------------------------------------------------------------------------------------------- complaints

def _told(tree: Value, detail: Any) -> list[str]:
    """One line per complaint of pydantic, at the line of the culprit."""
    steps: tuple[str | int, ...] = detail["loc"]
    if detail["type"] == "encore":
        return [_located(tree, (*steps, *inner), message) for inner, message in detail["ctx"]["problems"]]
    if detail["type"] == "extra_forbidden":
        return [_located(tree, steps, _unknown(tree, steps))]
    got = plain(list(walk(tree, steps))[-1])
    if detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
        key = next((step for step in reversed(steps) if isinstance(step, str)), "")
        example = f" such as {_EXAMPLES[key]}" if key in _EXAMPLES else ""
        return [_located(tree, steps, f"expected a mapping{example}, got {shown(got)}.")]
    expected = _expected(steps)
    if steps[0] == "expect" and isinstance(got, dict) and got:
        return [_located(tree, steps, f"expected a number, got {shown(got)}. Write {steps[1]}.{next(iter(got))}: …")]
    return [_located(tree, steps, f"expected {expected}, got {shown(got)}.{remedy(got, expected)}")]


def _located(tree: Value, steps: Sequence[str | int], message: str) -> str:
    return list(walk(tree, steps))[-1].problem(message)


def _unknown(tree: Value, steps: Sequence[str | int]) -> str:
    """What to say about a key that no section has, or not this one."""
    key = str(steps[-1])
    section = "" if len(steps) == 1 else "plan" if steps[0] == "plan" else "task" if len(steps) == 3 else "data"
    known = {"": _TOP_KEYS, "plan": _PLAN_KEYS, "task": _TASK_KEYS, "data": tuple(DataRecipe.model_fields)}[section]
    if section == "plan":
        name = plain(tree.data["plan"]).get("name", "fine_tune")
        if name in catalogue.names("plans"):
            known = tuple(dict.fromkeys((*known, *catalogue.settings("plans", name))))
    word = _word(key)
    outer, _, inner = word.rpartition(".")
    if outer in ("plan", "data", "head", "pooling", "losses"):
        return f"no such setting. Write {outer}: {{{inner}: …}}, or {word}=… on the command line."
    setting = meant(key)
    if setting is None:
        return f"no such setting. {did_you_mean(key, known)}"
    if setting == word and section:              # the right word in the wrong place
        where = f"beside {section}, in the task or for all tasks" if setting in _TASK_KEYS else "for the whole recipe"
        return f"no such setting here. Write it {where} at the top: {setting}: …, or {setting}=… on the command line."
    return f"no such setting. Did you mean '{setting.removeprefix(section + '.')}'?"


def _word(key: str) -> str:
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def meant(key: str) -> str | None:
    """The full name of the setting that somebody means who writes `key`, None where there is no telling.

    >>> meant("learning_rate"), meant("lr"), meant("colour")
    ('plan.lr', 'plan.lr', None)
    """
    sections = {"": _TOP_KEYS, "plan.": _PLAN_KEYS, "data.": tuple(DataRecipe.model_fields)}
    return MEANT.get(_word(key)) or next((section + _word(key) for section, keys in sections.items() if _word(key) in keys), None)


def _expected(steps: Sequence[str | int]) -> str:
    """What the field at `steps` wants, in words, from its own annotation."""
    annotation: Any = Recipe
    for step in steps:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and step in annotation.model_fields:
            field = annotation.model_fields[str(step)]
            annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation  # type: ignore[assignment]
        elif typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
    return describe(annotation)


def reading(recipe: Recipe, task: str) -> dict[str, Any]:
    """A task's data settings as `load_task` takes them: `load_task(task, **reading(recipe, task))`."""
    data = recipe.tasks[task].data
    given = {key: getattr(data, key) for key in type(data).model_fields}
    return {**given, "seed": recipe.seed if data.seed is None else data.seed, "metrics": recipe.tasks[task].metrics, "base": recipe.base}


# ------------------------------------------------------------------------------------------------------------------------------------------ writing

def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, every default written out, those of the techniques too (which imports their files); equal recipes give equal data.

    Order is fixed: that of the fields here, of the constructor's parameters, of the alphabet for class weights and expectations, of the recipe for the rest.
    """
    return _resolved(recipe)


def _resolved(value: Any, kind: str = "") -> Any:
    if isinstance(value, PlanRecipe):
        entries = {key: _resolved(getattr(value, key), _PLAN_KINDS.get(key, "")) for key in _PLAN_KEYS}
        own = {key: parameter.default for key, parameter in catalogue.settings("plans", value.name).items() if key not in _PLAN_KEYS}
        return {**entries, **_resolved({**own, **value.settings})}
    if isinstance(value, BaseModel):
        kinds = {"pooling": "pooling", "head": "heads", "sharing": "sharing", "pair": "pairs"}
        entries = {key: _resolved(getattr(value, key), kinds.get(key, "")) for key in type(value).model_fields}
        if isinstance(value, TaskRecipe) and value.same_as is not None:
            del entries["head"]                      # it has none of its own, and a recipe that names both is refused
        return {key: dict(sorted(entry.items())) if key in ("class_weights", "expect") and isinstance(entry, dict) else entry for key, entry in entries.items()}
    if isinstance(value, Term):
        loss = _resolved(value.loss, "losses") if value.loss is not None else {"name": None}
        return {"name": loss.pop("name"), "weight": value.weight, **loss}
    if isinstance(value, Technique):
        accepted = accepted_settings(kind, value.name)
        defaults = {key: parameter.default for key, parameter in accepted.items() if parameter.default is not inspect.Parameter.empty}
        return {"name": value.name, **_resolved({**defaults, **value.settings})}
    if isinstance(value, Mapping):
        return {key: _resolved(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolved(item) for item in value]
    return value


def to_yaml(recipe: Recipe, *, short: bool = False) -> str:
    """The recipe as YAML that loads back to the same recipe: all of it, or only what differs from the defaults (`short`)."""
    return write_yaml(_short(recipe) if short else resolved(recipe))


def _short(recipe: Recipe) -> dict[str, Any]:
    data = _differing(recipe)
    tasks = data.pop("tasks")
    sugar = {"task": next(iter(tasks))} if len(tasks) == 1 and not next(iter(tasks.values())) else {"tasks": tasks}
    plan = data.pop("plan", None)
    return {**data, **sugar, **({"plan": plan} if plan else {})}


def _differing(value: Any) -> Any:
    if isinstance(value, BaseModel):
        found: dict[str, Any] = {}
        for key, field in type(value).model_fields.items():
            entry = getattr(value, key)
            if field.is_required() or entry != field.get_default(call_default_factory=True):
                found[key] = _differing(entry)
        return {**{key: entry for key, entry in found.items() if key != "settings"}, **found.get("settings", {})}
    if isinstance(value, Term):
        if value.weight == 1.0:
            return None if value.loss is None else _differing(value.loss)
        return {**(dict(value.loss) if value.loss else {}), "weight": value.weight}
    if isinstance(value, Technique):
        return dict(value) if value.settings else value.name
    if isinstance(value, Mapping):
        return {key: _differing(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_differing(item) for item in value]
    return value


def anchored(recipe: Recipe) -> Recipe:
    """The same recipe with the paths of data and encoder absolute, so that it can be written into another folder."""
    def absolute(path: str) -> str:
        return path if path == "-" or "://" in path else str(recipe.path(path))

    tasks = {}
    for name, task in recipe.tasks.items():
        data = task.data
        dev = {key: absolute(path) for key, path in data.dev.items()} if isinstance(data.dev, dict) else absolute(data.dev) if data.dev else None
        paths = {"train": absolute(data.train) if data.train else None, "dev": dev, "test": absolute(data.test) if data.test else None}
        tasks[name] = task.model_copy(update={"data": data.model_copy(update=paths)})
    encoder = str(recipe.path(recipe.encoder)) if recipe.path(recipe.encoder).is_dir() else recipe.encoder
    return recipe.model_copy(update={"tasks": tasks, "encoder": encoder})
