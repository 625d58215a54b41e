"""The kind of a folder, by the files that it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from encore.errors import DataError
from encore.runs.folder import explain_no_run, read_result
from encore.runs.kind import folder_kind


def folder(place: Path, **contents: Any) -> Path:
    for name, content in contents.items():
        (place / f"{name}.json").write_text(json.dumps(content))
    return place


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        ({"study": {"name": "a"}}, "comparison"),
        ({"study": {"name": "a", "sampler": "tpe"}}, "search"),
        ({"study": ["sampler"]}, "comparison"),
        ({"resolved": {}}, "run"),
        ({"resolved": {}, "manifest": {}, "config": {}}, "run"),
        ({"manifest": {}}, "run"),
        ({"manifest": {}, "config": {}}, "export"),
        ({"manifest": {}, "modules": []}, "export"),
        ({"config": {}}, "nothing"),
        ({}, "nothing"),
    ],
)
def test_the_kind_follows_from_the_files(
    tmp_path: Path, contents: dict[str, Any], kind: str
) -> None:
    assert folder_kind(folder(tmp_path, **contents)) == kind


def test_a_file_and_a_missing_folder_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert {folder_kind(tmp_path / name) for name in ("a.csv", "b")} == {"nothing"}


def test_an_export_is_no_run(tmp_path: Path) -> None:
    exported = folder(tmp_path, manifest={}, config={})
    assert "an exported model, not the folder of a run" in explain_no_run(exported)
    with pytest.raises(DataError, match="an exported model"):
        read_result(exported)
