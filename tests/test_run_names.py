"""Pin the names of runs: run_names.json holds recipes that set each thing once, and their names.

A name is a hash of what determines a run's bits. Where one of these changes, finished runs are not
found again and interrupted ones do not resume. A commit that renames runs on purpose says so in
CHANGELOG.md and writes the table anew, which leaves the recipes alone:

    python tests/test_run_names.py

All that a name depends on beside the recipe is fixed here: data and encoder are written byte by
byte, without a library whose next version might write them differently; threads, precision and
device are set. Only `tokenizers` remains: a version that describes a vocabulary in other words
renames all runs.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from encore.api import prepared_from

TABLE = Path(__file__).with_name("run_names.json")
COMMON = {"encoder": "encoder", "threads": 1, "precision": "fp32"}
PLAN = {"epochs": 4, "lr": 5e-5}  # not left to the rule, which has tests of its own
WIDTH, INNER, N_POSITIONS = 24, 40, 160
TABLES = (("train", 40, 0), ("dev", 20, 40), ("more", 20, 60), ("test", 20, 80))  # rows, first
WORDS = ("good", "bad", "fine", "lamp", "tent", "the", "is", "a", "very")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)


def write_inputs(folder: Path) -> None:
    """Write tables of 40 and 20 rows, and a BERT of three layers whose weights are all 0."""
    for name, n_rows, start in TABLES:
        lines = [",".join(("text", "other", "same", "stars", "score", "tags"))]
        for row in range(start, start + n_rows):
            text, other = (f"the {WORDS[n % 5]} is {WORDS[n % 3]} {n}" for n in (row, row // 2))
            tags = ";".join(tag for tag, n in (("praise", 2), ("blame", 3)) if row % n == 0)
            same, stars, score = "yes" if row % 3 else "no", row % 4 + 1, f"{row % 7 / 2}"
            lines.append(f"{text},{other},{same},{stars},{score},{tags or 'plain'}")
        (folder / f"{name}.csv").write_bytes("".join(f"{line}\n" for line in lines).encode())
        if name == "train":
            broken = [line.replace(",", ";", 4) for line in lines] + ["café;one cell too few"]
            (folder / "broken.csv").write_bytes("\n".join(broken).encode("cp1252"))
    (folder / "encoder").mkdir()
    config = {"model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": WIDTH}
    config |= {"num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": INNER}
    config |= {"max_position_embeddings": N_POSITIONS, "type_vocab_size": 2}
    (folder / "encoder" / "config.json").write_bytes(json.dumps(config).encode())
    (folder / "encoder" / "vocab.txt").write_bytes("".join(f"{w}\n" for w in VOCABULARY).encode())
    (folder / "encoder" / "model.safetensors").write_bytes(safetensors_of_zeros())


def safetensors_of_zeros() -> bytes:
    """A safetensors file: the header's length, the header, then the numbers."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes():
        n_bytes = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + n_bytes]}
        end += n_bytes
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    return struct.pack("<Q", len(written)) + written + bytes(end)


def shapes() -> Iterator[tuple[str, list[int]]]:
    """Names and shapes of a BERT's weights."""
    tables = (("word", len(VOCABULARY)), ("position", N_POSITIONS), ("token_type", 2))
    yield from ((f"embeddings.{name}_embeddings.weight", [n, WIDTH]) for name, n in tables)
    norms, dense = ["embeddings.LayerNorm"], [("pooler.dense", WIDTH, WIDTH)]
    for layer in (f"encoder.layer.{number}" for number in range(3)):
        square = ("self.query", "self.key", "self.value", "output.dense")
        dense += [(f"{layer}.attention.{part}", WIDTH, WIDTH) for part in square]
        dense += [(f"{layer}.intermediate.dense", INNER, WIDTH)]
        dense += [(f"{layer}.output.dense", WIDTH, INNER)]
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        yield from ((f"{name}.{part}", [WIDTH]) for part in ("weight", "bias"))
    for name, n_out, n_in in dense:
        yield f"{name}.weight", [n_out, n_in]
        yield f"{name}.bias", [n_out]


def name_of(recipe: Mapping[str, Any], folder: Path) -> str:
    """The name of the run that a recipe in `folder` stands for."""
    file = folder / "recipe.yaml"
    plan = {**PLAN, **recipe.get("plan", {})}
    file.write_text(json.dumps({**COMMON, **recipe, "plan": plan}), encoding="utf-8")
    return prepared_from(file).name


def read_table() -> dict[str, dict[str, Any]]:
    """Subject of a recipe → {"name": the run's name, "recipe": the recipe}."""
    with TABLE.open(encoding="utf-8") as file:
        table: dict[str, dict[str, Any]] = json.load(file)
    return table


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    write_inputs(folder)
    return folder


@pytest.mark.parametrize("about", read_table())
def test_a_run_keeps_its_name(about: str, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # the device is in the name
    entry = read_table()[about]
    assert name_of(entry["recipe"], inputs) == entry["name"]


def test_names_differ_unless_the_run_is_the_same() -> None:
    """Only what writes out the defaults is the run without them."""
    names = {about: entry["name"] for about, entry in read_table().items()}
    assert len(names) >= 25
    assert names.pop("defaults written out") == names["defaults"]
    assert len(set(names.values())) == len(names)


def main() -> None:
    """Write the names anew, of the recipes that the table holds."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_inputs(folder)
        table = {
            about: {"name": name_of(entry["recipe"], folder), "recipe": entry["recipe"]}
            for about, entry in read_table().items()
        }
    lines = [
        f'{json.dumps(about)}: {{"name": {json.dumps(entry["name"])},\n'
        f'  "recipe": {json.dumps(entry["recipe"])}}}'
        for about, entry in table.items()
    ]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
