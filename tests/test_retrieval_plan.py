"""Retrieval in the configuration and the plan: galleries, weights that are given, several captions a picture."""

import copy

import pyarrow.parquet as pq
import pytest
from conftest import run_script, shape_pictures
from test_config_plan import ROOT, merged, planned

from vlrepro.captions.noise import noisy_captions
from vlrepro.config import load_config
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.plan.jobs import evaluation_jobs, training_jobs
from vlrepro.reporting.inputs import TrainedRun
from vlrepro.reporting.provenance import recipe_grid
from vlrepro.tables.study import load_study

NAME = f"diht_vitl14_336px_{'ab' * 32}.ckpt"
FAITHFUL = {"vague": 0.0, "off_topic": 0.0, "wrong": 0.0, "other_language": 0.0, "short": 0.0}


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "config/papers/diht_gcc.yaml")


@pytest.fixture(scope="module")
def base():
    values = merged("config.yaml")
    return values | {"seeds": [3, 1], "tables": ["table1", "retrieval_galleries", "retrieval_ablation"], "without": []}


@pytest.fixture
def values(base):
    return copy.deepcopy(base)


def put(values, path, value):
    """Set a key of a nested configuration, by its path with dots."""
    *parents, last = path.split(".")
    for name in parents:
        values = values[name]
    values[last] = value


def given(values, study, **entry):
    """(id, recipe) of the run whose weights are those of a dual encoder."""
    values = copy.deepcopy(values)
    if entry:
        values["dual_encoders"]["clip"] = entry
    ((name, run),) = ((name, run) for name, run in planned(values, study).runs.items() if run.imported)
    return name, run


def of_retrieval(plan):
    (evaluation,) = (entry for entry in plan.evaluations.values() if entry.script == "retrieve")
    return evaluation


def test_weights_that_are_given_are_one_run_without_data_or_training(values, study):
    plan = planned(values, study)
    assert {run.seed for run in plan.runs.values() if not run.imported} == {3, 1}
    name, run = given(values, study)
    assert name.startswith("given_clip-seed3-")
    assert (run.recipe["framework"], run.recipe["pack"], run.recipe["steps"]) == ("pretrained", None, 0)
    assert (run.pack, run.pairs, run.texts, run.captions, run.concepts) == (None,) * 5
    assert name in plan.tables["diht_gcc_retrieval_galleries"].runs
    # It is scored with the others, but no job trains it.
    trained = [one for runs in training_jobs(plan, 6, lambda _: False).values() for one in runs]
    assert trained
    assert not any(plan.runs[one].imported for one in trained)
    scored = evaluation_jobs(plan, 20, "retrieve", lambda _: False).values()
    assert any(name in runs for _, runs in scored)


def test_a_stand_in_is_trained_for_the_run_that_imports_it(values, study):
    plan = planned(values, study)
    name, run = given(values, study)
    (checkpoint,) = plan.needed([name])["checkpoints"]
    assert run.recipe["dual_encoder"]["model"] == checkpoint
    assert plan.checkpoints[checkpoint]["kind"] == "scorer"
    put(values, "scorers.scorer.stand_in.seed", 1)
    assert given(values, study)[0] != name


def test_where_weights_lie_and_their_licence_are_no_part_of_the_run(values, study):
    diht = {"kind": "diht", "path": f"data/{NAME}"}
    name, run = given(values, study, **diht)
    assert run.recipe["dual_encoder"] == {"kind": "diht", "weights": NAME, "stand_in": False, "prompt": None}
    assert given(values, study, **diht, accept_licence=True)[0] == name
    assert given(values, study, **diht | {"path": f"/elsewhere/{NAME}"})[0] == name
    assert given(values, study, **diht, digest="cd" * 32)[0] != name
    assert given(values, study, **diht, prompt="{caption}")[0] != name
    assert given(values, study, **diht | {"path": "data/other.ckpt"})[0] != name
    here = diht | {"digest": "cd" * 32}
    assert given(values, study, **here)[0] == given(values, study, **here | {"path": "data/other.ckpt"})[0]
    clip = {"kind": "transformers", "model": "some/clip", "revision": "1"}
    assert given(values, study, **clip)[0] not in (name, given(values, study, **clip | {"revision": "2"})[0])


@pytest.mark.parametrize("recipe", ["diht_all", "cln_resnet50"])
def test_nothing_but_retrieval_can_be_asked_of_weights_that_are_given(values, study, recipe):
    values["recipes"][recipe] = {"framework": "pretrained", "dual_encoder": "clip"}
    words = f"recipes.{recipe}: table retrieval_ablation asks for suite zero_shot, but a dual encoder that is given"
    with pytest.raises(UserError, match=words) as caught:
        planned(values, study)
    assert "\n" not in str(caught.value)


def test_saliency_cannot_be_asked_of_weights_that_are_given(values):
    values["recipes"]["simclr"] = {"framework": "pretrained", "dual_encoder": "clip"}
    values["tables"] = ["table3"]
    with pytest.raises(UserError, match=r"recipes.simclr: table table3 asks for suite saliency, but a dual encoder"):
        planned(values, load_study(ROOT / "config/papers/language_guidance.yaml"))


def test_a_recipe_of_given_weights_may_be_left_out(values, study):
    values["recipes"]["given_clip"] = None
    assert not any(run.imported for run in planned(values, study).runs.values())


def test_galleries_hold_their_captions_as_the_runs_read_them(values, study):
    plan = planned(values, study)
    evaluation = of_retrieval(plan)
    for name, entry in evaluation.recipe["sets"].items():
        chosen = values["sets"][name]
        assert plan.packs[entry["pack"]]["digest"] == values["packs"][chosen["pack"]]["digest"]
        for (captions, embeddings), source in zip(entry["captions"], chosen["captions"], strict=True):
            assert captions.rsplit("-", 1)[0] == source
            assert plan.captions[captions]["pack"] == entry["pack"]
            assert plan.embeddings[embeddings]["captions"] == captions
            assert (captions, embeddings) in evaluation.captions
        # What is not asked for is no key, so that a set with less to say keeps its id when choices are added.
        extra = {key for key in ("first", "captions_each", "part", "batches") if chosen.get(key)}
        assert set(entry) == {"pack", "metric", "captions", "splits"} | extra
    runs = [run for run in plan.runs.values() if run.recipe_name == "diht"]
    encoders = {plan.embeddings[run.texts]["encoder"]["model"] for run in runs}
    assert encoders == {plan.embeddings[row]["encoder"]["model"] for _, row in evaluation.captions}


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("sets.gcc.title", "Another", True),
        ("sets.gcc.shows", "another", True),
        ("sets.gcc.first", 70, False),
        ("sets.gcc_3.part", [3, 5], False),
        ("sets.gcc_batches.batches", 5, False),
        ("sets.coco.captions_each", 2, False),
        ("captions.coco.draws", 3, False),
        ("captions.coco.draws", 1, False),
        ("captions.gcc.seed", 2, False),
        ("evaluation.protocols.to_texts_5.top", 4, False),
    ],
)
def test_what_decides_a_gallery_is_in_its_evaluations_id(values, study, path, value, same):
    before = of_retrieval(planned(values, study)).id
    put(values, path, value)
    assert (of_retrieval(planned(values, study)).id == before) is same


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("sets.openmoji.first", 5, "sets.openmoji: .*first, captions_each, part and batches are for retrieval: give"),
        ("sets.openmoji.batches", 2, "are for retrieval: give captions too"),
        ("sets.gcc_1.batches", 7, "sets.gcc_1: .*give either part or batches"),
        ("sets.gcc_1.part", [8, 7], "part 8 of 7: count parts from 1"),
        ("sets.gcc_1.part", [0, 7], r"sets.gcc_1.part.0: Input should be greater than 0"),
        ("sets.gcc.captions", ["moon"], "sets.gcc.captions names 'moon', which is not under captions"),
        ("sets.gcc.captions_each", 0, "sets.gcc.captions_each: Input should be greater than 0"),
        ("evaluation.protocols.to_texts_1.direction", "up", "to_texts_1.retrieval.direction: Input should be"),
        ("evaluation.protocols.to_texts_1.encoder", "moon", "to_texts_1.encoder names 'moon'"),
        ("evaluation.protocols.to_texts_1.sets", ["gcc"], "share suite 'retrieval' but not sets"),
        ("evaluation.protocols.zero_shot_names.kind", "linear", "evaluation.protocols.zero_shot_names"),
        ("dual_encoders.clip.path", "x", "kind transformers has no path"),
        ("dual_encoders.clip.model", "x", "kind transformers needs scorer or model"),
        ("dual_encoders.clip.scorer", "moon", "dual_encoders.clip.scorer names 'moon'"),
        ("dual_encoders.clip.kind", "diht", "kind diht needs path"),
        ("dual_encoders.clip.kind", "blip", "dual_encoders.clip.kind: Input should be"),
        ("dual_encoders.clip.prompt", "a photo", "dual_encoders.clip.prompt: String should match"),
        ("dual_encoders.new", {"kind": "diht", "path": "x", "revision": "1"}, "kind diht has no revision"),
        ("dual_encoders.new", {"kind": "diht", "path": "x", "digest": "abc"}, "dual_encoders.new.digest"),
        ("recipes.given_clip.dual_encoder", "moon", "recipes.given_clip.dual_encoder names 'moon'"),
        ("recipes.given_clip.framework", "clip", "framework pretrained and dual_encoder go together"),
        ("recipes.clip.dual_encoder", "clip", "framework pretrained and dual_encoder go together"),
        ("recipes.clip.augmentation", None, "recipes.clip: .*give an augmentation"),
        ("captions.coco.draws", 0, "captions.coco.draws: Input should be greater than 0"),
        ("captions.clean.draws", 2, "captions.clean: .*draws is for method noise"),
        ("recipes.clip.texts", "coco", "recipes.clip.texts names 'coco', but needs one caption a picture, not several"),
        ("pairs.language_original.captions", "coco", "pairs.language_original.captions names 'coco', but needs one"),
        ("captions.refined.original", "coco", "captions.refined.original names 'coco', but needs one caption"),
        ("captions.original.draws", 2, "names 'original', but needs one caption a picture, not several"),
    ],
)
def test_mistakes_are_one_line(values, path, value, words):
    put(values, path, value)
    with pytest.raises(UserError, match=words) as caught:
        load_config(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("sets.gcc.captions", [], "sets.gcc: retrieval on it has no captions: give the set captions"),
        ("sets.gcc.captions", ["coco"], "sets.gcc: captions 'coco' are of another pack: choose those of openmoji"),
        ("evaluation.protocols.to_texts_1.encoder", "bpe", "sets.gcc_1: retrieval on it has 2 text encoders"),
        ("recipes.diht.text_encoder", "bpe", "recipes.diht: text_encoder is bpe, but table table1 asks for prompts by"),
    ],
)
def test_galleries_that_cannot_be_planned(values, study, path, value, words):
    values["encoders"]["bpe"] = {"kind": "tokens"}
    put(values, path, value)
    if path == "sets.gcc.captions" and not value:
        values["sets"]["gcc"] = {key: entry for key, entry in values["sets"]["gcc"].items() if key != "captions"}
    with pytest.raises(UserError, match=words) as caught:
        planned(values, study)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", ["config.yaml", "tiny.yaml", "evidence.yaml", "paper.yaml"])
def test_batches_of_a_scale_are_the_parts_of_one_gallery(scale, study):
    """The seven rows are the parts of what `gcc_batches` averages, and at the paper's scale 2,000 pictures each."""
    values = merged("config.yaml", scale) | {"tables": ["table1"], "without": []}
    sets = sets_of_retrieval(planned(values, study))
    whole = {key: value for key, value in sets["gcc_batches"].items() if key != "batches"}
    assert sets["gcc_batches"]["batches"] == 7
    for number in range(1, 8):
        assert sets[f"gcc_{number}"] == whole | {"part": [number, 7]}
    if scale == "paper.yaml":
        assert whole["first"] == 7 * 2000


def sets_of_retrieval(plan):
    """The sets of every group of a scale's retrieval."""
    found = [entry.recipe["sets"] for entry in plan.evaluations.values() if entry.script == "retrieve"]
    return {name: entry for sets in found for name, entry in sets.items()}


@pytest.mark.parametrize("draws", [1, 3])
def test_draws_are_those_of_consecutive_seeds(tmp_path, monkeypatch, draws):
    write_pack(tmp_path / "pack", shape_pictures(16))
    recipe = {"method": "noise", "rates": FAITHFUL | {"vague": 0.5}, "group_spread": 0.0, "seed": 4}
    write_json(tmp_path / "recipe.json", recipe | ({"draws": draws} if draws > 1 else {}))
    index, output = tmp_path / "pack/index.parquet", tmp_path / "captions.parquet"
    run_script("make_captions.py", monkeypatch, recipe=tmp_path / "recipe.json", index=index, limit=0, output=output)
    made, rows = pq.read_table(output).to_pydict(), Pack(tmp_path / "pack").rows
    expected = [
        (row.key, caption.text, caption.kind)
        for seed in range(4, 4 + draws)
        for row, caption in zip(rows, noisy_captions(rows, recipe["rates"], 0.0, seed), strict=True)
    ]
    assert list(zip(made["key"], made["caption"], made["kind"], strict=True)) == expected
    assert draws == 1 or made["caption"][:16] != made["caption"][16:32]


def test_the_report_says_that_weights_are_given(values, study):
    plan = planned(values, study)
    runs = [TrainedRun(run.id, run.recipe_name, run.seed, run.recipe) for run in plan.runs.values()]
    page = recipe_grid(runs, values["recipes"], {}, {})
    (line,) = (row for row in page.split("<tr>") if "<code>given_clip</code>" in row)
    assert "given (transformers)" in line
    assert line.count("<td>–</td>") >= 5
    (line,) = (row for row in page.split("<tr>") if "<code>diht_distillation</code>" in row)
    concepts = {run.concepts for run in plan.runs.values() if run.recipe_name == "diht_distillation"}
    assert all(f"<code>{name}</code>" in line for name in concepts)
    assert len(concepts) == 1
