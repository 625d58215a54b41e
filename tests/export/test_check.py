"""Every pooling, every family, every kind of task: exported, loaded by plain transformers in
another process, and the same numbers as Encore's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import VOCABULARY
from tokenizers import AddedToken

from encore import catalogue, files
from encore.data.inputs import read_unlabelled
from encore.data.settings import DataSettings
from encore.data.tokenizer import TextTokenizer
from encore.data.tokenizer_roles import special_roles
from encore.encoder import load as encoders
from encore.errors import DataError, EncoreError
from encore.export import stock
from encore.export.check import (
    ReferenceOutputs,
    _readable,
    compare_outputs,
    outputs_in_fresh_process,
    reference_outputs,
)
from encore.export.write import WrittenExport, outputs_of, write_export
from encore.runs.predict import load
from encore.training.streams import tokenize_set

from .conftest import KINDS, OTHER_FAMILIES, config_of

POOLINGS = catalogue.names("pooling")
EDGES: tuple[Mapping[str, Any], ...] = (
    {"name": "mean", "include_special": False},
    {
        "name": "concat",
        "of": [
            "attention",
            "cls",
            {"name": "max_seq_mha", "k": 1},
            {"name": "concat", "of": ["mean_max", "weighted_layers"]},
        ],
    },
)

CASED = {
    "normalizer": None,
    "pre_tokenizer": {"type": "WhitespaceSplit"},
}  # a tokenizer to which capitals and blanks matter

VECTORS = "sentence-transformers"
APART: Mapping[
    str, Mapping[str, Any]
] = {  # heads for two texts that are read apart: what their task is like
    "siamese_cosine": {
        "head": {"size": 7},
        "pooling": {"name": "mean_max"},
        "labels": {"kind": "regression", "names": []},
    },
    "siamese_dot": {
        "head": {"size": 5},
        "pooling": {"name": "pooler"},
        "labels": {"kind": "binary", "names": ["no", "yes"]},
    },
    "cosine_threshold": {
        "head": {},
        "pooling": {"name": "cls"},
        "labels": {"kind": "binary", "names": ["no", "yes"]},
    },
    "siamese_concat": {
        "head": {},
        "pooling": {"name": "mean"},
        "labels": {"kind": "multiclass", "names": ["bad", "fair", "good"]},
    },
    "fcn_similarity": {
        "head": {"size": 6},
        "pooling": {"name": "cls"},
        "labels": {"kind": "regression", "names": []},
    },
    "fcn_paraphrase": {
        "head": {"size": 6},
        "pooling": {"name": "mean_max"},
        "labels": {"kind": "binary", "names": ["no", "yes"]},
    },
}
ZERO = {"name": "cross", "segments": "zero", "order": "random"}
BOTH = {"name": "cross", "eval_order": "both"}


@dataclass(frozen=True)
class Case:
    """kind: of task; settings: what is different of its run. trained: the run itself, as it was
    trained.
    """

    kind: str
    settings: Mapping[str, Any]
    trained: bool = False
    to: str = "hf"


def of_two(head: str, pair: str = "siamese") -> dict[str, Any]:
    how = APART[head]
    return {
        **how,
        "head": {"name": head, **how["head"]},
        "labels": {**how["labels"], "ordered": False},
        "pair": {"name": pair},
    }


def spec(name: str) -> dict[str, Any]:
    """Two layers is all that the encoder of the tests has."""
    return {"name": name, **({"k": 2} if "k" in catalogue.settings("pooling", name) else {})}


CASES = {
    **{f"pooling {name}": Case("binary", {"pooling": spec(name)}) for name in POOLINGS},
    **{f"edge {number}": Case("binary", {"pooling": edge}) for number, edge in enumerate(EDGES)},
    **{
        f"{family} {name}": Case("multiclass", {"pooling": {"name": name}, "family": family})
        for family in OTHER_FAMILIES
        for name in ("pooler", "cls", "mean", "max_seq_mha")
    },
    **{f"trained {kind}": Case(kind, {}, trained=True) for kind in KINDS},
    "pair of texts, pooler": Case("pair", {"pooling": {"name": "pooler"}}),
    "pair of texts, from the end": Case("pair", {"truncation": "tail", "max_length": 11}),
    "from the end": Case("multiclass", {"truncation": "tail", "max_length": 7}),
    **{
        f"one logit, {name}": Case(
            "binary", {"pooling": {"name": name}, "head": {"name": "linear", "one_logit": True}}
        )
        for name in ("pooler", "cls", "mean")
    },
    "both ends": Case("multiclass", {"truncation": "head_tail", "max_length": 9}),
    "half and half": Case("multiclass", {"truncation": "half_half", "max_length": 9}),
    "minbert": Case("multiclass", {"normalise": "minbert", "tokenizer": CASED}),
    "minbert_pair": Case("pair", {"normalise": "minbert_pair", "tokenizer": CASED}),
    "trained in bf16": Case("multiclass", {"precision": "bf16"}),
    "a frozen encoder beside it": Case(
        "multiclass", {"pooling": {"name": "pooler"}, "sharing": {"name": "static", "of": "one"}}
    ),
    "its own encoder beside the shared one": Case(
        "pair",
        {"pooling": {"name": "mha"}, "sharing": {"name": "multi_and_own"}, "precision": "bf16"},
    ),
    "segments of no family": Case("pair", {"pair": ZERO, "pooling": {"name": "pooler"}}),
    "segments of no family, mean": Case(
        "pair", {"pair": ZERO, "truncation": "tail", "max_length": 11}
    ),
    **{
        f"both orders {truncation}": Case(
            "pair",
            {"pair": {**BOTH, "segments": segments}, "truncation": truncation, "max_length": 12},
        )
        for truncation, segments in (
            ("head", "family"),
            ("tail", "zero"),
            ("head_tail", "zero"),
            ("half_half", "family"),
        )
    },
    **{
        f"both orders {family}": Case("pair", {"pair": BOTH, "family": family})
        for family in OTHER_FAMILIES
    },
    **{f"apart {head}": Case("pair", {**of_two(head), "max_length": 9}) for head in APART},
    "apart from the end": Case(
        "pair", {**of_two("siamese_concat"), "max_length": 9, "truncation": "tail"}
    ),
    "apart, both ends": Case(
        "pair", {**of_two("siamese_concat"), "max_length": 9, "truncation": "head_tail"}
    ),
    "apart and normalised": Case(
        "pair", {**of_two("siamese_concat"), "normalise": "minbert_pair", "tokenizer": CASED}
    ),
    "apart in bf16": Case("pair", {**of_two("siamese_dot"), "precision": "bf16"}),
    "apart, a frozen encoder beside it": Case(
        "pair", {**of_two("siamese_concat"), "sharing": {"name": "static", "of": "one"}}
    ),
    **{
        f"apart {family}": Case(
            "pair", {**of_two("siamese_dot"), "family": family, "max_length": 11}
        )
        for family in OTHER_FAMILIES
    },
    **{
        f"seen by each other {name}": Case(
            "pair", {**of_two("siamese_concat", "siamese_attend"), "pooling": spec(name)}
        )
        for name in ("mean", "weighted_layers", "attention")
    },
    **{
        f"vectors {name}": Case("multiclass", {"pooling": {"name": name}}, to=VECTORS)
        for name in ("cls", "mean", "max", "mean_max", "pooler")
    },
    "vectors concat": Case(
        "binary",
        {"pooling": {"name": "concat", "of": ["mean", "cls", {"name": "max"}]}},
        to=VECTORS,
    ),
    "vectors concat, in its order": Case(
        "regression",
        {"pooling": {"name": "concat"}, "truncation": "tail", "max_length": 9},
        to=VECTORS,
    ),
    **{
        f"vectors {head}": Case("pair", of_two(head), to=VECTORS)
        for head in APART
        if not head.startswith("fcn_")
    },
    **{
        f"vectors {family}": Case(
            "multiclass", {"pooling": {"name": "mean"}, "family": family}, to=VECTORS
        )
        for family in OTHER_FAMILIES
    },
}


@dataclass(frozen=True)
class Done:
    run: Path
    written: WrittenExport
    expected: ReferenceOutputs
    found: Mapping[str, Any]


@pytest.fixture(scope="module")
def done(
    runs: dict[str, Path],
    vary: Callable[..., Path],
    strange: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Done]:
    """All cases, in one other process."""
    place, made = tmp_path_factory.mktemp("exports"), {}
    for name, case in CASES.items():
        settings = dict(case.settings)
        family = settings.pop("family", None)
        config = config_of(family, len(VOCABULARY)) if family else None
        run = runs[case.kind] if case.trained else vary(case.kind, config=config, **settings)
        model = load(run)
        task = model.task()
        folder = place / name.replace(" ", "-")
        folder.mkdir()
        how = outputs_of(run, task, case.to)
        expected = reference_outputs(model, task, how, on=None if case.trained else strange)
        made[name] = (
            run,
            write_export(model, task, case.to, folder, name="x", rounding=expected.rounding),
            expected,
        )
    found = outputs_in_fresh_process(
        [(written, expected) for _, written, expected in made.values()]
    )
    return {name: Done(*made[name], told) for name, told in zip(made, found, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_a_fresh_process_gives_encores_tokens_and_probabilities(
    name: str, done: dict[str, Done]
) -> None:
    one = done[name]
    assert compare_outputs(Path(name), one.expected, one.found) <= 1e-5
    assert len(one.expected.store) > 5
    assert np.ptp(one.expected.values, axis=0).max() > 1e-3, (
        "rows that all get the same answer compare nothing"
    )


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.to == "hf"])
def test_plain_transformers_where_one_of_its_classes_does(name: str, done: dict[str, Done]) -> None:
    """The class is that of the family for pooler and [CLS] of those whose head is tanh and a linear
    layer, and Encore's for all others. A tokenizer that puts pairs together as a run did needs no
    class for it.
    """
    one = done[name]
    config = files.read_json(one.run / "model" / "config.json")
    ((_, task),) = files.read_json(one.run / "model" / "model.json")["tasks"].items()
    own = {
        name
        for name, case in CASES.items()
        if "sharing" in case.settings or name.startswith(("apart", "both orders", "seen"))
    }
    plain = (
        task["pooling"]["name"] in ("pooler", "cls")
        and config["model_type"] in stock.HEADS
        and name not in own
    )
    assert one.written.own_class is not plain
    assert one.found["class"] == one.written.made_of
    assert (one.written.made_of == "EncoreForSequenceClassification") is not plain
    if config["model_type"] == "bert" and plain:
        assert one.written.made_of == "BertForSequenceClassification"
        assert files.read_json(one.written.folder / "config.json")["classifier_dropout"] == 0.1


def test_vectors_are_as_long_as_the_run_has_them(done: dict[str, Done]) -> None:
    width = {
        "vectors siamese_cosine": 7,
        "vectors siamese_dot": 5,
        "vectors mean_max": 48,
        "vectors concat": 72,
        "vectors concat, in its order": 48,
    }
    for name, case in CASES.items():
        if case.to == VECTORS:
            assert np.shape(done[name].found["values"])[1] == width.get(name, 24), name
            assert done[name].found["class"] == "SentenceTransformer"
    kept = [
        (done[name].written.folder / "2_Dense").exists()
        for name in (
            "vectors pooler",
            "vectors mean_max",
            "vectors mean",
            "vectors concat, in its order",
        )
    ]
    assert kept == [True, True, False, False], (
        "where that library's order is the run's own, nothing turns it"
    )


def test_vectors_of_texts_that_are_read_apart_make_the_answers_of_their_run(
    done: dict[str, Done],
) -> None:
    """By the very similarity that the folder says."""
    for head in ("siamese_cosine", "siamese_dot", "cosine_threshold"):
        one = done[f"vectors {head}"]
        texts, vectors = one.expected.raw[0], np.array(one.found["values"])
        pairs = list(zip(range(len(texts)), reversed(range(len(texts))), strict=True))
        products = np.array([vectors[a] @ vectors[b] for a, b in pairs])
        lengths = np.array(
            [np.linalg.norm(vectors[a]) * np.linalg.norm(vectors[b]) for a, b in pairs]
        )
        cosines = products / lengths
        by = files.read_json(one.written.folder / "config_sentence_transformers.json")[
            "similarity_fn_name"
        ]
        assert by == ("dot" if head == "siamese_dot" else "cosine")
        said = load(one.run).predict([(texts[a], texts[b]) for a, b in pairs])
        if head == "siamese_cosine":
            assert [each.label for each in said] == pytest.approx(5 * cosines.clip(min=0), abs=1e-4)
        elif by == "dot":
            assert [each.probabilities["yes"] for each in said] == pytest.approx(
                1 / (1 + np.exp(-products)), abs=1e-4
            )
        else:  # a threshold gives no probabilities
            clear = abs(cosines) > 1e-4
            labels = np.array([each.label for each in said])
            assert (labels[clear] == np.where(cosines > 0, "yes", "no")[clear]).all()
            assert not any(each.probabilities for each in said)
        assert np.ptp(products if by == "dot" else cosines) > 0.1
        card = (one.written.folder / "README.md").read_text(encoding="utf-8")
        assert (
            f"by the {'dot product' if by == 'dot' else 'cosine'} of its two texts' vectors, "
            f"which `similarity` computes" in card
        )
        assert "how well they measure similarity" not in card
    other = (done["vectors siamese_concat"].written.folder / "README.md").read_text(
        encoding="utf-8"
    )
    assert "The head is not in this folder." in other
    assert "`pipeline`" not in other, "what only a pipeline does wrong"


def test_all_that_there_is_was_tried() -> None:
    assert len([name for name in CASES if name.startswith("pooling ")]) == len(POOLINGS) >= 15
    assert {"bert", *OTHER_FAMILIES} > set(encoders.families())
    assert len(OTHER_FAMILIES) >= 6
    assert [name for name in OTHER_FAMILIES if encoders.family(name) is None] == ["deberta-v2"]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_have_their_names_and_the_kind_of_problem(kind: str, done: dict[str, Done]) -> None:
    one = done[f"trained {kind}"]
    config = files.read_json(one.written.folder / "config.json")
    names = {
        "binary": ["minus", "plus"],
        "multilabel": ["blame", "praise", "strong"],
        "regression": ["score"],
    }.get(kind, ["bad", "fair", "good"])
    assert [config["id2label"][str(number)] for number in range(len(names))] == names
    assert config["label2id"] == {name: number for number, name in enumerate(names)}
    problems = {"multilabel": "multi_label_classification", "regression": "regression"}
    assert config["problem_type"] == problems.get(kind, "single_label_classification")
    assert config["architectures"] == [one.written.made_of]


def test_rows_that_cannot_be_cut_alike_are_left_out_and_told(done: dict[str, Done]) -> None:
    for name in ("both ends", "half and half"):
        assert not done[name].expected.store.cut.any()
        assert any(
            "longer than 9 tokens get other outputs" in line for line in done[name].written.limits
        )
    assert done["from the end"].expected.store.cut.any()
    assert any("the last 7 are read" in line for line in done["from the end"].written.limits)


def test_what_bf16_did_to_the_figures_is_told(done: dict[str, Done]) -> None:
    one = done["trained in bf16"]
    assert 1e-5 < one.expected.rounding < 0.2
    assert any("bf16" in line for line in one.written.limits)
    assert not any("bf16" in line for line in done["minbert"].written.limits)


@pytest.mark.parametrize("name", ["minbert", "minbert_pair"])
def test_normalising_is_in_the_tokenizer(name: str, done: dict[str, Done]) -> None:
    """And does something there: without it these texts have other tokens."""
    one = done[name]
    model = load(one.run)
    task = model.task()
    texts: list[Any] = (
        list(one.expected.raw[0])
        if one.expected.raw[1] is None
        else list(zip(*one.expected.raw, strict=True))
    )
    plain = tokenize_set(
        read_unlabelled(texts, task.columns),
        model.tokenizer,
        task.pair,
        max_length=task.max_length,
        truncation=task.truncation,
    )
    assert plain.ids.tolist() != one.expected.store.ids.tolist()
    assert any(f"normalises texts as in training ({name}" in line for line in one.written.limits)


# --------------------------------------------------------------------- what a difference looks like


def test_a_number_that_differs_is_told_with_its_row(done: dict[str, Done]) -> None:
    one = done["trained binary"]
    off = np.array(one.expected.values)
    off[3, 1] += 2e-5
    told = (
        r"target: not exported: .*transformers 5.* 'plus' of .*expected 0\.\d{6}, got "
        r"0\.\d{6}; 1 of 23 rows differ"
    )
    with pytest.raises(EncoreError, match=told) as error:
        compare_outputs(Path("target"), replace(one.expected, values=off), one.found)
    assert error.value.exit_code == 1
    assert one.expected.raw[0][3][:20] in str(error.value)
    off[3, 1] -= 1.5e-5
    assert 0 < compare_outputs(Path("target"), replace(one.expected, values=off), one.found) < 1e-5
    off[5, 0] = np.nan
    with pytest.raises(EncoreError, match="nan"):
        compare_outputs(Path("target"), replace(one.expected, values=off), one.found)


@pytest.mark.parametrize(
    ("value", "found", "same"),
    [
        (100.0, 100.0009, True),
        (100.0, 100.0011, False),
        (0.01, 0.010009, True),
        (0.01, 0.010011, False),
    ],
)
def test_a_number_above_1_may_differ_by_its_size(value: float, found: float, same: bool) -> None:
    store: Any = SimpleNamespace(ids=np.array([2, 3]), offsets=np.array([0, 2]))
    expected = ReferenceOutputs((["a"], None), "here", store, np.array([[value]]), (), 0.0)
    answer = {"ids": [[2, 3]], "values": [[found]]}
    if same:
        assert compare_outputs(Path("target"), expected, answer) == pytest.approx(
            abs(found - value)
        )
    else:
        with pytest.raises(EncoreError, match="1 of 1 rows differ"):
            compare_outputs(Path("target"), expected, answer)


@pytest.mark.parametrize(
    ("row", "pair", "normalise", "readable"),
    [
        ("a [MASK]", None, None, True),
        ("a [MASK]", None, "minbert", False),
        ("a", None, "minbert", True),
        (("a", "b"), "other", None, True),
        (("a", ""), "other", None, False),
        (("a", "[MASK]"), "other", "minbert_pair", False),
    ],
)
def test_rows_that_transformers_reads_otherwise_are_not_compared(
    row: Any, pair: str | None, normalise: str | None, readable: bool
) -> None:
    task: Any = SimpleNamespace(columns=SimpleNamespace(text_pair=pair), normalise=normalise)
    assert _readable(row, task, ["[CLS]", "[MASK]"]) is readable


def test_texts_are_compared_as_they_stand_in_the_file(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the exported tokenizer that has to normalise them."""
    asked: list[DataSettings] = []

    def stopped(name: str, settings: DataSettings) -> None:
        asked.append(settings)
        raise DataError("stopped.")

    monkeypatch.setattr("encore.export.check.load_task", stopped)
    model = load(runs["binary"])
    with pytest.raises(DataError, match=r"to compare on: stopped\."):
        reference_outputs(model, model.task(), "scores")
    assert [settings.normalise for settings in asked] == ["none"]


def test_special_tokens_are_those_that_the_tokenizer_itself_calls_so(tiny_encoder: Path) -> None:
    """The padding is the one that the encoder's configuration names by its number, where that is
    one of them.
    """
    backend = TextTokenizer(tiny_encoder).backend
    backend.add_tokens([AddedToken("<mask>")])  # no special one
    found = special_roles(backend, {})
    assert {
        found[role] for role in ("pad_token", "unk_token", "mask_token", "cls_token", "sep_token")
    } == {"[PAD]", "[UNK]", "[MASK]", "[CLS]", "[SEP]"}
    assert (
        found["pad_token"]
        == special_roles(backend, {"pad_token_id": len(VOCABULARY)})["pad_token"]
        == "[PAD]"
    )
    assert special_roles(backend, {"pad_token_id": 4})["pad_token"] == "[MASK]"


def test_rows_of_all_lengths_are_compared(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text(
        "text\n" + "".join("a " * (1 + row % 25) + "\n" for row in range(200)), encoding="utf-8"
    )
    model = load(runs["multiclass"])
    lengths = reference_outputs(
        model, model.task(), "scores", on=str(tmp_path / "many.csv")
    ).store.lengths
    assert (len(lengths), lengths.min(), lengths.max()) == (64, 3, 27)
    assert len(set(lengths.tolist())) == 25


def test_other_tokens_and_other_labels_are_told(done: dict[str, Done]) -> None:
    one = done["trained binary"]
    other = {**one.found, "ids": [[*row] for row in one.found["ids"]]}
    other["ids"][2][1] = 5
    with pytest.raises(EncoreError, match=r"other tokens than Encore: .* at place 1, got \[5"):
        compare_outputs(Path("target"), one.expected, other)
    other = {**one.found, "values": [{"LABEL_0": 0.5, "LABEL_1": 0.5} for _ in one.found["values"]]}
    with pytest.raises(EncoreError, match="other labels than Encore: LABEL_0"):
        compare_outputs(Path("target"), one.expected, other)


def test_what_cannot_be_loaded_is_told(
    done: dict[str, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = done["trained binary"]
    fails = tmp_path / "python"
    fails.write_text(
        "#!/bin/sh\necho Traceback >&2\necho 'OSError: no weights in it' >&2\nexit 1\n"
    )
    fails.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fails))
    with pytest.raises(
        EncoreError,
        match=r"a fresh process could not load what was written \(transformers 5.*: OSError: no "
        r"weights in it\. Nothing",
    ):
        outputs_in_fresh_process([(one.written, one.expected)])


def test_long_rows_only_cannot_be_compared(
    vary: Callable[..., Path], strange: str, tmp_path: Path
) -> None:
    model = load(vary("multiclass", truncation="head_tail", max_length=4))
    (tmp_path / "long.csv").write_text(
        "text\n" + "the lamp is great and lovely\n" * 3, encoding="utf-8"
    )
    with pytest.raises(DataError, match="every row is longer than 4 tokens"):
        reference_outputs(model, model.task(), "scores", on=str(tmp_path / "long.csv"))


def test_where_the_dev_set_is_gone_other_texts_are_asked_for(
    runs: dict[str, Path], vary: Callable[..., Path]
) -> None:
    folder = vary("binary")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("train.csv", "gone.csv"), encoding="utf-8"
    )
    model = load(folder)
    with pytest.raises(DataError, match=r"dev set, to compare on: .*gone\.csv.*--on FILE"):
        reference_outputs(model, model.task(), "scores")
