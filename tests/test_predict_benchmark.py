"""benchmarks/predict.py without the libraries that it measures: order, ratios, table, cache."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.predict")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.predict_peers")


class Letters:
    """A tokenizer whose ids are the letters' places in the alphabet; 0 pads."""

    pad_token_id = 0

    def __call__(self, texts: list[str], *, truncation: bool, max_length: int) -> dict[str, object]:
        return {"input_ids": [[ord(letter) - 96 for letter in text[:max_length]] for text in texts]}


def test_sorted_texts_get_their_labels_in_the_order_given(peers: ModuleType) -> None:
    """70 texts, so three batches; the label is the first letter, which padding leaves alone."""
    draw = np.random.default_rng(3)
    texts = ["".join(draw.choice(list("abc"), draw.integers(1, 200))) for _ in range(70)]
    shapes = []

    def scores(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert np.array_equal(mask, ids > 0)
        shapes.append(ids.shape)
        return np.eye(4)[ids[:, 0]]

    names = {1: "a", 2: "b", 3: "c"}
    assert peers.sorted_by_length(scores, Letters(), names)(texts) == [text[0] for text in texts]
    assert [rows for rows, _ in shapes] == [32, 32, 6]
    assert shapes[0][1] < shapes[1][1] <= shapes[2][1] == peers.MAX_LENGTH


def test_ratios_are_taken_inside_each_round(predict: ModuleType) -> None:
    """The machine is ten times as slow in the second round, and the ratio is what it was."""
    ours, other = predict.OURS, "other"
    ready = SimpleNamespace(
        about={"about": "texts", "rows": 9},
        variants=dict.fromkeys((ours, other)),
        same={ours: 1.0, other: 0.958},
    )
    rates = [{ours: 300.0, other: 200.0}, {ours: 30.0, other: 20.0}, {ours: 320.0, other: 200.0}]
    rounds = [{"rates": {"short": each}} for each in rates]
    found = predict.summarise({"short": ready}, rounds)
    assert found["short"]["rows"] == 9
    assert found["short"]["variants"][other]["ours_over_it"]["median"] == 1.5
    assert predict.markdown({"sets": found}).splitlines() == [
        "|  | short: rows/s | Encore × | same labels |",
        "| --- | ---: | ---: | ---: |",
        f"| {ours} | 300 | 1.00 [1.00, 1.00] | 100.0 % |",
        "| other | 200 | 1.50 [1.50, 1.60] | 95.8 % |",
    ]


def test_what_was_converted_once_is_taken_and_half_a_file_is_not(
    peers: ModuleType, tmp_path: Path
) -> None:
    place = tmp_path / "peers" / "model.onnx"

    def broken(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        peers.made(place, broken)
    assert not place.exists()
    assert peers.made(place, lambda part: part.write_text("whole")).read_text() == "whole"
    assert peers.made(place, broken).read_text() == "whole"
