"""Weights that are not finite are refused, and rows with scores that are not finite are named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import Tables, Warm

from encore import files
from encore.errors import DataError
from encore.runs.predict import load


@pytest.fixture(scope="module")
def run(tables: Tables, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    options = ["--dev", tables.dev, "--text", "text", "--label", "verdict", "--runs", runs]
    outcome = warm.run(["train", tables.train, *options, *tables.settings, "plan.epochs=1"])
    assert outcome.code == 0, outcome.err
    return next(runs.iterdir())


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Callable[[Callable[[torch.Tensor], object]], Path]:
    """`changed(edit)`: a copy of the run, the weights of whose head are edited in place, under a
    manifest that fits: as an earlier Encore, or a diverged training, would have left it.
    """

    def build(edit: Callable[[torch.Tensor], object]) -> Path:
        model = shutil.copytree(run, tmp_path / "run") / "model"
        weights = safetensors.torch.load_file(model / "weights.safetensors")
        edit(next(weights[name] for name in weights if name.endswith("head.out.weight")))
        safetensors.torch.save_file(weights, model / "weights.safetensors")
        entries = files.read_json(model / files.MANIFEST)
        files.write_manifest(model, [model / name for name in entries])
        return tmp_path / "run"

    return build


def test_weights_that_are_not_finite_are_refused_by_name(
    changed: Callable[..., Path], tables: Tables, warm: Warm
) -> None:
    folder = changed(lambda weight: weight[1, 2:4].fill_(float("nan")))
    for command in (["predict", folder, tables.dev, "-o", "-"], ["evaluate", folder, tables.dev]):
        outcome = warm.run(command)
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err.endswith(
            "weights.safetensors: tensor 'head.out.weight' has 2 of 72 values that are not finite. "
            "Download or train it again.\n"
        )
        assert outcome.err.count("\n") == 1


def test_scores_that_overflow_are_an_error_that_names_the_rows(
    changed: Callable[..., Path], tables: Tables, warm: Warm, tmp_path: Path
) -> None:
    """Weights that are finite, and whose products are not."""
    folder = changed(lambda weight: weight.fill_(3e38))
    out = tmp_path / "predictions.csv"
    for command in (["predict", folder, tables.dev, "-o", out], ["evaluate", folder, tables.dev]):
        outcome = warm.run(command)
        assert (outcome.code, outcome.out) == (3, "")
        (line,) = (line for line in outcome.err.splitlines() if "delimiter" not in line)
        assert "rows (lines " in line
        assert "are not finite: expected numbers, got " in line
    assert not out.exists()
    with pytest.raises(DataError, match=r"given texts: .* for 1 of 1 row \(row 1\) are not finite"):
        load(folder).predict(["the lamp"])
