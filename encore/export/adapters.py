"""The parts of a run's model folder that its exports are made of, and those of an adapter: Encore's
own folder, and peft's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from encore import catalogue, files
from encore.encoder.adapted import merged
from encore.encoder.encoder import Encoder
from encore.errors import RecipeError
from encore.export import stock
from encore.export.base_model import base_of
from encore.export.peft import PeftHead, write_peft
from encore.export.tokenizer import left_to_model
from encore.model.task_model import Branch, TaskModel, encoders_of
from encore.recipe.load import load_recipe
from encore.runs.adapter_folder import write_adapter
from encore.runs.loaded_task import LoadedTask

__all__ = [
    "adapted_encoder",
    "adapter_of_run",
    "assembly_of",
    "has_layers",
    "head_dropout",
    "label_names",
    "label_settings",
    "merged_model",
    "merges",
    "require_adapter",
    "stock_obstacle",
    "task_assembly",
    "write_lora",
    "write_own_adapter",
]

Settings: TypeAlias = "Mapping[str, Any]"


def assembly_of(run: Path) -> dict[str, Any]:
    """The content of a run's model.json."""
    return files.read_json(run / "model" / "model.json")


def task_assembly(run: Path, task: str) -> dict[str, Any]:
    """The parts of a task's model."""
    return assembly_of(run)["tasks"][task]


def adapter_of_run(run: Path) -> dict[str, Any]:
    """The adapter of a run as its recipe names it; empty without one."""
    return assembly_of(run).get("adapter") or {}


def merges(adapter: Settings) -> bool:
    """True for an adapter that can be added to the encoder's weights."""
    return bool(adapter) and bool(catalogue.find("adapters", str(adapter.get("name"))).merges)


def has_layers(adapter: Settings) -> bool:
    """True for an adapter that stays beside the encoder's weights."""
    return bool(adapter) and not merges(adapter)


def merged_model(model: TaskModel) -> TaskModel:
    """The same model without an adapter: what it learned is in the encoder's weights."""
    branches = [
        Branch(merged(branch.encoder), branch.pooling)
        if isinstance(branch.encoder, Encoder)
        else branch
        for branch in model.branches
    ]
    return TaskModel(branches, model.head, n_sides=model.n_sides)


def require_adapter(run: Path, task: LoadedTask, to: str, lead: str) -> bool:
    """True; raises RecipeError, which `lead` begins, where there is no adapter that `to` holds."""
    adapter = adapter_of_run(run)
    if not adapter:
        raise RecipeError(f"{lead} trained no adapter. Use --to hf, or train with adapter: lora.")
    if "of" in adapter:
        raise RecipeError(f"{lead} fused adapters of other runs. Export one of these runs.")
    if len({id(each) for each in encoders_of(task.model) if _is_adapted(each)}) > 1:
        raise RecipeError(f"{lead} has several adapters, and a folder there has one. Use --to hf.")
    if to == "peft" and has_layers(adapter):
        raise RecipeError(
            f"{lead} has the adapter '{adapter.get('name')}', and Encore writes LoRA for peft. Use "
            f"--to adapter, or train with adapter: lora."
        )
    if to == "peft" and "encoder_run" in assembly_of(run):
        raise RecipeError(
            f"{lead} has an encoder that another run trained, which peft cannot load. Use --to hf."
        )
    return True


def stock_obstacle(run: Path, task: LoadedTask) -> str:
    """The reason why no class of transformers computes the same; "" where one does."""
    assembly = task_assembly(run, task.name)
    return stock.obstacle(
        files.read_json(run / "model" / "config.json"),
        assembly["pooling"],
        assembly["head"],
        adapter=adapter_of_run(run).get("name", ""),
        n_encoders=len(task.model.branches),
        in_one_row=not left_to_model(task, "hf"),
    )


def write_own_adapter(folder: Path, run: Path, task: LoadedTask) -> str:
    """Encore's own folder of an adapter; its kind."""
    whole, adapter = assembly_of(run), adapter_of_run(run)
    name, digest = whole["encoder"], whole["encoder_digest"]
    named = Path(name).name if Path(name).is_dir() else name
    write_adapter(folder, adapted_encoder(task), adapter, named=(named, digest), task=task.name)
    return f"{adapter.get('name')} adapter"


def write_lora(
    folder: Path, run: Path, task: LoadedTask, config: Settings, weights: Settings
) -> tuple[str, tuple[str, ...]]:
    """The folder of what LoRA learned, with the head where a stock class computes the same: (its
    class, what its model takes). config: the encoder's. weights: the model's.
    """
    head, assembly = None, task_assembly(run, task.name)
    if not stock_obstacle(run, task):
        settings = {**label_settings(task), **head_dropout(assembly["head"])}
        pooled = stock.as_pooler(assembly["pooling"], assembly["head"], weights)
        own = stock.head_weights(stock.HEADS[config["model_type"]], pooled)
        head = PeftHead(settings, own)
    base = base_of(recipe := load_recipe(run / "recipe.yaml"))
    name = base.repository or str(recipe.path(recipe.pretrained))
    dropout = adapter_of_run(run).get("dropout", 0.0)
    return write_peft(folder, adapted_encoder(task), config, head, base=name, dropout=dropout)


def adapted_encoder(task: LoadedTask) -> Encoder:
    """The task's encoder that has the adapter: beside a frozen one, the other."""
    return next(each for each in encoders_of(task.model) if _is_adapted(each))


def _is_adapted(encoder: Any) -> TypeGuard[Encoder]:
    return isinstance(encoder, Encoder) and encoder.own is not None


def label_settings(task: LoadedTask) -> dict[str, Any]:
    """The labels as a config.json has them."""
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


def head_dropout(head: Settings) -> dict[str, Any]:
    """The head's dropout as a config.json has it."""
    usual = catalogue.settings("heads", head["name"])["dropout"].default
    return {"classifier_dropout": head.get("dropout", usual)}
