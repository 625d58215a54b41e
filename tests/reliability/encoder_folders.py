"""Small encoders of every family that Encore builds, two that it borrows from transformers, and
seeded ways of damaging their folders.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

WORDS = ("the", "lamp", "is", "great", "and", "my", "box", "was", "dull", *"abcdefghijklmnop")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
OWN = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "modernbert")
BORROWED = ("mpnet", "deberta-v2")  # built by transformers
FAMILIES = (*OWN, *BORROWED)
WIDTH, INNER, N_LAYERS, N_HEADS, N_POSITIONS, N_WORDS = 24, 40, 2, 3, 48, 400

SIZES = {
    "vocab_size": N_WORDS,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": N_HEADS,
    "max_position_embeddings": N_POSITIONS,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "pad_token_id": 0,
}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES | {"type_vocab_size": 1, "pad_token_id": 1},
    "xlm-roberta": SIZES | {"type_vocab_size": 1, "pad_token_id": 1},
    "electra": SIZES | {"embedding_size": 12},
    "distilbert": {
        "vocab_size": N_WORDS,
        "dim": WIDTH,
        "hidden_dim": INNER,
        "n_layers": N_LAYERS,
        "n_heads": N_HEADS,
        "max_position_embeddings": N_POSITIONS,
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
    },
    "modernbert": {
        "vocab_size": N_WORDS,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "max_position_embeddings": N_POSITIONS,
        "hidden_activation": "gelu",
        "norm_eps": 1e-5,
        "attention_dropout": 0.0,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
    },
    "mpnet": SIZES | {"pad_token_id": 1},
    "deberta-v2": SIZES
    | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
}


def _tensors(family: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Published name and shape of each tensor."""

    def dense(name: str, n_out: int, n_in: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (n_out, n_in)
        yield f"{name}.bias", (n_out,)

    def norm(name: str, width: int = WIDTH) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (width,)
        yield f"{name}.bias", (width,)

    if family == "modernbert":
        yield "embeddings.tok_embeddings.weight", (N_WORDS, WIDTH)
        yield "embeddings.norm.weight", (WIDTH,)
        yield "final_norm.weight", (WIDTH,)
        for layer in range(N_LAYERS):
            if layer:
                yield f"layers.{layer}.attn_norm.weight", (WIDTH,)
            yield f"layers.{layer}.mlp_norm.weight", (WIDTH,)
            yield f"layers.{layer}.attn.Wqkv.weight", (3 * WIDTH, WIDTH)
            yield f"layers.{layer}.attn.Wo.weight", (WIDTH, WIDTH)
            yield f"layers.{layer}.mlp.Wi.weight", (2 * INNER, WIDTH)
            yield f"layers.{layer}.mlp.Wo.weight", (WIDTH, INNER)
        return
    config = CONFIGS[family]
    width = config.get("embedding_size", WIDTH)
    yield "embeddings.word_embeddings.weight", (N_WORDS, width)
    yield "embeddings.position_embeddings.weight", (N_POSITIONS, width)
    yield from norm("embeddings.LayerNorm", width)
    if "type_vocab_size" in config:
        yield "embeddings.token_type_embeddings.weight", (config["type_vocab_size"], width)
    if width != WIDTH:
        yield from dense("embeddings_project", WIDTH, width)
    own = family == "distilbert"
    for layer in range(N_LAYERS):
        at = f"{'transformer.layer' if own else 'encoder.layer'}.{layer}"
        parts = ("q_lin", "k_lin", "v_lin") if own else ("self.query", "self.key", "self.value")
        for part in (*parts, "out_lin" if own else "output.dense"):
            yield from dense(f"{at}.attention.{part}", WIDTH, WIDTH)
        yield from norm(f"{at}.{'sa_layer_norm' if own else 'attention.output.LayerNorm'}")
        yield from dense(f"{at}.{'ffn.lin1' if own else 'intermediate.dense'}", INNER, WIDTH)
        yield from dense(f"{at}.{'ffn.lin2' if own else 'output.dense'}", WIDTH, INNER)
        yield from norm(f"{at}.{'output_layer_norm' if own else 'output.LayerNorm'}")


def _borrowed(family: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor of a family that transformers builds."""
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(family, **CONFIGS[family]))
    for name, value in model.state_dict().items():
        yield name, tuple(value.shape)


def _tokenizer(family: str) -> Tokenizer:
    """A tokenizer of the family's kind, trained on a few words."""
    special: Any
    if family in ("roberta", "modernbert"):
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        how = {"vocab_size": 320, "initial_alphabet": alphabet, "show_progress": False}
        made.train_from_iterator(WORDS, trainers.BpeTrainer(special_tokens=special, **how))
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    elif family == "xlm-roberta":
        pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        pieces += [(f"▁{word}", -float(place)) for place, word in enumerate(WORDS)]
        made = Tokenizer(models.Unigram(pieces, unk_id=3))
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", 0), ("</s>", 2)],
        )
    else:
        words = (*SPECIAL, *WORDS)
        made = Tokenizer(
            models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]")
        )
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def write_encoder(family: str, folder: Path) -> Path:
    """A sound encoder of random weights, with all files that Encore reads."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": family, **CONFIGS[family]}))
    draw = np.random.default_rng(3)
    weights = {
        name: np.ones(shape, np.float32)
        if name.endswith("orm.weight")
        else draw.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in (_borrowed(family) if family in BORROWED else _tensors(family))
    }
    save_file(weights, folder / "model.safetensors")
    _tokenizer(family).save(str(folder / "tokenizer.json"))
    if family in ("bert", "electra"):
        (folder / "vocab.txt").write_text("\n".join((*SPECIAL, *WORDS)) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


# ---------------------------------------------------------------------------------------- damage

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 10**6, 2**31, 2**32 - 1, 2**40, 2**63, 10**30),
    *(-0.5, 0.0, 1.0, 1.5, 1e308, float("nan"), float("inf"), "", "12", "a" * 5000, "\ud800"),
    *("\x1b[31m", [], [1, 2], [[]], {}, {"a": None}, ["full_attention"] * 3, "sliding_attention"),
)


def damage(folder: Path, draw: Random) -> str:
    """Damage one file of a sound folder; the description of what was done."""
    name, how = draw.choice(DAMAGES)
    return f"{name}: {how(folder, draw)}"


def _config(folder: Path, draw: Random) -> str:
    """A setting of config.json, also one that is not there, gets a value from the list."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    known = sorted({key for each in CONFIGS.values() for key in each})
    more = ("embedding_size", "layer_types", "rope_parameters", "num_labels", "is_decoder")
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        key = draw.choice(("model_type", *config, *config, *draw.sample(known, 3), *more))
        value = _value(config.get(key), draw)
        config[key] = value
        done.append(f"{key} = {str(value)[:40]!r}")
        if draw.random() < 0.15:
            del config[key]
            done[-1] = f"{key} removed"
    file.write_text(json.dumps(config))
    return ", ".join(done)


def _value(old: Any, draw: Random) -> Any:
    if isinstance(old, int) and not isinstance(old, bool) and draw.random() < 0.4:
        return draw.choice((old + 1, old - 1, old * 2, old * 1000, -old, float(old), str(old)))
    if isinstance(old, list) and old and draw.random() < 0.3:
        return old * draw.choice((2, 500))
    return draw.choice(HOSTILE)


def _inside(name: str) -> Callable[[Path, Random], str]:
    """A way to put values from the list somewhere into a JSON file."""

    def change(folder: Path, draw: Random) -> str:
        file = folder / name
        content = json.loads(file.read_text())
        place, path = content, [name]
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw.choice(keys)
            path.append(str(key))
            if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.25:
                break
            place = place[key]
        if draw.random() < 0.2:
            del place[key]
            path.append("removed")
        else:
            place[key] = _value(place[key], draw)
            path.append(f"= {str(place[key])[:40]!r}")
        file.write_text(json.dumps(content))
        return " ".join(path)

    return change


_TEXT = ("config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json")


def _raw(folder: Path, draw: Random) -> str:
    """The bytes of a JSON file."""
    file = folder / draw.choice(_TEXT)
    content = file.read_bytes()
    kind = draw.choice(("cut", "flip", "deep", "utf-16", "empty", "digits", "list", "spaces"))
    middle = draw.randrange(len(content))
    file.write_bytes(
        {
            "cut": content[:middle],
            "flip": content[:middle]
            + bytes([content[middle] ^ draw.randrange(1, 256)])
            + content[middle + 1 :],
            "deep": b'{"a":' * 200_000,
            "utf-16": content.decode().encode("utf-16"),
            "empty": b"",
            "digits": b'{"model_type": ' + b"9" * 5000 + b"}",
            "list": b"[" + content + b"]",
            "spaces": content + b" " * 1_000_000,
        }[kind]
    )
    return f"{file.name} {kind}"


def _no_file(folder: Path, draw: Random) -> str:
    """A FIFO, a device, a folder, a link to itself or a huge file in place of a file."""
    file = folder / draw.choice((*_TEXT, "model.safetensors"))
    kind = draw.choice(("fifo", "zero", "folder", "loop", "missing", "sparse", "tty"))
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "sparse":
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
    elif kind != "missing":
        file.symlink_to({"zero": "/dev/zero", "loop": file.name, "tty": "/dev/tty"}[kind])
    return f"{file.name} {kind}"


def _header(folder: Path, draw: Random) -> str:
    """Claims of the header of the weights: its length, dtypes, shapes, offsets and names."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if draw.random() < 0.15:
        claimed = draw.choice((0, 1, length - 1, length + 1, 10**8, 2**40, 2**64 - 1))
        file.write_bytes(struct.pack("<Q", claimed) + content[8:])
        return f"header of {claimed} bytes"
    name = draw.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    kind = draw.choice(("dtype", "shape", "offsets", "renamed", "layers", "removed", "both"))
    if kind == "dtype":
        entry["dtype"] = draw.choice(("F16", "F64", "I64", "I32", "BOOL", "F8_E4M3", "C64", "X", 3))
    elif kind in ("shape", "both"):
        shapes = ([], [0], [2**63], [2**40, 2**40], [-1], [1, *entry["shape"]], ["2"], [0, 2**60])
        entry["shape"] = draw.choice((*shapes, entry["shape"][::-1]))
        if kind == "both":
            entry["data_offsets"][1] = entry["data_offsets"][0]
    elif kind == "offsets":
        start, end = entry["data_offsets"]
        choices = ([start, end + 2**40], [end, start], [-1, end], [0, 0], [start + 4, end], None)
        entry["data_offsets"] = draw.choice(choices)
    elif kind == "layers":
        header = {
            key.replace(".1.", f".{draw.choice((2, 10**6, 10**30))}."): value
            for key, value in header.items()
        }
    else:
        taken = header.pop(name)
        if kind == "renamed":
            header[draw.choice(("x", "", "encoder.layer.9.output.dense.weight", "\x1b[2J"))] = taken
    packed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(packed)) + packed + data)
    return f"{name}: {kind}"


def _data(folder: Path, draw: Random) -> str:
    """The numbers of the weights: not finite, or too few, or too many."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    kind = draw.choice(("nan", "inf", "cut", "more"))
    if kind in ("nan", "inf"):
        place = 8 + length + 4 * draw.randrange((len(content) - 8 - length) // 4)
        content = content[:place] + struct.pack("<f", float(kind)) + content[place + 4 :]
    elif kind == "cut":
        content = content[: draw.randrange(len(content))]
    else:
        content += b"\0" * draw.choice((1, 4, 4096))
    file.write_bytes(content)
    return kind


def _trap(folder: Path, draw: Random) -> str:
    kind = draw.choice(TRAPS)
    trapped(folder, kind)
    return kind


TRAPS = (
    *("added", "backtracking", "doubling", "empty match", "growing", "ids", "nested", "nothing"),
    *("padding", "prefix", "scores", "special", "split", "template", "wide"),
)


def trapped(folder: Path, kind: str) -> None:
    """Parts of a tokenizer that are allowed, and take for ever or all memory."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())

    def replace(pattern: Any, by: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": by}

    def in_turn(*steps: Any) -> dict[str, Any]:
        return {"type": "Sequence", "normalizers": list(steps)}

    special = {"id": "X", "ids": [2**32 - 1], "tokens": ["X"]}
    traps: dict[str, tuple[str, Any]] = {
        "doubling": ("normalizer", in_turn(*[replace({"String": "k"}, "kk")] * 40)),
        "growing": ("normalizer", replace({"Regex": "."}, "b" * 10**7)),
        "backtracking": ("normalizer", replace({"Regex": "(x+x+)+y|(a|a)*$|(.*)*z"}, "")),
        "wide": ("normalizer", replace({"Regex": "(((a{1,900}){1,900}){1,900})b"}, "")),
        "nothing": ("normalizer", replace({"Regex": ".*"}, "")),
        "prefix": ("normalizer", {"type": "Prepend", "prepend": "z" * 10**7}),
        "empty match": ("normalizer", replace({"String": ""}, "ab")),
        "nested": ("normalizer", json.loads('{"type":"Sequence","normalizers":[' * 90 + "]}" * 90)),
        "split": (
            "pre_tokenizer",
            {
                "type": "Split",
                "pattern": {"Regex": "((a+)+)+$|(\\w+\\s?)+;"},
                "behavior": "Isolated",
                "invert": False,
            },
        ),
        "special": (
            "post_processor",
            {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "X", "type_id": 2**32 - 1}},
                    {"Sequence": {"id": "A", "type_id": 2**32 - 1}},
                ],
                "pair": [
                    {"Sequence": {"id": "A", "type_id": 7}},
                    {"Sequence": {"id": "B", "type_id": 9}},
                ],
                "special_tokens": {"X": special},
            },
        ),
        "template": (
            "post_processor",
            {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100_000,
                "pair": [],
                "special_tokens": {},
            },
        ),
        "padding": (
            "padding",
            {
                "strategy": {"Fixed": 10**12},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            },
        ),
        "added": (
            "added_tokens",
            [
                {
                    "id": 10**6 + number,
                    "content": f"a{number}",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": bool(number % 2),
                    "special": False,
                }
                for number in range(20_000)
            ],
        ),
    }
    if kind in traps:
        key, value = traps[kind]
        content[key] = value
    elif kind == "ids" and isinstance(content["model"].get("vocab"), dict):
        words = content["model"]["vocab"]
        content["model"]["vocab"] = {word: 2**32 - 1 - number for word, number in words.items()}
    else:
        content["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1e308]] * 1000}
    file.write_text(json.dumps(content))


DAMAGES: tuple[tuple[str, Callable[[Path, Random], str]], ...] = (
    ("config", _config),
    ("config", _config),
    ("config", _config),
    ("tokenizer", _inside("tokenizer.json")),
    ("tokenizer", _inside("tokenizer.json")),
    ("trap", _trap),
    ("tokenizer settings", _inside("tokenizer_config.json")),
    ("pooling settings", _inside("1_Pooling/config.json")),
    ("bytes", _raw),
    ("no file", _no_file),
    ("header", _header),
    ("header", _header),
    ("weights", _data),
)
