"""`encore train --from RUN more.csv`: where it begins, what it trains on, what is lost."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOOD, Tables, sentences, write_csv
from torch import nn

import encore
from encore.api import prepared_from
from encore.cli import app
from encore.errors import DataError, EncoreError, RecipeError
from encore.recipe.load import load_recipe
from encore.report.write import write_report
from encore.runs.folder import RunResult, read_predictions
from encore.runs.go_on import measure_old_rows, read_old_rows
from encore.runs.prepare import build_models, prepare


def recipe(tables: Tables, encoder: Path, label: str, **more: Any) -> dict[str, Any]:
    kind = {"kind": "regression"} if label == "score" else {}
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": label}
    return {
        "encoder": str(encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "pooling": "pooler",
        "tasks": {label: {"data": data | kind}},
        "plan": {"epochs": 2, "lr": 1e-2, "batch_size": 9},
        **more,
    }


@pytest.fixture(scope="module")
def olds(
    tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RunResult]:
    folder = tmp_path_factory.mktemp("old")
    made = {each: recipe(tables, tiny_encoder, each) for each in ("verdict", "tags", "score")}
    made["attention"] = recipe(tables, tiny_encoder, "verdict", pooling="attention")
    made["adapter"] = recipe(tables, tiny_encoder, "verdict", adapter="houlsby")
    return {name: encore.fit(each, runs=folder) for name, each in made.items()}


@pytest.fixture(scope="module")
def more(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty new rows, of which six have a new label, and one dev row."""
    texts, balance = sentences(20, 5)
    texts[0] = column(tables.dev, "text")[0]
    verdicts = ["bad" if value < 0 else "good" for value in balance]
    verdicts[14:] = ["superb"] * 6
    tags = ["praise" if value > 0 else "blame" for value in balance]
    tags[15:] = ["praise;award"] * 5
    path = tmp_path_factory.mktemp("more") / "more.csv"
    columns = {"text": texts, "verdict": verdicts, "tags": tags, "score": balance}
    return write_csv(path, columns)


def column(file: Path, name: str) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [row[name] for row in csv.DictReader(lines)]


def heads(models: dict[str, Any], task: str) -> dict[str, torch.Tensor]:
    head = models[task].head
    assert isinstance(head, nn.Module)
    return head.state_dict()


@pytest.mark.parametrize("name", ["verdict", "tags", "score", "attention", "adapter"])
def test_it_begins_where_the_run_ended_and_new_labels_are_fresh(
    name: str, olds: dict[str, RunResult], more: Path
) -> None:
    run = olds[name].folder
    new = prepared_from(str(more), start=run)
    (task,) = new.data
    trained, begun = encore.load(run).tasks[task].model, build_models(new)[task]
    mine, theirs = begun.state_dict(), trained.state_dict()
    old_names, names = encore.load(run).tasks[task].labels.names, new.data[task].labels.names
    assert names[: len(old_names)] == old_names
    extra = {"tags": ("award",), "score": ()}
    assert names[len(old_names) :] == extra.get(name, ("superb",))
    for key, weights in theirs.items():
        assert torch.equal(
            mine[key][: len(weights)] if ".head" in f".{key}" else mine[key], weights
        )
    if name == "score":
        return
    other = build_models(prepared_from(str(more), ("seed=7",), start=run))[task]
    n = len(old_names)
    fresh, drawn = (heads({task: each}, task) for each in (begun, other))
    weight = next(key for key in fresh if key.endswith("weight"))
    assert fresh[weight].shape[0] == n + 1
    assert torch.equal(fresh[weight][:n], drawn[weight][:n])
    assert not torch.equal(fresh[weight][n:], drawn[weight][n:]), "of the new run's seed"
    assert fresh[weight][n:].abs().max() < 0.2


def test_it_trains_on_the_old_and_the_new_rows_and_never_on_dev_rows(
    olds: dict[str, RunResult], more: Path, tables: Tables
) -> None:
    run = olds["verdict"].folder
    new = prepared_from(str(more), start=run)
    data = new.data["verdict"]
    old_texts, dev = column(tables.train, "text"), column(tables.dev, "text")
    added = column(more, "text")
    assert added[0] in dev
    assert data.train.texts.to_pylist() == [*old_texts, *added[1:]]
    assert data.dev["dev"].texts.to_pylist() == dev
    assert any("1 row also in the dev set left out" in str(note) for note in new.notes)
    alone = prepared_from(str(more), start=run, only_new=True)
    assert alone.data["verdict"].train.texts.to_pylist() == added[1:]
    assert alone.data["verdict"].labels == data.labels
    assert alone.name != new.name
    assert new.recipe.plan.lr == 1e-2
    faster = prepared_from(str(more), ("plan.lr=2e-2", "plan.epochs=1"), start=run)
    assert (faster.recipe.plan.lr, faster.recipe.plan.epochs) == (2e-2, 1)


def test_a_dev_set_that_was_split_off_stays_out_whatever_the_seed(
    tables: Tables, tiny_encoder: Path, more: Path, tmp_path: Path
) -> None:
    given = recipe(tables, tiny_encoder, "verdict")
    del given["tasks"]["verdict"]["data"]["dev"]
    old = encore.fit(given, runs=tmp_path)
    held_out = prepare(load_recipe(old.folder / "recipe.yaml")).data["verdict"].dev["dev"]
    for changes in ((), ("seed=3",)):
        new = prepared_from(str(more), changes, start=old.folder).data["verdict"]
        assert new.dev["dev"].rows.tolist() == held_out.rows.tolist()
        assert not set(held_out.rows.tolist()) & set(new.train.sources[0][2].tolist())
    with pytest.raises(DataError, match="would not be those that this run was trained and measure"):
        prepared_from(str(more), ("data.seed=3",), start=old.folder)


def test_what_the_old_classes_lost_is_what_the_predictions_say(
    olds: dict[str, RunResult], tmp_path: Path
) -> None:
    old, (texts, balance) = olds["verdict"], sentences(20, 5)
    verdicts = ["superb" if value > -2 else "bad" for value in balance]
    rows = write_csv(tmp_path / "superb.csv", {"text": texts, "verdict": verdicts})
    changes = ("plan.epochs=6", "plan.lr=3e-3")
    new = prepared_from(str(rows), changes, start=old.folder, only_new=True)
    result = encore.fit(str(rows), *changes, start=old.folder, only_new=True, runs=tmp_path)
    assert result.folder.name == new.name
    (found,) = read_old_rows(result.folder)
    assert [found] == measure_old_rows(new, result, old.folder)
    before = read_predictions(old.folder, "verdict", "dev", old.epoch)
    now = read_predictions(result.folder, "verdict", "dev", result.epoch)
    assert now.scores.shape[1] == before.scores.shape[1] + 1
    was, answers, truth = before.scores.argmax(1), now.scores.argmax(1), before.targets
    assert found.n_new == (answers == 3).sum() > 0, "some answers are the new label here"
    accuracy = found.metrics["accuracy"]
    assert accuracy.other == pytest.approx((was == truth).mean())
    assert accuracy.value == pytest.approx((answers == truth).mean())
    for number, name in enumerate(("bad", "fair", "good")):
        at = truth == number
        one = found.classes[name]
        assert (one.other, one.value) == pytest.approx(
            ((was[at] == number).mean(), (answers[at] == number).mean())
        )
        assert found.rows_of[name] == at.sum()
    assert accuracy.other == old.metrics["verdict"]["dev"]["model"]["accuracy"].value


@pytest.mark.parametrize("name", ["tags", "score"])
def test_other_kinds_of_task_are_compared_too(
    name: str, olds: dict[str, RunResult], more: Path, tmp_path: Path
) -> None:
    old = olds[name]
    result = encore.fit(str(more), "plan.epochs=1", start=old.folder, runs=tmp_path)
    new = prepared_from(str(more), ("plan.epochs=1",), start=old.folder)
    (found,) = measure_old_rows(new, result, old.folder)
    deciding = next(iter(old.metrics[name]["dev"]["model"]))
    assert found.metrics[deciding].other == pytest.approx(
        old.metrics[name]["dev"]["model"][deciding].value
    )
    assert list(found.classes) == (["blame", "praise", "strong"] if name == "tags" else [])
    again = encore.fit(str(more), "plan.epochs=1", start=old.folder, runs=tmp_path)
    assert again.already_complete


def test_runs_that_went_on_go_on_and_their_recipes_train_them_again(
    olds: dict[str, RunResult], more: Path, tmp_path: Path
) -> None:
    first = olds["verdict"].folder
    second = encore.fit(str(more), "plan.epochs=1", start=first, runs=tmp_path, only_new=True)
    third_rows = tmp_path / "third.csv"
    third_rows.write_text("text,verdict\nthe tent is superb,superb\nthe zip is odd,odd\n")
    third = prepared_from(str(third_rows), ("plan.epochs=1",), start=second.folder)
    data = third.data["verdict"]
    assert data.labels.names == ("bad", "fair", "good", "superb", "odd")
    assert len(data.train) == 19 + 2, "the rows of the second and of the third"
    fresh = prepared_from(str(third_rows), ("plan.epochs=1",), start=second.folder, only_new=True)
    assert len(fresh.data["verdict"].train) == 2
    result = encore.fit(str(third_rows), "plan.epochs=1", start=second.folder, runs=tmp_path)
    assert result.folder.name == third.name
    assert prepare(load_recipe(result.folder / "recipe.yaml")).name == third.name
    stored = json.loads((result.folder / "data.json").read_text())["verdict"]["splits"]["train"]
    assert [each["rows"] for each in stored["files"]] == [19, 2]
    seen = encore.evaluate(result.folder, third_rows, n_mistakes=0).notes
    assert "is the file that this run was trained on (2 of its rows)" in seen[0]


def test_a_stopped_run_resumes_to_the_same_bits(
    olds: dict[str, RunResult], more: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(report: Any) -> None:
        if report.epoch == 2:
            raise Stop

    how: dict[str, Any] = {"start": olds["verdict"].folder}
    with pytest.raises(Stop):
        encore.fit(str(more), **how, runs=tmp_path / "stopped", watch=stop)
    stopped = encore.fit(str(more), **how, runs=tmp_path / "stopped")
    whole = encore.fit(str(more), **how, runs=tmp_path / "whole")
    for name in ("model/weights.safetensors", "results.json", "steps.jsonl"):
        assert (stopped.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app.main(["train", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_prints_what_was_lost(
    olds: dict[str, RunResult], more: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(olds["verdict"].folder)
    words = [str(more), "--from", run, "--runs", str(tmp_path), "plan.epochs=1"]
    assert command(*words) == 0
    streams = capsys.readouterr()
    assert "new labels, after the others: superb (6 rows)" in streams.err
    assert f"the 23 old rows of dev: before is {Path(run).name}" in streams.out
    assert "what the old classes lost: % found of the rows of each" in streams.out
    assert command(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)["old_rows"]["dev"]
    assert found["rows"] == 23
    assert set(found["classes"]) == {"bad", "fair", "good"}
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["delta"] == pytest.approx(accuracy["value"] - accuracy["other"])


def test_the_report_shows_what_the_old_rows_lost(
    olds: dict[str, RunResult], more: Path, tmp_path: Path
) -> None:
    run = encore.fit(str(more), "plan.epochs=1", start=olds["tags"].folder, runs=tmp_path).folder
    page = write_report(run).html.read_text(encoding="utf-8")
    assert f"the 23 old rows of dev: before is {olds['tags'].folder.name}" in page
    assert "what the old classes lost: F1 of each label" in page
    (run / "old_rows.json").write_text('[{"before": "x"}]')
    with pytest.raises(DataError, match=r"old_rows\.json: not as `encore train --from` wrote it"):
        write_report(run, overwrite=True)
    (run / "old_rows.json").unlink()
    assert "old rows" not in write_report(run, overwrite=True).html.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MORE", "--only-new"], r"--only-new: goes with --from RUN"),
        (["MORE", "--from", "NOWHERE"], r"no such run"),
        (["recipe", "--from", "RUN"], r"expected a file of new rows"),
        (["MORE", "--from", "RUN", "--label", "score"], r"--label: the columns .* those of"),
        (["MORE", "--from", "RUN", "data.train=MORE"], r"names a file that data.train or"),
        (["DEV", "--from", "RUN"], r"data.more names a file that data.train or data.dev names"),
        (["OLD", "--from", "RUN"], r"data.more names a file that data.train or data.dev names"),
        (["ONLYDEV", "--from", "RUN"], r"every row also occurs in the dev set: none is new"),
        (["MORE", "--from", "FUSED"], r"fused adapters of other runs, and only one of its own"),
        (["MORE", "--from", "TWO"], r"has several tasks, and new rows belong to one"),
        (["MORE", "--from", "RUN", "head=siamese_concat"], r"that run is 'linear'. Remove head"),
        (["MORE", "--from", "RUN", "encoder=minilm"], r"encoder: with --from the encoder is that"),
        (["MORE", "--from", "RUN", "data.kind=binary"], r"binary (has|:)"),
    ],
)
def test_what_is_refused_in_one_line_before_anything_starts(
    words: Sequence[str],
    message: str,
    olds: dict[str, RunResult],
    more: Path,
    tables: Tables,
    tiny_encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = write_csv(
        tmp_path / "only.csv",
        {"text": column(tables.dev, "text"), "verdict": column(tables.dev, "verdict")},
    )
    places = {
        "MORE": more,
        "DEV": tables.dev,
        "OLD": tables.train,
        "ONLYDEV": only,
        "RUN": olds["verdict"].folder,
        "NOWHERE": tmp_path / "nowhere",
    }
    if "FUSED" in words or "TWO" in words:
        given = recipe(tables, tiny_encoder, "verdict", plan={"epochs": 1, "lr": 1e-2})
        if "TWO" in words:
            given["tasks"] |= recipe(tables, tiny_encoder, "tags")["tasks"]
        else:
            given["adapter"] = {"name": "fusion", "of": [str(olds["adapter"].folder)]}
        made = encore.fit(given, runs=tmp_path / "made").folder
        places |= {"TWO": made, "FUSED": made}
    typed = []
    for word in words:
        key, equals, value = word.partition("=")
        typed.append(f"{key}={places.get(value, value)}" if equals else str(places.get(key, key)))
    assert command(*typed, "--runs", str(tmp_path / "runs")) in (2, 3)
    streams = capsys.readouterr()
    assert streams.out == ""
    assert re.search(message, streams.err), streams.err
    assert "Traceback" not in streams.err
    assert not (tmp_path / "runs").exists()


def test_a_file_that_changed_is_refused(
    tables: Tables, tiny_encoder: Path, more: Path, tmp_path: Path
) -> None:
    train = tmp_path / "train.csv"
    train.write_bytes(tables.train.read_bytes())
    given = recipe(tables, tiny_encoder, "verdict", plan={"epochs": 1, "lr": 1e-2})
    given["tasks"]["verdict"]["data"]["train"] = str(train)
    run = encore.fit(given, runs=tmp_path).folder
    train.write_text(train.read_text().replace(GOOD[0], GOOD[1]))
    with pytest.raises(EncoreError, match="a file has changed, or a setting of data has"):
        prepared_from(str(more), start=run)


def test_a_table_in_memory_goes_on_too(
    olds: dict[str, RunResult], more: Path, tmp_path: Path
) -> None:
    cells = {name: column(more, name) for name in ("text", "verdict")}
    result = encore.fit(cells, "plan.epochs=1", start=olds["verdict"].folder, runs=tmp_path)
    assert (tmp_path / "data").is_dir()
    assert encore.load(result.folder).tasks["verdict"].labels.names[-1] == "superb"
    with pytest.raises(RecipeError, match="expected a file of new rows"):
        prepared_from({"task": "rte"}, start=olds["verdict"].folder)
    assert np.isfinite(result.seconds)
