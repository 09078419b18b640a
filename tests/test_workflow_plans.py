"""Dry-runs of every scale, and how a mistake in the configuration is told."""

import re
import subprocess
import sys

import pytest
from workflow_runs import TINY, make_clone, planned_jobs, snakemake

pytestmark = pytest.mark.workflow


@pytest.fixture
def clone(tmp_path):
    return make_clone(tmp_path / "clone")


SEEDS, PAPER_SEEDS = 5, 3
# Language guidance: models; those of a table; those that other protocols score too; maps and other probes; paper sets
MODELS, TABLE_MODELS, VARIANTS, SUPERVISED = 32, 11, 4, 1
BACKBONES = 6  # of MODELS, those of a table that pocket scale leaves out
SALIENCY, CONTROLS, CENTRED, PACKAGED = 13, 3, 5, 5
PAPER_MODELS, PAPER_SETS = 29, 10
TINY_MODELS, TINY_SALIENCY = 13, 10  # no image-text frameworks
# Label noise: models; those of table 1 and of table 2 besides; those with a linear probe; those of noise_length besides
NOISE, NOISE_TABLE1, NOISE_TABLE2, PROBED, LONG = 41, 21, 9, 4, 7
CLEAN = 7  # of NOISE, those on captions without noise, which paper scale does not have
PAPER_NAMED, PAPER_PROBED = 6, 14  # sets
# DiHT: models of the ablation; those that label noise has not; DiHT and CLIP, trained longer; weights that are given
ABLATION, PARTS, DIHT, LONGER_CLIP, GIVEN = 6, 4, 1, 1, 1
PAPER_GALLERIES = 3  # groups of sets
EACH_ALONE = ("--config", "resources={'runs_per_training': 1, 'runs_per_evaluation': 1}")


POCKET = (
    MODELS - BACKBONES + SUPERVISED + NOISE + PARTS + DIHT,
    MODELS - BACKBONES + VARIANTS + PROBED,
    NOISE + PARTS,
    SALIENCY + CONTROLS,
    ABLATION + DIHT,
    0,
)


@pytest.mark.parametrize(
    ("arguments", "trained", "evaluated", "named", "mapped", "searched", "imported"),
    [
        ((), *POCKET),
        (
            TINY,
            TINY_MODELS + SUPERVISED + NOISE_TABLE1 + NOISE_TABLE2 + DIHT + LONGER_CLIP,
            TINY_MODELS + PROBED,
            NOISE_TABLE1 + NOISE_TABLE2,
            TINY_SALIENCY + CONTROLS,
            DIHT + LONGER_CLIP + GIVEN,
            GIVEN,
        ),
        (
            ("--configfile", "config/evidence.yaml"),
            (MODELS + SUPERVISED + NOISE + LONG + PARTS + DIHT + LONGER_CLIP) * SEEDS,
            (MODELS + VARIANTS + PROBED) * SEEDS,
            (NOISE + LONG + PARTS) * SEEDS,
            (SALIENCY + CONTROLS + CENTRED + PACKAGED) * SEEDS,
            (ABLATION + DIHT + LONGER_CLIP) * SEEDS + GIVEN,
            GIVEN,
        ),
        (  # DiHT and the CLIP beside it are released weights, which have no seed
            ("--profile", "slurm", "--cores", "64", "--configfile", "config/paper.yaml"),
            (PAPER_MODELS + NOISE - CLEAN + PARTS) * PAPER_SEEDS,
            ((PAPER_MODELS + VARIANTS) * PAPER_SETS + PROBED * PAPER_PROBED) * PAPER_SEEDS,
            (NOISE - CLEAN + PARTS) * PAPER_NAMED * PAPER_SEEDS,
            (SALIENCY + CONTROLS + PACKAGED - 2 * SUPERVISED) * PAPER_SEEDS,
            (ABLATION * PAPER_SEEDS + DIHT + LONGER_CLIP + GIVEN) * PAPER_GALLERIES,
            DIHT + LONGER_CLIP + GIVEN,
        ),
        (("--profile", "slurm", "--cores", "64"), *POCKET),
        (("language_guidance_table1",), TABLE_MODELS, TABLE_MODELS, 0, 0, 0, 0),
        (("language_guidance_protocols",), 4, 8, 0, 0, 0, 0),
        (("results/pocket/tables/language_guidance/table1.tex",), TABLE_MODELS, TABLE_MODELS, 0, 0, 0, 0),
        (("label_noise_table1",), NOISE_TABLE1, 0, NOISE_TABLE1, 0, 0, 0),
        (("label_noise_table4",), PROBED, PROBED, 0, 0, 0, 0),
        (("diht_gcc_table1",), DIHT, 0, 0, 0, DIHT, 0),
        (("diht_gcc_retrieval_ablation",), ABLATION, 0, ABLATION, 0, ABLATION, 0),
    ],
)
def test_dry_runs_schedule_what_was_asked(clone, arguments, trained, evaluated, named, mapped, searched, imported):
    jobs = planned_jobs(snakemake(clone, *arguments, "-n", "--quiet", "rules", *EACH_ALONE).stdout)
    assert jobs["train_model"] == trained
    assert jobs.get("evaluate_run", 0) == evaluated
    assert jobs.get("zero_shot", 0) == named
    assert jobs.get("score_saliency", 0) == mapped
    assert jobs.get("retrieve", 0) == searched
    assert jobs.get("import_model", 0) == imported
    assert jobs["make_captions"] >= 1
    assert jobs.get("refine_captions", 0) == jobs.get("generate_captions", 0)
    # Paper scale loads BLIP-2 and CLIP; the others train stand-ins, each once.
    assert jobs.get("train_stand_in", 0) <= (0 if "config/paper.yaml" in arguments else 2)
    assert not (clone / "results").exists()


def test_distillation_parses_captions_and_asks_the_teacher_once(clone):
    recipes = "recipes={'clip': {'framework': 'clip_distillation', 'concepts': 'seen'}}"
    jobs = planned_jobs(
        snakemake(clone, "language_guidance_frameworks", "-n", "--quiet", "rules", "--config", recipes).stdout
    )
    assert jobs["parse_captions"] == jobs["distil_concepts"] == 1


def test_runs_that_share_a_job_are_those_of_one_table(clone):
    """Whatever is asked for, as many runs are made in jobs of several and alone as there are."""
    for target, trained in (("label_noise_table1", NOISE_TABLE1), ("label_noise_table2", NOISE_TABLE2 + 7)):
        output = snakemake(clone, target, "-n", "--quiet", "rules").stdout
        jobs = planned_jobs(output)
        shared = [int(name.rsplit("_", 1)[1]) + 1 for name in jobs if re.fullmatch(r"train_cln.*_and_\d+", name)]
        assert max(shared) <= 6
        # Those of table 2 that are in table 1 too are trained with the others of table 1.
        assert jobs.get("train_model", 0) + sum(shared) >= trained
        assert "refine_captions" not in jobs


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
