"""docs/images/architectures/*.svg: the architectures of the five papers, drawn from the models that
the recipes build: which states a pooling reads, what tasks share, where adapters stand, how large a
head's layers are.

    python docs/architectures.py            writes the pictures
    python docs/architectures.py --check    says whether they are up to date (exit code 1: not)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import nn

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.svg import Picture, height_of
from encore import catalogue
from encore.encoder import load
from encore.encoder.adapted import AdaptedResidual
from encore.encoder.encoder import Encoder, Frozen
from encore.model.parameters import unique_parameters
from encore.model.task_model import Branch
from encore.types import Encoded, Spec, Tokens

__all__ = ["PICTURES", "cells_read", "pictures", "segments", "shared_by"]

HERE = Path(__file__).resolve().parent
FOLDER, RECIPES = HERE / "images" / "architectures", HERE.parent / "recipes"
# As in tests/small_encoders.py: a document is drawn without the tests.
BERT_BASE = {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
TASKS = ("sst5", "quora", "sts")
WORDS = ("[CLS]", "a", "good", "film", "[SEP]")


@cache
def recipe(name: str) -> Mapping[str, Any]:
    """A recipe that comes with Encore, as plain data."""
    found: dict[str, Any] = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def skeleton() -> Encoder:
    """BERT-base without weights."""
    return cast(Encoder, load.build_skeleton(BERT_BASE))


def _pooling_of(spec: Spec) -> Any:
    with load.on_meta_device():
        return catalogue.build("pooling", spec, skeleton().shape)


# ---------------------------------------------------------------------------------------- poolings

# What a pooling does with what it reads, from the bottom up; {…} is an attribute of its settings.
STEPS: dict[str, tuple[tuple[str, str], ...]] = {
    "cls": (),
    "pooler": (("tanh(W·x + b), pretrained", "plain"),),
    "mean_max": (("mean and maximum over tokens,\nside by side", "plain"),),
    "attention": (("sum over tokens, each weighted\nby softmax(w·x)", "new"),),
    "max_cls": (("maximum of {k} layers", "plain"),),
    "mha": (("attention with {n_heads} heads:\n[CLS] asks all tokens", "new"),),
    "max_seq_mha": (
        ("maximum of {k} layers,\ntoken by token", "plain"),
        ("attention with {n_heads} heads:\n[CLS] asks all tokens", "new"),
    ),
}


def cells_read(spec: Spec) -> frozenset[tuple[int, int]]:
    """(layer, token) of every state of a row of five tokens that has a gradient from the pooling's
    vector. Layers count from 1; each maximum over layers is won by each of them somewhere.
    """
    n_layers, width, n_tokens = 12, 768, len(WORDS)
    draw = torch.Generator().manual_seed(0)
    states = [
        torch.randn(n_tokens, width, generator=draw, requires_grad=True)
        for _ in range(n_layers + 1)
    ]
    whole = torch.arange(n_tokens)
    tokens = Tokens(whole, torch.zeros_like(whole), whole, torch.tensor([0, n_tokens]), (n_tokens,))
    torch.manual_seed(0)
    pooling = catalogue.build("pooling", spec, skeleton().shape)
    vector = pooling(Encoded(tuple(states), tokens))
    found = torch.autograd.grad(vector.square().sum(), states, allow_unused=True)
    return frozenset(
        (layer, token)
        for layer, gradient in enumerate(found)
        if gradient is not None
        for token in range(n_tokens)
        if gradient[token].abs().sum() > 0
    )


def _poolings(about: str, panels: Mapping[str, Spec]) -> Picture:
    each = 252
    steps = {title: _steps(spec) for title, spec in panels.items()}
    tallest = max(sum(height_of(text) for text, _ in boxes) for boxes in steps.values())
    bottom = 166 + tallest
    picture = Picture(about, each * len(panels) + 16, bottom + 84)
    for number, (title, spec) in enumerate(panels.items()):
        _pooling(picture, 8 + number * each, bottom, title, spec)
    picture.legend(24, bottom + 70, ("read", "idle", "plain", "new"))
    return picture


def _steps(spec: Spec) -> list[tuple[str, str]]:
    said: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    steps = [(text.format(**said), kind) for text, kind in STEPS[said["name"]]]
    return [*steps, ("linear classifier", "new")]


def _pooling(picture: Picture, x: float, bottom: float, title: str, spec: Spec) -> None:
    pooling, read = _pooling_of(spec), cells_read(spec)
    lowest, size, left = 9, 36, x + 48
    for token, word in enumerate(WORDS):
        picture.label(left + size * token + 16, bottom + 40, word, "soft")
    picture.box(left, bottom, 5 * size - 4, 22, f"embeddings, layers 1 to {lowest - 1}")
    for layer in range(lowest, 13):
        y = bottom - 26 * (layer - lowest + 1)
        picture.label(left - 14, y + 15, str(layer), "soft")
        for token in range(len(WORDS)):
            kind = "read" if (layer, token) in read else "idle"
            picture.box(left + size * token, y, size - 4, 20, kind=kind)
    new = sum(parameter.numel() for parameter in pooling.parameters())
    new -= sum(parameter.numel() for parameter in pooling.pretrained())
    picture.stack(left - 14, bottom - 106, 204, _steps(spec))
    picture.label(left + 88, 22, title, "title")
    picture.label(left + 88, 40, f"vector of {pooling.width:,}; new weights: {new:,}", "soft")


def maxpoolbert() -> Picture:
    """MaxPoolBERT, Figure 2."""
    variants = recipe("maxpoolbert")["variants"]
    panels: dict[str, Spec] = {
        "Baseline": recipe("maxpoolbert")["pooling"],
        "Max_CLS": variants["max_cls"]["pooling"],
        "MHA": variants["mha"]["pooling"],
        "Max_Seq + MHA": variants["max_seq_mha"]["pooling"],
    }
    return _poolings("MaxPoolBERT: four ways from BERT's states to one vector", panels)


def rte() -> Picture:
    """RTE study, sections 2.1 to 2.3."""
    variants = recipe("rte_pooling")["variants"]
    panels: dict[str, Spec] = {
        "[CLS]": recipe("rte_pooling")["pooling"],
        "Mean and maximum": variants["mean_max"]["pooling"],
        "Attention": variants["attention"]["pooling"],
    }
    return _poolings("RTE study: three ways from BERT's states to one vector", panels)


# ----------------------------------------------------------------------------------------- sharing


@dataclass(frozen=True)
class Segment:
    """Consecutive modules of an encoder (0: embeddings, 1 to 12: layers) that the same tasks use.
    part: an object of its own for each.
    """

    part: int
    first: int
    last: int
    tasks: tuple[str, ...]
    frozen: bool

    @property
    def words(self) -> str:
        layers = f"layers {max(self.first, 1)} to {self.last}"
        return f"embeddings,\n{layers}" if self.first == 0 else layers


def shared_by(sharing: Spec) -> dict[str, list[Branch]]:
    """The branches of three tasks with BERT-base, without weights."""
    encoder = skeleton()
    with load.on_meta_device():
        branches = {
            task: Branch(encoder, catalogue.build("pooling", "pooler", encoder.shape))
            for task in TASKS
        }
        found: dict[str, list[Branch]] = catalogue.build("sharing", sharing)(
            branches, dict.fromkeys(TASKS, TASKS[0])
        )
    return found


def segments(models: Mapping[str, Iterable[Branch]]) -> dict[str, list[list[Segment]]]:
    """Each task's branches, each as its segments from the embeddings up."""
    paths: dict[str, list[tuple[list[int], bool]]] = {}
    users: dict[int, list[str]] = {}
    for task, branches in models.items():
        paths[task] = []
        for branch in branches:
            frozen = isinstance(branch.encoder, Frozen)
            encoder = cast(Encoder, branch.encoder.encoder if frozen else branch.encoder)  # type: ignore[union-attr]
            parts = [id(part) for part in (encoder.embed, *encoder.blocks)]
            paths[task].append((parts, frozen))
            for part in parts:
                users.setdefault(part, []).append(task)

    def cut(parts: list[int], frozen: bool) -> list[Segment]:
        starts = [n for n in range(len(parts)) if n == 0 or users[parts[n]] != users[parts[n - 1]]]
        ends = [*starts[1:], len(parts)]
        return [
            Segment(parts[start], start, end - 1, tuple(users[parts[start]]), frozen)
            for start, end in zip(starts, ends, strict=True)
        ]

    return {task: [cut(*path) for path in of_task] for task, of_task in paths.items()}


def serbertus() -> Picture:
    """SerBERTus, Figure 8."""
    variants = recipe("serbertus_architectures")["variants"]
    panels: dict[str, Spec] = {
        "Triple": variants["separate"]["sharing"],
        "Multi": recipe("serbertus_architectures")["sharing"],
        "CerBERTus(2)": variants["branch_2"]["sharing"],
        "Static": recipe("serbertus_static")["variants"]["static"]["sharing"],
        "Multi + triple": variants["multi_and_own"]["sharing"],
    }
    each, height, rows = (
        330,
        344,
        (("Triple", "Multi", "CerBERTus(2)"), ("Static", "Multi + triple")),
    )
    picture = Picture("SerBERTus: what three tasks share", 3 * each + 16, 2 * height + 32)
    for row, titles in enumerate(rows):
        width = 3 * each / len(titles)
        for number, title in enumerate(titles):
            inner = 100 * max(3, _n_leaves(panels[title]))
            left = 8 + number * width + (width - inner) / 2
            _sharing(picture, left, row * height, inner, title, panels[title])
    picture.legend(24, 2 * height + 14, ("shared", "own", "frozen"))
    return picture


def _n_leaves(sharing: Spec) -> int:
    paths = segments(shared_by(sharing))
    return len({branch[-1].part for of_task in paths.values() for branch in of_task})


def _sharing(picture: Picture, x: float, y: float, width: float, title: str, sharing: Spec) -> None:
    models = shared_by(sharing)
    paths = segments(models)
    every = [branch for of_task in paths.values() for branch in of_task]
    order = sorted(every, key=lambda branch: -len(branch[-1].tasks))  # what is shared comes first
    leaves = list(dict.fromkeys(branch[-1].part for branch in order))
    column, bottom, unit = width / len(leaves), y + 310, 13
    heads = {task: x + width * (n + 0.5) / len(TASKS) for n, task in enumerate(TASKS)}
    for part in {segment.part: segment for branch in every for segment in branch}.values():
        above = [leaves.index(one[-1].part) for one in every if part in one]
        left, right = x + column * min(above), x + column * (max(above) + 1)
        top = bottom - unit * (part.last + 1) - (0 if part.first == 0 else 6)
        kind = "frozen" if part.frozen else "shared" if len(part.tasks) > 1 else "own"
        size = unit * (part.last - part.first + 1)
        picture.box(left + 3, top, right - left - 6, size, part.words, kind)
    for task, of_task in paths.items():
        for branch in of_task:
            start = x + column * (leaves.index(branch[-1].part) + 0.5)
            top = bottom - unit * 13 - (0 if len(branch) == 1 else 6)
            picture.arrow((start, top), (heads[task], y + 92))
        picture.box(heads[task] - 32, y + 64, 64, 26, task, "own")
    n = sum(each.numel() for each in unique_parameters(_as_models(models)).values())
    picture.label(x + width / 2, y + 22, title, "title")
    picture.label(x + width / 2, y + 42, f"{n / 1e6:,.1f} million weights below the heads", "soft")


def _as_models(models: Mapping[str, Iterable[Branch]]) -> dict[str, nn.Module]:
    return {task: nn.ModuleList(branches) for task, branches in models.items()}


# ---------------------------------------------------------------------------------------- adapters


def _adapted_ends() -> list[bool]:
    """Of a layer's two sublayers, attention first: does an adapter stand at its end?"""
    with load.on_meta_device():
        adapted = catalogue.build("adapters", _adapter_name())(skeleton())
    block = cast(Any, adapted.blocks[0])
    return [isinstance(block.get_submodule(name), AdaptedResidual) for name in block.residuals]


def _adapter_name() -> Spec:
    found: Spec = recipe("adapterfusion_table1")["variants"]["adapters"]["adapter"]
    return found


def adapterfusion() -> Picture:
    """AdapterFusion, Figures 1 to 4, and the sequences of section 3.1.1."""
    picture = Picture(
        "AdapterFusion: heads for pairs, an adapter in a layer, fusion of adapters, sequences",
        1180, 430,
    )  # fmt: skip
    given = recipe("adapterfusion_table1")
    tasks = {name: task for each in given["each"]["tasks"] for name, task in each.items()}
    threshold = catalogue.build("heads", tasks["quora"]["head"], 768, 2).threshold
    similar = catalogue.build("heads", tasks["sts"]["head"], 768, 1)
    cosine = "max(0, cos(u, v))" if similar.clamp else "cos(u, v)"
    _siamese(picture, 16, "Paraphrase", "cos(u, v)", f"above {threshold:g}: a paraphrase")
    _siamese(picture, 236, "Similarity", cosine, f"{similar.scale:g} × cosine")
    _layer(picture, 460)
    _fusion(picture, 680, len(given["variants"]["fusion_of_all"]["adapter"]["of"]))
    _sequence(picture, 944, given["variants"], list(tasks))
    picture.legend(24, 416, ("frozen", "new", "plain", "shared", "own"))
    return picture


def _siamese(picture: Picture, x: float, title: str, cosine: str, answer: str) -> None:
    for number, side in enumerate(("u", "v")):
        left = x + 104 * number
        picture.label(left + 46, 366, f"text {number + 1}", "soft")
        tops = picture.stack(left, 354, 92, [("BERT", "own"), ("mean over\ntokens", "plain")])
        picture.arrow((left + 46, tops[-1]), (x + 98, 172))
        picture.label(left + 46 + (-14 if number == 0 else 14), tops[-1] - 14, side, "soft")
    picture.box(x + 18, 144, 160, 26, cosine)
    picture.stack(x + 18, 144, 160, [(answer, "plain")])
    picture.label(x + 98, 22, f"{title}: both texts", "title")
    picture.label(x + 98, 40, "the same BERT reads both", "soft")


def _layer(picture: Picture, x: float) -> None:
    """A layer of the encoder with what stands at the ends of its sublayers, from the bottom up."""
    size = cast(Any, catalogue.build("adapters", _adapter_name())).size
    boxes: list[tuple[str, str]] = []
    for name, adapted in zip(("self-attention", "feed-forward"), _adapted_ends(), strict=True):
        boxes.append((name, "frozen"))
        if adapted:
            boxes.append((f"adapter: 768 → {size} → 768", "new"))
        boxes.append(("sum, LayerNorm", "frozen"))
    lower = 386.0
    for top, (text, _) in zip(picture.stack(x, lower, 172, boxes), boxes, strict=True):
        if not text.startswith("sum"):
            continue
        upper = top + 13  # past the sublayer, into its sum
        picture.arrow((x + 86, lower - 5), (x + 188, lower - 5), (x + 188, upper), (x + 174, upper))
        lower = top
    picture.arrow((x + 86, lower), (x + 86, lower - 12))
    picture.label(x + 90, 22, "Adapter in a layer", "title")
    picture.label(x + 90, 40, "LayerNorm and all else is frozen", "soft")


def _fusion(picture: Picture, x: float, n: int) -> None:
    """Query: the sublayer's output; keys and values: what each adapter makes of it."""
    picture.label(x + 112, 22, f"Fusion of {n} adapters", "title")
    picture.label(x + 112, 40, f"A1 to A{n}, trained before, at each place", "soft")
    picture.box(x, 348, 224, 26, "output of the sublayer: h", "frozen")
    width = 150 / n
    for number in range(n):
        left = x + 74 + width * number
        picture.arrow((left + width / 2, 348), (left + width / 2, 322))
        picture.box(left + 2, 282, width - 4, 38, f"A{number + 1}", "frozen")
        picture.arrow((left + width / 2, 282), (left + width / 2, 256))
    picture.arrow((x + 32, 348), (x + 32, 256))
    for left, wide, name in ((0, 64, "query"), (74, 72, "keys"), (152, 72, "values")):
        picture.box(x + left, 228, wide, 26, name, "new")
    picture.arrow((x + 32, 228), (x + 60, 204))
    picture.arrow((x + 110, 228), (x + 82, 204))
    picture.arrow((x + 188, 228), (x + 188, 148))
    picture.box(x, 164, 142, 38, "softmax over adapters,\ntoken by token")
    picture.arrow((x + 71, 164), (x + 71, 148))
    picture.box(x, 120, 224, 26, "sum of the values, weighted")
    (top,) = picture.stack(x, 120, 224, [("sum with h", "plain")])
    picture.arrow((x, 361), (x - 14, 361), (x - 14, top + 13), (x - 2, top + 13))
    picture.arrow((x + 112, top), (x + 112, top - 12))


def _sequence(picture: Picture, x: float, variants: Mapping[str, Any], tasks: list[str]) -> None:
    """One task after the other: the orders are those of the recipe."""
    references = [
        each["encoder"] for each in variants.values() if isinstance(each.get("encoder"), dict)
    ]
    firsts = [reference["task"] for reference in references]
    picture.label(x + 110, 22, "One task after another", "title")
    picture.label(x + 110, 40, "the encoder goes on, the head is new", "soft")
    for number, (name, head) in enumerate((("A", "own"), ("B", "new"))):
        left = x + 124 * number
        picture.label(left + 48, 366, f"texts of {name}", "soft")
        tops = picture.stack(left, 354, 96, [("encoder", "shared"), (f"head of {name}", head)])
        picture.arrow((left + 48, tops[-1]), (left + 48, tops[-1] - 12))
    picture.arrow((x + 96, 327), (x + 122, 327))
    picture.label(x + 110, 240, "A is measured again with its own head", "soft")
    orders = [(first, [task for task in tasks if task != first]) for first in firsts]
    for number, (first, others) in enumerate(orders):
        picture.label(x + 8, 96 + 22 * number, f"{first} → {', '.join(others)}", "left")
    if any(reference.get("forgetting") for reference in references):
        picture.label(
            x + 8, 96 + 22 * len(orders), "forgetting of the first is reported", "left soft"
        )


# ------------------------------------------------------------------------------------ shared heads


def _shape(layer: nn.Module) -> str:
    linear = cast(nn.Linear, layer)
    return f"{linear.in_features:,} → {linear.out_features:,}"


def minbert_generalization() -> Picture:
    """minBERT generalization, Figure 1."""
    picture = Picture("minBERT generalization: heads that share two layers", 900, 424)
    tasks = recipe("gen_ablations")["tasks"]
    size = {"sst5": 5, "quora": 2, "sts": 1}
    heads = {
        task: cast(Any, catalogue.build("heads", tasks[task]["head"], 768, n))
        for task, n in size.items()
    }
    for task in ("quora", "sts"):
        heads[task].share_layers(heads["sst5"])
    shared = heads["sst5"].shared
    assert all(head.shared is shared for head in heads.values())
    picture.box(20, 362, 860, 26, "BERT and its pooler: x of each text", "shared")
    columns: dict[str, tuple[str, list[tuple[str, str]]]] = {
        "sst5": (
            f"own: {_shape(heads['sst5'].own)}",
            [("[own; S], ReLU", "plain"), (_shape(heads["sst5"].out), "own")],
        ),
        "quora": (
            f"d: {_shape(heads['quora'].product)}",
            [
                (f"e of [x₁; x₂; d₁·d₂]:\n{_shape(heads['quora'].both)}", "own"),
                ("[S₁·S₂; e], ReLU", "plain"),
                (f"{_shape(heads['quora'].out)}, a logit", "own"),
            ],
        ),
        "sts": (
            f"own: {_shape(heads['sts'].own)}",
            [("[own; S] of each text", "plain"), (f"{heads['sts'].scale:g} × cosine", "plain")],
        ),
    }
    titles = {"sst5": "sentiment", "quora": "paraphrase", "sts": "similarity, AllNLI"}
    for number, (task, (own, above)) in enumerate(columns.items()):
        x = 20 + 300 * number
        picture.arrow((x + 46, 362), (x + 46, 324))
        picture.arrow((x + 196, 362), (x + 196, 260))  # runs behind S
        picture.box(x + 112, 232, 148, 26, own, "own")
        picture.arrow((x + 186, 232), (x + 186, 208))
        tops = picture.stack(x + 10, 218, 250, above, enter=False)
        picture.arrow((x + 135, tops[-1]), (x + 135, tops[-1] - 12))
        joined = next(n for n, (text, _) in enumerate(above) if "S" in text)
        side = tops[joined] + 13  # of the box where S comes in
        picture.arrow((x + 46, 292), (x + 46, 276), (x, 276), (x, side), (x + 8, side))
        picture.label(x + 60, 282, "S", "soft")
        picture.label(x + 135, 24, f"{titles[task]} ({task})", "title")
    words = f"S: {_shape(shared.up)}, ReLU, {_shape(shared.down)}; the same for all tasks"
    picture.box(20, 292, 860, 30, words, "shared")
    picture.legend(24, 412, ("shared", "own", "plain"))
    return picture


PICTURES: dict[str, Callable[[], Picture]] = {
    "maxpoolbert": maxpoolbert,
    "rte": rte,
    "serbertus": serbertus,
    "adapterfusion": adapterfusion,
    "minbert_generalization": minbert_generalization,
}


def pictures() -> dict[str, str]:
    """File name → its text."""
    return {f"{name}.svg": draw().svg() for name, draw in PICTURES.items()}


def main(arguments: list[str]) -> int:
    made = pictures()
    current = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.svg")}
    if "--check" in arguments:
        if current != made:
            print("Run `python docs/architectures.py`: its pictures changed.", file=sys.stderr)
        return int(current != made)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
