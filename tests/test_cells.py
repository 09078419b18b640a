"""Metrics files gathered into cells and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score

from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.tables.cells import ModelSize, collect_cells, read_cells

TITLES = {"second": "Second", "first": "First"}
LABELS = [0, 0, 0, 1]


def metrics(
    folder: Path, recipe: str, seed: int, suite: str = "main", examples: tuple[int, ...] = (1, 0, 1, 1)
) -> Path:
    entry = {"score": 0.5, "metric": "accuracy", "classes": 2, "test_pictures": 4, "chance": 0.5}
    linear = {
        "first": entry | {"examples": list(examples), "labels": LABELS},
        "second": entry | {"metric": "mean_per_class", "examples": list(examples), "labels": LABELS},
    }
    shots = {"first": entry | {"examples": [0.25, 1.0], "chance": 0.2}}
    path = folder / f"{recipe}-seed{seed}-0123abcd/{suite}-main-89abcdef.json"
    values = {
        "run": path.parent.name,
        "evaluation": "0" * 64,
        "backbone": {"parameters": 1234, "feature_width": 64},
        "protocols": {
            "linear": {"kind": "linear", "seconds": 1.0, "sets": linear},
            "few_shot": {"kind": "few_shot", "seconds": 1.0, "sets": shots},
        },
        "versions": {},
    }
    write_json(path, values)
    return path


def test_cells_are_those_of_the_metrics_by_evaluation(tmp_path: Path) -> None:
    paths = [metrics(tmp_path, "simclr", 1), metrics(tmp_path, "simclr", 0, examples=(0, 0, 0, 1))]
    collect_cells(paths, tmp_path / "table.parquet")
    cells = read_cells([tmp_path / "table.parquet"], TITLES)
    assert set(cells.scores) == {"linear", "few_shot"}
    first = cells.scores["linear"]["simclr", "first"]
    assert (first.seeds, first.weights) == ((0, 1), None)
    np.testing.assert_array_equal(first.values, [[0, 0, 0, 1], [1, 0, 1, 1]])
    assert cells.models == {"simclr": ModelSize(1234, 64)}
    assert [entry.title for entry in cells.sets["linear"]] == ["Second", "First"]
    assert [entry.chance for entry in cells.sets["few_shot"]] == [0.2]
    assert cells.columns("few_shot") == ["first"]
    assert cells.columns("linear_lgssl") == []
    assert cells.resampled("linear_lgssl", [], 5) == {}
    assert set(cells.resampled("few_shot", ["first"], 5)) == {("simclr", "first"), ("simclr", "avg")}


def test_a_mean_over_classes_weighs_its_examples(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, "simclr", 0)], tmp_path / "table.parquet")
    second = read_cells([tmp_path / "table.parquet"], TITLES).scores["linear"]["simclr", "second"]
    predicted = [label if right else 1 - label for label, right in zip(LABELS, (1, 0, 1, 1), strict=True)]
    assert second.values[0] @ second.weights == pytest.approx(balanced_accuracy_score(LABELS, predicted))


def test_the_file_has_every_column(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, "simclr", 3)], tmp_path / "table.parquet")
    row = pq.read_table(tmp_path / "table.parquet", filters=[("evaluation", "=", "linear")]).to_pylist()[0]
    expected = {"recipe": "simclr", "seed": 3, "run": "simclr-seed3-0123abcd", "evaluation": "linear", "kind": "linear"}
    assert row | expected == row
    assert (row["parameters"], row["feature_width"], row["set"]) == (1234, 64, "first")


def test_what_two_tables_share_is_read_once(tmp_path: Path) -> None:
    one, two = metrics(tmp_path, "simclr", 0), metrics(tmp_path, "lgsimclr", 0)
    collect_cells([one, two], tmp_path / "a.parquet")
    collect_cells([two], tmp_path / "b.parquet")
    cells = read_cells([tmp_path / "a.parquet", tmp_path / "b.parquet"], TITLES)
    assert {key: cell.seeds for key, cell in cells.scores["few_shot"].items()} == {
        ("simclr", "first"): (0,),
        ("lgsimclr", "first"): (0,),
    }


def test_sets_that_are_not_asked_for_are_left_out(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, "simclr", 0)], tmp_path / "table.parquet")
    cells = read_cells([tmp_path / "table.parquet"], {"second": "Second"})
    assert list(cells.scores) == ["linear"]
    assert [entry.name for entry in cells.sets["linear"]] == ["second"]


def test_cells_of_a_version_without_saliency_are_read(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, "simclr", 0)], tmp_path / "table.parquet")
    new = ["statistic", "probe_accuracy", "left_out"]
    pq.write_table(pq.read_table(tmp_path / "table.parquet").drop_columns(new), tmp_path / "old.parquet")
    now, before = (read_cells([tmp_path / f"{name}.parquet"], TITLES) for name in ("table", "old"))
    assert before.sets == now.sets
    assert before.scores.keys() == now.scores.keys()
    assert before.statistics == {}


@pytest.mark.parametrize(
    "broken",
    [{}, {"run": "simclr"}, {"run": "simclr-seed0-0123abcd"}, {"run": "simclr-seed0-0123abcd", "protocols": {}}],
)
def test_another_file_is_refused_by_name(tmp_path: Path, broken: dict) -> None:
    write_json(tmp_path / "broken.json", broken)
    with pytest.raises(UserError, match=r"broken\.json: not a metrics file"):
        collect_cells([tmp_path / "broken.json"], tmp_path / "table.parquet")
    assert not (tmp_path / "table.parquet").exists()
