"""One recipe with several seeds."""

from __future__ import annotations

from encore.recipe.schema import Recipe

__all__ = ["with_seed"]


def with_seed(recipe: Recipe, seed: int, *, threads: int | None = None) -> Recipe:
    """The recipe with this seed. Rows that are drawn (a dev set split off, a set cut) are drawn by
    the recipe's own seed for all, so that every run trains on the same rows and is measured on the
    same rows. threads: None for all cores.
    """
    tasks = {}
    for name, task in recipe.tasks.items():
        data = task.data
        split = data.train is not None and data.dev is None and data.kind != "unlabelled"
        drawn = split or data.train_rows is not None or data.dev_rows is not None
        fixed = drawn and data.seed is None and seed != recipe.seed
        tasks[name] = (
            task.model_copy(update={"data": data.model_copy(update={"seed": recipe.seed})})
            if fixed
            else task
        )
    return recipe.model_copy(update={"seed": seed, "threads": threads, "tasks": tasks})
