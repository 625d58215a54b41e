"""Short fine-tunings to choose the default plan (rate, epochs) and the default pooling by.

    python benchmarks/default_plan.py run --store FILE.jsonl        trains what is missing, one run
      after the other on one thread, most informative first; resumable
    python benchmarks/default_plan.py collect --store FILE.jsonl    writes
      docs/results/default_plan.json

The data comes from ENCORE_DATA or ../shared/data. Every set is cut to n rows drawn with the seed of
the run; at most 1,000 dev rows, the same for all runs of a set. `wiki` is a set of many classes:
which article of English Wikipedia is a sentence from? A run is trained as `encore train` does, but
scored after the last epoch only, and nothing is written into a run folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_figures

HERE = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("ENCORE_DATA", HERE.parent / "shared" / "data"))
MOST_DEV = 1_000
# set → folder, dev file, kind of task, metric
SETS = {
    "cola": ("cola", "dev", "binary", "mcc"),
    "sst2": ("sst2", "dev", "binary", "accuracy"),
    "mrpc": ("mrpc", "dev", "binary", "accuracy"),
    "stsb": ("stsb", "dev", "regression", "pearson"),
    "qqp": ("qqp", "dev", "binary", "accuracy"),
    "mnli": ("mnli", "dev_matched", "multiclass", "accuracy"),
    "qnli": ("qnli", "dev", "binary", "accuracy"),
    "rte": ("rte", "dev", "binary", "accuracy"),
    "sst5": ("cs224n_sst5", "dev", "multiclass", "accuracy"),
    "snli": ("snli", "dev", "multiclass", "accuracy"),
    "wiki": ("wiki_en", "", "multiclass", "accuracy"),
}
WIKI_CLASSES, WIKI_ROWS, WIKI_DEV = 77, 52, 13


@dataclass(frozen=True)
class Case:
    """One run. epochs: of the whole plan."""

    task: str
    n: int
    seed: int
    lr: float
    epochs: int
    pooling: str = "mean"
    warmup: float = 0.1


_KEYS = tuple(field.name for field in fields(Case))

# ------------------------------------------------------------------------------------------- data


def _draw(table: pa.Table, n: int, seed: int) -> pa.Table:
    order = np.random.default_rng(seed).permutation(len(table))
    return table.take(np.sort(order[:n]))


@cache
def _wiki() -> tuple[pa.Table, pa.Table]:
    """Sentences of the 77 first articles that have enough of them; the label is the title."""
    articles = pq.read_table(DATA / "wiki_en" / "train.parquet").to_pylist()
    train: dict[str, list[str]] = {"text": [], "label": []}
    dev: dict[str, list[str]] = {"text": [], "label": []}
    n_classes = 0
    for article in articles:
        sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", article["text"]))
        kept = list(dict.fromkeys(s for s in sentences if 40 <= len(s) <= 160))
        if len(kept) < WIKI_ROWS + WIKI_DEV:
            continue
        order = np.random.default_rng(n_classes).permutation(len(kept))[: WIKI_ROWS + WIKI_DEV]
        for place, index in enumerate(order):
            part = train if place < WIKI_ROWS else dev
            part["text"].append(kept[index])
            part["label"].append(article["title"])
        n_classes += 1
        if n_classes == WIKI_CLASSES:
            break
    return pa.table(train), pa.table(dev)


def _rows(case: Case) -> tuple[pa.Table, pa.Table]:
    folder, dev_name = SETS[case.task][:2]
    if case.task == "wiki":
        train, dev = _wiki()
        # 300 rows: 30 classes of 10; else all 77 classes.
        n_classes = 30 if case.n == 300 else WIKI_CLASSES
        each = case.n // n_classes
        titles = list(dict.fromkeys(train["label"].to_pylist()))[:n_classes]
        labels = np.array(train["label"].to_pylist())
        rng = np.random.default_rng(case.seed)
        places = [rng.permutation(np.flatnonzero(labels == title))[:each] for title in titles]
        inside = np.isin(np.array(dev["label"].to_pylist()), titles)
        return train.take(np.sort(np.concatenate(places))), _draw(
            dev.filter(pa.array(inside)), MOST_DEV, 0
        )
    columns = ["text", "label"] if case.task in ("cola", "sst2", "sst5") else None
    train = pq.read_table(DATA / folder / "train.parquet", columns=columns)
    dev = pq.read_table(DATA / folder / f"{dev_name}.parquet", columns=columns)
    return _draw(train, case.n, case.seed), _draw(dev, MOST_DEV, 0)


# -------------------------------------------------------------------------------------------- runs


def _recipe(case: Case, files: Mapping[str, Path], *, pair: bool) -> dict[str, Any]:
    _, _, kind, metric = SETS[case.task]
    columns = {"text": "text_a", "text_pair": "text_b"} if pair else {"text": "text"}
    data = {part: str(file) for part, file in files.items()}
    task = {
        "data": {**data, **columns, "kind": kind, "label": "label"},
        "metrics": [metric],
        "pooling": case.pooling,
        "max_length": 64,
    }
    return {
        "tasks": {case.task: task},
        "precision": "bf16",
        "threads": 1,
        "seed": case.seed,
        "plan": {"lr": case.lr, "epochs": case.epochs, "warmup_frac": case.warmup},
    }


def train(case: Case) -> dict[str, Any]:
    """The dev figure after the last epoch, and the processor time of training and scoring."""
    import torch

    from encore import catalogue
    from encore.recipe.load import recipe_from
    from encore.runs.prepare import build_models, prepare
    from encore.training.loop import train_loop
    from encore.training.reports import StepReport
    from encore.training.scoring import score_rows

    torch.set_num_threads(1)
    train_rows, dev_rows = _rows(case)
    with tempfile.TemporaryDirectory() as scratch:
        files = {part: Path(scratch) / f"{part}.parquet" for part in ("train", "dev")}
        pq.write_table(train_rows, files["train"])
        pq.write_table(dev_rows, files["dev"])
        pair = "text_a" in train_rows.column_names
        prepared = prepare(recipe_from(_recipe(case, files, pair=pair)))
    begun = time.process_time()
    models = build_models(prepared)
    stream = prepared.streams[case.task]
    unscored = {case.task: replace(stream, dev={})}
    reports = train_loop(models, prepared.plan, unscored, prepared.settings)
    steps = sum(isinstance(report, StepReport) for report in reports)
    (rows,) = stream.dev.values()
    scores = score_rows(models[case.task], rows, stream.labels)
    (metric,) = stream.metrics
    return {
        **asdict(case),
        "metric": metric,
        "value": float(catalogue.find("metrics", metric)(scores, rows.targets, stream.labels)),
        "dev_rows": len(rows),
        "classes": len(stream.labels.names),
        "steps": steps,
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


# ------------------------------------------------------------------------------------------- cases


def cases() -> Iterator[Case]:
    """The runs of the study, most informative first."""
    for seed in (1, 2, 3):  # the poolings, at 1,000 rows
        for task in SETS:
            yield Case(task, 1_000, seed, 2e-4, 4)
            yield Case(task, 1_000, seed, 2e-4, 4, "cls")
    for seed in (1, 2, 3):  # the rule against what is usual, at 1,000 rows
        for task in SETS:
            yield Case(task, 1_000, seed, 5e-5, 4)
    for task in SETS:
        yield Case(task, 300, 1, 2e-4, 10)
        yield Case(task, 300, 1, 5e-5, 4)
    for seed in (1, 2, 3):  # 77 classes × 12 rows: the rule chooses 8 epochs
        yield Case("wiki", 1_000, seed, 2e-4, 8)
    for task in ("wiki", "sst2", "snli", "sst5", "cola", "qqp"):
        yield Case(task, 4_000, 1, 2e-4, 4)
        yield Case(task, 4_000, 1, 5e-5, 4)
    for task in SETS:
        yield Case(task, 1_000, 1, 2e-4, 4, "pooler")
    for task in ("cola", "sst2", "sst5"):  # is a higher rate better still?
        yield Case(task, 1_000, 1, 4e-4, 4)


def read(store: Path) -> list[dict[str, Any]]:
    """The runs that are there, a case once."""
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    found = {Case(**{key: run[key] for key in _KEYS}): run for run in map(json.loads, lines)}
    return list(found.values())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "collect"])
    parser.add_argument("--store", type=Path, required=True)
    options = parser.parse_args(arguments)
    if options.what == "run":
        done = {Case(**{key: run[key] for key in _KEYS}) for run in read(options.store)}
        for case in cases():
            if case not in done:
                done.add(case)
                line = json.dumps(train(case))
                with options.store.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                print(line, flush=True)
        return 0
    import torch

    found = {
        "machine": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "precision": "bf16",
        "runs": sorted(read(options.store), key=lambda run: [run[key] for key in _KEYS]),
    }
    write_figures(found, HERE / "docs" / "results" / "default_plan.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
