"""Links where Encore keeps its own files: nothing behind one is written, replaced or removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import encore
from encore import files
from encore.cli.app import main
from encore.errors import DataError, EncoreError, RecipeError, TrainingError
from encore.experiments.comparison import run_comparison
from encore.experiments.preparation import prepare_comparison
from encore.experiments.search import run_search
from encore.experiments.search_preparation import prepare_search
from encore.experiments.search_space import search_from
from encore.experiments.variants import study_from
from encore.export.folder import _free, _placed
from encore.report.write import write_report
from tests.conftest import Tables


@pytest.fixture(scope="module")
def run(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("links")
    how = {"label": "verdict", "text": "text", "dev": str(tables.dev), "runs": runs}
    return encore.fit(tables.train, *tables.settings, "plan.epochs=1", **how).folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A user's folder and file, which must stay as they are."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    return folder


def intact(outside: Path) -> bool:
    return [(path.name, path.read_text()) for path in outside.iterdir()] == [("mine.txt", "mine")]


def recipe(tables: Tables) -> dict[str, object]:
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    return {"tasks": {"verdict": {"data": data}}}


def comparison(tables: Tables, runs: Path) -> tuple[Path, Callable[[], object]]:
    study = study_from({**recipe(tables), "variants": {"cls": {"pooling": "cls"}}}, tables.settings)
    plan = prepare_comparison(study)
    return runs / plan.name, lambda: run_comparison(plan, runs, processes=1)


def search(tables: Tables, runs: Path) -> tuple[Path, Callable[[], object]]:
    space = {"plan.weight_decay": {"uniform": [0.0, 0.1]}}
    found = prepare_search(search_from({**recipe(tables), "search": space}, tables.settings))
    return found.trials(runs).folder, lambda: run_search(found, runs, processes=1)


@pytest.mark.parametrize("name", [".", "log", "results.json", "figures", "study.db"])
@pytest.mark.parametrize("made", [comparison, search])
def test_nothing_is_computed_into_a_folder_with_a_link(
    made: Callable[[Tables, Path], tuple[Path, Callable[[], object]]],
    name: str,
    tables: Tables,
    tmp_path: Path,
    outside: Path,
) -> None:
    runs = tmp_path / "runs"
    folder, compute = made(tables, runs)
    link = folder if name == "." else folder / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "mine.txt" if "." in name and name != "." else outside)
    with pytest.raises(TrainingError, match="is a symbolic link where Encore keeps its own files"):
        compute()
    assert intact(outside)
    assert list(runs.iterdir()) == [folder], "no run was started"


def test_an_export_replaces_no_link_and_nothing_behind_one(tmp_path: Path, outside: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "encore_export.json").write_text("{}")
    files.write_manifest(target, [target / "encore_export.json"])
    _free(target, overwrite=True)
    (target / "linked").symlink_to(outside)
    with pytest.raises(RecipeError, match=r"contains files that no export wrote \(linked\)"):
        _free(target, overwrite=True)
    (target / "linked").unlink()
    # A link in the place of a file that the export wrote: the link goes, and what it names stays.
    (target / "encore_export.json").unlink()
    (target / "encore_export.json").symlink_to(outside / "mine.txt")
    (tmp_path / ".model.new").symlink_to(outside)
    with _placed(target, overwrite=True) as being_written:
        (being_written / "encore_export.json").write_text("{}")
    assert not (target / "encore_export.json").is_symlink()
    assert intact(outside)
    os.rename(target, tmp_path / "moved")
    target.symlink_to(tmp_path / "moved")
    with pytest.raises(RecipeError, match="this is a link; name the folder itself"):
        _free(target, overwrite=True)


@pytest.mark.parametrize("name", ["page_figures", "page_figures/accuracy.svg"])
def test_a_report_writes_through_no_link(
    name: str, run: Path, tmp_path: Path, outside: Path
) -> None:
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside if name == "page_figures" else outside / "mine.txt")
    with pytest.raises(EncoreError, match=link.name):
        write_report(run, tmp_path / "page.html", overwrite=True)
    assert intact(outside)


def test_a_report_takes_the_place_of_a_link(run: Path, tmp_path: Path, outside: Path) -> None:
    page = tmp_path / "page.html"
    page.symlink_to(outside / "mine.txt")
    write_report(run, page, overwrite=True)
    assert not page.is_symlink()
    assert intact(outside)


def test_the_log_of_test_files_is_no_link(run: Path, outside: Path) -> None:
    link = run / "test_opened.log"
    link.symlink_to(outside / "mine.txt")
    try:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", str(run), "--final"])
    finally:
        link.unlink()
    assert end.value.code == TrainingError.exit_code
    assert intact(outside)
    with pytest.raises(DataError):  # it has no test file
        encore.evaluate(run, final=True)
