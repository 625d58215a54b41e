"""The files of an export: configuration and weights under the names of whoever loads them, tokenizer, card."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import safetensors.torch
import torch
from torch import Tensor

from encore import catalogue, files
from encore.encoder import load as encoders
from encore.errors import RecipeError
from encore.export import sentence, stock
from encore.export.card import base_of, card
from encore.export.tokenizer import cannot_cut, write_tokenizer
from encore.predict import LoadedTask, Model
from encore.recipe import load_recipe
from encore.run import read_result

__all__ = ["Written", "expressible", "label_names", "write_export"]

Settings: TypeAlias = "Mapping[str, Any]"


@dataclass(frozen=True)
class Written:
    """An export that nobody has looked at yet. made_of: its class; limits: what the card says of this export."""

    folder: Path
    to: str
    made_of: str
    own_class: bool
    limits: tuple[str, ...]


def expressible(run: Path, task: LoadedTask, to: str) -> bool:
    """True; raises RecipeError where `to` has nothing that would compute what this run does."""
    of_a_text, alone = to == "sentence-transformers", len(task.model.branches) == 1
    if not (alone and (task.plain or task.apart) if of_a_text else task.plain):
        what = "has several encoders side by side" if of_a_text and not alone else "reads its pairs in a way of its own"
        if of_a_text:
            instead = "Take --to hf." if task.plain else "Take a task with one encoder, of single texts or with pair: siamese."
        else:
            instead = "Take --to sentence-transformers, which has vectors of its texts." if task.apart else "Take a task of single texts, or with pair: cross."
        raise RecipeError(f"--to {to}: task '{task.name}' of {run} {what}, which cannot be exported there. {instead}")
    if not of_a_text:
        return True
    if task.plain and task.columns.text_pair:
        instead = "Take --to hf, or train with pair: siamese."
        raise RecipeError(f"--to sentence-transformers: {run} reads two texts as one, so it has no vector of a text. {instead}")
    sentence.modes_of(_assembly(run, task.name)["pooling"])
    _last(run, task)
    return True


def _last(run: Path, task: LoadedTask) -> tuple[Tensor, Tensor] | None:
    """What a text's vector goes through behind the pooling."""
    branch: Any = task.model.branches[0]
    return sentence.layer_of(task.model.head, _assembly(run, task.name)["head"]["name"], branch.pooling.width) if task.apart else None


def write_export(model: Model, task: LoadedTask, to: str, folder: Path, *, name: str, rounding: float = 0.0) -> Written:
    """Every file of an export, into a folder that is there and empty."""
    run = model.folder
    config, assembly = files.read_json(run / "model" / "config.json"), _assembly(run, task.name)
    weights = {key: value.contiguous() for key, value in task.model.state_dict().items()}
    if to == "hf":
        several = len(task.model.branches) > 1
        assembly["sharing"] = files.read_json(run / "model" / "model.json")["sharing"] if several else None
        own_class = several or not stock.has_class(config, assembly["pooling"], assembly["head"])
        made_of, inputs = (_own if own_class else _stock)(folder, config, assembly, weights, _labels(task))
    else:
        own_class = False
        encoder: Any = task.model.branches[0].encoder
        made_of, inputs = _encoder_alone(folder, config, weights)
        similarity = sentence.SIMILARITY.get(assembly["head"]["name"], "cosine")
        how: Any = {"last": _last(run, task), "similarity": similarity}
        sentence.write_modules(folder, sentence.modes_of(assembly["pooling"]), encoder.shape.width, task.max_length, weights, **how)
    write_tokenizer(folder, model.tokeniser, task, config, inputs=inputs)
    limits = tuple(_limits(task, to, rounding))
    written = Written(folder, to, made_of, own_class, limits)
    said: Any = {"head": assembly["head"]["name"], "name": name, "made_of": made_of, "to": to, "own_class": own_class, "limits": limits}
    about = card(read_result(run), task, base_of(load_recipe(run / "recipe.yaml")), **said)
    files.write(folder / "README.md", about.encode())
    return written


def _stock(folder: Path, config: Settings, assembly: Settings, weights: Settings, labels: Settings) -> tuple[str, tuple[str, ...]]:
    from transformers import AutoModelForSequenceClassification

    dropout = {"classifier_dropout": assembly["head"].get("dropout", catalogue.settings("heads", assembly["head"]["name"])["dropout"].default)}
    return _as_huggingface(folder, AutoModelForSequenceClassification, config, weights, stock.HEADS[config["model_type"]], {**labels, **dropout})


def _encoder_alone(folder: Path, config: Settings, weights: Settings) -> tuple[str, tuple[str, ...]]:
    from transformers import AutoModel

    return _as_huggingface(folder, AutoModel, config, weights, {}, {})


def _as_huggingface(
    folder: Path, auto: Any, config: Settings, weights: Settings, heads: Mapping[str, str], settings: Settings
) -> tuple[str, tuple[str, ...]]:
    """config.json and model.safetensors as the Auto class's own class for this family has them: (its name, what it takes)."""
    from transformers import AutoConfig

    there = AutoConfig.for_model(config["model_type"], **stock.plain(config), **settings)
    with torch.device("meta"):
        empty = auto.from_config(there)
    shapes = {key: tuple(value.shape) for key, value in empty.state_dict().items()}
    (words,) = [f"{name}.weight" for name, module in empty.named_modules() if module is empty.get_input_embeddings()]
    _save(folder, there, type(empty).__name__, stock.renamed(encoders.family(config["model_type"]), shapes, weights, heads, words=words))
    return type(empty).__name__, _inputs(type(empty))


def _own(folder: Path, config: Settings, assembly: Settings, weights: Settings, labels: Settings) -> tuple[str, tuple[str, ...]]:
    from encore.hf import EncoreConfig, EncoreForSequenceClassification

    encoder = {"model_type": config["model_type"], **stock.plain(config)}
    there = EncoreConfig(encoder, assembly["pooling"], assembly["head"], assembly["sharing"], pad_token_id=config.get("pad_token_id"), **labels)
    _save(folder, there, EncoreForSequenceClassification.__name__, {f"network.{key}": value for key, value in weights.items()})
    return EncoreForSequenceClassification.__name__, _inputs(EncoreForSequenceClassification)


def _save(folder: Path, config: Any, made_of: str, weights: Mapping[str, Any]) -> None:
    config.architectures, config.dtype = [made_of], "float32"
    config.save_pretrained(folder)
    safetensors.torch.save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})


def _inputs(made_of: Any) -> tuple[str, ...]:
    taken = inspect.signature(made_of.forward).parameters
    return tuple(name for name in ("input_ids", "token_type_ids", "attention_mask") if name in taken)


def _labels(task: LoadedTask) -> dict[str, Any]:
    names = label_names(task)
    problem = {"regression": "regression", "multilabel": "multi_label_classification"}.get(task.labels.kind, "single_label_classification")
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}, "problem_type": problem}


def label_names(task: LoadedTask) -> tuple[str, ...]:
    """Of a regression task the column that it predicts."""
    return task.labels.names or (task.columns.label or "score",)


def _limits(task: LoadedTask, to: str, rounding: float) -> Iterator[str]:
    asked = " (here with `truncation=True`)" if to == "hf" else ""
    if cannot_cut(task):
        yield (
            f"texts longer than {task.max_length} tokens give other answers than in Encore: it keeps their beginning and their end ({task.truncation}), "
            "which this tokenizer cannot: it keeps the beginning"
        )
    else:
        kept = "last" if task.truncation == "tail" else "first"
        yield f"of texts longer than {task.max_length} tokens the {kept} {task.max_length} are read{asked}"
    if task.columns.text_pair and to == "hf":
        yield "`pipeline` takes a pair whose second text is empty for a single text, and gives another answer than Encore"
    if task.normalise not in (None, "none"):
        yield f"the tokenizer normalises texts as in training ({task.normalise}: lower case and the like), but leaves words that are its own special tokens"
    if rounding:
        what = "probabilities" if to == "hf" else "numbers of a vector"
        yield f"the figures were measured with matrix products in bf16, this model computes in float32: {what} differ by up to {rounding:.1g}"


def _assembly(run: Path, task: str) -> dict[str, Any]:
    return files.read_json(run / "model" / "model.json")["tasks"][task]
