"""Fixtures of several test files: a tiny random BERT, small tables that it can learn, and a process
that starts `encore` without waiting for torch.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each worker, and not all cores for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from encore import files
from encore.evaluation import baselines
from encore.evaluation.baselines import Tfidf
from encore.recipe.load import recipe_for_file
from encore.recipe.schema import Recipe
from encore.runs import writer

if TYPE_CHECKING:
    from encore.runs.prepared import Prepared


# Files that take longest, started first: with two workers the last file decides when all is done.
_LONGEST = (
    "test_readme.py",
    "test_run_folders.py",
    "test_known_answers.py",
    "test_mypy.py",
    "test_trajectory.py",
    "test_first_hour.py",
    "test_doubt.py",
    "test_several_tasks.py",
    "test_resume.py",
    "test_app.py",
    "test_trials.py",
    "test_site.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, for `--no-loadscope-reorder`, and leave the others in order."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(_LONGEST)))


def pytest_configure() -> None:
    """Restore the default handler of Ctrl-C. Tests that a script started in the background ignore
    it, and processes that they start would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def fit_each_baseline_once() -> Iterator[None]:
    """Fit TF-IDF once for the same rows and seed: hundreds of runs share a few tables, and on a
    tiny encoder the baseline takes longer than all else. Tests of the baseline call it directly.
    """
    fitted: dict[tuple[Any, ...], Tfidf] = {}

    def fit(texts: Any, pairs: Any, targets: np.ndarray, labels: Any, *, seed: int) -> Tfidf:
        sides = tuple(None if side is None else tuple(side.to_pylist()) for side in (texts, pairs))
        key = (*sides, np.asarray(targets).tobytes(), labels, seed)
        if key not in fitted:
            fitted[key] = baselines.fit_tfidf(texts, pairs, targets, labels, seed=seed)
        return fitted[key]

    once = SimpleNamespace(fit_tfidf=fit, majority=baselines.majority)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "baselines", once)
        yield


WIDTH, N_LAYERS, N_HEADS, INNER, N_POSITIONS = 24, 2, 3, 40, 48
GOOD, BAD = (
    ("great", "lovely", "sturdy", "quick", "bright"),
    ("awful", "broken", "flimsy", "slow", "dull"),
)
PLAIN = (
    "the",
    "lamp",
    "zip",
    "box",
    "came",
    "is",
    "and",
    "very",
    "it",
    "my",
    "a",
    "was",
    "tent",
    "kettle",
    "after",
    "week",
    "one",
    "of",
    "with",
    "on",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    ".",
    *GOOD,
    *BAD,
    *PLAIN,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as one downloads it: BERT of two layers, width 24, random weights of a fixed seed,
    and a vocabulary of 90 words and letters.
    """
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    folder.mkdir()
    config = {
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": N_LAYERS,
    }
    config |= {
        "num_attention_heads": N_HEADS,
        "max_position_embeddings": N_POSITIONS,
        "type_vocab_size": 2,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    draw = np.random.default_rng(7)
    weights: dict[str, np.ndarray] = {}

    def dense(name: str, n_in: int, n_out: int) -> None:
        weights[f"{name}.weight"] = draw.normal(0, n_in**-0.5, (n_out, n_in)).astype(np.float32)
        weights[f"{name}.bias"] = draw.normal(0, 0.02, n_out).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            np.ones(WIDTH, np.float32),
            np.zeros(WIDTH, np.float32),
        )

    for name, rows in (("word", len(VOCABULARY)), ("position", N_POSITIONS), ("token_type", 2)):
        weights[f"embeddings.{name}_embeddings.weight"] = draw.normal(
            0, 0.5 if name == "word" else 0.05, (rows, WIDTH)
        ).astype(np.float32)
    norm("embeddings.LayerNorm")
    for layer in (f"encoder.layer.{number}" for number in range(N_LAYERS)):
        for part in ("query", "key", "value"):
            dense(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
        dense(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", WIDTH, INNER)
        dense(f"{layer}.output.dense", INNER, WIDTH)
        norm(f"{layer}.output.LayerNorm")
    dense("pooler.dense", WIDTH, WIDTH)
    save_file(weights, folder / "model.safetensors")
    return folder


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def sentences(n_rows: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts of 3 to 13 words, and how many good words each has less its bad ones: -2 to 2, all
    about equally often.
    """
    draw = np.random.default_rng(seed)
    texts, balance = [], []
    for row in range(n_rows):
        value = row % 5 - 2
        words = [
            *draw.choice(PLAIN, draw.integers(2, 12)),
            *draw.choice(GOOD if value > 0 else BAD, abs(value) or 1),
        ]
        if value == 0:
            words.append(draw.choice(GOOD))
        texts.append(" ".join(draw.permutation(words)))
        balance.append(value)
    return texts, balance


@dataclass(frozen=True)
class Tables:
    """`train` and `dev`: csv files with the columns text, other (a second text), verdict (bad,
    fair, good), tags (a;b), score (a number).
    """

    train: Path
    dev: Path
    settings: tuple[str, ...]  # KEY=VALUE that make a run of the tiny encoder short

    def recipe(self, *overrides: str, **data: Any) -> Recipe:
        """The recipe of `encore train TRAIN --dev DEV --text text --label verdict KEY=VALUE…`;
        `data` says otherwise, None leaves an option out.
        """
        given = {"dev": str(self.dev), "text": "text", "label": "verdict", **data}
        return recipe_for_file(self.train, (*self.settings, *overrides), **given)

    def prepared(self, *overrides: str, **data: Any) -> Prepared:
        from encore.runs.prepare import prepare

        return prepare(self.recipe(*overrides, **data))


@pytest.fixture(scope="session")
def tables(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """52 rows to train on, 23 to measure on. A task of train.csv is named after the folder."""
    folder = tmp_path_factory.mktemp("train", numbered=False)
    for name, n_rows, seed in (("train", 52, 1), ("dev", 23, 2)):
        texts, balance = sentences(n_rows, seed)
        if name == "dev":
            texts[3] += (
                # pieces that no training text has: rows of the word table that are not trained
                " xyzzy"
            )
        others, second = sentences(n_rows, seed + 10)
        columns = {
            "text": texts,
            "other": others[::-1],
            "verdict": [
                "bad" if value < 0 else "good" if value > 0 else "fair" for value in balance
            ],
        }
        columns["tags"] = [
            ";".join(
                tag
                for tag, on in (
                    ("praise", value >= 0),
                    ("blame", value <= 0),
                    ("strong", abs(value) == 2),
                )
                if on
            )
            for value in balance
        ]
        columns["score"] = [
            str(value + 0.25 * other) for value, other in zip(balance, second[::-1], strict=True)
        ]
        write_csv(folder / f"{name}.csv", columns)
    settings = (
        f"encoder={tiny_encoder}",
        "threads=1",
        "precision=fp32",
        "max_length=32",
        "plan.batch_size=9",
        "plan.epochs=3",
        "plan.lr=1e-2",
        "pooling=mean",
    )
    return Tables(folder / "train.csv", folder / "dev.csv", settings)


@dataclass(frozen=True)
class Outcome:
    """The end of a command. `code`: the exit status, -9 where it was killed; `n_operations`: calls
    that make files appear, move or vanish.
    """

    code: int
    out: str
    err: str
    seconds: float
    n_operations: int


class Warm:
    """Starts `encore ARGUMENTS` as forks of one process that has imported everything
    (tests/warm.py), which saves three seconds each time.
    """

    def __init__(self) -> None:
        driver = Path(__file__).parent / "warm.py"
        self.process = subprocess.Popen(
            [sys.executable, str(driver)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, arguments: Sequence[str | Path], **how: Any) -> int:
        """Its process number. `how`: see tests/warm.py."""
        pid = self._ask({"do": "start", "arguments": list(map(str, arguments)), "how": how})["pid"]
        assert isinstance(pid, int)
        return pid

    def wait(self, pid: int, *, kill_after: float | None = None) -> Outcome:
        """Wait for its end; `kill_after` seconds from now it gets SIGKILL."""
        return Outcome(**self._ask({"do": "wait", "pid": pid, "kill_after": kill_after}))

    def run(
        self, arguments: Sequence[str | Path], *, kill_after: float | None = None, **how: Any
    ) -> Outcome:
        return self.wait(self.start(arguments, **how), kill_after=kill_after)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)

    def _ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    process = Warm()
    yield process
    process.close()


@dataclass(frozen=True)
class Command:
    """One command line, and how it ended when nobody disturbed it."""

    warm: Warm
    words: tuple[str | Path, ...]
    whole: Outcome
    folder: Path  # of the undisturbed run

    def arguments(self, runs: Path) -> list[str | Path]:
        return [*self.words, "--runs", runs]

    def run(self, runs: Path, **how: object) -> Outcome:
        return self.warm.run(self.arguments(runs), **{"checkpoint_steps": 2, **how})  # type: ignore[arg-type]

    def run_folder(self, runs: Path) -> Path:
        return runs / self.folder.name

    def assert_same(self, runs: Path) -> None:
        """No file more, none less, and every file of the manifest byte for byte."""
        again = self.run_folder(runs)
        assert listing(again) == listing(self.folder)
        names = [*files.read_json(self.folder / files.MANIFEST), files.MANIFEST]
        assert len(names) == 15
        differing = [
            name
            for name in names
            if (again / name).read_bytes() != (self.folder / name).read_bytes()
        ]
        assert not differing


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="session")
def command(warm: Warm, tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Command:
    folder = tmp_path_factory.mktemp("whole")
    columns = ("--dev", tables.dev, "--text", "text", "--text-pair", "other", "--label", "verdict")
    words = (
        "train",
        tables.train,
        *columns,
        *tables.settings,
        "plan.keep=best",
        "plan.micro_batch=5",
        "sampling=balanced",
    )
    whole = warm.run([*words, "--runs", folder / "runs"], checkpoint_steps=2)
    assert whole.code == 0, whole.err
    (run,) = (folder / "runs").iterdir()
    return Command(warm, words, whole, run)
