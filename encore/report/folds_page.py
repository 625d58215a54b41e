"""The report of a cross-validation: the figures of all rows and of each fold, and its runs."""

from __future__ import annotations

from pathlib import Path

from encore import catalogue, files
from encore.report.page import Code, Facts, Notes, Page, Section
from encore.runs.cross_validation import CrossValidation, read_folds
from encore.tables.folds import folds_table
from encore.tables.formatting import format_estimate
from encore.tables.listing import Listing

__all__ = ["folds_page"]


def folds_page(folder: Path) -> Page:
    """Raises DataError where it is no cross-validation, or not as it was written."""
    found = read_folds(folder)
    record, name = found.record, folder.resolve().name
    figures = tuple(
        f"{metric.title} {format_estimate(estimate, metric.form)} on {record.n_rows:,} rows, each "
        f"scored by the run that did not train on it"
        for key, estimate in record.out_of_fold.items()
        for metric in [catalogue.find("metrics", key)]
    )
    return Page(
        name,
        f"Cross-validation of {record.task} in {len(record.folds)} folds.",
        name,
        (Notes(figures),),
        (
            Section("Results", (folds_table(record),)),
            Section("Runs", (_runs(found), _facts(found))),
            Section("Recipe", (_recipe(found),)),
        ),
    )


def _runs(found: CrossValidation) -> Listing:
    rows = tuple(
        (str(number), f"{fold.n_rows:,}", fold.run)
        for number, fold in enumerate(found.record.folds, 1)
    )
    note = "rows: those of the fold, which its run did not train on. `encore report RUN` has more."
    return Listing("", ("fold", "rows", "run"), rows, (note,), frozenset({0, 1}))


def _facts(found: CrossValidation) -> Facts:
    return Facts((("manifest (sha256)", files.sha256(found.folder / files.MANIFEST)),))


def _recipe(found: CrossValidation) -> Code:
    n_folds = len(found.record.folds)
    text = files.read_text(found.folder / "recipe.yaml")
    return Code(f"recipe.yaml, for encore train recipe.yaml --folds {n_folds}", text, folded=True)
