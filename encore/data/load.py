"""A task's rows, ready for the tokenizer: train, one or more dev sets, and a test file that only
`open_test` opens.

Texts stay in pyarrow arrays: 100,000 reviews cost their bytes, not 100,000 Python objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data import named as named_module
from encore.data import split as splitting
from encore.data.checks import (
    check_settings,
    check_test,
    class_notes,
    conflict_note,
    copies_per_row,
    overlap_note,
)
from encore.data.columns import Columns
from encore.data.dataset import Dataset, TaskData
from encore.data.infer import infer_columns, require_text
from encore.data.labels import read_targets
from encore.data.read import read_table
from encore.data.table import (
    SKIP,
    OnBadRow,
    Table,
    complain,
    display_path,
    place,
    single_line,
    skipped_note,
)
from encore.errors import Complaints, DataError, EncoreError, did_you_mean
from encore.types import TaskKind

__all__ = ["labelled", "load_task", "open_test", "unlabelled"]

_METRICS: Mapping[TaskKind, tuple[str, ...]] = {
    "binary": ("accuracy", "f1"),
    "multiclass": ("accuracy", "macro_f1"),
    "multilabel": ("micro_f1", "macro_f1"),
    "regression": ("pearson", "spearman"),
    "unlabelled": (),
}


# ------------------------------------------------------------------------------------------ loading


def load_task(
    name: str,
    *,
    train: str | Path | None = None,
    dev: str | Path | Mapping[str, str | Path] | None = None,
    test: str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: TaskKind | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    dev_frac: float = 0.15,
    train_rows: int | None = None,
    dev_rows: int | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    on_bad_row: OnBadRow = "fail",
    normalise: str | None = None,
    metrics: Sequence[str] | None = None,
    seed: int,
    base: Path | None = None,
) -> TaskData:
    """Read a task: the files named here (relative paths stand in `base`), or the named task `name`
    where there is no `train`.

    Without a dev file a stratified part of the train file serves, `dev_frac` of its rows, copies of
    a text kept on one side; the test file is never touched. An unlabelled task has no dev set:
    there is nothing to measure. `train_rows` and `dev_rows` cut a set, stratified and seeded; a dev
    set split off is split off before the cut, so it stays the same. Raises RecipeError (settings)
    or DataError (files), with all problems at once.
    """
    check_settings(
        name,
        train,
        dev,
        text,
        text_pair,
        labels,
        kind,
        dev_frac,
        train_rows,
        dev_rows,
        normalise,
        on_bad_row,
    )
    place_of = _resolver(base)
    test_file = None if test is None else place_of(test)
    reading = {"delimiter": delimiter, "encoding": encoding, "on_bad_row": on_bad_row}
    if train is None:
        named = named_module.find_task(name, label=label)
        columns = _columns_of(named)
        how = named.normalise if normalise is None else normalise
        parts, notes = _named_parts(name, named, columns, how, on_bad_row)
        caveats = [named.official] if isinstance(named.official, str) else []
        chosen = tuple(named.metrics if metrics is None else metrics)
        group_by_text = named.negative is not None
        if test_file is not None:
            check_test(test_file, [Path(part.path) for part in parts.values()])
    else:
        how = normalise
        train_file, dev_files = place_of(train), _named_paths(dev, place_of)
        complaints = Complaints()
        found = complaints.of(
            _file_parts, train_file, dev_files, text, text_pair, label, kind, labels, how, reading
        )
        if test_file is not None:
            complaints.of(check_test, test_file, [train_file, *dev_files.values()])
        complaints.raise_any()
        assert found is not None
        columns, parts, notes = found
        chosen = tuple(_METRICS[columns.kind] if metrics is None else metrics)
        caveats = []
        group_by_text = False
        notes += conflict_note(parts["train"], columns.kind)
    if how not in (None, "none"):
        blanks = {
            "minbert": "outer blanks dropped",
            "minbert_pair": "blanks as the CS224N pair files have them",
        }
        notes.append(f"texts normalised: {how} (lower case, {blanks[how]})")
    caveats += [note for part in parts.values() for note in part.notes]
    whole = parts.pop("train")
    if not parts and columns.kind != "unlabelled":
        told = display_path(whole.path) if train else "the train file"
        whole, parts["dev"], said = _split_off(
            whole, columns, dev_frac, seed, name, told, group_by_text=group_by_text
        )
        caveats.append(said)
    caveats += [note for part in parts.values() for note in overlap_note(whole, part)]
    train_set, said_train = _cut(whole, columns.kind, train_rows, seed, name)
    cut = {key: _cut(part, columns.kind, dev_rows, seed, name) for key, part in parts.items()}
    caveats += [
        note
        for part in (train_set, *(part for part, _ in cut.values()))
        for note in class_notes(part, columns)
    ]
    caveats += [said for said in (said_train, *(said for _, said in cut.values())) if said]
    return TaskData(
        name,
        columns.space,
        train_set,
        {key: part for key, (part, _) in cut.items()},
        chosen,
        tuple(dict.fromkeys(map(single_line, [*notes, *caveats]))),
        test_file,
        columns,
        how,
        delimiter,
        encoding,
        on_bad_row,
        tuple(dict.fromkeys(map(single_line, caveats))),
    )


def open_test(data: TaskData, *, log: Callable[[str], None], keep: Sequence[str] = ()) -> Dataset:
    """Read the test file: the only place that does. What is opened is logged, with its digest,
    before anything is computed from it. `keep`: as for `labelled`.

    Raises DataError where the task has none, or where the file is wrong.
    """
    if data.test is None:
        complain([f"task '{data.name}' has no test file. Name one when training: --test FILE"])
    log(f"test file {display_path(data.test)} is opened")
    dataset = labelled(
        data.test,
        data.columns,
        normalise=data.normalise,
        name="test",
        delimiter=data.delimiter,
        encoding=data.encoding,
        on_bad_row=data.on_bad_row,
        keep=keep,
    )
    log(f"test file {display_path(data.test)}: {len(dataset):,} rows, sha256 {dataset.digest}")
    return replace(dataset, notes=(*dataset.notes, *overlap_note(data.train, dataset)))


def labelled(
    path: str | Path,
    columns: Columns,
    *,
    normalise: str | None = None,
    name: str = "labelled",
    delimiter: str | None = None,
    encoding: str | None = None,
    on_bad_row: OnBadRow = "fail",
    keep: Sequence[str] = (),
) -> Dataset:
    """A labelled file read as the training file was: same columns, same label names. `keep`:
    further columns wanted in `extra` (to slice metrics by).
    """
    table = read_table(path, delimiter=delimiter, encoding=encoding, on_bad_row=on_bad_row)
    missing = _missing(table, columns, keep=keep)
    if missing:
        complain(missing)
    dataset, problems = _build(table, columns, normalise, name, on_bad_row, keep=keep)
    if problems:
        complain(problems)
    return dataset


def unlabelled(
    source: str | Path | Sequence[str] | Sequence[tuple[str, str]],
    columns: Columns,
    *,
    normalise: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    on_bad_row: OnBadRow = "fail",
    keep_all: bool = False,
) -> Dataset:
    """Texts to predict, one row per row of the source, in its order: a file ("-": standard input),
    or texts given directly (pairs where the task has pairs).

    A blank text is a row like any other. Where the task has single texts, a file with one column
    may call it as it likes (announced in `notes`). `keep_all`: every column of the file is in
    `extra`.
    """
    if not isinstance(source, str | Path):
        return _given_texts(source, columns, normalise)
    table = read_table(source, delimiter=delimiter, encoding=encoding, on_bad_row=on_bad_row)
    names, notes = table.columns.column_names, (table.skipped,) if table.skipped else ()
    if columns.text_pair is None and columns.text not in names and len(names) == 1:
        if " " in names[0]:
            complain(
                [
                    f"{table.name}: the first line ({names[0][:60]!r}) looks like a text, not "
                    f"like a column name. Put the name on top: {columns.text}"
                ]
            )
        columns, notes = (
            replace(columns, text=names[0]),
            (f"column '{names[0]}' is taken for the text", *notes),
        )
    missing = _missing(table, columns, label=False)
    if missing:
        complain(missing)
    texts = _texts(table, columns.text, normalise)
    pairs = None if columns.text_pair is None else _texts(table, columns.text_pair, normalise)
    extra = {name: table.columns[name] for name in names} if keep_all else {}
    return Dataset(
        "predict",
        texts,
        pairs,
        None,
        table.rows,
        table.digest,
        str(table.path),
        table.lines,
        extra,
        notes,
        _how_read(table),
    )


def _resolver(base: Path | None) -> Callable[[str | Path], Path]:
    def resolve(path: str | Path) -> Path:
        return Path(path) if str(path) == "-" else Path(base or "") / Path(path).expanduser()

    return resolve


def _named_paths(dev: Any, place_of: Callable[[str | Path], Path]) -> dict[str, Path]:
    if dev is None:
        return {}
    if isinstance(dev, str | Path):
        return {"dev": place_of(dev)}
    return {str(key): place_of(path) for key, path in dev.items()}


# ------------------------------------------------------------------------------- tables to datasets


def _columns_of(task: named_module.NamedTask) -> Columns:
    cells = {label: index for index, label in enumerate(task.labels)}
    cells |= dict(task.cells) or {str(index): index for index in range(len(task.labels))}
    return Columns(
        task.text,
        task.text_pair,
        None if task.kind == "unlabelled" else task.label,
        task.kind,
        task.labels,
        task.ordered,
        cells,
    )


def _named_parts(
    name: str,
    task: named_module.NamedTask,
    columns: Columns,
    normalise: str | None,
    on_bad_row: OnBadRow,
) -> tuple[dict[str, Dataset], list[str]]:
    parts: dict[str, Dataset] = {}
    problems: list[str] = []
    for split in task.files:
        try:
            parts[split], wrong = _build(
                named_module.read_split(name, task, split), columns, normalise, split, on_bad_row
            )
            problems += wrong
        except DataError as error:
            problems += error.lines
    if problems:
        complain(problems)
    return parts, [*([task.official] if isinstance(task.official, str) else []), *task.notes]


def _file_parts(
    train: Path,
    dev: Mapping[str, Path],
    text: Any,
    text_pair: Any,
    label: Any,
    kind: Any,
    labels: Any,
    normalise: str | None,
    reading: Mapping[str, Any],
) -> tuple[Columns, dict[str, Dataset], list[str]]:
    """The columns, the train part and the dev parts of the user's files; all that is wrong with any
    of them is raised together.
    """
    problems: list[str] = []
    read: dict[str, Table] = {}
    partly = set()
    for key, path in {"train": train, **dev}.items():
        try:
            read[key] = read_table(path, **reading)
        except DataError as error:
            problems += error.lines
            if reading["on_bad_row"] == "fail" and str(path) != "-":
                with contextlib.suppress(
                    DataError
                ):  # the rows that can be read are checked too, so that nobody repairs a file twice
                    read[key] = read_table(path, **{**reading, "on_bad_row": "skip"})
                    partly.add(key)
    columns: Columns | None = None
    if "train" in read:
        try:
            columns = infer_columns(
                read["train"], text=text, text_pair=text_pair, label=label, kind=kind, labels=labels
            )
        except EncoreError as error:
            # Of a file of which only some rows could be read, no more is said than what its header
            # says.
            header = read["train"].columns.column_names
            if "train" not in partly or any(
                name not in header for name in (text, text_pair, label) if name is not None
            ):
                problems += error.lines
    parts: dict[str, Dataset] = {}
    if columns is not None:
        for key, table in read.items():
            missing = _missing(table, columns)
            if missing:
                problems += missing
                continue
            try:
                parts[key], wrong = _build(table, columns, normalise, key, reading["on_bad_row"])
                problems += wrong
            except DataError as error:
                problems += error.lines
    if len({path.resolve() for path in dev.values()} | {train.resolve()}) < 1 + len(dev):
        problems.append(
            f"{display_path(train)}: two of data.train and data.dev are the same file. Leave "
            f"data.dev "
            f"out: a part of the train file serves then."
        )
    if problems or columns is None:
        complain(problems)
    return columns, parts, [*(_how_read(table) for table in read.values()), *columns.notes]


def _how_read(table: Table) -> str:
    return ", ".join(
        [
            f"{table.name}: {len(table):,} row{'' if len(table) == 1 else 's'}",
            *(note for note in table.notes if note != table.skipped),
        ]
    )


def _missing(
    table: Table, columns: Columns, *, label: bool = True, keep: Sequence[str] = ()
) -> list[str]:
    names = table.columns.column_names
    wanted = [columns.text, columns.text_pair, columns.label if label else None, *keep]
    roles = {
        columns.text: "the text",
        columns.text_pair: "the second text",
        columns.label: "the label",
    }
    return [
        f"{table.name}: no column '{name}' ({roles.get(name, 'asked for')}). "
        f"{did_you_mean(name, names)}"
        for name in dict.fromkeys(wanted)
        if name is not None and name not in names
    ]


def _build(
    table: Table,
    columns: Columns,
    normalise: str | None,
    name: str,
    on_bad_row: OnBadRow,
    *,
    keep: Sequence[str] = (),
) -> tuple[Dataset, list[str]]:
    """A dataset, and what is wrong with its rows; with `skip` the wrong rows are dropped and noted
    instead.
    """
    texts = _texts(table, columns.text, normalise)
    pairs = None if columns.text_pair is None else _texts(table, columns.text_pair, normalise)
    targets, problems = read_targets(table, columns)
    for column, values in ((columns.text, texts), (columns.text_pair, pairs)):
        if values is not None:
            for row in np.flatnonzero(
                pc.equal(pc.utf8_trim_whitespace(values), "").to_numpy()
            ).tolist():
                problems.setdefault(
                    row, f"{place(table, row)} column '{column}': the text is blank. {SKIP}"
                )
    extra = {word: table.columns[word] for word in keep}
    notes = (table.skipped,) if table.skipped else ()
    dataset = Dataset(
        name,
        texts,
        pairs,
        targets,
        table.rows,
        table.digest,
        str(table.path),
        table.lines,
        extra,
        notes,
        _how_read(table),
    )
    if not problems:
        return dataset, []
    listed = [problems[row] for row in sorted(problems)]
    if on_bad_row == "fail":
        return dataset, listed
    good = np.setdiff1d(np.arange(len(dataset)), np.fromiter(problems, dtype=np.int64))
    if not len(good):
        return dataset, [f"{table.name}: every row is bad; nothing is left to use.", *listed]
    return replace(dataset.take(good), notes=(*notes, skipped_note(table.name, listed))), []


def _texts(table: Table, name: str, normalise: str | None) -> pa.ChunkedArray:
    require_text(table, [name])
    column = table.columns[name]
    if column.null_count:
        column = pc.fill_null(column, "")
    return _normalised(column, normalise)


def _normalised(column: pa.ChunkedArray, how: str | None) -> pa.ChunkedArray:
    if how is None or how == "none":
        return column
    chunks = [
        pa.array(
            [named_module.normalise_text(value, how) for value in chunk.to_pylist()], column.type
        )
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=column.type)


def _given_texts(source: Sequence[Any], columns: Columns, normalise: str | None) -> Dataset:
    want_pair = columns.text_pair is not None
    problems = []
    for position, item in enumerate(source):
        is_pair = (
            isinstance(item, tuple | list)
            and len(item) == 2
            and all(isinstance(part, str) for part in item)
        )
        if want_pair and not is_pair:
            problems.append(
                f"text {position}: expected a pair of texts (text, text_pair), got "
                f"{type(item).__name__}"
            )
        elif not want_pair and not isinstance(item, str):
            problems.append(f"text {position}: expected a string, got {type(item).__name__}")
    if problems:
        complain(problems)
    try:
        first = pa.chunked_array(
            [pa.array([item[0] if want_pair else item for item in source], pa.string())]
        )
        second = (
            pa.chunked_array([pa.array([item[1] for item in source], pa.string())])
            if want_pair
            else None
        )
    except UnicodeEncodeError as error:
        raise DataError(
            f"a text holds half of a surrogate pair "
            f"({error.object[error.start : error.end]!r}), which is no character."
        ) from None
    rows = np.arange(len(first))
    return Dataset(
        "predict",
        _normalised(first, normalise),
        None if second is None else _normalised(second, normalise),
        None,
        rows,
        "",
        "given texts",
    )


# ---------------------------------------------------------------------------- splitting and cutting


def _split_off(
    whole: Dataset,
    columns: Columns,
    frac: float,
    seed: int,
    name: str,
    file: str,
    *,
    group_by_text: bool,
) -> tuple[Dataset, Dataset, str]:
    groups = copies_per_row(whole, by_text=group_by_text)
    if groups.max() == 0:
        complain(
            [
                f"{file}: all {len(whole)} rows hold the same text; there is nothing to split "
                f"off as a dev set. Give a dev file: data.dev=FILE"
            ]
        )
    assert whole.targets is not None
    train, dev = splitting.stratified_split(
        whole.targets, columns.kind, frac, seed, groups, purpose=name
    )
    n_copies = len(groups) - int(groups.max()) - 1
    kept = (
        f"; {n_copies:,} row{'s repeat' if n_copies > 1 else ' repeats'} a text and "
        f"stay{'' if n_copies > 1 else 's'} with it"
        if n_copies
        else ""
    )
    how = "by tenths of the value" if columns.kind == "regression" else "stratified"
    said = (
        f"dev: {len(dev):,} of the {len(whole):,} rows of {file} "
        f"({len(dev) / len(whole):.0%}, {how}, seed {seed}{kept})"
    )
    return whole.take(train), replace(whole.take(dev), name="dev"), said


def _cut(
    part: Dataset, kind: TaskKind, n: int | None, seed: int, name: str
) -> tuple[Dataset, str | None]:
    if n is None:
        return part, None
    if n >= len(part):
        return part, f"{part.name}: {n:,} rows asked for, all {len(part):,} used" if n > len(
            part
        ) else None
    targets, how = (
        (np.zeros(len(part)), "drawn") if part.targets is None else (part.targets, "stratified")
    )
    kept = splitting.stratified_subset(targets, kind, n, seed, purpose=f"{name}/{part.name}")
    return part.take(kept), f"{part.name} cut to {n:,} of {len(part):,} rows ({how}, seed {seed})"
