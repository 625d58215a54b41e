"""`encore ls`, `encore mv` and `encore rm` on the folders that Encore writes, and on others."""

from __future__ import annotations

import fcntl
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import encore
from encore.cli import app
from encore.runs.contents import EXPORT_MARK
from encore.runs.folder import read_result

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tables: object, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on twenty rows, in a folder with its file."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [f"the lamp is {word},{label}" for word, label in (("great", 1), ("dull", 0))] * 10
    (folder / "lamps").mkdir()
    (folder / "lamps" / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    settings = (f"encoder={tiny_encoder}", "threads=1", "precision=fp32", "plan.epochs=1")
    more = ("plan.lr=2e-3", "pooling=cls", "max_length=20", "head.dropout=0")
    return encore.fit(folder / "lamps" / "train.csv", *settings, *more, runs=folder / "runs").folder


@pytest.fixture
def kept(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run in runs/ of a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, Path("runs") / trained.name)
    shutil.copytree(trained.parents[1] / "lamps", "lamps")
    return Path("runs") / trained.name


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command: exit code, standard output, standard error. answer: what is typed."""

    def command(*words: str | Path, answer: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as end:
            app.main([str(word) for word in words])
        return int(str(end.value.code)), *capsys.readouterr()

    return command


def a_comparison_of(run: Path) -> Path:
    folder = run.parent / "compare-lamps-0123456789"
    folder.mkdir()
    (folder / "study.json").write_text('{"name": "lamps"}')
    (folder / "recipe.yaml").write_text("task: lamps\n")
    (folder / "cells.json").write_text(json.dumps({"cells": [{"run": run.name}, {"run": None}]}))
    (folder / "log").mkdir()
    return folder


def test_a_run_is_listed_with_file_encoder_and_settings(
    run: Run, kept: Path, tiny_encoder: Path
) -> None:
    code, out, err = run("ls")
    header, line = out.splitlines()
    assert (code, err) == (0, "")
    assert re.split("  +", header)[:3] == ["run", "data", "encoder"]
    name = "/".join(tiny_encoder.parts[-2:])
    assert line.startswith(f"{kept}  lamps/train.csv  {name}  complete  accuracy  ")
    assert line.endswith(
        "precision=fp32 threads=1 plan.epochs=1 plan.lr=0.002 pooling=cls head.dropout=0 "
        "max_length=20"
    )
    entry = json.loads(run("ls", "--json")[1])["runs"][0]
    assert entry["data"]["lamps"].endswith("lamps/train.csv")
    assert entry["settings"]["head.dropout"] == 0.0


def test_removing_asks_first(run: Run, kept: Path) -> None:
    code, out, err = run("rm", kept, answer="n\n")
    assert (code, out) == (0, "")
    assert err == f"{kept}: run\nRemove this? [y/N] nothing was removed\n"
    code, _, err = run("rm", kept)
    assert (code, err.splitlines()[-1]) == (
        2,
        "encore rm: nobody answered. To remove without asking: --yes",
    )
    assert kept.is_dir()
    assert run("rm", kept, answer="y\n")[:2] == (0, f"removed: {kept}\n")
    assert list(kept.parent.iterdir()) == []


def test_what_a_report_and_a_test_leave_in_a_run_is_removed_with_it(run: Run, kept: Path) -> None:
    assert run("report", kept, "--quiet")[0] == 0
    assert run("evaluate", kept, "lamps/train.csv", "--quiet")[0] == 0
    for name in ("test_opened.log", "test_results.json"):
        (kept / name).write_text("{}")
    (kept / "checkpoint").mkdir()
    assert run("rm", kept, "--yes", "--json")[:2] == (
        0,
        json.dumps({"removed": [str(kept)]}) + "\n",
    )
    assert not kept.exists()


def test_nothing_that_encore_did_not_write_is_removed(run: Run, kept: Path) -> None:
    Path("notes").mkdir()
    Path("notes/manifest.json").write_text("{}")
    Path("link").symlink_to(kept)
    (kept / "notes.txt").write_text("mine")
    for name, reason in {
        "notes": "no run, comparison, search or export",
        ".": "no run, comparison, search or export",
        "runs": "no run, comparison, search or export",
        "lamps/train.csv": "a file.",
        "none": "no such folder.",
        "link": "this is a link.",
        str(kept / "model"): f"this is in the run {kept}",
        str(kept): "contains what Encore did not write (notes.txt)",
    }.items():
        code, out, err = run("rm", name, "--yes")
        assert (code, out, err.count("\n")) == (3, "", 1), name
        assert err.startswith(f"{name}: {reason}"), err
    assert (kept / "notes.txt").exists()
    assert Path("notes/manifest.json").exists()


def test_one_wrong_name_keeps_all(run: Run, kept: Path) -> None:
    code, _, err = run("rm", kept, "nothing", "nowhere", "--yes")
    assert (code, len(err.splitlines())) == (3, 2)
    assert kept.exists()


def test_a_run_in_training_is_left_alone(run: Run, kept: Path) -> None:
    compared = a_comparison_of(kept)
    with (kept / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for folder, kind in ((kept, "run"), (compared, "comparison")):
            code, _, err = run("rm", folder, "--yes")
            assert (code, err) == (
                3,
                f"{folder}: a process is working on this {kind}. Wait for it, or stop it first.\n",
            )
        assert run("mv", kept, "other")[0] == 3
    assert kept.exists()


def test_a_comparison_is_removed_without_its_runs(run: Run, kept: Path) -> None:
    compared = a_comparison_of(kept)
    _, _, err = run("rm", kept, answer="n\n")
    assert f"{kept}: run (needed by {compared.name}, which would train it again)" in err
    code, _, err = run("rm", compared, answer="yes\n")
    assert (code, err.splitlines()[0]) == (
        0,
        f"{compared}: comparison (its 1 run beside it is kept)",
    )
    assert not compared.exists()
    assert kept.exists()


def test_an_export_is_known_by_its_mark(run: Run, kept: Path) -> None:
    exported = Path("exported")
    exported.mkdir()
    (exported / "config.json").write_text("{}")
    (exported / "manifest.json").write_text("{}")
    assert run("rm", exported, "--yes")[0] == 3
    (exported / EXPORT_MARK).write_text("{}")
    (exported / "manifest.json").write_text(json.dumps({"config.json": "", EXPORT_MARK: ""}))
    assert run("rm", exported, "--yes")[:2] == (0, "removed: exported\n")


def test_a_renamed_run_is_whole_and_found_by_its_command(run: Run, kept: Path) -> None:
    before, digits = read_result(kept), kept.name[-11:]
    code, out, err = run("mv", kept, "runs/bright")
    assert (code, out) == (0, f"run: runs/bright{digits}\n")
    assert err == "the digits stay: the command that trained this run finds it by them\n"
    named = Path(f"runs/bright{digits}")
    assert read_result(named).metrics == before.metrics
    recipe = (named / "recipe.yaml").read_text()
    Path("again.yaml").write_text(recipe)
    code, out, err = run("train", "again.yaml")
    assert (code, err.splitlines()[-1]) == (0, f"run {named}: complete already")
    assert [entry.name for entry in Path("runs").iterdir()] == [named.name]


def test_a_moved_run_takes_its_openings_of_test_files_along(run: Run, kept: Path) -> None:
    lines = [
        json.dumps({"time": "", "run": name, "sha256": "ab"})
        for name in (kept.name, "other-0123456789")
    ]
    Path("runs/test_openings.jsonl").write_text("\n".join(lines) + "\n")
    Path("archive").mkdir()
    assert run("mv", kept, "archive")[:2] == (0, f"run: archive/{kept.name}\n")
    assert Path("archive/test_openings.jsonl").read_text() == f"{lines[0]}\n"
    assert run("evaluate", f"archive/{kept.name}", "lamps/train.csv", "--quiet")[0] == 0


def test_nothing_is_moved_over_or_into_a_result(run: Run, kept: Path) -> None:
    shutil.copytree(kept, "runs/other-0123456789")
    for target, reason in {
        "runs/other-0123456789": "exists already",
        "runs/other-0123456789/inside": "this is in the run",
        "lamps/train.csv": "exists already",
    }.items():
        code, _, err = run("mv", kept, target)
        assert code == 2, err
        assert reason in err
    compared = a_comparison_of(kept)
    assert "needed by compare-lamps-0123456789" in run("mv", kept, "elsewhere")[2]
    assert "which names the runs beside it" in run("mv", compared, "elsewhere")[2]
    assert sorted(entry.name for entry in Path("runs").iterdir()) == sorted(
        [kept.name, compared.name, "other-0123456789"]
    )


def test_a_run_is_moved_to_another_file_system(
    run: Run, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm")) if Path("/dev/shm").is_dir() else None
    if elsewhere is None or elsewhere.stat().st_dev == kept.stat().st_dev:
        pytest.skip("needs /dev/shm on a file system of its own")
    try:
        written = files_of(kept)
        code, _, err = run("mv", kept, elsewhere)
        assert (code, err) == (0, "")
        assert not kept.exists()
        assert files_of(elsewhere / kept.name) == written
        assert list(elsewhere.iterdir()) == [elsewhere / kept.name]
        # A copy that fails leaves the run where it was, and nothing of it elsewhere.
        run("mv", elsewhere / kept.name, "runs")

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(shutil, "copytree", full)
        code, _, err = run("mv", kept, elsewhere)
        assert code != 0
        assert "No space left on device" in err
        assert files_of(kept) == written
        assert list(elsewhere.iterdir()) == []
    finally:
        shutil.rmtree(elsewhere)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_working_directory_is_not_removed(
    run: Run, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = kept.absolute()
    monkeypatch.chdir(there)
    code, _, err = run("rm", there, "--yes")
    assert code != 0
    assert "this is the current working directory. Leave it first." in err
    assert there.exists()
