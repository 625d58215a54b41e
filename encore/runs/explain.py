"""Token weights of the poolings that have them, word by word.

A word's weight is the sum over its pieces and, where the pooling has several heads, the mean over
heads. Each head's weights add up to 1 in each row, so these do too, with the weight of tokens that
belong to no word ([CLS], [SEP]). They show which words the vector is made of, which need not be the
ones that change the prediction.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from encore import catalogue
from encore.data.batches import collate, evaluation_batches
from encore.data.token_store import Pieces, Truncation, split_pieces, tokenize
from encore.data.tokenizer import Texts, TextTokenizer
from encore.errors import RecipeError, printable
from encore.model.task_model import Branch, TaskModel

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "Explanation",
    "Word",
    "WordWeights",
    "explain",
    "explainable_poolings",
    "explained_branch",
    "render_explanation",
    "weight_columns",
]

_BLOCK_ROWS = 512  # whose words are in memory at once
_STRONGEST = 8  # words named under a text


@dataclass(frozen=True)
class Word:
    """`word` is `text[start:end]`. `weight`: its share of the row's vector; None where truncation
    cut all of it off.
    """

    word: str
    start: int
    end: int
    weight: float | None


@dataclass(frozen=True)
class WordWeights:
    """One text, as the model reads it (a named task may have normalised it), and its words in their
    order.
    """

    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Explanation:
    """One example: its text, or both texts of a pair. `rest`: the weight of tokens that
    belong to no word; with that of all words it adds up to 1.
    """

    texts: tuple[WordWeights, ...]
    rest: float

    def strongest(self, k: int) -> list[Word]:
        """The k words of the greatest weight, the greatest first, of either text."""
        read = [word for text in self.texts for word in text.words if word.weight is not None]
        return sorted(read, key=lambda word: -(word.weight or 0.0))[:k]


def explainable_poolings() -> tuple[str, ...]:
    """Names of the poolings that have token weights."""
    return tuple(
        name
        for name in catalogue.names("pooling")
        if catalogue.find("pooling", name).weights is not None
    )


def explained_branch(model: TaskModel) -> Branch:
    """The model's branch whose pooling has token weights. Raises RecipeError where there is
    none.
    """
    for branch in model.branches:
        if branch.pooling.weights is not None:
            return branch
    own = [type(branch.pooling).__module__.rpartition(".")[2] for branch in model.branches]
    raise RecipeError(
        f"pooling '{own[0]}' has no token weights, so there is nothing to explain. Train with "
        f"one of these: {', '.join(explainable_poolings())}."
    )


def explain(
    model: TaskModel,
    tokenizer: TextTokenizer,
    texts: Texts,
    pairs: Texts | None = None,
    *,
    max_length: int,
    truncation: Truncation,
) -> Iterator[Explanation]:
    """One explanation per row, in their order, a few hundred rows at a time. Raises RecipeError
    where the pooling has no weights, DataError for what is no text.
    """
    return _explained(
        explained_branch(model),
        model.eval(),
        tokenizer,
        texts,
        pairs,
        {"max_length": max_length, "truncation": truncation},
    )


def _explained(
    branch: Branch,
    model: TaskModel,
    tokenizer: TextTokenizer,
    texts: Any,
    pairs: Any,
    cutting: Mapping[str, Any],
) -> Iterator[Explanation]:
    weigh = branch.pooling.weights
    assert weigh is not None  # explained_branch has chosen it
    for start in range(0, len(texts), _BLOCK_ROWS):
        first, second = (
            None if side is None else _strings(side[start : start + _BLOCK_ROWS])
            for side in (texts, pairs)
        )
        assert first is not None
        store = tokenize(tokenizer, first, second, **cutting)
        found: dict[int, Tensor] = {}
        for rows in evaluation_batches(store.lengths):
            tokens = collate(store, rows, next(model.parameters()).device)
            with torch.inference_mode():
                weights = weigh(branch.encoder(tokens, layers=branch.pooling.layers))
            of_token = (weights.mean(dim=1) if weights.dim() == 2 else weights).double().cpu()
            found |= dict(zip(rows.tolist(), of_token.split(tokens.lengths), strict=True))
        for row, text in enumerate(first):
            sides = (text,) if second is None else (text, second[row])
            yield _explanation(
                sides, split_pieces(tokenizer, *sides, **cutting), found[row].tolist()
            )


def _strings(texts: Any) -> list[str]:
    return texts.to_pylist() if hasattr(texts, "to_pylist") else list(texts)


def _explanation(
    texts: Sequence[str], sides: Sequence[Pieces], weights: Sequence[float]
) -> Explanation:
    found = [
        WordWeights(text, tuple(_words(text, side, weights)))
        for text, side in zip(texts, sides, strict=True)
    ]
    in_words = sum(word.weight for text in found for word in text.words if word.weight is not None)
    return Explanation(tuple(found), max(0.0, sum(weights) - in_words))


def _words(text: str, side: Pieces, weights: Sequence[float]) -> Iterator[Word]:
    """Pieces that the tokenizer counts to one word, put together, and parted again where there is a
    blank between them: a tokenizer without a pre-tokenizer knows no words. A piece without
    characters, such as the blank in front of a word, counts to the word that follows.
    """
    found: list[list[Any]] = []  # start, end, weight
    numbered = zip(side.words, side.spans, side.places.tolist(), strict=True)
    for _, group in groupby(numbered, key=lambda piece: piece[0]):
        fresh, before = True, None
        for _, span, place in group:
            start, end = _trimmed(text, *span)
            weight = None if place < 0 else weights[place]
            if start == end:
                before = _sum(before, weight)
                continue
            accent = (
                bool(found) and found[-1][1] == start and unicodedata.combining(text[start]) > 0
            )  # of the letter before it
            if accent or not (
                fresh or any(character.isspace() for character in text[found[-1][1] : start])
            ):
                found[-1][1:] = max(found[-1][1], end), _sum(found[-1][2], weight)
            else:
                found.append([start, end, weight])
            found[-1][2], before, fresh = _sum(found[-1][2], before), None, False
    limits = [*(start for start, _, _ in found[1:]), len(text)]
    for (start, end, weight), limit in zip(found, limits, strict=False):
        while end < limit and unicodedata.combining(text[end]):
            end += 1  # a tokenizer that strips accents leaves them out of its words
        yield Word(text[start:end], start, end, weight)


def _sum(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else a + b


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Byte-level and sentencepiece tokenizers count the blank before a word to its first piece."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


# -------------------------------------------------------------------------------------------- shown


def render_explanation(explanation: Explanation, *, title: str, names: Sequence[str] = ()) -> Text:
    """A few lines for a terminal: the text, its words on the stronger a colour the more they weigh
    above the average word, what was cut, and the strongest words with their share. `names`: what
    the two texts of a pair are called. Nothing in a text can move the cursor, change colours or be
    taken for markup.
    """
    from rich.text import Text

    weights = [
        word.weight for side in explanation.texts for word in side.words if word.weight is not None
    ]
    average, top = sum(weights) / max(len(weights), 1), max(weights, default=0.0)
    shown = Text(f"{printable(title)}\n", style="bold")
    for number, side in enumerate(explanation.texts):
        shown.append(
            f"  {printable(names[number])}: " if len(explanation.texts) > 1 and names else "  ",
            style="not bold",
        )
        shown.append_text(_coloured(side, average, top))
        shown.append("\n")
    shares = [
        f"{printable(word.word)} {_share(word.weight or 0.0)}"
        for word in explanation.strongest(_STRONGEST)
    ]
    shown.append(
        f"  {', '.join([*shares, f'special tokens {_share(explanation.rest)}'])}",
        style="not bold dim",
    )
    return shown


def _coloured(side: WordWeights, average: float, top: float) -> Text:
    from rich.text import Text

    shown, end, n_cut = Text(style="not bold"), 0, 0
    for word in side.words:
        if word.weight is None:
            n_cut, end = n_cut + 1, word.end
            continue
        if n_cut:
            shown.append(_cut(n_cut), style="dim")
            n_cut = 0
        shown.append(_gap(side.text[end : word.start]))
        shown.append(
            printable(word.word),
            style=_style((word.weight - average) / (top - average) if top > average else 0.0),
        )
        end = word.end
    shown.append(
        _cut(n_cut) if n_cut else _gap(side.text[end:]).rstrip(), style="dim" if n_cut else ""
    )
    return shown


def _gap(between: str) -> str:
    """The text between two words, on one line: one blank for any number of them, and characters
    that the tokenizer leaves out.
    """
    return "".join(
        " " if blank else printable("".join(run))
        for blank, run in groupby(between, key=str.isspace)
    )


def _cut(n_words: int) -> str:
    return f" [{n_words:,} word{'' if n_words == 1 else 's'} cut]"


def _style(strength: float) -> str:
    """Black on yellow (0) to red (1): readable on dark and on light terminals, and with 16 colours
    still yellow and red.
    """
    return f"black on rgb(255,{round(240 - 170 * strength)},90)" if strength > 0 else ""


def _share(weight: float) -> str:
    return f"{100 * weight:.1f} %"


def weight_columns(explanations: Iterable[Explanation], *, pair: bool) -> dict[str, Any]:
    """Columns of a table: `weights` (and `weights_pair`), a list of {word, start, end, weight} per
    row, and `weights_rest`.
    """
    import pyarrow as pa

    kind = pa.list_(
        pa.struct(
            [
                ("word", pa.string()),
                ("start", pa.int64()),
                ("end", pa.int64()),
                ("weight", pa.float64()),
            ]
        )
    )
    names = ("weights", "weights_pair") if pair else ("weights",)
    blocks: dict[str, list[Any]] = {name: [] for name in (*names, "weights_rest")}
    for block in _blocks(explanations):
        for number, name in enumerate(names):
            blocks[name].append(
                pa.array(
                    [[asdict(word) for word in each.texts[number].words] for each in block], kind
                )
            )
        blocks["weights_rest"].append(pa.array([each.rest for each in block], pa.float64()))
    return {
        name: pa.chunked_array(parts, kind if name in names else pa.float64())
        for name, parts in blocks.items()
    }


def _blocks(explanations: Iterable[Explanation]) -> Iterator[list[Explanation]]:
    block: list[Explanation] = []
    for each in explanations:
        block.append(each)
        if len(block) == _BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block
