"""The pictures of the papers' architectures: what is drawn is what the models are."""

from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree

from docs import architectures as drawn
from docs import svg
from docs.papers import papers
from encore.types import Spec


@cache
def pictures() -> dict[str, str]:
    return drawn.pictures()


def test_the_pictures_are_up_to_date() -> None:
    """Twice the same bytes, and those of the files; each is shown on the page."""
    made = pictures()
    files = {file.name: file.read_text(encoding="utf-8") for file in drawn.FOLDER.glob("*")}
    assert files == made, "run `python docs/architectures.py`"
    shown = {f"{name}.svg" for paper in papers() for name in paper.pictures}
    assert shown == set(files)
    assert drawn.PICTURES["rte"]().svg() == made["rte.svg"]


def test_a_picture_is_for_light_and_dark_and_holds_nothing_but_shapes() -> None:
    kinds = set(svg.KINDS)
    for name, text in pictures().items():
        tree = ElementTree.fromstring(text)
        tags = {element.tag.split("}")[1] for element in tree.iter()}
        shapes = {"rect", "text", "polyline", "path", "defs", "marker"}
        assert tags <= {"svg", "title", "style", *shapes}, name
        style = next(element.text or "" for element in tree.iter() if element.tag.endswith("style"))
        light, _, dark = style.partition("@media (prefers-color-scheme:dark)")
        for kind in (*kinds, "ground", "soft"):
            assert f".{kind}{{fill:#" in light, kind
            assert f".{kind}{{fill:#" in dark, kind
        used = {element.get("class") for element in tree.iter() if element.tag.endswith("rect")}
        assert used <= {*kinds, "ground"}
        width, height = float(tree.get("width", 0)), float(tree.get("height", 0))
        for element in tree.iter():  # nothing stands outside
            if element.tag.endswith("rect") and element.get("x"):
                assert 0 <= float(element.get("x", -1)) <= width - float(element.get("width", 0))
                assert 0 <= float(element.get("y", -1)) <= height - float(element.get("height", 0))


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_on_every_box() -> None:
    assert round(contrast("#000000", "#ffffff")) == 21
    for scheme in (svg._LIGHT, svg._DARK):
        for ground in (*svg.KINDS, "ground"):
            assert contrast(scheme["ink"], scheme[ground]) >= 7, ground
        assert contrast(scheme["soft"], scheme["ground"]) >= 4.5


def test_the_states_that_a_pooling_reads() -> None:
    read = drawn.cells_read
    top = {(12, token) for token in range(5)}
    assert read("cls") == read("pooler") == {(12, 0)}
    assert read({"name": "max_cls", "k": 3}) == {(12, 0), (11, 0), (10, 0)}
    assert read({"name": "mha", "n_heads": 4}) == read("attention") == read("mean_max") == top
    three = {(layer, token) for layer in (10, 11, 12) for token in range(5)}
    assert read({"name": "max_seq_mha", "k": 3, "n_heads": 4}) == three


def test_what_three_tasks_share() -> None:
    """METHODS 4.3 to 4.6: segments, and millions of weights below the heads."""

    def of(sharing: Spec) -> list[tuple[int, int, int, bool]]:
        paths = drawn.segments(drawn.shared_by(sharing))
        parts = {one.part: one for each in paths.values() for branch in each for one in branch}
        return sorted((one.first, one.last, len(one.tasks), one.frozen) for one in parts.values())

    assert of("one") == [(0, 12, 3, False)]
    assert of("separate") == [(0, 12, 1, False)] * 3
    assert of({"name": "branch", "own_layers": 2}) == [(0, 10, 3, False), *[(11, 12, 1, False)] * 3]
    assert of("static") == [*[(0, 12, 1, False)] * 3, (0, 12, 3, True)]
    assert of("multi_and_own") == [*[(0, 12, 1, False)] * 3, (0, 12, 3, False)]
    text = (drawn.FOLDER / "serbertus.svg").read_text(encoding="utf-8")
    assert re.findall(r">([\d.]+) million", text) == ["328.4", "109.5", "137.8", "437.9", "437.9"]


def test_adapters_stand_where_the_model_has_them() -> None:
    assert drawn._adapted_ends() == [True, True]
    text = (drawn.FOLDER / "adapterfusion.svg").read_text(encoding="utf-8")
    assert text.count("adapter: 768 → 64 → 768") == 2
    assert "Fusion of 4 adapters" in text
    assert "quora → imdb, sst5, sts" in text
