"""The trials of a search, as Optuna keeps them in a database: each is the work of one process, none
is lost and none is done twice.

A trial whose process was killed is taken up by the next one, under its own number: from its first
moment it bears the ticket of its job. Where several machines share a database, a trial whose
machine fell silent is given to another, under a new number (Optuna's heartbeat and retry). What a
trial is told is a function of the recipe's seed, its number, and the trials that had ended before
it began.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import optuna
import sqlalchemy.exc
import sqlalchemy.pool
from optuna.trial import FrozenTrial, Trial, TrialState

from encore import rng
from encore.errors import EncoreError, Problem, RecipeError, did_you_mean
from encore.experiments.executors.local import End, Job, run_all, run_here
from encore.experiments.search_space import MOST_TRIALS, Parameter
from encore.runs.writer import Pruned
from encore.tables.formatting import format_setting

__all__ = [
    "Objective",
    "PRUNERS",
    "SAMPLERS",
    "TrialReport",
    "TrialScore",
    "Trials",
    "best_of",
    "check_storage",
    "check_strategy",
    "counted_trials",
    "importance_evaluator",
    "importances",
    "open_study",
    "problems_of",
    "quiet_optuna",
    "run_trials",
    "score_of",
    "without_password",
]

SAMPLERS = ("tpe", "random", "grid", "gp", "cmaes")
PRUNERS = ("none", "median", "hyperband", "wilcoxon")
_HEARTBEAT_SECONDS, _SILENT_SECONDS = (
    30,
    150,
)  # of a trial on another machine: how often it is heard of, and when it is given up
_RETRIES = 2
_FEWEST_SEEDS = 5  # for Wilcoxon: with four pairs the smallest p is 1/16, with three 1/8
_FEWEST_TRIALS = 4  # for importances


@dataclass(frozen=True)
class Trials:
    """What is tried. name: the study's in the database. n: how many in all. longest: reports of the
    longest trial. maximise: whether higher is better. folder: the study's, on this machine.
    storage: the URL of the database; None: SQLite in the folder.
    """

    name: str
    folder: Path
    parameters: tuple[Parameter, ...]
    n: int
    seed: int
    maximise: bool
    sampler: str = "tpe"
    pruner: str = "none"
    longest: int = 1
    storage: str | None = None

    @property
    def url(self) -> str:
        return self.storage or f"sqlite:///{self.folder.absolute() / 'study.db'}"

    @property
    def owner(self) -> str:
        """Who computes here: this folder of this machine, where a lock lets one command in at a
        time.
        """
        return hashlib.sha256(
            f"{socket.gethostname()}:{self.folder.absolute()}".encode()
        ).hexdigest()[:16]


@dataclass(frozen=True)
class TrialScore:
    """What a trial came to. values: of its seeds, `value` is their mean. value_at_best_epoch: mean
    over the seeds of each one's best epoch (METHODS 8.4).
    """

    value: float
    values: tuple[float, ...] = ()
    runs: tuple[str, ...] = ()
    value_at_best_epoch: float | None = None
    seconds: float = 0.0


class TrialReport(Protocol):
    """(step, value) → nothing; raises Abandoned where the trial is not worth going on with, unless
    it is as good as over (`final`).
    """

    def __call__(self, step: int, value: float, *, final: bool = False) -> None: ...


class Objective(Protocol):
    """(path → what the trial was told, report) → its score. An EncoreError fails the trial and no
    other.
    """

    def __call__(self, given: Mapping[str, Any], report: TrialReport) -> TrialScore: ...


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
                        f"--sampler grid goes through all values, and {one.kind} has no end of "
                        f"them. Write choice."
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


# ------------------------------------------------------------------------------------- the database


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's announcements, and without its warnings that parts of it (heartbeat,
    pruners, …) may change: its version is pinned.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def without_password(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def check_storage(url: str, *, own: Path | None = None) -> Any:
    """The database behind a URL. No connection outlives a question, so that processes can be
    copied. own: its file, where it is the study's own.

    Raises RecipeError where there is no reaching it.
    """
    waits = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
    where, remedy = (
        f"--storage {without_password(url)}",
        "Is it running, and is there such a database?",
    )
    if own is not None:
        where, remedy = (
            str(own),
            "Move it away and give the same command again: it draws the same trials, and runs "
            "that are complete are not computed twice.",
        )
    try:
        with quiet_optuna():
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs={"poolclass": sqlalchemy.pool.NullPool, **waits},
                heartbeat_interval=_HEARTBEAT_SECONDS,
                grace_period=_SILENT_SECONDS,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
                    max_retry=_RETRIES
                ),
            )
    except ImportError as error:
        driver = getattr(error, "name", None)
        install = f"pip install {driver}" if driver else "Install it."
        raise RecipeError(
            f"{where}: needs {driver or 'the driver of this database'}, which is not "
            f"installed. {install}"
        ) from None
    except (
        sqlalchemy.exc.DatabaseError,
        RuntimeError,
    ) as error:  # RuntimeError: another version of Optuna made it
        said = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise RecipeError(f"{where}: cannot be opened ({said.rstrip('.')}). {remedy}") from None
    except (sqlalchemy.exc.SQLAlchemyError, ValueError):
        raise RecipeError(
            f"{where}: expected the URL of a database, such as "
            f"postgresql+psycopg2://user@host/name or sqlite:////tmp/trials.db."
        ) from None


def open_study(trials: Trials) -> optuna.Study:
    """The study in its database, made if there is none."""
    backend = check_storage(trials.url, own=None if trials.storage else trials.folder / "study.db")
    with quiet_optuna():
        return optuna.create_study(
            study_name=trials.name,
            storage=backend,
            sampler=_Seeded(trials),
            pruner=_pruner(trials),
            load_if_exists=True,
            direction="maximize" if trials.maximise else "minimize",
        )


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """In their order, without those in whose place there is another: what fell silent and is tried
    again, and what was one too many.
    """
    trials = study.get_trials(deepcopy=False)
    again = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    return [
        trial
        for trial in trials
        if trial.number not in again and not trial.user_attrs.get("surplus")
    ]


def best_of(trials: Sequence[FrozenTrial], *, maximise: bool) -> FrozenTrial | None:
    """Of equals the first; None where none is complete."""
    complete = [
        (trial.value, trial)
        for trial in trials
        if trial.state == TrialState.COMPLETE and trial.value is not None
    ]
    return max(
        complete,
        key=lambda pair: (pair[0] if maximise else -pair[0], -pair[1].number),
        default=(None, None),
    )[1]


def problems_of(trial: FrozenTrial) -> list[str]:
    """Why a trial failed."""
    if trial.state != TrialState.FAIL:
        return []
    return list(trial.user_attrs.get("problems") or ["its machine was not heard of any more"])


# ----------------------------------------------------------------------------- samplers and pruners


class _Seeded(optuna.samplers.BaseSampler):
    """The chosen sampler, for every trial with a seed of its own, a function of (the recipe's seed,
    the trial's number): processes never draw the same, and a search that was stopped goes on as if
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
        return self._at(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return self._at(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self._at(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._at(trial).before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
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


def _pruner(trials: Trials) -> optuna.pruners.BasePruner:
    if trials.pruner == "median":
        return optuna.pruners.MedianPruner()
    if trials.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(2, trials.longest))
    return (
        optuna.pruners.WilcoxonPruner()
        if trials.pruner == "wilcoxon"
        else optuna.pruners.NopPruner()
    )


# ------------------------------------------------------------------------------------ one at a time


def _work(trials: Trials, objective: Objective, ticket: str) -> None:
    """The trial of this ticket: the one that a killed process left behind, one that another machine
    gave up, or a new one.
    """
    study = open_study(trials)
    with quiet_optuna():
        trial = _claimed(study, trials, ticket)
        if trial is not None:
            with _heard(study, trial):
                _try(study, trial, trials, objective)


def _try(study: optuna.Study, trial: Trial, trials: Trials, objective: Objective) -> None:
    given = {one.path: _told(trial, one) for one in trials.parameters}

    def report(step: int, value: float, *, final: bool = False) -> None:
        trial.report(value, step)
        if not final and trial.should_prune():
            raise Pruned

    try:
        score = objective(given, report)
    except Pruned:
        _tell(study, trial, TrialState.PRUNED)
        return
    except EncoreError as error:
        trial.set_user_attr("problems", list(error.lines)[:20])
        _tell(study, trial, TrialState.FAIL)
        raise
    trial.set_user_attr("score", asdict(score))
    if math.isfinite(score.value):
        _tell(study, trial, TrialState.COMPLETE, score.value)
    else:
        trial.set_user_attr(
            "problems", [f"its value is {score.value}, which is no figure to go by"]
        )
        _tell(study, trial, TrialState.FAIL)


def score_of(trial: FrozenTrial) -> TrialScore | None:
    """None of a trial that came to nothing."""
    found = trial.user_attrs.get("score")
    return (
        None
        if found is None
        else TrialScore(
            found["value"],
            tuple(found["values"]),
            tuple(found["runs"]),
            found["value_at_best_epoch"],
            found["seconds"],
        )
    )


def _told(trial: Trial, one: Parameter) -> Any:
    if one.kind == "choice":
        return trial.suggest_categorical(one.path, one.labels)
    if one.kind == "int":
        return trial.suggest_int(one.path, int(one.low), int(one.high))
    return trial.suggest_float(one.path, one.low, one.high, log=one.kind == "log_uniform")


def _tell(study: optuna.Study, trial: Trial, state: TrialState, value: float | None = None) -> None:
    with contextlib.suppress(
        optuna.exceptions.UpdateFinishedTrialError
    ):  # given to another machine, since this one was not heard of
        study.tell(trial, value, state=state, skip_if_finished=True)


def _claimed(study: optuna.Study, trials: Trials, ticket: str) -> Trial | None:
    """None: another machine was faster, and there are as many trials as were asked for."""
    backend, mine = study._storage, {"ticket": ticket, "owner": trials.owner}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if left.user_attrs.get("ticket") == ticket:
            return Trial(study, left._trial_id)
    for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if backend.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                for name, value in mine.items():
                    backend.set_trial_user_attr(waiting._trial_id, name, value)
                return Trial(study, waiting._trial_id)
    if len(counted_trials(study)) >= trials.n:
        return None
    # With its ticket from the first moment: a process that is killed here leaves no trial that
    # nobody knows.
    trial = Trial(
        study,
        backend.create_new_trial(
            study._study_id, optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=mine)
        ),
    )
    if sum(other.number < trial.number for other in counted_trials(study)) < trials.n:
        return trial
    trial.set_user_attr("surplus", True)
    _tell(study, trial, TrialState.FAIL)
    return None


@contextlib.contextmanager
def _heard(study: optuna.Study, trial: Trial) -> Iterator[None]:
    """Other machines hear of this trial as long as it is at work."""
    done = threading.Event()
    storage: Any = study._storage

    def beat() -> None:
        while True:
            with contextlib.suppress(
                Exception
            ):  # the database is busy or gone: the next beat is soon enough
                storage.record_heartbeat(trial._trial_id)
            if done.wait(_HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# -------------------------------------------------------------------------------------- all of them


def run_trials(
    trials: Trials,
    objective: Objective,
    *,
    processes: int,
    threads: int = 1,
    here: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Go on until there are `trials.n`, and none is under way. Each is a process of its own,
    `processes` at a time, or this one (`here`).

    tell: takes a line about every one that ends. The lock of the study's folder is the caller's.
    """
    study, since, n_told, waits = open_study(trials), time.monotonic(), 0, False
    storage: Any = study._storage
    while True:
        with quiet_optuna():
            optuna.storages.fail_stale_trials(study)
        there = counted_trials(study)
        running = [trial for trial in there if trial.state == TrialState.RUNNING]
        left = [
            trial.user_attrs["ticket"]
            for trial in running
            if trial.user_attrs.get("owner") == trials.owner
        ]
        n_claimed = sum(trial.state != TrialState.WAITING for trial in there)
        tickets = [*left, *(uuid.uuid4().hex for _ in range(trials.n - n_claimed))]
        if not tickets and not running:
            return
        if not tickets:
            if not waits:
                tell(f"waiting for {len(running)} trials of other machines")
                for trial in (
                    running
                ):  # one that was killed before its first beat would never be found silent
                    storage.record_heartbeat(trial._trial_id)
            waits = True
            time.sleep(1)
            continue
        total = n_told + len(tickets)

        def on_end(
            number: int, end: End, tickets: Sequence[str] = tickets, total: int = total
        ) -> None:
            nonlocal n_told
            n_told += 1
            told = _settled(study, trials, tickets[number], end)
            seconds = (time.monotonic() - since) / n_told * (total - n_told)
            tell(
                f"[{n_told}/{total}] "
                f"{told}{f'; about {seconds:,.0f} s left' if n_told < total else ''}"
            )

        jobs = [
            Job(f"trial-{ticket[:8]}", partial(_work, trials, objective, ticket))
            for ticket in tickets
        ]
        if here:
            run_here(jobs, on_end)
        else:
            run_all(jobs, min(len(jobs), processes), trials.folder / "log", on_end, threads=threads)


def _settled(study: optuna.Study, trials: Trials, ticket: str, end: End) -> str:
    """A line about the trial of a job that ended. One whose process died time and again is closed
    here.
    """
    trial = next(
        (
            trial
            for trial in study.get_trials(deepcopy=False)
            if trial.user_attrs.get("ticket") == ticket
        ),
        None,
    )
    if trial is None:
        return f"no trial: {end.problems[0]}" if end.problems else "another machine was faster"
    if trial.state == TrialState.RUNNING:
        study._storage.set_trial_user_attr(
            trial._trial_id, "problems", list(end.problems) or ["it ended without a word"]
        )
        with quiet_optuna():
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        trial = study.trials[trial.number]
    said = ", ".join(f"{path} {format_setting(value)}" for path, value in trial.params.items())
    said = f"({said}; {end.seconds:,.0f} s)"
    if trial.state == TrialState.COMPLETE:
        best = best_of(counted_trials(study), maximise=trials.maximise) or trial
        return (
            f"trial {trial.number}: {trial.value:.4f} {said}; best {best.value:.4f}, trial "
            f"{best.number}"
        )
    if trial.state == TrialState.PRUNED:
        return f"trial {trial.number}: given up at report {len(trial.intermediate_values)} {said}"
    return f"trial {trial.number}: FAILED: {problems_of(trial)[0]} {said}"


# -------------------------------------------------------------------------------------- importances


def importance_evaluator(seed: int) -> optuna.importance.FanovaImportanceEvaluator:
    """fANOVA (Hutter, Hoos, Leyton-Brown 2014), named, since Optuna's default is another (METHODS
    8.4).
    """
    return optuna.importance.FanovaImportanceEvaluator(n_trees=64, max_depth=64, seed=seed)


def importances(study: optuna.Study, seed: int) -> tuple[dict[str, float], str | None]:
    """path → share of the variance of the complete trials, largest first; or none, and why."""
    complete = [
        trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE
    ]
    if len(complete) < _FEWEST_TRIALS:
        return {}, f"importances need {_FEWEST_TRIALS} complete trials, there are {len(complete)}"
    if len({trial.value for trial in complete}) == 1:
        return {}, "all trials have the same value, so there is nothing to explain"
    with quiet_optuna():
        found = optuna.importance.get_param_importances(study, evaluator=importance_evaluator(seed))
    return dict(
        sorted(((name, float(share)) for name, share in found.items()), key=lambda item: -item[1])
    ), None
