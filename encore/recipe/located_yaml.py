"""YAML 1.2 in which every value knows where it was written, so that every complaint can name a file
and a line.

PyYAML splits the text; what a plain word means is decided here by the core schema of YAML 1.2:
`2e-5` is a number, `no` and `on` are text, a key given twice is an error. Anchors, aliases and
foreign tags are refused: a recipe stands alone.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from encore.errors import RecipeError

__all__ = [
    "Value",
    "escape_unprintable",
    "from_python",
    "is_text",
    "read_yaml",
    "to_plain",
    "walk",
    "write_yaml",
]

_MAX_DEPTH = 20  # a recipe is four levels deep; the parser itself would recurse without end
_MAX_CHARACTERS = 200_000
_BACKSLASH = (
    "a backslash in double quotes starts an escape, and this is none. Put text with "
    "backslashes in single quotes."
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


@dataclass(frozen=True)
class Value:
    """One value and where it stands.

    data: None, bool, int, float, str, a tuple of Values, or a dict from text to Value.
    where: "recipe.yaml:14", "override plan.lr=3e-5", or "" for what Python handed over.
    path: the keys that lead to it, "plan.lr"; "" at the top.
    text: how a scalar was written ("007"), None where that is unknown.
    """

    data: Any
    where: str = ""
    path: str = ""
    text: str | None = None

    def problem(self, message: str) -> str:
        """One line of an error: where, which setting, what is wrong with it."""
        place = " ".join(part for part in (self.where, self.path) if part)
        return escape_unprintable(f"{place or 'recipe'}: {message}")


def escape_unprintable(text: str) -> str:
    """The text with everything that does not print (line breaks, say) escaped."""
    return (
        text
        if text.isprintable()
        else "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
            for letter in text
        )
    )


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def read_yaml(
    text: str, where: str, *, numbered: bool = True, problems: list[str] | None = None
) -> Value:
    """The document in `text`. `where` names it in complaints: a file name, to which the line is
    added if `numbered`.

    problems: takes what is wrong and does not stop the reader (repeated keys, foreign tags, numbers
    that are not finite); such values are left out. Raises RecipeError: syntax (one line), and the
    others, all together, if `problems` is None.
    """
    if len(text) > _MAX_CHARACTERS:
        raise RecipeError(
            f"{where}: {len(text):,} characters are too long for a recipe (at most "
            f"{_MAX_CHARACTERS:,}). Is this a data file?"
        )
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            f"{_at(where, line, numbered)}: the character U+{_code(error.character):04X} is "
            f"not allowed in YAML. Remove it."
        ) from None
    except yaml.MarkedYAMLError as error:
        unclosed = str(error.context).startswith(
            ("while parsing a flow", "while scanning a quoted", "while scanning a simple key")
        )
        mark = (
            (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
        )  # where it opened, not where the text ran out
        line = mark.line + 1 if mark else 1
        raise RecipeError(f"{_at(where, line, numbered)}: {_syntax(error, text, line)}") from None
    except (ValueError, OverflowError):  # "\U00110000": PyYAML hands the number to chr()
        line = loader.line + 1 if loader else 1
        raise RecipeError(f"{_at(where, line, numbered)}: {_BACKSLASH}") from None
    except RecursionError:
        raise RecipeError(
            f"{where}: nested too deeply for a recipe (at most {_MAX_DEPTH} levels)."
        ) from None
    if node is None:
        return Value(None, _at(where, 1, numbered))
    reader = _Reader(where, numbered)
    value = reader.value(node, "", node.start_mark.line + 1)
    if reader.problems and problems is None:
        raise RecipeError(dict.fromkeys(reader.problems))
    if problems is not None:
        problems += reader.problems
    return value or Value(None, _at(where, 1, numbered))


class _Loader(yaml.SafeLoader):
    """PyYAML up to the node tree: its own reading of plain words is replaced, its constructors are
    never called.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                f"aliases (*{event.anchor}) are not allowed in a recipe. Write the value out",
                event.start_mark,
            )
        if getattr(self.peek_event(), "anchor", None) is not None:
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                f"anchors (&{event.anchor}) are not allowed in a recipe. Write the value out",
                event.start_mark,
            )
        self.depth += 1
        if self.depth > _MAX_DEPTH:
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
    """Node tree → Values, collecting complaints."""

    def __init__(self, where: str, numbered: bool) -> None:
        self.where, self.numbered, self.problems = where, numbered, list[str]()

    def value(self, node: yaml.Node, path: str, line: int) -> Value | None:
        here = Value(None, _at(self.where, line, self.numbered), path)
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return replace(here, data=self.entries(node, path))
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            items = [self.value(item, path, item.start_mark.line + 1) for item in node.value]
            return replace(here, data=tuple(item for item in items if item is not None))
        if isinstance(node, yaml.ScalarNode) and tag in _SCALARS:
            try:
                data = _SCALARS[tag](node.value)
            except (ValueError, OverflowError):
                self.problems.append(
                    here.problem(f"'{_short(node.value)}' cannot be read as {_ARTICLES[tag]}.")
                )
                return None
            if isinstance(data, float) and not math.isfinite(data):
                self.problems.append(
                    here.problem(f"expected a finite number, got {_short(node.value)}.")
                )
                return None
            if not is_text(node.value):
                self.problems.append(
                    here.problem(
                        f"{_short(ascii(node.value))} holds a character that cannot be written "
                        f"as UTF-8."
                    )
                )
                return None
            return replace(here, data=data, text=node.value)
        self.problems.append(
            here.problem(f"the tag '{node.tag}' is not allowed in a recipe. Write the plain value.")
        )
        return None

    def entries(self, node: yaml.MappingNode, path: str) -> dict[str, Value]:
        found: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            here = Value(None, _at(self.where, line, self.numbered), path)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(
                    here.problem(
                        "a key must be a single word, not a list or a mapping. Quote the text "
                        "if braces belong to it."
                    )
                )
                continue
            key = key_node.value
            if not is_text(key):
                self.problems.append(
                    here.problem(
                        f"the key {_short(ascii(key))} holds a character that cannot be "
                        f"written as UTF-8."
                    )
                )
                continue
            if key in lines:
                first = f" (first on line {lines[key]})" if self.numbered else ""
                self.problems.append(
                    here.problem(f"the key '{_short(key)}' is given twice{first}. Keep one.")
                )
                continue
            lines[key] = line
            value = self.value(value_node, join(path, key), line)
            if value is not None:
                found[key] = value
        return found


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


def _at(where: str, line: int, numbered: bool) -> str:
    return f"{where}:{line}" if numbered else where


def _code(character: str | bytes | int) -> int:
    return character if isinstance(character, int) else ord(character)


def _short(text: str) -> str:
    text = escape_unprintable(text)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _syntax(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    """PyYAML's complaint in the words of somebody who edits a recipe."""
    problem = str(error.problem or error.context or "not YAML")
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    if "allowed in a recipe" in problem:
        return f"{problem}."
    if "escape" in problem or "double-quoted" in str(error.context):
        return _BACKSLASH
    if r"'\t'" in problem or "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return "a tab where YAML needs spaces. Indent with spaces."
    if "mapping values are not allowed" in problem:
        return "a second ':' on one line. Check the indentation, or put the text in quotes."
    if "could not find expected ':'" in problem or "expected ':'" in problem:
        return "a key without ': value'. Put ': ' (with a space) after the key."
    if "expected <block end>" in problem:
        return (
            "the indentation does not fit the lines above. Keys of one level start in the "
            "same column."
        )
    if "expected a single document" in str(error.context):
        return "a second document ('---') starts here. One file holds one recipe."
    if "while parsing a flow" in str(error.context):
        opened, closed = "{}" if "mapping" in str(error.context) else "[]"
        return (
            f"a '{opened}' is not closed by '{closed}', or a comma between its entries is missing."
        )
    if "unexpected end of stream" in problem or "quoted scalar" in str(error.context):
        return "a quoted text is not closed. Add the missing quote."
    if "cannot start any token" in problem:
        character = re.search(r"character (.*) that", problem)
        return (
            f"a value cannot start with "
            f"{character.group(1) if character else 'this character'}. Put it in quotes."
        )
    return (
        f"not valid YAML ({' '.join(problem.split())}). Check the indentation and the "
        f"quotes around here."
    )


def from_python(data: Any, problems: list[str] | None = None) -> Value:
    """Values of what Python handed over: mappings, lists, tuples, text, numbers, paths; numpy
    scalars count as numbers.

    problems: takes what a recipe cannot hold; such values are left out. Raises RecipeError with all
    of them if it is None.
    """
    found: list[str] = []
    value = _from_python(data, "", found, 0)
    if found and problems is None:
        raise RecipeError(found)
    if problems is not None:
        problems += found
    return value or Value(None)


def _from_python(data: Any, path: str, problems: list[str], depth: int) -> Value | None:
    here = Value(None, "", path)
    if depth > _MAX_DEPTH:
        problems.append(
            here.problem(f"nested too deeply for a recipe (at most {_MAX_DEPTH} levels).")
        )
        return None
    if isinstance(data, Mapping):
        entries: dict[str, Value] = {}
        for key, entry in data.items():
            word = key if isinstance(key, str) else _word(key)
            if word is None or not is_text(word):
                problems.append(here.problem(f"a key must be text, got {_short(repr(key))}."))
            elif word in entries:
                problems.append(
                    here.problem(
                        f"the key '{_short(word)}' is given twice (as text and as a number). "
                        f"Keep one."
                    )
                )
            elif (value := _from_python(entry, join(path, word), problems, depth + 1)) is not None:
                entries[word] = value
        return replace(here, data=entries)
    if isinstance(data, (list, tuple)):
        items = [_from_python(item, path, problems, depth + 1) for item in data]
        return replace(here, data=tuple(item for item in items if item is not None))
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if getattr(data, "shape", None) == () and hasattr(data, "item"):
        data = data.item()  # a numpy scalar
    if data is None or isinstance(data, (bool, int)):
        return replace(here, data=data)
    if isinstance(data, str):
        if is_text(data):
            return replace(here, data=str(data), text=str(data))
        problems.append(
            here.problem(
                f"{_short(ascii(data))} holds a character that cannot be written as UTF-8."
            )
        )
    elif isinstance(data, float):
        if math.isfinite(data):
            return replace(here, data=float(data))
        problems.append(here.problem(f"expected a finite number, got {data}."))
    else:
        problems.append(
            here.problem(
                f"a recipe holds text, numbers, lists and mappings, got {type(data).__name__}."
            )
        )
    return None


def _word(key: Any) -> str | None:
    """A key that is no text, as YAML would write it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key) if isinstance(key, (int, float)) else None


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it: what Python read from a broken command line or file name may
    contain lone surrogates.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_plain(value: Value) -> Any:
    """The data without its places: what json could write."""
    if isinstance(value.data, dict):
        return {key: to_plain(entry) for key, entry in value.data.items()}
    if isinstance(value.data, tuple):
        return [to_plain(item) for item in value.data]
    return value.data


def walk(value: Value, steps: Sequence[str | int]) -> Iterator[Value]:
    """The values on the way from `value` along `steps`; steps that lead nowhere are passed over."""
    yield value
    for step in steps:
        inside = (
            value.data.keys()
            if isinstance(value.data, dict)
            else range(len(value.data))
            if isinstance(value.data, tuple)
            else ()
        )
        if step in inside:
            value = value.data[step]
            yield value
