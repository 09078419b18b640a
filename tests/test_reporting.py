"""The report's page: hostile captions cannot break it, it needs no network, its first screen is honest."""

from __future__ import annotations

import json
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reporting_site import HOSTILE, RECIPES, ROOT, STUDY_FILE, Parsed, Site, config_file, make_site, mined_pairs

from vlrepro.data.pack import Pack
from vlrepro.files import write_text
from vlrepro.reporting.gallery import sample_captions, sample_pairs
from vlrepro.reporting.inputs import count_pack, read_benchmarks, read_runs
from vlrepro.reporting.markup import Html, element
from vlrepro.reporting.provenance import git_commit, package_versions, recipe_grid
from vlrepro.reporting.summary import MARKS, answer, claims_overview
from vlrepro.tables.study import load_study


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def parsed(site) -> Parsed:
    return Parsed(site.page())


def test_the_page_is_one_balanced_document(site, parsed) -> None:
    assert parsed.broken == []
    assert parsed.open == []
    assert [len(parsed.all(tag)) for tag in ("html", "head", "body", "main", "h1")] == [1, 1, 1, 1, 1]
    assert site.page().startswith("<!DOCTYPE html>")


def test_the_page_opens_no_connection_and_runs_nothing(parsed) -> None:
    assert parsed.all("script") == parsed.all("link") == parsed.all("iframe") == []
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, value)
    style = (ROOT / "report/style.css").read_text(encoding="utf-8")
    assert "@import" not in style
    assert "url(" not in style
    policy = [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_links_within_the_page_lead_somewhere(parsed) -> None:
    places = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert max(places.values()) == 1
    assert {link["href"][1:] for link in parsed.all("a")} <= set(places)


def test_hostile_texts_are_shown_as_they_are(site, parsed) -> None:
    """Each hostile caption that the galleries chose, the study's title, a set and a rejected key stay plain text."""
    captions, pairs = mined_pairs(site.folder)
    chosen = {row.caption for rows in sample_captions(captions, 4).values() for row in rows}
    chosen |= {text for _, row in sample_pairs(pairs) for text in (row.caption_of_source, row.caption_of_neighbour)}
    hostile = chosen & {" ".join(text.split()) for text in HOSTILE}
    assert len(hostile) >= 3
    for text in hostile:
        assert text.replace("\x00", "\ufffd") in parsed.texts
    assert HOSTILE[0] in parsed.texts
    assert f": {HOSTILE[1]}" in parsed.texts
    assert any("<b>bad</b>: does not decode" in text for text in parsed.texts)
    assert "b" not in {tag for tag, _ in parsed.elements}


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_survives_an_element_and_an_attribute(text: str) -> None:
    expected = "".join("\ufffd" if (ord(c) < 32 and c not in "\t\n\r") or 127 <= ord(c) < 160 else c for c in text)
    expected = expected.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    parsed = Parsed(element("p", text, title=text))
    assert "".join(parsed.texts) == expected
    assert parsed.elements == [("p", {"title": expected})]


def test_html_is_not_escaped_twice() -> None:
    assert element("p", element("b", "a & b"), Html("<i></i>")) == "<p><b>a &amp; b</b><i></i></p>"
    assert element("img", alt="", hidden=True, width=None) == '<img alt="" hidden>'


def test_pictures_are_inlined_with_alt_texts(site, parsed) -> None:
    pictures = [image for image in parsed.all("img") if image.get("class") == "picture"]
    figures = [image for image in parsed.all("img") if image.get("class") is None]
    assert len(pictures) == 2 * 16 + 3 * 4
    assert all(image["src"].startswith("data:image/png;base64,") for image in pictures)
    assert {image["alt"] for image in pictures} <= {row.caption for row in Pack(site.folder / "shapes-00000000").rows}
    assert len(figures) == len(list((site.folder / "figures").glob("*.svg"))) == 5
    assert all(len(image["alt"]) > 30 for image in figures)


def test_the_same_inputs_give_the_same_page(site) -> None:
    assert site.page() == site.page()


def test_costs_come_from_benchmarks_and_may_be_missing(site, parsed, tmp_path) -> None:
    assert "not recorded" in parsed.texts
    write_text(tmp_path / "simclr-seed0-0123abcd.tsv", "s\th:m:s\tmax_rss\n75.4\t0:01:15\t512.25\n")
    write_text(tmp_path / "simclr-seed1-0123abcd.tsv", "s\th:m:s\tmax_rss\n85.4\t0:01:25\tNA\n")
    page = Parsed(site.page(benchmarks=str(tmp_path)))
    assert [text for text in page.texts if text in ("80", "161", "512", "2 of 2")] == ["2 of 2", "80", "161", "512"]
    runs = read_runs([site.folder / "recipes/simclr-seed1-0123abcd.json"])
    assert read_benchmarks(tmp_path, runs) == {"simclr-seed1-0123abcd": (85.4, None)}


def test_small_scales_never_claim_a_match_of_numbers(site) -> None:
    assert "neither matches nor misses any number" in site.page()
    full = site.page(config=config_file(site.folder, "paper"))
    assert "neither matches nor misses" not in full
    assert "stand-ins; none of them" not in full


def test_the_first_screen_counts_the_verdicts(site, parsed) -> None:
    claims = json.loads((site.folder / "claims.json").read_text(encoding="utf-8"))
    own = [claim for claim in claims if claim["kind"] == "claim"]
    outcomes = [claim["ours"]["outcome"] for claim in own]
    judged = [name for name in outcomes if name in ("supported", "contradicted", "undecided")]
    assert 0 < len(judged) < len(own)
    sentence = answer(own, "pocket")
    for name in ("supported", "contradicted", "undecided"):
        assert f"{judged.count(name)} {name}" in sentence
    assert sentence.startswith(f"{len(judged)} of {len(own)} claims can be judged")
    assert sentence in parsed.texts
    signs = [link for link in parsed.all("a") if (link.get("class") or "").startswith("sign")]
    assert len(signs) == 2 * len(own)
    assert "None of the 1 claims" in answer([{"ours": {"outcome": "pending"}}], "pocket")


def test_signs_are_those_of_the_claims_in_full(site) -> None:
    page = (site.folder / "claims.html").read_text(encoding="utf-8")
    claims = json.loads((site.folder / "claims.json").read_text(encoding="utf-8"))
    for outcome in {claim[source]["outcome"] for claim in claims for source in ("ours", "reported")}:
        assert f">{MARKS[outcome]} {outcome}</strong>" in page


def test_interval_strips_share_one_axis_and_hollow_means_undecided() -> None:
    def claim(name: str, value: float, low: float, high: float) -> dict:
        ours = {"outcome": "supported", "wording": "supported by one seed"}
        ours["difference"] = {"value": value, "low": low, "high": high, "n_seeds": 1}
        claim = {"id": name, "kind": "claim", "statement": name, "test": {"over": "average"}, "ours": ours}
        return claim | {"reported": {"outcome": "not testable", "wording": "not testable"}}

    claims = [claim("clear", -8.0, -10.0, -6.0), claim("open", 1.0, -1.0, 3.0)]
    parsed = Parsed(claims_overview(load_study(STUDY_FILE), claims, "pocket"))
    assert "✔ supported by one seed" in parsed.texts
    assert "may not hold for another seed" in answer(claims, "pocket")
    bars = [line for line in parsed.all("line") if line["class"] == "bar"]
    assert (bars[0]["x1"], bars[0]["x2"]) == ("4.0", "26.4")
    assert (bars[1]["x1"], bars[1]["x2"]) == ("54.4", "76.8")
    assert [dot["class"] for dot in parsed.all("circle")] == ["dot", "dot open"]


def test_what_all_recipes_share_is_said_once(site) -> None:
    runs = read_runs(sorted((site.folder / "recipes").glob("*.json")))
    parsed = Parsed(recipe_grid(runs, {name: {"augmentation": f"a {name}"} for name in RECIPES}, {"simclr": "SimCLR"}))
    heads = [text for text in parsed.texts if text in ("Framework", "Augmentation", "Pairs", "Batch", "Steps")]
    assert heads == ["Augmentation", "Pairs", "Steps"]
    shared = "The same in all recipes: framework simclr, backbone resnet_small (width 4), batch 16."
    assert shared in parsed.texts
    assert {"SimCLR", "…-seed0-0123abcd", "two views of one image", "none: not trained"} <= set(parsed.texts)


def test_packs_are_counted_by_source_and_licence(site) -> None:
    folder = site.folder / "shapes-00000000"
    count = count_pack(folder / "index.parquet", folder / "rejected.csv")
    assert (count.id, count.pictures, count.origins) == ("shapes-00000000", 64, {("", "CC0-1.0"): 64})
    assert count.rejected == [("<b>bad</b>", "does not decode")]


def test_provenance_never_fails(tmp_path, monkeypatch) -> None:
    assert dict(package_versions(["no-such-package-here", "numpy"])) == {
        "python": ".".join(map(str, sys.version_info[:3])),
        "no-such-package-here": "not installed",
        "numpy": np.__version__,
    }
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(ROOT) is None
