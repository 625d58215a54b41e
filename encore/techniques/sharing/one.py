"""One encoder for all tasks: everything but the heads is shared (multi BERT).

Source: SerBERTus §3, "multi" (METHODS 4.3, 4.6 with k = 0).
Differs: none; poolings of other kinds or settings stay apart, and `pooler: own` parts equal ones
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from encore.model.task_model import Branch

__all__ = ["one"]


def one(
    branches: Mapping[str, Branch],
    alike: Mapping[str, str],
    *,
    pooler: Literal["shared", "own"] = "shared",
) -> dict[str, list[Branch]]:
    """Every task's branches. `branches`: each task's own pooling on the encoder, which is one
    object; `alike`: task → the first one with the same pooling.
    """
    return {
        task: [branches[alike[task]] if pooler == "shared" else own]
        for task, own in branches.items()
    }
