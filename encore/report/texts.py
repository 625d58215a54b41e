"""The texts of the dev rows, read once more from the files that the runs were measured on, where
those are still the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encore import catalogue
from encore.data.dataset import Dataset, TaskData
from encore.data.load import load_task
from encore.data.table import display_path
from encore.data.token_store import TokenStore
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load as encoders
from encore.errors import DataError, EncoreError
from encore.recipe.schema import Recipe, data_settings
from encore.report.gather import GatheredRun, offline
from encore.runs.compatibility import pair_of
from encore.training.streams import tokenize_set

__all__ = ["Sources", "Texts"]


@dataclass(frozen=True)
class Texts:
    """Rows of a dev set as their file has them. places: the line of each in its file, or the row's
    number where a file has no lines; place: which. lengths: tokens of each row as the model reads
    it, cut: whether it lost tokens to `max_length`, tokens: themselves; all None where the
    tokenizer is missing.
    """

    file: str
    place: str
    texts: Sequence[str]
    pairs: Sequence[str] | None
    places: np.ndarray
    lengths: np.ndarray | None
    cut: np.ndarray | None
    max_length: int
    tokens: TokenStore | None


class Sources:
    """Reads the files that runs were measured on, each once. `notes` fills with what could not be
    had, and why, one line each.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._read: dict[str, TaskData | str] = {}

    def texts(
        self, found: GatheredRun, task: str, split: str, digest: str, rows: np.ndarray
    ) -> Texts | None:
        """The texts of the rows that are called (digest, rows[i]); None, with a note, where their
        file is gone or another one.
        """
        try:
            if found.recipe is None:
                raise DataError("the run's recipe is of another version of Encore.")
            dataset = self._dataset(found.recipe, task, split, digest, rows)
        except EncoreError as error:
            self._note(f"{task}, {split}: no texts are shown and no lengths: {error.lines[0]}")
            return None
        tokens = self._tokens(found, found.recipe, task, dataset)
        lengths, cut = (
            (None, None) if tokens is None else _sizes(found.recipe, task, tokens, len(dataset))
        )
        place, places = (
            ("row", dataset.rows + 1) if dataset.lines is None else ("line", dataset.lines)
        )
        pairs = None if dataset.pairs is None else dataset.pairs.to_pylist()
        return Texts(
            Path(dataset.path).name,
            place,
            dataset.texts.to_pylist(),
            pairs,
            places,
            lengths,
            cut,
            found.recipe.tasks[task].max_length,
            tokens,
        )

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _dataset(
        self, recipe: Recipe, task: str, split: str, digest: str, rows: np.ndarray
    ) -> Dataset:
        """The dev set in the order of `rows`. Raises DataError."""
        settings = data_settings(recipe, task)
        if settings.reads_standard_input:
            raise DataError("the rows came through standard input and were not kept.")
        key = repr((task, settings))
        if key not in self._read:
            try:
                with offline():
                    self._read[key] = load_task(task, settings)
            except EncoreError as error:
                self._read[key] = error.lines[0]
        data = self._read[key]
        if isinstance(data, str):
            raise DataError(data)
        if split not in data.dev or data.dev[split].digest != digest:
            path = display_path(data.dev[split].path) if split in data.dev else split
            raise DataError(
                f"{path} is no longer the file that the run was measured on (its sha256 was "
                f"{digest[:12]}…)."
            )
        dataset = data.dev[split]
        at = {number: index for index, number in enumerate(dataset.rows.tolist())}
        if not set(rows.tolist()) <= set(at):
            raise DataError(
                f"{display_path(dataset.path)} is read into other rows than it was (another "
                f"version "
                f"of Encore, or of its settings)."
            )
        return dataset.take([at[number] for number in rows.tolist()])

    def _tokens(
        self, found: GatheredRun, recipe: Recipe, task: str, dataset: Dataset
    ) -> TokenStore | None:
        model = found.folder / "model"
        try:
            with offline():
                tokenizer = TextTokenizer(
                    model
                    if model.is_dir()
                    else encoders.locate(recipe.pretrained, base=recipe.base).folder
                )
        except EncoreError:
            tokenizer = None
        if tokenizer is None or tokenizer.digest != found.identity["tokeniser"]:
            self._note(
                f"{task}: no score by length: the tokenizer of encoder {recipe.encoder_name} is "
                f"not here, or another one."
            )
            return None
        settings = recipe.tasks[task]
        return tokenize_set(
            dataset,
            tokenizer,
            pair_of(recipe, task),
            max_length=settings.max_length,
            truncation=settings.truncation,
        )


def _sizes(
    recipe: Recipe, task: str, tokens: TokenStore, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """The number of tokens of each example, and whether any were cut; its sides together."""
    n_sides = catalogue.find("pairs", pair_of(recipe, task)["name"]).n_sides
    sides = (-1, n_rows)
    lengths = tokens.lengths.reshape(sides)[:n_sides].sum(axis=0)
    return lengths, np.asarray(tokens.cut.reshape(sides).any(axis=0))
