"""A narrowed word table names the words that it was not made for."""

from __future__ import annotations

import pytest
import torch

from encore.encoder.word_table import WordTable
from encore.errors import TrainingError


def narrowed() -> WordTable:
    table = WordTable(7, 2)
    torch.nn.init.normal_(table.weight)
    table.narrow(torch.tensor([1, 4]))
    return table


def test_an_unseen_word_in_training_is_named() -> None:
    table = narrowed()
    assert table(torch.tensor([4, 1, 4])).requires_grad
    with pytest.raises(TrainingError, match="token 3, 6"):
        table(torch.tensor([6, 1, 3, 3]))


def test_an_unseen_word_may_be_read_without_gradients() -> None:
    table = narrowed()
    whole = table.whole()
    with torch.no_grad():
        assert torch.equal(table(torch.tensor([6, 1, 3])), whole[[6, 1, 3]])
