"""A damaged run folder: the same command ends in the same bytes, or in one clear line. Nothing
outside of the folder is written or removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from conftest import Tables

from encore import files
from encore.errors import EncoreError
from encore.runs.execute import execute
from encore.runs.folder import RunResult, read_result
from encore.runs.predict import load
from encore.runs.prepared import Prepared
from encore.training.reports import EvalReport, StepReport
from reliability.counts import n_tries, record
from reliability.damage import CHANGES, REPLACEMENTS, Change, content_of, files_in

SEED = 11


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here loses power, so nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


class Stop(Exception):
    """Ends a run from the inside."""


@dataclass(frozen=True)
class Folders:
    """One run that nobody disturbed, and the same run interrupted at several steps."""

    prepared: Prepared
    whole: Path
    interrupted: Sequence[Path]


@pytest.fixture(scope="module")
def folders(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    prepared = tables.prepared(
        "plan.keep=best", "plan.epochs=2", "plan.batch_size=26", "metrics=[accuracy]"
    )

    def train(until: int) -> Path:
        def watch(report: StepReport | EvalReport) -> None:
            if isinstance(report, StepReport) and report.step == until:
                raise Stop

        runs = tmp_path_factory.mktemp("run")
        with contextlib.suppress(Stop):
            execute(prepared, runs, watch=watch, checkpoint_steps=1)
        return runs / prepared.name

    return Folders(prepared, train(99), (train(2), train(3), train(4)))


def problem_of(folders: Folders, damaged: Path, change: Change, at: int, draw: Random) -> str:
    """The mistake after the file number `at` was changed and the command was given again; "" where
    the end is the same, or one line that names the folder.
    """
    folder, outside = damaged / folders.prepared.name, damaged.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text("not to be touched")
    change(files_in(folder)[at], draw, outside)
    before = content_of(outside)
    try:
        execute(folders.prepared, damaged, checkpoint_steps=1)
    except EncoreError as error:
        clear = len(error.lines) == 1 and str(folder) in error.lines[0]
        return _untouched(outside, before) or ("" if clear else f"unclear: {error}")
    except Exception as error:
        return f"internal error: {type(error).__name__}: {error}"
    return _untouched(outside, before) or _differing(folder, folders.whole)


def _untouched(outside: Path, before: dict[str, bytes]) -> str:
    return "" if content_of(outside) == before else "something outside was changed"


def _differing(folder: Path, whole: Path) -> str:
    names = [*files.read_json(whole / files.MANIFEST), files.MANIFEST]
    found, wanted = content_of(folder), content_of(whole)
    wrong = [name for name in names if found.get(name) != wanted[name]]
    return f"differs: {', '.join(wrong)}" if wrong else ""


def check(promise: str, problems: Sequence[str]) -> None:
    """Record how many tries have no problem, and fail with those that have."""
    failed = [problem for problem in problems if problem]
    record(promise, len(problems), len(problems) - len(failed))
    assert not failed


@pytest.mark.nightly
def test_every_file_of_an_interrupted_run_flipped_cut_emptied_and_removed(
    folders: Folders, tmp_path: Path
) -> None:
    problems = []
    for source in folders.interrupted[1:]:
        for at, file in enumerate(files_in(source)):
            for name, change in CHANGES.items():
                shutil.copytree(source, tmp_path / "try" / "runs" / source.name)
                draw = Random(f"{SEED} {file.name} {name}")
                found = problem_of(folders, tmp_path / "try" / "runs", change, at, draw)
                problems.append(found and f"{name} {file.relative_to(source)}: {found}")
                shutil.rmtree(tmp_path / "try")
    assert len(problems) >= 100
    check(
        "Every file of an interrupted run flipped, cut, emptied or removed: the same command ends "
        "in the same bytes, or in one clear line",
        problems,
    )


def test_interrupted_runs_damaged_at_random(folders: Folders, tmp_path: Path) -> None:
    problems = []
    for number in range(n_tries(100)):
        draw = Random(f"{SEED} interrupted {number}")
        source = draw.choice(folders.interrupted)
        name, change = draw.choice(list((CHANGES | REPLACEMENTS).items()))
        at = draw.randrange(len(files_in(source)))
        shutil.copytree(source, tmp_path / "try" / "runs" / source.name)
        found = problem_of(folders, tmp_path / "try" / "runs", change, at, draw)
        problems.append(found and f"{number}: {name} {files_in(source)[at].name}: {found}")
        shutil.rmtree(tmp_path / "try")
    check(
        "Interrupted run folders damaged at random, with links, pipes and folders in place of "
        "files: the same command ends in the same bytes, or in one clear line; nothing outside is "
        "touched",
        problems,
    )


def test_complete_runs_damaged_at_random(folders: Folders, tmp_path: Path) -> None:
    """A damaged run is refused when it is read, or what is read is what the run wrote."""
    wanted, listed = read_result(folders.whole), files.read_json(folders.whole / files.MANIFEST)
    problems = []
    for number in range(n_tries(100)):
        draw = Random(f"{SEED} complete {number}")
        name, change = draw.choice(list((CHANGES | REPLACEMENTS).items()))
        folder, outside = tmp_path / "try" / folders.whole.name, tmp_path / "try" / "outside"
        shutil.copytree(folders.whole, folder)
        outside.mkdir()
        file = draw.choice(files_in(folder))
        change(file, draw, outside)
        same = all(
            not (folder / each).is_symlink()
            and (folder / each).is_file()
            and (folder / each).read_bytes() == (folders.whole / each).read_bytes()
            for each in (*listed, files.MANIFEST)
        )
        found = _read(folder, wanted, same=same)
        problems.append(found and f"{number}: {name} {file.relative_to(folder)}: {found}")
        shutil.rmtree(tmp_path / "try")
    check(
        "Complete run folders damaged at random: refused in clear lines, or read as written",
        problems,
    )


def _read(folder: Path, wanted: RunResult, *, same: bool) -> str:
    """The mistake in reading the result and the model; "" where there is none."""
    for read in (lambda: read_result(folder).metrics == wanted.metrics, lambda: load(folder).tasks):
        try:
            if not read():
                return "reads something else"
        except EncoreError as error:
            if any(str(folder) not in line for line in error.lines):
                return f"unclear: {error}"
        except Exception as error:
            return f"internal error: {type(error).__name__}: {error}"
        else:
            continue
    if not same:
        try:
            read_result(folder)
        except EncoreError:
            return ""
        return "damage that is not noticed"
    return ""
