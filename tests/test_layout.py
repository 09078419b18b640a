"""Study files and the tables laid out from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vlrepro.errors import UserError
from vlrepro.tables.cells import Cells, ModelSize, SetInfo
from vlrepro.tables.layout import build_table
from vlrepro.tables.parts import Part, Table
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import load_study

FILE = Path(__file__).parents[1] / "config/papers/language_guidance.yaml"
STUDY = load_study(FILE)
SETS = [SetInfo("noto", "Noto", 25, 1234, 0.04), SetInfo("clipart", "Clip art", 44, 900, 1 / 44)]
GENERATOR = np.random.default_rng(0)


def cell(seeds: tuple[int, ...] = (0, 1)) -> Scores:
    return Scores((GENERATOR.random((len(seeds), 40)) < 0.5).astype(float), seeds)


def all_scores(recipes: tuple[str, ...] = ("simclr", "lgsimclr", "random")) -> dict[tuple[str, str], Scores]:
    return {(recipe, entry.name): cell() for recipe in recipes for entry in SETS}


def cells_of(scores: dict[str, dict[tuple[str, str], Scores]], sets: list[SetInfo] = SETS) -> Cells:
    recipes = {recipe for entries in scores.values() for recipe, _ in entries}
    models = {recipe: ModelSize(1000 + len(recipe), 16) for recipe in recipes}
    return Cells(scores, dict.fromkeys(scores, sets), models)


def built(scores: dict[tuple[str, str], Scores], name: str = "table1", scale: str = "pocket", **more: object) -> Table:
    evaluation = STUDY.table(name).evaluations[0]
    cells = cells_of({evaluation: scores}, more.pop("sets", SETS))
    return build_table(STUDY, name, cells, scale, resamples=100, **more)


def summary(name: str, recipes: tuple[str, ...]) -> tuple[Table, dict[str, dict[tuple[str, str], Scores]]]:
    scores = {evaluation: all_scores(recipes) for evaluation in STUDY.table(name).evaluations}
    return build_table(STUDY, name, cells_of(scores), "pocket", resamples=100), scores


def part(table: Table, kind: str) -> Part:
    return next(part for part in table.parts if part.kind == kind)


def row_of(part: Part, name: str) -> dict[str, object]:
    cells = next(row.cells for row in part.rows if row.id == name)
    return {column.name: cell for column, cell in zip(part.columns, cells, strict=True)}


def changed(tmp_path: Path, change: object) -> Path:
    values = yaml.safe_load(FILE.read_text())
    change(values)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_ours_has_our_columns_and_all_rows_in_the_papers_order() -> None:
    ours = part(built(all_scores()), "ours")
    assert [column.title for column in ours.columns] == ["Noto", "Clip art", "Avg"]
    assert [row.id for row in ours.rows] == [row.id for row in STUDY.table("table1").rows]
    assert ours.rows[4].block == "Banani et al."


def test_cells_are_means_with_intervals_seeds_and_coverage() -> None:
    scores = all_scores()
    found = row_of(part(built(scores), "ours"), "lgsimclr_original")
    assert found["noto"].value == pytest.approx(scores["lgsimclr", "noto"].values.mean())
    assert found["avg"].value == pytest.approx((found["noto"].value + found["clipart"].value) / 2)
    assert all(c.status == "done" and c.low < c.value < c.high and c.n_seeds == 2 for c in found.values())
    assert found["noto"].covers == "seeds and examples"


def test_what_is_missing_is_told_apart() -> None:
    scores = all_scores()
    del scores["random", "noto"]
    ours = part(built(scores), "ours")
    assert {cell.status for cell in row_of(ours, "swav").values()} == {"pending"}
    assert {name: cell.status for name, cell in row_of(ours, "random").items()} == {
        "noto": "pending",
        "clipart": "done",
        "avg": "pending",
    }
    assert row_of(ours, "swav")["noto"].value is None


def test_a_row_without_a_recipe_is_not_run(tmp_path: Path) -> None:
    study = load_study(changed(tmp_path, lambda v: v["tables"][0]["rows"][3].update(recipe=None)))
    ours = part(build_table(study, "table1", cells_of({"linear": all_scores()}), "pocket", resamples=50), "ours")
    assert {cell.status for cell in row_of(ours, "swav").values()} == {"not run"}


def test_differences_are_from_the_baseline_rows_and_paired() -> None:
    scores = all_scores()
    found = part(built(scores), "difference")
    assert [row.label for row in found.rows] == [
        "VisSimSiam minus SimCLR",
        "VisNNCLR minus SimCLR",
        "SWAV minus SimCLR",
        "LGSimCLR (Banani et al.) minus SimCLR",
        "LGSimSiam (Banani et al.) minus VisSimSiam",
        "LGSimCLR (Ours) minus SimCLR",
        "LGSimCLR (Ours) minus LGSimCLR (Banani et al.)",
        "LGSimSiam (Ours) minus VisSimSiam",
        "LGSimSiam (Ours) minus LGSimSiam (Banani et al.)",
        "LGSimCLR, SimCLR's augmentation (Controls) minus SimCLR",
        "SimCLR, crop alone (Controls) minus SimCLR",
        "random weights (Controls) minus SimCLR",
    ]
    noto = row_of(found, "lgsimclr_original-minus-simclr")["noto"]
    expected = scores["lgsimclr", "noto"].values.mean() - scores["simclr", "noto"].values.mean()
    assert noto.value == pytest.approx(expected)
    same = scores | {("random", entry.name): scores["simclr", entry.name] for entry in SETS}
    zero = row_of(part(built(same), "difference"), "random-minus-simclr")["avg"]
    assert (zero.value, zero.low, zero.high) == (0, 0, 0)


def test_a_summary_table_has_one_column_an_evaluation() -> None:
    shown, scores = summary("captions", ("simclr", "lgsimclr", "lgsimclr_clean"))
    assert [part.kind for part in shown.parts] == ["ours", "difference"]
    ours = part(shown, "ours")
    assert [column.title for column in ours.columns] == ["Linear probe", "Few-shot"]
    assert all(column.average for column in ours.columns)
    clean = row_of(ours, "lgsimclr_clean")
    for evaluation, entries in scores.items():
        expected = np.mean([entries["lgsimclr_clean", entry.name].values.mean() for entry in SETS])
        assert clean[evaluation].value == pytest.approx(expected)
    assert {found.status for found in row_of(ours, "lgsimclr_generated").values()} == {"pending"}
    difference = row_of(part(shown, "difference"), "lgsimclr_clean-minus-lgsimclr")["few_shot"]
    expected = clean["few_shot"].value - row_of(ours, "lgsimclr")["few_shot"].value
    assert difference.value == pytest.approx(expected)
    assert "lgsimclr-minus-simclr" in [row.id for row in part(shown, "difference").rows]


def test_a_summary_tables_details_are_its_single_sets() -> None:
    shown, scores = summary("captions", ("simclr", "lgsimclr"))
    assert [(part.kind, part.columns[0].evaluation) for part in shown.details] == [
        ("ours", "Linear probe"),
        ("difference", "Linear probe"),
        ("ours", "Few-shot"),
        ("difference", "Few-shot"),
    ]
    few_shot = shown.details[2]
    assert [column.title for column in few_shot.columns] == ["Noto", "Clip art"]
    value = row_of(few_shot, "simclr")["clipart"].value
    assert value == pytest.approx(scores["few_shot"]["simclr", "clipart"].values.mean())
    assert built(all_scores()).details == ()


def test_backbones_show_their_size_and_differ_within_the_backbone() -> None:
    shown, _ = summary("backbones", ("simclr", "lgsimclr", "simclr_mobile", "lgsimclr_mobile"))
    ours = part(shown, "ours")
    assert [column.title for column in ours.columns][:2] == ["Backbone parameters", "Feature width"]
    sizes = row_of(ours, "simclr_mobile")
    assert (sizes["parameters"].value, sizes["parameters"].unit, sizes["feature_width"].value) == (1013, "count", 16)
    assert row_of(ours, "simclr_projected")["parameters"].status == "pending"
    differences = part(shown, "difference")
    assert [column.name for column in differences.columns] == ["linear", "few_shot"]
    assert [row.id for row in differences.rows] == [
        "lgsimclr-minus-simclr",
        "lgsimclr_projected-minus-simclr_projected",
        "lgsimclr_bottleneck-minus-simclr_bottleneck",
        "lgsimclr_mobile-minus-simclr_mobile",
    ]
    assert differences.rows[-1].label == "LGSimCLR minus SimCLR (MobileNet)"


def test_a_summary_tables_footnotes_name_its_evaluations() -> None:
    notes = " ".join(summary("protocols", ("simclr",))[0].footnotes)
    assert "The paper does not print this table" in notes
    assert "un-squared norm" in notes
    assert "seeds and test images or episodes" in notes
    assert notes.count("Data sets: Noto (25 classes") == 1


def test_a_summary_table_at_paper_scale_takes_any_set() -> None:
    scores = {"linear": all_scores(), "few_shot": all_scores()}
    shown = build_table(STUDY, "captions", cells_of(scores), "paper", resamples=50)
    assert row_of(part(shown, "ours"), "simclr")["linear"].status == "done"


def test_the_papers_part_is_as_printed_and_has_no_interval() -> None:
    paper = part(built(all_scores()), "paper")
    assert [column.title for column in paper.columns][-2:] == ["Resisc45", "Avg"]
    assert [row.id for row in paper.rows] == [row.id for row in STUDY.table("table1").rows if row.block != "Controls"]
    printed = row_of(paper, "lgsimclr_refined")
    assert (printed["stl10"].status, printed["stl10"].value, printed["stl10"].low) == ("printed", 0.867, None)
    assert printed["avg"].status == "blank"
    assert {cell.status for cell in row_of(paper, "lgsimclr_original").values()} == {"blank"}


def test_at_paper_scale_the_columns_are_the_papers() -> None:
    sets = [SetInfo("dtd", "DTD", 47, 1880, 1 / 47), SetInfo("food101", "Food101", 101, 25250, 1 / 101)]
    ours = part(built({("simclr", "dtd"): cell()}, scale="paper", sets=sets), "ours")
    assert [column.title for column in ours.columns] == [column.title for column in STUDY.table("table1").columns]
    statuses = {name: found.status for name, found in row_of(ours, "simclr").items()}
    assert {name for name, status in statuses.items() if status == "done"} == {"dtd"}
    with pytest.raises(UserError, match="'noto' is not a column of the paper"):
        built({}, scale="paper")


def test_fewer_seeds_show() -> None:
    scores = all_scores() | {("random", "noto"): cell((1,))}
    ours = part(built(scores), "ours")
    assert ours.most_seeds() == 2
    assert row_of(ours, "random")["noto"].n_seeds == row_of(ours, "random")["avg"].n_seeds == 1
    assert row_of(ours, "random")["noto"].covers == "examples"


def test_footnotes_say_what_one_must_know() -> None:
    notes = " ".join(built(all_scores(), stand_ins=["Noto stands for Food101."]).footnotes)
    for words in ("scale pocket", "not to be compared", "ResNet-34", "Seeds: 0, 1.", "pigeonhole", "test images"):
        assert words in notes
    assert "Noto (25 classes, 1,234 test images, chance 4.0)" in notes
    assert "Noto stands for Food101." in notes
    assert "random resized crop" in notes
    assert "episodes only, since there is one seed" in " ".join(
        built({("simclr", "noto"): cell((0,))}, "table2").footnotes
    )
    assert "Nothing has been scored yet." in built({}).footnotes
    assert "not to be compared" not in " ".join(built({}, scale="paper", sets=[]).footnotes)


def test_unknown_table() -> None:
    with pytest.raises(UserError, match="language_guidance: there is no table 'table9': choose one of table1, table2"):
        build_table(STUDY, "table9", cells_of({}), "pocket")


def test_without_our_rows_to_compare_there_is_no_part_of_differences(tmp_path: Path) -> None:
    def no_recipes(values: dict) -> None:
        for row in values["tables"][0]["rows"]:
            row["recipe"] = None

    study = load_study(changed(tmp_path, no_recipes))
    assert [part.kind for part in build_table(study, "table1", cells_of({}), "pocket").parts] == ["ours", "paper"]
