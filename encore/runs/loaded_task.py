"""One task of a loaded run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore import catalogue
from encore.data.token_store import Truncation
from encore.model.task_model import TaskModel
from encore.runs.explain import weighing_branch
from encore.runs.predictor import ServedTask
from encore.types import Pairing

__all__ = ["LoadedTask"]


@dataclass(frozen=True)
class LoadedTask(ServedTask):
    """One task of a loaded run. pair: the spec of its pairing. model: in eval mode. adapters: the
    names of those that are fused in it.
    """

    max_length: int
    truncation: Truncation
    pair: Mapping[str, Any]
    model: TaskModel
    adapters: tuple[str, ...] = ()

    @property
    def gives_probabilities(self) -> bool:
        """True where the head's scores are logits, so that softmax or sigmoid makes probabilities
        of them.
        """
        return self.model.head.gives_probabilities

    @property
    def models(self) -> tuple[TaskModel, ...]:
        """Its only model."""
        return (self.model,)

    @property
    def has_attention(self) -> bool:
        """True where its pooling weighs the tokens of rows that `encore.runs.explain` makes: each
        text, or both of a pair together, as the encoder's family reads them.
        """
        return weighing_branch(self.model) is not None and (
            self.columns.text_pair is None
            or (self.model.n_sides == 1 and self.pair.get("segments", "family") == "family")
        )

    @property
    def in_one_row(self) -> bool:
        """True where each example is one row, read once, which other libraries' tokenizers can
        make.
        """
        return self.columns.text_pair is None or (
            self.model.n_sides == 1 and self.pair.get("eval_order", "given") == "given"
        )

    @property
    def apart(self) -> bool:
        """True where one encoder reads each of two texts by itself, so that the vector of a text
        does not depend on the other.
        """
        pairing: type[Pairing] = catalogue.find("pairs", self.pair["name"])
        apart = pairing.n_sides > 1 and pairing.attend is None
        return len(self.model.branches) == 1 and apart

    @property
    def input_key(self) -> str:
        """The columns and settings by which texts are read. Tasks with an equal one can predict
        the same rows at once. The order of pairs in training does not count.
        """
        how = (
            None
            if self.columns.text_pair is None
            else sorted(
                (catalogue.specify("pairs", self.pair).to_json() | {"order": "given"}).items()
            )
        )
        return repr(
            (
                self.columns.text,
                self.columns.text_pair,
                self.normalise,
                self.max_length,
                self.truncation,
                how,
            )
        )
