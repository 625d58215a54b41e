"""The progress of a run: a live bar on a terminal, plain lines elsewhere. It only reads the reports
of `fit`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from encore.cli.output import announce
from encore.errors import printable
from encore.tables.listing import Listing
from encore.training.groups import PhaseStart
from encore.training.reports import EvalReport, StepReport

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Watch"]

_PLAIN_SECONDS = 10.0  # between two lines where there is no terminal
_WINDOW = 50  # steps over which loss and rate are averaged


class Watch:
    """Call it with every report. `steps`: of the whole run."""

    def __init__(self, stream: TextIO, *, epochs: int, steps: int) -> None:
        self.stream, self.epochs, self.steps = stream, epochs, steps
        self.losses: deque[float] = deque(maxlen=_WINDOW)
        self.marks: deque[tuple[float, int]] = deque(
            maxlen=_WINDOW
        )  # when a step ended, and its tokens
        self.said_at = time.monotonic()
        self.bar: Progress | None = None
        self.job: TaskID | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, report: StepReport | EvalReport) -> None:
        if (
            self.bar is None and self.stream.isatty()
        ):  # not before: a run that is complete already shows none
            self._start(report.epoch)
        if isinstance(report, EvalReport):
            self.line(f"epoch {report.epoch}/{self.epochs}  {_epoch_words(report)}")
            if report.is_last:
                self._show(report.step, "baselines and intervals", "")
            return
        for line in _phase_lines(report.phase) if report.phase else ():
            self.line(line)
        now = time.monotonic()
        self.losses.append(report.loss)
        self.marks.append((now, report.n_tokens))
        status = (
            f"loss {sum(self.losses) / len(self.losses):.4f}  lr "
            f"{report.lr:.1e}{self._rate()}{self._left(report.step)}"
        )
        if self.bar is not None:
            self._show(report.step, f"epoch {report.epoch}/{self.epochs}", status)
        elif now - self.said_at >= _PLAIN_SECONDS:
            self.line(
                f"epoch {report.epoch}/{self.epochs}  step {report.step}/{self.steps}  {status}"
            )

    def begin(self, *, epochs: int, steps: int) -> None:
        """Set the extent of a run that is known only now."""
        self.epochs, self.steps = epochs, steps

    def _start(self, epoch: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
        )
        # Transient: when it has done its work it goes, and the lines of the epochs stay.
        self.bar = Progress(
            *columns, console=Console(file=self.stream), transient=True, expand=True
        )
        self.job = self.bar.add_task(f"epoch {epoch}/{self.epochs}", total=self.steps, status="")
        self.bar.start()

    def _show(self, step: int, description: str, status: str) -> None:
        if self.bar is not None and self.job is not None:
            self.bar.update(self.job, completed=step, description=description, status=status)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        if self.bar is not None:
            self.bar.console.print(printable(text), highlight=False, markup=False)
        else:
            announce([text], stream=self.stream)
        self.said_at = time.monotonic()

    def _rate(self) -> str:
        seconds = self.marks[-1][0] - self.marks[0][0]
        return (
            f"  {sum(n for _, n in list(self.marks)[1:]) / seconds:,.0f} tokens/s"
            if seconds > 0
            else ""
        )

    def _left(self, step: int) -> str:
        seconds = (
            (self.marks[-1][0] - self.marks[0][0])
            / max(len(self.marks) - 1, 1)
            * (self.steps - step)
        )
        return f"  {int(seconds) // 60}:{int(seconds) % 60:02d} left" if len(self.marks) > 1 else ""


def _phase_lines(start: PhaseStart) -> list[str]:
    """The table of what a phase trains; none for a plan of one phase with one rate."""
    if start.n_phases == 1 and len({group.lr for group in start.groups}) == 1:
        return []
    rows = tuple(
        (
            "–" if group.depth is None else str(group.depth),
            group.role,
            f"{group.lr:.3g}",
            f"{group.weight_decay:g}",
            f"{group.n_tensors:,}",
            f"{group.n_parameters:,}",
        )
        for group in start.groups
    )
    epochs = f"{start.epochs} epoch{'s' if start.epochs > 1 else ''}"
    title = f"phase {start.number} of {start.n_phases}, {epochs}, trains"
    columns = ("depth", "role", "rate", "decay", "tensors", "parameters")
    return str(Listing(title, columns, rows, (), frozenset({0, 2, 3, 4, 5}))).splitlines()


def _epoch_words(report: EvalReport) -> str:
    words: list[str] = []
    for task, sets in report.dev.items():
        prefix = f"{task} " if len(report.dev) > 1 else ""
        if task in report.train:
            words.append(
                f"{prefix}train loss "
                f"{report.train[task]['loss']:.4f}{_figures(report.train[task], but=('loss',))}"
            )
        words += [f"{prefix}{split}{_figures(found)}" for split, found in sets.items() if found]
    return "  |  ".join(words) + ("  (best so far)" if report.is_best and report.epoch > 1 else "")


def _figures(found: Mapping[str, float], but: Sequence[str] = ()) -> str:
    return "".join(f"  {name} {value:.3f}" for name, value in found.items() if name not in but)
