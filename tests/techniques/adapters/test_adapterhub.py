"""The adapters of AdapterHub's library with random weights compute what Encore's compute: its
outputs are in tests/golden/adapterhub, beside the script that wrote them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors
import torch
from small_encoders import LABELS, batch_of
from torch import Tensor, nn

from encore import catalogue
from encore.data.batches import collate
from encore.data.token_store import TokenStore
from encore.encoder import load
from encore.encoder.adapted import AdaptedResidual
from encore.encoder.encoder import Encoder
from encore.encoder.families import bert
from encore.techniques.adapters._fused import FusedAdapters
from encore.types import Output, Spec, Tokens

GOLDEN = Path(__file__).parents[2] / "golden" / "adapterhub" / "golden.safetensors"
ADAPTERS = ("one", "two", "three")
HOULSBY: Spec = {"name": "houlsby", "size": 6}
SPECS: dict[str, Spec] = {
    "houlsby": HOULSBY,
    "pfeiffer": {"name": "pfeiffer", "size": 6},
    "fusion": {"name": "fusion", "of": [HOULSBY] * 3, "regularise": 0.01},
}
# The end of a sublayer there and here, and the name of its fusion's weights.
PLACES = {
    "attention.output": ("attention_norm", "mh_adapter"),
    "output": ("output_norm", "output_adapter"),
}


class Golden:
    """The content of the file: weights, and what the library computed."""

    def __init__(self) -> None:
        with safetensors.safe_open(GOLDEN, framework="pt") as opened:
            self.tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            about = opened.metadata()
        self.config, self.lengths = json.loads(about["config"]), json.loads(about["lengths"])
        self.weights = {
            name.removeprefix("weights."): value
            for name, value in self.tensors.items()
            if name.startswith("weights.")
        }

    def encoder(self) -> Encoder:
        found = cast(Encoder, load.build_encoder(self.config))
        own = {name: value for name, value in self.weights.items() if "adapter" not in name}
        found.load_state_dict(bert.from_huggingface(own)[0])
        return found.eval()

    def tokens(self) -> Tokens:
        ids = self.tensors["ids"].numpy()
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        zeros, uncut = np.zeros(len(ids), np.uint8), np.zeros(len(self.lengths), bool)
        store = TokenStore(ids, zeros, offsets, uncut, 20)
        return collate(store, np.arange(len(self.lengths)))

    def load_bottleneck(self, adapter: nn.Module, place: str, name: str) -> None:
        prefix = f"{place}.adapters.{name}.adapter_"
        adapter.load_state_dict(
            {
                f"{ours}.{kind}": self.weights[f"{prefix}{theirs}.{kind}"]
                for ours, theirs in (("down", "down.0"), ("up", "up"))
                for kind in ("weight", "bias")
            }
        )

    def load_fused(self, fused: FusedAdapters, place: str) -> None:
        prefix = f"{place}.adapter_fusion_layer.{','.join(ADAPTERS)}."
        own = {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}
        assert len(own) == 5
        fused.load_state_dict(own, strict=False)
        for adapter, name in zip(fused.adapters, ADAPTERS, strict=True):
            self.load_bottleneck(adapter, place, name)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def adapted(golden: Golden, name: str) -> Encoder:
    """Encore's encoder with the weights of the file."""
    found = cast(Encoder, catalogue.build("adapters", SPECS[name])(golden.encoder()).eval())
    n_loaded = 0
    for layer, block in enumerate(found.blocks):
        for theirs, (ours, _) in PLACES.items():
            end, place = block.get_submodule(ours), f"encoder.layer.{layer}.{theirs}"
            if isinstance(end, AdaptedResidual):
                n_loaded += 1
                if isinstance(end.adapter, FusedAdapters):
                    golden.load_fused(end.adapter, place)
                else:
                    golden.load_bottleneck(end.adapter, place, {"houlsby": "one"}.get(name, name))
    assert n_loaded == (2 if name == "pfeiffer" else 4)
    return found


def largest_difference(one: Tensor | None, other: Tensor) -> float:
    assert one is not None
    return float((one - other).abs().max())


@pytest.mark.parametrize("name", SPECS)
def test_states_of_every_layer_are_theirs(name: str, golden: Golden) -> None:
    batch = golden.tokens()
    with torch.no_grad():
        states = adapted(golden, name)(batch).states
        plain = golden.encoder()(batch).states
    for number, state in enumerate(states):
        theirs = golden.tensors[f"states.{name}.{number}"]
        assert largest_difference(state, theirs) < 1e-5
        assert number == 0 or largest_difference(plain[number], theirs) > 0.1, "the adapter counts"


def test_shares_of_every_token_are_theirs(golden: Golden) -> None:
    found: dict[str, Tensor] = {}
    encoder = adapted(golden, "fusion")
    for layer, block in enumerate(encoder.blocks):
        for ours, place in PLACES.values():
            fused = cast(FusedAdapters, cast(AdaptedResidual, block.get_submodule(ours)).adapter)

            def keep(module: Any, inputs: Any, output: Any, name: str = f"{layer}.{place}") -> None:
                (h,) = inputs
                found[name] = module.weights(h, module.changes(h))

            fused.register_forward_hook(keep)
    with torch.no_grad():
        encoder(golden.tokens())
    assert len(found) == 4
    for name, shares in found.items():
        theirs = golden.tensors[f"shares.{name}"]
        assert largest_difference(shares, theirs) < 1e-5
        assert float(theirs.std(1).max()) > 0.1, "the adapters do not all get the same"


def test_the_regulariser_is_theirs(golden: Golden) -> None:
    loss, encoder = catalogue.build("losses", "fusion_values", LABELS), adapted(golden, "fusion")
    _, weight = catalogue.build("adapters", SPECS["fusion"]).term
    term = loss(encoder, batch_of("a"), Output(torch.zeros(9, 3), ()))
    ours = weight * float((term.sum / term.weight).detach())
    assert ours == pytest.approx(float(golden.tensors["penalty"]), rel=1e-5)
