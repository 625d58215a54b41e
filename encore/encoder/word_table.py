"""The word table, of which a run trains only the rows that occur in its training texts.

Rows that never occur get no gradient, so AdamW does nothing to them but weight decay, and that is
one number for all of them. A dense gradient for 30,522 rows would cost a fifth of a training step
on short texts and three times the table in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encore.errors import TrainingError

__all__ = ["WordTable"]


class WordTable(nn.Module):
    """ids (tokens,) → (tokens, width). `state_dict` always holds the whole table, in the
    vocabulary's order and with decay applied.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, width))
        self.table: Tensor | None = (
            None  # all rows, those in training first; `weight` is a view of its beginning
        )
        self.place: Tensor | None = None  # (vocabulary,) int64: where an id's row lies in `table`
        self.decay = 1.0  # what weight decay has made of every row that is not in training

    @property
    def n_words(self) -> int:
        return len(self.weight if self.table is None else self.table)

    @torch.no_grad()
    def narrow(self, ids: Tensor) -> None:
        """Make only the rows `ids` (unique, sorted) parameters; batches may hold no other ids."""
        whole = self.whole()
        rest = (
            torch.ones(len(whole), dtype=torch.bool, device=whole.device)
            .index_fill_(0, ids, False)
            .nonzero()
            .squeeze(1)
        )
        order = torch.cat([ids, rest])
        trainable = self.weight.requires_grad
        self.table = whole[order]
        self.place = torch.empty_like(order).index_copy_(
            0, order, torch.arange(len(order), device=order.device)
        )
        self.weight = nn.Parameter(self.table[: len(ids)], requires_grad=trainable)
        self.decay = 1.0

    def move(self, place: Callable[[Tensor], Tensor]) -> None:
        """Let the table be what `place` makes of it: the same numbers in other memory. `weight`
        stays the same parameter.
        """
        if self.table is None:
            self.weight.data = place(self.weight.detach())
        else:
            self.table = place(self.table)
            self.weight.data = self.table[: len(self.weight)]

    @contextlib.contextmanager
    def with_weight(self) -> Iterator[None]:
        """Inside, the table has the rows of `weight`, which has been given other memory."""
        before = self.table
        if before is not None:
            self.table = torch.cat([self.weight.detach(), before[len(self.weight) :]])
        try:
            yield
        finally:
            self.table = before

    def whole(self) -> Tensor:
        """(vocabulary, width), in the vocabulary's order."""
        if self.table is None or self.place is None:
            return self.weight.detach()
        n = len(self.weight)
        return torch.cat([self.table[:n], self.table[n:] * self.decay])[self.place]

    def forward(self, ids: Tensor) -> Tensor:
        if self.table is None or self.place is None:
            return F.embedding(ids, self.weight)
        places = self.place[ids]
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return self._trained(places, ids)
        vectors = F.embedding(places, self.table)
        return (
            vectors
            if self.decay == 1
            else torch.where(
                (places < len(self.weight)).unsqueeze(1), vectors, vectors * self.decay
            )
        )

    def _trained(self, places: Tensor, ids: Tensor) -> Tensor:
        """The vectors of words in training. Raises TrainingError for any other word, which no
        gradient could reach.
        """
        try:
            return F.embedding(places, self.weight)
        except IndexError:
            unseen = ids[places >= len(self.weight)].unique().tolist()
            raise TrainingError(
                f"the batch holds words that are not in the training texts: token "
                f"{', '.join(map(str, unseen[:5]))}{', …' if len(unseen) > 5 else ''}. Narrow "
                f"the word table to the ids of all training texts (FitState.narrow)."
            ) from None

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.whole()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        if self.table is not None:
            self.weight = nn.Parameter(
                state_dict[prefix + "weight"].detach().clone(),
                requires_grad=self.weight.requires_grad,
            )
            self.table, self.place, self.decay = None, None, 1.0
        else:
            super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Any, recurse: bool = True) -> WordTable:
        if self.table is None or self.place is None:
            return super()._apply(fn, recurse)
        trainable = self.weight.requires_grad
        self.table, self.place = fn(self.table), fn(self.place)
        self.weight = nn.Parameter(self.table[: len(self.weight)], requires_grad=trainable)
        return self
