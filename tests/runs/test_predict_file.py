"""Prediction of files window by window: the same bytes in windows of any size, and after a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
import torch

import encore
from encore.cli.app import main
from encore.data.read import open_table
from encore.data.table import CHUNK_ROWS
from encore.errors import DataError
from encore.runs import predict_file
from encore.runs.predict import Model, load
from tests.conftest import Tables, sentences, write_csv
from tests.data.test_workbook import sheet, workbook

KINDS = {"classes": "verdict", "tags": "tags", "number": "score"}


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def model(
    request: pytest.FixtureRequest, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("runs")
    settings = (*tables.settings, "plan.epochs=1")
    return load(encore.fit(tables.train, *settings, label=request.param, runs=runs).folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with new.csv, new.jsonl and new.parquet: the same 50 rows."""
    monkeypatch.chdir(tmp_path)
    texts = sentences(50, 5)[0]
    write_csv(tmp_path / "new.csv", {"id": range(50), "text": texts})
    rows = [json.dumps({"id": row, "text": text}) + "\n" for row, text in enumerate(texts)]
    Path("new.jsonl").write_text("".join(rows))
    pq.write_table(pyarrow.csv.read_csv("new.csv"), "new.parquet")
    return tmp_path


def predict(model: Model, *arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["predict", str(model.folder), *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def cells_of(path: str) -> list[list[str]]:
    with Path(path).open(newline="") as file:
        return list(csv.reader(file))


def windows_of(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(predict_file, "_MOST_ROWS", rows)


def rows_of(path: str) -> tuple[list[dict[str, object]], np.ndarray]:
    """The rows of an output without its numbers, and (rows, numbers) its numbers."""
    reader = {
        "csv": pyarrow.csv.read_csv,
        "jsonl": pyarrow.json.read_json,
        "parquet": pq.read_table,
    }
    table = reader[path.split(".")[1]](path)
    numbers = [
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if pyarrow.types.is_floating(kind)
    ]
    rest = table.drop_columns(numbers)
    return rest.to_pylist(), np.array([table[name].to_pylist() for name in numbers]).T


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_windows_do_not_change_the_output(
    model: Model, here: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(model, f"new.{ending}", "-o", f"whole.{ending}", "--with-input") == 0
    windows_of(monkeypatch, 7)
    assert predict(model, f"new.{ending}", "-o", f"cut.{ending}", "--with-input") == 0
    (cut, cut_numbers), (whole, numbers) = rows_of(f"cut.{ending}"), rows_of(f"whole.{ending}")
    assert cut == whole
    assert [row["id"] for row in cut] == list(range(50))
    # A matrix product of few rows rounds in another way than one of many.
    np.testing.assert_allclose(cut_numbers, numbers, rtol=2e-5, atol=1e-6)
    assert not [path for path in here.iterdir() if path.name.startswith(".")]


def test_the_output_is_that_of_all_rows_at_once(model: Model, here: Path) -> None:
    assert predict(model, "new.csv", "-o", "whole.parquet") == 0
    expected = model.predict(pyarrow.csv.read_csv("new.csv")["text"].to_pylist())
    found = pq.read_table("whole.parquet").to_pylist()
    assert len(found) == len(expected)
    for row, one in zip(found, expected, strict=True):
        label = row.pop("prediction")
        assert (tuple(label) if isinstance(label, list) else label) == one.label
        assert row == {f"p({name})": chance for name, chance in one.probabilities.items()}


def test_a_killed_prediction_resumes_to_the_same_bytes(
    model: Model, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    windows_of(monkeypatch, 8)
    assert predict(model, "new.csv", "-o", "whole.csv") == 0
    scored: list[int] = []
    usual = Model.scores_of

    def counted(self: Model, tasks: list[str], dataset: object) -> dict[str, np.ndarray]:
        scored.append(len(dataset))  # type: ignore[arg-type]
        return usual(self, tasks, dataset)  # type: ignore[arg-type]

    def killed(self: Model, tasks: list[str], dataset: object) -> dict[str, np.ndarray]:
        if len(scored) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return counted(self, tasks, dataset)

    def killed_try() -> None:
        scored.clear()
        monkeypatch.setattr(Model, "scores_of", killed)
        pid = os.fork()
        if not pid:
            predict(model, "new.csv", "-o", "out.csv")
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        monkeypatch.setattr(Model, "scores_of", counted)

    def resumed(rows: list[int]) -> None:
        scored.clear()
        capsys.readouterr()
        assert predict(model, "new.csv", "-o", "out.csv", "--resume") == 0
        assert scored == rows
        assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()
        assert not [path for path in here.iterdir() if path.name.startswith(".")]
        Path("out.csv").unlink()

    killed_try()
    assert not Path("out.csv").exists()
    resumed([8, 8, 8, 2])
    assert "out.csv: resumes after row 24\n" in capsys.readouterr().err

    killed_try()
    kept = bytearray(Path(".out.csv.scores").read_bytes())
    kept[-1] ^= 1  # in the third window
    Path(".out.csv.scores").write_bytes(kept)
    resumed([8, 8, 8, 8, 2])

    killed_try()
    Path(".out.csv.scores").write_bytes(bytes(kept[:-3]))
    resumed([8, 8, 8, 8, 2])

    killed_try()  # the scores of another file are of no use
    Path("new.csv").write_bytes(Path("new.csv").read_bytes().replace(b"49,", b"50,"))
    resumed([8, 8, 8, 8, 8, 8, 2])


def test_a_file_under_the_name_of_kept_scores_is_left_alone(
    model: Model, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = here / ".out.csv.scores"
    refused = (
        ".out.csv.scores: holds no scores of Encore, which keeps those of a prediction under this "
        "name. Rename it, or name another output (-o).\n"
    )
    for content in (b"my scores\n", b"encore scores 2\n"):
        mine.write_bytes(content)
        for more in ((), ("--resume",), ("--overwrite",)):
            capsys.readouterr()
            assert predict(model, "new.csv", "-o", "out.csv", *more) == 2
            assert capsys.readouterr().err.endswith(refused)
            assert mine.read_bytes() == content
    mine.unlink()
    os.mkfifo(mine)
    assert predict(model, "new.csv", "-o", "out.csv") == 2  # and does not wait for its writer
    assert mine.is_fifo()
    mine.unlink()
    other = here / ".out.csv.backup.part"  # not one of a killed process
    other.write_text("mine")
    assert predict(model, "new.csv", "-o", "out.csv") == 0
    assert other.read_text() == "mine"


def test_scores_that_are_dropped_are_named(
    model: Model,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    windows_of(monkeypatch, 8)
    usual, tries = Model.scores_of, list[int]()

    def interrupted(self: Model, tasks: list[str], dataset: object) -> dict[str, np.ndarray]:
        tries.append(1)
        if len(tries) == 3:
            raise KeyboardInterrupt
        return usual(self, tasks, dataset)  # type: ignore[arg-type]

    def stopped() -> None:
        tries.clear()
        monkeypatch.setattr(Model, "scores_of", interrupted)
        assert predict(model, "new.csv", "-o", "out.csv") == 130
        monkeypatch.setattr(Model, "scores_of", usual)
        capsys.readouterr()

    begin = "out.csv: scores that an earlier try left are dropped: "
    stopped()
    assert predict(model, "new.csv", "-o", "out.csv") == 0
    assert f"{begin}there is no --resume\n" in capsys.readouterr().err
    assert predict(model, "new.csv", "-o", "out.csv", "--overwrite") == 0
    assert begin not in capsys.readouterr().err
    Path("out.csv").unlink()
    stopped()
    Path("new.csv").write_bytes(Path("new.csv").read_bytes().replace(b"49,", b"50,"))
    assert predict(model, "new.csv", "-o", "out.csv", "--resume") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:3] == [
        f"{begin}they are of other rows or settings",
        "out.csv: nothing to resume",
    ]


def test_resume_needs_a_file(model: Model, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(model, "new.csv", "--resume") == 2
    assert capsys.readouterr().err == (
        "encore predict: --resume needs a file to write: -o predictions.csv\n"
    )


def test_bad_rows_anywhere_are_reported_before_anything_is_computed(
    model: Model, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{row},the lamp\n" for row in range(2 * CHUNK_ROWS)]
    rows[5] = "5\n"
    rows[-2] = "1,2,3\n"
    Path("bad.csv").write_text("id,text\n" + "".join(rows))
    monkeypatch.setattr(Model, "scores_of", None)
    assert predict(model, "bad.csv", "-o", "out.csv") == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].split()[0] for line in lines] == ["7", str(2 * CHUNK_ROWS)]
    assert not Path("out.csv").exists()


def test_a_survey_finds_the_types_of_the_whole_file(here: Path) -> None:
    rows = [{"text": "a", "n": row} for row in range(CHUNK_ROWS)] + [{"text": "b", "n": "x"}]
    Path("mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stream = open_table("mixed.jsonl")
    assert stream.n_rows == CHUNK_ROWS + 1
    tables = list(stream.tables())
    assert [table.columns["n"].type for table in tables] == [pyarrow.string()] * 2
    assert tables[0].columns["n"].to_pylist()[:2] == ["0", "1"]
    assert tables[1].lines is not None
    assert tables[1].lines.tolist() == [CHUNK_ROWS + 1]


def test_a_file_that_changes_while_it_is_read_is_refused(here: Path) -> None:
    tables = open_table("new.csv").tables()
    next(tables)
    with Path("new.csv").open("a") as file:
        file.write("51,more\n")
    with pytest.raises(DataError, match=r"new\.csv: was changed while it was read\."):
        list(tables)


def test_lines_above_a_table_are_skipped_in_each_window(
    model: Model, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    windows_of(monkeypatch, 8)
    assert predict(model, "new.csv", "-o", "plain.csv", "--with-input") == 0
    Path("titled.csv").write_text("All texts\n\n" + Path("new.csv").read_text())
    capsys.readouterr()
    assert predict(model, "titled.csv", "-o", "out.csv", "--with-input", "--skip-lines", "2") == 0
    assert capsys.readouterr().err == (
        "titled.csv: 50 rows, delimiter ',', 2 lines skipped, encoding utf-8\n50 rows → out.csv\n"
    )
    assert Path("out.csv").read_bytes() == Path("plain.csv").read_bytes()
    tables = list(open_table("titled.csv", skip_lines=2).tables())
    assert [table.lines.tolist() for table in tables if table.lines is not None] == [
        list(range(4, 54))
    ]
    Path("titled.csv").write_text("All texts,\n" + Path("new.csv").read_text())
    assert predict(model, "titled.csv", "-o", "out2.csv") == 3
    assert "a title, no column names. Skip it: --skip-lines 1\n" in capsys.readouterr().err


def test_a_workbook_is_predicted_as_its_csv_file(
    model: Model, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("new.xlsx").write_bytes(workbook(sheet(cells_of("new.csv"))))
    windows_of(monkeypatch, 8)
    assert predict(model, "new.csv", "-o", "of_csv.csv", "--with-input") == 0
    assert predict(model, "new.xlsx", "-o", "of_xlsx.csv", "--with-input") == 0
    assert Path("of_xlsx.csv").read_bytes() == Path("of_csv.csv").read_bytes()


def test_cells_of_all_windows_are_safe_and_short(
    model: Model, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows_of(monkeypatch, 2)
    write_csv(here / "formulas.csv", {"text": ["the lamp", "=1+1", "@b", "-2"]})
    arguments = ("formulas.csv", "--with-input", "-o")
    assert predict(model, *arguments, "safe.csv") == 0
    assert predict(model, *arguments, "raw.csv", "--raw") == 0
    assert predict(model, *arguments, "all.parquet") == 0

    def columns(path: str) -> dict[str, list[str]]:
        header, *rows = cells_of(path)
        return {name: list(cells) for name, *cells in zip(header, *rows, strict=True)}

    assert columns("safe.csv")["text"] == ["the lamp", "'=1+1", "'@b", "-2"]
    assert columns("raw.csv")["text"] == ["the lamp", "=1+1", "@b", "-2"]
    exact = pq.read_table("all.parquet")
    for name in exact.column_names[2:]:
        chances = exact[name].to_pylist()
        assert [float(cell) for cell in columns("safe.csv")[name]] == [
            round(chance, 6) for chance in chances
        ]
        assert any(chance != round(chance, 6) for chance in chances)


def test_typed_texts_replace_an_output_and_are_not_resumed(
    model: Model, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ("--text", "the lamp", "--text", "the chair")
    for more in ((), ("--overwrite",)):
        assert predict(model, *texts, "-o", "out.csv", *more) == 0
        assert capsys.readouterr().err == "2 rows → out.csv\n"
    assert predict(model, *texts, "-o", "out.csv", "--overwrite", "--resume") == 2
    assert capsys.readouterr().err == (
        "encore predict: --resume is for a FILE; leave it out with --text.\n"
    )


def test_each_window_gives_back_the_memory_that_it_no_longer_uses(
    model: Model, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_file, "_MOST_ROWS", 20)
    given_back: list[None] = []
    monkeypatch.setattr(predict_file, "return_free_pages", lambda: given_back.append(None))
    assert predict(model, "new.csv", "-o", "out.csv") == 0
    assert len(given_back) == 3  # 50 rows
