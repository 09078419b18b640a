"""CLIP with stochastic label augmentation ("When Noises Help", section 2): some rows are pulled to a wrong caption.

Labels say which caption each picture is pulled to and which picture each caption. They are drawn anew in every
optimiser step, one vector for the joint batch of all ranks, by (seed, step) alone: the same for any number of ranks
and however a rank's rows are cut to fit its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from vlrepro.distributed import rank
from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, Step, clip
from vlrepro.frameworks.clip import Similarities, cross_entropy
from vlrepro.randomness import torch_generator

REVISION = 1
VIEWS = 1
TEXTS = True
LABELS = False

Columns = Literal["shared", "inverse", "independent", "clean"]


@dataclass(frozen=True)
class Options(clip.Options):
    """CLIP's settings and the noise: `strategy`, one of `STRATEGIES`, `rate` in (0, 1) and `columns`, see `draw`."""

    label_noise: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelNoise:
    """A strategy, its noise rate gamma, and which labels captions get; see `draw`.

    Raises `UserError` for a rate outside (0, 1), an unknown strategy or `columns`, or `inverse` where labels repeat.
    """

    strategy: str
    rate: float
    columns: Columns = "shared"

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UserError(
                f"label_noise.strategy {self.strategy!r} is not known: choose one of {', '.join(STRATEGIES)}"
            )
        if not 0 < self.rate < 1:
            raise UserError(f"label_noise.rate is {self.rate}: choose one between 0 and 1, both excluded")
        if self.columns not in get_args(Columns):
            raise UserError(f"label_noise.columns {self.columns!r} is not known: choose one of {get_args(Columns)}")
        if self.columns == "inverse" and not STRATEGIES[self.strategy].bijective:
            raise UserError(f"label_noise.columns: {self.strategy} has no inverse, its labels repeat: choose another")


class Labels(NamedTuple):
    """(N,) int64 each: the caption that each picture is pulled to, and the picture that each caption is pulled to."""

    captions: Tensor
    pictures: Tensor


class Framework(clip.Framework):
    """CLIP's network and similarities under noisy labels."""

    def __init__(self, backbone: nn.Module, options: Options) -> None:
        super().__init__(backbone, options)
        try:
            self.noise = LabelNoise(**options.label_noise)
        except TypeError as error:
            raise UserError(f"label_noise: {error}: give strategy and rate, and columns or none") from None

    def contrast(self, encoded: tuple[Tensor, Tensor], batch: Batch) -> Step:
        """The loss under this step's labels; `label_noise` in the log is the share of labels that are wrong.

        Raises `UserError` where the joint batch is too small for the rate.
        """
        return Step(*self.captions.contrast(encoded, batch, self._objective))

    def _objective(self, similarities: Similarities, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        labels = draw(self.noise, similarities.to_texts.shape[1], batch.seed, batch.step)
        loss = noisy_loss(similarities, labels, self.noise)
        return loss, {"label_noise": realised_rate(labels, self.noise)}


def noisy_loss(similarities: Similarities, labels: Labels, noise: LabelNoise) -> Tensor:
    """The loss under drawn labels: w CE(true labels) + v CE(drawn labels), by the strategy's weights (w, v).

    CE is the mean of both directions (`vlrepro.frameworks.clip.cross_entropy`).

        reselection, permutation   w = 0          v = 1
        secondary                  w = 1          v = gamma    (section 2.3: the second loss is added on)
        secondary_blend            w = 1 - gamma  v = gamma    (algorithm 3: y = (1 - gamma) y + gamma y~)

    Algorithm 3 blends one-hot labels; cross entropy is linear in them, so blending labels is blending losses.
    """
    true, drawn = STRATEGIES[noise.strategy].weights(noise.rate)
    count = len(similarities.own)
    mine = slice(rank() * count, (rank() + 1) * count)
    captions, pictures = (part[mine].to(similarities.own.device) for part in labels)
    loss = drawn * cross_entropy(similarities, captions, pictures)
    return loss + true * cross_entropy(similarities, similarities.own, similarities.own) if true else loss


def draw(noise: LabelNoise, count: int, seed: int, step: int) -> Labels:
    """One optimiser step's labels of a joint batch of `count` rows (algorithms 1 to 3).

        reselection       of round(gamma N) rows, each gets any of the N labels, its own included
        permutation       the labels of round(gamma N) rows change places among them; some may stay
        secondary         all N labels change places
        secondary_blend   every row gets any of the N labels

    The algorithms speak of one label vector y; `columns` says what captions get: `shared` the same vector, as when one
    label vector serves both cross entropies; `inverse` its inverse, which is what captions that really changed places
    would have; `independent` a vector drawn for them; `clean` their own pictures.

    Raises `UserError` where there are fewer than 2 rows, or gamma N rounds to too few rows to change a label.
    """
    if count < 2:
        raise UserError(f"label_noise: a batch of {count} has no other label to draw: raise batch_size")
    strategy = STRATEGIES[noise.strategy]
    captions = strategy.draw(count, noise.rate, torch_generator(seed, step, 0, "label noise"))
    own = torch.arange(count)
    if noise.columns == "inverse":
        return Labels(captions, torch.empty_like(captions).scatter_(0, captions, own))
    if noise.columns == "independent":
        return Labels(
            captions, strategy.draw(count, noise.rate, torch_generator(seed, step, 0, "label noise, columns"))
        )
    return Labels(captions, captions if noise.columns == "shared" else own)


def realised_rate(labels: Labels, noise: LabelNoise) -> float:
    """The share of all label weight, over both directions, that lies on a wrong column."""
    true, drawn = STRATEGIES[noise.strategy].weights(noise.rate)
    own = torch.arange(len(labels.captions))
    wrong = torch.stack([part != own for part in labels]).double().mean().item()
    return drawn * wrong / (true + drawn)


def _reselect(count: int, rate: float, generator: torch.Generator) -> Tensor:
    """Algorithm 1."""
    labels = torch.arange(count)
    rows = _some_rows(count, rate, 1, generator)
    labels[rows] = torch.randint(count, (len(rows),), generator=generator)
    return labels


def _permute(count: int, rate: float, generator: torch.Generator) -> Tensor:
    """Algorithm 2."""
    labels = torch.arange(count)
    rows = _some_rows(count, rate, 2, generator)
    labels[rows] = rows[torch.randperm(len(rows), generator=generator)]
    return labels


def _some_rows(count: int, rate: float, needed: int, generator: torch.Generator) -> Tensor:
    """Round(rate * count) different rows, a half rounded up."""
    chosen = int(rate * count + 0.5)
    if chosen < needed:
        raise UserError(
            f"label_noise: a rate of {rate:g} chooses {chosen} of {count} rows, which changes no label: "
            "raise the rate or batch_size"
        )
    return torch.randperm(count, generator=generator)[:chosen]


class Strategy(NamedTuple):
    """How labels are drawn, from (N, rate, generator); whether none repeats; and the weights (w, v) of `noisy_loss`."""

    draw: Callable[[int, float, torch.Generator], Tensor]
    bijective: bool
    weights: Callable[[float], tuple[float, float]]


STRATEGIES = {
    "reselection": Strategy(_reselect, False, lambda rate: (0.0, 1.0)),
    "permutation": Strategy(_permute, True, lambda rate: (0.0, 1.0)),
    "secondary": Strategy(
        lambda count, rate, generator: torch.randperm(count, generator=generator), True, lambda rate: (1.0, rate)
    ),
    "secondary_blend": Strategy(
        lambda count, rate, generator: torch.randint(count, (count,), generator=generator),
        False,
        lambda rate: (1.0 - rate, rate),
    ),
}
