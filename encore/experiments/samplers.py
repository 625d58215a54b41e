"""The strategies of a search: which configuration a trial gets (sampler), and which trials are
pruned early (pruner).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from encore import rng
from encore.errors import Problem, RecipeError, did_you_mean
from encore.experiments.search_parameters import Parameter
from encore.experiments.search_space import MOST_TRIALS
from encore.experiments.trial import Trials

__all__ = ["PRUNERS", "SAMPLERS", "SeededSampler", "check_strategy", "pruner_of"]

SAMPLERS = ("tpe", "random", "grid", "gp", "cmaes")
PRUNERS = ("none", "median", "hyperband", "wilcoxon")
_FEWEST_SEEDS = 5  # for Wilcoxon: with four pairs the smallest p is 1/16, with three 1/8


def check_strategy(
    parameters: Sequence[Parameter], sampler: str, pruner: str, *, seeds_per_trial: int = 1
) -> None:
    """Raises RecipeError where the sampler or the pruner is unknown, or cannot do its work on these
    parameters.
    """
    problems: list[str | Problem] = []
    if sampler not in SAMPLERS:
        problems.append(
            f"--sampler: no sampler called '{sampler}'. {did_you_mean(sampler, SAMPLERS)}"
        )
    if pruner not in PRUNERS:
        problems.append(f"--pruner: no pruner called '{pruner}'. {did_you_mean(pruner, PRUNERS)}")
    if sampler == "grid":
        for one in parameters:
            if one.kind in ("uniform", "log_uniform"):
                problems.append(
                    one.entry.problem(
                        f"--sampler grid tries all values, and {one.kind} has infinitely many. "
                        f"Write choice."
                    )
                )
            elif one.kind == "int" and len(one.tried) < one.high - one.low + 1:
                problems.append(
                    one.entry.problem(
                        "--sampler grid: the range is too long for a grid. Write choice."
                    )
                )
        n_points = math.prod(len(one.tried) for one in parameters)
        if n_points > MOST_TRIALS and not problems:
            problems.append(
                f"--sampler grid: there are {n_points:,} points, and no more than "
                f"{MOST_TRIALS:,} trials. Take --sampler random."
            )
    if sampler == "cmaes" and sum(one.kind != "choice" for one in parameters) < 2:
        problems.append(
            "--sampler cmaes: it searches ranges (uniform, log_uniform, int), two or more of "
            "them. Take --sampler tpe."
        )
    if pruner == "wilcoxon" and seeds_per_trial < _FEWEST_SEEDS:
        why = "it compares seeds, and can stop a trial after the fourth at the earliest"
        problems.append(
            f"--pruner wilcoxon: {why}. Write seeds_per_trial={_FEWEST_SEEDS} or more, or take "
            f"--pruner median."
        )
    if problems:
        raise RecipeError(problems)


class SeededSampler(optuna.samplers.BaseSampler):
    """The chosen sampler, for every trial with a seed of its own, a function of (the recipe's seed,
    the trial's number): processes never draw the same, and a search that was stopped resumes as if
    it had not been.
    """

    def __init__(self, trials: Trials) -> None:
        self.trials, self.of = trials, dict[int, optuna.samplers.BaseSampler]()

    def _at(self, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if trial.number not in self.of:
            self.of = {
                trial.number: _sampler(
                    self.trials, rng.key(self.trials.seed, "trial", trial.number) % 2**31
                )
            }
        return self.of[trial.number]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        """That of the trial's own sampler."""
        return self._at(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        """Those of the trial's own sampler."""
        return self._at(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """That of the trial's own sampler."""
        return self._at(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Call the trial's own sampler."""
        self._at(trial).before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Call the trial's own sampler."""
        self._at(trial).after_trial(study, trial, state, values)


class _Grid(optuna.samplers.BaseSampler):
    """All combinations, in an order drawn from the recipe's seed. Which one a trial gets depends on
    how many were drawn before it, and these are known by their numbers: of Optuna's own grid two
    processes may take the same point, and it stops a study that is not its own to stop.
    """

    def __init__(self, trials: Trials) -> None:
        self.paths = [one.path for one in trials.parameters]
        self.points = list(itertools.product(*(one.tried for one in trials.parameters)))
        self.order = rng.generator(trials.seed, "grid").permutation(len(self.points))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        earlier = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number < trial.number and not other.user_attrs.get("surplus")
        ]
        n_drawn = sum(
            "retry_history" not in other.system_attrs for other in earlier
        )  # what is tried again has the point that it had
        return self.points[self.order[n_drawn % len(self.points)]][self.paths.index(param_name)]


def _sampler(trials: Trials, seed: int) -> optuna.samplers.BaseSampler:
    if trials.sampler == "tpe":
        return optuna.samplers.TPESampler(
            seed=seed, constant_liar=True
        )  # what is being tried elsewhere is not tried again
    if trials.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if trials.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return _Grid(trials) if trials.sampler == "grid" else optuna.samplers.RandomSampler(seed=seed)


def pruner_of(trials: Trials) -> optuna.pruners.BasePruner:
    """Optuna's pruner for a search."""
    if trials.pruner == "median":
        return optuna.pruners.MedianPruner()
    if trials.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(2, trials.longest))
    return (
        optuna.pruners.WilcoxonPruner()
        if trials.pruner == "wilcoxon"
        else optuna.pruners.NopPruner()
    )
