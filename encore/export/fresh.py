"""A process of its own that loads exported folders as a user would, and writes their outputs for
some texts: `python -m encore.export.fresh JOBS OUTPUTS`.

JOBS: a JSON file, a list of {"folder", "to", "own_class", "texts", "pairs"}. OUTPUTS: the file to
write, a list of {"class", "ids", "values"}. Of Encore it imports only what the export needs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["load_and_run", "main"]

_ROWS_AT_ONCE = 8  # so that rows of different lengths are padded


def main(jobs: str, outputs: str) -> None:
    """Run the jobs of one file and write their outputs to another."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    Path(outputs).write_text(
        json.dumps(
            [load_and_run(job) for job in json.loads(Path(jobs).read_text(encoding="utf-8"))]
        ),
        encoding="utf-8",
    )


def load_and_run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Load a folder and run it on texts. class: that of the model; ids: of each row, by
    AutoTokenizer; values: of each row, its labels' probabilities by name, or its vector.
    """
    from transformers import AutoTokenizer

    if job["own_class"]:
        import encore.hf

        encore.hf.register()
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    pairs = [job["pairs"]] if job["pairs"] is not None else []
    ids = tokenizer(job["texts"], *pairs, truncation=True)["input_ids"]
    made_of, values = _scores(job, tokenizer) if job["to"] == "hf" else _vectors(job)
    return {"class": made_of, "ids": ids, "values": values}


def _scores(job: Mapping[str, Any], tokenizer: Any) -> tuple[str, list[dict[str, float]]]:
    from transformers import AutoModelForSequenceClassification, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(job["folder"])
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
        job["texts"]
        if job["pairs"] is None
        else [
            {"text": one, "text_pair": two}
            for one, two in zip(job["texts"], job["pairs"], strict=True)
        ]
    )
    answered: Any = classify(texts)
    return type(model).__name__, [
        {entry["label"]: entry["score"] for entry in row} for row in answered
    ]


def _vectors(job: Mapping[str, Any]) -> tuple[str, list[list[float]]]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job["folder"], device="cpu")
    return type(model).__name__, model.encode(
        job["texts"], batch_size=_ROWS_AT_ONCE, show_progress_bar=False
    ).tolist()


if __name__ == "__main__":
    main(*sys.argv[1:])
