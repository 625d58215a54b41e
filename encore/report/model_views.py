"""A stored model on its dev rows: the words that its pooling weighs, the layers that it chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from encore import catalogue
from encore.data.batches import collate, evaluation_batches
from encore.model.mixtures import fused_places, mixtures
from encore.model.task_model import encoder_of
from encore.report.adapter_figure import AdapterShares
from encore.report.gather import GatheredRun
from encore.report.texts import Texts
from encore.runs.explain import Explanation
from encore.runs.predict import load

__all__ = ["adapter_shares", "chosen_layers", "explanations"]


def explanations(
    found: GatheredRun, task: str, texts: Texts, rows: Sequence[int]
) -> list[Explanation]:
    """The weights of the words of these rows; none where the run keeps no model."""
    if not (found.folder / "model").is_dir():
        return []
    given: list[Any] = [texts.texts[row] for row in rows]
    if texts.pairs is not None:
        given = list(zip(given, (texts.pairs[row] for row in rows), strict=True))
    return load(found.folder).explain(given, task=task)


def adapter_shares(found: GatheredRun, task: str, texts: Texts) -> AdapterShares | None:
    """The mean shares of fused adapters over the tokens of a dev set; None where no adapters are
    fused, or where the run keeps no model.
    """
    if texts.tokens is None or not (found.folder / "model").is_dir():
        return None
    loaded = load(found.folder).task(task)
    names, model = loaded.adapters, loaded.model
    if not names:
        return None
    sums = {
        place: torch.zeros(len(place.adapters), dtype=torch.float64)
        for place in fused_places(model)
    }
    device = next(model.parameters()).device
    for rows in evaluation_batches(texts.tokens.lengths):
        for place, shares in mixtures(model, collate(texts.tokens, rows, device)).items():
            sums[place] += shares.double().sum(dim=0).cpu()
    shown = {
        str(place): {
            names[number]: float(share)
            for number, share in zip(place.adapters, total / total.sum(), strict=True)
        }
        for place, total in sums.items()
    }
    return AdapterShares(names, shown)


def chosen_layers(found: GatheredRun, task: str, texts: Texts) -> dict[int, int]:
    """Layer → how many rows (norm_cls) or tokens (norm_seq_mha) of a dev set take their vector from
    it, the lowest layer first; empty where the pooling chooses none, or where the run keeps no
    model.
    """
    kind = catalogue.find("pooling", found.identity["tasks"][task]["pooling"]["name"])
    if texts.tokens is None or not (found.folder / "model").is_dir():
        return {}
    if kind.layer_counts is None:
        return {}
    model = load(found.folder).task(task).model.eval()
    counts: Counter[int] = Counter()
    for branch in model.branches:
        read, layer_counts = branch.pooling.layers, branch.pooling.layer_counts
        if layer_counts is None:
            continue
        top = encoder_of(branch).shape.n_layers
        layers = [layer if layer >= 0 else top + 1 + layer for layer in read]
        for rows in evaluation_batches(texts.tokens.lengths):
            tokens = collate(texts.tokens, rows, next(model.parameters()).device)
            with torch.inference_mode():
                encoded, _ = branch.encoded(tokens)
                of_layer = layer_counts(encoded).tolist()
            counts.update(dict(zip(layers, of_layer, strict=True)))
    return dict(sorted(counts.items()))
