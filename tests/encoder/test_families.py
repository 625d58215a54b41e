"""Settings of config.json that are accepted or refused, and weight names of old checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from encore.encoder import load
from encore.encoder.families import bert, distilbert, electra, modernbert, roberta
from encore.errors import DataError

SIZES = {
    "vocab_size": 19,
    "hidden_size": 12,
    "intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}
OWN = {
    "vocab_size": 19,
    "dim": 12,
    "hidden_dim": 10,
    "n_layers": 2,
    "n_heads": 3,
}  # as DistilBERT calls them
FAMILIES = {
    "bert": bert,
    "distilbert": distilbert,
    "electra": electra,
    "modernbert": modernbert,
    "roberta": roberta,
}


SIZES_OF_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}


def problems(family: str, **changes: Any) -> tuple[str, ...]:
    config = {
        key: value
        for key, value in {**(OWN if family == "distilbert" else SIZES), **changes}.items()
        if value != "left out"
    }
    with pytest.raises(DataError) as caught:
        FAMILIES[family].build(config)
    assert all(
        "\n" not in problem and problem.startswith("config.json: ")
        for problem in caught.value.lines
    )
    return caught.value.lines


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        (
            "bert",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type 'relative_key'",
        ),
        (
            "bert",
            {"hidden_act": "geluu"},
            "Known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish",
        ),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"num_attention_heads": 5}, "cannot be split"),
        ("bert", {"vocab_size": "left out"}, "'vocab_size' is missing"),
        ("roberta", {"pad_token_id": 511}, "pad_token_id is 511; expected 0 to 510"),
        ("roberta", {"pad_token_id": None}, "pad_token_id is None"),
        (
            "roberta",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type 'relative_key'",
        ),
        ("distilbert", {"dim": "left out"}, "'dim' is missing"),
        ("distilbert", {"activation": "geluu"}, "activation 'geluu'"),
        ("distilbert", {"n_heads": 5}, "dim 12 cannot be split into n_heads 5"),
        ("electra", {"is_decoder": True}, "is_decoder"),
        ("electra", {"hidden_size": "left out"}, "'hidden_size' is missing"),
        ("modernbert", {"hidden_activation": "tanh"}, "hidden_activation 'tanh'"),
        ("modernbert", {"num_attention_heads": 4}, "not an even number"),
        ("modernbert", {"num_attention_heads": 5}, "not an even number"),
        ("modernbert", {"intermediate_size": "left out"}, "'intermediate_size' is missing"),
        ("modernbert", {"global_attn_every_n_layers": 0}, "expected 1 or more"),
        ("modernbert", {"local_attention": 0}, "local_attention is 0"),
        ("modernbert", {"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        (
            "modernbert",
            {"layer_types": ["full_attention"]},
            "names 1 layers, num_hidden_layers says 2",
        ),
        (
            "modernbert",
            {"layer_types": ["full_attention", "chunked_attention"]},
            "'chunked_attention'",
        ),
        (
            "modernbert",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 10.0}},
            "rope_parameters has 'rope_type'",
        ),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}},
            "asks for rope_type 'yarn'",
        ),
        (
            "modernbert",
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 9.0, "partial_rotary_factor": 0.5}
                }
            },
            "partial_rotary_factor",
        ),
        ("modernbert", {"global_rope_theta": None}, "rotary base"),
    ],
)
def test_what_a_family_cannot_express_is_refused(
    family: str, changes: dict[str, Any], said: str
) -> None:
    found = problems(family, **changes)
    assert len([problem for problem in found if said in problem]) == 1, found


def test_all_problems_come_at_once() -> None:
    assert (
        len(
            problems(
                "bert",
                hidden_act="x",
                is_decoder=True,
                num_attention_heads=5,
                position_embedding_type="y",
            )
        )
        == 4
    )
    assert len(problems("bert", hidden_size="left out", num_hidden_layers="left out")) == 2
    assert (
        len(
            problems(
                "modernbert",
                hidden_activation="x",
                rope_scaling={},
                num_attention_heads=5,
                layer_types=["y"],
            )
        )
        == 5
    )


def test_the_sizes_of_bert_base() -> None:
    """METHODS 0.4: 23,837,184 in the embeddings, 7,087,872 in each layer."""
    with torch.device("meta"):
        encoder = bert.build(
            {
                "vocab_size": 30522,
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
            }
        )
    assert sum(parameter.numel() for parameter in encoder.embed.parameters()) == 23_837_184
    assert [
        sum(parameter.numel() for parameter in block.parameters()) for block in encoder.blocks
    ] == [7_087_872] * 12


def test_the_sizes_of_modernbert_base() -> None:
    """50368·768 + 768 in the embeddings; 4·768² + 3·768·1152 + 2·768 in a block, 768 fewer in the
    first; 768 behind all: 149.0 M without the MLM head.
    """
    config = {
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
    }
    with torch.device("meta"):
        encoder = modernbert.build(config)
    block = 4 * 768**2 + 3 * 768 * 1152 + 2 * 768
    assert (
        sum(parameter.numel() for parameter in encoder.parameters())
        == 50368 * 768 + 768 + 22 * block - 768 + 768
    )
    assert [block.window for block in encoder.blocks] == [
        None if number % 3 == 0 else 128 for number in range(22)
    ]
    assert [block.theta for block in encoder.blocks] == [
        160_000.0 if number % 3 == 0 else 10_000.0 for number in range(22)
    ]


def test_old_and_new_words_for_the_same_modernbert() -> None:
    old = modernbert.build(
        {
            **SIZES,
            "num_hidden_layers": 4,
            "global_attn_every_n_layers": 2,
            "global_rope_theta": 7.0,
            "local_rope_theta": 5.0,
        }
    )
    kinds = {
        "full_attention": {"rope_type": "default", "rope_theta": 7.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5.0},
    }
    new = modernbert.build(
        {
            **SIZES,
            "num_hidden_layers": 4,
            "layer_types": ["full_attention", "sliding_attention"] * 2,
            "rope_parameters": kinds,
        }
    )
    assert (
        [(block.window, block.theta) for block in old.blocks]
        == [(block.window, block.theta) for block in new.blocks]
        == [(None, 7.0), (128, 5.0)] * 2
    )
    one_base = modernbert.build({**SIZES, "global_rope_theta": 7.0, "local_rope_theta": None})
    assert [block.theta for block in one_base.blocks] == [7.0, 7.0]


@pytest.mark.parametrize(
    "config",
    [
        {
            "model_type": "roberta",
            "vocab_size": 50265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "pad_token_id": 1,
            **SIZES_OF_BASE,
        },
        {
            "model_type": "xlm-roberta",
            "vocab_size": 250002,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "pad_token_id": 1,
            **SIZES_OF_BASE,
        },
        {
            "model_type": "distilbert",
            "vocab_size": 30522,
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
        },
        {
            "model_type": "electra",
            "vocab_size": 30522,
            "embedding_size": 128,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 12,
            "num_attention_heads": 4,
        },
        {"model_type": "electra", "vocab_size": 30522, "embedding_size": 768, **SIZES_OF_BASE},
    ],
    ids=lambda config: f"{config['model_type']} {config.get('hidden_size', config.get('dim'))}",
)
def test_as_many_weights_as_transformers(config: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config))
    own = {
        name: parameter.numel()
        for name, parameter in theirs.named_parameters()
        if not name.startswith("pooler.")
    }
    encoder = load.build_encoder(config)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == sum(own.values())
    assert encoder.shape.n_positions == 512
    assert encoder.shape.n_words == config["vocab_size"]


def bert_state() -> dict[str, torch.Tensor]:
    transformers = pytest.importorskip("transformers")
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(**SIZES, max_position_embeddings=11)
    )
    return dict(model.state_dict())


def test_prefixes_old_names_and_heads_of_bert() -> None:
    state = bert_state()
    expected, pooler = bert.from_huggingface(state)
    assert set(expected) == set(bert.build({**SIZES, "max_position_embeddings": 11}).state_dict())
    assert set(pooler) == {"weight", "bias"}
    assert torch.equal(pooler["weight"], state["bert.pooler.dense.weight"])
    aged = {key.removeprefix("bert."): value for key, value in state.items()}
    aged = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for key, value in aged.items()
    }
    aged |= {"embeddings.position_ids": torch.arange(11), "cls.predictions.bias": torch.zeros(19)}
    again, _ = bert.from_huggingface(aged)
    assert list(again) == list(expected)
    assert all(torch.equal(again[key], value) for key, value in expected.items())
    assert (
        bert.from_huggingface({key: value for key, value in state.items() if "pooler" not in key})[
            1
        ]
        == {}
    )


def test_prefixes_and_heads_of_modernbert() -> None:
    transformers = pytest.importorskip("transformers")
    ids = {
        "pad_token_id": 0,
        "bos_token_id": 1,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
    }
    model = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**SIZES, **ids))
    names = set(modernbert.build(SIZES).state_dict())
    assert set(modernbert.from_huggingface(model.state_dict())[0]) == names
    assert set(modernbert.from_huggingface(model.model.state_dict())[0]) == names


@pytest.mark.parametrize(
    ("family", "bare", "prefix", "heads"),
    [
        (
            "roberta",
            "RobertaModel",
            "roberta.",
            ("RobertaForMaskedLM", "RobertaForSequenceClassification"),
        ),
        (
            "roberta",
            "XLMRobertaModel",
            "roberta.",
            ("XLMRobertaForMaskedLM", "XLMRobertaForSequenceClassification"),
        ),
        ("roberta", "CamembertModel", "roberta.", ("CamembertForMaskedLM",)),
        (
            "distilbert",
            "DistilBertModel",
            "distilbert.",
            (
                "DistilBertForMaskedLM",
                "DistilBertForSequenceClassification",
                "DistilBertForQuestionAnswering",
            ),
        ),
        (
            "electra",
            "ElectraModel",
            "electra.",
            ("ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForSequenceClassification"),
        ),
    ],
)
def test_prefixes_old_names_and_heads(
    family: str, bare: str, prefix: str, heads: tuple[str, ...]
) -> None:
    transformers = pytest.importorskip("transformers")
    module = FAMILIES[family]
    layers, norm = (
        ("transformer.layer", "sa_layer_norm")
        if family == "distilbert"
        else ("encoder.layer", "attention.output.LayerNorm")
    )
    config = getattr(transformers, bare).config_class(**(OWN if family == "distilbert" else SIZES))
    expected = set(module.build(config.to_dict()).state_dict())
    for name in (bare, *heads):
        state = dict(getattr(transformers, name)(config).state_dict())
        aged = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): value
            for key, value in state.items()
        }
        base = "" if name == bare else prefix
        aged[f"{base}embeddings.position_ids"] = torch.arange(11)
        outer = (
            {f"discriminator.{key}": value for key, value in state.items()}
            if family == "electra"
            else state
        )
        for each in (state, aged, outer):
            ours, pooler = module.from_huggingface(each)
            assert set(ours) == expected
            assert set(pooler) == (
                {"weight", "bias"} if any("pooler" in key for key in state) else set()
            )
            assert torch.equal(
                ours["blocks.1.attention_norm.bias"], state[f"{base}{layers}.1.{norm}.bias"]
            )
        strange = {
            f"{base}{key}.weight": torch.zeros(2)
            for key in ("embeddings.extra", f"{layers}.0.adapter")
        }
        assert set(module.from_huggingface({**state, **strange})[0]) - expected == {
            key.removeprefix(base) for key in strange
        }
        if base:
            assert (
                "other.weight"
                in module.from_huggingface({**state, f"{base}other.weight": torch.zeros(2)})[0]
            )


@pytest.mark.parametrize(
    ("family", "behind_attention"),
    [("bert", 0.2), ("roberta", 0.2), ("electra", 0.2), ("distilbert", 0.0)],
)
def test_dropout_stands_where_the_family_has_it(family: str, behind_attention: float) -> None:
    """DistilBERT has none behind self-attention."""
    rates = (
        {"dropout": 0.2, "attention_dropout": 0.3}
        if family == "distilbert"
        else {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3}
    )
    encoder = FAMILIES[family].build({**(OWN if family == "distilbert" else SIZES), **rates})
    assert encoder.embed.dropout.p == 0.2
    for block in encoder.blocks:
        assert (
            block.attention_dropout,
            block.attention_norm.dropout,
            block.output_norm.dropout,
        ) == (0.3, behind_attention, 0.2)


def test_electra_s_words_are_as_wide_as_transformers_has_them_where_nothing_is_said() -> None:
    transformers = pytest.importorskip("transformers")
    embed = electra.build(SIZES).embed
    assert embed.word.weight.shape[1] == transformers.ElectraConfig().embedding_size == 128
    assert embed.project.weight.shape == (12, 128)


def test_what_has_no_place_is_handed_on_under_its_own_name() -> None:
    """So that the loader can say so: a tensor that is silently dropped is a model that is silently
    wrong.
    """
    state = bert_state()
    state["bert.encoder.layer.0.attention.self.distance_embedding.weight"] = torch.zeros(3, 4)
    del state["bert.encoder.layer.1.attention.self.key.weight"]
    state["bert.encoder.layer.0.attention.self.value.weight"] = torch.zeros(12, 5)
    ours, _ = bert.from_huggingface(state)
    assert "encoder.layer.0.attention.self.distance_embedding.weight" in ours
    assert not {"blocks.0.qkv.weight", "blocks.1.qkv.weight"} & set(ours)
    assert {f"encoder.layer.{layer}.attention.self.query.weight" for layer in (0, 1)} < set(ours)
    assert (
        "layers.0.attn.q_norm.weight"
        in modernbert.from_huggingface({"model.layers.0.attn.q_norm.weight": torch.zeros(4)})[0]
    )
