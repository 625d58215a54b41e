"""Wrong labels that are planted in SST-5 are doubted far more often than by chance."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from encore.data.dataset import Dataset
from encore.evaluation.doubt import out_of_fold_scores
from encore.types import LabelSpace

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("cs224n_sst5/train.parquet")


@pytest.mark.nightly  # 155 fits of 50,000 features
def test_planted_labels_are_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [Path(os.environ.get("ENCORE_DATA", "")), ROOT.parent / "shared" / "data"]
    file = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if file is None:
        pytest.skip(f"{FILE} is in neither ENCORE_DATA nor ../shared/data")
    monkeypatch.syspath_prepend(str(ROOT))
    bench = importlib.import_module("benchmarks.planted_labels")
    found = dict(bench.precisions(file, seed=3, n_rows=1_200))
    assert found["encore"] > 0.3
    assert found["encore, data.ordered=true"] > 0.3
    peer = found.get("cleanlab, self_confidence", found["encore"])
    assert found["encore"] == peer


def test_a_row_is_scored_by_a_model_that_saw_no_copy_of_it() -> None:
    """Each text occurs twice, with one label; only its own copy could tell the label."""
    texts = [chr(0x4E00 + row // 2) * 3 for row in range(80)]
    targets = np.random.default_rng(0).integers(0, 2, 40).repeat(2)
    dataset = Dataset("train", pa.chunked_array([texts]), None, targets, np.arange(80), "", "")
    labels = LabelSpace("binary", ("a", "b"))
    scores = out_of_fold_scores(dataset, labels, 4, seed=1)
    assert scores.shape == (80, 2)
    np.testing.assert_array_equal(scores[::2], scores[1::2])
    differences = scores[:, 1] - scores[:, 0]
    assert len(np.unique(differences.round(5))) <= 4, "an unseen word: the prior of its fold alone"


def test_a_row_is_scored_by_a_model_that_saw_no_row_of_its_group() -> None:
    """Two texts of each group share a word that no other has; only the other one could tell."""
    texts = [f"{chr(0x4E00 + row // 2) * 3} {chr(0x5E00 + row) * 3}" for row in range(80)]
    targets = np.random.default_rng(0).integers(0, 2, 40).repeat(2)
    groups = pa.chunked_array([[f"author {99 - row // 2}" for row in range(80)]])
    dataset = Dataset("train", pa.chunked_array([texts]), None, targets, np.arange(80), "", "")
    labels = LabelSpace("binary", ("a", "b"))

    def n_priors(rows: Dataset) -> int:
        scores = out_of_fold_scores(rows, labels, 4, seed=1)
        return len(np.unique((scores[:, 1] - scores[:, 0]).round(5)))

    assert n_priors(replace(dataset, groups=groups)) <= 4
    assert n_priors(dataset) > 4
