"""The figures of a comparison as plain data, and that data as tables: for a terminal, as CSV, as
LaTeX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from encore import catalogue
from encore.evaluation.metric import Form
from encore.tables.formatting import (
    format_difference,
    format_interval,
    format_mean,
    format_mean_sd,
    format_p,
    format_ratio,
    format_value,
)
from encore.tables.listing import Listing

__all__ = ["SOURCE", "comparison_tables", "study_title"]


# ------------------------------------------------------------------------------------ on a terminal


def comparison_tables(results: Mapping[str, Any]) -> list[Listing]:
    """One table per study, dev set and metric, with the verdicts in words below it; then the
    averages.
    """
    found = [
        _listing(each, metric, results) for each in results["studies"] for metric in each["metrics"]
    ]
    for each in results["studies"]:
        if not each["metrics"]:
            found.append(
                Listing(
                    f"{each['study']}: not applicable",
                    (),
                    (),
                    tuple(f"{name}: {why}" for name, why in each["not_applicable"].items() if why),
                )
            )
    found += _curves(results)
    if results["averages"]:
        rows = []
        for average in results["averages"]:
            for name, value in average["values"].items():
                said = average["expected"].get(name)
                title = average["title"] if name == next(iter(average["values"])) else ""
                rows.append(
                    (title, name, f"{100 * value:.2f}", f"{100 * said:.2f}" if said else "–")
                )
        found.append(
            Listing(
                "averages",
                ("average", "variant", "mean", "source"),
                tuple(rows),
                (),
                frozenset({2, 3}),
            )
        )
    return found


def _curves(results: Mapping[str, Any]) -> list[Listing]:
    """Where studies differ in the number of training rows: score against size, one table for each
    task, dev set and metric.
    """
    groups: dict[tuple[str, str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for each in results["studies"]:
        rest = " ".join(
            [
                each["task"],
                *(
                    f"{key}={value}"
                    for key, value in each["point"].items()
                    if key not in ("task", _SIZE)
                ),
            ]
        )
        for metric in each["metrics"] if _SIZE in each["point"] else ():
            groups.setdefault((rest, each["set"], metric["metric"]), []).append(
                (each["point"][_SIZE], metric)
            )
    found = []
    for (rest, split, name), sizes in groups.items():
        kind, others = (
            catalogue.find("metrics", name),
            [variant for variant in results["variants"] if variant != results["reference"]],
        )
        rows = []
        for size, metric in sorted(sizes, key=lambda pair: pair[0]) if len(sizes) > 1 else ():
            of = {
                row["variant"]: row for row in metric["variants"]
            }  # without those that have left a race
            means = [
                format_mean(of[variant]["values"] if variant in of else (), kind.form)
                for variant in (results["reference"], *others)
            ]
            gaps = [of[variant]["contrast"] if variant in of else None for variant in others]
            deltas = [
                "–"
                if gap is None
                else f"{format_difference(gap['delta'], kind.form)} "
                f"{format_interval(gap['new_examples'], kind.form)}"
                for gap in gaps
            ]
            rows.append((f"{size:,}", *means, *deltas))
        columns = (
            "training rows",
            results["reference"],
            *others,
            *(f"Δ {variant}" for variant in others),
        )
        note = (
            "[low, high]: 95 % intervals, of a mean for new seeds (t), of a difference Δ "
            "for new examples too."
        )
        if rows:
            found.append(
                Listing(
                    f"{rest}, {split}, {kind.title}, by training rows",
                    columns,
                    tuple(rows),
                    (note,),
                    frozenset(range(len(columns))),
                )
            )
    return found


_SIZE = "data.train_rows"
SOURCE = (
    "source: the figures of the paper, or whatever else the recipe's source is, in its own setting"
)


def _listing(
    each: Mapping[str, Any], metric: Mapping[str, Any], results: Mapping[str, Any]
) -> Listing:
    kind = catalogue.find("metrics", metric["metric"])
    form, rows, words = kind.form, [], []
    for row in metric["variants"]:
        against = row["contrast"]
        if row["not_applicable"]:
            rows.append((row["variant"], "not applicable", *[""] * 6))
            words.append(f"{row['variant']}: not applicable: {row['not_applicable']}")
            continue
        said = (
            "–"
            if row["expected"] is None
            else format_mean_sd(row["expected"], row["expected_sd"], form)
        )
        cells = ["", "", ""]
        if against is not None:
            cells = [
                format_difference(against["delta"], form),
                format_interval(against["this_dev_set"], form),
                format_interval(against["new_examples"], form),
            ]
        rows.append(
            (
                row["variant"],
                str(len(row["seeds"])),
                format_mean_sd(row["mean"], row["sd"], form),
                format_value(row["best"], form),
                said,
                *cells,
            )
        )
        words += [*_words(row, against), *_beside_source(row, metric["variants"][0], form)]
    n_seeds = f"{len(results['seeds'])} seed{'s' if len(results['seeds']) > 1 else ''}"
    title = (
        f"{study_title(each)}, {each['set']} ({each['rows']:,} rows), "
        f"{kind.title}{' in points' if form == 'percent' else ''}, {n_seeds}"
    )
    simple = [
        f"{who} {format_value(figures[metric['metric']], form)}"
        for who, figures in each["baselines"].items()
        if metric["metric"] in figures
    ]
    words += [f"without an encoder: {', '.join(simple)}"] if simple else []
    words += _race_words(each["race"], results["race"]) if "race" in each else []
    words += [*each["notes"], *results["notes"]]
    words += [SOURCE] if any(row["expected"] is not None for row in metric["variants"]) else []
    words.append(
        f"± sample standard deviation over seeds; Δ against {results['reference']} on the same "
        f"seeds, with 95 % intervals (not adjusted): for this dev set, "
        "and for new examples too. Verdicts hold for all variants together (Holm)."
    )
    best = "max" if kind.higher_is_better else "min"
    columns = (
        "variant",
        "seeds",
        "mean ± sd",
        best,
        "source",
        "Δ",
        "this dev set",
        "new examples too",
    )
    return Listing(title, columns, tuple(rows), tuple(dict.fromkeys(words)), frozenset(range(1, 8)))


def study_title(each: Mapping[str, Any]) -> str:
    """What the study is called in tables, with the task where it has several."""
    return (
        f"{each['study']}: {each['task']}" if "+" in each["study"].split(" ")[0] else each["study"]
    )


def _words(row: Mapping[str, Any], against: Mapping[str, Any] | None) -> list[str]:
    name, words = row["variant"], []
    if against is not None:
        ps = [
            f"{about} p {format_p(against[key]['p_holm'])}"
            for key, about in (("this_dev_set", "dev set"), ("new_examples", "new examples"))
            if against[key]
        ]
        ps += (
            [f"sign flips p {format_p(against['sign_flip_p'])}"]
            if against["sign_flip_p"] is not None
            else []
        )
        words.append(f"{name}: {against['verdict']}{' – ' if ps else ''}{', '.join(ps)}")
        stable = against["stability"]
        if stable is not None:
            low, high = (format_ratio(stable[key]) for key in ("low", "high"))
            words.append(
                f"{name}, stability: {stable['verdict']} (variance over seeds × "
                f"{format_ratio(stable['ratio'])} [{low}, {high}])"
            )
        # What is said of a single variant here is said of it below, the reference included.
        general = _OF_ANY if row["failed"] else (*_OF_ANY, *_OF_ALL)
        words += [
            note if note.endswith(general) else f"{name}: {note}"
            for note in against["notes"]
            if " collapsed (" not in note and ", seed " not in note
        ]
    words += [f"{name}, seed {seed} failed: {why}" for seed, why in row["failed"].items()]
    if row["collapsed"]:
        which = ", ".join(f"seed {seed} ({why})" for seed, why in row["collapsed"].items())
        words.append(
            f"{name}: {len(row['collapsed'])} of {len(row['seeds'])} runs collapsed: {which}"
        )
    return words


def _race_words(race: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Who was screened on what, who left and why."""
    if not race["rounds"]:
        return ["race: fewer than two variants, so there was nothing to screen"]
    form = catalogue.find("metrics", race["metric"]).form
    words = []
    for each in race["rounds"]:
        told = {
            name: f"{name} ({each['failed'].get(name) or format_value(score, form)})"
            for name, score in each["scores"].items()
        }
        seeds = f"seed{'s' if len(each['seeds']) > 1 else ''} {', '.join(map(str, each['seeds']))}"
        words.append(
            f"race, round {each['round']}, screened on {seeds}: left: "
            f"{_named(told, each['left'])}; stayed: {_named(told, each['stayed'])}"
        )
    words.append(
        "race: its seeds are not in the table, so the figures here do not flatter whom it "
        "chose; the reference is in the table in any case"
    )
    n_left = len(race["started"]) - len(race["stayed"])
    if n_left:
        words.append(
            f"race: it has seen these rows, though: for new examples Δ may flatter, and p is "
            f"adjusted for all {len(race['started'])} that started"
        )
    return [
        *words,
        f"race: {settings['runs']} runs in all instead of {settings['runs_of_the_grid']}",
    ]


def _named(told: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(told[name] for name in names) or "none"


def _beside_source(row: Mapping[str, Any], reference: Mapping[str, Any], form: Form) -> list[str]:
    """Whether the difference that the source reports is one that these runs leave possible."""
    against, said, base = row["contrast"], row["expected"], reference["expected"]
    if against is None or said is None or base is None:
        return []
    places = []
    for key, about in (
        ("this_dev_set", "for this dev set"),
        ("new_examples", "for new examples too"),
    ):
        if (
            (claim := against[key]) is not None
            and claim["low"] is not None
            and claim["high"] is not None
        ):
            places.append(
                f"{'inside' if claim['low'] <= said - base <= claim['high'] else 'outside'} "
                f"the interval {about}"
            )
    return (
        [
            f"{row['variant']}: the source's difference of "
            f"{format_difference(said - base, form)} lies {' and '.join(places)}"
        ]
        if places
        else []
    )


_OF_ANY = ("rows are too few for an interval to be trusted",)
_OF_ALL = (
    "run 3 or more",
    "one seed says nothing about other seeds",
)  # unless seeds of this one failed
