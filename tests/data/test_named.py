"""The named tasks: files as recorded, labels in the order of the ids, every departure from the
official set said.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore import catalogue
from encore.data import load, named
from encore.data.dataset import TaskData, describe_task_data
from encore.data.named import find_task, read_named_tasks, read_split, task_names
from encore.data.normalise import normalise_text
from encore.data.settings import DataSettings
from encore.errors import DataError, RecipeError
from encore.recipe.load import recipe_from
from encore.runs.prepare import prepare

GLUE = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"}
UNLABELLED = {"allnli", "imdb_unsup", "wiki_simple", "wiki_en"}
OTHERS = {"sst5", "sts", "quora", "cfimdb", "imdb", "snli", "nli_triplets"} | UNLABELLED
# METHODS 0.5, and the folder's README for what is not official.
DEV_SIZES = {
    "cola": 1043,
    "mrpc": 408,
    "qnli": 5463,
    "sst2": 872,
    "stsb": 1500,
    "rte": 277,
    "wnli": 71,
    "sst5": 1101,
    "sts": 863,
    "quora": 20212,
    "qqp": 20212,
    "cfimdb": 245,
    "imdb": 2502,
    "snli": 9842,
}


def load_task(name: str, **settings: Any) -> TaskData:
    return load.load_task(name, DataSettings(**settings))


def folder() -> Path:
    """The folder of the data sets; skips the test if there is none."""
    try:
        found = [place for place in named._folders() if (place / "rte/train.parquet").is_file()]
    except DataError as error:
        pytest.skip(str(error))
    if not found:
        pytest.skip("the data sets are not here: set ENCORE_DATA, or put them in ../shared/data")
    return found[0]


def test_all_named_tasks_are_there() -> None:
    assert set(task_names()) == GLUE | OTHERS
    assert len(task_names()) == 20


def test_every_metric_is_in_the_catalogue() -> None:
    known = catalogue.names("metrics")
    assert {metric for task in read_named_tasks().values() for metric in task.metrics} <= set(known)


def test_metrics_are_those_of_the_protocol() -> None:
    """METHODS §2: the metric that decides comes first."""
    first = {"cola": "mcc", "stsb": "spearman", "sts": "pearson"}
    assert {name: task.metrics[0] for name, task in read_named_tasks().items() if task.metrics} == {
        name: first.get(name, "accuracy") for name in read_named_tasks() if name not in UNLABELLED
    }
    assert all("f1" in read_named_tasks()[name].metrics for name in ("mrpc", "qqp", "quora"))


@pytest.mark.parametrize("name", sorted(GLUE | OTHERS))
def test_a_named_task_loads_with_its_digests_checked(name: str) -> None:
    folder()
    data = load_task(name, seed=42)
    assert data.labels.names == read_named_tasks()[name].labels
    assert data.normalise == {
        "sst5": "minbert",
        "cfimdb": "minbert",
        "sts": "minbert_pair",
        "quora": "minbert_pair",
    }.get(name)
    if name in DEV_SIZES:
        assert {key: len(part) for key, part in data.dev.items()} == {"dev": DEV_SIZES[name]}
    if data.labels.kind == "regression":
        assert data.train.targets is not None
        assert (float(data.train.targets.min()), float(data.train.targets.max())) == (0.0, 5.0)
    summary = describe_task_data(data)
    assert set(summary["splits"]) == {"train", *data.dev}
    official = isinstance(read_named_tasks()[name].official, bool)
    assert official == (name in {"cola", "sst2", "mrpc", "stsb", "rte", "wnli", "sst5", "cfimdb"})
    assert official or any(str(note).startswith("not ") for note in data.notes)


def test_mnli_has_two_named_dev_sets_and_the_matched_one_decides() -> None:
    folder()
    data = load_task("mnli", seed=42)
    assert [(key, len(part), part.name) for key, part in data.dev.items()] == [
        ("dev_matched", 9815, "dev_matched"),
        ("dev_mismatched", 915, "dev_mismatched"),
    ]
    counts = describe_task_data(data)["splits"]["dev_matched"]["label_counts"]
    assert counts == {"entailment": 3479, "neutral": 3123, "contradiction": 3213}
    assert any(
        "19,635 of 392,702" in note and "915 of 9,832" in note for note in map(str, data.notes)
    )


def test_sst5_dev_has_the_counts_of_the_paper() -> None:
    folder()
    counts = describe_task_data(load_task("sst5", seed=42))["splits"]["dev"]["label_counts"]
    assert counts == {
        "very negative": 139,
        "negative": 289,
        "neutral": 229,
        "positive": 279,
        "very positive": 165,
    }


def test_digests_and_row_counts_are_those_of_the_folders_readme() -> None:
    readme = (folder() / "README.md").read_text()
    listed = dict(re.findall(r"^\| (\S+\.parquet) \|.*`([0-9a-f]{64})` \|$", readme, flags=re.M))
    recorded = {
        file: digest for task in read_named_tasks().values() for file, digest in task.files.values()
    }
    assert len(recorded) == 33
    assert recorded == {file: listed[file] for file in recorded}
    assert set(listed) == set(recorded)


def test_stars_become_the_five_classes_of_lmrd() -> None:
    """METHODS 4.8: 1, 2 → 0; 3, 4 → 1; 7, 8 → 3; 9, 10 → 4; 5 and 6 raise."""
    folder()
    task = find_task("imdb", label="stars")
    data = load_task("imdb", label="stars", seed=42)
    stars = np.asarray(read_split("imdb", task, "train").columns["stars"])
    seen = sorted(set(zip(stars.tolist(), np.asarray(data.train.targets).tolist(), strict=True)))
    assert seen == [(1, 0), (2, 0), (3, 1), (4, 1), (7, 3), (8, 3), (9, 4), (10, 4)]
    assert data.labels.ordered
    assert data.labels.names[2] == "neutral"
    assert "no training row has the label neutral" in map(str, data.notes)
    assert load_task("imdb", label="label", seed=42).labels.names == ("negative", "positive")


def test_five_stars_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imdb").mkdir()
    pq.write_table(pa.table({"text": ["a", "b"], "stars": [4, 5]}), tmp_path / "imdb/train.parquet")
    digest = hashlib.sha256((tmp_path / "imdb/train.parquet").read_bytes()).hexdigest()
    imdb = read_named_tasks()["imdb"]
    monkeypatch.setattr(
        named,
        "read_named_tasks",
        lambda: {"imdb": replace(imdb, files={"train": ("imdb/train.parquet", digest)})},
    )
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path))
    with pytest.raises(
        DataError,
        match=r"imdb/train.parquet row 2 column 'stars': expected one of very negative, .* \(or "
        r"1, 2, 3, 4, 7, 8, 9, 10\), got '5'",
    ):
        load_task("imdb", label="stars", seed=42)


def test_a_triplet_is_two_pairs_on_one_side() -> None:
    folder()
    data = load_task("nli_triplets", seed=42)
    train, dev = data.train, data.dev["dev"]
    assert len(train) + len(dev) == 2 * 27_559
    assert not set((train.rows // 2).tolist()) & set((dev.rows // 2).tolist())
    assert not set(train.texts.to_pylist()) & set(dev.texts.to_pylist())
    assert train.targets is not None
    assert np.array_equal(train.targets, 1 - train.rows % 2)
    raw = (
        pq.read_table(folder() / "nli_triplets/train.parquet")
        .slice(int(train.rows[0]) // 2, 1)
        .to_pylist()[0]
    )
    assert [train.texts[0].as_py(), train.pairs[0].as_py(), train.pairs[1].as_py()] == [
        raw["anchor"],
        raw["positive"],
        raw["negative"],
    ]
    assert data.labels.names[1] == "entailment"


def test_allnli_is_the_entailed_pairs_without_labels() -> None:
    """METHODS 5.5: the third string is ignored; no row is kept back, since there is nothing to
    measure.
    """
    raw = pq.read_table(folder() / "nli_triplets/train.parquet")
    data = load_task("allnli", seed=42)
    assert not data.dev
    assert data.train.targets is None
    assert data.train.texts.to_pylist() == raw["anchor"].to_pylist()
    assert data.train.pairs is not None
    assert data.train.pairs.to_pylist() == raw["positive"].to_pylist()
    assert (data.labels.kind, data.labels.n_scores, data.metrics) == ("unlabelled", 0, ())


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rte").mkdir()
    for split in ("train", "dev"):
        pq.write_table(
            pa.table({"text_a": ["a", "b"], "text_b": ["c", "d"], "label": [0, 1]}),
            tmp_path / f"rte/{split}.parquet",
        )
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_task("rte", seed=42)
    assert len(caught.value.lines) == 2
    for split, problem in zip(("train", "dev"), caught.value.lines, strict=True):
        assert f"expected sha256 {read_named_tasks()['rte'].files[split][1]}, got" in problem


def test_the_folder_that_is_asked_for_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path))
    assert named._folders()[:2] == [tmp_path, tmp_path.parent / "shared/data"]
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(
        DataError, match=r"nothing: no such folder\. Set it to the folder that holds the data sets"
    ):
        load_task("rte", seed=42)


def test_what_a_named_task_cannot_do_is_refused() -> None:
    with pytest.raises(
        RecipeError,
        match=r"no task called 'ret', and no data.train that names a file. Did you mean 'rte'?",
    ):
        load_task("ret", seed=42)
    with pytest.raises(RecipeError, match="task 'rte' has no label column 'stars'"):
        load_task("rte", label="stars", seed=42)
    with pytest.raises(RecipeError) as caught:
        load_task(
            "rte", dev="d.csv", text="a", dev_frac=2.0, train_rows=0, normalise="lower", seed=42
        )
    assert len(caught.value.lines) == 5


def test_normalisation_is_that_of_the_course_code() -> None:
    """The reference: `' '.join(s.lower().replace('.', ' .').replace('?', ' ?').replace(',', '
    ,').replace('\\'', ' \\'').split())`, and `s.lower().strip()`.
    """
    assert (
        normalise_text(" It's Tom's,  isn't\tit? ", "minbert_pair") == "it 's tom 's , isn 't it ?"
    )
    assert normalise_text(" It's  Good ", "minbert") == "it's  good"
    assert (
        normalise_text(" It's  Good ", None)
        == normalise_text(" It's  Good ", "none")
        == " It's  Good "
    )


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    for how in ("minbert_pair", "minbert"):
        once = normalise_text(text, how)
        assert once == once.strip()
        assert normalise_text(once, how) == once or once.lower() != once


def test_a_named_task_cut_to_a_few_rows_says_so() -> None:
    folder()
    data = load_task("sst5", seed=42, train_rows=500, dev_rows=100)
    assert (len(data.train), len(data.dev["dev"])) == (500, 100)
    assert "train cut to 500 of 8,544 rows (stratified, seed 42)" in map(str, data.notes)
    assert "dev cut to 100 of 1,101 rows (stratified, seed 42)" in map(str, data.notes)


def test_a_missing_file_names_its_task_once(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(named, "_folders", lambda: [])
    monkeypatch.setattr(named, "cache_folder", lambda: tmp_path)
    for name in ("ENCORE_DATA", "ENCORE_DATA_REPO"):
        monkeypatch.delenv(name, raising=False)
    tasks: Any = {"sst5": {}, "sts": {}}
    recipe = {"encoder": str(tiny_encoder), "max_length": 32, "tasks": tasks}
    with pytest.raises(DataError) as caught:
        prepare(recipe_from(recipe))
    assert [line.split(".parquet")[0] for line in caught.value.lines] == [
        "task 'sst5': cs224n_sst5/train",
        "task 'sst5': cs224n_sst5/dev",
        "task 'sts': cs224n_sts/train",
        "task 'sts': cs224n_sts/dev",
    ]
