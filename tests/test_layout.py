"""Study files and the tables laid out from them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from vlrepro.errors import UserError
from vlrepro.tables.layout import Part, SetInfo, Table, build_table
from vlrepro.tables.statistics import Scores
from vlrepro.tables.study import Study, load_study

FILE = Path(__file__).parents[1] / "config/papers/language_guidance.yaml"
STUDY = load_study(FILE)
SETS = [SetInfo("noto", "Noto", 25, 1234, 0.04), SetInfo("clipart", "Clip art", 44, 900, 1 / 44)]
GENERATOR = np.random.default_rng(0)


def cell(seeds: tuple[int, ...] = (0, 1)) -> Scores:
    return Scores((GENERATOR.random((len(seeds), 40)) < 0.5).astype(float), seeds)


def all_scores() -> dict[tuple[str, str], Scores]:
    return {(recipe, entry.name): cell() for recipe in ("simclr", "lgsimclr", "random") for entry in SETS}


def built(scores: dict[tuple[str, str], Scores], number: int = 1, scale: str = "pocket", **more: object) -> Table:
    return build_table(STUDY, number, scores, more.pop("sets", SETS), scale, resamples=100, **more)


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
    assert [row.id for row in ours.rows] == [row.id for row in STUDY.table(1).rows]
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
    assert {cell.status for cell in row_of(ours, "swav").values()} == {"not run"}
    assert {name: cell.status for name, cell in row_of(ours, "random").items()} == {
        "noto": "pending",
        "clipart": "done",
        "avg": "pending",
    }
    assert row_of(ours, "lgsimclr_simclr_augmentation")["noto"].status == "pending"
    assert row_of(ours, "swav")["noto"].value is None


def test_differences_are_from_the_baseline_row_and_paired() -> None:
    scores = all_scores()
    found = part(built(scores), "difference")
    assert [row.label for row in found.rows] == [
        "LGSimCLR (Banani et al.) minus SimCLR",
        "LGSimCLR, SimCLR's augmentation (Controls) minus SimCLR",
        "random weights (Controls) minus SimCLR",
    ]
    noto = row_of(found, "lgsimclr_original-minus-simclr")["noto"]
    expected = scores["lgsimclr", "noto"].values.mean() - scores["simclr", "noto"].values.mean()
    assert noto.value == pytest.approx(expected)
    same = scores | {("random", entry.name): scores["simclr", entry.name] for entry in SETS}
    zero = row_of(part(built(same), "difference"), "random-minus-simclr")["avg"]
    assert (zero.value, zero.low, zero.high) == (0, 0, 0)


def test_a_rows_own_baseline_is_used(tmp_path: Path) -> None:
    def run_simsiam(values: dict) -> None:
        rows = {row["id"]: row for row in values["tables"][0]["rows"]}
        rows["vis_simsiam"]["recipe"], rows["lgsimsiam_original"]["recipe"] = "simsiam", "lgsimsiam"

    table = build_table(load_study(changed(tmp_path, run_simsiam)), 1, all_scores(), SETS, "pocket", resamples=50)
    labels = [row.label for row in part(table, "difference").rows]
    assert "LGSimSiam (Banani et al.) minus VisSimSiam" in labels
    assert "VisSimSiam minus SimCLR" in labels


def test_the_papers_part_is_as_printed_and_has_no_interval() -> None:
    paper = part(built(all_scores()), "paper")
    assert [column.title for column in paper.columns][-2:] == ["Resisc45", "Avg"]
    assert [row.id for row in paper.rows] == [row.id for row in STUDY.table(1).rows if row.block != "Controls"]
    printed = row_of(paper, "lgsimclr_refined")
    assert (printed["stl10"].status, printed["stl10"].value, printed["stl10"].low) == ("printed", 0.867, None)
    assert printed["avg"].status == "blank"
    assert {cell.status for cell in row_of(paper, "lgsimclr_original").values()} == {"blank"}


def test_at_paper_scale_the_columns_are_the_papers() -> None:
    sets = [SetInfo("dtd", "DTD", 47, 1880, 1 / 47), SetInfo("food101", "Food101", 101, 25250, 1 / 101)]
    ours = part(built({("simclr", "dtd"): cell()}, scale="paper", sets=sets), "ours")
    assert [column.title for column in ours.columns] == [column.title for column in STUDY.table(1).columns]
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
    assert "episodes only, since there is one seed" in " ".join(built({("simclr", "noto"): cell((0,))}, 2).footnotes)
    assert "Nothing has been scored yet." in built({}).footnotes
    assert "not to be compared" not in " ".join(built({}, scale="paper", sets=[]).footnotes)


def test_unknown_table() -> None:
    with pytest.raises(UserError, match="language_guidance: there is no table 9: choose one of 1, 2"):
        built({}, 9)


def test_without_our_rows_to_compare_there_is_no_part_of_differences(tmp_path: Path) -> None:
    def no_recipes(values: dict) -> None:
        for row in values["tables"][0]["rows"]:
            row["recipe"] = None

    study = load_study(changed(tmp_path, no_recipes))
    assert [part.kind for part in build_table(study, 1, {}, SETS, "pocket").parts] == ["ours", "paper"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(sluggish=1), "sluggish: unknown key"),
        (lambda v: v["tables"][0]["rows"][3].update(recipie="x"), r"tables\.0\.rows\.3\.recipie: unknown key"),
        (lambda v: v["claims"][0]["test"].update(on="avg"), r"claims\.0\.test\.on: unknown key"),
        (lambda v: v["tables"][1].pop("metric"), r"tables\.1\.metric: Field required"),
        (lambda v: v["tables"][0]["rows"][0]["reported"].pop(), "row 'simclr' reports 10 cells for 11 columns"),
        (lambda v: v["tables"][0]["rows"][0]["reported"].__setitem__(0, "61.2"), r"reported\.0: .*valid number"),
        (lambda v: v["tables"][0]["rows"][0]["reported"].__setitem__(0, 612), r"reported\.0: .*less than"),
        (lambda v: v["tables"][0].update(baseline="moco"), "baseline 'moco' is not a row"),
        (lambda v: v["tables"][0]["rows"][5].update(baseline="moco"), "baseline 'moco' is not a row"),
        (lambda v: v["tables"][0]["rows"].append(v["tables"][0]["rows"][0]), "row 'simclr' is given twice"),
        (lambda v: v["tables"][1].update(number=1), "table 1 is given twice"),
        (lambda v: v["claims"].append(v["claims"][0]), "claim 'few_shot_most' is given twice"),
        (lambda v: v["claims"][0]["test"].update(row_a="moco"), "'moco', which is not a row of table 2"),
        (lambda v: v["claims"][0]["test"].update(reported_b="moco"), "'moco', which is not a row of table 2"),
        (lambda v: v["claims"][0].update(table=7), "names table 7"),
        (lambda v: v["claims"][0].update(quote=""), r"claims\.0\.quote"),
    ],
)
def test_a_wrong_study_is_one_line_with_file_and_key(tmp_path: Path, change: object, words: str) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(UserError, match=words) as error:
        load_study(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["slug: a\nslug: b\n", "slug: [1\n", "a: {b: 1, b: 2}\n"])
def test_broken_yaml_and_repeated_keys_name_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"study\.yaml: .*line \d") as error:
        load_study(path)
    assert "\n" not in str(error.value)


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
