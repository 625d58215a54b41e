"""`claims:` of a recipe: read with every problem, and part of no run's name."""

from __future__ import annotations

from typing import Any

import pytest

from encore.errors import RecipeError
from encore.experiments.variants import load_study, study_from
from encore.recipe.builtin import recipe_path

GIVEN: dict[str, Any] = {
    "each": {"task": ["rte", "mrpc"]},
    "seeds": [1, 2, 3],
    "variants": {"cls": {"pooling": "cls"}, "mean": {"pooling": "mean"}},
}


def test_claims_are_read_and_change_no_run() -> None:
    plain = study_from(GIVEN)
    found = study_from(GIVEN | {"claims": ["cls is better on all tasks", "mean gains most on rte"]})
    assert [one.subject for one in found.claims] == ["cls", "mean"]
    assert plain.claims == ()
    assert [cell.recipe for cell in found.cells] == [cell.recipe for cell in plain.cells]


def test_a_claim_about_what_is_left_out_stays() -> None:
    claims = {"claims": ["cls is better on mrpc"]}
    found = study_from(GIVEN | claims, ["task=rte"], only=["mean"])
    assert len(found.claims) == 1


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ("cls is better", "expected a list of sentences"),
        (["cls is best on rte"], "is no claim that can be judged"),
        ([3], "is no claim that can be judged"),
        (["clss is better on all tasks"], "no variant called 'clss'. Did you mean 'cls'?"),
        (["cls is better on rtee"], "no task called 'rtee'"),
        (["cls is better in glue.colums"], "no average called 'glue.colums'"),
    ],
)
def test_problems_of_claims(claims: Any, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        study_from(GIVEN | {"claims": claims})
    assert told in "\n".join(caught.value.lines)


@pytest.mark.parametrize(
    ("name", "n"), [("maxpoolbert", 10), ("maxpoolbert_glue_minilm", 9), ("maxpoolbert_mean", 2)]
)
def test_the_paper_s_claims_are_in_its_recipes(name: str, n: int) -> None:
    assert len(load_study(recipe_path(name)).claims) == n
