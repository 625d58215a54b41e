"""One run on two cores: two threads, and two processes that share each batch, beside one thread.

    python benchmarks/shares.py [--rounds 3] [--busy] [--json FILE]    steps of 32 rows in bf16:
      short texts (CoLA), middle ones (SST-5), and SST-5 with random weights of BERT-base's shape

The ways take turns, some steps each, in one process; the time is the wall's, and a ratio is that of
two turns of one round. --busy: a second process keeps one core busy all the time.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.adapters import encoder_folder
from benchmarks.record import write_figures

WAYS: dict[str, dict[str, int]] = {
    "one thread": {"threads": 1},
    "two threads": {"threads": 2},
    "two processes": {"shares": 2},
}
CASES = {  # task, steps of a turn, goal
    "short": ("cola", 60, 1.55),
    "middle": ("sst5", 30, 1.68),
    "BERT-base's shape": ("sst5", 6, 1.75),
}
BUSY_GOAL = 0.95
_FIRST = 2  # steps that are not counted


def seconds_of_a_step(encoder: str, task: str, n_steps: int, way: str) -> float:
    """The mean seconds of a step of a turn."""
    import torch

    from encore.recipe.load import recipe_from
    from encore.runs.prepare import build_models, prepare
    from encore.training.loop import train_loop

    rows = {"train_rows": 32 * (n_steps + _FIRST), "dev_rows": 40}
    plan = {"epochs": 1, "lr": 1e-4, "batch_size": 32}
    recipe = {"encoder": encoder, "precision": "bf16", "task": task, "data": rows, "plan": plan}
    run = prepare(recipe_from({**recipe, **WAYS[way]}))
    models = build_models(run)
    torch.set_num_threads(run.threads)
    reports = train_loop(models, run.plan, run.streams, run.settings)
    for _ in range(_FIRST):
        next(reports)
    begun = time.perf_counter()
    for _ in range(n_steps):
        next(reports)
    found = (time.perf_counter() - begun) / n_steps
    reports.close()  # type: ignore[attr-defined]
    return found


@contextlib.contextmanager
def a_busy_core(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


def measured(rounds: int, *, busy: bool) -> dict[str, Any]:
    """The median seconds of a step, and the median ratio to one thread's."""
    found: dict[str, Any] = {"rounds": rounds, "busy": busy, "goal when busy": BUSY_GOAL}
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, a_busy_core(busy):
        shape = encoder_folder(Path(place) / "bert")
        for case, (task, n_steps, goal) in CASES.items():
            encoder = shape if case.startswith("BERT") else "minilm"
            turns = [
                {way: seconds_of_a_step(encoder, task, n_steps, way) for way in WAYS}
                for _ in range(rounds)
            ]
            ways = {
                way: {
                    "seconds": statistics.median(turn[way] for turn in turns),
                    "times": statistics.median(turn["one thread"] / turn[way] for turn in turns),
                }
                for way in WAYS
            }
            cases[case] = {"task": task, "steps": n_steps, "goal": goal, "ways": ways}
    return {**found, "cases": cases}


def table(found: dict[str, Any]) -> str:
    lines = [f"{'case':18} {'way':14} step s  times one thread"]
    for case, one in found["cases"].items():
        for way, figures in one["ways"].items():
            lines.append(f"{case:18} {way:14} {figures['seconds']:6.3f}  {figures['times']:.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sst5.use_threads(1)
    found = measured(given.rounds, busy=given.busy)
    print(table(found))
    if given.json:
        write_figures(found, given.json)


if __name__ == "__main__":
    main()
