"""A run that is killed at any moment, or whose checkpoint is damaged, ends in the same bytes as one
that was left alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Tables, listing

from encore import files
from encore.runs.execute import execute
from encore.runs.folder import read_scores
from encore.runs.predict import load
from encore.runs.prepared import Prepared
from encore.training.reports import EvalReport, StepReport


def test_the_log_of_steps_is_opened_only_to_grow(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two checkpoints at one step, the second at the end of its epoch: the lines of the first are
    not to be touched again.
    """
    sizes, fsync = [], os.fsync

    def watched(number: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        if path.name == "steps.jsonl":
            sizes.append(path.stat().st_size)
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    execute(tables.prepared("plan.epochs=2"), tmp_path, checkpoint_steps=2)
    assert len(sizes) > 4
    assert all(one < other for one, other in itertools.pairwise(sizes))


# ----------------------------------------------------------------------------- damage and leftovers


class Stop(Exception):
    """Raised by a watcher: what stops a run from the inside, at a moment of the test's choosing."""


def train(
    prepared: Prepared, runs: Path, *, until: int | None = None, checkpoint_steps: int | None = 4
) -> list[int]:
    """Train up to step `until`, or to the end; the steps that were done."""
    steps: list[int] = []

    def watch(report: StepReport | EvalReport) -> None:
        if isinstance(report, StepReport):
            steps.append(report.step)
            if report.step == until:
                raise Stop

    with contextlib.suppress(Stop):
        execute(prepared, runs, watch=watch, checkpoint_steps=checkpoint_steps)
    return steps


@pytest.fixture(scope="module")
def prepared(tables: Tables) -> Prepared:
    return tables.prepared("plan.keep=best")


@pytest.fixture(scope="module")
def whole(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed and that saved no checkpoint but those of its
    epochs.
    """
    runs = tmp_path_factory.mktemp("undisturbed")
    assert train(prepared, runs, checkpoint_steps=None) == list(range(1, 19))
    return runs / prepared.name


def assert_same(folder: Path, whole: Path) -> None:
    assert listing(folder) == listing(whole)
    names = [*files.read_json(whole / files.MANIFEST), files.MANIFEST]
    assert len(names) == 15
    assert not [
        name for name in names if (folder / name).read_bytes() != (whole / name).read_bytes()
    ]


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


@pytest.mark.parametrize("until", [1, 4, 5, 6, 7, 12, 13, 17, 18])
def test_stopped_at_a_step_goes_on_from_the_last_checkpoint(
    until: int, prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    train(prepared, tmp_path, until=until)
    saved = max(
        step for step in (0, 4, 6, 10, 12, 16) if step < until
    )  # every 4 steps, counted from the last; an epoch has 6
    assert train(prepared, tmp_path) == list(range(saved + 1, 19))
    assert_same(tmp_path / prepared.name, whole)


def test_a_frozen_encoder_is_computed_again_to_the_same_bits(
    tables: Tables, tmp_path: Path
) -> None:
    prepared = tables.prepared("plan.freeze_encoder=true")
    train(prepared, tmp_path / "whole", checkpoint_steps=None)
    train(prepared, tmp_path / "stopped", until=9)
    assert train(prepared, tmp_path / "stopped") == list(range(7, 19))
    assert_same(tmp_path / "stopped" / prepared.name, tmp_path / "whole" / prepared.name)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit in the tensors": lambda saved: flip(saved / "tensors.safetensors"),
    "cut tensors": lambda saved: os.truncate(saved / "tensors.safetensors", 1000),
    "no manifest": lambda saved: (saved / files.MANIFEST).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_checkpoint_a_run_starts_again(
    damage: str, prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    train(prepared, tmp_path, until=5)
    folder = tmp_path / prepared.name
    assert checkpoints(folder) == ["step-000000004-epoch-00000"]
    DAMAGES[damage](folder / "checkpoint" / "step-000000004-epoch-00000")
    # Stopped again at the same step: a whole checkpoint has taken the place of the damaged one.
    assert train(prepared, tmp_path, until=5) == list(range(1, 6))
    assert checkpoints(folder) == ["step-000000004-epoch-00000"]
    assert train(prepared, tmp_path) == list(range(5, 19))
    assert_same(folder, whole)


def test_beside_a_damaged_checkpoint_the_older_one_serves(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / prepared.name
    train(prepared, tmp_path, until=5)
    shutil.copytree(folder / "checkpoint" / "step-000000004-epoch-00000", tmp_path / "older")
    train(prepared, tmp_path, until=11)
    shutil.move(
        tmp_path / "older", folder / "checkpoint" / "step-000000004-epoch-00000"
    )  # as if killed before it was removed
    flip(folder / "checkpoint" / "step-000000010-epoch-00001" / "tensors.safetensors")
    assert train(prepared, tmp_path) == list(range(5, 19))
    assert_same(folder, whole)


def test_of_two_whole_checkpoints_the_newer_one_serves(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / prepared.name
    train(prepared, tmp_path, until=5)
    shutil.copytree(folder / "checkpoint", tmp_path / "older")
    train(prepared, tmp_path, until=11)
    shutil.copytree(tmp_path / "older", folder / "checkpoint", dirs_exist_ok=True)
    assert train(prepared, tmp_path) == list(range(11, 19))
    assert_same(folder, whole)


def test_what_killed_processes_leave_is_removed_and_nothing_else(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    train(prepared, tmp_path, until=8)
    folder = tmp_path / prepared.name
    left = [
        ".results.json.abc.part",
        "predictions/train/.dev-1.parquet.abc.part",
        "checkpoint/.step-000000002-epoch-00000.gone/tensors.safetensors",
    ]
    left += [
        ".model.new/weights.safetensors",
        ".model.new.abc.part/weights.safetensors",
        ".model.gone/weights.safetensors",
    ]
    left += ["checkpoint/.step-000000009-epoch-00001.x.part/state.json"]
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half")
    (folder / ".mine").write_text("a file of the user")
    train(prepared, tmp_path)
    assert (folder / ".mine").read_text() == "a file of the user"
    (folder / ".mine").unlink()
    assert_same(folder, whole)


def test_begun_without_keeping_weights_and_gone_on_with_it_has_them(
    tables: Tables, tmp_path: Path
) -> None:
    """Those of the best epoch are gone where it was over before anybody wanted them: then training
    starts again.
    """
    one = tables.prepared("plan.keep=best", "plan.epochs=7", "plan.lr=5e-3")
    best = execute(one, tmp_path / "whole", keep_model=False).epoch
    assert best < 6

    def watch(report: StepReport | EvalReport) -> None:
        if isinstance(report, StepReport) and report.epoch == best + 2:
            raise Stop

    with contextlib.suppress(Stop):
        execute(one, tmp_path / "begun", watch=watch, checkpoint_steps=1, keep_model=False)
    result = execute(one, tmp_path / "begun")
    assert (result.epoch, result.epochs) == (best, 7)
    model = load(result.folder)
    np.testing.assert_allclose(
        model.scores(model.read(tables.dev)),
        read_scores(result.folder, "train", "dev", best),
        atol=1e-6,
    )


def test_step_log_of_an_interrupted_run_is_cut_back_to_the_checkpoint(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    train(prepared, tmp_path, until=11)
    folder = tmp_path / prepared.name
    with (folder / "steps.jsonl").open(
        "ab"
    ) as file:  # appended, and killed before the checkpoint that would have counted it
        file.write(b'{"step": 11, "epoch": 2}\n{"step": 12, "ep')
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 2}\n')
    train(prepared, tmp_path)
    assert_same(folder, whole)


def test_killed_after_its_manifest_a_run_is_complete_and_clears_up(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / prepared.name
    shutil.copytree(whole, folder)
    for left in (
        "checkpoint/step-000000018-epoch-00003",
        ".checkpoint.gone/step-000000018-epoch-00003",
    ):
        (folder / left).mkdir(parents=True)
        (folder / left / "tensors.safetensors").write_bytes(b"half")
        assert train(prepared, tmp_path) == []
        assert_same(folder, whole)


# ----------------------------------------------------------------------------------- real processes


def start(
    *arguments: str | Path, program: Sequence[str] = ("-m", "encore")
) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    line = [sys.executable, *program, *map(str, arguments)]
    return subprocess.Popen(
        line,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 300
) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGKILL, marks=pytest.mark.nightly, id="kill"), signal.SIGINT],
    ids=lambda number: "int",
)
def test_the_real_command_stopped_by_a_signal_is_resumed_by_the_same_command(
    number: int, command: Command, tmp_path: Path
) -> None:
    process = start(*command.arguments(tmp_path))
    checkpoint = command.run_folder(tmp_path) / "checkpoint"
    wait_for(lambda: any(checkpoint.glob("step-*")), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in err
        assert err.splitlines()[-1].endswith(
            f"to resume: {shlex.join(['encore', *map(str, command.arguments(tmp_path))])}"
        )
    else:
        assert process.returncode == -number
    assert not (command.run_folder(tmp_path) / files.MANIFEST).exists()
    again = command.run(tmp_path)
    assert again.code == 0
    assert "epoch 3/3" in again.err
    assert "epoch 1/3" not in again.err
    command.assert_same(tmp_path)


INTERRUPT_AT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv[0] = "encore"
{program}
"""


@pytest.mark.parametrize(
    ("module", "program"),
    [
        ("typer", "import runpy; runpy.run_module('encore', run_name='__main__')"),
        ("typer", "from {0} import {1}; sys.exit({1}())"),
        ("torch", "import runpy; runpy.run_module('encore', run_name='__main__')"),
        ("pyarrow", "from {0} import {1}; sys.exit({1}())"),
    ],
)
def test_interrupted_while_modules_are_imported(
    module: str, program: str, command: Command, tmp_path: Path
) -> None:
    project = tomllib.loads(
        (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    )
    program = program.format(*project["project"]["scripts"]["encore"].split(":"))
    process = start(
        *command.arguments(tmp_path),
        program=("-c", INTERRUPT_AT_IMPORT.format(module=module, program=program)),
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert not out
    assert err.strip().startswith("interrupted")
    assert len(err.strip().splitlines()) == 1
    if module != "typer":
        assert err.strip().endswith(
            f"to resume: {shlex.join(['encore', *map(str, command.arguments(tmp_path))])}"
        )
