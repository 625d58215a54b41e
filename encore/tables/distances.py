"""Tables of how far predictions are from the truth, where the classes have an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore.evaluation.distances import DistanceShare
from encore.evaluation.estimates import Estimate
from encore.evaluation.seed_means import mean_interval
from encore.tables.formatting import format_estimate, format_value
from encore.tables.listing import Listing

__all__ = ["distances_of_variants", "distances_table"]

_TITLE = "distance from the true class"


def distances_table(found: Sequence[DistanceShare], *, title: str = _TITLE) -> Listing:
    """One line per distance: rows, and their share with its interval."""
    rows = tuple(
        (_exact_named(one), f"{one.n_rows:,}", format_estimate(one.share, "percent"))
        for one in found
    )
    notes = ["off by: classes between prediction and truth. [low, high]: 95 % bootstrap interval."]
    notes += [
        f"off by {_listed([one.words for one in found if remark in one.share.notes])}: {remark}."
        for remark in dict.fromkeys(remark for one in found for remark in one.share.notes)
    ]
    columns = ("off by", "rows", "share")
    return Listing(title, columns, rows, tuple(notes), frozenset({1, 2}))


def distances_of_variants(
    variants: Mapping[str, Sequence[Sequence[DistanceShare]]],
    *,
    title: str = _TITLE,
) -> Listing:
    """One line per variant, a column per distance: the mean share over seeds, in %, with its
    interval for new seeds from three seeds on. variants: variant → the shares of each run.
    """
    distances = [one.words for one in next(iter(variants.values()))[0][1:]]
    rows = tuple(
        (
            variant,
            str(len(runs)),
            *(_mean([one.share.value for one in each]) for each in zip(*runs, strict=True)),
        )
        for variant, runs in variants.items()
    )
    columns = ("variant", "seeds", "exact", *(f"off by {words}" for words in distances))
    note = (
        "Classes between prediction and truth: the mean share of the rows over seeds. [low, high]: "
        "95 % interval of that mean for new seeds, from three seeds on."
    )
    return Listing(title, columns, rows, (note,), frozenset(range(1, len(columns))))


def _mean(shares: Sequence[float]) -> str:
    mean, ends = sum(shares) / len(shares), mean_interval(shares, (0.0, 1.0))
    if ends is None:
        return f"{format_value(mean, 'percent')} %"
    return format_estimate(Estimate(mean, ends.low, ends.high), "percent")


def _exact_named(one: DistanceShare) -> str:
    return one.words if one.distance else "0 (exact)"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
