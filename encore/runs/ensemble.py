"""Makes an ensemble of complete runs: chooses members by their stored dev scores, and writes a
folder that predicts like a run (METHODS 8.1, 8.2).

RUNS/ensemble-TASKS-HASH/ holds ensemble.json (how members are combined, per task), results.json
(figures of every candidate, of the ensemble, and cross-fitted), predictions/TASK/SPLIT-0.parquet
(the cross-fitted scores of the dev rows), members/ and tokenizers/ (see
encore/runs/ensemble_store.py), and manifest.json, the sha256 of every file. It appears whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore import catalogue, files
from encore.data.table import display_path
from encore.errors import Complaints, DataError, RecipeError, did_you_mean
from encore.evaluation.ensemble_record import EnsembleResult, measure_ensemble
from encore.evaluation.ensembles import METHODS, Choosing, Mixture, Space
from encore.evaluation.metric import Metric
from encore.runs.candidates import (
    Candidate,
    Combined,
    find_candidates,
    new_folder,
    on_same_rows,
)
from encore.runs.contents import ENSEMBLE, prediction_file
from encore.runs.ensemble_model import read_ensemble
from encore.runs.ensemble_store import MemberStore
from encore.runs.folder import MODEL, DevPredictions
from encore.runs.identity import RESULTS_VERSION
from encore.runs.places import run_folder
from encore.runs.writer import prediction_table
from encore.types import LabelSpace

__all__ = ["EnsembleSettings", "MadeEnsemble", "make_ensemble", "read_made"]


@dataclass(frozen=True)
class EnsembleSettings:
    """The choices of `encore ensemble`. tasks: () for all that two runs have. space: what is
    averaged. seed: of the two halves of the dev set. at_least: task → the figure that a member
    must reach by itself ("" for every task). compat: "gen" fits weights as the source did.
    """

    method: str = "greedy"
    tasks: tuple[str, ...] = ()
    space: Space = "probability"
    seed: int = 11
    at_least: Mapping[str, float] | None = None
    compat: str | None = None

    def check(self) -> None:
        """Raises RecipeError for what is not known or does not go together."""
        problems = []
        if self.method not in METHODS:
            known = did_you_mean(self.method, METHODS)
            problems.append(f"--method: no method called '{self.method}'. {known}")
        if self.space not in ("probability", "logit"):
            problems.append(f"--space: expected probability or logit, got '{self.space}'.")
        if self.compat not in (None, "gen"):
            problems.append(f"--compat: expected gen, got '{self.compat}'.")
        elif self.compat is not None and self.method != "regression":
            problems.append("--compat gen: is a way to fit weights. Add --method regression.")
        if problems:
            raise RecipeError(problems)

    def rule(
        self,
        task: str,
        names: tuple[str, ...],
        labels: LabelSpace,
        metric: Metric,
        groups: np.ndarray | None,
    ) -> Choosing:
        """The rule by which members of a task are chosen. groups: of its dev rows."""
        least = (self.at_least or {}).get(task, (self.at_least or {}).get(""))
        method: Any = self.method
        described = self.compat == "gen"
        return Choosing(
            method, names, labels, metric, self.space, self.seed, least, described, groups
        )

    def to_json(self) -> dict[str, Any]:
        """All of them but the tasks."""
        found = asdict(self)
        found.pop("tasks")
        return found | {"at_least": dict(self.at_least or {})}


@dataclass(frozen=True)
class MadeEnsemble(Combined):
    """An ensemble on disk, which holds a copy of each member's model."""

    settings: EnsembleSettings = field(kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"ensemble": str(self.folder), **self.settings.to_json(), **self.figures()}


def make_ensemble(
    runs: Sequence[str | Path], settings: EnsembleSettings, place: Path
) -> MadeEnsemble:
    """Make an ensemble of these runs (folders of runs, or of comparisons for all their runs) in the
    folder of runs `place`, or find it there. Raises RecipeError where the runs do not go together,
    DataError where one cannot be read, TrainingError where the disk does not take it.
    """
    settings.check()
    candidates, notes = find_candidates(runs, "an ensemble")
    tasks = _tasks(candidates, settings)
    made: dict[str, _Chosen] = {}
    complaints = Complaints()
    for task in tasks:
        with complaints.collecting():
            having = [one for one in candidates if task in one.result.metrics]
            made[task] = _chosen(task, having, settings)
    complaints.raise_any()
    kept = [one for one in candidates if any(one in chosen.members for chosen in made.values())]
    about = {
        "results_version": RESULTS_VERSION,
        **settings.to_json(),
        "tasks": {
            task: {
                **asdict(chosen.mixture),
                "members": [kept.index(one) for one in chosen.members],
                "metrics": list(chosen.result.metrics),
            }
            for task, chosen in made.items()
        },
        "members": [{"run": one.name, "digest": one.digest} for one in kept],
    }
    candidates_too = [sorted(one.digest for one in chosen.having) for chosen in made.values()]
    decisive = {**about, "members": [one.digest for one in kept]}
    key = hashlib.sha256(files.canonical([decisive, candidates_too])).hexdigest()[:10]
    folder = run_folder(place, f"ensemble-{'+'.join(tasks)[:80]}-{key}", "ensemble")
    results = tuple(chosen.result for chosen in made.values())
    there = (folder / files.MANIFEST).exists()
    if there:
        read_ensemble(folder)
    else:
        _write(folder, about, kept, list(made.values()))
    names = tuple(one.name for one in kept)
    return MadeEnsemble(folder, names, results, tuple(notes), there, settings=settings)


@dataclass(frozen=True)
class _Chosen:
    """The members of a task, chosen of those that have it. dev: the cross-fitted scores."""

    mixture: Mixture
    result: EnsembleResult
    dev: DevPredictions
    having: Sequence[Candidate]

    @property
    def members(self) -> list[Candidate]:
        return [self.having[number] for number in self.mixture.members]


def _write(
    folder: Path,
    about: Mapping[str, Any],
    kept: Sequence[Candidate],
    chosen: Sequence[_Chosen],
) -> None:
    with new_folder(folder) as being_written:
        store = MemberStore(being_written)
        members = [
            {**listed, "tokenizer": store.add(one.folder)}
            for listed, one in zip(about.get("members", ()), kept, strict=True)
        ]
        files.write_json(being_written / ENSEMBLE, {**about, "members": members})
        for each in chosen:
            _write_dev(being_written, each.result, each.dev)
        results = [each.result.to_json() for each in chosen]
        files.write_json(being_written / "results.json", results)


def _write_dev(folder: Path, result: EnsembleResult, dev: DevPredictions) -> None:
    place = folder / prediction_file(result.task, result.dev_set, 0)
    place.parent.mkdir(parents=True)
    groups = None if dev.groups is None else pa.chunked_array([pa.array(dev.groups.astype(str))])
    table = prediction_table(dev.digest, dev.rows, dev.scores, dev.targets, groups)
    pq.write_table(table, place, compression="zstd")


def read_made(folder: Path) -> MadeEnsemble:
    """An ensemble that was made before. Raises DataError where it is none, or damaged."""
    about = read_ensemble(folder)
    try:
        names = ("method", "space", "seed", "compat")
        least = about.get("at_least") or None
        settings = EnsembleSettings(at_least=least, **{name: about[name] for name in names})
        results = tuple(
            EnsembleResult.from_json(one) for one in files.read_json(folder / "results.json")
        )
        members = tuple(str(one.get("run")) for one in about.get("members", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder}: another version of Encore wrote this ensemble ({type(error).__name__}: "
            f"{error}). Make it again of its runs."
        ) from None
    return MadeEnsemble(folder, members, results, (), True, settings=settings)


def _tasks(candidates: Sequence[Candidate], settings: EnsembleSettings) -> tuple[str, ...]:
    """The tasks of the ensemble, in the order of the runs. Raises RecipeError where a named one is
    in no run, or where no two runs have one in common.
    """
    known = list(dict.fromkeys(task for one in candidates for task in one.result.metrics))
    unknown = [task for task in settings.tasks if task not in known]
    unknown += [task for task in settings.at_least or () if task and task not in known]
    if unknown:
        raise RecipeError(
            f"no task called '{task}' in these runs. {did_you_mean(task, known)}"
            for task in dict.fromkeys(unknown)
        )
    wanted = settings.tasks or tuple(known)
    shared = [task for task in wanted if sum(task in one.result.metrics for one in candidates) > 1]
    if len(candidates) > 1 and not shared and settings.method != "best":
        one, other = candidates[0], candidates[1]
        raise RecipeError(
            f"{display_path(one.folder)} and {display_path(other.folder)} have no task in common "
            f"({', '.join(one.result.metrics)}; {', '.join(other.result.metrics)}), so there is "
            f"nothing to combine. Name runs of one task; --method best keeps one model per task."
        )
    return wanted


def _chosen(task: str, having: Sequence[Candidate], settings: EnsembleSettings) -> _Chosen:
    """Choose a task's members and measure them. Raises RecipeError where they do not fit."""
    first = having[0]
    labels = first.labels[task]
    _require_alike(task, having, settings)
    split, predicted = first.dev(task)
    found = [predicted.scores]
    for one in having[1:]:
        name, other = one.dev(task)
        if not on_same_rows(predicted, other):
            raise RecipeError(
                f"task '{task}': {one.name} was measured on other dev rows ({name}) than "
                f"{first.name} ({split}), so their scores cannot be put together. Train them with "
                f"the same dev set and data.seed."
            )
        found.append(other.scores)
    metrics = tuple(next(iter(first.result.metrics[task].values()))[MODEL])
    if settings.method == "vote":
        metrics = tuple(
            name for name in metrics if not catalogue.find("metrics", name).needs_probabilities
        )
    metric = catalogue.find("metrics", metrics[0])
    names = tuple(one.name for one in having)
    rule = settings.rule(task, names, labels, metric, predicted.groups)
    mixture, result, fitted = measure_ensemble(
        rule,
        found,
        predicted.targets,
        metrics,
        task=task,
        dev_set=split,
        seed=int(first.assembly.get("seed", 0)),
    )
    return _Chosen(mixture, result, replace(predicted, scores=fitted), having)


def _require_alike(task: str, having: Sequence[Candidate], settings: EnsembleSettings) -> None:
    first, *others = having
    mine = first.labels[task]
    for one in others:
        theirs = one.labels[task]
        if theirs != mine:
            raise RecipeError(
                f"task '{task}': {one.name} predicts {_described(theirs)}, and {first.name} "
                f"{_described(mine)}. Members of an ensemble have the same labels in one order."
            )
        if one.reading(task) != first.reading(task):
            raise RecipeError(
                f"task '{task}': {one.name} reads other columns or cells than {first.name}. Train "
                f"them with the same data settings (text, text_pair, label, normalise)."
            )
    if mine.kind == "regression" and settings.method == "vote":
        raise RecipeError(
            f"task '{task}': a regression task has no votes. Leave it out with --task, or take "
            f"--method simple."
        )
    scored = [one.name for one in having if not one.gives_probabilities(task)]
    needs = settings.method != "vote" and (
        settings.method == "regression" or settings.space == "probability"
    )
    if mine.kind != "regression" and needs and len(having) > 1 and scored:
        raise RecipeError(
            f"task '{task}': the scores of {scored[0]} are no logits, so it has no probabilities "
            f"to average. Take --space logit, which averages the scores, or --method vote."
        )


def _described(labels: LabelSpace) -> str:
    names = f" ({', '.join(labels.names)})" if labels.names else ""
    return f"{labels.kind}{names}"
