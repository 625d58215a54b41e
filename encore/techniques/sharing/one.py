"""One encoder for all tasks: everything but the heads is shared (multi BERT).

Source: SerBERTus §3, "multi" (METHODS 4.3, 4.6 with k = 0).
Differs: none; poolings of other kinds or settings stay apart, and `pooler: own` parts equal ones
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from encore.model.task_model import Branch
from encore.types import Sharing

__all__ = ["OneEncoder"]


class OneEncoder(Sharing[Branch]):
    def __init__(self, *, pooler: Literal["shared", "own"] = "shared") -> None:
        self.pooler = pooler

    def __call__(
        self, branches: Mapping[str, Branch], owners: Mapping[str, str]
    ) -> dict[str, list[Branch]]:
        return {
            task: [branches[owners[task]] if self.pooler == "shared" else own]
            for task, own in branches.items()
        }
