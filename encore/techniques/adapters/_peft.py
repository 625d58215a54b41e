"""The layout in which the peft library keeps LoRA: adapter_config.json and
adapter_model.safetensors, with matrices A and B for each layer that transformers has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from encore.data.bounded import checked_settings, read_object
from encore.data.table import display_path
from encore.encoder.adapted import LoraLinear
from encore.encoder.encoder import Encoder
from encore.encoder.load import Source, family
from encore.encoder.weights import read_header, read_tensors, refuse_misfits, require_finite
from encore.errors import DataError, format_given

__all__ = ["PEFT_FILES", "STACKED", "LoraModule", "peft_modules", "read_peft"]

PEFT_FILES = _CONFIG, _WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")
STACKED = ("query", "key", "value")  # the parts of a block's `qkv`
_ORDER = (*STACKED, "out", "up", "down")
_HEADS = {"classifier", "score", "pooler", "pre_classifier", "head"}
_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")
_Name = Annotated[str, Field(max_length=500, pattern=r"^[\w.]+$")]
LoraModule = tuple[Tensor, Tensor, float]  # A (rank, inputs), B (outputs, rank), scale


class _PeftConfig(BaseModel):
    """The settings that change what an adapter computes. Of those that Encore lacks only the value
    that turns them off is allowed.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    peft_type: Literal["LORA"]
    r: Annotated[int, Field(ge=1, le=32_768)]
    lora_alpha: Annotated[float, Field(gt=0, le=1e6)]
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    alpha_pattern: Annotated[
        dict[_Name, Annotated[float, Field(gt=0, le=1e6)]], Field(max_length=10_000)
    ] = Field(default_factory=dict)
    use_rslora: bool = False
    bias: Literal["none"] = "none"
    lora_bias: Literal[False] = False
    use_dora: Literal[False] = False
    use_qalora: Literal[False] = False
    # Others change the encoder's own weights first.
    init_lora_weights: bool | Literal["gaussian", "orthogonal", "eva"] = True
    layer_replication: None = None
    alora_invocation_tokens: None = None

    def scale(self, module: str, rank: int) -> float:
        """The factor of B·A at a module. A key of alpha_pattern is a name or the end of one: no
        pattern from a file is ever run.
        """
        alpha = next(
            (each for key, each in self.alpha_pattern.items() if f".{module}".endswith(f".{key}")),
            self.lora_alpha,
        )
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_peft(folder: Path, source: Source) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The adapter of a folder that peft wrote, as a recipe names it, and its weights under the
    names of an encoder with it. A head or pooler in there is left out.

    source: the encoder that it is put into. Raises DataError where it is no LoRA of that encoder,
    or has settings that Encore lacks.
    """
    where, file = folder / _CONFIG, folder / _WEIGHTS
    config = checked_settings(_PeftConfig, read_object(where), display_path(where))
    read_header(file)
    weights = read_tensors(file)
    require_finite(weights, file)
    linears = _Linears(source)
    found, problems = dict[tuple[int, str, str], tuple[Tensor, Tensor]](), list[str]()
    matrices = _matrices(weights, linears, problems)
    refuse_misfits(problems, file)
    if not matrices:
        raise DataError(f"{display_path(file)}: expected matrices of LoRA, got none.")
    rank = max(len(a) for _, a, _ in matrices)
    scale = config.scale("", config.r)
    for path, a, b in matrices:
        factor = config.scale(path, len(a)) / scale
        for place, rows in linears.parts(_tail(path)):
            up = torch.zeros(rows.stop - rows.start, rank)
            up[:, : len(a)] = factor * b[rows]
            found[place] = torch.cat([a, a.new_zeros(rank - len(a), a.shape[1])]), up
    alpha = round(scale * rank, 9)  # without what division and product leave
    spec = {"name": "lora", "rank": rank, "alpha": alpha, "dropout": config.lora_dropout}
    lowest = min(layer for layer, _, _ in found)
    targets = [part for part in _ORDER if part in {part for _, _, part in found}]
    spec |= {"targets": targets, "top": linears.n_layers - lowest if lowest else None}
    return spec, linears.filled(found, lowest, targets, rank)


class _Linears:
    """The linear layers in the blocks of an encoder: those of the checkpoint, by what of their
    names follows the stack, `0.attention.self.query`, and where they are in Encore's blocks.
    """

    def __init__(self, source: Source) -> None:
        known = family(source.config["model_type"])
        if known is None:
            raise DataError(
                f"encoder '{source.name}' comes from transformers, and its layers cannot have "
                "adapters. Choose one that Encore builds itself."
            )
        header = read_header(source.folder / "model.safetensors")
        shapes = {
            name.removesuffix(".weight"): tuple(value.shape)
            for name, value in header.items()
            if name.endswith(".weight") and value.dim() == 2 and _tail(name)
        }
        places = _places(known, {name: shape[0] for name, shape in shapes.items()})
        self.shapes = {_tail(name): shapes[name] for name in places}
        self.places = {_tail(name): place for name, place in places.items()}
        self.sizes = dict[str, tuple[int, int]]()  # of Encore's layers
        for tail, (ours, _) in self.places.items():
            rows, inputs = self.shapes[tail]
            self.sizes[ours] = (self.sizes.get(ours, (0, 0))[0] + rows, inputs)
        self.n_layers = len({ours.split(".")[1] for ours in self.sizes})

    def parts(self, module: str) -> Iterator[tuple[tuple[int, str, str], slice]]:
        """The parts of a block that are in a module, as (layer, name, part), and its rows."""
        ours, first = self.places[module]
        _, layer, name = ours.split(".")
        names = STACKED if name == "qkv" else (name,)
        size = self.sizes[ours][0] // len(names)
        for number, part in enumerate(names):
            start = number * size - first
            if start >= 0 and start + size <= self.shapes[module][0]:
                yield (int(layer), name, part), slice(start, start + size)

    def filled(
        self,
        found: Mapping[tuple[int, str, str], tuple[Tensor, Tensor]],
        lowest: int,
        targets: list[str],
        rank: int,
    ) -> dict[str, Tensor]:
        """Weights for every target of every layer from the lowest; 0, where nothing is found."""
        weights = {}
        for module in self.places:
            for (layer, name, part), rows in self.parts(module):
                if layer < lowest or part not in targets:
                    continue
                nothing = (
                    torch.zeros(rank, self.shapes[module][1]),
                    torch.zeros(rows.stop - rows.start, rank),
                )
                down, up = found.get((layer, name, part), nothing)
                weights[f"blocks.{layer}.{name}.down.{part}"] = down
                weights[f"blocks.{layer}.{name}.up.{part}"] = up
        return weights


def _matrices(
    weights: Mapping[str, Tensor], linears: _Linears, problems: list[str]
) -> list[tuple[str, Tensor, Tensor]]:
    """The names of the modules that have LoRA, with A and B. problems: takes what else is there."""
    pairs = dict[str, dict[str, Tensor]]()
    for name, value in weights.items():
        matched = _MATRIX.fullmatch(name)
        if matched is not None:
            pairs.setdefault(matched[1], {})[matched[2]] = value
        elif not _HEADS.intersection(name.split(".")):
            problems.append(f"tensor {format_given(name)} is no part of LoRA, nor of a head.")
    found = []
    for path, pair in pairs.items():
        shape = linears.shapes.get(_tail(path))
        if shape is None:
            problems.append(f"{format_given(path)} is no linear layer in this encoder's blocks.")
        elif not _fit(pair, shape):
            shapes = ", ".join(f"{key} {tuple(each.shape)}" for key, each in sorted(pair.items()))
            problems.append(
                f"{format_given(path)}: expected A (rank, {shape[1]}) and B ({shape[0]}, rank), "
                f"got {shapes}."
            )
        else:
            a, b = (pair[kind].float() for kind in "AB")
            found.append((path, a, b))
    return found


def _fit(pair: Mapping[str, Tensor], shape: tuple[int, ...]) -> bool:
    """True for an A and a B of a layer of this shape, and of a rank that makes it no larger."""
    if pair.keys() != {"A", "B"} or any(each.dim() != 2 for each in pair.values()):
        return False
    a, b = map(pair.__getitem__, "AB")
    fit = (a.shape[1], len(b), len(a)) == (shape[1], shape[0], b.shape[1])
    return fit and 0 < len(a) <= max(shape) and a.is_floating_point() and b.is_floating_point()


def _tail(name: str) -> str:
    """A name from the number of its layer on; "" without one."""
    parts = name.split(".")
    at = next((number for number, part in enumerate(parts) if part.isdecimal()), len(parts))
    return ".".join(parts[at:])


def _places(known: Any, modules: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """A checkpoint's linear layers in Encore's blocks, each with the layer there that has its rows,
    and the first of them. modules: name → rows. The family's own renaming is called with numbers.
    """
    starts = dict(zip(modules, accumulate([1, *modules.values()]), strict=False))
    numbered = {
        f"{name}.weight": torch.arange(start, start + modules[name])
        for name, start in starts.items()
    }
    owners = {start: name for name, start in starts.items()}
    found: dict[str, tuple[str, int]] = {}
    for key, lines in known.from_huggingface(numbered)[0].items():
        ours = key.removesuffix(".weight")
        if ours.startswith("blocks."):
            found |= {
                owners[line]: (ours, row)
                for row, line in enumerate(lines.tolist())
                if line in owners
            }
    return found


def peft_modules(encoder: Encoder, known: Any, modules: Mapping[str, int]) -> dict[str, LoraModule]:
    """The matrices that LoRA learned, by the names of the linear layers in a class of transformers.
    Where these hold several parts in one, the matrices of the parts are put side by side. modules:
    name → rows. known: the encoder's family.
    """
    found = {}
    for name, (ours, first) in _places(known, modules).items():
        layer = encoder.get_submodule(ours)
        if not isinstance(layer, LoraLinear):
            continue
        rows = range(first, first + modules[name])
        inside = [part for part, place in layer.parts.items() if place.start in rows]
        if not inside:
            continue
        rank = len(layer.down[inside[0]])
        a = torch.cat([layer.down[part].detach() for part in inside])
        b = torch.zeros(len(rows), len(a))
        for number, part in enumerate(inside):
            place = layer.parts[part]
            columns = slice(number * rank, (number + 1) * rank)
            b[place.start - first : place.stop - first, columns] = layer.up[part].detach()
        found[name] = (a, b, layer.scale)
    return found
