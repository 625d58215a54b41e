"""Chooses the epochs and the learning rate of a plan that leaves them open.

The rule was found by the runs in docs/results.md ("The default plan"):

- The rate falls with the square of the encoder's width: 5e-5 at 768, which is BERT's (Devlin et al.
  2019), is 2e-4 at MiniLM's 384. It falls with the root of the steps where a plan has more than
  125, or 25 for each class: MiniLM on 4,000 rows in four epochs takes 1e-4. It never falls below a
  quarter, nor below 2e-5. An adapter takes 1e-3 (Houlsby et al. 2019: 1e-4 to 1e-3; ours in
  recipes/adapter_rates_minilm.yaml: lower rates learn too little of 1,000 rows, 2e-3 can diverge).
- The epochs are four, or as many as make 100 steps, but at most 20: with 300 rows, four epochs are
  forty steps, after which a model is still worse than TF-IDF. Where there are many classes and few
  rows of each, they are as many as make three steps for each class, but at most 8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from encore import catalogue
from encore.recipe.schema import Recipe
from encore.runs.compatibility import phases_of
from encore.training.loop import steps_in
from encore.training.streams import Stream
from encore.types import DEFAULTS

__all__ = ["complete_plan", "default_epochs", "default_lr"]

_OPEN = ("epochs", "lr")  # what a recipe may leave open
_BERT_WIDTH = 768
_MOST_LR, _LEAST_LR, _LEAST_SHARE = 4e-4, 2e-5, 0.25
_SHORT, _SHORT_FOR_CLASS = 125, 25  # steps of a plan that takes the whole rate
_ADAPTER_LR = 1e-3
_FEWEST_STEPS, _MOST_EPOCHS = 100, 20
_STEPS_PER_CLASS, _MOST_EPOCHS_FOR_CLASSES = 3, 8


def default_lr(width: int, steps: int, n_classes: int = 0) -> float:
    """The peak rate for an encoder of this width and a plan of so many steps, to two digits.

    >>> [default_lr(width, steps=100) for width in (128, 384, 768, 1024)]
    [0.0004, 0.0002, 5e-05, 2.8e-05]
    >>> [default_lr(384, steps) for steps in (125, 500, 1068, 10_000)]
    [0.0002, 0.0001, 6.8e-05, 5e-05]
    >>> default_lr(384, steps=500, n_classes=77)
    0.0002
    """
    whole = min(_MOST_LR, DEFAULTS.lr * (_BERT_WIDTH / width) ** 2)
    share = max(math.sqrt(max(_SHORT, _SHORT_FOR_CLASS * n_classes) / steps), _LEAST_SHARE)
    return float(f"{max(whole * min(share, 1), min(_LEAST_LR, whole)):.1e}")


def default_epochs(steps_per_epoch: int, n_classes: int = 0) -> int:
    """The epochs for rows that make so many steps and belong to so many classes.

    >>> [default_epochs(steps) for steps in (1, 10, 25, 1000)]
    [20, 10, 4, 4]
    >>> [default_epochs(steps, n_classes=77) for steps in (10, 29, 40, 126)]
    [10, 8, 6, 4]
    """
    for_rows = min(math.ceil(_FEWEST_STEPS / steps_per_epoch), _MOST_EPOCHS)
    for_classes = min(
        math.ceil(_STEPS_PER_CLASS * n_classes / steps_per_epoch), _MOST_EPOCHS_FOR_CLASSES
    )
    return max(DEFAULTS.epochs, for_rows, for_classes)


def complete_plan(
    recipe: Recipe, streams: Mapping[str, Stream], width: int
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with nothing left open in its plan, and a line about what was chosen.

    width: the encoder's. What the recipe states is left as it is.
    """
    recipe = _with_own_defaults(recipe)
    plan = recipe.plan
    chosen = [key for key in _OPEN if getattr(plan, key) is None]
    if not chosen:
        return recipe, ()
    mixing = catalogue.build("mixing", plan.mixing)
    steps = max(steps_in(phase, streams, mixing, recipe.seed) for phase in phases_of(recipe))
    n_classes = max(
        (len(each.labels.names) for each in streams.values() if each.labels.kind == "multiclass"),
        default=0,
    )
    epochs = default_epochs(steps, n_classes) if plan.epochs is None else plan.epochs
    usual = default_lr(width, steps * epochs, n_classes) if recipe.adapter is None else _ADAPTER_LR
    lr = usual if plan.lr is None else plan.lr
    complete = recipe.model_copy(
        update={"plan": plan.model_copy(update={"epochs": epochs, "lr": lr})}
    )
    what = f"an encoder of width {width}" if recipe.adapter is None else "an adapter"
    return complete, (_line(chosen, epochs, steps, lr, what),)


def _with_own_defaults(recipe: Recipe) -> Recipe:
    """The recipe with the epochs and the rate of a plan that has its own, such as `swa`."""
    own = {
        key: setting.default
        for key, setting in catalogue.settings("plans", recipe.plan.name).items()
        if key in _OPEN
        and getattr(recipe.plan, key) is None
        and setting.default != getattr(DEFAULTS, key)
    }
    return recipe.model_copy(update={"plan": recipe.plan.model_copy(update=own)}) if own else recipe


def _line(chosen: list[str], epochs: int, steps: int, lr: float, what: str) -> str:
    n = f"{epochs} epoch{'s' if epochs > 1 else ''} of {steps:,} step{'s' if steps > 1 else ''}"
    parts = {"epochs": n, "lr": f"peak rate {lr:g} for {what}"}
    others = {"epochs": "plan.epochs=N", "lr": "plan.lr=X"}
    return (
        f"chosen: {', '.join(parts[key] for key in chosen)} "
        f"(to change: {' '.join(others[key] for key in chosen)})"
    )
