"""The sections of docs/results.md about pre-training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if not __package__:  # loaded by the path of a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.result_tables import draws_note, table

__all__ = ["from_scratch", "pretrain"]


def pretrain(found: dict[str, Any]) -> str:
    """The speed of pre-training beside transformers' Trainer."""
    rates = found["tokens_per_second"]
    best = max(each["median"] for name, each in rates.items() if name != "encore")
    rows = [
        [
            name,
            f"{each['median']:,.0f}",
            f"{each['low']:,.0f} to {each['high']:,.0f}",
            f"{rates['encore']['median'] / each['median']:.2f}",
        ]
        for name, each in rates.items()
    ]
    return (
        "## Pre-training\n\nMasked language modelling with MiniLM's sizes and vocabulary, SST-5's "
        "sentences and IMDB's reviews in rows of at most 128 tokens, batch 32, "
        f"{found['precision']}, one thread; real tokens per second of the processor, the median "
        f"of {found['rounds']} rounds of {found['steps']} steps, interleaved. The others: "
        "transformers' Trainer with `DataCollatorForLanguageModeling`. Encore scores hidden words "
        f"only. Encore takes {rates['encore']['median'] / best:.2f} times the tokens of the better "
        f"one (goal {found['goal']}). `python benchmarks/pretrain.py`\n\n"
        + table(["", "tokens/s", "lowest to highest", "Encore is faster by"], rows)
        + f"\n{draws_note([found['results_version']])}\n"
    )


def from_scratch(found: dict[str, Any]) -> str:
    """A small encoder from random weights: its loss, and the words that it guesses."""
    figures = found["figures"]
    kept = [
        [
            f"{each['step']:,}",
            "–" if each["train_loss"] is None else f"{each['train_loss']:.3f}",
            f"{each['held_out']['loss']:.3f}",
            f"{each['held_out']['accuracy']:.1%}",
        ]
        for each in figures["kept"]
    ]
    curve = [[f"{step:,}", f"{loss:.3f}"] for step, loss in found["curve"]]
    words = [
        [text, ", ".join(f"{word} ({chance:.1%})" for word, chance in guesses)]
        for text, guesses in found["words"].items()
    ]
    text = (
        "## An encoder from scratch\n\nFour layers of width 256, a WordPiece vocabulary of "
        f"{figures['vocabulary']:,} pieces, the texts of the Simple English and English Wikipedia "
        f"and of unlabelled IMDB reviews. {figures['steps']:,} steps, "
        f"{figures['tokens_trained_on'] / 1e6:.1f} million tokens, {found['seconds'] / 60:.0f} "
        f"minutes at {found['tokens_per_second']:,.0f} tokens/s; interrupted and resumed on the "
        f"way. {found['note']} `encore pretrain from_scratch`\n\n"
        "The loss starts at the logarithm of the vocabulary. Held out: "
        f"{figures['held_out_rows']} rows, always with the same words hidden.\n\n"
    )
    header = ["step", "train loss since the one before", "held-out loss", "words guessed"]
    text += table(header, kept)
    text += "\nMean loss of each hundred steps:\n\n" + table(["up to step", "loss"], curve)
    text += "\nThe five most probable words:\n\n" + table(["text", "words"], words)
    return text + f"\n{draws_note([found['results_version']])}\n"
