"""A manifest vouches only for a folder that it lists whole; links inside a folder are damage; and
a run begun on other hardware is not resumed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Tables

from encore import files
from encore.cli.run_listing import runs
from encore.errors import DataError, TrainingError
from encore.recipe.write import anchored, to_yaml
from encore.runs import contents, hardware, writer
from encore.runs.contents import damaged_files
from encore.runs.execute import execute
from encore.runs.folder import read_result
from encore.runs.places import is_being_trained
from encore.runs.predict import load
from encore.runs.prepared import Prepared
from encore.training.reports import EvalReport, StepReport


class Stop(Exception):
    """Ends a run from the inside."""


@pytest.fixture(scope="module")
def prepared(tables: Tables) -> Prepared:
    return tables.prepared("plan.keep=best", "plan.epochs=2")


@pytest.fixture(scope="module")
def whole(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return execute(prepared, tmp_path_factory.mktemp("whole"), checkpoint_steps=3).folder


@pytest.fixture(scope="module")
def stopped(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped at step 8 of 12, with a checkpoint at the end of the first epoch."""
    runs = tmp_path_factory.mktemp("stopped")

    def watch(report: StepReport | EvalReport) -> None:
        if isinstance(report, StepReport) and report.step == 8:
            raise Stop

    with contextlib.suppress(Stop):
        execute(prepared, runs, watch=watch, checkpoint_steps=3)
    return runs / prepared.name


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name, symlinks=True))


# ---------------------------------------------------------------------------------- what is listed


RUN = [
    *contents.RUN_FILES,
    "predictions/train/dev-1.parquet",
    "predictions/train/dev-2.parquet",
    *(f"model/{name}" for name in (*contents.MODEL_FILES, contents.WEIGHTS, files.MANIFEST)),
]


def test_the_manifest_of_a_run_lists_what_is_required_of_it(whole: Path) -> None:
    assert sorted(files.read_json(whole / files.MANIFEST)) == sorted(RUN)
    assert damaged_files(whole, "run") == []
    assert damaged_files(whole / "model", "model") == []


@pytest.mark.parametrize("missing", [None, *RUN])
def test_a_manifest_that_leaves_a_file_out_vouches_for_nothing(
    missing: str | None, whole: Path, tmp_path: Path
) -> None:
    """None: it lists nothing at all."""
    folder = copied(whole, tmp_path)
    listed = files.read_json(folder / files.MANIFEST)
    left = {} if missing is None else {name: listed[name] for name in listed if name != missing}
    files.write_json(folder / files.MANIFEST, left)
    with pytest.raises(DataError) as error:
        read_result(folder)
    (line,) = error.value.lines
    assert line.startswith(f"{folder / files.MANIFEST}: missing, or not as the run wrote it. ")


@pytest.mark.parametrize("missing", [None, *contents.MODEL_FILES, contents.WEIGHTS])
def test_the_manifest_of_a_model_lists_all_of_it(
    missing: str | None, whole: Path, tmp_path: Path
) -> None:
    model = copied(whole, tmp_path) / "model"
    listed = files.read_json(model / files.MANIFEST)
    left = {} if missing is None else {name: listed[name] for name in listed if name != missing}
    files.write_json(model / files.MANIFEST, left)
    with pytest.raises(DataError, match=r"manifest\.json: missing, or not as the run wrote it"):
        load(model.parent)


def test_each_task_of_its_own_epoch_has_weights_in_the_list(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in contents.MODEL_FILES:
        files.write_json(model / name, {"tasks": {"a": {}, "b": {}}})
    for name in ("weights-a.safetensors", "weights-b.safetensors"):
        (model / name).write_bytes(b"x")
    listed = [path for path in model.iterdir() if path.name != "weights-b.safetensors"]
    files.write_manifest(model, listed)
    assert damaged_files(model, "model") == [files.MANIFEST]
    files.write_manifest(model, [*listed, model / "weights-b.safetensors"])
    assert damaged_files(model, "model") == []


@pytest.mark.parametrize(
    ("kind", "study", "more"),
    [
        ("comparison", {}, ()),
        ("comparison", {"race": {"factor": 2}}, ("race.json",)),
        ("search", {"sampler": "tpe"}, ()),
        (
            "search",
            {"sampler": "tpe"},
            ("figures/about.json", "figures/loss.svg", "figures/loss.csv"),
        ),
    ],
)
def test_comparisons_and_searches_have_their_lists(
    kind: contents.Contents, study: dict[str, object], more: tuple[str, ...], tmp_path: Path
) -> None:
    always = contents.COMPARISON_FILES if kind == "comparison" else contents.SEARCH_FILES
    names = [*always, *more]
    (tmp_path / "figures").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    files.write_json(tmp_path / "study.json", study)
    if "figures/about.json" in more:
        files.write_json(tmp_path / "figures" / "about.json", {"loss": {}})
    files.write_manifest(tmp_path, [tmp_path / name for name in names])
    assert damaged_files(tmp_path, kind) == []
    for name in names:
        files.write_manifest(tmp_path, [tmp_path / other for other in names if other != name])
        assert damaged_files(tmp_path, kind) == [files.MANIFEST]
    files.write_json(tmp_path / files.MANIFEST, {})
    assert damaged_files(tmp_path, kind) == [files.MANIFEST]


def test_a_manifest_names_nothing_outside(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    (tmp_path / "other").write_bytes(b"x")
    listed = files.read_json(folder / files.MANIFEST)
    for name in ("../other", str(tmp_path / "other"), "model/../../other"):
        files.write_json(folder / files.MANIFEST, listed | {name: files.sha256(tmp_path / "other")})
        assert damaged_files(folder, "run") == [files.MANIFEST]


# ------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize(
    "name", ["checkpoint", "predictions", "predictions/train", "model", "steps.jsonl", "lock", "."]
)
def test_a_run_with_a_link_in_it_is_not_resumed_and_nothing_behind_it_changes(
    name: str, prepared: Prepared, stopped: Path, tmp_path: Path
) -> None:
    folder = copied(stopped, tmp_path / "runs")
    shutil.move(folder / name, tmp_path / "outside")
    (folder / name if name != "." else folder).symlink_to(tmp_path / "outside")
    before = {
        path: path.read_bytes() if path.is_file() else None
        for path in (tmp_path / "outside", *(tmp_path / "outside").rglob("*"))
    }
    with pytest.raises(TrainingError) as error:
        execute(prepared, tmp_path / "runs", checkpoint_steps=3)
    (line,) = error.value.lines
    assert line == (
        f"{folder / name}: is a symbolic link where Encore keeps its own files. Remove it, and "
        f"run the same command again."
    )
    after = {
        path: path.read_bytes() if path.is_file() else None
        for path in (tmp_path / "outside", *(tmp_path / "outside").rglob("*"))
    }
    assert after == before
    (folder / name).unlink()
    result = execute(prepared, tmp_path / "runs", checkpoint_steps=3)
    assert damaged_files(result.folder, "run") == []


@pytest.mark.parametrize("name", ["model", "predictions", "results.json"])
def test_a_complete_run_with_a_link_in_it_is_damaged(
    name: str, whole: Path, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path)
    shutil.move(folder / name, tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="missing, or not as the run wrote it"):
        read_result(folder)
    if name == "model":
        with pytest.raises(DataError, match="a symbolic link, not the folder that the run wrote"):
            load(folder)


def test_removing_and_sweeping_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("x")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("saved", ".saved.gone", ".model.new", "nothing"):
        (folder / name).symlink_to(tmp_path / ("none" if name == "nothing" else "outside"))
    files.remove(folder / "saved")
    files.remove(folder / "nothing")
    files.sweep(folder)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "outside" / "precious").read_text() == "x"


def test_a_pipe_is_not_opened(prepared: Prepared, stopped: Path, tmp_path: Path) -> None:
    folder = copied(stopped, tmp_path)
    (folder / "lock").unlink()
    os.mkfifo(folder / "lock")
    with pytest.raises(TrainingError, match="lock: is no regular file where Encore keeps"):
        execute(prepared, tmp_path)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block waits for longer, as for the writer of a pipe."""

    def stop(*_: object) -> None:
        raise AssertionError(f"it has waited for {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_no_reader_waits_for_a_pipe_in_place_of_a_file(whole: Path, tmp_path: Path) -> None:
    listed = files.read_json(whole / files.MANIFEST)
    for file in sorted(each for each in whole.rglob("*") if each.is_file()):
        folder = copied(whole, tmp_path)
        name = str(file.relative_to(whole))
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with within(20):
            if name in (*listed, files.MANIFEST):
                with pytest.raises(DataError):
                    read_result(folder)
            else:
                with contextlib.suppress(DataError):
                    read_result(folder)
            assert {run.folder for run in runs(tmp_path)} <= {folder}
            assert not is_being_trained(folder)
        shutil.rmtree(folder)


# ---------------------------------------------------------------------- other hardware, other paths


def test_a_run_begun_on_another_processor_is_not_resumed(
    prepared: Prepared, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(stopped, tmp_path)
    here = hardware.instruction_set("cpu")
    with monkeypatch.context() as patched:
        patched.setattr(writer, "instruction_set", lambda device: f"{here} avx99 amx_new")
        with pytest.raises(TrainingError) as error:
            execute(prepared, tmp_path, checkpoint_steps=3)
    (line,) = error.value.lines
    assert line == (
        f"{folder}: was begun on a processor of another instruction set, whose results differ in "
        f"their last bits (only there: nothing; only here: amx_new, avx99). Resume it on such a "
        f"processor, or remove the folder to start again."
    )
    assert damaged_files(execute(prepared, tmp_path, checkpoint_steps=3).folder, "run") == []


def test_a_processor_is_named_by_its_vector_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    import torch

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False, "cpu_name": "x"}
    )
    assert hardware.instruction_set("cpu") == f"{platform.machine()} AVX2 avx2"


def test_a_path_is_recorded_the_same_however_it_is_spelt(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tables.train.parent
    monkeypatch.chdir(folder)
    (tmp_path / "link.csv").symlink_to(tables.train)

    def written(train: str, dev: str) -> str:
        from encore.recipe.load import recipe_for_file

        given = {"dev": dev, "text": "text", "label": "verdict"}
        return to_yaml(anchored(recipe_for_file(Path(train), tables.settings, **given)))

    wanted = written(str(tables.train), str(tables.dev))
    assert written("train.csv", "./dev.csv") == wanted
    assert written(f"../{folder.name}/train.csv", f"{folder}/../{folder.name}/dev.csv") == wanted
    assert str(tmp_path / "link.csv") in written(
        f"{tmp_path}/../{tmp_path.name}/link.csv", "dev.csv"
    )
