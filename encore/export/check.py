"""Compares an exported folder with Encore: a fresh process loads it as any user would, and its
outputs have to be the same.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import encore
from encore import catalogue
from encore.data.batches import collate
from encore.data.dataset import Dataset
from encore.data.inputs import read_unlabelled
from encore.data.load import load_task
from encore.data.token_store import TokenStore
from encore.data.tokenizer import TextTokenizer
from encore.encoder.adapted import without_adapters
from encore.encoder.encoder import Encoder, computing_in
from encore.errors import DataError, EncoreError
from encore.export.adapters import adapted_encoder, label_names
from encore.export.tokenizer import cannot_cut, left_to_model
from encore.export.write import Outputs, WrittenExport
from encore.model.task_model import encoders_of
from encore.recipe.load import load_recipe
from encore.recipe.schema import data_settings
from encore.runs.adapter_folder import described_adapter, fill_adapter
from encore.runs.loaded_task import LoadedTask
from encore.runs.predict import Model
from encore.techniques.pairs._default import PAIRING_OF_SIDES
from encore.training.streams import tokenize_set

__all__ = [
    "ReferenceOutputs",
    "check_job",
    "compare_outputs",
    "outputs_in_fresh_process",
    "read_again",
    "reference_outputs",
    "version_of",
]

_TOLERANCE = 1e-5
_MOST_ROWS = 64
_ENDLESS = 1 << 30
_SORRY = "Nothing was kept. Please report this; another version of transformers may work."


@dataclass(frozen=True)
class ReferenceOutputs:
    """Texts and Encore's own outputs for them in float32. raw: the texts as they are in the file;
    values: probabilities (the number itself for regression) or vectors, (rows, columns) float64;
    names: of the columns, where these are labels; rounding: how far these are from those of the
    run's own precision.
    """

    raw: tuple[list[str], list[str] | None]
    where: str
    store: TokenStore
    values: np.ndarray
    names: tuple[str, ...]
    rounding: float


def reference_outputs(
    model: Model, task: LoadedTask, how: Outputs, *, on: str | None = None
) -> ReferenceOutputs:
    """Encore's own outputs for rows of all lengths. how: which. Raises DataError if there are no
    rows.
    """
    raw, where = _rows(model, task, on)
    to = "hf" if how == "scores" else how
    if how != "scores" and task.columns.text_pair:  # each text by itself
        raw, task = (
            list(dict.fromkeys(text for pair in raw for text in pair)),
            replace(task, columns=replace(task.columns, text_pair=None)),
        )
    specials = [
        token.content for token in model.tokenizer.backend.get_added_tokens_decoder().values()
    ]
    raw = [row for row in raw if _readable(row, task, specials)]
    if not raw:
        raise DataError(f"{where}: has no rows to compare.")
    whole = read_unlabelled(raw, task.columns, normalise=task.normalise)
    store = _tokenized_there(whole, model.tokenizer, task, to)
    at = np.argsort(store.lengths, kind="stable")
    at = at[~store.cut[at]] if cannot_cut(task, to) else at
    if not len(at):
        why = (
            f"every row is longer than {task.max_length} tokens, and what {task.truncation} "
            f"makes of them cannot be compared"
        )
        raise DataError(f"{where}: {why}. Compare on shorter texts: --on FILE")
    at = at[np.unique(np.linspace(0, len(at) - 1, min(_MOST_ROWS, len(at))).astype(np.int64))]
    taken = [raw[row] for row in at.tolist()]
    sides = (
        ([one for one, _ in taken], [two for _, two in taken])
        if task.columns.text_pair
        else (taken, None)
    )
    store = store.take(at)
    values = (
        partial(
            _probabilities,
            model,
            task,
            read_unlabelled(taken, task.columns, normalise=task.normalise),
        )
        if how == "scores"
        else partial(_vectors if how == "vectors" else _state_means, task, store)
    )
    rounded = values()
    with computing_in(torch.float32, encoders_of(task.model)):
        exact = values()
    return ReferenceOutputs(
        sides,
        where,
        store,
        exact,
        label_names(task) if how == "scores" else (),
        float(np.abs(rounded - exact).max()),
    )


def outputs_in_fresh_process(
    jobs: Sequence[tuple[WrittenExport, ReferenceOutputs]],
) -> list[dict[str, Any]]:
    """The outputs of exported folders, from one process that shares nothing with this one. Raises
    EncoreError if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="encore-export-") as place:
        job_file, answer_file = Path(place, "jobs.json"), Path(place, "answers.json")
        job_file.write_text(
            json.dumps([check_job(written, rows) for written, rows in jobs]), encoding="utf-8"
        )
        paths = [
            str(Path(encore.__file__).parents[1]),
            *filter(None, [os.environ.get("PYTHONPATH")]),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        command = [sys.executable, "-m", "encore.export.fresh", str(job_file), str(answer_file)]
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=place,
        )
        if done.returncode or not answer_file.exists():
            messages = [line for line in done.stderr.splitlines() if line.strip()] or [
                f"it ended with {done.returncode} and printed nothing"
            ]
            raise EncoreError(
                f"not exported: a fresh process could not load what was written "
                f"({_versions()}): {messages[-1].strip()[:300]}. {_SORRY}"
            )
        return json.loads(answer_file.read_text(encoding="utf-8"))


def check_job(written: WrittenExport, rows: ReferenceOutputs) -> dict[str, Any]:
    """The job of `fresh.load_and_run` for one export."""
    return {
        "folder": str(written.folder.resolve()),
        "to": written.to,
        "how": written.how,
        "base": written.base,
        "own_class": written.own_class,
        "texts": rows.raw[0],
        "pairs": rows.raw[1],
    }


def compare_outputs(target: Path, expected: ReferenceOutputs, found: Mapping[str, Any]) -> float:
    """The largest difference. Raises EncoreError, one line, where token ids differ or a number does
    by more than 1e-5 (of its size, where that is above 1).
    """
    lead, where = (
        f"{target}: not exported: the folder, loaded in a fresh process ({_versions()}),",
        expected.where,
    )
    offsets = expected.store.offsets
    for row, ids in enumerate(found["ids"]):
        ours = expected.store.ids[offsets[row] : offsets[row + 1]].tolist()
        if ids != ours:
            at = next(
                (
                    place
                    for place, (one, other) in enumerate(zip(ids, ours, strict=False))
                    if one != other
                ),
                min(len(ids), len(ours)),
            )
            difference = (
                f"{expected.raw[0][row][:60]!r} ({where}): expected {ours[at:][:5]} at "
                f"place {at}, got {ids[at:][:5]}"
            )
            raise EncoreError(f"{lead} gives other tokens than Encore: {difference}. {_SORRY}")
    values = found["values"]
    if values and isinstance(values[0], Mapping):
        strange = sorted(set(values[0]) ^ set(expected.names))
        if strange:
            raise EncoreError(
                f"{lead} has other labels than Encore: {', '.join(strange)}. {_SORRY}"
            )
        values = [[row[name] for name in expected.names] for row in values]
    got = np.array(values, dtype=np.float64)
    if got.shape != expected.values.shape:
        raise EncoreError(
            f"{lead} gives {got.shape} numbers, Encore {expected.values.shape}. {_SORRY}"
        )
    off = np.abs(got - expected.values)
    worst = off / np.maximum(1, np.abs(expected.values))
    if not (worst <= _TOLERANCE).all():
        row, column = map(
            int, np.unravel_index(np.argmax(np.nan_to_num(worst, nan=np.inf)), worst.shape)
        )
        what = f"'{expected.names[column]}'" if expected.names else f"number {column} of the vector"
        raise EncoreError(
            f"{lead} gives other outputs than Encore: {what} of {expected.raw[0][row][:60]!r} "
            f"({where}): expected {expected.values[row, column]:.6f}, "
            f"got {got[row, column]:.6f}; {int((worst > _TOLERANCE).any(axis=1).sum())} of "
            f"{len(off)} rows differ. {_SORRY}"
        )
    return float(off.max())


def _rows(model: Model, task: LoadedTask, on: str | None) -> tuple[list[Any], str]:
    """Texts, or pairs of texts, as they are in the file: the first dev set's, or another
    table's.
    """
    if on is not None:
        dataset, where = read_unlabelled(on, task.columns), on
    else:
        try:
            recipe = load_recipe(model.folder / "recipe.yaml")
            settings = replace(data_settings(recipe, task.name), normalise="none")
            data = load_task(task.name, settings)
        except EncoreError as error:
            raise DataError(
                f"the run's dev set, to compare on: {error.lines[0]} Or compare on other "
                f"texts: --on FILE"
            ) from None
        name, dataset = next(iter(data.dev.items()))
        where = f"dev set {name}"
    texts = dataset.texts.to_pylist()
    return list(
        zip(texts, _pairs(dataset), strict=True)
    ) if task.columns.text_pair else texts, where


def _readable(row: Any, task: LoadedTask, specials: Sequence[str]) -> bool:
    """True if a tokenizer of transformers can read this row as Encore does. The card lists the
    exceptions (`write._limits`). specials: the special tokens.
    """
    if task.columns.text_pair and not row[1]:
        return False
    return task.normalise in (None, "none") or not any(
        special in text
        for special in specials
        for text in (row if task.columns.text_pair else [row])
    )


def _pairs(dataset: Dataset) -> list[str]:
    assert dataset.pairs is not None
    return dataset.pairs.to_pylist()


def _tokenized_there(
    whole: Dataset, tokenizer: TextTokenizer, task: LoadedTask, to: str
) -> TokenStore:
    """The tokens that AutoTokenizer has to produce for these texts. If the model makes the rows
    itself, these are both texts of a pair, uncut, each as if it were alone.
    """
    if not left_to_model(task, to):
        pair = (
            {"name": PAIRING_OF_SIDES[1]}
            if whole.pairs is None
            else {**task.pair, "order": "given"}
        )
        return tokenize_set(
            whole, tokenizer, pair, max_length=task.max_length, truncation=task.truncation
        )
    both = tokenize_set(
        whole, tokenizer, {"name": PAIRING_OF_SIDES[2]}, max_length=_ENDLESS, truncation="head"
    )
    both = both.take(np.arange(len(both)).reshape(2, -1).T.ravel())
    return replace(both, offsets=both.offsets[::2], cut=both.cut[::2])


def _probabilities(model: Model, task: LoadedTask, rows: Dataset) -> np.ndarray:
    return task.decision.probabilities(model.scores(rows, task=task.name), task.labels)


def _vectors(task: LoadedTask, store: TokenStore) -> np.ndarray:
    """(rows, width) float64: what a head for one text sees, or what one for two compares."""
    with torch.inference_mode():
        vectors, _ = task.model.branches[0](collate(store, np.arange(len(store))))
        vectors = task.model.head.embed(vectors) if task.apart else vectors
    return vectors.double().numpy()


def _state_means(task: LoadedTask, store: TokenStore) -> np.ndarray:
    """(rows, width) float64: the mean of a row's last states in the encoder with the adapter."""
    return state_means(adapted_encoder(task), store)


def state_means(encoder: Encoder, store: TokenStore) -> np.ndarray:
    """(rows, width) float64: the mean of each row's last states."""
    tokens = collate(store, np.arange(len(store)))
    with torch.inference_mode():
        states = encoder.run(encoder.embedded(tokens), tokens, layers=(-1,)).states[-1]
        assert states is not None
        means = [each.float().mean(0) for each in states.split(tokens.lengths)]
    return torch.stack(means).double().numpy()


def read_again(written: WrittenExport, task: LoadedTask, rows: ReferenceOutputs) -> dict[str, Any]:
    """The outputs of a folder of an adapter, put into the task's encoder as it was before."""
    trained = adapted_encoder(task)
    plain = without_adapters(trained)
    found = described_adapter(written.folder)
    fresh: Encoder = catalogue.build("adapters", found.spec)(plain).eval()
    fill_adapter(fresh, found.weights(None), written.folder)
    ids, offsets = rows.store.ids, rows.store.offsets
    with computing_in(torch.float32, [fresh]):
        values = state_means(fresh, rows.store).tolist()
    own = [ids[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())]
    return {"ids": own, "values": values}


def version_of(name: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return metadata.version(name.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return None


def _versions() -> str:
    return ", ".join(
        f"{name.replace('_', '-')} {version}"
        for name in ("transformers", "sentence_transformers", "peft")
        if (version := version_of(name))
    )
