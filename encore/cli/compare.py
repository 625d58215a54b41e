"""`encore compare`, from the recipe file to the tables and the exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.cli.output import announce, print_json, say
from encore.errors import SOME_FAILED
from encore.tables.formatting import format_duration

if TYPE_CHECKING:
    from encore.experiments.comparison import ComparisonResult
    from encore.experiments.preparation import PreparedCell, PreparedComparison
    from encore.experiments.study_keys import Race

__all__ = ["compare_command"]


def compare_command(
    recipe: str,
    overrides: Sequence[str],
    *,
    only: str | None,
    curve: str | None,
    race: bool,
    processes: int | None,
    executor: str | None,
    keep_models: bool,
    prepare: bool,
    runs: Path,
    json_: bool,
    quiet: bool,
    dry_run: bool,
) -> int:
    """Returns the exit code."""
    from encore.experiments.comparison import run_comparison
    from encore.experiments.executors.choice import check_executor
    from encore.experiments.find import study_of
    from encore.experiments.preparation import prepare_comparison

    check_executor(executor)
    names = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    plan = prepare_comparison(study_of(recipe, overrides, only=names, curve=curve, race=race))
    announce(_announced(plan, runs), quiet=quiet)
    if dry_run:
        _dry_run(plan, runs, processes, json_=json_)
        return 0

    def tell(line: str) -> None:
        announce([line], quiet=quiet)

    if prepare:
        _prepare(plan, runs, keep_models=keep_models, tell=tell, json_=json_)
        return 0
    result = run_comparison(
        plan, runs, processes=processes, keep_models=keep_models, tell=tell, executor=executor
    )
    announce(result.failed)
    if json_:
        found = {
            "comparison": str(result.folder),
            **result.to_json(),
            "failed": list(result.failed),
            "seconds": result.seconds,
        }
        print_json(found | ({"saved": result.saved} if result.saved else {}))
    else:
        _print_result(result)
    if result.failed and not quiet:
        announce(
            [
                f"{len(result.failed)} of {result.n_runs} runs failed; the others are in the "
                f"table. The same command tries them again."
            ]
        )
    return SOME_FAILED if result.failed else 0


def _prepare(
    plan: PreparedComparison,
    runs: Path,
    *,
    keep_models: bool,
    tell: Callable[[str], None],
    json_: bool,
) -> None:
    from encore.experiments.shared_jobs import read_jobs, write_jobs

    folder = write_jobs(plan, runs, keep_models=keep_models, tell=tell)
    jobs = read_jobs(folder)
    if json_:
        print_json({"comparison": str(folder), "jobs": [job.name for job in jobs]})
        return
    command = shlex.join(["encore", "worker", str(folder)])
    say(f"{folder}: {len(jobs)} runs to compute; on each machine: {command}")


def _print_result(result: ComparisonResult) -> None:
    from encore.tables.comparison import comparison_tables
    from encore.tables.listing import show_all

    show_all(comparison_tables(result.record))
    if result.saved is not None:
        say(_saved(result.saved))
    reused = (
        f", {result.n_reused} of {result.n_runs} runs were already complete"
        if result.n_reused
        else ""
    )
    say(
        f"comparison: {result.folder} ({format_duration(result.seconds)}{reused}); "
        f"table.csv, table.tex and results.json are in it"
    )


def _announced(plan: PreparedComparison, runs: Path) -> list[str]:
    """Lines on the decisions made for the user, and on runs that are complete already."""
    study, distinct = plan.study, plan.distinct
    lines = list(study.notes)
    lines += dict.fromkeys(
        f"{each.cell.study}: {each.run.note_line(note)}"
        for each in plan.cells
        if each.run is not None and each.cell.variant == study.reference
        if each.cell.fold in (None, f"1/{study.folds}")
        for data in each.run.data.values()
        for note in data.notes
    )
    lines += dict.fromkeys(
        f"{each.cell.study}, {each.cell.variant}: not applicable: {each.why}"
        for each in plan.cells
        if each.why
    )
    n_there = sum((runs / name / "manifest.json").exists() for name in distinct)
    counts = (
        (len(study.points), "study", "studies"),
        (len(study.variants), "variant", "variants"),
        (len(study.seeds), "seed", "seeds"),
        *([(study.folds, "fold", "folds")] if study.folds else []),
    )
    size = " × ".join(f"{n} {one if n == 1 else several}" for n, one, several in counts)
    lines.append(
        f"{size}: {len(distinct)} run{'' if len(distinct) == 1 else 's'}, {n_there} of them "
        f"complete; {runs / plan.name}"
    )
    return lines + ([_race(plan, study.race)] if study.race else [])


def _race(plan: PreparedComparison, race: Race) -> str:
    """A line on the race that is about to start."""
    from encore.experiments.race import n_runs

    study = plan.study
    n_racing = [
        len({each.cell.variant for each in plan.screening_of(point) if each.run is not None})
        for point in study.points
    ]
    expected = sum(n_runs(n, len(study.seeds), race) for n in n_racing)
    rounds = ", ".join(
        f"round {number} on {' '.join(map(str, seeds))}"
        for number, seeds in enumerate(race.rounds, 1)
    )
    doubt = "" if expected < len(plan.distinct) else ", which saves nothing: drop the race"
    return (
        f"race, screening seeds: {rounds}; {expected} runs instead of "
        f"{len(plan.distinct)} if no two variants are equal{doubt}"
    )


def _saved(saved: Mapping[str, float]) -> str:
    spent, of_the_grid = (
        format_duration(saved["seconds"]),
        format_duration(saved["seconds_of_the_grid"]),
    )
    return (
        f"race: {saved['runs']:.0f} runs instead of {saved['runs_of_the_grid']:.0f}, "
        f"{spent} of computing instead of about {of_the_grid}"
    )


def _dry_run(plan: PreparedComparison, runs: Path, processes: int | None, *, json_: bool) -> None:
    """Print the runs and an estimate of their cost. With a race, all runs that it might make."""
    from encore.runs.hardware import cores

    total = _estimated_seconds(plan, runs)
    wall = (total or 0.0) / (processes or cores())
    race = plan.study.race
    if json_:
        found = {
            "comparison": str(runs / plan.name),
            "cells": [_entry(each) for each in plan.cells],
            "runs": len(plan.distinct),
            "estimated_seconds": wall,
        }
        screening = {"screening": [_entry(each) for each in plan.screening]} if race else {}
        print_json(found | screening)
        return
    from encore.tables.listing import Listing

    rows = [_line(each, " (screening)") for each in plan.screening]
    rows += [_line(each) for each in plan.cells]
    say(Listing("", ("study", "variant", "seed", "run"), tuple(rows), (), frozenset({2})))
    at_most = "at most " if race else ""
    cost = (
        f"{at_most}about {format_duration(wall)} on this machine under its present load "
        f"(within a factor of two)"
    )
    say("nothing is left to compute" if total is None else cost)


def _entry(each: PreparedCell) -> dict[str, Any]:
    return {
        "study": each.cell.study,
        "variant": each.cell.variant,
        "seed": each.cell.seed,
        "run": each.run.name if each.run else None,
        **({} if each.cell.fold is None else {"fold": each.cell.fold}),
    }


def _line(each: PreparedCell, about: str = "") -> tuple[str, ...]:
    run = each.run.name if each.run else "not applicable"
    if each.cell.fold is not None:
        about = f"{about}, fold {each.cell.fold}"
    return (each.cell.study, f"{each.cell.variant}{about}", f"{each.cell.seed}", run)


def _estimated_seconds(plan: PreparedComparison, runs: Path) -> float | None:
    """The time of all runs that are not complete, one after the other; None where all are complete.
    Measured once for runs that are alike but for their seeds.
    """
    from encore.runs.cost import estimate_cost

    seconds: dict[Any, float] = {}
    total = 0.0
    screening = {each.run.name: each.run for each in plan.screening if each.run is not None}
    for name, one in (screening | plan.distinct).items():
        if (runs / name / "manifest.json").exists():
            continue
        key = (
            one.source.digest,
            repr(one.recipe.plan),
            one.precision,
            *(len(stream.train.store.ids) for stream in one.streams.values()),
        )
        if key not in seconds:
            seconds[key] = estimate_cost(one).seconds
        total += seconds[key]
    return total if seconds else None
