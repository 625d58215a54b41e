"""The digest of a recipe's settings: which edits change it, and which do not."""

from __future__ import annotations

from encore.recipe.digest import settings_digest
from encore.recipe.located_yaml import read_yaml
from encore.recipe.values import to_plain

RECIPE = """
source: a
claim: b
expect: {rte.accuracy: 0.5}
task: rte
plan: {lr: 1e-5}
variants:
  slow: {plan.lr: 1e-6, expect: {rte.accuracy: 0.6}}
"""


def digest(text: str) -> str:
    document = to_plain(read_yaml(text, "it.yaml"))
    assert isinstance(document, dict)
    return settings_digest(document)


def test_words_and_expected_figures_do_not_count() -> None:
    edited = RECIPE.replace("claim: b", "claim: c  # a comment").replace("0.5", "0.7")
    edited = edited.replace("0.6", "0.8").replace("plan: {lr: 1e-5}", "plan:\n  lr: 1e-5")
    assert edited != RECIPE
    assert digest(edited) == digest(RECIPE)


def test_settings_count_wherever_they_are() -> None:
    changed = [
        RECIPE.replace("lr: 1e-5", "lr: 2e-5"),
        RECIPE.replace("1e-6", "2e-6"),
        RECIPE.replace("slow", "slower"),
        RECIPE.replace("task: rte", "task: mrpc"),
        RECIPE + "seeds: [1]\n",
    ]
    assert len({digest(text) for text in [RECIPE, *changed]}) == len(changed) + 1
