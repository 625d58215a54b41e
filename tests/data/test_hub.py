"""Downloads against a small server on the loopback: the right file whole, or a clear line and
nothing left behind.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore.data import named
from encore.data.hub import cache_folder, download
from encore.data.load import load_task
from encore.data.settings import DataSettings
from encore.errors import DataError

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()
REPO = "someone/files"


class Server(ThreadingHTTPServer):
    """Serves `files` as a Hugging Face data set; the first `deaths` transfers break off half
    way.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.deaths = 0
        self.status: int | None = None
        self.failures = 0
        self.requests: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        prefix = f"/datasets/{REPO}/resolve/main/"
        data = (
            self.server.files.get(self.path.removeprefix(prefix))
            if self.path.startswith(prefix)
            else None
        )
        status = 503 if self.server.failures else self.server.status
        self.server.failures = max(self.server.failures - 1, 0)
        if status is not None or data is None:
            self.send_response(status or 404)
            if status is None:
                self.send_header(
                    "X-Error-Code",
                    "EntryNotFound"
                    if self.path.startswith(f"/datasets/{REPO}/")
                    else "RepoNotFound",
                )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and body:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not body:
            return
        if self.server.deaths:
            self.server.deaths -= 1
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(data[start:])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    server = Server()
    server.files["rte/train.parquet"] = CONTENT
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("encore.data.hub._PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None, time=time.time)
    )  # it waits a second before it resumes
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def kept(tmp_path: Path) -> list[str]:
    return sorted(
        str(path.relative_to(tmp_path / "cache"))
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file() or path.name.startswith(".")
    )


def test_a_good_file_is_kept_and_fetched_once(server: Server, tmp_path: Path) -> None:
    path = download("rte/train.parquet", sha256=DIGEST, repo=REPO)
    assert path == tmp_path / "cache" / "data" / "rte" / "train.parquet"
    assert path.read_bytes() == CONTENT
    n_requests = len(server.requests)
    assert n_requests > 0
    assert download("rte/train.parquet", sha256=DIGEST, repo=REPO) == path
    assert len(server.requests) == n_requests
    assert kept(tmp_path) == ["data/rte/train.parquet"]


def test_a_wrong_digest_is_refused_and_a_damaged_copy_replaced(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=rf"expected sha256 {'0' * 64}, got {DIGEST}\. The file was not kept"
    ):
        download("rte/train.parquet", sha256="0" * 64, repo=REPO)
    assert kept(tmp_path) == []
    place = tmp_path / "cache" / "data" / "rte" / "train.parquet"
    place.write_bytes(b"damaged")
    assert download("rte/train.parquet", sha256=DIGEST, repo=REPO).read_bytes() == CONTENT


def test_no_such_file_and_no_such_repository(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"^rte/dev.parquet: from data set 'someone/files': the data set has no such file\.",
    ):
        download("rte/dev.parquet", sha256=DIGEST, repo=REPO)
    with pytest.raises(DataError, match="'someone/else': no such data set at http://127"):
        download("rte/dev.parquet", sha256=DIGEST, repo="someone/else")
    with pytest.raises(
        DataError, match="not a repository name; expected ENCORE_DATA_REPO=owner/name"
    ):
        download("rte/dev.parquet", sha256=DIGEST, repo="some one/x/y")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_transfer_that_dies_half_way_is_tried_again(
    deaths: int, server: Server, tmp_path: Path
) -> None:
    server.deaths = deaths
    assert download("rte/train.parquet", sha256=DIGEST, repo=REPO).read_bytes() == CONTENT
    assert server.deaths == 0
    assert kept(tmp_path) == ["data/rte/train.parquet"]


def test_a_server_that_is_busy_at_first_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.failures = 1
    assert download("rte/train.parquet", sha256=DIGEST, repo=REPO).read_bytes() == CONTENT
    assert server.failures == 0


def test_a_server_that_always_dies_gives_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    server.deaths = 10_000
    with pytest.raises(DataError) as caught:
        download("rte/train.parquet", sha256=DIGEST, repo=REPO)
    assert "failed 3 times" in str(caught.value)
    assert "Nothing was kept; run the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == []


def test_a_server_error_and_no_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 500
    with pytest.raises(DataError, match="failed 3 times"):
        download("rte/train.parquet", sha256=DIGEST, repo=REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"the transfer from http://127.0.0.1:9 failed 3 times"):
        download("rte/train.parquet", sha256=DIGEST, repo=REPO)
    assert kept(tmp_path) == []


def test_what_a_killed_download_left_is_swept_a_day_later(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "data" / "rte"
    for name in ("old", "new"):
        (folder / f".incoming-{name}").mkdir(parents=True)
    os.utime(folder / ".incoming-old", (time.time() - 2 * 86400,) * 2)
    download("rte/train.parquet", sha256=DIGEST, repo=REPO)
    assert kept(tmp_path) == ["data/rte/.incoming-new", "data/rte/train.parquet"]


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DataError, match="Set ENCORE_CACHE to a folder that can be written"):
        download("rte/train.parquet", sha256=DIGEST, repo=REPO)


def test_the_cache_is_in_the_home_folder_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENCORE_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/encore")
    monkeypatch.setenv("ENCORE_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_a_named_task_comes_from_the_repository_that_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: nothing on the machine, ENCORE_DATA_REPO set, two small files with known
    digests.
    """
    files = {}
    for split, n_rows in (("train", 20), ("dev", 10)):
        table = pa.table(
            {
                "text_a": [f"{split} {row}" for row in range(n_rows)],
                "text_b": ["b"] * n_rows,
                "label": [row % 2 for row in range(n_rows)],
            }
        )
        pq.write_table(table, tmp_path / f"{split}.parquet")
        data = (tmp_path / f"{split}.parquet").read_bytes()
        server.files[f"rte/{split}.parquet"] = data
        files[split] = (f"rte/{split}.parquet", hashlib.sha256(data).hexdigest())
    rte = replace(named.read_named_tasks()["rte"], files=files)
    monkeypatch.setattr(named, "read_named_tasks", lambda: {"rte": rte})
    monkeypatch.delenv("ENCORE_DATA", raising=False)
    monkeypatch.setattr(named, "_folders", lambda: [])
    with pytest.raises(
        DataError,
        match=r"task 'rte': rte/train.parquet is not on this machine .* Set ENCORE_DATA to a "
        r"folder .*, or ENCORE_DATA_REPO",
    ):
        load_task("rte", DataSettings(seed=42))
    monkeypatch.setenv("ENCORE_DATA_REPO", REPO)
    data = load_task("rte", DataSettings(seed=42))
    assert (len(data.train), len(data.dev["dev"])) == (20, 10)
    assert data.train.digest == files["train"][1]
    server.status = 500
    monkeypatch.delenv("ENCORE_DATA_REPO")
    assert (
        len(load_task("rte", DataSettings(seed=42)).train) == 20
    )  # from the cache, without asking anyone
