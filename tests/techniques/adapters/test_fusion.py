"""AdapterFusion: METHODS 7.2's numbers and identities, what trains, and runs that fuse the adapters
of other runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Tables
from small_encoders import BERT_BASE, CONFIGS, LABELS, batch_of, encoder_of, last, stirred, tokens
from torch import Tensor, nn

import encore
from encore import catalogue
from encore.data.batches import collate
from encore.data.token_store import tokenize
from encore.encoder import load
from encore.encoder.adapted import AdaptedResidual, without_adapters
from encore.encoder.encoder import Encoder
from encore.errors import EncoreError, RecipeError
from encore.export.folder import export_run
from encore.recipe.load import load_recipe, recipe_from
from encore.runs.execute import execute
from encore.runs.explanation_output import explanation_cells, weight_columns
from encore.runs.prepare import build_models, prepare
from encore.techniques.adapters._bottleneck import Bottleneck
from encore.techniques.adapters._fused import FusedAdapters
from encore.training import optimiser as optimiser_module
from encore.training.reports import StepReport
from encore.training.state import FitState, freeze
from encore.training.step import StepInput, take_step
from encore.types import LossTerm, Output, Spec


class Fixed(nn.Module):
    """An adapter that adds the same vector to every token."""

    def __init__(self, value: Sequence[float]) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def change(self, h: Tensor) -> Tensor:
        return self.value.expand_as(h)


def fused(of: Sequence[nn.Module], *, width: int = 12, **settings: Any) -> FusedAdapters:
    torch.manual_seed(3)
    given = {"temperature": 1.0, "p": 0.0, **settings}
    return FusedAdapters(width, dict(enumerate(of)), **given)


def bottlenecks(n: int, width: int = 12) -> list[nn.Module]:
    torch.manual_seed(7)
    return [stirred(Bottleneck(width, 5, "gelu"), 0.5) for _ in range(n)]


def test_the_worked_numbers() -> None:
    """Scores (1, 0) and values (2, 0), (0, 4): METHODS 7.2."""
    one = fused([Fixed([2.0, 0.0]), Fixed([0.0, 4.0])], width=2)
    h = torch.tensor([[1.0, 0.0]])
    with torch.no_grad():
        one.query.weight.copy_(torch.eye(2))
        one.key.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.0]]))  # keys (1, 0) and (0, 0)
        one.value.weight.copy_(torch.eye(2))
        weights = one.weights(h, one.changes(h))
        mixed = one(h) - h
    assert torch.allclose(weights, torch.tensor([[0.731059, 0.268941]]), atol=1e-6)
    assert torch.allclose(mixed, torch.tensor([[1.462117, 1.075766]]), atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_equals_a_slow_loop(temperature: float) -> None:
    one = fused(bottlenecks(3), temperature=temperature)
    stirred(one, 0.2)
    draw = torch.Generator().manual_seed(1)
    h = torch.randn(8, 12, generator=draw)
    expected = torch.zeros(8, 12)
    with torch.no_grad():
        for token in range(8):
            changes = [cast(Any, each).change(h[token : token + 1])[0] for each in one.adapters]
            query = one.query.weight @ h[token] + one.query.bias
            scores = torch.stack([query @ (one.key.weight @ z + one.key.bias) for z in changes])
            shares = torch.exp(scores / temperature) / torch.exp(scores / temperature).sum()
            expected[token] = h[token] + sum(
                share * (one.value.weight @ z) for share, z in zip(shares, changes, strict=True)
            )
        assert torch.allclose(one(h), expected, atol=1e-5)
        weights = one.weights(h, one.changes(h))
    assert torch.allclose(weights.sum(1), torch.ones(8), atol=1e-6)


def test_of_one_adapter_it_is_that_adapter() -> None:
    (adapter,) = bottlenecks(1)
    h = torch.randn(6, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(fused([adapter])(h), adapter(h), atol=1e-3)
        exact = fused([adapter])
        exact.value.weight.copy_(torch.eye(12))
        assert torch.allclose(exact(h), adapter(h), atol=1e-6)


def test_identical_adapters_need_no_attention_and_order_does_not_matter() -> None:
    one, other, third = bottlenecks(3)
    h = torch.randn(6, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        same = fused([one, one])
        before = same(h)
        stirred(same.query, 2.0)
        stirred(same.key, 2.0)
        assert torch.allclose(same(h), before, atol=1e-5)
        straight, turned = fused([one, other, third]), fused([third, one, other])
        assert torch.allclose(straight(h), turned(h), atol=1e-6)
        weights = straight.weights(h, straight.changes(h))
        moved = turned.weights(h, turned.changes(h))
        assert torch.allclose(weights, moved[:, [1, 2, 0]], atol=1e-6)


def test_the_regulariser_is_0_at_the_identity() -> None:
    one = fused(bottlenecks(2))
    with torch.no_grad():
        assert float(one.penalty()) == pytest.approx(12 * 11 * 1e-12)
        one.value.weight.copy_(torch.eye(12))
        assert float(one.penalty()) == 0
        one.value.weight[0, 1] += 0.5
        assert float(one.penalty()) == pytest.approx(0.25)


@pytest.mark.parametrize(("places", "blocks"), [("both", 24), ("feed_forward", 12)])
def test_parameters_on_bert_base(places: str, blocks: int) -> None:
    spec = {"name": "fusion", "of": ["houlsby", "houlsby"], "places": places}
    with load.on_meta_device():
        found = catalogue.build("adapters", spec)(load.build_skeleton(BERT_BASE))
    trained = sum(p.numel() for p in found.parameters() if p.requires_grad)
    assert trained == blocks * 1_771_008
    kept = sum(p.numel() for name, p in found.named_parameters() if name in found.own)
    assert kept == trained + 2 * blocks * 99_136


def test_places_with_one_adapter_and_kinds_that_have_none() -> None:
    encoder = encoder_of("bert")
    spec: Spec = {"name": "fusion", "of": ["houlsby", {"name": "pfeiffer", "size": 5}]}
    found = catalogue.build("adapters", spec)(encoder)
    ends = [m for m in found.modules() if isinstance(m, AdaptedResidual)]
    counts = sorted(len(cast(FusedAdapters, end.adapter).adapters) for end in ends)
    assert counts == [1] * 3 + [2] * 3
    with pytest.raises(RecipeError, match=r"of: these adapters have no bottleneck"):
        catalogue.build("adapters", {"name": "fusion", "of": ["lora"]})(encoder)
    with pytest.raises(RecipeError, match=r"of: expected the runs whose adapters are fused"):
        catalogue.build("adapters", "fusion")(encoder)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_first_tokens_alone_are_the_same(family: str) -> None:
    torch.manual_seed(1)
    spec: Spec = {"name": "fusion", "of": ["houlsby", "pfeiffer"]}
    found = cast(Encoder, stirred(catalogue.build("adapters", spec)(encoder_of(family)).eval()))
    batch = tokens()
    with torch.no_grad():
        whole, firsts = last(found, batch), last(found, batch, first_only=True)
    assert torch.allclose(firsts, whole[batch.offsets[:-1]], atol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_fusion_of_one_is_that_adapter_and_removed_leaves_the_encoder(family: str) -> None:
    encoder, batch = encoder_of(family), tokens()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    spec: Spec = {"name": "houlsby", "size": 5}
    torch.manual_seed(1)
    one = cast(Encoder, stirred(catalogue.build("adapters", spec)(encoder).eval()))
    found = catalogue.build("adapters", {"name": "fusion", "of": [spec]})(encoder).eval()
    alone = {n: m for n, m in one.named_modules() if isinstance(m, AdaptedResidual)}
    for name, end in found.named_modules():
        if isinstance(end, AdaptedResidual):
            end.adapter.load_adapter(0, alone[name].adapter.state_dict())
            nn.init.eye_(cast(Any, end.adapter).value.weight)
    with torch.no_grad():
        assert torch.allclose(last(found, batch), last(one, batch), atol=1e-5)
        assert not torch.allclose(last(found, batch), last(encoder, batch), atol=1e-2)
        assert torch.equal(last(without_adapters(found), batch), last(encoder, batch))
    assert all(torch.equal(encoder.state_dict()[name], before[name]) for name in before)


def test_the_term_is_the_sum_over_places_whatever_the_batch() -> None:
    spec: Spec = {"name": "fusion", "of": ["houlsby", "houlsby"]}
    encoder = catalogue.build("adapters", spec)(encoder_of("bert"))
    assert catalogue.build("adapters", spec).term == ("fusion_values", 0.01)
    assert catalogue.build("adapters", {**spec, "regularise": 0.0}).term is None  # type: ignore[dict-item]
    places = [m for m in encoder.modules() if isinstance(m, FusedAdapters)]
    with torch.no_grad():
        for place in places:
            place.value.weight[0, 1] = 0.5
    loss = catalogue.build("losses", "fusion_values", LABELS)
    output = Output(torch.zeros(9, 3), ())
    for rows in (slice(None), slice(3)):
        term: LossTerm = loss(encoder, batch_of("a", rows), output)
        assert float((term.sum / term.weight).detach()) == pytest.approx(6 * 0.25, rel=1e-5)


# -------------------------------------------------------------------------------------------- runs


def recipe_of(tables: Tables, encoder: Path, label: str, **more: Any) -> dict[str, Any]:
    kind = {"kind": "regression"} if label == "score" else {}
    return {
        "encoder": str(encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "pooling": "mean",
        "data": {"train": str(tables.train), "dev": str(tables.dev), "text": "text"},
        "tasks": {label: {"data": {"label": label, **kind}}},
        "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9},
        **more,
    }


@pytest.fixture
def recipe(tables: Tables, tiny_encoder: Path) -> dict[str, Any]:
    """Fusion of the adapters of two tasks on the first of them, whose head it begins with."""
    one = recipe_of(tables, tiny_encoder, "verdict", adapter={"name": "houlsby", "size": 6})
    two = recipe_of(tables, tiny_encoder, "score", adapter={"name": "houlsby", "size": 4})
    found = recipe_of(tables, tiny_encoder, "verdict")
    found["adapter"] = {"name": "fusion", "of": [{"run": one}, {"run": two}]}
    found["tasks"]["verdict"]["head_from"] = {"run": one}
    return found


def weights(run: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run / "model" / "weights.safetensors")


def test_it_begins_as_its_runs_ended_and_changes_nothing_of_them(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    prepared = prepare(recipe_from(recipe))
    assert len(prepared.firsts) == 2
    run = encore.fit(recipe, runs=tmp_path).folder
    found = weights(run)
    begun = build_models(prepared, tmp_path)["verdict"].state_dict()
    for number, first in enumerate(prepared.firsts):
        task = next(iter(first.data))
        for name, value in weights(tmp_path / first.name).items():
            if ".adapter." in name:
                head, _, tail = name.removeprefix(f"{task}.").partition(".adapter.")
                place = f"{head}.adapter.adapters.{number}.{tail}"
                assert torch.equal(begun[place], value)
                assert torch.equal(found[f"verdict.{place}"], value), "they are frozen"
    first = weights(tmp_path / prepared.firsts[0].name)
    heads = {name.partition(".")[2]: value for name, value in first.items() if ".head." in name}
    assert heads
    assert all(torch.equal(begun[name], value) for name, value in heads.items())
    moved = {n for n in begun if not torch.equal(begun[n], found.get(f"verdict.{n}", begun[n]))}
    assert {name.split(".")[-2] for name in moved} == {"query", "key", "value", "out"}
    assert not any("word" in n or ".qkv." in n for n in found), "the encoder is not kept"


def test_read_again_or_exported_it_gives_the_same_and_needs_no_run(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    """The export is compared in a fresh process."""
    run = encore.fit(recipe, runs=tmp_path / "runs").folder
    texts = ["the lamp is great", "awful"]
    expected = encore.load(run).predict_proba(texts)
    for other in run.parent.iterdir():
        if other != run:
            shutil.rmtree(other)
    assert (encore.load(run).predict_proba(texts) == expected).all()
    done = export_run(run, "hf", tmp_path / "out")
    assert (done.own_class, done.difference < 1e-5) == (True, True)


def test_the_shares_of_its_adapters_are_told_for_each_word(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    run = execute(prepare(recipe_from(recipe)), tmp_path).folder
    model = encore.load(run)
    task = model.task(None)
    assert task.adapters == ("verdict", "score")
    text = "the lamp is great"  # each word is one token
    one = model.explain([text])[0]
    store = tokenize(model.tokenizer, [text], None, max_length=32, truncation="head")
    read, n_tokens = collate(store, np.array([0]), torch.device("cpu")), len(store.ids)
    # By hand: softmax over adapters of key times query, at every place, from what comes in.
    found: list[Tensor] = []

    def by_hand(mixing: Any, given: tuple[Tensor]) -> None:
        (h,) = given
        of_each = []
        for adapter in mixing.adapters:
            change = adapter.change(h)
            key = change @ mixing.key.weight.T + mixing.key.bias
            query = h @ mixing.query.weight.T + mixing.query.bias
            of_each.append((key * query).sum(dim=1))
        found.append(torch.stack(of_each, dim=1).softmax(dim=1)[:n_tokens])

    encoder = task.model.branches[0].encoder
    hooks = [
        each.register_forward_pre_hook(by_hand)
        for each in encoder.modules()
        if isinstance(each, FusedAdapters)
    ]
    with torch.no_grad():
        encoder(read, layers=(-1,))
    for each in hooks:
        each.remove()
    assert len(found) == 2 * len(encoder.blocks)
    shares = torch.stack(found).mean(dim=0)
    expected = dict(zip(task.adapters, shares.mean(dim=0).tolist(), strict=True))
    assert one.adapters == pytest.approx(expected, abs=1e-5)
    words = [dict(word.adapters) for word in one.texts[0].words]
    of_words = [
        dict(zip(task.adapters, line, strict=True)) for line in shares[1:-1].tolist()
    ]  # [CLS] and [SEP] belong to none
    assert len(words) == 4
    for got, wanted in zip(words, of_words, strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)
    cells = explanation_cells(one)
    assert cells["adapters"] == one.adapters
    columns = weight_columns([one], pair=False, gradients=True, adapters=task.adapters)
    assert columns["adapters"].to_pylist() == [one.adapters]
    (line,) = columns["weights"].to_pylist()
    assert [word["adapters"] for word in line] == words


def test_its_shares_in_bf16_are_those_of_the_tokens_alone(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    """There a batch is filled up to a number of lines that the processor multiplies fast."""
    run = execute(prepare(recipe_from({**recipe, "precision": "bf16"})), tmp_path).folder
    one = encore.load(run).explain(["the lamp is great"])[0]
    assert sum(one.adapters.values()) == pytest.approx(1)
    for word in one.texts[0].words:
        assert sum(word.adapters.values()) == pytest.approx(1)


def test_its_names_and_its_terms(recipe: dict[str, Any], tmp_path: Path) -> None:
    prepared = prepare(recipe_from(recipe))
    assert "fusion_values" in prepared.streams["verdict"].losses
    one, two = recipe["adapter"]["of"]
    faster = {"run": {**two["run"], "plan": {**two["run"]["plan"], "lr": 2e-2}}}
    for of in ([one], [one, faster], [two, one]):
        other = {**recipe, "adapter": {"name": "fusion", "of": of}}
        assert prepare(recipe_from(other)).name != prepared.name
    run = encore.fit(recipe, runs=tmp_path).folder
    assert prepare(load_recipe(run / "recipe.yaml")).name == run.name


@pytest.mark.parametrize("stop", [3, 7])
def test_interrupted_and_resumed_it_is_the_same(
    stop: int, recipe: dict[str, Any], tmp_path: Path
) -> None:
    prepared = prepare(recipe_from(recipe))
    whole = execute(prepared, tmp_path / "whole").folder

    def watch(report: Any) -> None:
        if isinstance(report, StepReport) and report.step == stop:
            raise KeyboardInterrupt

    for first in prepared.firsts:
        execute(first, tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        execute(prepared, tmp_path / "parts", watch=watch, checkpoint_steps=2)
    again = execute(prepare(recipe_from(recipe)), tmp_path / "parts").folder
    one, other = weights(whole), weights(again)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_folders_of_runs_serve_as_well(recipe: dict[str, Any], tmp_path: Path) -> None:
    by_recipe = prepare(recipe_from(recipe))
    folders = [
        str(encore.fit(each["run"], runs=tmp_path).folder) for each in recipe["adapter"]["of"]
    ]
    given = {**recipe, "adapter": {"name": "fusion", "of": folders}}
    given["tasks"] = {"verdict": {**recipe["tasks"]["verdict"], "head_from": folders[0]}}
    by_folder = prepare(recipe_from(given))
    assert by_folder.name == by_recipe.name
    assert encore.fit(given, runs=tmp_path / "other").folder.name == by_recipe.name


def test_what_is_refused_before_anything_starts(
    recipe: dict[str, Any], tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    plain = recipe_of(tables, tiny_encoder, "score")
    first = recipe["adapter"]["of"][0]
    given = {**recipe, "adapter": {"name": "fusion", "of": [first, {"run": plain}]}}
    with pytest.raises(RecipeError, match=r"the run on score trained no adapter. Add"):
        prepare(recipe_from(given))
    misspelt = {**recipe, "adapter": {"name": "fusion", "of": [{**first, "taks": "verdict"}]}}
    with pytest.raises(RecipeError, match=r"adapter.of.taks: no such setting. Did you mean 'task'"):
        prepare(recipe_from(misspelt))
    with pytest.raises(RecipeError, match=r"expected a run, or {run: …, task: …}, got 3"):
        prepare(recipe_from({**recipe, "adapter": {"name": "fusion", "of": [3]}}))
    with pytest.raises(RecipeError, match=r"belongs to another encoder"):
        prepare(recipe_from({**recipe, "encoder": "minilm"}))
    with pytest.raises(EncoreError, match=r"expected the runs whose adapters are fused, got none"):
        prepare(recipe_from({**recipe, "adapter": "fusion"}))
    wrong = {**recipe, "tasks": {"verdict": {"data": {"label": "verdict"}, "head": "siamese_dot"}}}
    wrong["tasks"]["verdict"]["head_from"] = first
    with pytest.raises(RecipeError, match=r"the head of 'verdict' in that run is 'linear'"):
        prepare(recipe_from(wrong))
    task = {"data": {"label": "verdict"}, "head_from": {"run": plain}}
    with pytest.raises(RecipeError, match=r"labels none, and this task bad, fair, good"):
        prepare(recipe_from({**recipe, "tasks": {"verdict": task}}))
    wide = recipe_of(tables, tiny_encoder, "verdict", pooling="mean_max")
    task = {"data": {"label": "verdict"}, "head_from": {"run": wide}}
    with pytest.raises(RecipeError, match=r"reads vectors of another size"):
        prepare(recipe_from({**recipe, "tasks": {"verdict": task}}))
    assert not list(tmp_path.iterdir())


def test_a_step_moves_query_key_value_and_the_head_alone(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    encore.fit(recipe, runs=tmp_path)
    prepared = prepare(recipe_from(recipe))
    models = build_models(prepared, tmp_path)
    state = FitState(models)
    freeze(models, prepared.plan[0], state.infos)
    state.optimiser = optimiser_module.adamw(state.parameters, prepared.plan[0], state.infos)
    before = {n: p.detach().clone() for n, p in models["verdict"].named_parameters()}
    loss = catalogue.build("losses", "cross_entropy", LABELS)
    part = StepInput(models["verdict"].train(), [batch_of("verdict")], {"task": (1.0, loss)})
    take_step([part], state.optimiser, seed=1, step=1, clip_norm=1.0)
    moved = {n for n, p in models["verdict"].named_parameters() if not torch.equal(p, before[n])}
    kinds = {n.split(".")[-2] if ".adapter." in n else n.split(".")[0] for n in moved}
    assert kinds == {"query", "key", "value", "head"}
