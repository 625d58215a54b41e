"""The words of complaints about recipes: what a type, a value and a name are called, and what
people mean who come from elsewhere.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from encore import catalogue
from encore.errors import did_you_mean
from encore.recipe.located_yaml import escape_unprintable

__all__ = [
    "EXAMPLES",
    "MEANT",
    "SYNONYMS",
    "all_known",
    "describe_type",
    "format_given",
    "no_setting",
    "no_such",
    "remedy",
]

# What people type who come from elsewhere → the setting that they mean. A key that exists in
# another section is found without this table.
SYNONYMS = {
    "encoder": "backbone base_model checkpoint model model_id model_name model_name_or_path "
    "model_path pretrained pretrained_model",
    "precision": "amp autocast bf16 dtype fp16 fp32 half mixed_precision torch_dtype",
    "seed": "random_seed random_state rng_seed",
    "threads": "cpu_threads n_threads num_threads",
    "task": "dataset dataset_name task_name",
    "source": "paper reference",
    "expect": "expected targets_metrics",
    "pooling": "aggregation pool pooler pooling_mode",
    "head": "classifier heads",
    "losses": "criterion loss loss_fn objective",
    "metrics": "eval_metrics metric metric_for_best_model scores",
    "max_length": "block_size max_len max_seq_len max_seq_length max_tokens maximum_length maxlen "
    "model_max_length seq_len sequence_length",
    "truncation": "truncate truncation_side truncation_strategy",
    "class_weights": "class_weight label_weights weights",
    "sampling": "balance balanced oversample sampler",
    "head.dropout": (
        "classifier_dropout dropout dropout_prob dropout_rate head_dropout hidden_dropout p_dropout"
    ),
    "data.train": "train_data train_dataset train_file train_path training training_file",
    "data.dev": "dev_file dev_path eval_file eval_path val valid validation validation_file",
    "data.test": "test_data test_file test_path",
    "data.text": "inputs sentence sentence1 text_a text_column text_col texts",
    "data.text_pair": "sentence2 text2 text_b text_pair_column",
    "data.label": "label_col label_column target target_column targets y",
    "data.labels": "class_names classes id2label label_names",
    "data.kind": "problem_type task_kind task_type type",
    "data.dev_frac": "dev_size test_size val_frac val_size validation_frac validation_split",
    "data.train_rows": "max_train_samples max_train_rows n_train train_samples",
    "data.dev_rows": "dev_samples max_dev_rows max_eval_samples n_dev",
    "data.delimiter": "delim sep separator",
    "plan.epochs": "epoch max_epochs n_epochs num_epochs num_train_epochs",
    "plan.lr": "learn_rate learning_rate learningrate lr_rate max_lr rate",
    "plan.batch_size": "batch batchsize bs bsz per_device_train_batch_size train_batch_size",
    "plan.micro_batch": "gradient_accumulation_steps micro_batch_size microbatch",
    "plan.warmup_frac": (
        "warm_up warmup warmup_fraction warmup_proportion warmup_ratio warmup_steps"
    ),
    "sharing": "architecture share",
    "pair": "pair_mode pairing",
    "same_as": "head_of share_head",
    "plan.mixing": "batching mix sampling_strategy schedule_tasks task_sampling",
    "plan.combine": "grad_combine gradient_surgery pcgrad",
    "plan.curve": "lr_schedule lr_scheduler lr_scheduler_type schedule scheduler",
    "plan.weight_decay": "decay l2 wd weightdecay",
    "plan.clip_norm": "clip clip_grad_norm gradient_clip_val grad_clip max_grad_norm",
    "plan.keep": "load_best_model_at_end save_best",
    "plan.early_stopping": "early_stop early_stopping_patience patience",
}
MEANT = {word: setting for setting, words in SYNONYMS.items() for word in words.split()}
MEANT["batch_size"] = (
    # a key of tasks too, which is not what is meant where it is written as an option
    "plan.batch_size"
)

# Words that people put where one of ours is expected.
_VALUES_MEANT = {
    "float32": "fp32",
    "32": "fp32",
    "full": "fp32",
    "bfloat16": "bf16",
    "float16": "bf16",
    "fp16": "bf16",
    "16": "bf16",
    "mixed": "bf16",
    "classification": "multiclass",
    "multi_class": "multiclass",
    "multi-class": "multiclass",
    "multi_label": "multilabel",
    "multi-label": "multilabel",
    "regress": "regression",
    "final": "last",
    "latest": "last",
    "right": "head",
    "left": "tail",
    "longest_first": "head",
    "middle": "head_tail",
}

_NAMES_MEANT = {
    "acc": "accuracy",
    "matthews": "mcc",
    "matthews_correlation": "mcc",
    "matthews_corrcoef": "mcc",
    "f1_macro": "macro_f1",
    "f1_micro": "micro_f1",
    "f1_score": "f1",
    "pearsonr": "pearson",
    "correlation": "pearson",
    "spearmanr": "spearman",
    "exact_match": "subset_accuracy",
    "logloss": "log_loss",
    "ce": "cross_entropy",
    "crossentropy": "cross_entropy",
    "cross_entropy_loss": "cross_entropy",
    "softmax": "cross_entropy",
    "bce": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy",
    "mse_loss": "mse",
    "l2": "mse",
    "mean_squared_error": "mse",
    "avg": "mean",
    "average": "mean",
    "multi": "one",
    "multi_bert": "one",
    "triple": "separate",
    "triple_bert": "separate",
    "cerbertus": "branch",
    "bi_encoder": "siamese",
    "cross_encoder": "cross",
    "random": "even",
    "shuffled": "even",
    "sequential": "task_by_task",
    "mean_pooling": "mean",
    "cls_token": "cls",
    "first": "cls",
    "finetune": "fine_tune",
    "fine-tune": "fine_tune",
    "classification": "linear",
}


def describe_type(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """A type in the words of somebody who edits a recipe.

    >>> describe(Annotated[int, Field(ge=1)] | None)
    'a whole number of at least 1 or null'
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        metadata = [part for extra in arguments[1:] for part in getattr(extra, "metadata", [extra])]
        return describe_type(arguments[0], metadata)
    if origin in (typing.Union, types.UnionType):
        choices = sorted(arguments, key=lambda choice: choice is types.NoneType)
        return " or ".join(describe_type(choice, bounds) for choice in choices)
    if origin is Literal:
        return (
            f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
        )
    if annotation in (int, float):
        limits = [
            f"{word} {_number(getattr(bound, name))}"
            for bound in bounds
            for name, word in _LIMITS.items()
            if getattr(bound, name, None) is not None
        ]
        kind = "a whole number" if annotation is int else "a number"
        middle = " of " if limits and limits[0].startswith("at") else " "
        return kind + (middle + " and ".join(limits) if limits else "")
    if origin in (list, tuple, Sequence) or annotation in (list, tuple):
        of = (
            typing.get_args(arguments[0])
            if arguments and typing.get_origin(arguments[0]) is Literal
            else ()
        )
        return f"a list of {', '.join(map(str, of))}" if of else "a list"
    if origin in (dict, Mapping) or annotation in (dict, Mapping):
        return "a mapping"
    words = {
        bool: "true or false",
        str: "text",
        types.NoneType: "null",
        None: "null",
        Any: "a value",
    }
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def format_given(value: Any) -> str:
    """A value as the recipe's author would recognise it, in at most 60 characters.

    >>> shown("five"), shown(None), shown([1, 2]), shown({"a": 1})
    ("'five'", 'nothing', 'the list [1, 2]', 'the mapping {a: 1}')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "an empty text" if not value else f"'{_cut(escape_unprintable(value))}'"
    if isinstance(value, (list, tuple)):
        return (
            f"the list [{_cut(', '.join(escape_unprintable(str(item)) for item in value))}]"
            if value
            else "an empty list"
        )
    if isinstance(value, Mapping):
        entries = ", ".join(
            f"{escape_unprintable(str(key))}: {escape_unprintable(str(entry))}"
            for key, entry in value.items()
        )
        return f"the mapping {{{_cut(entries)}}}" if value else "an empty mapping"
    return _cut(_number(value))


def _number(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to print an integer of more than 4,300 digits
        return "a number of thousands of digits"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def remedy(got: Any, expected: str) -> str:
    """What to write instead, where that is plain."""
    if isinstance(got, bool) and "or null" in expected and not got:
        return " Write null to switch it off."
    if isinstance(got, float) and "whole number" in expected and got.is_integer():
        return f" Write {int(got)}."
    if "one of" in expected or expected in ("balanced", "balanced or null"):
        words = expected.removeprefix("one of ").removesuffix(" or null").split(", ")
        word = str(got).lower()
        near = _VALUES_MEANT.get(word) or next(
            iter(difflib.get_close_matches(word, words, n=1, cutoff=0.5)), None
        )
        return f" Did you mean '{near}'?" if near in words else ""
    if not isinstance(got, str):
        return (
            " Put it in quotes if it is text."
            if expected.startswith("text") and isinstance(got, (bool, int, float))
            else ""
        )
    if expected == "true or false" and got.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f" Write {'true' if got.lower() in ('yes', 'on', 'y') else 'false'}."
    if "null" in expected and got.lower() in ("none", "nan", "off", "no", "n/a"):
        return " Write null."
    if "number" in expected and re.fullmatch(r"[-+]?[0-9][0-9,_ ]*(\.[0-9]+)?", got):
        return f" Write {re.sub('[,_ ]', '', got)}."
    if "number" in expected and re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", got):
        return f" Write {float(got.rstrip('% ')) / 100:g}."
    return ""


def all_known(known: Sequence[str]) -> str:
    return f"Known: {', '.join(sorted(known))}."


def no_such(kind: str, name: str) -> str:
    known = catalogue.names(kind)
    meant = _NAMES_MEANT.get(name.lower())
    suggestion = (
        f"Did you mean '{meant}'? {all_known(known)}"
        if meant in known
        else did_you_mean(name, known)
    )
    return f"no {catalogue.SINGULAR[kind]} called {format_given(name)}. {suggestion}"


def no_setting(technique: str, key: str, accepted: Mapping[str, Any]) -> str:
    return (
        f"{technique} has no setting {format_given(key)}. {did_you_mean(key, list(accepted))}"
        if accepted
        else f"{technique} takes no settings, got {format_given(key)}."
    )


EXAMPLES = {
    "tasks": "{reviews: {data: {train: reviews.csv}}}",
    "data": "{train: reviews.csv, text: review, label: stars}",
    "plan": "{epochs: 4, lr: 5e-5}",
    "expect": "{sst5.accuracy: 0.52}",
    "losses": "{task: cross_entropy}",
    "task": "rte",
}
