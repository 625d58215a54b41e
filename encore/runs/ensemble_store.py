"""The models of an ensemble on disk. The folder needs no run: every member's weights are in it.

ENSEMBLE/members/N/: of member N, from 1, the files of its run that say how to build and read it,
and weights.safetensors with the tensors that no earlier member has. tensors.json says for each of
the run's weight files where its tensors are: {name: [member, key]}, the key being the sha256 of a
tensor's type, shape and bytes. An encoder that adapters were put into is stored like any other.
ENSEMBLE/tokenizers/N/: every distinct tokenizer once.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from encore import files
from encore.model.parameters import unique_state
from encore.runs.contents import MODEL_FILES, WEIGHTS, weights_of_task
from encore.runs.model_folder import read_models, read_parts

__all__ = ["MemberStore", "StoredWeights", "member_folder"]

_TENSORS, _TOKENIZER = "tensors.json", MODEL_FILES[2]
_COPIED = ("recipe.yaml", "data.json", "environment.json")


def member_folder(ensemble: Path, number: int) -> Path:
    """The folder of a member, counted from 1."""
    return ensemble / "members" / str(number)


@dataclass
class MemberStore:
    """Writes members into the folder of an ensemble, one after the other. tensors: the key of
    every tensor so far → the number of the member that stores it; tokenizers: sha256 → number.
    """

    folder: Path
    tensors: dict[str, int] = field(default_factory=dict)
    tokenizers: dict[str, int] = field(default_factory=dict)
    n_members: int = 0

    def add(self, run: Path) -> int:
        """Copy what a complete run predicts with; returns the number of its tokenizer. Raises
        DataError where its weights, or the encoder that its adapters belong to, cannot be read.
        """
        self.n_members += 1
        place, model = member_folder(self.folder, self.n_members), run / "model"
        place.mkdir(parents=True)
        for name in _COPIED:
            if (run / name).is_file():
                shutil.copyfile(run / name, place / name)
        for name in MODEL_FILES[:2]:
            shutil.copyfile(model / name, place / name)
        self._add_weights(model, place)
        return self._tokenizer(model / _TOKENIZER)

    def _add_weights(self, model: Path, place: Path) -> None:
        models = read_models(model, *read_parts(model))
        if (model / WEIGHTS).exists():
            states = {WEIGHTS: unique_state(models)}
        else:
            states = {
                weights_of_task(task): unique_state({task: each}) for task, each in models.items()
            }
        new: dict[str, Tensor] = {}
        where: dict[str, dict[str, list[Any]]] = {}
        for file, state in states.items():
            where[file] = {}
            for name, tensor in state.items():
                key = _key(plain := tensor.detach().contiguous().cpu())
                if self.tensors.setdefault(key, self.n_members) == self.n_members:
                    new[key] = plain
                where[file][name] = [self.tensors[key], key]
        safetensors.torch.save_file(new, place / WEIGHTS)
        files.write_json(place / _TENSORS, where)

    def _tokenizer(self, file: Path) -> int:
        number = self.tokenizers.setdefault(files.sha256(file), len(self.tokenizers) + 1)
        place = self.folder / "tokenizers" / str(number)
        if not place.is_dir():
            place.mkdir(parents=True)
            shutil.copyfile(file, place / _TOKENIZER)
        return number


def _key(tensor: Tensor) -> str:
    about = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    content: np.ndarray = tensor.reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(about + content.tobytes()).hexdigest()


@dataclass(frozen=True)
class StoredWeights:
    """The weights of one member of an ensemble whose files were checked."""

    ensemble: Path
    number: int

    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Weight file of the run → name → where the tensor is."""
        found = files.read_json(member_folder(self.ensemble, self.number) / _TENSORS)
        return {str(file): dict(where) for file, where in found.items()}

    def read(self, file: str) -> dict[str, Tensor]:
        """The tensors of one of the run's weight files, by name."""
        where = self.files()[file]
        found: dict[str, Tensor] = {}
        for number in sorted({member for member, _ in where.values()}):
            with safe_open(member_folder(self.ensemble, number) / WEIGHTS, "pt") as stored:
                found |= {
                    name: stored.get_tensor(key)
                    for name, (member, key) in where.items()
                    if member == number
                }
        return found
