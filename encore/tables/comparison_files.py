"""A comparison as CSV and as a LaTeX table."""

from __future__ import annotations

import csv
import io
from typing import Any

from encore import catalogue
from encore.data.spreadsheet import text_cell
from encore.evaluation.claims import Contrast
from encore.evaluation.comparison_record import ComparisonRecord, VariantResult
from encore.tables.formatting import format_scaled

__all__ = ["csv_of", "latex_of"]


_COLUMNS = (
    "study",
    "set",
    "rows",
    "metric",
    "variant",
    "n_seeds",
    "mean",
    "sd",
    "best",
    "source",
    "source_sd",
    "delta",
    "low_this_dev_set",
    "high_this_dev_set",
    "p_holm_this_dev_set",
    "low_new_examples",
    "high_new_examples",
    "p_holm_new_examples",
    "verdict",
    "seeds_needed_this_dev_set",
    "seeds_needed_new_examples",
    "sign_flip_p",
    "variance_ratio",
    "variance_ratio_low",
    "variance_ratio_high",
    "stability",
    "collapsed_seeds",
    "failed_seeds",
    "not_applicable",
    "values",
)


def csv_of(record: ComparisonRecord) -> str:
    """One line per study, dev set, metric and variant; fractions, with every digit; an empty cell
    is a figure that does not exist. Texts that a spreadsheet would take for formulas get an
    apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in record.studies:
        for metric in each.metrics:
            for row in metric.variants:
                cells = (
                    {
                        "study": each.title,
                        "set": each.dev_set,
                        "rows": each.n_rows,
                        "metric": metric.metric,
                    }
                    | _figures(row)
                    | (_differences(row.contrast) if row.contrast else {})
                )
                writer.writerow({name: text_cell(value) for name, value in cells.items()})
    return out.getvalue()


def _figures(row: VariantResult) -> dict[str, Any]:
    return {
        "variant": row.variant,
        "n_seeds": len(row.seeds),
        "mean": row.mean,
        "sd": row.sd,
        "best": row.best,
        "source": row.expected,
        "source_sd": row.expected_sd,
        "not_applicable": row.not_applicable,
        "values": " ".join(map(repr, row.values)),
        "collapsed_seeds": " ".join(map(str, row.collapsed)),
        "failed_seeds": " ".join(map(str, row.failed)),
    }


def _differences(against: Contrast) -> dict[str, Any]:
    line: dict[str, Any] = {
        "delta": against.delta,
        "verdict": against.verdict,
        "sign_flip_p": against.sign_flip_p,
    }
    claims = (("this_dev_set", against.this_dev_set), ("new_examples", against.new_examples))
    for name, claim in claims:
        if claim is not None:
            line |= {
                f"low_{name}": claim.low,
                f"high_{name}": claim.high,
                f"p_holm_{name}": claim.p_holm,
                f"seeds_needed_{name}": claim.seeds_needed,
            }
    if (stable := against.stability) is not None:
        line |= {
            "variance_ratio": stable.ratio,
            "variance_ratio_low": stable.low,
            "variance_ratio_high": stable.high,
            "stability": stable.verdict,
        }
    return line


_MARKS = {"better": "+", "worse": "-"}


def latex_of(record: ComparisonRecord) -> str:
    """A LaTeX table for the package booktabs: a line per variant, a column per study and metric,
    mean ± sd. One sign marks a difference from the reference on this dev set, two signs one for
    new examples too; a sign in brackets one for new examples only.
    """
    columns = [(each, metric) for each in record.studies for metric in each.metrics]
    lines = [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
    heads = [
        _escaped(
            f"{each.title}{'' if each.dev_set == 'dev' else f' {each.dev_set}'} "
            f"{catalogue.find('metrics', metric.metric).title}"
        )
        for each, metric in columns
    ]
    lines += [" & ".join(["", *heads]) + r" \\", r"\midrule"]
    present = {row.variant for _, metric in columns for row in metric.variants}
    for variant in (name for name in record.variants if name in present or not columns):
        cells = [_cell(metric.variant(variant), metric.metric) for _, metric in columns]
        lines.append(" & ".join([_escaped(variant), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cell(row: VariantResult | None, metric: str) -> str:
    if row is None or row.mean is None:  # it has left the race of this study, or no run ended
        return "--"
    form = catalogue.find("metrics", metric).form
    claims = (
        (row.contrast.this_dev_set, row.contrast.new_examples) if row.contrast else (None, None)
    )
    here, anew = (_MARKS.get(claim.verdict, "") if claim else "" for claim in claims)
    mark = f"^{{{here}{anew if here else f'({anew})'}}}" if here or anew else ""
    sd = "" if row.sd is None else rf" \pm {format_scaled(row.sd, form, 1)}"
    return f"${format_scaled(row.mean, form, 1)}{mark}{sd}$"


def _escaped(text: str) -> str:
    special = {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    return "".join(
        special.get(letter, r"\textbackslash{}" if letter == "\\" else letter) for letter in text
    )
