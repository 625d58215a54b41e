"""What a run will cost, before it starts: parameters, time and memory, each with how it was found."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from encore import catalogue
from encore.encoder import load
from encore.model import Branch, TaskModel, unique_parameters
from encore.prepare import Prepared

__all__ = ["Cost", "estimate"]

# Shares of the machine's matrix-product rate that training reached on the machines it was measured on (docs/results.md).
_EFFICIENCY = {"fp32": 0.7, "bf16": 0.4}
_PROGRAM_BYTES = 450e6                                  # Python, torch and its libraries


@dataclass(frozen=True)
class Cost:
    """`parameters`: all, and those that a step updates. Estimates are for this machine as busy as it is now; expect a factor of two."""

    parameters: int
    trained: int
    steps: int
    tokens_per_epoch: int
    seconds: float
    memory_bytes: float


def estimate(prepared: Prepared) -> Cost:
    """Time from the tokens, the multiplications per token and a half-second measurement of this machine's matrix products; memory from shapes."""
    recipe = prepared.recipe
    with torch.device("meta"):
        models = {}
        for name, data in prepared.data.items():
            encoder = load.build(prepared.source.config)
            pooling = catalogue.build("pooling", prepared.poolings[name], load.shape_of(encoder, prepared.source.config))
            models[name] = TaskModel([Branch(encoder, pooling)], catalogue.build("heads", recipe.tasks[name].head, pooling.width, data.labels.n_scores))
    parameters = unique_parameters(models)
    words = sum(p.numel() for name, p in parameters.items() if name.endswith("embed.word.weight"))
    tables = words + sum(p.numel() for name, p in parameters.items() if name.endswith("embed.position.weight"))
    n_all = sum(p.numel() for p in parameters.values())
    in_products = n_all - tables
    width = prepared.source.config["hidden_size"]
    met = len(set().union(*(stream.train.store.ids.tolist() for stream in prepared.streams.values())))
    trained = n_all - words + met * width
    tokens = sum(len(stream.train.store.ids) for stream in prepared.streams.values())
    dev_tokens = sum(len(rows.store.ids) for stream in prepared.streams.values() for rows in stream.dev.values())
    epochs = sum(phase.epochs for phase in prepared.plan)
    steps = sum(-(-len(stream.train) // phase.batch_size) * phase.epochs for phase in prepared.plan for stream in prepared.streams.values())
    rate = _products_per_second(prepared.precision, prepared.threads) * _EFFICIENCY[prepared.precision]
    # Forward costs two operations per weight and token, backward twice that; AdamW moves 28 bytes per trained weight at about 10 GB/s.
    frozen = all(phase.trainable == "heads" for phase in prepared.plan)        # then the encoder is asked once, and nothing is computed backwards
    seconds = (2 * (tokens + dev_tokens) if frozen else epochs * (6 * tokens + 2 * dev_tokens)) * in_products / rate + steps * trained * 28 / 10e9
    longest = max(int(store.lengths.max()) for store in (stream.train.store for stream in prepared.streams.values()))
    rows = min(recipe.plan.micro_batch or recipe.plan.batch_size, max(len(stream.train) for stream in prepared.streams.values()))
    bytes_each = 2 if prepared.precision == "bf16" else 4
    inner = prepared.source.config.get("intermediate_size", 4 * width)
    heads, depth = prepared.source.config["num_attention_heads"], prepared.source.config["num_hidden_layers"]
    per_token = depth * (bytes_each * (8 * width + 2 * inner + heads * longest) + 2 * width + heads * longest)
    memory = _PROGRAM_BYTES + 4 * n_all + 12 * trained + rows * longest * per_token
    return Cost(n_all, trained, steps, tokens, seconds, memory)


def _products_per_second(precision: str, threads: int) -> float:
    """Operations per second of a matrix product of a layer's usual size, in the run's own precision."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        left, right = torch.ones(800, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        left @ right
        begun, done = time.perf_counter(), 0
        while time.perf_counter() - begun < 0.5:
            left @ right
            done += 1
        return done * 2 * 800 * 384 * 1536 / (time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)
