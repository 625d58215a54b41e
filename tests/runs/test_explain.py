"""Attention weights of poolings by word, against transformers and a slow sum; whatever a text
holds is shown and does nothing.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Tables, Warm, write_csv
from rich.console import Console
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import encore
from encore import catalogue
from encore.data.token_store import split_pieces, tokenize
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.model.task_model import Branch, TaskModel
from encore.runs.explain import Explanation, Word, WordWeights, explain, spelled, weighed
from encore.runs.explanation_output import render_explanation, weight_columns

ATTENTION = [
    name
    for name in catalogue.names("pooling")
    if catalogue.find("pooling", name).weights is not None
]

LONG = (
    "the lamp is great and it came after a week of my box with xyzzy on it, sturdy and quick. " * 2
)
TEXTS = ["The lamp  xyzzy broke!", LONG, "", "great", "\n the\tzip \n", "kettle"]
OTHERS = ["a box", "dull", "", LONG, "is it", "the tent"]
HOSTILE = {
    "escape": "\x1b[2J\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b31m",
    "carriage": "good\rbad",
    "backspace": "good\b\b\b\bbad",
    "markup": "[bold]loud[/bold] [link=file:///]x[/link] [/]",
    "direction": "abc \u202ereversed\u2066",
    "lines": "a\u2028b\u2029c\x0b\x0c\x85d",
    "emoji": ":warning: :skull:",
}


def cut(max_length: int = 32, truncation: Any = "head") -> dict[str, Any]:
    return {"max_length": max_length, "truncation": truncation}


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> TextTokenizer:
    return TextTokenizer(tiny_encoder)


@pytest.fixture(scope="module")
def model_of(tiny_encoder: Path) -> Callable[..., TaskModel]:
    """`model_of(name, setting=…)`: the tiny encoder under that pooling, whose own weights are far
    from alike.
    """

    def build(name: str, **settings: Any) -> TaskModel:
        pretrained = load.load_encoder(load.locate(str(tiny_encoder)))
        torch.manual_seed(3)
        k = {"k": 2} if "k" in catalogue.settings("pooling", name) else {}
        pooling = catalogue.build("pooling", {"name": name, **k, **settings}, pretrained.shape)
        for parameter in pooling.parameters():
            parameter.data += 0.6 * torch.randn_like(parameter)
        return TaskModel(
            [Branch(pretrained.encoder, pooling)],
            catalogue.build("heads", "linear", pooling.width, 3),
        ).eval()

    return build


def total(one: Explanation) -> float:
    return one.rest + sum(
        word.weight for side in one.texts for word in side.words if word.weight is not None
    )


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("pairs", [None, OTHERS], ids=["single", "pairs"])
def test_weights_add_up_to_one(name: str, pairs: list[str] | None, model_of, tokenizer) -> None:
    for truncation in ("head", "tail", "head_tail"):
        found = list(explain(model_of(name), tokenizer, TEXTS, pairs, **cut(14, truncation)))
        assert [one.texts[0].text for one in found] == TEXTS
        assert [total(one) for one in found] == pytest.approx([1.0] * len(TEXTS), abs=1e-6)
        assert all(
            0 <= word.weight <= 1
            for one in found
            for side in one.texts
            for word in side.words
            if word.weight is not None
        )
        assert all(
            side.text[word.start : word.end] == word.word
            for one in found
            for side in one.texts
            for word in side.words
        )
    assert found[2].texts[0].words == ()
    if pairs is None:
        assert found[2].rest == pytest.approx(1, abs=1e-6)


def slow(
    model: TaskModel, folder: Path, tokenizer: TextTokenizer, text: str, pair: str | None, k: int
) -> tuple[list[tuple[str, float]], float]:
    """max_seq_mha by transformers' hidden states and torch's own attention, one row alone; words by
    BERT's own '##'.
    """
    transformers = pytest.importorskip("transformers")
    reference = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    row = tokenizer.backend.encode(text, pair)
    given = {"input_ids": torch.tensor([row.ids]), "token_type_ids": torch.tensor([row.type_ids])}
    with torch.no_grad():
        peaks = torch.stack(reference(**given, output_hidden_states=True).hidden_states[-k:]).amax(
            0
        )
        pooling = model.branches[0].pooling
        attention = torch.nn.MultiheadAttention(
            peaks.shape[2], pooling.attention.n_heads, batch_first=True
        )
        attention.load_state_dict(pooling.attention.state_dict())
        weights = (
            attention(peaks[:, :1], peaks, peaks, average_attn_weights=True)[1].flatten().tolist()
        )
    words: list[tuple[str, float]] = []
    rest = 0.0
    for piece, weight in zip(row.tokens, weights, strict=True):
        if piece in ("[CLS]", "[SEP]"):
            rest += weight
        elif piece.startswith("##"):
            words[-1] = (words[-1][0] + piece[2:], words[-1][1] + weight)
        else:
            words.append((piece, weight))
    return words, rest


@pytest.mark.parametrize("pairs", [None, OTHERS], ids=["single", "pairs"])
def test_they_are_transformers_states_and_torchs_attention(
    pairs: list[str] | None, model_of, tiny_encoder: Path, tokenizer
) -> None:
    model = model_of("max_seq_mha", n_heads=3)
    texts = [
        "the lamp xyzzy broke .",
        "great",
        "it is quick and sturdy",
        "zip",
        "a kettle of the tent",
        "dull box",
    ]
    others = None if pairs is None else [other.replace(LONG, "the week") for other in pairs]
    for row, one in enumerate(explain(model, tokenizer, texts, others, **cut(48))):
        words, rest = slow(
            model, tiny_encoder, tokenizer, texts[row], None if others is None else others[row], 2
        )
        found = [(word.word, word.weight) for side in one.texts for word in side.words]
        assert [word for word, _ in found] == [word for word, _ in words]
        assert [weight for _, weight in found] == pytest.approx(
            [weight for _, weight in words], abs=1e-6
        )
        assert one.rest == pytest.approx(rest, abs=1e-6)
    assert len(words) > 1
    assert np.ptp([weight for _, weight in words]) > 0.01, "alike, or anything could pass"


def test_no_order_and_no_neighbour_matters(model_of, tokenizer) -> None:
    model, order = model_of("mha"), [4, 0, 5, 2, 1, 3]
    straight = list(explain(model, tokenizer, TEXTS, OTHERS, **cut()))
    turned = list(
        explain(
            model, tokenizer, [TEXTS[row] for row in order], [OTHERS[row] for row in order], **cut()
        )
    )
    alone = [
        next(iter(explain(model, tokenizer, [text], [other], **cut())))
        for text, other in zip(TEXTS, OTHERS, strict=True)
    ]
    for others, rows in ((turned, order), (alone, range(len(TEXTS)))):
        for one, row in zip(others, rows, strict=True):
            assert one.texts[0].text == straight[row].texts[0].text
            assert one.rest == pytest.approx(straight[row].rest, abs=1e-6)
            for side, same in zip(one.texts, straight[row].texts, strict=True):
                assert [(word.word, word.start) for word in side.words] == [
                    (word.word, word.start) for word in same.words
                ]
                assert [word.weight for word in side.words] == pytest.approx(
                    [word.weight for word in same.words], abs=1e-6
                )


def test_nothing_is_left_changed(model_of, tokenizer) -> None:
    model = model_of("attention")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    list(explain(model, tokenizer, TEXTS, None, **cut()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --------------------------------------------------------------------------------- words and places


def byte_level(*, prefix: bool = False) -> Tokenizer:
    """RoBERTa's kind: the blank belongs to the piece behind it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE({piece: number for number, piece in enumerate([*alphabet, "<s>", "</s>"])}, [])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.add_special_tokens(["<s>", "</s>"])
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", backend.token_to_id("</s>")),
        ("<s>", backend.token_to_id("<s>")),
        trim_offsets=False,
    )
    return backend


def sentence_pieces(*, split: bool = True) -> Tokenizer:
    """XLM-R's kind: a blank is the sign ▁. Without `split` the tokenizer takes the whole text for
    one word.
    """
    vocabulary = [
        ("<s>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        ("▁the", -3.0),
        *((letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz!é🙂"),
    ]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    return backend


@pytest.fixture(
    scope="module",
    params=[
        "wordpiece",
        "byte_level",
        "byte_level, prefix",
        "sentence_pieces",
        "sentence_pieces, no words",
    ],
)
def any_tokenizer(
    request: pytest.FixtureRequest, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> TextTokenizer:
    if request.param == "wordpiece":
        return TextTokenizer(tiny_encoder)
    folder = tmp_path_factory.mktemp("tokenizer")
    kind, _, how = request.param.partition(", ")
    made = byte_level(prefix=bool(how)) if kind == "byte_level" else sentence_pieces(split=not how)
    made.save(str(folder / "tokenizer.json"))
    return TextTokenizer(folder)


def ones(tokenizer: TextTokenizer, text: str, **cutting: Any) -> tuple[Word, ...]:
    """The words of a text whose every token weighs 1."""
    (side,) = split_pieces(tokenizer, text, **(cutting or cut(999)))
    weights = [None if place < 0 else 1.0 for place in side.places.tolist()]
    return weighed(text, spelled(text, side), weights)


def test_words_are_whole_in_every_kind_of_tokenizer(any_tokenizer: TextTokenizer) -> None:
    words = ones(any_tokenizer, "  the lamp  brøké \n 🙂 the ")
    assert [word.word for word in words] == ["the", "lamp", "brøké", "🙂", "the"]
    assert sum(word.weight or 0 for word in words) <= len(
        any_tokenizer.backend.encode("  the lamp  brøké \n 🙂 the ")
    )


def test_combining_accents_and_full_width_letters_keep_their_place(
    any_tokenizer: TextTokenizer,
) -> None:
    text = "cafe\u0301 ｔｈｅ lamp"
    words = ones(any_tokenizer, text)
    assert "".join(word.word for word in words) == text.replace(" ", "")
    assert [text[word.start : word.end] for word in words] == [word.word for word in words]


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail", "half_half"])
def test_pieces_stand_where_the_store_has_them(
    truncation: str, any_tokenizer: TextTokenizer
) -> None:
    n_checked = 0
    for text, pair in (
        (LONG, None),
        (LONG, "the tent"),
        ("zip", LONG),
        (LONG, LONG[9:]),
        ("the box", ""),
        ("the box", None),
    ):
        for max_length in (9, 10, 31):
            store = tokenize(
                any_tokenizer,
                [text],
                None if pair is None else [pair],
                **cut(max_length, truncation),
            )
            sides = [side for side in (text, pair) if side is not None]
            found = split_pieces(any_tokenizer, *sides, **cut(max_length, truncation))
            taken = np.concatenate([side.places[side.places >= 0] for side in found])
            assert (
                len(set(taken.tolist()))
                == len(taken)
                == len(store.ids) - any_tokenizer.n_special(pair is not None)
            )
            for side, each in zip(sides, found, strict=True):
                ids = np.array(
                    any_tokenizer.backend.encode(side, add_special_tokens=False).ids, dtype=np.int64
                )
                assert len(ids) == len(each.places)
                assert np.array_equal(
                    ids[each.places >= 0], store.ids[each.places[each.places >= 0]]
                )
                n_checked += 1
            assert any((each.places < 0).any() for each in found) == bool(store.cut[0])
    assert n_checked == 30


def test_a_word_that_is_cut_says_so(tokenizer) -> None:
    words = ones(tokenizer, "xyzzy the lamp xyzzy", **cut(6, "head"))
    assert [(word.word, word.weight) for word in words] == [
        ("xyzzy", 4.0),
        ("the", None),
        ("lamp", None),
        ("xyzzy", None),
    ]
    words = ones(tokenizer, "xyzzy the lamp xyzzy", **cut(9, "tail"))
    assert [(word.word, word.weight) for word in words] == [
        ("xyzzy", None),
        ("the", 1.0),
        ("lamp", 1.0),
        ("xyzzy", 5.0),
    ]


# -------------------------------------------------------------------------------------------- shown


def explained(
    *sides: tuple[str, list[tuple[str, float | None]]], rest: float = 0.125
) -> Explanation:
    texts = []
    for text, words in sides:
        end, found = 0, []
        for word, weight in words:
            start = text.index(word, end)
            end = start + len(word)
            found.append(Word(word, start, end, weight))
        texts.append(WordWeights(text, tuple(found)))
    return Explanation(tuple(texts), rest)


def on_terminal(one: Explanation, **how: Any) -> str:
    file = io.StringIO()
    terminal = Console(
        file=file,
        force_terminal=True,
        color_system="truecolor",
        width=400,
        legacy_windows=False,
        _environ={},
        **how,
    )
    terminal.print(render_explanation(one, title="7: 4 (0.83)"))
    return file.getvalue()


def test_what_is_drawn() -> None:
    one = explained(
        ("The zip  broke.", [("The", 0.0), ("zip", 0.5), ("broke", 0.25), (".", 0.125)])
    )
    assert render_explanation(one, title="7: 4 (0.83)").plain.splitlines() == [
        "7: 4 (0.83)",
        "  The zip broke.",
        "  zip 50.0 %, broke 25.0 %, . 12.5 %, The 0.0 %, special tokens 12.5 %",
    ]
    coloured = on_terminal(one)
    backgrounds = {
        word: re.search(rf"\x1b\[[0-9;]*48;2;255;(\d+);(\d+)m{word}", coloured)
        for word in ("The", "zip", "broke", r"\.")
    }
    assert backgrounds["The"] is backgrounds[r"\."] is None, "below the average of the words, 0.22"
    strength = {word: int(match[1]) for word, match in backgrounds.items() if match}
    assert strength["zip"] < strength["broke"], "the stronger, the redder"
    even = on_terminal(explained(("a b", [("a", 0.5), ("b", 0.5)]), rest=0.0))
    assert "48;" not in even
    assert "\x1b[48" not in on_terminal(one, no_color=True)
    assert "48;" not in on_terminal(one, no_color=True)


def test_pairs_and_what_was_cut() -> None:
    first = ("one two three four", [("one", 0.25), ("two", None), ("three", None), ("four", 0.25)])
    one = explained(first, ("five six", [("five", 0.5), ("six", None)]), rest=0.0)
    assert render_explanation(
        one, title="1: same (0.50)", names=("question1", "question2")
    ).plain.splitlines() == [
        "1: same (0.50)",
        "  question1: one [2 words cut] four",
        "  question2: five [1 word cut]",
        "  five 50.0 %, one 25.0 %, four 25.0 %, special tokens 0.0 %",
    ]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_shown_and_do_nothing(text: str, any_tokenizer: TextTokenizer) -> None:
    words = ones(any_tokenizer, text)
    weights = [word.weight or 0 for word in words]
    one = Explanation(
        (
            WordWeights(
                text,
                tuple(
                    replace(word, weight=weight / sum(weights))
                    for word, weight in zip(words, weights, strict=True)
                ),
            ),
        ),
        0.0,
    )
    plain = render_explanation(one, title=text, names=(text, text)).plain
    assert len(plain.splitlines()) == 3
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", plain
    )
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(one))
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", stripped
    )
    for visible in ("[bold]", "[/bold]", "[link=file:///]", ":warning:", "[31m", "]0;owned"):
        if visible in text:
            assert visible.replace(" ", "") in plain.splitlines()[1].replace(" ", "")
            assert visible.replace(" ", "") in stripped.splitlines()[1].replace(" ", "")


def test_columns_of_a_table() -> None:
    one = explained(("a b", [("a", 0.5), ("b", None)]), ("c", [("c", 0.25)]), rest=0.25)
    columns = weight_columns(iter([one] * 3), pair=True, gradients=False)
    assert list(columns) == ["weights", "weights_pair", "weights_rest"]
    a, b = (
        {"word": "a", "start": 0, "end": 1, "weight": 0.5},
        {"word": "b", "start": 2, "end": 3, "weight": None},
    )
    assert columns["weights"].to_pylist() == [[a, b]] * 3
    assert columns["weights_rest"].to_pylist() == [0.25] * 3
    assert list(weight_columns([], pair=False, gradients=False)) == ["weights", "weights_rest"]


# -------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    recipe = tables.recipe(
        "pooling={name: max_seq_mha, k: 2, n_heads: 3}", "plan.epochs=1", text_pair="other"
    )
    return encore.fit(recipe, runs=tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(
        tmp_path_factory.mktemp("new") / "new.csv",
        {"text": ["the [bold]zip[/bold] \x1b[31mbroke", LONG], "other": ["xyzzy box", "great"]},
    )


def test_the_command_shows_texts_and_figures(run: Path, new: Path, warm: Warm) -> None:
    outcome = warm.run(["predict", run, new, "--explain", "--quiet"])
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) == 8
    assert re.fullmatch(r"line 2: (bad|fair|good) \(0\.\d\d\)", lines[0])
    assert lines[1] == "  text: the [bold]zip[/bold] \ufffd[31mbroke"
    assert lines[2] == "  other: xyzzy box"
    assert re.fullmatch(r"  (\S+ \d+\.\d %, ){8}special tokens \d+\.\d %", lines[3])
    assert "words cut]" in lines[5]


def test_json_and_files_hold_what_python_gives(
    run: Path, new: Path, warm: Warm, tmp_path: Path
) -> None:
    model = encore.load(run)
    dataset = model.read(new)
    expected = model.explain(
        list(zip(dataset.texts.to_pylist(), dataset.pairs.to_pylist(), strict=True))
    )
    said = warm.run(["predict", run, new, "--explain", "--json"])
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert sorted(told) == ["file", "method", "rows", "run", "task"]
    assert told["method"] == "attention"
    for suffix in ("jsonl", "parquet"):
        outcome = warm.run(
            ["predict", run, new, "--explain", "--with-input", "-o", tmp_path / f"out.{suffix}"]
        )
        assert outcome.code == 0, outcome.err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    exact = pq.read_table(tmp_path / "out.parquet").to_pylist()
    for row in exact:  # text formats have six digits
        row |= {name: round(row[name], 6) for name in ("p(bad)", "p(fair)", "p(good)")}
    assert exact == rows
    assert list(rows[0]) == [
        "text",
        "other",
        "prediction",
        "p(bad)",
        "p(fair)",
        "p(good)",
        "weights",
        "weights_pair",
        "weights_rest",
    ]
    for row, object_, one in zip(rows, told["rows"], expected, strict=True):
        assert (object_["prediction"], object_["weights"], object_["weights_rest"]) == (
            row["prediction"],
            row["weights"],
            row["weights_rest"],
        )
        for name, side in zip(("weights", "weights_pair"), one.texts, strict=True):
            assert row[name] == [
                {"word": word.word, "start": word.start, "end": word.end, "weight": word.weight}
                for word in side.words
            ]
            assert all(
                row["text" if name == "weights" else "other"][entry["start"] : entry["end"]]
                == entry["word"]
                for entry in row[name]
            )
        assert row["weights_rest"] == one.rest
    assert any(entry["weight"] is None for entry in rows[1]["weights"])


def test_what_is_refused(run: Path, new: Path, warm: Warm, tmp_path: Path) -> None:
    for more, said in (
        (["-o", tmp_path / "out.csv"], "which are lists. Name a .jsonl or .parquet file."),
        (["--with-input"], "--with-input and --explain together need an output file"),
    ):
        outcome = warm.run(["predict", run, new, "--explain", *more])
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert said in outcome.err


@pytest.mark.parametrize(
    ("pair", "n_texts", "expected"),
    [
        ({"name": "cross"}, 2, True),
        ({"name": "cross", "eval_order": "both"}, 2, True),
        ({"name": "cross", "segments": "zero"}, 2, False),
        ({"name": "cross", "segments": "zero"}, 1, True),
    ],
)
def test_where_attention_is_followed(
    pair: dict[str, str], n_texts: int, expected: bool, run: Path
) -> None:
    """Other pairs are read in a way that only the gradients follow."""
    task = encore.load(run).task()
    columns = replace(task.columns, text_pair=task.columns.text_pair if n_texts == 2 else None)
    assert replace(task, pair=pair, columns=columns).has_attention == expected


def test_no_rows(run: Path) -> None:
    assert encore.load(run).explain([]) == []
