"""Numbers, intervals and durations as tables print them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from encore.errors import printable

if TYPE_CHECKING:
    from encore.evaluation.claims import Claim
    from encore.evaluation.estimates import Estimate
    from encore.evaluation.metric import Form, Metric

__all__ = [
    "format_difference",
    "format_duration",
    "format_estimate",
    "format_interval",
    "format_mean",
    "format_mean_sd",
    "format_p",
    "format_plain",
    "format_ratio",
    "format_scaled",
    "format_setting",
    "format_value",
    "shorten",
]


def format_estimate(estimate: Estimate, form: Form) -> str:
    """A value with its interval, as the field prints it: `61.0 % [55.2, 66.6]`, `.280 [.150,
    .402]`, `0.512 [0.480, 0.544]`.

    >>> from encore.evaluation.estimates import Estimate
    >>> format_estimate(Estimate(0.61, 0.552, 0.666), "percent")
    '61.0 % [55.2, 66.6]'
    """
    if form == "percent":
        return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    if form == "coefficient":
        value, low, high = (
            _coefficient(number) for number in (estimate.value, estimate.low, estimate.high)
        )
    else:
        size = abs(estimate.value)
        decimals = 6 if size < 0.001 else 3 if size < 10 else 1
        value, low, high = (
            f"{number:,.{decimals}f}" for number in (estimate.value, estimate.low, estimate.high)
        )
    return f"{value} [{low}, {high}]"


def _coefficient(value: float) -> str:
    """No zero before the point, as correlations are printed."""
    text = f"{value:.3f}"
    text = "0.000" if text == "-0.000" else text
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def shorten(text: str, max_chars: int) -> str:
    """Text of a user's file, made safe to print: no line breaks, no terminal escapes or changes of
    direction, at most max_chars characters.
    """
    head = text[: 4 * max_chars]
    line = printable(" ".join(head.split()))
    return (
        line if len(line) <= max_chars and len(head) == len(text) else line[: max_chars - 1] + "…"
    )


def format_mean(values: Sequence[float], metric: Metric) -> str:
    """The mean over seeds with its 95 % interval for new seeds, where there are three or more."""
    if not values:
        return "–"
    from encore.evaluation.seed_means import mean_interval

    mean = format_value(statistics.fmean(values), metric.form)
    found = mean_interval(values, metric.bounds)
    if found is None:
        return mean
    low, high = (format_value(end, metric.form) for end in (found.low, found.high))
    return f"{mean} [{low}, {high}]"


def format_ratio(value: float | None) -> str:
    """A ratio with two figures; ∞ for None."""
    return "∞" if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def format_p(value: float | None) -> str:
    """A probability: `< .001`, `.023`; – for None."""
    return (
        "–"
        if value is None
        else "< .001"
        if value < 0.001
        else f"{value:.3f}".replace("0.", ".", 1)
    )


def format_scaled(value: float, form: Form, digits: int = 0) -> str:
    """A percentage in points, a coefficient with three decimals, an amount with four figures."""
    if form == "percent":
        return f"{100 * value:.{1 + digits}f}"
    return f"{value:.3f}" if form == "coefficient" else f"{value:.4g}"


def format_value(value: float | None, form: Form) -> str:
    """A value without unit; – for None."""
    return "–" if value is None else format_scaled(value, form)


def format_difference(value: float | None, form: Form) -> str:
    """A value with its sign; – for None."""
    if value is None:
        return "–"
    text = format_scaled(abs(value), form)
    return text if not float(text) else f"{'+' if value > 0 else '−'}{text}"


def format_mean_sd(value: float | None, sd: float | None, form: Form) -> str:
    """`61.0 ± 1.2`; the mean alone where there is no deviation."""
    return (
        "–"
        if value is None
        else format_value(value, form)
        if sd is None
        else f"{format_value(value, form)} ± {format_scaled(sd, form)}"
    )


def format_interval(claim: Claim | None, form: Form) -> str:
    """The interval of a difference: `[−1.2, +3.4]`; `–` where there is none."""
    if claim is None:
        return "–"
    return f"[{format_difference(claim.low, form)}, {format_difference(claim.high, form)}]"


def format_plain(value: Any) -> str:
    """A value in one line, as a recipe would write it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {format_plain(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(format_plain, value))}]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def format_setting(value: Any) -> str:
    """A setting of a trial: a number with three figures, anything else as a recipe writes it.

    >>> format_setting(6.860482946498176e-05), format_setting(15), format_setting(None)
    ('6.86e-05', '15', 'null')
    >>> format_setting("{name: max_cls, k: 3}"), format_setting(True)
    ('{name: max_cls, k: 3}', 'true')
    """
    return f"{value:.3g}" if isinstance(value, float) else format_plain(value)


def format_duration(seconds: float) -> str:
    """A duration in the largest fitting unit.

    >>> format_duration(7.2), format_duration(600), format_duration(9000)
    ('7 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
