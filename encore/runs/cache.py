"""A cache of encoders, rows and tokens for several runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Cache"]

_Value = TypeVar("_Value")


@dataclass
class Cache:
    """Encoders, rows and tokens that several runs have in common, each read once and keyed by what
    determines it. A comparison passes one cache to every `prepare`.
    """

    found: dict[Any, Any] = field(default_factory=dict)
    chain: tuple[str, ...] = ()  # the runs that are being prepared, each started from by the last

    @contextlib.contextmanager
    def entering(self, name: str, refuse: Callable[[tuple[str, ...]], Exception]) -> Iterator[None]:
        """Inside, the run of this name is being prepared. Raises what `refuse` makes of the chain
        where it is already.
        """
        before = self.chain
        if name in before:
            raise refuse((*before[before.index(name) :], name))
        self.chain = (*before, name)
        try:
            yield
        finally:
            self.chain = before

    def get_or_make(self, key: tuple[Any, ...], make: Callable[[], _Value]) -> _Value:
        """Return the value under `key`; the first call makes it. An exception of `make` is not
        cached: every call raises it again.
        """
        if key not in self.found:
            self.found[key] = make()
        return self.found[key]
