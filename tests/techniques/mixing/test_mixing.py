"""Whose turn it is: a function of seed and epoch, exact where it promises to be, and in the right
shares where it draws.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

import pytest

from encore import catalogue
from encore.errors import RecipeError
from encore.techniques.mixing.annealed import Annealed
from encore.techniques.mixing.even import Even
from encore.techniques.mixing.proportional import Proportional
from encore.techniques.mixing.round_robin import RoundRobin
from encore.techniques.mixing.square_root import SquareRoot
from encore.techniques.mixing.sum import Sum
from encore.techniques.mixing.task_by_task import TaskByTask
from encore.techniques.mixing.temperature import Temperature
from encore.types import BatchIndex, Mixing, TaskSize

NAMES = catalogue.names("mixing")
EXTENTS = {"sst": TaskSize(85, 6), "quora": TaskSize(1415, 45), "sts": TaskSize(60, 4)}


def steps(
    mixing: Mixing, epoch: int = 0, *, seed: int = 3, epochs: int = 5
) -> list[tuple[BatchIndex, ...]]:
    return mixing(EXTENTS, seed=seed, epoch=epoch, epochs=epochs)


def draws(mixing: Mixing, epoch: int = 0, *, seed: int = 3) -> list[BatchIndex]:
    return list(chain.from_iterable(steps(mixing, epoch, seed=seed)))


@pytest.mark.parametrize("name", NAMES)
def test_a_mixing_is_a_function_of_seed_and_epoch(name: str) -> None:
    mixing = catalogue.build("mixing", name)
    before = [steps(mixing, epoch) for epoch in range(3)]
    assert [steps(catalogue.build("mixing", name), epoch) for epoch in (2, 0, 1)] == [
        before[2],
        before[0],
        before[1],
    ]
    assert before[0] != before[1]
    assert len({len(epoch) for epoch in before}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_no_row_comes_again_before_all_others_came_as_often(name: str) -> None:
    """The batches of a task are those of one order after the other, over all epochs."""
    mixing = catalogue.build("mixing", name)
    found: dict[str, list[tuple[int, int]]] = {task: [] for task in EXTENTS}
    for epoch in range(4):
        for draw in draws(mixing, epoch):
            found[draw.task].append((draw.order, draw.number))
    for task, numbers in found.items():
        assert numbers == [divmod(count, EXTENTS[task].batches) for count in range(len(numbers))]


def test_there_are_all_the_ways_of_the_papers() -> None:
    assert set(NAMES) >= {
        "even",
        "task_by_task",
        "proportional",
        "square_root",
        "temperature",
        "annealed",
        "round_robin",
        "sum",
    }


@pytest.mark.parametrize("mixing", [Even(), TaskByTask()])
def test_an_epoch_is_every_batch_once(mixing: Mixing) -> None:
    for epoch in range(2):
        assert Counter(draws(mixing, epoch)) == Counter(
            BatchIndex(task, epoch, n)
            for task, extent in EXTENTS.items()
            for n in range(extent.batches)
        )
    assert all(len(step) == 1 for step in steps(mixing))


def test_even_shuffles_the_tasks_and_task_by_task_does_not() -> None:
    tasks = [draw.task for draw in draws(TaskByTask())]
    assert tasks == ["sst"] * 6 + ["quora"] * 45 + ["sts"] * 4
    orders = {
        tuple(draw.task for draw in draws(Even(), epoch, seed=seed))
        for epoch in range(3)
        for seed in range(3)
    }
    assert len(orders) == 9
    assert all(sorted(order) == sorted(tasks) for order in orders)


def test_even_as_its_author_coded_it_begins_a_new_order_for_every_batch() -> None:
    found = [draw for epoch in range(2) for draw in draws(Even(compat="gen"), epoch)]
    assert {draw.number for draw in found} == {0}
    assert len(set(found)) == len(found) == 2 * 55
    assert [draw.task for draw in draws(Even(compat="gen"))] == [
        draw.task for draw in draws(Even())
    ]


def test_only_task_by_task_as_coded_divides_by_the_full_batch_size() -> None:
    assert TaskByTask(compat="gen").nominal
    assert not any(
        mixing.nominal
        for mixing in (
            TaskByTask(),
            Even(),
            Even(compat="gen"),
            Sum(),
            RoundRobin(),
            Proportional(),
            SquareRoot(),
        )
    )


def shares(
    mixing: Mixing, epoch: int = 0, *, epochs: int = 5, seeds: int = 200
) -> tuple[dict[str, float], int]:
    """Observed share of each task, over many seeds, and of how many draws."""
    counted: Counter[str] = Counter()
    for seed in range(seeds):
        counted.update(step[0].task for step in steps(mixing, epoch, seed=seed, epochs=epochs))
    return {task: counted[task] / counted.total() for task in EXTENTS}, counted.total()


@pytest.mark.parametrize(
    ("mixing", "epoch", "power"),
    [
        (Proportional(), 0, 1.0),
        (SquareRoot(), 0, 0.5),
        (Temperature(), 1, 0.2),
        (Temperature(temperature=1.0), 0, 1.0),
        (Annealed(), 0, 1.0),
        (Annealed(), 2, 0.6),
        (Annealed(), 4, 0.2),
        (Annealed(fall=1.0), 4, 0.0),
    ],
)
def test_tasks_are_drawn_by_a_power_of_their_rows(mixing: Mixing, epoch: int, power: float) -> None:
    found, n = shares(mixing, epoch)
    weights = {task: extent.rows**power for task, extent in EXTENTS.items()}
    for task, weight in weights.items():
        expected = weight / sum(weights.values())
        assert abs(found[task] - expected) < 4 * math.sqrt(expected * (1 - expected) / n), (
            task,
            found[task],
            expected,
        )  # four standard errors
    assert n == 200 * 55


@pytest.mark.parametrize(
    "mixing", [Even(), Proportional(), SquareRoot(), Temperature(), Annealed(fall=0.0)]
)
def test_what_is_drawn_is_drawn_anew_in_every_epoch(mixing: Mixing) -> None:
    turns = {
        tuple(draw.task for draw in draws(mixing, epoch, seed=seed))
        for epoch in range(3)
        for seed in range(3)
    }
    assert len(turns) == 9


def test_round_robin_and_sum_are_over_with_the_longest_task() -> None:
    assert [draw.task for draw in draws(RoundRobin())] == ["sst", "quora", "sts"] * 45
    assert [[draw.task for draw in step] for step in steps(Sum())] == [["sst", "quora", "sts"]] * 45
    assert draws(Sum(), 1) == draws(RoundRobin(), 1)
    assert steps(Sum(), 1)[0] == (
        BatchIndex("sst", 7, 3),
        BatchIndex("quora", 1, 0),
        BatchIndex("sts", 11, 1),
    )


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match="temperature: expected a number above 0, got 0"):
        catalogue.build("mixing", {"name": "temperature", "temperature": 0.0})
    with pytest.raises(RecipeError, match=r"fall: expected a number of at .* most 1, got 1\.5"):
        catalogue.build("mixing", {"name": "annealed", "fall": 1.5})
