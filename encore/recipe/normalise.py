"""Rewrites a recipe document into its complete form: shared settings move into each task, overrides
are applied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from encore import catalogue
from encore.errors import Problem, RecipeError, did_you_mean, format_given
from encore.recipe.expectations import unknown_expectation
from encore.recipe.fields import unsafe_name_problems
from encore.recipe.messages import EXAMPLES, suggest
from encore.recipe.overrides import DATA_FILE, Change, with_value
from encore.recipe.schema import PLAN_KEYS, STUDY, TASK_KEYS, PlanRecipe
from encore.recipe.values import Value, from_python, to_plain

__all__ = ["NO_TASK", "complete_document"]
_WORDS = (
    "text",
    "text_pair",
    "negative",
    "label",
    "group",
    "labels",
)  # cells and column names are text, however they look: `label: 1`, `labels: [1, 2]`


def complete_document(document: Value, changes: Sequence[Change], problems: list[Problem]) -> Value:
    """The document in the one form that Recipe has: short forms and shared settings moved into the
    tasks, changes applied. Every value still knows its line.
    """
    if not isinstance(document.data, dict) and (document.data is not None or not changes):
        problems.append(_no_mapping(document))
        return _top({"tasks": Value({})})
    top = dict(document.data or {})
    studied = {key: top.pop(key) for key in STUDY if key in top}
    for steps, value in changes:
        if steps in (("task",), ("tasks",)):
            top[steps[0]] = value
    top, changes = _with_added_tasks(top, changes)
    tasks, shared = _tasks(top, document, studied.get("each"), problems)
    for steps, value in changes:
        if steps not in (("task",), ("tasks",)):
            top, tasks = _changed(top, tasks, shared, steps, value, problems)
    for name, task in tasks.items():
        if isinstance(task.data, dict):
            if _borrows(task) and task.data.get("head") is shared.get(
                "head"
            ):  # a shared head is for tasks that have one of their own
                entries = {key: entry for key, entry in task.data.items() if key != "head"}
                task = replace(task, data=entries)
            tasks[name] = task = replace(task, data=_without_empty(task.data))
            problems += _unfounded(name, task) if name != NO_TASK else []
    top["tasks"] = Value(tasks, document.where, document.line, "tasks")
    if "plan" in top:
        top["plan"] = _plan(top["plan"], problems)
    if "expect" in top and top["expect"].data is None:
        del top["expect"]
    if "expect" in top and isinstance(top["expect"].data, dict) and NO_TASK not in tasks:
        top["expect"] = _expected(top["expect"], tasks, studied.get("each"), problems)
    return _top(top, document)


def _with_added_tasks(
    top: dict[str, Value], changes: Sequence[Change]
) -> tuple[dict[str, Value], list[Change]]:
    """The settings with the tasks that changes add (`tasks.NAME` as a whole mapping, where there is
    no such task yet), and the other changes.
    """
    named = top["tasks"].data if "tasks" in top else None
    if not isinstance(named, dict):
        return top, list(changes)
    added = {
        steps[1]: value
        for steps, value in changes
        if len(steps) == 2
        and steps[0] == "tasks"
        and steps[1] not in named
        and isinstance(value.data, dict)
    }
    kept = [
        (steps, value)
        for steps, value in changes
        if not (len(steps) == 2 and steps[0] == "tasks" and added.get(steps[1]) is value)
    ]
    return {**top, "tasks": replace(top["tasks"], data={**named, **added})}, kept


def _expected(
    expect: Value, tasks: dict[str, Value], each: Value | None, problems: list[Problem]
) -> Value:
    """The expectations of this recipe: without those of tasks that only other studies of the
    comparison have. `problems` takes keys that name no task, metric or dev set.
    """
    from encore.data.named import task_names

    known = dict.fromkeys((*tasks, *task_names()))
    elsewhere = [name for name in _tasks_of_studies(each) if name not in known]
    own: dict[str, Value] = {}
    for key, value in expect.data.items():
        task = key.partition(".")[0]
        if task not in elsewhere:
            own[key] = value
        if not isinstance(value.data, dict):  # that one is refused as what is no number
            dev_sets = _dev_sets(tasks[task]) if task in tasks else None
            found = unknown_expectation(key, (*known, *elsewhere), dev_sets)
            problems += [value.problem(found)] if found is not None else []
    return replace(expect, data=own)


def _dev_sets(task: Value) -> list[str] | None:
    """The names of a task's dev sets; None where the task is a named one, or says nothing."""
    data = task.data.get("data", Value({})).data if isinstance(task.data, dict) else None
    dev = data["dev"].data if isinstance(data, dict) and "dev" in data else None
    return list(dev) if isinstance(dev, dict) else None


def _tasks_of_studies(each: Value | None) -> list[str]:
    """The tasks that `each: {task: […]}` or `each: {tasks: […]}` names."""
    listed = each.data if each is not None and isinstance(each.data, dict) else {}
    items = [item for key in ("task", "tasks") if key in listed for item in listed[key].data or ()]
    names: list[str] = []
    for item in items:
        data = item.data if isinstance(item, Value) else None
        names += [data] if isinstance(data, str) else list(data) if isinstance(data, dict) else []
    return names


def _no_mapping(document: Value) -> Problem:
    if document.data is None:
        remedy = "A named task needs one line: `task: rte`."
        return document.problem("the recipe is empty.", remedy=remedy)
    return document.problem(
        expected="keys such as `task: rte`",
        got=format_given(to_plain(document)),
        remedy="Is this a data file?" if isinstance(document.data, str) else "",
    )


def _changed(
    top: dict[str, Value],
    tasks: dict[str, Value],
    shared: dict[str, Value],
    steps: tuple[str, ...],
    value: Value,
    problems: list[Problem],
) -> tuple[dict[str, Value], dict[str, Value]]:
    """The settings of the whole recipe and those of each task, with one change applied."""
    if steps[0] in STUDY:
        single = steps == ("seeds",) and isinstance(value.data, int)
        message = f"'{steps[0]}' belongs to a comparison, and this is a single run."
        remedy = f"Write seed={value.data} for a single run." if single else ""
        if steps == ("folds",):
            remedy = f"Write --folds {format_given(to_plain(value))} to cross-validate a recipe."
        problems.append(value.problem(message, remedy=remedy))
    elif steps[0] == "task":
        remedy = f"Write {'.'.join(steps[1:])}=…"
        problems.append(value.problem("a task's name has no settings.", remedy=remedy))
    elif steps[0] in TASK_KEYS:
        tasks = {
            name: task if steps[0] == "head" and _borrows(task) else with_value(task, steps, value)
            for name, task in tasks.items()
        }
    elif steps[0] != "tasks":
        if steps[0] == "expect" and len(steps) > 1:
            steps = ("expect", ".".join(steps[1:]))
        top = with_value(Value(top), steps, value).data
    elif steps[1] in tasks:
        name, *inner = steps[1:]
        whole = not inner and isinstance(value.data, dict)
        own = replace(value, data={**shared, **value.data}) if whole else value
        tasks = {**tasks, name: with_value(tasks[name], inner, own)}
    elif NO_TASK not in tasks:
        message = f"no task called {format_given(steps[1])}."
        problems.append(value.problem(message, remedy=did_you_mean(steps[1], tuple(tasks))))
    return top, tasks


def _top(entries: dict[str, Value], document: Value | None = None) -> Value:
    return Value(entries, document.where, document.line) if document else Value(entries)


NO_TASK = "?"  # in place of the missing task, so that the other settings are checked all the same


def _tasks(
    top: dict[str, Value], document: Value, each: Value | None, problems: list[Problem]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Take `task`, `tasks` and the shared task settings out of `top`; return each task's complete
    mapping, and the shared settings. each: the recipe's.
    """
    shared = {key: top.pop(key) for key in TASK_KEYS if key in top}
    own = _named_tasks(top.pop("task", None), top.pop("tasks", None), document, each, problems)
    complete: dict[str, Value] = {}
    for name, value in own.items():
        problems += [value.problem(found) for found in unsafe_name_problems(name, "task")]
        settings = _task_settings(name, value, problems)
        entries = {**shared, **settings}
        data = [each["data"].data for each in (shared, settings) if "data" in each]
        if len(data) == 2 and all(isinstance(one, dict) for one in data):
            entries["data"] = replace(settings["data"], data={**data[0], **data[1]})
        complete[name] = replace(value, data=entries)
    return complete or {NO_TASK: Value(shared)}, shared


def _named_tasks(
    task: Value | None,
    tasks: Value | None,
    document: Value,
    each: Value | None,
    problems: list[Problem],
) -> dict[str, Value]:
    """The tasks of a recipe by name, from `task` or `tasks`."""
    if task is not None and tasks is not None:
        remedy = "Keep one: `task: rte` is short for `tasks: {rte: {}}`."
        problems.append(task.problem("task and tasks are both given.", remedy=remedy))
    if tasks is not None:
        if isinstance(tasks.data, dict) and tasks.data:
            return dict(tasks.data)
        listed = isinstance(tasks.data, tuple) and len(tasks.data) == 1
        (name,) = tasks.data if listed else (tasks,)
        single = isinstance(name.data, str) and name.data
        instead = f"`task: {name.data}`" if single else f"tasks: {EXAMPLES['tasks']}"
        expected, got = "a mapping from task names to their settings", format_given(to_plain(tasks))
        problems.append(tasks.problem(expected=expected, got=got, remedy=f"Write {instead}."))
    elif task is not None:
        if isinstance(task.data, str) and task.data:
            return {task.data: replace(task, data={}, text=None)}
        expected, got = "the name of a task, such as rte", format_given(to_plain(task))
        problems.append(task.problem(expected=expected, got=got))
    elif each is not None and isinstance(each.data, dict) and {"task", "tasks"} & each.data.keys():
        items = each.data["task"].data if "task" in each.data else ()
        names = [item.data for item in items or () if isinstance(item, Value)]
        single = next((name for name in names if isinstance(name, str)), "rte")
        remedy = f"For a single run name one: task={single}" if "task" in each.data else ""
        message = "these are separate studies, for `encore compare`."
        problems.append(each.problem(message, remedy=remedy))
    else:
        remedy = f"Add `task: rte` (a named task), or `tasks: {EXAMPLES['tasks']}`."
        problems.append(document.problem("no task.", remedy=remedy))
    return {}


def _task_settings(name: str, value: Value, problems: list[Problem]) -> dict[str, Value]:
    """A task's own settings; of a bare data file, {data: {train: FILE}}."""
    if value.data is None or isinstance(value.data, dict):
        return value.data or {}
    is_file = isinstance(value.data, str) and re.search(DATA_FILE, value.data)
    instead = (
        f"{name}: {{data: {{train: {value.data}}}}}"
        if is_file
        else f"{name}: {{}} for a named task"
    )
    expected, got = "a mapping with the task's settings", format_given(to_plain(value))
    problems.append(value.problem(expected=expected, got=got, remedy=f"Write {instead}."))
    return {"data": replace(value, data={"train": value}, text=None)} if is_file else {}


def _borrows(task: Value) -> bool:
    """True for a task that has the head of another."""
    return (
        isinstance(task.data, dict)
        and "same_as" in task.data
        and task.data["same_as"].data is not None
    )


def _unfounded(name: str, task: Value) -> list[Problem]:
    """The problems of a task without a train file: there is no named task of its name, or that has
    another label column.
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
        find_task(name)
    except RecipeError as error:
        return [task.problem(problem) for problem in error.problems]
    try:
        find_task(name, label=label.data if label else None)
    except RecipeError as error:
        return [(label or task).problem(problem) for problem in error.problems]
    return []


def _without_empty(entries: dict[str, Value]) -> dict[str, Value]:
    """Without `data:` and `losses:` that have nothing behind them (all of it commented out, say);
    column names and labels become text.
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
        written = str(value.data).lower() if isinstance(value.data, bool) else str(value.data)
        return replace(value, data=written if value.text is None else value.text)
    return value


def _plan(plan: Value, problems: list[Problem]) -> Value:
    """A plan's own settings, which are written beside the common ones, moved into `settings`;
    unknown ones stay where Recipe refuses them.
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
    ):  # the Recipe's own field; in YAML these settings are written beside the others
        remedy = "Write the plan's own settings beside the others."
        problems.append(entries.pop("settings").problem("no such setting.", remedy=remedy))
        plan = replace(plan, data=entries)
    name = entries["name"].data if "name" in entries else PlanRecipe.model_fields["name"].default
    if not extra or name not in catalogue.names("plans"):
        return plan
    accepted = [key for key in catalogue.settings("plans", name) if key not in PLAN_KEYS]
    settings = {key: entries.pop(key) for key in accepted if key in entries}
    given = {key: to_plain(value) for key, value in settings.items()}
    fitting, flaws = catalogue.fit_settings("plans", name, given, suggest)
    problems += [settings[str(steps[0])].problem(problem) for steps, problem in flaws]
    return replace(plan, data={**entries, "settings": from_python(fitting)} if fitting else entries)
