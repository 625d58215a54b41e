"""Finds the run that a reference of a recipe means, and checks that it fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encore import files
from encore.data.table import display_path
from encore.encoder import load
from encore.encoder.load import Source
from encore.errors import DataError, Problem, RecipeError, did_you_mean
from encore.recipe import builtin
from encore.recipe.fields import KeptEpoch
from encore.recipe.load import load_recipe, recipe_from
from encore.recipe.reference import RunReference
from encore.recipe.references import Place, with_references
from encore.recipe.run_spec import RunSpec
from encore.recipe.schema import Recipe
from encore.recipe.seeds import with_seed
from encore.runs.adapter_folder import is_adapter_folder, read_adapter
from encore.runs.cache import Cache
from encore.runs.contents import SOUP, damaged_files
from encore.runs.folder import read_result
from encore.runs.kind import folder_kind
from encore.runs.loading import load_predictor
from encore.runs.prepared import Prepared, Start
from encore.runs.pretrain_folder import with_pretrained

__all__ = [
    "check_encoders",
    "find_starts",
    "located_encoder",
]

_Prepare = Callable[[Recipe, Cache], Prepared]


def find_starts(
    recipe: Recipe, cache: Cache, prepare: _Prepare
) -> tuple[Recipe, tuple[Start, ...]]:
    """The recipe with its references read, and the runs that it starts from: one that trained its
    encoder, one whose adapter it begins with, those whose adapters it fuses, those whose heads its
    tasks begin with, its teachers. Raises RecipeError or DataError.
    """
    starts: list[Start] = []
    recipe = with_pretrained(recipe)

    def read(reference: RunReference, place: Place) -> RunReference:
        """The reference with its recipe in place of a name; the run is one of the starts."""
        found = _Reader(recipe, reference, place, tuple(starts)).read(cache, prepare)
        starts.append(found)
        return reference.to(str(found.folder) if found.run is None else found.recipe)

    found, names = with_references(recipe, read), list(recipe.tasks)
    tasks = dict(found.tasks)
    for start in starts:
        if start.place.part == "adapter_from":
            found = found.model_copy(update={"adapter": start.trained_adapter(recipe)})
        if start.place.part == "head":
            name = names[start.place.index]
            tasks |= {name: tasks[name].model_copy(update={"head": start.head(recipe, name)})}
    return found.model_copy(update={"tasks": tasks}) if starts else recipe, tuple(starts)


@dataclass(frozen=True)
class _Reader:
    """Finds the run that a reference means, or the adapter's folder. starts: found before it."""

    recipe: Recipe
    reference: RunReference
    place: Place
    starts: tuple[Start, ...]

    def read(self, cache: Cache, prepare: _Prepare) -> Start:
        found = self._referred()
        if isinstance(found, Path):
            if self.place.part.startswith("adapter") and is_adapter_folder(found):
                return self._of_adapter(found, cache)
            if self.place.part == "teacher" and folder_kind(found) != "run":
                return self._of_models(found)
            return self._of_folder(found)
        key = ("start", found.base, repr(found))
        if isinstance(self.reference.run, str):
            with cache.entering(str(self.recipe.path(self.reference.run)), self._circle):
                run = cache.get_or_make(key, lambda: prepare(found, cache))
        else:
            run = cache.get_or_make(key, lambda: prepare(found, cache))
        task = self._task(tuple(run.recipe.tasks))
        self._check_adapter(run.recipe)
        self._check_encoders(run.recipe)
        keep, digest = run.recipe.plan.keep, run.source.digest
        forgetting = self.reference.forgetting
        if forgetting and self.place.part != "encoder":
            raise self._wrong("forgetting is measured of an encoder that is trained further.")
        return Start(self.place, run.name, task, keep, digest, run.recipe, run, None, forgetting)

    def _referred(self) -> Recipe | Path:
        """The recipe that is meant, with the seed and the threads of the run that refers to it; or
        the folder of a run.
        """
        given: Any = self.reference.run
        if isinstance(given, str):
            folder = self.recipe.path(given)
            if folder.is_dir():
                return folder.absolute()
            given = self._named(given)
        found = given if isinstance(given, Recipe) else recipe_from(given, base=self.recipe.base)
        seed = self.recipe.seed if self.reference.seed is None else self.reference.seed
        found = with_seed(found, seed, threads=found.threads or self.recipe.threads)
        self._check_at(found)
        if self.reference.at is not None:
            plan = found.plan.model_copy(update={"keep": self.reference.at})
            found = found.model_copy(update={"plan": plan})
        return found

    def _check_at(self, first: Recipe) -> None:
        """Raises RecipeError where training would not keep those weights."""
        self._check_epoch()
        if isinstance(self.reference.at, int) and first.plan.early_stopping is not None:
            message = f"that run may stop early, before its epoch {self.reference.at}."
            raise self._wrong(message, "Remove its plan.early_stopping, or write at: best.")

    def _check_epoch(self) -> None:
        if self.reference.step is not None:
            remedy = "Write at: {epoch: N}. Pre-trainings keep those of steps."
            raise self._wrong("training keeps the weights of an epoch, and not of a step.", remedy)

    def _named(self, given: str) -> Recipe:
        if builtin.is_file(given):
            return load_recipe(self.recipe.path(given))
        if given in builtin.recipe_names():
            return load_recipe(builtin.recipe_path(given))
        remedy = "Name a .yaml file, the folder of a run, or a variant of this comparison."
        raise self._wrong(f"no recipe, run or variant called '{given}'.", remedy)

    def _wrong(self, message: str, remedy: str = "") -> RecipeError:
        return RecipeError(
            self.recipe.problem(self.place.steps, Problem(message=message, remedy=remedy))
        )

    def _circle(self, chain: tuple[str, ...]) -> RecipeError:
        names = " → ".join(map(display_path, chain))
        return self._wrong(f"these runs start from each other: {names}.")

    def _of_folder(self, folder: Path) -> Start:
        """The start of a run that is there."""
        given = self.reference.run
        if not (folder / "resolved.json").is_file() or not (folder / files.MANIFEST).is_file():
            remedy = "Name the folder of a complete run, or a recipe."
            if (folder / "pretraining.json").is_file():
                remedy = f"A pre-training's encoder is a folder: encoder: {given}/encoder"
            raise self._wrong(f"'{given}' is no complete run.", remedy)
        if damaged := damaged_files(folder, "run"):
            raise self._wrong(f"{folder / damaged[0]} is missing, or not as the run wrote it.")
        spec = RunSpec.from_json(files.read_json(folder / "resolved.json"))
        if self.reference.forgetting:
            remedy = f"Name its recipe: {given}/recipe.yaml"
            raise self._wrong("forgetting needs the rows of that run.", remedy)
        keep, seed = spec.recipe.plan.keep, spec.recipe.seed
        self._check_epoch()
        self._check_kept(folder, keep)
        if self.reference.seed not in (None, seed):
            raise self._wrong(f"that run has the seed {seed}.", "Name a recipe, or leave it out.")
        recipe = load_recipe(folder / "recipe.yaml")
        task = self._task(tuple(spec.recipe.tasks))
        self._check_adapter(recipe)
        self._check_encoders(recipe)
        digest = str(spec.recipe.encoder)
        start = Start(self.place, spec.name, task, keep, digest, recipe, folder=folder)
        model = start.model_folder(folder.parent)
        if (folder / SOUP).is_file():  # its recipe is that of a member, its weights are not
            return replace(start, name=folder.name, models=files.sha256(model / files.MANIFEST))
        return start

    def _of_models(self, folder: Path) -> Start:
        """The start of a teacher that is no single run: whatever can be loaded and predicts."""
        if self.reference.seed is not None or self.reference.at is not None:
            raise self._wrong("a folder of several runs has no seed or epoch to choose.")
        try:
            model = load_predictor(folder)
        except DataError as error:
            raise self._wrong(" ".join(error.lines)) from None
        own = Start(
            self.place, folder.name, self._task(tuple(model.tasks)), "last", "", self.recipe
        )
        return replace(own, folder=folder, models=files.sha256(folder / files.MANIFEST))

    def _of_adapter(self, folder: Path, cache: Cache) -> Start:
        """The start of an adapter that has a folder of its own."""
        begins, wanted = self.place.part == "adapter_from", self.reference
        if wanted.task is not None or wanted.seed is not None or wanted.at is not None:
            raise self._wrong("a folder of one adapter has no task, seed or epoch to choose.")
        source = located_encoder(self.recipe, cache, self.starts)
        found = read_adapter(folder, source if begins else None)
        name, digest = found.encoder or (self.recipe.encoder_name, source.digest)
        if digest != source.digest:
            raise self._wrong(
                f"the adapter in {display_path(folder)} belongs to another encoder, '{name}' "
                f"(sha256 {digest[:12]}…, got {source.digest[:12]}…).",
                "Write the encoder that it was trained in.",
            )
        own = Start(self.place, folder.name, "", "last", digest, self.recipe, folder=folder)
        return replace(own, adapter=found)

    def _check_kept(self, folder: Path, keep: KeptEpoch) -> None:
        """Raises RecipeError where a run that is there keeps the weights of another epoch."""
        at = self.reference.at
        if at in (None, keep):
            return
        result = read_result(folder)
        epoch = result.epoch_of(self.reference.task or next(iter(result.metrics), ""))
        if epoch == at:
            return
        asked = f"epoch {at}" if isinstance(at, int) else f"the {at}"
        kept = f"epoch {keep}" if isinstance(keep, int) else f"the {keep} epoch, {epoch}"
        remedy = f"Name its recipe, which is trained again and keeps it: {folder}/recipe.yaml"
        raise self._wrong(f"that run keeps its weights of {kept}, not of {asked}.", remedy)

    def _task(self, tasks: tuple[str, ...]) -> str:
        wanted = self.reference.task
        if wanted is None:
            return tasks[0]
        if wanted not in tasks:
            raise self._wrong(
                f"that run has no task called '{wanted}'.", did_you_mean(wanted, tasks)
            )
        return wanted

    def _check_adapter(self, first: Recipe) -> None:
        if self.place.part == "encoder" and first.adapter is not None:
            raise self._wrong(
                "that run trained an adapter, and its encoder is as it was before.",
                "Name that encoder, or a run without an adapter.",
            )
        if self.place.part.startswith("adapter") and first.adapter is None:
            raise self._wrong(
                f"the run on {'+'.join(first.tasks)} trained no adapter.",
                "Add `adapter: houlsby` to its recipe.",
            )
        if self.place.part == "adapter_from" and first.adapter and "of" in first.adapter.settings:
            raise self._wrong(
                "that run fused adapters of other runs, and trained none.",
                "Name one of these, or fuse them here: adapter: {name: fusion, of: …}.",
            )

    def _check_encoders(self, first: Recipe) -> None:
        """Raises RecipeError where all tasks would begin with one of several encoders."""
        averages, sharing = self.recipe.plan.name == "swa", first.sharing.name
        several = len(first.tasks) > 1 and sharing != "one" and len(self.recipe.tasks) > 1
        if self.place.part != "encoder" or not several:
            return
        if self.reference.task is None or averages:
            named = f"{{run: …, task: {next(iter(first.tasks))}}}"
            raise self._wrong(
                f"the run on {'+'.join(first.tasks)} has several encoders (sharing {sharing}), and "
                f"all tasks would begin with one of them.",
                "Average a run with `sharing: one`, or one task at a time."
                if averages
                else f"Name the task whose encoder is meant: {named}",
            )


def located_encoder(recipe: Recipe, cache: Cache, starts: Sequence[Start]) -> Source:
    """The encoder of a recipe; of one that starts from a run the files of the encoder that the run
    started from, with the identity of the run. Raises DataError.
    """
    encoder = recipe.encoder
    if isinstance(encoder, str):
        return cache.get_or_make(
            ("encoder", recipe.base, encoder), lambda: load.locate(encoder, base=recipe.base)
        )
    (start,) = (one for one in starts if one.place.part == "encoder")
    before = () if start.run is None else start.run.starts
    first = start.recipe if start.run is not None else _without_starts(start.recipe)
    base = located_encoder(first, cache, before)
    return replace(base, name=str(encoder), digest=start.identity)


def _without_starts(recipe: Recipe) -> Recipe:
    """The recipe of a run that is there, or where that started from others, of the first of them:
    the configuration and the tokenizer are those of its encoder, and the weights those of the run.
    """
    while isinstance(recipe.encoder, RunReference):
        given: Any = recipe.encoder.run
        if isinstance(given, str):
            found = recipe.path(given)
            recipe = load_recipe(found / "recipe.yaml" if found.is_dir() else found)
        else:
            recipe = given if isinstance(given, Recipe) else recipe_from(given, base=recipe.base)
    return recipe


def check_encoders(recipe: Recipe, starts: Sequence[Start], source: Source) -> None:
    """Raises RecipeError where adapters were trained in another encoder than this run has."""
    wrong = [
        recipe.problem(
            one.place.steps,
            Problem(
                message=f"the adapter of '{one.task}' belongs to another encoder, "
                f"{one.recipe.encoder_name}.",
                remedy="Write the encoder that it was trained in.",
            ),
        )
        for one in starts
        if one.place.part.startswith("adapter") and one.encoder != source.digest
    ]
    if wrong:
        raise RecipeError(wrong)
