"""An epoch with the encoder frozen: the first, in which the encoder is asked about every row,
beside the ones after it, which take what it said from memory.

    python benchmarks/frozen.py [--rounds 5] [--rows 2048] [--task rte] [--only mha] [--json FILE]

MiniLM, batch 32, length 128, one thread, `plan.freeze_encoder`, with the dev set's figures after
each epoch on both sides of the ratio. In each round every pooling trains four epochs, in an order
that is drawn anew; the ratio is the first epoch over the median of the others, inside each round.
Seconds are those of the clock.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.train_throughput import spread

EPOCHS, DEV_SHARE = 4, 8
GOALS = dict.fromkeys(("cls", "mean", "max"), 100.0)
GOALS |= dict.fromkeys(("attention", "mha", "max_seq_mha", "mean_seq_mha", "norm_seq_mha"), 15.0)


def epochs(task: str, rows: int, pooling: str, cache: Any) -> list[float]:
    """Seconds of each epoch, the evaluation at its end included."""
    from encore import catalogue
    from encore.recipe.load import recipe_from
    from encore.runs.prepare import build_models, prepare
    from encore.training.loop import TrainSettings, train_loop
    from encore.training.reports import EvalReport

    recipe = recipe_from(
        {
            "task": task,
            "data": {"train_rows": rows, "dev_rows": max(1, rows // DEV_SHARE)},
            "pooling": pooling,
            "max_length": sst5.MAX_LENGTH,
            "threads": 1,
            "plan": {
                "epochs": EPOCHS,
                "lr": 5e-5,
                "batch_size": sst5.BATCH,
                "freeze_encoder": True,
            },
        }
    )
    prepared = prepare(recipe, cache)
    models = build_models(prepared)
    found, begun = [], time.perf_counter()
    for report in train_loop(
        models,
        prepared.plan,
        prepared.streams,
        TrainSettings(seed=recipe.seed, mixing=catalogue.build("mixing", "even")),
    ):
        if isinstance(report, EvalReport):
            found.append(time.perf_counter() - begun)
            begun = time.perf_counter()
    return found


def summarise(rounds: list[dict[str, list[float]]]) -> dict[str, Any]:
    poolings: dict[str, dict[str, Any]] = {}
    for name in rounds[0]:
        later = [statistics.median(each[name][1:]) for each in rounds]
        ratio = spread([each[name][0] / after for each, after in zip(rounds, later, strict=True)])
        poolings[name] = {
            "first_seconds": statistics.median(each[name][0] for each in rounds),
            "later_seconds": statistics.median(later),
            "ratio": ratio,
        }
    goals = [
        {
            "against": f"the first epoch, {name}",
            "must": GOALS[name],
            **found["ratio"],
            "met": found["ratio"]["median"] >= GOALS[name],
        }
        for name, found in poolings.items()
        if name in GOALS
    ]
    return {"poolings": poolings, "goals": goals}


def show(result: dict[str, Any]) -> None:
    print(f"{'pooling':<16}{'first epoch, s':>16}{'later ones, s':>16}{'ratio':>22}{'must':>7}")
    for name, found in result["poolings"].items():
        ratio = found["ratio"]
        must = f"{GOALS[name]:.0f}" if name in GOALS else ""
        told = f"{ratio['median']:.0f} ({ratio['low']:.0f}–{ratio['high']:.0f})"
        missed = "  NOT MET" if name in GOALS and ratio["median"] < GOALS[name] else ""
        print(
            f"{name:<16}{found['first_seconds']:>16.2f}{found['later_seconds']:>16.4f}{told:>22}{must:>7}{missed}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--task", default="rte")
    parser.add_argument("--only", action="append", default=[], choices=GOALS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    sst5.use_threads(1)
    from encore.runs.cache import Cache

    names, order, cache = options.only or list(GOALS), random.Random(sst5.SEED), Cache()
    epochs(
        options.task, min(options.rows, 64), names[0], cache
    )  # what is imported and compiled on the way is not counted
    rounds: list[dict[str, list[float]]] = []
    for number in range(options.rounds):
        rounds.append({})
        for name in order.sample(names, len(names)):
            print(
                f"\rround {number + 1} of {options.rounds}: {name:<30}",
                end="",
                file=sys.stderr,
                flush=True,
            )
            rounds[-1][name] = epochs(options.task, options.rows, name, cache)
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    ordered = [{name: each[name] for name in names} for each in rounds]
    result = {"task": options.task, "rows": options.rows, "rounds": ordered, **summarise(ordered)}
    show(result)
    return sst5.ended(result, options.json)


if __name__ == "__main__":
    sys.exit(main())
