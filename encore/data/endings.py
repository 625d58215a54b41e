"""Endings of files."""

from __future__ import annotations

__all__ = ["TABLE_ENDINGS"]

# Those that hints name as tables; of .json files few are one.
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx", ".xls")
