"""Every head: vectors in, scores out, each row for itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from encore import catalogue
from encore.encoder.dropout import BatchOffset, drawing
from encore.model.parameters import seeded_initialisers
from encore.techniques.heads.linear import LinearHead

NAMES = catalogue.names("heads")
ROWS, WIDTH, SCORES = 7, 11, 3


def n_scores(name: str) -> int:
    """Requirements for a head of this kind of task."""
    return {("binary",): 2, ("regression",): 1}.get(
        getattr(catalogue.find("heads", name), "kinds", ()), SCORES
    )


@pytest.mark.parametrize("name", NAMES)
def test_scores_have_one_line_per_row_and_rows_do_not_mix(name: str) -> None:
    head = catalogue.build("heads", name, WIDTH, n_scores(name)).eval()
    sides = torch.randn(
        getattr(head, "n_sides", 1), ROWS, WIDTH, generator=torch.Generator().manual_seed(1)
    )
    scores = head.score(*map(head.embed, sides))
    assert scores.shape == (ROWS, n_scores(name))
    assert scores.dtype == torch.float32
    alone = torch.cat(
        [head.score(*(head.embed(side[row : row + 1]) for side in sides)) for row in range(ROWS)]
    )
    torch.testing.assert_close(scores, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("cosine_threshold", "siamese_cosine")]
)  # these have nothing to draw
def test_a_heads_start_is_a_function_of_the_seed(name: str) -> None:
    starts = []
    for seed in (5, 5, 6):
        with seeded_initialisers(seed, "initialisation", "task", "head"):
            starts.append(
                torch.cat(
                    [
                        p.flatten()
                        for p in catalogue.build("heads", name, WIDTH, n_scores(name)).parameters()
                    ]
                )
            )
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "dropout" in catalogue.settings("heads", name)]
)
def test_a_part_of_a_batch_draws_what_the_whole_would_have_drawn_for_it(name: str) -> None:
    """Texts lie side by side, and what is made of both of them is one line for each example."""
    head = catalogue.build("heads", {"name": name, "dropout": 0.5}, WIDTH, n_scores(name)).train()
    n_sides = getattr(head, "n_sides", 1)
    vectors = torch.randn(ROWS * n_sides, WIDTH, generator=torch.Generator().manual_seed(1))

    def scores(start: int, end: int) -> Tensor:
        with drawing(seed=1, step=1, place=BatchOffset(rows=start * n_sides, examples=start)):
            lines = head.embed(vectors[start * n_sides : end * n_sides])
            return head.score(*(lines[side::n_sides] for side in range(n_sides)))

    whole = scores(0, ROWS)
    torch.testing.assert_close(torch.cat([scores(0, 3), scores(3, 4), scores(4, ROWS)]), whole)
    assert not torch.allclose(torch.cat([scores(0, 4), scores(0, ROWS - 4)]), whole)


def test_linear_is_one_product() -> None:
    head = LinearHead(WIDTH, SCORES, dropout=0.5).eval()
    vectors = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        head.score(head.embed(vectors)), vectors @ head.out.weight.T + head.out.bias
    )
    assert torch.equal(head.embed(vectors), vectors)
    assert sum(p.numel() for p in head.parameters()) == (WIDTH + 1) * SCORES


def test_linear_starts_small_with_bias_0() -> None:
    with seeded_initialisers(3, "head"):
        head = LinearHead(389, 101)
    assert head.out.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not head.out.bias.any()


def test_linears_dropout_works_on_its_input_and_only_while_training() -> None:
    head = LinearHead(WIDTH, WIDTH, dropout=0.5)
    with torch.no_grad():
        head.out.weight.copy_(
            torch.eye(WIDTH)
        )  # so that the output is the input as dropout left it
    vectors = torch.ones(ROWS, WIDTH)
    with drawing(seed=1, step=1):
        dropped = head.train().score(vectors)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(head.eval().score(vectors), vectors)
