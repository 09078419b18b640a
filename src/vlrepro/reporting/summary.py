"""The report's first screen: which claims hold on our runs, and which on the numbers that the paper prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vlrepro.reporting.markup import Html, element, folded, grid, interval_strip, join
from vlrepro.tables.claim_rendering import MARKS
from vlrepro.tables.study import Study
from vlrepro.tables.verdicts import between, signed_points, two_decimals

Claim = Mapping[str, Any]
"""One entry of a claims file: see `vlrepro.tables.claim_rendering.claims_to_json`."""

_JUDGED = ("supported", "contradicted", "undecided")

SCALES = {
    "tiny": (
        "A smoke test: a few training steps on a few pictures. It shows that every step of the workflow runs. Its "
        "verdicts mean nothing."
    ),
    "pocket": (
        "A small stand-in for the paper's experiment, made in minutes on two cores: other data, a small backbone, a "
        "short training. It can show in which direction an effect goes here. It neither matches nor misses any number "
        "that the paper prints. Its caption noise and training settings were chosen after trial runs on these same "
        "sets, so its verdicts are exploratory."
    ),
    "evidence": (
        "The pocket experiment with more seeds: other data, a small backbone, a short training. It can show in which "
        "direction an effect goes here. It neither matches nor misses any number that the paper prints. Its caption "
        "noise and training settings were chosen after trial runs of one seed on these same sets."
    ),
    "paper": "The paper's own data, backbone and length of training, as far as its text gives them.",
}


def claims_overview(study: Study, claims: Sequence[Claim], scale: str) -> Html:
    """A study's card: counts for both sources of numbers, then one line a claim; controls are folded."""
    own = [claim for claim in claims if claim["kind"] == "claim"]
    controls = [claim for claim in claims if claim["kind"] == "control"]
    reach = _reach(claims)
    parts = [
        element("h2", study.title),
        element("p", answer(own, scale), class_="answer"),
        _tally(own, scale),
        folded("What the paper claims", _claim_table(own, scale, reach), unfolded=True),
    ]
    if controls:
        parts.append(folded("Controls that we add", _claim_table(controls, scale, reach)))
    return element("section", *parts, class_="study", id=f"study-{study.slug}")


def answer(claims: Sequence[Claim], scale: str) -> str:
    """One sentence: how many of the claims our runs support, contradict, leave open."""
    counts = Counter(claim["ours"]["outcome"] for claim in claims)
    judged = sum(counts[outcome] for outcome in _JUDGED)
    if not judged:
        return f"None of the {len(claims)} claims can be judged on our runs at scale {scale} yet."
    found = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _JUDGED)
    numbers = (claim["ours"].get(name) or {} for claim in claims for name in ("difference", "agreement"))
    once = any(entry.get("n_seeds") == 1 for entry in numbers)
    caution = " Each verdict rests on one training of each model and may not hold for another seed." if once else ""
    return f"{judged} of {len(claims)} claims can be judged on our runs at scale {scale}: {found}.{caution}"


def _tally(claims: Sequence[Claim], scale: str) -> Html:
    """Two rows of signs, one sign a claim: our runs, the paper's printed cells."""
    rows = [
        element("dt", title) + element("dd", *_signs(claims, source), " ", _counts(claims, source))
        for title, source in ((f"Our runs, scale {scale}", "ours"), ("The paper's printed cells", "reported"))
    ]
    return element("dl", *map(Html, rows), class_="tally")


def _signs(claims: Sequence[Claim], source: str) -> list[Html]:
    order = list(MARKS)
    ranked = sorted(claims, key=lambda claim: order.index(claim[source]["outcome"]))
    return [
        element(
            "a",
            MARKS[claim[source]["outcome"]],
            href=f"#claim-{claim['id']}",
            class_=f"sign {_verdict_class(claim[source]['outcome'])}",
            title=f"{claim[source]['outcome']}: {claim['statement']}",
            aria_label=f"{claim[source]['outcome']}: {claim['statement']}",
        )
        for claim in ranked
    ]


def _counts(claims: Sequence[Claim], source: str) -> Html:
    counts = Counter(claim[source]["outcome"] for claim in claims)
    words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in MARKS if counts[outcome])
    return element("span", words, class_="counts")


def _claim_table(claims: Sequence[Claim], scale: str, reach: float) -> Html:
    heads = ("Claim", f"Our runs ({scale})", "Mean difference, points", "The paper's printed cells")
    rows = [
        (
            element("a", claim["statement"], href=f"#claim-{claim['id']}"),
            _verdict(claim["ours"]),
            _difference(claim, reach),
            _verdict(claim["reported"]),
        )
        for claim in claims
    ]
    return element("div", grid(heads, rows), class_="claim-table")


def _verdict(verdict: Mapping[str, Any]) -> Html:
    words = f"{MARKS[verdict['outcome']]} {verdict['wording']}"
    return element("strong", words, class_=f"verdict {_verdict_class(verdict['outcome'])}")


def _verdict_class(outcome: str) -> str:
    return f"verdict-{outcome.replace(' ', '-')}"


def _reach(claims: Sequence[Claim]) -> float:
    """The largest distance of an interval's end from 0, in points; at least 1."""
    found = [claim["ours"]["difference"] for claim in claims if claim["ours"]["difference"]]
    return max([1.0, *(abs(interval[end]) for interval in found for end in ("low", "high"))])


def _difference(claim: Claim, reach: float) -> Html:
    """An interval on a line through 0, and its numbers; all lines of a study have the same scale.

    A rank correlation is not in points and so has no line.
    """
    interval = claim["ours"]["difference"]
    if found := claim["ours"].get("agreement"):
        over, on = (between(found[ends]) for ends in ("over_models", "on_these"))
        words = f"rank correlation {two_decimals(found['rho'])}, over models {over}, on these {on}"
        return element("span", words, class_="numbers")
    if not interval:
        return Html("–")
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    numbers = f"{signed_points(value / 100)} [{signed_points(low / 100)}, {signed_points(high / 100)}]"
    parts = [interval_strip(value, low, high, reach), element("span", numbers, class_="numbers")]
    counts, test = claim["ours"]["counts"], claim["test"]
    if counts and test["over"] not in ("average", "mean"):
        words = f"{counts['signed']} of {counts['columns']} {counts['unit']} {test['direction']} 0"
        parts.append(element("span", words, class_="numbers"))
    return join(parts)
