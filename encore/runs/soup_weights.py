"""The mean of the weights of several runs, in a model that scores with it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from encore import files
from encore.errors import RecipeError
from encore.model.parameters import unique_state
from encore.model.selection import base_names
from encore.model.task_model import TaskModel
from encore.runs.candidates import Candidate
from encore.runs.contents import MODEL_FILES, WEIGHTS, weights_of_task
from encore.runs.model_folder import fill_models, read_models, read_parts
from encore.training.scoring import score_together
from encore.training.streams import Rows

__all__ = ["SoupModel", "mean_weights", "require_one_architecture"]

# Of model.json: what is another thing in each run, and changes nothing of how a model is built.
_OWN = ("seed", "encoder", "encoder_digest", "encoder_run")
_WORDS = {"encoder_digest": "the encoder that its adapters belong to"}


def mean_weights(places: Sequence[Path]) -> dict[str, Tensor]:
    """Name → the mean of a tensor over weight files with the same tensors: summed in float64 in the
    order given, and rounded once, so that the mean of equal tensors is the tensor to the bit.
    Tensors of whole numbers, which are no weights, are those of the first.
    """
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(safe_open(place, "pt")) for place in places]
        names = list(opened[0].keys())
        return {name: _mean([one.get_tensor(name) for one in opened]) for name in names}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    total = first.double()
    for each in tensors[1:]:
        total += each.double()
    return (total / len(tensors)).to(first.dtype)


def require_one_architecture(candidates: Sequence[Candidate]) -> None:
    """Raises RecipeError that names the first difference between the models of these runs."""
    first = candidates[0]
    mine = _architecture(first)
    wrong = []
    for one in candidates[1:]:
        theirs = _architecture(one)
        different = next((key for key in (*mine, *theirs) if mine.get(key) != theirs.get(key)), "")
        if different:
            what = _WORDS.get(different, different)
            pair = mine.get(different), theirs.get(different)
            names = [each.get("name") if isinstance(each, Mapping) else each for each in pair]
            values = [_short(each) for each in (names if names[0] != names[1] else pair)]
            shown = f" ({values[1]} and {values[0]})" if values[0] != values[1] else ""
            wrong.append(
                f"{one.name} and {first.name} differ in {what}{shown}, so their weights have no "
                f"mean. A soup needs one architecture, labels and tokenizer; `encore ensemble` "
                f"takes others."
            )
    if wrong:
        raise RecipeError(wrong)


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping) and "name" in value:
        settings = [f"{key}={each}" for key, each in value.items() if key != "name"]
        return " ".join([str(value.get("name")), *settings])
    words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return words if len(words) <= 60 else f"{words[:59]}…"


def _architecture(one: Candidate) -> dict[str, Any]:
    """All that must be equal, by the words that a message names it by, the clearest first."""
    model = one.folder / "model"
    whole = dict(one.assembly)
    tasks = whole.pop("tasks", {})
    found: dict[str, Any] = {"tasks": tuple(tasks)}
    for task, spec in tasks.items():
        columns = {**spec.get("columns", {})}
        columns.pop("notes", None)
        for key, each in {**spec, "columns": columns}.items():
            if key == "labels":
                found[f"labels of '{task}'"] = each.get("names") or each.get("kind")
                found[f"kind of '{task}'"] = (each.get("kind"), each.get("ordered"))
            elif key != "metrics":
                found[f"{key} of '{task}'"] = each
    config = dict(files.read_json(model / MODEL_FILES[0]))
    found |= {key: each for key, each in whole.items() if key not in _OWN}
    if "adapter" in whole:
        found |= {"encoder_digest": whole.get("encoder_digest")}
    named = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
    found |= {f"encoder.{key}": each for key, each in config.items() if key not in named}
    found |= {"tokenizer": files.sha256(model / MODEL_FILES[2])[:12]}
    for name in _weight_files(model, tuple(tasks)):
        with safe_open(model / name, "pt") as opened:
            for tensor in sorted(opened.keys()):
                about = opened.get_slice(tensor)
                found[f"tensor {tensor}"] = (about.get_dtype(), tuple(about.get_shape()))
    return found


def _weight_files(model: Path, tasks: Sequence[str]) -> list[str]:
    return [WEIGHTS] if (model / WEIGHTS).exists() else [weights_of_task(task) for task in tasks]


@dataclass(frozen=True)
class SoupModel:
    """A model of the architecture that all candidates have. rows: task → dev set → its rows."""

    candidates: Sequence[Candidate]
    models: Mapping[str, TaskModel]
    rows: Mapping[str, Mapping[str, Rows]]

    @classmethod
    def of(
        cls, candidates: Sequence[Candidate], rows: Mapping[str, Mapping[str, Rows]]
    ) -> SoupModel:
        """Raises DataError where the encoder that adapters belong to cannot be found."""
        model = candidates[0].folder / "model"
        models = read_models(model, *read_parts(model))
        return cls(candidates, {task: each.eval() for task, each in models.items()}, rows)

    def weights(self, members: Sequence[int]) -> dict[str, dict[str, Tensor]]:
        """Weight file → its tensors: the means over these candidates."""
        names = _weight_files(self.candidates[0].folder / "model", tuple(self.models))
        return {
            name: mean_weights([self.candidates[each].folder / "model" / name for each in members])
            for name in names
        }

    def scores(self, members: Sequence[int]) -> dict[str, dict[str, np.ndarray]]:
        """Task → dev set → (rows, n_scores) float32 of the mean of these candidates' weights."""
        for name, found in self.weights(members).items():
            whole = name == WEIGHTS
            filled = {
                task: each
                for task, each in self.models.items()
                if whole or weights_of_task(task) == name
            }
            fixed = base_names(filled)
            kept = {key: each for key, each in unique_state(filled).items() if key in fixed}
            fill_models(filled, Path(name), found | kept)
        with torch.inference_mode():
            return {
                task: {
                    split: score_together(
                        {task: self.models[task]},
                        one,
                        {task: self._n_scores(task)},
                    )[task]
                    for split, one in sets.items()
                }
                for task, sets in self.rows.items()
            }

    def _n_scores(self, task: str) -> int:
        return self.candidates[0].labels[task].n_scores
