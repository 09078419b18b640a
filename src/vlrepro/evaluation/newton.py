"""Newton's method on many multinomial logistic regressions at once, for the penalties of `logistic`.

This is a truncated Newton method (Nocedal and Wright, "Numerical Optimization", section 7.1): conjugate gradients for
the direction, then backtracking to sufficient decrease, each problem with its own step and its own end; a problem that
has ended leaves the batch. Two exact changes of variable make it cheap: features are centred (the free biases absorb
that) and rotated to their principal axes, in the span of the data when d > n (the optimal W lies there, and ||W||_F
does not change). In these axes the Hessian of the cross-entropy is near diag(spectrum) (x) B, the mean squares of the
scores and B = mean_i(diag(p_i) - p_i p_i'), and exactly that at W = 0; its inverse preconditions the conjugate
gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

Penalty = Literal["squared", "frobenius"]

_INNER_STEPS = 300  # conjugate-gradient steps for a Newton direction: a direction that is cut off still descends
_HALVINGS = 50
_SUFFICIENT = 1e-4  # Armijo's constant


@dataclass(frozen=True)
class Solution:
    """Weights (r + 1, c, k) in a design's axes, the biases in the last row; the rest as in `LogisticFit`."""

    weights: Tensor
    objectives: Tensor
    converged: Tensor
    iterations: int


@dataclass(frozen=True)
class Design:
    """Training data in their principal axes: `scores` (n, r + 1) with a last column of ones for the biases.

    The columns are uncorrelated. `shares` (k,) are the classes' shares of the examples.
    """

    scores: Tensor
    labels: Tensor
    rotation: Tensor
    mean: Tensor
    shares: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, n_classes: int, precision: str) -> Design:
        """The design of features (n, d) and labels (n,), every class present, in float64 or float32."""
        features = features.to(getattr(torch, precision))
        mean = features.mean(0)
        centred, basis = features - mean, None
        if features.shape[1] > features.shape[0]:
            basis, triangle = torch.linalg.qr(centred.T)
            centred = triangle.T
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors
        scores = torch.cat([centred @ axes, features.new_ones(len(features), 1)], 1)
        rotation = axes if basis is None else basis @ axes
        shares = torch.bincount(labels, minlength=n_classes).to(mean) / len(features)
        return cls(scores, labels, rotation, mean, shares)

    def project(self, features: Tensor) -> Tensor:
        """Other features (m, d) in the same axes, with the column of ones: (m, r + 1)."""
        scores = (features.to(self.mean) - self.mean) @ self.rotation
        return torch.cat([scores, scores.new_ones(len(scores), 1)], 1)

    def logits(self, weights: Tensor) -> Tensor:
        """Weights (r + 1, c, k) to logits (n, c, k), as one matrix product."""
        return (self.scores @ weights.flatten(1)).unflatten(1, weights.shape[1:])

    def pull_back(self, slopes: Tensor) -> Tensor:
        """The mean over examples of scores' x slopes, for slopes (n, c, k): (r + 1, c, k)."""
        return (self.scores.T @ slopes.flatten(1)).unflatten(1, slopes.shape[1:]).div_(len(slopes))

    def cross_entropy(self, log_p: Tensor) -> Tensor:
        """The mean of -log p[label] for log-probabilities (n, c, k): (c,)."""
        return -log_p[torch.arange(len(log_p), device=log_p.device), :, self.labels].mean(0)

    def residuals(self, p: Tensor) -> Tensor:
        """Probabilities (n, c, k) minus the one-hot labels: the slopes of the cross-entropy in the logits."""
        slopes = p.clone()
        slopes[torch.arange(len(p), device=p.device), :, self.labels] -= 1
        return slopes


def minimise(
    design: Design, strength: Tensor, penalty: Penalty, start: Tensor, max_iterations: int, tolerance: float
) -> Solution:
    """Newton's method on c problems at once; a problem that has converged leaves the batch."""
    weights, objectives, rounding = start.clone(), torch.zeros_like(strength), 16 * torch.finfo(strength.dtype).eps
    settled = weight_norm(weights) == 0 if penalty == "frobenius" else torch.zeros_like(strength, dtype=torch.bool)
    converged, alive = settled.clone(), torch.arange(len(strength), device=strength.device)
    for iterations in range(max_iterations + 1):
        point = _Point.at(design, weights[:, alive], strength[alive], penalty)
        objectives[alive] = point.objective
        converged[alive] |= point.gap() <= tolerance * point.scale()
        kept = ~(converged[alive] | settled)
        if iterations == max_iterations or not kept.any():
            break
        alive, point = alive[kept], point.keep(kept)
        direction = point.curvature.newton_direction(point.gradient, point.objective)
        step, decrease, decrement = point.line_search(direction)
        weights[:, alive] += step[:, None] * direction
        settled = decrease <= rounding * point.objective
        converged[alive] = settled & (decrement > 0) & (decrement <= max(tolerance, rounding) * point.objective)
    return Solution(weights, objectives, converged, iterations)


@dataclass(frozen=True)
class _Point:
    """The c problems at their current weights (r + 1, c, k): log-probabilities (n, c, k), value, gradient, Hessian."""

    design: Design
    penalty: Penalty
    strength: Tensor
    weights: Tensor
    log_p: Tensor
    objective: Tensor
    gradient: Tensor
    curvature: _Curvature

    @classmethod
    def at(cls, design: Design, weights: Tensor, strength: Tensor, penalty: Penalty) -> _Point:
        """The problems at weights (r + 1, c, k) with penalties of `strength` (c,)."""
        norm = weight_norm(weights)
        log_p = design.logits(weights).log_softmax(2)
        objective = design.cross_entropy(log_p) + _penalty(norm, strength, penalty)
        p, unit = log_p.exp(), weights / norm.clamp_min(torch.finfo(norm.dtype).tiny)[:, None]
        unit[-1] = 0
        ridge, radial = (strength, torch.zeros_like(unit)) if penalty == "squared" else (strength / norm, unit)
        gradient = design.pull_back(design.residuals(p))
        gradient[:-1] += ridge[:, None] * weights[:-1]
        return cls(
            design, penalty, strength, weights, log_p, objective, gradient, _Curvature.at(design, p, ridge, radial)
        )

    def keep(self, kept: Tensor) -> _Point:
        """The problems of a boolean mask (c,)."""
        return replace(_kept(self, kept), curvature=_kept(self.curvature, kept))

    def gap(self) -> Tensor:
        """The bound on objective - optimum that `fit_logistic` describes, (c,)."""
        slope = weight_norm(self.gradient)
        biases = (self.gradient[-1] * self.curvature.invert(self.gradient)[-1]).sum(1) / 2
        if self.penalty == "squared":
            return slope.square() / (2 * self.strength) + biases
        return slope * (weight_norm(self.weights) + self.objective / self.strength) + biases

    def scale(self) -> Tensor:
        """The smaller of the objective and its decrease from the best constant predictor, (c,)."""
        shares = self.design.shares
        decrease = -(shares * shares.log()).sum() - self.objective
        if self.penalty == "squared":  # by strong convexity no less than the penalty, which rounding leaves alone
            decrease = decrease.maximum(_penalty(weight_norm(self.weights), self.strength, self.penalty))
        return decrease.clamp_min(0).minimum(self.objective)

    def line_search(self, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Halve each problem's step from 1 until the decrease suffices: step, decrease, half the Newton decrement^2.

        The logits are linear in the step, so a trial costs no matrix product.
        """
        logits, slope = self.design.logits(direction), _dot(self.gradient, direction)
        square, product = weight_norm(direction).square(), _dot(self.weights[:-1], direction[:-1])
        slack = 4 * torch.finfo(slope.dtype).eps * self.objective
        step = torch.ones_like(slope)
        for _ in range(_HALVINGS):
            norm = (weight_norm(self.weights).square() + step * (2 * product + step * square)).clamp_min(0).sqrt()
            fitted = self.design.cross_entropy((self.log_p + step[:, None] * logits).log_softmax(2))
            decrease = self.objective - fitted - _penalty(norm, self.strength, self.penalty)
            enough = decrease >= -_SUFFICIENT * step * slope - slack
            if enough.all():
                break
            step = torch.where(enough, step, step / 2)
        return step, decrease, -slope / 2


@dataclass(frozen=True)
class _Curvature:
    """The Hessian of c problems, as a product and as an approximate inverse.

    The penalty's part is ridge * (1 - u u') with u = `radial` (r + 1, c, k): W / ||W|| for the un-squared norm, which
    is flat along W, and 0 for the squared one. The approximation is diag(spectrum) (x) B + ridge, B with eigenvectors
    `axes` (k, c, k); `inverse` (r + 1, c, k) is its inverse in those axes.
    """

    design: Design
    p: Tensor
    ridge: Tensor
    radial: Tensor
    axes: Tensor
    inverse: Tensor

    @classmethod
    def at(cls, design: Design, p: Tensor, ridge: Tensor, radial: Tensor) -> _Curvature:
        """The Hessian at probabilities p (n, c, k), with its preconditioner."""
        by_problem = p.transpose(0, 1)
        spread = -(by_problem.mT @ by_problem) / len(p)
        diagonal = spread.diagonal(dim1=1, dim2=2)
        diagonal += by_problem.mean(1)
        # The Hessian is flat along equal shifts of all classes. Gradients are never along them: any curvature will do.
        spread += diagonal.mean(1)[:, None, None] / p.shape[2]
        values, axes = torch.linalg.eigh(spread)
        values = values.clamp_min(torch.finfo(values.dtype).eps * values.amax())
        # Examples weigh in the spectrum as they do in B: by how uncertain their label is.
        doubt = (p * (1 - p)).sum(2).clamp_min(torch.finfo(p.dtype).tiny)
        inverse = (design.scores.square().T @ (doubt / doubt.sum(0)))[:, :, None] * values
        inverse[:-1] += ridge[:, None]
        return cls(design, p, ridge, radial, axes.transpose(0, 1), inverse.reciprocal_())

    def times(self, direction: Tensor) -> Tensor:
        """The Hessian times a direction (r + 1, c, k)."""
        slopes = self.design.logits(direction)
        slopes -= (slopes * self.p).sum(2, keepdim=True)
        product = self.design.pull_back(slopes.mul_(self.p))
        tangent = direction[:-1] - _dot(self.radial, direction)[:, None] * self.radial[:-1]
        product[:-1] += self.ridge[:, None] * tangent
        return product

    def invert(self, gradient: Tensor) -> Tensor:
        """The approximate inverse Hessian times a gradient (r + 1, c, k)."""
        axes = self.axes.transpose(0, 1)
        return ((gradient.transpose(0, 1) @ axes * self.inverse.transpose(0, 1)) @ axes.mT).transpose(0, 1)

    def newton_direction(self, gradient: Tensor, objective: Tensor) -> Tensor:
        """The Newton direction (r + 1, c, k) by conjugate gradients, the more exactly the nearer the optimum is."""
        direction, residual, search = torch.zeros_like(gradient), -gradient, self.invert(-gradient)
        alive, curvature, energy = torch.arange(len(objective), device=objective.device), self, _dot(residual, search)
        goal = energy * (energy / objective).clamp(1e-6, 0.25)
        for _ in range(_INNER_STEPS):
            image = curvature.times(search)
            bend = _dot(search, image)
            length = torch.where(bend > 0, energy / bend, 0)[:, None]
            direction[:, alive] += length * search
            residual -= length * image
            steepest, previous = curvature.invert(residual), energy
            energy = _dot(residual, steepest)
            kept = (energy > goal) & (bend > 0)
            if not kept.any():
                break
            search = steepest + (energy / previous)[:, None] * search
            if not kept.all():
                alive, energy, goal, curvature = alive[kept], energy[kept], goal[kept], _kept(curvature, kept)
                residual, search = residual[:, kept], search[:, kept]
        return direction


_Record = TypeVar("_Record", _Point, _Curvature)


def _kept(record: _Record, kept: Tensor) -> _Record:
    """The problems of a boolean mask (c,): the first axis of vectors, the second of all other tensors."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return replace(
        record, **{name: value[kept] if value.dim() == 1 else value[:, kept] for name, value in tensors.items()}
    )


def _penalty(norm: Tensor, strength: Tensor, penalty: Penalty) -> Tensor:
    return strength * (norm if penalty == "frobenius" else norm.square() / 2)


def weight_norm(weights: Tensor) -> Tensor:
    """The Frobenius norm of each problem's weights without the biases: (r + 1, c, k) to (c,)."""
    return torch.linalg.vector_norm(weights[:-1], dim=(0, 2))


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((0, 2))
