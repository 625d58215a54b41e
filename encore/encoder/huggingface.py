"""Any other encoder of texts that transformers has (DeBERTa, MPNet, …), through the extra `[hf]`.

It is used in place of an `Encoder` and pads inside itself: rows of near-equal length together, as
attention pads them, so that a row's padding depends on its own length alone. What an `Encoder` does
and this cannot: its blocks cannot be taken apart (`blocks`), every layer is computed whatever is
read, and dropout is torch's own, seeded anew in every pass: a run resumes bit for bit, but
micro-batches draw other masks than the whole batch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encore.data.table import display_path
from encore.encoder import ragged
from encore.encoder.dropout import next_seed
from encore.encoder.encoder import Shape
from encore.encoder.weights import refuse_misfits
from encore.encoder.word_table import WordTable
from encore.errors import DataError, RecipeError, on_one_line
from encore.types import Encoded, Tokens

__all__ = [
    "HuggingFaceEncoder",
    "WordLookup",
    "build_from_transformers",
    "compare_sizes",
    "pretrained",
    "unsupported_reason",
]

_OLDEST = 5  # as the extra says
_INSTALL = "pip install 'encore-nlp[hf]'"


def unsupported_reason(model_type: str) -> str | None:
    """The reason why an encoder of this kind cannot be used; None where none is known."""
    if importlib.util.find_spec("transformers") is None:
        return f"transformers, which may have it, is not installed: {_INSTALL}"
    installed = metadata.version("transformers")
    if int(installed.split(".")[0]) < _OLDEST:
        return f"transformers {installed} is too old for it: {_INSTALL}"
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_MAPPING_NAMES,
    )

    if model_type in MODEL_MAPPING_NAMES and model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return None
    return "transformers has no encoder of texts under that name either"


class WordLookup(nn.Module):
    """Word vectors alone: positions and all else are added inside the model."""

    def __init__(self, word: nn.Module) -> None:
        super().__init__()
        self.word = word

    def forward(self, tokens: Tokens) -> Tensor:
        return self.word(tokens.ids)


class HuggingFaceEncoder(nn.Module):
    """transformers' model behind the joint of `Encoder`: `embedded`, `run`, `shape`, `dtype`.

    `embedded` are the word vectors, from which a loss may enter again; H[0] and all other states
    are those that transformers calls `hidden_states`. Where `dtype` is bf16 it computes under
    autocast.
    """

    def __init__(self, model: Any, model_type: str) -> None:
        """Raises DataError where the model cannot be used as an encoder."""
        super().__init__()
        self.model_type, self.dtype = model_type, torch.float32
        accepted = inspect.signature(model.forward).parameters
        problems = [
            f"config.json: model_type '{model_type}': transformers' model takes no {name}, "
            f"which Encore passes. Choose another encoder."
            for name in ("inputs_embeds", "attention_mask")
            if name not in accepted
        ]
        if problems:
            raise DataError(problems)
        self.takes_segments = (
            "token_type_ids" in accepted and getattr(model.config, "type_vocab_size", 0) > 1
        )
        if getattr(model, "pooler", None) is not None:
            model.pooler = (
                nn.Identity()
            )  # poolings are Encore's; its weights would be trained and read by nobody
        table = model.get_input_embeddings()
        model.set_input_embeddings(nn.Identity())
        self.embed, self.model = WordLookup(_as_word_table(table)), model
        self.shape = Shape(
            0,
            0,
            getattr(model.config, "num_attention_heads", 1),
            n_positions=_n_positions(model),
            n_words=model.config.vocab_size,
            n_segments=model.config.type_vocab_size if self.takes_segments else None,
        )
        self.shape = self._tried()

    @property
    def n_layers(self) -> int:
        return self.shape.n_layers

    @property
    def blocks(self) -> nn.ModuleList:
        raise RecipeError(
            f"encoder of model_type '{self.model_type}': comes from transformers, and its layers "
            f"cannot be split, shared or given rates of their own. "
            "Choose an encoder that Encore builds itself (bert, roberta, distilbert, electra, "
            "modernbert), or leave that technique out."
        )

    def forward(self, tokens: Tokens, *, layers: Iterable[int] | None = None) -> Encoded:
        return self.run(self.embedded(tokens), tokens, layers=layers)

    def embedded(self, tokens: Tokens) -> Tensor:
        """(tokens, width of the words), float32."""
        return self.embed(tokens)

    def run(
        self,
        embedded: Tensor,
        tokens: Tokens,
        *,
        layers: Iterable[int] | None = None,
        first_only: bool = False,
        memo: Any = None,
    ) -> Encoded:
        """Everything after the word vectors, as `Encoder.run`. Nothing goes into `memo`: its layers
        cannot be taken apart.
        """
        depth = self.shape.n_layers
        found = self._states(embedded, tokens)
        wanted = (
            set(range(depth + 1)) if layers is None else {layer % (depth + 1) for layer in layers}
        )
        states: list[Tensor | None] = [None] * (depth + 1)
        for layer in wanted:
            state = ragged.unpadded([group[layer] for group in found], tokens)
            states[layer] = ragged.first(state, tokens) if first_only else state
        return Encoded(tuple(states), ragged.first_tokens(tokens) if first_only else tokens)

    def _states(self, embedded: Tensor, tokens: Tokens) -> list[list[Tensor]]:
        """For each group of near-equal rows every hidden state, (rows, length, width)."""
        segments = (
            ragged.padded(tokens.segments.unsqueeze(1), tokens) if self.takes_segments else None
        )
        found = []
        with (
            self._drawing(embedded.device),
            torch.autocast(
                embedded.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16
            ),
        ):
            for group, (words, real) in enumerate(
                zip(ragged.padded(embedded, tokens), ragged.real(tokens), strict=True)
            ):
                length = words.shape[1]
                most = min(
                    length, self.shape.n_positions or length
                )  # a row of the greatest length has no room for padding
                more = {} if segments is None else {"token_type_ids": segments[group][:, :most, 0]}
                given = {
                    "inputs_embeds": words[:, :most],
                    "attention_mask": real[:, :most].long(),
                    **more,
                }
                states = self.model(
                    **given, output_hidden_states=True, return_dict=True
                ).hidden_states
                found.append(
                    [
                        nn.functional.pad(state, (0, 0, 0, length - most))
                        if length > most
                        else state
                        for state in states
                    ]
                )
        return found

    @contextlib.contextmanager
    def _drawing(self, device: torch.device) -> Iterator[None]:
        """Inside, torch's dropout draws from the stream of this step; outside nothing has
        changed.
        """
        if not self.training:
            yield
            return
        seed = next_seed()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _tried(self) -> Shape:
        """The shape, seen by calling the model on two short rows. Raises DataError where that does
        not give what an encoder gives.
        """
        device = next(self.model.parameters()).device
        offsets = torch.tensor([0, 2, 5], device=device)
        ids = torch.zeros(5, dtype=torch.int64, device=device)
        tokens = Tokens(ids, ids, torch.tensor([0, 1, 0, 1, 2], device=device), offsets, (2, 3))
        training = self.training
        try:
            with torch.no_grad():
                (states,) = self.eval()._states(self.embedded(tokens), tokens)
        except Exception as error:  # whatever a model that needs more than words raises
            why = f"transformers' model cannot be used as an encoder ({on_one_line(error)[:200]})"
            raise DataError(f"config.json: model_type '{self.model_type}': {why}.") from None
        finally:
            self.train(training)
        shapes = {tuple(state.shape) for state in states}
        width = states[-1].shape[-1]
        if shapes != {(2, states[0].shape[1], width)} or len(states) < 2 or states[0].shape[1] < 3:
            got = (
                f"transformers' model does not return one state per token and layer, got "
                f"{sorted(shapes)}"
            )
            raise DataError(
                f"config.json: model_type '{self.model_type}': {got}. Choose another encoder."
            )
        return replace(self.shape, width=width, n_layers=len(states) - 1)


def build_from_transformers(config: Mapping[str, Any]) -> HuggingFaceEncoder:
    """A model with whatever weights transformers' initialisers leave in it. Raises DataError."""
    if why := unsupported_reason(config["model_type"]):
        raise DataError(
            f"config.json: model_type '{config['model_type']}' is not a family that Encore "
            f"builds, and {why}"
        )
    from transformers import AutoModel

    with _one_line_errors(config["model_type"]):
        model = AutoModel.from_config(_config(config), dtype=torch.float32, trust_remote_code=False)
    return HuggingFaceEncoder(model, config["model_type"])


def compare_sizes(config: Mapping[str, Any], weights: Mapping[str, Tensor], where: Path) -> None:
    """Compare the number of weights that a config.json describes with that of a file, by a model
    without memory. Raises DataError where the file has less than half of them.
    """
    from transformers import AutoModel

    with _one_line_errors(config["model_type"]):
        made = _config(config)
        try:
            with torch.device("meta"):
                model = AutoModel.from_config(made, trust_remote_code=False)
        except Exception:  # whatever needs memory to be built is tried with it, and explained then
            return
    described = sum(each.numel() for each in model.parameters())
    held = sum(each.numel() for each in weights.values())
    if described > 2 * held:
        raise DataError(
            f"{display_path(where)}: holds {held:,} numbers, and config.json describes an encoder "
            f"of {described:,}. The two belong to different encoders."
        )


def pretrained(
    folder: Path, config: Mapping[str, Any]
) -> tuple[HuggingFaceEncoder, nn.Linear | None]:
    """The model of a folder, and its pretrained pooler where it has one. Raises DataError that
    names tensors that are missing or do not fit.
    """
    from transformers import AutoModel

    how = {
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
        "local_files_only": True,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    with _one_line_errors(config["model_type"]):
        model, info = AutoModel.from_pretrained(
            folder, config=_config(config), dtype=torch.float32, **how
        )
    own = {name.split(".")[0] for name, _ in model.named_parameters()}
    prefix = f"{model.base_model_prefix}."
    missing = sorted(info["missing_keys"])
    strange = [
        key
        for key in sorted(info["unexpected_keys"])
        if key.startswith(prefix) or key.split(".")[0] in own
    ]
    problems = [
        f"tensor for '{key}' is missing." for key in missing if not key.startswith("pooler.")
    ]
    problems += [
        f"tensor '{key}' has no place in this model."
        for key in strange
        if not key.removeprefix(prefix).startswith("pooler.")
    ]
    problems += [
        f"tensor for '{key}' has shape {tuple(has)}, the configuration says {tuple(wants)}."
        for key, has, wants in sorted(info["mismatched_keys"])
    ]
    refuse_misfits(problems, folder / "model.safetensors")
    dense = getattr(getattr(model, "pooler", None), "dense", None)
    trained = isinstance(dense, nn.Linear) and not any(key.startswith("pooler.") for key in missing)
    return HuggingFaceEncoder(model, config["model_type"]), dense if trained else None


def _config(config: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    made = AutoConfig.for_model(**config)
    if made.is_encoder_decoder or getattr(made, "is_decoder", False):
        raise DataError(
            f"config.json: model_type '{config['model_type']}' is, or has, a decoder; Encore "
            f"trains encoders."
        )
    return made


@contextlib.contextmanager
def _one_line_errors(model_type: str) -> Iterator[None]:
    """Raises DataError of one line for whatever transformers raises, and silences its output."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a configuration that it cannot take may raise anything
        raise DataError(
            f"config.json: model_type '{model_type}': transformers does not take it "
            f"({on_one_line(error)[:200]})."
        ) from None
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _as_word_table(table: nn.Module) -> nn.Module:
    """The table as a `WordTable`, of which a run trains only the words of its texts. A module that
    does more than look up words is returned as it is.
    """
    if type(table) is not nn.Embedding or table.max_norm is not None:
        return table
    words = WordTable(*table.weight.shape)
    words.weight = nn.Parameter(table.weight.detach())
    return words


def _n_positions(model: Any) -> int | None:
    """A position table that has a line for padding counts from behind it."""
    tables = [
        module
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    if not tables:
        return getattr(model.config, "max_position_embeddings", None)
    return min(
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
    )
