"""docs/results.md, generated from the JSON files in docs/results/, which benchmarks and studies
wrote. No figure in it is typed.

python docs/results.py                     writes docs/results.md python docs/results.py --check
says whether it is up to date (exit code 1: it is not) python docs/results.py FOLDER [--smoke]
takes a finished comparison in first: docs/results/compare-RECIPE.json; --smoke: too small to be
evidence
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
TITLES = {
    "accuracy": "accuracy",
    "mcc": "MCC",
    "pearson": "Pearson r",
    "f1": "F1",
    "macro_f1": "macro F1",
    "spearman": "Spearman ρ",
}
PERCENT = {"accuracy", "f1", "macro_f1"}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric in PERCENT else f"{value:.3f}"


def first_light(found: dict[str, Any]) -> str:
    """Five tasks beside HF Trainer, then the tasks with several seeds."""
    from encore.runs.identity import RESULTS_VERSION

    cells = found["cells"]
    several = [
        task
        for task in dict.fromkeys(cell["task"] for cell in cells)
        if sum(cell["task"] == task for cell in cells) > 1
    ]
    rows = []
    for cell in (cell for cell in cells if cell["seed"] == 42):
        (sets,) = cell["results"]["metrics"].values()
        dev = next(iter(sets.values()))
        metric, expected = re.findall(r"\.(\w+): ([\d.]+)", cell["expect"])[0]
        ours = dev["model"][metric]
        seconds = re.findall(r"(\d+) s on", cell["source"])[0]
        baselines = [figure(metric, dev[name][metric]["value"]) for name in dev if name != "model"]
        rows.append(
            [
                cell["task"],
                TITLES[metric],
                f"{figure(metric, ours['value'])} [{figure(metric, ours['low'])}, "
                f"{figure(metric, ours['high'])}]",
                figure(metric, float(expected)),
                *baselines,
                f"{cell['cost']['seconds']:.0f}",
                seconds,
            ]
        )
    text = "## First light: five tasks, one seed each\n\n"
    machine = cells[0]["environment"]
    text += (
        f"MiniLM, `pooler`, head dropout .1, 4 epochs, lr 5e-5, batch 32, length 128, "
        f"{machine['precision']}, seed 42; dev sets, last epoch; "
        "[95 % bootstrap interval over "
        f"the rows]. Ours: one thread per run, two runs at a time on two cores "
        f"({machine['processor']}); "
        "seconds are the whole run with its evaluations, checkpoints and baselines. HF "
        "Trainer: the figures given for the same encoder and settings, seed 42, "
        "on two busy cores of another day. Ours had little else beside them, so the seconds "
        "compare nothing; the benchmark below does.\n\n"
    )
    text += table(
        [
            "task",
            "metric",
            "Encore",
            "HF Trainer",
            "majority / mean",
            "TF-IDF",
            "Encore, s",
            "HF, s",
        ],
        rows,
    )
    if several:
        text += (
            "\n## Several seeds\n\nMean ± sample standard deviation over seeds (ddof 1); "
            "dev sets, last epoch.\n\n"
        )
        rows = []
        for task in several:
            of_task = [cell for cell in cells if cell["task"] == task]
            metric = re.findall(r"\.(\w+):", of_task[0]["expect"])[0]
            values = [
                next(iter(next(iter(cell["results"]["metrics"].values())).values()))["model"][
                    metric
                ]["value"]
                for cell in of_task
            ]
            mean, sd = statistics.mean(values), statistics.stdev(values)
            spread = (
                f"{100 * mean:.1f} ± {100 * sd:.1f} %"
                if metric in PERCENT
                else f"{mean:.3f} ± {sd:.3f}"
            )
            rows.append(
                [
                    task,
                    TITLES[metric],
                    str(len(values)),
                    spread,
                    figure(metric, max(values)),
                    ", ".join(figure(metric, value) for value in values),
                ]
            )
        text += table(["task", "metric", "seeds", "mean ± sd", "max", "each"], rows)
    notes = sorted(
        {f"{cell['task']}: {note}" for cell in cells for note in cell["results"]["notes"]}
    )
    if older := {cell["results_version"] for cell in cells} - {RESULTS_VERSION}:
        notes.append(
            f"made with results version {', '.join(map(str, sorted(older)))}; the code is at "
            f"{RESULTS_VERSION}, where the same recipe is another draw of "
            "the same experiment"
        )
    return (
        text
        + "\n"
        + "".join(f"* {note}\n" for note in notes)
        + f"\nRuns: {', '.join(cell['run'] for cell in cells)}.\n"
    )


def train_throughput(found: dict[str, Any]) -> str:
    rows = []
    for name, variant in sorted(
        found["variants"].items(), key=lambda item: item[1]["tokens_per_second"]["median"]
    ):
        ratios = [
            f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
            for ratio in variant["ratio"].values()
        ]
        rows.append(
            [
                name,
                f"{variant['tokens_per_second']['median']:,.0f}",
                *ratios,
                f"{100 * variant['of_gemm']['median']:.0f} %",
            ]
        )
    against = list(next(iter(found["variants"].values()))["ratio"])
    text = "## Training throughput\n\nFull SST-5, MiniLM, batch 32, one thread, "
    text += (
        "all variants interleaved in one process; real tokens per second; median [lowest, "
        "highest] over rounds. "
    )
    text += (
        f"The machine's matrix products in between: {found['gemm_gflops']['fp32']:.0f} "
        f"GFLOP/s in fp32, {found['gemm_gflops']['bf16']:.0f} in bf16. "
    )
    text += "`python benchmarks/train_throughput.py`\n\n"
    text += table(
        ["variant", "tokens/s", *(f"× {name}" for name in against), "of the GEMM rate"], rows
    )
    return text + goals(found)


def multitask(found: dict[str, Any]) -> str:
    rows = [
        [
            f"training on {n} task{'s' if n != '1' else ''}",
            f"{told['steps']} steps, {told['microseconds_per_token']:.0f} µs per token",
            f"{told['ratio']:.2f}",
        ]
        for n, told in found["training"].items()
    ]
    asking = found["asking"]
    rows.append(
        [
            "asking three tasks",
            f"{asking['three']:.2f} s beside {asking['one']:.2f} s for one",
            f"{asking['ratio']:.2f}",
        ]
    )
    text = (
        f"## Many tasks on one encoder\n\nMiniLM, bf16, one thread, the same "
        f"{found['rows']} sentences of SST-5 shared out among the tasks, batches of "
    )
    text += f"{found['batch']}; medians of {found['rounds']} rounds. "
    text += (
        "Nine tasks make more steps of the same tokens, for each has a last batch that is "
        "not full. "
    )
    text += "`python benchmarks/multitask.py`\n\n" + table(["", "", "beside one task"], rows)
    said = [
        {
            "against": f"one task, {name}",
            "must": goal,
            "median": found["ratios"][name],
            "met": found["ratios"][name] <= goal,
        }
        for name, goal in found["goals"].items()
    ]
    return text + goals({"goals": said})


def tokenization(found: dict[str, Any]) -> str:
    rows = [
        [name, f"{variant['sentences_per_second']:,.0f}"]
        for name, variant in found["variants"].items()
    ]
    goal = found["goal"]
    text = (
        "## Tokenizing\n\nSST-5's sentences on one core, processor time, medians. `python "
        "benchmarks/tokenization.py`\n\n"
    )
    verdict = "met" if goal["met"] else "NOT MET"
    return (
        text
        + table(["variant", "sentences/s"], rows)
        + f"\nGoal {goal['sentences_per_second']:,} sentences/s: {verdict} "
        f"({goal['reached']:,.0f}).\n"
    )


def memory(found: dict[str, Any]) -> str:
    rows = [[who, f"{peak / 1e6:,.0f}"] for who, peak in found["peak_bytes"].items()]
    text = (
        f"## Peak memory\n\nMiniLM, batch 32, every row 128 tokens, bf16, {found['steps']} "
        f"steps, one process each. `python benchmarks/memory.py`\n\n"
    )
    return text + table(["", "MB"], rows) + goals(found)


def memory_csv(found: dict[str, Any]) -> str:
    text = (
        f"## Memory of a large file\n\n`encore train` on {found['rows']:,} rows "
        f"({found['file_bytes'] / 1e6:.0f} MB of CSV): "
    )
    return (
        text + f"{found['peak_bytes'] / 1e6:,.0f} MB at most. `python benchmarks/memory.py --csv "
        f"{found['rows']}`\n" + goals(found)
    )


def startup(found: dict[str, Any]) -> str:
    rows = [
        [name, f"{seconds:.3f}", f"{found['wall_seconds'][name]:.3f}"]
        for name, seconds in found["processor_seconds"].items()
    ]
    text = "## Start-up\n\nMedians. `python benchmarks/startup.py`\n\n" + table(
        ["", "processor, s", "clock, s"], rows
    )
    return (
        text + f"\nHeavy libraries imported by `encore --help`: "
        f"{', '.join(found['heavy_imports']) or 'none'}.\n" + goals(found)
    )


def sweep(found: dict[str, Any]) -> str:
    rows = []
    for name, seconds in sorted(found["seconds"].items(), key=lambda item: -item[1]["median"]):
        ratio = found["ratio"].get(name)
        told = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else ""
        label = f"HF Trainer, bf16, {name}, two threads, one after the other" if ratio else name
        rows.append(
            [label, f"{seconds['median']:.0f}", told, f"{100 * found['accuracy'][name]:.1f} %"]
        )
    text = (
        f"## Two runs at once\n\nMiniLM on {found['rows']:,} rows of SST-5, batch 32, two "
        f"seeds of {found['steps']} steps each, on the same two cores; "
    )
    text += (
        f"seconds of the clock, median and middle half of {len(found['rounds'])} rounds. "
        f"`python benchmarks/sweep.py`\n\n"
    )
    return text + table(["", "s", "× ours", "dev accuracy"], rows) + goals(found)


def frozen(found: dict[str, Any]) -> str:
    rows = []
    for name, of in found["poolings"].items():
        ratio = of["ratio"]
        rows.append(
            [
                name,
                f"{of['first_seconds']:.1f}",
                f"{of['later_seconds']:.3f}",
                f"{ratio['median']:.0f} [{ratio['low']:.0f}, {ratio['high']:.0f}]",
            ]
        )
    text = (
        f"## Frozen encoder\n\nMiniLM, {found['rows']:,} rows of {found['task']}, batch 32, "
        f"length 128, one thread: the first epoch, in which the encoder "
    )
    text += (
        f"is asked, beside those after it; median and middle half of "
        f"{len(found['rounds'])} rounds. `python benchmarks/frozen.py`\n\n"
    )
    return text + table(["pooling", "first, s", "later, s", "ratio"], rows) + goals(found)


# METHODS, table D, and what the study says of importance (its figures 2, 6 and 9; only the 0.56 is
# printed as a number).
RTE_STUDY: dict[str, dict[str, Any]] = {
    "rte_tune_cls": {
        "head": "[CLS] and pooler",
        "accuracy": 0.7176,
        "trials": 48,
        "says": "learning rate and maximum length most, dropout and epochs little",
        "best": {"plan.lr": 6.86e-5, "plan.epochs": 15, "max_length": 128, "head.dropout": 0.0457},
    },
    "rte_tune_mean_max": {
        "head": "mean and max",
        "accuracy": 0.6227,
        "trials": 30,
        "says": "maximum length most, then learning rate, then epochs",
        "best": {"plan.lr": 9.94e-5, "plan.epochs": 10, "max_length": 256},
    },
    "rte_tune_attention": {
        "head": "attention",
        "accuracy": 0.6174,
        "trials": 30,
        "says": "maximum length most (0.56), then learning rate, then epochs",
        "best": {"plan.lr": 9.25e-5, "plan.epochs": 5, "max_length": 128},
    },
}


def rte_tune(found: dict[str, Any]) -> str:
    """The study's three searches: figures, best settings and importances, each beside what the
    paper prints.
    """
    text = (
        "## The searches of the RTE study\n\nThe paper's spaces, sampler (TPE) and protocol "
        "(METHODS 8.4) with MiniLM in the place of bert-base-uncased, "
    )
    text += (
        "and cut as the commands below say; seed 42, no trial given up, accuracy of the "
        "last epoch on the 277 rows of RTE's dev set, where the standard "
    )
    text += "error of an accuracy near 60 % is 2.9 points. `python benchmarks/rte_tune.py run`\n\n"
    figures, settings, weights, above, flattered = [], [], [], [], []
    paths = list(dict.fromkeys(path for paper in RTE_STUDY.values() for path in paper["best"]))
    for search in found["searches"]:
        results, paper = search["results"], RTE_STUDY[search["recipe"]]
        (row,) = results["fresh"]["studies"][0]["metrics"][0]["variants"]
        trials, best, shares = results["trials"], results["best"], results["importances"]["values"]
        each = ", ".join(figure("accuracy", value) for value in row["values"])
        above.append(
            100
            * (row["mean"] - results["fresh"]["studies"][0]["baselines"]["majority"]["accuracy"])
        )
        flattered.append(100 * (best["value"] - row["mean"]))
        figures.append(
            [
                paper["head"],
                f"{trials['complete']} of {trials['asked']}",
                figure("accuracy", best["value"]),
                f"{100 * row['mean']:.1f} ± {100 * row['sd']:.1f} % ({each})",
                figure("accuracy", paper["accuracy"]),
                str(paper["trials"]),
            ]
        )
        settings.append(
            [
                paper["head"],
                *(
                    f"{best['params'][path]:.3g} ({paper['best'][path]:.3g})"
                    if path in best["params"]
                    else "–"
                    for path in paths
                ),
            ]
        )
        weights.append(
            [
                paper["head"],
                ", ".join(f"{path} {share:.2f}" for path, share in shares.items())
                or results["importances"]["why"],
                paper["says"],
            ]
        )
    text += table(
        [
            "head",
            "trials",
            "tuned: the best trial",
            "fresh seeds, mean ± sd (each)",
            "paper: its best trial",
            "its trials",
        ],
        figures,
    )
    simple = [
        f"{who} {figure('accuracy', of['accuracy'])}"
        for who, of in found["searches"][0]["results"]["fresh"]["studies"][0]["baselines"].items()
    ]
    text += f"\nWithout an encoder: {', '.join(simple)}.\n" if simple else ""
    text += (
        "\nThe tuned figure is the best of many on the rows and the seed that chose it, so "
        "it flatters; the paper's figures are of that kind. "
    )
    text += (
        f"What was found: fresh runs of the best settings lie {min(above):.1f} to "
        f"{max(above):.1f} points above the majority class, and "
    )
    text += (
        f"{min(flattered):.1f} to {max(flattered):.1f} below the tuned figures. Where the "
        f"former is about one standard error, the order of the heads "
    )
    text += "and of the settings is no evidence for or against the paper's.\n\n"
    text += "Best settings, the paper's in brackets:\n\n" + table(["head", *paths], settings)
    text += (
        "\nImportances: share of the variance of the complete trials (fANOVA, 64 trees, "
        "seed 42). From a dozen trials they are a rough sketch; where "
    )
    text += (
        "trials differ by little more than their standard error, most of what is explained is "
        "luck.\n\n" + table(["head", "here", "paper"], weights)
    )
    for search in found["searches"]:
        text += "".join(
            f"\n![{said}](results/rte_tune/{search['recipe']}-{name}.svg)"
            for name, said in search["pictures"].items()
        )
    text += "\n"
    for search in found["searches"]:
        cost = f"{search['seconds'] / 60:.0f} min of training in all, on {search['machine']}"
        text += f"\n* `{search['command']}`: {cost}. sha256 of results.json: {search['sha256']}."
    notes = sorted(
        {
            note
            for search in found["searches"]
            for each in search["results"]["fresh"]["studies"]
            for note in each["notes"]
        }
    )
    return text + "".join(f"\n* {note}" for note in notes) + "\n"


def goals(found: dict[str, Any]) -> str:
    said = [(goal, "met" if goal["met"] else "NOT MET") for goal in found.get("goals", [])]
    return "".join(
        f"\nGoal {goal['must']:g} against {goal['against']}: {how} ({goal['median']:.3g}).\n"
        for goal, how in said
    )


# What a reader of a comparison has to know and no run folder holds.
ABOUT = {
    "maxpoolbert_rte_minilm": (
        "The recipe was committed before the first of its runs. The paper reports +2.64 points "
        "(63.42 to 66.06; bert-base-uncased, three seeds). "
        "What this says about its claim is limited: MiniLM has six layers, so k = 3 pools half "
        "of the encoder where the paper pools a quarter; it was "
        "distilled and then trained as a sentence encoder whose vector is the *mean* over "
        "tokens, so that its [CLS] was never a sentence vector and both arms "
        "have to make one out of 2,490 examples; and it starts lower than BERT does. It tests "
        "how far the claim reaches and is no replication."
    ),
    "branch_minilm": (
        "The recipe was committed before the first of its runs; until then its rows were cut "
        "twice, to what an hour takes. The paper's Table 6 (bert-base-"
        "uncased, each task at its best epoch, no word on seeds) has 51.6 on SST and .870 on "
        "STS for one encoder, 52.4 and .879 with two own layers; its "
        "Table 7, with SMART (of weight 12 and 15) and layer decay, 53.3 and .894 for one "
        "encoder, 52.4 and .899 with two own layers: there the gain on SST is "
        "gone. What this says"
        " about its claim is limited: two layers are a third of MiniLM and a sixth of "
        "BERT-base; the paper's third task, Quora, is left out, because MiniLM "
        "was trained on Quora's duplicates and a gain there would prove nothing, so that less "
        "is asked of the shared layers; there are 1,500 rows of each "
        "task where the paper has 8,544 and 6,041; and the epoch is the last one."
    ),
    "even_minilm": (
        "The recipe was committed before the first of its runs; until then its rows were cut "
        "twice, to what an hour takes. The paper takes even batching away"
        " from its model B3 (loss rescaling, shared layers, MNR, SimCSE, a falling rate; no "
        "AllNLI, SMART or distillation), and the mean over three tasks "
        "falls by 4.92 points (bert-base-uncased). In its author's code the loop that goes "
        "task by task also cuts the labels of STS to whole numbers, so that the paper's "
        "difference is not of the order alone. Here the tasks are two (Quora "
        "is left out, on whose duplicates MiniLM was trained), of 1,500 rows each; the "
        "sentiment task comes last in every epoch, as in the author's order."
    ),
}


def comparison(found: dict[str, Any]) -> str:
    """A finished `encore compare`: its tables as they stand in the terminal, with what was to be
    reached beside them.
    """
    from encore.evaluation.comparison_record import ComparisonRecord
    from encore.tables.comparison import comparison_tables

    results = found["results"]
    text = (
        f"## {results['name']}\n\n{found['source']}. "
        f"{found['claim'][0].upper()}{found['claim'][1:]}. `{found['command']}`\n"
    )
    if results["name"] in ABOUT:
        text += f"\n{ABOUT[results['name']]}\n"
    for each in comparison_tables(ComparisonRecord.from_json(results)):
        text += f"\n### {each.title}\n\n" if each.title else "\n"
        text += table(list(each.columns), [list(row) for row in each.rows]) if each.columns else ""
        text += "".join(f"\n* {note}" for note in each.notes) + "\n"
    from encore.runs.identity import RESULTS_VERSION

    if found["results_version"] != RESULTS_VERSION:
        text += (
            f"\nMade with results version {found['results_version']}; the code is at "
            f"{RESULTS_VERSION}, where the same recipe is another draw of the same experiment.\n"
        )
    cost = (
        f"{found['n_runs']} runs, {found['seconds'] / 60:.0f} min of training in all, on "
        f"{found['machine']}"
    )
    return text + f"\n{cost}. sha256 of results.json: {found['sha256']}.\n"


def smoke(found: dict[str, Any]) -> str:
    """Recipes that were run small. Their figures mean nothing, so none is told: only that every
    cell runs, and which cannot apply.
    """
    text = (
        "## Smoke, not evidence\n\nEvery cell of these recipes was run on a few rows, to "
        "see that it runs; the figures mean nothing and are not told.\n\n"
    )
    columns = ["recipe", "paper", "with", "cells", "runs complete", "failed", "not applicable"]
    return text + table(
        columns,
        [
            [each["name"], each["source"], f"`{each['with']}`", *map(str, each["counts"])]
            for each in found.values()
        ],
    )


def take_in(folder: Path, *, small: bool) -> None:
    """Copy what is told of a finished comparison; of a recipe that comes with Encore, also the
    record that `encore ls recipes` shows.
    """
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
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    if small:
        states = [cell["state"] for cell in cells["cells"]]
        counts = [len(states), len(runs), states.count("failed"), states.count("not applicable")]
        target = HERE / "results" / "smoke.json"
        told = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
        told[study["name"]] = {
            "name": study["name"],
            "source": recipe["source"],
            "with": " ".join(study["overrides"]),
            "counts": counts,
        }
        target.write_text(
            json.dumps(dict(sorted(told.items())), indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
        return
    environments = [json.loads((run / "environment.json").read_text()) for run in runs]
    said = {
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
        "results_version": max(
            json.loads((run / "resolved.json").read_text())["results_version"] for run in runs
        ),
        "sha256": manifest["results.json"],
        "results": json.loads((folder / "results.json").read_text()),
    }
    target = HERE / "results" / f"compare-{study['name']}.json"
    target.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if (HERE.parent / "recipes" / f"{study['name']}.yaml").exists():
        verify(
            study,
            folder,
            {key: said[key] for key in ("machine", "results_version", "sha256")}
            | {"runs": len(runs)},
        )


def verify(study: dict[str, Any], folder: Path, said: dict[str, Any]) -> None:
    """The record of a recipe in recipes/verified.json: the day on which the comparison became
    complete, and the recipe's digest on that day.
    """
    target = HERE.parent / "recipes" / "verified.json"
    records = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    day = datetime.datetime.fromtimestamp(
        (folder / "manifest.json").stat().st_mtime, datetime.UTC
    ).date()
    digest = hashlib.sha256((folder / "recipe.yaml").read_bytes()).hexdigest()
    record = {
        "date": day.isoformat(),
        "with": " ".join(study["overrides"]),
        "comparison": folder.name,
        "recipe_sha256": digest,
        **said,
    }
    records[study["name"]] = [
        *(one for one in records.get(study["name"], []) if one["comparison"] != folder.name),
        record,
    ]
    target.write_text(
        json.dumps(dict(sorted(records.items())), indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "first_light": first_light,
    "train_throughput": train_throughput,
    "sweep": sweep,
    "frozen": frozen,
    "multitask": multitask,
    "tokenization": tokenization,
    "memory": memory,
    "memory_csv": memory_csv,
    "startup": startup,
    "rte_tune": rte_tune,
}


def render() -> str:
    text = (
        "# Results\n\nGenerated from `docs/results/*.json` by `python docs/results.py`; do "
        "not edit.\n"
    )
    for name, section in SECTIONS.items():
        file = HERE / "results" / f"{name}.json"
        if file.exists():
            text += "\n" + section(json.loads(file.read_text(encoding="utf-8")))
    told = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((HERE / "results").glob("compare-*.json"))
    ]
    text += "".join("\n" + comparison(found) for found in told)
    file = HERE / "results" / "smoke.json"
    return text + (
        "\n" + smoke(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else ""
    )


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
