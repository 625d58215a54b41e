"""Seeded damage to recipes: each loads, or is refused in clear lines."""

from __future__ import annotations

import random
from pathlib import Path

from conftest import Tables

from reliability.command import broken_promise
from reliability.counts import n_tries, record

PIECES = (
    "\x00", "\x1b[31m", "\u202e", "\t", "\n", ": ", "- ", "{", "}", "[", "]", "&a ", "*a", "!!int ",
    "#", "'", '"', "9" * 400, "-1", "1e999", ".nan", "null", "yes", "plan", "tasks", "pooling: ",
    "search: {plan.lr: [1]}", "variants: {a: {}}", "a" * 5000, "---\n", "%", "<<: ", "| \n", "é",
)  # fmt: skip
RECIPE = """\
encoder: {encoder}
threads: 1
max_length: 32
tasks:
  verdict:
    data: {{train: {train}, dev: {dev}, text: text, label: verdict}}
    pooling: mean
    head: {{name: linear, dropout: 0.1}}
plan: {{epochs: 1, lr: 1e-3, batch_size: 9, curve: linear}}
seed: 3
"""


def test_no_recipe_breaks_a_promise(tables: Tables, tiny_encoder: Path, tmp_path: Path) -> None:
    failed, tries = {}, n_tries(100)
    whole = RECIPE.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev)
    file = tmp_path / "recipe.yaml"
    for seed in range(tries):
        draw, text = random.Random(seed), whole
        for _ in range(draw.choice((1, 1, 2, 6))):
            place = draw.randrange(len(text) + 1)
            text = (
                text[:place]
                + draw.choice(("", *PIECES))
                + text[place + draw.choice((0, 0, 1, 4, 30)) :]
            )
        file.write_text(text, encoding="utf-8", newline="")
        verb = draw.choice(("train", "train", "compare", "tune"))
        if problem := broken_promise([verb, str(file), "--runs", str(tmp_path), "--dry-run", "-q"]):
            failed[seed] = problem
    record("A damaged recipe loads, or is refused in clear lines", tries, tries - len(failed))
    assert not failed
