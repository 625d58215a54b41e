"""`encore distill`: trains a student, and prints it beside its teachers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encore.cli.options import FileOptions, check_runs_folder
from encore.cli.output import announce, console, print_json, say
from encore.cli.train import TrainOptions, last_line, result_tables, train_prepared
from encore.data.table import display_path
from encore.errors import Complaints, RecipeError

__all__ = ["DistilOptions", "distill_command"]


@dataclass(frozen=True)
class DistilOptions:
    """The arguments of `encore distill`."""

    teachers: tuple[Path, ...]
    overrides: tuple[str, ...]
    encoder: str | None
    texts: Path | None
    runs: Path
    json_: bool
    quiet: bool
    dry_run: bool
    force: bool


def distill_command(options: DistilOptions) -> None:
    """Train, or resume, or find the student complete, and print the results. Raises
    EncoreError.
    """
    from encore.runs.distillation import measure_student, recipe_to_distil
    from encore.runs.prepare import prepare
    from encore.tables.listing import show

    complaints = Complaints()
    with complaints.collecting():
        check_runs_folder(options.runs)
    with complaints.collecting():
        if not options.teachers:
            raise RecipeError("encore distill: expected a run to learn from, got settings only.")
        recipe = recipe_to_distil(
            options.teachers, options.overrides, encoder=options.encoder, texts=options.texts
        )
        prepared = prepare(recipe)
    complaints.raise_any()
    named = ", ".join(map(display_path, options.teachers))
    mean = "the mean of " if len(options.teachers) > 1 else ""
    announce([f"learns from {mean}{named}"], quiet=options.quiet)
    result = train_prepared(
        prepared,
        TrainOptions(
            what="",
            overrides=(),
            data={},
            file=FileOptions(None, None, None, None, None),
            runs=options.runs,
            json_=options.json_,
            quiet=options.quiet,
            dry_run=options.dry_run,
            force=options.force,
        ),
    )
    if result is None:
        return
    rows = measure_student(prepared, result, options.teachers)
    if options.json_:
        against = {f"{one.task}.{one.split}": one.as_object() for one in rows}
        print_json({**result.summary(), "against_teacher": against})
        return
    for table in (*result_tables(result, prepared), *(t for one in rows for t in one.tables())):
        show(table, console())
    say(last_line(result, prepared))
