"""Files that an output may never replace: its own input, and what a run consists of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Tables, Warm

from encore import files
from encore.errors import RecipeError
from encore.export.folder import _free
from encore.runs.places import enclosing_result

COLUMNS = ("--text", "text", "--label", "verdict")


@pytest.fixture(scope="module")
def trained(warm: Warm, tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("places") / "runs"
    outcome = warm.run(
        ["train", tables.train, "--dev", tables.dev, *COLUMNS, *tables.settings, "--runs", runs]
    )
    assert outcome.code == 0, outcome.err
    (run,) = runs.iterdir()
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def symlink(source: Path, name: Path) -> Path:
    name.symlink_to(source)
    return name


def hard_link(source: Path, name: Path) -> Path:
    os.link(source, name)
    return name


@pytest.mark.parametrize(
    "spelt",
    [
        lambda source: source,
        lambda source: source.parent / "." / ".." / source.parent.name / source.name,
        lambda source: symlink(source, source.with_name("link.csv")),
        lambda source: hard_link(source, source.with_name("hard.csv")),
        lambda source: symlink(source.parent, source.parent / "there") / source.name,
    ],
    ids=["same", "dots", "symlink", "hard link", "linked folder"],
)
def test_a_prediction_never_replaces_its_input(
    warm: Warm, trained: Path, tables: Tables, tmp_path: Path, spelt: Callable[[Path], Path]
) -> None:
    source = tmp_path / "in.csv"
    shutil.copy(tables.dev, source)
    before = source.read_bytes()
    out = spelt(source)
    outcome = warm.run(["predict", trained, source, "-o", out, "--overwrite"])
    assert (outcome.code, outcome.err) == (
        3,
        f"{out}: this is the file that is read, so it is not replaced. Name another file.\n",
    )
    assert source.read_bytes() == before
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "steps.jsonl", "predictions/train/dev-1.parquet"]
)
def test_a_prediction_never_replaces_a_file_of_a_run(
    warm: Warm, trained: Path, tables: Tables, name: str
) -> None:
    before = contents(trained)
    outcome = warm.run(["predict", trained, tables.dev, "-o", trained / name, "--overwrite"])
    assert outcome.code == 3
    assert outcome.err == (
        f"{trained / name}: this is a file of the run {trained}, so it is not replaced. Name "
        f"another file.\n"
    )
    assert contents(trained) == before


@pytest.mark.parametrize("where", ["", "model", "new", "predictions/train", "../link/new"])
def test_no_export_is_written_into_a_run(
    warm: Warm, trained: Path, tmp_path: Path, where: str
) -> None:
    if "link" in where and not (link := trained.parent / "link").exists():
        link.symlink_to(trained)
    before = contents(trained.parent)
    outcome = warm.run(["export", trained, "--to", "hf", trained / where, "--overwrite"])
    assert outcome.code == 2
    assert f"this is in the run {trained}. Name a folder outside of it." in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert contents(trained.parent) == before
    trained.with_name("link").unlink(missing_ok=True)


def test_only_what_bears_the_mark_of_an_export_is_replaced(trained: Path, tmp_path: Path) -> None:
    # Its own manifest lists every file of the folder, as that of a run's model does.
    model = tmp_path / "model"
    shutil.copytree(trained / "model", model)
    for folder in (trained.parent, model):
        with pytest.raises(RecipeError, match="contains files that no export wrote"):
            _free(folder, overwrite=True)
    link = symlink(model, tmp_path / "link")
    with pytest.raises(RecipeError, match="this is a link"):
        _free(link, overwrite=True)
    files.write_json(model / "encore_export.json", {})
    with pytest.raises(RecipeError, match="contains files that no export wrote"):
        _free(model, overwrite=True)  # the manifest does not list the mark
    files.write_manifest(model, [file for file in model.iterdir() if file.name != files.MANIFEST])
    _free(model, overwrite=True)


def test_a_folder_of_runs_is_never_inside_a_run(warm: Warm, trained: Path, tables: Tables) -> None:
    outcome = warm.run(["train", tables.train, "--runs", trained / "more"])
    assert outcome.code == 2
    assert f"--runs {trained / 'more'}: this is in the run {trained}." in outcome.err
    assert not (trained / "more").exists()


def test_a_manifest_of_another_program_makes_no_run(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an extension"}')
    (tmp_path / "study.json").write_text("{}")
    assert enclosing_result(tmp_path / "deep" / "out.csv") is None
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    (damaged / "resolved.json").unlink()
    assert enclosing_result(damaged / "model") == (damaged.resolve(), "run")


def test_a_report_leaves_folders_of_others_alone(warm: Warm, trained: Path, tmp_path: Path) -> None:
    beside = tmp_path / "page_figures"
    beside.mkdir()
    (beside / "notes.txt").write_text("mine")
    files.write_manifest(beside, [beside / "notes.txt"])
    command = ["report", trained, "-o", tmp_path / "page.html"]
    outcome = warm.run(command)
    assert outcome.code == 3
    assert "it is a folder with files that no report wrote (notes.txt)" in outcome.err
    assert (beside / "notes.txt").read_text() == "mine"
    beside.rename(tmp_path / "other")
    beside.symlink_to(tmp_path / "other")
    assert "and it is a link" in warm.run(command).err
    beside.unlink()
    assert warm.run(command).code == 0
