"""The figures of a comparison as plain data, and that data as tables: for a terminal, as CSV, as LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from encore import catalogue, contrast
from encore.averages import GLUE_COLUMNS, glue_averages, overall_scores
from encore.contrast import Arm, Claim, Contrast, Runs
from encore.evaluate import Listing
from encore.intervals import for_these_rows
from encore.statistics import Form
from encore.types import LabelSpace

__all__ = ["SOURCE", "averages", "csv_of", "interval", "latex_of", "listings", "measured", "plain", "signed", "study_of"]

# ----------------------------------------------------------------------------------------------------------------------------------------- as data


def measured(
    reference: Runs,
    others: Sequence[Runs],
    targets: np.ndarray,
    labels: LabelSpace,
    metric: str,
    expected: Callable[[str], tuple[float | None, float | None]],
    *,
    n_left: int = 0,
) -> dict[str, Any]:
    """One metric on one dev set: every variant, the reference first. expected: variant → (mean, sd) that the source reports. n_left: variants that have left
    a race on these rows."""
    found = contrast.compare(reference, others, targets, labels, catalogue.find("metrics", metric), n_left=n_left)
    contrasts = {one.variant: one for one in found.contrasts}
    rows = [_row(arm, contrasts.get(arm.name), *expected(arm.name)) for arm in (found.baseline, *found.variants)]
    return {"metric": metric, "variants": rows}


def _row(arm: Arm, against: Contrast | None, expected: float | None, expected_sd: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "variant": arm.name, "seeds": list(arm.seeds), "values": list(arm.values), "mean": arm.mean, "sd": arm.sd, "best": arm.best,
        "expected": expected, "expected_sd": expected_sd, "collapsed": {str(seed): why for seed, why in arm.collapsed.items()},
        "failed": {str(seed): why for seed, why in arm.failed.items()}, "not_applicable": arm.not_applicable, "contrast": None,
    }
    if against is not None and arm.not_applicable is None:
        stable = against.stability
        row["contrast"] = {
            "seeds": list(against.seeds), "differences": list(against.differences), "delta": against.delta, "verdict": against.verdict,
            "this_dev_set": _claim(against.this_dev_set), "new_examples": _claim(against.new_examples), "sign_flip_p": against.sign_flip_p,
            "stability": None if stable is None else {key: _finite(getattr(stable, key)) for key in ("ratio", "low", "high", "p", "p_holm", "verdict")},
            "notes": list(against.notes),
        }
    return row


def _claim(claim: Claim | None) -> dict[str, Any] | None:
    keys = ("low", "high", "standard_error", "df", "p", "p_holm", "verdict", "seeds_needed", "rows_needed")
    return None if claim is None else {key: _finite(getattr(claim, key)) for key in keys}


def _finite(value: Any) -> Any:
    """JSON knows no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def averages(studies: Sequence[Mapping[str, Any]], variants: Sequence[str], expected: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Means over tasks of the variants that have every column: GLUE's in both ways, and of the CS224N three tasks with both conventions for Pearson.

    The source's own figure is `expect: {glue.columns: …}`, and likewise with the other names.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in studies:
        rest = " ".join(f"{key}={value}" for key, value in each["point"].items() if key != "task")
        groups.setdefault(rest, []).append(each)
    found = []
    for rest, group in groups.items():
        values: dict[str, dict[str, float]] = {}
        for variant in variants:
            for name, value in _averages(_columns(group, variant)).items():
                values.setdefault(name, {})[variant] = value
        for name, of in values.items():
            told = {variant: expected[variant][name] for variant in of if name in expected.get(variant, {})}
            found.append({"name": name, "title": f"{_AVERAGES[name]}{', ' if rest else ''}{rest}", "values": of, "expected": told})
    return found


_AVERAGES = {
    "glue.columns": "mean of GLUE's 12 columns (MRPC, MNLI and QQP count twice)",
    "glue.tasks": "mean of GLUE's 9 tasks",
    "cs224n.r": "mean of sst5, quora and r on sts",
    "cs224n.normalised": "mean of sst5, quora and (1 + r) / 2 on sts",
}


def _averages(columns: Mapping[str, float]) -> dict[str, float]:
    """Those that can be told: name → value."""
    found: dict[str, float] = {}
    glue = glue_averages({name: columns[name] for name in GLUE_COLUMNS if name in columns})
    if glue.columns is not None and glue.tasks is not None:
        found |= {"glue.columns": glue.columns, "glue.tasks": glue.tasks}
    if {"sst5.accuracy", "quora.accuracy", "sts.pearson"} <= set(columns):
        both = overall_scores({name: columns[name] for name in ("sst5.accuracy", "quora.accuracy")}, {"sts.pearson": columns["sts.pearson"]})
        found |= {"cs224n.r": both.with_r, "cs224n.normalised": both.with_normalised}
    return found


def _columns(studies: Sequence[Mapping[str, Any]], variant: str) -> dict[str, float]:
    """A variant's means, as "task.metric" and as "task.dev set.metric"."""
    found = {}
    for each in studies:
        for metric in each["metrics"]:
            for row in metric["variants"]:
                if row["variant"] == variant and row["mean"] is not None:
                    found[f"{each['task']}.{each['set']}.{metric['metric']}"] = row["mean"]
                    found.setdefault(f"{each['task']}.{metric['metric']}", row["mean"])
    return found


# ------------------------------------------------------------------------------------------------------------------------------------- on a terminal


def listings(results: Mapping[str, Any]) -> list[Listing]:
    """One table per study, dev set and metric, with the verdicts in words below it; then the averages."""
    found = [_listing(each, metric, results) for each in results["studies"] for metric in each["metrics"]]
    for each in results["studies"]:
        if not each["metrics"]:
            found.append(Listing(f"{each['study']}: not applicable", (), (), tuple(f"{name}: {why}" for name, why in each["not_applicable"].items() if why)))
    found += _curves(results)
    if results["averages"]:
        rows = []
        for average in results["averages"]:
            for name, value in average["values"].items():
                said = average["expected"].get(name)
                title = average["title"] if name == next(iter(average["values"])) else ""
                rows.append((title, name, f"{100 * value:.2f}", f"{100 * said:.2f}" if said else "–"))
        found.append(Listing("averages", ("average", "variant", "mean", "source"), tuple(rows), (), frozenset({2, 3})))
    return found


def _curves(results: Mapping[str, Any]) -> list[Listing]:
    """Where studies differ in the number of training rows: score against size, one table for each task, dev set and metric."""
    groups: dict[tuple[str, str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for each in results["studies"]:
        rest = " ".join([each["task"], *(f"{key}={value}" for key, value in each["point"].items() if key not in ("task", _SIZE))])
        for metric in each["metrics"] if _SIZE in each["point"] else ():
            groups.setdefault((rest, each["set"], metric["metric"]), []).append((each["point"][_SIZE], metric))
    found = []
    for (rest, split, name), sizes in groups.items():
        kind, others = catalogue.find("metrics", name), [variant for variant in results["variants"] if variant != results["reference"]]
        rows = []
        for size, metric in sorted(sizes, key=lambda pair: pair[0]) if len(sizes) > 1 else ():
            of = {row["variant"]: row for row in metric["variants"]}                                # without those that have left a race
            means = [_mean_interval(of[variant]["values"] if variant in of else (), kind.form) for variant in (results["reference"], *others)]
            gaps = [of[variant]["contrast"] if variant in of else None for variant in others]
            deltas = ["–" if gap is None else f"{signed(gap['delta'], kind.form)} {interval(gap['new_examples'], kind.form)}" for gap in gaps]
            rows.append((f"{size:,}", *means, *deltas))
        columns = ("training rows", results["reference"], *others, *(f"Δ {variant}" for variant in others))
        note = "[low, high]: 95 % intervals, of a mean for new seeds (t), of a difference Δ for new examples too."
        if rows:
            found.append(Listing(f"{rest}, {split}, {kind.title}, by training rows", columns, tuple(rows), (note,), frozenset(range(len(columns)))))
    return found


_SIZE = "data.train_rows"
SOURCE = "source: the figures of the paper, or whatever else the recipe's source is, in its own setting"


def _mean_interval(values: Sequence[float], form: Form) -> str:
    if len(values) < 2:
        return plain(values[0] if values else None, form)
    low, high = (float(end) for end in for_these_rows(np.array(values)).interval())
    return f"{plain(float(np.mean(values)), form)} [{plain(low, form)}, {plain(high, form)}]"


def _listing(each: Mapping[str, Any], metric: Mapping[str, Any], results: Mapping[str, Any]) -> Listing:
    kind = catalogue.find("metrics", metric["metric"])
    form, rows, words = kind.form, [], []
    for row in metric["variants"]:
        against = row["contrast"]
        if row["not_applicable"]:
            rows.append((row["variant"], "not applicable", *[""] * 6))
            words.append(f"{row['variant']}: not applicable: {row['not_applicable']}")
            continue
        said = "–" if row["expected"] is None else _with_sd(row["expected"], row["expected_sd"], form)
        cells = ["", "", ""]
        if against is not None:
            cells = [signed(against["delta"], form), interval(against["this_dev_set"], form), interval(against["new_examples"], form)]
        rows.append((row["variant"], str(len(row["seeds"])), _with_sd(row["mean"], row["sd"], form), plain(row["best"], form), said, *cells))
        words += [*_words(row, against), *_beside_source(row, metric["variants"][0], form)]
    n_seeds = f"{len(results['seeds'])} seed{'s' if len(results['seeds']) > 1 else ''}"
    title = f"{study_of(each)}, {each['set']} ({each['rows']:,} rows), {kind.title}{' in points' if form == 'percent' else ''}, {n_seeds}"
    simple = [f"{who} {plain(figures[metric['metric']], form)}" for who, figures in each["baselines"].items() if metric["metric"] in figures]
    words += [f"without an encoder: {', '.join(simple)}"] if simple else []
    words += _race_words(each["race"], results["race"]) if "race" in each else []
    words += [*each["notes"], *results["notes"]]
    words += [SOURCE] if any(row["expected"] is not None for row in metric["variants"]) else []
    words.append(
        f"± sample standard deviation over seeds; Δ against {results['reference']} on the same seeds, with 95 % intervals (not adjusted): for this dev set, "
        "and for new examples too. Verdicts hold for all variants together (Holm)."
    )
    best = "max" if kind.higher_is_better else "min"
    columns = ("variant", "seeds", "mean ± sd", best, "source", "Δ", "this dev set", "new examples too")
    return Listing(title, columns, tuple(rows), tuple(dict.fromkeys(words)), frozenset(range(1, 8)))


def study_of(each: Mapping[str, Any]) -> str:
    """What the study is called in tables, with the task where it has several."""
    return f"{each['study']}: {each['task']}" if "+" in each["study"].split(" ")[0] else each["study"]


def _words(row: Mapping[str, Any], against: Mapping[str, Any] | None) -> list[str]:
    name, words = row["variant"], []
    if against is not None:
        ps = [f"{about} p {_p(against[key]['p_holm'])}" for key, about in (("this_dev_set", "dev set"), ("new_examples", "new examples")) if against[key]]
        ps += [f"sign flips p {_p(against['sign_flip_p'])}"] if against["sign_flip_p"] is not None else []
        words.append(f"{name}: {against['verdict']}{' – ' if ps else ''}{', '.join(ps)}")
        stable = against["stability"]
        if stable is not None:
            low, high = (_factor(stable[key]) for key in ("low", "high"))
            words.append(f"{name}, stability: {stable['verdict']} (variance over seeds × {_factor(stable['ratio'])} [{low}, {high}])")
        # What is said of a single variant here is said of it below, the reference included.
        general = _OF_ANY if row["failed"] else (*_OF_ANY, *_OF_ALL)
        words += [note if note.endswith(general) else f"{name}: {note}" for note in against["notes"] if " collapsed (" not in note and ", seed " not in note]
    words += [f"{name}, seed {seed} failed: {why}" for seed, why in row["failed"].items()]
    if row["collapsed"]:
        which = ", ".join(f"seed {seed} ({why})" for seed, why in row["collapsed"].items())
        words.append(f"{name}: {len(row['collapsed'])} of {len(row['seeds'])} runs collapsed: {which}")
    return words


def _race_words(race: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Who was screened on what, who left and why."""
    if not race["rounds"]:
        return ["race: fewer than two variants, so there was nothing to screen"]
    form = catalogue.find("metrics", race["metric"]).form
    words = []
    for each in race["rounds"]:
        told = {name: f"{name} ({each['failed'].get(name) or plain(score, form)})" for name, score in each["scores"].items()}
        seeds = f"seed{'s' if len(each['seeds']) > 1 else ''} {', '.join(map(str, each['seeds']))}"
        words.append(f"race, round {each['round']}, screened on {seeds}: left: {_named(told, each['left'])}; stayed: {_named(told, each['stayed'])}")
    words.append("race: its seeds are not in the table, so the figures here do not flatter whom it chose; the reference is in the table in any case")
    n_left = len(race["started"]) - len(race["stayed"])
    if n_left:
        words.append(f"race: it has seen these rows, though: for new examples Δ may flatter, and p is adjusted for all {len(race['started'])} that started")
    return [*words, f"race: {settings['runs']} runs in all instead of {settings['runs_of_the_grid']}"]


def _named(told: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(told[name] for name in names) or "none"


def _beside_source(row: Mapping[str, Any], reference: Mapping[str, Any], form: Form) -> list[str]:
    """Whether the difference that the source reports is one that these runs leave possible."""
    against, said, base = row["contrast"], row["expected"], reference["expected"]
    if against is None or said is None or base is None:
        return []
    places = []
    for key, about in (("this_dev_set", "for this dev set"), ("new_examples", "for new examples too")):
        if (claim := against[key]) is not None and claim["low"] is not None and claim["high"] is not None:
            places.append(f"{'inside' if claim['low'] <= said - base <= claim['high'] else 'outside'} the interval {about}")
    return [f"{row['variant']}: the source's difference of {signed(said - base, form)} lies {' and '.join(places)}"] if places else []


_OF_ANY = ("rows are too few for an interval to be trusted",)
_OF_ALL = ("run 3 or more", "one seed says nothing about other seeds")          # unless seeds of this one failed


def _factor(value: float | None) -> str:
    return "∞" if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< .001" if value < 0.001 else f"{value:.3f}".replace("0.", ".", 1)


def _scaled(value: float, form: Form, digits: int = 0) -> str:
    """A percentage in points, a coefficient with three decimals, an amount with four figures."""
    if form == "percent":
        return f"{100 * value:.{1 + digits}f}"
    return f"{value:.3f}" if form == "coefficient" else f"{value:.4g}"


def plain(value: float | None, form: Form) -> str:
    return "–" if value is None else _scaled(value, form)


def signed(value: float | None, form: Form) -> str:
    if value is None:
        return "–"
    text = _scaled(abs(value), form)
    return text if not float(text) else f"{'+' if value > 0 else '−'}{text}"


def _with_sd(value: float | None, sd: float | None, form: Form) -> str:
    return "–" if value is None else plain(value, form) if sd is None else f"{plain(value, form)} ± {_scaled(sd, form)}"


def interval(claim: Mapping[str, Any] | None, form: Form) -> str:
    return "–" if claim is None else f"[{signed(claim['low'], form)}, {signed(claim['high'], form)}]"


# ------------------------------------------------------------------------------------------------------------------------------------------ as files

_COLUMNS = (
    "study", "set", "rows", "metric", "variant", "n_seeds", "mean", "sd", "best", "source", "source_sd", "delta", "low_this_dev_set", "high_this_dev_set",
    "p_holm_this_dev_set", "low_new_examples", "high_new_examples", "p_holm_new_examples", "verdict", "seeds_needed_this_dev_set", "seeds_needed_new_examples",
    "sign_flip_p", "variance_ratio", "variance_ratio_low", "variance_ratio_high", "stability", "collapsed_seeds", "failed_seeds", "not_applicable", "values",
)


def csv_of(results: Mapping[str, Any]) -> str:
    """One line per study, dev set, metric and variant; fractions, every digit; an empty cell is a figure that there is not."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in results["studies"]:
        for metric in each["metrics"]:
            for row in metric["variants"]:
                line = {"study": study_of(each), "set": each["set"], "rows": each["rows"], "metric": metric["metric"], "variant": row["variant"]}
                line |= {"n_seeds": len(row["seeds"]), "mean": row["mean"], "sd": row["sd"], "best": row["best"], "source": row["expected"]}
                line |= {"source_sd": row["expected_sd"], "not_applicable": row["not_applicable"], "values": " ".join(map(repr, row["values"]))}
                line |= {"collapsed_seeds": " ".join(row["collapsed"]), "failed_seeds": " ".join(row["failed"])}
                against = row["contrast"] or {}
                line |= {key: against.get(key) for key in ("delta", "verdict", "sign_flip_p")} if against else {}
                for key in ("this_dev_set", "new_examples"):
                    line |= {f"{what}_{key}": claim[what] for what in ("low", "high", "p_holm", "seeds_needed")} if (claim := against.get(key)) else {}
                if stable := against.get("stability"):
                    line |= {"variance_ratio": stable["ratio"], "variance_ratio_low": stable["low"], "variance_ratio_high": stable["high"]}
                    line["stability"] = stable["verdict"]
                writer.writerow(line)
    return out.getvalue()


_MARKS = {"better": "+", "worse": "-"}


def latex_of(results: Mapping[str, Any]) -> str:
    """Variants by figures, mean ± sd, for the package booktabs; a sign marks what differs from the reference on this dev set, two signs what does so for new
    examples too; in brackets what does so for new examples only."""
    columns = [(each, metric) for each in results["studies"] for metric in each["metrics"]]
    lines = [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
    heads = [_escaped(f"{study_of(each)}{'' if each['set'] == 'dev' else ' ' + each['set']} {catalogue.find('metrics', metric['metric']).title}")
             for each, metric in columns]
    lines += [" & ".join(["", *heads]) + r" \\", r"\midrule"]
    present = {row["variant"] for _, metric in columns for row in metric["variants"]}
    for variant in (name for name in results["variants"] if name in present or not columns):
        cells = []
        for _, metric in columns:
            row = next((row for row in metric["variants"] if row["variant"] == variant), None)
            if row is None:                      # it has left the race of this study
                cells.append("--")
                continue
            form = catalogue.find("metrics", metric["metric"]).form
            against = row["contrast"] or {}
            here, anew = (_MARKS.get((against.get(key) or {}).get("verdict", ""), "") for key in ("this_dev_set", "new_examples"))
            mark = f"^{{{here}{anew if here else f'({anew})'}}}" if here or anew else ""
            sd = "" if row["sd"] is None else rf" \pm {_scaled(row['sd'], form, 1)}"
            cells.append("--" if row["mean"] is None else f"${_scaled(row['mean'], form, 1)}{mark}{sd}$")
        lines.append(" & ".join([_escaped(variant), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    special = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, r"\textbackslash{}" if letter == "\\" else letter) for letter in text)
