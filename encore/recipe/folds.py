"""One recipe for each fold of a cross-validation."""

from __future__ import annotations

from encore.errors import Problem, RecipeError
from encore.recipe.schema import Recipe

__all__ = ["MOST_FOLDS", "fold_recipes"]

MOST_FOLDS = 9_999  # as `data.fold` counts them


def fold_recipes(recipe: Recipe, n_folds: int, where: str = "--folds") -> list[Recipe]:
    """The recipe with `data.fold` 1/n to n/n. Raises RecipeError with everything that is in the way
    of cross-validation. where: its name in a message.
    """
    problems = _obstacles(recipe, n_folds, where)
    if problems:
        raise RecipeError(problems)
    ((name, task),) = recipe.tasks.items()

    def with_fold(fold: str) -> Recipe:
        data = task.data.model_copy(update={"fold": fold})
        return recipe.model_copy(update={"tasks": {name: task.model_copy(update={"data": data})}})

    return [with_fold(f"{number}/{n_folds}") for number in range(1, n_folds + 1)]


def _obstacles(recipe: Recipe, n_folds: int, where: str) -> list[Problem]:
    if not 2 <= n_folds <= MOST_FOLDS:
        return [Problem(where=where, message=f"expected 2 to {MOST_FOLDS:,}, got {n_folds:,}.")]
    if len(recipe.tasks) > 1:
        message = f"cross-validation is of one task, and this recipe has {', '.join(recipe.tasks)}."
        return [Problem(where=where, message=message, remedy="Take a recipe for each.")]
    (task,) = recipe.tasks.values()
    data = task.data
    found = {
        "each fold is the dev set of one run, but data.dev names another.": data.dev is not None,
        f"a run for every fold, but data.fold is {data.fold}.": data.fold is not None,
        "every row is scored, but data.dev_rows cuts each fold.": data.dev_rows is not None,
    }
    problems = [
        Problem(where=where, message=why, remedy="Remove one of the two.")
        for why, wrong in found.items()
        if wrong
    ]
    if data.kind == "unlabelled":
        message = "a task without labels has no figures to cross-validate."
        problems.append(Problem(where=where, message=message, remedy="Remove the folds."))
    return problems
