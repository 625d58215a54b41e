"""Runs with loss terms that report about themselves or keep weights of their own: what their folder
and report hold, and that a stopped run ends with the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tables

from encore import files
from encore.report.write import write_report
from encore.runs.execute import execute
from encore.training.loop import _diagnosed
from encore.training.reports import EvalReport, StepReport
from encore.types import BatchIndex

TERMS = "losses={task: cross_entropy, smart: {name: smart, weight: 2.0}, near: bregman}"


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return execute(tables.prepared(TERMS), tmp_path_factory.mktemp("terms") / "whole").folder


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_figures_about_a_term_are_logged_once_in_50_steps_of_an_epoch(whole: Path) -> None:
    """The epochs have six steps each."""
    steps = lines(whole)
    assert [step["step"] for step in steps if "diagnostics" in step] == [1, 7, 13]
    for step in steps:
        if "diagnostics" in step:
            (term, figures) = next(iter(step["diagnostics"].items()))
            assert (len(step["diagnostics"]), term) == (1, "smart")
            gain = figures["divergence"] / figures["random_divergence"] - 1
            assert figures["gain"] == pytest.approx(gain, abs=1e-9)
            assert figures["step_to_noise"] > 0


def test_each_task_has_its_turn_in_50_steps() -> None:
    order = ["a", "b"] * 40 + ["c"]
    steps = [(BatchIndex(task, 0, number),) for number, task in enumerate(order)]
    found = {number: _diagnosed(steps, number) for number in range(len(steps))}
    assert {number: tasks for number, tasks in found.items() if tasks} == {
        0: {"a"},
        1: {"b"},
        50: {"a"},
        51: {"b"},
        80: {"c"},
    }


def test_the_report_shows_them(whole: Path, tmp_path: Path) -> None:
    page = write_report(whole, tmp_path / "page.html").html.read_text(encoding="utf-8")
    figures = [step["diagnostics"]["smart"] for step in lines(whole) if "diagnostics" in step]
    mean = sum(each["step_to_noise"] for each in figures) / 3
    first, last = figures[0]["step_to_noise"], figures[-1]["step_to_noise"]
    assert "mean of 3 steps" in page
    assert f"step to noise {mean:.3g} ({first:.3g} → {last:.3g})" in page


@pytest.mark.parametrize("until", [4, 12])
def test_a_stopped_run_ends_with_the_same_bytes(
    until: int, whole: Path, tables: Tables, tmp_path: Path
) -> None:
    """In the middle of an epoch, and at the end of one."""

    def watch(report: StepReport | EvalReport) -> None:
        if isinstance(report, StepReport) and report.step == until:
            raise Stop

    one = tables.prepared(TERMS)
    with pytest.raises(Stop):
        execute(one, tmp_path / "runs", watch=watch, checkpoint_steps=2)
    again = execute(one, tmp_path / "runs", checkpoint_steps=2).folder
    for name in (*files.read_json(whole / files.MANIFEST), files.MANIFEST):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name
