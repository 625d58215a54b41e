"""Runs that start from runs: names before anything is trained, each run once, and what is refused
before anything starts.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from conftest import Tables

import encore
from encore import files
from encore.data.batches import collate
from encore.errors import EncoreError, RecipeError
from encore.evaluation.comparison_record import ComparisonRecord
from encore.experiments.comparison import run_comparison
from encore.experiments.preparation import prepare_comparison
from encore.experiments.tidy import describe_use
from encore.experiments.variants import study_from
from encore.model.task_model import TaskModel
from encore.recipe.load import load_recipe, recipe_from
from encore.recipe.run_spec import RunSpec
from encore.runs.contents import damaged_files
from encore.runs.execute import execute
from encore.runs.model_folder import read_models, read_parts
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.training.reports import StepReport
from encore.training.streams import Rows


@pytest.fixture
def first(tables: Tables, tiny_encoder: Path) -> dict[str, Any]:
    return recipe_of(tables, tiny_encoder, "verdict")


def recipe_of(tables: Tables, encoder: Any, label: str, **more: Any) -> dict[str, Any]:
    kind = {"kind": "regression"} if label == "score" else {}
    return {
        "encoder": str(encoder) if isinstance(encoder, Path) else encoder,
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "pooling": "pooler",
        "data": {"train": str(tables.train), "dev": str(tables.dev), "text": "text"},
        "tasks": {label: {"data": {"label": label, **kind}}},
        "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9},
        **more,
    }


def prepared(tables: Tables, reference: Any, **more: Any) -> Prepared:
    return prepare(recipe_from(recipe_of(tables, reference, "score", **more)))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "model" / "weights.safetensors")


def test_it_has_its_name_before_the_first_exists_and_starts_where_that_ended(
    tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    one = prepared(tables, {"run": first})
    assert one.start is not None
    assert [each.name for each in one.firsts] == [one.start.name] == [prepare_name(first)]
    execute(one, tmp_path)
    again = prepared(tables, {"run": first})
    assert again.name == one.name
    trained = weights(tmp_path / one.start.name)
    models = build_models(again, tmp_path)
    state = models["score"].state_dict()
    encoder = {name for name in state if ".encoder." in name or ".pooling." in name}
    assert encoder == {n.partition(".")[2] for n in trained if ".head." not in n}
    assert all(torch.equal(state[name], trained[f"verdict.{name}"]) for name in encoder)
    pretrained = build_models(prepared(tables, Path(first["encoder"])))["score"].state_dict()
    assert any(not torch.equal(state[name], pretrained[name]) for name in encoder)
    assert execute(again, tmp_path).already_complete


def prepare_name(recipe: dict[str, Any], **change: Any) -> str:
    return prepare(recipe_from({**recipe, **change})).name


def test_the_first_is_another_run_with_another_seed_epoch_or_rate(
    tables: Tables, first: dict[str, Any]
) -> None:
    plain = prepared(tables, {"run": first})
    assert plain.recipe.seed == 42
    other = prepared(tables, {"run": first, "seed": 1})
    assert other.firsts[0].name == prepare_name(first, seed=1) != plain.firsts[0].name
    assert other.name != plain.name
    with_it = prepared(tables, {"run": first}, seed=1)
    assert with_it.firsts[0].name == prepare_name(first, seed=1), "a chain has one seed"
    best = prepared(tables, {"run": first, "at": "best"})
    assert best.firsts[0].recipe.plan.keep == "best"
    assert best.name != plain.name
    faster = {**first, "plan": {**first["plan"], "lr": 2e-2}}
    assert prepared(tables, {"run": faster}).name != plain.name
    assert prepared(tables, {"run": {**first, "claim": "prose"}}).name == plain.name


def test_a_file_a_folder_and_a_mapping_mean_the_same_run(
    tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(first), encoding="utf-8")
    by_mapping = prepared(tables, {"run": first})
    by_file = prepared(tables, {"run": str(tmp_path / "first.yaml")})
    assert by_file.name == by_mapping.name
    run = encore.fit(first, runs=tmp_path / "runs").folder
    by_folder = prepared(tables, {"run": str(run)})
    assert by_folder.name == by_mapping.name
    assert by_folder.firsts == ()
    elsewhere = execute(by_folder, tmp_path / "others")
    beside = execute(by_file, tmp_path / "runs")
    assert weights(elsewhere.folder).keys() == weights(beside.folder).keys()
    one, other = weights(elsewhere.folder), weights(beside.folder)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_recipe_in_the_folder_is_the_whole_chain(
    tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(first), encoding="utf-8")
    run = execute(prepared(tables, {"run": str(tmp_path / "first.yaml")}), tmp_path / "runs").folder
    (tmp_path / "first.yaml").unlink()
    again = prepare(load_recipe(run / "recipe.yaml"))
    assert again.name == run.name
    assert execute(again, tmp_path / "runs").already_complete


def test_three_stages_and_the_adapter_of_a_trained_encoder(
    tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    second = recipe_of(tables, {"run": first}, "score")
    third = recipe_of(tables, {"run": second}, "verdict", adapter="houlsby")
    one = prepare(recipe_from(third))
    assert len(one.firsts) == 2
    run = execute(one, tmp_path).folder
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [*(each.name for each in one.firsts), one.name]
    )
    texts = ["the lamp is great", "awful"]
    expected = encore.load(run).predict_proba(texts)
    assert (encore.load(run).predict_proba(texts) == expected).all()
    shutil.rmtree(tmp_path / one.firsts[-1].name)
    with pytest.raises(EncoreError, match=r"belong to the encoder of the run .*is not there"):
        encore.load(run)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"run": "nothing.yaml"}, r"nothing.yaml: no such file"),
        ({"run": "nothing"}, r"no recipe, run or variant called 'nothing'"),
        ({"run": "", "task": 1}, r"encoder.run: expected a recipe or the folder of a run"),
        ({"run": "FIRST", "taks": "verdict"}, r"no such setting. Did you mean 'task'"),
        ({"run": "FIRST", "task": "verdit"}, r"no task called 'verdit'. Did you mean 'verdict'"),
        ({"run": "FIRST", "at": "middle"}, r"expected best, last, {epoch: N}, .* got 'middle'"),
        ({"run": "FIRST", "at": {"epoch": 0}}, r"expected best, last, {epoch: N}"),
        ({"run": "FIRST", "at": {"epoch": 1, "step": 2}}, r"expected best, last, {epoch: N}"),
        ({"run": "FIRST", "at": True}, r"expected best, last, {epoch: N}"),
        ({"run": "FIRST", "at": 3}, r"plan.keep: expected an epoch from 1 to 2, got 3"),
        ({"run": "FIRST", "at": {"step": 3}}, r"keeps the weights of an epoch, and not of a step"),
        ({"run": "STOPPING", "at": 1}, r"may stop early, before its epoch 1"),
        ({"run": "FOLDER", "at": 1}, r"of the last epoch, 2, not of epoch 1. Name its recipe, wh"),
        ({"run": "FOLDER", "at": {"step": 1}}, r"of an epoch, and not of a step"),
        ({"run": "FIRST", "seed": -1}, r"expected a number from 0, got -1"),
        ({"run": "ADAPTED"}, r"that run trained an adapter, and its encoder is as it was"),
        ({"run": "FOLDER", "at": "best"}, r"its weights of the last epoch, 2, not of the best"),
        ({"run": "FOLDER", "seed": 3}, r"that run has the seed 42"),
        ({"run": "EMPTY"}, r"is no complete run"),
        (
            {"run": "WITHOUT"},
            r"has no weights: a comparison .*, train it again, to the same bits: encore train",
        ),
    ],
)
def test_what_is_refused_before_anything_starts(
    reference: dict[str, Any],
    message: str,
    tables: Tables,
    first: dict[str, Any],
    tmp_path: Path,
) -> None:
    given = dict(reference)
    if given["run"] == "FIRST":
        given["run"] = first
    elif given["run"] == "ADAPTED":
        given["run"] = {**first, "adapter": "lora"}
    elif given["run"] == "STOPPING":
        given["run"] = {**first, "plan": {**first["plan"], "keep": "best", "early_stopping": 1}}
    elif given["run"] in ("FOLDER", "WITHOUT"):
        keep = given["run"] == "FOLDER"
        run = execute(prepare(recipe_from(first)), tmp_path, keep_model=keep).folder
        given["run"] = str(run)
    elif given["run"] == "EMPTY":
        given["run"] = str(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EncoreError, match=message):
        prepared(tables, given)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "sharing", ["separate", "multi_and_own", {"name": "branch", "own_layers": 1}]
)
def test_one_of_several_encoders_is_not_taken_for_all_tasks(
    sharing: Any, tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    """Of a recipe and of a folder; named, or for one task, it may be."""
    both = {**first["tasks"], "score": {"data": {"label": "score", "kind": "regression"}}}
    several = {**first, "tasks": both, "sharing": sharing, "plan": {**first["plan"], "epochs": 1}}
    folder = (
        execute(prepare(recipe_from(several)), tmp_path).folder if sharing == "separate" else ""
    )

    def starts(reference: dict[str, Any], **more: Any) -> Prepared:
        return prepare(recipe_from({**several, "encoder": reference, **more}))

    def refused(reference: dict[str, Any], **more: Any) -> str:
        with pytest.raises(RecipeError, match="has several encoders") as caught:
            starts(reference, **more)
        [line] = caught.value.lines
        return line

    for run in (several, *([str(folder)] if folder else [])):
        assert "Name the task whose encoder is meant: {run: …, task: verdict}" in refused(
            {"run": run}
        )
        averaged = {"plan": {"name": "swa"}}
        assert "Average a run with `sharing: one`" in refused(
            {"run": run, "task": "score"}, **averaged
        )
        named = starts({"run": run, "task": "score"}).start
        assert named is not None
        assert named.task == "score"
        assert starts({"run": run}, tasks=first["tasks"]).start is not None
    shared = {**several, "sharing": "one"}
    assert starts({"run": shared}, plan={"name": "swa"}).start is not None


def test_any_epoch_can_be_the_start_and_the_first_run_keeps_that(
    tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    three = {**first, "plan": {**first["plan"], "epochs": 3}}
    kept = {}
    for at in (1, 2, 3):
        one = prepared(tables, {"run": three, "at": {"epoch": at}})
        assert one.name == prepared(tables, {"run": three, "at": at}).name
        assert one.firsts[0].recipe.plan.keep == at
        run = execute(one.firsts[0], tmp_path)
        assert (run.epoch, run.keep) == (at, at)
        assert run.describe_epoch("verdict") == f"epoch {at} of 3, as the recipe says"
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        figure = json.loads(lines[at - 1])["dev"]["verdict"]["dev"]["accuracy"]
        assert run.metrics["verdict"]["dev"]["model"]["accuracy"].value == figure
        assert run.caveats("verdict") == []
        kept[at] = weights(run.folder)
        state = build_models(one, tmp_path)["score"].state_dict()
        encoder = [name for name in state if ".encoder." in name or ".pooling." in name]
        assert encoder
        assert all(torch.equal(state[name], kept[at][f"verdict.{name}"]) for name in encoder)
        folder = prepared(tables, {"run": str(run.folder), "at": at})
        assert folder.name == one.name
        spec = prepare(load_recipe(run.folder / "recipe.yaml")).spec
        assert spec == RunSpec.from_json(spec.to_json())
    last = weights(execute(prepare(recipe_from(three)), tmp_path).folder)
    assert all(torch.equal(last[name], kept[3][name]) for name in last)
    assert any(not torch.equal(kept[1][name], kept[2][name]) for name in last)


def test_a_step_of_a_pre_training_can_be_the_start(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"the lamp is great and my tent {n}" for n in range(60)))
    given = {"texts": [str(texts)], "encoder": str(tiny_encoder), "threads": 1, "keep": [2]}
    given |= {"precision": "fp32", "max_length": 16, "plan": {"steps": 4, "batch_size": 8}}
    found = encore.pretrain(given, runs=tmp_path)
    plain = {step: prepared(tables, folder).name for step, folder in found.kept.items()}
    assert sorted(plain) == [2, 4]
    folder = str(found.folder)
    assert prepared(tables, {"run": folder, "at": {"step": 2}}).name == plain[2]
    assert prepared(tables, {"run": folder}).name == plain[4]
    assert prepared(tables, {"run": folder, "at": "last"}).name == plain[4]
    with pytest.raises(RecipeError, match=r"expected a step whose .* keeps \(2, 4\), got 3"):
        prepared(tables, {"run": folder, "at": {"step": 3}})
    for wrong in ({"at": 2}, {"at": "best"}, {"task": "verdict"}, {"seed": 1}):
        with pytest.raises(RecipeError, match=r"pre-training, of which a reference names a step"):
            prepared(tables, {"run": folder, **wrong})


def test_a_circle_of_files_is_refused(tables: Tables, tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        recipe = recipe_of(tables, {"run": f"{other}.yaml"}, "verdict")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"start from each other: .*b.yaml → .*a.yaml → .*b.yaml"):
        prepare(load_recipe(tmp_path / "a.yaml"))


def study(tables: Tables, encoder: Path, **more: Any) -> dict[str, Any]:
    base = recipe_of(tables, encoder, "verdict")
    verdict = base.pop("tasks")["verdict"]
    score = {"data": {"label": "score", "kind": "regression"}}
    return {
        **base,
        "each": {"tasks": [{"verdict": verdict}, {"score": score}]},
        "variants": {
            "after_verdict": {"encoder": {"run": "baseline", "task": "verdict"}},
            "after_score": {"encoder": {"run": "baseline", "task": "score"}},
        },
        "seeds": [1, 2],
        **more,
    }


@pytest.mark.nightly
def test_variants_start_from_variants_of_other_studies_each_computed_once(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    plan = prepare_comparison(study_from(study(tables, tiny_encoder)))
    assert len(plan.cells) == 2 * 3 * 2
    assert len(plan.distinct) == 2 * 2 * 2, "none is trained on its own task again"
    firsts = {one.name for each in plan.cells if each.run for one in each.run.firsts}
    baselines = {each.run.name for each in plan.cells if each.run and not each.run.firsts}
    assert firsts == baselines
    assert len(firsts) == 4
    lines: list[str] = []
    found = run_comparison(plan, tmp_path / "two", processes=2, tell=lines.append)
    assert not found.failed
    assert sorted(line.partition("]")[0] for line in lines) == sorted(
        f"[{number}/8" for number in range(1, 9)
    )
    assert not list((tmp_path / "two").glob("*/model")), "weights are kept while they are needed"
    again: list[str] = []
    assert run_comparison(plan, tmp_path / "two", tell=again.append).n_reused == 8
    assert again == []
    one = run_comparison(plan, tmp_path / "one", processes=1)
    assert (one.folder / "results.json").read_bytes() == (
        found.folder / "results.json"
    ).read_bytes()
    first = tmp_path / "two" / sorted(firsts)[0]
    assert "needed by compare-" in describe_use(first, "run")
    assert not files.wrong_files(first, ())


def orders(tables: Tables, encoder: Path, **more: Any) -> dict[str, Any]:
    given = study(tables, encoder, **more)
    for variant in given["variants"].values():
        variant["encoder"]["forgetting"] = True
    return given


@torch.no_grad()
def share_right(model: TaskModel, rows: Rows) -> float:
    """Read row by row."""
    said = [
        int(model(collate(rows.store, np.array([row]), torch.device("cpu"))).scores.argmax())
        for row in range(len(rows))
    ]
    return float(np.mean(np.array(said) == rows.targets))


def test_what_an_encoder_forgets_is_measured_with_the_head_that_it_had(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    plan = prepare_comparison(study_from(orders(tables, tiny_encoder)))
    found = run_comparison(plan, tmp_path, keep_models=True)
    record = found.record
    assert [one.order for one in record.sequences] == [("score", "verdict"), ("verdict", "score")]
    one = record.sequences[1]
    (lost,) = one.forgetting
    assert (lost.task, lost.n_rows) == ("verdict", 23)
    changes = []
    for seed in (1, 2):
        (last,) = (
            each.run
            for each in plan.cells
            if each.run and (each.cell.variant, each.cell.seed) == ("after_verdict", seed)
        )
        (first,) = last.firsts
        rows = first.streams["verdict"].dev["dev"]
        model, after = (
            read_models(folder, *read_parts(folder))[task].eval()
            for task, folder in (
                ("verdict", tmp_path / first.name / "model"),
                ("score", tmp_path / last.name / "model"),
            )
        )
        was = share_right(model, rows)
        model.branches[0].encoder.load_state_dict(after.branches[0].encoder.state_dict())
        changes.append(share_right(model, rows) - was)
    assert lost.metric == "accuracy"
    assert lost.change.differences == pytest.approx(changes)
    assert any(changes)
    transfer = next(each for each in record.studies if each.task == "score").metrics[0]
    row = transfer.variant("after_verdict")
    assert row is not None
    assert one.transfer == row.contrast
    again = run_comparison(plan, tmp_path)
    assert again.record == record
    assert ComparisonRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("stop", [4, 9])
def test_stopped_and_resumed_it_has_forgotten_the_same(
    stop: int, tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    run = prepared(tables, {"run": first, "forgetting": True}, seed=1)
    whole = execute(run, tmp_path / "whole").folder

    def watch(report: Any) -> None:
        if isinstance(report, StepReport) and report.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(run, tmp_path / "parts", watch=watch, checkpoint_steps=3)
    again = execute(run, tmp_path / "parts").folder
    (kept,) = [
        name for name in files.read_json(whole / files.MANIFEST) if name.startswith("forgetting/")
    ]
    assert kept == "forgetting/verdict/dev-2.parquet"
    assert (whole / files.MANIFEST).read_bytes() == (again / files.MANIFEST).read_bytes()
    (whole / kept).unlink()
    assert damaged_files(whole, "run") == [kept]
    manifest = files.read_json(again / files.MANIFEST)
    files.write_json(again / files.MANIFEST, {k: v for k, v in manifest.items() if k != kept})
    assert damaged_files(again, "run") == [files.MANIFEST], "it has to be listed"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"forgetting": "yes"}, "encoder.forgetting: expected true or false, got 'yes'"),
        ({"run": "FOLDER", "forgetting": True}, "forgetting needs the rows of that run. Name its"),
    ],
)
def test_forgetting_that_cannot_be_measured(
    reference: dict[str, Any], message: str, tables: Tables, first: dict[str, Any], tmp_path: Path
) -> None:
    given = {"run": first, **reference}
    if given["run"] == "FOLDER":
        given["run"] = str(encore.fit(first, runs=tmp_path).folder)
    with pytest.raises(RecipeError, match=message):
        prepared(tables, given)


def test_without_further_training_nothing_is_forgotten(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    """METHODS 4.7, with a rate that moves no weight in place of no epochs."""
    given = orders(tables, tiny_encoder, seeds=[1])
    for variant in given["variants"].values():
        variant["plan.lr"] = 1e-30
    found = run_comparison(prepare_comparison(study_from(given)), tmp_path)
    assert [
        lost.change.differences for one in found.record.sequences for lost in one.forgetting
    ] == [(0.0,), (0.0,)]


def test_where_the_first_fails_those_behind_it_are_not_started(
    tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    plan = prepare_comparison(study_from(study(tables, tiny_encoder, seeds=[1])))
    (broken,) = {
        one.name
        for each in plan.cells
        if each.run
        for one in each.run.firsts
        if "verdict" in one.data
    }
    tmp_path.joinpath(broken).write_text("a file where its folder belongs")
    found = run_comparison(plan, tmp_path, processes=1)
    behind = [line for line in found.failed if "the run that it starts from failed" in line]
    assert len(found.failed) == 2
    assert len(behind) == 1
    assert all("after_verdict" in line for line in behind)


def test_variants_in_a_circle_are_refused(tables: Tables, tiny_encoder: Path) -> None:
    given = recipe_of(tables, tiny_encoder, "verdict")
    given["variants"] = {"a": {"encoder": {"run": "b"}}, "b": {"encoder": {"run": "a"}}}
    with pytest.raises(RecipeError, match=r"start from each other: a → b → a"):
        study_from(given)
