"""Two encoders per task side by side: one that all tasks share, and one of the task's own (multi +
triple).

Source: SerBERTus §3, Table 6, Fig. 8 (METHODS 4.5).
Differs: none.
Cost: an encoder per task and one more; twice the time; the head sees both vectors.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from encore.encoder.adapted import copied
from encore.model.task_model import Branch
from encore.types import Sharing

__all__ = ["SharedAndOwnEncoders"]


class SharedAndOwnEncoders(Sharing[Branch]):
    """The shared branch comes first."""

    def __call__(
        self, branches: Mapping[str, Branch], owners: Mapping[str, str]
    ) -> dict[str, list[Branch]]:
        shared = {
            task: Branch(branches[task].encoder, copy.deepcopy(branches[task].pooling))
            for task in dict.fromkeys(owners.values())
        }
        return {
            task: [shared[owners[task]], Branch(copied(own.encoder), own.pooling)]
            for task, own in branches.items()
        }
