"""What `encore ls` lists: the runs in a folder, the named tasks, the techniques of one kind."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encore import catalogue, files
from encore.data import tasks
from encore.evaluate import Estimate, Listing, figure

__all__ = ["named_tasks", "runs", "runs_table", "table", "techniques"]


def runs(folder: Path) -> list[dict[str, Any]]:
    """The runs in a folder, the newest last: run, task, state, and of the complete ones epoch, metrics (task → dev set → metric → value and interval of the
    model) and seconds."""
    entries = [entry for entry in folder.iterdir() if (entry / "resolved.json").is_file()] if folder.is_dir() else []
    return [_run(entry) for entry in sorted(entries, key=lambda entry: ((entry / "resolved.json").stat().st_mtime, entry.name))]


def _run(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"run": str(folder), "task": folder.name.rpartition("-")[0]}
    if not (folder / files.MANIFEST).exists():
        steps = (folder / "steps.jsonl").read_bytes().count(b"\n") if (folder / "steps.jsonl").exists() else 0
        return found | {"state": "training" if _locked(folder) else f"stopped after step {steps}"}
    try:
        results, cost = files.read_json(folder / "results.json"), files.read_json(folder / "cost.json")
        metrics = {task: {split: who["model"] for split, who in sets.items()} for task, sets in results["metrics"].items()}
        return found | {"state": "complete", "epoch": results["epoch"], "metrics": metrics, "seconds": cost["seconds"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return found | {"state": "damaged"}


def _locked(folder: Path) -> bool:
    """Whether a process is training this run."""
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def runs_table(found: Sequence[Mapping[str, Any]]) -> Listing:
    """One line per run, with its first metric on its first dev set."""
    rows = []
    for entry in found:
        said, seconds = ("", ""), f"{entry['seconds']:,.0f} s" if "seconds" in entry else ""
        for sets in list(entry.get("metrics", {}).values())[:1]:
            name, value = next(iter(next(iter(sets.values())).items()))
            metric = catalogue.find("metrics", name)
            said = (metric.title, figure(Estimate(value["value"], value["low"], value["high"]), metric.form))
        rows.append((entry["run"], entry["task"], entry["state"], *said, seconds))
    return Listing("", ("run", "task", "state", "metric", "dev figure", "time"), tuple(rows), (), frozenset({4, 5}))


def named_tasks() -> list[dict[str, Any]]:
    """Every named task, what it is, and where its files are."""
    found = []
    for name in tasks.names():
        task = tasks.NAMED[name]
        what = {"binary": "two classes", "multiclass": f"{len(task.labels)} classes", "regression": "a number"}[task.kind]
        official = "yes" if task.official is True else "no"
        found.append({"task": name, "predicts": what, "of": "pairs" if task.text_pair else "texts", "metrics": ", ".join(task.metrics), "official": official})
        found[-1]["files"] = tasks.whereabouts(name)
    return found


def techniques(kind: str) -> list[dict[str, Any]]:
    """Every technique of a kind with its first sentence."""
    return [{"name": name, "what": catalogue.about(kind, name)} for name in catalogue.names(kind)]


def table(found: Sequence[Mapping[str, Any]]) -> Listing:
    """Equal entries as lines."""
    missing = any(entry.get("files") == "not here" for entry in found)
    notes = ("files: set ENCORE_DATA to a folder that holds those not here, or ENCORE_DATA_REPO to a Hugging Face data set that does.",) if missing else ()
    return Listing("", tuple(found[0]), tuple(tuple(entry.values()) for entry in found), notes)
