"""Averages over tasks, against the figures that the papers print (METHODS 2, 8.7 and 9, Tables A
and C).
"""

from __future__ import annotations

import pytest

from encore.data.named import read_named_tasks
from encore.errors import RecipeError
from encore.evaluation.averages import GLUE_COLUMNS, glue_averages, normalised, overall_scores

# METHODS 9, Table A, in the order of its columns.
BASELINE = dict(
    zip(
        GLUE_COLUMNS,
        (53.59, 82.43, 87.49, 90.96, 84.27, 84.57, 92.55, 88.47, 63.42, 90.65, 87.40, 49.77),
        strict=True,
    )
)
MAX_SEQ_MHA = dict(
    zip(
        GLUE_COLUMNS,
        (55.35, 85.95, 89.78, 90.73, 83.82, 84.24, 92.74, 88.22, 66.06, 90.65, 87.59, 55.4),
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("row", "columns", "printed", "tasks"),
    [(BASELINE, 79.6308, "79.63", 77.46), (MAX_SEQ_MHA, 80.8775, "80.88", 78.84)],
    ids=["baseline", "MaxPoolBERT"],
)
def test_both_averages_of_maxpoolbert(row, columns, printed, tasks):
    found = glue_averages(row)
    assert found.columns == pytest.approx(columns, abs=5e-5)
    assert f"{found.columns:.2f}" == printed
    assert found.tasks == pytest.approx(tasks, abs=5.1e-3)
    assert not found.missing


def test_the_columns_are_those_of_the_named_tasks():
    for column in GLUE_COLUMNS:
        task, *dev, metric = column.split(".")
        assert metric in read_named_tasks()[task].metrics
        assert set(dev) <= set(read_named_tasks()[task].files)
    assert len(GLUE_COLUMNS) == 12


def test_double_columns_count_twice_in_one_average_only():
    row = dict.fromkeys(GLUE_COLUMNS, 0.0) | {"mrpc.accuracy": 36.0, "mrpc.f1": 72.0}
    found = glue_averages(row)
    assert (found.columns, found.tasks) == (9.0, 6.0)


def test_no_average_where_a_cell_is_missing():
    row: dict[str, float | None] = dict(BASELINE) | {"rte.accuracy": None}
    del row["cola.mcc"]
    found = glue_averages(row)
    assert (found.columns, found.tasks) == (None, None)
    assert found.missing == ("cola.mcc", "rte.accuracy")


def test_zero_is_not_missing():
    assert glue_averages(BASELINE | {"cola.mcc": 0.0}).columns == pytest.approx(
        79.6308 - 53.59 / 12, abs=1e-4
    )


def test_columns_that_glue_does_not_have():
    with pytest.raises(RecipeError) as caught:
        glue_averages(BASELINE | {"mnli.accuracy": 84.0, "sst5.accuracy": 50.0})
    assert len(caught.value.lines) == 2


@pytest.mark.parametrize(
    ("sst", "qqp", "r", "with_r", "with_normalised"),
    [
        (0.5475, 0.9083, 0.9025, 0.7861, 0.8024),  # SER, 7-9 models: prints 78.61
        (0.5548, 0.9011, 0.8977, 0.7845, 0.8016),  # SER, best of each: prints 78.45
        (0.548, 0.735, 0.815, 0.6993, 0.7302),  # ADF: prints .730
        (0.531, 0.854, 0.855, 0.7467, 0.7708),  # GEN: prints .771
    ],
)
def test_overall_scores_of_the_other_papers(sst, qqp, r, with_r, with_normalised):
    found = overall_scores({"sst5": sst, "quora": qqp}, {"sts": r})
    assert found.with_r == pytest.approx(with_r, abs=5.1e-5)
    assert found.with_normalised == pytest.approx(with_normalised, abs=5.1e-5)


def test_normalised_by_hand():
    assert [normalised(r) for r in (-1, 0, 0.855, 1)] == [0, 0.5, 0.9275, 1]


def test_an_average_of_nothing():
    with pytest.raises(RecipeError, match="at least one task"):
        overall_scores({}, {})
