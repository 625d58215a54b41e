"""Reads Excel workbooks (.xlsx, .xls): a sheet, or the first that holds rows, as the text that it
shows.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from encore.data.header import TITLE_ROWS, TextBlocks, column_names, reject_title
from encore.data.table import ParsedRows, join_limited, plural, reject

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

__all__ = ["OLD_WORKBOOK", "read_workbook"]

OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"  # an .xls file, or a protected .xlsx file

_LARGEST = 1 << 30  # bytes, unpacked
_MOST_CELLS = 50_000_000  # the reader keeps a place for every cell of the used rectangle
_REFERENCE = re.compile(rb"""\br=["']([A-Z]{1,3})([0-9]{1,7})["']""")


def read_workbook(
    data: bytes, name: str, skip_lines: int = 0, sheet: str | int | None = None
) -> ParsedRows:
    """Parse the bytes of a workbook, without the first `skip_lines` rows of its sheet. name: the
    file, for messages. sheet: its name, or its number from 1; None: the first that holds rows.
    Rows that are empty are left out; the line of a row is its number in the sheet. Raises
    DataError: damaged, protected by a password, too large, no such sheet, no rows, columns that
    share a name.
    """
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        if not data.startswith(OLD_WORKBOOK):  # .xls has at most 65,536 rows of 256 cells
            _check_size(data, name)
        with CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
            title, about = _choose_sheet(book, name, sheet)
            chosen = book.get_sheet_by_name(title)
            # `start` is the corner of the used rectangle; above it, rows are empty.
            top = (chosen.start or (0, 0))[0]
            rows = chosen.to_python(skip_empty_area=True)
    except PasswordError:
        reject(name, "this workbook is protected by a password.", "Save it without one.")
    except (CalamineError, OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        reject(name, f"a damaged workbook ({reason}).", "Save it again.")
    parsed = _parsed(rows, top, name, skip_lines)
    parsed.how_read.append(f"sheet '{title}'{about}")
    if skip_lines:
        parsed.how_read.append(f"{plural(skip_lines, 'line')} skipped")
    return parsed


def _choose_sheet(book: CalamineWorkbook, name: str, wanted: str | int | None) -> tuple[str, str]:
    """The title of the sheet that is read, and a remark on the others."""
    titles = book.sheet_names
    full = [title for title in titles if book.get_sheet_by_name(title).start is not None]
    listed = join_limited([f"'{title}'" for title in full])
    if wanted is None and not full:
        reject(name, "the workbook holds no rows; expected a header and at least two rows.")
    if wanted is None:
        others = f" (the first of {len(full)}: {listed}; another: --sheet NAME)"
        return full[0], others if len(full) > 1 else ""
    wanted = str(wanted)
    at = int(wanted) - 1 if wanted.isdecimal() else -1
    title = wanted if wanted in titles else titles[at] if 0 <= at < len(titles) else ""
    if not title:
        reject(name, f"no sheet '{wanted}'.", f"Sheets with rows: {listed or 'none'}.")
    if title not in full:
        reject(
            name, f"the sheet '{title}' holds no rows.", f"Sheets with rows: {listed or 'none'}."
        )
    return title, ""


def _parsed(rows: list[list[Any]], top: int, name: str, skip_lines: int) -> ParsedRows:
    cells = (
        (line, [_text(value) for value in row])
        for line, row in enumerate(rows, top + 1)
        if line > skip_lines
    )
    filled = ((line, row) for line, row in cells if any(cell.strip() for cell in row))
    header_line, header = next(filled, (0, []))
    if not header:
        reject(name, f"no rows below line {skip_lines}.", "Skip fewer lines.")
    names = column_names(header, name, line=header_line)
    parsed, blocks = ParsedRows(pa.table({}), [], []), TextBlocks(names)
    first: list[tuple[int, list[str]]] = []
    for line, row in filled:
        blocks.append(row)
        if len(first) < TITLE_ROWS:
            first.append((line, row))
        parsed.lines.append(line)
        parsed.rows.append(line - header_line - 1)
    parsed.columns, parsed.n_rows = blocks.table(), len(parsed.rows)
    reject_title(name, names, header_line, first)
    if not parsed.rows:
        reject(name, f"a header ({', '.join(names)}) and no rows.")
    return parsed


def _text(value: Any) -> str:
    """The text that a person would type for a cell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _check_size(data: bytes, name: str) -> None:
    """Raise DataError where the file would unpack to more than memory has room for: all its parts,
    or the rectangle of cells that a single far cell spans.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > _LARGEST:
            reject(name, "unpacked, this workbook is larger than 1 GiB.", "Save it as csv.")
        for part in parts:
            if part.filename.startswith("xl/worksheets/"):
                n_rows, n_columns = _extent(archive.read(part))
                if n_rows * n_columns > _MOST_CELLS:
                    reject(
                        name,
                        f"a sheet reaches to row {n_rows:,} and column {n_columns:,}: too many "
                        f"cells.",
                        "Remove the far cells, or save the sheet as csv.",
                    )


def _extent(sheet: bytes) -> tuple[int, int]:
    n_rows = n_columns = 0
    for found in _REFERENCE.finditer(sheet):
        column = 0
        for letter in found[1]:
            column = 26 * column + letter - 64
        n_rows, n_columns = max(n_rows, int(found[2])), max(n_columns, column)
    return n_rows, n_columns
