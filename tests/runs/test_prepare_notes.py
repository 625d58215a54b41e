"""Notes on settings that work against each other."""

from __future__ import annotations

import pytest

from tests.conftest import Tables

NO_DROPOUT = ("hidden_dropout=0", "attention_dropout=0")
SAME = (
    "both readings of a text are the same, since no dropout lies before what is compared; "
    "set hidden_dropout, or the head's dropout"
)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("losses={task: cross_entropy, again: simcse}", "hidden_dropout=0.1"), []),
        (("losses={task: cross_entropy, again: simcse}", *NO_DROPOUT), [f"again: {SAME}"]),
        (("losses={task: cross_entropy, again: r_drop}", *NO_DROPOUT), []),
        (
            ("losses={task: cross_entropy, again: r_drop}", *NO_DROPOUT, "head.dropout=0"),
            [f"again: {SAME}"],
        ),
        (("losses={task: cross_entropy}", *NO_DROPOUT, "head.dropout=0"), []),
        (
            (
                "losses={task: cross_entropy, again: simcse}",
                *NO_DROPOUT,
                "head={name: fcn_sentiment, dropout: 0.2}",
            ),
            [],
        ),
        (("losses={task: cross_entropy, again: simcse}", "attention_dropout=0.1"), []),
    ],
    ids=["usual", "simcse", "head", "r_drop", "none", "in_the_embedding", "attention"],
)
def test_losses_that_compare_two_readings_ask_for_dropout(
    tables: Tables, overrides: tuple[str, ...], expected: list[str]
) -> None:
    notes = [note.text for note in tables.prepared(*overrides).notes]
    assert [text for text in notes if "readings" in text] == expected
