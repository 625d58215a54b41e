"""Writes golden.safetensors: a small BERT with adapters of AdapterHub's library `adapters`, all of
random weights, and what it computes. Run it where that library is, which needs its own version of
transformers: `pip install adapters==1.3.0 torch`, then `python write_golden.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import adapters
import safetensors.torch
import torch
import transformers
from adapters import composition

HERE = Path(__file__).parent
CONFIG = {
    "model_type": "bert",
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 20,
}
LENGTHS = (7, 12, 1, 4)
ADAPTERS = ("one", "two", "three")
SETTINGS = {"reduction_factor": 4, "non_linearity": "gelu"}


def random_weights(model: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shift = float("LayerNorm" in name and name.endswith("weight"))
            # Large scores would make much of float32's rounding.
            spread = 0.1 if "query" in name or "key" in name else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * spread + shift)


def main() -> None:
    """Write the file beside this script."""
    model = transformers.BertModel(transformers.BertConfig(**CONFIG), add_pooling_layer=False)
    adapters.init(model)
    for name in ADAPTERS:
        model.add_adapter(name, config=adapters.DoubleSeqBnConfig(**SETTINGS))
    one_place = adapters.SeqBnConfig(original_ln_before=False, **SETTINGS)
    model.add_adapter("pfeiffer", config=one_place)
    fusion = composition.Fuse(*ADAPTERS)
    model.add_adapter_fusion(fusion, "dynamic")
    random_weights(model)
    model.eval()

    draw = torch.Generator().manual_seed(2)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    ids = torch.randint(5, CONFIG["vocab_size"], mask.shape, generator=draw) * mask
    found = {"ids": ids[mask].int()}
    for name, setup in (("houlsby", "one"), ("pfeiffer", "pfeiffer"), ("fusion", fusion)):
        model.set_active_adapters(setup)
        with torch.no_grad():
            output = model(
                ids,
                mask.long(),
                output_hidden_states=True,
                output_adapter_fusion_attentions=name == "fusion",
            )
        for number, state in enumerate(output.hidden_states):
            found[f"states.{name}.{number}"] = state[mask]
    (attentions,) = output.adapter_fusion_attentions.values()
    for layer, places in attentions.items():
        for place, weights in places.items():
            found[f"shares.{layer}.{place}"] = torch.as_tensor(weights)[mask]
    found["penalty"] = model.get_fusion_regularization_loss().detach()
    weights = {f"weights.{name}": value.detach() for name, value in model.named_parameters()}
    about = {"config": json.dumps(CONFIG), "lengths": json.dumps(LENGTHS)}
    about["made_with"] = f"adapters {adapters.__version__}, transformers {transformers.__version__}"
    whole = {name: value.contiguous() for name, value in (found | weights).items()}
    safetensors.torch.save_file(whole, HERE / "golden.safetensors", metadata=about)


if __name__ == "__main__":
    main()
