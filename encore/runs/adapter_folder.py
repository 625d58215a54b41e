"""An adapter as a folder of its own: what it learned, how it is built, and the digest of the
encoder that it fits. A folder that peft wrote is read as well; it has no digest, so names and sizes
decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from encore import catalogue, files
from encore.data.bounded import checked_settings, read_object
from encore.data.table import display_path
from encore.encoder.encoder import Encoder
from encore.encoder.load import Source
from encore.encoder.weights import read_header, read_tensors, refuse_misfits, require_finite
from encore.errors import DataError, RecipeError
from encore.techniques.adapters._peft import PEFT_FILES, read_peft

__all__ = [
    "AdapterFolder",
    "described_adapter",
    "fill_adapter",
    "is_adapter_folder",
    "learned",
    "read_adapter",
    "write_adapter",
]

_ABOUT, _WEIGHTS = "adapter.json", "adapter.safetensors"
_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class _About(BaseModel):
    """The content of adapter.json. encoder: its name, for people."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    version: Literal[1]
    adapter: dict[str, Any]
    encoder: _Text
    encoder_digest: _Text
    task: _Text


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter that a folder holds. spec: as a recipe names it. encoder: the name and the digest
    of the one it was trained in; None where the folder does not say. digest: of its content.
    """

    folder: Path
    spec: Mapping[str, Any]
    encoder: tuple[str, str] | None
    digest: str

    def weights(self, source: Source | None) -> dict[str, Tensor]:
        """Its weights under the names of an encoder with it. Raises DataError, also where they
        have changed since the folder was read.
        """
        if _digest(self.folder) != self.digest:
            raise DataError(
                f"{display_path(self.folder)}: its files have changed since this command began. "
                "Run it again."
            )
        if self.encoder is None:
            assert source is not None
            return read_peft(self.folder, source)[1]
        weights = read_tensors(self.folder / _WEIGHTS)
        require_finite(weights, self.folder / _WEIGHTS)
        return weights


def is_adapter_folder(folder: Path) -> bool:
    """True for a folder that `write_adapter` or peft has written."""
    return any((folder / name).exists() for name in (_ABOUT, PEFT_FILES[0]))


def read_adapter(folder: Path, source: Source | None = None) -> AdapterFolder:
    """The adapter of a folder, whose weights are only looked at. source: the encoder that it is put
    into, which a folder of peft's cannot be read without. Raises DataError.
    """
    if not (folder / _ABOUT).exists():
        if source is None:
            raise DataError(
                f"{display_path(folder)}: peft wrote this folder, so it holds LoRA; expected a "
                "bottleneck adapter (houlsby, pfeiffer)."
            )
        return AdapterFolder(folder, read_peft(folder, source)[0], None, _digest(folder))
    wrong = files.wrong_files(folder, (_ABOUT, _WEIGHTS))
    if wrong:
        raise DataError(
            f"{display_path(folder / wrong[0])}: is missing, or not as the export wrote it. "
            "Export or copy the adapter again."
        )
    return described_adapter(folder)


def described_adapter(folder: Path) -> AdapterFolder:
    """The adapter of a folder that `write_adapter` wrote, which may have no manifest yet. Raises
    DataError.
    """
    where = display_path(folder / _ABOUT)
    about = checked_settings(_About, read_object(folder / _ABOUT), where)
    read_header(folder / _WEIGHTS)
    try:
        spec = catalogue.specify("adapters", about.adapter).to_json()
    except RecipeError as error:
        message = f"{where}: describes an adapter that this version cannot build"
        raise DataError(f"{message} ({error.lines[0].rstrip('.')}).") from None
    if "of" in spec:
        raise DataError(f"{where}: expected an adapter by itself, got one made of others.")
    encoder = (about.encoder, about.encoder_digest)
    return AdapterFolder(folder, spec, encoder, _digest(folder))


def write_adapter(
    folder: Path,
    encoder: Encoder,
    spec: Mapping[str, Any],
    *,
    named: tuple[str, str],
    task: str,
) -> None:
    """Write what an adapter learned into a folder that exists. named: the encoder's name and
    digest. The manifest is left to the caller.
    """
    weights = {name: value.contiguous().cpu() for name, value in learned(encoder).items()}
    safetensors.torch.save_file(weights, folder / _WEIGHTS)
    about = _About(
        version=1, adapter=dict(spec), encoder=named[0], encoder_digest=named[1], task=task
    )
    files.write_json(folder / _ABOUT, about.model_dump())


def learned(encoder: Encoder) -> dict[str, Tensor]:
    """The weights that the adapter in an encoder has learned, by their names there."""
    own = encoder.own or frozenset()
    return {name: each for name, each in encoder.state_dict().items() if name in own}


def fill_adapter(encoder: Encoder, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into the adapter of an encoder. Raises DataError where they do not fit."""
    mine = learned(encoder)
    shapes = {name: tuple(each.shape) for name, each in mine.items()}
    theirs = {name: tuple(each.shape) for name, each in weights.items()}
    refuse_misfits(
        [
            f"tensor '{name}': expected {shapes.get(name, 'none')}, got {theirs.get(name, 'none')}."
            for name in sorted(shapes.keys() | theirs.keys())
            if shapes.get(name) != theirs.get(name)
        ],
        where,
    )
    with torch.no_grad():
        for name, each in mine.items():
            each.copy_(weights[name])


def _digest(folder: Path) -> str:
    """A digest of the files that say what the adapter is."""
    names = (_ABOUT, _WEIGHTS) if (folder / _ABOUT).exists() else PEFT_FILES
    lines = [f"{name} {files.sha256(folder / name)}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
