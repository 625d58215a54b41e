"""The runs of a comparison in its report: cells, cost, and how to repeat them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from encore import catalogue, files
from encore.evaluation.comparison_record import MetricResult
from encore.report import figures, gather
from encore.report.figures import Figure, VariantCost
from encore.report.page import Code, Facts, Notes, slug
from encore.report.provenance import digest_table, format_memory, typed_command
from encore.tables.formatting import format_duration
from encore.tables.listing import Listing

__all__ = ["cell_blocks", "cost_figure", "cost_table", "reproduction"]


def cell_blocks(comparison: gather.GatheredComparison) -> Iterator[Any]:
    """Every cell and its run."""
    counted = Counter(cell.state for cell in comparison.cells)
    lines = [f"{n} of {len(comparison.cells)} cells: {state}" for state, n in counted.items()]
    lines += [f"{name}: {why}" for name, why in comparison.lost.items()]
    yield Notes(tuple(lines))
    n_columns = 6 if any(cell.why is not None for cell in comparison.cells) else 5
    folded = any(cell.fold is not None for cell in comparison.cells)
    rows = [
        (
            cell.study,
            cell.variant,
            f"{cell.seed}, {cell.fold}" if folded else str(cell.seed),
            cell.state,
            cell.run or "–",
            "; ".join(cell.why or ()),
        )
        for cell in comparison.cells
    ]
    columns = ("study", "variant", "seed, fold" if folded else "seed", "state", "run", "why")
    yield Listing(
        "", columns[:n_columns], tuple(row[:n_columns] for row in rows), (), frozenset({2})
    )


def cost_table(comparison: gather.GatheredComparison) -> Listing:
    """Per variant; means over its runs."""
    rows = []
    for variant in comparison.record.variants:
        names = dict.fromkeys(
            cell.run for cell in comparison.cells if cell.variant == variant and cell.run
        )
        runs = [comparison.runs[name] for name in names if name in comparison.runs]
        if not runs:
            continue
        n = gather.parameters(runs[0])
        peaks = [run.cost["peak_memory_bytes"] for run in runs if "peak_memory_bytes" in run.cost]
        seconds = float(np.mean([run.result.seconds for run in runs]))
        speed = float(np.mean([run.result.tokens_per_second for run in runs]))
        rows.append(
            (
                variant,
                str(len(runs)),
                f"{seconds:,.1f} s",
                f"{speed:,.0f}",
                format_memory(max(peaks, default=None)),
                "not known" if n is None else f"{n:,}",
            )
        )
    note = (
        "Means over the runs that are here; memory: the most of any. Runs that ran beside "
        "others shared the processor with them."
    )
    took, n_computed = comparison.cost.get("seconds"), len(comparison.cost.get("computed", ()))
    whole = (
        (f"The last command took {format_duration(took)} and computed {n_computed} runs.",)
        if isinstance(took, int | float)
        else ()
    )
    columns = ("variant", "runs", "time per run", "tokens per second", "memory", "parameters")
    return Listing("", columns, tuple(rows), (note, *whole), frozenset(range(1, len(columns))))


def cost_figure(
    metric: MetricResult, runs: Mapping[str, Sequence[gather.GatheredRun]], where: str
) -> Figure | None:
    """Score against parameters and time, of the variants whose runs are here; None of less than
    two. runs: variant → its runs.
    """
    found = [
        VariantCost(
            row.variant, row.values, gather.parameters(of[0]), [one.result.seconds for one in of]
        )
        for row in metric.variants
        if row.values and (of := runs.get(row.variant))
    ]
    kind = catalogue.find("metrics", metric.metric)
    return figures.score_by_cost(slug(f"cost {where}"), kind, found, where=where)


def reproduction(comparison: gather.GatheredComparison) -> Iterator[Any]:
    """The commands, settings and digests with which the comparison can be repeated."""
    study = comparison.study
    typed = next(
        (
            line
            for run in comparison.runs.values()
            if (line := typed_command(run.environment, ("compare",)))
        ),
        None,
    )
    if typed is not None:
        yield Code("As it was typed when the first of its runs was computed:", typed)
    only = (
        []
        if set(study["variants"]) == {"baseline"}
        else ["--only", ",".join(name for name in study["variants"] if name != study["reference"])]
    )
    raced = ["--race"] if study.get("race") else []
    yield Code(
        "With the recipe below:",
        shlex.join(
            ["encore", "compare", f"{study['name']}.yaml", *study["overrides"], *only, *raced]
        ),
    )
    points = [
        ", ".join(f"{key}={value}" for key, value in point.items())
        for point in study["points"]
        if point
    ]
    yield Facts(
        (
            ("variants", ", ".join(study["variants"])),
            ("reference", study["reference"]),
            ("seeds", ", ".join(map(str, study["seeds"]))),
            *((("studies", "; ".join(points)),) if points else ()),
        )
    )
    own = {
        "results.json": comparison.folder / "results.json",
        "recipe.yaml": comparison.folder / "recipe.yaml",
    }
    yield digest_table(
        list(comparison.runs.values()),
        own
        | {"manifest.json (of all files of the comparison)": comparison.folder / files.MANIFEST},
    )
    yield Code(f"{study['name']}.yaml", comparison.recipe, folded=True)
