"""The hardest pictures of a pack, judged by a model that is not under test.

They stand in for ImageNet-A (Hendrycks et al. 2021, "Natural Adversarial Examples", CVPR, section 3): pictures that a
fixed classifier gets wrong. There the wrong ones are kept, of many more that were collected; here the pack is what it
is, so a fixed share is, and where the model errs seldom some of it is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from vlrepro.errors import UserError

REVISION = 1


def hardest(ranks: Sequence[int], share: float) -> list[int]:
    """Positions, in rising order, of the pictures whose true class is ranked last: round(share * n), at least one.

    Of equal ranks at the limit, the pictures that come first are taken.

    Args:
        ranks: of each picture's true class, from 0 for the nearest (`zero_shot.ranks`).
        share: of the pictures, above 0 and at most 1.

    Raises:
        UserError: no picture, or another share.
    """
    if not ranks:
        raise UserError("hardest pictures: there is no picture to choose from: give the ranks of a pack's pictures")
    if not 0 < share <= 1:
        raise UserError(f"hardest pictures: a share of {share}: give one above 0 and at most 1")
    order = sorted(range(len(ranks)), key=lambda position: (-ranks[position], position))
    return sorted(order[: max(1, round(share * len(ranks)))])
