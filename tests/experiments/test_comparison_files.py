"""A comparison as CSV: names of variants and studies are texts, also for a spreadsheet."""

from __future__ import annotations

import csv
import io

from encore.evaluation.comparison_record import (
    ComparisonRecord,
    MetricResult,
    StudyResult,
    VariantResult,
)
from encore.tables.comparison_files import csv_of


def test_names_that_a_spreadsheet_would_compute_are_texts() -> None:
    nothing = VariantResult("=2+5", (1,), (-0.5,), -0.5, None, -0.5, None, None, {}, {}, None, None)
    metric = MetricResult("accuracy", (nothing,))
    study = StudyResult("@SUM(A1)", {}, "verdict", "-dev", 9, (metric,), {}, (), {})
    record = ComparisonRecord("name", "=2+5", ("=2+5",), (1,), (study,), (), ())
    (row,) = csv.DictReader(io.StringIO(csv_of(record)))
    assert (row["study"], row["set"], row["variant"]) == ("'@SUM(A1)", "'-dev", "'=2+5")
    assert (row["mean"], row["metric"]) == ("-0.5", "accuracy")
