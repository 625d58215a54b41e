"""Workbooks give the table of a csv file with the same cells, or one line on what is wrong."""

from __future__ import annotations

import base64
import contextlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from encore.data.load import load_task
from encore.data.read import read_table
from encore.data.settings import DataSettings
from encore.errors import DataError

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
# An .xls file with the sheets Notes, Reviews and Empty.
OLD = (
    b"eNrtWE1IVFEU/u5782Yc82c0FTSQh9Cfuok2bXQqMFeJuSkisKfzLHH0ycxLm4KybJZB0KpoI7hpY7Xph1rUrkVg"
    b"1CIIAs1VtIigoIX6OvfMfag1ogMpKe8b7rn3nvPdd++759yfeW+nK2YmHtXN4g+0QseiF0V4mU5QivqVGMjuebLo"
    b"50WUvABbCtEicmTYwPPSNxHpQ+nvWWh4GHpFEvhM6QyG0eEM2eYm4iiPwRJyDC0iTLGnUUTeI1mGWh5ZJcteljtZ"
    b"PmD2C5aHWXOTZQtxZ8RpTMc7Gg+pSD6lNbCtjKTAE27zkTUHUI3XMpKv3hI5roEjqX4r+X8a6kMlmAT5rt0eslNW"
    b"cgZV5MRJ/PRM4Ie/Wl+agX5z9QKk/7VSH8mjv62FgDF4Z4UMxCxK0RSSFoOWnGunsyjHN0MqIuiyR/rt0bTkzEVy"
    b"nLbBYTczj27soKpM1Hb0vOXqMnNos7aSSdPpM/tdCu1Bm6xpZ9Ama8a5QBXXvujSw9OulUpHpM085zgJatZjJZrN"
    b"ETuVIVKv1felWG79vFXEVmwVpbx8SkgmaKCyXMGLKEaHwfz97++O93TGu1kzxsdD7hDZLd8ZHq7JFtS4jC06S8lt"
    b"ZNnE8jo/dReX61hW0XtTvqezWhWOjTPnBlv3UD8HGe/je5eV91E5+/XE0/rsXHw/lafaZy9VTX2IT6CBDrUEtZe/"
    b"cTSLZnH3jsSzuJ8Ltdl8Yln718ZTpMXU2D11UpZjAcVcrGCZq8nZEYov8vAF8zXFF8zXFV/Lw9eYH1L83OzLWGnV"
    b"KvFYGmkbXMJm+DC0TX0YXuHDyJo+lPN0RfN9WLOmD6OKn5v9sOLrefg684sVX2f+ZUP5HBvnc6zq8yVsNZ+vPmcB"
    b"AgQIECDAtoZQ1zVdXd4MdUGIqO86C5QWg88k2xZdcOjn0p/SNgxRnkKmoPipgSH8Z4l1tvG/F0qcpN5TGEAPj2Og"
    b"4PilC55Y/j7rbhj7d0uo0P4XCxnnBvf/G3+oO+8="
)
ROWS = [("text", "stars", "sold"), ("so good", 5, True), ("bad, very", 1, False), ("fine", 3.5, "")]


def cell(value: object, at: str) -> str:
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{at}"><v>{value}</v></c>'
    return f'<c r="{at}" t="inlineStr"><is><t>{escape(str(value))}</t></is></c>' if value else ""


def sheet(rows: Sequence[Sequence[object]], last: str = "") -> str:
    lines = "".join(
        f'<row r="{n}">{"".join(cell(v, f"{chr(65 + i)}{n}") for i, v in enumerate(row))}</row>'
        for n, row in enumerate(rows, 1)
    )
    return f'<worksheet xmlns="{MAIN}"><sheetData>{lines}{last}</sheetData></worksheet>'


def workbook(*sheets: str) -> bytes:
    """The smallest file that Excel opens."""
    numbers = range(1, len(sheets) + 1)
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="application/vnd.'
        f'openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for n in numbers
    )
    kinds = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
        'relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.'
        'openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    )
    listed = "".join(f'<sheet name="Sheet{n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{DOCUMENT}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">{kinds}{types}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><sheets>{listed}'
        f"</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{related}'
        f"</Relationships>",
    }
    parts |= {f"xl/worksheets/sheet{n}.xml": text for n, text in zip(numbers, sheets, strict=True)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return file.getvalue()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complaint(data: bytes, **options: int) -> str:
    Path("t.xlsx").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_table("t.xlsx", **options)
    return str(caught.value)


def test_cells_are_what_a_person_would_type() -> None:
    Path("t.xlsx").write_bytes(workbook(sheet([]), sheet(ROWS), sheet([("x",)])))
    table = read_table("t.xlsx")
    assert table.columns.to_pylist() == [
        {"text": "so good", "stars": "5", "sold": "true"},
        {"text": "bad, very", "stars": "1", "sold": "false"},
        {"text": "fine", "stars": "3.5", "sold": ""},
    ]
    assert (table.lines.tolist(), table.rows.tolist()) == ([2, 3, 4], [0, 1, 2])
    assert table.how_read == (
        "sheet 'Sheet2' (the first of 2: 'Sheet2', 'Sheet3'; another: --sheet NAME)",
    )


def test_a_sheet_is_read_by_name_or_number() -> None:
    Path("t.xlsx").write_bytes(workbook(sheet([("x",), ("y",)]), sheet([]), sheet(ROWS)))
    for wanted in ("Sheet3", "3", 3):
        table = read_table("t.xlsx", sheet=wanted)
        assert table.columns["text"].to_pylist() == ["so good", "bad, very", "fine"]
        assert table.how_read == ("sheet 'Sheet3'",)
    content = Path("t.xlsx").read_bytes()
    full = "Sheets with rows: 'Sheet1', 'Sheet3'."
    assert complaint(content, sheet="4") == f"t.xlsx: no sheet '4'. {full}"
    assert complaint(content, sheet="Shet3") == f"t.xlsx: no sheet 'Shet3'. {full}"
    assert complaint(content, sheet=2) == f"t.xlsx: the sheet 'Sheet2' holds no rows. {full}"
    Path("t.csv").write_text("text,stars\na,1\n")
    with pytest.raises(DataError, match=r"t.csv: no workbook, so it has no sheets\."):
        read_table("t.csv", sheet="1")


def test_an_old_workbook_is_read() -> None:
    content = zlib.decompress(base64.b64decode(OLD))
    Path("t.xls").write_bytes(content)
    assert read_table("t.xls").columns["who"].to_pylist() == ["me", "you"]
    table = read_table("t.xls", sheet="Reviews")
    assert table.columns.to_pylist() == [
        {"text": "so good", "stars": "5"},
        {"text": "bad, very", "stars": "1"},
        {"text": "café", "stars": "3.5"},
    ]
    Path("t.xls").write_bytes(content[:700])
    with pytest.raises(DataError, match=r"t.xls: a damaged workbook \("):
        read_table("t.xls")


def test_a_title_is_skipped_on_request_and_empty_rows_are_none() -> None:
    rows = [("Survey of 2024",), (), *ROWS[:2], (), *ROWS[2:]]
    assert complaint(workbook(sheet(rows))) == (
        "t.xlsx:1: only one of 3 cells is filled ('Survey of 2024'): a title, no column names. "
        "Skip it: --skip-lines 2"
    )
    table = read_table("t.xlsx", skip_lines=2)
    assert table.columns["text"].to_pylist() == ["so good", "bad, very", "fine"]
    assert table.lines.tolist() == [4, 6, 7]
    assert table.how_read == ("sheet 'Sheet1'", "2 lines skipped")
    assert complaint(workbook(sheet(rows)), skip_lines=9) == (
        "t.xlsx: no rows below line 9. Skip fewer lines."
    )


def test_a_task_is_read_and_its_mistakes_name_the_row_of_the_sheet() -> None:
    rows = [("text", "label"), *((f"text {row}", "ab"[row % 2]) for row in range(20))]
    Path("t.xlsx").write_bytes(workbook(sheet(rows)))
    data = load_task("t", DataSettings(train="t.xlsx", seed=1))
    assert (data.labels.names, len(data.train) + len(data.dev["dev"])) == (("a", "b"), 20)
    rows[4] = ("text", "")
    Path("t.xlsx").write_bytes(workbook(sheet(rows)))
    with pytest.raises(DataError, match=r"column 'label': 1 cell is empty \(line 5\)"):
        load_task("t", DataSettings(train="t.xlsx", seed=1))


def test_workbooks_that_cannot_be_read() -> None:
    assert "holds no rows" in complaint(workbook(sheet([])))
    assert complaint(workbook(sheet(ROWS[:1]))) == (
        "t.xlsx: a header (text, stars, sold) and no rows."
    )
    twice = complaint(workbook(sheet([("a", "a"), ("x", "y")])))
    assert twice.startswith("t.xlsx:1: 2 columns are called 'a'")
    assert complaint(workbook(sheet(ROWS))[:400]).startswith("t.xlsx: a damaged workbook (")
    far = f'<row r="1048576">{cell("far", "XFD1048576")}</row>'
    assert complaint(workbook(sheet(ROWS, far))) == (
        "t.xlsx: a sheet reaches to row 1,048,576 and column 16,384: too many cells. Remove the "
        "far cells, or save the sheet as csv."
    )


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_gives_a_table_or_one_line(seed: int) -> None:
    data = bytearray(workbook(sheet(ROWS)))
    for step in range(1 + seed % 4):
        data[(seed * 7919 + step * 104729) % len(data)] ^= 1 << (seed + step) % 8
    Path("t.xlsx").write_bytes(bytes(data))
    with contextlib.suppress(DataError):
        assert read_table("t.xlsx").columns.num_rows > 0
