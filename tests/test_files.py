"""Files and folders appear whole or not at all, and a manifest knows when they changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from encore import files
from encore.errors import TrainingError


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write(path, b"old")
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    files.write(path, lambda file: file.write(b"from a function"))
    assert path.read_bytes() == b"from a function"
    assert names(tmp_path) == {"a.json"}


def test_json_comes_back_and_keeps_its_letters(tmp_path: Path) -> None:
    value = {"größe": [1, 2.5, 1e-300, 0.1 + 0.2], "none": None}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert "größe" in (tmp_path / "a.json").read_text(encoding="utf-8")


def half(file: BinaryIO) -> None:
    file.write(b"half")
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        files.write(path, half)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"a.json"}


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    files.write(path, b"old")
    monkeypatch.setattr(os, function, full_disk)
    with pytest.raises(TrainingError) as error:
        files.write(path, b"new")
    monkeypatch.undo()
    (line,) = error.value.lines
    assert line.startswith(f"{path}: cannot be written (No space left on device). ")
    assert "the same command then resumes" in line
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"a.json"}


def test_canonical_json_depends_on_the_value_alone() -> None:
    assert files.canonical({"b": [1, 0.5], "a": {"d": "ü", "c": None}}) == files.canonical(
        {"a": {"c": None, "d": "ü"}, "b": [1, 0.5]}
    )
    assert files.canonical({"a": 1}) != files.canonical({"a": 1.5})
    assert files.canonical({"a": "1"}) != files.canonical({"a": 1})
    assert files.canonical([1, 2]) != files.canonical([2, 1])
    with pytest.raises(ValueError, match="JSON"):
        files.canonical(float("nan"))


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A folder of two files, one below, with its manifest."""
    folder = tmp_path / "held"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"first content")
    (folder / "deep" / "b").write_bytes(b"second content")
    files.write_manifest(folder, [folder / "deep" / "b", folder / "a"])
    return folder


def test_a_manifest_lists_names_and_digests(held: Path) -> None:
    digests = {
        "a": hashlib.sha256(b"first content").hexdigest(),
        "deep/b": hashlib.sha256(b"second content").hexdigest(),
    }
    assert files.read_json(held / files.MANIFEST) == digests
    assert files.wrong_files(held, ()) == []
    (held / "more").write_bytes(b"not in the manifest")
    assert files.wrong_files(held, ()) == []


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "flipped bit": (lambda held: (held / "a").write_bytes(b"girst content"), ["a"]),
    "cut": (lambda held: os.truncate(held / "a", 5), ["a"]),
    "longer": (lambda held: (held / "deep" / "b").write_bytes(b"second content\n"), ["deep/b"]),
    "gone": (lambda held: (held / "deep" / "b").unlink(), ["deep/b"]),
    "both": (
        lambda held: [os.truncate(held / name, 0) for name in ("a", "deep/b")],
        ["a", "deep/b"],
    ),
    "a folder in its place": (lambda held: [(held / "a").unlink(), (held / "a").mkdir()], ["a"]),
    "no manifest": (lambda held: (held / files.MANIFEST).unlink(), [files.MANIFEST]),
    "empty manifest": (lambda held: os.truncate(held / files.MANIFEST, 0), [files.MANIFEST]),
    "cut manifest": (lambda held: os.truncate(held / files.MANIFEST, 30), [files.MANIFEST]),
    "manifest of bytes": (
        lambda held: (held / files.MANIFEST).write_bytes(b"\xff\xfe{}"),
        [files.MANIFEST],
    ),
    "manifest that is a list": (
        lambda held: (held / files.MANIFEST).write_text("[]"),
        [files.MANIFEST],
    ),
    "digest changed": (
        lambda held: (held / files.MANIFEST).write_text(
            json.dumps({"a": "0" * 64}, indent=2) + "\n"
        ),
        ["a"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_held_file_is_noticed(change: str, held: Path) -> None:
    act, wrong = CHANGES[change]
    act(held)
    assert files.wrong_files(held, ()) == wrong


def test_a_folder_that_is_not_there_has_no_manifest(tmp_path: Path) -> None:
    assert files.wrong_files(tmp_path / "nothing", ()) == [files.MANIFEST]


def test_a_folder_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    with files.commit_folder(tmp_path / "whole") as being_written:
        assert being_written.parent == tmp_path
        assert being_written.name.endswith(".part")
        (being_written / "a").write_bytes(b"x")
        (being_written / "deep").mkdir()
        (being_written / "deep" / "b").write_bytes(b"y")
        assert not (tmp_path / "whole").exists()
    assert names(tmp_path) == {
        "whole",
        "whole/a",
        "whole/deep",
        "whole/deep/b",
        "whole/manifest.json",
    }
    assert files.wrong_files(tmp_path / "whole", ()) == []
    assert set(files.read_json(tmp_path / "whole" / files.MANIFEST)) == {"a", "deep/b"}
    assert stat.S_IMODE((tmp_path / "whole").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "whole" / "a").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_folder_that_was_interrupted_does_not_appear(
    error: type[BaseException], tmp_path: Path
) -> None:
    def interrupted() -> None:
        with files.commit_folder(tmp_path / "whole") as being_written:
            (being_written / "a").write_bytes(b"x")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == set()


def test_a_folder_on_a_full_disk_is_one_line_and_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with (
        pytest.raises(TrainingError, match="No space left") as error,
        files.commit_folder(tmp_path / "whole") as being_written,
    ):
        (being_written / "a").write_bytes(b"x")
    assert len(error.value.lines) == 1
    assert names(tmp_path) == set()


def test_a_folder_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "mine").write_bytes(b"x")
    with (
        pytest.raises(TrainingError, match="whole"),
        files.commit_folder(tmp_path / "whole") as being_written,
    ):
        (being_written / "a").write_bytes(b"x")
    assert names(tmp_path) == {"whole", "whole/mine"}


def test_remove_takes_what_is_there_and_what_an_earlier_removal_left(tmp_path: Path) -> None:
    files.remove(tmp_path / "saved")
    for name in ("saved", ".saved.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"x")
    files.remove(tmp_path / "saved")
    assert names(tmp_path) == set()


def test_a_folder_is_renamed_before_its_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks while it is removed sees all of it or nothing: `saved` is never half there."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "a").write_bytes(b"x")
    seen = []
    monkeypatch.setattr(
        files.shutil,
        "rmtree",
        lambda path, **_: seen.append((Path(path).name, (tmp_path / "saved").exists())),
    )
    files.remove(tmp_path / "saved")
    assert seen == [(".saved.gone", False)]


def test_sweep_takes_leftovers_of_killed_processes_and_nothing_else(tmp_path: Path) -> None:
    kept = {
        "results.json",
        "predictions",
        "predictions/dev-1.parquet",
        ".gitignore",
        "a.part",
        "model.new",
    }
    left = {".results.json.k3_x.part", "predictions/.dev-1.parquet.a.part", ".model.new"}
    left |= {".checkpoint.gone", ".checkpoint.gone/.b.gone", ".checkpoint.gone/.b.gone/c"}
    for name in sorted(kept | left):
        if name in {"predictions", ".checkpoint.gone", ".checkpoint.gone/.b.gone"}:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(b"x")
    files.sweep(tmp_path)
    assert names(tmp_path) == kept


def test_only_errors_of_the_disk_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.explained(tmp_path):
        raise ZeroDivisionError
