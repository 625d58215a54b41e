from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from encore import catalogue
from encore.encoder.encoder import Shape
from encore.errors import RecipeError
from encore.recipe.load import load_recipe
from encore.recipe.write import resolved, to_yaml
from encore.techniques.pooling.concat import Concat

LENGTHS, WIDTH, LAYERS = (5, 1, 70, 2, 13), 4 * 7, 5
SHAPE = Shape(WIDTH, LAYERS, 1)
OF = (
    "cls",
    {"name": "max_seq_mha", "k": 2},
    "mean_max",
    {"name": "attention"},
    {"name": "concat", "of": ["max", {"name": "weighted_layers", "k": 4}]},
)


def test_it_is_its_parts_side_by_side(at_random, gradients) -> None:
    encoded, pooling = at_random(LENGTHS, WIDTH, LAYERS), Concat(SHAPE, of=OF)
    parts = [catalogue.build("pooling", spec, SHAPE) for spec in OF]
    for part, ours in zip(parts, pooling.parts, strict=True):
        part.load_state_dict(ours.state_dict())
    expected = torch.cat([part(encoded) for part in parts], dim=1)
    assert (pooling.width, pooling.layers) == (7 * WIDTH, (-4, -3, -2, -1))
    assert_close(pooling(encoded), expected, atol=0, rtol=0)
    assert_close(gradients(pooling(encoded), encoded.states), gradients(expected, encoded.states))


def test_what_it_reduces_to_says_where_everything_is(at_random) -> None:
    encoded = at_random(LENGTHS, WIDTH, LAYERS)
    by_row, by_token = Concat(SHAPE, of=("cls", "mean_max")), Concat(SHAPE, of=("cls", "mha"))
    assert (by_row.unit, by_row.reduce(encoded).shape) == ("rows", (5, 3 * WIDTH))
    assert (by_token.unit, by_token.reduce(encoded).shape) == ("tokens", (91, 2 * WIDTH))
    assert not by_token.reduce(encoded)[1:5, :WIDTH].any(), (
        "a row's own numbers stand at its first token"
    )


def test_the_same_part_twice_learns_two_things() -> None:
    pooling = Concat(SHAPE, of=("attention", "attention"))
    assert not torch.equal(*pooling.parameters())


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        Concat(
            SHAPE,
            of=(
                "cls",
                "mha_max",
                {"name": "max_cls", "k": 6},
                {"k": 2},
                {"name": "concat", "of": [{"name": "mha", "heads": 2}]},
            ),
        )
    where = "pooling 'concat': of"
    assert [problem.split(". ")[0] for problem in caught.value.lines] == [
        f"{where}[1]: no pooling called 'mha_max'",
        f"{where}[2]: pooling 'max_cls': expected k from 1 to 5, the layers of this encoder, got 6",
        f"{where}[3]: expected the name of a pooling, or {{name: …, setting: …}}, got {{'k': 2}}.",
        f"{where}[4]: of.0.heads: pooling 'mha' has no setting 'heads'",
    ]
    for nothing in ((), "cls"):
        with pytest.raises(RecipeError, match=r"^pooling 'concat': expected a list of poolings"):
            Concat(SHAPE, of=nothing)


def test_a_recipe_checks_the_parts_where_it_knows_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = ["cls", "{name: max_cls, k: three}", "mha_max", "{k: 2}", "3", "{name: mha, heads: 4}"]
    Path("recipe.yaml").write_text(
        "\n  - ".join(["task: rte\npooling:\n  name: concat\n  of:", *parts]), encoding="utf-8"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml", [])
    assert [problem.split(". ")[0] for problem in caught.value.lines] == [
        "recipe.yaml:6 pooling.of.k: expected a whole number of at least 1, got 'three'.",
        "recipe.yaml:7 pooling.of: no pooling called 'mha_max'",
        "recipe.yaml:8 pooling.of: no name beside the settings",
        "recipe.yaml:9 pooling.of: expected the name of a pooling, or {name: …, setting: …}, got 3",
        "recipe.yaml:10 pooling.of.heads: pooling 'mha' has no setting 'heads'",
    ]
    with pytest.raises(RecipeError, match="expected at least one pooling, got none"):
        load_recipe("recipe.yaml", ["pooling={name: concat, of: []}"])


@pytest.mark.parametrize("short", [False, True])
def test_a_recipe_writes_every_default_of_the_parts(tmp_path: Path, short: bool) -> None:
    file, again = tmp_path / "recipe.yaml", tmp_path / "again.yaml"
    file.write_text(
        "task: rte\npooling: {name: concat, of: [cls, max_seq_mha, {name: max_cls, k: 2}]}\n",
        encoding="utf-8",
    )
    recipe = load_recipe(str(file), [])
    expected = {
        "name": "concat",
        "of": ["cls", {"name": "max_seq_mha", "k": 3, "n_heads": 4}, {"name": "max_cls", "k": 2}],
    }
    assert resolved(recipe)["tasks"]["rte"]["pooling"] == expected
    again.write_text(to_yaml(recipe, short=short), encoding="utf-8")
    assert resolved(load_recipe(str(again), [])) == resolved(recipe)
