"""Knowledge distillation: the task's loss and, times 2/3, the distance to a teacher's scores, which
are another run's, or the mean of several.

Source: Hinton et al. 2015; minBERT generalization §4.6 (METHODS 5.6): cross-entropy with the
teacher's probabilities over classes and for each label, squared error of values.
Differs: a temperature is 1 unless set, as in the paper; else both sides are divided by it and the
term is multiplied by its square, as DistilBERT and TinyBERT do.
Cost: the training rows are scored by each teacher once, in eval mode; then nothing.
Needs: runs on the same labels. A task without labels learns from the teacher alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from encore import catalogue
from encore.errors import RecipeError
from encore.evaluation.teacher_scores import TeacherScores
from encore.techniques.losses._default import LOSS_OF_KIND
from encore.types import Batch, LabelSpace, Loss, LossTerm, Output, Spec

__all__ = ["Distill"]


class Distill(nn.Module, Loss):
    """teacher: a run, or a list of runs, as references. of: the task's loss, that of its kind if
    null. teacher_weight: what the distance to the teacher is multiplied by. convex: both are
    divided by 1 + teacher_weight, so that 2/3 makes them 0.6 and 0.4. use_labels: False for the
    distance alone.
    """

    kinds = (*LOSS_OF_KIND, "unlabelled")
    has_teacher = True

    def __init__(
        self,
        labels: LabelSpace,
        *,
        teacher: Any = None,
        of: Spec | None = None,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        teacher_weight: Annotated[float, Field(gt=0)] = 2 / 3,
        convex: bool = False,
        use_labels: bool = True,
    ) -> None:
        super().__init__()
        self.teacher: TeacherScores | None = None
        self.temperature = temperature
        self.inner = _task_loss(labels, of) if use_labels else None
        self.shares = (1.0, teacher_weight) if self.inner is not None else (0.0, 1.0)
        if convex and self.inner is not None:
            self.shares = (1 / (1 + teacher_weight), teacher_weight / (1 + teacher_weight))
        if self.inner is not None:
            self.couples_rows, self.n_sides = self.inner.couples_rows, self.inner.n_sides
            self.extra_passes, self.rereads = self.inner.extra_passes, self.inner.rereads

    def forward(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        """Raises TrainingError where the teacher has not scored a row."""
        total = self.shares[1] * self._distance(batch, output)
        if self.inner is not None:
            total = total + self.shares[0] * self.inner(model, batch, output).sum
        return LossTerm(total, self.weight(batch))

    def diagnose(self, model: Any, batch: Batch, output: Output) -> Mapping[str, float]:
        """The mean distance to the teacher, before its weight, and the teacher's own entropy, below
        which it cannot fall (0 for values).
        """
        weight = float(self.weight(batch))
        with torch.no_grad():
            alike = Output(self._targets(batch, output), ())
            distances = [self._distance(batch, each) for each in (output, alike)]
        names = ("to_teacher", "teacher_entropy")
        return {name: float(each) / weight for name, each in zip(names, distances, strict=True)}

    def _distance(self, batch: Batch, output: Output) -> Tensor:
        """The sum over the rows of their distance to the teacher, by their weights."""
        scores, targets, kind = output.scores, self._targets(batch, output), self._known.labels.kind
        if kind == "regression":
            per_row = (scores - targets).square().sum(dim=1)
        else:
            soft, hot = scores / self.temperature, targets / self.temperature
            if kind == "multilabel":
                each = F.binary_cross_entropy_with_logits(soft, hot.sigmoid(), reduction="none")
                per_row = each.mean(dim=1) * self.temperature**2
            else:
                each = F.cross_entropy(soft, hot.softmax(dim=1), reduction="none")
                per_row = each * self.temperature**2
        return (per_row * batch.weights).sum()

    def _targets(self, batch: Batch, output: Output) -> Tensor:
        """(rows, n_scores) the teacher's raw scores."""
        found = self._known.of_examples(batch.digest, batch.rows, batch.swapped)
        return torch.from_numpy(found).to(output.scores)

    @property
    def _known(self) -> TeacherScores:
        if self.teacher is None:
            raise LookupError("the scores of the teacher are put in before training")
        return self.teacher


def _task_loss(labels: LabelSpace, of: Spec | None) -> Loss | None:
    """The loss that the teacher's is added to; None for a task without labels. Raises
    RecipeError.
    """
    spec = LOSS_OF_KIND.get(labels.kind) if of is None else of
    if spec is None:
        return None
    loss: Loss = catalogue.build("losses", spec, labels)
    name = spec["name"] if isinstance(spec, Mapping) else spec
    if labels.kind not in loss.kinds:
        fitting = LOSS_OF_KIND.get(labels.kind)
        needs = (
            f"a {labels.kind} task, which needs '{fitting}'" if fitting else "a task without labels"
        )
        raise RecipeError(f"of: '{name}' does not fit {needs}.")
    # The sum of both is divided by one weight, that of the rows.
    if type(loss).weight is not Loss.weight or loss.summed or loss.has_teacher:
        raise RecipeError(
            f"of: '{name}' is no mean over the rows. Write it as a term of its own, and beside it "
            f"distill with use_labels: false."
        )
    return loss
