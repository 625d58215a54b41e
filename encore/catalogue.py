"""The folder is the registry: one technique, one file, one public name.

`names("pooling")` lists the folder and imports nothing; `find` imports one file and takes the one
name in its `__all__`. A constructor's keyword parameters are the technique's schema, their
annotations the types and ranges: `specify` checks settings against them and fills in the defaults,
`build` calls the constructor.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from encore.errors import Problem, RecipeError, describe_type, did_you_mean, format_given
from encore.types import Spec

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "SINGULAR",
    "Flaw",
    "Steps",
    "TechniqueSpec",
    "about",
    "build",
    "find",
    "fit_settings",
    "folder",
    "kinds",
    "names",
    "parameter_types",
    "parse_choice",
    "settings",
    "specify",
    "unknown_name",
]

Steps = tuple[str | int, ...]  # the keys and positions that lead from a value to a part of it
Flaw = tuple[Steps, Problem]  # what is wrong with that part
Suggest = Callable[[Any, Any], str]  # (value, the type it should have) → a remedy, "" for none

_HERE = Path(__file__).parent / "techniques"
_FOLDERS = {"combine": "gradients"}  # recipes say plan.combine: pcgrad
SINGULAR = {  # folder → what one of its techniques is called
    "adapters": "adapter",
    "averages": "average",
    "combine": "gradient combination",
    "curves": "curve",
    "heads": "head",
    "losses": "loss",
    "metrics": "metric",
    "mixing": "mixing",
    "pairs": "pairing",
    "plans": "plan",
    "pooling": "pooling",
    "sharing": "sharing",
}

# Names that techniques have elsewhere: theirs=ours.
_NAMES_ELSEWHERE = """
acc=accuracy matthews=mcc matthews_correlation=mcc matthews_corrcoef=mcc f1_macro=macro_f1
f1_micro=micro_f1 f1_score=f1 pearsonr=pearson correlation=pearson spearmanr=spearman
exact_match=subset_accuracy logloss=log_loss ce=cross_entropy crossentropy=cross_entropy
cross_entropy_loss=cross_entropy softmax=cross_entropy bce=binary_cross_entropy
bce_with_logits=binary_cross_entropy mse_loss=mse l2=mse mean_squared_error=mse avg=mean
average=mean mean_pooling=mean multi=one multi_bert=one triple=separate triple_bert=separate
cerbertus=branch bi_encoder=siamese cross_encoder=cross random=even shuffled=even
sequential=task_by_task cls_token=cls first=cls swa=mean finetune=fine_tune fine-tune=fine_tune
classification=linear adapter=houlsby bottleneck=houlsby double_seq_bn=houlsby seq_bn=pfeiffer
"""
_ALIASES = dict(pair.split("=") for pair in _NAMES_ELSEWHERE.split())


def kinds() -> tuple[str, ...]:
    """The folders that hold techniques."""
    return tuple(SINGULAR)


def folder(kind: str) -> str:
    """The name of the folder in `encore/techniques` that holds this kind."""
    return _FOLDERS.get(kind, kind)


def names(kind: str) -> tuple[str, ...]:
    """Public names of one kind, sorted. Imports nothing. Raises RecipeError: no such kind."""
    if kind not in SINGULAR:
        raise RecipeError(f"no kind of technique called '{kind}'. {did_you_mean(kind, kinds())}")
    return tuple(sorted(path.stem for path in (_HERE / folder(kind)).glob("[a-z]*.py")))


def about(kind: str, name: str) -> str:
    """The first sentence of a technique's file. Imports nothing."""
    text = (_HERE / folder(kind) / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def unknown_name(kind: str, name: str) -> Problem:
    """The problem that no technique of this kind has this name."""
    known = names(kind)
    alias = _ALIASES.get(name.lower())
    return Problem(
        message=f"no {SINGULAR[kind]} called {format_given(name)}.",
        remedy=f"Did you mean '{alias}'? Known: {', '.join(known)}."
        if alias in known
        else did_you_mean(name, known),
    )


def find(kind: str, name: str) -> Any:
    """The class or function that `name` stands for. Raises RecipeError with a suggestion where
    there is none.
    """
    if name not in names(kind):
        raise RecipeError(unknown_name(kind, name))
    module = importlib.import_module(f"encore.techniques.{folder(kind)}.{name}")
    (public,) = module.__all__
    return getattr(module, public)


def settings(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a technique: these are what a recipe may set."""
    signature = inspect.signature(find(kind, name))
    return {
        key: parameter
        for key, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


# ----------------------------------------------------------------------------------- specifications


@dataclass(frozen=True, eq=False)
class TechniqueSpec(Mapping[str, Any]):
    """A technique with every setting of its constructor: complete, hashable, unchangeable. As a
    mapping it is written as in a recipe: {"name": "linear", "dropout": 0.1, "one_logit": False}.

    settings: in the order of the constructor. A setting that is itself a technique is a spec.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    def __getitem__(self, key: str) -> Any:
        return self.name if key == "name" else self.settings[key]

    def __iter__(self) -> Iterator[str]:
        yield "name"
        yield from self.settings

    def __len__(self) -> int:
        return 1 + len(self.settings)

    def __hash__(self) -> int:
        return hash((self.kind, json.dumps(self.to_json(), sort_keys=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        return TechniqueSpec, (self.kind, self.name, dict(self.settings))

    @property
    def changed(self) -> dict[str, Any]:
        """The name, and the settings that differ from the constructor's defaults, as plain data."""
        default = specify(self.kind, self.name).settings
        differing = {key: value for key, value in self.settings.items() if value != default[key]}
        return {"name": self.name} | {k: _plain(v, changed=True) for k, v in differing.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain data: lists for tuples. `specify(kind, data)` makes the same spec of it."""
        return {"name": self.name, **{key: _plain(value) for key, value in self.settings.items()}}


def _plain(value: Any, *, changed: bool = False) -> Any:
    """A setting as json holds it; an inner technique without settings is its bare name."""
    if isinstance(value, TechniqueSpec):
        data = value.changed if changed else value.to_json()
        return data if len(data) > 1 else value.name
    if isinstance(value, Mapping):
        return {key: _plain(entry, changed=changed) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, changed=changed) for item in value]
    return value


def parameter_types(kind: str, name: str) -> dict[str, Any]:
    """The types of a technique's settings, with their ranges: {"dropout": Annotated[float, …]}. A
    type whose name exists for the type checker only is Any: the constructor sees the value.
    """
    namespace = vars(sys.modules[find(kind, name).__module__])
    return {
        key: _evaluated(parameter.annotation, namespace)
        for key, parameter in settings(kind, name).items()
    }


def _evaluated(annotation: Any, namespace: dict[str, Any]) -> Any:
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


@functools.cache
def _schema(kind: str, technique: Any) -> type[BaseModel]:
    """The settings of a technique as a pydantic model, none of them required. Settings that are
    techniques themselves are left to `parse_choice`.
    """
    from pydantic import ConfigDict, Strict, create_model

    fields: dict[str, Any] = {}
    for key, annotation in parameter_types(kind, technique.__module__.rpartition(".")[2]).items():
        if _inner_kind(annotation, kind) is not None:
            annotation = Any
        elif typing.get_origin(annotation) is tuple:  # YAML has lists only
            annotation = Annotated[annotation, Strict(False)]
        fields[key] = (annotation, None)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(technique.__name__, __config__=config, **fields)


def _inner_kind(annotation: Any, kind: str) -> str | None:
    """The kind of a setting that is a technique, or a list of them: its parent's, unless the
    annotation names another (Annotated[Spec, "curves"]); None for all other settings.
    """
    if typing.get_origin(annotation) is Annotated:
        annotation, *metadata = typing.get_args(annotation)
        kind = next((extra for extra in metadata if extra in SINGULAR), kind)
    return kind if annotation in (Spec, Spec | None, tuple[Spec, ...]) else None


def _no_suggestion(value: Any, annotation: Any) -> str:
    return ""


def fit_settings(
    kind: str, name: str, given: Mapping[str, Any], suggest: Suggest = _no_suggestion
) -> tuple[dict[str, Any], list[Flaw]]:
    """The given settings as the constructor's annotations want them (0 is 0.0 for a float), in the
    constructor's order, and what is wrong with the others.
    """
    from pydantic import ValidationError

    accepted, schema = parameter_types(kind, name), _schema(kind, find(kind, name))
    flaws: list[Flaw] = [
        ((key,), _unknown_setting(kind, name, key)) for key in given if key not in accepted
    ]
    known = {key: given[key] for key in accepted if key in given}
    try:
        checked = schema.model_validate(known)
    except ValidationError as error:
        for key in dict.fromkeys(str(detail["loc"][0]) for detail in error.errors()):
            value, wanted = known.pop(key), accepted[key]
            problem = Problem(
                expected=describe_type(wanted),
                got=format_given(value),
                remedy=suggest(value, wanted),
            )
            flaws.append(((key,), problem))
        checked = schema.model_validate(known)
    fitting: dict[str, Any] = {}
    for key in known:
        value, inner = getattr(checked, key), _inner_kind(accepted[key], kind)
        if inner is None or value is None:
            fitting[key] = value
            continue
        specs, wrong = _inner_specs(inner, value, suggest)
        flaws += [((key, *steps), problem) for steps, problem in wrong]
        if not wrong:
            fitting[key] = specs
    return fitting, flaws


def _inner_specs(kind: str, value: Any, suggest: Suggest) -> tuple[Any, list[Flaw]]:
    """The spec of a setting that is a technique, or the specs of a list of them."""
    if not isinstance(value, (list, tuple)):
        flaws: list[Flaw] = []
        return _spec(kind, value, flaws, suggest), flaws
    if not value:
        problem = Problem(
            expected=f"at least one {SINGULAR[kind]}",
            got="none",
            remedy=f"Known: {', '.join(names(kind))}.",
        )
        return None, [((), problem)]
    specs, flaws = [], []
    for position, item in enumerate(value):
        inner: list[Flaw] = []
        specs.append(_spec(kind, item, inner, suggest))
        flaws += [((position, *steps), problem) for steps, problem in inner]
    return tuple(specs), flaws


def _unknown_setting(kind: str, name: str, key: str) -> Problem:
    accepted, technique = list(settings(kind, name)), f"{SINGULAR[kind]} '{name}'"
    if not accepted:
        return Problem(message=f"{technique} takes no settings, got {format_given(key)}.")
    message = f"{technique} has no setting {format_given(key)}."
    return Problem(message=message, remedy=did_you_mean(key, accepted))


def parse_choice(
    value: Any,
    kind: str,
    flaws: list[Flaw],
    *,
    default: str | None = None,
    suggest: Suggest = _no_suggestion,
) -> tuple[str, dict[str, Any]] | None:
    """`name` or `{name: …, setting: …}` → the name and the settings that are given, checked.

    Imports the technique's file only if there are settings to check. default: the name of a mapping
    without one. flaws: takes what is wrong; None is returned where there is no such technique.
    """
    singular, known = SINGULAR[kind], f"Known: {', '.join(names(kind))}."
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        expected = f"the name of a {singular}, or {{name: …, setting: …}}"
        flaws.append(((), Problem(expected=expected, got=format_given(value), remedy=known)))
        return None
    name = value.get("name", default)
    if "name" not in value and name is None:
        message = "no name beside the settings."
        remedy = f"Write {{name: …, setting: …}}. {known}"
        flaws.append(((), Problem(message=message, remedy=remedy)))
        return None
    if not isinstance(name, str):
        expected = f"the name of a {singular}"
        flaws.append((("name",), Problem(expected=expected, got=format_given(name), remedy=known)))
        return None
    if name not in names(kind):
        flaws.append((("name",), unknown_name(kind, name)))
        return None
    given = {key: setting for key, setting in value.items() if key != "name"}
    if not given:
        return name, {}
    fitting, wrong = fit_settings(kind, name, given, suggest)
    flaws += wrong
    return name, fitting


def _spec(
    kind: str, value: Any, flaws: list[Flaw], suggest: Suggest = _no_suggestion
) -> TechniqueSpec | None:
    if isinstance(value, TechniqueSpec):
        return value
    chosen = parse_choice(value, kind, flaws, suggest=suggest)
    if chosen is None:
        return None
    name, given = chosen
    defaults = {key: parameter.default for key, parameter in settings(kind, name).items()}
    return TechniqueSpec(kind, name, {**defaults, **fit_settings(kind, name, defaults)[0], **given})


def specify(kind: str, choice: Spec) -> TechniqueSpec:
    """The complete specification of `name` or `{name: …, setting: …}`; a specification is returned
    as it is. Raises RecipeError with everything that is wrong.
    """
    flaws: list[Flaw] = []
    spec = _spec(kind, choice, flaws)
    if flaws or spec is None:
        raise RecipeError(
            replace(problem, setting=".".join(str(step) for step in steps if step != "name"))
            for steps, problem in flaws
        )
    return spec


def build(kind: str, spec: Spec, *given: Any) -> Any:
    """Construct a technique from its specification, or from what `specify` takes. `given`: the
    constructor's positional arguments (a width, say). Raises RecipeError.
    """
    spec = specify(kind, spec)
    return find(kind, spec.name)(*given, **spec.settings)
