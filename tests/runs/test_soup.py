"""Model soups: the mean of weights, the greedy choice, the folder, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import encore
from encore import files
from encore.errors import DataError, RecipeError
from encore.export.folder import export_run
from encore.report.write import write_report
from encore.runs.distillation import recipe_to_distil
from encore.runs.ensemble import EnsembleSettings, make_ensemble
from encore.runs.execute import execute
from encore.runs.folder import read_predictions, read_result
from encore.runs.predict import load
from encore.runs.prepare import prepare
from encore.runs.soup import MadeSoup, read_soup, soup
from encore.runs.soup_weights import mean_weights
from tests.conftest import Tables


@pytest.fixture(scope="module")
def runs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("runs")

    def trained(*settings: str, **data: Any) -> Path:
        return execute(tables.prepared("plan.epochs=1", *settings, **data), place).folder

    return {
        "a": trained("seed=1"),
        "b": trained("seed=2"),
        "c": trained("seed=3", "plan.lr=3e-3"),
        "cls": trained("seed=1", "pooling=cls"),
        "short": trained("seed=1", "max_length=9"),
        "tags": trained("seed=1", label="tags"),
        "adapter": trained("seed=1", "adapter=lora"),
        "adapter2": trained("seed=2", "adapter=lora"),
    }


def made(runs: dict[str, Path], names: str, place: Path, **how: Any) -> MadeSoup:
    return soup([runs[name] for name in names.split()], runs=place, **how)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "weights.safetensors")


def test_the_mean_of_equal_weights_is_the_weight_to_the_bit(tmp_path: Path) -> None:
    drawn = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    for n in range(3):
        save_file({"w": drawn, "half": drawn.bfloat16()}, tmp_path / f"{n}")
    found = mean_weights([tmp_path / f"{n}" for n in range(3)])
    assert torch.equal(found.get("w"), drawn)
    assert torch.equal(found.get("half"), drawn.bfloat16())


def test_two_members_by_hand(runs: dict[str, Path], tables: Tables, tmp_path: Path) -> None:
    for names in ("a b", "adapter adapter2"):
        found = made(runs, names, tmp_path, method="uniform")
        one, other = (weights(runs[name]) for name in names.split())
        mean = weights(found.folder)
        assert mean.keys() == one.keys()
        for name, tensor in mean.items():
            expected = (one[name].numpy().astype(np.float64) + other[name].numpy()) / 2
            assert np.array_equal(tensor.numpy(), expected.astype(np.float32)), name
        assert any(not torch.equal(one[name], mean[name]) for name in mean)
        loaded, task = load(found.folder), found.results[0].task
        stored = read_predictions(found.folder, task, "dev", 0)
        assert loaded.scores(loaded.read(tables.dev)).tobytes() == stored.scores.tobytes()


def test_a_soup_of_one_is_its_run_to_the_bit(
    runs: dict[str, Path], tables: Tables, tmp_path: Path
) -> None:
    for name in ("a", "adapter"):
        found = made(runs, name, tmp_path)
        alone, other = load(runs[name]), load(found.folder)
        rows = alone.read(tables.dev)
        assert other.scores(rows).tobytes() == alone.scores(rows).tobytes()
        task = found.results[0].task
        for file in ("weights.safetensors", "model.json"):
            same = [each / "model" / file for each in (found.folder, runs[name])]
            assert same[0].read_bytes() == same[1].read_bytes()
        mine, theirs = (read_result(each).metrics[task] for each in (found.folder, runs[name]))
        assert mine == theirs


def test_greedy_is_no_worse_than_the_best_single_run_on_dev(
    runs: dict[str, Path], tables: Tables, tmp_path: Path
) -> None:
    found = made(runs, "a b c", tmp_path)
    (one,) = found.results
    assert one.dev[one.metrics[0]].value >= one.single[one.metrics[0]].value
    assert one.best in found.members
    measured = encore.evaluate(found.folder, str(tables.dev)).estimates
    assert measured["accuracy"].value == one.dev["accuracy"].value
    every = made(runs, "a b c", tmp_path, method="uniform")
    assert len(every.members) == 3


def test_the_folder_is_a_run_for_all_that_takes_one(
    runs: dict[str, Path], tables: Tables, tmp_path: Path
) -> None:
    found = made(runs, "a b", tmp_path, method="uniform")
    task = found.results[0].task
    ensemble = make_ensemble([found.folder, runs["c"]], EnsembleSettings("simple"), tmp_path)
    assert found.folder.name in ensemble.members
    student = prepare(recipe_to_distil([found.folder], ("plan.epochs=1",)))
    (start,) = student.starts
    member = prepare(recipe_to_distil([runs["a"]], ("plan.epochs=1",)))
    assert start.identity.startswith("models ")
    assert student.spec.name != member.spec.name
    assert execute(student, tmp_path).metrics[task]
    page = write_report(found.folder).html.read_text()
    names = " ".join(sorted(runs[name].name for name in "ab"))
    assert f"encore soup {names} --method uniform --seed 11 --runs ." in page
    assert "cross-fitted" in page
    assert "encore train recipe.yaml" not in page


@pytest.mark.nightly
def test_an_exported_soup_gives_the_same_answers(runs: dict[str, Path], tmp_path: Path) -> None:
    found = made(runs, "a b", tmp_path, method="uniform")
    done = export_run(found.folder, "hf", tmp_path / "exported")
    assert done.rows > 10
    assert done.difference < 1e-5
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "mean of the weights" in card


def test_it_is_made_once_and_to_the_same_bytes(runs: dict[str, Path], tmp_path: Path) -> None:
    found = made(runs, "a b", tmp_path)
    before = (found.folder / files.MANIFEST).read_bytes()
    again = made(runs, "b a", tmp_path)
    assert again.already_complete
    assert (again.folder, again.members) == (found.folder, found.members)
    assert again.results == found.results == read_soup(found.folder).results
    shutil.rmtree(found.folder)
    assert not made(runs, "b a", tmp_path).already_complete
    assert (found.folder / files.MANIFEST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [found.folder.name]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("a cls", r"differ in pooling of 'train' \(\w+ and \w+\)"),
        ("a short", r"differ in max_length of 'train' \(\d+ and \d+\)"),
        ("a tags", r"differ in labels of 'train' \(bad, fair, good and blame"),
        ("a adapter", r"differ in adapter \((none and lora|lora and none)\)"),
    ],
)
def test_runs_that_have_no_mean_are_one_line(
    runs: dict[str, Path], names: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        made(runs, names, tmp_path)
    assert len(caught.value.lines) == 1
    assert not list(tmp_path.iterdir())


def test_a_newcomers_mistakes_are_one_line(
    runs: dict[str, Path], tables: Tables, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="no method called 'greedi'"):
        made(runs, "a b", tmp_path, method="greedi")
    damaged = tmp_path / runs["a"].name
    shutil.copytree(runs["a"], damaged)
    place = damaged / "model" / "weights.safetensors"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    with pytest.raises(DataError, match=r"weights.safetensors: missing, or not as") as caught:
        soup([damaged, runs["b"]], runs=tmp_path / "soups")
    assert len(caught.value.lines) == 1
    assert not (tmp_path / "soups").exists()
    other = execute(tables.prepared("plan.epochs=1", "data.dev_rows=11"), tmp_path / "runs").folder
    with pytest.raises(RecipeError, match="was measured on other dev rows") as caught:
        soup([runs["a"], other], runs=tmp_path / "soups")
    assert len(caught.value.lines) == 1


def test_different_starts_are_a_note(runs: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other" / runs["b"].name
    shutil.copytree(runs["b"], other)
    about = files.read_json(other / "model" / "model.json")
    (other / "model" / "model.json").write_text(json.dumps({**about, "encoder_digest": "0"}))
    for folder in (other / "model", other):
        listed = files.read_json(folder / files.MANIFEST)
        files.write_manifest(folder, [folder / name for name in listed])
    found = soup([runs["a"], other], runs=tmp_path)
    assert "start from 2 different encoders" in found.notes[0]
    assert not made(runs, "a b", tmp_path).notes
