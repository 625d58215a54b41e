"""Pre-trains an encoder in its folder, which is named by the hash of everything that determines its
bits. The same recipe again resumes it, or finds it complete.

- recipe.yaml, pretraining.json: the recipe; every setting, with the digests of texts and encoder.
- start/: from scratch, the vocabulary and the weights of step 0.
- corpus/: the texts as token ids, while training needs them.
- steps.jsonl: a line for every step. results.json: losses at the steps whose encoder is kept.
- encoder/, steps/STEP/: the trained encoder, and those of the steps in `keep`: folders that every
  command takes as `encoder`, and transformers loads.
- compare.yaml: with `fine_tune`, a recipe that compares these encoders on a task.
- manifest.json: the sha256 of every result file. It exists if and only if training is complete.
- checkpoint/: while it trains, all that it needs to resume bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encore import files, rng
from encore.data.row_file import ROW_FILES, RowFile, write_row_file
from encore.data.texts import each_text
from encore.data.tokenizer import TextTokenizer
from encore.data.wordpiece import train_wordpiece
from encore.encoder import load
from encore.errors import DataError, Problem, RecipeError
from encore.model.encoder_folder import write_encoder, write_new_encoder
from encore.model.free_memory import keeping_freed_memory
from encore.model.language_model import load_language_model
from encore.recipe.located_yaml import write_yaml
from encore.recipe.write import resolved
from encore.runs.checkpoint import CheckpointClock, read_checkpoint, save_checkpoint
from encore.runs.contents import PRETRAIN_FILES
from encore.runs.environment import peak_memory
from encore.runs.hardware import instruction_set, require_same_instructions
from encore.runs.places import run_folder
from encore.runs.pretrain_folder import (
    PretrainFigures,
    PretrainResult,
    read_pretraining,
    step_folder_name,
)
from encore.runs.pretraining import (
    PreparedPretraining,
    masking_of,
    phase_of,
    size_config,
    with_rates,
)
from encore.runs.rates import Rates
from encore.runs.writer import RunBusy, step_record
from encore.runs.written import RunLog, WrittenFiles
from encore.training.pretraining import (
    Keep,
    PretrainSettings,
    PretrainState,
    TextRows,
    pretrain_loop,
    steps_per_epoch,
)
from encore.training.reports import StepReport

__all__ = [
    "PretrainResult",
    "Pretraining",
    "PretrainWatcher",
    "read_pretraining",
    "run_pretraining",
]

Announce = Callable[[str, int, int], None]
PretrainWatcher = Callable[[StepReport | Keep], None]
_MOST_HELD_OUT, _LEAST_SHARE = 512, 20  # rows, and one in so many of all


def run_pretraining(
    prepared: PreparedPretraining,
    runs: Path,
    *,
    watch: PretrainWatcher | None = None,
    announce: Announce = lambda line, epochs, steps: None,
    checkpoint_seconds: float = 60.0,
    checkpoint_steps: int | None = None,
) -> PretrainResult:
    """Train, resume, or read the result of a complete one. watch: receives every report. announce:
    receives a line about what was made of the texts, and the epochs and steps of the whole run.
    checkpoint_…: as of `execute`. Raises
    TrainingError, RecipeError or DataError.
    """
    folder = run_folder(runs, prepared.name, "pretraining")
    busy = RunBusy(
        f"{folder}: another process is pre-training here. Wait for it, or stop it; the same "
        f"command then resumes."
    )
    if (folder / files.MANIFEST).exists():
        return read_pretraining(folder, already_complete=True)
    with files.locked(folder, busy):
        if (folder / files.MANIFEST).exists():  # another process finished it in between
            return read_pretraining(folder, already_complete=True)
        before = torch.get_num_threads()
        torch.set_num_threads(prepared.threads)
        try:
            run = Pretraining(prepared, folder, announce)
            clock = CheckpointClock(checkpoint_seconds, checkpoint_steps, run.state.step)
            with keeping_freed_memory():
                run.train(watch, clock)
            return run.finish()
        finally:
            torch.set_num_threads(before)


class Pretraining:
    """One pre-training in its locked folder: from texts to rows, model and state; trained, it is
    finished.
    """

    def __init__(self, prepared: PreparedPretraining, folder: Path, announce: Announce) -> None:
        self.prepared, self.folder, self.started = prepared, folder, time.monotonic()
        recipe = prepared.recipe
        files.sweep(folder)
        files.write(folder / "recipe.yaml", write_yaml(resolved(recipe.anchored)).encode())
        files.write_json(folder / "pretraining.json", prepared.spec)
        self.source = prepared.source or self._from_scratch()
        self.tokenizer = TextTokenizer(
            self.source.folder, vouched=prepared.source is None or self.source.vouched
        )
        masking = masking_of(recipe, self.tokenizer)
        rows = RowFile(self._corpus(masking.symbols.n_words), masking.symbols.n_words)
        train, dev = _split(len(rows), recipe.dev_rows, recipe.seed)
        plan = recipe.plan
        per_epoch = steps_per_epoch(len(train), plan.batch_size)
        steps = plan.steps or (plan.epochs or 1) * per_epoch
        beyond = [step for step in recipe.keep if step > steps]
        if beyond:
            expected = f"steps up to {steps:,}, the last one"
            problem = Problem(expected=expected, got=str(beyond[0]))
            raise RecipeError(recipe.problem(("keep",), problem))
        phase = phase_of(recipe, -(-steps // per_epoch))
        self.settings = PretrainSettings(
            phase, steps, frozenset({*recipe.keep, steps}), recipe.seed, plan.micro_batch
        )
        self.texts = TextRows(
            rows,
            self.tokenizer.templates,
            recipe.max_length,
            masking,
            train,
            dev,
            recipe.next_sentence,
        )
        model = load_language_model(
            with_rates(recipe, self.source),
            seed=recipe.seed,
            next_sentence=recipe.next_sentence,
            new_pooler=recipe.compat == "gen",
        )
        model.encoder.dtype = torch.bfloat16 if prepared.precision == "bf16" else torch.float32
        self.state = PretrainState(model.to(prepared.device), phase)
        self.instructions = instruction_set(prepared.device)
        self.rates, self.kept, self.seconds_before = Rates(), list[Keep](), 0.0
        self.lines: list[bytes] = []
        self.written = WrittenFiles(folder)
        announce(
            f"{len(rows):,} rows, {rows.n_tokens:,} tokens; {len(dev):,} rows held out; "
            f"vocabulary {masking.symbols.n_words:,}; {steps:,} steps of {plan.batch_size} rows, "
            f"{steps / per_epoch:.3g} epochs",
            phase.epochs,
            steps,
        )
        self._resume()

    def _from_scratch(self) -> load.Source:
        """The encoder that nobody has trained, written once."""
        recipe, start = self.prepared.recipe, self.folder / "start"
        assert recipe.size is not None
        if files.wrong_files(start, ("model.safetensors", "config.json", "tokenizer.json")):
            files.remove(start)
            if self.prepared.vocabulary is not None:
                known = self.prepared.vocabulary
                backend = TextTokenizer(known.folder, vouched=known.vouched).backend
            else:
                assert isinstance(recipe.vocabulary, int)
                backend = train_wordpiece(
                    self._texts, size=recipe.vocabulary, lowercase=recipe.lowercase
                )
            with files.commit_folder(start) as being_written:
                write_new_encoder(being_written, size_config(recipe.size), backend, recipe.seed)
        return load.locate(str(start.absolute()))

    def _texts(self) -> Iterator[str]:
        recipe = self.prepared.recipe
        return each_text(
            self.prepared.texts,
            min_characters=recipe.min_characters,
            frac=recipe.text_frac,
            seed=recipe.seed,
        )

    def _corpus(self, n_words: int) -> Path:
        """The folder of the texts as token ids, written once."""
        recipe, corpus = self.prepared.recipe, self.folder / "corpus"
        if files.wrong_files(corpus, ROW_FILES):
            files.remove(corpus)
            budget = recipe.max_length - self.tokenizer.n_special(recipe.next_sentence)
            with files.commit_folder(corpus) as being_written:
                write_row_file(being_written, self._texts(), self.tokenizer, n_words, budget)
        return corpus

    def _resume(self) -> None:
        """Load the newest usable checkpoint; without one, start from the beginning."""
        saved = read_checkpoint(self.folder / "checkpoint", self._is_usable)
        log = None
        if saved is not None:
            log = RunLog(**saved.log)
            require_same_instructions(self.folder, log.instructions, self.instructions)
            self.state.restore(saved.state, saved.tensors)
            self.kept = [Keep.from_json(each) for each in log.epochs]
            self.seconds_before = log.seconds
            self.rates.restore(log.rates)
        self.written.restore(log)

    def _is_usable(self, saved: Mapping[str, Any]) -> bool:
        try:
            return self.written.fits(RunLog(**saved))
        except TypeError:  # another version of Encore wrote it
            return False

    def train(self, watch: PretrainWatcher | None, clock: CheckpointClock) -> None:
        """Train to the end; write encoders and checkpoints on the way."""
        self.rates.resume()
        for report in pretrain_loop(self.state, self.texts, self.settings):
            if isinstance(report, StepReport):
                self.rates.see(report)
                self.lines.append(json.dumps(step_record(report)).encode() + b"\n")
            else:
                self._write_encoder(report)
            if watch is not None:
                watch(report)
            clock.save_if_due(self.state.step, self._save, complete=isinstance(report, Keep))
            if isinstance(report, Keep):
                self.rates.resume()

    def _write_encoder(self, report: Keep) -> None:
        target = self.folder / step_folder_name(report.step, self.settings.steps)
        with files.explained(target):
            target.parent.mkdir(exist_ok=True)
        files.remove(target)  # of a process that was killed after it
        with files.commit_folder(target) as being_written:
            write_encoder(being_written, self.state.model, self.source, self.tokenizer.backend)
        self.kept = [*(one for one in self.kept if one.step < report.step), report]

    @property
    def seconds(self) -> float:
        """Seconds that training has taken, with those before it was interrupted."""
        return self.seconds_before + time.monotonic() - self.started

    def _save(self) -> None:
        self._write_lines()
        log = {
            "epochs": [asdict(one) for one in self.kept],
            "kept_epoch": 0,
            "seconds": self.seconds,
            "rates": self.rates.to_json(),
            "instructions": self.instructions,
            **self.written.to_json(),
        }
        save_checkpoint(self.folder / "checkpoint", self.state, log)

    def _write_lines(self) -> None:
        if self.lines:
            self.written.add_steps(self.lines)
            self.lines = []

    def finish(self) -> PretrainResult:
        """Write the figures, and last the manifest, which makes the folder complete."""
        self._write_lines()
        folder, recipe, rows = self.folder, self.prepared.recipe, self.texts.rows
        figures = PretrainFigures(
            steps=self.settings.steps,
            rows=len(self.texts.train),
            held_out_rows=len(self.texts.dev),
            tokens=rows.n_tokens,
            tokens_trained_on=self.rates.tokens,
            vocabulary=self.texts.masking.symbols.n_words,
            kept=tuple(self.kept),
        )
        files.write_json(folder / "results.json", figures.to_json())
        cost = {
            "seconds": self.seconds,
            "tokens_per_second": self.rates.tokens_per_second,
            "peak_memory_bytes": peak_memory(),
        }
        files.write_json(folder / "cost.json", cost)
        kept = [folder / name for name in PRETRAIN_FILES]
        for one in self.kept:
            own = folder / step_folder_name(one.step, self.settings.steps)
            kept += [file for file in own.rglob("*") if file.is_file()]
        if recipe.size is not None:
            kept += [file for file in (folder / "start").iterdir() if file.is_file()]
        if recipe.fine_tune is not None:
            files.write(folder / "compare.yaml", write_yaml(self._comparison()).encode())
            kept.append(folder / "compare.yaml")
        files.write_manifest(folder, kept)
        for name in ("checkpoint", "corpus"):
            files.remove(folder / name)
        return read_pretraining(folder)

    def _comparison(self) -> dict[str, Any]:
        """A recipe that compares the kept encoders with the one that training began with."""
        recipe, steps = self.prepared.recipe.anchored, [one.step for one in self.kept]
        own = {step: step_folder_name(step, self.settings.steps) for step in steps}
        begun = "start" if recipe.size is not None else recipe.encoder or load.MINILM
        variants = {f"step_{step}": {"encoder": own[step]} for step in steps if step > 0}
        prose = {key: text for key in ("source", "claim") if (text := getattr(recipe, key))}
        return {
            **prose,
            **(recipe.fine_tune or {}),
            "encoder": own.get(0, begun),
            "variants": variants,
        }


def _split(n_rows: int, wanted: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those held out, in the order of the file. Raises DataError."""
    n_dev = min(_MOST_HELD_OUT, n_rows // _LEAST_SHARE) if wanted is None else wanted
    if n_dev >= n_rows:
        expected = f"fewer than the {n_rows:,} rows of the texts"
        raise DataError(Problem(setting="dev_rows", expected=expected, got=str(n_dev)))
    held_out = np.zeros(n_rows, dtype=bool)
    held_out[rng.generator(seed, "held-out rows").permutation(n_rows)[:n_dev]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
