"""What stands in a report: of a run, of a comparison."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from encore import catalogue, files
from encore.evaluation.calibration import confidences, pool_runs, reliability
from encore.evaluation.estimates import Estimate, by_slice, confusion, worst_mistakes
from encore.evaluation.metric import Metric
from encore.evaluation.predictions import predictions, row_losses
from encore.report import figures, gather
from encore.report.figures import Curve, Figure, LengthBin
from encore.report.page import (
    Code,
    Facts,
    Mistake,
    Mistakes,
    Notes,
    Page,
    Section,
    VerdictLine,
    Verdicts,
    slug,
)
from encore.runs.explain import Explanation
from encore.runs.folder import MODEL, DevPredictions, read_predictions
from encore.tables.comparison import comparison_tables, study_title
from encore.tables.evaluation import DevScores, confusion_table, mistakes_table, results_table
from encore.tables.formatting import (
    format_difference,
    format_duration,
    format_estimate,
    format_interval,
    shorten,
)
from encore.tables.listing import Listing
from encore.types import LabelSpace

__all__ = ["of_comparison", "of_run"]

_MOST_CLASSES = 12  # of a confusion matrix that can be read; more are listed
_ROWS_PER_LENGTH, _MOST_LENGTHS = 20, 6
_MOST_CHARACTERS = 2_000  # of a text among the mistakes
_STRONGEST = 5  # words that the pooling looked at, told in words
_BASELINE_BARS = (
    "Intervals that overlap leave open which is better; “encore compare” tests a "
    "difference over several seeds."
)


# -------------------------------------------------------------------------------------------- a run


def of_run(run: gather.GatheredRun, sources: gather.Sources, *, n_mistakes: int) -> Page:
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
            f"{task}, {split}" if several else "Where it is right and where not",
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
    kept = {result.kept(task) for task in result.metrics}
    epoch = kept.pop() if len(kept) == 1 else "best epoch of each task"
    about = (
        f"Run {run.name}: encoder {_encoder(run)}, pooling {poolings}, {epoch}, seed "
        f"{run.identity['seed']}."
    )
    lead = (
        _data_table([run]),
        *([Notes(notes)] if (notes := (*result.notes, *sources.notes)) else []),
    )
    sections = (
        Section("What was found", tuple(_found(run, found))),
        *parts,
        Section("What it cost", (_cost_of(run),)),
        Section("Where it was computed", (_environment([run]),)),
        Section("To repeat it", tuple(_repeat(run))),
    )
    return Page(tasks, about, run.name, lead, sections)


def _found(
    run: gather.GatheredRun, found: Sequence[tuple[str, str, DevPredictions]]
) -> Iterator[Any]:
    """Verdicts in words, the figures beside the baselines, and the table."""
    verdicts, drawn, tables = [], [], []
    result = run.result
    for task, split, answers in found:
        columns, n_rows = result.metrics[task][split], len(answers.rows)
        name = next(iter(columns[MODEL]))
        metric = catalogue.find("metrics", name)
        where = _where(task, split, result.metrics)
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
            )
        )
    for task, sets in result.metrics.items():
        rows = [
            DevScores(split, len(answers.rows), sets[split])
            for of, split, answers in found
            if of == task
        ]
        if rows:  # else a task without a metric
            tables.append(
                results_table(
                    rows, title=f"{task}: {result.kept(task)}", notes=result.caveats(task)
                )
            )
    yield Verdicts(tuple(verdicts))
    yield from drawn
    yield from tables
    yield Notes((_BASELINE_BARS,))


def _beside(metric: Metric, model: Estimate, who: str, other: Estimate, n_rows: int) -> VerdictLine:
    """The model beside a baseline. Where two 95 % intervals do not even touch, the difference is
    real; where they do, it is left open.
    """
    sign = 1 if metric.higher_is_better else -1
    ahead = sign * (model.value - other.value) > 0
    apart = model.low > other.high or model.high < other.low
    said = format_estimate(other, metric.form)
    if not ahead:
        return VerdictLine(
            "not better",
            f"than {who}",
            f"{who} reaches {said}" + (", and the intervals do not overlap." if apart else "."),
        )
    if apart:
        return VerdictLine(
            "better", f"than {who}", f"{who} reaches {said}, and the intervals do not overlap."
        )
    return VerdictLine(
        "no evidence",
        f"against {who}",
        f"{who} reaches {said}; the intervals overlap, so on {n_rows:,} rows the lead may be "
        f"chance.",
    )


def _of_one_set(
    title: str,
    run: gather.GatheredRun,
    task: str,
    split: str,
    answers: DevPredictions,
    sources: gather.Sources,
    n_mistakes: int,
) -> Section:
    """Figures and mistakes of one dev set."""
    labels, seed, result = run.labels[task], run.identity["seed"], run.result
    where = _where(task, split, result.metrics)
    metric = catalogue.find("metrics", next(iter(result.metrics[task][split][MODEL])))
    curves = {"": _curves([run], task, split, metric.__name__)}
    blocks: list[Any] = [
        figures.learning(
            slug(f"learning {where}"), metric, curves, where=where, kept=result.epoch_of(task)
        )
    ]
    texts = sources.texts(run, task, split, answers.digest, answers.rows)
    blocks += _answered({"": [answers]}, labels, where=where, seed=seed)
    if (
        texts is not None
        and texts.lengths is not None
        and (words := _length_words(texts.lengths)) is not None
    ):
        slices = by_slice(words, answers.scores, answers.targets, labels, [metric.__name__], seed)
        bins = [
            LengthBin(
                one.value, one.n_rows, (of := one.estimates[metric.__name__]).value, of.low, of.high
            )
            for one in slices
        ]
        blocks.append(_of_lengths(where, metric, {"": bins}, texts, several_seeds=False))
    if labels.kind != "regression":
        blocks.append(
            confusion_table(
                confusion(answers.scores, answers.targets, labels), labels, title="Confusion"
            )
        )
    return Section(
        title,
        tuple(blocks),
        (Section("Worst mistakes", (_worst(run, task, answers, labels, texts, n_mistakes),)),),
    )


def _worst(
    run: gather.GatheredRun,
    task: str,
    answers: DevPredictions,
    labels: LabelSpace,
    texts: gather.Texts | None,
    n_mistakes: int,
) -> Mistakes:
    chosen = worst_mistakes(answers.scores, answers.targets, labels, n_mistakes)
    blank = [""] * len(answers.rows)
    table = mistakes_table(chosen, answers.scores, answers.targets, labels, blank)
    explained = [] if texts is None else gather.explanations(run, task, texts, chosen.tolist())
    found = []
    for at, (row, cells) in enumerate(zip(chosen.tolist(), table.rows, strict=True)):
        facts = (
            _place(texts, answers, row),
            *zip(("truth", "prediction", table.columns[3]), cells[1:4], strict=True),
        )
        if explained:
            strongest = ", ".join(
                f"{word.word} {100 * (word.weight or 0):.0f} %"
                for word in explained[at].strongest(_STRONGEST)
            )
            found.append(Mistake((*facts, ("looked at", strongest)), _marked(explained[at])))
        else:
            found.append(Mistake(facts, _texts_of(texts, row)))
    by = (
        "the size of the error"
        if labels.kind == "regression"
        else "how little the model thought of the truth"
    )
    looked = (
        " The stronger a word is marked, the more the pooling looked at it; that need not be "
        "what misled it."
        if explained
        else ""
    )
    return Mistakes(
        tuple(found),
        f"The most wrong first, by {by}{_in_file(texts)}.{looked}"
        if found
        else "No row is answered wrongly.",
    )


def _marked(explanation: Explanation) -> tuple[tuple[tuple[str, float | None], ...], ...]:
    """The texts in pieces; words that weigh more than the average word are marked, the heaviest of
    the row in full.
    """
    weights = [
        word.weight for side in explanation.texts for word in side.words if word.weight is not None
    ]
    average, top = (sum(weights) / len(weights), max(weights)) if weights else (0.0, 0.0)
    found = []
    for side in explanation.texts:
        shown, end = _shortened(side.text), 0
        pieces: list[tuple[str, float | None]] = []
        for word in side.words:
            if (
                word.weight is not None
                and word.weight > average
                and word.end <= min(len(side.text), _MOST_CHARACTERS)
            ):
                pieces += [
                    (shown[end : word.start], None),
                    (shown[word.start : word.end], (word.weight - average) / (top - average)),
                ]
                end = word.end
        found.append((*pieces, (shown[end:], None)))
    return tuple(found)


def _in_file(texts: gather.Texts | None) -> str:
    return "" if texts is None else f"; {texts.place}s of {texts.file}"


def _place(texts: gather.Texts | None, answers: DevPredictions, row: int) -> tuple[str, str]:
    return (
        ("row", str(answers.rows[row] + 1))
        if texts is None
        else (texts.place, str(texts.places[row]))
    )


def _texts_of(
    texts: gather.Texts | None, row: int
) -> tuple[tuple[tuple[str, float | None], ...], ...]:
    sides = (
        ()
        if texts is None
        else (texts.texts,)
        if texts.pairs is None
        else (texts.texts, texts.pairs)
    )
    return tuple(((_shortened(side[row]), None),) for side in sides)


def _shortened(text: str) -> str:
    return (
        text
        if len(text) <= _MOST_CHARACTERS
        else f"{text[:_MOST_CHARACTERS]}… ({len(text):,} characters)"
    )


# ------------------------------------------------------------------------------------------ of both


def _answered(
    groups: Mapping[str, Sequence[DevPredictions]], labels: LabelSpace, *, where: str, seed: int
) -> Iterator[Figure]:
    """What raw scores tell: confusion, distance, calibration; for a regression predicted beside
    true values. groups: variant → its runs.
    """
    targets = next(iter(groups.values()))[0].targets
    if labels.kind == "regression":
        for group, runs in groups.items():
            predicted = np.mean([predictions(one.scores, labels) for one in runs], axis=0)
            about = (
                f"{where}, {group}{', mean over seeds' if len(runs) > 1 else ''}"
                if group
                else where
            )
            yield figures.scatter(
                slug(f"scatter {where} {group}"),
                np.asarray(targets, np.float64),
                predicted,
                where=about,
            )
        return
    if labels.kind != "multilabel":
        if len(labels.names) <= _MOST_CLASSES:
            for group, runs in groups.items():
                matrix = np.sum(
                    [confusion(one.scores, one.targets, labels) for one in runs], axis=0
                )
                about = f"{where}, {group}" if group else where
                yield figures.confusion_matrix(
                    slug(f"confusion {where} {group}"),
                    matrix,
                    labels.names,
                    where=about,
                    n_runs=len(runs),
                )
        if labels.ordered and len(labels.names) > 2:
            counts = {
                group: dict(
                    Counter(
                        np.concatenate(
                            [predictions(one.scores, labels) - one.targets for one in runs]
                        ).tolist()
                    )
                )
                for group, runs in groups.items()
            }
            yield figures.distances(slug(f"distances {where}"), counts, where=where)
    found = {
        group: pool_runs(
            [reliability(*confidences(one.scores, one.targets, labels), seed=seed) for one in runs]
        )
        for group, runs in groups.items()
    }
    what = (
        "A claim: this text has this label."
        if labels.kind == "multilabel"
        else "A claim: the predicted class is the right one."
    )
    yield figures.reliability_diagram(slug(f"calibration {where}"), found, what=what, where=where)


def _curves(runs: Sequence[gather.GatheredRun], task: str, split: str, metric: str) -> list[Curve]:
    """Epoch by epoch over the runs that got so far."""

    def over(records: Sequence[Mapping[str, Any]], *way: str) -> tuple[float, float, float] | None:
        values = []
        for record in records:
            for key in way:
                record = record.get(key, {})
            values += (
                [float(record)] if isinstance(record, int | float) and np.isfinite(record) else []
            )
        return (float(np.mean(values)), min(values), max(values)) if values else None

    by_epoch: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        for record in run.epochs:
            by_epoch.setdefault(record["epoch"], []).append(record)
    return [
        Curve(epoch, len(of), over(of, "train", task, metric), over(of, "dev", task, split, metric))
        for epoch, of in sorted(by_epoch.items())
    ]


def _length_words(lengths: np.ndarray) -> list[str] | None:
    """For each row the bin that its length is in, "12–20", all of about as many rows; None where
    there are too few rows or lengths for two.
    """
    n_bins = min(_MOST_LENGTHS, len(lengths) // _ROWS_PER_LENGTH)
    if n_bins < 2:
        return None
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    edges = edges[edges < lengths.max()]
    if not len(edges):
        return None
    bin_of = np.searchsorted(edges, lengths, side="left")
    spans = [
        (int(lengths[bin_of == number].min()), int(lengths[bin_of == number].max()))
        for number in range(len(edges) + 1)
    ]
    return [
        f"{low}–{high}" if low < high else f"{low}"
        for low, high in (spans[number] for number in bin_of.tolist())
    ]


def _of_lengths(
    where: str,
    metric: Metric,
    groups: Mapping[str, Sequence[LengthBin]],
    texts: gather.Texts,
    *,
    several_seeds: bool,
) -> Figure:
    assert texts.cut is not None
    n_cut = int(texts.cut.sum())
    unit = (
        "tokens"
        if not n_cut
        else f"tokens, {n_cut:,} of {len(texts.cut):,} rows cut to {texts.max_length}"
    )
    return figures.lengths(
        slug(f"lengths {where}"),
        metric,
        groups,
        where=where,
        unit=unit,
        several_seeds=several_seeds,
    )


def _where(task: str, split: str, sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The shortest that names the dev set among those of the report."""
    if len(sets) > 1:
        return f"{task}, {split}" if len(sets[task]) > 1 else task
    return split


def _data_table(runs: Sequence[gather.GatheredRun]) -> Listing:
    """What was read, first of all: each file once, by its content."""
    rows: dict[tuple[str, ...], None] = {}
    for run in runs:
        for task, data in run.data.items():
            for split, one in data["splits"].items():
                rows[task, split, f"{one['rows']:,}", one["path"], one["sha256"][:16]] = None
    return Listing(
        "", ("task", "set", "rows", "file", "sha256 begins with"), tuple(rows), (), frozenset({2})
    )


def _encoder(run: gather.GatheredRun) -> str:
    if run.recipe is None:
        return f"of digest {run.identity['encoder'][:12]}"
    return (
        Path(run.recipe.encoder).name
        if Path(run.recipe.encoder).is_absolute()
        else run.recipe.encoder
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:,.1f} s" if seconds < 120 else f"{format_duration(seconds)} ({seconds:,.0f} s)"
    )


def _cost_of(run: gather.GatheredRun) -> Facts:
    n = gather.parameters(run)
    return Facts(
        (
            (
                "time",
                f"{_time(run.result.seconds)} in all: training, evaluation, baselines, saving",
            ),
            ("speed", f"{run.result.tokens_per_second:,.0f} tokens per second of training"),
            ("memory", _memory(run.cost.get("peak_memory_bytes"))),
            (
                "parameters",
                "not known: neither weights nor encoder are here" if n is None else f"{n:,}",
            ),
        )
    )


def _memory(n_bytes: Any) -> str:
    return f"{n_bytes / 1e9:.2f} GB at most" if isinstance(n_bytes, int | float) else "not known"


def _environment(runs: Sequence[gather.GatheredRun]) -> Facts:
    """Of the first run; what differs in another is told beside it."""

    def told(key: str) -> str:
        values = list(dict.fromkeys(str(run.environment.get(key, "not known")) for run in runs))
        return ", ".join(values[:4]) + (", …" if len(values) > 4 else "")

    pairs = [
        (key, told(key))
        for key in ("processor", "device", "threads", "precision", "platform", "python", "encore")
    ]
    packages = runs[0].environment.get("packages", {}) if runs else {}
    return Facts(
        (
            *pairs,
            (
                "packages",
                ", ".join(f"{name} {version}" for name, version in packages.items()) or "not known",
            ),
        )
    )


def _typed(environment: Mapping[str, Any]) -> str | None:
    """The command as it was given; None where it was Python that called."""
    argv = environment.get("command")
    if (
        not isinstance(argv, list)
        or len(argv) < 2
        or Path(str(argv[0])).name not in ("encore", "__main__.py")
        or argv[1] not in ("train", "compare")
    ):
        return None
    return shlex.join(["encore", *map(str, argv[1:])])


def _repeat(run: gather.GatheredRun) -> Iterator[Any]:
    typed = _typed(run.environment)
    if typed is not None:
        yield Code("As it was typed:", typed)
    yield Code("In the run's folder:", "encore train recipe.yaml --runs ..")
    yield Notes(
        (
            "The same command finds the run complete; in another folder of runs (--runs) it "
            "trains to the same bits, on a processor of the same kind.",
        )
    )
    yield _digests(
        [run],
        {
            "results.json": run.folder / "results.json",
            "manifest.json (of all files of the run)": run.folder / files.MANIFEST,
        },
    )
    yield Code("recipe.yaml", (run.folder / "recipe.yaml").read_text(encoding="utf-8"), folded=True)


def _digests(runs: Sequence[gather.GatheredRun], own: Mapping[str, Path]) -> Listing:
    rows: dict[tuple[str, str], None] = {}
    for run in runs:
        for data in run.data.values():
            for one in data["splits"].values():
                rows[one["path"], one["sha256"]] = None
        rows[f"encoder {_encoder(run)}", run.identity["encoder"]] = None
        rows["tokenizer", run.identity["tokeniser"]] = None
    rows |= {(name, files.sha256(file)): None for name, file in own.items() if file.is_file()}
    return Listing("Digests (sha256)", ("what", "digest"), tuple(rows))


# ------------------------------------------------------------------------------------- a comparison


@dataclass(frozen=True)
class _Set:
    """One study's dev set with the answers of its runs. runs: variant → seed → run. `each`: its
    entry in results.json.
    """

    each: Mapping[str, Any]
    title: str
    runs: Mapping[str, Mapping[int, gather.GatheredRun]]
    answers: Mapping[str, Sequence[DevPredictions]]


def of_comparison(
    comparison: gather.GatheredComparison, sources: gather.Sources, *, n_mistakes: int
) -> Page:
    """A comparison: verdicts, tables, then study by study."""
    results = comparison.results
    sets = _sets(comparison)
    parts = [_of_one_study(one, results, sources, n_mistakes) for one in sets]
    sized = tuple(_by_size(results))
    runs = list(comparison.runs.values())
    n = {
        "study": len({each["study"] for each in results["studies"]}),
        "variant": len(results["variants"]),
        "seed": len(results["seeds"]),
    }
    size = ", ".join(
        f"{count} {word if count == 1 else 'studies' if word == 'study' else word + 's'}"
        for word, count in n.items()
    )
    encoders = ", ".join(dict.fromkeys(_encoder(run) for run in runs)) or "not known"
    about = (
        f"Comparison {comparison.name}: {size}, encoder {encoders}. Everything is set "
        f"against {results['reference']}."
    )
    notes = dict.fromkeys(
        [
            *(note for each in results["studies"] for note in _named(each, results)),
            *results["notes"],
            *sources.notes,
        ]
    )
    lead = (*([_data_table(runs)] if runs else []), *([Notes(tuple(notes))] if notes else []))
    sections = (
        Section("What was found", tuple(_verdicts(results))),
        Section("Tables", tuple(_tables(results))),
        *([Section("Score by number of training rows", sized)] if sized else []),
        *parts,
        Section("Runs", tuple(_runs(comparison))),
        *(
            [
                Section("What it cost", (_costs(comparison),)),
                Section("Where it was computed", (_environment(runs),)),
            ]
            if runs
            else []
        ),
        Section("To repeat it", tuple(_repeat_comparison(comparison))),
    )
    return Page(results["name"], about, comparison.name, lead, sections)


def _named(each: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """What qualifies a study's figures, with the names of study and task where there are
    several.
    """
    several = len(results["studies"]) > 1
    return [f"{study_title(each)}: {note}" if several else note for note in each["notes"]]


def _sets(comparison: gather.GatheredComparison) -> list[_Set]:
    """Every study's dev sets, and of their runs those that can be read."""
    found = []
    for each in comparison.results["studies"]:
        if not each["metrics"]:
            continue
        rows = each["metrics"][0]["variants"]
        runs = {
            row["variant"]: of
            for row in rows
            if (of := comparison.runs_of(each["study"], row["variant"], row["seeds"]))
        }
        answers = {
            variant: [
                read_predictions(
                    run.folder, each["task"], each["set"], run.result.epoch_of(each["task"])
                )
                for run in of.values()
            ]
            for variant, of in runs.items()
        }
        several = (
            len(
                {
                    (one["set"], one["task"])
                    for one in comparison.results["studies"]
                    if one["study"] == each["study"]
                }
            )
            > 1
        )
        title = (
            f"{study_title(each)}, {each['set']}"
            if several or each["set"] != "dev"
            else study_title(each)
        )
        found.append(_Set(each, title, runs, answers))
    return found


def _verdicts(results: Mapping[str, Any]) -> Iterator[Any]:
    """For every study and variant a verdict on the metric that decides; before them how often each
    verdict fell.
    """
    verdicts: list[VerdictLine] = []
    for each in results["studies"]:
        for row in each["metrics"][0]["variants"] if each["metrics"] else ():
            if (
                row["variant"] == results["reference"]
                and not row["failed"]
                and not row["collapsed"]
            ):
                continue
            verdicts += _verdict(each, row)
        for decision in each.get("race", {}).get("rounds", ()):
            said = f"in round {decision['round']}, on screening seeds that are not in the table."
            verdicts += [
                VerdictLine("left the race", f"{variant}, {each['study']}", said)
                for variant in decision["left"]
            ]
        nowhere = each["not_applicable"].items() if not each["metrics"] else ()
        verdicts += [
            VerdictLine("not applicable", f"{variant}, {each['study']}", why)
            for variant, why in nowhere
            if why
        ]
    counted = Counter(one.badge for one in verdicts)
    if len(verdicts) > 3:
        said = ", ".join(f"{badge} {n}" for badge, n in counted.items())
        yield Facts((("verdicts", said), ("set against", results["reference"])))
    yield Verdicts(tuple(verdicts))
    decided = {each["metrics"][0]["metric"] for each in results["studies"] if each["metrics"]}
    titles = ", ".join(catalogue.find("metrics", name).title for name in sorted(decided))
    yield Notes(
        (
            f"Judged by the metric that decides ({titles}); the others are in the tables. A "
            f"verdict names what it holds for: this dev set (new seeds on these "
            "rows), or new examples too (new seeds on new rows). “No evidence” is no proof "
            "that there is no difference.",
        )
    )


def _verdict(each: Mapping[str, Any], row: Mapping[str, Any]) -> list[VerdictLine]:
    metric, against = catalogue.find("metrics", each["metrics"][0]["metric"]), row["contrast"]
    split = "" if each["set"] == "dev" else f" {each['set']}"
    about = f"{row['variant']}, {study_title(each)}{split}"
    found = []
    if row["not_applicable"]:
        return [VerdictLine("not applicable", about, row["not_applicable"])]
    if against is not None and against["delta"] is not None:
        badge = next(
            (word for word in ("better", "worse") if against["verdict"].startswith(word)),
            "no evidence",
        )
        points = " points" if metric.form == "percent" else ""
        here, anew = (
            format_interval(against[key], metric.form) for key in ("this_dev_set", "new_examples")
        )
        words = (
            f"{against['verdict']}; {metric.title} "
            f"{format_difference(against['delta'], metric.form)}{points} (this dev set {here}, "
            f"new examples too {anew})."
        )
        stable = against["stability"]
        words += (
            f" Over seeds {stable['verdict']}."
            if stable is not None and stable["verdict"] != "no evidence"
            else ""
        )
        found.append(VerdictLine(badge, about, words))
    if row["failed"]:
        which = "; ".join(f"seed {seed}: {why}" for seed, why in row["failed"].items())
        found.append(
            VerdictLine(
                "failed",
                about,
                f"{len(row['failed'])} run{'s' if len(row['failed']) > 1 else ''}: {which}",
            )
        )
    if row["collapsed"]:
        which = "; ".join(f"seed {seed}: {why}" for seed, why in row["collapsed"].items())
        found.append(
            VerdictLine(
                "collapsed",
                about,
                f"{len(row['collapsed'])} of {len(row['seeds'])} runs learnt nothing and count "
                f"all the same ({which}).",
            )
        )
    return found


def _tables(results: Mapping[str, Any]) -> Iterator[Listing]:
    """As on a terminal; but what qualifies the data stands at the top of the page already, and how
    to read a table is said once.
    """
    said = {note for each in results["studies"] for note in each["notes"]} | set(results["notes"])
    for table in comparison_tables(results):
        yield replace(table, notes=tuple(note for note in table.notes if note not in said))
        said |= {note for note in table.notes if note.startswith("± ")}


def _of_one_study(
    one: _Set, results: Mapping[str, Any], sources: gather.Sources, n_mistakes: int
) -> Section:
    each, where = one.each, one.title
    blocks: list[Any] = []
    for metric in each["metrics"]:
        kind = catalogue.find("metrics", metric["metric"])
        name = f"{where} {metric['metric']}"
        for drawn in (
            figures.forest(
                slug(f"differences {name}"),
                kind,
                metric["variants"],
                results["reference"],
                where=where,
            ),
            figures.seeds(slug(f"seeds {name}"), kind, metric["variants"], where=where),
        ):
            if drawn is not None:
                blocks.append(drawn)
    if not one.runs:
        return Section(one.title, tuple(blocks))
    decides = catalogue.find("metrics", each["metrics"][0]["metric"])
    curves = {
        variant: _curves(list(runs.values()), each["task"], each["set"], decides.__name__)
        for variant, runs in one.runs.items()
    }
    blocks.append(figures.learning(slug(f"learning {where}"), decides, curves, where=where))
    first = next(iter(next(iter(one.runs.values())).values()))
    labels = first.labels[each["task"]]
    blocks += _answered(one.answers, labels, where=where, seed=first.identity["seed"])
    some = next(iter(one.answers.values()))[0]
    texts = sources.texts(first, each["task"], each["set"], some.digest, some.rows)
    if (
        texts is not None
        and texts.lengths is not None
        and (words := _length_words(texts.lengths)) is not None
    ):
        groups = {
            variant: _bins_over_seeds(words, of, labels, decides)
            for variant, of in one.answers.items()
        }
        blocks.append(_of_lengths(where, decides, groups, texts, several_seeds=True))
    if labels.kind in ("binary", "multiclass") and len(labels.names) > _MOST_CLASSES:
        for variant, of in one.answers.items():
            matrix = np.sum(
                [confusion(answers.scores, answers.targets, labels) for answers in of], axis=0
            )
            blocks.append(confusion_table(matrix, labels, title=f"Confusion, {variant}, all seeds"))
    return Section(
        one.title,
        tuple(blocks),
        (Section("What all runs get wrong", (_hardest(one.answers, labels, texts, n_mistakes),)),),
    )


def _bins_over_seeds(
    words: Sequence[str], of: Sequence[DevPredictions], labels: LabelSpace, metric: Metric
) -> list[LengthBin]:
    name = metric.__name__
    by_run = [
        by_slice(words, one.scores, one.targets, labels, [name], 0, n_resamples=2) for one in of
    ]  # intervals are not shown
    found = []
    for slices in zip(*by_run, strict=True):
        values = [one.estimates[name].value for one in slices]
        found.append(
            LengthBin(
                slices[0].value, slices[0].n_rows, float(np.mean(values)), min(values), max(values)
            )
        )
    return found


def _hardest(
    groups: Mapping[str, Sequence[DevPredictions]],
    labels: LabelSpace,
    texts: gather.Texts | None,
    n_mistakes: int,
) -> Mistakes:
    """Rows that the runs of all variants together are most wrong about."""
    every = [one for runs in groups.values() for one in runs]
    some, targets = every[0], every[0].targets
    losses = np.mean([row_losses(one.scores, targets, labels) for one in every], axis=0)
    said = [predictions(one.scores, labels) for one in every]
    wrong = np.array(
        [(one != targets) if one.ndim == 1 else (one != targets).any(axis=1) for one in said]
    )
    n_wrong = wrong.sum(axis=0)
    chosen = [
        row for row in np.argsort(-losses, kind="stable").tolist() if 2 * n_wrong[row] > len(every)
    ][:n_mistakes]
    names = [shorten(name, 30) for name in labels.names]
    found = []
    for row in chosen:
        if labels.kind == "regression":
            mean = float(np.mean([one[row] for one in said]))
            facts = [
                ("truth", f"{targets[row]:.4g}"),
                ("mean prediction", f"{mean:.4g}"),
                ("difference", f"{mean - targets[row]:+.4g}"),
            ]
        else:
            listed: Callable[[Any], str] = (
                (lambda of: names[of])
                if labels.kind != "multilabel"
                else lambda of: "; ".join(names[at] for at in np.flatnonzero(of)) or "(none)"
            )
            often, n = Counter(
                listed(one[row]) for one, no in zip(said, wrong[:, row], strict=True) if no
            ).most_common(1)[0]
            facts = [
                ("truth", listed(targets[row])),
                ("wrong in", f"{n_wrong[row]} of {len(every)} runs"),
                ("mostly taken for", f"{often} ({n})"),
            ]
        found.append(Mistake((_place(texts, some, row), *facts), _texts_of(texts, row)))
    note = (
        f"Wrong in more than half of all runs, the most wrong on average first: such rows "
        f"are hard, ambiguous, or wrongly labelled{_in_file(texts)}."
    )
    return Mistakes(
        tuple(found), note if found else "No row is answered wrongly by more than half of the runs."
    )


def _by_size(results: Mapping[str, Any]) -> Iterator[Figure]:
    """Where studies differ in the number of training rows: score against size."""
    groups: dict[tuple[str, str, str], dict[str, dict[int, list[float]]]] = {}
    key = "data.train_rows"
    for each in results["studies"]:
        rest = " ".join(
            [
                each["task"],
                *(
                    f"{name}={value}"
                    for name, value in each["point"].items()
                    if name not in ("task", key)
                ),
            ]
        )
        for metric in each["metrics"] if key in each["point"] else ():
            found = groups.setdefault((rest, each["set"], metric["metric"]), {})
            for row in metric["variants"]:
                if row["values"]:
                    found.setdefault(row["variant"], {})[each["point"][key]] = row["values"]
    for (rest, split, name), found in groups.items():
        if max(map(len, found.values()), default=0) > 1:
            where = f"{rest}, {split}"
            yield figures.sizes(
                slug(f"sizes {where} {name}"), catalogue.find("metrics", name), found, where=where
            )


def _runs(comparison: gather.GatheredComparison) -> Iterator[Any]:
    """Every cell and its run."""
    counted = Counter(cell["state"] for cell in comparison.cells)
    lines = [f"{n} of {len(comparison.cells)} cells: {state}" for state, n in counted.items()]
    lines += [f"{name}: {why}" for name, why in comparison.lost.items()]
    yield Notes(tuple(lines))
    n_columns = 6 if any("why" in cell for cell in comparison.cells) else 5
    rows = [
        (
            cell["study"],
            cell["variant"],
            str(cell["seed"]),
            cell["state"],
            cell["run"] or "–",
            "; ".join(cell.get("why", ())),
        )
        for cell in comparison.cells
    ]
    columns = ("study", "variant", "seed", "state", "run", "why")
    yield Listing(
        "", columns[:n_columns], tuple(row[:n_columns] for row in rows), (), frozenset({2})
    )


def _costs(comparison: gather.GatheredComparison) -> Listing:
    """Per variant; means over its runs."""
    rows = []
    for variant in comparison.results["variants"]:
        names = dict.fromkeys(
            cell["run"] for cell in comparison.cells if cell["variant"] == variant
        )
        runs = [comparison.runs[name] for name in names if name in comparison.runs]
        if not runs:
            continue
        n = gather.parameters(runs[0])
        peaks = [run.cost["peak_memory_bytes"] for run in runs if "peak_memory_bytes" in run.cost]
        seconds, speed = (
            float(np.mean([getattr(run.result, what) for run in runs]))
            for what in ("seconds", "tokens_per_second")
        )
        rows.append(
            (
                variant,
                str(len(runs)),
                f"{seconds:,.1f} s",
                f"{speed:,.0f}",
                _memory(max(peaks, default=None)),
                "not known" if n is None else f"{n:,}",
            )
        )
    note = (
        "Means over the runs that are here; memory: the most of any. Runs that ran beside "
        "others shared the processor with them."
    )
    took, n_computed = comparison.cost.get("seconds"), len(comparison.cost.get("computed", ()))
    whole = (
        (f"The last command took {format_duration(took)} and computed {n_computed} runs.",)
        if isinstance(took, int | float)
        else ()
    )
    columns = ("variant", "runs", "time per run", "tokens per second", "memory", "parameters")
    return Listing("", columns, tuple(rows), (note, *whole), frozenset(range(1, len(columns))))


def _repeat_comparison(comparison: gather.GatheredComparison) -> Iterator[Any]:
    study = comparison.study
    typed = next(
        (
            line
            for run in comparison.runs.values()
            if (line := _typed(run.environment)) and line.startswith("encore compare ")
        ),
        None,
    )
    if typed is not None:
        yield Code("As it was typed when the first of its runs was computed:", typed)
    only = (
        []
        if set(study["variants"]) == {"baseline"}
        else ["--only", ",".join(name for name in study["variants"] if name != study["reference"])]
    )
    raced = ["--race"] if study.get("race") else []
    yield Code(
        "With the recipe below:",
        shlex.join(
            ["encore", "compare", f"{study['name']}.yaml", *study["overrides"], *only, *raced]
        ),
    )
    points = [
        ", ".join(f"{key}={value}" for key, value in point.items())
        for point in study["points"]
        if point
    ]
    yield Facts(
        (
            ("variants", ", ".join(study["variants"])),
            ("set against", study["reference"]),
            ("seeds", ", ".join(map(str, study["seeds"]))),
            *((("studies", "; ".join(points)),) if points else ()),
        )
    )
    own = {
        "results.json": comparison.folder / "results.json",
        "recipe.yaml": comparison.folder / "recipe.yaml",
    }
    yield _digests(
        list(comparison.runs.values()),
        own
        | {"manifest.json (of all files of the comparison)": comparison.folder / files.MANIFEST},
    )
    yield Code(f"{study['name']}.yaml", comparison.recipe, folded=True)
