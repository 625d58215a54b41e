"""The graph of runs on every executor and with workers: nothing is lost or computed twice where
processes are killed, and the bytes are those of one process that nobody disturbed. Claims, prepared
comparisons, and what is refused.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Tables, Warm, listing

import encore
from encore import files
from encore.errors import DataError, EncoreError, RecipeError, TrainingError
from encore.experiments import borrowed, run_jobs, trial_jobs
from encore.experiments.comparison import run_comparison
from encore.experiments.executors import ray_cluster
from encore.experiments.executors.choice import check_executor, executor_for
from encore.experiments.executors.claims import Claims, LostClaim
from encore.experiments.executors.jobs import Job
from encore.experiments.executors.serial import SerialExecutor
from encore.experiments.preparation import prepare_comparison
from encore.experiments.search_preparation import prepare_search
from encore.experiments.search_space import search_from
from encore.experiments.shared_jobs import read_jobs, write_jobs
from encore.experiments.study import open_study
from encore.experiments.variants import study_from
from encore.experiments.worker import Work, _Worker, work
from encore.runs import execute
from experiments import marked

assert marked, "its import marks the runs of this process and of its forks"
HERE = Path(__file__).resolve().parent
WITHOUT_RAY = "ray is not installed: pip install 'encore-nlp[ray]'"


def graph(tables: Tables, encoder: Path, n_seeds: int, **more: Any) -> dict[str, Any]:
    """Three stages: baseline, then wide and narrow, which start from it, then last, which starts
    from wide. Four runs for each seed.
    """
    files = {"train": str(tables.train), "dev": str(tables.dev), "text": "text"}
    return {
        "encoder": str(encoder),
        "threads": 1,
        "precision": "fp32",
        "max_length": 32,
        "tasks": {"verdict": {"data": {**files, "label": "verdict"}}},
        "plan": {"epochs": 1, "lr": 1e-2, "batch_size": 9},
        "variants": {
            "wide": {"encoder": {"run": "baseline"}, "pooling": "mean"},
            "narrow": {"encoder": {"run": "baseline"}, "pooling": "cls"},
            "last": {"encoder": {"run": "wide"}},
        },
        "seeds": list(range(1, n_seeds + 1)),
        **more,
    }


class Graph:
    """A comparison in three stages, computed in one process that nobody disturbed."""

    def __init__(self, recipe: dict[str, Any], runs: Path) -> None:
        self.recipe, self.runs = recipe, runs
        self.plan = prepare_comparison(study_from(recipe))
        found = run_comparison(self.plan, runs, executor="serial")
        assert not found.failed
        self.name = found.folder.name

    def assert_same(self, runs: Path) -> None:
        """Every run has the files of the undisturbed one, byte for byte, and so have the tables."""
        for name in self.plan.distinct:
            assert not (runs / name / "model").exists(), "weights are removed at the end"
            manifest = files.read_json(self.runs / name / files.MANIFEST)
            assert files.read_json(runs / name / files.MANIFEST) == manifest
            assert files.wrong_files(runs / name, list(manifest)) == []
            assert listing(runs / name) == listing(self.runs / name)
        for name in ("results.json", "table.csv", "table.tex", "study.json", files.MANIFEST):
            whole, again = self.runs / self.name / name, runs / self.name / name
            assert again.read_bytes() == whole.read_bytes(), name
        assert not (runs / self.name / borrowed.BORROWED).exists()


@pytest.fixture(scope="module")
def small(tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(graph(tables, tiny_encoder, 2), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def large(tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(graph(tables, tiny_encoder, 10), tmp_path_factory.mktemp("large"))


class Marks:
    """The marks that runs leave (experiments/marked.py)."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> list[tuple[str, str, int]]:
        text = self.file.read_text() if self.file.exists() else ""
        return [
            (what, name, int(pid))
            for what, name, pid in (line.split() for line in text.split("\n")[:-1])
        ]

    def ended(self) -> Counter[str]:
        return Counter(name for what, name, _ in self.read() if what == "end")

    def wait_for(self, n: int, what: str = "end", seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while sum(kind == what for kind, *_ in self.read()) < n:
            assert time.monotonic() < until, self.read()
            time.sleep(0.005)

    def at_work(self) -> list[int]:
        """The processes that are in the middle of a run."""
        last = {pid: what for what, _, pid in self.read()}
        return [pid for pid, what in last.items() if what == "start"]


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Marks:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    return Marks(tmp_path / "marks")


def forked(call: Callable[[], Any]) -> int:
    """A process that makes the call; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        call()
        code = 0
    finally:
        os._exit(code)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def killed_while_it_works(marks: Marks) -> None:
    """Kill one process that is in the middle of a run."""
    until = time.monotonic() + 60
    while not (found := marks.at_work()):
        assert time.monotonic() < until
        time.sleep(0.002)
    kill(found[0])


# ---------------------------------------------------------------- the graph, disturbed


def disturbed_local(whole: Graph, runs: Path, marks: Marks, n_before: int) -> None:
    """One of four processes is killed, then their parent; the same command goes on."""
    parent = forked(lambda: run_comparison(whole.plan, runs, processes=4))
    marks.wait_for(n_before)
    killed_while_it_works(marks)
    marks.wait_for(n_before + 1)
    kill(parent)
    os.waitpid(parent, 0)
    assert 0 < len(marks.ended()) < len(whole.plan.distinct), "it was killed in the middle"
    assert not run_comparison(whole.plan, runs, processes=4).failed


def disturbed_workers(whole: Graph, runs: Path, marks: Marks, n_before: int) -> None:
    """Of four workers one is killed, then all others but one; a new one comes along."""
    folder = write_jobs(whole.plan, runs)
    workers = [forked(lambda: work(folder)) for _ in range(4)]
    marks.wait_for(n_before)
    killed_while_it_works(marks)
    marks.wait_for(n_before + 1)
    for pid in workers[:3]:
        kill(pid)
    workers.append(forked(lambda: work(folder)))
    codes = [os.waitpid(pid, 0)[1] for pid in workers]
    assert codes[-1] == 0
    before = len(marks.read())
    found = run_comparison(whole.plan, runs)
    assert found.n_reused == len(whole.plan.distinct), "the tables are drawn, nothing is computed"
    assert len(marks.read()) == before


@pytest.mark.parametrize(
    "disturbed", [pytest.param(disturbed_local, marks=pytest.mark.nightly), disturbed_workers]
)
def test_a_graph_whose_processes_are_killed(
    disturbed: Callable[..., None], small: Graph, marks: Marks, tmp_path: Path
) -> None:
    assert len(small.plan.distinct) == 8
    disturbed(small, tmp_path / "runs", marks, 2)
    assert marks.ended() == Counter(list(small.plan.distinct)), "each ended once"
    small.assert_same(tmp_path / "runs")


@pytest.mark.nightly
@pytest.mark.parametrize("disturbed", [disturbed_local, disturbed_workers])
def test_a_large_graph_whose_processes_are_killed(
    disturbed: Callable[..., None], large: Graph, marks: Marks, tmp_path: Path
) -> None:
    assert len(large.plan.distinct) == 40
    disturbed(large, tmp_path / "runs", marks, 12)
    assert marks.ended() == Counter(list(large.plan.distinct))
    large.assert_same(tmp_path / "runs")


# ---------------------------------------------------------------- claims and prepared comparisons


def test_a_job_has_one_owner_until_it_is_released(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    with claims.holding("a[1]") as mine, claims.holding("b") as other:
        assert mine is not None
        assert other is not None
        with claims.holding("a[1]") as second:
            assert second is None
        mine.check()
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    with claims.holding("a[1]") as again:
        assert again is not None


def test_of_two_who_claim_a_job_at_once_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that nobody has it."""
    monkeypatch.setattr(Claims, "_last", lambda claims, name: 0)
    with Claims(tmp_path).holding("a") as first, Claims(tmp_path).holding("a") as second:
        assert first is not None
        assert second is None


def test_a_run_waits_for_those_that_it_starts_from(small: Graph, tmp_path: Path) -> None:
    folder = write_jobs(small.plan, tmp_path)
    jobs = {job.name: job for job in read_jobs(folder)}
    claims = Claims(folder / "claims")
    worker = _Worker(folder, jobs, claims, lambda line: None, Work(len(jobs)))
    with contextlib.ExitStack() as others:
        for name in [name for name, job in jobs.items() if not job.after]:
            assert others.enter_context(claims.holding(name)) is not None
        assert not worker.does_one(), "other workers have all runs that could start"
    assert worker.does_one()


def test_a_dead_owner_of_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    claims = Claims(tmp_path)

    def holds() -> None:
        with claims.holding("a"):
            (tmp_path / "held").touch()
            time.sleep(60)

    pid = forked(holds)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with claims.holding("a") as mine:
        assert mine is None
    kill(pid)
    os.waitpid(pid, 0)
    with claims.holding("a") as mine:
        assert mine is not None
        assert mine.number == 2


def test_an_owner_elsewhere_is_replaced_after_a_silence_and_learns_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = "experiments.executors.claims._machine"
    monkeypatch.setattr(f"encore.{machines}", lambda: "there")
    claims = Claims(tmp_path, renew_after=60, silent_after=100)
    with claims.holding("a") as theirs:
        assert theirs is not None
        monkeypatch.setattr(f"encore.{machines}", lambda: "here")
        with claims.holding("a") as mine:
            assert mine is None, "it was heard of just now"
        old = time.time() - 101
        os.utime(theirs.path, (old, old))
        with claims.holding("a") as mine:
            assert mine is not None
            assert mine.number == 2
            theirs.check()  # it has renewed its claim, as far as it knows
            theirs.renewed -= 51
            with pytest.raises(LostClaim):
                theirs.check()
            mine.renewed -= 51
            mine.check()
    assert not list(tmp_path.glob("a.*"))


def test_signs_of_life(tmp_path: Path) -> None:
    with Claims(tmp_path, renew_after=0.01).holding("a") as mine:
        assert mine is not None
        os.utime(mine.path, (1, 1))
        until = time.monotonic() + 10
        while mine.path.stat().st_mtime < 2:
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.nightly  # the guide's commands are run for each commit
def test_the_commands_of_a_prepared_comparison(small: Graph, tmp_path: Path, warm: Warm) -> None:
    recipe = tmp_path / "graph.yaml"
    text = yaml.safe_dump(small.recipe | {"seeds": [1], "variants": {"wide": {"pooling": "mean"}}})
    recipe.write_text(text)
    words = ["compare", recipe, "--runs", tmp_path / "runs"]
    done = warm.run([*words, "--prepare"])
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "runs").glob("compare-graph-*")
    told = f"{folder}: 2 runs to compute; on each machine: encore worker {folder}"
    assert done.out.strip() == told
    assert len(read_jobs(folder)) == 2
    assert {cell["state"] for cell in files.read_json(folder / "cells.json")["cells"]} == {
        "waiting"
    }
    done = warm.run(["worker", folder])
    assert (done.code, done.err.count("verdict, ")) == (0, 2)
    assert done.out.startswith(f"{folder}: none of 2 runs is left; 2 computed here; the same")
    done = warm.run(words)
    assert "2 of 2 runs were already complete" in done.out
    assert not files.wrong_files(folder, ("results.json",))
    done = warm.run(["worker", folder])
    assert "0 computed here" in done.out
    assert warm.run(["rm", "-y", folder]).code == 0, "jobs and claims are the comparison's own"


@pytest.mark.nightly
def test_one_that_fails_stops_those_behind_it_and_no_other(
    small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those are the narrow run of seed 1, and the wide one of seed 2, where the last one starts."""
    folder = write_jobs(small.plan, tmp_path)
    jobs = {job.label: job.name for job in read_jobs(folder)}
    wrong = (jobs["verdict, narrow, seed 1"], jobs["verdict, wide, seed 2"])
    trained, train = list[str](), execute._train

    def breaks(prepared: Any, *given: Any, **how: Any) -> Any:
        trained.append(prepared.name)
        if prepared.name in wrong:
            raise DataError("no")
        return train(prepared, *given, **how)

    monkeypatch.setattr(execute, "_train", breaks)
    lines: list[str] = []
    found = work(folder, tell=lines.append)
    behind = jobs["verdict, last, seed 2"]
    assert found.failed == {
        wrong[0]: ("no",),
        wrong[1]: ("no",),
        behind: ("the run that it starts from failed",),
    }
    assert len(found.computed) == 5
    assert behind not in trained
    assert "verdict, narrow, seed 1: FAILED: no" in lines
    assert work(folder).failed == found.failed, "another worker does not try them again"
    monkeypatch.undo()
    write_jobs(small.plan, tmp_path)
    assert len(read_jobs(folder)) == 3
    assert len(work(folder).computed) == 3, "prepared again, they are"
    assert not run_comparison(small.plan, tmp_path).failed
    small.assert_same(tmp_path)


def test_a_job_that_kills_its_workers_fails_in_the_end(small: Graph, tmp_path: Path) -> None:
    folder = write_jobs(small.plan, tmp_path)
    (first, *_), claims = read_jobs(folder), folder / "claims"
    claims.joinpath(f"{first.name}.3").write_text("another machine")
    os.utime(claims / f"{first.name}.3", (1, 1))
    for job in read_jobs(folder)[1:]:  # nothing else is left to do
        files.write_json(claims / f"{job.name}.failed", ["no"])
    (problem,) = work(folder).failed[first.name]
    assert problem.startswith("3 workers died while they computed it.")


def test_another_kind_of_machine_does_not_touch_the_jobs(
    small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_jobs(small.plan, tmp_path)
    (first, *_) = jobs = read_jobs(folder)
    monkeypatch.setattr(run_jobs, "_READY", {})
    monkeypatch.setattr(run_jobs, "prepare", lambda *given: small.plan.cells[1].run)
    with pytest.raises(run_jobs.OtherMachine, match=rf"{first.name}: this machine makes verdict-"):
        work(folder)
    assert not list((folder / "claims").glob("*.*")), "neither claimed nor failed"
    monkeypatch.undo()
    assert len(jobs) == 8


def test_no_jobs_here(small: Graph, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no prepared comparison\. Prepare one, and name its"):
        work(tmp_path)
    for text in ("{", "[1]", '[{"name": 1}]'):
        (tmp_path / "jobs.json").write_text(text)
        with pytest.raises(DataError, match=r"its jobs.json cannot be read"):
            work(tmp_path)
    raced = prepare_comparison(study_from(small.recipe | {"race": {}}))
    with pytest.raises(RecipeError, match="a race decides which runs it needs while they"):
        write_jobs(raced, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# ---------------------------------------------------------------- executors by name


@pytest.mark.parametrize(
    ("name", "in_process", "told"),
    [
        ("cluster", False, "--executor: expected serial, local or ray, got 'cluster'"),
        ("local", True, "--executor local: its processes are forked, and a forked process cannot"),
        ("ray", False, "--executor ray: needs ray, which is not installed. pip install"),
    ],
)
def test_executors_that_cannot_be_had(
    name: str, in_process: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError) as caught:
        check_executor(name, in_process=in_process)
    assert told in str(caught.value)


def test_executors_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "require_ray", lambda: None)
    chosen = partial(executor_for, 9, 4, 2, tmp_path)
    assert isinstance(chosen(in_process=False, name="serial"), SerialExecutor)
    assert chosen(in_process=False, name="local") == chosen(in_process=False)
    ray = chosen(in_process=True, name="ray")
    assert ray == ray_cluster.RayExecutor(tmp_path, threads=2, gpus=1, at_once=4)


def test_a_wrong_executor_is_told_before_anything_starts(small: Graph, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected serial, local or ray"):
        encore.compare(small.recipe, runs=tmp_path / "runs", executor="slurm")
    search = small.recipe | {"search": {"plan.lr": {"choice": [1e-3, 1e-2]}}}
    del search["variants"]
    with pytest.raises(RecipeError, match="expected serial, local or ray"):
        encore.tune(search, runs=tmp_path / "runs", executor="slurm")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ({"a": {"encoder": {"run": "b"}}, "b": {"encoder": {"run": "a"}}}, "start from each other"),
        ({"a": {"encoder": {"run": "baseline", "task": "x"}}}, "no task called 'x'"),
        (
            {
                "one": {"adapter": "houlsby"},
                "a": {"encoder": "OTHER", "adapter": {"name": "fusion", "of": [{"run": "one"}]}},
            },
            "the adapter of 'verdict' belongs to another encoder",
        ),
    ],
)
def test_graphs_that_are_refused_before_anything_starts(
    variants: dict[str, Any], told: str, small: Graph, tiny_encoder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_encoder, tmp_path / "other")
    config = files.read_json(other / "config.json")
    files.write_json(other / "config.json", config | {"layer_norm_eps": 1e-6})
    given = json.loads(json.dumps(variants).replace("OTHER", str(other)))
    with pytest.raises(EncoreError, match=told):
        encore.compare(small.recipe | {"variants": given}, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# ---------------------------------------------------------------- jobs on other machines


def test_a_job_goes_elsewhere_as_text(small: Graph, tmp_path: Path) -> None:
    (first, *_) = small.plan.distinct.values()
    text = ray_cluster.as_text(run_jobs.run_job(first, tmp_path, keep_model=False), tmp_path)
    run_jobs._READY.pop(first.name)
    seconds, problems = json.loads(ray_cluster.do_text(text))
    assert (seconds > 0, problems) == (True, [])
    again = tmp_path / first.name / files.MANIFEST
    listed = files.read_json(small.runs / first.name / files.MANIFEST)
    assert files.read_json(again) == listed
    with pytest.raises(TypeError, match="no module's own function"):
        ray_cluster.as_text(Job("a", lambda: None), tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        ray_cluster.as_text(Job("a", print, (small,)), tmp_path)


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason=WITHOUT_RAY)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(TrainingError, match=r"RAY_ADDRESS=127.0.0.1:1: Ray cannot be reached \("):
        ray_cluster.RayExecutor(tmp_path).run([Job("a", os.getcwd)], lambda number, end: None)


def test_what_a_job_prints_elsewhere_is_in_its_log(tmp_path: Path) -> None:
    text = ray_cluster.as_text(Job("a", json.loads, ("{",)), tmp_path)
    (problem,) = json.loads(ray_cluster.do_text(text))[1]
    assert problem.startswith("JSONDecodeError: ")
    assert "Traceback" in (tmp_path / "a.txt").read_text()


def test_a_trial_goes_elsewhere_as_text(tables: Tables, tiny_encoder: Path, tmp_path: Path) -> None:
    """Another process makes the same search of the job's data, and runs the trial of its ticket."""
    recipe = graph(tables, tiny_encoder, 1)
    del recipe["variants"]
    space = {"plan.lr": {"log_uniform": [1e-3, 1e-2]}, "pooling": {"choice": ["cls", "mean"]}}
    tuning = prepare_search(search_from(recipe | {"search": space}, ["trials=2"], trials=1))
    trials = tuning.trials(tmp_path)
    trials.folder.mkdir()
    job = trial_jobs.trial_jobs(tuning, tmp_path)("ticket")
    text = ray_cluster.as_text(job, tmp_path)
    trial_jobs._READY.pop(tuning.name)
    assert json.loads(ray_cluster.do_text(text))[1] == []
    (trial,) = open_study(trials).trials
    assert trial.user_attrs["owner"] == trials.owner
    assert trial.state.name == "COMPLETE"
    name, _, *rest = job.arguments
    with pytest.raises(run_jobs.OtherMachine, match="this machine makes tune-"):
        trial_jobs.compute_trial(f"{name}x", job.arguments[1], *rest)


def test_no_file_of_sqlite_for_several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_jobs, "n_hosts", lambda: 2)
    for storage in (None, "sqlite:///a.db"):
        with pytest.raises(RecipeError, match=r"has 2 machines, and SQLite serves one only\. Name"):
            trial_jobs.check_shared_storage(storage)
    trial_jobs.check_shared_storage("postgresql://there/trials")
    monkeypatch.setattr(trial_jobs, "n_hosts", lambda: 1)
    trial_jobs.check_shared_storage(None)


# ---------------------------------------------------------------- examples

CLUSTER = HERE.parents[1] / "examples" / "cluster"


def test_the_slurm_array_starts_a_worker(tmp_path: Path) -> None:
    text = (CLUSTER / "slurm.sh").read_text()
    assert text.count("\n") == 15
    assert "#SBATCH --array=" in text
    (tmp_path / "encore").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "encore").chmod(0o755)
    command = text.replace("/shared/.venv/bin", str(tmp_path))
    done = subprocess.run(
        ["bash", "-c", command, "slurm.sh", "FOLDER"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "worker FOLDER\n"


def test_the_kubernetes_job_is_an_indexed_one_of_workers() -> None:
    text = (CLUSTER / "kubernetes.yaml").read_text()
    assert text.count("\n") == 15
    job = yaml.safe_load(text)
    spec = job["spec"]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    assert spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    (volume,) = spec["template"]["spec"]["volumes"]
    assert container["command"][:2] == ["encore", "worker"]
    assert container["volumeMounts"][0]["name"] == volume["name"]
