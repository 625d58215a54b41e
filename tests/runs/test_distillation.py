"""`encore distill`: the student's recipe, what is printed, and a newcomer's mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Tables, write_csv

import encore
from encore.errors import EncoreError
from encore.runs.distillation import _with_teachers, recipe_to_distil
from encore.runs.execute import execute
from encore.runs.predict import load


@pytest.fixture(scope="module")
def teacher(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a dev set that is split off by its seed."""
    runs = tmp_path_factory.mktemp("teacher")
    return execute(tables.prepared("seed=3", "plan.epochs=1", dev=None), runs).folder


def test_a_student_learns_from_the_run_and_from_texts_without_labels(
    tables: Tables, tiny_encoder: Path, teacher: Path, tmp_path: Path
) -> None:
    texts = write_csv(tmp_path / "texts.csv", {"id": [1, 2], "text": ["a great lamp", "dull zip"]})
    found = encore.distill(teacher, "plan.epochs=1", "seed=8", texts=texts, runs=tmp_path / "runs")
    (rows,) = found.rows
    assert (rows.task, rows.split) == ("train", "dev")
    student, before = load(found.result.folder), load(teacher)
    assert list(student.tasks) == ["train"]
    for name, one in (("student", student), ("teacher", before)):
        size = {"student": rows.student, "teacher": rows.teacher}[name]
        parameters = one.tasks["train"].model.parameters()
        assert size.parameters == sum(each.numel() for each in parameters)
        assert size.rows_per_second > 0
    stored = json.loads((found.result.folder / "results.json").read_text())["metrics"]
    theirs = json.loads((teacher / "results.json").read_text())["metrics"]
    value = stored["train"]["dev"]["model"]["accuracy"]["value"]
    other = theirs["train"]["dev"]["model"]["accuracy"]["value"]
    assert rows.metrics["accuracy"].value == pytest.approx(value)
    assert rows.metrics["accuracy"].other == pytest.approx(other), "on the same dev rows"
    assert rows.metrics["accuracy"].delta == pytest.approx(value - other)
    lines = [json.loads(line) for line in (found.result.folder / "steps.jsonl").open()]
    assert {line["task"] for line in lines} == {"train", "train_texts"}
    again = encore.distill(teacher, "plan.epochs=1", "seed=8", texts=texts, runs=tmp_path / "runs")
    assert again.result.already_complete


def test_the_recipe_is_the_teachers_but_for_encoder_rate_and_loss(teacher: Path) -> None:
    same = recipe_to_distil([teacher, teacher])
    task = same.tasks["train"]
    assert (same.plan.epochs, same.plan.lr, task.data.seed) == (1, 1e-2, 3)
    loss = task.losses["task"].loss
    assert loss is not None
    assert loss.name == "distill"
    assert [one["run"] for one in loss.settings["teacher"]] == [str(teacher)] * 2
    other = recipe_to_distil([teacher], encoder="minilm")
    assert (other.encoder, other.plan.epochs, other.plan.lr) == ("minilm", None, None)


def test_the_tasks_own_term_is_distilled_and_its_factor_holds_for_both() -> None:
    them = [{"run": "a", "task": "t"}]
    found = _with_teachers({"task": {"name": "mse", "weight": 0.1}, "more": {"name": "mnr"}}, them)
    assert found == {
        "task": {"name": "distill", "teacher": them, "weight": 0.1, "of": {"name": "mse"}},
        "more": {"name": "mnr"},
    }
    apart = _with_teachers({"task": {"name": "mnr", "weight": 3.0}}, them)
    assert apart["task"] == {"name": "mnr", "weight": 3.0}
    assert apart["teacher"]["weight"] == pytest.approx(2.0)
    assert apart["teacher"]["use_labels"] is False
    student = {"task": {"name": "distill", "teacher": ["b"], "temperature": 2.0, "weight": 1.0}}
    assert _with_teachers(student, them)["task"]["teacher"] == them


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "no such run"), ("texts.csv", "a file, not the folder")]
)
def test_what_is_no_run_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "texts.csv", {"text": ["a"]})
    with pytest.raises(EncoreError, match=message) as error:
        encore.distill(tmp_path / name)
    assert len(error.value.lines) == 1


def test_several_teachers_are_compared_as_their_mean(
    tables: Tables, teacher: Path, tmp_path: Path
) -> None:
    """Twice the same one is that one."""
    found = [
        encore.distill(each, "plan.epochs=1", runs=tmp_path).rows[0]
        for each in (teacher, [teacher, teacher])
    ]
    one, two = (each.metrics["accuracy"] for each in found)
    assert np.isclose(one.other, two.other)
    assert found[1].teacher.parameters == 2 * found[0].teacher.parameters
