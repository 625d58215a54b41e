"""The values of a recipe that are more than a number or a word: chosen techniques, loss terms,
label names, dev sets.

Each reader takes plain data, says everything that is wrong with it at once, each complaint with the
keys that lead to the culprit, and gives a frozen value.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from encore import catalogue
from encore.catalogue import SINGULAR
from encore.recipe.messages import (
    all_known,
    describe_type,
    format_given,
    no_setting,
    no_such,
    remedy,
)
from encore.types import Spec

__all__ = [
    "Steps",
    "Technique",
    "Term",
    "accepted_settings",
    "parse_class_weights",
    "parse_delimiter",
    "parse_dev_sets",
    "parse_label_names",
    "parse_loss_terms",
    "parse_metric_names",
    "parse_technique",
    "refuse",
    "refuse_all",
    "typed_settings",
    "unsafe_name_problems",
]

Steps = tuple[str | int, ...]  # the keys and positions that lead from a value to a part of it

_SAFE_NAME = re.compile(
    r"[\w-]{1,64}"
)  # names of tasks, losses and dev sets become folder names and parts of dotted paths
_UNIT = {"dropout": (0.0, 1.0)}  # settings that are probabilities wherever they occur: [low, high)


class Technique(Mapping[str, Any]):
    """A chosen technique: `{"name": "linear", "dropout": 0.1}`, as a mapping that nothing can
    change. `catalogue.build` takes it as it is.
    """

    __slots__ = ("_entries",)
    _entries: dict[str, Any]

    def __init__(self, name: str, settings: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_entries", {"name": name, **(settings or {})})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Technique is frozen: {name} cannot be set")

    @property
    def name(self) -> str:
        return self._entries["name"]

    @property
    def settings(self) -> dict[str, Any]:
        """What the recipe sets; the technique's own defaults are not in here."""
        return {key: value for key, value in self._entries.items() if key != "name"}

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Technique({dict(self._entries)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Technique, (self.name, self.settings)


@dataclass(frozen=True)
class Term:
    """One term of the loss. `loss` None: the kind of the task decides (cross-entropy; binary
    cross-entropy per label; squared error).
    """

    loss: Technique | None = None
    weight: float = 1.0


def refuse_all(problems: Sequence[tuple[Steps, str]]) -> PydanticCustomError:
    """Several complaints from one validator, each with the keys that lead from the validated field
    to the culprit.
    """
    return PydanticCustomError(
        "encore",
        "{text}",
        {
            "text": "; ".join(message for _, message in problems),
            "problems": [list(problem) for problem in problems],
        },
    )  # type: ignore[arg-type]


def parse_technique(value: Any, kind: str, default: str | None, optional: bool) -> Technique | None:
    if isinstance(value, Technique) or (value is None and optional):
        return value
    problems: list[tuple[Steps, str]] = []
    found = _chosen(value, kind, default, problems)
    if problems or found is None:
        raise refuse_all(problems)
    return found


def _chosen(
    value: Any, kind: str, default: str | None, problems: list[tuple[Steps, str]]
) -> Technique | None:
    """`name` or `{name: …, setting: …}` → Technique. Imports the technique's file only if there are
    settings to check.
    """
    singular, known = SINGULAR[kind], catalogue.names(kind)
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        problems.append(
            (
                (),
                f"expected the name of a {singular}, or {{name: …, setting: …}}, got "
                f"{format_given(value)}. {all_known(known)}",
            )
        )
        return None
    name = value.get("name", default)
    if not isinstance(name, str):
        nameless = "name" not in value
        missing = (
            "no name beside the settings. Write {name: …, setting: …}."
            if nameless
            else f"expected the name of a {singular}, got {format_given(name)}."
        )
        problems.append((() if nameless else ("name",), f"{missing} {all_known(known)}"))
        return None
    if name not in known:
        problems.append((("name",), no_such(kind, name)))
        return None
    settings = {key: setting for key, setting in value.items() if key != "name"}
    if settings:
        accepted = accepted_settings(kind, name)
        problems += [
            ((key,), "the warm-up belongs to the plan. Write plan: {warmup_frac: …}.")
            for key in settings
            if (kind, key) == ("curves", "warmup_frac")
        ]
        settings = {
            key: setting
            for key, setting in settings.items()
            if (kind, key) != ("curves", "warmup_frac")
        }
        problems += [
            ((key,), no_setting(f"{singular} '{name}'", key, accepted))
            for key in settings
            if key not in accepted
        ]
        settings, ill_typed = typed_settings(
            kind, name, {key: settings[key] for key in accepted if key in settings}
        )
        problems += ill_typed
    return Technique(name, settings)


def accepted_settings(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """What a recipe may set on a technique. A curve's warm-up is the plan's: a setting exists
    once.
    """
    return {
        key: parameter
        for key, parameter in catalogue.settings(kind, name).items()
        if (kind, key) != ("curves", "warmup_frac")
    }


def typed_settings(
    kind: str, name: str, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[Steps, str]]]:
    """Settings as the annotations of the constructor's parameters want them (0 is 0.0 for a float),
    and complaints about those that do not fit.

    A setting whose name promises a range (`dropout`) is held to it here, where the line is known;
    the constructor sees to the others.
    """
    problems: list[tuple[Steps, str]] = []
    fitting: dict[str, Any] = {}
    technique, accepted = catalogue.find(kind, name), catalogue.settings(kind, name)
    namespace = vars(sys.modules[technique.__module__])
    for key, value in settings.items():
        expected = describe_type(Any)
        try:
            annotation = _evaluated(accepted[key].annotation, namespace)
            expected = describe_type(annotation)
            adapter = TypeAdapter(
                annotation, config=ConfigDict(strict=True, arbitrary_types_allowed=True)
            )
            if annotation in (Spec, Spec | None) and value is not None:
                written, inner = _techniques([value], kind)
                fitting[key] = written[0] if written else None
                problems += [((key, *steps[1:]), message) for steps, message in inner]
                continue
            if annotation == tuple[Spec, ...] and isinstance(value, (list, tuple)):
                fitting[key], inner = _techniques(value, kind)
                problems += [((key, *steps), message) for steps, message in inner]
                continue
            fitting[key] = adapter.validate_python(_as_tuples(value, annotation))
        except ValidationError:
            problems.append(
                (
                    (key,),
                    f"expected {expected}, got {format_given(value)}.{remedy(value, expected)}",
                )
            )
            continue
        low_high = _UNIT.get(key)
        if low_high and isinstance(value, (int, float)) and not low_high[0] <= value < low_high[1]:
            problems.append(
                ((key,), f"expected a number of at least 0 and below 1, got {format_given(value)}.")
            )
    return fitting, problems


def _techniques(
    specs: Sequence[Any], kind: str
) -> tuple[tuple[Spec, ...], list[tuple[Steps, str]]]:
    """A setting that is itself a list of techniques of the same kind: each with every default
    written out, and complaints.
    """
    problems: list[tuple[Steps, str]] = (
        []
        if specs
        else [
            (
                (),
                f"expected at least one {SINGULAR[kind]}, got none. "
                f"{all_known(catalogue.names(kind))}",
            )
        ]
    )
    written: list[Spec] = []
    for position, spec in enumerate(specs):
        inner: list[tuple[Steps, str]] = []
        chosen = _chosen(spec, kind, None, inner)
        problems += [((position, *steps), message) for steps, message in inner]
        if chosen is not None:
            accepted = accepted_settings(kind, chosen.name)
            settings = {
                key: chosen.settings.get(key, parameter.default)
                for key, parameter in accepted.items()
            }
            written.append({"name": chosen.name, **settings} if settings else chosen.name)
    return tuple(written), problems


def _evaluated(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The type that an annotation names. One whose name exists only for the type checker is not
    checked here: the constructor sees the value anyway.
    """
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__={"it": annotation}),
            globalns=namespace,
            include_extras=True,
        )["it"]
    except (NameError, TypeError, SyntaxError):
        return Any


def _as_tuples(value: Any, annotation: Any) -> Any:
    """YAML knows lists only; a constructor may want a tuple."""
    if isinstance(value, list) and "tuple" in str(annotation):
        return tuple(_as_tuples(item, annotation) for item in value)
    return value


def parse_loss_terms(value: Any) -> dict[str, Term]:
    if not isinstance(value, dict):
        raise refuse_all(
            [
                (
                    (),
                    f"expected a mapping from a name of your own to a loss, such as {{task: "
                    f"cross_entropy}}, got {format_given(value)}.",
                )
            ]
        )
    problems: list[tuple[Steps, str]] = []
    terms: dict[str, Term] = {}
    if not value:
        problems.append(
            (
                (),
                "expected at least one loss, got none. Write {task: null}, and the kind of the "
                "task decides.",
            )
        )
    for name, spec in value.items():
        inner: list[tuple[Steps, str]] = []
        if isinstance(spec, Term):
            terms[name] = spec
            continue
        problems += [((name,), message) for message in unsafe_name_problems(name, "loss term")]
        weight: Any = 1.0
        if isinstance(spec, dict):
            spec = dict(spec)
            weight = spec.pop("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
                inner.append(
                    (("weight",), f"expected a number of at least 0, got {format_given(weight)}.")
                )
                weight = 1.0
            if spec.get("name") is None:
                which = all_known(catalogue.names("losses"))
                inner += [
                    (
                        (key,),
                        f"a setting needs the loss that it belongs to. Write {{name: …, {key}: "
                        f"…}}. {which}",
                    )
                    for key in spec
                    if key != "name"
                ]
                spec = None
        loss = None if spec is None else _chosen(spec, "losses", None, inner)
        problems += [((name, *steps), message) for steps, message in inner]
        terms[name] = Term(loss, float(weight))
    if problems:
        raise refuse_all(problems)
    return terms


def parse_metric_names(value: Any) -> tuple[str, ...] | None:
    if value is None or isinstance(value, tuple):
        return value
    given = [value] if isinstance(value, str) else value
    known = catalogue.names("metrics")
    if not isinstance(given, list):
        raise refuse_all(
            [
                (
                    (),
                    f"expected a metric or a list of metrics, of which the first decides, got "
                    f"{format_given(value)}. {all_known(known)}",
                )
            ]
        )
    problems: list[tuple[Steps, str]] = []
    for position, name in enumerate(given):
        steps = (position,) if isinstance(value, list) else ()
        if not isinstance(name, str):
            problems.append(
                (
                    steps,
                    f"expected the name of a metric, got {format_given(name)}. {all_known(known)}",
                )
            )
        elif name not in known:
            problems.append((steps, no_such("metrics", name)))
        elif name in given[:position]:
            problems.append((steps, f"'{name}' is listed twice. Keep one."))
    if problems:
        raise refuse_all(problems)
    return tuple(given)


def parse_dev_sets(value: Any) -> str | dict[str, str] | None:
    if value is None or (isinstance(value, str) and value):
        return value
    if not isinstance(value, dict) or not value:
        raise refuse_all(
            [
                (
                    (),
                    f"expected a file, or several named ones such as {{matched: a.csv, "
                    f"mismatched: b.csv}}, got {format_given(value)}.",
                )
            ]
        )
    problems: list[tuple[Steps, str]] = []
    for name, path in value.items():
        problems += [((name,), message) for message in unsafe_name_problems(name, "dev set")]
        if name in ("train", "test"):
            problems.append(
                ((name,), f"a dev set cannot be called '{name}'. Give it another name.")
            )
        if not isinstance(path, str) or not path:
            problems.append(((name,), f"expected a file, got {format_given(path)}."))
    if problems:
        raise refuse_all(problems)
    return value


def parse_label_names(value: Any) -> tuple[str, ...] | dict[str, str] | None:
    if value is None or isinstance(value, tuple):
        return value
    cells = list(value) if isinstance(value, dict) else value
    if not isinstance(cells, list):
        raise refuse_all(
            [
                (
                    (),
                    f"expected a list of label names, or a mapping from what the file says to "
                    f"a name, got {format_given(value)}.",
                )
            ]
        )
    problems: list[tuple[Steps, str]] = []
    if len(cells) < 2:
        problems.append(((), f"expected at least two labels, got {len(cells)}."))
    named = list(value.items()) if isinstance(value, dict) else list(enumerate(cells))
    for step, name in named:
        if not isinstance(name, str) or not name:
            problems.append(
                (
                    (step,),
                    f"expected the name of a label, got {format_given(name)}. Put it in quotes if "
                    f"that is its name.",
                )
            )
        elif isinstance(value, list) and name in cells[:step]:
            problems.append(((step,), f"the label '{name}' is listed twice. Keep one."))
    if problems:
        raise refuse_all(problems)
    return tuple(value) if isinstance(value, list) else value


def parse_class_weights(value: Any) -> Literal["balanced"] | dict[str, float] | None:
    if value is None or value == "balanced":
        return value
    if not isinstance(value, dict) or not value:
        raise refuse_all(
            [
                (
                    (),
                    f"expected balanced, or a weight per label name such as {{negative: 1, "
                    f"positive: 2.5}}, got {format_given(value)}.",
                )
            ]
        )
    problems: list[tuple[Steps, str]] = []
    for label, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight <= 0:
            problems.append(((label,), f"expected a number above 0, got {format_given(weight)}."))
    if problems:
        raise refuse_all(problems)
    return {label: float(weight) for label, weight in value.items()}


def parse_delimiter(value: Any) -> str | None:
    value = {"\\t": "\t", "tab": "\t"}.get(value, value) if isinstance(value, str) else value
    if value is not None and (not isinstance(value, str) or len(value) != 1):
        raise refuse_all([((), f"expected one character, or tab, got {format_given(value)}.")])
    return value


def unsafe_name_problems(name: str, what: str) -> list[str]:
    if _SAFE_NAME.fullmatch(name):
        return []
    return [
        f"the name of a {what} consists of at most 64 letters, digits, '_' and '-', got "
        f"{format_given(name)}."
    ]


def refuse(message: str) -> typing.NoReturn:
    raise refuse_all([((), message)])
