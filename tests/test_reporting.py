"""The report's page: hostile captions cannot break it, it needs no network, its first screen is honest."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from html import unescape

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reporting_site import (
    HOSTILE,
    LEVELS,
    PACK,
    PAIRS,
    ROOT,
    SETS,
    STUDY_FILE,
    Parsed,
    Site,
    config_file,
    mined_pairs,
    read_all_captions,
)

from vlrepro.data.pack import Pack
from vlrepro.files import read_json, write_text
from vlrepro.reporting.answers import LANGUAGE_GUIDANCE, compare, sentence, short_answers
from vlrepro.reporting.gallery import sample_captions, sample_pairs, sample_refined
from vlrepro.reporting.inputs import count_pack, read_benchmarks, read_runs
from vlrepro.reporting.markup import Html, element, folded
from vlrepro.reporting.provenance import git_commit, package_versions, recipe_grid
from vlrepro.reporting.refinement import model_bullets, purity_ledger, purity_sentences, refined_rows, refinement_grid
from vlrepro.reporting.summary import answer, claims_overview
from vlrepro.tables.cells import read_cells
from vlrepro.tables.claim_rendering import MARKS
from vlrepro.tables.judging import newcombe
from vlrepro.tables.statistics import Interval
from vlrepro.tables.study import load_study
from vlrepro.tables.verdicts import signed_points


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
    captions = read_all_captions(site.folder)
    chosen = {row.caption for rows in sample_captions(captions["original-00000000"]).values() for row in rows}
    for name in PAIRS:
        pairs = sample_pairs(mined_pairs(site.folder, name))
        chosen |= {text for _, row in pairs for text in (row.caption_of_source, row.caption_of_neighbour)}
    chosen |= {" ".join(row.original.split()) for row in sample_refined(refined(site))}
    hostile = chosen & {" ".join(text.split()) for text in HOSTILE}
    assert len(hostile) >= 4
    for text in hostile:
        assert text.replace("\x00", "\ufffd") in parsed.texts
    assert HOSTILE[0] in parsed.texts
    assert f": {HOSTILE[1]}" in parsed.texts
    assert any("<b>bad</b>: does not decode" in text for text in parsed.texts)
    assert "b" not in {tag for tag, _ in parsed.elements}


def refined(site: Site) -> pd.DataFrame:
    captions = read_all_captions(site.folder)
    return refined_rows(captions["refined-00000000"], captions)


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
    kinds = sum(len(source.shares()) for source in read_all_captions(site.folder).values())
    dropped = 18  # by the filter, as reporting_site.filter_summary says
    assert len(pictures) == 2 * 6 * len(PAIRS) + 3 * kinds + 12 + dropped
    assert all(image["src"].startswith("data:image/png;base64,") for image in pictures)
    assert {image["alt"] for image in pictures} <= {row.caption for row in Pack(site.folder / PACK).rows}
    drawn = [f"{entry}_language_guidance.svg" for entry in ("curves", "accuracy", "spread")]
    drawn += ["purity.svg", "captions.svg", "scores.svg"]
    drawn += [f"differences_language_guidance_{table.name}.svg" for table in load_study(STUDY_FILE).tables]
    assert sorted(path.name for path in (site.folder / "figures").glob("*.svg")) == sorted(drawn)
    assert len(figures) == len(drawn)
    assert all(len(image["alt"]) > 30 for image in figures)


def test_the_contents_name_every_section_and_table(parsed) -> None:
    start = next(number for number, (tag, _) in enumerate(parsed.elements) if tag == "nav")
    end = next(number for number, (tag, values) in enumerate(parsed.elements) if values.get("class") == "scale")
    links = [values["href"][1:] for tag, values in parsed.elements[start:end] if tag == "a"]
    sections = [values["id"] for values in parsed.all("section") if "id" in values]
    assert set(links) == set(sections)
    assert {f"language_guidance-{table.name}" for table in load_study(STUDY_FILE).tables} < set(links)


def test_drawn_pairs_have_no_cosine_and_uncaptioned_ones_say_what_they_show(site) -> None:
    page = site.page()
    words = {name: page.split(f"<code>{name}-00000000</code></summary>")[1].split("</details>")[0] for name in PAIRS}
    for name, found in words.items():
        assert found.count(">cos ") == (0 if name in ("oracle", "random") else 6)
        assert found.count("shows: ") == (0 if "captions" in PAIRS[name] else 12)


def test_refinement_shows_both_captions_with_their_scores_and_which_was_kept(site, parsed) -> None:
    rows = refined(site)
    chosen = sample_refined(rows)
    assert len({row.key for row in chosen}) == 12
    assert {(row.kind_of_original, row.chosen) for row in chosen} == {
        (row.kind_of_original, row.chosen) for row in rows.itertuples()
    }
    shuffled = rows.sample(frac=1, random_state=1)
    assert [row.key for row in sample_refined(shuffled)] == [row.key for row in chosen]
    for row in chosen:
        for source in ("original", "generated"):
            word = "✔ kept" if source == row.chosen else "dropped"
            assert f"{word}, {source}, score {getattr(row, f'score_{source}'):.3f}" in parsed.texts


def test_counts_of_what_refinement_kept_are_those_of_the_captions(site, parsed) -> None:
    rows = refined(site)
    lines = Parsed(refinement_grid(rows)).texts
    for kind in ("faithful", "vague", "wrong", "all"):
        found = rows if kind == "all" else rows[rows["kind_of_original"] == kind]
        kept = int((found["chosen"] == "generated").sum())
        start = lines.index(kind)
        assert lines[start + 1] == str(len(found))
        assert lines[start + 2] == f"{found['score_original'].mean():.3f}"
        assert lines[start + 5] == f"{kept} ({100 * kept / len(found):.1f} %)"
    counts = read_json(site.folder / "captions/refined-00000000.summary.json")["chosen"]
    assert counts["generated"] == int((rows["chosen"] == "generated").sum())
    assert f"chosen: generated {counts['generated']}, original {counts['original']}" in parsed.texts


def test_whether_refined_pairs_are_purer_is_computed(site, parsed) -> None:
    refined_pairs, original = mined_pairs(site.folder, "language_refined"), mined_pairs(site.folder)
    captions = read_all_captions(site.folder)
    difference = newcombe(refined_pairs.summary["purity"]["concept"], original.summary["purity"]["concept"])
    sentences = purity_sentences([original, refined_pairs], captions)
    assert sentences[0].startswith("Pairs language_refined are purer than pairs language_original by same concept")
    assert f"difference {signed_points(difference.value)} points [{signed_points(difference.low)}, " in sentences[0]
    assert sentences[0] in parsed.texts
    for kind in ("generated", "group"):
        assert purity_sentences([mined_pairs(site.folder, f"language_{kind}"), original], captions) == []


def test_the_ledger_of_purity_adds_up(site, parsed) -> None:
    after, before = mined_pairs(site.folder, "language_refined"), mined_pairs(site.folder)
    lines = grid_rows(purity_ledger(after, before, refined(site)))
    *parts, everything = lines[1:]
    assert sum(int(line[2]) for line in parts) == int(everything[2]) == len(refined(site))
    agree = [(p.rows["concept_of_source"] == p.rows["concept_of_neighbour"]).mean() for p in (before, after)]
    column = lines[0].index("Points")
    assert everything[column - 1] == f"{100 * agree[0]:.1f} → {100 * agree[1]:.1f}"
    points = [float(line[column].replace("−", "-")) for line in lines[1:]]
    assert points[-1] == pytest.approx(100 * (agree[1] - agree[0]), abs=0.051)
    assert sum(points[:-1]) == pytest.approx(points[-1], abs=0.051 * len(parts))
    assert set(filter(None, everything)) <= set(parsed.texts)


def grid_rows(table: str) -> list[list[str]]:
    """The cells of a table, line by line."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.9, "are purer than"), (0.5, "are not clearly more or less pure than"), (0.1, "are less pure than")],
)
def test_the_interval_decides_the_word_for_purity(site, share: float, words: str) -> None:
    pairs = [mined_pairs(site.folder), mined_pairs(site.folder, "language_refined")]
    for mined, value in zip(pairs, (0.5, share), strict=True):
        mined.summary["purity"]["concept"] = {"share": value, "low": value - 0.05, "high": value + 0.05}
    assert words in purity_sentences(pairs, read_all_captions(site.folder))[0]


def test_stand_ins_are_called_so_and_published_models_not(site, parsed) -> None:
    words = "".join(parsed.texts)
    assert "captioner captioner-00000000, a stand-in trained here on 64 pictures of shapes in 42 s" in words
    assert "scorer scorer-00000000, a stand-in trained here on 64 pictures of shapes in a time that was not" in words
    captions = read_all_captions(site.folder)
    captions["generated-00000000"].recipe.update({"model": "big/captioner", "stand_in": False})
    found = "".join(Parsed(model_bullets(captions, [], {}, {}, {"generated-00000000": (61.2, None)})).texts)
    assert found == "captioner big/captioner, a published checkpoint; it made captions generated in 61 s."


def test_the_short_answers_are_the_cells_differences(site, parsed) -> None:
    cells = read_cells([site.folder / "cells.parquet"], SETS)
    answers = compare(cells, LANGUAGE_GUIDANCE, ["linear", "few_shot"], resamples=200)
    assert tuple(answers) == LANGUAGE_GUIDANCE
    for rows in answers.values():
        for entry, found in rows:
            for name, difference in found.items():
                sides = [
                    np.mean([cells.scores[name][recipe, key].values.mean() for key in SETS])
                    for recipe in (entry.first, entry.second)
                ]
                assert difference.value == pytest.approx(sides[0] - sides[1])
    first = LANGUAGE_GUIDANCE[0].comparisons[0]
    linear, few_shot = (next(iter(answers.values()))[0][1][name].value for name in ("linear", "few_shot"))
    said = next(text for text in parsed.texts if text.startswith(f"{first.words}. "))
    assert f"Linear probe: worse ({signed_points(linear)} points" in said
    assert f"Few-shot: better ({signed_points(few_shot)} points" in said


def test_comparisons_that_a_scale_does_not_run_are_left_out(site) -> None:
    cells = read_cells([site.folder / "cells.parquet"], SETS)
    for entries in cells.scores.values():
        for key in [key for key in entries if key[0] not in ("simclr", "lgsimclr", "lgsimclr_clean")]:
            del entries[key]
    answers = compare(cells, LANGUAGE_GUIDANCE, ["linear"], resamples=50)
    assert [len(rows) for rows in answers.values()] == [1, 1]
    assert "No comparison" in short_answers("A study", "study", {}, {"linear": "Linear probe"})
    words = sentence(LANGUAGE_GUIDANCE[0].comparisons[0], {"l": Interval(0.01, -0.01, 0.03, 1, "")}, {"l": "L"})
    assert words == "LGSimCLR against SimCLR. L: undecided (+1.0 points [−1.0, +3.0])."


def test_folded_content_is_in_the_page_and_opens_without_a_script() -> None:
    parsed = Parsed(folded("a < b", element("p", "inside")))
    assert parsed.elements[0] == ("details", {})
    assert parsed.texts == ["a < b", "inside"]
    assert Parsed(folded("", Html(""), unfolded=True)).elements[0] == ("details", {"open": None})


def test_the_same_inputs_give_the_same_page(site) -> None:
    assert site.page() == site.page()


def test_costs_come_from_benchmarks_and_may_be_missing(site, parsed, tmp_path) -> None:
    assert "not recorded" in parsed.texts
    write_text(tmp_path / "train_model/simclr-seed0-0123abcd.tsv", "s\th:m:s\tmax_rss\n75.4\t0:01:15\t512.25\n")
    write_text(tmp_path / "train_model/simclr-seed1-0123abcd.tsv", "s\th:m:s\tmax_rss\n85.4\t0:01:25\tNA\n")
    page = Parsed(site.page(benchmarks=str(tmp_path)))
    start = page.texts.index("2 of 2")
    assert page.texts[start : start + 4] == ["2 of 2", "80", "161", "512"]
    ids = [run.id for run in read_runs([site.folder / "recipes/simclr-seed1-0123abcd.json"])]
    assert read_benchmarks(tmp_path / "train_model", ids) == {"simclr-seed1-0123abcd": (85.4, None)}


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
        ours["counts"] = None
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
    entries = {name: {"augmentation": ["a", "b"] if name == "clip" else f"a {name}"} for name in LEVELS}
    parsed = Parsed(recipe_grid(runs, entries, {"simclr": "SimCLR"}, {}))
    known = ("Framework", "Augmentation", "Pairs", "Captions read", "Backbone", "Batch", "Steps")
    assert [text for text in parsed.texts if text in known] == [
        *("Framework", "Augmentation", "Pairs", "Captions read", "Steps")
    ]
    assert "The same in all recipes: backbone resnet_small (width 4), batch 16." in parsed.texts
    assert {"SimCLR", "a, b", "…-seed0-0123abcd", "two views of one image", "none: not trained"} <= set(parsed.texts)


def test_packs_are_counted_by_source_and_licence(site) -> None:
    folder = site.folder / PACK
    count = count_pack(folder / "index.parquet", folder / "rejected.csv")
    assert (count.id, count.pictures, count.origins) == (PACK, 64, {("", "CC0-1.0"): 64})
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
