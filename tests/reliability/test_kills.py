"""A run killed with SIGKILL, at a file event or at any time, ends in the same bytes when its
command is given again.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, listing

from reliability.counts import record

PROMISE = "A run killed with SIGKILL: the same command resumes it to the same bytes"


def kill_until_done(command: Command, runs: Path, draw: np.random.Generator) -> tuple[int, int]:
    """Start the command again and again until it gets through; (kills, how many of them left
    something half written).
    """
    kills = torn = 0
    while True:
        way = draw.integers(3)
        if way == 0:
            outcome = command.warm.wait(
                command.warm.start(command.arguments(runs), checkpoint_steps=2),
                kill_after=draw.uniform(0, command.whole.seconds),
            )
        elif way == 1:
            outcome = command.run(runs, die_at=int(draw.integers(1, command.whole.n_operations)))
        else:  # writing takes most of the time, so that is where it dies
            outcome = command.warm.wait(
                command.warm.start(command.arguments(runs), checkpoint_steps=2, slow=0.01),
                kill_after=draw.uniform(0.2, 2),
            )
        if outcome.code == 0:
            return kills, torn
        assert outcome.code == -signal.SIGKILL, outcome.err
        kills += 1
        folder = command.run_folder(runs)
        torn += any(
            ".part" in name or ".gone" in name or ".model.new" in name
            for name in (listing(folder) if folder.exists() else [])
        )


def kill_many(command: Command, runs: Path, n_kills: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    kills = torn = survived = 0
    try:
        while kills < n_kills:
            found = kill_until_done(command, runs, draw)
            kills, torn = kills + found[0], torn + found[1]
            command.assert_same(runs)
            survived = kills
            shutil.rmtree(runs)
    finally:
        record(PROMISE, kills, survived)
    assert torn >= n_kills // 5


def test_killed_ten_times_the_result_is_the_same(command: Command, tmp_path: Path) -> None:
    kill_many(command, tmp_path / "runs", 10, seed=3)


@pytest.mark.nightly
def test_killed_five_hundred_times_the_result_is_the_same(command: Command, tmp_path: Path) -> None:
    kill_many(command, tmp_path / "runs", 500, seed=4)


@pytest.mark.nightly
def test_killed_at_every_single_file_operation(command: Command, tmp_path: Path) -> None:
    survived = 0
    try:
        for number in range(1, command.whole.n_operations + 1):
            runs = tmp_path / str(number)
            assert command.run(runs, die_at=number).code == -signal.SIGKILL
            assert command.run(runs).code == 0
            command.assert_same(runs)
            survived += 1
            shutil.rmtree(runs)
    finally:
        record(PROMISE, command.whole.n_operations, survived)
