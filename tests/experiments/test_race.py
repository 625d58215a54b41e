"""`encore compare --race`: who leaves and who stays, and that the table owes nothing to the
screening. That it survives being killed: tests/test_kills.py.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Tables, Warm
from evaluation.test_contrast import ACCURACY, BINARY, with_effect
from scipy import special

from encore import files
from encore.errors import RecipeError
from encore.evaluation import contrast
from encore.evaluation.comparison_record import ComparisonRecord
from encore.evaluation.intervals import components, for_new_rows, holm
from encore.experiments import comparison
from encore.experiments import results as results_module
from encore.experiments.preparation import prepare_comparison
from encore.experiments.race import decide_round, n_runs, survivors
from encore.experiments.study_keys import Race
from encore.experiments.variants import load_study, study_from
from encore.tables import comparison as comparison_module
from experiments.test_comparison import VERDICT, Whole, undisturbed

# ---------------------------------------------------------------------------------------- who stays


@pytest.mark.parametrize(
    ("scores", "factor", "expected"),
    [
        ({"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}, 2, ("b", "c")),
        ({"a": 0.5, "b": 0.7, "c": 0.6}, 2, ("b", "c")),  # rounded up
        ({"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.4}, 4, ("b",)),
        ({"a": 0.6, "b": 0.7, "c": 0.6, "d": 0.4}, 2, ("a", "b", "c")),  # who equals the last stays
        ({"a": 0.6, "b": 0.6, "c": 0.6, "d": 0.6}, 2, ("a", "b", "c", "d")),
        (
            {"a": (0.1 + 0.2) / 3, "b": 0.3 / 3, "c": 0.0, "d": 0.0},
            4,
            ("a", "b"),
        ),  # equal but for the last bit
        ({"a": None, "b": 0.1, "c": None}, 2, ("b",)),  # failed runs leave
        ({"a": None, "b": None}, 2, ()),
        ({"a": -0.2, "b": -0.1}, 2, ("b",)),
    ],
)
def test_who_stays(scores: dict[str, float | None], factor: int, expected: tuple[str, ...]) -> None:
    assert survivors(scores, factor) == expected
    turned = {name: None if score is None else -score for name, score in scores.items()}
    assert survivors(turned, factor, higher_is_better=False) == expected


def test_a_decision_says_who_left_and_why() -> None:
    found = decide_round(
        2,
        (7, 8),
        {"a": 0.5, "b": None, "c": 0.6},
        {"b": "seed 8 failed: no"},
        3,
        higher_is_better=True,
    )
    assert found.to_json() == {
        "round": 2,
        "seeds": [7, 8],
        "scores": {"a": 0.5, "b": None, "c": 0.6},
        "stayed": ["c"],
        "left": ["a", "b"],
        "failed": {"b": "seed 8 failed: no"},
    }


@pytest.mark.parametrize(
    ("seeds", "factor", "rounds"),
    [
        ((7,), 2, [1]),
        ((7, 8), 2, [1, 2]),
        ((1, 2, 3, 4, 5), 2, [1, 2, 4, 5]),
        ((1, 2, 3), 3, [1, 3]),
        (tuple(range(9)), 3, [1, 3, 9]),
    ],
)
def test_rounds_grow_by_the_factor_and_end_with_all_seeds(
    seeds: tuple[int, ...], factor: int, rounds: list[int]
) -> None:
    assert Race(seeds, factor).rounds == tuple(seeds[:n] for n in rounds)


@pytest.mark.parametrize(
    ("n_variants", "n_seeds", "race", "n"),
    [
        (8, 5, Race((1, 2), 2), 8 + 4 + 3 * 5),
        (3, 10, Race((1, 2), 2), 3 + 2 + 2 * 10),
        (1, 4, Race((1, 2), 2), 8),
        (9, 2, Race((1, 2, 3), 3), 9 + 3 * 2 + 2 * 2),
    ],
)
def test_the_number_of_runs(n_variants: int, n_seeds: int, race: Race, n: int) -> None:
    assert n_runs(n_variants, n_seeds, race) == n


# --------------------------------------------------------------------------------- the recipe's key


GIVEN = {
    "task": "rte",
    "seeds": [42, 43, 44],
    "variants": {"mean": {"pooling": "mean"}, "max": {"pooling": "max"}},
}


def test_the_screening_has_seeds_of_its_own() -> None:
    study = study_from(GIVEN, race=True)
    assert study.race == Race((1042, 1043), 2)
    assert [(cell.variant, cell.seed, cell.recipe.seed) for cell in study.screening] == [
        (variant, seed, seed) for variant in ("mean", "max") for seed in (1042, 1043)
    ]
    assert study_from(GIVEN).race is None
    assert study_from(GIVEN, ["race={}"]).race == study.race
    assert study_from({**GIVEN, "race": {"factor": 3}}, ["race.seeds=[7,8]"]).race == Race(
        (7, 8), 3
    )
    # More seeds for the table leave those of the screening, so that its runs are found again.
    assert study_from(GIVEN, [f"seeds={list(range(42, 60))}"], race=True).race == study.race
    assert study_from(GIVEN, ["seeds=[42,1042]"], race=True).race == Race((1043, 1044), 2)
    assert study_from(GIVEN, [f"seeds=[{2**32 - 1}]"], race=True).race == Race((999, 1000), 2)
    assert {cell.variant for cell in study_from(GIVEN, ["reference=max"], race=True).screening} == {
        "baseline",
        "mean",
    }


@pytest.mark.parametrize(
    ("race", "told"),
    [
        (2, "race: expected a mapping such as {factor: 2, seeds: [1042, 1043]}, or null, got 2."),
        ({"factor": 1}, "race.factor: expected a whole number of at least 2, got 1"),
        ({"factor": "two"}, "race.factor: expected a whole number of at least 2, got 'two'"),
        (
            {"seeds": [43, 7]},
            "race.seeds: 43 would be in the table too, where the survivors' figures would be too "
            "good. Give the race other seeds.",
        ),
        ({"seeds": [7, 7]}, "race.seeds: a seed is listed twice"),
        ({"seeds": 7}, "race.seeds: expected a list of whole numbers"),
        ({"rounds": 3}, "race.rounds: a race has no setting 'rounds'. Known: factor, seeds."),
        ({"seed": [7]}, "race.seed: a race has no setting 'seed'. Did you mean 'seeds'?"),
    ],
)
def test_a_wrong_race(race: object, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        study_from({**GIVEN, "race": race})
    (line,) = caught.value.lines
    assert line.startswith(told)


def test_a_variant_cannot_race_by_itself() -> None:
    with pytest.raises(
        RecipeError,
        match=r"variants\.a\.race: a variant cannot set this\. Write it at the top of the "
        r"recipe: race: …",
    ):
        study_from({"task": "rte", "variants": {"a": {"race": {}}}})


# ---------------------------------------------------------------------------- what a selection does


@dataclass(frozen=True)
class Null:
    """Simulated studies in which no way of training is better than another, raced: what the race's
    winner shows, and what may be claimed of those who stay.

    A row is answered rightly where ease + suits + luck of the seed + noise > 0, as in
    tests/test_calibration.py; the luck is drawn for each seed, and how rows suit a variant for each
    study.
    """

    # (studies,) the winner's screening figure less the mean of all, in standard deviations over
    # seeds
    screening: np.ndarray
    table: np.ndarray  # the same of its runs in the table
    claims: (
        np.ndarray
    )  # (studies,) whether anything is claimed for new examples, p adjusted for all that started
    unadjusted: np.ndarray  # … adjusted for those who stayed only


def null_studies(
    n_studies: int, *, own: float, n_variants: int = 8, n_seeds: int = 3, n_rows: int = 150
) -> Null:
    draw = np.random.default_rng([n_studies, n_variants])
    race = Race((0, 1), 2)
    found: list[tuple[float, float, bool, bool]] = []
    for _ in range(n_studies):
        ease = draw.normal(1.0, 3 * (1 - own) ** 0.5, n_rows) + draw.normal(
            0, 3 * own**0.5, (n_variants + 1, n_rows)
        )
        luck = draw.normal(0, 0.5, (n_variants + 1, len(race.seeds) + n_seeds, 1))
        answers = (
            ease[:, None]
            + luck
            + draw.normal(size=(n_variants + 1, len(race.seeds) + n_seeds, n_rows))
            > 0
        ).astype(np.float32)
        values, fresh = answers.mean(axis=2), slice(len(race.seeds), None)
        racing, score = tuple(range(1, n_variants + 1)), values[:, 0]
        for seeds in race.rounds:
            score = values[:, : len(seeds)].mean(axis=1)
            racing = tuple(
                int(name)
                for name in survivors({str(way): float(score[way]) for way in racing}, race.factor)
            )
        winner = max(racing, key=lambda way: score[way])
        sd, truth = values.std(axis=1, ddof=1).mean(), (ease / (1 + 0.5**2) ** 0.5)
        expected = special.ndtr(truth).mean(axis=1)  # of each way on these rows, over all seeds
        p = [
            float(for_new_rows(components(answers[way, fresh] - answers[0, fresh])).p())
            for way in racing
        ]
        of_all, of_them = holm([*p, *[1.0] * (n_variants - len(p))]), holm(p)
        found.append(
            (
                (score[winner] - expected[winner]) / sd,
                (values[winner, fresh].mean() - expected[winner]) / sd,
                any(one is not None and one < 0.05 for one in of_all),
                any(one is not None and one < 0.05 for one in of_them),
            )
        )
    return Null(*(np.array(column) for column in zip(*found, strict=True)))


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def test_the_screening_flatters_its_winner_and_the_table_does_not() -> None:
    """400 null studies of 8 equal variants. What the truth is on these rows is known, since the
    luck of a seed has a known distribution.
    """
    found = null_studies(400, own=0.05)
    flattered, error = mean_and_error(found.screening)
    assert flattered > 0.5
    assert error < 0.05
    fair, error = mean_and_error(found.table)
    assert abs(fair) < 3 * error < 0.15


@pytest.mark.nightly
def test_for_new_examples_all_that_started_count() -> None:
    """The race has seen the rows. Adjusted for all that started, at most 5 % of null studies claim
    anything; adjusted for those who stayed, more than that.
    """
    found = null_studies(3000, own=0.4)
    print(
        f"claims in null studies: {100 * found.claims.mean():.1f} %, adjusted for those who "
        f"stayed only: {100 * found.unadjusted.mean():.1f} %"
    )
    assert found.claims.mean() < 0.06
    assert found.unadjusted.mean() > found.claims.mean() + 0.02


def test_those_that_left_count_for_new_examples_only() -> None:
    targets = np.arange(400) % 2
    base, variant = with_effect("cls", 0, targets), with_effect("max", 0.04, targets, seed=2)
    alone, raced = (
        contrast.compare_variants(base, [variant], targets, BINARY, ACCURACY, n_left=n).contrasts[0]
        for n in (0, 3)
    )
    assert alone.this_dev_set is not None
    assert raced.this_dev_set is not None
    assert alone.new_examples is not None
    assert raced.new_examples is not None
    assert raced.this_dev_set == alone.this_dev_set
    assert raced.new_examples.p == alone.new_examples.p
    assert raced.new_examples.p_holm == pytest.approx(min(1, 4 * alone.new_examples.p))
    assert alone.new_examples.p_holm == alone.new_examples.p
    assert (raced.new_examples.seeds_needed or 9999) >= (alone.new_examples.seeds_needed or 0)


# --------------------------------------------------------------------------------------- real races

# Four ways of pooling beside the mean, one that the encoder has too few layers for, and one that
# cannot be trained.
RECIPE = (
    VERDICT
    + """\
plan: {{epochs: 1, lr: 1e-2, batch_size: 13}}
metrics: [accuracy]
seeds: [1, 2]
variants:
  cls: {{pooling: cls}}
  slow: {{plan.lr: 1e-7}}
  max: {{pooling: max}}
  both: {{pooling: mean_max}}
  deep: {{pooling: {{name: max_cls, k: 5}}}}
"""
)


@pytest.fixture(scope="module")
def raced(
    warm: Warm, tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    """A race that nobody disturbed."""
    folder = tmp_path_factory.mktemp("race")
    return undisturbed(
        warm,
        folder / "poolings.yaml",
        RECIPE.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev),
        "--race",
    )


def value_of(run: Path) -> float:
    return files.read_json(run / "results.json")["metrics"]["verdict"]["dev"]["model"]["accuracy"][
        "value"
    ]


def test_each_decision_follows_from_the_runs(raced: Whole) -> None:
    (study,) = raced.read("race")["studies"]
    screening = raced.read("cells")["screening"]
    racing = ["cls", "slow", "max", "both"]
    assert (study["started"], study["metric"]) == (racing, "accuracy")
    for each, seeds in zip(study["rounds"], [[1001], [1001, 1002]], strict=True):
        scores = {
            name: np.mean(
                [
                    value_of(raced.runs / cell["run"])
                    for cell in screening
                    if cell["variant"] == name and cell["seed"] in seeds
                ]
            )
            for name in racing
        }
        assert (each["seeds"], each["scores"]) == (seeds, pytest.approx(scores))
        assert tuple(each["stayed"]) == survivors(scores, 2)
        assert each["left"] == [name for name in racing if name not in each["stayed"]]
        racing = each["stayed"]
    assert study["stayed"] == racing
    assert "slow" not in racing


def test_only_who_stayed_is_in_the_table_and_on_the_table_s_seeds_only(raced: Whole) -> None:
    stayed = raced.read("race")["studies"][0]["stayed"]
    results = raced.read("results")
    (study,) = results["studies"]
    rows = study["metrics"][0]["variants"]
    assert [row["variant"] for row in rows] == [
        "baseline",
        *(name for name in ("cls", "slow", "max", "both") if name in stayed),
        "deep",
    ]
    cells = raced.read("cells")
    for row in rows[:-1]:
        runs = {
            cell["seed"]: raced.runs / cell["run"]
            for cell in cells["cells"]
            if cell["variant"] == row["variant"]
        }
        assert (row["seeds"], row["values"]) == ([1, 2], [value_of(runs[seed]) for seed in (1, 2)])
    assert rows[-1]["not_applicable"]
    assert [cell["state"] for cell in cells["screening"] if cell["variant"] == "deep"] == [
        "not applicable"
    ] * 2
    made = {run.name for run in raced.runs.glob("verdict-*")}
    left = {cell["run"] for cell in cells["cells"] if cell["variant"] == "slow"}
    assert not made & left
    assert {cell["state"] for cell in cells["cells"] if cell["variant"] == "slow"} <= {
        "left the race in round 1",
        "left the race in round 2",
    }
    assert results["race"]["runs"] == len(made)
    assert results["race"]["runs_of_the_grid"] == 10


def test_the_table_counts_those_that_left(
    raced: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(raced.runs, tmp_path, dirs_exist_ok=True)
    counted, measured = [], results_module.metric_results

    def spied(*given: Any, n_left: int, **how: Any) -> Any:
        counted.append(n_left)
        return measured(*given, n_left=n_left, **how)

    monkeypatch.setattr(results_module, "metric_results", spied)
    comparison.run_comparison(prepare_comparison(load_study(raced.recipe, race=True)), tmp_path)
    assert counted == [4 - len(raced.read("race")["studies"][0]["stayed"])]
    assert counted[0] > 0


def test_the_table_tells_of_the_race(raced: Whole) -> None:
    out = raced.outcome.out
    first, second = (each for each in raced.read("race")["studies"][0]["rounds"])
    assert (
        f"race, round 1, screened on seed 1001: left: {first['left'][0]} "
        f"({100 * first['scores'][first['left'][0]]:.1f})" in out
    )
    assert (
        f"race, round 2, screened on seeds 1001, 1002: left: {', '.join(second['left']) or 'none'}"
        in out
    )
    assert (
        "race: the screening used these rows, though, so for new examples Δ may be too good, and "
        "p is adjusted for all 4 that started" in out
    )
    assert f"race: {raced.read('results')['race']['runs']} runs in all instead of 10" in out
    assert "s of computing instead of about" in out.splitlines()[-2]
    assert (
        "race, screening seeds: round 1 on 1001, round 2 on 1001 1002; 10 runs instead "
        "of 10 if no two variants are equal" in raced.outcome.err
    )
    assert "which saves nothing: drop the race" in raced.outcome.err
    assert re.search(
        r"^screening, round 1: \[1/4\] verdict, (cls|slow|max|both), seed 1001: dev accuracy",
        raced.outcome.err,
        re.M,
    )
    saved = files.read_json(raced.folder / "cost.json")["race"]
    assert saved["runs"] == len(list(raced.runs.glob("verdict-*")))
    assert saved["seconds_of_the_grid"] > 0
    latex = (raced.folder / "table.tex").read_text()
    assert "slow" not in latex
    assert "baseline" in latex


def test_it_is_another_comparison_than_one_without_a_race(raced: Whole) -> None:
    overrides = (
        (),
        ("race={}",),
        ("race.seeds=[7,8]",),
        ("race.factor=3", "race.seeds=[1001,1002]"),
    )
    names = [prepare_comparison(load_study(raced.recipe, each)).name for each in overrides]
    assert len(set(names)) == len(names)
    assert (
        names[1]
        == prepare_comparison(load_study(raced.recipe, race=True)).name
        == raced.folder.name
    )


def test_one_variant_has_nobody_to_race_with(raced: Whole, tmp_path: Path) -> None:
    shutil.copytree(raced.runs, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / raced.folder.name)
    outcome = raced.warm.run(raced.arguments(tmp_path, "--only", "max"))
    assert outcome.code == 0
    assert "race: fewer than two variants, so there was nothing to screen" in outcome.out
    (folder,) = tmp_path.glob("compare-*")
    assert files.read_json(folder / "race.json")["studies"][0]["stayed"] == ["max"]
    assert all(
        cell["state"] == "not needed"
        for cell in files.read_json(folder / "cells.json")["screening"]
    )


@pytest.mark.nightly
def test_each_study_races_on_its_own(raced: Whole, tmp_path: Path) -> None:
    """And a run that fails leaves, is told, and is tried again by the same command."""
    overrides = ["seeds=[1]"]
    arguments = raced.arguments(
        tmp_path, "--only", "cls,slow", "--curve", "train_rows=20,40", *overrides
    )
    plan = prepare_comparison(
        load_study(
            raced.recipe,
            overrides,
            only=["cls", "slow"],
            axes={"data.train_rows": [20, 40]},
            race=True,
        )
    )
    broken = plan.screening[0].run
    assert broken is not None
    (tmp_path / broken.name).write_text("no folder")
    outcome = raced.warm.run(arguments)
    assert outcome.code == 5
    assert "data.train_rows=20, cls, seed 1001: " in outcome.err
    (folder,) = tmp_path.glob("compare-*")
    assert not (folder / files.MANIFEST).exists()
    twenty, forty = files.read_json(folder / "race.json")["studies"]
    assert (twenty["rounds"][0]["left"], twenty["rounds"][0]["scores"]["cls"]) == (["cls"], None)
    assert "race, round 1, screened on seed 1001: left: cls (seed 1001 failed: " in outcome.out
    assert [entry["point"] for entry in (twenty, forty)] == [
        {"data.train_rows": 20},
        {"data.train_rows": 40},
    ]
    assert forty["rounds"][0]["scores"]["cls"] is not None
    (tmp_path / broken.name).unlink()
    again = raced.warm.run(arguments)
    assert again.code == 0, again.err
    assert (
        files.read_json(folder / "race.json")["studies"][0]["rounds"][0]["scores"]["cls"]
        is not None
    )
    assert (
        comparison_module.comparison_tables(
            ComparisonRecord.from_json(files.read_json(folder / "results.json"))
        )[-1].title
        == "verdict, dev, accuracy, by training rows"
    )


def test_where_no_run_applies_in_one_study(tables: Tables, tiny_encoder: Path) -> None:
    data = {"train": str(tables.train), "text": "text", "label": "verdict"}
    given = {
        "encoder": str(tiny_encoder),
        "max_length": 32,
        "seeds": [1],
        "tasks": {"verdict": {"data": data}},
        "pooling": {"name": "max_cls", "k": 1},
        "variants": {"two": {"pooling.k": 2}, "five": {"pooling.k": 5}, "six": {"pooling.k": 6}},
    }
    plan = prepare_comparison(study_from(given, race=True))
    assert [one.run is not None for one in plan.screening] == [True] * 2 + [False] * 4
