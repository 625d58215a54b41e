"""Writes docs/results.md from the JSON files in docs/results/, which benchmarks and studies wrote.
No figure in it is typed.

    python docs/results.py                     writes docs/results.md
    python docs/results.py --check             exit code 1 if the page is not up to date
    python docs/results.py FOLDER [--smoke]    takes in a finished comparison first, as
      docs/results/compare-RECIPE.json; --smoke: too small to be evidence, or a search like that
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs import result_plan, result_pretraining, result_studies, result_tables
from encore.recipe.digest import settings_digest
from encore.recipe.located_yaml import read_yaml
from encore.recipe.values import to_plain

HERE = Path(__file__).resolve().parent


def take_in(folder: Path, *, small: bool) -> None:
    """Copies the figures of a finished comparison; for a recipe that comes with Encore, also the
    record that `encore ls recipes` shows.
    """
    if small:
        take_in_small(folder)
        return
    manifest, study = (
        json.loads((folder / name).read_text()) for name in ("manifest.json", "study.json")
    )
    cells = json.loads((folder / "cells.json").read_text())
    made = [
        cell["run"]
        for cell in [*cells["cells"], *cells.get("screening", [])]
        if cell["state"] == "complete"
    ]
    runs = [folder.parent / name for name in dict.fromkeys(made)]
    recipe = _recipe(folder)
    version = max(
        json.loads((run / "resolved.json").read_text())["results_version"] for run in runs
    )
    environments = [json.loads((run / "environment.json").read_text()) for run in runs]
    record = {
        "source": recipe["source"],
        "claim": recipe["claim"],
        "command": " ".join(
            ["encore compare", f"recipes/{study['name']}.yaml", *study["overrides"]]
        ),
        "n_runs": len(runs),
        "seconds": sum(json.loads((run / "cost.json").read_text())["seconds"] for run in runs),
        "machine": ", ".join(
            sorted(
                {
                    f"{each['processor']}, {each['device']}, {each['precision']}"
                    for each in environments
                }
            )
        ),
        "sha256": manifest["results.json"],
        "results_version": version,
        "results": json.loads((folder / "results.json").read_text()),
    }
    target = HERE / "results" / f"compare-{study['name']}.json"
    target.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if (HERE.parent / "recipes" / f"{study['name']}.yaml").exists():
        kept = {key: record[key] for key in ("machine", "results_version", "sha256")}
        verify(study, folder, recipe, kept | {"runs": len(runs)})


def take_in_small(folder: Path) -> None:
    """Records that every cell of a comparison ran, or every trial of a search, and no figure."""
    study = json.loads((folder / "study.json").read_text())
    given = " ".join(study["overrides"])
    if (folder / "cells.json").exists():
        cells = json.loads((folder / "cells.json").read_text())
        states = [cell["state"] for cell in cells["cells"]]
        every = [*cells["cells"], *cells.get("screening", [])]
        runs = {cell["run"] for cell in every if cell["state"] == "complete"}
        counts = [len(states), len(runs), states.count("failed"), states.count("not applicable")]
    else:
        trials = json.loads((folder / "results.json").read_text())["trials"]
        counts = [trials["requested"], trials["complete"], trials["failed"], 0]
        given += f" -n {trials['requested']}"
    target = HERE / "results" / "smoke.json"
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    entry = {"name": study["name"], "source": _recipe(folder)["source"], "with": given}
    known[study["name"]] = {**entry, "counts": counts}
    target.write_text(
        json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


def _recipe(folder: Path) -> dict[str, Any]:
    file = folder / "recipe.yaml"
    found: dict[str, Any] = to_plain(read_yaml(file.read_text(encoding="utf-8"), str(file)))
    return found


def verify(
    study: dict[str, Any], folder: Path, recipe: dict[str, Any], measured: dict[str, Any]
) -> None:
    """Adds a comparison to a recipe's records in recipes/verified.json: the day on which it became
    complete, and the digest of the recipe's settings on that day.
    """
    target = HERE.parent / "recipes" / "verified.json"
    records = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    finished = (folder / "manifest.json").stat().st_mtime
    record = {
        "date": datetime.datetime.fromtimestamp(finished, datetime.UTC).date().isoformat(),
        "with": " ".join(study["overrides"]),
        "comparison": folder.name,
        "settings_sha256": settings_digest(recipe),
        **measured,
    }
    others = [one for one in records.get(study["name"], []) if one["comparison"] != folder.name]
    records[study["name"]] = [*others, record]
    target.write_text(
        json.dumps(dict(sorted(records.items())), indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "first_light": result_studies.first_light,
    "default_plan": result_plan.default_plan,
    "train_throughput": result_tables.train_throughput,
    "predict": result_tables.predict,
    "sweep": result_tables.sweep,
    "frozen": result_tables.frozen,
    "multitask": result_tables.multitask,
    "smart": result_tables.smart,
    "adapters": result_tables.adapters,
    "tokenization": result_tables.tokenization,
    "memory": result_tables.memory,
    "memory_csv": result_tables.memory_csv,
    "startup": result_tables.startup,
    "rte_tune": result_studies.rte_tune,
    "pretrain": result_pretraining.pretrain,
    "from_scratch": result_pretraining.from_scratch,
}


def render() -> str:
    """The whole of docs/results.md."""
    text = (
        "# Results\n\nGenerated from `docs/results/*.json` by `python docs/results.py`; do not "
        "edit. Each section names the version of the results that its figures were made with: "
        "Encore raises it when the same recipe gives other bits.\n"
    )
    for name, section in SECTIONS.items():
        file = HERE / "results" / f"{name}.json"
        if file.exists():
            text += "\n" + section(json.loads(file.read_text(encoding="utf-8")))
    for file in sorted((HERE / "results").glob("compare-*.json")):
        text += "\n" + result_studies.comparison(json.loads(file.read_text(encoding="utf-8")))
    file = HERE / "results" / "smoke.json"
    if file.exists():
        text += "\n" + result_studies.smoke(json.loads(file.read_text(encoding="utf-8")))
    return text


def main() -> None:
    target = HERE / "results.md"
    if "--check" in sys.argv:
        if target.read_text(encoding="utf-8") != render():
            raise SystemExit(
                "docs/results.md is not what docs/results/*.json give. Run: python docs/results.py"
            )
        return
    for word in sys.argv[1:]:
        if word != "--smoke":
            take_in(Path(word), small="--smoke" in sys.argv)
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
