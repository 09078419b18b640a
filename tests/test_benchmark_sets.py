"""The archives with splits that are not ImageNet: torchvision's labels for the same pictures, splits, and packs."""

import importlib
import io
from collections import Counter, defaultdict
from pathlib import Path

import benchmark_archives as archives
import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from vlrepro.data.fetch import fetch_pack
from vlrepro.data.pack import Pack
from vlrepro.data.sources.benchmarks.examples import Official, packed, with_validation
from vlrepro.errors import UserError
from vlrepro.evaluation.sets import evaluation_set

BOTH = {"train": "train", "test": "test"}
THREE = BOTH | {"val": "val"}
PYTHON_CIFAR = {"train": True, "test": False}

# name: (torchvision's class, our split -> its argument, what the argument is called, its label -> ours)
PARITY = {
    "svhn": (datasets.SVHN, BOTH, "split", lambda data, label: str(label)),
    "stl10": (datasets.STL10, BOTH, "split", lambda data, label: data.classes[label]),
    "cifar10": (datasets.CIFAR10, PYTHON_CIFAR, "train", lambda data, label: data.classes[label]),
    "cifar100": (datasets.CIFAR100, PYTHON_CIFAR, "train", lambda data, label: data.classes[label]),
    "dtd": (datasets.DTD, THREE, "split", lambda data, label: data.classes[label]),
    "aircraft": (datasets.FGVCAircraft, THREE, "split", lambda data, label: data.classes[label]),
    "pets": (
        datasets.OxfordIIITPet,
        {"train": "trainval", "test": "test"},
        "split",
        lambda data, label: {number - 1: breed for breed, number in archives.PETS.items()}[label],
    ),
    "rendered_sst2": (datasets.RenderedSST2, THREE, "split", lambda data, label: data.classes[label]),
    "food101": (datasets.Food101, BOTH, "split", lambda data, label: data.classes[label]),
    "gtsrb": (datasets.GTSRB, BOTH, "split", lambda data, label: f"{label:05d}"),
    "stanford_cars": (datasets.StanfordCars, BOTH, "split", lambda data, label: data.classes[label]),
    "flowers102": (datasets.Flowers102, THREE, "split", lambda data, label: f"{label + 1:03d}"),
}


def module_of(name):
    return importlib.import_module(f"vlrepro.data.sources.benchmarks.{name}")


def shown(picture):
    """What identifies a picture here: all of its random pixels."""
    return np.asarray(picture.convert("RGB")).tobytes()


def ours(found):
    return {
        shown(Image.open(io.BytesIO(picture.data))): example.label
        for example, picture in zip(found, packed(found), strict=True)
    }


@pytest.mark.parametrize("name", PARITY)
def test_same_labels_for_the_same_pictures_as_torchvision(name, tmp_path, monkeypatch):
    kind, splits, argument, label_of = PARITY[name]
    for module in ("svhn", "stl10", "cifar", "flowers102"):  # our files are not the official ones
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *arguments: True)
    examples = module_of(name).examples(getattr(archives, name)(tmp_path))
    for split, value in splits.items():
        data = kind(tmp_path, **{argument: value}, download=False)
        theirs = {shown(data[i][0]): label_of(data, int(data[i][1])) for i in range(len(data))}
        assert len(theirs) == len(data)
        assert ours([example for example in examples if example.split == split]) == theirs
    assert {example.split for example in examples} == set(splits)


def test_caltech_has_torchvisions_labels_and_the_background(tmp_path):
    module = module_of("caltech101")
    examples = module.examples(archives.caltech101(tmp_path))
    data = datasets.Caltech101(tmp_path)
    theirs = {shown(data[i][0]): data.categories[data[i][1]] for i in range(len(data))}
    found = ours(examples)
    assert {pixels: label for pixels, label in found.items() if label != "BACKGROUND_Google"} == theirs
    assert Counter(example.label for example in examples) == archives.CALTECH
    train = Counter(example.label for example in examples if example.split == "train")
    assert set(train.values()) == {module.TRAIN_PER_CLASS}
    assert {example.name for example in examples} == {"accordion", "BACKGROUND Google", "Faces easy"}


def test_caltechs_split_does_not_depend_on_other_classes_or_other_places(tmp_path):
    module = module_of("caltech101")
    here = archives.caltech101(tmp_path / "here")
    there = archives.caltech101(tmp_path / "there/deeper")
    folder = there / "101_ObjectCategories/accordion"
    folder.rename(folder.with_name("zebra"))

    def split_of(path):
        found = with_validation(module.examples(path))
        return {example.key: example.split for example in found if example.label == "Faces_easy"}

    assert split_of(here) == split_of(there)
    assert Counter(split_of(here).values()) == {"train": 24, "val": 6, "test": 1}


@pytest.mark.parametrize("name", [*PARITY, "caltech101", "cub2011", "sun397"])
def test_fetched_as_a_set_that_probes_can_use(name, tmp_path, monkeypatch):
    module, path = module_of(name), getattr(archives, name)(tmp_path / "archive")
    examples = module.examples(path)
    counts = Counter(example.split for example in examples)
    labels = {example.label for example in examples}
    monkeypatch.setattr(module, "OFFICIAL", Official(len(labels), **counts))
    recipe = {"source": f"benchmarks.{name}", "path": str(path), "digest": None}
    assert fetch_pack(recipe, tmp_path / "pack", 0.0) == (len(examples), 0)
    pack = Pack(tmp_path / "pack")
    data = evaluation_set(pack.rows, "here")
    assert data.classes == tuple(sorted(labels))
    assert len(data.positions["test"]) == counts["test"]
    assert len(data.positions["train"]) + len(data.positions["val"]) == counts["train"] + counts["val"]
    if counts["val"]:
        assert len(data.positions["val"]) == counts["val"]
    spoken = {row.caption for row in pack.rows}
    assert spoken == {""} if name in ("gtsrb", "flowers102") else len(spoken) == len(labels)
    assert {row.key for row in pack.rows} == {example.key for example in examples}
    for position in (0, len(pack) - 1):  # pixels are kept: files as they are, raw ones without loss
        stored = shown(Image.open(io.BytesIO(pack.picture(position))))
        original = examples[position]
        assert (pack.rows[position].key, pack.rows[position].source) == (original.key, original.source)
        if original.pixels is not None:
            assert stored == original.pixels.tobytes()
        else:
            file = path / original.source
            assert stored == shown(Image.open(file))
            assert file.suffix == ".ppm" or pack.picture(position) == file.read_bytes()


@pytest.mark.parametrize("name", ["svhn", "gtsrb", "caltech101", "dtd"])
def test_an_archive_that_is_not_whole_is_refused(name, tmp_path):
    path = getattr(archives, name)(tmp_path / "archive")
    with pytest.raises(
        UserError, match=rf"{path.name}: \d+ train pictures instead of [\d,]+: unpack the whole archive"
    ):
        module_of(name).fetch(path, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_tracks_of_traffic_signs_are_on_one_side_of_the_split(tmp_path):
    found = with_validation(module_of("gtsrb").examples(archives.gtsrb(tmp_path)))
    sides, tracks = defaultdict(set), defaultdict(set)
    for example in found:
        if example.split != "test":
            track = Path(example.source).stem.split("_")[0]
            sides[example.label, track].add(example.split)
            tracks[example.label, example.split].add(track)
    assert all(len(splits) == 1 for splits in sides.values())
    assert all(len(tracks[f"{label:05d}", "val"]) == 1 for label in range(4))


def test_food_has_its_names_in_words_and_pets_their_breeds(tmp_path):
    food = module_of("food101").examples(archives.food101(tmp_path / "food"))
    assert {(example.label, example.name) for example in food} == set(archives.FOOD.items())
    pets = module_of("pets").examples(archives.pets(tmp_path / "pets"))
    assert {(example.label, example.name) for example in pets} == {
        ("Abyssinian", "Abyssinian"),
        ("american_bulldog", "american bulldog"),
        ("Bengal", "Bengal"),
    }
