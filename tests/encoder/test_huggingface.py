"""Encoders that transformers lends: the same states and gradients as its own, whatever stands
beside a row; and what cannot be lent.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Warm
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.testing import assert_close

import encore
from encore.api import prepared_from
from encore.encoder import load
from encore.encoder.dropout import BatchOffset, drawing
from encore.encoder.encoder import Frozen
from encore.encoder.huggingface import HuggingFaceEncoder, _as_word_table
from encore.encoder.word_table import WordTable
from encore.errors import DataError, RecipeError
from encore.runs.cost import estimate_cost
from encore.runs.execute import execute
from encore.runs.folder import read_scores
from encore.runs.gradients import explain_by_gradients
from encore.types import Tokens

transformers = pytest.importorskip(
    "transformers", reason="transformers, which lends the encoders, is not installed"
)

VOCABULARY, LONGEST = 211, 97
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 3 * 14,
    "intermediate_size": 59,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
}
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DEBERTA = {
    **SIZES,
    **DROPOUT,
    "model_type": "deberta-v2",
    "max_position_embeddings": LONGEST,
    "type_vocab_size": 0,
    "pad_token_id": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    # As DeBERTa-v3 is published: positions are relative and stand in attention alone.
    "deberta-v2": {
        **DEBERTA,
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "max_relative_positions": -1,
    },
    "deberta-v2, positions and segments": {
        **DEBERTA,
        "type_vocab_size": 2,
        "position_biased_input": True,
    },
    "mpnet": {
        **SIZES,
        **DROPOUT,
        "model_type": "mpnet",
        "max_position_embeddings": LONGEST + 2,
        "relative_attention_num_buckets": 32,
    },
}
MIXED = {
    "one word": (1,),
    "longest": (LONGEST,),
    "equal": (13,) * 4,
    "mixed": (40, 1, 97, 8, 13, 64, 65, 13, 2),
}
MIXED["every fifth"] = tuple(range(1, LONGEST + 1, 5))
each = pytest.mark.parametrize("name", CONFIGS)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names → ours."""
    names = {
        key: "embed.word.weight" if key == "embeddings.word_embeddings.weight" else f"model.{key}"
        for key in state
        if not key.startswith("pooler.")
    }
    return {names[key]: value.clone() for key, value in state.items() if key in names}


@cache
def pair(name: str) -> tuple[HuggingFaceEncoder, Any]:
    config = CONFIGS[name]
    theirs = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config)).eval()
    draw = torch.Generator().manual_seed(17)
    for key, parameter in theirs.named_parameters():
        torch.nn.init.normal_(
            parameter, mean=1.0 if "norm.weight" in key.lower() else 0.0, std=0.25, generator=draw
        )
    ours = load.build_encoder(config)
    assert isinstance(ours, HuggingFaceEncoder)
    ours.load_state_dict(renamed(theirs.state_dict()))
    return ours.eval(), theirs


def rows_of(ragged: Callable[..., Tokens], lengths: tuple[int, ...]) -> Tokens:
    """No word is 1, which MPNet takes for padding."""
    tokens = ragged(lengths, VOCABULARY, n_segments=2, seed=len(lengths))
    return Tokens(
        torch.where(tokens.ids == 1, 2, tokens.ids),
        tokens.segments,
        tokens.positions,
        tokens.offsets,
        tokens.lengths,
    )


def expected_states(
    name: str, tokens: Tokens, padded: Callable[[Tensor, Tokens], Tensor]
) -> list[Tensor]:
    real = padded(torch.ones_like(tokens.ids), tokens)
    more = (
        {"token_type_ids": padded(tokens.segments, tokens)}
        if CONFIGS[name].get("type_vocab_size", 0) > 1
        else {}
    )
    found = pair(name)[1](
        input_ids=padded(tokens.ids, tokens), attention_mask=real, **more, output_hidden_states=True
    ).hidden_states
    return [state[real.bool()] for state in found]


@pytest.mark.parametrize("lengths", MIXED.values(), ids=MIXED)
@each
def test_states_and_gradients_are_those_of_transformers(
    name: str, lengths: tuple[int, ...], ragged, padded
) -> None:
    ours, theirs = pair(name)
    tokens = rows_of(ragged, lengths)
    expected, got = expected_states(name, tokens, padded), ours(tokens).states
    assert len(got) == len(expected) == ours.n_layers + 1 == 5
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, atol=1e-5, rtol=0)
    draw = torch.Generator().manual_seed(23)
    directions = [torch.randn(a.shape, generator=draw) for a in got]
    for states, module in ((got, ours), (expected, theirs)):
        module.zero_grad()
        sum(
            (state * direction).sum() for state, direction in zip(states, directions, strict=True)
        ).backward()
    wanted = renamed(
        {
            key: parameter.grad
            for key, parameter in theirs.named_parameters()
            if parameter.grad is not None
        }
    )
    found = {
        key: parameter.grad
        for key, parameter in ours.named_parameters()
        if parameter.grad is not None
    }
    assert set(found) == set(wanted)
    assert len(found) > 60
    for key, grad in found.items():
        zero = key.endswith(
            ("key_proj.bias", ".k.bias")
        )  # but for rounding: it shifts all scores of a query alike
        assert (grad - wanted[key]).norm() < 1e-4 * wanted[key].norm() + (1e-4 if zero else 1e-6), (
            key
        )


@each
def test_a_row_alone_is_the_row_in_any_batch(name: str, ragged, chosen) -> None:
    encoder, tokens = pair(name)[0], rows_of(ragged, (7, 30, 7, 1, 12, 97))
    together = [state.split(tokens.lengths) for state in encoder(tokens).states]
    for row in range(tokens.n_rows):
        for a, b in zip(encoder(chosen(tokens, [row])).states, together, strict=True):
            assert_close(a, b[row], atol=1e-5, rtol=0)
    order = [3, 5, 0, 4, 2, 1]
    for a, b in zip(encoder(chosen(tokens, order)).states, together, strict=True):
        assert_close(a, torch.cat([b[row] for row in order]), atol=1e-5, rtol=0)


@each
def test_what_stands_in_the_padding_is_never_read(
    name: str, ragged, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encore.encoder import ragged as ragged_module

    encoder, tokens = pair(name)[0], rows_of(ragged, (7, 30, 1, 12))
    before, padded = encoder(tokens).states, ragged_module.padded

    def with_rubbish(values: Tensor, tokens: Tokens) -> list[Tensor]:
        rubbish = 7 if values.dtype.is_floating_point else 1
        return [
            part.masked_fill(~real.unsqueeze(2), rubbish)
            for part, real in zip(padded(values, tokens), ragged_module.real(tokens), strict=True)
        ]

    monkeypatch.setattr(ragged_module, "padded", with_rubbish)
    for a, b in zip(encoder(tokens).states, before, strict=True):
        assert_close(a, b, atol=1e-5, rtol=0)


@each
def test_layers_first_tokens_and_entering_again(name: str, ragged) -> None:
    encoder, tokens = pair(name)[0], rows_of(ragged, (7, 30, 1))
    every = encoder(tokens).states
    some = encoder(tokens, layers=(0, -2)).states
    assert [state is not None for state in some] == [True, False, False, True, False]
    assert torch.equal(some[3], every[3])
    firsts = encoder.run(encoder.embedded(tokens), tokens, layers=(-1,), first_only=True)
    assert firsts.tokens.lengths == (1, 1, 1)
    assert torch.equal(firsts.states[-1], every[-1][[0, 7, 37]])
    embedded = encoder.embedded(tokens)
    moved = encoder.run(
        embedded + 0.1 * torch.randn(embedded.shape, generator=torch.Generator().manual_seed(2)),
        tokens,
    ).states
    assert not torch.allclose(moved[0], every[0], atol=1e-3)
    assert not torch.allclose(moved[-1], every[-1], atol=1e-3)


def test_segments_are_handed_over_where_there_are_two(ragged) -> None:
    tokens = rows_of(ragged, (7, 30))
    turned = Tokens(
        tokens.ids, 1 - tokens.segments, tokens.positions, tokens.offsets, tokens.lengths
    )
    same = {
        name: torch.equal(pair(name)[0](tokens).states[-1], pair(name)[0](turned).states[-1])
        for name in CONFIGS
    }
    assert same == {"deberta-v2": True, "deberta-v2, positions and segments": False, "mpnet": True}


def test_the_shape_is_what_others_need_to_know() -> None:
    for name in CONFIGS:
        shape = pair(name)[0].shape
        assert (shape.width, shape.n_layers, shape.n_heads, shape.n_positions, shape.n_words) == (
            42,
            4,
            3,
            LONGEST,
            VOCABULARY,
        )
        assert isinstance(pair(name)[0].embed.word, WordTable)


def test_what_does_more_than_look_up_a_word_stays_as_it_is() -> None:
    class Scaled(torch.nn.Embedding):
        pass

    plain, *others = torch.nn.Embedding(7, 3), torch.nn.Embedding(7, 3, max_norm=1.0), Scaled(7, 3)
    table = _as_word_table(plain)
    assert isinstance(table, WordTable)
    assert torch.equal(table.weight, plain.weight)
    assert [_as_word_table(other) for other in others] == others


def test_frozen_has_no_gradient_and_no_dropout(ragged) -> None:
    encoder = load.build_encoder({**CONFIGS["mpnet"], "hidden_dropout_prob": 0.5})
    encoder.load_state_dict(pair("mpnet")[0].state_dict())
    tokens = rows_of(ragged, (7, 30))
    frozen = torch.nn.ModuleList([Frozen(encoder)]).train()[0]
    state = frozen(tokens).states[-1]
    assert torch.equal(state, pair("mpnet")[0](tokens).states[-1])
    assert not state.requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@each
def test_bf16_is_transformers_autocast(name: str, ragged) -> None:
    encoder, tokens = pair(name)[0], rows_of(ragged, (7, 30, 1, 33))
    full = encoder(tokens).states[-1].detach()
    encoder.dtype = torch.bfloat16
    try:
        half = encoder(tokens).states[-1].float()
        half.square().sum().backward()
    finally:
        encoder.dtype = torch.float32
    assert 0 < (half - full).norm() < 0.05 * full.norm()
    assert all(
        parameter.grad.dtype == torch.float32
        for parameter in encoder.parameters()
        if parameter.grad is not None
    )
    encoder.zero_grad()


@each
def test_dropout_is_a_function_of_seed_step_and_place(name: str, ragged) -> None:
    encoder = load.build_encoder(
        {**CONFIGS[name], "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
    )
    encoder.load_state_dict(pair(name)[0].state_dict())
    tokens = rows_of(ragged, (7, 30, 1))

    def state(seed: int, step: int, place: BatchOffset | None = None) -> Tensor:
        torch.manual_seed(torch.randint(2**31, ()).item())
        before = torch.get_rng_state()
        with drawing(seed, step, place):
            found = encoder.train()(tokens).states[-1].detach()
        assert torch.equal(torch.get_rng_state(), before), "torch's own stream was touched"
        return found

    once = state(3, 1)
    assert torch.equal(state(3, 1), once)
    for other in (
        state(3, 2),
        state(4, 1),
        state(3, 1, BatchOffset(rows=5)),
        encoder.eval()(tokens).states[-1],
    ):
        assert (other - once).norm() > 0.05 * once.norm()
    with drawing(3, 1):
        passes = [encoder.train()(tokens).states[-1] for _ in range(2)]
    assert not torch.equal(*passes), "a second pass in the same step draws again"


# ------------------------------------------------------------------------------------ from a folder


def byte_pieces() -> Tokenizer:
    """Every byte is a piece; RoBERTa's template, as MPNet has it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", *alphabet])}, []
        )
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens(["<s>", "<pad>", "</s>"])
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return backend


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny MPNet as one downloads it, of its masked-language model."""
    where = tmp_path_factory.mktemp("encoder") / "tiny-mpnet"
    config = {
        **CONFIGS["mpnet"],
        "vocab_size": 259,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "num_hidden_layers": 2,
    }
    torch.manual_seed(0)
    transformers.AutoModelForMaskedLM.from_config(
        transformers.AutoConfig.for_model(**config)
    ).save_pretrained(where)
    byte_pieces().save(str(where / "tokenizer.json"))
    return where


def copy(
    folder: Path,
    target: Path,
    *,
    edit: Callable[[dict[str, Tensor]], Any] = lambda state: None,
    **config: Any,
) -> str:
    target.mkdir()
    state = safetensors.torch.load_file(folder / "model.safetensors")
    edit(state)
    safetensors.torch.save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text()) | config
    (target / "config.json").write_text(
        json.dumps({key: value for key, value in said.items() if value is not None})
    )
    (target / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    return str(target)


def problems(action: Callable[[], Any]) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        action()
    assert all("\n" not in problem for problem in caught.value.lines)
    return caught.value.lines


def test_a_checkpoint_with_a_head_and_without_a_pooler(folder: Path, ragged) -> None:
    source = load.locate(str(folder))
    assert (source.default_pooling, source.why) == (
        "mean",
        "nothing says what a mpnet was made for",
    )
    made = load.load_encoder(source)
    assert made.shape.pooler is None
    state = safetensors.torch.load_file(folder / "model.safetensors")
    assert torch.equal(
        made.encoder.state_dict()["embed.word.weight"],
        state["mpnet.embeddings.word_embeddings.weight"],
    )
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = rows_of(ragged, (5, 9))
    for a, b in zip(
        made.encoder.eval()(tokens).states, made.encoder.eval()(tokens).states, strict=True
    ):
        assert torch.equal(a, b)
    alone = theirs(
        input_ids=tokens.ids[None, :5], attention_mask=torch.ones(1, 5), output_hidden_states=True
    ).hidden_states
    for a, b in zip(made.encoder(tokens).states, alone, strict=True):
        assert_close(a[:5], b[0], atol=1e-5, rtol=0)


def test_a_pooler_comes_along(folder: Path, tmp_path: Path) -> None:
    weights = {
        "mpnet.pooler.dense.weight": torch.randn(42, 42),
        "mpnet.pooler.dense.bias": torch.randn(42),
    }
    made = load.load_encoder(
        load.locate(copy(folder, tmp_path / "with", edit=lambda state: state.update(weights)))
    )
    assert torch.equal(made.shape.pooler.weight, weights["mpnet.pooler.dense.weight"])
    assert not [name for name in made.encoder.state_dict() if "pooler" in name]


def test_every_tensor_that_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    def edit(state: dict[str, Tensor]) -> None:
        del state["mpnet.encoder.layer.1.output.dense.bias"]
        state["mpnet.encoder.layer.0.adapter.weight"] = torch.zeros(2)
        state["mpnet.embeddings.position_embeddings.weight"] = torch.zeros(5, 42)

    found = problems(
        lambda: load.load_encoder(load.locate(copy(folder, tmp_path / "wrong", edit=edit)))
    )
    assert len(found) == 3, found
    for said in (
        "layer.1.output.dense.bias' is missing",
        "layer.0.adapter.weight' has no place",
        "has shape (5, 42), the configuration says (99, 42)",
    ):
        assert len([problem for problem in found if said in problem]) == 1, found


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "gpt2"}, "transformers has no encoder of texts under that name"),
        ({"model_type": "t5"}, "transformers has no encoder of texts under that name"),
        ({"model_type": "mpnett"}, "Known: bert, "),
        ({"model_type": "bart", "d_model": 42}, "is, or has, a decoder"),
        ({"model_type": "fnet"}, "takes no attention_mask"),
        (
            {
                "model_type": "funnel",
                "d_model": 42,
                "n_head": 3,
                "d_head": 14,
                "d_inner": 8,
                "block_sizes": [1, 1],
                "num_hidden_layers": None,
            },
            "one state per",
        ),
        ({"model_type": "deberta-v2", "hidden_size": 43}, "transformers does not take it"),
    ],
)
def test_what_cannot_be_lent_is_told_before_weights_are_read(
    config: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    (told,) = problems(
        lambda: load.build_encoder(load.locate(copy(folder, tmp_path / "other", **config)).config)
    )
    assert said in told


def test_without_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "transformers" else found(name)
    )
    for action in (
        lambda: load.locate(str(folder)),
        lambda: load.build_encoder(CONFIGS["mpnet"]),
    ):  # to train it; to load a run of another machine
        (told,) = problems(action)
        assert "model_type 'mpnet'" in told
        assert (
            "transformers, which may have it, is not installed: pip install 'encore-nlp[hf]'"
            in told
        )


def test_with_a_transformers_that_is_too_old(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.57.1")
    (told,) = problems(lambda: load.locate(str(folder)))
    assert "transformers 4.57.1 is too old for it: pip install 'encore-nlp[hf]'" in told


def test_code_that_lies_beside_the_weights_is_never_run(
    folder: Path, tmp_path: Path, ragged
) -> None:
    name = copy(
        folder,
        tmp_path / "remote",
        auto_map={"AutoConfig": "mine.Config", "AutoModel": "mine.Model"},
    )
    (tmp_path / "remote" / "mine.py").write_text("raise SystemExit('was run')\n")
    assert (
        load.load_encoder(load.locate(name))
        .encoder(rows_of(ragged, (3,)))
        .states[-1]
        .isfinite()
        .all()
    )


def test_single_blocks_are_refused_in_one_line() -> None:
    with pytest.raises(
        RecipeError,
        match=r"model_type 'mpnet': comes from transformers, and its layers cannot be split",
    ):
        _ = pair("mpnet")[0].blocks


# -------------------------------------------------------------------------------------------- a run

REVIEWS = Path(encore.__file__).parents[1] / "examples" / "data" / "reviews.csv"
POOLING = "pooling={name: max_seq_mha, k: 2, n_heads: 3}"
SHORT = (
    "threads=1",
    "max_length=24",
    "plan.epochs=1",
    "data.train_rows=40",
    "plan.batch_size=10",
    "plan.lr=1e-3",
    POOLING,
)


@pytest.fixture(scope="module")
def trained(folder: Path, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    outcome = warm.run(["train", REVIEWS, f"encoder={folder}", *SHORT, "--runs", runs])
    assert outcome.code == 0, outcome.err
    assert "dev set" in outcome.out
    (run,) = runs.iterdir()
    return run


def test_a_run_from_the_command_line(trained: Path, warm: Warm, tmp_path: Path) -> None:
    (name,) = (path.name for path in (trained / "predictions").iterdir())
    model = encore.load(trained)
    said = json.loads((trained / "environment.json").read_text())
    assert said["packages"]["transformers"] == transformers.__version__
    texts = ["The zip broke after a week.", "", "Exactly what we needed 🙂", "x" * 500]
    together, alone = model.predict(texts), [model.predict([text])[0] for text in texts]
    for a, b in zip(together, alone, strict=True):
        assert list(a.probabilities.values()) == pytest.approx(
            list(b.probabilities.values()), abs=1e-5
        )
    outcome = warm.run(["predict", trained, REVIEWS, "-o", tmp_path / "out.jsonl"])
    assert outcome.code == 0, outcome.err
    ragged_module = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    here = model.scores(model.read(REVIEWS))
    assert [row["prediction"] for row in ragged_module] == [
        one.label for one in model.predict(model.read(REVIEWS).texts.to_pylist())
    ]
    stored = read_scores(trained, name, "dev", 1)
    assert all((np.abs(here - line).max(axis=1) < 1e-4).any() for line in stored), (
        "the saved model gives what the trained one gave"
    )
    assert [word.word for word in model.explain(texts)[0].texts[0].words][:2] == ["The", "zip"]
    (one,) = explain_by_gradients(model.task(), model.tokenizer, model.read([texts[0]]))
    assert one.attribution is not None
    size = sum(map(abs, one.weights))
    assert sum(one.weights) == pytest.approx(one.attribution.change, abs=1e-2 * size)
    assert size > 0


def test_the_same_run_again_has_the_same_bits(trained: Path, folder: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    again = encore.fit(REVIEWS, f"encoder={folder}", *SHORT, runs=tmp_path).folder
    assert again.name == trained.name
    first, second = (
        safetensors.torch.load_file(run / "model" / "weights.safetensors")
        for run in (trained, again)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert (trained / "results.json").read_bytes() == (again / "results.json").read_bytes()


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """With dropout, which is torch's own here."""
    torch.set_num_threads(1)
    prepared, seen = prepared_from(REVIEWS, (f"encoder={folder}", *SHORT)), []

    def stop(report: Any) -> None:
        seen.append(report)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepared, tmp_path, watch=stop, checkpoint_steps=1)
    n_before = len(seen)
    execute(prepared, tmp_path, watch=seen.append)
    assert n_before < len(seen) < 2 * n_before + 3, "it went on, it did not begin anew"
    first, second = (
        safetensors.torch.load_file(run / "model" / "weights.safetensors")
        for run in (trained, tmp_path / prepared.name)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_frozen_bf16_pairs_and_what_it_costs(folder: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = (
        f"encoder={folder}",
        "threads=1",
        "max_length=40",
        "data.train_rows=30",
        "plan.epochs=2",
        "precision=bf16",
        "plan.freeze_encoder=true",
    )
    prepared = prepared_from(REVIEWS.with_name("pairs.csv"), settings, label="same")
    cost = estimate_cost(prepared)
    assert 0 < cost.trained < cost.parameters
    assert 0 < cost.seconds < 600
    run = execute(prepared, tmp_path).folder
    weights = safetensors.torch.load_file(run / "model" / "weights.safetensors")
    before = load.load_encoder(load.locate(str(folder))).encoder.state_dict()
    kept = {
        name.split(".encoder.", 1)[1]: value
        for name, value in weights.items()
        if ".encoder.embed." in name or ".encoder.model." in name
    }
    assert set(kept) == set(before)
    assert all(torch.equal(value, before[name]) for name, value in kept.items())


def test_too_long_rows_are_refused_with_the_real_limit(folder: Path) -> None:
    with pytest.raises(
        RecipeError,
        match=r"^override max_length=98: encoder '.*' has 97 positions, got 98\. Set "
        r"max_length=97 or less\.$",
    ):
        prepared_from(REVIEWS, (f"encoder={folder}", "max_length=98"))
