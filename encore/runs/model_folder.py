"""The model of a run on disk: weights, tokenizer, encoder configuration, and how they go together.

weights.safetensors holds all tasks, with shared parts once; where each task is kept at its own
best epoch there is a weights-TASK.safetensors for each instead. model.json says how to build the
models, config.json is the encoder's. Everything `encore.load` needs is in this folder, but for the
encoder of a run with an adapter: model.json has its name and digest.
"""

from __future__ import annotations

import json
import operator
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from encore import catalogue, files
from encore.data.columns import Columns
from encore.data.table import display_path
from encore.encoder import load as encoders
from encore.encoder.weights import fill, read_tensors
from encore.errors import DataError, TrainingError
from encore.model.assembly import TaskSpec, assemble
from encore.model.parameters import first_names, unique_state
from encore.model.selection import base_names
from encore.model.task_model import TaskModel, encoder_of
from encore.runs.compatibility import adapter_of, head_of
from encore.runs.contents import MODEL_FILES, WEIGHTS, weights_of_task
from encore.runs.places import run_folder
from encore.runs.prepared import Prepared
from encore.types import LabelSpace

__all__ = ["drop_model", "fill_models", "read_models", "read_parts", "save_model"]

_CONFIG, _ASSEMBLY, _ = MODEL_FILES


def save_model(
    folder: Path, prepared: Prepared, models: Mapping[str, TaskModel], chosen: Sequence[str]
) -> None:
    """Replace the model folder by one with the current weights of the tasks `chosen`. Where these
    are not all tasks, the weights of the others are copied from the folder that is replaced.
    """
    aside = folder.parent / ".model.new"
    files.remove(aside)
    with files.commit_folder(aside) as being_written:
        apart = prepared.recipe.plan.keep == "best_per_task" and len(models) > 1
        for task, model in models.items():
            own = being_written / weights_of_task(task)
            if apart and task in chosen:
                safetensors.torch.save_file(_learned({task: model}), own)
            elif apart:
                shutil.copyfile(folder / own.name, own)
        if not apart:
            safetensors.torch.save_file(_learned(models), being_written / WEIGHTS)
        prepared.tokenizer.save(being_written)
        (being_written / _CONFIG).write_text(
            json.dumps(dict(prepared.source.config), indent=2) + "\n", encoding="utf-8"
        )
        (being_written / _ASSEMBLY).write_text(
            json.dumps(_assembly(prepared), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    files.remove(folder)
    os.rename(aside, folder)


def drop_model(run: Path) -> None:
    """Remove the weights of a complete run. Killed in between, the run counts as incomplete, and
    the same command trains it again.
    """
    with files.locked(run, TrainingError(f"{run}: another process is training this run.")):
        kept = [
            run / name for name in files.read_json(run / files.MANIFEST) if name[:6] != "model/"
        ]
        (run / files.MANIFEST).unlink()
        files.remove(run / "model")
        files.write_manifest(run, kept)


def _learned(models: Mapping[str, TaskModel]) -> dict[str, torch.Tensor]:
    """The weights of these models without those of an encoder that adapters were put into."""
    fixed = base_names(models)
    return {
        name: tensor.contiguous().cpu()
        for name, tensor in unique_state(models).items()
        if name not in fixed
    }


def _columns(columns: Columns) -> dict[str, Any]:
    """The columns; a group is a key only where there is one."""
    stored = asdict(columns) | {"notes": list(map(str, columns.notes))}
    return {key: entry for key, entry in stored.items() if key != "group" or entry is not None}


def _assembly(prepared: Prepared) -> dict[str, Any]:
    tasks = {}
    for name, data in prepared.data.items():
        recipe = prepared.recipe.tasks[name]
        tasks[name] = {
            "labels": asdict(data.labels),
            "columns": _columns(data.columns),
            "normalise": data.normalise,
            "metrics": list(data.metrics),
            "pooling": dict(prepared.poolings[name]),
            "head": dict(head_of(prepared.recipe, name)),
            "pair": dict(prepared.pairs[name]),
            "same_as": recipe.same_as,
            "max_length": recipe.max_length,
            "truncation": recipe.truncation,
        }
    whole = prepared.recipe
    named = str(whole.encoder)
    encoder = {
        "encoder": os.path.basename(os.path.abspath(named)) if Path(named).is_dir() else named,
        "encoder_digest": prepared.source.digest,
        "precision": prepared.precision,
        "sharing": dict(whole.sharing),
    }
    if (adapter := adapter_of(whole)) is not None:
        folder = whole.path(named)
        encoder |= {
            "adapter": catalogue.specify("adapters", adapter).to_json(),
            "encoder": str(folder) if folder.is_dir() else named,
        }
        if fused := prepared.fused:
            encoder |= {"fused": list(fused)}
        if (start := prepared.start) is not None:
            own = None if start.folder is None else str(start.folder.absolute())
            encoder |= {"encoder_run": {"name": start.name, "task": start.task, "folder": own}}
    return {**encoder, "seed": whole.seed, "tasks": tasks}


def read_parts(folder: Path) -> tuple[dict[str, Any], dict[str, TaskSpec]]:
    """The contents of model.json, and the parts of each task's model. Raises KeyError or TypeError
    where another version of Encore wrote it.
    """
    assembly = files.read_json(folder / _ASSEMBLY)
    parts = {}
    for name, spec in assembly["tasks"].items():
        labels = spec["labels"]
        space = LabelSpace(labels["kind"], tuple(labels["names"]), labels["ordered"])
        parts[name] = TaskSpec(space, spec["pooling"], spec["head"], spec["pair"], spec["same_as"])
    return assembly, parts


def read_models(
    folder: Path,
    assembly: Mapping[str, Any],
    parts: Mapping[str, TaskSpec],
    whole: Mapping[str, Callable[[], dict[str, torch.Tensor]]] | None = None,
) -> dict[str, TaskModel]:
    """Task → its model with the saved weights. whole: in the place of the folder's weight files,
    all tensors of each, with those of an encoder that adapters were put into. Raises DataError
    where a tensor is missing or left over, or where the encoder that adapters belong to is not to
    be found; RecipeError where this version cannot build a part.
    """
    config, adapter = files.read_json(folder / _CONFIG), assembly.get("adapter")
    precision = torch.bfloat16 if assembly["precision"] == "bf16" else torch.float32
    alone = adapter is None or whole is not None
    base = None if alone else _base(folder, assembly, config)

    def built() -> dict[str, TaskModel]:
        encoder = encoders.build_encoder(config) if base is None else base
        encoder.dtype = precision
        return assemble(
            parts,
            assembly["sharing"],
            encoder,
            encoder.shape,
            seed=assembly["seed"],
            adapter=adapter,
        )

    def filled(models: dict[str, TaskModel], name: str) -> dict[str, TaskModel]:
        fill_models(models, folder / name, None if whole is None else whole[name]())
        return models

    if (folder / WEIGHTS).exists() if whole is None else WEIGHTS in whole:
        return filled(built(), WEIGHTS)
    # Each task was kept at its own epoch, so even parts that were shared in training now differ.
    models: dict[str, TaskModel] = {}
    for name in parts:
        models |= filled({name: built()[name]}, weights_of_task(name))
    return models


def _base(folder: Path, assembly: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """The encoder that the adapters of a run were trained in. Raises DataError where it is not to
    be found, or is another one.
    """
    where = display_path(folder / _ASSEMBLY)
    if (first := assembly.get("encoder_run")) is not None:
        return _of_first_run(folder, where, first)
    name, digest = operator.itemgetter("encoder", "encoder_digest")(assembly)
    remedy = "Put that encoder there: a run with an adapter keeps what it learned and no more."
    try:
        source = encoders.locate(name)
    except DataError as error:
        message = f"{where}: its adapters belong to the encoder '{name}', which cannot be read"
        raise DataError(f"{message} ({error.lines[0].rstrip('.')}). {remedy}") from None
    if source.digest != digest:
        raise DataError(
            f"{where}: its adapters belong to another encoder than '{name}' (sha256 "
            f"{digest[:12]}…, got {source.digest[:12]}…). {remedy}"
        )
    return encoders.load_encoder(replace(source, config=config)).encoder


def _of_first_run(folder: Path, where: str, first: Mapping[str, Any]) -> Any:
    """The encoder that a run trained, which lies beside this one, or in the folder that it was
    named by.
    """
    name, task, place = operator.itemgetter("name", "task", "folder")(first)
    run = run_folder(folder.parents[1], name) if place is None else Path(place)
    inside = run / "model"
    if not inside.is_dir():
        raise DataError(
            f"{where}: its adapters belong to the encoder of the run {display_path(run)}, which "
            f"is not there, or keeps no weights. Put it there, or train it again."
        )
    return encoder_of(read_models(inside, *read_parts(inside))[task].branches[0])


def fill_models(
    models: Mapping[str, TaskModel], file: Path, whole: dict[str, torch.Tensor] | None = None
) -> None:
    """Copy weights in; the file has those of a shared part once. whole: its tensors, and those of
    the encoder that adapters were put into. Raises DataError where any are missing or left over.
    """
    weights, names = read_tensors(file) if whole is None else whole, first_names(models)
    fixed = base_names(models) if whole is None else frozenset[str]()
    weights |= {name: each for name, each in unique_state(models).items() if name in fixed}
    left = sorted(set(weights) - set(names.values()))
    if left:
        raise DataError(
            f"{display_path(file)}: tensor '{name}' has no place in this model." for name in left
        )
    for task, model in models.items():
        mine = {
            name.removeprefix(f"{task}."): first
            for name, first in names.items()
            if name.startswith(f"{task}.")
        }
        fill(
            model, {name: weights[first] for name, first in mine.items() if first in weights}, file
        )
