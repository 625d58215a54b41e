"""Batches are the rows of a store, each once per epoch, in an order that (seed, task, epoch)
decides.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encore.data.batches import batch_places, collate, epoch_order, evaluation_batches
from encore.data.token_store import TokenStore


def store_of(lengths: list[int], *, start: int = 1000) -> TokenStore:
    """Every token has an id of its own, so that a misplaced one shows."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n_tokens = int(offsets[-1])
    ids = np.arange(start, start + n_tokens, dtype=np.int32)
    return TokenStore(
        ids, (ids % 3 == 0).astype(np.uint8), offsets, np.zeros(len(lengths), dtype=bool), 128
    )


# collate


@given(st.lists(st.integers(1, 17), min_size=1, max_size=11), st.data())
def test_collate_is_a_loop_over_rows(lengths: list[int], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=13))
    store = store_of(lengths)
    tokens = collate(store, np.array(rows), "cpu")
    expected = [store.ids[store.offsets[row] : store.offsets[row + 1]] for row in rows]
    segments = [store.segments[store.offsets[row] : store.offsets[row + 1]] for row in rows]
    assert tokens.ids.tolist() == np.concatenate(expected).tolist()
    assert tokens.segments.tolist() == np.concatenate(segments).tolist()
    assert tokens.positions.tolist() == [place for row in rows for place in range(lengths[row])]
    assert tokens.offsets.tolist() == [0, *np.cumsum([lengths[row] for row in rows]).tolist()]
    assert tokens.lengths == tuple(lengths[row] for row in rows)
    assert all(type(length) is int for length in tokens.lengths)
    assert {
        part.dtype for part in (tokens.ids, tokens.segments, tokens.positions, tokens.offsets)
    } == {torch.int64}


def test_a_row_alone_equals_the_row_in_a_batch() -> None:
    store = store_of([3, 11, 2, 7, 5])
    batch = collate(store, np.arange(5))
    for row in range(5):
        begin, end = batch.offsets[row], batch.offsets[row + 1]
        alone = collate(store, np.array([row]))
        for part in ("ids", "segments", "positions"):
            assert torch.equal(getattr(batch, part)[begin:end], getattr(alone, part))


def test_a_row_that_does_not_exist() -> None:
    with pytest.raises(IndexError):
        collate(store_of([2, 3]), np.array([2]))


def test_the_store_is_not_shared_with_the_batch() -> None:
    store = store_of([2, 3])
    collate(store, np.array([0, 1])).ids.zero_()
    assert store.ids.tolist() == [1000, 1001, 1002, 1003, 1004]


def test_collating_is_fast() -> None:
    """32 rows of ~25 tokens take about 30 µs; a Python loop over tokens takes 40 times as long. The
    bound leaves room for a busy machine.
    """
    store = store_of(np.random.default_rng(0).integers(5, 60, 5000).tolist())
    rows = np.random.default_rng(1).permutation(5000)[:32]
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        collate(store, rows)
        times.append(time.perf_counter() - begin)
    assert min(times) < 100e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_collate_on_a_gpu() -> None:
    store, rows = store_of([3, 11, 2, 7, 5]), np.array([4, 1, 0])
    here, there = collate(store, rows), collate(store, rows, "cuda")
    assert there.ids.device.type == there.offsets.device.type == "cuda"
    for part in ("ids", "segments", "positions", "offsets"):
        assert torch.equal(getattr(there, part).cpu(), getattr(here, part))
    assert there.lengths == here.lengths


# order


def batches_of(order: np.ndarray, size: int, lengths: np.ndarray) -> list[np.ndarray]:
    return [
        order[batch_places(order, number, size, lengths)]
        for number in range(-(-len(order) // size))
    ]


@given(st.integers(0, 300), st.integers(0, 2**40), st.integers(1, 50))
def test_every_example_exactly_once_per_epoch(n_rows: int, seed: int, batch_size: int) -> None:
    order = epoch_order(n_rows, seed, "sst5", 1)
    lengths = np.random.default_rng(seed).integers(3, 128, n_rows)
    batches = batches_of(order, batch_size, lengths)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(n_rows))
    assert [len(batch) for batch in batches] == [batch_size] * (n_rows // batch_size) + (
        [n_rows % batch_size] if n_rows % batch_size else []
    )


def test_the_same_seed_gives_the_same_order_and_nothing_else_does() -> None:
    order = epoch_order(500, 42, "sst5", 3)
    assert np.array_equal(order, epoch_order(500, 42, "sst5", 3))
    others = [
        epoch_order(500, 42, "sst5", 4),
        epoch_order(500, 43, "sst5", 3),
        epoch_order(500, 42, "rte", 3),
    ]
    assert all(not np.array_equal(order, other) for other in others)


def test_the_order_is_the_same_on_every_machine() -> None:
    """Pins the stream: if this changes, resumed runs change, and RESULTS_VERSION must be raised."""
    assert epoch_order(10, 42, "sst5", 1).tolist() == [4, 6, 5, 8, 7, 1, 2, 9, 0, 3]
    assert epoch_order(10, 42, "sst5", 1, np.arange(10.0)).tolist() == [
        3,
        9,
        6,
        9,
        9,
        9,
        7,
        5,
        8,
        9,
    ]


def test_weights_decide_how_often_a_row_is_drawn() -> None:
    weights = np.array([0.0, 1.0, 3.0, 0.0, 6.0, 0.0])
    drawn = np.concatenate([epoch_order(6, 7, "sst5", epoch, weights) for epoch in range(5000)])
    assert len(drawn) == 30_000
    share = np.bincount(drawn, minlength=6) / 30_000
    assert share[[0, 3, 5]].tolist() == [0, 0, 0]
    assert np.abs(share - weights / 10).max() < 4 * np.sqrt(0.25 / 30_000)


def test_weights_that_favour_nobody_still_draw_with_replacement() -> None:
    drawn = epoch_order(1000, 1, "sst5", 1, np.ones(1000))
    assert len(drawn) == 1000
    assert 600 < len(np.unique(drawn)) < 664  # 1 − 1/e of the rows, within 4 standard deviations


# batches


def test_which_rows_make_a_batch_does_not_depend_on_lengths() -> None:
    order = np.array([5, 0, 3, 1, 4, 2, 6])
    lengths = np.array([9, 2, 9, 2, 1, 9, 4])
    assert [batch.tolist() for batch in batches_of(order, 3, lengths)] == [
        [3, 5, 0],
        [4, 1, 2],
        [6],
    ]


@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 2000))
def test_evaluation_batches_hold_every_row_and_their_bound(
    lengths: list[int], tokens_per_batch: int
) -> None:
    batches = evaluation_batches(
        np.array(lengths, dtype=np.int64), tokens_per_batch=tokens_per_batch
    )
    flat = [row for batch in batches for row in batch.tolist()]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[row] for row in flat] == sorted(lengths)
    padded = [len(batch) * max(lengths[row] for row in batch) for batch in batches]
    assert all(
        tokens <= tokens_per_batch or len(batch) == 1
        for tokens, batch in zip(padded, batches, strict=True)
    )
    for batch, after in itertools.pairwise(batches):
        assert (len(batch) + 1) * max(
            1, lengths[after[0]]
        ) > tokens_per_batch  # none could have taken one more (a row of no token counts as one)


def test_evaluation_batches_by_hand() -> None:
    batches = evaluation_batches(np.array([10, 3, 50, 3, 10, 4]), tokens_per_batch=20)
    assert [batch.tolist() for batch in batches] == [[1, 3, 5], [0, 4], [2]]


def test_rows_without_some_tokens_keep_one_at_least() -> None:
    store = TokenStore(
        ids=np.array([5, 6, 7, 8, 9], np.int32),
        segments=np.array([0, 0, 1, 0, 0], np.uint8),
        offsets=np.array([0, 3, 4, 5]),
        cut=np.array([True, False, False]),
        max_length=8,
    )
    left = store.without(np.array([3, 1]))
    assert left.ids.tolist() == [5, 7, 8, 9]
    assert left.segments.tolist() == [0, 1, 0, 0]
    assert left.offsets.tolist() == [0, 2, 3, 4]
    assert left.cut.tolist() == [True, False, False]
    assert store.without(np.array([], np.int64)).ids.tolist() == store.ids.tolist()
