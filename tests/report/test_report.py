"""`encore report`: what the page says is what the folder holds; whatever texts are in it, it stays
one file that loads and runs nothing.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome, Tables, Warm, sentences, write_csv
from report.hostile import HOSTILE
from report.reading import Element, csv_of, parsed

import encore
from encore import files
from encore.data.batches import collate
from encore.data.token_store import tokenize
from encore.errors import DataError, EncoreError
from encore.recipe.load import recipe_for_file
from encore.report import gather, provenance, search
from encore.report.write import _write_folder, write_report

KINDS = ("classes", "ordered", "tags", "values", "hostile")
LABELS = ('<b>bold</b> & "quoted"', "$\\frac{1}{0}$ \\", "=1+1", "\u202eleft", "日本語")


def made(tables: Tables, kind: str, folder: Path) -> Path:
    """A run of the tiny encoder on a task of this kind, in `folder`."""
    from encore.runs.execute import execute
    from encore.runs.prepare import prepare

    folder.mkdir()
    if kind == "ordered":
        for name, n_rows, seed in (("train", 52, 1), ("dev", 61, 2)):
            texts, balance = sentences(n_rows, seed)
            write_csv(
                folder / f"{name}.csv", {"text": texts, "stars": [value + 3 for value in balance]}
            )
        recipe = recipe_for_file(
            folder / "train.csv",
            (*tables.settings, "plan.epochs=2"),
            dev=str(folder / "dev.csv"),
            label="stars",
        )
    elif kind == "hostile":
        for name, texts in (("train", sentences(40, 1)[0]), ("dev", list(HOSTILE))):
            lines = [{"text": text, "kind": label} for text in texts for label in LABELS]
            (folder / f"{name}.jsonl").write_text(
                "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
            )
        recipe = recipe_for_file(
            folder / "train.jsonl",
            (*tables.settings, "plan.epochs=1"),
            dev=str(folder / "dev.jsonl"),
            label="kind",
            text="text",
        )
    else:
        shutil.copy(tables.train, folder / "train.csv")
        shutil.copy(tables.dev, folder / "dev.csv")
        how: dict[str, Any] = {
            "classes": {"label": "verdict"},
            "tags": {"label": "tags"},
            "values": {"label": "score", "text_pair": "other"},
            "norm_cls": {"label": "verdict"},
            "norm_seq_mha": {"label": "verdict"},
        }[kind]
        chosen = (
            (f"pooling={{name: {kind}, k: 2}}", "metrics=[accuracy, log_loss]")
            if kind.startswith("norm_")
            else ()
        )
        recipe = recipe_for_file(
            folder / "train.csv",
            (*tables.settings, "plan.epochs=2", *chosen),
            **{"dev": str(folder / "dev.csv"), "text": "text", **how},
        )
    return execute(prepare(recipe), folder / "runs").folder


@dataclass(frozen=True)
class Made:
    """A run with its report."""

    run: Path
    html: str = field(repr=False)
    page: Element

    @property
    def data(self) -> Path:
        return self.run.parents[1]

    def stored(self, name: str) -> Any:
        return files.read_json(self.run / name)


@pytest.fixture(scope="module")
def make(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Each kind once, when it is first asked for."""
    found: dict[str, Made] = {}
    place = tmp_path_factory.mktemp("report")

    def of(kind: str) -> Made:
        if kind not in found:
            run = made(tables, kind, place / kind)
            html = write_report(run, n_mistakes=1_000).html.read_text(encoding="utf-8")
            found[kind] = Made(run, html, parsed(html))
        return found[kind]

    return of


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are numbers and words and an empty drawing, which is all that these tests need and
    takes no time.
    """
    empty = (
        '<svg width="1pt" height="1pt" viewBox="0 0 1 1" '
        'xmlns="http://www.w3.org/2000/svg"></svg>\n'
    )
    monkeypatch.setattr("encore.report.drawing.svg", lambda name, draw, height: empty)


def copied(made: Made, place: Path) -> Path:
    """The folder with its data files and its run, elsewhere; the recipe in it still names the files
    where they were.
    """
    shutil.copytree(made.run, place / made.run.name)
    return place / made.run.name


# -------------------------------------------------------------------------- what any page has to be


def assert_static(page: Element) -> None:
    """Nothing is loaded, nothing is run."""
    assert not page.all(
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "img",
        "video",
        "audio",
        "animate",
        "foreignobject",
        "image",
    )
    for element in page.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), element
            if name in (
                "href",
                "src",
                "srcset",
                "action",
                "data",
                "xlink:href",
                "poster",
                "background",
            ):
                assert re.match(r"#|data:(,$|text/csv;)", value), (
                    f"<{element.tag} {name}={value[:60]}>"
                )
            if name not in ("href", "content"):
                assert "://" not in value, f"<{element.tag} {name}={value[:60]}>"
            assert not re.search(r"url\((?!#)", value), f"<{element.tag} {name}={value[:60]}>"
    (style,) = page.all("style")
    assert not re.search(r"@import|url\(|://|expression", style.text)
    (policy,) = [
        meta.attributes["content"]
        for meta in page.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def assert_accessible(page: Element) -> None:
    assert page.one("html").attributes["lang"] == "en"
    assert (
        len(page.one("title").text if len(page.all("title")) == 1 else page.all("title")[0].text)
        > 5
    )
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert sorted(set(ids)) == sorted(ids)
    named = {
        element.attributes["id"]: element for element in page.all() if "id" in element.attributes
    }
    drawings = page.all("svg")
    assert len(drawings) == len(page.all("figure")) > 2
    for drawing in drawings:
        assert drawing.attributes["role"] == "img"
        title, alt = (named[name] for name in drawing.attributes["aria-labelledby"].split())
        assert (title.tag, alt.tag) == ("title", "desc")
        assert len(title.text) > 8
        assert re.search(r"\d", alt.text), "the description tells figures"
        assert len(alt.text) > 15
        assert not drawing.all("style")
    levels = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    for table in page.all("table"):
        assert all(cell.attributes["scope"] == "col" for cell in table.one("thead").all("th"))
        assert all(cell.attributes["scope"] == "row" for cell in table.one("tbody").all("th"))
        widths = {len(row.all("th", "td")) for row in table.all("tr")}
        assert len(widths) == 1
    for element in page.all():
        for target in re.findall(r"url\(#([^)]*)\)", " ".join(element.attributes.values())) + [
            value[1:]
            for name, value in element.attributes.items()
            if name == "href" and value.startswith("#")
        ]:
            assert target in named, target
    assert [link.attributes["href"] for link in page.one("nav").all("a")]
    boxes = [element for element in page.all("div") if element.attributes.get("class") == "box"]
    assert all(
        box.attributes["tabindex"] == "0" and box.attributes["aria-label"] for box in boxes
    ), "what scrolls can be reached with the keyboard"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_loads_and_runs_nothing(make: Callable[[str], Made], kind: str) -> None:
    assert_static(make(kind).page)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_heard(make: Callable[[str], Made], kind: str) -> None:
    assert_accessible(make(kind).page)


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_there_as_svg_and_as_csv(make: Callable[[str], Made], kind: str) -> None:
    import xml.etree.ElementTree as xml

    one = make(kind)
    beside = one.run / "report_figures"
    names = [figure.attributes["id"] for figure in one.page.all("figure")]
    assert {file.name for file in beside.iterdir()} == {
        "manifest.json",
        *(f"{name}{ending}" for name in names for ending in (".svg", ".csv")),
    }
    assert files.wrong_files(beside, ()) == []
    for name in names:
        with (beside / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            assert list(csv.DictReader(file)) == csv_of(one.page, name)
        drawing = (beside / f"{name}.svg").read_text(encoding="utf-8")
        root = xml.fromstring(drawing)
        assert root.tag.endswith("svg")
        assert "var(--" not in re.sub(r">[^<]*<", "><", drawing), (
            "a file of its own has colours of its own"
        )
        assert not re.search(r"<(metadata|script|image)|<!--|Matplotlib", drawing)
        assert root.findall(".//{http://www.w3.org/2000/svg}text"), "text is text"


def test_every_colour_of_a_drawing_follows_the_page(make: Callable[[str], Made]) -> None:
    for kind in KINDS:
        for drawing in make(kind).page.all("svg"):
            for element in drawing.all():
                said = " ".join(
                    value
                    for name, value in element.attributes.items()
                    if name in ("style", "fill", "stroke")
                )
                assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb", said), said
    assert "var(--ink)" in make("classes").html
    assert "prefers-color-scheme: dark" in make("classes").html


# -------------------------------------------------------------------------------------------- a run


def test_data_and_what_qualifies_it_come_first(make: Callable[[str], Made]) -> None:
    one = make("classes")
    lead, main = one.page.one("header"), one.page.one("main")
    (task,) = one.stored("data.json").values()
    for split in ("train", "dev"):
        stored = task["splits"][split]
        assert stored["sha256"][:16] in lead.text
        assert Path(stored["path"]).name in lead.text
    assert all(note in lead.text for note in one.stored("results.json")["notes"])
    assert one.html.index("<header>") < one.html.index("<main>")
    assert [heading.text for heading in main.all("h2")] == [
        "Results",
        "Error analysis",
        "Cost",
        "Environment",
        "Reproduction",
    ]


def test_figures_are_those_of_the_results(make: Callable[[str], Made]) -> None:
    one = make("ordered")
    stored = one.stored("results.json")
    (sets,) = stored["metrics"].values()
    found = csv_of(one.page, "results-dev")
    assert [
        (row["predictor"], float(row["accuracy"]), float(row["low"]), float(row["high"]))
        for row in found
    ] == [
        (who, of["accuracy"]["value"], of["accuracy"]["low"], of["accuracy"]["high"])
        for who, of in sets["dev"].items()
    ]
    epochs = [json.loads(line) for line in (one.run / "metrics.jsonl").read_text().splitlines()]
    (task,) = stored["metrics"]
    curves = csv_of(one.page, "learning-dev")
    assert [(int(row["epoch"]), float(row["train"]), float(row["dev"])) for row in curves] == [
        (line["epoch"], line["train"][task]["accuracy"], line["dev"][task]["dev"]["accuracy"])
        for line in epochs
    ]
    import pyarrow.parquet as pq

    kept = pq.read_table(
        one.run / "predictions" / task / f"dev-{stored['epoch']}.parquet"
    ).to_pylist()
    truth, said = (
        np.array([row["label"] for row in kept]),
        np.array([np.argmax(row["scores"]) for row in kept]),
    )
    counts = {
        (row["truth"], row["predicted"]): int(row["rows"])
        for row in csv_of(one.page, "confusion-dev")
    }
    assert counts == {
        (str(t + 1), str(s + 1)): int(((truth == t) & (said == s)).sum())
        for t in range(5)
        for s in range(5)
    }
    steps = {int(row["classes_off"]): int(row["rows"]) for row in csv_of(one.page, "distances-dev")}
    assert {step: n for step, n in steps.items() if n} == {
        int(step): int(n)
        for step, n in zip(*np.unique(said - truth, return_counts=True), strict=True)
    }
    right = sum(
        int(row["predictions"]) * float(row["accuracy"])
        for row in csv_of(one.page, "calibration-dev")
        if row["accuracy"]
    )
    assert right == pytest.approx((said == truth).sum())
    by_length = csv_of(one.page, "lengths-dev")
    assert len(by_length) == 3
    assert sum(int(row["rows"]) for row in by_length) == 61
    assert sum(int(row["rows"]) * float(row["accuracy"]) for row in by_length) == pytest.approx(
        (said == truth).sum()
    )
    assert len(one.page.all("ol")[-1].children) == (said != truth).sum()


@pytest.mark.usefixtures("undrawn")
def test_several_dev_sets_keep_apart(tables: Tables, tmp_path: Path) -> None:
    from encore.recipe.load import recipe_from
    from encore.runs.execute import execute
    from encore.runs.prepare import prepare

    shutil.copy(tables.dev, tmp_path / "far.csv")
    data = {
        "train": str(tables.train),
        "text": "text",
        "label": "verdict",
        "dev": {"near": str(tables.dev), "far": str(tmp_path / "far.csv")},
    }
    run = execute(
        prepare(
            recipe_from({"tasks": {"verdict": {"data": data}}}, (*tables.settings, "plan.epochs=1"))
        ),
        tmp_path,
    ).folder
    page = parsed(write_report(run).html.read_text(encoding="utf-8"))
    assert_static(page)
    assert_accessible(page)
    assert [figure.attributes["id"] for figure in page.all("figure")] == [
        "results-near",
        "results-far",
        "learning-near",
        "loss-near",
        "confusion-near",
        "calibration-near",
        "learning-far",
        "loss-far",
        "confusion-far",
        "calibration-far",
    ]
    assert [heading.text for heading in page.one("main").all("h2")][1:3] == [
        "verdict, near",
        "verdict, far",
    ]
    assert csv_of(page, "confusion-near") == csv_of(page, "confusion-far")


def test_lengths_are_counted_in_tokens_as_the_model_reads_them(make: Callable[[str], Made]) -> None:
    one = make("ordered")
    with (one.data / "dev.csv").open(encoding="utf-8", newline="") as file:
        words = [
            len(row["text"].split()) + 2 for row in csv.DictReader(file)
        ]  # every word is one piece; [CLS] and [SEP]
    spans = [
        tuple(map(int, (row["tokens"].split("–") * 2)[:2]))
        for row in csv_of(one.page, "lengths-dev")
    ]
    assert (spans[0][0], spans[-1][1]) == (min(words), max(words))
    assert [int(row["rows"]) for row in csv_of(one.page, "lengths-dev")] == [
        sum(low <= n <= high for n in words) for low, high in spans
    ]


@pytest.mark.parametrize("kind", ["norm_cls", "norm_seq_mha"])
def test_chosen_layers_are_those_of_the_longest_states(
    make: Callable[[str], Made], kind: str
) -> None:
    """Counted row by row, from the states of the encoder."""
    one = make(kind)
    model = encore.load(one.run)
    texts = [row["text"] for row in csv.DictReader((one.data / "dev.csv").open(encoding="utf-8"))]
    counts: Counter[int] = Counter()
    task = model.task()
    store = tokenize(model.tokenizer, texts, max_length=task.max_length, truncation=task.truncation)
    (branch,) = task.model.eval().branches
    for row in range(len(texts)):
        tokens = collate(store, np.array([row]))
        with torch.inference_mode():
            states = branch.encoder(tokens, layers=(1, 2)).states
        norms = torch.stack([states[layer].norm(dim=1) for layer in (1, 2)])
        places = norms[:, :1] if kind == "norm_cls" else norms
        counts.update((1 + (places[1] >= places[0]).int()).tolist())
    found = {int(line["layer"]): int(line["vectors"]) for line in csv_of(one.page, "layers-dev")}
    assert {layer: n for layer, n in found.items() if n} == dict(counts)
    assert sum(found.values()) == (len(texts) if kind == "norm_cls" else int(store.lengths.sum()))


def test_the_dev_loss_is_a_curve_where_it_was_measured(make: Callable[[str], Made]) -> None:
    one = make("norm_cls")
    epochs = [json.loads(line) for line in (one.run / "metrics.jsonl").read_text().splitlines()]
    (task,) = one.stored("results.json")["metrics"]
    assert [float(row["dev"]) for row in csv_of(one.page, "loss-dev")] == [
        line["dev"][task]["dev"]["log_loss"] for line in epochs
    ]
    assert "layers-dev" not in [
        figure.attributes["id"] for figure in make("classes").page.all("figure")
    ]


def test_the_dev_loss_is_a_curve_where_it_is_no_metric(make: Callable[[str], Made]) -> None:
    one = make("classes")
    epochs = [json.loads(line) for line in (one.run / "metrics.jsonl").read_text().splitlines()]
    (task,) = one.stored("results.json")["metrics"]
    assert "log_loss" not in epochs[0]["dev"][task]["dev"]
    rows = csv_of(one.page, "loss-dev")
    assert [float(row["dev"]) for row in rows] == [line["dev_loss"][task]["dev"] for line in epochs]


def test_each_kind_of_task_has_its_figures(make: Callable[[str], Made]) -> None:
    names = {
        kind: [figure.attributes["id"] for figure in make(kind).page.all("figure")]
        for kind in KINDS
    }
    assert names["classes"] == [
        "results-dev",
        "learning-dev",
        "loss-dev",
        "confusion-dev",
        "calibration-dev",
    ]
    assert names["ordered"] == [
        "results-dev",
        "learning-dev",
        "loss-dev",
        "confusion-dev",
        "distances-dev",
        "calibration-dev",
        "lengths-dev",
    ]
    assert names["tags"] == ["results-dev", "learning-dev", "loss-dev", "calibration-dev"]
    assert names["values"] == ["results-dev", "learning-dev", "scatter-dev"]


def test_predicted_and_true_values(make: Callable[[str], Made]) -> None:
    one = make("values")
    with (one.data / "dev.csv").open(encoding="utf-8", newline="") as file:
        truth = [float(row["score"]) for row in csv.DictReader(file)]
    found = csv_of(one.page, "scatter-dev")
    assert [float(row["truth"]) for row in found] == pytest.approx(truth)
    assert len({row["predicted"] for row in found}) > 10


def test_mistakes_have_their_texts_and_where_they_stand(make: Callable[[str], Made]) -> None:
    one = make("values")
    with (one.data / "dev.csv").open(encoding="utf-8", newline="") as file:
        rows = dict(enumerate(csv.DictReader(file), 2))
    assert (
        "The largest first, by the size of the error; lines of dev.csv."
        in one.page.one("main").text
    )
    errors = []
    for item in one.page.all("ol")[-1].children:
        facts = {part.one("dt").text: part.one("dd").text for part in item.one("dl").children}
        line = int(facts["line"])
        assert [quoted.text for quoted in item.all("q")] == [
            rows[line]["text"],
            rows[line]["other"],
        ]
        assert float(facts["truth"]) == pytest.approx(float(rows[line]["score"]))
        errors.append(abs(float(facts["difference"])))
    assert len(errors) == len(rows)
    assert errors == sorted(errors, reverse=True)


def test_what_the_pooling_looked_at_is_marked(
    tables: Tables, make: Callable[[str], Made], tmp_path: Path
) -> None:
    """Words above the average are marked, the heaviest in full, and the text stays what it is."""
    import encore
    from encore.runs.execute import execute
    from encore.runs.prepare import prepare

    recipe = tables.recipe("pooling=attention", "plan.epochs=2")
    run = execute(prepare(recipe), tmp_path).folder
    page = parsed(write_report(run).html.read_text(encoding="utf-8"))
    assert_static(page)
    texts = [one.text for one in page.all("q")]
    explained = encore.load(run).explain(texts)
    assert len(texts) > 3
    for quoted, item, one in zip(
        page.all("q"), page.all("ol")[-1].children, explained, strict=True
    ):
        weights = [word.weight for word in one.texts[0].words]
        average, top = np.mean(weights), max(weights)
        marks = [
            (
                mark.text,
                int(mark.attributes["style"].removeprefix("--strength: ").removesuffix("%")),
            )
            for mark in quoted.all("mark")
        ]
        assert [text for text, _ in marks] == [
            word.word for word in one.texts[0].words if word.weight > average
        ]
        strengths = [
            100 * (weight - average) / (top - average) for weight in weights if weight > average
        ]
        assert [strength for _, strength in marks] == pytest.approx(strengths, abs=0.51)
        facts = {part.one("dt").text: part.one("dd").text for part in item.one("dl").children}
        assert facts["largest weights"].startswith(
            f"{one.strongest(1)[0].word} {100 * one.strongest(1)[0].weight:.0f} %"
        )
    with tables.dev.open(encoding="utf-8", newline="") as file:
        assert set(texts) <= {row["text"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_shown_to_the_letter(make: Callable[[str], Made], text: str) -> None:
    shown = [quoted.text for quoted in make("hostile").page.all("q")]
    assert shown.count(text) >= len(LABELS) - 1


def test_hostile_labels_are_shown_to_the_letter(make: Callable[[str], Made]) -> None:
    one = make("hostile")
    drawn = [text.text for svg in one.page.all("svg") for text in svg.all("text")]
    told = {row["truth"] for row in csv_of(one.page, "confusion-dev")}
    assert told == {f"'{label}" if label[0] == "=" else label for label in LABELS}
    for label in LABELS:
        short = label.replace("\u202e", "\ufffd")
        assert any(text.rstrip("…") and short.startswith(text.rstrip("…")) for text in drawn), (
            label,
            drawn,
        )


def test_characters_that_no_page_can_hold_are_shown_as_such() -> None:
    from encore.report.page import Mistake, Mistakes, Page, Section, render

    block = Mistakes(
        (
            Mistake(
                (("truth", "a\x00b"),),
                ((("bell \x07, escape \x1b[31m, half \ud800, fine\ttab\n", None),),),
            ),
        )
    )
    page = parsed(
        render(Page("t\x01", "about", "name", (), (Section("part", (block,)),))).encode().decode()
    )
    assert page.one("q").text == "bell \ufffd, escape \ufffd[31m, half \ufffd, fine\ttab\n"
    assert page.one("h1").text == "t\ufffd"


def test_two_names_that_a_file_name_cannot_tell_apart_are_two_figures(
    make: Callable[[str], Made],
) -> None:
    from encore.report.figures import scatter
    from encore.report.page import Page, Section, distinct, figures_of

    drawn = [
        scatter("scatter-a-b", np.arange(3.0), np.arange(3.0), where=where)
        for where in ("a b", "a-b")
    ]
    page = distinct(
        Page(
            "t",
            "a",
            "n",
            (),
            (Section("one", (drawn[0],)), Section("two", (), (Section("three", (drawn[1],)),))),
        )
    )
    assert [figure.name for figure in figures_of(page)] == ["scatter-a-b", "scatter-a-b-2"]


# --------------------------------------------------------------------------------------- same bytes


def test_the_same_folder_gives_the_same_bytes(
    make: Callable[[str], Made], warm: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, with other hashes, in another working directory, and whatever matplotlib
    is told to look like.
    """
    import matplotlib

    one = make("ordered")
    outcome = warm.run(
        ["report", one.run, "-o", tmp_path / "again.html", "--mistakes", "1000", "--json"]
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "report": f"{tmp_path}/again.html",
        "figures": f"{tmp_path}/again_figures",
        "n_figures": 7,
        "notes": [],
    }
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == one.html
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "font.size": 31,
        "svg.fonttype": "path",
        "xtick.direction": "in",
        "lines.markeredgewidth": 3,
    }.items():
        monkeypatch.setitem(matplotlib.rcParams, name, value)
    assert (
        write_report(one.run, "third.html", n_mistakes=1_000).html.read_text(encoding="utf-8")
        == one.html
    )
    assert matplotlib.rcParams["font.size"] == 31
    for file in (one.run / "report_figures").iterdir():
        assert (tmp_path / "again_figures" / file.name).read_bytes() == file.read_bytes()


def test_a_report_is_no_part_of_the_run(make: Callable[[str], Made], tmp_path: Path) -> None:
    one = make("classes")
    assert files.wrong_files(one.run, ()) == []
    assert gather.gather_run(one.run).result.folder == one.run


@pytest.mark.usefixtures("undrawn")
def test_what_an_earlier_report_left_is_removed_and_nothing_else(
    make: Callable[[str], Made], tmp_path: Path
) -> None:
    run = copied(make("values"), tmp_path)
    beside = run / "report_figures"
    (beside / "mine.csv").write_text("mine")
    (beside / "old.svg").write_text("old")
    files.write_manifest(beside, [beside / "old.svg", beside / "scatter-dev.svg"])
    write_report(run)
    assert (beside / "mine.csv").read_text() == "mine"
    assert not (beside / "old.svg").exists()
    assert (beside / "scatter-dev.svg").exists()


# ---------------------------------------------------------------------------------- what is missing


def unavailable(run: Path, make: Made) -> str:
    """The line that a report of `run` says of texts."""
    written = write_report(run)
    page = parsed(written.html.read_text(encoding="utf-8"))
    (note,) = written.notes
    assert note in page.one("header").text
    assert not page.all("q")
    assert len(page.all("ol")[-1].children) > 0
    assert "lengths-dev" not in {figure.attributes["id"] for figure in page.all("figure")}
    assert_static(page)
    assert_accessible(page)
    return note


@pytest.mark.usefixtures("undrawn")
def test_without_its_data_file_a_report_says_so_in_one_line(
    make: Callable[[str], Made], tmp_path: Path
) -> None:
    one = make("ordered")
    run = copied(one, tmp_path)
    before = (one.data / "dev.csv").read_bytes()
    try:
        (one.data / "dev.csv").unlink()
        assert re.search(
            r"dev: no texts are shown and no lengths: .*dev\.csv: no such file",
            unavailable(run, one),
        )
        (one.data / "dev.csv").write_bytes(before.replace(b"lamp", b"LAMP"))
        assert re.search(
            r"dev\.csv is no longer the file that the run was measured on \(its sha256 was "
            r"[0-9a-f]{12}…\)",
            unavailable(run, one),
        )
    finally:
        (one.data / "dev.csv").write_bytes(before)


@pytest.mark.usefixtures("undrawn")
def test_rows_that_came_through_standard_input_are_gone(
    make: Callable[[str], Made], tmp_path: Path
) -> None:
    one = make("ordered")
    run = copied(one, tmp_path)
    text = (run / "recipe.yaml").read_text(encoding="utf-8")
    piped = re.sub(r"\btrain: \S+?,", "train: '-',", text)
    (run / "recipe.yaml").write_text(piped, encoding="utf-8")
    manifest = files.read_json(run / files.MANIFEST)
    files.write_json(
        run / files.MANIFEST, manifest | {"recipe.yaml": files.sha256(run / "recipe.yaml")}
    )
    assert "came through standard input" in unavailable(run, one)


@pytest.mark.usefixtures("undrawn")
def test_without_model_and_costs_a_report_says_less(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of a comparison on a machine that does not have the encoder."""
    run = copied(make("ordered"), tmp_path)
    shutil.rmtree(run / "model")
    (run / "environment.json").unlink()
    manifest = files.read_json(run / files.MANIFEST)
    files.write_json(
        run / files.MANIFEST,
        {name: digest for name, digest in manifest.items() if not name.startswith("model/")},
    )

    def gone(name: str, **_: object) -> None:
        raise DataError(f"encoder '{name}': not here.")

    monkeypatch.setattr("encore.encoder.load.locate", gone)
    written = write_report(run)
    page = parsed(written.html.read_text(encoding="utf-8"))
    assert [re.sub(r"'.*'", "'…'", note) for note in written.notes] == [
        "ordered: no score by length: the tokenizer of encoder '…' is not here, or another one."
    ]
    assert "distances-dev" in {figure.attributes["id"] for figure in page.all("figure")}
    assert len(page.all("q")) == 10
    assert "not known: neither weights nor encoder are here" in page.one("main").text
    assert "As it was typed" not in page.one("main").text


@pytest.mark.parametrize("with_model", [True, False])
def test_parameters_are_counted(
    make: Callable[[str], Made], tmp_path: Path, with_model: bool
) -> None:
    import safetensors.numpy

    run = copied(make("classes"), tmp_path)
    weights = safetensors.numpy.load_file(run / "model" / "weights.safetensors")
    if not with_model:
        shutil.rmtree(run / "model")
        manifest = files.read_json(run / files.MANIFEST)
        files.write_json(
            run / files.MANIFEST,
            {name: digest for name, digest in manifest.items() if not name.startswith("model/")},
        )
    assert gather.parameters(gather.gather_run(run)) == sum(
        tensor.size for tensor in weights.values()
    )


def test_a_time_is_told_once() -> None:
    assert [provenance._seconds(seconds) for seconds in (30.71, 187.2, 9000)] == [
        "30.7 s",
        "3 min (187 s)",
        "2.5 h (9,000 s)",
    ]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda run: (run / "manifest.json").unlink(),
            "not a complete run (no manifest.json). Run the command that started it again; it "
            "resumes.",
        ),
        (
            lambda run: (run / "results.json").write_text("{}"),
            "results.json: missing, or not as the run wrote it.",
        ),
        (
            lambda run: (run / "resolved.json").unlink(),
            "resolved.json: missing, or not as the run wrote it.",
        ),
        (
            lambda run: (run / "cost.json").write_text("[]"),
            "cost.json: missing, or not as the run wrote it.",
        ),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_what_is_no_complete_run_is_refused(
    make: Callable[[str], Made], tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    run = copied(make("classes"), tmp_path)
    (run / "report.html").unlink()
    spoil(run)
    with pytest.raises(DataError) as caught:
        write_report(run)
    assert said in caught.value.lines[0]
    assert not (run / "report.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_overwritten_that_was_named(make: Callable[[str], Made], tmp_path: Path) -> None:
    run = make("values").run
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    with pytest.raises(
        DataError,
        match=r"exists already and is left as it is\. Name another file, or pass --overwrite",
    ):
        write_report(run, mine)
    assert mine.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["mine.html"]
    write_report(run, mine, overwrite=True)
    assert mine.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(EncoreError) as caught:
        write_report(run, tmp_path / "nowhere" / "mine.pdf")
    assert [re.sub(r".*: ", "", problem) for problem in caught.value.lines] == [
        "expected a name that ends in .html.",
        f"mkdir -p {tmp_path}/nowhere",
    ]


# ------------------------------------------------------------------------------------- a comparison

RECIPE = """\
# Poolings of a tiny encoder; one that it has too few layers for.
encoder: {encoder}
precision: fp32
max_length: 32
tasks: {{stars: {{data: {{train: {folder}/train.csv, dev: {folder}/dev.csv, text: text, label: stars}}}}}}
pooling: mean
plan: {{epochs: 2, lr: 1e-2, batch_size: 13}}
expect: {{stars.accuracy: 0.5}}
seeds: [1, 2, 3]
variants:
  attention: {{pooling: attention}}
  deep: {{pooling: {{name: max_cls, k: 5}}}}
  stuck: {{plan.lr: 1e-12}}
"""  # noqa: E501


@dataclass(frozen=True)
class Compared:
    folder: Path
    outcome: Outcome
    page: Element
    results: Any = field(repr=False)


@pytest.fixture(scope="module")
def compared(warm: Warm, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    place = tmp_path_factory.mktemp("compared")
    for name, n_rows, seed in (("train", 52, 1), ("dev", 61, 2)):
        texts, balance = sentences(n_rows, seed)
        write_csv(place / f"{name}.csv", {"text": texts, "stars": [value + 3 for value in balance]})
    (place / "poolings.yaml").write_text(
        RECIPE.format(encoder=tiny_encoder, folder=place), encoding="utf-8"
    )
    done = warm.run(["compare", place / "poolings.yaml", "--runs", place / "runs", "--quiet"])
    assert done.code == 0, done.err
    (folder,) = (place / "runs").glob("compare-*")
    outcome = warm.run(["report", folder])
    assert outcome.code == 0, outcome.err
    html = (folder / "report.html").read_text(encoding="utf-8")
    return Compared(folder, outcome, parsed(html), files.read_json(folder / "results.json"))


def test_a_comparison_loads_and_runs_nothing_and_can_be_heard(compared: Compared) -> None:
    assert_static(compared.page)
    assert_accessible(compared.page)
    names = [figure.attributes["id"] for figure in compared.page.all("figure")]
    assert names == [
        "differences-stars-accuracy",
        "seeds-stars-accuracy",
        "differences-stars-macro-f1",
        "seeds-stars-macro-f1",
        "cost-stars",
        "learning-stars",
        "loss-stars",
        "confusion-stars-baseline",
        "confusion-stars-attention",
        "confusion-stars-stuck",
        "distances-stars",
        "calibration-stars",
        "lengths-stars",
    ]


def test_the_command_ends_with_where_the_report_is(compared: Compared) -> None:
    assert compared.outcome.err == ""
    assert (
        compared.outcome.out
        == f"report: {compared.folder}/report.html (13 figures, also as SVG and CSV in "
        f"{compared.folder}/report_figures)\n"
    )


def test_numbers_of_a_comparison_are_those_of_its_results(compared: Compared) -> None:
    (each,) = compared.results["studies"]
    for metric in each["metrics"]:
        name = metric["metric"]
        runs = csv_of(compared.page, f"seeds-stars-{name.replace('_', '-')}")
        assert [(row["variant"], int(row["seed"]), float(row[name])) for row in runs] == [
            (row["variant"], seed, value)
            for row in metric["variants"]
            for seed, value in zip(row["seeds"], row["values"], strict=True)
        ]
        gaps = csv_of(compared.page, f"differences-stars-{name.replace('_', '-')}")
        shown = {row["variant"]: row["contrast"] for row in metric["variants"] if row["contrast"]}
        assert [row["variant"] for row in gaps] == list(shown) == ["attention", "stuck"]
        for row in gaps:
            against = shown[row["variant"]]
            assert float(row["delta"]) == against["delta"]
            for key in ("this_dev_set", "new_examples"):
                for end in ("low", "high"):
                    assert row[f"{end}_{key}"] == (
                        "" if against[key] is None else repr(against[key][end])
                    )
            assert row["verdict"] == against["verdict"]
    curves = csv_of(compared.page, "learning-stars")
    last = {row["variant"]: row for row in curves if row["epoch"] == "2"}
    for row in each["metrics"][0]["variants"]:
        if row["values"]:
            told = last[row["variant"]]
            assert [
                float(told[key]) for key in ("dev", "dev_lowest", "dev_highest")
            ] == pytest.approx([row["mean"], min(row["values"]), max(row["values"])])
            assert told["seeds"] == "3"
    by_length = [
        row for row in csv_of(compared.page, "lengths-stars") if row["group"] == "attention"
    ]
    mean = sum(int(row["rows"]) * float(row["accuracy"]) for row in by_length) / 61
    assert mean == pytest.approx(each["metrics"][0]["variants"][1]["mean"])


def test_verdicts_in_words(compared: Compared) -> None:
    section = next(
        part for part in compared.page.all("section") if part.all("h2")[0].text == "Results"
    )
    said: dict[tuple[str, str], str] = {}
    for item in section.all("li"):
        badge = [
            span.text for span in item.all("span") if span.attributes["class"].startswith("badge")
        ]
        if badge:
            said[item.one("strong").text, badge[0]] = item.text
    rows = {row["variant"]: row for row in compared.results["studies"][0]["metrics"][0]["variants"]}
    assert rows["attention"]["contrast"]["verdict"] in said["attention, stars", "no evidence"]
    assert (
        "expected k from 1 to 2, the layers of this encoder, got 5"
        in said["deep, stars", "not applicable"]
    )
    assert rows["stuck"]["collapsed"], "nothing is learnt at a rate of 1e-12"
    assert (
        f"{len(rows['stuck']['collapsed'])} of 3 runs collapsed"
        in said["stuck, stars", "collapsed"]
    )
    marked = [row for row in csv_of(compared.page, "seeds-stars-accuracy") if row["collapsed"]]
    assert {row["seed"] for row in marked if row["variant"] == "stuck"} == set(
        rows["stuck"]["collapsed"]
    )


def test_what_all_runs_get_wrong(compared: Compared) -> None:
    items = compared.page.all("ol")[-1].children
    assert 0 < len(items) <= 10
    for item in items:
        facts = {part.one("dt").text: part.one("dd").text for part in item.one("dl").children}
        wrong, of = map(int, re.fullmatch(r"(\d+) of (\d+) runs", facts["wrong in"]).groups())
        assert of == 9
        assert wrong > of / 2
        assert facts["truth"] != facts["most often predicted"].split(" (")[0]
        assert item.one("q").text


def spoilt(
    compared: Compared, place: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Path:
    """The comparison elsewhere, its cells and results changed as those of an incomplete one are."""
    shutil.copytree(compared.folder.parent, place / "runs")
    folder = place / "runs" / compared.folder.name
    (folder / files.MANIFEST).unlink()
    cells, results = (
        files.read_json(folder / "cells.json"),
        files.read_json(folder / "results.json"),
    )
    change(cells, results)
    files.write_json(folder / "cells.json", cells)
    files.write_json(folder / "results.json", results)
    return folder


@pytest.mark.usefixtures("undrawn")
def test_failed_and_waiting_cells_are_told(compared: Compared, tmp_path: Path) -> None:
    def change(cells: dict[str, Any], results: dict[str, Any]) -> None:
        failed, waiting = cells["cells"][3:5]
        failed |= {"state": "failed", "why": ["the loss is not <finite>"]}
        waiting |= {"state": "waiting"}
        for metric in results["studies"][0]["metrics"]:
            row = metric["variants"][1]
            row |= {
                "seeds": row["seeds"][2:],
                "values": row["values"][2:],
                "failed": {"1": "the loss is not <finite>"},
            }

    folder = spoilt(compared, tmp_path, change)
    page = parsed(write_report(folder).html.read_text(encoding="utf-8"))
    assert_static(page)
    assert_accessible(page)
    runs = next(part for part in page.all("section") if part.all("h2")[0].text == "Runs").text
    assert "1 of 12 cells: failed" in runs
    assert "1 of 12 cells: waiting" in runs
    assert "the loss is not <finite>" in runs
    found = next(part for part in page.all("section") if part.all("h2")[0].text == "Results")
    assert "seed 1 failed: the loss is not <finite>" in found.text
    assert [
        row["seeds"] for row in csv_of(page, "learning-stars") if row["variant"] == "attention"
    ] == ["1", "1"]


@pytest.mark.usefixtures("undrawn")
def test_who_left_a_race_is_told(compared: Compared, tmp_path: Path) -> None:
    def change(cells: dict[str, Any], results: dict[str, Any]) -> None:
        cells["cells"].append(
            {
                "study": "stars",
                "variant": "gone",
                "seed": 1,
                "run": "stars-0",
                "state": "left the race in round 1",
            }
        )
        decided = {
            "round": 1,
            "seeds": [9],
            "scores": {"attention": 0.5, "gone": 0.4},
            "stayed": ["attention"],
            "left": ["gone"],
            "failed": {},
        }
        results["studies"][0]["race"] = {
            "metric": "accuracy",
            "started": ["attention", "gone"],
            "rounds": [decided],
            "stayed": ["attention"],
        }
        results["race"] = {"factor": 2, "seeds": [9], "runs": 8, "runs_of_the_grid": 12}
        results["variants"].append("gone")

    page = parsed(write_report(spoilt(compared, tmp_path, change)).html.read_text(encoding="utf-8"))
    assert_static(page)
    assert_accessible(page)
    found = next(part for part in page.all("section") if part.all("h2")[0].text == "Results")
    assert (
        "left the race gone, stars: in round 1, on screening seeds that are not in the table."
        in found.text
    )
    assert "race: 8 runs in all instead of 12" in page.one("main").text


@pytest.mark.usefixtures("undrawn")
def test_without_its_runs_a_comparison_still_has_its_verdicts(
    compared: Compared, tmp_path: Path
) -> None:
    shutil.copytree(compared.folder, tmp_path / compared.folder.name)
    page = parsed(write_report(tmp_path / compared.folder.name).html.read_text(encoding="utf-8"))
    assert_static(page)
    names = [figure.attributes["id"] for figure in page.all("figure")]
    assert names == [
        "differences-stars-accuracy",
        "seeds-stars-accuracy",
        "differences-stars-macro-f1",
        "seeds-stars-macro-f1",
    ]
    assert "no such run" in page.one("main").text


SIZES = """\
encoder: {encoder}
precision: fp32
max_length: 32
task: words
data: {{train: {folder}/train.csv, dev: {folder}/dev.csv, text: text, label: word}}
pooling: mean
plan: {{epochs: 2, lr: 1e-2, batch_size: 13}}
seeds: [1, 2, 3]
variants:
  norm: {{pooling: {{name: norm_cls, k: 2}}}}
  deep: {{pooling: {{name: max_cls, k: 5}}}}
"""


@pytest.mark.nightly
@pytest.mark.usefixtures("undrawn")
def test_a_comparison_by_training_size_of_many_classes(
    warm: Warm, tiny_encoder: Path, tmp_path: Path
) -> None:
    for name, n_rows, seed in (("train", 120, 1), ("dev", 64, 2)):
        texts = sentences(n_rows, seed)[0]
        words = [f"word {row % 32:02d}" for row in range(n_rows)]
        write_csv(tmp_path / f"{name}.csv", {"text": texts, "word": words})
    recipe = tmp_path / "sizes.yaml"
    recipe.write_text(SIZES.format(encoder=tiny_encoder, folder=tmp_path), encoding="utf-8")
    runs = tmp_path / "runs"
    done = warm.run(
        ["compare", recipe, "--curve", "train_rows=40,80", "--keep-models", "--runs", runs, "-q"]
    )
    assert done.code == 0, done.err
    (folder,) = runs.glob("compare-*")
    page = parsed(write_report(folder).html.read_text(encoding="utf-8"))
    assert_static(page)
    stored = files.read_json(folder / "results.json")["studies"]
    for metric in ("accuracy", "macro_f1"):
        found = csv_of(page, f"sizes-words-dev-{metric.replace('_', '-')}")
        expected = {
            (row["variant"], str(study["point"]["data.train_rows"])): row["values"]
            for study in stored
            for measured in study["metrics"]
            if measured["metric"] == metric
            for row in measured["variants"]
            if row["values"]
        }
        assert {
            (row["variant"], row["train_rows"]): row["seeds"] for row in found
        } == dict.fromkeys(expected, "3")
        for row in found:
            values = expected[row["variant"], row["train_rows"]]
            assert float(row["mean"]) == pytest.approx(np.mean(values), rel=1e-3)
            assert 0 <= float(row["low"]) <= float(row["mean"]) <= float(row["high"]) <= 1
    main = page.one("main").text
    assert "not applicable" in main
    assert "Confusion matrix, norm, all seeds" in main  # a table: 32 classes are no picture
    layers = [figure for figure in page.all("figure") if "layers" in figure.attributes["id"]]
    assert len(layers) == 2  # one for each size


def test_an_unfinished_comparison_is_refused(compared: Compared, tmp_path: Path) -> None:
    folder = spoilt(
        compared, tmp_path, lambda cells, results: cells["cells"][0].update(state="waiting")
    )
    (folder / "results.json").unlink()
    with pytest.raises(
        DataError,
        match=r"not a finished comparison \(8 of 9 runs are complete\)\. Run the command that "
        r"started it again; it resumes\.",
    ):
        write_report(folder)


def test_a_changed_comparison_is_refused(compared: Compared, tmp_path: Path) -> None:
    shutil.copytree(compared.folder, tmp_path / "c")
    (tmp_path / "c" / "results.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"results\.json: missing, or not as the comparison wrote it"
    ):
        write_report(tmp_path / "c")


def test_no_page_falls_over_files_that_nothing_vouches_for(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match="not a finished comparison"):
        write_report(tmp_path)
    beside = tmp_path / "page_figures"
    beside.mkdir()
    (beside / "manifest.json").write_text("[")
    _write_folder(beside, {"one.svg": b"<svg/>"})
    assert list(files.read_json(beside / "manifest.json")) == ["one.svg"]
    assert search._cost(tmp_path).pairs == (("time", "not known"),)


# ------------------------------------------------------------------------------------- in a browser

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven through the DevTools."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'"
    )
    binary, driver = (
        next(filter(None, map(shutil.which, names)), None)
        for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
    )
    if binary is None or driver is None:
        pytest.skip("no Chromium here: apt-get install -y chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "no-first-run",
        "hide-scrollbars",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    from selenium.webdriver.chrome.service import Service

    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


def opened(browser: Any, page: Path, *, width: int = 1280, scheme: str = "light") -> list[str]:
    """Open it; every address that it asked for."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get_log("performance")
    browser.get(page.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def pages(make: Callable[[str], Made], compared: Compared) -> list[Path]:
    return [
        make("hostile").run / "report.html",
        make("values").run / "report.html",
        compared.folder / "report.html",
    ]


def test_a_browser_asks_for_nothing_and_shows_all_of_it(
    browser: Any, make: Callable[[str], Made], compared: Compared
) -> None:
    for page in pages(make, compared):
        for width in WIDTHS:
            asked = [
                address
                for address in opened(browser, page, width=width)
                if not address.startswith("data:")
            ]
            assert asked == [page.as_uri()]
            assert browser.execute_script(
                "return [document.documentElement.scrollWidth, innerWidth]"
            ) == [width, width]
            # Nothing sticks out of the page but what is inside a box that scrolls.
            outside = browser.execute_script(
                "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.box, "
                "details') && e.getBoundingClientRect().right > innerWidth + 1)"
                ".map(e => e.outerHTML.slice(0, 80))"
            )
            assert outside == []
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_browser_paints_dark_where_dark_is_asked_for(
    browser: Any, make: Callable[[str], Made]
) -> None:
    page = make("values").run / "report.html"
    colours = (
        "const of = (name, what) => getComputedStyle(document.querySelector(name))[what];"
        "return [of('body', 'backgroundColor'), of('body', 'color'), of('figure svg text', "
        "'fill'), of('figcaption', 'color'), of('.lead', 'backgroundColor')]"
    )
    found = {}
    for scheme in ("light", "dark"):
        opened(browser, page, scheme=scheme)
        found[scheme] = [brightness(colour) for colour in browser.execute_script(colours)]
    paper, ink, drawn, soft, raised = zip(found["light"], found["dark"], strict=True)
    assert paper[0] > 0.9 > 0.1 > paper[1]
    assert raised[0] > 0.8 > 0.1 > raised[1]
    for words in (ink, drawn, soft):
        for scheme in (0, 1):
            bright, dim = max(words[scheme], paper[scheme]), min(words[scheme], paper[scheme])
            assert (bright + 0.05) / (dim + 0.05) > 4.5, "WCAG AA: contrast of text"


def brightness(colour: str) -> float:
    """Relative luminance of `rgb(…)`, WCAG 2."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in channels
    ]
    return sum(
        weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def test_hostile_texts_do_nothing_in_a_browser(browser: Any, make: Callable[[str], Made]) -> None:
    one = make("hostile")
    opened(browser, one.run / "report.html")
    assert browser.title == f"{one.run.name} – Encore"
    shown = browser.execute_script(
        "return [...document.querySelectorAll('q')].map(e => e.textContent)"
    )
    assert set(shown) == set(HOSTILE)
    counts = (
        "return ['script', 'img', 'iframe', 'form', 'input', 'video', 'object', "
        "'base'].map(name => document.getElementsByTagName(name).length)"
    )
    assert browser.execute_script(counts) == [0] * 8
    assert browser.current_url == (one.run / "report.html").as_uri()


def test_a_figure_hands_over_its_numbers_in_a_browser(
    browser: Any, make: Callable[[str], Made]
) -> None:
    one = make("ordered")
    opened(browser, one.run / "report.html")
    for name in ("learning-dev", "calibration-dev"):
        link = browser.find_element("css selector", f"#{name} a.download")
        assert link.get_attribute("download") == f"{name}.csv"
        text = browser.execute_script(
            "return decodeURIComponent(escape(atob(arguments[0].split(',')[1])))",
            link.get_attribute("href"),
        )
        assert text == (one.run / "report_figures" / f"{name}.csv").read_text(encoding="utf-8")
