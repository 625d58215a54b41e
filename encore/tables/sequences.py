"""The tables of encoders that were trained on one task after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from encore import catalogue
from encore.evaluation.claims import Contrast
from encore.evaluation.sequence_record import SequenceResult
from encore.tables.formatting import format_difference, format_interval
from encore.tables.listing import Listing

__all__ = ["arrow", "sequence_tables"]

_ARROWS = {"better": "↑", "worse": "↓", "no evidence": "→"}


def arrow(against: Contrast) -> str:
    """↑ or ↓ where the verdict on this dev set says so, → where there is no evidence; "" where it
    was not judged.
    """
    return _ARROWS[against.this_dev_set.verdict] if against.this_dev_set else ""


def sequence_tables(sequences: Sequence[SequenceResult]) -> Iterator[Listing]:
    """Tables of transfer, to the last task of each sequence, and of forgetting, of those before
    (METHODS 4.7).
    """
    columns = ("trained on", "variant", "measured on", "Δ", "", "this dev set", "new examples too")
    shown = frozenset({3, 5, 6})
    transfer = tuple(
        _line(one, one.order[-1], one.metric, one.transfer)
        for one in sequences
        if one.transfer is not None
    )
    if transfer:
        notes = ("Δ against training on the last task alone; the arrow follows from the verdict.",)
        yield Listing("transfer to the last task", columns, transfer, notes, shown)
    forgetting = tuple(
        _line(one, lost.task, lost.metric, lost.change)
        for one in sequences
        for lost in one.forgetting
    )
    if forgetting:
        notes = (
            "Δ against the run that trained this task, with its own head on the encoder as it is "
            "after the last one; a fall is what was forgotten.",
        )
        yield Listing("forgetting of earlier tasks", columns, forgetting, notes, shown)


def _line(one: SequenceResult, task: str, metric: str, against: Contrast) -> tuple[str, ...]:
    form = catalogue.find("metrics", metric).form
    return (
        " → ".join(one.order),
        one.variant,
        f"{task}, {metric}",
        format_difference(against.delta, form),
        arrow(against),
        format_interval(against.this_dev_set, form),
        format_interval(against.new_examples, form),
    )
