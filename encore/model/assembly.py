"""Task models from their parts: poolings on the pretrained encoder, shared as the recipe says, and
a head on each.

Training, loading and the check before either go through here, so that a run is put together again
as it was trained.
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

__all__ = ["Locate", "TaskSpec", "assemble", "located", "with_location"]

Locate = Callable[
    [tuple[str, ...], str | Problem], Problem
]  # the keys that lead to a setting, and what is wrong with it → the problem at its place


@dataclass(frozen=True)
class TaskSpec:
    """What one task's model is made of. `same_as`: the task whose head it has, instead of one of
    its own.
    """

    labels: LabelSpace
    pooling: Mapping[str, Any]
    head: Mapping[str, Any]
    pair: Mapping[str, Any]
    same_as: str | None = None


def _plain(steps: tuple[str, ...], problem: str | Problem) -> Problem:
    found = Problem(message=problem) if isinstance(problem, str) else problem
    return replace(found, setting=".".join((*steps, *filter(None, [found.setting]))))


def assemble(
    parts: Mapping[str, TaskSpec],
    sharing: Spec,
    encoder: Encoder | HuggingFaceEncoder,
    shape: Shape,
    *,
    seed: int,
    told: Locate = _plain,
) -> dict[str, TaskModel]:
    """The tasks' models. New weights are drawn by (seed, task). Raises RecipeError with all that
    does not go together, each line as `told` writes it.
    """
    complaints = Complaints()
    own: dict[str, Branch] = {}
    for task, part in parts.items():
        with complaints.collecting():
            own[task] = _branch(task, part, encoder, shape, seed, told)
    complaints.raise_any()
    shared = {task: [branch] for task, branch in own.items()}
    with complaints.collecting(), located(told, ("sharing",)):
        way: Sharing[Branch] = catalogue.build("sharing", sharing)
        shared = way(own, _owners(parts))
    heads: dict[str, Head] = {}
    for task, part in parts.items():
        if part.same_as is None:
            with complaints.collecting():
                width = sum(branch.pooling.width for branch in shared[task])
                heads[task] = _head(task, part, width, seed, told)
    with complaints.collecting():
        _share_layers(heads, told)
    for task, part in parts.items():
        if part.same_as in heads:
            with complaints.collecting():
                _check_borrowed(task, parts, shared, told)
    complaints.raise_any()
    return {
        task: TaskModel(shared[task], heads[part.same_as or task], n_sides=_pairing(part).n_sides)
        for task, part in parts.items()
    }


def _branch(
    task: str,
    part: TaskSpec,
    encoder: Encoder | HuggingFaceEncoder,
    shape: Shape,
    seed: int,
    told: Locate,
) -> Branch:
    """The task's pooling on the encoder, behind the layer between the two texts of a pair where
    there is one.
    """
    with seeded_initialisers(seed, "initialisation", task, "pooling"):
        with located(told, ("tasks", task, "pooling")):
            pooling: Pooling = catalogue.build("pooling", part.pooling, shape)
        with located(told, ("tasks", task, "pair")):
            pairing: Pairing = catalogue.build("pairs", part.pair)
            if pairing.attend is not None:
                pooling = pairing.attend(pooling, shape.width)
    return Branch(encoder, pooling)


def _pairing(part: TaskSpec) -> type[Pairing]:
    return catalogue.find("pairs", part.pair["name"])


def _owners(parts: Mapping[str, TaskSpec]) -> dict[str, str]:
    """Task → the first task with an equal pooling. Whether a default is written out makes no
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


def _head(task: str, part: TaskSpec, width: int, seed: int, told: Locate) -> Head:
    steps = ("tasks", task, "head")
    with seeded_initialisers(seed, "initialisation", task, "head"), located(told, steps):
        head: Head = catalogue.build("heads", part.head, width, part.labels.n_scores)
    name, sides = part.head["name"], _pairing(part).n_sides
    if part.labels.kind not in head.kinds:
        raise RecipeError(
            told(
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
        gives = (
            f"'{name}' reads {_texts(head.n_sides)}, and pair '{part.pair['name']}' gives it "
            f"{_texts(sides)}"
        )
        ways = " or ".join(fitting)
        raise RecipeError(told(steps, f"{gives}. Write pair: {ways}, or choose another head."))
    return head


def _texts(n_sides: int) -> str:
    return "a vector of each text" if n_sides == 2 else "one vector"


def _share_layers(heads: Mapping[str, Head], told: Locate) -> None:
    """Give heads of one suite the common layers of the first of them."""
    firsts: dict[str, str] = {}
    for task, head in heads.items():
        if head.suite and (first := firsts.setdefault(head.suite, task)) != task:
            try:
                head.share_layers(heads[first])
            except RecipeError as error:
                message = f"shares layers with the head of task '{first}', so "
                raise RecipeError(
                    told(
                        ("tasks", task, "head"), replace(problem, message=message + problem.message)
                    )
                    for problem in error.problems
                ) from None


def _check_borrowed(
    task: str,
    parts: Mapping[str, TaskSpec],
    shared: Mapping[str, list[Branch]],
    told: Locate,
) -> None:
    """Raises RecipeError where a task cannot have the head of another."""
    owner = str(parts[task].same_as)
    mine, theirs = (_reads(parts[name], shared[name]) for name in (task, owner))
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
        raise RecipeError(told(("tasks", task, "same_as"), message))


def _reads(part: TaskSpec, branches: Sequence[Branch]) -> dict[str, str | int]:
    """What a head must be made for, in the words of a complaint."""
    return {
        "kind": part.labels.kind,
        "number of labels": part.labels.n_scores,
        "number of texts that are read apart": _pairing(part).n_sides,
        "width of what the head reads": sum(branch.pooling.width for branch in branches),
    }


@contextlib.contextmanager
def located(told: Locate, steps: tuple[str, ...]) -> Iterator[None]:
    """Inside, the problems of a RecipeError are placed at the setting that `steps` lead to."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(
            told(steps, replace(problem, setting="") if problem.setting == steps[-1] else problem)
            for problem in error.problems
        ) from None


def with_location(
    told: Locate, steps: tuple[str, ...], build: Callable[..., Any], *given: Any
) -> Any:
    """The result of `build(*given)`, whose problems are placed like those of `located`."""
    with located(told, steps):
        return build(*given)
