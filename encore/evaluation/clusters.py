"""Rows that belong together (the posts of one author, the visits of one patient), as intervals see
them: groups are drawn, not rows (Miller 2024, "Adding Error Bars to Evals", section 2.2).

Rows of one group resemble each other, so 1,000 rows of 50 authors tell less than 1,000 rows of
1,000 authors, and an interval over the rows is too narrow. Every function takes (rows,) numbers of
groups, or None where each row stands alone. Groups of one row each are the same as None, to the
bit.
"""

from __future__ import annotations

import numpy as np

__all__ = ["cluster_codes", "shares_of_groups", "units"]


def cluster_codes(groups: np.ndarray | None) -> np.ndarray | None:
    """(rows,) int64: the groups numbered from 0; None where no group has two rows."""
    if groups is None:
        return None
    distinct, codes = np.unique(groups, return_inverse=True)
    return None if len(distinct) == len(groups) else codes.reshape(-1).astype(np.int64)


def units(n_rows: int, groups: np.ndarray | None) -> np.ndarray:
    """(rows,) int64: the number of what is dealt into parts as one: the group of a row, or the row.
    Rows of a single group cannot be parted by it, and are dealt one by one.
    """
    codes = cluster_codes(groups)
    return np.arange(n_rows) if codes is None or not codes.any() else codes


def shares_of_groups(shares: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """(…, rows) shares of a metric → (…, groups): their mean is the same, and their variance /
    groups is the variance of that mean over new groups.

    The share of a group is mean + (groups / rows) · Σ (share − mean) over its rows, as in the
    cluster-robust variance of a mean (Liang and Zeger 1986): groups may differ in size.
    """
    codes = cluster_codes(groups)
    if codes is None:
        return shares
    from scipy import sparse

    n_rows, n_groups = len(codes), int(codes.max()) + 1
    of_group = sparse.csr_array(
        (np.ones(n_rows), (np.arange(n_rows), codes)), shape=(n_rows, n_groups)
    )
    mean = shares.mean(axis=-1, keepdims=True)
    sums = (shares - mean).reshape(-1, n_rows) @ of_group
    return mean + n_groups / n_rows * sums.reshape(*shares.shape[:-1], n_groups)
