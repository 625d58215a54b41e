"""Tables in memory: the same rows give the same bytes, whichever library holds them; what is no
table is refused in one line.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from encore.data.columns import Columns
from encore.data.frames import as_arrow, frame_table, is_frame, store_frames
from encore.data.inputs import read_unlabelled
from encore.errors import DataError

ROWS = {"text": ["good", 'bad, "very"\n', None], "label": ["x", "ü", "x"], "n": [1, 2, 3]}
LINES = [
    {"text": "good", "label": "x", "n": 1},
    {"text": 'bad, "very"\n', "label": "ü", "n": 2},
    {"text": None, "label": "x", "n": 3},
]


class Stream:
    """A table of an unknown library that speaks the Arrow C stream and nothing else."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Interchange:
    """A table that speaks the dataframe interchange protocol alone."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        return self._table.__dataframe__(nan_as_null, allow_copy)


class DataSet:
    """As `datasets.Dataset` does: a selection of rows, which only `with_format` respects, and the
    names of classes in the metadata.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def with_format(self, type: str) -> dict[Any, Any] | Any:
        assert type == "arrow"
        return self._table


def classes() -> pa.Table:
    features = {"label": {"names": ["ü", "x"], "_type": "ClassLabel"}, "n": {"_type": "Value"}}
    table = pa.table({**ROWS, "label": [1, 0, 1]})
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def imported(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed; Encore does not need it")


HOLDERS: dict[str, Callable[[], Any]] = {
    "columns": lambda: ROWS,
    "rows": lambda: LINES,
    "arrow": lambda: pa.table(ROWS),
    "batches": lambda: pa.table(ROWS).to_reader(),
    "stream": lambda: Stream(pa.table(ROWS)),
    "interchange": lambda: Interchange(pa.table(ROWS)),
    "dictionary": lambda: pa.table({**ROWS, "label": pa.array(ROWS["label"]).dictionary_encode()}),
    "view": lambda: pa.table({**ROWS, "text": pa.array(ROWS["text"], pa.string_view())}),
    "bytes beside": lambda: pa.table({**ROWS, "image": [b"a", b"b", None]}),
    "data set": lambda: DataSet(classes()),
    "pandas": lambda: imported("pandas").DataFrame(ROWS),
    "pandas index": lambda: imported("pandas").DataFrame(ROWS, index=[7, 3, 5]),
    "polars": lambda: imported("polars").DataFrame(ROWS),
    "datasets": lambda: (
        imported("datasets")
        .Dataset.from_dict({k: v[::-1] for k, v in ROWS.items()})
        .select([2, 1, 0])
    ),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_the_same_rows_give_the_same_file(holder: str, tmp_path: Path) -> None:
    file, settings = store_frames(HOLDERS[holder](), {"label": "label"}, tmp_path, "reviews")
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == LINES
    assert file.relative_to(tmp_path).parts[1] == "reviews.jsonl"
    assert settings == {"label": "label"}
    expected = tmp_path / "expected"
    assert store_frames(ROWS, {}, expected, "reviews")[0].read_bytes() == file.read_bytes()
    assert sorted(tmp_path.glob("*/reviews.jsonl"))[0].parent.name == file.parent.name


def test_a_file_that_is_there_is_left_alone_and_a_damaged_one_written_again(tmp_path: Path) -> None:
    file = store_frames(ROWS, {}, tmp_path, "table")[0]
    content, inode = file.read_bytes(), file.stat().st_ino
    assert store_frames(ROWS, {}, tmp_path, "table")[0].stat().st_ino == inode
    file.write_bytes(content[:-5])
    assert store_frames(ROWS, {}, tmp_path, "table")[0].read_bytes() == content


def test_several_sets_are_the_settings_of_their_names(tmp_path: Path) -> None:
    sets = {"train": ROWS, "validation": {"text": ["v"]}, "test": {"text": ["t"]}}
    file, settings = store_frames(sets, {"text": "text"}, tmp_path, "table")
    assert file.name == "table.jsonl"
    assert settings["dev"].read_text() == '{"text": "v"}\n'
    assert (settings["test"].name, settings["text"]) == ("test.jsonl", "text")
    with pytest.raises(DataError, match="no set is called 'unsupervised'"):
        store_frames({"train": ROWS, "unsupervised": ROWS}, {}, tmp_path, "table")


@pytest.mark.parametrize("key", ["dev", "test"])
def test_the_table_to_train_on_is_no_other_set(key: str, tmp_path: Path) -> None:
    copied = [dict(row) for row in LINES]
    with pytest.raises(DataError) as caught:
        store_frames(ROWS, {key: copied}, tmp_path, "table")
    assert str(caught.value) == (
        f"the given table: {key}= got the same rows as are trained on. Give other rows, or leave "
        f"it out: for dev, a part of the rows serves then."
    )
    other = {name: column[1:] for name, column in ROWS.items()}
    assert store_frames(ROWS, {key: other}, tmp_path, "table")[1][key].name == f"{key}.jsonl"


def test_cells_that_json_does_not_have() -> None:
    cells = {
        "day": [datetime.date(2026, 1, 2)],
        "price": [decimal.Decimal("1.50")],
        "missing": [float("nan")],
        "list": [["a", "b"]],
    }
    table = frame_table(cells)
    assert table.columns.to_pylist() == [
        {"day": "2026-01-02", "price": 1.5, "missing": None, "list": ["a", "b"]}
    ]
    assert (table.rows.tolist(), table.lines, table.name) == ([0], None, "the given table")


@pytest.mark.parametrize(
    "recipe",
    [
        {"task": "rte"},
        {"tasks": {"few": {"data": {"train": "few.csv"}}}},
        {"data": {"train": "few.csv"}, "metrics": ["accuracy"]},
        {"task": "rte", "seeds": [1, 2]},
        {},
        "few.csv",
        ["a text"],
        [],
        np.array(["a"]),
    ],
)
def test_what_is_no_table(recipe: Any, tmp_path: Path) -> None:
    assert not is_frame(recipe)
    assert store_frames(recipe, {}, tmp_path, "table") == (recipe, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": ["a"], "label": ["x", "y"]}, "cannot be read as a table (ArrowInvalid"),
        ({"text": ["a", 1, object()]}, "cannot be read as a table (Arrow"),
        (pa.table([["a"], ["b"]], names=["text", "text"]), "more than one column is called 'text'"),
        (Stream(pa.chunked_array([["a"]])), "expected a table with named columns, got Stream"),
        ({"text": []}, "it has no rows"),
    ],
)
def test_a_wrong_table_is_refused(given: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        store_frames(given, {}, tmp_path, "table")
    (line,) = raised.value.lines
    assert line.startswith("the given table: ")
    assert message in line


TEXTS = ["one", "two"]
COLUMNS = Columns(text="text", text_pair=None, label="label", kind="binary")


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        tuple(TEXTS),
        (text for text in TEXTS),
        np.array(TEXTS),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS]),
        Stream(pa.chunked_array([TEXTS])),
        {"text": TEXTS},
        {"text": TEXTS, "other": [1, 2]},
        {"review": TEXTS},
        Stream(pa.table({"text": TEXTS})),
    ],
    ids=lambda given: type(given).__name__,
)
def test_texts_to_predict(given: Any) -> None:
    dataset = read_unlabelled(given, COLUMNS)
    assert dataset.texts.to_pylist() == TEXTS
    assert dataset.rows.tolist() == [0, 1]


def test_an_empty_table_has_no_texts() -> None:
    assert len(read_unlabelled(pa.table({"text": pa.array([], pa.string())}), COLUMNS)) == 0


@pytest.mark.parametrize("given", [3, None, {"text": "one"}, {"train": DataSet(classes())}])
def test_what_holds_no_texts_is_refused(given: Any) -> None:
    with pytest.raises(DataError, match="the given texts: expected a text, several texts, or"):
        read_unlabelled(given, COLUMNS)


def test_a_column_stays_a_column() -> None:
    assert as_arrow(pa.array(TEXTS)).to_pylist() == TEXTS
    assert as_arrow(TEXTS) is None
