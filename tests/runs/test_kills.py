"""A comparison that is killed with SIGKILL, at whatever moment, in whichever process, ends in the
same bytes when its command is given again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Tables, Warm
from experiments.test_comparison import VERDICT, Whole, children, undisturbed, worker_of

from encore import files

RECIPE = (
    VERDICT
    + """\
plan: {{epochs: 1, lr: 1e-2, batch_size: 13}}
metrics: [accuracy]
seeds: [1, 2]
variants: {{cls: {{pooling: cls}}, max: {{pooling: max}}}}
"""
)
KILLS = 30


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((), id="plain"),
        pytest.param(("--race",), id="race", marks=pytest.mark.nightly),
    ],
)
def whole(
    request: pytest.FixtureRequest,
    warm: Warm,
    tables: Tables,
    tiny_encoder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Whole:
    folder = tmp_path_factory.mktemp("kills")
    return undisturbed(
        warm,
        folder / "poolings.yaml",
        RECIPE.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev),
        *request.param,
    )


def gone(pids: Sequence[int], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
            return True
        time.sleep(0.01)
    return False


def finish(whole: Whole, runs: Path) -> None:
    outcome = whole.again(runs)
    assert outcome.code == 0, outcome.err
    whole.assert_same(runs)
    left = [path for path in runs.rglob(".*") if path.suffix in (".part", ".gone", ".new")]
    assert not left, "what killed processes left behind is swept away"


def test_killed_again_and_again_it_goes_on_and_takes_its_processes_along(
    whole: Whole, tmp_path: Path
) -> None:
    """The process that was started: at its first file, in the middle of the runs, and before its
    last.
    """
    killed = whole.warm.run(whole.arguments(tmp_path), die_at=2)
    assert killed.code == -9
    job = whole.warm.start(whole.arguments(tmp_path), slow=0.01)
    workers = [worker_of(job), *children(job)]
    time.sleep(0.3)
    os.kill(job, signal.SIGKILL)
    assert whole.warm.wait(job).code == -9
    assert gone(workers)
    assert not list(tmp_path.glob("compare-*/manifest.json"))
    last = whole.outcome.n_operations - 1
    n_before = len([run for run in tmp_path.glob("verdict-*") if (run / files.MANIFEST).exists()])
    assert n_before < len(list(whole.runs.glob("verdict-*")))
    killed = whole.warm.run(
        whole.arguments(tmp_path), die_at=last - 3 * n_before
    )  # each run that ends is one file, three operations
    assert killed.code == -9
    finish(whole, tmp_path)


@pytest.mark.parametrize("at", [9, pytest.param(25, marks=pytest.mark.nightly)])
def test_a_killed_process_is_started_again(whole: Whole, tmp_path: Path, at: int) -> None:
    """The comparison does not even stop."""
    outcome = whole.warm.run(
        whole.arguments(tmp_path / "runs"), die_at=at, die_in=str(tmp_path / "worker")
    )
    assert (outcome.code, (tmp_path / "worker").exists()) == (0, True), outcome.err
    whole.assert_same(tmp_path / "runs")


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(KILLS))
def test_whenever_it_is_killed(whole: Whole, tmp_path: Path, number: int) -> None:
    """A third at an operation of the parent that makes a file appear, a third at one of a process
    that computes, a third at any time; then twice more.
    """
    draw = np.random.default_rng(number)
    runs, own = tmp_path / "runs", whole.outcome.n_operations
    for attempt in range(3):
        kind = (number + attempt) % 3
        if kind == 0:
            outcome = whole.warm.run(whole.arguments(runs), die_at=int(draw.integers(1, own)))
        elif kind == 1:
            outcome = whole.warm.run(
                whole.arguments(runs),
                die_at=int(draw.integers(1, 60)),
                die_in=str(tmp_path / f"worker-{attempt}"),
            )
        else:
            outcome = whole.warm.run(
                whole.arguments(runs),
                kill_after=float(draw.uniform(0, 1.2 * whole.outcome.seconds)),
            )
        assert outcome.code in (-9, 0), outcome.err
    finish(whole, runs)
