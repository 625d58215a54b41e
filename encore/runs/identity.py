"""The identity of a run: everything that determines its bits. The run's name is a hash of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from encore import catalogue
from encore.data.dataset import TaskData
from encore.encoder import load
from encore.recipe.schema import PROSE, PlanRecipe, Recipe, TaskRecipe
from encore.recipe.write import resolved

if TYPE_CHECKING:
    pass

__all__ = ["RESULTS_VERSION", "identity_of"]

RESULTS_VERSION = 4  # raised by hand when the same recipe gives other bits


_ADDED = {
    "": ("sharing",),
    "plan": ("mixing", "combine"),
    "task": ("pair", "same_as", "batch_size"),
}  # settings that came after the first runs


def _forget(settings: dict[str, Any], plain: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Take out what is as it would be if nobody had set it."""
    for key in keys:
        if settings[key] == plain[key]:
            del settings[key]


def identity_of(
    recipe: Recipe, data: Mapping[str, TaskData], source: load.Source, poolings: Mapping[str, Any]
) -> dict[str, Any]:
    """What the recipe says that determines a run's bits. Files count by their content and not by
    their path; what the recipe says about itself does not.

    Of plans' and poolings' own settings a default counts as not set, and so does everything in
    `_ADDED`, so that a setting which is added later leaves the names of the runs there are.
    """
    settings = {key: value for key, value in resolved(recipe).items() if key not in PROSE}
    own = catalogue.settings("plans", recipe.plan.name)
    plain = resolved(Recipe(tasks={"": TaskRecipe()}))
    settings["plan"] = {
        key: value
        for key, value in settings["plan"].items()
        if key in PlanRecipe.model_fields or value != own[key].default
    }
    _forget(settings, plain, _ADDED[""])
    _forget(settings["plan"], plain["plan"], _ADDED["plan"])
    for name, task in settings["tasks"].items():
        _forget(task, plain["tasks"][""], _ADDED["task"])
        head = task.get("head", {})
        if head.get("name") == "linear" and not head["one_logit"]:
            del head["one_logit"]
        if task["data"]["seed"] is None:  # the recipe's own, which is in here already
            del task["data"]["seed"]
        task["data"] |= {
            "train": data[name].train.digest,
            "dev": {split: part.digest for split, part in data[name].dev.items()},
            "test": None,
        }
        accepted = catalogue.settings("pooling", poolings[name]["name"])
        task["pooling"] = {
            key: value
            for key, value in poolings[name].items()
            if key == "name" or value != accepted[key].default
        }
        task["labels"] = list(data[name].labels.names)
    return settings | {"encoder": source.digest}
