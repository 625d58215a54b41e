"""Texts that do not belong, batches without repeated texts, and AllNLI's pairs."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Tables, write_csv

from encore.data.batches import collate, without_repeats
from encore.data.load import load_task
from encore.data.named import whereabouts
from encore.data.settings import DataSettings
from encore.errors import DataError, EncoreError, RecipeError
from encore.recipe.load import recipe_from
from encore.runs.prepare import build_models, prepare
from encore.runs.prepared import Prepared
from encore.training.row_orders import RowOrders
from encore.types import BatchIndex

needs_data = pytest.mark.skipif(
    whereabouts("allnli") not in ("here", "in the cache"),
    reason="nli_triplets/train.parquet is not here: set ENCORE_DATA to a folder that holds it",
)


@pytest.mark.parametrize("size", [2, 4, 7])
def test_batches_without_repeats_keep_all_rows_and_no_text_twice(size: int) -> None:
    draw = np.random.default_rng(size)
    texts = draw.integers(0, 60, (100, 2))
    order = draw.permutation(100)
    found = without_repeats(order, texts, size)
    assert sorted(found) == list(range(100))
    for start in range(0, 100, size):
        rows = [set(texts[row]) for row in found[start : start + size]]
        assert len(set().union(*rows)) == sum(map(len, rows))
    np.testing.assert_array_equal(found, without_repeats(order, texts, size))


def test_rows_without_repeats_stay_where_they_are() -> None:
    order = np.random.default_rng(1).permutation(30)
    texts = np.arange(60).reshape(30, 2)
    np.testing.assert_array_equal(without_repeats(order, texts, 8), order)


def test_a_row_that_waits_to_the_end_changes_places() -> None:
    """The last two rows have a text in common: one of them moves to the first batch."""
    texts = np.array([[0, 1], [2, 3], [4, 5], [4, 6]])
    found = without_repeats(np.arange(4), texts, 2)
    assert sorted(found) == [0, 1, 2, 3]
    assert {2, 3} != set(found[:2])
    assert {2, 3} != set(found[2:])


def test_a_text_in_more_rows_than_batches_is_told() -> None:
    with pytest.raises(RecipeError, match="no_duplicates: a text occurs in too many rows"):
        without_repeats(np.arange(3), np.array([[0, 1], [0, 2], [0, 3]]), 2)


@pytest.fixture
def with_third(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The settings of triplets: each text's own, another one, and one that does not belong."""
    file = tmp_path_factory.mktemp("triplets") / "triplets.csv"
    names = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    rows = [(f"{a} cats", f"{a} dogs", f"no {a} at all") for a in names for _ in range(2)]
    columns = dict(
        zip(("anchor", "positive", "third"), map(list, zip(*rows, strict=True)), strict=True)
    )
    write_csv(file, columns)
    return {"train": str(file), "kind": "unlabelled", "negative": "third"}


def prepared(tables: Tables, data: dict[str, object], *overrides: str, **own: object) -> Prepared:
    rows = {"train": str(tables.train), "dev": str(tables.dev)}
    score = {
        "data": {**rows, "text": "text", "text_pair": "other", "label": "score"},
        "head": "siamese_cosine",
        "pooling": "mean",
    }
    pairs = {"data": data, "pooling": "mean", "same_as": "score", "losses": {"task": "mnr"}, **own}
    mapping = {"tasks": {"score": score, "pairs": pairs}}
    return prepare(recipe_from(mapping, (*tables.settings, *overrides)))


def test_triplets_are_read_apart_and_scored_without_the_third(
    tables: Tables, with_third: dict[str, object]
) -> None:
    one = prepared(tables, with_third, "plan.batch_size=5", sampling="no_duplicates")
    rows = one.streams["pairs"].train
    assert rows.n_sides == 3
    assert len(rows.store) == 3 * len(rows) == 48
    model = build_models(one)["pairs"].eval()
    output = model(collate(rows.store, rows.at(np.arange(5))))
    assert [len(side) for side in output.embeddings] == [5, 5, 5]
    pair = build_models(one)["score"].eval()
    both = pair(collate(rows.store, rows.at(np.arange(5)).reshape(5, 3)[:, :2].ravel()))
    np.testing.assert_allclose(output.scores.detach(), both.scores.detach(), atol=1e-5)
    orders = RowOrders(one.streams, one.plan[0], seed=3)
    size, texts = one.plan[0].batch_size, one.streams["pairs"].texts
    for number in range(-(-16 // size)):
        examples, _ = orders.rows(BatchIndex("pairs", 0, number))
        assert len(np.unique(texts[examples])) == texts[examples].size


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"negative": "elsewhere"}, "no column 'elsewhere' \\(the text that does not belong\\)"),
        ({"kind": "binary"}, "a task with labels has them to tell which texts belong together"),
        ({"text": "anchor", "negative": "anchor"}, "the column 'anchor' is already data.text"),
    ],
)
def test_what_is_wrong_with_a_third_column(
    more: dict[str, object], message: str, tables: Tables, with_third: dict[str, object]
) -> None:
    with pytest.raises(EncoreError, match=message):
        prepared(tables, {**with_third, **more})


def test_a_third_text_needs_texts_that_are_read_apart(
    tables: Tables, with_third: dict[str, object]
) -> None:
    with pytest.raises(RecipeError, match=r"reads the texts of a pair together. Write pair: siam"):
        prepared(tables, with_third, pair="siamese_attend")
    with pytest.raises(DataError, match="Name the text that does:"):
        prepared(
            tables,
            {**with_third, "text": "anchor", "text_pair": None, "train": with_third["train"]},
        )


@needs_data
def test_allnli_is_50_000_seeded_pairs_of_which_none_is_in_train_and_dev() -> None:
    """METHODS 5.5. The file has 27,559 triplets, so 55,118 pairs; those of an anchor stay on one
    side.
    """
    wanted = DataSettings(seed=7, train_rows=45_000, dev_rows=5_000, dev_frac=0.1)
    data = load_task("nli_triplets", wanted)
    again = load_task("nli_triplets", wanted)
    other = load_task(
        "nli_triplets", DataSettings(seed=8, train_rows=45_000, dev_rows=5_000, dev_frac=0.1)
    )
    train, dev = data.train, data.dev["dev"]
    assert (len(train), len(dev)) == (45_000, 5_000)
    pairs = [
        set(zip(part.texts.to_pylist(), part.pairs.to_pylist(), strict=True))
        for part in (train, dev)
    ]
    assert pairs[0].isdisjoint(pairs[1])
    assert set(train.texts.to_pylist()).isdisjoint(dev.texts.to_pylist())
    assert len(np.unique(np.concatenate([train.rows, dev.rows]))) == 50_000
    np.testing.assert_array_equal(train.rows, again.train.rows)
    assert not np.array_equal(train.rows, other.train.rows)


@needs_data
def test_batches_of_allnli_repeat_no_text() -> None:
    data = load_task("allnli", DataSettings(seed=7))
    sides = (data.train.texts.to_pylist(), data.train.pairs.to_pylist())
    known: dict[str, int] = {}
    texts = np.array([[known.setdefault(text, len(known)) for text in side] for side in sides]).T
    order = np.random.default_rng(1).permutation(len(texts))
    found = without_repeats(order, texts, 16)
    np.testing.assert_array_equal(np.sort(found), np.arange(len(texts)))

    def repeats(rows: np.ndarray) -> int:
        each = [set(texts[row].tolist()) for row in rows]
        return sum(map(len, each)) - len(set().union(*each))

    starts = range(0, len(texts), 16)
    assert sum(repeats(found[start : start + 16]) for start in starts) == 0
    assert sum(repeats(order[start : start + 16]) for start in starts) > 0


@needs_data
def test_allnli_has_texts_that_do_not_belong() -> None:
    plain = load_task("allnli", DataSettings(seed=7, train_rows=20_000))
    hard = load_task("allnli", DataSettings(seed=7, train_rows=20_000, negative="negative"))
    assert plain.train.negatives is None
    assert hard.train.negatives is not None
    assert len(hard.train) == len(hard.train.negatives) == 20_000
    assert len(np.unique(hard.train.rows)) == 20_000
    np.testing.assert_array_equal(plain.train.rows, hard.train.rows)
    with pytest.raises(RecipeError, match="has no column of texts that do not belong called 'x'"):
        load_task("allnli", DataSettings(seed=7, negative="x"))
