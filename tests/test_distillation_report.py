"""The report's section on concepts: its numbers are the summary's, and foreign words stay words."""

import copy
import re

import pytest
from concept_packs import RECIPE, keys_of, named_shapes, shape_features
from reporting_site import PACK, Site

from vlrepro.captions.concepts import distil
from vlrepro.files import write_json
from vlrepro.reporting.distillation import agreement_grid, concept_section
from vlrepro.reporting.inputs import ConceptSummary, read_concept_summaries
from vlrepro.reporting.markup import element


@pytest.fixture(scope="module")
def summary():
    return distil(RECIPE, keys_of(), shape_features(), named_shapes(), "parses")[1]


def shown(key, text):
    return element("b", f"picture of {key}")


def cells_of(html):
    rows = re.findall(r"<tr>(.*?)</tr>", str(html), re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_every_number_of_the_summary_is_in_the_grid(summary):
    heads, *rows = cells_of(agreement_grid(summary))
    assert "Among the 2 likeliest" in heads
    assert len(rows) == 2 * 2 * 3
    expected = []
    for kind in ("objects", "attributes"):
        for part in ("held_out", "fitted"):
            for by in ("teacher", "shuffled", "frequent"):
                found = summary[kind][part][by]
                expected.append([f"{100 * found['recall']:.1f} %", f"{100 * found['first']:.1f} %"])
    assert [row[3:] for row in rows] == expected
    assert [row[1] for row in rows[::3]] == [
        f"{title} ({summary[kind][part]['pictures']})"
        for kind in ("objects", "attributes")
        for part, title in (("held_out", "held out"), ("fitted", "learnt from"))
    ]


def test_examples_show_pictures_and_escape_words(summary):
    hostile = copy.deepcopy(summary)
    hostile["examples"][0]["objects"] = {"caption": ["<script>"], "teacher": [["<img src=x>", 0.875]]}
    hostile["examples"][1]["attributes"]["caption"] = []
    html = str(concept_section(ConceptSummary("seen-0", {}, hostile), shown))
    assert "64 captions name 3 objects and 4 attributes often enough" in html
    for entry in summary["examples"]:
        assert f"picture of {entry['key']}" in html
    assert "<script>" not in html
    assert "<img" not in html
    assert "&lt;img src=x&gt; 0.88" in html
    assert "nothing" in html


def test_without_held_out_captions_there_is_no_share(summary):
    bare = copy.deepcopy(summary) | {"examples": []}
    bare["objects"]["held_out"] |= {"pictures": 0, "teacher": {"recall": None, "first": None}}
    html = str(concept_section(ConceptSummary("seen-0", {}, bare), shown))
    assert "Held-out pictures" not in html
    assert "None" not in html


def test_summaries_are_read_with_their_recipes(summary, tmp_path):
    write_json(tmp_path / "seen-12345678.summary.json", summary)
    write_json(tmp_path / "seen-12345678.json", {"pack": "p-0"})
    (found,) = read_concept_summaries([tmp_path / "seen-12345678.summary.json"], [tmp_path / "seen-12345678.json"])
    assert (found.id, found.recipe, found.summary) == ("seen-12345678", {"pack": "p-0"}, summary)


def test_the_page_has_the_section_where_there_are_concepts(site, summary, tmp_path):
    write_json(tmp_path / "seen-12345678.summary.json", summary)
    write_json(tmp_path / "seen-12345678.json", {"pack": PACK})
    more = ["--concepts", tmp_path / "seen-12345678.summary.json", "--concept-recipes", tmp_path / "seen-12345678.json"]
    with_it = Site(site.folder, [*site.arguments, *map(str, more)]).page(output=str(tmp_path / "page.html"))
    without = site.page(output=str(tmp_path / "other.html"))
    assert "What the teacher sees: <code>seen-12345678</code>" in with_it
    assert 'href="#concepts"' in with_it
    assert "What the teacher sees" not in without
