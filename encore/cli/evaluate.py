"""`encore evaluate`: metrics of a run on labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encore.cli.options import FileOptions
from encore.cli.output import announce, console, print_json
from encore.errors import DataError, RecipeError

__all__ = ["EvaluateOptions", "evaluate_command"]


@dataclass(frozen=True)
class EvaluateOptions:
    """The arguments of `encore evaluate`. file: None for the recipe's test file, with `final`.
    compare: another run.
    """

    run: Path
    file: str | None
    final: bool
    compare: Path | None
    slices: tuple[str, ...]
    n_mistakes: int
    task: str | None
    reading: FileOptions
    json_: bool
    quiet: bool
    force: bool


def evaluate_command(options: EvaluateOptions) -> None:
    """Print the metrics of a run. Raises RecipeError or DataError."""
    if options.final and options.file is not None:
        raise RecipeError("encore evaluate: FILE and --final are both given; keep one.")
    if options.final and options.compare is not None:
        raise RecipeError("encore evaluate: --compare takes labelled rows in FILE, not --final.")
    if options.file is None and options.run.is_file():
        from encore.runs.folder import explain_no_run

        raise DataError(explain_no_run(options.run))
    if not options.final and options.file is None:
        raise RecipeError("encore evaluate: which rows? Name a labelled FILE, or pass --final.")
    from encore.runs.evaluate import evaluate_run
    from encore.runs.final_test import evaluated_rows, keep_final
    from encore.runs.loading import load_predictor
    from encore.runs.two_runs import read_alike
    from encore.tables.listing import show

    settings = options.reading.settings()
    model = load_predictor(options.run, force=options.force)
    task = model.task(options.task).name
    dataset = evaluated_rows(
        model,
        options.file,
        task,
        log=lambda line: announce([line], quiet=options.quiet),
        slices=options.slices,
        **settings,
    )
    announce([dataset.how_read], quiet=options.quiet)
    compare = read_alike(options.compare, model, task, options.file, dataset, **settings)
    evaluation = evaluate_run(
        model,
        task,
        dataset,
        slices=options.slices,
        n_mistakes=options.n_mistakes,
        compare=compare,
    )
    if options.final:
        keep_final(model.folder, task, dataset, evaluation.estimates)
    if options.json_:
        print_json(evaluation.as_object())
        return
    for table in evaluation.tables():
        show(table, console())
