"""Grid tables and tables of variants: what they refuse, how they are laid out and written in every format."""

from __future__ import annotations

import copy
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from grid_tables import SETS, VARIANTS, cells, claim, study, values

from vlrepro.config import load_config
from vlrepro.errors import UserError
from vlrepro.plan import make_plan
from vlrepro.tables.layout import build_table
from vlrepro.tables.parts import Part, Table
from vlrepro.tables.printed import PrintedNumber, decimals
from vlrepro.tables.rendering import to_csv, to_html, to_latex, to_markdown
from vlrepro.tables.study import load_study

ROOT = Path(__file__).parents[1]


def refused(tmp_path: Path, change: object) -> str:
    found = values()
    change(found)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(found))
    with pytest.raises(UserError) as error:
        load_study(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


def column(values: dict, number: int = 0, table: int = 0) -> dict:
    return values["tables"][table]["columns"][number]


SCORES = {"kind": "scores", "direction": "above", "pairs": [["noisy", "base"]]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: column(v).pop("set"), "column 'small_top1': a column that names its evaluation needs a set"),
        (lambda v: column(v).pop("variant"), "'small_top1' needs one of the table's variants"),
        (lambda v: column(v).update(variant="huge"), "'small_top1' needs one of the table's variants"),
        (lambda v: column(v, 0, 1).update(variant="small"), "'line_top1' needs one of the table's variants, or none"),
        (lambda v: column(v).update(evaluation="top9"), "names 'top9', which is not under the table's evaluations"),
        (lambda v: column(v).pop("evaluation"), "names None, which is not under the table's evaluations"),
        (lambda v: column(v).update(chance="0.1"), "chance: Input should be a valid number"),
        (lambda v: v["tables"][0]["rows"][0]["reported"].append(1.0), "row 'base' reports 5 cells for 4 columns"),
        (lambda v: v["tables"][1]["rows"][0]["reported"].append(1.0), "row 'base' reports 3 cells for 2 columns"),
        (lambda v: v["tables"][0]["rows"][0].update(recipe="base"), "give either recipe, prior or recipes"),
        (lambda v: v["tables"][0]["rows"][0].update(recipe="base", recipes={}), "the table has variants: give recipes"),
        (
            lambda v: v["tables"][1]["rows"][0].update(recipe=None, recipes={"small": "x"}),
            "'small' is not a variant of",
        ),
        (lambda v: v["tables"][0].update(sets=["all"]), "sets are for tables that the paper does not print"),
        (lambda v: v["tables"][2].update(sets=[]), "sets: .*at least 1"),
        (
            lambda v: v["tables"][1].update(evaluations=["top1"], columns=[{"name": "x", "title": "X", "set": "all"}]),
            "column 'x': set, variant and extra are for columns that name their evaluation",
        ),
        (
            lambda v: v.update(claims=[claim(SCORES | {"variants": ["huge"]}, ["table1"])]),
            "'huge', which is not a variant of table 'table1'",
        ),
        (
            lambda v: v.update(claims=[claim(SCORES | {"pairs": [["noisy@huge", "base@small"]]}, ["table1"])]),
            "'huge', which is not a variant of table 'table1'",
        ),
        (
            lambda v: v.update(claims=[claim(SCORES | {"sets": ["line"]}, ["table1"])]),
            "'line', which is not a set of table 'table1'",
        ),
        (
            lambda v: v.update(claims=[claim(SCORES | {"pairs": [["noisy@small", "base"]]}, ["table1"])]),
            "all of its rows name a variant or none does",
        ),
        (
            lambda v: v.update(claims=[claim({"kind": "chance", "rows": ["moco"]}, ["table1"])]),
            "'moco', which is not a row of table 'table1'",
        ),
        (
            lambda v: v.update(claims=[claim({"kind": "chance", "rows": ["base@huge"]}, ["table1"])]),
            "'huge', which is not a variant of table 'table1'",
        ),
        (lambda v: v.update(claims=[claim({"kind": "chance", "rows": ["base"]}, [])]), "needs tables"),
        (
            lambda v: v.update(claims=[claim({"kind": "cost", "pairs": [["noisy", "moco"]]}, ["table1"])]),
            "'moco', which is not a row of table 'table1'",
        ),
        (
            lambda v: v.update(
                claims=[claim({"kind": "cost", "pairs": [["noisy", "base"]], "ratio": 0.5}, ["table1"])]
            ),
            "ratio: Input should be greater than or equal to 1",
        ),
        (
            lambda v: v.update(
                claims=[claim(SCORES | {"over": "every", "direction": "equal", "tolerance": 1.0}, ["table1"])]
            ),
            "direction equal is for over: average and over: mean",
        ),
    ],
)
def test_a_wrong_grid_is_one_line_with_file_and_key(tmp_path: Path, change: object, words: str) -> None:
    assert re.search(words, refused(tmp_path, change))


def built(name: str, scale: str = "pocket", **more: object) -> Table:
    return build_table(study(), name, cells(**more), scale, resamples=100)


def part(table: Table, kind: str) -> Part:
    return next(part for part in table.parts if part.kind == kind)


def cell(part: Part, row: str, column: str) -> object:
    cells = next(r.cells for r in part.rows if r.id == row)
    return cells[[c.name for c in part.columns].index(column)]


def test_a_grids_cells_are_means_of_the_columns_recipe_evaluation_and_set() -> None:
    ours = part(built("table1"), "ours")
    for variant in VARIANTS:
        for evaluation in ("top1", "top5"):
            expected = cells().scores[evaluation][f"noisy_{variant}", "all"].values.mean()
            assert cell(ours, "noisy", f"{variant}_{evaluation}").value == pytest.approx(expected)
    assert [(c.group, c.title) for c in ours.columns] == [(v, e) for v in VARIANTS.values() for e in ("Top1", "Top5")]


def test_a_variant_that_a_row_does_not_have_is_blank_and_a_missing_score_pending() -> None:
    table = built("table1", levels={"base_small": 0.3, "base_large": 0.3})
    ours, differences = part(table, "ours"), part(table, "difference")
    assert [c.status for c in ours.rows[2].cells] == ["pending", "pending", "blank", "blank"]
    assert [row.id for row in differences.rows] == ["noisy-minus-base", "partial-minus-base"]
    assert [c.status for c in differences.rows[1].cells] == ["pending", "pending", "blank", "blank"]


def test_differences_are_taken_within_the_variant_and_paired() -> None:
    found = part(built("table1"), "difference")
    for variant in VARIANTS:
        both = [cells().scores["top1"][f"{row}_{variant}", "all"].values for row in ("noisy", "base")]
        difference = cell(found, "noisy-minus-base", f"{variant}_top1")
        assert difference.value == pytest.approx((both[0] - both[1]).mean())
    assert found.rows[0].label == "Noisy minus Base"


def test_two_variants_of_one_recipe_have_no_difference() -> None:
    tables = values()["tables"]
    tables[0]["rows"][1]["recipes"]["large"] = "base_large"
    table = build_table(study(tables=tables), "table1", cells(), "pocket", resamples=50)
    statuses = [c.status for c in part(table, "difference").rows[0].cells]
    assert statuses == ["done", "done", "blank", "blank"]


def test_columns_over_sets_are_headed_by_our_sets_and_the_papers_part_by_the_papers() -> None:
    table = built("table2")
    assert [(c.group, c.title) for c in part(table, "ours").columns] == [
        ("Line art", "Top1"),
        ("Line art", "Top5"),
        ("All concepts", "Top1"),
    ]
    assert [(c.group, c.title) for c in part(table, "paper").columns] == [("Sketch", "Top1"), ("Sketch", "Top5")]
    notes = " ".join(table.footnotes)
    assert "In the place of the paper's columns: Line art for Sketch." in notes
    assert "Columns that the paper does not have: All concepts." in notes
    paper = built("table2", scale="paper")
    assert [c.group for c in part(paper, "ours").columns] == ["Sketch", "Sketch", "All concepts"]
    assert "In the place" not in " ".join(paper.footnotes)


def test_an_extra_column_is_left_out_where_its_set_was_not_evaluated() -> None:
    few = cells()
    few = type(few)(few.scores, dict.fromkeys(few.sets, SETS[1:]), {})
    table = build_table(study(), "table2", few, "pocket", resamples=50)
    assert [c.name for c in part(table, "ours").columns] == ["line_top1", "line_top5"]


def test_footnotes_are_about_the_tables_own_sets() -> None:
    notes = " ".join(built("table1").footnotes)
    assert "All concepts (200 classes" in notes
    assert "Line art" not in notes


def test_an_added_table_has_a_column_an_evaluation_and_variant_over_its_own_sets() -> None:
    table = built("added")
    ours = part(table, "ours")
    assert [c.name for c in ours.columns] == ["small_top1", "small_top5", "large_top1", "large_top5"]
    assert [c.group for c in ours.columns] == ["Small net", "Small net", "Large net", "Large net"]
    expected = cells().scores["top5"]["noisy_large", "line"].values.mean()
    assert cell(ours, "noisy", "large_top5").value == pytest.approx(expected)
    assert [c.status for c in ours.rows[2].cells] == ["done", "done", "blank", "blank"]
    assert {c.title for p in table.details for c in p.columns} == {"Line art"}
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    averages = [(row["evaluation"], row["column"]) for row in rows[:4]]
    assert averages == [(f"{v}, {e}", "Avg") for v in VARIANTS.values() for e in ("Top1", "Top5")]


class Heads(HTMLParser):
    """The cells of the first two rows of each table as (text, colspan, rowspan, scope), and the number of columns."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[str, int, int, str | None]]]] = []
        self.inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.inside = True
            spans = [int(found.get(key) or 1) for key in ("colspan", "rowspan")]
            self.tables[-1][-1].append(("", *spans, found.get("scope")))

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.inside:
            text, *rest = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (text + data, *rest)


def test_html_spans_its_groups_and_every_row_is_as_wide() -> None:
    for rows in Heads(to_html(built("table1"))).tables:
        first, second, *body = rows
        assert first == [
            ("Model", 1, 2, "col"),
            ("Small net", 2, 1, "colgroup"),
            ("Large net", 2, 1, "colgroup"),
        ]
        assert second == [(title, 1, 1, "col") for title in ("Top1", "Top5") * 2]
        width = sum(span for _, span, _, _ in first)
        assert width == 1 + len(second)
        assert {sum(span for _, span, _, _ in row) for row in body} == {width}


def test_latex_spans_its_groups() -> None:
    latex = to_latex(built("table1"))
    lines = latex.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith(r" & \multicolumn")]
    assert len(heads) == 3
    for i in heads:
        assert lines[i] == r" & \multicolumn{2}{c}{Small net} & \multicolumn{2}{c}{Large net} \\"
        assert lines[i + 1] == r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}"
        assert lines[i + 2] == r"Model & Top1 & Top5 & Top1 & Top5 \\"
        assert lines[i - 1] == r"\toprule"
    assert r"\begin{tabular}{@{}lcccc@{}}" in latex


def test_a_column_without_a_group_beside_others_that_have_one() -> None:
    tables = values()["tables"]
    for entry in tables[1]["columns"][:2]:
        entry.pop("group")
    bare = build_table(study(tables=tables), "table2", type(cells())({}, {}, {}), "pocket", resamples=50)
    ungrouped = part(bare, "paper")
    assert ungrouped.groups() == []
    tables[1]["columns"][0]["group"] = "Sketch"
    table = build_table(study(tables=tables), "table2", type(cells())({}, {}, {}), "pocket", resamples=50)
    assert part(table, "paper").groups() == [("Sketch", 1), ("", 1)]
    rows = Heads(to_html(table)).tables[-1]
    assert {sum(span for _, span, _, _ in row) for row in rows[2:]} == {3}
    assert sum(span for _, span, _, _ in rows[0]) == 3
    assert r"\multicolumn{1}{c}{Sketch} & \multicolumn{1}{c}{} \\" in to_latex(table)
    assert r"\cmidrule(lr){2-2}" in to_latex(table)
    assert "cmidrule(lr){3-3}" not in to_latex(table)


def test_markdown_has_its_groups_as_head_and_titles_as_first_row() -> None:
    lines = to_markdown(built("table1")).splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("| Model")]
    for i in heads:
        assert lines[i] == "| Model | Small net |  | Large net |  |"
        assert lines[i + 2] == "|  | **Top1** | **Top5** | **Top1** | **Top5** |"
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {6}


def test_csv_columns_are_told_apart_by_group_and_title() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(built("table1")))))
    noisy = [row for row in rows if row["row"] == "Noisy" and row["source"] == "ours"]
    assert [row["column"] for row in noisy] == ["Small net Top1", "Small net Top5", "Large net Top1", "Large net Top5"]
    paper = [float(row["value"]) for row in rows if row["row"] == "Noisy" and row["source"] == "paper"]
    assert paper == values()["tables"][0]["rows"][1]["reported"]


@pytest.mark.parametrize("text", ["39.90", "16.0", "0.10", "-3.250"])
def test_a_printed_number_keeps_its_digits(tmp_path: Path, text: str) -> None:
    source = yaml.safe_dump(values()).replace("reported:\n    - 10.0", f"reported:\n    - {text}", 1)
    (tmp_path / "study.yaml").write_text(source)
    number = load_study(tmp_path / "study.yaml").table("table1").row("base").reported[0]
    assert (str(number), f"{number}", float(number)) == (text, text, float(text))
    assert decimals(number) == len(text.partition(".")[2])
    assert str(copy.deepcopy(number)) == text
    table = build_table(load_study(tmp_path / "study.yaml"), "table1", cells(), "pocket", resamples=20)
    assert f"| Base | {text} |" in to_markdown(table)


def test_numbers_that_are_no_plain_decimals_are_read_as_yaml_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values()).replace("reported:\n    - 10.0", "reported:\n    - 1.0e+1", 1))
    number = load_study(path).table("table1").row("base").reported[0]
    assert number == 10
    assert not isinstance(number, PrintedNumber)


def test_yaml_merges_and_still_refuses_a_key_given_twice(tmp_path: Path) -> None:
    merged = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n"
    path = tmp_path / "study.yaml"
    path.write_text(merged)
    with pytest.raises(UserError, match="Field required"):  # it was read, and is no study
        load_study(path)
    path.write_text(merged.replace("b: 3", "b: 3, b: 4"))
    with pytest.raises(UserError, match="key 'b' is given twice"):
        load_study(path)


def test_a_plan_trains_every_variants_recipe_once() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    name = next(iter(config["recipes"]))
    wanted = {"base_small", "base_large", "noisy_small", "noisy_large", "partial_small"}
    config["recipes"] |= dict.fromkeys(wanted, config["recipes"][name])
    tables = [table for table in values()["tables"] if table["name"] == "table1"]
    tables[0]["evaluations"] = ["linear", "few_shot"]
    for entry in tables[0]["columns"]:
        entry["evaluation"] = {"top1": "linear", "top5": "few_shot"}[entry["evaluation"]]
    text = {"title": "T", "examples": "test images", "shows": "it"}
    entry = study(tables=tables, evaluations={"linear": text, "few_shot": text})
    plan = make_plan(load_config(config), {"grids": entry})
    runs = [plan.runs[run].recipe_name for run in plan.tables["grids_table1"].runs]
    assert sorted(runs) == sorted(wanted)
