"""`encore compare`: every distinct run once, whatever dies on the way, and the same bytes at the
end.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome, Tables, Warm

from encore import catalogue, files
from encore.evaluation import contrast
from encore.evaluation.claims import Claim, Contrast
from encore.evaluation.comparison_record import (
    CommonEpoch,
    ComparisonRecord,
    MetricResult,
    StudyResult,
    VariantResult,
)
from encore.evaluation.seed_runs import SeedRuns
from encore.evaluation.task_record import AverageResult
from encore.experiments import results as results_module
from encore.experiments.comparison import ComparisonResult
from encore.experiments.preparation import prepare_comparison
from encore.experiments.seed_scores import seed_runs
from encore.experiments.task_averages import task_averages
from encore.experiments.variants import study_from
from encore.tables import comparison as comparison_module
from encore.tables import comparison_files
from encore.tables.verdicts import beside_source, failed_runs, remarks
from encore.types import LabelSpace

YES_NO = LabelSpace("binary", ("no", "yes"))

VERDICT = """\
encoder: {encoder}
precision: fp32
max_length: 32
tasks: {{verdict: {{data: {{train: {train}, dev: {dev}, text: text, label: verdict}}}}}}
pooling: mean
"""
RECIPE = (
    "# Two poolings of a tiny encoder, and one that it has too few layers for.\n"
    + VERDICT
    + """\
plan: {{epochs: 2, lr: 1e-2, batch_size: 13}}
expect: {{verdict.accuracy: 0.5, verdict.accuracy.sd: 0.125}}
seeds: [1, 2]
variants:
  cls: {{pooling: cls}}
  deep: {{pooling: {{name: max_cls, k: 5}}}}
"""
)
SAME = (
    "recipe.yaml",
    "study.json",
    "cells.json",
    "results.json",
    "table.csv",
    "table.tex",
    files.MANIFEST,
)
N_RUNS = 4


@dataclass(frozen=True)
class Whole:
    """A comparison that nobody disturbed."""

    warm: Warm
    recipe: Path
    outcome: Outcome
    folder: Path
    options: tuple[str, ...] = ()

    @property
    def runs(self) -> Path:
        return self.folder.parent

    def read(self, name: str) -> Any:
        return files.read_json(self.folder / f"{name}.json")

    def arguments(self, runs: Path, *more: str) -> list[str | Path]:
        return ["compare", self.recipe, *self.options, *more, "--runs", runs]

    def again(self, runs: Path, *more: str, **how: Any) -> Outcome:
        return self.warm.run(self.arguments(runs, *more), **how)

    def assert_same(self, runs: Path) -> None:
        (folder,) = runs.glob("compare-*")
        assert folder.name == self.folder.name
        same = [*SAME, *(["race.json"] if "--race" in self.options else [])]
        assert [
            name
            for name in same
            if (folder / name).read_bytes() != (self.folder / name).read_bytes()
        ] == []
        assert sorted(run.name for run in runs.glob("verdict-*")) == sorted(
            run.name for run in self.runs.glob("verdict-*")
        )


def undisturbed(warm: Warm, recipe: Path, text: str, *options: str) -> Whole:
    recipe.write_text(text, encoding="utf-8")
    outcome = warm.run(["compare", recipe, *options, "--runs", recipe.parent / "runs"])
    assert outcome.code == 0, outcome.err
    (found,) = (recipe.parent / "runs").glob("compare-*")
    return Whole(warm, recipe, outcome, found, options)


@pytest.fixture(scope="module")
def whole(
    warm: Warm, tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    folder = tmp_path_factory.mktemp("compare")
    return undisturbed(
        warm,
        folder / "poolings.yaml",
        RECIPE.format(encoder=tiny_encoder, train=tables.train, dev=tables.dev),
    )


def results_of(folder: Path) -> Any:
    return files.read_json(folder / "results.json")


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def worker_of(pid: int, seconds: float = 20) -> int:
    """A process that computes a run."""
    until = time.monotonic() + seconds
    while not (found := children(pid)) and time.monotonic() < until:
        time.sleep(0.002)
    return found[0]


# -------------------------------------------------------------------------------------- undisturbed


def test_figures_are_those_of_the_runs(whole: Whole) -> None:
    cells = files.read_json(whole.folder / "cells.json")["cells"]
    assert [(cell["variant"], cell["seed"], cell["state"]) for cell in cells] == [
        *((variant, seed, "complete") for variant in ("baseline", "cls") for seed in (1, 2)),
        *(("deep", seed, "not applicable") for seed in (1, 2)),
    ]
    (one,) = results_of(whole.folder)["studies"]
    assert (one["study"], one["set"], one["rows"]) == ("verdict", "dev", 23)
    for metric in one["metrics"]:
        for row in metric["variants"][:2]:
            runs = [cell["run"] for cell in cells if cell["variant"] == row["variant"]]
            values = [
                results_of(whole.runs / run)["metrics"]["verdict"]["dev"]["model"][
                    metric["metric"]
                ]["value"]
                for run in runs
            ]
            assert row["values"] == values
            assert row["mean"] == pytest.approx(np.mean(values))
            assert row["sd"] == pytest.approx(np.std(values, ddof=1))
            assert row["best"] == max(values)
    base, cls, deep = one["metrics"][0]["variants"]
    assert (base["expected"], base["expected_sd"], cls["expected"]) == (0.5, 0.125, None)
    assert cls["contrast"]["differences"] == [
        a - b for a, b in zip(cls["values"], base["values"], strict=True)
    ]
    assert "expected k from 1 to 2, the layers of this encoder, got 5" in deep["not_applicable"]
    assert deep["contrast"] is None


def test_results_are_read_back_as_they_were(whole: Whole) -> None:
    """From the file to values, to plain data, to the file's bytes."""
    stored = results_of(whole.folder)
    found = ComparisonResult.from_json(whole.folder, stored)
    assert ComparisonResult.from_json(whole.folder, found.to_json()) == found
    assert found.results == stored
    written = json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n"
    assert written.encode() == (whole.folder / "results.json").read_bytes()
    assert found.record.studies[0].metrics[0].variants[0].expected == 0.5
    assert str(found.table).splitlines()[0] in whole.outcome.out


def test_the_table_says_it_in_words(whole: Whole) -> None:
    out = whole.outcome.out
    assert (
        out.count("two seeds are too few for a verdict: run 3 or more") == 2
    )  # once for each metric's table
    assert "verdict, dev (23 rows), accuracy in points, 2 seeds" in out
    assert "50.0 ± 12.5" in out
    assert out.count("source: the figures of the paper") == 1, (
        "below the one metric that has such a figure"
    )
    assert (
        "deep: not applicable: tasks.verdict.pooling: pooling 'max_cls'" in out
    )  # and no path: results are the same wherever the recipe lies
    assert "without an encoder: majority" in out
    assert out.splitlines()[-1].startswith(f"comparison: {whole.folder} (")
    assert "1 study × 3 variants × 2 seeds: 4 runs, 0 of them complete" in whole.outcome.err
    assert "[4/4] verdict, " in whole.outcome.err
    with (whole.folder / "table.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["variant"] for line in lines] == ["baseline", "cls", "deep"] * 2
    assert (
        float(lines[0]["mean"])
        == results_of(whole.folder)["studies"][0]["metrics"][0]["variants"][0]["mean"]
    )
    assert all(len(line) == 30 and None not in line for line in lines)
    latex = (whole.folder / "table.tex").read_text(encoding="utf-8")
    assert latex.count(r"\\") == 4
    assert r"verdict accuracy & verdict macro F1 \\" in latex


def test_of_several_tasks_each_has_its_own_figures_and_notes(
    warm: Warm, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    recipe = f"""\
encoder: {tiny_encoder}
precision: fp32
max_length: 9
data: {{train: {tables.train}, dev: {tables.dev}, text: text}}
tasks: {{a: {{data: {{label: verdict}}}}, b: {{data: {{label: score}}}}, c: {{data: {{label: verdict}}, metrics: []}}}}
pooling: mean
plan: {{epochs: 1}}
sharing: separate
seeds: [1]
expect: {{a.accuracy.max: 0.75, a.accuracy.common: 0.625, b.spearman.common: 0.5}}
variants: {{cut: {{tasks.b.max_length: 8}}, more: {{tasks: {{d: {{data: {{label: verdict}}}}}}}}}}
"""  # noqa: E501
    found = undisturbed(warm, tmp_path / "two.yaml", recipe)
    assert "a+b+c: b: columns: text = 'text'" in found.outcome.err
    (said,) = re.findall(
        r"^\[\d/3\] a\+b\+c, cut, seed 1: (.*) \(\d+ s; .*\)$", found.outcome.err, re.M
    )
    assert re.fullmatch(
        r"a dev accuracy [\d.]+, macro_f1 [\d.]+; b dev pearson -?[\d.]+, spearman -?[\d.]+", said
    )
    notes = {
        each["task"]: [note for note in each["notes"] if "tokens" in note]
        for each in results_of(found.folder)["studies"]
        if each["metrics"]
    }
    assert {
        name: [re.sub(r"\d+ of \d+", "N", note) for note in said] for name, said in notes.items()
    } == {
        "a": ["train: N rows cut to 9 tokens (head)", "dev: N rows cut to 9 tokens (head)"],
        "b": [
            f"{who}{split}: N rows cut to {n} tokens (head)"
            for who, n in (("", 9), ("cut: ", 8))
            for split in ("train", "dev")
        ],
    }
    a, b = (each for each in results_of(found.folder)["studies"] if each["metrics"])
    baseline, cut, _ = a["metrics"][0]["variants"]
    added = [one for one in found.outcome.err.splitlines() if "a+b+c, more, seed 1: " in one]
    assert ["; d dev accuracy " in line for line in added] == [True], "trained, and not compared"
    run = files.read_json(found.folder / "cells.json")["cells"][0]["run"]
    of_run = files.read_json(found.folder.parent / run / "results.json")["best"]["common"]
    value = of_run["values"]["a"]
    assert (baseline["expected"], baseline["expected_max"]) == (None, 0.75)
    assert baseline["common"] == {
        "values": [value],
        "mean": value,
        "sd": None,
        "best": value,
        "expected": 0.625,
    }
    assert not {"expected_max", "common"} & cut.keys(), "a variant has its own expectations"
    assert "common" not in b["metrics"][1]["variants"][0], "runs keep the first metric only"
    assert re.search(r"^baseline +1 +[\d.]+ +[\d.]+ +max 75\.0", found.outcome.out, re.M)
    line = rf"^baseline, common epoch +1 +{100 * value:.1f} +{100 * value:.1f} +62\.5$"
    assert re.search(line, found.outcome.out, re.M)


def test_an_average_at_the_common_epoch_is_set_beside_the_source_s(
    warm: Warm, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    recipe = f"""\
encoder: {tiny_encoder}
precision: fp32
max_length: 16
data: {{train: {tables.train}, dev: {tables.dev}, text: text}}
tasks:
  sst5: {{data: {{label: verdict}}, metrics: accuracy}}
  quora: {{data: {{label: verdict}}, metrics: accuracy}}
  sts: {{data: {{label: score}}, metrics: pearson}}
pooling: mean
plan: {{epochs: 2, keep: best_per_task}}
seeds: [1]
expect: {{cs224n.r: 0.5, cs224n.r.common: 0.4}}
variants: {{cut: {{max_length: 8}}}}
"""
    found = undisturbed(warm, tmp_path / "three.yaml", recipe)
    run = files.read_json(found.folder / "cells.json")["cells"][0]["run"]
    best = files.read_json(found.folder.parent / run / "results.json")["best"]
    with_r, normalised = results_of(found.folder)["averages"]
    assert with_r["values"]["baseline"] == pytest.approx(best["mean_of_tasks"])
    assert with_r["common"] == {"baseline": pytest.approx(best["common"]["mean"])}
    assert with_r["expected_common"] == {"baseline": 0.4}
    assert not {"common", "expected_common"} & normalised.keys(), "its source reports none"
    common = 100 * best["common"]["mean"]
    assert re.search(rf"^ *baseline, common epoch +{common:.2f} +40\.00$", found.outcome.out, re.M)


@pytest.mark.parametrize(
    ("said", "places"),
    [(0.55, ("inside", "inside")), (0.63, ("outside", "inside")), (0.39, ("outside", "outside"))],
)
def test_the_source_s_difference_is_set_beside_the_intervals(
    said: float, places: tuple[str, str]
) -> None:
    here, anew = (
        Claim(low, high, 0.05, 4.0, 0.2, 0.2, "no evidence", 9)
        for low, high in ((-0.1, 0.1), (-0.105, 0.14))
    )
    against = Contrast("cls", (1, 2, 3), (0.0, 0.0, 0.0), 0.0, here, anew, None, None)
    reference = row_of("baseline", expected=0.5)
    line = beside_source(row_of("cls", expected=said, contrast=against), reference, "percent")
    assert line is not None
    assert line.startswith(
        f"cls: the source's difference of "
        f"{'−' if said < 0.5 else '+'}{100 * abs(said - 0.5):.1f} lies "
    )
    assert line.endswith(
        f"{places[0]} the interval for this dev set and {places[1]} the interval for new "
        f"examples too"
    )
    silent = row_of("cls", contrast=against)
    assert beside_source(silent, reference, "percent") is None
    assert beside_source(row_of("cls", expected=said), reference, "percent") is None
    assert beside_source(replace(silent, expected=said), row_of("baseline"), "percent") is None


def test_notes_that_hold_for_all_variants_come_without_a_name() -> None:
    """Unless seeds of this one failed; what failed or collapsed has sentences of its own."""
    arms, targets = simulated()
    two = [SeedRuns(arm.name, {seed: arm.scores[seed][:20] for seed in (0, 1)}) for arm in arms]
    few = metric_of(two, targets[:20])
    rows = "20 rows are too few for an interval to be trusted"
    seeds = "two seeds are too few for a verdict: run 3 or more"
    assert remarks(few.variants[1], few.variants[0], 20) == [seeds, rows]
    two[1] = SeedRuns("good", two[1].scores, {7: "no memory"})
    failed = metric_of(two, targets[:20])
    assert remarks(failed.variants[1], failed.variants[0], 20) == [f"good: {seeds}", rows]
    assert "good, seed 7: no memory" in failed.variants[1].contrast.notes
    assert failed_runs(failed.variants[1]) == ["seed 7 failed: no memory"]


def metric_of(arms: list[SeedRuns], targets: np.ndarray) -> MetricResult:
    return results_module.metric_results(
        arms[0], arms[1:], targets, YES_NO, "accuracy", lambda variant: (None, None)
    )[0]


def row_of(name: str, **figures: Any) -> VariantResult:
    """A variant without runs, but for these figures."""
    nothing = VariantResult(name, (), (), None, None, None, None, None, {}, {}, None, None)
    return replace(nothing, **figures)


def test_runs_keep_no_weights_and_say_how_to_get_them(whole: Whole, tmp_path: Path) -> None:
    run = next(whole.runs.glob("verdict-*"))
    assert not (run / "model").exists()
    assert not list((whole.folder / "log").iterdir())
    shutil.copytree(run, tmp_path / run.name)
    refused = whole.warm.run(["predict", tmp_path / run.name, whole.recipe.parent / "none.csv"])
    assert refused.code == 3
    command = f"encore train {tmp_path / run.name / 'recipe.yaml'} --runs {tmp_path}"
    assert command in refused.err
    assert whole.warm.run(command.split()[1:]).code == 0
    assert [entry.name for entry in tmp_path.iterdir()] == [run.name]
    assert (tmp_path / run.name / "model" / "weights.safetensors").exists()
    assert (tmp_path / run.name / "results.json").read_bytes() == (
        run / "results.json"
    ).read_bytes()


def test_the_same_again_computes_nothing_and_says_the_same(whole: Whole, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole.runs, runs)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("verdict-*/manifest.json")}
    uncleared = [
        path.parent / name
        for path, name in zip(before, ("checkpoint", ".checkpoint.gone"), strict=False)
    ]  # killed after their manifests
    for path in uncleared:
        path.mkdir()
    outcome = whole.again(runs)
    assert (outcome.code, {path: path.stat().st_mtime_ns for path in before}) == (0, before)
    assert outcome.out.splitlines()[:-1] == whole.outcome.out.splitlines()[:-1]
    assert "4 of 4 runs were already complete" in outcome.out
    assert not any(path.exists() for path in uncleared)
    whole.assert_same(runs)


def test_what_is_on_the_disk_serves_another_comparison(whole: Whole, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole.runs, runs)
    outcome = whole.again(
        runs, "variants.slow.plan.lr=1e-3", "seeds=[2,1]", "--only", "slow", "--json"
    )
    assert outcome.code == 0, outcome.err
    assert len(list(runs.glob("verdict-*"))) == N_RUNS + 2
    told = json.loads(outcome.out)
    assert (told["variants"], told["seeds"], told["failed"]) == (["baseline", "slow"], [2, 1], [])
    assert Path(told["comparison"]).is_dir()


# ---------------------------------------------------------------------------------------- disturbed


def test_a_run_that_fails_does_not_stop_the_others(whole: Whole, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    broken = files.read_json(whole.folder / "cells.json")["cells"][3]["run"]
    (runs / broken).write_text("no folder")
    outcome = whole.again(runs)
    assert outcome.code == 5
    assert "verdict, cls, seed 2: " in outcome.err
    assert "1 of 4 runs failed; the others are in the table." in outcome.err
    (folder,) = runs.glob("compare-*")
    assert not (folder / files.MANIFEST).exists()
    cells = files.read_json(folder / "cells.json")["cells"]
    assert [cell["state"] for cell in cells] == [
        "complete",
        "complete",
        "complete",
        "failed",
        "not applicable",
        "not applicable",
    ]
    row = results_of(folder)["studies"][0]["metrics"][0]["variants"][1]
    assert (row["seeds"], list(row["failed"])) == ([1], ["2"])
    (runs / broken).unlink()
    assert whole.again(runs).code == 0
    whole.assert_same(runs)


def test_a_changed_run_is_no_part_of_the_table(whole: Whole, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(whole.runs, runs)
    damaged = runs / files.read_json(whole.folder / "cells.json")["cells"][0]["run"]
    (damaged / "results.json").write_text("{}")
    outcome = whole.again(runs)
    assert outcome.code == 5
    assert (
        f"verdict, baseline, seed 1: {damaged / 'results.json'}: missing, or not as the run "
        f"wrote it." in outcome.err
    )


# ----------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_told_before_anything_is_computed(whole: Whole, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(
        "tasks: {a: {data: {train: none.csv}}}\nencoder: minilm\nvariants:\n  x: {pooling: "
        "maen}\n  y: {plan: {lr: 2}}\n"
    )
    outcome = whole.warm.run(["compare", recipe, "--runs", tmp_path / "runs"])
    assert outcome.code == 2
    assert (
        f"{recipe}:4 variants.x.pooling: no pooling called 'maen'. Did you mean 'mean'?"
        in outcome.err
    )
    assert (
        f"{recipe}:5 variants.y.plan.lr: expected a number above 0 and at most 1 or null, got 2."
        in outcome.err
    )
    assert "none.csv" in outcome.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["table.csv"],
            "table.csv: expected a recipe (.yaml), got a table. `encore train table.csv` "
            "trains on it",
        ),
        (
            ["rte"],
            "rte: a named task, not a recipe. A recipe with variants begins with `task: rte`; to "
            "train once: encore train rte",
        ),
        (
            ["RECIPE", "--batch-size", "8"],
            "encore compare: no option '--batch-size'. It is a setting, not an option: write "
            "plan.batch_size=…",
        ),
        (["RECIPE", "--only", "clz"], "--only: no variant called 'clz'. Did you mean 'cls'?"),
        (
            ["RECIPE", "reference=deap"],
            "override reference=deap: no variant called 'deap'. Did you mean 'deep'?",
        ),
        (
            ["RECIPE", "pooling={name: max_cls, k: 7}", "--only", "deep"],
            "verdict, baseline: tasks.verdict.pooling: pooling 'max_cls': expected k from 1 to 2",
        ),
    ],
)
def test_a_wrong_command(whole: Whole, tmp_path: Path, arguments: list[str], told: str) -> None:
    outcome = whole.warm.run(
        [
            "compare",
            *(whole.recipe if word == "RECIPE" else word for word in arguments),
            "--runs",
            tmp_path / "runs",
        ]
    )
    assert (outcome.code, told in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "runs").exists()


def test_where_runs_cannot_be_kept_is_told_first(whole: Whole) -> None:
    outcome = whole.warm.run(whole.arguments(whole.recipe))
    assert (outcome.code, outcome.err) == (
        2,
        f"--runs {whole.recipe}: {whole.recipe} is a file. Name a folder.\n",
    )


def test_score_against_training_size(whole: Whole, tmp_path: Path) -> None:
    outcome = whole.again(
        tmp_path, "--curve", "train_rows=20,40", "--only", "cls", "plan.epochs=1", "seeds=[1,2]"
    )
    assert outcome.code == 0, outcome.err
    assert [each["point"] for each in results_of(next(tmp_path.glob("compare-*")))["studies"]] == [
        {"data.train_rows": 20},
        {"data.train_rows": 40},
    ]
    start = outcome.out.index("verdict, dev, accuracy, by training rows\n")
    lines = outcome.out[start:].splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["20", "40"]
    refused = whole.again(tmp_path, "--curve", "train_rows=20")
    assert (
        refused.code,
        "--curve: expected train_rows and two different sizes or more" in refused.err,
    ) == (2, True)


def test_ctrl_c_is_told_once_with_the_command_that_goes_on(whole: Whole, tmp_path: Path) -> None:
    job = whole.warm.start(whole.arguments(tmp_path), slow=0.01)
    worker_of(job)
    os.kill(job, signal.SIGINT)
    outcome = whole.warm.wait(job)
    assert outcome.code == 130
    assert outcome.err.count("interrupted") == 1
    assert (
        outcome.err.splitlines()[-1]
        == f"interrupted. Nothing is lost; to resume: encore compare {whole.recipe} --runs "
        f"{tmp_path}"
    )


def test_a_dry_run_lists_the_runs(whole: Whole, tmp_path: Path) -> None:
    outcome = whole.again(tmp_path, "--dry-run", "--json")
    told = json.loads(outcome.out)
    assert Path(told["comparison"]).name == whole.folder.name
    assert [cell["run"] for cell in told["cells"]] == [
        cell["run"] for cell in files.read_json(whole.folder / "cells.json")["cells"]
    ]
    cost = r"about \d+ s on this machine under its present load \(within a factor of two\)"
    assert re.fullmatch(cost, whole.again(tmp_path, "--dry-run").out.splitlines()[-1])
    assert re.fullmatch(
        f"at most {cost}", whole.again(tmp_path, "--dry-run", "--race").out.splitlines()[-1]
    )
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------- tables

# MaxPoolBERT, Tables 2 and 3 (METHODS, table A): CoLA, MRPC (2), QNLI, MNLI (2), SST-2, STS-B, RTE,
# QQP (2), WNLI.
GLUE = (
    ("cola", "dev", "mcc"),
    ("mrpc", "dev", "accuracy"),
    ("mrpc", "dev", "f1"),
    ("qnli", "dev", "accuracy"),
    ("mnli", "dev_matched", "accuracy"),
    ("mnli", "dev_mismatched", "accuracy"),
    ("sst2", "dev", "accuracy"),
    ("stsb", "dev", "spearman"),
    ("rte", "dev", "accuracy"),
    ("qqp", "dev", "accuracy"),
    ("qqp", "dev", "f1"),
    ("wnli", "dev", "accuracy"),
)
PAPER = {
    "baseline": (
        53.59,
        82.43,
        87.49,
        90.96,
        84.27,
        84.57,
        92.55,
        88.47,
        63.42,
        90.65,
        87.40,
        49.77,
    ),
    "max_seq_mha": (
        55.35,
        85.95,
        89.78,
        90.73,
        83.82,
        84.24,
        92.74,
        88.22,
        66.06,
        90.65,
        87.59,
        55.4,
    ),
}


def studies(
    columns: Sequence[tuple[str, str, str]], values: dict[str, Sequence[float]]
) -> list[StudyResult]:
    def measured(at: int, metric: str) -> MetricResult:
        rows = (row_of(name, mean=row[at] / 100) for name, row in values.items())
        return MetricResult(metric, tuple(rows))

    return [
        StudyResult(task, {"task": task}, task, split, 0, (measured(at, metric),), {}, (), {})
        for at, (task, split, metric) in enumerate(columns)
    ]


def test_both_averages_of_the_twelve_columns() -> None:
    found = task_averages(
        studies(GLUE, PAPER), list(PAPER), {"baseline": {"glue.columns": 0.7963}}, {}, "baseline"
    )
    columns, tasks = found
    assert {name: round(100 * value, 4) for name, value in columns.values.items()} == {
        "baseline": 79.6308,
        "max_seq_mha": 80.8775,
    }
    assert {name: 100 * value for name, value in tasks.values.items()} == pytest.approx(
        {"baseline": 77.46, "max_seq_mha": 78.84}, abs=0.0051
    )
    assert found[0].expected == {"baseline": 0.7963}
    assert task_averages(studies(GLUE[:-1], PAPER), list(PAPER), {}, {}, "baseline") == ()


def test_both_conventions_for_pearson() -> None:
    columns = (("sst5", "dev", "accuracy"), ("quora", "dev", "accuracy"), ("sts", "dev", "pearson"))
    found = task_averages(
        studies(columns, {"baseline": (53.1, 85.4, 85.5)}), ["baseline"], {}, {}, "baseline"
    )
    assert {each.name: round(100 * each.values["baseline"], 2) for each in found} == {
        "cs224n.r": 74.67,
        "cs224n.normalised": 77.08,
    }


def test_averages_at_the_common_epoch_of_the_variants_whose_source_reports_them() -> None:
    columns = (("sst5", "dev", "accuracy"), ("quora", "dev", "accuracy"), ("sts", "dev", "pearson"))
    measured = []
    for each, value in zip(
        studies(columns, {"baseline": (53, 86, 85), "other": (50, 80, 80)}),
        (0.52, 0.85, 0.82),
        strict=True,
    ):
        (metric,) = each.metrics
        common = CommonEpoch((value,), value, None, value, None)
        rows = tuple(replace(row, common=common) for row in metric.variants)
        measured.append(replace(each, metrics=(replace(metric, variants=rows),)))
    expected = {"baseline": {"cs224n.r": 0.75, "cs224n.r.common": 0.74}}
    with_r, normalised = task_averages(measured, ["baseline", "other"], expected, {}, "baseline")
    assert with_r.common == {"baseline": pytest.approx(0.73)}
    assert (with_r.expected, with_r.expected_common) == ({"baseline": 0.75}, {"baseline": 0.74})
    assert (normalised.common, normalised.expected_common) == ({}, {})
    assert AverageResult.from_json(with_r.to_json()) == with_r
    assert "common" not in normalised.to_json()


def simulated() -> tuple[list[SeedRuns], np.ndarray]:
    """A baseline, one that is better and one that is as good; and the targets."""
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 2, 400)

    def runs(name: str, accuracy: float) -> SeedRuns:
        scores, suits = (
            {},
            draw.normal(accuracy, 0.4, 400),
        )  # some rows suit one of them and not the other
        for seed in range(5):
            right = draw.random(400) < suits
            scores[seed] = np.stack([1 - (targets == right), targets == right], axis=1).astype(
                np.float32
            )
        return SeedRuns(name, scores)

    return [runs("baseline", 0.6), runs("good", 0.9), runs("alike", 0.6)], targets


def tabled(arms: list[SeedRuns], targets: np.ndarray) -> ComparisonRecord:
    one = metric_of(arms, targets)
    each = StudyResult("a_b & c", {}, "a", "dev", 400, (one,), {}, (), {})
    variants = ("baseline", "good", "alike")
    return ComparisonRecord("toy", "baseline", variants, (0, 1, 2, 3, 4), (each,), (), ())


def test_each_interval_stands_where_it_belongs() -> None:
    """In the results, on the terminal and in the csv file: for this dev set, for new examples, low,
    high.
    """
    arms, targets = simulated()
    results = tabled(arms, targets)
    (listing,) = comparison_module.comparison_tables(results)
    lines = list(csv.DictReader(comparison_files.csv_of(results).splitlines()))
    found = contrast.compare_variants(
        arms[0], arms[1:], targets, YES_NO, catalogue.find("metrics", "accuracy")
    ).contrasts
    for at, one in enumerate(found, 1):
        here, anew = one.this_dev_set, one.new_examples
        assert here is not None
        assert anew is not None
        assert here.low is not None
        assert here.high is not None
        assert here.low < here.high != anew.high
        row = results.to_json()["studies"][0]["metrics"][0]["variants"][at]["contrast"]
        cells = [
            f"[{claim.low * 100:+.1f}, {claim.high * 100:+.1f}]".replace("-", "−")
            for claim in (here, anew)
        ]
        assert list(listing.rows[at][6:]) == cells
        assert cells[0] != cells[1]
        for key, claim in (("this_dev_set", here), ("new_examples", anew)):
            expected = (claim.low, claim.high, claim.p_holm)
            assert (row[key]["low"], row[key]["high"], row[key]["p_holm"]) == expected
            assert (
                tuple(float(lines[at][f"{what}_{key}"]) for what in ("low", "high", "p_holm"))
                == expected
            )


def test_what_is_measured_on_other_rows_is_not_compared(tables: Tables, tiny_encoder: Path) -> None:
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    given = {
        "encoder": str(tiny_encoder),
        "max_length": 32,
        "tasks": {"verdict": {"data": data}},
        "variants": {"fewer": {"data.dev_rows": 11}},
        "seeds": [1],
    }
    plan = prepare_comparison(study_from(given))
    first = plan.cells[0].run
    assert first is not None
    arm = seed_runs("fewer", "verdict", "dev", [plan.cells[1]], [first], {}, {})
    assert (
        arm.not_applicable
        == f"it is measured on other rows than {first.name}, so the two cannot be compared"
    )


def test_the_table_says_what_its_verdicts_are_adjusted_for() -> None:
    record = tabled(*simulated())
    (listing,) = comparison_module.comparison_tables(record)
    assert listing.notes[-2].endswith(
        "Verdicts hold for all variants together (Holm); they are not adjusted over metrics, dev "
        "sets and tasks."
    )
    assert listing.notes[-1].startswith("stability: an F test of the variance over seeds, conserva")
    (study,) = record.studies
    one_seed = MetricResult("accuracy", (row_of("baseline"), row_of("good")))
    without = replace(record, studies=(replace(study, metrics=(one_seed,)),))
    (listing,) = comparison_module.comparison_tables(without)
    assert listing.notes[-1].startswith("± "), "where nothing is tested nothing is explained"


@pytest.mark.parametrize(
    ("figures", "cell"),
    [
        ({}, "–"),
        ({"expected": 0.683}, "68.3"),
        ({"expected": 0.683, "expected_sd": 0.012}, "68.3 ± 1.2"),
        ({"expected_max": 0.701}, "max 70.1"),
        ({"expected": 0.683, "expected_sd": 0.012, "expected_max": 0.701}, "68.3 ± 1.2, max 70.1"),
    ],
)
def test_the_source_column(figures: dict[str, float], cell: str) -> None:
    record = tabled(*simulated())
    (study,) = record.studies
    metric = MetricResult("accuracy", (row_of("baseline", **figures),))
    (listing,) = comparison_module.comparison_tables(
        replace(record, studies=(replace(study, metrics=(metric,)),))
    )
    assert listing.rows[0][4] == cell
    assert any(note.startswith("source: ") for note in listing.notes) == bool(figures)


def test_a_difference_is_marked_where_there_is_evidence() -> None:
    results = tabled(*simulated())
    latex = comparison_files.latex_of(results).splitlines()
    assert latex[2] == r" & a\_b \& c accuracy \\"
    assert [("^{++}" in line) for line in latex[4:7]] == [False, True, False]
    (listing,) = comparison_module.comparison_tables(results)
    assert any(
        note.startswith("good: better, for new examples too – dev set p < .001")
        for note in listing.notes
    )
    assert any(note.startswith("alike: no evidence (needs ") for note in listing.notes)
    assert listing.rows[1][5].startswith("+")
