"""The time that `encore --help` takes, and its imports.

    python benchmarks/startup.py [--rounds 15] [--json FILE]

What counts is processor time, which on an idle machine is the time one waits; wall time stands
beside it and shows how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_figures

GOAL_SECONDS = 0.5
HEAVY = ("torch", "pyarrow", "sklearn", "scipy", "pydantic", "numpy")


def imported() -> list[str]:
    """The heavy libraries that `encore --help` imports."""
    code = (
        "import sys\nfrom encore.cli.app import main\ntry: main(['--help'])\nexcept "
        "SystemExit: pass\n"
    )
    code += f"print('\\n', [name for name in {HEAVY} if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    return json.loads(told.splitlines()[-1].strip().replace("'", '"'))


def of_children() -> float:
    """Processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    commands = {
        "encore --help": [sys.executable, "-m", "encore", "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    wall: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            start, used = time.perf_counter(), of_children()
            subprocess.run(command, capture_output=True, check=True)
            wall[name].append(time.perf_counter() - start)
            seconds[name].append(of_children() - used)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    met = medians["encore --help"] <= GOAL_SECONDS
    heavy = imported()
    for name, median in medians.items():
        print(f"{name:16} {median:.3f} s ({statistics.median(wall[name]):.3f} s by the clock)")
    print(
        f"heavy imports: {', '.join(heavy) or 'none'}; goal {GOAL_SECONDS} s: "
        f"{'met' if met else 'NOT MET'}"
    )
    if options.json is not None:
        goal = {
            "against": "0.5 s",
            "must": GOAL_SECONDS,
            "median": medians["encore --help"],
            "met": met,
        }
        clock = {name: statistics.median(found) for name, found in wall.items()}
        told = {
            "processor_seconds": medians,
            "wall_seconds": clock,
            "heavy_imports": heavy,
            "goals": [goal],
        }
        write_figures(told, options.json)
    sys.exit(0 if met and not heavy else 1)


if __name__ == "__main__":
    main()
