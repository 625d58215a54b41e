"""Verdicts on the variants of a comparison in sentences, for tables and reports alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from encore import catalogue
from encore.evaluation.claims import Contrast
from encore.evaluation.comparison_record import RaceSummary, Round, StudyRace, VariantResult
from encore.evaluation.contrast_notes import (
    collapsed_note,
    failed_note,
    few_rows_note,
    few_seeds_note,
)
from encore.evaluation.metric import Form, Metric
from encore.tables.formatting import (
    format_difference,
    format_interval,
    format_p,
    format_ratio,
    format_value,
)

__all__ = [
    "beside_source",
    "collapsed_runs",
    "difference_in_words",
    "failed_runs",
    "probabilities_in_words",
    "race_in_words",
    "remarks",
    "stability_in_words",
]


def probabilities_in_words(against: Contrast) -> str:
    """The verdict with its adjusted probabilities, for a place that shows the intervals."""
    claims = (("dev set", against.this_dev_set), ("new examples", against.new_examples))
    ps = [f"{about} p {format_p(claim.p_holm)}" for about, claim in claims if claim]
    if against.sign_flip_p is not None:
        ps.append(f"sign flips p {format_p(against.sign_flip_p)}")
    return f"{against.verdict}{' – ' if ps else ''}{', '.join(ps)}"


def difference_in_words(against: Contrast, metric: Metric) -> str:
    """The verdict with the difference and its intervals, for a place without a table."""
    points = " points" if metric.form == "percent" else ""
    claims = (("this dev set", against.this_dev_set), ("new examples too", against.new_examples))
    intervals = ", ".join(
        f"{about} {format_interval(claim, metric.form)}" for about, claim in claims if claim
    )
    return (
        f"{against.verdict}; {metric.title} {format_difference(against.delta, metric.form)}"
        f"{points}{f' ({intervals})' if intervals else ''}."
    )


def stability_in_words(against: Contrast) -> str | None:
    """The verdict on the variance over seeds; None where it cannot be tested."""
    stable = against.stability
    if stable is None:
        return None
    low, high = format_ratio(stable.low), format_ratio(stable.high)
    return f"{stable.verdict} (variance over seeds × {format_ratio(stable.ratio)} [{low}, {high}])"


def failed_runs(row: VariantResult) -> list[str]:
    """ "seed 43 failed: why", a sentence for each failed run."""
    return [f"seed {seed} failed: {why}" for seed, why in row.failed.items()]


def collapsed_runs(row: VariantResult) -> str | None:
    """The runs that learnt nothing, with the reasons; None where there are none. They count all
    the same.
    """
    if not row.collapsed:
        return None
    which = ", ".join(f"seed {seed} ({why})" for seed, why in row.collapsed.items())
    return f"{len(row.collapsed)} of {len(row.seeds)} runs collapsed: {which}"


def remarks(row: VariantResult, reference: VariantResult, n_rows: int) -> list[str]:
    """The notes of a variant's contrast. Those that hold for all variants alike come without its
    name, so that they can be listed once; failed and collapsed runs have sentences of their own.
    n_rows: of the dev set.
    """
    against = row.contrast
    if against is None:
        return []
    n_seeds = len(against.seeds)
    of_all = {few_rows_note(n_seeds, n_rows)}
    if not row.failed:  # else it has fewer seeds than the others
        of_all.add(few_seeds_note(n_seeds))
    own_sentences = {note for one in (reference, row) for note in _run_notes(one)}
    return [
        note if note in of_all else f"{row.variant}: {note}"
        for note in against.notes
        if note not in own_sentences
    ]


def _run_notes(row: VariantResult) -> Iterator[str]:
    """The notes of contrasts on a variant's failed and collapsed runs."""
    for seed, reason in row.failed.items():
        yield failed_note(row.variant, seed, reason)
    if row.collapsed:
        yield collapsed_note(row.variant, row.collapsed, len(row.seeds))


def beside_source(row: VariantResult, reference: VariantResult, form: Form) -> str | None:
    """A sentence that compares the source's difference with the intervals; None where the source
    reports none.
    """
    against, expected, base = row.contrast, row.expected, reference.expected
    if against is None or expected is None or base is None:
        return None
    places = []
    for claim, about in (
        (against.this_dev_set, "for this dev set"),
        (against.new_examples, "for new examples too"),
    ):
        if claim is not None and claim.low is not None and claim.high is not None:
            inside = claim.low <= expected - base <= claim.high
            places.append(f"{'inside' if inside else 'outside'} the interval {about}")
    if not places:
        return None
    difference = format_difference(expected - base, form)
    return f"{row.variant}: the source's difference of {difference} lies {' and '.join(places)}"


def race_in_words(race: StudyRace, summary: RaceSummary) -> list[str]:
    """Each round's screening with who left and who stayed, and what that means for the table."""
    if not race.rounds or race.metric is None:
        return ["race: fewer than two variants, so there was nothing to screen"]
    form = catalogue.find("metrics", race.metric).form
    words = [_round_in_words(each, form) for each in race.rounds]
    words.append(
        "race: its seeds are not in the table, so the selection does not bias the figures here; "
        "the reference is in the table in any case"
    )
    if len(race.started) > len(race.stayed):
        words.append(
            f"race: the screening used these rows, though, so for new examples Δ may be too "
            f"good, and p is adjusted for all {len(race.started)} that started"
        )
    return [
        *words,
        f"race: {summary.n_runs} runs in all instead of {summary.n_runs_of_the_grid}",
    ]


def _round_in_words(decided: Round, form: Form) -> str:
    figures = {
        name: f"{name} ({decided.failed.get(name) or format_value(score, form)})"
        for name, score in decided.scores.items()
    }
    seeds = f"seed{'s' if len(decided.seeds) > 1 else ''} {', '.join(map(str, decided.seeds))}"
    return (
        f"race, round {decided.number}, screened on {seeds}: left: "
        f"{_listed(figures, decided.left)}; stayed: {_listed(figures, decided.stayed)}"
    )


def _listed(figures: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(figures[name] for name in names) or "none"
