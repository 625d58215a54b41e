"""A file in, a table of text columns out: csv, tsv, jsonl and parquet, with every complaint at once
and the source line of every row.

One parser reads csv files (the standard library's, streaming, about 80 MB/s): a second, faster one
would read stray quotes and blank lines differently, and the difference would show as a row number
that is off by one. The cells go into pyarrow arrays as they come, so a file costs its own size
twice and nothing more.
"""

from __future__ import annotations

import difflib
import hashlib
import shlex
import sys
from pathlib import Path

import numpy as np

from encore.data.delimited import USUAL_DELIMITERS, detect_delimiter, read_csv
from encore.data.encodings import decode, detect_encoding
from encore.data.jsonl import read_json_lines
from encore.data.parquet import read_parquet
from encore.data.table import OnBadRow, Table, complain, display_path, skipped_note
from encore.errors import DataError

__all__ = ["read_table"]
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def read_table(
    path: str | Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    on_bad_row: OnBadRow = "fail",
) -> Table:
    """Read a csv, tsv, jsonl or parquet file ("-": standard input). `delimiter` and `encoding` are
    sniffed where None; what was found is in `notes`.

    Raises DataError, one line per problem: no such file (with near names), a folder, an empty file,
    a header alone, columns that share a name, rows of the wrong length, text that is not what its
    encoding says, NUL bytes, an archive or a spreadsheet (with the remedy), broken JSON, a damaged
    parquet file.
    """
    name = display_path(path)
    data = _bytes_of(path, name)
    digest = hashlib.sha256(data).hexdigest()
    form = _format(path, data, name)
    if form == "parquet":
        parsed, lines = read_parquet(data, name), None
    else:
        chosen, dropped = detect_encoding(data, encoding, name)
        usual = "\t" if form == "tsv" else ","
        parsed = (
            read_json_lines(decode(data, chosen), name)
            if form == "jsonl"
            else read_csv(data, chosen, name, detect_delimiter(delimiter), usual)
        )
        guessed = chosen == "cp1252" and encoding is None
        doubt = " (a guess: the file is not UTF-8; pass --encoding to say otherwise)"
        parsed.notes += [f"encoding {chosen}{doubt if guessed else ''}"]
        parsed.notes += ["byte order mark dropped"] if dropped else []
        lines = np.asarray(parsed.lines, dtype=np.int64)
    if parsed.problems and (on_bad_row == "fail" or not parsed.columns.num_rows):
        complain(parsed.problems)
    if parsed.problems:
        parsed.notes.append(skipped_note(name, parsed.problems))
    skipped = parsed.notes[-1] if parsed.problems else ""
    return Table(
        Path(path),
        parsed.columns,
        digest,
        lines,
        np.asarray(parsed.rows, dtype=np.int64),
        tuple(parsed.notes),
        name,
        skipped,
    )


# ---------------------------------------------------------------------------------- the file itself


def _bytes_of(path: str | Path, name: str) -> bytes:
    if str(path) == "-":
        data = sys.stdin.buffer.read()
        if not data.strip():
            complain(["standard input: empty; expected a header line and rows, or JSON lines."])
        return data
    file = Path(path)
    if file.is_dir():
        tables = sorted(
            entry.name for entry in file.iterdir() if entry.suffix.lower() in USUAL_DELIMITERS
        )
        inside = (
            f" It holds {', '.join(tables[:5])}{', …' if len(tables) > 5 else ''}: name one of "
            f"them."
            if tables
            else ""
        )
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
        return f" The folder {display_path(file.parent)} does not exist either."
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return ""
    near = [entry for entry in entries if Path(entry).stem == file.stem][
        :2
    ] or difflib.get_close_matches(file.name, entries, n=2, cutoff=0.7)
    if near:
        return f" Did you mean {' or '.join(display_path(folder / entry) for entry in near)}?"
    tables = [entry for entry in entries if Path(entry).suffix.lower() in USUAL_DELIMITERS]
    return (
        f" That folder holds {', '.join(tables[:5])}{', …' if len(tables) > 5 else ''}."
        if tables
        else " That folder holds no csv, tsv, jsonl or parquet file."
    )


def _format(path: str | Path, data: bytes, name: str) -> str:
    """'csv', 'tsv', 'jsonl' or 'parquet', by suffix; the content has a word where it is plainly
    something else.
    """
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
        complain(
            [
                f"{name}: {what}; expected .csv, .tsv, .jsonl or .parquet. Rename the file "
                f"after what it holds."
            ]
        )
    form = _SUFFIXES[suffix]
    if form == "parquet":
        complain(
            [
                f"{name}: not a parquet file (it does not begin with 'PAR1'). Write it again, "
                f"or rename it after what it holds (.csv, .tsv, .jsonl)."
            ]
        )
    other = _other_json(data[: 1 << 16].lstrip(b"\xef\xbb\xbf \t\r\n"), form, Path(name))
    if other:
        complain([f"{name}: {other}"])
    return form


def _other_json(text: bytes, form: str, file: Path) -> str | None:
    """Which other JSON a file holds than its name says, and the remedy, whose result must not be
    the very file that it reads.
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


def _foreign(data: bytes, suffix: str) -> str | None:
    """What a file that is no table is, and the remedy."""
    if data.startswith(b"PK\x03\x04"):
        if b"[Content_Types].xml" in data[:4096] or suffix in (".xlsx", ".xlsm"):
            return (
                "this is an Excel workbook, not a csv file. Open it, and save the sheet as "
                "'CSV UTF-8 (comma delimited)'."
            )
        return "this is a zip archive; unzip it and name the file inside."
    known: tuple[tuple[bytes, str], ...] = (
        (
            b"\xd0\xcf\x11\xe0",
            "this is an old Excel workbook (.xls), not a csv file. Open it, and save the sheet "
            "as 'CSV UTF-8 (comma delimited)'.",
        ),
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
        (
            b"\x80\x04\x95",
            "this is a Python pickle, which Encore never opens (it can run code); write it as "
            "parquet or csv.",
        ),
        (
            b"<!DOCTYPE html",
            "this is a web page, not a table: the download gave an HTML page instead of the file.",
        ),
        (
            b"<html",
            "this is a web page, not a table: the download gave an HTML page instead of the file.",
        ),
        (
            b"version https://git-lfs",
            "this is a Git LFS pointer, not the file itself; run: git lfs pull",
        ),
    )
    return next((what for magic, what in known if data.startswith(magic)), None)
