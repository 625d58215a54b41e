"""Heads for two texts: hand-computed cases, a slow loop for each formula, and what happens where u
= v.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from encore.encoder.dropout import Dropout
from encore.errors import RecipeError
from encore.techniques.heads.cosine_threshold import CosineThreshold
from encore.techniques.heads.fcn_paraphrase import FcnParaphrase
from encore.techniques.heads.fcn_sentiment import FcnSentiment
from encore.techniques.heads.fcn_similarity import FcnSimilarity
from encore.techniques.heads.linear import LinearHead
from encore.techniques.heads.siamese_concat import SiameseConcat
from encore.techniques.heads.siamese_cosine import SiameseCosine
from encore.techniques.heads.siamese_dot import SiameseDot

ROWS, WIDTH = 5, 7


def vectors(seed: int, rows: int = ROWS, width: int = WIDTH) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def dot(u: list[float], v: list[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def cosine(u: list[float], v: list[float]) -> float:
    return dot(u, v) / math.sqrt(dot(u, u) * dot(v, v))


def lined(layer: torch.nn.Linear, x: list[float]) -> list[float]:
    return [
        dot(row, x) + bias
        for row, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# -------------------------------------------------------------------------------------- dot, cosine


def test_dot_is_a_loop_and_cannot_call_identical_texts_different() -> None:
    head = SiameseDot(WIDTH, 2, size=3).eval()
    u, v = vectors(1), vectors(2)
    scores = head.score(head.embed(u), head.embed(v))
    expected = [
        dot(lined(head.down, a), lined(head.down, b))
        for a, b in zip(u.tolist(), v.tolist(), strict=True)
    ]
    assert scores[:, 1].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert not scores[:, 0].any()
    assert (head.score(head.embed(u), head.embed(u))[:, 1] >= 0).all()
    assert count(SiameseDot(768, 2)) == 24_608


@pytest.mark.parametrize(
    ("train", "settings", "value", "moves"),
    [
        (True, {}, 0.0, False),
        (False, {}, 0.0, False),
        (True, {"clamp_train": False}, -5.0, True),
        (False, {"clamp_train": False}, 0.0, False),
        (True, {"clamp": False}, -5.0, True),
        (False, {"clamp": False}, -5.0, True),
    ],
)
def test_cosine_below_0(train: bool, settings: dict[str, bool], value: float, moves: bool) -> None:
    """METHODS 4.8: cut to 0 by the paper, in training too, which takes the gradient away."""
    head = SiameseCosine(2, 1, **settings).train(train)
    u, v = torch.tensor([[1.0, 0.01]], requires_grad=True), torch.tensor([[-1.0, 0.0]])
    score = head.score(head.embed(u), head.embed(v))
    score.sum().backward()
    assert score.item() == pytest.approx(value, abs=1e-3)
    assert u.grad is not None
    assert bool(u.grad.any()) == moves


def test_cosine_by_hand_and_as_sentence_transformers_computes_it() -> None:
    """METHODS 4.8: cos 0.6 is 3.0, whose squared error is 4 where 5 is right. SBERT: a product of
    two normalised matrices.
    """
    head = SiameseCosine(2, 1)
    assert head.score(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    ).item() == pytest.approx(3.0)
    u, v = vectors(1), vectors(2)
    normal = torch.nn.functional.normalize
    sbert = (normal(u, dim=1) * normal(v, dim=1)).sum(dim=1)
    torch.testing.assert_close(
        SiameseCosine(WIDTH, 1, clamp=False).score(u, v).squeeze(1), 5 * sbert
    )
    expected = [5 * cosine(a, b) for a, b in zip(u.tolist(), v.tolist(), strict=True)]
    assert SiameseCosine(WIDTH, 1, clamp=False).score(u, v)[:, 0].tolist() == pytest.approx(
        expected, abs=1e-5
    )
    assert torch.equal(SiameseCosine(WIDTH, 1).score(u, v), SiameseCosine(WIDTH, 1).score(v, u))
    torch.testing.assert_close(
        SiameseCosine(WIDTH, 1, scale=2.0).score(u, v) / 2, SiameseCosine(WIDTH, 1).score(u, v) / 5
    )


def test_the_cosine_of_identical_texts_is_the_scale_and_that_of_nothing_is_0() -> None:
    head = SiameseCosine(WIDTH, 1, size=32, clamp=False).eval()
    u = head.embed(vectors(3))
    assert head.score(u, u)[:, 0].tolist() == pytest.approx([5.0] * ROWS, abs=1e-5)
    zero = torch.zeros(1, WIDTH, requires_grad=True)
    score = SiameseCosine(WIDTH, 1).score(zero, vectors(1)[:1])
    score.sum().backward()
    assert score.item() == 0
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
    assert count(SiameseCosine(768, 1, size=32)) == 24_608
    assert count(SiameseCosine(768, 1)) == 0


def test_threshold() -> None:
    u, v = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.6, 0.8], [-1.0, 0.0], [0.0, 1.0]])
    assert CosineThreshold(2, 2).score(u, v).argmax(dim=1).tolist() == [1, 0, 0]
    assert CosineThreshold(2, 2, threshold=0.7).score(u, v).argmax(dim=1).tolist() == [0, 0, 0]
    assert CosineThreshold(2, 2).score(u, v)[:, 1].tolist() == pytest.approx([0.6, -1, 0])


# ------------------------------------------------------------------------------------------- concat


def slow_part(name: str, u: list[float], v: list[float]) -> list[float]:
    difference = [a - b for a, b in zip(u, v, strict=True)]
    length = max(math.sqrt(dot(difference, difference)), 1e-8)
    return {
        "u": u,
        "v": v,
        "n": [a / length for a in difference],
        "difference": [abs(a) for a in difference],
        "product": [a * b for a, b in zip(u, v, strict=True)],
    }[name]


@pytest.mark.parametrize(
    "parts", [("u", "v"), ("u", "v", "n"), ("u", "v", "difference", "product")]
)
def test_concat_is_a_loop(parts: tuple[str, ...]) -> None:
    head = SiameseConcat(WIDTH, 3, parts=parts).eval()  # type: ignore[arg-type]
    u, v = vectors(1), vectors(2)
    expected = [
        lined(
            head.out, list(itertools.chain.from_iterable(slow_part(name, a, b) for name in parts))
        )
        for a, b in zip(u.tolist(), v.tolist(), strict=True)
    ]
    torch.testing.assert_close(head.score(u, v), torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert count(head) == (len(parts) * WIDTH + 1) * 3


@pytest.mark.parametrize("scale", [0.0, 1e-12])
def test_where_both_are_the_same_n_is_0_and_so_is_its_gradient(scale: float) -> None:
    u = vectors(1).requires_grad_()
    v = (vectors(1) + scale).requires_grad_()
    head = SiameseConcat(WIDTH, 2, parts=("n",), dropout=0.0)
    scores = head.score(u, v)
    torch.testing.assert_close(scores, head.out.bias.expand(ROWS, 2))
    scores.sum().backward()
    assert not u.grad.any()  # type: ignore[union-attr]
    assert not v.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("length", "factor"), [(1e-9, 0.1), (0.9e-8, 0.9), (1.1e-8, 1.0), (1e-3, 1.0)]
)
def test_a_short_difference_is_divided_by_no_less_than_1e_8(length: float, factor: float) -> None:
    """METHODS 4.2, with vectors so short themselves that float32 can tell them apart."""
    head = SiameseConcat(2, 2, parts=("n",), dropout=0.0)
    u = torch.tensor([[0.6 * length, 0.0]], requires_grad=True)
    scores = head.score(u, torch.tensor([[0.0, 0.8 * length]]))
    torch.testing.assert_close(
        scores - head.out.bias, factor * (torch.tensor([[0.6, -0.8]]) @ head.out.weight.T)
    )
    scores[0, 0].backward()
    assert u.grad is not None
    assert bool(u.grad.any()) == (factor == 1)


def test_every_part_has_a_finite_gradient_where_both_are_the_same() -> None:
    u = vectors(1).requires_grad_()
    head = SiameseConcat(WIDTH, 2, parts=("u", "v", "n", "difference", "product"), dropout=0.0)
    head.score(u, u.detach().clone()).sum().backward()
    assert u.grad is not None
    assert u.grad.isfinite().all()
    assert u.grad.abs().max() < 10


def test_parts_are_each_once() -> None:
    for parts in ((), ("u", "u")):
        with pytest.raises(RecipeError, match="parts: expected one or more of u, v, n"):
            SiameseConcat(WIDTH, 2, parts=parts)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- layers that are shared


def relu(x: list[float]) -> list[float]:
    return [max(a, 0.0) for a in x]


@pytest.mark.parametrize(
    ("size", "total"),
    [
        ({"size": 256}, 1_315_334),
        ({}, 1_315_334),
        ({"compat": "gen"}, 624_902),
        ({"size": 128}, 624_902),
    ],
)
def test_the_suite_has_the_parameters_that_methods_counts(
    size: dict[str, object], total: int
) -> None:
    heads = [
        FcnSentiment(768, 5, **size),
        FcnParaphrase(768, 2, **size),
        FcnSimilarity(768, 1, **size),
    ]  # type: ignore[arg-type]
    for head in heads[1:]:
        head.shared = heads[0].shared
    assert sum({id(p): p.numel() for head in heads for p in head.parameters()}.values()) == total


def shared_by_hand(
    head: FcnSentiment | FcnParaphrase | FcnSimilarity, x: list[float], kept: float
) -> list[float]:
    return lined(head.shared.down, times(kept, relu(lined(head.shared.up, x))))


@pytest.fixture(params=[1.0, 3.0])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """A factor for everything that passes through dropout: where it stands is seen by
    numbers.
    """
    monkeypatch.setattr(Dropout, "forward", lambda self, values: request.param * values)
    return float(request.param)


def times(factor: float, x: list[float]) -> list[float]:
    return [factor * a for a in x]


def test_dropout_stands_in_front_of_the_linear_layer(kept: float) -> None:
    u, v = vectors(1), vectors(2)
    dots, cosines, concat = (
        SiameseDot(WIDTH, 2, size=3),
        SiameseCosine(WIDTH, 1, size=3, clamp=False),
        SiameseConcat(WIDTH, 3),
    )
    for row, (x, y) in enumerate(zip(u.tolist(), v.tolist(), strict=True)):
        expected = dot(*(lined(dots.down, times(kept, one)) for one in (x, y)))
        assert dots.score(dots.embed(u), dots.embed(v))[row, 1].item() == pytest.approx(
            expected, rel=1e-4, abs=1e-5
        )
        expected = 5 * cosine(*(lined(cosines.down, times(kept, one)) for one in (x, y)))  # type: ignore[arg-type]
        assert cosines.score(cosines.embed(u), cosines.embed(v))[row].item() == pytest.approx(
            expected, rel=1e-4, abs=1e-5
        )
        both = itertools.chain.from_iterable(
            slow_part(name, x, y) for name in ("u", "v", "difference", "product")
        )
        assert concat.score(concat.embed(u), concat.embed(v))[row].tolist() == pytest.approx(
            lined(concat.out, times(kept, list(both))), rel=1e-4, abs=1e-5
        )


def test_its_rate_is_the_recipe_s_or_the_paper_s() -> None:
    """METHODS 4.12: 0.3 for the dot product; texts and pairs that are apart draw masks of their
    own.
    """
    assert (
        SiameseDot(WIDTH, 2).dropout.p,
        SiameseConcat(WIDTH, 2).dropout.p,
        SiameseCosine(WIDTH, 1).dropout.p,
    ) == (0.3, 0.1, 0.0)
    heads = [
        kind(WIDTH, n, dropout=0.4)
        for kind, n in ((SiameseDot, 2), (SiameseCosine, 1), (SiameseConcat, 2))
    ]  # type: ignore[operator]
    heads += [
        kind(WIDTH, n, dropout=0.4)
        for kind, n in ((FcnSentiment, 5), (FcnParaphrase, 2), (FcnSimilarity, 1))
    ]  # type: ignore[operator]
    assert {
        module.p for head in heads for module in head.modules() if isinstance(module, Dropout)
    } == {0.4}


def test_the_wiring_is_that_of_methods_4_13(kept: float) -> None:
    u, v = vectors(1), vectors(2)
    classes, paraphrase, similarity = (
        FcnSentiment(WIDTH, 5, size=3).eval(),
        FcnParaphrase(WIDTH, 2, size=3).eval(),
        FcnSimilarity(WIDTH, 1, size=3).eval(),
    )
    for row, (x, y) in enumerate(zip((kept * u).tolist(), (kept * v).tolist(), strict=True)):
        expected = lined(
            classes.out, relu([*lined(classes.own, x), *shared_by_hand(classes, x, kept)])
        )
        assert classes.score(classes.embed(u))[row].tolist() == pytest.approx(
            expected, rel=1e-4, abs=1e-6
        )
        products = [
            a * b
            for a, b in zip(lined(paraphrase.product, x), lined(paraphrase.product, y), strict=True)
        ]
        both = lined(paraphrase.both, times(kept, [*x, *y, *products]))
        shared = [
            a * b
            for a, b in zip(*(shared_by_hand(paraphrase, one, kept) for one in (x, y)), strict=True)
        ]
        (logit,) = lined(paraphrase.out, relu([*shared, *both]))
        assert paraphrase.score(paraphrase.embed(u), paraphrase.embed(v))[
            row
        ].tolist() == pytest.approx([0.0, logit], rel=1e-4, abs=1e-6)
        embedded = [
            [*lined(similarity.own, one), *shared_by_hand(similarity, one, kept)] for one in (x, y)
        ]
        assert similarity.score(similarity.embed(u), similarity.embed(v))[
            row
        ].item() == pytest.approx(5 * cosine(*embedded), rel=1e-4, abs=1e-6)
    other = FcnSimilarity(WIDTH, 1, size=3, scale=2.0)
    other.load_state_dict(similarity.state_dict())
    torch.testing.assert_close(
        other.score(*map(other.embed, (u, v))) / 2,
        similarity.score(*map(similarity.embed, (u, v))) / 5,
    )
    same = similarity.embed(u)
    assert similarity.score(same, same)[:, 0].tolist() == pytest.approx([5.0] * ROWS, abs=1e-5)
    swapped = paraphrase.score(paraphrase.embed(v), paraphrase.embed(u))
    assert not torch.allclose(
        swapped, paraphrase.score(paraphrase.embed(u), paraphrase.embed(v))
    )  # the plain vectors have an order


def test_without_the_shared_layers_paraphrase_is_linear_on_vectors_and_products() -> None:
    head = FcnParaphrase(WIDTH, 2, size=3, share=False).eval()
    u, v = vectors(1), vectors(2)
    x, y = u[0].tolist(), v[0].tolist()
    products = [a * b for a, b in zip(lined(head.product, x), lined(head.product, y), strict=True)]
    assert head.score(head.embed(u), head.embed(v))[0, 1].item() == pytest.approx(
        lined(head.out, [*x, *y, *products])[0], rel=1e-4
    )


def test_a_paraphrase_batch_reaches_its_own_layers_and_the_shared_ones_and_no_others() -> None:
    heads = (
        FcnSentiment(WIDTH, 5, size=3),
        FcnParaphrase(WIDTH, 2, size=3),
        FcnSimilarity(WIDTH, 1, size=3),
    )
    for head in heads:
        head.shared = heads[0].shared
    heads[1].score(heads[1].embed(vectors(1)), heads[1].embed(vectors(2)))[:, 1].sum().backward()
    reached = [
        sorted(name for name, p in head.named_parameters() if p.grad is not None) for head in heads
    ]
    shared = [f"shared.{layer}.{part}" for layer in ("down", "up") for part in ("bias", "weight")]
    assert reached[0] == reached[2] == shared
    assert reached[1] == sorted(
        [
            *shared,
            *(
                f"{layer}.{part}"
                for layer in ("product", "both", "out")
                for part in ("bias", "weight")
            ),
        ]
    )


# ---------------------------------------------------------------------------------------- one logit


def test_one_logit_is_binary_cross_entropy() -> None:
    """SerBERTus' one output: softmax over (0, z) has the loss that sigmoid of z has with binary
    cross-entropy.
    """
    head = LinearHead(WIDTH, 2, one_logit=True).eval()
    targets = torch.tensor([0, 1, 1, 0, 1])
    scores = head.score(vectors(1))
    logit = torch.tensor([lined(head.out, x)[0] for x in vectors(1).tolist()])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, targets.float())
    torch.testing.assert_close(torch.nn.functional.cross_entropy(scores, targets), expected)
    assert count(head) == WIDTH + 1
    with pytest.raises(
        RecipeError, match="one_logit: expected a task of two classes, got 3 scores"
    ):
        LinearHead(WIDTH, 3, one_logit=True)
