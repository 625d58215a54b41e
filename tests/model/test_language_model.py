"""The language model above an encoder, and the folders that it is written to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import VOCABULARY
from torch.testing import assert_close

from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.encoder.language_head import LanguageHead
from encore.encoder.word_table import WordTable
from encore.errors import DataError
from encore.model.encoder_folder import write_encoder, write_new_encoder
from encore.model.language_model import LanguageModel, load_language_model
from encore.types import Tokens

N_WORDS = 96
SIZES = {
    "vocab_size": N_WORDS,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 48,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": {**SIZES, "pad_token_id": 1, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "xlm-roberta": {**SIZES, "pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {
        "vocab_size": N_WORDS,
        "dim": 24,
        "hidden_dim": 40,
        "n_layers": 2,
        "n_heads": 3,
        "max_position_embeddings": 48,
    },
    "electra": {**SIZES, "embedding_size": 16},
    "modernbert": {
        **SIZES,
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
}


def tokens_of(lengths: tuple[int, ...], seed: int = 0) -> Tokens:
    ids = torch.from_numpy(np.random.default_rng(seed).integers(5, len(VOCABULARY), sum(lengths)))
    positions = torch.cat([torch.arange(length) for length in lengths])
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    return Tokens(ids, torch.zeros_like(ids), positions, offsets, lengths)


@pytest.fixture
def published(tmp_path: Path, tiny_encoder: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a masked language model of transformers, its weights random."""
    transformers = pytest.importorskip("transformers")
    kind = request.param
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind])
    torch.manual_seed(3)
    model = transformers.AutoModelForMaskedLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / kind)
    TextTokenizer(tiny_encoder).save(tmp_path / kind)
    return tmp_path / kind


@pytest.mark.parametrize("published", list(CONFIGS), indirect=True)
def test_scores_are_those_of_transformers_and_so_are_written_folders(
    published: Path, tmp_path: Path
) -> None:
    """Loaded here and in transformers; written here and loaded in both."""
    import transformers

    source = load.locate(str(published))
    model = load_language_model(source, seed=0).eval()
    tokens = tokens_of((7, 12))
    places = torch.tensor([1, 5, 7, 18])

    def theirs(folder: Path) -> torch.Tensor:
        reference = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
        rows = [
            reference(input_ids=part.unsqueeze(0)).logits[0]
            for part in tokens.ids.split(tokens.lengths)
        ]
        return torch.cat(rows)[places]

    with torch.no_grad():
        scores, follows = model(tokens, places)
        assert follows is None
        assert_close(scores, theirs(published), rtol=1e-4, atol=2e-5)
        for parameter in model.parameters():  # as training would change it
            parameter.mul_(1.01)
        expected, _ = model(tokens, places)
        written = tmp_path / "written"
        written.mkdir()
        write_encoder(written, model, source, TextTokenizer(published).backend)
        assert_close(theirs(written), expected, rtol=1e-4, atol=2e-5)
        again = load_language_model(load.locate(str(written)), seed=1).eval()
        assert_close(again(tokens, places)[0], expected, rtol=0, atol=0)


def test_an_untrained_uniform_head_loses_ln_of_the_vocabulary() -> None:
    """METHODS 6: ln 30,522 = 10.326."""
    head = LanguageHead(8, 8, 30_522, eps=1e-12, activation="gelu", biases=(True, True))
    torch.nn.init.zeros_(head.dense.weight)
    torch.nn.init.zeros_(head.dense.bias)
    words = WordTable(30_522, 8)
    torch.nn.init.normal_(words.weight, std=0.02)
    scores = head(torch.randn(5, 8), words)
    loss = torch.nn.functional.cross_entropy(scores, torch.arange(5))
    assert loss.item() == pytest.approx(math.log(30_522), abs=1e-6)
    assert loss.item() == pytest.approx(10.326, abs=1e-3)


def test_a_new_head_has_the_word_table_as_decoder_and_keeps_the_pooler(tiny_encoder: Path) -> None:
    source = load.locate(str(tiny_encoder))
    model = load_language_model(source, seed=5)
    assert float(model.head.dense.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert float(model.head.dense.bias.abs().max()) == 0
    names = [
        name
        for name, p in model.named_parameters()
        if p.shape[0] == len(VOCABULARY) and p.ndim == 2
    ]
    assert names == ["encoder.embed.word.weight"]  # no second one: it is tied
    original = load.load_encoder(source).shape.pooler
    assert model.pooler is not None
    assert original is not None
    assert_close(model.pooler.weight.data, original.weight.data, rtol=0, atol=0)
    assert not model.pooler.weight.requires_grad
    renewed = load_language_model(source, seed=5, new_pooler=True).pooler
    assert renewed is not None
    assert not torch.equal(renewed.weight, original.weight)
    same = load_language_model(source, seed=5).head.dense.weight
    other = load_language_model(source, seed=6).head.dense.weight
    assert torch.equal(model.head.dense.weight, same)
    assert not torch.equal(same, other)


def test_the_next_text_trains_pooler_and_two_scores(tiny_encoder: Path, tmp_path: Path) -> None:
    source = load.locate(str(tiny_encoder))
    model = load_language_model(source, seed=5, next_sentence=True).eval()
    tokens, second = tokens_of((7, 12, 9)), torch.tensor([0, 1, -100])
    scores, follows = model(tokens, torch.tensor([3]))
    assert follows is not None
    assert follows.shape == (3, 2)
    missed, right, other = model.loss(tokens, torch.tensor([3]), tokens.ids[3:4], second)
    expected = -follows.log_softmax(1)[[0, 1], [0, 1]].sum()
    assert_close(other, expected)
    assert float(missed) == pytest.approx(-float(scores.log_softmax(1)[0, tokens.ids[3]]), rel=1e-5)
    assert int(right) == int(scores.argmax() == tokens.ids[3])
    other.backward()
    assert model.pooler is not None
    assert float(model.pooler.weight.grad.norm()) > 0  # type: ignore[union-attr]
    write_encoder(tmp_path, model, source, TextTokenizer(tiny_encoder).backend)
    again = load_language_model(load.locate(str(tmp_path)), seed=9, next_sentence=True)
    assert again.follows is not None
    assert model.follows is not None
    assert torch.equal(again.follows.weight, model.follows.weight)


def test_a_new_encoder_is_drawn_as_bert_is(tmp_path: Path, tiny_encoder: Path) -> None:
    backend = TextTokenizer(tiny_encoder).backend
    sizes = {key: size for key, size in SIZES.items() if key != "vocab_size"}
    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        folder.mkdir()
        write_new_encoder(folder, sizes, backend, seed)
    first, same, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert first == same != other
    source = load.locate(str(folders[0]))
    assert source.config["vocab_size"] == len(VOCABULARY)
    assert not source.has_pooler
    model = load_language_model(source, seed=1)
    assert isinstance(model, LanguageModel)
    assert float(model.encoder.embed.word.weight.std()) == pytest.approx(0.02, rel=0.05)  # type: ignore[union-attr, operator]
    block = model.encoder.blocks[0]
    assert float(block.qkv.weight.std()) == pytest.approx(0.02, rel=0.1)  # type: ignore[union-attr, operator]
    assert float(block.qkv.bias.abs().max()) == 0  # type: ignore[union-attr, operator]
    assert (block.output_norm.weight == 1).all()  # type: ignore[union-attr]


def test_half_a_head_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in tiny_encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tiny_encoder / "model.safetensors")
    tensors["cls.predictions.transform.dense.weight"] = torch.zeros(24, 24)
    save_file(tensors, tmp_path / "model.safetensors")
    message = (
        r"model.safetensors: tensor 'cls.predictions.bias' of the language model's head is missing"
    )
    with pytest.raises(DataError, match=message):
        load_language_model(load.locate(str(tmp_path)), seed=0)
