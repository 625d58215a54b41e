"""Normalises texts as the CS224N course code does."""

from __future__ import annotations

__all__ = ["normalise_text"]


def normalise_text(text: str, how: str | None) -> str:
    """The text normalised, the same way at train, dev, test and prediction (METHODS 0.5).

    none: as it is. minbert: lower case, outer blanks dropped. minbert_pair: also a blank before . ?
    , ' and runs of blanks made one.

    >>> normalise_text(" Isn't it?  ", "minbert_pair")
    "isn 't it ?"
    """
    if how is None or how == "none":
        return text
    text = text.lower().strip()
    if how == "minbert":
        return text
    for mark in ".?,'":
        text = text.replace(mark, f" {mark}")
    return " ".join(text.split())
