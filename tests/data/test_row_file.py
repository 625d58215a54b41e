"""Texts as rows of token ids on disk, and the vocabulary that is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encore.data.row_file import RowFile, write_row_file
from encore.data.tokenizer import TextTokenizer
from encore.data.wordpiece import SPECIAL_TOKENS, train_wordpiece
from encore.errors import DataError

TEXTS = [
    "the lamp is very great",
    "a",
    "it came after my week and the box was slow on one zip",
    "",
    "the tent",
]


@pytest.mark.parametrize(("n_words", "n_bytes"), [(90, 2), (1 << 16, 2), ((1 << 16) + 1, 4)])
def test_rows_hold_every_token_once_and_in_order(
    tmp_path: Path, tiny_encoder: Path, n_words: int, n_bytes: int
) -> None:
    tokenizer = TextTokenizer(tiny_encoder)
    write_row_file(tmp_path, iter(TEXTS * 700), tokenizer, n_words, budget=5)
    rows = RowFile(tmp_path, n_words)
    ids, lengths = tokenizer.encoded(TEXTS * 700)
    assert (np.concatenate(rows.take(range(len(rows)))) == ids).all()
    assert (tmp_path / "ids").stat().st_size == n_bytes * len(ids) == n_bytes * rows.n_tokens
    assert rows.lengths.max() == 5
    assert (np.bincount(rows.documents, rows.lengths, minlength=3500) == lengths).all()
    of_third = rows.lengths[rows.documents == 2]
    assert of_third.tolist() == [5, 4, 4]  # 13 tokens: nearly equal, and none of a token or two
    assert [part.tolist() for part in rows.take([3, 0])] == [ids[11:15].tolist(), ids[:5].tolist()]


def test_texts_without_a_token_are_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    with pytest.raises(DataError, match="texts: they hold no token"):
        write_row_file(tmp_path, ["", ""], TextTokenizer(tiny_encoder), 90, budget=5)


def corpus() -> list[str]:
    draw = np.random.default_rng(0)
    words = [
        "".join(draw.choice(list("abcdefghijklmnop"), draw.integers(1, 9))) for _ in range(400)
    ]
    return [" ".join(draw.choice(words, 30)).capitalize() for _ in range(300)]


def test_a_vocabulary_is_the_same_each_time() -> None:
    """Ties between pieces are frequent here; `tokenizers` alone breaks them by chance."""
    first, *others = (train_wordpiece(corpus, size=300, lowercase=True).to_str() for _ in range(4))
    assert others == [first] * 3


def test_a_vocabulary_has_the_size_and_the_letters() -> None:
    backend = train_wordpiece(corpus, size=300, lowercase=True)
    known = backend.get_vocab()
    assert backend.get_vocab_size() == 300
    assert [backend.id_to_token(number) for number in range(5)] == list(SPECIAL_TOKENS)
    assert {"a", "##a", "p", "##p"} <= set(known)
    assert max(map(len, known)) > 5
    text = corpus()[0]
    encoding = backend.encode(text)
    assert encoding.tokens[0] == "[CLS]"
    assert "[UNK]" not in encoding.tokens
    assert backend.decode(encoding.ids) == text.lower()
    assert "A" in train_wordpiece(lambda: ["A b c d"] * 3, size=40, lowercase=False).get_vocab()
    with pytest.raises(DataError, match="texts: they hold no word"):
        train_wordpiece(lambda: ["  "], size=300, lowercase=True)
