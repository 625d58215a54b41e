"""Encore's class inside transformers: as any model there, trained on, saved and loaded, and blind
to padding on whichever side.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

import encore.hf
from encore.errors import DataError
from encore.export.write import write_export
from encore.hf import EncoreConfig
from encore.runs.predict import load

TEXTS = [
    "the lamp is great",
    "it",
    "my zip broke after a week and it was slow and dull",
    "very lovely box",
]


@pytest.fixture(scope="module")
def folder(vary: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("own-class")
    model = load(vary("multiclass", pooling={"name": "mean"}))
    write_export(model, model.task(), "hf", target, name="x")
    return target


@pytest.fixture(scope="module")
def model(folder: Path) -> encore.hf.EncoreForSequenceClassification:
    encore.hf.register()
    encore.hf.register()  # as often as you like
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def batch(folder: Path, side: str = "right") -> dict[str, torch.Tensor]:
    return dict(
        AutoTokenizer.from_pretrained(folder, padding_side=side)(
            TEXTS, padding=True, return_tensors="pt"
        )
    )


def test_padding_on_either_side_changes_nothing(
    folder: Path, model: encore.hf.EncoreForSequenceClassification
) -> None:
    right, left = batch(folder), batch(folder, "left")
    assert not torch.equal(right["attention_mask"], left["attention_mask"])
    logits = model(**right).logits
    assert_close(model(**left).logits, logits)
    for row in range(len(TEXTS)):
        alone = right["input_ids"][row : row + 1, : int(right["attention_mask"][row].sum())]
        assert_close(model(alone).logits[0], logits[row])
    assert len({tuple(row) for row in logits.round(decimals=4).tolist()}) == len(TEXTS)


def test_scores_that_are_not_finite_are_an_error(folder: Path) -> None:
    broken = AutoModelForSequenceClassification.from_pretrained(folder)
    bias = dict(broken.named_parameters())["network.head.out.bias"]
    bias.data[0] = float("nan")
    with pytest.raises(DataError, match=r"for 4 of 4 rows \(rows 1, 2, 3, …\) are not finite"):
        broken.eval()(**batch(folder))
    assert broken.train()(**batch(folder)).logits.isnan().any()  # training has its own rules


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    encore.hf.register()
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_weights_that_are_not_finite_are_refused(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["network.head.out.bias"][1] = float("nan")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"tensor 'network.head.out.bias' has 1 of 3 values that"):
        AutoModelForSequenceClassification.from_pretrained(copied)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": 10**9}, "encoder_config hidden_size: expected a whole number"),
        ({"layer_norm_eps": 2.0}, "encoder_config layer_norm_eps: expected a number above 0"),
        ({"vocab_size": 9_000_000}, "shape (88, 24), the configuration says (9000000, 24)."),
        ({"num_hidden_layers": 400}, "more tensors do not fit."),
    ],
    ids=str,
)
def test_a_hostile_configuration_is_refused_in_few_lines(
    change: dict[str, object], expected: str, copied: Path
) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["encoder_config"] |= change
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError) as caught:
        AutoModelForSequenceClassification.from_pretrained(copied)
    assert expected in str(caught.value)
    assert len(caught.value.lines) <= 10


def test_settings_for_reading_pairs_are_bounded() -> None:
    template = {"ids": [1], "segments": [0], "counts": [1], "text_segments": [0]}
    as_encore_has_it = {key: tuple(value) for key, value in template.items()}
    sound = {"pair": {"name": "siamese"}, "max_length": 8, "truncation": "head"}
    reading = {**sound, "templates": [template, as_encore_has_it]}
    assert EncoreConfig(reading=reading).reading == reading
    for key, wrong in {"max_length": 10**12, "truncation": "up", "templates": [template]}.items():
        with pytest.raises(DataError, match=f"config.json reading {key}: expected "):
            EncoreConfig(reading={**reading, key: wrong})


def test_tokens_are_those_that_the_mask_shows() -> None:
    ids = torch.tensor([[5, 6, 7, 0, 0], [0, 0, 0, 8, 9]])
    segments = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 1, 1]])
    tokens = encore.hf.tokens_of(ids, (ids > 0).long(), segments)
    assert tokens.ids.tolist() == [5, 6, 7, 8, 9]
    assert tokens.segments.tolist() == [0, 0, 1, 1, 1]
    assert tokens.positions.tolist() == [0, 1, 2, 0, 1]
    assert tokens.offsets.tolist() == [0, 3, 5]
    assert tokens.lengths == (3, 2)


def test_a_row_that_is_all_padding_is_refused(
    folder: Path, model: encore.hf.EncoreForSequenceClassification
) -> None:
    given = batch(folder)
    given["attention_mask"][1] = 0
    with pytest.raises(DataError, match="row 1 of the batch: its attention_mask hides every token"):
        model(**given)


def test_saved_and_loaded_it_is_the_same(
    folder: Path, model: encore.hf.EncoreForSequenceClassification, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(again) is encore.hf.EncoreForSequenceClassification
    given = batch(folder)
    assert torch.equal(again.eval()(**given).logits, model(**given).logits)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.pooling == {"name": "mean"}
    assert config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "encore"


@pytest.mark.parametrize(
    ("problem", "labels", "loss"),
    [
        (
            "single_label_classification",
            torch.tensor([0, 2, 1, 1]),
            lambda x, y: F.cross_entropy(x, y),
        ),
        (
            "multi_label_classification",
            torch.tensor([[0.0, 1, 1]] * 4),
            lambda x, y: F.binary_cross_entropy_with_logits(x, y),
        ),
    ],
)
def test_it_trains_as_a_model_of_transformers_does(
    problem: str, labels: torch.Tensor, loss: Callable[..., torch.Tensor], folder: Path
) -> None:
    trained = AutoModelForSequenceClassification.from_pretrained(folder, problem_type=problem)
    given = batch(folder)
    trained.eval()
    out = trained(**given, labels=labels)
    assert_close(out.loss, loss(out.logits, labels))
    assert isinstance(trained(**given, return_dict=False), tuple)
    trained.train()(**given, labels=labels).loss.backward()
    without = [
        name
        for name, parameter in trained.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not without


def test_labels_in_a_column_are_labels(
    folder: Path, model: encore.hf.EncoreForSequenceClassification
) -> None:
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.equal(
        model(**batch(folder), labels=labels.unsqueeze(1)).loss,
        model(**batch(folder), labels=labels).loss,
    )


def test_a_fresh_one_starts_with_small_words(
    model: encore.hf.EncoreForSequenceClassification,
) -> None:
    fresh = AutoModelForSequenceClassification.from_config(model.config)
    assert fresh.network.branches[0].encoder.embed.word.weight.std().item() == pytest.approx(
        0.02, rel=0.1
    )


def test_a_number_is_trained_by_squared_error() -> None:
    logits, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([2, 5])
    assert encore.hf._loss(logits, labels, "regression").item() == pytest.approx((1 + 4) / 2)


def test_in_bf16_weights_stay_float32(
    folder: Path, model: encore.hf.EncoreForSequenceClassification
) -> None:
    half = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16).eval()
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    given = batch(folder)
    exact, rounded = model(**given).logits, half(**given).logits
    assert 0 < (exact - rounded).abs().max() < 0.3
    assert half.network.branches[0].encoder.dtype == torch.bfloat16


# ------------------------------------------------------------------- two texts that are not one row

PAIRS = [
    ("the lamp is great", "it was slow"),
    ("it", "my zip broke after a week and it was slow and dull"),
    ("very lovely box", ""),
    ("a", "a"),
]


@pytest.fixture(
    scope="module",
    params=[
        {"name": "siamese"},
        {"name": "siamese_attend"},
        {"name": "cross", "eval_order": "both", "segments": "zero"},
    ],
    ids=["siamese", "siamese_attend", "both"],
)
def of_two(
    request: pytest.FixtureRequest,
    vary: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A run of pairs and its export."""
    target, head = (
        tmp_path_factory.mktemp("two"),
        {"name": "linear" if request.param["name"] == "cross" else "siamese_concat"},
    )
    run = vary("pair", pair=request.param, head=head, pooling={"name": "mean"}, max_length=9)
    model = load(run)
    write_export(model, model.task(), "hf", target, name="x")
    return run, target


def given(folder: Path, side: str = "right") -> dict[str, torch.Tensor]:
    texts, others = ([pair[side] for pair in PAIRS] for side in (0, 1))
    return dict(
        AutoTokenizer.from_pretrained(folder, padding_side=side)(
            texts, others, padding=True, return_tensors="pt"
        )
    )


def test_pairs_in_one_batch_get_encores_answers(of_two: tuple[Path, Path]) -> None:
    """Also where a text is empty, or longer than the model reads; padded on whichever side; row by
    row without a mask.
    """
    run, folder = of_two
    encore.hf.register()
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    said = load(run).predict(PAIRS)
    expected = torch.tensor(
        [[one.probabilities[name] for name in ("bad", "fair", "good")] for one in said]
    )
    batch = given(folder)
    logits = model(**batch).logits
    assert_close(logits.softmax(1), expected, atol=1e-5, rtol=0)
    assert_close(model(**given(folder, "left")).logits, logits)
    real = batch["attention_mask"].bool()
    for row in range(len(PAIRS)):
        alone = model(
            input_ids=batch["input_ids"][row : row + 1, real[row]],
            token_type_ids=batch["token_type_ids"][row : row + 1, real[row]],
        )
        assert_close(alone.logits[0], logits[row])
    assert int(real.sum(1).max()) > 13, "one of them is cut by the model"


def test_what_is_no_pair_is_refused(of_two: tuple[Path, Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(of_two[1])
    batch = given(of_two[1])
    with pytest.raises(
        DataError,
        match=r"^token_type_ids: expected those of the tokenizer, .*, got none\. Write model\(",
    ):
        model(batch["input_ids"], batch["attention_mask"])
    single = AutoTokenizer.from_pretrained(of_two[1])(TEXTS, padding=True, return_tensors="pt")
    with pytest.raises(
        DataError, match=r"^row 0 of the batch: has no second text, and this model compares two"
    ):
        model(**single)


def test_it_trains_and_is_saved_with_how_it_reads(
    of_two: tuple[Path, Path], tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(of_two[1])
    model.train()(**given(of_two[1]), labels=torch.tensor([0, 2, 1, 1])).loss.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not [name for name in without if "segment" not in name]
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**given(of_two[1])).logits, model.eval()(**given(of_two[1])).logits)


def test_rows_of_two_texts_by_hand() -> None:
    """[CLS] 1 and [SEP] 2, of one text 1 … 2, of two 1 … 2 … 2; each keeps two tokens of its
    four.
    """
    single = {"ids": [1, 2], "segments": [0, 0], "counts": [1, 1], "text_segments": [0]}
    both = {"ids": [1, 2, 2], "segments": [0, 0, 1], "counts": [1, 1, 1], "text_segments": [0, 1]}
    ids = torch.tensor([[1, 5, 6, 7, 8, 2, 1, 9, 2, 0], [0, 0, 0, 1, 3, 2, 1, 4, 4, 2]])
    segments = torch.tensor([[0] * 6 + [1] * 3 + [0], [0] * 6 + [1] * 4])

    def read(pair: dict[str, str], max_length: int) -> list[list[list[int]]]:
        reading = encore.hf.PairReader(
            pair=pair, max_length=max_length, truncation="head", templates=[single, both]
        )
        found = reading.tokens(ids, (ids > 0).long(), segments)
        assert all(
            tokens.segments.tolist() == expected
            for tokens, expected in zip(found, told.pop(0), strict=True)
        )
        return [
            [part.tolist() for part in tokens.ids.split(list(tokens.lengths))] for tokens in found
        ]

    told = [
        [[0] * 14],
        [[0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1]],
    ]
    assert read({"name": "siamese"}, 4) == [[[1, 5, 6, 2], [1, 9, 2], [1, 3, 2], [1, 4, 4, 2]]]
    assert read({"name": "cross", "eval_order": "both"}, 6) == [
        [[1, 5, 6, 2, 9, 2], [1, 3, 2, 4, 4, 2]],
        [[1, 9, 2, 5, 6, 2], [1, 4, 4, 2, 3, 2]],
    ]
