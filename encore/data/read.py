"""Reads csv, tsv, jsonl, parquet and xlsx files as tables of text columns, with all problems at
once and the source line of every row.

One parser reads csv files (the standard library's, streaming, about 80 MB/s): a second, faster one
would read stray quotes and blank lines differently, and the difference would show as a row number
that is off by one. The cells go into pyarrow arrays as they come, so a file costs its own size
twice and nothing more.
"""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from encore.data.byte_source import ByteSource
from encore.data.collect import collect_rows
from encore.data.delimited import csv_blocks, delimiter_character, read_csv
from encore.data.encodings import detect_encoding
from encore.data.endings import TABLE_ENDINGS
from encore.data.jsonl import cast_column, json_blocks
from encore.data.parquet import parquet_blocks
from encore.data.settings import OnBadRow
from encore.data.table import (
    ParsedRows,
    Table,
    display_path,
    join_limited,
    reject,
    reject_all,
    skipped_note,
)
from encore.data.workbook import OLD_WORKBOOK, read_workbook

__all__ = ["TableStream", "open_table", "read_table"]
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xls": "xlsx",
}
_BLANKS = b"\xef\xbb\xbf \t\r\n"  # a byte order mark among them


def read_table(
    path: str | Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    skip_lines: int = 0,
    sheet: str | int | None = None,
    on_bad_row: OnBadRow = "fail",
) -> Table:
    """Read a csv, tsv, jsonl, parquet, xlsx or xls file ("-": standard input). `delimiter` and
    `encoding` are detected where None; what was found is in `how_read`. skip_lines: lines above
    the column names of a csv, tsv or xlsx file. sheet: of a workbook, its name or number from 1;
    the first that holds rows where None. Rows that cannot be read are problems, or
    with `on_bad_row` "skip" left out and noted.

    Raises DataError with all problems: no such file (with near names), a folder, an empty file, a
    header alone, columns that share a name, rows of the wrong length, text that is not in its
    encoding, NUL bytes, an archive or a spreadsheet (with the remedy), broken JSON, a damaged
    parquet file.
    """
    name = display_path(path)
    data = ByteSource(_bytes_of(path, name))
    parsed, _ = _parsed(path, data, name, delimiter, encoding, skip_lines, sheet, keep=True)
    if parsed.problems and (on_bad_row == "fail" or not parsed.n_rows):
        reject_all(parsed.problems)
    return replace(
        _shape(path, data, name, parsed),
        columns=parsed.columns,
        lines=np.asarray(parsed.lines, dtype=np.int64) if parsed.lines else None,
        rows=np.asarray(parsed.rows, dtype=np.int64),
    )


@dataclass(frozen=True)
class TableStream:
    """A file that was surveyed and is read block by block, as often as needed.

    shape: a table without rows that has the columns, types, digest and notes of the file. n_rows:
    rows that can be read. state: that of `data` before the survey.
    """

    shape: Table
    n_rows: int
    blocks: Callable[[], Iterator[ParsedRows]]
    data: ByteSource
    state: tuple[int, ...]

    def tables(self) -> Iterator[Table]:
        """The rows, some thousands at a time. Raises DataError where the file was changed since it
        was surveyed.
        """
        shape = self.shape
        for block in self.blocks():
            if block.n_rows:
                yield replace(
                    shape,
                    columns=_of_types(block.columns, shape.columns.schema),
                    lines=np.asarray(block.lines, dtype=np.int64) if block.lines else None,
                    rows=np.asarray(block.rows, dtype=np.int64),
                )
        if self.data.state != self.state:
            reject(shape.name, "was changed while it was read.", "Run the command again.")


def open_table(
    path: str | Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    skip_lines: int = 0,
    sheet: str | int | None = None,
    on_bad_row: OnBadRow = "fail",
) -> TableStream:
    """Survey a file that `read_table` reads, in memory that does not depend on its size; a workbook
    (xlsx) alone is read whole. Standard input is kept in a temporary file. Raises DataError as
    `read_table` does.
    """
    name = display_path(path)
    data = _source_of(path, name)
    state = data.state
    parsed, blocks = _parsed(path, data, name, delimiter, encoding, skip_lines, sheet, keep=False)
    if parsed.problems and (on_bad_row == "fail" or not parsed.n_rows):
        reject_all(parsed.problems)
    return TableStream(_shape(path, data, name, parsed), parsed.n_rows, blocks, data, state)


def _parsed(
    path: str | Path,
    data: ByteSource,
    name: str,
    delimiter: str | None,
    encoding: str | None,
    skip_lines: int,
    sheet: str | int | None,
    *,
    keep: bool,
) -> tuple[ParsedRows, Callable[[], Iterator[ParsedRows]]]:
    """The blocks of a file through `collect_rows`, and a function that reads these once
    more.
    """
    form = _format(path, data.head(1 << 16), name)
    blocks: Callable[[], Iterator[ParsedRows]]
    if form == "parquet":
        blocks = partial(parquet_blocks, data, name)
        return collect_rows(blocks(), keep=keep), blocks
    if form == "xlsx":
        rows = read_workbook(data.head(-1), name, skip_lines, sheet)
        return rows, lambda: iter([rows])
    if sheet is not None:
        reject(name, "no workbook, so it has no sheets.", "Leave out data.sheet.")
    codec, marked = detect_encoding(data, encoding, name)
    if form == "jsonl":
        blocks = partial(json_blocks, data, codec, name)
        parsed = collect_rows(blocks(), keep=keep)
    else:
        usual = "\t" if form == "tsv" else ","
        wanted = delimiter_character(delimiter)
        parsed, how = read_csv(data, codec, name, wanted, usual, skip_lines, keep=keep)
        blocks = partial(csv_blocks, data, how, name)
    guess = " (a guess: the file is not UTF-8; data.encoding=NAME overrides it)"
    guessed = codec == "cp1252" and encoding is None
    parsed.how_read.append(f"encoding {codec}{guess if guessed else ''}")
    if marked:
        parsed.how_read.append("byte order mark dropped")
    return parsed, blocks


def _shape(path: str | Path, data: ByteSource, name: str, parsed: ParsedRows) -> Table:
    """The table of a file, without its rows."""
    return Table(
        path=Path(path),
        columns=parsed.columns.slice(0, 0),
        digest=data.digest(),
        lines=None,
        rows=np.empty(0, np.int64),
        name=name,
        how_read=tuple(parsed.how_read),
        skipped=skipped_note(name, parsed.problems, n_rows=len(parsed.problems))
        if parsed.problems
        else None,
    )


def _of_types(columns: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of a block with the columns and types of the whole file."""
    if columns.schema == schema:
        return columns
    nothing = pa.chunked_array([pa.nulls(columns.num_rows)])
    # A dictionary, as in `joined_columns`: a look-up of pyarrow takes longer the wider the table.
    found = dict(zip(columns.column_names, columns.columns, strict=True))
    return pa.table(
        {
            word: pa.chunked_array(
                [cast_column(chunk, kind) for chunk in found.get(word, nothing).chunks], kind
            )
            for word, kind in zip(schema.names, schema.types, strict=True)
        }
    )


# ---------------------------------------------------------------------------------- the file itself


def _bytes_of(path: str | Path, name: str) -> bytes:
    if str(path) == "-":
        data = sys.stdin.buffer.read()
        _refuse_empty(ByteSource(data), path, name)
        return data
    file = _file_of(path, name)
    try:
        data = file.read_bytes()
    except OSError as error:
        reject(name, f"cannot be read ({error.strerror}).")
    _refuse_empty(ByteSource(data), path, name)
    return data


def _source_of(path: str | Path, name: str) -> ByteSource:
    try:
        if str(path) == "-":
            data = ByteSource.of_pipe(sys.stdin.buffer)
        else:
            data = ByteSource.of_file(_file_of(path, name))
    except OSError as error:
        reject(name, f"cannot be read ({error.strerror}).")
    _refuse_empty(data, path, name)
    return data


def _refuse_empty(data: ByteSource, path: str | Path, name: str) -> None:
    if any(piece.strip(_BLANKS) for piece in data.pieces()):
        return
    if str(path) == "-":
        reject(name, "empty; expected a header line and rows, or JSON lines.")
    reject(name, "the file is empty; expected a header line and at least two rows.")


def _file_of(path: str | Path, name: str) -> Path:
    file = Path(path)
    if file.is_dir():
        tables = sorted(
            entry.name for entry in file.iterdir() if entry.suffix.lower() in TABLE_ENDINGS
        )
        inside = f"It holds {join_limited(tables, 5)}: name one of them." if tables else ""
        reject(name, "this is a folder; expected a csv, tsv, jsonl, parquet or xlsx file.", inside)
    if not file.exists():
        reject(name, "no such file.", _near(file))
    if not file.is_file():
        reject(name, "not a plain file; write it to disk, or pass '-' and pipe it in.")
    return file


def _near(file: Path) -> str:
    """A sentence on files of nearly this name, or on what the folder holds."""
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder != file.parent:
        return f"The folder {display_path(file.parent)} does not exist either."
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return ""
    same_stem = [entry for entry in entries if Path(entry).stem == file.stem]
    near = same_stem[:2] or difflib.get_close_matches(file.name, entries, n=2, cutoff=0.7)
    if near:
        return f"Did you mean {' or '.join(display_path(folder / entry) for entry in near)}?"
    tables = [entry for entry in entries if Path(entry).suffix.lower() in TABLE_ENDINGS]
    return (
        f"That folder holds {join_limited(tables, 5)}."
        if tables
        else "That folder holds no csv, tsv, jsonl, parquet or xlsx file."
    )


def _format(path: str | Path, data: bytes, name: str) -> str:
    """'csv', 'tsv', 'jsonl' or 'parquet': by the suffix, unless the content is plainly another
    format, which is rejected.
    """
    suffix = Path(path).suffix.lower()
    foreign = _foreign_format(data, suffix)
    if foreign:
        reject(name, foreign.format(name=name))
    if data.startswith((_ZIP, OLD_WORKBOOK)):
        if str(path) != "-" and _SUFFIXES.get(suffix) != "xlsx":
            reject(name, "this is an Excel workbook; rename it to end in .xlsx.")
        return "xlsx"
    if data.startswith(b"PAR1"):
        if str(path) != "-" and _SUFFIXES.get(suffix) != "parquet":
            reject(name, "this is a parquet file; rename it to end in .parquet.")
        return "parquet"
    if str(path) == "-":
        return "jsonl" if data.lstrip(_BLANKS).startswith(b"{") else "csv"
    if suffix not in _SUFFIXES:
        what = f"files that end in '{suffix}' are not read" if suffix else "the name has no ending"
        reject(
            name,
            f"{what}; expected .csv, .tsv, .jsonl, .parquet or .xlsx.",
            "Rename the file after what it holds.",
        )
    form = _SUFFIXES[suffix]
    if form in ("parquet", "xlsx"):
        begins = {"parquet": "a parquet file (it does not begin with 'PAR1')", "xlsx": "a workbook"}
        reject(
            name,
            f"not {begins[form]}.",
            "Write it again, or rename it after what it holds (.csv, .tsv, .jsonl).",
        )
    other = _other_json(data[: 1 << 16].lstrip(_BLANKS), form, Path(name))
    if other:
        reject(name, other)
    return form


def _other_json(text: bytes, form: str, file: Path) -> str | None:
    """The JSON layout that a file holds if it is another than its name promises, with the command
    that converts it, whose output must not be the very file that it reads.
    """
    first = text.split(b"\n", 1)[0].strip()
    target = (
        file.with_suffix(".jsonl")
        if file.suffix != ".jsonl"
        else file.with_name(f"{file.stem}_lines.jsonl")
    )
    convert = (
        f"expected one object per line. Convert it: jq -c '{{}}' "
        f"{shlex.quote(str(file))} > {shlex.quote(str(target))}"
    )
    if first.startswith(b"[{") or (form == "jsonl" and first.startswith(b"[")):
        return f"one JSON array; {convert.format('.[]')}"
    if first == b"{":
        return f"JSON objects over several lines; {convert.format('.')}"
    if form != "jsonl" and first.startswith(b'{"'):
        return "its lines are JSON objects; rename it to end in .jsonl."
    return None


_ZIP = b"PK\x03\x04"
_HTML = "this is a web page, not a table: the download gave an HTML page instead of the file."
_FOREIGN = (
    (b"\x1f\x8b", "this is gzip-compressed; unpack it first: gunzip -k {name}"),
    (b"BZh", "this is bzip2-compressed; unpack it first: bunzip2 -k {name}"),
    (b"\xfd7zXZ", "this is xz-compressed; unpack it first: unxz -k {name}"),
    (b"\x28\xb5\x2f\xfd", "this is zstd-compressed; unpack it first: unzstd {name}"),
    (b"7z\xbc\xaf", "this is a 7z archive; unpack it and name the file inside."),
    (b"ARROW1", "this is an Arrow (feather) file; write it as parquet or csv."),
    (b"SQLite format 3", "this is an SQLite database; export the table as csv."),
    (b"%PDF", "this is a PDF, not a table of texts."),
    (b"{\\rtf", "this is a rich-text document; save it as plain csv."),
    (b"\x89PNG", "this is a picture, not a table of texts."),
    (
        b"\x80\x04\x95",
        "this is a Python pickle, which Encore never opens (it can run code); write it as "
        "parquet or csv.",
    ),
    (b"<!DOCTYPE html", _HTML),
    (b"<html", _HTML),
    (
        b"version https://git-lfs",
        "this is a Git LFS pointer, not the file itself; run: git lfs pull",
    ),
)


def _foreign_format(data: bytes, suffix: str) -> str | None:
    """The format of a file that is no table, by its first bytes, and what to do instead."""
    is_workbook = b"[Content_Types].xml" in data[:4096] or _SUFFIXES.get(suffix) == "xlsx"
    if data.startswith(_ZIP) and not is_workbook:
        return "this is a zip archive; unzip it and name the file inside."
    return next((what for magic, what in _FOREIGN if data.startswith(magic)), None)
