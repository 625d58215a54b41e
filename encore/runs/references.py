"""Which run a reference of a recipe means, and what is taken from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from encore import files
from encore.data.table import display_path
from encore.encoder import load
from encore.encoder.load import Pretrained, Source
from encore.errors import Problem, RecipeError, did_you_mean
from encore.model.task_model import TaskModel, encoder_of
from encore.recipe import builtin
from encore.recipe.load import load_recipe, recipe_from
from encore.recipe.reference import RunReference
from encore.recipe.run_spec import RunSpec
from encore.recipe.schema import Recipe
from encore.recipe.seeds import with_seed
from encore.runs.cache import Cache
from encore.runs.contents import damaged_files
from encore.runs.model_folder import read_models, read_parts
from encore.runs.prepared import Prepared, Start

__all__ = ["find_start", "located_encoder", "trained_encoder"]

_STEPS = ("encoder",)


def find_start(
    recipe: Recipe, cache: Cache, prepare: Callable[[Recipe, Cache], Prepared]
) -> tuple[Recipe, Start | None]:
    """The recipe with its reference read, and the run that it starts from; None where its encoder
    is no run's. Raises RecipeError or DataError.
    """
    reference = recipe.encoder
    if not isinstance(reference, RunReference):
        return recipe, None
    found = _referred(recipe, reference)
    if isinstance(found, Path):
        return recipe, _of_folder(recipe, reference, found)
    key = ("start", found.base, repr(found))
    if isinstance(reference.run, str):
        with cache.entering(str(recipe.path(reference.run)), partial(_circle, recipe)):
            run = cache.get_or_make(key, lambda: prepare(found, cache))
    else:
        run = cache.get_or_make(key, lambda: prepare(found, cache))
    task = _task_of(recipe, reference, tuple(run.recipe.tasks))
    if run.recipe.adapter is not None:
        raise RecipeError(recipe.problem(_STEPS, _ADAPTED))
    start = Start(run.name, task, run.recipe.plan.keep, run)
    return recipe.model_copy(update={"encoder": reference.to(run.recipe)}), start


_ADAPTED = (
    "that run trained an adapter, and its encoder is as it was before. Name that encoder, or a "
    "run without an adapter."
)


def _referred(recipe: Recipe, reference: RunReference) -> Recipe | Path:
    """The recipe that a reference means, with the seed and the threads of the run that refers to
    it; or the folder of a run.
    """
    given = reference.run
    if isinstance(given, str):
        folder = recipe.path(given)
        if folder.is_dir():
            return folder
        given = _named(recipe, given)
    found = given if isinstance(given, Recipe) else recipe_from(given, base=recipe.base)
    seed = recipe.seed if reference.seed is None else reference.seed
    found = with_seed(found, seed, threads=found.threads or recipe.threads)
    if reference.at is not None:
        plan = found.plan.model_copy(update={"keep": reference.at})
        found = found.model_copy(update={"plan": plan})
    return found


def _named(recipe: Recipe, given: str) -> Recipe:
    file = recipe.path(given)
    if builtin.is_file(given):
        return load_recipe(file)
    if given in builtin.recipe_names():
        return load_recipe(builtin.recipe_path(given))
    message = f"no recipe, run or variant called '{given}'."
    remedy = "Name a .yaml file, the folder of a run, or a variant of this comparison."
    raise RecipeError(recipe.problem(_STEPS, Problem(message=message, remedy=remedy)))


def _circle(recipe: Recipe, chain: tuple[str, ...]) -> RecipeError:
    message = f"these runs start from each other: {' → '.join(map(display_path, chain))}."
    return RecipeError(recipe.problem(_STEPS, message))


def _of_folder(recipe: Recipe, reference: RunReference, folder: Path) -> Start:
    """The start of a run that is there."""

    def wrong(message: str, remedy: str = "") -> RecipeError:
        return RecipeError(recipe.problem(_STEPS, Problem(message=message, remedy=remedy)))

    if not (folder / "resolved.json").is_file() or not (folder / files.MANIFEST).is_file():
        remedy = "Name the folder of a complete run, or a recipe."
        if (folder / "pretraining.json").is_file():
            remedy = f"A pre-training's encoder is a folder: encoder: {reference.run}/encoder"
        raise wrong(f"'{reference.run}' is no complete run.", remedy)
    if damaged := damaged_files(folder, "run"):
        raise wrong(f"{folder / damaged[0]} is missing, or not as the run wrote it.")
    spec = RunSpec.from_json(files.read_json(folder / "resolved.json"))
    if spec.recipe.adapter is not None:
        raise wrong(_ADAPTED)
    keep = spec.recipe.plan.keep
    if reference.at not in (None, keep):
        raise wrong(f"that run keeps its weights of the {keep} epoch, not of the {reference.at}.")
    if reference.seed not in (None, spec.recipe.seed):
        raise wrong(f"that run has the seed {spec.recipe.seed}.", "Name a recipe, or leave it out.")
    task = _task_of(recipe, reference, tuple(spec.recipe.tasks))
    start = Start(spec.name, task, keep, folder=folder)
    start.model_folder(folder.parent)
    return start


def _task_of(recipe: Recipe, reference: RunReference, tasks: tuple[str, ...]) -> str:
    if reference.task is None:
        return tasks[0]
    if reference.task not in tasks:
        message = f"that run has no task called '{reference.task}'."
        problem = Problem(message=message, remedy=did_you_mean(reference.task, tasks))
        raise RecipeError(recipe.problem(_STEPS, problem))
    return reference.task


def located_encoder(recipe: Recipe, cache: Cache, start: Start | None) -> Source:
    """The encoder of a recipe; of one that starts from a run the files of the encoder that the run
    started from, with the identity of the run. Raises DataError.
    """
    encoder = recipe.encoder
    if isinstance(encoder, str):
        return cache.get_or_make(
            ("encoder", recipe.base, encoder), lambda: load.locate(encoder, base=recipe.base)
        )
    assert start is not None
    if start.run is not None:
        first, before = start.run.recipe, start.run.start
    else:
        assert start.folder is not None
        first, before = load_recipe(start.folder / "recipe.yaml"), None
        if not isinstance(first.encoder, str):
            raise RecipeError(
                recipe.problem(
                    _STEPS,
                    f"the run {start.folder} started from another run itself: name its recipe, "
                    f"{start.folder / 'recipe.yaml'}.",
                )
            )
    base = located_encoder(first, cache, before)
    return replace(base, name=str(encoder), digest=start.identity)


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
