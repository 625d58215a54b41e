"""A comparison as CSV and as a LaTeX table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from encore import catalogue
from encore.tables.comparison import study_title
from encore.tables.formatting import format_scaled

__all__ = ["csv_of", "latex_of"]


# ----------------------------------------------------------------------------------------- as files

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


def csv_of(results: Mapping[str, Any]) -> str:
    """One line per study, dev set, metric and variant; fractions, every digit; an empty cell is a
    figure that there is not.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in results["studies"]:
        for metric in each["metrics"]:
            for row in metric["variants"]:
                line = {
                    "study": study_title(each),
                    "set": each["set"],
                    "rows": each["rows"],
                    "metric": metric["metric"],
                    "variant": row["variant"],
                }
                line |= {
                    "n_seeds": len(row["seeds"]),
                    "mean": row["mean"],
                    "sd": row["sd"],
                    "best": row["best"],
                    "source": row["expected"],
                }
                line |= {
                    "source_sd": row["expected_sd"],
                    "not_applicable": row["not_applicable"],
                    "values": " ".join(map(repr, row["values"])),
                }
                line |= {
                    "collapsed_seeds": " ".join(row["collapsed"]),
                    "failed_seeds": " ".join(row["failed"]),
                }
                against = row["contrast"] or {}
                line |= (
                    {key: against.get(key) for key in ("delta", "verdict", "sign_flip_p")}
                    if against
                    else {}
                )
                for key in ("this_dev_set", "new_examples"):
                    line |= (
                        {
                            f"{what}_{key}": claim[what]
                            for what in ("low", "high", "p_holm", "seeds_needed")
                        }
                        if (claim := against.get(key))
                        else {}
                    )
                if stable := against.get("stability"):
                    line |= {
                        "variance_ratio": stable["ratio"],
                        "variance_ratio_low": stable["low"],
                        "variance_ratio_high": stable["high"],
                    }
                    line["stability"] = stable["verdict"]
                writer.writerow(line)
    return out.getvalue()


_MARKS = {"better": "+", "worse": "-"}


def latex_of(results: Mapping[str, Any]) -> str:
    """Variants by figures, mean ± sd, for the package booktabs; a sign marks what differs from the
    reference on this dev set, two signs what does so for new examples too; in brackets what does so
    for new examples only.
    """
    columns = [(each, metric) for each in results["studies"] for metric in each["metrics"]]
    lines = [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
    heads = [
        _escaped(
            f"{study_title(each)}{'' if each['set'] == 'dev' else ' ' + each['set']} "
            f"{catalogue.find('metrics', metric['metric']).title}"
        )
        for each, metric in columns
    ]
    lines += [" & ".join(["", *heads]) + r" \\", r"\midrule"]
    present = {row["variant"] for _, metric in columns for row in metric["variants"]}
    for variant in (name for name in results["variants"] if name in present or not columns):
        cells = []
        for _, metric in columns:
            row = next((row for row in metric["variants"] if row["variant"] == variant), None)
            if row is None:  # it has left the race of this study
                cells.append("--")
                continue
            form = catalogue.find("metrics", metric["metric"]).form
            against = row["contrast"] or {}
            here, anew = (
                _MARKS.get((against.get(key) or {}).get("verdict", ""), "")
                for key in ("this_dev_set", "new_examples")
            )
            mark = f"^{{{here}{anew if here else f'({anew})'}}}" if here or anew else ""
            sd = "" if row["sd"] is None else rf" \pm {format_scaled(row['sd'], form, 1)}"
            cells.append(
                "--"
                if row["mean"] is None
                else f"${format_scaled(row['mean'], form, 1)}{mark}{sd}$"
            )
        lines.append(" & ".join([_escaped(variant), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


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
