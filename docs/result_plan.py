"""The section of docs/results.md about the default plan and the default pooling."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # loaded by the path of a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.result_studies import TITLES
from docs.result_tables import PERCENT, draws_note, figure, table
from encore.runs.default_plan import default_epochs, default_lr

__all__ = ["default_plan"]


def default_plan(found: dict[str, Any]) -> str:
    """The runs behind the rule for epochs and rate, and behind the default pooling."""
    runs = found["runs"]
    text = (
        "## The default plan and the default pooling\n\nMiniLM, length 64, batch 32, "
        f"{found['precision']}, one thread; rows drawn with the seed, at most 1,000 dev rows, "
        "scored after the last epoch. A cell is the mean over as many seeds as the brackets say; a "
        "difference is paired by seed, mean ± sample standard deviation. The standard error of one "
        "accuracy of 70 % on 1,000 rows is 1.4 points. `wiki`: which article of "
        "English Wikipedia is a sentence from? It has 30 classes of 10 rows, or 77 of 12 or 51. "
        "`python benchmarks/default_plan.py run`\n"
    )
    for n in sorted({run["n"] for run in runs}):
        chosen = [run for run in runs if run["n"] == n and run["pooling"] == "mean"]
        text += f"\n{n:,} rows, pooling `mean`:\n\n"
        text += _by(chosen, _plan_of, "rule − 4 × 5e-5", lambda run: _side(run, _rule(run), _USUAL))
    usual = [run for run in runs if (run["n"], run["lr"], run["epochs"]) == (1000, 2e-4, 4)]
    others = {run["task"] for run in usual if run["pooling"] != "mean"}
    chosen = [run for run in usual if run["task"] in others]
    text += "\n1,000 rows, 4 epochs at 2e-4, by pooling:\n\n"
    text += _by(
        chosen,
        lambda run: f"`{run['pooling']}`",
        "`cls` − `mean`",
        lambda run: _side(run, ("cls", 4, 2e-4), ("mean", 4, 2e-4)),
    )
    seconds = sum(run["cpu_seconds"] for run in runs)
    text += f"\n* {len(runs)} runs, {seconds / 60:.0f} minutes of one core ({found['machine']}).\n"
    return text + f"* {draws_note([found['results_version']])}\n"


_USUAL = ("mean", 4, 5e-5)


def _rule(run: dict[str, Any]) -> tuple[str, int, float]:
    """The pooling, epochs and rate that Encore chooses for the rows of a run."""
    steps = math.ceil((77 * 12 if (run["task"], run["n"]) == ("wiki", 1000) else run["n"]) / 32)
    epochs = default_epochs(steps, n_classes := run["classes"] or 0)
    return "mean", epochs, default_lr(384, steps * epochs, n_classes)


def _side(run: dict[str, Any], one: tuple[str, int, float], other: tuple[str, int, float]) -> int:
    """1 for a run of `one`, −1 for a run of `other`, 0 for the rest."""
    own = (run["pooling"], run["epochs"], run["lr"])
    return (own == one) - (own == other)


def _plan_of(run: dict[str, Any]) -> str:
    return f"{run['epochs']} × {run['lr']:.0e}".replace("e-0", "e-")


def _by(
    runs: list[dict[str, Any]],
    column: Callable[[dict[str, Any]], str],
    difference: str,
    side: Callable[[dict[str, Any]], int],
) -> str:
    """A table with a line for each set, a column for each plan or pooling, and one for the
    difference of two of them.
    """
    columns = list(dict.fromkeys(column(run) for run in sorted(runs, key=_order)))
    rows = []
    for task in dict.fromkeys(run["task"] for run in sorted(runs, key=lambda run: run["task"])):
        of_task = [run for run in runs if run["task"] == task]
        first = of_task[0]
        cells = []
        for name in columns:
            values = [run["value"] for run in of_task if column(run) == name]
            mean = figure(first["metric"], statistics.mean(values)) if values else "–"
            cells.append(f"{mean} ({len(values)})" if values else mean)
        cells.append(_difference(of_task, side))
        rows.append([task, str(first["classes"] or "–"), TITLES[first["metric"]], *cells])
    return table(["set", "classes", "metric", *columns, difference], rows)


def _difference(runs: list[dict[str, Any]], side: Callable[[dict[str, Any]], int]) -> str:
    """The mean difference over the seeds that have both, ± its sample standard deviation."""
    sides = {which: {r["seed"]: r["value"] for r in runs if side(r) == which} for which in (1, -1)}
    found = [sides[1][seed] - sides[-1][seed] for seed in sorted(sides[1].keys() & sides[-1])]
    if not found:
        return "–"
    scale, digits = (100, 1) if runs[0]["metric"] in PERCENT else (1, 3)
    text = f"{scale * statistics.mean(found):+.{digits}f}".replace("-", "−")
    return text if len(found) < 2 else f"{text} ± {scale * statistics.stdev(found):.{digits}f}"


def _order(run: dict[str, Any]) -> tuple[bool, str, float, int]:
    return run["pooling"] != "mean", run["pooling"], run["lr"], run["epochs"]
