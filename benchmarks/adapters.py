"""Training adapters beside training the whole encoder: time of a step, memory, and disk.

    python benchmarks/adapters.py [--rows 384] [--rounds 2] [--json FILE]    SST-5, batches of 32
      rows, bf16, one thread: MiniLM, and random weights of the shape of BERT-base

All are trained on the same batches in turn, and ratios are taken batch by batch; what is counted is
processor time, from the second epoch on, when layers whose output is kept were computed once.
Memory is the kernel's peak of a process of its own, less what it had with the model loaded, after a
few steps of a tiny encoder, which loads all code.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import sst5
from benchmarks.record import write_figures

WAYS: dict[str, Any] = {
    "whole encoder": None,
    "houlsby": "houlsby",
    "pfeiffer": "pfeiffer",
    "lora": "lora",
    "houlsby, top 2, rest kept": {"name": "houlsby", "top": 2, "cache_below": True},
}
SHAPES = ("minilm", "BERT-base's shape")
TIME_GOAL, MEMORY_GOAL, DISK_GOAL = 0.75, 0.6, 0.12


def encoder_folder(folder: Path, **config: Any) -> str:
    """A folder with random weights of the shape of BERT-base, or of another `config`."""
    import torch
    from transformers import BertConfig, BertModel

    from encore.encoder import load

    source = load.locate("minilm")
    torch.manual_seed(1)
    BertModel(BertConfig(vocab_size=source.config["vocab_size"], **config)).save_pretrained(folder)
    shutil.copy(source.folder / "tokenizer.json", folder)
    return str(folder)


def prepared(encoder: str, way: str, n_rows: int, epochs: int) -> Any:
    """The run of one way of training."""
    from encore.recipe.load import recipe_from
    from encore.runs.prepare import prepare

    recipe = {
        "encoder": encoder,
        "precision": "bf16",
        "threads": 1,
        "task": "sst5",
        "data": {"train_rows": n_rows, "dev_rows": 40},
        "plan": {"epochs": epochs, "lr": 1e-4, "batch_size": 32},
    }
    adapter = WAYS[way]
    return prepare(recipe_from(recipe if adapter is None else {**recipe, "adapter": adapter}))


def steps(run: Any, models: Any) -> Iterator[tuple[int, float]]:
    """The epoch and the processor seconds of each step."""
    from encore.training.loop import train_loop
    from encore.training.reports import StepReport

    reports = train_loop(models, run.plan, run.streams, run.settings)
    while True:
        begun = time.process_time()
        report = next(reports, None)
        if report is None:
            return
        if isinstance(report, StepReport):
            yield report.epoch, time.process_time() - begun


def time_ratios(encoder: str, n_rows: int, rounds: int) -> dict[str, Any]:
    """The median seconds of a step of each way, and its ratio to the whole encoder's."""
    from encore.runs.prepare import build_models

    found: dict[str, list[float]] = {way: [] for way in WAYS}
    trainable = {}
    for _ in range(rounds):
        runs = {way: prepared(encoder, way, n_rows, epochs=2) for way in WAYS}
        models = {way: build_models(run) for way, run in runs.items()}
        generators = {way: steps(run, models[way]) for way, run in runs.items()}
        for together in zip(*generators.values(), strict=True):
            for way, (epoch, seconds) in zip(WAYS, together, strict=True):
                if epoch > 1:
                    found[way].append(seconds)
        for way, of in models.items():
            parameters = list(of["sst5"].parameters())
            trained = sum(each.numel() for each in parameters if each.requires_grad)
            trainable[way] = {"trained": trained, "all": sum(each.numel() for each in parameters)}
    whole = found["whole encoder"]
    return {
        way: {
            "seconds": statistics.median(seconds),
            "ratio": statistics.median(a / b for a, b in zip(seconds, whole, strict=True)),
            **trainable[way],
        }
        for way, seconds in found.items()
    }


def contest(encoder: str, way: str, tiny: str) -> None:
    """Train three steps and print the memory that training took: what the child process does."""
    from encore.runs.model_folder import save_model
    from encore.runs.prepare import build_models

    sst5.use_threads(1)
    run = prepared(tiny, way, 96, epochs=1)
    for _ in steps(run, build_models(run)):
        pass
    run = prepared(encoder, way, 96, epochs=1)
    models = build_models(run)
    before = memory_bytes("VmRSS")
    for _ in steps(run, models):
        pass
    peak = memory_bytes("VmHWM")  # getrusage would count what the parent has
    with tempfile.TemporaryDirectory() as place:
        save_model(Path(place) / "model", run, models, ("sst5",))
        disk = sum(each.stat().st_size for each in Path(place).rglob("*") if each.is_file())
    print(json.dumps({"peak": peak, "training": peak - before, "disk": disk}))


def memory_bytes(what: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def measured(n_rows: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    goals = {"time": TIME_GOAL, "memory": MEMORY_GOAL, "disk": DISK_GOAL}
    found: dict[str, Any] = {"rows": n_rows, "batch": 32, "goals": goals, "shapes": {}}
    with tempfile.TemporaryDirectory() as place:
        small = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        tiny = encoder_folder(Path(place) / "tiny", hidden_size=16, **small)
        for shape in SHAPES:
            encoder = shape if shape == "minilm" else encoder_folder(Path(place) / "bert")
            ways = time_ratios(encoder, n_rows if shape == "minilm" else n_rows // 4, rounds)
            for way, figures in ways.items():
                command = [sys.executable, __file__, "--contestant", way]
                command += ["--encoders", encoder, tiny]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                figures |= json.loads(done.stdout.splitlines()[-1])
            found["shapes"][shape] = ways
    return found


def table(found: dict[str, Any]) -> str:
    lines = []
    for shape, ways in found["shapes"].items():
        whole = ways["whole encoder"]
        lines += [
            f"{shape}",
            f"{'way':26}  trained   step s  time ×  training MB  memory ×  process ×  disk ×",
        ]
        for way, one in ways.items():
            ratios = (one[key] / whole[key] for key in ("training", "peak", "disk"))
            lines.append(
                f"{way:26}  {one['trained'] / one['all']:7.1%}  {one['seconds']:7.3f}  "
                f"{one['ratio']:6.2f}  {one['training'] / 1e6:11,.0f}  "
                "{:8.2f}  {:9.2f}  {:6.3f}".format(*ratios)
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--encoders", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        encoder, tiny = given.encoders
        contest(encoder, given.contestant, tiny)
        return
    sst5.use_threads(1)
    found = measured(given.rows, given.rounds)
    print(table(found))
    if given.json:
        write_figures(found, given.json)


if __name__ == "__main__":
    main()
