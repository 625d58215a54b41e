"""The end of a phase, and the one that comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from encore.model.selection import Selector
from encore.training.state import FitState
from encore.types import Phase

__all__ = ["advance", "is_last", "is_over"]


def is_over(state: FitState, plan: Sequence[Phase], patience: int | None) -> bool:
    """True between two epochs if the phase has no more of them. patience: epochs without a better
    dev score after which early stopping ends it.
    """
    ended = state.phase_epoch == plan[state.phase].epochs or _stopped(state, patience)
    return state.batch == 0 and state.phase_epoch > 0 and ended


def is_last(state: FitState, plan: Sequence[Phase], patience: int | None) -> bool:
    """True between two epochs if no phase has more of them."""
    return is_over(state, plan, patience) and _next(state, plan, patience) == len(plan)


def advance(state: FitState, plan: Sequence[Phase], patience: int | None) -> None:
    """Go on to the next phase; behind one that was stopped early, counting starts again."""
    following, early = _next(state, plan, patience), _stopped(state, patience)
    state.phase, state.phase_step, state.phase_epoch = following, 0, 0
    state.waited = 0 if early else state.waited


def _next(state: FitState, plan: Sequence[Phase], patience: int | None) -> int:
    """The place of the phase after this one, `len(plan)` if there is none. Early stopping passes
    over those that would train the same in the same way.
    """
    if not _stopped(state, patience):
        return state.phase + 1
    now, trained = plan[state.phase], _trained(plan[state.phase], state)
    for number in range(state.phase + 1, len(plan)):
        later = plan[number]
        alike = replace(later, epochs=now.epochs, trainable=now.trainable) == now
        if not alike or _trained(later, state) != trained:
            return number
    return len(plan)


def _stopped(state: FitState, patience: int | None) -> bool:
    return patience is not None and state.waited >= patience


def _trained(phase: Phase, state: FitState) -> set[int]:
    """The ids of the parameters that a phase trains."""
    selector = Selector.parse(phase.trainable)
    return {number for number, info in state.infos.items() if selector.selects(info)}
