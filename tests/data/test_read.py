"""Tables: what is read is what was written, every row knows its line, and every mistake gets one
line that says what to do.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from encore.data.read import read_table
from encore.data.write import write_rows
from encore.errors import DataError

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# What a cell may hold: every character that has a meaning in some dialect, and some that have none.
# No lone surrogates, no NUL.
CELLS = st.text(
    alphabet=st.one_of(
        st.sampled_from(list("\",;\t|\n\r \\'ab")),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(path: str | Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    assert caught.value.exit_code == 3
    return str(caught.value)


# ----------------------------------------------------------------- what is read is what was written


@QUICK
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=20),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_csv_cells_come_back_and_every_row_knows_its_line(
    rows: list[tuple[str, str, str]], delimiter: str, end: str, tmp_path: Path
) -> None:
    text, lines, at = io.StringIO(newline=""), [], 2
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(("first", "second", "third"))
    for row in rows:
        lines.append(at)
        before = text.tell()
        writer.writerow(row)
        at += len(io.StringIO(text.getvalue()[before:], newline="").readlines())
    (tmp_path / "t.csv").write_bytes(text.getvalue().encode())
    table = read_table(tmp_path / "t.csv", delimiter=delimiter)
    assert [tuple(record.values()) for record in table.columns.to_pylist()] == rows
    assert table.lines is not None
    assert table.lines.tolist() == lines
    assert table.rows.tolist() == list(range(len(rows)))


@QUICK
@example(rows=[{"text": "\t\n", "label": 0}])  # without its quotes: two rows of two cells
@given(
    rows=st.lists(
        st.fixed_dictionaries({"text": CELLS, "label": st.integers(-9, 9)}), min_size=1, max_size=20
    )
)
def test_written_rows_come_back_from_every_format(
    rows: list[dict[str, object]], tmp_path: Path
) -> None:
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        file = tmp_path / f"rows{suffix}"
        write_rows(
            file,
            {"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]},
            overwrite=True,
            raw=True,
        )
        back = read_table(
            file, delimiter={".csv": ",", ".tsv": "\t"}.get(suffix)
        ).columns.to_pylist()
        assert back == [
            {
                "text": row["text"],
                "label": row["label"] if suffix in (".jsonl", ".parquet") else str(row["label"]),
            }
            for row in rows
        ]


@pytest.mark.parametrize(
    ("codec", "mark", "said"),
    [
        ("utf-8", b"", "encoding utf-8"),
        ("utf-8", codecs.BOM_UTF8, "byte order mark dropped"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "encoding utf-16-le"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "encoding utf-16-be"),
        ("utf-16-le", b"", "encoding utf-16-le"),
        ("utf-32-le", codecs.BOM_UTF32_LE, "encoding utf-32-le"),
        (
            "cp1252",
            b"",
            "encoding cp1252 (a guess: the file is not UTF-8; data.encoding=NAME overrides it)",
        ),
    ],
)
def test_encodings_are_found_and_announced(codec: str, mark: bytes, said: str, here: Path) -> None:
    (here / "t.csv").write_bytes(
        mark
        + "text,label\r\nCafé très bon — “vraiment”,ja\r\nrien à dire de plus ici,nein\r\n".encode(
            codec
        )
    )
    table = read_table("t.csv")
    assert table.columns.to_pylist() == [
        {"text": "Café très bon — “vraiment”", "label": "ja"},
        {"text": "rien à dire de plus ici", "label": "nein"},
    ]
    assert said in table.how_read
    assert table.lines is not None
    assert table.lines.tolist() == [2, 3]


def test_two_accented_letters_side_by_side_are_western(here: Path) -> None:
    (here / "t.csv").write_bytes(
        "Text;Note\ndie Größe paßt für uns;gut\nzu groß, süß;schlecht\n".encode("cp1252")
    )
    assert read_table("t.csv").columns["Text"].to_pylist() == [
        "die Größe paßt für uns",
        "zu groß, süß",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_delimiters_are_found_and_announced(delimiter: str, suffix: str, here: Path) -> None:
    rows = [
        ["text", "label", "n"],
        ["One, two; three | four", "a;b", "1"],
        ["plain", "b", "2"],
        ["say ''x''", "a", "3"],
    ]
    with open(f"t{suffix}", "w", newline="") as out:
        csv.writer(out, delimiter=delimiter).writerows(rows)
    table = read_table(f"t{suffix}")
    assert [list(record.values()) for record in table.columns.to_pylist()] == rows[1:]
    assert table.how_read[0] == (
        "delimiter tab" if delimiter == "\t" else f"delimiter '{delimiter}'"
    )


def test_quotes_in_a_tab_separated_file_without_quoting_are_characters(here: Path) -> None:
    Path("t.tsv").write_text('a\tb\n"He said so.\tyes\n5" pipe\tno\nplain\t"\n')
    table = read_table("t.tsv")
    assert table.columns.to_pylist() == [
        {"a": '"He said so.', "b": "yes"},
        {"a": '5" pipe', "b": "no"},
        {"a": "plain", "b": '"'},
    ]
    assert "quotes are taken as they are" in table.how_read


def test_quotes_escaped_by_backslash_are_read_and_announced(here: Path) -> None:
    Path("t.csv").write_text('text,label\n"He said \\"no\\", twice",a\nplain,b\n')
    table = read_table("t.csv")
    assert table.columns["text"].to_pylist() == ['He said "no", twice', "plain"]
    assert any('\\"' in note for note in table.how_read)


def test_blank_lines_and_quoted_newlines_keep_the_line_numbers_right(here: Path) -> None:
    Path("t.csv").write_text('\ntext,label\n\n"two\nlines",a\n   \nlast,b\n\n')
    table = read_table("t.csv")
    assert table.columns.to_pylist() == [
        {"text": "two\nlines", "label": "a"},
        {"text": "last", "label": "b"},
    ]
    assert table.lines is not None
    assert table.lines.tolist() == [4, 7]


def test_old_mac_line_ends(here: Path) -> None:
    Path("t.csv").write_bytes(b"text,label\rone,a\rtwo,b\r")
    table = read_table("t.csv")
    assert table.columns["text"].to_pylist() == ["one", "two"]


def test_a_cell_of_a_megabyte(here: Path) -> None:
    before = csv.field_size_limit()
    Path("t.csv").write_text("text,label\n" + "long " * 200_000 + ",a\nshort,b\n")
    assert len(read_table("t.csv").columns["text"][0].as_py()) == 1_000_000
    assert csv.field_size_limit() == before


def test_csv_cells_stay_text(here: Path) -> None:
    Path("t.csv").write_text("text,code\nNA,01\nnull,1e5\n,true\n")
    assert read_table("t.csv").columns.to_pylist() == [
        {"text": "NA", "code": "01"},
        {"text": "null", "code": "1e5"},
        {"text": "", "code": "true"},
    ]


def test_the_digest_is_that_of_the_bytes(here: Path) -> None:
    data = codecs.BOM_UTF8 + b"text,label\na,b\n"
    Path("t.csv").write_bytes(data)
    assert read_table("t.csv").digest == hashlib.sha256(data).hexdigest()


def test_jsonl_keeps_types_and_mixes_become_text(here: Path) -> None:
    records = [
        {"text": "a", "n": 1, "x": 1, "m": 1, "tags": ["p", "q"], "b": True},
        {"text": "b", "n": 2, "x": 2.5, "m": "two", "tags": [], "b": False},
        {"text": "c", "n": 3},
    ]
    Path("t.jsonl").write_text("\n\n".join(map(json.dumps, records)))
    table = read_table("t.jsonl")
    assert {
        name: str(kind)
        for name, kind in zip(table.columns.column_names, table.columns.schema.types, strict=True)
    } == {
        "text": "string",
        "n": "int64",
        "x": "double",
        "m": "string",
        "tags": "list<item: string>",
        "b": "bool",
    }
    assert table.columns["m"].to_pylist() == ["1", "two", None]
    assert table.lines is not None
    assert table.lines.tolist() == [1, 3, 5]


def test_a_column_whose_type_changes_late_in_a_long_jsonl_file(here: Path) -> None:
    with open("t.jsonl", "w") as out:
        for row in range(9000):
            out.write(
                json.dumps(
                    {
                        "text": str(row),
                        "label": row % 5 if row < 8999 else "five",
                        **({"late": 1.5} if row > 8500 else {}),
                    }
                )
                + "\n"
            )
    table = read_table("t.jsonl")
    assert table.columns["label"].to_pylist() == [str(row % 5) for row in range(8999)] + ["five"]
    assert table.columns["late"].null_count == 8501


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (
        b"text,label\none,a\ntwo,b\n",
        b'{"text": "one", "label": "a"}\n{"text": "two", "label": "b"}\n',
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        table = read_table("-")
        assert table.columns.to_pylist() == [
            {"text": "one", "label": "a"},
            {"text": "two", "label": "b"},
        ]
        assert table.name == "standard input"


# ----------------------------------------------------------------------------------------- mistakes


def xlsx() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return file.getvalue()


def parquet(columns: dict[str, list[object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


SKIP = "Fix the row, or pass --on-bad-row skip"
MISTAKES = {
    "empty": (
        "t.csv",
        b"",
        "t.csv: the file is empty; expected a header line and at least two rows.",
    ),
    "a BOM alone": (
        "t.csv",
        codecs.BOM_UTF8 + b"\r\n",
        "t.csv: the file is empty; expected a header line and at least two rows.",
    ),
    "header only": ("t.csv", b"text,label\n", "t.csv: a header line (text, label) and no rows."),
    "header twice the same name": (
        "t.csv",
        b"text,label, text\na,b,c\n",
        "t.csv:1: 2 columns are called 'text'; every column needs a name of its own. Rename "
        "them in the header line.",
    ),
    "one cell too many": (
        "t.csv",
        b"text,label\nfine,a\nso, so,b\n",
        f"t.csv:3: expected 2 cells (text, label), got 3. Put a cell that holds ',' in "
        f"double quotes. {SKIP}",
    ),
    "one cell too few, after a quoted newline": (
        "t.csv",
        b'text,label\n"two\nlines",a\nalone\n',
        f"t.csv:4: expected 2 cells (text, label), got 1. {SKIP}",
    ),
    "a quote never closed": (
        "t.csv",
        b'text,label\nfine,a\n"open,b\nnext,a\n',
        f"t.csv:3: a quoted cell opens in this row and is never closed. Close it, or double "
        f'the quotes inside a cell: "". {SKIP}',
    ),
    "a quote closed too early": (
        "t.csv",
        b'text,label\n"so" he said,a\nfine,b\n',
        f"t.csv:2: a quoted cell opens in this row with more text after its closing quote. "
        f'Double the quotes inside the cell: "". {SKIP}',
    ),
    "damaged UTF-8": (
        "t.csv",
        "text,label\ndéjà vu,a\nça va\n".encode()[:-4] + b"\xff\xfe,b\n",
        "t.csv:3: not UTF-8: byte 0xFF at offset 26. Save the file as UTF-8, or name its "
        "encoding (cp1252, latin-1, utf-16, gb18030, …): --encoding NAME",
    ),
    "Cyrillic in cp1251": (
        "t.csv",
        "text,label\nочень хорошо,да\n".encode("cp1251"),
        "t.csv:2: not UTF-8: byte 0xEE at offset 11. Save the file as UTF-8, or name its "
        "encoding (cp1252, latin-1, utf-16, gb18030, …): --encoding NAME",
    ),
    "Chinese in gb18030": (
        "t.csv",
        "text,label\n非常好的产品,好\n".encode("gb18030"),
        "t.csv:2: not UTF-8: byte 0xB7 at offset 11. Save the file as UTF-8, or name its "
        "encoding (cp1252, latin-1, utf-16, gb18030, …): --encoding NAME",
    ),
    "a NUL byte": (
        "t.csv",
        b"text,label\na\0b,c\n",
        "t.csv:2: a NUL byte at offset 12: this is not a text file, or it is damaged. Write it "
        "again.",
    ),
    "a workbook": (
        "t.csv",
        xlsx(),
        "t.csv: this is an Excel workbook; rename it to end in .xlsx.",
    ),
    "a workbook by name": (
        "t.xlsx",
        xlsx(),
        "t.xlsx: a damaged workbook (Cannot detect file format). Save it again.",
    ),
    "gzip": (
        "t.csv.gz",
        gzip.compress(b"text,label\n"),
        "t.csv.gz: this is gzip-compressed; unpack it first: gunzip -k t.csv.gz",
    ),
    "parquet under another name": (
        "t.csv",
        parquet({"a": ["b"]}),
        "t.csv: this is a parquet file; rename it to end in .parquet.",
    ),
    "csv under parquet's name": (
        "t.parquet",
        b"text,label\na,b\n",
        "t.parquet: not a parquet file (it does not begin with 'PAR1'). Write it again, or "
        "rename it after what it holds (.csv, .tsv, .jsonl).",
    ),
    "parquet without rows": (
        "t.parquet",
        parquet({"text": [], "label": []}),
        "t.parquet: the columns text, label and no rows.",
    ),
    "an unknown ending": (
        "t.txt",
        b"text,label\na,b\n",
        "t.txt: files that end in '.txt' are not read; expected .csv, .tsv, .jsonl, .parquet or "
        ".xlsx. Rename the file after what it holds.",
    ),
    "no ending": (
        "data",
        b"text,label\na,b\n",
        "data: the name has no ending; expected .csv, .tsv, .jsonl, .parquet or .xlsx. Rename the "
        "file after what it holds.",
    ),
    "a JSON array": (
        "t.json",
        b'[{"text": "a"}]',
        "t.json: one JSON array; expected one object per line. Convert it: jq -c '.[]' t.json "
        "> t.jsonl",
    ),
    "a JSON array named jsonl": (
        "t.jsonl",
        b'[{"text": "a"}]',
        "t.jsonl: one JSON array; expected one object per line. Convert it: jq -c '.[]' "
        "t.jsonl > t_lines.jsonl",
    ),
    "a JSON array named csv": (
        "my t.csv",
        b'[{"text": "a"}]',
        "my t.csv: one JSON array; expected one object per line. Convert it: jq -c '.[]' 'my "
        "t.csv' > 'my t.jsonl'",
    ),
    "JSON written to be read": (
        "t.json",
        b'{\n  "text": "a"\n}\n{\n  "text": "b"\n}\n',
        "t.json: JSON objects over several lines; expected one object per line. Convert it: jq "
        "-c '.' t.json > t.jsonl",
    ),
    "JSON lines named csv": (
        "t.csv",
        b'{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n',
        "t.csv: its lines are JSON objects; rename it to end in .jsonl.",
    ),
    "a title above the table": (
        "t.csv",
        b"\nSurvey 2024\n\ntext,label\nfine,a\nbad,b\n",
        "t.csv:2: this line has 1 cell (Survey 2024), and every row below it 2. Expected the "
        "column names, such as: text,label. If they are below a title, pass --skip-lines 3",
    ),
    "two lines above the table": (
        "t.csv",
        b"# Survey\n# of 2024\ntext,label\nfine,a\nbad,b\n",
        "t.csv:1: this line has 1 cell (# Survey), and most rows below it 2. Expected the "
        "column names, such as: text,label. If they are below a title, pass --skip-lines 2",
    ),
    "a title with empty cells": (
        "t.csv",
        b"Survey 2024,,\n,,\ntext,label,nr\nfine,a,1\nbad,b,2\n",
        "t.csv:1: only one of 3 cells is filled ('Survey 2024'): a title, no column names. "
        "Skip it: --skip-lines 2",
    ),
    "single quotes": (
        "t.csv",
        b"text,label\n'so, so',a\n'well, fine',b\n",
        "t.csv:1: this line has 2 cells (text, label), and every row below it 3. Expected the "
        "column names, such as: text,label. Remove the lines above them. Put a cell that "
        "holds ',' in double quotes.",
    ),
    "broken JSON": (
        "t.jsonl",
        b'{"text": "a"}\n{"text": "b"\n',
        f"t.jsonl:2: not JSON (Expecting ',' delimiter at column 13): '{{\"text\": \"b\"'. {SKIP}",
    ),
    "a JSON line that is no object": (
        "t.jsonl",
        b'{"text": "a"}\n["b"]\n',
        f't.jsonl:2: expected an object such as {{"text": …, "label": …}}, got \'["b"]\'. {SKIP}',
    ),
    "an object without keys": (
        "t.jsonl",
        b'{"text": "a"}\n{}\n',
        f't.jsonl:2: expected an object such as {{"text": …, "label": …}}, got \'{{}}\'. {SKIP}',
    ),
    "a JSON key twice": (
        "t.jsonl",
        b'{"text": "a", "text": "b"}\n',
        f"t.jsonl:1: the key 'text' occurs twice in one object. {SKIP}",
    ),
    "half a surrogate pair": (
        "t.jsonl",
        b'{"text": "\\ud83d"}\n',
        f"t.jsonl:1: half of a surrogate pair (\\ud800–\\udfff), which is no character. {SKIP}",
    ),
    "a web page": (
        "t.csv",
        b"<!DOCTYPE html>\n<p>Not found",
        "t.csv: this is a web page, not a table: the download gave an HTML page instead of the "
        "file.",
    ),
    "a Git LFS pointer": (
        "t.csv",
        b"version https://git-lfs.github.com/spec/v1\n",
        "t.csv: this is a Git LFS pointer, not the file itself; run: git lfs pull",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_with_the_remedy(mistake: str, here: Path) -> None:
    name, data, expected = MISTAKES[mistake]
    Path(name).write_bytes(data)
    assert complaint(name) == expected
    assert os.listdir(".") == [name]


def test_the_line_that_tells_excel_the_delimiter_is_no_row(here: Path) -> None:
    Path("t.csv").write_bytes(b"sep=;\r\ntext;n;label\r\none, two, three;1;a\r\nfour;2;b\r\n")
    table = read_table("t.csv")
    assert table.columns.to_pylist() == [
        {"text": "one, two, three", "n": "1", "label": "a"},
        {"text": "four", "n": "2", "label": "b"},
    ]
    assert table.how_read[0] == "delimiter ';' (stated in its first line)"
    assert table.lines is not None
    assert table.lines.tolist() == [3, 4]
    assert read_table("t.csv", delimiter=";").how_read[0] == "delimiter ';'"
    Path("t.csv").write_bytes(b"sep=#\ntext#label\nx, y#b\nz#c\n")
    assert read_table("t.csv").columns.column_names == ["text", "label"]
    Path("t.csv").write_bytes(b"sep=a,label\nx,b\ny,c\n")
    assert read_table("t.csv").columns.column_names == ["sep=a", "label"]


def test_a_pair_of_surrogates_is_a_character(here: Path) -> None:
    Path("t.jsonl").write_text('{"text": "\\ud83d\\ude00"}\n')
    assert read_table("t.jsonl").columns["text"].to_pylist() == ["😀"]


def test_a_wrong_path_gets_near_names(here: Path) -> None:
    Path("reviews.csv").write_text("text,label\n")
    Path("pairs.jsonl").write_text("{}\n")
    Path("sub").mkdir()
    Path("sub/a.csv").write_text("x")
    assert complaint("review.csv") == "review.csv: no such file. Did you mean reviews.csv?"
    assert complaint("pairs.csv") == "pairs.csv: no such file. Did you mean pairs.jsonl?"
    assert (
        complaint("zzz.csv") == "zzz.csv: no such file. That folder holds pairs.jsonl, reviews.csv."
    )
    assert complaint("dta/reviews.csv").startswith(
        "dta/reviews.csv: no such file. The folder dta does not exist"
    )
    assert (
        complaint("sub")
        == "sub: this is a folder; expected a csv, tsv, jsonl, parquet or xlsx file. It holds "
        "a.csv: name one of them."
    )


def test_a_wrong_delimiter_or_encoding_is_named(here: Path) -> None:
    Path("t.csv").write_bytes("text,label\nfein,a\nschön,b\n".encode("latin-1"))
    assert (
        complaint("t.csv", delimiter=";")
        == "t.csv:1: with delimiter ';' there is one column, called 'text,label'. It looks "
        "separated by ',': leave the delimiter out, or pass --delimiter ','"
    )
    assert (
        complaint("t.csv", delimiter="::")
        == "delimiter '::': expected one character, or tab, comma, semicolon, pipe."
    )
    assert (
        complaint("t.csv", encoding="utf-8")
        == "t.csv:3: not utf-8: byte 0xF6 at offset 21. Leave the encoding out to have it detected."
    )
    assert complaint("t.csv", encoding="latin1252").startswith(
        "t.csv: no encoding called 'latin1252'."
    )
    assert complaint("t.csv", encoding="base64").startswith("t.csv: 'base64' is no text encoding.")
    assert read_table("t.csv", encoding="latin-1").columns["text"].to_pylist() == ["fein", "schön"]
    Path("t.csv").write_bytes(b"text\tlabel\na, b\tc\n")
    assert (
        complaint("t.csv", delimiter=",")
        == "t.csv:1: with delimiter ',' there is one column, called 'text label'. It looks "
        "separated by tab: leave the delimiter out, or pass --delimiter tab"
    )


def test_two_encodings_in_one_file_are_not_guessed_at(here: Path) -> None:
    latin, utf8 = "é à ü ", "é à ü "
    Path("t.csv").write_bytes(
        b"text,label\n" + (latin * 3).encode("latin-1") + utf8.encode() + b",a\n"
    )
    assert complaint("t.csv").startswith("t.csv:2: not UTF-8: byte 0xE9 at offset 11.")
    Path("t.csv").write_bytes(b"text,label\n" + (latin * 3).encode("latin-1") + b",a\n")
    assert read_table("t.csv").columns["text"].to_pylist() == [latin * 3]


def test_the_offset_of_a_bad_byte_is_exact_in_a_long_file(here: Path) -> None:
    """The file is decoded a MiB at a time; here a character lies across the first seam and the bad
    byte after it.
    """
    data = b"text,label\n" + b"x" * (2**20 - 12) + "é".encode() + b"," + b"y" * 50 + b"\xff\n"
    assert data[2**20 - 1 :].startswith("é".encode())
    Path("t.csv").write_bytes(data)
    assert f"byte 0xFF at offset {data.index(0xFF):,}." in complaint("t.csv")


def test_a_truncated_parquet_file(here: Path) -> None:
    Path("t.parquet").write_bytes(parquet({"text": ["a"] * 100})[:-20])
    assert complaint("t.parquet").startswith("t.parquet: a damaged parquet file (")
    assert "\n" not in complaint("t.parquet")


def test_all_bad_rows_are_listed_together_up_to_twenty(here: Path) -> None:
    Path("t.csv").write_text(
        "text,label\n" + "".join(f"row {i},x,y\n" if i % 2 else f"row {i},x\n" for i in range(60))
    )
    with pytest.raises(DataError) as caught:
        read_table("t.csv")
    assert len(caught.value.lines) == 21
    assert caught.value.lines[1].startswith("t.csv:5: ")
    assert caught.value.lines[-1] == "… and 10 more"


def test_skipping_bad_rows_keeps_the_row_numbers_of_the_others(here: Path) -> None:
    Path("t.csv").write_text('text,label\na,1\nb,2,3\nc,4\n"d" e,5\nf,6\n')
    table = read_table("t.csv", on_bad_row="skip")
    assert table.columns["text"].to_pylist() == ["a", "c", "f"]
    assert table.rows.tolist() == [0, 2, 4]
    assert table.lines is not None
    assert table.lines.tolist() == [2, 4, 6]
    assert str(table.skipped).startswith("t.csv: 2 bad rows skipped (t.csv:3: expected 2 cells")
    Path("bad.csv").write_text("text,label\na,1,2\n")
    with pytest.raises(DataError, match="expected 2 cells"):
        read_table("bad.csv", on_bad_row="skip")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='ab,"\n\r\t;\\{}[]: 1é\0', max_size=60).map(str.encode),
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
)
def test_any_bytes_give_a_table_or_a_complaint(data: bytes, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"t{suffix}"
    file.write_bytes(data)
    for on_bad_row in ("fail", "skip"):
        try:
            table = read_table(file, on_bad_row=on_bad_row)
        except DataError as error:
            wrong = [problem for problem in error.lines if not problem or "\n" in problem]
            assert not wrong
            continue
        assert len(table) == len(table.rows) > 0
        assert table.lines is None or len(table.lines) == len(table)


# ------------------------------------------------------------------------------------------ writing


def test_nothing_is_overwritten_and_nothing_half_written(here: Path) -> None:
    Path("out.csv").write_text("mine")
    for name, word in (
        ("out.csv", "exists already"),
        ("out.doc", "cannot tell the format"),
        ("no/out.csv", "does not exist"),
    ):
        with pytest.raises(DataError, match=word):
            write_rows(name, {"a": [1]})
    assert Path("out.csv").read_text() == "mine"
    assert os.listdir(".") == ["out.csv"]


def test_a_full_disk_leaves_the_old_file_and_no_part(here: Path) -> None:
    Path("out.csv").write_text("mine")
    code = (
        "import resource, signal, sys\nfrom encore.data.write import write_rows\nfrom "
        "encore.errors import DataError\n"
        "signal.signal(signal.SIGXFSZ, "
        "signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    write_rows('out.csv', {'a': ['x' * 100] * 1000}, overwrite=True)\nexcept "
        "DataError as error:\n    print(error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.startswith("out.csv: could not be written (File too large)"), done.stderr
    assert Path("out.csv").read_text() == "mine"
    assert os.listdir(".") == ["out.csv"]


def test_lists_numbers_and_missing_values_are_written_as_people_expect(here: Path) -> None:
    write_rows("o.csv", {"labels": [["a", "b"], []], "p": np.array([0.5, np.nan]), "n": [None, 3]})
    assert Path("o.csv").read_text() == "labels,p,n\na;b,0.5,\n,,3\n"
    write_rows("o.jsonl", {"labels": [["a", "b"], []], "p": np.array([0.5, np.nan])})
    assert (
        Path("o.jsonl").read_text()
        == '{"labels": ["a", "b"], "p": 0.5}\n{"labels": [], "p": null}\n'
    )
    assert Path("o.csv").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_standard_output_is_csv(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_rows("-", {"text": ['a "b"', "c,\nd"], "label": ["x", "y"]})
    assert capfdbinary.readouterr().out == b'text,label\n"a ""b""",x\n"c,\nd",y\n'


# --------------------------------------------------------------------------------------------- cost


def test_a_hundred_thousand_rows_cost_little(here: Path) -> None:
    """100,000 reviews of 250 characters (26 MB): read in seconds, in a few times the file's
    size.
    """
    with open("big.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text", "stars"])
        writer.writerows(
            [f'No. {row}: "{"good, not great " * 15}"', row % 5 + 1] for row in range(100_000)
        )
    size = os.path.getsize("big.csv")
    code = (
        "import resource, sys, pyarrow.parquet, numpy\nfrom encore.data.read import read_table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\ntable = "
        "read_table('big.csv')\n"
        "print(len(table), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "
        "resource.getrusage(resource.RUSAGE_SELF).ru_utime)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    n_rows, kilobytes, seconds = done.stdout.split()
    assert int(n_rows) == 100_000
    assert int(kilobytes) * 1024 < 4 * size
    assert float(seconds) < 10


def test_json_lines_with_thousands_of_keys_take_linear_time(tmp_path: Path) -> None:
    rows = [
        {"text": f"row {row}", **{f"k{row}_{key}": key for key in range(300)}} for row in range(40)
    ]
    file = tmp_path / "wide.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    began = time.process_time()
    table = read_table(file)
    assert time.process_time() - began < 10  # it took minutes
    assert table.columns.num_columns == 12_001
    assert table.columns["k39_299"].to_pylist() == [None] * 39 + [299]
