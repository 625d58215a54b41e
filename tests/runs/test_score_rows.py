"""Score rows on their way into the files of a run."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore.runs import writer
from encore.runs.contents import prediction_file
from encore.runs.folder import read_predictions
from encore.runs.writer import prediction_table


def table_of(targets: np.ndarray, scores: np.ndarray) -> pa.Table:
    return prediction_table("ab", np.arange(len(targets)), scores, targets, None)


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
    table = table_of(targets, scores)
    assert table["scores"].type == pa.list_(pa.float32())
    np.testing.assert_array_equal(table["scores"].to_pylist(), scores)
    label = pa.array(targets.tolist())
    assert table["label"].type == label.type
    assert table["label"].to_pylist() == targets.tolist()


def test_many_scores_do_not_become_python_numbers() -> None:
    targets, scores = np.zeros(2000, np.int64), np.ones((2000, 1000), np.float32)
    tracemalloc.start()
    try:
        table_of(targets, scores)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6  # as numbers in lists they take 64 MB


@pytest.mark.parametrize("n_rows", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("targets", [np.arange(7), np.eye(7, 3, dtype=np.float32)])
def test_tables_of_many_scores_are_written_and_read_in_groups(
    n_rows: int, targets: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.random.default_rng(1).random((n_rows, 3), np.float32)
    name = prediction_file("task", "dev", 1)
    (tmp_path / name).parent.mkdir(parents=True)
    for most, groups in ((1 << 25, [n_rows]), (6, [2] * (n_rows // 2) + [1] * (n_rows % 2))):
        monkeypatch.setattr(writer, "_GROUP_SCORES", most)
        table = table_of(targets[:n_rows], scores)
        with (tmp_path / name).open("wb") as file:
            writer._write_table(table, file, at_once=writer._rows_at_once(scores))
        stored = pq.ParquetFile(tmp_path / name).metadata
        found = [stored.row_group(each).num_rows for each in range(stored.num_row_groups)]
        assert found == (groups if n_rows else found)
        if n_rows:
            read = read_predictions(tmp_path, "task", "dev", 1)
            np.testing.assert_array_equal(read.scores, scores)
            np.testing.assert_array_equal(read.targets, targets[:n_rows])
            expected = np.int64 if targets.ndim == 1 else np.float64
            assert (read.scores.dtype, read.targets.dtype) == (np.float32, expected)
