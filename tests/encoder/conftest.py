from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from encore.types import Tokens


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def ragged() -> Callable[..., Tokens]:
    """`ragged(lengths, vocabulary, n_segments=…, seed=…)`: rows of random words (never word 0, the
    padding of the references).
    """

    def build(
        lengths: Sequence[int], vocabulary: int, *, n_segments: int = 1, seed: int = 0
    ) -> Tokens:
        draw = torch.Generator().manual_seed(seed)
        ids = torch.randint(1, vocabulary, (sum(lengths),), generator=draw)
        segments = torch.randint(0, n_segments, (sum(lengths),), generator=draw)
        positions = torch.cat([torch.arange(length) for length in lengths])
        return Tokens(
            ids,
            segments,
            positions,
            torch.tensor([0, *itertools.accumulate(lengths)]),
            tuple(lengths),
        )

    return build


@pytest.fixture(scope="session")
def chosen() -> Callable[..., Tokens]:
    """`chosen(tokens, rows)`: those rows of `tokens`, in that order."""

    def build(tokens: Tokens, rows: Sequence[int]) -> Tokens:
        places = torch.cat(
            [torch.arange(int(tokens.offsets[row]), int(tokens.offsets[row + 1])) for row in rows]
        )
        lengths = [tokens.lengths[row] for row in rows]
        return Tokens(
            tokens.ids[places],
            tokens.segments[places],
            tokens.positions[places],
            torch.tensor([0, *itertools.accumulate(lengths)]),
            tuple(lengths),
        )

    return build


@pytest.fixture(scope="session")
def padded() -> Callable[[Tensor, Tokens], Tensor]:
    """`padded(values, tokens)`: (tokens, …) → (rows, longest, …), 0 behind each row's end: what
    transformers wants.
    """

    def build(values: Tensor, tokens: Tokens) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values.split(tokens.lengths)), batch_first=True)

    return build
