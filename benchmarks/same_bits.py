"""Compare the results of this checkout with those of another revision, byte for byte.

    python benchmarks/same_bits.py REV [--by recipe] [--only CASE ...] [--jobs N] [--keep FOLDER]

Small recipes run with the code of git revision REV and with the code here, each command in a
process of its own, through `python -m encore` alone. Then run names and every file that belongs to
a result are compared: results.json, manifest.json, the loss of each step, the scores of each epoch,
the weights, tables and figures. One line per case is printed and one per file that differs; the
exit status is 1 where anything differs, 2 where the arguments are wrong.

--by recipe compares by case and not by run name: for a commit that renames runs on purpose. Names,
and resolved.json, of which a run's name is the hash, are then left out.

Machine, versions, times and logs are no results: benchmarks/result_files.py leaves them out. The
cases are in same_bits.yaml, their data in examples/data; the encoder is random, made here with a
fixed seed. About two minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.result_files import differences

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("rev", "now")  # folders of equal length, so that no text is wrapped differently


@dataclass(frozen=True)
class Case:
    """A recipe and the command that runs it.

    arguments: of the command, besides the recipe. killed: it is killed after its first checkpoint
    and given again by the code here, while the code of REV is left alone.
    """

    recipe: Mapping[str, Any]
    command: str = "train"
    arguments: tuple[str, ...] = ()
    killed: bool = False


def cases() -> dict[str, Case]:
    """Read same_bits.yaml: what its recipes have in common is put into each."""
    with Path(__file__).with_suffix(".yaml").open(encoding="utf-8") as file:
        read = yaml.safe_load(file)
    found = {}
    for name, case in read["cases"].items():
        recipe = {**read["common"], **case["recipe"]}
        recipe["plan"] = {**read["plan"], **case["recipe"].get("plan", {})}
        arguments = tuple(map(str, case.get("arguments", ())))
        killed = case.get("killed", False)
        found[name] = Case(recipe, case.get("command", "train"), arguments, killed)
    return found


CASES = cases()

# ------------------------------------------------------------------------- what both sides read


def write_inputs(folder: Path) -> None:
    """Write data, encoder and recipes, the same bytes into every folder."""
    (folder / "data").mkdir(parents=True)
    for name in ("reviews.csv", "pairs.csv"):
        shutil.copyfile(ROOT / "examples" / "data" / name, folder / "data" / name)
    with (folder / "data" / "reviews.csv").open(encoding="utf-8", newline="") as file:
        reviews = list(csv.DictReader(file))
    with (folder / "data" / "tags.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["text", "tags"])
        lines.writerows([row["text"], f"{row['category']};{row['region']}"] for row in reviews)
    write_encoder(folder / "encoder", [row["text"] for row in reviews])
    for name, case in CASES.items():
        (folder / f"{name}.yaml").write_text(json.dumps(case.recipe, indent=1), encoding="utf-8")


def write_encoder(folder: Path, texts: Sequence[str]) -> None:
    """Write a random BERT of two layers, width 24, for letters and the commonest words."""
    width, inner, n_positions, signs = 24, 40, 64, "abcdefghijklmnopqrstuvwxyz0123456789"
    counts = Counter(word for text in texts for word in text.lower().split() if word.isalpha())
    words = sorted(
        (word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word)
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,?!'-"]
    vocabulary = [*special, *signs, *(f"##{sign}" for sign in signs), *words[:150]]
    config = {
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": n_positions,
        "type_vocab_size": 2,
    }
    draw = np.random.default_rng(7)
    weights: dict[str, np.ndarray] = {}

    def normal(name: str, scale: float, *shape: int) -> None:
        weights[name] = draw.normal(0, scale, shape).astype(np.float32)

    def dense(name: str, n_in: int, n_out: int) -> None:
        normal(f"{name}.weight", n_in**-0.5, n_out, n_in)
        normal(f"{name}.bias", 0.02, n_out)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(width, np.float32)
        weights[f"{name}.bias"] = np.zeros(width, np.float32)

    normal("embeddings.word_embeddings.weight", 0.5, len(vocabulary), width)
    normal("embeddings.position_embeddings.weight", 0.05, n_positions, width)
    normal("embeddings.token_type_embeddings.weight", 0.05, 2, width)
    norm("embeddings.LayerNorm")
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
            dense(f"{layer}.{part}", width, width)
        dense(f"{layer}.attention.output.dense", width, width)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", width, inner)
        dense(f"{layer}.output.dense", inner, width)
        norm(f"{layer}.output.LayerNorm")
    dense("pooler.dense", width, width)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    save_file(weights, folder / "model.safetensors")


# --------------------------------------------------------------------------------- running them


class Commands:
    """Processes of one code, `python -m encore`, in one working folder."""

    def __init__(self, code: Path, folder: Path) -> None:
        self.folder, self.running = folder, set[subprocess.Popen[bytes]]()
        self.stopped = False
        self.environment = {key: value for key, value in os.environ.items() if key != "ENCORE_RUNS"}
        self.environment |= {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        found = subprocess.run(
            [sys.executable, "-c", "import encore; print(encore.__file__)"],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        if not Path(found).is_relative_to(code):
            sys.exit(f"same_bits: expected to import encore from {code}, got {found}")

    def run(self, name: str, *, kill: bool) -> str:
        """Run a case; return what went wrong, "" if nothing did.

        kill: kill it once a checkpoint is on the disk, and run the same command again.
        """
        case, runs = CASES[name], Path("runs", name)
        command = [sys.executable, "-m", "encore", case.command, f"{name}.yaml", *case.arguments]
        command += ["--runs", runs.as_posix(), "--quiet"]
        with (self.folder / f"{name}.log").open("wb") as log:
            if kill:
                process = self._start(command, log)
                while process.poll() is None and not _begun(self.folder / runs):
                    time.sleep(0.005)
                self._kill(process)
                if process.wait() != -signal.SIGKILL:
                    return f"it ended (exit status {process.returncode}) before it could be killed"
                if list((self.folder / runs).glob("*/manifest.json")):
                    return "it was complete before it could be killed"
            process = self._start(command, log)
            status = process.wait()
            self.running.discard(process)
        if status == 0:
            return ""
        told = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return f"exit status {status}: {' | '.join(told.splitlines()[-3:])}"

    def stop(self) -> None:
        """Kill what still runs, and start nothing more."""
        self.stopped = True
        for process in list(self.running):
            self._kill(process)

    def _start(self, command: Sequence[str], log: Any) -> subprocess.Popen[bytes]:
        if self.stopped:
            raise RuntimeError("stopped")
        how: dict[str, Any] = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, start_new_session=True, **how
        )
        self.running.add(process)
        return process

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self.running.discard(process)


def _begun(runs: Path) -> bool:
    return any(runs.glob("*/checkpoint/[!.]*"))


@contextlib.contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """Check a revision out into a temporary worktree, which is removed in any case."""
    git = ["git", "-C", str(ROOT), "worktree"]
    try:
        subprocess.run([*git, "add", "--detach", "--quiet", str(folder), revision], check=True)
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


# --------------------------------------------------------------------------------------- all of it


def compare(options: argparse.Namespace, work: Path) -> int:
    """Run and compare the cases; return how many of them differ."""
    folders = [work / side for side in SIDES]
    for folder in folders:
        write_inputs(folder)
    n_different = 0
    with checked_out(options.revision, work / "code") as code:
        rev, now = (Commands(*side) for side in zip((code, ROOT), folders, strict=True))
        pool = ThreadPoolExecutor(options.jobs)
        try:
            jobs = {}
            for name in options.only:
                jobs[name] = (
                    pool.submit(rev.run, name, kill=False),
                    pool.submit(now.run, name, kill=CASES[name].killed),
                )
            for name, both in jobs.items():
                ended = zip(("at REV", "here"), [job.result() for job in both], strict=True)
                lines, n_same = [f"{side}: {problem}" for side, problem in ended if problem], 0
                if not lines:
                    by_name = options.by == "name"
                    lines, n_same = differences(folders[0], folders[1], name, by_name=by_name)
                if not lines and not n_same:
                    lines = ["no result on either side"]
                n_different += bool(lines)
                verdict = "DIFFERENT" if lines else "same"
                print(f"{verdict:9} {name}: {n_same} files equal", flush=True)
                for line in lines:
                    print(f"  {name}: {line}", flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            rev.stop()
            now.stop()
    return n_different


def arguments() -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add, names = parser.add_argument, list(CASES)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    add("revision", metavar="REV", help="the git revision to compare with")
    add("--by", choices=("name", "recipe"), default="name", help="recipe: leave run names out")
    add("--only", nargs="+", choices=names, default=names, metavar="CASE", help=", ".join(names))
    add("--jobs", type=int, default=n_cores, metavar="N", help="commands at once")
    add("--keep", type=Path, metavar="FOLDER", help="a new folder for what both sides write")
    options = parser.parse_args()
    commit = f"{options.revision}^{{commit}}"
    known = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", commit]
    if subprocess.run(known, capture_output=True, check=False).returncode:
        parser.error(f"REV: no revision called '{options.revision}' in {ROOT}")
    if options.keep is not None and options.keep.exists():
        parser.error(f"--keep: {options.keep} exists already; name a new folder")
    return options


def main() -> None:
    """Exit with status 1 where anything differs."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktree is removed
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        work = options.keep
        if work is None:
            temporary = tempfile.TemporaryDirectory(prefix="same-bits-", ignore_cleanup_errors=True)
            work = Path(stack.enter_context(temporary))
        n_different = compare(options, work.resolve())
    n, seconds = len(options.only), time.monotonic() - started
    verdict = f"{n_different} of {n} cases differ from" if n_different else f"{n} cases as at"
    print(f"{verdict} {options.revision} ({seconds:.0f} s)")
    sys.exit(1 if n_different else 0)


if __name__ == "__main__":
    main()
