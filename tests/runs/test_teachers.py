"""Runs that learn from the scores of other runs: what a teacher gives is made once, belongs to the
rows and the order that it was made for, and is part of the student's name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Tables, write_csv

import encore
from encore import files
from encore.errors import DataError, EncoreError, RecipeError
from encore.evaluation.predictions import probabilities
from encore.evaluation.teacher_scores import TeacherScores, mean_of_teachers
from encore.recipe.load import recipe_from
from encore.runs import teachers
from encore.runs.ensemble import EnsembleSettings, make_ensemble
from encore.runs.execute import execute
from encore.runs.folder import RunResult
from encore.runs.loading import load_predictor
from encore.runs.predict import load
from encore.runs.prepare import prepare
from encore.runs.prepared import Prepared
from encore.training.reports import EvalReport, StepReport

LABEL = {  # task → its data
    "verdict": {"label": "verdict"},
    "tags": {"label": "tags", "kind": "multilabel", "label_separator": ";"},
    "score": {"label": "score", "kind": "regression"},
}


def recipe_of(tables: Tables, encoder: Any, task: str = "verdict", **more: Any) -> dict[str, Any]:
    """A short run on one of the labels. more: of the recipe, but for `losses`, `pair` and `data`,
    which are the task's.
    """
    own = {key: more.pop(key) for key in ("losses", "pair") if key in more}
    data = LABEL.get(task, {}) | more.pop("data", {})
    return {
        "encoder": str(encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "pooling": "mean",
        "data": {"train": str(tables.train), "dev": str(tables.dev), "text": "text"},
        "tasks": {task: {"data": data, **own}},
        "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9},
        **more,
    }


def distilled(teacher: Any, **settings: Any) -> dict[str, Any]:
    return {"task": {"name": "distill", "teacher": teacher, **settings}}


def prepared(recipe: dict[str, Any]) -> Prepared:
    return prepare(recipe_from(recipe))


@pytest.fixture
def scorings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The teachers that score, and if the pairs are turned round."""
    found: list[tuple[str, bool]] = []
    score = teachers._scored

    def noted(start: Any, rows: Any, runs: Path, *, turned: bool) -> np.ndarray:
        found.append((start.name, turned))
        return score(start, rows, runs, turned=turned)

    monkeypatch.setattr(teachers, "_scored", noted)
    return found


@pytest.fixture(scope="module")
def teacher(tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("teacher")
    return encore.fit(recipe_of(tables, tiny_encoder), runs=runs).folder


def terms(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "steps.jsonl").read_text().splitlines()
    return [json.loads(line)["terms"] for line in lines]


def stored(runs: Path) -> list[Path]:
    return sorted(runs.glob("teachers/*/scores.parquet"))


def test_the_teacher_is_trained_first_and_its_scores_are_those_of_eval_mode(
    tables: Tables, tiny_encoder: Path, tmp_path: Path, scorings: list[tuple[str, bool]]
) -> None:
    own = recipe_of(tables, tiny_encoder)
    student = prepared(recipe_of(tables, tiny_encoder, losses=distilled({"run": own})))
    (first,) = student.firsts
    assert first.name == prepared(own).name != student.name
    execute(student, tmp_path)
    assert scorings == [(first.name, False)]
    (file,) = stored(tmp_path)
    table = pq.read_table(file)
    train = student.data["verdict"].train
    assert set(table["digest"].to_pylist()) == {train.digest}
    assert set(table["order"].to_pylist()) == {"given"}
    np.testing.assert_array_equal(table["row"].to_numpy(), train.rows)
    expected = load(tmp_path / first.name).scores(train)
    np.testing.assert_array_equal(np.array(table["scores"].to_pylist(), np.float32), expected)
    again = prepared(recipe_of(tables, tiny_encoder, losses=distilled([{"run": own}])))
    assert again.name == student.name, "one teacher is a list of one"
    assert execute(again, tmp_path).already_complete


def test_its_name_holds_the_teachers(tables: Tables, tiny_encoder: Path, teacher: Path) -> None:
    plain = prepared(recipe_of(tables, tiny_encoder)).name
    own = recipe_of(tables, tiny_encoder)

    def name(given: Any, **settings: Any) -> str:
        return prepared(recipe_of(tables, tiny_encoder, losses=distilled(given, **settings))).name

    by_folder = name({"run": str(teacher)})
    assert name({"run": own}) == name(str(teacher)) == by_folder != plain
    others = {
        name({"run": own, "seed": 5}),
        name([{"run": own}, {"run": own, "seed": 5}]),
        name([{"run": own, "seed": 5}, {"run": own}]),
        name({"run": own}, temperature=2.0),
        name({"run": own}, use_labels=False),
        name({"run": own}, convex=True),
        name({"run": {**own, "plan": {**own["plan"], "lr": 2e-2}}}),
    }
    assert len(others - {by_folder, plain}) == 7
    assert name({"run": own}, temperature=1.0, convex=False) == by_folder


def test_students_of_several_seeds_share_what_a_teacher_gave(
    tables: Tables, tiny_encoder: Path, tmp_path: Path, scorings: list[tuple[str, bool]]
) -> None:
    """In a comparison, where the teacher keeps no weights at the end."""
    own = recipe_of(tables, tiny_encoder, plan={"epochs": 1, "lr": 1e-2, "batch_size": 9})
    study = {
        **own,
        "seeds": [1, 2, 3],
        "variants": {
            "distilled": {"tasks.verdict.losses": distilled({"run": "baseline", "seed": 1})},
        },
    }
    found = encore.compare(study, runs=tmp_path, executor="serial")
    assert not found.failed
    assert len(scorings) == 1
    assert len(stored(tmp_path)) == 1
    names = {cell["run"] for cell in json.loads((found.folder / "cells.json").read_text())["cells"]}
    assert len(names) == 6


def test_the_term_is_the_loss_and_two_thirds_of_the_distance_to_the_mean(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Of two teachers, with dropout 0: both terms of the first step by hand."""
    own = recipe_of(tables, tiny_encoder)
    both = [{"run": own, "seed": 1}, {"run": own, "seed": 2}]
    losses = {
        **distilled(both),
        "labels": {"name": "cross_entropy", "weight": 0},
        "teacher": {"name": "distill", "teacher": both, "use_labels": False, "weight": 0},
    }
    one = prepared(recipe_of(tables, tiny_encoder, losses=losses, hidden_dropout=0.0))
    folder = execute(one, tmp_path).folder
    assert len(stored(tmp_path)) == 2, "of each teacher, whatever the number of terms"
    for step in terms(folder):
        expected = step["labels"] + 2 / 3 * step["teacher"]
        assert step["task"] == pytest.approx(expected, rel=1e-6)
    loss = one.streams["verdict"].losses["task"][1]
    train = one.data["verdict"].train
    each = [load(tmp_path / first.name).scores(train) for first in one.firsts]
    mean = np.mean([probabilities(scores, one.data["verdict"].labels) for scores in each], axis=0)
    np.testing.assert_allclose(loss.teacher.given, np.log(mean), rtol=1e-5)


@pytest.mark.parametrize("task", ["verdict", "tags", "score", "same"])
def test_every_kind_of_task_learns_from_its_teacher(
    task: str, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Without labels a student comes closer to what the teacher gives."""
    data: dict[str, Any] = {}
    if task == "same":
        rows = {"text": ["great lamp", "slow zip"] * 9, "same": ["yes", "no"] * 9}
        names = ("train", "dev")
        made = {name: str(write_csv(tmp_path / f"{name}.csv", rows)) for name in names}
        data = {"data": {**made, "label": "same"}}
    own = recipe_of(tables, tiny_encoder, task, **data)
    losses = distilled({"run": own, "seed": 7}, use_labels=False)
    plan = {"epochs": 4, "lr": 1e-2, "batch_size": 9}
    student = prepared(recipe_of(tables, tiny_encoder, task, **data, losses=losses, plan=plan))
    assert (
        student.data[task].labels.kind
        == {
            "verdict": "multiclass",
            "tags": "multilabel",
            "score": "regression",
            "same": "binary",
        }[task]
    )
    found = terms(execute(student, tmp_path).folder)
    quarter = len(found) // 4
    assert np.mean([step["task"] for step in found[-quarter:]]) < np.mean(
        [step["task"] for step in found[:quarter]]
    )


def test_pairs_in_random_order_have_scores_of_both_orders(
    tables: Tables,
    tiny_encoder: Path,
    tmp_path: Path,
    scorings: list[tuple[str, bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    look_up = TeacherScores.of_examples

    def noted(self: Any, digest: str, rows: np.ndarray, swapped: Any = None) -> np.ndarray:
        asked.append(swapped)
        return look_up(self, digest, rows, swapped)

    monkeypatch.setattr(TeacherScores, "of_examples", noted)
    data = {"label": "score", "kind": "regression", "text_pair": "other"}
    own = recipe_of(tables, tiny_encoder, "score", data=data)
    random = {"name": "cross", "order": "random"}
    losses = distilled({"run": own})
    student = prepared(
        recipe_of(tables, tiny_encoder, "score", data=data, losses=losses, pair=random)
    )
    execute(student, tmp_path)
    turned_round = np.concatenate(asked)
    assert 0.2 < turned_round.mean() < 0.8, "a batch says which pairs are turned round"
    name = student.firsts[0].name
    assert scorings == [(name, False), (name, True)]
    train = student.data["score"].train
    scores = student.streams["score"].losses["task"][1].teacher
    turned = replace(train, texts=train.pairs, pairs=train.texts)
    model = load(tmp_path / name)
    np.testing.assert_array_equal(scores.given, model.scores(train))
    np.testing.assert_array_equal(scores.turned, model.scores(turned))
    assert np.abs(scores.given - scores.turned).max() > 1e-4
    plain = prepared(recipe_of(tables, tiny_encoder, "score", data=data, losses=losses))
    execute(plain, tmp_path)
    assert len(scorings) == 2, "in the given order they are those already made"


def test_micro_batches_give_the_same_run(
    tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    def trained(**more: Any) -> RunResult:
        plan = {"epochs": 1, "lr": 1e-2, "batch_size": 9, **more}
        losses = distilled(str(teacher), temperature=2.0)
        return encore.fit(recipe_of(tables, tiny_encoder, losses=losses, plan=plan), runs=tmp_path)

    whole, split = (terms(trained(**more).folder) for more in ({}, {"micro_batch": 2}))
    assert [one["task"] for one in whole] == pytest.approx([one["task"] for one in split], rel=2e-4)


class Stop(Exception):
    pass


def test_a_stopped_student_ends_with_the_same_bytes(
    tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    student = recipe_of(tables, tiny_encoder, losses=distilled([str(teacher), str(teacher)]))
    whole = execute(prepared(student), tmp_path / "whole").folder

    def watch(report: StepReport | EvalReport) -> None:
        if report.step == 8:
            raise Stop

    with pytest.raises(Stop):
        execute(prepared(student), tmp_path / "again", watch=watch, checkpoint_steps=3)
    again = execute(prepared(student), tmp_path / "again").folder
    for name in [*files.read_json(whole / files.MANIFEST), files.MANIFEST]:
        assert (whole / name).read_bytes() == (again / name).read_bytes(), name


def damage_content(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_content, Path.unlink])
def test_damaged_scores_are_refused_in_one_line(
    damage: Any, tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    student = recipe_of(tables, tiny_encoder, losses=distilled(str(teacher)))
    execute(prepared(student), tmp_path)
    (file,) = stored(tmp_path)
    damage(file)
    with pytest.raises(DataError, match=r"scores\.parquet: missing, or not as Encore wrote") as it:
        execute(prepared({**student, "seed": 1}), tmp_path)
    assert len(it.value.lines) == 1
    assert "Remove the folder" in it.value.lines[0]
    shutil.rmtree(file.parent)
    execute(prepared({**student, "seed": 1}), tmp_path)


def test_a_task_without_labels_learns_from_the_teacher_of_another_and_in_one_with_its_own_head(
    tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    """Texts without labels beside the labelled ones; and distillation as a task of its own (GEN
    §6), which shares the encoder and has no say in what is kept.
    """
    texts = write_csv(tmp_path / "texts.csv", {"text": ["my lamp is great", "a dull zip"] * 6})
    given = {"name": "distill", "teacher": str(teacher)}
    student = recipe_of(tables, tiny_encoder)
    student["tasks"] |= {
        "texts": {
            "data": {"train": str(texts), "dev": None, "kind": "unlabelled"},
            "same_as": "verdict",
            "losses": {"task": given},
        },
        "soft": {
            "data": {"label": "verdict"},
            "losses": {"task": given | {"use_labels": False}},
            "metrics": [],
        },
    }
    one = prepared(student)
    result = execute(one, tmp_path)
    assert len(stored(tmp_path)) == 2, "of the training rows and of the texts"
    assert list(result.metrics) == ["verdict", "soft"]
    assert all(not rows["model"] for rows in result.metrics["soft"].values())
    lines = [json.loads(line) for line in (result.folder / "steps.jsonl").open()]
    assert {line["task"] for line in lines} == {"verdict", "texts", "soft"}
    model = load(result.folder)
    assert "texts" not in model.tasks
    heads = [model.tasks[name].model.head for name in ("verdict", "soft")]
    weights = [next(iter(head.parameters())) for head in heads]  # type: ignore[attr-defined]
    assert not torch.equal(*weights)


def test_dev_rows_that_a_teacher_was_trained_on_are_noted(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    own = recipe_of(tables, tiny_encoder, data={"dev": None})

    def notes(**data: Any) -> list[str]:
        losses = distilled({"run": own, "seed": 5})
        student = recipe_of(tables, tiny_encoder, data={"dev": None, **data}, losses=losses)
        return [str(note) for note in prepared(student).notes]

    assert not [note for note in notes() if "teacher" in note]
    (note,) = [note for note in notes(seed=5) if "teacher" in note]
    assert "rows are training rows of the teacher verdict-" in note
    assert note.startswith("dev: ")


def wrong(recipe: dict[str, Any]) -> str:
    with pytest.raises(EncoreError) as error:
        prepared(recipe)
    assert len(error.value.lines) == 1, error.value.lines
    return error.value.lines[0]


def test_what_is_refused_in_one_line(
    tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    def with_teacher(given: Any, task: str = "verdict", **more: Any) -> str:
        return wrong(recipe_of(tables, tiny_encoder, task, losses=distilled(given), **more))

    assert "no teacher. Name the run to learn from: teacher: {run: …}" in with_teacher(None)
    line = with_teacher(str(teacher), "score")
    assert "predicts bad, fair, good, and this task a value" in line
    assert "tasks.score.losses.task.teacher" in line
    assert "no task called 'verdikt'" in with_teacher({"run": str(teacher), "task": "verdikt"})
    assert "no recipe, run or variant called 'nobody'" in with_teacher("nobody")
    assert "expected a run, or {run: …, task: …}, got 3" in with_teacher([3])
    (tmp_path / "folder").mkdir()
    assert "not the folder of a run" in with_teacher(str(tmp_path / "folder"))
    bare = tmp_path / "bare"
    shutil.copytree(teacher, bare)
    shutil.rmtree(bare / "model")
    assert "bare" in with_teacher(str(bare))
    given = {"run": str(teacher), "forgetting": True}
    assert "forgetting" in with_teacher(given)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_ensemble_teaches_alone_or_beside_runs(
    tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    """Its manifest is its identity; `encore distill` takes the recipe of its first member."""
    other = execute(prepared(recipe_of(tables, tiny_encoder, seed=4)), tmp_path).folder
    made = make_ensemble([teacher, other], EnsembleSettings("simple"), tmp_path)
    student = recipe_of(tables, tiny_encoder, losses=distilled(str(made.folder)))
    one = prepared(student)
    digest = files.sha256(made.folder / files.MANIFEST)
    assert [start.identity for start in one.starts] == [f"models {digest}, task verdict"]
    execute(one, tmp_path)
    scores = one.streams["verdict"].losses["task"][1].teacher.given
    train = one.data["verdict"].train
    np.testing.assert_array_equal(scores, load_predictor(made.folder).scores(train))
    mean = mean_of_teachers(
        [load(run).scores(train) for run in (teacher, other)], one.data["verdict"].labels
    )
    np.testing.assert_allclose(
        torch.tensor(scores).softmax(1), torch.tensor(mean).softmax(1), atol=1e-6
    )
    given = distilled({"run": str(made.folder), "seed": 2})
    with pytest.raises(RecipeError, match="no seed or epoch"):
        prepared(recipe_of(tables, tiny_encoder, losses=given))
    found = encore.distill(made.folder, "plan.epochs=1", runs=tmp_path)
    (rows,) = found.rows
    assert rows.teacher.parameters == 2 * rows.student.parameters
