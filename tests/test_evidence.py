"""The page of a finished run: every claim once, under what it came to, with its numbers; costs summed by rule."""

import pytest

from vlrepro.reporting.evidence import evidence_page, sum_costs
from vlrepro.reporting.provenance import machine

INTERVAL = {"value": 2.0, "low": -1.0, "high": 5.0}
SHARE = {"share": 0.25, "low": 0.2, "high": 0.3}


def claim(outcome, statement, kind="claim", difference=INTERVAL):
    ours = {"outcome": outcome, "wording": outcome, "reason": "because *x*", "difference": difference, "counts": None}
    return {"kind": kind, "statement": statement, "ours": ours, "reported": ours | {"wording": "not testable"}}


def page(claims):
    purity = {"language_clean-0123abcd": {"pairs": 1200, "purity": dict.fromkeys(("concept", "label", "group"), SHARE)}}
    costs = {"train_model": (4, 10.0, 512.0), "embed": (1, 2.5, None)}
    return evidence_page("A study", [("Command", "snakemake")], claims, purity, costs, ["table1.md"])


def test_every_claim_stands_once_under_its_outcome():
    outcomes = ("supported", "contradicted", "undecided", "not testable")
    text = page(
        [claim(outcome, f"Sentence {outcome}.") for outcome in outcomes] + [claim("supported", "Ours.", "control")]
    )
    sections = dict(part.split("\n", 1) for part in text.split("## ")[1:])
    assert list(sections)[:4] == [
        "What holds here (1 of 4 claims)",
        "What does not hold here (1 of 4 claims)",
        "What stays open (1 of 4 claims)",
        "What this run cannot judge (1 of 4 claims)",
    ]
    for outcome, body in zip(outcomes, sections.values(), strict=False):
        assert f"Sentence {outcome}." in body
        assert text.count(f"Sentence {outcome}.") == 1
    assert "Ours." in sections["Controls that we add"]
    assert "+2.0 points \\[−1.0, +5.0\\]" in sections["What holds here (1 of 4 claims)"]


def test_purity_and_costs_are_rows():
    text = page([])
    assert "| `language_clean` | 1,200 | 25.0 [20.0, 30.0] |" in text
    assert "| `train_model` | 4 | 10 | 2.5 | 512 |" in text
    assert "| sum | 5 | 12 |" in text


def test_a_study_without_pairs_has_no_section_on_them():
    text = evidence_page("A study", [], [claim("supported", "A sentence.")], {}, {}, [])
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[-3:] == ["## Controls that we add", "## Cost", "## Files"]
    assert "A sentence." in text


def test_reasons_are_escaped():
    assert r"because \*x\*" in page([claim("pending", "A sentence.", difference=None)])


def test_costs_count_the_jobs_that_were_recorded(tmp_path):
    for job, seconds, peak in (("a", 3.5, "100"), ("b/c", 1.5, "-")):
        path = tmp_path / "rule" / f"{job}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t{peak}\n")
    costs = sum_costs(tmp_path, {"rule": ["a", "b/c", "missing"], "other": ["x"]})
    assert costs == {"rule": (2, pytest.approx(5.0), 100.0)}


def test_machine_names_processor_and_memory():
    facts = dict(machine())
    assert "cores" in facts["Machine"]
    assert "GiB" in facts["Machine"]
    assert facts["System"]
