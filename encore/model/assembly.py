"""Task models from their parts: poolings on the pretrained encoder, shared as the recipe says, and
a head on each.

Training, loading and the check before either go through here, so that a run is put together again
as it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from encore import catalogue
from encore.encoder.encoder import Encoder, Shape
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.errors import Complaints, Problem, RecipeError
from encore.files import canonical
from encore.model.parameters import seeded_initialisers
from encore.model.task_model import Branch, TaskModel
from encore.types import LabelSpace, Spec

__all__ = ["Locate", "TaskSpec", "assemble", "with_location"]

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
    branches = {
        task: complaints.of(_branch, task, part, encoder, shape, seed, told)
        for task, part in parts.items()
    }
    complaints.raise_any()
    whole = {task: branch for task, branch in branches.items() if branch is not None}
    shared = complaints.of(
        with_location, told, ("sharing",), catalogue.build, "sharing", sharing, whole, _alike(parts)
    ) or {t: [b] for t, b in whole.items()}
    heads = {}
    for task, part in parts.items():
        if part.same_as is None:
            head = complaints.of(
                _head, task, part, sum(_width(branch) for branch in shared[task]), seed, told
            )
            if head is not None:
                heads[task] = head
    complaints.of(_share_layers, heads, told)
    for task, part in parts.items():
        if part.same_as is not None:
            complaints.of(_borrow, task, part, parts, heads, shared, told)
    complaints.raise_any()
    return {
        task: TaskModel(shared[task], heads[part.same_as or task], n_sides=_sides(part))
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
    """The task's pooling on the encoder. One that reads pairs in a way of its own lies behind
    that.
    """
    with seeded_initialisers(seed, "initialisation", task, "pooling"):
        pooling = with_location(
            told, ("tasks", task, "pooling"), catalogue.build, "pooling", part.pooling, shape
        )
        pairing = with_location(told, ("tasks", task, "pair"), catalogue.build, "pairs", part.pair)
        if hasattr(pairing, "attend"):
            pooling = with_location(
                told, ("tasks", task, "pair"), pairing.attend, pooling, shape.width
            )
    return Branch(encoder, pooling)


def _width(branch: Branch) -> int:
    return branch.pooling.width


def _alike(parts: Mapping[str, TaskSpec]) -> dict[str, str]:
    """Task → the first task with the same pooling. Whether a default is written out makes no
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


def _layer_between(part: TaskSpec) -> Any:
    return (
        catalogue.specify("pairs", part.pair).to_json()
        if hasattr(catalogue.find("pairs", part.pair["name"]), "attend")
        else None
    )


def _head(task: str, part: TaskSpec, width: int, seed: int, told: Locate) -> Any:
    steps = ("tasks", task, "head")
    with seeded_initialisers(seed, "initialisation", task, "head"):
        head = with_location(
            told, steps, catalogue.build, "heads", part.head, width, part.labels.n_scores
        )
    kinds, name = getattr(head, "kinds", (part.labels.kind,)), part.head["name"]
    if part.labels.kind not in kinds:
        raise RecipeError(
            told(
                steps,
                f"'{name}' is for {' and '.join(kinds)} tasks, and this is a "
                f"{part.labels.kind} task. Choose another head.",
            )
        )
    sides = _sides(part)
    wanted = getattr(head, "n_sides", 1)
    if sides != wanted:
        ways = "siamese or siamese_attend" if wanted == 2 else "cross"
        gives = (
            f"'{name}' reads {_texts(wanted)}, and pair '{part.pair['name']}' gives it "
            f"{_texts(sides)}"
        )
        raise RecipeError(told(steps, f"{gives}. Write pair: {ways}, or choose another head."))
    return head


def _texts(n_sides: int) -> str:
    return "a vector of each text" if n_sides == 2 else "one vector"


def _share_layers(heads: Mapping[str, Any], told: Locate) -> None:
    """Heads of one suite get one object for the layers that they have in common: that of the
    first.
    """
    firsts: dict[str, tuple[str, Any]] = {}
    for task, head in heads.items():
        if not hasattr(head, "shared"):
            continue
        first, shared = firsts.setdefault(head.suite, (task, head.shared))
        if shared.made_of != head.shared.made_of:
            message = (
                f"shares layers with the head of task '{first}', so their size, dropout "
                f"and the width of what they read must be the same. Set them alike."
            )
            raise RecipeError(told(("tasks", task, "head"), message))
        head.shared = shared


def _borrow(
    task: str,
    part: TaskSpec,
    parts: Mapping[str, TaskSpec],
    heads: Mapping[str, Any],
    shared: Mapping[str, list[Branch]],
    told: Locate,
) -> None:
    """Raises RecipeError where a task cannot have the head of another."""
    owner = str(part.same_as)
    other = parts[owner]
    labels = (
        ()
        if part.labels.kind == "unlabelled"
        else (  # whose loss reads embeddings and no scores
            ("kind", part.labels.kind, other.labels.kind),
            ("number of labels", part.labels.n_scores, other.labels.n_scores),
        )
    )
    differing = [
        name
        for name, mine, theirs in (
            *labels,
            ("number of texts that are read apart", _sides(part), _sides(other)),
            (
                "width of what the head reads",
                sum(map(_width, shared[task])),
                sum(map(_width, shared[owner])),
            ),
        )
        if mine != theirs
    ]
    if differing and owner in heads:
        message = (
            f"cannot have the head of '{owner}': not the same {', '.join(differing)}. "
            f"Give it a head of its own."
        )
        raise RecipeError(told(("tasks", task, "same_as"), message))


def _sides(part: TaskSpec) -> int:
    return catalogue.find("pairs", part.pair["name"]).n_sides


def with_location(
    told: Locate, steps: tuple[str, ...], build: Callable[..., Any], *given: Any
) -> Any:
    """Returns `build(*given)`; its problems are placed at the setting that `steps` lead to."""
    try:
        return build(*given)
    except RecipeError as error:
        raise RecipeError(
            told(steps, replace(problem, setting="") if problem.setting == steps[-1] else problem)
            for problem in error.problems
        ) from None
