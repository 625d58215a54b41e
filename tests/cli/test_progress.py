"""The progress of a run: lines without a terminal, a bar on one."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from encore.cli import progress
from encore.cli.progress import Watch
from encore.training.groups import ParameterGroup, PhaseStart
from encore.training.reports import EvalReport, StepReport


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Half a second passes at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.5
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", Clock())


def step(number: int, epoch: int = 1) -> StepReport:
    return StepReport(
        number, epoch, 40, "reviews", 2.0 if number == 1 else 1.0, {"task": 1.0}, 3e-5, 1.0, 700, 32
    )


def evaluation(epoch: int, *, is_best: bool, is_last: bool) -> EvalReport:
    dev = {"reviews": {"dev": {"accuracy": 0.5}, "dev_hard": {"accuracy": 0.25}}}
    return EvalReport(
        epoch,
        40 * epoch,
        {"reviews": {"loss": 1.25, "accuracy": 0.75}},
        dev,
        {},
        0.5,
        is_best,
        is_last,
    )


def test_plain_lines_every_ten_seconds_and_at_the_end_of_an_epoch() -> None:
    stream = io.StringIO()
    with Watch(stream, epochs=2, steps=80) as watch:
        for number in range(1, 41):
            watch(step(number))
        watch(evaluation(1, is_best=True, is_last=False))
        watch(evaluation(2, is_best=True, is_last=True))
    *steps, first, second = stream.getvalue().splitlines()
    assert len(steps) == 2
    assert re.fullmatch(
        r"epoch 1/2  step (\d+)/80  loss 1\.\d{4}  lr 3\.0e-05  1,400 tokens/s  0:(\d\d) left",
        steps[0],
    )
    at, left = (int(group) for group in re.findall(r"step (\d+).*0:(\d\d) left", steps[0])[0])
    assert left == (80 - at) // 2
    assert (
        first
        == "epoch 1/2  train loss 1.2500  accuracy 0.750  |  dev  accuracy 0.500  |  dev_hard  "
        "accuracy 0.250"
    )
    assert (
        second
        == "epoch 2/2  train loss 1.2500  accuracy 0.750  |  dev  accuracy 0.500  |  dev_hard  "
        "accuracy 0.250  (best so far)"
    )


def test_a_dev_set_without_a_metric_is_not_named() -> None:
    stream = io.StringIO()
    dev: dict[str, dict[str, dict[str, float]]] = {
        "rows": {"dev": {}},
        "reviews": {"dev": {"accuracy": 0.5}},
    }
    with Watch(stream, epochs=1, steps=1) as watch:
        watch(EvalReport(1, 1, {"rows": {"loss": 2.0}}, dev, {}, 0.5, is_best=True, is_last=True))
    assert (
        stream.getvalue() == "epoch 1/1  rows train loss 2.0000  |  reviews dev  accuracy 0.500\n"
    )


HEAD = ParameterGroup("head", None, 2e-4, 0.01, 1, 1_920)
TOP = ParameterGroup("block", 6, 1e-4, 0.0, 8, 4_992)


def test_what_a_phase_trains_is_a_table_with_its_first_step() -> None:
    stream = io.StringIO()
    with Watch(stream, epochs=4, steps=160) as watch:
        watch(replace(step(1), phase=PhaseStart(1, 2, 1, (HEAD,))))
        watch(step(2))
        watch(replace(step(41, epoch=2), phase=PhaseStart(2, 2, 3, (TOP, HEAD))))
    assert stream.getvalue().splitlines() == [
        "phase 1 of 2, 1 epoch, trains",
        "depth  role    rate  decay  tensors  parameters",
        "    –  head  0.0002   0.01        1       1,920",
        "phase 2 of 2, 3 epochs, trains",
        "depth  role     rate  decay  tensors  parameters",
        "    6  block  0.0001      0        8       4,992",
        "    –  head   0.0002   0.01        1       1,920",
    ]


@pytest.mark.parametrize(("groups", "shown"), [((HEAD,), False), ((TOP, HEAD), True)])
def test_one_phase_with_one_rate_has_no_table(
    groups: tuple[ParameterGroup, ...], shown: bool
) -> None:
    stream = io.StringIO()
    with Watch(stream, epochs=1, steps=40) as watch:
        watch(replace(step(1), phase=PhaseStart(1, 1, 1, groups)))
    assert ("phase 1 of 1" in stream.getvalue()) is shown


def test_a_terminal_gets_a_bar_which_leaves_the_lines_of_the_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with Watch(stream, epochs=1, steps=3) as watch:
        assert not stream.getvalue(), "a run that is complete already shows no bar"
        for number in (1, 2, 3):
            watch(step(number))
            watch.bar.refresh()  # type: ignore[union-attr]
        watch(evaluation(1, is_best=True, is_last=True))
        watch.bar.refresh()  # type: ignore[union-attr]
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(
        r"epoch 1/1 ━+.* 2/3 loss 1\.5000  lr 3\.0e-05  1,400 tokens/s  0:00 left", shown
    )
    assert "baselines and intervals" in shown
    assert shown.count("train loss 1.2500") == 1
