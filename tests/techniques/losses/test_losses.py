"""Every loss is a sum and a weight: it does not matter how a batch is cut, and each formula is
checked against a slow one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from conftest import Tables
from sklearn.metrics.pairwise import cosine_similarity
from small_model import taught
from torch import Tensor

from encore import catalogue
from encore.data.batches import collate
from encore.encoder import dropout
from encore.errors import RecipeError
from encore.runs.prepare import build_models
from encore.techniques.losses.binary_cross_entropy import BinaryCrossEntropy
from encore.techniques.losses.cosine_embedding import CosineEmbedding
from encore.techniques.losses.cross_entropy import CrossEntropy
from encore.techniques.losses.focal import Focal
from encore.techniques.losses.mnr import Mnr
from encore.techniques.losses.mse import Mse
from encore.techniques.losses.r_drop import RDrop
from encore.techniques.losses.simcse import Simcse
from encore.techniques.losses.uncertainty import Uncertainty
from encore.techniques.losses.weighted_mnr import WeightedMnr
from encore.types import Batch, LabelSpace, LossTerm, Output, TaskKind, Tokens

NAMES = catalogue.names("losses")
ROWS = 7
LABELS: dict[TaskKind, LabelSpace] = {
    "binary": LabelSpace("binary", ("no", "yes")),
    "multiclass": LabelSpace("multiclass", ("a", "b", "c", "d", "e")),
    "multilabel": LabelSpace("multilabel", ("x", "y", "z")),
    "regression": LabelSpace("regression"),
    "unlabelled": LabelSpace("unlabelled"),
}
# Tried by hand, here, in test_smart.py or in adapters/test_fusion.py.
ELSEWHERE = {"smart", "weighted_mnr", "fusion_values"}
CASES = [
    (name, kind)
    for name in NAMES
    if name not in ELSEWHERE
    for loss in [catalogue.find("losses", name)]
    for kind in (*loss.kinds, *(() if loss.couples_rows else loss.joins))
]


def batch_of(
    kind: TaskKind, *, weights: Tensor | None = None, seed: int = 0
) -> tuple[Batch, Output]:
    """Random scores and targets of seven rows, with weights that differ."""
    draw = torch.Generator().manual_seed(seed)
    labels = LABELS[kind]
    scores = torch.randn(
        ROWS, labels.n_scores or 4, generator=draw
    )  # without labels, those of the head that the task borrows
    if kind == "multilabel":
        targets = torch.randint(2, (ROWS, labels.n_scores), generator=draw).float()
    elif kind == "regression":
        targets = torch.randn(ROWS, generator=draw)
    elif kind == "unlabelled":
        targets = torch.zeros(ROWS)
    else:
        targets = torch.randint(labels.n_scores, (ROWS,), generator=draw)
    tokens = Tokens(
        torch.arange(ROWS),
        torch.zeros(ROWS, dtype=torch.long),
        torch.zeros(ROWS, dtype=torch.long),
        torch.arange(ROWS + 1),
        (1,) * ROWS,
    )
    weights = torch.rand(ROWS, generator=draw) + 0.5 if weights is None else weights
    return Batch("task", "digest", np.arange(ROWS), tokens, targets, weights), output_of(scores)


def output_of(scores: Tensor) -> Output:
    """With embeddings of two texts, at an angle to each other that is below 90 degrees."""
    return Output(scores, (scores, scores + 0.3 * scores.flip(1)))


def loss_for(name: str, kind: TaskKind) -> Any:
    """With its defaults; a task without labels has no loss that would be weighted by default."""
    loss = catalogue.build(
        "losses",
        {"name": name, "of": "simcse"} if (name, kind) == ("uncertainty", "unlabelled") else name,
        LABELS[kind],
    )
    return taught(loss, LABELS[kind], n_scores=4, n_rows=ROWS)


def value_of(loss: Any, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
    """As a step asks for it: what is drawn is the same each time. The model says something else of
    the same texts when it is asked again.
    """
    with dropout.drawing(seed=0, step=1):
        found: tuple[Tensor, Tensor] = loss(
            lambda _: output_of(0.9 * output.scores + 0.1), batch, output
        )
    return found


def part(batch: Batch, output: Output, rows: slice) -> tuple[Batch, Output]:
    numbers = range(ROWS)[rows]
    cut = Batch(
        batch.task,
        batch.digest,
        batch.rows[rows],
        batch.tokens,
        batch.targets[rows],
        batch.weights[rows],
    )
    assert len(cut.rows) == len(numbers)
    return cut, output_of(output.scores[rows])


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_batch_is_the_sum_of_its_parts(name: str, kind: TaskKind) -> None:
    loss = loss_for(name, kind)
    batch, output = batch_of(kind)
    total, weight = value_of(loss, batch, output)
    parts = [value_of(loss, *part(batch, output, rows)) for rows in (slice(0, 2), slice(2, 7))]
    same = torch.allclose(total, sum((value for value, _ in parts), torch.zeros(())))
    assert same != loss.couples_rows, (
        "a loss that compares the rows of a batch says so, and no other does"
    )
    torch.testing.assert_close(weight, sum(value for _, value in parts))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_weight_is_known_from_the_batch_alone(name: str, kind: TaskKind) -> None:
    loss = loss_for(name, kind)
    batch, output = batch_of(kind)
    torch.testing.assert_close(loss.weight(batch), value_of(loss, batch, output)[1], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_row_of_weight_3_counts_like_three_rows(name: str, kind: TaskKind) -> None:
    loss = loss_for(name, kind)
    batch, output = batch_of(kind, weights=torch.ones(ROWS))
    heavy, alone = (
        replace(batch, weights=torch.tensor(weights))
        for weights in ([3.0, 1, 1, 1, 1, 1, 1], [1.0, 0, 0, 0, 0, 0, 0])
    )
    (plain, weight), (weighted, heavier), (first, _) = (
        value_of(loss, each, output) for each in (batch, heavy, alone)
    )
    torch.testing.assert_close(weighted, plain + 2 * first)
    assert (weight.item(), heavier.item()) == (ROWS, ROWS + 2)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_nothing_is_edited_and_every_row_gets_a_gradient(name: str, kind: TaskKind) -> None:
    loss = loss_for(name, kind)
    batch, output = batch_of(kind)
    before = [batch.targets.clone(), batch.weights.clone(), output.scores.clone()]
    scores = output.scores.requires_grad_()
    value_of(loss, batch, output_of(scores))[0].backward()
    assert all(
        torch.equal(*pair)
        for pair in zip(before, [batch.targets, batch.weights, scores.detach()], strict=True)
    )
    assert scores.grad is not None
    assert scores.grad.abs().sum(dim=1).gt(0).all()


def slow(
    kind: TaskKind,
    scores: list[list[float]],
    targets: list[Any],
    weights: list[float],
    smoothing: float = 0.0,
    factor: float = 1.0,
) -> float:
    """One row after the other, with nothing but `math`."""
    total = 0.0
    for row, target, weight in zip(scores, targets, weights, strict=True):
        if kind == "regression":
            total += weight * (row[0] - target) ** 2 * factor
        elif kind == "multilabel":
            chances = [1 / (1 + math.exp(-score)) for score in row]
            total += (
                weight
                * sum(-math.log(p if on else 1 - p) for p, on in zip(chances, target, strict=True))
                / len(row)
            )
        else:
            norm = math.log(sum(math.exp(score) for score in row))
            losses = [norm - score for score in row]
            total += weight * (
                (1 - smoothing) * losses[target] + smoothing * sum(losses) / len(losses)
            )
    return total


@pytest.mark.parametrize(
    ("loss", "kind", "smoothing"),
    [
        (CrossEntropy, "binary", 0.0),
        (CrossEntropy, "multiclass", 0.0),
        (CrossEntropy, "multiclass", 0.3),
        (BinaryCrossEntropy, "multilabel", 0.0),
        (BinaryCrossEntropy, "binary", 0.0),
        (Uncertainty, "regression", 0.0),
        (Mse, "regression", 0.0),
    ],
)
def test_the_formula_is_that_of_a_slow_loop(loss: Any, kind: TaskKind, smoothing: float) -> None:
    batch, output = batch_of(kind, seed=4)
    chosen = loss(LABELS[kind], label_smoothing=smoothing) if smoothing else loss(LABELS[kind])
    half = 0.5 if loss is Uncertainty else 1.0  # at its start, where log σ² is 0
    expected = slow(
        kind,
        output.scores.tolist(),
        batch.targets.tolist(),
        batch.weights.tolist(),
        smoothing,
        half,
    )
    assert chosen(None, batch, output)[0].item() == pytest.approx(expected, rel=1e-5)


def pairs_of(
    vectors: list[tuple[list[float], list[float]]], targets: list[int], weights: list[float]
) -> tuple[Batch, Output]:
    n = len(vectors)
    tokens = Tokens(
        torch.arange(2 * n),
        torch.zeros(2 * n, dtype=torch.long),
        torch.zeros(2 * n, dtype=torch.long),
        torch.arange(2 * n + 1),
        (1,) * 2 * n,
    )
    sides = tuple(
        torch.tensor([pair[side] for pair in vectors], requires_grad=True) for side in (0, 1)
    )
    return Batch(
        "task", "digest", np.arange(n), tokens, torch.tensor(targets), torch.tensor(weights)
    ), Output(torch.zeros(n, 2), sides)


def test_cosine_embedding_by_hand() -> None:
    """METHODS 4.8: u = (1, 0), v = (0.6, 0.8): 0.4 for label 1 and 0.6 for label 0; opposite
    vectors with label 0 cost nothing and have no gradient.
    """
    same = ([1.0, 0.0], [0.6, 0.8])
    for vectors, target, expected in (
        (same, 1, 0.4),
        (same, 0, 0.6),
        (([1.0, 0.0], [-1.0, 0.0]), 0, 0.0),
        (([1.0, 0.0], [-1.0, 0.0]), 1, 2.0),
    ):
        batch, output = pairs_of([vectors], [target], [1.0])
        total, weight = CosineEmbedding(LABELS["binary"])(None, batch, output)
        assert (total.item(), weight.item()) == (pytest.approx(expected, abs=1e-6), 1.0)
        if not expected:
            total.backward()
            assert not any(side.grad.any() for side in output.embeddings if side.grad is not None)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_cosine_embedding_is_torch_s(margin: float) -> None:
    draw = torch.Generator().manual_seed(3)
    first, second, targets = (
        torch.randn(11, 5, generator=draw),
        torch.randn(11, 5, generator=draw),
        torch.randint(2, (11,), generator=draw),
    )
    batch, output = pairs_of(
        list(zip(first.tolist(), second.tolist(), strict=True)), targets.tolist(), [1.0] * 11
    )
    total, weight = CosineEmbedding(LABELS["binary"], margin=margin)(None, batch, output)
    expected = torch.nn.functional.cosine_embedding_loss(
        first, second, 2.0 * targets - 1, margin=margin
    )
    torch.testing.assert_close(total / weight, expected)


def test_uncertainty_by_hand() -> None:
    """Kendall et al.: L / (2σ²) + log σ for a regression, L / σ² + log σ for classes; the best σ²
    is the loss of a regression itself.
    """
    for kind, half in (("regression", 0.5), ("multiclass", 1.0)):
        labels = LABELS[kind]  # type: ignore[index]
        batch, output = batch_of(kind, seed=2)  # type: ignore[arg-type]
        loss = Uncertainty(labels)
        inner, weight = catalogue.build(
            "losses", "mse" if kind == "regression" else "cross_entropy", labels
        )(None, batch, output)
        with torch.no_grad():
            loss.log_variance.fill_(0.7)
        total, same = loss(None, batch, output)
        assert total.item() == pytest.approx(
            half * math.exp(-0.7) * inner.item() + 0.35 * weight.item(), rel=1e-6
        )
        assert same.item() == weight.item()
        if kind == "regression":
            with torch.no_grad():
                loss.log_variance.fill_(math.log(inner.item() / weight.item()))
            loss.zero_grad()
            loss(None, batch, output)[0].backward()
            assert loss.log_variance.grad is not None
            assert loss.log_variance.grad.item() == pytest.approx(0, abs=1e-5)


def test_uncertainty_refuses_a_loss_of_another_kind() -> None:
    with pytest.raises(
        RecipeError, match="of: 'mse' does not fit a multiclass task, which needs 'cross_entropy'"
    ):
        Uncertainty(LABELS["multiclass"], of="mse")


RANKED = [([1.0, 0.0], [1.0, 0.0]), ([0.0, 1.0], [1.0, 1.0])]


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({}, (0.557386, 0.400834)),
        ({"similarity": "dot"}, (0.693147, 0.313262)),
        (
            {"scale": 20.0},
            (
                math.log1p(math.exp(-20 * (1 - math.sqrt(0.5)))),
                math.log1p(math.exp(-20 * math.sqrt(0.5))),
            ),
        ),
    ],
)
def test_ranking_by_hand(how: dict[str, Any], rows: tuple[float, float]) -> None:
    """METHODS 5.2: a = ((1, 0), (0, 1)), b = ((1, 0), (1, 1)); the mean with scale 20 is
    0.00142699.
    """
    loss = Mnr(LABELS["unlabelled"], **how)
    for weights in ([1.0, 1.0], [2.0, 0.5]):
        batch, output = pairs_of(RANKED, [0, 0], weights)
        total, weight = loss(None, batch, output)
        assert total.item() == pytest.approx(
            sum(w * row for w, row in zip(weights, rows, strict=True)), rel=1e-5
        )
        assert weight.item() == sum(weights)


def test_ranking_one_pair_costs_nothing_and_only_cosines_ignore_length() -> None:
    batch, output = pairs_of(RANKED[:1], [0], [1.0])
    assert Mnr(LABELS["unlabelled"])(None, batch, output)[0].item() == 0
    batch, output = pairs_of(RANKED, [0, 0], [1.0, 1.0])
    _, longer = pairs_of(
        [([3 * x for x in first], [5 * x for x in second]) for first, second in RANKED],
        [0, 0],
        [1.0, 1.0],
    )
    for similarity, ignores in (("cosine", True), ("dot", False)):
        loss = Mnr(LABELS["unlabelled"], similarity=similarity)  # type: ignore[arg-type]
        assert (
            loss(None, batch, longer)[0].item()
            == pytest.approx(loss(None, batch, output)[0].item(), rel=1e-5)
        ) == ignores


@pytest.mark.parametrize(
    ("loss", "how", "scale"),
    [(Mnr, {"scale": 20.0}, 20.0), (Simcse, {"similarity": "cosine", "temperature": 0.05}, 20.0)],
)
def test_finding_one_s_own_is_cross_entropy_over_cosines(
    loss: Any, how: dict[str, Any], scale: float
) -> None:
    """As sentence-transformers and SimCSE write it, with scikit-learn's cosines."""
    draw = torch.Generator().manual_seed(6)
    first, second = torch.randn(9, 5, generator=draw), torch.randn(9, 5, generator=draw)
    batch, output = pairs_of(
        list(zip(first.tolist(), second.tolist(), strict=True)), [0] * 9, [1.0] * 9
    )
    again = Output(output.scores, (second,))
    once = output if loss is Mnr else Output(output.scores, (first,))
    total, weight = loss(LABELS["unlabelled"], **how)(lambda _: again, batch, once)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(scale * cosine_similarity(first, second)), torch.arange(9)
    )
    assert (total / weight).item() == pytest.approx(expected.item(), rel=1e-5)


def test_simcse_by_hand() -> None:
    """METHODS 5.4: without dropout both readings are the same; K orthogonal vectors of length r
    cost ln(1 + (K − 1)·exp(−r²)) each, one text nothing.
    """
    for k, r in ((1, 2.0), (3, 1.5), (5, 0.7)):
        batch, _ = pairs_of([([1.0], [1.0])] * k, [0] * k, [1.0] * k)
        once = (r * torch.eye(k)).requires_grad_()
        again = (r * torch.eye(k)).requires_grad_()
        total, weight = Simcse(LABELS["regression"])(
            lambda _, again=again: Output(again, (again,)), batch, Output(once, (once,))
        )
        assert (total / weight).item() == pytest.approx(
            math.log1p((k - 1) * math.exp(-(r**2))), rel=1e-5
        )
        total.backward()
        assert once.grad is not None
        assert again.grad is not None
        assert (once.grad.any().item(), again.grad.any().item()) == (k > 1, k > 1)


def test_simcse_takes_one_text_of_each_pair_and_the_same_one_twice() -> None:
    """Each text is along an axis of its own: a row whose texts differ between the readings would
    have the product 0 with itself.
    """
    n = 40
    axes = 3 * torch.eye(2 * n)
    batch, _ = pairs_of([([1.0], [1.0])] * n, [0] * n, [1.0] * n)
    met = []
    for step in range(2):
        sides = tuple(axes[side::2].clone().requires_grad_() for side in (0, 1))
        output = Output(torch.zeros(n, 1), sides)
        with dropout.drawing(seed=7, step=step):
            total, _ = Simcse(LABELS["regression"])(
                lambda _, sides=sides: Output(
                    torch.zeros(n, 1), tuple(each.detach() for each in sides)
                ),
                batch,
                output,
            )
        assert total.item() / n == pytest.approx(math.log1p((n - 1) * math.exp(-9)), rel=1e-4)
        total.backward()
        drawn = [side.grad.abs().sum(dim=1) > 0 for side in sides if side.grad is not None]
        assert (drawn[0] ^ drawn[1]).all()
        met.append(drawn[1])
        assert 8 < drawn[1].sum() < 32
    assert not torch.equal(*met), "each step draws anew"


def test_simcse_reads_each_text_twice_with_other_dropout(tables: Tables) -> None:
    """Of a real model in training: the readings differ, the same step draws the same ones, and
    without dropout they are alike.
    """
    one = tables.prepared("losses={task: cross_entropy, contrast: simcse}")
    model = build_models(one)["train"].train()
    rows = one.streams["train"].train
    tokens = collate(rows.store, np.arange(6))
    batch = Batch(
        "train",
        rows.digest,
        np.arange(6),
        tokens,
        torch.from_numpy(rows.targets[:6]),
        torch.ones(6),
    )
    loss = Simcse(LABELS["multiclass"])

    def read(model: Any) -> tuple[Tensor, Output, list[Output]]:
        again: list[Output] = []
        with dropout.drawing(seed=3, step=1):
            output = model(tokens)
            total, _ = loss(lambda tokens: again.append(model(tokens)) or again[-1], batch, output)
        return total, output, again

    total, output, (again,) = read(model)
    assert not torch.equal(output.embeddings[0], again.embeddings[0])
    assert read(model)[0].item() == total.item()
    _, output, (again,) = read(model.eval())
    assert torch.equal(output.embeddings[0], again.embeddings[0])


@pytest.mark.parametrize(
    ("loss", "how", "message"),
    [
        ("mnr", {"scale": 0.0}, "scale: expected"),
        ("simcse", {"temperature": -1.0}, "temperature: expected"),
    ],
)
def test_a_scale_is_above_0(loss: str, how: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        catalogue.build("losses", {"name": loss, **how}, LABELS["unlabelled"])


def test_cross_entropy_by_hand() -> None:
    """Two equal scores: each class has half the probability, whatever the target."""
    batch, _ = batch_of("binary", weights=torch.ones(ROWS))
    total, weight = CrossEntropy(LABELS["binary"])(None, batch, Output(torch.zeros(ROWS, 2), ()))
    assert total.item() / weight.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_soft_labels(smoothing: float) -> None:
    """METHODS 5.6: of probabilities KL plus their entropy; of certainty, that of the class."""
    batch, output = batch_of("multiclass")
    loss = CrossEntropy(LABELS["multiclass"], label_smoothing=smoothing)
    certain = torch.nn.functional.one_hot(batch.targets, 5).float()
    torch.testing.assert_close(
        loss(None, replace(batch, targets=certain), output).sum, loss(None, batch, output).sum
    )
    soft = torch.rand(ROWS, 5, generator=torch.Generator().manual_seed(8)).softmax(dim=1)
    total, weight = loss(None, replace(batch, targets=soft), output)
    p = ((1 - smoothing) * soft + smoothing / 5).double().numpy()
    q = output.scores.double().softmax(1).numpy()
    expected = scipy.stats.entropy(p, q, axis=1) + scipy.stats.entropy(p, axis=1)
    assert float(total) == pytest.approx(float((expected * batch.weights.numpy()).sum()), rel=1e-5)
    assert float(weight) == pytest.approx(float(batch.weights.sum()))


def test_ranking_with_texts_that_do_not_belong_is_a_slow_loop() -> None:
    draw = torch.Generator().manual_seed(4)
    a, b, c = (torch.randn(6, 3, generator=draw) for _ in range(3))
    batch, _ = pairs_of([([1.0], [1.0])] * 6, [0] * 6, [1.0] * 6)
    for symmetric in (False, True):
        loss = Mnr(LABELS["unlabelled"], similarity="dot", symmetric=symmetric)
        total, _ = loss(None, batch, Output(torch.zeros(6, 1), (a, b, c)))
        expected = 0.0
        for row in range(6):
            products = [float(a[row] @ each) for each in (*b, *c)]
            there = math.log(sum(map(math.exp, products))) - products[row]
            back = [float(b[row] @ each) for each in a]
            home = math.log(sum(map(math.exp, back))) - back[row]
            expected += (there + home) / 2 if symmetric else there
        assert float(total) == pytest.approx(expected, rel=1e-5)


def test_every_loss_was_tried() -> None:
    assert (
        {name for name, _ in CASES} | ELSEWHERE
        == set(NAMES)
        >= {"cross_entropy", "binary_cross_entropy", "mse"}
    )
    assert {kind for _, kind in CASES} == set(LABELS)


# ------------------------------------------------------- ranking beside a loss, focal loss, R-Drop


def ranked(loss: Any, targets: list[float], weights: list[float] | None = None) -> LossTerm:
    """The pairs of METHODS 5.2: a = ((1, 0), (0, 1)), b = ((1, 0), (1, 1))."""
    rows = len(targets)
    batch, _ = batch_of("regression")
    batch = replace(
        batch,
        targets=torch.tensor(targets),
        weights=torch.ones(rows) if weights is None else torch.tensor(weights),
    )
    sides = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    found: LossTerm = loss(None, batch, Output(torch.zeros(rows, 1), sides))
    return found


def test_weighted_ranking_by_hand() -> None:
    """METHODS 5.3: labels (5, 1), cosine: (.633691 · .557386 + .011606 · .400834) / 2."""
    total, weight = ranked(WeightedMnr(LABELS["regression"]), [5.0, 1.0])
    assert float(total / weight) == pytest.approx(0.178931, abs=1e-6)


def test_weighted_ranking_as_the_author_s_code_has_it() -> None:
    """Degree 5 weighs 1.7503, pairs below 1 do not enter, a batch without any weighs nothing."""
    loss = WeightedMnr(LABELS["regression"], compat="gen")
    total, weight = ranked(loss, [5.0, 0.5])
    assert float(weight) == 1  # one pair enters, and it has no other to be compared with
    assert float(total) == 0
    total, weight = ranked(loss, [5.0, 1.0])
    ours = 1.750335 * 0.557386 + math.e / 84.79102 * 0.400834
    assert (float(total), float(weight)) == (pytest.approx(ours, abs=1e-5), 2)
    assert float(ranked(loss, [0.0, 0.0]).weight) == 0


def test_ranking_beside_a_binary_loss_reads_positive_pairs_alone() -> None:
    binary = Mnr(LABELS["binary"])
    total, weight = ranked(binary, [1, 1])
    assert float(total / weight) == pytest.approx(0.479110, abs=1e-6)
    total, weight = ranked(binary, [0, 1])
    assert (float(total), float(weight)) == (0, 1)


def test_symmetric_ranking_is_the_mean_of_both_directions() -> None:
    total, weight = ranked(Mnr(LABELS["unlabelled"], symmetric=True), [0, 0])
    columns = [math.log(1 + math.exp(0 - 1)), math.log(1 + math.exp(0))]
    rows = [0.557386, 0.400834]
    assert float(weight) == 2
    assert columns[1] == pytest.approx(math.log(2))
    assert float(total) == pytest.approx((sum(rows) + sum(columns)) / 2, abs=2e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_a_slow_loop(gamma: float) -> None:
    batch, output = batch_of("multiclass")
    total, _ = Focal(LABELS["multiclass"], gamma=gamma)(None, batch, output)  # type: ignore[arg-type]
    expected = 0.0
    for scores, target, weight in zip(output.scores, batch.targets, batch.weights, strict=True):
        p = float(scores.double().softmax(0)[int(target)])
        expected += float(weight) * -((1 - p) ** gamma) * math.log(p)
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_r_drop_is_half_the_symmetric_distance() -> None:
    batch, output = batch_of("multiclass")
    again = output_of(output.scores.roll(1, 1))
    total, _ = RDrop(LABELS["multiclass"])(lambda _: again, batch, output)
    p, q = (side.scores.double().softmax(1).numpy() for side in (output, again))
    both = scipy.stats.entropy(p, q, axis=1) + scipy.stats.entropy(q, p, axis=1)
    assert float(total) == pytest.approx(float((both / 2 * batch.weights.numpy()).sum()), rel=1e-5)
