"""The same job for everyone: MiniLM on all of SST-5, batch 32, length 128, AdamW, lr 5e-5, 4
epochs, dropout on, one thread.

For us a generator of steps; for transformers its own Trainer with its own sampler and collator, on
texts tokenized ahead, with logging, saving and evaluation off.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write_figures
from encore.errors import EncoreError
from encore.training.reports import StepReport

__all__ = [
    "HF_WAYS",
    "Texts",
    "fitting",
    "flop_per_token",
    "model_for",
    "precision_dtype",
    "read",
    "tokenized",
    "trainer",
    "use_threads",
]

SEED, LR, BATCH, MAX_LENGTH, EPOCHS, N_LABELS = 7, 5e-5, 32, 128, 4, 5
HF_WAYS = ("padded to 128", "dynamic padding", "grouped by length")


@dataclass(frozen=True)
class Texts:
    """texts: (rows,) strings; labels: (rows,) int64; folder: the encoder's files, which
    transformers reads as well.
    """

    texts: list[str]
    labels: np.ndarray
    folder: Path


def use_threads(n: int) -> None:
    """Before torch is imported: so many threads for every library, and no talk with a hub."""
    os.environ |= {
        "OMP_NUM_THREADS": f"{n}",
        "MKL_NUM_THREADS": f"{n}",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    import torch

    torch.set_num_threads(n)


def read(split: str = "train", **how: Any) -> Texts:
    """The rows, from ENCORE_DATA or ../shared/data. how: of `DataSettings`. Leaves the program with
    one clear line where they, or the encoder, are missing.
    """
    from encore.data.load import load_task
    from encore.data.settings import DataSettings
    from encore.encoder.load import locate

    try:
        found = load_task("sst5", DataSettings(**{"seed": SEED, **how}))
        rows = {"train": found.train, **found.dev}[split]
        folder = locate("minilm").folder
    except EncoreError as error:
        sys.exit(str(error))
    assert rows.targets is not None
    return Texts(rows.texts.to_pylist(), rows.targets, folder)


def precision_dtype(precision: str) -> Any:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def tokenized(data: Texts) -> Any:
    from encore.data.token_store import tokenize
    from encore.data.tokenizer import TextTokenizer

    return tokenize(
        TextTokenizer(data.folder), data.texts, None, max_length=MAX_LENGTH, truncation="head"
    )


def model_for(precision: str) -> Any:
    """Our MiniLM with its pooler and a linear head."""
    from encore import catalogue
    from encore.encoder.load import load_encoder, locate
    from encore.model.parameters import seeded_initialisers
    from encore.model.task_model import Branch, TaskModel

    pretrained = load_encoder(locate("minilm"))
    pretrained.encoder.dtype = precision_dtype(precision)
    with seeded_initialisers(SEED, "initialisation"):
        pooling = catalogue.build("pooling", "pooler", pretrained.shape)
        head = catalogue.build("heads", "linear", pooling.width, N_LABELS)
    return TaskModel([Branch(pretrained.encoder, pooling)], head)


def fitting(data: Texts, precision: str) -> Iterator[StepReport]:
    """Our training, one report per step."""
    from encore import catalogue
    from encore.techniques.plans.fine_tune import FineTune
    from encore.training.loop import TrainSettings, train_loop
    from encore.training.streams import Rows, Stream
    from encore.types import LabelSpace

    store = tokenized(data)
    labels = LabelSpace("multiclass", tuple("12345"))
    rows = Rows(store, data.labels, "sst5", np.arange(len(store)), np.ones(len(store), np.float32))
    stream = Stream(
        "sst5",
        labels,
        rows,
        {},
        ("accuracy",),
        {"task": (1.0, catalogue.build("losses", "cross_entropy", labels))},
    )
    plan = FineTune(epochs=EPOCHS, lr=LR, batch_size=BATCH)(("sst5",))
    for report in train_loop(
        {"sst5": model_for(precision)},
        plan,
        {"sst5": stream},
        TrainSettings(seed=SEED, mixing=catalogue.build("mixing", "even")),
    ):
        if isinstance(report, StepReport):
            yield report


def trainer(
    data: Texts,
    way: str,
    precision: str,
    *,
    callbacks: list[Any],
    max_length: int = MAX_LENGTH,
    max_steps: int = -1,
    epochs: int = EPOCHS,
    seed: int = SEED,
    dev: Texts | None = None,
) -> Any:
    """transformers' Trainer for the same job. `way`: one of HF_WAYS. dev: rows whose accuracy is
    taken after each epoch.
    """
    import transformers
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainingArguments,
        default_data_collator,
    )

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(data.folder)
    padded = way == "padded to 128"

    def examples(texts: Texts) -> list[dict[str, Any]]:
        encoded = tokenizer(
            texts.texts,
            truncation=True,
            max_length=max_length,
            padding="max_length" if padded else False,
        )
        return [
            {**{key: encoded[key][row] for key in encoded}, "labels": int(label)}
            for row, label in enumerate(texts.labels)
        ]

    transformers.set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(data.folder, num_labels=N_LABELS)
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # the constructor makes the folder; with saving off nothing is ever put there
        arguments = TrainingArguments(
            output_dir=scratch,
            learning_rate=LR,
            weight_decay=0.01,
            warmup_steps=0.1,  # a fraction, since transformers 5
            num_train_epochs=epochs,
            max_steps=max_steps,
            per_device_train_batch_size=BATCH,
            train_sampling_strategy="group_by_length" if way == "grouped by length" else "random",
            bf16=precision == "bf16",
            use_cpu=True,
            seed=seed,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no" if dev is None else "epoch",
            per_device_eval_batch_size=64,
            report_to=[],
            disable_tqdm=True,
        )
        collator = default_data_collator if padded else DataCollatorWithPadding(tokenizer)
        measured: dict[str, Any] = (
            {} if dev is None else {"eval_dataset": examples(dev), "compute_metrics": _accuracy}
        )
        found = Trainer(
            model,
            arguments,
            train_dataset=examples(data),
            data_collator=collator,
            processing_class=tokenizer,
            callbacks=callbacks,
            **measured,
        )
    found.remove_callback(PrinterCallback)
    return found


def _accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(axis=1) == found.label_ids).mean())}


def flop_per_token(model: Any, lengths: np.ndarray) -> float:
    """Of one training step (three products per weight: forward, gradient of the input, gradient of
    the weight), attention included.
    """
    from torch import nn

    encoder = model.branches[0].encoder
    weights = sum(
        layer.weight.numel() for layer in encoder.blocks.modules() if isinstance(layer, nn.Linear)
    )
    width = encoder.blocks[0].qkv.in_features
    pairs = float((lengths.astype(np.float64) ** 2).sum() / lengths.sum())
    return 6 * weights + 3 * encoder.n_layers * 4 * width * pairs


def ended(result: dict[str, Any], file: Path | None) -> int:
    """Write the figures where they are wanted; the exit code says whether every goal was met."""
    if file is not None:
        write_figures(result, file)
    return 0 if all(goal["met"] for goal in result["goals"]) else 1
