"""Seeded damage to tables: each is read, or refused in clear lines."""

from __future__ import annotations

import json
import random
from pathlib import Path

from reliability.command import broken_promise
from reliability.counts import n_tries, record

PIECES = (
    b"\x00", b"\xff\xfe", b"\x1b[31m", b'"', b'""', b",", b";", b"\t", b"\r", b"\n", b"\r\n",
    b"=1+1", b"9" * 400, b"-1e999", b"NaN", b"{", b"[", b"null", b"\\ud800", b"PAR1",
    "\u202e".encode(), "\u2028".encode(), b"a" * 5000, b"text", b"label", b"\xe9",
)  # fmt: skip


def healthy(draw: random.Random) -> tuple[str, bytes]:
    rows = [
        {"text": f"{'good' if row % 2 else 'bad'} film {row}", "label": "np"[row % 2]}
        for row in range(draw.choice((1, 2, 12, 40)))
    ]
    form = draw.choice((".csv", ".tsv", ".jsonl"))
    if form == ".jsonl":
        return form, "".join(json.dumps(row) + "\n" for row in rows).encode()
    cut = "," if form == ".csv" else "\t"
    lines = [cut.join(("text", "label")), *(cut.join(row.values()) for row in rows)]
    return form, ("\n".join(lines) + "\n").encode()


def damaged(data: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(len(data) + 1)
        end = place + draw.choice((0, 0, 1, 3, 20))
        data = data[:place] + draw.choice((b"", *PIECES)) + data[end:]
    return data[: draw.choice((len(data), len(data), draw.randrange(len(data) + 1)))]


def test_no_table_breaks_a_promise(tiny_encoder: Path, tmp_path: Path) -> None:
    failed, tries = {}, n_tries(100)
    for seed in range(tries):
        draw = random.Random(seed)
        form, data = healthy(draw)
        file = tmp_path / f"table{form}"
        file.write_bytes(damaged(data, draw))
        given = draw.choice(([], ["--text", "text", "--label", "label"], ["--on-bad-row", "skip"]))
        settings = [f"encoder={tiny_encoder}", "max_length=32", "threads=1", "pooling=mean"]
        if problem := broken_promise(
            ["train", str(file), *given, *settings, "--runs", str(tmp_path), "--dry-run", "-q"]
        ):
            failed[seed] = problem
    record("A damaged table is read, or refused in clear lines", tries, tries - len(failed))
    assert not failed
