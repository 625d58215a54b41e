"""Words weighed by integrated gradients: they add up to the change of the score however a task
reads its texts, a planted word comes first, and the score falls without it.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Tables, Warm, write_csv
from scipy.special import logsumexp

import encore
from encore import catalogue
from encore.data.columns import Columns
from encore.data.token_store import split_pieces
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.errors import RecipeError
from encore.evaluation.predictions import predictions
from encore.model.assembly import TaskSpec, assemble
from encore.model.integrated_gradients import integrate
from encore.runs import gradients
from encore.runs.explain import Attribution, Explanation, Word, WordWeights
from encore.runs.explanation_output import GradientTally, render_explanation, weight_columns
from encore.runs.loaded_task import LoadedTask
from encore.runs.predict import Model
from encore.types import TaskKind

TEXTS = ["The lamp xyzzy broke !", "great", "it was sturdy and quick , very quick", "dull box"]
OTHERS = ["a box", "dull tent after a week", "is it", "kettle"]
NAMES = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "multilabel": ("a", "b", "c")}


def model_of(
    folder: Path,
    kind: TaskKind = "multiclass",
    *,
    pair: str | dict[str, Any] | None = None,
    head: str = "linear",
    sharing: str = "one",
    pooling: str = "mean",
) -> Model:
    """A model of random weights as a run keeps it. pair: how its pairs are read; None: of single
    texts.
    """
    pretrained = load.load_encoder(load.locate(str(folder)))
    columns = Columns("text", None if pair is None else "other", "label", kind, NAMES.get(kind, ()))
    reading = {"name": pair} if isinstance(pair, str) else pair or {"name": "cross"}
    k = {"k": 2} if "k" in catalogue.settings("pooling", pooling) else {}
    spec = TaskSpec(columns.space, {"name": pooling, **k}, {"name": head}, reading)
    torch.manual_seed(1)
    model = assemble({"t": spec}, sharing, pretrained.encoder, pretrained.shape, seed=2)["t"].eval()
    for name, parameter in model.head.named_parameters():
        parameter.data += (0.3 if "weight" in name else 0.1) * torch.randn_like(parameter)
    task = LoadedTask("t", columns.space, columns, None, (), 32, "head", reading, model)
    return Model(folder, TextTokenizer(folder), {"t": task}, 0)


def explained_score(model: Model, given: list[Any], like: list[Any]) -> np.ndarray:
    """The score that is explained: of the labels that are predicted for `like`, for `given`."""
    labels = model.task().labels
    of, own = (model.scores(model.read(rows)).astype(np.float64) for rows in (given, like))
    if labels.kind == "regression":
        return of[:, 0]
    if labels.kind == "multilabel":
        return np.array(
            [
                row[chosen == 1].sum() if chosen.any() else row[scores.argmax()]
                for row, chosen, scores in zip(of, predictions(own, labels), own, strict=True)
            ]
        )
    which = np.arange(labels.n_scores) == predictions(own, labels)[:, None]
    return of[which] - logsumexp(np.where(which, -np.inf, of), axis=1)


def masked(model: Model, text: str) -> str:
    """As many [MASK] as the text has pieces."""
    (side,) = split_pieces(model.tokenizer, text, max_length=99, truncation="head")
    return " ".join(["[MASK]"] * len(side.words))


HOW = {
    "classes": {},
    "binary": {"kind": "binary"},
    "multi-label": {"kind": "multilabel"},
    "regression": {"kind": "regression"},
    "two encoders": {"sharing": "multi_and_own"},
    "a frozen one": {"sharing": "static", "pooling": "cls"},
    "pairs": {"pair": "cross"},
    "both orders": {"pair": {"name": "cross", "eval_order": "both"}},
    "segments": {"pair": {"name": "cross", "segments": "zero"}},
    "apart": {"pair": "siamese", "head": "siamese_concat"},
    "apart, attention": {"pair": "siamese", "head": "siamese_concat", "pooling": "attention"},
    "attending": {"pair": "siamese_attend", "head": "siamese_dot", "kind": "binary"},
    "cosine": {"pair": "siamese", "head": "cosine_threshold", "kind": "binary"},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_words_add_up_to_the_change_of_the_score(
    how: dict[str, Any], tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the rows are put together, and in blocks of any size. The head of `apart` has the
    size of a difference, whose gradient jumps, so that more steps are needed.
    """
    if how.get("head") == "siamese_concat":
        monkeypatch.setattr(gradients, "integrate", partial(integrate, n_steps=256))
    model = model_of(tiny_encoder, **how)
    given: list[Any] = list(zip(TEXTS, OTHERS, strict=True)) if "pair" in how else TEXTS
    start = [
        tuple(masked(model, side) for side in row) if isinstance(row, tuple) else masked(model, row)
        for row in given
    ]
    expected = explained_score(model, given, given) - explained_score(model, start, given)
    found = model.explain(given)
    for one, change, row in zip(found, expected, given, strict=True):
        assert one.attribution is not None
        sides = row if isinstance(row, tuple) else (row,)
        assert tuple(side.text for side in one.texts) == sides
        assert one.attribution.change == pytest.approx(change, rel=1e-5, abs=1e-4)
        size = sum(map(abs, one.weights))
        assert sum(one.weights) + one.rest == pytest.approx(change, abs=1e-2 * size)
        assert one.rest == pytest.approx(0, abs=1e-6)
        assert "".join(word.word for side in one.texts for word in side.words) == "".join(
            sides
        ).replace(" ", "")
    assert np.abs(expected).max() > 0.05, "nothing to add up to"
    monkeypatch.setattr(gradients, "_BLOCK_ROWS", 3)
    monkeypatch.setattr(gradients, "_TOKENS_PER_BATCH", 16)
    for one, again in zip(found, model.explain(given), strict=True):
        assert again.weights == pytest.approx(one.weights, abs=1e-5)
        assert again.attribution.fall == pytest.approx(one.attribution.fall, abs=1e-5)
        assert again.attribution.random_fall == pytest.approx(one.attribution.random_fall, abs=1e-5)


def test_the_labels_of_the_score_and_words_that_were_cut(tiny_encoder: Path) -> None:
    model = model_of(tiny_encoder, "multilabel")
    for one, prediction in zip(model.explain(TEXTS), model.predict(TEXTS), strict=True):
        likely = max(prediction.probabilities, key=prediction.probabilities.__getitem__)
        assert one.attribution.labels == (prediction.label or (likely,))
    assert model_of(tiny_encoder, "regression").explain(TEXTS)[0].attribution.labels == ()
    short = replace(model, tasks={"t": replace(model.task(), max_length=6)})
    weights = [word.weight for word in short.explain(TEXTS[2:3])[0].texts[0].words]
    assert [weight is None for weight in weights] == [False] * 4 + [True] * 4


def test_rows_without_words(tiny_encoder: Path) -> None:
    empty, one = model_of(tiny_encoder).explain(["", "great"])
    assert (empty.texts[0].words, empty.attribution.change, empty.rest) == ((), 0.0, 0.0)
    assert (empty.attribution.fall, one.attribution.fall) == (None, None)
    plain = render_explanation(empty, title="1: a").plain
    assert plain.splitlines()[0] == "1: a"
    tally = GradientTally()
    assert len(list(tally.counted([empty, one]))) == 2
    assert [str(note) for note in tally.notes][1] == "deletion test: not made: no row has two words"


def test_a_tokenizer_without_any_token_to_begin_from(tiny_encoder: Path, tmp_path: Path) -> None:
    model = model_of(tiny_encoder)
    backend = json.loads(model.tokenizer.backend.to_str())
    for name in ("[MASK]", "[PAD]", "[UNK]"):
        backend["model"]["vocab"][f"[{name}]"] = backend["model"]["vocab"].pop(name)
    backend["model"]["unk_token"] = "[[UNK]]"
    backend["added_tokens"] = [
        token for token in backend["added_tokens"] if token["content"] in ("[CLS]", "[SEP]")
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(backend), encoding="utf-8")
    strange = replace(model, tokenizer=TextTokenizer(tmp_path))
    with pytest.raises(RecipeError, match=r"none of the tokens \[MASK\], .* pooling=attention"):
        strange.explain(TEXTS)
    assert gradients.masking_token(model.tokenizer) == "[MASK]"


# ------------------------------------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def planted(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that learned that `zip` means yes and `tent` means no, among words without meaning, and
    a file of new texts; a fifth of the words of each is one word.
    """
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("planted")
    draw = np.random.default_rng(3)
    plain = ("the", "lamp", "box", "came", "very", "kettle", "week")
    for name, n_rows in (("train", 120), ("new", 40)):
        words = [
            draw.permutation([*draw.choice(plain, 4), ("zip", "tent")[row % 2]])
            for row in range(n_rows)
        ]
        labels = [("yes", "no")[row % 2] for row in range(n_rows)]
        write_csv(folder / f"{name}.csv", {"text": map(" ".join, words), "label": labels})
    recipe = replace(tables, train=folder / "train.csv", dev=folder / "new.csv").recipe(
        "plan.epochs=4", label="label"
    )
    return encore.fit(recipe, runs=folder / "runs").folder, folder / "new.csv"


def test_a_planted_word_comes_first_and_the_score_falls_without_it(
    planted: tuple[Path, Path],
) -> None:
    run, file = planted
    model = encore.load(run)
    dataset = model.read(file)
    assert {one.label for one in model.predict(dataset.texts)} == {"yes", "no"}
    tally = GradientTally()
    found = list(tally.counted(model.explanations(dataset)))
    first = [one.strongest(1)[0].word for one in found]
    assert first == [("zip", "tent")[row % 2] for row in range(40)]
    assert all(one.strongest(1)[0].weight > 0 for one in found)
    test = tally.deletion
    assert test is not None
    falls = np.array([(one.attribution.fall, one.attribution.random_fall) for one in found])
    assert (test.fall, test.random_fall) == pytest.approx(falls.mean(axis=0))
    differences = falls[:, 0] - falls[:, 1]
    error = differences.std(ddof=1) / 40**0.5
    quantile = 2.0226909  # of Student's t with 39 degrees of freedom
    assert test.interval == pytest.approx(
        (differences.mean() - quantile * error, differences.mean() + quantile * error), rel=1e-5
    )
    assert test.interval[0] > 1, "log-odds of a word that decides"
    rows = model.scores(dataset)
    without = [
        " ".join(word for word in text.split() if word not in ("zip", "tent"))
        for text in dataset.texts.to_pylist()
    ]
    which = predictions(rows, model.task().labels)
    odds = (rows[:, 1] - rows[:, 0]) * (2 * which - 1)
    left = model.scores(model.read(without))
    assert odds - (left[:, 1] - left[:, 0]) * (2 * which - 1) == pytest.approx(
        falls[:, 0], abs=1e-4
    )


def test_the_command_shows_and_keeps_what_was_found(
    planted: tuple[Path, Path], warm: Warm, tmp_path: Path
) -> None:
    run, file = planted
    shown = warm.run(["predict", run, file, "--explain"])
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[0].startswith("line 2: yes (")
    assert re.match(r"  zip \d\d\.\d %, ", shown.out.splitlines()[2])
    assert "special tokens" not in shown.out
    lines = shown.err.splitlines()
    assert lines[-3] == (
        "explain: integrated gradients: what each word adds to the log-odds of the prediction, "
        "compared with [MASK] in its place; less than 0: speaks against it"
    )
    number = r"−?\d+\.\d\d"
    assert re.fullmatch(
        rf"completeness: a row's words add up to the change of its score, {number}, to within \S+",
        lines[-2],
    )
    assert re.fullmatch(
        rf"deletion test: without the strongest fifth of its words the score of a row falls by "
        rf"{number}, without as many random words by {number}: difference {number} "
        rf"\[{number}, {number}\], 40 rows",
        lines[-1],
    )
    said = warm.run(["predict", run, file, "--explain", "--json"])
    told = json.loads(said.out)
    assert told["method"] == "integrated gradients"
    for name in ("out.jsonl", "out.parquet"):
        kept = warm.run(["predict", run, file, "--explain", "--json", "-o", tmp_path / name])
        assert kept.code == 0, kept.err
        assert json.loads(kept.out)["deletion"] == told["deletion"]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    columns = ["weights", "weights_rest", "weights_for", "score_change", "fall", "random_fall"]
    for row, exact, one in zip(
        rows, pq.read_table(tmp_path / "out.parquet").to_pylist(), told["rows"], strict=True
    ):
        assert list(row)[-6:] == columns
        assert [row[name] for name in columns] == [one[name] for name in columns]
        assert [exact[name] for name in columns] == [one[name] for name in columns]
        assert row["weights_for"] == [row["prediction"]]


def test_columns_where_there_are_no_rows() -> None:
    assert list(weight_columns([], pair=True, gradients=True)) == [
        "weights",
        "weights_pair",
        "weights_rest",
        "weights_for",
        "score_change",
        "fall",
        "random_fall",
    ]


def test_signs_are_colours_and_shares() -> None:
    words = (Word("for", 0, 3, 3.0), Word("against", 4, 11, -2.0), Word("a", 12, 13, 0.0))
    one = Explanation(
        (WordWeights("for against a", words),), 0.0, Attribution(("x",), 1.0, None, None)
    )
    assert [one.share(word.weight) for word in words] == pytest.approx([0.6, -0.4, 0])
    average = 5 / 3
    assert [one.strength(word.weight) for word in words] == pytest.approx(
        [1, (2 - average) / (3 - average), -average / (3 - average)]
    )
    drawn = render_explanation(one, title="")
    styles = {drawn.plain[span.start : span.end]: str(span.style) for span in drawn.spans}
    assert "rgb(255,70,90)" in styles["for"]
    assert re.search(r"rgb\((\d+),\1,255\)", styles["against"])
    assert "on" not in styles.get("a", "")
    assert drawn.plain.splitlines()[-1] == "  for 60.0 %, against −40.0 %, a 0.0 %"


def test_every_pooling_is_explained_in_one_way_or_the_other(tiny_encoder: Path) -> None:
    for name in catalogue.names("pooling"):
        (one,) = model_of(tiny_encoder, pooling=name).explain(TEXTS[:1])
        by_attention = catalogue.find("pooling", name).weights is not None
        assert (one.attribution is None) == by_attention
        if one.attribution is None or name == "norm_cls":  # which chooses a layer: its score jumps
            continue
        # The gradient of a maximum jumps, the others' do not.
        tolerance = (0.1 if "max" in name else 1e-4) * sum(map(abs, one.weights))
        assert sum(one.weights) + one.rest == pytest.approx(one.attribution.change, abs=tolerance)
