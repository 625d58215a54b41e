"""The highest block computes only first tokens if nothing else is read: the same
states and gradients, and the same draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from encore import catalogue
from encore.encoder import load
from encore.encoder import ragged as ragged_module
from encore.encoder.attention import n_pairs
from encore.encoder.dropout import BatchOffset, drawing, keep_mask
from encore.encoder.encoder import Encoder, Shape
from encore.model.task_model import Branch
from encore.types import Encoded, Tokens

LENGTHS = (13, 1, 3, 40, 2, 8, 13)
WIDTH, LAYERS, VOCABULARY = 3 * 14, 3, 97
CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 59,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
}
FAMILIES = ("bert", "modernbert")


def encoder_of(family: str, *, dropout: float = 0.0) -> Encoder:
    rates = {
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "attention_dropout": dropout,
        "mlp_dropout": dropout,
    }
    encoder = load.build_encoder({**CONFIG, "model_type": family, "pad_token_id": 0, **rates})
    draw = torch.Generator().manual_seed(4)
    for name, parameter in encoder.named_parameters():
        torch.nn.init.normal_(
            parameter,
            mean=float("norm" in name and name.endswith("weight")),
            std=0.25,
            generator=draw,
        )
    return encoder.train()


def with_gradients(
    encoder: Encoder, tokens: Tokens, read: Callable[[Encoded], Tensor], **how: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    encoder.zero_grad()
    vectors = read(encoder.run(encoder.embedded(tokens), tokens, **how))
    (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
    return vectors.detach(), {
        name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None
    }


def last_first(encoded: Encoded) -> Tensor:
    (state,) = encoded.read((-1,))
    return ragged_module.first(state, encoded.tokens).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_are_those_of_the_whole(family: str, ragged) -> None:
    encoder, tokens = encoder_of(family), ragged(LENGTHS, VOCABULARY)
    whole, expected = with_gradients(encoder, tokens, last_first, layers=(-1,))
    short, got = with_gradients(encoder, tokens, last_first, layers=(-1,), first_only=True)
    assert_close(short, whole, atol=1e-5, rtol=0)
    for name, gradient in expected.items():
        if name.endswith("qkv.bias"):  # the keys' part has no gradient but rounding
            got[name][WIDTH : 2 * WIDTH], gradient[WIDTH : 2 * WIDTH] = 0, 0
        assert (got[name] - gradient).norm() < 1e-4 * gradient.norm() + 1e-7, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [(-1,), (0, 2), (1, 2, 3)])
def test_every_state_asked_for_holds_the_first_tokens(
    family: str, layers: tuple[int, ...], ragged
) -> None:
    encoder, tokens = encoder_of(family).eval(), ragged(LENGTHS, VOCABULARY)
    whole, short = (
        encoder.run(encoder.embedded(tokens), tokens, layers=layers, first_only=only)
        for only in (False, True)
    )
    assert short.tokens.lengths == (1,) * len(LENGTHS)
    assert torch.equal(short.tokens.ids, ragged_module.first(tokens.ids, tokens))
    assert [state is None for state in short.states] == [state is None for state in whole.states]
    for one, other in zip(short.states, whole.states, strict=True):
        if one is not None and other is not None:
            assert_close(one, ragged_module.first(other, tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in catalogue.names("pooling")
        if getattr(catalogue.find("pooling", name), "first_only", False)
    ],
)
def test_poolings_that_say_so_read_nothing_else(name: str, ragged) -> None:
    encoder, tokens = encoder_of("bert").eval(), ragged(LENGTHS, VOCABULARY)
    torch.manual_seed(1)
    pooling = catalogue.build("pooling", name, Shape(WIDTH, LAYERS, 3))
    expected = pooling(encoder(tokens))
    assert_close(Branch(encoder, pooling)(tokens)[0], expected, atol=1e-5, rtol=0)


def test_which_poolings_say_so() -> None:
    reading = {
        name
        for name in catalogue.names("pooling")
        if getattr(catalogue.find("pooling", name), "first_only", False)
    }
    assert reading == {"cls", "max_cls", "mean_cls", "norm_cls", "pooler"}


def test_the_highest_block_is_spared(ragged, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, tokens = encoder_of("bert").eval(), ragged(LENGTHS, VOCABULARY)
    monkeypatch.setattr(
        encoder.blocks[-1], "forward", lambda *_: pytest.fail("the whole block was computed")
    )
    encoder.run(encoder.embedded(tokens), tokens, layers=(-1,), first_only=True)


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_draws_do_not_depend_on_the_micro_batch(cut: int, ragged, chosen) -> None:
    encoder, tokens = encoder_of("bert", dropout=0.3), ragged(LENGTHS, VOCABULARY)

    def run(part: range, place: BatchOffset) -> Tensor:
        own = chosen(tokens, part)
        with drawing(7, 3, place):
            return last_first(
                encoder.run(encoder.embedded(own), own, layers=(-1,), first_only=True)
            )

    place = BatchOffset(cut, sum(LENGTHS[:cut]), n_pairs(LENGTHS[:cut]))
    parts = torch.cat([run(range(cut), BatchOffset()), run(range(cut, len(LENGTHS)), place)])
    whole = run(range(len(LENGTHS)), BatchOffset())
    assert_close(parts, whole, atol=2e-5, rtol=0)
    assert not torch.allclose(run(range(cut, len(LENGTHS)), BatchOffset()), whole[cut:], atol=1e-3)


def test_attention_dropout_is_the_loop_with_the_drawn_mask(ragged) -> None:
    """Dropped values take their part of the bias along."""
    encoder, lengths = encoder_of("bert"), (5, 9, 1)
    tokens, block = ragged(lengths, VOCABULARY), encoder.blocks[0]
    block.attention_dropout = 0.3
    mixed: list[Tensor] = []
    block.out.register_forward_pre_hook(lambda _, given: mixed.append(given[0].detach()))
    x = encoder.embedded(tokens).detach()
    with drawing(5, 1):
        (mask,), scale = keep_mask([(sum(lengths), 3)], 0.3, "tokens", 3)
    assert 0 < int((mask == 0).sum()) < mask.numel()
    with drawing(5, 1):
        block.first(x, tokens)
    q, k, v = (
        part.unflatten(1, (3, -1)) for part in block.qkv(x).detach().chunk(3, dim=1)
    )  # (tokens, heads, head width)
    for row, (keys, values, kept) in enumerate(
        zip(k.split(lengths), v.split(lengths), mask.split(lengths), strict=True)
    ):
        query = q[int(tokens.offsets[row])]
        for head in range(3):
            weights = (keys[:, head] @ query[head] / 14**0.5).softmax(dim=0) * kept[:, head] * scale
            assert_close(
                mixed[0][row].unflatten(0, (3, -1))[head],
                weights @ values[:, head],
                atol=1e-5,
                rtol=0,
            )
