from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from encore.types import Encoded, Tokens

Hand = Sequence[Sequence[Sequence[float]]]  # rows of tokens of numbers


def tokens_of(lengths: Sequence[int], *, seed: int = 0) -> Tokens:
    """Random words between 5 and 52; every row begins with 1 and ends with 2, as with [CLS] and
    [SEP].
    """
    draw = torch.Generator().manual_seed(seed)
    ids = [
        torch.cat(
            [
                torch.tensor([1]),
                torch.randint(5, 53, (max(length - 2, 0),), generator=draw),
                torch.tensor([2]),
            ]
        )[:length]
        for length in lengths
    ]
    segments = [
        torch.arange(length) * 2 // length for length in lengths
    ]  # the second half is a second text
    positions = [torch.arange(length) for length in lengths]
    return Tokens(
        torch.cat(ids),
        torch.cat(segments),
        torch.cat(positions),
        torch.tensor([0, *itertools.accumulate(lengths)]),
        tuple(lengths),
    )


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., Encoded]:
    """`by_hand(layer, layer, …)`: states H[1], H[2], … as rows of tokens of numbers; H[0] is far
    from all of them. Leaves, for their gradients.
    """

    def build(*layers: Hand) -> Encoded:
        states = [
            torch.tensor(
                [token for row in layer for token in row], dtype=torch.float32
            ).requires_grad_()
            for layer in layers
        ]
        below = torch.full_like(states[0], 1e6).requires_grad_()
        return Encoded((below, *states), tokens_of([len(row) for row in layers[0]]))

    return build


@pytest.fixture(scope="session")
def at_random() -> Callable[..., Encoded]:
    """`at_random(lengths, width, n_layers)`: H[0] to H[n_layers], leaves, for their gradients."""

    def build(lengths: Sequence[int], width: int, n_layers: int, *, seed: int = 0) -> Encoded:
        draw = torch.Generator().manual_seed(seed)
        states = [
            torch.randn(sum(lengths), width, generator=draw).requires_grad_()
            for _ in range(n_layers + 1)
        ]
        return Encoded(tuple(states), tokens_of(lengths, seed=seed))

    return build


@pytest.fixture(scope="session")
def padded() -> Callable[[Tensor, Tokens], tuple[Tensor, Tensor]]:
    """`padded(values, tokens)`: (rows, longest, width), with rubbish behind each row's end, and
    torch's `key_padding_mask`, true there.
    """

    def build(values: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        filled = torch.nn.utils.rnn.pad_sequence(
            list(values.split(tokens.lengths)), batch_first=True, padding_value=77.0
        )
        return filled, torch.arange(filled.shape[1]) >= torch.tensor(tokens.lengths).unsqueeze(1)

    return build


@pytest.fixture(scope="session")
def gradients() -> Callable[[Tensor, Sequence[Tensor]], list[Tensor | None]]:
    """`gradients(out, inputs)`: of a fixed random sum of `out`, None for an input that it does not
    depend on.
    """

    def build(out: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
        direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out)
        return list(
            torch.autograd.grad(
                (out * direction).sum(), inputs, allow_unused=True, retain_graph=True
            )
        )

    return build
