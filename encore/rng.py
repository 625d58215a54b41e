"""Randomness is a function of (seed, purpose …): nothing random needs saving to resume, and
switching one technique off does not shift another's stream.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator", "key"]


def key(seed: int, *purpose: str | int) -> int:
    """A 128-bit number that names one stream. Equal arguments give equal numbers on every machine;
    `1` and `"1"` are different purposes.
    """
    text = repr(
        (int(seed), *(part if isinstance(part, str) else int(part) for part in purpose))
    ).encode()  # numpy's 3 is written otherwise than 3
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose: `generator(42, "order", "sst5", epoch)`."""
    return np.random.Generator(np.random.Philox(key=key(seed, *purpose)))
