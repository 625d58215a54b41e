"""`encore export` and `encore push`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.cli.output import print_json, say
from encore.export.folder import Exported, export_run
from encore.export.push import push_run

__all__ = ["ExportOptions", "export_command", "push_command", "size"]


@dataclass(frozen=True)
class ExportOptions:
    """The options that export and push share. on: a table whose texts are compared; None for the
    dev set of the run.
    """

    to: str
    task: str | None
    on: str | None
    overwrite: bool


def export_command(run: Path, target: Path, options: ExportOptions, *, json_: bool) -> None:
    """Export a run and print where it is. Raises EncoreError."""
    done = export_run(
        run,
        options.to,
        target,
        task=options.task,
        on=options.on,
        overwrite=options.overwrite,
    )
    if json_:
        print_json({"run": str(run), "folder": str(target), **_object(done), "files": done.files})
        return
    for line in _lines(done):
        say(line)
    shown = f"recipes begin with it: adapter_from: {target}"
    if done.to != "adapter":
        shown = "its README.md shows how to load it"
    say(f"exported: {target} ({size(sum(done.files.values()))}, {done.made_of}); next: {shown}")


def push_command(
    run: Path,
    repository: str,
    options: ExportOptions,
    *,
    private: bool,
    dry_run: bool,
    json_: bool,
) -> None:
    """Export a run, push it, and print where it is. Raises EncoreError."""
    done = push_run(
        run,
        repository,
        to=options.to,
        task=options.task,
        on=options.on,
        private=private,
        overwrite=options.overwrite,
        dry_run=dry_run,
    )
    if json_:
        place = {
            "run": str(run),
            "repository": repository,
            "url": done.url,
            "private": done.private,
            "dry_run": dry_run,
        }
        print_json({**place, **_object(done.exported), "files": done.files})
        return
    for line in _lines(done.exported):
        say(line)
    _print_files(done.files)
    if dry_run:
        say(
            f"not uploaded (--dry-run): {len(done.files)} files, {size(sum(done.files.values()))}, "
            f"for {repository}, {'private' if done.private else 'public'}"
        )
    else:
        say(f"pushed: {done.url}")


def _object(done: Exported) -> dict[str, Any]:
    return {
        "to": done.to,
        "class": done.made_of,
        "needs_encore": done.own_class,
        "rows_compared": done.rows,
        "largest_difference": done.difference,
        "notes": list(done.notes),
    }


def _lines(done: Exported) -> list[str]:
    what = {"scores": "outputs", "vectors": "vectors", "states": "states"}[done.how]
    rows = f"{done.rows} row{'' if done.rows == 1 else 's'} of {done.where}"
    where = "as it is read again" if done.to == "adapter" else "in a fresh process"
    lines = [
        f"checked {where}: {what} for {rows} differ from Encore's by at most {done.difference:.1g}"
    ]
    if done.own_class:
        lines.append(
            "no class of transformers computes the same, so loading it needs Encore: "
            "import encore.hf; encore.hf.register()"
        )
    return [*lines, *done.notes]


def _print_files(files: Mapping[str, int]) -> None:
    width = max(map(len, files))
    for name, n_bytes in files.items():
        say(f"  {name:{width}}  {size(n_bytes):>9}")


def size(n_bytes: int) -> str:
    """
    >>> size(410), size(92_000), size(91_300_000)
    ('410 B', '92 kB', '91.3 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1e3:.0f} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:.1f} MB"
