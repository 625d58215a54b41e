"""Prepares a run: reads, checks and tokenizes what a recipe names, and computes the run's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn

from encore.data.dataset import TaskData
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.encoder.dropout import Dropout
from encore.encoder.dropout_rates import drops
from encore.encoder.encoder import Shape
from encore.errors import Complaints, Problem, RecipeError
from encore.model.assembly import TaskSpec, assemble
from encore.model.selection import freezes_encoder
from encore.model.task_model import TaskModel
from encore.recipe.schema import Recipe
from encore.runs.cache import Cache
from encore.runs.compatibility import (
    NotApplicable,
    adapter_of,
    build_skeletons,
    check_kept_epoch,
    check_selection,
    pair_of,
    parts_of,
    phases_of,
    pooling_of,
)
from encore.runs.default_plan import complete_plan
from encore.runs.hardware import division_of, precision_of
from encore.runs.identity import run_spec
from encore.runs.inputs import read_inputs
from encore.runs.prepared import Prepared, Start
from encore.runs.references import check_encoders, find_starts
from encore.runs.take_over import begin_with, check_heads, trained_encoder
from encore.runs.task_streams import CachedTokenizer, build_stream, tokens_of_a_batch
from encore.runs.teachers import notes_on_teachers
from encore.training.state import freeze
from encore.training.streams import Stream

if TYPE_CHECKING:
    from encore.types import Phase

__all__ = ["build_models", "find_conflicts", "prepare", "with_all_problems"]

Read = TypeVar("Read")


def prepare(recipe: Recipe, cache: Cache | None = None) -> Prepared:
    """Read, check and tokenize; no weights are loaded. Raises RecipeError or DataError with all
    problems that were found; NotApplicable where all of them are that its parts do not go together.
    """
    cache = cache or Cache()
    recipe, starts = find_starts(recipe, cache, prepare)
    data, source, shape = _valid_inputs(recipe, cache, starts)
    check_encoders(recipe, starts, source)
    tokenizer = cache.get_or_make(
        ("tokenizer", source.folder),
        lambda: TextTokenizer(source.folder, vouched=source.vouched),
    )
    pairs = {name: pair_of(recipe, name) for name in recipe.tasks}
    poolings = {name: pooling_of(task, source) for name, task in recipe.tasks.items()}
    streams = _build_streams(
        recipe, data, pairs, CachedTokenizer(tokenizer, source.name, shape, cache)
    )
    recipe, decided = complete_plan(recipe, streams, shape.width)
    plan = phases_of(recipe)
    check_kept_epoch(recipe, plan)
    parts = parts_of(recipe, {name: each.labels for name, each in data.items()}, poolings)
    check_heads(recipe, starts, parts, source)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = precision_of(recipe.precision)
    threads, shares = division_of(recipe, device, tokens_of_a_batch(recipe, streams))
    # One process is left unsaid, so that its runs keep the names that they have always had.
    used = {"precision": precision, "threads": threads, "shares": shares if shares > 1 else None}
    spec = run_spec(
        recipe.model_copy(update=used),
        data,
        poolings,
        encoder=source.digest,
        tokenizer=tokenizer.digest,
        device=device,
        starts={(one.place.part, one.place.index): one.identity for one in starts},
    )
    return Prepared(
        recipe=recipe,
        data=data,
        streams=streams,
        source=source,
        tokenizer=tokenizer,
        precision=precision,
        threads=threads,
        shares=shares,
        device=device,
        plan=plan,
        poolings=poolings,
        pairs=pairs,
        cut=_count_cut(streams),
        spec=spec,
        starts=starts,
        decided=decided,
        untrained=_untrained_tasks(recipe, plan, parts, source),
        without_dropout=_terms_without_dropout(recipe, streams, parts, source),
        taught=tuple(notes_on_teachers(starts, data)),
    )


def find_conflicts(recipe: Recipe, cache: Cache | None = None) -> tuple[Problem, ...]:
    """The conflicts of a recipe with its files and its encoder, also of a recipe whose wrong
    settings were removed. Nothing is tokenized.
    """
    complaints, cache = Complaints(), cache or Cache()
    with complaints.collecting():
        recipe, starts = find_starts(recipe, cache, prepare)
        read_inputs(recipe, cache, complaints, complaints, starts)
    return complaints.problems


def with_all_problems(read: Callable[[], Read]) -> Read:
    """Return `read()`. If the recipe is invalid, check the rest of it against its files and its
    encoder, and raise all problems together.
    """
    try:
        return read()
    except RecipeError as error:
        if error.partial_recipe is None:
            raise
        known = set(map(_content, error.problems))
        more = [one for one in find_conflicts(error.partial_recipe) if _content(one) not in known]
        raise RecipeError([*error.problems, *more]) from None


def _content(problem: Problem) -> Problem:
    """The problem without its place: a task that does not exist is found by two checks."""
    return replace(problem, where="", line=None, setting="", task="")


def build_models(prepared: Prepared, runs: Path | None = None) -> dict[str, TaskModel]:
    """Load the encoder and build the tasks' models around it. New weights are drawn from the
    recipe's seed. runs: where the run lies that the encoder comes from.
    """
    pretrained = load.load_encoder(prepared.source)
    if (start := prepared.start) is not None:
        folder = start.model_folder(runs or Path())
        pretrained = trained_encoder(pretrained, folder, start.task)
    pretrained.encoder.dtype = torch.bfloat16 if prepared.precision == "bf16" else torch.float32
    models = assemble(
        prepared.parts,
        prepared.recipe.sharing,
        pretrained.encoder,
        pretrained.shape,
        seed=prepared.recipe.seed,
        adapter=adapter_of(prepared.recipe),
    )
    begin_with(models, prepared.starts, runs or Path(), prepared.source)
    return {name: model.to(prepared.device) for name, model in models.items()}


def _valid_inputs(
    recipe: Recipe, cache: Cache, starts: Sequence[Start]
) -> tuple[dict[str, TaskData], load.Source, Shape]:
    """The rows, the encoder and its shape. Raises like `prepare`."""
    complaints, unfit = Complaints(), Complaints()
    inputs = read_inputs(recipe, cache, complaints, unfit, starts)
    with complaints.collecting():
        check_selection(recipe, inputs.data)
    only_unfit = all(isinstance(error, RecipeError) for error in unfit.errors)
    if unfit.errors and only_unfit and not complaints.errors:
        raise NotApplicable(unfit.problems)
    complaints.errors += unfit.errors
    complaints.raise_any()
    assert inputs.source is not None
    assert inputs.shape is not None
    return inputs.data, inputs.source, inputs.shape


def _build_streams(
    recipe: Recipe,
    data: Mapping[str, TaskData],
    pairs: Mapping[str, Mapping[str, Any]],
    tokenizer: CachedTokenizer,
) -> dict[str, Stream]:
    """Task → its stream. Raises DataError or RecipeError with the problems of all tasks."""
    complaints, streams = Complaints(), {}
    for name in recipe.tasks:
        with complaints.collecting():
            streams[name] = build_stream(recipe, data[name], pairs[name], tokenizer)
    complaints.raise_any()
    return streams


def _count_cut(streams: Mapping[str, Stream]) -> dict[str, dict[str, tuple[int, int]]]:
    """Task → split → (rows cut to the maximum length, rows)."""
    return {
        name: {
            split: (rows.n_cut, len(rows))
            for split, rows in {"train": stream.train, **stream.dev}.items()
        }
        for name, stream in streams.items()
    }


def _untrained_tasks(
    recipe: Recipe, plan: list[Phase], parts: Mapping[str, TaskSpec], source: load.Source
) -> tuple[str, ...]:
    """The tasks without a weight to train."""
    if not all(map(freezes_encoder, plan)):
        return ()
    models = build_skeletons(parts, recipe, source)
    freeze(models, plan[0])
    return tuple(name for name, model in models.items() if not _has_trainable_weights(model))


def _terms_without_dropout(
    recipe: Recipe,
    streams: Mapping[str, Stream],
    parts: Mapping[str, TaskSpec],
    source: load.Source,
) -> dict[str, list[str]]:
    """Task → its losses that compare two readings of a text that no dropout tells apart."""
    asking = {
        task: {name: loss.rereads for name, (_, loss) in stream.losses.items() if loss.rereads}
        for task, stream in streams.items()
    }
    if not any(asking.values()) or drops(source.config):
        return {}
    found, models = {}, build_skeletons(parts, recipe, source)
    for task, terms in asking.items():
        read = _readings_with_dropout(models[task])
        if alike := [name for name, what in terms.items() if what not in read]:
            found[task] = alike
    return found


def _readings_with_dropout(model: TaskModel) -> set[str]:
    """The outputs that differ between two readings though the encoder has no dropout."""
    if not any(isinstance(part, Dropout) and part.p > 0 for part in model.modules()):
        return set()
    width = sum(branch.pooling.width for branch in model.branches)
    vectors = torch.empty(1, width, device="meta")
    passed_on = model.head.embed(vectors) is vectors  # the head's dropout comes after it
    return {"scores"} if passed_on else {"scores", "embeddings"}


def _has_trainable_weights(model: TaskModel) -> bool:
    """True if a pooling or the head has weights to train."""
    modules = (model.head, *(branch.pooling for branch in model.branches))
    return any(
        parameter.requires_grad
        for module in modules
        for parameter in cast(nn.Module, module).parameters()
    )
