"""The complete specification of a run: every setting, with digests in the place of files. A run's
name is a hash of what in it differs from the defaults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore.files import canonical
from encore.recipe.schema import PLAN_KEYS, PROSE, Recipe
from encore.recipe.write import changed, resolved
from encore.types import DEFAULTS

__all__ = ["RunSpec", "TaskRows"]


@dataclass(frozen=True)
class TaskRows:
    """A task's rows: the digests of its files, and the names of its labels.

    dev: (dev set, digest) of each.
    """

    train: str
    dev: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"train": self.train, "dev": dict(self.dev), "labels": list(self.labels)}


@dataclass(frozen=True, eq=False)
class RunSpec:
    """Everything that determines the bits of a run: complete, hashable, JSON both ways.

    recipe: without prose and paths; its encoder is a digest, and what it may leave open is filled
    in (pooling, epochs, rate, normalisation, precision, threads). Two specifications are equal
    where every setting is.
    """

    recipe: Recipe
    rows: Mapping[str, TaskRows]
    tokenizer: str
    device: str
    results_version: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunSpec) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(canonical(self.to_json()))

    @property
    def name(self) -> str:
        """The name of the run's folder: the tasks' names for people, and ten digits of the hash of
        `identity`.
        """
        digest = hashlib.sha256(canonical(self.identity)).hexdigest()
        return f"{'+'.join(self.recipe.tasks)}-{digest[:10]}"

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as plain data: a setting that is added later
        leaves the names of existing runs. A default that changes raises the results version
        instead. Of the epochs and the rate, which have no default, those of the field's protocol
        are left out.
        """
        settings = changed(self.recipe)
        plan = settings.pop("plan", {})
        usual = {"epochs": DEFAULTS.epochs, "lr": DEFAULTS.lr}
        plan = {key: entry for key, entry in plan.items() if (key, entry) not in usual.items()}
        return self._with_rows(settings | ({"plan": plan} if plan else {}))

    def to_json(self) -> dict[str, Any]:
        """Every setting as plain data; `from_json` makes the same specification of it."""
        settings = resolved(self.recipe)
        return self._with_rows({key: settings[key] for key in settings if key not in PROSE})

    def _with_rows(self, settings: dict[str, Any]) -> dict[str, Any]:
        tasks = {}
        for name, task in settings["tasks"].items():
            rows = self.rows[name].to_json()
            labels = rows.pop("labels")
            tasks[name] = {**task, "data": {**task.get("data", {}), **rows}, "labels": labels}
        return settings | {
            "tasks": tasks,
            "tokeniser": self.tokenizer,
            "device": self.device,
            "results_version": self.results_version,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RunSpec:
        """The specification that `to_json` wrote. Raises pydantic's ValidationError."""
        tasks, rows = {}, {}
        for name, task in data["tasks"].items():
            files, labels = task["data"], tuple(task["labels"])
            rows[name] = TaskRows(files["train"], tuple(files["dev"].items()), labels)
            settings = {key: entry for key, entry in task.items() if key != "labels"}
            tasks[name] = settings | {"data": {**files, "train": None, "dev": None}}
        own = {key: entry for key, entry in data["plan"].items() if key not in PLAN_KEYS}
        plan = {key: each for key, each in data["plan"].items() if key in PLAN_KEYS} | {
            "settings": own
        }
        beside = ("tokeniser", "device", "results_version")
        recipe = {key: entry for key, entry in data.items() if key not in beside}
        return RunSpec(
            Recipe.model_validate(recipe | {"tasks": tasks, "plan": plan}),
            rows,
            data["tokeniser"],
            data["device"],
            data["results_version"],
        )
