"""Normal numbers by position: any part of a batch draws what the whole batch drew for it."""

from __future__ import annotations

import numpy as np
import scipy.stats

from encore.encoder import dropout


def drawn(lines: int, before: int = 0, width: int = 7) -> np.ndarray:
    with dropout.drawing(3, 9, dropout.BatchOffset(tokens=before)):
        return dropout.normal((lines, width), "tokens").numpy()


def test_a_part_draws_what_the_whole_drew() -> None:
    whole = drawn(50)
    for before in (1, 2, 3, 4, 13):
        np.testing.assert_array_equal(drawn(50 - before, before), whole[before:])


def test_they_are_standard_normal_and_differ_by_site() -> None:
    with dropout.drawing(3, 9):
        first, second = (dropout.normal((4000, 8), "tokens").numpy() for _ in range(2))
    for found in (first, second):
        assert scipy.stats.kstest(found.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
