"""Writes an encoder as a folder that Encore and transformers load: config.json, weights with the
head of its language model, tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from tokenizers import Tokenizer
from torch import Tensor

from encore import files
from encore.data.tokenizer_roles import special_roles
from encore.encoder.families import bert
from encore.encoder.language_head import head_names, published_head
from encore.encoder.load import Source, family
from encore.encoder.published import published_weights
from encore.encoder.weights import read_header
from encore.model.language_model import LanguageModel, new_weights

__all__ = ["write_encoder", "write_new_encoder"]

_POOLING = Path("1_Pooling") / "config.json"
_OF_THE_WRITER = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "auto_map")
_HEADER = {"format": "pt"}  # without it, older transformers refuse a safetensors file


def write_encoder(folder: Path, model: LanguageModel, source: Source, tokenizer: Tokenizer) -> None:
    """Fill an empty folder with a model that began as `source`."""
    names, header = head_names(source.config), read_header(source.folder / "model.safetensors")
    shapes = {_canonical(name, names.prefix): tuple(each.shape) for name, each in header.items()}
    weights = {f"encoder.{key}": value for key, value in model.encoder.state_dict().items()}
    if model.pooler is not None:
        weights |= {f"pooler.{key}": value for key, value in model.pooler.state_dict().items()}
        shapes |= {
            f"{names.prefix}pooler.dense.{key}": tuple(value.shape)
            for key, value in model.pooler.state_dict().items()
        }
    known = family(source.config.get("model_type"))

    def rename(published: dict[str, Tensor]) -> dict[str, Tensor]:
        encoder, pooler = known.from_huggingface(published)
        return {f"encoder.{key}": value for key, value in encoder.items()} | {
            f"pooler.{key}": value for key, value in pooler.items()
        }

    found = published_weights(shapes, rename, weights)
    found |= published_head(names, model.head.state_dict())
    if model.follows is not None and names.prefix == "bert.":
        found |= {
            f"cls.seq_relationship.{key}": value
            for key, value in model.follows.state_dict().items()
        }
    config = {key: entry for key, entry in source.config.items() if key not in _OF_THE_WRITER}
    config |= {"architectures": [names.architecture], "tie_word_embeddings": True}
    _write(folder, config, found, tokenizer)
    if (source.folder / _POOLING).is_file():
        (folder / _POOLING.parent).mkdir()
        files.write(folder / _POOLING, (source.folder / _POOLING).read_bytes())


def write_new_encoder(
    folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer, seed: int
) -> None:
    """Fill an empty folder with a BERT that nobody has trained. config: its sizes; the vocabulary's
    is added.
    """
    roles = special_roles(tokenizer, config)
    complete = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **config,
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,  # some numbers may be unused
        "pad_token_id": tokenizer.token_to_id(roles.get("pad_token", "[PAD]")),
    }
    _write(folder, complete, bert.to_huggingface(new_weights(complete, seed)), tokenizer)


def _write(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Tokenizer
) -> None:
    with files.explained(folder):
        safetensors.torch.save_file(
            {name: value.detach().cpu().contiguous() for name, value in sorted(weights.items())},
            folder / "model.safetensors",
            metadata=_HEADER,
        )
    files.write_json(folder / "config.json", dict(config))
    files.write(folder / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **special_roles(tokenizer, config),
    }
    if isinstance(most := config.get("max_position_embeddings"), int):
        settings |= {"model_max_length": most}
    files.write_json(folder / "tokenizer_config.json", settings)


def _canonical(name: str, prefix: str) -> str:
    """A tensor's name as the class with a language model's head has it."""
    bare = name.removeprefix("discriminator.").removeprefix(prefix)
    stem, _, kind = bare.rpartition(".")
    return f"{prefix}{stem}.{ {'gamma': 'weight', 'beta': 'bias'}.get(kind, kind) }"
