"""The study of DiHT on Conceptual Captions: what it prints, verdicts and audit, against plain arithmetic."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from vlrepro.reporting.answers import DIHT_GCC, QUESTIONS, compare, first_sentence
from vlrepro.tables.audit import Finding, audit
from vlrepro.tables.cells import Cells, SetInfo
from vlrepro.tables.judging import JudgedClaim, judge_claims
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import load_study
from vlrepro.tables.verdicts import Verdict, explain

STUDY = load_study(Path(__file__).parents[1] / "config/papers/diht_gcc.yaml")

# The seven rows as the paper prints them, the averages below the table, and what section 6 says of COCO and Flickr30K.
PRINTED = """62.8 64.1
64.6 65.0
63.3 65.9
62.8 65.1
63.4 66.3
62.5 65.0
61.7 64.3"""
AVERAGE, COCO, FLICKR30K = "63.01 65.1", "49.3 65.3", "78.2 91.1"
RECALL_1 = ("to_pictures_1", "to_texts_1")
RETRIEVAL = (*RECALL_1, "to_pictures_5", "to_texts_5", "to_pictures_10", "to_texts_10")
SIMILAR = {
    "similar_coco_pictures": (COCO, 0),
    "similar_coco_texts": (COCO, 1),
    "similar_flickr30k_pictures": (FLICKR30K, 0),
    "similar_flickr30k_texts": (FLICKR30K, 1),
}


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


@pytest.fixture(scope="module")
def reported() -> dict[str, Verdict]:
    return {entry.claim.id: entry.reported for entry in judge_claims(STUDY, Cells({}, {}, {}), "pocket")}


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return audit(STUDY)


def of_kind(findings: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def test_the_yaml_holds_what_the_paper_prints_digit_by_digit() -> None:
    rows = {row.id: row for row in STUDY.table("table1").rows}
    lines = {f"batch_{number}": line for number, line in enumerate(PRINTED.splitlines(), 1)}
    lines |= {"average": AVERAGE, "coco": COCO, "flickr30k": FLICKR30K}
    assert {name: " ".join(map(str, row.reported)) for name, row in rows.items() if row.reported} == lines
    assert [name for name, row in rows.items() if not row.reported] == ["whole"]
    assert [rows[f"batch_{n}"].label for n in range(1, 8)] == [f"{2000 * n - 2000} to {2000 * n}" for n in range(1, 8)]
    assert rows["average"].mean_of == list(rows)[:7]


def test_columns_are_headed_as_in_the_paper() -> None:
    table = STUDY.table("table1")
    assert [table.column_label(column) for column in table.printed_columns()] == [
        "GCC T2I (Recall@1)",
        "GCC I2T (Recall@1)",
    ]
    assert [column.evaluation for column in table.printed_columns()] == list(RECALL_1)
    assert {row.set for row in table.rows} == {f"gcc_{n}" for n in range(1, 8)} | {
        *("gcc_batches", "gcc", "coco", "flickr30k")
    }


def test_every_claim_has_the_papers_words_and_a_place() -> None:
    for claim in STUDY.claims:
        assert len(claim.quote.split()) >= 5
        assert re.match(r"section \d|abstract", claim.where)
        assert claim.statement.endswith(".")
        assert (claim.test is None) != (claim.untestable is None)
    for entry in STUDY.disagreements:
        assert len({version.quote for version in entry.versions}) >= 2
        assert all(version.quote.strip() and version.where for version in entry.versions)
    assert Counter(claim.kind for claim in STUDY.claims)["control"] == 3


def test_averages_are_recomputed_and_rounding_explains_them(findings: list[Finding]) -> None:
    columns = list(zip(*(numbers(line) for line in PRINTED.splitlines()), strict=True))
    found = of_kind(findings, "average")
    assert len(found) == 2
    for column, stated, finding in zip(columns, AVERAGE.split(), found, strict=True):
        mean = math.fsum(column) / 7
        assert f"{stated} is stated; the mean of the 7 rows is {mean:.2f}, which rounding explains" in finding.text
        assert abs(float(stated) - mean) < 0.005


def test_repeated_cells_are_those_of_a_plain_comparison(findings: list[Finding]) -> None:
    rows = [numbers(line) for line in [*PRINTED.splitlines(), COCO, FLICKR30K]]
    pairs = [(a[column], b[column]) for column in range(2) for a, b in combinations(rows, 2)]
    equal = [a for a, b in pairs if a == b]
    (found,) = of_kind(findings, "repeated")
    assert found.text.startswith(f"{len(equal)} of {len(pairs)} pairs of cells in one column are equal")
    assert all(f" {value} in " in found.text for value in equal)


def test_the_one_number_with_two_decimals_is_found(findings: list[Finding]) -> None:
    words = " ".join([PRINTED, AVERAGE, COCO, FLICKR30K]).split()
    other = [word for word in words if len(word.partition(".")[2]) != 1]
    assert [finding.text.split()[0] for finding in of_kind(findings, "decimals")] == other == ["63.01"]


@pytest.mark.parametrize("name", SIMILAR)
def test_almost_similar_is_within_five_points_on_print(
    reported: dict[str, Verdict], findings: list[Finding], name: str
) -> None:
    reference, column = SIMILAR[name]
    difference = numbers(AVERAGE)[column] - numbers(reference)[column]
    assert reported[name].outcome == ("supported" if abs(difference) <= 5 else "contradicted")
    sign = "+" if difference > 0 else "−"
    assert f"{sign}{abs(difference):.2f} points" in reported[name].reason
    (statement,) = (claim.statement for claim in STUDY.claims if claim.id == name)
    told = [finding for finding in of_kind(findings, "claim") if statement in finding.text]
    assert len(told) == (abs(difference) > 5)


def test_three_of_four_are_not_similar_and_the_links_do_not_fit(reported: dict[str, Verdict]) -> None:
    assert Counter(reported[name].outcome for name in SIMILAR) == {"contradicted": 3, "supported": 1}
    assert reported["valid_links"].outcome == "contradicted"
    for rows in (15840, 14000):
        assert round(rows * 0.8) < 7 * 2000
        assert f"{round(rows * 0.8):,}" in reported["valid_links"].reason


def test_the_paper_prints_nothing_else_to_judge(reported: dict[str, Verdict]) -> None:
    others = {name: verdict.outcome for name, verdict in reported.items() if name not in (*SIMILAR, "valid_links")}
    assert set(others.values()) == {"not testable"}
    assert len(others) == len(STUDY.claims) - 5


def test_every_claim_says_why_it_is_judged_so(reported: dict[str, Verdict]) -> None:
    for claim in STUDY.claims:
        assert explain(reported[claim.id], claim.test, "pictures")


SETS = {"gcc_batches": 0.6, "gcc": 0.3, "coco": 0.4, "flickr30k": 0.5, "retrieval_seen": 0.6, "retrieval_unseen": 0.3}
GAINS = {"diht_all": 0.2, "diht": 0.25, "cln_resnet50_hn_nce": 0.1, "diht_cat": -0.1, "diht_distillation": -0.1}
MODELS = ("cln_resnet50", "clip_long", "given_clip", "diht_hn_nce_cat", *GAINS)


def cells_of(gains: dict[str, float], **levels: float) -> Cells:
    """300 examples a set and 5 seeds, right in a share of them that is the set's level and the recipe's gain."""
    generator, scores = np.random.default_rng(0), {}
    shares = SETS | levels
    for evaluation in (*RETRIEVAL, "zero_shot_top1", "zero_shot_top5"):
        names = shares if evaluation in RETRIEVAL else {"imagenet": 0.4}
        draws = {name: generator.random((5, 300)) for name in names}  # the same for all recipes: differences are paired
        scores[evaluation] = {
            (recipe, name): Scores((draws[name] < share + gains.get(recipe, 0)).astype(float), tuple(range(5)))
            for recipe in MODELS
            for name, share in names.items()
        }
    sets = {
        key: [SetInfo(name, name, 0, 300, 0.01) for name in dict.fromkeys(name for _, name in found)]
        for key, found in scores.items()
    }
    return Cells(scores, sets, {})


def judged(cells: Cells, scale: str = "paper") -> dict[str, JudgedClaim]:
    return {entry.claim.id: entry for entry in judge_claims(STUDY, cells, scale, resamples=300)}


def test_claims_on_runs_follow_the_cells() -> None:
    found = {name: entry.ours.outcome for name, entry in judged(cells_of(GAINS)).items()}
    names = ("beats_clip_pictures", "beats_clip_zero_shot", "beats_clip_long", "hard_negatives_pictures")
    assert {found[name] for name in (*names, "hard_negatives_zero_shot", "batches_flatter", "learned")} == {"supported"}
    assert {found[name] for name in ("filter_pictures", "filter_zero_shot", "distillation_pictures")} == {
        "contradicted"
    }
    assert found["robust"] == "contradicted"
    assert found["similar_coco_pictures"] == "contradicted"  # 85 and 65 percent
    assert found["dead_links"] == found["not_trained_on"] == found["identical_loss"] == "not testable"


def test_a_model_that_loses_nothing_on_the_unseen_kind_is_robust() -> None:
    entries = judged(cells_of(GAINS, retrieval_unseen=0.7))
    assert entries["robust"].ours.outcome == "supported"


def test_sizes_of_differences_are_not_judged_at_a_small_scale() -> None:
    outcomes = {name: entry.ours.outcome for name, entry in judged(cells_of(GAINS), "pocket").items()}
    assert {outcomes[name] for name in SIMILAR} == {"not testable"}
    assert outcomes["hard_negatives_pictures"] == "supported"


def test_short_answers_are_mean_differences_over_whole_galleries() -> None:
    assert QUESTIONS["diht_gcc"] == DIHT_GCC
    cells = cells_of(GAINS)
    answers = compare(cells, DIHT_GCC, ["to_pictures_1"], resamples=200)
    assert [question.words for question in answers] == [question.words for question in DIHT_GCC]
    for question, rows in answers.items():
        assert [comparison for comparison, _ in rows] == list(question.comparisons)
        for comparison, found in rows:
            assert tuple(found) == question.evaluations
            for evaluation, difference in found.items():
                means = [
                    np.mean([cells.scores[evaluation][recipe, name].values.mean() for name in question.sets])
                    for recipe in (comparison.first, comparison.second)
                ]
                assert difference.value == pytest.approx(means[0] - means[1])
    titles = {name: entry.title for name, entry in STUDY.evaluations.items()}
    first = next(iter(answers.values()))[0][1]["to_pictures_1"]
    assert first_sentence(answers, titles).startswith(
        f"All three (DiHT) against InfoNCE. Text to image, recall at 1: better (+{100 * first.value:.1f} points ["
    )


def test_recipes_of_the_answers_are_rows_of_the_tables() -> None:
    rows = {recipe for table in STUDY.tables for row in table.rows for recipe in row.all_recipes()}
    for question in DIHT_GCC:
        assert {name for entry in question.comparisons for name in entry.recipes()} <= rows
        assert set(question.evaluations) <= set(STUDY.evaluations)
