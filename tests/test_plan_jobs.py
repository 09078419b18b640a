"""Jobs of several runs: who shares one, what a target then makes, and what an artefact is made of."""

from pathlib import Path

import pytest
import yaml

from vlrepro.config import load_config
from vlrepro.errors import UserError
from vlrepro.plan import make_plan
from vlrepro.plan.jobs import alone, evaluation_jobs, training_jobs
from vlrepro.tables.study import load_study

ROOT = Path(__file__).parents[1]
STUDIES = {
    name: load_study(ROOT / f"config/papers/{name}.yaml") for name in ("language_guidance", "label_noise", "diht_gcc")
}


def configured(**changes):
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = values
        for name in parents:
            place = place[name]
        place[last] = value
    return values


def planned(**changes):
    return make_plan(load_config(configured(**changes)), STUDIES)


@pytest.fixture(scope="module")
def plan():
    return planned(seeds=[0, 1])


def nothing(_):
    return False


@pytest.mark.parametrize("size", [2, 5, 100])
def test_runs_of_a_job_see_the_same_batches(plan, size):
    jobs = training_jobs(plan, size, nothing)
    taken = [run for runs in jobs.values() for run in runs]
    assert len(taken) == len(set(taken))
    for runs in jobs.values():
        assert 2 <= len(runs) <= size
        recipes = [plan.runs[run].recipe for run in runs]
        for name in ("pack", "pairs", "texts", "augmentations", "batch_size", "seed", "pictures"):
            assert all(recipe[name] == recipes[0][name] for recipe in recipes)
    assert set(alone(plan.runs, jobs.values())) == set(plan.runs) - set(taken)


def test_one_run_a_job_is_no_job_of_several(plan):
    assert training_jobs(plan, 1, nothing) == {}
    assert evaluation_jobs(plan, 1, "zero_shot", nothing) == {}


def test_a_table_as_a_target_trains_nothing_else(plan):
    wanted = set(plan.tables["label_noise_table1"].runs)
    for runs in training_jobs(plan, 6, nothing).values():
        assert set(runs) <= wanted or not wanted.intersection(runs)


def test_what_is_made_is_in_no_job(plan):
    jobs = training_jobs(plan, 6, nothing)
    first = next(iter(jobs.values()))
    left = training_jobs(plan, 6, lambda run: run in first)
    assert not set(first).intersection(run for runs in left.values() for run in runs)
    scored = evaluation_jobs(plan, 6, "zero_shot", nothing)
    evaluation, runs = next(iter(scored.values()))
    left = evaluation_jobs(plan, 6, "zero_shot", lambda pair: pair == (runs[0], evaluation))
    assert runs[0] not in [run for other, chunk in left.values() if other == evaluation for run in chunk]


def test_evaluation_jobs_are_of_one_seed_and_one_kind(plan):
    for script in ("evaluate", "zero_shot", "retrieve"):
        for evaluation, runs in evaluation_jobs(plan, 8, script, nothing).values():
            assert plan.evaluations[evaluation].script == script
            assert len({plan.runs[run].seed for run in runs}) == 1


def test_needed_is_what_something_is_made_of(plan):
    (run,) = [name for name in plan.runs if name.startswith("lgsimclr_refined-seed0-")]
    found = plan.needed([run])
    assert found["runs"] == [run]
    assert {name.split("-")[0] for name in found["pairs"]} == {"language_refined"}
    assert {name.split("-")[0] for name in found["captions"]} == {"original", "generated", "refined"}
    assert len(found["scores"]) == len(found["checkpoints"]) == 2
    assert found["prompts"] == []
    (evaluation,) = plan.tables["label_noise_table1"].evaluations
    named = plan.needed([evaluation])
    assert {name.split("-")[0] for name in named["prompts"]} == {"imagenet_7_by_minilm", "name_by_minilm"}
    assert [name.split("-")[0] for name in named["rankings"]] == ["heldout_by_scorer"]
    assert [name.split("-")[0] for name in named["checkpoints"]] == ["scorer"]


def test_prompts_are_shared_and_known_by_what_they_are_made_of(plan):
    zero_shot = [entry for entry in plan.evaluations.values() if entry.script == "zero_shot"]
    assert len(zero_shot) == 1
    assert set(zero_shot[0].prompts) == set(plan.prompts)
    before = set(planned().prompts)
    assert before == set(planned(sets__imagenet__title="Another title").prompts)
    changed = planned(evaluation__protocols__zero_shot_names__templates="photo")
    assert {name for name in changed.prompts if name.startswith("imagenet_7")} <= before
    assert set(changed.prompts) - before


def test_prompts_by_another_encoder_than_a_runs_are_refused():
    with pytest.raises(UserError, match=r"recipes.cln_resnet50: text_encoder is minilm, but table table1 asks"):
        planned(
            evaluation__protocols__zero_shot_top1__encoder="bpe",
            encoders__bpe={"kind": "tokens"},
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipes__cln_resnet50_permutation_01__label_noise__rate": 1.0}, "should be less than 1"),
        ({"recipes__cln_resnet50_permutation_01__label_noise__rate": 0.0}, "should be greater than 0"),
        ({"recipes__cln_resnet50_permutation_01__label_noise": None}, "clip_label_noise and label_noise go together"),
        ({"recipes__clip__label_noise": {"strategy": "permutation", "rate": 0.1}}, "go together"),
        ({"evaluation__protocols__zero_shot_top5__sets": ["imagenet"]}, "share suite 'zero_shot' but not sets"),
        ({"evaluation__protocols__linear__suite": "zero_shot"}, "share suite 'zero_shot'"),
        ({"evaluation__protocols__zero_shot_top5__encoder": "nobody"}, "'nobody', which is not under encoders"),
        ({"sets__imagenet__names": "nobody"}, "'nobody', which is not under packs"),
        ({"sets__imagenet_a__hardest__scorer": "nobody"}, "'nobody', which is not under scorers"),
        ({"sets__imagenet_a__hardest__share": 0.0}, "should be greater than 0"),
        ({"sets__imagenet_c__corrupted__severity": 6}, "should be less than or equal to 5"),
        ({"evaluation__protocols__zero_shot_top1__templates": "poems"}, "Input should be"),
    ],
)
def test_settings_that_cannot_be_are_one_line(changes, words):
    with pytest.raises(UserError, match=words) as caught:
        load_config(configured(**changes))
    assert "\n" not in str(caught.value)
