"""A file in, a table of text columns out: csv, tsv, jsonl and parquet, with every complaint at once and the source line of every row.

One parser reads csv files (the standard library's, streaming, about 80 MB/s): a second, faster one would read stray quotes and blank lines differently, and the
difference would show as a row number that is off by one. The cells go into pyarrow arrays as they come, so a file costs its own size twice and nothing more.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import hashlib
import io
import itertools
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore import files
from encore.errors import DataError

__all__ = ["SKIP", "OnBadRow", "Table", "check_target", "complain", "one_line", "place", "read_table", "shown", "skipped_note", "write_rows"]

OnBadRow = Literal["fail", "skip"]

_MOST_PROBLEMS = 20
_CHUNK_ROWS = 8192
_DELIMITERS = (",", "\t", ";", "|")
_DELIMITER_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_USUAL = (".csv", ".tsv", ".jsonl", ".parquet")  # what a hint calls a table: of .json files few are one
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
SKIP = "Fix the row, or pass --on-bad-row skip."  # the end of every complaint about a row
_EXCEL_NOTE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # the first line of some exports, which tells Excel the delimiter and is no row


@dataclass(frozen=True)
class Table:
    """The rows of one file. csv cells are all strings ("01" stays "01"); jsonl and parquet keep their types.

    digest: sha256 of the file's bytes, hex. lines: (rows,) int64, the 1-based line where each row starts; None for parquet. rows: (rows,) int64, the 0-based
    number of each row in the file, counting the rows that were skipped, so that (digest, row) names an example for ever.
    """

    path: Path
    columns: pa.Table
    digest: str
    lines: np.ndarray | None
    rows: np.ndarray
    notes: tuple[str, ...] = ()
    name: str = ""  # the path as a message prints it
    skipped: str = ""  # the one of the notes that says which rows could not be read

    def __len__(self) -> int:
        return self.columns.num_rows


@dataclass
class _Parsed:
    """What a parser found: the good rows, where they stood, and what was wrong with the others."""

    columns: pa.Table
    lines: list[int]
    rows: list[int]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def complain(problems: Sequence[str]) -> NoReturn:
    """Raise a DataError with all problems, the first 20 in full, one line each."""
    kept = [one_line(problem) for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        kept.append(f"… and {len(problems) - _MOST_PROBLEMS:,} more")
    raise DataError(kept)


def one_line(text: str) -> str:
    """A message as one line: a line end in the name of a label or column becomes a blank."""
    return _LINE_ENDS.sub(" ", text)


def shown(path: str | Path) -> str:
    """The path as a message prints it: relative to the working directory where that is shorter."""
    if str(path) == "-":
        return "standard input"
    with contextlib.suppress(ValueError):  # another drive
        relative = os.path.relpath(path)
        if len(relative) < len(str(path)) and not relative.startswith(f"..{os.sep}..{os.sep}.."):
            return relative
    return str(path)


def place(table: Table, index: int) -> str:
    """Where row `index` of a table stands in its file: 'reviews.csv:118', or 'reviews.parquet row 117' (counted from 1) where there are no lines."""
    return f"{table.name}:{table.lines[index]}" if table.lines is not None else f"{table.name} row {table.rows[index] + 1}"


def skipped_note(name: str, problems: Sequence[str]) -> str:
    """What a run says of the rows that `on_bad_row: skip` dropped: how many, and the first reasons in full."""
    first = "; ".join(problem.replace(f" {SKIP}", "").rstrip(".") for problem in problems[:3])
    more = f"; … and {len(problems) - 3:,} more" if len(problems) > 3 else ""
    return one_line(f"{name}: {len(problems):,} bad row{'s' if len(problems) > 1 else ''} skipped ({first}{more})")


def read_table(path: str | Path, *, delimiter: str | None = None, encoding: str | None = None, on_bad_row: OnBadRow = "fail") -> Table:
    """Read a csv, tsv, jsonl or parquet file ("-": standard input). `delimiter` and `encoding` are sniffed where None; what was found is in `notes`.

    Raises DataError, one line per problem: no such file (with near names), a folder, an empty file, a header alone, columns that share a name, rows of the
    wrong length, text that is not what its encoding says, NUL bytes, an archive or a spreadsheet (with the remedy), broken JSON, a damaged parquet file.
    """
    name = shown(path)
    data = _bytes_of(path, name)
    digest = hashlib.sha256(data).hexdigest()
    form = _format(path, data, name)
    if form == "parquet":
        parsed, lines = _parquet(data, name), None
    else:
        chosen, dropped = _encoding(data, encoding, name)
        usual = "\t" if form == "tsv" else ","
        parsed = _jsonl(_text(data, chosen), name) if form == "jsonl" else _csv(data, chosen, name, _delimiter(delimiter), usual)
        parsed.notes += [
            f"encoding {chosen}{' (a guess: the file is not UTF-8; pass --encoding to say otherwise)' if chosen == 'cp1252' and encoding is None else ''}"
        ]
        parsed.notes += ["byte order mark dropped"] if dropped else []
        lines = np.asarray(parsed.lines, dtype=np.int64)
    if parsed.problems and (on_bad_row == "fail" or not parsed.columns.num_rows):
        complain(parsed.problems)
    if parsed.problems:
        parsed.notes.append(skipped_note(name, parsed.problems))
    skipped = parsed.notes[-1] if parsed.problems else ""
    return Table(Path(path), parsed.columns, digest, lines, np.asarray(parsed.rows, dtype=np.int64), tuple(parsed.notes), name, skipped)


# ---------------------------------------------------------------------------------------------------------------- the file itself


def _bytes_of(path: str | Path, name: str) -> bytes:
    if str(path) == "-":
        data = sys.stdin.buffer.read()
        if not data.strip():
            complain(["standard input: empty; expected a header line and rows, or JSON lines."])
        return data
    file = Path(path)
    if file.is_dir():
        tables = sorted(entry.name for entry in file.iterdir() if entry.suffix.lower() in _USUAL)
        inside = f" It holds {', '.join(tables[:5])}{', …' if len(tables) > 5 else ''}: name one of them." if tables else ""
        complain([f"{name}: this is a folder; expected a csv, tsv, jsonl or parquet file.{inside}"])
    if not file.exists():
        complain([f"{name}: no such file.{_near(file)}"])
    if not file.is_file():
        complain([f"{name}: not a plain file; write it to disk, or pass '-' and pipe it in."])
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}).") from None
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        complain([f"{name}: the file is empty; expected a header line and at least two rows."])
    return data


def _near(file: Path) -> str:
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder != file.parent:
        return f" The folder {shown(file.parent)} does not exist either."
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return ""
    near = [entry for entry in entries if Path(entry).stem == file.stem][:2] or difflib.get_close_matches(file.name, entries, n=2, cutoff=0.7)
    if near:
        return f" Did you mean {' or '.join(shown(folder / entry) for entry in near)}?"
    tables = [entry for entry in entries if Path(entry).suffix.lower() in _USUAL]
    return (
        f" That folder holds {', '.join(tables[:5])}{', …' if len(tables) > 5 else ''}." if tables else " That folder holds no csv, tsv, jsonl or parquet file."
    )


def _format(path: str | Path, data: bytes, name: str) -> str:
    """'csv', 'tsv', 'jsonl' or 'parquet', by suffix; the content has a word where it is plainly something else."""
    suffix = Path(path).suffix.lower()
    foreign = _foreign(data, suffix)
    if foreign:
        complain([f"{name}: {foreign.replace('FILE', name)}"])
    if data.startswith(b"PAR1"):
        if str(path) != "-" and _SUFFIXES.get(suffix) != "parquet":
            complain([f"{name}: this is a parquet file; rename it to end in .parquet."])
        return "parquet"
    if str(path) == "-":
        return "jsonl" if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"
    if suffix not in _SUFFIXES:
        what = f"files that end in '{suffix}' are not read" if suffix else "the name has no ending"
        complain([f"{name}: {what}; expected .csv, .tsv, .jsonl or .parquet. Rename the file after what it holds."])
    form = _SUFFIXES[suffix]
    if form == "parquet":
        complain([f"{name}: not a parquet file (it does not begin with 'PAR1'). Write it again, or rename it after what it holds (.csv, .tsv, .jsonl)."])
    other = _other_json(data[: 1 << 16].lstrip(b"\xef\xbb\xbf \t\r\n"), form, Path(name))
    if other:
        complain([f"{name}: {other}"])
    return form


def _other_json(text: bytes, form: str, file: Path) -> str | None:
    """Which other JSON a file holds than its name says, and the remedy, whose result must not be the very file that it reads."""
    first = text.split(b"\n", 1)[0].strip()
    target = file.with_suffix(".jsonl") if file.suffix != ".jsonl" else file.with_name(f"{file.stem}_lines.jsonl")
    convert = f"expected one object per line. Convert it: jq -c '{{}}' {shlex.quote(str(file))} > {shlex.quote(str(target))}"
    if first.startswith(b"[{") or (form == "jsonl" and first.startswith(b"[")):
        return f"one JSON array; {convert.format('.[]')}"
    if first == b"{":
        return f"JSON objects over several lines; {convert.format('.')}"
    if form != "jsonl" and first.startswith(b'{"'):
        return "its lines are JSON objects; rename it to end in .jsonl."
    return None


def _foreign(data: bytes, suffix: str) -> str | None:
    """What a file that is no table is, and the remedy."""
    if data.startswith(b"PK\x03\x04"):
        if b"[Content_Types].xml" in data[:4096] or suffix in (".xlsx", ".xlsm"):
            return "this is an Excel workbook, not a csv file. Open it, and save the sheet as 'CSV UTF-8 (comma delimited)'."
        return "this is a zip archive; unzip it and name the file inside."
    known: tuple[tuple[bytes, str], ...] = (
        (b"\xd0\xcf\x11\xe0", "this is an old Excel workbook (.xls), not a csv file. Open it, and save the sheet as 'CSV UTF-8 (comma delimited)'."),
        (b"\x1f\x8b", "this is gzip-compressed; unpack it first: gunzip -k FILE"),
        (b"BZh", "this is bzip2-compressed; unpack it first: bunzip2 -k FILE"),
        (b"\xfd7zXZ", "this is xz-compressed; unpack it first: unxz -k FILE"),
        (b"\x28\xb5\x2f\xfd", "this is zstd-compressed; unpack it first: unzstd FILE"),
        (b"7z\xbc\xaf", "this is a 7z archive; unpack it and name the file inside."),
        (b"ARROW1", "this is an Arrow (feather) file; write it as parquet or csv."),
        (b"SQLite format 3", "this is an SQLite database; export the table as csv."),
        (b"%PDF", "this is a PDF, not a table of texts."),
        (b"{\\rtf", "this is a rich-text document; save it as plain csv."),
        (b"\x89PNG", "this is a picture, not a table of texts."),
        (b"\x80\x04\x95", "this is a Python pickle, which Encore never opens (it can run code); write it as parquet or csv."),
        (b"<!DOCTYPE html", "this is a web page, not a table: the download gave an HTML page instead of the file."),
        (b"<html", "this is a web page, not a table: the download gave an HTML page instead of the file."),
        (b"version https://git-lfs", "this is a Git LFS pointer, not the file itself; run: git lfs pull"),
    )
    return next((what for magic, what in known if data.startswith(magic)), None)


# ---------------------------------------------------------------------------------------------------------------- encodings


def _encoding(data: bytes, asked: str | None, name: str) -> tuple[str, bool]:
    """The Python codec that reads `data`, without a byte order mark in its name, and whether there is such a mark to drop."""
    if asked is not None:
        try:
            codec = codecs.lookup(asked)
        except LookupError:
            raise DataError(f"{name}: no encoding called '{asked}'. Known, among others: utf-8, cp1252, latin-1, utf-16, gb18030, shift_jis.") from None
        if not getattr(codec, "_is_text_encoding", True):
            complain([f"{name}: '{asked}' is no text encoding. Known, among others: utf-8, cp1252, latin-1, utf-16, gb18030, shift_jis."])
        wrong = _first_undecodable(data, asked)
        if wrong is not None:
            complain(
                [f"{name}:{_line_at(data, wrong, asked)}: not {asked}: byte 0x{data[wrong]:02X} at offset {wrong:,}. Leave --encoding out to have it found."]
            )
        _refuse_nul(data, asked, name)
        return asked, data.startswith(codecs.BOM_UTF8) and codec.name.startswith("utf-8")
    marks = (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    )
    marked = next((codec_name for mark, codec_name in marks if data.startswith(mark)), None)
    chosen = marked or _wide(data) or "utf-8"
    wrong = _first_undecodable(data, chosen)
    if wrong is not None:
        if chosen == "utf-8" and marked is None and _is_western(data):
            chosen = "cp1252"
        else:
            complain(
                [
                    f"{name}:{_line_at(data, wrong, chosen)}: not {chosen.upper()}: byte 0x{data[wrong]:02X} at offset {wrong:,}. "
                    "Save the file as UTF-8, or pass --encoding (cp1252, latin-1, utf-16, gb18030, …)."
                ]
            )
    _refuse_nul(data, chosen, name)
    return chosen, marked is not None


def _refuse_nul(data: bytes, encoding: str, name: str) -> None:
    at = -1 if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32", "utf16", "utf32")) else data.find(b"\0")
    if at >= 0:
        complain([f"{name}:{_line_at(data, at, encoding)}: a NUL byte at offset {at:,}: this is not a text file, or it is damaged. Write it again."])


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: nearly every second byte of the beginning is zero, always on the same side."""
    head = data[:4096]
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * pairs and even == 0:
        return "utf-16-le"
    if even > 0.4 * pairs and odd == 0:
        return "utf-16-be"
    return None


def _first_undecodable(data: bytes, encoding: str) -> int | None:
    """Offset of the first byte that does not decode; None where all do. In pieces, so that a large file is never held as one string."""
    decoder = codecs.getincrementaldecoder(encoding)()
    step = 1 << 20
    for start in range(0, len(data), step):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(data[start : start + step], final=start + step >= len(data))
        except UnicodeDecodeError as error:
            return min(max(start - pending + error.start, 0), len(data) - 1)
        except UnicodeError:
            return start
    return None


def _line_at(data: bytes, offset: int, encoding: str) -> int:
    return data[:offset].decode(encoding, "replace").count("\n") + 1


def _is_western(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 can only be Windows-1252 (or Latin-1, of which it is a superset for text).

    Not if a byte is unassigned there; not if there are proper UTF-8 sequences too (a UTF-8 file with damage, or two files in one); not if the high bytes stand
    in runs of three and more, as Cyrillic, Greek or Chinese words do: in the languages that Windows-1252 is for, an accented letter
    has one beside it at most (Größe).
    """
    array = np.frombuffer(data, dtype=np.uint8)
    high = array >= 0x80
    if np.isin(array[high], (0x81, 0x8D, 0x8F, 0x90, 0x9D)).any():
        return False
    n_high = int(high.sum())
    n_proper = sum(map(len, re.findall(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}", data)))
    n_inner = int((high[2:] & high[1:-1] & high[:-2]).sum())
    return n_proper * 10 <= n_high and n_inner * 4 <= n_high


def _text(data: bytes, encoding: str) -> io.TextIOWrapper:
    """The decoded text, streamed; line ends stay as they are."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    if text.read(1) != "\ufeff":
        text.seek(0)
    return text


# ---------------------------------------------------------------------------------------------------------------- csv


def _delimiter(asked: str | None) -> str | None:
    if asked is None:
        return None
    chosen = _DELIMITER_WORDS.get(asked.lower(), asked)
    if len(chosen) != 1 or chosen in '"\r\n':
        complain([f"delimiter '{asked}': expected one character, or tab, comma, semicolon, pipe."])
    return chosen


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """The csv module refuses cells of more than 128 KiB unless told otherwise; a long review is no mistake."""
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv(data: bytes, encoding: str, name: str, asked: str | None, usual: str) -> _Parsed:
    def records(delimiter: str, **dialect: Any) -> _Parsed:
        return _csv_records(_text(data, encoding), name, delimiter, dialect)

    with _long_cells():
        sample = _text(data, encoding).read(1 << 16)
        stated = _EXCEL_NOTE.match(sample)
        delimiter = asked or (stated[1] if stated else _sniff_delimiter(sample, usual))
        note = f"delimiter {_say(delimiter)}{' (as its first line says)' if stated and not asked else ''}"
        has_quotes = b'"' in data
        if delimiter == "\t" and has_quotes:
            plain = records(delimiter, quoting=csv.QUOTE_NONE)
            if not plain.problems and not _all_closed(plain.columns):  # GLUE's own files: a quote is a character like any other
                plain.notes = [note, "quotes are taken as they are"]
                return plain
        parsed = records(delimiter)
        if parsed.problems and has_quotes and b"\\" in data:  # Spark, MySQL and others write \" for a quote in a quoted cell
            escaped = records(delimiter, escapechar="\\", doublequote=False)
            if not escaped.problems:
                escaped.notes = [note, 'quotes inside cells are written \\"']
                return escaped
        parsed.notes = [note]
        return parsed


def _say(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


def _sniff_delimiter(sample: str, usual: str) -> str:
    """The delimiter that splits the header and the most of the first records into the same number of cells (2 or more); `usual` where none does."""
    best, chosen = (0.0, 0), usual
    for candidate in (usual, *(other for other in _DELIMITERS if other != usual)):
        with contextlib.suppress(csv.Error):
            rows = [row for row in itertools.islice(csv.reader(io.StringIO(sample, newline=""), delimiter=candidate), 101) if row]
            body = rows[1:-1] if len(rows) > 2 else rows[1:]  # the sample may cut the last one
            width = len(rows[0]) if rows else 0
            if width >= 2:
                agree = sum(len(row) == width for row in body) / max(len(body), 1)
                if (agree, width) > best:
                    best, chosen = (agree, width), candidate
    return chosen


def _all_closed(columns: pa.Table) -> bool:
    """Whether every cell that begins with a quote also ends with one: then the quotes are csv quoting."""
    return all(
        len(cell) > 1 and cell.endswith('"') for column in columns.columns for chunk in column.chunks for cell in chunk.to_pylist() if cell.startswith('"')
    )


def _csv_records(text: io.TextIOWrapper, name: str, delimiter: str, dialect: Mapping[str, Any]) -> _Parsed:
    literal = dialect.get("quoting") == csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=delimiter, strict=True, **dialect)
    header = _header(reader, name, delimiter)
    width, row_number, header_line = len(header), 0, reader.line_num
    chunks: list[pa.RecordBatch] = []
    block: list[list[str]] = []
    parsed, ragged = _Parsed(pa.table({}), [], []), set[int]()
    schema = pa.schema([(column, pa.string()) for column in header])

    def flush() -> None:
        if block:
            chunks.append(pa.record_batch([pa.array(cells, pa.string()) for cells in zip(*block, strict=True)], schema=schema))
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
            parsed.problems.append(_ragged_problem(name, start, header, len(row), delimiter, literal=literal))
            ragged.add(len(row))
        else:
            block.append(row)
            parsed.lines.append(start)
            parsed.rows.append(row_number)
            if len(block) == _CHUNK_ROWS:
                flush()
        row_number += 1
    flush()
    parsed.columns = pa.Table.from_batches(chunks, schema=schema)
    if len(ragged) == 1 and len(parsed.problems) > max(1, len(parsed.rows)):  # a title above the table, most often
        cells, got = f"{width} cell{'s' if width > 1 else ''} ({_some(header)})", ragged.pop()
        which, why = "most rows" if parsed.rows else "every row", _unquoted(delimiter) if got > width > 1 and not literal else ""
        complain([
            f"{name}:{header_line}: this line has {cells}, and {which} below it {got}. Expected the column names, such as: text,label. "
            f"Remove what stands above them.{why}"
        ])
    if not chunks and not parsed.problems:
        complain([f"{name}: a header line ({', '.join(header)}) and no rows."])
    return parsed


def _quote_problem(name: str, start: int, end: int, error: str) -> str:
    if "unexpected end" in error:
        return f'{name}:{start}: a quoted cell opens in this row and is never closed. Close it, or double the quotes inside a cell: "". {SKIP}'
    if "expected after" in error:
        until = f" and closes on line {end}" if end > start else ""
        return f'{name}:{start}: a quoted cell opens in this row{until} with more text after its closing quote. Double the quotes inside the cell: "". {SKIP}'
    return f"{name}:{start}: not a csv row ({error}). {SKIP}"


def _ragged_problem(name: str, line: int, header: Sequence[str], got: int, delimiter: str, *, literal: bool) -> str:
    columns = f"{len(header)} cell{'s' if len(header) > 1 else ''} ({_some(header)})"
    why = _unquoted(delimiter) if got > len(header) and not literal else ""
    return f"{name}:{line}: expected {columns}, got {got}.{why} {SKIP}"


def _unquoted(delimiter: str) -> str:
    return f" A cell that holds {_say(delimiter)} must stand in double quotes."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _header(reader: Iterator[list[str]], name: str, delimiter: str) -> list[str]:
    try:
        header = next((row for row in reader if any(cell.strip() for cell in row) and not _EXCEL_NOTE.match(f"{delimiter.join(row)}\n")), None)
    except csv.Error:
        raise DataError(f"{name}:1: the header line has a quote that is not closed. Expected column names, such as: text,label") from None
    if header is None:
        complain([f"{name}: the file is empty; expected a header line and at least two rows."])
    others = [other for other in _DELIMITERS if other != delimiter and other in header[0]]
    header = [" ".join(cell.split()) or f"column_{number}" for number, cell in enumerate(header, 1)]
    twice = sorted({cell for cell in header if header.count(cell) > 1})
    if twice:
        complain(
            [
                f"{name}:1: {header.count(word)} columns are called '{word}'; every column needs a name of its own. Rename them in the header line."
                for word in twice
            ]
        )
    if len(header) == 1 and others:
        complain(
            [
                f"{name}:1: with delimiter {_say(delimiter)} there is one column, called '{header[0]}'. It looks separated by {_say(others[0])}: "
                f"leave --delimiter out, or pass {_say(others[0])}."
            ]
        )
    return header


# ---------------------------------------------------------------------------------------------------------------- jsonl


def _jsonl(text: io.TextIOWrapper, name: str) -> _Parsed:
    parsed = _Parsed(pa.table({}), [], [])
    chunks: list[pa.Table] = []
    block: list[dict[str, Any]] = []
    row_number = 0
    for line_number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.rstrip("\r\n"), object_pairs_hook=_no_twice)
            if not isinstance(record, dict) or not record:
                raise ValueError(f'expected an object such as {{"text": …, "label": …}}, got {_short(line.strip())}')
            line.encode() if "\\ud" not in line.lower() else json.dumps(record, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            parsed.problems.append(f"{name}:{line_number}: not JSON ({error.msg} at column {error.colno}): {_short(line.strip())}. {SKIP}")
        except UnicodeEncodeError:
            parsed.problems.append(f"{name}:{line_number}: half of a surrogate pair (\\ud800–\\udfff), which is no character. {SKIP}")
        except RecursionError:
            parsed.problems.append(f"{name}:{line_number}: nested too deeply; expected a flat object. {SKIP}")
        except ValueError as error:
            parsed.problems.append(f"{name}:{line_number}: {error}. {SKIP}")
        else:
            block.append(record)
            parsed.lines.append(line_number)
            parsed.rows.append(row_number)
        row_number += 1
        if len(block) == _CHUNK_ROWS:
            chunks.append(_json_block(block))
            block = []
    if block:
        chunks.append(_json_block(block))
    if not chunks and not parsed.problems:
        complain([f"{name}: the file holds no rows; expected one JSON object per line."])
    parsed.columns = _joined(chunks) if chunks else pa.table({})
    return parsed


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' occurs twice in one object")
    return record


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")


def _json_block(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    keys = dict.fromkeys(key for record in records for key in record)
    return pa.table({key: _json_array([record.get(key) for record in records]) for key in keys})


def _json_array(values: list[Any]) -> pa.Array:
    """int64, double, bool or list of string where every value is of that type; strings else: what a person would type for it."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {list}:
        return pa.array([None if value is None else [_word(item) for item in value] for value in values], pa.list_(pa.string()))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in present):
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float} and all(not isinstance(value, int) or abs(value) <= 2**53 for value in present):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if not kinds:
        return pa.nulls(len(values))
    return pa.array([None if value is None else _word(value) for value in values], pa.string())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """One table from blocks that may differ in columns and types: a column that does not agree becomes strings."""
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    columns: dict[str, pa.ChunkedArray] = {}
    for name in names:
        parts = [table[name] if name in table.column_names else pa.chunked_array([pa.nulls(table.num_rows)]) for table in tables]
        kinds = {part.type for part in parts} - {pa.null()}
        if not kinds:
            kind = pa.string()
        elif len(kinds) == 1:
            (kind,) = kinds
        elif kinds == {pa.int64(), pa.float64()}:
            kind = pa.float64()
        else:
            kind = pa.string()
        chunks = [_cast(chunk, kind) for part in parts for chunk in part.chunks]
        columns[name] = pa.chunked_array(chunks, type=kind)
    return pa.table(columns)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if array.type == pa.null():
        return pa.nulls(len(array), kind)
    if kind == pa.string():
        return pa.array([None if value is None else _word(value) for value in array.to_pylist()], kind)
    return array.cast(kind)


# ---------------------------------------------------------------------------------------------------------------- parquet


def _parquet(data: bytes, name: str) -> _Parsed:
    try:
        columns = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". ")[0][:120]
        raise DataError(f"{name}: a damaged parquet file ({reason}). Copy or write it again.") from None
    if not columns.num_rows:
        complain([f"{name}: the columns {_some(columns.column_names)} and no rows."])
    twice = sorted({word for word in columns.column_names if columns.column_names.count(word) > 1})
    if twice:
        complain([f"{name}: more than one column is called '{word}'; every column needs a name of its own." for word in twice])
    for index, column in enumerate(columns.columns):
        kind = _usual_type(column.type)
        if kind != column.type:
            columns = columns.set_column(index, columns.column_names[index], column.cast(kind))
    return _Parsed(columns, [], list(range(columns.num_rows)))


def _usual_type(kind: pa.DataType) -> pa.DataType:
    """Types that hold the same values in another arrangement are read as the plain one, so that nobody downstream meets more than one of each."""
    if pa.types.is_dictionary(kind):
        return _usual_type(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _usual_type(kind.value_type)
        plain = pa.types.is_string(item) or pa.types.is_large_string(item) or pa.types.is_integer(item) or pa.types.is_boolean(item)
        return pa.list_(pa.string()) if plain else pa.list_(item)
    return kind


# ---------------------------------------------------------------------------------------------------------------- writing


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Whether `write_rows` can write there, before anything is computed. Raises DataError."""
    file, name = Path(path), shown(path)
    if str(path) == "-":
        return
    if file.suffix.lower() not in _USUAL:
        complain([f"{name}: cannot tell the format from '{file.suffix or file.name}'; expected a name that ends in .csv, .tsv, .jsonl or .parquet."])
    if file.is_dir():
        complain([f"{name}: this is a folder; name a file in it, such as {shown(file / 'predictions.csv')}."])
    if file.exists() and not overwrite:
        complain([f"{name}: exists already and is left as it is. Name another file, or pass --overwrite."])
    if not file.parent.is_dir():
        complain([f"{name}: the folder {shown(file.parent)} does not exist. Make it first: mkdir -p {shown(file.parent)}"])


def write_rows(path: str | Path, columns: Mapping[str, Sequence[Any] | np.ndarray | pa.Array | pa.ChunkedArray], *, overwrite: bool = False) -> None:
    """Write columns as csv, tsv, jsonl or parquet, by suffix ("-": csv on standard output). The file appears whole or not at all.

    Lists (multi-label) become `;`-separated cells in csv. Raises DataError where the file exists and `overwrite` is False, where its folder does not exist,
    where the suffix is none of these, and where the disk is full.
    """
    table = pa.table({name: values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values) for name, values in columns.items()})
    if str(path) == "-":
        sys.stdout.flush()
        _write_csv(table, sys.stdout.buffer, ",")
        sys.stdout.buffer.flush()
        return
    file, name = Path(path), shown(path)
    writers: dict[str, Callable[[pa.Table, BinaryIO], None]] = {
        ".csv": lambda rows, out: _write_csv(rows, out, ","),
        ".tsv": lambda rows, out: _write_csv(rows, out, "\t"),
        ".jsonl": _write_jsonl,
        ".parquet": lambda rows, out: pq.write_table(rows, out, compression="zstd"),
    }
    check_target(path, overwrite=overwrite)
    mask = os.umask(0)
    os.umask(mask)
    try:
        files.put(file, partial(writers[file.suffix.lower()], table), mode=0o666 & ~mask)
    except OSError as error:
        raise DataError(f"{name}: could not be written ({error.strerror or error}); nothing was changed.") from None


def _write_csv(table: pa.Table, out: BinaryIO, delimiter: str) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        writer = csv.writer(_ShortEnds(text), delimiter=delimiter)
        writer.writerow(table.column_names)
        for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
            writer.writerows(zip(*(map(_cell, column.to_pylist()) for column in batch.columns), strict=True))
        text.flush()
    finally:
        text.detach()


class _ShortEnds:
    r"""Takes the csv module's rows and ends them with \n. The module quotes a cell that holds \r only where \r is part of its line end."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def write(self, row: str) -> int:
        return self._text.write(row.removesuffix("\r\n") + "\n")


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ";".join(map(str, value))
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _write_jsonl(table: pa.Table, out: BinaryIO) -> None:
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        for record in batch.to_pylist():
            clean = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()}
            out.write(json.dumps(clean, ensure_ascii=False).encode() + b"\n")
