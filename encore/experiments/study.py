"""The study of a search in its database: opened, read, and its parameters' importances."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import sqlalchemy.exc
import sqlalchemy.pool
from optuna.trial import FrozenTrial, TrialState

from encore.errors import Problem, RecipeError, TrainingError, hide_credentials, on_one_line
from encore.experiments.samplers import SeededSampler, pruner_of
from encore.experiments.trial import Trials, TrialScore

__all__ = [
    "HEARTBEAT_SECONDS",
    "best_of",
    "check_storage",
    "counted_trials",
    "explained_database",
    "importance_evaluator",
    "importances",
    "open_study",
    "problems_of",
    "quiet_optuna",
    "score_of",
]

# Of a trial on another machine: how often it sends a sign of life, and after how long a silence it
# is given to another.
HEARTBEAT_SECONDS, _SILENT_SECONDS = 30, 150
_RETRIES = 2
_FEWEST_TRIALS = 4  # for importances


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


def check_storage(url: str, *, own: Path | None = None) -> optuna.storages.RDBStorage:
    """The database behind a URL. No connection outlives a query, so that processes can be
    forked. own: its file, where it is the study's own.

    Raises RecipeError where there is no reaching it.
    """
    waits = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
    where, remedy = (
        f"--storage {hide_credentials(url, of=url)}",
        "Is it running, and is there such a database?",
    )
    if own is not None:
        where, remedy = (
            str(own),
            "Move it away and run the same command again: it draws the same trials, and runs "
            "that are complete are not computed twice.",
        )
    try:
        with quiet_optuna():
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs={"poolclass": sqlalchemy.pool.NullPool, **waits},
                heartbeat_interval=HEARTBEAT_SECONDS,
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
        if own is not None and _is_full(error):  # to be explained with the rest of its use
            raise
        why = hide_credentials(str(getattr(error, "orig", error)).strip().splitlines()[0], of=url)
        raise RecipeError(f"{where}: cannot be opened ({why.rstrip('.')}). {remedy}") from None
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
            sampler=SeededSampler(trials),
            pruner=pruner_of(trials),
            load_if_exists=True,
            direction="maximize" if trials.maximise else "minimize",
        )


@contextlib.contextmanager
def explained_database(trials: Trials) -> Iterator[None]:
    """Raise what fails when the study's database is used as a TrainingError with the remedy."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        where = (
            f"--storage {hide_credentials(trials.storage)}"
            if trials.storage
            else str(trials.folder / "study.db")
        )
        # Optuna's error is raised from the database's.
        of_optuna = isinstance(error, optuna.exceptions.StorageInternalError)
        cause = (of_optuna and error.__cause__) or error
        found = cause.orig if isinstance(cause, sqlalchemy.exc.DBAPIError) else None
        reason = on_one_line(found or cause)
        remedy = "Free some space" if _is_full(cause) else "Make the database reachable"
        raise TrainingError(
            Problem(
                where=where,
                message=f"cannot be used ({reason.rstrip('.')}).",
                remedy=f"{remedy}; the same command then resumes.",
            )
        ) from error


def _is_full(error: BaseException) -> bool:
    """True where SQLite could not write: its disk is full, or fails."""
    found = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else None
    full = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return isinstance(found, sqlite3.Error) and found.sqlite_errorcode & 0xFF in full


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
    """The complete trial with the best value, the first of equals; None where none is complete."""
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
    """The reasons why a trial failed, a line each."""
    if trial.state != TrialState.FAIL:
        return []
    return list(trial.user_attrs.get("problems") or ["lost contact with the machine that ran it"])


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
