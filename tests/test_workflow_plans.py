"""Dry-runs of every scale, and how a mistake in the configuration is told."""

import subprocess
import sys

import pytest
from workflow_runs import TINY, make_clone, planned_jobs, snakemake

pytestmark = pytest.mark.workflow


@pytest.fixture
def clone(tmp_path):
    return make_clone(tmp_path / "clone")


EVIDENCE_SEEDS, PAPER_SEEDS, SETS = 5, 3, 10  # SETS: of the paper
MODELS, PAPER_MODELS, TABLE_MODELS, TINY_MODELS = 32, 29, 11, 13
VARIANTS = 4  # models that are also scored by the protocols published elsewhere
SUPERVISED = 1  # trained for the saliency tables alone
SALIENCY, CONTROLS, CENTRED, PACKAGED = 13, 3, 5, 5  # models whose maps are scored, and other probes
TINY_SALIENCY = 10  # the same without image-text frameworks


@pytest.mark.parametrize(
    ("arguments", "trained", "evaluated", "mapped"),
    [
        ((), MODELS + SUPERVISED, MODELS + VARIANTS, SALIENCY + CONTROLS + CENTRED + PACKAGED),
        (TINY, TINY_MODELS + SUPERVISED, TINY_MODELS, TINY_SALIENCY + CONTROLS),
        (
            ("--configfile", "config/evidence.yaml"),
            (MODELS + SUPERVISED) * EVIDENCE_SEEDS,
            (MODELS + VARIANTS) * EVIDENCE_SEEDS,
            (SALIENCY + CONTROLS + CENTRED + PACKAGED) * EVIDENCE_SEEDS,
        ),
        (
            ("--profile", "slurm", "--cores", "64", "--configfile", "config/paper.yaml"),
            PAPER_MODELS * PAPER_SEEDS,
            (PAPER_MODELS + VARIANTS) * PAPER_SEEDS * SETS,
            (SALIENCY + CONTROLS + PACKAGED - 2 * SUPERVISED) * PAPER_SEEDS,
        ),
        (
            ("--profile", "slurm", "--cores", "64"),
            MODELS + SUPERVISED,
            MODELS + VARIANTS,
            SALIENCY + CONTROLS + CENTRED + PACKAGED,
        ),
        (("language_guidance_table1",), TABLE_MODELS, TABLE_MODELS, 0),
        (("language_guidance_protocols",), 4, 8, 0),
        (("results/pocket/tables/language_guidance/table1.tex",), TABLE_MODELS, TABLE_MODELS, 0),
    ],
)
def test_dry_runs_schedule_what_was_asked(clone, arguments, trained, evaluated, mapped):
    jobs = planned_jobs(snakemake(clone, *arguments, "-n", "--quiet", "rules").stdout)
    assert jobs["train_model"] == trained
    assert jobs["evaluate_run"] == evaluated
    assert jobs.get("score_saliency", 0) == mapped
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
