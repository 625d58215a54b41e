"""Counts of what the reliability tests tried and what survived, for docs/reliability.md."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["n_tries", "record"]


def n_tries(per_commit: int) -> int:
    """The number of tries: `per_commit`, or that in ENCORE_FUZZ."""
    return int(os.environ.get("ENCORE_FUZZ", per_commit))


def record(promise: str, tries: int, survived: int) -> None:
    """Append a line of JSON to the file named by ENCORE_RELIABILITY_LOG, where it is set.

    promise: one sentence. survived: of the tries, those that kept the promise.
    """
    log = os.environ.get("ENCORE_RELIABILITY_LOG")
    if log:
        line = json.dumps({"promise": promise, "tries": tries, "survived": survived})
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
