"""Run folders: what names them, what is in them, and what happens when they are complete, damaged,
taken, or on a full disk.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
from conftest import Tables, Warm

import encore.runs.prepare
from encore import files
from encore.errors import DataError, TrainingError
from encore.evaluation.predictions import predictions
from encore.recipe.load import load_recipe
from encore.runs.contents import damaged_files
from encore.runs.execute import execute
from encore.runs.folder import RunResult, read_predictions, read_result, read_scores
from encore.runs.predict import load
from encore.runs.prepared import Prepared
from encore.runs.writer import Pruned
from encore.training.reports import EvalReport, StepReport


@pytest.fixture(scope="module")
def prepared(tables: Tables) -> Prepared:
    return tables.prepared()


@pytest.fixture(scope="module")
def finished(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return execute(prepared, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(finished: RunResult, tmp_path: Path) -> Path:
    """A finished run that a test may damage."""
    shutil.copytree(finished.folder, tmp_path / finished.folder.name)
    return tmp_path / finished.folder.name


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Name → inode, time of the last change and content of every file; folders too, whose time
    tells of files that came and went.
    """
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (folder, *folder.rglob("*"))
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --------------------------------------------------------------------------------------- the folder


def test_a_finished_run_holds_what_it_should(finished: RunResult, prepared: Prepared) -> None:
    names = {
        str(path.relative_to(finished.folder))
        for path in finished.folder.rglob("*")
        if path.is_file()
    }
    results = {
        "recipe.yaml",
        "resolved.json",
        "data.json",
        "steps.jsonl",
        "metrics.jsonl",
        "results.json",
    }
    results |= {f"predictions/train/dev-{epoch}.parquet" for epoch in (1, 2, 3)}
    results |= {
        f"model/{name}"
        for name in (
            "config.json",
            "manifest.json",
            "model.json",
            "tokenizer.json",
            "weights.safetensors",
        )
    }
    assert names == results | {"manifest.json", "environment.json", "cost.json", "lock"}
    assert set(files.read_json(finished.folder / files.MANIFEST)) == results
    assert finished.folder.name == prepared.name
    assert not finished.already_complete


def test_steps_and_epochs_are_logged_one_line_each(finished: RunResult) -> None:
    steps, epochs = lines(finished.folder / "steps.jsonl"), lines(finished.folder / "metrics.jsonl")
    expected = [
        (6 * epoch + batch + 1, epoch + 1, 9 if batch < 5 else 7)
        for epoch in range(3)
        for batch in range(6)
    ]
    assert [(step["step"], step["epoch"], step["rows"]) for step in steps] == expected
    assert [(epoch["epoch"], epoch["step"]) for epoch in epochs] == [(1, 6), (2, 12), (3, 18)]
    for number, epoch in enumerate(epochs):
        mine = steps[6 * number : 6 * number + 6]
        mean = sum(step["loss"] * step["rows"] for step in mine) / 52
        assert epoch["train"]["train"]["loss"] == pytest.approx(mean, rel=1e-6)
        assert all(step["terms"] == {"task": step["loss"]} for step in mine)


def test_each_epoch_logs_the_loss_on_the_dev_set(finished: RunResult, prepared: Prepared) -> None:
    from scipy.special import log_softmax

    for epoch, record in enumerate(lines(finished.folder / "metrics.jsonl"), start=1):
        found = read_predictions(finished.folder, "train", "dev", epoch)
        right = log_softmax(found.scores.astype(np.float64), axis=1)[range(23), found.targets]
        assert record["dev_loss"] == {"train": {"dev": pytest.approx(-right.mean())}}


def test_the_cost_has_the_speed_of_evaluation(finished: RunResult) -> None:
    cost = files.read_json(finished.folder / "cost.json")
    assert cost["dev_seconds"] > 0
    assert cost["dev_rows_per_second"] == pytest.approx(3 * 23 / cost["dev_seconds"])


def test_predictions_name_their_examples_and_give_the_stored_metrics(
    finished: RunResult, tables: Tables, prepared: Prepared
) -> None:
    import hashlib

    digest = hashlib.sha256(tables.dev.read_bytes()).hexdigest()
    for epoch, record in enumerate(lines(finished.folder / "metrics.jsonl"), start=1):
        table = pq.read_table(finished.folder / "predictions" / "train" / f"dev-{epoch}.parquet")
        assert set(table["digest"].to_pylist()) == {digest}
        assert table["row"].to_pylist() == list(range(23))
        scores = read_scores(finished.folder, "train", "dev", epoch)
        assert scores.dtype == np.float32
        assert scores.shape == (23, 3)
        right = predictions(scores, prepared.data["train"].labels) == np.array(
            table["label"].to_pylist()
        )
        assert record["dev"]["train"]["dev"]["accuracy"] == pytest.approx(right.mean())
    assert finished.metrics["train"]["dev"]["model"]["accuracy"].value == pytest.approx(
        right.mean()
    )


def test_the_stored_recipe_is_the_same_run(finished: RunResult) -> None:
    from encore.runs.prepare import prepare

    assert prepare(load_recipe(finished.folder / "recipe.yaml")).name == finished.folder.name


def test_the_result_is_read_back_as_it_was(finished: RunResult) -> None:
    assert read_result(finished.folder) == finished
    assert (finished.epoch, finished.epochs, finished.keep) == (3, 3, "last")
    assert finished.seconds > 0
    assert finished.tokens_per_second > 0
    stored = (finished.folder / "results.json").read_bytes()
    written = json.dumps(finished.to_json(), indent=2, ensure_ascii=False) + "\n"
    assert written.encode() == stored
    assert (
        RunResult.from_json(
            finished.folder,
            json.loads(stored),
            seconds=finished.seconds,
            tokens_per_second=finished.tokens_per_second,
        )
        == finished
    )


# ----------------------------------------------------------------------------------------- its name


def test_the_same_recipe_elsewhere_gives_the_same_bytes(
    finished: RunResult, tables: Tables, warm: Warm, tmp_path: Path
) -> None:
    """From another working directory, with the settings in another order, in another process."""
    words = [
        "train",
        tables.train,
        *reversed(tables.settings),
        "--label",
        "verdict",
        "--text",
        "text",
        "--dev",
        tables.dev,
        "--runs",
        "here",
    ]
    assert warm.run(words, cwd=str(tmp_path)).code == 0
    again = tmp_path / "here" / finished.folder.name
    held = set(files.read_json(finished.folder / files.MANIFEST)) - {
        "data.json"
    }  # which says where the files are, seen from the working directory
    assert len(held) == 13
    assert not [
        name
        for name in held
        if (again / name).read_bytes() != (finished.folder / name).read_bytes()
    ]


CHANGES = {
    "seed": "seed=43",
    "rate": "plan.lr=1.1e-2",
    "epochs": "plan.epochs=2",
    "precision": "precision=bf16",
    "threads": "threads=2",
    "batch": "plan.batch_size=10",
    "micro-batch": "plan.micro_batch=4",
    "keep": "plan.keep=best",
    "pooling": "pooling=cls",
    "dropout": "head.dropout=0.25",
    "length": "max_length=16",
    "truncation": "truncation=tail",
    "class weights": "class_weights=balanced",
    "sampling": "sampling=balanced",
    "metrics": "metrics=[mcc]",
    "rows": "data.train_rows=40",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_result_changes_the_name(
    change: str, prepared: Prepared, tables: Tables
) -> None:
    assert tables.prepared(CHANGES[change]).name != prepared.name


def test_all_those_names_differ(tables: Tables, prepared: Prepared) -> None:
    names = [tables.prepared(override).name for override in CHANGES.values()]
    assert len({*names, prepared.name}) == len(CHANGES) + 1


def test_what_auto_stands_for_is_in_the_name(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same recipe on a machine with more cores, or one that multiplies in bf16, gives other
    bits.
    """
    for cores, precision in ((1, "fp32"), (2, "bf16")):
        monkeypatch.setattr(encore.runs.hardware, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(
            encore.runs.prepare,
            "precision_of",
            lambda asked, auto=precision: auto if asked == "auto" else asked,
        )
        assert (
            tables.prepared("threads=null", "precision=auto").name
            == tables.prepared(f"threads={cores}", f"precision={precision}").name
        )


def test_prose_and_places_do_not_change_the_name(
    prepared: Prepared,
    tables: Tables,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (
        tables.prepared(
            "source=A paper, table 3", "claim=It works", "expect={train.accuracy: 0.5}"
        ).name
        == prepared.name
    )
    moved = tmp_path / "elsewhere"
    shutil.copytree(tables.train.parent, moved / "train")
    shutil.copytree(tiny_encoder, moved / "bert")
    (moved / "train" / "dev.csv").rename(moved / "measured.csv")
    elsewhere = replace(tables, train=moved / "train" / "train.csv", dev=moved / "measured.csv")
    assert elsewhere.prepared(f"encoder={moved / 'bert'}").name == prepared.name
    monkeypatch.chdir(moved)
    assert (
        replace(tables, train=Path("train/train.csv"), dev=Path("measured.csv"))
        .prepared("encoder=bert")
        .name
        == prepared.name
    )


@pytest.mark.parametrize("which", ["train", "dev"])
def test_changed_data_change_the_name(
    which: str, prepared: Prepared, tables: Tables, tmp_path: Path
) -> None:
    path = getattr(tables, which)
    text = path.read_text(encoding="utf-8")
    changed = tmp_path / path.name
    changed.write_text(text.replace("kettle", "tent", 1), encoding="utf-8")
    assert changed.read_text(encoding="utf-8") != text
    assert replace(tables, **{which: changed}).prepared().name != prepared.name


def test_a_changed_encoder_changes_the_name(
    prepared: Prepared, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    for file, change in (
        ("model.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("config.json", lambda content: content.replace(b"{", b'{"hidden_dropout_prob": 0.2, ', 1)),
        ("vocab.txt", lambda content: content.replace(b"kettle", b"kettles")),
    ):
        folder = tmp_path / file / "bert"
        shutil.copytree(tiny_encoder, folder)
        (folder / file).write_bytes(change((folder / file).read_bytes()))
        assert tables.prepared(f"encoder={folder}").name != prepared.name


# ----------------------------------------------------------------------------- complete and damaged


def test_a_complete_run_is_found_and_left_as_it_is(
    copy: Path, finished: RunResult, prepared: Prepared
) -> None:
    before = snapshot(copy)
    result = execute(prepared, copy.parent, watch=lambda report: pytest.fail("it trains"))
    assert result.already_complete
    assert result == replace(finished, folder=copy, already_complete=True)
    assert snapshot(copy) == before


def test_the_command_says_that_a_run_is_complete(copy: Path, tables: Tables, warm: Warm) -> None:
    before = snapshot(copy)
    again = warm.run(
        [
            "train",
            tables.train,
            "--dev",
            tables.dev,
            "--text",
            "text",
            "--label",
            "verdict",
            *tables.settings,
            "--runs",
            copy.parent,
        ]
    )
    assert again.code == 0, again.err
    assert "complete" in again.out + again.err
    assert str(copy) in again.out
    assert snapshot(copy) == before


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights cut": ("model/weights.safetensors", lambda path: os.truncate(path, 5000)),
    "result edited": (
        "results.json",
        lambda path: path.write_text(path.read_text().replace("0.", "1.", 1)),
    ),
    "result gone": ("results.json", lambda path: path.unlink()),
    "predictions gone": ("predictions/train/dev-2.parquet", lambda path: path.unlink()),
    "log longer": ("steps.jsonl", lambda path: path.write_text(path.read_text() + "\n")),
    "manifest empty": ("manifest.json", lambda path: os.truncate(path, 0)),
    "cost gone": ("cost.json", lambda path: path.unlink()),
    "cost empty": ("cost.json", lambda path: os.truncate(path, 0)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_complete_run_is_refused_with_the_remedy_and_left_as_it_is(
    damage: str, copy: Path, prepared: Prepared
) -> None:
    name, act = DAMAGES[damage]
    act(copy / name)
    before = snapshot(copy)
    for read in (lambda: execute(prepared, copy.parent), lambda: read_result(copy)):
        with pytest.raises(DataError) as error:
            read()
        assert error.value.lines == (
            f"{copy / name}: missing, or not as the run wrote it. Remove the folder and run it "
            f"again.",
        )
    assert snapshot(copy) == before


def test_several_damaged_files_are_named_together(copy: Path) -> None:
    for name in ("data.json", "steps.jsonl"):
        (copy / name).write_text("")
    with pytest.raises(DataError) as error:
        read_result(copy)
    assert [line.partition(":")[0] for line in error.value.lines] == [
        str(copy / "data.json"),
        str(copy / "steps.jsonl"),
    ]


@pytest.mark.parametrize("read", [read_result, load])
def test_searches_and_comparisons_are_no_runs(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    """And nobody is told to remove them, or to train the recipe that was to be improved."""
    files.write_json(tmp_path / "study.json", {"sampler": "tpe"})
    files.write_manifest(tmp_path, [tmp_path / "study.json"])
    with pytest.raises(DataError) as error:
        read(tmp_path)
    best = (
        f"Train its best configuration, and name that run: encore train "
        f"{tmp_path}/best.yaml --runs {tmp_path.parent}"
    )
    assert error.value.lines == (
        f"{tmp_path}: a search, whose trials keep figures and no weights. {best}",
    )
    files.write_json(tmp_path / "study.json", {"variants": ["a", "b"]})
    with pytest.raises(
        DataError,
        match=r"a comparison, whose runs keep figures and no weights\. Name one of those in "
        r"cells\.json",
    ):
        read(tmp_path)
    for name in ("study.json", files.MANIFEST):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="not the folder of a run"):
        read(tmp_path)


def test_no_run_and_half_a_run_are_told_apart(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run"):
        read_result(tmp_path / "nothing")
    (copy / files.MANIFEST).unlink()
    with pytest.raises(DataError, match=r"not a complete run.*it resumes"):
        read_result(copy)


# -------------------------------------------------------------------------------------- two at once


def test_a_taken_run_is_refused_in_one_line(copy: Path, prepared: Prepared) -> None:
    (copy / files.MANIFEST).unlink()
    before = snapshot(copy)
    with (copy / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrainingError) as error:
            execute(prepared, copy.parent)
    assert error.value.lines == (
        f"{copy}: another process is training this run. Wait for it, or stop it; the same "
        f"command then resumes.",
    )
    assert snapshot(copy) == before


def test_of_two_processes_one_trains(
    tables: Tables, finished: RunResult, warm: Warm, tmp_path: Path
) -> None:
    words = [
        "train",
        tables.train,
        "--dev",
        tables.dev,
        "--text",
        "text",
        "--label",
        "verdict",
        *tables.settings,
        "--runs",
        tmp_path,
    ]
    folder = tmp_path / finished.folder.name
    first = warm.start(words, slow=0.05)
    until = time.monotonic() + 300
    while not any(folder.glob("checkpoint/step-*")) and time.monotonic() < until:
        time.sleep(0.01)
    second = warm.run(words)
    assert second.code == 4
    assert (
        second.err.splitlines()[-1]
        == f"{folder}: another process is training this run. Wait for it, or stop it; the same "
        f"command then resumes."
    )
    assert not (folder / files.MANIFEST).exists()
    os.kill(first, signal.SIGKILL)  # the lock dies with its process
    assert warm.wait(first).code == -signal.SIGKILL
    assert warm.run(words).code == 0
    assert (folder / files.MANIFEST).read_bytes() == (finished.folder / files.MANIFEST).read_bytes()


# -------------------------------------------------------------------------------------- a full disk


@pytest.fixture(scope="module")
def roomy(
    tables: Tables, warm: Warm, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str | Path], Path]:
    """A command but for its folder, and the run that it gives where there is room."""
    words = [
        "train",
        tables.train,
        "--dev",
        tables.dev,
        "--text",
        "text",
        "--label",
        "verdict",
        *tables.settings,
        "plan.keep=best",
        "--runs",
    ]
    runs = tmp_path_factory.mktemp("roomy")
    assert warm.run([*words, runs]).code == 0
    (folder,) = runs.iterdir()
    return words, folder


@pytest.mark.parametrize(
    ("limit", "full"), [(100, "recipe.yaml"), (20_000, "model"), (80_000, "checkpoint")]
)
def test_on_a_full_disk_training_ends_in_one_line_and_goes_on_later(
    limit: int, full: str, roomy: tuple[list[str | Path], Path], warm: Warm, tmp_path: Path
) -> None:
    words, whole = roomy
    stopped = warm.run([*words, tmp_path], limit_bytes=limit)
    assert stopped.code == 4, stopped.err
    told = [line for line in stopped.err.splitlines() if "cannot be written" in line]
    assert told == stopped.err.splitlines()[-1:]
    assert full in told[0]
    assert "File too large" in told[0]
    assert "the same command then resumes" in told[0]
    (folder,) = tmp_path.iterdir()
    assert not list(folder.rglob(".*"))
    assert not (folder / files.MANIFEST).exists()
    assert warm.run([*words, tmp_path]).code == 0
    assert (folder / files.MANIFEST).read_bytes() == (whole / files.MANIFEST).read_bytes()


# ----------------------------------------------------------------------------------------- given up


def test_a_kept_model_is_there_until_the_next_one_is_whole(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, save, n_saved = (
        tables.prepared("plan.keep=best", "plan.epochs=7", "plan.lr=5e-3"),
        safetensors.torch.save_file,
        [0],
    )

    def full(tensors: Any, file: Path, *more: Any) -> None:
        n_saved[0] += "weights" in file.name
        if n_saved[0] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, file, *more)

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(TrainingError, match="No space left"):
        execute(prepared, tmp_path)
    assert n_saved == [2]
    assert damaged_files(tmp_path / prepared.name / "model", "model") == []
    assert "train" in load(tmp_path / prepared.name).tasks


@pytest.mark.parametrize("keep_model", [False, True])
def test_a_run_that_is_given_up_stops_at_once_and_leaves_nothing_that_nobody_wants(
    prepared: Prepared, tmp_path: Path, keep_model: bool
) -> None:
    steps: list[int] = []

    def watch(report: StepReport | EvalReport) -> None:
        steps.append(report.step)
        if isinstance(report, EvalReport) and report.epoch == 2:
            raise Pruned

    with pytest.raises(Pruned):
        execute(prepared, tmp_path, watch=watch, keep_model=keep_model)
    per_epoch = -(-len(prepared.streams["train"].train) // 9)
    assert steps == [
        *range(1, per_epoch + 1),
        per_epoch,
        *range(per_epoch + 1, 2 * per_epoch + 1),
        2 * per_epoch,
    ]
    assert (tmp_path / prepared.name).exists() == keep_model
    if not keep_model:
        assert not list(tmp_path.iterdir())


def test_who_waited_for_a_run_that_is_gone_does_not_write_into_nothing(tmp_path: Path) -> None:
    """The lock of a folder that was removed in between is the lock of nothing."""
    folder = tmp_path / "run"
    folder.mkdir()
    honest = fcntl.flock

    def removed_first(file: int, how: int) -> None:
        files.remove(folder)
        honest(file, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.fcntl, "flock", removed_first)
        with (
            pytest.raises(TrainingError, match="busy"),
            files.locked(folder, TrainingError("busy")),
        ):
            pass
    with files.locked(folder, TrainingError("busy")):
        assert (folder / "lock").exists()


def test_a_place_that_takes_no_folder_is_one_line(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError) as error:
        execute(prepared, tmp_path / "file")
    assert len(error.value.lines) == 1
    assert "cannot be written" in error.value.lines[0]
