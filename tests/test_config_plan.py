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


@pytest.fixture(scope="module")
def noise_study():
    return load_study(ROOT / "config/papers/label_noise.yaml")


@pytest.fixture(scope="module")
def diht_study():
    return load_study(ROOT / "config/papers/diht_gcc.yaml")


@pytest.fixture
def values():
    return copy.deepcopy(merged("config.yaml"))


def planned(values, study):
    return make_plan(load_config(values), {study.slug: study})


FROM_WEB = {"source": "web", "path": "a.tsv", "revision": "1", "web": {"format": "redcaps"}}
COMPOSED = {"source": "composed", "compose": {"objects": "openmoji", "backgrounds": "openclipart"}}


def composed(**changes):
    return {**COMPOSED, "compose": COMPOSED["compose"] | changes}


def composed_recipe(values, study, **changes):
    """(id, recipe) of a composed pack that takes the place of the set `openmoji`'s."""
    values = copy.deepcopy(values)
    values["packs"]["new"] = composed(**changes)
    values["sets"]["openmoji"]["pack"] = "new"
    packs = planned(values, study).packs
    return next((name, recipe) for name, recipe in packs.items() if name.startswith("new-"))


def test_a_downloaded_pack_is_identified_by_what_is_kept_not_by_the_pace(values, study):
    def key(**changes):
        chosen = copy.deepcopy(values)
        web = FROM_WEB["web"] | {name: value for name, value in changes.items() if name not in FROM_WEB}
        chosen["packs"]["new"] = FROM_WEB | {"web": web} | {name: changes[name] for name in changes if name in FROM_WEB}
        chosen["sets"]["openmoji"]["pack"] = "new"
        packs = planned(chosen, study).packs
        return next((name, recipe) for name, recipe in packs.items() if name.startswith("new-"))

    name, recipe = key()
    assert (recipe["source"], recipe["path"], recipe["digest"]) == ("web", "a.tsv", None)
    assert recipe["web"]["format"] == "redcaps"
    assert "pace" not in recipe["web"]
    assert key(pace={"connections": 1, "contact": "me"}, path="b.tsv")[0] == name
    assert "year" not in recipe["web"]
    for change in ({"short_side": None}, {"quality": 90}, {"max_bytes": 10}, {"year": 2020}, {"revision": "2"}):
        assert key(**change)[0] != name
    assert all(
        set(recipe) == {"source", "path", "digest"}
        for recipe in planned(values, study).packs.values()
        if recipe["source"] == "local"
    )


def test_a_composed_pack_is_identified_by_its_parts_and_choices(values, study):
    name, recipe = composed_recipe(values, study)
    assert (recipe["source"], recipe["path"], recipe["digest"]) == ("composed", None, None)
    assert recipe["compose"]["objects"]["digest"] == values["packs"]["openmoji"]["digest"]
    assert recipe["compose"]["sides"] == [24, 60]
    assert composed_recipe(values, study)[0] == name
    changes = {"placement": "centred", "seed": 1, "distractors": 2, "contrast": 0.5, "backgrounds": "fluent_flat"}
    for change in ({key: value} for key, value in changes.items()):
        assert composed_recipe(values, study, **change)[0] != name
    moved = copy.deepcopy(values)
    moved["packs"]["openmoji"]["path"] = "elsewhere"
    assert composed_recipe(moved, study)[0] == name
    moved["packs"]["openmoji"]["digest"] = "0" * 64
    assert composed_recipe(moved, study)[0] != name
    moved["packs"]["openmoji"] |= {"digest": None, "revision": "1"}
    with pytest.raises(UserError, match=r"packs.new.compose.objects: 'openmoji' has no digest"):
        composed_recipe(moved, study)


TABLES = (
    *("table1", "table2", "augmentation", "captions", "scopes", "backbones", "frameworks", "protocols"),
    *("table3", "saliency_scores", "saliency_packaged", "saliency_centred"),
)


@pytest.mark.parametrize("scale", ["config.yaml", "tiny.yaml", "evidence.yaml", "paper.yaml"])
def test_every_scale_plans_whole_tables(scale, study, noise_study, diht_study):
    studies = {entry.slug: entry for entry in (study, noise_study, diht_study)}
    plan = make_plan(load_config(merged("config.yaml", scale)), studies)
    names = set(plan.config.tables or TABLES) & set(TABLES) - set(plan.config.without)
    assert {name for name in plan.tables if name.startswith("language_guidance_")} == {
        f"language_guidance_{name}" for name in names
    }
    assert {f"label_noise_table{number}" for number in (1, 2, 3, 4)} <= set(plan.tables)
    assert "diht_gcc_table1" in plan.tables
    assert set(plan.config.without) <= {table.name for entry in studies.values() for table in entry.tables}
    for table in plan.tables:
        metrics = plan.metrics(table)
        assert len(metrics) == len(set(metrics)) > 0
        assert all(run in plan.runs and evaluation in plan.evaluations for run, evaluation in metrics)
    for run in plan.runs.values():
        assert run.pack in plan.packs or (run.imported and run.seed == plan.config.seeds[0])
        assert run.pairs is None or run.pairs in plan.pairs
        assert run.texts is None or (run.texts in plan.embeddings and run.captions in plan.captions)
    for pairs in plan.pairs.values():
        assert pairs["captions"] is None or pairs["captions"] in plan.captions
        assert pairs["embeddings"] is None or pairs["embeddings"] in plan.embeddings
    for captions in plan.captions.values():
        assert set(captions.get("sources", {}).values()) <= set(plan.captions)
        assert set(captions.get("scores", {}).values()) <= set(plan.scores)
        assert not captions.get("stand_in") or captions["model"] in plan.checkpoints


def test_a_pack_without_captions_runs_on_generated_ones(values, study):
    values["recipes"]["lgsimclr"]["pairs"] = "language_generated"
    values["tables"] = ["augmentation"]
    for name in ("lgsimclr_simclr_augmentation", "lgsimclr_oracle", "lgsimclr_oracle_simclr_augmentation"):
        values["recipes"][name]["pairs"] = "language_generated"
    plan = planned(values, study)
    assert {recipe["method"] for recipe in plan.captions.values()} == {"generated"}


def test_captions_share_their_embeddings(values, study):
    plan = planned(values, study)
    embeddings = [recipe["embeddings"] for recipe in plan.pairs.values() if recipe["captions"]]
    assert len(embeddings) > len(set(embeddings))
    (clip,) = (run for run in plan.runs.values() if run.recipe_name == "clip")
    assert clip.texts in embeddings


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
        (("packs", "pretrain", "path"), None, "give the path of the pack"),
        (("packs", "pretrain", "compose"), {"objects": "openmoji", "backgrounds": "digits"}, "source composed needs"),
        (("packs", "new"), {"source": "composed", "revision": "1"}, "source composed needs compose, and only it"),
        (("packs", "new"), {**COMPOSED, "revision": "1"}, "source composed takes no path, digest or revision"),
        (("packs", "new"), {"source": "web", "path": "a.tsv", "revision": "1"}, "source web needs web, and only it"),
        (("packs", "pretrain", "web"), {"format": "redcaps"}, "source web needs web, and only it"),
        (("packs", "new"), {**FROM_WEB, "revision": None, "digest": "0" * 64}, "source web takes no digest"),
        (("packs", "new"), {**FROM_WEB, "path": None}, "give the path of the pack"),
        (("packs", "new"), {**FROM_WEB, "web": {"format": "laion"}}, "packs.new.web.format"),
        (("packs", "new"), {**FROM_WEB, "web": {"format": "conceptual_captions", "year": 2020}}, "leave year out"),
        (("packs", "new"), {**FROM_WEB, "web": {"format": "redcaps", "max_pixels": 10**9}}, "packs.new.web.max_pixels"),
        (
            ("packs", "new"),
            {**FROM_WEB, "web": {"format": "redcaps", "pace": {"contact": "me\r\nHost: x"}}},
            "packs.new.web.pace.contact",
        ),
        (("packs", "new"), composed(objects="moon"), "packs.new.compose.objects names 'moon'"),
        (("packs", "new"), composed(backgrounds="sky"), "packs.new.compose.backgrounds names 'sky'"),
        (("packs", "new"), composed(sides=[50, 120]), "sides must ascend and fit the canvas"),
        (("evaluation", "sets"), ["moon"], "evaluation.sets names 'moon'"),
        (("captions", "generated", "captioner"), "nobody", "captions.generated.captioner names 'nobody'"),
        (("captions", "refined", "scorer"), None, "method refined needs original, generated, scorer: see scorer"),
        (("captioners", "captioner", "model"), "a/b", "give either model or stand_in"),
        (("encoders", "visual", "scorer"), None, "kind image needs scorer"),
        (("pairs", "visual", "encoder"), None, "pairs by caption or picture need an encoder"),
        (("pairs", "oracle", "captions"), "original", "pairs by caption need captions, and only they"),
        (("pairs", "language_group", "scope"), "subreddit", "pairs.language_group.scope: Input should be"),
        (("recipes", "clip", "text_encoder"), None, "texts and text_encoder go together"),
        (("recipes", "slip", "augmentation"), ["simclr", "moon"], "recipes.slip.augmentation names 'moon'"),
        (("evaluation", "protocols", "linear", "kind"), "lines", "evaluation.protocols.linear: Input tag 'lines'"),
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


@pytest.mark.parametrize(
    ("recipe", "change", "words"),
    [
        ("clip", {"texts": None, "text_encoder": None}, "recipes.clip: framework 'clip' needs texts"),
        ("simclr", {"texts": "original", "text_encoder": "minilm"}, "framework 'simclr' reads no texts"),
        ("slip", {"augmentation": ["simclr", "simclr"]}, "recipes.slip: 2 augmentations for 3 views"),
        ("simclr", {"framework": "simclear"}, "'frameworks.simclear' is not a module"),
        ("clip", {"framework": "clip_distillation"}, "framework 'clip_distillation' needs concepts"),
        ("clip", {"concepts": "seen"}, "framework 'clip' reads no concepts"),
    ],
)
def test_a_recipe_that_does_not_fit_its_framework(values, study, recipe, change, words):
    values["recipes"][recipe] |= change
    with pytest.raises(UserError, match=words):
        planned(values, study)


def test_a_table_or_protocol_that_is_not_there(values, study):
    with pytest.raises(UserError, match="tables: 'table9' is in no study: choose among"):
        planned(values | {"tables": ["table9"]}, study)
    del values["evaluation"]["protocols"]["few_shot"]
    with pytest.raises(UserError, match=r"evaluation.protocols: 'few_shot' is asked for by a table"):
        planned(values, study)


def test_a_recipe_that_is_null_is_not_run(values, study):
    values["recipes"]["lgsimclr_oracle"] = None
    runs = {run.recipe_name for run in planned(values, study).runs.values()}
    assert "lgsimclr_oracle" not in runs
    assert "lgsimclr" in runs


def test_changing_one_recipe_changes_exactly_its_runs(values, study):
    before = planned(values, study)
    values["recipes"]["lgsimclr_group"]["batch_size"] = 32
    after = planned(values, study)
    changed = set(before.runs) ^ set(after.runs)
    assert {name.split("-seed")[0] for name in changed} == {"lgsimclr_group"}
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
    for kind in ("packs", "checkpoints", "captions", "scores", "embeddings", "pairs", "runs", "evaluations"):
        assert set(getattr(before, kind)) == set(getattr(after, kind))


def test_changed_captions_change_only_what_is_made_of_them(values, study):
    before = planned(values, study)
    values["captions"]["original"]["seed"] = 1
    after = planned(values, study)
    kept = {name.split("-seed")[0] for name in set(before.runs) & set(after.runs)}
    of_captions = {"original", "refined"}
    touched = {
        name
        for name, recipe in values["recipes"].items()
        if recipe.get("texts") in of_captions
        or values["pairs"].get(recipe.get("pairs"), {}).get("captions") in of_captions
    }
    assert kept == {run.recipe_name for run in before.runs.values()} - touched
    assert {"simclr", "lgsimclr_generated", "lgsimclr_clean", "lgsimclr_oracle"} <= kept


def test_another_seed_of_the_captioner_changes_what_it_writes(values, study):
    before = planned(values, study)
    values["captioners"]["captioner"]["stand_in"]["seed"] = 1
    after = planned(values, study)
    changed = {name.split("-")[0] for name in set(before.captions) - set(after.captions)}
    assert changed == {"generated", "refined"}


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
