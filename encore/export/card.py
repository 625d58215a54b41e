"""The model card: the README.md of an exported folder. Every figure and every limit comes from the
run's own files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from encore import catalogue, files
from encore.export.base_model import BaseModel
from encore.export.markdown import markdown_code, markdown_text
from encore.export.peft import CLASSIFIER, peft_example
from encore.export.sentence import SIMILARITY
from encore.export.tokenizer import left_to_model
from encore.runs.folder import MODEL, RunResult
from encore.runs.loaded_task import LoadedTask
from encore.tables.evaluation import DevScores, results_table
from encore.tables.formatting import format_estimate

__all__ = ["CardDetails", "card"]

_HUB_METRICS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
_SENTENCE = (
    "It came on Friday and it works.",
    "It does not work any more.",
)  # of no data set: a card is for strangers
_BY = {"cosine": "cosine", "dot": "dot product"}
_KINDS = {
    "binary": "binary classification",
    "multiclass": "classification",
    "multilabel": "multi-label classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class CardDetails:
    """The details of an export. name: the model's, as the code on the card loads it. made_of:
    its class; own_class: whether that is Encore's. limits: of this export. head: the task's, which
    the card of a folder of vectors describes.
    """

    name: str
    made_of: str
    to: str
    own_class: bool
    limits: Sequence[str]
    head: str = ""

    @property
    def title(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def classifies(self) -> bool:
        """True if the folder gives the labels' scores, and not vectors."""
        return self.to == "hf" or self.made_of == CLASSIFIER


def card(result: RunResult, task: LoadedTask, base: BaseModel, details: CardDetails) -> str:
    """The card of a task's model: Markdown with front matter."""
    run = result.folder
    data: dict[str, Any] = files.read_json(run / "data.json")[task.name]
    recipe = files.read_json(run / "resolved.json")
    scrub = _Paths(split["path"] for split in data["splits"].values())
    sets = [
        DevScores(split, data["splits"][split]["rows"], columns)
        for split, columns in result.metrics[task.name].items()
    ]
    notes = [
        *(scrub.of(str(note)) for note in result.notes_of(task.name)),
        *result.caveats(task.name),
    ]
    # The last note explains the brackets, as the sentence below the card's table does.
    *qualifying, _brackets = results_table(sets, notes=notes).notes
    limits = dict.fromkeys([*map(markdown_text, qualifying), *details.limits, *_always(recipe)])
    front = yaml.safe_dump(
        _front(task, base, sets, data, details), sort_keys=False, allow_unicode=False, width=1000
    )
    parts = [
        f"---\n{front}---\n\n# {markdown_text(details.title)}",
        _about(task, base, details),
        f"## Results\n\n{_table(sets)}\n\nEvaluated by Encore after training, on rows that this "
        f"task was not trained on. In brackets: the 95 % bootstrap "
        "interval over these rows. The other columns are plain baselines on the same rows.",
        f"## How to use it\n\n{_use(task, base, details)}",
        f"## Training\n\n{_training(result, task, data, recipe, base, scrub)}",
        "## Limits\n\n" + "\n".join(f"* {line.rstrip('.')}." for line in limits),
        f"## Licence\n\n{_licence_words(base)}",
    ]
    return "\n\n".join(parts) + "\n"


class _Paths:
    """Removes folders from the notes of a run: a card is published."""

    def __init__(self, paths: Any) -> None:
        self.paths = sorted({str(path) for path in paths}, key=len, reverse=True)

    def of(self, text: str) -> str:
        for path in self.paths:
            text = text.replace(path, Path(path).name)
        return text


def _front(
    task: LoadedTask,
    base: BaseModel,
    sets: Sequence[DevScores],
    data: Mapping[str, Any],
    details: CardDetails,
) -> dict[str, Any]:
    """The metadata that the hub reads."""
    library, tag, tags = {
        "hf": ("transformers", "text-classification", []),
        "sentence-transformers": (
            "sentence-transformers",
            "sentence-similarity",
            ["sentence-transformers", "feature-extraction"],
        ),
        "peft": ("peft", "text-classification", ["lora"]),
    }[details.to]
    results: list[dict[str, Any]] = []
    for each in sets:
        metrics = [
            {
                "type": _HUB_METRICS.get(metric, metric),
                "name": catalogue.find("metrics", metric).title,
                "value": value.value,
                "args": {"interval_95": [value.low, value.high]},
            }
            for metric, value in each.columns[MODEL].items()
        ]
        dataset = {
            "type": task.name,
            "name": task.name,
            "split": each.dev,
            "revision": data["splits"][each.dev]["sha256"],
        }
        results.append(
            {
                "task": {"type": "text-classification", "name": _KINDS[task.labels.kind]},
                "dataset": dataset,
                "metrics": metrics,
            }
        )
    return {
        **base.licence,
        **({"base_model": base.repository} if base.repository else {}),
        "library_name": library,
        "pipeline_tag": tag if details.classifies or details.to != "peft" else "feature-extraction",
        "tags": ["encore", *tags],
        **(
            {"metrics": sorted({metric["type"] for each in results for metric in each["metrics"]})}
            if results
            else {}
        ),
        "model-index": [{"name": details.title, "results": results}],
    }


def _about(task: LoadedTask, base: BaseModel, details: CardDetails) -> str:
    labels, what = task.labels, "pair of texts" if task.columns.text_pair else "text"
    if labels.kind == "regression":
        does = f"predicts a number ({markdown_text(str(task.columns.label))}) for each {what}"
    else:
        choice = "any of" if labels.kind == "multilabel" else "one of"
        shown = ", ".join(map(markdown_text, labels.names[:20])) + (
            f" and {len(labels.names) - 20} more" if len(labels.names) > 20 else ""
        )
        does = f"assigns each {what} {choice} {len(labels.names)} labels: {shown}"
    if details.to == "peft":
        rest = "" if details.classifies else " Its pooling and its head are not in this folder."
        lead = f"LoRA for {_linked(base)}, trained with Encore"
        return f"{lead}: a model that {does}.{rest} Class: `{details.made_of}`."
    if details.to == "hf":
        return f"{_linked(base)}, fine-tuned with Encore. It {does}. Class: `{details.made_of}`."
    what = f"The vectors of {_linked(base)}, fine-tuned with Encore for a model that {does}"
    head = details.head
    if head in SIMILARITY:
        by = (
            f"by the {_BY[SIMILARITY[head]]} of its two texts' vectors, which `similarity` computes"
        )
        unseen = f"The head that turns it into a prediction (`{head}`) is not in this folder."
        return f"{what} {by}. {unseen}"
    unknown = (
        "The vectors were trained for that task; how well they measure similarity was not "
        "evaluated."
    )
    return f"{what}. The head is not in this folder. {unknown}"


def _table(sets: Sequence[DevScores]) -> str:
    who = list(dict.fromkeys(name for each in sets for name in each.columns))
    lines = [("dev set", "rows", "metric", *who), ("---",) * (3 + len(who))]
    for each in sets:
        for metric in each.columns[MODEL]:
            found = catalogue.find("metrics", metric)
            figures = [
                _bold(format_estimate(each.columns[name][metric], found.form), name)
                if metric in each.columns.get(name, {})
                else "–"
                for name in who
            ]
            lines.append((markdown_text(each.dev), f"{each.n_rows:,}", found.title, *figures))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bold(text: str, who: str) -> str:
    return f"**{text}**" if who == MODEL else text


def _use(task: LoadedTask, base: BaseModel, details: CardDetails) -> str:
    """Code that runs as it is, if the name is a folder here or a repository on the hub."""
    name, to, own_class = details.name, details.to, details.own_class
    first, second = (json.dumps(text) for text in _SENTENCE)
    if to == "sentence-transformers":
        code = [
            "from sentence_transformers import SentenceTransformer",
            "",
            f"model = SentenceTransformer({json.dumps(name)})",
        ]
        return _block(
            [
                *code,
                f"vectors = model.encode([{first}, {second}])",
                "print(vectors.shape, model.similarity(vectors, vectors))",
            ]
        )
    pair = task.columns.text_pair and details.classifies
    example = f'{{"text": {first}, "text_pair": {second}}}' if pair else first
    if to == "peft":
        encoder = json.dumps(base.repository or base.name)
        code = peft_example(json.dumps(name), encoder, details.made_of, example)
        return f"{_block(code)}\n\nNeeds transformers and peft."
    cut = "" if left_to_model(task, to) else ", truncation=True"
    load = [
        f'classify = pipeline("text-classification", model={json.dumps(name)}, top_k=None{cut})',
        f"print(classify([{example}]))",
    ]
    code = (
        ["import encore.hf", "from transformers import pipeline", "", "encore.hf.register()"]
        if own_class
        else ["from transformers import pipeline", ""]
    )
    needs = (
        "transformers and Encore (`encore-nlp`, which knows the class; no code is loaded from "
        "this repository)"
        if own_class
        else "transformers alone"
    )
    what = {
        "regression": "The score is the number itself.",
        "multilabel": "Each label has a probability of its own; Encore predicts those of .5 or "
        "more.",
    }
    return (
        f"{_block([*code, *load])}\n\nNeeds {needs}. "
        f"{what.get(task.labels.kind, 'The scores are probabilities that add up to 1.')}"
    )


def _block(lines: Sequence[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _training(
    result: RunResult,
    task: LoadedTask,
    data: Mapping[str, Any],
    recipe: Mapping[str, Any],
    base: BaseModel,
    scrub: _Paths,
) -> str:
    splits = [
        f"| {markdown_text(scrub.of(name))} | {markdown_text(Path(split['path']).name)} | "
        f"{split['rows']:,} | "
        f"`{split['sha256']}` |"
        for name, split in data["splits"].items()
    ]
    columns = ", ".join(
        f"{key} = {markdown_code(data['columns'][key])}"
        for key in ("text", "text_pair", "label")
        if data["columns"][key]
    )
    settings = _settings(recipe, task.name) | {
        "epoch kept": f"{result.epoch_of(task.name)} of {result.epochs} ({result.keep})",
        "encoder": base.name,
    }
    return "\n".join(
        [
            f"Task {markdown_code(task.name)}; columns: {columns}.",
            "",
            "| split | file | rows | sha256 of the file |",
            "| --- | --- | --- | --- |",
            *splits,
            "",
            "| setting | value |",
            "| --- | --- |",
            *(
                f"| {key} | {markdown_text(_cell(value))} |"
                for key, value in settings.items()
                if value is not None and value != {}
            ),
        ]
    )


def _settings(recipe: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The resolved recipe without data, of this task."""
    own = {
        key: value
        for key, value in recipe["tasks"][task].items()
        if key not in ("data", "labels", "metrics", "losses")
    }
    own["head"] = recipe["tasks"][own.get("same_as") or task]["head"]
    own["losses"] = {
        term: loss
        for term, loss in recipe["tasks"][task]["losses"].items()
        if loss["name"] is not None
    }  # else the task's own
    plan = {f"plan.{key}": value for key, value in recipe["plan"].items()}
    return {
        "seed": recipe["seed"],
        "precision": recipe["precision"],
        "device": recipe["device"],
        **own,
        **plan,
    }


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = {
            key: each
            for key, each in value.items()
            if each is not None and not (key == "weight" and each == 1)
        }
        name = inside.pop("name", None)
        rest = ", ".join(f"{key} {_cell(each)}" for key, each in inside.items())
        return f"{name} ({rest})" if name and rest else str(name or rest)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _always(recipe: Mapping[str, Any]) -> list[str]:
    return [
        f"one run of one seed ({recipe['seed']}): another seed gives another model, which the "
        f"intervals do not account for",
        "evaluated on the dev set only: on texts of another kind the model may be worse and just "
        "as confident",
    ]


def _linked(base: BaseModel) -> str:
    return (
        f"[{base.repository}](https://huggingface.co/{base.repository})"
        if base.repository
        else markdown_text(base.name)
    )


def _licence_words(base: BaseModel) -> str:
    where = _linked(base)
    if "license" not in base.licence:
        return f"Unknown: see the base model, {where}."
    return (
        f"That of the base model, {where}: "
        f"{markdown_text(base.licence.get('license_name', base.licence['license']))}. "
        f"The training data has a licence of its own."
    )
