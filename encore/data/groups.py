"""The column whose rows belong together: the posts of one author, the visits of one patient. A
split, a cut or a fold has all rows of a group or none, and intervals draw groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encore.data.find_label import plain_name
from encore.data.label_cells import distinct_values, is_label_type
from encore.data.table import Table, plural
from encore.errors import DataError, Problem
from encore.types import Note

__all__ = [
    "group_notes",
    "group_numbers",
    "interval_note",
    "propose_groups",
    "read_groups",
    "require_groups",
]

_NAMES = re.compile(
    "account|author|conversation|customer|dialog(ue)?|doctor|document|hotel|participant|patient|"
    "product|reviewer|session|speaker|subject|thread|user(name)?|writer"
)
# A column called "id", or one that ends so, is one of groups where its values repeat.
_ID = re.compile(r"(^|_)(id|uid|uuid)$|[a-z]ID$|[a-z]Id$")
# With 20 groups an interval covers about 92 % instead of 95 %.
_FEW = 30
_MOST_DISTINCT = 0.9  # of the rows: an id that hardly repeats numbers the rows


def read_groups(table: Table, name: str | None) -> pa.ChunkedArray | None:
    """(rows,) strings, the group of each row, without blanks around it; null where the cell is
    empty. None where the table has no such column. Raises DataError where the column holds neither
    words nor numbers.
    """
    if name is None or name not in table.columns.column_names:
        return None
    column = table.columns[name]
    if not is_label_type(column.type) or pa.types.is_list(column.type):
        message = f"column '{name}' holds {column.type}, expected words or numbers."
        raise DataError(_refused(table.name, message, "Name another column:"))
    found = distinct_values(column)
    words = pa.array([*found.words, None], pa.string())
    named = np.array([word != "" for word in found.words] + [False])
    codes = np.where(named[found.codes], found.codes, len(found.words))
    return pa.chunked_array([words.take(pa.array(codes))])


def group_numbers(groups: pa.ChunkedArray | None) -> np.ndarray | None:
    """(rows,) int64: equal numbers for rows of one group. A row without a group is one of its own;
    None where there are no groups.
    """
    if groups is None:
        return None
    encoded = pc.dictionary_encode(groups.combine_chunks())
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone = codes < 0
    codes[alone] = len(encoded.dictionary) + np.arange(int(alone.sum()))
    return codes


def require_groups(where: str, name: str, groups: pa.ChunkedArray) -> None:
    """Raise DataError where the training rows are one group, or each is a group of its own. where:
    their file.
    """
    codes = group_numbers(groups)
    assert codes is not None
    n_groups = len(set(codes.tolist()))
    if n_groups == len(codes):
        message = f"column '{name}' has another value in every row, so no rows belong together."
        raise DataError(_refused(where, message, "Leave group out, or name another column:"))
    if n_groups == 1:
        message = f"column '{name}' has one value only, so there is no other group to measure on."
        raise DataError(_refused(where, message, "Leave group out, or name another column:"))


def _refused(where: str, message: str, remedy: str) -> Problem:
    return Problem(where=where, message=message, remedy=remedy, setting="data.group", change="NAME")


def group_notes(
    name: str, train: pa.ChunkedArray, parts: Sequence[tuple[str, pa.ChunkedArray]]
) -> Iterator[Note]:
    """Notes on rows without a group, on groups that a dev set shares with the train set, and on
    what its intervals count. parts: (name, groups) of the dev sets.
    """
    for about, groups in (("train", train), *parts):
        if groups.null_count:
            rows = plural(groups.null_count, "row")
            each = "is a group of its own" if groups.null_count == 1 else "are groups of their own"
            yield Note(f"{rows} without a value of '{name}' {each}", about=about)
    for about, groups in parts:
        yield interval_note(name, groups, about=about)
        shared = pc.is_in(groups, value_set=pc.unique(train).drop_null())
        if n_rows := pc.sum(shared).as_py():
            both = plural(len(pc.unique(groups.filter(shared))), "group")
            yield Note(
                f"{n_rows:,} of {len(groups):,} rows are of {both} of '{name}' that the train set "
                f"has too: these figures do not hold for new groups",
                about=about,
            )


def interval_note(name: str, groups: pa.ChunkedArray, *, about: str = "") -> Note:
    """The note on what intervals count."""
    n = len(pc.unique(groups.drop_null())) + groups.null_count
    few = ", which are few: intervals are too narrow" if n < _FEW else ""
    return Note(
        f"intervals draw the {plural(n, 'group')} of '{name}', not the rows{few}", about=about
    )


def propose_groups(table: Table, unused: Sequence[str]) -> Iterator[Note]:
    """A note on each unused column that seems to say which rows belong together: it is called so,
    and its values repeat. Nothing is decided by it.
    """
    for name in unused:
        kind = table.columns[name].type
        called = (
            _ID.search(name) or _ID.search(plain_name(name)) or _NAMES.fullmatch(plain_name(name))
        )
        if not called or not is_label_type(kind) or pa.types.is_list(kind):
            continue
        n_rows, n_groups = len(table), len(distinct_values(table.columns[name]).words)
        if 2 <= n_groups <= _MOST_DISTINCT * n_rows:
            yield Note(
                f"column '{name}' repeats: {n_groups:,} values in {plural(n_rows, 'row')}. If rows "
                f"with the same value belong together, add --group {name}: they then stay on one "
                f"side of every split, and intervals count groups",
                about=table.name,
            )
