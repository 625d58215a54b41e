"""Trains a WordPiece vocabulary on texts: BERT's tokenizer, for an encoder from scratch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from encore.errors import DataError, Problem

__all__ = ["SPECIAL_TOKENS", "train_wordpiece"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MOST_CHARACTERS = 200_000_000  # more hardly change a vocabulary
_MOST_LETTERS = 1000
_INSIDE = "##"


def train_wordpiece(texts: Callable[[], Iterable[str]], *, size: int, lowercase: bool) -> Tokenizer:
    """A tokenizer with at most `size` pieces, special tokens included, from the first 200 million
    characters of the texts, which are read twice. Raises DataError where they hold no word.

    `tokenizers` numbers the letters inside of words in the order of a hash table, which is another
    in each process, and breaks ties between equally frequent pieces by these numbers. So letters
    are counted and numbered here: equal texts give equal vocabularies.
    """
    normaliser = normalizers.BertNormalizer(lowercase=lowercase)
    counts: Counter[str] = Counter()
    for text in _first(texts(), _MOST_CHARACTERS):
        counts.update(normaliser.normalize_str(text))
    ranked = sorted((-n, letter) for letter, n in counts.items() if not letter.isspace())
    letters = sorted(letter for _, letter in ranked[: min(_MOST_LETTERS, size // 4)])
    if not letters:
        remedy = "Name texts with words in them, or another column."
        raise DataError(Problem(setting="texts", message="they hold no word.", remedy=remedy))
    numbered = [*SPECIAL_TOKENS, *letters, *(f"{_INSIDE}{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=numbered,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        continuing_subword_prefix=_INSIDE,
        show_progress=False,
    )
    learner = _backend(models.WordPiece(unk_token="[UNK]"), normaliser)
    learner.train_from_iterator(_first(texts(), _MOST_CHARACTERS), trainer)
    vocabulary = learner.get_vocab(with_added_tokens=False)
    backend = _backend(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100), normaliser
    )
    backend.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in SPECIAL_TOKENS]
    )
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return backend


def _backend(model: models.WordPiece, normaliser: normalizers.BertNormalizer) -> Tokenizer:
    backend = Tokenizer(model)
    backend.normalizer = normaliser
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _first(texts: Iterable[str], n_characters: int) -> Iterator[str]:
    for text in texts:
        yield text
        n_characters -= len(text)
        if n_characters <= 0:
            return
