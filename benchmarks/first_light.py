"""Five tasks beside HF Trainer's figures: one seed each, and five seeds of RTE and SST-5.

    python benchmarks/first_light.py run --runs runs/first_light        trains what is missing, two
      runs at a time, one pinned thread each; resumable
    python benchmarks/first_light.py collect --runs runs/first_light    writes
      docs/results/first_light.json from the run folders

The data comes from ENCORE_DATA or ../shared/data. Nothing here is typed by hand: docs/results.md is
generated from the JSON by docs/results.py.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CELLS = [(task, 42) for task in ("rte", "mrpc", "cola", "stsb", "sst5")] + [
    (task, seed) for seed in (43, 44, 45, 46) for task in ("rte", "sst5")
]


def train(task: str, seed: int, runs: Path, core: int | None) -> dict[str, object]:
    """One cell through the command line, as a user would type it; returns what --json prints."""
    command = [
        sys.executable,
        "-m",
        "encore",
        "train",
        str(HERE / "recipes" / "first_light" / f"{task}.yaml"),
        f"seed={seed}",
    ]
    command += ["--json", "--quiet", "--runs", str(runs)]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{task}, seed {seed}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def run_all(runs: Path, processes: int) -> dict[tuple[str, int], Path]:
    """Every cell, `processes` at a time. Complete ones cost a second each."""
    waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for cell in CELLS:
        waiting.put(cell)
    found: dict[tuple[str, int], Path] = {}
    failed: list[str] = []
    cores = sorted(os.sched_getaffinity(0))

    def work(number: int) -> None:
        while not failed:
            try:
                task, seed = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                told = train(
                    task, seed, runs, cores[number % len(cores)] if processes > 1 else None
                )
            except SystemExit as error:
                failed.append(str(error))
                return
            found[task, seed] = Path(str(told["run"]))
            print(task, seed, json.dumps(told), flush=True)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise SystemExit("\n".join(failed))
    return found


def collect(runs: Path) -> None:
    """Read the finished run folders into one JSON file that the report is rendered from."""
    cells = []
    for folder in sorted(runs.iterdir()):
        if not (folder / "manifest.json").exists():
            continue
        read = {
            name: json.loads((folder / f"{name}.json").read_text())
            for name in ("results", "resolved", "environment", "cost", "data")
        }
        recipe = (folder / "recipe.yaml").read_text()
        (task,) = read["results"]["metrics"]
        environment = {
            key: read["environment"][key]
            for key in ("encore", "python", "processor", "device", "threads", "precision")
        }
        rows = {
            name: {"rows": split["rows"], "sha256": split["sha256"]}
            for name, split in read["data"][task]["splits"].items()
        }
        expect = next(line for line in recipe.splitlines() if line.startswith("expect:"))
        source = next(line for line in recipe.splitlines() if line.startswith("source:"))
        cells.append(
            {
                "run": folder.name,
                "task": task,
                "seed": read["resolved"]["seed"],
                "results_version": read["resolved"]["results_version"],
                "expect": expect.removeprefix("expect:").strip(),
                "source": source.removeprefix("source:").strip(),
                "results": read["results"],
                "cost": read["cost"],
                "environment": environment,
                "data": rows,
            }
        )
    cells.sort(key=lambda cell: (cell["task"], cell["seed"]))
    target = HERE / "docs" / "results" / "first_light.json"
    target.write_text(
        json.dumps({"cells": cells}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(f"{len(cells)} runs → {target.relative_to(HERE)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "collect"))
    parser.add_argument("--runs", type=Path, default=Path("runs/first_light"))
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.what == "run":
        run_all(arguments.runs, arguments.processes)
    else:
        collect(arguments.runs)


if __name__ == "__main__":
    main()
