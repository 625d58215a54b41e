"""A disk that is full at any write: one clear line that names the file; with room again, the same
command ends in the same bytes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from conftest import Tables, Warm

from encore import files
from encore.errors import TrainingError
from encore.runs.execute import execute
from reliability.counts import record
from reliability.damage import content_of

PROMISE = (
    "A disk that is full when a run writes a file: one clear line, and with room again the same "
    "command ends in the same bytes"
)
SEARCH_PROMISE = (
    "A disk that is full when a search writes study.db: one clear line, and with room again the "
    "same command completes the search"
)
SEARCH = """\
encoder: {encoder}
precision: fp32
tasks: {{verdict: {{data: {{train: {train}, dev: {dev}, text: text, label: verdict}}}}}}
pooling: mean
max_length: 32
metrics: [accuracy]
plan: {{batch_size: 26, epochs: 1}}
search: {{plan.lr: {{log_uniform: [1e-4, 3e-2]}}}}
trials: 1
seeds: [7]
"""
NAMES = (
    "recipe.yaml",
    "resolved.json",
    "environment.json",
    "data.json",
    "steps.jsonl",
    "metrics.jsonl",
    "dev-1.parquet",
    "state.json",
    "tensors.safetensors",
    "weights.safetensors",
    "tokenizer.json",
    "results.json",
    "cost.json",
    files.MANIFEST,
)


class Disk:
    """Counts what is written, without waiting for the disk, and is full at one of these writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.full: Callable[[int, str], bool] = lambda number, name: False
        save = safetensors.torch.save_file

        def synced(number: int) -> None:
            path = os.readlink(f"/proc/self/fd/{number}")
            if os.path.isfile(path):
                self._write(path)

        def saved(tensors: Any, path: Path, *more: Any) -> None:
            self._write(str(path))
            save(tensors, path, *more)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(safetensors.torch, "save_file", saved)

    def _write(self, path: str) -> None:
        """Note the name that the file will have; half of a file that is being written is there."""
        name = os.path.basename(path)
        name = name[1:].rsplit(".", 2)[0] if name.endswith(".part") else name
        self.names.append(name)
        if self.full(len(self.names) - 1, name):
            if os.path.exists(path) and name != "steps.jsonl":
                os.truncate(path, os.path.getsize(path) // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_disk_that_is_full_at_a_write(
    every: bool, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the last write of each file, or at every write that there is."""
    prepared = tables.prepared("plan.keep=best", "plan.epochs=1")
    disk = Disk(monkeypatch)
    execute(prepared, tmp_path / "whole", checkpoint_steps=3)
    names, wanted = tuple(disk.names), content_of(tmp_path / "whole" / prepared.name)
    listed = [*files.read_json(tmp_path / "whole" / prepared.name / files.MANIFEST), files.MANIFEST]
    assert set(NAMES) <= set(names)
    places = [max(at for at, each in enumerate(names) if each == name) for name in NAMES]
    if every:
        places = list(range(len(names)))
    failed = []
    for number, at in enumerate(places):
        runs, disk.names = tmp_path / str(number), []
        disk.full = lambda number, name, at=at: number == at
        with pytest.raises(TrainingError) as error:
            execute(prepared, runs, checkpoint_steps=3)
        (line,) = error.value.lines
        disk.full = lambda number, name: False
        execute(prepared, runs, checkpoint_steps=3)
        found = content_of(runs / prepared.name)
        clear = str(runs) in line and "cannot be written (No space left on device)" in line
        if not clear or any(found.get(name) != wanted[name] for name in listed):
            failed.append((names[at], line))
    record(PROMISE, len(places), len(places) - len(failed))
    assert not failed


@pytest.mark.nightly
def test_a_disk_that_is_full_under_the_database_of_a_search(
    warm: Warm, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    """At its first page, and in the middle of its tables."""
    recipe = tmp_path / "search.yaml"
    recipe.write_text(SEARCH.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev))
    limits, failed = (4_000, 100_000), []
    for limit in limits:
        runs = tmp_path / str(limit)
        words = ["tune", recipe, "--processes", "1", "--runs", runs]
        stopped = warm.run(words, undrawn=True, limit_bytes=limit)
        (folder,) = runs.glob("tune-*")
        line = stopped.err.splitlines()[-1]
        clear = line.startswith(f"{folder / 'study.db'}: cannot be used (") and line.endswith(
            "Free some space; the same command then resumes."
        )
        again = warm.run(words, undrawn=True)
        if (stopped.code, clear, again.code) != (4, True, 0):
            failed.append((limit, stopped.err, again.err))
        assert (folder / files.MANIFEST).exists() == (again.code == 0)
    record(SEARCH_PROMISE, len(limits), len(limits) - len(failed))
    assert not failed
