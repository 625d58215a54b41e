"""Hides the credentials of URLs in text that is written, printed or reported."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable

__all__ = ["hide_credentials", "shown_command"]

_HIDDEN = "***"
_URL = re.compile(r"(?:\w[\w+.-]*:)?//\S+")
# Of a query, only these values are known to be no secret.
_HARMLESS = frozenset(
    ["cache", "charset", "dbname", "driver", "host", "mode", "port", "sslmode", "timeout", "user"]
)
_TOKEN_SCHEMES = ("http:", "https:")  # their user may be a token


def hide_credentials(text: str, *, of: str = "") -> str:
    """The text with *** in place of the credentials of every URL in it: passwords, values of
    queries, and a user of http, who may be a token. Where a character could belong to either, it
    is taken for a part of the password.

    of: a URL whose credentials are hidden wherever they occur. The text may be the URL itself,
    which may then contain spaces and lack a scheme.

    >>> hide_credentials("--storage=postgresql://me:secret@host/trials?sslmode=require&key=x")
    '--storage=postgresql://me:***@host/trials?sslmode=require&key=***'
    """
    if of:
        secrets = {of[start:end] for start, end in _secret_spans(of)}
        secrets |= {urllib.parse.unquote_plus(secret) for secret in secrets}
        text = _hide_spans(of) if text == of else text
        for secret in sorted(secrets - {_HIDDEN}, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN) if secret else text
    if "//" not in text:
        return text
    return _URL.sub(lambda found: _hide_spans(found.group()), text)


def shown_command(arguments: Iterable[str]) -> list[str]:
    """The arguments of a command line as they may be kept and printed."""
    return [hide_credentials(one, of=one if "//" in one else "") for one in arguments]


def _hide_spans(url: str) -> str:
    kept, position = [], 0
    for start, end in _secret_spans(url):
        kept += [url[position:start], _HIDDEN]
        position = end
    return "".join([*kept, url[position:]])


def _secret_spans(url: str) -> list[tuple[int, int]]:
    """The places of a URL's secrets, in order, none overlapping another."""
    scheme, mark, _ = url.partition("//")
    begin = len(scheme) + len(mark) if mark else 0
    spans = []
    at = url.rfind("@")
    colon = begin if scheme.lower().endswith(_TOKEN_SCHEMES) else url.find(":", begin) + 1
    if begin <= at and 0 < colon < at:
        spans.append((colon, at))
    question = url.find("?", begin)
    for found in re.finditer(r"([^&=?]*)=([^&]*)", url[question + 1 :] if question >= 0 else ""):
        if found[2] and found[1].lower() not in _HARMLESS:
            spans.append((question + 1 + found.start(2), question + 1 + found.end(2)))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
