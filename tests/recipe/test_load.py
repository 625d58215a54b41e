"""Recipes: what a key means, where defaults come from, what overrides do, the way back to YAML, and
every mistake with its place and remedy.
"""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import encore.techniques.heads
import encore.techniques.plans
from encore import catalogue
from encore.errors import Problem, RecipeError, did_you_mean
from encore.experiments.variants import load_study
from encore.recipe.data_recipe import DataRecipe
from encore.recipe.load import load_recipe, recipe_for_file, recipe_from
from encore.recipe.messages import SYNONYMS
from encore.recipe.schema import PlanRecipe, Recipe, TaskRecipe
from encore.recipe.technique import Technique, Term
from encore.recipe.values import from_python
from encore.recipe.write import anchored, resolved, to_yaml

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "recipe").glob("*.yaml"))
# complaints list what is known: fixed here, so that a new technique changes no expected text
CATALOGUE = {
    "pooling": ("cls", "mean", "pooler"),
    "heads": ("linear",),
    "losses": ("binary_cross_entropy", "cross_entropy", "mse"),
    "curves": ("constant", "linear"),
    "plans": ("fine_tune",),
    "metrics": ("accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman"),
    "sharing": ("branch", "one", "separate"),
    "mixing": ("even", "round_robin", "sum"),
    "pairs": ("cross", "siamese"),
    "combine": ("pcgrad",),
}


@pytest.fixture
def catalogue_of_today(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("catalogue")
    for kind, names in CATALOGUE.items():
        (root / catalogue.folder(kind)).mkdir()
        for name in names:
            (root / catalogue.folder(kind) / f"{name}.py").touch()
    monkeypatch.setattr(catalogue, "_HERE", root)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes recipe.yaml into the working directory."""
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> str:
        Path("recipe.yaml").write_text(text, encoding="utf-8")
        return "recipe.yaml"

    return written


def problems_of(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        call()
    return caught.value.lines


# --------------------------------------------------------------------------- mistakes, word by word


def test_there_are_golden_mistakes() -> None:
    assert len(GOLDEN) >= 30


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.stem)
def test_a_mistake_is_told_with_place_and_remedy(
    case: Path, write: Callable[[str], str], catalogue_of_today: None
) -> None:
    overrides = case.with_suffix(".overrides")
    problems = problems_of(
        lambda: load_recipe(
            write(case.read_text("utf-8")),
            overrides.read_text("utf-8").splitlines() if overrides.exists() else (),
        )
    )
    assert "\n".join(problems) + "\n" == case.with_suffix(".txt").read_text("utf-8")


def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rte.yaml").write_text("task: rte")
    Path("latin.yaml").write_bytes(b"task: rte\nsource: Caf\xe9\n")
    Path("utf16.yaml").write_bytes("task: rte\n".encode("utf-16"))
    assert problems_of(lambda: load_recipe("rtee.yaml")) == (
        "rtee.yaml: no such file. Did you mean 'rte.yaml'?",
    )
    assert problems_of(lambda: load_recipe("nowhere/x.yaml")) == (
        "nowhere/x.yaml: no such folder as 'nowhere'. Check the path.",
    )
    assert problems_of(lambda: load_recipe(".")) == (
        ".: expected a recipe file, got a folder. Name the .yaml file in it.",
    )
    assert problems_of(lambda: load_recipe("latin.yaml")) == (
        "latin.yaml:2: not UTF-8 text (byte 0xe9). Save the file as UTF-8.",
    )
    assert problems_of(lambda: load_recipe("utf16.yaml")) == (
        "utf16.yaml:1: not UTF-8 text (byte 0xff). Save the file as UTF-8.",
    )


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbftask: rte\r\nplan:\r\n  lr: 2e-5\r\n")
    assert load_recipe(tmp_path / "r.yaml").plan.lr == 2e-5


def test_after_twenty_problems_the_rest_is_counted() -> None:
    problems = problems_of(
        lambda: recipe_from({"task": "rte", **{f"unknown{i}": i for i in range(27)}})
    )
    assert len(problems) == 21
    assert problems[-1] == "… and 7 more"


def test_problems_come_in_the_order_of_the_file(write: Callable[[str], str]) -> None:
    problems = problems_of(
        lambda: load_recipe(
            write(
                "plan: {lr: 0}\nseed: x\ntask: rte\nmax_length: 1\n" + "# \n" * 8 + "nonsense: 1\n"
            )
        )
    )
    assert [problem.split()[0] for problem in problems] == [
        "recipe.yaml:1",
        "recipe.yaml:2",
        "recipe.yaml:4",
        "recipe.yaml:13",
    ]


def test_a_problem_is_a_value_with_its_place_and_parts(write: Callable[[str], str]) -> None:
    path = write("task: rte\nmax_length: '64'\nhead: {name: linear, dropout: 2}")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["pooling=men"])
    assert caught.value.problems == (
        Problem(
            where="recipe.yaml",
            line=2,
            setting="max_length",
            expected="a whole number of at least 8",
            got="'64'",
            remedy="Write 64.",
        ),
        Problem(
            where="recipe.yaml",
            line=3,
            setting="head.dropout",
            expected="a number of at least 0 and below 1",
            got="2",
        ),
        Problem(
            where="override pooling=men",
            message="no pooling called 'men'.",
            remedy=did_you_mean("men", catalogue.names("pooling")),
        ),
    )


def test_a_problem_names_the_option_that_its_value_came_with() -> None:
    text, label = (from_python("body", where=f"--{name}") for name in ("text", "label"))
    same = "the column 'body' is already data.text. Name another column."
    assert problems_of(lambda: recipe_for_file("a.csv", text=text, label=label)) == (
        f"--label: {same}",
    )
    changes = [(("data", "text"), text), (("data", "label"), label)]
    assert problems_of(lambda: recipe_from({"task": "rte"}, changes))[-1] == f"--label: {same}"
    assert problems_of(lambda: recipe_for_file("a.csv", text="body", label="body")) == (
        f"tasks.a.data.label: {same}",
    )
    recipe = recipe_for_file("a.csv", ["data.label=stars"], text=text, label=label)
    assert recipe.tasks["a"].data.label == "stars", "what is typed as an override wins"
    steps = ("tasks", "a", "data")
    assert str(recipe.problem((*steps, "text"), "is empty.")) == "--text: is empty."
    assert str(recipe.problem((*steps, "seed"), "is odd.")) == "tasks.a.data.seed: is odd."


def test_every_synonym_leads_to_a_setting_that_exists() -> None:
    words = [word for group in SYNONYMS.values() for word in group.split()]
    assert len(words) == len(set(words)) > 150
    known = {"task", *Recipe.model_fields, *TaskRecipe.model_fields, "head.dropout"}
    known |= {f"plan.{key}" for key in PlanRecipe.model_fields} | {
        f"data.{key}" for key in DataRecipe.model_fields
    }
    assert set(SYNONYMS) <= known
    assert not set(words) & known, "a word that is a key itself needs no synonym"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("learning_rate", "plan.lr"),
        ("num_train_epochs", "plan.epochs"),
        ("batch", "plan.batch_size"),
        ("model", "encoder"),
        ("max_len", "max_length"),
        ("warmup", "plan.warmup_frac"),
        ("dropout", "head.dropout"),
        ("Learning-Rate", "plan.lr"),
        ("lr", "plan.lr"),
        ("label", "data.label"),
        ("loss", "losses"),
    ],
)
def test_what_newcomers_type_is_understood(typed: str, meant: str) -> None:
    assert problems_of(lambda: recipe_from({"task": "rte", typed: "1"})) == (
        f"{typed}: no such setting. Did you mean '{meant}'?",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dev": 5},
            "data.dev: expected a file, or several named ones such as {matched: a.csv, "
            "mismatched: b.csv}, got 5.",
        ),
        ({"dev": {"a": 5}}, "data.dev.a: expected a file, got 5."),
        (
            {"dev": {"train": "a.csv"}},
            "data.dev.train: a dev set cannot be called 'train'. Give it another name.",
        ),
        ({"labels": ["a"]}, "data.labels: expected at least two labels, got 1."),
        (
            {"labels": ["a", ["b"]]},
            "data.labels: expected the name of a label, got the list [b]. Put it in quotes if "
            "that is its name.",
        ),
        ({"labels": ["a", "a"]}, "data.labels: the label 'a' is listed twice. Keep one."),
        (
            {"label_separator": "ab"},
            "data.label_separator: expected one character, such as ';' or ',', got 'ab'.",
        ),
    ],
)
def test_a_wrong_data_setting_is_told_with_what_is_expected(
    given: dict[str, Any], message: str
) -> None:
    data = {"train": "a.csv", **given}
    assert message in problems_of(lambda: recipe_from({"task": "x", "data": data}))


# ------------------------------------------------------------------------------ what a recipe means


def test_a_named_task_needs_one_line(write: Callable[[str], str]) -> None:
    recipe = load_recipe(write("task: rte"))
    assert (
        recipe
        == recipe_from({"tasks": {"rte": {}}}, base=".")
        == recipe_from({"tasks": {"rte": None}}, base=".")
    )
    assert (recipe.encoder, recipe.precision, recipe.seed, recipe.threads) == (
        "minilm",
        "auto",
        42,
        None,
    )
    assert recipe.tasks == {"rte": TaskRecipe()}
    task = recipe.tasks["rte"]
    assert (task.pooling, task.head, task.losses, task.metrics) == (
        None,
        Technique("linear"),
        {"task": Term(None, 1.0)},
        None,
    )
    assert (task.max_length, task.truncation, task.class_weights, task.sampling, task.data) == (
        128,
        "head",
        None,
        None,
        DataRecipe(),
    )
    plan = recipe.plan
    assert (
        plan.name,
        plan.epochs,
        plan.lr,
        plan.batch_size,
        plan.micro_batch,
        plan.warmup_frac,
    ) == ("fine_tune", None, None, 32, None, 0.1)
    assert (plan.curve, plan.weight_decay, plan.clip_norm, plan.keep, plan.early_stopping) == (
        Technique("linear"),
        0.01,
        1.0,
        "last",
        None,
    )


def test_the_example_of_the_design_loads(write: Callable[[str], str]) -> None:
    recipe = load_recipe(
        write("""\
source: "SerBERTus, Table 7"
expect: {sts.pearson: 0.8986}
encoder: bert-base-uncased
sharing: {name: branch, own_layers: 2}
tasks:
  quora: {losses: {task: binary_cross_entropy}}
  sts:
    pooling: pooler
    head: {name: linear, dropout: 0.0}
    data: {train: sts/train.csv, dev: {a: sts/dev.csv, b: other.csv}, text: sentence1, text_pair: sentence2, label: similarity, kind: regression}
    losses: {task: mse, again: {name: mse, weight: 15}}
    metrics: [pearson, spearman]          # the first one decides
plan: {epochs: 10, lr: 1e-5, weight_decay: 1E-4, mixing: even, keep: best}
""")  # noqa: E501
    )
    task = recipe.tasks["sts"]
    assert task.pooling == {"name": "pooler"}
    assert task.head == {"name": "linear", "dropout": 0.0}
    assert task.losses == {
        "task": Term(Technique("mse"), 1.0),
        "again": Term(Technique("mse"), 15.0),
    }
    assert task.metrics == ("pearson", "spearman")
    assert (recipe.sharing, recipe.plan.mixing) == (
        Technique("branch", {"own_layers": 2}),
        Technique("even"),
    )
    assert (recipe.plan.lr, recipe.plan.weight_decay, recipe.expect) == (
        1e-5,
        1e-4,
        {"sts.pearson": 0.8986},
    )
    assert recipe.path(task.data.train) == Path.cwd() / "sts/train.csv"


def test_a_shared_setting_holds_where_a_task_has_no_own() -> None:
    recipe = recipe_from(
        {
            "pooling": "mean",
            "max_length": 64,
            "data": {"text": "body", "label": "stars"},
            "tasks": {"a": {"max_length": 32, "data": {"train": "a.csv", "label": 5}}},
        }
    )
    task = recipe.tasks["a"]
    assert (task.pooling, task.max_length) == (Technique("mean"), 32)
    assert (task.data.text, task.data.label, task.data.train) == ("body", "5", "a.csv")


def test_labels_and_columns_are_text_as_they_were_written(write: Callable[[str], str]) -> None:
    data = (
        load_recipe(
            write(
                "tasks: {a: {data: {train: a.csv, label: 3, text: 0.50, labels: [01, 2, true, "
                "no]}}}"
            )
        )
        .tasks["a"]
        .data
    )
    assert (data.label, data.text, data.labels) == ("3", "0.50", ("01", "2", "true", "no"))
    data = (
        load_recipe(
            write(
                "tasks: {a: {data: {train: a.csv, labels: {0: negative, 1: 007}}, "
                "class_weights: {007: 2}}}"
            )
        )
        .tasks["a"]
        .data
    )
    assert data.labels == {"0": "negative", "1": "007"}


def test_a_section_with_nothing_in_it_sets_nothing() -> None:
    assert recipe_from(
        {"task": "rte", "plan": None, "data": None, "losses": None, "expect": None}
    ) == recipe_from({"task": "rte"})


def test_a_bare_name_and_its_mapping_are_the_same_choice() -> None:
    short = recipe_from(
        {
            "task": "rte",
            "head": "linear",
            "plan": "fine_tune",
            "metrics": "f1",
            "losses": {"task": "cross_entropy"},
        }
    )
    long = {
        "task": "rte",
        "head": {"name": "linear"},
        "plan": {"name": "fine_tune"},
        "metrics": ["f1"],
        "losses": {"task": {"name": "cross_entropy", "weight": 1}},
    }
    assert short == recipe_from(long)
    assert recipe_from({"task": "rte", "head": {"dropout": 0.2}}).tasks["rte"].head == {
        "name": "linear",
        "dropout": 0.2,
    }
    assert recipe_from({"task": "rte", "losses": {"task": {"weight": 2}}}).tasks["rte"].losses == {
        "task": Term(None, 2.0)
    }


def test_a_delimiter_may_be_called_tab() -> None:
    assert [
        recipe_from({"task": "rte", "data": {"delimiter": given}}).tasks["rte"].data.delimiter
        for given in ("tab", "\\t", "\t", ";")
    ] == [
        "\t",
        "\t",
        "\t",
        ";",
    ]


def test_normalisations_are_those_of_the_named_tasks() -> None:
    from encore.data.settings import NORMALISATIONS

    for how in NORMALISATIONS:
        assert (
            recipe_from({"task": "rte", "data": {"normalise": how}}).tasks["rte"].data.normalise
            == how
        )
    assert problems_of(lambda: recipe_from({"task": "rte", "data": {"normalise": "lower"}})) == (
        f"data.normalise: expected one of {', '.join(NORMALISATIONS)} or null, got 'lower'.",
    )


def test_every_way_to_cut_that_the_tokenizer_has_can_be_asked_for() -> None:
    from encore.data.token_store import Truncation

    for how in get_args(Truncation):
        assert recipe_from({"task": "rte", "truncation": how}).tasks["rte"].truncation == how
    assert problems_of(lambda: recipe_from({"task": "rte", "truncation": "middle"})) == (
        f"truncation: expected one of {', '.join(get_args(Truncation))}, got 'middle'. Did you "
        f"mean 'head_tail'?",
    )


def test_the_averages_that_can_be_expected_are_those_of_comparisons() -> None:
    from encore.experiments import task_averages
    from encore.recipe.expectations import AVERAGES

    assert set(task_averages._AVERAGES) == set(AVERAGES)


def test_what_other_studies_report_may_be_expected(write: Callable[[str], str]) -> None:
    text = (
        "each: {tasks: [{a: {data: {train: a.csv}}}, {b: {data: {train: b.csv, dev: {x: x.csv}}}}]}"
        "\nexpect: {a.f1: 0.5, b.x.f1: 0.6}\n"
    )
    path = write(text)
    (a, b) = (study.recipe for study in load_study(path, ["seeds=[1]"]).cells)
    assert (a.expect, b.expect) == ({"a.f1": 0.5}, {"b.x.f1": 0.6})
    path = write(text.replace("b.x.f1", "b.y.f1"))
    assert problems_of(lambda: load_study(path, ["seeds=[1]"])) == (
        "recipe.yaml:2 expect.b.y.f1: task 'b' has no dev set called 'y'. Known: x.",
    )


def test_a_recipe_is_frozen_and_can_be_copied_and_sent_to_another_process() -> None:
    recipe = recipe_from(
        {
            "task": "rte",
            "head": {"name": "linear", "dropout": 0.2},
            "losses": {"task": {"weight": 2}},
        }
    )
    with pytest.raises(Exception, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        recipe.tasks["rte"].head.name = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe) == recipe


def test_a_plan_is_built_from_its_own_spec() -> None:
    recipe = recipe_from(
        {"task": "rte", "plan": {"lr": 2e-5, "epochs": 3, "clip_norm": None, "keep": "best"}}
    )
    (phase,) = catalogue.build("plans", recipe.plan.spec)(("rte",))
    assert (phase.lr, phase.epochs, phase.clip_norm, phase.tasks) == (2e-5, 3, None, ("rte",))


def test_reading_a_recipe_imports_nothing_heavy() -> None:
    code = (
        "import sys; from encore.recipe.load import recipe_from; recipe_from({'tasks': {'a': "
        "{'data': {'train': 'a.csv'}, 'pooling': 'mean', "
        "'losses': {'task': 'mse'}, "
        "'metrics': 'f1'}}, 'plan': {'curve': 'linear'}}); print(sorted({'torch', 'numpy', "
        "'pyarrow', 'sklearn', 'tokenizers'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(encore.__file__).parents[1],
        ).stdout
        == "[]\n"
    )


# -------------------------------------------------------------------- settings of a technique's own


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A head with a setting of every type, and a plan with settings of its own, in real files."""
    for kind, package, source in (
        (
            "heads",
            encore.techniques.heads,
            """\
from __future__ import annotations
from typing import TYPE_CHECKING, Annotated, Literal
from pydantic import Field
if TYPE_CHECKING:
    from nowhere import Tensor
__all__ = ["Odd"]
class Odd:
    def __init__(self, width: int, start: Tensor, *, depth: int = 3, rate: float = 0.5, cap: float | None = None, mode: Literal["a", "b"] = "a",
                 bias: bool = True, sizes: tuple[int, ...] = (1, 2), start_at: Tensor | None = None, free=1, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1) -> None: ...
""",  # noqa: E501
        ),
        (
            "plans",
            encore.techniques.plans,
            "__all__ = ['odd']\ndef odd(tasks, *, epochs: int = 4, lr: float = 5e-5, "
            "probe_epochs: int = 1, probe_lr: float = 1e-3): return []\n",
        ),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "odd.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    names = catalogue.names
    monkeypatch.setattr(
        catalogue,
        "names",
        lambda kind: (*names(kind), "odd") if kind in ("heads", "plans") else names(kind),
    )
    yield
    for kind in ("heads", "plans"):
        sys.modules.pop(f"encore.techniques.{kind}.odd", None)


def test_settings_that_fit_are_taken_in_the_order_of_the_constructor(odd: None) -> None:
    given = {
        "free": [1, {"a": 2}],
        "sizes": [3, 4],
        "rate": 1,
        "name": "odd",
        "cap": None,
        "mode": "b",
        "bias": False,
        "start_at": "anything",
    }
    head = recipe_from({"task": "rte", "head": given}).tasks["rte"].head
    assert list(head.items()) == [
        ("name", "odd"),
        ("rate", 1.0),
        ("cap", None),
        ("mode", "b"),
        ("bias", False),
        ("sizes", (3, 4)),
        ("start_at", "anything"),
        ("free", [1, {"a": 2}]),
    ]
    assert isinstance(head["rate"], float)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 2.5}, "head.depth: expected a whole number, got 2.5."),
        ({"depth": "3"}, "head.depth: expected a whole number, got '3'. Write 3."),
        ({"depth": True}, "head.depth: expected a whole number, got true."),
        ({"depth": None}, "head.depth: expected a whole number, got nothing."),
        ({"rate": [1]}, "head.rate: expected a number, got the list [1]."),
        ({"cap": "none"}, "head.cap: expected a number or null, got 'none'. Write null."),
        ({"mode": "c"}, "head.mode: expected one of a, b, got 'c'."),
        ({"bias": "yes"}, "head.bias: expected true or false, got 'yes'. Write true."),
        ({"bias": 1}, "head.bias: expected true or false, got 1."),
        ({"sizes": [1, "x"]}, "head.sizes: expected a list, got the list [1, x]."),
        (
            {"name": "siamese_concat", "parts": ["u", "w"]},
            "head.parts: expected a list of u, v, n, difference, product, got the list [u, w].",
        ),
        ({"dropout": 1}, "head.dropout: expected a number of at least 0 and below 1, got 1."),
        (
            {"dept": 1},
            "head.dept: head 'odd' has no setting 'dept'. Did you mean 'depth'? Known: bias, "
            "cap, depth, dropout, free, mode, rate, sizes, start_at.",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    odd: None, setting: dict[str, Any], message: str
) -> None:
    assert problems_of(
        lambda: recipe_from({"task": "rte", "head": {"name": "odd", **setting}})
    ) == (message,)


def test_gradients_are_combined_under_any_mixing_of_all_tasks_per_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = {name: {"data": {"train": f"{name}.csv"}} for name in ("a", "b")}

    def mixed(name: str) -> Recipe:
        plan = {"mixing": name, "combine": "pcgrad"}
        return recipe_from({"encoder": "e", "tasks": tasks, "plan": plan})

    with pytest.raises(RecipeError, match=r"even has one task in each\. Write mixing: sum\.$"):
        mixed("even")
    with pytest.raises(RecipeError, match="round_robin has one task in each"):
        mixed("round_robin")
    monkeypatch.setattr(catalogue.find("mixing", "round_robin"), "tasks_per_step", "all")
    assert mixed("round_robin").plan.mixing.name == "round_robin"
    with pytest.raises(RecipeError, match=r"Write mixing: round_robin or sum\.$"):
        mixed("even")


def test_a_plan_has_settings_of_its_own_beside_the_common_ones(
    odd: None, write: Callable[[str], str]
) -> None:
    recipe = load_recipe(
        write("task: rte\nplan: {name: odd, epochs: 4, lr: 1e-4, probe_epochs: 2}")
    )
    assert recipe.plan.settings == {"probe_epochs": 2}
    assert recipe.plan.spec == {"name": "odd", "epochs": 4, "lr": 1e-4, "probe_epochs": 2}
    assert resolved(recipe)["plan"]["probe_lr"] == 1e-3
    assert load_recipe(write(to_yaml(recipe, short=True))) == recipe
    assert resolved(load_recipe(write(to_yaml(recipe)))) == resolved(recipe)
    assert problems_of(
        lambda: load_recipe(write("task: rte\nplan: {name: odd, probe_epochs: x, prob_lr: 1}"))
    ) == (
        "recipe.yaml:2 plan.probe_epochs: expected a whole number, got 'x'.",
        "recipe.yaml:2 plan.prob_lr: no such setting. Did you mean 'probe_lr'? Known: "
        "average, batch_size, clip_norm, combine, curve, decay_embeddings, early_stopping, "
        "embedding_lr, epochs, head_multiplier, keep, layer_decay, lr, micro_batch, mixing, name, "
        "optimiser, probe_epochs, probe_lr, score_train, warmup_frac, weight_decay.",
    )


# ---------------------------------------------------------------------------------------- overrides


def test_overrides_reach_every_part(write: Callable[[str], str]) -> None:
    path = write(
        "pooling: cls\nexpect: {sst5.accuracy: 0.5}\ntasks:\n  sst5: {pooling: pooler, head: "
        "linear, losses: {task: cross_entropy}}\n"
    )
    recipe = load_recipe(
        path,
        [
            "plan.lr=3e-5",
            "pooling=mean",
            "tasks.sst5.head.dropout=0.3",
            "plan.clip_norm=null",
            "losses.task.weight=2",
            "expect.sst5.accuracy=0.6",
            "source=SerBERTus: Table 7 #3",
            "data.delimiter=;",
            "data.text=",
            "metrics=[accuracy, macro_f1]",
            "plan.epochs=2",
            "plan.epochs=3",
            "seed=0x10",
        ],
    )
    task = recipe.tasks["sst5"]
    assert (recipe.plan.lr, recipe.plan.clip_norm, recipe.plan.epochs, recipe.seed) == (
        3e-5,
        None,
        3,
        16,
    )
    assert task.pooling == {"name": "mean"}, (
        "on the command line a shared setting holds for every task"
    )
    assert task.head == {"name": "linear", "dropout": 0.3}
    assert task.losses == {"task": Term(Technique("cross_entropy"), 2.0)}
    assert (recipe.expect, recipe.source) == ({"sst5.accuracy": 0.6}, "SerBERTus: Table 7 #3")
    assert (task.data.delimiter, task.data.text, task.metrics) == (
        ";",
        None,
        ("accuracy", "macro_f1"),
    )


def test_an_override_may_replace_a_whole_choice(write: Callable[[str], str]) -> None:
    path = write("task: rte\nmax_length: 64\nhead: {name: linear, dropout: 0.5}")
    assert load_recipe(path, ["head={name: linear, dropout: 0.2}"]).tasks["rte"].head == {
        "name": "linear",
        "dropout": 0.2,
    }
    assert load_recipe(path, ["head=linear"]).tasks["rte"].head == {"name": "linear"}
    assert list(load_recipe(path, ["task=mrpc"]).tasks) == ["mrpc"]
    assert load_recipe(path, ["tasks.rte={pooling: mean}"]).tasks["rte"].max_length == 64
    assert recipe_from({}, ["task=rte", "tasks.rte.pooling=mean"]).tasks["rte"].pooling == {
        "name": "mean"
    }


@pytest.mark.parametrize(
    "override", ["plan.lr=2e-5", "plan.lr= 2e-5", "plan.lr=.00002", "plan.lr=0.2E-4"]
)
def test_a_number_may_be_written_as_yaml_1_2_allows(override: str) -> None:
    assert recipe_from({"task": "rte"}, [override]).plan.lr == pytest.approx(2e-5, rel=1e-12)


def test_paths_of_the_file_start_from_its_folder_and_those_of_overrides_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "r.yaml").write_text("tasks: {a: {data: {train: train.csv, test: sub/test.csv}}}")
    monkeypatch.chdir(here)
    recipe = load_recipe("../there/r.yaml", ["data.dev=dev.csv"])
    data = recipe.tasks["a"].data
    assert recipe.path(data.train).resolve() == there / "train.csv"
    assert recipe.path(data.test).resolve() == there / "sub/test.csv"
    assert recipe.path(data.dev).resolve() == here / "dev.csv"
    named = (
        load_recipe("../there/r.yaml", ["data={train: x.csv, dev: {one: y.csv}}"]).tasks["a"].data
    )
    assert (Path(named.train), Path(named.dev["one"])) == (here / "x.csv", here / "y.csv")
    monkeypatch.chdir(there)
    assert load_recipe("r.yaml", ["data.dev=sub/dev.csv"]).tasks["a"].data.dev == "sub/dev.csv", (
        "below the recipe a path stays short"
    )
    assert load_recipe("r.yaml", ["data.train=-"]).tasks["a"].data.train == "-"


def test_an_encoder_folder_on_the_command_line_starts_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipe_from({"task": "rte"}, ["encoder=mine"], base="/").encoder == str(
        tmp_path / "mine"
    ).lstrip("/")
    assert (
        recipe_from({"task": "rte"}, ["encoder=bert-base-uncased"]).encoder == "bert-base-uncased"
    )


# ----------------------------------------------------------------------------- the way back to YAML


def test_resolved_writes_out_every_default() -> None:
    assert resolved(recipe_from({"task": "rte"})) == {
        "source": None,
        "claim": None,
        "expect": {},
        "encoder": "minilm",
        "hidden_dropout": None,
        "attention_dropout": None,
        "precision": "auto",
        "seed": 42,
        "threads": None,
        "shares": None,
        "adapter": None,
        "adapter_from": None,
        "sharing": {"name": "one", "pooler": "shared"},
        "tasks": {
            "rte": {
                "data": {
                    "train": None,
                    "dev": None,
                    "test": None,
                    "text": None,
                    "text_pair": None,
                    "negative": None,
                    "label": None,
                    "group": None,
                    "kind": None,
                    "labels": None,
                    "ordered": None,
                    "label_separator": ";",
                    "merge_labels": False,
                    "dev_frac": 0.15,
                    "fold": None,
                    "train_rows": None,
                    "dev_rows": None,
                    "more": None,
                    "only_more": 0,
                    "delimiter": None,
                    "encoding": None,
                    "skip_lines": 0,
                    "sheet": None,
                    "on_bad_row": "fail",
                    "normalise": None,
                    "seed": None,
                },
                "pooling": None,
                "head": {"name": "linear", "dropout": 0.1, "one_logit": False},
                "head_from": None,
                "losses": {"task": {"name": None, "weight": 1.0}},
                "metrics": None,
                "max_length": 128,
                "truncation": "head",
                "class_weights": None,
                "sampling": None,
                "pair": None,
                "same_as": None,
                "batch_size": None,
                "decision": None,
            }
        },
        "plan": {
            "name": "fine_tune",
            "epochs": None,
            "lr": None,
            "batch_size": 32,
            "micro_batch": None,
            "warmup_frac": 0.1,
            "curve": {"name": "linear"},
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "keep": "last",
            "early_stopping": None,
            "score_train": False,
            "mixing": {"name": "even", "compat": None},
            "combine": None,
            "average": None,
            "optimiser": "torch",
            "layer_decay": 1.0,
            "head_multiplier": 1.0,
            "embedding_lr": None,
            "decay_embeddings": False,
            "freeze_encoder": False,
        },
    }


def test_recipes_that_mean_the_same_resolve_to_the_same_text() -> None:
    one = recipe_from(
        {
            "task": "rte",
            "plan": {"lr": 1, "weight_decay": 0},
            "head": {"dropout": 0},
            "class_weights": {"a": 1, "b": 2},
            "expect": {"rte.f1": 1, "rte.accuracy": 2},
        }
    )
    two = recipe_from(
        {
            "expect": {"rte.accuracy": 2.0, "rte.f1": 1.0},
            "class_weights": {"b": 2.0, "a": 1.0},
            "plan": {"weight_decay": 0.0, "lr": 1.0},
            "tasks": {"rte": {"head": {"name": "linear", "dropout": 0.0}}},
        },
        base="/",
    )
    assert json.dumps(resolved(one)) == json.dumps(resolved(two))
    defaults = recipe_from(
        {"task": "rte", "head": {"dropout": 0.1}, "losses": {"task": "cross_entropy"}}
    )
    written = recipe_from(
        {
            "task": "rte",
            "losses": {"task": {"name": "cross_entropy", "label_smoothing": 0, "weight": 1}},
        }
    )
    assert json.dumps(resolved(defaults)) == json.dumps(resolved(written))


def test_the_short_form_says_what_differs() -> None:
    usual = recipe_from({"task": "rte", "plan": {"batch_size": 32, "lr": None}})
    assert to_yaml(usual, short=True) == "task: rte\n"
    recipe = recipe_from(
        {
            "task": "rte",
            "pooling": "mean",
            "plan": {"lr": 2e-5},
            "losses": {"a": None, "b": {"name": "mse", "weight": 2}},
        }
    )
    assert (
        to_yaml(recipe, short=True)
        == "tasks:\n  rte:\n    pooling: mean\n    losses:\n      a: null\n      b: {name: "
        "mse, weight: 2.0}\nplan: {lr: 2e-05}\n"
    )


def test_a_data_file_becomes_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_for_file(
        "my data/product reviews.v2.csv", ["plan.epochs=2"], label="stars", text=None
    )
    assert (
        to_yaml(recipe, short=True)
        == "tasks:\n  product_reviews_v2:\n    data: {train: my data/product reviews.v2.csv, "
        "label: stars}\nplan: {epochs: 2}\n"
    )
    assert recipe.base == tmp_path
    assert list(recipe_for_file("trec/train.csv").tasks) == ["trec"]
    assert list(recipe_for_file("train.tsv").tasks) == [tmp_path.name]
    assert list(recipe_for_file("/train.csv").tasks) == ["train"]
    assert list(recipe_for_file("-").tasks) == ["stdin"]
    assert list(recipe_for_file("отзывы.csv").tasks) == ["отзывы"]
    assert list(recipe_for_file("!!!.csv").tasks) == ["task"]
    assert list(recipe_for_file(f"{'x' * 100}.csv").tasks) == ["x" * 64]


def test_a_head_for_all_is_for_tasks_that_have_one_of_their_own(
    write: Callable[[str], str],
) -> None:
    """A task with the head of another has neither a shared head nor the command line's; and what a
    run writes of it loads again.
    """
    text = (
        "head: {dropout: 0.3}\ntasks:\n  sts: {head: siamese_cosine}\n  sst5: {}\n  stsb: "
        "{same_as: sts}\n"
    )
    recipe = load_recipe(write(text), ["head.dropout=0.2"])
    assert {name: dict(task.head) for name, task in recipe.tasks.items()} == {
        "sts": {"name": "siamese_cosine", "dropout": 0.2},
        "sst5": {"name": "linear", "dropout": 0.2},
        "stsb": {"name": "linear"},
    }
    assert resolved(load_recipe(write(to_yaml(recipe)))) == resolved(recipe)
    (told,) = problems_of(
        lambda: load_recipe(
            write(text.replace("same_as: sts", "same_as: sts, head: {dropout: 0.3}"))
        )
    )
    assert (
        told == "recipe.yaml:5 tasks.stsb.same_as: this task has a head of its own already. Keep "
        "one of head and same_as: sts."
    )


def test_anchored_paths_mean_the_same_from_everywhere(tmp_path: Path) -> None:
    recipe = recipe_from(
        {"tasks": {"a": {"data": {"train": "t.csv", "dev": {"x": "d.csv"}, "test": "/abs/e.csv"}}}},
        base=tmp_path,
    )
    data = anchored(recipe).tasks["a"].data
    assert (data.train, data.dev, data.test) == (
        str(tmp_path / "t.csv"),
        {"x": str(tmp_path / "d.csv")},
        "/abs/e.csv",
    )
    assert recipe.tasks["a"].data.train == "t.csv"


# ---------------------------------------------------------------------------------- anything at all

texts = st.text(
    min_size=1, max_size=10, alphabet=st.characters(exclude_categories=["Cs"])
) | st.sampled_from(["no", "2e-5", "null", "~", "1:30", "a: b", "# x", "0x1f"])
safe_names = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
unit = st.floats(0, 1, exclude_max=True)
counts = st.integers(1, 10**6)
labels = st.lists(texts, min_size=2, max_size=4, unique=True)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


data_sections = optional(
    text=st.just("body"),
    label=st.just("stars"),
    text_pair=st.none() | st.just("other"),
    dev=texts
    | st.dictionaries(
        safe_names.filter(lambda name: name not in ("train", "test")), texts, min_size=1, max_size=2
    ),
    test=texts,
    kind=st.sampled_from(["binary", "multiclass", "multilabel"]),
    labels=labels | labels.map(lambda names: {f"{name} ": name for name in names}),
    train_rows=counts,
    dev_rows=st.none() | counts,
    more=st.lists(st.sampled_from(["new.csv", "newer.csv"])).map(tuple),
    only_more=st.integers(0, 2),
    delimiter=st.sampled_from([";", ",", "\t", "|", "tab"]),
    encoding=texts,
    on_bad_row=st.just("skip"),
    normalise=st.sampled_from(["none", "minbert"]),
)
losses = st.dictionaries(
    safe_names,
    st.none()
    | st.sampled_from(["mse", "cross_entropy"])
    | st.fixed_dictionaries(
        {"name": st.just("cross_entropy")},
        optional={"weight": st.floats(0, 100), "label_smoothing": unit},
    )
    | st.fixed_dictionaries({"weight": st.integers(0, 5)}),
    min_size=1,
    max_size=3,
)
task_settings = optional(
    pooling=st.none() | st.sampled_from(["cls", "mean", {"name": "pooler"}]),
    head=st.just("linear") | unit.map(lambda rate: {"name": "linear", "dropout": rate}),
    losses=losses,
    metrics=st.lists(st.sampled_from(CATALOGUE["metrics"]), min_size=1, unique=True)
    | st.just("f1"),
    max_length=st.integers(8, 512),
    truncation=st.sampled_from(["head", "tail", "head_tail", "half_half"]),
    sampling=st.sampled_from([None, "balanced"]),
    class_weights=st.sampled_from([None, "balanced"]),
    pair=st.sampled_from([None, "siamese", {"name": "cross", "order": "random"}]),
    batch_size=st.none() | counts,
)
recipes = st.tuples(
    optional(
        source=texts,
        claim=texts,
        expect=st.dictionaries(
            st.sampled_from(
                ["rte.f1", "rte.accuracy.sd", "mnli.dev_matched.mcc.max", "glue.tasks"]
            ),
            st.floats(-1, 1) | st.integers(0, 3),
            max_size=3,
        ),
        encoder=texts,
        threads=st.integers(1, 1024),
        precision=st.sampled_from(["auto", "fp32", "bf16"]),
        seed=st.integers(0, 2**32 - 1),
        sharing=st.sampled_from(["one", {"name": "branch", "own_layers": 3}]),
        plan=optional(
            epochs=counts,
            lr=st.floats(1e-8, 1),
            batch_size=counts,
            warmup_frac=unit,
            weight_decay=unit,
            clip_norm=st.none() | st.floats(0.01, 10),
            keep=st.sampled_from(["last", "best", "best_per_task", 1, 3]),
            mixing=st.sampled_from(["even", {"name": "sum"}, "round_robin"]),
            curve=st.sampled_from(["linear", "constant", {"name": "linear"}]),
        ),
    ),
    task_settings,  # shared
    st.just({"task": "rte"})
    | st.tuples(safe_names, task_settings, data_sections, texts).map(
        lambda drawn: {"tasks": {drawn[0]: {**drawn[1], "data": {**drawn[2], "train": drawn[3]}}}}
    ),
).map(lambda parts: {**parts[0], **parts[1], **parts[2]})


@given(recipes)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_a_valid_recipe_survives_the_way_through_yaml(
    tmp_path: Path, mapping: dict[str, Any]
) -> None:
    recipe = recipe_from(mapping, base=tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(recipe), encoding="utf-8", newline="")
    assert json.dumps(resolved(load_recipe(file))) == json.dumps(resolved(recipe))
    file.write_text(to_yaml(recipe, short=True), encoding="utf-8", newline="")
    assert load_recipe(file) == recipe
    assert recipe_from(resolved(recipe), base=tmp_path).tasks.keys() == recipe.tasks.keys()


keys = st.sampled_from(
    sorted(
        {
            *Recipe.model_fields,
            *TaskRecipe.model_fields,
            *DataRecipe.model_fields,
            *PlanRecipe.model_fields,
            "task",
            "name",
            "weight",
            "dropout",
            "rte",
            "settings",
        }
    )
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["rte", "linear", "mean", "mse", "balanced", "fine_tune", "f1", b"x", {1}])
)
garbage = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys | st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
overrides = st.lists(
    st.text(max_size=12)
    | st.builds("{}.{}={}".format, keys, keys, scalars)
    | st.builds("{}={}".format, keys, garbage),
    max_size=3,
)


@given(garbage | st.dictionaries(keys, garbage, max_size=5), overrides)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_garbage_raises_nothing_but_recipe_error(mapping: Any, given_overrides: list[str]) -> None:
    problems: tuple[str, ...] = ("one",)
    try:
        recipe_from(mapping, given_overrides)
    except RecipeError as error:
        problems = error.lines
    assert problems
    assert all(problem and len(problem.splitlines()) == 1 for problem in problems)


@given(recipes, st.data())
@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_a_damaged_file_raises_nothing_but_recipe_error(
    tmp_path: Path, mapping: dict[str, Any], data: st.DataObject
) -> None:
    content = bytearray(to_yaml(recipe_from(mapping), short=True).encode())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.sampled_from(list(b"\t\n:,{}[]&*!'\"#-0ae \x00\xff%@|>?")))
    (tmp_path / "recipe.yaml").write_bytes(content)
    problems: tuple[str, ...] = ("one",)
    try:
        load_recipe(tmp_path / "recipe.yaml")
    except RecipeError as error:
        problems = error.lines
    assert all(problem and len(problem.splitlines()) == 1 for problem in problems)
