"""Reads YAML 1.2 into values with their place in the file, so that every problem names a file and a
line.

PyYAML splits the text; the core schema of YAML 1.2 gives plain words their meaning here: `2e-5` is
a number, `no` and `on` are text, a key given twice is an error. Anchors, aliases and foreign tags
are refused: a recipe refers to nothing outside itself.

ruamel.yaml 0.19 was tried in its place. It gives lines, too, but reads 6 of the 38 words of the
tests otherwise (1_000, dates, 0b11, !!str), stops at the first repeated key, forgets how a number
was written (a label 01 is 1), and leaves anchors, tags, infinite numbers and depth to be refused by
hand, at up to three times the time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from encore.errors import Problem, RecipeError
from encore.recipe.values import MAX_DEPTH, Value, abbreviate, is_finite, is_text, join

__all__ = ["read_yaml", "write_yaml"]

_MAX_CHARACTERS = 200_000
_BACKSLASH = (
    "a backslash in double quotes starts an escape, and this is none.",
    "Put text with backslashes in single quotes.",
)

# The core schema, YAML 1.2.2 §10.3.2: tag, pattern of the plain words that have it, their first
# letters.
_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN",
        list("-+.0123456789"),
    ),
)


def read_yaml(
    text: str, where: str, *, numbered: bool = True, problems: list[Problem] | None = None
) -> Value:
    """The document in `text`. where: names it in problems: a file name, to which the line is added
    if `numbered`, an override or an option.

    problems: takes what is wrong and does not stop the reader (repeated keys, foreign tags, numbers
    that are not finite); such values are left out. Raises RecipeError: syntax (one problem), and
    the others, all together, if `problems` is None.
    """

    def stop(message: str, line: int | None = None, remedy: str = "") -> RecipeError:
        found = Problem(message=message, where=where, line=line if numbered else None)
        return RecipeError(replace(found, remedy=remedy))

    if len(text) > _MAX_CHARACTERS:
        most = f"(at most {_MAX_CHARACTERS:,})"
        raise stop(
            f"{len(text):,} characters are too long for a recipe {most}.",
            remedy="Is this a data file?",
        )
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{_code(error.character):04X} is not allowed in YAML."
        raise stop(message, line, "Remove it.") from None
    except yaml.MarkedYAMLError as error:
        line = _line_of(error)
        raise stop(*_syntax(error, text, line)) from None
    except (ValueError, OverflowError):  # "\U00110000": PyYAML hands the number to chr()
        raise stop(_BACKSLASH[0], loader.line + 1 if loader else 1, _BACKSLASH[1]) from None
    except RecursionError:
        raise stop(f"nested too deeply for a recipe (at most {MAX_DEPTH} levels).") from None
    reader = _Reader(where, numbered)
    nothing = Value(None, where, reader.line(1))
    if node is None:
        return nothing
    value = reader.value(node, "", node.start_mark.line + 1)
    if reader.problems and problems is None:
        raise RecipeError(dict.fromkeys(reader.problems))
    if problems is not None:
        problems += reader.problems
    return value or nothing


def _line_of(error: yaml.MarkedYAMLError) -> int:
    """The line of a syntax error: where a bracket or quote opened, not where the text ran out."""
    unclosed = str(error.context).startswith(
        ("while parsing a flow", "while scanning a quoted", "while scanning a simple key")
    )
    mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


class _Refused(yaml.composer.ComposerError):
    """YAML that is valid, and not allowed in a recipe: `problem` names it."""


class _Loader(yaml.SafeLoader):
    """PyYAML up to the node tree: its own reading of plain words is replaced, its constructors are
    never called.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(None, None, f"aliases (*{event.anchor})", mark)
        if getattr(event, "anchor", None) is not None:
            raise _Refused(None, None, f"anchors (&{event.anchor})", mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Writes what `read_yaml` and a YAML 1.1 reader both read back as the same value."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in _CORE_SCHEMA:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
        )
# PyYAML writes U+0085 as it is and reads it back as a line break: whatever is not printable goes
# between double quotes, escaped.
_Dumper.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"'
    ),
)
_Dumper.add_representer(
    float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", repr(value))
)


class _Document(dict[str, Any]):
    """The top of a document: one key per line, however few there are."""


_Dumper.add_representer(
    _Document,
    lambda dumper, value: dumper.represent_mapping(
        "tag:yaml.org,2002:map", value.items(), flow_style=False
    ),
)


def write_yaml(data: Mapping[str, Any]) -> str:
    """YAML text of plain data, keys in the given order; `read_yaml` gives the same data back."""
    return yaml.dump(
        _Document(data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=110,
        default_flow_style=None,
    )


class _Reader:
    """Node tree → Values, collecting problems."""

    def __init__(self, where: str, numbered: bool) -> None:
        self.where, self.numbered, self.problems = where, numbered, list[Problem]()

    def line(self, number: int) -> int | None:
        return number if self.numbered else None

    def value(self, node: yaml.Node, path: str, line: int) -> Value | None:
        here = Value(None, self.where, self.line(line), path)
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return replace(here, data=self.entries(node, path))
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            items = [self.value(item, path, item.start_mark.line + 1) for item in node.value]
            return replace(here, data=tuple(item for item in items if item is not None))
        if isinstance(node, yaml.ScalarNode) and tag in _SCALARS:
            return self.scalar(node.value, tag, here)
        message = f"the tag '{node.tag}' is not allowed in a recipe."
        self.problems.append(here.problem(message, remedy="Write the plain value."))
        return None

    def scalar(self, word: str, tag: str, here: Value) -> Value | None:
        try:
            data = _SCALARS[tag](word)
        except (ValueError, OverflowError):
            message = f"'{abbreviate(word)}' cannot be read as {_ARTICLES[tag]}."
            self.problems.append(here.problem(message))
            return None
        if isinstance(data, (int, float)) and not is_finite(data):
            self.problems.append(here.problem(expected="a finite number", got=abbreviate(word)))
            return None
        if not is_text(word):
            message = (
                f"{abbreviate(ascii(word))} holds a character that cannot be written as UTF-8."
            )
            self.problems.append(here.problem(message))
            return None
        return replace(here, data=data, text=word)

    def entries(self, node: yaml.MappingNode, path: str) -> dict[str, Value]:
        found: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            here = Value(None, self.where, self.line(line), path)
            if not isinstance(key_node, yaml.ScalarNode):
                message = "a key must be a single word, not a list or a mapping."
                remedy = "Quote the text if braces belong to it."
                self.problems.append(here.problem(message, remedy=remedy))
                continue
            key = key_node.value
            if not is_text(key):
                message = (
                    f"the key {abbreviate(ascii(key))} holds a character that cannot be written as "
                    f"UTF-8."
                )
                self.problems.append(here.problem(message))
                continue
            if key in lines:
                first = f" (first on line {lines[key]})" if self.numbered else ""
                message = f"the key '{abbreviate(key)}' is given twice{first}."
                self.problems.append(here.problem(message, remedy="Keep one."))
                continue
            lines[key] = line
            if ":" in key and key_node.style is None and _is_left_out(value_node):
                message = f"the key '{abbreviate(key)}' has no value."
                first, _, rest = key.partition(":")
                remedy = f"Write a space after the colon: {abbreviate(f'{first}: {rest}')}."
                self.problems.append(here.problem(message, remedy=remedy))
                continue
            value = self.value(value_node, join(path, key), line)
            if value is not None:
                found[key] = value
        return found


def _is_left_out(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value == ""


def _integer(text: str) -> int:
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Any] = {
    "null": lambda text: None,
    "bool": _truth,
    "int": _integer,
    "float": _number,
    "str": str,
}
_ARTICLES = {
    "null": "nothing",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
}


def _code(character: str | bytes | int) -> int:
    return character if isinstance(character, int) else ord(character)


# What PyYAML says of an error (a part of its `problem`) → our words and a remedy.
_SYNTAX = (
    (
        "mapping values are not allowed",
        "a second ':' on one line.",
        "Check the indentation, or put the text in quotes.",
    ),
    (
        "expected ':'",
        "a key without ': value'.",
        "Put ': ' (with a space) after the key.",
    ),
    (
        "expected <block end>",
        "the indentation does not fit the lines above.",
        "Keys of one level start in the same column.",
    ),
)


def _syntax(error: yaml.MarkedYAMLError, text: str, line: int) -> tuple[str, int, str]:
    """A syntax error as (what is wrong, its line, a remedy), in the words of somebody who edits a
    recipe. PyYAML has no codes for its errors: this is the one place that reads its messages.
    """
    problem, context = str(error.problem or error.context or "not YAML"), str(error.context)
    if isinstance(error, _Refused):
        return f"{problem} are not allowed in a recipe.", line, "Write the value out."
    if "escape" in problem or "double-quoted" in context:
        return _BACKSLASH[0], line, _BACKSLASH[1]
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    if r"'\t'" in problem or "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return "a tab where YAML needs spaces.", line, "Indent with spaces."
    for part, message, remedy in _SYNTAX:
        if part in problem:
            return message, line, remedy
    if "expected a single document" in context:
        return "a second document ('---') starts here.", line, "One file holds one recipe."
    if "while parsing a flow" in context:
        opened, closed = "{}" if "mapping" in context else "[]"
        return (
            f"a '{opened}' is not closed by '{closed}', or a comma between its entries is missing.",
            line,
            "",
        )
    if "unexpected end of stream" in problem or "quoted scalar" in context:
        return "a quoted text is not closed.", line, "Add the missing quote."
    if "cannot start any token" in problem:
        character = re.search(r"character (.*) that", problem)
        first = character.group(1) if character else "this character"
        return f"a value cannot start with {first}.", line, "Put it in quotes."
    return (
        f"not valid YAML ({' '.join(problem.split())}).",
        line,
        "Check the indentation and the quotes around here.",
    )
