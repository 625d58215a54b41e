"""A digest of what a recipe file sets, for records of results that were made with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from encore.recipe.schema import PROSE

__all__ = ["settings_digest"]


def settings_digest(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a recipe file's settings, in hexadecimal digits. Comments, layout and what the
    recipe says of its source (source, claim, expect) do not count; the order of settings does.

    document: the file as `to_plain(read_yaml(…))` has it (another reader of YAML may take 2e-5 for
    text).
    """
    settings = _without_prose(document)
    variants = settings.get("variants")
    if isinstance(variants, Mapping):
        settings["variants"] = {
            name: _without_prose(own) if isinstance(own, Mapping) else own
            for name, own in variants.items()
        }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _without_prose(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in PROSE}
