"""Problems and errors: one line each, and all of them at once."""

from __future__ import annotations

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
    ],
)
def test_a_problem_is_one_line(problem: Problem, line: str) -> None:
    assert str(problem) == line


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
