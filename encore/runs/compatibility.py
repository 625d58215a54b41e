"""Checks that the parts of a recipe fit each other, the encoder and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from encore import catalogue, files
from encore.data.dataset import TaskData
from encore.encoder import load
from encore.encoder.encoder import Shape
from encore.errors import Complaints, DataError, Problem, RecipeError
from encore.model.assembly import TaskSpec, assemble, located
from encore.model.selection import needs_layers
from encore.model.task_model import Branch, TaskModel
from encore.recipe.schema import Recipe, TaskRecipe
from encore.recipe.technique import Technique
from encore.runs.adapter_folder import is_adapter_folder, read_adapter
from encore.techniques.losses._default import LOSS_OF_KIND
from encore.techniques.pairs._default import PAIRING_OF_SIDES
from encore.types import (
    Adapter,
    Average,
    Head,
    LabelSpace,
    Loss,
    Pairing,
    Phase,
    Plan,
    Pooling,
    Sharing,
    Spec,
)

__all__ = [
    "NotApplicable",
    "adapter_of",
    "build_skeletons",
    "check_kept_epoch",
    "check_layers",
    "check_losses",
    "check_metrics",
    "check_negatives",
    "check_pair",
    "check_selection",
    "check_shapes",
    "check_unlabelled",
    "head_of",
    "losses_of",
    "pair_of",
    "parts_of",
    "phases_of",
    "pooling_of",
    "shape_of",
]


class NotApplicable(RecipeError):
    """Parts of the recipe that are valid by themselves do not fit together: more layers than the
    encoder has, a metric of another kind of task.
    """


def pair_of(recipe: Recipe, name: str) -> dict[str, Any]:
    """The pairing of a task: its own setting, or the default of its head."""
    task = recipe.tasks[name]
    if task.pair is not None:
        return dict(task.pair)
    head: type[Head] = catalogue.find("heads", head_of(recipe, name).name)
    return {"name": PAIRING_OF_SIDES[head.n_sides]}


def adapter_of(recipe: Recipe) -> Spec | None:
    """The adapter of a recipe whose references were read: with the adapters themselves in place of
    the runs that trained them.
    """
    adapter = recipe.adapter
    if adapter is None or not (named := adapter.settings.get("of")):
        return adapter
    of = [_adapter_of_run(each.get("run")) for each in named]
    return {"name": adapter.name, **adapter.settings, "of": of}


def _adapter_of_run(run: Any) -> Any:
    """The adapter of a run, by its recipe as plain data or by its folder, or of a folder of its
    own.
    """
    if isinstance(run, Mapping):
        return run.get("adapter")
    if is_adapter_folder(Path(run)):
        return read_adapter(Path(run)).spec
    return files.read_json(Path(run) / "model" / "model.json").get("adapter")


def head_of(recipe: Recipe, name: str) -> Technique:
    """The head of a task: its own, or that of the task in its `same_as`."""
    task = recipe.tasks[name]
    return recipe.tasks[task.same_as].head if task.same_as is not None else task.head


def check_unlabelled(recipe: Recipe, name: str) -> None:
    """Raises RecipeError for the settings that need labels. A task without labels trains the head
    of another and is not evaluated.
    """
    task = recipe.tasks[name]
    messages = {
        "same_as": task.same_as is None
        and "a task without labels has no head of its own. Name the task whose head it trains: "
        "same_as: TASK.",
        "metrics": task.metrics and "there are no labels to measure by. Remove them.",
        "decision": task.decision is not None and "there are no answers to decide. Remove it.",
        "class_weights": task.class_weights is not None
        and "there are no classes to weight. Remove them.",
        "sampling": task.sampling == "balanced" and "there are no classes to balance. Remove it.",
    }
    wrong = [
        recipe.problem(("tasks", name, key), message)
        for key, message in messages.items()
        if message
    ]
    if wrong:
        raise RecipeError(wrong)


def check_selection(recipe: Recipe, data: Mapping[str, TaskData]) -> None:
    """Raises RecipeError where an epoch is chosen by a metric and no task has one. Tasks that could
    not be read might have one.
    """
    keep, unread = recipe.plan.keep, len(recipe.tasks) - len(data)
    chooses = keep != "last" and not isinstance(keep, int)
    if chooses and not unread and not any(each.metrics for each in data.values()):
        message = (
            f"'{keep}' chooses an epoch by a metric, and no task has one. Write keep: last, or "
            f"name metrics."
        )
        raise RecipeError(recipe.problem(("plan", "keep"), message))


def check_kept_epoch(recipe: Recipe, plan: Sequence[Phase]) -> None:
    """Raises RecipeError where the epoch to keep comes after the last one."""
    keep, n_epochs = recipe.plan.keep, sum(phase.epochs for phase in plan)
    if isinstance(keep, int) and keep > n_epochs:
        problem = Problem(expected=f"an epoch from 1 to {n_epochs}", got=str(keep))
        raise RecipeError(recipe.problem(("plan", "keep"), problem))


def check_pair(recipe: Recipe, name: str, data: TaskData) -> None:
    """Raises NotApplicable where a task of single texts has a pairing or a head for pairs."""
    if data.columns.text_pair is not None:
        return
    task = recipe.tasks[name]
    if task.pair is not None and not catalogue.find("pairs", task.pair.name).single_texts:
        message = (
            f"'{name}' has single texts and no pairs. Remove it, or name the second text: "
            f"data.text_pair."
        )
        raise NotApplicable(recipe.problem(("tasks", name, "pair"), message))
    if not catalogue.find("pairs", pair_of(recipe, name)["name"]).single_texts:
        setting, value = (
            ("same_as", task.same_as) if task.same_as is not None else ("head", task.head.name)
        )
        message = (
            f"'{value}' reads two texts, and '{name}' has single texts. Choose another head, "
            f"or name the second text: data.text_pair."
        )
        raise NotApplicable(recipe.problem(("tasks", name, setting), message))


def check_negatives(recipe: Recipe, name: str, data: TaskData) -> None:
    """Raises NotApplicable where texts that do not belong cannot be read apart from the others."""
    if data.columns.negative is None:
        return
    pairing: Pairing = catalogue.build("pairs", pair_of(recipe, name))
    if pairing.n_sides < 2 or pairing.attend is not None:
        message = (
            f"these texts are read alone, and pair '{pair_of(recipe, name)['name']}' reads the "
            f"texts of a pair together. Write pair: siamese, or remove it."
        )
        raise NotApplicable(recipe.problem(("tasks", name, "data", "negative"), message))


def check_losses(
    recipe: Recipe, labels: Mapping[str, LabelSpace], models: Mapping[str, TaskModel]
) -> None:
    """Raises NotApplicable where a loss that compares two texts meets a model that encodes them
    together.
    """
    wrong = []
    for name in recipe.tasks:
        for term, (_, loss) in losses_of(recipe, name, labels[name]).items():
            if loss.n_sides > models[name].n_sides:
                message = (
                    "this loss compares two texts that are read apart. Take a head for two "
                    "texts (siamese_cosine, …)."
                )
                wrong.append(recipe.problem(("tasks", name, "losses", term), message))
    if wrong:
        raise NotApplicable(wrong)


def check_metrics(recipe: Recipe, name: str, data: TaskData) -> None:
    """Raises NotApplicable where a metric needs probabilities and the task's head gives none."""
    head = head_of(recipe, name).name
    if catalogue.find("heads", head).gives_probabilities:
        return
    wrong = [
        metric
        for metric in data.metrics
        if metric in catalogue.names("metrics")
        and catalogue.find("metrics", metric).needs_probabilities
    ]
    if wrong:
        raise NotApplicable(
            recipe.problem(
                ("tasks", name, "metrics"),
                f"'{metric}' needs probabilities, and the head '{head}' gives none. Remove it.",
            )
            for metric in wrong
        )


def parts_of(
    recipe: Recipe, labels: Mapping[str, LabelSpace], poolings: Mapping[str, Mapping[str, Any]]
) -> dict[str, TaskSpec]:
    """Task → the parts of its model."""
    return {
        name: TaskSpec(
            each,
            poolings[name],
            dict(head_of(recipe, name)),
            pair_of(recipe, name),
            recipe.tasks[name].same_as,
            n_negatives=int(recipe.tasks[name].data.negative is not None),
        )
        for name, each in labels.items()
    }


def build_skeletons(
    parts: Mapping[str, TaskSpec], recipe: Recipe, source: load.Source
) -> dict[str, TaskModel]:
    """Build the tasks' models without weights, which takes no memory. Raises NotApplicable where
    the parts do not fit together.
    """
    encoder = load.build_skeleton(source.config)
    shape = replace(encoder.shape, has_pooler=source.has_pooler)
    try:
        with load.on_meta_device():
            return assemble(
                parts,
                recipe.sharing,
                encoder,
                shape,
                seed=recipe.seed,
                adapter=adapter_of(recipe),
                locate=recipe.problem,
            )
    except RecipeError as error:
        raise NotApplicable(error.problems) from None


def shape_of(recipe: Recipe, source: load.Source) -> Shape:
    """The shape of the encoder, without its weights. Raises DataError."""
    try:
        return load.build_encoder(source.config).shape
    except DataError as error:
        encoder = f"encoder {recipe.encoder_name}"
        raise DataError(
            replace(problem, where=f"{encoder}: {problem.where}" if problem.where else encoder)
            for problem in error.problems
        ) from None


def check_shapes(recipe: Recipe, source: load.Source, shape: Shape) -> None:
    """Raises RecipeError where poolings or lengths do not fit the encoder."""
    complaints = Complaints()
    longest = shape.n_positions
    sharing: Sharing[Branch] = catalogue.build("sharing", recipe.sharing)
    static = f"sharing: {recipe.sharing.name}" if sharing.keeps_pretrained else ""
    for name, task in recipe.tasks.items():
        steps = ("tasks", name, "pooling")
        with complaints.collecting(), located(recipe.problem, steps):
            pooling: Pooling = catalogue.build("pooling", pooling_of(task, source), shape)
            fixed = "frozen: true" if pooling.frozen else static and pooling.pretrained() and static
            if fixed and not source.has_pooler:
                raise RecipeError(
                    f"encoder {recipe.encoder_name} has no pretrained pooler, and {fixed} would "
                    f"keep a random one as it is. Take another pooling (cls, mean, …)."
                )
        if longest is not None and task.max_length > longest:
            too_long = (
                f"encoder {recipe.encoder_name} has {longest} positions, got "
                f"{task.max_length}. Set max_length={longest} or less."
            )
            complaints.errors.append(
                RecipeError(recipe.problem(("tasks", name, "max_length"), too_long))
            )
    complaints.raise_any()


def pooling_of(task: TaskRecipe, source: load.Source) -> dict[str, Any]:
    """The pooling of a task: its own setting, or the encoder's default."""
    return dict(task.pooling) if task.pooling is not None else {"name": source.default_pooling}


def losses_of(recipe: Recipe, task: str, labels: LabelSpace) -> dict[str, tuple[float, Loss]]:
    """Term → (weight, loss). A term without a loss has the default of the task's kind. Raises
    RecipeError where a loss does not fit the task, or where there is no default because the task
    has no labels.
    """
    terms = {}
    for name, term in recipe.tasks[task].losses.items():
        steps, spec = (
            ("tasks", task, "losses", name),
            term.loss if term.loss is not None else LOSS_OF_KIND.get(labels.kind),
        )
        if spec is None:
            message = (
                f"a task without labels needs a loss that reads none. Write losses: "
                f"{{{name}: simcse}}, or mnr for pairs."
            )
            raise RecipeError(recipe.problem(steps, message))
        with located(recipe.problem, steps):
            loss: Loss = catalogue.build("losses", spec, labels)
        terms[name] = (term.weight, loss)
    if (adapter := adapter_of(recipe)) is not None:
        added: Adapter = catalogue.build("adapters", adapter)
        if added.term is not None and added.term[0] not in terms:
            name, weight = added.term
            terms[name] = (weight, catalogue.build("losses", name, labels))
    main = [name for name, (_, loss) in terms.items() if labels.kind in loss.kinds]
    for name, (_, loss) in terms.items():
        if name not in main and not (main and labels.kind in loss.joins):
            raise RecipeError(_unfit_loss(recipe, task, name, labels, alone=not main))
    return terms


def _unfit_loss(
    recipe: Recipe, task: str, name: str, labels: LabelSpace, *, alone: bool
) -> Problem:
    """The problem of a loss that does not fit its task, or that needs another loss beside it."""
    term = recipe.tasks[task].losses[name]
    chosen = term.loss.name if term.loss else LOSS_OF_KIND[labels.kind]
    if alone and labels.kind in catalogue.find("losses", chosen).joins:
        message = f"'{chosen}' can only be added to the loss of a task. Add the task's own: task: "
        return recipe.problem(
            ("tasks", task, "losses", name), f"{message}{LOSS_OF_KIND[labels.kind]}."
        )
    fitting = (
        f"a {labels.kind} task, which needs '{LOSS_OF_KIND[labels.kind]}'"
        if labels.kind in LOSS_OF_KIND
        else "a task without labels"
    )
    return recipe.problem(("tasks", task, "losses", name), f"'{chosen}' does not fit {fitting}.")


def phases_of(recipe: Recipe) -> list[Phase]:
    """The phases of a recipe's plan. Clipping and the optimiser's rates hold for all of them, an
    average for those whose epochs may be kept. What is still open has the plan's own default.
    """
    open_ = [key for key in ("epochs", "lr") if recipe.plan.spec.get(key, 0) is None]
    spec = {key: entry for key, entry in recipe.plan.spec.items() if key not in open_}
    plan: Plan = catalogue.build("plans", spec)
    rates, clip_norm, given = recipe.plan.rates, recipe.plan.clip_norm, recipe.plan.average
    average: Average | None = None if given is None else catalogue.build("averages", given)
    return [
        replace(
            phase,
            clip_norm=clip_norm,
            rates=rates,
            average=(average or phase.average) if phase.selects else None,
        )
        for phase in plan(tuple(recipe.tasks))
    ]


def check_layers(recipe: Recipe, source: load.Source) -> None:
    """Raises RecipeError where the plan has rates or phases by layer, and transformers' own model
    of the encoder, which Encore borrows, hides its layers.
    """
    if load.family(source.config.get("model_type")) is None and any(
        map(needs_layers, phases_of(recipe))
    ):
        setting = ("plan", "layer_decay" if recipe.plan.layer_decay != 1 else "name")
        problem = Problem(
            message=f"the encoder {recipe.encoder_name} comes from transformers, and its layers "
            f"cannot have rates or phases of their own.",
            remedy="Remove it, or choose an encoder that Encore builds itself: "
            f"{', '.join(load.families())}.",
        )
        raise RecipeError(recipe.problem(setting, problem))
