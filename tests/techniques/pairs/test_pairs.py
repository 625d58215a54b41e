"""Two texts as rows: their order, segments and sides, and the scores of their models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import N_POSITIONS, WIDTH, sentences
from torch import Tensor, nn

from encore import catalogue, rng
from encore.data.batches import collate
from encore.data.token_store import TokenStore, tokenize
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.errors import RecipeError
from encore.model.assembly import TaskSpec, assemble
from encore.model.task_model import TaskModel
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.pairs.cross import Cross
from encore.techniques.pairs.siamese import Siamese
from encore.techniques.pairs.siamese_attend import SiameseAttend
from encore.techniques.pooling.mean import Mean
from encore.techniques.pooling.weighted_layers import WeightedLayers
from encore.training.row_orders import RowOrders
from encore.training.scoring import score_rows, score_together
from encore.training.streams import Rows, Stream
from encore.types import BatchIndex, Encoded, LabelSpace, Phase, Spec, Tokens

ROWS = 13
FIRST, _ = sentences(ROWS, 1)
SECOND, _ = sentences(ROWS, 2)
VALUE, YES_NO = LabelSpace("regression"), LabelSpace("binary", ("no", "yes"))
HOW: dict[str, Any] = {"max_length": 32, "truncation": "head"}


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> TextTokenizer:
    return TextTokenizer(tiny_encoder)


@pytest.fixture(scope="module")
def model_of(tiny_encoder: Path) -> Callable[..., TaskModel]:
    """`model_of(pair, head, pooling=…)`: of the tiny encoder, in eval mode."""
    source = load.locate(str(tiny_encoder))

    def build(
        pair: Spec, head: Spec, *, labels: LabelSpace = VALUE, pooling: str = "mean"
    ) -> TaskModel:
        pretrained = load.load_encoder(source)
        chosen = [{"name": spec} if isinstance(spec, str) else dict(spec) for spec in (head, pair)]
        return assemble(
            {"it": TaskSpec(labels, {"name": pooling}, *chosen)},
            "one",
            pretrained.encoder,
            pretrained.shape,
            seed=1,
        )["it"].eval()

    return build


def rows_of(store: TokenStore, pair: Any, n_rows: int = ROWS) -> Rows:
    return Rows(
        store,
        np.zeros(n_rows, np.float32),
        "file",
        np.arange(n_rows),
        np.ones(n_rows, np.float32),
        pair.n_sides,
        pair.both_orders,
    )


def row(store: TokenStore, number: int) -> list[int]:
    return store.ids[store.offsets[number] : store.offsets[number + 1]].tolist()


# -------------------------------------------------------------------------------------------- cross


def test_cross_holds_the_pairs_in_both_orders_where_either_may_be_wanted(
    tokenizer: TextTokenizer,
) -> None:
    given, swapped = (
        tokenize(tokenizer, FIRST, SECOND, **HOW),
        tokenize(tokenizer, SECOND, FIRST, **HOW),
    )
    assert len(Cross().tokenize(tokenizer, FIRST, SECOND, **HOW)) == ROWS
    for pair in (Cross(order="random"), Cross(eval_order="both")):
        store = pair.tokenize(tokenizer, FIRST, SECOND, **HOW)
        assert [row(store, number) for number in range(2 * ROWS)] == [
            row(each, number) for each in (given, swapped) for number in range(ROWS)
        ]
        rows = rows_of(store, pair)
        turned = np.arange(ROWS) % 2 == 1
        assert rows.at(np.arange(ROWS), turned).tolist() == [
            number + ROWS * (number % 2) for number in range(ROWS)
        ]
        assert rows.lengths.tolist() == given.lengths.tolist()
    single = Cross(order="random").tokenize(tokenizer, FIRST, None, **HOW)
    assert len(single) == ROWS


def test_segments_are_the_family_s_or_0(tokenizer: TextTokenizer) -> None:
    assert set(Cross().tokenize(tokenizer, FIRST, SECOND, **HOW).segments.tolist()) == {0, 1}
    zero = Cross(segments="zero").tokenize(tokenizer, FIRST, SECOND, **HOW)
    assert not zero.segments.any()
    assert zero.ids.tolist() == Cross().tokenize(tokenizer, FIRST, SECOND, **HOW).ids.tolist()


def test_the_order_is_drawn_each_time_a_pair_is_met(tokenizer: TextTokenizer) -> None:
    pair = Cross(order="random")
    texts, _ = sentences(400, 3)
    rows = rows_of(pair.tokenize(tokenizer, texts, texts[::-1], **HOW), pair, 400)
    stream = Stream("it", VALUE, rows, {}, (), {}, random_order=True)
    phase = Phase(("it",), epochs=9, lr=1.0, batch_size=400, curve=ConstantCurve())

    def turned(order: int, seed: int = 4, stream: Stream = stream) -> dict[int, bool]:
        examples, swapped = RowOrders({"it": stream}, phase, seed).rows(BatchIndex("it", order, 0))
        assert swapped is not None
        return dict(zip(examples.tolist(), swapped.tolist(), strict=True))

    found = [turned(order) for order in range(9)]
    assert abs(np.mean([list(each.values()) for each in found]) - 0.5) < 4 * math.sqrt(
        0.25 / 3600
    )  # four standard errors
    assert found[2] == turned(2)
    assert found[0] != found[1]
    assert found[0] != turned(0, seed=5)
    assert {len({each[number] for each in found}) for number in range(20)} == {2}
    twin = RowOrders({"twin": stream}, phase, 4).rows(BatchIndex("twin", 0, 0))[1]
    own, of_rows = (
        rng.generator(4, *purpose).random(400) < 0.5
        for purpose in (("pair order", "it", 0), ("order", "it", 0))
    )
    assert sorted(found[0].values()) == sorted(own.tolist())
    for other in (twin, of_rows):  # neither another task's nor that in which the rows come
        assert other is not None
        assert 0.4 < np.mean(other == own) < 0.6
    plain = replace(stream, random_order=False)
    assert RowOrders({"it": plain}, phase, 4).rows(BatchIndex("it", 0, 0))[1] is None


def test_the_mean_over_both_orders_is_symmetric(
    tokenizer: TextTokenizer, model_of: Callable[..., TaskModel]
) -> None:
    model = model_of("cross", "linear")
    pair = Cross(eval_order="both")
    there, back = (
        rows_of(pair.tokenize(tokenizer, *sides, **HOW), pair)
        for sides in ((FIRST, SECOND), (SECOND, FIRST))
    )
    both = score_rows(model, there, VALUE)
    np.testing.assert_allclose(both, score_rows(model, back, VALUE), atol=1e-6)
    given = [
        score_rows(model, rows_of(Cross().tokenize(tokenizer, *sides, **HOW), Cross()), VALUE)
        for sides in ((FIRST, SECOND), (SECOND, FIRST))
    ]
    assert not np.allclose(given[0], given[1], atol=1e-4)
    np.testing.assert_allclose(both, (given[0] + given[1]) / 2, atol=1e-6)


# ------------------------------------------------------------------------------------------ siamese


def test_the_sides_of_an_example_lie_side_by_side(tokenizer: TextTokenizer) -> None:
    store = Siamese().tokenize(tokenizer, FIRST, SECOND, **HOW)
    first, second = tokenize(tokenizer, FIRST, **HOW), tokenize(tokenizer, SECOND, **HOW)
    assert [row(store, number) for number in range(2 * ROWS)] == [
        row(each, number) for each in (first, second) for number in range(ROWS)
    ]
    rows = rows_of(store, Siamese())
    assert rows.at(np.array([4, 0])).tolist() == [4, 4 + ROWS, 0, ROWS]
    assert rows.lengths.tolist() == (first.lengths + second.lengths).tolist()
    assert not store.segments.any()


def test_a_text_too_long_on_either_side_is_one_example_cut(tokenizer: TextTokenizer) -> None:
    store = Siamese().tokenize(
        tokenizer, ["a " * 50, "a", "a " * 50], ["a", "a " * 50, "b " * 50], **HOW
    )
    assert rows_of(store, Siamese(), 3).n_cut == 3
    assert store.n_cut == 4


@pytest.mark.parametrize("head", ["siamese_cosine", "siamese_concat"])
def test_scores_are_those_of_each_pair_by_itself(
    head: str, tokenizer: TextTokenizer, model_of: Callable[..., TaskModel]
) -> None:
    model = model_of("siamese", head)
    rows = rows_of(Siamese().tokenize(tokenizer, FIRST, SECOND, **HOW), Siamese())
    found = score_rows(model, rows, VALUE)
    with torch.no_grad():
        np.testing.assert_allclose(
            found, model(collate(rows.store, rows.at(np.arange(ROWS)))).scores.numpy(), atol=1e-5
        )
    for number in range(ROWS):
        alone = [
            collate(tokenize(tokenizer, [texts[number]], **HOW), np.array([0]))
            for texts in (FIRST, SECOND)
        ]
        with torch.no_grad():
            sides = [model.head.embed(model.vectors(tokens)[0]) for tokens in alone]
            np.testing.assert_allclose(
                found[number], model.head.score(*sides)[0].numpy(), atol=1e-5
            )
            together = model(
                collate(
                    Siamese().tokenize(tokenizer, [FIRST[number]], [SECOND[number]], **HOW),
                    np.array([0, 1]),
                )
            )
        np.testing.assert_allclose(found[number], together.scores[0].numpy(), atol=1e-5)


def test_each_distinct_text_is_computed_once(
    tokenizer: TextTokenizer, model_of: Callable[..., TaskModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 rows of 3 and 2 different texts, of which one is in both columns."""
    texts, others = (
        [FIRST[number % 3] for number in range(ROWS)],
        [(FIRST[0], SECOND[0])[number % 2] for number in range(ROWS)],
    )
    model = model_of("siamese", "siamese_cosine")
    seen: list[int] = []
    encoder: Any = model.branches[0].encoder
    run = type(encoder).embedded
    monkeypatch.setattr(
        type(encoder),
        "embedded",
        lambda self, tokens: seen.append(tokens.n_rows) or run(self, tokens),
    )
    score_rows(
        model, rows_of(Siamese().tokenize(tokenizer, texts, others, **HOW), Siamese()), VALUE
    )
    assert sum(seen) == 4


def test_several_tasks_on_the_same_pairs(
    tokenizer: TextTokenizer, model_of: Callable[..., TaskModel]
) -> None:
    one, other = (
        model_of("siamese", "siamese_cosine"),
        model_of("siamese", "siamese_dot", labels=YES_NO),
    )
    rows = rows_of(Siamese().tokenize(tokenizer, FIRST, SECOND, **HOW), Siamese())
    found = score_together({"one": one, "other": other}, rows, {"one": 1, "other": 2})
    assert np.array_equal(found["one"], score_rows(one, rows, VALUE))
    assert np.array_equal(found["other"], score_rows(other, rows, YES_NO))
    nothing = rows_of(Siamese().tokenize(tokenizer, [], [], **HOW), Siamese(), 0)
    assert score_rows(one, nothing, VALUE).shape == (0, 1)


@pytest.mark.parametrize(
    ("pair", "head", "rows"),
    [
        ("siamese", "siamese_cosine", 2 * ROWS),
        ({"name": "cross", "eval_order": "both"}, "linear", 2 * ROWS),
    ],
)
def test_what_tasks_share_is_run_once_for_each_text(
    pair: Spec, head: str, rows: int, tiny_encoder: Path, tokenizer: TextTokenizer
) -> None:
    """Of two layers the lower one is shared: it is run for no more rows where two tasks are asked
    than where one is.
    """
    pretrained = load.load_encoder(load.locate(str(tiny_encoder)))
    chosen = {"name": pair} if isinstance(pair, str) else pair
    own = {
        name: TaskSpec(VALUE, {"name": "mean"}, {"name": head}, chosen) for name in ("one", "other")
    }
    models = assemble(
        own, {"name": "branch", "own_layers": 1}, pretrained.encoder, pretrained.shape, seed=1
    )
    counted: dict[str, int] = {}
    for name, model in models.items():
        encoder: Any = model.branches[0].encoder
        for depth, block in enumerate(encoder.blocks):
            place = "shared" if depth == 0 else name
            if block.forward.__name__ != "watched":

                def watched(
                    x: Tensor, given: Tokens, *, place: str = place, run: Any = block.forward
                ) -> Tensor:
                    counted[place] = counted.get(place, 0) + given.n_rows
                    return run(x, given)

                block.forward = watched
    pairing = catalogue.build("pairs", chosen)
    score_together(
        models,
        rows_of(pairing.tokenize(tokenizer, FIRST, SECOND, **HOW), pairing),
        {"one": 1, "other": 1},
    )
    assert counted == {"shared": rows, "one": rows, "other": rows}


# ----------------------------------------------------------------------------------- siamese_attend


def test_it_begins_as_siamese(tokenizer: TextTokenizer, model_of: Callable[..., TaskModel]) -> None:
    for pooling in ("mean", "pooler", "cls"):
        found = []
        for pair in ({"name": "siamese_attend", "n_heads": 3}, "siamese"):
            model = model_of(pair, "siamese_concat", pooling=pooling)
            found.append(
                score_rows(
                    model,
                    rows_of(Siamese().tokenize(tokenizer, FIRST, SECOND, **HOW), Siamese()),
                    VALUE,
                )
            )
        np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def attention_of(x: Tensor, y: Tensor, layers: Any, n_heads: int) -> Tensor:
    """One pair, one head and one token after the other: x + W_o·MultiHead(x, y, y)."""
    size = x.shape[1] // n_heads
    q, k, v = layers.query(x), layers.key(y), layers.value(y)
    lines = []
    for token in range(len(x)):
        mixed = []
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            powers = [
                math.exp(float((q[token, part] @ k[other, part]).detach()) / math.sqrt(size))
                for other in range(len(y))
            ]
            mixed.append(
                sum(power / sum(powers) * v[other, part] for other, power in enumerate(powers))
            )
        lines.append(torch.cat(mixed))
    return x + layers.out(torch.stack(lines))


def attended() -> Any:
    shape = load.Shape(WIDTH, 2, 3)
    pooling = SiameseAttend(n_heads=3).attend(Mean(shape), WIDTH)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
    return pooling


def ragged(lengths: tuple[int, ...]) -> Tokens:
    positions = torch.cat([torch.arange(length) for length in lengths])
    return Tokens(
        positions,
        torch.zeros_like(positions),
        positions,
        torch.tensor([0, *np.cumsum(lengths)]),
        lengths,
    )


def test_every_token_asks_the_tokens_of_the_other_text() -> None:
    lengths = (3, 18, 7, 2, 5, 5)
    pooling, x = (
        attended(),
        torch.randn(sum(lengths), WIDTH, generator=torch.Generator().manual_seed(3)),
    )
    found = pooling.attended(x, ragged(lengths)).split(lengths)
    parts = x.split(lengths)
    for number in range(len(lengths)):
        torch.testing.assert_close(
            found[number],
            attention_of(parts[number], parts[number ^ 1], pooling, 3),
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_pair_alone_is_computed_as_in_a_batch() -> None:
    lengths = (3, 18, 7, 2, 5, 5)
    pooling, x = (
        attended(),
        torch.randn(sum(lengths), WIDTH, generator=torch.Generator().manual_seed(3)),
    )
    together = pooling.finish(x, ragged(lengths))
    parts = x.split(lengths)
    for number in (0, 2, 4):
        alone = pooling.finish(
            torch.cat(parts[number : number + 2]), ragged(lengths[number : number + 2])
        )
        torch.testing.assert_close(alone, together[number : number + 2], rtol=1e-6, atol=1e-6)


def test_the_pooling_behind_it_finds_every_layer_in_its_place() -> None:
    lengths = (3, 9, 4, 2)
    draw = torch.Generator().manual_seed(5)
    states = tuple(torch.randn(sum(lengths), WIDTH, generator=draw).bfloat16() for _ in range(3))
    pooling = SiameseAttend(n_heads=3).attend(WeightedLayers(load.Shape(WIDTH, 2, 3)), WIDTH)
    with torch.no_grad():
        pooling.inner.logits.copy_(torch.tensor([2.0, -1.0]))
        for linear in (pooling.query, pooling.key, pooling.value, pooling.out):
            linear.weight.copy_(torch.randn(linear.weight.shape, generator=draw) * 0.3)
    tokens = ragged(lengths)
    found = pooling(Encoded(states, tokens))
    seen = (None, *(pooling.attended(state.float(), tokens) for state in states[1:]))
    torch.testing.assert_close(found, pooling.inner(Encoded(seen, tokens)))
    assert not torch.allclose(
        found, pooling.inner(Encoded((None, *seen[:0:-1]), tokens)), atol=1e-2
    )


def test_its_projections_start_small() -> None:
    pooling = SiameseAttend(n_heads=3).attend(Mean(load.Shape(WIDTH, 2, 3)), WIDTH)
    for linear in (pooling.query, pooling.key, pooling.value):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not linear.bias.any()


def test_every_weight_of_the_layer_is_trained_once_it_has_moved() -> None:
    pooling = attended()
    pooling.finish(torch.randn(8, WIDTH), ragged((3, 5))).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pooling.parameters())
    assert not [
        name for name, p in pooling.named_parameters() if not p.grad.any() and name != "key.bias"
    ]
    assert sum(p.numel() for p in pooling.parameters()) == 4 * (WIDTH**2 + WIDTH)
    assert isinstance(pooling, nn.Module)


def test_heads_have_to_divide_the_width() -> None:
    with pytest.raises(
        RecipeError, match=f"n_heads: expected a divisor of the encoder's width {WIDTH}, got 7"
    ):
        SiameseAttend(n_heads=7).attend(Mean(load.Shape(WIDTH, 2, 3)), WIDTH)
    with pytest.raises(RecipeError, match="n_heads: expected a whole number of at least 1"):
        catalogue.build("pairs", {"name": "siamese_attend", "n_heads": 0})


def test_there_are_three_ways() -> None:
    assert set(catalogue.names("pairs")) >= {"cross", "siamese", "siamese_attend"}
    assert HOW["max_length"] < N_POSITIONS
