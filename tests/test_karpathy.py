"""COCO and Flickr30K from small tables in their real format, and caption files with every caption of a picture."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import run_script, shape_pictures
from PIL import Image
from safetensors.torch import save_file
from test_config_plan import merged

from vlrepro.captions.every import every_caption
from vlrepro.captions.refine import read_captions
from vlrepro.captions.score_files import read_texts
from vlrepro.config import load_config
from vlrepro.data.fetch import fetch_pack
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, read_index, write_pack
from vlrepro.data.sources import karpathy
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.pairs.finding import find_pairs
from vlrepro.plan.data import DataPlanner
from vlrepro.plan.model import Plan
from vlrepro.training.views import read_texts as read_training_texts

COCO, FLICKR = "dataset_coco.json", "dataset_flickr30k.json"
SPLITS = ("test", "train", "restval", "val", "test", "test")
SENTENCES = (5, 5, 6, 5, 6, 5)  # of the pictures, in the table's order


def jpeg(seed):
    values = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG")
    return stream.getvalue()


def entry(number, coco):
    """A picture of the table, with all the keys that the real ones have."""
    texts = [f" Picture {number}, sentence {place}: a café. \n" for place in range(SENTENCES[number])]
    ids = list(range(10 * number, 10 * number + len(texts)))
    sentences = [
        {"tokens": text.split(), "raw": text, "imgid": number, "sentid": name}
        for text, name in zip(texts, ids, strict=True)
    ]
    found = {"sentids": ids, "imgid": number, "sentences": sentences, "split": SPLITS[number]}
    if coco:
        name = f"COCO_val2014_{number:012d}.jpg"
        return found | {"filepath": "val2014", "filename": name, "cocoid": number}
    return found | {"filename": f"{1000 + number}.jpg"}


def write_table(root, entries, coco=True):
    root.mkdir(parents=True, exist_ok=True)
    name, dataset = (COCO, "coco") if coco else (FLICKR, "flickr30k")
    (root / name).write_text(json.dumps({"images": entries, "dataset": dataset}, ensure_ascii=False), encoding="utf-8")


def archive(root, coco=True):
    """The table and the test pictures; others are not needed."""
    entries = [entry(number, coco) for number in range(len(SPLITS))]
    write_table(root, entries, coco)
    for number, one in enumerate(entries):
        place = root / one.get("filepath", "flickr30k-images") / one["filename"]
        place.parent.mkdir(exist_ok=True)
        if one["split"] == "test":
            place.write_bytes(jpeg(number))
    return root


@pytest.fixture
def small(monkeypatch):
    """The real tables' numbers, for three pictures."""
    changed = {name: replace(release, pictures=3, captions=16) for name, release in karpathy.RELEASES.items()}
    monkeypatch.setattr(karpathy, "RELEASES", changed)


def fetched(path, folder):
    assert fetch_pack({"source": "karpathy", "path": str(path), "digest": None}, folder, 0.0) == (3, 0)
    return Pack(folder)


@pytest.mark.parametrize("coco", [True, False])
def test_the_test_split_with_all_captions(small, tmp_path, coco):
    pack = fetched(archive(tmp_path / "set", coco), tmp_path / "pack")
    for position, number in enumerate((0, 4, 5)):
        row, one = pack.rows[position], entry(number, coco)
        texts = [" ".join(sentence["raw"].split()) for sentence in one["sentences"]]
        assert (row.caption, row.split) == (texts[0], "test")
        assert json.loads(row.captions_other) == {str(place + 1): texts[place] for place in range(1, len(texts))}
        assert row.source == f"{one.get('filepath', 'flickr30k-images')}/{one['filename']}"
        assert (row.width, row.height) == (30, 20)
        assert pack.picture(position) == jpeg(number)


def test_what_is_not_whole_is_refused_by_name(tmp_path):
    root = archive(tmp_path / "set")
    with pytest.raises(
        UserError, match=r"dataset_coco.json: 3 test pictures with 16 captions instead of 5,000 with 25"
    ):
        karpathy.fetch(root, tmp_path / "pack")
    archive(root, coco=False)
    with pytest.raises(UserError, match=r"set: 2 tables dataset_coco.json or dataset_flickr30k.json"):
        karpathy.fetch(root, tmp_path / "pack")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: 0 tables"):
        karpathy.fetch(tmp_path / "empty", tmp_path / "pack")
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        karpathy.fetch(tmp_path / "nowhere", tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("change", [{"filepath": ".."}, {"filepath": "/etc"}, {"filename": "../../secret.jpg"}])
def test_no_name_leads_out_of_the_folder(small, tmp_path, change):
    root = archive(tmp_path / "set")
    (tmp_path / "secret.jpg").write_bytes(jpeg(0))
    write_table(root, [entry(0, True) | change])
    with pytest.raises(UserError, match=r"dataset_coco.json: .* leads out of"):
        karpathy.fetch(root, tmp_path / "pack")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"filename": "missing.jpg"}, "missing.jpg: no such file, though dataset_coco.json lists it"),
        ({"filename": None}, "without filename and filepath"),
        ({"sentences": []}, "COCO_val2014_000000000000.jpg has no sentences"),
        ({"sentences": [{"raw": "a"}, {"tokens": ["b"]}]}, "has no sentences with the text 'raw'"),
        ({"sentences": {"raw": "a"}}, "has no sentences"),
    ],
)
def test_rows_of_another_form_are_refused(small, tmp_path, change, said):
    root = archive(tmp_path / "set")
    write_table(root, [entry(0, True) | change])
    with pytest.raises(UserError, match=said) as caught:
        karpathy.fetch(root, tmp_path / "pack")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"images": {}}', b'{"images": [3]}'])
def test_what_is_no_such_table_is_refused(small, tmp_path, text):
    root = archive(tmp_path / "set")
    (root / COCO).write_bytes(text)
    with pytest.raises(UserError, match=r"dataset_coco.json: (not readable as JSON|no list of pictures)"):
        karpathy.fetch(root, tmp_path / "pack")


def captions_of(pack, folder, monkeypatch):
    write_json(folder / "recipe.json", {"method": "every"})
    options = {"recipe": folder / "recipe.json", "index": pack.folder / "index.parquet", "limit": 0.0}
    run_script("make_captions.py", monkeypatch, **options, output=folder / "captions.parquet")
    return folder / "captions.parquet"


def test_a_caption_file_has_a_row_for_each_caption(small, tmp_path, monkeypatch):
    pack = fetched(archive(tmp_path / "set"), tmp_path / "pack")
    table = pq.read_table(captions_of(pack, tmp_path, monkeypatch)).to_pydict()
    truth = [
        (pack.rows[position].key, f"Picture {number}, sentence {place}: a café.")
        for position, number in enumerate((0, 4, 5))
        for place in range(SENTENCES[number])
    ]
    assert list(zip(table["key"], table["caption"], strict=True)) == truth
    assert set(table["kind"]) == {"clean"}


def test_captions_are_in_the_order_of_their_numbers_and_translations_are_none(tmp_path):
    write_pack(tmp_path, shape_pictures(2))
    first, other = read_index(tmp_path / "index.parquet")
    row = replace(first, captions_other=json.dumps({"10": "ten", "de": "zwei", "9": "nine", "2": "two"}))
    found = [(each.key, caption.text) for each, caption in every_caption([row, other])]
    texts = [row.caption, "two", "nine", "ten"]
    assert found == [*((row.key, text) for text in texts), (other.key, other.caption)]


def test_readers_that_need_one_caption_a_picture_refuse_several(small, tmp_path, monkeypatch):
    pack = fetched(archive(tmp_path / "set"), tmp_path / "pack")
    captions = captions_of(pack, tmp_path, monkeypatch)
    save_file({"embeddings": torch.zeros(16, 4)}, tmp_path / "texts.safetensors")
    recipe = {"by": "caption", "scope": "global", "search": "exact", "minimum_cosine": -1.0, "k": 1, "seed": 0}
    pictures = Pictures(pack, 24)
    for read in (
        lambda: read_texts(captions),
        lambda: read_captions(captions),
        lambda: find_pairs(recipe, pack.folder / "index.parquet", captions, tmp_path / "texts.safetensors"),
        lambda: read_training_texts(tmp_path / "texts.safetensors", captions, pictures),
    ):
        with pytest.raises(UserError, match=rf"captions.parquet: several captions of picture {pack.rows[0].key}"):
            read()


def test_the_plan_has_such_captions_for_retrieval_alone():
    values = merged("config.yaml", "paper.yaml")
    config = load_config(values)
    plan = Plan(config)
    key = DataPlanner(config, plan).captions("coco")
    assert plan.captions[key]["method"] == "every"
    assert plan.packs[plan.captions[key]["pack"]]["source"] == "karpathy"
    for section, name, field in (("pairs", "language_original", "captions"), ("recipes", "cln_resnet50", "texts")):
        changed = yaml.safe_load(yaml.safe_dump(values))
        changed[section][name][field] = "coco"
        with pytest.raises(UserError, match=rf"{section}.{name}.{field} names 'coco', but needs one caption a pic"):
            load_config(changed)
