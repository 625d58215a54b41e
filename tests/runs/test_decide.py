"""The decision of a run: fitted when it ends or afterwards, kept with its model, and honoured by
predict, evaluate, report and export.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Tables, Warm, sentences, write_csv

import encore
from encore import files
from encore.errors import DataError, RecipeError, TrainingError
from encore.evaluation.predictions import probabilities
from encore.runs import predict_file
from encore.runs.calibrate import remove_decision
from encore.runs.decide import DECISION, read_decisions, write_decisions
from encore.runs.execute import execute
from encore.runs.folder import read_predictions
from encore.runs.predict_file import FilePrediction, OutputForm


def texts() -> list[str]:
    return sentences(40, 9)[0]


@pytest.fixture(scope="module")
def trained(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three classes without a decision."""
    return execute(tables.prepared(), tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="module")
def tagged(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of several labels whose recipe wants a decision."""
    prepared = tables.prepared(
        "decision.thresholds=macro_f1", "decision.abstain=0.6", "metrics=macro_f1", label="tags"
    )
    return execute(prepared, tmp_path_factory.mktemp("tagged")).folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run of three classes."""
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def test_a_run_without_a_decision_keeps_its_name(tables: Tables) -> None:
    plain = tables.prepared().spec
    assert "decision" not in plain.identity["tasks"]["train"]
    assert tables.prepared("decision=null").name == plain.name
    assert (
        len(
            {
                plain.name,
                *(
                    tables.prepared(f"decision={one}").name
                    for one in ("{}", "{temperature: false}")
                ),
            }
        )
        == 3
    )


def test_calibrated_probabilities(run: Path) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    plain = encore.load(run)
    scores = plain.scores(plain.read(texts()))
    fitted = encore.calibrate(run)
    temperature = fitted.decision.temperature
    assert temperature != 1
    dev = read_predictions(run, "train", "dev", 3)
    loss = [
        probabilities(dev.scores / t, plain.task().labels)[np.arange(23), dev.targets]
        for t in (temperature, temperature * 1.1, temperature / 1.1, 1)
    ]
    assert np.argmax([np.log(each).sum() for each in loss]) == 0
    model = encore.load(run)
    expected = probabilities(scores / np.float64(temperature), model.task().labels)
    np.testing.assert_array_equal(model.predict_proba(texts()), expected)
    assert [one.label for one in model.predict(texts())] == [
        one.label for one in plain.predict(texts())
    ]
    again = encore.calibrate(run)  # the same command, the same file
    assert again == fitted
    assert remove_decision(run)
    assert not remove_decision(run)
    np.testing.assert_array_equal(
        encore.load(run).predict_proba(texts()), plain.predict_proba(texts())
    )
    after = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    after.pop(run / "lock", None)
    before.pop(run / "lock", None)
    assert after == before


def test_abstention_in_python(run: Path) -> None:
    encore.calibrate(run, abstain={"coverage": 0.5})
    model = encore.load(run)
    sure = model.predict_proba(texts()).max(axis=1)
    limit = model.task().decision.abstain
    assert [one.label is None for one in model.predict(texts())] == (sure < limit).tolist()
    assert all(one.probabilities for one in model.predict(texts()))
    assert None not in [one.label for one in model.predict(texts(), abstain=0)]
    assert [one.label is None for one in model.predict(texts(), abstain=0.45)] == (
        sure < 0.45
    ).tolist()
    with pytest.raises(
        RecipeError, match=r"expected a confidence from 0 to 1, got 90\. Write 0\.9"
    ):
        model.predict(texts(), abstain=90)


def test_a_recipe_with_a_decision(tagged: Path) -> None:
    fitted = read_decisions(tagged)["train"]
    assert len(fitted.decision.thresholds) == 3
    assert fitted.decision.abstain == 0.6
    assert any("23 rows" in note for note in fitted.notes)
    assert DECISION not in (tagged / files.MANIFEST).read_text()
    model = encore.load(tagged)
    probs = model.predict_proba(texts())
    chosen = probs >= np.array(fitted.decision.thresholds)
    sure = np.where(chosen, probs, 1 - probs).min(axis=1)
    names = np.array(model.task().labels.names)
    expected = [
        tuple(names[on].tolist()) if certain >= 0.6 else None
        for on, certain in zip(chosen, sure, strict=True)
    ]
    assert [one.label for one in model.predict(texts())] == expected
    assert None in expected


def test_the_columns_of_an_abstained_row(
    tagged: Path, run: Path, warm: Warm, tmp_path: Path
) -> None:
    new = write_csv(tmp_path / "new.csv", {"text": texts()})
    found = warm.run(["predict", tagged, new, "-o", tmp_path / "out.jsonl"])
    assert "decision: temperature" in found.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = encore.load(tagged).predict(texts())
    for line, one in zip(lines, expected, strict=True):
        assert line["prediction"] == (None if one.label is None else list(one.label))
        assert (line["confidence"] < 0.6) == (one.label is None)
        assert line["p(blame)"] == pytest.approx(one.probabilities["blame"], abs=1e-6)
    found = warm.run(["predict", run, new, "--abstain", "0.45", "-q"])
    header, *rows = found.out.splitlines()
    assert header == "prediction,confidence,p(bad),p(fair),p(good)"
    cells = [row.split(",") for row in rows]
    assert all((name == "") == (float(sure) < 0.45) for name, sure, *_ in cells)
    assert {name == "" for name, *_ in cells} == {True, False}
    withheld = sum(name == "" for name, *_ in cells)
    found = warm.run(["predict", run, new, "--abstain", "0.45"])
    assert f"no label for {withheld} of 40 rows" in found.err
    out = tmp_path / "counted.csv"
    found = warm.run(["predict", run, new, "--abstain", "0.45", "-o", out, "--json", "-q"])
    assert json.loads(found.out)["without_label"] == {"train": withheld}
    whole = warm.run(["predict", run, new, "--abstain", "0", "-q"])
    assert whole.out == warm.run(["predict", run, new, "-q"]).out


def test_rows_without_a_label_are_counted_over_all_windows(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_file, "_MOST_ROWS", 7)
    model = encore.load(run)
    new = write_csv(tmp_path / "new.csv", {"text": texts()})
    tasks = [model.task().abstaining(0.45)]
    prediction = FilePrediction.opened(model, tasks, new, OutputForm())
    n_rows = [table.num_rows for table in prediction.tables()]
    assert len(n_rows) > 4
    expected = sum(one.label is None for one in model.predict(texts(), abstain=0.45))
    assert prediction.abstentions.notes == [f"no label for {expected} of 40 rows"]


def test_train_prints_the_decision_of_its_recipe(
    tagged: Path, run: Path, warm: Warm, tmp_path: Path
) -> None:
    words = read_decisions(tagged)["train"].described
    command = ["train", tagged / "recipe.yaml", "--runs", tagged.parent]
    shown = warm.run(command).out
    assert f"\ndecision: {words} (" in shown
    assert shown.index("\ndecision: ") < shown.index("\nrun: ")
    told = json.loads(warm.run([*command, "--json"]).out)["decisions"]["train"]
    assert told["temperature"] == read_decisions(tagged)["train"].decision.temperature
    plain = ["train", run / "recipe.yaml", "--runs", run.parent]
    assert "\ndecision:" not in warm.run(plain).out
    assert "decisions" not in json.loads(warm.run([*plain, "--json"]).out)


def test_evaluate_shows_both(tagged: Path, tables: Tables, warm: Warm) -> None:
    found = warm.run(["evaluate", tagged, tables.dev, "--mistakes", "1"])
    assert "without and with the decision" in found.out
    assert "right where covered" in found.out
    evaluation = encore.evaluate(tagged, str(tables.dev), compare=tagged)
    figures = evaluation.decision
    assert figures is not None
    assert evaluation.estimates["macro_f1"] == figures.decided["macro_f1"]
    # thresholds that were tuned on these very rows cannot be worse there
    assert figures.decided["macro_f1"].value >= figures.plain["macro_f1"].value
    assert figures.coverage.value < 1
    assert evaluation.other is not None
    assert evaluation.other.differences["macro_f1"].delta == 0


def test_the_report_has_pictures_of_it(tagged: Path, warm: Warm, tmp_path: Path) -> None:
    assert warm.run(["report", tagged, "-o", tmp_path / "report.html"]).code == 0
    page = (tmp_path / "report.html").read_text()
    assert "Without and with it" in page
    assert "Accuracy by coverage" in page
    curve = (tmp_path / "report_figures" / "coverage-dev.csv").read_text().splitlines()
    assert curve[0] == "group,coverage,accuracy,confidence"
    assert {line.split(",")[0] for line in curve[1:]} == {"without", "with"}
    diagram = (tmp_path / "report_figures" / "calibration-decision-dev.csv").read_text()
    assert "without," in diagram


@pytest.mark.parametrize("head", ["linear", pytest.param("siamese_dot", marks=pytest.mark.nightly)])
def test_an_export_gives_calibrated_probabilities(
    head: str, run: Path, tables: Tables, tmp_path: Path
) -> None:
    """In a fresh process: folded into the last layer, or divided by Encore's class."""
    pytest.importorskip("transformers", reason="needs the extra 'hf'")
    from encore.export.folder import export_run

    if head == "siamese_dot":
        rows, balance = sentences(40, 3)
        pairs = write_csv(
            tmp_path / "pairs.csv",
            {
                "text": rows,
                "other": rows[::-1],
                "same": ["yes" if b > 0 else "no" for b in balance],
            },
        )
        recipe = ("head=siamese_dot", "pair=siamese")
        run = encore.fit(
            str(pairs),
            *tables.settings,
            *recipe,
            text="text",
            text_pair="other",
            label="same",
            runs=tmp_path / "pairs",
        ).folder
    before = encore.load(run)
    fitted, temperature = encore.calibrate(run), 1.7
    name = before.task().name
    changed = replace(fitted, decision=replace(fitted.decision, temperature=temperature))
    write_decisions(run, {name: changed})
    model = encore.load(run)
    exported = export_run(run, "hf", tmp_path / "exported")  # compares in a fresh process
    config = files.read_json(tmp_path / "exported" / "config.json")
    assert config.get("logit_temperature") == (None if head == "linear" else temperature)
    assert any("calibrated" in note for note in exported.notes)
    if head == "linear":
        code = (
            "import sys, json, encore.hf; encore.hf.register();"
            "from transformers import pipeline;"
            "p = pipeline('text-classification', model=sys.argv[1], top_k=None);"
            "print(json.dumps({e['label']: e['score'] for e in p([sys.argv[2]])[0]}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "exported"), texts()[0]],
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        found = json.loads(done.stdout.splitlines()[-1])
        [one] = model.predict([texts()[0]])
        [plain] = before.predict([texts()[0]])
        assert found == pytest.approx(dict(one.probabilities), abs=1e-5)
        assert found != pytest.approx(dict(plain.probabilities), abs=1e-3)


@pytest.mark.parametrize("damage", ["cut", "changed", "another model", "text", "list"])
def test_a_damaged_decision_is_one_line(damage: str, run: Path) -> None:
    encore.calibrate(run)
    file = run / "model" / DECISION
    content = file.read_text()
    if damage == "another model":
        manifest = run / "model" / files.MANIFEST
        changed = dict(files.read_json(manifest))
        changed = dict(reversed(changed.items()))
        files.write_json(manifest, changed)
    else:
        file.write_text(
            {
                "cut": content[: len(content) // 2],
                "changed": content.replace('"temperature": ', '"temperature": 1'),
                "text": "no json",
                "list": "[1, 2]",
            }[damage]
        )
    with pytest.raises(
        DataError, match="another model" if damage == "another model" else "not as Encore wrote it"
    ) as caught:
        encore.load(run)
    assert len(caught.value.lines) == 1
    if damage != "another model":
        assert encore.calibrate(run).decision.temperature != 1
        encore.load(run)


def test_an_interrupted_writing_leaves_the_old_file(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encore.calibrate(run)
    before = (run / "model" / DECISION).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(TrainingError, match="cannot be written"):
            encore.calibrate(run, abstain=0.5)
    assert (run / "model" / DECISION).read_bytes() == before
    (run / "model" / f".{DECISION}.x.part").write_text("of a killed process")
    encore.calibrate(run)
    assert not list((run / "model").glob(".*.part"))


def test_mistakes_of_a_newcomer(run: Path, tables: Tables, warm: Warm, tmp_path: Path) -> None:
    def says(*words: object) -> str:
        found = warm.run([*words])
        assert found.code in (2, 3)
        assert found.err.count("\n") == 1, found.err
        return found.err

    assert "got '90'. Write 0.9" in says("predict", run, tables.dev, "--abstain", "90")
    assert "Write 0.95" in says("calibrate", run, "--abstain", "accuracy=95")
    assert "accuracy=P or coverage=P" in says("calibrate", run, "--abstain", "recall=.9")
    assert "has no thresholds" in says("calibrate", run, "--thresholds", "macro_f1")
    assert "Did you mean 'f1'?" in says("calibrate", run, "--thresholds", "f11")
    assert "of at least 2" in says("calibrate", run, "--parts", "1")
    assert "no such run" in says("calibrate", tmp_path / "nothing")
    assert "--remove takes no other" in says("calibrate", run, "--remove", "--abstain", ".5")
    (run / "predictions" / "train" / "dev-3.parquet").unlink()
    assert "missing, or not as the run wrote it" in says("calibrate", run)


def test_a_run_without_weights_has_no_place_for_it(tables: Tables, tmp_path: Path) -> None:
    result = execute(tables.prepared("plan.epochs=1"), tmp_path, keep_model=False)
    with pytest.raises(DataError, match="has no weights: a decision is kept with them"):
        encore.calibrate(result.folder)


def test_no_decision_for_a_regression(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a regression predicts no probabilities"):
        tables.prepared("decision={}", label="score")
    run = execute(tables.prepared("plan.epochs=1", label="score"), tmp_path).folder
    with pytest.raises(RecipeError, match="nothing to calibrate"):
        encore.calibrate(run)
    with pytest.raises(RecipeError, match="no confidence to abstain below"):
        encore.load(run).predict(texts(), abstain=0.9)
    with pytest.raises(RecipeError, match="no thresholds"):
        tables.prepared("decision.thresholds=macro_f1")
