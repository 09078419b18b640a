"""Parts of JPEG files that are decoded alone: the same pixels as those of the whole picture, whatever the box."""

import io
from contextlib import suppress

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlrepro.data.restarts import encode, tile_of


def picture(width, height, seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray((smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def pixels(data):
    return simplejpeg.decode_jpeg(data, "RGB", fastupsample=True)


SIDES = st.integers(1, 420)
BOXES = st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=3)


def box_of(fractions, height, width):
    top, left = (int(fraction * (side - 1)) for fraction, side in zip(fractions[:2], (height, width), strict=True))
    down, across = (int(f * (side - 1)) for f, side in zip(fractions[2:], (height - top, width - left), strict=True))
    return top, left, down + 1, across + 1


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, BOXES, st.sampled_from([30, 75, 95]))
def test_a_tile_holds_the_boxes_and_the_pixels_of_the_whole(width, height, fractions, quality):
    data = encode(picture(width, height), quality)
    whole = pixels(data)
    boxes = [box_of(found, height, width) for found in fractions]
    tile = tile_of(memoryview(data), boxes)
    if tile is None:
        top, left, bottom, right = edges(boxes)
        blocks = -(-width // 16)
        chain = 16 * next((n for n in range(2, blocks // 4 + 1) if blocks % n == 0), 1)
        assert top < 16
        assert left < chain
        assert -(-bottom // 16) == -(-height // 16)
        assert -(-right // chain) == -(-blocks * 16 // chain)
        return
    assert tile.picture == (height, width)
    made = pixels(tile.data)
    assert made.shape[:2] == (tile.height, tile.width)
    assert np.array_equal(made, whole[tile.top :, tile.left :][: tile.height, : tile.width])
    for top, left, down, across in boxes:
        assert tile.top <= top
        assert tile.left <= left
        assert tile.top + tile.height >= top + down
        assert tile.left + tile.width >= left + across


def edges(boxes):
    """The first row and column that boxes touch, and the ones behind the last."""
    array = np.array(boxes)
    return *array[:, :2].min(axis=0), *(array[:, :2] + array[:, 2:]).max(axis=0)


def test_other_readers_see_what_pillow_would_have_written():
    shown = picture(320, 256)
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=95)
    data = encode(shown, 95)
    assert len(data) < 1.05 * len(stream.getvalue())
    for reader in (lambda file: np.asarray(Image.open(io.BytesIO(file))), pixels, simplejpeg.decode_jpeg):
        assert np.array_equal(reader(data), reader(stream.getvalue()))


def test_a_small_box_is_a_small_file():
    data = encode(picture(320, 256), 95)
    assert len(tile_of(data, [(100, 100, 32, 32)]).data) < len(data) / 10


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_files_of_others_are_decoded_as_a_whole(options):
    stream = io.BytesIO()
    picture(320, 256).save(stream, "JPEG", **options)
    assert tile_of(stream.getvalue(), [(0, 0, 8, 8)]) is None


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 1500), st.binary(min_size=1, max_size=9), st.integers(0, 400))
def test_a_damaged_file_gives_no_tile_or_one_that_a_decoder_bears(place, wrong, missing):
    """Never an error of another kind, and a file that is cut short never gives one."""
    data = bytearray(encode(picture(96, 80), 75))
    data[place : place + len(wrong)] = wrong
    tile = tile_of(bytes(data[: len(data) - missing]), [(40, 40, 8, 8)])
    assert tile is None or not missing
    if tile is not None:
        with suppress(ValueError):
            pixels(tile.data)
