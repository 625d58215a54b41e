from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encore import rng

purposes = st.lists(st.one_of(st.integers(-3, 50), st.text("ab1', ", max_size=4)), max_size=3).map(
    tuple
)


@settings(max_examples=300, deadline=None)
@given(st.tuples(st.integers(0, 5), purposes), st.tuples(st.integers(0, 5), purposes))
def test_equal_purposes_and_only_those_share_a_key(one: tuple, other: tuple) -> None:
    same = one == other
    assert (rng.key(one[0], *one[1]) == rng.key(other[0], *other[1])) == same


def test_near_purposes_differ() -> None:
    near = [(1,), ("1",), (1, 1), (11,), ("ab",), ("a", "b"), ("a, b",), ("a', 'b",), ()]
    assert len({rng.key(0, *purpose) for purpose in near}) == len(near)


def test_a_key_is_the_same_on_every_machine() -> None:
    """blake2b over repr((42, 'order', 'sst5', 3)), 16 bytes, little-endian: `b2sum -l 128` gives
    these bytes.
    """
    assert (
        rng.key(42, "order", "sst5", 3).to_bytes(16, "little").hex()
        == "1887684a1cd913237ba539b168ccde6a"
    )
    assert rng.key(np.int64(42), "order", "sst5", np.int64(3)) == rng.key(42, "order", "sst5", 3)


def test_streams_are_repeatable_and_do_not_follow_each_other() -> None:
    n = 20_000
    assert np.array_equal(
        rng.generator(7, "noise", 3).random(n), rng.generator(7, "noise", 3).random(n)
    )
    streams = np.stack(
        [
            rng.generator(seed, purpose, step).random(n)
            for seed in (0, 1)
            for purpose in ("order", "noise")
            for step in (0, 1, 2)
        ]
    )
    between = np.corrcoef(streams)[~np.eye(len(streams), dtype=bool)]
    assert np.abs(between).max() < 5 / np.sqrt(n)
