"""Rows per second of prediction beside transformers, ONNX Runtime and OpenVINO, interleaved.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/predict.py [--rounds 5] [--folder runs/predict] [--json FILE]

One MiniLM classifier per set of texts is trained for one epoch on 640 to 2,560 rows (pooling
`pooler`, so that transformers has a class of its own for it; of the last layer Encore computes
[CLS] alone) and exported with `encore export --to hf`; every other library gets that folder. Each
variant turns the same list of texts into labels, tokenizing included, on one thread. Encore makes
its own batches; the others get batches of 32, sorted by length, except that `pipeline` takes the
texts as they come. In every round each variant predicts every set once, in an order that is drawn
anew; a first pass of each is not counted, and its labels are compared with those of `pipeline`,
which computes in fp32. Runs and converted models are kept in `--folder`. Seconds are the
processor's, which leaves out waiting on a busy machine; `--clock wall` takes the clock's. A matrix
product in between shows how fast the machine was.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.metadata
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import predict_peers, sst5
from benchmarks.predict_peers import BATCH, MAX_LENGTH, REFERENCE, Predict
from benchmarks.record import write_figures
from benchmarks.train_throughput import CLOCKS, gemm_rate, spread

N_CALIBRATION, MIN_SHARE = 300, 0.1
OURS = "Encore, bf16"
PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class TextSet:
    """Texts to predict, and the named task whose training rows the model is trained on.

    file: inside the data folder; n_rows of it are drawn; n_train: rows of the task's train set.
    """

    name: str
    task: str
    file: str
    n_rows: int
    n_train: int
    about: str


SETS = (
    TextSet("short", "sst2", "sst2/train.parquet", 512, 1280, "phrases of SST-2's train set"),
    TextSet("middle", "sst5", "cs224n_sst5/dev.parquet", 512, 2560, "sentences of SST-5's dev set"),
    TextSet("long", "imdb", "imdb/dev.parquet", 128, 640, "reviews of IMDb's dev part"),
)


def data_file(name: str) -> Path:
    """A file of the data folder: ENCORE_DATA, or ../shared/data. Ends the program without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    for folder in (Path(os.environ.get("ENCORE_DATA") or beside), beside):
        if (folder / name).is_file():
            return folder / name
    sys.exit(f"{name}: in neither ENCORE_DATA nor ../shared/data. Set ENCORE_DATA to its folder.")


def drawn(file: str, n_rows: int, seed: int = sst5.SEED) -> list[str]:
    """(n_rows,) texts without replacement, in a random order."""
    import pyarrow.parquet

    texts = pyarrow.parquet.read_table(data_file(file), columns=["text"]).column(0).to_pylist()
    return random.Random(seed).sample(texts, n_rows)


def trained(texts: TextSet, folder: Path) -> Path:
    """The run of a set's model, trained where it is not there yet."""
    import encore

    recipe = {
        "task": texts.task,
        "data": {"train_rows": texts.n_train, "dev_rows": 64},
        "pooling": "pooler",
        "max_length": MAX_LENGTH,
        "precision": "bf16",
        "threads": 1,
        "plan": {"epochs": 1, "lr": 2e-4, "batch_size": BATCH},
    }
    return encore.fit(recipe, runs=folder).folder


def ours(texts: TextSet, run: Path, rows: list[str]) -> Predict:
    """Encore's predictions. Ends the program where nearly all of `rows` get one label, so that
    equal labels would mean nothing."""
    import encore

    model = encore.load(run)

    def predict(given: Sequence[str]) -> list[str]:
        return [str(found.label) for found in model.predict(list(given))]

    counts = collections.Counter(predict(rows))
    if sum(count >= MIN_SHARE * len(rows) for count in counts.values()) < 2:
        sys.exit(f"{texts.name}: the model predicts {dict(counts)}; train it on more rows.")
    return predict


def beside(run: Path) -> Path:
    """The folder of what is made of a run for other libraries."""
    return run.parent / "peers" / run.name


@dataclass(frozen=True)
class Ready:
    """A set with its texts, variants and the labels that each predicts."""

    about: dict[str, Any]
    texts: list[str]
    variants: dict[str, Predict]
    same: dict[str, float]


def ready(texts: TextSet, folder: Path) -> Ready:
    """Train, convert, load and predict once, which warms up."""
    run, rows = trained(texts, folder), drawn(texts.file, texts.n_rows)
    found = {OURS: ours(texts, run, rows)}
    calibration = drawn(texts.file.replace("/dev", "/train"), N_CALIBRATION, sst5.SEED + 1)
    found |= predict_peers.peers(run, beside(run), calibration)
    labels = {name: predict(rows) for name, predict in found.items()}
    reference = labels[REFERENCE]
    about = {
        "about": texts.about,
        "rows": len(rows),
        "tokens_per_row": statistics.mean(predict_peers.lengths(beside(run), rows)),
        "trained_on": texts.n_train,
        "run": run.name,
        "labels": dict(collections.Counter(reference).most_common()),
    }
    same = {
        name: statistics.mean(a == b for a, b in zip(each, reference, strict=True))
        for name, each in labels.items()
    }
    return Ready(about, rows, found, same)


def measure(sets: dict[str, Ready], rounds: int, clock: Callable[[], float]) -> Iterator[Any]:
    """Per round: set → variant → rows per second, FLOP/s of a product, and the load average."""
    order = random.Random(sst5.SEED)
    for number in range(rounds):
        rates: dict[str, dict[str, float]] = {name: {} for name in sets}
        for name, each in sets.items():
            for variant in order.sample(list(each.variants), len(each.variants)):
                label = f"round {number + 1} of {rounds}: {name}, {variant}"
                print(f"\r{label:<70}", end="", file=sys.stderr, flush=True)
                start = clock()
                each.variants[variant](each.texts)
                rates[name][variant] = len(each.texts) / (clock() - start)
        gemm = {precision: gemm_rate(precision, clock) for precision in ("fp32", "bf16")}
        yield {"rates": rates, "gemm": gemm, "load_average": os.getloadavg()[0]}
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr)


def summarise(sets: dict[str, Ready], rounds: list[Any]) -> dict[str, Any]:
    """Medians and the middle half over rounds; ratios are taken inside each round."""
    found: dict[str, Any] = {}
    for name, each in sets.items():
        rates = [one["rates"][name] for one in rounds]
        found[name] = each.about | {
            "variants": {
                variant: {
                    "rows_per_second": spread([rate[variant] for rate in rates]),
                    "ours_over_it": spread([rate[OURS] / rate[variant] for rate in rates]),
                    "same_labels": each.same[variant],
                }
                for variant in each.variants
            }
        }
    return found


def hardware() -> dict[str, Any]:
    """The processor, and which of the instructions it has that matter here."""
    about: dict[str, Any] = {"system": f"{platform.system()} {platform.machine()}"}
    about["cores"] = os.cpu_count()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        known = {key.strip(): value.strip() for key, _, value in (a.partition(":") for a in lines)}
        flags = known.get("flags", "").split()
        wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
        about |= {"processor": known.get("model name"), "has": [f for f in wanted if f in flags]}
    return about


def markdown(result: dict[str, Any]) -> str:
    """Rows per second, how many times as fast Encore is, and labels equal to fp32's."""
    header = ["", *(f"{name}: rows/s | Encore × | same labels" for name in result["sets"])]
    lines = [header, ["---", *("---: | ---: | ---:" for _ in result["sets"])]]
    for name in next(iter(result["sets"].values()))["variants"]:
        cells = []
        for each in result["sets"].values():
            one = each["variants"][name]
            ratio = one["ours_over_it"]
            around = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
            rate = f"{one['rows_per_second']['median']:,.0f}"
            cells.append(f"{rate} | {around} | {100 * one['same_labels']:.1f} %")
        lines.append([name, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show(result: dict[str, Any]) -> None:
    for name, each in result["sets"].items():
        shape = f"{each['rows']} rows of {each['tokens_per_row']:.1f} tokens"
        print(f"* {name}: {shape}, {each['about']}; labels in fp32: {each['labels']}")
    gemm = [one["gemm"] for one in result["rounds"]]
    speeds = [f"{statistics.median(g[p] for g in gemm) / 1e9:.0f} in {p}" for p in gemm[0]]
    load = statistics.median(one["load_average"] for one in result["rounds"])
    print(f"* one matrix product, GFLOP/s: {', '.join(speeds)}; load average {load:.1f}")
    print(f"* {result['hardware']}\n* {result['versions']}")
    print(f"* one thread; seconds are the {result['clock']}'s; {len(gemm)} rounds\n")
    print(markdown(result))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=[each.name for each in SETS])
    parser.add_argument("--folder", type=Path, default=Path("runs/predict"))
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    sst5.use_threads(1)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wanted = [each for each in SETS if not options.only or each.name in options.only]
    sets = {each.name: ready(each, options.folder) for each in wanted}
    rounds = list(measure(sets, options.rounds, CLOCKS[options.clock]))
    result = {
        "clock": options.clock,
        "sets": summarise(sets, rounds),
        "hardware": hardware(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rounds": rounds,
    }
    show(result)
    if options.json is not None:
        write_figures(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
