"""The tables of an ensemble: its members, and its figures beside the best single model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from encore import catalogue
from encore.evaluation.ensemble_record import EnsembleResult, EnsembleRow, MemberFigures
from encore.evaluation.metric import Metric
from encore.tables.formatting import (
    format_difference,
    format_estimate,
    format_interval,
    format_value,
)
from encore.tables.listing import Listing
from encore.tables.paired import paired_table

__all__ = ["ensemble_rows", "ensemble_tables", "gap_in_words"]


def ensemble_tables(
    results: Sequence[EnsembleResult], method: str, what: str = "ensemble"
) -> list[Listing]:
    """For each task the candidates, the figures, and the difference to the best single model. what:
    the kind of thing that was made of the candidates.
    """
    return [table for one in results for table in _tables(one, method, what)]


def _tables(one: EnsembleResult, method: str, what: str) -> Iterator[Listing]:
    where = f"{one.task}, {one.dev_set} ({one.n_rows:,} rows)"
    kinds = [catalogue.find("metrics", name) for name in one.metrics]
    titles = tuple(kind.title for kind in kinds)
    weighed = any(member.weight is not None for member in one.members)
    yield Listing(
        f"{where}: {len(one.members)} candidates",
        ("run", "takes part", *(("weight",) if weighed else ()), "of both halves", *titles),
        tuple(_member(member, one, weighed=weighed) for member in one.members),
        (
            "of both halves: by how many of the two halves of the dev set it would be taken",
            *(f"{note}." for note in one.notes),
        ),
        frozenset(range(2, 4 + len(titles))),
    )
    lines = [
        (f"best single ({one.best})", one.single, one.single_cross_fitted),
        (f"{method} ({one.n_taken} of {len(one.members)})", one.dev, one.cross_fitted),
    ]
    rows = tuple(
        (
            who,
            kind.title,
            format_estimate(dev[kind.__name__], kind.form),
            format_estimate(fitted[kind.__name__], kind.form),
            format_difference(dev[kind.__name__].value - fitted[kind.__name__].value, kind.form),
        )
        for who, dev, fitted in lines
        for kind in kinds
    )
    held = tuple(
        f"on the {one.n_held_out:,} rows that the weights were not fitted on (dev-dev): "
        f"{kind.title} {format_estimate(one.held_out[kind.__name__], kind.form)}."
        for kind in kinds
        if kind.__name__ in one.held_out
    )
    yield Listing(
        f"{where}: figures",
        ("model", "metric", "on the rows that chose it", "cross-fitted", "gap"),
        rows,
        (*held, gap_in_words(one, what), _HOW),
        frozenset({2, 3, 4}),
    )
    yield paired_table(
        one.against_single,
        names=("best single", method),
        title=f"{where}: {method} against the best single model, both cross-fitted",
    )


def ensemble_rows(rows: Sequence[EnsembleRow]) -> Iterator[Listing]:
    """The ensembles over the runs of a comparison, under the metric that decides: for each study
    and task a table of them, and one of each beside the runs of each variant.
    """
    groups: dict[tuple[str, str], list[EnsembleRow]] = {}
    for one in rows:
        groups.setdefault((one.study, one.result.task), []).append(one)
    columns = ("ensemble", "runs", "on the rows that chose it", "cross-fitted", "gap", "Δ", "")
    for (study, task), found in groups.items():
        first = found[0].result
        kind = catalogue.find("metrics", first.metrics[0])
        dev, fitted = (each[kind.__name__] for each in (first.single, first.single_cross_fitted))
        single = (
            f"best single ({first.best})",
            "1",
            *(format_estimate(each, kind.form) for each in (dev, fitted)),
            format_difference(dev.value - fitted.value, kind.form),
            *("", ""),
        )
        lines = tuple(_row(one, kind) for one in found)
        where = study if study == task else f"{study}: {task}"
        title = f"{where}, {first.dev_set} ({first.n_rows:,} rows), ensembles, {kind.title}"
        notes = (_HOW, "Δ against the best single run, both cross-fitted, with its 95 % interval.")
        yield Listing(title, columns, (single, *lines), notes, frozenset(range(1, 6)))
        beside = tuple(line for one in found for line in _beside_variants(one, kind))
        heads = ("ensemble", "variant", "seeds", "Δ", "95 % interval", "for new examples", "")
        title = f"{where}, {first.dev_set}, ensembles against the runs of a variant, {kind.title}"
        yield Listing(title, heads, beside, (_BESIDE,), frozenset(range(2, 6)))


def _beside_variants(row: EnsembleRow, kind: Metric) -> Iterator[tuple[str, ...]]:
    for one in row.against:
        yield (
            row.method,
            one.variant,
            str(len(one.seeds)),
            format_difference(one.delta, kind.form),
            format_interval(one.this_dev_set, kind.form),
            format_interval(one.new_examples, kind.form),
            one.badge,
        )


def _row(row: EnsembleRow, kind: Metric) -> tuple[str, ...]:
    one, name = row.result, kind.__name__
    against = one.against_single[name]
    low, high = (format_difference(end, kind.form) for end in (against.low, against.high))
    return (
        row.method,
        f"{one.n_taken} of {len(one.members)}",
        format_estimate(one.dev[name], kind.form),
        format_estimate(one.cross_fitted[name], kind.form),
        format_difference(one.gap(name), kind.form),
        f"{format_difference(against.delta, kind.form)} [{low}, {high}]",
        against.verdict,
    )


_HOW = (
    "cross-fitted: each row is scored by what the other half of the rows chooses; the figure to go "
    "by, since what is chosen on rows flatters itself on them."
)

_BESIDE = (
    "Δ: the ensemble, cross-fitted, less the mean of a variant's runs. The ensemble is the same "
    "beside all seeds, so the intervals do not say what others made alike would give."
)


def _member(member: MemberFigures, one: EnsembleResult, *, weighed: bool) -> tuple[str, ...]:
    weight = "" if member.weight is None else f"{member.weight:.3f}"
    return (
        member.name,
        "yes" if member.taken else "no",
        *((weight,) if weighed else ()),
        f"{member.n_halves} of 2",
        *(
            format_value(member.values.get(name), catalogue.find("metrics", name).form)
            for name in one.metrics
        ),
    )


def gap_in_words(one: EnsembleResult, what: str = "ensemble") -> str:
    """A sentence on how far the figure on the rows that chose the ensemble flatters it."""
    name = one.metrics[0]
    kind = catalogue.find("metrics", name)
    gap = one.gap(name) * (1 if kind.higher_is_better else -1)
    if not gap:
        return f"{kind.title}: choosing on these rows changes nothing."
    points = " points" if kind.form == "percent" else ""
    size = format_difference(abs(gap), kind.form).lstrip("+")
    way = f"flatters the {what} by" if gap > 0 else "costs it"
    return f"{kind.title}: choosing on these rows {way} {size}{points}."
