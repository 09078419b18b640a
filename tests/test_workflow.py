"""The tiny scale end to end: what it leaves, what a second run does, what survives a kill."""

import filecmp
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from warm_interpreter import warm_python
from workflow_runs import ROOT, TINY, make_clone, planned_jobs, snakemake

from vlrepro.tables.escaping import as_markdown

pytestmark = pytest.mark.workflow
TABLE_MODELS = 11  # of the paper's tables
DATA = (".parquet", ".safetensors", ".tar")  # files that hold no clock's time
CHAIN = {"captions", "checkpoints", "data", "embeddings", "pairs", "runs", "scores"}  # what a model on captions needs
CHAIN |= {"saliency"}  # its probe


@pytest.fixture
def clone(tmp_path):
    return make_clone(tmp_path / "clone")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone in which the tiny scale has run to the end on two cores."""
    folder = tmp_path_factory.mktemp("finished")
    clone = make_clone(folder / "clone")
    with warm_python(folder / "bin", ROOT / "src") as python:
        result = snakemake(clone, *TINY, "--cores", 2, timeout=1800, python=python)
    assert "Report:  results/tiny/report/index.html" in result.stdout + result.stderr
    return clone


def our_cells(finished, number):
    """The finished cells of our own block of a table, without differences."""
    cells = pd.read_csv(finished / f"results/tiny/tables/language_guidance/table{number}.csv")
    assert set(cells.source) == {"paper", "ours"}
    return cells[(cells.source == "ours") & (cells.status == "done") & (cells.block != "paired difference")]


def test_tables_hold_a_number_in_every_cell_of_ours(finished):
    for number in (1, 2):
        ours = our_cells(finished, number)
        assert len(ours) == TABLE_MODELS * 3  # models x (two sets and the average)
        assert ours.value.between(0, 100).all()
        assert ((ours.low <= ours.value) & (ours.value <= ours.high)).all()
        for suffix in (".md", ".tex", ".html"):
            text = (finished / f"results/tiny/tables/language_guidance/table{number}{suffix}").read_text()
            assert all(row in html.unescape(text) for row in ours.row)
    claims = json.loads((finished / "results/tiny/claims/language_guidance.json").read_text())
    assert claims


def test_the_saliency_table_holds_every_row_and_method(finished):
    cells = pd.read_csv(finished / "results/tiny/tables/language_guidance/table3.csv")
    done = cells[cells.status == "done"]
    absent = {"CLIP", "SLIP", "LGSLIP"}  # not run at this scale
    scores, gains = done[done.block != "paired difference"], done[done.block == "paired difference"]
    assert set(cells.row) - set(scores.row) == absent
    rows = scores.drop_duplicates(["block", "row"])
    assert len(scores) == len(rows) * 6 * 3  # methods x (IoU, mIoU, AP)
    assert ((scores.low <= scores.value) & (scores.value <= scores.high) & scores.value.between(0, 100)).all()
    best = scores[scores.row == "the best prior"].set_index(["evaluation", "column"]).value
    own = scores[(scores.row == "SimCLR") & (scores.column == "AP")].set_index("evaluation").value
    gain = gains[(gains.row == "SimCLR") & (gains.column == "AP over the best prior")].set_index("evaluation").value
    for method, value in gain.items():
        assert value == pytest.approx(own[method] - best[method, "AP"], abs=1e-3)
    gallery = (finished / "results/tiny/saliency/language_guidance/table3.html").read_text()
    assert gallery in (finished / "results/tiny/report/index.html").read_text()


def test_average_is_the_mean_of_the_columns(finished):
    for _, row in our_cells(finished, 1).groupby(["block", "row"], dropna=False):
        average = row.column.str.lower() == "avg"
        assert row[average].value.item() == pytest.approx(row[~average].value.mean(), abs=1e-3)


def test_table_cells_are_the_metrics_of_the_runs(finished):
    (path,) = (finished / "results/metrics").glob("random-seed0-*/main-*.json")
    score = json.loads(path.read_text())["protocols"]["few_shot"]["sets"]["digits"]["score"]
    ours = our_cells(finished, 2)
    cell = ours[(ours.row == "random weights") & ours.column.str.lower().str.startswith("digits")]
    assert cell.value.item() == pytest.approx(100 * score, abs=1e-3)


def test_retrieval_in_batches_whole_and_by_weights_that_are_given(finished):
    cells = pd.read_csv(finished / "results/tiny/tables/diht_gcc/table1.csv")
    ours = cells[(cells.source == "ours") & (cells.status == "done")]
    rows, value = list(dict.fromkeys(ours.row)), ours.set_index(["row", "column"]).value
    (path,) = (finished / "results/metrics").glob("diht-seed0-*/retrieval-*.json")
    scored = json.loads(path.read_text())["protocols"]
    for column, protocol in (("T2I (Recall@1)", "to_pictures_1"), ("Recall@10 I2T", "to_texts_10")):
        score = {name: 100 * entry["score"] for name, entry in scored[protocol]["sets"].items()}
        parts = [score[f"gcc_{number}"] for number in range(1, 8)]
        whole = [sum(parts) / 7, score["gcc"], score["coco"], score["flickr30k"]]
        assert [value[row, column] for row in rows] == pytest.approx(parts + whole, abs=1e-3)
        assert score["gcc"] <= score["gcc_batches"] + 1e-9  # of as many captions each among more pictures
    (given,) = (finished / "results/runs").glob("given_clip-seed0-*")
    assert json.loads((given / "dual_encoder.json").read_text())["kind"] == "transformers"
    galleries = pd.read_csv(finished / "results/tiny/tables/diht_gcc/retrieval_galleries.csv")
    assert len(galleries[galleries.column.str.contains("Another CLIP") & (galleries.status == "done")]) == 4 * 3
    page = (finished / "results/tiny/report/index.html").read_text()
    for table in ("table1", "retrieval_galleries"):
        assert (finished / f"results/tiny/retrieval/diht_gcc/{table}.html").read_text() in page
    assert "given (transformers)" in page


def test_second_run_does_nothing(finished):
    assert "Nothing to be done" in snakemake(finished, *TINY, "-n").stdout


def retrained(clone, *arguments, **options):
    jobs = planned_jobs(snakemake(clone, *TINY, "-n", "--quiet", "rules", *arguments, **options).stdout)
    return jobs.get("train_model", 0)


def test_unrelated_keys_comments_and_a_fresh_clone_retrain_nothing(finished, tmp_path):
    extra = ["--config", "limits={'bad_pictures': 0.02}", "resources={'checkpoint_seconds': 5}"]
    assert retrained(finished, *extra) == 0
    # A library whose docstrings and comments were edited, in a clone whose files are all new.
    library = shutil.copytree(ROOT / "src", tmp_path / "src")
    for path in library.rglob("*.py"):
        path.write_text(path.read_text() + "\n# another comment\n")
    fresh = make_clone(tmp_path / "fresh")
    shutil.copytree(finished / "results", fresh / "results")
    assert retrained(fresh, library=library) == 0


def test_changing_one_recipe_retrains_exactly_its_runs(finished):
    change = ["--config", "recipes={'lgsimclr': {'batch_size': 32}}"]
    result = snakemake(finished, *TINY, "-n", "--quiet", "rules", *change)
    assert planned_jobs(result.stdout)["train_model"] == 1


def test_results_do_not_depend_on_cores(finished, tmp_path):
    """One core makes the longest chain again, from packs to the model on refined captions; then the table it is in.

    Its jobs have interpreters of their own, those of `finished` do not.
    """
    other = make_clone(tmp_path / "other")
    (scored,) = (finished / "results/metrics").glob("lgsimclr_refined-seed0-*/main-*.json")
    (mapped,) = (finished / "results/saliency").glob("lgsimclr_refined-seed0-*/saliency-*.json")
    scored, mapped = scored.relative_to(finished), mapped.relative_to(finished)
    snakemake(other, *TINY, "--cores", 1, scored, mapped, timeout=1800)
    before, after = (json.loads((clone / mapped).read_text()) | {"seconds": None} for clone in (finished, other))
    assert before == after
    made = [path.relative_to(other) for name in CHAIN for path in (other / "results" / name).rglob("*")]
    made = [path for path in made if path.suffix in DATA]
    assert {path.parts[1] for path in made} == CHAIN
    assert [path for path in made if not filecmp.cmp(finished / path, other / path, shallow=False)] == []

    shutil.copytree(
        *(finished / "results", other / "results"),
        ignore=lambda folder, names: [
            name for name in names if name == "tiny" or (other / Path(folder, name).relative_to(finished)).is_file()
        ],
        dirs_exist_ok=True,
    )
    snakemake(other, *TINY, "--cores", 1, "language_guidance_captions", timeout=1800)
    folder = "results/tiny/tables/language_guidance"
    names = sorted(path.name for path in (other / folder).iterdir())
    assert len(names) == 4
    match, mismatch, errors = filecmp.cmpfiles(finished / folder, other / folder, names, shallow=False)
    assert (sorted(match), mismatch, errors) == (names, [], [])


def test_both_reports(finished):
    snakemake(finished, *TINY, "--cores", 1, "report", timeout=900)
    snakemake(finished, *TINY, "--report", "results/report.zip", timeout=900)
    for path in ("results/tiny/report.zip", "results/report.zip"):
        with zipfile.ZipFile(finished / path) as archive:
            assert any(name.endswith("report.html") for name in archive.namelist())
    page = (finished / "results/tiny/report/index.html").read_text()
    assert "SimCLR" in page
    assert not re.search(r'(src|href)="https?:', page)


def test_evidence_is_a_folder_to_commit(finished):
    snakemake(finished, *TINY, "--cores", 1, "evidence", timeout=300)
    folder = finished / "results/tiny/evidence/language_guidance"
    page = (folder / "README.md").read_text()
    claims = json.loads((folder / "claims.json").read_text())
    assert all(page.count(f"- {as_markdown(statement)}") == count for statement, count in statements(claims).items())
    linked = set(re.findall(r"\]\(([^)]+)\)", page.split("## Files")[1]))
    assert linked == {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"README.md"}
    assert {"table1.md", "table2.csv", "claims.md", "audit.md", "purity.svg"} <= linked
    trained = re.search(r"\| `train_model` \| (\d+) \|", page)
    cells = (pd.read_parquet(path) for path in (finished / "results/tiny/cells/language_guidance").iterdir())
    assert int(trained[1]) == len({run.split()[0] for table in cells for run in table.run.dropna() if run})
    assert (finished / "results/tiny/evidence/label_noise/realised_label_noise.svg").is_file()


def statements(claims):
    """How often each statement is made: a claim may be judged in several ways."""
    return Counter(claim["statement"] for claim in claims)


def test_killed_in_the_middle_and_run_again(finished, clone):
    """SIGKILL the controller and a training in the middle; the next run resumes and ends with the same weights."""
    (run,) = (finished / "results/runs").glob("lgsimclr-seed0-*")
    target = f"results/runs/{run.name}/model.safetensors"
    for kind in ("pairs", "data"):
        shutil.copytree(finished / "results" / kind, clone / "results" / kind)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    often = ("--config", "resources={'checkpoint_seconds': 0.001}")
    process = subprocess.Popen(
        [*(sys.executable, "-m", "snakemake"), *TINY, "--cores", "1", "--nolock", target, *often],
        cwd=clone,
        env=os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list((clone / "results/state").glob("*/step-*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (clone / target).exists()
    result = snakemake(clone, *TINY, "--cores", 1, "--nolock", target, timeout=900)
    assert "resumed at step" in result.stdout + result.stderr
    assert (clone / target).read_bytes() == (run / "model.safetensors").read_bytes()
