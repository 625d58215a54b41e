"""The speed of training and of evaluation in one run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from encore.training.reports import EvalReport, StepReport

__all__ = ["Rates"]


@dataclass
class Rates:
    """Counts of a run, and the seconds that they took, over all epochs.

    tokens: real tokens of training steps. train_seconds: of training steps alone, without what
    lies between epochs. dev_rows: rows scored on dev sets. dev_seconds: of scoring them.
    """

    tokens: int = 0
    train_seconds: float = 0.0
    dev_rows: int = 0
    dev_seconds: float = 0.0
    _last: float = field(default_factory=time.monotonic)

    def see(self, report: StepReport | EvalReport) -> None:
        """Count a report. To be called as soon as training yields it."""
        now = time.monotonic()
        if isinstance(report, StepReport):
            self.tokens += report.n_tokens
            self.train_seconds += now - self._last
        else:
            self.dev_rows += sum(
                len(scores) for sets in report.scores.values() for scores in sets.values()
            )
            self.dev_seconds += report.dev_seconds
        self._last = now

    def resume(self) -> None:
        """Leave out the time since the latest report, in which nothing was trained."""
        self._last = time.monotonic()

    @property
    def tokens_per_second(self) -> float:
        """Tokens of training steps per second; 0 before the first step."""
        return self.tokens / self.train_seconds if self.train_seconds else 0.0

    @property
    def dev_rows_per_second(self) -> float:
        """Rows of dev sets scored per second; 0 where there is no dev set."""
        return self.dev_rows / self.dev_seconds if self.dev_seconds else 0.0

    def to_json(self) -> dict[str, float]:
        """The counts, for a checkpoint."""
        return {
            "tokens": self.tokens,
            "train_seconds": self.train_seconds,
            "dev_rows": self.dev_rows,
            "dev_seconds": self.dev_seconds,
        }

    def restore(self, stored: Mapping[str, float]) -> None:
        """Resume from the counts of a checkpoint."""
        self.tokens, self.dev_rows = int(stored["tokens"]), int(stored["dev_rows"])
        self.train_seconds, self.dev_seconds = stored["train_seconds"], stored["dev_seconds"]
