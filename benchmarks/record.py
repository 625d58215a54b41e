"""Write the figures of a benchmark for docs/results.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["write_figures"]


def write_figures(found: dict[str, Any], file: Path, *, indent: int = 1) -> None:
    """Write figures as JSON, with the results version of the code that was measured."""
    from encore.runs.identity import RESULTS_VERSION

    content = {**found, "results_version": RESULTS_VERSION}
    file.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
