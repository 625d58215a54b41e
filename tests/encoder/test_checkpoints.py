"""From a folder as transformers writes it, tokenizer and all, to hidden states: the same texts in,
the same numbers out, and a run of each family.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Tables
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.testing import assert_close

import encore
from encore.data.batches import collate
from encore.data.token_store import tokenize
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.runs.folder import read_scores

transformers = pytest.importorskip(
    "transformers", reason="transformers, the reference, is not installed"
)

TEXTS = [
    "The zip broke after a week.",
    "Great!",
    "",
    "Ärger über naïve Überraschungen 🙂, and  more ",
    "word it " * 70,
]
OTHERS = ["Is it far?", "the lamp " * 30, "it came", "", "great"]
WORDS = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "initializer_range": 0.3,
}
ROBERTA = {
    **WORDS,
    "type_vocab_size": 1,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
# name → (tokenizer, configuration, class it is saved as, default pooling, special tokens of a text
# and of a pair)
KINDS: dict[str, tuple[str, dict[str, Any], str, str, tuple[int, int]]] = {
    "bert": ("wordpiece", {**WORDS, "max_position_embeddings": 64}, "BertModel", "pooler", (2, 3)),
    "roberta": ("bytes", ROBERTA, "RobertaForMaskedLM", "cls", (2, 4)),
    "roberta with a pooler": ("bytes", ROBERTA, "RobertaModel", "cls", (2, 4)),
    "xlm-roberta": (
        "sentence pieces",
        ROBERTA,
        "XLMRobertaForSequenceClassification",
        "cls",
        (2, 4),
    ),
    "distilbert": (
        "wordpiece",
        {
            "dim": 24,
            "hidden_dim": 40,
            "n_layers": 2,
            "n_heads": 3,
            "initializer_range": 0.3,
            "max_position_embeddings": 64,
        },
        "DistilBertForMaskedLM",
        "cls",
        (2, 3),
    ),
    "electra": (
        "wordpiece",
        {**WORDS, "embedding_size": 10, "max_position_embeddings": 64},
        "ElectraForPreTraining",
        "cls",
        (2, 3),
    ),
}


def tokenizer_of(kind: str) -> Tokenizer:
    """Trained on a few sentences, with the family's own template."""
    if kind == "wordpiece":
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.train_from_iterator(
            TEXTS + OTHERS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
        )
        backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        return backend
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    if kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        backend.train_from_iterator(
            TEXTS + OTHERS,
            trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet),
        )
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        return backend
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(
        TEXTS + OTHERS,
        trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>"),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return backend


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`folder(kind)`: model.safetensors, config.json and tokenizer.json, made once."""
    made: dict[str, Path] = {}

    def build(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("checkpoint") / kind.replace(" ", "-")
            tokenizer, config, saved_as, _, _ = KINDS[kind]
            backend = tokenizer_of(tokenizer)
            torch.manual_seed(5)
            family = getattr(transformers, saved_as)
            family(
                family.config_class(**config, vocab_size=backend.get_vocab_size())
            ).save_pretrained(made[kind])
            backend.save(str(made[kind] / "tokenizer.json"))
        return made[kind]

    return build


def transformers_tokenizer(folder: Path, kind: str) -> Any:
    pad = "[PAD]" if KINDS[kind][0] == "wordpiece" else "<pad>"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token=pad
    )
    tokenizer.model_input_names = [
        "input_ids",
        "attention_mask",
        *(["token_type_ids"] if kind in ("bert", "electra") else []),
    ]
    return tokenizer


@pytest.mark.parametrize("pairs", [None, OTHERS], ids=["single", "pairs"])
@pytest.mark.parametrize("kind", KINDS)
def test_text_to_states_as_in_transformers(kind: str, pairs: list[str] | None, folder) -> None:
    where = folder(kind)
    source = load.locate(str(where))
    assert source.default_pooling == KINDS[kind][3], source.why
    tokenizer, made = TextTokenizer(where), load.load_encoder(source)
    assert (tokenizer.n_special(False), tokenizer.n_special(True)) == KINDS[kind][4]
    assert made.shape.n_positions == 64
    store = tokenize(tokenizer, TEXTS, pairs, max_length=64, truncation="head")
    assert store.cut[4]
    given = transformers_tokenizer(where, kind)(
        TEXTS, pairs, padding=True, truncation="longest_first", max_length=64, return_tensors="pt"
    )
    real = given["attention_mask"].bool()
    assert np.array_equal(given["input_ids"][real].numpy(), store.ids)
    theirs = transformers.AutoModel.from_pretrained(where, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = theirs(**given, output_hidden_states=True).hidden_states
        states = made.encoder.eval()(collate(store, np.arange(len(TEXTS)))).states
    assert len(states) == len(expected) == 3
    for ours, other in zip(states, expected, strict=True):
        assert_close(ours, other[real], atol=1e-5, rtol=0)
    assert (states[-1][: int(store.offsets[1])] - states[-1][0]).norm() > 0.1, (
        "alike, or anything could pass"
    )


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("bert", "roberta with a pooler")]
)
@pytest.mark.parametrize("truncation", ["tail", "head_tail"])
def test_the_longest_row_fits_however_it_is_cut(kind: str, truncation: Any, folder) -> None:
    """All positions are used, and the special tokens stay: RoBERTa's template takes one more of a
    pair than BERT's.
    """
    tokenizer, made = TextTokenizer(folder(kind)), load.load_encoder(load.locate(str(folder(kind))))
    long = ["the zip broke " * 40]
    for pairs in (None, ["is it far " * 40]):
        store = tokenize(
            tokenizer, long, pairs, max_length=made.shape.n_positions, truncation=truncation
        )
        assert store.lengths.tolist() == [made.shape.n_positions]
        whole = tokenizer.backend.encode(long[0], None if pairs is None else pairs[0])
        special = [
            number
            for number, owner in zip(whole.ids, whole.sequence_ids, strict=True)
            if owner is None
        ]
        inside = {
            number
            for number, owner in zip(whole.ids, whole.sequence_ids, strict=True)
            if owner is not None
        }
        assert [number for number in store.ids.tolist() if number not in inside] == special
        assert made.encoder(collate(store, np.arange(1))).states[-1].isfinite().all()


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "distilbert", "electra"])
def test_a_run_of_each_family(kind: str, folder, tables: Tables, tmp_path: Path) -> None:
    """Pairs, in bf16; the saved model gives the stored scores, and words are whole."""
    torch.set_num_threads(1)
    recipe = tables.recipe(
        f"encoder={folder(kind)}",
        "plan.epochs=1",
        "pooling={name: mha, n_heads: 3}",
        "precision=bf16",
        text_pair="other",
    )
    done = encore.fit(recipe, runs=tmp_path)
    model = encore.load(done.folder)
    assert np.array_equal(
        model.scores(model.read(tables.dev, with_labels=True)),
        read_scores(done.folder, "train", "dev", 1),
    )
    words = list(
        itertools.chain.from_iterable(
            side.words for side in model.explain([("the lamp is great", "the kettle")])[0].texts
        )
    )
    assert [word.word for word in words] == ["the", "lamp", "is", "great", "the", "kettle"]
    assert json.loads((done.folder / "model" / "config.json").read_text())["model_type"] == KINDS[
        kind
    ][2].split("For")[0].lower().replace("xlmr", "xlm-r")
