"""Token ids of many rows in a file, for texts that do not fit in memory.

A folder: `ids` (the tokens of all rows end to end, without special ones, two bytes each where the
vocabulary allows it), `offsets` (rows + 1) and `documents` (rows, the number of the text that each
row is from). Rows are read by position, so that memory holds no more of them than a batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from encore.data.token_store import take_runs
from encore.data.tokenizer import TextTokenizer
from encore.errors import DataError, Problem

__all__ = ["ROW_FILES", "RowFile", "n_rows_of", "write_row_file"]

ROW_FILES = ("ids", "offsets", "documents")
_BLOCK_CHARACTERS = 1 << 20
_BLOCK_TEXTS = 1024


@dataclass(frozen=True)
class RowFile:
    """The rows of a folder that `write_row_file` filled. n_words: of the vocabulary."""

    folder: Path
    n_words: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def offsets(self) -> np.ndarray:
        """(rows + 1,) int64."""
        return np.fromfile(self.folder / "offsets", dtype=np.int64)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: tokens of each row, without special ones."""
        return np.diff(self.offsets)

    @cached_property
    def documents(self) -> np.ndarray:
        """(rows,) int32: the text that each row is from."""
        return np.fromfile(self.folder / "documents", dtype=np.int32)

    @property
    def n_tokens(self) -> int:
        return int(self.offsets[-1])

    def take(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """The tokens of each row, (tokens,) int32."""
        kind = _kind(self.n_words)
        return [
            np.frombuffer(
                os.pread(
                    self._handle,
                    int(self.offsets[row + 1] - self.offsets[row]) * kind.itemsize,
                    int(self.offsets[row]) * kind.itemsize,
                ),
                kind,
            ).astype(np.int32)
            for row in rows
        ]

    @cached_property
    def _file(self) -> BinaryIO:
        return (self.folder / "ids").open("rb")

    @property
    def _handle(self) -> int:
        return self._file.fileno()


def write_row_file(
    folder: Path, texts: Iterable[str], tokenizer: TextTokenizer, n_words: int, budget: int
) -> None:
    """Tokenize texts into an empty folder, a block at a time. A text of more than `budget` tokens
    becomes several rows of nearly equal length, so that no token is lost. Raises DataError where
    there is no token at all.
    """
    kind, lengths, documents, n_before = _kind(n_words), [], [], 0
    with (folder / "ids").open("wb") as file:
        for block in _blocks(texts):
            ids, sizes = tokenizer.encoded(block)
            file.write(ids.astype(kind).tobytes())
            counts = n_rows_of(sizes, budget)
            owners = np.repeat(np.arange(len(block)), counts)
            place = take_runs(np.zeros(len(counts), np.int64), counts)
            lengths.append(
                sizes[owners] // counts[owners] + (place < sizes[owners] % counts[owners])
            )
            documents.append((owners + n_before).astype(np.int32))
            n_before += len(block)
    offsets = np.zeros(sum(map(len, lengths)) + 1, dtype=np.int64)
    if len(offsets) == 1:
        remedy = "Name files with texts in them, or another column."
        raise DataError(Problem(setting="texts", message="they hold no token.", remedy=remedy))
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    offsets.tofile(folder / "offsets")
    np.concatenate(documents).tofile(folder / "documents")


def n_rows_of(sizes: np.ndarray, budget: int) -> np.ndarray:
    """(texts,) rows that texts of so many tokens become; none of an empty one."""
    return -(-sizes // budget)


def _kind(n_words: int) -> np.dtype[np.uint16] | np.dtype[np.int32]:
    return np.dtype(np.uint16) if n_words <= 1 << 16 else np.dtype(np.int32)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts, a bounded number of characters at a time."""
    block: list[str] = []
    n_characters = 0
    for text in texts:
        block.append(text)
        n_characters += len(text)
        if n_characters >= _BLOCK_CHARACTERS or len(block) == _BLOCK_TEXTS:
            yield block
            block, n_characters = [], 0
    if block:
        yield block
