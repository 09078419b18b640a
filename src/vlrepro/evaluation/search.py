"""Searches for the cost C of a linear probe: which costs are scored on validation, and which of the best ones is taken.

    window       7 costs two decades apart, then all 29 of a window around the best of them
    bisection    as in the papers' code base (github.com/mbanani/lgssl, df45bae), which bisects that window
    grid         as in Ericsson, Gouk and Hospedales, "How Well Do Self-Supervised Models Transfer?" (CVPR 2021),
                 appendix A.2, and its code base (github.com/linusericsson/ssl-transfer, 416913f): 45 costs

What a search scores first does not matter to its result where it scores all: costs come in the order that lets `Path`
predict an optimum from those on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Score = Callable[[float], float]  # cost -> score on validation, the higher the better

_REACH = 14  # steps of a seventh of a decade from the window's centre to its ends
_EDGE = 42  # the first and the last of the 7 costs are 1e-6 and 1e6
_COARSE = range(-_EDGE, _EDGE + 1, _REACH)


def window(score: Score) -> float:
    """The smallest of the best costs of both stages: a superset of what `bisection` scores."""
    scores = {step: score(_cost(step)) for step in _COARSE}
    centre = _first_best(scores)
    for step in _from_afar(_window(centre), list(scores)):
        scores[step] = score(_cost(step))
    return _cost(_first_best(dict(sorted(scores.items()))))


def bisection(score: Score) -> float:
    """The first visited of the best costs of the second stage, which starts with the best of the first.

    The second stage scores the costs at the quarters of an interval and goes on with the half around the best of them:
    the left, the right, or the middle one, in this order where they are equally good.
    """
    known = {step: score(_cost(step)) for step in _COARSE}
    centre = _first_best(known)
    scores, steps = {centre: known[centre]}, _window(centre)
    while len(steps) > 1:
        quarter, half, last = len(steps) // 4, len(steps) // 2, -len(steps) // 4  # rounded down: last of 29 is -8
        for step in (steps[quarter], steps[half], steps[last]):
            if step not in known:
                known[step] = score(_cost(step))
            scores[step] = known[step]
        best = max(scores[steps[place]] for place in (quarter, half, last))
        if best == scores[steps[quarter]]:
            steps = steps[:half]
        elif best == scores[steps[last]]:
            steps = steps[half:]
        else:
            steps = steps[quarter:last]
    return _cost(_first_best(scores))


def grid(score: Score) -> float:
    """The largest of the best of 45 costs from 1e-5 to 1e6, four a decade: the weight decay 1 / C from 1e-6 to 1e5."""
    scores = {step: score(10 ** (step / 4)) for step in range(-20, 25, 8)}
    for step in _from_afar(range(-20, 25), list(scores)):
        scores[step] = score(10 ** (step / 4))
    return 10 ** (_first_best(dict(sorted(scores.items(), reverse=True))) / 4)


SEARCHES: dict[str, Callable[[Score], float]] = {"window": window, "bisection": bisection, "grid": grid}


def _cost(step: int) -> float:
    return 10 ** (step / 7)


def _window(centre: int) -> list[int]:
    """29 steps around the centre, less those outside the range of the first stage."""
    return list(range(max(centre - _REACH, -_EDGE), min(centre + _REACH, _EDGE) + 1))


def _from_afar(steps: Sequence[int], known: list[int]) -> Iterator[int]:
    """The steps that are not `known`, each time the farthest from those that are, which then joins them."""
    left = [step for step in steps if step not in known]
    while left:
        farthest = max(left, key=lambda step: min(abs(step - other) for other in known))
        left.remove(farthest)
        known.append(farthest)
        yield farthest


def _first_best(scores: dict[int, float]) -> int:
    """The first key of the highest value; values that differ by rounding are equal."""
    highest = max(scores.values())
    return next(step for step, score in scores.items() if score >= highest - 1e-12)
