"""Suggestions: our names of settings that other libraries name otherwise, and what to write instead
of a value that does not fit.
"""

from __future__ import annotations

import difflib
import re
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["EXAMPLES", "MEANT", "SYNONYMS", "suggest"]

# What people type who come from elsewhere → the setting that they mean. A key that exists in
# another section is found without this table.
SYNONYMS = {
    "encoder": "backbone base_model checkpoint model model_id model_name model_name_or_path "
    "model_path pretrained pretrained_model",
    "precision": "amp autocast bf16 dtype fp16 fp32 half mixed_precision torch_dtype",
    "seed": "random_seed random_state rng_seed",
    "threads": "cpu_threads n_threads num_threads",
    "shares": "data_parallel n_processes nproc_per_node num_processes processes ranks world_size",
    "task": "dataset dataset_name task_name",
    "source": "paper reference",
    "expect": "expected targets_metrics",
    "pooling": "aggregation pool pooler pooling_mode",
    "head": "classifier heads",
    "losses": "criterion loss loss_fn objective",
    "decision": "calibrate calibration decision_threshold threshold",
    "metrics": "eval_metrics metric metric_for_best_model scores",
    "max_length": "block_size max_len max_seq_len max_seq_length max_tokens maximum_length maxlen "
    "model_max_length seq_len sequence_length",
    "truncation": "truncate truncation_side truncation_strategy",
    "class_weights": "class_weight label_weights weights",
    "sampling": "balance balanced oversample sampler",
    "head.dropout": ("classifier_dropout dropout dropout_prob dropout_rate head_dropout p_dropout"),
    "data.train": "train_data train_dataset train_file train_path training training_file",
    "data.dev": "dev_file dev_path eval_file eval_path val valid validation validation_file",
    "data.test": "test_data test_file test_path",
    "data.text": "inputs sentence sentence1 text_a text_column text_col texts",
    "data.text_pair": "sentence2 text2 text_b text_pair_column",
    "data.negative": "hard_negative hard_negatives negatives text_negative",
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
    "adapter": "adapters adapter_config peft peft_config",
    "sharing": "architecture share",
    "pair": "pair_mode pairing",
    "same_as": "head_of share_head",
    "plan.mixing": "batching mix sampling_strategy schedule_tasks task_sampling",
    "plan.combine": "grad_combine gradient_surgery pcgrad",
    "plan.average": "averaging ema swa model_averaging weight_averaging use_ema",
    "plan.curve": "lr_schedule lr_scheduler lr_scheduler_type schedule scheduler",
    "plan.weight_decay": "decay l2 wd weightdecay",
    "plan.optimiser": "optim optimizer adamw",
    "plan.layer_decay": "layerwise_lr_decay llrd layer_lr_decay lr_layer_decay",
    "plan.head_multiplier": "head_lr_multiplier head_rate classifier_lr_multiplier",
    "plan.embedding_lr": "embed_lr embeddings_lr",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob attn_dropout",
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


def suggest(got: Any, annotation: Any) -> str:
    """The remedy for a value that does not fit its type, "" where there is no telling.

    >>> suggest("10%", float), suggest(3.0, int), suggest("none", float | None)
    ('Write 0.1.', 'Write 3.', 'Write null.')
    """
    types_ = _alternatives(annotation)
    words = [str(word) for one in types_ if get_origin(one) is Literal for word in get_args(one)]
    null, number = NoneType in types_, int in types_ or float in types_
    if got is False and null:
        return "Write null to switch it off."
    if isinstance(got, float) and int in types_ and got.is_integer():
        return f"Write {int(got)}."
    if words:
        word = str(got).lower()
        close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
        near = _VALUES_MEANT.get(word) or next(iter(close), None)
        return f"Did you mean '{near}'?" if near in words else ""
    if not isinstance(got, str):
        text = str in types_ and isinstance(got, (bool, int, float))
        return "Put it in quotes if it is text." if text else ""
    return _suggest_for_text(got, null=null, number=number, truth=bool in types_)


def _suggest_for_text(got: str, *, null: bool, number: bool, truth: bool) -> str:
    word = got.lower()
    if truth and word in ("yes", "no", "on", "off", "y", "n"):
        return f"Write {'true' if word in ('yes', 'on', 'y') else 'false'}."
    if null and word in ("none", "nan", "off", "no", "n/a"):
        return "Write null."
    if number and re.fullmatch(r"[-+]?[0-9][0-9,_ ]*(\.[0-9]+)?", got):
        return f"Write {re.sub('[,_ ]', '', got)}."
    if number and re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", got):
        return f"Write {float(got.rstrip('% ')) / 100:g}."
    return ""


def _alternatives(annotation: Any) -> list[Any]:
    """The types that a value may have: of a union each, ranges left out."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [one for part in get_args(annotation) for one in _alternatives(part)]
    return [annotation]


EXAMPLES = {
    "tasks": "{reviews: {data: {train: reviews.csv}}}",
    "data": "{train: reviews.csv, text: review, label: stars}",
    "plan": "{epochs: 4, lr: 5e-5}",
    "expect": "{sst5.accuracy: 0.52}",
    "losses": "{task: cross_entropy}",
    "task": "rte",
    "decision": "{thresholds: f1, abstain: {accuracy: 0.95}}",
}
