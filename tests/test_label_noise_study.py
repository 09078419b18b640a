"""The study of label noise: what it prints, against its text; verdicts and audit, against plain arithmetic."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path

import pytest

from vlrepro.tables.audit import Finding, audit
from vlrepro.tables.cells import Cells
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.study import PaperTable, load_study
from vlrepro.tables.verdicts import Verdict, explain

STUDY = load_study(Path(__file__).parents[1] / "config/papers/label_noise.yaml")

# The rows as the paper prints them, copied from its text.
PRINTED = {
    1: """17.01 34.38 16.0 32.39 12.07 26.14
18.84 35.82 15.72 31.99 12.15 26.02
18.52 37.66 14.88 31.07 11.46 25.57
20.44 39.23 18.01 34.98 14.1 29.17
20.39 39.90 16.09 33.02 12.55 27.03
21.17 38.78 17.73 34.20 13.86 28.68
21.14 39.65 17.31 34.48 12.07 26.14""",
    2: """18.84 35.82 18.52 37.66 15.49 32.23 0.1 0.5 0.1 0.5
20.44 39.23 20.39 39.90 18.89 38.40 14.28 32.29 0.1 0.5
21.17 38.78 21.14 39.65 20.24 39.17 18.31 36.92 0.1 0.5""",
    3: """15.24 31.0 9.84 22.49 2.97 11.3 22.14 42.61
16.33 33.09 10.31 23.01 2.63 9.65 21.16 38.87
17.92 36.51 12.28 26.58 4.17 14.96 25.82 47.30
18.50 36.32 12.77 27.10 3.65 14.01 26.0 47.8""",
    4: """80.67 48.62 88.55 77.91 56.54 56.97 24.54 61.68 55.74 58.23 72.91 19.57 80.09 51.58 59.54
78.47 43.77 89.86 76.70 54.46 61.65 24.06 61.68 54.20 57.37 68.90 19.09 77.52 50.72 58.46
80.36 47.12 89.64 77.65 56.43 59.04 24.18 60.53 54.04 58.52 73.6 18.78 80.19 52.28 59.45
81.15 54.31 89.09 78.37 57.72 59.52 25.53 63.78 55.24 60.56 76.41 20.99 81.62 53.61 61.28""",
}


def texts(number: int) -> list[list[str]]:
    return [line.split() for line in PRINTED[number].splitlines()]


def numbers(number: int) -> list[list[float]]:
    return [[float(text) for text in row] for row in texts(number)]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


@pytest.fixture(scope="module")
def reported() -> dict[str, Verdict]:
    return {entry.claim.id: entry.reported for entry in judge_claims(STUDY, Cells({}, {}, {}), "pocket")}


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return audit(STUDY)


def of_kind(findings: list[Finding], kind: str) -> dict[str, str]:
    return {finding.place: finding.text for finding in findings if finding.kind == kind}


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_yaml_holds_what_the_paper_prints_digit_by_digit(number: int) -> None:
    table = STUDY.table(f"table{number}")
    rows = [[str(cell) for cell in row.reported] for row in table.rows if row.reported is not None]
    assert rows == texts(number)


def test_columns_are_headed_as_in_the_paper() -> None:
    def heads(name: str) -> list[str]:
        table = STUDY.table(name)
        return [table.column_label(column) for column in table.printed_columns()]

    encoders, shifts = (
        ("ResNet-50", "ViT-B/16", "ViT-B/32"),
        ("ImageNetV2", "ImageNetSketch", "ImageNet-A", "ImageNet-R"),
    )
    assert heads("table1") == [f"{encoder} {top}" for encoder in encoders for top in ("Top1", "Top5")]
    assert heads("table2") == [f"γ = 0.{rate} {top}" for rate in (1, 3, 5, 7, 9) for top in ("Top1", "Top5")]
    assert heads("table3") == [f"{shift} {top}" for shift in shifts for top in ("Top1", "Top5")]
    assert heads("table4")[-2:] == ["ImageNet-1K", "Average"]


def test_recipes_are_named_by_encoder_strategy_and_rate() -> None:
    """Each row's label and each column's variant say what the recipe must be called."""
    for row in STUDY.table("table1").rows:
        strategy, _, rate = row.label.partition(", γ = ")
        ending = f"_{strategy.lower().replace('-', '')}_{rate.replace('.', '')}" if rate else ""
        assert row.recipes == {name: f"cln_{name}{ending}" for name in ("resnet50", "vit_b_16", "vit_b_32")}
    for row in STUDY.table("table2").rows:
        ending = "" if row.id == "clip" else f"_{row.id}_{{}}"
        assert row.recipes == {
            f"r{rate}": f"cln_resnet50{ending.format(rate)}" for rate in ("01", "03", "05", "07", "09")
        }
    for row in [*STUDY.table("table3").rows, *STUDY.table("table4").rows]:
        assert row.recipe == ("cln_resnet50" if row.id == "clip" else f"cln_resnet50_{row.id}_01")


def test_the_same_cells_are_the_same_in_tables_1_and_2(findings: list[Finding]) -> None:
    first, second = numbers(1), numbers(2)
    pairs = [(first[1 + 2 * s + r][t], second[s][2 * r + t]) for s in range(3) for r in range(2) for t in range(2)]
    assert all(a == b for a, b in pairs)
    assert of_kind(findings, "shared") == {
        "Table 1 and Table 2": f"{len(pairs)} cells are in both tables, and all are equal."
    }


def test_averages_of_table_4_recompute_and_are_no_finding(findings: list[Finding]) -> None:
    for *cells, average in numbers(4):
        assert abs(mean(cells) - average) <= 0.005 + 0.005
    assert of_kind(findings, "average") == {}


def test_repeated_cells_are_those_of_a_plain_comparison(findings: list[Finding]) -> None:
    repeats = {
        (number, a, b, column)
        for number in (1, 3, 4)
        for a, b in combinations(range(len(numbers(number))), 2)
        for column, (x, y) in enumerate(zip(numbers(number)[a], numbers(number)[b], strict=True))
        if x == y
    }
    assert repeats == {(1, 0, 6, 4), (1, 0, 6, 5), (4, 0, 1, 7)}
    found = of_kind(findings, "repeated")
    assert set(found) == {"Table 1", "Table 1, CLIP and Secondary, γ = 0.3", "Table 4"}
    assert found["Table 1, CLIP and Secondary, γ = 0.3"] == "Equal in 2 of 6 cells: ViT-B/32 Top1, ViT-B/32 Top5."
    assert "OxfordPets 61.68 in CLIP and Re-selection" in found["Table 4"]


def test_cells_at_chance_are_one_finding_and_no_repeats(findings: list[Finding]) -> None:
    count = sum(text == chance for row in texts(2) for text, chance in zip(row, ["0.1", "0.5"] * 5, strict=True))
    found = of_kind(findings, "chance")
    assert list(found) == ["Table 2"]
    assert found["Table 2"].startswith(f"{count} cells are exactly chance: γ = 0.7 Top1 0.1 in Re-selection; ")


def test_other_decimals_are_those_of_the_print(findings: list[Finding]) -> None:
    short = sorted(
        text
        for number in (1, 2, 3, 4)
        for row in texts(number)
        for text in row
        if len(text.partition(".")[2]) != 2 and text not in ("0.1", "0.5")
    )
    found = sorted(finding.text.split()[0] for finding in findings if finding.kind == "decimals")
    assert found == short == sorted(["16.0", "14.1", "31.0", "11.3", "26.0", "47.8", "73.6"])


def test_what_the_text_sends_its_reader_to_and_is_not_there(findings: list[Finding]) -> None:
    assert list(of_kind(findings, "reference")) == ["Table 2, caption"]


def gains(column: int) -> list[float]:
    baseline, *rows = numbers(1)
    return [row[column] - baseline[column] for row in rows]


def test_the_stated_average_gain_is_not_that_of_the_printed_cells(reported: dict[str, Verdict]) -> None:
    every = [gain for column in (0, 2, 4) for gain in gains(column)]
    assert mean(every) < 2
    found = reported["average_gain"]
    assert found.outcome == "contradicted"
    stated = re.findall(r"(?:is|ResNet-50 Top1|ViT-B/16 Top1|ViT-B/32 Top1) \+(\d\.\d\d)", found.reason)
    expected = [f"{mean(values):.2f}" for values in (every, gains(0), gains(2), gains(4))]
    assert stated == expected
    helped = ("average_helps", "helps_resnet50", "helps_vit_b_16", "helps_vit_b_32")
    assert {reported[name].outcome for name in helped} == {"supported"}


def test_every_and_most_are_counted_over_rows_and_encoders(reported: dict[str, Verdict]) -> None:
    up = sum(gain > 0 for column in (0, 2, 4) for gain in gains(column))
    found = reported["every_augmentation"]
    assert (found.outcome, found.counts.signed, found.counts.columns) == ("contradicted", up, 18)
    assert (reported["most_augmentations"].outcome, up > 9) == ("supported", True)
    assert "Re-selection, γ = 0.1 minus CLIP, ViT-B/16 Top1 −0.3" in found.reason
    assert found.reason.count("minus CLIP") == 18 - up


@pytest.mark.parametrize(("claim", "column"), [("gradual_degradation", 0), ("gradual_degradation_top5", 1)])
def test_steps_of_the_noise_rate(reported: dict[str, Verdict], claim: str, column: int) -> None:
    falls = [row[2 * step + 2 + column] < row[2 * step + column] for row in numbers(2) for step in range(3)]
    found = reported[claim]
    assert (found.counts.signed, found.counts.columns) == (sum(falls), 9)
    assert found.outcome == ("supported" if all(falls) else "contradicted")


def test_failing_is_chance_on_print(reported: dict[str, Verdict]) -> None:
    assert reported["fails_at_09"].outcome == reported["reselection_fails_at_07"].outcome == "supported"
    assert reported["learned"].outcome == "supported"
    explained = explain(reported["fails_at_09"], None, "")
    assert "6 of 6 cells are no more than 1 points above chance" in explained


def test_shift_and_probe_verdicts_follow_the_printed_cells(reported: dict[str, Verdict]) -> None:
    baseline, *others = numbers(3)
    signs = [row[c] > baseline[c] for row in others for c in range(8)]
    found = reported["robustness_every"]
    assert (found.counts.signed, found.counts.columns, found.outcome) == (sum(signs), 24, "contradicted")
    probe = [row[:-1] for row in numbers(4)]
    differences = [mean(row) - mean(probe[0]) for row in probe[1:]]
    names = ("probe_reselection", "probe_permutation")
    assert [round(d, 2) for d in differences[:2]] == [-1.08, -0.09]
    assert [reported[name].outcome for name in names] == ["contradicted", "contradicted"]
    assert all(f"is −{abs(d):.2f} points" in reported[n].reason for n, d in zip(names, differences, strict=False))
    assert reported["secondary_probe"].difference.value == pytest.approx(differences[2] / 100)
    assert reported["secondary_probe"].difference.covers == "data sets"


def test_a_grids_average_has_its_columns_as_the_sample(reported: dict[str, Verdict]) -> None:
    stats = pytest.importorskip("scipy.stats")
    rows = numbers(3)
    oracle = stats.ttest_rel([rows[3][c] for c in (0, 2, 4, 6)], [rows[0][c] for c in (0, 2, 4, 6)])
    found = reported["robustness_secondary"].difference
    ends = oracle.confidence_interval(0.95)
    assert (100 * found.low, 100 * found.high) == pytest.approx((ends.low, ends.high))
    assert found.covers == "columns"
    assert reported["robustness_secondary"].outcome == ("supported" if ends.low > 0 else "undecided")


def test_every_claim_is_judged_or_says_why_not(reported: dict[str, Verdict]) -> None:
    for claim in STUDY.claims:
        assert explain(reported[claim.id], claim.test, "test images")
    assert reported["no_overhead"].reason == "The paper prints no times."


def test_added_tables_cross_what_they_say() -> None:
    def recipes(table: PaperTable) -> list[str | None]:
        return [row.recipe for row in table.rows]

    crossed = recipes(STUDY.table("noise_captions"))
    assert [name.replace("_clean", "") for name in crossed[7:]] == crossed[:7]
    assert all("_clean" in name for name in crossed[7:])
    assert (
        recipes(STUDY.table("noise_probes")) == recipes(STUDY.table("noise_prompts")) == recipes(STUDY.table("table4"))
    )
