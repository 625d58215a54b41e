"""In bf16 on a processor the number of tokens is rounded up inside the encoder, and nobody
notices.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from encore.encoder import encoder as module
from encore.encoder import load
from encore.encoder.dropout import drawing
from encore.encoder.encoder import Encoder

LENGTHS, WIDTH, VOCABULARY = (13, 1, 3, 40, 2, 8, 13), 3 * 14, 97  # 80 tokens
CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 59,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "local_attention": 10,
}


def encoder_of(family: str) -> Encoder:
    encoder = load.build_encoder({**CONFIG, "model_type": family})
    draw = torch.Generator().manual_seed(4)
    for name, parameter in encoder.named_parameters():
        torch.nn.init.normal_(
            parameter,
            mean=float("norm" in name and name.endswith("weight")),
            std=0.1,
            generator=draw,
        )
    encoder.dtype = torch.bfloat16
    return encoder.train()


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("first_only", [False, True])
def test_states_draws_and_gradients_are_those_without_it(
    family: str, first_only: bool, ragged, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, tokens = encoder_of(family), ragged(LENGTHS[:-1], VOCABULARY)  # 67: 13 lines to fill

    def run() -> tuple[list[Tensor], dict[str, Tensor]]:
        encoder.zero_grad()
        tokens.cache.clear()
        with drawing(7, 3):
            encoded = encoder.run(encoder.embedded(tokens), tokens, first_only=first_only)
        states = [state for state in encoded.states if state is not None]
        assert {len(state) for state in states} == {len(LENGTHS) - 1 if first_only else 67}
        sum(
            (state.float() * torch.linspace(-1, 1, state.numel()).view_as(state)).sum()
            for state in states
        ).backward()
        return [state.detach() for state in states], {
            name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None
        }

    sizes: list[int] = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    filled, got = run()
    monkeypatch.setattr(module, "filled", lambda x: x)
    plain, expected = run()
    assert sizes == [80, 67]
    for one, other in zip(filled, plain, strict=True):
        assert (one.float() - other.float()).norm() < 0.01 * other.float().norm()
    for name, gradient in expected.items():
        if not name.endswith("qkv.bias"):
            assert (got[name] - gradient).norm() < 0.02 * gradient.norm() + 1e-6, name


def test_no_more_than_32_sizes_for_each_doubling() -> None:
    sizes = [len(module.filled(torch.empty(n, 1, dtype=torch.bfloat16))) for n in range(1, 9000)]
    assert all(n <= size < max(16, 1.04 * n) + 16 for n, size in enumerate(sizes, start=1))
    assert (
        max(
            len({size for size in sizes if low < size <= 2 * low})
            for low in (2**k for k in range(4, 13))
        )
        <= 32
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_precisions_are_left_as_they_are(dtype: torch.dtype) -> None:
    x = torch.ones(67, 3, dtype=dtype)
    assert module.filled(x) is x


def test_a_row_alone_is_the_row_in_a_batch(ragged) -> None:
    """Alone its 13 tokens are filled up, in the batch of 80 none are."""
    encoder = encoder_of("bert").eval()
    whole, alone = (
        encoder(ragged(LENGTHS, VOCABULARY)).read((-1,))[0],
        encoder(ragged(LENGTHS[:1], VOCABULARY)).read((-1,))[0],
    )
    assert (len(whole), len(alone)) == (80, 13)
    assert (whole[:13].float() - alone.float()).norm() < 0.01 * alone.float().norm()
