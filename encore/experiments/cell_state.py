"""The state of a comparison's cells, as cells.json keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["NEEDED", "CellState"]

NEEDED = ("complete", "waiting", "failed")  # the states of cells whose runs the comparison is of


@dataclass(frozen=True)
class CellState:
    """A cell and its state: "complete", "waiting", "failed", "not applicable", "not needed" or
    "left the race in round n". run: the name of its folder, None where it cannot be run. why: the
    reasons, None where there is nothing to explain. fold: "2/5", None without folds.
    """

    study: str
    variant: str
    seed: int
    run: str | None
    state: str
    why: tuple[str, ...] | None = None
    fold: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Its entry in cells.json."""
        found = {
            "study": self.study,
            "variant": self.variant,
            "seed": self.seed,
            "run": self.run,
            "state": self.state,
        }
        found |= {} if self.fold is None else {"fold": self.fold}
        return found if self.why is None else found | {"why": list(self.why)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CellState:
        """The inverse of `to_json`."""
        why = stored.get("why")
        return cls(
            stored["study"],
            stored["variant"],
            stored["seed"],
            stored["run"],
            stored["state"],
            None if why is None else tuple(why),
            stored.get("fold"),
        )
