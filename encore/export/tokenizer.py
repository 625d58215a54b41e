"""A run's tokenizer as files that `AutoTokenizer` reads, giving the very ids that the run was
trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers

from encore import files
from encore.data.tokenizer import Template, TextTokenizer
from encore.data.tokenizer_roles import special_roles
from encore.runs.loaded_task import LoadedTask

__all__ = ["cannot_cut", "left_to_model", "write_tokenizer"]

_PAIR = ".?,'"


def left_to_model(task: LoadedTask, to: str) -> bool:
    """True if the exported model makes its rows itself, because a tokenizer cannot: for pairs that
    are read separately or in both orders. The model is given both texts, each with the special
    tokens of a single text, and truncates them.
    """
    return to == "hf" and not task.in_one_row


def cannot_cut(task: LoadedTask, to: str) -> bool:
    """True if AutoTokenizer cannot truncate as this task does: it keeps the beginning or the end of
    a text, never both.
    """
    return task.truncation in ("head_tail", "half_half") and not left_to_model(task, to)


def write_tokenizer(
    folder: Path,
    tokenizer: TextTokenizer,
    task: LoadedTask,
    config: Mapping[str, Any],
    *,
    to: str,
    inputs: tuple[str, ...],
) -> None:
    """tokenizer.json and tokenizer_config.json. config: the encoder's; inputs: what the exported
    model's `forward` takes.

    transformers is made to read tokenizer.json as it is (`PreTrainedTokenizerFast`): the class of a
    family would build another one from its vocabulary.
    """
    backend = Tokenizer.from_str(tokenizer.backend.to_str())
    steps = [
        *_normalising(task.normalise),
        *([backend.normalizer] if backend.normalizer is not None else []),
    ]
    if len(steps) > 1 or task.normalise not in (None, "none"):
        backend.normalizer = normalizers.Sequence(steps)
    apart = left_to_model(task, to)
    if apart or (task.columns.text_pair and task.pair.get("segments") == "zero"):
        backend = _around(backend, tokenizer.templates, apart=apart)
    files.write(folder / "tokenizer.json", backend.to_str(pretty=True).encode())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **({} if apart else {"model_max_length": task.max_length}),
        "truncation_side": "left" if task.truncation == "tail" else "right",
        "padding_side": "right",
        "model_input_names": list(inputs),
        "clean_up_tokenization_spaces": False,
        **special_roles(backend, config),
    }
    files.write(
        folder / "tokenizer_config.json",
        (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode(),
    )


def _around(backend: Tokenizer, templates: Mapping[bool, Template], *, apart: bool) -> Tokenizer:
    """The same tokenizer that puts pairs together in another way: each text as if it were alone,
    the second in segment 1; or, not apart, as before but all in segment 0.
    """
    alone = _row(backend, templates[False], "A", 0)
    pair = (
        alone + _row(backend, templates[False], "B", 1)
        if apart
        else _row(backend, templates[True], "AB", 0)
    )
    words = {
        backend.id_to_token(number): number
        for template in templates.values()
        for number in template.ids
    }
    special = {
        word: {"id": word, "ids": [number], "tokens": [word]} for word, number in words.items()
    }
    content = json.loads(backend.to_str()) | {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": alone,
            "pair": pair,
            "special_tokens": special,
        }
    }
    return Tokenizer.from_str(json.dumps(content))


def _row(backend: Tokenizer, template: Template, names: str, segment: int) -> list[dict[str, Any]]:
    """The texts of these names with what the template has before, between and after them."""
    left, found = list(template.ids), list[dict[str, Any]]()
    for count, name in zip(template.counts, [*names, None], strict=True):
        found += [
            {"SpecialToken": {"id": backend.id_to_token(number), "type_id": segment}}
            for number in left[:count]
        ]
        found += [{"Sequence": {"id": name, "type_id": segment}}] if name else []
        del left[:count]
    return found


def _normalising(how: str | None) -> list[normalizers.Normalizer]:
    """`data.tasks.normalise_text` as steps of a tokenizer."""
    if how in (None, "none"):
        return []
    lower = [normalizers.Lowercase(), normalizers.Strip()]
    if how == "minbert":
        return lower
    return [
        *lower,
        *(normalizers.Replace(mark, f" {mark}") for mark in _PAIR),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
