"""Retrieval in the report: the curve's numbers are the metrics', the gallery shows what was asked for and found."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import run_script, shape_pictures
from hypothesis import given
from hypothesis import strategies as st
from reporting_site import HOSTILE, Parsed

from vlrepro.data.pack import write_pack
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.reporting.markup import element
from vlrepro.reporting.retrieval_curve import draw_recall_curve
from vlrepro.reporting.retrieval_gallery import chosen_queries, retrieval_gallery
from vlrepro.reporting.searches import DIRECTIONS, Search, Searched, read_searches

STUDY = Path(__file__).parents[1] / "config/papers/diht_gcc.yaml"
COUNT = 14
SIZES = (1, 3, 7, 14)


def searched(seed, captions_each=1):
    """A set's entry under `searches` with random results; captions start with their number and are hostile."""
    rng = np.random.default_rng(seed)
    picture_of = [number // captions_each for number in range(COUNT * captions_each)]
    texts = [f"caption {number} {HOSTILE[number % len(HOSTILE)]}" for number in range(len(picture_of))]
    directions = {}
    for way, queries, items in (
        ("text_to_image", len(picture_of), COUNT),
        ("image_to_text", COUNT, len(picture_of)),
    ):
        directions[way] = {
            "ranks": (rng.permutation(queries) + 1.5).tolist(),
            "nearest": [rng.permutation(items)[:5].tolist() for _ in range(queries)],
            "curve": [[size, float(rng.random()), 0.0] for size in SIZES],
        }
    keys = [f"p{number:04d}" for number in range(COUNT)]
    return {"pictures": keys, "captions": texts, "picture_of": picture_of, "directions": directions}


def metrics_file(folder, run, failed=None, **searches):
    content = {"run": run, "failed": failed} if failed else {"run": run, "searches": searches}
    write_json(folder / run / "retrieval.json", content)
    return folder / run / "retrieval.json"


def loaded(folder, seed=0, captions_each=1):
    return read_searches(metrics_file(folder, f"diht-seed{seed}-00000000", gcc=searched(seed, captions_each)), "gcc")


def show(key, alt):
    """In a picture's place its key."""
    return element("i", key, title=alt)


def cards(page):
    """(class of a card's parts, text) of each list item at the top level, headed by its direction."""
    found, way = [], ""
    for block in re.split(r'(?=<h4>)|(?=<li><p class="query">)', page):
        if heading := re.match(r"<h4>(.+?)</h4>", block):
            way = heading[1]
        elif block.startswith("<li>"):
            found.append((way, block))
    return found


@pytest.mark.parametrize("captions_each", [1, 2])
def test_queries_are_shown_with_what_was_found_and_the_right_one_marked(tmp_path, captions_each):
    found = loaded(tmp_path, captions_each=captions_each)
    page = retrieval_gallery("Gallery", "DiHT", found, show)
    assert Parsed(page).broken == []
    for direction, heading in DIRECTIONS.items():
        search, blocks = found.directions[direction], [block for way, block in cards(page) if way == heading]
        assert len(blocks) == 9
        place = {f"rank {rank:g}<": query for query, rank in enumerate(search.ranks)}
        queries = [place[re.search(r"rank [\d.]+<", block)[0]] for block in blocks]
        for query, block in zip(queries, blocks, strict=True):
            if direction == "text_to_image":
                asked, right = f"caption {query} ", [f">p{found.picture_of[query]:04d}</i>"]
                items = [f">p{number:04d}</i>" for number in search.nearest[query]]
            else:
                asked = f">p{query:04d}</i>"
                right = [f"caption {number} " for number, own in enumerate(found.picture_of) if own == query]
                items = [f"caption {number} " for number in search.nearest[query]]
            head, *parts = re.split(r'(?=<(?:div|li) class="(?:right|wrong)")', block)
            assert asked in head
            for item, part in zip(items, parts, strict=False):
                assert item in part
                assert part.startswith(("<div", "<li"))
                assert ('class="right"' in part, "✔ right" in part, "✘" in part) == (
                    item in right,
                    item in right,
                    item not in right,
                )
            missed = not set(items) & set(right)
            assert len(parts) == len(items) + missed
            if missed:
                assert right[0] in parts[-1]
                assert "✔ right, not among them" in parts[-1]


def test_the_worst_failures_are_last(tmp_path):
    found = loaded(tmp_path)
    page = retrieval_gallery("Gallery", "DiHT", found, show)
    for direction, heading in DIRECTIONS.items():
        ranks = [float(re.search(r"rank ([\d.]+)<", block)[1]) for way, block in cards(page) if way == heading]
        order = sorted(found.directions[direction].ranks)
        assert ranks[:5] == sorted(ranks[:5])
        assert ranks[0] == order[0]
        assert ranks[5:] == order[-1:-5:-1]
        assert f"{COUNT} queries, half of them with rank {np.median(order):g} or better" in page


@given(st.lists(st.sampled_from([1.0, 1.5, 2.0, 7.0, 40.0]), min_size=1, max_size=30))
def test_no_query_is_shown_twice_and_the_worst_are_the_worst(ranks):
    typical, worst = chosen_queries(ranks)
    assert len({*typical, *worst}) == len(typical) + len(worst) == min(9, len(ranks))
    assert [ranks[query] for query in worst] == sorted(ranks, reverse=True)[: min(4, len(ranks))]
    assert [ranks[query] for query in typical] == sorted(ranks[query] for query in typical)


def test_foreign_captions_cannot_break_the_page(tmp_path):
    page = Parsed(retrieval_gallery("Gallery", "DiHT", loaded(tmp_path), show))
    assert {tag for tag, _ in page.elements} <= {"h4", "p", "ul", "li", "div", "span", "i", "q", "bdi", "ol"}
    names = {name for _, attributes in page.elements for name in attributes}
    assert names <= {"class", "title"}
    assert any(HOSTILE[0] in text for text in page.texts)


def test_the_curves_numbers_are_the_metrics(tmp_path):
    seeds = [loaded(tmp_path, seed) for seed in range(3)]
    drawing = draw_recall_curve("recall", "Gallery", {"DiHT": seeds, "CLIP": seeds[:1], "Other": []})
    assert [axes.get_title(loc="left") or axes.get_title() for axes in drawing.figure.axes] == list(DIRECTIONS.values())
    head, lines = drawing.numbers
    assert head == ("Direction", "Model", "Pictures", "Recall at 1 (%)")
    expected = []
    for axes, (direction, heading) in zip(drawing.figure.axes, DIRECTIONS.items(), strict=True):
        for line, (label, runs) in zip(axes.lines, (("DiHT", seeds), ("CLIP", seeds[:1])), strict=False):
            means = [
                100 * sum(run.directions[direction].curve[n][1] for run in runs) / len(runs) for n in range(len(SIZES))
            ]
            assert list(line.get_xdata()) == list(SIZES)
            np.testing.assert_allclose(line.get_ydata(), means)
            assert line.get_label() == label
            expected += [[heading, label, str(size), f"{mean:.1f}"] for size, mean in zip(SIZES, means, strict=True)]
        guess = next(line for line in axes.lines if line.get_label() == "guessing")
        np.testing.assert_allclose(guess.get_ydata(), [100 / size for size in SIZES])
    assert [list(line) for line in lines] == expected


def test_a_gallery_that_no_model_searched_is_said_to_be_empty():
    drawing = draw_recall_curve("recall", "Gallery", {"DiHT": []})
    assert drawing.blank
    assert {text.get_text() for axes in drawing.figure.axes for text in axes.texts} == {"No model has been searched."}


def drawn(folder, monkeypatch, table, metrics):
    write_pack(folder / "data/one", shape_pictures(COUNT))
    write_pack(folder / "data/two", shape_pictures(COUNT, seed=1))
    titles = {name: {"title": f"Set <{name}>", "shows": "pictures"} for name in ("gcc", "coco")}
    write_json(folder / "config.json", {"sets": titles})
    figures = [folder / f"figures/recall_{name}.svg" for name in ("whole", "coco")]
    run_script(
        "draw_retrieval.py",
        monkeypatch,
        study=STUDY,
        table=table,
        metrics=metrics,
        sets=folder / "config.json",
        data=folder / "data",
        packs=["one", "two"],
        figures=figures,
        output=folder / "page.html",
    )
    assert all(figure.read_text(encoding="utf-8").count("<svg") == 1 for figure in figures)
    return Parsed((folder / "page.html").read_text(encoding="utf-8"))


def test_the_script_draws_a_curve_a_row_and_the_first_rows_queries(tmp_path, monkeypatch):
    runs = [f"{name}-seed0-00000000" for name in ("diht", "clip_long")]
    entries = {run: {"gcc": searched(n), "coco": searched(n + 10, 2)} for n, run in enumerate(runs)}
    metrics = [metrics_file(tmp_path, run, **sets) for run, sets in entries.items()]
    metrics.append(metrics_file(tmp_path, "given_clip-seed0-00000000", failed="the loss is nan"))
    page = drawn(tmp_path, monkeypatch, "retrieval_galleries", metrics)
    assert page.broken == []
    assert len(page.all("figure")) == 2
    cells = [text for text in page.texts if re.fullmatch(r"\d+\.\d", text)]
    expected = [
        f"{100 * recall:.1f}"
        for name in ("gcc", "coco")
        for way in DIRECTIONS
        for run in runs
        for _, recall, _ in entries[run][name]["directions"][way]["curve"]
    ]
    assert cells == expected
    # Queries of the first model over the first row's gallery alone, two directions of nine.
    text = " ".join(page.texts)
    assert text.count(" on Set <gcc>: ") == text.count("DiHT on Set <gcc>: ") == 2
    assert " on Set <coco>: " not in text
    assert len([entry for entry in page.all("p") if entry.get("class") == "query"]) == 18
    assert page.all("script") == []
    pictures = [entry for entry in page.all("img") if entry.get("class") == "picture"]
    assert all(entry["src"].startswith("data:image/png;base64,") for entry in pictures)
    assert {entry["alt"].split()[1] for entry in pictures} <= {str(number) for number in range(COUNT)}


def test_the_script_draws_nothing_of_models_that_failed(tmp_path, monkeypatch):
    page = drawn(tmp_path, monkeypatch, "table1", [metrics_file(tmp_path, "diht-seed0-00000000", failed="nan")])
    assert len(page.all("figure")) == 2
    assert page.all("ul") == []


def test_a_metrics_file_without_the_set_is_one_line(tmp_path, monkeypatch, capsys):
    path = metrics_file(tmp_path, "diht-seed0-00000000", coco=searched(0))
    with pytest.raises(UserError, match=r"retrieval.json: no searches of gcc \('gcc'\): delete it and run again"):
        read_searches(path, "gcc")
    with pytest.raises(SystemExit):
        drawn(tmp_path, monkeypatch, "table1", [path])
    assert "no searches of gcc" in capsys.readouterr().err
    (tmp_path / "old.json").write_text(json.dumps({"run": "diht-seed0-00000000", "searches": None}))
    with pytest.raises(UserError, match="no searches of gcc"):
        read_searches(tmp_path / "old.json", "gcc")


@pytest.mark.parametrize("count", [1, 2])
def test_galleries_smaller_than_a_page(count):
    nearest = [list(range(count)) for _ in range(count)]
    search = Search([1.0] * count, nearest, [(count, 1.0, 0.0)])
    keys = [f"p{number}" for number in range(count)]
    found = Searched("diht-seed0-0", keys, ["a"] * count, list(range(count)), dict.fromkeys(DIRECTIONS, search))
    page = retrieval_gallery("Gallery", "DiHT", found, show)
    assert len(cards(page)) == 2 * count
    assert draw_recall_curve("recall", "Gallery", {"DiHT": [found]}).numbers[1][0][-1] == "100.0"
