"""`encore predict`: labels, probabilities and explanations of new texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.cli.options import FileOptions
from encore.cli.output import announce, console, print_json, say
from encore.data.write import check_target, write_rows, write_tables, writing
from encore.errors import Complaints, DataError, RecipeError

if TYPE_CHECKING:
    import numpy as np
    from rich.text import Text

    from encore.data.dataset import Dataset
    from encore.runs.explain import Explanation
    from encore.runs.explanation_output import GradientTally
    from encore.runs.output import Prediction
    from encore.runs.predict_file import Abstentions, FilePrediction, OutputForm
    from encore.runs.predictor import Predictor, ServedTask

__all__ = ["PredictOptions", "decision_lines", "explained_lines", "explained_object", "predict"]


_Source = str | list[str] | list[tuple[str, str]]  # a file, or typed texts


@dataclass(frozen=True)
class PredictOptions:
    """The arguments of `encore predict`. file: None where `texts` (and `pairs`) are typed; out: "-"
    for standard output.
    """

    run: Path
    file: str | None
    texts: tuple[str, ...]
    pairs: tuple[str, ...]
    out: str
    with_input: bool
    overwrite: bool
    raw: bool
    resume: bool
    explain: bool
    task: str | None
    abstain: float | None
    reading: FileOptions
    json_: bool
    quiet: bool
    force: bool

    @property
    def to_terminal(self) -> bool:
        return self.out == "-"

    @property
    def form(self) -> OutputForm:
        """The columns of the output. Only parquet keeps all digits of a float."""
        from encore.runs.predict_file import OutputForm

        rounded = Path(self.out).suffix.lower() != ".parquet"
        return OutputForm(self.explain, self.with_input, rounded)

    @property
    def source(self) -> _Source:
        """The file, or the typed texts. Raises RecipeError unless there is one of them."""
        if self.file is None and not self.texts and self.run.is_file():
            from encore.runs.folder import explain_no_run

            # One file alone is taken for the run, which comes first.
            raise DataError(explain_no_run(self.run))
        if (self.file is None) != bool(self.texts) or (self.pairs and self.file is not None):
            raise RecipeError(
                "encore predict: expected a FILE or --text TEXT, and not both. See: encore predict "
                "--help"
            )
        if self.file is not None:
            return self.file
        if self.pairs and len(self.pairs) != len(self.texts):
            raise RecipeError("encore predict: expected one --text-pair for each --text.")
        return list(zip(self.texts, self.pairs, strict=True)) if self.pairs else list(self.texts)


def predict(options: PredictOptions) -> None:
    """Write the predictions, or print the explanations. Raises RecipeError or DataError."""
    from encore.runs.places import check_output

    complaints = Complaints()
    with complaints.collecting():
        _check_output(options)
    with complaints.collecting():
        check_target(options.out, overwrite=options.overwrite)
        check_output(options.out, () if options.file is None else (options.file,))
    settings: dict[str, Any] = {}
    with complaints.collecting():
        settings = options.reading.settings()
    with complaints.collecting():
        finish = _prepared(options, options.source, settings)
    complaints.raise_any()
    finish()


def _prepared(
    options: PredictOptions, source: _Source, settings: Mapping[str, Any]
) -> Callable[[], None]:
    """Load the run, and read the texts or survey the file; returns the rest of the work. Raises
    EncoreError with everything that is wrong.
    """
    from encore.runs.loading import load_predictor

    model = load_predictor(options.run, force=options.force)
    tasks = [
        task.abstaining(options.abstain)
        for task in model.chosen(options.task, alone=options.explain)
    ]
    announce(decision_lines(tasks), quiet=options.quiet)
    if isinstance(source, str) and not (options.explain and options.to_terminal):
        from encore.runs.predict_file import FilePrediction

        prediction = FilePrediction.opened(model, tasks, source, options.form, **settings)
        return partial(_write_file, options, prediction)
    name = tasks[0].name
    dataset = model.read(source, task=name, keep_all=options.with_input, **settings)
    explanations = model.explanations(dataset, task=name) if options.explain else None
    return partial(_at_once, options, model, tasks, dataset, explanations)


def decision_lines(tasks: Sequence[ServedTask]) -> list[str]:
    """A line for each task whose answers are not the model's own."""
    found = [(task.name, task.decision.described(task.labels)) for task in tasks]
    prefix = len(found) > 1
    return [f"{f'{name}: ' if prefix else ''}decision: {words}" for name, words in found if words]


def _write_file(options: PredictOptions, prediction: FilePrediction) -> None:
    announce(prediction.notes, quiet=options.quiet)
    if options.to_terminal:
        write_tables(options.out, prediction.tables(), raw=options.raw)
        announce(prediction.abstentions.notes, quiet=options.quiet)
        return
    n_rows = prediction.stream.n_rows
    with writing(options.out), prediction.kept(options.out, resume=options.resume) as kept:
        if kept.dropped:
            line = f"scores that an earlier try left are dropped: {kept.dropped}"
            announce([f"{options.out}: {line}"], quiet=options.quiet)
        if options.resume:
            how = f"resumes after row {kept.n_found:,}" if kept.n_found else "nothing to resume"
            announce([f"{options.out}: {how}"], quiet=options.quiet)
        try:
            tables = prediction.tables(kept)
            write_tables(options.out, tables, overwrite=options.overwrite, raw=options.raw)
        except BaseException:
            if kept.n_rows:
                done = f"{kept.n_rows:,} of {n_rows:,} rows are kept"
                announce([f"{options.out}: {done}; to resume, add --resume"])
            raise
    _report(options, n_rows, prediction.tally, prediction.abstentions)


def _at_once(
    options: PredictOptions,
    model: Predictor[ServedTask],
    tasks: Sequence[ServedTask],
    dataset: Dataset,
    explanations: Iterator[Explanation] | None,
) -> None:
    """Write the predictions of typed texts, or print explanations."""
    from encore.runs.explanation_output import GradientTally
    from encore.runs.predict_file import Abstentions, output_columns

    how_read = [] if dataset.how_read is None else [dataset.how_read]  # typed texts have none
    explained = [model.explanation_note(tasks[0].name)] if options.explain else []
    announce([*how_read, *dataset.notes, *explained], quiet=options.quiet)
    scores, tally = model.scores_of([task.name for task in tasks], dataset), GradientTally()
    abstentions = Abstentions()
    abstentions.count(tasks, scores)
    if explanations is not None and options.to_terminal:
        _print_explanations(options, tasks[0], dataset, scores, tally.counted(explanations), tally)
        announce(abstentions.notes, quiet=options.quiet)
        return
    columns = output_columns(model, tasks, dataset, scores, options.form, tally)
    write_rows(options.out, columns, overwrite=options.overwrite, raw=options.raw)
    _report(options, len(dataset), tally, abstentions)


def _report(
    options: PredictOptions, n_rows: int, tally: GradientTally, abstentions: Abstentions
) -> None:
    if options.json_:
        place = {"run": str(options.run), "file": options.file, "out": options.out}
        print_json({**place, "rows": n_rows, **tally.to_json(), **abstentions.to_json()})
        return
    rows = f"{n_rows:,} row{'' if n_rows == 1 else 's'}"
    end = [] if options.to_terminal else [*tally.notes, f"{rows} → {options.out}"]
    announce([*abstentions.notes, *end], quiet=options.quiet)


def _check_output(options: PredictOptions) -> None:
    """Raises RecipeError where the output cannot hold the requested columns. Weights are lists, one
    entry per word, and a cell of a csv file holds none.
    """
    if options.explain and Path(options.out).suffix.lower() in (".csv", ".tsv"):
        raise RecipeError(
            f"encore predict: {options.out} cannot hold the weights of --explain, which are lists. "
            f"Name a .jsonl or .parquet file."
        )
    if options.resume and options.to_terminal:
        raise RecipeError("encore predict: --resume needs a file to write: -o predictions.csv")
    if options.resume and options.texts:
        raise RecipeError("encore predict: --resume is for a FILE; leave it out with --text.")
    if options.explain and options.with_input and options.to_terminal:
        raise RecipeError(
            "encore predict: --with-input and --explain together need an output file: -o "
            "explained.jsonl"
        )
    if options.json_ and options.to_terminal and not options.explain:
        raise RecipeError(
            "encore predict: --json and the predictions cannot both go to standard output. "
            "Name a file: -o predictions.csv"
        )


def _print_explanations(
    options: PredictOptions,
    task: ServedTask,
    dataset: Dataset,
    scores: Mapping[str, np.ndarray],
    explanations: Iterator[Explanation],
    tally: GradientTally,
) -> None:
    own = scores[task.name]
    if options.json_:
        place = {"run": str(options.run), "file": options.file}
        found = explained_object(task, own, explanations)
        print_json({**place, **found, **tally.to_json()})
        return
    terminal = console()
    for line in explained_lines(task, dataset, own, explanations):
        if terminal.is_terminal:
            terminal.print(line)
        else:
            say(line.plain)
    announce(tally.notes, quiet=options.quiet)


def explained_lines(
    task: ServedTask, dataset: Dataset, scores: np.ndarray, explanations: Iterable[Explanation]
) -> Iterator[Text]:
    """For each row its place, the prediction, and its words by weight."""
    from encore.runs.explanation_output import render_explanation
    from encore.runs.output import named_predictions

    what, places = (
        ("line", dataset.lines) if dataset.lines is not None else ("row", dataset.rows + 1)
    )
    names = (task.columns.text, task.columns.text_pair or "")
    for place, prediction, each in zip(
        places.tolist(),
        named_predictions(
            scores,
            task.labels,
            gives_probabilities=task.gives_probabilities,
            decision=task.decision,
        ),
        explanations,
        strict=True,
    ):
        yield render_explanation(each, title=f"{what} {place}: {_answer(prediction)}", names=names)


def _answer(prediction: Prediction) -> str:
    if isinstance(prediction.label, float):
        return f"{prediction.label:.4g}"
    if prediction.label is None:
        return f"no label (at most {max(prediction.probabilities.values()):.2f})"
    chosen = prediction.label if isinstance(prediction.label, tuple) else (prediction.label,)
    of = prediction.probabilities
    shown = (f"{name} ({of[name]:.2f})" if name in of else name for name in chosen)
    return "; ".join(shown) or "(none)"


def explained_object(
    task: ServedTask, scores: np.ndarray, explanations: Iterable[Explanation]
) -> dict[str, Any]:
    """The same for programs."""
    from encore.runs.explanation_output import explanation_cells
    from encore.runs.output import named_predictions

    rows = []
    for prediction, each in zip(
        named_predictions(
            scores,
            task.labels,
            gives_probabilities=task.gives_probabilities,
            decision=task.decision,
        ),
        explanations,
        strict=True,
    ):
        rows.append(
            {
                "prediction": prediction.label,
                "probabilities": dict(prediction.probabilities),
                **explanation_cells(each),
            }
        )
    method = "attention" if task.has_attention else "integrated gradients"
    return {"task": task.name, "method": method, "rows": rows}
