"""Exports a run as a folder that other libraries load. It is written beside its place, loaded by a
fresh process, compared with Encore, and only then moved there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encore import files
from encore.errors import Complaints, DataError, RecipeError, did_you_mean
from encore.export.check import (
    ReferenceOutputs,
    compare_outputs,
    outputs_in_fresh_process,
    read_again,
    reference_outputs,
    version_of,
)
from encore.export.write import Outputs, expressible, outputs_of, write_export
from encore.runs.contents import EXPORT_MARK, foreign_files
from encore.runs.folder import read_result
from encore.runs.loaded_task import LoadedTask
from encore.runs.places import enclosing_result
from encore.runs.predict import Model, load

__all__ = ["Exported", "KINDS", "OLDEST", "export_run", "ready"]


KINDS = {
    "hf": "transformers",
    "sentence-transformers": "sentence_transformers",
    "peft": "peft",
    "adapter": "",
}  # what --to may say → what has to be installed
OLDEST = {
    "transformers": "5.0",
    "sentence_transformers": "5.3",
    "peft": "0.18",
}  # the first is that of the extra `hf`


@dataclass(frozen=True)
class Exported:
    """A finished export. difference: the largest between Encore's numbers and those of the folder,
    over `rows` rows. how: the numbers.
    """

    folder: Path
    to: str
    made_of: str
    own_class: bool
    rows: int
    where: str
    difference: float
    notes: tuple[str, ...]
    how: Outputs = "scores"

    @property
    def files(self) -> dict[str, int]:
        """Name and size in bytes of every file, the largest last."""
        found = {
            str(file.relative_to(self.folder)): file.stat().st_size
            for file in self.folder.rglob("*")
            if file.is_file()
        }
        return dict(sorted(found.items(), key=lambda entry: (entry[1], entry[0])))


def export_run(
    run: str | Path,
    to: str,
    target: str | Path,
    *,
    task: str | None = None,
    on: str | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Exported:
    """Write, load again, compare, move into place. on: a table with other texts to compare on than
    the dev set's; name: what the card's code loads, by default the folder's name.

    Raises RecipeError, DataError or TrainingError before or while it writes; EncoreError where the
    folder does not give Encore's numbers. The target is then as it was.
    """
    target = Path(target)
    model, chosen, answered = ready(run, to, target, task=task, on=on, overwrite=overwrite)
    with files.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _placed(target, overwrite=overwrite) as being_written:
        files.write_json(being_written / EXPORT_MARK, {"to": to, "task": chosen.name})
        written = write_export(
            model, chosen, to, being_written, name=name or target.name, rounding=answered.rounding
        )
        if to == "adapter":
            found = read_again(written, chosen, answered)
        else:
            (found,) = outputs_in_fresh_process([(written, answered)])
        difference = compare_outputs(target, answered, found)
    return Exported(
        target,
        to,
        written.made_of,
        written.own_class,
        len(answered.store),
        answered.where,
        difference,
        written.limits,
        written.how,
    )


def ready(
    run: str | Path,
    to: str,
    target: Path,
    *,
    task: str | None = None,
    on: str | None = None,
    overwrite: bool = False,
) -> tuple[Model, LoadedTask, ReferenceOutputs]:
    """The model, its task and Encore's outputs, if nothing prevents the export. Writes nothing;
    raises all that `export_run` raises before it writes.
    """
    run = Path(run)
    complaints = Complaints()
    with complaints.collecting():
        _installed(to)
    with complaints.collecting():
        _free(target, overwrite=overwrite)
    with complaints.collecting():
        read_result(run)
    complete = not complaints.errors
    with complaints.collecting():
        if complete:  # else the model cannot be loaded either, or not be exported
            model = load(run)
            chosen = model.task(task)
            expressible(run, chosen, to)
            reference = reference_outputs(model, chosen, outputs_of(run, chosen, to), on=on)
    complaints.raise_any()
    return model, chosen, reference


def _installed(to: str) -> None:
    if to not in KINDS:
        raise RecipeError(f"--to: no format called '{to}'. {did_you_mean(to, list(KINDS))}")
    problems = []
    needed = ("transformers", KINDS[to]) if KINDS[to] else ()
    for name in dict.fromkeys(needed):
        version, wanted = version_of(name), OLDEST[name]
        if version is None or [int(part) for part in version.split(".")[:2]] < [
            int(part) for part in wanted.split(".")
        ]:
            found = f"{version} is installed" if version else "it is not installed"
            package = name.replace("_", "-")
            problems.append(
                f"--to {to} needs {package} {wanted} or newer, and {found}. Run: pip install "
                f"'{package}>={wanted}'"
            )
    if problems:
        raise DataError(problems)


def _free(target: Path, *, overwrite: bool) -> None:
    """Raises RecipeError where other files are in the way. Only an earlier export is ever
    replaced.
    """
    if target.is_symlink():
        raise RecipeError(f"{target}: this is a link; name the folder itself, or another one.")
    if target.is_file():
        raise RecipeError(f"{target}: this is a file; name a folder.")
    if (owner := enclosing_result(target)) is not None:
        where, kind = owner
        raise RecipeError(f"{target}: this is in the {kind} {where}. Name a folder outside of it.")
    if (
        target.resolve() == Path.cwd()
    ):  # the export replaces the folder, and nobody's working directory is taken away
        raise RecipeError(f"{target}: this is the current working directory; name a new folder.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise RecipeError(
            f"{target}: exists and is not empty. Name another folder, or pass --overwrite "
            f"to replace an earlier export."
        )
    others = foreign_files(target, "export")
    if others:
        listed = f"{', '.join(others[:5])}{', …' if len(others) > 5 else ''}"
        raise RecipeError(
            f"{target}: contains files that no export wrote ({listed}). Remove them "
            f"yourself, or name another folder."
        )


@contextmanager
def _placed(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to fill that takes the target's place at the end, whole, with its manifest."""
    aside = target.parent / f".{target.name}.new"
    files.remove(aside)
    with files.commit_folder(aside) as being_written:
        yield being_written
        _free(target, overwrite=overwrite)  # it may have been filled in between
    files.remove(target)
    os.rename(aside, target)
