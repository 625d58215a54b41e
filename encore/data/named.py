"""The named tasks: where their files are, what their labels are called, what decides, and what must
be said beside every figure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from encore.data.hub import cache_folder, download
from encore.data.read import read_table
from encore.data.table import Table, display_path
from encore.errors import DataError, RecipeError, did_you_mean
from encore.types import TaskKind

__all__ = [
    "NAMED",
    "NORMALISATIONS",
    "NamedTask",
    "find_task",
    "normalise_text",
    "read_split",
    "task_names",
    "whereabouts",
]


@dataclass(frozen=True)
class NamedTask:
    """One named task.

    files: {split: (file, sha256)}; the split is "train" or the name of a dev set, the first dev set
    decides. labels: in the order of the ids in the files. cells: what a label cell may hold besides
    an id or a name. official: True, or what differs from the official set. notes: what else to
    mind. source: repository@commit of the text. negative: the third column of triplets.
    """

    folder: str
    files: Mapping[str, tuple[str, str]]
    kind: TaskKind
    metrics: tuple[str, ...]
    labels: tuple[str, ...] = ()
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    negative: str | None = None
    ordered: bool = False
    normalise: str | None = None
    cells: Mapping[str, int] = field(default_factory=dict)
    official: bool | str = True
    notes: tuple[str, ...] = ()
    source: str = ""


_BERT = "F0restL1n/BERT@0d0288be08"
_CS224N = "gpoesia/minbert-default-final-project@7ac8260577"
_NLI = ("entailment", "neutral", "contradiction")
_FIVE = ("very negative", "negative", "neutral", "positive", "very positive")
_SAME_NLI = (
    "snli, mnli, allnli and nli_triplets are drawn from the same train sets: do not "
    "tune on one and report on another"
)


def _files(folder: str, **digests: str) -> dict[str, tuple[str, str]]:
    return {split: (f"{folder}/{split}.parquet", digest) for split, digest in digests.items()}


_QQP = _files(
    "qqp",
    train="3e55ad64028490bb83aef8e1cfb47e3b6ed2d41038fa65a34c3f9004bd487619",
    dev="bec2da795139ce69bb77d7b764edd09a1ddce9684f5dbc16fc493ea8dee94ccf",
)
_TRIPLETS = _files(
    "nli_triplets", train="01b12ef61b6abf0b10c891c2b2962e036b9d2b26578e1a976daa01f069907f84"
)
_TRIPLETS_SOURCE = "patrickdonohue/minbert-default-final-project@ad8fc33ebd"
_QQP_SOURCE = (
    f"dev: {_CS224N}; train: mieseung/Cutoff_with_Attribution@34e9c2151b, "
    f"ZhengxiangShi/PowerfulPromptFT@b4ecdea060, "
    "VoidMercy/minbert-default-final-project@9bb452eb2a, water-00/NKU-NLP-project@41595a7fca"
)

NAMED: Mapping[str, NamedTask] = {
    "cola": NamedTask(
        "cola",
        _files(
            "cola",
            train="2d656e3aec034ff35d7bd9e5d5df6613ae23d1791bbd6bb9e738af87ce1709d2",
            dev="0204c8dd67b294e49caed82868ba40d9125c27c5f3cb6ef92aed9a06e63fbd42",
        ),
        "binary",
        ("mcc", "accuracy"),
        ("unacceptable", "acceptable"),
        source=_BERT,
    ),
    "sst2": NamedTask(
        "sst2",
        _files(
            "sst2",
            train="7f6040fcedce8d238083eb05b09ee56f223c5bec5869bce744d532b4a30d1207",
            dev="461b4dc6df60215cb49de6f74dbbd4ee22565be7004b05976c068073b7ebf46e",
        ),
        "binary",
        ("accuracy",),
        ("negative", "positive"),
        source=_BERT,
        notes=(
            "overlap: the train file holds phrases of sentences in sst5's train file: do not "
            "tune on one and report on the other",
        ),
    ),
    "mrpc": NamedTask(
        "mrpc",
        _files(
            "mrpc",
            train="d947afa762c1ba38db8f3ed2844093bdc5850690aa2b8b4349903a76df9bb8d7",
            dev="b89c43b4ff22a7641b0e317f635c2470810365ed24650c2eecbe2ca5311d8e38",
        ),
        "binary",
        ("accuracy", "f1"),
        ("not a paraphrase", "paraphrase"),
        "text_a",
        "text_b",
        source=_BERT,
        notes=(
            "overlap: stsb's MSRpar part consists of mrpc pairs with other labels: do not tune "
            "on one and report on the other",
        ),
    ),
    "stsb": NamedTask(
        "stsb",
        _files(
            "stsb",
            train="d84099cc913503ef67ea831cac86108e27f7be40cd3df0a6cb932c2a5b2c5846",
            dev="640b886518c44b3e826f8e74567749d68632b7c480bc76c5d0a0fb8ef50a73f7",
        ),
        "regression",
        ("spearman", "pearson"),
        (),
        "text_a",
        "text_b",
        source=_BERT,
        notes=(
            "overlap: sts is a re-split of this set, and the MSRpar part consists of mrpc "
            "pairs: do not tune on one and report on another",
        ),
    ),
    "qqp": NamedTask(
        "qqp",
        _QQP,
        "binary",
        ("accuracy", "f1"),
        ("different", "duplicate"),
        "text_a",
        "text_b",
        source=_QQP_SOURCE,
        official="not the GLUE split: dev is the CS224N 2023 quora-dev file (20,212 rows; GLUE's "
        "has 40,430), train is 51,995 pairs from GLUE's and CS224N's; "
        "not comparable with published GLUE figures",
        notes=(
            "overlap: the same files as quora; GLUE's dev and test pairs come from the same "
            "release, and some may be here",
        ),
    ),
    "mnli": NamedTask(
        "mnli",
        _files(
            "mnli",
            train="5a78c1e9586782861e5f1f4008e88ee3f69fc77797ea65f20ba88ec676dde6a6",
            dev_matched="8d6c4736e1ee489329325f92de00e378fe4f857a21b81ad9ee893746360d767e",
            dev_mismatched="6723a581d29c5e2095ddcb0f9361e6f09e9cd36afcaf11bcdc86219ae2d34c23",
        ),
        "multiclass",
        ("accuracy",),
        _NLI,
        "text_a",
        "text_b",
        source="dev_matched: tommccoy1/hans@7299f6f657; dev_mismatched: "
        "felipessalvatore/NLI_datasets@9551b739a8, jind11/TextFooler@6a56cb10f1; "
        "train: technion-cs-nlp/LLMsKnow@bee3ec5787, ZhengxiangShi/PowerfulPromptFT@b4ecdea060",
        official="not the official train set: 19,635 of 392,702 rows; dev_matched is official; "
        "dev_mismatched is 915 of 9,832 rows "
        "(read its accuracy with an error of about three points)",
        notes=(f"overlap: {_SAME_NLI}",),
    ),
    "qnli": NamedTask(
        "qnli",
        _files(
            "qnli",
            train="a583f84151469ce59fef53d5be431ed77631a8264455e0e0a719cbc66c175fa6",
            dev="284d52f97a245c9ec0beaf56effc11025e2c934ddd2cce20fb1a3b59f34c428e",
        ),
        "binary",
        ("accuracy",),
        ("entailment", "not_entailment"),
        "text_a",
        "text_b",
        source=f"dev: {_BERT}; train: SJTUDuWei/Poisoned-Prompt-Tuning@9e3893eb70, "
        f"infamous001/DATA-MOE-CARTOGRAPHY@41d2f83172, "
        "ZhengxiangShi/PowerfulPromptFT@b4ecdea060",
        official="not the official train set: 23,537 of 104,743 rows, not a random draw (the first "
        "10,475 official rows are all there); dev is official",
    ),
    "rte": NamedTask(
        "rte",
        _files(
            "rte",
            train="f34e0dc24d175efd3578096da98e7dfe00863f25cca0a53689cb4a543eb4675e",
            dev="b47e4b1f33eb2079dd9729bc6592d6ad667011546958696606bf5a727a871a28",
        ),
        "binary",
        ("accuracy",),
        ("entailment", "not_entailment"),
        "text_a",
        "text_b",
        source=_BERT,
    ),
    "wnli": NamedTask(
        "wnli",
        _files(
            "wnli",
            train="8f40787b82bfeee9f5336f12a500290e338c3a8b73ac35fcf97b38f63697338e",
            dev="97c51fbc47ecacd0417848b6573d25fa982f9a8116af0b062634211a4aa08f12",
        ),
        "binary",
        ("accuracy",),
        ("not entailed", "entailed"),
        "text_a",
        "text_b",
        source=_BERT,
    ),
    "sst5": NamedTask(
        "cs224n_sst5",
        _files(
            "cs224n_sst5",
            train="2e155280592b86a33ac96ed9584d494c6746b9eb8c7e0a73e3971bc2c5e1614d",
            dev="d35560e8c47b882062ac9d55e2fdbe926b31fbc76a8a745e178fecfe415213d8",
        ),
        "multiclass",
        ("accuracy", "macro_f1"),
        _FIVE,
        ordered=True,
        normalise="minbert",
        source=_CS224N,
        notes=(
            "overlap: sst2's train file holds phrases of this train set's sentences: do not "
            "tune on one and report on the other",
        ),
    ),
    "sts": NamedTask(
        "cs224n_sts",
        _files(
            "cs224n_sts",
            train="34e59346cccf41806c88d5fa54c2b465e4826ab9a630ef6bccd69d4ae892863a",
            dev="21b5104318de8dcfaf23ef115caeab4d561e0ad277e8a2394af7d080526c8416",
        ),
        "regression",
        ("pearson", "spearman"),
        (),
        "text_a",
        "text_b",
        normalise="minbert_pair",
        source=_CS224N,
        official="not GLUE's STS-B: the CS224N files, all of STS-B split again at random",
        notes=(
            "overlap: holds rows of stsb's train, dev and test sets: do not tune on one and "
            "report on the other",
        ),
    ),
    "quora": NamedTask(
        "qqp",
        _QQP,
        "binary",
        ("accuracy", "f1"),
        ("different", "duplicate"),
        "text_a",
        "text_b",
        normalise="minbert_pair",
        source=_QQP_SOURCE,
        official="not the CS224N train file: 51,995 pairs (20,835 of CS224N's 141,506, the others "
        "from GLUE's train file); dev is the CS224N 2023 file",
        notes=("overlap: the same files as qqp",),
    ),
    "cfimdb": NamedTask(
        "cfimdb",
        _files(
            "cfimdb",
            train="f96614ec0f945ff8252c04d083e897bb9eefab271526be898cc161eb68202da6",
            dev="7a6745ef981154d056ca936216a5d731e69507023704ee9aeeabe616cd03493f",
        ),
        "binary",
        ("accuracy",),
        ("negative", "positive"),
        normalise="minbert",
        source=_CS224N,
        notes=(
            "overlap: edited IMDB reviews (4 of the 1,952 texts occur unchanged in imdb): do "
            "not tune on one and report on the other",
        ),
    ),
    "imdb": NamedTask(
        "imdb",
        _files(
            "imdb",
            train="3480dce4fd1991cdb69fb41ed446fda2c88663c7069eff2bf04ea34ee6df226a",
            dev="0280a6cccea72b0d7abb84567a00e0c53f26017a6f521df26a2f9919f4263d63",
        ),
        "binary",
        ("accuracy",),
        ("negative", "positive"),
        source="fenilsuchak/test-mlm-backdoor@b9c80d93c7",
        official="not the official test: dev is 2,502 of the official 25,000 training reviews, no "
        "film in both parts; the official test set is not here",
        notes=(
            "overlap: cfimdb holds edited copies of such reviews: do not tune on one and "
            "report on the other",
        ),
    ),
    "snli": NamedTask(
        "snli",
        _files(
            "snli",
            train="4378bcbbc5bf1e73b8a7b50e78fecdefcfef17bce8797fbc21771516297b90b1",
            dev="9effdabe5d90e5549784489d20ce81c50d502ec24f050799f6df4e6f6eae43c5",
        ),
        "multiclass",
        ("accuracy",),
        _NLI,
        "text_a",
        "text_b",
        source="dev: MJ-Jang/BECEL@f5bdd1196e; train: academic-repository/cat@9c98ebb0d2, "
        "ZhengxiangShi/PowerfulPromptFT@b4ecdea060",
        official="not the official train set: 27,643 of 549,367 rows; dev is official",
        notes=(f"overlap: {_SAME_NLI}",),
    ),
    "allnli": NamedTask(
        "nli_triplets",
        _TRIPLETS,
        "unlabelled",
        (),
        (),
        "anchor",
        "positive",
        source=_TRIPLETS_SOURCE,
        official="not the whole set: 27,559 of the 275,601 SNLI+MNLI pairs of SimCSE",
        notes=(
            "pairs of a text and one that it entails; the contradicting one of the file is "
            "left out",
            f"overlap: {_SAME_NLI}",
        ),
    ),
    "nli_triplets": NamedTask(
        "nli_triplets",
        _TRIPLETS,
        "binary",
        ("accuracy", "f1"),
        ("contradiction", "entailment"),
        "anchor",
        "positive",
        negative="negative",
        source=_TRIPLETS_SOURCE,
        official="not the whole set: 27,559 of the 275,601 SNLI+MNLI triplets of SimCSE, and no "
        "dev file (a part of the train file serves)",
        notes=(
            "each triplet is two pairs: (anchor, positive) is entailment, (anchor, negative) "
            "is contradiction",
            f"overlap: {_SAME_NLI}",
        ),
    ),
}

# METHODS 4.8: floor((stars − 1) / 2); nobody gave 5 or 6 stars, so class 2 never occurs.
_LMRD = {"1": 0, "2": 0, "3": 1, "4": 1, "7": 3, "8": 3, "9": 4, "10": 4}


def task_names() -> tuple[str, ...]:
    """The named tasks, sorted."""
    return tuple(sorted(NAMED))


def find_task(name: str, *, label: str | None = None) -> NamedTask:
    """The named task; `label="stars"` makes `imdb` the five-class LMRD task. Raises RecipeError
    with a suggestion.
    """
    if name not in NAMED:
        raise RecipeError(
            f"no task called '{name}', and no data.train that names a file. "
            f"{did_you_mean(name, task_names())}"
        )
    task = NAMED[name]
    if label is None or label == task.label:
        return task
    if name == "imdb" and label == "stars":
        note = (
            "five classes, (stars − 1) / 2 rounded down: 1, 2 → very negative; 3, 4 → "
            "negative; 7, 8 → positive; 9, 10 → very positive; none is neutral"
        )
        return NamedTask(
            task.folder,
            task.files,
            "multiclass",
            ("accuracy", "macro_f1"),
            _FIVE,
            label="stars",
            ordered=True,
            normalise="minbert",
            cells=_LMRD,
            official=task.official,
            notes=(note, *task.notes),
            source=task.source,
        )
    known = ["label", "stars"] if name == "imdb" else [task.label]
    raise RecipeError(f"task '{name}' has no label column '{label}'. {did_you_mean(label, known)}")


# ------------------------------------------------------------------------------- text normalisation


NORMALISATIONS = ("none", "minbert", "minbert_pair")


def normalise_text(text: str, how: str | None) -> str:
    """METHODS 0.5, the same at train, dev, test and prediction.

    none: as it is. minbert: lower case, outer blanks dropped. minbert_pair: also a blank before . ?
    , ' and runs of blanks made one.

    >>> normalise_text(" Isn't it?  ", "minbert_pair")
    "isn 't it ?"
    """
    if how is None or how == "none":
        return text
    text = text.lower().strip()
    if how == "minbert":
        return text
    for mark in ".?,'":
        text = text.replace(mark, f" {mark}")
    return " ".join(text.split())


# -------------------------------------------------------------------------------- finding the files


def read_split(name: str, task: NamedTask, split: str) -> Table:
    """The table of one split, its digest checked. Label cells are the ids of the file; triplets
    come as two labelled pairs each.

    Looks in ENCORE_DATA, then ../shared/data seen from the working directory and from the
    repository, then the cache, then the data set that ENCORE_DATA_REPO names. Raises DataError:
    found nowhere (with how to get it), wrong digest.
    """
    file, digest = task.files[split]
    table = read_table(_locate(name, file, digest))
    if table.digest != digest:
        raise DataError(
            f"{table.name}: expected sha256 {digest}, got {table.digest}: not the file that "
            f"task '{name}' was made for. "
            f"Copy it again, or use it as your own data: data.train={table.name}"
        )
    return _pairs(table, task) if task.negative is not None else table


def _folders() -> list[Path]:
    """Where the files of named tasks may be, in the order of the search."""
    asked = os.environ.get("ENCORE_DATA")
    if asked and not Path(asked).is_dir():
        raise DataError(
            f"ENCORE_DATA={asked}: no such folder. Set it to the folder that holds the data "
            f"sets (rte/train.parquet, …), or unset it."
        )
    repository = Path(__file__).resolve().parents[2]
    folders = [Path(asked)] if asked else []
    folders += [Path.cwd().parent / "shared" / "data"]
    folders += (
        [repository.parent / "shared" / "data"] if (repository / "pyproject.toml").is_file() else []
    )
    return list(dict.fromkeys(folders))


def _locate(name: str, file: str, digest: str) -> Path:
    folders = _folders()
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    cached = cache_folder() / "data" / file
    repo = os.environ.get("ENCORE_DATA_REPO")
    if repo:
        return download(file, sha256=digest, repo=repo)
    if cached.is_file():
        return cached
    asked = (
        f"ENCORE_DATA ({display_path(folders[0])})"
        if os.environ.get("ENCORE_DATA")
        else "ENCORE_DATA (not set)"
    )
    cache = str(cache_folder() / "data").replace(str(Path.home()), "~", 1)
    raise DataError(
        f"task '{name}': {file} is not on this machine (looked in {asked}, ../shared/data, "
        f"{cache}). Set ENCORE_DATA to a folder that holds it, "
        "or ENCORE_DATA_REPO to a Hugging Face data set that does."
    )


def whereabouts(name: str) -> str:
    """Where the files of a named task are, in a word: "here", "in the cache", "to download" or "not
    here". Their digests are checked when they are read.
    """
    files = [file for file, _ in NAMED[name].files.values()]
    folders = _folders()
    if all(any((folder / file).is_file() for folder in folders) for file in files):
        return "here"
    if all((cache_folder() / "data" / file).is_file() for file in files):
        return "in the cache"
    return "to download" if os.environ.get("ENCORE_DATA_REPO") else "not here"


def _pairs(table: Table, task: NamedTask) -> Table:
    """Rows 2·r and 2·r + 1 are triplet r's entailed and contradicting pair."""
    columns = table.columns
    anchor, positive, negative = (
        columns[word].combine_chunks() for word in (task.text, task.text_pair, task.negative)
    )
    n_rows = len(anchor)
    twice = np.repeat(np.arange(n_rows), 2)
    order = np.arange(2 * n_rows).reshape(2, n_rows).T.reshape(-1)  # 0, n, 1, n + 1, …
    pairs = pa.table(
        {
            task.text: anchor.take(pa.array(twice)),
            task.text_pair: pa.concat_arrays([positive, negative]).take(pa.array(order)),
            task.label: pa.array(np.tile(np.array([1, 0]), n_rows)),
        }
    )
    return Table(
        table.path, pairs, table.digest, None, np.arange(2 * n_rows), table.notes, table.name
    )
