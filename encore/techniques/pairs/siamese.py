"""Each text alone through the same encoder; only the head sees both. Where many texts are scored,
each distinct one is computed once.

Source: Sentence-BERT; SerBERTus §3 (METHODS 4.2).
Differs: none.
Needs: a head for two texts (siamese_cosine, siamese_concat, …); `max_length` is that of one text
"""

from __future__ import annotations

from encore.data.token_store import TokenStore, Truncation, end_to_end, tokenize
from encore.data.tokenizer import Templates, Texts
from encore.types import Pairing

__all__ = ["Siamese"]


class Siamese(Pairing):
    n_sides = 2

    def tokenize(
        self,
        tokenizer: Templates,
        texts: Texts,
        pairs: Texts,
        *,
        max_length: int,
        truncation: Truncation,
    ) -> TokenStore:
        """All first texts, then all second ones."""
        return end_to_end(
            [
                tokenize(tokenizer, side, max_length=max_length, truncation=truncation)
                for side in (texts, pairs)
            ]
        )
