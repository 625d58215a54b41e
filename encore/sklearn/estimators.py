"""`EncoreClassifier` and `EncoreRegressor`: `encore.fit` and `Model.predict` as scikit-learn calls
them, for pipelines, cross-validation and grid search.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted

from encore.api import fit
from encore.data.frames import as_arrow, frame_table
from encore.runs.predict import Model, load

__all__ = ["EncoreClassifier", "EncoreRegressor"]

_SETTINGS = {
    "encoder": "encoder",
    "pooling": "pooling",
    "epochs": "plan.epochs",
    "lr": "plan.lr",
    "max_length": "max_length",
    "seed": "seed",
}


class _TextEstimator(BaseEstimator):
    """The parameters of both estimators, and their texts."""

    model_: Model

    def __init__(
        self,
        encoder: str | Path | None = None,
        *,
        pooling: str | Mapping[str, Any] | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        max_length: int | None = None,
        seed: int | None = None,
        overrides: Sequence[str] = (),
        runs: str | Path | None = None,
    ) -> None:
        self.encoder = encoder
        self.pooling = pooling
        self.epochs = epochs
        self.lr = lr
        self.max_length = max_length
        self.seed = seed
        self.overrides = overrides
        self.runs = runs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False  # of numbers, which is what scikit-learn's checks pass
        tags.target_tags.required = True
        return tags

    def _fit(
        self, columns: dict[str, list[str]], targets: Sequence[str | float], **data: Any
    ) -> Self:
        given = {_SETTINGS[name]: getattr(self, name) for name in _SETTINGS}
        settings = tuple(
            f"{key}={json.dumps(str(value) if isinstance(value, Path) else value)}"
            for key, value in given.items()
            if value is not None
        )
        with tempfile.TemporaryDirectory(prefix="encore-") as temporary:
            result = fit(
                {**columns, "label": targets},
                *settings,
                *self.overrides,
                runs=temporary if self.runs is None else self.runs,
                name="texts",
                label="label",
                **data | {role: role for role in columns},
            )
            self.model_ = load(result.folder)
        self.n_features_in_ = len(columns)
        return self

    def _texts(self, X: Any) -> dict[str, list[str]]:
        """The texts of rows to predict. Raises ValueError where there are not as many of a row as
        `fit` has seen.
        """
        check_is_fitted(self)
        columns = _text_columns(X)
        if len(columns) != self.n_features_in_:
            raise ValueError(
                f"X has {len(columns)} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return columns


class EncoreClassifier(ClassifierMixin, _TextEstimator):
    """Fine-tune an encoder to put texts, or pairs of texts, into classes.

    >>> model = EncoreClassifier(epochs=3).fit(texts, labels)  # doctest: +SKIP
    >>> model.predict(["The zip broke after a week."])  # doctest: +SKIP

    X: a list, an array or a column of texts; for pairs two columns. y: classes of any type. As
    `encore train` does, `fit` sets 15 % of the rows aside to measure on ("data.dev_frac=0.05" among
    the overrides changes that).

    encoder, pooling, epochs, lr, max_length, seed: settings of the recipe; None leaves one to
    Encore. overrides: further settings, such as ("plan.batch_size=16", "class_weights=balanced").
    runs: the folder that keeps the runs, where an equal `fit` finds its run complete; by default
    they are removed.

    `fit` sets the attributes `classes_` (sorted, in the order of the columns of `predict_proba`),
    `model_` (the loaded run) and `n_features_in_` (1 for texts, 2 for pairs).
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts and their classes. Raises ValueError for wrong shapes and for a single
        class, EncoreError as `encore.fit` does.
        """
        y = column_or_1d(_required(self, y), warn=True)
        columns = _text_columns(X)
        _check_rows(columns, y)
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class, {classes[0]!r}; a classifier needs two or more.")
        names = _label_names(classes)
        kind = "binary" if len(classes) == 2 else "multiclass"
        self._fit(columns, [names[number] for number in numbers], labels=names, kind=kind)
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of each text, (rows,)."""
        texts = self._texts(X)
        number_of = {name: number for number, name in enumerate(_label_names(self.classes_))}
        found = [number_of[str(one.label)] for one in self.model_.predict(texts, abstain=0.0)]
        return self.classes_[np.array(found, np.int64)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """(rows, classes) float64, in the order of `classes_`. Raises RecipeError for heads whose
        scores are no logits.
        """
        texts = self._texts(X)  # the labels were given in the order of the classes
        return self.model_.predict_proba(texts)


class EncoreRegressor(RegressorMixin, _TextEstimator):
    """Fine-tune an encoder to predict a number for each text, or pair of texts. Parameters and `X`
    as of EncoreClassifier; y: numbers.

    >>> model = EncoreRegressor(lr=1e-4).fit(texts, stars)  # doctest: +SKIP
    >>> model.predict(["The zip broke after a week."])  # doctest: +SKIP
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train on texts and their numbers. Raises ValueError for wrong shapes, EncoreError as
        `encore.fit` does.
        """
        y = column_or_1d(_required(self, y), warn=True, dtype=np.float64)
        columns = _text_columns(X)
        _check_rows(columns, y)
        check_array(y, ensure_2d=False, input_name="y")
        return self._fit(columns, y.tolist(), kind="regression")

    def predict(self, X: Any) -> np.ndarray:
        """The number of each text, (rows,) float64."""
        texts = self._texts(X)
        return np.array([one.label for one in self.model_.predict(texts)], np.float64)


def _required(estimator: BaseEstimator, y: Any) -> Any:
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    return y


def _check_rows(columns: Mapping[str, Sequence[str]], y: np.ndarray) -> None:
    check_consistent_length(*columns.values(), y)
    if len(y) < 2:
        raise ValueError("n_samples = 1: training takes two rows or more.")


def _label_names(classes: np.ndarray) -> list[str]:
    """The names of classes in a file: their own where these are words, numbered ones elsewhere."""
    names = [str(value) for value in classes]
    plain = all(name and name == name.strip() for name in names) and len({*names}) == len(names)
    return names if plain else [f"class {number}" for number in range(len(names))]


def _text_columns(X: Any) -> dict[str, list[str]]:
    """The texts of X, or both texts of its pairs: from a list or an array of texts, a list of
    pairs, or one or two columns of an array or a table. Raises ValueError for anything else.
    """
    found = None if isinstance(X, str | bytes) else as_arrow(X)
    if found is None and (isinstance(X, str | bytes) or not isinstance(X, Iterable)):
        raise ValueError(f"X: expected several texts, got {type(X).__name__}.")
    if isinstance(found, pa.Table):
        table = frame_table(found).columns
        columns = [table[name].to_pylist() for name in table.column_names]
    else:
        rows = list(X) if found is None else found.to_pylist()
        columns = [rows] if all(isinstance(row, str) for row in rows) else _transposed(rows)
    if not columns or not columns[0]:
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
    wrong = {
        type(cell).__name__ for column in columns for cell in column if not isinstance(cell, str)
    }
    if wrong:
        raise ValueError(f"X: expected texts, got {', '.join(sorted(wrong))}.")
    if len(columns) > 2:
        raise ValueError(f"X: expected one column of texts, or two of pairs, got {len(columns)}.")
    return dict(zip(("text", "text_pair"), columns, strict=False))


def _transposed(rows: Sequence[Any]) -> list[list[Any]]:
    """The columns of rows that are lists of one length."""
    kinds = (list, tuple, np.ndarray)
    if not all(isinstance(row, kinds) for row in rows) or len({len(row) for row in rows}) > 1:
        raise ValueError("X: expected texts, or rows that have the same number of texts.")
    return [list(column) for column in zip(*rows, strict=True)]
