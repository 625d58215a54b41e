"""A process of its own that loads exported folders as a user would, and writes their outputs for
some texts: `python -m encore.export.fresh JOBS OUTPUTS`.

JOBS: a JSON file, a list of {"folder", "to", "how", "base", "own_class", "texts", "pairs"}.
OUTPUTS: the file to write, a list of {"class", "ids", "values"}. Of Encore it imports only what the
export needs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["load_and_run", "main"]

_ROWS_AT_ONCE = 8  # so that rows of different lengths are padded


@dataclass(frozen=True)
class _Job:
    """A folder to load. base: of an adapter, the folder of the encoder that it is put into."""

    folder: str
    to: str
    how: str
    base: str
    own_class: bool
    texts: list[str]
    pairs: list[str] | None


def main(jobs: str, outputs: str) -> None:
    """Run the jobs of one file and write their outputs to another."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    Path(outputs).write_text(
        json.dumps(
            [load_and_run(job) for job in json.loads(Path(jobs).read_text(encoding="utf-8"))]
        ),
        encoding="utf-8",
    )


def load_and_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Load a folder and run it on texts. class: that of the model; ids: of each row, by
    AutoTokenizer; values: of each row, its labels' probabilities by name, or its vector.
    """
    from transformers import AutoTokenizer

    job = _Job(**given)
    if job.own_class:
        import encore.hf

        encore.hf.register()
    tokenizer = AutoTokenizer.from_pretrained(job.folder)
    pairs = [job.pairs] if job.pairs is not None else []
    ids = tokenizer(job.texts, *pairs, truncation=True)["input_ids"]
    run = {"scores": _scores, "vectors": _vectors, "states": _states}[job.how]
    made_of, values = run(job, tokenizer)
    return {"class": made_of, "ids": ids, "values": values}


def _scores(job: _Job, tokenizer: Any) -> tuple[str, list[dict[str, float]]]:
    from transformers import pipeline

    model = _classifier(job)
    classify = pipeline(
        "text-classification",
        model=model,
        tokenizer=tokenizer,
        device="cpu",
        batch_size=_ROWS_AT_ONCE,
        top_k=None,
        truncation=True,
    )
    texts: Any = (
        job.texts
        if job.pairs is None
        else [
            {"text": one, "text_pair": two} for one, two in zip(job.texts, job.pairs, strict=True)
        ]
    )
    answered: Any = classify(texts)
    return type(model).__name__, [
        {entry["label"]: entry["score"] for entry in row} for row in answered
    ]


def _classifier(job: _Job) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if job.to == "hf":
        return AutoModelForSequenceClassification.from_pretrained(job.folder)
    from peft import PeftModel

    config = AutoConfig.from_pretrained(job.folder)
    base = AutoModelForSequenceClassification.from_pretrained(
        job.base, config=config, dtype="float32"
    )
    return PeftModel.from_pretrained(base, job.folder)


def _states(job: _Job, tokenizer: Any) -> tuple[str, list[list[float]]]:
    """The mean of each row's last states."""
    import torch
    from peft import PeftModel
    from transformers import AutoModel

    base = AutoModel.from_pretrained(job.base, dtype="float32")
    model = PeftModel.from_pretrained(base, job.folder).eval()
    values: list[list[float]] = []
    for start in range(0, len(job.texts), _ROWS_AT_ONCE):
        rows = job.texts[start : start + _ROWS_AT_ONCE]
        batch = tokenizer(rows, truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(2)
        values += ((states * mask).sum(1) / mask.sum(1)).tolist()
    return type(model).__name__, values


def _vectors(job: _Job, tokenizer: Any) -> tuple[str, list[list[float]]]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job.folder, device="cpu")
    return type(model).__name__, model.encode(
        job.texts, batch_size=_ROWS_AT_ONCE, show_progress_bar=False
    ).tolist()


if __name__ == "__main__":
    main(*sys.argv[1:])
