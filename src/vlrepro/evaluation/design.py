"""Training data of a logistic regression after two exact changes of variable that make it cheap to solve.

Features are centred (the free biases absorb that) and rotated to their principal axes, in the span of the data when
d > n (the optimal W lies there, and ||W||_F does not change).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Design:
    """Training data in their principal axes: `scores` (r + 1, n) with a last row of ones for the biases.

    The rows are uncorrelated. `shares` (k,) are the classes' shares of the examples. All in float64. Classes and scores
    come first here because matrix products of few classes by many examples are up to twice as fast that way round.
    """

    scores: Tensor
    labels: Tensor
    rotation: Tensor
    mean: Tensor
    shares: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, n_classes: int) -> Design:
        """The design of features (n, d) and labels (n,), every class present."""
        features = features.double()
        mean = features.mean(0)
        centred, basis = features - mean, None
        if features.shape[1] > features.shape[0]:
            basis, triangle = torch.linalg.qr(centred.T)
            centred = triangle.T
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors
        scores = torch.cat([axes.T @ centred.T, features.new_ones(1, len(features))])
        rotation = axes if basis is None else basis @ axes
        shares = torch.bincount(labels, minlength=n_classes).to(mean) / len(features)
        return cls(scores, labels, rotation, mean, shares)

    @cached_property
    def single(self) -> Tensor:
        """The scores in single precision."""
        return self.scores.float()

    def project(self, features: Tensor) -> Tensor:
        """Other features (m, d) in the same axes, with the row of ones: (r + 1, m)."""
        scores = self.rotation.T @ (features.to(self.mean) - self.mean).T
        return torch.cat([scores, scores.new_ones(1, len(features))])

    def pull_back(self, slopes: Tensor) -> Tensor:
        """The mean over examples of slopes x scores', for slopes (k, n): (k, r + 1)."""
        return (slopes @ self.scores.T).div_(slopes.shape[1])

    def cross_entropy(self, log_p: Tensor) -> float:
        """The mean of -log p[label] for log-probabilities (k, n)."""
        return -log_p.gather(0, self.labels[None]).mean().item()

    def residuals(self, p: Tensor) -> Tensor:
        """Probabilities (k, n) minus the one-hot labels: the slopes of the cross-entropy in the logits."""
        return p.scatter_add(0, self.labels[None], p.new_full((1, p.shape[1]), -1.0))

    def constant_predictor(self) -> Tensor:
        """The optimum under W = 0, the logarithms of the class shares as biases: (k, r + 1)."""
        weights = self.scores.new_zeros(len(self.shares), len(self.scores))
        weights[:, -1] = self.shares.log() - self.shares.log().mean()
        return weights

    def entropy(self) -> float:
        """The cross-entropy of the constant predictor."""
        return -(self.shares * self.shares.log()).sum().item()
