"""Rows that belong together: no split, cut or fold parts them, and the user is told."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from encore.data import load
from encore.data.dataset import Dataset, TaskData, describe_task_data
from encore.data.groups import group_numbers
from encore.data.settings import DataSettings
from encore.data.split import stratified_folds, stratified_split, stratified_subset
from encore.errors import DataError, EncoreError, RecipeError

QUICK = settings(max_examples=60, deadline=None)
KINDS = st.sampled_from(["multiclass", "multilabel", "regression"])


def drawn(kind: str, n_rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "multiclass":
        return rng.choice(3, size=n_rows, p=[0.6, 0.3, 0.1])
    if kind == "multilabel":
        return (rng.random((n_rows, 4)) < [0.5, 0.3, 0.1, 0.03]).astype(np.float32)
    return rng.gamma(2.0, size=n_rows).astype(np.float32)


@QUICK
@given(kind=KINDS, n_rows=st.integers(3, 90), n_groups=st.integers(2, 30), seed=st.integers(0, 99))
def test_no_group_is_parted(kind: Any, n_rows: int, n_groups: int, seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, n_groups, n_rows)
    targets, distinct = drawn(kind, n_rows, seed), len(set(groups.tolist()))
    train, dev = stratified_split(targets, kind, 0.2, seed, groups, mixed=True)
    assert not set(groups[train]) & set(groups[dev])
    assert len(train) + len(dev) == n_rows
    assert len(train) > 0
    assert len(dev) > 0 or distinct == 1
    cut = stratified_subset(targets, kind, max(1, n_rows // 3), seed, groups)
    assert len(cut) > 0
    assert not set(groups[cut]) & set(np.delete(groups, cut))
    if distinct >= 2:
        n_folds = min(distinct, 4)
        folds = stratified_folds(targets, kind, n_folds, seed, groups)
        assert set(folds.tolist()) == set(range(n_folds))
        assert all(len(set(folds[groups == group].tolist())) == 1 for group in set(groups))


@QUICK
@given(n_rows=st.integers(20, 150), n_folds=st.integers(2, 7), seed=st.integers(0, 99))
def test_folds_of_single_rows_are_equal_in_size_and_mix(
    n_rows: int, n_folds: int, seed: int
) -> None:
    classes = drawn("multiclass", n_rows, seed)
    folds = stratified_folds(classes, "multiclass", n_folds, seed)
    assert np.ptp(np.bincount(folds, minlength=n_folds)) <= 1
    for each in range(3):
        assert np.ptp(np.bincount(folds[classes == each], minlength=n_folds)) <= 1


def test_folds_of_groups_are_as_even_as_those_of_scikit_learn() -> None:
    mine, theirs = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 60, 600)
        mix = rng.dirichlet([1, 1, 0.3], 60)[groups]
        classes = np.array([rng.choice(3, p=chances) for chances in mix])
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        held_out = [dev for _, dev in splitter.split(classes, classes, groups)]
        theirs.append(unevenness(held_out, classes))
        folds = stratified_folds(classes, "multiclass", 5, seed, groups)
        mine.append(unevenness([np.flatnonzero(folds == fold) for fold in range(5)], classes))
    assert np.mean(mine) <= np.mean(theirs)


def unevenness(parts: Sequence[np.ndarray], classes: np.ndarray) -> float:
    """The mean of how far a part's count of a class is from the mean over the parts."""
    counts = np.array([np.bincount(classes[rows], minlength=3) for rows in parts])
    return float((np.abs(counts - counts.mean(axis=0)) / counts.mean(axis=0)).mean())


def write(
    name: str, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("text", "label", "author")
) -> str:
    with open(name, "w", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    return name


def posts(n_authors: int = 20, each: int = 4, first: int = 0) -> list[tuple[str, str, str]]:
    return [
        (f"post {post} of {author}", "yes" if (author + post) % 2 else "no", f"author {author}")
        for author in range(first, first + n_authors)
        for post in range(each)
    ]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(**given: Any) -> TaskData:
    return load.load_task("t", DataSettings(**{"train": "posts.csv", "seed": 1, **given}))


def authors(part: Dataset) -> set[str]:
    assert part.groups is not None
    return set(part.groups.to_pylist())


def lines(data: TaskData) -> str:
    return "\n".join(map(str, data.notes))


def test_a_split_and_a_cut_keep_groups_whole() -> None:
    write("posts.csv", posts())
    data = read(group="author", train_rows=30)
    assert not authors(data.train) & authors(data.dev["dev"])
    assert len(data.train) == 4 * len(authors(data.train))
    assert "dev: 12 of the 80 rows of posts.csv (15%, stratified, seed 1; 20 groups" in lines(data)
    assert "train cut to 32 of 68 rows (stratified, seed 1; 8 whole groups)" in lines(data)
    assert "intervals draw the 3 groups of 'author', not the rows, which are few" in lines(data)
    assert describe_task_data(data)["columns"]["group"] == "author"
    assert "not used" not in lines(data)


def test_folds_part_the_rows_and_no_group() -> None:
    write("posts.csv", posts())
    folds = [read(group="author", fold=f"{number}/5") for number in range(1, 6)]
    rows = np.concatenate([each.dev["dev"].rows for each in folds])
    assert np.array_equal(np.sort(rows), np.arange(80))
    for each in folds:
        assert not authors(each.train) & authors(each.dev["dev"])
    assert "fold 2 of 5: 16 of the 80 rows of posts.csv" in lines(folds[1])


def test_copies_of_a_text_are_in_one_fold_where_there_is_no_group() -> None:
    write("posts.csv", [(f"text {row % 30}", "ab"[row % 2], "x") for row in range(60)])
    for number in range(1, 4):
        data = read(fold=f"{number}/3")
        train, dev = (set(part.texts.to_pylist()) for part in (data.train, data.dev["dev"]))
        assert not train & dev


def test_an_id_that_repeats_is_proposed_and_never_used() -> None:
    write("posts.csv", posts())
    data = read()
    assert (
        "column 'author' repeats: 20 values in 80 rows. If rows with the same value belong "
        "together, add --group author"
    ) in lines(data)
    assert data.train.groups is None
    assert authors(read(group="author").train)
    assert "repeats" not in lines(read(group="author"))
    for name, proposed in (("thread_id", True), ("userID", True), ("colour", False)):
        write("posts.csv", posts(), ("text", "label", name))
        assert ("repeats" in lines(read())) is proposed
    write("posts.csv", [(*row[:2], number) for number, row in enumerate(posts())], TEXT_ID)
    assert "repeats" not in lines(read())


TEXT_ID = ("text", "label", "id")


def test_a_dev_file_that_shares_groups_is_noted() -> None:
    write("posts.csv", posts())
    write("dev.csv", [(f"new {text}", *rest) for text, *rest in posts(6, 4, 17)])
    assert (
        "dev: 12 of 24 rows are of 3 groups of 'author' that the train set has too: these figures "
        "do not hold for new groups"
    ) in lines(read(group="author", dev="dev.csv"))
    write("dev.csv", [(f"new {text}", *rest) for text, *rest in posts(6, 4, 40)])
    assert "that the train set has too" not in lines(read(group="author", dev="dev.csv"))


def test_rows_without_a_group_stand_alone() -> None:
    write("posts.csv", [*posts(), ("alone", "no", ""), ("alone too", "yes", " ")])
    data = read(group="author", dev_frac=0.3)
    parts = [data.train, data.dev["dev"]]
    assert sum(part.groups.null_count for part in parts if part.groups is not None) == 2
    assert "without a value of 'author'" in lines(data)
    numbers = group_numbers(pa.chunked_array([["a", None, "a", None]]))
    assert numbers is not None
    assert len(set(numbers.tolist())) == 3


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        (posts(), {"group": "writer"}, "no column 'writer' (the group)"),
        (posts(), {"group": "label"}, "column 'label' is read already, as a text or a label."),
        (posts(20, 1), {"group": "author"}, "'author' has another value in every row"),
        (posts(1, 20), {"group": "author"}, "'author' has one value only"),
        (posts(3), {"group": "author", "fold": "1/5"}, "there are 3 groups of 'author'."),
        (
            [*posts()[:40], *[(f"rare {row}", "rare", "x") for row in range(3)]],
            {"fold": "1/5", "kind": "multiclass"},
            "label 'rare' has 3 rows, fewer than the 5 folds",
        ),
        (posts(), {"group": "author", "dev": "other.csv"}, "other.csv: no column 'author' (the"),
    ],
)
def test_a_wrong_group_is_one_line(
    rows: Sequence[Sequence[Any]], given: dict[str, Any], message: str
) -> None:
    write("posts.csv", rows)
    write("other.csv", [row[:2] for row in posts()], ("text", "label"))
    with pytest.raises(EncoreError) as caught:
        read(**given)
    (problem,) = caught.value.problems
    assert message in str(problem)
    assert "\n" not in str(problem)


def test_folds_and_a_dev_set_of_a_named_task_exclude_each_other() -> None:
    with pytest.raises((RecipeError, DataError), match="brings its own dev set, and folds"):
        load.load_task("rte", DataSettings(fold="1/5", seed=1))
