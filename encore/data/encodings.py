"""Detects the text encoding of a file."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator

import numpy as np

from encore.data.byte_source import ByteSource
from encore.data.table import reject
from encore.errors import DataError, Problem

__all__ = ["EXCEL_NOTE", "decode", "detect_encoding"]
# The first line of some exports: it tells Excel the delimiter and is no row.
EXCEL_NOTE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_KNOWN = "Known, among others: utf-8, cp1252, latin-1, utf-16, gb18030, shift_jis."
_PROPER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)  # multi-byte sequences of UTF-8
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def detect_encoding(data: ByteSource, wanted: str | None, name: str) -> tuple[str, bool]:
    """The Python codec that reads `data`, and whether a byte order mark is to be dropped.

    wanted: the codec that the user named; None: UTF-8, a UTF-16 or UTF-32 that the bytes show, or
    Windows-1252. name: the file, for messages. Raises DataError: no such codec, bytes that it does
    not decode, NUL bytes.
    """
    if wanted is not None:
        return _check_wanted(data, wanted, name)
    head = data.head(4096)
    marked = next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
    chosen = marked or _utf_16_without_mark(head) or "utf-8"
    wrong = _first_undecodable(data, chosen)
    if wrong is not None and chosen == "utf-8" and marked is None and _is_western(data):
        chosen = "cp1252"
    elif wrong is not None:
        raise DataError(
            Problem(
                where=name,
                line=_line_at(data, wrong, chosen),
                message=f"not {chosen.upper()}: {_byte_at(data, wrong)}.",
                remedy="Save the file as UTF-8, or name its encoding (cp1252, latin-1, utf-16, "
                "gb18030, …):",
                setting="data.encoding",
                change="NAME",
            )
        )
    _refuse_nul(data, chosen, name)
    return chosen, marked is not None


def _check_wanted(data: ByteSource, wanted: str, name: str) -> tuple[str, bool]:
    try:
        codec = codecs.lookup(wanted)
    except LookupError:
        reject(name, f"no encoding called '{wanted}'.", _KNOWN)
    if not _is_text_encoding(codec):
        reject(name, f"'{wanted}' is no text encoding.", _KNOWN)
    wrong = _first_undecodable(data, wanted)
    if wrong is not None:
        raise DataError(
            Problem(
                where=name,
                line=_line_at(data, wrong, wanted),
                message=f"not {wanted}: {_byte_at(data, wrong)}.",
                remedy="Leave the encoding out to have it detected.",
            )
        )
    _refuse_nul(data, wanted, name)
    marked = data.head(4096).startswith(codecs.BOM_UTF8)
    return wanted, marked and codec.name.startswith("utf-8")


def _is_text_encoding(codec: codecs.CodecInfo) -> bool:
    """False for codecs such as hex and zlib, which make bytes of bytes."""
    try:
        return isinstance(codec.decode(b"")[0], str)
    except Exception:  # a codec that does not take nothing is one of those
        return False


def _byte_at(data: ByteSource, offset: int) -> str:
    with data.open() as file:
        file.seek(offset)
        return f"byte 0x{file.read(1)[0]:02X} at offset {offset:,}"


def _refuse_nul(data: ByteSource, encoding: str, name: str) -> None:
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32", "utf16", "utf32"))
    at = None if wide else _first_nul(data)
    if at is not None:
        raise DataError(
            Problem(
                where=name,
                line=_line_at(data, at, encoding),
                message=f"a NUL byte at offset {at:,}: this is not a text file, or it is damaged.",
                remedy="Write it again.",
            )
        )


def _first_nul(data: ByteSource) -> int | None:
    start = 0
    for piece in data.pieces():
        at = piece.find(b"\0")
        if at >= 0:
            return start + at
        start += len(piece)
    return None


def _utf_16_without_mark(head: bytes) -> str | None:
    """The UTF-16 codec if nearly every second byte of the beginning is zero, always on one side."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * pairs and even == 0:
        return "utf-16-le"
    if even > 0.4 * pairs and odd == 0:
        return "utf-16-be"
    return None


def _first_undecodable(data: ByteSource, encoding: str) -> int | None:
    """Offset of the first byte that does not decode; None where all do."""
    decoder = codecs.getincrementaldecoder(encoding)()
    start, pieces = 0, data.pieces()
    piece = next(pieces, b"")
    while piece:
        following = next(pieces, b"")
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(piece, final=not following)
        except UnicodeDecodeError as error:
            return min(max(start - pending + error.start, 0), start + len(piece) - 1)
        except UnicodeError:
            return start
        start += len(piece)
        piece = following
    return None


def _line_at(data: ByteSource, offset: int, encoding: str) -> int:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    line, left = 1, offset
    for piece in data.pieces():
        line += decoder.decode(piece[:left], final=left <= len(piece)).count("\n")
        left -= len(piece)
        if left <= 0:
            break
    return line


def _is_western(data: ByteSource) -> bool:
    """True where bytes that are not UTF-8 can only be Windows-1252 (or Latin-1, of which it is a
    superset for text).

    Not if a byte is unassigned there; not if there are proper UTF-8 sequences too (a UTF-8 file
    with damage, or two files in one); not if the high bytes come in runs of three and more, as in
    Cyrillic, Greek or Chinese words: in the languages that Windows-1252 is for, an accented
    letter has one beside it at most (Größe).
    """
    n_high = n_proper = n_inner = 0
    for piece in _between_letters(data):
        array = np.frombuffer(piece, dtype=np.uint8)
        high = array >= 0x80
        if np.isin(array[high], (0x81, 0x8D, 0x8F, 0x90, 0x9D)).any():
            return False
        n_high += int(high.sum())
        n_proper += sum(len(found[0]) for found in _PROPER.finditer(piece))
        n_inner += int((high[2:] & high[1:-1] & high[:-2]).sum())
    return n_proper * 10 <= n_high and n_inner * 4 <= n_high


def _between_letters(data: ByteSource) -> Iterator[bytes]:
    """The bytes in pieces that do not end within a run of high bytes, unless it is very long."""
    held = b""
    for piece in data.pieces():
        joined = held + piece
        end = max(joined.rfind(b"\n"), joined.rfind(b" ")) + 1
        if not end and len(joined) > 1 << 22:
            end = len(joined)
        yield joined[:end]
        held = joined[end:]
    yield held


def decode(data: ByteSource, encoding: str) -> io.TextIOWrapper:
    """The decoded text as a stream, without its byte order mark; line ends stay as they are."""
    text = io.TextIOWrapper(data.open(), encoding=encoding, newline="")
    if text.read(1) != "\ufeff":
        text.seek(0)
    return text
