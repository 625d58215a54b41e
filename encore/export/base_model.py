"""The pretrained encoder that a run started from: its name, its place on the hub, its licence."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from encore.encoder.load import MINILM, locate
from encore.errors import DataError
from encore.recipe.schema import Recipe

__all__ = ["BaseModel", "base_of"]


@dataclass(frozen=True)
class BaseModel:
    """The pretrained encoder that a run started from. repository: its name on the hub, if it is
    one; licence: the metadata of its own card.
    """

    name: str
    repository: str | None
    licence: Mapping[str, str]


def base_of(recipe: Recipe) -> BaseModel:
    """The encoder of a recipe, by local files: its folder, or the hub's cache."""
    encoder = recipe.pretrained
    folder = recipe.path(encoder)
    if encoder == MINILM:
        repository: str | None = "sentence-transformers/all-MiniLM-L6-v2"
        with contextlib.suppress(DataError):
            folder = locate(encoder).folder
    elif folder.is_dir():
        repository, encoder = None, folder.name
    else:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached, repository = try_to_load_from_cache(encoder, "README.md"), encoder
            folder = Path(cached).parent if isinstance(cached, str) else folder
        except HFValidationError:  # a folder that is not here any more
            repository, encoder = None, folder.name
    return BaseModel(encoder, repository, _licence(folder / "README.md"))


def _licence(card_file: Path) -> dict[str, str]:
    """The licence in the front matter of a card; nothing where there is no card, or none that can
    be read.
    """
    try:
        _, front, _ = card_file.read_text(encoding="utf-8").split("---\n", 2)
        metadata = yaml.safe_load(front)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    keys = ("license", "license_name", "license_link")
    return {
        key: str(metadata[key])
        for key in keys
        if isinstance(metadata, dict) and isinstance(metadata.get(key), str)
    }
