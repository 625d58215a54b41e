"""SMART: the distance between the scores with and without noise at the embeddings, which a step of
gradient ascent has turned towards where the scores change most.

Source: Jiang et al. 2020; SerBERTus §3, minBERT generalization §4.4 (METHODS 5.1).
Differs: the papers project the noise onto a ball of radius ε. Both public codes only scale it to a
largest coordinate of about 1; `mode: reference` does the same and is the default, `mode: paper`
clips it to ±ε. The inner distance is summed over the batch, as the first authors do.
Cost: two more forward passes, one more backward pass to the noise and one to the weights.
Needs: the task's loss beside it; it adds nothing while a frozen encoder's features are cached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from encore.encoder import dropout, ragged
from encore.techniques.losses._divergence import divergence, symmetric_divergence
from encore.types import LABELLED, Batch, LabelSpace, Loss, LossTerm, Output

__all__ = ["Smart"]

_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
Noise = list[Tensor | None]  # of each branch, None where its encoder did not run


class Smart(Loss):
    """at: the noise is added to the embeddings, or to the vectors behind the pooling. sigma: the
    standard deviation of the first noise; step_size, steps: of the ascent; epsilon: the guard of
    the division (reference) or the radius (paper). The norm of noise and gradient is the largest
    coordinate, with _l2 the Euclidean length. reduction: over the rows of the batch.
    """

    kinds = ()
    joins = LABELLED
    extra_passes = 2

    def __init__(
        self,
        labels: LabelSpace,
        *,
        mode: Literal["reference", "paper", "reference_l2", "paper_l2"] = "reference",
        at: Literal["embeddings", "cls"] = "embeddings",
        sigma: _NotNegative = 1e-5,
        step_size: _Positive = 1e-3,
        steps: Annotated[int, Field(ge=0)] = 1,
        epsilon: _NotNegative = 1e-6,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        self.kind, self.at = labels.kind, at
        self.mode, _, norm = mode.partition("_")
        self.is_euclidean = norm == "l2"
        self.sigma, self.step_size, self.steps, self.epsilon = sigma, step_size, steps, epsilon
        self.summed = reduction == "sum"

    def __call__(self, model: Callable[..., Output], batch: Batch, output: Output) -> LossTerm:
        way = _WayIn.of(self.at, model, batch, output)
        ascent = None if way is None else self._ascended(way, output.scores, batch)
        if way is None or ascent is None:  # no way back in, or the ascent left the numbers
            return LossTerm(output.scores.sum() * 0, self.weight(batch))
        moved = way.scores(ascent.noise, exact=self.mode == "paper")
        per_row = symmetric_divergence(output.scores, moved, self.kind)
        return LossTerm((per_row * batch.weights).sum(), self.weight(batch))

    def diagnose(
        self, model: Callable[..., Output], batch: Batch, output: Output
    ) -> Mapping[str, float]:
        """The divergence, beside that under random noise of the same Euclidean length at each line
        and the same dropout: gain is their ratio less 1. step_to_noise: by how much of its length
        the last step of the ascent moved the noise, |η·g| / |n|, mean over the lines.
        """
        way = _WayIn.of(self.at, model, batch, output)
        ascent = None if way is None else self._ascended(way, output.scores, batch)
        if way is None or ascent is None:
            return {}
        random = [
            None if n is None or unit is None else unit * (_length(n) / _length(unit))
            for n, unit in zip(ascent.noise, ascent.drawn, strict=True)
        ]
        site, clean, found = dropout.next_site(), output.scores.detach(), []
        for noise in (ascent.noise, random):
            with dropout.again(site), torch.no_grad():
                moved = way.scores(noise, exact=self.mode == "paper")
            found.append(float(symmetric_divergence(clean, moved, self.kind).mean()))
        with_ascent, without = found
        figures = {"divergence": with_ascent, "random_divergence": without}
        if without:
            figures |= {"gain": with_ascent / without - 1}
        ratios = ascent.step_ratios()
        return figures | ({"step_to_noise": float(ratios.mean())} if len(ratios) else {})

    def _ascended(self, way: _WayIn, clean: Tensor, batch: Batch) -> _Ascent | None:
        """The noise after the ascent, None where a gradient is not finite."""
        drawn: Noise = [None if place is None else self._drawn(place) for place in way.places]
        noise: Noise = [None if unit is None else unit * self.sigma for unit in drawn]
        last: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.steps):
            leaves = [None if n is None else n.detach().requires_grad_() for n in noise]
            scores = way.scores(leaves, exact=True)
            inner = divergence(clean.detach(), scores, self.kind).sum()
            known = [leaf for leaf in leaves if leaf is not None]
            gradients = torch.autograd.grad(inner, known)
            if not all(torch.isfinite(gradient).all() for gradient in gradients):
                return None
            last = [
                (leaf.detach(), self._step(gradient, batch))
                for leaf, gradient in zip(known, gradients, strict=True)
            ]
            risen = iter(self._scaled(before + step, batch) for before, step in last)
            noise = [None if leaf is None else next(risen) for leaf in leaves]
        return _Ascent(drawn, noise, last)

    def _drawn(self, place: Tensor) -> Tensor:
        unit: dropout.Unit = "tokens" if self.at == "embeddings" else "rows"
        return dropout.normal((len(place), place.shape[1]), unit).to(place.device)

    def _step(self, gradient: Tensor, batch: Batch) -> Tensor:
        """η·g, in `paper` mode with the gradient of each row at norm 1."""
        if self.mode == "reference":
            return self.step_size * gradient
        largest = self._row_norms(gradient, batch)
        return self.step_size * (gradient / largest.clamp(min=torch.finfo(gradient.dtype).tiny))

    def _scaled(self, risen: Tensor, batch: Batch) -> Tensor:
        """Each line at norm 1 (reference), or each row within the ball of radius ε (paper)."""
        if self.mode == "reference":
            norms = self._line_norms(risen) + self.epsilon
            return risen / norms.clamp(min=torch.finfo(risen.dtype).tiny)
        if not self.is_euclidean:
            return risen.clamp(-self.epsilon, self.epsilon)
        norms = self._row_norms(risen, batch).clamp(min=torch.finfo(risen.dtype).tiny)
        return risen * (self.epsilon / norms).clamp(max=1.0)

    def _line_norms(self, lines: Tensor) -> Tensor:
        return _length(lines) if self.is_euclidean else lines.abs().amax(dim=1, keepdim=True)

    def _row_norms(self, lines: Tensor, batch: Batch) -> Tensor:
        """(lines, 1) the norm of all lines of the row that a line is in."""
        norms = self._line_norms(lines)
        if self.at == "cls":
            return norms
        whole = (
            ragged.total(norms.square(), batch.tokens).sqrt()
            if self.is_euclidean
            else ragged.max(norms, batch.tokens)
        )
        return whole[ragged.numbers(batch.tokens)]


@dataclass(frozen=True)
class _Ascent:
    """drawn: standard normal. noise: after the ascent. last: of its last step, the noise before it
    and the step; empty without one.
    """

    drawn: Noise
    noise: Noise
    last: Sequence[tuple[Tensor, Tensor]]

    def step_ratios(self) -> Tensor:
        """(lines,) how long the last step was, against the noise before it, where there was any."""
        ratios = [(_length(step) / _length(n))[_length(n) > 0] for n, step in self.last]
        return torch.cat(ratios) if ratios else torch.empty(0)


@dataclass(frozen=True)
class _WayIn:
    """The places at which a model can be entered again."""

    at: str
    model: Callable[..., Output]
    batch: Batch
    places: Sequence[Tensor | None]

    @classmethod
    def of(
        cls, at: str, model: Callable[..., Output], batch: Batch, output: Output
    ) -> _WayIn | None:
        """None where the features were cached: nothing was computed from embeddings."""
        places = output.embedded if at == "embeddings" else (output.vectors,)
        return None if all(place is None for place in places) else cls(at, model, batch, places)

    def scores(self, noise: Sequence[Tensor | None], *, exact: bool) -> Tensor:
        """The scores under noise. exact: in float32, as it would vanish in a shorter format."""
        moved = [
            None if place is None or n is None else _added(place, n, exact)
            for place, n in zip(self.places, noise, strict=True)
        ]
        how: dict[str, Any] = {"vectors": moved[0]} if self.at == "cls" else {"embedded": moved}
        return self.model(self.batch.tokens, **how, exact=exact).scores


def _added(place: Tensor, noise: Tensor, exact: bool) -> Tensor:
    return place.float() + noise if exact else place + noise.to(place.dtype)


def _length(lines: Tensor) -> Tensor:
    return lines.norm(dim=1, keepdim=True)
