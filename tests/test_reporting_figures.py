"""The report's figures and galleries: what they show, and that their bytes repeat."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes
from reporting_site import KINDS, PACK, SCORED, differences_of, mined_pairs, read_all_captions

from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import write_json, write_text
from vlrepro.reporting.curves import draw_accuracy, draw_loss, draw_spread
from vlrepro.reporting.drawing import COLOURS, Drawing, house_style, save
from vlrepro.reporting.forest import draw_differences
from vlrepro.reporting.gallery import sample_pairs
from vlrepro.reporting.inputs import (
    MinedPairs,
    ScoreFile,
    TrainedRun,
    read_captions,
    read_history,
    read_pairs,
    read_runs,
    read_scores,
)
from vlrepro.reporting.pair_figures import draw_captions, draw_purity, group_of, purity_by_kind
from vlrepro.reporting.score_figures import draw_scores, scored_captions


@pytest.fixture(scope="module")
def drawn(site) -> list[Drawing]:
    return drawings(site.folder)


def test_the_sample_of_pairs_has_good_and_bad_ones_whatever_the_order(site) -> None:
    pairs = mined_pairs(site.folder)
    known = {row.key: row for row in Pack(site.folder / PACK).rows}
    chosen = sample_pairs(pairs, 16)
    assert len({row.source for _, row in chosen}) == 16
    for relation, row in chosen:
        source, neighbour = known[row.source], known[row.neighbour]
        expected = "other"
        if source.label == neighbour.label:
            expected = "concept" if source.concept == neighbour.concept else "label"
        assert relation == expected
    assert set(Counter(relation for relation, _ in chosen)) == {"concept", "label", "other"}
    assert max(Counter(relation for relation, _ in chosen).values()) <= 7
    shuffled = MinedPairs(
        pairs.id, pairs.recipe, pairs.summary, pairs.rows.sample(frac=1, random_state=1, ignore_index=True)
    )
    assert [row.source for _, row in sample_pairs(shuffled, 16)] == [row.source for _, row in chosen]


def test_criteria_that_tell_nothing_apart_are_left_out(site) -> None:
    pairs = mined_pairs(site.folder)
    assert list(pairs.criteria()) == ["concept", "label"]  # here the label is the group
    for random, expected in (((0.1, 1.0, 0.2), ["concept", "group"]), ((0.0, 0.2, 0.2), ["label"])):
        other = pairs.summary | {"random_purity": dict(zip(("concept", "label", "group"), random, strict=True))}
        assert list(MinedPairs(pairs.id, pairs.recipe, other, pairs.rows).criteria()) == expected


def test_purity_by_kind_is_counted_over_sources(site) -> None:
    pairs = mined_pairs(site.folder)
    known = {row.key: row for row in Pack(site.folder / PACK).rows}
    found = purity_by_kind(pairs, [*KINDS, "short"], "concept")
    for kind in KINDS:
        rows = [row for row in pairs.rows.itertuples() if row.kind_of_source == kind]
        hits = sum(known[row.source].concept == known[row.neighbour].concept for row in rows)
        assert found.loc[kind, "share"] == pytest.approx(hits / len(rows))
    assert math.isnan(found.loc["short", "share"])


def test_pairs_of_strangers_are_refused(site, tmp_path) -> None:
    stem = site.folder / "pairs/language_original-00000000"
    table = {"source": ["stranger"], "neighbour": ["p0001"], "cosine": [0.5], "rank": [0]}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    write_json(tmp_path / "p.json", {"captions": None, "pack": PACK})
    captions = read_all_captions(site.folder)
    for recipe, place in ((stem.with_suffix(".json"), "original-00000000"), (tmp_path / "p.json", PACK)):
        with pytest.raises(UserError, match=rf"p\.parquet: 'stranger' is not in {place}: mine the pairs again"):
            read_pairs(
                tmp_path / "p.parquet",
                stem.with_suffix(".summary.json"),
                recipe,
                captions,
                {PACK: captions["clean-00000000"].rows},
            )


def test_only_the_nearest_of_several_neighbours_is_shown(site, tmp_path) -> None:
    stem = site.folder / "pairs/language_original-00000000"
    table = pq.read_table(f"{stem}.parquet").to_pandas()
    more = pd.concat([table, table.assign(rank=1, neighbour=table["source"].iloc[::-1].to_numpy())])
    more.to_parquet(tmp_path / "p.parquet")
    files = [tmp_path / "p.parquet", stem.with_suffix(".summary.json"), stem.with_suffix(".json")]
    found = read_pairs(*files, read_all_captions(site.folder), {})
    assert list(found.rows["neighbour"]) == list(table["neighbour"])


def test_only_sources_that_count_have_a_summary(site) -> None:
    found = read_all_captions(site.folder)
    counted = {f"{name}-00000000" for name in ("generated", "refined", "cat")}
    assert {name for name, source in found.items() if source.summary} == counted
    assert found["refined-00000000"].summary["pictures"] == 60
    path = site.folder / "captions/clean-00000000.parquet"
    assert read_captions([path], [path.with_suffix(".json")], [])["clean-00000000"].name == "clean"


def scores_of(folder: Path) -> list[ScoreFile]:
    paths = [folder / f"scores/{name}_by_scorer-00000000.parquet" for name in SCORED]
    return read_scores(paths, [path.with_suffix(".json") for path in paths])


def drawings(folder: Path) -> list[Drawing]:
    captions, pairs = read_all_captions(folder), mined_pairs(folder)
    runs = read_runs(sorted((folder / "recipes").glob("*.json")))
    histories = {run.id: read_history(folder / f"runs/{run.id}/history.jsonl") for run in runs}
    with house_style():
        return [
            draw_differences("table1", "Linear probe", differences_of(folder, "table1"), summary=False),
            draw_differences("captions", "Captions", differences_of(folder, "captions"), summary=True),
            *(draw("study", runs, histories) for draw in (draw_loss, draw_accuracy, draw_spread)),
            draw_purity([pairs, mined_pairs(folder, "random"), mined_pairs(folder, "language_group")]),
            draw_captions(list(captions.values()), [pairs]),
            draw_scores(scores_of(folder), captions),
        ]


def test_figures_are_valid_svg_with_the_same_bytes_each_time(site, drawn, tmp_path) -> None:
    for first, second in zip(drawn, drawings(site.folder), strict=True):
        written = save(first, tmp_path / "a").read_bytes()
        assert written == save(second, tmp_path / "b").read_bytes()
        assert len(written) > 5000
        root = ElementTree.fromstring(written)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<dc:date>" not in written
        assert b"prefers-color-scheme:dark" in written


def test_figures_say_why_they_are_empty(site, tmp_path) -> None:
    empty = differences_of(site.folder, "table1").iloc[:0]
    run = TrainedRun(
        "random-seed0-0123abcd", "random", 0, {"batch_size": 16, "framework": "untrained", "options": {}, "steps": 0}
    )
    histories = {run.id: read_history(site.folder / "runs/random-seed0-0123abcd/history.jsonl")}
    with house_style():
        found = [
            draw_differences("t", "T", empty, summary=False),
            draw_differences("u", "U", empty, summary=True),
            *(draw("study", [run], histories) for draw in (draw_loss, draw_accuracy, draw_spread)),
            draw_purity([]),
            draw_captions([], []),
            draw_scores([], {}),
        ]
    for drawing in found:
        texts = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
        assert any(text.endswith(".") for text in texts)
        assert save(drawing, tmp_path).stat().st_size > 1000


def points(drawing: Drawing) -> tuple[int, int]:
    """How many markers a forest plot has, and how many of them are hollow."""
    marks = [
        (int(np.isfinite(line.get_xdata()).sum()), line.get_markerfacecolor() == "none")
        for axes in drawing.figure.axes
        for line in axes.lines
        if line.get_marker() not in ("None", "", None)
    ]
    return sum(count for count, _ in marks), sum(count for count, hollow in marks if hollow)


@pytest.mark.parametrize(("table", "summary"), [("table1", False), ("captions", True)])
def test_differences_are_hollow_where_the_interval_includes_zero(site, table: str, summary: bool) -> None:
    cells = differences_of(site.folder, table)
    done = cells[(cells["block"] == "paired difference") & (cells["status"] == "done")]
    done = done[done["column"] == "Avg"] if summary else done
    undecided = sum(low <= 0 <= high for low, high in zip(done["low"], done["high"], strict=True))
    assert 0 < undecided < len(done)
    with house_style():
        drawing = draw_differences(table, "A table", cells, summary)
    assert points(drawing) == (len(done), undecided)
    rows = list(dict.fromkeys(done["row"]))
    if summary:
        assert [label.get_text().replace("\n", " ") for label in drawing.figure.axes[0].get_yticklabels()] == rows
        assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["Linear probe", "Few-shot"]
    else:
        titles = [axes.get_title(loc="left").replace("\n", " ") for axes in drawing.figure.axes if axes.get_visible()]
        assert titles == rows
    for row in rows:
        assert f"{row}, " in drawing.alt


def _in_view(axes: Axes, height: float) -> bool:
    low, high = sorted(axes.get_ylim())
    return low <= height <= high


def test_no_text_of_a_figure_lies_over_another(drawn) -> None:
    for drawing in drawn:
        with house_style():
            drawing.figure.draw_without_rendering()
            panels = [axes for axes in drawing.figure.axes if axes.get_visible()]
            texts = [axes._left_title for axes in panels]
            texts += [
                text for axes in panels for text in axes.get_yticklabels() if _in_view(axes, text.get_position()[1])
            ]
            shown = [text for text in texts if text.get_text() and text.get_visible()]
            boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in shown]
        for number, box in enumerate(boxes):
            assert not [
                (shown[number].get_text(), shown[number + 1 + other].get_text())
                for other, second in enumerate(boxes[number + 1 :])
                if box.overlaps(second) and shown[number].get_text() != shown[number + 1 + other].get_text()
            ], drawing.name


def test_curves_are_means_over_seeds_beside_the_loss_of_knowing_nothing() -> None:
    recipe = {"batch_size": 32, "framework": "simclr", "options": {}, "steps": 3}
    runs = [TrainedRun(f"simclr-seed{seed}-0123abcd", "simclr", seed, recipe) for seed in (0, 1)]
    runs.append(TrainedRun("swav-seed0-0123abcd", "swav", 0, recipe | {"framework": "swav"}))
    losses = {runs[0].id: [4.0, 3.0, 2.0], runs[1].id: [2.0, 2.0, 1.0], runs[2].id: [9.0, 8.0, 7.0]}
    histories = {
        run: pd.DataFrame({"step": [1, 2, 3], "loss": values}).set_index("step") for run, values in losses.items()
    }
    histories[runs[0].id]["contrast_accuracy"] = [0.1, 0.2, 0.3]
    with house_style():
        first, second, *hidden = draw_loss("study", runs, histories).figure.axes
        accuracy = draw_accuracy("study", runs, histories)
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["simclr", "swav"]
    assert not any(axes.get_visible() for axes in hidden)
    curve, level = first.lines
    assert curve.get_color() == COLOURS[0]
    assert list(curve.get_ydata()) == [3.0, 2.5, 1.5]
    assert np.allclose(level.get_ydata(), -math.log(1 / (2 * 32 - 1)))
    assert len(second.lines) == 1
    assert second.get_ylim()[0] > 6
    assert [axes.get_title(loc="left") for axes in accuracy.figure.axes if axes.get_visible()] == ["simclr"]
    assert list(accuracy.figure.axes[0].lines[0].get_ydata()) == pytest.approx([10, 20, 30])


def test_purity_has_a_panel_a_group_and_a_diamond_a_bar(site) -> None:
    mined = [mined_pairs(site.folder, name) for name in ("language_original", "language_group", "random", "visual")]
    assert [group_of(pairs) for pairs in mined] == ["captions", "scopes", "controls", "controls"]
    with house_style():
        figure = draw_purity(mined).figure
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split(":")[0] for title in titles] == [
        "By caption",
        "By caption, searched within a scope",
        "Controls",
    ]
    widths = sorted(bar.get_width() for axes in figure.axes for bar in axes.patches if bar.get_height() < 0.4)
    shares = [100 * pairs.summary["purity"][name]["share"] for pairs in mined for name in ("concept", "label")]
    assert widths == pytest.approx(sorted(shares))
    chance = [
        value for axes in figure.axes for line in axes.lines if line.get_marker() == "d" for value in line.get_xdata()
    ]
    levels = [100 * pairs.summary["random_purity"][name] for pairs in mined for name in ("concept", "label")]
    assert sorted(chance) == pytest.approx(sorted(levels))


def test_scores_are_counted_by_source_and_by_kind(site) -> None:
    captions, scores = read_all_captions(site.folder), scores_of(site.folder)
    rows = scored_captions(scores[0], captions)
    assert len(rows) == 60
    assert set(rows["kind"]) == set(KINDS)
    with house_style():
        drawing = draw_scores(scores, captions)
    left, right = drawing.figure.axes
    assert [patch.get_data().values.sum() for patch in left.patches] == [60, 60]
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert sorted(labels) == sorted(["generated (60)", *(f"{kind}\noriginal (20)" for kind in KINDS)])
    assert f"original by scorer-00000000: median {rows['score'].median():.3f} of 60." in drawing.alt


def test_a_broken_history_is_named(tmp_path) -> None:
    write_text(tmp_path / "history.jsonl", '{"step": 1, "loss"\n')
    with pytest.raises(UserError, match=r"history\.jsonl: not a training history"):
        read_history(tmp_path / "history.jsonl")
