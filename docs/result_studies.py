"""The sections of docs/results.md about studies: first light, searches, comparisons, smoke runs."""

from __future__ import annotations

import re
import statistics
import sys
from pathlib import Path
from typing import Any

import yaml

if not __package__:  # loaded by the path of a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.result_tables import PERCENT, draws_note, figure, table

__all__ = ["comparison", "first_light", "rte_tune", "smoke"]

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TITLES = {
    "accuracy": "accuracy",
    "mcc": "MCC",
    "pearson": "Pearson r",
    "f1": "F1",
    "macro_f1": "macro F1",
    "spearman": "Spearman ρ",
}


# ------------------------------------------------------------------------------------- first light


def first_light(found: dict[str, Any]) -> str:
    """Five tasks beside HF Trainer, then the tasks with several seeds."""
    cells = found["cells"]
    environment = cells[0]["environment"]
    text = (
        "## First light: five tasks, one seed each\n\nMiniLM, `pooler`, head dropout .1, 4 epochs, "
        f"lr 5e-5, batch 32, length 128, {environment['precision']}, seed 42; dev sets, last epoch "
        "[95 % bootstrap interval over the rows]. Encore: one thread per run, two runs at a time "
        f"on two cores ({environment['processor']}); seconds of the whole run, with evaluations, "
        "checkpoints and baselines. HF Trainer: the same encoder, settings and seed, on two busy "
        "cores on another day. Little else ran beside Encore, so do not compare the seconds; "
        "the benchmark of training throughput compares speed.\n\n"
    )
    header = ["task", "metric", "Encore", "HF Trainer", "majority / mean", "TF-IDF"]
    rows = [_beside_trainer(cell) for cell in cells if cell["seed"] == 42]
    text += table([*header, "Encore, s", "HF, s"], rows)
    text += _several_seeds(cells)
    notes = sorted(
        {f"{cell['task']}: {note}" for cell in cells for note in cell["results"]["notes"]}
    )
    notes.append(draws_note(cell["results_version"] for cell in cells))
    runs = ", ".join(cell["run"] for cell in cells)
    return text + "\n" + "".join(f"* {note}\n" for note in notes) + f"\nRuns: {runs}.\n"


def _beside_trainer(cell: dict[str, Any]) -> list[str]:
    (sets,) = cell["results"]["metrics"].values()
    dev = next(iter(sets.values()))
    metric, expected = re.findall(r"\.(\w+): ([\d.]+)", cell["expect"])[0]
    ours = dev["model"][metric]
    interval = f"[{figure(metric, ours['low'])}, {figure(metric, ours['high'])}]"
    return [
        cell["task"],
        TITLES[metric],
        f"{figure(metric, ours['value'])} {interval}",
        figure(metric, float(expected)),
        *(figure(metric, dev[name][metric]["value"]) for name in dev if name != "model"),
        f"{cell['cost']['seconds']:.0f}",
        re.findall(r"(\d+) s on", cell["source"])[0],
    ]


def _several_seeds(cells: list[dict[str, Any]]) -> str:
    """The tasks that were trained with several seeds; nothing if there is none."""
    rows = []
    for task in dict.fromkeys(cell["task"] for cell in cells):
        of_task = [cell for cell in cells if cell["task"] == task]
        if len(of_task) == 1:
            continue
        metric = re.findall(r"\.(\w+):", of_task[0]["expect"])[0]
        values = []
        for cell in of_task:
            sets = next(iter(cell["results"]["metrics"].values()))
            values.append(next(iter(sets.values()))["model"][metric]["value"])
        mean, sd = statistics.mean(values), statistics.stdev(values)
        spread = f"{mean:.3f} ± {sd:.3f}"
        if metric in PERCENT:
            spread = f"{100 * mean:.1f} ± {100 * sd:.1f} %"
        each = ", ".join(figure(metric, value) for value in values)
        largest = figure(metric, max(values))
        rows.append([task, TITLES[metric], str(len(values)), spread, largest, each])
    if not rows:
        return ""
    text = "\n## Several seeds\n\nMean ± sample standard deviation over seeds (ddof 1); dev sets, "
    text += "last epoch.\n\n"
    return text + table(["task", "metric", "seeds", "mean ± sd", "max", "each"], rows)


# ---------------------------------------------------------------------------------- RTE searches

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
    """The three searches of the RTE study: figures, best settings and importances, each beside what
    the paper prints.
    """
    searches = found["searches"]
    text = (
        "## The searches of the RTE study\n\nFrom the paper: the spaces that are searched. MiniLM "
        "stands in for bert-base-uncased, and trials and rows are cut as the commands below say. "
        "The paper names no sampler, seed or pruning rule; decided here (METHODS 8.4): TPE, seed "
        "42, no pruning, batches of 32, accuracy of the last epoch on the 277 rows of RTE's dev "
        "set. The standard error of an accuracy near 60 % on so many rows is 2.9 points. "
        "`python benchmarks/rte_tune.py run`\n\n"
    )
    header = ["head", "trials", "best trial", "its settings on fresh seeds, mean ± sd (each)"]
    rows = [_search_figures(search) for search in searches]
    text += table([*header, "paper: best trial", "paper: trials"], rows)
    baselines = searches[0]["results"]["fresh"]["studies"][0]["baselines"]
    simple = [f"{who} {figure('accuracy', of['accuracy'])}" for who, of in baselines.items()]
    text += f"\nWithout an encoder: {', '.join(simple)}.\n" if simple else ""
    text += _search_reading(searches)
    paths = list(dict.fromkeys(path for paper in RTE_STUDY.values() for path in paper["best"]))
    settings = [_search_settings(search, paths) for search in searches]
    text += "Best settings, the paper's in brackets:\n\n" + table(["head", *paths], settings)
    text += (
        "\nImportances: each setting's share of the variance over the complete trials (fANOVA, 64 "
        "trees, seed 42). A dozen trials give a rough sketch only; where trials differ by little "
        "more than their standard error, most of the variance is chance.\n\n"
    )
    weights = [_importances(search) for search in searches]
    text += table(["head", "Encore", "paper"], weights)
    for search in searches:
        text += "".join(
            f"\n![{about}](results/rte_tune/{search['recipe']}-{name}.svg)"
            for name, about in search["pictures"].items()
        )
    return f"{text}\n{_search_records(searches)}\n"


def _fresh(search: dict[str, Any]) -> dict[str, Any]:
    study: dict[str, Any] = search["results"]["fresh"]["studies"][0]
    (row,) = study["metrics"][0]["variants"]
    return {**row, "baselines": study["baselines"]}


def _search_figures(search: dict[str, Any]) -> list[str]:
    results, paper, row = search["results"], RTE_STUDY[search["recipe"]], _fresh(search)
    each = ", ".join(figure("accuracy", value) for value in row["values"])
    return [
        paper["head"],
        f"{results['trials']['complete']} of {results['trials']['requested']}",
        figure("accuracy", results["best"]["value"]),
        f"{100 * row['mean']:.1f} ± {100 * row['sd']:.1f} % ({each})",
        figure("accuracy", paper["accuracy"]),
        str(paper["trials"]),
    ]


def _search_reading(searches: list[dict[str, Any]]) -> str:
    rows = [_fresh(search) for search in searches]
    above = [100 * (row["mean"] - row["baselines"]["majority"]["accuracy"]) for row in rows]
    below = [
        100 * (search["results"]["best"]["value"] - row["mean"])
        for search, row in zip(searches, rows, strict=True)
    ]
    return (
        "\nThe best trial is chosen on the same rows and seed that it is reported on, so its "
        "figure is too high; the paper's figures are of that kind. On fresh seeds the best "
        f"settings lie {min(above):.1f} to {max(above):.1f} points above the majority class and "
        f"{min(below):.1f} to {max(below):.1f} below the best trials. Where the former is about "
        "one standard error, the order of the heads and of the settings is no evidence for or "
        "against the paper's.\n\n"
    )


def _search_settings(search: dict[str, Any], paths: list[str]) -> list[str]:
    ours, paper = search["results"]["best"]["params"], RTE_STUDY[search["recipe"]]
    cells = [
        f"{ours[path]:.3g} ({paper['best'][path]:.3g})" if path in ours else "–" for path in paths
    ]
    return [paper["head"], *cells]


def _importances(search: dict[str, Any]) -> list[str]:
    found, paper = search["results"]["importances"], RTE_STUDY[search["recipe"]]
    shares = ", ".join(f"{path} {share:.2f}" for path, share in found["values"].items())
    return [paper["head"], shares or found["why"], paper["says"]]


def _search_records(searches: list[dict[str, Any]]) -> str:
    lines = []
    for search in searches:
        cost = f"{search['seconds'] / 60:.0f} min of training in all, on {search['machine']}"
        lines.append(f"`{search['command']}`: {cost}. sha256 of results.json: {search['sha256']}.")
    lines.append(draws_note(search["results_version"] for search in searches))
    studies = [each for search in searches for each in search["results"]["fresh"]["studies"]]
    lines += sorted({note for each in studies for note in each["notes"]})
    return "".join(f"\n* {line}" for line in lines)


# ------------------------------------------------------------------------------------- comparisons

# What a reader of a comparison has to know and no run folder holds.
ABOUT = {
    "maxpoolbert_rte_minilm": (
        "The recipe was committed before the first of its runs. The paper reports +2.64 points "
        "(63.42 to 66.06; bert-base-uncased, three seeds). This test of the claim is limited. "
        "MiniLM has six layers, so k = 3 pools half of the encoder where the paper pools a "
        "quarter. It was distilled and then trained as a sentence encoder whose vector is the "
        "*mean* over tokens, so its [CLS] was never a sentence vector, and both variants have to "
        "learn one from 2,490 examples. And it starts from a lower accuracy than BERT. The "
        "comparison shows how far the claim reaches; it is no replication."
    ),
    "maxpoolbert_glue_minilm": (
        "The recipe was committed before the first run of the table; its head says what was tried "
        "before. One command, stopped three times and resumed. It is small: MiniLM, 500 rows of "
        "each task, three seeds, where the paper has bert-base-uncased and all rows; its figures "
        "stand beside ours as the source's. None of its claims held here: three did not, and six "
        "cannot be judged. The full variant, maximum over layers with attention, has the higher "
        "mean on five of nine tasks, and on STS-B two of its three seeds learn next to nothing "
        "(Spearman .24, .22 and .71), which makes its averages vary a hundred times more. "
        "Attention alone has the higher mean on six, most on WNLI, where the means of all four "
        "lie below the majority class. The maximum over layers of [CLS] alone is 1.15 points "
        "worse over the twelve columns, in the paper 0.39 better. Three "
        "seeds leave most of it open. Since all tasks have 500 rows, whether the gain falls with "
        "their number cannot be seen; the report draws all tasks with error bars, the counts of "
        "verdicts and the averages."
    ),
    "after_training_minilm": (
        "The recipe was committed before the first of its runs. The variant `own_epochs` was left "
        "out after two of its five runs, for time: it trains what the baseline trains. What it "
        "would show can be read off the epochs that the baseline's runs store: each task's own "
        "best epoch instead of the one that is best over the tasks (epochs 4, 3, 3, 4, 4) adds "
        "0.1 points on SST-5, .001 on STS and nothing on Quora. Ensembles gain on STS alone for "
        "certain, +.014 over a single run; on SST-5 a greedy one gains 1.7 points by its "
        "cross-fitted figure, which these 1,000 rows leave open, and 0.8 of what the dev rows "
        "that chose it show are flattery. Averaging weights and distilling, from itself or from "
        "the ensemble, show nothing; the student of the ensemble stays below its teacher on STS. "
        "In the papers (bert-base-uncased, all rows, one run each): an ensemble gains 1.3 points "
        "over the best single model, averaging is very marginal, and distilling an ensemble loses "
        "(minBERT generalization); best of each 78.26 and greedy 79.08 after 77.58 for one model "
        "(SerBERTus, dev means). A single model, averaged or distilled, has 22.6 million weights, "
        "an ensemble of five 113 million; predicting takes nearly five times as long. The median "
        "run took 266 to 371 seconds of one core beside other work, that of `swa` 188 more than "
        "its start."
    ),
    "branch_minilm": (
        "The recipe was committed before the first of its runs; before that, its rows were cut "
        "twice to fit into an hour. In the paper's Table 6 (bert-base-uncased, each task at its "
        "best epoch, seeds not given), one encoder has 51.6 on SST and .870 on STS, two own layers "
        "have 52.4 and .879. In its Table 7, with SMART (weights 12 and 15) and layer decay, it is "
        "53.3 and .894 against 52.4 and .899: the gain on SST is gone. This test of the claim is "
        "limited. Two layers are a third of MiniLM and a sixth of BERT-base. The paper's third "
        "task, Quora, is left out, because MiniLM was trained on Quora's duplicates and a gain "
        "there would prove nothing; so the shared layers have less to serve. There are 1,500 rows "
        "of each task where the paper has 8,544 and 6,041. And the epoch is the last one."
    ),
    "even_minilm": (
        "The recipe was committed before the first of its runs; before that, its rows were cut "
        "twice to fit into an hour. The paper removes even batching from its model B3 (loss "
        "rescaling, shared layers, the new paraphrase head, head dropout .3, MNR, SimCSE, "
        "additional pre-training, a falling rate; no AllNLI, SMART or distillation), and the mean "
        "over three tasks falls by 4.92 points (bert-base-uncased). In its author's code, the loop "
        "that goes task by task also cuts the labels of STS to whole numbers, so the paper's "
        "difference is not due to the order alone. Here there are two tasks of 1,500 rows each "
        "(Quora is left out: MiniLM was trained on its duplicates). The sentiment task comes last "
        "in every epoch, as in the author's order."
    ),
    "smart_minilm": (
        "The recipe was committed before the first of its runs. The paper prints no figure of its "
        "λ but the 54.59 of its best session of SST alone (λ = 10, dev, 8,544 rows, "
        "bert-base-uncased), beside 51.7 and 52.6 without SMART in its tables 1, 4 and 5: a "
        "maximum beside a mean and a maximum of three. The same configuration without SMART has "
        "52.6 and 52.8 in its table 2, so .9 points lie between two tables of one paper. This test "
        "of the claim is limited. It has 1,500 rows and four epochs, where the paper's λ = 10 took "
        "ten to twelve epochs to its best one; and the regulariser is a mean over the batch, as in "
        "the paper's formula, while the code that it names sums over it (32 times as much). With "
        "the papers' σ and η the ascent hardly turns the noise (METHODS 5.1), so this is a test of "
        "consistency under noise as much as of an adversary."
    ),
    "layer_decay_minilm": (
        "The recipe was committed before the first of its runs; its baseline is that of "
        "smart_minilm, the same ten runs. The paper's table 4 has 51.7 with one rate and 52.4 "
        "with layer decay .95 (means of runs on the dev set; maxima 52.6 and 53.2; "
        "bert-base-uncased, the course's AdamW without weight decay), and calls that consistent "
        "with Sun et al. 2019. But the same configuration as its 51.7 has 52.6 in its table 2: a "
        "spread of .9 between two tables, where the gain is .7. Its tables 1 (dropout) and 3 "
        "(weight decay) differ by less: 51.4 to 51.7 and 51.6 to 52.6. This test of the claim is "
        "limited: MiniLM has six layers, so its lowest has .77 of the top layer's rate where "
        "BERT-base's has .57; and there are 1,500 rows, and four epochs at 2e-4, what Encore "
        "chose for MiniLM at that time."
    ),
    "mnr_minilm": (
        "The recipe was committed before the first of its runs; before that, its rows were cut "
        "twice to fit into the time that there was. The paper says that AllNLI leaves STS as it "
        "is and gains 3.77 points on SST (its section 6: since an earlier epoch is the best "
        "then); no figure is printed. In the predictions that its author committed, STS rose "
        "from .662 to .756 with MNR on STS itself, which is another step (METHODS, table J). "
        "This test of the claim is limited. MiniLM was trained on these very pairs among "
        "others, with the same loss at scale 20, so little is left to learn from them; and the "
        "loss is the printed one, by cosine without a scale, which cannot separate 16 pairs "
        "well (METHODS 5.2)."
    ),
}


def comparison(found: dict[str, Any]) -> str:
    """A finished `encore compare`: its tables as in the terminal, with the figures of the source
    beside them. Source and claim are those of the recipe as it is now.
    """
    from encore.evaluation.comparison_record import ComparisonRecord
    from encore.tables.comparison import comparison_tables

    results = found["results"]
    now = _recipe(results["name"]) or found
    text = (
        f"## {results['name']}\n\n{now['source']}. "
        f"{_as_sentence(now['claim'])}. `{found['command']}`\n"
    )
    if results["name"] in ABOUT:
        text += f"\n{ABOUT[results['name']]}\n"
    for each in comparison_tables(ComparisonRecord.from_json(results)):
        text += f"\n### {each.title}\n\n" if each.title else "\n"
        text += table(list(each.columns), [list(row) for row in each.rows]) if each.columns else ""
        text += "".join(f"\n* {note}" for note in each.notes) + "\n"
    cost = (
        f"{found['n_runs']} runs, {found['seconds'] / 60:.0f} min of training in all, on "
        f"{found['machine']}"
    )
    made = draws_note([found["results_version"]])
    return text + f"\n{cost}. {made} sha256 of results.json: {found['sha256']}.\n"


def _recipe(name: str) -> dict[str, Any] | None:
    """A recipe that comes with Encore, as it is now."""
    file = RECIPES / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None


def _as_sentence(claim: str) -> str:
    """With a capital at the beginning, unless that is a symbol: λ stays λ."""
    return claim[0].upper() + claim[1:] if claim[0].isascii() else claim


def smoke(found: dict[str, Any]) -> str:
    """Recipes that were run small. Their figures mean nothing, so none is shown: only that every
    cell runs, and which cannot apply.
    """
    text = (
        "## Smoke tests, not evidence\n\nEvery cell of these recipes was run on a few rows, only "
        "to see that it runs; of a search, a few trials. The figures mean nothing and are left "
        "out.\n\n"
    )
    columns = ["recipe", "paper", "with", "cells", "runs complete", "failed", "not applicable"]
    return text + table(
        columns,
        [
            [
                each["name"],
                (_recipe(each["name"]) or each)["source"],
                f"`{each['with']}`",
                *map(str, each["counts"]),
            ]
            for each in found.values()
        ],
    )
