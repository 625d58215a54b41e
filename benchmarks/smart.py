"""A step with SMART beside a plain step: the same batches of SST-5, alternately.

    python benchmarks/smart.py [--batches 6] [--json FILE]    MiniLM, batches of 32 rows, one thread

In fp32 both steps have one precision; with bf16 the ascent of SMART, whose noise would vanish in
bf16, is computed in fp32. Each batch is trained on by both in turn; ratios are taken within a pair,
and their median is reported.
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

GOALS = {"fp32": 2.65, "bf16": 3.1}
_BATCH, _WARM_UP = 32, 2


class _Trained:
    """A model in training, with or without SMART beside its loss."""

    def __init__(self, precision: str, *, with_smart: bool) -> None:
        from encore import catalogue
        from encore.encoder import load
        from encore.model.assembly import TaskSpec, assemble
        from encore.model.parameters import unique_parameters
        from encore.training import optimiser
        from encore.types import LabelSpace, Phase

        labels = LabelSpace("multiclass", ("1", "2", "3", "4", "5"))
        pretrained = load.load_encoder(load.locate("minilm"))
        pretrained.encoder.dtype = sst5.precision_dtype(precision)
        part = TaskSpec(labels, {"name": "mean"}, {"name": "linear"}, {"name": "cross"})
        models = assemble({"sst5": part}, "one", pretrained.encoder, pretrained.shape, seed=1)
        self.model = models["sst5"].train()
        self.losses = {"task": (1.0, catalogue.build("losses", "cross_entropy", labels))}
        if with_smart:
            self.losses["smart"] = (1.0, catalogue.build("losses", "smart", labels))
        phase = Phase(("sst5",), epochs=1, lr=sst5.LR, batch_size=_BATCH)
        self.optimiser = optimiser.adamw(unique_parameters(models), phase)

    def seconds(self, batch: Any, step: int) -> float:
        """Processor seconds of one step: on one thread, time in which nothing else ran."""
        from encore.training.step import StepInput, take_step

        begun = time.process_time()
        part = StepInput(self.model, [batch], self.losses)
        take_step([part], self.optimiser, seed=1, step=step, clip_norm=1.0)
        return time.process_time() - begun


def batches(n: int) -> list[Any]:
    """The first `n` batches, in a random order of the rows."""
    import torch

    from encore.data.batches import collate
    from encore.types import Batch

    data = sst5.read()
    store = sst5.tokenized(data)
    order = np.random.default_rng(1).permutation(len(store))
    found = []
    for start in range(0, n * _BATCH, _BATCH):
        rows = np.sort(order[start : start + _BATCH])
        targets = torch.from_numpy(data.labels[rows])
        found.append(
            Batch("sst5", "sst5", rows, collate(store, rows), targets, torch.ones(len(rows)))
        )
    return found


def measured(n_batches: int) -> dict[str, Any]:
    """Processor seconds of a step and the ratios, for each precision."""
    found: dict[str, Any] = {"batch": _BATCH, "batches": n_batches, "goals": GOALS}
    rows = batches(n_batches + _WARM_UP)
    for precision in GOALS:
        pair = [_Trained(precision, with_smart=which) for which in (False, True)]
        seconds = [[one.seconds(batch, at) for one in pair] for at, batch in enumerate(rows, 1)]
        counted = seconds[_WARM_UP:]
        plain, smart = (statistics.median(column) for column in zip(*counted, strict=True))
        ratio = statistics.median(with_it / without for without, with_it in counted)
        found[precision] = {"plain": plain, "smart": smart, "ratio": ratio}
    return found


def table(found: dict[str, Any]) -> str:
    lines = [
        f"MiniLM, batches of {found['batch']} rows, one thread, median of {found['batches']} pairs",
        "precision   plain step   with SMART   ratio   goal",
    ]
    for precision, goal in found["goals"].items():
        one = found[precision]
        lines.append(
            f"{precision:9}   {one['plain']:8.3f} s   {one['smart']:8.3f} s   "
            f"{one['ratio']:5.2f}   {goal:4.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sst5.use_threads(1)
    found = measured(given.batches)
    print(table(found))
    if given.json:
        write_figures(found, given.json, indent=2)


if __name__ == "__main__":
    main()
