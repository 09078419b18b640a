"""Runs whose loss was not finite: from metrics files to cells, tables and verdicts, never as a number."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from grid_tables import SEEDS, cells, claim, study

from vlrepro.files import write_json
from vlrepro.tables.cells import Failure, collect_cells, read_cells
from vlrepro.tables.claim_rendering import claims_to_json
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.layout import build_table
from vlrepro.tables.parts import Part, Table
from vlrepro.tables.rendering import to_csv, to_html, to_latex, to_markdown
from vlrepro.tables.study import Study
from vlrepro.tables.verdicts import Verdict, explain

REASON = "loss is nan at step 12"
SCORES = {"kind": "scores", "direction": "above", "pairs": [["noisy", "base"]]}


def metrics(folder: Path, seed: int, failed: bool) -> Path:
    entry = {"score": 0.5, "metric": "mean_per_class", "classes": 2, "test_pictures": 4, "chance": 0.5}
    outcomes = {"score": None, "examples": []} if failed else {"examples": [1, 0, 1, 1], "labels": [0, 0, 1, 1]}
    path = folder / f"cln-seed{seed}-0123abcd/main-main-89abcdef.json"
    values = {
        "run": path.parent.name,
        "backbone": {"parameters": 1234, "feature_width": 64},
        "protocols": {"top1": {"kind": "zero_shot", "sets": {"all": entry | outcomes}}},
    }
    write_json(path, values | ({"failed": REASON} if failed else {}))
    return path


def test_a_failed_run_is_kept_with_its_reason_and_without_scores(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, seed, failed=seed == 1) for seed in SEEDS], tmp_path / "t.parquet")
    rows = {row["seed"]: row for row in pq.read_table(tmp_path / "t.parquet").to_pylist()}
    assert (rows[0]["failed"], rows[1]["failed"], rows[1]["score"], rows[1]["examples"]) == (None, REASON, None, [])
    found = read_cells([tmp_path / "t.parquet"], {"all": "All"})
    assert found.scores["top1"]["cln", "all"].seeds == (0, 2)
    assert found.failed == {"top1": {("cln", "all"): {1: REASON}}}
    assert found.failure("top1", ["cln"], ["all"]) == Failure(1, 3)
    assert found.failure("top1", ["other"], ["all"]) is None
    assert [info.n_test for info in found.sets["top1"]] == [4]


def test_where_all_runs_failed_the_set_is_known_all_the_same(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, 0, failed=True)], tmp_path / "t.parquet")
    found = read_cells([tmp_path / "t.parquet"], {"all": "All"})
    assert found.scores["top1"] == {}
    assert [info.title for info in found.sets["top1"]] == ["All"]
    assert str(found.failure("top1", ["cln"], ["all"])) == "failed to train"


def test_cells_of_a_version_without_failures_are_read(tmp_path: Path) -> None:
    collect_cells([metrics(tmp_path, 0, failed=False)], tmp_path / "t.parquet")
    pq.write_table(pq.read_table(tmp_path / "t.parquet").drop_columns(["failed"]), tmp_path / "old.parquet")
    before = read_cells([tmp_path / "old.parquet"], {"all": "All"})
    assert before.failed == {}
    assert before.scores["top1"]["cln", "all"].seeds == (0,)


def built(name: str, failed: dict[str, tuple[int, ...]], of: Study | None = None) -> Table:
    return build_table(of or study(), name, cells(failed=failed), "pocket", resamples=100)


def statuses(part: Part) -> dict[str, list[str]]:
    return {row.id: [cell.text or cell.status for cell in row.cells] for row in part.rows}


def test_a_cell_and_its_differences_say_how_many_seeds_failed() -> None:
    ours, differences, _ = built("table1", {"noisy_small": (0, 2), "noisy_large": SEEDS}).parts
    some, every = "failed to train (2 of 3 seeds)", "failed to train"
    assert statuses(ours)["noisy"] == [some, some, every, every]
    assert statuses(ours)["base"] == ["done"] * 4
    assert statuses(differences)["noisy-minus-base"] == [some, some, every, every]
    assert statuses(differences)["partial-minus-base"] == ["done", "done", "blank", "blank"]


def test_a_failed_baseline_takes_its_differences_with_it() -> None:
    ours, differences, _ = built("table1", {"base_small": (1,)}).parts
    one = "failed to train (1 of 3 seeds)"
    assert statuses(ours)["base"][:2] == [one, one]
    assert all(cells[:2] == [one, one] for cells in statuses(differences).values())


def test_averages_of_an_added_table_fail_with_their_sets() -> None:
    table = built("added", {"noisy_large": (1,)})
    one = "failed to train (1 of 3 seeds)"
    assert statuses(table.parts[0])["noisy"] == ["done", "done", one, one]
    assert {cell.status for p in table.details for row in p.rows if "noisy" in row.id for cell in row.cells} == {
        "done",
        "failed",
    }


@pytest.mark.parametrize("render", [to_markdown, to_latex, to_html])
def test_every_format_says_so_in_words_and_explains_them(render: object) -> None:
    text = render(built("table1", {"noisy_small": (0, 2)}))
    assert text.count("failed to train (2 of 3 seeds)") == 4
    assert "the loss of a run was no longer finite" in text
    assert "the loss of a run was no longer finite" not in render(built("table1", {}))


def test_csv_has_the_status_and_no_number() -> None:
    rows = csv.DictReader(io.StringIO(to_csv(built("table1", {"noisy_small": (0, 2)}))))
    lost = [row for row in rows if row["status"] == "failed"]
    assert len(lost) == 4
    assert {(row["value"], row["low"], row["high"], row["n_seeds"]) for row in lost} == {("", "", "", "3")}
    assert {row["block"] for row in lost} == {"", "paired difference"}


def judged(test: dict, failed: dict[str, tuple[int, ...]], tables: tuple[str, ...] = ("table1",)) -> Verdict:
    entry = study(claims=[claim(test, list(tables))])
    [found] = judge_claims(entry, cells(failed=failed), "pocket", resamples=100)
    assert json.loads(claims_to_json([found], "pocket"))[0]["ours"]["outcome"] == found.ours.outcome
    return found.ours


def test_a_claim_that_rests_on_a_failed_row_is_undecided_for_that_reason() -> None:
    found = judged(SCORES, {"noisy_large": (0,)})
    assert found.outcome == "undecided"
    assert explain(found, None, "") == "Noisy, Large net, failed to train (1 of 3 seeds)."
    assert judged(SCORES | {"variants": ["small"]}, {"noisy_large": (0,)}).outcome == "supported"
    assert judged(SCORES, {"partial_small": SEEDS}).reason is None


def test_both_failed_rows_of_a_comparison_are_named_once() -> None:
    found = judged(SCORES, {"noisy_small": SEEDS, "base_small": (2,)})
    assert found.reason == "Noisy, Small net, failed to train; Base, Small net, failed to train (1 of 3 seeds)."


def test_a_failed_run_is_at_chance_where_the_claim_is_about_failing() -> None:
    chance = {"kind": "chance", "rows": ["noisy@large"], "tolerance": 1.0}
    assert judged(chance, {"noisy_large": SEEDS}).outcome == "supported"
    others = judged(chance, {"noisy_large": (0,)})
    assert others.outcome == "contradicted"  # the two other seeds are far above chance
    assert "failed to train (1 of 3 seeds); " in others.reason
    above = {"kind": "chance", "rows": ["noisy@large"], "direction": "above"}
    assert judged(above, {"noisy_large": SEEDS}).outcome == "contradicted"


def test_an_order_of_models_with_a_failed_one_is_undecided() -> None:
    rows = [{"id": f"m{i}", "label": f"M{i}", "recipe": f"m{i}"} for i in range(4)]
    table = {"name": "models", "title": "Models", "evaluations": ["top1", "top5"], "rows": rows}
    test = {"kind": "agreement", "between": ["top1", "top5"], "rows": [row["id"] for row in rows]}
    entry = study(tables=[table], claims=[claim(test, ["models"])])
    levels = {row["id"]: 0.2 * i + 0.1 for i, row in enumerate(rows)}
    [found] = judge_claims(entry, cells(levels, {"m2": (1,)}), "pocket", resamples=50)
    assert (found.ours.outcome, found.ours.reason) == ("undecided", "M2 failed to train (1 of 3 seeds).")
    [whole] = judge_claims(entry, cells(levels), "pocket", resamples=50)
    assert whole.ours.agreement is not None
