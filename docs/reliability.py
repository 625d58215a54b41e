"""Writes docs/reliability.md from the counts that the tests in tests/reliability/ record.

ENCORE_RELIABILITY_LOG=counts.jsonl pytest tests/reliability
python docs/reliability.py counts.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

HEAD = """\
# Reliability

Each row is a promise, how often a test tried to break it, and how often it held. The table is
written from the counts that `tests/reliability/` records: `docs/reliability.py` shows how. The
tests draw their damage from fixed seeds. `ENCORE_FUZZ=2000` runs more of it, and
`pytest -m nightly` for more kills and full disks.

| promise | tries | survived |
|---|---:|---:|
"""


def page(lines: Iterable[str]) -> str:
    """The page, of lines of JSON. Counts of one promise are added up."""
    tries: dict[str, int] = {}
    survived: dict[str, int] = {}
    for line in lines:
        one = json.loads(line)
        promise = one["promise"].replace("|", "\\|")
        tries[promise] = tries.get(promise, 0) + one["tries"]
        survived[promise] = survived.get(promise, 0) + one["survived"]
    rows = [f"| {each} | {tries[each]:,} | {survived[each]:,} |\n" for each in sorted(tries)]
    return HEAD + "".join(rows)


def main() -> None:
    (log,) = sys.argv[1:]
    text = page(Path(log).read_text(encoding="utf-8").splitlines())
    Path(__file__).with_name("reliability.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
