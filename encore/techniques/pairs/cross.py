"""Both texts in one input, so that every token sees both.

Source: Devlin et al. 2019; SerBERTus §3 (METHODS 4.2).
Differs: the order is the given one unless `order: random` draws it each time a pair is met in
training, as SerBERTus does; `eval_order: both` scores both orders and takes the mean; `segments:
zero` feeds segment 0 for every token, as the minBERT skeleton does.
Cost: `eval_order: both` doubles the time of scoring.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from encore.data.token_store import TokenStore, Truncation, end_to_end, tokenize
from encore.data.tokenizer import Templates, Texts
from encore.types import Pairing

__all__ = ["Cross"]


class Cross(Pairing):
    n_sides = 1
    single_texts = True

    def __init__(
        self,
        *,
        order: Literal["given", "random"] = "given",
        eval_order: Literal["given", "both"] = "given",
        segments: Literal["family", "zero"] = "family",
    ) -> None:
        self.random_order, self.both_orders = order == "random", eval_order == "both"
        self.segments = segments

    def tokenize(
        self,
        tokenizer: Templates,
        texts: Texts,
        pairs: Texts | None,
        *,
        max_length: int,
        truncation: Truncation,
    ) -> TokenStore:
        """The pairs as given and, where either order may be wanted, all of them again the other way
        round. A single text is a row as it is.
        """
        found = [tokenize(tokenizer, texts, pairs, max_length=max_length, truncation=truncation)]
        if pairs is not None and (self.random_order or self.both_orders):
            found.append(
                tokenize(tokenizer, pairs, texts, max_length=max_length, truncation=truncation)
            )
        whole = end_to_end(found)
        return (
            whole
            if self.segments == "family"
            else replace(whole, segments=np.zeros_like(whole.segments))
        )
