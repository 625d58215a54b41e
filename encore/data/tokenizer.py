"""Turns texts into token ids, once per run.

The tokenizer cuts and pads nothing here. It encodes each text alone, without special tokens; these
are put around the truncated texts, from the tokenizer's own template. So one piece of code serves
every family (BERT adds 2 or 3 special tokens, RoBERTa 2 or 4) and every truncation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tokenizers import Tokenizer, normalizers

from encore import files
from encore.data.bounded import read_bounded
from encore.data.tokenizer_files import from_vocabulary, set_normaliser, tokenizer_settings
from encore.data.tokenizer_guard import MOST_TOKENIZER, is_plain, require_harmless
from encore.errors import DataError, format_given, on_one_line

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "BLOCK_ROWS",
    "Template",
    "Templates",
    "TextTokenizer",
    "Texts",
    "encodable",
    "require_strings",
    "string_block",
]
# An Encoding takes about 100 bytes per token, so no more than one block of them exists at a time:
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Template:
    """The special tokens before, between and after the texts of a row. ids, segments: of these
    tokens; counts: their number in each place; text_segments: of the texts between them.
    """

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    counts: tuple[int, ...]
    text_segments: tuple[int, ...]


class Templates:
    """The templates around one text and around two, `templates[pair]`. By itself it makes rows of
    texts that are token ids already, (tokens,) int32 without special ones; a TextTokenizer makes
    them of strings.
    """

    def __init__(self, templates: Mapping[bool, Template]) -> None:
        self.templates = dict(templates)

    def n_special(self, pair: bool) -> int:
        """The number of special tokens of one row (`pair`: of two texts): BERT 2 and 3, RoBERTa 2
        and 4.
        """
        return sum(self.templates[pair].counts)

    def encoded(self, texts: list[Any]) -> Encodings:
        """Encode texts without special tokens: ids end to end, and the length of each text."""
        return np.concatenate([np.empty(0, np.int32), *texts]), np.fromiter(
            map(len, texts), np.int64, len(texts)
        )

    def problems(self, texts: Any, name: str) -> Iterator[str]:
        """Yield a line for each row that is no text."""
        return iter(())


class TextTokenizer(Templates):
    """A `tokenizers` tokenizer that neither pads nor truncates, whatever its file sets.

    source: a folder with tokenizer.json, or with only a BERT vocab.txt, or a tokenizer.json itself.
    For BERT's WordPiece, tokenizer_config.json decides about lower case, accents and Chinese
    characters, as in transformers, with which these encoders were trained. vouched: Encore wrote
    the files, or knows their digests; others are tried in a process of their own first, unless
    they are plain. backend: the `tokenizers.Tokenizer`, for words and offsets. Raises DataError.
    """

    def __init__(self, source: str | Path, *, vouched: bool = False) -> None:
        source = Path(source)
        file = source if source.is_file() else source / "tokenizer.json"
        settings = tokenizer_settings(file.parent)
        if file.exists() or file.is_symlink():
            content = read_bounded(file, MOST_TOKENIZER)
            if not vouched and not is_plain(content):
                require_harmless(file, len(content))
            self.backend = _from_json(file, content)
        elif (source / "vocab.txt").exists():
            file = source / "vocab.txt"
            with _one_line(file):
                self.backend = from_vocabulary(file, settings)
        else:
            raise DataError(
                f"{source}: no tokenizer.json and no vocab.txt. Save the tokenizer of this "
                f"encoder into the same folder."
            )
        if isinstance(self.backend.normalizer, normalizers.BertNormalizer):
            set_normaliser(self.backend.normalizer, settings, file.parent)
        self.backend.no_padding()
        self.backend.no_truncation()
        self.file = file
        with _one_line(file):
            super().__init__({pair: _template(self.backend, pair, file) for pair in (False, True)})

    def encoded(self, texts: list[str]) -> Encodings:
        """Encode texts without special tokens: ids end to end, and the length of each text. Raises
        DataError where the tokenizer fails on one.
        """
        with _one_line(self.file):
            encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        return np.fromiter(
            chain.from_iterable(encoding.ids for encoding in encodings),
            np.int32,
            int(lengths.sum()),
        ), lengths

    def problems(self, texts: Texts, name: str) -> Iterator[str]:
        """Yield a line for each row that is no text."""
        return require_strings(texts, name)

    @cached_property
    def digest(self) -> str:
        """sha256 of what determines the ids: the same before and after `save`, with padding baked
        in or not, from tokenizer.json or the same vocab.txt.
        """
        content = json.loads(self.backend.to_str())
        decisive = {
            part: content[part]
            for part in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model")
        }
        return hashlib.sha256(files.canonical(decisive)).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write `folder/tokenizer.json`, all of it or nothing, so that the folder tokenizes without
        the encoder's own. Returns the file's path.

        Raises TrainingError where the disk does not take it.
        """
        file = Path(folder) / "tokenizer.json"
        files.write(file, self.backend.to_str(pretty=True).encode())
        return file


def _template(backend: Tokenizer, pair: bool, file: Path) -> Template:
    """The template of the tokenizer's post-processor, from an encoding of texts whose lengths
    differ.
    """
    n_texts = 2 if pair else 1
    piece = next(
        (
            text
            for text in _words(backend)
            if len(backend.encode(text, add_special_tokens=False)) > 0
        ),
        None,
    )
    if piece is None:
        raise DataError(
            f"{file}: gives no token for any word of its own vocabulary, so this is not a "
            f"tokenizer that Encore can use."
        )
    texts = [" ".join([piece] * n_pieces) for n_pieces in (3, 2)[:n_texts]]
    whole = backend.encode(texts[0], texts[1] if pair else None)
    n_own = sum(len(backend.encode(text, add_special_tokens=False)) for text in texts)
    owners = whole.sequence_ids
    order = [
        owner
        for owner, before in zip(owners, [-1, *owners], strict=False)
        if owner is not None and owner != before
    ]
    if order != list(range(n_texts)) or len(whole) - n_own != backend.num_special_tokens_to_add(
        pair
    ):
        raise DataError(
            f"{file}: its post_processor does not keep "
            f"{'the two texts' if pair else 'the text'} in one piece and in order, got "
            f"{format_given(list(whole.tokens))}."
        )
    for what, numbers, limit in (
        ("token ids", whole.ids, 1 << 31),
        ("segments", whole.type_ids, 256),
    ):
        if max(numbers) >= limit:
            raise DataError(f"{file}: expected {what} below {limit}, got {max(numbers)}.")
    special = np.array([owner is None for owner in owners])
    where = np.array(
        [
            sum(1 for text in range(n_texts) if text in owners[:position])
            for position in range(len(owners))
        ]
    )
    return Template(
        ids=tuple(np.array(whole.ids)[special].tolist()),
        segments=tuple(np.array(whole.type_ids)[special].tolist()),
        counts=tuple(
            int(np.count_nonzero(special & (where == place))) for place in range(n_texts + 1)
        ),
        text_segments=tuple(whole.type_ids[owners.index(text)] for text in range(n_texts)),
    )


def _words(backend: Tokenizer) -> Iterator[str]:
    yield from "aA.1"
    yield from backend.get_vocab()  # a tokenizer may know none of these


def _from_json(file: Path, content: bytes) -> Tokenizer:
    with _one_line(file):
        try:
            return Tokenizer.from_buffer(content)
        except Exception as error:  # `tokenizers` raises these for whatever is wrong with the file
            remedy = "Save it again: tokenizer.save_pretrained(folder)."
            raise DataError(
                f"{file}: not a tokenizer that `tokenizers` can read "
                f"({on_one_line(error)[:200]}). {remedy}"
            ) from None


@contextlib.contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """Raise DataError for whatever the library raises inside, also for its own failures, which are
    no Exception.
    """
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{file}: the tokenizer fails ({on_one_line(error)[:200]}). Save it again: "
            f"tokenizer.save_pretrained(folder)."
        ) from None


Texts: TypeAlias = "Sequence[str] | pyarrow.Array | pyarrow.ChunkedArray"
# ids of all texts end to end, int32, and the length of each, int64
Encodings: TypeAlias = "tuple[np.ndarray, np.ndarray]"


def require_strings(texts: Any, name: str) -> Iterator[str]:
    """Yield a line for each row of `texts` that is no string, or none that UTF-8 can write."""
    if (
        hasattr(texts, "null_count")
        and texts.null_count == 0
        and str(texts.type) in {"string", "large_string", "string_view"}
    ):
        return  # Arrow's strings are valid UTF-8
    for start in range(0, len(texts), BLOCK_ROWS):
        for row, text in enumerate(string_block(texts, start), start=start + 1):
            if not isinstance(text, str):
                yield (
                    f"{name} of row {row}: expected text, got "
                    f"{'nothing' if text is None else type(text).__name__}. Fill in or remove "
                    f"that row."
                )
            elif not text.isascii() and not encodable(text):
                yield (
                    f"{name} of row {row}: has a lone surrogate (half a character), which is "
                    f"not text. Read the source again with its right encoding."
                )


def string_block(texts: Any, start: int) -> list[str]:
    """The rows of one block, from row `start` on, as Python strings."""
    part = texts[start : start + BLOCK_ROWS]
    return part.to_pylist() if hasattr(part, "to_pylist") else list(part)


def encodable(text: str) -> bool:
    """True for a text that UTF-8 can write: one without half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
