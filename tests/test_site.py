"""The documentation site builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from encore import catalogue

ROOT = Path(__file__).resolve().parents[1]
BUILD = "sphinx-build -W -n -q docs docs/_build"

pytest.importorskip("furo", reason="needs the extra 'dev'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Warnings are errors."""
    place = tmp_path_factory.mktemp("site")
    words = shlex.split(BUILD)
    assert words[:1] == ["sphinx-build"]
    assert words[-1] == "docs/_build"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        *words[1:-1],
        "-d",
        str(place / "cache"),
        str(place / "html"),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "html"


class Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def broken(pages: dict[Path, Page]) -> list[str]:
    """Local links without a target: no such file, or no such anchor in it."""
    found = []
    for file, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (file.parent / path.partition("?")[0]).resolve() if path else file
            missing = not target.exists()
            if not missing and anchor and target in pages:
                missing = anchor not in pages[target].anchors
            if missing:
                found.append(f"{file.name}: {link}")
    return found


def test_every_link_inside_the_site_leads_somewhere(site: Path) -> None:
    pages = {file.resolve(): Page(file) for file in site.rglob("*.html")}
    assert len(pages) > 20
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert broken(pages) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y">1</a><a href="#x">2</a><a href="c.html">3</a>'
    )
    (tmp_path / "b.html").write_text(
        '<p id="z"><a href="a.html#x">4</a><a href="https://example.org/#q">5</a>'
    )
    pages = {file: Page(file) for file in sorted(tmp_path.resolve().glob("*.html"))}
    assert broken(pages) == ["a.html: b.html#y", "a.html: c.html"]


def test_every_page_is_in_the_navigation(site: Path) -> None:
    sources = {
        page.relative_to(ROOT / "docs").with_suffix("") for page in (ROOT / "docs").rglob("*.md")
    }
    index = Page(site / "index.html").links
    listed = {Path(link).with_suffix("") for link in index if link.endswith(".html")}
    assert sources - listed <= {Path("index")}


def test_the_api_page_shows_signatures_and_docstrings(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "api.html").read_text(encoding="utf-8"))
    for name in ("fit", "load", "compare", "tune"):
        assert re.search(rf"^{name}\(", text, re.M), name
    assert "probabilities" in text
    assert "exception RecipeError" in " ".join(text.split())


def test_the_page_of_techniques_has_every_technique(site: Path) -> None:
    text = (site / "TECHNIQUES.html").read_text(encoding="utf-8")
    names = {name for kind in catalogue.kinds() for name in catalogue.names(kind)}
    assert [name for name in names if f">{name}<" not in text] == []
