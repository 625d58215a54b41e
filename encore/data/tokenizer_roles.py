"""The special tokens of a tokenizer by the roles that transformers gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

__all__ = ["special_roles"]

_SPECIAL = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def special_roles(backend: Tokenizer, config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by their role. Only tokens that tokenizer.json itself treats as special:
    transformers would make any other one special, and the same text would give other ids.
    """
    known = {
        number: token.content
        for number, token in sorted(backend.get_added_tokens_decoder().items())
        if token.special
    }
    found = {
        role: word for role, words in _SPECIAL.items() for word in words if word in known.values()
    }
    whole = backend.encode("")
    if (
        len(whole.ids) >= 2
        and whole.tokens[0] in known.values()
        and whole.tokens[-1] in known.values()
    ):
        found |= {"cls_token": whole.tokens[0], "sep_token": whole.tokens[-1]}
    if known:  # the padding is masked, but RoBERTa finds it by its number
        found["pad_token"] = (
            known.get(config.get("pad_token_id", -1))
            or found.get("pad_token")
            or next(iter(known.values()))
        )
    return found
