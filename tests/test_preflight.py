"""What a configuration costs, how far it is and why it would be made again, beside Snakemake and torch's own count."""

import json
import os
import socket
import time
from base64 import urlsafe_b64encode
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config
from torch.utils.flop_counter import FlopCounterMode
from workflow_runs import ROOT, TINY, make_clone, planned_jobs, snakemake

from vlrepro.config import load_config
from vlrepro.models.backbones import build_backbone
from vlrepro.plan import make_plan
from vlrepro.preflight.budget import Budget, about_of
from vlrepro.preflight.flops import of_picture, of_training
from vlrepro.preflight.status import standing, status
from vlrepro.preflight.text import budget_text, status_text, why_text
from vlrepro.preflight.why import differences, reasons
from vlrepro.tables.study import load_study

REPORT = {
    "all",
    "audit_study",
    "build_report",
    "draw_figures",
    "draw_saliency",
    "judge_claims",
    "write_config",
    "total",
}


def plan_of(scale, **changes):
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    if scale != "pocket":
        update_config(values, yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text()))
    update_config(values, changes)
    config = load_config(values)
    return make_plan(config, {paper: load_study(ROOT / f"config/papers/{paper}.yaml") for paper in config.papers})


@pytest.fixture(scope="module")
def tiny():
    return plan_of("tiny")


def touch(path: Path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def measure(root, work, seconds):
    """Lay a work's file and its benchmark as a finished job would."""
    touch(root / work.output)
    touch(root / f"results/benchmarks/{work.rule}/{work.name}.tsv", f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\tNA\n")


def works_by_rule(budget, rule):
    return [work for work in budget.works.values() if work.rule == rule]


@pytest.mark.workflow
def test_jobs_are_those_that_snakemake_would_run(tmp_path, tiny):
    clone = make_clone(tmp_path / "clone")
    there = planned_jobs(snakemake(clone, *TINY, "-n", "--quiet", "rules").stdout)
    jobs = {work.job: work.rule if work.job == work.key else work.job for work in Budget(tiny, clone).works.values()}
    expected = {rule: count for rule, count in there.items() if rule not in REPORT and not rule.startswith("draw_")}
    assert Counter(jobs.values()) == expected


@pytest.mark.workflow
def test_targets_print_json_alone_and_text(tmp_path):
    clone = make_clone(tmp_path / "clone")
    found = json.loads(snakemake(clone, "budget_json", *TINY).stdout)
    assert found["tables"]["all"]["missing"] == found["tables"]["all"]["whole"]
    assert found["tables"]["all"]["whole"]["jobs"] < sum(t["whole"]["jobs"] for t in found["tables"].values())
    limit = ("--max-jobs-per-timespan", "10/500s")  # until when more jobs may come: not waited for
    assert "not there yet" in snakemake(clone, "why", *limit, *TINY, timeout=250).stdout
    assert not (clone / "results").exists()


@pytest.mark.workflow
def test_the_timespan_of_jobs_holds_where_more_is_asked_for(tmp_path):
    clone, start = make_clone(tmp_path / "clone"), time.monotonic()
    snakemake(clone, "--until", "write_config", "--max-jobs-per-timespan", "10/20s", *TINY)
    assert time.monotonic() - start > 20


@pytest.mark.workflow
def test_a_recipe_that_does_not_read_is_one_line(tmp_path, tiny):
    clone = make_clone(tmp_path / "clone")
    name, _, _ = next(iter(tiny.runs)).rpartition("-")
    touch(clone / f"results/recipes/runs/{name}-00000000.json", "{")
    result = snakemake(clone, "why", "--quiet", "all", *TINY, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    error = [line for line in result.stderr.splitlines() if "error" in line]
    assert error == [f"error: results/recipes/runs/{name}-00000000.json: is not JSON: delete it"]


@pytest.mark.parametrize(
    "backbone",
    [
        *({"name": name} for name in ("resnet34", "resnet50", "mobilenet_v3_large", "vit_small")),
        *({"name": f"clip_{name}"} for name in ("resnet50", "vit_b_16", "vit_b_32")),
        {"name": "resnet_small", "width": 16, "blocks": [1, 1, 1, 1], "stem_stride": 2},
        {"name": "resnet_small", "width": 8, "blocks": [1, 2, 1, 2], "stem_stride": 1},
    ],
    ids=str,
)
def test_operations_are_those_that_torch_counts(backbone):
    size = 32 if backbone["name"] == "resnet_small" else 224
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in backbone.items()}
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build_backbone(**options).eval()(torch.empty(1, 3, size, size))
    assert of_picture(backbone, size) == pytest.approx(counter.get_total_flops(), rel=0.04)


def test_estimates_rest_on_the_closest_that_finished(tmp_path):
    plan = plan_of("tiny", seeds=[0, 1, 2])
    first, second, third = (w for w in works_by_rule(Budget(plan, tmp_path), "train_model") if "/simclr-seed" in w.key)
    assert Budget(plan, tmp_path).model.estimate(first).basis == "operations at the configured rate"
    measure(tmp_path, first, 10)
    measure(tmp_path, second, 30)
    budget = Budget(plan, tmp_path)
    assert (budget.model.estimate(first).seconds, budget.model.estimate(first).basis) == (10, "itself")
    assert (budget.model.estimate(third).seconds, budget.model.estimate(third).basis) == (20, "other seeds")
    other = next(w for w in works_by_rule(budget, "train_model") if "/swav" in w.key)
    rates = sorted(of_training(work.recipe) / seconds for work, seconds in ((first, 10), (second, 30)))
    told = budget.model.estimate(other)
    assert told.basis == "operations at the rate of finished ones"
    assert told.seconds == pytest.approx(of_training(other.recipe) / (sum(rates) / 2))


def test_what_is_there_is_not_missing_and_shared_works_count_once(tmp_path, tiny):
    for work in Budget(tiny, tmp_path).works.values():
        if work.rule == "train_model":
            measure(tmp_path, work, 36)
    report = Budget(tiny, tmp_path).report()["tables"]
    trainings = len(works_by_rule(Budget(tiny, tmp_path), "train_model"))
    assert report["all"]["whole"]["bases"]["itself"][0] == trainings
    assert "itself" not in report["all"]["missing"]["bases"]
    spent = report["all"]["whole"]["core_hours"] - report["all"]["missing"]["core_hours"]
    threads = tiny.config.training.threads
    assert spent >= trainings * 36 / 3600 * threads - 1e-9
    for cost in report.values():
        assert cost["missing"]["core_hours"] <= cost["whole"]["core_hours"] + 1e-9
        assert cost["whole"]["core_hours"] <= report["all"]["whole"]["core_hours"] + 1e-9
    assert "From nothing" in budget_text(Budget(tiny, tmp_path).report())


def test_states_are_told_from_files(tmp_path, tiny):
    works = works_by_rule(Budget(tiny, tmp_path), "train_model")
    done, failed, cut, alive, marked, pending = works[:6]
    touch(tmp_path / done.output)
    for work in (cut, alive):
        touch(tmp_path / f"results/state/{work.name}/step-00000003.pt")
    touch(
        tmp_path / f"results/state/{alive.name}/lock.json",
        json.dumps({"host": socket.gethostname(), "pid": os.getpid()}),
    )
    touch(tmp_path / ".snakemake/incomplete" / urlsafe_b64encode(marked.output.encode()).decode())
    found = {work.key: standing(work, tmp_path, "tiny") for work in (done, cut, alive, marked, pending)}
    assert [entry.state for entry in found.values()] == ["done", "interrupted", "running", "interrupted", "pending"]
    assert found[cut.key].note == f"step 3 of {cut.recipe['steps']}"
    os.utime(tmp_path / f"results/state/{alive.name}/lock.json", (1, 1))
    assert standing(alive, tmp_path, "tiny").state == "interrupted"
    touch(tmp_path / ".snakemake/locks/0.input.lock", "x")
    assert standing(marked, tmp_path, "tiny").state == "running"
    alone = next(w for w in Budget(tiny, tmp_path).works.values() if w.rule == "fetch_pack")
    touch(tmp_path / f"logs/fetch_pack/{alone.name}.log")
    assert standing(alone, tmp_path, "tiny").state == "failed"
    assert failed.key not in status(tiny, tmp_path)["works"]
    report = status(tiny, tmp_path)
    assert sum(report["tables"]["all"][state] for state in ("running", "interrupted", "failed")) == len(report["works"])
    assert f"step 3 of {cut.recipe['steps']}" in status_text(report)


def test_a_changed_recipe_and_a_raised_revision_are_named(tmp_path, tiny):
    work = next(w for w in works_by_rule(Budget(tiny, tmp_path), "train_model") if "/simclr-seed" in w.key)
    old = json.loads(json.dumps(work.recipe))
    old["optimiser"]["learning_rate"] = 9.5
    old["revisions"]["frameworks.simclr"] = 0
    touch(tmp_path / f"results/recipes/runs/{work.name[:-8]}00000000.json", json.dumps(old))
    found = reasons(tiny, tmp_path, {})[work.key]
    rate, revision = work.recipe["optimiser"]["learning_rate"], work.recipe["revisions"]["frameworks.simclr"]
    was = f"(was {work.name[:-8]}00000000)"
    assert found[:2] == [
        f"optimiser.learning_rate: 9.5 -> {rate} {was}",
        f"revision of frameworks.simclr: 0 -> {revision} {was}",
    ]
    entry = {"rule": work.rule, "name": work.name, "reasons": found, "gpu_hours": 1.0, "core_hours": 2.0}
    text = why_text({"scale": "tiny", "works": [entry]})
    assert "train_model: 1, changed; 1.00 GPU-h, 2.00 core-h" in text
    assert "9.5" in text


def test_everything_there_is_no_reason_and_another_command_is_one(tmp_path, tiny):
    works = Budget(tiny, tmp_path).works.values()
    for order, rules in enumerate(({"collect_cells"}, {"build_table"})):
        for work in works:
            if work.rule in rules or (order == 0 and work.rule != "build_table"):
                touch(tmp_path / work.output)
    times = {"collect_cells": 2, "build_table": 3}
    for work in works:
        os.utime(tmp_path / work.output, (times.get(work.rule, 1),) * 2)
    assert reasons(tiny, tmp_path, {}) == {}
    pack = next(work for work in works if work.rule == "fetch_pack")
    record = {"rule": "fetch_pack", "code": "old", "starttime": 1.0, "endtime": 2.0}
    touch(tmp_path / ".snakemake/metadata" / urlsafe_b64encode(pack.output.encode()).decode(), json.dumps(record))
    found = reasons(tiny, tmp_path, {"fetch_pack": "new"})
    assert found[pack.key] == ["the command of rule fetch_pack changed"]
    assert all(
        f"made of {pack.key}" in why[0] or "which is made first" in why[0] for k, why in found.items() if k != pack.key
    )


def test_what_is_published_is_read_without_decoders(tmp_path):
    source = [
        "from PIL import Image",
        "from vlrepro.data.sources.about import About, Archive",
        'NAME = "a.tar"',
        "MODE = Image.OPEN",
        'ARCHIVES = (Archive(NAME, "https://a", "a", bytes=5),)',
        'ABOUT = About("A", "home", "MIT", "accuracy", "official", ARCHIVES, "sign")',
    ]
    touch(tmp_path / "sets/a.py", "\n".join(source))
    touch(tmp_path / "sets/b.py", "FOLDER = 1\n")
    about = about_of("sets.a", tmp_path)
    assert [(archive.name, archive.bytes) for archive in about.archives] == [("a.tar", 5)]
    assert about.by_hand == "sign"
    assert about_of("sets.b", tmp_path) is about_of("sets.none", tmp_path) is None


LEAVES = st.integers(0, 3) | st.text("ab", max_size=2)
RECIPES = st.dictionaries(st.sampled_from("abc"), LEAVES | st.dictionaries(st.sampled_from("xy"), LEAVES, min_size=1))


@given(RECIPES, RECIPES)
def test_differences_are_the_leaves_that_differ(old, new):
    def leaves(recipe):
        found = {}
        for key, value in recipe.items():
            for inner, entry in value.items() if isinstance(value, dict) else [("", value)]:
                found[f"{key}.{inner}".rstrip(".")] = entry
        return found

    before, after = leaves(old), leaves(new)
    expected = {key for key in {*before, *after} if before.get(key, "nothing") != after.get(key, "nothing")}
    assert {text.split(":")[0] for text in differences(old, new)} == expected
    assert not differences(old, old)
