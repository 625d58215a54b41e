"""Several tasks on one encoder: what a training step costs with one, three and nine tasks, and what
asking three at once costs beside asking one.

    python benchmarks/multitask.py [--rows 480] [--json FILE]           MiniLM, batches of 16 rows,
      bf16, one thread

The rows are always the same SST-5 sentences, shared out among the tasks, so the tokens of an epoch
are the same whatever the number of tasks, and so should be the time: it grows with the tokens and
not with the tasks. Figures are medians over alternating rounds, and each ratio is taken within a
round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.record import write_figures

TASKS = (1, 3, 9)
GOALS = {"step, 9 tasks beside 1": 1.15, "asked for 3 tasks beside 1": 1.15}
_BATCH, _ROUNDS = 16, 5


def models_and_streams(n_tasks: int, n_rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tasks t0, t1, … of five classes each on one encoder, and their equal shares of the rows."""
    from encore import catalogue
    from encore.encoder import load
    from encore.model.assembly import TaskSpec, assemble
    from encore.training.streams import Rows, Stream
    from encore.types import LabelSpace

    data = sst5.read()
    store, labels = sst5.tokenized(data), LabelSpace("multiclass", ("1", "2", "3", "4", "5"))
    pretrained = load.load_encoder(load.locate("minilm"))
    pretrained.encoder.dtype = sst5.precision_dtype("bf16")
    part = TaskSpec(labels, {"name": "mean"}, {"name": "linear"}, {"name": "cross"})
    names = [f"t{number}" for number in range(n_tasks)]
    models = assemble(
        dict.fromkeys(names, part), "one", pretrained.encoder, pretrained.shape, seed=1
    )
    streams = {}
    for number, name in enumerate(names):
        rows = np.arange(number, n_rows, n_tasks)
        own = Rows(
            store.take(rows), data.labels[rows], "sst5", rows, np.ones(len(rows), np.float32)
        )
        streams[name] = Stream(
            name,
            labels,
            own,
            {},
            (),
            {"task": (1.0, catalogue.build("losses", "cross_entropy", labels))},
        )
    return models, streams


def training_seconds(n_tasks: int, n_rows: int) -> tuple[float, int, int]:
    """Seconds of one epoch of steps after the first two, with the steps and tokens that they
    were.
    """
    from encore import catalogue
    from encore.techniques.curves.constant import ConstantCurve
    from encore.training.loop import TrainSettings, train_loop
    from encore.training.reports import StepReport
    from encore.types import Phase

    models, streams = models_and_streams(n_tasks, n_rows)
    phase = Phase(tuple(streams), epochs=1, lr=2e-5, batch_size=_BATCH, curve=ConstantCurve())
    seconds, steps, tokens, begun = 0.0, 0, 0, time.perf_counter()
    for number, report in enumerate(
        train_loop(
            models,
            [phase],
            streams,
            TrainSettings(seed=1, mixing=catalogue.build("mixing", "even")),
        )
    ):
        now = time.perf_counter()
        if isinstance(report, StepReport) and number >= 2:
            seconds, steps, tokens = seconds + now - begun, steps + 1, tokens + report.n_tokens
        begun = now
    return seconds, steps, tokens


def asking(n_rows: int) -> dict[str, float]:
    """Seconds to score all rows for the first of three tasks, and for all three at once."""
    from encore.training.scoring import score_together

    models, streams = models_and_streams(3, 3 * n_rows)
    rows = streams["t0"].train
    found: dict[str, list[float]] = {"one": [], "three": []}
    for _ in range(_ROUNDS):
        for what, chosen in (("one", {"t0": models["t0"]}), ("three", models)):
            begun = time.perf_counter()
            score_together(chosen, rows, dict.fromkeys(chosen, 5))
            found[what].append(time.perf_counter() - begun)
    ratio = statistics.median(
        three / one for one, three in zip(found["one"], found["three"], strict=True)
    )
    return {
        "one": statistics.median(found["one"]),
        "three": statistics.median(found["three"]),
        "ratio": ratio,
    }


def measured(n_rows: int) -> dict[str, Any]:
    per_token: dict[int, list[float]] = {n: [] for n in TASKS}
    steps = {}
    for _ in range(_ROUNDS):
        for n in TASKS:
            seconds, steps[n], tokens = training_seconds(n, n_rows)
            per_token[n].append(seconds / tokens)
    training = {
        n: {
            "steps": steps[n],
            "microseconds_per_token": 1e6 * statistics.median(found),
            "ratio": statistics.median(
                mine / one for mine, one in zip(found, per_token[1], strict=True)
            ),
        }
        for n, found in per_token.items()
    }
    asked = asking(n_rows)
    ratios = {
        "step, 9 tasks beside 1": training[9]["ratio"],
        "asked for 3 tasks beside 1": asked["ratio"],
    }
    return {
        "rows": n_rows,
        "batch": _BATCH,
        "rounds": _ROUNDS,
        "training": training,
        "asking": asked,
        "ratios": ratios,
        "goals": GOALS,
    }


def table(found: dict[str, Any]) -> str:
    lines = [
        f"MiniLM, bf16, one thread, {found['rows']} rows, batches of {found['batch']}, median "
        f"of {found['rounds']} rounds",
        "training         steps   µs per token   beside one task",
    ]
    lines += [
        f"{n} task{'s' if n > 1 else ' '}         {one['steps']:6d}   "
        f"{one['microseconds_per_token']:12.1f}   {one['ratio']:15.2f}"
        for n, one in found["training"].items()
    ]
    asked = found["asking"]
    lines += [
        f"asking           1 task {asked['one']:.2f} s   3 tasks {asked['three']:.2f} s   "
        f"ratio {asked['ratio']:.2f}"
    ]
    lines += [
        f"{name}: {ratio:.2f}, goal at most {found['goals'][name]}"
        for name, ratio in found["ratios"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=480)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sst5.use_threads(1)
    found = measured(given.rows)
    print(table(found))
    if given.json:
        write_figures(found, given.json, indent=2)


if __name__ == "__main__":
    main()
