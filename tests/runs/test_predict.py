"""From a finished run to predictions: the right row, the right names, the same numbers in any batch
and any process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from conftest import Tables, Warm, write_csv

import encore
from encore import files
from encore.data.read import read_table
from encore.errors import DataError, EncoreError, RecipeError
from encore.evaluation.predictions import probabilities
from encore.runs.folder import read_scores
from encore.runs.output import Prediction
from encore.runs.predict import Model, load

# What `encore train` gets beside the files, and what of the labels it must find out.
KINDS: Mapping[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "multiclass": (("--text", "text", "--label", "verdict"), "multiclass", ("bad", "fair", "good")),
    "binary": (("--text", "text", "--label", "sign"), "binary", ("minus", "plus")),
    "multilabel": (
        ("--text", "text", "--label", "tags"),
        "multilabel",
        ("blame", "praise", "strong"),
    ),
    "regression": (("--text", "text", "--label", "score"), "regression", ()),
    "pair": (
        ("--text", "text", "--text-pair", "other", "--label", "verdict"),
        "multiclass",
        ("bad", "fair", "good"),
    ),
}
STRANGE = [
    "",
    "   ",
    "ZIP 🙂 broken",
    "很好",
    "مكسور",
    "cafe\u0301 naïve",
    "a\nb\tc",
    "x" * 300,
    "the lamp is great",
    "\u200b",
    "[CLS] [SEP] [MASK]",
]


@dataclass(frozen=True)
class Trained:
    """A run of each kind, trained by the command."""

    kind: str
    folder: Path
    train: Path
    dev: Path
    model: Model

    @property
    def n_texts(self) -> int:
        return 2 if self.kind == "pair" else 1

    def examples(self, path: Path) -> list[Any]:
        rows = pyarrow.csv.read_csv(path).to_pydict()
        return (
            list(zip(rows["text"], rows["other"], strict=True))
            if self.kind == "pair"
            else rows["text"]
        )


@pytest.fixture(scope="module")
def with_sign(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables with one column more, of two classes."""
    folder = tmp_path_factory.mktemp("sign") / "train"
    folder.mkdir()
    for path in (tables.train, tables.dev):
        rows = pyarrow.csv.read_csv(path).to_pydict()
        write_csv(
            folder / path.name,
            rows | {"sign": ["plus" if float(score) > 0 else "minus" for score in rows["score"]]},
        )
    return Tables(folder / "train.csv", folder / "dev.csv", tables.settings)


@pytest.fixture(scope="module", params=list(KINDS))
def trained(
    request: pytest.FixtureRequest,
    with_sign: Tables,
    warm: Warm,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp(request.param)
    outcome = warm.run(
        [
            "train",
            with_sign.train,
            "--dev",
            with_sign.dev,
            *KINDS[request.param][0],
            *with_sign.settings,
            "--runs",
            runs,
        ]
    )
    assert outcome.code == 0, outcome.err
    (folder,) = runs.iterdir()
    return Trained(request.param, folder, with_sign.train, with_sign.dev, load(folder))


def raw(model: Model, examples: list[Any]) -> np.ndarray:
    """(rows, n_scores): what `predict` makes its probabilities of."""
    task = model.task()
    said = model.predict(examples)
    if task.labels.kind == "regression":
        return np.array([[one.label] for one in said])
    return np.array([[one.probabilities[name] for name in task.labels.names] for one in said])


def test_kind_and_names_are_those_of_the_training_file(trained: Trained) -> None:
    labels = trained.model.task().labels
    assert (labels.kind, labels.names) == KINDS[trained.kind][1:]


def test_python_finds_the_run_of_the_command_complete(trained: Trained, with_sign: Tables) -> None:
    options = KINDS[trained.kind][0]
    data = {
        option.removeprefix("--").replace("-", "_"): value
        for option, value in zip(options[::2], options[1::2], strict=True)
    }
    result = encore.fit(
        str(with_sign.train),
        *with_sign.settings,
        runs=trained.folder.parent,
        dev=str(with_sign.dev),
        **data,
    )
    assert result.already_complete
    assert result.folder == trained.folder


def test_the_loaded_model_gives_the_scores_that_the_run_stored(trained: Trained) -> None:
    """Bit for bit, for words too that no training text has."""
    dataset = trained.model.read(trained.dev, with_labels=True)
    assert np.array_equal(
        trained.model.scores(dataset), read_scores(trained.folder, "train", "dev", 3)
    )
    words = [
        set(" ".join(pyarrow.csv.read_csv(path)["text"].to_pylist()).split())
        for path in (trained.dev, trained.train)
    ]
    assert "xyzzy" in words[0] - words[1]


def test_every_example_gets_its_own_prediction_wherever_it_stands(trained: Trained) -> None:
    examples = trained.examples(trained.dev)
    order = np.random.default_rng(5).permutation(len(examples))
    straight, shuffled = (
        raw(trained.model, examples),
        raw(trained.model, [examples[row] for row in order]),
    )
    assert len(np.unique(straight.round(6), axis=0)) > len(examples) // 2  # or any order would do
    assert np.allclose(shuffled, straight[order], atol=1e-5)


def test_a_text_alone_gets_what_it_gets_in_a_batch(trained: Trained) -> None:
    examples: list[Any] = [
        *trained.examples(trained.dev)[:8],
        *([(text, "the box") for text in STRANGE] if trained.n_texts == 2 else STRANGE),
    ]
    together = raw(trained.model, examples)
    assert np.isfinite(together).all()
    for row, example in enumerate(examples):
        assert np.allclose(raw(trained.model, [example])[0], together[row], atol=1e-5), example


def test_predictions_have_names_and_probabilities(trained: Trained) -> None:
    names = KINDS[trained.kind][2]
    examples: list[Any] = [("", ""), ("a zip", "")] if trained.n_texts == 2 else ["", "the lamp"]
    said = trained.model.predict(examples + trained.examples(trained.dev))
    for one in said:
        if trained.kind == "regression":
            assert isinstance(one.label, float)
            assert one.probabilities == {}
        elif trained.kind == "multilabel":
            assert one.label == tuple(name for name in names if one.probabilities[name] >= 0.5)
            assert tuple(one.probabilities) == names
        else:
            assert one.label == max(names, key=lambda name: one.probabilities[name])
            assert tuple(one.probabilities) == names
            assert sum(one.probabilities.values()) == pytest.approx(1)
    if trained.kind != "regression":
        assert len({one.label for one in said}) > 1
    assert trained.model.predict([]) == []


def test_the_command_writes_the_same_numbers_in_the_order_of_the_file(
    trained: Trained, warm: Warm, tmp_path: Path
) -> None:
    rows = pyarrow.csv.read_csv(trained.dev).to_pydict()
    new = write_csv(
        tmp_path / "new.csv",
        {"id": list(range(23)), "other": rows["other"], "text": rows["text"][:20] + STRANGE[:3]},
    )
    for suffix in ("csv", "jsonl", "parquet"):
        outcome = warm.run(["predict", trained.folder, new, "-o", tmp_path / f"out.{suffix}"])
        assert outcome.code == 0, outcome.err
    dataset = trained.model.read(new)
    scores, labels = trained.model.scores(dataset), trained.model.task().labels
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 23
    said = [
        one.label
        for one in trained.model.predict(
            list(zip(*examples_of(new, trained), strict=True))
            if trained.n_texts == 2
            else examples_of(new, trained)[0]
        )
    ]
    assert table["prediction"].to_pylist() == [
        list(label) if isinstance(label, tuple) else label for label in said
    ]
    for column, name in enumerate(labels.names):
        assert np.array_equal(
            table[f"p({name})"].to_numpy(), probabilities(scores, labels)[:, column]
        )  # another process, the same bits
    assert (
        read_table(tmp_path / "out.jsonl").columns["prediction"].to_pylist()
        == table["prediction"].to_pylist()
    )
    as_text = read_table(tmp_path / "out.csv").columns["prediction"].to_pylist()
    if trained.kind == "regression":
        assert [float(value) for value in as_text] == said
    else:
        assert as_text == [";".join(label) if isinstance(label, tuple) else label for label in said]


def examples_of(path: Path, trained: Trained) -> list[list[str]]:
    columns = read_table(path).columns
    return [columns[name].to_pylist() for name in ("text", "other")[: trained.n_texts]]


def test_the_second_text_of_a_pair_counts(trained: Trained) -> None:
    if trained.n_texts == 1:
        with pytest.raises(EncoreError):
            trained.model.predict([("one", "two")])
        return
    pairs = [("the lamp is great", "it came slow"), ("it came slow", "the lamp is great")]
    straight, swapped = raw(trained.model, pairs)
    assert not np.allclose(straight, swapped, atol=1e-4)
    with pytest.raises(EncoreError):
        trained.model.predict(["one text"])


@pytest.mark.parametrize("wrong", [[1], [None], [b"bytes"], ["fine", 2.5]])
def test_what_is_no_text_is_refused(wrong: list[Any], trained: Trained) -> None:
    with pytest.raises(DataError):
        trained.model.predict(wrong)


# --------------------------------------------------------------------------- which weights are kept


@pytest.mark.parametrize(
    "settings",
    [
        ("plan.keep=last",),
        ("plan.keep=best", "plan.early_stopping=1", "metrics=[log_loss]"),
        ("plan.keep=best", "precision=bf16", "plan.weight_decay=0.3"),
    ],
)
def test_the_kept_epoch_is_the_one_that_is_reported_and_saved(
    settings: tuple[str, ...], tables: Tables, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    recipe = tables.recipe("plan.epochs=7", "plan.lr=5e-3", *settings)
    result = encore.fit(recipe, runs=tmp_path)
    records = read_table(result.folder / "metrics.jsonl").columns["selected"].to_pylist()
    assert result.epochs == len(records)
    best = records.index(max(records)) + 1
    assert result.epoch == (result.epochs if "plan.keep=last" in settings else best)
    assert result.keep == ("last" if "plan.keep=last" in settings else "best")
    metric = recipe.tasks["train"].metrics[0] if recipe.tasks["train"].metrics else "accuracy"
    value = result.metrics["train"]["dev"]["model"][metric].value
    assert value == pytest.approx(
        -records[result.epoch - 1] if metric == "log_loss" else records[result.epoch - 1]
    )
    model = encore.load(result.folder)
    stored = [
        read_scores(result.folder, "train", "dev", epoch) for epoch in range(1, result.epochs + 1)
    ]
    found = model.scores(model.read(tables.dev, with_labels=True))
    assert [np.array_equal(found, scores) for scores in stored] == [
        epoch == result.epoch for epoch in range(1, result.epochs + 1)
    ]
    if "plan.early_stopping=1" in settings:
        assert result.epochs == result.epoch + 1 < 7
    assert best < 7  # or last and best would be the same


# ---------------------------------------------------------------------------------- what goes wrong


def test_a_changed_model_is_refused(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / trained.folder.name
    shutil.copytree(trained.folder, folder)
    os.truncate(folder / "model" / "weights.safetensors", 4000)
    (folder / "model" / "tokenizer.json").unlink()
    with pytest.raises(DataError) as error:
        load(folder)
    assert len(error.value.lines) == 2
    assert all("model/" in line and "run it again" in line for line in error.value.lines)


def test_a_tensor_too_many_is_named(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    model = tmp_path / "run" / "model"
    weights = safetensors.torch.load_file(model / "weights.safetensors") | {
        "train.strange": torch.zeros(2)
    }
    safetensors.torch.save_file(weights, model / "weights.safetensors")
    files.write_manifest(model, [model / name for name in files.read_json(model / files.MANIFEST)])
    with pytest.raises(
        DataError,
        match=r"model/weights\.safetensors: tensor 'train\.strange' has no place in this model",
    ):
        load(tmp_path / "run")


def test_without_a_model_there_is_nothing_to_load(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run"):
        load(tmp_path / "nothing")
    (tmp_path / "begun").mkdir()
    with pytest.raises(DataError, match=r"begun: not the folder of a run\. `encore ls` lists"):
        load(tmp_path / "begun")
    (tmp_path / "begun" / "resolved.json").write_text("{}")
    with pytest.raises(DataError, match=r"no model yet.*resumes"):
        load(tmp_path / "begun")
    with pytest.raises(
        DataError, match=r"not the folder of a run\. `encore ls --runs .*` lists the runs"
    ):
        load(tmp_path)
    with pytest.raises(DataError, match=r"no such run\. Did you mean .*/begun\? `encore ls`"):
        load(tmp_path / "begunn")


def test_a_model_of_another_version_is_told_as_such(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / trained.folder.name
    shutil.copytree(trained.folder, folder)
    assembly = files.read_json(folder / "model" / "model.json")
    assembly["tasks"]["train"]["pooling"] = {"name": "of_tomorrow"}
    files.write_json(folder / "model" / "model.json", assembly)
    files.write_manifest(
        folder / "model",
        [file for file in (folder / "model").iterdir() if file.name != files.MANIFEST],
    )
    said = (
        r"another version of Encore wrote its model, .*no pooling called 'of_tomorrow'.*Use "
        r"the version that .*environment\.json"
    )
    with pytest.raises(DataError, match=said):
        load(folder)
    del assembly["tasks"]["train"]["labels"]
    files.write_json(folder / "model" / "model.json", assembly)
    files.write_manifest(
        folder / "model",
        [file for file in (folder / "model").iterdir() if file.name != files.MANIFEST],
    )
    with pytest.raises(DataError, match=r"another version of Encore .*KeyError: 'labels'"):
        load(folder)


def test_a_task_that_the_run_has_not_is_refused(trained: Trained) -> None:
    with pytest.raises(RecipeError, match=r"no task called 'trian'.*Did you mean 'train'"):
        trained.model.predict(["x"], task="trian")
    assert isinstance(
        trained.model.predict(trained.examples(trained.dev)[:1], task="train")[0], Prediction
    )
