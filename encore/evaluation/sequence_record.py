"""The figures of encoders that were trained on one task after another (METHODS 4.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encore.evaluation.claims import Contrast

__all__ = ["Forgetting", "SequenceResult"]


@dataclass(frozen=True)
class Forgetting:
    """An earlier task, on its first dev set under its first metric: its score after the last
    training less that of the run that trained it, seed by seed. A fall is what was forgotten.
    """

    task: str
    metric: str
    n_rows: int
    change: Contrast

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {**vars(self), "change": self.change.to_json()}

    @classmethod
    def from_json(cls, variant: str, *, change: Mapping[str, Any], **fields: Any) -> Forgetting:
        """The inverse of `to_json`."""
        return cls(change=Contrast.from_json(variant, change), **fields)


@dataclass(frozen=True)
class SequenceResult:
    """A variant whose encoder was trained on other tasks before.

    order: the tasks, the last one that of the study. metric, transfer: of the last task, against
    the reference of its study; None where that cannot be told. forgetting: of the earlier tasks.
    """

    order: tuple[str, ...]
    study: str
    variant: str
    metric: str
    transfer: Contrast | None
    forgetting: tuple[Forgetting, ...]

    def to_json(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {
            **vars(self),
            "order": list(self.order),
            "transfer": self.transfer.to_json() if self.transfer else None,
            "forgetting": [one.to_json() for one in self.forgetting],
        }

    @classmethod
    def from_json(
        cls,
        variant: str,
        *,
        order: Sequence[str],
        transfer: Mapping[str, Any] | None,
        forgetting: Sequence[Mapping[str, Any]],
        **fields: Any,
    ) -> SequenceResult:
        """The inverse of `to_json`."""
        return cls(
            variant=variant,
            order=tuple(order),
            transfer=Contrast.from_json(variant, transfer) if transfer else None,
            forgetting=tuple(Forgetting.from_json(variant, **one) for one in forgetting),
            **fields,
        )
