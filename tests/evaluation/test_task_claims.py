"""All tasks of a comparison: counts, averages and claims, against figures by hand and loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from encore import catalogue
from encore.evaluation.average_contrast import AverageColumn, contrast_averages
from encore.evaluation.averages import AVERAGE_WEIGHTS, glue_averages, overall_scores
from encore.evaluation.claims import Claim, Contrast, Stability, Verdict
from encore.evaluation.comparison_record import (
    ComparisonRecord,
    MetricResult,
    StudyResult,
    VariantResult,
)
from encore.evaluation.contrast import Contrasts, compare_variants
from encore.evaluation.influence import jackknife_pseudovalues
from encore.evaluation.intervals import combined, components, for_new_rows
from encore.evaluation.seed_runs import SeedRuns
from encore.evaluation.task_claims import FORMS, judge_claims, parse_claim
from encore.evaluation.task_groups import count_tasks, task_groups
from encore.evaluation.task_record import AverageResult, ClaimResult
from encore.types import LabelSpace

YES_NO = LabelSpace("binary", ("no", "yes"))


def a_claim(verdict: Verdict) -> Claim:
    return Claim(0.0, 0.1, 0.01, 2.0, 0.01, 0.01, verdict, 3)


def against(
    name: str, differences: tuple[float, ...], here: Verdict, anew: Verdict, stable: str | None
) -> Contrast:
    stability = Stability(0.5, 0.1, 2.0, 0.04, 0.04, stable) if stable else None  # type: ignore[arg-type]
    delta = float(np.mean(differences))
    return Contrast(
        name,
        tuple(range(len(differences))),
        differences,
        delta,
        a_claim(here),
        a_claim(anew),
        None,
        stability,
    )


def study(
    task: str, variants: Mapping[str, Contrast], metric: str = "accuracy", **point: Any
) -> StudyResult:
    rows = [VariantResult("baseline", (), (), 0.5, None, None, None, None, {}, {}, None, None)]
    rows += [
        VariantResult(name, one.seeds, (), 0.5, None, None, None, None, {}, {}, None, one)
        for name, one in variants.items()
    ]
    found = (MetricResult(metric, tuple(rows)),)
    return StudyResult(task, {"task": task, **point}, task, "dev", 100, found, {}, (), {})


def record(*studies: StudyResult, averages: tuple[AverageResult, ...] = ()) -> ComparisonRecord:
    names = [row.variant for row in studies[0].metrics[0].variants]
    return ComparisonRecord("all", "baseline", tuple(names), (0, 1, 2), studies, averages, ())


# task → the contrast of m: better (for new examples too), better here only, worse, open, open
M = {
    "a": against("m", (0.03, 0.04, 0.05), "better", "better", "more stable"),
    "b": against("m", (0.01, 0.02, 0.03), "better", "no evidence", "more stable"),
    "c": against("m", (-0.02, -0.03, -0.02), "worse", "no evidence", "less stable"),
    "d": against("m", (0.02, -0.01, 0.01), "no evidence", "no evidence", None),
    "e": against("m", (0.0, -0.02, 0.01), "no evidence", "no evidence", "no evidence"),
}
FIVE = record(*(study(task, {"m": one}) for task, one in M.items()))
ROWS = dict.fromkeys(((task, task) for task in M), 500)


def outcome(text: str, found: ComparisonRecord = FIVE, rows: Any = ROWS) -> ClaimResult:
    claim = parse_claim(text)
    assert claim is not None, text
    (judged,) = judge_claims([claim], found, rows)
    return judged


def test_tasks_are_counted_by_their_verdicts() -> None:
    (group,) = task_groups(FIVE)
    (count,) = count_tasks(group, ("baseline", "m"), "baseline")
    assert dict(count.of) == {
        "better": ("a", "b"),
        "worse": ("c",),
        "no evidence": ("d", "e"),
        "not judged": (),
    }
    assert (count.n_tasks, count.anew, count.ahead) == (5, ("a",), ("a", "b", "d"))
    assert (count.more_stable, count.less_stable) == (("a", "b"), ("c",))


def test_lower_is_better_turns_the_means_and_not_the_verdicts() -> None:
    losses = record(*(study(task, {"m": one}, "log_loss") for task, one in M.items()))
    (group,) = task_groups(losses)
    (count,) = count_tasks(group, losses.variants, "baseline")
    assert count.ahead == ("c", "e")
    assert count.of["better"] == ("a", "b")


@pytest.mark.parametrize(
    ("text", "expected", "told"),
    [
        ("m is better on at least 2 of 5 tasks", "held", "better on 2 (a, b)"),
        ("m is better on at least 3 of 5 tasks", "cannot be judged", "no evidence on 2 (d, e)"),
        ("m is better on at least 5 of 5 tasks", "not held", "worse on 1 (c)"),
        ("m is better on all tasks", "not held", "higher on 3 of 5"),
        ("m is better on at least 2 of 9 tasks", "cannot be judged", "about 9 tasks"),
        ("m is better on a and b", "held", "better on 2 (a, b)"),
        ("m is better on a, d", "cannot be judged", "no evidence on 1 (d)"),
        ("m is better on a and c", "not held", "worse on 1 (c)"),
        ("m is worse on c", "held", "worse on 1 (c)"),
        ("m is worse on a", "not held", "better on 1 (a)"),
        ("m has a higher mean on at least 3 of 5 tasks", "held", "higher on 3 (a, b, d)"),
        ("m has a higher mean on all tasks", "not held", "lower on 2 (c, e)"),
        ("m has a lower mean on c", "held", "lower on 1 (c)"),
        ("m is less variable on a and b", "held", "less variable on 2 (a, b)"),
        ("m is less variable on a, b and d", "cannot be judged", "no evidence on 1 (d)"),
        ("m is more stable on a, b and c", "not held", "more variable on 1 (c)"),
        ("m is more variable on c", "held", "more variable on 1 (c)"),
        ("m is better on rte", "cannot be judged", "rte: not in this comparison"),
        ("gone is better on a", "cannot be judged", "the variant gone was left out"),
        ("baseline is better on a", "cannot be judged", "is the reference"),
        ("m is better in glue.columns", "cannot be judged", "not every column of glue.columns"),
    ],
)
def test_a_claim_on_tasks(text: str, expected: str, told: str) -> None:
    found = outcome(text)
    assert (found.claim, found.outcome) == (text, expected), found.why
    assert told in found.why


def test_some_and_every_variant() -> None:
    other = {
        "a": against("n", (-0.03, -0.04, -0.05), "worse", "worse", None),
        "b": against("n", (0.01, 0.02, 0.03), "better", "better", None),
        "c": against("n", (0.01, 0.02, 0.03), "better", "no evidence", None),
    }
    three = record(*(study(task, {"m": M[task], "n": one}) for task, one in other.items()))
    assert outcome("some variant is better on all tasks", three).outcome == "held"
    assert outcome("every variant is better on b", three).outcome == "held"
    assert outcome("every variant is better on all tasks", three).outcome == "not held"


def gains(**of: tuple[float, ...]) -> ComparisonRecord:
    return record(
        *(
            study(task, {"m": against("m", values, "no evidence", "no evidence", None)})
            for task, values in of.items()
        )
    )


def sizes(**rows: int) -> dict[tuple[str, str], int]:
    return {(task, task): n for task, n in rows.items()}


def test_a_gain_that_falls_with_the_training_rows() -> None:
    found = gains(a=(0.06, 0.066, 0.057), b=(0.041, 0.04, 0.039), c=(0.02, 0.021, 0.019))
    rows = sizes(a=100, b=1_000, c=10_000)
    falls = outcome("m gains more on small sets", found, rows)
    assert falls.outcome == "held"
    slopes = [
        stats.linregress([2, 3, 4], [one.differences[seed] for one in contrasts_of(found)]).slope
        for seed in range(3)
    ]
    low, high = stats.t.interval(0.95, 2, np.mean(slopes), stats.sem(slopes))
    assert f"by −{-100 * np.mean(slopes):.1f} points" in falls.why
    assert f"[−{-100 * low:.1f}, −{-100 * high:.1f}]" in falls.why
    grows = outcome("m gains more on small sets", found, sizes(a=10_000, b=1_000, c=100))
    assert grows.outcome == "not held"
    vague = gains(a=(0.06, -0.061, 0.059), b=(0.041, 0.04, 0.039), c=(0.02, 0.021, 0.019))
    assert outcome("m gains more on small sets", vague, rows).outcome == "cannot be judged"
    equal = gains(a=(0.06,) * 3, b=(0.04,) * 3, c=(0.02,) * 3)
    assert outcome("m gains more on small sets", equal, rows).outcome == "cannot be judged"
    same = outcome("m gains more on small sets", found, sizes(a=500, b=500, c=500))
    assert (same.outcome, same.why) == ("cannot be judged", "all tasks have 500 training rows")


def contrasts_of(found: ComparisonRecord) -> list[Contrast]:
    rows = [each.metrics[0].variant("m") for each in found.studies]
    return [row.contrast for row in rows if row and row.contrast]


def test_the_largest_gain() -> None:
    found = gains(a=(0.06, 0.061, 0.059), b=(0.041, 0.04, 0.039), c=(0.02, 0.08, 0.0))
    held = gains(a=(0.06, 0.061, 0.059), b=(0.041, 0.04, 0.039))
    assert outcome("m gains most on a", held, sizes(a=1, b=1)).outcome == "held"
    assert outcome("m gains most on b", held, sizes(a=1, b=1)).outcome == "not held"
    vague = outcome("m gains most on a", found, sizes(a=1, b=1, c=1))
    assert vague.outcome == "cannot be judged"
    assert "not told apart from c" in vague.why
    assert "a +6.0 (rank 1 of 3)" in vague.why


def test_two_seeds_judge_nothing() -> None:
    two = gains(a=(0.06, 0.061), b=(0.041, 0.04), c=(0.02, 0.02))
    rows = sizes(a=1, b=10, c=100)
    for text in ("m gains most on a", "m gains more on small sets", "m is better on all tasks"):
        assert outcome(text, two, rows).outcome == "cannot be judged"


def test_groups_of_studies_are_judged_apart() -> None:
    found = record(
        *(
            study(task, {"m": M[of]}, **{"data.train_rows": n})
            for n, of in ((10, "a"), (20, "c"))
            for task in ("x", "y")
        )
    )
    claim = parse_claim("m is better on all tasks")
    assert claim is not None
    judged = judge_claims([claim], found, {})
    assert [(one.about, one.outcome) for one in judged] == [
        ("data.train_rows=10", "held"),
        ("data.train_rows=20", "not held"),
    ]


def test_one_task_is_no_comparison_over_tasks() -> None:
    one = record(study("a", {"m": M["a"]}))
    assert task_groups(one) == []
    assert outcome("m is better on all tasks", one).why == "the comparison has fewer than two tasks"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_a_message_shows_is_one(form: str) -> None:
    assert parse_claim(form) is not None
    assert parse_claim(f"  {form}. ") is not None


@pytest.mark.parametrize(
    "text",
    [
        "m is better",
        "m is better on",
        "m is better on at least 8 of 7 tasks",
        "m is better on at least 0 of 7 tasks",
        "m is best on rte",
        "m better on rte",
        "some variant gains most on rte",
        "every variant is better in glue.columns",
        "",
    ],
)
def test_what_is_no_claim(text: str) -> None:
    assert parse_claim(text) is None


# ----------------------------------------------------------------------------------------- averages


def scores_of(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(rows, 2) scores that are right where `right` is."""
    answers = np.where(right, targets, 1 - targets)
    return np.stack([1.0 - answers, answers.astype(float)], axis=1)


def measured(
    seed: int, n_rows: int, metrics: tuple[str, ...], *, gap: float
) -> tuple[np.ndarray, dict[str, Contrasts], dict[str, list[np.ndarray]]]:
    """Two ways of training on one dev set, four seeds each; m is right more often, by `gap`."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, n_rows)
    arms = {
        name: [scores_of(rng.random(n_rows) < share, targets) for _ in range(4)]
        for name, share in (("baseline", 0.7), ("m", 0.7 + gap))
    }
    runs = [SeedRuns(name, dict(enumerate(of))) for name, of in arms.items()]
    found = {
        name: compare_variants(runs[0], runs[1:], targets, YES_NO, catalogue.find("metrics", name))
        for name in metrics
    }
    return targets, found, arms


def test_the_contrast_of_an_average_equals_a_slow_loop() -> None:
    """Two columns on the same rows and one on others: against scipy and pseudo-values by hand."""
    targets, one, arms = measured(1, 90, ("accuracy", "f1"), gap=0.08)
    other_targets, two, other_arms = measured(2, 60, ("accuracy",), gap=0.04)
    weights = {"accuracy": 0.25, "f1": 0.25, "other": 0.5}
    columns = [
        AverageColumn(weights["accuracy"], "one", one["accuracy"]),
        AverageColumn(weights["f1"], "one", one["f1"]),
        AverageColumn(weights["other"], "two", two["accuracy"]),
    ]
    found = contrast_averages(columns, ("baseline", "m"), "baseline")["m"]
    values, shares = {}, {}
    for name in ("baseline", "m"):
        values[name], shares[name] = [], []
        for seed in range(4):
            parts = [
                jackknife_pseudovalues(catalogue.find("metrics", metric), of[seed], true, YES_NO)
                for metric, of, true in (
                    ("accuracy", arms[name], targets),
                    ("f1", arms[name], targets),
                    ("accuracy", other_arms[name], other_targets),
                )
            ]
            values[name].append(0.25 * parts[0][0] + 0.25 * parts[1][0] + 0.5 * parts[2][0])
            shares[name].append((0.25 * parts[0][1] + 0.25 * parts[1][1], 0.5 * parts[2][1]))
    differences = np.array(values["m"]) - np.array(values["baseline"])
    test = stats.ttest_rel(values["m"], values["baseline"])
    here, anew = found.this_dev_set, found.new_examples
    assert here is not None
    assert anew is not None
    assert found.differences == pytest.approx(differences)
    assert (here.p, here.df) == (pytest.approx(test.pvalue), 3)
    assert (here.low, here.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    parts = [
        components(
            np.stack([shares["m"][seed][at] - shares["baseline"][seed][at] for seed in range(4)])
        )
        for at in range(2)
    ]
    seed_part = differences.var(ddof=1) / 4
    row_part = sum(float(each.row_variance) for each in parts)
    assert anew.standard_error == pytest.approx(np.sqrt(seed_part + row_part))
    assert anew.standard_error >= here.standard_error
    assert anew.rows_needed is None


def test_the_weights_give_the_averages_up_to_a_constant() -> None:
    rng = np.random.default_rng(3)
    for name, of in (("glue.columns", "columns"), ("glue.tasks", "tasks")):
        weights = AVERAGE_WEIGHTS[name]
        a, b = ({column: float(rng.random()) for column in weights} for _ in range(2))
        by_hand = sum(weight * (a[column] - b[column]) for column, weight in weights.items())
        full = getattr(glue_averages(a), of) - getattr(glue_averages(b), of)
        assert by_hand == pytest.approx(full)
    for name, of in (("cs224n.r", "with_r"), ("cs224n.normalised", "with_normalised")):
        weights = AVERAGE_WEIGHTS[name]
        a, b = ({column: float(rng.random()) for column in weights} for _ in range(2))
        by_hand = sum(weight * (a[column] - b[column]) for column, weight in weights.items())
        both = [
            getattr(
                overall_scores(
                    {key: one[key] for key in ("sst5.accuracy", "quora.accuracy")},
                    {"sts.pearson": one["sts.pearson"]},
                ),
                of,
            )
            for one in (a, b)
        ]
        assert by_hand == pytest.approx(both[0] - both[1])


def test_a_variant_without_a_column_has_no_average() -> None:
    _, one, _ = measured(1, 40, ("accuracy",), gap=0.1)
    _, two, _ = measured(2, 40, ("accuracy",), gap=0.1)
    alone = Contrasts("accuracy", 40, two["accuracy"].baseline, (), ())
    columns = [AverageColumn(0.5, "one", one["accuracy"]), AverageColumn(0.5, "two", alone)]
    assert contrast_averages(columns, ("baseline", "m"), "baseline") == {}
    assert contrast_averages([], ("baseline", "m"), "baseline") == {}


def test_false_claims_of_an_average_are_one_in_twenty() -> None:
    """Null studies of three dev sets, three seeds: the luck of a seed is common to all sets."""
    rng = np.random.default_rng(5)
    n_studies, found = 3_000, 0
    for _ in range(n_studies):
        luck = rng.normal(0, 0.02, 3)
        gaps = []
        for n_rows in (71, 277, 400):
            suits = rng.normal(0, 0.3, n_rows)
            gaps.append((luck[:, None] + suits + rng.normal(0, 0.6, (3, n_rows))) / 3)
        sums = np.sum([gap.mean(axis=1) for gap in gaps], axis=0)
        found += float(for_new_rows(combined([components(gap) for gap in gaps], sums)).p()) < 0.05
    assert 0.035 < found / n_studies < 0.065


def test_an_average_and_its_contrast_survive_the_file() -> None:
    one = AverageResult("glue.columns", "mean", {"m": 0.5}, {}, contrasts={"m": M["a"]})
    assert AverageResult.from_json(one.to_json()) == one
    assert "contrasts" not in AverageResult("glue.columns", "mean", {"m": 0.5}, {}).to_json()
    averaged = record(study("a", {"m": M["a"]}), study("b", {"m": M["b"]}), averages=(one,))
    judged = outcome("m is better in glue.columns", averaged)
    assert judged.outcome == "held"
    assert "+4.00 points, these dev sets [+0.00, +10.00]" in judged.why
    assert outcome("m is worse in glue.columns", averaged).outcome == "not held"
    whole = ComparisonRecord(**{**vars(averaged), "claims": (judged,)})
    assert ComparisonRecord.from_json(whole.to_json()) == whole
    assert "claims" not in averaged.to_json()
