"""The role of each column: inferred where it is clear, required where it is not; and label cells
that are wrong, row by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.data import infer
from encore.data.columns import Columns
from encore.data.label_cells import natural_order
from encore.data.label_columns import with_label_column
from encore.data.read import read_table
from encore.data.row_problems import RowProblems
from encore.data.settings import DataSettings
from encore.data.table import Table
from encore.data.targets import read_targets
from encore.errors import DataError

SKIP = "Fix the row, or pass --on-bad-row skip"
TEXTS = [
    "good, all in all",
    "bad it was",
    "so so I think",
    "very good indeed",
    "not my thing",
    "would buy again",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table_of(columns: Mapping[str, Sequence[Any]]) -> Table:
    """As a parquet file would give it."""
    pq.write_table(pa.table(dict(columns)), "t.parquet")
    return read_table("t.parquet")


def cells(label: Sequence[Any], **more: Sequence[Any]) -> Table:
    """As a csv file would give it: every cell a string."""
    columns = {
        "text": [f"{TEXTS[row % 6]} {row}" for row in range(len(label))],
        "label": [str(value) for value in label],
        **more,
    }
    lines = [
        ",".join(columns),
        *(",".join(f'"{cell}"' for cell in row) for row in zip(*columns.values(), strict=True)),
    ]
    Path("t.csv").write_text("\n".join(lines) + "\n")
    return read_table("t.csv")


def infer_columns(table: Table, **settings: Any) -> Columns:
    return infer.infer_columns(table, DataSettings(seed=0, **settings))


def complaint(table: Table, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        infer_columns(table, **options)
    return str(caught.value)


def targets_of(table: Table, **options: Any) -> tuple[list[Any], list[str], Columns]:
    columns = infer_columns(table, **options)
    targets, problems = read_targets(table, columns)
    return targets.tolist(), list(map(str, problems.listed(table))), columns


# ------------------------------------------------------------------------------------- which column


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("text", "label"), ("text", None, "label")),
        (("Review Text", "Stars"), ("Review Text", None, "Stars")),
        (("id", "sentence1", "sentence2", "gold_label"), ("sentence1", "sentence2", "gold_label")),
        (("question1", "question2", "is_duplicate"), ("question1", "question2", "is_duplicate")),
        (("premise", "hypothesis", "label"), ("premise", "hypothesis", "label")),
        (("title", "text", "label"), ("text", None, "label")),
        (("text", "stars", "category", "region"), ("text", None, "stars")),
        (("label", "text"), ("text", None, "label")),
    ],
)
def test_columns_are_found_by_name(
    names: tuple[str, ...], found: tuple[str, str | None, str]
) -> None:
    columns = infer_columns(
        table_of(
            {
                name: TEXTS
                if name
                not in (
                    "label",
                    "Stars",
                    "gold_label",
                    "is_duplicate",
                    "stars",
                    "category",
                    "region",
                )
                else [1, 2, 1, 2, 1, 2]
                for name in names
            }
        )
    )
    assert (columns.text, columns.text_pair, columns.label) == found
    assert f"text = '{found[0]}'" in str(columns.notes[0])
    assert f"label = '{found[2]}'" in str(columns.notes[0])


def test_columns_are_found_by_what_they_hold() -> None:
    table = table_of({"id": range(6), "was": TEXTS, "art": ["x", "y", "x", "y", "x", "y"]})
    columns = infer_columns(table)
    assert (columns.text, columns.label, columns.labels) == ("was", "art", ("x", "y"))
    assert "the only column with few different values" in str(columns.notes[0])


def test_two_equal_candidates_are_listed_and_not_chosen_between() -> None:
    two_labels = table_of(
        {"text": TEXTS, "same": ["no", "yes"] * 3, "similarity": [0.0, 1.5, 2.0, 3.0, 4.0, 5.0]}
    )
    assert (
        complaint(two_labels)
        == "t.parquet: several columns could hold the label: 'same' (no, yes), 'similarity' "
        "(0.0, 1.5, 2.0, 3.0, …). Say which: --label NAME"
    )
    assert infer_columns(two_labels, label="same").kind == "binary"
    assert infer_columns(two_labels, label="similarity").kind == "regression"
    two_texts = table_of({"left side": TEXTS, "right side": TEXTS, "label": ["no", "yes"] * 3})
    assert (
        complaint(two_texts)
        == "t.parquet: several columns could hold the text: 'left side', 'right side'. For "
        "pairs of texts, name text_pair too. Say which: --text NAME"
    )
    assert (
        infer_columns(two_texts, text="left side", text_pair="right side").text_pair == "right side"
    )


def test_a_column_of_classes_beside_a_named_number_is_asked_about() -> None:
    """A float `score` was once taken before a yes/no `offensive`."""
    columns = {"text": TEXTS, "score": [0.1, 0.9, 0.4, 0.7, 0.3, 0.8]}
    table = table_of({**columns, "offensive": ["no", "yes"] * 3})
    assert (
        complaint(table) == "t.parquet: several columns could hold the label: 'score' (0.1, 0.3, "
        "0.4, 0.7, …), 'offensive' (no, yes). Say which: --label NAME"
    )
    assert infer_columns(table, label="offensive").labels == ("no", "yes")
    assert infer_columns(table_of({**columns, "price": [1.5, 2, 3, 4, 5, 6.5]})).label == "score"
    assert infer_columns(table_of({**columns, "votes": [4, 0, 9, 2, 4, 0]})).label == "score"
    assert infer_columns(table_of({**columns, "lang": ["en", "de"] * 3})).label == "score"
    rude = table_of({"text": TEXTS, "stars": [1, 2] * 3, "rude": [True, False] * 3})
    assert "'stars' (1, 2), 'rude' (False, True)" in complaint(rude)
    two = table_of({"text": TEXTS, "stars": [1, 2] * 3, "category": ["a", "b"] * 3})
    assert infer_columns(two).label == "stars"
    certain = table_of({"text": TEXTS, "label": [1, 2] * 3, "category": ["a", "b"] * 3})
    assert infer_columns(certain).label == "label"


def test_columns_of_zeros_and_ones_are_read_together() -> None:
    columns = {"text": TEXTS, "rude": [0, 1, 0, 1, 0, 0], "false claim": [1, 0, 0, 1, 0, 1]}
    table = table_of(columns)
    assert (
        complaint(table) == "t.parquet: several columns could hold the label: 'rude' (0, 1), "
        "'false claim' (0, 1). Say which: --label NAME. If all of them are labels of one task, "
        "name them together: --label 'rude,false claim'"
    )
    table = with_label_column(table, "rude,false claim")
    targets, problems, columns_found = targets_of(table, label="rude,false claim")
    assert (columns_found.kind, columns_found.labels) == ("multilabel", ("false claim", "rude"))
    assert targets == [[1, 0], [0, 1], [0, 0], [1, 1], [0, 0], [1, 0]]
    assert problems == []
    one_each = table_of({"text": TEXTS, "a": [0, 1] * 3, "b": [1, 0] * 3})
    found = infer_columns(one_each, label="a,b")
    assert (found.kind, found.labels) == ("binary", ("a", "b"))
    assert "label = 'a,b' (given); two classes: a, b (positive: b)" in str(found.notes[0])
    assert "not used" not in str(found.notes[0])
    wrong = table_of({"text": TEXTS, "a": [0, 1] * 3, "b": [1, 2] * 3})
    assert (
        complaint(wrong, label="a,b") == "t.parquet row 2 column 'b': expected 0 or 1 in each cell "
        "of a label's column, got 2. Write 0 or 1, or leave the column out of: --label NAME,NAME"
    )
    assert "no column 'c' (the label)" in complaint(wrong, label="a,c")


def test_a_column_of_names_beside_the_label_names_it() -> None:
    columns = {"text": TEXTS, "label": [0, 1, 2, 0, 1, 2], "label_name": ["low", "mid", "top"] * 2}
    targets, problems, found = targets_of(table_of(columns))
    assert (found.label, found.labels, targets, problems) == (
        "label",
        ("low", "mid", "top"),
        [0, 1, 2, 0, 1, 2],
        [],
    )
    assert (
        str(found.notes[1]) == "'label_name' names the values of 'label': 0 = low, 1 = mid, 2 = top"
    )
    assert "not used" not in str(found.notes[0])
    alone = table_of({"text": TEXTS, "label": [2, 1, 0, 1, 0, 2]})
    assert read_targets(alone, found)[0].tolist() == [2, 1, 0, 1, 0, 2], "a dev file without names"
    twice = {**columns, "label_name": ["low", "mid", "top", "low", "mid", "mid"]}
    assert infer_columns(table_of(twice)).labels == ("0", "1", "2"), "2 has two names"
    intents = {"text": TEXTS, "intent": [0, 1] * 3, "intent_name": ["buy", "sell"] * 3}
    assert infer_columns(table_of(intents)).labels == ("buy", "sell")


def test_spellings_are_merged_on_request() -> None:
    label = ["pos", "Pos", "pos ", "neg", "NEG", "neg", "so so", "So  So"]
    assert len(infer_columns(cells(label)).labels) == 6
    targets, problems, found = targets_of(cells(label), merge_labels=True)
    assert (found.labels, targets, problems) == (
        ("neg", "pos", "So  So"),
        [1, 1, 1, 0, 0, 0, 2, 2],
        [],
    )
    assert not any("capitals" in str(note) for note in found.notes)
    assert read_targets(cells(["POS", "neg"]), found)[0].tolist() == [1, 0], "unseen in training"


def test_an_order_is_inferred_from_the_name_or_given() -> None:
    def stars(name: str, **options: Any) -> Columns:
        return infer_columns(table_of({"text": TEXTS, name: [1, 2, 3, 1, 2, 3]}), **options)

    assert stars("stars").ordered
    assert stars("star rating").ordered
    assert stars("reading_level", label="reading_level").ordered
    assert not stars("label").ordered
    assert not stars("intent").ordered
    assert stars("label", ordered=True).ordered
    assert not stars("stars", ordered=False).ordered
    words = cells(["low", "high", "mid"] * 3)
    assert complaint(words, ordered=True) == (
        "t.csv: the labels of 'label' are ordered (data.ordered) and words, so their order is "
        "unknown. List them from the lowest to the highest: data.labels=[high, low, mid]"
    )
    assert infer_columns(words, ordered=True, labels=("low", "mid", "high")).ordered


def test_many_whole_numbers_are_classes_up_to_two_hundred() -> None:
    found = infer_columns(cells([row % 77 for row in range(400)]))
    assert (found.kind, len(found.labels), found.ordered) == ("multiclass", 77, False)
    assert str(found.notes[-1]) == (
        "'label': each of 77 whole numbers is a class; add data.kind=regression if they are amounts"
    )
    assert len(infer_columns(cells([row % 200 for row in range(400)])).labels) == 200
    assert infer_columns(cells([row % 201 for row in range(600)])).kind == "regression"
    assert infer_columns(cells(range(0, 180, 3))).kind == "regression", "each value in one row"


def test_labels_of_a_cell_may_be_separated_by_commas() -> None:
    label = ["bug, urgent", "bug", "urgent", "slow"] * 3
    targets, _, found = targets_of(cells(label), label_separator=",")
    assert (found.kind, found.labels) == ("multilabel", ("bug", "slow", "urgent"))
    assert targets[0] == [1, 0, 1]


def test_a_column_that_is_not_there_gets_a_suggestion_all_at_once() -> None:
    table = table_of({"text": TEXTS, "stars": [1, 2, 3, 1, 2, 3]})
    assert complaint(table, text="txt", label="star").splitlines() == [
        "t.parquet: no column 'txt' (the text). Did you mean 'text'? Known: stars, text. Name "
        "one: --text NAME",
        "t.parquet: no column 'star' (the label). Did you mean 'stars'? Known: stars, text. "
        "Name one: --label NAME",
    ]
    assert (
        complaint(table, text="text", label="text")
        == "t.parquet: one column cannot be both the text ('text') and the label ('text')."
    )
    assert (
        complaint(table, text="stars", label="text")
        == "t.parquet: column 'stars' holds int64, expected text. Name another column: "
        "--text NAME"
    )


def test_a_file_without_a_header_is_recognised() -> None:
    Path("t.csv").write_text("so good it was,pos\nbad it was,neg\nvery good,pos\nawful thing,neg\n")
    assert complaint(read_table("t.csv")) == (
        "t.csv: the first line looks like a row, not like column names: 'pos' is also what the "
        "rows below hold. Put the column names on top, such as: text,label"
    )


def test_no_label_at_all() -> None:
    assert (
        complaint(table_of({"text": TEXTS}))
        == "t.parquet: no column looks like a label (columns: text: string). Say which: "
        "--label NAME"
    )
    numbers = table_of({"label": [1, 2, 1], "n": [1, 2, 3]})
    assert (
        complaint(numbers)
        == "t.parquet: no column of texts besides the label 'label' (columns: label: int64, n: "
        "int64). Say which: --text NAME"
    )
    Path("t.csv").write_text(
        "An export of 2024,\n,\ntext,label\n"
        + "".join(f"good {row},a\nbad {row},b\n" for row in range(9))
    )  # a title above the header, as spreadsheets have it
    with pytest.raises(DataError, match=r"a title, no column names. Skip it: --skip-lines 2"):
        read_table("t.csv")
    assert infer_columns(read_table("t.csv", skip_lines=2)).labels == ("a", "b")
    Path("t.csv").write_text("".join(f"good {row},bad {row}\n" for row in range(9)))
    header = "The first line of the file must hold the column names, such as: text,label"
    assert (
        complaint(read_table("t.csv")).splitlines()[0]
        == f"t.csv: no column looks like a label (columns: good 0, bad 0). {header}. "
        f"Say which: --label NAME"
    )


# --------------------------------------------------------------------------------------- which kind


@pytest.mark.parametrize(
    ("label", "kind", "names", "ordered"),
    [
        (["1", "2", "10", "9", "1", "2"], "multiclass", ("1", "2", "9", "10"), False),
        (["no", "yes", "yes", "no"], "binary", ("no", "yes"), False),
        (["yes", "no", "unknown"] * 4, "multiclass", ("no", "unknown", "yes"), False),
        (["0", "1", "unsure", "unsure"] * 4, "multiclass", ("0", "1", "unsure"), False),
        (["0.5", "1", "2", "3"], "regression", (), False),
        (["1.0", "2.0", "1.0", "1"], "binary", ("1", "2"), False),
        (["v10", "v9", "v9", "v1"], "multiclass", ("v1", "v9", "v10"), False),
        (["01", "02", "01", "02"], "binary", ("01", "02"), False),
        (list(range(0, 90, 3)), "regression", (), False),
        (["-1", "0", "1", "-1"], "multiclass", ("-1", "0", "1"), False),
        (["a;b", "b", "a", "", "b;c;a", "c"], "multilabel", ("a", "b", "c"), False),
    ],
)
def test_the_kind_follows_from_the_cells(
    label: list[Any], kind: str, names: tuple[str, ...], ordered: bool
) -> None:
    columns = infer_columns(cells(label))
    assert (columns.kind, columns.labels, columns.ordered) == (kind, names, ordered)
    assert (columns.space.kind, columns.space.names, columns.space.ordered) == (
        kind,
        names,
        ordered,
    )


def test_the_kind_follows_from_types() -> None:
    assert infer_columns(table_of({"text": TEXTS, "label": [0, 1, 2, 0, 1, 2]})).labels == (
        "0",
        "1",
        "2",
    )
    assert infer_columns(
        table_of({"text": TEXTS, "label": [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]})
    ).labels == ("0", "1", "2")
    assert (
        infer_columns(table_of({"text": TEXTS, "label": [0.0, 1.5, 2.0, 0.0, 1.0, 2.0]})).kind
        == "regression"
    )
    assert infer_columns(table_of({"text": TEXTS, "label": [True, False] * 3})).labels == (
        "false",
        "true",
    )
    assert (
        infer_columns(
            table_of({"text": TEXTS, "label": [["b"], ["a", "b"], [], ["a"], ["c"], ["a"]]})
        ).kind
        == "multilabel"
    )
    dictionary = pa.array(["x", "y"] * 3).dictionary_encode()
    assert infer_columns(table_of({"text": TEXTS, "label": dictionary})).labels == ("x", "y")


def test_given_kinds_and_names_are_obeyed() -> None:
    assert infer_columns(cells(range(30)), kind="multiclass").labels == tuple(map(str, range(30)))
    assert infer_columns(cells([1, 2, 1, 2]), kind="regression").kind == "regression"
    assert infer_columns(cells(["b", "a", "b"]), labels=["b", "a"]).labels == ("b", "a")
    targets, problems, columns = targets_of(
        cells([0, 1, 2, 1]), labels={"0": "bad", "1": "so so", "2": "good"}
    )
    assert (targets, problems, columns.labels) == ([0, 1, 2, 1], [], ("bad", "so so", "good"))
    targets, _, columns = targets_of(
        cells([1, 2, 4, 5]), labels={"1": "bad", "2": "bad", "4": "good", "5": "good"}
    )
    assert (targets, columns.kind) == ([0, 0, 1, 1], "binary")
    written = {"Pos": "pos", "pos": "pos", "neg": "neg"}
    targets, _, columns = targets_of(cells(["Pos", "neg", "pos"]), labels=written)
    assert (targets, columns.labels) == ([1, 0, 1], ("neg", "pos")), (
        "the positive class is the one that it is without a merge, however the mapping is written"
    )
    assert (
        complaint(cells([1, 2, 3]), kind="binary")
        == "t.csv: column 'label': binary has two labels, got 3: 1, 2, 3. Leave the kind out, "
        "or merge labels: data.labels={cell: name}"
    )
    assert complaint(cells([1, 2, 3]), labels=["1", "1"]) == "data.labels: '1' is listed twice."


def test_one_class_and_no_class_and_a_class_per_row() -> None:
    assert (
        complaint(cells(["a", "a", "a"]))
        == "t.csv: column 'label' holds one class only (a); expected two or more. Add rows of "
        "another class, or name another column: --label NAME"
    )
    assert complaint(cells(["", "", ""])) == "t.csv: column 'label' is empty in every row."
    assert (
        complaint(cells([f"id-{row}" for row in range(40)]))
        == "t.csv: column 'label' has 40 different values in 40 rows: that is an id or free "
        "text, not a label. Name the label column: --label NAME"
    )


def test_odd_labels_are_announced() -> None:
    columns = infer_columns(cells(["Yes", "yes", "no", "no", "yes", "postive"]))
    notes = tuple(map(str, columns.notes))
    assert (
        "'label': 'Yes' (1 row) and 'yes' (2 rows) differ only in capitals or blanks and are kept "
        "apart; add --merge-labels to make them one label" in notes
    )
    assert "'label': 2 labels occur in one row only ('postive', 'Yes')" in notes


def test_a_missing_value_that_is_written_out_is_a_class_and_told() -> None:
    columns = infer_columns(cells(["a", "#N/A", "b", "#N/A", "none", "a", "b", "none"]))
    notes = tuple(map(str, columns.notes))
    assert notes[1:] == (
        "'label': '#N/A' (2 rows) counts as a class; empty those cells if they have no label",
    )


def test_lists_with_commas_are_asked_about() -> None:
    listed = cells(["bug, urgent", "bug", "urgent", "slow"] * 3)
    with pytest.raises(DataError) as caught:
        infer_columns(listed)
    assert str(caught.value) == (
        "t.csv: column 'label' holds lists, such as 'bug, urgent'. Add data.label_separator=, for "
        "several labels in a cell, or data.kind=multiclass to count each list as one label."
    )
    columns = infer_columns(listed, kind="multiclass")
    assert columns.labels == ("bug", "bug, urgent", "slow", "urgent")
    assert str(columns.notes[0]).endswith("4 classes: bug, 'bug, urgent', slow, urgent")
    assert infer_columns(cells(["Paris, France", "Rome, Italy"] * 4)).notes[1:] == (), (
        "a comma that separates nothing that recurs"
    )
    assert (
        infer_columns(cells(["bug, urgent", "bug", "urgent"] * 3), kind="multiclass").notes[1:]
        == ()
    )
    assert infer_columns(cells([*["1", "2", "3"] * 20, "1,2"])).notes[1:] == (), (
        "a slip among numbers is no label"
    )


@pytest.mark.parametrize(
    "label",
    [
        ["3,5", "4", "2,0"],
        ["45 %", "7%", "100 %"],
        ["1,234", "99,000", "1,000,000"],
        ["1.234,50 €", "3,00 €", "n/a"],
        ["$5", "-$1.50", "$2"],
    ],
)
def test_numbers_in_another_writing_are_asked_about(label: list[str]) -> None:
    words = [word for word in label if word not in ("4", "n/a")]
    expected = (
        "t.csv column 'label': expected numbers written with digits and a decimal point "
        "alone, such as 3.5, got "
        f"{', '.join(map(repr, words))}. Write them so in the file, or have a "
        f"class for each: data.kind=multiclass"
    )
    assert (
        complaint(cells(label * 10)) == complaint(cells(label * 10), kind="regression") == expected
    )
    assert len(infer_columns(cells(label * 10), kind="multiclass").labels) == 3
    few = cells(["1", "2", "3"] * 20 + label[:1])
    assert (
        len(targets_of(few)[1]) == 1
    )  # one slip among numbers is the row's mistake, told with its line


def test_a_column_of_numbers_in_another_writing_is_found_by_its_cells() -> None:
    rows = [f'{row};"some text {row}";{row // 10},{row % 10}\n' for row in range(40)]
    Path("t.csv").write_text("Nr;Text;Note\n" + "".join(rows))
    assert complaint(read_table("t.csv")).startswith(
        "t.csv column 'Note': expected numbers written with digits and a decimal point alone"
    )


@pytest.mark.parametrize(
    "label",
    [
        ["01.02.2024", "03.04.2024"],
        ["1/5", "4/5"],
        ["1.2.3", "1.2.4"],
        ["1 star", "2 stars"],
        ["3,5 stars", "4 stars"],
        ["3,5", "unsure"],
        ["C3", "C4"],
    ],
)
def test_what_only_begins_like_a_number_is_a_class(label: list[str]) -> None:
    assert infer_columns(cells(label * 10)).labels == tuple(label)


@given(st.lists(st.integers(-50, 50), unique=True, min_size=1))
def test_numbers_sort_as_numbers(numbers: list[int]) -> None:
    assert natural_order([str(number) for number in numbers]) == [
        str(number) for number in sorted(numbers)
    ]


@given(st.lists(st.text(max_size=6), unique=True))
def test_any_words_have_one_order(words: list[str]) -> None:
    assert natural_order(words) == natural_order(list(reversed(words)))


# -------------------------------------------------------------------------------------- wrong cells


@pytest.mark.parametrize("n_rows", [6, 20, 200, 2000])
def test_five_among_one_to_five_is_a_bad_row(n_rows: int) -> None:
    label = [str(row % 5 + 1) for row in range(n_rows)]
    label.insert(3, "five")
    targets, problems, columns = targets_of(cells(label))
    assert columns.labels == ("1", "2", "3", "4", "5")
    assert problems == [
        f"t.csv:5 column 'label': expected one of 1, 2, 3, 4, 5, got 'five'. {SKIP}"
    ]
    assert targets == [0, 1, 2, 0, *(row % 5 for row in range(3, n_rows))]


def test_a_rare_word_among_numbers_is_a_bad_row_and_a_frequent_one_a_class() -> None:
    few = ["0", "1"] * 100 + ["maybe"] * 3
    assert infer_columns(cells(few)).labels == ("0", "1")
    assert len(targets_of(cells(few))[1]) == 3
    assert infer_columns(cells(["0", "1"] * 20 + ["maybe"] * 3)).labels == ("0", "1", "maybe")


def test_an_empty_label_is_a_bad_row() -> None:
    _, problems, columns = targets_of(cells(["a", "b", "", "a", " "]))
    assert columns.labels == ("a", "b")
    fill = "Fill them in, or pass --on-bad-row skip"
    assert problems == [f"t.csv column 'label': 2 cells are empty (lines 4, 6). {fill}"]
    table = table_of({"text": TEXTS, "label": ["a", None, "b", "a", "b", "a"]})
    assert targets_of(table)[1] == [f"t.parquet column 'label': 1 cell is empty (row 2). {fill}"]


def test_regression_wants_finite_numbers() -> None:
    label = ["0.5", "1e0", "nan", "inf", "-inf", "1e99", "x", "", " 2.5 ", "+3", "-.5", "4."] + [
        "1.25"
    ] * 40
    targets, problems, columns = targets_of(cells(label))
    assert columns.kind == "regression"
    assert [problem.split("got ")[1] for problem in problems[1:]] == [
        f"{got}. {SKIP}" for got in ("'nan'", "'inf'", "'-inf'", "'1e99'", "'x'")
    ]
    assert "1 cell is empty (line 9)" in problems[0]
    assert problems[1] == f"t.csv:4 column 'label': expected a finite number, got 'nan'. {SKIP}"
    assert targets[:2] + targets[8:12] == [0.5, 1.0, 2.5, 3.0, -0.5, 4.0]
    table = table_of({"text": TEXTS, "label": [0.5, math.nan, math.inf, 1.0, None, 2.0]})
    assert [problem.split(": ")[1][:12] for problem in targets_of(table)[1]] == [
        "1 cell is em",
        "expected a f",
        "expected a f",
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=30))
def test_regression_targets_are_the_numbers(values: list[float]) -> None:
    table = Table(
        Path("t"),
        pa.table({"text": ["a b"] * len(values), "label": [repr(value) for value in values]}),
        "",
        None,
        np.arange(len(values)),
        (),
        "t",
    )
    targets, problems = read_targets(table, Columns("text", None, "label", "regression"))
    assert problems == RowProblems()
    assert targets.dtype == np.float32
    assert targets.tolist() == values


def test_multilabel_from_cells_and_lists() -> None:
    expected = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]]
    targets, problems, columns = targets_of(cells(["a; b", "b", "", "c;a;"] + ["a;b", "b"] * 4))
    assert (columns.kind, columns.labels, problems) == ("multilabel", ("a", "b", "c"), [])
    assert targets[:4] == expected
    lists = [["a", "b"], ["b"], [], ["c", "a"]]
    assert targets_of(table_of({"text": TEXTS[:4], "label": lists}))[0] == expected
    assert (
        targets_of(table_of({"text": TEXTS[:4], "label": [[*items, None] for items in lists]}))[0]
        == expected
    )
    Path("t.jsonl").write_text(
        "\n".join(
            json.dumps({"text": text, "label": items})
            for text, items in zip(TEXTS, lists, strict=False)
        )
    )
    assert targets_of(read_table("t.jsonl"))[0] == expected
    as_json = Table(
        Path("t"),
        pa.table({"text": TEXTS[:4] * 3, "label": [json.dumps(items) for items in lists] * 3}),
        "",
        None,
        np.arange(12),
        (),
        "t",
    )
    assert targets_of(as_json)[0][:4] == expected
    assert targets_of(cells(["a", "b"] * 4), kind="multilabel")[0][:2] == [[1, 0], [0, 1]]


def test_multilabel_cells_that_are_wrong() -> None:
    table = cells(["a;b", "b;d", "x"])
    targets, problems = read_targets(
        table, Columns("text", None, "label", "multilabel", ("a", "b"), False, {"a": 0, "b": 1})
    )
    assert list(map(str, problems.listed(table))) == [
        f"t.csv:{line} column 'label': expected any of a, b, got {got!r}. {SKIP}"
        for line, got in ((3, "d"), (4, "x"))
    ]
    assert targets.tolist() == [[1, 1], [0, 0], [0, 0]]
    null = table_of({"text": TEXTS[:3], "label": [["a"], None, ["b"]]})
    assert targets_of(null)[1] == [
        "t.parquet column 'label': 1 cell is empty (row 2). Fill them in, or pass --on-bad-row skip"
    ]
    assert "that is multilabel, not binary" in complaint(null, kind="binary")


def test_a_sentence_with_a_semicolon_is_no_list_of_labels() -> None:
    columns = infer_columns(cells(["fine", "not; really, ever", "fine", "no"] * 3))
    assert columns.labels == ("fine", "no", "not; really, ever")


@pytest.mark.parametrize("first", [1, 170_000_000_000_000_000], ids=["counted", "large"])
def test_identifiers_are_no_labels(first: int) -> None:
    step = 1 if first == 1 else 7919
    numbers = [str(first + step * row) for row in range(40)]
    with pytest.raises(DataError) as caught:
        infer_columns(cells(numbers))
    assert str(caught.value) == (
        "t.csv: column 'label' holds a number of its own in each row, as identifiers do. Name "
        "another column with --label, or add data.kind=regression if they are amounts."
    )
    assert infer_columns(cells(numbers), kind="regression").kind == "regression"
    amounts = infer_columns(cells([str(row * row) for row in range(40)]))
    assert amounts.kind == "regression"
