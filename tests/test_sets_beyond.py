"""The four sets that the first paper could not get: packs and sets are there, and the guide's example plans them."""

import re
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from vlrepro.config import load_config
from vlrepro.plan import make_plan
from vlrepro.tables.study import load_study

FOUR = {"sun397", "stanford_cars", "caltech101_per_class", "flowers102_per_class"}


@pytest.fixture
def values():
    found = {}
    for name in ("config.yaml", "paper.yaml"):
        update_config(found, yaml.safe_load(Path("config", name).read_text()))
    return found


@pytest.fixture
def written():
    return yaml.safe_load(Path("config/papers/language_guidance.yaml").read_text())


def plan_of(values, written, folder):
    (folder / "language_guidance.yaml").write_text(yaml.safe_dump(written))
    others = (Path("config/papers", f"{slug}.yaml") for slug in ("label_noise", "diht_gcc"))
    studies = [load_study(file) for file in (folder / "language_guidance.yaml", *others)]
    return make_plan(load_config(values), {study.slug: study for study in studies})


def sets_of(plan):
    return {name for evaluation in plan.evaluations.values() for name in evaluation.recipe.get("sets", ())}


def test_the_example_in_the_guide_scores_the_four_on_the_papers_metrics(values, written, tmp_path):
    section = Path("docs/packs.md").read_text().partition("### SUN397, Cars")[2].partition("\n## ")[0]
    mine, study = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL))
    update_config(values, mine)
    study["tables"] = written["tables"] + study["tables"]
    update_config(written, study)
    plan = plan_of(values, written, tmp_path)
    assert sets_of(plan) >= FOUR
    metrics = plan.metrics("language_guidance_missing")
    assert len(metrics) == 2 * len(FOUR) * len(plan.config.seeds)
    scored = {
        name: entry["metric"]
        for _, evaluation in metrics
        for name, entry in plan.evaluations[evaluation].recipe["sets"].items()
    }
    per_class = {"caltech101_per_class", "flowers102_per_class"}
    assert scored == {name: "mean_per_class" if name in per_class else "accuracy" for name in FOUR}


def test_without_it_nothing_of_them_is_planned_for_the_paper(values, written, tmp_path):
    plan = plan_of(values, written, tmp_path)
    assert sets_of(plan) & FOUR == {"stanford_cars"}  # of the label-noise paper's Table 4
    assert not any(pack.startswith("sun397-") for pack in plan.packs)
