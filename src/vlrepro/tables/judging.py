"""Judge a study's claims, each twice: on what we ran, and on the cells that the paper prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlrepro.tables.agreement import judge_agreement
from vlrepro.tables.cells import Cells
from vlrepro.tables.chance import judge_chance, judge_printed_chance
from vlrepro.tables.claims import (
    AgreementTest,
    ChanceTest,
    CostTest,
    Direction,
    FactTest,
    LedgerTest,
    PaperClaim,
    PurityTest,
    ScoreTest,
)
from vlrepro.tables.comparisons import Comparison, comparisons_of, labels_of
from vlrepro.tables.costs import Timings, judge_cost
from vlrepro.tables.facts import check_fact
from vlrepro.tables.ledgers import judge_ledger
from vlrepro.tables.reported import judge_reported
from vlrepro.tables.statistics import (
    RESAMPLES,
    Interval,
    Resampled,
    average_over_columns,
    interval,
    paired_difference,
    shifted,
)
from vlrepro.tables.study import Study
from vlrepro.tables.verdicts import (
    Counts,
    Outcome,
    Unit,
    Verdict,
    all_of,
    judge,
    judge_count,
    needed_for,
    signed_points,
)

_NOT_OF_CELLS = "The claim is not about the cells of a table."
_NOT_PRINTED = "The paper does not print these scores."
_NO_TIMES = "The paper prints no times."
_NOT_OF_RUNS = "The claim is about what the paper prints, not about what a run gives."


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with the verdict on our results and on the paper's cells; `comparisons` are rows "a minus b"."""

    claim: PaperClaim
    comparisons: tuple[str, ...]
    examples: str
    ours: Verdict
    reported: Verdict


@dataclass(frozen=True)
class Results:
    """What claims are judged on: cells, resampled by evaluation, summaries of pairs and ledgers, times of trainings."""

    cells: Cells
    resampled: Mapping[str, Mapping[tuple[str, str], Resampled]]
    summaries: Mapping[str, Any]
    timings: Timings
    ledgers: Mapping[str, Mapping[str, Any]]

    def columns(self, evaluation: str) -> list[str]:
        """Names of the sets that an evaluation scored."""
        return self.cells.columns(evaluation)


def judge_claims(
    study: Study,
    cells: Cells,
    scale: str,
    summaries: Mapping[str, Any] | None = None,
    resamples: int = RESAMPLES,
    timings: Timings | None = None,
    ledgers: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[JudgedClaim]:
    """Judge every claim of a study.

    `summaries` maps the names of mined pairs to their summaries, `timings` recipes to seconds a training step, one
    number a run, and `ledgers` packs to the summaries of their downloads. The verdict on ours is "not run" where a row
    has no recipe, "pending" where a score or summary is missing, and "undecided" where a run failed to train, unless
    that is what is claimed. At another scale than `paper` a claim about the size of an effect is not judged: see
    `sizes_unjudged`. Raises `UserError` for scores that cannot be.
    """
    wanted = {name for claim in study.claims for name in _evaluations(study, claim)}
    found = {name: cells.resampled(name, cells.columns(name), resamples) for name in sorted(wanted)}
    results = Results(cells, found, summaries or {}, timings or {}, ledgers or {})
    judged = [_judge(study, claim, results) for claim in study.claims]
    return judged if scale == "paper" else [sizes_unjudged(entry) for entry in judged]


def _evaluations(study: Study, claim: PaperClaim) -> Sequence[str]:
    """The evaluations that a claim is judged on."""
    test = claim.test
    if isinstance(test, AgreementTest):
        return test.between
    if isinstance(test, CostTest):
        return ()
    named = test.evaluations if isinstance(test, ScoreTest | ChanceTest) else None
    return named or [name for table in claim.tables for name in study.table(table).evaluations]


def sizes_unjudged(judged: JudgedClaim) -> JudgedClaim:
    """The same, with no verdict on ours where the test names a number of points: other data have other sizes."""
    test, mean = judged.claim.test, judged.ours.difference
    if not isinstance(test, ScoreTest) or not (test.margin or test.tolerance) or mean is None:
        return judged
    if not test.margin:
        place = "is" if judge(mean, "equal", test.bound(), test.reach()) == "supported" else "is not"
        found = f"{place} within {test.tolerance:g} points"
    else:
        place = "contains" if mean.low <= test.bound() <= mean.high else "excludes"
        found = f"{place} {signed_points(test.bound())} points"
    reason = f"the interval {found}; sizes of effects are judged at scale paper alone"
    return replace(judged, ours=replace(judged.ours, outcome="not testable", reason=reason))


def _judge(study: Study, claim: PaperClaim, results: Results) -> JudgedClaim:
    test, examples, labels = claim.test, "", ()
    if isinstance(test, ScoreTest):
        comparisons = list(comparisons_of(study, claim.tables, test, test.pairs))
        labels = tuple(dict.fromkeys(comparison.label() for comparison in comparisons))
        examples = " or ".join(dict.fromkeys(study.evaluations[c.evaluation].examples for c in comparisons))
        ours = judge_scores(study, test, comparisons, results)
        reported = judge_reported(study, claim.tables, test)
    elif isinstance(test, ChanceTest):
        ours = judge_chance(study, claim.tables, test, results.cells, results.resampled)
        reported = judge_printed_chance(study, claim.tables, test)
    elif isinstance(test, CostTest):
        ours, reported = (
            judge_cost(study, claim.tables, test, results.timings),
            Verdict("not testable", reason=_NO_TIMES),
        )
    elif isinstance(test, PurityTest):
        labels = tuple(f"pairs {a} minus pairs {b}" for a, b in test.pairs)
        ours, reported = judge_purity(test, results.summaries), Verdict("not testable", reason=_NOT_OF_CELLS)
    elif isinstance(test, LedgerTest):
        ours, reported = judge_ledger(test, results.ledgers), Verdict("not testable", reason=_NOT_OF_CELLS)
    elif isinstance(test, AgreementTest):
        titles = [study.evaluations[name].title for name in test.between]
        labels = (f"rank agreement of {titles[0]} and {titles[1]}",)
        ours = _judge_agreement(study, claim, test, results)
        reported = Verdict("not testable", reason=_NOT_PRINTED)
    elif isinstance(test, FactTest):
        fact = check_fact(study, test.fact, test.arguments)
        verdict = Verdict("supported" if fact.holds else "contradicted", reason=fact.reason)
        other = Verdict("not testable", reason=_NOT_OF_RUNS if fact.printed else _NOT_OF_CELLS)
        ours, reported = (other, verdict) if fact.printed else (verdict, other)
    else:
        ours = reported = Verdict("not testable", reason=claim.untestable)
    return JudgedClaim(claim, labels, examples, ours, reported)


def _judge_agreement(study: Study, claim: PaperClaim, test: AgreementTest, results: Results) -> Verdict:
    table = study.table(claim.tables[0])
    recipes = {table.row(name).key: table.row(name).full_label() for name in test.rows}
    for evaluation in test.between:
        for recipe, label in recipes.items():
            failure = results.cells.failure(evaluation, [recipe], results.columns(evaluation)) if recipe else None
            if failure:
                return Verdict("undecided", reason=f"{label} {failure}.")
    columns = {name: results.columns(name) for name in test.between}
    return judge_agreement(table, test, results.resampled, columns)


def judge_scores(study: Study, test: ScoreTest, comparisons: Sequence[Comparison], results: Results) -> Verdict:
    """Judge on our resampled cells; a comparison with a row that is blank in its variant does not count."""
    comparisons = [c for c in comparisons if not any(member.blank for member in c.members())]
    if not comparisons or any(member.key is None for c in comparisons for member in c.members()):
        return Verdict("not run")
    sets = [c.columns(results.columns(c.evaluation), test.sets) for c in comparisons]
    if lost := _failures(comparisons, sets, results):
        return Verdict("undecided", reason=f"{'; '.join(lost)}.")
    found = []
    for comparison, cases in zip(comparisons, sets, strict=True):
        cells = results.resampled.get(comparison.evaluation, {})
        keys = [member.key or "" for member in comparison.members()]
        found.append([_contrast(cells, list(zip(keys, names, strict=True))) for names in cases])
    averages = [average_over_columns(differences) for differences in found]
    mean = average_over_columns(averages)
    if mean is None:
        return Verdict("pending")
    outcome, counts = _outcome(test, found, averages, mean)
    if len(comparisons) == 1:
        return Verdict(outcome, interval(mean), counts)
    if test.over == "mean" and len({c.variant for c in comparisons}) > 1:
        parts = _by_variant(comparisons, averages)
    else:
        parts = tuple(zip(labels_of(study, comparisons), map(interval, averages), strict=True))
    return Verdict(outcome, interval(mean), counts, parts)


def _by_variant(comparisons: Sequence[Comparison], averages: Sequence[Resampled]) -> tuple[tuple[str, Interval], ...]:
    """(variant's title, the mean over its comparisons)."""
    found: dict[str, list[Resampled]] = {}
    for comparison, average in zip(comparisons, averages, strict=True):
        found.setdefault(comparison.table.variants[comparison.variant or ""], []).append(average)
    means = {title: average_over_columns(entries) for title, entries in found.items()}
    return tuple((title, interval(mean)) for title, mean in means.items() if mean is not None)


def _failures(
    comparisons: Sequence[Comparison], sets: Sequence[Sequence[Sequence[str]]], results: Results
) -> list[str]:
    """The rows of the comparisons that failed to train, in words."""
    found = {}
    for comparison, cases in zip(comparisons, sets, strict=True):
        for place, (row, variant) in enumerate(comparison.members()):
            key = row.key_of(variant) or ""
            if failure := results.cells.failure(comparison.evaluation, [key], [names[place] for names in cases]):
                title = comparison.table.variants.get(variant or "")
                found[key] = f"{row.full_label()}{f', {title},' if title else ''} {failure}"
    return list(found.values())


def _outcome(
    test: ScoreTest, found: Sequence[Sequence[Resampled]], averages: Sequence[Resampled], mean: Resampled
) -> tuple[Outcome, Counts]:
    """The outcome over the averages, their mean, or over all cases, and what was counted."""
    direction: Direction = "above" if test.direction == "equal" else test.direction
    cases = [shifted(cell, test.counted_from()) for differences in found for cell in differences]
    unit: Unit = "data sets" if len(found) == 1 else "cases"
    outcome, counts = judge_count(cases, direction, needed_for(test.over, len(cases)), unit)
    if test.over == "mean":
        return judge(interval(mean), test.direction, test.bound(), test.reach()), counts
    if test.over == "average":
        if len(found) > 1 and test.direction != "equal":
            moved = [shifted(cell, test.counted_from()) for cell in averages]
            return judge_count(moved, direction, len(moved), "comparisons")
        judged = [judge(interval(cell), test.direction, test.bound(), test.reach()) for cell in averages]
        return all_of(judged), counts
    return outcome, counts


def _contrast(cells: Mapping[tuple[str, str], Resampled], keys: Sequence[tuple[str, str]]) -> Resampled | None:
    """First minus second (recipe, set); with four, minus the difference of the other two."""
    found = [cells.get(key) for key in keys]
    difference = paired_difference(found[0], found[1])
    return paired_difference(difference, paired_difference(found[2], found[3])) if len(found) == 4 else difference


def judge_purity(test: PurityTest, summaries: Mapping[str, Any]) -> Verdict:
    """Judge by the purity of mined pairs; several comparisons must all hold."""
    names = [name for pair in test.pairs for name in pair]
    missing = [name for name in names if name not in summaries]
    if missing:
        return Verdict("pending", reason=f"The summary of pairs {missing[0]} is missing.")
    found = [newcombe(*(summaries[name]["purity"][test.criterion] for name in pair)) for pair in test.pairs]
    outcome = all_of([judge(difference, test.direction) for difference in found])
    shares = {name: summaries[name]["purity"][test.criterion]["share"] for name in names}
    words = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    reason = f"pairs of the same {test.criterion}: {words}"
    if len(found) == 1:
        return Verdict(outcome, found[0], reason=reason)
    labels = [f"pairs {a} minus pairs {b}" for a, b in test.pairs]
    return Verdict(outcome, None, comparisons=tuple(zip(labels, found, strict=True)), reason=reason)


def newcombe(a: Mapping[str, float], b: Mapping[str, float]) -> Interval:
    """Difference of two shares, with the interval that joins their Wilson intervals.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10. Both are
    shares of the same pictures' pairs; taking them as independent makes the interval wider where they agree.
    """
    difference = a["share"] - b["share"]
    low = difference - math.hypot(a["share"] - a["low"], b["high"] - b["share"])
    high = difference + math.hypot(a["high"] - a["share"], b["share"] - b["low"])
    return Interval(difference, low, high, 0, "pairs")
