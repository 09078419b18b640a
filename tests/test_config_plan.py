"""The configuration is strict; the plan names artefacts by content; parsing loads nothing heavy."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vlrepro.config import load_config
from vlrepro.errors import UserError
from vlrepro.plan import make_plan
from vlrepro.revisions import revision_of
from vlrepro.tables.study import load_study

ROOT = Path(__file__).parents[1]


def merged(*names):
    """The configuration as Snakemake merges it: later files over earlier ones, key by key."""
    from snakemake.utils import update_config

    values = {}
    for name in names:
        update_config(values, yaml.safe_load((ROOT / "config" / name).read_text()))
    return values


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "config/papers/language_guidance.yaml")


@pytest.fixture
def values():
    return copy.deepcopy(merged("config.yaml"))


def planned(values, study):
    return make_plan(load_config(values), {study.slug: study})


@pytest.mark.parametrize("scale", ["config.yaml", "tiny.yaml", "evidence.yaml", "paper.yaml"])
def test_every_scale_loads_and_plans_both_tables(scale, study):
    plan = planned(merged("config.yaml", scale), study)
    assert set(plan.tables) == {"language_guidance_table1", "language_guidance_table2"}
    for table in plan.tables:
        metrics = plan.metrics(table)
        assert len(metrics) == len(set(metrics)) > 0
        assert all(run in plan.runs and evaluation in plan.evaluations for run, evaluation in metrics)
    for run in plan.runs.values():
        assert run.pack in plan.packs
        assert run.pairs is None or run.pairs in plan.pairs


def test_evidence_reuses_the_pocket_runs(study):
    pocket = planned(merged("config.yaml"), study)
    evidence = planned(merged("config.yaml", "evidence.yaml"), study)
    assert set(pocket.runs) < set(evidence.runs)
    assert set(pocket.pairs) == set(evidence.pairs)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("trainnig",), {}, "config: trainnig: unknown key"),
        (("training", "step"), 3, r"training.step: unknown key"),
        (("training", "batch_size"), 0, "training.batch_size: Input should be greater than 0"),
        (("training", "pack"), "nowhere", "training.pack names 'nowhere'"),
        (("recipes", "simclr", "pairs"), "nothing", "recipes.simclr.pairs names 'nothing'"),
        (("captions", "original", "rates", "vague"), 0.9, "the rates sum to"),
        (("seeds",), [0, 0], "a seed is given twice"),
        (("packs", "pretrain", "digest"), "abc", "packs.pretrain.digest"),
        (("evaluation", "sets"), ["moon"], "evaluation.sets names 'moon'"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(values, path, value, words):
    place = values
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(UserError, match=words) as caught:
        load_config(values)
    assert "\n" not in str(caught.value)
    assert "mend it in the config file" in str(caught.value)


def test_a_table_that_asks_for_an_unknown_recipe(values, study):
    del values["recipes"]["random"]
    with pytest.raises(UserError, match=r"'random' is asked for by a table but not configured"):
        planned(values, study)


def test_changing_one_recipe_changes_exactly_its_runs(values, study):
    before = planned(values, study)
    values["recipes"]["lgsimclr"]["options"]["temperature"] = 0.2
    after = planned(values, study)
    changed = set(before.runs) ^ set(after.runs)
    assert {name.split("-seed")[0] for name in changed} == {"lgsimclr"}
    assert len(changed) == 2 * len(values["seeds"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("limits", "bad_pictures"), 0.5),
        (("resources", "checkpoint_seconds"), 1),
        (("resources", "train_memory_mb"), 9999),
        (("encoders", "unused"), {"model": "x"}),
        (("sets", "openmoji", "title"), "Another title"),
    ],
)
def test_keys_that_change_no_result_change_no_id(values, study, path, value):
    before = planned(values, study)
    place = values
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    after = planned(values, study)
    for kind in ("packs", "captions", "pairs", "runs", "evaluations"):
        assert set(getattr(before, kind)) == set(getattr(after, kind))


def test_changed_captions_change_pairs_and_guided_runs_only(values, study):
    before = planned(values, study)
    values["captions"]["original"]["seed"] = 1
    after = planned(values, study)
    assert not set(before.pairs) & set(after.pairs)
    kept = {name.split("-seed")[0] for name in set(before.runs) & set(after.runs)}
    assert kept == {"simclr", "random"}


def test_revisions_are_read_without_importing(study):
    assert revision_of("frameworks.simclr") >= 1
    with pytest.raises(UserError, match=r"'frameworks.nothing' is not a module"):
        revision_of("frameworks.nothing")
    with pytest.raises(UserError, match="no REVISION"):
        revision_of("errors")


def test_planning_imports_nothing_heavy():
    code = (
        "import sys, vlrepro.plan, vlrepro.tables.study;"
        "print([m for m in ('torch', 'numpy', 'pandas', 'pyarrow', 'faiss') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
