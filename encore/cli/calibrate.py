"""`encore calibrate`: fits the decision of a finished run or of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encore.cli.options import share, whole_number
from encore.cli.output import announce, console, print_json, say
from encore.data.table import display_path
from encore.errors import RecipeError

__all__ = ["CalibrateOptions", "calibrate_command"]


@dataclass(frozen=True)
class CalibrateOptions:
    """The arguments of `encore calibrate`, as they are typed."""

    run: Path
    thresholds: str | None
    abstain: str | None
    temperature: bool
    parts: str
    remove: bool
    task: str | None
    json_: bool
    quiet: bool

    @property
    def abstention(self) -> float | dict[str, float] | None:
        """`accuracy=.95` as {"accuracy": .95}, `.9` as .9. Raises RecipeError."""
        if self.abstain is None:
            return None
        kind, equals, value = self.abstain.rpartition("=")
        if not equals:
            return share("--abstain", value)
        if kind not in ("accuracy", "coverage"):
            raise RecipeError(
                f"--abstain: expected a confidence, accuracy=P or coverage=P, got {self.abstain}."
            )
        return {kind: share(f"--abstain {kind}", value)}


def calibrate_command(options: CalibrateOptions) -> None:
    """Fit and keep a decision, or remove it, and print it. Raises EncoreError."""
    from encore.runs.calibrate import calibrate, remove_decision
    from encore.runs.decide import decision_file
    from encore.tables.decision import decision_table
    from encore.tables.listing import show

    file = display_path(decision_file(options.run))
    if options.remove:
        given = options.thresholds or options.abstain or not options.temperature or options.task
        if given:
            raise RecipeError("encore calibrate: --remove takes no other setting.")
        found = remove_decision(options.run)
        if options.json_:
            print_json({"run": str(options.run), "removed": found})
        else:
            say(f"{file}: removed" if found else f"{options.run}: has no decision")
        return
    fitted = calibrate(
        options.run,
        temperature=options.temperature,
        thresholds=options.thresholds,
        abstain=options.abstention,
        parts=whole_number("--parts", options.parts),
        task=options.task,
    )
    if options.json_:
        print_json({"run": str(options.run), "file": file, **fitted.to_json()})
        return
    title = f"cross-fitted on {fitted.split}, {fitted.settings.parts} parts"
    show(decision_table(fitted.figures, title=title, notes=fitted.notes), console())
    words = fitted.described or "changes nothing"
    announce([f"decision: {words} ({file})"], quiet=options.quiet)
