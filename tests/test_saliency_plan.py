"""What a plan makes of saliency tables: evaluations by content, controls, priors and a gallery."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from vlrepro.config import load_config
from vlrepro.errors import UserError
from vlrepro.plan import make_plan, model
from vlrepro.plan.model import Plan
from vlrepro.revisions import revision_of
from vlrepro.tables.study import PaperTable, Study, load_study

ROOT = Path(__file__).parents[1]
STUDY = load_study(ROOT / "config/papers/language_guidance.yaml")
TABLE = "language_guidance_table3"


@pytest.fixture
def values() -> dict:
    return yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"tables": ["table1", "table3"], "without": []}


def planned(values: dict, study: Study = STUDY) -> Plan:
    return make_plan(load_config(copy.deepcopy(values)), {study.slug: study})


def identity(values: dict) -> str:
    """The id of the trained probe's evaluation."""
    (found,) = planned(values).tables[TABLE].evaluations
    return found


def ids(values: dict) -> set[str]:
    return {key for key, entry in planned(values).evaluations.items() if entry.saliency}


def with_rows(keep: object) -> Study:
    """The study with the rows of Table 3 that `keep` says, and no other row asked for."""
    table = STUDY.table("table3")
    columns = table.saliency.model_copy(update={"gains": {}, "gallery": []})
    kept = table.model_copy(update={"rows": [row for row in table.rows if keep(row)], "saliency": columns})
    return with_table(kept)


def with_table(table: PaperTable) -> Study:
    return STUDY.model_copy(update={"tables": [STUDY.table("table1"), table]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("methods", ["grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "activation", "agf", "cam"]),
        ("every_score", ["agf"]),
        ("canvas", 128),
        ("size", 64),
        ("tuning_pictures", 50),
        ("set", "scenes_centred"),
    ],
)
def test_what_decides_a_map_or_its_scores_decides_the_evaluation(values: dict, key: str, value: object) -> None:
    before = ids(values)
    values["evaluation"]["saliency"]["saliency"] = values["evaluation"]["saliency"]["saliency"] | {key: value}
    assert len(before) == 3  # the trained probe, and two others
    assert before.isdisjoint(ids(values))


def test_the_digest_of_the_pack_decides_the_evaluation(values: dict) -> None:
    before = identity(values)
    pack = values["packs"][values["sets"]["scenes"]["pack"]]
    pack["compose"] = pack["compose"] | {"seed": 12345}
    assert identity(values) != before


def test_a_revision_of_a_method_decides_the_evaluations_that_use_it(
    values: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    values["tables"] = ["table3", "saliency_packaged"]
    before = ids(values)
    revised = {"saliency.agf": 99}
    monkeypatch.setattr(model, "revision_of", lambda module: revised.get(module) or revision_of(module))
    kept = before & ids(values)
    assert {key.split("-")[0] for key in kept} == {"packaged", "packaged_shuffled"}  # they have no AGF


def test_what_decides_no_map_leaves_the_evaluations_alone(values: dict) -> None:
    before = planned(values)
    values["sets"]["scenes"]["title"] = "Another title"
    values["resources"]["evaluate_minutes"] = 7
    values["evaluation"]["sets"] = values["evaluation"]["sets"][:2]
    values["evaluation"]["protocols"]["few_shot"]["episodes"] = 11
    values["evaluation"]["saliency"]["packaged"] = None
    values["recipes"]["simclr"]["batch_size"] = 32
    after = planned(values)
    assert after.tables[TABLE].evaluations == before.tables[TABLE].evaluations
    assert after.tables[TABLE].runs != before.tables[TABLE].runs


def test_saliency_is_nothing_to_the_evaluations_of_frozen_features(values: dict) -> None:
    values["tables"] = None
    before = {key: entry.recipe for key, entry in planned(values).evaluations.items() if not entry.saliency}
    values["evaluation"]["saliency"] = {
        name: entry | {"size": 48, "tuning_pictures": 7} for name, entry in values["evaluation"]["saliency"].items()
    }
    after = planned(values)
    assert {key: entry.recipe for key, entry in after.evaluations.items() if not entry.saliency} == before
    values["evaluation"]["saliency"] = dict.fromkeys(values["evaluation"]["saliency"])
    without = planned(values)
    assert {key: entry.recipe for key, entry in without.evaluations.items()} == before


def test_controls_are_of_the_rows_that_ask(values: dict) -> None:
    values["seeds"] = [0, 1]
    plan = planned(values)
    table = plan.tables[TABLE]
    asked = [(row.recipe, row.probe) for row in STUDY.table("table3").rows if row.probe]
    found = [(plan.runs[run].recipe_name, plan.evaluations[key].recipe["probe"]) for run, key in table.controls]
    assert found == [pair for pair in asked for _ in values["seeds"]]
    assert [plan.evaluations[key].recipe["probe"] for key in table.evaluations] == ["trained"]
    assert set(table.controls) <= set(plan.metrics(TABLE))
    assert planned(values, with_rows(lambda row: not row.probe)).tables[TABLE].controls == ()


def test_a_control_that_two_rows_show_is_scored_once(values: dict) -> None:
    table = STUDY.table("table3")
    again = table.row("simclr_shuffled").model_copy(update={"id": "again"})
    study = with_table(table.model_copy(update={"rows": [*table.rows, again]}))
    assert planned(values, study).tables[TABLE].controls == planned(values).tables[TABLE].controls


def test_a_backbone_that_only_a_control_has_is_not_mapped_by_its_trained_probe(values: dict) -> None:
    plan = planned(values, with_rows(lambda row: row.probe or row.id == "random"))
    table = plan.tables[TABLE]
    assert {plan.runs[run].recipe_name for run in table.runs} == {"random"}
    assert {plan.runs[run].recipe_name for run, _ in table.controls} == {"simclr", "lgsimclr"}


def test_priors_are_scored_where_a_row_shows_one(values: dict) -> None:
    table = planned(values).tables[TABLE]
    assert table.priors == table.evaluations
    assert planned(values, with_rows(lambda row: not row.prior)).tables[TABLE].priors == ()


def test_the_gallery_shows_the_first_seed_of_rows_that_are_run(values: dict) -> None:
    values["seeds"] = [3, 1]
    values["recipes"]["supervised"] = None
    plan = planned(values)
    shown = {row: plan.runs[run] for row, run in plan.tables[TABLE].gallery.items()}
    wanted = [row for row in STUDY.table("table3").saliency.gallery if row != "supervised"]
    assert list(shown) == wanted
    assert {run.seed for run in shown.values()} == {3}
    assert [run.recipe_name for run in shown.values()] == [STUDY.table("table3").row(row).recipe for row in wanted]


def test_a_protocol_that_is_null_has_no_table(values: dict) -> None:
    values["evaluation"]["saliency"]["saliency"] = None
    plan = planned(values)
    assert set(plan.tables) == {"language_guidance_table1"}
    assert not any(entry.saliency for entry in plan.evaluations.values())


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        (
            "table3",
            {"methods": ["agf"], "every_score": []},
            r"saliency\.saliency\.methods: 'grad_cam' is a column of ta",
        ),
        (
            "saliency_scores",
            {"every_score": ["agf"]},
            r"saliency\.saliency\.every_score: 'grad_cam' is a column of sal",
        ),
        (
            "table3",
            {"methods": ["agf", "glad_cam"], "every_score": []},
            r"saliency\.methods: 'glad_cam' is not one of ",
        ),
    ],
)
def test_a_protocol_that_does_not_fit_its_table_is_one_line(values: dict, table: str, change: dict, words: str) -> None:
    values["tables"] = [table]
    values["evaluation"]["saliency"]["saliency"] = values["evaluation"]["saliency"]["saliency"] | change
    with pytest.raises(UserError, match=words) as error:
        planned(values)
    assert "\n" not in str(error.value)


def test_a_protocol_that_is_not_there_is_one_line(values: dict) -> None:
    del values["evaluation"]["saliency"]["saliency"]
    with pytest.raises(UserError, match=r"evaluation\.saliency: 'saliency' is asked for by a table"):
        planned(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"every_score": ["cam"]}, r"saliency\.saliency: every_score: 'cam' is not under methods"),
        ({"methods": ["agf", "agf"], "every_score": []}, "methods: 'agf' is given twice"),
        ({"every_score": ["agf", "agf"]}, "every_score: 'agf' is given twice"),
        ({"methods": []}, r"saliency\.saliency\.methods: .*at least 1"),
        ({"size": 0}, r"saliency\.saliency\.size: .*greater than 0"),
        ({"set": "moon"}, r"evaluation\.saliency\.saliency\.set names 'moon'"),
    ],
)
def test_a_mistaken_protocol_is_one_line_that_names_the_key(values: dict, change: dict, words: str) -> None:
    values["evaluation"]["saliency"]["saliency"] = values["evaluation"]["saliency"]["saliency"] | change
    with pytest.raises(UserError, match=words) as error:
        load_config(values)
    assert "\n" not in str(error.value)
