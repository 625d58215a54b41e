"""The estimators under scikit-learn's own checks, in grid search, pipelines and clones.

`check_estimator` runs hardly any check on an estimator of texts: its data are numbers. So all of
its checks run once more on subclasses that turn these numbers into texts first.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import BAD, GOOD, sentences
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import encore
from encore import EncoreClassifier, EncoreRegressor
from encore.errors import RecipeError

WORDS = (*BAD, *GOOD)


class _FromNumbers(BaseEstimator):
    """Writes a row of numbers as a text: for each the word of its size, then the number."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array = False, False
        tags.input_tags.two_d_array = True
        return tags

    def _written(self, X: Any) -> list[str]:
        places = np.clip(np.round(X * 1.5 + 4.5), 0, len(WORDS) - 1).astype(int)
        return [
            " ".join([*(WORDS[place] for place in row), *map(str, numbers)])
            for row, numbers in zip(places, X.tolist(), strict=True)
        ]

    def fit(self, X: Any, y: Any) -> Any:
        if y is None:
            return super().fit(X, y)
        X = validate_data(self, X, y)[0]
        super().fit(self._written(X), y)
        self.n_features_in_ = X.shape[1]
        return self

    def _texts(self, X: Any) -> dict[str, list[str]]:
        check_is_fitted(self)
        return {"text": self._written(validate_data(self, X, reset=False))}


class ClassifierOfNumbers(_FromNumbers, EncoreClassifier):
    """The classifier, for checks that pass numbers."""


class RegressorOfNumbers(_FromNumbers, EncoreRegressor):
    """The regressor, for checks that pass numbers."""


PAIRS = [("great lamp", "the lamp is lovely"), ("awful zip", "it was dull")] * 12


@pytest.fixture(scope="module")
def settings(tiny_encoder: Path) -> dict[str, Any]:
    return {
        "encoder": tiny_encoder,
        "pooling": "mean",
        "epochs": 5,
        "lr": 1e-2,
        "max_length": 16,
        "overrides": ("threads=1", "precision=fp32", "plan.batch_size=16"),
    }


@pytest.fixture(scope="module")
def rows() -> tuple[list[str], np.ndarray]:
    texts, balance = sentences(60, 5)
    return texts, np.array(balance)


@pytest.mark.parametrize("kind", [EncoreClassifier, EncoreRegressor])
def test_scikit_learn_checks_the_estimators(kind: type[BaseEstimator], settings: Any) -> None:
    with pytest.warns(match="Can't test estimator"):  # of texts, that is
        check_estimator(kind(**settings))
    tags = kind().__sklearn_tags__()
    assert (tags.input_tags.string, tags.input_tags.two_d_array) == (True, False)
    assert tags.target_tags.required


# Checks that cannot hold, with the reason.
CANNOT = {
    ClassifierOfNumbers: {},
    RegressorOfNumbers: {
        "check_regressors_train": "asks for R2 > 0.5 of ten numbers that are words of ten sizes",
        "check_methods_subset_invariance": "float32 sums differ by 1e-6 with the rows of a batch",
    },
}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "n_fewest"), [(ClassifierOfNumbers, 53), (RegressorOfNumbers, 46)]
)
def test_all_checks_of_scikit_learn_pass_on_written_numbers(
    kind: type[BaseEstimator], n_fewest: int, settings: Any
) -> None:
    found = check_estimator(
        kind(**settings), expected_failed_checks=CANNOT[kind], on_skip=None, on_fail=None
    )
    failed = {
        check["check_name"]: check["exception"] for check in found if check["status"] == "failed"
    }
    assert not failed
    assert sum(check["status"] == "passed" for check in found) >= n_fewest


def test_a_classifier_of_texts(settings: Any, rows: tuple[list[str], np.ndarray]) -> None:
    texts, balance = rows
    for classes in (balance > 0, np.where(balance > 0, "good", "bad"), np.sign(balance)):
        model = EncoreClassifier(**settings).fit(texts, classes)
        assert model.classes_.tolist() == sorted(set(classes.tolist()))
        found, chances = model.predict(texts), model.predict_proba(texts)
        assert found.dtype == classes.dtype
        assert chances.shape == (60, len(model.classes_))
        np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
        assert (model.classes_[chances.argmax(axis=1)] == found).all()
        assert model.score(texts, classes) > 0.7


def test_it_predicts_as_encore_does(settings: Any, rows: Any, tmp_path: Path) -> None:
    texts, balance = rows
    labels = np.where(balance > 0, "good", "bad")
    model = EncoreClassifier(**settings, runs=tmp_path).fit(texts, labels)
    (run,) = tmp_path.glob("texts-*")
    other = encore.load(run)
    assert [one.label for one in other.predict(texts)] == model.predict(texts).tolist()
    np.testing.assert_array_equal(other.predict_proba(texts), model.predict_proba(texts))
    before = (run / "manifest.json").stat().st_mtime_ns
    clone(model).fit(texts, labels)
    assert (run / "manifest.json").stat().st_mtime_ns == before  # it was found complete


@pytest.mark.parametrize(
    "X",
    [
        PAIRS,
        np.array(PAIRS),
        np.array(PAIRS, dtype=object),
        pa.table(dict(zip(("a", "b"), map(list, zip(*PAIRS, strict=True)), strict=True))),
    ],
    ids=["list", "array", "objects", "table"],
)
def test_pairs(X: Any, settings: Any) -> None:
    model = EncoreRegressor(**settings).fit(X, [1.0, 0.0] * 12)
    assert model.n_features_in_ == 2
    assert model.predict(X[:2]).shape == (2,)
    with pytest.raises(ValueError, match="X has 1 features, but EncoreRegressor is expecting 2"):
        model.predict(["a text"])


def test_grid_search_pipeline_clone_and_pickle(settings: Any, rows: Any) -> None:
    texts, balance = rows
    labels = np.where(balance > 0, "good", "bad")
    shout = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipe = make_pipeline(shout, EncoreClassifier(**settings))
    grid = {"encoreclassifier__lr": [1e-7, 1e-2]}
    search = GridSearchCV(pipe, grid, cv=2).fit(texts, labels)
    assert search.best_params_ == {"encoreclassifier__lr": 1e-2}
    model = search.best_estimator_[-1]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(texts), model.predict_proba(texts))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(texts)
    scores = cross_val_score(EncoreRegressor(**settings), texts, balance, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("a text", ["x"], "X: expected several texts, got str"),
        (3, ["x"], "X: expected several texts, got int"),
        (np.ones((4, 2)), ["x", "y"] * 2, "X: expected texts, got float64"),
        (["a", None], ["x", "y"], "the same number of texts"),
        ([["a", "b", "c"]] * 2, ["x", "y"], "one column of texts, or two of pairs, got 3"),
        ([["a"], ["a", "b"]], ["x", "y"], "the same number of texts"),
        ([], [], "0 sample"),
        (["a", "b"], None, "requires y to be passed"),
        (["a", "b"], ["x"], "inconsistent numbers of samples"),
        (["a", "b"], ["x", "x"], "y holds one class"),
        (["a", "b"], [0.5, 1.5], "Unknown label type: continuous"),
    ],
)
def test_wrong_input_is_refused(X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoreClassifier().fit(X, y)


def test_a_wrong_setting_is_refused(rows: Any) -> None:
    texts, balance = rows
    with pytest.raises(RecipeError, match=r"plan\.lr.*expected a number above 0"):
        EncoreRegressor(lr=-1).fit(texts, balance)
