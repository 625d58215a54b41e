"""`encore pretrain`: what it announces before training, and what it prints after it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.cli.options import check_runs_folder
from encore.cli.output import announce, print_json, say
from encore.data.table import display_path
from encore.errors import Complaints
from encore.runs.places import run_folder
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    from encore.runs.pretrain_folder import PretrainResult
    from encore.runs.pretraining import PreparedPretraining
    from encore.training.pretraining import Keep
    from encore.training.reports import StepReport

__all__ = ["PretrainOptions", "pretrain_command"]


@dataclass(frozen=True)
class PretrainOptions:
    """The arguments of `encore pretrain`."""

    recipe: str
    overrides: tuple[str, ...]
    only: tuple[str, ...]
    runs: Path
    json_: bool
    quiet: bool
    dry_run: bool


def pretrain_command(options: PretrainOptions) -> None:
    """Pre-train each variant, one after the other. Raises EncoreError."""
    from encore.recipe.pretraining import pretraining_recipes
    from encore.runs.pretraining import prepare_pretraining

    complaints = Complaints()
    prepared: dict[str, PreparedPretraining] = {}
    with complaints.collecting():
        check_runs_folder(options.runs)
    with complaints.collecting():
        recipes = pretraining_recipes(options.recipe, options.overrides, options.only)
        for name, recipe in recipes.items():
            with complaints.collecting():
                prepared[name] = prepare_pretraining(recipe)
    complaints.raise_any()
    found = {}
    for name, each in prepared.items():
        announce(_announcements(name, each, options.runs), quiet=options.quiet)
        if options.dry_run:
            _print_dry_run(each, options)
            continue
        found[name] = _train(each, options)
        if not options.json_:
            say(*_result_lines(name, found[name]))
    if options.json_ and found:
        summaries = {name: _summary(result) for name, result in found.items()}
        print_json(summaries.get("", summaries))


def _train(prepared: PreparedPretraining, options: PretrainOptions) -> PretrainResult:
    from encore.cli.progress import Watch
    from encore.runs.pretrain import run_pretraining
    from encore.training.pretraining import Keep

    progress = Watch(sys.stderr, epochs=1, steps=1)

    def tell(line: str, epochs: int, steps: int) -> None:
        progress.begin(epochs=epochs, steps=steps)
        announce([line], quiet=options.quiet)

    def watch(report: StepReport | Keep) -> None:
        if isinstance(report, Keep):
            progress.line(_kept_line(report))
        else:
            progress(report)

    with progress:
        return run_pretraining(
            prepared,
            options.runs,
            watch=None if options.quiet else watch,
            announce=tell,
        )


def _announcements(name: str, prepared: PreparedPretraining, runs: Path) -> list[str]:

    recipe = prepared.recipe
    lines = [f"variant {name}"] if name else []
    for each in prepared.texts:
        rows = "" if each.table is None else f"{each.table.n_rows:,} rows, "
        columns = ", ".join(f"'{column}'" for column in each.columns)
        lines.append(f"{each.name}: {rows}{columns or 'a text on each line'}")
    if recipe.size is not None:
        size = recipe.size
        start = f"from scratch: {size.layers} layers, width {size.width}, {size.heads} heads"
        if prepared.vocabulary is not None:
            vocabulary = f"the vocabulary of {recipe.vocabulary}"
        else:
            vocabulary = f"a vocabulary of {recipe.vocabulary:,} pieces from these texts"
        lines.append(f"{start}; {vocabulary}")
    else:
        lines.append(f"encoder {recipe.encoder or 'minilm'}")
    unit = "single tokens" if recipe.masking == "tokens" else "whole words"
    lines.append(
        f"masking {recipe.mask_rate:.0%} of the tokens, {unit}"
        + ("; and telling whether a text follows another" if recipe.next_sentence else "")
    )
    threads = f"{prepared.threads} thread{'s' if prepared.threads > 1 else ''}"
    lines.append(f"{prepared.precision} on {prepared.device}, {threads}; seed {recipe.seed}")
    folder = run_folder(runs, prepared.name, "pretraining")
    state = ""
    if (folder / "manifest.json").exists():
        state = ": complete already"
    elif (folder / "checkpoint").is_dir() and any((folder / "checkpoint").iterdir()):
        state = ": resumes"
    return [*lines, f"pretrain {folder}{state}"]


def _print_dry_run(prepared: PreparedPretraining, options: PretrainOptions) -> None:
    from encore.recipe.located_yaml import write_yaml
    from encore.recipe.write import resolved

    if options.json_:
        print_json({"folder": str(options.runs / prepared.name), **prepared.spec})
    else:
        say(write_yaml(resolved(prepared.recipe)).rstrip())


def _kept_line(report: Keep) -> str:
    words = [f"step {report.step}: kept"]
    if report.train_loss is not None:
        words.append(f"train loss {report.train_loss:.3f}")
    held = report.held_out
    if held is not None:
        words.append(f"held out: loss {held.loss:.3f}, {held.accuracy:.1%} of the words guessed")
        if held.next_loss is not None:
            words.append(f"next text {held.next_loss:.3f}")
    return "  ".join(words)


def _result_lines(name: str, result: PretrainResult) -> list[str]:
    last = result.figures.kept[-1]
    words = [] if last.train_loss is None else [f"loss {last.train_loss:.3f}"]
    if (held := last.held_out) is not None:
        words.append(f"held out {held.loss:.3f}, {held.accuracy:.1%} of the words guessed")
    state = (
        "complete already"
        if result.already_complete
        else f"{format_duration(result.seconds)}, {result.tokens_per_second:,.0f} tokens/s"
    )
    head = f"{name}: " if name else ""
    encoder = display_path(result.encoder)
    compare = result.folder / "compare.yaml"
    after = (
        f"encore compare {display_path(compare)}"
        if compare.is_file()
        else f"encore train FILE.csv encoder={encoder}"
    )
    return [
        f"{head}{result.figures.steps:,} steps, {', '.join(words)} ({state})",
        f"encoder: {encoder}; next: {after}",
    ]


def _summary(result: PretrainResult) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "encoder": str(result.encoder),
        "kept": {str(step): str(folder) for step, folder in result.kept.items()},
        "figures": result.figures.to_json(),
        "seconds": result.seconds,
        "tokens_per_second": result.tokens_per_second,
    }
