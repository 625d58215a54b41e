"""Memory that is given back; test_memory.py tests what is free."""

from __future__ import annotations

import platform

import pytest

from encore.model.free_memory import resident_bytes, return_free_pages


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_pages_between_what_is_in_use_go_back_to_the_system() -> None:
    size, n = 60_000, 2_000  # below the size from which malloc maps each block by itself
    held = [bytearray(b"\1") * size for _ in range(n)]
    del held[::2]  # what stays pins the heap at its size
    before = resident_bytes()
    return_free_pages()
    assert before - resident_bytes() > 0.4 * size * n
    assert len(held) == n // 2
