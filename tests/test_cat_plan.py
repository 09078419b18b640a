"""Filtered captions in the plan: what they are made of, which ids they change; training on what a filter leaves."""

import pyarrow.parquet as pq
import pytest
from caption_training import caption_files, caption_recipe
from test_config_plan import ROOT, merged, planned

from vlrepro.captions.cat_filter import write_filtered
from vlrepro.config import load_config
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.pairs.embeddings import read_embeddings, write_embeddings
from vlrepro.tables.study import load_study
from vlrepro.training.loop import train
from vlrepro.training.views import Views, read_pairs, read_texts


@pytest.fixture(scope="module")
def study():
    return load_study(ROOT / "config/papers/language_guidance.yaml")


@pytest.fixture
def values():
    found = merged("config.yaml")
    found["recipes"]["clip"]["texts"] = "cat"
    return found


def filtered(plan):
    (recipe,) = (recipe for recipe in plan.captions.values() if recipe["method"] == "filtered")
    return recipe


def test_what_filtered_captions_are_made_of(values, study):
    before = planned(merged("config.yaml"), study)
    assert not before.spotted
    assert not any(recipe["method"] == "filtered" for recipe in before.captions.values())
    after = planned(values, study)
    assert set(before.captions) < set(after.captions)
    changed = {before.runs[key].recipe_name for key in set(before.runs) - set(after.runs)}
    assert changed == {"clip"}  # the recipes of all others are as they were
    recipe = filtered(after)
    original = recipe["sources"]["original"]
    assert original in before.captions
    assert after.parses[recipe["parses"]]["captions"] == original
    assert after.spotted[recipe["spotted"]]["pack"] == recipe["pack"] == after.captions[original]["pack"]
    assert recipe["rules"]["complexity"] == 1
    needed = after.needed([run for run in after.runs if run.startswith("clip-")])
    assert (needed["parses"], needed["spotted"]) == ([recipe["parses"]], [recipe["spotted"]])


@pytest.mark.parametrize(
    ("cat", "seen"),
    [
        ({"complexity": None, "actions": None}, {"spotted"}),
        ({"text_confidence": None}, {"parses"}),
        ({"complexity": None, "actions": 1, "text_confidence": None}, {"parses"}),
        ({}, {"parses", "spotted"}),
    ],
)
def test_rules_that_are_off_are_not_prepared(values, study, cat, seen):
    values["captions"]["cat"]["cat"] = cat
    plan = planned(values, study)
    assert {kind for kind in ("parses", "spotted") if filtered(plan)[kind]} == seen
    assert {kind for kind in ("parses", "spotted") if getattr(plan, kind)} == seen


@pytest.mark.parametrize(
    ("place", "value", "moved"),
    [
        (("captions", "cat", "cat", "complexity"), 2, {"captions"}),
        (("captions", "cat", "cat", "text_similarity"), 0.7, {"captions"}),
        (("parser", "digest"), None, {"captions", "parses"}),
        (("spotter", "side"), 256, {"captions", "spotted"}),
        (("captions", "cat", "original"), "clean", {"captions", "parses"}),
    ],
)
def test_a_changed_threshold_or_model_makes_what_depends_on_it_anew(values, study, place, value, moved):
    before = planned(values, study)
    entry = values
    for part in place[:-1]:
        entry = entry[part]
    entry[place[-1]] = value
    after = planned(values, study)
    assert filtered(before) != filtered(after)
    for kind in ("parses", "spotted"):
        assert (set(getattr(before, kind)) == set(getattr(after, kind))) == (kind not in moved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cat": None}, "method filtered needs original, cat: see cat"),
        ({"original": None}, "method filtered needs original, cat: see original"),
        ({"original": "nowhere"}, "captions.cat.original names 'nowhere', which is not under captions"),
        ({"generated": "generated"}, "method filtered needs original, cat: see generated"),
        ({"cat": {"complexity": None, "text_confidence": None}}, "are all null: nothing is filtered"),
        ({"cat": {"complexity": 0}}, "captions.cat.cat.complexity: Input should be greater than 0"),
        ({"cat": {"text_confidence": 0.4}}, "captions.cat.cat.text_confidence: Input should be greater than or equal"),
        ({"cat": {"text_match": "fuzzy"}}, "captions.cat.cat.text_match: Input should be 'similarity' or"),
        ({"cat": {"colour": 1}}, "captions.cat.cat.colour: unknown key"),
    ],
)
def test_what_cannot_be_is_one_line(values, change, words):
    values["captions"]["cat"] |= change
    with pytest.raises(UserError, match=words) as caught:
        load_config(values)
    assert "\n" not in str(caught.value)


def test_captions_of_another_pack_are_refused(values, study):
    values["captions"]["cat"]["pack"] = "reference"
    with pytest.raises(UserError, match=r"captions.cat: pack 'reference' is not that of 'original': give the same"):
        planned(values, study)


@pytest.mark.parametrize("scale", ["tiny.yaml", "evidence.yaml", "paper.yaml"])
def test_every_scale_can_filter(study, scale):
    values = merged("config.yaml", scale)
    pack = values["captions"]["cat"]["pack"]
    values["training"]["pack"] = pack
    values["recipes"]["simclr"] = merged("config.yaml")["recipes"]["clip"] | {"texts": "cat"}
    assert filtered(planned(values | {"tables": ["table1"]}, study))["pack"].startswith(pack)


def filtered_files(folder, pack, kept):
    """A training's files whose caption source was filtered to the rows `kept`."""
    files = caption_files(folder, pack)
    source = pq.read_table(files.captions)
    rows = read_embeddings(files.texts, source.num_rows, files.captions)
    write_filtered(folder / "cat.parquet", source, kept, {})
    write_embeddings(folder / "cat.safetensors", rows[kept], {})
    return files._replace(captions=folder / "cat.parquet", texts=folder / "cat.safetensors")


def test_pictures_whose_captions_were_dropped_are_not_trained_on(shape_pack, recipe, tmp_path):
    kept = list(range(0, 64, 3))
    files = filtered_files(tmp_path, shape_pack, kept)
    pictures = Pictures(Pack(shape_pack), 24)
    texts = read_texts(files.texts, files.captions, pictures)
    views = Views(pictures, read_pairs(None, pictures), [], 8, 0, texts)
    assert views.pairs[:, 0].tolist() == kept
    chosen = caption_recipe(recipe, "clip") | {"batch_size": 8, "steps": 3}
    train(chosen, files, tmp_path / "state", tmp_path / "out", 60)
    assert len((tmp_path / "out/history.jsonl").read_text().splitlines()) == 3


def test_too_few_captions_for_a_batch_are_one_line(shape_pack, recipe, tmp_path):
    files = filtered_files(tmp_path, shape_pack, [1, 5, 9])
    with pytest.raises(
        UserError, match=r"3 usable pairs in .*cat.parquet allow 0 .*lower steps or batch_size"
    ) as error:
        train(caption_recipe(recipe, "clip"), files, tmp_path / "state", tmp_path / "out", 60)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
