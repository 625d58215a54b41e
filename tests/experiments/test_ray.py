"""Ray for real: a cluster of two nodes on this machine, of which one is killed; a parent that is
killed; and who can reach what Ray starts.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Tables

import encore
from encore import files
from encore.errors import RecipeError, TrainingError
from encore.experiments import run_jobs, trial_jobs
from encore.experiments.comparison import run_comparison
from encore.experiments.executors import ray_cluster
from encore.experiments.executors.jobs import NOT_STARTED, End, Job
from encore.experiments.executors.ray_cluster import RayExecutor
from experiments import marked
from experiments.test_executors import WITHOUT_RAY, Graph, Marks, graph, killed_while_it_works
from experiments.test_trials_postgres import url

__all__ = ["url"]  # a fixture

pytestmark = pytest.mark.nightly

TESTS = Path(__file__).resolve().parents[1]
# Before Ray is imported, which reads them once.
for name, value in (ray_cluster._PRIVATE | ray_cluster._QUIET).items():
    os.environ.setdefault(name, value)
pytest.importorskip("ray", reason=WITHOUT_RAY)


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Marks:
    """The processes of Ray inherit where to leave them, and where to find this test's modules."""
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent}")
    monkeypatch.setattr(run_jobs, "compute_run", marked.compute_run)
    return Marks(tmp_path / "marks")


@pytest.fixture
def nodes(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The cluster and its second node, two cores each."""
    from ray.cluster_utils import Cluster

    how = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**how, "include_dashboard": False})
    try:
        second = cluster.add_node(**how)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster, second
    finally:
        cluster.shutdown()


def test_a_node_that_is_killed_costs_time_and_no_result(
    nodes: tuple[Any, Any], marks: Marks, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    whole = Graph(graph(tables, tiny_encoder, 3), tmp_path / "serial")
    marks.file.unlink()
    cluster, second = nodes
    assert ray_cluster.n_hosts() == 1, "both nodes are on this machine"
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            cluster.remove_node(second, allow_graceful=False)

    found = run_comparison(whole.plan, tmp_path / "ray", executor="ray", tell=tell)
    assert not found.failed
    assert len(lines) == 12
    assert marks.ended() == Counter(list(whole.plan.distinct))
    whole.assert_same(tmp_path / "ray")


def test_a_large_graph_whose_processes_are_killed(
    nodes: tuple[Any, Any], marks: Marks, tables: Tables, tiny_encoder: Path, tmp_path: Path
) -> None:
    """40 runs in three stages, four at once: one process is killed, then the parent."""
    recipe = tmp_path / "graph.yaml"
    recipe.write_text(yaml.safe_dump(graph(tables, tiny_encoder, 10)))
    undisturbed = [recipe, "--runs", tmp_path / "whole", "--executor", "serial"]
    words = [recipe, "--runs", tmp_path / "runs", "--executor", "ray"]

    def started(given: list[Any]) -> subprocess.Popen[bytes]:
        code = "from experiments.marked import main; main()"
        return subprocess.Popen([sys.executable, "-c", code, "compare", *map(str, given)])

    assert started(undisturbed).wait() == 0
    marks.file.unlink()
    parent = started(words)
    marks.wait_for(12)
    killed_while_it_works(marks)
    marks.wait_for(13)
    parent.kill()
    parent.wait()
    assert 0 < len(marks.ended()) < 40
    assert started(words).wait() == 0
    (folder,) = (tmp_path / "whole").glob("compare-*")
    names = {cell["run"] for cell in files.read_json(folder / "cells.json")["cells"]}
    assert len(names) == 40
    assert marks.ended() == Counter(names), "each ended once"
    for name in (*names, folder.name):
        whole, again = tmp_path / "whole" / name, tmp_path / "runs" / name
        listed = files.read_json(whole / files.MANIFEST)
        assert files.read_json(again / files.MANIFEST) == listed
        assert files.wrong_files(again, list(listed)) == []


def test_a_job_that_no_node_has_room_for_is_refused(nodes: tuple[Any, Any], tmp_path: Path) -> None:
    for executor, told in (
        (RayExecutor(tmp_path, threads=3), "no node of the cluster has 3 cores for a run"),
        (RayExecutor(tmp_path, gpus=1), "no node of the cluster has 1 cores and a GPU"),
    ):
        with pytest.raises(TrainingError, match=told):
            executor.run([Job("a", os.getcwd)], lambda number, end: None)


def test_a_job_that_kills_its_process_fails_in_the_end(
    nodes: tuple[Any, Any], marks: Marks, tmp_path: Path
) -> None:
    """So do those behind it, and no other."""
    jobs = [Job("dies", marked.die), Job("behind", os.getcwd), Job("fine", os.getcwd)]
    ends: dict[int, End] = {}
    RayExecutor(tmp_path).run(jobs, ends.__setitem__, {1: [0]})
    assert ends[0].problems[0].startswith("its task was lost 4 times (")
    assert [ends[number].problems for number in (1, 2)] == [NOT_STARTED.problems, ()]
    assert [what for what, *_ in marks.read()] == ["dies"] * 4


def listening() -> list[str]:
    """The addresses that this process and all that it started listen on."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    assert len(mine) > 4, "Ray has processes of its own"
    sockets = set()
    for link in (link for pid in mine for link in Path(f"/proc/{pid}/fd").iterdir()):
        try:
            sockets.add(os.readlink(link))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                raw = bytes.fromhex(words[1].partition(":")[0])
                groups = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
                family = socket.AF_INET if table == "tcp" else socket.AF_INET6
                found.append(socket.inet_ntop(family, b"".join(groups)))
    return found


def test_what_is_started_here_is_reached_from_here_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    seen: list[list[str]] = []
    ends: dict[int, End] = {}

    def on_end(number: int, end: End) -> None:
        ends[number] = end
        seen.append(listening())

    RayExecutor(tmp_path, at_once=2).run([Job("fine", os.getcwd)], on_end)
    assert ends[0].problems == ()
    assert len(seen[0]) > 4
    assert set(seen[0]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    import ray

    assert not ray.is_initialized(), "it ends with the jobs"


def test_a_search_on_ray_is_that_of_one_process(
    marks: Marks,
    tables: Tables,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("encore.api.draw_search", lambda *_: None)
    recipe = graph(tables, tiny_encoder, 1)
    del recipe["variants"]
    recipe |= {"search": {"plan.lr": {"log_uniform": [1e-3, 1e-2]}}, "seeds": [7]}
    results = [
        encore.tune(recipe, n=3, runs=tmp_path / name, executor=name, processes=1).folder
        for name in ("serial", "ray")
    ]
    for name in ("results.json", "trials.csv", "best.yaml"):
        assert (results[0] / name).read_bytes() == (results[1] / name).read_bytes()


def test_a_search_on_a_cluster_keeps_its_study_in_postgresql(
    nodes: tuple[Any, Any],
    url: str,
    tables: Tables,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if its nodes were several machines, where a file of SQLite is refused; one is killed."""
    cluster, second = nodes
    monkeypatch.setattr("encore.api.draw_search", lambda *_: None)
    monkeypatch.setattr(trial_jobs, "n_hosts", lambda: 2)
    recipe = graph(tables, tiny_encoder, 1)
    del recipe["variants"]
    recipe |= {"search": {"plan.lr": {"log_uniform": [1e-3, 1e-2]}}, "seeds": [7]}
    with pytest.raises(RecipeError, match="SQLite serves one only"):
        encore.tune(recipe, n=6, runs=tmp_path, executor="ray")
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            cluster.remove_node(second, allow_graceful=False)

    found = encore.tune(recipe, n=6, runs=tmp_path, executor="ray", storage=url, tell=tell)
    assert not found.failed
    assert (found.record.trials.complete, found.record.trials.failed) == (6, 0)
    complete = [folder.parent for folder in tmp_path.glob("verdict-*/manifest.json")]
    assert len(complete) == 7, "six trials, and the best with a fresh seed"
    assert set(complete) == set(tmp_path.glob("verdict-*")), "and no other run was begun"
    assert not (found.folder / "study.db").exists()
