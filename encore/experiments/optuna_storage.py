"""The calls that Optuna keeps to itself, in one place: its version is pinned, and an upgrade has
this file to check.

They let a trial be a job's from its first moment, be taken up again by another process, and send
heartbeats from a thread of Encore's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

__all__ = [
    "claim_waiting_trial",
    "create_running_trial",
    "record_heartbeat",
    "resume_trial",
    "set_attribute",
]


def resume_trial(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """A running trial, to be continued by this process under its own number."""
    return Trial(study, trial._trial_id)


def claim_waiting_trial(
    study: optuna.Study, trial: FrozenTrial, attributes: Mapping[str, Any]
) -> Trial | None:
    """A waiting trial, set to running with these attributes; None where another process was
    faster.
    """
    storage = study._storage
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
            for name, value in attributes.items():
                storage.set_trial_user_attr(trial._trial_id, name, value)
            return Trial(study, trial._trial_id)
    return None


def create_running_trial(study: optuna.Study, attributes: Mapping[str, Any]) -> Trial:
    """A new trial that is running and has its attributes in the same transaction, so that a
    process killed here leaves no trial without an owner.
    """
    template = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=dict(attributes))
    return Trial(study, study._storage.create_new_trial(study._study_id, template))


def record_heartbeat(study: optuna.Study, trial: Trial | FrozenTrial) -> None:
    """Mark a running trial as alive."""
    storage: Any = study._storage
    storage.record_heartbeat(trial._trial_id)


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a trial that another process may be running."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)
