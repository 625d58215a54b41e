"""Further training rows: labels that only they have, dev rows among them, several files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encore.data.dataset import TaskData, describe_task_data
from encore.data.load import load_task
from encore.data.settings import DataSettings
from encore.errors import DataError, RecipeError

LABELS = {"a": 12, "b": 12}


def table(folder: Path, name: str, labels: Mapping[str, int], texts: str = "") -> Path:
    """A file of numbered texts, so many for each label cell."""
    cells = [cell for cell, count in labels.items() for _ in range(count)]
    lines = [f'{texts or name} {number},"{cell}"' for number, cell in enumerate(cells)]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def load(folder: Path, *more: Path, **settings: Any) -> TaskData:
    given = {"train": folder / "old.csv", "more": more, "seed": 1, **settings}
    return load_task("it", DataSettings(**given))


def test_new_labels_come_after_the_others_file_by_file(tmp_path: Path) -> None:
    table(tmp_path, "old", {"m": 12, "k": 12})
    one = table(tmp_path, "one", {"z": 2, "b": 1, "k": 1})
    two = table(tmp_path, "two", {"a": 2, "m": 1, "b": 1})
    old, new = load(tmp_path), load(tmp_path, one, two)
    assert (old.labels.kind, new.labels.kind) == ("binary", "multiclass")
    assert new.labels.names == ("k", "m", "b", "z", "a")
    targets = new.train.targets
    assert targets is not None
    names = [new.labels.names[index] for index in targets[len(old.train) :]]
    assert names == ["z", "z", "b", "k", "a", "a", "m", "b"]
    assert (targets[: len(old.train)] == old.train.targets).all()
    notes = [str(note) for note in new.notes]
    assert f"{one}: new labels, after the others: b (1 row), z (2 rows)" in notes
    assert "no row of dev has the labels b, z, a" in notes


def test_the_dev_set_is_that_without_further_rows_and_its_texts_stay_out(tmp_path: Path) -> None:
    table(tmp_path, "old", LABELS)
    old = load(tmp_path)
    dev = old.dev["dev"].texts.to_pylist()
    path = tmp_path / "more.csv"
    path.write_text(f"text,label\n{dev[0]},a\nfresh,c\n{dev[1]},c\n", encoding="utf-8")
    for only in (0, 1):
        new = load(tmp_path, path, only_more=only)
        assert new.dev["dev"].texts.to_pylist() == dev
        assert (new.dev["dev"].targets == old.dev["dev"].targets).all()
        texts = new.train.texts.to_pylist()
        assert texts == [*([] if only else old.train.texts.to_pylist()), "fresh"]
        assert not set(texts) & set(dev)
        assert f"{path}: 2 rows also in the dev set left out" in map(str, new.notes)
    path.write_text(f"text,label\n{dev[0]},a\n", encoding="utf-8")
    with pytest.raises(DataError, match="every row also occurs in the dev set: none is new"):
        load(tmp_path, path)


def test_pairs_count_as_dev_rows_where_both_texts_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("text_a,text_b,label\nx,y,1\nu,v,0\nx,z,1\nu,w,0\n")
    (tmp_path / "dev.csv").write_text("text_a,text_b,label\np,q,1\nr,s,0\n")
    more = tmp_path / "more.csv"
    more.write_text("text_a,text_b,label\np,q,1\np,other,0\n")
    new = load(tmp_path, more, dev=tmp_path / "dev.csv")
    assert new.train.pairs is not None
    assert new.train.pairs.to_pylist()[4:] == ["other"]


def test_several_files_are_one_set_whose_digest_and_rows_tell_them_apart(tmp_path: Path) -> None:
    table(tmp_path, "old", LABELS)
    one, two = (table(tmp_path, name, {"a": 3, "b": 2}) for name in ("one", "two"))
    whole = load(tmp_path, one, two).train
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two)]
    assert [digest for _, digest, _ in whole.sources][1:] == files
    assert len(set(whole.rows.tolist())) == len(whole)
    assert whole.digest not in files
    assert load(tmp_path, two, one).train.digest != whole.digest
    last = load(tmp_path, one, two, only_more=1).train
    assert (last.digest, last.name, last.files) == (files[1], "train", ())
    both = load(tmp_path, one, two, only_more=2).train
    assert [digest for _, digest, _ in both.sources] == files
    stored = describe_task_data(load(tmp_path, one, two))["splits"]["train"]
    assert [each["rows"] for each in stored["files"]] == [len(whole) - 10, 5, 5]
    assert stored["label_counts"] == {
        name: int((whole.targets == index).sum()) for index, name in enumerate(("a", "b"))
    }


@pytest.mark.parametrize(
    ("old", "more", "names", "kind"),
    [
        ({"a;b": 6, "a": 6, "b;c": 6}, {"a;z": 2, "y": 1}, ("a", "b", "c", "y", "z"), "multilabel"),
        ({"1": 9, "2": 9, "3": 9}, {"4": 2, "3": 1}, ("1", "2", "3", "4"), "multiclass"),
    ],
)
def test_other_kinds_widen_too(
    old: Mapping[str, int],
    more: Mapping[str, int],
    names: tuple[str, ...],
    kind: str,
    tmp_path: Path,
) -> None:
    table(tmp_path, "old", old)
    before, found = load(tmp_path), load(tmp_path, table(tmp_path, "more", more))
    assert (found.labels.names, found.labels.kind) == (names, kind)
    n_old = len(before.labels.names)
    targets, was = found.dev["dev"].targets, before.dev["dev"].targets
    assert targets is not None
    assert was is not None
    if kind == "multilabel":
        assert (targets[:, :n_old] == was).all()
        assert not targets[:, n_old:].any()
    else:
        assert (targets == was).all()


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text(
        "text,label\n" + "".join(f"t {number},{number / 4}\n" for number in range(40))
    )
    more = tmp_path / "more.csv"
    more.write_text("text,label\nnew,7.5\n")
    found = load(tmp_path, more)
    assert found.labels.kind == "regression"
    assert found.train.targets is not None
    assert found.train.targets[-1] == np.float32(7.5)
    more.write_text("text,label\nnew,seven\n")
    with pytest.raises(DataError, match="expected a finite number, got 'seven'"):
        load(tmp_path, more)


def test_a_rank_among_others_ends_the_order(tmp_path: Path) -> None:
    table(tmp_path, "old", {"2": 9, "3": 9, "4": 9})
    settings = {"ordered": True}
    assert load(tmp_path, table(tmp_path, "up", {"5": 2}), **settings).labels.ordered
    assert not load(tmp_path, table(tmp_path, "down", {"1": 2}), **settings).labels.ordered


def test_spellings_of_a_label_are_no_new_label_where_they_are_merged(tmp_path: Path) -> None:
    table(tmp_path, "old", LABELS)
    more = table(tmp_path, "more", {"A": 2, "New": 2, "new": 3})
    assert load(tmp_path, more).labels.names == ("a", "b", "A", "New", "new")
    merged = load(tmp_path, more, merge_labels=True)
    assert merged.labels.names == ("a", "b", "new")
    assert merged.train.targets is not None
    assert merged.train.targets[-7:].tolist() == [0, 0, 2, 2, 2, 2, 2]


def test_what_does_not_fit_is_said_with_its_place(tmp_path: Path) -> None:
    table(tmp_path, "old", {"1": 9, "2": 9, "3": 9})
    words = table(tmp_path, "words", {"1": 9, "five": 1})
    with pytest.raises(
        DataError, match=r"words.csv:11 column 'label': expected one of 1, 2, 3, got 'five'"
    ):
        load(tmp_path, words)
    other = tmp_path / "other.csv"
    other.write_text("text,stars\nx,1\n")
    with pytest.raises(DataError, match=r"other.csv: no column 'label' \(the label\)"):
        load(tmp_path, other)
    with pytest.raises(RecipeError, match=r"only_more: expected at most the 0 files of data.more"):
        load(tmp_path, only_more=1)
    with pytest.raises(DataError, match=r"names a file that data.train or data.dev names already"):
        load(tmp_path, tmp_path / "old.csv")
    table(tmp_path, "old", LABELS)
    with pytest.raises(DataError, match=r"binary has two labels.*data.kind=multiclass"):
        load(tmp_path, table(tmp_path, "third", {"c": 2}), kind="binary")
    with pytest.raises(DataError, match="the test file is also the train file"):
        load(tmp_path, tmp_path / "third.csv", test=tmp_path / "third.csv")
