"""Unsupervised SimCSE: a text is read twice with other dropout, and is to be found among the texts
of the whole batch. It reads no labels.

Source: minBERT generalization §4.4 (METHODS 5.4): dot product, no temperature; Gao et al. 2021 with
`similarity: cosine`, `temperature: 0.05`.
Differs: none of the former, where one text of each pair is drawn; of the latter the extra layer in
training is left out.
Cost: one more forward and backward pass.
Needs: dropout in encoder or head, without which both readings are the same
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from encore.encoder import dropout
from encore.techniques.losses._similarity import Similarity, in_batch_cross_entropy
from encore.types import LABELLED, Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Simcse"]


class Simcse(Loss):
    couples_rows = True
    extra_passes = 1
    rereads = "embeddings"
    kinds = (*LABELLED, "unlabelled")

    def __init__(
        self,
        labels: LabelSpace,
        *,
        similarity: Similarity = "dot",
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        self.similarity, self.temperature = similarity, temperature

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        once, again = (
            output.embeddings,
            model(batch.tokens).embeddings,
        )  # within a step each reading draws new masks
        if len(once) > 1:
            second = (
                torch.from_numpy(
                    np.random.Generator(np.random.Philox(dropout.next_seed())).random(len(once[0]))
                    < 0.5
                )
                .to(once[0].device)
                .unsqueeze(1)
            )
            once, again = (once[0].where(~second, once[1]),), (again[0].where(~second, again[1]),)
        per_row = in_batch_cross_entropy(once[0], again[0], self.similarity, 1 / self.temperature)
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))
