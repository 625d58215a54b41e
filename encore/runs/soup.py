"""Makes a model soup: one model whose weights are the mean of those of several runs, which are
chosen on their dev set (Wortsman et al. 2022).

RUNS/soup-TASKS-HASH/ is the folder of a run, of the member that comes first by name: its recipe and
its data, but with the averaged weights, and their dev scores as of epoch 0, since it was not
trained. soup.json holds the method, the members by digest and the cross-fitted figures. Needs none
of the runs, and appears whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import safetensors.torch

from encore import files
from encore.data.table import join_limited, plural
from encore.errors import DataError, RecipeError, did_you_mean
from encore.evaluation.ensemble_record import EnsembleResult
from encore.evaluation.estimates import estimate_metrics
from encore.evaluation.soups import SOUPS, SoupChoice, SoupRows, measure_soup
from encore.recipe.load import load_recipe
from encore.runs.candidates import (
    Candidate,
    Combined,
    find_candidates,
    new_folder,
    on_same_rows,
)
from encore.runs.contents import MODEL_FILES, RUN_FILES, SOUP, prediction_file
from encore.runs.folder import MODEL, DevPredictions, RunResult, read_result
from encore.runs.identity import RESULTS_VERSION
from encore.runs.places import run_folder
from encore.runs.prepare import prepare
from encore.runs.soup_weights import SoupModel, require_one_architecture
from encore.runs.writer import prediction_table
from encore.training.streams import Rows
from encore.types import Note

__all__ = ["MadeSoup", "read_soup", "soup"]

_COPIED = (*RUN_FILES[:3], "environment.json")
_MOST_NAMED = 5


@dataclass(frozen=True)
class MadeSoup(Combined):
    """A soup on disk: the mean of the weights of its members. seed: of the two halves."""

    method: str = field(kw_only=True)
    seed: int = field(kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        about = {"run": str(self.folder), "method": self.method, "seed": self.seed}
        return about | self.figures()


def soup(
    members: Sequence[str | Path],
    *,
    method: str = "greedy",
    seed: int = 11,
    runs: str | Path = "runs",
) -> MadeSoup:
    """Make one model of the mean weights of runs, as `encore soup` does, or find it there. Its
    folder is that of a run.

    >>> found = encore.soup(["runs/reviews-1a2b3c", "runs/reviews-4d5e6f"])  # doctest: +SKIP
    >>> found.results[0].cross_fitted["accuracy"].value  # doctest: +SKIP

    members: folders of runs with their weights, or of comparisons, for all such runs of them.
    method: greedy, the best on the dev set and then each that makes the figure of the averaged
    weights no worse, or uniform, all. seed: of the two halves of the dev set that the cross-fitted
    figures are of. Raises RecipeError where the runs have no mean, DataError where one cannot be
    read, TrainingError where the disk does not take it.
    """
    if method not in SOUPS:
        raise RecipeError(
            f"--method: no method called '{method}'. {did_you_mean(method, list(SOUPS))}"
        )
    given = [members] if isinstance(members, str | Path) else list(members)
    candidates, notes = find_candidates(given, "a soup")
    require_one_architecture(candidates)
    notes += _on_starts(candidates)
    about = {
        "results_version": RESULTS_VERSION,
        "method": method,
        "seed": seed,
        "candidates": [{"run": one.name, "digest": one.digest} for one in candidates],
    }
    decisive = {**about, "candidates": sorted(one.digest for one in candidates)}
    key = hashlib.sha256(files.canonical([decisive, "soup"])).hexdigest()[:10]
    tasks = "+".join(candidates[0].result.metrics)[:80]
    folder = run_folder(Path(runs), f"soup-{tasks}-{key}")
    if (folder / files.MANIFEST).exists():
        return replace(read_soup(folder), notes=tuple(notes))
    return _made(folder, candidates, about, notes)


def read_soup(folder: Path) -> MadeSoup:
    """A soup that was made before. Raises DataError where it is none, or damaged."""
    read_result(folder)
    try:
        stored = files.read_json(folder / SOUP)
        members = tuple(str(one.get("run")) for one in stored.get("members"))
        results = tuple(EnsembleResult.from_json(one) for one in stored.get("results"))
        method, seed = str(stored.get("method")), int(stored.get("seed"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / SOUP}: missing, or written by another version of Encore "
            f"({type(error).__name__}). Make the soup again of its runs."
        ) from None
    return MadeSoup(folder, members, results, (), True, method=method, seed=seed)


def _made(
    folder: Path, candidates: Sequence[Candidate], about: dict[str, Any], notes: list[str]
) -> MadeSoup:
    stored, rows = _stored_predictions(candidates), _dev_rows(candidates[0])
    _require_same_rows(candidates[0], stored[0], rows)
    model = SoupModel.of(candidates, rows)
    found: dict[tuple[int, ...], dict[str, dict[str, np.ndarray]]] = {}

    def all_scores(members: tuple[int, ...]) -> dict[str, dict[str, np.ndarray]]:
        """Of one model those that its run stored, so that a soup of one is its run."""
        if members not in found:
            found[members] = (
                {
                    task: {split: one.scores for split, one in sets.items()}
                    for task, sets in stored[members[0]].items()
                }
                if len(members) == 1
                else model.scores(members)
            )
        return found[members]

    def scores_of(members: tuple[int, ...]) -> Mapping[str, np.ndarray]:
        return {task: next(iter(sets.values())) for task, sets in all_scores(members).items()}

    method, seed = str(about.get("method")), int(about.get("seed", 0))
    choice = SoupChoice(
        method, tuple(one.name for one in candidates), _chosen_by(candidates[0], stored[0]), seed
    )
    chosen, results = measure_soup(choice, scores_of, int(candidates[0].assembly.get("seed", 0)))
    kept = [candidates[number] for number in chosen]
    about |= {
        "members": [{"run": one.name, "digest": one.digest} for one in kept],
        "results": [one.to_json() for one in results],
    }
    first = kept[0]
    whole = _result(folder, candidates, chosen, results, rows, all_scores(chosen))
    with new_folder(folder) as being_written:
        _write(being_written, first, whole)
        for task, sets in all_scores(chosen).items():
            for split, scores in sets.items():
                _write_scores(being_written, task, split, rows[task][split], scores)
        with files.commit_folder(being_written / "model") as inside:
            for name in MODEL_FILES:
                shutil.copyfile(first.folder / "model" / name, inside / name)
            for name, weights in model.weights(chosen).items():
                safetensors.torch.save_file(weights, inside / name)
        files.write_json(being_written / SOUP, about)
    names = tuple(one.name for one in kept)
    return MadeSoup(folder, names, results, tuple(notes), method=method, seed=seed)


def _on_starts(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Notes on members whose weights did not start from the same place, or saw other rows."""
    starts = {one.assembly.get("encoder_digest") for one in candidates}
    if len(starts) > 1:
        yield (
            f"these runs start from {len(starts)} different encoders. The mean of weights is good "
            f"for runs of one start; of others it is often worse than each of them"
        )
    trained = {files.sha256(one.folder / "data.json") for one in candidates}
    if len(trained) > 1:
        yield (
            "these runs were trained on different rows; `encore evaluate` knows those of "
            f"{candidates[0].name} when it warns of rows that were trained on"
        )


def _stored_predictions(
    candidates: Sequence[Candidate],
) -> list[dict[str, dict[str, DevPredictions]]]:
    """Of each run, task → dev set → what it predicted. Raises RecipeError where these are of other
    rows than those of the first.
    """
    found = [one.predictions() for one in candidates]
    wrong = [
        f"task '{task}': {one.name} was measured on other dev rows than {candidates[0].name} "
        f"({split}), so their figures cannot be compared. Train them with the same dev set and "
        f"data.seed."
        for one, theirs in zip(candidates[1:], found[1:], strict=True)
        for task, sets in found[0].items()
        for split, mine in sets.items()
        if split not in theirs.get(task, {}) or not on_same_rows(mine, theirs[task][split])
    ]
    if wrong:
        raise RecipeError(wrong[:1])
    if not found[0]:
        raise RecipeError(
            f"{candidates[0].name}: has no dev figures, so there is nothing to go by."
        )
    return found


def _dev_rows(first: Candidate) -> dict[str, dict[str, Rows]]:
    """Task → dev set → its rows, tokenized as for the first run. Raises DataError and RecipeError
    where they cannot be read again.
    """
    prepared = prepare(load_recipe(first.folder / "recipe.yaml"))
    return {task: dict(prepared.streams[task].dev) for task in first.predictions()}


def _require_same_rows(
    first: Candidate,
    stored: Mapping[str, Mapping[str, DevPredictions]],
    rows: Mapping[str, Mapping[str, Rows]],
) -> None:
    for task, sets in stored.items():
        for split, one in sets.items():
            now = rows[task].get(split)
            if now is None or now.digest != one.digest or not np.array_equal(now.numbers, one.rows):
                raise DataError(
                    f"task '{task}': the file of the dev rows ({split}) is not as it was when "
                    f"{first.name} was measured. Put the file back, or train the runs again."
                )


def _chosen_by(
    first: Candidate, stored: Mapping[str, Mapping[str, DevPredictions]]
) -> dict[str, SoupRows]:
    found = {}
    for task, sets in stored.items():
        split, one = next(iter(sets.items()))
        metrics = tuple(first.result.metrics[task][split][MODEL])
        if metrics:
            found[task] = SoupRows(split, one.targets, first.labels[task], metrics, one.groups)
    return found


def _result(
    folder: Path,
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    results: Sequence[EnsembleResult],
    rows: Mapping[str, Mapping[str, Rows]],
    scores: Mapping[str, Mapping[str, np.ndarray]],
) -> RunResult:
    """The result as of a run: the figures on every dev set beside the baselines of the first
    member. The cost is that of training all members.
    """
    first = candidates[chosen[0]]
    seed = int(first.assembly.get("seed", 0))
    metrics = {
        task: {
            split: {
                **before,
                MODEL: estimate_metrics(
                    scores[task][split],
                    rows[task][split].targets,
                    first.labels[task],
                    tuple(before[MODEL]),
                    seed,
                    groups=rows[task][split].clusters,
                ),
            }
            for split, before in first.result.metrics[task].items()
            if split in sets
        }
        for task, sets in scores.items()
    }
    seconds = sum(candidates[number].result.seconds for number in chosen)
    names = join_limited([candidates[number].name for number in chosen], _MOST_NAMED)
    notes = [
        Note(
            f"the mean of the weights of {len(chosen)} of {plural(len(candidates), 'run')} "
            f"({names}), chosen on these dev rows: the figures to go by are the cross-fitted ones "
            f"in {SOUP}",
            task=one.task if len(results) > 1 else "",
        )
        for one in results
    ]
    return RunResult(folder, metrics, 0, 0, "last", tuple(notes), seconds, 0.0)


def _write(folder: Path, first: Candidate, whole: RunResult) -> None:
    for name in _COPIED:
        if (first.folder / name).is_file():
            shutil.copyfile(first.folder / name, folder / name)
    files.write(folder / "steps.jsonl", b"")
    dev = {
        task: {
            split: {name: one.value for name, one in sets[split][MODEL].items()} for split in sets
        }
        for task, sets in whole.metrics.items()
    }
    record = {"epoch": 0, "step": 0, "train": {}, "dev": dev, "dev_loss": {}}
    record |= {"selected": None, "is_best": True}
    files.write(folder / "metrics.jsonl", json.dumps(record).encode() + b"\n")
    files.write_json(folder / "results.json", whole.to_json())
    cost = {"seconds": whole.seconds, "tokens_per_second": whole.tokens_per_second}
    files.write_json(folder / "cost.json", cost)


def _write_scores(folder: Path, task: str, split: str, rows: Rows, scores: np.ndarray) -> None:
    place = folder / prediction_file(task, split, 0)
    place.parent.mkdir(parents=True, exist_ok=True)
    table = prediction_table(rows.digest, rows.numbers, scores, rows.targets, rows.groups)
    pq.write_table(table, place, compression="zstd")
