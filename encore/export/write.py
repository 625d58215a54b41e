"""The files of an export: configuration and weights under the names of whoever loads them,
tokenizer, card.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import safetensors.torch
import torch
from torch import Tensor

from encore import catalogue, files
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.encoder.adapted import merged
from encore.encoder.encoder import Encoder
from encore.errors import RecipeError
from encore.export import sentence, stock
from encore.export.base_model import base_of
from encore.export.card import CardDetails, card
from encore.export.tokenizer import cannot_cut, left_to_model, write_tokenizer
from encore.model.task_model import Branch, TaskModel
from encore.recipe.load import load_recipe
from encore.runs.folder import read_result
from encore.runs.loaded_task import LoadedTask
from encore.runs.predict import Model

__all__ = ["WrittenExport", "expressible", "label_names", "write_export"]

Settings: TypeAlias = "Mapping[str, Any]"


@dataclass(frozen=True)
class WrittenExport:
    """An export that was written and not yet compared. made_of: its class. limits: those of this
    export, for the card.
    """

    folder: Path
    to: str
    made_of: str
    own_class: bool
    limits: tuple[str, ...]


def expressible(run: Path, task: LoadedTask, to: str) -> bool:
    """True; raises RecipeError where `to` has nothing that would compute what this run does."""
    if to == "hf":
        return True
    lead = f"--to {to}: task '{task.name}' of {run}"
    if len(task.model.branches) > 1:
        raise RecipeError(f"{lead} has several encoders, and a folder there has one. Use --to hf.")
    if task.columns.text_pair and not task.apart:
        raise RecipeError(
            f"{lead} reads two texts together, so it has no vector of a text. Use --to hf, or "
            f"train with pair: siamese."
        )
    if _has_layers(_adapter(run)):
        raise RecipeError(
            f"{lead} has an adapter, that is new layers in its encoder, and no class there has "
            f"them. Use --to hf, or train with adapter: lora."
        )
    sentence.modes_of(_assembly(run, task.name)["pooling"])
    _last(run, task)
    return True


def _last(run: Path, task: LoadedTask) -> tuple[Tensor, Tensor] | None:
    """The weight and bias of the layer after the pooling; None without one."""
    branch: Any = task.model.branches[0]
    return (
        sentence.layer_of(
            task.model.head, _assembly(run, task.name)["head"]["name"], branch.pooling.width
        )
        if task.apart
        else None
    )


def write_export(
    model: Model, task: LoadedTask, to: str, folder: Path, *, name: str, rounding: float = 0.0
) -> WrittenExport:
    """Write every file of an export into a folder that exists and is empty. rounding: how far the
    run's own precision is from float32.
    """
    run = model.folder
    config, assembly = files.read_json(run / "model" / "config.json"), _assembly(run, task.name)
    adapter = _adapter(run)
    learned = _merged(task.model) if _merges(adapter) else task.model
    weights = {key: value.contiguous() for key, value in learned.state_dict().items()}
    if to == "hf":
        own_class = _needs_own_class(task, config, assembly, adapter.get("name", ""))
        if own_class:
            assembly |= _own_settings(model, task)
        made_of, inputs = (_own if own_class else _stock)(
            folder, config, assembly, weights, _labels(task)
        )
    else:
        own_class = False
        made_of, inputs = _encoder_alone(folder, config, weights)
        _write_sentence_modules(folder, run, task, assembly, weights)
    write_tokenizer(folder, model.tokenizer, task, config, to=to, inputs=inputs)
    limits = tuple(_limits(task, to, rounding))
    details = CardDetails(name, made_of, to, own_class, limits, assembly["head"]["name"])
    base = base_of(load_recipe(run / "recipe.yaml"))
    files.write(folder / "README.md", card(read_result(run), task, base, details).encode())
    return WrittenExport(folder, to, made_of, own_class, limits)


def _needs_own_class(task: LoadedTask, config: Settings, assembly: Settings, adapter: str) -> bool:
    """True if no class of transformers computes the same."""
    obstacle = stock.obstacle(
        config,
        assembly["pooling"],
        assembly["head"],
        adapter=adapter,
        n_encoders=len(task.model.branches),
        in_one_row=not left_to_model(task, "hf"),
    )
    return bool(obstacle)


def _own_settings(model: Model, task: LoadedTask) -> dict[str, Any]:
    """The settings that only Encore's own class has."""
    several = len(task.model.branches) > 1
    sharing = files.read_json(model.folder / "model" / "model.json")["sharing"]
    adapter = _adapter(model.folder)
    return {
        "sharing": sharing if several else None,
        "adapter": adapter if _has_layers(adapter) else None,
        "reading": _reading(task, model.tokenizer) if left_to_model(task, "hf") else None,
    }


def _write_sentence_modules(
    folder: Path, run: Path, task: LoadedTask, assembly: Settings, weights: Settings
) -> None:
    encoder: Any = task.model.branches[0].encoder
    sentence.write_modules(
        folder,
        sentence.modes_of(assembly["pooling"]),
        encoder.shape.width,
        task.max_length,
        weights,
        last=_last(run, task),
        similarity=sentence.SIMILARITY.get(assembly["head"]["name"], "cosine"),
    )


def _stock(
    folder: Path, config: Settings, assembly: Settings, weights: Settings, labels: Settings
) -> tuple[str, tuple[str, ...]]:
    from transformers import AutoModelForSequenceClassification

    pooling, head = (assembly[part] for part in ("pooling", "head"))
    dropout = {
        "classifier_dropout": head.get(
            "dropout", catalogue.settings("heads", head["name"])["dropout"].default
        )
    }
    return _as_huggingface(
        folder,
        AutoModelForSequenceClassification,
        config,
        stock.as_pooler(pooling, head, weights),
        stock.HEADS[config["model_type"]],
        {**labels, **dropout},
    )


def _encoder_alone(
    folder: Path, config: Settings, weights: Settings
) -> tuple[str, tuple[str, ...]]:
    from transformers import AutoModel

    return _as_huggingface(folder, AutoModel, config, weights, {}, {})


def _as_huggingface(
    folder: Path,
    auto: Any,
    config: Settings,
    weights: Settings,
    heads: Mapping[str, str],
    settings: Settings,
) -> tuple[str, tuple[str, ...]]:
    """config.json and model.safetensors as the Auto class's own class for this family has them:
    (its name, what it takes).
    """
    from transformers import AutoConfig

    there = AutoConfig.for_model(
        config["model_type"], **stock.architecture_settings(config), **settings
    )
    with torch.device("meta"):
        empty = auto.from_config(there)
    shapes = {key: tuple(value.shape) for key, value in empty.state_dict().items()}
    (words,) = [
        f"{name}.weight"
        for name, module in empty.named_modules()
        if module is empty.get_input_embeddings()
    ]
    _save(
        folder,
        there,
        type(empty).__name__,
        stock.stock_weights(
            encoders.family(config["model_type"]), shapes, weights, heads, words=words
        ),
    )
    return type(empty).__name__, _inputs(type(empty))


def _own(
    folder: Path, config: Settings, assembly: Settings, weights: Settings, labels: Settings
) -> tuple[str, tuple[str, ...]]:
    from encore.hf import EncoreConfig, EncoreForSequenceClassification

    encoder = {"model_type": config["model_type"], **stock.architecture_settings(config)}
    own = (assembly[part] for part in ("pooling", "head", "sharing", "reading", "adapter"))
    there = EncoreConfig(encoder, *own, pad_token_id=config.get("pad_token_id"), **labels)
    _save(
        folder,
        there,
        EncoreForSequenceClassification.__name__,
        {f"network.{key}": value for key, value in weights.items()},
    )
    return EncoreForSequenceClassification.__name__, _inputs(EncoreForSequenceClassification)


def _reading(task: LoadedTask, tokenizer: TextTokenizer) -> dict[str, Any]:
    """The settings with which the exported class makes its rows itself (`encore.hf.PairReader`)."""
    templates = [asdict(tokenizer.templates[pair]) for pair in (False, True)]
    return {
        "pair": dict(task.pair),
        "max_length": task.max_length,
        "truncation": task.truncation,
        "templates": templates,
    }


def _save(folder: Path, config: Any, made_of: str, weights: Mapping[str, Any]) -> None:
    config.architectures, config.dtype = [made_of], "float32"
    config.save_pretrained(folder)
    safetensors.torch.save_file(
        dict(weights), folder / "model.safetensors", metadata={"format": "pt"}
    )


def _inputs(made_of: Any) -> tuple[str, ...]:
    taken = inspect.signature(made_of.forward).parameters
    return tuple(
        name for name in ("input_ids", "token_type_ids", "attention_mask") if name in taken
    )


def _labels(task: LoadedTask) -> dict[str, Any]:
    names = label_names(task)
    problem = {"regression": "regression", "multilabel": "multi_label_classification"}.get(
        task.labels.kind, "single_label_classification"
    )
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": problem,
    }


def label_names(task: LoadedTask) -> tuple[str, ...]:
    """Of a regression task the column that it predicts."""
    return task.labels.names or (task.columns.label or "score",)


def _limits(task: LoadedTask, to: str, rounding: float) -> Iterator[str]:
    option = " (here with `truncation=True`)" if to == "hf" else ""
    if left_to_model(task, to):
        whose = "two texts together" if task.model.n_sides == 1 else "texts"
        yield (
            f"{whose} longer than {task.max_length} tokens are cut by the model itself, as "
            f"in Encore ({task.truncation})"
        )
    elif cannot_cut(task, to):
        yield (
            f"texts longer than {task.max_length} tokens get other outputs than in Encore: it "
            f"keeps their beginning and their end ({task.truncation}), "
            "which this tokenizer cannot: it keeps the beginning"
        )
    else:
        kept = "last" if task.truncation == "tail" else "first"
        yield (
            f"of texts longer than {task.max_length} tokens the {kept} {task.max_length} are "
            f"read{option}"
        )
    if task.columns.text_pair and to == "hf":
        then = (
            "this model refuses"
            if left_to_model(task, to)
            else "gets another output than in Encore"
        )
        yield f"`pipeline` takes a pair whose second text is empty for a single text, which {then}"
    if task.normalise not in (None, "none"):
        yield (
            f"the tokenizer normalises texts as in training ({task.normalise}: lower case "
            f"and the like), but leaves words that are its own special tokens"
        )
    if rounding:
        what = "outputs" if to == "hf" else "numbers of a vector"
        yield (
            f"the figures were measured with matrix products in bf16, this model computes in "
            f"float32: {what} differ by up to {rounding:.1g}"
        )


def _adapter(run: Path) -> dict[str, Any]:
    """The adapter of a run as its recipe names it; empty without one."""
    return files.read_json(run / "model" / "model.json").get("adapter") or {}


def _merges(adapter: Settings) -> bool:
    """True for an adapter that can be added to the encoder's weights."""
    return bool(adapter) and bool(catalogue.find("adapters", str(adapter.get("name"))).merges)


def _has_layers(adapter: Settings) -> bool:
    """True for an adapter that stays beside the encoder's weights."""
    return bool(adapter) and not _merges(adapter)


def _merged(model: TaskModel) -> TaskModel:
    """The same model without an adapter: what it learned is in the encoder's weights."""
    branches = [
        Branch(merged(branch.encoder), branch.pooling)
        if isinstance(branch.encoder, Encoder)
        else branch
        for branch in model.branches
    ]
    return TaskModel(branches, model.head, n_sides=model.n_sides)


def _assembly(run: Path, task: str) -> dict[str, Any]:
    return files.read_json(run / "model" / "model.json")["tasks"][task]
