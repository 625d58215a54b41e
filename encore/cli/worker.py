"""`encore worker`, from the folder to the exit code."""

from __future__ import annotations

from pathlib import Path

from encore.cli.output import announce, print_json, say
from encore.errors import SOME_FAILED

__all__ = ["worker_command"]


def worker_command(folder: Path, *, json_: bool, quiet: bool) -> int:
    """Returns the exit code."""
    from encore.experiments.worker import work

    found = work(folder, tell=lambda line: announce([line], quiet=quiet))
    announce(f"{name}: {problem}" for name, why in found.failed.items() for problem in why)
    if json_:
        failed = {name: list(problems) for name, problems in found.failed.items()}
        print_json({"comparison": str(folder), "computed": found.computed, "failed": failed})
    else:
        failures = f", {len(found.failed)} failed" if found.failed else ""
        say(
            f"{folder}: none of {found.n_jobs} runs is left; {len(found.computed)} computed "
            f"here{failures}; the same `encore compare` without --prepare prints the tables"
        )
    return SOME_FAILED if found.failed else 0
