"""Small packs with classes and masks, good and bad ones, that the tests of the saliency evaluation share."""

import io

import numpy as np
from PIL import Image
from saliency_models import used

from vlrepro.data.pack import Picture, write_pack
from vlrepro.saliency.canvas import IGNORE, OBJECT

SIDE = 32
COLOURS = {"blue": (60, 80, 200), "green": (70, 180, 60), "red": (200, 60, 70)}
OBJECT_SIDES = (6, 14, 20, 28)  # of squares: one in each bin of `vlrepro.saliency.sizes`
SETTINGS = {
    **{"canvas": SIDE, "size": SIDE, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.3, 0.2]},
    **{"tuning_pictures": 9, "threads": 1},
}
BAD = {
    "bad-size": "the mask is 31 x 32 pixels, its picture 32 x 32",
    "bad-class": "class id 7 is unknown: a mask has 0, 1 and 255 (ignore)",
    "bad-empty": "the mask is empty",
    "bad-without": "the picture has no mask",
}


def png(values):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def picture(key, split, number, seed=0):
    """A square of its class's colour on noise, with a mask that ignores a part of its top row."""
    rng = np.random.default_rng([seed, number])
    label, side = sorted(COLOURS)[number % 3], OBJECT_SIDES[number % 4]
    values, mask = rng.integers(0, 256, (SIDE, SIDE, 3)), np.zeros((SIDE, SIDE), np.uint8)
    top, left = rng.integers(1, SIDE - side + 1, 2)
    values[top : top + side, left : left + side] = COLOURS[label] + rng.integers(-20, 20, (side, side, 3))
    mask[top : top + side, left : left + side] = OBJECT
    mask[0, :5] = IGNORE
    return Picture(
        key, png(values), ".png", SIDE, SIDE, label=label, caption=f"a {label} thing", split=split, mask=mask
    )


def pictures():
    """42 pictures in the order of an index that mixes splits; masks are arrays still."""
    splits = ("train", "test", "train", "val", "train", "test", "val")
    return [picture(f"p{number:02d}", splits[number % 7], number) for number in range(42)]


def bad_pictures():
    """One test picture with each kind of bad mask."""
    size, unknown, empty, without = (picture(key, "test", 100 + number) for number, key in enumerate(BAD))
    unknown.mask[3, 3], empty.mask[:] = 7, 0
    changed = [(size, size.mask[:, :-1]), (unknown, unknown.mask), (empty, empty.mask), (without, None)]
    return [with_mask(one, mask) for one, mask in changed]


def with_mask(one, mask):
    return Picture(**{**vars(one), "mask": mask})


def write(folder, entries):
    """Write pictures whose masks are arrays as a pack; returns its folder."""
    write_pack(folder, [with_mask(one, None if one.mask is None else png(one.mask)) for one in entries])
    return folder


def among(good, bad):
    """The bad pictures between the good ones: before, in the middle and behind."""
    return [bad[0], *good[:10], *bad[1:3], *good[10:], bad[3]]


def backbone():
    return used("resnet_small", {"width": 8})
