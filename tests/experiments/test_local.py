"""Executors: jobs that fail, jobs whose process is killed, and jobs whose parent is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest
from conftest import Tables

from encore.errors import DataError
from encore.experiments import cells, run_jobs
from encore.experiments.executors.choice import executor_for
from encore.experiments.executors.jobs import End, Job
from encore.experiments.executors.local import LocalExecutor
from encore.experiments.executors.serial import SerialExecutor
from encore.experiments.preparation import prepare_comparison
from encore.experiments.variants import study_from


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Path, seconds: float = 10) -> Path:
    until = time.monotonic() + seconds
    while not what.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return what


def ends(jobs: list[Job], n: int, logs: Path) -> dict[int, End]:
    found: dict[int, End] = {}
    LocalExecutor(n, logs).run(jobs, found.__setitem__)
    return found


def test_each_job_ends_in_its_own_way(tmp_path: Path) -> None:
    def fine() -> None:
        (tmp_path / "fine").write_text(str(os.getpid()))

    def refused() -> None:
        raise DataError(["a.csv: missing.", "b.csv: missing."])

    def broken() -> None:
        print("what it was doing")
        raise KeyError("x")

    found = ends([Job("fine", fine), Job("refused", refused), Job("broken", broken)], 2, tmp_path)
    assert [found[number].problems for number in range(3)] == [
        (),
        ("a.csv: missing.", "b.csv: missing."),
        ("KeyError: 'x'",),
    ]
    assert int((tmp_path / "fine").read_text()) != os.getpid()
    log = (tmp_path / "broken.txt").read_text()
    assert "what it was doing" in log
    assert "Traceback" in log
    assert not (tmp_path / "fine.txt").exists()


def test_a_killed_job_is_started_once_more(tmp_path: Path) -> None:
    def dies(times: int, mark: Path) -> None:
        with mark.open("a") as file:
            file.write("x")
        if len(mark.read_text()) <= times:
            os.kill(os.getpid(), signal.SIGKILL)

    found = ends(
        [
            Job("once", dies, (1, tmp_path / "once")),
            Job("twice", dies, (), {"times": 2, "mark": tmp_path / "twice"}),
        ],
        1,
        tmp_path,
    )
    assert found[0].problems == ()
    assert found[1].problems[0].startswith("its process was killed (signal 9), 2 times.")
    assert ((tmp_path / "once").read_text(), (tmp_path / "twice").read_text()) == ("xx", "xx")


def test_as_many_at_once_as_asked_for_and_each_in_its_place(tmp_path: Path) -> None:
    def meets_another() -> None:
        (tmp_path / str(os.getpid())).touch()
        until = time.monotonic() + 10
        while (
            len([file for file in tmp_path.iterdir() if file.name.isdigit()]) < 2
            and time.monotonic() < until
        ):
            time.sleep(0.01)
        if time.monotonic() >= until:
            raise DataError("alone")

    assert all(
        not end.problems
        for end in ends([Job("a", meets_another), Job("b", meets_another)], 2, tmp_path).values()
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_jobs_die_with_their_parent(tmp_path: Path) -> None:
    def sleeps(number: int) -> None:
        (tmp_path / f"{number}.part").write_text(str(os.getpid()))
        (tmp_path / f"{number}.part").rename(tmp_path / f"{number}.pid")
        time.sleep(60)

    parent = os.fork()
    if parent == 0:
        with contextlib.suppress(BaseException):
            LocalExecutor(3, tmp_path).run(
                [Job(str(number), sleeps, (number,)) for number in range(3)],
                lambda number, end: None,
            )
        os._exit(0)
    pids = [int(wait_for(tmp_path / f"{number}.pid").read_text()) for number in range(3)]
    assert all(alive(pid) for pid in pids)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    until = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in pids)


def test_an_error_here_leaves_no_process_behind(tmp_path: Path) -> None:
    def sleeps() -> None:
        (tmp_path / "pid.part").write_text(str(os.getpid()))
        (tmp_path / "pid.part").rename(tmp_path / "pid")
        time.sleep(60)

    def ended(number: int, end: End) -> None:
        wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalExecutor(2, tmp_path).run([Job("sleeps", sleeps), Job("fine", lambda: None)], ended)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_one_after_another_here() -> None:
    def refused() -> None:
        raise DataError("no")

    found: dict[int, End] = {}
    SerialExecutor().run([Job("a", refused), Job("b", lambda: None)], found.__setitem__)
    assert [found[number].problems for number in range(2)] == [("no",), ()]


def test_an_executor_is_chosen_by_device_and_size(tmp_path: Path) -> None:
    here = executor_for(9, 4, 1, tmp_path, in_process=True)
    assert isinstance(here, SerialExecutor)
    apart = executor_for(3, 4, 2, tmp_path, in_process=False)
    assert apart == LocalExecutor(3, tmp_path, 2), "no more processes than jobs"
    assert executor_for(9, 4, 2, tmp_path, in_process=False) == LocalExecutor(4, tmp_path, 2)
    alone = executor_for(9, None, 10_000, tmp_path, in_process=False)
    assert alone == LocalExecutor(1, tmp_path, 10_000), "one at least"


def test_another_executor_gets_jobs_as_data(
    tables: Tables, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module's own function and plain arguments, with which another process does the same."""
    data = {"train": str(tables.train), "dev": str(tables.dev), "text": "text", "label": "verdict"}
    given = {"encoder": str(tiny_encoder), "max_length": 32, "seeds": [1, 2]}
    given["tasks"] = {"verdict": {"data": data}}
    plan, jobs, lines = prepare_comparison(study_from(given)), list[Job](), list[str]()

    class Elsewhere:
        def run(
            self,
            given: Sequence[Job],
            on_end: Callable[[int, End], None],
            after: Mapping[int, Collection[int]],
        ) -> None:
            assert not any(after.values())
            for number, job in enumerate(given):
                jobs.append(job)
                on_end(number, End(1.0, (f"machine {number} is gone",)))

    monkeypatch.setattr(cells, "executor_for", lambda *given, **how: Elsewhere())
    (tmp_path / "compare").mkdir()
    runner = cells.CellRunner(plan, tmp_path, tmp_path / "compare", None, False, lines.append)
    runner.compute(plan.distinct)
    assert [job.name for job in jobs] == list(plan.distinct)
    for job in jobs:
        assert job.function is run_jobs.compute_run
        name, recipe, runs, keep_model = json.loads(json.dumps(job.arguments))
        assert (name, runs, keep_model, job.options) == (job.name, str(tmp_path), False, {})
        known = run_jobs._READY.pop(name)
        assert run_jobs.ready_run(name, recipe) is not known
    assert runner.failures == (
        "verdict, baseline, seed 1: machine 0 is gone",
        "verdict, baseline, seed 2: machine 1 is gone",
    )
    assert lines[-1].startswith("[2/2] verdict, baseline, seed 2: FAILED: machine 1 is gone")
