"""The three searches of the RTE study with MiniLM: the paper's spaces, cut to about an hour in all
on two idle cores.

    python benchmarks/rte_tune.py run --runs runs/rte_tune        searches what is missing; the same
      command goes on where it was stopped
    python benchmarks/rte_tune.py estimate --runs runs/rte_tune   says what it would take on this
      machine under its present load
    python benchmarks/rte_tune.py collect --runs runs/rte_tune    writes docs/results/rte_tune.json
      and the pictures beside it from the study folders

What is cut: MiniLM in the place of bert-base-uncased, 1,000 of the 2,490 training rows (the same
ones for all), 12 trials in the place of 48, 30 and 30. Space, seed, sampler and protocol are the
recipes'. `--full` cuts nothing but the encoder: for a GPU, or a night. Nothing here is typed by
hand: docs/results.md is generated from the JSON by docs/results.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent.parent
RECIPES = ("rte_tune_cls", "rte_tune_mean_max", "rte_tune_attention")
CUT = ("data.train_rows=1000", "-n", "12")
PICTURES = ("history", "importances")


def command(recipe: str, *, full: bool) -> list[str]:
    """As a user would type it."""
    return ["encore", "tune", recipe, "encoder=minilm", *(() if full else CUT)]


def call(recipe: str, runs: Path, *more: str, full: bool) -> str:
    """Returns its standard output; its progress goes to our standard error."""
    asked = [sys.executable, "-m", *command(recipe, full=full), "--runs", str(runs), *more]
    done = subprocess.run(
        asked,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode not in (0, 5):  # 5: some trials failed, and the search went on
        raise SystemExit(f"{recipe}: exit code {done.returncode}")
    return done.stdout


def collect(runs: Path) -> None:
    """Read the finished study folders into one JSON file that the report is rendered from."""
    found, target = [], HERE / "docs" / "results"
    for recipe in RECIPES:
        for folder in sorted(runs.glob(f"tune-{recipe}-*")):
            if (folder / "manifest.json").exists():
                found.append(searched(recipe, folder))
    (target / "rte_tune.json").write_text(
        json.dumps({"searches": found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    pictures = target / "rte_tune"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    for search in found:
        for name in search["pictures"]:
            shutil.copyfile(
                runs / search["folder"] / "figures" / f"{name}.svg",
                pictures / f"{search['recipe']}-{name}.svg",
            )
    print(f"{len(found)} searches → docs/results/rte_tune.json")


def searched(recipe: str, folder: Path) -> dict[str, Any]:
    read = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("results", "study", "manifest", "cost")
    }
    fresh = folder.parent / read["results"]["fresh"]["comparison"]
    names = [
        cell["run"]
        for cell in json.loads((fresh / "cells.json").read_text(encoding="utf-8"))["cells"]
    ]
    environment = json.loads(
        (folder.parent / names[0] / "environment.json").read_text(encoding="utf-8")
    )
    resolved = folder.parent / names[0] / "resolved.json"
    version = json.loads(resolved.read_text(encoding="utf-8"))["results_version"]
    seconds = [
        json.loads((folder.parent / name / "cost.json").read_text(encoding="utf-8"))["seconds"]
        for name in names
    ]
    pictures = {
        name: told(file)
        for name in PICTURES
        if (file := folder / "figures" / f"{name}.svg").exists()
    }
    return {
        "recipe": recipe,
        "folder": folder.name,
        "command": " ".join(
            ["encore tune", recipe, *read["study"]["overrides"], "-n", str(read["study"]["trials"])]
        ),
        "results": read["results"],
        "sha256": read["manifest"]["results.json"],
        "pictures": pictures,
        "seconds": sum(value or 0.0 for value in read["cost"]["trials"].values()) + sum(seconds),
        "machine": ", ".join(environment[key] for key in ("processor", "device", "precision")),
        "encore": environment["encore"],
        "results_version": version,
    }


def told(picture: Path) -> str:
    """The text alternative of a picture."""
    return ElementTree.parse(picture).getroot().findtext("{http://www.w3.org/2000/svg}desc") or ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "estimate", "collect"))
    parser.add_argument("--runs", type=Path, default=Path("runs/rte_tune"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "collect":
        collect(arguments.runs)
        return
    total = 0.0
    for recipe in RECIPES:
        more = [
            "--processes",
            str(arguments.processes),
            *(["--dry-run", "--json", "--quiet"] if arguments.what == "estimate" else []),
        ]
        said = call(recipe, arguments.runs, *more, full=arguments.full)
        if arguments.what == "run":
            print(said, flush=True)
        else:
            cost = json.loads(said)
            total += cost["estimated_seconds"]
            what = f"{' '.join(command(recipe, full=arguments.full))}: {cost['runs']} runs"
            print(f"{what}, {cost['estimated_seconds'] / 60:.0f} min; {total / 60:.0f} min so far")


if __name__ == "__main__":
    main()
