"""Masks of a pack: decoded to the canvas as their pictures are, and every kind of bad one named and left out."""

import io

import numpy as np
import pytest
from conftest import shape_pictures
from PIL import Image

from vlrepro.data.decoding import decode
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.saliency.canvas import IGNORE
from vlrepro.saliency.masks import decode_mask, read_masks


def encoded(values, mode=None, form="PNG"):
    stream = io.BytesIO()
    picture = Image.fromarray(np.asarray(values, np.uint8))
    (picture.convert(mode) if mode else picture).save(stream, form)
    return stream.getvalue()


def colour(height, width, value=90):
    return encoded(np.full((height, width, 3), value))


def test_alpha_channel_is_the_mask(tmp_path):
    write_pack(tmp_path, shape_pictures(16))
    pack = Pack(tmp_path)
    found = read_masks(pack, range(15, -1, -1), 24)
    assert found.positions.tolist() == list(range(15, -1, -1))
    assert found.rejected == ()
    alpha = np.asarray(Image.open(io.BytesIO(pack.picture(3))))[..., 3]
    assert np.array_equal(found.masks[12], alpha >= 128)
    # Where the mask is background, the picture is white: they are aligned.
    white = (Pictures(pack, 24).batch([3])[0] == 255).all(dim=0).numpy()
    assert np.array_equal(white, found.masks[12] == 0)


@pytest.mark.parametrize("size", [(20, 30), (33, 21), (48, 48), (7, 50)])
def test_masks_are_cropped_and_scaled_as_pictures(size):
    """A picture that is its own mask in grey: after decoding, both still agree away from the borders."""
    y, x = np.mgrid[: size[0], : size[1]]
    labels = ((y > size[0] / 3) & (x > size[1] / 2.5)).astype(np.uint8)
    picture = encoded(np.repeat(labels[..., None] * 255, 3, axis=2))
    mask = decode_mask(picture, encoded(labels), 24)
    assert mask.shape == (24, 24)
    assert set(np.unique(mask)) <= {0, 1}
    assert ((decode(picture, 24)[..., 0] > 127) == mask).mean() > 0.95


def test_labels_are_never_mixed():
    labels = np.zeros((30, 30), np.uint8)
    labels[8:20, 8:20] = 1
    labels[7, :] = IGNORE
    assert set(np.unique(decode_mask(colour(30, 30), encoded(labels), 17))) <= {0, 1, IGNORE}


def test_palettes_and_bits_are_labels_too():
    labels = np.zeros((10, 10), np.uint8)
    labels[2:5, 2:5] = 1
    palette = Image.fromarray(labels, "L").convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.putpalette([200, 10, 10, 3, 3, 3] + [0] * 762)
    bits = Image.fromarray(labels * 255).convert("1")
    for picture in (palette, bits):
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        assert np.array_equal(decode_mask(colour(10, 10), stream.getvalue(), 10), labels)


GOOD = np.eye(12, dtype=np.uint8)
OPAQUE = np.dstack([np.full((12, 12, 3), 9), np.full((12, 12), 255)])
CLEAR = np.dstack([np.full((12, 12, 3), 9), np.full((12, 12), 100)])
CORNER = np.zeros((12, 40), np.uint8)
CORNER[0, 0] = 1
BAD = {
    "other-size": (colour(12, 12), encoded(GOOD[:, :10]), "the mask is 10 x 12 pixels, its picture 12 x 12"),
    "unknown-id": (colour(12, 12), encoded(GOOD * 7), "class id 7 is unknown: a mask has 0, 1 and 255 (ignore)"),
    "empty": (colour(12, 12), encoded(GOOD * 0), "the mask is empty"),
    "only-ignored": (colour(12, 12), encoded(GOOD * 255), "the mask is empty"),
    "three-channels": (colour(12, 12), colour(12, 12), "the mask has the mode RGB, not one channel of class ids"),
    "cut-short": (colour(12, 12), encoded(GOOD)[:50], "the mask does not decode"),
    "no-picture": (b"nothing", encoded(GOOD), "the picture does not decode"),
    "cropped-away": (colour(12, 40), encoded(CORNER), "no object pixel is left on the canvas of 12 pixels"),
    "opaque": (encoded(OPAQUE), True, "the picture is opaque everywhere: its alpha channel is no mask"),
    "no-alpha": (colour(12, 12), True, "the picture has no alpha channel to be its mask"),
    "transparent": (encoded(CLEAR), True, "the mask is empty"),
    "without": (colour(12, 12), None, "the picture has no mask"),
}


def test_every_bad_mask_is_named_and_left_out_of_n(tmp_path):
    pictures = [Picture("good", colour(12, 12), ".png", 12, 12, mask=encoded(GOOD))]
    for key, (data, mask, _) in BAD.items():
        inside = {"mask_in_alpha": True} if mask is True else {"mask": mask}
        pictures.append(Picture(key, data, ".png", 12, 12, **inside))
    pictures.append(Picture("good-too", colour(12, 12), ".png", 12, 12, mask=encoded(GOOD)))
    write_pack(tmp_path, pictures)
    found = read_masks(Pack(tmp_path), range(len(pictures)), 12)
    assert found.positions.tolist() == [0, len(pictures) - 1]
    assert np.array_equal(found.masks, np.stack([GOOD, GOOD]))
    assert [key for key, _ in found.rejected] == list(BAD)
    for key, reason in found.rejected:
        assert reason.startswith(BAD[key][2]), key


def test_no_usable_mask_at_all(tmp_path):
    write_pack(tmp_path, [Picture("a", colour(12, 12), ".png", 12, 12)])
    found = read_masks(Pack(tmp_path), [0], 12)
    assert found.masks.shape == (0, 12, 12)
    assert len(found.rejected) == 1
