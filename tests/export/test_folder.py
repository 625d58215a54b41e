"""`encore export`: a folder that appears whole, or a clear line and nothing."""

from __future__ import annotations

import errno
import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Tables

import encore
from encore import files
from encore.cli.app import main
from encore.errors import DataError, EncoreError, RecipeError, TrainingError
from encore.export import check, folder, stock, write
from encore.export.folder import export_run
from encore.export.write import write_export
from encore.model.assembly import TaskSpec, assemble
from encore.runs.predict import load
from encore.types import LabelSpace


def test_the_command_from_run_to_folder(
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole of it, with its own process."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["export", str(runs["binary"]), "--to", "hf", "out/signs"])
    assert end.value.code == 0
    made = tmp_path / "out" / "signs"
    first, second, third, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "checked in a fresh process: outputs for 23 rows of dev set dev differ from Encore's by "
    )
    assert float(first.rpartition(" at most ")[2]) <= 1e-5
    assert "import encore.hf; encore.hf.register()" in second
    assert (
        third
        == "of texts longer than 32 tokens the first 32 are read (here with `truncation=True`)"
    )
    assert last.startswith("exported: out/signs (")
    assert "EncoreForSequenceClassification" in last
    assert not files.wrong_files(made, ())
    assert set(files.read_json(made / files.MANIFEST)) | {files.MANIFEST} == {
        str(file.relative_to(made)) for file in made.rglob("*")
    }
    assert {file.name for file in made.iterdir()} == {
        "README.md",
        "config.json",
        "encore_export.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["signs"], (
        "nothing half written is left beside it"
    )


def test_json_is_one_object(
    runs: dict[str, Path], here: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["export", str(runs["multiclass"]), "--to", "hf", str(tmp_path / "out"), "--json"])
    assert end.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["class"] == "BertForSequenceClassification"
    assert told["needs_encore"] is False
    assert told["rows_compared"] == 23
    assert told["largest_difference"] <= 1e-5
    assert told["files"] == {
        file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()
    }


def test_it_is_compared_before_it_appears(
    runs: dict[str, Path], here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that went wrong on its way: the target is as it was."""
    export_run(runs["multiclass"], "hf", tmp_path / "out")
    before = files.read_json(tmp_path / "out" / files.MANIFEST)
    right = stock.stock_weights

    def wrong(*given: Any, **named: Any) -> dict[str, Any]:
        weights = right(*given, **named)
        weights["classifier.bias"] = weights["classifier.bias"].flip(0) + 0.1
        return weights

    monkeypatch.setattr("encore.export.stock.stock_weights", wrong)
    for target, how in ((tmp_path / "new", {}), (tmp_path / "out", {"overwrite": True})):
        with pytest.raises(EncoreError, match=r"gives other outputs than Encore.*Nothing was kept"):
            export_run(runs["multiclass"], "hf", target, **how)
    assert all(name.endswith(".part") for name in here), "what is compared is not yet in its place"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert files.read_json(tmp_path / "out" / files.MANIFEST) == before
    assert not files.wrong_files(tmp_path / "out", ())


def test_only_an_earlier_export_is_ever_replaced(
    runs: dict[str, Path], here: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    export_run(runs["binary"], "hf", target)  # an empty folder is no loss
    first = files.read_json(target / files.MANIFEST)
    with pytest.raises(RecipeError, match=r"out: exists and is not empty.*--overwrite"):
        export_run(runs["multiclass"], "hf", target)
    assert files.read_json(target / files.MANIFEST) == first
    export_run(runs["multiclass"], "hf", target, overwrite=True)
    assert files.read_json(target / files.MANIFEST) != first
    (target / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match=r"contains files that no export wrote \(notes\.txt\)"):
        export_run(runs["binary"], "hf", target, overwrite=True)
    assert (target / "notes.txt").read_text() == "mine"
    with pytest.raises(RecipeError, match="is a file; name a folder"):
        export_run(runs["binary"], "hf", target / "notes.txt")
    assert len(here) == 2


def test_the_folder_that_one_is_in_is_not_taken_away(
    runs: dict[str, Path], here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", str(tmp_path), f"../{tmp_path.name}"):
        with pytest.raises(
            RecipeError, match="is the current working directory; name a new folder"
        ):
            export_run(runs["binary"], "hf", name)
    assert tmp_path.is_dir()
    assert not here


def test_everything_that_is_wrong_is_said_at_once(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(RecipeError) as error:
        export_run(tmp_path / "no-run", "hff", tmp_path / "full")
    lines = error.value.lines
    assert len(lines) == 3
    assert "--to: no format called 'hff'. Did you mean 'hf'?" in lines[0]
    assert "not empty" in lines[1]
    assert "no such run" in lines[2]


def test_a_run_without_weights_or_end_has_nothing_to_export(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    compared, begun = tmp_path / "compared", tmp_path / "begun"
    for copy in (compared, begun):
        shutil.copytree(runs["binary"], copy)
    shutil.rmtree(compared / "model")
    files.write_manifest(
        compared,
        [
            compared / name
            for name in files.read_json(compared / files.MANIFEST)
            if (compared / name).exists()
        ],
    )
    (begun / files.MANIFEST).unlink()
    with pytest.raises(
        DataError, match=r"has no weights: .*keeps figures only.*encore train"
    ) as error:
        export_run(compared, "hf", tmp_path / "out")
    assert len(error.value.lines) == 1
    with pytest.raises(DataError, match=r"not a complete run.*resumes"):
        export_run(begun, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_not_installed_is_asked_for(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "version_of", {"transformers": "4.57.1"}.get)
    with pytest.raises(DataError) as error:
        export_run(runs["binary"], "hf", tmp_path / "out")
    oldest = folder.OLDEST["transformers"]
    assert error.value.lines == (
        f"--to hf needs transformers {oldest} or newer, and 4.57.1 is installed. Run: pip "
        f"install 'transformers>={oldest}'",
    )
    project = tomllib.loads(
        (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    )["project"]
    (wanted,) = project["optional-dependencies"]["hf"]
    assert wanted.removeprefix("transformers>=") in (oldest, oldest.removesuffix(".0"))
    with pytest.raises(DataError) as error:
        export_run(runs["binary"], "sentence-transformers", tmp_path / "out")
    assert len(error.value.lines) == 2
    assert (
        f"needs sentence-transformers {folder.OLDEST['sentence_transformers']} or newer, and "
        f"it is not installed" in error.value.lines[1]
    )
    assert check.version_of("torch")
    for newer in ("10.1.0", "5.0", "5.10.2"):
        monkeypatch.setattr(folder, "version_of", lambda name, newer=newer: newer)
        folder._installed("hf")


def test_a_disk_that_is_full_leaves_nothing(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(weights: Any, file: Path, **_: Any) -> None:
        file.write_bytes(b"a part of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(TrainingError, match=r"out.*cannot be written \(No space left on device\)"):
        export_run(runs["binary"], "hf", tmp_path / "out")
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------- to sentence-transformers, or not


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ({"name": "max_cls", "k": 2}, "no pooling like 'max_cls"),
        ({"name": "mean", "include_special": False}, "no pooling like 'mean"),
        (
            {"name": "concat", "of": ["cls", "attention"]},
            "no pooling like concat of cls, attention",
        ),
        ({"name": "concat", "of": ["cls", "cls"]}, "no pooling like concat of cls, cls"),
    ],
)
def test_poolings_that_sentence_transformers_has_not(
    pooling: dict[str, Any],
    told: str,
    vary: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folder, "version_of", lambda name: "5.9.0")
    with pytest.raises(RecipeError, match=told) as error:
        export_run(vary("binary", pooling=pooling), "sentence-transformers", tmp_path / "out")
    assert "cls, mean, max, mean_max, pooler, and concat of cls, mean and max" in str(error.value)


@pytest.mark.parametrize(
    ("pair", "head", "told"),
    [
        (
            "cross",
            {"name": "linear"},
            "so it has no vector of a text. Use --to hf, or train with pair: siamese.",
        ),
        (
            "siamese_attend",
            {"name": "siamese_concat"},
            "so it has no vector of a text. Use --to hf, or train with pair: siamese.",
        ),
        (
            "siamese",
            {"name": "fcn_similarity"},
            "the head 'fcn_similarity' makes a text's vector with layers that it does not have",
        ),
    ],
)
def test_what_cannot_hold_a_model_of_pairs_says_what_can(
    pair: str,
    head: dict[str, Any],
    told: str,
    runs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(folder, "version_of", lambda name: "5.9.0")
    model = load(runs["pair"])
    task = model.task()
    labels = (
        LabelSpace("regression", (), False) if head["name"] == "fcn_similarity" else task.labels
    )
    encoder: Any = task.model.branches[0].encoder
    part = TaskSpec(labels, {"name": "mean"}, head, {"name": pair})
    whole = assemble({task.name: part}, "one", encoder, encoder.shape, seed=1)[task.name].eval()
    strange = replace(task, pair={"name": pair}, labels=labels, model=whole)
    monkeypatch.setattr(folder, "load", lambda run: replace(model, tasks={task.name: strange}))
    monkeypatch.setattr(
        write, "task_assembly", lambda run, name: {"pooling": {"name": "mean"}, "head": head}
    )
    with pytest.raises(RecipeError) as error:
        export_run(runs["pair"], "sentence-transformers", tmp_path / "out")
    (line,) = error.value.lines
    assert told in line


def test_a_head_that_is_another_tasks(here: list[str], tables: Tables, tmp_path: Path) -> None:
    sets = {"train": str(tables.train), "dev": str(tables.dev), "label": "verdict"}
    own = {"data": {**sets, "text": "text"}, "head": {"name": "fcn_sentiment", "size": 5}}
    recipe = {
        "pooling": "mean",
        "tasks": {"own": own, "other": {"data": {**sets, "text": "other"}, "same_as": "own"}},
    }
    run = encore.fit(recipe, *tables.settings, "plan.epochs=1", runs=tmp_path / "runs").folder
    made = export_run(run, "hf", tmp_path / "out", task="other")
    assert made.difference <= 1e-5
    assert files.read_json(tmp_path / "out" / "config.json")["head"]["name"] == "fcn_sentiment"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| head | fcn_sentiment (size 5" in card
    assert "| same_as | own |" in card


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_what_a_checkpoint_says_of_itself_does_not_travel(
    pooling: str, runs: dict[str, Path], vary: Callable[..., Path], tmp_path: Path
) -> None:
    """In transformers' class and in Encore's."""
    said = {
        "_name_or_path": "/home/me/base",
        "auto_map": {"AutoModel": "strange.Model"},
        "id2label": {"0": "old"},
    }
    config = files.read_json(runs["binary"] / "model" / "config.json") | said
    model = load(vary("binary", config=config, pooling={"name": pooling}))
    write_export(model, model.task(), "hf", tmp_path, name="x")
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert not [
        word for word in ("/home/me", "strange", "old") if word in text.replace("threshold", "")
    ]


def test_numbers_come_from_float32_and_the_run_stays_as_it_was(
    vary: Callable[..., Path], strange: str
) -> None:
    model = load(vary("multiclass", precision="bf16"))
    dtype = model.task().model.branches[0].encoder.dtype
    expected = check.reference_outputs(model, model.task(), "scores", on=strange)
    assert model.task().model.branches[0].encoder.dtype == dtype
    assert expected.rounding == pytest.approx(
        np.abs(expected.values - _probabilities(model, expected)).max()
    )


def _probabilities(model: Any, expected: check.ReferenceOutputs) -> np.ndarray:
    said = model.predict(expected.raw[0])
    return np.array([[one.probabilities[name] for name in expected.names] for one in said])
