"""Real tokens per second while training, beside transformers' Trainer, in one interleaved run.

    python benchmarks/train_throughput.py [--rounds 7] [--steps 8] [--json FILE]

Every variant trains in this one process and on one thread; each gets `--steps` steps at a time, in
an order that is drawn anew every round, so that a busy machine hits all alike. Variants padded to
128 get a quarter of the steps: each of theirs takes four times as long. `Trainer.train()` runs as
it is, in a thread of its own that a callback holds between its segments: same objects, same
prefetching, nothing rebuilt. The first segment of each variant warms up and is not counted. In
between, the rate of one large matrix product is taken, which is what this machine can do at most.
Seconds are those of the processor, which on an idle machine are those of the clock (everything here
runs on one thread) and on a busy one leave out the waiting for others; `--clock wall` takes the
clock's.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5

CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}
Segment = Callable[[int], int]  # train so many steps → real tokens
GOALS = (
    ("hf bf16, dynamic padding", 1.9, 2.2),
    ("the best of hf", 0.94, 1.1),
    ("hf fp32, padded to 128", 10.0, 12.5),
)


class HeldTrainer:
    """A Trainer that runs its own loop and stands still between segments. make: callbacks → the
    Trainer.
    """

    def __init__(self, make: Callable[[list[Any]], Any]) -> None:
        from transformers import TrainerCallback

        self.granted = 0
        self.tokens = 0
        self.leaving = False
        self.failure: BaseException | None = None
        self.turn = threading.Condition()
        held = self

        class Hold(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
                with held.turn:
                    held.granted -= 1
                    if held.granted == 0:
                        held.turn.notify_all()
                        held.turn.wait_for(lambda: held.granted > 0 or held.leaving)
                control.should_training_stop = held.leaving
                return control

        self.trainer = make([Hold()])
        self.trainer.model.register_forward_pre_hook(self._count, with_kwargs=True)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _count(self, module: Any, args: Any, kwargs: Any) -> None:
        self.tokens += int(kwargs["attention_mask"].sum())

    def _run(self) -> None:
        try:
            self.trainer.train()
        except BaseException as error:
            self.failure = error
        with self.turn:
            self.granted = 0
            self.turn.notify_all()

    def segment(self, steps: int) -> int:
        self.tokens = 0
        with self.turn:
            self.granted = steps
            if self.thread.ident is None:
                self.thread.start()
            else:
                self.turn.notify_all()
            self.turn.wait_for(lambda: self.granted == 0)
        if self.failure is not None:
            raise self.failure
        return self.tokens

    def leave(self) -> None:
        with self.turn:
            self.leaving = True
            self.turn.notify_all()
        self.thread.join()


def _trainer(data: sst5.Texts, way: str, precision: str, callbacks: list[Any]) -> Any:
    return sst5.trainer(data, way, precision, callbacks=callbacks)


def our_segment(data: sst5.Texts, precision: str) -> Segment:
    reports = sst5.fitting(data, precision)
    return lambda steps: sum(next(reports).n_tokens for _ in range(steps))


def gemm_rate(precision: str, clock: Callable[[], float]) -> float:
    """FLOP/s of a 1024³ product, the best of six."""
    import torch

    a, b = (torch.randn(1024, 1024).to(sst5.precision_dtype(precision)) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        start = clock()
        a @ b
        best = min(best, clock() - start)
    return 2 * 1024**3 / best


def measure(
    data: sst5.Texts, rounds: int, steps: int, wanted: list[str], clock: Callable[[], float]
) -> Iterator[dict[str, dict[str, float]]]:
    """One {variant: tokens per second} and {precision: FLOP/s} per round."""
    held = {}
    segments: dict[str, Segment] = {}
    for precision in ("fp32", "bf16"):
        for way in sst5.HF_WAYS:
            name = f"hf {precision}, {way}"
            if not wanted or any(each in name for each in wanted):
                held[name] = HeldTrainer(partial(_trainer, data, way, precision))
                segments[name] = held[name].segment
        segments[f"ours {precision}"] = our_segment(data, precision)
    length = {name: max(2, steps // 4) if "padded to" in name else steps for name in segments}
    for name, run in segments.items():
        run(min(length[name], 4))
        print(f"\rwarm: {name:<40}", end="", file=sys.stderr)
    order = random.Random(sst5.SEED)
    for number in range(rounds):
        rates: dict[str, float] = {}
        gemm: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for name in order.sample(list(segments), len(segments)):
            print(
                f"\rround {number + 1} of {rounds}: {name:<40}", end="", file=sys.stderr, flush=True
            )
            start = clock()
            tokens = segments[name](length[name])
            rates[name] = tokens / (clock() - start)
            precision = "bf16" if "bf16" in name else "fp32"
            gemm[precision].append(gemm_rate(precision, clock))
        yield {
            "rates": rates,
            "gemm": {precision: statistics.median(values) for precision, values in gemm.items()},
        }
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    for trainer in held.values():
        trainer.leave()


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    cut = len(ordered) // 4
    return {"median": statistics.median(ordered), "low": ordered[cut], "high": ordered[-1 - cut]}


def summarise(rounds: list[dict[str, dict[str, float]]], flop: float) -> dict[str, Any]:
    """Medians and the middle half, over rounds; ratios are taken inside each round."""
    names = list(rounds[0]["rates"])
    gemm = {
        precision: statistics.median(each["gemm"][precision] for each in rounds)
        for precision in ("fp32", "bf16")
    }
    rate = {name: spread([each["rates"][name] for each in rounds]) for name in names}
    best = max(
        (name for name in names if name.startswith("hf")), key=lambda name: rate[name]["median"]
    )
    against = {
        "hf bf16, dynamic padding": "hf bf16, dynamic padding",
        "the best of hf": best,
        "hf fp32, padded to 128": "hf fp32, padded to 128",
    }
    variants: dict[str, dict[str, Any]] = {}
    for name in names:
        precision = "bf16" if "bf16" in name else "fp32"
        ratios = {
            goal: spread([each["rates"][name] / each["rates"][peer] for each in rounds])
            for goal, peer in against.items()
            if peer in names
        }
        part = spread([each["rates"][name] * flop / each["gemm"][precision] for each in rounds])
        variants[name] = {"tokens_per_second": rate[name], "of_gemm": part, "ratio": ratios}
    ours = variants["ours bf16"]["ratio"]
    goals: list[dict[str, Any]] = [
        {
            "against": against[goal],
            "must": must,
            "stretch": stretch,
            **ours[goal],
            "met": ours[goal]["median"] >= must,
        }
        for goal, must, stretch in GOALS
        if goal in ours
    ]
    return {
        "gemm_gflops": {key: value / 1e9 for key, value in gemm.items()},
        "flop_per_token": flop,
        "variants": variants,
        "best_of_hf": best,
        "goals": goals,
    }


def show(result: dict[str, Any]) -> None:
    print(
        f"{'variant':<30}{'tok/s':>8}{'middle half':>15}{'× hf bf16 dynamic':>20}"
        f"{'× best of hf':>20}{'% of GEMM':>11}"
    )
    for name, found in sorted(
        result["variants"].items(), key=lambda item: item[1]["tokens_per_second"]["median"]
    ):
        rate, ratio = found["tokens_per_second"], found["ratio"]
        cells = [
            f"{r['median']:.2f} ({r['low']:.2f}–{r['high']:.2f})" if (r := ratio.get(goal)) else ""
            for goal, *_ in GOALS[:2]
        ]
        middle = f"{rate['low']:.0f}–{rate['high']:.0f}"
        print(
            f"{name:<30}{rate['median']:>8.0f}{middle:>15}{cells[0]:>20}{cells[1]:>20}"
            f"{100 * found['of_gemm']['median']:>10.0f}%"
        )
    gemm = result["gemm_gflops"]
    print(
        f"\none matrix product: {gemm['fp32']:.0f} GFLOP/s in fp32, {gemm['bf16']:.0f} in "
        f"bf16; {result['flop_per_token'] / 1e6:.1f} MFLOP per token"
    )
    print(f"seconds are those of the {result['clock']}; best of hf: {result['best_of_hf']}")
    for goal in result["goals"]:
        verdict = "met" if goal["met"] else "NOT MET"
        reached = f"{goal['median']:.2f}× ({goal['low']:.2f}–{goal['high']:.2f})"
        print(
            f"goal: ours bf16 against {goal['against']}: {reached}, must {goal['must']}×, "
            f"stretch {goal['stretch']}×: {verdict}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="steps of a segment")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORDS",
        help="only variants of hf whose name holds WORDS",
    )
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    sst5.use_threads(1)
    data = sst5.read()
    rounds = list(measure(data, options.rounds, options.steps, options.only, CLOCKS[options.clock]))
    flop = sst5.flop_per_token(sst5.model_for("fp32"), sst5.tokenized(data).lengths)
    result = {"clock": options.clock, "rounds": rounds, **summarise(rounds, flop)}
    show(result)
    return sst5.ended(result, options.json)


if __name__ == "__main__":
    sys.exit(main())
