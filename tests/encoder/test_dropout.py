from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from encore.encoder.dropout import BatchOffset, Dropout, _Stream, drawing, keep_mask, rounded


def dropped(
    p: float,
    rows: int,
    width: int,
    *,
    seed: int = 3,
    step: int = 1,
    place: BatchOffset | None = None,
    sites: int = 1,
) -> list[torch.Tensor]:
    layer = Dropout(p, "rows").train()
    with drawing(seed, step, place):
        return [layer(torch.ones(rows, width)) for _ in range(sites)]


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_rate_and_scale(p: float) -> None:
    """The rate is p to the nearest 1/256; what is kept is scaled by exactly its inverse, so the
    mean stays.
    """
    rate, n = round(p * 256) / 256, 400 * 500
    (out,) = dropped(p, 400, 500)
    assert set(out.unique().tolist()) == {0.0, np.float32(1 / (1 - rate)).item()}
    assert abs((out == 0).float().mean().item() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)


def test_a_rate_above_zero_always_drops_and_one_below_one_always_keeps() -> None:
    assert [rounded(p) for p in (0.0, 1e-9, 0.1, 0.5, 0.9999)] == [0, 1, 26, 128, 255]


def test_the_expectation_is_exact_in_bf16() -> None:
    """1 / (1 - rate) has no near neighbour in bf16, so it must not be rounded before it is
    applied.
    """
    values = torch.linspace(1, 2, 100_001).bfloat16().unsqueeze(1)
    with drawing(3, 1):
        out = Dropout(0.1, "rows").train()(values)
    kept = out != 0
    assert out.dtype == torch.bfloat16
    assert abs((out[kept].double() / values[kept].double()).mean().item() - 256 / 230) < 2e-4


def test_the_gradient_is_the_mask_that_was_drawn() -> None:
    values = torch.randn(7, 5, requires_grad=True)
    with drawing(3, 1):
        out = Dropout(0.4, "tokens").train()(values)
    out.sum().backward()
    assert_close(out.detach(), values.detach() * values.grad)
    assert 0 < int((values.grad == 0).sum()) < 35


def test_nothing_happens_in_eval_mode_or_at_rate_zero() -> None:
    values = torch.randn(7, 5)
    with drawing(3, 1):
        assert Dropout(0.4, "rows").eval()(values) is values
        assert Dropout(0.0, "rows").train()(values) is values


def test_equal_seed_and_step_give_equal_masks_and_nothing_else_does() -> None:
    (one,), (again,) = dropped(0.5, 40, 30), dropped(0.5, 40, 30)
    assert_close(one, again, atol=0, rtol=0)
    others = [
        *dropped(0.5, 40, 30, step=2),
        *dropped(0.5, 40, 30, seed=4),
        *dropped(0.5, 40, 30, sites=3)[1:],
    ]
    masks = torch.stack([one, *others]).flatten(1)
    for i in range(len(masks)):
        for j in range(i):
            agreeing = (masks[i] == masks[j]).float().mean().item()
            assert abs(agreeing - 0.5) < 5 * 0.5 / math.sqrt(1200), f"streams {i} and {j}"


def test_a_step_does_not_depend_on_what_ran_before_it() -> None:
    dropped(0.5, 40, 30, step=1, sites=4)
    torch.manual_seed(99)
    assert_close(dropped(0.5, 40, 30, step=2), dropped(0.5, 40, 30, step=2), atol=0, rtol=0)


@pytest.mark.parametrize("width", [5, 8, 32, 33])
@pytest.mark.parametrize("cut", [1, 3, 7, 12])
def test_micro_batches_draw_what_the_whole_batch_draws(width: int, cut: int) -> None:
    whole = dropped(0.3, 13, width, sites=2)
    first, second = (
        dropped(0.3, cut, width, sites=2),
        dropped(0.3, 13 - cut, width, sites=2, place=BatchOffset(rows=cut)),
    )
    for site in range(2):
        assert_close(torch.cat([first[site], second[site]]), whole[site], atol=0, rtol=0)


def test_each_unit_counts_by_its_own_place() -> None:
    with drawing(3, 1, BatchOffset(rows=2, tokens=5, pairs=11)):
        masks = [keep_mask([(4,)], 0.5, unit, 4)[0][0] for unit in ("rows", "tokens", "pairs")]
    for site, (unit, before) in enumerate((("rows", 2), ("tokens", 5), ("pairs", 11))):
        with drawing(3, 1):
            whole = [keep_mask([(4 * before + 4,)], 0.5, "rows", 4)[0][0] for _ in range(3)][site]
        assert_close(masks[site], whole[4 * before :], atol=0, rtol=0, msg=unit)


def test_several_shapes_of_one_site_are_parts_of_one_stream() -> None:
    with drawing(3, 1):
        (one, two), _ = keep_mask([(3, 5), (2, 2, 2)], 0.5, "rows", 5)
    with drawing(3, 1):
        (flat,), _ = keep_mask([(23,)], 0.5, "rows", 5)
    assert_close(torch.cat([one.flatten(), two.flatten()]), flat, atol=0, rtol=0)


def test_outside_training_the_global_seed_decides() -> None:
    layer = Dropout(0.5, "rows").train()
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(layer(torch.ones(20, 20)))
    assert_close(outs[0], outs[1], atol=0, rtol=0)
    assert not torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[2], layer(torch.ones(20, 20)))


def test_a_block_inside_a_block_leaves_the_outer_stream_where_it_was() -> None:
    with drawing(3, 1):
        keep_mask([(9,)], 0.5, "rows", 1)
        with drawing(8, 8):
            keep_mask([(9,)], 0.5, "rows", 1)
        (second,), _ = keep_mask([(64,)], 0.5, "rows", 1)
    with drawing(3, 1):
        keep_mask([(9,)], 0.5, "rows", 1)
        (expected,), _ = keep_mask([(64,)], 0.5, "rows", 1)
    assert_close(second, expected, atol=0, rtol=0)


def test_bytes_are_uniform() -> None:
    """Chi-square over all 256 values of a million bytes: the threshold on a byte is only as good as
    the bytes.
    """
    counts = np.bincount(_Stream(5, (9,), BatchOffset()).bytes(17, 2**20), minlength=256)
    expected = 2**20 / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * math.sqrt(2 * 255)


def test_sites_and_steps_share_no_bytes_even_shifted() -> None:
    """Of 4 × 4096 words of 64 random bits, no two are equal unless the streams overlap."""
    words = []
    for step in (1, 2):
        stream = _Stream(5, (step,), BatchOffset())
        for _ in range(2):
            words.append(stream.bytes(0, 8 * 4096).view(np.uint64))
            stream.site += 1
    assert len(np.unique(np.concatenate(words))) == 4 * 4096
