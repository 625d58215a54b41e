"""`encore report`: a run, a comparison or a search as one HTML file."""

from __future__ import annotations

from pathlib import Path

from encore.cli.output import announce, print_json, say
from encore.data.table import display_path
from encore.report.write import write_report

__all__ = ["report"]


def report(
    folder: Path, out: Path | None, *, n_mistakes: int, overwrite: bool, json_: bool, quiet: bool
) -> None:
    """Write a report and print where it is. Raises DataError."""
    written = write_report(folder, out, n_mistakes=n_mistakes, overwrite=overwrite)
    announce(written.notes, quiet=quiet)
    if json_:
        print_json(written.as_object())
        return
    figures = f"{written.n_figures} figures, also as SVG and CSV in {display_path(written.figures)}"
    say(f"report: {display_path(written.html)} ({figures})")
