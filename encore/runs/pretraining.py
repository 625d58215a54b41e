"""Prepares pre-training: surveys the texts, checks the encoder, and computes the folder's name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from encore import catalogue, files
from encore.data.masking import Masking, Symbols
from encore.data.named import task_names
from encore.data.texts import TextFile, open_task_texts, open_texts
from encore.data.tokenizer import TextTokenizer
from encore.data.tokenizer_roles import special_roles
from encore.encoder import load
from encore.encoder.dropout_rates import with_dropout
from encore.encoder.language_head import head_names
from encore.errors import (
    Complaints,
    DataError,
    Problem,
    RecipeError,
    did_you_mean,
    format_given,
)
from encore.recipe.pretraining import PretrainRecipe, SizeRecipe, TextsRecipe
from encore.recipe.write import changed, resolved
from encore.runs.hardware import cores, precision_of
from encore.runs.identity import RESULTS_VERSION
from encore.types import Phase

__all__ = [
    "PreparedPretraining",
    "masking_of",
    "phase_of",
    "prepare_pretraining",
    "size_config",
    "with_rates",
]

_NO_PART = ("source", "claim", "fine_tune")  # change none of the encoder's bits
_LR, _SCRATCH_LR = 5e-5, 5e-4  # where a recipe names none: GEN's, and one for small encoders


@dataclass(frozen=True)
class PreparedPretraining:
    """Pre-training that can start. source: the checkpoint, None from scratch; vocabulary: the
    tokenizer that is used from scratch, None where one is trained. spec: what the name is a hash
    of, with every setting.
    """

    recipe: PretrainRecipe
    texts: tuple[TextFile, ...]
    source: load.Source | None
    vocabulary: load.Source | None
    precision: str
    threads: int
    device: str
    spec: Mapping[str, Any]
    name: str


def prepare_pretraining(recipe: PretrainRecipe) -> PreparedPretraining:
    """Survey and check; nothing is tokenized and no weights are loaded. Raises RecipeError or
    DataError with all problems.
    """
    complaints = Complaints()
    texts: list[TextFile] = []
    for number, each in enumerate(recipe.texts):
        with complaints.collecting():
            texts.append(_opened(recipe, each, number))
    source = vocabulary = None
    with complaints.collecting():
        if recipe.size is None:
            source = _checkpoint(recipe)
        elif isinstance(recipe.vocabulary, str):
            vocabulary = load.locate(recipe.vocabulary, base=recipe.base)
    complaints.raise_any()
    if recipe.plan.lr is None:
        lr = _LR if recipe.size is None else _SCRATCH_LR
        recipe = recipe.with_lr(lr)
    precision, threads = precision_of(recipe.precision), recipe.threads or cores()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    beside = {
        "texts": [{"sha256": each.digest, "columns": list(each.columns)} for each in texts],
        "encoder": None if source is None else source.digest,
        "vocabulary": recipe.vocabulary if vocabulary is None else vocabulary.digest,
        "precision": precision,
        "threads": threads,
        "device": device,
        "results_version": RESULTS_VERSION,
    }
    identity = {k: v for k, v in changed(recipe).items() if k not in _NO_PART} | beside
    digest = hashlib.sha256(files.canonical(identity)).hexdigest()
    return PreparedPretraining(
        recipe,
        tuple(texts),
        source,
        vocabulary,
        precision,
        threads,
        device,
        {k: v for k, v in resolved(recipe).items() if k not in _NO_PART} | beside,
        f"pretrain-{digest[:10]}",
    )


def _opened(recipe: PretrainRecipe, texts: TextsRecipe, number: int) -> TextFile:
    if texts.file is not None:
        return open_texts(recipe.path(texts.file), texts.columns)
    if texts.task not in task_names():
        message = f"no named task called {format_given(texts.task)}, and a file has an ending."
        problem = Problem(message=message, remedy=did_you_mean(str(texts.task), task_names()))
        raise RecipeError(recipe.problem(("texts", number), problem))
    return open_task_texts(str(texts.task))


def _checkpoint(recipe: PretrainRecipe) -> load.Source:
    """The encoder to begin with, checked against the settings. Raises RecipeError or DataError."""
    name = recipe.encoder or load.MINILM
    source = load.locate(name, base=recipe.base)
    try:
        head_names(source.config)
    except DataError as error:
        raise RecipeError(recipe.problem(("encoder",), one) for one in error.problems) from None
    shape = load.build_skeleton(source.config).shape
    if shape.n_positions is not None and recipe.max_length > shape.n_positions:
        expected = f"at most {shape.n_positions}, the positions of '{name}'"
        problem = Problem(expected=expected, got=str(recipe.max_length))
        raise RecipeError(recipe.problem(("max_length",), problem))
    return source


def with_rates(recipe: PretrainRecipe, source: load.Source) -> load.Source:
    """The checkpoint with the recipe's rates of dropout."""
    rates = {
        "hidden_dropout": recipe.hidden_dropout,
        "attention_dropout": recipe.attention_dropout,
    }
    given = {key: rate for key, rate in rates.items() if rate is not None}
    return replace(source, config=with_dropout(source.config, given))


def size_config(size: SizeRecipe) -> dict[str, Any]:
    """The settings of a config.json for an encoder from scratch, but for its vocabulary."""
    return {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.inner or 4 * size.width,
        "max_position_embeddings": size.positions,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
    }


def phase_of(recipe: PretrainRecipe, epochs: int) -> Phase:
    """The plan of a recipe as training takes it."""
    plan = recipe.plan
    assert plan.lr is not None
    return Phase(
        (),
        epochs,
        plan.lr,
        batch_size=plan.batch_size,
        curve=catalogue.build("curves", plan.curve, plan.warmup_frac),
        weight_decay=plan.weight_decay,
        clip_norm=plan.clip_norm,
        rates=plan.rates,
    )


def masking_of(recipe: PretrainRecipe, tokenizer: TextTokenizer) -> Masking:
    """The way in which tokens are hidden. Raises DataError where the tokenizer lacks what that
    needs, RecipeError where it does not tell words apart.
    """
    backend = tokenizer.backend
    roles = special_roles(backend, {})
    mask, padding = roles.get("mask_token"), roles.get("pad_token")
    if mask is None:
        message = (
            "the tokenizer has no [MASK] or <mask>, so this encoder cannot guess hidden words."
        )
        remedy = "Choose another encoder."
        raise DataError(Problem(where=str(tokenizer.file), message=message, remedy=remedy))
    vocabulary = backend.get_vocab()
    n_words = max(vocabulary.values()) + 1
    continues = torch.zeros(n_words, dtype=torch.bool).numpy()
    if recipe.masking == "words":
        for piece in _continuing(vocabulary, tokenizer):
            continues[vocabulary[piece]] = True
    special = {number for each in tokenizer.templates.values() for number in each.ids}
    special |= {vocabulary[word] for word in (mask, padding) if word is not None}
    symbols = Symbols(vocabulary[mask], n_words, frozenset(special), continues)
    return Masking(recipe.mask_rate, recipe.masking, symbols, recipe.compat)


def _continuing(vocabulary: Mapping[str, int], tokenizer: TextTokenizer) -> list[str]:
    """The pieces that never begin a word."""
    kind = type(tokenizer.backend.model).__name__
    if kind == "WordPiece":
        return [piece for piece in vocabulary if piece.startswith("##")]
    if kind == "Unigram":
        return [piece for piece in vocabulary if not piece.startswith("▁")]
    message = f"whole words are not known of a tokenizer of the kind {kind}."
    problem = Problem(setting="masking", message=message, remedy="Write masking: tokens.")
    raise RecipeError(problem)
