"""Real tokens per second of pre-training, beside transformers' Trainer with
DataCollatorForLanguageModeling, in one interleaved run.

    python benchmarks/pretrain.py [--rounds 5] [--steps 4] [--json FILE]

The same model (MiniLM's sizes and vocabulary with a masked language model's head, from random
weights), the same rows (SST-5's sentences and IMDB's reviews in equal numbers, long ones in several
rows), bf16, one thread. The Trainer is measured in two ways, of which the better counts: batches
padded to their longest row, and rows grouped by length. Tokens are those that are not padding. Each
variant runs `--steps` steps at a time, in an
order that is drawn anew every round; the first turn of each warms up and is not counted. Seconds
are those of the processor.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import write_figures
from benchmarks.train_throughput import HeldTrainer

Segment = Callable[[int], int]  # train so many steps → real tokens
GOAL = 1.2
BATCH, MAX_LENGTH = 32, 128
SIZES = {"layers": 6, "width": 384, "heads": 12, "positions": 512}


def texts(n_rows: int) -> list[str]:
    """SST-5's sentences and long reviews, in equal numbers."""
    from encore.data.texts import each_text, open_task_texts

    short, long = (list(each_text([open_task_texts(name)])) for name in ("sst5", "imdb"))
    half = n_rows // 2
    return [text for pair in zip(short[:half], long[:half], strict=True) for text in pair]


def our_segment(folder: Path, precision: str) -> Segment:
    """Encore's own loop, as `encore pretrain` runs it."""
    from encore.recipe.pretraining import pretraining_recipes
    from encore.runs import pretrain
    from encore.runs.pretraining import prepare_pretraining
    from encore.training.pretraining import pretrain_loop
    from encore.training.reports import StepReport

    settings = {
        "texts": [str(folder / "texts.txt")],
        "size": SIZES,
        "vocabulary": "minilm",
        "max_length": MAX_LENGTH,
        "dev_rows": 0,
        "precision": precision,
        "threads": 1,
        "plan": {"epochs": 1000, "lr": 1e-4, "batch_size": BATCH},
    }
    [recipe] = pretraining_recipes(settings).values()
    (folder / "run").mkdir()
    run = pretrain.Pretraining(
        prepare_pretraining(recipe), folder / "run", lambda line, epochs, steps: None
    )
    reports = pretrain_loop(run.state, run.texts, run.settings)
    steps = (report for report in reports if isinstance(report, StepReport))
    return lambda n_steps: sum(next(steps).n_tokens for _ in range(n_steps))


def their_trainer(folder: Path, precision: str, sampling: str, callbacks: list[Any]) -> Any:
    """A Trainer on the rows that Encore made of the texts, cut in the same places."""
    import torch
    import transformers
    from transformers import (
        AutoConfig,
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    from encore.data.row_file import RowFile

    start = folder / "run" / "start"
    tokenizer = AutoTokenizer.from_pretrained(start)
    rows = RowFile(folder / "run" / "corpus", len(tokenizer))
    examples = [
        {"input_ids": [tokenizer.cls_token_id, *ids.tolist(), tokenizer.sep_token_id]}
        for ids in rows.take(range(len(rows)))
    ]
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(start))
    arguments = TrainingArguments(
        str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1000,
        learning_rate=1e-4,
        weight_decay=0.01,
        train_sampling_strategy=sampling,
        bf16=precision == "bf16",
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    transformers.logging.set_verbosity_error()
    found = Trainer(
        model,
        arguments,
        train_dataset=examples,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
        callbacks=callbacks,
    )
    found.remove_callback(PrinterCallback)
    return found


def measure(folder: Path, rounds: int, steps: int, precision: str) -> dict[str, list[float]]:
    """Variant → real tokens per second of each round."""
    variants: dict[str, Segment] = {"encore": our_segment(folder, precision)}
    trainers = {
        f"Trainer, {way}": HeldTrainer(partial(their_trainer, folder, precision, sampling))
        for way, sampling in (
            ("dynamic padding", "random"),
            ("grouped by length", "group_by_length"),
        )
    }
    variants |= {name: held.segment for name, held in trainers.items()}
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name in random.sample(list(variants), len(variants)):
            begun = time.process_time()
            tokens = variants[name](steps)
            if number:
                rates[name].append(tokens / (time.process_time() - begun))
    for held in trainers.values():
        held.leave()
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts.txt").write_text(
            "\n".join(" ".join(text.split()) for text in texts(given.rows)), encoding="utf-8"
        )
        rates = measure(folder, given.rounds, given.steps, given.precision)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    best = max(rate for name, rate in medians.items() if name != "encore")
    ratio = medians["encore"] / best
    for name, found in rates.items():
        print(f"{name:28} {medians[name]:8,.0f} tokens/s  [{min(found):,.0f}, {max(found):,.0f}]")
    print(f"encore / the best of the others: {ratio:.2f} (goal {GOAL})")
    if given.json:
        write_figures(
            {
                "precision": given.precision,
                "threads": 1,
                "rounds": given.rounds,
                "steps": given.steps,
                "tokens_per_second": {
                    name: {"median": medians[name], "low": min(found), "high": max(found)}
                    for name, found in rates.items()
                },
                "ratio": ratio,
                "goal": GOAL,
            },
            given.json,
        )
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
