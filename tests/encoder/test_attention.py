from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from encore.encoder import attention
from encore.encoder.attention import n_pairs, padded_length
from encore.encoder.dropout import BatchOffset, drawing, keep_mask
from encore.types import Tokens

HEADS, WIDTH = 3, 3 * 7
LENGTHS = (
    1,
    5,
    23,
    8,
    5,
    64,
    65,
    2,
    40,
    40,
    129,
)  # equal ones, neighbours and strangers, padded and not, over every grain
WINDOWS = (None, 2, 7, 10, 300)


def slow(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths,
    *,
    window: int | None = None,
    masks=None,
    scale: float = 1.0,
) -> Tensor:
    """One row and one head at a time, from the definition. `masks`: per row (heads, padded,
    padded).
    """
    rows = []
    for row, (q_, k_, v_) in enumerate(
        zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    ):
        length, heads = len(q_), []
        for head, (a, b, c) in enumerate(
            zip(q_.chunk(HEADS, dim=1), k_.chunk(HEADS, dim=1), v_.chunk(HEADS, dim=1), strict=True)
        ):
            scores = a @ b.T / math.sqrt(WIDTH / HEADS)
            for i in range(length):
                for j in range(length):
                    if window is not None and abs(i - j) > window // 2:
                        scores[i, j] = -math.inf
            weights = scores.softmax(dim=1)
            if masks is not None:
                weights = weights * masks[row][head, :length, :length] * scale
            heads.append(weights @ c)
        rows.append(torch.cat(heads, dim=1))
    return torch.cat(rows)


def qkv(n_tokens: int, *, seed: int = 0, spread: float = 1.5) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [spread * torch.randn(n_tokens, WIDTH, generator=draw) for _ in range(3)]


def attend(q: Tensor, k: Tensor, v: Tensor, tokens: Tokens, **how) -> Tensor:
    return attention.attend(torch.cat((q, k, v), dim=1), tokens, **how)


def with_gradients(function, inputs: list[Tensor], direction: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    return (out.detach(), *torch.autograd.grad((out * direction).sum(), leaves))


def test_padded_length_never_cuts_and_pads_little() -> None:
    for length in range(1, 1025):
        assert length <= padded_length(length) < length + 32
        assert padded_length(padded_length(length)) == padded_length(length)
    assert n_pairs((1, 16, 17, 65)) == 256 + 256 + 1024 + 6400


@pytest.mark.parametrize("window", WINDOWS)
def test_attention_is_the_loop_over_rows_and_heads(ragged, window: int | None) -> None:
    lengths = LENGTHS if window is None else LENGTHS[:8]
    tokens, inputs, direction = ragged(lengths, 11), qkv(sum(lengths)), qkv(sum(lengths), seed=1)[0]
    got = with_gradients(
        lambda q, k, v: attend(q, k, v, tokens, n_heads=HEADS, window=window), inputs, direction
    )
    wide = [x.double() for x in inputs]
    expected = with_gradients(
        lambda q, k, v: slow(q, k, v, lengths, window=window), wide, direction.double()
    )
    for ours, theirs in zip(got, expected, strict=True):
        assert_close(ours.double(), theirs, atol=2e-5, rtol=0)


def test_a_window_hides_what_is_too_far_and_nothing_else(ragged) -> None:
    lengths, window = (37,), 6
    tokens, (q, k, v) = ragged(lengths, 11), qkv(37)
    v.requires_grad_()
    attend(q, k, v, tokens, n_heads=HEADS, window=window)[20].sum().backward()
    seen = v.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert seen == list(range(17, 24))


def test_a_row_sees_only_itself(ragged) -> None:
    lengths = (5, 9, 5, 16)
    tokens, (q, k, v) = ragged(lengths, 11), qkv(sum(lengths))
    before = attend(q, k, v, tokens, n_heads=HEADS)
    k[5:14], v[5:14] = 1e4, math.nan
    after = attend(q, k, v, tokens, n_heads=HEADS)
    assert_close(after[:5], before[:5], atol=0, rtol=0)
    assert_close(after[14:], before[14:], atol=0, rtol=0)
    assert after[5:14].isnan().all()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("window", [None, 6])
def test_lines_behind_the_last_token_give_0_and_get_no_gradient(
    ragged, window: int | None, dropout: float
) -> None:
    lengths, extra = (23, 3, 8), 5
    tokens, x, direction = (
        ragged(lengths, 11),
        torch.cat(qkv(34 + extra), dim=1),
        qkv(34 + extra, seed=1)[0],
    )

    def run(x: Tensor, direction: Tensor) -> tuple[Tensor, ...]:
        with drawing(7, 3):
            return with_gradients(
                lambda x: attention.attend(
                    x, tokens, n_heads=HEADS, window=window, dropout=dropout
                ),
                [x],
                direction,
            )

    more, fewer = run(x, direction), run(x[:34], direction[:34])
    for one, other in zip(more, fewer, strict=True):
        assert_close(one[:34], other, atol=0, rtol=0)
        assert one.shape[0] == 34 + extra
        assert not one[34:].any()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_many_rows_are_computed_a_few_at_a_time(
    ragged, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    lengths = (5, 16, 7, 40, 8, 6)
    inputs, direction = qkv(sum(lengths)), qkv(sum(lengths), seed=1)[0]

    def run() -> tuple[Tensor, ...]:
        with drawing(7, 3):
            tokens = ragged(lengths, 11)
            return with_gradients(
                lambda q, k, v: attend(q, k, v, tokens, n_heads=HEADS, dropout=dropout),
                inputs,
                direction,
            )

    together = run()
    monkeypatch.setattr(attention, "_CHUNK", 2 * HEADS * 16**2)
    for one, other in zip(run(), together, strict=True):
        assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("window", [None, 6])
def test_bf16_products_stay_near_fp32(ragged, window: int | None) -> None:
    lengths = (3, 8, 8, 11, 40)
    tokens, inputs, direction = ragged(lengths, 11), qkv(sum(lengths)), qkv(sum(lengths), seed=1)[0]
    half = with_gradients(
        lambda *x: attend(*x, tokens, n_heads=HEADS, window=window),
        [x.bfloat16() for x in inputs],
        direction.bfloat16(),
    )
    full = with_gradients(
        lambda *x: attend(*x, tokens, n_heads=HEADS, window=window),
        [x.bfloat16().float() for x in inputs],
        direction,
    )
    for a, b in zip(half, full, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - b).norm() < 0.01 * b.norm()


@pytest.mark.parametrize("window", [None, 6])
def test_dropout_is_the_loop_with_the_drawn_mask(ragged, window: int | None) -> None:
    """Forward and backward: each row's mask is what the stream gives to its pairs, in the order of
    the batch.
    """
    lengths = (5, 23, 8, 3, 23)
    tokens, inputs, direction = ragged(lengths, 11), qkv(sum(lengths)), qkv(sum(lengths), seed=1)[0]
    with drawing(7, 3):
        masks, scale = keep_mask(
            [(HEADS, padded_length(length), padded_length(length)) for length in lengths],
            0.3,
            "pairs",
            HEADS,
        )
    with drawing(7, 3):
        got = with_gradients(
            lambda q, k, v: attend(q, k, v, tokens, n_heads=HEADS, window=window, dropout=0.3),
            inputs,
            direction,
        )
    expected = with_gradients(
        lambda q, k, v: slow(q, k, v, lengths, window=window, masks=masks, scale=scale),
        inputs,
        direction,
    )
    for ours, theirs in zip(got, expected, strict=True):
        assert_close(ours, theirs, atol=3e-5, rtol=0)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_dropout_does_not_depend_on_the_micro_batch(ragged, chosen, cut: int) -> None:
    lengths = (23, 5, 8, 24, 3)  # not sorted, and one padded length on both sides of the cut
    tokens, inputs = ragged(lengths, 11), qkv(sum(lengths))

    def run(rows: range, place: BatchOffset) -> Tensor:
        first, last = int(tokens.offsets[rows[0]]), int(tokens.offsets[rows[-1] + 1])
        with drawing(7, 3, place):
            outs = [
                attend(
                    *(x[first:last] for x in inputs),
                    chosen(tokens, rows),
                    n_heads=HEADS,
                    dropout=0.4,
                )
                for _ in range(2)
            ]
        return torch.cat(outs, dim=1)  # two sites, one behind the other

    whole = run(range(5), BatchOffset())
    place = BatchOffset(rows=cut, tokens=sum(lengths[:cut]), pairs=n_pairs(lengths[:cut]))
    assert_close(
        torch.cat([run(range(cut), BatchOffset()), run(range(cut, 5), place)]),
        whole,
        atol=1e-6,
        rtol=0,
    )
    assert not torch.allclose(run(range(cut, 5), BatchOffset()), whole[int(tokens.offsets[cut]) :])


def test_the_mean_over_many_draws_is_no_dropout(ragged) -> None:
    lengths, n_draws = (3, 9, 10), 600
    tokens, (q, k, v) = ragged(lengths, 11), qkv(22)
    plain = attend(q, k, v, tokens, n_heads=HEADS)
    draws = []
    for step in range(n_draws):
        with drawing(5, step):
            draws.append(attend(q, k, v, tokens, n_heads=HEADS, dropout=0.1))
    stacked = torch.stack(draws)
    error = stacked.std(dim=0) / math.sqrt(n_draws)
    assert ((stacked.mean(dim=0) - plain).abs() < 5 * error + 1e-6).all()


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gpu_agrees_with_the_processor(
    ragged, cuda: torch.device, window: int | None, dtype: torch.dtype
) -> None:
    lengths, width = (1, 23, 8, 65, 23), 3 * 16  # flash attention wants a head width that 8 divides
    tokens = ragged(lengths, 11)
    there = type(tokens)(
        *(x.to(cuda) for x in (tokens.ids, tokens.segments, tokens.positions, tokens.offsets)),
        tokens.lengths,
    )
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(sum(lengths), width, generator=draw).to(dtype).float() for _ in range(4)]
    *here_, direction = inputs
    here = with_gradients(
        lambda *x: attend(*x, tokens, n_heads=HEADS, window=window), here_, direction
    )
    moved = [x.to(cuda, dtype) for x in inputs]
    gpu = with_gradients(
        lambda *x: attend(*x, there, n_heads=HEADS, window=window), moved[:3], moved[3]
    )
    for a, b in zip(gpu, here, strict=True):
        assert (a.cpu().float() - b).norm() < (1e-5 if dtype == torch.float32 else 0.01) * b.norm()
    with drawing(1, 2):
        dropped = attend(*moved[:3], there, n_heads=HEADS, window=window, dropout=0.2).cpu().float()
    with drawing(1, 2):
        expected = attend(*here_, tokens, n_heads=HEADS, window=window, dropout=0.2)
    assert (dropped - expected).norm() < (
        1e-5 if dtype == torch.float32 else 0.02
    ) * expected.norm()
