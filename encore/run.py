"""A run is a folder named by the hash of what determines it. The same recipe again resumes it, or finds it complete.

    recipe.yaml, resolved.json       the recipe with every default, and what the name is a hash of
    environment.json, cost.json      machine and versions; seconds, tokens per second, memory (no part of the results)
    data.json                        files, digests, rows, label counts, notes
    steps.jsonl, metrics.jsonl       every step; every epoch
    predictions/TASK/SPLIT-EPOCH.parquet    digest and row of each example, raw scores, label
    model/                           weights, encoder configuration, tokenizer, how to put them together (runs of a comparison keep none)
    results.json                     metrics with intervals beside the baselines; written last but for the manifest
    manifest.json                    sha256 of every result file: there is one when, and only when, the run is complete
    checkpoint/                      while it trains: all that is needed to go on, bit for bit
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import platform
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch

from encore import baselines, files
from encore.data.dataset import describe
from encore.errors import DataError, TrainingError
from encore.evaluate import Estimate, evaluate
from encore.model import TaskModel, unique_state
from encore.prepare import Prepared, build_models, head_of, notes_about
from encore.recipe import anchored, to_yaml
from encore.train import FitState, fit, higher_is_better, own_losses
from encore.types import EvalReport, StepReport

__all__ = ["MODEL", "Abandoned", "Answers", "Result", "RunBusy", "Watcher", "answers_at", "execute", "no_run", "read_result", "scores_at"]

MODEL = "model"                                  # the trained model's name beside the baselines
Watcher = Callable[[StepReport | EvalReport], None]


@dataclass(frozen=True)
class Result:
    """A finished run. `metrics`: task → dev set → "model" | a baseline's name → metric → estimate."""

    folder: Path
    metrics: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Estimate]]]]
    epoch: int                                  # the one that is reported and kept; the latest of them where each task has its own
    epochs: int
    keep: str
    notes: tuple[str, ...]
    seconds: float
    tokens_per_second: float
    already_complete: bool = False
    best: Mapping[str, Any] = field(default_factory=dict)                # of several tasks: the best epoch of each, and the best common one

    def epoch_of(self, task: str) -> int:
        """The epoch that is reported and kept of a task."""
        return _epoch_of(task, self.keep, self.best, self.epoch)

    def kept(self, task: str) -> str:
        """Which epoch of a task is reported and kept, in words: "best epoch, 3 of 6"."""
        return f"{self.keep.split('_')[0]} epoch, {self.epoch_of(task)} of {self.epochs}"

    def notes_of(self, task: str) -> list[str]:
        """What qualifies the figures of this task."""
        return notes_about(task, self.notes, several=len(self.metrics) > 1 or bool(self.best))

    def caveats(self, task: str) -> list[str]:
        """What must stand beside a task's figures where its epoch was chosen on the very rows that they are of."""
        split, found = next(iter(self.metrics[task].items()))
        if self.keep == "last" or self.epochs == 1 or not found[MODEL]:
            return []
        by = "the mean over the tasks" if len(self.metrics) > 1 and self.keep == "best" else next(iter(found[MODEL]))
        return [f"keep: {self.keep} chose the epoch by {by} on {split}, so these figures flatter a little."]

    def summary(self) -> dict[str, Any]:
        """What `--json` prints: these four keys and no others. `metrics.dev` is metric → value on the dev set that decides; further dev sets stand beside it
        under their own names. Of several tasks `metrics` has such a mapping under each one's name. Intervals, baselines and notes are in RUN/results.json,
        which `encore ls --json` prints too."""
        found: dict[str, dict[str, Any]] = {}
        for task, sets in self.metrics.items():
            found[task] = {}
            for number, (split, rows) in enumerate(sets.items()):
                values = {metric: estimate.value for metric, estimate in rows[MODEL].items()}
                found[task]["dev" if number == 0 else split if split != "dev" else "dev_2"] = values
        metrics = found if len(found) > 1 else next(iter(found.values()))
        return {"run": str(self.folder), "metrics": metrics, "seconds": self.seconds, "tokens_per_second": self.tokens_per_second}


class Abandoned(Exception):
    """A watcher raises it: this run is not worth going on with. Nothing is left of it, unless somebody wanted its weights: then it stays to be resumed."""


class RunBusy(TrainingError):
    """Another process is training this very run."""


def execute(
    prepared: Prepared,
    runs: Path,
    *,
    watch: Watcher | None = None,
    checkpoint_seconds: float = 60.0,
    checkpoint_steps: int | None = None,
    keep_model: bool = True,
) -> Result:
    """Train, evaluate and save; or go on where a killed run stopped; or read the result that is there.

    watch: sees every report; what it raises leaves the generator, which ends training (Abandoned: for good). A checkpoint is written every
    `checkpoint_seconds` and at the end of an epoch, if saving takes less than a twentieth of the time; with `checkpoint_steps` every so many steps and at the
    end of each epoch, whatever it takes. `keep_model`: False leaves the weights out of the folder, whose figures are the same; a complete run without weights
    is trained once more where they are asked for. Raises TrainingError where training cannot go on (RunBusy where another process trains this run), DataError
    where the folder holds a damaged run.
    """
    folder = runs / prepared.name
    if _is_complete(folder, keep_model):
        return _complete(folder)
    with _locked(folder):
        if _is_complete(folder, keep_model):                    # another process finished it while this one waited for nothing
            return _complete(folder)
        (folder / files.MANIFEST).unlink(missing_ok=True)       # complete but for its weights: trained again, to the same bits
        before = torch.get_num_threads()
        torch.set_num_threads(prepared.threads)
        try:
            return _train(prepared, folder, watch, checkpoint_seconds, checkpoint_steps, keep_model=keep_model)
        except Abandoned:
            if not keep_model and not (folder / "model").is_dir():
                files.remove(folder)
            raise
        finally:
            torch.set_num_threads(before)


def _is_complete(folder: Path, keep_model: bool) -> bool:
    return (folder / files.MANIFEST).exists() and ((folder / "model").is_dir() or not keep_model)


def read_result(folder: Path) -> Result:
    """The result of a complete run. Raises DataError where there is none or where files were changed."""
    if not _begun(folder):
        raise DataError(no_run(folder))
    if not (folder / files.MANIFEST).exists():
        raise DataError(f"{folder}: not a complete run (no {files.MANIFEST}). Give the command that started it once more; it resumes.")
    wrong = files.wrong_files(folder)
    if wrong:
        raise DataError(f"{folder / name}: missing, or not as the run wrote it. Remove the folder and run it again." for name in wrong)
    stored = files.read_json(folder / "results.json")
    try:
        cost = files.read_json(folder / "cost.json")            # no part of the results, so nothing vouches for it
        seconds, tokens_per_second = float(cost["seconds"]), float(cost["tokens_per_second"])
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(f"{folder / 'cost.json'}: missing, or not as the run wrote it. Remove the folder and run it again.") from None
    metrics = {
        task: {split: {who: {name: _estimate(value) for name, value in found.items()} for who, found in rows.items()} for split, rows in sets.items()}
        for task, sets in stored["metrics"].items()
    }
    kept = {name: stored[name] for name in ("epoch", "epochs", "keep")}
    best = stored.get("best", {})
    return Result(folder, metrics, **kept, notes=tuple(stored["notes"]), seconds=seconds, tokens_per_second=tokens_per_second, best=best)


def no_run(folder: Path) -> str:
    """What is said of a path that is no run's folder, with the runs that may have been meant."""
    if (folder / "study.json").is_file():
        if "sampler" in files.read_json(folder / "study.json"):
            command = shlex.join(["encore", "train", str(folder / "best.yaml"), "--runs", str(folder.parent)])
            return f"{folder}: a search, whose trials keep figures and no weights. Train its best configuration, and name that run: {command}"
        return f"{folder}: a comparison, whose runs keep figures and no weights. Name one of those in cells.json, to be told how to train it again."
    if folder.is_dir():
        where = f" --runs {shlex.quote(str(folder))}" if _runs_in(folder) else ""
        return f"{folder}: not the folder of a run. `encore ls{where}` lists the runs that there are."
    if folder.is_file():
        return f"{folder}: a file, not the folder of a run, which is named first. `encore ls` lists the runs that there are."
    runs = {run.name: run for place in (folder.parent, Path(os.environ.get("ENCORE_RUNS", "runs"))) for run in _runs_in(place)}
    near = [name for name in runs if name.startswith(folder.name)][:2] or difflib.get_close_matches(folder.name, runs, n=2, cutoff=0.7)
    meant = f" Did you mean {' or '.join(str(runs[name]) for name in near)}?" if near else ""
    return f"{folder}: no such run.{meant} `encore ls` lists the runs that there are."


def _runs_in(folder: Path) -> list[Path]:
    try:
        return sorted(filter(_begun, folder.iterdir()))
    except OSError:                                             # no folder, or one that may not be read
        return []


def _begun(folder: Path) -> bool:
    return not (folder / "study.json").is_file() and any((folder / name).is_file() for name in ("resolved.json", files.MANIFEST))


@dataclass(frozen=True)
class Answers:
    """What a run said of one dev set after one epoch, and what would have been right.

    scores: (rows, n_scores) float32, raw. targets: (rows,) or (rows, labels). (digest, rows[i]) names example i: the file's sha256 and the row there, from 0.
    """

    scores: np.ndarray
    targets: np.ndarray
    digest: str
    rows: np.ndarray


def answers_at(folder: Path, task: str, split: str, epoch: int) -> Answers:
    """What a run kept of one epoch."""
    table = pq.read_table(folder / "predictions" / task / f"{split}-{epoch}.parquet")
    scores = np.array(table["scores"].to_pylist(), dtype=np.float32).reshape(table.num_rows, -1)
    return Answers(scores, np.array(table["label"].to_pylist()), table["digest"][0].as_py(), table["row"].to_numpy())


def scores_at(folder: Path, task: str, split: str, epoch: int) -> np.ndarray:
    """(rows, n_scores) float32: the raw scores that a run kept of one epoch."""
    return answers_at(folder, task, split, epoch).scores


def _train(
    prepared: Prepared, folder: Path, watch: Watcher | None, checkpoint_seconds: float, checkpoint_steps: int | None, *, keep_model: bool
) -> Result:
    recipe = prepared.recipe
    started = time.monotonic()
    files.write(folder / "recipe.yaml", to_yaml(anchored(recipe)).encode())
    files.write_json(folder / "resolved.json", prepared.identity)
    files.write_json(folder / "environment.json", _environment(prepared))
    files.write_json(folder / "data.json", {task: describe(data) for task, data in prepared.data.items()})
    models = build_models(prepared)
    state = FitState(models, own_losses(prepared.streams))
    state.narrow(prepared.streams)
    rate = _Rate()
    log = _Log(folder, state, rate, keep_model=keep_model or (folder / "model").is_dir())     # whoever began it wanted its weights
    log.resume(prepared)
    saved_at, saved_step, save_cost = time.monotonic(), state.step, 0.0
    for report in fit(models, prepared.plan, prepared.streams, state=state, **prepared.how):
        rate.see(report)
        log.see(report, prepared, keep=recipe.plan.keep)
        if watch is not None:
            watch(report)
        # Saving takes at most a twentieth of the time, however large the model, slow the disk and short the epochs.
        ends_epoch = isinstance(report, EvalReport)
        due = time.monotonic() - saved_at > max(0.0 if ends_epoch else checkpoint_seconds, 20 * save_cost)
        if due or (checkpoint_steps is not None and (ends_epoch or state.step - saved_step >= checkpoint_steps)):
            begun = time.monotonic()
            log.checkpoint()
            saved_at, saved_step, save_cost = time.monotonic(), state.step, time.monotonic() - begun
    result = log.finish(prepared, seconds=log.seconds_before + time.monotonic() - started, tokens_per_second=rate.tokens_per_second)
    files.remove(folder / "checkpoint")
    return result


class _Log:
    """The consumer of `fit` that writes the run folder. What it holds in memory is saved with each checkpoint, so that files of an interrupted run are cut
    back to the checkpoint before training goes on."""

    def __init__(self, folder: Path, state: FitState, rate: _Rate, *, keep_model: bool) -> None:
        self.folder, self.state, self.rate, self.keep_model = folder, state, rate, keep_model
        self.epochs: list[dict[str, Any]] = []
        self.steps: list[bytes] = []
        self.seconds_before = 0.0
        self.started = time.monotonic()
        self.kept_epoch = 0

    def resume(self, prepared: Prepared) -> None:
        """Load the newest checkpoint that is whole; without one, start from nothing. A damaged one goes, or it would stand where the next is to be saved."""
        files.sweep(self.folder)
        where = self.folder / "checkpoint"
        where.mkdir(exist_ok=True)
        for saved in sorted(where.iterdir(), reverse=True):
            if files.wrong_files(saved):
                files.remove(saved)
                continue
            numbers = files.read_json(saved / "state.json")
            if self.keep_model and numbers["kept_epoch"] and not (self.folder / "model").is_dir():
                files.remove(saved)             # begun without keeping its weights, those of the epoch that counts may be gone
                continue
            self.state.restore(numbers["state"], safetensors.torch.load_file(saved / "tensors.safetensors"), prepared.plan)
            self.epochs, self.seconds_before, self.kept_epoch = numbers["epochs"], numbers["seconds"], numbers["kept_epoch"]
            self.rate.tokens, self.rate.seconds = numbers["rate"]
            break
        log = self.folder / "steps.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)[: self.state.step] if log.exists() and self.state.step else []
        files.write(log, b"".join(lines))
        self._write_epochs()

    def see(self, report: StepReport | EvalReport, prepared: Prepared, *, keep: str) -> None:
        if isinstance(report, StepReport):
            line = {"step": report.step, "epoch": report.epoch, "task": report.task, "loss": report.loss, "terms": dict(report.terms)}
            line |= {"lr": report.lr, "grad_norm": report.grad_norm, "rows": report.n_rows, "tokens": report.n_tokens}
            self.steps.append(json.dumps(line).encode() + b"\n")
            return
        for task, sets in report.scores.items():
            where = self.folder / "predictions" / task
            where.mkdir(parents=True, exist_ok=True)
            for split, scores in sets.items():
                rows = prepared.streams[task].dev[split]
                files.write(where / f"{split}-{report.epoch}.parquet", partial(pq.write_table, _table(rows, scores), compression="zstd"))
        record = {"epoch": report.epoch, "step": report.step, "train": report.train, "dev": report.dev, "selected": report.selected, "is_best": report.is_best}
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
        target = self.folder / "checkpoint" / f"step-{self.state.step:09d}-epoch-{self.state.epoch:05d}"
        if target.exists():
            return
        seconds = self.seconds_before + time.monotonic() - self.started
        numbers = {"state": self.state.numbers(), "epochs": self.epochs, "seconds": seconds, "kept_epoch": self.kept_epoch}
        numbers["rate"] = [self.rate.tokens, self.rate.seconds]
        with files.commit_folder(target) as being_written:
            safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in self.state.tensors().items()}, being_written / "tensors.safetensors")
            (being_written / "state.json").write_text(json.dumps(numbers), encoding="utf-8")
        for older in target.parent.iterdir():
            if older != target:
                files.remove(older)

    def _write_steps(self) -> None:
        if not self.steps:                              # what is on the disk already stays untouched
            return
        with files.explained(self.folder / "steps.jsonl"), (self.folder / "steps.jsonl").open("ab") as file:
            file.write(b"".join(self.steps))
            file.flush()
            os.fsync(file.fileno())
        self.steps = []

    def finish(self, prepared: Prepared, *, seconds: float, tokens_per_second: float) -> Result:
        """Final metrics and baselines of the kept epoch, then the manifest, which makes the run complete."""
        self._write_steps()
        seed = prepared.recipe.seed
        metrics: dict[str, Any] = {}
        notes = list(prepared.notes)
        best = _best_epochs(self.epochs, prepared) if len(prepared.data) > 1 else {}
        for task, stream in prepared.streams.items():
            data = prepared.data[task]
            if data.labels.kind == "unlabelled":
                continue
            epoch = _epoch_of(task, prepared.recipe.plan.keep, best, self.kept_epoch)
            simple = baselines.fit_tfidf(data.train.texts, data.train.pairs, stream.train.targets, data.labels, seed=seed)
            notes += [prepared.about(task, note) for note in simple.notes]
            metrics[task] = {}
            for split, rows in stream.dev.items():
                constant = baselines.majority(stream.train.targets, rows, data.labels)
                candidates = {
                    MODEL: scores_at(self.folder, task, split, epoch),
                    constant.name: constant.scores,
                    simple.name: simple.scores(data.dev[split].texts, data.dev[split].pairs),
                }
                metrics[task][split] = {
                    who: {name: asdict(value) for name, value in evaluate(scores, rows.targets, data.labels, data.metrics, seed).items()}
                    for who, scores in candidates.items()
                }
        results = {"metrics": metrics, "epoch": self.kept_epoch, "epochs": self.state.epoch, "keep": prepared.recipe.plan.keep, "notes": notes}
        if best:
            results["best"] = best
        files.write_json(self.folder / "results.json", results)
        files.write_json(self.folder / "cost.json", {"seconds": seconds, "tokens_per_second": tokens_per_second, "peak_memory_bytes": _peak_memory()})
        kept = ["recipe.yaml", "resolved.json", "data.json", "steps.jsonl", "metrics.jsonl", "results.json"]
        held = [self.folder / name for name in kept]
        held += [file for inside in ("predictions", "model") for file in (self.folder / inside).rglob("*") if file.is_file()]
        files.write_manifest(self.folder, held)
        return read_result(self.folder)

    def _write_epochs(self) -> None:
        files.write(self.folder / "metrics.jsonl", b"".join(json.dumps(record).encode() + b"\n" for record in self.epochs))


def _chosen(report: EvalReport, prepared: Prepared, keep: str) -> tuple[str, ...]:
    """The tasks whose weights of this epoch are to be kept. One without a metric goes with the best common epoch."""
    tasks = tuple(prepared.data)
    if keep == "best_per_task":
        return tuple(task for task in tasks if task in report.best or (report.is_best and not prepared.data[task].metrics))
    return tasks if (report.is_best if keep == "best" else report.is_last) else ()


def _epoch_of(task: str, keep: str, best: Mapping[str, Any], kept: int) -> int:
    """The epoch whose weights `_chosen` has left of a task. best: see `_best_epochs`; kept: the latest of all."""
    return best["tasks"].get(task, best["common"])["epoch"] if keep == "best_per_task" and best else kept


def _best_epochs(epochs: Sequence[Mapping[str, Any]], prepared: Prepared) -> dict[str, Any]:
    """Of each task with a metric its best epoch, by its first metric on its first dev set; and of all together the one with the best mean (METHODS 4.11)."""
    deciding = {task: data.metrics[0] for task, data in prepared.data.items() if data.metrics and data.dev}
    values = [{task: record["dev"][task][next(iter(prepared.data[task].dev))][metric] for task, metric in deciding.items()} for record in epochs]
    signs = {task: 1 if higher_is_better(metric) else -1 for task, metric in deciding.items()}
    if not deciding:
        return {}
    tasks = {}
    for task in deciding:
        number = max(range(len(values)), key=lambda number: signs[task] * values[number][task])                  # the first of equals
        tasks[task] = {"epoch": epochs[number]["epoch"], "value": values[number][task]}
    common = max(range(len(values)), key=lambda number: sum(signs[task] * value for task, value in values[number].items()) / len(deciding))
    return {
        "tasks": tasks,
        "mean_of_tasks": sum(found["value"] for found in tasks.values()) / len(tasks),
        "common": {"epoch": epochs[common]["epoch"], "values": values[common], "mean": sum(values[common].values()) / len(deciding)},
    }


def _save_model(folder: Path, prepared: Prepared, models: Mapping[str, TaskModel], chosen: Sequence[str]) -> None:
    """Everything that `encore.load` needs, in a folder that replaces the one there was. `chosen`: the tasks whose weights these are; where that is not all of
    them, each task has a file of weights of its own, and those of the others stay."""
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
            safetensors.torch.save_file(_on_host(unique_state(models)), being_written / "weights.safetensors")
        prepared.tokeniser.save(being_written)
        (being_written / "config.json").write_text(json.dumps(dict(prepared.source.config), indent=2) + "\n", encoding="utf-8")
        (being_written / "model.json").write_text(json.dumps(_assembly(prepared), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
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
            "columns": asdict(data.columns),
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
    encoder = {"encoder": whole.encoder, "encoder_digest": prepared.source.digest, "precision": prepared.precision, "sharing": dict(whole.sharing)}
    return {**encoder, "seed": whole.seed, "tasks": tasks}


def _table(rows: Any, scores: np.ndarray) -> pa.Table:
    targets = rows.targets.tolist()
    return pa.table({
        "digest": pa.array([rows.digest] * len(rows)).dictionary_encode(),
        "row": pa.array(rows.numbers),
        "scores": pa.array(scores.tolist(), pa.list_(pa.float32())),
        "label": pa.array(targets),
    })


class _Rate:
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


def _environment(prepared: Prepared) -> dict[str, Any]:
    names = ["torch", "numpy", "tokenizers", "safetensors", "scikit-learn", "scipy", "pyarrow"]
    if "transformers" in sys.modules:                  # only where an encoder is borrowed from it
        names.append("transformers")
    return {
        "encore": metadata.version("encore-nlp"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()) if hasattr(torch.cpu, "get_capabilities") else platform.processor(),
        "device": torch.cuda.get_device_name() if prepared.device == "cuda" else "cpu",
        "threads": prepared.threads,
        "precision": prepared.precision,
        "command": sys.argv,
        "packages": {name: metadata.version(name) for name in names},
    }


def _peak_memory() -> int:
    """Bytes; the kernel counts in KiB on Linux and in bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _estimate(stored: Mapping[str, Any]) -> Estimate:
    return Estimate(stored["value"], stored["low"], stored["high"], tuple(stored["notes"]))


def _complete(folder: Path) -> Result:
    result = read_result(folder)
    if (folder / "checkpoint").exists() or (folder / ".checkpoint.gone").exists():
        # Killed between its manifest and its last line. Where the lock is taken, that process is just about to clear up itself.
        with contextlib.suppress(TrainingError, OSError), _locked(folder):
            files.remove(folder / "checkpoint")
            files.sweep(folder)
    return replace(result, already_complete=True)


def _locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    return files.locked(folder, RunBusy(f"{folder}: another process is training this run. Wait for it, or stop it; the same command then resumes."))
