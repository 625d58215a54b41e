"""Recipes by their names, from any folder, in a checkout and in an installed package; and what
`encore ls recipes` says of them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Warm

from encore import files
from encore.api import recipe_of
from encore.cli import inventory
from encore.errors import RecipeError
from encore.experiments.find import study_of
from encore.experiments.search_space import load_search
from encore.experiments.variants import load_study
from encore.recipe import builtin
from encore.recipe.digest import settings_digest
from encore.recipe.located_yaml import read_yaml
from encore.recipe.pretraining import pretraining_recipes
from encore.recipe.values import to_plain
from encore.recipe.write import anchored, to_yaml
from encore.runs.identity import RESULTS_VERSION

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has nothing to do with the repository."""
    monkeypatch.chdir(tmp_path)


def test_names_are_the_files() -> None:
    assert {"maxpoolbert", "rte_pooling", "first_light/rte"} <= set(builtin.recipe_names())
    assert len(builtin.recipe_names()) == len(list((ROOT / "recipes").rglob("*.yaml")))
    assert all(builtin.recipe_path(name).is_file() for name in builtin.recipe_names())


def test_a_wheel_carries_them(tmp_path: Path) -> None:
    """As it is installed: the package and nothing beside it."""
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]["force-include"]
    package = tmp_path / "site" / "encore"
    (package / "recipe").mkdir(parents=True)
    (package / "data").mkdir()
    for name in (
        "__init__",
        "errors",
        "data/__init__",
        "data/endings",
        "recipe/__init__",
        "recipe/builtin",
    ):
        shutil.copy(ROOT / "encore" / f"{name}.py", package / f"{name}.py")
    for source, target in included.items():
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(
            ROOT / source, tmp_path / "site" / target
        )
    code = (
        "from encore.recipe import builtin; print(builtin.recipes_folder(), "
        "builtin.recipe_names(), "
        "builtin.file_of('maxpoolbert'), builtin.verified_results())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
    )
    expected = (
        package / "recipe" / "builtin_recipes",
        builtin.recipe_names(),
        package / "recipe" / "builtin_recipes" / "maxpoolbert.yaml",
        builtin.verified_results(),
    )
    assert done.stdout.strip() == " ".join(map(str, expected)), done.stderr


def test_by_its_name_and_by_its_path() -> None:
    assert study_of("maxpoolbert_k").text == builtin.recipe_path("maxpoolbert_k").read_text()
    assert study_of(str(builtin.recipe_path("maxpoolbert_k"))).name == "maxpoolbert_k"
    assert recipe_of("first_light/rte", ("seed=7",)).seed == 7
    Path("mine.yaml").write_text("task: rte\n")
    assert study_of("mine.yaml").name == "mine"
    shutil.copy(
        builtin.recipe_path("maxpoolbert"), "maxpoolbert.yaml"
    )  # the very same: there is nothing to choose
    assert study_of("maxpoolbert").text == builtin.recipe_path("maxpoolbert").read_text()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "maxpolbert",
            "maxpolbert: no recipe of this name. Did you mean 'maxpoolbert'? Name a .yaml "
            "file, or one that `encore ls recipes` lists.",
        ),
        ("mine", "mine: no recipe of this name. Did you mean 'mine.yaml'?"),
        ("table.csv", "table.csv: expected a recipe (.yaml), got a table. "),
        (
            "maxpoolbert.yaml",
            "maxpoolbert.yaml: no such file here. The recipe that comes with Encore is named "
            "without a path or an ending: maxpoolbert",
        ),
        ("recipes/first_light/rte.yaml", "is named without a path or an ending: first_light/rte"),
        ("mime.yaml", "mime.yaml: no such file. Did you mean 'mine.yaml'?"),
        (
            "maxpoolbert_norm",
            "maxpoolbert_norm: a recipe that comes with Encore, and a different file here. "
            "Write maxpoolbert_norm.yaml for",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(given: str, told: str) -> None:
    Path("mine.yaml").write_text("task: rte\n")
    Path("maxpoolbert_norm.yaml").write_text("task: rte\n")
    with pytest.raises(RecipeError) as caught:
        study_of(given)
    (line,) = caught.value.lines
    assert told in line
    assert "\n" not in line


def test_a_recipe_with_the_name_of_a_task_is_for_comparing_and_the_task_for_training() -> None:
    assert recipe_of("cfimdb").encoder == "minilm"
    assert list(study_of("cfimdb").variants) == ["baseline", "frozen"]
    with pytest.raises(RecipeError, match="sst2: a named task, not a recipe"):
        study_of("sst2")


def test_train_knows_their_names_too() -> None:
    assert recipe_of("maxpoolbert", ("task=rte",)).source == "MaxPoolBERT, Tables 1 to 4"
    with pytest.raises(RecipeError, match=r"these are separate studies, for `encore compare`"):
        recipe_of("maxpoolbert")
    with pytest.raises(RecipeError, match=r"Did you mean maxpoolbert\?"):
        recipe_of("maxpolbert")


# --------------------------------------------------------------------------------------- ls recipes


def entry_of(name: str, runs: Path) -> dict[str, Any]:
    return next(entry for entry in inventory.recipes(runs) if entry["recipe"] == name)


@pytest.mark.parametrize("name", builtin.recipe_names())
def test_how_many_runs_a_recipe_is(name: str, tmp_path: Path) -> None:
    """Counted without reading its settings, which takes a second less."""
    entry = entry_of(name, tmp_path)
    if entry["command"] == "pretrain":
        assert entry["runs"] == len(pretraining_recipes(builtin.recipe_path(name)))
        return
    cells = {
        (cell.study, cell.variant, cell.seed)
        for cell in load_study(builtin.recipe_path(name)).cells
    }
    search = load_search(builtin.recipe_path(name)) if entry["command"] == "tune" else None
    n_runs = {
        "compare": len(cells),
        "train": 1,
        "tune": search.trials * search.seeds_per_trial + len(search.seeds) if search else 0,
    }
    assert entry["runs"] == n_runs[entry["command"]]
    assert entry["status"] == "not run here" or "verified" in entry["status"]


def comparison(
    runs: Path, name: str, overrides: list[str], complete: list[bool], *, text: str | None = None
) -> Path:
    folder = runs / f"compare-{name}-{len(list(runs.iterdir())):010d}"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(
        builtin.recipe_path(name).read_text() if text is None else text
    )
    files.write_json(folder / "study.json", {"name": name, "overrides": overrides})
    cells = []
    for number, done in enumerate(complete):
        run = runs / f"run-{folder.name[-2:]}-{number}"
        run.mkdir()
        (run / files.MANIFEST).write_text("{}") if done else None
        cells.append({"run": run.name, "state": "complete"})
    cells += [
        {"run": cells[0]["run"], "state": "complete"},
        {"run": None, "state": "not applicable"},
        {"run": "never", "state": "left the race in round 1"},
    ]
    files.write_json(folder / "cells.json", {"cells": cells})
    return folder


def test_status_is_what_lies_in_the_folder_of_runs(tmp_path: Path) -> None:
    one = comparison(
        tmp_path, "rte_pooling", ["encoder=minilm", "seeds=[1,2]"], [True, True, False]
    )
    two = comparison(tmp_path, "rte_pooling", [], [True, True])
    comparison(
        tmp_path, "rte_pooling", [], [True], text="task: rte\n"
    )  # a recipe of somebody's own with the same name
    (tmp_path / "compare-rte_pooling-killed").mkdir()
    entry = entry_of("rte_pooling", tmp_path)
    assert entry["found"] == [
        {"folder": str(one), "with": "encoder=minilm seeds=[1,2]", "complete": 2, "runs": 3},
        {"folder": str(two), "with": "", "complete": 2, "runs": 2},
    ]
    assert (
        entry["status"] == "2 of 3 runs complete with encoder=minilm seeds=[1,2]; complete (2 runs)"
    )


def test_a_search_is_found_and_how_far_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "tune-rte_tune_cls-0123456789"
    folder.mkdir()
    (folder / "recipe.yaml").write_bytes(builtin.recipe_path("rte_tune_cls").read_bytes())
    files.write_json(
        folder / "study.json",
        {
            "overrides": ["encoder=minilm"],
            "trials": 12,
            "sampler": "tpe",
            "seeds_per_trial": 1,
            "seeds": [43, 44, 45],
        },
    )
    (tmp_path / "tune-rte_tune_cls-killed").mkdir()
    assert (
        entry_of("rte_tune_cls", tmp_path)["status"] == "0 of 15 runs complete with encoder=minilm"
    )
    (folder / "trials.csv").write_text(
        "trial,state,runs\n0,complete,rte-1\n1,pruned,\n2,complete,rte-2\n"
    )
    assert (
        entry_of("rte_tune_cls", tmp_path)["status"] == "2 of 15 runs complete with encoder=minilm"
    )
    (folder / files.MANIFEST).write_text("{}")
    assert entry_of("rte_tune_cls", tmp_path)["status"] == "complete with encoder=minilm (15 runs)"
    (folder / "recipe.yaml").write_text("task: rte\n")
    assert entry_of("rte_tune_cls", tmp_path)["status"] == "not run here"


def test_runs_of_a_recipe_for_one_run_whatever_the_seed(tmp_path: Path) -> None:
    for number, overrides in enumerate([(), ("seed=7",), ("plan.lr=1e-3",)]):
        run = tmp_path / f"rte-{number}"
        run.mkdir()
        (run / "recipe.yaml").write_text(to_yaml(anchored(recipe_of("first_light/rte", overrides))))
        (run / "resolved.json").write_text("{}")
        (run / files.MANIFEST).write_text("{}") if number == 0 else None
    assert entry_of("first_light/rte", tmp_path)["found"] == [
        {"folder": str(tmp_path), "with": "", "complete": 1, "runs": 2}
    ]
    assert entry_of("first_light/mrpc", tmp_path)["found"] == []


def test_a_record_is_shown_with_its_day_and_whether_the_recipe_is_still_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = builtin.recipe_path("maxpoolbert_k").read_text(encoding="utf-8")
    record = {
        "date": "2026-11-20",
        "with": "encoder=minilm",
        "runs": 20,
        "settings_sha256": settings_digest(to_plain(read_yaml(text, ""))),
    }
    monkeypatch.setattr(
        builtin,
        "verified_results",
        lambda: {
            "maxpoolbert_k": [{**record, "date": "2026-01-01"}, record],
            "maxpoolbert": [record],
        },
    )
    assert (
        entry_of("maxpoolbert_k", tmp_path)["status"]
        == "verified on 2026-11-20 with encoder=minilm (20 runs)"
    )
    assert (
        entry_of("maxpoolbert", tmp_path)["status"]
        == "verified on 2026-11-20 with encoder=minilm (20 runs, before the recipe was changed)"
    )
    for version, more in (
        (RESULTS_VERSION, ""),
        (3, f", with results version 3; the code is at {RESULTS_VERSION}"),
    ):
        made = {**record, "results_version": version}
        monkeypatch.setattr(
            builtin, "verified_results", lambda made=made: {"maxpoolbert_k": [made]}
        )
        status = entry_of("maxpoolbert_k", tmp_path)["status"]
        assert status == f"verified on 2026-11-20 with encoder=minilm (20 runs){more}"


def test_the_command(warm: Warm, tmp_path: Path) -> None:
    comparison(tmp_path, "maxpoolbert_k", ["encoder=minilm"], [True, False])
    out = warm.run(["ls", "recipes", "--runs", tmp_path], cwd=str(tmp_path)).out.splitlines()
    assert out[0].split() == ["source", "recipe", "command", "runs", "status"]
    line = next(line for line in out if " maxpoolbert_k " in line)
    assert line.startswith("MaxPoolBERT, Table 6")
    assert line.endswith("compare     54  1 of 2 runs complete with encoder=minilm")
    told = json.loads(warm.run(["ls", "recipes", "--json", "--runs", tmp_path]).out)["recipes"]
    assert [entry["recipe"] for entry in told] == list(builtin.recipe_names())
    refused = warm.run(["ls", "recipe"])
    assert (refused.code, "Did you mean 'recipes'?" in refused.err) == (2, True)
