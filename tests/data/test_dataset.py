"""From files to a task's rows: splits, cuts, several dev sets, a test file that stays closed, and
all complaints at once.
"""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encore.data import load
from encore.data.columns import Columns
from encore.data.dataset import TaskData, describe_task_data
from encore.data.inputs import read_labelled, read_unlabelled
from encore.data.load import open_test
from encore.data.settings import DataSettings
from encore.errors import DataError, RecipeError

FILL = "Fill them in, or pass --on-bad-row skip"
SKIP = "Fix the row, or pass --on-bad-row skip"


def load_task(name: str, **settings: Any) -> TaskData:
    return load.load_task(name, DataSettings(**settings))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(
    name: str, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("text", "label")
) -> str:
    with open(name, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows)
    return name


def reviews(name: str = "reviews.csv", n_rows: int = 100, word: str = "review") -> str:
    return write(name, [(f"{word} number {row}", row % 5 + 1) for row in range(n_rows)])


def complaints(name: str = "reviews", **options: Any) -> list[str]:
    with pytest.raises((DataError, RecipeError)) as caught:
        load_task(name, **{"seed": 42, **options})
    return list(caught.value.lines)


# ------------------------------------------------------------------------------------------- splits


def test_a_part_of_the_train_file_serves_as_dev_and_says_so() -> None:
    data = load_task("reviews", train=reviews(), seed=42)
    train, dev = data.train, data.dev["dev"]
    assert (len(train), len(dev), train.name, dev.name) == (85, 15, "train", "dev")
    assert sorted([*train.rows.tolist(), *dev.rows.tolist()]) == list(range(100))
    assert dev.targets is not None
    assert np.bincount(dev.targets).tolist() == [3] * 5
    assert train.digest == dev.digest
    for part in (train, dev):
        assert part.lines is not None
        assert np.array_equal(part.lines, part.rows + 2)
        assert part.texts.to_pylist() == [f"review number {row}" for row in part.rows]
        assert part.targets is not None
        assert np.array_equal(part.targets, part.rows % 5)
    assert "dev: 15 of the 100 rows of reviews.csv (15%, stratified, seed 42)" in map(
        str, data.notes
    )
    assert "reviews.csv: 100 rows, delimiter ',', encoding utf-8" in map(str, data.notes)
    assert data.metrics == ("accuracy", "macro_f1")
    (caveat,) = data.caveats
    assert (caveat.task, caveat.about) == ("reviews", "dev"), "inference qualifies no figure"
    assert {note.task for note in data.notes} == {"reviews"}


def test_the_split_depends_on_seed_and_name_only() -> None:
    file = reviews()
    first = load_task("reviews", train=file, seed=42).dev["dev"].rows
    assert np.array_equal(
        first, load_task("reviews", train=file, seed=42, train_rows=20).dev["dev"].rows
    )
    assert not np.array_equal(first, load_task("reviews", train=file, seed=43).dev["dev"].rows)


def test_copies_of_a_text_stay_on_one_side() -> None:
    file = write("copies.csv", [(f"text {row % 40}", "ab"[row % 2]) for row in range(120)])
    data = load_task("copies", train=file, seed=42)
    assert not set(data.train.texts.to_pylist()) & set(data.dev["dev"].texts.to_pylist())
    assert any("80 rows repeat a text and stay with it" in note for note in map(str, data.notes))
    assert not any("also occur in the train set" in note for note in map(str, data.notes))


def test_a_label_that_a_set_lacks_is_told_for_every_set() -> None:
    rare = write(
        "rare.csv", [(f"text {row}", "rare" if row == 3 else "ab"[row % 2]) for row in range(60)]
    )
    dev = write("dev.csv", [(f"other {row}", "a") for row in range(5)])
    assert "no row of dev has the label rare" in map(
        str, load_task("rare", train=rare, seed=42).caveats
    ), "which row there is is train's"
    assert "no row of dev has the labels b, rare" in map(
        str, load_task("rare", train=rare, dev=dev, seed=42).caveats
    )
    many = write("many.csv", [(f"text {row}", f"c{row % 20}") for row in range(400)])
    cut = list(map(str, load_task("many", train=many, dev_rows=2, seed=42).caveats))
    assert next(note for note in cut if note.startswith("no row of dev")).count(", ") == 12
    assert not any("training row" in note for note in cut)


def test_texts_with_two_labels_are_counted() -> None:
    file = write("r.csv", [("one", "a"), ("one", "b"), ("two", "b"), ("two", "b"), ("three", "a")])
    assert "r.csv: 1 text occurs with different labels" in map(
        str, load_task("r", train=file, seed=42).notes
    )
    assert not any(
        "different labels" in note
        for note in map(str, load_task("reviews", train=reviews(), seed=42).notes)
    )


def test_a_pair_is_a_copy_only_if_both_texts_are() -> None:
    header = ("text_a", "text_b", "label")
    file = write(
        "pairs.csv",
        [("same question", f"answer {row}", "ab"[row % 2]) for row in range(40)],
        header,
    )
    data = load_task("pairs", train=file, seed=42)
    assert len(data.dev["dev"]) == 6
    assert data.train.pairs is not None


def test_multilabel_and_regression_are_split_stratified_too() -> None:
    labels = ["a", "b;a", "", "c", "b"]
    data = load_task(
        "tags",
        train=write("tags.csv", [(f"text {row}", labels[row % 5]) for row in range(100)]),
        seed=42,
    )
    assert data.metrics == ("micro_f1", "macro_f1")
    assert data.dev["dev"].targets is not None
    assert data.dev["dev"].targets.sum(axis=0).tolist() == [6, 6, 3]
    data = load_task(
        "scores",
        train=write("scores.csv", [(f"text {row}", row / 7) for row in range(100)]),
        seed=42,
    )
    assert data.metrics == ("pearson", "spearman")
    assert any("by tenths of the value" in note for note in map(str, data.notes))


def test_cuts_are_stratified_noted_and_made_after_the_split() -> None:
    file = reviews()
    data = load_task("reviews", train=file, train_rows=20, dev_rows=10, seed=42)
    assert data.train.targets is not None
    assert np.bincount(data.train.targets).tolist() == [4] * 5
    assert "train cut to 20 of 85 rows (stratified, seed 42)" in map(str, data.notes)
    assert "dev cut to 10 of 15 rows (stratified, seed 42)" in map(str, data.notes)
    more = load_task("reviews", train=file, train_rows=1000, seed=42)
    assert "train: 1,000 rows wanted, all 85 used" in map(str, more.notes)


def test_without_labels_all_rows_train() -> None:
    """Also those of a file that has a column of labels, which is not used; a cut is drawn."""
    data = load_task("reviews", train=reviews(), kind="unlabelled", seed=42)
    assert (
        len(data.train),
        dict(data.dev),
        data.train.targets,
        data.metrics,
        data.labels.n_scores,
    ) == (100, {}, None, (), 0)
    assert str(data.notes[-1]) == "columns: text = 'text' (by its name), no labels; not used: label"
    assert describe_task_data(data)["splits"]["train"].keys() == {"path", "sha256", "rows"}
    cut = load_task("reviews", train="reviews.csv", kind="unlabelled", train_rows=30, seed=42)
    assert "train cut to 30 of 100 rows (drawn, seed 42)" in map(str, cut.caveats)
    other = load_task("reviews", train="reviews.csv", kind="unlabelled", train_rows=30, seed=43)
    assert len(set(cut.train.rows.tolist())) == len(set(other.train.rows.tolist())) == 30
    assert cut.train.rows.tolist() != other.train.rows.tolist()
    write("texts.csv", [["a"], ["  "], ["b"]], ["words"])
    assert complaints("texts", train="texts.csv", kind="unlabelled") == [
        "texts.csv: 1 row is empty (line 3). Remove them, or pass --on-bad-row skip"
    ]


def test_several_named_dev_sets_in_their_order() -> None:
    reviews("b.csv", 10, "other")
    reviews("a.csv", 20, "another")
    data = load_task("reviews", train=reviews(), dev={"books": "b.csv", "aprons": "a.csv"}, seed=42)
    assert [(key, part.name, len(part)) for key, part in data.dev.items()] == [
        ("books", "books", 10),
        ("aprons", "aprons", 20),
    ]
    assert len(data.train) == 100
    assert list(describe_task_data(data)["splits"]) == ["train", "books", "aprons"]


def test_rows_of_dev_that_occur_in_train_are_counted() -> None:
    write("dev.csv", [("review number 3", 4), ("review number 4", 1), ("new", 2)])
    data = load_task("reviews", train=reviews(), dev="dev.csv", seed=42)
    assert "dev: 2 of 3 rows also occur in the train set" in map(str, data.notes)
    header = ("text_a", "text_b", "label")
    write("p.csv", [("q", f"a{row}", "xy"[row % 2]) for row in range(9)], header)
    write("d.csv", [("q", "a3", "x"), ("q", "new", "y"), ("a3", "q", "y")], header)
    assert "dev: 1 of 3 rows also occur in the train set" in map(
        str, load_task("p", train="p.csv", dev="d.csv", seed=42).notes
    )


def test_relative_paths_stand_in_the_base_folder(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    reviews("recipes/r.csv")
    assert len(load_task("r", train="r.csv", base=tmp_path / "recipes", seed=42).train) == 85


# ----------------------------------------------------------------------------------------- mistakes


def test_five_among_one_to_five() -> None:
    rows: list[tuple[str, Any]] = [(f"review number {row}", row % 5 + 1) for row in range(200)]
    rows[116] = ("very nice", "five")
    file = write("reviews.csv", rows, ("text", "stars"))
    assert complaints(train=file) == [
        "reviews.csv:118 column 'stars': expected one of 1, 2, 3, 4, 5, got 'five'. Fix the "
        "row, or pass --on-bad-row skip"
    ]
    data = load_task("reviews", train=file, on_bad_row="skip", seed=42)
    assert len(data.train) + len(data.dev["dev"]) == 199
    assert 116 not in [*data.train.rows.tolist(), *data.dev["dev"].rows.tolist()]
    assert (
        "reviews.csv: 1 bad row skipped (reviews.csv:118 column 'stars': expected one of 1, 2, "
        "3, 4, 5, got 'five')" in map(str, data.notes)
    )


def test_blank_texts() -> None:
    file = write("r.csv", [("good", "a"), ("  ", "b"), ("bad", "b"), ("", "a"), ("well", "a")])
    assert complaints(train=file) == [
        f"r.csv column 'text': 2 cells are empty (lines 3, 5). {FILL}"
    ]
    pairs = write(
        "p.csv", [("a", "b", "x"), ("c", " ", "y"), ("e", "f", "y")], ("text_a", "text_b", "label")
    )
    assert complaints(train=pairs) == [f"p.csv column 'text_b': 1 cell is empty (line 3). {FILL}"]


def test_empty_rows_and_missing_cells_are_counted_together() -> None:
    rows = [(f"text {row}", "ab"[row % 2]) for row in range(40)]
    for row in (3, 9, 17, 30):
        rows[row] = (rows[row][0], "")
    rows[5], rows[8], rows[20] = ("", ""), (" ", ""), ("", "a")
    file = write("r.csv", rows)
    assert complaints(train=file) == [
        "r.csv: 2 rows are empty (lines 7, 10). Remove them, or pass --on-bad-row skip",
        f"r.csv column 'label': 4 cells are empty (lines 5, 11, 19, …). {FILL}",
        f"r.csv column 'text': 1 cell is empty (line 22). {FILL}",
    ]
    data = load_task("reviews", train=file, on_bad_row="skip", seed=42)
    assert len(data.train) + len(data.dev["dev"]) == 33
    skipped = next(note for note in map(str, data.notes) if "skipped" in note)
    assert skipped.startswith("r.csv: 7 bad rows skipped (r.csv: 2 rows are empty (lines 7, 10); ")


def test_the_texts_are_checked_although_the_label_is_unclear() -> None:
    rows = [(f"text {row}", "ab"[row % 2], "xy"[row % 2]) for row in range(20)]
    rows[4] = ("", "a", "x")
    found = complaints(train=write("r.csv", rows, ("text", "mood", "tone")))
    assert found == [
        "r.csv: several columns could hold the label: 'mood' (a, b), 'tone' (x, y). Say which: "
        "--label NAME",
        f"r.csv column 'text': 1 cell is empty (line 6). {FILL}",
    ]


def test_the_dev_file_lacks_the_label_or_the_text() -> None:
    write("dev.csv", [("x", "y")], ("txt", "lable"))
    assert complaints(train=reviews(), dev="dev.csv") == [
        "dev.csv: no column 'text' (the text). Did you mean 'txt'? Known: lable, txt.",
        "dev.csv: no column 'label' (the label). Did you mean 'lable'? Known: lable, txt.",
    ]


def test_labels_of_dev_that_train_does_not_have() -> None:
    write("dev.csv", [("x", 3), ("y", 6), ("z", 0)])
    assert complaints(train=reviews(), dev="dev.csv") == [
        f"dev.csv:{line} column 'label': expected one of 1, 2, 3, 4, 5, got '{got}'. {SKIP}"
        for line, got in ((3, 6), (4, 0))
    ]
    data = load_task("reviews", train=reviews(), dev="dev.csv", on_bad_row="skip", seed=42)
    assert len(data.dev["dev"]) == 1
    assert load_task(
        "reviews", train=reviews(), dev="dev.csv", labels=list("0123456"), seed=42
    ).labels.names == tuple("0123456")


def test_all_that_is_wrong_with_all_files_is_said_at_once() -> None:
    write(
        "train.csv",
        [
            ("a", 1),
            ("b", 2),
            ("", 1),
            ("c", "five"),
            *((f"d{row}", row % 2 + 1) for row in range(40)),
        ],
    )
    write("one.csv", [("x", 9)])
    Path("two.csv").write_text("text,label\nx,1,2\ny\n")
    found = complaints(
        train="train.csv", dev={"one": "one.csv", "two": "two.csv", "three": "three.csv"}
    )
    assert [problem.split(": ")[0].split(" column")[0] for problem in found] == [
        "two.csv:2",
        "two.csv:3",
        "three.csv",
        "train.csv",
        "train.csv:5",
        "one.csv:2",
    ]


def test_a_dev_file_that_is_wrong_is_named_even_where_train_cannot_be_read() -> None:
    Path("dev.csv").write_text("text,label\nx,1,2\n")
    assert [problem.split(":")[0] for problem in complaints(train="trian.csv", dev="dev.csv")] == [
        "trian.csv",
        "dev.csv",
    ]


def test_the_same_file_twice_and_reserved_names() -> None:
    file = reviews()
    assert any(
        "data.train and data.dev name one file twice" in problem
        for problem in complaints(train=file, dev=file)
    )
    reviews("b.csv", 10)
    assert any(
        "a dev set cannot be called 'test'" in problem
        for problem in complaints(train=file, dev={"test": "b.csv"})
    )


def test_every_row_bad_is_an_error_even_with_skip() -> None:
    write("r.csv", [(" ", "a"), (" ", "b")])
    assert (
        complaints(train="r.csv", on_bad_row="skip")[0]
        == "r.csv: every row is bad; nothing is left to use."
    )


def test_one_text_only_cannot_be_split() -> None:
    write("r.csv", [("same", "ab"[row % 2]) for row in range(10)])
    assert "all 10 rows hold the same text" in complaints(train="r.csv")[0]


# ------------------------------------------------------------------------------------ the test file


def test_the_test_file_is_never_opened_by_load_task(monkeypatch: pytest.MonkeyPatch) -> None:
    file, test = reviews(), reviews("secret.csv", 10, "secret")
    opened: list[str] = []

    def spy(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and watching:
            opened.append(str(arguments[0]))

    watching = True
    sys.addaudithook(spy)
    try:
        data = load_task("reviews", train=file, test=test, seed=42)
        assert any(name.endswith("reviews.csv") for name in opened)
        assert not any("secret" in name for name in opened)
        log: list[str] = []
        dataset = open_test(data, log=log.append)
        assert any("secret" in name for name in opened)
    finally:
        watching = False
    assert (len(dataset), dataset.name) == (10, "test")
    assert log == [
        "test file secret.csv is opened",
        f"test file secret.csv: 10 rows, sha256 {dataset.digest}",
    ]
    assert describe_task_data(data)["test"] == f"{Path.cwd().name}/secret.csv"


def test_a_test_file_that_is_missing_or_also_train_or_dev() -> None:
    file = reviews()
    reviews("dev.csv", 10, "other")
    os.link("dev.csv", "link.csv")
    assert complaints(train=file, test="none.csv")[0].startswith(
        "none.csv: no such file (data.test)."
    )
    assert complaints(train=file, test=file) == [
        "reviews.csv: the test file is also the train file. Give the test rows a file of their own."
    ]
    assert complaints(train=file, dev="dev.csv", test="link.csv") == [
        "link.csv: the test file is also the dev file. Give the test rows a file of their own."
    ]
    with pytest.raises(
        DataError, match=r"task 'reviews' has no test file. Name one when training: --test FILE"
    ):
        open_test(load_task("reviews", train=file, seed=42), log=print)


def test_test_rows_that_occur_in_train_qualify_the_figures() -> None:
    reviews("test.csv", 101)
    data = load_task("reviews", train=reviews(), test="test.csv", seed=42)
    assert list(map(str, open_test(data, log=print).notes)) == [
        "test: 85 of 101 rows also occur in the train set"
    ]


# ------------------------------------------------------------------------ evaluation and prediction


COLUMNS = Columns("text", None, "label", "binary", ("no", "yes"), False, {"no": 0, "yes": 1})
PAIR = Columns("a", "b", "label", "binary", ("no", "yes"), False, {"no": 0, "yes": 1})


def test_a_labelled_file_with_a_column_to_slice_by() -> None:
    write(
        "new.csv",
        [("x", "no", "north"), ("", "yes", "south"), ("z", "yes", "west")],
        ("text", "label", "region"),
    )
    with pytest.raises(DataError, match=r"new.csv column 'text': 1 cell is empty \(line 3\)"):
        read_labelled("new.csv", COLUMNS)
    dataset = read_labelled("new.csv", COLUMNS, on_bad_row="skip", keep=["region"])
    assert dataset.extra["region"].to_pylist() == ["north", "west"]
    assert dataset.rows.tolist() == [0, 2]
    assert str(dataset.notes[-1]).startswith("new.csv: 1 bad row skipped")
    with pytest.raises(DataError, match=r"new.csv: no column 'regoin'\. Did you mean 'region'?"):
        read_labelled("new.csv", COLUMNS, keep=["regoin"])


def test_texts_to_predict_come_row_by_row_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    write("new.csv", [(1, "B "), (2, ""), (3, "A")], ("id", "text"))
    dataset = read_unlabelled("new.csv", COLUMNS, normalise="minbert")
    assert (dataset.texts.to_pylist(), dataset.targets, dataset.rows.tolist()) == (
        ["b", "", "a"],
        None,
        [0, 1, 2],
    )
    assert read_unlabelled(["One", "", "two"], COLUMNS).texts.to_pylist() == ["One", "", "two"]
    assert read_unlabelled([], COLUMNS).texts.to_pylist() == []
    assert read_unlabelled([("x", "y"), ["z", "w"]], PAIR).pairs.to_pylist() == ["y", "w"]  # type: ignore[union-attr]
    write("only.csv", [("x",), ("y",)], ("review",))
    only = read_unlabelled("only.csv", COLUMNS)
    assert only.texts.to_pylist() == ["x", "y"]
    assert "column 'review' is taken for the text" in map(str, only.notes)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text\nhello\n")))
    assert read_unlabelled("-", COLUMNS).texts.to_pylist() == ["hello"]


def test_texts_to_predict_that_are_wrong() -> None:
    Path("new.csv").write_text("A text without a header\nanother one\n")
    with pytest.raises(
        DataError, match=r"looks like a text, not like a column name\. Put the name on top: text"
    ):
        read_unlabelled("new.csv", COLUMNS)
    with pytest.raises(DataError) as caught:
        read_unlabelled(["x", None, 3], COLUMNS)  # type: ignore[list-item]
    assert caught.value.lines == (
        "text 1: expected a string, got NoneType.",
        "text 2: expected a string, got int.",
    )
    with pytest.raises(DataError, match=r"text 0: expected a pair of texts"):
        read_unlabelled(["x"], PAIR)
    with pytest.raises(DataError, match=r"half of a surrogate pair"):
        read_unlabelled(["\ud800"], COLUMNS)
    write("pair.csv", [("x", "y")], ("a", "c"))
    with pytest.raises(DataError, match=r"pair.csv: no column 'b' \(the second text\)"):
        read_unlabelled("pair.csv", PAIR)


def test_the_description_is_json_and_tells_rows_and_labels() -> None:
    data = load_task("reviews", train=reviews(), seed=42)
    summary = json.loads(json.dumps(describe_task_data(data)))
    assert summary["splits"]["train"] == {
        "path": f"{Path.cwd().name}/reviews.csv",
        "sha256": data.train.digest,
        "rows": 85,
        "label_counts": dict.fromkeys("12345", 17),
    }
    assert (summary["labels"], summary["columns"]["label"]) == (list("12345"), "label")
    scores = describe_task_data(
        load_task(
            "scores",
            train=write("scores.csv", [(f"text {row}", row / 4) for row in range(50)]),
            seed=42,
        )
    )
    assert set(scores["splits"]["dev"]) == {"path", "sha256", "rows", "range", "mean"}
    tags = describe_task_data(
        load_task(
            "tags",
            train=write("tags.csv", [(f"text {row}", ["a;b", "b"][row % 2]) for row in range(40)]),
            seed=42,
        )
    )
    assert tags["splits"]["train"]["label_counts"] == {"a": 17, "b": 34}


def test_rows_are_taken_in_the_order_asked() -> None:
    data = load_task("reviews", train=reviews(), seed=42).train
    some = data.take([4, 0, 4])
    assert some.texts.to_pylist() == [data.texts[index].as_py() for index in (4, 0, 4)]
    assert some.rows.tolist() == data.rows[[4, 0, 4]].tolist()
    assert isinstance(some.texts, pa.ChunkedArray)
    assert len(data.take([])) == 0


def test_no_file_is_left_open_or_written(monkeypatch: pytest.MonkeyPatch) -> None:
    file = reviews()
    real = builtins.open

    def read_only(name: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        assert "w" not in mode
        assert "a" not in mode
        return real(name, mode, *rest, **more)

    monkeypatch.setattr(builtins, "open", read_only)
    load_task("reviews", train=file, seed=42)
    assert os.listdir(".") == ["reviews.csv"]


def test_a_hundred_thousand_rows_load_in_little_memory() -> None:
    """26 MB of reviews, split and described: seconds, and a small multiple of the file."""
    write(
        "big.csv",
        [(f'No. {row}: "{"good, not great " * 15}"', row % 5 + 1) for row in range(100_000)],
    )
    code = (
        "import resource\nfrom encore.data.dataset import describe_task_data\n"
        "from encore.data.load import load_task\nfrom encore.data.settings import DataSettings\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\ndata = load_task('big', "
        "DataSettings(train='big.csv', seed=42))\ndescribe_task_data(data)\n"
        "print(len(data.train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "
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
    assert int(n_rows) == 85_000
    assert int(kilobytes) < 300_000
    assert float(seconds) < 15


def test_torch_is_not_imported() -> None:
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, encore.data.dataset; print('torch' in sys.modules, 'huggingface_hub' "
        "in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.split() == ["False", "False"]


# ---------------------------------------------------------------------------------- anything at all


CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "1",
            "2",
            "3",
            "5",
            "five",
            "1.0",
            "0.5",
            "nan",
            "inf",
            "1e400",
            "-1",
            "yes",
            "no",
            "Yes",
            "a;b",
            "b;c",
            ";",
            '["a"]',
            "[]",
            "[",
            "ok",
            "x\ny",
        ]
    ),
    st.text(alphabet='ab ;,"\n[]1.é', max_size=6),
)
HEADS = st.sampled_from(
    ["text", "label", "text_b", "stars", "sentence", "id", "x", "two\nlines", ""]
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "label": st.sampled_from(["label", "x", "stars"]),
        "text": st.sampled_from(["text", "x"]),
        "text_pair": st.sampled_from(["text_b", "x"]),
        "kind": st.sampled_from(["binary", "multiclass", "multilabel", "regression"]),
        "labels": st.sampled_from([["yes", "no"], {"1": "one", "2": "two"}, ["a", "b", "c"]]),
        "on_bad_row": st.sampled_from(["fail", "skip"]),
        "train_rows": st.integers(2, 9),
        "normalise": st.sampled_from(["minbert", "minbert_pair"]),
        "dev_frac": st.floats(0.05, 0.95),
    },
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    heads=st.lists(HEADS, min_size=1, max_size=4, unique=True),
    n_rows=st.integers(0, 12),
    options=OPTIONS,
    with_dev=st.booleans(),
    data=st.data(),
)
def test_any_table_gives_a_task_or_complaints(
    heads: list[str], n_rows: int, options: dict[str, Any], with_dev: bool, data: st.DataObject
) -> None:
    tables = [[[data.draw(CELLS) for _ in heads] for _ in range(n_rows)] for _ in range(2)]
    write("train.csv", tables[0], heads)
    write("dev.csv", tables[1], heads)
    try:
        task = load_task(
            "train", train="train.csv", dev="dev.csv" if with_dev else None, seed=1, **options
        )
    except (DataError, RecipeError) as error:
        wrong = [problem for problem in error.lines if not problem or "\n" in problem]
        assert not wrong
        return
    check(task)


def check(task: TaskData) -> None:
    """Checks the guarantees of every task."""
    assert task.metrics
    assert all("\n" not in note for note in map(str, task.notes))
    json.dumps(describe_task_data(task))
    for part in (task.train, *task.dev.values()):
        assert len(part) == len(part.rows) == len(part.targets) > 0  # type: ignore[arg-type]
        assert part.targets is not None
        assert np.isfinite(part.targets).all()
        assert all(text.strip() for text in part.texts.to_pylist())
        kind = task.labels.kind
        shape, dtype = {
            "regression": ((), np.float32),
            "multilabel": ((len(task.labels.names),), np.float32),
        }.get(kind, ((), np.int64))
        assert part.targets.shape[1:] == shape
        assert part.targets.dtype == dtype
        if kind in ("binary", "multiclass"):
            assert part.targets.min() >= 0
            assert part.targets.max() < len(task.labels.names)


TYPES: list[Any] = [
    pa.large_string(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.binary(),
    pa.null(),
    pa.int8(),
    pa.uint64(),
    pa.float16(),
    pa.bool_(),
    pa.date32(),
]
TYPES += [
    pa.timestamp("us"),
    pa.duration("s"),
    pa.decimal128(5, 2),
    pa.list_(pa.string()),
    pa.list_(pa.int64()),
    pa.large_list(pa.string()),
    pa.list_(pa.list_(pa.string())),
]
TYPES += [
    pa.struct([("a", pa.string())]),
    pa.map_(pa.string(), pa.int64()),
    pa.string_view(),
    pa.time32("s"),
    pa.list_(pa.string(), 2),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("nulls", [False, True])
def test_any_type_of_parquet_column_gives_a_task_or_complaints(
    kind: pa.DataType, nulls: bool
) -> None:
    def value(row: int) -> Any:
        if nulls and row == 3:
            return None
        if pa.types.is_null(kind):
            return None
        if pa.types.is_fixed_size_list(kind):
            return ["a", "b"]
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            item = kind.value_type
            return (
                [["a"]] * (row % 2)
                if pa.types.is_list(item)
                else list(range(row % 3))
                if pa.types.is_integer(item)
                else ["a", "b"][: row % 3]
            )
        if pa.types.is_struct(kind):
            return {"a": "x"}
        if pa.types.is_map(kind):
            return [("a", 1)]
        if pa.types.is_binary(kind):
            return [b"\xff", b"a"][row % 2]
        if pa.types.is_boolean(kind):
            return bool(row % 2)
        if (
            pa.types.is_temporal(kind)
            and not pa.types.is_duration(kind)
            and not pa.types.is_time(kind)
        ):
            return datetime(2024, 1, row % 2 + 1)
        if (
            pa.types.is_time(kind)
            or pa.types.is_duration(kind)
            or pa.types.is_decimal(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
        ):
            return row % 2
        return "ab"[row % 2]

    values = pa.array(
        [value(row) for row in range(20)], kind if not pa.types.is_dictionary(kind) else pa.string()
    )
    values = values.dictionary_encode() if pa.types.is_dictionary(kind) else values
    for columns in (
        {"text": [f"text {row}" for row in range(20)], "label": values},
        {"text": values, "label": ["a", "b"] * 10},
        {"x": [f"text {row}" for row in range(20)], "y z": values},
    ):
        pq.write_table(pa.table(columns), "t.parquet")
        for on_bad_row in ("fail", "skip"):
            try:
                check(load_task("t", train="t.parquet", on_bad_row=on_bad_row, seed=1))
            except (DataError, RecipeError) as error:
                wrong = [problem for problem in error.lines if not problem or "\n" in problem]
                assert not wrong
