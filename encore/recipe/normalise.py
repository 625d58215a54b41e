"""Rewrites a recipe document into its complete form: shared settings move into each task, overrides
are applied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from encore import catalogue
from encore.errors import RecipeError, did_you_mean
from encore.recipe.fields import typed_settings, unsafe_name_problems
from encore.recipe.located_yaml import Value, from_python, to_plain
from encore.recipe.messages import EXAMPLES, format_given
from encore.recipe.overrides import DATA_FILE, Change, with_value
from encore.recipe.schema import PLAN_KEYS, STUDY, TASK_KEYS, PlanRecipe

__all__ = ["NO_TASK", "complete_document"]
_WORDS = (
    "text",
    "text_pair",
    "label",
    "labels",
)  # cells and column names are text, however they look: `label: 1`, `labels: [1, 2]`


def complete_document(document: Value, changes: Sequence[Change], problems: list[str]) -> Value:
    """The document in the one form that Recipe has: sugar and shared settings moved into the tasks,
    changes applied. Every value still knows its line.
    """
    if document.data is None and not changes:
        problems.append(
            document.problem("the recipe is empty. A named task needs one line: `task: rte`.")
        )
        return _top({"tasks": Value({})})
    if document.data is not None and not isinstance(document.data, dict):
        doubt = " Is this a data file?" if isinstance(document.data, str) else ""
        problems.append(
            document.problem(
                f"expected keys such as `task: rte`, got {format_given(to_plain(document))}.{doubt}"
            )
        )
        return _top({"tasks": Value({})})
    top = dict(document.data or {})
    studied = {key: top.pop(key) for key in STUDY if key in top}
    for steps, value in changes:
        if steps in (("task",), ("tasks",)):
            top[steps[0]] = value
    tasks, shared = _tasks(top, document, studied.get("each"), problems)
    for steps, value in changes:
        if steps in (("task",), ("tasks",)):
            continue
        if steps[0] in STUDY:
            instead = (
                f" Write seed={value.data} for a single run."
                if steps == ("seeds",) and isinstance(value.data, int)
                else ""
            )
            problems.append(
                value.problem(
                    f"'{steps[0]}' says what to compare, and this is a single run.{instead}"
                )
            )
            continue
        if steps[0] == "expect" and len(steps) > 1:
            steps = ("expect", ".".join(steps[1:]))
        if steps[0] == "task":
            problems.append(
                value.problem(f"a task's name has no settings. Write {'.'.join(steps[1:])}=…")
            )
        elif steps[0] in TASK_KEYS:
            tasks = {
                name: task
                if steps[0] == "head" and _borrows(task)
                else with_value(task, steps, value)
                for name, task in tasks.items()
            }
        elif steps[0] != "tasks":
            top = with_value(Value(top), steps, value).data
        elif steps[1] in tasks:
            name, *inner = steps[1:]
            own = (
                replace(value, data={**shared, **value.data})
                if not inner and isinstance(value.data, dict)
                else value
            )
            tasks[name] = with_value(tasks[name], inner, own)
        elif NO_TASK not in tasks:
            problems.append(
                value.problem(
                    f"no task called {format_given(steps[1])}. "
                    f"{did_you_mean(steps[1], tuple(tasks))}"
                )
            )
    for name, task in tasks.items():
        if isinstance(task.data, dict):
            if _borrows(task) and task.data.get("head") is shared.get(
                "head"
            ):  # a shared head is for tasks that have one of their own
                task = replace(
                    task, data={key: entry for key, entry in task.data.items() if key != "head"}
                )
            tasks[name] = task = replace(task, data=_without_empty(task.data))
            problems += _unfounded(name, task) if name != NO_TASK else []
    top["tasks"] = Value(tasks, document.where, "tasks")
    if "plan" in top:
        top["plan"] = _plan(top["plan"], problems)
    if "expect" in top and top["expect"].data is None:
        del top["expect"]
    return _top(top, document)


def _top(entries: dict[str, Value], document: Value | None = None) -> Value:
    return Value(entries, document.where if document else "")


NO_TASK = (
    "?"  # stands for the task that is missing, so that the other settings are checked all the same
)


def _tasks(
    top: dict[str, Value], document: Value, each: Value | None, problems: list[str]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Takes `task`, `tasks` and the shared task settings out of `top`: each task's own complete
    mapping, and the shared settings. `each`: the recipe's.
    """
    task, tasks = top.pop("task", None), top.pop("tasks", None)
    shared = {key: top.pop(key) for key in TASK_KEYS if key in top}
    own: dict[str, Value] = {}
    if task is not None and tasks is not None:
        problems.append(
            task.problem(
                "task and tasks are both given. Keep one: `task: rte` is short for `tasks: "
                "{rte: {}}`."
            )
        )
    if tasks is not None:
        if isinstance(tasks.data, dict) and tasks.data:
            own = dict(tasks.data)
        else:
            (name,) = (
                tasks.data if isinstance(tasks.data, tuple) and len(tasks.data) == 1 else (tasks,)
            )
            remedy = (
                f"`task: {name.data}`"
                if isinstance(name.data, str) and name.data
                else f"tasks: {EXAMPLES['tasks']}"
            )
            problems.append(
                tasks.problem(
                    f"expected a mapping from task names to their settings, got "
                    f"{format_given(to_plain(tasks))}. Write {remedy}."
                )
            )
    elif task is not None:
        if isinstance(task.data, str) and task.data:
            own = {task.data: Value({}, task.where, task.path)}
        else:
            problems.append(
                task.problem(
                    f"expected the name of a task, such as rte, got {format_given(to_plain(task))}."
                )
            )
    elif each is not None and isinstance(each.data, dict) and {"task", "tasks"} & each.data.keys():
        items = each.data["task"].data if "task" in each.data else None
        some = (
            [item.data for item in items if isinstance(item.data, str)]
            if isinstance(items, tuple)
            else []
        )
        single = (
            f" For a single run name one: task={some[0] if some else 'rte'}"
            if "task" in each.data
            else ""
        )
        problems.append(each.problem(f"these are separate studies, for `encore compare`.{single}"))
    else:
        problems.append(
            document.problem(
                "no task. Add `task: rte` (a named task), or `tasks: {reviews: {data: {train: "
                "reviews.csv}}}`."
            )
        )
    complete: dict[str, Value] = {}
    for name, value in own.items():
        problems += [value.problem(message) for message in unsafe_name_problems(name, "task")]
        settings = value.data if isinstance(value.data, dict) else {}
        if value.data is not None and not isinstance(value.data, dict):
            file = (
                value.data
                if isinstance(value.data, str) and re.search(DATA_FILE, value.data)
                else None
            )
            instead = (
                f"{name}: {{data: {{train: {file}}}}}" if file else f"{name}: {{}} for a named task"
            )
            problems.append(
                value.problem(
                    f"expected a mapping with the task's settings, got "
                    f"{format_given(to_plain(value))}. "
                    f"Write {instead}."
                )
            )
            settings = {"data": Value({"train": value}, value.where, value.path)} if file else {}
        entries = {**shared, **settings}
        if (
            "data" in shared
            and "data" in settings
            and isinstance(shared["data"].data, dict)
            and isinstance(settings["data"].data, dict)
        ):
            entries["data"] = replace(
                settings["data"], data={**shared["data"].data, **settings["data"].data}
            )
        complete[name] = replace(value, data=entries)
    return complete or {NO_TASK: Value(shared)}, shared


def _borrows(task: Value) -> bool:
    """Whether the task has the head of another."""
    return (
        isinstance(task.data, dict)
        and "same_as" in task.data
        and task.data["same_as"].data is not None
    )


def _unfounded(name: str, task: Value) -> list[str]:
    """A task without a train file is a named one: is there such a task, and can it be weighted by
    class?
    """
    data = task.data.get("data", Value({})).data
    if (
        not isinstance(data, dict)
        or ("train" in data and data["train"].data is not None)
        or unsafe_name_problems(name, "task")
    ):
        return []
    from encore.data.named import find_task

    label = data["label"] if "label" in data and isinstance(data["label"].data, str) else None
    try:
        named = find_task(name, label=label.data if label else None)
    except RecipeError as error:
        culprit = label if label and f"'{label.data}'" in error.lines[0] else task
        return [culprit.problem(problem) for problem in error.lines]
    if named.kind != "regression":
        return []
    balance = [
        task.data[key]
        for key in ("class_weights", "sampling")
        if key in task.data and task.data[key].data is not None
    ]
    return [
        value.problem(f"'{name}' is a regression, which has no classes to balance. Remove it.")
        for value in balance
    ]


def _without_empty(entries: dict[str, Value]) -> dict[str, Value]:
    """`data:` with nothing behind it (all of it commented out, say) sets nothing; column names and
    labels become text.
    """
    return {
        key: _worded(value) if key == "data" else value
        for key, value in entries.items()
        if key not in ("data", "losses") or value.data is not None
    }


def _worded(data: Value) -> Value:
    """Column names and labels as text, as they were written: `labels: [01, 02]` are '01' and
    '02'.
    """
    if not isinstance(data.data, dict):
        return data
    return replace(
        data,
        data={key: _as_text(entry) if key in _WORDS else entry for key, entry in data.data.items()},
    )


def _as_text(value: Value) -> Value:
    if isinstance(value.data, dict):
        return replace(value, data={key: _as_text(entry) for key, entry in value.data.items()})
    if isinstance(value.data, tuple):
        return replace(value, data=tuple(_as_text(item) for item in value.data))
    if isinstance(value.data, (bool, int, float)):
        return replace(
            value,
            data=value.text
            if value.text is not None
            else str(value.data).lower()
            if isinstance(value.data, bool)
            else str(value.data),
        )
    return value


def _plan(plan: Value, problems: list[str]) -> Value:
    """A plan's own settings, which stand beside the common ones, moved into `settings`; unknown
    ones stay where Recipe refuses them.
    """
    if plan.data is None:
        return replace(plan, data={})
    if isinstance(plan.data, str):
        return replace(plan, data={"name": plan})
    if not isinstance(plan.data, dict):
        return plan
    entries, extra = dict(plan.data), [key for key in plan.data if key not in PLAN_KEYS]
    if (
        "settings" in entries
    ):  # the Recipe's own field; in YAML these settings stand beside the others
        problems.append(
            entries.pop("settings").problem(
                "no such setting. Write the plan's own settings beside the others."
            )
        )
        plan = replace(plan, data=entries)
    name = entries["name"].data if "name" in entries else PlanRecipe.model_fields["name"].default
    if not extra or name not in catalogue.names("plans"):
        return plan
    accepted = {
        key: parameter
        for key, parameter in catalogue.settings("plans", name).items()
        if key not in PLAN_KEYS
    }
    settings = {key: entries.pop(key) for key in accepted if key in entries}
    fitting, ill_typed = typed_settings(
        "plans", name, {key: to_plain(value) for key, value in settings.items()}
    )
    problems += [settings[str(steps[0])].problem(message) for steps, message in ill_typed]
    return replace(plan, data={**entries, "settings": from_python(fitting)} if fitting else entries)
