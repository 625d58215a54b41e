"""A hub that redirects for ever: one clear line from everything that asks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest
from huggingface_hub import constants

from encore.data.hub import download
from encore.encoder.load import locate
from encore.errors import DataError
from encore.export.push import _Hub

HOPS = count()


class Redirecting(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"http://{self.headers['Host']}/{next(HOPS)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(tmp_path),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def named_file(cache: Path) -> object:
    return download("rte/train.parquet", sha256="0" * 64, repo="some/one", cache=cache)


@pytest.mark.parametrize(
    ("ask", "begins"),
    [
        (
            lambda _: locate("some/one"),
            "encoder 'some/one': not a folder here, and it could not be downloaded from the hub",
        ),
        (named_file, "rte/train.parquet: from data set 'some/one': the transfer from"),
        (lambda _: _Hub("some/one", "token").files(), "some/one: {endpoint} refused the upload ("),
    ],
    ids=["encoder", "data", "push"],
)
def test_endless_redirects_end_in_one_line(
    ask: Callable[[Path], object], begins: str, endpoint: str, tmp_path: Path
) -> None:
    before, started = next(HOPS), time.monotonic()
    with pytest.raises(DataError) as caught:
        ask(tmp_path)
    assert time.monotonic() - started < 30
    (line,) = caught.value.lines
    assert line.startswith(begins.format(endpoint=endpoint))
    assert "redirects" in line
    assert next(HOPS) - before > 10
