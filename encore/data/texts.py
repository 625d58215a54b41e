"""Texts for pre-training: of named tasks and of files, one after the other, read from disk a block
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from encore import files, rng
from encore.data.named import find_task, open_split
from encore.data.read import TableStream, open_table
from encore.data.table import display_path, join_limited
from encore.errors import DataError, Problem

__all__ = ["TextFile", "open_task_texts", "open_texts", "each_text"]

_PLAIN = (".txt", ".text")
_TRIPLET = ("anchor", "positive", "negative")  # a task may name two of them
_LONGEST_LINE = 1 << 20  # characters; a longer line is several texts


@dataclass(frozen=True)
class TextFile:
    """A file that was surveyed. columns: those of texts; () for plain text, of which each line is a
    text. table: None for plain text.
    """

    path: Path
    digest: str
    columns: tuple[str, ...]
    table: TableStream | None = None

    @property
    def name(self) -> str:
        return display_path(self.path)


def open_task_texts(name: str) -> TextFile:
    """The training texts of a named task: both texts of a pair, all three of a triplet. Raises
    RecipeError and DataError as training does.
    """
    task = find_task(name)
    found = open_split(name, task, "train")
    names = (task.text, task.text_pair, task.negative, *_TRIPLET)
    present = found.shape.columns.column_names
    columns = tuple(dict.fromkeys(one for one in names if one is not None and one in present))
    return TextFile(found.shape.path, found.shape.digest, columns, found)


def open_texts(path: Path, columns: Sequence[str] | None = None) -> TextFile:
    """A table or a plain text file (.txt). columns: None for `text`, or the only column of texts.
    Raises DataError with the remedy.
    """
    if path.suffix.lower() in _PLAIN and path.is_file():
        if columns is not None:
            _reject(path, "a plain text file has no columns.", "Remove columns.")
        if not path.stat().st_size:
            _reject(path, "the file is empty; expected a text on each line.")
        return TextFile(path, files.sha256(path), ())
    found = open_table(path)
    fields = found.shape.columns.schema
    texts = [field.name for field in fields if _is_text(field.type)]
    if columns is not None:
        for name in columns:
            if name not in texts:
                what = "no text" if name in fields.names else "no such column"
                _reject(path, f"column '{name}': {what}.", f"Columns of texts: {_listed(texts)}.")
        chosen = tuple(columns)
    elif "text" in texts:
        chosen = ("text",)
    elif len(texts) == 1:
        chosen = (texts[0],)
    else:
        message = f"has {'several columns' if texts else 'no column'} of texts, none called 'text'."
        remedy = f"Write {{file: {path.name}, columns: […]}}. Columns of texts: {_listed(texts)}."
        _reject(path, message, remedy if texts else "")
    return TextFile(path, found.shape.digest, chosen, found)


def each_text(
    sources: Sequence[TextFile], *, min_characters: int = 0, frac: float = 1.0, seed: int = 0
) -> Iterator[str]:
    """The texts of all sources; empty ones, and those of fewer characters, are left out. frac: each
    text is read with this probability, as the seed decides. Raises DataError.
    """
    draw = rng.generator(seed, "part of the texts")
    for source in sources:
        lines = (
            _lines(source.path) if source.table is None else _cells(source.table, source.columns)
        )
        for text in lines:
            if frac < 1 and draw.random() >= frac:
                continue
            if text.strip() and len(text) >= min_characters:
                yield text


def _cells(table: TableStream, columns: Sequence[str]) -> Iterator[str]:
    for block in table.tables():
        for row in zip(*(block.columns[name] for name in columns), strict=True):
            yield from (cell.as_py() for cell in row if cell.is_valid)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(_LONGEST_LINE):
                yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text (byte 0x{error.object[error.start]:02x})."
        _reject(path, message, "Save the file as UTF-8.")
    except OSError as error:
        _reject(path, f"cannot be read ({error.strerror}).")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _listed(names: Sequence[str]) -> str:
    return join_limited(list(names)) if names else "none"


def _reject(path: Path, message: str, remedy: str = "") -> NoReturn:
    raise DataError(Problem(where=display_path(path), message=message, remedy=remedy))
