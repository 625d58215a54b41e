"""Runs a command in this process and checks what every command promises."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Iterator, Sequence

import pytest

from encore.cli import app

__all__ = ["broken_promise"]

_SECONDS = 30
_CODES = {0, 2, 3, 4}  # docs/design.md, "Errors"
_SHOWN = {"\n", "\t"}


def broken_promise(command: Sequence[str]) -> str | None:
    """Return the promise that the command broke: it ends in time with a documented exit code, and
    a failure is one printable line for each problem. None where it kept them.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            _limit(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            # A dry run measures the speed of the machine, which is most of its time.
            patch.setattr("encore.cli.train._print_dry_run", lambda *_, **__: None)
            app.main(list(command))
    except TimeoutError:
        return f"took more than {_SECONDS} s"
    except SystemExit as end:
        code, told = end.code, err.getvalue()
    if code not in _CODES:
        return f"exit code {code}: {told[-300:]}"
    if "Traceback" in told or (code and not told.strip()):
        return f"no clear line: {told[-300:]!r}"
    if any(
        not letter.isprintable() and letter not in _SHOWN for letter in told if ord(letter) < 160
    ):
        return f"a control character: {told[-300:]!r}"
    if code and max(map(len, told.splitlines())) > 4_200:
        return "a line without end"
    return None


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
