"""Gathers what docs/results.md tells of a pre-training: loss, held-out rows, words, cost.

    python benchmarks/from_scratch.py RUN [--json FILE] [--note TEXT]

RUN: a folder of `encore pretrain from_scratch`. note: what a reader must know of the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_figures

TEXTS = (
    "The film was very [MASK].",
    "I did not [MASK] this movie.",
    "He was born in [MASK].",
    "It is a city in the [MASK] of France.",
    "The capital of Germany is [MASK].",
)
STEPS_OF_A_POINT = 100


def gather(run: Path) -> dict[str, Any]:
    """The figures of a complete pre-training."""
    from encore.runs.fill_mask import fill_mask
    from encore.runs.pretrain_folder import read_pretraining

    found = read_pretraining(run)
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    curve = [
        [start + STEPS_OF_A_POINT, statistics.mean(losses[start : start + STEPS_OF_A_POINT])]
        for start in range(0, len(losses), STEPS_OF_A_POINT)
    ]
    words = {
        text: [[guess.word, guess.probability] for guess in guesses]
        for text, guesses in zip(TEXTS, fill_mask(found.encoder, TEXTS), strict=True)
    }
    return {
        "recipe": (run / "recipe.yaml").read_text(encoding="utf-8"),
        "figures": found.figures.to_json(),
        "seconds": found.seconds,
        "tokens_per_second": found.tokens_per_second,
        "peak_memory_bytes": json.loads((run / "cost.json").read_text())["peak_memory_bytes"],
        "curve": curve,
        "words": words,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--note", default="")
    given = parser.parse_args()
    found = gather(given.run) | {"note": given.note}
    for step, loss in found["curve"]:
        print(f"step {step:6}  loss {loss:.3f}")
    for text, guesses in found["words"].items():
        print(f"{text}  {', '.join(word for word, _ in guesses)}")
    if given.json:
        write_figures(found, given.json)


if __name__ == "__main__":
    main()
