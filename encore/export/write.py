"""The files of an export: configuration and weights under the names of whoever loads them,
tokenizer, card.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import safetensors.torch
import torch
from torch import Tensor

from encore import files
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.errors import RecipeError
from encore.export import sentence, stock
from encore.export.adapters import (
    Settings,
    adapter_of_run,
    assembly_of,
    has_layers,
    head_dropout,
    label_settings,
    merged_model,
    merges,
    require_adapter,
    stock_obstacle,
    task_assembly,
    write_lora,
    write_own_adapter,
)
from encore.export.base_model import base_of
from encore.export.card import CardDetails, card
from encore.export.tokenizer import cannot_cut, left_to_model, write_tokenizer
from encore.recipe.load import load_recipe
from encore.runs.folder import read_result
from encore.runs.loaded_task import LoadedTask
from encore.runs.predict import Model

__all__ = ["Outputs", "WrittenExport", "expressible", "outputs_of", "write_export"]

# What a folder gives: the probabilities of the labels, the vectors that a head compares, or, of an
# adapter alone, the means of the encoder's last states.
Outputs: TypeAlias = Literal["scores", "vectors", "states"]


@dataclass(frozen=True)
class WrittenExport:
    """An export that was written and not yet compared. made_of: its class. limits: those of this
    export, for the card. how: the outputs that are compared. base: the folder of the encoder that
    an adapter is loaded into.
    """

    folder: Path
    to: str
    made_of: str
    own_class: bool
    limits: tuple[str, ...]
    how: Outputs
    base: str = ""


def expressible(run: Path, task: LoadedTask, to: str) -> bool:
    """True; raises RecipeError where `to` has nothing that would compute what this run does."""
    if to == "hf":
        return True
    lead = f"--to {to}: task '{task.name}' of {run}"
    if to in ("peft", "adapter"):
        return require_adapter(run, task, to, lead)
    if len(task.model.branches) > 1:
        raise RecipeError(f"{lead} has several encoders, and a folder there has one. Use --to hf.")
    if task.columns.text_pair and not task.apart:
        raise RecipeError(
            f"{lead} reads two texts together, so it has no vector of a text. Use --to hf, or "
            f"train with pair: siamese."
        )
    if has_layers(adapter_of_run(run)):
        raise RecipeError(
            f"{lead} has an adapter, that is new layers in its encoder, and no class there has "
            f"them. Use --to hf, or train with adapter: lora."
        )
    sentence.modes_of(task_assembly(run, task.name)["pooling"])
    _last(run, task)
    return True


def outputs_of(run: Path, task: LoadedTask, to: str) -> Outputs:
    """The outputs that an export to `to` gives."""
    if to == "peft" and not stock_obstacle(run, task):
        return "scores"
    kinds: dict[str, Outputs] = {"hf": "scores", "sentence-transformers": "vectors"}
    return kinds.get(to, "states")


def _last(run: Path, task: LoadedTask) -> tuple[Tensor, Tensor] | None:
    """The weight and bias of the layer after the pooling; None without one."""
    branch: Any = task.model.branches[0]
    return (
        sentence.layer_of(
            task.model.head, task_assembly(run, task.name)["head"]["name"], branch.pooling.width
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
    config, assembly = files.read_json(run / "model" / "config.json"), task_assembly(run, task.name)
    adapter = adapter_of_run(run)
    learned = merged_model(task.model) if merges(adapter) else task.model
    weights = {key: value.contiguous() for key, value in learned.state_dict().items()}
    how, own_class, base = outputs_of(run, task, to), False, ""
    if to == "adapter":
        made_of = write_own_adapter(folder, run, task)
        return WrittenExport(folder, to, made_of, own_class, (), how)
    left = task.decision.temperature if how == "scores" else 1.0
    if left != 1 and (folded := stock.calibrated_weights(assembly["head"], weights, left)):
        weights, left = folded, 1.0
    if to == "peft":
        base = str(encoders.locate(assembly_of(run)["encoder"]).folder)
        made_of, inputs = write_lora(folder, run, task, config, weights)
    elif to == "hf":
        own_class = bool(stock_obstacle(run, task))
        if own_class:
            assembly |= _own_settings(model, task)
            assembly |= {"temperature": None if left == 1 else left}
        made_of, inputs = (_own if own_class else _stock)(
            folder, config, assembly, weights, label_settings(task)
        )
    else:
        made_of, inputs = _encoder_alone(folder, config, weights)
        _write_sentence_modules(folder, run, task, assembly, weights)
    write_tokenizer(folder, model.tokenizer, task, config, to=to, inputs=inputs)
    limits = tuple(_limits(task, to, rounding, how))
    details = CardDetails(name, made_of, to, own_class, limits, assembly["head"]["name"])
    described = base_of(load_recipe(run / "recipe.yaml"))
    files.write(folder / "README.md", card(read_result(run), task, described, details).encode())
    return WrittenExport(folder, to, made_of, own_class, limits, how, base)


def _own_settings(model: Model, task: LoadedTask) -> dict[str, Any]:
    """The settings that only Encore's own class has."""
    several = len(task.model.branches) > 1
    sharing = assembly_of(model.folder)["sharing"]
    adapter = adapter_of_run(model.folder)
    return {
        "sharing": sharing if several else None,
        "adapter": adapter if has_layers(adapter) else None,
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
    return _as_huggingface(
        folder,
        AutoModelForSequenceClassification,
        config,
        stock.as_pooler(pooling, head, weights),
        stock.HEADS[config["model_type"]],
        {**labels, **head_dropout(head)},
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
    own = (
        assembly[part]
        for part in ("pooling", "head", "sharing", "reading", "adapter", "temperature")
    )
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


def _limits(task: LoadedTask, to: str, rounding: float, how: Outputs) -> Iterator[str]:
    option = " (here with `truncation=True`)" if how == "scores" else ""
    if to == "peft" and how != "scores":
        yield (
            "this folder holds the adapter of the encoder alone: no class of transformers computes "
            "this run's pooling and head, which Encore's own folder has (`--to hf`)"
        )
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
    if task.columns.text_pair and how == "scores":
        then = (
            "this model refuses"
            if left_to_model(task, to)
            else "gets another output than in Encore"
        )
        yield f"`pipeline` takes a pair whose second text is empty for a single text, which {then}"
    if how == "scores":
        yield from _of_decision(task)
    if task.normalise not in (None, "none"):
        yield (
            f"the tokenizer normalises texts as in training ({task.normalise}: lower case "
            f"and the like), but leaves words that are its own special tokens"
        )
    if rounding:
        what = "outputs" if how == "scores" else "numbers of a vector"
        yield (
            f"the figures were measured with matrix products in bf16, this model computes in "
            f"float32: {what} differ by up to {rounding:.1g}"
        )


def _of_decision(task: LoadedTask) -> Iterator[str]:
    """The lines on the task's decision: of it only the probabilities are in the folder."""
    decision = task.decision
    if decision.temperature != 1:
        yield (
            f"probabilities are calibrated on the run's dev set: logits are divided by "
            f"{decision.temperature:.4g}"
        )
    rest = replace(decision, temperature=1.0).described(task.labels)
    if rest:
        yield f"`pipeline` knows nothing of what the run decides beside that: {rest}"
