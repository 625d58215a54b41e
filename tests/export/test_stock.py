"""Exports that transformers loads without Encore: announced before training, and loaded where
Encore cannot be imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tables
from torch.testing import assert_close

from encore.api import prepared_from
from encore.cli.train import announcements
from encore.export import stock
from encore.export.write import write_export
from encore.runs.predict import load

TEXTS = ["the lamp is great", "my zip broke after a week and it was slow"]
WITHOUT_ENCORE = """
import json, sys
sys.modules["encore"] = None
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], top_k=None, device="cpu")
print(json.dumps(classify(json.loads(sys.argv[2]))))
"""


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, ""),
        ({"pooling": {"name": "cls"}}, ""),
        ({"pooling": {"name": "mean"}}, "pooling=cls would"),
        ({"head": {"name": "siamese_dot"}, "in_one_row": False}, "head=linear would"),
        (
            {"pooling": {"name": "mean"}, "head": {"name": "siamese_dot"}, "in_one_row": False},
            "pooling=cls head=linear would",
        ),
        ({"in_one_row": False}, "pair=cross would"),
        ({"adapter": "lora"}, ""),
        ({"adapter": "houlsby"}, "its encoder has new layers inside, adapter=houlsby"),
        ({"n_encoders": 2}, "it has 2 encoders side by side"),
        ({"config": "modernbert"}, "the class for modernbert computes no pooling of Encore's"),
    ],
)
def test_what_stands_in_the_way(settings: Mapping[str, Any], why: str) -> None:
    usual = {"pooling": {"name": "pooler"}, "head": {"name": "linear"}}
    given = {"config": "bert", "n_encoders": 1, "in_one_row": True, **usual, **settings}
    given = {"adapter": "", **given}
    assert stock.obstacle(**{**given, "config": {"model_type": given["config"]}}) == why


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (("pooling=mean",), "no, pooling=cls would"),
        (("pooling=cls",), "yes"),
        (("pooling=pooler",), "yes"),
        (("pooling=cls", "text_pair=other"), "yes"),
        (
            ("pooling=cls", "text_pair=other", "pair={name: cross, eval_order: both}"),
            "no, pair=cross would",
        ),
        (
            ("pooling=mean", "text_pair=other", "head=siamese_concat"),
            "no, pooling=cls head=linear would",
        ),
        (("pooling=cls", "sharing=static"), "no, it has 2 encoders side by side"),
    ],
)
def test_it_is_announced_before_training(
    settings: tuple[str, ...], line: str, tables: Tables
) -> None:
    columns = {"label": "verdict"} | dict(
        text.split("=") for text in settings if text.startswith("text_pair")
    )
    overrides = [text for text in settings if not text.startswith("text_pair")]
    prepared = prepared_from(tables.recipe(*overrides, **columns))
    assert f"exports to plain transformers: {line}" in announcements(prepared)


@pytest.mark.parametrize("pooling", [pytest.param("pooler", marks=pytest.mark.nightly), "cls"])
def test_it_loads_where_encore_cannot_be_imported(
    pooling: str, vary: Callable[..., Path], tmp_path: Path
) -> None:
    model = load(vary("multiclass", pooling={"name": pooling}))
    write_export(model, model.task(), "hf", tmp_path, name="x")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ENCORE, str(tmp_path), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [found.probabilities for found in model.predict(TEXTS)]
    for row, found in zip(expected, json.loads(done.stdout), strict=True):
        theirs = {one["label"]: one["score"] for one in found}
        assert theirs == pytest.approx(row, abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02), (torch.float16, 3e-3)]
)
def test_the_first_state_passes_tanh_in_every_precision(
    dtype: torch.dtype, tolerance: float
) -> None:
    """As exactly as the precision has numbers, for states as large as LayerNorm makes them."""
    drawn = torch.Generator().manual_seed(0)
    states = torch.randn(64, 16, generator=drawn).mul(8).clamp(-30, 30).to(dtype)
    out = torch.randn(3, 16, generator=drawn).mul(0.1)
    weights = {"head.out.weight": out, "head.out.bias": torch.tensor([0.5, 0.0, -1.0])}
    found = stock.as_pooler({"name": "cls"}, {"name": "linear"}, weights)
    dense, scores = (
        [found[f"{part}.{kind}"].to(dtype) for kind in ("weight", "bias")]
        for part in ("branches.0.pooling.dense", "head.out")
    )
    pooled = torch.tanh(torch.nn.functional.linear(states, *dense))
    assert_close(
        torch.nn.functional.linear(pooled, *scores),
        torch.nn.functional.linear(states, out.to(dtype), scores[1]),
        rtol=tolerance,
        atol=tolerance,
    )
