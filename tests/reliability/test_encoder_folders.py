"""Hostile encoder folders: each is used, or refused in a few clear lines; none hangs, takes all
memory or ends in an internal error.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from conftest import Tables, Warm

from encore.data import tokenizer_guard, tokenizer_trial
from encore.data.batches import collate
from encore.data.token_store import tokenize
from encore.data.tokenizer import TextTokenizer
from encore.encoder import load
from encore.encoder.encoder import Shape
from encore.errors import DataError, EncoreError
from encore.runs.task_streams import require_known
from reliability.counts import n_tries, record
from reliability.encoder_folders import FAMILIES, damage, trapped, write_encoder

SECONDS, BYTES = 60, 2 << 30  # what a folder of 100 KB may take on a busy machine
TEXTS = ["the lamp is great", "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa my box, was dull.", "é\u200b\n"]


@dataclass(frozen=True)
class End:
    """The end of a try: "used", "refused", or what else happened; the lines that were printed."""

    how: str
    lines: tuple[str, ...]


def use(folder: Path) -> None:
    """Do what a training does with an encoder's folder, up to the first states."""
    source = load.locate(str(folder))
    tokenizer = TextTokenizer(folder)
    made = load.load_encoder(source)
    store = tokenize(tokenizer, TEXTS, None, max_length=16, truncation="head")
    require_known(store, made.shape, str(folder))
    made.encoder.eval()(collate(store, np.arange(len(TEXTS))))


def tried(folder: Path) -> End:
    """The end of `use` in a process of its own, with limits of time and memory."""
    read, write = os.pipe()
    until, pid = time.monotonic() + SECONDS, os.fork()
    if pid == 0:
        _child(folder, write)
    os.close(write)
    content, ended = b"", False
    with os.fdopen(read, "rb") as pipe:
        while not ended and (left := until - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                part = os.read(pipe.fileno(), 1 << 16)
                content, ended = content + part, not part
    if not ended:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _, mark, answer = content.rpartition(b"\n\0")
    if not mark:
        return End(f"ended with {status}{'' if ended else ' after the time limit'}", ())
    how, *lines = json.loads(answer)
    return End(how, tuple(lines))


def forked_trial(file: Path) -> bytes:
    """`tokenizer_guard.run_trial` without the start of an interpreter, and with less time."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        try:
            tokenizer_trial.main(str(file))
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        printed = pipe.read()
    os.waitpid(pid, 0)
    return printed


def _child(folder: Path, write: int) -> None:
    """Never returns."""
    torch.set_num_threads(1)  # the threads of the other process are not here
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
    os.dup2(write, 2)
    sys.stdout = os.fdopen(1, "w", closefd=False)  # pytest's own is no file
    try:
        use(folder)
        answer = ["used"]
    except EncoreError as error:
        answer = ["refused", *error.lines]
    except BaseException as error:
        answer = [f"{type(error).__name__}: {str(error)[:300]}"]
    os.write(write, b"\n\0" + json.dumps(answer).encode()[: 1 << 15])
    os._exit(0)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sound folder of each family."""
    root = tmp_path_factory.mktemp("sound")
    found = {family: write_encoder(family, root / family) for family in FAMILIES}
    for folder in found.values():
        use(folder)  # imports once what every try needs
    return found


def test_sound_folders_are_used(sound: dict[str, Path]) -> None:
    assert {family: tried(folder) for family, folder in sound.items()} == dict.fromkeys(
        FAMILIES, End("used", ())
    )


def test_many_tensors_that_do_not_fit_are_cut_short(sound: dict[str, Path], tmp_path: Path) -> None:
    """Seeds that 2,000 tries found: all layers but one are gone, and each tensor had a line."""
    for seed in (135, 1318):
        target = tmp_path / str(seed)
        shutil.copytree(sound[FAMILIES[seed % len(FAMILIES)]], target)
        assert damage(target, Random(seed)).endswith("layers")
        end = tried(target)
        assert end.how == "refused"
        assert len(end.lines) == 8
        assert end.lines[-1].endswith("more tensors do not fit.")


def test_damaged_folders_are_used_or_refused(
    sound: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENCORE_FUZZ=2000 tries more. A seed always makes the same damage."""
    # The trial that users get is what `test_the_command_refuses_in_one_line` starts.
    monkeypatch.setattr(tokenizer_guard, "run_trial", forked_trial)
    monkeypatch.setattr(tokenizer_trial, "SECONDS_OF_TRIAL", 1)
    failed, ends, tries = {}, Counter[str](), n_tries(100)
    for seed in range(tries):
        family, target = FAMILIES[seed % len(FAMILIES)], tmp_path / "encoder"
        shutil.copytree(sound[family], target)
        what = f"seed {seed}, {family}: {damage(target, Random(seed))}"
        end = tried(target)
        shutil.rmtree(target)
        clear = len(end.lines) <= 10 and all(
            len(line) < 600 and line.isprintable() for line in end.lines
        )
        ends[end.how] += 1
        if end.how not in ("used", "refused") or not clear:
            failed[what] = end
    promise = (
        "A damaged encoder folder is used, or refused in clear lines, in bounded time and memory"
    )
    record(promise, tries, tries - len(failed))
    assert not failed
    assert ends["refused"] > tries // 3
    assert ends["used"] > tries // 20


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        ("named pipe", "config.json: expected an ordinary file, got a named pipe."),
        ("device", "tokenizer.json: expected an ordinary file, got a device."),
        ("sparse", "tokenizer_config.json: expected at most 8 MB, got 1,099,512 MB."),
        ("deep", "config.json: not valid JSON (nested too deeply)."),
        ("rate", "config.json hidden_dropout_prob: expected a number of at least 0 and below 1"),
        ("eps", "config.json layer_norm_eps: expected a number above 0 and below 1, got nan."),
        ("layers", "config.json: its number of layers is 400, and model.safetensors has 2."),
        ("words", "shape (400, 24), the configuration says (9000000, 24)."),
        ("header", "model.safetensors: expected a header of at most "),
        ("template", "tokenizer.json: loading it and tokenizing a few short texts takes more than"),
    ],
)
def test_the_command_refuses_in_one_line(
    damaged: str, said: str, sound: dict[str, Path], tables: Tables, warm: Warm, tmp_path: Path
) -> None:
    folder = shutil.copytree(sound["bert"], tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    settings = {
        "rate": {"hidden_dropout_prob": 1.0},
        "eps": {"layer_norm_eps": float("nan")},
        "layers": {"num_hidden_layers": 400},
        "words": {"vocab_size": 9_000_000},
    }
    if damaged in settings:
        (folder / "config.json").write_text(json.dumps(config | settings[damaged]))
    elif damaged == "template":
        trapped(folder, "growing")
    else:
        file, make = FILES[damaged]
        (folder / file).unlink()
        make(folder / file)
    outcome = warm.run(
        [
            *("train", tables.train, "--text", "text", "--label", "verdict", "--dry-run"),
            *(f"encoder={folder}", "max_length=32"),
        ],
        kill_after=60,
    )
    assert outcome.code == 3, outcome.err
    (line,) = (line for line in outcome.err.splitlines() if str(folder) in line)
    assert said in line


def _sparse(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(1 << 40)


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "named pipe": ("config.json", os.mkfifo),
    "device": ("tokenizer.json", lambda file: file.symlink_to("/dev/zero")),
    "sparse": ("tokenizer_config.json", _sparse),
    "deep": ("config.json", lambda file: file.write_bytes(b'{"a":' * 100_000)),
    "header": ("model.safetensors", lambda file: file.write_bytes(b"\xff" * 4096)),
}


def test_tokens_that_an_encoder_does_not_know_are_refused(sound: dict[str, Path]) -> None:
    tokenizer = TextTokenizer(sound["bert"])
    store = tokenize(tokenizer, ["a"], ["b"], max_length=16, truncation="head")
    require_known(store, Shape(1, 1, 1, n_words=400, n_segments=2), "e")
    with pytest.raises(
        DataError, match=r"gives segment 1, its config\.json says type_vocab_size 1"
    ):
        require_known(store, Shape(1, 1, 1, n_words=400, n_segments=1), "e")
    with pytest.raises(DataError, match=r"gives token \d+, its config\.json says vocab_size 3"):
        require_known(store, Shape(1, 1, 1, n_words=3), "e")
