"""What `encore compare` does, from the recipe file to the tables and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encore.errors import SOME_FAILED, printable
from encore.tables.formatting import format_duration

__all__ = ["compare_command"]


def compare_command(
    recipe: str,
    overrides: Sequence[str],
    *,
    only: str | None,
    curve: str | None,
    race: bool,
    processes: int | None,
    keep_models: bool,
    runs: Path,
    json_: bool,
    quiet: bool,
    dry_run: bool,
) -> int:
    """Returns the exit code."""
    from encore.api import study_of
    from encore.experiments.comparison import prepare_comparison, run_comparison
    from encore.tables.comparison import comparison_tables
    from encore.tables.listing import show_all

    names = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    plan = prepare_comparison(study_of(recipe, overrides, only=names, curve=curve, race=race))
    for line in [] if quiet else _announced(plan, runs):
        print(printable(line), file=sys.stderr)
    if dry_run:
        _dry_run(plan, runs, processes, json_=json_)
        return 0
    tell = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
    outcome = run_comparison(plan, runs, processes=processes, keep_models=keep_models, tell=tell)
    for line in outcome.failed:
        print(line, file=sys.stderr)
    if json_:
        told = {
            "comparison": str(outcome.folder),
            **outcome.results,
            "failed": list(outcome.failed),
            "seconds": outcome.seconds,
        }
        print(
            json.dumps(
                told | ({"saved": outcome.saved} if outcome.saved else {}), ensure_ascii=False
            )
        )
    else:
        show_all(comparison_tables(outcome.results))
        if outcome.saved is not None:
            print(_saved(outcome.saved))
        reused = (
            f", {outcome.n_reused} of {outcome.n_runs} runs were there already"
            if outcome.n_reused
            else ""
        )
        print(
            f"comparison: {outcome.folder} ({format_duration(outcome.seconds)}{reused}); "
            f"table.csv, table.tex and results.json are in it"
        )
    if outcome.failed and not quiet:
        print(
            f"{len(outcome.failed)} of {outcome.n_runs} runs failed; the others are in the "
            f"table. The same command tries them again.",
            file=sys.stderr,
        )
    return SOME_FAILED if outcome.failed else 0


def _announced(plan: Any, runs: Path) -> list[str]:
    """What was decided, and what of it there is already."""
    study, distinct = plan.study, plan.distinct
    lines = list(study.notes)
    lines += dict.fromkeys(
        f"{cell.study}: {one.about(task, note)}"
        for cell, one in zip(study.cells, plan.prepared, strict=True)
        if one is not None and cell.variant == study.reference
        for task, data in one.data.items()
        for note in data.notes
    )
    lines += dict.fromkeys(
        f"{cell.study}, {cell.variant}: not applicable: {why}"
        for cell, why in zip(study.cells, plan.why, strict=True)
        if why
    )
    n_there = sum((runs / name / "manifest.json").exists() for name in distinct)
    counts = (
        (len(study.points), "study", "studies"),
        (len(study.variants), "variant", "variants"),
        (len(study.seeds), "seed", "seeds"),
    )
    size = " × ".join(f"{n} {one if n == 1 else several}" for n, one, several in counts)
    lines.append(
        f"{size}: {len(distinct)} run{'' if len(distinct) == 1 else 's'}, {n_there} of them "
        f"complete; {runs / plan.name}"
    )
    return lines + ([_race(plan)] if study.race else [])


def _race(plan: Any) -> str:
    """What the race is about to do."""
    from encore.experiments.race import n_runs

    study, race = plan.study, plan.study.race
    fields = [
        {
            cell.variant
            for cell, one in zip(study.screening, plan.screening, strict=True)
            if one is not None and cell.point == at
        }
        for at in study.points
    ]
    expected = sum(n_runs(len(field), len(study.seeds), race) for field in fields)
    rounds = ", ".join(
        f"round {number} on {' '.join(map(str, seeds))}"
        for number, seeds in enumerate(race.rounds, 1)
    )
    doubt = "" if expected < len(plan.distinct) else ", which saves nothing: leave the race out"
    return (
        f"race, seeds of the screening: {rounds}; {expected} runs instead of "
        f"{len(plan.distinct)} where no two variants are equal{doubt}"
    )


def _saved(saved: Any) -> str:
    spent, of_the_grid = (
        format_duration(saved["seconds"]),
        format_duration(saved["seconds_of_the_grid"]),
    )
    return (
        f"race: {saved['runs']:.0f} runs instead of {saved['runs_of_the_grid']:.0f}, "
        f"{spent} of computing instead of about {of_the_grid}"
    )


def _dry_run(plan: Any, runs: Path, processes: int | None, *, json_: bool) -> None:
    """The runs and what they would cost; time is estimated once for runs that are alike but for
    their seeds. With a race, all runs that it might make.
    """
    from encore.runs.cost import estimate_cost
    from encore.runs.hardware import cores

    seconds: dict[Any, float] = {}
    total = 0.0
    for name, one in {
        **{one.name: one for one in plan.screening if one is not None},
        **plan.distinct,
    }.items():
        alike = (
            one.source.digest,
            repr(one.recipe.plan),
            one.precision,
            *(len(stream.train.store.ids) for stream in one.streams.values()),
        )
        if (runs / name / "manifest.json").exists():
            continue
        if alike not in seconds:
            seconds[alike] = estimate_cost(one).seconds
        total += seconds[alike]
    study = plan.study
    cells, screening = (
        [
            {
                "study": cell.study,
                "variant": cell.variant,
                "seed": cell.seed,
                "run": one.name if one else None,
            }
            for cell, one in zip(of, ready, strict=True)
        ]
        for of, ready in ((study.cells, plan.prepared), (study.screening, plan.screening))
    )
    wall = total / (processes or cores())
    if json_:
        told = {
            "comparison": str(runs / plan.name),
            "cells": cells,
            "runs": len(plan.distinct),
            "estimated_seconds": wall,
        }
        print(
            json.dumps(told | ({"screening": screening} if study.race else {}), ensure_ascii=False)
        )
        return
    from encore.tables.listing import Listing

    rows = [
        (cell["study"], cell["variant"], f"{cell['seed']}", cell["run"] or "not applicable")
        for cell in cells
    ]
    rows[:0] = [
        (
            cell["study"],
            f"{cell['variant']} (screening)",
            f"{cell['seed']}",
            cell["run"] or "not applicable",
        )
        for cell in screening
    ]
    print(Listing("", ("study", "variant", "seed", "run"), tuple(rows), (), frozenset({2})))
    at_most = "at most " if study.race else ""
    cost = (
        f"{at_most}about {format_duration(wall)} on this machine as busy as it is now "
        f"(within a factor of two)"
    )
    print(cost if seconds else "nothing is left to compute")
