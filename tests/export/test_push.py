"""`encore push` against a small server on the loopback that speaks the hub's protocol: one commit
with everything, or nothing.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from encore.errors import DataError, RecipeError
from encore.export.push import push_run

REPOSITORY = "someone/stars"


class Hub(ThreadingHTTPServer):
    """repositories: name → file → content, as anybody sees them. fails: a part of a path whose
    requests get `status`. Large files wait in `stored` until a commit names them.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[str] = []
        self.stored: dict[str, bytes] = {}
        self.fails, self.status = "", 500
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(f"{self.command} {path}")
        if "/objects/store/" not in path:
            hub.tokens.add(self.headers.get("Authorization"))
        if hub.fails and hub.fails in path:
            return self.reply({"error": "no"}, hub.status)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = (
                f"{asked['organization']}/{asked['name']}"
                if asked.get("organization")
                else asked["name"]
            )
            hub.repositories.setdefault(name, {".gitattributes": b""})
            hub.private[name] = asked.get("visibility") == "private"
            return self.reply({"url": f"{hub.endpoint}/{name}"})
        if path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if path.startswith("/objects/store/"):
            hub.stored[path.rpartition("/")[2]] = body
            return self.reply({})
        name = "/".join(path.removeprefix("/api/models/").lstrip("/").split("/")[:2]).removesuffix(
            ".git"
        )
        if name not in hub.repositories:
            return self.reply(
                {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"}
            )
        there = hub.repositories[name]
        if "/tree/" in path:
            return self.reply(
                [
                    {"type": "file", "path": file, "size": len(content), "oid": "0" * 40}
                    for file, content in there.items()
                ]
            )
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return self.reply(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs"
                            if file["path"].endswith(".safetensors")
                            else "regular",
                            "shouldIgnore": False,
                        }
                        for file in files
                    ]
                }
            )
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return self.reply(
                {
                    "transfer": "basic",
                    "objects": [
                        {
                            **one,
                            "authenticated": True,
                            "actions": {
                                "upload": {"href": f"{hub.endpoint}/objects/store/{one['oid']}"}
                            },
                        }
                        for one in objects
                    ],
                }
            )
        if "/commit/" in path:
            self.commit(there, [json.loads(line) for line in body.splitlines()])
            return self.reply(
                {"commitUrl": f"{hub.endpoint}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40}
            )
        return self.reply({"error": "no such place"}, 404)

    def commit(self, there: dict[str, bytes], lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.commits.append(value["summary"])
            elif line["key"] == "file":
                there[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                there[value["path"]] = self.server.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del there[value["path"]]

    def reply(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(here: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, a token for it, and the comparison in this process."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)

    yield server
    server.shutdown()
    server.server_close()


def test_everything_comes_in_one_commit(runs: dict[str, Path], hub: Hub) -> None:
    done = push_run(runs["binary"], REPOSITORY, private=True)
    there = {
        name: content
        for name, content in hub.repositories[REPOSITORY].items()
        if name != ".gitattributes"
    }
    assert hub.commits == [f"Encore run {runs['binary'].name}"]
    assert {name: len(content) for name, content in there.items()} == done.files
    assert set(done.files) == {
        "README.md",
        "config.json",
        "encore_export.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert hub.private == {REPOSITORY: True}
    assert hub.tokens == {"Bearer hf_of_the_test"}
    assert done.url == f"{hub.endpoint}/{REPOSITORY}"
    assert f'model="{REPOSITORY}"'.encode() in there["README.md"]
    assert list(hub.stored.values()) == [there["model.safetensors"]]


def test_a_dry_run_asks_nobody(
    runs: dict[str, Path],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from encore.cli.app import main

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(SystemExit) as end:
        main(["push", str(runs["binary"]), REPOSITORY, "--dry-run"])
    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    assert hub.requests == []
    assert "model.safetensors" in told.out
    assert " kB" in told.out
    assert told.out.splitlines()[-1].startswith("not uploaded (--dry-run): 7 files, ")
    assert told.out.splitlines()[-1].endswith(f"for {REPOSITORY}, public")


def test_what_is_there_is_not_replaced_unasked(runs: dict[str, Path], hub: Hub) -> None:
    before = {".gitattributes": b"", "README.md": b"mine", "old.bin": b"old"}
    hub.repositories[REPOSITORY] = dict(before)
    with pytest.raises(
        RecipeError, match=r"has 2 files already \(README\.md, old\.bin\).*--overwrite"
    ):
        push_run(runs["binary"], REPOSITORY)
    assert hub.repositories[REPOSITORY] == before
    assert not any("POST" in request for request in hub.requests)
    done = push_run(runs["binary"], REPOSITORY, overwrite=True)
    assert set(hub.repositories[REPOSITORY]) == {".gitattributes", *done.files}
    assert len(hub.commits) == 1
    assert "POST /api/repos/create" not in hub.requests


@pytest.mark.parametrize(
    ("place", "is_new"),
    [
        ("/objects/store/", True),
        ("/commit/", True),
        ("/preupload/", True),
        ("/info/lfs/", False),
        ("/commit/", False),
    ],
)
def test_half_way_nothing_is_seen(
    place: str, is_new: bool, runs: dict[str, Path], hub: Hub
) -> None:
    """Whatever breaks, nobody sees a part of the model, and the same command goes on."""
    before = {".gitattributes": b"", "README.md": b"mine"}
    if not is_new:
        hub.repositories[REPOSITORY] = dict(before)
    hub.fails, hub.status = place, 400
    with pytest.raises(DataError) as error:
        push_run(runs["binary"], REPOSITORY, overwrite=not is_new)
    (line,) = error.value.lines
    assert f"{REPOSITORY} {'was created and is empty' if is_new else 'is as it was'}" in line
    assert line.endswith("The same command tries again.")
    assert hub.repositories[REPOSITORY] == ({".gitattributes": b""} if is_new else before)
    assert hub.commits == []
    hub.fails = ""
    push_run(runs["binary"], REPOSITORY, overwrite=not is_new)
    assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("place", "status", "told"),
    [
        ("/tree/", 401, "may not write there"),
        ("/repos/create", 403, "may not write there"),
        ("/tree/", 500, "500"),
    ],
)
def test_before_anything_is_sent(
    place: str,
    status: int,
    told: str,
    runs: dict[str, Path],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.fails, hub.status = place, status
    with pytest.raises(DataError, match=told) as error:
        push_run(runs["binary"], REPOSITORY)
    assert error.value.lines[0].endswith("Nothing was uploaded.")
    assert not hub.repositories


def test_without_a_token_or_a_name_nothing_is_tried(
    runs: dict[str, Path], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(RecipeError) as error:
        push_run(runs["binary"], "stars")
    assert "'stars': not the name of a repository; expected user/name" in error.value.lines[0]
    assert "HF_TOKEN" in error.value.lines[1]
    with pytest.raises(RecipeError, match="not the name of a repository"):
        push_run(runs["binary"], "a/b/c", dry_run=True)
    assert hub.requests == []


def test_where_the_hub_is_switched_off_that_is_told(
    runs: dict[str, Path], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set, so nothing can be uploaded"):
        push_run(runs["binary"], REPOSITORY)
    assert hub.requests == []


def test_a_server_that_is_not_there(
    runs: dict[str, Path], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9 refused the upload"):
        push_run(runs["binary"], REPOSITORY)
    assert hub.requests == []
