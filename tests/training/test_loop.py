"""Training as a generator: what it yields, what it depends on, and where it can be left and taken
up again.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
import torch
from conftest import Tables, Warm, write_csv

from encore import catalogue
from encore.data.batches import collate, epoch_order
from encore.encoder.encoder import Frozen
from encore.errors import RecipeError, TrainingError
from encore.model.parameters import unique_parameters
from encore.model.task_model import Branch, TaskModel
from encore.recipe.load import recipe_from
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.techniques.curves.constant import ConstantCurve
from encore.techniques.curves.linear import LinearCurve
from encore.techniques.mixing.task_by_task import TaskByTask
from encore.training.loop import TrainSettings, train_loop
from encore.training.reports import EvalReport, StepReport
from encore.training.state import FitState
from encore.training.streams import Stream
from encore.types import BatchIndex, Phase, Progress, TaskSize

EVEN = catalogue.build("mixing", "even")

Report = StepReport | EvalReport


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_training_rows_are_scored_again_in_eval_mode(tables: Tables, tmp_path: Path) -> None:
    """METHODS, table I: train and dev by epoch. The dev set here is the training set."""
    copy = shutil.copyfile(tables.train, tmp_path / "copy.csv")
    prepared = tables.prepared("plan.score_train=true", "hidden_dropout=0.3", dev=str(copy))
    report = epochs(
        list(train_loop(build_models(prepared), prepared.plan, prepared.streams, prepared.settings))
    )[0]
    train, dev = dict(report.train["train"]), report.dev["train"]["dev"]
    assert train.pop("loss") > 0
    assert train == dev
    usual = epochs(reports(prepared))[0]
    assert usual.dev["train"] == report.dev["train"]
    assert usual.train["train"]["loss"] == report.train["train"]["loss"]
    assert usual.train["train"] != report.train["train"]


def reports(
    prepared: Prepared, *, micro_batch: int | None = None, patience: int | None = None
) -> list[Report]:
    return list(
        train_loop(
            build_models(prepared),
            prepared.plan,
            prepared.streams,
            TrainSettings(
                seed=prepared.recipe.seed, mixing=EVEN, micro_batch=micro_batch, patience=patience
            ),
        )
    )


def steps(found: Sequence[Report]) -> list[StepReport]:
    return [report for report in found if isinstance(report, StepReport)]


def epochs(found: Sequence[Report]) -> list[EvalReport]:
    return [report for report in found if isinstance(report, EvalReport)]


@pytest.fixture(scope="module")
def prepared(tables: Tables) -> Prepared:
    return tables.prepared()


@pytest.fixture(scope="module")
def whole(prepared: Prepared) -> list[Report]:
    return reports(prepared)


@pytest.fixture(scope="module")
def still(
    tables: Tables, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """KEY=VALUE that take all dropout out: scores of a step can be computed again from outside."""
    folder = tmp_path_factory.mktemp("still") / "bert"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    )
    return (f"encoder={folder}", "head.dropout=0")


# -------------------------------------------------------------------------------------- the reports


def test_every_step_and_every_epoch_is_reported_in_order(whole: list[Report]) -> None:
    assert [type(report) for report in whole] == ([StepReport] * 6 + [EvalReport]) * 3
    assert [report.step for report in steps(whole)] == list(range(1, 19))
    assert [report.epoch for report in steps(whole)] == [1] * 6 + [2] * 6 + [3] * 6
    assert [(report.epoch, report.step, report.is_last) for report in epochs(whole)] == [
        (1, 6, False),
        (2, 12, False),
        (3, 18, True),
    ]
    assert {report.steps_in_epoch for report in steps(whole)} == {6}
    assert {report.task for report in steps(whole)} == {"train"}


def test_rows_and_tokens_are_those_of_the_batches(prepared: Prepared, whole: list[Report]) -> None:
    lengths = prepared.streams["train"].train.store.lengths
    assert [report.n_rows for report in steps(whole)] == [9, 9, 9, 9, 9, 7] * 3
    for epoch in range(3):
        order = epoch_order(52, prepared.recipe.seed, "train", epoch)
        expected = [int(lengths[order[start : start + 9]].sum()) for start in range(0, 52, 9)]
        assert [report.n_tokens for report in steps(whole)[6 * epoch : 6 * epoch + 6]] == expected
        assert sum(expected) == len(prepared.streams["train"].train.store.ids)


def test_the_rate_is_the_curve_s(prepared: Prepared, whole: list[Report]) -> None:
    curve = LinearCurve(warmup_frac=0.1)
    assert [report.lr for report in steps(whole)] == [
        0.01 * curve(Progress(step, 18)) for step in range(18)
    ]
    assert steps(whole)[0].lr == 0


def test_an_epoch_s_figures_are_those_of_its_scores(
    prepared: Prepared, whole: list[Report]
) -> None:
    targets = prepared.streams["train"].dev["dev"].targets
    for report in epochs(whole):
        scores = report.scores["train"]["dev"]
        assert scores.shape == (23, 3)
        assert report.dev["train"]["dev"]["accuracy"] == pytest.approx(
            (scores.argmax(axis=1) == targets).mean()
        )
        assert report.selected == report.dev["train"]["dev"]["accuracy"]
    for epoch, report in enumerate(epochs(whole)):
        mine = steps(whole)[6 * epoch : 6 * epoch + 6]
        assert report.train["train"]["loss"] == pytest.approx(
            sum(step.loss * step.n_rows for step in mine) / 52, rel=1e-6
        )


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    prepared: Prepared, whole: list[Report], tables: Tables
) -> None:
    again = reports(prepared)
    assert [report.loss for report in steps(again)] == [report.loss for report in steps(whole)]
    for one, other in zip(epochs(again), epochs(whole), strict=True):
        assert np.array_equal(one.scores["train"]["dev"], other.scores["train"]["dev"])
    other_seed = reports(tables.prepared("seed=43"))
    assert [report.loss for report in steps(other_seed)] != [report.loss for report in steps(whole)]


def test_the_random_state_of_torch_does_not_matter(prepared: Prepared, whole: list[Report]) -> None:
    torch.manual_seed(12345)
    before = torch.random.get_rng_state()
    assert [report.loss for report in steps(reports(prepared))] == [
        report.loss for report in steps(whole)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_learns(tables: Tables) -> None:
    found = reports(tables.prepared("plan.epochs=8", "plan.lr=5e-3"))
    assert epochs(found)[-1].train["train"]["loss"] < 0.9 * epochs(found)[0].train["train"]["loss"]
    assert (
        epochs(found)[-1].dev["train"]["dev"]["accuracy"] > 10 / 23
    )  # what the commonest class gets


# ----------------------------------------------------------------------------- leaving and resuming


def test_a_snapshot_refuses_its_tensors_once_training_has_gone_on(prepared: Prepared) -> None:
    models = build_models(prepared)
    state = FitState(models)
    state.narrow(prepared.streams)
    training = train_loop(
        models,
        prepared.plan,
        prepared.streams,
        TrainSettings(seed=42, mixing=EVEN),
        state=state,
    )
    next(training)
    snapshot = state.snapshot()
    assert snapshot.numbers["step"] == 1
    assert set(snapshot.tensors()) == set(state.tensors())
    next(training)
    assert snapshot.numbers["step"] == 1
    with pytest.raises(RuntimeError, match="training has continued"):
        snapshot.tensors()


@pytest.mark.parametrize("n_taken", [1, 6, 7, 10, 20, 21])
def test_left_early_and_taken_up_with_its_state_it_goes_on_as_if_never_left(
    n_taken: int, prepared: Prepared, whole: list[Report]
) -> None:
    models = build_models(prepared)
    state = FitState(models)
    state.narrow(prepared.streams)
    first = list(
        itertools.islice(
            train_loop(
                models,
                prepared.plan,
                prepared.streams,
                TrainSettings(seed=42, mixing=EVEN),
                state=state,
            ),
            n_taken,
        )
    )
    rest = list(
        train_loop(
            models,
            prepared.plan,
            prepared.streams,
            TrainSettings(seed=42, mixing=EVEN),
            state=state,
        )
    )
    assert len(first) + len(rest) == 21
    assert [report.step for report in [*first, *rest]] == [report.step for report in whole]
    assert [report.loss for report in steps([*first, *rest])] == [
        report.loss for report in steps(whole)
    ]
    assert [report.dev for report in epochs([*first, *rest])] == [
        report.dev for report in epochs(whole)
    ]


@dataclass(frozen=True)
class Joint:
    """Two tasks that share an encoder, of different kinds and lengths, trained in two phases."""

    prepared: Prepared
    streams: Mapping[str, Stream]
    plan: list[Phase]

    def models(self) -> dict[str, TaskModel]:
        built = {
            name: build_models(replace(self.prepared, data={name: data}))[name]
            for name, data in self.prepared.data.items()
        }
        verdict, score = built["verdict"], built["score"]
        return {
            "verdict": verdict,
            "score": TaskModel(
                [Branch(verdict.branches[0].encoder, score.branches[0].pooling)], score.head
            ),
        }

    def start(self) -> tuple[dict[str, TaskModel], FitState]:
        models = self.models()
        state = FitState(models)
        state.narrow(self.streams)
        return models, state

    def go(self, models: Mapping[str, TaskModel], state: FitState) -> list[Report]:
        return list(
            train_loop(
                models,
                self.plan,
                self.streams,
                TrainSettings(seed=5, mixing=EVEN, micro_batch=4),
                state=state,
            )
        )


@pytest.fixture(scope="module", params=[True, False], ids=["fresh", "carried"])
def joint(request: pytest.FixtureRequest, tables: Tables) -> Joint:
    """`carried`: the second phase goes on with the optimiser of the first."""
    one = {
        "verdict": tables.prepared("data.train_rows=20"),
        "score": tables.prepared("data.train_rows=11", label="score", kind="regression"),
    }
    both = replace(
        one["verdict"],
        recipe=one["verdict"].recipe.model_copy(
            update={"tasks": {name: part.recipe.tasks["train"] for name, part in one.items()}}
        ),
        data={name: part.data["train"] for name, part in one.items()},
        poolings={name: part.poolings["train"] for name, part in one.items()},
        pairs={name: part.pairs["train"] for name, part in one.items()},
    )
    streams = {name: replace(part.streams["train"], name=name) for name, part in one.items()}
    tasks = ("verdict", "score")
    plan = [
        Phase(
            tasks,
            epochs=2,
            lr=0.01,
            batch_size=7,
            curve=ConstantCurve(),
            trainable="heads",
            weight_decay=0.1,
        ),
        Phase(
            tasks,
            epochs=2,
            lr=0.005,
            batch_size=7,
            curve=LinearCurve(),
            fresh_optimiser=request.param,
        ),
    ]
    return Joint(both, streams, plan)


def test_at_every_step_the_state_survives_being_written_down(joint: Joint) -> None:
    """Numbers through JSON and tensors by value into new objects: the rest is bit for bit what it
    would have been.
    """
    models, state = joint.start()
    saved = []
    found = []
    for report in train_loop(
        models,
        joint.plan,
        joint.streams,
        TrainSettings(seed=5, mixing=EVEN, micro_batch=4),
        state=state,
    ):
        found.append(report)
        saved.append(
            (
                json.dumps(dict(state.snapshot().numbers)),
                {name: tensor.clone() for name, tensor in state.tensors().items()},
            )
        )
    assert len(found) == 4 * 6
    assert {report.task for report in steps(found)} == {"verdict", "score"}
    end = {
        name: parameter.detach().clone() for name, parameter in unique_parameters(models).items()
    }
    for number in (
        0,
        1,
        5,
        8,
        11,
        15,
        23,
    ):  # the first steps, the ends of epochs and of phases, and some between
        numbers, tensors = saved[number]
        again, resumed = joint.start()
        resumed.restore(json.loads(numbers), tensors, joint.plan)
        rest = joint.go(again, resumed)
        assert [report.step for report in rest] == [report.step for report in found[number + 1 :]]
        assert [(report.task, report.loss, report.grad_norm) for report in steps(rest)] == [
            (r.task, r.loss, r.grad_norm) for r in steps(found[number + 1 :])
        ]
        assert [
            (report.train, report.dev, report.selected, report.is_best, report.best)
            for report in epochs(rest)
        ] == [
            (report.train, report.dev, report.selected, report.is_best, report.best)
            for report in epochs(found[number + 1 :])
        ]
        for name, parameter in unique_parameters(again).items():
            assert torch.equal(parameter, end[name]), (number, name)


# ------------------------------------------------------------------------------------------- phases


def test_a_phase_of_heads_leaves_the_encoder_as_it_is_and_the_next_trains_it(joint: Joint) -> None:
    models, state = joint.start()
    encoder = models["verdict"].branches[0].encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    heads = {
        name: [parameter.clone() for parameter in model.head.parameters()]
        for name, model in models.items()
    }
    generator = train_loop(
        models, joint.plan, joint.streams, TrainSettings(seed=5, mixing=EVEN), state=state
    )
    first = list(itertools.islice(generator, 12))
    assert epochs(first)[-1].epoch == 2
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    for name, model in models.items():
        assert not any(
            torch.equal(new, old)
            for new, old in zip(model.head.parameters(), heads[name], strict=True)
        )
    second = list(generator)
    assert {report.lr for report in steps(first)} == {0.01}
    assert [report.lr for report in steps(second)] == [
        0.005 * LinearCurve()(Progress(step, 10)) for step in range(10)
    ]
    assert [report.epoch for report in epochs([*first, *second])] == [1, 2, 3, 4]
    assert [report.is_last for report in epochs([*first, *second])] == [False, False, False, True]
    after = encoder.state_dict()
    assert not [
        name
        for name, value in before.items()
        if "segment" not in name and torch.equal(after[name], value)
    ]


def test_a_mixing_is_told_of_all_epochs_of_a_run_and_every_model_trains(joint: Joint) -> None:
    models, state = joint.start()
    told: list[tuple[int, int]] = []

    def mixing(
        sizes: Mapping[str, TaskSize], *, seed: int, epoch: int, epochs: int
    ) -> list[tuple[BatchIndex, ...]]:
        told.append((epoch, epochs))
        return [(BatchIndex("score", epoch, 0),)]

    mixing.nominal = False  # type: ignore[attr-defined]
    for model in models.values():
        model.eval()
    for report in train_loop(
        models, joint.plan, joint.streams, TrainSettings(seed=5, mixing=mixing), state=state
    ):  # type: ignore[arg-type]
        if isinstance(report, StepReport):
            assert all(
                module.training for model in models.values() for module in (model, model.head)
            )
    assert set(told) == {(epoch, 4) for epoch in range(4)}


def test_a_short_last_batch_weighs_less_where_its_author_divides_by_the_full_size(
    joint: Joint,
) -> None:
    """METHODS 4.9: by the task's own size, where it has one."""
    streams = {**joint.streams, "score": replace(joint.streams["score"], batch_size=4)}
    for compat, short in ((None, 1.0), ("gen", 6 / 7)):
        models, state = joint.start()
        found = list(
            train_loop(
                models,
                joint.plan[1:],
                streams,
                TrainSettings(seed=5, mixing=TaskByTask(compat=compat)),
                state=state,
            )
        )
        taken = [(report.task, report.n_rows) for report in steps(found)[:6]]
        assert taken == [
            ("verdict", 7),
            ("verdict", 7),
            ("verdict", 6),
            ("score", 4),
            ("score", 4),
            ("score", 3),
        ]
        shares = [report.loss / report.terms["task"] for report in steps(found)[:6]]
        assert shares == pytest.approx([1, 1, short, 1, 1, 1 if compat is None else 3 / 4])


def test_a_frozen_encoder_stays_as_it_is_whatever_the_phase_trains(prepared: Prepared) -> None:
    models = build_models(prepared)
    branch = models["train"].branches[0]
    before = {name: value.clone() for name, value in branch.encoder.state_dict().items()}
    frozen = {
        "train": TaskModel([Branch(Frozen(branch.encoder), branch.pooling)], models["train"].head)
    }
    head = [parameter.clone() for parameter in models["train"].head.parameters()]
    list(train_loop(frozen, prepared.plan, prepared.streams, TrainSettings(seed=42, mixing=EVEN)))
    assert not any(parameter.requires_grad for parameter in branch.encoder.parameters())
    assert all(
        torch.equal(value, before[name]) for name, value in branch.encoder.state_dict().items()
    )
    assert not any(
        torch.equal(new, old)
        for new, old in zip(models["train"].head.parameters(), head, strict=True)
    )


# ----------------------------------------------------------------- the best epoch, and when to stop


@pytest.mark.parametrize(("metric", "sign", "n_rows"), [("accuracy", 1, 3), ("log_loss", -1, 23)])
def test_the_first_metric_decides_which_epoch_is_best(
    metric: str, sign: int, n_rows: int, tables: Tables, tmp_path: Path
) -> None:
    """Of equal epochs the first; so few rows to measure on have equal ones."""
    rows = pyarrow.csv.read_csv(tables.dev).to_pydict()
    dev = write_csv(
        tmp_path / "dev.csv", {column: values[-n_rows:] for column, values in rows.items()}
    )
    found = epochs(
        reports(
            replace(tables, dev=dev).prepared(
                "plan.epochs=7", "plan.lr=5e-3", f"metrics=[{metric}, macro_f1]"
            )
        )
    )
    figures = [sign * report.dev["train"]["dev"][metric] for report in found]
    assert [report.selected for report in found] == figures
    assert [report.is_best for report in found] == [
        figure > max(figures[:epoch], default=-math.inf) for epoch, figure in enumerate(figures)
    ]
    assert not all(report.is_best for report in found)
    if n_rows == 3:
        assert any(figure == max(figures[:epoch]) for epoch, figure in enumerate(figures) if epoch)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_it_stops_after_so_many_epochs_without_a_better_one(patience: int, tables: Tables) -> None:
    prepared = tables.prepared("plan.epochs=8", "plan.lr=5e-3")
    free = epochs(reports(prepared))
    waits = list(
        itertools.accumulate(
            (report.is_best for report in free),
            lambda waited, best: 0 if best else waited + 1,
            initial=0,
        )
    )[1:]
    last = waits.index(patience) + 1 if patience in waits else 8
    stopped = epochs(reports(prepared, patience=patience))
    assert [report.epoch for report in stopped] == list(range(1, last + 1))
    assert [report.is_last for report in stopped] == [False] * (last - 1) + [True]
    assert [report.dev for report in stopped] == [
        report.dev for report in free[:last]
    ]  # the rate's curve does not know that it will stop
    assert last < 8 or patience == 3


def test_of_several_dev_sets_the_first_decides(tables: Tables, tmp_path: Path) -> None:
    rows = pyarrow.csv.read_csv(tables.dev).to_pydict()
    for name, chosen in (("few", slice(0, 7)), ("many", slice(5, None))):
        write_csv(
            tmp_path / f"{name}.csv", {column: values[chosen] for column, values in rows.items()}
        )
    found = {}
    for order in (("few", "many"), ("many", "few")):
        dev = {name: str(tmp_path / f"{name}.csv") for name in order}
        mapping = {
            "tasks": {
                "train": {
                    "data": {
                        "train": str(tables.train),
                        "dev": dev,
                        "text": "text",
                        "label": "verdict",
                    }
                }
            }
        }
        found[order[0]] = epochs(reports(prepare(recipe_from(mapping, tables.settings))))
    for first, reported in found.items():
        assert all(next(iter(report.dev["train"])) == first for report in reported)
        assert [report.selected for report in reported] == [
            report.dev["train"][first]["accuracy"] for report in reported
        ]
        assert [report.scores["train"]["few"].shape for report in reported] == [(7, 3)] * 3
        assert [report.scores["train"]["many"].shape for report in reported] == [(18, 3)] * 3
    for one, other in zip(
        found["few"], found["many"], strict=True
    ):  # which set decides does not change what is learnt
        assert np.array_equal(one.scores["train"]["few"], other.scores["train"]["few"])
        assert np.allclose(
            one.scores["train"]["few"][5:], one.scores["train"]["many"][:2], atol=1e-6
        )  # the rows that both hold


# ----------------------------------------------------------------- weights, sampling, micro-batches


def verdicts(tables: Tables) -> list[str]:
    return pyarrow.csv.read_csv(tables.train)["verdict"].to_pylist()


def losses_by_hand(
    prepared: Prepared, per_label: Mapping[str, float], labels: Sequence[str]
) -> list[float]:
    """The loss of each batch of the first epoch at the initial weights: Σ w·(−log p(truth)) / Σ w,
    in float64, one row at a time.
    """
    model = build_models(prepared)["train"].eval()
    stream = prepared.streams["train"]
    names = list(stream.labels.names)
    order = epoch_order(len(labels), prepared.recipe.seed, "train", 0, stream.sampling_weights)
    found = []
    for start in range(0, len(order), 9):
        total = weight = 0.0
        for row in order[start : start + 9].tolist():
            with torch.no_grad():
                scores = (
                    model(collate(stream.train.store, np.array([row]))).scores[0].double().numpy()
                )
            log_p = scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
            total -= per_label[labels[row]] * log_p[names.index(labels[row])]
            weight += per_label[labels[row]]
        found.append(total / weight)
    return found


@pytest.mark.parametrize(
    "asked",
    ["class_weights={good: 3.5, bad: 0.25}", "class_weights=balanced", "class_weights=null"],
)
def test_class_weights_by_name_weigh_the_loss(
    asked: str, tables: Tables, still: tuple[str, ...]
) -> None:
    prepared = tables.prepared(
        *still, asked, "plan.epochs=1", "plan.lr=1e-12"
    )  # so small a rate leaves the weights as good as they are
    labels = verdicts(tables)
    counts = Counter(labels)
    assert len(set(counts.values())) > 1
    per_label = {
        "class_weights={good: 3.5, bad: 0.25}": {"bad": 0.25, "fair": 1.0, "good": 3.5},
        "class_weights=balanced": {name: 52 / (3 * count) for name, count in counts.items()},
        "class_weights=null": dict.fromkeys(counts, 1.0),
    }[asked]
    assert np.allclose(
        prepared.streams["train"].train.weights, [per_label[label] for label in labels]
    )
    assert set(prepared.streams["train"].dev["dev"].weights) == {1.0}
    found = reports(prepared)
    by_hand = losses_by_hand(prepared, per_label, labels)
    assert [report.loss for report in steps(found)] == pytest.approx(by_hand, rel=1e-5)
    order = epoch_order(52, 42, "train", 0)
    sums = [
        sum(per_label[labels[row]] for row in order[start : start + 9]) for start in range(0, 52, 9)
    ]
    assert epochs(found)[0].train["train"]["loss"] == pytest.approx(
        np.average(by_hand, weights=sums), rel=1e-5
    )


@pytest.mark.parametrize(
    ("override", "data", "complaint"),
    [
        ("class_weights={best: 2}", {}, "no label called 'best'. Known: bad, fair, good"),
        ("class_weights=balanced", {"label": "tags"}, "multilabel task"),
        ("sampling=balanced", {"label": "tags"}, "multilabel task"),
    ],
)
def test_weights_that_fit_no_label_are_refused(
    override: str, data: dict[str, Any], complaint: str, tables: Tables
) -> None:
    with pytest.raises(RecipeError) as error:
        tables.prepared(override, **data)
    assert complaint in str(error.value)


def test_balanced_sampling_draws_every_label_equally_often(
    tables: Tables, still: tuple[str, ...], tmp_path: Path
) -> None:
    rows = pyarrow.csv.read_csv(tables.train).to_pydict()
    rows["verdict"] = ["good"] * 40 + ["bad"] * 9 + ["fair"] * 3
    (tmp_path / "train").mkdir()
    skewed = replace(tables, train=write_csv(tmp_path / "train" / "train.csv", rows))
    prepared = skewed.prepared(*still, "sampling=balanced", "plan.epochs=1", "plan.lr=1e-12")
    stream = prepared.streams["train"]
    assert stream.sampling_weights is not None
    labels = np.array(rows["verdict"])
    for name, count in (("good", 40), ("bad", 9), ("fair", 3)):
        assert np.allclose(stream.sampling_weights[labels == name], 1 / (3 * count))
    drawn = np.concatenate(
        [epoch_order(52, 42, "train", epoch, stream.sampling_weights) for epoch in range(300)]
    )
    for name in ("good", "bad", "fair"):
        share = (labels[drawn] == name).mean()
        assert abs(share - 1 / 3) < 4 * math.sqrt(2 / 9 / len(drawn))  # four standard errors
    found = reports(prepared)
    assert [report.n_rows for report in steps(found)] == [9, 9, 9, 9, 9, 7]
    by_hand = losses_by_hand(prepared, {"good": 1.0, "bad": 1.0, "fair": 1.0}, rows["verdict"])
    assert [report.loss for report in steps(found)] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("size", [1, 4, 9])
@pytest.mark.parametrize("override", ["seed=42", "class_weights={good: 3.5, bad: 0.25}"])
def test_micro_batches_do_not_change_the_result(size: int, override: str, tables: Tables) -> None:
    """Dropout is on: every row draws what the whole batch would have drawn for it."""
    prepared = tables.prepared(override)
    assert prepared.source.config.get("hidden_dropout_prob", 0.1) > 0
    together, apart = reports(prepared), reports(prepared, micro_batch=size)
    assert [report.loss for report in steps(apart)] == pytest.approx(
        [report.loss for report in steps(together)], rel=2e-5
    )
    assert [report.grad_norm for report in steps(apart)] == pytest.approx(
        [report.grad_norm for report in steps(together)], rel=1e-3
    )
    for one, other in zip(epochs(apart), epochs(together), strict=True):
        assert np.allclose(one.scores["train"]["dev"], other.scores["train"]["dev"], atol=1e-3)
    if size == 9:
        assert [report.loss for report in steps(apart)] == [
            report.loss for report in steps(together)
        ]


def test_loss_terms_are_logged_before_their_weight(tables: Tables, prepared: Prepared) -> None:
    stream = prepared.streams["train"]
    ((_, loss),) = stream.losses.values()
    streams = {"train": replace(stream, losses={"task": (0.5, loss), "again": (2.0, loss)})}
    first = next(
        train_loop(
            build_models(prepared), prepared.plan, streams, TrainSettings(seed=42, mixing=EVEN)
        )
    )
    plain = next(
        train_loop(
            build_models(prepared),
            prepared.plan,
            prepared.streams,
            TrainSettings(seed=42, mixing=EVEN),
        )
    )
    assert isinstance(first, StepReport)
    assert isinstance(plain, StepReport)
    assert first.terms == {"task": plain.loss, "again": plain.loss}
    assert first.loss == pytest.approx(2.5 * plain.loss)
    assert first.grad_norm == pytest.approx(2.5 * plain.grad_norm, rel=1e-5)


# ---------------------------------------------------------------------------------- what goes wrong


@pytest.fixture(scope="module")
def hopeless(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Scores so large that their squares are infinite in float32."""
    folder = tmp_path_factory.mktemp("hopeless")
    for name in ("train", "dev"):
        rows = pyarrow.csv.read_csv(getattr(tables, name)).to_pydict()
        write_csv(
            folder / f"{name}.csv",
            {"text": rows["text"], "score": [f"{1e25 * value:.3e}" for value in rows["score"]]},
        )
    return replace(tables, train=folder / "train.csv", dev=folder / "dev.csv")


def test_a_loss_that_is_not_finite_ends_training_in_one_line(hopeless: Tables) -> None:
    prepared = hopeless.prepared(label="score", kind="regression")
    with pytest.raises(TrainingError) as error:
        reports(prepared)
    (line,) = error.value.lines
    assert line.startswith(
        "step 1: the loss is not finite (task = inf). Check the weights of the encoder: they may "
        "not be finite. Or try precision=fp32."
    )


def test_weights_that_are_not_finite_end_training_at_the_next_step(prepared: Prepared) -> None:
    models = build_models(prepared)
    found = train_loop(models, prepared.plan, prepared.streams, TrainSettings(seed=42, mixing=EVEN))
    next(found)
    with torch.no_grad():
        next(models["train"].head.parameters())[0] = math.nan
    with pytest.raises(TrainingError, match=r"^step 2: the loss is not finite \(task = nan\)"):
        next(found)


def test_the_command_ends_with_4_and_one_line(hopeless: Tables, warm: Warm, tmp_path: Path) -> None:
    words = [
        "train",
        hopeless.train,
        "--dev",
        hopeless.dev,
        "--text",
        "text",
        "--label",
        "score",
        *hopeless.settings,
        "data.kind=regression",
    ]
    words += ["--runs", tmp_path]
    for _ in range(2):  # the same command again says the same
        ended = warm.run(words)
        assert ended.code == 4
        assert [
            line for line in ended.err.splitlines() if "not finite" in line
        ] == ended.err.splitlines()[-1:]
        assert "Traceback" not in ended.err
        (folder,) = tmp_path.iterdir()
        assert not list((folder / "checkpoint").iterdir())
        assert not (folder / "manifest.json").exists()


def test_a_batch_of_rows_that_do_not_count_moves_nothing(prepared: Prepared) -> None:
    """Class weights may be 0, and then a batch may have no weight to divide by."""
    stream = prepared.streams["train"]
    none = replace(stream.train, weights=np.zeros(len(stream.train), np.float32))
    models = build_models(prepared)
    before = [parameter.clone() for parameter in models["train"].head.parameters()]  # type: ignore[attr-defined]
    settings = TrainSettings(seed=42, mixing=EVEN)
    report = next(
        train_loop(models, prepared.plan, {"train": replace(stream, train=none)}, settings)
    )
    assert isinstance(report, StepReport)
    assert report.loss == report.grad_norm == 0
    assert all(map(torch.equal, models["train"].head.parameters(), before))  # type: ignore[attr-defined]
