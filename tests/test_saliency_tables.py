"""Saliency metrics to cells, and cells to the parts of a saliency table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlrepro.files import read_json, write_json
from vlrepro.saliency.canvas import OBJECT
from vlrepro.saliency.methods import METHODS as METHODS_COMPUTED
from vlrepro.saliency.named_scores import brief_scores, named_scores
from vlrepro.saliency.statistics import Ratio, mean_of, to_plain
from vlrepro.saliency.thresholds import MEAN
from vlrepro.tables.cells import Cells, collect_cells, read_cells
from vlrepro.tables.layout import build_table
from vlrepro.tables.rendering import to_csv, to_html, to_latex, to_markdown
from vlrepro.tables.saliency_columns import BRIEF, MAPS, PRIORS, SCORES, evaluation_name
from vlrepro.tables.statistics import Scores, example_weights, resample_column, seed_weights
from vlrepro.tables.study import AVERAGE, PaperTable, load_study

STUDY = load_study(Path(__file__).parents[1] / "config/papers/language_guidance.yaml")
TABLE = STUDY.table("table3")
METHODS = list(TABLE.saliency.maps)
N = 30


def statistics(key: int) -> dict[str, Ratio]:
    generator = np.random.default_rng(key)
    union = generator.integers(50, 100, (N, 2)).astype(float)
    inside = np.floor(union * generator.random((N, 2)))
    return {
        "iou": Ratio(inside[:, :1], union[:, :1]),
        "miou": Ratio(inside, union),
        "ap": mean_of(generator.random(N)),
    }


def scores_of(key: int) -> dict:
    entries = {
        name: {"score": found.value, "n": found.n, "statistic": to_plain(found)}
        for name, found in statistics(key).items()
    }
    return {"scores": entries, "values": {}}


def run_file(folder: Path, recipe: str, seed: int, key: int, probe: str = "trained", failed: str | None = None) -> Path:
    path = folder / f"{recipe}-seed{seed}-0123abcd/{probe}.json"
    maps = {method: scores_of(100 * key + number) for number, method in enumerate(METHODS)}
    found = {
        "set": "scenes",
        "classes": 34,
        "object_share": 0.138,
        "maps": maps,
        "test_pictures": N,
        "rejected": [["a", "empty"]],
    }
    values = {
        "run": path.parent.name,
        "protocol": "saliency",
        "probe": probe,
        "probe_accuracy": 0.1 * (seed + 1),
        "backbone": {"parameters": 1234, "feature_width": 64},
        "saliency": found,
    }
    write_json(path, values | ({"failed": failed} if failed else {}))
    return path


def prior_file(folder: Path) -> Path:
    found = {"set": "scenes", "classes": 34, "object_share": 0.138, "test_pictures": N, "rejected": [["a", "empty"]]}
    priors = {name: scores_of(9000 + number) for number, name in enumerate(PRIORS)}
    write_json(
        folder / "priors.json", {"protocol": "saliency", "methods": METHODS, "priors": priors, "saliency": found}
    )
    return folder / "priors.json"


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    paths = [
        *(run_file(tmp_path, "simclr", seed, seed) for seed in (0, 1)),
        *(run_file(tmp_path, "random", seed, 10 + seed) for seed in (0, 1)),
        run_file(tmp_path, "simclr", 0, 20, "shuffled"),
        prior_file(tmp_path),
    ]
    collect_cells(paths, tmp_path / "table.parquet")
    return read_cells([tmp_path / "table.parquet"], {"scenes": "Scenes"})


def test_cells_hold_the_statistics_of_runs_controls_and_priors(cells: Cells) -> None:
    assert set(cells.statistics) == {evaluation_name("saliency", m, s) for m in METHODS for s in ("iou", "miou", "ap")}
    assert cells.scores == {}
    found = cells.statistics["saliency_agf_miou"]
    assert set(found) == {(name, "scenes") for name in ("simclr", "random", "simclr+shuffled", *PRIORS)}
    assert found["simclr", "scenes"][1].value == pytest.approx(statistics(100 + METHODS.index("agf"))["miou"].value)
    assert set(found["simclr+shuffled", "scenes"]) == {0}
    # A map that is no model's stands beside every seed.
    assert {seed: one.value for seed, one in found["edges", "scenes"].items()} == {
        seed: pytest.approx(statistics(9000 + PRIORS.index("edges"))["miou"].value) for seed in (0, 1)
    }
    assert cells.seeds("saliency_agf_miou") == {0, 1}
    (info,) = cells.sets["saliency_agf_miou"]
    assert (info.n_classes, info.n_test, info.chance) == (34, N, 0.138)
    assert set(cells.models) == {"simclr", "random", "simclr+shuffled"}


def test_means_over_pictures_get_the_draws_of_all_other_scores(cells: Cells) -> None:
    found = cells.resampled("saliency_agf_ap", ["scenes"], 50)
    values = np.stack([statistics(100 * seed + METHODS.index("agf"))["ap"].images for seed in (0, 1)])
    plain = resample_column({"simclr": Scores(values, (0, 1))}, "scenes", 50)["simclr"]
    np.testing.assert_allclose(found["simclr", "scenes"].draws, plain.draws)
    np.testing.assert_allclose(found["simclr", AVERAGE].means, plain.means)


def test_an_iou_is_computed_anew_in_every_resample(cells: Cells) -> None:
    draws = cells.resampled("saliency_agf_iou", ["scenes"], 20)["simclr", "scenes"].draws[0]
    one = statistics(METHODS.index("agf"))["iou"]
    weights = np.concatenate([drawn for _, drawn in example_weights("scenes", np.full(N, 1 / N), 20)])
    expected = [(w @ one.numerators[:, 0]) / (w @ one.denominators[:, 0]) for w in weights]
    np.testing.assert_allclose(draws, expected)


def test_a_table_has_scores_and_gains_of_every_method(cells: Cells) -> None:
    table = build_table(STUDY, "table3", cells, "pocket", ["Scenes: emoji."], resamples=50)
    assert [part.kind for part in table.parts] == ["ours", "difference"] * len(METHODS)
    scores, gains = table.parts[-2:]
    assert scores.heading.startswith(MAPS["agf"])
    assert [row.id for row in scores.rows] == [row.id for row in TABLE.rows]
    assert [row.id for row in gains.rows] == [row.id for row in TABLE.rows if not row.prior]
    row = {part.kind: next(r for r in part.rows if r.id == "simclr").cells for part in (scores, gains)}
    prior = next(r for r in scores.rows if r.id == "best_prior").cells
    columns = [column.name for column in gains.columns]
    assert columns == [f"{s}_over_best_prior" for s in ("iou", "miou", "ap")] + ["ap_over_random", "ap_over_simclr"]
    for number in range(3):
        assert row["difference"][number].value == pytest.approx(row["ours"][number].value - prior[number].value)
    assert row["difference"][-1].status == "blank"  # SimCLR over itself
    assert next(r for r in scores.rows if r.id == "swav").cells[0].status == "pending"
    notes = " ".join(table.footnotes)
    assert "34 classes, 30 pictures, of which the object takes 13.8 % on average; 1 more left out" in notes
    assert "test pictures, in percent: SimCLR (Pictures alone) 15.0, random weights" in notes
    assert all(SCORES[name][1] in notes for name in TABLE.saliency.scores)


def test_gains_are_paired_differences_with_their_intervals(cells: Cells) -> None:
    table = build_table(STUDY, "table3", cells, "pocket", resamples=50)
    gains = table.parts[-1]
    shown = dict(
        zip((c.name for c in gains.columns), next(r for r in gains.rows if r.id == "random").cells, strict=True)
    )
    scores = cells.resampled("saliency_agf_ap", ["scenes"], 50)
    for name in ("best_prior", "simclr"):
        a, b = scores["random", "scenes"], scores[name, "scenes"]
        values, draws = a.means - b.means, seed_weights((0, 1), 50) * (a.draws - b.draws).T
        half = 1.959964 * np.sqrt(np.mean((draws.sum(axis=1) - values.mean()) ** 2))
        found = shown[f"ap_over_{name}"]
        expected = (values.mean(), values.mean() - half, values.mean() + half)
        assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-6)
    shuffled = next(r for r in gains.rows if r.id == "simclr_shuffled").cells[-1]
    control = cells.resampled("saliency_agf_ap", ["scenes"], 50)
    expected = control["simclr+shuffled", "scenes"].means[0] - control["simclr", "scenes"].means[0]
    assert (shuffled.value, shuffled.n_seeds) == (pytest.approx(expected), 1)


def test_a_set_counts_all_its_pictures_beside_a_score_of_some(tmp_path: Path) -> None:
    part = mean_of(np.ones(3))
    paths = [run_file(tmp_path, "simclr", 0, 0), prior_file(tmp_path)]
    for path in paths:
        values = read_json(path)
        for entry in (values.get("priors") or values["saliency"]["maps"]).values():
            entry["scores"]["ap_to_25"] = {"score": 1.0, "n": 3, "statistic": to_plain(part)}
        write_json(path, values)
    collect_cells(paths, tmp_path / "table.parquet")
    found = read_cells([tmp_path / "table.parquet"], {"scenes": "Scenes"})
    study = STUDY.model_copy(update={"tables": [with_scores(["ap", "ap_to_25"]), with_scores(["ap_to_25", "ap"])]})
    for table in study.tables:
        notes = " ".join(build_table(study, table.name, found, "pocket", resamples=20).footnotes)
        assert f"34 classes, {N} pictures" in notes


def with_scores(scores: list[str]) -> PaperTable:
    columns = TABLE.saliency.model_copy(update={"scores": scores, "gains": {}, "maps": ["agf"]})
    changes = {"saliency": columns, "evaluations": list(columns.evaluations()), "name": f"by_{scores[0]}"}
    return TABLE.model_copy(update=changes)


def test_frozen_features_are_scored_as_before_beside_saliency(tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    of_set = {"score": 0.5, "metric": "accuracy", "classes": 2, "test_pictures": 4, "chance": 0.5}
    sets = {name: of_set | {"examples": [1, 0, 0, 1], "labels": [0, 0, 1, 1]} for name in ("emoji", "scenes")}
    values = {"run": "simclr-seed0-0123abcd", "backbone": {"parameters": 1234, "feature_width": 64}}
    write_json(plain, values | {"protocols": {"linear": {"kind": "linear", "sets": sets}}})
    collect_cells([plain], tmp_path / "alone.parquet")
    collect_cells([plain, run_file(tmp_path, "simclr", 0, 0), prior_file(tmp_path)], tmp_path / "both.parquet")
    titles = {"emoji": "Emoji", "scenes": "Scenes"}
    alone, both = (read_cells([tmp_path / f"{name}.parquet"], titles) for name in ("alone", "both"))
    assert alone.statistics == {}
    assert set(alone.scores) == set(both.scores) == {"linear"}
    for name, found in alone.scores.items():
        assert found.keys() == both.scores[name].keys()
        for key, cell in found.items():
            np.testing.assert_array_equal(cell.values, both.scores[name][key].values)
        assert alone.sets[name] == both.sets[name]


def test_every_method_and_score_that_is_computed_has_a_title() -> None:
    assert set(METHODS_COMPUTED) == set(MAPS)
    masks = np.zeros((4, 20, 20), np.uint8)
    for mask, side in zip(masks, (4, 9, 13, 19), strict=True):  # 4, 20, 42 and 90 % of the pixels
        mask[:side, :side] = OBJECT
    maps = np.random.default_rng(0).random(masks.shape).astype(np.float32)
    assert set(named_scores(maps, masks, MEAN, MEAN).statistics) == set(SCORES)
    assert set(brief_scores(maps, masks, MEAN).statistics) == set(BRIEF)


def test_every_format_shows_the_gains(cells: Cells) -> None:
    table = build_table(STUDY, "table3", cells, "pocket", resamples=50)
    for render in (to_csv, to_markdown, to_latex, to_html):
        text = render(table)
        assert text == render(table)
        assert "AP over the best prior" in text


def test_a_run_that_failed_to_train_has_no_number_in_a_saliency_table(tmp_path: Path) -> None:
    """Its weights give maps like any others: only the metrics file says that they mean nothing."""
    files = [
        run_file(
            tmp_path,
            row.recipe,
            seed,
            10 * number + seed,
            failed="the loss is nan" if (number, seed) == (0, 1) else None,
        )
        for number, row in enumerate(row for row in TABLE.rows if row.recipe and not row.probe)
        for seed in (0, 1)
    ]
    collect_cells([*files, prior_file(tmp_path)], tmp_path / "cells.parquet")
    cells = read_cells([tmp_path / "cells.parquet"], {"scenes": "Scenes"})
    first = next(row for row in TABLE.rows if row.recipe and not row.probe)
    table = build_table(STUDY, "table3", cells, "pocket", resamples=50)
    for part in table.parts:
        shown = {row.id: {(cell.status, cell.text) for cell in row.cells} for row in part.rows}
        if part.kind == "ours":
            assert shown[first.id] == {("failed", "failed to train (1 of 2 seeds)")}
            assert {status for id, found in shown.items() if id != first.id for status, _ in found} <= {
                "done",
                "pending",
            }
        else:
            assert {status for status, _ in shown[first.id]} <= {"failed", "blank"}
            assert "failed" in {status for status, _ in shown[first.id]}
    assert "failed to train (1 of 2 seeds)" in to_markdown(table)
