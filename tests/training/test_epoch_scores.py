"""The scores of an epoch: in order, and in memory once."""

from __future__ import annotations

import numpy as np
import pytest

from encore.training import epoch_scores
from encore.training.epoch_scores import EpochScores


@pytest.mark.parametrize("sizes", [(), (3,), (3, 3, 3, 2), (1, 7, 2, 1)])
@pytest.mark.parametrize("limit", [2, 1 << 23])
def test_scores_are_kept_in_order(
    sizes: tuple[int, ...], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_scores, "_SCORES_AT_ONCE", limit)
    batches = [np.random.default_rng(size).random((size, 2), np.float32) for size in sizes]
    found = EpochScores()
    for batch in batches:
        found.add(batch)
        batch_end = len(found.added)
        np.testing.assert_array_equal(found.added[batch_end - len(batch) :], batch)
    assert len(found.added) == sum(sizes)
    if sizes:
        np.testing.assert_array_equal(found.added, np.concatenate(batches))
        resumed = EpochScores(np.concatenate(batches[:1]))
        for batch in batches[1:]:
            resumed.add(batch)
        np.testing.assert_array_equal(resumed.added, found.added)


def test_the_first_batch_is_not_changed_by_later_ones() -> None:
    first = np.zeros((2, 3), np.float32)
    found = EpochScores(first)
    found.add(np.ones((2, 3), np.float32))
    found.added[:] = 9
    assert not first.any()
