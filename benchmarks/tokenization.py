"""Short sentences tokenized per second on one core, beside transformers' tokenizer called as its
example scripts call it.

    python benchmarks/tokenization.py [--rounds 9] [--json FILE]

All 8,544 sentences of SST-5, length 128, MiniLM's tokenizer, one thread, variants interleaved in an
order that is drawn anew every round; medians. Ours ends with a finished token store. transformers
gets 1,000 rows per call, as `datasets.map(batched=True)` in its example gives it, and ends with
lists: what the example spends on writing them into a data set and on making tensors of them is not
counted. The ids are compared before anything is timed.

What counts is processor time: with one thread that computes and never waits, it is the time on a
core that nobody else uses. Wall time stands beside it and shows how busy the machine was.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.record import write_figures

OURS, LIMIT = "ours", "limit: `tokenizers` alone"
PADDED, UNPADDED = "transformers, padded to 128 (the example's default)", "transformers, not padded"
GOAL = 15_000
HF_ROWS = 1000


def contenders(data: sst5.Texts) -> dict[str, Callable[[], Any]]:
    """Name → one pass over all sentences."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    from encore.data.token_store import tokenize
    from encore.data.tokenizer import TextTokenizer

    theirs, padding_theirs = (AutoTokenizer.from_pretrained(data.folder) for _ in range(2))
    ours = TextTokenizer(data.folder)
    bare = Tokenizer.from_str(ours.backend.to_str())

    def hf(tokenizer: Any, padding: str | bool) -> list[list[int]]:
        calls = (
            data.texts[start : start + HF_ROWS] for start in range(0, len(data.texts), HF_ROWS)
        )
        return [
            row
            for texts in calls
            for row in tokenizer(
                texts, padding=padding, max_length=sst5.MAX_LENGTH, truncation=True
            )["input_ids"]
        ]

    return {
        OURS: lambda: tokenize(
            ours, data.texts, None, max_length=sst5.MAX_LENGTH, truncation="head"
        ),
        PADDED: lambda: hf(padding_theirs, "max_length"),
        UNPADDED: lambda: hf(theirs, False),
        LIMIT: lambda: [
            len(
                bare.encode_batch_fast(
                    data.texts[start : start + HF_ROWS], add_special_tokens=False
                )
            )
            for start in range(0, len(data.texts), HF_ROWS)
        ],
    }


def measure(
    variants: dict[str, Callable[[], Any]], rounds: int
) -> list[dict[str, dict[str, float]]]:
    """{variant: {cpu, wall}} seconds, per round."""
    order, taken = random.Random(sst5.SEED), []
    for number in range(rounds):
        seconds = {}
        for name in order.sample(list(variants), len(variants)):
            print(
                f"\rround {number + 1} of {rounds}: {name:<60}", end="", file=sys.stderr, flush=True
            )
            cpu, wall = time.process_time(), time.perf_counter()
            variants[name]()
            seconds[name] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        taken.append(seconds)
    print("\r" + " " * 80 + "\r", end="", file=sys.stderr)
    return taken


def summarise(
    rounds: list[dict[str, dict[str, float]]], n_sentences: int, n_tokens: int
) -> dict[str, Any]:
    """Medians over rounds; ratios are taken inside each round."""
    variants = {
        name: {
            "sentences_per_second": statistics.median(
                n_sentences / each[name]["cpu"] for each in rounds
            ),
            "tokens_per_second": statistics.median(n_tokens / each[name]["cpu"] for each in rounds),
            "sentences_per_second_of_wall_time": statistics.median(
                n_sentences / each[name]["wall"] for each in rounds
            ),
            "ours_is_faster_by": statistics.median(
                each[name]["cpu"] / each[OURS]["cpu"] for each in rounds
            ),
        }
        for name in rounds[0]
    }
    rate = variants[OURS]["sentences_per_second"]
    goal = {"sentences_per_second": GOAL, "reached": rate, "met": rate >= GOAL}
    return {
        "sentences": n_sentences,
        "tokens": n_tokens,
        "threads": 1,
        "variants": variants,
        "goal": goal,
    }


def show(result: dict[str, Any]) -> None:
    print(
        f"{'variant':<54}{'sentences/s':>12}{'tokens/s':>12}"
        f"{'sentences/s, wall':>19}{'ours is faster by':>19}"
    )
    for name, found in sorted(
        result["variants"].items(), key=lambda item: -item[1]["sentences_per_second"]
    ):
        rates = (
            f"{found['sentences_per_second']:>12,.0f}{found['tokens_per_second']:>12,.0f}"
            f"{found['sentences_per_second_of_wall_time']:>19,.0f}"
        )
        print(f"{name:<54}{rates}{found['ours_is_faster_by']:>18.2f}×")
    goal = result["goal"]
    print(
        f"\ngoal: {goal['sentences_per_second']:,} short sentences/s on one core, reached "
        f"{goal['reached']:,.0f}: {'met' if goal['met'] else 'NOT MET'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"  # before `tokenizers` makes its threads
    sst5.use_threads(1)
    data = sst5.read()
    variants = contenders(data)
    first = {name: run() for name, run in variants.items()}
    if first[OURS].ids.tolist() != [number for row in first[UNPADDED] for number in row]:
        sys.exit("ours and transformers do not give the same ids, so there is nothing to compare.")
    rounds = measure(variants, options.rounds)
    result = {"rounds": rounds, **summarise(rounds, len(data.texts), len(first[OURS].ids))}
    show(result)
    if options.json is not None:
        write_figures(result, options.json)
    return 0 if result["goal"]["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
