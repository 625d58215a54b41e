"""Reads csv and tsv files, with exact line numbers."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import pyarrow as pa

from encore.data.byte_source import ByteSource
from encore.data.collect import collect_rows
from encore.data.encodings import EXCEL_NOTE, decode
from encore.data.header import TITLE_ROWS, column_names, reject_title, text_columns
from encore.data.table import (
    CHUNK_CHARACTERS,
    CHUNK_ROWS,
    ParsedRows,
    bad_row,
    join_limited,
    plural,
    reject,
)
from encore.errors import DataError, Problem

__all__ = ["CsvForm", "csv_blocks", "delimiter_character", "read_csv"]

_CHECKED_ROWS = 256
_DELIMITERS = (",", "\t", ";", "|")
_DELIMITER_WORDS = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
}


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


@dataclass(frozen=True)
class CsvForm:
    """The encoding, delimiter and quoting of a csv file. dialect: keywords of the csv module.
    skip_lines: lines above the column names.
    """

    encoding: str
    delimiter: str
    dialect: Mapping[str, Any]
    skip_lines: int = 0


def read_csv(
    data: ByteSource,
    encoding: str,
    name: str,
    wanted: str | None,
    usual: str,
    skip_lines: int = 0,
    *,
    keep: bool,
) -> tuple[ParsedRows, CsvForm]:
    """Parse a csv or tsv file without its first `skip_lines` lines, or without `keep` survey it,
    and find out how it is written.

    wanted: the delimiter that the user named; None: the one that the first line states or that
    fits the first records, `usual` where none does. name: the file, for messages. Raises DataError
    where no row can be read for what its header is; problems of rows are in the result.
    """
    with _long_cells():
        sample = _without_lines(decode(data, encoding), skip_lines).read(1 << 16)
        stated = EXCEL_NOTE.match(sample)
        delimiter = wanted or (stated[1] if stated else _sniff_delimiter(sample, usual))
    usual_form = CsvForm(encoding, delimiter, {}, skip_lines)
    parsed, form = _with_best_quoting(data, usual_form, name, keep=keep)
    if skip_lines:
        parsed.how_read.insert(0, f"{plural(skip_lines, 'line')} skipped")
    source = " (stated in its first line)" if stated and not wanted else ""
    parsed.how_read.insert(0, f"delimiter {_name_of(delimiter)}{source}")
    return parsed, form


def _without_lines(text: io.TextIOWrapper, count: int) -> io.TextIOWrapper:
    for _ in range(count):
        if not text.readline():
            break
    return text


def _with_best_quoting(
    data: ByteSource, usual: CsvForm, name: str, *, keep: bool
) -> tuple[ParsedRows, CsvForm]:
    """Read with csv quoting (`usual`), or in the way of quoting that fits where that leaves
    problems.
    """

    def read(form: CsvForm) -> ParsedRows:
        return collect_rows(csv_blocks(data, form, name, keep=keep), keep=keep)

    parsed: ParsedRows | DataError
    try:
        parsed = read(usual)
    except DataError as error:
        parsed = error
    if (isinstance(parsed, DataError) or parsed.problems) and data.holds(b'"'):
        # Quotes that all close are csv quoting: a cell may hold tabs and line ends. Where they do
        # not, as in GLUE's own files, a quote is a character like any other.
        if usual.delimiter == "\t":
            plain = replace(usual, dialect={"quoting": csv.QUOTE_NONE})
            literal = read(plain)
            if not literal.problems and not literal.quotes_close:
                literal.how_read.append("quotes are taken as they are")
                return literal, plain
        # Spark, MySQL and others write \" for a quote in a quoted cell.
        if not isinstance(parsed, DataError) and data.holds(b"\\"):
            spark = replace(usual, dialect={"escapechar": "\\", "doublequote": False})
            escaped = read(spark)
            if not escaped.problems:
                escaped.how_read.append('quotes inside cells are written \\"')
                return escaped, spark
    if isinstance(parsed, DataError):
        raise parsed
    return parsed, usual


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


def _closes(rows: Iterable[Sequence[str]]) -> bool:
    """True if every cell that begins with a quote also ends with one: csv quoting, then."""
    return all(
        len(cell) > 1 and cell.endswith('"') for row in rows for cell in row if cell.startswith('"')
    )


def csv_blocks(
    data: ByteSource, form: CsvForm, name: str, *, keep: bool = True
) -> Iterator[ParsedRows]:
    """The rows of a csv file, block by block; the last block may be empty. name: the file, for
    messages. keep: False for tables without rows, only counted. Raises DataError where the header
    is at fault, at the end where that shows only there.
    """
    with _long_cells(), decode(data, form.encoding) as text:
        for block in _record_blocks(text, form, name):
            yield block.parsed(keep=keep)


def _record_blocks(text: io.TextIOWrapper, form: CsvForm, name: str) -> Iterator[_Block]:
    above = form.skip_lines
    lines = _without_lines(text, above)
    reader = csv.reader(lines, delimiter=form.delimiter, strict=True, **form.dialect)
    header = _read_header(reader, name, form.delimiter)
    header_line, row_number = reader.line_num + above, 0
    quoted = form.dialect.get("quoting") != csv.QUOTE_NONE
    block, first = _Block(header, quoted), list[tuple[int, list[str]]]()
    widths = dict[int, int]()  # of rows that do not fit → the line of the first
    n_good = n_bad = 0
    while True:
        start = reader.line_num + 1 + above
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            end = reader.line_num + above
            block.problems.append(_quote_problem(name, start, end, str(error)))
            row_number, n_bad = row_number + 1, n_bad + 1
            continue
        if len(row) == len(header):
            block.cells.append(row)
            block.lines.append(start)
            block.rows.append(row_number)
            n_good += 1
            if n_good <= TITLE_ROWS:
                first.append((start, row))
            if not n_good % _CHECKED_ROWS and block.full():
                yield block
                block = _Block(header, quoted)
        elif not row or (len(row) == 1 and not row[0].strip()):
            continue  # a blank line is no row
        else:
            widths.setdefault(len(row), start)
            hint = _quote_it(form.delimiter) if quoted and len(row) > len(header) else ""
            block.problems.append(
                bad_row(name, start, expected=_cells(header), got=str(len(row)), hint=hint)
            )
            n_bad += 1
        row_number += 1
    # More rows of one other width than rows that fit: a title above the table, most often.
    if len(widths) == 1 and n_bad > max(1, n_good):
        which = "most rows" if n_good else "every row"
        ((width, line),) = widths.items()
        what = f"{_cells(header)}, and {which} below it {width}"
        hint = _quote_it(form.delimiter) if quoted and width > len(header) > 1 else ""
        _reject_header(name, header_line, what, line, hint)
    if not n_good and not n_bad:
        reject(name, f"a header line ({', '.join(header)}) and no rows.")
    reject_title(name, header, header_line, first)
    yield block


class _Block:
    """Collects rows of cells, and turns them into arrays."""

    def __init__(self, header: Sequence[str], quoted: bool) -> None:
        self._schema = pa.schema([(column, pa.string()) for column in header])
        self._quoted = quoted
        self._characters = 0
        self.cells: list[list[str]] = []
        self.lines: list[int] = []
        self.rows: list[int] = []
        self.problems: list[Problem] = []

    def full(self) -> bool:
        """True from CHUNK_ROWS or CHUNK_CHARACTERS on. Called every _CHECKED_ROWS rows, as a count
        for each row would take a tenth of the time.
        """
        last = itertools.chain.from_iterable(self.cells[-_CHECKED_ROWS:])
        self._characters += sum(map(len, last))
        return len(self.rows) >= CHUNK_ROWS or self._characters >= CHUNK_CHARACTERS

    def parsed(self, *, keep: bool) -> ParsedRows:
        columns = self._schema.empty_table()
        if keep and self.cells:
            columns = pa.Table.from_arrays(text_columns(self.cells), schema=self._schema)
        closes = self._quoted or _closes(self.cells)
        return ParsedRows(columns, self.lines, self.rows, self.problems, len(self.rows), closes)


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
