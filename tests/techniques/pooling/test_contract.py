"""The contract of every pooling, whatever it computes: everything in the folder is held to it, and
its settings at their ends.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.testing import assert_close

import encore
from encore import catalogue
from encore.encoder import load
from encore.encoder.encoder import Encoder, Shape
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.model.task_model import Branch, TaskModel
from encore.types import Encoded, Pooling, Tokens

LENGTHS = (
    13,
    1,
    3,
    97,
    2,
    8,
    13,
)  # one token, long ones, near-equal ones in one group, in no order
ROWS, WIDTH, LAYERS, SCORES = len(LENGTHS), 4 * 11, 5, 3
NAMES = catalogue.names("pooling")
EDGES: tuple[dict[str, Any], ...] = (  # settings beside each technique's defaults
    *(
        {"name": name, "k": k}
        for name in (
            "max_cls",
            "mean_cls",
            "norm_cls",
            "max_seq_mha",
            "mean_seq_mha",
            "norm_seq_mha",
        )
        for k in (1, LAYERS)
    ),
    {"name": "mha", "n_heads": 11},
    {"name": "mean", "include_special": False},
    {"name": "weighted_layers", "k": 2, "then": "cls"},
    {
        "name": "concat",
        "of": [
            "attention",
            "cls",
            {"name": "max_seq_mha", "k": 2},
            {"name": "concat", "of": ["mean_max", "weighted_layers"]},
        ],
    },
)
CASES: tuple[dict[str, Any], ...] = (*({"name": name} for name in NAMES), *EDGES)
CONFIG = {  # every family finds its own words in here
    "vocab_size": 53,
    "max_position_embeddings": 120,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "hidden_size": WIDTH,
    "intermediate_size": 31,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "embedding_size": 19,
    "dim": WIDTH,
    "hidden_dim": 31,
    "n_layers": LAYERS,
    "n_heads": 2,
}

LENT = (
    ("deberta-v2", "mpnet") if importlib.util.find_spec("transformers") else ()
)  # by transformers

each_case = pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda case: "-".join(str(value) for value in case.values() if not isinstance(value, list)),
)


def built(case: dict[str, Any]) -> Any:
    """The technique with first values that are not all 0, where anything could hide."""
    torch.manual_seed(2)
    pooling = catalogue.build("pooling", case, Shape(WIDTH, LAYERS, 2))
    for parameter in pooling.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return pooling


def rows_of(encoded: Encoded, chosen: Sequence[int]) -> Encoded:
    """Those rows, in that order, as a batch of their own."""
    tokens = encoded.tokens
    places = torch.cat(
        [torch.arange(int(tokens.offsets[row]), int(tokens.offsets[row + 1])) for row in chosen]
    )
    lengths = tuple(tokens.lengths[row] for row in chosen)
    offsets = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
    part = Tokens(
        tokens.ids[places], tokens.segments[places], tokens.positions[places], offsets, lengths
    )
    return Encoded(
        tuple(None if state is None else state.detach()[places] for state in encoded.states), part
    )


def encoder_of(family: str) -> tuple[Encoder | HuggingFaceEncoder, dict[str, Any]]:
    torch.manual_seed(1)
    config = {**CONFIG, "model_type": family}
    encoder = load.build_encoder(config)
    for name, parameter in encoder.named_parameters():
        torch.nn.init.normal_(
            parameter, mean=float("norm" in name.lower() and name.endswith("weight")), std=0.2
        )
    return encoder.eval(), config


@pytest.fixture(scope="module")
def encoded(at_random) -> Encoded:
    """At every token another layer is the longest, so that each is chosen somewhere."""
    made = at_random(LENGTHS, WIDTH, LAYERS)
    tokens = made.tokens
    turn = (
        torch.repeat_interleave(torch.arange(ROWS), torch.tensor(LENGTHS)) + tokens.positions
    ) % LAYERS
    for layer, state in enumerate(made.states[1:]):
        state.data *= 1 + 2.0 * (turn == layer).unsqueeze(1)
    return made


def test_the_folder_was_found_and_settings_are_tried() -> None:
    """A new file joins `NAMES`, and with it every test here, by itself."""
    assert set(NAMES) >= {"attention", "cls", "concat", "max_cls", "mean", "mha", "pooler"}
    for case in EDGES:
        assert set(case) - {"name"} <= set(catalogue.settings("pooling", case["name"]))


@each_case
def test_it_announces_its_shape(case, encoded) -> None:
    pooling = built(case)
    assert Pooling in type(pooling).__mro__
    out, reduced = pooling(encoded), pooling.reduce(encoded)
    assert (out.shape, out.dtype) == ((ROWS, pooling.width), torch.float32)
    assert (reduced.shape, reduced.dtype) == (
        ({"rows": ROWS, "tokens": sum(LENGTHS)}[pooling.unit], pooling.reduced_width),
        torch.float32,
    )
    assert out.isfinite().all()


@each_case
def test_a_row_alone_equals_the_row_in_a_batch(case, encoded) -> None:
    pooling = built(case)
    alone = torch.cat([pooling(rows_of(encoded, [row])) for row in range(ROWS)])
    assert_close(alone, pooling(encoded), atol=3e-5, rtol=1e-4)


@each_case
def test_any_order_of_the_batch(case, encoded) -> None:
    pooling, order = built(case), [5, 0, 6, 3, 1, 4, 2]
    assert_close(pooling(rows_of(encoded, order)), pooling(encoded)[order], atol=3e-5, rtol=1e-4)


@each_case
def test_gradients_reach_exactly_the_layers_that_it_reads(case, encoded, gradients) -> None:
    pooling = built(case)
    read = {layer % (LAYERS + 1) for layer in pooling.layers}
    found = gradients(pooling(encoded), encoded.states)
    assert {
        layer for layer, gradient in enumerate(found) if gradient is not None and gradient.any()
    } == read
    assert 0 not in read, "H[0] is no layer"
    if "k" in case:
        assert read == set(range(LAYERS + 1 - case["k"], LAYERS + 1))
    others_missing = Encoded(
        tuple(state if layer in read else None for layer, state in enumerate(encoded.states)),
        encoded.tokens,
    )
    assert torch.equal(pooling(others_missing), pooling(encoded))


@each_case
def test_a_layer_that_was_not_kept_is_missed_at_once(case, encoded) -> None:
    pooling = built(case)
    states = list(encoded.states)
    states[pooling.layers[0]] = None
    with pytest.raises(LookupError, match="not all of them were kept"):
        pooling(Encoded(tuple(states), encoded.tokens))


@each_case
def test_every_parameter_gets_a_gradient(case, encoded) -> None:
    pooling = built(case)
    before = [parameter.detach().clone() for parameter in pooling.parameters()]
    (pooling(encoded) ** 3).sum().backward()
    for (name, parameter), old in zip(pooling.named_parameters(), before, strict=True):
        assert parameter.grad is not None, name
        assert parameter.grad.any() or parameter.numel() == 1, (
            name
        )  # one layer alone has all the weight there is
        assert torch.equal(parameter, old), name
    for state in encoded.states:
        state.grad = None


@each_case
def test_nothing_that_it_is_given_changes(case, encoded) -> None:
    tokens = encoded.tokens
    given = [*encoded.states, tokens.ids, tokens.segments, tokens.positions, tokens.offsets]
    before = [x.detach().clone() for x in given]
    out = built(case)(encoded)
    torch.autograd.grad(out.sum(), list(encoded.states), allow_unused=True)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


@each_case
def test_states_in_bf16_are_pooled_in_float32(case, encoded) -> None:
    pooling = built(case)
    half = [state.detach().bfloat16().requires_grad_() for state in encoded.states]
    out = pooling(Encoded(tuple(half), encoded.tokens))
    same = pooling(Encoded(tuple(state.detach().float() for state in half), encoded.tokens))
    assert_close(out, same, atol=1e-6, rtol=1e-6)
    gradient = torch.autograd.grad(out.sum(), half[-1])[0]
    assert gradient.dtype == torch.bfloat16
    assert gradient.isfinite().all()


@each_case
def test_what_was_reduced_can_be_kept_and_finished_in_other_batches(case, encoded) -> None:
    """As a frozen phase does: lines by example, put together anew. Neither states nor words are
    needed any more.
    """
    pooling, order = built(case), [5, 0, 6, 3, 1, 4, 2]
    trains = [state.detach() for state in encoded.states]
    reduced = pooling.reduce(Encoded(tuple(trains), encoded.tokens))
    assert not reduced.requires_grad, "reduce has no parameters"
    lines = reduced.split(LENGTHS) if pooling.unit == "tokens" else reduced.split(1)
    tokens = rows_of(encoded, order).tokens
    wordless = Tokens(
        torch.zeros_like(tokens.ids),
        tokens.segments,
        tokens.positions,
        tokens.offsets,
        tokens.lengths,
    )
    assert_close(
        pooling.finish(torch.cat([lines[row] for row in order]), wordless),
        pooling(encoded)[order],
        atol=3e-5,
        rtol=1e-4,
    )
    assert_close(
        pooling.finish(pooling.reduce(encoded), encoded.tokens), pooling(encoded), atol=0, rtol=0
    )


@each_case
def test_weights_of_tokens_add_up_to_one_in_each_row(case, encoded) -> None:
    pooling = built(case)
    if case["name"] == "attention" or case["name"].endswith("mha"):
        assert pooling.weights is not None
    if pooling.weights is not None:
        weights = pooling.weights(encoded)
        n_heads = catalogue.specify("pooling", case).settings.get("n_heads")
        assert weights.shape[0] == sum(LENGTHS)
        assert weights.ndim in (1, 2)
        assert n_heads is None or weights.shape[1] == n_heads
        assert (weights >= 0).all()
        assert_close(
            torch.stack([row.sum(0) for row in weights.split(LENGTHS)]),
            torch.ones(ROWS, *weights.shape[1:]),
        )


@pytest.mark.parametrize("family", [*load.families(), *LENT])
def test_every_encoder_family_on_single_texts_and_on_pairs(family: str, encoded) -> None:
    """Real hidden states: segments are 0 and 1 in pairs and 0 in single texts. Training reaches all
    of the encoder.
    """
    encoder, _ = encoder_of(family)
    assert isinstance(encoder, HuggingFaceEncoder if family in LENT else Encoder)
    tokens = encoded.tokens
    single = Tokens(
        tokens.ids,
        torch.zeros_like(tokens.segments),
        tokens.positions,
        tokens.offsets,
        tokens.lengths,
    )
    for texts in (tokens, single):
        states = encoder(texts)
        alone = encoder(rows_of(Encoded((), texts), [3]).tokens)
        vectors = []
        for case in CASES:
            pooling = built(case)
            vectors.append(pooling(states))
            assert_close(
                pooling(alone),
                vectors[-1][3:4],
                atol=1e-4,
                rtol=1e-4,
                msg=lambda text, case=case: f"{family} {case}: {text}",
            )
        torch.cat(vectors, dim=1).square().sum().backward()
        grads = {
            name: parameter.grad
            for name, parameter in encoder.named_parameters()
            if parameter.requires_grad
        }
        assert [
            name
            for name, gradient in grads.items()
            if gradient is None or not gradient.isfinite().all()
        ] == []
        encoder.zero_grad()


LOADER = """
import json, sys
import safetensors.torch, torch
from encore import catalogue
from encore.encoder import load
from encore.model.task_model import Branch, TaskModel
from encore.types import Tokens

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
said = json.load(open(f"{folder}/said.json"))
batch = safetensors.torch.load_file(f"{folder}/batch.safetensors")
tokens = Tokens(*(batch[name] for name in ("ids", "segments", "positions", "offsets")), tuple(said["lengths"]))
scores, encoder = {}, load.build_encoder(said["config"])
for number, case in enumerate(said["cases"]):
    pooling = catalogue.build("pooling", case, encoder.shape)
    model = TaskModel([Branch(encoder, pooling)], catalogue.build("heads", "linear", pooling.width, said["scores"]))
    load.fill(model, safetensors.torch.load_file(f"{folder}/{number}.safetensors"), folder)
    with torch.inference_mode():
        scores[str(number)] = model.eval()(tokens).scores
safetensors.torch.save_file(scores, f"{folder}/scores.safetensors")
"""  # noqa: E501


@pytest.mark.parametrize("family", ["bert", *LENT[:1]])
def test_saved_and_loaded_in_a_fresh_process_it_gives_identical_scores(
    family: str, tmp_path: Path, encoded
) -> None:
    encoder, config = encoder_of(family)
    expected: dict[str, Tensor] = {}
    for number, case in enumerate(CASES):
        pooling = built(case)
        model = TaskModel(
            [Branch(encoder, pooling)], catalogue.build("heads", "linear", pooling.width, SCORES)
        ).eval()
        safetensors.torch.save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()},
            tmp_path / f"{number}.safetensors",
        )
        with torch.inference_mode():
            expected[str(number)] = model(encoded.tokens).scores
    batch = {
        name: getattr(encoded.tokens, name) for name in ("ids", "segments", "positions", "offsets")
    }
    safetensors.torch.save_file(batch, tmp_path / "batch.safetensors")
    (tmp_path / "said.json").write_text(
        json.dumps({"cases": CASES, "config": config, "lengths": LENGTHS, "scores": SCORES}),
        encoding="utf-8",
    )
    command = [sys.executable, "-c", LOADER, str(tmp_path), str(torch.get_num_threads())]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(encore.__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    found = safetensors.torch.load_file(tmp_path / "scores.safetensors")
    assert [
        case
        for number, case in enumerate(CASES)
        if not torch.equal(found[str(number)], expected[str(number)])
    ] == []


@pytest.mark.gpu
@each_case
def test_a_gpu_agrees_with_the_processor(case, encoded, gradients) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pooling = built(case)
    out = pooling(encoded)
    expected = gradients(out, encoded.states)
    tokens = encoded.tokens
    there = Tokens(
        *(x.cuda() for x in (tokens.ids, tokens.segments, tokens.positions, tokens.offsets)),
        tokens.lengths,
    )
    states = tuple(state.detach().cuda().requires_grad_() for state in encoded.states)
    moved = pooling.cuda()(Encoded(states, there))
    assert_close(moved.cpu(), out, atol=1e-5, rtol=1e-4)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).cuda()
    found = torch.autograd.grad((moved * direction).sum(), states, allow_unused=True)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert_close(a.cpu(), b, atol=3e-5, rtol=1e-4)
