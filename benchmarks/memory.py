"""Peak memory while training, beside transformers' Trainer.

    python benchmarks/memory.py [--steps 8] [--json FILE]         MiniLM, batch 32, every row 128
      tokens long, bf16, one thread
    python benchmarks/memory.py --csv 100000                      `encore train` on a CSV of so many
      rows, from reading it to the table of results

Each contestant runs in a process of its own; what counts is the kernel's peak of resident memory
for that process, everything included. Rows are SST-5 sentences strung together until they are 128
tokens long.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.record import write_figures

GOAL = 0.80
CSV_GOAL_BYTES = 2e9
CONTESTANTS = ("ours bf16", "hf bf16")


def long_texts(steps: int) -> sst5.Texts:
    """Rows of at least 128 tokens, enough for so many batches."""
    data = sst5.read()
    joined = [
        " ".join(data.texts[start : start + 12]) for start in range(0, len(data.texts) - 12, 6)
    ]
    enough = sst5.BATCH * steps
    if len(joined) < enough:
        sys.exit(f"--steps: expected at most {len(joined) // sst5.BATCH}, got {steps}.")
    return sst5.Texts(joined[:enough], data.labels[:enough], data.folder)


def contest(who: str, steps: int) -> None:
    """Train `steps` steps and print the peak in bytes and the mean row length: what the child
    process does.
    """
    sst5.use_threads(1)
    data = long_texts(steps)
    if who.startswith("ours"):
        lengths = sst5.tokenized(data).lengths
        assert (lengths == sst5.MAX_LENGTH).all(), "a row is shorter than 128 tokens"
        for number, _ in enumerate(sst5.fitting(data, "bf16"), start=1):
            if number == steps:
                break
    else:
        sst5.trainer(data, "dynamic padding", "bf16", callbacks=[], max_steps=steps).train()
    print(json.dumps({"peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def in_a_process(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def compare(steps: int) -> dict[str, Any]:
    peaks = {}
    for who in CONTESTANTS:
        told = in_a_process([sys.executable, __file__, "--contestant", who, "--steps", str(steps)])
        peaks[who] = json.loads(told.splitlines()[-1])["peak_bytes"]
    ratio = peaks["ours bf16"] / peaks["hf bf16"]
    return {
        "steps": steps,
        "peak_bytes": peaks,
        "goals": [{"against": "hf bf16", "must": GOAL, "median": ratio, "met": ratio <= GOAL}],
    }


def csv_peak(rows: int) -> dict[str, Any]:
    """The peak of `encore train` on a generated file of so many reviews of 40 words. All rows are
    read, tokenized, trained on and given to the baselines; they are cut to 8 tokens, so that the
    one epoch takes minutes: what a step keeps depends on the batch and not on the file.
    """
    words = np.array([word for text in sst5.read().texts[:2000] for word in text.split()])
    draw = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reviews.csv"
        with file.open("w", encoding="utf-8") as out:
            out.write("text,label\n")
            for row in range(rows):
                text = " ".join(draw.choice(words, size=40)).replace('"', "")
                out.write(f'"{text} {row}",{"good" if row % 2 else "bad"}\n')
        size = file.stat().st_size
        code = (
            "import sys, resource\nfrom encore.cli.app import main\n"
            "try: main(sys.argv[1:])\n"
            "finally: print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        command = [
            sys.executable,
            "-c",
            code,
            "train",
            str(file),
            "--quiet",
            "--runs",
            folder,
            "plan.epochs=1",
            "max_length=8",
            "plan.batch_size=256",
        ]
        told = in_a_process([*command, "data.dev_rows=1000"])
    peak = int(told.split("PEAK ")[1].split()[0]) * (1 if sys.platform == "darwin" else 1024)
    goal = {
        "against": "2 GB",
        "must": 1.0,
        "median": peak / CSV_GOAL_BYTES,
        "met": peak < CSV_GOAL_BYTES,
    }
    return {"rows": rows, "file_bytes": size, "peak_bytes": peak, "goals": [goal]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--csv", type=int, metavar="ROWS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        contest(options.contestant, options.steps)
        return
    result = csv_peak(options.csv) if options.csv else compare(options.steps)
    peaks = (
        result["peak_bytes"]
        if isinstance(result["peak_bytes"], dict)
        else {f"encore train, {result['rows']:,} rows": result["peak_bytes"]}
    )
    for who, peak in peaks.items():
        print(f"{who:32} {peak / 1e6:8,.0f} MB")
    for goal in result["goals"]:
        print(f"{goal['median']:.2f} of {goal['against']}: {'met' if goal['met'] else 'NOT MET'}")
    if options.json is not None:
        write_figures(result, options.json)


if __name__ == "__main__":
    main()
