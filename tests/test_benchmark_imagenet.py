"""ImageNet-1K and its shifted versions on archives of 1,000 made-up classes in the real layouts."""

import hashlib
import importlib
from collections import Counter

import pytest
from benchmark_archives import encoded, put
from torchvision.datasets import ImageFolder

from vlrepro.data.fetch import fetch_pack
from vlrepro.data.open_clip_tables import imagenet_class_names
from vlrepro.data.pack import Pack
from vlrepro.data.sources.benchmarks import imagenet_classes
from vlrepro.data.sources.benchmarks.examples import Official, with_validation
from vlrepro.errors import UserError

WNIDS = [f"n{10_000_000 + 7919 * number:08d}" for number in range(1000)]
SOME = WNIDS[3::5]
JPEG = encoded(0, height=4, width=4)


def digest(names):
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def module_of(name):
    return importlib.import_module(f"vlrepro.data.sources.benchmarks.{name}")


def picture_files(root, folder, names, file, per_class=1):
    for name in names:
        for number in range(per_class):
            put(root / folder / name / file.format(name=name, number=number), JPEG)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """All sets below one folder; file names are those of the archives, with spaces and dots in ImageNet-A's."""
    root = tmp_path_factory.mktemp("imagenet")
    picture_files(root, "train", WNIDS, "{name}_{number}.JPEG", per_class=2)
    picture_files(root, "val", WNIDS, "ILSVRC2012_val_{name}.JPEG")
    picture_files(root, "sketch", WNIDS, "sketch_{number}.JPEG")
    numbers = [str(number) for number in range(1000)]
    picture_files(root, "imagenetv2-matched-frequency-format-val", numbers, "5f2c{number}0a1b.jpeg")
    picture_files(root, "imagenet-a", SOME, "0.00011{number}_digital clock _ digital clock_0.865.jpg", per_class=2)
    picture_files(root, "imagenet-r", SOME, "art_{number}.jpg", per_class=2)
    for folder in ("imagenet-a", "imagenet-r"):
        put(root / folder / "README.txt", "no class")
    put(root / "wnids.txt", "\n".join(reversed(WNIDS)) + "\n")
    return root


@pytest.fixture(autouse=True)
def made_up_classes(monkeypatch):
    monkeypatch.setattr(imagenet_classes, "WNIDS", digest(WNIDS))
    for name, constant in (("imagenet_a", "WNIDS_A"), ("imagenet_r", "WNIDS_R")):
        monkeypatch.setattr(module_of(name), constant, digest(SOME))


SETS = {
    "imagenet": Counter(train=2000, test=1000),
    "imagenet_val": Counter(test=1000),
    "imagenet_v2": Counter(test=1000),
    "imagenet_sketch": Counter(test=1000),
    "imagenet_a": Counter(test=400),
    "imagenet_r": Counter(test=400),
}


@pytest.mark.parametrize("name", SETS)
def test_labels_are_wordnet_ids_with_the_names_that_are_prompted(name, archive):
    examples = module_of(name).examples(archive)
    assert Counter(example.split for example in examples) == SETS[name]
    prompted = dict(zip(WNIDS, imagenet_class_names(), strict=True))
    for example in examples:
        assert example.name == prompted[example.label]
        assert (archive / example.source).is_file()
    assert len({example.key for example in examples}) == len(examples)
    assert {example.label for example in examples} == set(SOME if name in ("imagenet_a", "imagenet_r") else WNIDS)


@pytest.mark.parametrize(("name", "folder"), [("imagenet_val", "val"), ("imagenet_r", "imagenet-r")])
def test_same_order_and_classes_as_torchvisions_folders(name, folder, archive):
    data = ImageFolder(str(archive / folder))
    theirs = [(path, data.classes[number]) for path, number in data.samples]
    found = module_of(name).examples(archive)
    assert [(str(archive / example.source), example.label) for example in found] == theirs


def test_a_folder_of_v2_is_its_class_number_and_not_its_place_among_names(archive):
    found = module_of("imagenet_v2").examples(archive)
    for example in found:
        assert example.label == WNIDS[int(example.source.split("/")[1])]
    by_name = ImageFolder(str(archive / "imagenetv2-matched-frequency-format-val"))
    wrong = sum(int(by_name.classes[number]) != number for _, number in by_name.samples)
    assert wrong > 900  # the trap: what the order of names as text would make of it


def test_training_pictures_give_a_validation_split_and_official_validation_is_the_test(archive):
    found = with_validation(module_of("imagenet").examples(archive))
    for split, part in (("train", "train"), ("val", "train"), ("test", "val")):
        rows = [example for example in found if example.split == split]
        assert len(rows) == 1000
        assert {example.source.split("/")[0] for example in rows} == {part}
        assert {example.label for example in rows} == set(WNIDS)


@pytest.mark.parametrize("name", ["imagenet_v2", "imagenet_a"])
def test_fetched_as_a_pack(name, archive, tmp_path, monkeypatch):
    module = module_of(name)
    count = SETS[name]["test"]
    monkeypatch.setattr(module, "OFFICIAL", Official(200 if name == "imagenet_a" else 1000, test=count))
    recipe = {"source": f"benchmarks.{name}", "path": str(archive), "digest": None}
    assert fetch_pack(recipe, tmp_path / "pack", 0.0) == (count, 0)
    row = Pack(tmp_path / "pack").rows[-1]
    assert (row.split, row.caption) == ("test", imagenet_class_names()[WNIDS.index(row.label)])
    assert (row.width, row.height) == (4, 4)
    monkeypatch.setattr(module, "OFFICIAL", Official(1000, test=count + 1))
    with pytest.raises(UserError, match=f"{count:,} test pictures instead of {count + 1:,}: unpack the whole archive"):
        module.fetch(archive, tmp_path / "other")


@pytest.fixture
def small(tmp_path):
    """V2 and A without pictures to spare: what is missing here is what a test takes away."""
    put(tmp_path / "wnids.txt", "\n".join(WNIDS))
    (tmp_path / "imagenet-a").mkdir()
    for wnid in SOME:
        (tmp_path / "imagenet-a" / wnid).mkdir()
    return tmp_path


def test_the_list_of_classes_must_be_there_and_whole(small):
    place = small / "wnids.txt"
    place.write_text("\n".join(WNIDS[:-1]))
    with pytest.raises(UserError, match=r"wnids.txt: 999 names that are not the WordNet ids of ILSVRC-2012: take all"):
        module_of("imagenet_v2").examples(small)
    place.unlink()
    for name in ("imagenet_v2", "imagenet_a", "imagenet_r"):
        with pytest.raises(UserError, match=r"wnids.txt: no such file: list the folder names of ILSVRC-2012's val"):
            module_of(name).examples(small)


def test_other_classes_than_the_sets_own_are_refused(small):
    with pytest.raises(UserError, match=rf"imagenet-a/{SOME[0]}: no pictures"):
        module_of("imagenet_a").examples(small)
    (small / "imagenet-a" / SOME[0]).rmdir()
    with pytest.raises(UserError, match="imagenet-a: 199 names that are not the WordNet ids of ImageNet-A"):
        module_of("imagenet_a").examples(small)
    (small / "imagenet-a" / WNIDS[0]).mkdir()  # 200 again, and one of the 1,000, yet not of this set
    with pytest.raises(UserError, match="imagenet-a: 200 names that are not the WordNet ids of ImageNet-A"):
        module_of("imagenet_a").examples(small)
    (small / "val").mkdir()
    with pytest.raises(UserError, match="val: 0 names that are not the WordNet ids of ILSVRC-2012"):
        module_of("imagenet_val").examples(small)
    with pytest.raises(UserError, match=r"sketch: no such folder: docs/packs\.md says"):
        module_of("imagenet_sketch").examples(small)


def test_folders_of_v2_are_the_class_numbers(small):
    folder = small / "imagenetv2-matched-frequency-format-val"
    for number in range(1000):
        (folder / str(number)).mkdir(parents=True)
    (folder / "7").rename(folder / "007")
    with pytest.raises(UserError, match=r"format-val: '007' is missing or no class number: the folders are 0 to 999"):
        module_of("imagenet_v2").examples(small)
