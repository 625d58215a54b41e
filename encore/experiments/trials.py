"""Runs the trials of a search, as Optuna keeps them in a database: each is the work of one process,
none is lost and none is done twice.

A trial whose process was killed is resumed by the next one, under its own number: from its first
moment it carries the ticket of its job. Where several machines share a database, a trial whose
machine sends no heartbeat is given to another, under a new number (Optuna's heartbeat and retry).
The parameters of a trial are a function of the recipe's seed, its number, and the trials that had
ended before it began.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from encore.errors import EncoreError
from encore.experiments.executors.choice import executor_for
from encore.experiments.executors.jobs import End, Job
from encore.experiments.optuna_storage import (
    claim_waiting_trial,
    create_running_trial,
    record_heartbeat,
    resume_trial,
    set_attribute,
)
from encore.experiments.search_parameters import Parameter
from encore.experiments.study import (
    HEARTBEAT_SECONDS,
    best_of,
    counted_trials,
    open_study,
    problems_of,
    quiet_optuna,
)
from encore.experiments.trial import Objective, Trials
from encore.runs.writer import Pruned
from encore.tables.formatting import format_setting

__all__ = ["run_ticket", "run_trials"]


# ------------------------------------------------------------------------------------ one at a time


def run_ticket(trials: Trials, objective: Objective, ticket: str, owner: str) -> None:
    """Run the trial of this ticket: the one that a killed process left behind, one that another
    machine gave up, or a new one. owner: of the command that wants it.
    """
    study = open_study(trials)
    with quiet_optuna():
        trial = _claimed(study, trials, ticket, owner)
        if trial is not None:
            with _heartbeats(study, trial):
                _run(study, trial, trials, objective)


def _run(study: optuna.Study, trial: Trial, trials: Trials, objective: Objective) -> None:
    params = {one.path: _suggested(trial, one) for one in trials.parameters}

    def report(step: int, value: float, *, final: bool = False) -> None:
        trial.report(value, step)
        if not final and trial.should_prune():
            raise Pruned

    try:
        score = objective(params, report)
    except Pruned:
        _finish(study, trial, TrialState.PRUNED)
        return
    except EncoreError as error:
        trial.set_user_attr("problems", list(error.lines)[:20])
        _finish(study, trial, TrialState.FAIL)
        raise
    trial.set_user_attr("score", asdict(score))
    if math.isfinite(score.value):
        _finish(study, trial, TrialState.COMPLETE, score.value)
    else:
        why = f"its value is {score.value}, which cannot be compared"
        trial.set_user_attr("problems", [why])
        _finish(study, trial, TrialState.FAIL)


def _suggested(trial: Trial, one: Parameter) -> Any:
    """The trial's value of a parameter: a number, or the label of a choice."""
    if one.kind == "choice":
        return trial.suggest_categorical(one.path, one.labels)
    if one.kind == "int":
        return trial.suggest_int(one.path, int(one.low), int(one.high))
    return trial.suggest_float(one.path, one.low, one.high, log=one.kind == "log_uniform")


def _finish(
    study: optuna.Study, trial: Trial, state: TrialState, value: float | None = None
) -> None:
    # An error where it was given to another machine, since this one had sent no heartbeat.
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        study.tell(trial, value, state=state, skip_if_finished=True)


def _claimed(study: optuna.Study, trials: Trials, ticket: str, owner: str) -> Trial | None:
    """None: another machine was faster, and there are as many trials as were requested."""
    mine = {"ticket": ticket, "owner": owner}
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if left.user_attrs.get("ticket") == ticket:
            return resume_trial(study, left)
    for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if (claimed := claim_waiting_trial(study, waiting, mine)) is not None:
            return claimed
    if len(counted_trials(study)) >= trials.n:
        return None
    trial = create_running_trial(study, mine)
    if sum(other.number < trial.number for other in counted_trials(study)) < trials.n:
        return trial
    trial.set_user_attr("surplus", True)
    _finish(study, trial, TrialState.FAIL)
    return None


@contextlib.contextmanager
def _heartbeats(study: optuna.Study, trial: Trial) -> Iterator[None]:
    """A context in which the trial sends heartbeats, so that other machines leave it alone."""
    done = threading.Event()

    def beat() -> None:
        while True:
            # The database may be busy or gone: the next beat is soon enough.
            with contextlib.suppress(Exception):
                record_heartbeat(study, trial)
            if done.wait(HEARTBEAT_SECONDS):
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
    processes: int | None,
    threads: int = 1,
    in_process: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    executor: str | None = None,
    job_of: Callable[[str], Job] | None = None,
) -> None:
    """Run trials until there are `trials.n` and none is running. Each is a process of its own,
    `processes` at a time, or runs in this one (`in_process`).

    tell: takes a line about every one that ends. executor: of `executor_for`. job_of: ticket → the
    job that runs its trial; None where it need not be plain data. The caller holds the lock of the
    study's folder.
    """
    job_of = job_of or partial(_forked_job, trials, objective)
    study, progress, waits = open_study(trials), _Progress(trials, tell), False
    while True:
        with quiet_optuna():
            optuna.storages.fail_stale_trials(study)
        found = counted_trials(study)
        running = [trial for trial in found if trial.state == TrialState.RUNNING]
        left = [
            trial.user_attrs["ticket"]
            for trial in running
            if trial.user_attrs.get("owner") == trials.owner
        ]
        n_claimed = sum(trial.state != TrialState.WAITING for trial in found)
        tickets = [*left, *(uuid.uuid4().hex for _ in range(trials.n - n_claimed))]
        if not tickets and not running:
            return
        if not tickets:
            if not waits:
                tell(f"waiting for {len(running)} trials of other machines")
                # One that was killed before its first beat would never be found silent.
                for trial in running:
                    record_heartbeat(study, trial)
            waits = True
            time.sleep(1)
            continue
        jobs, logs = [job_of(ticket) for ticket in tickets], trials.folder / "log"
        executor_for(len(jobs), processes, threads, logs, in_process=in_process, name=executor).run(
            jobs, progress.of(study, tickets)
        )


def _forked_job(trials: Trials, objective: Objective, ticket: str) -> Job:
    return Job(f"trial-{ticket[:8]}", run_ticket, (trials, objective, ticket, trials.owner))


class _Progress:
    """Reports a line about every trial that ends, with the time that is left."""

    def __init__(self, trials: Trials, tell: Callable[[str], None]) -> None:
        self.trials, self.tell = trials, tell
        self.since, self.n_ended = time.monotonic(), 0

    def of(self, study: optuna.Study, tickets: list[str]) -> Callable[[int, End], None]:
        """The `on_end` of jobs with these tickets."""
        total = self.n_ended + len(tickets)

        def on_end(number: int, end: End) -> None:
            self.n_ended += 1
            line = _ended(study, self.trials, tickets[number], end)
            left = total - self.n_ended
            seconds = (time.monotonic() - self.since) / self.n_ended * left
            rest = f"; about {seconds:,.0f} s left" if left else ""
            self.tell(f"[{self.n_ended}/{total}] {line}{rest}")

        return on_end


def _ended(study: optuna.Study, trials: Trials, ticket: str, end: End) -> str:
    """A line about the trial of a job that ended. One whose process died on every try is set to
    failed here.
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
        problems = list(end.problems) or ["its process ended without an error message"]
        set_attribute(study, trial, "problems", problems)
        with quiet_optuna():
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        trial = study.trials[trial.number]
    params = ", ".join(f"{path} {format_setting(value)}" for path, value in trial.params.items())
    return _line(trial, trials, study, f"({params}; {end.seconds:,.0f} s)")


def _line(trial: FrozenTrial, trials: Trials, study: optuna.Study, about: str) -> str:
    if trial.state == TrialState.COMPLETE:
        best = best_of(counted_trials(study), maximise=trials.maximise) or trial
        return (
            f"trial {trial.number}: {trial.value:.4f} {about}; best {best.value:.4f}, trial "
            f"{best.number}"
        )
    if trial.state == TrialState.PRUNED:
        return f"trial {trial.number}: pruned at report {len(trial.intermediate_values)} {about}"
    return f"trial {trial.number}: FAILED: {problems_of(trial)[0]} {about}"
