"""Writes the run folder while training: steps, epochs, predictions, checkpoints, the model, and
the manifest.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch

from encore import files
from encore.errors import TrainingError
from encore.evaluation import baselines
from encore.evaluation.estimates import estimate_metrics
from encore.model.parameters import unique_state
from encore.model.task_model import TaskModel
from encore.runs.compatibility import head_of
from encore.runs.folder import (
    MODEL,
    RunResult,
    epoch_of_task,
    notes_json,
    read_result,
    read_scores,
)
from encore.runs.prepared import Prepared
from encore.training.loop import higher_is_better
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState
from encore.types import Note

__all__ = ["Pruned", "RunBusy", "RunWriter", "TokenRate", "describe_environment"]


class Pruned(Exception):
    """A watcher raises it: this run is not worth going on with. Nothing is left of it, unless
    somebody wanted its weights: then it stays to be resumed.
    """


class RunBusy(TrainingError):
    """Another process is training this very run."""


class RunWriter:
    """The consumer of `fit` that writes the run folder. What it holds in memory is saved with
    each checkpoint, so that files of an interrupted run are cut back to the checkpoint before
    training goes on.
    """

    def __init__(self, folder: Path, state: FitState, rate: TokenRate, *, keep_model: bool) -> None:
        self.folder, self.state, self.rate, self.keep_model = folder, state, rate, keep_model
        self.epochs: list[dict[str, Any]] = []
        self.steps: list[bytes] = []
        self.seconds_before = 0.0
        self.started = time.monotonic()
        self.kept_epoch = 0

    def resume(self, prepared: Prepared) -> None:
        """Load the newest checkpoint that is whole; without one, start from nothing. A damaged
        one goes, or it would stand where the next is to be saved.
        """
        files.sweep(self.folder)
        where = self.folder / "checkpoint"
        where.mkdir(exist_ok=True)
        for saved in sorted(where.iterdir(), reverse=True):
            if files.wrong_files(saved):
                files.remove(saved)
                continue
            numbers = files.read_json(saved / "state.json")
            if self.keep_model and numbers["kept_epoch"] and not (self.folder / "model").is_dir():
                files.remove(
                    saved
                )  # begun without keeping its weights, those of the epoch that counts may be gone
                continue
            self.state.restore(
                numbers["state"],
                safetensors.torch.load_file(saved / "tensors.safetensors"),
                prepared.plan,
            )
            self.epochs, self.seconds_before, self.kept_epoch = (
                numbers["epochs"],
                numbers["seconds"],
                numbers["kept_epoch"],
            )
            self.rate.tokens, self.rate.seconds = numbers["rate"]
            break
        log = self.folder / "steps.jsonl"
        lines = (
            log.read_bytes().splitlines(keepends=True)[: self.state.step]
            if log.exists() and self.state.step
            else []
        )
        files.write(log, b"".join(lines))
        self._write_epochs()

    def see(self, report: StepReport | EvalReport, prepared: Prepared, *, keep: str) -> None:
        if isinstance(report, StepReport):
            line = {
                "step": report.step,
                "epoch": report.epoch,
                "task": report.task,
                "loss": report.loss,
                "terms": dict(report.terms),
            }
            line |= {
                "lr": report.lr,
                "grad_norm": report.grad_norm,
                "rows": report.n_rows,
                "tokens": report.n_tokens,
            }
            self.steps.append(json.dumps(line).encode() + b"\n")
            return
        for task, sets in report.scores.items():
            where = self.folder / "predictions" / task
            where.mkdir(parents=True, exist_ok=True)
            for split, scores in sets.items():
                rows = prepared.streams[task].dev[split]
                files.write(
                    where / f"{split}-{report.epoch}.parquet",
                    partial(pq.write_table, _table(rows, scores), compression="zstd"),
                )
        record = {
            "epoch": report.epoch,
            "step": report.step,
            "train": report.train,
            "dev": report.dev,
            "selected": report.selected,
            "is_best": report.is_best,
        }
        self.epochs.append(record)
        self._write_epochs()
        chosen = _chosen(report, prepared, keep)
        if chosen:
            self.kept_epoch = report.epoch
            if self.keep_model:
                _save_model(self.folder / "model", prepared, self.state.models, chosen)

    def checkpoint(self) -> None:
        """All or nothing; the checkpoint before it goes when this one is on the disk."""
        self._write_steps()
        target = (
            self.folder / "checkpoint" / f"step-{self.state.step:09d}-epoch-{self.state.epoch:05d}"
        )
        if target.exists():
            return
        seconds = self.seconds_before + time.monotonic() - self.started
        snapshot = self.state.snapshot()
        numbers = {
            "state": snapshot.numbers,
            "epochs": self.epochs,
            "seconds": seconds,
            "kept_epoch": self.kept_epoch,
        }
        numbers["rate"] = [self.rate.tokens, self.rate.seconds]
        with files.commit_folder(target) as being_written:
            safetensors.torch.save_file(
                {name: tensor.contiguous() for name, tensor in snapshot.tensors().items()},
                being_written / "tensors.safetensors",
            )
            (being_written / "state.json").write_text(json.dumps(numbers), encoding="utf-8")
        for older in target.parent.iterdir():
            if older != target:
                files.remove(older)

    def _write_steps(self) -> None:
        if not self.steps:  # what is on the disk already stays untouched
            return
        with (
            files.explained(self.folder / "steps.jsonl"),
            (self.folder / "steps.jsonl").open("ab") as file,
        ):
            file.write(b"".join(self.steps))
            file.flush()
            os.fsync(file.fileno())
        self.steps = []

    def finish(self, prepared: Prepared, *, seconds: float, tokens_per_second: float) -> RunResult:
        """Final metrics and baselines of the kept epoch, then the manifest, which makes the run
        complete.
        """
        self._write_steps()
        seed = prepared.recipe.seed
        metrics: dict[str, Any] = {}
        notes = list(prepared.notes)
        best = _best_epochs(self.epochs, prepared) if len(prepared.data) > 1 else {}
        for task, stream in prepared.streams.items():
            data = prepared.data[task]
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
                metrics[task][split] = {
                    who: {
                        name: asdict(value)
                        for name, value in estimate_metrics(
                            scores, rows.targets, data.labels, data.metrics, seed
                        ).items()
                    }
                    for who, scores in candidates.items()
                }
        if len(prepared.data) == 1:
            notes = [replace(note, task="") for note in notes]
        results = {
            "metrics": metrics,
            "epoch": self.kept_epoch,
            "epochs": self.state.epoch,
            "keep": prepared.recipe.plan.keep,
            **notes_json(notes),
        }
        if best:
            results["best"] = best
        files.write_json(self.folder / "results.json", results)
        files.write_json(
            self.folder / "cost.json",
            {
                "seconds": seconds,
                "tokens_per_second": tokens_per_second,
                "peak_memory_bytes": _peak_memory(),
            },
        )
        kept = [
            "recipe.yaml",
            "resolved.json",
            "data.json",
            "steps.jsonl",
            "metrics.jsonl",
            "results.json",
        ]
        held = [self.folder / name for name in kept]
        held += [
            file
            for inside in ("predictions", "model")
            for file in (self.folder / inside).rglob("*")
            if file.is_file()
        ]
        files.write_manifest(self.folder, held)
        return read_result(self.folder)

    def _write_epochs(self) -> None:
        files.write(
            self.folder / "metrics.jsonl",
            b"".join(json.dumps(record).encode() + b"\n" for record in self.epochs),
        )


def _chosen(report: EvalReport, prepared: Prepared, keep: str) -> tuple[str, ...]:
    """The tasks whose weights of this epoch are to be kept. One without a metric goes with the
    best common epoch.
    """
    tasks = tuple(prepared.data)
    if keep == "best_per_task":
        return tuple(
            task
            for task in tasks
            if task in report.best or (report.is_best and not prepared.data[task].metrics)
        )
    return tasks if (report.is_best if keep == "best" else report.is_last) else ()


def _best_epochs(epochs: Sequence[Mapping[str, Any]], prepared: Prepared) -> dict[str, Any]:
    """Of each task with a metric its best epoch, by its first metric on its first dev set; and
    of all together the one with the best mean (METHODS 4.11).
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


def _save_model(
    folder: Path, prepared: Prepared, models: Mapping[str, TaskModel], chosen: Sequence[str]
) -> None:
    """Everything that `encore.load` needs, in a folder that replaces the one there was.
    `chosen`: the tasks whose weights these are; where that is not all of them, each task has a
    file of weights of its own, and those of the others stay.
    """
    aside = folder.parent / ".model.new"
    files.remove(aside)
    with files.commit_folder(aside) as being_written:
        apart = prepared.recipe.plan.keep == "best_per_task" and len(models) > 1
        for task, model in models.items():
            own = being_written / f"weights-{task}.safetensors"
            if apart and task in chosen:
                safetensors.torch.save_file(_on_host(unique_state({task: model})), own)
            elif apart:
                shutil.copyfile(folder / own.name, own)
        if not apart:
            safetensors.torch.save_file(
                _on_host(unique_state(models)), being_written / "weights.safetensors"
            )
        prepared.tokenizer.save(being_written)
        (being_written / "config.json").write_text(
            json.dumps(dict(prepared.source.config), indent=2) + "\n", encoding="utf-8"
        )
        (being_written / "model.json").write_text(
            json.dumps(_assembly(prepared), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    files.remove(folder)
    os.rename(aside, folder)


def _on_host(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous().cpu() for name, tensor in state.items()}


def _assembly(prepared: Prepared) -> dict[str, Any]:
    tasks = {}
    for name, data in prepared.data.items():
        recipe = prepared.recipe.tasks[name]
        tasks[name] = {
            "labels": asdict(data.labels),
            "columns": asdict(data.columns) | {"notes": list(map(str, data.columns.notes))},
            "normalise": data.normalise,
            "metrics": list(data.metrics),
            "pooling": dict(prepared.poolings[name]),
            "head": dict(head_of(prepared.recipe, name)),
            "pair": dict(prepared.pairs[name]),
            "same_as": recipe.same_as,
            "max_length": recipe.max_length,
            "truncation": recipe.truncation,
        }
    whole = prepared.recipe
    encoder = {
        "encoder": whole.encoder,
        "encoder_digest": prepared.source.digest,
        "precision": prepared.precision,
        "sharing": dict(whole.sharing),
    }
    return {**encoder, "seed": whole.seed, "tasks": tasks}


def _table(rows: Any, scores: np.ndarray) -> pa.Table:
    targets = rows.targets.tolist()
    return pa.table(
        {
            "digest": pa.array([rows.digest] * len(rows)).dictionary_encode(),
            "row": pa.array(rows.numbers),
            "scores": pa.array(scores.tolist(), pa.list_(pa.float32())),
            "label": pa.array(targets),
        }
    )


class TokenRate:
    """Real tokens per second of training steps alone; what lies between epochs does not count."""

    def __init__(self) -> None:
        self.tokens, self.seconds, self.last = 0, 0.0, time.monotonic()

    def see(self, report: StepReport | EvalReport) -> None:
        now = time.monotonic()
        if isinstance(report, StepReport):
            self.tokens += report.n_tokens
            self.seconds += now - self.last
        self.last = now

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


def describe_environment(prepared: Prepared) -> dict[str, Any]:
    names = ["torch", "numpy", "tokenizers", "safetensors", "scikit-learn", "scipy", "pyarrow"]
    if "transformers" in sys.modules:  # only where an encoder is borrowed from it
        names.append("transformers")
    return {
        "encore": metadata.version("encore-nlp"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor())
        if hasattr(torch.cpu, "get_capabilities")
        else platform.processor(),
        "device": torch.cuda.get_device_name() if prepared.device == "cuda" else "cpu",
        "threads": prepared.threads,
        "precision": prepared.precision,
        "command": sys.argv,
        "packages": {name: metadata.version(name) for name in names},
    }


def _peak_memory() -> int:
    """Bytes; the kernel counts in KiB on Linux and in bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
