"""`encore check` lists what is wrong with a file that was made to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from encore.cli import app
from encore.evaluation.doubt import doubts
from encore.types import LabelSpace

WORDS = ("good", "bad", "fine", "poor")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"the {WORDS[n % 4]} lamp is {WORDS[n % 4]} number {n}", "no" if n % 2 else "yes")
        for n in range(90)
    ]
    rows[40] = (rows[40][0], "no")  # a wrong label
    rows += [
        ("twice the same", "yes"),
        ("twice the same", "no"),
        ("a copy", "no"),
        ("a copy", "no"),
    ]
    table = [("text", "label", "leak", "same"), *((*row, row[1][0], "x") for row in rows)]
    Path("t.csv").write_text("".join(f"{','.join(row)}\n" for row in table))
    Path("new.csv").write_text("text,label\na copy,no\nanother,yes\n")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        app.main(["check", *arguments])
    return int(left.value.code or 0)


def test_everything_that_is_wrong_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("t.csv", "--test", "new.csv", "--folds", "5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["labels"], found["copies"]) == (94, {"no": 49, "yes": 45}, 2)
    assert found["contradictory"] == [
        {"lines": "92, 93", "labels": "yes, no", "text": "twice the same"}
    ]
    assert found["suspicious"] == [
        "column 'leak' gives the label away in 100% of the rows: do not use it as text",
        "column 'same' holds the same value in every row",
    ]
    assert "test: 1 of 2 rows also occur in the train set" in found["notes"]
    assert "test file new.csv: its texts are compared; its labels are not read" in found["notes"]
    assert {row["line"] for row in found["doubted"][:3]} >= {"42"}
    assert found["doubted"][0].keys() == {"line", "doubt", "label", "likelier", "text"}


def test_the_page_holds_what_the_terminal_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("t.csv", "--folds", "3", "-o", "page.html") == 0
    shown, page = capsys.readouterr().out, Path("page.html").read_text()
    assert "texts with several labels" in shown
    assert "2 rows repeat a text" in shown
    assert shown.endswith("page: page.html\n")
    for words in ("Check of t.csv", "twice the same", "gives the label away", "2 rows repeat"):
        assert words in page
    assert run("t.csv", "-o", "page.html") == 3
    assert "exists already" in capsys.readouterr().err


def test_standard_input_is_checked_like_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("t.csv", "--folds", "2", "--json") == 0
    of_file = json.loads(capsys.readouterr().out)
    with Path("t.csv").open(encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert run("-", "--folds", "2", "--json") == 0
    of_input = json.loads(capsys.readouterr().out)
    assert of_input["file"] == "standard input"
    for key in ("rows", "labels", "copies", "contradictory", "suspicious", "doubted"):
        assert of_input[key] == of_file[key]


def test_what_cannot_be_checked_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("t.csv", "--folds", "1") == 2
    assert capsys.readouterr().err == "--folds: expected 2 or more, got 1.\n"
    assert run("none.csv") == 3


@pytest.mark.parametrize("kind", ["numbers", "tags"])
def test_numbers_and_several_labels_are_doubted_too(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of cell follows from the words of its text, except in line 32."""
    cells = {
        "numbers": ["0.125", "1.5", "2.75", "4.25"],
        "tags": ["a", "a;b", "b", ""],
    }[kind]
    lines = [f"the {WORDS[n % 4]} lamp is {WORDS[n % 4]} {n},{cells[n % 4]}" for n in range(80)]
    lines[30] = lines[30].rpartition(",")[0] + f",{cells[0]}"
    Path("kind.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    kinds = {"numbers": "regression", "tags": "multilabel"}
    assert run("kind.csv", f"data.kind={kinds[kind]}", "--folds", "4", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == ({} if kind == "numbers" else {"a": 41, "b": 39})
    assert found["contradictory"] == []
    worst = found["doubted"][0]
    assert (worst["line"], worst["label"]) == ("32", "0.125" if kind == "numbers" else "a")
    if kind == "numbers":
        assert float(worst["likelier"]) > 1.5
    else:
        assert worst["likelier"] == "b"


def test_doubt_is_the_distance_from_the_label() -> None:
    scores = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    given = np.array([1, 0])
    names = ("1", "2", "3")
    plain = doubts(scores, given, LabelSpace("multiclass", names))
    np.testing.assert_allclose(plain, [0.8, 0.9])
    ordered = doubts(scores, given, LabelSpace("multiclass", names, ordered=True))
    np.testing.assert_allclose(ordered, [0.8, 1.5])
    number = doubts(np.array([[2.5]]), np.array([4.0]), LabelSpace("regression"))
    np.testing.assert_allclose(number, [1.5])
    several = doubts(np.array([[0.0, 100.0]]), np.array([[1, 0]]), LabelSpace("multilabel", names))
    np.testing.assert_allclose(several, [1.0])


def test_groups_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (f"the {WORDS[n % 4]} lamp {n}", n % 2, f"a{n % 7}" if n < 50 else "") for n in range(60)
    ]
    Path("g.csv").write_text("text,label,author\n" + "".join(f"{t},{y},{a}\n" for t, y, a in rows))
    assert run("g.csv", "--group", "author", "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    # seven authors, one of them with eight rows, and ten rows without one
    assert "'author' says which rows belong together: 17 groups, the largest of 8 rows" in notes
    assert run("g.csv", "--group", "auther") == 3
    assert "Did you mean 'author'?" in capsys.readouterr().err
    assert run("g.csv", "--json") == 0
    assert not any(
        "belong together:" in one for one in json.loads(capsys.readouterr().out)["notes"]
    )
