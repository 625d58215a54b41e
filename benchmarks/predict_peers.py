"""One classifier in other libraries: what `encore export --to hf` wrote, converted and loaded.

Used by benchmarks/predict.py. Every loader returns a function from texts to label names; all but
`pipeline` sort the texts by length and pad each batch to its longest row.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BATCH", "MAX_LENGTH", "REFERENCE", "lengths", "peers"]

BATCH, MAX_LENGTH = 32, 128
REFERENCE = "transformers pipeline, fp32"
INPUTS = ("input_ids", "attention_mask")
Predict = Callable[[Sequence[str]], list[str]]
Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]  # ids and mask (rows, tokens) → scores


def made(path: Path, make: Callable[[Path], object]) -> Path:
    """`path`, written by `make` where it is missing; half a file is never taken for one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{path.name}")
        make(part)
        part.rename(path)
    return path


def export(run: Path, target: Path) -> None:
    """A run as a folder of transformers' own class."""
    command = [sys.executable, "-m", "encore", "export", str(run), "--to", "hf", str(target)]
    subprocess.run([*command, "--overwrite"], check=True, stdout=subprocess.DEVNULL)


def batches(tokenizer: Any, texts: Sequence[str]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Rows of similar length, with their ids and mask, (rows, tokens) int64, padded."""
    encoded = tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield rows, padded([encoded[row] for row in rows], tokenizer.pad_token_id)


def padded(encoded: Sequence[Sequence[int]], pad: int) -> list[np.ndarray]:
    """Ids and mask, (rows, tokens) int64, padded to the longest row."""
    ids = np.full((len(encoded), max(map(len, encoded))), pad, np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(encoded):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return [ids, mask]


def sorted_by_length(scores: Scores, tokenizer: Any, names: dict[int, str]) -> Predict:
    """Predictions in batches of similar length, returned in the order of the texts.

    names: of the columns of scores.
    """

    def predict(texts: Sequence[str]) -> list[str]:
        labels = [""] * len(texts)
        for rows, (ids, mask) in batches(tokenizer, texts):
            for row, best in zip(rows, scores(ids, mask).argmax(axis=1), strict=True):
                labels[row] = names[int(best)]
        return labels

    return predict


def with_pipeline(folder: Path) -> Predict:
    """Predictions of transformers' `pipeline`, in fp32."""
    from transformers import pipeline

    found = pipeline(
        "text-classification",
        model=str(folder),
        device="cpu",
        batch_size=BATCH,
        truncation=True,
        max_length=MAX_LENGTH,
    )
    return lambda texts: [each["label"] for each in found(list(texts))]


def with_torch(folder: Path) -> Scores:
    """Scores of transformers' model with weights and activations in bf16."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def scores(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        tensors = dict(zip(INPUTS, map(torch.from_numpy, (ids, mask)), strict=True))
        found: np.ndarray = model(**tensors).logits.float().numpy()
        return found

    return scores


def write_onnx(folder: Path, target: Path) -> None:
    """The fp32 model as ONNX, with rows and tokens free."""
    import torch
    from transformers import AutoModelForSequenceClassification

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModelForSequenceClassification.from_pretrained(
                folder, attn_implementation="eager"
            )

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    axes = {name: {0: "rows", 1: "tokens"} for name in INPUTS} | {"logits": {0: "rows"}}
    example = torch.ones(2, 8, dtype=torch.int64)
    torch.onnx.export(
        Logits().eval(),
        (example, example),
        target,
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


def write_onnx_int8(source: Path, target: Path) -> None:
    """Dynamic quantization; a scale per channel costs nothing here and changes fewer labels."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target, per_channel=True)


def with_onnxruntime(model: Path) -> Scores:
    """Scores of an ONNX model by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def scores(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        (found,) = session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))
        return np.asarray(found)

    return scores


def write_openvino_int8(source: Path, tokenizer: Any, texts: Sequence[str], target: Path) -> None:
    """Static quantization by NNCF, calibrated on training rows."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    encoded = tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    rows = [dict(zip(INPUTS, padded([each], 0), strict=True)) for each in encoded]
    with contextlib.redirect_stdout(sys.stderr):
        model = nncf.quantize(
            openvino.Core().read_model(source),
            nncf.Dataset(rows),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
        )
    target.mkdir(exist_ok=True)
    openvino.save_model(model, target / "model.xml", compress_to_fp16=False)


def with_openvino(model: Path, precision: str) -> Scores:
    """Scores of a model by OpenVINO. precision: f32 or bf16, of what is not int8."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request, logits = compiled.create_infer_request(), compiled.output(0)

    def scores(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(request.infer(dict(zip(INPUTS, (ids, mask), strict=True)))[logits])

    return scores


def peers(run: Path, folder: Path, calibration: Sequence[str]) -> dict[str, Predict]:
    """Variant → function from texts to label names. folder: keeps what has to be converted;
    calibration: texts for the static quantization."""
    from transformers import AutoConfig, AutoTokenizer

    exported = made(folder / "hf", functools.partial(export, run))
    onnx = made(folder / "model.onnx", functools.partial(write_onnx, exported))
    onnx_int8 = made(folder / "int8.onnx", functools.partial(write_onnx_int8, onnx))
    tokenizer = AutoTokenizer.from_pretrained(exported)
    names = AutoConfig.from_pretrained(exported).id2label
    write_int8 = functools.partial(write_openvino_int8, onnx, tokenizer, calibration)
    openvino_int8 = made(folder / "openvino-int8", write_int8) / "model.xml"
    scores = {
        "transformers sorted by length, bf16": with_torch(exported),
        "ONNX Runtime, fp32": with_onnxruntime(onnx),
        "ONNX Runtime, int8 dynamic": with_onnxruntime(onnx_int8),
        "OpenVINO, fp32": with_openvino(onnx, "f32"),
        "OpenVINO, bf16": with_openvino(onnx, "bf16"),
        "OpenVINO, int8 static (NNCF)": with_openvino(openvino_int8, "bf16"),
    }
    return {REFERENCE: with_pipeline(exported)} | {
        name: sorted_by_length(each, tokenizer, names) for name, each in scores.items()
    }


def lengths(folder: Path, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, special ones included, as the variants in `folder` read it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "hf")
    encoded = tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return [len(row) for row in encoded]
