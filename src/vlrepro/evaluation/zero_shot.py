"""Zero-shot classification: a picture goes to the class whose name, in a sentence, is nearest to it.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 3.1: the class
names are written into templates ("a photo of a {}."), and a class is the mean of its sentences' features (3.1.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vlrepro.errors import UserError

REVISION = 1

_CHUNK = 1 << 22  # similarities held at a time


def class_vectors(embedded: Tensor) -> Tensor:
    """The classifier of prompt ensembling: features (C, T, d) of C classes in T templates to unit rows (C, d), float32.

    Each feature is scaled to length 1, then their mean over the templates is (Radford et al. 2021, section 3.1.4).
    Raises `UserError` for another shape, for no class or template, and for features that are not finite.
    """
    if embedded.dim() != 3 or embedded.numel() == 0:
        raise UserError(f"text features {tuple(embedded.shape)}: give classes x templates x width, none of them 0")
    _check_finite(embedded.flatten(1), "text features", "class")
    return normalize(normalize(embedded.float(), dim=2).mean(1), dim=1)


def ranks(pictures: Tensor, classes: Tensor, truth: Tensor) -> Tensor:
    """How many classes are ahead of each picture's own, from 0 for the nearest: (n,) int64.

    Ahead are the classes that are more similar and, of the equally similar ones, those with a smaller number. So ties
    are broken without regard to the truth: classes of one name share what one of them would get, and a model that says
    the same of everything is right by chance. The similarity is the cosine, in float32.

    Args:
        pictures: (n, d) features of any length.
        classes: (C, d) unit rows, as of `class_vectors`.
        truth: (n,) int64 class numbers.

    Raises:
        UserError: shapes that do not fit, features that are not finite, a class number that there is not.
    """
    _check_fit(pictures, classes, truth)
    _check_finite(pictures, "picture features", "picture")
    _check_finite(classes, "class vectors", "class")
    # A product may round equal columns differently, by where they lie: each distinct one is multiplied once.
    distinct, column = torch.unique(classes.float(), dim=0, return_inverse=True)
    pictures = pictures.float()
    # A picture's length changes no order. Of about 1, it neither overflows nor vanishes in a product.
    pictures = pictures / pictures.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    rows = max(1, _CHUNK // len(classes))
    parts = [
        _ahead((part @ distinct.T)[:, column], own)
        for part, own in zip(pictures.split(rows), truth.split(rows), strict=True)
    ]
    return torch.cat(parts)


def _ahead(similarities: Tensor, truth: Tensor) -> Tensor:
    """The number of classes ahead of the true one, for similarities (b, C) and class numbers (b,): (b,) int64."""
    truth = truth.unsqueeze(1)
    own = similarities.gather(1, truth)
    before = torch.arange(similarities.shape[1], device=truth.device) < truth
    return ((similarities > own) | ((similarities == own) & before)).sum(1)


def outcomes(ranks: Tensor, top: int, n_classes: int) -> Tensor:
    """Whether each picture's class is among the `top` nearest of `n_classes`, from its rank: (n,) bool.

    Raises `UserError` where `top` is below 1 or above the number of classes, of which all would be right.
    """
    if not 1 <= top <= n_classes:
        raise UserError(f"top-{top} accuracy over {n_classes} classes: ask for top 1 to {n_classes}")
    return ranks < top


def check_names(names: Sequence[str | None], repeats: int = 0, place: str = "class names") -> None:
    """Refuse class names that are missing, or that repeat earlier ones more than `repeats` times in all.

    Two classes of one name cannot be told apart. The names in use for ImageNet's 1,000 classes repeat two ("missile",
    "sunglasses"): 2 there. White space at the ends counts for nothing. Raises `UserError` that names `place` and a
    class.
    """
    bare = [" ".join((name or "").split()) for name in names]
    if "" in bare:
        raise UserError(f"{place}: class {bare.index('')} of {len(bare)} has no name: name every class")
    counts = Counter(bare)
    if len(bare) - len(counts) > repeats:
        name, count = counts.most_common(1)[0]
        found = f"{len(bare) - len(counts)} names repeat earlier ones where {repeats} may"
        raise UserError(f"{place}: {found} ({name!r} is there {count} times): give each class a name of its own")


def _check_fit(pictures: Tensor, classes: Tensor, truth: Tensor) -> None:
    if pictures.dim() != 2 or classes.dim() != 2 or pictures.shape[1] != classes.shape[1] or len(classes) == 0:
        shapes = f"picture features {tuple(pictures.shape)} and class vectors {tuple(classes.shape)}"
        raise UserError(f"{shapes} cannot be compared: give rows of one width, and at least one class")
    if truth.shape != pictures.shape[:1]:
        raise UserError(f"{len(pictures)} pictures with class numbers {tuple(truth.shape)}: give one a picture")
    if len(truth) and (truth.min() < 0 or truth.max() >= len(classes)):
        found = f"class numbers run from {truth.min()} to {truth.max()}"
        raise UserError(f"{found}: number the {len(classes)} classes 0 to {len(classes) - 1}")


def _check_finite(rows: Tensor, what: str, each: str) -> None:
    broken = (~rows.isfinite()).any(1).nonzero().flatten()
    if len(broken):
        found = f"{len(broken)} of {len(rows)} hold NaN or infinity (first: {each} {int(broken[0])})"
        raise UserError(f"{what}: {found}: mend the model, or train it again")
