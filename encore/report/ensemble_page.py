"""The report of an ensemble: its figures beside the best single model, and its members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from encore import catalogue, files
from encore.data.table import plural
from encore.evaluation.ensemble_record import EnsembleResult
from encore.report.decision_section import decision_sections
from encore.report.page import Facts, Notes, Page, Section, VerdictLine, Verdicts
from encore.runs.ensemble import MadeEnsemble, read_made
from encore.tables.ensembles import ensemble_tables, gap_in_words
from encore.tables.formatting import format_difference, format_estimate
from encore.tables.listing import Listing

__all__ = ["ensemble_page"]


def ensemble_page(folder: Path) -> Page:
    """Raises DataError where it is no ensemble, or not as it was written."""
    made = read_made(folder)
    settings = made.settings
    tasks = ", ".join(one.task for one in made.results)
    about = f"Ensemble of {plural(len(made.members), 'run')} for {tasks}, method {settings.method}."
    gaps = tuple(f"{one.task}: {gap_in_words(one)}" for one in made.results)
    return Page(
        folder.resolve().name,
        about,
        folder.resolve().name,
        (Verdicts(tuple(_verdicts(made.results, settings.method))), Notes(gaps)),
        (
            Section("Results", tuple(ensemble_tables(made.results, settings.method))),
            *decision_sections(folder),
            Section("Members", (_members(made), _settings(made))),
        ),
    )


def _verdicts(results: Sequence[EnsembleResult], method: str) -> Iterator[VerdictLine]:
    for one in results:
        name = one.metrics[0]
        kind, against = catalogue.find("metrics", name), one.against_single[name]
        low, high = (format_difference(end, kind.form) for end in (against.low, against.high))
        words = (
            f"{kind.title} {format_estimate(one.cross_fitted[name], kind.form)} cross-fitted; "
            f"{format_difference(against.delta, kind.form)} [{low}, {high}] against the best "
            f"single model, chosen and measured in the same way"
        )
        yield VerdictLine(against.verdict, f"{one.task}, {method}", words)


def _members(made: MadeEnsemble) -> Listing:
    rows = tuple((str(number), name) for number, name in enumerate(made.members, 1))
    note = "A copy of each one's model is in the folder of the ensemble."
    return Listing("", ("member", "run"), rows, (note,), frozenset({0}))


def _settings(made: MadeEnsemble) -> Facts:
    chosen = made.settings
    least = {task or "every task": figure for task, figure in (chosen.at_least or {}).items()}
    return Facts(
        (
            ("method", chosen.method),
            ("averaged", chosen.space),
            ("seed of the halves", str(chosen.seed)),
            *((f"at least, {task}", f"{figure:g}") for task, figure in least.items()),
            ("manifest (sha256)", files.sha256(made.folder / files.MANIFEST)),
        )
    )
