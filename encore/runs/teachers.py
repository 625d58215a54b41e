"""The teachers of a run: what they gave to its training rows, which each scores once.

RUNS/teachers/TASK-HASH/ holds the raw scores of one teacher for one set of training rows in one
order of the pairs: scores.parquet (digest, row, order, scores) and a manifest with its sha256.
Every student of that teacher on these rows reads it, whatever its seed.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from encore import catalogue, files
from encore.data.build import normalise_column
from encore.data.dataset import Dataset, TaskData
from encore.data.table import display_path
from encore.errors import Complaints, DataError, Problem, RecipeError
from encore.evaluation.teacher_scores import TeacherScores, mean_of_teachers
from encore.recipe.schema import Recipe
from encore.runs.compatibility import head_of
from encore.runs.loading import load_predictor
from encore.runs.model_folder import read_parts
from encore.runs.prepared import Prepared, Start
from encore.runs.writer import RunBusy
from encore.types import LabelSpace, Note

__all__ = ["check_teachers", "labels_of_teacher", "notes_on_teachers", "teach", "teacher_scores"]

_SCORES = "scores.parquet"


def check_teachers(
    recipe: Recipe, starts: Sequence[Start], task: str, data: Mapping[str, TaskData]
) -> None:
    """Raises RecipeError where a loss of this task has no teacher though it needs one, or one that
    was trained on other labels, or whose scores are no logits. data: of all tasks.
    """
    complaints, spec = Complaints(), recipe.tasks[task]
    labels = _labels_of_student(recipe, task, data)
    for term, one in spec.losses.items():
        if one.loss is None or not catalogue.find("losses", one.loss.name).has_teacher:
            continue
        steps = ("tasks", task, "losses", term, "teacher")
        found = _of_term(starts, task, term)
        if not found:
            problem = Problem(
                message="no teacher.", remedy="Name the run to learn from: teacher: {run: …}."
            )
            complaints.errors.append(RecipeError(recipe.problem(steps, problem)))
        elif labels is not None and not _gives_logits(recipe, task, labels):
            message = f"the scores of the head '{head_of(recipe, task).name}' are no logits."
            complaints.errors.append(RecipeError(recipe.problem(steps, message)))
        for start in found if labels is not None else ():
            if (why := _unfit(start, labels)) is not None:
                complaints.errors.append(RecipeError(recipe.problem(steps, why)))
    complaints.raise_any()


def _labels_of_student(
    recipe: Recipe, task: str, data: Mapping[str, TaskData]
) -> LabelSpace | None:
    """The labels that a task's head predicts; None where these rows could not be read."""
    owner = recipe.tasks[task].same_as or task
    return data[owner].labels if owner in data else None


def _gives_logits(recipe: Recipe, task: str, labels: LabelSpace) -> bool:
    head = catalogue.find("heads", head_of(recipe, task).name)
    return labels.kind == "regression" or head.gives_probabilities


def _unfit(start: Start, labels: LabelSpace | None) -> Problem | None:
    """The problem of a teacher that does not fit these labels, if it does not."""
    assert labels is not None
    theirs = labels_of_teacher(start)
    if theirs.kind != labels.kind or set(theirs.names) != set(labels.names):
        return Problem(
            message=f"'{start.task}' of {start.name} has other labels: it predicts "
            f"{_in_words(theirs)}, and this task {_in_words(labels)}.",
            remedy="Name a run on the same labels, or the task of it: {run: …, task: …}.",
        )
    if start.models is None and not _gives_logits(start.recipe, start.task, labels):
        name = head_of(start.recipe, start.task).name
        return Problem(message=f"the scores of {start.name}'s head '{name}' are no logits.")
    return None


def _in_words(labels: LabelSpace) -> str:
    return ", ".join(labels.names) or ("a value" if labels.kind == "regression" else "nothing")


def labels_of_teacher(start: Start) -> LabelSpace:
    """The labels that a teacher predicts, in its order."""
    if start.run is not None:
        return start.run.data[start.task].labels
    assert start.folder is not None
    if start.models is not None:
        return load_predictor(start.folder).tasks[start.task].labels
    return read_parts(start.folder / "model")[1][start.task].labels


def notes_on_teachers(starts: Sequence[Start], data: Mapping[str, TaskData]) -> Iterator[Note]:
    """Notes on dev rows that a teacher was trained on, which it passes on."""
    for start in starts:
        if start.place.part != "teacher" or start.run is None:
            continue
        task = start.place.steps[1]
        train = start.run.data[start.task].train
        for split, part in data[task].dev.items():
            n_seen = sum(
                int(np.isin(part.rows, numbers).sum())
                for _, digest, numbers in train.sources
                if digest == part.digest
            )
            if n_seen:
                yield Note(
                    f"{n_seen:,} of {len(part):,} rows are training rows of the teacher "
                    f"{start.name}; name a dev file (data.dev), or set data.seed",
                    task=task,
                    about=split,
                )


def teach(prepared: Prepared, runs: Path) -> None:
    """Give each loss that has teachers their scores of the training rows, which are made where they
    do not exist. runs: where teachers lie that have no folder of their own. Raises DataError where
    a file of scores is damaged, or a teacher is.
    """
    for task, stream in prepared.streams.items():
        for term, (_, loss) in stream.losses.items():
            if loss.has_teacher:
                found = _of_term(prepared.starts, task, term)
                labels = _labels_of_student(prepared.recipe, task, prepared.data)
                assert labels is not None
                loss.teacher = teacher_scores(
                    found, labels, prepared.data[task].train, runs, turned=stream.random_order
                )


def _of_term(starts: Sequence[Start], task: str, term: str) -> list[Start]:
    wanted = ("tasks", task, "losses", term, "teacher")
    return [one for one in starts if one.place.part == "teacher" and one.place.steps == wanted]


def teacher_scores(
    teachers: Sequence[Start], labels: LabelSpace, rows: Dataset, runs: Path, *, turned: bool
) -> TeacherScores:
    """The scores of one teacher, or the mean of several, with the columns in the order of `labels`.
    turned: also of the pairs turned round.
    """
    orders = []
    for order in (False, True) if turned else (False,):
        found = []
        for one in teachers:
            names = labels_of_teacher(one).names
            columns = [names.index(name) for name in labels.names] or [0]
            found.append(_stored(one, rows, runs, turned=order)[:, columns])
        orders.append(mean_of_teachers(found, labels))
    at = np.argsort(rows.rows, kind="stable")
    sorted_ = [np.ascontiguousarray(each[at]) for each in orders]
    return TeacherScores(labels, rows.digest, rows.rows[at], *sorted_)


def _stored(start: Start, rows: Dataset, runs: Path, *, turned: bool) -> np.ndarray:
    """(rows, n_scores) float32: what a teacher gives to the rows; scored where no file has it."""
    folder = runs / "teachers" / f"{start.task}-{_key(start, rows, turned)}"
    busy = RunBusy(f"{display_path(folder)}: another process is scoring these rows.")
    while True:
        try:
            with files.locked(folder, busy):
                if not (folder / files.MANIFEST).exists():
                    scores = _scored(start, rows, runs, turned=turned)
                    files.write(folder / _SCORES, _parquet(rows, scores, turned=turned))
                    files.write_manifest(folder, [folder / _SCORES])
                return _read(folder, rows)
        except RunBusy:
            time.sleep(0.2)


def _key(start: Start, rows: Dataset, turned: bool) -> str:
    """A hash of the teacher, of the rows and their texts, and of the order."""
    texts = [None if side is None else side.to_pylist() for side in (rows.texts, rows.pairs)]
    numbers = hashlib.sha256(rows.rows.tobytes()).hexdigest()
    what = files.canonical([start.identity, rows.digest, numbers, turned, texts])
    return hashlib.sha256(what).hexdigest()[:10]


def _threads_of(recipe: Recipe) -> int | None:
    """The cores that a recipe names; None where it leaves them to the machine."""
    return recipe.shares if (recipe.shares or 1) > 1 else recipe.threads


def _scored(start: Start, rows: Dataset, runs: Path, *, turned: bool) -> np.ndarray:
    """Score the rows in eval mode, with as many threads as the teacher was trained with, so that
    the same teacher gives the same bits to every student.
    """
    folder = start.folder if start.models else start.model_folder(runs).parent
    assert folder is not None
    model = load_predictor(folder, force=True)
    how = model.tasks[start.task].normalise
    texts, pairs = (
        None if side is None else normalise_column(side, how) for side in (rows.texts, rows.pairs)
    )
    assert texts is not None
    if turned:
        assert pairs is not None
        texts, pairs = pairs, texts
    before = torch.get_num_threads()
    torch.set_num_threads(1 if start.models else _threads_of(start.recipe) or before)
    try:
        read = replace(rows, texts=texts, pairs=pairs, negatives=None)
        return model.scores(read, task=start.task)
    finally:
        torch.set_num_threads(before)


def _parquet(rows: Dataset, scores: np.ndarray, *, turned: bool) -> bytes:
    n_rows, n_scores = scores.shape
    table = pa.table(
        {
            "digest": pa.array([rows.digest] * n_rows).dictionary_encode(),
            "row": pa.array(rows.rows),
            "order": pa.array(["turned" if turned else "given"] * n_rows).dictionary_encode(),
            "scores": pa.FixedSizeListArray.from_arrays(scores.ravel(), n_scores),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _read(folder: Path, rows: Dataset) -> np.ndarray:
    """The scores in a file, as (rows, n_scores) float32. Raises DataError where it is damaged."""
    if wrong := files.wrong_files(folder, (_SCORES,)):
        raise DataError(
            Problem(
                where=display_path(folder / wrong[0]),
                message="missing, or not as Encore wrote it: scores of a teacher are damaged.",
                remedy=f"Remove the folder {display_path(folder)}; they are made again.",
            )
        )
    table = pq.read_table(folder / _SCORES)
    chunks = [chunk.flatten().to_numpy() for chunk in table.column("scores").chunks]
    return np.concatenate(chunks).reshape(len(rows), -1).astype(np.float32, copy=False)
