"""The report of a run as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from encore import catalogue, files
from encore.data.table import plural
from encore.evaluation.distances import shares_by_distance
from encore.evaluation.estimates import Estimate, confusion
from encore.evaluation.metric import Metric
from encore.report import figures, gather
from encore.report.adapter_figure import adapter_figure
from encore.report.decision_section import decision_sections
from encore.report.dev_set import (
    learning_curves,
    prediction_figures,
    set_label,
    task_curves,
)
from encore.report.layer_figure import layer_figure
from encore.report.mistakes import largest_errors
from encore.report.model_views import adapter_shares, chosen_layers
from encore.report.page import Code, Notes, Page, Section, VerdictLine, Verdicts, slug
from encore.report.provenance import (
    data_table,
    digest_table,
    encoder_name,
    environment_facts,
    run_cost,
    typed_command,
)
from encore.report.row_figures import row_figures
from encore.report.soup_section import command_again, soup_of, soup_section
from encore.report.texts import Sources
from encore.runs.final_test import read_final
from encore.runs.folder import MODEL, DevPredictions, read_predictions
from encore.runs.go_on import read_old_rows
from encore.runs.soup import MadeSoup
from encore.tables.distances import distances_table
from encore.tables.evaluation import DevScores, confusion_table, results_table
from encore.tables.formatting import format_estimate
from encore.tables.per_class import per_class_table

__all__ = ["run_page"]

_BASELINE_BARS = (
    "Intervals that overlap leave open which is better; “encore compare” tests a "
    "difference over several seeds."
)


def run_page(run: gather.GatheredRun, sources: Sources, *, n_mistakes: int) -> Page:
    """A run: figures with intervals beside the baselines, then task by task and dev set by dev set
    what they come from.
    """
    result, several = run.result, sum(len(sets) for sets in run.result.metrics.values()) > 1
    tasks = ", ".join(run.result.metrics)
    found = [
        (task, split, read_predictions(run.folder, task, split, result.epoch_of(task)))
        for task, sets in result.metrics.items()
        for split in sets
        if sets[split][MODEL]
    ]
    parts = [
        _of_one_set(
            f"{task}, {split}" if several else "Error analysis",
            run,
            task,
            split,
            answers,
            sources,
            n_mistakes,
        )
        for task, split, answers in found
    ]
    settings = run.identity["tasks"]
    poolings = ", ".join(dict.fromkeys(one["pooling"]["name"] for one in settings.values()))
    kept = {result.describe_epoch(task) for task in result.metrics}
    epoch = kept.pop() if len(kept) == 1 else "best epoch of each task"
    made = soup_of(run.folder)
    about = (
        f"{'Run' if made is None else 'Model soup'} {run.name}: encoder {encoder_name(run)}, "
        f"pooling {poolings}, {epoch}, seed {run.identity['seed']}."
    )
    lead = (
        data_table([run]),
        *([Notes(notes)] if (notes := (*result.note_lines, *sources.notes)) else []),
    )
    sections = (
        Section("Results", tuple(_results(run, found))),
        *_over_tasks(run),
        *([soup_section(made)] if made is not None else []),
        *parts,
        *decision_sections(run.folder, result),
        *_old_rows(run),
        *([Section("Training", (Notes(lines),))] if (lines := _diagnosed(run)) else []),
        Section("Cost", (run_cost(run),)),
        Section("Environment", (environment_facts([run]),)),
        Section("Reproduction", tuple(_reproduction(run, made))),
    )
    return Page(tasks, about, run.name, lead, sections)


def _results(
    run: gather.GatheredRun, found: Sequence[tuple[str, str, DevPredictions]]
) -> Iterator[Any]:
    """Verdicts in words, the figures beside the baselines, and the table."""
    verdicts, drawn, tables = [], [], []
    result = run.result
    for task, split, answers in found:
        columns, n_rows = result.metrics[task][split], len(answers.rows)
        name = next(iter(columns[MODEL]))
        metric = catalogue.find("metrics", name)
        where = set_label(task, split, result.metrics)
        verdicts.append(
            VerdictLine(
                "result",
                where,
                f"{metric.title} {format_estimate(columns[MODEL][name], metric.form)} on "
                f"{n_rows:,} rows.",
            )
        )
        verdicts += [
            _beside(metric, columns[MODEL][name], who, one[name], n_rows)
            for who, one in columns.items()
            if who != MODEL and name in one
        ]
        drawn.append(
            figures.estimates(
                slug(f"results {where}"),
                metric,
                {who: one[name] for who, one in columns.items() if name in one},
                where=where,
                grouped=answers.groups is not None,
            )
        )
    for task, sets in result.metrics.items():
        rows = [
            DevScores(split, len(answers.rows), sets[split], grouped=answers.groups is not None)
            for of, split, answers in found
            if of == task
        ]
        if rows:  # else a task without a metric
            tables.append(
                results_table(
                    rows, title=f"{task}: {result.describe_epoch(task)}", notes=result.caveats(task)
                )
            )
    verdicts += _on_test_files(run)
    yield Verdicts(tuple(verdicts))
    yield from drawn
    yield from tables
    yield Notes((_BASELINE_BARS,))


def _over_tasks(run: gather.GatheredRun) -> Iterator[Section]:
    """Loss and score by epoch of all tasks, of a run of several, each on its first dev set."""
    result, curves = run.result, {}
    for task, sets in result.metrics.items():
        split, columns = next(iter(sets.items()))
        if names := list(columns[MODEL]):
            curves[task] = task_curves(
                {"": [run]}, task, split, names[0], kept=result.epoch_of(task)
            )
    if len(curves) > 1 and (drawn := figures.epochs_of_tasks("epochs-all-tasks", curves)):
        yield Section("Over all tasks", (drawn,))


def _old_rows(run: gather.GatheredRun) -> Iterator[Section]:
    """The rows of the run that this one went on from, before and now."""
    if found := read_old_rows(run.folder):
        yield Section("Old rows", tuple(table for one in found for table in one.tables()))


def _on_test_files(run: gather.GatheredRun) -> Iterator[VerdictLine]:
    """The figures of `encore evaluate --final`, and when it was run."""
    for task, final in read_final(run.folder).items():
        figures = ", ".join(
            f"{metric.title} {format_estimate(one, metric.form)}"
            for name, one in final.metrics.items()
            for metric in [catalogue.find("metrics", name)]
        )
        yield VerdictLine(
            "test",
            task,
            f"{figures} on {final.rows:,} rows of {final.file}, opened {final.time}.",
        )


def _beside(metric: Metric, model: Estimate, who: str, other: Estimate, n_rows: int) -> VerdictLine:
    """The model beside a baseline. Where two 95 % intervals do not even touch, the difference is
    real; where they do, it is left open.
    """
    sign = 1 if metric.higher_is_better else -1
    ahead = sign * (model.value - other.value) > 0
    apart = model.low > other.high or model.high < other.low
    formatted = format_estimate(other, metric.form)
    if not ahead:
        return VerdictLine(
            "not better",
            f"than {who}",
            f"{who} reaches {'the same, ' if other.value == model.value else ''}{formatted}"
            + (", and the intervals do not overlap." if apart else "."),
        )
    if apart:
        return VerdictLine(
            "better", f"than {who}", f"{who} reaches {formatted}, and the intervals do not overlap."
        )
    return VerdictLine(
        "no evidence",
        f"against {who}",
        f"{who} reaches {formatted}; the intervals overlap, so on {n_rows:,} rows the lead may be "
        f"chance.",
    )


def _of_one_set(
    title: str,
    run: gather.GatheredRun,
    task: str,
    split: str,
    answers: DevPredictions,
    sources: Sources,
    n_mistakes: int,
) -> Section:
    """Figures and mistakes of one dev set."""
    labels, seed, result = run.labels[task], run.identity["seed"], run.result
    where = set_label(task, split, result.metrics)
    metric = catalogue.find("metrics", next(iter(result.metrics[task][split][MODEL])))
    names = list(result.metrics[task][split][MODEL])
    blocks: list[Any] = list(
        learning_curves({"": [run]}, task, split, names, where=where, kept=result.epoch_of(task))
    )
    texts = sources.texts(run, task, split, answers.digest, answers.rows)
    blocks += prediction_figures(
        {"": [answers]},
        labels,
        where=where,
        seed=seed,
        gives_probabilities=run.gives_probabilities(task),
    )
    blocks += row_figures({"": [answers]}, labels, metric, texts, where=where, seed=seed)
    if texts is not None and (counts := chosen_layers(run, task, texts)):
        blocks.append(layer_figure(slug(f"layers {where}"), {"": counts}, where=where))
    if texts is not None and (shares := adapter_shares(run, task, texts)) is not None:
        blocks.append(adapter_figure(slug(f"adapters {where}"), shares, where=where))
    if labels.kind != "regression":
        matrix = confusion(answers.scores, answers.targets, labels)
        blocks.append(per_class_table(matrix, labels, title="Precision and recall by class"))
        blocks.append(confusion_table(matrix, labels, title="Confusion matrix"))
    if far := shares_by_distance(
        answers.scores, answers.targets, labels, seed, groups=answers.groups
    ):
        blocks.append(distances_table(far, title="Distance from the true class"))
    return Section(
        title,
        tuple(blocks),
        (
            Section(
                "Largest errors", (largest_errors(run, task, answers, labels, texts, n_mistakes),)
            ),
        ),
    )


def _diagnosed(run: gather.GatheredRun) -> tuple[str, ...]:
    """The figures that loss terms gave about themselves, a line for each term: means, and the first
    and the last value.
    """
    lines = []
    for term, found in run.diagnostics.items():
        names = dict.fromkeys(name for figures in found for name in figures)
        each = {name: [one[name] for one in found if name in one] for name in names}
        figures = "; ".join(
            f"{name.replace('_', ' ')} {sum(values) / len(values):.3g} "
            f"({values[0]:.3g} → {values[-1]:.3g})"
            for name, values in each.items()
        )
        lines.append(f"Loss '{term}', mean of {plural(len(found), 'step')}: {figures}.")
    return tuple(lines)


def _reproduction(run: gather.GatheredRun, made: MadeSoup | None) -> Iterator[Any]:
    if made is not None:
        yield Code("In the folder of runs:", command_again(made))
    else:
        typed = typed_command(run.environment)
        if typed is not None:
            yield Code("As it was typed:", typed)
        yield Code("In the run's folder:", "encore train recipe.yaml --runs ..")
        yield Notes(
            (
                "The same command finds the run complete; in another folder of runs (--runs) it "
                "trains to the same bits, on a processor of the same kind.",
            )
        )
    yield digest_table(
        [run],
        {
            "results.json": run.folder / "results.json",
            "manifest.json (of all files of the run)": run.folder / files.MANIFEST,
        },
    )
    which = "recipe.yaml" if made is None else "recipe.yaml, of the first member"
    yield Code(which, (run.folder / "recipe.yaml").read_text(encoding="utf-8"), folded=True)
