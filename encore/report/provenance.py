"""The provenance of the figures of a report: data, encoder, machine, cost, digests."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from encore import files
from encore.errors import shown_command
from encore.report import gather
from encore.report.page import Facts
from encore.tables.formatting import format_duration
from encore.tables.listing import Listing

__all__ = [
    "data_table",
    "digest_table",
    "encoder_name",
    "environment_facts",
    "format_memory",
    "run_cost",
    "typed_command",
]


def data_table(runs: Sequence[gather.GatheredRun]) -> Listing:
    """The files that were read, each once, by its content."""
    rows: dict[tuple[str, ...], None] = {}
    for run in runs:
        for task, data in run.data.items():
            for split, one in data["splits"].items():
                rows[task, split, f"{one['rows']:,}", one["path"], one["sha256"][:16]] = None
    return Listing(
        "", ("task", "set", "rows", "file", "sha256 begins with"), tuple(rows), (), frozenset({2})
    )


def encoder_name(run: gather.GatheredRun) -> str:
    """The encoder of a run, without the folder that it is in."""
    if run.recipe is None:
        return f"of digest {run.identity['encoder'][:12]}"
    name = str(run.recipe.encoder)
    return Path(name).name if Path(name).is_absolute() else name


def run_cost(run: gather.GatheredRun) -> Facts:
    """Time, speed, memory and parameters of a run."""
    n = gather.parameters(run)
    return Facts(
        (
            (
                "time",
                f"{_seconds(run.result.seconds)} in all: training, evaluation, baselines, saving",
            ),
            ("speed", f"{run.result.tokens_per_second:,.0f} tokens per second of training"),
            ("memory", format_memory(run.cost.get("peak_memory_bytes"))),
            (
                "parameters",
                "not known: neither weights nor encoder are here" if n is None else f"{n:,}",
            ),
        )
    )


def environment_facts(runs: Sequence[gather.GatheredRun]) -> Facts:
    """The environment of the first run; values that differ in another are listed beside its own."""

    def values_of(key: str) -> str:
        values = list(dict.fromkeys(str(run.environment.get(key, "not known")) for run in runs))
        return ", ".join(values[:4]) + (", …" if len(values) > 4 else "")

    pairs = [
        (key, values_of(key))
        for key in ("processor", "device", "threads", "precision", "platform", "python", "encore")
    ]
    packages = runs[0].environment.get("packages", {}) if runs else {}
    return Facts(
        (
            *pairs,
            (
                "packages",
                ", ".join(f"{name} {version}" for name, version in packages.items()) or "not known",
            ),
        )
    )


def typed_command(
    environment: Mapping[str, Any], commands: Collection[str] = ("train", "compare")
) -> str | None:
    """The command as it was given; None where it was none of these, or Python that called."""
    argv = environment.get("command")
    if (
        not isinstance(argv, list)
        or len(argv) < 2
        or Path(str(argv[0])).name not in ("encore", "__main__.py")
        or argv[1] not in commands
    ):
        return None
    return shlex.join(["encore", *shown_command(map(str, argv[1:]))])


def digest_table(runs: Sequence[gather.GatheredRun], own: Mapping[str, Path]) -> Listing:
    """The digests of the data, the encoder, the tokenizer and the given files."""
    rows: dict[tuple[str, str], None] = {}
    for run in runs:
        for data in run.data.values():
            for one in data["splits"].values():
                rows[one["path"], one["sha256"]] = None
        rows[f"encoder {encoder_name(run)}", run.identity["encoder"]] = None
        rows["tokenizer", run.identity["tokeniser"]] = None
    rows |= {(name, files.sha256(file)): None for name, file in own.items() if file.is_file()}
    return Listing("Digests (sha256)", ("what", "digest"), tuple(rows))


def format_memory(n_bytes: Any) -> str:
    """Bytes in gigabytes, as a maximum."""
    return f"{n_bytes / 1e9:.2f} GB at most" if isinstance(n_bytes, int | float) else "not known"


def _seconds(seconds: float) -> str:
    return (
        f"{seconds:,.1f} s" if seconds < 120 else f"{format_duration(seconds)} ({seconds:,.0f} s)"
    )
