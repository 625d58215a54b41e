"""The baselines: the right constant, someone else's pipeline, and what happens where there is
little to learn from.
"""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from encore.evaluation import baselines, tfidf_features
from encore.evaluation.baselines import fit_tfidf, majority
from encore.evaluation.estimates import estimate_metrics
from encore.evaluation.predictions import predictions, probabilities
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("bad", "good"))
THREE = LabelSpace("multiclass", ("bad", "fair", "good"))
TAGS = LabelSpace("multilabel", ("price", "size", "colour"))
VALUE = LabelSpace("regression")
WORDS = (
    "lamp",
    "chair",
    "table",
    "blue",
    "red",
    "heavy",
    "light",
    "small",
    "wide",
    "cheap",
    "solid",
    "wobbly",
)


def sentences(n: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=draw.integers(3, 8))) for _ in range(n)]


def tfidf(
    texts, pairs, targets, dev_texts, dev_pairs, labels: LabelSpace, seed: int
) -> SimpleNamespace:
    """Fitted on the train rows, its scores on the dev rows."""
    fitted = fit_tfidf(texts, pairs, targets, labels, seed=seed)
    return SimpleNamespace(
        name=fitted.name, notes=fitted.notes, scores=fitted.scores(dev_texts, dev_pairs)
    )


@pytest.fixture
def usual_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and C = 1, whatever held-out rows prefer."""
    monkeypatch.setattr(baselines, "_FEWEST_CHOOSING_ROWS", 1_000_000)


def contains(texts: list[str], *words: str) -> np.ndarray:
    return np.array([any(word in text.split() for word in words) for text in texts], dtype=np.int64)


def test_majority_of_classes():
    found = majority(np.array([2, 0, 2, 1, 2, 0]), range(4), THREE)
    assert (found.name, found.scores.shape, found.scores.dtype) == ("majority", (4, 3), np.float32)
    assert predictions(found.scores, THREE).tolist() == [2] * 4
    np.testing.assert_allclose(
        probabilities(found.scores, THREE)[0], [3 / 9, 2 / 9, 4 / 9], rtol=1e-6
    )


def test_majority_has_finite_scores_for_a_class_without_rows():
    assert np.isfinite(majority(np.zeros(5, dtype=np.int64), range(2), THREE).scores).all()


def test_majority_of_each_label():
    found = majority(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=np.float32), range(2), TAGS)
    assert predictions(found.scores, TAGS).tolist() == [[1, 0, 0]] * 2
    np.testing.assert_allclose(
        probabilities(found.scores, TAGS)[0], [4 / 5, 2 / 5, 1 / 5], rtol=1e-6
    )


def test_majority_of_regression_is_the_mean():
    found = majority(np.array([1.0, 2.0, 6.0], dtype=np.float32), range(2), VALUE)
    assert (found.name, found.scores.tolist()) == ("mean", [[3.0], [3.0]])


def test_single_texts_are_scikit_learns_pipeline(usual_settings):
    train, dev = sentences(101), sentences(37, seed=1)
    targets = contains(train, "lamp") + contains(train, "blue")
    found = tfidf(train, None, targets, dev, None, THREE, 0)
    vectoriser = TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(tol=1e-6, max_iter=1000).fit(
        vectoriser.fit_transform(train), targets
    )
    np.testing.assert_allclose(
        found.scores, model.decision_function(vectoriser.transform(dev)), atol=0.02
    )
    assert (found.name, found.notes) == ("TF-IDF + logistic", ())


def test_pairs_are_both_texts_their_difference_product_and_cosine(usual_settings):
    left, right = sentences(103), sentences(103, seed=1)
    targets = np.array(
        [len(set(a.split()) & set(b.split())) for a, b in zip(left, right, strict=True)],
        dtype=np.float32,
    )
    found = tfidf(left[:70], right[:70], targets[:70], left[70:], right[70:], VALUE, 0)
    vectoriser = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True).fit(
        left[:70] + right[:70]
    )
    a, b = (vectoriser.transform(side).toarray() for side in (left, right))
    features = np.hstack([a, b, abs(a - b), a * b, (a * b).sum(axis=1, keepdims=True)])
    expected = Ridge(alpha=1.0).fit(features[:70], targets[:70]).predict(features[70:])
    np.testing.assert_allclose(found.scores[:, 0], expected, atol=0.02)
    assert found.name == "TF-IDF + ridge"
    assert (
        estimate_metrics(found.scores, targets[70:], VALUE, ["pearson"], 0, n_resamples=10)[
            "pearson"
        ].value
        > 0.5
    )


def tagged(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Twenty words of no meaning, and a keyword for each tag; 15 % of the rows have it."""
    draw = np.random.default_rng(seed)
    keywords = (("cheap", "costly", "dollars"), ("small", "wide", "huge"), ("red", "blue", "green"))
    tags = (draw.random((n, 3)) < 0.15).astype(np.int64)
    texts = []
    for row in tags:
        words = [f"w{number}" for number in draw.integers(0, 400, 20)]
        words += [draw.choice(keywords[at]) for at in np.flatnonzero(row)]
        texts.append(" ".join(draw.permutation(words)))
    return texts, tags


def test_the_strength_is_chosen_so_that_rare_tags_are_found(usual_settings, monkeypatch):
    (train, targets), (dev, expected) = tagged(400, 0), tagged(200, 1)

    def macro_f1() -> float:
        scores = tfidf(train, None, targets, dev, None, TAGS, 0).scores
        return estimate_metrics(scores, expected, TAGS, ["macro_f1"], 0, n_resamples=10)[
            "macro_f1"
        ].value

    assert macro_f1() < 0.1, "C = 1 finds hardly any"
    monkeypatch.setattr(baselines, "_FEWEST_CHOOSING_ROWS", 50)
    assert macro_f1() > 0.9


def test_pieces_of_words_are_chosen_where_words_are_never_twice_the_same():
    draw = np.random.default_rng(0)
    endings = ["".join(draw.choice(list("bcdfghklmnprst"), 6)) for _ in range(300)]
    targets = draw.integers(0, 2, 300)
    texts = [
        f"{'zuv' if on else 'oqa'}{ending}" for on, ending in zip(targets, endings, strict=True)
    ]
    found = fit_tfidf(texts[:200], None, targets[:200], BINARY, seed=0)
    assert (predictions(found.scores(texts[200:]), BINARY) == targets[200:]).all()
    assert found.vectoriser.hasher.analyzer == "char_wb"


def test_long_texts_and_few_rows_are_not_read_as_pieces(monkeypatch):
    texts = [f"{word}{number}" for number in range(60) for word in ("zuv", "oqa")]
    targets = np.tile([0, 1], 60)
    assert fit_tfidf(texts[:49], None, targets[:49], BINARY, seed=0).vectoriser.hasher.analyzer == (
        "word"
    )
    monkeypatch.setattr(baselines, "_MAX_PIECES_CHARS", 100)
    assert fit_tfidf(texts, None, targets, BINARY, seed=0).vectoriser.hasher.analyzer == "word"


def test_the_same_rows_and_seed_choose_the_same():
    train, targets = tagged(200, 2)
    one, again = (fit_tfidf(train, None, targets, TAGS, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.scores(train), again.scores(train))


def test_binary_scores_are_two_logits_with_the_models_probability(usual_settings):
    train, dev = sentences(101), sentences(37, seed=1)
    found = tfidf(train, None, contains(train, "lamp"), dev, None, BINARY, 0)
    assert found.scores.shape == (37, 2)
    vectoriser = TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression().fit(vectoriser.fit_transform(train), contains(train, "lamp"))
    np.testing.assert_allclose(
        probabilities(found.scores, BINARY),
        model.predict_proba(vectoriser.transform(dev)),
        atol=0.02,
    )
    assert (predictions(found.scores, BINARY) == contains(dev, "lamp")).mean() > 0.85


def test_multilabel_is_one_model_per_label_and_a_label_that_never_varies_keeps_its_prior():
    train, dev = sentences(151), sentences(37, seed=1)
    targets = np.stack(
        [contains(train, "lamp"), np.zeros(151), contains(train, "red", "blue")], axis=1
    ).astype(np.float32)
    found = tfidf(train, None, targets, dev, None, TAGS, 0)
    alone = [
        tfidf(train, None, targets[:, label].astype(np.int64), dev, None, BINARY, 0).scores
        for label in (0, 2)
    ]
    np.testing.assert_allclose(found.scores[:, 0], alone[0][:, 1] - alone[0][:, 0], atol=1e-4)
    np.testing.assert_allclose(found.scores[:, 2], alone[1][:, 1] - alone[1][:, 0], atol=1e-4)
    np.testing.assert_allclose(found.scores[:, 1], math.log(1 / 152), rtol=1e-6)


@pytest.mark.parametrize("present", [[0, 2], [1, 2], [0, 1]])
def test_a_class_without_rows_never_wins(present):
    train = sentences(60)
    scores = tfidf(
        train,
        None,
        np.array(present)[contains(train, "lamp")],
        sentences(20, seed=1),
        None,
        THREE,
        0,
    ).scores
    assert np.isfinite(scores).all()
    assert set(predictions(scores, THREE).tolist()) == set(present)


def test_as_many_classes_as_rows_are_no_warning_of_somebody_else_s(recwarn):
    many = LabelSpace("multiclass", tuple(f"c{number}" for number in range(30)))
    assert np.isfinite(
        tfidf(sentences(40), None, np.arange(40) % 30, sentences(7, seed=1), None, many, 0).scores
    ).all()
    assert [str(one.message) for one in recwarn] == []


@pytest.mark.parametrize("texts", [["", "  ", "?!", "..."], ["a b"] * 4])
def test_nothing_to_learn_from_is_the_majority(texts):
    targets = np.array([1, 1, 1, 0]) if texts[0] == "" else np.array([1, 1, 1, 1])
    found = tfidf(texts, None, targets, ["new", "words"], None, BINARY, 0)
    np.testing.assert_array_equal(found.scores, majority(targets, range(2), BINARY).scores)
    assert len(found.notes) == (texts[0] == "")


def test_characters_are_words_where_the_script_has_no_blanks():
    train = ["这个灯很好", "这个灯很差", "椅子很好", "椅子很差", "桌子真好", "桌子真差"] * 3
    found = fit_tfidf(train, None, np.array([1, 0] * 9), BINARY, seed=0)
    assert predictions(found.scores(["床很好", "床很差"]), BINARY).tolist() == [1, 0]


def test_arrow_columns_and_lists_are_the_same_texts():
    left, right = sentences(41), sentences(41, seed=1)
    targets = contains(left, "lamp")
    plain = tfidf(left, right, targets, left, right, BINARY, 0)
    chunked = [pa.chunked_array([side[:7], side[7:]]) for side in (left, right)]
    np.testing.assert_array_equal(
        plain.scores, tfidf(*chunked, targets, *chunked, BINARY, 0).scores
    )
    assert tfidf(left, right, targets, [], [], BINARY, 0).scores.shape == (0, 2)


def test_scores_come_back_in_order_chunk_by_chunk(monkeypatch):
    texts, targets = sentences(53), contains(sentences(53), "lamp")
    whole = fit_tfidf(texts, None, targets, BINARY, seed=0)
    expected = whole.scores(texts)
    monkeypatch.setattr(tfidf_features, "_ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(whole.scores(texts), expected, rtol=1e-6)
    np.testing.assert_allclose(whole.scores(texts[::-1]), expected[::-1], rtol=1e-6)


@pytest.mark.parametrize("arrow", [False, True])
def test_a_part_of_the_rows_is_used_when_the_text_is_too_long_and_the_note_says_so(
    monkeypatch, arrow
):
    texts = sentences(200)
    targets = contains(texts, "lamp")
    given = pa.array(texts) if arrow else texts
    monkeypatch.setattr(baselines, "_MAX_CHARS", sum(map(len, texts)) // 2)
    found, again, other = (fit_tfidf(given, None, targets, BINARY, seed=seed) for seed in (1, 1, 2))
    n_used = int(found.notes[0].split("fitted on ")[1].split(" of")[0])
    assert found.notes == (f"TF-IDF fitted on {n_used} of 200 train rows (seed 1)",)
    assert 90 <= n_used <= 110
    np.testing.assert_array_equal(found.scores(texts), again.scores(texts))
    assert not np.array_equal(found.scores(texts), other.scores(texts))
    assert (
        predictions(found.scores(texts), BINARY) == targets
    ).mean() > 0.85  # rows and targets are still the same rows


def test_features_are_sparse_float32():
    vectors = sparse.csr_array(np.eye(3, 5, dtype=np.float32))
    found = tfidf_features.linear_features(vectors, vectors)
    assert sparse.issparse(found)
    assert (found.shape, found.dtype) == ((3, 21), np.float32)


@pytest.mark.nightly
def test_a_hundred_thousand_long_rows_fit_in_600_megabytes_and_a_minute():
    code = """
import resource, time
import numpy as np
from encore.evaluation.baselines import fit_tfidf
from encore.types import LabelSpace
draw = np.random.default_rng(0)
words = np.array(["".join(chr(97 + c) for c in draw.integers(0, 26, 5)) for _ in range(60_000)])
frequent = (60_000 * draw.random((100_000, 50)) ** 4).astype(int)
texts = [" ".join(words[row]) for row in frequent]
targets = (frequent[:, 0] % 5)
import sklearn.linear_model, sklearn.feature_extraction.text
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.process_time()
fit_tfidf(texts, None, targets, LabelSpace("multiclass", tuple("abcde")), seed=0)
print(peak() - before, time.process_time() - start)
"""
    megabytes, seconds = map(
        float,
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split(),
    )
    assert megabytes < 600
    assert seconds < 60
