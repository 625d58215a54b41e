"""Plant wrong labels in SST-5 and count how many of them `encore check --folds` ranks first.

    python benchmarks/planted_labels.py [FOLDER/cs224n_sst5/train.parquet]

A twentieth of the labels becomes another label, drawn at random. The precision is the share of
planted rows among as many rows as were planted, those of largest doubt; chance is 5 %. Where
cleanlab is installed, its rankings of the same scores are shown beside it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from encore.data.dataset import Dataset
from encore.evaluation.doubt import doubts, out_of_fold_scores
from encore.types import LabelSpace

FRACTION, FOLDS, SEEDS = 0.05, 5, (3, 4, 5, 6, 7)
NAMES = ("0", "1", "2", "3", "4")


def planted(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) the labels with wrong ones among them, and (rows,) bool: the wrong ones."""
    rng = np.random.default_rng(seed)
    n_wrong = round(FRACTION * len(labels))
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[rng.choice(len(labels), n_wrong, replace=False)] = True
    moved = (labels[wrong] + rng.integers(1, len(NAMES), n_wrong)) % len(NAMES)
    changed = labels.copy()
    changed[wrong] = moved
    return changed, wrong


def precision(doubt: np.ndarray, wrong: np.ndarray) -> float:
    """The share of wrong rows among the first ones, as many as there are wrong rows."""
    return float(wrong[np.argsort(-doubt, kind="stable")[: wrong.sum()]].mean())


def precisions(file: Path, seed: int, n_rows: int | None = None) -> Iterator[tuple[str, float]]:
    """The precision of each ranking of the same scores. n_rows: the first ones; None for all."""
    table = pq.read_table(file).slice(0, n_rows)
    labels, wrong = planted(table["label"].to_numpy().astype(np.int64), seed)
    rows = np.arange(len(table))
    dataset = Dataset("train", table["text"], None, labels, rows, "", str(file))
    plain, ordered = (LabelSpace("multiclass", NAMES, order) for order in (False, True))
    scores = out_of_fold_scores(dataset, plain, FOLDS, seed=42).astype(np.float64)
    yield "encore, data.ordered=true", precision(doubts(scores, labels, ordered), wrong)
    yield "encore", precision(doubts(scores, labels, plain), wrong)
    try:
        rank = importlib.import_module("cleanlab.rank")
    except ImportError:
        return
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exp / exp.sum(axis=1, keepdims=True)
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        quality = rank.get_label_quality_scores(labels, probabilities, method=method)
        yield f"cleanlab, {method}", precision(-quality, wrong)


def main() -> None:
    """Print the mean precision of each ranking, its least and its largest."""
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/cs224n_sst5/train.parquet")
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, value in precisions(file, seed):
            found.setdefault(name, []).append(value)
    for name, values in found.items():
        print(f"{name}: {np.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})")


if __name__ == "__main__":
    main()
