"""Time of predicting with an ensemble of five members, as a multiple of one of them, interleaved.

    python benchmarks/ensemble.py [--rounds 7] [--rows 256] [--run RUN] [--json FILE]

The members are five models of one run, each with weights of its own in memory (a matrix product
takes as long whatever it multiplies). The run is of MiniLM's shape; without --run it is trained on
64 rows. Both predict the same texts from strings to labels on one thread, in an order that is drawn
anew in each round, after one that is not counted. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.predict import drawn
from benchmarks.record import write_figures

MEMBERS, MOST = 5, 4.2
SETS = {
    "short": "sst2/train.parquet",
    "middle": "cs224n_sst5/dev.parquet",
}


def trained(folder: Path) -> Path:
    """A run of MiniLM on a few rows, found or made."""
    import encore

    settings = ("data.train_rows=64", "data.dev_rows=16", "plan.epochs=1")
    return encore.fit("sst5", "encoder=minilm", *settings, runs=folder).folder


def main() -> None:
    """Measure, print a line for each set of texts, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    import torch

    from encore.evaluation.ensembles import Mixture
    from encore.runs.ensemble_model import Ensemble, EnsembleTask
    from encore.runs.predict import load

    torch.set_num_threads(1)
    run = given.run or trained(Path("runs/ensemble"))
    first = load(run)
    members = tuple(replace(load(run), tokenizer=first.tokenizer) for _ in range(MEMBERS))
    task = first.task()
    combined = EnsembleTask(
        task.name,
        task.labels,
        task.columns,
        task.normalise,
        task.metrics,
        Mixture(tuple(range(MEMBERS))),
        tuple(one.task() for one in members),
    )
    ensemble = Ensemble(run, members, {task.name: combined}, first.seed)
    found = {}
    for name, file in SETS.items():
        texts = drawn(file, given.rows)
        seconds: dict[str, list[float]] = {"one": [], "five": []}
        for number in range(given.rounds + 1):
            for who in random.Random(number).sample(sorted(seconds), 2):
                started = time.process_time()
                (first if who == "one" else ensemble).predict(texts)
                if number:
                    seconds[who].append(time.process_time() - started)
        ratios = [five / one for one, five in zip(seconds["one"], seconds["five"], strict=True)]
        found[name] = {
            "rows": len(texts),
            "one": statistics.median(seconds["one"]),
            "five": statistics.median(seconds["five"]),
            "ratio": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        }
        print(
            f"{name}: {found[name]['ratio']:.2f} times one member ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), the goal is {MOST}"
        )
    if given.json:
        write_figures({"members": MEMBERS, "most": MOST, "sets": found}, given.json)


if __name__ == "__main__":
    main()
