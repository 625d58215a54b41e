"""Assembles task models: poolings on the pretrained encoder, shared as the recipe sets it, and one
head for each task.

Training, loading and the checks before them all call `assemble`, so a loaded run has the structure
that was trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from encore import catalogue
from encore.encoder.encoder import Encoder, Shape
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.errors import Complaints, Problem, RecipeError
from encore.files import canonical
from encore.model.parameters import seeded_initialisers
from encore.model.task_model import Branch, TaskModel
from encore.types import Head, LabelSpace, Pairing, Pooling, Sharing, Spec

__all__ = ["Locate", "TaskSpec", "assemble", "located"]

# The keys that lead to a setting, and the problem with it → the problem with file and line.
Locate = Callable[[tuple[str, ...], str | Problem], Problem]


@dataclass(frozen=True)
class TaskSpec:
    """The parts of one task's model. same_as: the task whose head it shares; None: a head of its
    own. n_negatives: texts of an example that the head embeds and does not score.
    """

    labels: LabelSpace
    pooling: Mapping[str, Any]
    head: Mapping[str, Any]
    pair: Mapping[str, Any]
    same_as: str | None = None
    n_negatives: int = 0


def _dotted(steps: tuple[str, ...], problem: str | Problem) -> Problem:
    found = Problem(message=problem) if isinstance(problem, str) else problem
    return replace(found, setting=".".join((*steps, *filter(None, [found.setting]))))


def assemble(
    parts: Mapping[str, TaskSpec],
    sharing: Spec,
    encoder: Encoder | HuggingFaceEncoder,
    shape: Shape,
    *,
    seed: int,
    adapter: Spec | None = None,
    locate: Locate = _dotted,
) -> dict[str, TaskModel]:
    """Build the tasks' models. adapter: new layers for the encoder, which then never trains. New
    weights are drawn by (seed, task). Raises RecipeError with every conflict between the parts,
    each at the place that `locate` finds for it.
    """
    complaints = Complaints()
    if adapter is not None:
        with seeded_initialisers(seed, "initialisation", "adapter"), located(locate, ("adapter",)):
            encoder = catalogue.build("adapters", adapter)(encoder)
    own: dict[str, Branch] = {}
    for task, part in parts.items():
        with complaints.collecting():
            own[task] = _branch(task, part, encoder, shape, seed, locate)
            if adapter is not None:  # the checkpoint's pooler is a part of the encoder
                for parameter in own[task].pooling.pretrained():
                    parameter.requires_grad_(False)
    complaints.raise_any()
    shared = {task: [branch] for task, branch in own.items()}
    with complaints.collecting(), located(locate, ("sharing",)):
        share: Sharing[Branch] = catalogue.build("sharing", sharing)
        shared = share(own, _owners(parts))
    heads: dict[str, Head] = {}
    for task, part in parts.items():
        if part.same_as is None:
            with complaints.collecting():
                width = sum(branch.pooling.width for branch in shared[task])
                heads[task] = _head(task, part, width, seed, locate)
    with complaints.collecting():
        _share_layers(heads, locate)
    for task, part in parts.items():
        if part.same_as in heads:
            with complaints.collecting():
                _check_same_as(task, parts, shared, locate)
    complaints.raise_any()
    return {
        task: TaskModel(
            shared[task],
            heads[part.same_as or task],
            n_sides=_pairing(part).n_sides + part.n_negatives,
        )
        for task, part in parts.items()
    }


def _branch(
    task: str,
    part: TaskSpec,
    encoder: Encoder | HuggingFaceEncoder,
    shape: Shape,
    seed: int,
    locate: Locate,
) -> Branch:
    """The task's pooling on the encoder. Where the pairing has a layer between the two texts of a
    pair, it comes before the pooling.
    """
    with seeded_initialisers(seed, "initialisation", task, "pooling"):
        with located(locate, ("tasks", task, "pooling")):
            pooling: Pooling = catalogue.build("pooling", part.pooling, shape)
        with located(locate, ("tasks", task, "pair")):
            pairing: Pairing = catalogue.build("pairs", part.pair)
            if pairing.attend is not None:
                pooling = pairing.attend(pooling, shape.width)
    return Branch(encoder, pooling)


def _pairing(part: TaskSpec) -> type[Pairing]:
    return catalogue.find("pairs", part.pair["name"])


def _owners(parts: Mapping[str, TaskSpec]) -> dict[str, str]:
    """Task → the first task with an equal pooling. A default that is written out makes no
    difference, as in the name of a run.
    """
    firsts: dict[bytes, str] = {}
    return {
        task: firsts.setdefault(
            canonical([catalogue.specify("pooling", part.pooling).to_json(), _layer_between(part)]),
            task,
        )
        for task, part in parts.items()
    }


def _layer_between(part: TaskSpec) -> dict[str, Any] | None:
    return catalogue.specify("pairs", part.pair).to_json() if _pairing(part).attend else None


def _head(task: str, part: TaskSpec, width: int, seed: int, locate: Locate) -> Head:
    steps = ("tasks", task, "head")
    with seeded_initialisers(seed, "initialisation", task, "head"), located(locate, steps):
        head: Head = catalogue.build("heads", part.head, width, part.labels.n_scores)
    name, sides = part.head["name"], _pairing(part).n_sides
    if part.labels.kind not in head.kinds:
        raise RecipeError(
            locate(
                steps,
                f"'{name}' is for {' and '.join(head.kinds)} tasks, and this is a "
                f"{part.labels.kind} task. Choose another head.",
            )
        )
    if sides != head.n_sides:
        fitting = [
            pairing
            for pairing in catalogue.names("pairs")
            if catalogue.find("pairs", pairing).n_sides == head.n_sides
        ]
        conflict = (
            f"'{name}' reads {_texts(head.n_sides)}, and pair '{part.pair['name']}' gives it "
            f"{_texts(sides)}"
        )
        pairings = " or ".join(fitting)
        message = f"{conflict}. Write pair: {pairings}, or choose another head."
        raise RecipeError(locate(steps, message))
    return head


def _texts(n_sides: int) -> str:
    return "a vector of each text" if n_sides == 2 else "one vector"


def _share_layers(heads: Mapping[str, Head], locate: Locate) -> None:
    """Let the heads of one suite use the common layers of the first of them."""
    firsts: dict[str, str] = {}
    for task, head in heads.items():
        if head.suite and (first := firsts.setdefault(head.suite, task)) != task:
            try:
                head.share_layers(heads[first])
            except RecipeError as error:
                message = f"shares layers with the head of task '{first}', so "
                raise RecipeError(
                    locate(
                        ("tasks", task, "head"), replace(problem, message=message + problem.message)
                    )
                    for problem in error.problems
                ) from None


def _check_same_as(
    task: str,
    parts: Mapping[str, TaskSpec],
    shared: Mapping[str, list[Branch]],
    locate: Locate,
) -> None:
    """Raises RecipeError where a task cannot share the head of the task in its `same_as`."""
    owner = str(parts[task].same_as)
    mine, theirs = (_head_requirements(parts[name], shared[name]) for name in (task, owner))
    unlabelled = parts[task].labels.kind == "unlabelled"  # its loss reads embeddings and no scores
    differing = [
        name
        for name in mine
        if mine[name] != theirs[name] and not (unlabelled and name in ("kind", "number of labels"))
    ]
    if differing:
        message = (
            f"cannot have the head of '{owner}': not the same {', '.join(differing)}. "
            f"Give it a head of its own."
        )
        raise RecipeError(locate(("tasks", task, "same_as"), message))


def _head_requirements(part: TaskSpec, branches: Sequence[Branch]) -> dict[str, str | int]:
    """The properties that a head is built for, named as in error messages."""
    return {
        "kind": part.labels.kind,
        "number of labels": part.labels.n_scores,
        "number of texts that are read apart": _pairing(part).n_sides,
        "width of what the head reads": sum(branch.pooling.width for branch in branches),
    }


@contextlib.contextmanager
def located(locate: Locate, steps: tuple[str, ...]) -> Iterator[None]:
    """Place the problems of a RecipeError raised inside at the setting that `steps` lead to."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(
            locate(steps, replace(problem, setting="") if problem.setting == steps[-1] else problem)
            for problem in error.problems
        ) from None
