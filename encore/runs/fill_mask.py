"""Guesses hidden words with the language model of an encoder, as transformers' `fill-mask` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from encore.data.batches import collate
from encore.data.token_store import tokenize
from encore.data.tokenizer import TextTokenizer
from encore.data.tokenizer_roles import special_roles
from encore.encoder import load
from encore.encoder.language_head import has_language_head
from encore.errors import DataError, Problem
from encore.model.language_model import load_language_model

__all__ = ["Guess", "fill_mask"]


@dataclass(frozen=True)
class Guess:
    """A word for a hidden place, and its probability."""

    word: str
    probability: float


def fill_mask(encoder: str | Path, texts: Sequence[str], *, k: int = 5) -> list[list[Guess]]:
    """The k most probable words for the one [MASK] of each text (or what the encoder's tokenizer
    calls it), in float32.

    >>> encore.fill_mask("runs/pretrain-1a2b3c/encoder", ["A [MASK] film."])  # doctest: +SKIP

    encoder: a folder that `encore pretrain` wrote, or another checkpoint with a language model.
    Raises DataError.
    """
    source = load.locate(str(encoder))
    if not has_language_head(source):
        message = "has no language model's head, so it cannot guess words."
        remedy = "Name an encoder that encore pretrain wrote."
        raise DataError(Problem(where=str(encoder), message=message, remedy=remedy))
    tokenizer = TextTokenizer(source.folder, vouched=source.vouched)
    backend = tokenizer.backend
    mask = special_roles(backend, source.config).get("mask_token", "[MASK]")
    model = load_language_model(source, seed=0).eval()
    longest = model.encoder.shape.n_positions or 512
    store = tokenize(tokenizer, list(texts), max_length=longest, truncation="head")
    hidden = store.ids == backend.token_to_id(mask)
    counts = np.add.reduceat(hidden.astype(int), store.offsets[:-1]).tolist()
    problems = [
        Problem(where=f"text {number}", expected=f"one {mask}", got=f"{count} of them")
        for number, count in enumerate(counts, start=1)
        if count != 1
    ]
    if problems:
        raise DataError(problems)
    with torch.no_grad():
        scores, _ = model(
            collate(store, np.arange(len(store))), torch.from_numpy(np.flatnonzero(hidden))
        )
    best = scores.softmax(1).topk(k)
    return [
        [
            Guess(backend.decode([number], skip_special_tokens=False), probability)
            for number, probability in zip(numbers, probabilities, strict=True)
        ]
        for numbers, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
