"""Ensembles of runs: the folder, its scores, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encore
from encore import files
from encore.errors import DataError, EncoreError, RecipeError
from encore.evaluation.ensembles import Mixture, combine
from encore.evaluation.estimates import estimate_metrics
from encore.recipe.load import recipe_for_file
from encore.runs import ensemble as module
from encore.runs.ensemble import EnsembleSettings, make_ensemble, read_made
from encore.runs.execute import execute
from encore.runs.folder import read_predictions
from encore.runs.loading import load_predictor
from encore.runs.predict import load
from encore.runs.prepare import prepare
from encore.training import scoring
from tests.conftest import Tables

SIMPLE = EnsembleSettings("simple")


@pytest.fixture(scope="module")
def runs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of one task that differ in seed, length, pooling and the form of a pair."""
    place = tmp_path_factory.mktemp("runs")

    def trained(*settings: str, **data: Any) -> Path:
        return execute(tables.prepared("plan.epochs=1", *settings, **data), place).folder

    pair = {"text_pair": "other"}
    return {
        "a": trained("seed=1"),
        "b": trained("seed=2"),
        "short": trained("seed=3", "max_length=9", "pooling=cls"),
        "cross": trained("seed=1", **pair),
        "siamese": trained("seed=2", "pair=siamese", "head=siamese_concat", **pair),
        "score": trained("seed=1", label="score"),
        "score2": trained("seed=2", label="score"),
        "adapter": trained("seed=1", "adapter=lora"),
        "adapter2": trained("seed=2", "adapter=lora"),
    }


@pytest.fixture
def texts(tables: Tables) -> list[str]:
    return [f"the {word} lamp {word} came" for word in ("great", "awful", "quick", "dull")] * 3


def made(runs: dict[str, Path], names: str, place: Path, how: EnsembleSettings = SIMPLE) -> Path:
    return make_ensemble([runs[name] for name in names.split()], how, place).folder


def test_an_ensemble_of_one_is_its_member_to_the_bit(
    runs: dict[str, Path], tables: Tables, tmp_path: Path
) -> None:
    for name in ("a", "cross", "siamese", "score", "adapter"):
        alone, other = load(runs[name]), load_predictor(made(runs, name, tmp_path))
        rows = alone.read(tables.dev)
        assert other.scores(rows).tobytes() == alone.scores(rows).tobytes(), name


def test_members_of_all_lengths_poolings_and_adapters_go_together(
    runs: dict[str, Path], texts: list[str], tmp_path: Path
) -> None:
    names = "a b short adapter"
    found = load_predictor(made(runs, names, tmp_path)).predict_proba(texts)
    each = [load(runs[name]).predict_proba(texts) for name in names.split()]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5)
    both = [(text, text[::-1]) for text in texts]
    found = load_predictor(made(runs, "cross siamese", tmp_path)).predict_proba(both)
    each = [load(runs[name]).predict_proba(both) for name in ("cross", "siamese")]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5)


def test_values_of_a_regression_are_averaged(
    runs: dict[str, Path], texts: list[str], tmp_path: Path
) -> None:
    for how in (SIMPLE, EnsembleSettings("regression")):
        found = load_predictor(made(runs, "score score2", tmp_path, how)).predict(texts)
        each = [load(runs[name]).predict(texts) for name in ("score", "score2")]
        for row, one in enumerate(found):
            assert one.label == pytest.approx((each[0][row].label + each[1][row].label) / 2)


def test_dev_scores_of_the_folder_are_those_that_it_was_chosen_by(
    runs: dict[str, Path], tables: Tables, tmp_path: Path
) -> None:
    for method in ("simple", "greedy", "selective", "regression", "vote"):
        found = make_ensemble([runs["a"], runs["b"]], EnsembleSettings(method), tmp_path)
        loaded = load_predictor(found.folder)
        measured = encore.evaluate(loaded, str(tables.dev)).estimates
        assert measured["accuracy"].value == pytest.approx(found.results[0].dev["accuracy"].value)


def test_groups_of_the_dev_rows_are_halved_and_drawn_whole(tables: Tables, tmp_path: Path) -> None:
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    for old, new in ((tables.train, train), (tables.dev, dev)):
        first, *lines = old.read_text().splitlines()
        numbered = [f"{line},{new.stem} {row // 3}" for row, line in enumerate(lines)]
        new.write_text("\n".join([f"{first},author", *numbered, ""]))
    settings = (*tables.settings, "plan.epochs=1")
    given = {"dev": str(dev), "text": "text", "label": "verdict", "group": "author"}
    found = [
        execute(prepare(recipe_for_file(train, (*settings, f"seed={seed}"), **given)), tmp_path)
        for seed in (1, 2)
    ]
    ensemble = make_ensemble([one.folder for one in found], SIMPLE, tmp_path)
    [result] = ensemble.results
    predicted = [
        read_predictions(one.folder, result.task, result.dev_set, one.epoch_of(result.task))
        for one in found
    ]
    groups, truth = predicted[0].groups, predicted[0].targets
    assert groups is not None
    assert sorted(np.bincount(groups))[-1] == 3
    kept = read_predictions(ensemble.folder, result.task, result.dev_set, 0).groups
    np.testing.assert_array_equal(kept, groups)
    labels = tables.prepared().data["train"].labels
    mean = combine([one.scores for one in predicted], labels, Mixture((0, 1)))
    for drawn_whole, same in ((groups, True), (None, False)):
        whole = estimate_metrics(mean, truth, labels, ["accuracy"], 1, groups=drawn_whole)
        assert (whole["accuracy"] == result.dev["accuracy"]) is same


def test_votes_give_no_probabilities(
    runs: dict[str, Path], texts: list[str], tmp_path: Path
) -> None:
    voted = load_predictor(made(runs, "a b short", tmp_path, EnsembleSettings("vote")))
    each = [[one.label for one in load(runs[name]).predict(texts)] for name in ("a", "b", "short")]
    for labels, one in zip(zip(*each, strict=True), voted.predict(texts), strict=True):
        assert labels.count(one.label) == max(map(labels.count, labels))
        assert not one.probabilities
    with pytest.raises(RecipeError, match="predicts no probabilities"):
        voted.predict_proba(texts)


def test_texts_are_tokenized_once_and_batches_put_together_once(
    runs: dict[str, Path],
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = {"tokenized": 0, "collated": 0}

    def count(what: str, whole: Any) -> Any:
        def counting(*given: Any, **how: Any) -> Any:
            counted[what] += 1
            return whole(*given, **how)

        return counting

    from encore.runs import ensemble_model

    loaded = load_predictor(made(runs, "a b adapter", tmp_path))
    patched = count("tokenized", ensemble_model.rows_to_score)
    monkeypatch.setattr(ensemble_model, "rows_to_score", patched)
    monkeypatch.setattr(scoring, "collate", count("collated", scoring.collate))
    loaded.predict(texts)
    assert counted == {"tokenized": 1, "collated": 1}


def test_no_tensor_is_stored_twice(runs: dict[str, Path], tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = made(runs, "adapter adapter2 a", tmp_path)
    stored: list[str] = []
    for file in sorted(folder.glob("members/*/weights.safetensors")):
        with safe_open(file, "np") as tensors:
            stored += tensors.keys()
    assert len(stored) == len(set(stored))
    # The second run of adapters brings its adapters and its head, and no encoder.
    first, second = (folder / "members" / n / "weights.safetensors" for n in "12")
    assert second.stat().st_size < first.stat().st_size / 2
    assert [path.name for path in (folder / "tokenizers").iterdir()] == ["1"]


def test_the_folder_works_without_its_runs_and_elsewhere(
    runs: dict[str, Path], texts: list[str], tmp_path: Path
) -> None:
    own = {
        name: shutil.copytree(runs[name], tmp_path / runs[name].name) for name in ("a", "adapter")
    }
    folder = made(own, "a adapter", tmp_path)
    before = load_predictor(folder).predict_proba(texts)
    for run in own.values():
        shutil.rmtree(run)
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    assert load_predictor(moved).predict_proba(texts).tobytes() == before.tobytes()


def test_the_same_runs_make_the_same_folder_in_any_order(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    greedy = EnsembleSettings()
    first = make_ensemble([runs["a"], runs["b"]], greedy, tmp_path)
    again = make_ensemble([runs["b"], runs["a"]], greedy, tmp_path)
    assert (again.folder, again.already_complete) == (first.folder, True)
    assert read_made(first.folder).results == first.results
    assert read_made(first.folder).settings == greedy
    other = make_ensemble([runs["a"], runs["b"]], EnsembleSettings(seed=3), tmp_path)
    assert other.folder != first.folder


def test_a_model_that_is_named_twice_takes_part_once(runs: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(runs["a"], tmp_path / "copied")
    found = make_ensemble([runs["a"], copy, runs["a"]], SIMPLE, tmp_path)
    assert found.members == (runs["a"].name,)
    assert "the same model as" in found.notes[0]


@pytest.mark.parametrize(
    ("names", "how", "message"),
    [
        ("a score", SIMPLE, "score.* predicts|no task in common|predicts regression"),
        ("a cross", SIMPLE, "reads other columns"),
        ("a", EnsembleSettings("mean"), "no method called 'mean'"),
        ("a", EnsembleSettings(space="log"), "--space: expected probability or logit"),  # type: ignore[arg-type]
        ("a b", EnsembleSettings(compat="gen"), "Add --method regression"),
        ("a b", EnsembleSettings(tasks=("sts",)), "no task called 'sts'"),
        ("score score2", EnsembleSettings("vote"), "a regression task has no votes"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    runs: dict[str, Path], names: str, how: EnsembleSettings, message: str, tmp_path: Path
) -> None:
    with pytest.raises(EncoreError, match=message) as caught:
        made(runs, names, tmp_path, how)
    assert len(caught.value.lines) == 1
    assert not list(tmp_path.iterdir())


def test_other_dev_rows_are_refused(runs: dict[str, Path], tables: Tables, tmp_path: Path) -> None:
    other = execute(tables.prepared("plan.epochs=1", "data.dev_rows=11"), tmp_path / "runs").folder
    with pytest.raises(RecipeError, match="was measured on other dev rows"):
        make_ensemble([runs["a"], other], SIMPLE, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["members/1/weights.safetensors", "members/2/tensors.json", "tokenizers/1/tokenizer.json"],
)
def test_a_damaged_member_is_one_line(runs: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder = made(runs, "a b", tmp_path)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="not as `encore ensemble` wrote it") as caught:
        load_predictor(folder)
    assert len(caught.value.lines) == 1
    assert name in caught.value.lines[0]
    (folder / name).unlink()
    with pytest.raises(DataError, match="missing"):
        load_predictor(folder)


def test_nothing_is_there_before_all_of_it_is(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files.write_json

    def stops(path: Path, value: Any) -> None:
        if path.name == "results.json":
            raise KeyboardInterrupt
        whole(path, value)

    monkeypatch.setattr(module.files, "write_json", stops)
    with pytest.raises(KeyboardInterrupt):
        made(runs, "a b", tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    folder = made(runs, "a b", tmp_path)
    left = tmp_path / f".{folder.name}.abcdefgh.part"
    shutil.copytree(folder, left)  # what SIGKILL leaves
    shutil.rmtree(folder)
    assert made(runs, "a b", tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_an_explanation_is_refused(runs: dict[str, Path], texts: list[str], tmp_path: Path) -> None:
    loaded = load_predictor(made(runs, "a b", tmp_path))
    with pytest.raises(RecipeError, match="weigh the words each in its own way"):
        loaded.explain(texts)
    with pytest.raises(
        DataError, match=r"an ensemble, not a run.*make one model of it: encore distill"
    ):
        load(loaded.folder)


def test_comparisons_give_the_runs_that_kept_their_weights(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "runs"
    place.mkdir()
    for name in ("a", "b"):
        shutil.copytree(runs[name], place / runs[name].name)
    folder = place / "compare-x"
    folder.mkdir()
    cells = [{"run": runs[name].name} for name in ("a", "b")] + [{"run": "gone-1"}, {"run": None}]
    (folder / "study.json").write_text("{}")
    (folder / "cells.json").write_text(json.dumps({"cells": cells}))
    found = make_ensemble([folder], SIMPLE, place)
    assert sorted(found.members) == sorted(runs[name].name for name in "ab")
    assert "1 of 3 runs keep no weights (gone-1)" in found.notes[0]
