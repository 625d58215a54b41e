"""Trains a run in its folder, which is named by the hash of the run's specification. The same
recipe again resumes it, or finds it complete.

- recipe.yaml, resolved.json: the recipe with every default, and the run's specification.
- environment.json, cost.json: machine and versions; seconds, speed, memory. No part of the results.
- data.json: files, digests, rows, label counts, notes.
- steps.jsonl, metrics.jsonl: a line for every step, and for every epoch.
- predictions/TASK/SPLIT-EPOCH.parquet: digest and row of each example, raw scores, label.
- model/: weights, encoder configuration, tokenizer, and how they go together. Runs of a comparison
  keep none.
- results.json: metrics with intervals, beside the baselines. Written last but for the manifest.
- manifest.json: the sha256 of every result file. It exists if and only if the run is complete.
- checkpoint/: while the run trains, all that it needs to resume bit for bit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from encore import files
from encore.data.dataset import describe_task_data
from encore.errors import TrainingError
from encore.model.free_memory import keeping_freed_memory
from encore.recipe.write import anchored, to_yaml
from encore.runs.checkpoint import CheckpointClock
from encore.runs.environment import describe_environment
from encore.runs.folder import RunResult, read_result
from encore.runs.memory import require_memory
from encore.runs.places import is_kept, run_folder
from encore.runs.prepare import build_models
from encore.runs.prepared import Prepared
from encore.runs.teachers import teach
from encore.runs.writer import Pruned, RunBusy, RunWriter
from encore.training.loop import train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState, own_losses

__all__ = ["Watcher", "execute", "execute_when_free"]
Watcher = Callable[[StepReport | EvalReport], None]


def execute(
    prepared: Prepared,
    runs: Path,
    *,
    watch: Watcher | None = None,
    checkpoint_seconds: float = 60.0,
    checkpoint_steps: int | None = None,
    keep_model: bool = True,
    force: bool = False,
) -> RunResult:
    """Train, evaluate and save; resume an interrupted run; or read the result of a complete one.

    watch: receives every report; an exception that it raises ends training (Pruned: for good). A
    checkpoint is written every `checkpoint_seconds` and at the end of an epoch, if saving takes
    less than a twentieth of the time; with `checkpoint_steps` every so many steps and at the end of
    each epoch, however long it takes. keep_model: False leaves the weights out of the folder,
    without changing its figures; a complete run without weights is trained again if they are to be
    kept. A run that this one starts from, and that is not complete, is trained first. force: train
    also where the run takes more memory than is free. Raises NotEnoughMemory where it does,
    TrainingError where training cannot continue (RunBusy where another process trains this run),
    DataError where the folder holds a damaged run.
    """
    folder = run_folder(runs, prepared.name)
    if _is_complete(folder, keep_model):
        return _complete(folder)
    for first in prepared.firsts:
        execute_when_free(first, runs, checkpoint_seconds=checkpoint_seconds, force=force)
    if not force:
        require_memory(prepared)
    with _locked(folder):
        if _is_complete(folder, keep_model):  # another process finished it in between
            return _complete(folder)
        # Complete but for its weights: it is trained again, to the same bits.
        (folder / files.MANIFEST).unlink(missing_ok=True)
        before = torch.get_num_threads()
        torch.set_num_threads(prepared.threads)
        try:
            with keeping_freed_memory():
                return _train(
                    prepared,
                    folder,
                    watch,
                    checkpoint_seconds,
                    checkpoint_steps,
                    keep_model=keep_model,
                )
        except Pruned:
            if not keep_model and not (folder / "model").is_dir():
                files.remove(folder)
            raise
        finally:
            torch.set_num_threads(before)


def execute_when_free(prepared: Prepared, runs: Path, **how: Any) -> RunResult:
    """`execute`, which waits where another process trains this very run: another command's, or
    that of a killed one which is about to release it. how: its options.
    """
    while True:
        try:
            return execute(prepared, runs, **how)
        except RunBusy:
            time.sleep(0.5)


def _is_complete(folder: Path, keep_model: bool) -> bool:
    return is_kept(folder) if keep_model else (folder / files.MANIFEST).exists()


def _train(
    prepared: Prepared,
    folder: Path,
    watch: Watcher | None,
    checkpoint_seconds: float,
    checkpoint_steps: int | None,
    *,
    keep_model: bool,
) -> RunResult:
    started, recipe = time.monotonic(), prepared.recipe
    files.write(folder / "recipe.yaml", to_yaml(anchored(recipe)).encode())
    files.write_json(folder / "resolved.json", prepared.spec.to_json())
    files.write_json(folder / "environment.json", describe_environment(prepared))
    files.write_json(
        folder / "data.json",
        {task: describe_task_data(data) for task, data in prepared.data.items()},
    )
    teach(prepared, folder.parent)
    models = build_models(prepared, folder.parent)
    state = FitState(models, own_losses(prepared.streams))
    state.narrow(prepared.streams)
    # A model in the folder shows that the run was begun to keep its weights.
    has_model = (folder / "model").is_dir()
    log = RunWriter(
        folder,
        state,
        keep_model=keep_model or has_model,
        started=started,
        device=prepared.device,
    )
    log.resume(prepared)
    clock = CheckpointClock(checkpoint_seconds, checkpoint_steps, state.step)
    reports = train_loop(models, prepared.plan, prepared.streams, prepared.settings, state=state)
    with contextlib.closing(reports):  # its processes end with an exception that is raised here
        for report in reports:
            log.rates.see(report)
            log.see(report, prepared, keep=recipe.plan.keep)
            if watch is not None:
                watch(report)
            clock.save_if_due(state.step, log.checkpoint, complete=isinstance(report, EvalReport))
    result = log.finish(prepared)
    files.remove(folder / "checkpoint")
    return result


def _complete(folder: Path) -> RunResult:
    result = read_result(folder)
    if (folder / "checkpoint").exists() or (folder / ".checkpoint.gone").exists():
        # Killed between its manifest and its last line. Where the lock is taken, that process is
        # just about to clear up itself.
        with contextlib.suppress(TrainingError, OSError), _locked(folder):
            files.remove(folder / "checkpoint")
            files.sweep(folder)
    return replace(result, already_complete=True)


def _locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    return files.locked(
        folder,
        RunBusy(
            f"{folder}: another process is training this run. Wait for it, or stop it; the "
            f"same command then resumes."
        ),
    )
