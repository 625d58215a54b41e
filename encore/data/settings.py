"""The settings of a task's data, checked before a file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from encore.errors import Problem, RecipeError, did_you_mean
from encore.types import DEFAULTS, TaskKind

__all__ = ["NORMALISATIONS", "DataSettings", "OnBadRow", "Reading", "check_settings"]

NORMALISATIONS = ("none", "minbert", "minbert_pair")
OnBadRow = Literal["fail", "skip"]


class Reading(TypedDict, total=False):
    """The settings by which one file is read; see `DataSettings`."""

    delimiter: str | None
    encoding: str | None
    skip_lines: int
    sheet: str | int | None
    on_bad_row: OnBadRow


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The rows that a task trains on and is scored on, and the way to read its files.

    train, dev, test: files, relative to `base` ("-": standard input); dev: one, or several by
        name. Without `train` the task is a named one, which brings its own files.
    text, text_pair, label: columns; inferred where None. negative: the column of texts that do not
        belong to `text`, of an unlabelled task.
    group: the column whose rows belong together: no split parts them, and intervals count groups.
    kind, labels: the kind of task and its label names in order, or {cell: name}; inferred where
        None.
    ordered: the labels have an order, as stars have; inferred from the column's name where None.
    label_separator: between the labels of a cell. merge_labels: spellings that differ in capitals
        and blanks are one label.
    dev_frac: the part of the train file that is the dev set where there is no dev file.
    fold: "2/5": the second of five parts of the train file is the dev set.
    train_rows, dev_rows: the number of rows that a set is cut to.
    more: further files of training rows, with the columns of `train`. They are read after the dev
        set was split off and the train set was cut; their new labels come after the others.
    only_more: the number of files, the last of `more`, that are trained on alone; 0: all rows.
    delimiter, encoding: of csv and tsv files; detected where None.
    skip_lines: lines above the column names, as spreadsheets have them.
    sheet: of a workbook, its name or number from 1; the first that holds rows where None.
    on_bad_row: "fail" reports rows that cannot be used, "skip" leaves them out.
    normalise: one of `NORMALISATIONS`; None: the named task's own.
    seed: of the split and of the cuts.
    metrics: their names, the deciding one first; None: those of the named task or of the kind.
    """

    train: str | Path | None = None
    dev: str | Path | Mapping[str, str | Path] | None = None
    test: str | Path | None = None
    text: str | None = None
    text_pair: str | None = None
    negative: str | None = None
    label: str | None = None
    group: str | None = None
    kind: TaskKind | None = None
    labels: tuple[str, ...] | Mapping[str, str] | None = None
    ordered: bool | None = None
    label_separator: str = ";"
    merge_labels: bool = False
    dev_frac: float = DEFAULTS.dev_frac
    fold: str | None = None
    train_rows: int | None = None
    dev_rows: int | None = None
    more: tuple[str | Path, ...] = ()
    only_more: int = 0
    delimiter: str | None = None
    encoding: str | None = None
    skip_lines: int = 0
    sheet: str | int | None = None
    on_bad_row: OnBadRow = "fail"
    normalise: str | None = None
    seed: int
    metrics: tuple[str, ...] | None = None
    base: Path | None = None

    def path(self, given: str | Path) -> Path:
        """A path of these settings as the operating system understands it."""
        if str(given) == "-":
            return Path(given)
        return Path(self.base or "") / Path(given).expanduser()

    @property
    def reading(self) -> Reading:
        """The settings by which each file is read."""
        return {
            "delimiter": self.delimiter,
            "encoding": self.encoding,
            "skip_lines": self.skip_lines,
            "sheet": self.sheet,
            "on_bad_row": self.on_bad_row,
        }

    @property
    def dev_files(self) -> dict[str, Path]:
        """{name: dev file}; a single one is called "dev"."""
        if self.dev is None:
            return {}
        if isinstance(self.dev, str | Path):
            return {"dev": self.path(self.dev)}
        return {str(name): self.path(file) for name, file in self.dev.items()}

    @property
    def reads_standard_input(self) -> bool:
        """Standard input is one of the files, so they cannot be read a second time."""
        files = self.dev.values() if isinstance(self.dev, Mapping) else (self.dev,)
        return "-" in (str(self.train), *map(str, files), *map(str, self.more))


def check_settings(name: str, settings: DataSettings, *, is_named: bool) -> None:
    """Raise RecipeError with all that is wrong with a task's settings.

    is_named: there is a named task called `name`.
    """
    problems = _fixed_by_the_task(name, settings) if is_named and settings.train is None else []
    problems += _wrong_dev_sets(settings.dev)
    if not 0.0 < settings.dev_frac < 1.0:
        problems.append(
            Problem(
                setting="data.dev_frac",
                expected="a number between 0 and 1",
                got=str(settings.dev_frac),
            )
        )
    for key in ("train_rows", "dev_rows"):
        count = getattr(settings, key)
        if count is not None and (not isinstance(count, int) or count < 2):
            problems.append(
                Problem(
                    setting=f"data.{key}", expected="a whole number of 2 or more", got=str(count)
                )
            )
    if settings.only_more > len(settings.more):
        expected = f"at most the {len(settings.more)} files of data.more"
        got = str(settings.only_more)
        problems.append(Problem(setting="data.only_more", expected=expected, got=got))
    if settings.normalise is not None and settings.normalise not in NORMALISATIONS:
        problems.append(
            Problem(
                setting="data.normalise",
                message=f"no normalisation called '{settings.normalise}'.",
                remedy=did_you_mean(str(settings.normalise), NORMALISATIONS),
            )
        )
    if settings.on_bad_row not in ("fail", "skip"):
        problems.append(
            Problem(
                setting="data.on_bad_row", expected="fail or skip", got=f"'{settings.on_bad_row}'"
            )
        )
    if problems:
        raise RecipeError(problems)


def _fixed_by_the_task(name: str, settings: DataSettings) -> list[Problem]:
    return [
        Problem(
            message=f"task '{name}' brings its own data.{key}; leave it out, or name a file of "
            f"your own:",
            setting="data.train",
            change="FILE",
        )
        for key in (
            "dev",
            "text",
            "text_pair",
            "labels",
            "kind",
            "ordered",
            "label_separator",
            "merge_labels",
            "skip_lines",
            "sheet",
        )
        if getattr(settings, key) != getattr(DataSettings, key)
    ]


def _wrong_dev_sets(dev: object) -> list[Problem]:
    if not isinstance(dev, Mapping):
        return []
    if not dev:
        return [
            Problem(
                setting="data.dev",
                expected="one dev set or more",
                got="none",
                remedy="Leave it out to have one split off.",
            )
        ]
    return [
        Problem(
            setting=f"data.dev.{name}",
            message=f"a dev set cannot be called '{name}'; choose another name.",
        )
        for name in dev
        if name in ("train", "test")
    ]
