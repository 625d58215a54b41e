"""Problems and errors: one line each, and all of them at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from encore.errors import Complaints, DataError, EncoreError, Problem, RecipeError
from encore.types import Note


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem(message="no such file."), "no such file."),
        (
            Problem(where="a.yaml", line=3, setting="plan.lr", expected="a number", got="'x'"),
            "a.yaml:3 plan.lr: expected a number, got 'x'.",
        ),
        (
            Problem(where="override plan.lr=x", message="no value.", remedy="Write plan.lr=1e-4."),
            "override plan.lr=x: no value. Write plan.lr=1e-4.",
        ),
        (Problem(task="b", where="x.csv", message="is empty."), "task 'b': x.csv: is empty."),
        (Problem(setting="plan.keep", message="no metric."), "plan.keep: no metric."),
        (
            Problem(where="x.csv", line=3, column="stars", expected="1 or 2", got="'3'"),
            "x.csv:3 column 'stars': expected 1 or 2, got '3'.",
        ),
        (Problem(where="x.csv", message="two\r\nlines"), "x.csv: two lines"),
    ],
)
def test_a_problem_is_one_line(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_a_change_is_written_as_an_option_or_for_the_one_task_that_it_is_for() -> None:
    problem = Problem(
        where="x.csv", message="which?", remedy="Say:", setting="data.text_pair", change="NAME"
    )
    assert str(problem) == "x.csv: which? Say: --text-pair NAME"
    assert str(replace(problem, task="b")) == (
        "task 'b': x.csv: which? Say: tasks.b.data.text_pair=NAME"
    )
    assert str(replace(problem, setting="data.kind", change="binary")) == (
        "x.csv: which? Say: data.kind=binary"
    )


def test_a_string_is_a_problem_that_is_a_message() -> None:
    error = DataError(["one", Problem(where="f.csv", message="two")])
    assert error.problems == (Problem(message="one"), Problem(where="f.csv", message="two"))
    assert error.lines == ("one", "f.csv: two")
    assert str(error) == "one\nf.csv: two"


def test_several_checks_raise_once_with_the_recipe_first() -> None:
    complaints = Complaints()
    reached = []
    for error in (DataError("rows"), RecipeError("plan"), DataError("rows")):
        with complaints.collecting():
            raise error
        reached.append(error)
    assert len(reached) == 3
    with pytest.raises(RecipeError) as caught:
        complaints.raise_any()
    assert caught.value.lines == ("plan", "rows")


def test_other_exceptions_are_not_collected() -> None:
    complaints = Complaints()
    with pytest.raises(ValueError, match="x"), complaints.collecting():
        raise ValueError("x")
    complaints.raise_any()
    assert issubclass(RecipeError, EncoreError)


def test_a_note_names_what_it_is_about() -> None:
    assert str(Note("9 rows cut", task="a", about="dev")) == "dev: 9 rows cut"
    assert str(Note("one thread")) == "one thread"
    assert str(Note("two\nlines")) == "two lines"


def test_a_note_names_its_task_where_there_are_several() -> None:
    note = Note("9 rows cut", task="a", about="dev")
    assert note.line(several_tasks=True) == "a: dev: 9 rows cut"
    assert note.line(several_tasks=False) == "dev: 9 rows cut"
    assert Note("one thread").line(several_tasks=True) == "one thread"
