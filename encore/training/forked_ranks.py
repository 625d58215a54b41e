"""Ranks as forked processes of this machine, with parameters and gradients in shared memory.

They are forked when a phase begins, so that each starts with all that the run has read and built,
and end with it. Small things go through sockets, by way of rank 0. Each rank updates some of the
parameters, and publishes only the gradients of the others.

A rank computes with one thread: a process that was forked after its parent has used several cannot
use several itself. Ranks end with rank 0: their sockets break.
"""

from __future__ import annotations

import abc
import contextlib
import mmap
import os
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from encore.encoder.word_table import WordTable
from encore.errors import EncoreError, TrainingError
from encore.training.optimiser import begin_state, parameters_of
from encore.training.ranks import Alone, Ranks, lost

__all__ = ["can_fork", "forked"]

_HEADER = struct.Struct("<cQ")
_DATA, _ERROR, _BUG = b"d", b"e", b"b"
_ALIGNMENT = 64  # bytes


def can_fork() -> bool:
    """True on systems whose numeric libraries survive a fork."""
    return sys.platform == "linux"


@contextlib.contextmanager
def forked(
    size: int,
    n_cores: int,
    optimiser: torch.optim.AdamW,
    tables: Sequence[WordTable],
    run: Callable[[Ranks], object],
) -> Iterator[Ranks]:
    """Start `size` - 1 processes, each of which calls `run` and ends; inside, this one is rank 0 of
    them. Parameters of the optimiser and its moments are moved to shared memory and stay there.
    tables: those whose rows are among the parameters. n_cores: a single process takes so many times
    its threads.
    """
    if size == 1:
        with _threads(n_cores * torch.get_num_threads()):
            yield Alone()
        return
    begin_state(optimiser)
    parameters = parameters_of(optimiser)
    shared = _share(size, parameters, optimiser, tables)
    pairs = [socket.socketpair() for _ in range(size - 1)]
    children: list[int] = []
    try:
        for number, (_, theirs) in enumerate(pairs, start=1):
            child = os.fork()
            if child == 0:
                _compute(number, theirs, lambda each, at: run(_Child(at, shared, each)))
            children.append(child)
        for _, theirs in pairs:
            theirs.close()
        yield _Root(shared, [ours for ours, _ in pairs])
    finally:
        for ours, _ in pairs:
            ours.close()
        for child in children:  # nothing is in them that is not here
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compute(number: int, own: socket.socket, run: Callable[[socket.socket, int], object]) -> None:
    """The life of a forked process: ends it, whatever happens."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 decides what an interrupt means
        warnings.simplefilter("ignore")  # rank 0 warns of the same
        _close_all_but({0, 1, 2, own.fileno()})
        torch.set_num_threads(1)
        run(own, number)
        status = 0
    except (EOFError, OSError):
        pass  # rank 0 has left
    except EncoreError as error:
        with contextlib.suppress(OSError):
            _send(own, str(error).encode(), _ERROR)
    except BaseException:
        with contextlib.suppress(OSError):
            _send(own, traceback.format_exc().encode(), _BUG)
    finally:
        os._exit(status)


def _close_all_but(kept: set[int]) -> None:
    """Files that the parent holds, its locks and the sockets of others among them, would stay open
    after its death.
    """
    for each in os.listdir("/proc/self/fd"):
        if int(each) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(each))


# ----------------------------------------------------------------------------------- shared memory


class _Memory:
    """A block of memory that forked processes share."""

    def __init__(self, n_bytes: int) -> None:
        self.block = torch.frombuffer(mmap.mmap(-1, max(1, n_bytes)), dtype=torch.uint8)
        self.used = 0

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of this shape and type, of zeros."""
        start = self.used
        self.used += _padded(tensor)
        found = self.block[start : start + tensor.numel() * tensor.element_size()]
        return found.view(tensor.dtype).view(tensor.shape)

    def copy(self, tensor: Tensor) -> Tensor:
        return self.like(tensor).copy_(tensor)


def _padded(tensor: Tensor) -> int:
    """The bytes that a tensor takes in a block."""
    return -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class _Shared:
    """Memory for gradients. gradients: rank → a place for each parameter's. having: (ranks,
    parameters) uint8, 1 where a rank has one.
    """

    gradients: Sequence[Sequence[Tensor]]
    having: Tensor


def _share(
    size: int,
    parameters: Sequence[nn.Parameter],
    optimiser: torch.optim.AdamW,
    tables: Iterable[WordTable],
) -> _Shared:
    """Move parameters and moments to shared memory, and make places for gradients there."""
    trained = {id(each) for each in parameters}
    whole = [each for each in tables if each.table is not None and id(each.weight) in trained]
    inside = {id(each.weight) for each in whole}
    alone = [each for each in parameters if id(each) not in inside]
    states = [optimiser.state[each] for each in parameters]
    moved = [each.table for each in whole if each.table is not None]
    moved += [each.detach() for each in alone]
    moved += [value for state in states for value in state.values()]
    having = torch.zeros((size, len(parameters)), dtype=torch.uint8)
    memory = _Memory(
        sum(map(_padded, moved)) + size * sum(map(_padded, parameters)) + _padded(having)
    )
    with torch.no_grad():
        for table in whole:
            table.move(memory.copy)
        for parameter in alone:
            parameter.data = memory.copy(parameter.detach())
        for state in states:
            state.update({key: memory.copy(value) for key, value in state.items()})
        gradients = [[memory.like(each) for each in parameters] for _ in range(size)]
        return _Shared(gradients, memory.copy(having))


def owners(parameters: Sequence[Tensor], size: int) -> list[int]:
    """The rank that updates each parameter: the largest first, to the one that has least."""
    loads, found = [0] * size, [0] * len(parameters)
    for number in sorted(range(len(parameters)), key=lambda each: -parameters[each].numel()):
        found[number] = loads.index(min(loads))
        loads[found[number]] += parameters[number].numel()
    return found


# ----------------------------------------------------------------------------------------- exchange


class _Forked(abc.ABC):
    """A rank that shares memory with the others."""

    rank: int
    size: int

    def __init__(self, rank: int, shared: _Shared) -> None:
        self.rank, self.size = rank, len(shared.gradients)
        self.gradients, self.having = shared.gradients, shared.having
        self.owners = owners(self.gradients[0], self.size)

    @abc.abstractmethod
    def exchange(self, payload: bytes) -> list[bytes]:
        """As of Ranks."""

    @torch.no_grad()
    def publish(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter, place, owner in zip(
            parameters, self.gradients[self.rank], self.owners, strict=True
        ):
            if owner != self.rank and parameter.grad is not None:
                place.copy_(parameter.grad)
        self.having[self.rank] = torch.tensor([each.grad is not None for each in parameters])

    @torch.no_grad()
    def add_up(self, parameters: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], Tensor]:
        masks = self.having.numpy().copy()
        trained = np.flatnonzero(masks.any(axis=0)).tolist()
        own = [number for number in trained if self.owners[number] == self.rank]
        sums = {
            number: self._sum(number, parameters[number].grad, masks[:, number]) for number in own
        }
        for number, parameter in enumerate(parameters):
            parameter.grad = sums.get(number)
        norms = np.zeros(len(parameters), dtype=np.float32)
        norms[own] = [float(torch.linalg.vector_norm(each)) for each in sums.values()]
        every = [np.frombuffer(each, np.float32) for each in self.exchange(norms.tobytes())]
        found = torch.from_numpy(np.sum(every, axis=0)[trained])
        norm = torch.linalg.vector_norm(found) if trained else torch.tensor(0.0)
        return [parameters[number] for number in trained], norm

    def _sum(self, number: int, own: Tensor | None, having: np.ndarray) -> Tensor:
        """The gradients of one parameter, added in the order of the ranks."""
        total: Tensor | None = None
        for rank in np.flatnonzero(having).tolist():
            given = own if rank == self.rank else self.gradients[rank][number]
            assert given is not None
            if total is None:
                total = given if rank == self.rank else given.clone()
            else:
                total.add_(given)
        assert total is not None
        return total

    def wait(self) -> None:
        self.exchange(b"")


class _Root(_Forked):
    """Rank 0, which the run's reports, files and decisions are made in."""

    def __init__(self, shared: _Shared, sockets: Sequence[socket.socket]) -> None:
        super().__init__(0, shared)
        self.sockets = sockets

    def exchange(self, payload: bytes) -> list[bytes]:
        found = [payload]
        for number, each in enumerate(self.sockets, start=1):
            try:
                kind, received = _receive(each)
            except (EOFError, OSError):
                raise lost(number) from None
            if kind == _ERROR:
                raise TrainingError(received.decode(errors="replace"))
            if kind == _BUG:
                raise RuntimeError(f"in process {number} of this run:\n{received.decode()}")
            found.append(received)
        for number, each in enumerate(self.sockets, start=1):
            try:
                for part in found:
                    _send(each, part)
            except OSError:
                raise lost(number) from None
        return found


class _Child(_Forked):
    """Another rank than 0."""

    def __init__(self, rank: int, shared: _Shared, root: socket.socket) -> None:
        super().__init__(rank, shared)
        self.root = root

    def exchange(self, payload: bytes) -> list[bytes]:
        _send(self.root, payload)
        return [_receive(self.root)[1] for _ in range(self.size)]


def _send(to: socket.socket, payload: bytes, kind: bytes = _DATA) -> None:
    to.sendall(_HEADER.pack(kind, len(payload)) + payload)


def _receive(one: socket.socket) -> tuple[bytes, bytes]:
    """Kind and payload of the next message. Raises EOFError where the other end is closed."""
    kind, length = _HEADER.unpack(_exactly(one, _HEADER.size))
    return kind, _exactly(one, length)


def _exactly(one: socket.socket, length: int) -> bytes:
    found = bytearray(length)
    view, done = memoryview(found), 0
    while done < length:
        received = one.recv_into(view[done:])
        if not received:
            raise EOFError
        done += received
    return bytes(found)
