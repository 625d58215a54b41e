"""Runs to export: one of each kind of task, trained by `encore.fit`, and copies of one with another
pooling or encoder and random weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest
import safetensors.torch
import torch
from conftest import Tables, write_csv

import encore
from encore import files
from encore.encoder import load as encoders
from encore.export import fresh
from encore.export.check import ReferenceOutputs, check_job
from encore.export.write import WrittenExport
from encore.model.assembly import TaskSpec
from encore.runs.predict import assemble_model
from encore.types import LabelSpace

KINDS: Mapping[str, Mapping[str, str | None]] = {
    "multiclass": {"label": "verdict"},
    "binary": {"label": "sign"},
    "multilabel": {"label": "tags"},
    "regression": {"label": "score"},
    "pair": {
        "label": "verdict",
        "text_pair": "other",
        "dev": None,
    },  # a part of its train file, which its notes name
}
# As long as none, longer than `max_length`, in other scripts, with what only looks like a special
# token.
STRANGE = (
    "",
    "   ",
    "ZIP 🙂 broken",
    "很好 box",
    "مكسور",
    "cafe\u0301 naïve",
    "a\nb\tc",
    "x" * 300,
    "\u200b",
    "[CLS] [SEP] [MASK]",
    "Isn't it? Yes, it's GREAT ...",
    "the " * 60,
)


@pytest.fixture(scope="session")
def runs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A complete run of each kind, two epochs long."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("to-export") / "train"
    place.mkdir()
    for path in (tables.train, tables.dev):
        rows = pyarrow.csv.read_csv(path).to_pydict()
        write_csv(
            place / path.name,
            rows | {"sign": ["plus" if float(score) > 0 else "minus" for score in rows["score"]]},
        )
    made = Tables(place / "train.csv", place / "dev.csv", tables.settings)
    poolings = {"multiclass": "pooler"}
    return {
        kind: encore.fit(
            made.recipe("plan.epochs=2", f"pooling={poolings.get(kind, 'mean')}", **columns),
            runs=place / kind,
        ).folder
        for kind, columns in KINDS.items()
    }


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of texts that are hard on tokenizers, with what a model of pairs needs too."""
    folder = tmp_path_factory.mktemp("strange")
    texts = [*STRANGE, "the lamp is great", "my zip broke after a week and it was slow"]
    return str(write_csv(folder / "strange.csv", {"text": texts, "other": texts[::-1]}))


@pytest.fixture(scope="session")
def vary(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`vary("multiclass", pooling={"name": "mean"}, config={…})`: a copy of that run whose model is
    another one, of random weights. tokenizer: parts of tokenizer.json. Further words are settings
    of its task.
    """

    def build(
        kind: str,
        *,
        config: Mapping[str, Any] | None = None,
        tokenizer: Mapping[str, Any] | None = None,
        precision: str = "fp32",
        sharing: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Path:
        folder = tmp_path_factory.mktemp("varied") / "run"
        shutil.copytree(runs[kind], folder)
        model = folder / "model"
        assembly = files.read_json(model / "model.json")
        ((name, task),) = assembly["tasks"].items()
        task |= settings
        assembly |= {"precision": precision, "sharing": sharing or {"name": "one"}}
        whole = config or files.read_json(model / "config.json")
        network = randomised(whole, task, assembly["sharing"])
        safetensors.torch.save_file(
            {f"{name}.{key}": value.contiguous() for key, value in network.state_dict().items()},
            model / "weights.safetensors",
        )
        content = files.read_json(model / "tokenizer.json") | dict(tokenizer or {})
        (model / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        (model / "config.json").write_text(json.dumps(whole), encoding="utf-8")
        (model / "model.json").write_text(json.dumps(assembly), encoding="utf-8")
        files.write_manifest(
            model, [file for file in model.iterdir() if file.name != files.MANIFEST]
        )
        files.write_manifest(
            folder, [folder / file for file in files.read_json(folder / files.MANIFEST)]
        )
        return folder

    return build


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The comparison in this process, which has transformers already: the real one costs five
    seconds. Returns the folders that were looked at.
    """
    seen: list[str] = []

    def ask(jobs: Sequence[tuple[WrittenExport, ReferenceOutputs]]) -> list[dict[str, Any]]:
        seen.extend(written.folder.name for written, _ in jobs)
        return [fresh.load_and_run(check_job(written, rows)) for written, rows in jobs]

    monkeypatch.setattr("encore.export.folder.outputs_in_fresh_process", ask)
    return seen


def randomised(
    config: Mapping[str, Any], task: Mapping[str, Any], sharing: Mapping[str, Any]
) -> torch.nn.Module:
    """The model of these settings with weights that make every part count."""
    part = TaskSpec(
        LabelSpace(task["labels"]["kind"], tuple(task["labels"]["names"])),
        task["pooling"],
        task["head"],
        task["pair"],
    )
    network = assemble_model(config, part, sharing)
    torch.manual_seed(4)
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(
            parameter, mean=float("norm" in name and name.endswith("weight")), std=0.3
        )
    return network


def config_of(family: str, vocabulary: int) -> dict[str, Any]:
    """A small encoder of any family, borrowed ones too: each finds its own words in here."""
    sizes = {
        "hidden_size": 24,
        "intermediate_size": 31,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "embedding_size": 17,
        "hidden_dim": 31,
    }
    sizes |= {
        "dim": 24,
        "n_layers": 3,
        "n_heads": 3,
        "max_position_embeddings": 60,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    return {**sizes, "model_type": family, "vocab_size": vocabulary, "local_attention": 8}


OTHER_FAMILIES = (
    *(name for name in encoders.families() if name != "bert"),
    "xlm-roberta",
    "deberta-v2",
)  # the last one is borrowed
