"""LoRA in the layout of the peft library, both ways: the states are those that peft computes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import peft
import pytest
import safetensors.torch
import torch
import transformers
from small_encoders import CONFIGS, stirred
from torch import Tensor

from encore import catalogue
from encore.encoder import load
from encore.encoder.encoder import Encoder
from encore.encoder.load import Source
from encore.errors import DataError
from encore.export.peft import write_peft
from encore.runs.adapter_folder import fill_adapter, learned
from encore.techniques.adapters._peft import read_peft
from encore.types import Tokens

ROWS = ([5, 9, 30, 7], [8], [11, 4, 4, 60, 22, 17, 3])
TARGETS = {  # one part of some, all parts of others
    "bert": ["query", "value", "intermediate.dense"],
    "distilbert": ["q_lin", "lin2"],
    "electra": ["key", "attention.output.dense"],
    "modernbert": ["Wqkv", "mlp.Wo"],
    "roberta": ["query", "key", "value"],
}


def made(family: str, folder: Path) -> tuple[Source, Any]:
    """A small encoder of random weights: the folder of it, and the model of transformers."""
    config = transformers.AutoConfig.for_model(**{"pad_token_id": 0, **CONFIGS[family]})
    torch.manual_seed(1)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
    model.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    return Source("small", folder, settings, "digest", "cls", "", False), model


def theirs(model: Any) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(torch.tensor([row])).last_hidden_state[0] for row in ROWS])


def ours(encoder: Encoder) -> Tensor:
    lengths = tuple(map(len, ROWS))
    ids = torch.tensor([token for row in ROWS for token in row])
    positions = torch.cat([torch.arange(length) for length in lengths])
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    tokens = Tokens(ids, torch.zeros_like(ids), positions, offsets, lengths)
    with torch.no_grad():
        found = encoder(tokens).states[-1]
    assert found is not None
    return found


def adapted(source: Source, folder: Path) -> tuple[Encoder, dict[str, Any]]:
    """The encoder with the LoRA of a folder, and its specification."""
    spec, weights = read_peft(folder, source)
    plain = load.load_encoder(source).encoder
    found = catalogue.build("adapters", spec)(plain).eval()
    fill_adapter(found, weights, folder)
    return cast(Encoder, found), spec


def written(model: Any, folder: Path, **settings: Any) -> Any:
    """The model with LoRA of random weights, which is written to a folder."""
    given = {"r": 2, "lora_alpha": 5, "init_lora_weights": False, **settings}
    found = peft.get_peft_model(model, peft.LoraConfig(**given)).eval()
    found.save_pretrained(folder)
    return found


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=0, atol=1e-5))


@pytest.mark.parametrize("family", CONFIGS)
def test_what_peft_wrote_gives_its_states(family: str, tmp_path: Path) -> None:
    source, model = made(family, tmp_path / "base")
    plain = theirs(model)
    lora = written(model, tmp_path / "lora", target_modules=TARGETS[family])
    found, _ = adapted(source, tmp_path / "lora")
    assert close(ours(found), theirs(lora))
    assert not torch.allclose(theirs(lora), plain, atol=0.05), "it changes something"


@pytest.mark.parametrize(
    ("settings", "top"),
    [
        ({"layers_to_transform": [2]}, 1),
        ({"layers_to_transform": [0, 2]}, None),
        ({"use_rslora": True}, None),
        ({"rank_pattern": {"value": 4}, "alpha_pattern": {"value": 3}}, None),
        ({"rank_pattern": {"layer.1.attention.self.query": 5}}, None),
        ({"use_rslora": True, "rank_pattern": {"query": 3}}, None),
        ({"init_lora_weights": True}, None),
    ],
)
def test_settings_that_change_what_it_computes(
    settings: dict[str, Any], top: int | None, tmp_path: Path
) -> None:
    source, model = made("bert", tmp_path / "base")
    lora = written(model, tmp_path / "lora", target_modules=["query", "value"], **settings)
    found, spec = adapted(source, tmp_path / "lora")
    assert close(ours(found), theirs(lora))
    assert spec["top"] == top
    assert spec["targets"] == ["query", "value"]


def test_a_classifier_in_the_folder_is_left_out(tmp_path: Path) -> None:
    source, _ = made("bert", tmp_path / "base")
    labelled = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    settings = {"target_modules": ["query"], "task_type": "SEQ_CLS"}
    lora = written(
        labelled, tmp_path / "lora", modules_to_save=["classifier", "pooler"], **settings
    )
    found, _ = adapted(source, tmp_path / "lora")
    assert close(ours(found), theirs(lora.base_model.model.bert))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("targets", [["query", "value"], ["key", "out", "up", "down"]])
def test_peft_reads_what_encore_wrote(family: str, targets: list[str], tmp_path: Path) -> None:
    source, model = made(family, tmp_path / "base")
    spec: Mapping[str, Any] = {"name": "lora", "rank": 3, "targets": targets, "top": 2}
    torch.manual_seed(2)
    plain = load.load_encoder(source).encoder
    encoder = cast(Encoder, stirred(catalogue.build("adapters", spec)(plain).eval()))
    (tmp_path / "lora").mkdir()
    how = {"base": "small", "dropout": 0.0}
    made_of, _ = write_peft(tmp_path / "lora", encoder, source.config, None, **how)  # type: ignore[arg-type]
    lora = peft.PeftModel.from_pretrained(model, tmp_path / "lora").eval()
    assert type(lora).__name__ == made_of
    assert close(theirs(lora), ours(encoder))
    again, found = adapted(source, tmp_path / "lora")
    assert close(ours(again), ours(encoder))
    if family != "modernbert":  # which has query, key and value in one layer
        assert catalogue.specify("adapters", found) == catalogue.specify("adapters", spec)
        assert all(torch.equal(each, learned(encoder)[k]) for k, each in learned(again).items())


# ------------------------------------------------------------------------------ folders of anybody


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    folder = tmp_path_factory.mktemp("foreign")
    source, model = made("bert", folder / "base")
    written(model, folder / "lora", target_modules=["query", "value"])
    return source, folder / "lora"


QUERY = "base_model.model.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, r"peft_type: expected .*LORA.*, got 'IA3'"),
        ({"r": "8"}, r"adapter_config.json r: expected"),
        ({"r": 10**9}, r"adapter_config.json r: expected"),
        ({"lora_alpha": -1}, r"lora_alpha: expected"),
        ({"lora_dropout": 1.5}, r"lora_dropout: expected"),
        ({"use_dora": True}, r"use_dora: expected"),
        ({"bias": "all"}, r"bias: expected"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights: expected"),
        ({"alpha_pattern": {"(a+)+$": 3.0}}, r"alpha_pattern: expected"),
        ({"layer_replication": [[0, 2]]}, r"layer_replication: expected"),
    ],
)
def test_settings_that_are_refused_in_one_line(
    changes: dict[str, Any], message: str, foreign: tuple[Source, Path], tmp_path: Path
) -> None:
    source, folder = foreign
    config = json.loads((folder / "adapter_config.json").read_text()) | changes
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").symlink_to(folder / "adapter_model.safetensors")
    with pytest.raises(DataError, match=message) as caught:
        read_peft(tmp_path, source)
    assert len(caught.value.lines) == 1


def _without_b(weights: dict[str, Tensor]) -> None:
    del weights[f"{QUERY}.lora_B.weight"]


def _not_finite(weights: dict[str, Tensor]) -> None:
    weights[f"{QUERY}.lora_A.weight"][0, 0] = float("nan")


def _another_layer(weights: dict[str, Tensor]) -> None:
    for kind in "AB":
        name = f"{QUERY}.lora_{kind}.weight"
        weights[name.replace("layer.0", "layer.7")] = weights.pop(name)


def _another_width(weights: dict[str, Tensor]) -> None:
    weights[f"{QUERY}.lora_A.weight"] = torch.zeros(2, 13)


def _more_rank_than_width(weights: dict[str, Tensor]) -> None:
    weights[f"{QUERY}.lora_A.weight"] = torch.zeros(40, 12)
    weights[f"{QUERY}.lora_B.weight"] = torch.zeros(12, 40)


def _more(weights: dict[str, Tensor]) -> None:
    weights["base_model.model.encoder.layer.0.output.dense.weight"] = torch.zeros(12, 20)


def _none(weights: dict[str, Tensor]) -> None:
    weights.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_b, r"expected A \(rank, 12\) and B \(12, rank\), got A \(2, 12\)"),
        (_not_finite, r"1 of 24 values that are not finite"),
        (_another_layer, r"layer.7.attention.self.query' is no linear layer in this encoder"),
        (_another_width, r"got A \(2, 13\), B \(12, 2\)"),
        (_more_rank_than_width, r"got A \(40, 12\), B \(12, 40\)"),
        (_more, r"output.dense.weight' is no part of LoRA, nor of a head"),
        (_none, r"expected matrices of LoRA, got none"),
    ],
)
def test_weights_that_are_refused_in_one_line(
    change: Any, message: str, foreign: tuple[Source, Path], tmp_path: Path
) -> None:
    source, folder = foreign
    weights = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    change(weights)
    safetensors.torch.save_file(weights, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    with pytest.raises(DataError, match=message) as caught:
        read_peft(tmp_path, source)
    assert len(caught.value.lines) == 1


def test_no_pipe_is_waited_for(foreign: tuple[Source, Path], tmp_path: Path) -> None:
    source, folder = foreign
    for pipe, other in (
        ("adapter_config.json", "adapter_model.safetensors"),
        ("adapter_model.safetensors", "adapter_config.json"),
    ):
        place = tmp_path / pipe.partition(".")[0]
        place.mkdir()
        os.mkfifo(place / pipe)
        (place / other).symlink_to(folder / other)
        with pytest.raises(DataError, match=r"expected an ordinary file, got a named pipe"):
            read_peft(place, source)
