"""The score on rows of one kind: by the length of their text, and by the words that both texts of a
pair have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from encore.evaluation.estimates import by_slice
from encore.evaluation.metric import Metric
from encore.evaluation.row_bins import row_bins
from encore.evaluation.word_overlap import OVERLAP, overlap_bins
from encore.report import figures
from encore.report.figures import Figure, RowBin, RowMeasure
from encore.report.page import slug
from encore.report.texts import Texts
from encore.runs.folder import DevPredictions
from encore.types import LabelSpace

__all__ = ["row_figures"]

_MOST_LENGTHS = 6
_BY_OVERLAP = RowMeasure(
    "word overlap",
    OVERLAP,
    "word_overlap_percent",
    "Word overlap: of the different words of a pair, lower-cased, the share that both texts have "
    "(Jaccard).",
)


def row_figures(
    groups: Mapping[str, Sequence[DevPredictions]],
    labels: LabelSpace,
    metric: Metric,
    texts: Texts | None,
    *,
    where: str,
    seed: int | None = None,
) -> Iterator[Figure]:
    """The score by length, and by overlap of pairs, where the texts are here and are enough.
    groups: variant → its runs, which are seeds. seed: of the bootstrap, where there is one run.
    """
    if texts is None:
        return
    for name, measure, words in _bins(texts):
        bins = {
            group: _over_seeds(words, runs, labels, metric)
            if seed is None
            else _of_one(words, runs[0], labels, metric, seed)
            for group, runs in groups.items()
        }
        yield figures.by_bins(
            slug(f"{name} {where}"), metric, bins, measure, where=where, several_seeds=seed is None
        )


def _bins(texts: Texts) -> Iterator[tuple[str, RowMeasure, list[str]]]:
    """Each measure with the name of its figure, and the bin of each row."""
    if texts.lengths is not None and (words := row_bins(texts.lengths, _MOST_LENGTHS)):
        assert texts.cut is not None
        n_cut = int(texts.cut.sum())
        unit = (
            "tokens"
            if not n_cut
            else f"tokens, {n_cut:,} of {len(texts.cut):,} rows cut to {texts.max_length}"
        )
        yield "lengths", RowMeasure("length of the text", f"length in {unit}", "tokens"), words
    if texts.pairs is not None and (words := overlap_bins(texts.texts, texts.pairs)):
        yield "overlap", _BY_OVERLAP, words


def _of_one(
    words: Sequence[str], one: DevPredictions, labels: LabelSpace, metric: Metric, seed: int
) -> list[RowBin]:
    """The bins of one run, with bootstrap intervals."""
    name = metric.__name__
    slices = by_slice(words, one.scores, one.targets, labels, [name], seed, groups=one.groups)
    return [
        RowBin(part.value, part.n_rows, (of := part.estimates[name]).value, of.low, of.high)
        for part in slices
    ]


def _over_seeds(
    words: Sequence[str], runs: Sequence[DevPredictions], labels: LabelSpace, metric: Metric
) -> list[RowBin]:
    """The bins of several seeds: mean, lowest and highest."""
    name = metric.__name__
    by_run = [
        by_slice(words, one.scores, one.targets, labels, [name], 0, n_resamples=2) for one in runs
    ]  # intervals are not shown
    found = []
    for slices in zip(*by_run, strict=True):
        values = [one.estimates[name].value for one in slices]
        found.append(
            RowBin(
                slices[0].value, slices[0].n_rows, float(np.mean(values)), min(values), max(values)
            )
        )
    return found
