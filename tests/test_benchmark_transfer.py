"""Birds, satellites, aerial pictures and scenes: labels and splits beside independent readings, and drawn slices."""

import importlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import benchmark_archives as archives
import pandas as pd
import pytest
from benchmark_archives import put
from hypothesis import given
from hypothesis import strategies as st
from torchvision import datasets

from vlrepro.data.fetch import REJECTED, fetch_pack
from vlrepro.data.pack import Pack
from vlrepro.data.sources.benchmarks.examples import Example, Official, names_digest, sliced
from vlrepro.errors import UserError

SLICED = {
    "eurosat": Official(classes=3, train=9, val=8, test=10),
    "resisc45": Official(classes=3, train=9, val=9, test=21),
}
AERIAL = """
    airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud
    commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area
    intersection island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway
    railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium
    storage_tank tennis_court terrace thermal_power_station wetland
"""


def module_of(name):
    return importlib.import_module(f"vlrepro.data.sources.benchmarks.{name}")


def test_birds_are_as_their_four_tables_joined_say(tmp_path):
    path = archives.cub2011(tmp_path)

    def table(name):
        rows = pd.read_csv(path / f"CUB_200_2011/{name}.txt", sep=" ", names=["number", name], index_col="number")
        return rows[name]

    joined = pd.concat([table("images"), table("image_class_labels"), table("train_test_split")], axis=1)
    joined["label"] = joined.image_class_labels.map(table("classes")).str[4:]
    found = module_of("cub2011").examples(path)
    assert [(one.source.removeprefix("CUB_200_2011/images/"), one.label, one.split) for one in found] == [
        (row.images, row.label, "train" if row.train_test_split else "test") for row in joined.itertuples()
    ]
    assert Counter(one.split for one in found) == {"train": 12, "test": 6}
    assert {one.name for one in found} == {"Black footed Albatross", "Laysan Albatross", "Common Yellowthroat"}


def test_scenes_have_torchvisions_labels_and_the_first_partition(tmp_path):
    path = archives.sun397(tmp_path)
    data = datasets.SUN397(tmp_path / "sun397")
    rows = zip(data._image_files, data._labels, strict=True)
    theirs = {str(Path(file).relative_to(path)): data.classes[label] for file, label in rows}
    found = module_of("sun397").examples(path)
    assert all(theirs[one.source] == one.label for one in found)
    parts = {
        split: {f"SUN397{line}" for line in (path / f"{name}_01.txt").read_text().split()}
        for split, name in (("train", "Training"), ("test", "Testing"))
    }
    assert {split: {one.source for one in found if one.split == split} for split in parts} == parts
    assert len(theirs) == 27
    assert len(found) == 18
    assert {one.name for one in found} == {"abbey", "apse indoor", "youth hostel"}


def test_a_png_that_is_called_a_jpeg_is_a_picture(tmp_path, monkeypatch):
    path = archives.sun397(tmp_path)
    module = module_of("sun397")
    monkeypatch.setattr(module, "OFFICIAL", Official(3, train=9, test=9))
    recipe = {"source": "benchmarks.sun397", "path": str(path), "digest": None}
    assert fetch_pack(recipe, tmp_path / "pack", 0.0) == (18, 0)
    pack = Pack(tmp_path / "pack")
    assert sum(pack.picture(i).startswith(b"\x89PNG") for i in range(len(pack))) == 2
    assert len((tmp_path / "pack" / REJECTED).read_text().splitlines()) == 1


@pytest.mark.parametrize("name", SLICED)
def test_slices_have_the_code_bases_sizes_and_leave_the_rest_out(name, tmp_path, monkeypatch):
    module, path = module_of(name), getattr(archives, name)(tmp_path / "archive")
    whole = {str(file.relative_to(path)) for file in path.rglob("*.jpg")}
    official = replace(SLICED[name], sources=names_digest(whole))
    monkeypatch.setattr(module, "OFFICIAL", official)
    found = module.examples(path)
    assert {one.source for one in found} == whole
    assert all(one.label == Path(one.source).parent.name for one in found)
    recipe = {"source": f"benchmarks.{name}", "path": str(path), "digest": None}
    packed = official.train + official.val + official.test
    assert fetch_pack(recipe, tmp_path / "pack", 0.0) == (packed, 0)
    rows = Pack(tmp_path / "pack").rows
    assert Counter(row.split for row in rows) == {"train": official.train, "val": official.val, "test": official.test}
    assert {row.source: row.split for row in rows} == {one.source: one.split for one in found if one.split}


def test_satellite_pictures_have_torchvisions_labels(tmp_path):
    path = archives.eurosat(tmp_path)
    data = datasets.EuroSAT(tmp_path)
    theirs = {str(Path(file).relative_to(path)): data.classes[label] for file, label in data.samples}
    found = module_of("eurosat").examples(path)
    assert {one.source: one.label for one in found} == theirs
    assert {one.name for one in found} == {"Annual Crop", "Forest", "Sea Lake"}


NAMES = st.sets(st.text("abc/.01", min_size=1, max_size=6), min_size=1, max_size=40)


@given(NAMES, st.tuples(*[st.integers(0, 15)] * 3), st.randoms(use_true_random=False))
def test_slices_depend_on_names_alone_and_a_larger_first_one_only_moves_the_border(names, sizes, random):
    official = Official(1, *sizes)
    examples = [Example(Path("here"), name, "a", "") for name in sorted(names)]
    found = {one.source: one.split for one in sliced(examples, "set", official)}
    shuffled = list(examples)
    random.shuffle(shuffled)
    assert {one.source: one.split for one in sliced(shuffled, "set", official)} == found
    counts, left = Counter(found.values()), len(names)
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        assert counts[split] == min(size, left)
        left -= counts[split]
    assert counts[""] == left
    more = {one.source: one.split for one in sliced(examples, "set", replace(official, train=sizes[0] + 1))}
    assert {name for name in names if found[name] == "train"} <= {name for name in names if more[name] == "train"}


# set: (file below its archive, what happens to it, what the error says)
DAMAGE = [
    (
        "cub2011",
        "classes.txt",
        lambda text: text.replace("2 002", "2 003"),
        "images.txt: not a picture in the folder of",
    ),
    (
        "cub2011",
        "images.txt",
        lambda text: text.replace("7 002", "7 ../../002"),
        "images.txt: not a picture in the fol",
    ),
    ("cub2011", "images.txt", lambda text: text.replace("0001_7.jpg", "../../../x.jpg"), "images.txt: .* leads out of"),
    (
        "cub2011",
        "images.txt",
        lambda text: text.replace("_0001_7.jpg", "_9.jpg"),
        "no such file, though images.txt lists",
    ),
    (
        "cub2011",
        "images.txt",
        lambda text: text.replace("\n2 ", "\n1 "),
        "not a line .<number> <value>. with a number of",
    ),
    ("cub2011", "train_test_split.txt", lambda text: text.replace("3 0", "3 2"), "not .<picture number> <0 or 1>"),
    (
        "cub2011",
        "train_test_split.txt",
        lambda text: text.replace("\n18 ", "\n19 "),
        "picture 18 is",
    ),
    ("cub2011", "image_class_labels.txt", lambda text: "1\n" + text, "not a line .<number> <value>"),
    ("sun397", "Training_01.txt", lambda text: text.replace("/a/abbey", "/a/abbeys"), "with a class of ClassName.txt"),
    ("sun397", "Testing_01.txt", lambda text: "/a/abbey/../../../../x.jpg\n", "with a class of ClassName.txt"),
    ("sun397", "Testing_01.txt", lambda text: "/a/abbey/..\n", "leads out of"),
    ("sun397", "ClassName.txt", lambda text: "", "ClassName.txt: the file is empty"),
]


@pytest.mark.parametrize(("name", "file", "change", "message"), DAMAGE, ids=range(len(DAMAGE)))
def test_what_is_not_as_the_archive_has_it_is_named_in_one_line(name, file, change, message, tmp_path):
    path = getattr(archives, name)(tmp_path)
    place = path / ("CUB_200_2011" if name == "cub2011" else "") / file
    changed = change(place.read_text())
    assert changed != place.read_text()
    place.write_text(changed)
    with pytest.raises(UserError, match=message) as caught:
        module_of(name).examples(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*SLICED, "cub2011", "sun397"])
def test_part_of_an_archive_is_refused(name, tmp_path):
    path = getattr(archives, name)(tmp_path)
    with pytest.raises(UserError, match=rf"{path.name}: \d+ \w+ pictures instead of [\d,]+: unpack the whole archive"):
        module_of(name).fetch(path, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_a_copy_with_other_file_names_is_refused_though_the_numbers_are_right(tmp_path, monkeypatch):
    module, path = module_of("eurosat"), archives.eurosat(tmp_path)
    whole = {str(file.relative_to(path)) for file in path.rglob("*.jpg")}
    monkeypatch.setattr(module, "OFFICIAL", replace(SLICED["eurosat"], sources=names_digest(whole)))
    (path / "2750/Forest/Forest_11.jpg").rename(path / "2750/Forest/Forest_12.jpg")
    with pytest.raises(UserError, match=r"eurosat: the pictures do not have the published names \(\w{12}…\): unpack"):
        module.fetch(path, tmp_path / "pack")


def test_classes_with_other_names_are_refused(tmp_path, monkeypatch):
    module, path = module_of("sun397"), archives.sun397(tmp_path)
    official = Official(3, train=9, test=9, labels=names_digest(["abbey", "apse/indoor", "yard"]))
    monkeypatch.setattr(module, "OFFICIAL", official)
    with pytest.raises(UserError, match="sun397: the classes do not have the published names"):
        module.fetch(path, tmp_path / "pack")


@pytest.mark.parametrize("name", [*SLICED, "cub2011", "sun397"])
def test_what_is_published_of_the_archives_is_of_the_right_form_and_layout(name, tmp_path):
    path, about = getattr(archives, name)(tmp_path), module_of(name).ABOUT
    assert about.metric == "accuracy"
    for archive in about.archives:
        assert (path / archive.unpacks_to).exists()
        assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert re.fullmatch("[0-9a-f]{32}", archive.md5)
        assert about.by_hand if archive.url is None else archive.url.startswith("https://")


def test_published_names_follow_from_what_is_published_of_them():
    """EuroSAT numbers each class's pictures from 1, RESISC45 from 001 to 700; sizes and classes as published."""
    sizes = dict.fromkeys(("AnnualCrop", "Forest", "HerbaceousVegetation", "Residential", "SeaLake"), 3000)
    sizes |= dict.fromkeys(("Highway", "Industrial", "PermanentCrop", "River"), 2500) | {"Pasture": 2000}
    names = [f"2750/{label}/{label}_{number}.jpg" for label, size in sizes.items() for number in range(1, size + 1)]
    assert len(names) == 27_000
    assert module_of("eurosat").OFFICIAL.sources == names_digest(names)
    classes = AERIAL.split()
    names = [f"NWPU-RESISC45/{label}/{label}_{number:03d}.jpg" for label in classes for number in range(1, 701)]
    assert len(names) == 31_500
    assert module_of("resisc45").OFFICIAL.sources == names_digest(names)


@pytest.mark.parametrize("name", ["cub2011", "svhn", "flowers102", "stanford_cars"])
def test_a_list_of_another_release_is_refused_though_the_numbers_are_right(name, tmp_path, monkeypatch):
    module, path = module_of(name), getattr(archives, name)(tmp_path)
    examples = module.examples(path)
    counts = Counter(example.split for example in examples)
    lists = module.OFFICIAL.lists
    assert lists
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in lists.values())
    official = Official(len({example.label for example in examples}), **counts, lists=lists)
    monkeypatch.setattr(module, "OFFICIAL", official)
    first = next(iter(lists))
    message = rf"{path}/{first}: its SHA-256 is \w{{12}}…, that of the published file is {lists[first][:12]}…: take"
    with pytest.raises(UserError, match=message):
        module.fetch(path, tmp_path / "pack")
    put(tmp_path / "moved", (path / first).read_bytes())
    (path / first).unlink()
    with pytest.raises(UserError, match="no such file"):
        module.fetch(path, tmp_path / "pack")
