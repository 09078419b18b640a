"""The composed set: exact masks, the same bytes again, and a centre that is worth much less than in the centred set."""

import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import shape_pictures
from PIL import Image

from vlrepro.data.fetch import fetch_pack
from vlrepro.data.pack import Pack, write_pack
from vlrepro.data.sources.composed import compose
from vlrepro.errors import UserError
from vlrepro.files import file_digest
from vlrepro.saliency.baselines import edges, tuned_gaussian
from vlrepro.saliency.masks import read_masks
from vlrepro.saliency.precision import average_precision
from vlrepro.saliency.scores import score_maps
from vlrepro.saliency.sizes import centre_distances, object_shares

POCKET = Path(__file__).parents[1] / "resources/pocket"
RECIPE = {"placement": "random", "canvas": 96, "sides": [24, 60], "distractors": 0, "contrast": 1.0, "seed": 0}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two packs of drawn shapes with other labels: (objects, backgrounds)."""
    folders = []
    for name, seed in (("objects", 0), ("backgrounds", 1)):
        pictures = shape_pictures(32, seed=seed, labelled=True)
        if name == "backgrounds":
            pictures = [replace(one, label="scene", concept="scene", licence="CC-PDDC") for one in pictures]
        folders.append(tmp_path_factory.mktemp(name))
        write_pack(folders[-1], pictures)
    return folders


def recipe_of(parts, **changes):
    packs = {
        role: {"source": "local", "path": str(folder), "digest": file_digest(folder / "SHA256SUMS")}
        for role, folder in zip(("objects", "backgrounds"), parts, strict=True)
    }
    compose = RECIPE | packs | changes
    return {"source": "composed", "path": None, "digest": None, "compose": compose}


def test_fetched_like_any_pack_and_the_same_bytes_again(parts, tmp_path):
    for name in ("a", "b"):
        assert fetch_pack(recipe_of(parts), tmp_path / name, 0.0) == (32, 0)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["SHA256SUMS", "index.parquet", "rejected.csv", "shard-000000.tar"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    fetch_pack(recipe_of(parts, seed=1), tmp_path / "c", 0.0)
    assert file_digest(tmp_path / "a/SHA256SUMS") != file_digest(tmp_path / "c/SHA256SUMS")
    objects = Pack(parts[0])
    for mine, row in zip(Pack(tmp_path / "a").rows, objects.rows, strict=True):
        assert (mine.key, mine.label, mine.split, mine.caption) == (row.key, row.label, row.split, row.caption)
        assert (mine.width, mine.height, mine.licence) == (96, 96, "CC0-1.0 AND CC-PDDC")


def test_the_mask_is_where_the_object_is(parts):
    """An object on another background: exactly the mask's inside stays, but for half-transparent borders."""
    objects, backgrounds = (Pack(folder) for folder in parts)
    for picture in itertools.islice(compose(objects, backgrounds, RECIPE), 12):
        mask = np.asarray(Image.open(io.BytesIO(picture.mask)))
        assert set(np.unique(mask)) == {0, 1}
        pixels = np.asarray(Image.open(io.BytesIO(picture.data))).astype(int)
        colour = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "orange": (255, 165, 0)}
        wanted = np.array(colour[picture.concept.split("-")[0]])
        inside = np.abs(pixels[mask == 1] - wanted).max(axis=1)
        assert np.median(inside) == 0
        height, width = (np.ptp(np.flatnonzero(mask.any(axis=axis))) + 1 for axis in (1, 0))
        assert 22 <= max(height, width) <= 61


def test_sizes_are_shared_and_places_are_not(parts):
    objects, backgrounds = (Pack(folder) for folder in parts)
    sets = {}
    for placement in ("random", "centred"):
        pictures = list(compose(objects, backgrounds, RECIPE | {"placement": placement}))
        sets[placement] = np.stack([np.asarray(Image.open(io.BytesIO(one.mask))) for one in pictures])
    assert np.array_equal(object_shares(sets["random"]), object_shares(sets["centred"]))
    assert centre_distances(sets["centred"]).max() < 0.1
    assert centre_distances(sets["random"]).mean() > 0.2


def test_the_centre_prior_is_weak_where_objects_are_anywhere(tmp_path):
    """Real drawings: a Gaussian tuned on training masks does far better where objects are centred."""
    objects, backgrounds = Pack(POCKET / "openmoji"), Pack(POCKET / "openclipart")
    scores = {}
    for placement in ("random", "centred"):
        pictures = list(itertools.islice(compose(objects, backgrounds, RECIPE | {"placement": placement}), 240))
        write_pack(tmp_path / placement, pictures)
        pack = Pack(tmp_path / placement)
        found = {
            split: read_masks(pack, [n for n, row in enumerate(pack.rows) if row.split == split], 96)
            for split in ("train", "test")
        }
        assert not found["train"].rejected + found["test"].rejected
        gaussian, _ = tuned_gaussian(found["train"].masks)
        masks = found["test"].masks
        scores[placement] = score_maps(gaussian.maps(len(masks)), masks, {"tuned": gaussian.threshold})
    values = {name: [scores[p][name].value for p in ("random", "centred")] for name in scores["random"]}
    assert values["average_precision"][1] > values["average_precision"][0] + 0.3
    assert values["object_iou_at_tuned"][1] > values["object_iou_at_tuned"][0] + 0.2
    assert values["pointing_game"][1] > values["pointing_game"][0] + 0.3
    # The two-class variant hardly sees the difference: it is about the background, nine tenths of the pixels.
    assert values["two_class_average_precision"][1] < values["two_class_average_precision"][0] + 0.1


def test_backgrounds_are_of_the_same_split_and_of_other_content():
    objects, backgrounds = Pack(POCKET / "openmoji"), Pack(POCKET / "openclipart")
    rows = {row.source: row for row in backgrounds.rows}
    for picture in itertools.islice(compose(objects, backgrounds, RECIPE), 0, 120):
        source, kind = picture.source.split(" over ")[1].rsplit(" ", 1)
        assert kind in ("(enlarged)", "(blurred)", "(tiled)")
        assert rows[source].split == picture.split
        assert not set(rows[source].label.split("-")) & set(picture.label.split("-"))
        if picture.label.startswith("person"):
            assert not rows[source].label.startswith("people")


def test_distractors_hide_the_object_from_edges(parts):
    """Sharp drawings of other content under the object: the mask is the same, edges say less of where it is."""
    objects, backgrounds = Pack(POCKET / "openmoji"), Pack(POCKET / "openclipart")
    values, masks = [], []
    for number in (0, 3):
        recipe = RECIPE | {"distractors": number}
        pictures = list(itertools.islice(compose(objects, backgrounds, recipe), 60))
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(one.data))) for one in pictures])
        masks.append(np.stack([np.asarray(Image.open(io.BytesIO(one.mask))) for one in pictures]))
        values.append(average_precision(edges(pixels.transpose(0, 3, 1, 2), blur=4), masks[-1]).value)
        assert pictures[0].source.count(" with ") == number
    assert np.array_equal(*masks)
    assert values[1] < values[0] - 0.15


def pixels_of(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@pytest.fixture(scope="module")
def contrasts(parts):
    """For each contrast, twelve pictures with a distractor each."""
    objects, backgrounds = (Pack(folder) for folder in parts)
    recipe = RECIPE | {"distractors": 1}
    return {
        contrast: list(itertools.islice(compose(objects, backgrounds, recipe | {"contrast": contrast}), 12))
        for contrast in (0.0, 0.5, 1.0)
    }


def test_full_contrast_leaves_the_scene_as_it_is(contrasts, parts, monkeypatch):
    """The very same bytes as without fading at all."""
    monkeypatch.setattr("vlrepro.data.sources.composed._faded", lambda scene, contrast: scene)
    unfaded = compose(*(Pack(folder) for folder in parts), RECIPE | {"distractors": 1})
    assert list(itertools.islice(unfaded, 12)) == contrasts[1.0]


def test_contrast_is_of_the_background_alone(contrasts, parts):
    """Mask, object and distractors stay; elsewhere a picture is white + contrast * (full - white)."""
    for none, half, full in zip(*contrasts.values(), strict=True):
        assert none.mask == half.mask == full.mask
        assert none.source == half.source == full.source
        white, between, scene = (pixels_of(one.data) for one in (none, half, full))
        inside = pixels_of(full.mask) == 1
        # The mask begins at half-transparent pixels, through which a little of the background shows.
        assert np.abs(white - scene)[inside].max(axis=1).mean() < 8
        assert np.median(np.abs(white - scene)[inside].max(axis=1)) == 0
        # What shows of the background is linear in the contrast, whatever lies half-transparent over it.
        assert np.abs(between - (white + scene) / 2).max() <= 2
        bare = (white == 255).all(axis=2)
        assert bare.mean() > 0.4
        assert np.abs(scene - 255)[bare].mean() > 20


def test_no_contrast_is_white_wherever_nothing_is_pasted(parts, monkeypatch):
    """With transparent layers the whole picture is white, and at half contrast half of the scene."""
    nothing = Image.new("RGBA", (96, 96), (0, 0, 0, 0))
    monkeypatch.setattr("vlrepro.data.sources.composed._placed", lambda *_: nothing)
    objects, backgrounds = (Pack(folder) for folder in parts)
    for contrast in (0.0, 0.5):
        recipe = RECIPE | {"distractors": 1}
        full = itertools.islice(compose(objects, backgrounds, recipe), 6)
        for faded, scene in zip(compose(objects, backgrounds, recipe | {"contrast": contrast}), full, strict=False):
            wanted = 255 + contrast * (pixels_of(scene.data) - 255)
            assert np.abs(pixels_of(faded.data) - wanted).max() <= 0.5


def test_what_cannot_be_composed_is_an_error(parts, tmp_path):
    objects, backgrounds = (Pack(folder) for folder in parts)
    with pytest.raises(UserError, match="no background of other content in the split 'train'"):
        next(compose(objects, objects_of(tmp_path / "same", label="ellipse", concept="red-ellipse"), RECIPE))
    with pytest.raises(UserError, match="no object in the alpha channel"):
        next(compose(objects_of(tmp_path / "bare", mask_in_alpha=False), backgrounds, RECIPE))
    recipe = recipe_of(parts)
    recipe["compose"]["objects"]["digest"] = "0" * 64
    with pytest.raises(UserError, match="the config pins 0000"):
        fetch_pack(recipe, tmp_path / "pack", 0.0)


def objects_of(folder, **changes):
    write_pack(folder, [replace(one, **changes) for one in shape_pictures(8, labelled=True)])
    return Pack(folder)
