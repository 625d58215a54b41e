"""Estimates, confusion, mistakes, slices, and the tables as they are printed."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from rich.console import Console

from encore import catalogue
from encore.errors import DataError, RecipeError
from encore.evaluation.bootstrap import bootstrap_interval
from encore.evaluation.estimates import (
    Estimate,
    by_slice,
    confusion,
    estimate_metrics,
    metrics_for,
    metrics_named,
    worst_mistakes,
)
from encore.evaluation.metric import metric
from encore.tables.evaluation import (
    DevScores,
    RowTexts,
    confusion_table,
    mistakes_table,
    results_table,
    slices_table,
)
from encore.tables.formatting import format_estimate
from encore.tables.listing import Listing, show
from encore.types import LabelSpace

BINARY = LabelSpace("binary", ("no", "yes"))
THREE = LabelSpace("multiclass", ("bad", "fair", "good"))
TAGS = LabelSpace("multilabel", ("price", "size"))
VALUE = LabelSpace("regression")


def scores_of(predicted: list[int], n: int) -> np.ndarray:
    return np.eye(n)[predicted] * 2


def test_an_estimate_is_the_metric_and_its_interval():
    draw = np.random.default_rng(0)
    scores, targets = draw.normal(size=(61, 3)), draw.integers(0, 3, 61)
    found = estimate_metrics(scores, targets, THREE, ["macro_f1", "accuracy"], 7)
    assert list(found) == ["macro_f1", "accuracy"]
    for name, estimate in found.items():
        metric = catalogue.find("metrics", name)
        interval = bootstrap_interval(metric, scores, targets, THREE, seed=7)
        assert estimate == Estimate(metric(scores, targets, THREE), interval.low, interval.high, ())


@pytest.mark.parametrize(
    ("kind", "some", "others"),
    [
        ("binary", {"accuracy", "f1", "log_loss", "macro_f1", "mcc", "micro_f1"}, {"rmse", "lrap"}),
        ("multiclass", {"accuracy", "log_loss", "macro_f1", "mcc", "micro_f1"}, {"f1", "pearson"}),
        ("multilabel", {"log_loss", "lrap", "macro_f1", "subset_accuracy"}, {"accuracy", "mae"}),
        ("regression", {"mae", "normalised_pearson", "pearson", "rmse", "spearman"}, {"accuracy"}),
    ],
)
def test_metrics_for_each_kind(kind, some, others):
    found = metrics_for(kind)
    assert list(found) == sorted(found)
    assert some <= set(found)
    assert not others & set(found)


def test_wrong_metrics_are_all_named_at_once():
    with pytest.raises(RecipeError) as caught:
        metrics_named(["acuracy", "pearson", "f1"], "multiclass")
    first, second, third = caught.value.lines
    assert "no metric called 'acuracy'. Did you mean 'accuracy'?" in first
    assert "'pearson' does not fit a multiclass task. Take one of accuracy, " in second
    assert "'f1'" in third


def test_what_is_not_defined_becomes_a_note_and_not_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimate_metrics(np.full((40, 1), 3.0), np.arange(40.0), VALUE, ["pearson"], 0)[
            "pearson"
        ]
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.notes == (
        "all 40 predictions are the same: the correlation is not defined and counts as 0",
    )


def test_other_peoples_warnings_pass_through(monkeypatch):
    @metric("accuracy", kinds=("binary",))
    def accuracy(scores, targets, labels):
        warnings.warn("mind the gap", RuntimeWarning, stacklevel=1)
        return 0.5

    original = catalogue.find
    monkeypatch.setattr(
        catalogue,
        "find",
        lambda kind, name: accuracy if name == "accuracy" else original(kind, name),
    )
    with pytest.warns(RuntimeWarning, match="mind the gap"):
        assert (
            estimate_metrics(
                np.zeros((3, 2)), np.zeros(3, int), BINARY, ["accuracy"], 0, n_resamples=3
            )["accuracy"].value
            == 0.5
        )


def test_faultless_rows_have_an_interval_that_says_what_it_is():
    found = estimate_metrics(
        scores_of([0, 1] * 50, 2), np.array([0, 1] * 50), BINARY, ["accuracy", "mcc"], 0
    )
    assert found["accuracy"].notes == (
        "no mistake in 100 rows, so the interval has no width; the true value may well be 97.0 %",
    )
    assert found["mcc"].notes == ()
    few = estimate_metrics(
        scores_of([0, 1, 1], 2), np.array([0, 1, 1]), BINARY, ["accuracy", "f1"], 0
    )
    assert few["accuracy"].notes[0].endswith("the true value may well be 36.8 %"), (
        "0.368 ** 3 is 0.05"
    )
    assert (few["f1"].value, few["f1"].low, few["f1"].notes) == (1.0, 0.0, ()), (
        "draws without a row of the second class: there is a width"
    )


def test_a_score_that_is_no_number_is_refused():
    for function in (
        confusion,
        worst_mistakes,
        lambda s, t, labels: estimate_metrics(s, t, labels, ["accuracy"], 0),
    ):
        with pytest.raises(DataError, match="scores, row 1"):
            function(np.array([[0, 1], [np.nan, 0]]), np.array([0, 1]), BINARY)


def test_confusion_has_truth_by_row():
    matrix = confusion(scores_of([0, 1, 1, 1], 3), np.array([0, 0, 1, 0]), THREE)
    assert matrix.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]


def test_confusion_of_labels_and_of_values():
    matrix = confusion(
        np.array([[1.0, -1], [1, 1], [-1, -1]]), np.array([[1, 1], [0, 1], [1, 0]]), TAGS
    )
    assert matrix.tolist() == [[[0, 1], [1, 1]], [[1, 0], [1, 1]]]
    with pytest.raises(RecipeError, match="no confusion matrix"):
        confusion(np.zeros((2, 1)), np.zeros(2), VALUE)


def test_the_worst_mistakes_come_first_and_only_mistakes_come():
    scores = np.array([[5.0, 0], [0, 1], [0, 9], [0, 9], [3, 0]])
    assert worst_mistakes(scores, np.array([0, 0, 0, 0, 1]), BINARY).tolist() == [2, 3, 4, 1]
    assert worst_mistakes(scores, np.array([0, 0, 0, 0, 1]), BINARY, 1).tolist() == [2]
    assert worst_mistakes(scores, np.array([0, 1, 1, 1, 0]), BINARY).tolist() == []
    assert worst_mistakes(np.array([[1.0], [2], [3]]), np.array([1.0, 5, 2]), VALUE).tolist() == [
        1,
        2,
    ]
    assert worst_mistakes(
        np.array([[1.0, -1], [9, -1], [1, 1]]), np.array([[0, 0], [0, 0], [1, 1]]), TAGS
    ).tolist() == [1, 0]


def test_slices_are_the_metrics_of_their_rows():
    draw = np.random.default_rng(0)
    scores, targets = draw.normal(size=(60, 2)), draw.integers(0, 2, 60)
    values = draw.choice(np.array(["10", "9", None], dtype=object), 60)
    found = by_slice(values, scores, targets, BINARY, ["accuracy"], 3, n_resamples=50)
    assert [each.value for each in found] == ["9", "10", "(empty)"]
    assert sum(each.n_rows for each in found) == 60
    for each, value in zip(found, ["9", "10", None], strict=True):
        mask = np.array([one == value for one in values])
        assert each.estimates == estimate_metrics(
            scores[mask], targets[mask], BINARY, ["accuracy"], 3, n_resamples=50
        )


def test_many_values_are_one_slice_for_the_rest(monkeypatch):
    monkeypatch.setattr("encore.evaluation.estimates._MOST_SLICES", 3)
    values = ["a"] * 5 + ["b"] * 4 + [f"x{n}" for n in range(11)]
    scores, targets = scores_of([1] * 20, 2), np.array([1] * 9 + [0] * 11)
    found = by_slice(values, scores, targets, BINARY, ["accuracy"], 0, n_resamples=5)
    assert [(each.value, each.n_rows, each.estimates["accuracy"].value) for each in found] == [
        ("a", 5, 1.0),
        ("b", 4, 1.0),
        ("(11 other values)", 11, 0.0),
    ]
    with pytest.raises(DataError, match="one value per row, 20 in all, got 2"):
        by_slice(["a", "b"], scores, targets, BINARY, ["accuracy"], 0)


@pytest.mark.parametrize(
    ("numbers", "form", "printed"),
    [
        ((0.61, 0.552, 0.666), "percent", "61.0 % [55.2, 66.6]"),
        ((1.0, 1.0, 1.0), "percent", "100.0 % [100.0, 100.0]"),
        ((0.28, 0.15, 0.402), "coefficient", ".280 [.150, .402]"),
        ((-0.0124, -0.11, 0.9996), "coefficient", "-.012 [-.110, 1.000]"),
        ((-1.0, -0.0001, 0.0), "coefficient", "-1.000 [.000, .000]"),
        ((0.512, 0.48, 0.5444), "amount", "0.512 [0.480, 0.544]"),
        ((12345.678, 12000, 13000), "amount", "12,345.7 [12,000.0, 13,000.0]"),
        ((0.000123, 0.0001, 0.0002), "amount", "0.000123 [0.000100, 0.000200]"),
    ],
)
def test_figures_are_printed_as_the_field_does(numbers, form, printed):
    assert format_estimate(Estimate(*numbers), form) == printed


def dev_scores() -> DevScores:
    return DevScores(
        "dev",
        277,
        {
            "model": {
                "accuracy": Estimate(0.61, 0.552, 0.666),
                "mcc": Estimate(0.22, 0.1, 0.33, ("odd",)),
            },
            "majority": {
                "accuracy": Estimate(0.527, 0.47, 0.584),
                "mcc": Estimate(0, 0, 0, ("constant by construction",)),
            },
            "TF-IDF + logistic": {
                "accuracy": Estimate(0.63, 0.57, 0.69),
                "mcc": Estimate(0.2, 0.09, 0.31),
            },
        },
        ("not the official split",),
    )


def test_a_tie_with_a_baseline_is_reported():
    same = {"accuracy": Estimate(0.9, 0.8, 1.0)}
    table = results_table([DevScores("dev", 50, {"model": same, "majority": same})])
    assert "dev, accuracy: majority does as well as the model." in table.notes


def test_results_table():
    few = DevScores("hard", 12, {"model": {"accuracy": Estimate(0.5, 0.25, 0.75)}})
    assert str(
        results_table([dev_scores(), few], title="rte", notes=["train cut to 500 of 2,490 rows"])
    ).splitlines() == [
        "rte",
        "dev set  rows  metric                  model             majority    TF-IDF + logistic",
        "dev       277  accuracy  61.0 % [55.2, 66.6]  52.7 % [47.0, 58.4]  63.0 % [57.0, 69.0]",
        "               MCC         .220 [.100, .330]    .000 [.000, .000]    .200 [.090, .310]",
        "hard       12  accuracy  50.0 % [25.0, 75.0]                    –                    –",
        "train cut to 500 of 2,490 rows",
        "dev: not the official split",
        "dev, accuracy: TF-IDF + logistic does better than the model.",
        "dev, MCC, model: odd.",
        "hard: 12 rows are too few for an interval to be trusted.",
        "[low, high]: 95 % bootstrap interval over the rows of the dev set.",
    ]


def test_lower_errors_are_better():
    table = results_table(
        [
            DevScores(
                "dev",
                99,
                {
                    "model": {"mae": Estimate(0.5, 0.4, 0.6)},
                    "mean": {"mae": Estimate(0.9, 0.8, 1.0)},
                },
            )
        ]
    )
    assert not any("better" in note for note in table.notes)


def test_confusion_tables():
    square = confusion_table(np.array([[8, 2], [0, 0]]), BINARY)
    assert square.columns == ("truth / predicted", "no", "yes", "rows", "found")
    assert square.rows == (("no", "8", "2", "10", "80.0 %"), ("yes", "0", "0", "0", "–"))
    labels = confusion_table(np.array([[[90, 5], [2, 3]], [[100, 0], [0, 0]]]), TAGS)
    assert labels.rows == (
        ("price", "5", "3", "2", "5", "37.5 %", "60.0 %"),
        ("size", "0", "0", "0", "0", "–", "–"),
    )
    wide = np.diag(np.arange(20)) + 0
    wide[3, 17], wide[5, 1] = 4, 6
    largest = confusion_table(wide, LabelSpace("multiclass", tuple(f"c{n}" for n in range(20))))
    assert largest.rows == (("c5", "c1", "6", "54.5 %"), ("c3", "c17", "4", "57.1 %"))


def test_mistakes_table():
    scores, targets = np.array([[0.0, np.log(3)], [0.0, np.log(9)], [5, 0]]), np.array([0, 0, 0])
    rows = worst_mistakes(scores, targets, BINARY)
    table = mistakes_table(
        rows, scores, targets, BINARY, RowTexts(["one", "two", "three"], places=[2, 3, 5])
    )
    assert table.rows == (
        ("3", "no", "yes (0.90)", "0.100", "two"),
        ("2", "no", "yes (0.75)", "0.250", "one"),
    )
    assert table.columns[0] == "row"
    paired = mistakes_table([0], scores, targets, BINARY, RowTexts(["one"], ["uno"]))
    assert paired.rows[0][-1] == "one | uno"
    value = mistakes_table([0], np.array([[1.5]]), np.array([4.0]), VALUE, RowTexts(["one"]))
    assert value.rows == (("0", "4", "1.5", "-2.5", "one"),)
    tags = mistakes_table([0], np.log([[3.0, 1 / 9]]), np.array([[0, 0]]), TAGS, RowTexts(["one"]))
    assert tags.rows == (("0", "(none)", "price", "0.250", "one"),)
    assert mistakes_table([], scores, targets, BINARY, RowTexts([])).notes == (
        "none: every row is right.",
    )


def test_a_users_text_cannot_write_on_the_terminal():
    hostile = (
        "line\nbreak \x1b[31mred\x1b[0m [bold]markup[/bold] \u202eright-to-left \x00" + "y" * 5000
    )
    table = mistakes_table([0], np.array([[0.0, 1.0]]), np.array([0]), BINARY, RowTexts([hostile]))
    (cell,) = (row[-1] for row in table.rows)
    assert cell.startswith(
        "line break \ufffd[31mred\ufffd[0m [bold]markup[/bold] \ufffdright-to-left \ufffd"
        + "y" * 100
    )
    assert len(cell) == 200
    assert cell.endswith("…")
    assert not set(cell) & {"\n", "\x1b", "\x00", "\u202e"}
    drawn = io.StringIO()
    show(table, Console(file=drawn, force_terminal=True, color_system=None, width=120))
    assert "[bold]markup[/bold]" in drawn.getvalue()


def test_slices_table():
    scores, targets = scores_of([1, 0] * 20, 2), np.array([1, 0] * 15 + [0, 1] * 5)
    slices = by_slice(
        ["north"] * 30 + ["south"] * 10, scores, targets, BINARY, ["accuracy"], 0, n_resamples=50
    )
    table = slices_table("region", slices)
    assert table.columns == ("region", "rows", "accuracy")
    assert table.rows == (
        ("north", "30", "100.0 % [100.0, 100.0]"),
        ("south", "10", "0.0 % [0.0, 0.0]"),
    )
    assert "slices of fewer than 30 rows: 1" in table.notes[-1]
    assert table.notes[0].startswith("north, accuracy: no mistake in 30 rows")


def test_plain_lines_when_not_a_terminal_and_never_cut():
    listing = Listing(
        "", ("a", "text"), (("1", "w" * 300), ("22", "字")), ("note",), frozenset({0})
    )
    piped = io.StringIO()
    show(listing, Console(file=piped, width=40))
    assert piped.getvalue().splitlines() == [" a  text", " 1  " + "w" * 300, "22  字", "note"]
    drawn = io.StringIO()
    show(listing, Console(file=drawn, force_terminal=True, color_system=None, width=40))
    assert "─" in drawn.getvalue()
    assert drawn.getvalue().count("w") == 300


def test_a_table_is_drawn_only_where_its_words_fit():
    """On a narrow terminal rich breaks figures into a letter per line."""
    listing = Listing(
        "",
        ("run", "state", "dev figure"),
        (("runs/reviews-2025746221", "complete", "18.9 % [9.4, 30.2]"),),
        (),
        frozenset({2}),
    )
    for width, is_drawn in ((30, False), (43, False), (44, True), (60, True), (120, True)):
        out = io.StringIO()
        show(listing, Console(file=out, force_terminal=True, color_system=None, width=width))
        assert ("─" in out.getvalue()) == is_drawn
        assert all(
            word in out.getvalue()
            for word in ("runs/reviews-2025746221", "complete", "18.9 %", "30.2]")
        ), width
        assert is_drawn or out.getvalue() == f"{listing}\n"
