"""docs/PAPERS.md has every item of the five papers, our figures from docs/results and no other, and
verdicts by the rule that it prints.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from docs import papers as page
from encore.evaluation.comparison_record import ComparisonRecord

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}


def shared(name: str) -> Path:
    """A folder beside the data, which is no part of the project."""
    beside = Path(os.environ.get("ENCORE_DATA", "")).parent
    found = [folder for folder in (beside / name, ROOT.parent / "shared" / name) if folder.is_dir()]
    if not found:
        pytest.skip(f"{name}/ is neither beside ENCORE_DATA nor in ../shared")
    return found[0]


PAPERS = page.papers()


# ------------------------------------------------------------------------------------ completeness


def pieces(coverage: str) -> list[str]:
    """The items of a section: between points and semicolons, not those in brackets."""
    text = " · ".join(line.removeprefix("* ") for line in coverage.splitlines() if line.strip())
    inside, parts = 0, [""]
    for letter in text:
        inside += (letter == "(") - (letter == ")")
        if letter in "·;" and not inside:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_item_of_a_paper_has_a_line(paper: page.Paper) -> None:
    text = (shared("spec") / "COVERAGE.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+).*?\n(.*?)(?=^## |^Every paper|\Z)", text, re.M | re.S))
    items = pieces(sections[paper.coverage])
    named = [words for item in paper.items for words in item.covers]
    assert len(items) > 5
    assert [piece for piece in items if not any(words in piece for words in named)] == []
    assert [words for words in named if not any(words in piece for piece in items)] == []


def test_a_list_of_what_there_is_is_taken_apart() -> None:
    assert pieces("* T1 ✓ · T2 (a; b · c) **8**\n\n* later: x; y\n") == [
        "T1 ✓",
        "T2 (a; b · c) **8**",
        "later: x",
        "y",
    ]


def numbers(kind: str, title: str) -> set[int]:
    """The tables or figures that a title names: `Figures 2, 6 and 9`, `Tables 3 to 9`."""
    found: set[int] = set()
    for words in re.findall(rf"{kind}s? (\d+(?:(?:, | and | to )\d+)*)", title):
        each = [int(number) for number in re.findall(r"\d+", words)]
        found |= set(range(each[0], each[-1] + 1)) if " to " in words else set(each)
    return found


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_table_and_figure_of_a_paper_has_a_line(paper: page.Paper) -> None:
    titles = [item.item for item in paper.items]
    for kind, many in (("Table", paper.tables), ("Figure", paper.figures)):
        named = set().union(*(numbers(kind, title) for title in titles))
        assert named == set(range(1, many + 1)), kind


def test_numbers_in_titles_are_read() -> None:
    assert numbers("Figure", "Figures 2, 6 and 9: x") == {2, 6, 9}
    assert numbers("Table", "Tables 3 to 5, Figure 1 and Table 7") == {3, 4, 5, 7}


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_the_papers_figures_are_printed_in_them(paper: page.Paper) -> None:
    text = (shared("papers") / paper.file).read_text(encoding="utf-8")
    for item in paper.items:
        for figure in re.findall(r"\d+\.\d+", item.paper):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", text), (item.item, figure)
    assert all(f"Table {number}" in text for number in range(1, paper.tables + 1))
    assert f"Table {paper.tables + 1}:" not in text
    assert f"Figure {paper.figures}" in text
    assert f"Figure {paper.figures + 1}:" not in text


# ---------------------------------------------------------------------------------------- the page


def test_the_page_is_up_to_date() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python docs/papers.py`"
    assert page.main(["--check"]) == 0


def test_an_old_page_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "PAPERS.md")
    assert page.main(["--check"]) == 1
    assert "run `python docs/papers.py`" in capsys.readouterr().err
    assert page.main([]) == page.main(["--check"]) == 0


def test_every_recipe_is_there_or_awaited() -> None:
    named = {name for paper in PAPERS for item in paper.items for name in item.recipes}
    awaited = set(page.awaited())
    assert named - RECIPES <= awaited
    assert awaited <= named
    pointed = {one.of for paper in PAPERS for item in paper.items for one in item.judge}
    assert pointed <= RECIPES
    for paper in PAPERS:
        for item in paper.items:
            assert {one.of for one in item.judge} <= set(item.recipes), item.item
            assert item.recipes or item.here or item.open or item.cannot, item.item


def test_no_figure_of_ours_is_typed() -> None:
    for paper in PAPERS:
        for item in paper.items:
            typed = re.sub(r"\{[^}]*\}|\([^)]*\)", "", item.here + item.open)
            assert not re.search(r"\d\.\d|\d %", typed), item.item


def test_every_line_of_the_page_has_five_columns_and_a_verdict() -> None:
    text = page.page()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| item |" not in line]
    assert len(rows) == sum(len(paper.items) for paper in PAPERS)
    words = {"agrees", "does not agree", "no evidence", "not comparable", "–"}
    for row in rows:
        *_, verdict = cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 5
        assert set(verdict.split("<br>")) <= words
    assert "no test figure of any paper can be compared" in text


# ---------------------------------------------------------------------------------------- verdicts


def test_the_rule_of_verdicts() -> None:
    rule = page.verdict_on
    assert rule(0.001, 0.02, "better") == "agrees"
    assert rule(-0.02, -0.001, "worse") == "agrees"
    assert rule(0.001, 0.02, "worse") == "does not agree"
    assert rule(-0.02, -0.001, "better") == "does not agree"
    assert rule(0.001, 0.02, "same") == rule(-0.02, -0.001, "same") == "does not agree"
    for says in ("better", "worse", "same"):
        assert rule(-0.001, 0.02, says) == rule(0.0, 0.02, says) == "no evidence"
    assert rule(0.001, 0.02, None) == rule(-0.001, 0.02, None) == "–"
    assert rule(1.2, 3.0, "worse", zero=1.0) == "does not agree"
    assert rule(0.9, 3.0, "better", zero=1.0) == "no evidence"


def stored(name: str) -> dict:  # type: ignore[type-arg]
    file = ROOT / "docs" / "results" / f"compare-{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_a_difference_is_judged_by_its_interval_for_new_examples() -> None:
    found = stored("maxpoolbert_rte_minilm")["results"]
    pointer = page.Pointer("maxpoolbert_rte_minilm", "rte", "accuracy", "max_seq_mha")
    one = found["studies"][0]["metrics"][0]["variants"][1]
    judged = page.judge(pointer, ComparisonRecord.from_json(found))
    assert judged.verdict == "no evidence"
    assert judged.text.startswith("rte accuracy 58.7 → 59.2: +0.5 [−1.9, +2.9], [10 seeds]")
    assert "lies outside" not in judged.text
    one["contrast"]["new_examples"] |= {"low": 0.001, "high": 0.02}
    judged = page.judge(pointer, ComparisonRecord.from_json(found))
    assert judged.verdict == "agrees"
    assert judged.text.endswith("minilm; the paper's +2.6 lies outside")
    one["expected"] = 0.6
    assert page.judge(pointer, ComparisonRecord.from_json(found)).verdict == "does not agree"
    one["contrast"] |= {"new_examples": None, "seeds": [42, 43]}
    judged = page.judge(pointer, ComparisonRecord.from_json(found))
    assert judged == page.Judged(
        "rte accuracy 58.7 → 59.2, [2 seeds](results.md#maxpoolbert_rte_minilm), minilm: not "
        "judged",
        "no evidence",
    )


def test_the_sign_of_a_small_difference_is_shown() -> None:
    found = stored("fusion_minilm")["results"]
    pointer = page.Pointer(
        "fusion_minilm", "sts", "pearson", "fusion", study="sts plan.lr=1e-05", paper=0.037
    )
    judged = page.judge(pointer, ComparisonRecord.from_json(found))
    assert judged.verdict == "does not agree"
    assert "−0.00044 [−0.00072, −0.00016]" in judged.text


def test_a_pointer_to_nothing_is_an_error_that_names_it() -> None:
    record = page.record("even_minilm")
    assert record is not None
    with pytest.raises(LookupError, match=r"variant='never'.* is not in docs/results/compare-even"):
        page.judge(page.Pointer("even_minilm", "sts", "pearson", "never"), record)
    with pytest.raises(TypeError, match="colour"):
        page.Item(item="x", colour="red")  # type: ignore[call-arg]


def test_figures_are_taken_up_where_they_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe is open without a file, not yet run with one, then smoke, then measured."""
    results, recipes = tmp_path / "results", tmp_path / "recipes"
    results.mkdir()
    recipes.mkdir()
    (results / "smoke.json").write_text("{}")
    (results / "rte_tune.json").write_bytes((page.RESULTS / "rte_tune.json").read_bytes())
    monkeypatch.setattr(page, "RESULTS", results)
    monkeypatch.setattr(page, "RECIPES", recipes)
    item = page.Item(item="averaging", recipes=("gen_swa",), says="worse", paper="marginal")

    def shown() -> tuple[list[str], list[page.Verdict]]:
        for cached in (page.record, page._smoke):
            cached.cache_clear()
        found = page.status(item, "bert-base-uncased")
        return found.texts, found.verdicts

    try:
        assert shown() == (["open: no recipe yet"], ["no evidence"])
        (recipes / "gen_swa.yaml").write_text("encoder: minilm\n")
        assert shown() == (["open: not yet run"], ["no evidence"])
        (results / "smoke.json").write_text('{"gen_swa": {}}')
        assert shown() == (["[smoke](results.md#smoke-tests-not-evidence)"], ["no evidence"])
        (results / "compare-gen_swa.json").write_text(json.dumps(stored("mnr_minilm")))
        texts, verdicts = shown()
        assert verdicts == ["agrees"]
        assert texts[0].startswith("sts Pearson r 0.847 → 0.805: −0.041 [")
        assert texts[0].endswith("[10 seeds](results.md#gen_swa), minilm")
    finally:
        for cached in (page.record, page._smoke):
            cached.cache_clear()


def test_a_figure_of_a_file_is_filled_in() -> None:
    filled = page.filled
    ratio = json.loads((ROOT / "docs" / "results" / "smart.json").read_text())["fp32"]["ratio"]
    assert filled("{smart fp32/ratio .2f} times") == f"{ratio:.2f} times"
    assert filled("{adapters shapes/BERT-base's shape/houlsby/trained ,d}") == "2,383,109"
    with pytest.raises(KeyError):
        filled("{smart fp64/ratio .2f}")


def test_a_level_of_another_encoder_is_not_compared() -> None:
    judged = page.level("rte_tune_cls", "bert-base-uncased")
    assert judged.verdict == "not comparable"
    assert judged.text.startswith("best of 12 trials 58.8; its settings on fresh seeds 54.9 [")
