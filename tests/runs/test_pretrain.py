"""Pre-training in a folder: resumed bit for bit, complete, and usable afterwards."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models

import encore
from encore import files
from encore.cli import app
from encore.cli.run_listing import runs, runs_table
from encore.data import named
from encore.data.masking import Masking
from encore.encoder import load
from encore.errors import DataError, RecipeError
from encore.experiments.tidy import checked_kinds, move_run, remove_result
from encore.experiments.variants import load_study
from encore.recipe.pretraining import PretrainRecipe, pretraining_recipes
from encore.runs.kind import folder_kind
from encore.runs.pretrain import run_pretraining
from encore.runs.pretrain_folder import PretrainResult, read_pretraining
from encore.runs.pretraining import masking_of, prepare_pretraining
from encore.training.pretraining import Keep
from encore.training.reports import StepReport

N_FILES, N_LINES = 7, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven files of texts, no two alike."""
    found = tmp_path_factory.mktemp("texts")
    draw = np.random.default_rng(5)
    words = ["".join(draw.choice(list("abcdefgh"), draw.integers(1, 7))) for _ in range(60)]
    for number in range(N_FILES):
        lines = [" ".join(draw.choice(words, draw.integers(4, 30))) for _ in range(N_LINES)]
        (found / f"part{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    return found


def mapping(folder: Path, **others: Any) -> dict[str, Any]:
    settings = {
        "texts": [str(folder / f"part{number}.txt") for number in range(N_FILES)],
        "size": {"layers": 2, "width": 16, "heads": 2, "positions": 32},
        "vocabulary": 80,
        "max_length": 24,
        "keep": [0, 6],
        "dev_rows": 8,
        "threads": 1,
        "plan": {"steps": 17, "lr": 1e-2, "batch_size": 8, "warmup_frac": 0.1},
    }
    return settings | others


def recipe_of(folder: Path, **others: Any) -> PretrainRecipe:
    [recipe] = pretraining_recipes(mapping(folder, **others)).values()
    return recipe


class Stop(Exception):
    """Raised by a watcher."""


def train(recipe: PretrainRecipe, runs: Path, *, until: int | None = None) -> PretrainResult:
    def watch(report: StepReport | Keep) -> None:
        if isinstance(report, StepReport) and report.step == until:
            raise Stop

    return run_pretraining(prepare_pretraining(recipe), runs, watch=watch, checkpoint_steps=3)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    return train(recipe_of(folder), tmp_path_factory.mktemp("whole"))


def assert_same(one: PretrainResult, other: PretrainResult) -> None:
    names = [*files.read_json(one.folder / files.MANIFEST), files.MANIFEST]
    assert len(names) > 15
    differing = [
        n for n in names if (one.folder / n).read_bytes() != (other.folder / n).read_bytes()
    ]
    assert not differing


def test_the_loss_starts_at_ln_of_the_vocabulary_and_falls(whole: PretrainResult) -> None:
    lines = [json.loads(line) for line in (whole.folder / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 18))
    assert lines[0]["loss"] == pytest.approx(np.log(80), abs=0.1)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.2
    kept = whole.figures.kept
    assert [entry.step for entry in kept] == [0, 6, 17]
    assert kept[0].train_loss is None
    assert kept[1].train_loss == pytest.approx(np.mean([line["loss"] for line in lines[:6]]))
    assert kept[2].train_loss == pytest.approx(np.mean([line["loss"] for line in lines[6:]]))
    assert kept[0].held_out.loss == pytest.approx(np.log(80), abs=0.1)
    assert whole.figures.held_out_rows == 8
    left = {path.name for path in whole.folder.iterdir()}
    assert not left & {"checkpoint", "corpus"}
    assert folder_kind(whole.folder) == "pretraining"


@pytest.mark.parametrize("steps", [(2, 4, 5), (6, 7, 16), (12, 17)])
def test_a_run_that_is_stopped_ends_in_the_same_bytes(
    folder: Path, whole: PretrainResult, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    for step in steps:
        with pytest.raises(Stop):
            train(recipe_of(folder), tmp_path, until=step)
        assert not (tmp_path / whole.folder.name / files.MANIFEST).exists()
    assert_same(train(recipe_of(folder), tmp_path), whole)
    assert train(recipe_of(folder), tmp_path).already_complete


def test_a_run_that_is_killed_ends_in_the_same_bytes(
    folder: Path, whole: PretrainResult, tmp_path: Path
) -> None:
    """SIGKILL between a save and the next step, at a kept step, and while a folder is written. The
    processes are forks of one that has imported everything.
    """
    code = (
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        "from encore import files\n"
        "from encore.recipe.pretraining import pretraining_recipes\n"
        "from encore.runs.pretrain import run_pretraining\n"
        "from encore.runs.pretraining import prepare_pretraining\n"
        "[recipe] = pretraining_recipes(json.loads(sys.argv[1])).values()\n"
        "def die(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def train(at):\n"
        "    def watch(report):\n"
        "        if at == f'{type(report).__name__}{report.step}': die()\n"
        "    write = files.write_manifest\n"
        "    def dying(folder, names):\n"
        "        write(folder, names)\n"
        "        if at in str(folder): die()\n"
        "    files.write_manifest = dying\n"
        "    prepared = prepare_pretraining(recipe)\n"
        "    run_pretraining(prepared, Path(sys.argv[2]), watch=watch, checkpoint_steps=3)\n"
        "for at in ('corpus', 'StepReport5', 'Keep6', 'encoder'):\n"
        "    if (child := os.fork()) == 0:\n"
        "        train(at)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == signal.SIGKILL, at\n"
    )
    given = json.dumps(mapping(folder))
    subprocess.run([sys.executable, "-c", code, given, str(tmp_path)], check=True)
    assert_same(train(recipe_of(folder), tmp_path), whole)


def test_a_corpus_of_many_files_is_met_once_per_pass_also_when_resumed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids that are trained on are those of the files: none is skipped, none met twice."""
    recipe = recipe_of(folder, dev_rows=0, keep=[], plan={"epochs": 2, "batch_size": 8})
    met: list[list[int]] = []
    batch_of: list[list[int]] = []
    hide = Masking.hide

    def watched(self: Masking, ids: Any, offsets: Any, rows: Any, seed: int, *turn: Any) -> Any:
        batch_of.append(ids.tolist())
        return hide(self, ids, offsets, rows, seed, *turn)

    monkeypatch.setattr(Masking, "hide", watched)
    begun = 0
    for until in (4, 9, 14, None):
        prepared = prepare_pretraining(recipe)
        finished: list[int] = []

        def watch(
            report: StepReport | Keep, last: int | None = until, done: list[int] = finished
        ) -> None:
            if isinstance(report, StepReport):
                done.append(report.step)
                if report.step == last:
                    raise Stop

        batch_of.clear()
        stopped = False
        try:
            result = run_pretraining(prepared, tmp_path, watch=watch, checkpoint_steps=1)
        except Stop:
            stopped = True
        assert stopped == (until is not None)
        assert finished[0] <= begun + 1
        met[finished[0] - 1 :] = [list(ids) for ids in batch_of]  # a step may be taken again
        begun = finished[-1]
    from encore.data.tokenizer import TextTokenizer

    tokenizer = TextTokenizer(result.encoder)
    lines = [
        line for part in recipe.texts for line in Path(str(part.file)).read_text().splitlines()
    ]
    expected = Counter(tokenizer.encoded(lines)[0].tolist())
    for one_pass in (met[: len(met) // 2], met[len(met) // 2 :]):
        ids = Counter(number for batch in one_pass for number in batch)
        for special in (2, 3):
            del ids[special]
        assert ids == expected


def test_transformers_fills_in_the_same_words(whole: PretrainResult) -> None:
    transformers = pytest.importorskip("transformers")
    texts = ["abc [MASK] fed", "[MASK] a b c d e f g h", "h g [MASK]"]
    pipe = transformers.pipeline("fill-mask", model=str(whole.encoder), device="cpu", top_k=7)
    for step, encoder in whole.kept.items():
        if step == 17:
            found = encore.fill_mask(encoder, texts, k=7)
            for ours, theirs in zip(found, pipe(texts), strict=True):
                assert [guess.word for guess in ours] == [one["token_str"] for one in theirs]
                for guess, one in zip(ours, theirs, strict=True):
                    assert guess.probability == pytest.approx(one["score"], abs=1e-5)
    assert type(pipe.model).__name__ == "BertForMaskedLM"


def test_a_checkpoint_is_trained_further_and_keeps_its_pooler(
    folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    plan = {"steps": 3, "batch_size": 8, "lr": 1e-2}
    others: dict[str, Any] = {"size": None, "encoder": str(tiny_encoder), "keep": [], "plan": plan}
    others |= {"vocabulary": 8192}  # the default: a checkpoint has its own
    result = train(recipe_of(folder, **others, masking="words"), tmp_path)
    before = load_file(tiny_encoder / "model.safetensors")
    after = load_file(result.encoder / "model.safetensors")
    assert (after["bert.pooler.dense.weight"] == before["pooler.dense.weight"]).all()
    name = "encoder.layer.0.attention.self.query.weight"
    assert np.abs(after[f"bert.{name}"] - before[name]).max() > 1e-3
    assert after["cls.predictions.bias"].shape == (
        len(before["embeddings.word_embeddings.weight"]),
    )
    anew = train(recipe_of(folder, **others, masking="words", compat="gen"), tmp_path)
    renewed = load_file(anew.encoder / "model.safetensors")["bert.pooler.dense.weight"]
    assert not (renewed == before["pooler.dense.weight"]).any()
    follows = train(recipe_of(folder, **others, next_sentence=True), tmp_path)
    own = load_file(follows.encoder / "model.safetensors")
    assert own["cls.seq_relationship.weight"].shape == (2, 24)
    assert (own["bert.pooler.dense.weight"] != before["pooler.dense.weight"]).any()
    assert follows.figures.kept[-1].held_out.next_loss == pytest.approx(0.7, abs=0.4)


def test_a_changed_file_is_damage(whole: PretrainResult, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "copy")
    assert read_pretraining(folder).figures == whole.figures
    (folder / "encoder" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"encoder/config.json: missing, or not as pre-training"):
        read_pretraining(folder)


def test_a_folder_is_moved_found_again_and_removed(
    folder: Path, whole: PretrainResult, tmp_path: Path
) -> None:
    there = shutil.copytree(whole.folder, tmp_path / whole.folder.name)
    moved = move_run(there, tmp_path / "small")
    assert moved.name == f"small-{there.name[-10:]}"
    assert train(recipe_of(folder), tmp_path).folder == moved
    with pytest.raises(DataError, match=r"a pre-trained encoder.* encore train FILE.csv encoder="):
        encore.load(moved)
    with pytest.raises(DataError, match=rf"Did you mean .*{moved.name}/encoder\?"):
        load.locate(str(moved))
    with pytest.raises(DataError, match="this is in the pretraining"):
        checked_kinds([moved / "encoder"])
    assert checked_kinds([moved]) == {moved: "pretraining"}
    remove_result(moved)
    assert not moved.exists()


def test_ls_lists_pre_trainings_with_texts_state_and_loss(
    folder: Path, whole: PretrainResult, tmp_path: Path
) -> None:
    shutil.copytree(whole.folder, tmp_path / whole.folder.name)
    with pytest.raises(Stop):
        train(recipe_of(folder, seed=7), tmp_path, until=5)
    damaged = shutil.copytree(whole.folder, tmp_path / f"damaged-{whole.folder.name[-10:]}")
    (damaged / "results.json").write_text("{}", encoding="utf-8")
    found = {each.folder.name: each for each in runs(tmp_path)}
    assert sorted(each.state for each in found.values()) == [
        "complete",
        "damaged",
        "stopped after step 3",  # the checkpoint
    ]
    complete = found[whole.folder.name].to_json()
    assert complete["texts"] == [str(folder / f"part{number}.txt") for number in range(N_FILES)]
    assert complete["encoder"] is None
    assert complete["settings"]["size.width"] == 16
    assert complete["figures"] == whole.figures.to_json()
    table = runs_table([found[whole.folder.name]])
    assert table.rows[0][2:6] == (
        "from scratch",
        "complete",
        "held-out loss",
        f"{whole.figures.kept[-1].held_out.loss:.3f}",
    )


def test_every_kept_encoder_is_a_variant_of_the_comparison(
    folder: Path, tmp_path: Path, tables: Any
) -> None:
    fine_tune = {
        "tasks": {
            "verdict": {
                "data": {
                    "train": str(tables.train),
                    "dev": str(tables.dev),
                    "text": "text",
                    "label": "verdict",
                }
            }
        },
        "plan": {"epochs": 1},
        "seeds": [1, 2],
    }
    plan = {"steps": 3, "batch_size": 8}
    result = train(recipe_of(folder, keep=[0, 2], plan=plan, fine_tune=fine_tune), tmp_path)
    study = load_study(result.folder / "compare.yaml")
    assert list(study.variants) == ["baseline", "step_2", "step_3"]
    encoders = {cell.variant: cell.recipe.path(cell.recipe.encoder) for cell in study.cells}
    kept = {"baseline": 0, "step_2": 2, "step_3": 3}
    assert encoders == {name: result.kept[step].absolute() for name, step in kept.items()}
    settings = [one for one in tables.settings if not one.startswith("encoder")]
    run = encore.fit(
        str(tables.train),
        *settings,
        "plan.epochs=1",
        f"encoder={result.kept[2]}",
        dev=str(tables.dev),
        label="verdict",
        text="text",
        runs=tmp_path / "runs",
    )
    assert encore.load(run.folder).predict(["a great lamp"])[0].label in ("bad", "fair", "good")


MISTAKES = {
    "no texts": ({"texts": []}, r"texts: expected named tasks and files"),
    "no task": ({"texts": ["sst6"]}, r"texts: no named task called 'sst6'.* Did you mean 'sst5'\?"),
    "no file": ({"texts": ["none.txt"]}, r"none.txt: no such file"),
    "both": ({"encoder": "minilm"}, r"size: an encoder of a given size begins from scratch"),
    "heads": (
        {"size": {"layers": 1, "width": 10, "heads": 3}},
        r"size.heads: a width of 10 cannot be split into 3 heads",
    ),
    "positions": (
        {"max_length": 40},
        r"max_length: expected at most size.positions \(32\), got 40",
    ),
    "vocabulary": (
        {"size": None, "vocabulary": 500},
        r"vocabulary: a checkpoint has a vocabulary",
    ),
    "rate": ({"mask_rate": 1.5}, r"mask_rate: expected a number"),
    "two lengths": ({"plan": {"steps": 3, "epochs": 1}}, r"plan.epochs: plan.steps says how long"),
    "unknown": ({"maskin": "words"}, r"maskin: no such setting. Did you mean 'masking'\?"),
    "unknown in plan": ({"plan": {"learning": 3}}, r"plan.learning: no such setting"),
    "unknown size": ({"size": {"layers": 1, "width": 8, "head": 2}}, r"size.head: no such setting"),
    "missing size": ({"size": {"layers": 1, "width": 8}}, r"size.*heads is missing"),
    "curve": ({"plan": {"curve": "linea"}}, r"plan.curve: no curve called 'linea'"),
    "keep": ({"keep": [99]}, r"keep: expected steps up to 17, the last one, got 99"),
    "a checkpoint's positions": (
        {"size": None, "vocabulary": 8192, "encoder": "minilm", "max_length": 1000},
        r"max_length: expected at most 512, the positions of 'minilm', got 1000",
    ),
    "no list": ({"keep": "all"}, r"keep: expected steps such as \[0, 1000, 2000\], got 'all'"),
    "no text": ({"texts": [5]}, r"texts.*: expected a named task, a file, or \{file: …"),
    "no columns": ({"texts": [{"file": "a.csv", "rows": 3}]}, r"texts.*: expected a named task"),
    "held out": ({"dev_rows": 5000}, r"dev_rows: expected fewer than the \d+ rows of the texts"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_a_line(folder: Path, tmp_path: Path, mistake: str) -> None:
    given, message = MISTAKES[mistake]
    with pytest.raises((RecipeError, DataError), match=message) as raised:
        train(recipe_of(folder, **given), tmp_path)
    assert all("\n" not in line for line in raised.value.lines)


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_whole_words_need_a_tokenizer_that_tells_them_apart(folder: Path, kind: str) -> None:
    words = ["▁ab", "c", "[MASK]", "[PAD]", "[UNK]"]
    model = (
        models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=[])
        if kind == "BPE"
        else models.Unigram([(word, -1.0) for word in words])
    )
    backend = Tokenizer(model)
    backend.add_special_tokens(["[MASK]", "[PAD]"])
    tokenizer = SimpleNamespace(backend=backend, templates={}, file=Path("tokenizer.json"))
    recipe = recipe_of(folder, masking="words")
    if kind == "BPE":
        with pytest.raises(RecipeError, match=r"masking: whole words are not known of .* BPE"):
            masking_of(recipe, tokenizer)
        return
    continues = masking_of(recipe, tokenizer).symbols.continues
    assert continues[: len(words)].tolist() == [False, True, True, True, True]
    without = SimpleNamespace(
        backend=Tokenizer(models.BPE()), templates={}, file=Path("tokenizer.json")
    )
    with pytest.raises(DataError, match=r"tokenizer.json: the tokenizer has no \[MASK\]"):
        masking_of(recipe, without)


def test_the_command_with_a_vocabulary_of_another_encoder(
    folder: Path,
    whole: PretrainResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--dry-run writes nothing, --json prints one object, and a second command finds it
    complete.
    """

    def command(*words: str) -> tuple[str, str]:
        with pytest.raises(SystemExit) as end:
            app.main(["pretrain", str(recipe), "--runs", str(tmp_path / "runs"), *words])
        assert end.value.code == 0
        return capsys.readouterr()

    given = mapping(folder, vocabulary=str(whole.encoder), next_sentence=True)
    given["plan"] = {"steps": 4, "batch_size": 8}
    recipe = tmp_path / "texts.yaml"
    recipe.write_text(json.dumps(given | {"keep": [2]}), encoding="utf-8")
    shown, _ = command("--dry-run")
    assert "next_sentence: true" in shown.splitlines()
    spec = json.loads(command("--dry-run", "--json")[0])
    assert not (tmp_path / "runs").exists()
    out, err = command("--json")
    found = json.loads(out)
    assert found["folder"] == spec["folder"]
    assert sorted(found["kept"]) == ["2", "4"]
    assert found["figures"]["vocabulary"] == 80
    assert "the vocabulary of" in err
    assert "and telling whether a text follows another" in err
    assert re.search(r"step 2: kept .* next text \d\.\d{3}", err)
    assert "complete already" in command()[0]


def test_python_trains_on_the_texts_of_a_named_task(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (folder / "part0.txt").read_text(encoding="utf-8").splitlines()
    place = tmp_path / "data" / "rte"
    place.mkdir(parents=True)
    table = {"text_a": lines, "text_b": lines[::-1], "label": ["entailment"] * len(lines)}
    pq.write_table(pa.table(table), place / "train.parquet")
    digest = hashlib.sha256((place / "train.parquet").read_bytes()).hexdigest()
    known = named.read_named_tasks()
    rte = replace(known["rte"], files={"train": ("rte/train.parquet", digest)})
    monkeypatch.setattr(named, "read_named_tasks", lambda: {**known, "rte": rte})
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path / "data"))
    plan = {"steps": 2, "batch_size": 4}
    given = mapping(folder, texts=["rte"], plan=plan, keep=[], dev_rows=0)
    found = encore.pretrain(given, runs=tmp_path / "runs", seed=3)
    (tmp_path / "reversed.txt").write_text("\n".join(lines[::-1]), encoding="utf-8")
    both = [str(folder / "part0.txt"), str(tmp_path / "reversed.txt")]
    of_files = encore.pretrain(given | {"texts": both}, runs=tmp_path / "runs", seed=3)
    assert found.figures.rows == of_files.figures.rows > 2 * len(lines)
    assert found.figures.tokens == of_files.figures.tokens
    assert files.read_json(found.folder / "pretraining.json")["seed"] == 3
    several = given | {"variants": {"a": {}, "b": {"seed": 4}}}
    with pytest.raises(RecipeError, match=r"several variants \(a, b\)\. Name one: only=…"):
        encore.pretrain(several, runs=tmp_path / "runs")
    again = encore.pretrain(several, runs=tmp_path / "runs", only="b")
    assert files.read_json(again.folder / "pretraining.json")["seed"] == 4


def test_paths_of_the_comparison_start_from_the_recipe(folder: Path) -> None:
    data = {"train": "a.csv", "dev": {"one": "b.csv"}, "text": "train"}
    fine_tune = {"data": data, "variants": {"x": {"data.train": "c.csv", "plan": {"lr": 1}}}}
    found = recipe_of(folder, fine_tune=fine_tune).anchored.fine_tune
    here = Path.cwd()
    assert found == {
        "data": {"train": f"{here}/a.csv", "dev": {"one": f"{here}/b.csv"}, "text": "train"},
        "variants": {"x": {"data.train": f"{here}/c.csv", "plan": {"lr": 1}}},
    }


def test_variants_are_recipes_of_their_own(folder: Path) -> None:
    variants = {"slow": {"plan.lr": 1e-4}, "words": {"masking": "words", "plan": {"steps": 2}}}
    given = mapping(folder, variants=variants)
    found = pretraining_recipes(given, ("seed=3",))
    assert {name: each.plan.lr for name, each in found.items()} == {"slow": 1e-4, "words": None}
    assert {each.seed for each in found.values()} == {3}
    assert list(pretraining_recipes(given, only=["words"])) == ["words"]
    with pytest.raises(RecipeError, match=r"--only: no variant called 'word'\. Did you mean"):
        pretraining_recipes(given, only=["word"])
