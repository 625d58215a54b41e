"""Explanations as lines of a terminal and as columns of a table, and their test over all rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from encore.data.table import plural
from encore.data.tokenizer import TextTokenizer
from encore.errors import printable
from encore.evaluation.contrast import Student
from encore.runs.explain import Attribution, Explanation, Word, WordWeights
from encore.runs.gradients import masking_token
from encore.runs.loaded_task import LoadedTask
from encore.types import Note

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "Deletion",
    "GradientTally",
    "explanation_cells",
    "method_note",
    "render_explanation",
    "weight_columns",
]

_BLOCK_ROWS = 512  # whose words are in memory at once
_STRONGEST = 8  # words named under a text


def render_explanation(explanation: Explanation, *, title: str, names: Sequence[str] = ()) -> Text:
    """A few lines for a terminal: the text, its words on the stronger a colour the more they weigh
    above the average word (on blue where they speak against the prediction), what was cut, and the
    strongest words with their share. `names`: what the two texts of a pair are called. Nothing in a
    text can move the cursor, change colours or be taken for markup.
    """
    from rich.text import Text

    shown = Text(f"{printable(title)}\n", style="bold")
    for number, side in enumerate(explanation.texts):
        shown.append(
            f"  {printable(names[number])}: " if len(explanation.texts) > 1 and names else "  ",
            style="not bold",
        )
        shown.append_text(_coloured(explanation, side))
        shown.append("\n")
    shares = [
        f"{printable(word.word)} {_percent(explanation.share(word.weight or 0.0))}{_most(word)}"
        for word in explanation.strongest(_STRONGEST)
    ]
    if (
        explanation.attribution is None
    ):  # the path of the gradients leaves special tokens as they are
        shares.append(f"special tokens {_percent(explanation.rest)}")
    shown.append(f"  {', '.join(shares)}", style="not bold dim")
    if explanation.adapters:
        mixed = (f"{name} {_percent(each)}" for name, each in explanation.adapters.items())
        shown.append(f"\n  adapters: {', '.join(mixed)}", style="not bold dim")
    return shown


def _most(word: Word) -> str:
    """The fused adapter with the largest share in a word."""
    if not word.adapters:
        return ""
    name = max(word.adapters, key=lambda each: word.adapters[each])
    return f" ({name} {_percent(word.adapters[name])})"


def _coloured(explanation: Explanation, side: WordWeights) -> Text:
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
        strength = explanation.strength(word.weight)
        shown.append(printable(word.word), style=_style(strength, against=word.weight < 0))
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


def _style(strength: float, *, against: bool) -> str:
    """Black on yellow (0) to red (1), or on white to blue: readable on dark and on light terminals,
    and with 16 colours still yellow and red, or white and blue.
    """
    if strength <= 0:
        return ""
    fade = round(240 - 170 * strength)
    return f"black on rgb({fade},{fade},255)" if against else f"black on rgb(255,{fade},90)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-", "−")


def weight_columns(
    explanations: Iterable[Explanation],
    *,
    pair: bool,
    gradients: bool,
    adapters: Sequence[str] = (),
) -> dict[str, Any]:
    """Columns of a table: `weights` (and `weights_pair`), a list of {word, start, end, weight} per
    row, and `weights_rest`; by gradients also what each `Attribution` holds; with fused adapters
    `adapters`, the share of each, of words too.
    """
    import pyarrow as pa

    shares = pa.struct([(name, pa.float64()) for name in adapters])
    fields = [("word", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
    fields += [("weight", pa.float64()), *([("adapters", shares)] if adapters else [])]
    weights = pa.list_(pa.struct(fields))
    kinds = {"weights": weights} | ({"weights_pair": weights} if pair else {})
    kinds["weights_rest"] = pa.float64()
    kinds |= {"adapters": shares} if adapters else {}
    if gradients:
        kinds["weights_for"] = pa.list_(pa.string())
        kinds |= dict.fromkeys(("score_change", "fall", "random_fall"), pa.float64())
    blocks: dict[str, list[Any]] = {name: [] for name in kinds}
    for block in _blocks(explanations):
        cells = [explanation_cells(each) for each in block]
        for name, kind in kinds.items():
            blocks[name].append(pa.array([row[name] for row in cells], kind))
    return {name: pa.chunked_array(parts, kinds[name]) for name, parts in blocks.items()}


def explanation_cells(explanation: Explanation) -> dict[str, Any]:
    """One row of `weight_columns`."""
    names = ("weights", "weights_pair")
    cells: dict[str, Any] = {
        name: list(map(_word_cells, side.words))
        for name, side in zip(names, explanation.texts, strict=False)
    }
    cells["weights_rest"] = explanation.rest
    if explanation.adapters:
        cells["adapters"] = dict(explanation.adapters)
    found = explanation.attribution
    if found is not None:
        cells |= {
            "weights_for": list(found.labels),
            "score_change": found.change,
            "fall": found.fall,
            "random_fall": found.random_fall,
        }
    return cells


def _word_cells(word: Word) -> dict[str, Any]:
    cells = asdict(word)
    shares = cells.pop("adapters")
    return {**cells, "adapters": shares} if shares else cells


def _blocks(explanations: Iterable[Explanation]) -> Iterator[list[Explanation]]:
    block: list[Explanation] = []
    for each in explanations:
        block.append(each)
        if len(block) == _BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block


def method_note(task: LoadedTask, tokenizer: TextTokenizer) -> Note:
    """The method by which words of this task are weighed. Raises RecipeError as `masking_token`
    does.
    """
    if task.has_attention:
        text = "attention: how much of each word goes into the vector of its text"
        return Note(text, task.name, "explain")
    score, against = "the log-odds of the prediction", "speaks against it"
    if task.labels.kind == "regression":
        score, against = "the value", "lowers it"
    text = (
        f"integrated gradients: what each word adds to {score}, compared with "
        f"{masking_token(tokenizer)} in its place; less than 0: {against}"
    )
    return Note(text, task.name, "explain")


@dataclass(frozen=True)
class Deletion:
    """The deletion test: how far the score of a row falls without the strongest fifth of its words,
    and without as many random ones, means over rows. interval: of the difference (95 %, Student's t
    over rows); None below three rows.
    """

    rows: int
    fall: float
    random_fall: float
    difference: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        judged = "(not judged: below 3 rows)"
        if self.interval is not None:
            low, high = self.interval
            judged = f"[{low:.2f}, {high:.2f}]"
        return (
            f"without the strongest fifth of its words the score of a row falls by "
            f"{self.fall:.2f}, without as many random words by {self.random_fall:.2f}: difference "
            f"{self.difference:.2f} {judged}, {plural(self.rows, 'row')}"
        )


@dataclass
class GradientTally:
    """Counts rows that are explained by gradients as `counted` lets them pass.

    change, error: sums of the changes of the score and of what the weights miss of them, in size.
    n_tested: rows whose words were removed; fall, random_fall: the sums of their falls; squares:
    of the differences between the two.
    """

    n_rows: int = 0
    change: float = 0.0
    error: float = 0.0
    n_tested: int = 0
    fall: float = 0.0
    random_fall: float = 0.0
    squares: float = 0.0

    def counted(self, explanations: Iterable[Explanation]) -> Iterator[Explanation]:
        """The same explanations."""
        for one in explanations:
            if one.attribution is not None:
                self._count(one, one.attribution)
            yield one

    def _count(self, one: Explanation, found: Attribution) -> None:
        self.n_rows += 1
        self.change += abs(found.change)
        self.error += abs(sum(one.weights) + one.rest - found.change)
        if found.fall is not None and found.random_fall is not None:
            self.n_tested += 1
            self.fall += found.fall
            self.random_fall += found.random_fall
            self.squares += (found.fall - found.random_fall) ** 2

    @property
    def deletion(self) -> Deletion | None:
        """None where no row has two words."""
        n = self.n_tested
        if not n:
            return None
        difference = (self.fall - self.random_fall) / n
        interval = None
        if n > 2:
            variance = max(0.0, self.squares / n - difference**2) / (n - 1)
            student = Student(np.array(difference), np.array(variance**0.5), np.array(n - 1.0))
            low, high = student.interval()
            interval = (float(low), float(high))
        return Deletion(n, self.fall / n, self.random_fall / n, difference, interval)

    def to_json(self) -> dict[str, Any]:
        """Means over the rows; empty where none was explained by gradients."""
        if not self.n_rows:
            return {}
        completeness = {"change": self.change / self.n_rows, "error": self.error / self.n_rows}
        deletion = {} if self.deletion is None else asdict(self.deletion)
        return {"completeness": completeness, "deletion": deletion}

    @property
    def notes(self) -> list[Note]:
        """The lines behind the rows; nothing where none was explained by gradients."""
        if not self.n_rows:
            return []
        size, error = self.change / self.n_rows, self.error / self.n_rows
        sums = f"a row's words add up to the change of its score, {size:.2f}, to within {error:.1g}"
        test = "not made: no row has two words" if self.deletion is None else str(self.deletion)
        return [Note(sums, about="completeness"), Note(test, about="deletion test")]
