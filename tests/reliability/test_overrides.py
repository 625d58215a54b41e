"""Seeded overrides, sensible and not: each is taken, or refused in clear lines."""

from __future__ import annotations

import random
from pathlib import Path

from conftest import Tables

from reliability.command import broken_promise
from reliability.counts import n_tries, record

KEYS = (
    "plan.lr", "plan.epochs", "plan.batch_size", "plan.curve", "plan.mixing", "pooling", "head",
    "losses", "metrics", "seed", "threads", "max_length", "precision", "encoder", "data.kind",
    "data.labels", "data.dev_frac", "tasks.train.pooling", "tasks", "plan", "data", "pooling.k",
    "lr", "epochs", "", ".", "plan.", "a.b.c.d", "plan.lr.x", "\x1b[1m", "\u202e", "é", "search",
)  # fmt: skip
VALUES = (
    "", "1", "0", "-1", "1e-3", "nan", "inf", "-inf", "1e999", "9" * 400, "mean", "max_cls",
    "{name: max_cls, k: 2}", "{name: max_cls, k: 99}", "[1,2]", "[]", "{}", "{", "]", "null", "yes",
    "'", "&a 1", "*a", "!!python/object:os.system x", "\x1b[31m", "\u202e", "a" * 5000, "0x10",
    "1_000", "linear", "multilabel", "regression", "../..", "/dev/null", "=", "a=b", "accuracy",
)  # fmt: skip


def test_no_override_breaks_a_promise(tables: Tables, tiny_encoder: Path, tmp_path: Path) -> None:
    failed, tries = {}, n_tries(100)
    for seed in range(tries):
        draw = random.Random(seed)
        overrides = [
            f"{draw.choice(KEYS)}={draw.choice(VALUES)}" for _ in range(draw.choice((1, 1, 2, 4)))
        ]
        files = [str(tables.train), "--dev", str(tables.dev), "--text", "text"]
        settings = [f"encoder={tiny_encoder}", "max_length=32", "threads=1", "plan.epochs=1"]
        command = ["train", *files, "--label", "verdict", *settings, *overrides]
        if problem := broken_promise([*command, "--runs", str(tmp_path), "--dry-run", "-q"]):
            failed[seed] = (overrides, problem)
    record("An override is taken, or refused in clear lines", tries, tries - len(failed))
    assert not failed
