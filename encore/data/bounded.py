"""Reads the small files of an encoder's folder, which may come from anybody: only ordinary files,
of a bounded size, and of JSON only an object of known types.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from encore.data.table import display_path
from encore.errors import DataError, Problem, describe_type, format_given, on_one_line

__all__ = ["MOST_JSON", "checked_settings", "read_bounded", "read_object", "require_regular"]

MOST_JSON = 8 << 20  # bytes of a config.json; one with 100,000 label names takes 4 MB
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_AGAIN = "Download or save it again."
Settings = TypeVar("Settings", bound=BaseModel)


def require_regular(path: Path, most: int | None = None) -> int:
    """The size of a file in bytes. Raises DataError, without opening it, where it is missing, no
    ordinary file (a named pipe would wait for ever, a device has no end), or has more than `most`
    bytes.
    """
    where = display_path(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise DataError(f"{where}: file is missing; an encoder's folder needs it.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else on_one_line(error)
        raise DataError(f"{where}: cannot be read ({reason}). {_AGAIN}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise DataError(f"{where}: expected an ordinary file, got {kind}. {_AGAIN}")
    if most is not None and found.st_size > most:
        size = f"{found.st_size / 1e6:,.0f} MB"
        raise DataError(f"{where}: expected at most {most / 1e6:.0f} MB, got {size}. {_AGAIN}")
    return found.st_size


def read_bounded(path: Path, most: int) -> bytes:
    """The content of an ordinary file of at most `most` bytes. Raises DataError."""
    require_regular(path, most)
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise DataError(
            f"{display_path(path)}: cannot be read ({error.strerror}). {_AGAIN}"
        ) from None


def read_object(path: Path, most: int = MOST_JSON) -> dict[str, Any]:
    """The JSON object in an ordinary file. Raises DataError."""
    content, where = read_bounded(path, most), display_path(path)
    try:
        value = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({on_one_line(error)[:200]}). {_AGAIN}") from None
    except RecursionError:
        raise DataError(f"{where}: not valid JSON (nested too deeply). {_AGAIN}") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(value).__name__}. {_AGAIN}")
    return value


def checked_settings(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """The settings of a file in their one typed form. Raises DataError with one line for each
    setting that is of another type or out of its range.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors(include_url=False))
    fields = {field.alias or name: field for name, field in kind.model_fields.items()}
    raise DataError(
        Problem(
            where=where,
            setting=name,
            expected=describe_type(fields[name].annotation, fields[name].metadata),
            got=format_given(values.get(name)),
            remedy="Correct it, or download the file again.",
        )
        for name in wrong
    )
