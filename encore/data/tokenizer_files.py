"""Reads vocab.txt and tokenizer_config.json, for a tokenizer that has no tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from encore.data.bounded import checked_settings, read_bounded, read_object
from encore.data.tokenizer_guard import MOST_TOKENIZER
from encore.errors import DataError, format_given, on_one_line

__all__ = ["from_vocabulary", "set_normaliser", "tokenizer_settings"]

_NORMALISES = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}  # config → normaliser
_WORDPIECE = (
    "Bert",
    "DistilBert",
    "Electra",
    "MobileBert",
    "ConvBert",
    "LayoutLM",
    "Lxmert",
    "Retribert",
    "SqueezeBert",
)  # same pieces, same template


class _Tokens(BaseModel):
    """The settings of tokenizer_config.json that decide what vocab.txt stands for. A special token
    is its word or, in newer files, a mapping.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    tokenizer_class: str | None = None
    pad_token: str | dict[str, Any] | None = None
    unk_token: str | dict[str, Any] | None = None
    cls_token: str | dict[str, Any] | None = None
    sep_token: str | dict[str, Any] | None = None
    mask_token: str | dict[str, Any] | None = None
    added_tokens_decoder: dict[str, str | dict[str, Any]] = {}


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """The content of tokenizer_config.json; nothing where there is none. Raises DataError."""
    file = folder / "tokenizer_config.json"
    return read_object(file) if file.exists() or file.is_symlink() else {}


def from_vocabulary(file: Path, settings: dict[str, Any]) -> Tokenizer:
    """BERT's WordPiece from vocab.txt, one piece per line."""
    remedy = (
        "Save it as tokenizer.json in an environment with transformers: "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
    )
    try:
        text = read_bounded(file, MOST_TOKENIZER).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({on_one_line(error)}). Copy it again.") from None
    # not splitlines(): pieces such as U+2028 end a line for it
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    known = checked_settings(_Tokens, settings, str(file.parent / "tokenizer_config.json"))
    family = known.tokenizer_class or "BertTokenizer"
    if family.removesuffix("Fast").removesuffix("Tokenizer") not in _WORDPIECE:
        raise DataError(
            f"{file.parent}: tokenizer_class {format_given(family)} is not BERT's WordPiece, and "
            f"there is no tokenizer.json. {remedy}"
        )
    vocabulary = {
        piece: number for number, piece in enumerate(lines[:-1] if lines[-1] == "" else lines)
    }
    unknown = _content(known.unk_token) or "[UNK]"
    start, end = _content(known.cls_token) or "[CLS]", _content(known.sep_token) or "[SEP]"
    padding, mask = _content(known.pad_token) or "[PAD]", _content(known.mask_token) or "[MASK]"
    names = (padding, unknown, start, end, mask)
    missing = [name for name in names if name not in vocabulary]
    if missing:
        raise DataError(
            f"{file}: piece {format_given(name)} is missing, so this is not BERT's vocabulary. "
            f"{remedy}"
            for name in missing
        )
    if (file.parent / "added_tokens.json").exists() or any(
        _content(token) not in vocabulary for token in known.added_tokens_decoder.values()
    ):
        raise DataError(
            f"{file.parent}: adds tokens to vocab.txt, and there is no tokenizer.json. {remedy}"
        )
    backend = Tokenizer(
        models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100)
    )
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    backend.normalizer = (
        normalizers.BertNormalizer()
    )  # cleans, lower-cases, strips accents; the caller applies the settings
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start}:0 $A:0 {end}:0",
        pair=f"{start}:0 $A:0 {end}:0 $B:1 {end}:1",
        special_tokens=[(name, vocabulary[name]) for name in (start, end)],
    )
    return backend


def set_normaliser(
    normaliser: normalizers.BertNormalizer, settings: dict[str, Any], folder: Path
) -> None:
    """Give BERT's normaliser the settings of tokenizer_config.json. Raises DataError."""
    known = {key: settings[key] for key in _NORMALISES if key in settings}
    wrong = [
        key
        for key, value in known.items()
        if not (isinstance(value, bool) or (value is None and key == "strip_accents"))
    ]
    if wrong:
        raise DataError(
            f"{folder / 'tokenizer_config.json'} {key}: expected true or false, got "
            f"{format_given(known[key])}. Correct it."
            for key in wrong
        )
    for key, value in known.items():
        setattr(normaliser, _NORMALISES[key], value)


def _content(token: str | dict[str, Any] | None) -> str:
    """The word of a special token."""
    return str(token.get("content") or "") if isinstance(token, dict) else token or ""
