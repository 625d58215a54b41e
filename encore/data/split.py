"""Splits off dev sets, cuts sets and makes folds: the same label mix on all sides, a pure function
of the targets and the seed.

No library does this here: with another version of it the same seed would give other rows, and all
results would change.

Single labels: each class gives its share (largest remainder). Regression: ten slices of equal size
take the place of classes. Multi-label: iterative stratification (Sechidis, Tsoumakas and Vlahavas
2011): the rarest label is dealt out first, each example to the side that wants it most. Groups
whose rows have several labels are dealt out likewise, the largest first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from encore.rng import generator
from encore.types import TaskKind

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["stratified_folds", "stratified_split", "stratified_subset"]

_SLICES = 10


def stratified_split(
    targets: np.ndarray,
    kind: TaskKind,
    frac: float,
    seed: int,
    groups: np.ndarray | None = None,
    *,
    mixed: bool = False,
    purpose: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into train and dev, and return the row numbers of each, ascending; dev holds
    `frac` of the rows, as nearly as whole groups allow.

    targets: (rows,) or (rows, labels). groups: (rows,) int, rows of one group stay on one side
    (copies of a text). mixed: the rows of a group may differ in their targets (the posts of an
    author); else every class with two groups or more is on both sides. `purpose` names the stream,
    so that two tasks of one seed are split independently.
    """
    n_rows = len(targets)
    if not 0.0 < frac < 1.0:
        raise ValueError(f"frac: expected a number between 0 and 1, got {frac}")
    if n_rows < 2:
        raise ValueError(f"a split needs two rows or more, got {n_rows}")
    members = np.arange(n_rows) if groups is None else _numbered(groups)
    rng = generator(seed, "split", purpose)
    n = min(max(round(frac * n_rows), 1), n_rows - 1)
    in_dev = _pick(targets, kind, members, n, rng, both_sides=True, mixed=mixed)
    return np.flatnonzero(~in_dev), np.flatnonzero(in_dev)


def stratified_folds(
    targets: np.ndarray,
    kind: TaskKind,
    n_folds: int,
    seed: int,
    groups: np.ndarray | None = None,
    *,
    purpose: str = "",
) -> np.ndarray:
    """(rows,) int64: the fold of each row, from 0. Folds are as equal in size and in their mix as
    whole groups allow, and none is empty. Arguments are those of `stratified_split`; needs as many
    groups as folds. Largest and rarest groups are dealt out first, each to the fold that lacks its
    labels most; scikit-learn's StratifiedGroupKFold takes neither values nor several labels.
    """
    from scipy import sparse

    members = np.arange(len(targets)) if groups is None else _numbered(groups)
    sizes = np.bincount(members)
    if not 2 <= n_folds <= len(sizes):
        raise ValueError(f"n_folds: expected 2 to {len(sizes)}, got {n_folds}")
    counts = sparse.hstack([_label_counts(targets, kind, members), sizes[:, None]], format="csr")
    shares = counts.multiply(1 / np.maximum(counts.sum(axis=0), 1)).tocsr()
    order = generator(seed, "folds", purpose).permutation(len(sizes))
    order = order[np.argsort(-shares.sum(axis=1)[order], kind="stable")]
    fold_of, dealt = np.empty(len(sizes), dtype=np.int64), np.zeros((n_folds, shares.shape[1]))
    for group in order.tolist():
        own = slice(*shares.indptr[group : group + 2])
        labels, share = shares.indices[own], shares.data[own]
        # The fold that raises the sum of all squared shares least; an empty one raises none.
        fold = int(np.argmin(dealt[:, labels] @ share))
        fold_of[group] = fold
        dealt[fold, labels] += share
    return fold_of[members]


def _numbered(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def stratified_subset(
    targets: np.ndarray,
    kind: TaskKind,
    n: int,
    seed: int,
    groups: np.ndarray | None = None,
    *,
    purpose: str = "",
) -> np.ndarray:
    """Draw exactly `n` rows and return their numbers, ascending; all rows where there are no more
    than `n`. groups: (rows,) int, whole groups are drawn, about `n` rows and one group at least.
    """
    n_rows = len(targets)
    if n < 1:
        raise ValueError(f"n: expected 1 or more, got {n}")
    if n >= n_rows:
        return np.arange(n_rows)
    rng = generator(seed, "subset", purpose)
    members, mixed = np.arange(n_rows) if groups is None else _numbered(groups), groups is not None
    picked = _pick(targets, kind, members, n, rng, both_sides=False, mixed=mixed)
    return np.flatnonzero(picked if picked.any() else members == np.argmin(np.bincount(members)))


def _pick(
    targets: np.ndarray,
    kind: TaskKind,
    members: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    both_sides: bool,
    mixed: bool,
) -> np.ndarray:
    """(rows,) bool: the `n` rows that are picked (about `n` where groups are larger than one
    row).
    """
    sizes = np.bincount(members)
    if kind == "multilabel" or (mixed and len(sizes) < len(members)):
        counts = _label_counts(targets, kind, members).toarray()
        picked = _deal(counts, sizes, n, rng, largest_first=mixed)
    else:
        classes = _classes(targets, kind)
        first = np.full(len(sizes), -1, dtype=np.int64)
        first[members[::-1]] = classes[::-1]  # a group's class is its first row's
        picked = _per_class(first, sizes, n, rng, both_sides=both_sides)
    if both_sides and picked.all():  # no side is empty; a single group is train's
        picked[rng.integers(len(sizes))] = False
    elif both_sides and not picked.any() and len(sizes) > 1:
        picked[rng.integers(len(sizes))] = True
    return picked[members]


def _classes(targets: np.ndarray, kind: TaskKind) -> np.ndarray:
    """(rows,) int: the class of each row, or the tenth of its value."""
    return _slices(targets) if kind == "regression" else _numbered(targets)


def _label_counts(targets: np.ndarray, kind: TaskKind, members: np.ndarray) -> sparse.csr_array:
    """(groups, labels): how many rows of a group carry a label."""
    from scipy import sparse

    if kind == "multilabel":
        rows, labels = np.nonzero(targets)
    else:
        rows, labels = np.arange(len(targets)), _classes(targets, kind)
    shape = (
        int(members.max()) + 1,
        targets.shape[1] if kind == "multilabel" else int(labels.max()) + 1,
    )
    return sparse.csr_array((np.ones(len(rows)), (members[rows], labels)), shape=shape)


def _slices(values: np.ndarray) -> np.ndarray:
    """(rows,) int: which tenth of the sorted values a row falls into; equal values share a
    slice.
    """
    order = np.sort(values)
    edges = np.unique(order[[len(order) * part // _SLICES for part in range(1, _SLICES)]])
    return np.searchsorted(edges, values, side="right")


def _per_class(
    classes: np.ndarray, sizes: np.ndarray, n: int, rng: np.random.Generator, *, both_sides: bool
) -> np.ndarray:
    """(groups,) bool. Quotas by largest remainder over the classes' rows, filled with groups in
    random order.
    """
    kinds = np.unique(classes)
    rows_of = np.array([sizes[classes == kind].sum() for kind in kinds])
    groups_of = np.array([(classes == kind).sum() for kind in kinds])
    quotas = _quotas(rows_of, n)
    if both_sides:
        quotas = np.where(
            groups_of > 1, np.clip(quotas, 1, rows_of - 1), 0
        )  # a class of one group can be on one side only: train learns it
    picked = np.zeros(len(sizes), dtype=bool)
    for kind, quota in zip(kinds, quotas, strict=True):
        order = rng.permutation(np.flatnonzero(classes == kind))
        spare, left = len(order), int(quota)
        for group in order:
            if left <= 0 or (both_sides and spare <= 1):
                break
            if sizes[group] <= left or (both_sides and not picked[order].any() and spare == 2):
                picked[group] = True
                left -= int(sizes[group])
                spare -= 1
    return picked


def _quotas(rows: np.ndarray, n: int) -> np.ndarray:
    """Whole numbers that add up to `n`, in the proportion of `rows`; the largest remainders are
    rounded up, ties by position.
    """
    exact = rows * (n / rows.sum())
    quotas = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - quotas), kind="stable")
    quotas[order[: n - int(quotas.sum())]] += 1
    return np.minimum(quotas, rows)


def _deal(
    counts: np.ndarray,
    sizes: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    largest_first: bool = False,
) -> np.ndarray:
    """(groups,) bool by iterative stratification. counts: (groups, labels), how many rows of a
    group carry a label.
    """
    total_rows = int(sizes.sum())
    share = np.array([1.0 - n / total_rows, n / total_rows])
    wanted = share[:, None] * counts.sum(axis=0)  # (2, labels): what each side still wants
    room = share * total_rows  # rows that each side still wants
    side = np.full(len(sizes), -1, dtype=np.int64)
    left = counts.sum(axis=0)
    order = rng.permutation(len(sizes))
    if largest_first:  # small groups make up for what large ones could not share out
        order = order[np.argsort(-sizes[order], kind="stable")]
    coin = rng.random(len(sizes))
    while (left > 1e-9).any():
        label = int(np.argmin(np.where(left > 1e-9, left, np.inf)))
        for group in order[(side[order] < 0) & (counts[order, label] > 0)]:
            wish = wanted[:, label]
            best = (
                int(wish[1] > wish[0])
                if wish[0] != wish[1]
                else int(room[1] > room[0])
                if room[0] != room[1]
                else int(coin[group] < share[1])
            )
            side[group] = best
            wanted[best] -= counts[group]
            room[best] -= sizes[group]
            left -= counts[group]
    for group in order[side[order] < 0]:  # rows without a label: the side that is short of rows
        best = int(room[1] > room[0]) if room[0] != room[1] else int(coin[group] < share[1])
        side[group] = best
        room[best] -= sizes[group]
    return _exact(side == 1, counts, sizes, n, order)


def _exact(
    picked: np.ndarray, counts: np.ndarray, sizes: np.ndarray, n: int, order: np.ndarray
) -> np.ndarray:
    """Move single-row groups, those with the fewest labels first, until `n` rows are picked
    (dealing may miss it by a few); never empties a side.
    """
    picked = picked.copy()
    light = order[np.argsort(counts[order].sum(axis=1), kind="stable")]
    for group in light:
        excess = int(sizes[picked].sum()) - n
        if excess == 0:
            break
        if sizes[group] == 1 and bool(picked[group]) == (excess > 0):
            picked[group] = not picked[group]
    return picked
