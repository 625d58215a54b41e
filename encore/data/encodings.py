"""Detects the text encoding of a file."""

from __future__ import annotations

import codecs
import io
import re

import numpy as np

from encore.data.table import complain
from encore.errors import DataError

__all__ = ["EXCEL_NOTE", "decode", "detect_encoding"]
EXCEL_NOTE = re.compile(
    r"sep=(.)\r?\n", re.IGNORECASE
)  # the first line of some exports, which tells Excel the delimiter and is no row


# ---------------------------------------------------------------------------------------- encodings


def detect_encoding(data: bytes, asked: str | None, name: str) -> tuple[str, bool]:
    """The Python codec that reads `data`, without a byte order mark in its name, and whether there
    is such a mark to drop.
    """
    if asked is not None:
        try:
            codec = codecs.lookup(asked)
        except LookupError:
            raise DataError(
                f"{name}: no encoding called '{asked}'. Known, among others: utf-8, cp1252, "
                f"latin-1, utf-16, gb18030, shift_jis."
            ) from None
        if not getattr(codec, "_is_text_encoding", True):
            complain(
                [
                    f"{name}: '{asked}' is no text encoding. Known, among others: utf-8, "
                    f"cp1252, latin-1, utf-16, gb18030, shift_jis."
                ]
            )
        wrong = _first_undecodable(data, asked)
        if wrong is not None:
            complain(
                [
                    f"{name}:{_line_at(data, wrong, asked)}: not {asked}: byte "
                    f"0x{data[wrong]:02X} at offset {wrong:,}. Leave --encoding out to have it "
                    f"found."
                ]
            )
        _refuse_nul(data, asked, name)
        return asked, data.startswith(codecs.BOM_UTF8) and codec.name.startswith("utf-8")
    marks = (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    )
    marked = next((codec_name for mark, codec_name in marks if data.startswith(mark)), None)
    chosen = marked or _wide(data) or "utf-8"
    wrong = _first_undecodable(data, chosen)
    if wrong is not None:
        if chosen == "utf-8" and marked is None and _is_western(data):
            chosen = "cp1252"
        else:
            complain(
                [
                    f"{name}:{_line_at(data, wrong, chosen)}: not {chosen.upper()}: byte "
                    f"0x{data[wrong]:02X} at offset {wrong:,}. "
                    "Save the file as UTF-8, or pass --encoding (cp1252, latin-1, utf-16, "
                    "gb18030, …)."
                ]
            )
    _refuse_nul(data, chosen, name)
    return chosen, marked is not None


def _refuse_nul(data: bytes, encoding: str, name: str) -> None:
    at = (
        -1
        if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32", "utf16", "utf32"))
        else data.find(b"\0")
    )
    if at >= 0:
        complain(
            [
                f"{name}:{_line_at(data, at, encoding)}: a NUL byte at offset {at:,}: this is "
                f"not a text file, or it is damaged. Write it again."
            ]
        )


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: nearly every second byte of the beginning is zero, always on the same
    side.
    """
    head = data[:4096]
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * pairs and even == 0:
        return "utf-16-le"
    if even > 0.4 * pairs and odd == 0:
        return "utf-16-be"
    return None


def _first_undecodable(data: bytes, encoding: str) -> int | None:
    """Offset of the first byte that does not decode; None where all do. In pieces, so that a large
    file is never held as one string.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    step = 1 << 20
    for start in range(0, len(data), step):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(data[start : start + step], final=start + step >= len(data))
        except UnicodeDecodeError as error:
            return min(max(start - pending + error.start, 0), len(data) - 1)
        except UnicodeError:
            return start
    return None


def _line_at(data: bytes, offset: int, encoding: str) -> int:
    return data[:offset].decode(encoding, "replace").count("\n") + 1


def _is_western(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 can only be Windows-1252 (or Latin-1, of which it is a
    superset for text).

    Not if a byte is unassigned there; not if there are proper UTF-8 sequences too (a UTF-8 file
    with damage, or two files in one); not if the high bytes stand in runs of three and more, as
    Cyrillic, Greek or Chinese words do: in the languages that Windows-1252 is for, an accented
    letter has one beside it at most (Größe).
    """
    array = np.frombuffer(data, dtype=np.uint8)
    high = array >= 0x80
    if np.isin(array[high], (0x81, 0x8D, 0x8F, 0x90, 0x9D)).any():
        return False
    n_high = int(high.sum())
    n_proper = sum(
        map(
            len,
            re.findall(
                rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}", data
            ),
        )
    )
    n_inner = int((high[2:] & high[1:-1] & high[:-2]).sum())
    return n_proper * 10 <= n_high and n_inner * 4 <= n_high


def decode(data: bytes, encoding: str) -> io.TextIOWrapper:
    """The decoded text, streamed; line ends stay as they are."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    if text.read(1) != "\ufeff":
        text.seek(0)
    return text
