"""Writes the run folder while training: steps, epochs, predictions, checkpoints, the model and the
manifest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore import files
from encore.errors import TrainingError
from encore.evaluation import baselines
from encore.evaluation.estimates import Estimate, estimate_metrics
from encore.evaluation.never_predicted import never_predicted
from encore.recipe.fields import KeptEpoch
from encore.runs.checkpoint import read_checkpoint, save_checkpoint
from encore.runs.contents import (
    RUN_FILES,
    damaged_files,
    forgetting_file,
    prediction_file,
)
from encore.runs.decide import keep_decisions
from encore.runs.environment import peak_memory
from encore.runs.folder import MODEL, RunResult, epoch_of_task, read_result, read_scores
from encore.runs.forgetting import score_earlier
from encore.runs.hardware import instruction_set, require_same_instructions
from encore.runs.model_folder import save_model
from encore.runs.prepared import Prepared
from encore.runs.rates import Rates
from encore.runs.written import RunLog, WrittenFiles
from encore.training.loop import higher_is_better
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState
from encore.training.streams import Rows
from encore.types import Note

__all__ = ["Pruned", "RunBusy", "RunWriter", "prediction_table", "step_record"]


# Groups of rows in the files of predictions; 1 << 20 rows are what pyarrow would take.
_GROUP_ROWS, _GROUP_SCORES = 1 << 20, 1 << 25


class Pruned(Exception):
    """Raised by a watcher to end a run early. Its folder is removed, unless the run keeps its
    weights: then it can be resumed.
    """


class RunBusy(TrainingError):
    """Another process is training this very run."""


class RunWriter:
    """Consumes the reports of `train_loop` and writes the run folder. Its counts are saved with
    each checkpoint, and the files of an interrupted run are cut back to the checkpoint when it
    resumes.
    """

    def __init__(
        self, folder: Path, state: FitState, *, keep_model: bool, started: float, device: str
    ) -> None:
        self.folder, self.state, self.keep_model = folder, state, keep_model
        self.instructions = instruction_set(device)
        self.rates = Rates()
        self.epochs: list[dict[str, Any]] = []
        self.steps: list[bytes] = []
        self.seconds_before = 0.0
        self.started = started  # by time.monotonic
        self.kept_epoch = 0
        self.written = WrittenFiles(folder)

    def resume(self, prepared: Prepared) -> None:
        """Load the newest usable checkpoint; without one, start from the beginning."""
        files.sweep(self.folder)
        saved = read_checkpoint(self.folder / "checkpoint", self._is_usable)
        log = None
        if saved is not None:
            log = RunLog(**saved.log)
            require_same_instructions(self.folder, log.instructions, self.instructions)
            self.state.restore(saved.state, saved.tensors, prepared.plan)
            self.epochs, self.kept_epoch = log.epochs, log.kept_epoch
            self.seconds_before = log.seconds
            self.rates.restore(log.rates)
        self.written.restore(log)
        self._write_epochs()

    def _is_usable(self, saved: Mapping[str, Any]) -> bool:
        try:
            log = RunLog(**saved)
        except TypeError:  # another version of Encore wrote it
            return False
        if not self.written.fits(log):
            return False
        # Where the run was begun without keeping its weights, those of its best epoch may be gone.
        # A model that is newer than the checkpoint serves: its epoch is trained again.
        needs_model = self.keep_model and log.kept_epoch
        return not needs_model or not damaged_files(self.folder / "model", "model")

    def see(self, report: StepReport | EvalReport, prepared: Prepared, *, keep: KeptEpoch) -> None:
        """Log a report; after an epoch also store its predictions, and its model if it is kept."""
        if isinstance(report, StepReport):
            self.steps.append(json.dumps(step_record(report)).encode() + b"\n")
            return
        for task, sets in report.scores.items():
            for split, scores in sets.items():
                name = prediction_file(task, split, report.epoch)
                self._write_scores(name, prepared.streams[task].dev[split], scores)
        chosen = _chosen(report, prepared, keep)
        earlier = self._measure_earlier(prepared, report.epoch) if chosen else {}
        self.epochs.append(_epoch_record(report) | ({"forgetting": earlier} if earlier else {}))
        self._write_epochs()
        if chosen:
            self.kept_epoch = report.epoch
            if self.keep_model:
                with self.state.averaged():
                    save_model(self.folder / "model", prepared, self.state.models, chosen)

    def _write_scores(self, name: str, rows: Rows, scores: np.ndarray) -> None:
        where = self.folder / name
        with files.explained(where):
            where.parent.mkdir(parents=True, exist_ok=True)
        table = prediction_table(rows.digest, rows.numbers, scores, rows.targets, rows.groups)
        files.write(where, partial(_write_table, table, at_once=_rows_at_once(scores)))
        self.written.add_predictions(name)

    def _measure_earlier(self, prepared: Prepared, epoch: int) -> dict[str, Any]:
        """Task → dev set → metric → value, of the tasks that the encoder was trained on before."""
        found = {}
        with self.state.averaged():
            scored = list(score_earlier(prepared, self.state.models, self.folder.parent))
        for one in scored:
            for split, scores in one.scores.items():
                rows = one.run.streams[one.task].dev[split]
                self._write_scores(forgetting_file(one.task, split, epoch), rows, scores)
            found[one.task] = one.metrics
        return found

    def checkpoint(self) -> None:
        """Write the steps so far, then a checkpoint; it is whole or it is not there."""
        self._write_steps()
        log = {
            "epochs": self.epochs,
            "kept_epoch": self.kept_epoch,
            "seconds": self.seconds,
            "rates": self.rates.to_json(),
            "instructions": self.instructions,
            **self.written.to_json(),
        }
        save_checkpoint(self.folder / "checkpoint", self.state, log)

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, with those before it was interrupted."""
        return self.seconds_before + time.monotonic() - self.started

    def _write_steps(self) -> None:
        if self.steps:  # without any, the file on the disk stays untouched
            self.written.add_steps(self.steps)
            self.steps = []

    def finish(self, prepared: Prepared) -> RunResult:
        """Write the final metrics and baselines, the cost, and last the manifest, which makes the
        run complete.
        """
        self._write_steps()
        best = _best_epochs(self.epochs, prepared) if len(prepared.data) > 1 else {}
        metrics, notes = self._final_metrics(prepared, best)
        notes = [*prepared.notes, *notes]
        if len(prepared.data) == 1:
            notes = [replace(note, task="") for note in notes]
        result = RunResult(
            folder=self.folder,
            metrics=metrics,
            epoch=self.kept_epoch,
            epochs=self.state.epoch,
            keep=prepared.recipe.plan.keep,
            notes=tuple(notes),
            seconds=self.seconds,
            tokens_per_second=self.rates.tokens_per_second,
            best=best,
        )
        files.write_json(self.folder / "results.json", result.to_json())
        files.write_json(self.folder / "cost.json", self._cost(result))
        keep_decisions(prepared, result)
        kept = [self.folder / name for name in (*RUN_FILES, *self.written.predictions)]
        model = self.folder / "model"
        if model.is_dir():
            kept += [
                model / name for name in (files.MANIFEST, *files.read_json(model / files.MANIFEST))
            ]
        files.write_manifest(self.folder, kept)
        return read_result(self.folder)

    def _final_metrics(
        self, prepared: Prepared, best: Mapping[str, Any]
    ) -> tuple[dict[str, dict[str, dict[str, dict[str, Estimate]]]], list[Note]]:
        """The metrics of `RunResult`, of the kept epochs and of the baselines; and notes on
        these.
        """
        seed = prepared.recipe.seed
        metrics: dict[str, dict[str, dict[str, dict[str, Estimate]]]] = {}
        notes: list[Note] = []
        for task, stream in prepared.streams.items():
            data, settings = prepared.data[task], prepared.recipe.tasks[task]
            if data.labels.kind == "unlabelled":
                continue
            epoch = epoch_of_task(task, prepared.recipe.plan.keep, best, self.kept_epoch)
            simple = baselines.fit_tfidf(
                data.train.texts, data.train.pairs, stream.train.targets, data.labels, seed=seed
            )
            notes += [Note(note, task=task) for note in simple.notes]
            metrics[task] = {}
            for split, rows in stream.dev.items():
                constant = baselines.majority(stream.train.targets, rows, data.labels)
                candidates = {
                    MODEL: read_scores(self.folder, task, split, epoch),
                    constant.name: constant.scores,
                    simple.name: simple.scores(data.dev[split].texts, data.dev[split].pairs),
                }
                found = never_predicted(
                    candidates[MODEL],
                    rows.targets,
                    data.labels,
                    balanced=bool(settings.class_weights or settings.sampling),
                )
                notes += [Note(f"{split}: {found}", task=task)] if found else []
                metrics[task][split] = {
                    name: estimate_metrics(
                        scores, rows.targets, data.labels, data.metrics, seed, groups=rows.clusters
                    )
                    for name, scores in candidates.items()
                }
        return metrics, notes

    def _cost(self, result: RunResult) -> dict[str, float]:
        return {
            "seconds": result.seconds,
            "tokens_per_second": result.tokens_per_second,
            "dev_seconds": self.rates.dev_seconds,
            "dev_rows_per_second": self.rates.dev_rows_per_second,
            "peak_memory_bytes": peak_memory(),
        }

    def _write_epochs(self) -> None:
        files.write(
            self.folder / "metrics.jsonl",
            b"".join(json.dumps(record).encode() + b"\n" for record in self.epochs),
        )


def step_record(report: StepReport) -> dict[str, Any]:
    """The line of steps.jsonl for a step."""
    return {
        "step": report.step,
        "epoch": report.epoch,
        "task": report.task,
        "loss": report.loss,
        "terms": dict(report.terms),
        "lr": report.lr,
        "grad_norm": report.grad_norm,
        "rows": report.n_rows,
        "tokens": report.n_tokens,
        **({"diagnostics": report.diagnostics} if report.diagnostics else {}),
    }


def _epoch_record(report: EvalReport) -> dict[str, Any]:
    return {
        "epoch": report.epoch,
        "step": report.step,
        "train": report.train,
        "dev": report.dev,
        "dev_loss": report.dev_loss,
        "selected": report.selected,
        "is_best": report.is_best,
    }


def _chosen(report: EvalReport, prepared: Prepared, keep: KeptEpoch) -> tuple[str, ...]:
    """The tasks whose weights of this epoch are kept. A task without a metric is kept at the best
    common epoch.
    """
    tasks = tuple(prepared.data)
    if isinstance(keep, int):
        return tasks if report.epoch == keep else ()
    if keep == "best_per_task":
        return tuple(
            task
            for task in tasks
            if task in report.best or (report.is_best and not prepared.data[task].metrics)
        )
    return tasks if (report.is_best if keep == "best" else report.is_last) else ()


def _best_epochs(epochs: Sequence[Mapping[str, Any]], prepared: Prepared) -> dict[str, Any]:
    """The best epoch of each task with a metric, by its first metric on its first dev set; and
    the epoch with the best mean over the tasks (METHODS 4.11).
    """
    deciding = {
        task: data.metrics[0] for task, data in prepared.data.items() if data.metrics and data.dev
    }
    values = [
        {
            task: record["dev"][task][next(iter(prepared.data[task].dev))][metric]
            for task, metric in deciding.items()
        }
        for record in epochs
    ]
    signs = {task: 1 if higher_is_better(metric) else -1 for task, metric in deciding.items()}
    if not deciding:
        return {}
    tasks = {}
    for task in deciding:
        number = max(
            range(len(values)), key=lambda number: signs[task] * values[number][task]
        )  # the first of equals
        tasks[task] = {"epoch": epochs[number]["epoch"], "value": values[number][task]}
    common = max(
        range(len(values)),
        key=lambda number: (
            sum(signs[task] * value for task, value in values[number].items()) / len(deciding)
        ),
    )
    return {
        "tasks": tasks,
        "mean_of_tasks": sum(found["value"] for found in tasks.values()) / len(tasks),
        "common": {
            "epoch": epochs[common]["epoch"],
            "values": values[common],
            "mean": sum(values[common].values()) / len(deciding),
        },
    }


def prediction_table(
    digest: str,
    numbers: np.ndarray,
    scores: np.ndarray,
    targets: np.ndarray,
    groups: pa.ChunkedArray | None,
) -> pa.Table:
    """Raw scores row by row: (`digest`, `numbers[i]`) names example i. groups: of rows that belong
    together, a column only where there are some.
    """
    columns = {
        "digest": pa.array([digest] * len(numbers)).dictionary_encode(),
        "row": pa.array(numbers),
        "scores": _lists(scores),
        "label": _labels(targets),
    }
    return pa.table(columns if groups is None else columns | {"group": groups})


def _write_table(table: pa.Table, file: BinaryIO, *, at_once: int) -> None:
    pq.write_table(table, file, compression="zstd", row_group_size=at_once)


def _rows_at_once(scores: np.ndarray) -> int:
    """The rows that are encoded at once, for which parquet takes as much memory again."""
    return max(1, min(_GROUP_ROWS, _GROUP_SCORES // max(1, scores.shape[1])))


def _lists(values: np.ndarray) -> pa.ChunkedArray:
    """(rows, n) as lists of n, on the memory of the values: as Python floats 10,000 classes of
    30,000 rows would take gigabytes.
    """
    n_rows, n = values.shape
    size = _rows_at_once(values)
    parts = [values[start : start + size] for start in range(0, n_rows, size)] or [values]
    return pa.chunked_array(
        [
            pa.ListArray.from_arrays(
                pa.array(np.arange(len(part) + 1) * n, pa.int32()), part.ravel()
            )
            for part in parts
        ]
    )


def _labels(targets: np.ndarray) -> pa.Array | pa.ChunkedArray:
    exact = targets.astype(np.float64) if targets.dtype == np.float32 else targets
    return pa.array(exact) if exact.ndim == 1 else _lists(exact)
