"""Every ragged operation against a loop over rows, forward and backward."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from encore.encoder import ragged
from encore.errors import DataError
from encore.types import Tokens

LENGTHS = (
    3,
    17,
    1,
    8,
    70,
    7,
    2,
    129,
    17,
    5,
)  # one padded length for several of them, in no order, and rows that need no padding
WIDTH, N = 7, 3


def tokens_of(lengths: Sequence[int]) -> Tokens:
    places = torch.cat([torch.arange(length) for length in lengths])
    ids = torch.randint(5, 90, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    return Tokens(
        ids,
        torch.zeros_like(places),
        places,
        torch.tensor([0, *itertools.accumulate(lengths)]),
        tuple(lengths),
    )


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(
    ours: Callable[..., Tensor], slow: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> None:
    """Values and gradients of a random direction, against the loop in double precision."""
    leaves, wide = (
        [x.clone().requires_grad_() for x in inputs],
        [x.double().requires_grad_() for x in inputs],
    )
    got, expected = ours(*leaves), slow(*wide)
    assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
    direction = drawn(*got.shape, seed=9)
    for a, b in zip(
        torch.autograd.grad((got * direction).sum(), leaves),
        torch.autograd.grad((expected * direction).sum(), wide),
        strict=True,
    ):
        assert_close(a.double(), b, atol=3e-5, rtol=1e-4)


def by_row(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` on one row's tokens at a time."""
    return lambda *values: torch.stack(
        [function(*row) for row in zip(*(x.split(LENGTHS) for x in values), strict=True)]
    )


def test_numbers_name_the_row_of_each_token() -> None:
    assert ragged.numbers(tokens_of((2, 1, 3))).tolist() == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("ids", "lengths", "expected"),
    [
        (
            (1, 9, 8, 2, 1, 9, 2, 7, 2),
            (4, 5),
            (1, 0, 0, 1, 1, 0, 1, 0, 1),
        ),  # BERT: [CLS] a [SEP], and a pair
        ((0, 9, 2, 2, 8, 7, 2), (7,), (1, 0, 1, 1, 0, 0, 1)),  # RoBERTa has two separators
        ((1, 2, 1), (2, 1), (1, 1, 1)),  # no words at all
    ],
)
def test_special_tokens_are_what_rows_begin_and_end_with(
    ids: Sequence[int], lengths: Sequence[int], expected: Sequence[int]
) -> None:
    tokens = tokens_of(lengths)
    tokens = Tokens(
        torch.tensor(ids), tokens.segments, tokens.positions, tokens.offsets, tokens.lengths
    )
    assert ragged.special(tokens).int().tolist() == list(expected)


def test_first_total_and_mean_are_the_loop() -> None:
    tokens, values = tokens_of(LENGTHS), drawn(sum(LENGTHS), WIDTH)
    check(lambda x: ragged.first(x, tokens), by_row(lambda x: x[0]), [values])
    check(lambda x: ragged.total(x, tokens), by_row(lambda x: x.sum(0)), [values])
    check(lambda x: ragged.mean(x, tokens), by_row(lambda x: x.mean(0)), [values])
    assert ragged.mean(values.bfloat16(), tokens).dtype == torch.float32


def test_max_is_the_loop() -> None:
    tokens = tokens_of(LENGTHS)
    check(
        lambda x: ragged.max(x, tokens),
        by_row(lambda x: x.max(dim=0).values),
        [drawn(sum(LENGTHS), WIDTH)],
    )
    check(
        lambda x: ragged.max(x, tokens),
        by_row(lambda x: x.max(dim=0).values),
        [drawn(sum(LENGTHS), WIDTH) - 100],
    )


def test_max_gives_the_gradient_to_the_first_of_equals() -> None:
    tokens = tokens_of((3, 2, 9))
    values = torch.tensor([1.0, 5, 5, 2, 2, *[4.0] * 9]).unsqueeze(1).requires_grad_()
    ragged.max(values, tokens).backward(torch.tensor([[1.0], [10], [100]]))
    assert values.grad.flatten().tolist() == [0, 1, 0, 10, 0, 100, *[0] * 8]


def test_max_shows_what_is_not_a_number_and_what_is_infinite() -> None:
    tokens = tokens_of((3, 3, 3))
    values = torch.tensor(
        [1.0, torch.nan, 7, -torch.inf, -torch.inf, -torch.inf, 1, torch.inf, 2]
    ).unsqueeze(1)
    found = ragged.max(values, tokens).flatten()
    assert found[0].isnan()
    assert found[1:].tolist() == [-torch.inf, torch.inf]


def test_softmax_is_the_loop() -> None:
    tokens, scores = tokens_of(LENGTHS), 3 * drawn(sum(LENGTHS), N)
    check(
        lambda x: ragged.softmax(x, tokens),
        lambda x: torch.cat([row.softmax(0) for row in x.split(LENGTHS)]),
        [scores],
    )
    assert_close(ragged.total(ragged.softmax(scores, tokens), tokens), torch.ones(len(LENGTHS), N))


def test_softmax_survives_great_scores() -> None:
    tokens, scores = tokens_of(LENGTHS), 3 * drawn(sum(LENGTHS), N)
    shift = 1e4 * drawn(len(LENGTHS), N, seed=1)[ragged.numbers(tokens)].round()
    assert_close(
        ragged.softmax(scores + shift, tokens), ragged.softmax(scores, tokens), atol=2e-3, rtol=0
    )  # 1e4 has steps of 0.001


def test_products_are_the_loop() -> None:
    tokens = tokens_of(LENGTHS)

    def slow(queries: Tensor, values: Tensor) -> Tensor:
        return torch.cat([x @ q.T for q, x in zip(queries, values.split(LENGTHS), strict=True)])

    check(
        lambda q, x: ragged.products(q, x, tokens),
        slow,
        [drawn(len(LENGTHS), N, WIDTH), drawn(sum(LENGTHS), WIDTH, seed=1)],
    )


def test_mix_is_the_loop() -> None:
    tokens = tokens_of(LENGTHS)

    def slow(weights: Tensor, values: Tensor) -> Tensor:
        return torch.stack(
            [w.T @ x for w, x in zip(weights.split(LENGTHS), values.split(LENGTHS), strict=True)]
        )

    check(
        lambda w, x: ragged.mix(w, x, tokens),
        slow,
        [drawn(sum(LENGTHS), N), drawn(sum(LENGTHS), WIDTH, seed=1)],
    )


@pytest.mark.parametrize("lengths", [(1,), (8, 8), (5, 0, 3)])
def test_a_batch_of_any_lengths_has_a_layout_and_a_row_without_tokens_is_refused(
    lengths: tuple[int, ...],
) -> None:
    tokens, values = tokens_of(lengths), drawn(sum(lengths), WIDTH)
    if 0 not in lengths:
        assert_close(
            ragged.mix(torch.ones(sum(lengths), 1), values, tokens).squeeze(1),
            ragged.total(values, tokens),
        )
        return
    with pytest.raises(DataError, match="row 1 of a batch has no tokens"):
        ragged.mix(torch.ones(sum(lengths), 1), values, tokens)
