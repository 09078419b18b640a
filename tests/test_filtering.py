"""What the report says of a filter: counts that add up, and captions that cannot break the page."""

from collections import Counter

import pytest
from reporting_site import Parsed, read_all_captions
from test_reporting import grid_rows

from vlrepro.reporting.filtering import filter_section, kind_grid, rule_grid
from vlrepro.reporting.markup import element


@pytest.fixture(scope="module")
def sources(site):
    captions = read_all_captions(site.folder)
    return captions["cat-00000000"], captions["original-00000000"]


def show(name, alt):
    return element("img", src=f"data:{name}", alt=alt)


def test_one_line_a_rule_and_one_for_all(sources):
    _, *lines = grid_rows(rule_grid(sources[0].summary))
    assert [line[0] for line in lines] == ["complexity", "text", "all"]
    assert lines[0][1:] == ["at least 1", "48 (80.0 %)", "12 (20.0 %)", "6 (10.0 %)"]
    assert lines[1][2:] == ["54 (90.0 %)", "6 (10.0 %)", "0 (0.0 %)"]
    assert lines[2][2:] == ["48 (80.0 %)", "12 (20.0 %)", "6 (10.0 %)"]


def test_kinds_are_those_of_the_files(sources):
    kept, original = (Counter(source.rows["kind"]) for source in sources)
    _, *rows = grid_rows(kind_grid(sources[0].rows, sources[1].rows))
    lines = {name.replace(" ", "_"): line for name, *line in rows}
    assert {kind: int(line[0]) for kind, line in lines.items()} == dict(original)
    for kind, line in lines.items():
        assert line[1] == f"{kept[kind]} ({100 * kept[kind] / original[kind]:.1f} %)"


def test_every_dropped_example_stands_escaped_beside_its_picture(sources):
    page = filter_section(*sources, show)
    parsed = Parsed(page)
    texts = " ".join(" ".join(parsed.texts).split())
    examples = [example for rule in sources[0].summary["rules"].values() for example in rule["examples"]]
    assert page.count("<img") == len(examples) == 18
    assert "<script" not in page
    assert all(f"data:{example['key']}" in page for example in examples)
    assert "Of 60 captions 48 (80.0 %) survive; dropped are 6 by complexity, 6 by complexity and text." in texts


def test_a_filter_that_drops_nothing_has_no_examples(sources):
    kept, original = sources
    summary = {"captions": 60, "kept": 60, "rules": {}, "dropped_by": {}}
    rule = {"threshold": "at least 1", "kept": 60, "dropped": 0, "examples": []}
    whole = type(kept)(kept.id, kept.recipe, original.rows, summary | {"rules": {"complexity": rule}})
    page = filter_section(whole, original, show)
    assert "<img" not in page
    assert "Of 60 captions 60 (100.0 %) survive." in "".join(Parsed(page).texts)
