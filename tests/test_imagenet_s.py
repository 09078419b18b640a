"""ImageNet-S50 on a synthetic copy in its real layout and encoding."""

import io

import numpy as np
import pytest
from PIL import Image

from vlrepro.data.fetch import fetch_pack
from vlrepro.data.pack import Pack
from vlrepro.data.sources.imagenet_s import (
    class_ids,
    decode_ids,
    object_mask,
    packed,
    training_examples,
    validation_examples,
)
from vlrepro.errors import UserError
from vlrepro.evaluation.sets import evaluation_set
from vlrepro.saliency.masks import read_masks

WNIDS = [f"n{number:08d}" for number in range(1000, 1050)]
OUTSIDE = "n09999999"  # an ILSVRC folder that is none of the 50


def mask_png(ids):
    """The release's encoding: red and green carry the number, blue nothing."""
    ids = np.asarray(ids)
    channels = np.stack([ids % 256, ids // 256, np.zeros_like(ids)], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(channels).save(stream, "PNG")
    return stream.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data) if isinstance(data, bytes) else path.write_text(data)


def jpeg(seed, size=(40, 30)):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG")
    return stream.getvalue()


def labelled(class_id, size=(40, 30)):
    """Own class at the left, another class at the right, a strip to ignore between."""
    ids = np.zeros((size[1], size[0]), np.int64)
    ids[5:20, :12] = class_id
    ids[5:20, 12:15] = 1000
    ids[5:20, 25:] = class_id % 50 + 1
    return ids


@pytest.fixture
def root(tmp_path):
    """Two classes' pictures are real files; every second validation picture lies in another ILSVRC folder."""
    root = tmp_path / "data"
    put(root / "lists/categories/ImageNetS_categories_im50.txt", "\n".join(WNIDS) + "\n")
    mapping, names = [], []
    for number, wnid in enumerate(WNIDS, start=1):
        for i in range(3):
            name = f"{wnid}_{i}"
            put(root / f"imagenet/train/{wnid}/{name}.JPEG", jpeg(number + 100 * i))
        put(root / f"ImageNetS50/train-semi-segmentation/{wnid}/{wnid}_1.png", mask_png(labelled(number)))
        names.append(f"{wnid}/{wnid}_1.JPEG {wnid}/{wnid}_1.png")
        file = f"ILSVRC2012_val_{number:08d}"
        folder = OUTSIDE if number % 2 else wnid
        put(root / f"imagenet/val/{folder}/{file}.JPEG", jpeg(number))
        put(root / f"ImageNetS50/validation-segmentation/{wnid}/{file}.png", mask_png(labelled(number)))
        mapping.append(f"{folder}/{file}.JPEG {wnid}/{file}.JPEG")
    put(root / "lists/mapping/ImageNetS_im50_mapping_validation.txt", "\n".join(mapping))
    put(root / "lists/names/ImageNetSemi_im50_train.txt", "\n".join(names))
    return root


def test_numbers_do_not_overflow_in_eight_bits():
    ids = np.array([[0, 7, 50, 255], [256, 300, 919, 1000]])
    assert np.array_equal(decode_ids(mask_png(ids)), ids)
    raw = np.asarray(Image.open(io.BytesIO(mask_png([[1000]]))))[0, 0].tolist()
    assert raw == [232, 3, 0]


def test_what_pixels_of_other_classes_are():
    ids = np.array([[0, 3, 4, 1000]], np.int32)
    assert object_mask(ids, 3).tolist() == [[0, 1, 0, 255]]
    assert object_mask(ids, 3, "object").tolist() == [[0, 1, 1, 255]]
    assert object_mask(ids, 3, "ignore").tolist() == [[0, 1, 255, 255]]
    with pytest.raises(ValueError, match="class id 51 is unknown: ids are 0 to 50 and 1000"):
        object_mask(np.array([[51]], np.int32), 3)


def test_classes_are_numbered_in_sorted_order(root):
    place = root / "lists/categories/ImageNetS_categories_im50.txt"
    place.write_text("\n".join(reversed(WNIDS)))
    numbers = class_ids(root)
    assert (numbers[WNIDS[0]], numbers[WNIDS[-1]]) == (1, 50)
    place.write_text("\n".join(WNIDS[:49]))
    with pytest.raises(UserError, match="49 classes instead of 50"):
        class_ids(root)


def test_labels_come_from_the_mapping_not_from_the_folder(root):
    examples = validation_examples(root)
    assert [example.label for example in examples] == WNIDS
    assert sum(example.picture.parent.name == OUTSIDE for example in examples) == 25
    for example, picture in zip(examples, packed(examples), strict=True):
        assert example.mask.parent.name == example.label
        mask = np.asarray(Image.open(io.BytesIO(picture.mask)))
        assert np.array_equal(mask, object_mask(labelled(example.class_id).astype(np.int32), example.class_id))
        assert (mask == 1).sum() == 15 * 12


def test_packed_fetched_and_scored_like_any_other_set(root, tmp_path):
    recipe = {"source": "imagenet_s", "path": str(root), "digest": None}
    assert fetch_pack(recipe, tmp_path / "pack", 0.0) == (200, 0)
    pack = Pack(tmp_path / "pack")
    data = evaluation_set(pack.rows, "here")
    assert data.classes == tuple(WNIDS)
    assert len(data.positions["test"]) == 50
    assert 0 < len(data.positions["val"]) < 40
    found = read_masks(pack, data.positions["test"].tolist(), 30)
    assert (len(found.masks), found.rejected) == (50, ())
    assert set(np.unique(found.masks)) == {0, 1, 255}
    tuning = read_masks(pack, data.positions["train"].tolist() + data.positions["val"].tolist(), 30)
    assert len(tuning.masks) == 50
    assert {reason for _, reason in tuning.rejected} == {"the picture has no mask"}


def test_a_missing_mask_is_counted_and_a_missing_picture_is_an_error(root, tmp_path):
    example = validation_examples(root)[4]
    example.mask.unlink()
    fetch_pack({"source": "imagenet_s", "path": str(root), "digest": None}, tmp_path / "pack", 0.0)
    pack = Pack(tmp_path / "pack")
    positions = [number for number, row in enumerate(pack.rows) if row.split == "test"]
    found = read_masks(pack, positions, 30)
    assert found.rejected == ((example.picture.stem, "the picture has no mask"),)
    assert len(found.positions) == 49
    example.picture.unlink()
    with pytest.raises(UserError, match=rf"{example.picture.name}: no such file"):
        validation_examples(root)


def test_what_is_not_as_the_release_has_it_is_named(root):
    examples = validation_examples(root)
    examples[0].mask.write_bytes(mask_png([[60]]))
    with pytest.raises(UserError, match=rf"{examples[0].mask.name}: class id 60 is unknown.*unpack"):
        list(packed(examples[:1]))
    examples[0].mask.write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="does not decode"):
        list(packed(examples[:1]))
    stream = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(stream, "PNG")
    with pytest.raises(ValueError, match="mode L instead of RGB"):
        decode_ids(stream.getvalue())
    mapping = root / "lists/mapping/ImageNetS_im50_mapping_validation.txt"
    for line, message in (
        ("one.JPEG", "not a line of two files"),
        ("a/../b.JPEG n/b.JPEG", "not a line of two files"),
        (f"{OUTSIDE}/x.JPEG {OUTSIDE}/x.JPEG", "is none of the 50 classes"),
    ):
        mapping.write_text(line)
        with pytest.raises(UserError, match=message):
            validation_examples(root)
    (root / "ImageNetS50/train-semi-segmentation").rename(root / "away")
    with pytest.raises(UserError, match="train-semi-segmentation: no such folder"):
        training_examples(root)
