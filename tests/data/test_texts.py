"""Texts of files and named tasks, for pre-training."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore.data.texts import each_text, open_texts
from encore.errors import DataError


def test_each_line_of_a_plain_file_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One line.\n\n  \nA second one\nthree", encoding="utf-8")
    found = open_texts(tmp_path / "a.txt")
    assert list(each_text([found])) == ["One line.", "A second one", "three"]
    assert list(each_text([found], min_characters=10)) == ["A second one"]


def test_columns_of_tables(tmp_path: Path) -> None:
    table = pa.table({"title": ["t"] * 2, "text": ["one", None], "n": [1, 2]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(each_text([open_texts(tmp_path / "a.parquet")])) == ["one"]
    both = open_texts(tmp_path / "a.parquet", ["title", "text"])
    assert list(each_text([both])) == ["t", "one", "t"]
    (tmp_path / "b.csv").write_text("review\nfine\nbad\n", encoding="utf-8")
    assert list(each_text([open_texts(tmp_path / "b.csv")])) == ["fine", "bad"]


def test_a_part_of_the_texts_is_drawn_by_the_seed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(2000))), encoding="utf-8")
    found = [open_texts(tmp_path / "a.txt")]
    first, again, other = (list(each_text(found, frac=0.25, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert 440 < len(first) < 560
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["body"], r"a.csv: column 'body': no such column. Columns of texts: one, two."),
        (None, r"a.csv: has several columns of texts, none called 'text'. Write {file: a.csv, "),
    ],
)
def test_wrong_columns(tmp_path: Path, columns: list[str] | None, message: str) -> None:
    (tmp_path / "a.csv").write_text("one,two\nx,y\nz,w\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        open_texts(tmp_path / "a.csv", columns)


def test_wrong_plain_files(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=r"empty\.txt: the file is empty"):
        open_texts(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt: not UTF-8 text \(byte 0xe9\)"):
        list(each_text([open_texts(tmp_path / "latin.txt")]))
    with pytest.raises(DataError, match="a plain text file has no columns"):
        open_texts(tmp_path / "latin.txt", ["text"])
    with pytest.raises(DataError, match="no such file"):
        open_texts(tmp_path / "none.txt")
