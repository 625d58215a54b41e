"""A run killed at a file event - a file synced, renamed, removed - ends in the same bytes when its
command is given again.
"""

from __future__ import annotations

import signal
from pathlib import Path
from random import Random

from conftest import Tables, Warm
from counts import n_tries, record
from damage import content_of

from encore import files

SEED = 12
PROMISE = "A run killed at a file event: the same command ends in the same bytes"


def test_killed_at_file_events(warm: Warm, tables: Tables, tmp_path: Path) -> None:
    words = ["train", tables.train, "--dev", tables.dev, "--text", "text", "--label", "verdict"]
    words += [*tables.settings, "plan.keep=best", "plan.epochs=2", "--runs"]
    whole = warm.run([*words, tmp_path / "whole"], checkpoint_steps=3)
    assert whole.code == 0, whole.err
    (run,) = (tmp_path / "whole").iterdir()
    wanted = content_of(run)
    listed = [*files.read_json(run / files.MANIFEST), files.MANIFEST]
    n_kills, survived = n_tries(20, nightly="ENCORE_KILLS"), 0
    for number in range(n_kills):
        runs = tmp_path / str(number)
        at = Random(f"{SEED} {number}").randint(1, whole.n_operations)
        killed = warm.run([*words, runs], checkpoint_steps=3, die_at=at)
        assert killed.code == -signal.SIGKILL, killed.err
        again = warm.run([*words, runs], checkpoint_steps=3)
        found = content_of(runs / run.name)
        survived += again.code == 0 and all(found.get(name) == wanted[name] for name in listed)
    record(PROMISE, n_kills, survived)
    assert survived == n_kills
