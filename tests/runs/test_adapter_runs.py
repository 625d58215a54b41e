"""Runs with an adapter: what is kept of them, and what they need to be read again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import Tables

import encore
from encore.errors import DataError, RecipeError
from encore.export.folder import export_run
from encore.runs.memory import RunMemory
from encore.runs.prepare import build_models

TEXTS = ["the lamp is great", "my zip broke after a week and it was slow", "one", ""]


def fit(tables: Tables, where: Path, *overrides: str) -> Path:
    recipe = tables.recipe("plan.epochs=2", "plan.keep=best", *overrides)
    return encore.fit(recipe, runs=where).folder


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted((run / "model").glob("weights*.safetensors")):
        found |= safetensors.torch.load_file(file)
    return found


@pytest.mark.parametrize(
    "adapter",
    ["houlsby", "{name: pfeiffer, size: 5, top: 1}", "lora", "{name: houlsby, train_norms: true}"],
)
def test_a_run_keeps_what_it_learned_and_no_more(
    adapter: str, tables: Tables, tmp_path: Path
) -> None:
    run = fit(tables, tmp_path, f"adapter={adapter}")
    prepared = tables.prepared("plan.epochs=2", "plan.keep=best", f"adapter={adapter}")
    models = build_models(prepared)
    learned = {
        name
        for name, parameter in next(iter(models.values())).named_parameters()
        if parameter.requires_grad
    }
    assert {name.partition(".")[2] for name in weights_of(run)} == learned
    assert RunMemory(prepared).n_parameters[1] == sum(
        parameter.numel()
        for name, parameter in next(iter(models.values())).named_parameters()
        if name in learned
    )


@pytest.mark.parametrize("adapter", ["houlsby", "pfeiffer", "lora"])
def test_read_again_in_a_fresh_process_it_gives_the_same(
    adapter: str, tables: Tables, tmp_path: Path
) -> None:
    run = fit(tables, tmp_path, f"adapter={adapter}", "pooling=pooler")
    expected = encore.load(run).predict_proba(TEXTS).tolist()
    code = (
        "import encore, json, sys; "
        "print(json.dumps(encore.load(sys.argv[1]).predict_proba(json.loads(sys.argv[2])).tolist()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(run), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout) == expected


def test_tasks_kept_apart_have_an_adapter_each(tables: Tables, tmp_path: Path) -> None:
    recipe = tables.recipe()
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    run = encore.fit(
        {
            "encoder": recipe.encoder,
            "threads": 1,
            "precision": "fp32",
            "max_length": 32,
            "pooling": "mean",
            "adapter": "houlsby",
            "sharing": "separate",
            "data": data,
            "tasks": {
                "a": {"data": {"label": "verdict"}},
                "b": {"data": {"label": "score", "kind": "regression"}},
            },
            "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9, "keep": "best_per_task"},
        },
        runs=tmp_path,
    ).folder
    stored = weights_of(run)
    assert not any("word" in name or ".qkv." in name for name in stored)
    one, other = ({n.partition(".")[2] for n in stored if n[0] == task} for task in "ab")
    assert {n for n in one if "adapter" in n} == {n for n in other if "adapter" in n} != set()
    model = encore.load(run)
    assert model.predict(TEXTS, task="a")


def test_without_its_encoder_or_with_another_it_says_so(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, own)
    run = fit(tables, tmp_path / "runs", "adapter=houlsby", f"encoder={own}")
    assert encore.load(run).predict(TEXTS)
    weights = safetensors.torch.load_file(own / "model.safetensors")
    weights["pooler.dense.bias"] += 1
    safetensors.torch.save_file(weights, own / "model.safetensors")
    with pytest.raises(DataError, match=r"its adapters belong to another encoder than .*sha256"):
        encore.load(run)
    shutil.rmtree(own)
    with pytest.raises(DataError, match=r"its adapters belong to the encoder .* cannot be read"):
        encore.load(run)


@pytest.mark.nightly
def test_exports_hold_all_of_it(tables: Tables, tmp_path: Path) -> None:
    bottleneck = fit(tables, tmp_path / "runs", "adapter=houlsby")
    lora = fit(tables, tmp_path / "runs", "adapter=lora", "pooling=cls")
    assert export_run(bottleneck, "hf", tmp_path / "a").made_of == "EncoreForSequenceClassification"
    assert export_run(lora, "hf", tmp_path / "b").made_of == "BertForSequenceClassification"
    with pytest.raises(RecipeError, match=r"has an adapter, that is.*Use --to hf, or"):
        export_run(bottleneck, "sentence-transformers", tmp_path / "c")


def test_the_announcement_has_the_share_and_a_low_rate(tables: Tables) -> None:
    from encore.cli.train import announcements

    lines = announcements(tables.prepared("adapter=lora"))
    assert [line for line in lines if line.startswith("adapter")] == [
        "adapter lora: 1,611 of 13,931 parameters train (12 %)"
    ]
    assert not any("low for an adapter" in line for line in lines)
    lines = announcements(tables.prepared("adapter=lora", "plan.lr=5e-5"))
    assert any(line.startswith("plan.lr=5e-05 is low for an adapter") for line in lines)
    assert not any("adapter" in line for line in announcements(tables.prepared("plan.lr=5e-5")))


def test_more_layers_than_there_are_are_refused_before_training(tables: Tables) -> None:
    with pytest.raises(RecipeError, match=r"top: expected at most 2, the encoder's layers, got 3"):
        tables.prepared("adapter={name: lora, top: 3}")
