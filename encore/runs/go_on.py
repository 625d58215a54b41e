"""Goes on training a complete run with further rows: its recipe, and what its dev rows show.

The new run is a run like any other: its recipe names the old one as the start of encoder and head,
and the new rows as `data.more`. RUN/old_rows.json: what the old dev rows show; no part of its
results, since it also depends on the folder of the old run.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encore import catalogue, files
from encore.data.endings import TABLE_ENDINGS
from encore.data.table import display_path
from encore.errors import DataError, Problem, RecipeError
from encore.evaluation.paired import PairedDifference, paired_differences
from encore.recipe.find import data_change
from encore.recipe.load import load_recipe, recipe_from
from encore.recipe.overrides import Override
from encore.recipe.schema import PROSE, Recipe
from encore.recipe.write import resolved
from encore.runs.folder import RunResult, read_predictions, read_result
from encore.runs.model_folder import read_parts
from encore.runs.prepared import Prepared
from encore.tables.listing import Listing
from encore.tables.paired import classes_table, paired_table
from encore.types import LabelSpace

__all__ = [
    "OldRows",
    "check_old_rows",
    "measure_old_rows",
    "read_old_rows",
    "recipe_to_go_on",
]

_OLD_ROWS = "old_rows.json"
_OF_THE_RUN = ("text", "text_pair", "label", "group", "merge_labels", "dev")


def recipe_to_go_on(
    run: str | Path,
    more: str | Path,
    overrides: tuple[Override, ...] = (),
    *,
    only_new: bool = False,
    **data: Any,
) -> Recipe:
    """The recipe that goes on training a run with the rows of a file. only_new: without the rows
    that the run was trained on. data: further settings of the data. Raises RecipeError, DataError
    where the run is not complete.
    """
    folder = Path(run).absolute()
    read_result(folder)
    before = load_recipe(folder / "recipe.yaml")
    _check_can_go_on(folder, before, more)
    given = [f"--{key.replace('_', '-')}" for key in _OF_THE_RUN if data.get(key) is not None]
    if given:
        raise RecipeError(
            f"{', '.join(given)}: the columns and the dev rows are those of {run}. Leave it out."
        )
    (name,), (task,) = before.tasks, before.tasks.values()
    rows = task.data
    settings = {
        "more": [*(rows.more or ()), str(more) if str(more) == "-" else str(Path(more).absolute())],
        "only_more": 1 if only_new else rows.only_more + (rows.only_more > 0),
        # A dev set that was split off by the old seed stays the same with another one.
        "seed": before.seed if rows.seed is None else rows.seed,
    }
    changes = [data_change(key, value) for key, value in data.items() if value is not None]
    whole = {key: value for key, value in resolved(before).items() if key not in PROSE}
    own = resolved(task)
    start = {"run": str(folder)}
    own |= {"data": {**resolved(rows), **settings}, "head_from": start}
    trained = "encoder" if before.adapter is None else "adapter_from"
    whole |= {trained: start, "tasks": {name: own}}
    found = recipe_from(whole, (*changes, *overrides))
    if found.encoder != recipe_from(whole).encoder:
        raise RecipeError(f"encoder: with --from the encoder is that of {run}. Leave it out.")
    return found


def _check_can_go_on(folder: Path, before: Recipe, more: str | Path) -> None:
    """Raises RecipeError where a run cannot be gone on with, or where `more` is no file of rows."""
    where = display_path(folder)
    if str(more) != "-" and Path(more).suffix not in TABLE_ENDINGS and not Path(more).is_file():
        raise RecipeError(f"{more}: expected a file of new rows to go on training {where} with.")
    if len(before.tasks) > 1:
        raise RecipeError(
            f"{where}: has several tasks, and new rows belong to one. Write a recipe with "
            f"`encoder: {{run: {where}}}`, and with `head_from` and `data.more` for each task."
        )
    if before.adapter is not None and "of" in before.adapter.settings:
        raise RecipeError(
            f"{where}: fused adapters of other runs, and only one of its own can go on. To train "
            f"it on all rows: {shlex.join(['encore', 'train', f'{where}/recipe.yaml'])} "
            f"data.more={shlex.quote(str(more))}"
        )
    if before.sharing.name != "one":
        raise RecipeError(
            f"{where}: has several encoders (sharing: {before.sharing.name}), and only a run with "
            f"one can go on."
        )


def check_old_rows(prepared: Prepared, run: str | Path) -> None:
    """Raises DataError where the rows that the old run was trained on, or its dev rows, would be
    others now: a file has changed, or a setting of the data has.
    """
    folder = Path(run)
    result = read_result(folder)
    stored = files.read_json(folder / "data.json")
    for task, sets in result.metrics.items():
        data, stream = prepared.data[task], prepared.streams[task]
        train = stored.get(task, {}).get("splits", {}).get("train", {})
        known = {one.get("sha256") for one in train.get("files", [train])}
        now = {digest for _, digest, _ in data.train.sources}
        kept = prepared.recipe.tasks[task].data.only_more > 0 or known <= now
        for split in sets:
            old = read_predictions(folder, task, split, result.epoch_of(task))
            rows = stream.dev.get(split)
            kept &= rows is not None and rows.digest == old.digest
            kept &= rows is not None and bool(np.isin(old.rows, rows.numbers).all())
        if not kept:
            problem = Problem(
                where=display_path(folder),
                message=f"the old rows of '{task}' would not be those that this run was trained "
                f"and measured on: a file has changed, or a setting of data has.",
                remedy="Give it its files back, and leave data as it is.",
            )
            raise DataError(problem)


@dataclass(frozen=True)
class OldRows:
    """A run on the dev rows of the run that it went on from, as differences to that. before: the
    name of that one. classes: for each old class the share of its rows that was found, for each old
    label of a multi-label task its F1. n_new: rows that got a new label.
    """

    before: str
    task: str
    split: str
    n_rows: int
    n_new: int
    metrics: Mapping[str, PairedDifference]
    classes: Mapping[str, PairedDifference]
    rows_of: Mapping[str, int]
    several_labels: bool

    def tables(self) -> list[Listing]:
        """The table of the metrics, and that of the classes where there are some."""
        notes = []
        if self.n_new:
            notes.append(f"{self.n_new:,} of these rows got a new label, which is wrong.")
        title = f"the {self.n_rows:,} old rows of {self.split}: before is {self.before}"
        found = [paired_table(self.metrics, names=("before", "now"), title=title, notes=notes)]
        if self.classes:
            what = "F1 of each label" if self.several_labels else "% found of the rows of each"
            title = f"what the old classes lost: {what}"
            found.append(classes_table(self.classes, self.rows_of, title=title))
        return found

    def as_object(self) -> dict[str, Any]:
        """Its part of the object that `--json` prints."""
        return {
            "rows": self.n_rows,
            "new_labels": self.n_new,
            "metrics": {name: asdict(one) for name, one in self.metrics.items()},
            "classes": {name: asdict(one) for name, one in self.classes.items()},
        }


def measure_old_rows(prepared: Prepared, result: RunResult, run: str | Path) -> list[OldRows]:
    """A complete run against the run that it went on from, on the dev rows of that one; kept in its
    folder. Raises DataError where a folder is damaged.
    """
    folder, found = Path(run), list[OldRows]()
    before = read_result(folder)
    old_labels = {name: one.labels for name, one in read_parts(folder / "model")[1].items()}
    for task, sets in before.metrics.items():
        data = prepared.data[task]
        for split in sets:
            old = read_predictions(folder, task, split, before.epoch_of(task))
            new = read_predictions(result.folder, task, split, result.epoch_of(task))
            _, mine, theirs = np.intersect1d(new.rows, old.rows, return_indices=True)
            found.append(
                _measured(
                    (folder.resolve().name, task, split),
                    (new.scores[mine], old.scores[theirs], old.targets[theirs]),
                    (data.labels, old_labels[task]),
                    data.metrics,
                    prepared.recipe.seed,
                    None if old.groups is None else old.groups[theirs],
                )
            )
    files.write_json(result.folder / _OLD_ROWS, [asdict(one) for one in found])
    return found


def read_old_rows(folder: Path) -> list[OldRows]:
    """Read what `measure_old_rows` found for this run; nothing for a run that went on from none.
    Raises DataError where it is damaged.
    """
    kept = folder / _OLD_ROWS
    if not kept.exists():
        return []
    try:
        return [_from_json(**one) for one in files.read_json(kept)]
    except (OSError, ValueError, TypeError, AttributeError):
        problem = Problem(
            where=display_path(kept),
            message="not as `encore train --from` wrote it.",
            remedy="Remove the file and run that again.",
        )
        raise DataError(problem) from None


def _from_json(*, metrics: Mapping[str, Any], classes: Mapping[str, Any], **others: Any) -> OldRows:
    found = [{name: _difference(**one) for name, one in of.items()} for of in (metrics, classes)]
    return OldRows(metrics=found[0], classes=found[1], **others)


def _difference(*, notes: list[str], **others: Any) -> PairedDifference:
    return PairedDifference(notes=tuple(notes), **others)


def _measured(
    of: tuple[str, str, str],
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    spaces: tuple[LabelSpace, LabelSpace],
    metrics: tuple[str, ...],
    seed: int,
    groups: np.ndarray | None,
) -> OldRows:
    """One task on one dev set. of: the first fields. rows: scores of the new run and of the old
    one, and the truth. spaces: the labels of the two. groups: (rows,) numbers of rows that belong
    together.
    """
    (scores, before, targets), (labels, old) = rows, spaces
    others, truth = _widened(before, targets, old, labels)
    usable = _comparable(metrics, (before, targets, old), (others, truth, labels))
    n_old, n_new, classes = len(old.names), 0, {}
    rows_of: dict[str, int] = {}
    if labels.kind in ("binary", "multiclass"):
        n_new = int((scores.argmax(axis=1) >= n_old).sum())
        for number, name in enumerate(old.names):
            at = truth == number
            if rows_of.setdefault(name, int(at.sum())):
                own = None if groups is None else groups[at]
                (classes[name],) = paired_differences(
                    scores[at], others[at], truth[at], labels, ["accuracy"], seed, groups=own
                ).values()
    elif labels.kind == "multilabel":
        n_new = int((scores[:, n_old:] >= 0).any(axis=1).sum())
        for number, name in enumerate(old.names):
            mine, theirs = (
                np.stack([0 * each[:, number], each[:, number]], 1) for each in (scores, others)
            )
            one = LabelSpace("binary", ("without", name))
            given = truth[:, number].astype(np.int64)
            rows_of[name] = int(given.sum())
            (classes[name],) = paired_differences(
                mine, theirs, given, one, ["f1"], seed, groups=groups
            ).values()
    return OldRows(
        *of,
        len(truth),
        n_new,
        paired_differences(scores, others, truth, labels, usable, seed, groups=groups),
        classes,
        rows_of,
        labels.kind == "multilabel",
    )


def _widened(
    scores: np.ndarray, targets: np.ndarray, old: LabelSpace, labels: LabelSpace
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of a model that never predicts the new labels, and its truth without them."""
    n_more = labels.n_scores - old.n_scores
    if not n_more:
        return scores, targets
    never = np.full((len(scores), n_more), np.float32(scores.min() - 100))
    if targets.ndim == 2:
        targets = np.hstack([targets, np.zeros((len(targets), n_more), targets.dtype)])
    return np.hstack([scores, never]), targets


def _comparable(
    metrics: tuple[str, ...],
    before: tuple[np.ndarray, np.ndarray, LabelSpace],
    now: tuple[np.ndarray, np.ndarray, LabelSpace],
) -> list[str]:
    """The metrics that new labels without a row leave as they are; a mean over labels is lower with
    them. One at least.
    """
    old, labels = before[2], now[2]
    found = [
        name
        for name in metrics
        if old == labels
        or (
            old.kind in catalogue.find("metrics", name).kinds
            and np.isclose(*(catalogue.find("metrics", name)(*one) for one in (before, now)))
        )
    ]
    return found or ["micro_f1" if labels.kind == "multilabel" else "accuracy"]
