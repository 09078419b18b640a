"""Tables whose rows are data sets: their cells, comparisons across sets, the audit of a stated mean, ledgers."""

import numpy as np
import pytest
from pydantic import ValidationError

from vlrepro.errors import UserError
from vlrepro.tables.audit import audit
from vlrepro.tables.cells import Cells, SetInfo
from vlrepro.tables.claims import LedgerTest
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.layout import build_table
from vlrepro.tables.ledgers import judge_ledger
from vlrepro.tables.rendering import to_csv
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import Study, load_study

SETS = [SetInfo(name, name.title(), 0, 60, 0.02) for name in ("first", "second", "mean", "other")]
LEVELS = {"first": 0.6, "second": 0.6, "mean": 0.6, "other": 0.2}


def values():
    rows = [
        {"id": "first", "label": "0 to 30", "recipe": "model", "set": "first", "reported": [60.1, 61.0]},
        {"id": "second", "label": "30 to 60", "recipe": "model", "set": "second", "reported": [62.0, 63.0]},
        {"id": "mean", "label": "Mean", "recipe": "model", "set": "mean", "mean_of": ["first", "second"]}
        | {"reported": [61.05, 62.5]},
        {"id": "other", "label": "Other", "recipe": "model", "set": "other", "reported": [40.0, 62.0]},
    ]
    columns = [
        {"name": "t2i", "title": "T2I", "evaluation": "t2i"},
        {"name": "i2t", "title": "I2T", "evaluation": "i2t"},
    ]
    words = {"caption": "C", "where": "page 1", "metric": "recall"}
    text = {"examples": "pictures", "shows": "what it shows"}
    return {
        "slug": "sets",
        "title": "Sets",
        "setup": "a model",
        "evaluations": {name: {"title": name.upper()} | text for name in ("t2i", "i2t")},
        "tables": [
            {
                "name": "table1",
                "number": 1,
                "title": "By set",
                "model": "Model",
                "evaluations": ["t2i", "i2t"],
                "columns": columns,
            }
            | {"rows": rows}
            | words
        ],
        "claims": [],
    }


def claim(pair, name="claim", **test):
    chosen = {"kind": "scores", "over": "mean", "direction": "above", "pairs": [pair]} | test
    words = {"quote": "q", "where": "w", "statement": "s"}
    return {"id": name, "kind": "claim", "tables": ["table1"], "test": chosen} | words


@pytest.fixture
def cells():
    generator = np.random.default_rng(5)
    scores = {
        evaluation: {
            ("model", info.name): Scores((generator.random((3, 60)) < LEVELS[info.name]).astype(float), (0, 1, 2))
            for info in SETS
        }
        for evaluation in ("t2i", "i2t")
    }
    return Cells(scores, dict.fromkeys(("t2i", "i2t"), SETS), {})


def test_a_row_is_its_own_set(cells):
    study = Study.model_validate(values())
    table = build_table(study, "table1", cells, "pocket")
    ours = table.parts[0]
    assert [row.id for row in ours.rows] == ["first", "second", "mean", "other"]
    for row in ours.rows:
        for column, cell in zip(("t2i", "i2t"), row.cells, strict=True):
            assert cell.value == pytest.approx(cells.scores[column]["model", row.id].values.mean())
    assert "60.1" in to_csv(table)
    assert any("First for 0 to 30" in note for note in table.footnotes)
    assert not any("0 classes" in note for note in table.footnotes)


def test_rows_of_different_sets_are_compared_on_our_cells_and_on_print(cells):
    study = Study.model_validate(values() | {"claims": [claim(["mean", "other"], evaluations=["t2i"])]})
    (judged,) = judge_claims(study, cells, "paper", resamples=400)
    scored = cells.scores["t2i"]
    expected = scored["model", "mean"].values.mean() - scored["model", "other"].values.mean()
    assert judged.ours.difference.value == pytest.approx(expected)
    assert judged.ours.outcome == judged.reported.outcome == "supported"
    assert "+21.05" in judged.reported.reason


def test_sets_are_independent_samples_not_paired(cells):
    """The interval of a difference of two sets is about that of independent means, wider than either alone."""
    study = Study.model_validate(values() | {"claims": [claim(["first", "other"], evaluations=["t2i"])]})
    (judged,) = judge_claims(study, cells, "paper", resamples=2000)
    found = judged.ours.difference
    one_seed = [cells.scores["t2i"]["model", name].values.mean(0) for name in ("first", "other")]
    error = np.sqrt(sum(np.var(row) / len(row) for row in one_seed))
    assert found.high - found.low > 2 * 1.96 * error * 0.8


def test_almost_equal_has_a_verdict_at_the_papers_scale_alone(cells):
    entry = claim(["mean", "other"], direction="equal", tolerance=5.0, evaluations=["i2t"])
    study = Study.model_validate(values() | {"claims": [entry]})
    (small,), (full,) = (judge_claims(study, cells, scale, resamples=200) for scale in ("pocket", "paper"))
    assert small.ours.outcome == "not testable"
    assert full.ours.outcome == "contradicted"
    assert full.reported.outcome == "supported"  # 62.5 and 62.0


def test_the_audit_recomputes_a_stated_mean():
    found = [finding for finding in audit(Study.model_validate(values())) if finding.kind == "average"]
    assert len(found) == 2
    assert "61.05 is stated; the mean of the 2 rows is 61.05, which rounding explains" in found[0].text
    assert "62.5 is stated; the mean of the 2 rows is 62.00, which rounding does not explain" in found[1].text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["tables"][0]["rows"][1].pop("set"), "set is for grids, and for all of their rows or none"),
        (lambda v: v["tables"][0]["columns"][0].update(set="first"), "needs a set, unless all rows name theirs"),
        (lambda v: v["tables"][0]["rows"][2].update(mean_of=["nobody"]), "'nobody' is not a row"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    study = values()
    change(study)
    with pytest.raises(ValidationError, match=words):
        Study.model_validate(study)


def ledger(dead, total=1000):
    return {"urls": total, "ok": total - dead, "reasons": {"http_404": dead - 5, "dns": 5}}


@pytest.mark.parametrize(("dead", "outcome"), [(200, "supported"), (151, "supported"), (90, "contradicted")])
def test_dead_links_are_counted_in_the_ledger(dead, outcome):
    test = LedgerTest(kind="ledger", pack="cc", dead=[0.15, 0.25])
    found = judge_ledger(test, {"cc": ledger(dead)})
    assert found.outcome == outcome
    assert f"Of 1,000 links {dead:,} ({dead / 10:.1f} %)" in found.reason
    assert f"http_404 ({dead - 5})" in found.reason
    assert judge_ledger(test, {}).outcome == "not testable"


def test_the_papers_own_numbers_of_links_do_not_fit():
    study = load_study("config/papers/diht_gcc.yaml")
    (finding,) = [f for f in audit(study) if f.kind == "claim" and "12,672" in f.text]
    assert 15840 * 0.8 == 12672 < 14000
    assert "14,000 pictures are used" in finding.text


def test_fact_arguments_are_checked():
    study = values() | {
        "claims": [
            {"id": "c", "kind": "claim", "quote": "q", "where": "w", "statement": "s"}
            | {"test": {"kind": "fact", "fact": "links_left", "arguments": {"rows": 10}}}
        ]
    }
    with pytest.raises(UserError, match="fact links_left"):
        judge_claims(Study.model_validate(study), Cells({}, {}, {}), "paper")
