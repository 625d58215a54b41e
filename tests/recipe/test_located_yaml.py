"""YAML 1.2 with lines: what a plain word means, where everything stands, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from encore.errors import RecipeError
from encore.recipe.located_yaml import read_yaml, write_yaml
from encore.recipe.values import Value, from_python, to_plain, walk

SCALARS = [
    ("2e-5", 2e-5),
    ("1E-3", 1e-3),
    (".5", 0.5),
    ("5.", 5.0),
    ("-1.5e+3", -1500.0),
    ("+7", 7),
    ("007", 7),
    ("0o17", 15),
    ("0xFf", 255),
    ("1e5", 1e5),
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("NO", "NO"),
    ("1_000", "1_000"),
    ("1:30", "1:30"),
    ("2024-01-31", "2024-01-31"),
    ("0b11", "0b11"),
    ("1e", "1e"),
    ("e5", "e5"),
    (".", "."),
    ("-", [None]),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("tRue", "tRue"),
    ("null", None),
    ("~", None),
    ("", None),
    ("None", "None"),
    ("'2e-5'", "2e-5"),
    ('"null"', "null"),
    ("!!str 12", "12"),
    ("!!float 3", 3.0),
    ("=", "="),
    ("<<", "<<"),
]


@pytest.mark.parametrize(("written", "meant"), SCALARS)
def test_plain_words_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    read = to_plain(read_yaml(f"key: {written}" if written != "-" else "key:\n-", "r.yaml"))["key"]
    assert read == meant
    assert type(read) is type(meant)


def test_every_value_knows_its_line_and_path() -> None:
    tree = read_yaml(
        "# first\na:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n\ne: >-\n  folded\n  text\n",
        "dir/r.yaml",
    )
    places = {
        value.path: (value.where, value.line)
        for steps in (["a", "b"], ["a", "c", 1, "d"], ["e"])
        for value in walk(tree, steps)
    }
    assert places == {
        "": ("dir/r.yaml", 2),
        "a": ("dir/r.yaml", 2),
        "a.b": ("dir/r.yaml", 3),
        "a.c": ("dir/r.yaml", 6),
        "a.c.d": ("dir/r.yaml", 6),
        "e": ("dir/r.yaml", 8),
    }
    assert to_plain(tree) == {"a": {"b": 1, "c": ["x", {"d": 2}]}, "e": "folded text"}


def test_a_scalar_remembers_how_it_was_written() -> None:
    assert read_yaml("a: 007", "r").data["a"] == Value(7, "r", 1, "a", "007")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "r.yaml:3: the key 'a' is given twice (first on line 1). Keep one."),
        ("p: {x: 1, x: 2}", "r.yaml:1 p: the key 'x' is given twice (first on line 1). Keep one."),
        (
            "p: {x:1}",
            "r.yaml:1 p: the key 'x:1' has no value. Write a space after the colon: x: 1.",
        ),
        ("a:\n\tb: 1", "r.yaml:2: a tab where YAML needs spaces. Indent with spaces."),
        (
            "a: 1\n  b: 2",
            "r.yaml:2: a second ':' on one line. Check the indentation, or put the text in quotes.",
        ),
        (
            "a: {b: 1\nc: 2",
            "r.yaml:1: a '{' is not closed by '}', or a comma between its entries is missing.",
        ),
        (
            "a: [1, 2",
            "r.yaml:1: a '[' is not closed by ']', or a comma between its entries is missing.",
        ),
        ("a: 'x", "r.yaml:1: a quoted text is not closed. Add the missing quote."),
        (
            "a: 1\nb\nc: 2",
            "r.yaml:2: a key without ': value'. Put ': ' (with a space) after the key.",
        ),
        (
            "a:\n    b: 1\n  c: 2",
            "r.yaml:3: the indentation does not fit the lines above. Keys of one level start "
            "in the same column.",
        ),
        (
            "a: 1\n---\nb: 2",
            "r.yaml:2: a second document ('---') starts here. One file holds one recipe.",
        ),
        ("a: @x", "r.yaml:1: a value cannot start with '@'. Put it in quotes."),
        ("a: &x 1", "r.yaml:1: anchors (&x) are not allowed in a recipe. Write the value out."),
        ("a: *x", "r.yaml:1: aliases (*x) are not allowed in a recipe. Write the value out."),
        (
            "a: !!python/name:os.system ''",
            "r.yaml:1 a: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed in a "
            "recipe. Write the plain value.",
        ),
        (
            "a: !!binary aGk=",
            "r.yaml:1 a: the tag 'tag:yaml.org,2002:binary' is not allowed in a recipe. Write "
            "the plain value.",
        ),
        (
            "a: !mine 3",
            "r.yaml:1 a: the tag '!mine' is not allowed in a recipe. Write the plain value.",
        ),
        ("a: .inf", "r.yaml:1 a: expected a finite number, got .inf."),
        (
            'a: "\\ud800"',
            "r.yaml:1 a: '\\ud800' holds a character that cannot be written as UTF-8.",
        ),
        (
            '"\\udfff": 1',
            "r.yaml:1: the key '\\udfff' holds a character that cannot be written as UTF-8.",
        ),
        (
            'a: "\\U00110000"',
            "r.yaml:1: a backslash in double quotes starts an escape, and this is none. Put "
            "text with backslashes in single quotes.",
        ),
        (
            'a: "C:\\data"',
            "r.yaml:1: a backslash in double quotes starts an escape, and this is none. Put "
            "text with backslashes in single quotes.",
        ),
        ("a: 1e999", "r.yaml:1 a: expected a finite number, got 1e999."),
        ("a: !!int x", "r.yaml:1 a: 'x' cannot be read as a whole number."),
        ("a: !!bool yes", "r.yaml:1 a: 'yes' cannot be read as true or false."),
        (
            "? [a, b]\n: 1",
            "r.yaml:1: a key must be a single word, not a list or a mapping. Quote the text if "
            "braces belong to it.",
        ),
        ("a: 1\nb: \x00", "r.yaml:2: the character U+0000 is not allowed in YAML. Remove it."),
        ("[" * 500, "r.yaml: nested too deeply for a recipe (at most 20 levels)."),
        (
            "x" * 200_001,
            "r.yaml: 200,001 characters are too long for a recipe (at most 200,000). Is this a "
            "data file?",
        ),
    ],
)
def test_what_is_refused_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "r.yaml")
    assert caught.value.lines == (message,)


def test_an_integer_of_ten_thousand_digits_is_refused_and_cut() -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml("a: " + "9" * 10_000, "r.yaml")
    (problem,) = caught.value.lines
    assert len(problem) < 200
    assert problem.startswith("r.yaml:1 a: '999")


def test_everything_that_does_not_stop_the_parser_is_said_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml("a: .nan\na: 1\nb: !x 1\n", "r.yaml")
    assert [problem.split(" ")[0] for problem in caught.value.lines] == [
        "r.yaml:1",
        "r.yaml:2:",
        "r.yaml:3",
    ]


def test_python_values_are_taken_as_they_are() -> None:
    tree = from_python(
        {
            "a": np.float32(0.5),
            "b": np.int64(3),
            "c": Path("x/y"),
            "d": (1, [True, None]),
            2: "two",
            True: "yes",
        }
    )
    assert to_plain(tree) == {
        "a": 0.5,
        "b": 3,
        "c": "x/y",
        "d": [1, [True, None]],
        "2": "two",
        "true": "yes",
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": {1, 2}}, "a: a recipe holds text, numbers, lists and mappings, got set."),
        ({"a": b"x"}, "a: a recipe holds text, numbers, lists and mappings, got bytes."),
        ({"a": {"b": float("nan")}}, "a.b: expected a finite number, got nan."),
        ({"a": "\ud800"}, "a: '\\ud800' holds a character that cannot be written as UTF-8."),
        ({("a", "b"): 1}, "recipe: a key must be text, got ('a', 'b')."),
        ({"1": 1, 1: 2}, "recipe: the key '1' is given twice (as text and as a number). Keep one."),
    ],
)
def test_what_a_recipe_cannot_hold_is_refused(data: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        from_python(data)
    assert caught.value.lines == (message,)


def test_a_mapping_that_holds_itself_is_refused() -> None:
    endless: dict[str, object] = {}
    endless["a"] = endless
    with pytest.raises(RecipeError, match="nested too deeply"):
        from_python(endless)


words = st.text(max_size=12) | st.sampled_from(
    [written for written, _ in SCALARS]
    + ["1.0", "a: b", "# x", "- x", "x #y", " x ", "\n", "tab\t", "é", "{a}"]
)
plain_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words.filter(str.isprintable)
    | words,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words.filter(bool), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.dictionaries(words, plain_data, max_size=5))
def test_what_is_written_is_read_back(data: dict[str, object]) -> None:
    text = write_yaml(data)
    assert json.dumps(to_plain(read_yaml(text, "r")), sort_keys=False) == json.dumps(
        data, sort_keys=False
    )


def test_what_is_written_is_text_for_a_yaml_1_1_reader_too() -> None:
    data = {"a": "no", "b": "2e-5", "c": "1:30", "d": "on", "e": 12, "f": True, "g": None}
    assert yaml.safe_load(write_yaml(data)) == data


@given(st.text(max_size=60) | st.text(alphabet="ab:,{}[]-? \n\t'\"&*!|>#%@~0e.", max_size=40))
def test_no_text_raises_anything_but_recipe_error(text: str) -> None:
    problems: tuple[str, ...] = ()
    try:
        read_yaml(text, "r")
    except RecipeError as error:
        problems = error.lines
    assert all(len(problem.splitlines()) == 1 for problem in problems)
