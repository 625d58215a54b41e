"""Writes what LoRA learned in the peft library's layout: the adapter, and the head where a class of
transformers computes the run's pooling and head.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from encore import files
from encore.encoder import load as encoders
from encore.encoder.encoder import Encoder
from encore.export import stock
from encore.techniques.adapters._peft import PEFT_FILES, LoraModule, peft_modules

__all__ = ["CLASSIFIER", "PeftHead", "peft_example", "write_peft"]

CLASSIFIER, _ENCODER = "PeftModelForSequenceClassification", "PeftModelForFeatureExtraction"

_INSIDE = "base_model.model."  # peft's names of a model's parts begin with it
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")


@dataclass(frozen=True)
class PeftHead:
    """The head of a stock class. settings: of its config.json. weights: under their names there."""

    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @property
    def modules(self) -> list[str]:
        """The modules that peft keeps whole: those that hold the layers."""
        layers = (name.rpartition(".")[0] for name in self.weights)
        return sorted({layer.rpartition(".")[0] or layer for layer in layers})


def write_peft(
    folder: Path,
    encoder: Encoder,
    config: Mapping[str, Any],
    head: PeftHead | None,
    *,
    base: str,
    dropout: float,
) -> tuple[str, tuple[str, ...]]:
    """Write adapter_config.json, adapter_model.safetensors, and config.json, which has the labels:
    (the class that peft makes of it, what its model takes). config: the encoder's; base: its name,
    or its folder.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    auto: Any = AutoModel if head is None else AutoModelForSequenceClassification
    kind = config["model_type"]
    settings = {} if head is None else head.settings
    there = AutoConfig.for_model(kind, **stock.architecture_settings(config), **settings)
    with torch.device("meta"):
        empty = auto.from_config(there)
    there.architectures, there.dtype = [type(empty).__name__], "float32"
    there.save_pretrained(folder)
    linears = {
        name: module.out_features
        for name, module in empty.named_modules()
        if isinstance(module, nn.Linear)
    }
    found = peft_modules(encoder, encoders.family(kind), linears)
    weights = {} if head is None else {f"{_INSIDE}{k}": v for k, v in head.weights.items()}
    for name, (a, b, _) in found.items():
        weights |= {f"{_INSIDE}{name}.lora_A.weight": a, f"{_INSIDE}{name}.lora_B.weight": b}
    whole = {name: each.contiguous() for name, each in weights.items()}
    safetensors.torch.save_file(whole, folder / PEFT_FILES[1], metadata={"format": "pt"})
    about = {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION" if head is None else "SEQ_CLS",
        "base_model_name_or_path": base,
        "lora_dropout": dropout,
        "target_modules": _targets(found, linears),
        "modules_to_save": None if head is None else head.modules,
        "bias": "none",
        "inference_mode": True,
    }
    files.write_json(folder / PEFT_FILES[0], about | _ranks(found))
    taken = inspect.signature(type(empty).forward).parameters
    made_of = _ENCODER if head is None else CLASSIFIER
    return made_of, tuple(name for name in _INPUTS if name in taken)


def peft_example(name: str, base: str, made_of: str, example: str) -> list[str]:
    """Code that loads a folder as `made_of` and reads an example. name, base: the folder, and the
    encoder that it is put into, as strings of Python.
    """
    if made_of == CLASSIFIER:
        auto, *others = "AutoModelForSequenceClassification", "AutoConfig", "pipeline"
        given = "config=AutoConfig.from_pretrained(name), "
        use = [
            'classify = pipeline("text-classification", model=model, tokenizer=tokenizer, '
            "top_k=None, truncation=True)",
            f"print(classify([{example}]))",
        ]
    else:
        auto, others, given = "AutoModel", [], ""
        use = [
            f'row = tokenizer([{example}], truncation=True, return_tensors="pt")',
            "print(model(**row).last_hidden_state.shape)",
        ]
    names = sorted([auto, "AutoTokenizer", *others])
    return [
        "from peft import PeftModel",
        f"from transformers import {', '.join(names)}",
        "",
        f"name = {name}",
        f'base = {auto}.from_pretrained({base}, {given}dtype="float32")',
        "model = PeftModel.from_pretrained(base, name).eval()",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        *use,
    ]


def _targets(found: Mapping[str, LoraModule], linears: Mapping[str, int]) -> list[str]:
    """The ends of the modules' names, or where other modules have the same ends, whole names."""
    ends = {name.rpartition(".")[2] for name in found}
    alike = {name for name in linears if name.rpartition(".")[2] in ends}
    return sorted(ends if alike == set(found) else found)


def _ranks(found: Mapping[str, LoraModule]) -> dict[str, Any]:
    """The rank and alpha of most modules, and of those that hold several parts in one."""
    rank = min(len(a) for a, _, _ in found.values())
    larger = {name: module for name, module in found.items() if len(module[0]) > rank}
    (scale,) = {scale for _, _, scale in found.values()}
    return {
        "r": rank,
        "lora_alpha": round(scale * rank, 9),
        "rank_pattern": {name: len(a) for name, (a, _, _) in larger.items()},
        "alpha_pattern": {name: round(scale * len(a), 9) for name, (a, _, _) in larger.items()},
    }
