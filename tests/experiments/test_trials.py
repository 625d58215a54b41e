"""The trials of a search on objectives that cost nothing: what is drawn, who gets which, what is
killed, what is given up.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from encore.errors import RecipeError, TrainingError
from encore.experiments import samplers
from encore.experiments import study as study_module
from encore.experiments import trial as trial_module
from encore.experiments import trials as module
from encore.experiments.samplers import check_strategy
from encore.experiments.search_space import search_from
from encore.experiments.study import (
    best_of,
    check_storage,
    counted_trials,
    importances,
    open_study,
    problems_of,
    quiet_optuna,
)
from encore.experiments.trial import Objective, TrialReport, Trials, TrialScore
from encore.experiments.trials import run_trials

SPACE = {
    "plan.lr": {"log_uniform": [1e-5, 1e-3]},
    "plan.epochs": {"choice": [3, 5, 10]},
    "head.dropout": {"uniform": [0.0, 0.2]},
    "plan.batch_size": {"int": [8, 12]},
}
LR = {"plan.lr": SPACE["plan.lr"]}


def made(folder: Path, n: int, space: Mapping[str, Any] = SPACE, **how: Any) -> Trials:
    (folder / "log").mkdir(parents=True, exist_ok=True)
    return Trials(
        "toy",
        folder,
        search_from({"task": "rte", "search": space}).parameters,
        n,
        how.pop("seed", 42),
        how.pop("maximise", True),
        **how,
    )


def worth(given: Mapping[str, Any]) -> float:
    """Depends on the learning rate alone."""
    return -((math.log10(given["plan.lr"]) + 4.3) ** 2)


def toy(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
    return TrialScore(worth(given))


def told(trials: Trials) -> list[dict[str, Any]]:
    return [trial.params for trial in counted_trials(open_study(trials))]


def in_memory(
    trials: Trials, objective: Objective = lambda given, report: TrialScore(0.0)
) -> optuna.Study:
    """One trial after another by our own sampler, pruner and words, without a database."""
    with quiet_optuna():
        study = optuna.create_study(
            study_name=trials.name,  # else a random one, which Hyperband draws its brackets from
            sampler=samplers.SeededSampler(trials),
            pruner=samplers.pruner_of(trials),
            direction="maximize" if trials.maximise else "minimize",
        )
        for _ in range(trials.n):
            module._run(study, study.ask(), trials, objective)
    return study


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a folder: a database on a disk that is busy waits for it two
    dozen times a trial.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


# ------------------------------------------------------------------------------------ what is drawn


def test_samples_follow_the_distributions(tmp_path: Path) -> None:
    drawn = [trial.params for trial in in_memory(made(tmp_path, 600, sampler="random")).trials]
    rates, dropouts = (
        np.log10([one["plan.lr"] for one in drawn]),
        np.array([one["head.dropout"] for one in drawn]),
    )
    assert stats.kstest(rates, stats.uniform(-5, 2).cdf).pvalue > 0.01
    assert stats.kstest(dropouts, stats.uniform(0, 0.2).cdf).pvalue > 0.01
    for path, values in (("plan.epochs", (3, 5, 10)), ("plan.batch_size", (8, 9, 10, 11, 12))):
        counts = [sum(one[path] == value for one in drawn) for value in values]
        assert sum(counts) == 600
        assert stats.chisquare(counts).pvalue > 0.01
    # That the rates are spread by their logarithm, and not evenly, is seen by the same test.
    assert (
        stats.kstest([one["plan.lr"] for one in drawn], stats.uniform(1e-5, 1e-3).cdf).pvalue < 1e-6
    )
    assert abs(np.corrcoef(rates, dropouts)[0, 1]) < 0.15


@pytest.mark.parametrize("seed", [42, 43])
def test_what_depends_on_the_rate_alone_makes_the_rate_important(tmp_path: Path, seed: int) -> None:
    study = in_memory(made(tmp_path, 48, seed=seed), toy)
    shares, why = importances(study, seed)
    assert why is None
    assert next(iter(shares)) == "plan.lr"
    assert shares["plan.lr"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(study, seed) == (shares, None)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_importances_say_why_there_are_none(tmp_path: Path) -> None:
    assert importances(in_memory(made(tmp_path, 3)), 42) == (
        {},
        "importances need 4 complete trials, there are 3",
    )
    assert importances(in_memory(made(tmp_path, 5)), 42) == (
        {},
        "all trials have the same value, so there is nothing to explain",
    )


def test_tpe_looks_where_it_is_good(tmp_path: Path) -> None:
    values = [trial.value for trial in in_memory(made(tmp_path, 40, LR), toy).trials]
    assert np.mean(values[20:]) > np.mean(values[:10])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sampler", ["tpe", "random", pytest.param("gp", marks=pytest.mark.nightly), "cmaes"]
)
def test_a_trial_is_a_function_of_the_seed_and_those_before_it(
    tmp_path: Path, sampler: str
) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    n = 14  # the first ten of TPE and GP are random
    first, again, other = (
        [
            trial.params
            for trial in in_memory(made(tmp_path, n, sampler=sampler, seed=seed), toy).trials
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert not any(a == b for a, b in zip(first, other, strict=True))
    assert len({one["plan.lr"] for one in first}) == n


def test_tpe_tries_elsewhere_what_is_not_what_is_under_way(tmp_path: Path) -> None:
    """A trial at work counts as a bad one, so that two processes do not look at the same place. One
    that failed counts for nothing.
    """
    trials, drawn = made(tmp_path, 13, LR), []
    for state in (None, TrialState.FAIL):
        study = in_memory(trials, toy)
        with quiet_optuna():
            other = study.ask()
            module._suggested(other, trials.parameters[0])
            if state is not None:
                study.tell(other, state=state)
            drawn.append(module._suggested(study.ask(), trials.parameters[0]))
    assert drawn[0] != drawn[1]


def test_a_grid_s_order_is_drawn_by_the_seed(tmp_path: Path) -> None:
    space = {"plan.epochs": {"choice": [3, 5, 10]}, "plan.batch_size": {"int": [8, 9]}}
    orders = [
        [
            trial.params
            for trial in in_memory(made(tmp_path, 6, space, sampler="grid", seed=seed)).trials
        ]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_grid_is_gone_through_once(tmp_path: Path) -> None:
    space = {"plan.epochs": {"choice": [3, 5, 10]}, "plan.batch_size": {"int": [8, 9]}}
    trials = made(tmp_path, 6, space, sampler="grid")
    run_trials(trials, lambda given, report: TrialScore(given["plan.epochs"]), processes=3)
    found = [(one["plan.epochs"], one["plan.batch_size"]) for one in told(trials)]
    assert sorted(found) == list(itertools.product((3, 5, 10), (8, 9)))
    assert found != sorted(found)


# ----------------------------------------------------------------------- going on, and being killed


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", 8)
    run_trials(whole, toy, processes=1, in_process=True)
    parts = made(tmp_path / "parts", 8)
    run_trials(replace(parts, n=2), toy, processes=1, in_process=True)
    stops = iter([False, True])

    def stopped(line: str) -> None:
        if next(stops):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(replace(parts, n=7), toy, processes=1, in_process=True, tell=stopped)
    lines: list[str] = []
    run_trials(parts, toy, processes=1, tell=lines.append)
    assert told(parts) == told(whole)
    assert len(lines) == 8 - 4
    assert lines[-1].startswith("[4/4] trial 7: ")
    run_trials(parts, toy, processes=1, tell=lines.append)
    assert len(lines) == 8 - 4


def once(mark: Path) -> Callable[[], None]:
    """Kills its process the first time that it is called with this mark."""

    def kill() -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


@pytest.mark.parametrize("where", ["at its first moment", "at work", "before it says so"])
def test_a_killed_trial_is_taken_up_under_its_own_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    undisturbed = made(tmp_path / "undisturbed", 4)
    run_trials(undisturbed, toy, processes=1, in_process=True)
    kill, trials = once(tmp_path / "mark"), made(tmp_path / "killed", 4)
    third = told(undisturbed)[2]["plan.lr"]
    if where == "at its first moment":
        monkeypatch.setattr(
            module,
            "_suggested",
            lambda trial, one: (trial.number == 2 and kill(), HONEST_SUGGESTED(trial, one))[1],
        )
    elif where == "before it says so":
        monkeypatch.setattr(
            module,
            "_finish",
            lambda study, trial, *more: (
                trial.number == 2 and kill(),
                HONEST_FINISH(study, trial, *more),
            )[1],
        )

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        if where == "at work" and given["plan.lr"] == third:
            kill()
        return toy(given, report)

    run_trials(trials, objective, processes=1)
    assert (tmp_path / "mark").exists()
    assert told(trials) == told(undisturbed)
    assert [(trial.number, trial.state, trial.value) for trial in open_study(trials).trials] == [
        (trial.number, TrialState.COMPLETE, trial.value) for trial in open_study(undisturbed).trials
    ]


HONEST_SUGGESTED, HONEST_FINISH = module._suggested, module._finish


def killed_now_and_then(folder: Path, n: int) -> None:
    """4 workers; trials kill their processes now and then, one is killed from outside, and what
    they computed is in a file.
    """
    trials = made(folder, n)

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        time.sleep(0.01)
        if int(given["plan.lr"] * 1e9) % 7 == 0:
            once(folder / f"mark-{given['plan.lr']}")()
        with (folder / "done").open("a") as file:
            file.write(f"{given['plan.lr']!r}\n")
        return toy(given, report)

    first = iter([True])

    def kill_one(line: str) -> None:  # and one from outside, whatever it is doing
        if next(first, False):
            children = [
                int(pid)
                for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
                .read_text()
                .split()
            ]
            os.kill(children[-1], signal.SIGKILL)

    run_trials(trials, objective, processes=4, tell=kill_one)
    found = open_study(trials).trials
    assert [trial.number for trial in found] == list(range(n))
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert [trial.value for trial in found] == [worth(trial.params) for trial in found]
    assert len({trial.params["plan.lr"] for trial in found}) == n
    done = [float(line) for line in (folder / "done").read_text().split()]
    assert set(done) == {trial.params["plan.lr"] for trial in found}
    assert len(done) <= n + 1, (
        "only the one that was killed from outside may have been computed twice"
    )


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_killed_workers_lose_and_double_nothing(tmp_path: Path) -> None:
    killed_now_and_then(tmp_path, 8)


@pytest.mark.nightly
def test_killed_workers_lose_and_double_nothing_in_forty_trials(tmp_path: Path) -> None:
    killed_now_and_then(tmp_path, 40)


def test_one_that_is_killed_time_and_again_has_failed(tmp_path: Path) -> None:
    trials, lines = made(tmp_path, 3), list[str]()

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        if given["plan.lr"] == told(trials)[1].get("plan.lr") if len(told(trials)) > 1 else False:
            os.kill(os.getpid(), signal.SIGKILL)
        return toy(given, report)

    run_trials(trials, objective, processes=1, tell=lines.append)
    found = counted_trials(open_study(trials))
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert problems_of(found[1])[0].startswith("its process was killed (signal 9), 2 times.")
    assert "trial 1: FAILED: its process was killed" in lines[1]


# --------------------------------------------------------------------------------- several machines


def both_at_once(
    machines: Sequence[Trials], objective: Callable[[Mapping[str, Any], TrialReport], TrialScore]
) -> None:
    """Each in a process of its own, with two workers."""
    pids = []
    for machine in machines:
        pid = os.fork()
        if pid == 0:
            try:
                run_trials(machine, objective, processes=2)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def test_two_machines_make_no_more_than_was_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'both.db'}"
    machines = [made(tmp_path / name, 6, storage=url) for name in ("a", "b")]
    open_study(machines[0])
    both_at_once(machines, toy)
    found = counted_trials(open_study(machines[0]))
    assert len(found) == 6
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert {trial.user_attrs["owner"] for trial in found} == {machine.owner for machine in machines}
    assert len({trial.params["plan.lr"] for trial in found}) == 6
    surplus = [trial for trial in open_study(machines[0]).trials if trial.user_attrs.get("surplus")]
    assert all(trial.state == TrialState.FAIL for trial in surplus)


def test_whoever_came_too_late_gives_its_trial_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine took the last one between our looking and our taking."""
    trials = made(tmp_path, 1)
    left_by_another(trials, beat=False)
    study, looks, honest = open_study(trials), iter([True]), module.counted_trials
    monkeypatch.setattr(
        module, "counted_trials", lambda study: [] if next(looks, False) else honest(study)
    )
    assert module._claimed(study, trials, "mine", trials.owner) is None
    assert [trial.number for trial in honest(study)] == [0]
    assert [(trial.state.name, "surplus" in trial.user_attrs) for trial in study.trials] == [
        ("RUNNING", False),
        ("FAIL", True),
    ]


def test_a_trial_at_work_is_heard_of_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a moment in which the database was busy."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.001)
    beats: list[int] = []

    def beat(number: int) -> None:
        beats.append(number)
        if len(beats) == 1:
            raise OSError("busy")

    until = time.monotonic() + 10
    with module._heartbeats(
        SimpleNamespace(_storage=SimpleNamespace(record_heartbeat=beat)),
        SimpleNamespace(_trial_id=7),
    ):  # type: ignore[arg-type]
        while len(beats) < 4 and time.monotonic() < until:
            time.sleep(0.001)
    assert beats[:4] == [7] * 4
    n_beats = len(beats)
    time.sleep(0.02)
    assert len(beats) == n_beats


def test_a_machine_is_its_name_and_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that keep their runs in folders of the same name are two; so are two folders of one of
    them.
    """
    here, beside = made(tmp_path / "a" / "study", 1), made(tmp_path / "b" / "study", 1)
    owners = [here.owner, beside.owner]
    assert replace(here, n=7).owner == here.owner
    monkeypatch.setattr(trial_module.socket, "gethostname", lambda: "elsewhere")
    assert len({*owners, here.owner, beside.owner}) == 4


def left_by_another(trials: Trials, *, beat: bool) -> FrozenTrial:
    """A trial at work on a machine that is gone."""
    study = open_study(trials)
    with quiet_optuna():
        elsewhere = replace(trials, folder=trials.folder / "elsewhere")
        trial = module._claimed(study, elsewhere, "another", elsewhere.owner)
        assert trial is not None
        for one in trials.parameters:
            module._suggested(trial, one)
        if beat:
            study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    return study.trials[trial.number]


@pytest.mark.parametrize("beat", [pytest.param(True, marks=pytest.mark.nightly), False])
def test_a_silent_machine_s_trial_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beat: bool
) -> None:
    """Killed at work, or before its first heartbeat."""
    monkeypatch.setattr(study_module, "_SILENT_SECONDS", 1)
    trials = made(tmp_path, 3, storage=f"sqlite:///{tmp_path / 'trials.db'}")
    lost = left_by_another(trials, beat=beat)
    lines: list[str] = []
    run_trials(trials, toy, processes=1, in_process=True, tell=lines.append)
    everything, found = open_study(trials).trials, counted_trials(open_study(trials))
    assert [trial.state.name for trial in everything] == [
        "FAIL",
        "COMPLETE",
        "COMPLETE",
        "COMPLETE",
    ]
    assert [trial.number for trial in found] == [1, 2, 3]
    assert [trial.params for trial in found].count(lost.params) == 1
    assert len([line for line in lines if line.startswith("[")]) == 3


def test_a_grid_loses_no_point_with_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found silent before the others were drawn: what is tried again has a number, and takes
    nobody's point.
    """
    monkeypatch.setattr(study_module, "_SILENT_SECONDS", 1)
    space = {"plan.epochs": {"choice": [3, 5]}, "plan.batch_size": {"int": [8, 9]}}
    trials = made(tmp_path, 4, space, sampler="grid", storage=f"sqlite:///{tmp_path / 'trials.db'}")
    left_by_another(trials, beat=True)
    time.sleep(2.1)
    run_trials(
        trials, lambda given, report: TrialScore(given["plan.epochs"]), processes=1, in_process=True
    )
    assert [trial.number for trial in counted_trials(open_study(trials))] == [1, 2, 3, 4]
    assert sorted((one["plan.epochs"], one["plan.batch_size"]) for one in told(trials)) == list(
        itertools.product((3, 5), (8, 9))
    )


def test_a_machine_that_is_heard_of_keeps_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "_SILENT_SECONDS", 60)
    trials = made(tmp_path, 2)
    left_by_another(trials, beat=True)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        study = open_study(trials)
        study.tell(0, 1.0)

    monkeypatch.setattr(module.time, "sleep", sleep)
    run_trials(trials, toy, processes=1, in_process=True)
    assert len(waited) == 1
    assert [(trial.number, trial.value == 1.0) for trial in open_study(trials).trials] == [
        (0, True),
        (1, False),
    ]


def test_a_trial_that_was_given_away_is_not_told_twice(tmp_path: Path) -> None:
    trials = made(tmp_path, 1)

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        open_study(trials).tell(0, 0.5)  # meanwhile, elsewhere
        return TrialScore(0.1)

    run_trials(trials, objective, processes=1, in_process=True)
    assert [trial.value for trial in open_study(trials).trials] == [0.5]


# --------------------------------------------------------------------- what fails, what is given up


def test_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    trials, lines = made(tmp_path, 5), list[str]()

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        match len(told(trials)):
            case 1:
                raise TrainingError(["the loss is not finite.", "and more"])
            case 2:
                raise KeyError("x")
            case 3:
                return TrialScore(math.nan)
            case 4:
                return TrialScore(math.inf)
        return toy(given, report)

    run_trials(trials, objective, processes=1, tell=lines.append)
    found = counted_trials(open_study(trials))
    assert [trial.state.name for trial in found] == ["FAIL", "FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert [problems_of(trial) for trial in found] == [
        ["the loss is not finite.", "and more"],
        ["KeyError: 'x'"],
        ["its value is nan, which cannot be compared"],
        ["its value is inf, which cannot be compared"],
        [],
    ]
    assert "trial 0: FAILED: the loss is not finite." in lines[0]
    assert best_of(found, maximise=True) == found[4]
    run_trials(trials, objective, processes=1, tell=lines.append)
    assert len(lines) == 5


def test_a_line_tells_the_best_so_far_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds each, and lower is better."""
    values, clock, lines = iter([3.0, 1.0, 2.0]), itertools.count(0, 10), list[str]()
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=time.sleep)
    )
    run_trials(
        made(tmp_path, 3, LR, maximise=False),
        lambda given, report: TrialScore(next(values)),
        processes=1,
        in_process=True,
        tell=lines.append,
    )
    assert [line.partition("]")[0] + line.partition("best")[2] for line in lines] == [
        "[1/3 3.0000, trial 0; about 20 s left",
        "[2/3 1.0000, trial 1; about 10 s left",
        "[3/3 1.0000, trial 1",
    ]


def test_of_equals_the_first_is_the_best(tmp_path: Path) -> None:
    found = in_memory(
        made(tmp_path, 6),
        lambda given, report: TrialScore(1.0 if given["plan.epochs"] != 3 else 0.0),
    ).trials
    values = [trial.value for trial in found]
    assert best_of(found, maximise=True) == found[values.index(1.0)]
    assert best_of(found, maximise=False) == found[values.index(0.0)]
    assert best_of([], maximise=True) is None


@pytest.mark.parametrize("maximise", [True, False])
def test_what_is_worse_than_the_median_is_given_up(tmp_path: Path, maximise: bool) -> None:
    trials, seen = (
        made(tmp_path, 16, LR, pruner="median", longest=10, maximise=maximise),
        list[list[int]](),
    )
    sign = 1 if maximise else -1

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        seen.append([])
        for step in range(10):
            seen[-1].append(step)
            report(step, sign * worth(given) * (10 - step), final=step == 9)
        return TrialScore(sign * worth(given))

    study = in_memory(trials, objective)
    found = study.trials
    pruned = [trial for trial in found if trial.state == TrialState.PRUNED]
    assert len(pruned) >= 3
    assert all(trial.number >= 5 for trial in pruned)
    # Nothing was computed after the report at which it was given up.
    assert [len(steps) for steps in seen] == [
        len(trial.intermediate_values) if trial in pruned else 10 for trial in found
    ]
    assert all(len(seen[trial.number]) < 10 for trial in pruned)
    best = best_of(found, maximise=maximise)
    assert best is not None
    assert best.value is not None
    assert all(
        sign * best.value >= sign * trial.value
        for trial in found
        if trial.state == TrialState.COMPLETE and trial.value is not None
    )


@pytest.mark.parametrize("final", [True, False])
def test_a_trial_that_is_as_good_as_over_is_not_given_up(tmp_path: Path, final: bool) -> None:
    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        report(0, worth(given), final=final)
        return toy(given, report)

    states = {
        trial.state
        for trial in in_memory(made(tmp_path, 16, LR, pruner="median"), objective).trials
    }
    assert states == ({TrialState.COMPLETE} if final else {TrialState.COMPLETE, TrialState.PRUNED})


def test_hyperband_gives_up_early(tmp_path: Path) -> None:
    trials = made(tmp_path, 24, LR, pruner="hyperband", longest=9)

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        for step in range(9):
            report(step, worth(given), final=step == 8)
        return toy(given, report)

    study = in_memory(trials, objective)
    lengths = [
        len(trial.intermediate_values) for trial in study.trials if trial.state == TrialState.PRUNED
    ]
    assert lengths
    assert set(lengths) == {2, 4}  # at its rungs, steps 1 and 3; the next one is the end
    given_up = np.median(
        [worth(trial.params) for trial in study.trials if trial.state == TrialState.PRUNED]
    )
    complete = [worth(trial.params) for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert (
        sum(value < given_up for value in complete[1:]) > 0
    )  # of one bracket in three nobody is given up, so that late ones have their chance


def test_wilcoxon_gives_up_after_a_few_seeds(tmp_path: Path) -> None:
    trials = made(tmp_path, 10, LR, pruner="wilcoxon", longest=8)
    draw = np.random.default_rng(3).normal(0, 0.01, 8)

    def objective(given: Mapping[str, Any], report: TrialReport) -> TrialScore:
        values = [worth(given) + float(luck) for luck in draw]
        for position, value in enumerate(values):
            report(position, value, final=position == 7)
        return TrialScore(float(np.mean(values)), tuple(values))

    study = in_memory(trials, objective)
    found = study.trials
    pruned = [trial for trial in found if trial.state == TrialState.PRUNED]
    assert pruned
    assert all(4 <= len(trial.intermediate_values) < 8 for trial in pruned)
    best = best_of(found, maximise=True)
    assert best is not None
    assert all(trial.intermediate_values[0] < best.intermediate_values[0] for trial in pruned)


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"sampler": "tpee"}, "--sampler: no sampler called 'tpee'. Did you mean 'tpe'?"),
        ({"pruner": "medan"}, "--pruner: no pruner called 'medan'. Did you mean 'median'?"),
        (
            {"sampler": "grid"},
            "plan.lr: --sampler grid tries all values, and log_uniform has infinitely many. "
            "Write choice.",
        ),
        (
            {"pruner": "wilcoxon"},
            "--pruner wilcoxon: it compares seeds, and can stop a trial after the fourth at "
            "the earliest. Write seeds_per",
        ),
    ],
)
def test_a_wrong_way_to_search(how: dict[str, str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_strategy(
            search_from({"task": "rte", "search": SPACE}).parameters,
            how.get("sampler", "tpe"),
            how.get("pruner", "none"),
        )
    assert any(said in line for line in caught.value.lines), caught.value.lines


def test_what_a_sampler_cannot_do_is_said() -> None:
    choices = search_from(
        {
            "task": "rte",
            "search": {"plan.epochs": {"choice": [1, 2]}, "plan.lr": {"uniform": [0.1, 0.2]}},
        }
    ).parameters
    with pytest.raises(RecipeError, match="two or more of them"):
        check_strategy(choices, "cmaes", "none")
    check_strategy(choices, "tpe", "wilcoxon", seeds_per_trial=5)
    with pytest.raises(RecipeError, match="the range is too long for a grid"):
        check_strategy(
            search_from(
                {"task": "rte", "search": {"plan.batch_size": {"int": [1, 100]}}}
            ).parameters,
            "grid",
            "none",
        )
    long = {path: {"int": [41, 100]} for path in ("plan.epochs", "plan.batch_size", "max_length")}
    with pytest.raises(
        RecipeError, match="grid: there are 216,000 points, and no more than 100,000 trials"
    ):
        check_strategy(search_from({"task": "rte", "search": long}).parameters, "grid", "none")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "trials.db",
            "--storage trials.db: expected the URL of a database, such as postgresql+psycopg2://",
        ),
        ("nosuch://x/y", "--storage nosuch://x/y: expected the URL of a database"),
        (
            "sqlite:////nowhere/at/all.db",
            "--storage sqlite:////nowhere/at/all.db: cannot be opened (unable to open database "
            "file).",
        ),
        (
            "mysql+nodriver://me:secret@here/x",
            "--storage mysql+nodriver://me:***@here/x: expected the URL of a database",
        ),
    ],
)
def test_a_database_that_cannot_be_reached(url: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_storage(url)
    (told,) = caught.value.lines
    assert told.startswith(said)
    assert "secret" not in told


def test_a_study_whose_own_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(RecipeError) as caught:
        open_study(made(tmp_path, 1, LR))
    (told,) = caught.value.lines
    assert told.startswith(
        f"{tmp_path}/study.db: cannot be opened (file is not a database). Move it away and "
        f"run the same command again"
    )
    assert (tmp_path / "study.db").read_bytes() == b"no database" * 100


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(RecipeError, match=r"which is not installed\."):
        check_storage("oracle+oracledb://me@here/x")
