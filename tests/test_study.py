"""Study files: what they refuse, and what ours holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vlrepro.errors import UserError
from vlrepro.tables.study import Study, load_study

FILE = Path(__file__).parents[1] / "config/papers/language_guidance.yaml"
STUDY = load_study(FILE)


def changed(tmp_path: Path, change: object) -> Path:
    values = yaml.safe_load(FILE.read_text())
    change(values)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def table3(values: dict) -> dict:
    return next(table for table in values["tables"] if table["name"] == "table3")


def agreement(values: dict) -> dict:
    return next(claim for claim in values["claims"] if claim["id"] == "saliency_discriminates")["test"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(sluggish=1), "sluggish: unknown key"),
        (lambda v: v["tables"][0]["rows"][3].update(recipie="x"), r"tables\.0\.rows\.3\.recipie: unknown key"),
        (lambda v: v["claims"][0]["test"].update(on="avg"), r"claims\.0\.test\.scores\.on: unknown key"),
        (lambda v: v["tables"][1].pop("metric"), "table 'table2': number and metric go together"),
        (lambda v: v["tables"][2].update(where="here"), "table 'augmentation': number and where go together"),
        (lambda v: v["tables"][0]["evaluations"].append("few_shot"), "'table1' is printed and has 2 evaluations"),
        (lambda v: v["evaluations"].pop("linear"), "table 'table1' names 'linear', which is not under evaluations"),
        (lambda v: v["tables"][0]["rows"][0]["reported"].pop(), "row 'simclr' reports 10 cells for 11 columns"),
        (lambda v: v["tables"][0]["rows"][0]["reported"].__setitem__(0, "61.2"), r"reported\.0.*valid"),
        (lambda v: v["tables"][0].update(baseline="moco"), "'moco' is not a row"),
        (lambda v: v["tables"][0]["rows"][5].update(baselines=["moco"]), "'moco' is not a row"),
        (lambda v: v["tables"][0]["rows"].append(v["tables"][0]["rows"][0]), "row 'simclr' is given twice"),
        (lambda v: v["tables"][1].update(number=1), "table 1 is given twice"),
        (lambda v: v["claims"].append(v["claims"][0]), "claim 'most_cases' is given twice"),
        (lambda v: v["claims"][0]["test"].update(pairs=[["simclr", "moco"]]), "'moco', which is not a row of table 't"),
        (lambda v: v["claims"][0]["test"].update(reported=[["moco", "simclr"]]), "'moco', which is not a row of tab"),
        (lambda v: v["claims"][0]["test"].update(minus=["moco", "simclr"]), "'moco', which is not a row of tab"),
        (lambda v: v["claims"][0]["test"].update(pairs=[["simclr"]]), r"pairs\.0: .*at least 2"),
        (lambda v: v["claims"][0]["test"].update(evaluations=["few_shot"]), "no evaluation of table 'table1'"),
        (lambda v: v["claims"][0]["test"].update(direction="equal"), "direction equal and tolerance"),
        (lambda v: v["claims"][0].update(tables=["table7"]), "names table 'table7'"),
        (lambda v: v["claims"][0].update(tables=[]), "'most_cases': a test of scores needs tables"),
        (lambda v: v["claims"][0].update(test=None), "'most_cases': give either test or untestable"),
        (lambda v: v["claims"][0].update(quote=""), r"claims\.0\.quote"),
        (lambda v: table3(v)["rows"][0].update(prior="edges"), "a prior has no recipe and no probe"),
        (lambda v: table3(v)["rows"][0].update(recipe=None, probe="random"), "'simclr': a probe needs the recipe"),
        (lambda v: v["tables"][0]["rows"][0].update(probe="random"), "'simclr': probe and prior are for saliency tab"),
        (lambda v: table3(v)["rows"][-1].update(prior="moon"), r"rows\.\d+\.prior: Input should be"),
        (
            lambda v: table3(v)["saliency"].update(maps=["agf", "moon"]),
            r"table table3: saliency: maps\.1: Input should",
        ),
        (lambda v: table3(v)["saliency"].update(scores=[]), "table table3: saliency: scores: .*at least 1"),
        (lambda v: table3(v)["saliency"].update(gains={"moco": ["ap"]}), r"saliency\.gains: 'moco' is not a row"),
        (lambda v: table3(v)["saliency"].update(gallery=["moco"]), r"saliency\.gallery: 'moco' is not a row"),
        (
            lambda v: agreement(v).update(rows=["simclr", "random", "swav", "moco"]),
            "'moco', which is not a row of table",
        ),
        (lambda v: agreement(v).update(between=["saliency_agf_ap", "zero_shot"]), "'zero_shot', no evaluation of its"),
        (lambda v: agreement(v).update(rows=["simclr", "random", "swav"]), "agreement.rows: .*at least 4"),
        (lambda v: agreement(v).update(rows=["simclr"] * 4), "'saliency_discriminates': row 'simclr' is given twice"),
        (lambda v: agreement(v).update(between=["linear"] * 2), "evaluation 'linear' is given twice"),
        (lambda v: table3(v)["saliency"].update(scores=["f1"]), r"saliency: scores\.0: Input should"),
        (lambda v: table3(v)["saliency"].update(maps=["agf"] * 2), "saliency: .*maps: 'agf' is given twice"),
        (
            lambda v: table3(v)["saliency"].update(gains={"random": ["rank"]}),
            r"gains\.random: 'rank' is not under scores",
        ),
        (lambda v: table3(v)["saliency"].update(gains={"random": ["ap"] * 2}), r"gains\.random: 'ap' is given twice"),
        (
            lambda v: table3(v)["saliency"].update(gallery=["noise"]),
            r"saliency\.gallery: 'noise' is a prior or a contr",
        ),
        (
            lambda v: table3(v)["saliency"].update(gallery=["simclr_shuffled"]),
            "'simclr_shuffled' is a prior or a contr",
        ),
        (lambda v: table3(v).update(evaluations=["linear"]), "table 'table3': saliency decides its evaluations"),
        (lambda v: table3(v).update(saliency=["agf"]), "table table3: saliency: .*valid dictionary"),
    ],
)
def test_a_wrong_study_is_one_line_with_file_and_key(tmp_path: Path, change: object, words: str) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(UserError, match=words) as error:
        load_study(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(evaluations=5), "evaluations: Input should be a valid dictionary"),
        (lambda v: v.update(evaluations=["linear"]), "evaluations: Input should be a valid dictionary"),
        (lambda v: v.update(tables={}), "tables: Input should be a valid list"),
        (lambda v: v["tables"].append("table4"), r"tables\.\d+: Input should be a valid dictionary"),
    ],
)
def test_what_saliency_columns_cannot_be_put_beside_is_refused_as_it_stands(
    tmp_path: Path, change: object, words: str
) -> None:
    with pytest.raises(UserError, match=words) as error:
        load_study(changed(tmp_path, change))
    assert "\n" not in str(error.value)


def test_texts_of_the_study_stand_before_those_of_saliency_columns(tmp_path: Path) -> None:
    text = {"title": "Pixels", "examples": "emoji", "shows": "what it shows"}
    study = load_study(changed(tmp_path, lambda v: v["evaluations"].update(saliency_agf_ap=text)))
    assert study.evaluations["saliency_agf_ap"].model_dump() == text
    assert study.evaluations["saliency_agf_iou"].title == "AGF, IoU"


@pytest.mark.parametrize("text", ["slug: a\nslug: b\n", "slug: [1\n", "a: {b: 1, b: 2}\n"])
def test_broken_yaml_and_repeated_keys_name_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"study\.yaml: .*line \d") as error:
        load_study(path)
    assert "\n" not in str(error.value)


def test_pairs_that_claims_are_about_are_known() -> None:
    assert STUDY.mined_pairs() == [
        "language_clean",
        "language_generated",
        "language_group",
        "language_original",
        "language_refined",
        "visual",
    ]


def test_numbers_keep_the_decimals_of_the_print() -> None:
    cell = STUDY.table("table1").row("lgsimclr_refined").reported[4]
    assert (cell, type(cell)) == (26, int)


def test_every_table_has_rows_of_its_own_recipes_and_baselines_before_the_paper_is_asked() -> None:
    for table in STUDY.tables:
        keys = [row.key for row in table.rows]
        assert None not in keys
        assert len(set(keys)) == len(keys)
        assert table.saliency or any(table.baselines_of(row) for row in table.rows)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("")
    with pytest.raises(UserError, match="top level"):
        load_study(path)


def test_every_study_file_loads_and_is_named_after_its_slug() -> None:
    studies = {path.stem: load_study(path) for path in FILE.parent.glob("*.yaml")}
    assert {stem: study.slug for stem, study in studies.items()} == {stem: stem for stem in studies}
    assert all(isinstance(study, Study) for study in studies.values())


def test_loading_a_study_imports_nothing_heavy() -> None:
    code = (
        "import sys; from vlrepro.tables.study import load_study; load_study(sys.argv[1]);"
        "print(sorted({'numpy', 'scipy', 'pandas', 'torch', 'snakemake'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(FILE)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
