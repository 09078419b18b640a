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
from reporting_site import KINDS, Site, make_site, mined_pairs

from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import write_text
from vlrepro.reporting.drawing import house_style, save
from vlrepro.reporting.figures import draw_curves, draw_differences
from vlrepro.reporting.gallery import sample_pairs
from vlrepro.reporting.inputs import MinedPairs, TrainedRun, read_history, read_pairs, read_runs
from vlrepro.reporting.pair_figures import draw_captions, draw_purity, purity_by_kind


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


def test_the_sample_of_pairs_has_good_and_bad_ones_whatever_the_order(site) -> None:
    _, pairs = mined_pairs(site.folder)
    known = {row.key: row for row in Pack(site.folder / "shapes-00000000").rows}
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
    assert [row.source for _, row in sample_pairs(shuffled)] == [row.source for _, row in chosen]


def test_criteria_that_tell_nothing_apart_are_left_out(site) -> None:
    _, pairs = mined_pairs(site.folder)
    assert list(pairs.criteria()) == ["concept", "label"]  # here the label is the group
    for random, expected in (((0.1, 1.0, 0.2), ["concept", "group"]), ((0.0, 0.2, 0.2), ["label"])):
        other = pairs.summary | {"random_purity": dict(zip(("concept", "label", "group"), random, strict=True))}
        assert list(MinedPairs(pairs.id, pairs.recipe, other, pairs.rows).criteria()) == expected


def test_purity_by_kind_is_counted_over_sources(site) -> None:
    _, pairs = mined_pairs(site.folder)
    known = {row.key: row for row in Pack(site.folder / "shapes-00000000").rows}
    found = purity_by_kind(pairs, [*KINDS, "short"], "concept")
    for kind in KINDS:
        rows = [row for row in pairs.rows.itertuples() if row.kind_of_source == kind]
        hits = sum(known[row.source].concept == known[row.neighbour].concept for row in rows)
        assert found.loc[kind, "share"] == pytest.approx(hits / len(rows))
    assert math.isnan(found.loc["short", "share"])


def test_pairs_without_captions_are_refused(site, tmp_path) -> None:
    captions, _ = mined_pairs(site.folder)
    stem = site.folder / "mined-00000000"
    pq.write_table(pa.table({"source": ["stranger"], "neighbour": ["p0001"], "cosine": [0.5]}), tmp_path / "p.parquet")
    with pytest.raises(UserError, match=r"p\.parquet: 'stranger' has no caption in noisy-00000000"):
        read_pairs(tmp_path / "p.parquet", f"{stem}.summary.json", f"{stem}.json", {captions.id: captions})


def drawings(folder: Path) -> list:
    captions, pairs = mined_pairs(folder)
    runs = read_runs(sorted((folder / "recipes").glob("*.json")))
    histories = {run.id: read_history(folder / f"runs/{run.id}/history.jsonl") for run in runs}
    with house_style():
        return [
            draw_differences("table1", "Linear probe", pd.read_csv(folder / "table1.csv")),
            draw_curves(runs, histories, {"simclr": "SimCLR"}),
            draw_purity([pairs]),
            draw_captions([captions], [pairs]),
        ]


def test_figures_are_valid_svg_with_the_same_bytes_each_time(site, tmp_path) -> None:
    for first, second in zip(drawings(site.folder), drawings(site.folder), strict=True):
        written = save(first, tmp_path / "a").read_bytes()
        assert written == save(second, tmp_path / "b").read_bytes()
        assert len(written) > 5000
        root = ElementTree.fromstring(written)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<dc:date>" not in written
        assert b"prefers-color-scheme:dark" in written


def test_figures_say_why_they_are_empty(site, tmp_path) -> None:
    header = (site.folder / "table1.csv").read_text(encoding="utf-8").splitlines()[0]
    write_text(tmp_path / "table.csv", f"{header}\n")
    run = TrainedRun("random-seed0-0123abcd", "random", 0, {"batch_size": 16})
    with house_style():
        found = [
            draw_differences("t", "T", pd.read_csv(tmp_path / "table.csv")),
            draw_curves([run], {run.id: read_history(site.folder / "runs/random-seed0-0123abcd/history.jsonl")}, {}),
            draw_purity([]),
            draw_captions([], []),
        ]
    for drawing in found:
        texts = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
        assert any(text.endswith(".") for text in texts)
        assert save(drawing, tmp_path).stat().st_size > 1000


def test_differences_are_hollow_where_the_interval_includes_zero(site) -> None:
    cells = pd.read_csv(site.folder / "table1.csv")
    done = cells[(cells["block"] == "paired difference") & (cells["status"] == "done")]
    undecided = sum(low <= 0 <= high for low, high in zip(done["low"], done["high"], strict=True))
    assert 0 < undecided < len(done)
    with house_style():
        axes = draw_differences("table1", "Linear probe", cells).figure.axes[0]
    points = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    hollow = [line for line in points if line.get_markerfacecolor() == "none"]
    assert sum(int(np.isfinite(line.get_xdata()).sum()) for line in points) == len(done)
    assert sum(int(np.isfinite(line.get_xdata()).sum()) for line in hollow) == undecided


def test_curves_are_means_over_seeds_beside_the_loss_of_knowing_nothing() -> None:
    runs = [TrainedRun(f"simclr-seed{seed}-0123abcd", "simclr", seed, {"batch_size": 32}) for seed in (0, 1)]
    losses = {runs[0].id: [4.0, 3.0, 2.0], runs[1].id: [2.0, 2.0, 1.0]}
    histories = {
        run: pd.DataFrame({"step": [1, 2, 3], "loss": values, "contrast_accuracy": 0.5}).set_index("step")
        for run, values in losses.items()
    }
    with house_style():
        loss = draw_curves(runs, histories, {}).figure.axes[0]
    curve = next(line for line in loss.lines if line.get_label() == "simclr")
    assert list(curve.get_ydata()) == [3.0, 2.5, 1.5]
    level = -math.log(1 / (2 * 32 - 1))
    baseline = next(line for line in loss.lines if "nothing apart" in str(line.get_label()))
    assert np.allclose(baseline.get_ydata(), level)
    assert f"{level:.2f}" in baseline.get_label()


def test_a_broken_history_is_named(tmp_path) -> None:
    write_text(tmp_path / "history.jsonl", '{"step": 1, "loss"\n')
    with pytest.raises(UserError, match=r"history\.jsonl: not a training history"):
        read_history(tmp_path / "history.jsonl")
