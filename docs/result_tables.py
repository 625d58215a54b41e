"""The sections of docs/results.md about benchmarks: each turns the JSON of one into Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "adapters",
    "draws_note",
    "figure",
    "frozen",
    "memory",
    "memory_csv",
    "multitask",
    "predict",
    "smart",
    "startup",
    "sweep",
    "table",
    "timing_note",
    "tokenization",
    "train_throughput",
]

PERCENT = {"accuracy", "f1", "macro_f1"}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(metric: str, value: float) -> str:
    """A metric's value as text: 48.6 % for shares, three decimals for the rest."""
    return f"{100 * value:.1f} %" if metric in PERCENT else f"{value:.3f}"


def draws_note(versions: Iterable[int]) -> str:
    """States the results version that metrics were made with. Under another version the same recipe
    gives other bits: a further random draw of the same experiment.
    """
    return _note("Made", versions, ", where the same recipe is another draw of the same experiment")


def timing_note(found: dict[str, Any]) -> str:
    """States the results version of the code that was timed, as a paragraph of its own."""
    if "results_version" not in found:
        return ""
    what = ", whose time and memory were not measured again"
    return f"\n{_note('Measured', [found['results_version']], what)}\n"


def _note(verb: str, versions: Iterable[int], consequence: str) -> str:
    from encore.runs.identity import RESULTS_VERSION

    known = sorted(set(versions))
    made = f"{verb} with results version {' and '.join(map(str, known))}"
    if known == [RESULTS_VERSION]:
        return f"{made}, that of the code."
    return f"{made}; the code is at {RESULTS_VERSION}{consequence}."


def goals(found: dict[str, Any]) -> str:
    lines = [(goal, "met" if goal["met"] else "NOT MET") for goal in found.get("goals", [])]
    return "".join(
        f"\nGoal {goal['must']:g} against {goal['against']}: {verdict} ({goal['median']:.3g}).\n"
        for goal, verdict in lines
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
        speed = f"{variant['tokens_per_second']['median']:,.0f}"
        rows.append(
            [
                name.replace("ours", "Encore"),
                speed,
                *ratios,
                f"{100 * variant['of_gemm']['median']:.0f} %",
            ]
        )
    against = list(next(iter(found["variants"].values()))["ratio"])
    text = (
        "## Training throughput\n\nFull SST-5, MiniLM, batch 32, one thread, all variants "
        "interleaved in one process. Real tokens per second (padding does not count), median "
        "[middle half] over rounds. Matrix products timed in between: "
        f"{found['gemm_gflops']['fp32']:.0f} GFLOP/s in fp32, {found['gemm_gflops']['bf16']:.0f} "
        "in bf16; the last column is the share of that rate. "
        "`python benchmarks/train_throughput.py`\n\n"
    )
    header = ["variant", "tokens/s", *(f"× {name}" for name in against), "of the GEMM rate"]
    return text + table(header, rows) + goals(found) + timing_note(found)


def predict(found: dict[str, Any]) -> str:
    """Prediction beside other libraries, a table for each length of text."""
    clock = {"processor": "processor time", "wall": "time by the clock"}[found["clock"]]
    versions = ", ".join(f"{name} {of}" for name, of in found["versions"].items())
    text = (
        "## Prediction throughput\n\nOne trained MiniLM classifier per set of texts, texts to "
        f"labels with tokenizing, one thread, {clock}, interleaved; median [middle half] of "
        f"{len(found['rounds'])} rounds. Encore makes its own batches, the other libraries get "
        "batches of 32 sorted by length, `pipeline` as the texts come. Same labels: share of rows "
        "labelled as by `pipeline` in fp32. Other work ran on these cores (load average "
        f"{_range(one['load_average'] for one in found['rounds'])}), so compare the ratios and not "
        f"the speeds. {found['hardware']['processor']}; {versions}. "
        "`python benchmarks/predict.py`\n"
    )
    header = ["variant", "rows/s", "Encore ×", "same labels"]
    for name, of in found["sets"].items():
        text += (
            f"\n### {name}: {of['rows']} {of['about']}, {of['tokens_per_row']:.0f} tokens each\n\n"
        )
        ordered = sorted(of["variants"].items(), key=lambda item: item[1]["ours_over_it"]["median"])
        rows = []
        for variant, speed in ordered:
            ratio = speed["ours_over_it"]
            rows.append(
                [
                    variant,
                    f"{speed['rows_per_second']['median']:,.0f}",
                    f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
                    f"{100 * speed['same_labels']:.1f} %",
                ]
            )
        text += table(header, rows)
    return text + timing_note(found)


def _range(values: Iterable[float]) -> str:
    known = list(values)
    return f"{min(known):.1f} to {max(known):.1f}"


def sweep(found: dict[str, Any]) -> str:
    rows = []
    for name, seconds in sorted(found["seconds"].items(), key=lambda item: -item[1]["median"]):
        ratio = found["ratio"].get(name)
        factor = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else ""
        label = f"HF Trainer, bf16, {name}, two threads, one after the other" if ratio else name
        accuracy = f"{100 * found['accuracy'][name]:.1f} %"
        rows.append([label, f"{seconds['median']:.0f}", factor, accuracy])
    text = (
        f"## Two runs at once\n\nMiniLM on {found['rows']:,} rows of SST-5, batch 32, two seeds of "
        f"{found['steps']} steps each, on the same two cores. Seconds by the clock, median and "
        f"middle half of {len(found['rounds'])} rounds. `python benchmarks/sweep.py`\n\n"
    )
    return (
        text
        + table(["", "s", "× Encore", "dev accuracy"], rows)
        + goals(found)
        + timing_note(found)
    )


def frozen(found: dict[str, Any]) -> str:
    rows = []
    for name, of in found["poolings"].items():
        ratio = f"{of['ratio']['median']:.0f} [{of['ratio']['low']:.0f}, {of['ratio']['high']:.0f}]"
        rows.append([name, f"{of['first_seconds']:.1f}", f"{of['later_seconds']:.3f}", ratio])
    text = (
        f"## Frozen encoder\n\nMiniLM, {found['rows']:,} rows of {found['task']}, batch 32, length "
        "128, one thread. Only the first epoch runs the frozen encoder; later ones read its cached "
        f"features. Median and middle half of {len(found['rounds'])} rounds. "
        "`python benchmarks/frozen.py`\n\n"
    )
    header = ["pooling", "first epoch, s", "later epochs, s", "ratio"]
    return text + table(header, rows) + goals(found) + timing_note(found)


def adapters(found: dict[str, Any]) -> str:
    """Adapters beside training the whole encoder."""
    text = (
        f"## Adapters\n\nSST-5, batches of {found['batch']} rows, bf16, one thread: the same "
        "batches in turn, ratios batch by batch, in seconds of the processor from the second epoch "
        "on. Memory is what training adds to a process that has the model loaded; disk is the "
        "folder of the model, tokenizer included, which an adapter needs beside its encoder. "
        "`python benchmarks/adapters.py`\n"
    )
    checked = []
    for shape, ways in found["shapes"].items():
        whole = ways["whole encoder"]
        rows = []
        for way, one in ways.items():
            ratios = {
                "time": one["ratio"],
                "memory": one["training"] / whole["training"],
                "disk": one["disk"] / whole["disk"],
            }
            rows.append(
                [
                    way,
                    f"{100 * one['trained'] / one['all']:.1f} %",
                    f"{one['seconds']:.3f}",
                    f"{one['training'] / 1e6:,.0f}",
                    *(f"{each:.3f}" for each in ratios.values()),
                ]
            )
            if way == "houlsby":
                checked += [
                    {
                        "against": f"the whole encoder, {shape}, {what}",
                        "must": goal,
                        "median": ratios[what],
                        "met": ratios[what] <= goal,
                    }
                    for what, goal in found["goals"].items()
                ]
        header = ["trained", "share", "step, s", "memory, MB", "time", "memory", "disk"]
        text += f"\n{shape}:\n\n{table(header, rows)}"
    return text + goals({"goals": checked}) + timing_note(found)


def smart(found: dict[str, Any]) -> str:
    rows = [
        [
            precision,
            f"{found[precision]['plain']:.3f}",
            f"{found[precision]['smart']:.3f}",
            f"{found[precision]['ratio']:.2f}",
        ]
        for precision in found["goals"]
    ]
    text = (
        f"## SMART\n\nMiniLM, SST-5, batches of {found['batch']} rows, one thread. A step with "
        "SMART beside a plain one on the same batch, alternately; medians of "
        f"{found['batches']} pairs, in seconds of the processor. The ascent is computed in fp32, "
        "also beside bf16. `python benchmarks/smart.py`\n\n"
    )
    checked = [
        {
            "against": f"a plain step, {precision}",
            "must": goal,
            "median": found[precision]["ratio"],
            "met": found[precision]["ratio"] <= goal,
        }
        for precision, goal in found["goals"].items()
    ]
    header = ["precision", "plain step, s", "with SMART, s", "ratio"]
    return text + table(header, rows) + goals({"goals": checked}) + timing_note(found)


def multitask(found: dict[str, Any]) -> str:
    rows = [
        [
            f"training on {n} task{'s' if n != '1' else ''}",
            f"{of['steps']} steps, {of['microseconds_per_token']:.0f} µs per token",
            f"{of['ratio']:.2f}",
        ]
        for n, of in found["training"].items()
    ]
    asking = found["asking"]
    seconds = f"{asking['three']:.2f} s, and {asking['one']:.2f} s for one"
    rows.append(["predicting three tasks in one pass", seconds, f"{asking['ratio']:.2f}"])
    text = (
        f"## Many tasks on one encoder\n\nMiniLM, bf16, one thread. The same {found['rows']} "
        f"sentences of SST-5, divided among the tasks, in batches of {found['batch']}; medians of "
        f"{found['rounds']} rounds. Nine tasks take more steps for the same tokens, since each "
        "ends an epoch with a smaller batch. `python benchmarks/multitask.py`\n\n"
    )
    named = {
        "step, 9 tasks beside 1": "training step, 9 tasks",
        "asked for 3 tasks beside 1": "prediction, 3 tasks",
    }
    checked = [
        {
            "against": f"one task, {named.get(name, name)}",
            "must": goal,
            "median": found["ratios"][name],
            "met": found["ratios"][name] <= goal,
        }
        for name, goal in found["goals"].items()
    ]
    return (
        text + table(["", "", "× one task"], rows) + goals({"goals": checked}) + timing_note(found)
    )


def tokenization(found: dict[str, Any]) -> str:
    rows = [
        [name.replace("ours", "Encore"), f"{variant['sentences_per_second']:,.0f}"]
        for name, variant in found["variants"].items()
    ]
    goal = found["goal"]
    verdict = "met" if goal["met"] else "NOT MET"
    return (
        "## Tokenizing\n\nThe sentences of SST-5 on one core, processor time, medians. `python "
        "benchmarks/tokenization.py`\n\n"
        + table(["variant", "sentences/s"], rows)
        + f"\nGoal {goal['sentences_per_second']:,} sentences/s: {verdict} "
        f"({goal['reached']:,.0f}).\n" + timing_note(found)
    )


def memory(found: dict[str, Any]) -> str:
    rows = [
        [who.replace("ours", "Encore"), f"{peak / 1e6:,.0f}"]
        for who, peak in found["peak_bytes"].items()
    ]
    text = (
        "## Peak memory\n\nMiniLM, batch 32, all rows of 128 tokens, bf16, "
        f"{found['steps']} steps, each in a process of its own. `python benchmarks/memory.py`\n\n"
    )
    return text + table(["", "MB"], rows) + goals(found) + timing_note(found)


def memory_csv(found: dict[str, Any]) -> str:
    return (
        f"## Memory of a large file\n\n`encore train` on {found['rows']:,} rows "
        f"({found['file_bytes'] / 1e6:.0f} MB of CSV): at most {found['peak_bytes'] / 1e6:,.0f} "
        f"MB. `python benchmarks/memory.py --csv {found['rows']}`\n"
    ) + goals(found) + timing_note(found)  # fmt: skip


def startup(found: dict[str, Any]) -> str:
    rows = [
        [name, f"{seconds:.3f}", f"{found['wall_seconds'][name]:.3f}"]
        for name, seconds in found["processor_seconds"].items()
    ]
    text = "## Start-up\n\nMedians. `python benchmarks/startup.py`\n\n"
    text += table(["", "processor time, s", "by the clock, s"], rows)
    heavy = ", ".join(found["heavy_imports"]) or "none"
    text += f"\nHeavy libraries imported by `encore --help`: {heavy}.\n"
    return text + goals(found) + timing_note(found)
