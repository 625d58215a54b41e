"""Estimators for scikit-learn, which fine-tune an encoder in `fit`."""

from encore.sklearn.estimators import EncoreClassifier, EncoreRegressor

__all__ = ["EncoreClassifier", "EncoreRegressor"]
