"""The decision of an ensemble: fitted on the cross-fitted scores that its folder keeps, and
honoured by predict, evaluate and report.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Tables, Warm, sentences
from scipy.special import log_softmax, softmax

import encore
from encore import files
from encore.errors import DataError, EncoreError, RecipeError
from encore.evaluation.decision import PLAIN
from encore.evaluation.ensembles import halves
from encore.runs.calibrate import remove_decision
from encore.runs.decide import DECISION, read_decisions
from encore.runs.ensemble import EnsembleSettings, make_ensemble
from encore.runs.execute import execute
from encore.runs.folder import read_predictions

TASK, DEV = "train", "dev"


@pytest.fixture(scope="module")
def runs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    return [execute(tables.prepared(f"seed={seed}"), place).folder for seed in (1, 2)]


@pytest.fixture(scope="module")
def made(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = EnsembleSettings("simple")
    return make_ensemble(runs, settings, tmp_path_factory.mktemp("made")).folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the ensemble of the mean probabilities."""
    return Path(shutil.copytree(made, tmp_path / made.name))


def texts() -> list[str]:
    return sentences(40, 9)[0]


def test_the_mean_of_all_keeps_its_dev_scores(runs: list[Path], made: Path) -> None:
    each = [read_predictions(run, TASK, DEV, 3) for run in runs]
    kept = read_predictions(made, TASK, DEV, 0)
    mean = np.mean([softmax(one.scores.astype(np.float64), axis=1) for one in each], axis=0)
    np.testing.assert_allclose(softmax(kept.scores, axis=1), mean, rtol=1e-5)
    np.testing.assert_array_equal(kept.rows, each[0].rows)
    np.testing.assert_array_equal(kept.targets, each[0].targets)
    assert kept.digest == each[0].digest


def test_no_half_of_the_rows_scores_itself(runs: list[Path], tmp_path: Path) -> None:
    """`best` keeps one run; each half of the rows has the scores of the run that is best on the
    other half.
    """
    each = [read_predictions(run, TASK, DEV, 3) for run in runs]
    right = [one.scores.argmax(axis=1) == one.targets for one in each]
    for seed in range(60):  # until the two halves differ in the run that they take
        parts = halves(len(each[0].targets), seed)
        best = [int(right[1][part].mean() > right[0][part].mean()) for part in parts]
        if best[0] != best[1] and all(right[0][p].mean() != right[1][p].mean() for p in parts):
            break
    else:
        pytest.fail("no halves that take different runs")
    settings = EnsembleSettings("best", seed=seed)
    found = read_predictions(make_ensemble(runs, settings, tmp_path).folder, TASK, DEV, 0)
    for part, other in zip(parts, best[::-1], strict=True):
        np.testing.assert_array_equal(found.scores[part], each[other].scores[part])


def test_calibrated_probabilities_of_an_ensemble(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    plain = encore.load(folder)
    raw, labels = plain.scores(plain.read(texts())), plain.task().labels
    fitted = encore.calibrate(folder)
    temperature = fitted.decision.temperature
    assert temperature != 1
    kept = read_predictions(folder, TASK, DEV, 0)
    loss = [
        -log_softmax(kept.scores / t, axis=1)[np.arange(len(kept.targets)), kept.targets].mean()
        for t in (temperature, temperature * 1.1, temperature / 1.1, 1)
    ]
    assert np.argmin(loss) == 0
    model = encore.load(folder)
    expected = softmax(raw.astype(np.float64) / temperature, axis=1)
    np.testing.assert_allclose(model.predict_proba(texts()), expected, rtol=1e-9)
    assert [one.label for one in model.predict(texts())] == [
        labels.names[number] for number in raw.argmax(axis=1)
    ]
    assert encore.calibrate(folder) == fitted
    assert remove_decision(folder)
    assert not remove_decision(folder)
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    after.pop(folder / "lock")
    assert after == before


def test_the_commands_honour_it(folder: Path, tables: Tables, warm: Warm, tmp_path: Path) -> None:
    found = warm.run(["calibrate", folder, "--abstain", "coverage=0.5"])
    assert f"cross-fitted on {DEV}" in found.out
    assert str(folder / DECISION) in found.err
    model = encore.load(folder)
    limit = model.task().decision.abstain
    withheld = model.predict_proba(texts()).max(axis=1) < limit
    assert 0 < withheld.sum() < len(withheld)
    new = tmp_path / "new.csv"
    new.write_text("\n".join(["text", *texts()]))
    rows = warm.run(["predict", folder, new, "-q"]).out.splitlines()
    assert rows[0].startswith("prediction,confidence,")
    assert [row.startswith(",") for row in rows[1:]] == withheld.tolist()
    rows = warm.run(["predict", folder, new, "-q", "--abstain", "0"]).out.splitlines()
    assert not any(row.startswith(",") for row in rows)
    evaluated = warm.run(["evaluate", folder, tables.dev, "--mistakes", "1"])
    assert "without and with the decision" in evaluated.out
    assert "right where covered" in evaluated.out
    assert warm.run(["report", folder]).code == 0
    assert "Accuracy by coverage" in (folder / "report.html").read_text()
    moved = warm.run(["mv", folder, tmp_path / "elsewhere"])
    assert moved.code == 0, moved.err
    [place] = tmp_path.glob("elsewhere-*")
    assert encore.load(place).task().decision.abstain == limit
    assert warm.run(["rm", place, "--yes"]).code == 0


def test_decisions_of_members_take_no_part(runs: list[Path], tmp_path: Path) -> None:
    own = [Path(shutil.copytree(run, tmp_path / run.name)) for run in runs]
    encore.calibrate(own[0], abstain=0.9)
    found = make_ensemble(own, EnsembleSettings("simple"), tmp_path).folder
    assert read_decisions(found) == {}
    assert encore.load(found).task().decision == PLAIN


@pytest.mark.parametrize("damage", ["changed", "another ensemble", "a link"])
def test_a_damaged_decision_is_one_line(damage: str, folder: Path) -> None:
    encore.calibrate(folder)
    file = folder / DECISION
    if damage == "changed":
        file.write_text(file.read_text().replace('"temperature": ', '"temperature": 1'))
    elif damage == "a link":
        file.rename(elsewhere := folder.parent / "elsewhere.json")
        file.symlink_to(elsewhere)
    else:
        manifest = folder / files.MANIFEST
        files.write_json(manifest, dict(reversed(dict(files.read_json(manifest)).items())))
    with pytest.raises(DataError, match=r"another model|not as Encore wrote it") as caught:
        encore.load(folder)
    assert len(caught.value.lines) == 1


def test_what_cannot_be_calibrated_is_one_line(
    runs: list[Path], folder: Path, tables: Tables, tmp_path: Path
) -> None:
    def says(place: Path, *, task: str | None = None) -> str:
        with pytest.raises(EncoreError) as caught:
            encore.calibrate(place, task=task)
        [line] = caught.value.lines
        return line

    votes = make_ensemble(runs, EnsembleSettings("vote"), tmp_path).folder
    assert "counts votes, so there are no probabilities to calibrate" in says(votes)
    assert "no task called 'other' in this ensemble" in says(folder, task="other")
    values = [
        execute(
            tables.prepared(f"seed={seed}", "plan.epochs=1", label="score"), tmp_path / "v"
        ).folder
        for seed in (1, 2)
    ]
    averaged = make_ensemble(values, EnsembleSettings("simple"), tmp_path).folder
    assert "a regression predicts no probabilities" in says(averaged)
    with pytest.raises(RecipeError, match="no confidence to abstain below"):
        encore.load(averaged).predict(texts(), abstain=0.9)
    dev = f"predictions/{TASK}/{DEV}-0.parquet"
    (folder / dev).unlink()
    assert f"{dev}: missing" in says(folder)
    manifest = dict(files.read_json(folder / files.MANIFEST))
    manifest.pop(dev)  # as an earlier Encore wrote it
    files.write_json(folder / files.MANIFEST, manifest)
    assert "kept no dev scores" in says(folder)
    assert encore.load(folder).predict(texts())
