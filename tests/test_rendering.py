"""Every format read back by an independent reader, with hostile texts in every place."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.tables.cells import Cells, ModelSize, SetInfo
from vlrepro.tables.claim_rendering import claims_to_html, claims_to_json, claims_to_markdown
from vlrepro.tables.claims import Version
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.layout import build_table
from vlrepro.tables.parts import Cell, Column, Part, Row, Table
from vlrepro.tables.rendering import (
    CSV_COLUMNS,
    show,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import load_study

STUDY = load_study(Path(__file__).parents[1] / "config/papers/language_guidance.yaml")
SETS = [SetInfo("noto", "Noto", 25, 400, 0.04), SetInfo("clipart", "Clip art", 44, 400, 1 / 44)]
NOTHING = Cells({}, {}, {})
HOSTILE = "<script>alert('1')</script> & 50% a_b #1 $x$ {y} ~^ \\par | *b* [0] \"q\"\nnew"
VOID = {"br"}
TABLE_TAGS = {"section", "h3", "table", "caption", "thead", "tbody", "tr", "th", "td", "span", "ul", "li"}

DONE = Cell("done", 0.415, 0.398, 0.4321, 3, "seeds and examples")
CELLS = (DONE, Cell("done", 0.5, 0.25, 0.75, 1, "examples"), Cell("pending"), Cell("not run"))
PRINTED = (Cell("printed", 0.612), Cell("blank"), Cell("printed", 0.26), Cell("printed", 0.0))
SIGNS = (
    Cell("done", 0.034, 0.012, 0.056, 3, "seeds and examples"),
    Cell("done", -0.034, -0.056, -0.012, 3, "seeds and examples"),
    Cell("done", -0.0001, -0.03, 0.03, 3, "seeds and examples"),
    Cell("pending"),
)


def table(text: str = "plain") -> Table:
    columns = tuple(Column(f"c{i}", f"{text} {i}") for i in range(4))
    parts = (
        Part("ours", f"ours {text}", columns, (Row("a", f"A {text}", None, CELLS), Row("b", "B", text, CELLS))),
        Part("difference", f"differences {text}", columns, (Row("a-b", f"A minus B {text}", None, SIGNS),)),
        Part("paper", f"paper {text}", columns, (Row("a", f"A {text}", None, PRINTED), Row("b", "B", text, PRINTED))),
    )
    return Table("slug", text, "table1", text, text, "pocket", parts, (), (text, "▲ higher"))


def real(name: str = "table1") -> Table:
    return build_table(STUDY, name, cells(), "pocket", resamples=50)


def cells() -> Cells:
    names = ("linear", "few_shot")
    return Cells(dict.fromkeys(names, scores()), dict.fromkeys(names, SETS), {"simclr": ModelSize(1234567, 256)})


def scores() -> dict[tuple[str, str], Scores]:
    generator = np.random.default_rng(0)
    return {
        (recipe, entry.name): Scores((generator.random((3, 40)) < 0.5).astype(float), (0, 1, 2))
        for recipe in ("simclr", "lgsimclr")
        for entry in SETS
    }


class Page(HTMLParser):
    """Checks that tags nest and keeps the texts of rows, captions and scopes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def latex_is_balanced(text: str) -> bool:
    depth = 0
    for character in re.sub(r"\\[\\{}%]", "", text):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    begun = re.findall(r"\\begin\{(\w+)\}", text)
    return depth == 0 and sorted(begun) == sorted(re.findall(r"\\end\{(\w+)\}", text))


def test_show() -> None:
    ours, differences, paper = table().parts
    assert [show(cell, ours).value for cell in CELLS] == ["41.5", "50.0", "pending", "not run"]
    assert show(CELLS[0], ours).interval == "[39.8, 43.2]"
    assert [show(cell, ours).note for cell in CELLS] == ["", "n=1", "", ""]
    assert [show(cell, paper).value for cell in PRINTED] == ["61.2", "–", "26.0", "0.0"]
    assert [show(cell, differences).value for cell in SIGNS] == ["+3.4", "−3.4", "0.0", "pending"]
    assert [show(cell, differences).sign for cell in SIGNS] == ["higher", "lower", "undecided", ""]
    assert [show(cell, differences).symbol for cell in SIGNS] == ["▲", "▼", "○", ""]
    assert show(SIGNS[1], differences).interval == "[−5.6, −1.2]"


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_csv_reads_back(text: str) -> None:
    frame = pd.read_csv(io.StringIO(to_csv(table(text))), keep_default_na=False)
    assert tuple(frame.columns) == CSV_COLUMNS
    assert len(frame) == 5 * 4
    assert set(frame["table"]) == {"slug_table1"}
    assert frame["row"][0] == f"A {text}"
    assert frame["column"][1] == f"{text} 1"
    assert list(frame["block"].unique()) == ["", text, "paired difference"]
    assert dict(frame["source"].value_counts()) == {"ours": 12, "paper": 8}
    numbers = pd.read_csv(io.StringIO(to_csv(table(text))))
    assert list(numbers.loc[0, ["value", "low", "high"]]) == [41.5, 39.8, 43.21]
    assert numbers.loc[0, "n_seeds"] == 3
    assert numbers.loc[numbers["status"].isin(["pending", "not run", "blank"]), "value"].isna().all()
    assert list(numbers.loc[numbers["source"] == "paper", "value"].dropna()) == [61.2, 26.0, 0.0] * 2


def test_csv_of_the_paper_is_exactly_what_it_prints() -> None:
    frame = pd.read_csv(io.StringIO(to_csv(real())))
    paper = frame[(frame["source"] == "paper") & (frame["row"] == "SimCLR")]
    assert list(paper["value"].dropna()) == STUDY.table("table1").row("simclr").reported[:-1]
    assert paper["status"].iloc[-1] == "blank"


def test_csv_of_a_summary_table_has_averages_and_single_sets() -> None:
    frame = pd.read_csv(io.StringIO(to_csv(real("backbones"))))
    simclr = frame[(frame["row"] == "SimCLR") & (frame["block"] == "Basic blocks")]
    assert list(zip(simclr["evaluation"].fillna(""), simclr["column"], strict=True)) == [
        ("", "Backbone parameters"),
        ("", "Feature width"),
        ("Linear probe", "Avg"),
        ("Few-shot", "Avg"),
        *(("Linear probe", entry.title) for entry in SETS),
        *(("Few-shot", entry.title) for entry in SETS),
    ]
    assert list(simclr["value"][:2]) == [1234567, 256]
    done = frame[(frame["block"] == "paired difference") & (frame["status"] == "done")]
    assert list(done["column"]) == ["Avg", "Avg", "Noto", "Clip art", "Noto", "Clip art"]


@pytest.mark.parametrize("render", [to_markdown, to_latex, to_html])
def test_counts_are_whole_numbers_and_details_stay_in_the_csv(render: object) -> None:
    text = render(real("backbones"))
    assert "1,234,567" in text
    assert "123,456,700" not in text
    assert "| Noto |" not in text.split("Data sets")[0]


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_html_nests_and_has_every_cell(text: str) -> None:
    page = Page(to_html(table(text)))
    line = " ".join(text.split())
    assert page.names() <= {*TABLE_TAGS, *VOID}
    assert [len(row) for row in page.rows] == [5, 5, 1, 5, 5, 5, 5, 5, 1, 5]
    assert page.rows[0] == ["Model", *(f"{line} {i}" for i in range(4))]
    assert page.rows[1] == [f"A {line}", "41.5[39.8, 43.2]", "50.0[25.0, 75.0]n=1", "pending", "not run"]
    assert page.rows[2] == [line]
    assert page.rows[5][1:] == [
        "+3.4[+1.2, +5.6]▲ higher",
        "−3.4[−5.6, −1.2]▼ lower",
        "0.0[−3.0, +3.0]○ undecided",
        "pending",
    ]
    assert page.rows[7][1:] == ["61.2", "–", "26.0", "0.0"]


def test_html_headers_have_scopes_and_tables_captions() -> None:
    page = Page(to_html(real()))
    assert all(attributes.get("scope") in ("col", "row", "rowgroup") for tag, attributes in page.tags if tag == "th")
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") == 3
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert "pending" in {attributes.get("class") for tag, attributes in page.tags if tag == "td"}


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_markdown_has_a_pipe_for_every_column(text: str) -> None:
    lines = to_markdown(table(text)).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {6}
    assert len(rows) == 3 * 2 + 5 + 2
    assert "<script" not in "".join(lines)
    assert any("41.5 [39.8, 43.2] | 50.0 [25.0, 75.0] (n=1) | pending | not run |" in line for line in rows)
    assert any("+3.4 [+1.2, +5.6] ▲ higher | −3.4 [−5.6, −1.2] ▼ lower |" in line for line in rows)


@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_latex_rows_have_every_cell_and_specials_are_escaped(text: str) -> None:
    latex = to_latex(table(text))
    assert latex_is_balanced(latex)
    rows = [line for line in latex.splitlines() if line.endswith(r" \\")]
    cells = [len(re.findall(r"(?<!\\)&", line)) for line in rows if "multicolumn" not in line]
    assert set(cells) == {4}
    assert len(cells) == 3 + 5
    assert latex.count(r"\toprule") == latex.count(r"\midrule") == latex.count(r"\bottomrule") == 3
    body = latex.split("\n", 1)[1]
    assert not re.search(r"(?<!\\)[#_]", body.replace("tab:slug", ""))
    assert r"\shortstack{41.5\\{\scriptsize {[}39.8, 43.2{]}}}" in latex
    assert r"$-$3.4 $\downarrow$" in latex


def test_latex_escapes_each_special() -> None:
    latex = to_latex(table(HOSTILE))
    for escaped in (
        r"\textless{}script\textgreater{}",
        r"\& 50\% a\_b \#1 \$x\$ \{y\}",
        r"\textasciitilde{}",
        r"\textasciicircum{}",
        r"\textbackslash{}par",
        r"\textbar{}",
        "{*}b{*}",
        "{[}0{]}",
    ):
        assert escaped in latex
    assert "\\par |" not in latex


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30))
def test_any_text_keeps_every_format_whole(text: str) -> None:
    shown = table(text)
    assert len(pd.read_csv(io.StringIO(to_csv(shown)))) == 20
    assert " ".join(text.split()) in " ".join(Page(to_html(shown)).text.split())
    assert latex_is_balanced(to_latex(shown))
    rows = [line for line in to_markdown(shown).split("\n") if line.startswith("| A ")]
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in rows} == {6}


@pytest.mark.parametrize("render", [to_csv, to_markdown, to_latex, to_html])
def test_the_same_input_gives_the_same_bytes(render: object) -> None:
    assert render(real()) == render(real())
    assert render(real()).endswith("\n")
    assert "\r" not in render(real())


def test_claims_html() -> None:
    claims = judge_claims(STUDY, cells(), "pocket", resamples=50)
    page = Page(claims_to_html(claims, "pocket"))
    assert [a["id"] for tag, a in page.tags if tag == "article"] == [f"claim-{c.id}" for c in STUDY.claims]
    assert [tag for tag, _ in page.tags].count("dd") == 2 * len(claims)
    assert "✘ contradicted" in page.text
    assert "– not testable" in page.text
    assert "Re-run, scale pocket" in page.text


def test_claims_escape_hostile_texts() -> None:
    version = Version.model_construct(where="here", quote=HOSTILE)
    hostile = STUDY.claims[0].model_copy(
        update={"quote": HOSTILE, "statement": HOSTILE, "where": HOSTILE, "versions": [version]}
    )
    claims = judge_claims(STUDY.model_copy(update={"claims": [hostile]}), NOTHING, "pocket")
    page = Page(claims_to_html(claims, HOSTILE))
    assert "script" not in page.names()
    assert page.text.count("alert('1')") == 5
    assert "<script" not in claims_to_markdown(claims, HOSTILE)
    assert json.loads(claims_to_json(claims, "pocket"))[0]["quote"] == HOSTILE


def test_claims_json_has_points_and_both_verdicts() -> None:
    claims = judge_claims(STUDY, cells(), "pocket", resamples=50)
    entries = {entry["id"]: entry for entry in json.loads(claims_to_json(claims, "pocket"))}
    first = entries["few_shot_most"]
    own = next(judged for judged in claims if judged.claim.id == "few_shot_most")
    assert first["reported"]["outcome"] == "supported"
    assert first["reported"]["difference"]["value"] == 3.36
    assert first["reported"]["counts"]["signed"] == 6
    assert first["ours"]["difference"]["value"] == pytest.approx(100 * own.ours.difference.value, abs=1e-4)
    assert first["comparisons"] == ["LGSimCLR (Banani et al.) minus SimCLR"]
    assert entries["most_cases"]["reported"]["counts"]["unit"] == "cases"
    assert [entry["label"] for entry in entries["most_cases"]["reported"]["comparisons"]] == [
        "Linear probe",
        "Few-shot",
    ]
    assert entries["refined_captions_few_shot"]["ours"] == {
        "outcome": "pending",
        "wording": "pending",
        "reason": "Scores of this comparison are missing.",
        "difference": None,
        "counts": None,
        "agreement": None,
        "comparisons": [],
    }


def test_claims_markdown_names_both_sides() -> None:
    claims = judge_claims(STUDY, NOTHING, "pocket")
    text = claims_to_markdown(claims, "pocket")
    outcomes = [judged.ours.outcome for judged in claims]
    assert text.count("Re-run, scale pocket: … **pending**") == outcomes.count("pending")
    assert text.count("Re-run, scale pocket: – **not testable**") == outcomes.count("not testable")
    assert "The paper's printed cells: ✔ **supported**" in text
    assert "The number is a placeholder." in text
