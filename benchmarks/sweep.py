"""Two runs of a comparison at once, beside transformers' Trainer doing them one after the other.

    python benchmarks/sweep.py [--rounds 5] [--rows 8544] [--epochs 1] [--way "grouped by length"]
      [--json FILE]

The job: MiniLM on SST-5, batch 32, length 128, bf16, two seeds; accuracy on the dev set after every
epoch. Ours is `encore compare` as it is: two processes of one thread, each pinned to a core of its
own, with checkpoints, predictions, baselines and the table. Trainer gets both cores as two threads,
saves nothing and logs nothing; `--way` may be given several times, and the fastest one counts. Both
sides tokenize. Each side of each round is a process of its own on the same two cores, in an order
that is drawn anew every round; seconds are those of the clock, from after its imports to its end.
The ratio is taken inside each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.train_throughput import spread

OURS, SEEDS, MUST = "encore compare, two at once", (7, 8), 1.4
ROWS, DEV_ROWS = 8544, 1101


def ours(rows: int, epochs: int) -> tuple[float, list[float]]:
    """(seconds, accuracy of each seed)."""
    sst5.use_threads(1)
    from encore.experiments import comparison, preparation
    from encore.experiments.variants import study_from

    recipe = {
        "task": "sst5",
        "data": {"train_rows": rows, "dev_rows": dev_rows(rows), "seed": sst5.SEED},
        "pooling": "pooler",
        "max_length": sst5.MAX_LENGTH,
        "metrics": ["accuracy"],
        "precision": "bf16",
        "plan": {"epochs": epochs, "lr": sst5.LR, "batch_size": sst5.BATCH},
        "seeds": list(SEEDS),
    }
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        outcome = comparison.run_comparison(
            preparation.prepare_comparison(study_from(recipe)), Path(scratch)
        )
        seconds = time.perf_counter() - begun
    if outcome.failed:
        sys.exit("\n".join(outcome.failed))
    return seconds, outcome.results["studies"][0]["metrics"][0]["variants"][0]["values"]


def theirs(way: str, rows: int, epochs: int) -> tuple[float, list[float]]:
    """The same by transformers."""
    sst5.use_threads(2)

    how = {"train_rows": rows, "dev_rows": dev_rows(rows)}
    data, dev = (sst5.read(split, **how) for split in ("train", "dev"))
    begun, accuracy = time.perf_counter(), []
    for seed in SEEDS:
        one = sst5.trainer(data, way, "bf16", callbacks=[], epochs=epochs, seed=seed, dev=dev)
        one.train()
        accuracy.append(
            one.state.log_history[-1]["eval_accuracy"]
            if "eval_accuracy" in one.state.log_history[-1]
            else one.evaluate()["eval_accuracy"]
        )
    return time.perf_counter() - begun, accuracy


def dev_rows(rows: int) -> int:
    """Of a shorter job the same share."""
    return max(32, DEV_ROWS * rows // ROWS)


def segment(name: str, rows: int, epochs: int) -> dict[str, Any]:
    """One side once, in a process of its own: {"seconds": …, "accuracy": […]}."""
    command = [
        sys.executable,
        __file__,
        "--child",
        name,
        "--rows",
        str(rows),
        "--epochs",
        str(epochs),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def child(name: str, rows: int, epochs: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("this benchmark needs two cores.")
    os.sched_setaffinity(0, cores[:2])
    seconds, accuracy = ours(rows, epochs) if name == OURS else theirs(name, rows, epochs)
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))


def summarise(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    names = list(rounds[0])
    seconds = {name: spread([each[name]["seconds"] for each in rounds]) for name in names}
    best = min((name for name in names if name != OURS), key=lambda name: seconds[name]["median"])
    ratios = {
        name: spread([each[name]["seconds"] / each[OURS]["seconds"] for each in rounds])
        for name in names
        if name != OURS
    }
    accuracy = {
        name: statistics.mean(value for each in rounds for value in each[name]["accuracy"])
        for name in names
    }
    goal = {
        "against": f"hf bf16, {best}, two threads, one after the other",
        "must": MUST,
        **ratios[best],
        "met": ratios[best]["median"] >= MUST,
    }
    return {"seconds": seconds, "ratio": ratios, "accuracy": accuracy, "goals": [goal]}


def show(result: dict[str, Any]) -> None:
    print(
        f"{'two runs of ' + str(result['steps']) + ' steps':<42}{'seconds':>9}{'middle half':>15}"
        f"{'× ours':>20}{'accuracy':>10}"
    )
    for name, seconds in sorted(result["seconds"].items(), key=lambda item: -item[1]["median"]):
        ratio = result["ratio"].get(name)
        told = f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else ""
        label = name if name == OURS else f"hf bf16, {name}, one after the other"
        middle = f"{seconds['low']:.1f}–{seconds['high']:.1f}"
        print(
            f"{label:<42}{seconds['median']:>9.1f}{middle:>15}{told:>20}"
            f"{100 * result['accuracy'][name]:>9.1f}%"
        )
    for goal in result["goals"]:
        print(
            f"goal: against {goal['against']}: {goal['median']:.2f}× "
            f"({goal['low']:.2f}–{goal['high']:.2f}), must {goal['must']}×: "
            f"{'met' if goal['met'] else 'NOT MET'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="training rows of SST-5; the dev set is cut alike"
    )
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--way",
        action="append",
        choices=sst5.HF_WAYS,
        help="of transformers; grouped by length if not given, its fastest",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.rows, options.epochs)
        return 0
    names, order = [OURS, *(options.way or ["grouped by length"])], random.Random(sst5.SEED)
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(options.rounds):
        rounds.append({})
        for name in order.sample(names, len(names)):
            print(
                f"\rround {number + 1} of {options.rounds}: {name:<40}",
                end="",
                file=sys.stderr,
                flush=True,
            )
            rounds[-1][name] = segment(name, options.rows, options.epochs)
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    result = {
        "rows": options.rows,
        "steps": -(-options.rows // sst5.BATCH) * options.epochs,
        "rounds": rounds,
        **summarise(rounds),
    }
    show(result)
    return sst5.ended(result, options.json)


if __name__ == "__main__":
    sys.exit(main())
