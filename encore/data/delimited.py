"""Reads csv and tsv files, with exact line numbers."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from encore.data.encodings import EXCEL_NOTE, decode
from encore.data.table import CHUNK_ROWS, SKIP, ParsedRows, complain, join_limited
from encore.errors import DataError

__all__ = ["USUAL_DELIMITERS", "detect_delimiter", "read_csv"]
_DELIMITERS = (",", "\t", ";", "|")
_DELIMITER_WORDS = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
}
USUAL_DELIMITERS = (
    ".csv",
    ".tsv",
    ".jsonl",
    ".parquet",
)  # what a hint calls a table: of .json files few are one


# ---------------------------------------------------------------------------------------------- csv


def detect_delimiter(asked: str | None) -> str | None:
    if asked is None:
        return None
    chosen = _DELIMITER_WORDS.get(asked.lower(), asked)
    if len(chosen) != 1 or chosen in '"\r\n':
        complain([f"delimiter '{asked}': expected one character, or tab, comma, semicolon, pipe."])
    return chosen


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """The csv module refuses cells of more than 128 KiB unless told otherwise; a long review is no
    mistake.
    """
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_csv(data: bytes, encoding: str, name: str, asked: str | None, usual: str) -> ParsedRows:
    def records(delimiter: str, **dialect: Any) -> ParsedRows:
        return _csv_records(decode(data, encoding), name, delimiter, dialect)

    with _long_cells():
        sample = decode(data, encoding).read(1 << 16)
        stated = EXCEL_NOTE.match(sample)
        delimiter = asked or (stated[1] if stated else _sniff_delimiter(sample, usual))
        note = (
            f"delimiter "
            f"{_say(delimiter)}{' (as its first line says)' if stated and not asked else ''}"
        )
        has_quotes = b'"' in data
        parsed: ParsedRows | DataError
        try:
            parsed = records(delimiter)
        except DataError as error:
            parsed = error
        # Quotes that all close are csv quoting: a cell may hold tabs and line ends. Where they do
        # not, as in GLUE's own files, a quote is a character like any other.
        if delimiter == "\t" and has_quotes and (isinstance(parsed, DataError) or parsed.problems):
            plain = records(delimiter, quoting=csv.QUOTE_NONE)
            if not plain.problems and not _all_closed(plain.columns):
                plain.notes = [note, "quotes are taken as they are"]
                return plain
        if isinstance(parsed, DataError):
            raise parsed
        if (
            parsed.problems and has_quotes and b"\\" in data
        ):  # Spark, MySQL and others write \" for a quote in a quoted cell
            escaped = records(delimiter, escapechar="\\", doublequote=False)
            if not escaped.problems:
                escaped.notes = [note, 'quotes inside cells are written \\"']
                return escaped
        parsed.notes = [note]
        return parsed


def _say(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


def _sniff_delimiter(sample: str, usual: str) -> str:
    """The delimiter that splits the header and the most of the first records into the same number
    of cells (2 or more); `usual` where none does.
    """
    best, chosen = (0.0, 0), usual
    for candidate in (usual, *(other for other in _DELIMITERS if other != usual)):
        with contextlib.suppress(csv.Error):
            rows = [
                row
                for row in itertools.islice(
                    csv.reader(io.StringIO(sample, newline=""), delimiter=candidate), 101
                )
                if row
            ]
            body = rows[1:-1] if len(rows) > 2 else rows[1:]  # the sample may cut the last one
            width = len(rows[0]) if rows else 0
            if width >= 2:
                agree = sum(len(row) == width for row in body) / max(len(body), 1)
                if (agree, width) > best:
                    best, chosen = (agree, width), candidate
    return chosen


def _all_closed(columns: pa.Table) -> bool:
    """Whether every cell that begins with a quote also ends with one: then the quotes are csv
    quoting.
    """
    return all(
        len(cell) > 1 and cell.endswith('"')
        for column in columns.columns
        for chunk in column.chunks
        for cell in chunk.to_pylist()
        if cell.startswith('"')
    )


def _csv_records(
    text: io.TextIOWrapper, name: str, delimiter: str, dialect: Mapping[str, Any]
) -> ParsedRows:
    literal = dialect.get("quoting") == csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=delimiter, strict=True, **dialect)
    header = _header(reader, name, delimiter)
    width, row_number, header_line = len(header), 0, reader.line_num
    chunks: list[pa.RecordBatch] = []
    block: list[list[str]] = []
    parsed, ragged = ParsedRows(pa.table({}), [], []), set[int]()
    schema = pa.schema([(column, pa.string()) for column in header])

    def flush() -> None:
        if block:
            chunks.append(
                pa.record_batch(
                    [pa.array(cells, pa.string()) for cells in zip(*block, strict=True)],
                    schema=schema,
                )
            )
            block.clear()

    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            parsed.problems.append(_quote_problem(name, start, reader.line_num, str(error)))
            row_number += 1
            continue
        if len(row) != width:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            parsed.problems.append(
                _ragged_problem(name, start, header, len(row), delimiter, literal=literal)
            )
            ragged.add(len(row))
        else:
            block.append(row)
            parsed.lines.append(start)
            parsed.rows.append(row_number)
            if len(block) == CHUNK_ROWS:
                flush()
        row_number += 1
    flush()
    parsed.columns = pa.Table.from_batches(chunks, schema=schema)
    if len(ragged) == 1 and len(parsed.problems) > max(
        1, len(parsed.rows)
    ):  # a title above the table, most often
        cells, got = (
            f"{width} cell{'s' if width > 1 else ''} ({join_limited(header)})",
            ragged.pop(),
        )
        which, why = (
            "most rows" if parsed.rows else "every row",
            _unquoted(delimiter) if got > width > 1 and not literal else "",
        )
        complain(
            [
                f"{name}:{header_line}: this line has {cells}, and {which} below it {got}. "
                f"Expected the column names, such as: text,label. "
                f"Remove what stands above them.{why}"
            ]
        )
    if not chunks and not parsed.problems:
        complain([f"{name}: a header line ({', '.join(header)}) and no rows."])
    return parsed


def _quote_problem(name: str, start: int, end: int, error: str) -> str:
    if "unexpected end" in error:
        return (
            f"{name}:{start}: a quoted cell opens in this row and is never closed. Close "
            f'it, or double the quotes inside a cell: "". {SKIP}'
        )
    if "expected after" in error:
        until = f" and closes on line {end}" if end > start else ""
        return (
            f"{name}:{start}: a quoted cell opens in this row{until} with more text after "
            f'its closing quote. Double the quotes inside the cell: "". {SKIP}'
        )
    return f"{name}:{start}: not a csv row ({error}). {SKIP}"


def _ragged_problem(
    name: str, line: int, header: Sequence[str], got: int, delimiter: str, *, literal: bool
) -> str:
    columns = f"{len(header)} cell{'s' if len(header) > 1 else ''} ({join_limited(header)})"
    why = _unquoted(delimiter) if got > len(header) and not literal else ""
    return f"{name}:{line}: expected {columns}, got {got}.{why} {SKIP}"


def _unquoted(delimiter: str) -> str:
    return f" A cell that holds {_say(delimiter)} must stand in double quotes."


def _header(reader: Iterator[list[str]], name: str, delimiter: str) -> list[str]:
    try:
        header = next(
            (
                row
                for row in reader
                if any(cell.strip() for cell in row)
                and not EXCEL_NOTE.match(f"{delimiter.join(row)}\n")
            ),
            None,
        )
    except csv.Error:
        raise DataError(
            f"{name}:1: the header line has a quote that is not closed. Expected column names, "
            f"such as: text,label"
        ) from None
    if header is None:
        complain([f"{name}: the file is empty; expected a header line and at least two rows."])
    others = [other for other in _DELIMITERS if other != delimiter and other in header[0]]
    header = [" ".join(cell.split()) or f"column_{number}" for number, cell in enumerate(header, 1)]
    twice = sorted({cell for cell in header if header.count(cell) > 1})
    if twice:
        complain(
            [
                f"{name}:1: {header.count(word)} columns are called '{word}'; every column "
                f"needs a name of its own. Rename them in the header line."
                for word in twice
            ]
        )
    if len(header) == 1 and others:
        complain(
            [
                f"{name}:1: with delimiter {_say(delimiter)} there is one column, called "
                f"'{header[0]}'. It looks separated by {_say(others[0])}: "
                f"leave --delimiter out, or pass {_say(others[0])}."
            ]
        )
    return header
