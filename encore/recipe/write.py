"""Writes a recipe as plain data or as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from encore import catalogue
from encore.recipe.located_yaml import write_yaml
from encore.recipe.reference import RunReference
from encore.recipe.schema import PLAN_KEYS, TECHNIQUE_KINDS, PlanRecipe, Recipe, TaskRecipe
from encore.recipe.technique import Technique, Term

__all__ = ["anchored", "changed", "plain_reference", "resolved", "to_yaml"]


# ------------------------------------------------------------------------------------------ writing


def resolved(recipe: BaseModel) -> dict[str, Any]:
    """The recipe, of a run or of pre-training, as plain data, every default written out, those of
    the techniques too (which imports their files); equal recipes give equal data.

    Order is fixed: that of the fields here, of the constructor's parameters, of the alphabet for
    class weights and expectations, of the recipe for the rest.
    """
    return _resolved(recipe)


def _resolved(value: Any, kind: str = "") -> Any:
    if isinstance(value, PlanRecipe):
        entries = {
            key: _resolved(getattr(value, key), TECHNIQUE_KINDS.get(key, "")) for key in PLAN_KEYS
        }
        own = catalogue.specify("plans", {"name": value.name, **value.settings}).to_json()
        return {**entries, **{key: entry for key, entry in own.items() if key not in PLAN_KEYS}}
    if isinstance(value, BaseModel):
        entries = {
            key: _resolved(getattr(value, key), TECHNIQUE_KINDS.get(key, ""))
            for key in type(value).model_fields
        }
        if isinstance(value, TaskRecipe) and value.same_as is not None:
            del entries["head"]  # it has none of its own, and a recipe that names both is refused
        return {
            key: dict(sorted(entry.items()))
            if key in ("class_weights", "expect") and isinstance(entry, dict)
            else entry
            for key, entry in entries.items()
        }
    if isinstance(value, Term):
        loss = _resolved(value.loss, "losses") if value.loss is not None else {"name": None}
        return {"name": loss.pop("name"), "weight": value.weight, **loss}
    if isinstance(value, Technique):
        return catalogue.specify(kind, value).to_json()
    if isinstance(value, RunReference):
        return value.to_json(_resolved(value.run))
    if isinstance(value, Mapping):
        return {key: _resolved(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolved(item) for item in value]
    return value


def changed(value: BaseModel) -> dict[str, Any]:
    """A recipe, or a section of one, as plain data without the settings that equal their defaults,
    those of techniques too (which imports their files). Tasks are in it whatever they set.
    """
    found: dict[str, Any] = {}
    for key, field in type(value).model_fields.items():
        setting = getattr(value, key)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if key == "tasks":
            found[key] = {name: changed(task) for name, task in setting.items()}
        elif isinstance(setting, BaseModel):
            inner = changed(setting)  # a section that is not there by default counts as it is
            found |= {key: inner} if inner or default is None else {}
        elif isinstance(setting, Technique):
            spec, kind = catalogue.specify(TECHNIQUE_KINDS[key], setting), TECHNIQUE_KINDS[key]
            if default is None or spec != catalogue.specify(kind, default):
                found[key] = spec.changed
        elif isinstance(value, PlanRecipe) and key == "settings":
            own = catalogue.specify("plans", {"name": value.name, **setting}).changed
            found |= {name: entry for name, entry in own.items() if name not in PLAN_KEYS}
        elif setting != default:
            found[key] = _changed_terms(setting) if key == "losses" else _resolved(setting)
    return found


def _changed_terms(terms: Mapping[str, Term]) -> dict[str, Any]:
    return {
        name: {
            **(catalogue.specify("losses", term.loss).changed if term.loss is not None else {}),
            **({"weight": term.weight} if term.weight != Term().weight else {}),
        }
        for name, term in terms.items()
    }


def to_yaml(recipe: Recipe, *, short: bool = False) -> str:
    """The recipe as YAML that loads back to the same recipe: all of it, or only what differs from
    the defaults (`short`).
    """
    return write_yaml(_short(recipe) if short else resolved(recipe))


def _short(recipe: Recipe) -> dict[str, Any]:
    data = _differing(recipe)
    tasks = data.pop("tasks")
    sugar = (
        {"task": next(iter(tasks))}
        if len(tasks) == 1 and not next(iter(tasks.values()))
        else {"tasks": tasks}
    )
    plan = data.pop("plan", None)
    return {**data, **sugar, **({"plan": plan} if plan else {})}


def _differing(value: Any) -> Any:
    if isinstance(value, BaseModel):
        found: dict[str, Any] = {}
        for key, field in type(value).model_fields.items():
            entry = getattr(value, key)
            if field.is_required() or entry != field.get_default(call_default_factory=True):
                found[key] = _differing(entry)
        return {
            **{key: entry for key, entry in found.items() if key != "settings"},
            **found.get("settings", {}),
        }
    if isinstance(value, Term):
        if value.weight == 1.0:
            return None if value.loss is None else _differing(value.loss)
        return {**(dict(value.loss) if value.loss else {}), "weight": value.weight}
    if isinstance(value, Technique):
        return dict(value) if value.settings else value.name
    if isinstance(value, RunReference):
        return value.to_json(_differing(value.run))
    if isinstance(value, Mapping):
        return {key: _differing(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_differing(item) for item in value]
    return value


def anchored(recipe: Recipe) -> Recipe:
    """The same recipe with the paths of data and encoder absolute, so that it can be written into
    another folder.
    """

    def absolute(path: str) -> str:
        return path if path == "-" or "://" in path else str(recipe.path(path))

    tasks = {}
    for name, task in recipe.tasks.items():
        data = task.data
        dev = (
            {key: absolute(path) for key, path in data.dev.items()}
            if isinstance(data.dev, dict)
            else absolute(data.dev)
            if data.dev
            else None
        )
        paths = {
            "train": absolute(data.train) if data.train else None,
            "dev": dev,
            "test": absolute(data.test) if data.test else None,
            "more": tuple(map(absolute, data.more or ())) or None,
        }
        tasks[name] = task.model_copy(
            update={
                "data": data.model_copy(update=paths),
                "head_from": _anchored(recipe, task.head_from),
            }
        )
    own = {"encoder": _anchored_encoder(recipe)}
    own |= {"adapter_from": _anchored(recipe, recipe.adapter_from)}
    return recipe.model_copy(update={"tasks": tasks, **own})


def plain_reference(reference: RunReference) -> dict[str, Any]:
    """A reference as plain data; with the whole of a recipe that was read, its paths absolute."""
    run = reference.run
    return reference.to_json(resolved(anchored(run)) if isinstance(run, Recipe) else run)


def _anchored(recipe: Recipe, reference: Any) -> Any:
    """A reference for a recipe in another folder; anything else as it is."""
    if not isinstance(reference, RunReference):
        return reference
    if isinstance(reference.run, Recipe):
        return reference.to(anchored(reference.run))
    return reference.to(str(recipe.path(str(reference.run))))


def _anchored_encoder(recipe: Recipe) -> str | RunReference:
    encoder = recipe.encoder
    if isinstance(encoder, RunReference):
        return _anchored(recipe, encoder)
    return str(recipe.path(encoder)) if recipe.path(encoder).is_dir() else encoder
