"""What `encore compare` does, from the recipe file to the tables and the exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encore.cli_words import duration
from encore.errors import RecipeError
from encore.study import Study, load_study

__all__ = ["SOME_FAILED", "command"]

SOME_FAILED = 5                                  # exit code (DESIGN §6)


def command(
    recipe: str,
    overrides: Sequence[str],
    *,
    only: str | None,
    curve: str | None,
    processes: int | None,
    keep_models: bool,
    runs: Path,
    json_: bool,
    quiet: bool,
    dry_run: bool,
) -> int:
    """Returns the exit code."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")         # else asking whether there is a GPU would bind this process to it
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")            # else tokenizers warns in every copy of this process
    names = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    study = _study(recipe, overrides, names, _axis(curve))
    from encore.compare import compare, resolve

    plan = resolve(study)
    say = [] if quiet else _announced(plan, runs)
    for line in say:
        print(line, file=sys.stderr)
    if dry_run:
        _dry_run(plan, runs, processes, json_=json_)
        return 0
    tell = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
    try:
        outcome = compare(plan, runs, processes=processes, keep_models=keep_models, tell=tell)
    except KeyboardInterrupt:
        print("\ninterrupted. Nothing is lost; the same command goes on where this one stopped.", file=sys.stderr)
        raise
    for line in outcome.failed:
        print(line, file=sys.stderr)
    if json_:
        told = {"comparison": str(outcome.folder), **outcome.results, "failed": list(outcome.failed), "seconds": outcome.seconds}
        print(json.dumps(told, ensure_ascii=False))
    else:
        _show(outcome.results)
        reused = f", {outcome.n_reused} of {outcome.n_runs} runs were there already" if outcome.n_reused else ""
        print(f"comparison: {outcome.folder} ({duration(outcome.seconds)}{reused}); table.csv, table.tex and results.json are in it")
    if outcome.failed and not quiet:
        print(f"{len(outcome.failed)} of {outcome.n_runs} runs failed; the others are in the table. The same command tries them again.", file=sys.stderr)
    return SOME_FAILED if outcome.failed else 0


def _axis(curve: str | None) -> dict[str, list[int]]:
    """`train_rows=500,1000` → {"data.train_rows": [500, 1000]}."""
    if curve is None:
        return {}
    key, _, values = curve.partition("=")
    sizes = [int(word) for word in values.split(",") if word.strip().isdecimal()]
    if key not in ("train_rows", "data.train_rows") or len(sizes) < len(values.split(",")) or len(set(sizes)) < max(2, len(sizes)) or min(sizes) < 2:
        raise RecipeError(f"--curve: expected train_rows and two different sizes or more, such as train_rows=500,1000,2000, got '{curve}'.")
    return {"data.train_rows": sorted(sizes)}


def _study(recipe: str, overrides: Sequence[str], only: Sequence[str] | None, axes: dict[str, list[int]]) -> Study:
    """Where the recipe has mistakes, its files and its encoder are checked all the same: everything is said in one go."""
    if Path(recipe).suffix.lower() not in (".yaml", ".yml"):
        raise RecipeError(f"encore compare: expected a recipe (.yaml) with variants, got '{recipe}'.")
    try:
        return load_study(recipe, overrides, only=only, axes=axes)
    except RecipeError as error:
        if error.rest is None:
            raise
        from encore.prepare import objections

        more = [line for line in objections(error.rest) if not any(line in told for told in error.problems)]
        raise RecipeError([*error.problems, *more]) from None


def _announced(plan: Any, runs: Path) -> list[str]:
    """What was decided, and what of it there is already."""
    study, distinct = plan.study, plan.distinct
    lines = list(study.notes)
    lines += dict.fromkeys(
        f"{cell.study}: {note}" for cell, one in zip(study.cells, plan.prepared, strict=True) if one is not None and cell.variant == study.reference
        for data in one.data.values() for note in data.notes
    )
    lines += dict.fromkeys(f"{cell.study}, {cell.variant}: not applicable: {why}" for cell, why in zip(study.cells, plan.why, strict=True) if why)
    n_there = sum((runs / name / "manifest.json").exists() for name in distinct)
    size = f"{len(study.points)} stud{'ies' if len(study.points) > 1 else 'y'} × {len(study.variants)} variants × {len(study.seeds)} seeds"
    return [*lines, f"{size}: {len(distinct)} runs, {n_there} of them complete; {runs / plan.name}"]


def _dry_run(plan: Any, runs: Path, processes: int | None, *, json_: bool) -> None:
    """The runs and what they would cost; time is estimated once for each study and counted for each run."""
    from encore.estimate import estimate
    from encore.prepare import cores

    seconds: dict[str, float] = {}
    total = 0.0
    for name, one in plan.distinct.items():
        key = "+".join(one.data) + repr(one.recipe.plan) + one.recipe.encoder
        if key not in seconds:
            seconds[key] = estimate(one).seconds
        total += 0.0 if (runs / name / "manifest.json").exists() else seconds[key]
    cells = [
        {"study": cell.study, "variant": cell.variant, "seed": cell.seed, "run": one.name if one else None}
        for cell, one in zip(plan.study.cells, plan.prepared, strict=True)
    ]
    wall = total / (processes or cores())
    if json_:
        print(json.dumps({"comparison": str(runs / plan.name), "cells": cells, "runs": len(plan.distinct), "estimated_seconds": wall}))
        return
    from encore.evaluate import Listing

    rows = tuple((cell["study"], cell["variant"], str(cell["seed"]), cell["run"] or "not applicable") for cell in cells)
    print(Listing("", ("study", "variant", "seed", "run"), rows, (), frozenset({2})))
    print(f"about {duration(wall)} on this machine as busy as it is now (within a factor of two)")


def _show(results: Any) -> None:
    from rich.console import Console

    from encore.compare_tables import listings
    from encore.evaluate import show

    console = Console()
    for number, table in enumerate(listings(results)):
        if number:
            print()
        show(table, console)
