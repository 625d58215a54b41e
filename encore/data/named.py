"""The named tasks: their files, label names, metrics, and what qualifies figures on them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from encore.data.hub import cache_folder, download
from encore.data.read import TableStream, open_table, read_table
from encore.data.table import Table, display_path, reject
from encore.errors import DataError, Problem, RecipeError, did_you_mean
from encore.types import TaskKind

__all__ = [
    "NamedTask",
    "find_task",
    "open_split",
    "read_named_tasks",
    "read_split",
    "task_names",
    "whereabouts",
]

_TABLE = Path(__file__).with_name("named_tasks.toml")


@dataclass(frozen=True)
class NamedTask:
    """One named task.

    files: {split: (file, sha256)}; the split is "train" or the name of a dev set, the first dev set
    decides. labels: in the order of the ids in the files. cells: what a label cell may hold besides
    an id or a name. official: True, or what differs from the official set. notes: what else to
    mind. source: repository@commit of the text. negative: the third column of triplets that are
    read as two labelled pairs each. negatives: the columns that `data.negative` may name.
    other_labels: the task's settings with another label column, by its name.
    """

    folder: str
    files: Mapping[str, tuple[str, str]]
    kind: TaskKind
    metrics: tuple[str, ...]
    labels: tuple[str, ...] = ()
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    negative: str | None = None
    negatives: tuple[str, ...] = ()
    ordered: bool = False
    normalise: str | None = None
    cells: Mapping[str, int] = field(default_factory=dict)
    official: bool | str = True
    notes: tuple[str, ...] = ()
    source: str = ""
    other_labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@cache
def read_named_tasks() -> Mapping[str, NamedTask]:
    """{name: task}, read from named_tasks.toml once."""
    with _TABLE.open("rb") as file:
        return {name: _task(entry) for name, entry in tomllib.load(file).items()}


def _task(entry: Mapping[str, Any]) -> NamedTask:
    files = {
        split: (f"{entry['folder']}/{split}.parquet", digest)
        for split, digest in entry["files"].items()
    }
    others = {
        label: _with_tuples(settings) for label, settings in entry.get("other_labels", {}).items()
    }
    return NamedTask(**{**_with_tuples(entry), "files": files, "other_labels": others})


def _with_tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def task_names() -> tuple[str, ...]:
    """The named tasks, sorted."""
    return tuple(sorted(read_named_tasks()))


def find_task(name: str, *, label: str | None = None) -> NamedTask:
    """The named task; `label="stars"` makes `imdb` the five-class LMRD task. Raises RecipeError
    with a suggestion.
    """
    if name not in read_named_tasks():
        raise RecipeError(
            Problem(
                message=f"no task called '{name}', and no data.train that names a file.",
                remedy=did_you_mean(name, task_names()),
            )
        )
    task = read_named_tasks()[name]
    if label is None or label == task.label:
        return task
    if label not in task.other_labels:
        raise RecipeError(
            Problem(
                message=f"task '{name}' has no label column '{label}'.",
                remedy=did_you_mean(label, [task.label, *task.other_labels]),
            )
        )
    settings = dict(task.other_labels[label])
    notes = (*settings.pop("notes", ()), *task.notes)
    return replace(task, label=label, notes=notes, **settings)


# -------------------------------------------------------------------------------- finding the files


def read_split(name: str, task: NamedTask, split: str) -> Table:
    """Read one split, its digest checked. Label cells are the ids of the file; triplets come as two
    labelled pairs each.

    Looks in ENCORE_DATA, then ../shared/data seen from the working directory and from the
    repository, then the cache, then the data set that ENCORE_DATA_REPO names. Raises DataError:
    found nowhere (with how to get it), wrong digest.
    """
    table = read_table(_locate(name, *task.files[split]))
    _require_digest(name, task, split, table)
    return _pairs(table, task) if task.negative is not None else table


def open_split(name: str, task: NamedTask, split: str) -> TableStream:
    """Survey one split as it is in its file, for reading block by block. Raises DataError as
    `read_split` does.
    """
    found = open_table(_locate(name, *task.files[split]))
    _require_digest(name, task, split, found.shape)
    return found


def _require_digest(name: str, task: NamedTask, split: str, table: Table) -> None:
    digest = task.files[split][1]
    if table.digest != digest:
        raise DataError(
            Problem(
                where=table.name,
                expected=f"sha256 {digest}",
                got=f"{table.digest}: not the file that task '{name}' was made for",
                remedy="Copy it again, or use it as your own data:",
                setting="data.train",
                change=table.name,
            )
        )


def _folders() -> list[Path]:
    """The folders that may hold the files of named tasks, in the order of the search."""
    given = os.environ.get("ENCORE_DATA")
    if given and not Path(given).is_dir():
        reject(
            f"ENCORE_DATA={given}",
            "no such folder.",
            "Set it to the folder that holds the data sets (rte/train.parquet, …), or unset it.",
        )
    repository = Path(__file__).resolve().parents[2]
    folders = [Path(given)] if given else []
    folders += [Path.cwd().parent / "shared" / "data"]
    folders += (
        [repository.parent / "shared" / "data"] if (repository / "pyproject.toml").is_file() else []
    )
    return list(dict.fromkeys(folders))


def _locate(name: str, file: str, digest: str) -> Path:
    folders = _folders()
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    cached = cache_folder() / "data" / file
    repo = os.environ.get("ENCORE_DATA_REPO")
    if repo:
        return download(file, sha256=digest, repo=repo)
    if cached.is_file():
        return cached
    given = display_path(folders[0]) if os.environ.get("ENCORE_DATA") else "not set"
    cache_path = str(cache_folder() / "data").replace(str(Path.home()), "~", 1)
    raise DataError(
        Problem(
            task=name,
            message=f"{file} is not on this machine (looked in ENCORE_DATA ({given}), "
            f"../shared/data, {cache_path}).",
            remedy="Set ENCORE_DATA to a folder that holds it, or ENCORE_DATA_REPO to a Hugging "
            "Face data set that does.",
        )
    )


def whereabouts(name: str) -> str:
    """The place of a named task's files in a word: "here", "in the cache", "to download" or "not
    here". Their digests are checked when they are read.
    """
    files = [file for file, _ in read_named_tasks()[name].files.values()]
    folders = _folders()
    if all(any((folder / file).is_file() for folder in folders) for file in files):
        return "here"
    if all((cache_folder() / "data" / file).is_file() for file in files):
        return "in the cache"
    return "to download" if os.environ.get("ENCORE_DATA_REPO") else "not here"


def _pairs(table: Table, task: NamedTask) -> Table:
    """The pairs of a table of triplets: rows 2·r and 2·r + 1 are triplet r's entailed and
    contradicting pair.
    """
    columns = table.columns
    anchor, positive, negative = (
        columns[word].combine_chunks() for word in (task.text, task.text_pair, task.negative)
    )
    n_rows = len(anchor)
    twice = np.repeat(np.arange(n_rows), 2)
    order = np.arange(2 * n_rows).reshape(2, n_rows).T.reshape(-1)  # 0, n, 1, n + 1, …
    pairs = pa.table(
        {
            task.text: anchor.take(pa.array(twice)),
            task.text_pair: pa.concat_arrays([positive, negative]).take(pa.array(order)),
            task.label: pa.array(np.tile(np.array([1, 0]), n_rows)),
        }
    )
    return replace(table, columns=pairs, lines=None, rows=np.arange(2 * n_rows))
