"""A process of its own that loads a tokenizer under limits of time and memory, and tokenizes some
texts: `python -m encore.data.tokenizer_trial FILE`. It prints its problems, a JSON list of lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path

from encore.data.tokenizer import TextTokenizer
from encore.data.tokenizer_guard import SECONDS_OF_TRIAL, bytes_of_trial
from encore.errors import EncoreError

__all__ = ["main"]

_LETTERS = [chr(number) for number in range(32, 127)]
# Every printable letter by itself, and in runs that let patterns track back and replacements grow.
_TEXTS = [
    "",
    *_LETTERS,
    *(letter * 60 for letter in _LETTERS),
    "".join(_LETTERS) * 3,
    "the quick brown fox, 3.5 of 10! " * 20,
    " \t\n\u00a0\u200b\u2028" * 20,
    "é İ ﬁ 汉字 עם 👩\u200d👧 e\u0301" * 10,
]


def main(file: str) -> None:
    """Print what is wrong with the tokenizer; an empty list if nothing is."""
    _limit(Path(file).stat().st_size)
    problems: tuple[str, ...] = ()
    try:
        tokenizer = TextTokenizer(file, vouched=True)
        for text in _TEXTS:
            tokenizer.encoded([text])
    except EncoreError as error:
        problems = error.lines
    except MemoryError:
        os._exit(1)
    print(json.dumps(problems))


def _limit(size: int) -> None:
    """Limit this process, where the system can: it is stopped where it takes more."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_OF_TRIAL, SECONDS_OF_TRIAL + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = taken + bytes_of_trial(size)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(sys.argv[1])
