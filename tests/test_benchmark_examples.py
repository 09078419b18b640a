"""What all sets share: keys, drawn validation splits, counting, and archives that are not as they should be."""

import importlib
import io
import re
from collections import Counter
from pathlib import Path

import benchmark_archives as archives
import numpy as np
import pytest
from benchmark_archives import put
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from vlrepro.data.fetch import REJECTED, fetch_pack
from vlrepro.data.pack import Picture, write_pack
from vlrepro.data.sources.benchmarks.examples import Example, Official, check_whole, key_of, packed, with_validation
from vlrepro.data.sources.benchmarks.files import matlab, raw_records
from vlrepro.errors import UserError

HERE = Path("here")


def module_of(name):
    return importlib.import_module(f"vlrepro.data.sources.benchmarks.{name}")


@given(st.text(min_size=1, max_size=300))
def test_a_key_is_short_and_safe_and_the_same_again(source):
    key = key_of(source)
    assert key == key_of(source)
    assert len(key) <= 80
    assert re.fullmatch(r"[A-Za-z0-9_-]*", key)


def test_long_names_keep_their_difference_and_can_be_packed(tmp_path):
    names = [f"imagenet-a/n01498041/0.0001_{'digital clock ' * 8}_0.{number}.jpg" for number in range(20)]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    write_pack(tmp_path, [Picture(key, b"x", ".jpg", 1, 1) for key in keys])
    assert key_of("a/b c.d.jpg") == "a-b_c_d"


CLASSES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 23), min_size=1)


@given(CLASSES, st.randoms(use_true_random=False))
def test_a_drawn_split_is_a_fifth_of_each_class_whatever_the_order(classes, random):
    examples = [
        Example(HERE, f"{label}/{number}.png", label, split)
        for label, count in classes.items()
        for split, number in [("train", number) for number in range(count)] + [("test", count), ("test", count + 1)]
    ]
    found = with_validation(examples)
    assert [example.source for example in found] == [example.source for example in examples]
    for label, count in classes.items():
        splits = Counter(example.split for example in found if example.label == label)
        expected = 0 if count == 1 else max(1, count // 5)
        assert splits == Counter({"train": count - expected, "val": expected, "test": 2})
    shuffled = list(examples)
    random.shuffle(shuffled)
    again = {example.source: example.split for example in with_validation(shuffled)}
    assert again == {example.source: example.split for example in found}


def test_adding_a_class_moves_no_other_pictures():
    few = [Example(HERE, f"a/{number}.png", "a", "train") for number in range(30)]
    more = few + [Example(HERE, f"b/{number}.png", "b", "train") for number in range(30)]
    assert with_validation(more)[:30] == with_validation(few)


def test_numbers_that_are_not_the_official_ones_are_named():
    examples = [Example(HERE, f"{i}.png", f"class {i % 3}", "test") for i in range(6)]
    check_whole(examples, Official(classes=3, test=6), HERE)
    check_whole(examples, Official(classes=3, test=None), HERE)
    with pytest.raises(UserError, match="here: 6 test pictures instead of 10,000: unpack the whole archive"):
        check_whole(examples, Official(classes=3, test=10_000), HERE)
    with pytest.raises(UserError, match="here: 0 train pictures instead of 8"):
        check_whole(examples, Official(classes=3, train=8, test=6), HERE)
    with pytest.raises(UserError, match="here: 3 test classes instead of 4"):
        check_whole(examples, Official(classes=4, test=6), HERE)


def test_pictures_are_packed_one_at_a_time(tmp_path):
    put(tmp_path / "a.png", archives.encoded(1, "PNG"))
    rows = packed([Example(tmp_path, "a.png", "a", "test"), Example(tmp_path, "absent.png", "a", "test")])
    assert next(rows).key == "a"
    with pytest.raises(FileNotFoundError):
        next(rows)


def test_raw_pixels_and_portable_pixmaps_lose_nothing_as_png(tmp_path):
    pixels = archives.pixels(3, 5, 7)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PPM")
    put(tmp_path / "a.ppm", stream.getvalue())
    put(tmp_path / "b.JPEG", archives.encoded(1))
    put(tmp_path / "c.ppm", stream.getvalue()[:-20])
    turned = Example(tmp_path, "x.bin/0", "a", "test", pixels=pixels.transpose(1, 0, 2))
    files = [Example(tmp_path, name, "a", "test") for name in ("a.ppm", "b.JPEG", "c.ppm")]
    found = list(packed([turned, *files]))
    assert [picture.suffix for picture in found] == [".png", ".png", ".jpg", ".ppm"]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found[0].data))), pixels.transpose(1, 0, 2))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found[1].data))), pixels)
    assert (found[0].width, found[0].height) == (5, 7)
    assert found[2].data == (tmp_path / "b.JPEG").read_bytes()


def test_a_damaged_picture_is_left_to_the_check_after_the_fetch(tmp_path, monkeypatch):
    path = archives.dtd(tmp_path / "archive")
    damaged = path / "dtd/images/banded/banded_0001.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    module = module_of("dtd")
    monkeypatch.setattr(module, "OFFICIAL", Official(2, train=4, val=4, test=4))
    assert fetch_pack({"source": "benchmarks.dtd", "path": str(path), "digest": None}, tmp_path / "pack", 0.1) == (
        11,
        1,
    )
    assert "banded_0001" in (tmp_path / "pack" / REJECTED).read_text()


def edit(place, change):
    place.write_text(change(place.read_text()))


def drop(place):
    place.unlink()


# set: (file below its archive, what happens to it, what the error says)
DAMAGE = {
    "svhn": [
        ("test_32x32.mat", drop, "test_32x32.mat: no such file: docs/packs.md says"),
        ("train_32x32.mat", lambda place: place.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200)), "not a readable"),
        ("train_32x32.mat", lambda place: savemat(place, {"X": np.zeros(3)}), "no y in it"),
        (
            "train_32x32.mat",
            lambda place: savemat(place, {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1], [11]]}),
            "'11' is no class: they are 1 to 10",
        ),
        (
            "train_32x32.mat",
            lambda place: savemat(place, {"X": np.zeros((64, 64, 3, 2), np.uint8), "y": [[1], [2]]}),
            r"X is uint8 \(64, 64, 3, 2\) beside 2 labels: take the cropped digits",
        ),
    ],
    "stl10": [
        ("stl10_binary/test_y.bin", lambda place: place.write_bytes(b"\x01"), "1 labels for 11 pictures"),
        ("stl10_binary/train_y.bin", lambda place: place.write_bytes(bytes(23)), "'0' is no class: they are 1 to 10"),
        ("stl10_binary/train_X.bin", lambda place: place.write_bytes(bytes(1000)), "1,000 bytes are no whole number"),
        ("stl10_binary/class_names.txt", lambda place: place.write_text("a\nb\n"), "not ten class names"),
    ],
    "cifar10": [
        ("cifar-10-batches-bin/data_batch_3.bin", lambda place: place.write_bytes(bytes(3072)), "whole number of rec"),
        ("cifar-10-batches-bin/data_batch_5.bin", lambda place: place.write_bytes(b"\x0a" + bytes(3072)), "'10' is no"),
        ("cifar-10-batches-bin/data_batch_5.bin", lambda place: place.write_bytes(b""), "0 bytes are no whole number"),
        ("cifar-10-batches-bin/batches.meta.txt", lambda place: place.write_text("one\n"), "not 10 different class na"),
    ],
    "cifar100": [
        ("cifar-100-binary/fine_label_names.txt", lambda place: place.write_bytes(b"\xff\xfe"), "not UTF-8"),
        ("cifar-100-binary/test.bin", drop, "test.bin: no such file"),
    ],
    "dtd": [
        ("dtd/labels/val1.txt", lambda place: place.write_text("banded\n"), "not a line \"<class>/<file>\": 'banded'"),
        ("dtd/labels/val1.txt", lambda place: place.write_text("../../secret.jpg\n"), "leads out of"),
        ("dtd/labels/val1.txt", lambda place: place.write_text("banded/x.jpg"), "x.jpg: no such file, though val1.txt"),
        ("dtd/labels/test1.txt", lambda place: place.write_text("\n \n"), "test1.txt: the file is empty"),
    ],
    "aircraft": [
        (
            "fgvc-aircraft-2013b/data/images_variant_val.txt",
            lambda place: edit(place, lambda text: text.replace("Spitfire", "Spitfires")),
            "images_variant_val.txt: not a line .* with a variant of variants.txt",
        ),
        (
            "fgvc-aircraft-2013b/data/images_variant_val.txt",
            lambda place: place.write_text("../images/0001000 Spitfire"),
            "leads out of",
        ),
    ],
    "pets": [
        ("annotations/test.txt", lambda place: place.write_text("Bengal_1 6 1\n"), "test.txt: not a line"),
        ("annotations/test.txt", lambda place: edit(place, lambda text: text.replace(" 6 ", " 7 ")), "class 6 and cla"),
        ("annotations/test.txt", lambda place: place.write_text("Bengal_1 38 1 1\n"), "'38' is no class: .* 1 to 37"),
        ("annotations/test.txt", lambda place: place.write_text("Bengal_1 six 1 1\n"), "'six' is no class"),
        ("images/Bengal_0.jpg", drop, r"Bengal_0.jpg: no such file, though trainval.txt lists it"),
    ],
    "rendered_sst2": [
        (
            "rendered-sst2/valid/negative",
            lambda place: [drop(file) for file in place.iterdir()],
            "negative: no pictures",
        ),
        ("rendered-sst2/valid", lambda place: place.rename(place.with_name("val")), "valid/negative: no such folder"),
    ],
    "food101": [
        ("food-101/meta/train.txt", lambda place: place.write_text("pie/1\n"), "with a class of classes.txt: 'pie/1'"),
        ("food-101/meta/train.txt", lambda place: place.write_text("apple_pie\n"), "with a class of classes.txt"),
        ("food-101/meta/train.txt", lambda place: place.write_text("apple_pie/../../../x\n"), "leads out of"),
        ("food-101/meta/labels.txt", lambda place: place.write_text("Apple pie\n"), "1 names for 2 classes"),
    ],
    "gtsrb": [
        (
            "GT-final_test.csv",
            lambda place: edit(place, lambda text: text.replace("ClassId", "Class")),
            "no column Cla",
        ),
        (
            "GT-final_test.csv",
            lambda place: edit(place, lambda text: text.replace(";3\n", ";43\n")),
            "'43' is no class",
        ),
        (
            "GT-final_test.csv",
            lambda place: edit(place, lambda text: text.replace("00000.ppm", "../../x")),
            "leads out",
        ),
        ("GTSRB/Training/00003", lambda place: place.rename(place.with_name("Images")), "'Images' is no class"),
    ],
    "stanford_cars": [
        (
            "cars_test_annos_withlabels.mat",
            lambda place: savemat(place, {"annotations": np.array([(3, "00001.jpg")], [("x", "O"), ("fname", "O")])}),
            "annotations without fname and class: take the file with labels",
        ),
        (
            "cars_test_annos_withlabels.mat",
            lambda place: savemat(place, {"annotations": np.array([(9, "1.jpg")], [("class", "O"), ("fname", "O")])}),
            "'9' is no class: they are 1 to 3",
        ),
        (
            "cars_test_annos_withlabels.mat",
            lambda place: savemat(place, {"annotations": np.array([(1, "../x")], [("class", "O"), ("fname", "O")])}),
            "leads out of",
        ),
    ],
    "flowers102": [
        (
            "setid.mat",
            lambda place: savemat(place, {"trnid": [[1]], "valid": [[2]], "tstid": [[10]]}),
            "picture 10 has no label in imagelabels.mat",
        ),
        ("imagelabels.mat", lambda place: savemat(place, {"labels": [[103] * 9]}), "'103' is no class: .* 1 to 102"),
        ("setid.mat", lambda place: savemat(place, {"trnid": [[1]], "valid": [[2]]}), "no tstid in it"),
    ],
    "caltech101": [
        (
            "101_ObjectCategories/Faces_easy/image_0001.jpg",
            drop,
            "Faces_easy: 30 pictures, of which 30 are for training",
        ),
        ("101_ObjectCategories", lambda place: place.rename(place.with_name("101")), "no such folder"),
    ],
}


@pytest.mark.parametrize(
    ("name", "file", "damage", "message"),
    [(name, *case) for name, cases in DAMAGE.items() for case in cases],
    ids=[f"{name}-{number}" for name, cases in DAMAGE.items() for number in range(len(cases))],
)
def test_what_is_not_as_the_archive_has_it_is_named_in_one_line(name, file, damage, message, tmp_path):
    path = getattr(archives, name)(tmp_path)
    damage(path / file)
    with pytest.raises(UserError, match=message) as caught:
        module_of(name).examples(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_tables_may_be_reached_through_links_of_the_users_own(tmp_path):
    path = archives.dtd(tmp_path / "archive")
    (tmp_path / "elsewhere").mkdir()
    (path / "dtd/images").rename(tmp_path / "elsewhere/images")
    (path / "dtd/images").symlink_to(tmp_path / "elsewhere/images")
    assert len(module_of("dtd").examples(path)) == 12


def test_raw_records_are_views_of_the_file(tmp_path):
    values = np.arange(24, dtype=np.uint8)
    (tmp_path / "x.bin").write_bytes(values.tobytes())
    found = raw_records(tmp_path / "x.bin", 8)
    assert type(found) is np.ndarray
    assert np.array_equal(found, values.reshape(3, 8))
    assert not found.flags.owndata
    assert not found.flags.writeable


def test_matlab_arrays_come_in_the_order_asked_for(tmp_path):
    savemat(tmp_path / "x.mat", {"a": [[1, 2, 3]], "b": [[7]], "other": [[0]]})
    b, a = matlab(tmp_path / "x.mat", "b", "a")
    assert (b.tolist(), a.tolist()) == (7, [1, 2, 3])
