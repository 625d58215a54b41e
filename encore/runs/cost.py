"""Estimates the cost of a run before it starts: parameters, time and memory.

Time is measured: a few of the encoder's blocks with random weights process rows of the run, forward
and backward, for about a second, in the run's precision and number of threads. A formula would not
know the processor, the lengths of the rows or the load of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from encore import rng
from encore.data.batches import collate
from encore.data.token_store import TokenStore
from encore.encoder import load
from encore.encoder.encoder import Encoder
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.model.free_memory import free_bytes
from encore.runs.memory import RunMemory, extra_passes
from encore.runs.prepared import Prepared

__all__ = ["Cost", "estimate_cost"]

_PROGRAM_SECONDS = 2.0  # loading, baselines, intervals
_STEP_SECONDS = 5e-3  # of a step outside the blocks
_ADAMW_BYTES = 10e9  # bytes per second that the optimiser reads and writes, 28 per weight
_PROBED_BLOCKS, _PROBED_TOKENS, _PROBE_SECONDS = 3, 600, 1.0


@dataclass(frozen=True)
class Cost:
    """The estimated cost of a run. trained: parameters that a step updates. seconds: for this
    machine under its present load; expect an error of up to a factor of two. memory_bytes: at the
    peak. available_bytes: the memory that this process may take, with what it has; None where the
    system does not report it.
    """

    parameters: int
    trained: int
    steps: int
    tokens_per_epoch: int
    seconds: float
    memory_bytes: float
    available_bytes: float | None


def estimate_cost(prepared: Prepared) -> Cost:
    """Estimate a run's cost. The time is measured for about a second; the memory is counted from
    shapes (encore.runs.memory).
    """
    with torch.random.fork_rng(devices=[]):
        return _estimate(prepared)


def _estimate(prepared: Prepared) -> Cost:
    memory = RunMemory(prepared)
    n_all, trained = memory.n_parameters
    encoder = load.build_encoder(prepared.source.config)
    streams = prepared.streams.values()
    tokens = sum(int(stream.train.lengths.sum()) for stream in streams)
    passes = sum(int(s.train.lengths.sum()) * (1 + extra_passes(s)) for s in streams)
    again = sum(
        int(s.train.lengths.sum()) * (1 + extra_passes(s))
        for s in streams
        if prepared.recipe.plan.micro_batch
        and any(loss.couples_rows for _, loss in s.losses.values())
    )
    dev_tokens = sum(
        int(rows.lengths.sum()) * (1 + rows.both_orders)
        for stream in streams
        for rows in stream.dev.values()
    )
    epochs = sum(phase.epochs for phase in prepared.plan)
    steps = sum(
        count * phase.epochs for count, phase in zip(prepared.steps, prepared.plan, strict=True)
    )
    both, forward = _seconds_per_token(prepared, encoder, *_first_batch(prepared))
    # A frozen encoder runs once per row, and has no backward pass.
    computed = (
        (tokens + dev_tokens) * forward
        if memory.is_frozen
        else epochs * (passes * both + (dev_tokens + again) * forward)
    )
    seconds = (
        encoder.shape.n_layers * computed
        + steps * (trained * 28 / _ADAMW_BYTES + _STEP_SECONDS)
        + _PROGRAM_SECONDS
    )
    need, free = memory.estimate(), free_bytes()
    available = None if free is None else free + need.resident
    return Cost(n_all, trained, steps, tokens, seconds, need.total, available)


def _first_batch(prepared: Prepared) -> tuple[TokenStore, np.ndarray]:
    """The store and its rows of a batch of the first task, in a random order of its examples."""
    stream, plan = next(iter(prepared.streams.values())), prepared.recipe.plan
    size = plan.micro_batch or stream.batch_size or plan.batch_size
    order = rng.generator(prepared.recipe.seed, "estimate").permutation(len(stream.train))
    return stream.train.store, stream.train.at(order[:size])


def _seconds_per_token(
    prepared: Prepared, encoder: Encoder | HuggingFaceEncoder, store: TokenStore, rows: np.ndarray
) -> tuple[float, float]:
    """Seconds per token and block for these rows: forward and backward, and forward alone."""
    rows = rows[: max(1, int(np.searchsorted(np.cumsum(store.lengths[rows]), _PROBED_TOKENS)))]
    tokens = collate(store, np.sort(rows), prepared.device)
    # An encoder from transformers has no separate blocks: all of it runs.
    probe: Any = (
        Encoder(encoder.embed, encoder.blocks[:_PROBED_BLOCKS])
        if isinstance(encoder, Encoder)
        else encoder
    )
    probe.to(prepared.device).dtype = (
        torch.bfloat16 if prepared.precision == "bf16" else torch.float32
    )
    for name, parameter in probe.named_parameters():
        if not name.startswith("embed."):
            nn.init.normal_(parameter, std=0.02)
    # Random values, as constants would give subnormal gradients, which slow some processors down.
    x = torch.randn_like(probe.embedded(tokens)).detach().requires_grad_()
    gradient = torch.randn_like(probe.run(x, tokens, layers=(-1,)).states[-1])

    def forward_backward() -> None:
        state = probe.run(x, tokens, layers=(-1,)).states[-1]
        assert state is not None
        state.backward(gradient)

    def forward_only() -> None:
        with torch.inference_mode():
            probe.run(x, tokens, layers=(-1,))

    before = torch.get_num_threads()
    torch.set_num_threads(prepared.threads)
    try:
        found = [
            _seconds(call, prepared.device) / tokens.n_tokens / probe.n_layers
            for call in (forward_backward, forward_only)
        ]
    finally:
        torch.set_num_threads(before)
    return found[0] / prepared.shares, found[1] / prepared.shares


def _seconds(call: Callable[[], None], device: str) -> float:
    """The mean seconds of a call, repeated for `_PROBE_SECONDS` after one warm-up call."""
    call()
    begun, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - begun < _PROBE_SECONDS:
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        done += 1
    return (time.perf_counter() - begun) / done
