"""Whether two evaluations order models alike: Spearman's rank correlation, with the intervals that decide.

A claim about models in general has models as its sample: Fisher's z with the standard error of Bonett and Wright,
"Sample size requirements for estimating Pearson, Kendall and Spearman correlations" (Psychometrika 2000), eq. 3,
sqrt((1 + rho^2 / 2) / (n - 3)). But models that share captions or a framework are no independent draws. So a second
interval keeps the models and draws other test examples and seeds, as `vlrepro.tables.statistics.interval` does for
differences, and both must exclude 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from vlrepro.tables.claims import AgreementTest
from vlrepro.tables.statistics import LEVEL, Array, Resampled, average_over_columns, seed_weights
from vlrepro.tables.study import PaperTable
from vlrepro.tables.verdicts import Agreement, Outcome, Verdict, between, two_decimals

FEWEST = 4
"""Models that the interval over models needs: its standard error has n - 3 below the line."""

_QUANTILE = float(ndtri(0.5 + LEVEL / 2))

_DECIMALS = 12
"""Scores this close are tied: a mean's last bits depend on the order of its terms and would break ties at random."""


def judge_agreement(
    table: PaperTable,
    test: AgreementTest,
    cells: Mapping[str, Mapping[tuple[str, str], Resampled]],
    columns: Mapping[str, Sequence[str]],
) -> Verdict:
    """Judge on resampled `cells`, by evaluation and (row's key, column); a row's score is its mean over the columns."""
    keys = [table.row(name).key for name in test.rows]
    if None in keys:
        return Verdict("not run")
    scores = [
        [
            average_over_columns([cells.get(name, {}).get((key, column)) for column in columns.get(name, ())])
            for key in keys
        ]
        for name in test.between
    ]
    if any(score is None for found in scores for score in found):
        return Verdict("pending")
    found = agreement(*scores)
    if found is None:
        return Verdict("undecided", reason="all models have the same score, which orders none of them")
    return Verdict(_outcome(found, test.direction), reason=_words(found), agreement=found)


def agreement(first: Sequence[Resampled], second: Sequence[Resampled]) -> Agreement | None:
    """The agreement of two scores of the same models, in the same order; None where a score is constant.

    Resamples are drawn as `vlrepro.tables.statistics.interval` draws them, the same for all models of one score.
    """
    means = (np.array([[cell.means.mean() for cell in cells]]) for cells in (first, second))
    rho = float(spearman(*(values.round(_DECIMALS) for values in means))[0])
    if math.isnan(rho):
        return None
    resampled = (np.stack([_resampled(cell) for cell in cells], axis=1) for cells in (first, second))
    drawn = spearman(*(values.round(_DECIMALS) for values in resampled))
    half = _QUANTILE * math.sqrt(float(np.nanmean((drawn - rho) ** 2)))
    on_these = max(-1.0, rho - half), min(1.0, rho + half)
    seeds = min(len(cell.seeds) for cell in (*first, *second))
    return Agreement(rho, interval_over_models(rho, len(first)), on_these, len(first), seeds)


def spearman(first: Array, second: Array) -> Array:
    """Spearman's rho of each row of (r, n) and (r, n): (r,), NaN where a row is constant. Ties share a rank."""
    ranks = [rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (first, second)]
    norms = [np.sqrt((rank**2).sum(axis=1)) for rank in ranks]
    with np.errstate(invalid="ignore"):
        return (ranks[0] * ranks[1]).sum(axis=1) / (norms[0] * norms[1])


def interval_over_models(rho: float, n: int) -> tuple[float, float]:
    """The interval of a rank correlation `rho` of `n` models; the whole range with fewer than `FEWEST`."""
    if n < FEWEST:
        return -1.0, 1.0
    # A perfect order has no finite z: it and what ties put above are taken as one exchange of neighbours away from it.
    rho = math.copysign(min(abs(rho), 1 - 12 / (n**3 - n)), rho)
    half = _QUANTILE * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def _resampled(cell: Resampled) -> Array:
    """A score under each resample of seeds and examples, (r,)."""
    weights = seed_weights(cell.seeds, cell.draws.shape[1])
    return np.einsum("bs,sb->b", weights, cell.draws)


def _outcome(found: Agreement, direction: str) -> Outcome:
    low = min(found.over_models[0], found.on_these[0])
    high = max(found.over_models[1], found.on_these[1])
    if direction == "below":
        low, high = -high, -low
    return "supported" if low > 0 else "contradicted" if high < 0 else "undecided"


def _words(found: Agreement) -> str:
    seeds = "1 seed" if found.n_seeds == 1 else f"{found.n_seeds} seeds"
    others = "test examples" if found.n_seeds == 1 else "test examples and seeds"
    return (
        f"Spearman's rho {two_decimals(found.rho)} over {found.n} models; interval over models"
        f" {between(found.over_models)}; on these models, with other {others}, {between(found.on_these)}; {seeds}"
    )
