"""Finds out whether a tokenizer.json that comes from outside can be loaded without harm.

Its parts are small programs: a chain of replacements doubles a text forty times, a pattern tracks
back for ever, a template repeats a token a million times. What is made of a few well-known parts
alone is loaded at once. Everything else is loaded, and tries some texts, in a process of its own
with limits of time and memory first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

import encore
from encore.data.table import display_path
from encore.errors import DataError

__all__ = [
    "MOST_TOKENIZER",
    "SECONDS_OF_TRIAL",
    "bytes_of_trial",
    "is_plain",
    "require_harmless",
    "run_trial",
]

MOST_TOKENIZER = (
    128 << 20
)  # bytes of a tokenizer.json or vocab.txt; the largest published has 35 MB
SECONDS_OF_TRIAL = 10  # of processor time; the largest published takes 2
_SECONDS_OF_CLOCK = 60
_PLAIN_BYTES = 4 << 20
_MOST_PARTS = 16


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Normalizer(_Part):
    type: Literal[
        "BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip"
    ]


class _Normalizers(_Part):
    type: Literal["Sequence"]
    normalizers: list[_Normalizer] = Field(max_length=_MOST_PARTS)


class _PreTokenizer(_Part):
    type: Literal[
        "BertPreTokenizer",
        "ByteLevel",
        "Digits",
        "Metaspace",
        "Punctuation",
        "Whitespace",
        "WhitespaceSplit",
    ]
    replacement: str = Field("", max_length=1)


class _PreTokenizers(_Part):
    type: Literal["Sequence"]
    pretokenizers: list[_PreTokenizer] = Field(max_length=_MOST_PARTS)


class _PostProcessor(_Part):
    type: Literal["BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"]
    single: list[Any] = Field([], max_length=_MOST_PARTS)
    pair: list[Any] = Field([], max_length=_MOST_PARTS)
    special_tokens: dict[str, Any] = Field({}, max_length=_MOST_PARTS)


class _PostProcessors(_Part):
    type: Literal["Sequence"]
    processors: list[_PostProcessor] = Field(max_length=_MOST_PARTS)


class _Decoder(_Part):
    type: Literal["BPEDecoder", "ByteLevel", "Metaspace", "WordPiece"]


class _Model(_Part):
    vocab: (
        dict[str, Annotated[int, Field(ge=0, lt=1 << 31)]]
        | list[tuple[str, Annotated[FiniteFloat, Field(gt=-1e9, lt=1e9)]]]
    )
    max_input_chars_per_word: int = Field(0, le=1000)
    continuing_subword_prefix: str | None = Field(None, max_length=_MOST_PARTS)
    end_of_word_suffix: str | None = Field(None, max_length=_MOST_PARTS)


class _PlainTokenizer(_Part):
    """A tokenizer.json of parts that do only what their names say, a bounded number of times."""

    normalizer: _Normalizer | _Normalizers | None = None
    pre_tokenizer: _PreTokenizer | _PreTokenizers | None = None
    post_processor: _PostProcessor | _PostProcessors | None = None
    decoder: _Decoder | None = None
    model: _Model
    added_tokens: list[Any] = Field([], max_length=1000)


def is_plain(content: bytes) -> bool:
    """True for the content of a small tokenizer.json of well-known parts, none of which has a
    pattern or repeats anything.
    """
    if len(content) > _PLAIN_BYTES:
        return False
    try:
        _PlainTokenizer.model_validate(json.loads(content, object_pairs_hook=_once))
    except (ValueError, RecursionError):  # whatever is wrong with it, the trial finds out
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys differ: of equal ones, another library may take another."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def bytes_of_trial(size: int) -> int:
    """The memory that loading a file of `size` bytes, and tokenizing a few texts, may take."""
    return (1 << 30) + 32 * size


def require_harmless(file: Path, size: int) -> None:
    """Load a tokenizer in a process of its own, and tokenize some texts. Raises DataError with its
    problems, or where it takes too much time or memory.
    """
    try:
        problems: Iterable[str] = json.loads(run_trial(file))
    # It was stopped, or the library ended the process.
    except (subprocess.TimeoutExpired, ValueError):
        raise _too_much(display_path(file), size) from None
    if problems:
        raise DataError(problems)


def run_trial(file: Path) -> bytes:
    """Try a tokenizer in another process, and return what it printed. Raises TimeoutExpired."""
    root = str(Path(encore.__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "encore.data.tokenizer_trial", str(file.absolute())]
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_SECONDS_OF_CLOCK,
    ).stdout


def _too_much(where: str, size: int) -> DataError:
    limits = f"{SECONDS_OF_TRIAL} s or {bytes_of_trial(size) / 1e9:.1f} GB"
    return DataError(
        f"{where}: loading it and tokenizing a few short texts takes more than {limits}, or stops "
        f"the process. Save it again from a source that you trust: "
        f"tokenizer.save_pretrained(folder)."
    )
