"""Score rows on their way into the files of a run."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from encore.data.token_store import TokenStore
from encore.runs.writer import _table
from encore.training.streams import Rows

NOTHING = TokenStore(
    np.empty(0, np.int32), np.empty(0, np.uint8), np.zeros(1, np.int64), np.empty(0, bool), 8
)


def rows(targets: np.ndarray) -> Rows:
    numbers = np.arange(len(targets))
    return Rows(NOTHING, targets, "ab", numbers, np.ones(len(targets), np.float32))


@pytest.mark.parametrize(
    "targets",
    [
        np.array([2, 0, 1]),
        np.array([[1, 0], [0, 0], [1, 1]], np.float32),
        np.array([0.1, 2, -3], np.float32),
    ],
    ids=["classes", "labels", "numbers"],
)
def test_score_rows_are_what_lists_of_numbers_would_be(targets: np.ndarray) -> None:
    scores = np.array([[0.1, np.nan], [-1, 3e38], [0, np.inf]], np.float32)
    table = _table(rows(targets), scores)
    assert table["scores"].type == pa.list_(pa.float32())
    np.testing.assert_array_equal(table["scores"].to_pylist(), scores)
    label = pa.array(targets.tolist())
    assert table["label"].type == label.type
    assert table["label"].to_pylist() == targets.tolist()


def test_many_scores_do_not_become_python_numbers() -> None:
    targets, scores = np.zeros(2000, np.int64), np.ones((2000, 1000), np.float32)
    tracemalloc.start()
    try:
        _table(rows(targets), scores)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6  # as numbers in lists they take 64 MB
