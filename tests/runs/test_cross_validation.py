"""Cross-validation: which rows a fold has, who scores them, the figures, and the folder."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

import encore
from encore.cli import app
from encore.data.split import stratified_folds
from encore.errors import DataError, RecipeError
from encore.evaluation.estimates import estimate_metrics
from encore.recipe.find import recipe_of
from encore.report.write import write_report
from encore.runs.cross_validation import CrossValidation, read_folds
from encore.runs.folder import read_predictions, read_result
from encore.runs.predict import load
from encore.runs.prepare import prepare
from encore.tables.folds import folds_table
from tests.conftest import Tables

N = 3
LABELS = {"verdict": "multiclass", "tags": "multilabel", "score": "regression"}
Run = Callable[..., tuple[int, str, str]]


def settings_of(tables: Tables) -> tuple[str, ...]:
    return (*tables.settings, "plan.epochs=1")


@pytest.fixture(scope="module")
def kinds(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CrossValidation]:
    place = tmp_path_factory.mktemp("kinds")
    return {
        label: encore.cross_validate(
            tables.train, *settings_of(tables), folds=N, runs=place, label=label, text="text"
        )
        for label in LABELS
    }


def write_posts(folder: Path, n_authors: int = 20) -> Path:
    file = folder / "posts.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text", "label", "author"])
        for author in range(n_authors):
            for post in range(2 + author % 3):
                label = "good" if (author + post) % 3 else "bad"
                said = "great" if author % 2 else "awful"
                writer.writerow([f"the {said} lamp {author} {post}", label, f"author {author}"])
    return file


@pytest.fixture(scope="module")
def posts(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    """Of a file whose authors stay together."""
    place = tmp_path_factory.mktemp("posts")
    file = write_posts(place)
    settings = settings_of(tables)
    return encore.cross_validate(file, *settings, folds=4, runs=place / "runs", group="author")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            app.main([str(word) for word in words])
        return int(str(end.value.code or 0)), *capsys.readouterr()

    return command


# ------------------------------------------------------------------------------------------- folds


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_dealt_as_a_slow_loop_deals_them(seed: int) -> None:
    """Each group, the largest and rarest first, to a fold whose squared shares it raises least."""
    draw = np.random.default_rng(seed)
    targets, members = draw.integers(0, 3, 400), draw.integers(0, 15, 400)
    found = stratified_folds(targets, "multiclass", 4, seed, members)
    kinds = [targets == label for label in range(3)] + [np.full(400, True)]
    shares = [
        [
            Fraction(int((of_kind & (members == group)).sum()), int(of_kind.sum()))
            for of_kind in kinds
        ]
        for group in range(15)
    ]
    assert len(set(map(sum, shares))) == 15, "no two groups are equal, so their order is certain"
    order = sorted(range(15), key=lambda group: -sum(shares[group]))
    dealt = [[Fraction(0)] * 4 for _ in range(4)]
    for group in order:
        raised = [sum(d * s for d, s in zip(fold, shares[group], strict=True)) for fold in dealt]
        (own,) = set(found[members == group].tolist())
        assert raised[own] - min(raised) < 1e-12, "dealt to a fold that has more of these labels"
        dealt[own] = [d + s for d, s in zip(dealt[own], shares[group], strict=True)]


@pytest.mark.parametrize("label", LABELS)
def test_folds_partition_the_rows_exactly(
    kinds: dict[str, CrossValidation], tables: Tables, label: str
) -> None:
    found, rows = kinds[label], kinds[label].out_of_fold
    assert rows.rows.tolist() == list(range(52))
    assert [fold.n_rows for fold in found.record.folds] == np.bincount(rows.fold)[1:].tolist()
    for number, folder in enumerate(found.runs, 1):
        own = prepare(
            recipe_of(
                tables.train,
                (*settings_of(tables), f"data.fold={number}/{N}"),
                label=label,
                text="text",
            )
        )
        assert own.name == folder.name, "the run is that of data.fold"
        stream = own.streams["train"]
        assert stream.dev["dev"].numbers.tolist() == rows.rows[rows.fold == number].tolist()
        assert set(stream.train.numbers.tolist()) == set(rows.rows[rows.fold != number].tolist())


@pytest.mark.parametrize("label", LABELS)
def test_every_row_is_scored_by_the_run_that_did_not_see_it(
    kinds: dict[str, CrossValidation], tables: Tables, label: str
) -> None:
    found, rows = kinds[label], kinds[label].out_of_fold
    scores = []
    for folder in found.runs:
        model = load(folder)
        scores.append(model.scores(model.read(tables.train)))
    for row in range(52):
        by = rows.fold[row] - 1
        assert np.allclose(rows.scores[row], scores[by][row], atol=1e-5)
        assert not np.allclose(rows.scores[row], scores[(by + 1) % N][row], atol=1e-5)
    for number, folder in enumerate(found.runs, 1):
        stored = read_predictions(folder, "train", "dev", read_result(folder).epoch)
        mine = rows.fold == number
        assert rows.scores[mine].tobytes() == stored.scores.tobytes()
        assert np.array_equal(rows.targets[mine], stored.targets)


def test_the_figures_are_those_of_scikit_learn_on_all_rows(
    kinds: dict[str, CrossValidation],
) -> None:
    found, rows = kinds["verdict"].record.out_of_fold, kinds["verdict"].out_of_fold
    assert found["accuracy"].value == accuracy_score(rows.targets, rows.predictions)
    expected = f1_score(rows.targets, rows.predictions, average="macro", zero_division=0)
    assert found["macro_f1"].value == pytest.approx(expected, abs=1e-12)
    found, rows = kinds["tags"].record.out_of_fold, kinds["tags"].out_of_fold
    expected = f1_score(rows.targets, rows.predictions, average="micro", zero_division=0)
    assert found["micro_f1"].value == pytest.approx(expected, abs=1e-12)
    found, rows = kinds["score"].record.out_of_fold, kinds["score"].out_of_fold
    expected = pearsonr(rows.scores[:, 0], rows.targets).statistic
    assert found["pearson"].value == pytest.approx(expected, abs=1e-6)


def test_mean_and_spread_are_over_the_folds(kinds: dict[str, CrossValidation]) -> None:
    found, rows = kinds["verdict"], kinds["verdict"].out_of_fold
    each = [
        accuracy_score(rows.targets[rows.fold == k], rows.predictions[rows.fold == k])
        for k in range(1, N + 1)
    ]
    assert found.record.of_folds("accuracy") == pytest.approx(each)
    stored = json.loads((found.folder / "results.json").read_text())
    over = stored["over_folds"]["accuracy"]
    assert over == pytest.approx({"mean": statistics.mean(each), "sd": statistics.stdev(each)})
    mean, sd = 100 * statistics.mean(each), 100 * statistics.stdev(each)
    assert f"{mean:.1f} ± {sd:.1f}" in str(folds_table(found.record))


# ------------------------------------------------------------------------------------------ groups


def test_groups_are_never_parted_and_the_interval_draws_them(posts: CrossValidation) -> None:
    rows, record = posts.out_of_fold, posts.record
    assert rows.groups is not None
    assert len(set(rows.groups.tolist())) == record.n_groups == 20
    for group in set(rows.groups.tolist()):
        assert len(set(rows.fold[rows.groups == group].tolist())) == 1
    names = ("accuracy", "f1")
    grouped = estimate_metrics(
        rows.scores, rows.targets, rows.labels, names, 42, groups=rows.groups
    )
    by_rows = estimate_metrics(rows.scores, rows.targets, rows.labels, names, 42)
    assert record.out_of_fold == grouped
    assert grouped["accuracy"].value == by_rows["accuracy"].value
    assert grouped["accuracy"] != by_rows["accuracy"]
    table = str(folds_table(record))
    assert "interval over the 20 groups of 'author'" in table
    assert "20 groups are too few for an interval to be trusted." in table


# ------------------------------------------------------------------------------------------ folder


def test_stopped_and_resumed_gives_the_same_bytes(
    tables: Tables, kinds: dict[str, CrossValidation], tmp_path: Path
) -> None:
    seen: list[Any] = []

    def stop(report: Any) -> None:
        seen.append(report)
        if len(seen) == 6:  # in the second fold
            raise KeyboardInterrupt

    def again(**how: Any) -> CrossValidation:
        settings = settings_of(tables)
        data = {"label": "verdict", "text": "text"}
        return encore.cross_validate(tables.train, *settings, folds=N, runs=tmp_path, **data, **how)

    with pytest.raises(KeyboardInterrupt):
        again(watch=stop)
    assert len(list(tmp_path.glob("train-*"))) == 2
    assert not list(tmp_path.glob("folds-*"))
    resumed = again()
    assert not resumed.already_complete
    whole = kinds["verdict"].folder
    assert resumed.folder.name == whole.name
    files = {file.name: file.read_bytes() for file in whole.iterdir() if file.is_file()}
    assert set(files) >= {"manifest.json", "out_of_fold.parquet", "results.json", "folds.json"}
    assert {name: (resumed.folder / name).read_bytes() for name in files} == files
    seen.clear()
    assert again(watch=seen.append).already_complete
    assert not seen, "nothing is trained again"


def test_the_file_has_a_line_for_each_row(kinds: dict[str, CrossValidation]) -> None:
    table = pq.read_table(kinds["verdict"].folder / "out_of_fold.parquet")
    assert table.column_names == ["digest", "row", "fold", "scores", "label"]
    assert table.num_rows == 52


def test_a_damaged_folder_is_one_line(posts: CrossValidation, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / posts.folder.name
    shutil.copytree(posts.folder, folder)
    with (folder / "out_of_fold.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"out_of_fold.parquet: missing, or not as it was written"):
        encore.out_of_fold(folder)
    with pytest.raises(DataError, match="no cross-validation"):
        encore.out_of_fold(posts.runs[0])


def test_ls_report_and_rm_know_it(posts: CrossValidation, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("ls", "--runs", posts.folder.parent, "--json")
    (listed,) = [one for one in json.loads(out)["runs"] if "cross_validation" in one]
    assert (code, listed["state"]) == (0, "complete")
    assert listed["out_of_fold"]["accuracy"]["value"] == posts.record.out_of_fold["accuracy"].value
    page = write_report(posts.folder, tmp_path / "page.html").html.read_text()
    assert "all rows, out of fold" in page
    assert posts.runs[3].name in page
    code, _, err = run("predict", posts.folder, "x.csv")
    assert (code, err.count("\n")) == (3, 1)
    assert "a cross-validation, whose runs lie beside it" in err
    code, _, err = run("mv", posts.folder, tmp_path / "y")
    assert "a cross-validation, which names the runs beside it" in err
    assert read_folds(posts.folder).record == posts.record


# ------------------------------------------------------------------------------------ command line


def test_the_command_prints_one_object_and_a_table(
    run: Run, tables: Tables, kinds: dict[str, CrossValidation]
) -> None:
    found = kinds["verdict"]
    words = ["train", tables.train, "--label", "verdict", "--text", "text", "--folds", str(N)]
    words += [*settings_of(tables), "--runs", found.folder.parent]
    code, out, err = run(*words, "--json", "--quiet")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["cross_validation"] == str(found.folder)
    assert [one["run"] for one in told["folds"]] == [folder.name for folder in found.runs]
    code, out, err = run(*words)
    assert (code, "fold 2: 17 rows; run" in err) == (0, True)
    assert "mean ± sd of the folds, majority" in out
    assert "the sd is their spread, and no interval follows from it." in out
    assert out.splitlines()[-1].startswith("cross-validation: ")
    code, out, _ = run(*words[:-1], found.folder.parent / "no", "--dry-run", "--json")
    assert json.loads(out)["left"] == N
    assert not (found.folder.parent / "no").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--folds", "1"], "--folds: expected 2 to 9,999, got 1."),
        (["--folds", "many"], "--folds: expected a whole number of at least 0, got 'many'."),
        (
            ["--folds", "3", "--dev", "posts.csv"],
            "--folds: each fold is the dev set of one run, but data.dev names another. Remove one "
            "of the two.",
        ),
        (
            ["--folds", "3", "data.fold=1/3"],
            "--folds: a run for every fold, but data.fold is 1/3. Remove one of the two.",
        ),
        (
            ["--folds", "3", "data.dev_rows=4"],
            "--folds: every row is scored, but data.dev_rows cuts each fold. Remove one of the "
            "two.",
        ),
        (
            ["--folds", "99"],
            "posts.csv: 99 folds need 99 groups of rows or more, and there are 18 distinct texts. "
            "Take fewer folds, or more rows.",
        ),
        (
            ["--folds", "7", "--group", "author"],
            "posts.csv: 7 folds need 7 groups of rows or more, and there are 6 groups of "
            "'author'. Take fewer folds, or more rows.",
        ),
        (
            ["--folds", "3", "--from", "runs/x"],
            "--folds: a run goes on from another as a whole. Remove --from.",
        ),
        (
            ["--folds", "3", "data.kind=unlabelled"],
            "--folds: a task without labels has no figures to cross-validate. Remove the folds.",
        ),
    ],
)
def test_a_newcomers_mistake_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_posts(tmp_path, 6)
    code, out, err = run("train", "posts.csv", *words)
    assert (code in (2, 3), out, err) == (True, "", f"{line}\n")
    assert not Path("runs").exists()


def test_several_tasks_are_refused(tables: Tables) -> None:
    task = {"data": {"train": str(tables.train), "label": "verdict"}}
    with pytest.raises(RecipeError, match=r"is of one task, and this .* has a, b"):
        encore.cross_validate({"tasks": {"a": task, "b": task}}, folds=3)


def test_an_encoder_that_has_seen_the_rows_is_refused(tables: Tables, tmp_path: Path) -> None:
    file = write_posts(tmp_path)
    short = dict(one.split("=") for one in tables.settings)
    recipe: dict[str, Any] = {
        "encoder": short["encoder"],
        "threads": 1,
        "tasks": {"posts": {"max_length": 32, "data": {"train": str(file), "label": "label"}}},
    }
    after = {**recipe, "encoder": {"run": recipe, "task": "posts"}}
    with pytest.raises(RecipeError, match=r"fold 1/3: the run posts-\w+ that it starts from was"):
        encore.cross_validate(after, folds=3, runs=tmp_path / "runs")
