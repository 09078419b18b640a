"""The audit finds what was put into a crafted study, and nothing in a clean one."""

from __future__ import annotations

import json
import math
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.tables.audit import Finding, audit, check_averages, check_repeats, decimals
from vlrepro.tables.audit_rendering import audit_to_html, audit_to_json, audit_to_markdown
from vlrepro.tables.claims import Version
from vlrepro.tables.study import Disagreement, Mention, PaperTable, Study, load_study

ROOT = Path(__file__).parents[1]
FILE = ROOT / "config/papers/language_guidance.yaml"
STUDY = load_study(FILE)
HOSTILE = "<script>alert('1')</script> | a\nb"


def table(reported: list[list[float | None]], average: bool = True, **more: object) -> PaperTable:
    """A printed table with four data sets, an average where asked for, and rows a, b, c, ..."""
    columns = [{"name": f"c{i}", "title": f"C{i}"} for i in range(4)]
    columns += [{"name": "avg", "title": "Avg"}] if average else []
    values = {
        "name": "table1",
        "number": 1,
        "title": "T",
        "caption": "T",
        "where": "here",
        "evaluations": ["linear"],
        "metric": "accuracy",
        "columns": columns,
        "rows": [{"id": x, "label": x.upper(), "reported": row} for x, row in zip("abcdef", reported, strict=False)],
    }
    return PaperTable.model_validate(values | more)


def study(printed: PaperTable, **more: object) -> Study:
    bare = {"tables": [printed], "claims": [], "mentions": [], "disagreements": [], "figures": []}
    return STUDY.model_copy(update=bare | more)


def found(printed: PaperTable, kind: str) -> list[tuple[str, str]]:
    return [(finding.place, finding.text) for finding in audit(study(printed)) if finding.kind == kind]


CLEAN = [[10.0, 20.0, 30.0, 40.0, 25.0], [11.0, 22.0, 33.0, 41.0, 26.8]]


def test_a_clean_table_has_no_findings() -> None:
    assert audit(study(table(CLEAN))) == []


def test_a_wrong_average_is_found() -> None:
    [(place, text)] = found(table([CLEAN[0], [11.0, 22.0, 33.0, 41.0, 27.9]]), "average")
    assert place == "Table 1, B, Avg"
    assert "27.9 is printed" in text
    assert "26.75" in text


def test_a_blank_average_says_what_it_would_be() -> None:
    [(_, text)] = found(table([CLEAN[0], [11.0, None, 33.0, 41.0, None]]), "average")
    assert "(1 blank cells left out) is 28.33." in text
    assert found(table([[None] * 5, CLEAN[0]]), "average") == []


def printed_numbers(draw: st.DrawFn) -> list[float]:
    return draw(st.lists(st.integers(0, 1000).map(lambda tenth: tenth / 10), min_size=4, max_size=4))


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from([0, 1, 2]))
def test_an_average_rounded_from_exact_cells_is_never_a_finding(data: st.DataObject, places: int) -> None:
    """The paper averages exact numbers and rounds cells and average separately."""
    exact = data.draw(st.lists(st.floats(0, 100), min_size=4, max_size=4))
    cells = [round(value, 1) for value in exact]
    row = [*cells, round(math.fsum(exact) / 4, places or None)]
    assert list(check_averages(table([row]))) == []


@settings(max_examples=80, deadline=None)
@given(st.data(), st.floats(0.2, 30))
def test_an_average_off_by_more_than_rounding_is_a_finding(data: st.DataObject, off: float) -> None:
    cells = printed_numbers(data.draw)
    row = [*cells, round(math.fsum(cells) / 4 + off, 1)]
    assert len(list(check_averages(table([row])))) == 1


def test_blank_cells_rows_blocks_and_columns_are_counted() -> None:
    rows = [
        {"id": "a", "label": "A", "reported": [1.0, 2.0, 3.0, 4.0, None]},
        {"id": "b", "label": "B", "reported": [None] * 5},
        {"id": "c", "label": "C", "block": "X", "reported": [None] * 5},
        {"id": "d", "label": "D", "block": "X", "reported": [None] * 5},
        {"id": "e", "label": "E", "recipe": "simclr"},
    ]
    assert found(table([], rows=rows), "blank") == [
        ("Table 1", "16 of 20 cells are blank."),
        ("Table 1, block X", "The whole block is blank."),
        ("Table 1, B", "The whole row is blank."),
        ("Table 1, column Avg", "The whole column is blank."),
    ]


def test_repeated_cells_and_rows_are_counted_against_chance() -> None:
    rows = [[10.0, 20.0, 30.0, 40.0], [10.0, 20.0, 30.0, 41.0], [15.0, 25.0, 39.0, 44.0]]
    texts = dict(found(table(rows, average=False), "repeated"))
    assert "3 of 12 pairs of cells in one column are equal (C0 10.0 in A and B; " in texts["Table 1"]
    expected = sum(3 / (spread / 0.1 + 1) for spread in (5, 5, 9, 4))
    assert f"{expected:.1f} are expected" in texts["Table 1"]
    assert texts["Table 1, A and B"] == "Equal in 3 of 4 cells: C0, C1, C2."
    assert len(texts) == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5).map(float), min_size=4, max_size=4), min_size=1, max_size=5))
def test_equal_pairs_are_those_of_a_plain_count(rows: list[list[float]]) -> None:
    n = len(rows)
    pairs = sum(rows[i][c] == rows[j][c] for c in range(4) for i in range(n) for j in range(i))
    findings = [finding for finding in check_repeats(table(rows, average=False)) if finding.place == "Table 1"]
    assert [int(finding.text.split()[0]) for finding in findings] == ([pairs] if pairs else [])


def test_other_decimals_and_impossible_values_are_found() -> None:
    printed = table([[26, 20.0, 30.0, 40.0, 29.0], [11.0, 22.25, 33.0, 141.5, 51.94]])
    assert found(printed, "decimals") == [
        ("Table 1, A, C0", "26 is printed with 0 decimals where most cells have 1."),
        ("Table 1, B, C1", "22.25 is printed with 2 decimals where most cells have 1."),
        ("Table 1, B, Avg", "51.94 is printed with 2 decimals where most cells have 1."),
    ]
    assert found(printed, "range") == [("Table 1, B, C3", "141.5 is not between 0 and 100 percent.")]


@pytest.mark.parametrize(("value", "places"), [(26, 0), (26.0, 1), (26.25, 2), (0.1, 1), (100, 0)])
def test_decimals(value: float, places: int) -> None:
    assert decimals(value) == places


def test_sentences_that_disagree_and_what_is_not_printed() -> None:
    versions = [Version(where="section 1", quote="five"), Version(where="section 2", quote="six")]
    mentions = [
        Mention(name=name, where="section 3", quote=f"see {name}") for name in ("Table 1", "Fig. 9", "Figure 1")
    ]
    more = {"disagreements": [Disagreement(about="The number", versions=versions)], "mentions": mentions}
    findings = audit(study(table(CLEAN), **more, figures=["Figure 1"]))
    assert [(finding.kind, finding.place) for finding in findings] == [
        ("disagreement", "section 1"),
        ("reference", "section 3"),
    ]
    assert "section 1: “five”; section 2: “six”" in findings[0].text
    assert findings[1].text == "“Fig. 9” is not printed: “see Fig. 9”."


def test_our_study() -> None:
    findings = audit(STUDY)
    averages = [finding.text for finding in findings if finding.kind == "average"]
    assert [text.split(" is ")[-1] for text in averages] == [
        *("64.13.", "58.75.", "57.42.", "60.14."),
        *("65.80.", "59.82.", "61.12.", "69.16."),
    ]
    texts = {kind: [f.text for f in findings if f.kind == kind] for kind in {f.kind for f in findings}}
    assert texts["decimals"] == ["26 is printed with 0 decimals where most cells have 1."]
    assert "Eurosat 75.2 in VisSimSiam and VisNNCLR" in texts["repeated"][0]
    assert texts["number"] == [
        "No two rows' averages of printed cells differ by the stated 5.2 points; the nearest is +5.38, SimCLR minus"
        " VisSimSiam in table 1."
    ]
    assert any("1 of 10 data sets above 0" in text for text in texts["claim"])
    assert any("PatchCamelyon" in text for text in texts["claim"])
    assert not any("MobileNet" in text for text in texts["claim"])
    assert {"disagreement", "reference", "blank"} <= set(texts)
    assert "range" not in texts


def test_a_stated_number_that_is_printed_is_named() -> None:
    tests = {claim.id: claim for claim in STUDY.claims}
    test = tests["gain_of_five"].test.model_copy(update={"margin": 5.38})
    claim = tests["gain_of_five"].model_copy(update={"test": test})
    [finding] = [f for f in audit(STUDY.model_copy(update={"claims": [claim]})) if f.kind == "number"]
    assert finding.text == "A difference of 5.38 points is that of SimCLR minus VisSimSiam in table 1."


class Texts(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_findings_are_rendered_and_escaped() -> None:
    findings = [Finding("blank", "Table 1", "5 cells are blank."), Finding("claim", HOSTILE, HOSTILE)]
    assert json.loads(audit_to_json(findings))[0] == {"kind": "blank", "place": "Table 1", "text": "5 cells are blank."}
    page = Texts(audit_to_html(findings))
    assert "script" not in page.tags
    assert page.tags.count("tr") == 3
    assert "5 cells are blank." in page.texts
    lines = audit_to_markdown(findings).splitlines()
    assert len(lines) == 4
    assert lines[2] == "| blank | Table 1 | 5 cells are blank. |"
    assert "<script" not in "".join(lines)
    assert "Nothing was found." in audit_to_markdown([])
    assert "Nothing was found." in audit_to_html([])


def test_the_script_writes_all_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [str(tmp_path / f"audit.{ending}") for ending in ("json", "md", "html")]
    monkeypatch.setattr(sys, "argv", ["audit_study.py", "--study", str(FILE), "--output", *outputs])
    runpy.run_path(str(ROOT / "workflow/scripts/audit_study.py"), run_name="__main__")
    assert len(json.loads(Path(outputs[0]).read_text())) == len(audit(STUDY))
    assert Path(outputs[1]).read_text() == audit_to_markdown(audit(STUDY))
    assert Path(outputs[2]).read_text() == audit_to_html(audit(STUDY))
