"""The workflow as a user runs it: dry-runs of every scale, then the tiny scale end to end."""

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
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).parents[1]
TINY = ("--configfile", "config/tiny.yaml")
LINKED = ("Snakefile", "envs", "profiles", "report", "resources", "slurm", "workflow")


def make_clone(folder):
    """A checkout without results: everything linked but the configuration, which tests edit."""
    folder.mkdir()
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


def snakemake(clone, *arguments, check=True, library=ROOT / "src", **options):
    """Run snakemake in `clone` with the environment's own Python first in the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(library), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    result = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, **options)
    assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def planned_jobs(output):
    """Rule -> number of jobs, as a dry-run prints them."""
    table = output.split("Job stats:")[1].split("\n\n")[0] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


@pytest.fixture
def clone(tmp_path):
    return make_clone(tmp_path / "clone")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone in which the tiny scale has run to the end on two cores."""
    clone = make_clone(tmp_path_factory.mktemp("finished") / "clone")
    result = snakemake(clone, *TINY, "--cores", 2, timeout=1800)
    assert "Report:  results/tiny/report/index.html" in result.stdout + result.stderr
    return clone


SEEDS, EVIDENCE_SEEDS, PAPER_SEEDS, SETS = 1, 5, 3, 10  # SETS: of the paper
MODELS, PAPER_MODELS, TABLE_MODELS, TINY_MODELS = 32, 29, 11, 13
VARIANTS = 4  # models that are also scored by the protocols published elsewhere


@pytest.mark.parametrize(
    ("arguments", "trained", "evaluated"),
    [
        ((), MODELS * SEEDS, (MODELS + VARIANTS) * SEEDS),
        (TINY, TINY_MODELS, TINY_MODELS),
        (("--configfile", "config/evidence.yaml"), MODELS * EVIDENCE_SEEDS, (MODELS + VARIANTS) * EVIDENCE_SEEDS),
        (
            ("--profile", "slurm", "--cores", "64", "--configfile", "config/paper.yaml"),
            PAPER_MODELS * PAPER_SEEDS,
            (PAPER_MODELS + VARIANTS) * PAPER_SEEDS * SETS,
        ),
        (("--profile", "slurm", "--cores", "64"), MODELS * SEEDS, (MODELS + VARIANTS) * SEEDS),
        (("language_guidance_table1",), TABLE_MODELS * SEEDS, TABLE_MODELS * SEEDS),
        (("language_guidance_protocols",), 4 * SEEDS, 8 * SEEDS),
        (("results/pocket/tables/language_guidance/table1.tex",), TABLE_MODELS * SEEDS, TABLE_MODELS * SEEDS),
    ],
)
def test_dry_runs_schedule_what_was_asked(clone, arguments, trained, evaluated):
    jobs = planned_jobs(snakemake(clone, *arguments, "-n", "--quiet", "rules").stdout)
    assert jobs["train_model"] == trained
    assert jobs["evaluate_run"] == evaluated
    assert jobs["make_captions"] >= 1
    assert jobs["refine_captions"] == jobs["generate_captions"] == 1
    # Paper scale loads BLIP-2 and CLIP; the others train stand-ins, each once.
    assert jobs.get("train_stand_in", 0) == (0 if "config/paper.yaml" in arguments else 2)
    assert not (clone / "results").exists()


def test_parsing_is_light(clone):
    code = (
        "import sys; sys.argv = ['snakemake', '--list']\n"
        "from snakemake.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = [m for m in ('torch', 'faiss', 'transformers', 'scipy', 'sklearn') if m in sys.modules];"
        "print('heavy', heavy)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=True, timeout=60
    )
    assert "heavy []" in result.stdout


def test_unknown_keys_and_values_are_one_line(clone):
    result = snakemake(clone, "-n", "--config", "trainnig=3", check=False)
    assert result.returncode == 1
    assert "error: config: trainnig: unknown key: mend it in the config file" in result.stderr + result.stdout
    assert "Traceback" not in result.stderr + result.stdout


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
    other = make_clone(tmp_path / "other")
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
