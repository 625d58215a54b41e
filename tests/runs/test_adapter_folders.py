"""Adapters as folders of their own: exported, begun from, fused, read by peft; refused where they
do not fit.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import Tables
from torch import Tensor

import encore
from encore import catalogue, files
from encore.cli.app import main
from encore.cli.train import announcements
from encore.errors import DataError, EncoreError, RecipeError
from encore.export import check, write
from encore.export.folder import export_run
from encore.recipe.load import load_recipe
from encore.runs.predict import load
from encore.runs.prepare import build_models, prepare

TEXTS = ["the lamp is great", "my zip broke after a week and it was slow"]
ADAPTERS = {
    "houlsby": "{name: houlsby, size: 6, train_norms: true}",
    "pfeiffer": "{name: pfeiffer, size: 4, top: 1}",
    "lora": "{name: lora, rank: 3, targets: [query, value, up]}",
}


@pytest.fixture(scope="module")
def made(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Adapter → a run that trained it, and the folder of the adapter."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("adapters")
    found = {}
    for name, adapter in ADAPTERS.items():
        recipe = tables.recipe("plan.epochs=1", f"adapter={adapter}", "pooling=cls")
        run = encore.fit(recipe, runs=place / "runs").folder
        done = export_run(run, "adapter", place / name)
        assert (done.difference, done.made_of) == (0, f"{name} adapter")
        found[name] = (run, place / name)
    return found


def weights_of(run: Path) -> dict[str, Tensor]:
    """The weights that the encoder of a run has learned, by their names there."""
    stored = safetensors.torch.load_file(run / "model" / "weights.safetensors")
    return {k.partition(".encoder.")[2]: v for k, v in stored.items() if ".encoder." in k}


def begun(tables: Tables, *overrides: str) -> tuple[Any, dict[str, Tensor]]:
    """A prepared run, and the weights of its encoder before training."""
    prepared = prepare(tables.recipe("plan.epochs=1", *overrides))
    (model,) = build_models(prepared).values()
    state = model.state_dict()
    return prepared, {k.partition(".encoder.")[2]: v for k, v in state.items() if ".encoder." in k}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_run_begins_with_the_adapter_of_a_folder(
    name: str, made: dict[str, tuple[Path, Path]], tables: Tables
) -> None:
    run, folder = made[name]
    listed = {"adapter.json", "adapter.safetensors", "encore_export.json", "manifest.json"}
    assert {file.name for file in folder.iterdir()} == listed
    prepared, state = begun(tables, f"adapter_from={folder}")
    expected = weights_of(run)
    assert expected
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert prepared.recipe.adapter.name == name
    assert any(line.endswith(f", begins as {folder}") for line in announcements(prepared))
    _, fresh = begun(tables, f"adapter={ADAPTERS[name]}")
    assert not all(torch.equal(fresh[key], value) for key, value in expected.items())


def test_it_trains_on_and_the_run_needs_no_folder(
    made: dict[str, tuple[Path, Path]], tables: Tables, tmp_path: Path
) -> None:
    run, folder = made["houlsby"]
    shutil.copytree(folder, tmp_path / "adapter")
    recipe = tables.recipe("plan.epochs=1", f"adapter_from={tmp_path / 'adapter'}")
    done = encore.fit(recipe, runs=tmp_path / "runs").folder
    assert prepare(load_recipe(done / "recipe.yaml")).name == done.name
    elsewhere = prepare(tables.recipe("plan.epochs=1", f"adapter_from={folder}"))
    assert elsewhere.name == done.name, "its content counts, not its place"
    moved = weights_of(done)
    assert not all(torch.equal(moved[key], value) for key, value in weights_of(run).items())
    shutil.rmtree(tmp_path / "adapter")
    assert encore.load(done).predict(TEXTS)


def test_the_run_that_trained_it_serves_as_well(
    made: dict[str, tuple[Path, Path]], tables: Tables, tmp_path: Path
) -> None:
    run, _ = made["lora"]
    _, state = begun(tables, f"adapter_from={run}")
    assert all(torch.equal(state[key], value) for key, value in weights_of(run).items())
    first = tables.recipe("plan.epochs=1", f"adapter={ADAPTERS['lora']}", "pooling=cls")
    given = {"adapter_from": {"run": first}}
    prepared = prepare(tables.recipe("plan.epochs=1").model_copy(update=_references(given)))
    assert [one.name for one in prepared.firsts] == [run.name]


def _references(given: dict[str, Any]) -> dict[str, Any]:
    from encore.recipe.reference import RunReference

    return {key: RunReference.parse({"run": "x"}).to(each["run"]) for key, each in given.items()}


def test_folders_are_fused(
    made: dict[str, tuple[Path, Path]], tables: Tables, tmp_path: Path
) -> None:
    folders = [made[name][1] for name in ("houlsby", "pfeiffer")]
    of = f"adapter={{name: fusion, of: [{folders[0]}, {{run: {folders[1]}}}]}}"
    prepared, state = begun(tables, of)
    for number, name in enumerate(("houlsby", "pfeiffer")):
        for key, value in weights_of(made[name][0]).items():
            head, mark, tail = key.partition(".adapter.")
            if mark:
                assert torch.equal(state[f"{head}.adapter.adapters.{number}.{tail}"], value)
    done = encore.fit(tables.recipe("plan.epochs=1", of), runs=tmp_path).folder
    assert done.name == prepared.name
    assert encore.load(done).predict(TEXTS)
    with pytest.raises(RecipeError, match=r"fused adapters of other runs. Export one of these"):
        export_run(done, "adapter", tmp_path / "out")
    with pytest.raises(RecipeError, match=r"that run fused adapters of other runs"):
        prepare(tables.recipe(f"adapter_from={done}"))


def test_what_is_refused_in_one_line(
    made: dict[str, tuple[Path, Path]], tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    _, folder = made["houlsby"]
    other = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, other)
    weights = safetensors.torch.load_file(other / "model.safetensors")
    weights["pooler.dense.bias"] += 1
    safetensors.torch.save_file(weights, other / "model.safetensors")
    wrong = r"belongs to another encoder, 'tiny-bert' \(sha256 .*Write the encoder that it was"
    for setting in (f"adapter_from={folder}", f"adapter={{name: fusion, of: [{folder}]}}"):
        with pytest.raises(RecipeError, match=wrong) as caught:
            prepare(tables.recipe(setting, f"encoder={other}"))
        assert len(caught.value.lines) == 1
    for settings, message in (
        (["adapter=lora"], r"the adapter to begin with is .*houlsby.* Remove adapter"),
        (["adapter_from={run: " + str(folder) + ", seed: 1}"], r"has no task, seed or epoch"),
        ([f"adapter_from={tmp_path}"], r"is no complete run"),
        ([f"encoder={{run: {folder}}}"], r"is no complete run"),
    ):
        given = settings if "_from" in settings[0] else [*settings, f"adapter_from={folder}"]
        with pytest.raises(RecipeError, match=message):
            prepare(tables.recipe(*given))


def rewritten(folder: Path, target: Path, **changes: Any) -> Path:
    """A copy of an adapter's folder with another adapter.json, and a manifest that fits."""
    shutil.copytree(folder, target)
    about = json.loads((target / "adapter.json").read_text()) | changes
    (target / "adapter.json").write_text(json.dumps(about))
    files.write_manifest(target, [file for file in target.iterdir() if file.name != files.MANIFEST])
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"adapter.json version: expected"),
        ({"adapter": "houlsby"}, r"adapter.json adapter: expected"),
        ({"adapter": {"name": "houlsby", "size": -1}}, r"describes an adapter that this version"),
        ({"adapter": {"name": "nothing"}}, r"describes an adapter that this version cannot"),
        ({"adapter": {"name": "fusion"}}, r"expected an adapter by itself"),
        ({"encoder": "x" * 2000}, r"adapter.json encoder: expected"),
        ({"adapter": {"name": "houlsby", "size": 5}}, r"expected \(5, \d+\), got \(6, \d+\)"),
    ],
)
def test_a_folder_of_anybody(
    changes: dict[str, Any],
    message: str,
    made: dict[str, tuple[Path, Path]],
    tables: Tables,
    tmp_path: Path,
) -> None:
    folder = rewritten(made["houlsby"][1], tmp_path / "adapter", **changes)
    with pytest.raises(DataError, match=message):
        build_models(prepare(tables.recipe(f"adapter_from={folder}")))


def test_damage_is_seen(made: dict[str, tuple[Path, Path]], tables: Tables, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(made["houlsby"][1], folder)
    prepared = prepare(tables.recipe(f"adapter_from={folder}"))
    weights = safetensors.torch.load_file(folder / "adapter.safetensors")
    next(iter(weights.values()))[0] = float("nan")
    safetensors.torch.save_file(weights, folder / "adapter.safetensors")
    with pytest.raises(DataError, match=r"its files have changed since this command began"):
        build_models(prepared)
    with pytest.raises(DataError, match=r"adapter.safetensors: is missing, or not as the export"):
        prepare(tables.recipe(f"adapter_from={folder}"))
    listed = [file for file in folder.iterdir() if file.name != files.MANIFEST]
    files.write_manifest(folder, listed)
    with pytest.raises(DataError, match=r"1 of \d+ values that are not finite"):
        build_models(prepare(tables.recipe(f"adapter_from={folder}")))
    (folder / "adapter.json").unlink()
    os.mkfifo(folder / "adapter.json")
    with pytest.raises(DataError, match=r"is missing, or not as the export"):
        prepare(tables.recipe(f"adapter_from={folder}"))


def test_an_encoder_that_a_run_trained_is_known_by_that_run(tables: Tables, tmp_path: Path) -> None:
    first = encore.fit(tables.recipe("plan.epochs=1"), runs=tmp_path / "runs").folder
    own = f"encoder={{run: {first}}}"
    recipe = tables.recipe("plan.epochs=1", own, "adapter={name: lora, rank: 2}")
    run = encore.fit(recipe, runs=tmp_path / "runs").folder
    assert export_run(run, "adapter", tmp_path / "adapter").difference == 0
    given = tables.recipe("plan.epochs=1", own, f"adapter_from={tmp_path / 'adapter'}")
    (model,) = build_models(prepare(given), tmp_path / "runs").values()
    state = model.branches[0].encoder.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights_of(run).items())
    with pytest.raises(RecipeError, match=r"belongs to another encoder"):
        prepare(tables.recipe(f"adapter_from={tmp_path / 'adapter'}"))
    with pytest.raises(RecipeError, match=r"has an encoder that another run trained, which peft"):
        export_run(run, "peft", tmp_path / "out")


# -------------------------------------------------------------------------------------------- peft


@pytest.fixture(scope="module")
def in_this_process() -> Iterator[None]:
    """Exports are compared in this process, which has transformers already."""
    from encore.export import fresh
    from encore.export.check import check_job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "encore.export.folder.outputs_in_fresh_process",
            lambda jobs: [fresh.load_and_run(check_job(written, rows)) for written, rows in jobs],
        )
        yield


@pytest.fixture(scope="module")
def for_peft(
    made: dict[str, tuple[Path, Path]],
    tables: Tables,
    tmp_path_factory: pytest.TempPathFactory,
    in_this_process: None,
) -> dict[str, Path]:
    """Exports for peft: with a head, and without one, since the pooling is in no stock class."""
    place = tmp_path_factory.mktemp("for-peft")
    run, _ = made["lora"]
    recipe = tables.recipe("plan.epochs=1", "adapter={name: lora, rank: 2, dropout: 0.1}")
    mean = encore.fit(recipe, runs=place / "runs").folder
    for name, each in (("whole", run), ("alone", mean)):
        done = export_run(each, "peft", place / name)
        assert done.difference < 1e-5
        assert done.how == ("scores" if name == "whole" else "states")
    return {"whole": place / "whole", "alone": place / "alone", "mean": mean}


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_is_exported_for_transformers(
    name: str, made: dict[str, tuple[Path, Path]], tmp_path: Path, in_this_process: None
) -> None:
    done = export_run(made[name][0], "hf", tmp_path / "out")
    assert (done.own_class, done.difference < 1e-5) == (name != "lora", True)


@pytest.mark.nightly
def test_peft_is_asked_in_a_process_of_its_own(
    made: dict[str, tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = check.outputs_in_fresh_process
    monkeypatch.setattr("encore.export.folder.outputs_in_fresh_process", asked)
    assert 0 < export_run(made["lora"][0], "peft", tmp_path / "out").difference < 1e-5


def test_peft_loads_the_head_too_and_gives_the_same_answers(
    made: dict[str, tuple[Path, Path]], for_peft: dict[str, Path], tiny_encoder: Path
) -> None:
    import peft
    import transformers

    run, folder = made["lora"][0], for_peft["whole"]
    config = transformers.AutoConfig.from_pretrained(folder)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_encoder, config=config, dtype="float32"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    expected = torch.from_numpy(encore.load(run).predict_proba(TEXTS)).float()
    labels = {"num_labels": len(expected[0]), "dtype": "float32"}
    models = [
        peft.PeftModel.from_pretrained(base, folder),
        peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, **labels),
    ]
    for model in models:
        with torch.no_grad():
            scores = model.eval()(**batch).logits.softmax(1)
        assert torch.allclose(scores, expected, rtol=0, atol=1e-5)
    assert config.id2label == {0: "bad", 1: "fair", 2: "good"}


@pytest.mark.parametrize("name", ["whole", "alone"])
def test_the_code_on_its_card_runs(
    name: str,
    for_peft: dict[str, Path],
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = for_peft[name]
    card = (folder / "README.md").read_text()
    assert "library_name: peft" in card
    assert ("pooling and its head are not in this folder" in card) == (name == "alone")
    assert ("computes this run's pooling and head" in card) == (name == "alone")
    code = card.partition("```python\n")[2].partition("```")[0]
    for each in (folder, tiny_encoder):
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    told = capsys.readouterr().out
    assert ("torch.Size([1, " if name == "alone" else "'label': 'good'") in told


def test_the_limits_are_those_of_what_the_folder_gives(
    made: dict[str, tuple[Path, Path]],
) -> None:
    task = load(made["lora"][0]).task()
    for how, what in (("scores", "outputs differ"), ("states", "numbers of a vector differ")):
        assert what in " ".join(write._limits(task, "peft", 0.5, how))  # type: ignore[arg-type]


def test_a_run_begins_with_what_peft_wrote(
    for_peft: dict[str, Path], made: dict[str, tuple[Path, Path]], tables: Tables
) -> None:
    for name, run in (("whole", made["lora"][0]), ("alone", for_peft["mean"])):
        prepared, state = begun(tables, f"adapter_from={for_peft[name]}")
        theirs = load_recipe(run / "recipe.yaml").adapter
        specs = [catalogue.specify("adapters", each) for each in (prepared.recipe.adapter, theirs)]
        assert specs[0] == specs[1]
        assert all(torch.equal(state[key], value) for key, value in weights_of(run).items())
    with pytest.raises(DataError, match=r"peft wrote this folder, so it holds LoRA; expected"):
        prepare(tables.recipe(f"adapter={{name: fusion, of: [{for_peft['alone']}]}}"))
    with pytest.raises(DataError, match=r"is no linear layer|expected A \(rank"):
        prepare(tables.recipe(f"adapter_from={for_peft['alone']}", "encoder=minilm"))


def test_runs_that_have_nothing_for_peft(
    made: dict[str, tuple[Path, Path]], tables: Tables, tmp_path: Path
) -> None:
    plain = encore.fit(tables.recipe("plan.epochs=1"), runs=tmp_path / "runs").folder
    for run, to, message in (
        (plain, "peft", r"trained no adapter. Use --to hf, or train with adapter: lora."),
        (plain, "adapter", r"trained no adapter"),
        (made["houlsby"][0], "peft", r"has the adapter 'houlsby', and Encore writes LoRA for peft"),
    ):
        with pytest.raises(RecipeError, match=message) as caught:
            export_run(run, to, tmp_path / "out")
        assert len(caught.value.lines) == 1
    assert not (tmp_path / "out").exists()
    from encore.export.push import push_run

    with pytest.raises(EncoreError, match=r"--to peft: push takes hf and sentence-transformers"):
        push_run(made["lora"][0], "user/name", to="peft", dry_run=True)


def test_the_command(
    made: dict[str, tuple[Path, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["export", str(made["pfeiffer"][0]), "--to", "adapter", "mine"])
    assert end.value.code == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("checked as it is read again: states for 23 rows of dev set dev")
    assert last.startswith("exported: mine (")
    assert last.endswith("pfeiffer adapter); next: recipes begin with it: adapter_from: mine")
