"""Takes over what other runs made: checks that it fits, and fills it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from encore.encoder.adapted import AdaptedResidual
from encore.encoder.encoder import Encoder
from encore.encoder.load import Pretrained, Source
from encore.errors import Complaints, Problem, RecipeError
from encore.model.assembly import TaskSpec
from encore.model.task_model import TaskModel, encoder_of
from encore.recipe.schema import Recipe
from encore.runs.adapter_folder import fill_adapter, learned
from encore.runs.compatibility import build_skeletons
from encore.runs.model_folder import read_models, read_parts
from encore.runs.prepared import Start
from encore.types import Head

__all__ = ["begin_with", "check_heads", "trained_encoder"]


def check_heads(
    recipe: Recipe, starts: Sequence[Start], parts: Mapping[str, TaskSpec], source: Source
) -> None:
    """Raises RecipeError where a task cannot begin with the head of another run: other labels, or
    vectors of another size. parts: of this run's models. source: its encoder.
    """
    heads = [one for one in starts if one.place.part == "head"]
    models = build_skeletons(parts, recipe, source) if heads else {}
    complaints = Complaints()
    for start in heads:
        task = list(recipe.tasks)[start.place.index]
        labels, shapes = _head_of(start)
        own = parts[task].labels.names
        mine = {name: each.shape for name, each in _state(models[task].head).items()}
        wider = bool(labels) and own[: len(labels)] == labels
        if not (wider or own == labels) or not _fits(shapes, mine, len(labels), len(own)):
            message = f"the head of '{start.task}' in that run does not fit this task: it has "
            message += f"the labels {', '.join(labels) or 'none'}, and this task "
            message += f"{', '.join(own) or 'none'}."
            if labels == own:
                message = f"the head of '{start.task}' in that run reads vectors of another size."
            elif wider:
                message = f"the head of '{start.task}' in that run cannot be widened by "
                message += f"{', '.join(own[len(labels) :])}."
            problem = Problem(message=message, remedy="Remove head_from: the head is new then.")
            complaints.errors.append(RecipeError(recipe.problem(start.place.steps, problem)))
    complaints.raise_any()


def _head_of(start: Start) -> tuple[tuple[str, ...], dict[str, torch.Size]]:
    """The labels of a run's task, and the shapes of its head's weights."""
    if start.run is not None:
        run = start.run
        head = build_skeletons(run.parts, run.recipe, run.source)[start.task].head
        shapes = {name: each.shape for name, each in _state(head).items()}
        return run.parts[start.task].labels.names, shapes
    folder = start.model_folder(Path())
    assembly, parts = read_parts(folder)
    head = read_models(folder, assembly, parts)[start.task].head
    shapes = {name: each.shape for name, each in _state(head).items()}
    return parts[start.task].labels.names, shapes


def _fits(
    theirs: Mapping[str, torch.Size], mine: Mapping[str, torch.Size], n_theirs: int, n_mine: int
) -> bool:
    """True where each weight has the same shape in both heads, or a row for each label, of which
    this one has more.
    """
    return theirs.keys() == mine.keys() and all(
        shape == mine[name]
        or (
            n_mine > n_theirs
            and shape[:1] == (n_theirs,)
            and tuple(mine[name]) == (n_mine, *shape[1:])
        )
        for name, shape in theirs.items()
    )


def _begin_head(mine: TaskModel, trained: TaskModel) -> None:
    """Fill in the weights of a trained head, and those of the poolings that it reads, where these
    are alike. Labels that it did not have keep the rows that they were given.
    """
    with torch.no_grad():
        state = _state(mine.head)
        for name, weights in _state(trained.head).items():
            state[name][: len(weights)].copy_(weights) if weights.ndim else state[name].copy_(
                weights
            )
        for own, their in zip(mine.branches, trained.branches, strict=False):
            pooling, theirs = (cast(nn.Module, each.pooling) for each in (own, their))
            found = theirs.state_dict()
            shapes = {name: each.shape for name, each in pooling.state_dict().items()}
            if {name: each.shape for name, each in found.items()} == shapes:
                pooling.load_state_dict(found)


def _state(head: Head) -> dict[str, Tensor]:
    return cast(nn.Module, head).state_dict()


def trained_encoder(base: Pretrained, folder: Path, task: str) -> Pretrained:
    """The encoder, and the pooler where the run's pooling has one, that a run trained. base: the
    encoder that the run started from. folder: of its model.
    """
    assembly, parts = read_parts(folder)
    model: TaskModel = read_models(folder, assembly, parts)[task]
    branch = model.branches[0]  # beside a frozen one, or one of its own, the trained or shared one
    base.encoder.load_state_dict(encoder_of(branch).state_dict())
    pooler = branch.pooling.pretrained()
    if len(pooler) != 2 or base.shape.pooler is None:
        return base
    dense = nn.Linear(base.shape.width, base.shape.width)
    with torch.no_grad():
        dense.weight.copy_(pooler[0])
        dense.bias.copy_(pooler[1])
    return replace(base, shape=replace(base.shape, pooler=dense))


def begin_with(
    models: Mapping[str, TaskModel], starts: Sequence[Start], runs: Path, source: Source
) -> None:
    """Fill in the adapters and the heads of the runs that a run starts from. runs: where they lie
    that have no folder of their own. source: the encoder.
    """
    branches = [branch for model in models.values() for branch in model.branches]
    encoders = {id(each): each for each in map(encoder_of, branches)}.values()
    for start in starts:
        if start.place.part == "head":
            _begin_head(list(models.values())[start.place.index], _trained(start, runs))
        elif start.place.part in ("adapter", "adapter_from"):
            weights = _learned(start, runs, source)
            for encoder in encoders:
                _begin(encoder, start, weights)


def _trained(start: Start, runs: Path) -> TaskModel:
    folder = start.model_folder(runs)
    return read_models(folder, *read_parts(folder))[start.task]


def _learned(start: Start, runs: Path, source: Source) -> Mapping[str, Tensor]:
    """The adapter to begin with: its weights by their names in the encoder."""
    if start.adapter is not None:
        return start.adapter.weights(source)
    return learned(cast(Encoder, encoder_of(_trained(start, runs).branches[0])))


def _begin(encoder: Any, start: Start, weights: Mapping[str, Tensor]) -> None:
    if start.place.part == "adapter_from":
        if encoder.own is not None:  # a frozen encoder beside it has none
            fill_adapter(encoder, weights, start.folder or Path(start.name))
        return
    for name, fused in _adapters(encoder).items():
        prefix = f"{name}.adapter."
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        fused.load_adapter(start.place.index, own)


def _adapters(encoder: Any) -> dict[str, Any]:
    """The adapters in an encoder by their places."""
    return {
        name: module.adapter
        for name, module in encoder.named_modules()
        if isinstance(module, AdaptedResidual)
    }
