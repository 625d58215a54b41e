"""Formulas in csv files, control characters on terminals, and markup on model cards."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from encore.cli.output import announce, print_json, say
from encore.data.spreadsheet import text_cell
from encore.data.write import write_rows
from encore.export.markdown import markdown_code, markdown_text
from encore.tables.listing import Listing

HOSTILE = "\x1b]0;owned\x07\x9b31m \u202egnp\u202c \u200f\u061c\x7f"
CONTROLS = [
    *map(chr, (*range(10), *range(11, 32), *range(0x7F, 0xA0))),
    *"\u202e\u200f\u061c\u2066",
]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_shown_as_text(tmp_path: Path, text: str) -> None:
    columns = {text: [text], "tags": [[text, "b"]]}
    for name, lead in (("safe.csv", "'"), ("safe.tsv", "'"), ("raw.csv", ""), ("raw.tsv", "")):
        write_rows(tmp_path / name, columns, raw=not lead)
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="," if name.endswith("csv") else "\t"))
        assert rows == [[f"{lead}{text}", "tags"], [f"{lead}{text}", f"{lead}{text};b"]]
    write_rows(tmp_path / "out.jsonl", columns)
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {text: text, "tags": [text, "b"]}


@pytest.mark.parametrize("value", ["-1.5", "+3", "-1,5", "-1e-05", "-12 %", -1.5, "a=b", "", None])
def test_numbers_and_other_texts_stay_as_they_are(value: Any) -> None:
    assert text_cell(value) == value


def test_nothing_that_acts_on_a_terminal_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    announce([f"file {HOSTILE}", "two\nlines"])
    say(HOSTILE, Listing(HOSTILE, (HOSTILE,), ((HOSTILE,),), (HOSTILE,)))
    print_json({HOSTILE: HOSTILE, "é": "→"})
    printed = capsys.readouterr()
    assert not [each for each in CONTROLS if each in printed.out + printed.err]
    last = printed.out.splitlines()[-1]
    assert json.loads(last) == {HOSTILE: HOSTILE, "é": "→"}
    assert '"é": "→"' in last
    assert printed.err.endswith("two\nlines\n")


def test_rows_on_a_terminal_hold_no_controls_and_in_a_pipe_all_of_them() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from encore.data.write import write_rows\n"
        f"write_rows('-', {{'text': [{HOSTILE!r}]}})\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2])]
    piped = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert HOSTILE in piped
    master, slave = pty.openpty()
    subprocess.run(command, stdout=slave, check=True)
    os.close(slave)
    shown = os.read(master, 10_000).decode().replace("\r\n", "\n")
    os.close(master)
    assert shown.startswith("text\n\ufffd]0;owned")
    assert not [each for each in CONTROLS if each in shown]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("a | b", "a \\| b"),
        ("**bold** _em_ macro_f1", "\\*\\*bold\\*\\* \\_em\\_ macro_f1"),
        ("![x](http://y) &copy;", "\\!\\[x\\](http\\://y) &amp;copy;"),
        ("# title\n---\n", "\\# title --- "),
        ("`code`", "\\`code\\`"),
        ("\x1b[31m\u202e", "\ufffd\\[31m\ufffd"),
        ("very good, 3.5 (so)", "very good, 3.5 (so)"),
    ],
)
def test_a_card_shows_text_to_the_letter(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


def test_code_on_a_card_may_hold_backticks() -> None:
    assert [markdown_code(text) for text in ("plain", "a`b", "``", "two\nlines")] == [
        "`plain`",
        "``a`b``",
        "``` `` ```",
        "`two lines`",
    ]
