"""The estimate of a run's memory: it holds against measured peaks, and a run that does not fit is
refused with settings that do.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import encore
from encore.cli.app import main
from encore.errors import DataError, RecipeError
from encore.experiments.cells import processes_that_fit
from encore.model.free_memory import free_bytes, resident_bytes
from encore.recipe.load import recipe_for_file
from encore.runs import memory, scoring_memory
from encore.runs.execute import execute
from encore.runs.memory import NotEnoughMemory, RunMemory, estimate_memory, require_memory
from encore.runs.prepare import prepare
from encore.runs.prepared import Prepared
from tests.conftest import PLAIN, Tables, write_csv

APART = ("data.text_pair=other", "pooling=cls", "pair=siamese", "head=siamese_concat")


def allow(monkeypatch: pytest.MonkeyPatch, n_bytes: float | None) -> None:
    for module in (memory, scoring_memory):
        monkeypatch.setattr(module, "free_bytes", lambda: n_bytes)


def batch(tables: Tables, *settings: str) -> float:
    return estimate_memory(tables.prepared(*settings)).batch


def test_batches_are_counted_as_they_are_computed(tables: Tables) -> None:
    few, many = (batch(tables, f"plan.batch_size={size}") for size in (3, 50))
    assert few < many / 4
    assert few <= batch(tables, "plan.batch_size=50", "plan.micro_batch=3") < many / 4
    assert batch(tables, "plan.batch_size=50", "batch_size=3") == few, "the task has its own size"
    assert batch(tables, *APART, "plan.batch_size=52") == batch(
        tables, *APART, "plan.batch_size=104"
    ), "52 examples are all there are, of two texts each"
    twice = batch(tables, "losses={task: cross_entropy, again: simcse}")
    assert twice == 2 * batch(tables), "a loss that runs the model again keeps its states too"
    assert batch(tables, "plan.freeze_encoder=true") < batch(tables) / 10


def test_the_last_micro_batch_of_a_sorted_batch_is_the_largest(tables: Tables) -> None:
    one = RunMemory(tables.prepared("plan.batch_size=52", "plan.micro_batch=26"))
    lengths = np.sort(one.prepared.streams["train"].train.lengths)
    padded = np.where(lengths <= 16, 16, 32)
    tokens, pairs, rows = one._micro_batches(one.prepared.streams["train"], 26, None)
    assert tokens.tolist() == [padded[:26].sum(), padded[26:].sum()]
    assert pairs.tolist() == [(padded[:26] ** 2).sum(), (padded[26:] ** 2).sum()]
    assert rows.tolist() == [26, 26]


# ------------------------------------------------------------------------------------- measured


@pytest.fixture(scope="module")
def long_encoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with 2,048 positions."""
    folder = tmp_path_factory.mktemp("long") / "long-bert"
    folder.mkdir()
    config = json.loads((tiny_encoder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    (folder / "vocab.txt").write_bytes((tiny_encoder / "vocab.txt").read_bytes())
    weights = load_file(tiny_encoder / "model.safetensors")
    name = "embeddings.position_embeddings.weight"
    weights[name] = np.resize(weights[name], (2048, weights[name].shape[1]))
    save_file(weights, folder / "model.safetensors")
    return folder


def texts(n_rows: int, n_words: int) -> list[str]:
    draw = np.random.default_rng(n_words)
    return [" ".join(draw.choice(PLAIN, n_words)) for _ in range(n_rows)]


def written(folder: Path, rows: list[str], n_classes: int) -> Path:
    labels = [f"c{row % n_classes}" for row in range(len(rows))]
    return write_csv(folder / f"{len(rows)}.csv", {"text": rows, "label": labels})


# texts of the training set, classes, settings
SIZES: dict[str, tuple[list[str], int, tuple[str, ...]]] = {
    "batch": (texts(64, 250), 2, ("plan.batch_size=64",)),
    "long row": ([*texts(20, 9), *texts(1, 2000)], 2, ("plan.batch_size=7", "pooling=mean")),
    "long row, bf16": ([*texts(20, 9), *texts(1, 2000)], 2, ("precision=bf16",)),
    "classes": (texts(4000, 5), 2000, ("plan.batch_size=512",)),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read in /proc")
@pytest.mark.parametrize("size", SIZES)
def test_the_estimate_is_near_the_measured_peak(
    size: str, long_encoder: Path, tmp_path: Path
) -> None:
    """The bytes counted from shapes are at most 2.2 times what a run takes, and a run never takes
    more than these and the 350 MB for imports and compiled products.
    """
    rows, n_classes, settings = SIZES[size]
    train, dev = written(tmp_path, rows, n_classes), tmp_path / "dev.csv"
    write_csv(dev, {"text": rows[:20], "label": [f"c{row % n_classes}" for row in range(20)]})
    run = (f"encoder={long_encoder}", "max_length=2048", "plan.epochs=1", "plan.lr=1e-3")
    how = {"precision": "fp32", "threads": "1", "metrics": "accuracy"}
    for setting in settings:
        how.pop(setting.split("=")[0], None)
    given = (*run, *settings, *(f"{key}={value}" for key, value in how.items()))
    one = recipe_for_file(train, given, dev=str(dev), text="text", label="label")
    counted, grown = _counted_and_grown(prepare(one), tmp_path)
    assert counted / 2.2 < grown < counted + memory._IMPORTS


def _counted_and_grown(one: Prepared, runs: Path) -> tuple[float, float]:
    """Bytes that the estimate counts beside imports, and by which a process grows that trains."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier tests freed would be taken again
        need, before = estimate_memory(one), resident_bytes()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
        execute(one, runs)
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        found = [need.added - memory._IMPORTS, int(peak) * 1024 - before]
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        counted, grown = json.loads(pipe.read())
    os.waitpid(child, 0)
    return counted, grown


# -------------------------------------------------------------------------------------- refused


def test_a_run_that_does_not_fit_is_refused_with_settings_that_fit(
    long_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = written(tmp_path, texts(64, 250), 2)
    given = (f"encoder={long_encoder}", "max_length=512", "plan.batch_size=64", "pooling=mean")

    def prepared(*settings: str) -> Prepared:
        overrides = (*(each for each in given if not settings or "max" not in each), *settings)
        return prepare(recipe_for_file(train, overrides, text="text", label="label"))

    one = prepared()
    need = estimate_memory(one)
    allow(monkeypatch, need.added - need.batch / 2)
    with pytest.raises(NotEnoughMemory) as caught:
        require_memory(one)
    (line,) = caught.value.lines
    assert re.fullmatch(
        r"memory: this run takes about \d\.\d GB, of which a batch of 64 rows \d\.\d GB; \d\.\d GB "
        r"are free for it\. Choose plan\.micro_batch=\d+ \(about \d\.\d GB\), or max_length=\d+ "
        r"\(about \d\.\d GB\), or free some memory\.",
        line,
    )
    micro_batch, max_length = re.findall(r"plan\.micro_batch=\d+|max_length=\d+", line)
    require_memory(prepared(micro_batch, "max_length=512"))
    require_memory(prepared(max_length))
    with pytest.raises(NotEnoughMemory):
        execute(one, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_many_classes_and_features_are_named(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = RunMemory(tables.prepared())
    need = one.estimate()
    assert "fewer classes (data.labels) or rows" in one.remedy(replace(need, scores=9e9), 1e9)
    assert "a pooling that keeps one vector" in one.remedy(replace(need, features=9e9), 1e9)
    assert one.largest_part(replace(need, scores=9e9)) == (
        "the scores of 52 rows in 3 classes 9.0 GB"
    )
    assert one.largest_part(replace(need, row=9e9)).startswith("the attention of a row of ")


def test_force_trains_all_the_same(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    allow(monkeypatch, 0)
    settings = (*tables.settings, "plan.epochs=1")
    how = {"label": "verdict", "text": "text", "runs": tmp_path}
    with pytest.raises(RecipeError, match=r"To try all the same: force=True\.$"):
        encore.fit(tables.train, *settings, **how)
    words = ["train", str(tables.train), "--label", "verdict", "--text", "text", "-q"]
    with pytest.raises(SystemExit) as end:
        main([*words, *settings, "--runs", str(tmp_path)])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("To try all the same: --force.\n")
    result = encore.fit(tables.train, *settings, **how, force=True)
    # What is complete needs no memory.
    assert encore.fit(tables.train, *settings, **how).folder == result.folder
    allow(monkeypatch, None)  # a system that reports nothing


def test_a_dry_run_shows_what_is_free(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["train", str(tables.train), "--label", "verdict", "--text", "text", "--dry-run"]
    monkeypatch.setattr("encore.runs.cost._PROBE_SECONDS", 0.01)
    for free, end in ((90e9, ""), (0, ": too little, so training is refused without --force")):
        monkeypatch.setattr("encore.runs.cost.free_bytes", lambda free=free: free)
        with pytest.raises(SystemExit) as ended:
            main([*words, *tables.settings])
        assert ended.value.code == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert re.fullmatch(rf"# \d+\.\d GB of memory are free for it{end}", last)


def test_runs_at_once_are_as_many_as_fit(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    one, lines = tables.prepared(), list[str]()
    allow(monkeypatch, 2.5 * estimate_memory(one).added)
    assert processes_that_fit([one], 9, 4, 1, lines.append) == 2
    assert re.fullmatch(
        r"2 at once and not 4: each takes about 0\.\d GB, and \d\.\d GB are free", lines[0]
    )
    allow(monkeypatch, 0)
    assert processes_that_fit([one], 9, 4, 1, lines.append) == 1, "its own check refuses it"
    allow(monkeypatch, 90e9)
    assert processes_that_fit([one], 3, 4, 1, lines.append) == 3
    assert len(lines) == 2


def test_a_long_row_is_refused_before_it_is_scored(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"label": "verdict", "text": "text", "runs": tmp_path}
    folder = encore.fit(tables.train, *tables.settings, "plan.epochs=1", **how).folder
    path = write_csv(tmp_path / "new.csv", {"text": ["the lamp", "the lamp " * 9, "a"]})
    need = scoring_memory.attention_bytes(20, 3, torch.float32)
    assert need == 8 * 3 * 32**2
    allow(monkeypatch, need - 1)
    line = (
        r"new\.csv: line 3 has 20 tokens, whose attention takes about 0\.0 GB of memory, and 0\.0 "
        r"GB are free\. Shorten the text, free some memory, or try all the same: --force \(in "
        r"Python encore\.load\(run, force=True\)\)\."
    )
    with pytest.raises(DataError, match=line):
        encore.load(folder).predict(path)
    with pytest.raises(SystemExit) as end:
        main(["predict", str(folder), str(path), "-o", str(tmp_path / "out.csv")])
    assert end.value.code == 3
    assert len(encore.load(folder, force=True).predict(path)) == 3
    allow(monkeypatch, need)
    assert len(encore.load(folder).predict(path)) == 3


# ----------------------------------------------------------------------------------------- free

GB = 10**9


def machine(root: Path, files: dict[str, object]) -> Path:
    usual = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:  {8 * GB // 1024} kB\n"}
    for name, content in (usual | files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


V2 = {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max"}
V1 = {"proc/self/cgroup": "12:cpu:/c\n4:memory:/docker/x\n1:name=systemd:/"}
GROUPS: dict[str, tuple[dict[str, object], int]] = {
    "none": ({}, 8 * GB // 1024 * 1024),
    "own": (
        V2 | {"sys/fs/cgroup/a/b/memory.max": 5 * GB, "sys/fs/cgroup/a/b/memory.current": 2 * GB},
        3 * GB,
    ),
    "around": (
        V2 | {"sys/fs/cgroup/a/memory.max": 4 * GB, "sys/fs/cgroup/a/memory.current": 3 * GB},
        GB,
    ),
    "files are given back": (
        V2
        | {
            "sys/fs/cgroup/a/memory.max": 4 * GB,
            "sys/fs/cgroup/a/memory.current": 3 * GB,
            "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {GB}",
        },
        2 * GB,
    ),
    "full": (
        V2 | {"sys/fs/cgroup/a/memory.max": GB, "sys/fs/cgroup/a/memory.current": 2 * GB},
        0,
    ),
    "version 1": (
        V1
        | {
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": 3 * GB,
            "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": GB,
        },
        2 * GB,
    ),
    "version 1, only the top is there": (
        V1
        | {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 3 * GB,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 2 * GB,
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GB}",
        },
        2 * GB,
    ),
    "version 1 without a limit": (
        V1
        | {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 2 * GB,
        },
        8 * GB // 1024 * 1024,
    ),
}


@pytest.mark.parametrize("case", GROUPS)
def test_limits_of_control_groups_count(case: str, tmp_path: Path) -> None:
    files, expected = GROUPS[case]
    assert free_bytes(machine(tmp_path, files)) == expected


def test_ulimit_counts(tmp_path: Path) -> None:
    machine(tmp_path, {"proc/self/statm": "1000 500 0"})
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (7 * GB, before[1]))
    try:
        assert free_bytes(tmp_path) == 7 * GB - 1000 * resource.getpagesize()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_process_knows_its_size() -> None:
    before = resident_bytes()
    with mmap.mmap(-1, 50_000_000) as held:  # new pages, not some that were freed
        held.write(b"1" * 50_000_000)
        assert 40e6 < resident_bytes() - before < 120e6
