"""`encore report`: a folder in, one HTML file out, and beside it every figure as SVG and its
numbers as CSV.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore import files
from encore.data.table import display_path
from encore.errors import Complaints, DataError
from encore.report import gather, search
from encore.report.comparison_page import comparison_page
from encore.report.ensemble_page import ensemble_page
from encore.report.folds_page import folds_page
from encore.report.page import Page, distinct, figures_of, render
from encore.report.run_page import run_page
from encore.report.texts import Sources
from encore.runs.kind import folder_kind

__all__ = ["WrittenReport", "target", "write_report"]


@dataclass(frozen=True)
class WrittenReport:
    """html: the report. figures: the folder of its figures. n_figures: how many. notes: what the
    report lacks and why, one line each.
    """

    html: Path
    figures: Path
    n_figures: int
    notes: tuple[str, ...]

    def as_object(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "report": str(self.html),
            "figures": str(self.figures),
            "n_figures": self.n_figures,
            "notes": list(self.notes),
        }


def target(folder: Path, out: Path | None, *, overwrite: bool) -> Path:
    """The report's file: `report.html` inside the folder, which is Encore's own and is
    replaced, or the file that was named. Raises DataError.
    """
    if out is None:
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise DataError(
                f"{display_path(folder)}: nothing can be written there. Name another place: -o "
                f"FILE.html"
            )
        return folder / "report.html"
    problems = []
    if out.suffix.lower() not in (".html", ".htm"):
        problems.append(f"{display_path(out)}: expected a name that ends in .html.")
    if out.is_dir():
        problems.append(
            f"{display_path(out)}: this is a folder; name a file in it, such as "
            f"{display_path(out / 'report.html')}."
        )
    elif out.exists() and not overwrite:
        problems.append(
            f"{display_path(out)}: exists already and is left as it is. Name another file, or pass "
            f"--overwrite."
        )
    if not out.parent.is_dir():
        problems.append(
            f"{display_path(out)}: the folder {display_path(out.parent)} does not exist. Make "
            f"it first: "
            f"mkdir -p {display_path(out.parent)}"
        )
    elif not os.access(out.parent, os.W_OK | os.X_OK):
        problems.append(
            f"{display_path(out.parent)}: nothing can be written there. Name another place."
        )
    if problems:
        raise DataError(problems)
    return out


def write_report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    n_mistakes: int = 10,
    overwrite: bool = False,
) -> WrittenReport:
    """Write the report of a run, an ensemble, a cross-validation, a comparison or a search. The
    same folder and the same data files give the same bytes.

    out: a file that ends in .html; `report.html` in the folder if None. Its figures go to a folder
    beside it, `report_figures`. n_mistakes: how many of the worst to show. Raises DataError where
    there is nothing complete to report on or where it cannot be written.
    """
    where, complaints = Path(folder), Complaints()
    html = None
    with complaints.collecting():
        _check_folder(where)
    with complaints.collecting():
        html = target(where, None if out is None else Path(out), overwrite=overwrite)
    complaints.raise_any()
    assert html is not None, "else its error was raised"
    beside = html.with_name(f"{html.stem}_figures")
    _check_figures(beside)
    sources = Sources()
    page = _page(where, sources, n_mistakes=n_mistakes)
    page = distinct(page)
    drawn = figures_of(page)
    contents = {f"{one.name}.svg": one.svg.encode() for one in drawn} | {
        f"{one.name}.csv": one.csv().encode() for one in drawn
    }
    _write_folder(beside, contents)
    files.write(html, render(page).encode())
    return WrittenReport(html, beside, len(drawn), tuple(sources.notes))


def _check_folder(folder: Path) -> None:
    """Raises DataError where the folder is none that a report is written of."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run, comparison or search. `encore ls` lists the runs.")
    if folder_kind(folder) not in ("run", "comparison", "search", "ensemble", "folds"):
        raise DataError(
            f"{folder}: no run, comparison or search. Give a folder that `encore train`, "
            f"`compare` or `tune` printed; `encore ls` lists the runs."
        )


def _check_figures(folder: Path) -> None:
    """Raises DataError where the folder of the figures is a link, a file, or a folder of others."""
    ours = (".svg", ".csv", ".part")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        found = "a link" if folder.is_symlink() else "a file"
    elif others := sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if not path.is_file() or (path.suffix not in ours and path.name != files.MANIFEST)
    ):
        found = f"a folder with files that no report wrote ({', '.join(others[:5])})"
    else:
        return
    raise DataError(
        f"{display_path(folder)}: this is the place of the figures, and it is {found}. Move it "
        f"away, or name another report: -o FILE.html"
    )


def _page(folder: Path, sources: Sources, *, n_mistakes: int) -> Page:
    kind = folder_kind(folder)
    if kind == "search":
        return search.page(folder)
    if kind == "ensemble":
        return ensemble_page(folder)
    if kind == "folds":
        return folds_page(folder)
    if kind == "comparison":
        return comparison_page(gather.gather_comparison(folder), sources, n_mistakes=n_mistakes)
    return run_page(gather.gather_run(folder), sources, n_mistakes=n_mistakes)


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """The files, with a manifest; those that an earlier report left there and that this one has not
    are removed, and nothing else is.
    """
    files.require_plain(folder)
    with files.explained(folder):
        folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        files.write(folder / name, content)
    for name in gather.unvouched(folder / files.MANIFEST):
        if name not in contents and Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
    files.write_manifest(folder, [folder / name for name in contents])
