"""An encoder with the layers that pre-training needs above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.encoder import ragged
from encore.encoder.encoder import Encoder, filled
from encore.encoder.language_head import LanguageHead, build_language_head, head_names
from encore.encoder.load import Source, build_skeleton, load_encoder
from encore.encoder.weights import read_tensors
from encore.errors import DataError, Problem
from encore.model.parameters import seeded_initialisers
from encore.model.selection import ParameterInfo, encoder_infos
from encore.types import Tokens

__all__ = ["LanguageModel", "load_language_model", "new_weights"]

_NEXT = "cls.seq_relationship"  # BERT's name of the layer that tells if a text follows another
_WITH_POOLER = ("bert", "roberta", "xlm-roberta", "camembert")


class LanguageModel(nn.Module):
    """Encoder, head, and the pooler that the checkpoint has or that telling the next text needs.

    follows: pooled → (rows, 2), whether the second text follows the first (0) or is of another
    document (1); None where that is not trained: then the pooler stays as it is.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: LanguageHead,
        pooler: nn.Linear | None,
        follows: nn.Linear | None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.pooler, self.follows = encoder, head, pooler, follows
        if pooler is not None:
            pooler.requires_grad_(follows is not None)

    def forward(self, tokens: Tokens, places: Tensor) -> tuple[Tensor, Tensor | None]:
        """(hidden, vocabulary) scores at the tokens `places`, and (rows, 2) scores of `follows`."""
        encoder = self.encoder
        states = encoder.run(encoder.embedded(tokens), tokens, layers=(-1,)).read((-1,))[0]
        chosen = filled(states.index_select(0, places))
        scores = self.head(chosen, encoder.embed.word)[: len(places)]  # type: ignore[arg-type]
        if self.follows is None or self.pooler is None:
            return scores, None
        pooled = torch.tanh(self.pooler(ragged.first(states, tokens).float()))
        return scores, self.follows(pooled)

    def loss(self, tokens: Tokens, places: Tensor, targets: Tensor, second: Tensor) -> list[Tensor]:
        """The sum over the hidden tokens of −ln p, the number of right guesses (0 in training), and
        the sum over the rows of that of `follows`, 0 without it. second: (rows,) int64, 1 where the
        second text is of another document, -100 where a row has none.
        """
        scores, follows = self(tokens, places)
        missed = F.cross_entropy(scores, targets, reduction="sum")
        right = scores.new_zeros(()) if self.training else (scores.argmax(1) == targets).sum()
        other = (
            scores.new_zeros(())
            if follows is None
            else F.cross_entropy(follows, second, reduction="sum", ignore_index=-100)
        )
        return [missed, right, other]

    @property
    def infos(self) -> dict[int, ParameterInfo]:
        """id of a parameter → what it is. The head and `follows` have the plan's rate."""
        found = {id(parameter): info for parameter, info in encoder_infos(self.encoder)}
        for module, role in ((self.pooler, "pooler"), (self.head, "head"), (self.follows, "head")):
            if module is not None:
                found |= {id(p): ParameterInfo(role) for p in module.parameters()}  # type: ignore[arg-type]
        return found


def load_language_model(
    source: Source, *, seed: int, next_sentence: bool = False, new_pooler: bool = False
) -> LanguageModel:
    """The checkpoint's encoder, head and pooler; what it lacks is drawn from the seed. new_pooler:
    the pooler is drawn anew. Raises DataError.
    """
    tensors = read_tensors(source.folder / "model.safetensors")
    names = head_names(source.config)
    if next_sentence and source.config.get("model_type") not in _WITH_POOLER:
        kind = source.config.get("model_type")
        message = f"a {kind} has no pooler, which this needs."
        raise DataError(Problem(setting="next_sentence", message=message, remedy="Remove it."))
    pretrained = load_encoder(source)
    encoder, width = pretrained.encoder, pretrained.shape.width
    assert isinstance(encoder, Encoder)
    pooler, follows = pretrained.shape.pooler, None
    with seeded_initialisers(seed, "initialisation", "language model"):
        head = build_language_head(source.config, tensors)
    with seeded_initialisers(seed, "initialisation", "pooler"):
        if (pooler is None and next_sentence) or (pooler is not None and new_pooler):
            pooler = _dense(width, width)
    if next_sentence:
        with seeded_initialisers(seed, "initialisation", "next sentence"):
            follows = _dense(width, 2)
        stored = {kind: tensors.get(f"{_NEXT}.{kind}") for kind in ("weight", "bias")}
        if names.prefix == "bert." and all(value is not None for value in stored.values()):
            follows.load_state_dict({kind: value.float() for kind, value in stored.items()})  # type: ignore[union-attr]
    return LanguageModel(encoder, head, pooler, follows)


def _dense(width: int, n_out: int) -> nn.Linear:
    dense = nn.Linear(width, n_out)
    nn.init.normal_(dense.weight, std=0.02)
    nn.init.zeros_(dense.bias)
    return dense


def new_weights(config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """The weights of a BERT that nobody has trained, under Encore's names: N(0, 0.02), biases 0,
    LayerNorms 1 and 0, as transformers draws them.
    """
    skeleton = build_skeleton(config)
    with seeded_initialisers(seed, "initialisation", "encoder"):
        return {
            key: torch.empty(value.shape).normal_(std=0.02)
            if value.ndim > 1
            else torch.full(value.shape, float("norm" in key and key.endswith("weight")))
            for key, value in skeleton.state_dict().items()
        }
