"""Integrated gradients against captum, a fine sum of small steps, and the difference of scores that
they must add up to.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from encore import catalogue
from encore.data.batches import collate
from encore.data.token_store import tokenize
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.encoder.encoder import Frozen
from encore.model.integrated_gradients import integrate
from encore.model.task_model import Branch, TaskModel
from encore.types import Tokens

TEXTS = ["the lamp is great and sturdy .", "awful", "my zip broke after one week with it"]


def model_of(folder: Path, *poolings: str, frozen: bool = False) -> TaskModel:
    """The tiny encoder under each pooling, the last one frozen on demand, and a head of three
    scores, far from its start.
    """
    branches = []
    torch.manual_seed(5)
    for name in poolings:
        pretrained = load.load_encoder(load.locate(str(folder)))
        pooling = catalogue.build("pooling", {"name": name}, pretrained.shape)
        branches.append(Branch(pretrained.encoder, pooling))
    if frozen:
        branches[-1] = Branch(Frozen(branches[-1].encoder), branches[-1].pooling)
    width = sum(branch.pooling.width for branch in branches)
    head = catalogue.build("heads", "linear", width, 3)
    nn.init.normal_(head.out.weight, std=0.5)
    return TaskModel(branches, head).eval()


@pytest.fixture(scope="module")
def rows(tiny_encoder: Path) -> tuple[Tokens, Tensor]:
    """Three rows, and their ids with [MASK] in place of words."""
    tokenizer = TextTokenizer(tiny_encoder)
    tokens = collate(
        tokenize(tokenizer, TEXTS, max_length=32, truncation="head"), np.arange(len(TEXTS))
    )
    special = [tokenizer.backend.token_to_id(name) for name in ("[CLS]", "[SEP]")]
    mask = tokenizer.backend.token_to_id("[MASK]")
    kept = torch.isin(tokens.ids, torch.tensor(special))
    return tokens, torch.where(kept, tokens.ids, mask)


def second(scores: Tensor) -> Tensor:
    return scores[:, 1] - scores[:, 2] ** 2


@pytest.mark.parametrize(
    ("poolings", "frozen"),
    [(["mean"], False), (["pooler"], False), (["cls", "mean"], False), (["mean", "cls"], True)],
    ids=["one", "first only", "two", "one frozen"],
)
def test_they_add_up_to_the_change_of_the_score(
    poolings: list[str], frozen: bool, tiny_encoder: Path, rows: tuple[Tokens, Tensor]
) -> None:
    tokens, baseline = rows
    model = model_of(tiny_encoder, *poolings, frozen=frozen)
    found = integrate(model, tokens, baseline, second)
    with torch.no_grad():
        change = second(model(tokens).scores) - second(model(replace(tokens, ids=baseline)).scores)
    sums = [part.sum().item() for part in found.attributions.split(tokens.lengths)]
    assert found.change.tolist() == pytest.approx(change.tolist(), abs=1e-5)
    assert sums == pytest.approx(change.tolist(), abs=1e-3)
    assert max(abs(change)) > 0.5, "nothing to add up to"
    assert found.attributions[tokens.offsets[:-1]].tolist() == [0.0] * 3, "[CLS] is where it was"
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_frozen_branch_has_its_share(tiny_encoder: Path, rows: tuple[Tokens, Tensor]) -> None:
    tokens, baseline = rows
    both = integrate(model_of(tiny_encoder, "mean", "mean"), tokens, baseline, second)
    one = integrate(model_of(tiny_encoder, "mean", "mean", frozen=True), tokens, baseline, second)
    assert torch.equal(both.attributions, one.attributions)


def test_they_are_the_integral(tiny_encoder: Path, rows: tuple[Tokens, Tensor]) -> None:
    """A plain sum over 2,000 small steps of a row alone, by autograd through the model itself."""
    tokens, baseline = rows
    model = model_of(tiny_encoder, "mean")
    found = integrate(model, tokens, baseline, second).attributions.split(tokens.lengths)
    encoder = model.branches[0].encoder
    start, end = (
        encoder.embedded(replace(tokens, ids=ids)).detach() for ids in (baseline, tokens.ids)
    )
    total = torch.zeros_like(end)
    n_steps = 2000
    for step in range(n_steps):
        at = (start + (step + 0.5) / n_steps * (end - start)).requires_grad_()
        second(model(tokens, embedded=[at]).scores).sum().backward()
        total += at.grad / n_steps
    slow = ((end - start) * total).sum(dim=1).split(tokens.lengths)
    for row, expected in zip(found, slow, strict=True):
        assert row.tolist() == pytest.approx(expected.tolist(), abs=2e-4)


def test_they_are_captums(tiny_encoder: Path, rows: tuple[Tokens, Tensor]) -> None:
    """LayerIntegratedGradients on transformers' embeddings, one row alone."""
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokens, baseline = rows
    model = model_of(tiny_encoder, "mean")
    found = integrate(model, tokens, baseline, second).attributions.split(tokens.lengths)
    reference = transformers.BertModel.from_pretrained(
        tiny_encoder, attn_implementation="eager"
    ).eval()

    def score(ids: Tensor) -> Tensor:
        return second(model.head.score(reference(ids).last_hidden_state.mean(dim=1)))

    layer = captum.LayerIntegratedGradients(score, reference.embeddings)
    ids, masked = tokens.ids.split(tokens.lengths), baseline.split(tokens.lengths)
    for row, given, begin in zip(found, ids, masked, strict=True):
        expected = layer.attribute(
            given[None], baselines=begin[None], n_steps=32, method="gausslegendre"
        )
        assert row.tolist() == pytest.approx(expected.sum(dim=2)[0].tolist(), abs=1e-4)
        assert row.abs().max() > 0.05


def test_the_order_of_rows_and_the_precision_of_the_run_do_not_matter(
    tiny_encoder: Path, rows: tuple[Tokens, Tensor]
) -> None:
    tokens, baseline = rows
    model = model_of(tiny_encoder, "mean")
    whole = integrate(model, tokens, baseline, second)
    model.branches[0].encoder.dtype = torch.bfloat16
    start, end = tokens.offsets[1:3].tolist()
    alone = replace(
        tokens,
        ids=tokens.ids[start:end],
        segments=tokens.segments[start:end],
        positions=tokens.positions[start:end],
        offsets=torch.tensor([0, end - start]),
        lengths=tokens.lengths[1:2],
    )
    one = integrate(model, alone, baseline[start:end], second)
    assert one.attributions.tolist() == pytest.approx(
        whole.attributions[start:end].tolist(), abs=1e-6
    )
    assert model.branches[0].encoder.dtype == torch.bfloat16
