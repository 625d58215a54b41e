"""Compare what two versions of Encore have written: run folders, comparisons and searches.

Files are compared byte for byte, except machine, versions, times and logs, which are no results
(VOLATILE). Used by benchmarks/same_bits.py.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy

VOLATILE = {"environment.json", "cost.json", "lock", "study.db", "time.csv", "time.svg"}
NAMED = {"resolved.json"}  # what the name of a run is a hash of
FOLDER, NAME = b"<folder>", b"<name>"  # what masks the working folder, and names of runs


def differences(rev: Path, now: Path, case: str, *, by_name: bool) -> tuple[list[str], int]:
    """List the differences between the results of two working folders, a line each.

    rev, now: working folders, with the results of the case in runs/CASE. by_name: compare the names
    of runs too. Returns the lines and how many files are equal.
    """
    lines, n_same, seen = [], 0, set()
    found = [results_in(side / "runs" / case) for side in (rev, now)]
    names = [set[str]() if by_name else names_in(each.values()) for each in found]
    for label in dict.fromkeys([*found[0], *found[1]]):
        old, new = (each.get(label) for each in found)
        if old is None or new is None:
            lines.append(f"{label}: only {'here' if old is None else 'at REV'}")
            continue
        if (old, new) in seen:
            continue
        seen.add((old, new))
        if by_name and old.name != new.name:
            lines.append(f"{label}: name {old.name} at REV, {new.name} here")
        olds, news = contents(old, rev, names[0]), contents(new, now, names[1])
        for name in sorted(olds.keys() | news.keys()):
            if name not in olds or name not in news:
                lines.append(f"{label}/{name}: only {'here' if name in news else 'at REV'}")
            elif olds[name] == news[name]:
                n_same += 1
            else:
                lines.append(f"{label}/{name}: {first_difference(name, olds[name], news[name])}")
    return lines, n_same


def results_in(runs: Path) -> dict[str, Path]:
    """Map labels to the folders that commands have left in `runs`.

    A label is the role of a folder and not its name: runs of a comparison are labelled by study,
    variant and seed, those of a search by trial. A run with several roles has several labels.
    """
    found: dict[str, Path] = {}
    folders = sorted(path for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    for folder in folders:
        if not (folder / "study.json").is_file():
            continue
        kind = "search" if (folder / "trials.csv").is_file() else "comparison"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # damaged: by its name
            study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
            own = f"{kind} {study['name']}"
            found[own] = folder
            for role, run in _trials(folder) if kind == "search" else _cells(folder):
                if (runs / run).is_dir():
                    found[f"{own}, {role}"] = runs / run
    rest = [folder for folder in folders if folder not in found.values()]
    return found | ({"run": rest[0]} if len(rest) == 1 else {each.name: each for each in rest})


def names_in(folders: Iterable[Path]) -> set[str]:
    """Collect the names of folders, and of the runs that comparisons name without having them."""
    names = set()
    for folder in folders:
        names.add(folder.name)
        if (folder / "cells.json").is_file():
            names |= {run for _, run in _cells(folder)}
    return names


def _trials(search: Path) -> Iterator[tuple[str, str]]:
    with (search / "trials.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for number, run in enumerate(row["runs"].split(), 1):
                yield f"trial {row['trial']}, run {number}", run


def _cells(comparison: Path) -> Iterator[tuple[str, str]]:
    parts = json.loads((comparison / "cells.json").read_text(encoding="utf-8"))
    for part, cells in parts.items():
        for cell in cells:
            if cell["run"]:
                role = f"{cell['study']}, {cell['variant']}, seed {cell['seed']}"
                yield role if part == "cells" else f"{part}, {role}", cell["run"]


def contents(folder: Path, side: Path, names: Collection[str]) -> dict[str, bytes]:
    """Map the path of each file of a result to its bytes, with what may differ in them masked.

    side: the working folder, whose path is masked. names: of folders, masked likewise; if there are
    any, resolved.json is left out. A digest in a manifest is replaced by "as the file" where it is
    right, since the files are compared themselves.
    """
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = file.relative_to(folder)
        left_out = relative.name in VOLATILE | (NAMED if names else set())
        if left_out or relative.parts[0] == "log":
            continue
        data = file.read_bytes()
        if file.name == "manifest.json":
            data = _verified(folder / relative.parent, data)
        elif relative.as_posix() == "figures/about.json":
            about = json.loads(data)
            about.pop("time", None)  # a figure of how long trials took
            data = json.dumps(about, indent=1).encode()
        elif file.name == "results.json" and b'"task_notes"' in data:
            results = json.loads(data)
            del results["task_notes"]  # "notes" again, in parts
            data = (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode()
        elif file.name == "metrics.jsonl" and b'"dev_loss"' in data:
            records = [json.loads(line) for line in data.splitlines()]
            for record in records:
                record.pop("dev_loss", None)  # of the scores, which are compared themselves
            data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        if file.name != "manifest.json" and file.suffix not in (".parquet", ".safetensors"):
            data = data.replace(str(side).encode(), FOLDER)
            for name in sorted(names, key=len, reverse=True):  # the longest first
                data = data.replace(name.encode(), NAME)
        found[relative.as_posix()] = data
    return found


def _verified(folder: Path, manifest: bytes) -> bytes:
    entries = json.loads(manifest)
    for name, digest in entries.items():
        file = folder / name
        right = file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest
        entries[name] = "as the file" if right else digest
    return json.dumps(entries, indent=1).encode()


def first_difference(name: str, rev: bytes, now: bytes) -> str:
    """Describe the first difference between two versions of a file, and count the others."""
    try:
        pair = [list(_entries(name, data)) for data in (rev, now)]
    except (ValueError, OSError):
        return "the bytes differ, and cannot be read"
    if [key for key, _ in pair[0]] != [key for key, _ in pair[1]]:
        first, second = dict(pair[0]), dict(pair[1])
        missing = [f"{key} only at REV" for key in first if key not in second]
        missing += [f"{key} only here" for key in second if key not in first]
        return _first(missing) if missing else "another order"
    unequal = [
        f"{key} is {_short(old)} at REV, {_short(new)} here"
        for (key, old), (_, new) in zip(*pair, strict=True)
        if repr(old) != repr(new)
    ]
    return _first(unequal) if unequal else "the bytes differ, though they hold the same"


def _entries(name: str, data: bytes) -> Iterator[tuple[str, Any]]:
    if name.endswith(".json"):
        yield from _leaves(json.loads(data))
    elif name.endswith(".jsonl"):
        for number, line in enumerate(data.splitlines(), 1):
            yield from _leaves(json.loads(line), f"line {number}: ")
    elif name.endswith(".parquet"):
        for number, row in enumerate(pq.read_table(io.BytesIO(data)).to_pylist()):
            yield from _leaves(row, f"row {number}: ")
    elif name.endswith(".safetensors"):
        for key, value in sorted(safetensors.numpy.load(data).items()):
            digest = hashlib.sha256(value.tobytes()).hexdigest()[:8]
            norm = float(np.linalg.norm(value.astype(np.float64)))
            yield key, f"{value.dtype}{list(value.shape)} of norm {norm:.9g} ({digest})"
    else:
        for number, text in enumerate(data.decode().splitlines(), 1):
            yield f"line {number}", text


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in pairs:
            yield from _leaves(entry, _joined(path, key))
    else:
        yield path, value


def _joined(path: str, key: Any) -> str:
    return f"{path}{key}" if not path or path.endswith(": ") else f"{path}.{key}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _first(lines: Sequence[str]) -> str:
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
