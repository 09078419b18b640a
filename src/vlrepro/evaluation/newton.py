"""Newton's method on a multinomial logistic regression, for the penalties of `logistic`.

This is a truncated Newton method (Nocedal and Wright, "Numerical Optimization", section 7.1): conjugate gradients for
the direction, then backtracking to sufficient decrease. In the axes of `design` the Hessian of the cross-entropy is
near its diagonal, whose inverse preconditions the conjugate gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vlrepro.evaluation.design import Design

Penalty = Literal["squared", "frobenius"]

_INNER_STEPS = 500  # conjugate-gradient steps for a Newton direction: a direction that is cut off still descends
_HALVINGS = 50
_SUFFICIENT = 1e-4  # Armijo's constant
_SPARE = 0.01  # share of the tolerance that an unproven fit's last direction may leave unsolved
_REDUCED = 0.01  # to what share of itself the energy is reduced before `_SPARE` counts
_ROUNDING = 16 * torch.finfo(torch.float64).eps  # relative change of an objective that is no more than rounding


@dataclass(frozen=True)
class Solution:
    """Weights (k, r + 1) in a design's axes, the biases in the last column; the rest as in `LogisticFit`."""

    weights: Tensor
    objective: float
    converged: bool
    iterations: int


@dataclass(frozen=True)
class Problem:
    """Cross-entropy + strength * (||W||^2 / 2 or ||W||) of weights (k, r + 1) on a design."""

    design: Design
    strength: float
    penalty: Penalty

    def log_probabilities(self, weights: Tensor) -> Tensor:
        """(k, n) under the weights."""
        return (weights @ self.design.scores).log_softmax(0)

    def penalty_at(self, norm: float) -> float:
        """The penalty of weights of that norm."""
        return self.strength * (norm if self.penalty == "frobenius" else norm**2 / 2)

    def ridge_at(self, norm: float) -> float:
        """The penalty's curvature across weights of that norm, which times the weights is its gradient."""
        return self.strength / norm if self.penalty == "frobenius" else self.strength

    def objective(self, weights: Tensor) -> float:
        """What is minimised."""
        return self.design.cross_entropy(self.log_probabilities(weights)) + self.penalty_at(weight_norm(weights))

    def minimise(self, start: Tensor, max_iterations: int, tolerance: float, proven: bool = True) -> Solution:
        """Newton's method from weights `start` (k, r + 1), not 0 under the un-squared norm.

        `proven`: end at the bound that `fit_logistic` describes. Otherwise already after a full and nearly exact Newton
        step that leaves an estimated objective - optimum within the tolerance (`_gap_after`).
        """
        weights, log_p = start, self.log_probabilities(start)
        objective = self.design.cross_entropy(log_p) + self.penalty_at(weight_norm(start))
        for iterations in range(max_iterations + 1):
            point = _Point.at(self, weights, log_p.exp(), objective)
            goal = tolerance * point.scale()
            if point.slope_gap() <= goal and point.slope_gap() + point.bias_gap() <= goal:
                return Solution(weights, objective, True, iterations)
            if iterations == max_iterations:
                break
            hessian = _Hessian.at(point)
            direction, left = hessian.solve(-point.gradient, objective, 0.0 if proven else _SPARE * goal)
            decrement = -_dot(point.gradient, direction) / 2
            step, log_p, reached = point.line_search(direction, log_p, decrement)
            weights, gain, objective = weights + step * direction, objective - reached, reached
            if not proven and step == 1 and left <= _SPARE * goal and 0 <= _gap_after(decrement, gain) <= goal:
                return Solution(weights, objective, True, iterations + 1)
            if gain <= _ROUNDING * objective:
                done = 0 < decrement <= max(tolerance, _ROUNDING) * objective
                return Solution(weights, objective, done, iterations + 1)
        return Solution(weights, objective, False, max_iterations)


@dataclass(frozen=True)
class _Point:
    """A problem at weights (k, r + 1) of Frobenius norm `norm`: probabilities (k, n), value and gradient."""

    problem: Problem
    norm: float
    weights: Tensor
    p: Tensor
    objective: float
    gradient: Tensor

    @classmethod
    def at(cls, problem: Problem, weights: Tensor, p: Tensor, objective: float) -> _Point:
        norm = weight_norm(weights)
        gradient = problem.design.pull_back(problem.design.residuals(p))
        gradient[:, :-1] += problem.ridge_at(norm) * weights[:, :-1]
        return cls(problem, norm, weights, p, objective, gradient)

    def slope_gap(self) -> float:
        """The bound on objective - optimum at the best biases."""
        slope, strength = weight_norm(self.gradient), self.problem.strength
        if self.problem.penalty == "squared":
            return slope**2 / (2 * strength)
        return slope * (self.norm + self.objective / strength)

    def bias_gap(self) -> float:
        """Half the squared Newton decrement of the biases."""
        hessian = self.p.mean(1).diag() - self.p @ self.p.T / self.p.shape[1]
        # The Hessian is flat along equal shifts of all classes. Gradients are never along them: any curvature will do.
        values, axes = torch.linalg.eigh(hessian + hessian.diagonal().mean() / len(hessian))
        values = values.clamp_min(torch.finfo(values.dtype).eps * values[-1])
        return ((self.gradient[:, -1] @ axes).square() / values).sum().item() / 2

    def scale(self) -> float:
        """The smaller of the objective and its decrease from the best constant predictor."""
        decrease = self.problem.design.entropy() - self.objective
        if self.problem.penalty == "squared":  # by strong convexity no less than the penalty, which does not cancel
            decrease = max(decrease, self.problem.penalty_at(self.norm))
        return min(max(decrease, 0.0), self.objective)

    def line_search(self, direction: Tensor, log_p: Tensor, decrement: float) -> tuple[float, Tensor, float]:
        """Halve the step from 1 until the decrease suffices: step, log-probabilities and objective there.

        The logits are linear in the step, so a trial costs no matrix product.
        """
        design, logits = self.problem.design, direction @ self.problem.design.scores
        square, product = weight_norm(direction) ** 2, _dot(self.weights[:, :-1], direction[:, :-1])
        slack, step = _ROUNDING / 4 * self.objective, 1.0
        for _ in range(_HALVINGS):
            norm = math.sqrt(max(self.norm**2 + step * (2 * product + step * square), 0.0))
            trial = torch.add(log_p, logits, alpha=step).log_softmax(0)
            objective = design.cross_entropy(trial) + self.problem.penalty_at(norm)
            if self.objective - objective >= 2 * _SUFFICIENT * step * decrement - slack:
                break
            step /= 2
        return step, trial, objective


@dataclass(frozen=True)
class _Hessian:
    """The Hessian at a point, in single precision: products take half the time, and a direction needs no more digits.

    Gradients, objectives and what ends a fit stay in double precision, so rounding here costs at most another step.
    `scores` (r + 1, n) and `p` (k, n) as in the point. The penalty's part is ridge * (1 - u u') with u = `radial`
    (k, r + 1): W / ||W|| for the un-squared norm, which is flat along W, and none for the squared one. `inverse`
    (k, r + 1) is that of the Hessian's diagonal.
    """

    scores: Tensor
    p: Tensor
    ridge: float
    radial: Tensor | None
    inverse: Tensor

    @classmethod
    def at(cls, point: _Point) -> _Hessian:
        scores, p = point.problem.design.single, point.p.float()
        ridge, radial = point.problem.ridge_at(point.norm), None
        if point.problem.penalty == "frobenius":
            radial = (point.weights / point.norm).float()
            radial[:, -1] = 0
        diagonal = ((p * (1 - p)) @ scores.square().T).div_(p.shape[1])
        diagonal[:, :-1] += ridge
        return cls(scores, p, ridge, radial, diagonal.clamp_min_(torch.finfo(p.dtype).tiny).reciprocal_())

    def times(self, direction: Tensor) -> Tensor:
        """The Hessian times a direction (k, r + 1)."""
        slopes = direction @ self.scores
        slopes -= (slopes * self.p).sum(0)
        product = (slopes.mul_(self.p) @ self.scores.T).div_(self.p.shape[1])
        product[:, :-1] += self.ridge * direction[:, :-1]
        if self.radial is not None:
            product -= self.ridge * _dot(self.radial, direction) * self.radial
        return product

    def solve(self, target: Tensor, objective: float, spare: float) -> tuple[Tensor, float]:
        """What the Hessian maps to `target` (k, r + 1), the Newton direction where that is minus the gradient.

        It is the more exact the nearer the optimum is; solving may end at an energy of `spare`. Also returns the energy
        left to solve, as the preconditioner sees it, which is too little along flat directions: hence it is always
        reduced by much as well.
        """
        length = torch.linalg.vector_norm(target).item()  # its square would vanish in single precision
        residual = (target / length).float()
        direction, search = torch.zeros_like(residual), self.inverse * residual
        energy, unit = _dot(residual, search), length**2
        forcing = min(max(unit * energy / objective, 1e-4), 0.25)
        goal = max(energy * forcing, min(spare / unit, _REDUCED * energy))
        for _ in range(_INNER_STEPS):
            image = self.times(search)
            bend = _dot(search, image)
            if bend <= 0:
                break
            direction.add_(search, alpha=energy / bend)
            residual.sub_(image, alpha=energy / bend)
            steepest, previous = self.inverse * residual, energy
            energy = _dot(residual, steepest)
            if energy <= goal:
                break
            search = search.mul_(energy / previous).add_(steepest)
        return direction.double().mul_(length), unit * energy


def _gap_after(decrement: float, gain: float) -> float:
    """An estimate of objective - optimum after an exact Newton step, from half its squared decrement and its gain.

    Before the step, the former is the estimate (Boyd and Vandenberghe, "Convex Optimization", section 9.5.1). It is the
    gain on a quadratic objective; to third order, the curvature along the step changes by 3 (1 - gain / decrement) of
    itself. About that share of the gradient is left, its square of the estimate, of which no more than two digits are
    believed.
    """
    share = 3 * (1 - gain / decrement) if decrement else 0.0
    return decrement * min(max(share**2, 0.01), 1.0)


def weight_norm(weights: Tensor) -> float:
    """The Frobenius norm of weights (k, r + 1) without the biases."""
    return torch.linalg.vector_norm(weights[:, :-1]).item()


def _dot(left: Tensor, right: Tensor) -> float:
    return torch.dot(left.flatten(), right.flatten()).item()
