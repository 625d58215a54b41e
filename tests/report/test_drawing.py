"""SVG files of matplotlib's, as files and inside a page."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from encore import catalogue
from encore.evaluation.seed_means import mean_interval
from encore.report.drawing import cleaned, described, inline, undescribed
from encore.report.figures import sizes

PLAIN = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg">
 <metadata><date>today</date></metadata><!-- text -->
 <defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
 <g id="unused"><path id="used" d="M 0 0" style="fill: #0072b2" clip-path="url(#clip)"/></g>
 <use xlink:href="#used"/><image xlink:href="data:image/png;base64,AA=="/>
 <text style="font: 10px 'DejaVu Sans'">a&lt;b  #0072b2 \x1b url(#used)</text>
 <clipPath id="clip"/>
</svg>
"""


def test_a_file_has_no_metadata_no_comment_and_fonts_of_the_reader() -> None:
    found = cleaned(PLAIN)
    assert found.startswith("<svg ")
    assert "today" not in found
    assert "<!--" not in found
    assert "font: 10px system-ui" in found
    assert ">a&lt;b  #0072b2 \ufffd url(#used)</text>" in found, "an escape is not XML"


def test_a_page_gets_its_own_ids_and_colours_and_no_address() -> None:
    root = ElementTree.fromstring(inline(cleaned(PLAIN), name="n", title="A < b", alt="An alt."))
    assert {name: root.get(name) for name in ("viewBox", "role", "aria-labelledby")} == {
        "viewBox": "0 0 9 9",
        "role": "img",
        "aria-labelledby": "n-title n-desc",
    }
    assert [(one.tag, one.get("id"), one.text) for one in root[:2]] == [
        ("title", "n-title", "A < b"),
        ("desc", "n-desc", "An alt."),
    ]
    path, use, image, text, clip = (
        next(root.iter(tag)) for tag in ("path", "use", "image", "text", "clipPath")
    )
    assert (path.get("id"), path.get("clip-path")) == ("n-used", "url(#n-clip)")
    assert path.get("style") == "fill: var(--series-1)"
    assert (use.get("href"), clip.get("id")) == ("#n-used", "n-clip")
    assert image.get("href") == "data:image/png;base64,AA==", "the colours of a colour bar"
    assert text.text == "a<b  #0072b2 \ufffd url(#used)", "words of users are left as they are"
    assert not [one for one in root.iter() if one.get("id") == "unused" or one.tag == "style"]
    assert "://" not in inline(cleaned(PLAIN), name="n", title="", alt="")


def test_a_description_can_be_added_and_taken_off() -> None:
    plain = cleaned(PLAIN)
    found = described(plain, title='"A" & b', alt="An alt.")
    assert '<title id="title">"A" &amp; b</title>' in found
    assert 'role="img"' in found
    assert undescribed(found) == plain


def test_scores_by_training_size_are_drawn_with_intervals_from_three_seeds_on() -> None:
    groups = {
        "mean": {100: [0.5, 0.6, 0.7], 400: [0.8, 0.8, 0.9]},
        "cls": {100: [0.4, 0.5], 400: [0.6, 0.7]},
    }
    figure = sizes("sizes", catalogue.find("metrics", "accuracy"), groups, where="dev")
    assert figure.alt == "mean 60.0 at 100, 83.3 at 400; cls 45.0 at 100, 65.0 at 400."
    rows = {row[:2]: row[2:] for row in figure.rows}
    interval = mean_interval([0.5, 0.6, 0.7], (0, 1))
    assert interval is not None
    assert rows["mean", 100] == (3, pytest.approx(0.6), interval.low, interval.high)
    assert rows["cls", 400] == (2, pytest.approx(0.65), None, None)
    words = [each.text for each in ElementTree.fromstring(figure.svg).iter() if each.text]
    assert {"100", "400", "training rows", "mean", "cls"} <= {word.strip() for word in words}
