"""Checks that the parts of a recipe fit each other, the encoder and the data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from encore.encoder import load
from encore.errors import DataError, Problem
from encore.runs.compatibility import shape_of


@pytest.mark.parametrize(
    ("problem", "where", "line"),
    [
        (Problem(message="no."), "encoder 'small'", "encoder 'small': no."),
        (
            Problem(where="config.json", line=3, setting="depth", expected="1", got="0"),
            "encoder 'small': config.json",
            "encoder 'small': config.json:3 depth: expected 1, got 0.",
        ),
    ],
)
def test_an_encoders_problem_keeps_its_fields(
    problem: Problem, where: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_encoder(_: Any) -> None:
        raise DataError(problem)

    monkeypatch.setattr(load, "build_encoder", build_encoder)
    with pytest.raises(DataError) as error:
        shape_of(
            cast(Any, SimpleNamespace(encoder_name="'small'")),
            cast(Any, SimpleNamespace(config={})),
        )
    (found,) = error.value.problems
    assert (found.where, found.setting, str(found)) == (where, problem.setting, line)
