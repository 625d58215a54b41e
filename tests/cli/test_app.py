"""The command line as users see it: mistakes answered in one line, results on standard output and
nothing else there, exit codes, a fast start.

A file of tests/golden/cli is a command, what it writes to standard error, and its exit code;
standard output is empty and no file changes. They are written by `ENCORE_WRITE_GOLDEN=1 pytest
tests/test_cli.py`: read what changed before it is committed.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encore
import encore.data.named
import encore.recipe.load
from encore import catalogue
from encore.cli import app
from encore.encoder import load as encoders
from encore.runs.final_test import read_final

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
CASES = sorted(GOLDEN.glob("*.txt"))
WRITE = os.environ.get("ENCORE_WRITE_GOLDEN") == "1"

# -------------------------------------------------------------------------------- the user's folder

WORDS = ("came broken", "is dull", "is fine", "works well", "is great")
THINGS = ("lamp", "tent", "kettle", "zip", "box", "torch", "mug", "chair")
REVIEWS = [
    (f"the {thing} {words}", stars, ("north", "south")[number % 2])
    for number, thing in enumerate(THINGS)
    for stars, words in enumerate(WORDS, 1)
]


def rows(*lines: Sequence[Any]) -> str:
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def reviews(header: str = "text,stars,region", **changed: str) -> str:
    """The reviews, some lines of the file replaced: `line_5="…"`."""
    lines = [header, *rows(*REVIEWS).splitlines()]
    for key, line in changed.items():
        lines[int(key.removeprefix("line_")) - 1] = line
    return "\n".join(lines) + "\n"


def archive(**members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, text in members.items():
            zipped.writestr(name.replace("__", "/"), text)
    return file.getvalue()


FILES: dict[str, str | bytes] = {
    "reviews.csv": reviews(),
    "five.csv": reviews(
        line_5="the lamp works well,five,south", line_9="the tent is fine,vier,north"
    ),
    "one_class.csv": reviews()
    .replace(",1,", ",4,")
    .replace(",2,", ",4,")
    .replace(",3,", ",4,")
    .replace(",5,", ",4,"),
    "ids.csv": rows(
        ("text", "label"), *((text, f"id {number}") for number, (text, _, _) in enumerate(REVIEWS))
    ),
    "empty.csv": "",
    "header.csv": "text,stars\n",
    "no_header.csv": "\n".join(reviews().splitlines()[1:]) + "\n",
    "twice.csv": reviews("text,stars,text"),
    "ragged.csv": reviews(line_4="the lamp, of all things,is fine,3,north"),
    "blank.csv": reviews(line_4=" ,3,north"),
    "tabs.csv": reviews().replace(",", "\t"),
    "semicolons.csv": reviews().replace(",", ";"),
    "bom.csv": b"\xef\xbb\xbf" + reviews().encode(),
    "escape.csv": reviews().replace(",1,", ",\x1b]0;one\x07,"),
    "damaged.csv": reviews(line_6="the caf\u00e9 lamp \u00e9 is great,5,north")
    .encode()
    .replace(b"\xc3\xa9 is", b"\xe9 is"),
    "cp1252.csv": reviews(line_6="the caf\u00e9 lamp is great,5,north").encode("cp1252"),
    "several.csv": rows(
        ("text", "topic", "category"),
        *((text, f"t{stars % 3}", region) for text, stars, region in REVIEWS),
    ),
    "unlabelled.csv": reviews(line_4="the lamp is fine,,north"),
    "new.csv": rows(("id", "text"), (7, "a new lamp is great"), (8, "the zip came broken")),
    "no_text.csv": rows(("id", "review"), (7, "a new lamp is great"), (8, "the zip came broken")),
    "dev.csv": rows(
        ("text", "rating"), ("the old lamp is great", 5), ("my old zip came broken", 1)
    ),
    "sixes.csv": rows(
        ("text", "stars"),
        ("the old lamp is great", 6),
        ("my old zip came broken", 1),
        ("my old box is dull", 2),
    ),
    "scores.csv": rows(
        ("text", "other", "score"),
        *((text, f"a {text}", stars / 2) for text, stars, _ in REVIEWS[:20]),
        ("the lamp glows", "it does", "NaN"),
    ),
    "tags.csv": rows(
        ("text", "tags"),
        *(
            (text, "praise;strong" if stars == 5 else "blame" if stars < 3 else "praise")
            for text, stars, _ in REVIEWS
        ),
    ),
    "reviews.jsonl": "".join(
        json.dumps({"text": text, "stars": stars}) + "\n" for text, stars, _ in REVIEWS
    ),
    "broken.jsonl": '{"text": "the lamp is fine", "stars": 3}\n{"text": "the tent is fine, "stars": '  # noqa: E501
    '3}\n{"text": "the zip is dull", "stars": 2}\n',
    "array.jsonl": json.dumps([{"text": text, "stars": stars} for text, stars, _ in REVIEWS]),
    "lines.csv": "".join(
        json.dumps({"text": text, "stars": stars}) + "\n" for text, stars, _ in REVIEWS
    ),
    "titled.csv": f"Survey 2024\n\n{reviews()}",
    "array.json": json.dumps([{"text": text, "stars": stars} for text, stars, _ in REVIEWS]),
    "reviews.xlsx": archive(
        **{"[Content_Types].xml": "<Types/>", "xl__workbook.xml": "<workbook/>"}
    ),
    "reviews.zip": archive(**{"reviews.csv": reviews()}),
    "reviews.csv.gz": gzip.compress(reviews().encode(), mtime=0),
    "torn.parquet": b"PAR1" + bytes(40),
    "data/more.csv": reviews(),
    "recipe.yaml": "tasks:\n  reviews:\n    data: {train: reviews.csv, label: stars}\nplan: {epochs: 1, "  # noqa: E501
    "lr: 2e-3}\n",
    "typo.yaml": (
        "tasks:\n  reviews:\n    data: {train: reviews.csv, label: stars}\n    poling: mean\n  "
        "  pooling: men\n"
        "plan:\n  epochs: 1\n  learning_rate: 2e-5\n  lr: fast\n"
    ),
    "twice.yaml": "task: rte\nseed: 1\nseed: 2\n",
    "indented.yaml": "task: rte\nplan:\n\tepochs: 3\n",
    "everything.yaml": "tasks:\n  reviews:\n    data: {train: nowhere.csv, label: stars}\n    poling: "  # noqa: E501
    "mean\nencoder: ./nowhere\nplan: {epochs: 0}\n",
    "old_encoder/config.json": '{"model_type": "bert"}',
    "old_encoder/pytorch_model.bin": b"\x80\x02",
    "old_encoder/vocab.txt": "[PAD]\n",
    "no_weights/config.json": '{"model_type": "bert"}',
    "no_weights/vocab.txt": "[PAD]\n",
    "gpt/config.json": '{"model_type": "gpt2"}',
    "gpt/model.safetensors": (2).to_bytes(8, "little") + b"{}",
    "gpt/vocab.txt": "[PAD]\n",
    "predictions.csv": "mine\n",
}


@pytest.fixture(scope="session")
def small_encoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with BERT's 512 positions, so that `encore train` works without a
    setting.
    """
    from safetensors.numpy import load_file, save_file

    folder = tmp_path_factory.mktemp("encoders") / "small"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    weights = load_file(folder / "model.safetensors")
    positions = weights["embeddings.position_embeddings.weight"]
    weights["embeddings.position_embeddings.weight"] = np.resize(
        positions, (512, positions.shape[1])
    )
    save_file(weights, folder / "model.safetensors")
    return folder


# complaints list what is known: fixed here, so that a new technique changes no expected text
CATALOGUE = {
    "pooling": ("cls", "mean", "pooler"),
    "heads": ("linear",),
    "losses": ("binary_cross_entropy", "cross_entropy", "mse"),
    "curves": ("constant", "linear"),
    "plans": ("fine_tune",),
    "metrics": ("accuracy", "f1", "macro_f1", "mcc", "micro_f1", "pearson", "spearman"),
    "sharing": ("one", "separate"),
    "mixing": ("even",),
    "pairs": ("cross",),
    "combine": ("pcgrad",),
}


def catalogue_of_today(folder: Path) -> Path:
    for kind, names in CATALOGUE.items():
        (folder / catalogue.folder(kind)).mkdir()
        for name in names:
            place = catalogue.folder(kind)
            source = Path(encore.__file__).parent / "techniques" / place / f"{name}.py"
            shutil.copy(source, folder / place)
    return folder


@pytest.fixture
def here(
    tmp_path: Path,
    small_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The user's folder, which is the working directory; `minilm` is a small encoder, whose digests
    are quickly checked.
    """
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoders, "_embedded", lambda: small_encoder)
    digests = {
        name: hashlib.sha256((small_encoder / name).read_bytes()).hexdigest()
        for name in ("config.json", "model.safetensors")
    }
    monkeypatch.setattr(encoders, "_EMBEDDED", digests)
    monkeypatch.setattr("encore.data.named._folders", lambda: [Path("data")])
    monkeypatch.setattr(
        catalogue, "_HERE", catalogue_of_today(tmp_path_factory.mktemp("catalogue"))
    )
    monkeypatch.setattr("encore.runs.cost._PROBE_SECONDS", 0.01)
    for name in ("ENCORE_RUNS", "ENCORE_DATA", "ENCORE_DATA_REPO", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENCORE_CACHE", "cache")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    return tmp_path


@dataclass(frozen=True)
class Outcome:
    """The end of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("train", "reviews.csv", …)` in this process: exit code, standard output, standard
    error.
    """

    def command(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Outcome(end.value.code, out, err)

    return command


@pytest.fixture(scope="session")
def trained(small_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the reviews: one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "reviews.csv").write_text(str(FILES["reviews.csv"]), encoding="utf-8")
    settings = (
        f"encoder={small_encoder}",
        "threads=1",
        "precision=fp32",
        "plan.epochs=1",
        "plan.lr=4e-3",
    )
    return encore.fit(folder / "reviews.csv", *settings, label="stars", runs=folder / "runs").folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
        for file in sorted(folder.rglob("*"))
    }


# ----------------------------------------------------------------------------------------- mistakes


def test_there_are_golden_mistakes() -> None:
    assert len(CASES) >= 60


@dataclass(frozen=True)
class Golden:
    """`environment` and `arguments` of the command, what it says, how it ends."""

    environment: dict[str, str]
    arguments: list[str]
    said: str
    code: int


def golden(file: Path) -> Golden:
    first, _, rest = file.read_text(encoding="utf-8").partition("\n")
    words = shlex.split(first.removeprefix("$ "))
    place = words.index("encore")
    found = re.fullmatch(r"(.*?)exit (\d+)\n", rest, re.DOTALL)
    return Golden(
        dict(word.split("=", 1) for word in words[:place]),
        words[place + 1 :],
        found[1] if found else "",
        int(found[2]) if found else -1,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_mistake_is_told_in_one_line(
    case: Path, run: Run, here: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = golden(case)
    for name, value in expected.environment.items():
        monkeypatch.setenv(name, value)
        if name == "HF_HUB_OFFLINE":  # which huggingface_hub reads when it is imported
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(trained, here / "runs" / "reviews")
    shutil.copytree(trained, here / "runs" / "damaged")
    (here / "runs" / "damaged" / "model" / "config.json").write_text("{}")
    before = contents(here)
    outcome = run(*expected.arguments)
    if WRITE:
        case.write_text(
            f"{case.read_text(encoding='utf-8').splitlines()[0]}\n{outcome.err}exit "
            f"{outcome.code}\n",
            encoding="utf-8",
        )
    assert outcome.out == ""
    assert contents(here) == before
    for foreign in (
        "Traceback",
        "Error:",
        "<class",
        "object at 0x",
        "Path(",
        str(here),
        sys.prefix,
        "pydantic",
        "None",
    ):
        assert foreign not in outcome.err
    assert all(line and len(line) < 500 for line in outcome.err.splitlines())
    if not WRITE:
        assert (outcome.err, outcome.code) == (expected.said, expected.code)


# ----------------------------------------------------------------------------------------- training

QUICK = ("threads=1", "precision=fp32", "plan.epochs=2", "plan.lr=4e-3")


def test_training_announces_first_and_ends_with_the_next_command(run: Run, here: Path) -> None:
    outcome = run("train", "reviews.csv", *QUICK)
    assert outcome.code == 0, outcome.err
    (folder,) = Path("runs").iterdir()
    said = outcome.err.splitlines()
    assert said[:8] == [
        "reviews.csv: 40 rows, delimiter ',', encoding utf-8",
        "columns: text = 'text' (by its name), label = 'stars' (by its name); 5 classes: 1, 2, "
        "3, 4, 5; not used: region",
        "dev: 6 of the 40 rows of reviews.csv (15%, stratified, seed 42)",
        "encoder minilm, pooling pooler (the checkpoint has a trained pooler)",
        "no row is longer than 128 tokens",
        "exports to plain transformers: yes",
        "fp32 on cpu, 1 thread; seed 42",
        f"run {folder}",
    ]
    assert [line.split("  ")[0] for line in said[8:]] == ["epoch 1/2", "epoch 2/2"]
    table = outcome.out.splitlines()
    assert table[0] == "reviews: last epoch, 2 of 2"
    assert table[1].split() == [
        "dev",
        "set",
        "rows",
        "metric",
        "model",
        "majority",
        "TF-IDF",
        "+",
        "logistic",
    ]
    assert re.match(r"dev +6  accuracy +\d+\.\d % \[", table[2])
    assert "dev: 6 of the 40 rows of reviews.csv (15%, stratified, seed 42)" in table
    assert not any(line.startswith(("columns:", "reviews.csv:")) for line in table), (
        "what does not qualify the figures is said once"
    )
    assert re.fullmatch(
        rf"run: {folder} \(\d+ s, [\d,]+ tokens/s\); next: encore predict {folder} reviews.csv "
        rf"-o predictions.csv",
        table[-1],
    )

    before = contents(here)
    again = run("train", "reviews.csv", *QUICK)
    assert (again.code, again.err.splitlines()[-1]) == (0, f"run {folder}: complete already")
    assert again.out.splitlines()[:-1] == table[:-1]
    assert again.out.splitlines()[-1].startswith(f"run: {folder} (complete already); next: ")
    assert contents(here) == before

    next_command = shlex.split(again.out.splitlines()[-1].partition("next: ")[2])
    Path("predictions.csv").unlink()
    assert run(*next_command[1:]).code == 0
    assert len(Path("predictions.csv").read_text().splitlines()) == 41


def test_json_is_one_object_with_four_keys(run: Run) -> None:
    outcome = run("train", "reviews.csv", "--json", *QUICK)
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert set(found) == {"run", "metrics", "seconds", "tokens_per_second"}
    assert {name: set(figures) for name, figures in found["metrics"].items()} == {
        "dev": {"accuracy", "macro_f1"}
    }
    assert all(0 <= value <= 1 for value in found["metrics"]["dev"].values())
    assert found["seconds"] > 0
    assert found["tokens_per_second"] > 0
    assert Path(found["run"], "results.json").exists()
    assert outcome.err.startswith("reviews.csv: 40 rows")
    again = run("train", "reviews.csv", "--json", "--quiet", *QUICK)
    assert (again.code, again.err) == (0, "")
    assert json.loads(again.out) == found


def test_quiet_leaves_only_the_results(run: Run) -> None:
    outcome = run("train", "reviews.csv", "--quiet", *QUICK)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("reviews: last epoch, 2 of 2\n")


def test_the_best_epoch_is_said_to_be_chosen(run: Run) -> None:
    outcome = run("train", "reviews.csv", "--quiet", *QUICK, "plan.keep=best")
    assert re.match(r"reviews: best epoch, [12] of 2\n", outcome.out)
    assert (
        "keep: best chose the epoch by accuracy on dev, so these figures are slightly optimistic."
        in outcome.out
    )


def test_a_dry_run_prints_a_recipe_that_loads_and_writes_nothing(run: Run, here: Path) -> None:
    before = contents(here)
    outcome = run("train", "reviews.csv", "--dry-run", "threads=2", "max_length=8", "plan.epochs=4")
    assert outcome.code == 0
    assert contents(here) == before
    lines = outcome.out.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert (
        comments[0]
        == "# reviews: 34 train, 6 dev rows; cut to 8 tokens (head): 20 of 34 train rows, 2 of "
        "6 dev rows; max_length=16 reads more, and takes longer"
    )
    assert re.fullmatch(
        r"# [\d,]+ parameters, [\d,]+ of them trained; 8 steps, \d+ tokens per epoch", comments[1]
    )
    assert re.fullmatch(r"# takes about \d+ s and \d\.\d GB on this machine .*", comments[2])
    assert len(lines) < 40
    Path("mine.yaml").write_text(outcome.out)
    recipe = encore.recipe.load.load_recipe("mine.yaml")
    assert (
        recipe.threads,
        recipe.tasks["reviews"].max_length,
        recipe.tasks["reviews"].data.label,
    ) == (2, 8, "stars")
    assert recipe.tasks["reviews"].pooling.name == "pooler"

    found = json.loads(run("train", "reviews.csv", "plan.epochs=3", "--dry-run", "--json").out)
    assert found["rows"] == {"reviews": {"train": 34, "dev": 6}}
    assert found["recipe"]["plan"]["epochs"] == 3
    assert {
        "run",
        "cut",
        "parameters",
        "parameters_trained",
        "steps",
        "estimated_seconds",
        "estimated_memory_bytes",
    } < set(found)


def test_numbers_as_people_write_them_and_options_on_a_recipe(run: Run) -> None:
    found = json.loads(run("train", "recipe.yaml", "--dry-run", "--json", "--label", "region").out)
    assert found["recipe"]["plan"]["lr"] == 0.002, "2e-3 in YAML is a number"
    assert found["recipe"]["tasks"]["reviews"]["data"]["labels"] == ["north", "south"]


@pytest.mark.parametrize(
    ("arguments", "announced"),
    [
        (("bom.csv",), "bom.csv: 40 rows, delimiter ',', encoding utf-8, byte order mark dropped"),
        (("tabs.csv",), "tabs.csv: 40 rows, delimiter tab, encoding utf-8"),
        (("semicolons.csv",), "semicolons.csv: 40 rows, delimiter ';', encoding utf-8"),
        (
            ("cp1252.csv",),
            "cp1252.csv: 40 rows, delimiter ',', encoding cp1252 (a guess: the file is not "
            "UTF-8; data.encoding=NAME overrides it)",
        ),
        (("reviews.jsonl",), "reviews.jsonl: 40 rows, encoding utf-8"),
        (("data/more.csv",), "data/more.csv: 40 rows, delimiter ',', encoding utf-8"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_was_found_out_about_a_file_is_announced(
    run: Run, arguments: tuple[str, ...], announced: str
) -> None:
    outcome = run("train", *arguments, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines()[0] == announced


def test_a_file_cannot_write_on_the_terminal(run: Run) -> None:
    for arguments in (
        ("train", "escape.csv", "--dry-run"),
        ("train", "escape.csv", "--label", "stars", "--dev", "sixes.csv"),
    ):
        outcome = run(*arguments)
        assert "\ufffd]0;one\ufffd" in outcome.err
        assert not {"\x1b", "\x07"} & set(outcome.err + outcome.out)


def test_bad_rows_are_skipped_and_counted(run: Run) -> None:
    outcome = run("train", "five.csv", "--on-bad-row", "skip", *QUICK)
    assert outcome.code == 0
    skipped = (
        "five.csv: 2 bad rows skipped (five.csv:5 column 'stars': expected one of 1, 2, 3, 4, "
        "5, got 'five'; "
        "five.csv:9 column 'stars': expected one of 1, 2, 3, 4, 5, got 'vier')"
    )
    assert skipped in outcome.err.splitlines()
    assert skipped in outcome.out.splitlines(), "a table says what its figures leave out"


def test_standard_input_is_a_file_like_any_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(reviews().encode())))
    outcome = run("train", "-", *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith("standard input: 40 rows")
    assert outcome.out.splitlines()[-1].endswith("new.csv -o predictions.csv")


@pytest.mark.parametrize(
    ("arguments", "columns", "title"),
    [
        (
            ("tags.csv", "--label", "tags"),
            ["prediction", "p(blame)", "p(praise)", "p(strong)"],
            "tags",
        ),
        (
            (
                "scores.csv",
                "--label",
                "score",
                "--text",
                "text",
                "--text-pair",
                "other",
                "--on-bad-row",
                "skip",
            ),
            ["prediction"],
            "scores",
        ),
    ],
    ids=["several labels", "a number from a pair"],
)
def test_other_kinds_of_task_from_file_to_figures(
    run: Run, arguments: tuple[str, ...], columns: list[str], title: str
) -> None:
    trained = run("train", *arguments, *QUICK)
    assert trained.code == 0, trained.err
    (folder,) = Path("runs").iterdir()
    predicted = run("predict", folder, arguments[0], "--quiet")
    assert (predicted.code, predicted.err) == (0, "")
    assert predicted.out.splitlines()[0].split(",") == columns
    assert len(predicted.out.splitlines()) == 1 + {"tags": 40, "scores": 21}[title]
    found = run("evaluate", folder, arguments[0], "--on-bad-row", "skip")
    assert found.code == 0, found.err
    assert f"{folder}, {title}" in found.out
    assert (
        json.loads(run("evaluate", folder, arguments[0], "--on-bad-row", "skip", "--json").out)[
            "rows"
        ]
        == {"tags": 40, "scores": 20}[title]
    )


# ---------------------------------------------------------------------------- predict, evaluate, ls


@pytest.fixture
def reviewed(here: Path, trained: Path) -> Path:
    """The trained run, in the user's folder."""
    shutil.copytree(trained, here / "runs" / trained.name)
    return Path("runs") / trained.name


def test_predictions_one_row_for_each_in_order(run: Run, reviewed: Path) -> None:
    outcome = run("predict", reviewed, "reviews.csv")
    assert outcome.code == 0
    assert outcome.err == "reviews.csv: 40 rows, delimiter ',', encoding utf-8\n"
    header, *lines = outcome.out.splitlines()
    assert header == "prediction,p(1),p(2),p(3),p(4),p(5)"
    texts = [text for text, _, _ in REVIEWS]
    for line, one in zip(lines, encore.load(reviewed).predict(texts), strict=True):
        said, *chances = line.split(",")
        assert said == one.label
        assert [float(chance) for chance in chances] == pytest.approx(
            list(one.probabilities.values()), abs=1e-5
        )
        assert sum(map(float, chances)) == pytest.approx(1, abs=5e-6)


def test_predictions_from_standard_input_with_its_columns(
    run: Run, reviewed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 'id,text,"a, b"\n007,the lamp is great,"x\ny"\n8,,\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode())))
    outcome = run("predict", reviewed, "-", "--with-input")
    assert outcome.code == 0, outcome.err
    found = list(csv.reader(io.StringIO(outcome.out)))
    assert [row[:4] for row in found] == [
        ["id", "text", "a, b", "prediction"],
        ["007", "the lamp is great", "x\ny", found[1][3]],
        ["8", "", "", found[2][3]],
    ]
    assert {found[1][3], found[2][3]} <= set("12345")


def test_predictions_into_files(run: Run, reviewed: Path) -> None:
    import pyarrow.parquet as pq

    printed = run("predict", reviewed, "new.csv").out.splitlines()[1:]
    for name in ("p.csv", "p.tsv", "p.jsonl", "p.parquet"):
        outcome = run("predict", reviewed, "new.csv", "-o", name, "--with-input")
        assert (outcome.code, outcome.out, outcome.err.splitlines()[-1]) == (
            0,
            "",
            f"2 rows → {name}",
        )
    labels = [line.split(",")[0] for line in printed]
    assert [
        json.loads(line)["prediction"] for line in Path("p.jsonl").read_text().splitlines()
    ] == labels
    assert pq.read_table("p.parquet").column_names[:3] == ["id", "text", "prediction"]
    assert pq.read_table("p.parquet")["prediction"].to_pylist() == labels
    assert [line.split("\t")[2] for line in Path("p.tsv").read_text().splitlines()[1:]] == labels
    again = run("predict", reviewed, "p.csv", "--with-input", "-o", "again.csv")
    assert again.code == 3
    assert again.err.splitlines()[-1].startswith(
        "p.csv: has columns prediction, p(1), p(2), p(3), p(4), p(5), which --with-input would "
        "write a second time."
    )
    assert not Path("again.csv").exists()
    replaced = run("predict", reviewed, "new.csv", "-o", "p.csv", "--overwrite", "--json")
    assert json.loads(replaced.out) == {
        "run": str(reviewed),
        "file": "new.csv",
        "out": "p.csv",
        "rows": 2,
    }
    assert Path("p.csv").read_text().splitlines()[1:] == printed


def test_all_that_is_wrong_with_a_prediction_is_said_at_once(run: Run, reviewed: Path) -> None:
    outcome = run("predict", reviewed, "no_text.csv", "-o", "out/p.doc", "--on-bad-row", "never")
    assert outcome.code == 2
    assert [line.split(":")[0] for line in outcome.err.splitlines()] == [
        "--on-bad-row",
        "out/p.doc",
        "no_text.csv",
    ]


def test_evaluation_names_the_file_and_warns_of_rows_it_was_trained_on(
    run: Run, reviewed: Path
) -> None:
    outcome = run(
        "evaluate",
        reviewed,
        "reviews.csv",
        "--slice",
        "region",
        "--slice",
        "stars",
        "--mistakes",
        "3",
    )
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == f"{reviewed}, reviews"
    assert lines[1].split() == ["file", "rows", "metric", "model"]
    assert lines[2].startswith("reviews.csv    40  accuracy")
    assert (
        "reviews.csv is the file that this run was trained on (34 of its rows): these figures "
        "say little about new texts." in lines
    )
    assert "[low, high]: 95 % bootstrap interval over the rows of the file." in lines
    assert "dev set" not in outcome.out
    assert "labelled" not in outcome.out
    places = [
        lines.index(title)
        for title in ("confusion matrix", "by region", "by stars", "largest errors")
    ]
    assert places == sorted(places)
    assert len(lines) - places[-1] == 2 + 3
    assert re.match(r"line +truth +prediction", lines[places[-1] + 1]), (
        "as complaints about a file count its lines"
    )
    assert not [
        line
        for line in lines
        if re.match(r"largest|line +truth", line) and line != "largest errors"
    ][1:]
    other = run("evaluate", reviewed, "data/more.csv", "--mistakes", "0", "--quiet")
    assert (other.code, other.err) == (0, "")
    assert "trained on" in other.out, "the same rows under another name"
    Path("shorter.csv").write_text(rows(("text", "stars"), *(row[:2] for row in REVIEWS[:12])))
    fresh = run("evaluate", reviewed, "shorter.csv")
    assert "trained on" not in fresh.out


def test_a_run_that_lost_a_file_is_not_measured(run: Run, reviewed: Path) -> None:
    (reviewed / "data.json").unlink()
    outcome = run("evaluate", reviewed, "reviews.csv", "--quiet")
    assert (outcome.code, outcome.out) == (3, "")
    assert (
        outcome.err
        == f"{reviewed}/data.json: missing, or not as the run wrote it. Remove the folder and "
        f"run it again.\n"
    )


def test_weights_that_are_gone_are_trained_again_and_that_is_said(run: Run) -> None:
    assert run("train", "reviews.csv", *QUICK).code == 0
    (folder,) = Path("runs").iterdir()
    shutil.rmtree(folder / "model")
    lost = run("predict", folder, "new.csv")
    command = shlex.split(lost.err.strip().partition("to the same bits: ")[2])
    assert (lost.code, command) == (
        3,
        ["encore", "train", f"{folder}/recipe.yaml", "--runs", "runs"],
    )
    again = run(*command[1:])
    found = f"run {folder}: complete already, but without weights; trains again to the same bits"
    assert found in again.err.splitlines()
    assert run("predict", folder, "new.csv").code == 0


def test_evaluation_as_one_object(run: Run, reviewed: Path) -> None:
    found = json.loads(
        run(
            "evaluate", reviewed, "reviews.csv", "--json", "--slice", "region", "--mistakes", "2"
        ).out
    )
    assert (found["run"], found["file"], found["rows"], found["labels"]) == (
        str(reviewed),
        "reviews.csv",
        40,
        ["1", "2", "3", "4", "5"],
    )
    assert set(found["metrics"]["accuracy"]) == {"value", "low", "high", "notes"}
    assert [sum(row) for row in found["confusion"]] == [8, 8, 8, 8, 8]
    assert [part["value"] for part in found["slices"]["region"]] == ["north", "south"]
    assert sum(part["rows"] for part in found["slices"]["region"]) == 40
    shares = [(one["rows"], one["share"]["value"]) for one in found["distances"]]
    assert [rows / 40 for rows, _ in shares] == [share for _, share in shares]
    assert sum(rows for rows, _ in shares) == 40
    assert found["distances"][0]["share"]["low"] == found["metrics"]["accuracy"]["low"]
    assert found["overlap"] == []
    assert len(found["mistakes"]) == 2
    for mistake in found["mistakes"]:
        text, stars, _ = REVIEWS[mistake["line"] - 2]
        assert (mistake["text"], mistake["truth"]) == (text, str(stars))
        assert mistake["prediction"] != mistake["truth"]
    assert found["notes"]


def test_a_test_file_is_opened_by_final_alone_and_every_time_is_logged(run: Run) -> None:
    Path("last.csv").write_text(reviews().replace("the ", "a "))
    trained = run("train", "reviews.csv", "--test", "last.csv", *QUICK)
    assert trained.code == 0, trained.err
    assert "last.csv" not in trained.out + trained.err
    (folder,) = Path("runs").iterdir()
    assert trained.out.splitlines()[-1].endswith(f"next: encore evaluate {folder} --final")
    outcome = run("evaluate", folder, "--final", "--slice", "region")
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines()[0] == "test file last.csv is opened"
    assert outcome.out.splitlines()[2].startswith("last.csv    40")
    again = run("evaluate", folder, "--final", "--json", "--quiet")
    assert again.err == ""
    (told,) = [note for note in json.loads(again.out)["notes"] if "opened" in note]
    assert (
        told
        == "this test file was opened 1 time before, by 1 run of this folder: a figure that was "
        "used to choose something is not a test result"
    )
    figures = read_final(folder)["reviews"]
    assert (figures.file, figures.rows) == ("last.csv", 40)
    assert (
        figures.metrics["accuracy"].value == json.loads(again.out)["metrics"]["accuracy"]["value"]
    )
    log = (folder / "test_opened.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in log if line.endswith("is opened")] == [
        "test file last.csv is opened"
    ] * 2
    assert run("train", "reviews.csv", "--test", "last.csv", *QUICK).code == 0, (
        "the run is still whole"
    )
    other = run("train", "reviews.csv", "--test", "last.csv", *QUICK, "seed=5").out
    folder = other.rpartition("encore evaluate ")[2].partition(" --final")[0]
    third = json.loads(run("evaluate", folder, "--final", "--json", "--quiet").out)
    assert "this test file was opened 2 times before, by 1 run of this folder" in str(
        third["notes"]
    ), "it is the file that is used up, whichever run looks at it"


def test_runs_are_listed_with_state_and_first_figure(run: Run, reviewed: Path) -> None:
    empty = run("ls", "--runs", "nowhere")
    assert (empty.code, empty.out, empty.err) == (
        0,
        "no runs in nowhere. Start one: encore train FILE.csv\n",
        "",
    )
    stopped = Path("runs/other-0123456789")
    stopped.mkdir()
    (stopped / "resolved.json").write_text("{}")
    (stopped / "steps.jsonl").write_text("{}\n" * 3)
    shutil.copytree(reviewed, "runs/broken-0123456789")
    Path("runs/broken-0123456789/results.json").write_text("[1")
    Path("runs/notes.txt").write_text("mine")
    outcome = run("ls")
    assert (outcome.code, outcome.err) == (0, "")
    header, *lines = outcome.out.splitlines()
    assert header.split("  ")[0] == "run"
    listed = {line.split()[0]: line for line in lines}
    assert re.match(
        rf"{reviewed} +\S+reviews\.csv +\S+ +complete +accuracy +[\d.]+ % \[[\d., ]+\] +\d+ s",
        listed[str(reviewed)],
    )
    assert "stopped after step 3" in listed[str(stopped)]
    assert "damaged" in listed["runs/broken-0123456789"]
    assert len(lines) == 3
    found = {entry["run"]: entry for entry in json.loads(run("ls", "--json").out)["runs"]}
    assert set(found[str(reviewed)]["metrics"]["reviews"]["dev"]["accuracy"]) == {
        "value",
        "low",
        "high",
        "notes",
    }
    assert found[str(stopped)] == {
        "run": str(stopped),
        "task": "other",
        "state": "stopped after step 3",
    }


def test_a_run_that_is_being_trained_is_listed_as_such(run: Run, reviewed: Path) -> None:
    (reviewed / "manifest.json").unlink()
    with (reviewed / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert json.loads(run("ls", "--json").out)["runs"][0]["state"] == "training"


def test_tasks_are_listed_with_where_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "dev"):
        Path("data/rte").mkdir(exist_ok=True)
        Path(f"data/rte/{name}.parquet").touch()
    outcome = run("ls", "tasks")
    lines = {line.split()[0]: line for line in outcome.out.splitlines()}
    assert lines["rte"].endswith("here")
    assert lines["cola"].endswith("not here")
    assert lines["files:"].startswith("files: set ENCORE_DATA")
    monkeypatch.setenv("ENCORE_DATA_REPO", "someone/data")
    assert {
        entry["task"]: entry["files"]
        for entry in json.loads(run("ls", "tasks", "--json").out)["tasks"]
    } == {
        name: "here" if name == "rte" else "to download" for name in encore.data.named.task_names()
    }


@pytest.mark.parametrize("kind", sorted(CATALOGUE))
def test_techniques_are_listed_with_what_they_are(run: Run, kind: str) -> None:
    header, *lines = run("ls", kind).out.splitlines()
    assert header.split() == ["name", "what"]
    assert [line.split()[0] for line in lines] == sorted(CATALOGUE[kind])
    assert all(line.endswith(".") and len(line.split()) > 3 for line in lines)


def test_all_techniques_are_listed_with_their_kind(run: Run) -> None:
    header, *lines = run("ls", "techniques").out.splitlines()
    assert header.split() == ["kind", "name", "what"]
    found = [tuple(line.split()[:2]) for line in lines]
    assert found == [(kind, name) for kind in sorted(CATALOGUE) for name in sorted(CATALOGUE[kind])]


# ------------------------------------------------------------------------------ ends of other kinds


def test_a_run_that_another_process_trains_ends_with_4(run: Run) -> None:
    folder = Path(json.loads(run("train", "reviews.csv", *QUICK, "--dry-run", "--json").out)["run"])
    folder.mkdir(parents=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = run("train", "reviews.csv", *QUICK, "--quiet")
    assert outcome.code == 4
    assert (
        outcome.err
        == f"{folder}: another process is training this run. Wait for it, or stop it; the same "
        f"command then resumes.\n"
    )


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (
            MemoryError(),
            4,
            "encore: not enough memory. Process fewer rows at a time (plan.micro_batch=8)",
        ),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nmore"
            ),
            4,
            "encore: not enough memory.",
        ),
        (
            RuntimeError("unable to mmap 9 bytes from file <>: Cannot allocate memory (12)"),
            4,
            "encore: not enough memory.",
        ),
        (OverflowError("int too large"), 2, "encore: a number is too large to compute with."),
        (
            ValueError("a surprise\nin two lines"),
            1,
            "encore: internal error: ValueError: a surprise. Add --debug for the traceback, "
            "and please report it.\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "\ninterrupted. Nothing is lost; to resume: encore train reviews.csv\n",
        ),
    ],
    ids=["memory", "allocator", "mapping", "overflow", "surprise", "interrupt"],
)
def test_what_nobody_foresaw_is_one_line_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, said: str
) -> None:
    def surprise(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("encore.api.prepared_from", surprise)
    outcome = run("train", "reviews.csv")
    assert outcome.code == code
    assert outcome.err.startswith(said)
    assert len(outcome.err.strip().splitlines()) == 1


def test_whoever_reads_no_further_makes_no_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`encore … | head -n 1` under `set -o pipefail`."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        def fileno(self) -> int:
            return spare.fileno()

    with Path("spare").open("w") as spare:
        monkeypatch.setattr(sys, "stdout", Closed())
        with pytest.raises(SystemExit) as end:
            app.main(["ls", "metrics"])
    assert end.value.code == 0


@pytest.mark.parametrize(
    ("closed", "command", "code", "told"),
    [
        (1, ["ls", "metrics"], 0, "standard output is closed, so nothing is printed there\n"),
        (0, ["train", "-"], 3, "standard input: empty; expected a header line and rows"),
    ],
)
def test_a_closed_stream_is_one_line(
    here: Path, closed: int, command: list[str], code: int, told: str
) -> None:
    closing = f"import os, sys; os.close({closed}); os.execv(sys.executable, sys.argv[1:])"
    done = process("-c", closing, sys.executable, "-m", "encore", *command)
    assert done.returncode == code
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminated_command_says_how_to_resume(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("encore.api.prepared_from", terminated)
    try:
        outcome = run("train", "reviews.csv")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert outcome.code == 130
    assert outcome.err.endswith("to resume: encore train reviews.csv\n")


def test_debug_shows_where(here: Path) -> None:
    with pytest.raises(encore.DataError, match="no such file"):
        app.main(["train", "nowhere.csv", "--debug"])


def test_typed_texts_are_predicted_with_six_digits(run: Run, trained: Path) -> None:
    typed = run("predict", trained, "--text", "the lamp is great", "--text", "-1")
    assert (typed.code, typed.err) == (0, "")
    header, *lines = typed.out.splitlines()
    assert header.startswith("prediction,p(")
    chances = [cell for line in lines for cell in line.split(",")[1:]]
    assert len(lines) == 2
    assert all(len(cell) <= len("0.123456") or "e-" in cell for cell in chances)
    assert sum(map(float, lines[0].split(",")[1:])) == pytest.approx(1, abs=1e-5)
    for wrong in ((), ("new.csv", "--text", "a"), ("--text-pair", "b")):
        refused = run("predict", trained, *wrong)
        assert refused.code == 2
        assert "expected a FILE or --text TEXT, and not both" in refused.err


def test_short_forms_are_their_settings(run: Run, here: Path) -> None:
    long = ["encoder=minilm", "pooling=cls", "plan.epochs=2", "plan.lr=0.01"]
    short = ["--encoder", "minilm", "--pooling", "cls", "--epochs", "2", "--lr", "0.01"]
    found = [run("train", "reviews.csv", *how, "--dry-run", "--json") for how in (long, short)]
    assert [one.code for one in found] == [0, 0], found[0].err
    planned = [json.loads(one.out) for one in found]
    assert planned[0]["run"] == planned[1]["run"]
    assert planned[0]["recipe"] == planned[1]["recipe"]
    recipe = "tasks: {reviews: {data: {train: reviews.csv, label: stars}}}\n"
    kinds = {
        "compare": "seeds: [1, 2]\nvariants: {short: {max_length: 16}}\n",
        "tune": "seeds: [1, 2]\nsearch: {head.dropout: {uniform: [0.0, 0.3]}}\n",
    }
    for command, keys in kinds.items():
        (here / "study.yaml").write_text(recipe + keys)
        plans = []
        for how in (long, short):
            done = run(command, "study.yaml", *how, "--dry-run", "--json")
            assert done.code == 0, done.err
            plan = json.loads(done.out)
            del plan["estimated_seconds"]
            plans.append(plan)
        assert plans[0] == plans[1]
        twice = run(command, "study.yaml", "--lr", "1", "plan.lr=2")
        assert (twice.code, twice.err) == (
            2,
            "--lr 1: plan.lr=2 sets the same. Keep one of the two.\n",
        )


# ----------------------------------------------------------------------------------- real processes


def process(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(encore.__file__).parents[1]),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        **how,
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = (
        "torch",
        "numpy",
        "pyarrow",
        "sklearn",
        "scipy",
        "pydantic",
        "tokenizers",
        "huggingface_hub",
        "rich",
    )
    code = (
        f"import sys, encore.cli.app\ntry: encore.cli.app.main(['--help'])\nfinally: "
        f"print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = process("-c", code)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout.startswith("Usage: encore ")
    assert all(command in done.stdout for command in ("train", "evaluate", "predict", "ls"))
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process("-m", "encore", "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.5, f"seconds of processor time: {seconds}"


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(reviews())
    done = process("-m", "encore", "evaluate", "runs/reviews", cwd=tmp_path)
    said = "encore evaluate: which rows? Name a labelled FILE, or pass --final.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    wrong = process("-m", "encore", "trian", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (
        2,
        "",
        "encore: no command 'trian'. Did you mean 'train'? See: encore --help\n",
    )
    version = process("-m", "encore", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"encore \d+\.\d+\.\d+\S*\n", version.stdout)
    assert [file.name for file in tmp_path.iterdir()] == ["reviews.csv"]


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    for words in (["train"], []):
        home = tmp_path / "-".join(["home", *words])
        home.mkdir()
        script = shlex.join([sys.executable, "-m", "encore", *words, "--install-completion"])
        done = subprocess.run(
            ["bash", "-c", f"{script}; echo done"],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "HOME": str(home),
                "PYTHONPATH": str(Path(encore.__file__).parents[1]),
            },
        )
        assert done.stdout.startswith("bash completion installed in "), done.stderr
        assert (
            "_ENCORE_COMPLETE=complete_bash" in (home / ".bash_completions/encore.sh").read_text()
        )
        assert "encore.sh" in (home / ".bashrc").read_text()
    for line, expected in (("encore tr", ["train"]), ("encore train --ep", ["--epochs"])):
        asked = {
            "_ENCORE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        }
        found = subprocess.run(
            [sys.executable, "-m", "encore"],
            capture_output=True,
            text=True,
            env={**os.environ, **asked, "PYTHONPATH": str(Path(encore.__file__).parents[1])},
        )
        assert found.stdout.split() == expected


@pytest.mark.parametrize("words", [["train"], []], ids=["train", "encore"])
def test_zsh_completes_at_the_first_tab(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried by hand in zsh 5.9: with typer's own file, the first tab of a session does nothing."""
    import typer._completion_shared

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(typer._completion_shared, "_get_shell_name", lambda: "zsh")
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            app.main([*words, "--install-completion"])
        assert end.value.code == 0
    lines = (tmp_path / ".zfunc/_encore").read_text().splitlines()
    assert lines[-2:] == ["compdef _encore_completion encore", '_encore_completion "$@"']


def test_who_reads_only_the_first_lines_sees_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m encore ls metrics | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(encore.__file__).parents[1])},
    )
    assert done.stdout.split() == ["name", "what"]
    assert done.stderr == ""
