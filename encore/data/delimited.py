"""Reads csv and tsv files, with exact line numbers."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pyarrow as pa

from encore.data.encodings import EXCEL_NOTE, decode
from encore.data.header import TextBlocks, column_names, reject_title
from encore.data.table import (
    ParsedRows,
    bad_row,
    join_limited,
    plural,
    reject,
)
from encore.errors import DataError, Problem

__all__ = ["TABLE_ENDINGS", "delimiter_character", "read_csv"]

_DELIMITERS = (",", "\t", ";", "|")
_DELIMITER_WORDS = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
}
# Endings of files that a hint names as tables: of .json files few are one.
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


def delimiter_character(word: str | None) -> str | None:
    """The character that `word` names: itself, or tab, comma, semicolon, pipe, space. None for
    None. Raises DataError.
    """
    if word is None:
        return None
    chosen = _DELIMITER_WORDS.get(word.lower(), word)
    if len(chosen) != 1 or chosen in '"\r\n':
        raise DataError(
            f"delimiter '{word}': expected one character, or tab, comma, semicolon, pipe."
        )
    return chosen


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB per cell, which a long review may exceed."""
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_csv(
    data: bytes, encoding: str, name: str, wanted: str | None, usual: str, skip_lines: int = 0
) -> ParsedRows:
    """Parse the bytes of a csv or tsv file, without its first `skip_lines` lines.

    wanted: the delimiter that the user named; None: the one that the first line states or that
    fits the first records, `usual` where none does. name: the file, for messages. Raises DataError
    where no row can be read for what its header is; problems of rows are in the result.
    """
    with _long_cells():
        sample = _without_lines(decode(data, encoding), skip_lines).read(1 << 16)
        stated = EXCEL_NOTE.match(sample)
        delimiter = wanted or (stated[1] if stated else _sniff_delimiter(sample, usual))
        parsed = _with_best_quoting(data, encoding, name, delimiter, skip_lines)
        if skip_lines:
            parsed.how_read.insert(0, f"{plural(skip_lines, 'line')} skipped")
        source = " (stated in its first line)" if stated and not wanted else ""
        parsed.how_read.insert(0, f"delimiter {_name_of(delimiter)}{source}")
        return parsed


def _without_lines(text: io.TextIOWrapper, count: int) -> io.TextIOWrapper:
    for _ in range(count):
        text.readline()
    return text


def _with_best_quoting(
    data: bytes, encoding: str, name: str, delimiter: str, skip_lines: int
) -> ParsedRows:
    """Read with csv quoting, or in the way of quoting that fits where that leaves problems."""

    def read(**dialect: Any) -> ParsedRows:
        return _read_records(decode(data, encoding), name, delimiter, skip_lines, dialect)

    parsed: ParsedRows | DataError
    try:
        parsed = read()
    except DataError as error:
        parsed = error
    if b'"' in data and (isinstance(parsed, DataError) or parsed.problems):
        # Quotes that all close are csv quoting: a cell may hold tabs and line ends. Where they do
        # not, as in GLUE's own files, a quote is a character like any other.
        if delimiter == "\t":
            literal = read(quoting=csv.QUOTE_NONE)
            if not literal.problems and not _all_closed(literal.columns):
                literal.how_read.append("quotes are taken as they are")
                return literal
        # Spark, MySQL and others write \" for a quote in a quoted cell.
        if b"\\" in data and not isinstance(parsed, DataError):
            escaped = read(escapechar="\\", doublequote=False)
            if not escaped.problems:
                escaped.how_read.append('quotes inside cells are written \\"')
                return escaped
    if isinstance(parsed, DataError):
        raise parsed
    return parsed


def _name_of(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


def _sniff_delimiter(sample: str, usual: str) -> str:
    """The delimiter that splits the header and the most of the first records into the same number
    of cells (2 or more); `usual` where none does.
    """
    best, chosen = (0.0, 0), usual
    for candidate in (usual, *(other for other in _DELIMITERS if other != usual)):
        with contextlib.suppress(csv.Error):
            reader = csv.reader(io.StringIO(sample, newline=""), delimiter=candidate)
            rows = [row for row in itertools.islice(reader, 101) if row]
            body = rows[1:-1] if len(rows) > 2 else rows[1:]  # the sample may cut the last one
            width = len(rows[0]) if rows else 0
            if width >= 2:
                agree = sum(len(row) == width for row in body) / max(len(body), 1)
                if (agree, width) > best:
                    best, chosen = (agree, width), candidate
    return chosen


def _all_closed(columns: pa.Table) -> bool:
    """True if every cell that begins with a quote also ends with one: csv quoting, then."""
    return all(
        len(cell) > 1 and cell.endswith('"')
        for column in columns.columns
        for chunk in column.chunks
        for cell in chunk.to_pylist()
        if cell.startswith('"')
    )


def _read_records(
    text: io.TextIOWrapper,
    name: str,
    delimiter: str,
    skip_lines: int,
    dialect: Mapping[str, Any],
) -> ParsedRows:
    reader = csv.reader(
        _without_lines(text, skip_lines), delimiter=delimiter, strict=True, **dialect
    )
    header = _read_header(reader, name, delimiter)
    header_line, row_number = reader.line_num + skip_lines, 0
    quoted = dialect.get("quoting") != csv.QUOTE_NONE
    parsed, blocks = ParsedRows(pa.table({}), [], []), TextBlocks(header)
    widths: dict[int, int] = {}  # of rows that do not fit → the line of the first
    while True:
        start = reader.line_num + 1 + skip_lines
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            end = reader.line_num + skip_lines
            parsed.problems.append(_quote_problem(name, start, end, str(error)))
            row_number += 1
            continue
        if len(row) == len(header):
            blocks.append(row)
            parsed.lines.append(start)
            parsed.rows.append(row_number)
        elif not row or (len(row) == 1 and not row[0].strip()):
            continue  # a blank line is no row
        else:
            widths.setdefault(len(row), start)
            hint = _quote_it(delimiter) if quoted and len(row) > len(header) else ""
            parsed.problems.append(
                bad_row(name, start, expected=_cells(header), got=str(len(row)), hint=hint)
            )
        row_number += 1
    parsed.columns = blocks.table()
    # More rows of one other width than rows that fit: a title above the table, most often.
    if len(widths) == 1 and len(parsed.problems) > max(1, len(parsed.rows)):
        which = "most rows" if parsed.rows else "every row"
        ((width, line),) = widths.items()
        what = f"{_cells(header)}, and {which} below it {width}"
        hint = _quote_it(delimiter) if quoted and width > len(header) > 1 else ""
        _reject_header(name, header_line, what, line, hint)
    if not parsed.rows and not parsed.problems:
        reject(name, f"a header line ({', '.join(header)}) and no rows.")
    reject_title(name, header, header_line, parsed)
    return parsed


def _quote_problem(name: str, start: int, end: int, error: str) -> Problem:
    if "unexpected end" in error:
        message = "a quoted cell opens in this row and is never closed."
        hint = 'Close it, or double the quotes inside a cell: "".'
    elif "expected after" in error:
        until = f" and closes on line {end}" if end > start else ""
        message = f"a quoted cell opens in this row{until} with more text after its closing quote."
        hint = 'Double the quotes inside the cell: "".'
    else:
        message, hint = f"not a csv row ({error}).", ""
    return bad_row(name, start, message=message, hint=hint)


def _cells(header: Sequence[str]) -> str:
    return f"{plural(len(header), 'cell')} ({join_limited(header)})"


def _quote_it(delimiter: str) -> str:
    return f"Put a cell that holds {_name_of(delimiter)} in double quotes."


def _reject_header(name: str, line: int, what: str, table_line: int, hint: str) -> NoReturn:
    """Raise DataError: the line is no header, and the table seems to begin at `table_line`."""
    expected = "Expected the column names, such as: text,label."
    if hint:  # a delimiter inside cells is as likely as lines above the table
        remedy = f"{expected} Remove the lines above them. {hint}"
        reject(name, f"this line has {what}.", remedy, line=line)
    raise DataError(
        Problem(
            where=name,
            line=line,
            message=f"this line has {what}.",
            remedy=f"{expected} If they are below a title, pass",
            setting="data.skip_lines",
            change=str(table_line - 1),
        )
    )


def _read_header(reader: Iterator[list[str]], name: str, delimiter: str) -> list[str]:
    """The column names: the first line that is not blank and no note to Excel."""
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
        reject(
            name,
            "the header line has a quote that is not closed.",
            "Expected column names, such as: text,label",
            line=1,
        )
    if header is None:
        reject(name, "the file is empty; expected a header line and at least two rows.")
    others = [other for other in _DELIMITERS if other != delimiter and other in header[0]]
    header = column_names(header, name, line=1)
    if len(header) == 1 and others:
        raise DataError(
            Problem(
                where=name,
                line=1,
                message=f"with delimiter {_name_of(delimiter)} there is one column, called "
                f"'{header[0]}'. It looks separated by {_name_of(others[0])}:",
                remedy="leave the delimiter out, or pass",
                setting="data.delimiter",
                change=_name_of(others[0]),
            )
        )
    return header
