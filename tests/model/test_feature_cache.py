"""A frozen encoder is asked once: the same figures as asking it every time, and it does not
change.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Tables

from encore import catalogue
from encore.data.batches import collate
from encore.encoder.encoder import Frozen
from encore.model import feature_cache
from encore.model.parameters import unique_state
from encore.model.task_model import Branch, TaskModel
from encore.recipe.load import recipe_from
from encore.runs.execute import execute
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.training.loop import TrainSettings, train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.scoring import score_rows

EVEN = catalogue.build("mixing", "even")

FROZEN = ("plan.freeze_encoder=true", "plan.epochs=2")
SPECS = {
    name: f"{{name: {name}, k: 2}}"
    for name in ("max_cls", "mean_cls", "norm_cls", "max_seq_mha", "mean_seq_mha", "norm_seq_mha")
}
SPECS |= {
    "concat": "{name: concat, of: [cls, mha, attention]}",
    "weighted_layers": "{name: weighted_layers, then: mean}",
}


def trained(
    prepared: Prepared, models: dict[str, TaskModel], plan: Any = None
) -> list[StepReport | EvalReport]:
    torch.set_num_threads(1)
    return list(
        train_loop(
            models,
            plan or prepared.plan,
            prepared.streams,
            TrainSettings(seed=prepared.recipe.seed, mixing=EVEN),
        )
    )


def _of_clear_norms(models: dict[str, TaskModel]) -> dict[str, TaskModel]:
    """Fresh LayerNorms give every layer's states the same norm, and then it is rounding that
    decides which layer `norm_cls` takes.
    """
    for model in models.values():
        for branch in model.branches:
            for number, block in enumerate(branch.encoder.blocks):  # type: ignore[union-attr,arg-type]
                block.output_norm.weight.data.mul_(1 + 0.1 * number)  # type: ignore[union-attr,operator]
    return models


@pytest.mark.parametrize("pooling", catalogue.names("pooling"))
def test_the_same_as_asking_the_encoder_every_time(
    tables: Tables, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = tables.prepared(*FROZEN, f"pooling={SPECS.get(pooling, pooling)}")
    (task,) = prepared.data
    once = _of_clear_norms(build_models(prepared))
    before = {name: value.clone() for name, value in once[task].state_dict().items()}
    mine = trained(prepared, once)
    slow = _of_clear_norms(build_models(prepared))
    (branch,) = slow[task].branches
    for parameter in branch.pooling.pretrained():
        parameter.requires_grad_(False)
    slow[task] = TaskModel([Branch(Frozen(branch.encoder), branch.pooling)], slow[task].head)  # type: ignore[arg-type]
    (phase,) = prepared.plan
    monkeypatch.setattr("encore.training.loop._feature_caches", lambda *_: {})
    theirs = trained(prepared, slow, [type(phase)(**{**vars(phase), "trainable": "all"})])
    assert [one.loss for one in mine if isinstance(one, StepReport)] == pytest.approx(
        [one.loss for one in theirs if isinstance(one, StepReport)], rel=1e-4
    )
    for one, other in zip(mine, theirs, strict=True):
        if isinstance(one, EvalReport) and isinstance(other, EvalReport):
            np.testing.assert_allclose(
                one.scores[task]["dev"], other.scores[task]["dev"], atol=1e-4
            )
    after = once[task].state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(".encoder." in name for name in changed)


def test_it_is_asked_once_about_every_row(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = tables.prepared("plan.freeze_encoder=true", "plan.epochs=5", "pooling=mha")
    models = build_models(prepared)
    (task,) = models
    asked: list[int] = []
    encoder: Any = type(models[task].branches[0].encoder)  # type: ignore[union-attr]
    run = encoder.run

    def counted(self: Any, embedded: Any, tokens: Any, **how: Any) -> Any:
        asked.append(tokens.n_rows)
        return run(self, embedded, tokens, **how)

    monkeypatch.setattr(encoder, "run", counted)
    trained(prepared, models)
    assert sum(asked) == 52 + 23


PAIRED: dict[str, Any] = {"text_pair": "other"}
UNTRAINED = (
    "nothing of it is trained: its encoder is frozen, and its pooling and head have no weights"
)


def test_a_frozen_encoder_behind_a_head_without_weights_is_measured_as_it_is(
    tables: Tables, tmp_path: Path
) -> None:
    """AdapterFusion, Table 1, its first row (METHODS 4.8): there is nothing to train, and the
    figures are those of the pretrained encoder.
    """
    of_pairs = {"label": "score", "kind": "regression", **PAIRED}
    prepared = tables.prepared(*FROZEN, "head=siamese_cosine", **of_pairs)
    models = build_models(prepared)
    (task,) = models
    expected = score_rows(
        models[task], prepared.streams[task].dev["dev"], prepared.data[task].labels
    )
    before = unique_state(models)
    reports = trained(prepared, models)
    assert all(torch.equal(value, before[name]) for name, value in unique_state(models).items())
    for report in reports:
        if isinstance(report, EvalReport):
            np.testing.assert_allclose(report.scores[task]["dev"], expected, atol=1e-5)
        else:
            assert report.grad_norm == 0
    result = execute(prepared, tmp_path)
    assert UNTRAINED in result.note_lines
    assert list(map(str, prepared.notes)) == [UNTRAINED]
    for other in (
        ("head=siamese_cosine", "head.size=3"),
        ("head=siamese_cosine", "pooling=attention"),
    ):
        assert not tables.prepared(*FROZEN, *other, **of_pairs).notes
    assert not tables.prepared("head=siamese_cosine", **of_pairs).notes


def test_beside_a_task_that_has_nothing_to_train_another_trains_as_alone(tables: Tables) -> None:
    """Also where a step takes both, and combines their gradients."""
    rows = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    tasks: dict[str, Any] = {
        "still": {
            "data": {**rows, **PAIRED, "label": "score", "kind": "regression"},
            "head": "siamese_cosine",
        },
        "learns": {
            "data": {**rows, "label": "verdict"},
            "head": {"name": "linear", "dropout": 0.0},
        },
    }
    for mixing in ({"mixing": "task_by_task"}, {"mixing": "sum", "combine": "pcgrad"}):
        found = []
        for names in (("still", "learns"), ("learns",)):
            whole = {"tasks": {name: tasks[name] for name in names}, "plan": mixing}
            prepared = prepare(
                recipe_from(
                    whole,
                    (
                        *tables.settings,
                        *FROZEN,
                        "plan.curve=constant",
                        "plan.warmup_frac=0",
                        "plan.clip_norm=null",
                    ),
                )
            )
            assert prepared.untrained == names[:-1]
            assert [prepared.note_line(note) for note in prepared.notes] == [
                f"{name}: {UNTRAINED}" for name in names[:-1]
            ]
            models = build_models(prepared)
            torch.set_num_threads(1)
            list(train_loop(models, prepared.plan, prepared.streams, prepared.settings))
            found.append(models["learns"].head.out.weight.detach())
        torch.testing.assert_close(*found)


def test_a_frozen_run_that_is_interrupted_ends_in_the_same_bytes(
    tables: Tables, tmp_path: Path
) -> None:
    prepared = tables.prepared(*FROZEN, "pooling=mha")
    whole = execute(prepared, tmp_path / "whole").folder

    def stop(report: StepReport | EvalReport) -> None:
        if isinstance(report, StepReport) and report.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepared, tmp_path / "stopped", watch=stop, checkpoint_steps=3)
    again = execute(prepared, tmp_path / "stopped").folder
    assert (again / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_a_run_that_is_not_frozen_keeps_its_name(tables: Tables) -> None:
    assert tables.prepared("plan.freeze_encoder=false").name == tables.prepared().name
    assert tables.prepared("plan.freeze_encoder=true").name != tables.prepared().name


# ---------------------------------------------------------------- beside an encoder that is trained


def beside(tables: Tables, *overrides: str, **keys: Any) -> Prepared:
    """Two tasks with a frozen copy of the encoder beside the one they share."""
    rows = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    tasks = {
        "verdict": {"data": {**rows, "label": "verdict"}},
        "score": {"data": {**rows, **PAIRED, "label": "score", "kind": "regression"}, **keys},
    }
    return prepare(
        recipe_from(
            {"tasks": tasks, "sharing": {"name": "static", "of": "one"}},
            (*tables.settings, "plan.epochs=3", *overrides),
        )
    )


READINGS: dict[str, dict[str, Any]] = {
    "either order": {"pair": {"name": "cross", "order": "random", "eval_order": "both"}},
    "apart": {"head": "siamese_cosine"},
    "first token": {"pooling": "cls"},
}


@pytest.mark.parametrize(("pooling", "alone"), [("cls", True), ("pooler", True), ("mean", False)])
def test_where_first_tokens_are_read_nothing_else_is_computed_last(
    pooling: str, alone: bool, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training, in what is kept, and in scoring: so that all three give the same bits."""
    prepared = beside(tables, f"pooling={pooling}", "plan.epochs=1")
    models, asked = build_models(prepared), list[bool]()
    encoder: Any = type(models["verdict"].branches[0].encoder)  # type: ignore[union-attr]
    run = encoder.run

    def watched(self: Any, embedded: torch.Tensor, tokens: Any, **how: Any) -> Any:
        asked.append(how["first_only"])
        return run(self, embedded, tokens, **how)

    monkeypatch.setattr(encoder, "run", watched)
    trained(prepared, models)
    score_rows(
        models["verdict"], prepared.streams["verdict"].dev["dev"], prepared.data["verdict"].labels
    )
    assert len(asked) > 8
    assert set(asked) == {alone}


@pytest.mark.parametrize("name", READINGS)
def test_a_frozen_copy_beside_a_trained_encoder_is_asked_once(
    name: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the run is what it would be if it were asked every time: to the bit on one thread, where
    a row does not depend on its batch.
    """
    prepared, asked, run = beside(tables, **READINGS[name]), list[int](), Frozen.run

    def counted(self: Frozen, embedded: torch.Tensor, tokens: Any, **how: Any) -> Any:
        asked.append(tokens.n_rows)
        return run(self, embedded, tokens, **how)

    monkeypatch.setattr(Frozen, "run", counted)
    found = []
    for keeps in (True, False):
        asked.clear()
        if not keeps:
            monkeypatch.setattr("encore.training.loop.fits_in_memory", lambda *_: False)
        models = build_models(prepared)
        reports = trained(prepared, models)
        stores = [
            rows.store
            for stream in prepared.streams.values()
            for rows in (stream.train, *stream.dev.values())
        ]
        assert (sum(asked) == sum(map(len, stores))) is keeps
        found.append(
            (
                unique_state(models),
                [report.loss for report in reports if isinstance(report, StepReport)],
            )
        )
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6)
    for key, value in found[0][0].items():
        torch.testing.assert_close(value, found[1][0][key], rtol=1e-5, atol=1e-7)


def test_a_frozen_copy_that_gives_too_much_is_asked_every_time(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = beside(tables)
    models = build_models(prepared)
    stores = {
        task: [rows.store for rows in (stream.train, *stream.dev.values())]
        for task, stream in prepared.streams.items()
    }
    needed = sum(4 * 24 * len(store) for each in stores.values() for store in each)
    monkeypatch.setattr(feature_cache, "_BESIDE", needed)
    assert feature_cache.fits_in_memory(models, stores)
    monkeypatch.setattr(feature_cache, "_BESIDE", needed - 1)
    assert not feature_cache.fits_in_memory(models, stores)


def test_the_embeddings_of_a_branch_that_is_kept_are_none(tables: Tables) -> None:
    """So that what changes embeddings, as SMART does, leaves the frozen copy alone (METHODS
    4.4).
    """
    prepared = beside(tables)
    model, store, rows = (
        build_models(prepared)["verdict"].eval(),
        prepared.streams["verdict"].train.store,
        np.array([3, 0, 7]),
    )
    tokens = feature_cache.cache_features(
        model, store, feature_cache.frozen_branches(model, all_of_them=False)
    ).with_lines(collate(store, rows), rows)
    plain, out = model(collate(store, rows)), model(tokens)
    torch.testing.assert_close(out.scores, plain.scores)
    trained_one, still = out.embedded
    assert still is None
    assert trained_one is not None
    assert torch.equal(model(tokens, embedded=out.embedded).scores, out.scores)
    assert not torch.allclose(model(tokens, embedded=(trained_one + 1, None)).scores, out.scores)


def test_sizes() -> None:
    class Rows:
        unit, reduced_width = "rows", 8

    class PerToken:
        unit, reduced_width = "tokens", 2

    class Store:
        lengths, ids = np.array([3, 4]), np.arange(7)

    assert feature_cache.cache_bytes([Rows(), PerToken()], [Store()]) == 4 * (2 * 8 + 7 * 2)  # type: ignore[list-item]
    cut = feature_cache.cache_bytes([PerToken()], [Store()], longest=3)  # type: ignore[list-item]
    assert cut == 4 * 6 * 2


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("pooling", ["pooler", "{name: concat, of: [cls, pooler]}"])
def test_a_frozen_encoder_keeps_its_pretrained_pooler(pooling: str, tables: Tables) -> None:
    """METHODS 1.12."""
    prepared = tables.prepared(*FROZEN, f"pooling={pooling}")
    models = build_models(prepared)
    (branch,) = models["train"].branches
    before = [parameter.clone() for parameter in branch.pooling.pretrained()]
    assert len(before) == 2
    assert trained(prepared, models)
    assert all(map(torch.equal, branch.pooling.pretrained(), before))
    thawed = tables.prepared("plan.epochs=2", f"pooling={pooling}")
    models = build_models(thawed)
    trained(thawed, models)
    (branch,) = models["train"].branches
    assert not any(map(torch.equal, branch.pooling.pretrained(), before))


def test_a_pooler_that_no_checkpoint_has_trains_with_the_heads(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(tiny_encoder, tmp_path / "bare")
    weights = safetensors.torch.load_file(bare / "model.safetensors")
    safetensors.torch.save_file(
        {name: tensor for name, tensor in weights.items() if "pooler" not in name},
        bare / "model.safetensors",
    )
    prepared = tables.prepared(*FROZEN, "pooling=pooler", f"encoder={bare}")
    models = build_models(prepared)
    (branch,) = models["train"].branches
    assert branch.pooling.pretrained() == []
    before = [parameter.clone() for parameter in branch.pooling.parameters()]
    trained(prepared, models)
    assert not any(map(torch.equal, branch.pooling.parameters(), before))
