"""How downloaded pictures are decoded and scaled: what two decoders agree on, and what the scaling keeps."""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import encoded, told
from PIL import Image

from vlrepro.data.download.options import Rules
from vlrepro.data.download.pictures import pack_picture
from vlrepro.data.download.scaling import scaled_down

RULES = Rules(**told(short_side=20)[0])
KINDS = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 2}}
SIDES = {1: 60, 2: 100, 4: 170, 8: 330}  # short sides that a decoder may divide by the factor and leave twice 20


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def grainy(size, grain=12.0):
    """Blobs with grain, (height, width, 3) uint8: what aliasing shows in."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=float)
    return (smooth + rng.normal(0, grain, smooth.shape)).clip(0, 255).astype(np.uint8)


def psnr(found, wanted):
    """Peak signal to noise, in dB."""
    return 10 * np.log10(255**2 / np.mean((np.asarray(found, float) - np.asarray(wanted, float)) ** 2))


def loads(data):
    """Whether Pillow, at full size, decodes `data` to its end."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            picture.load()
    except Exception:
        return False
    return True


def slowly(monkeypatch, data):
    """`pack_picture` where simplejpeg finds fault with everything."""

    def refuse(*_, **__):
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(simplejpeg, "decode_jpeg", refuse)
        return pack_picture(data, RULES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", SIDES)
def test_pictures_that_are_cut_short_are_refused_at_every_scale(factor, kind):
    side = SIDES[factor]
    data = encoded(size=(side + side // 3, side), quality=60, **KINDS[kind])
    assert pack_picture(data, RULES).reason == "ok"
    cuts = {*range(4, len(data), 41), *range(len(data) - 12, len(data))}
    assert {cut for cut in cuts if pack_picture(data[:cut], RULES).reason != "decode"} == set()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(KINDS)),
    st.sampled_from(list(SIDES.values())),
    st.floats(0, 1),
    st.binary(min_size=1, max_size=9),
)
def test_damaged_jpegs_are_refused_just_where_pillow_refuses_them(kind, side, place, noise):
    """The headers' sizes may be damaged, too: then rules on sizes come first."""
    data = encoded(size=(side + 9, side), quality=60, **KINDS[kind])
    start = 2 + int(place * (len(data) - 2))
    damaged = data[:start] + noise + data[start + len(noise) :]
    reason = pack_picture(damaged, RULES).reason
    assert reason in {"too_small", "bomb", "not_image"} or (reason == "ok") == loads(damaged)


def test_both_decoders_give_the_same_pixels(monkeypatch):
    """At each factor, for colours stored at full, half and quarter resolution and for grey ones."""
    for side in SIDES.values():
        picture = Image.fromarray(grainy((side + 31, side)))
        for mode, options in (("RGB", {"subsampling": 0}), ("RGB", {"subsampling": 1}), ("RGB", {}), ("L", {})):
            stream = io.BytesIO()
            picture.convert(mode).save(stream, "JPEG", quality=90, **options)
            fast, slow = pack_picture(stream.getvalue(), RULES), slowly(monkeypatch, stream.getvalue())
            assert (fast.reason, fast.packed_width, fast.packed_height) == ("ok", slow.packed_width, 20)
            assert np.abs(pixels(fast.data) - pixels(slow.data)).max() <= 3


def test_faults_that_readers_bear_with_are_left_to_pillow():
    """Stray bytes between segments: libjpeg warns of them, pixels are whole."""
    data = encoded(size=(110, 80), quality=90)
    place = data.index(b"\xff\xda")
    stray = data[:place] + b"\1\2" + data[place:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(stray, strict=True)
    packed = pack_picture(stray, RULES)
    assert packed.reason == "ok"
    assert np.array_equal(pixels(packed.data), pixels(pack_picture(data, RULES).data))


def test_the_size_that_was_checked_is_the_one_decoded(monkeypatch):
    """Were two readers to find different sizes in a header, the second could decode a bomb that the first passed."""
    data = encoded(size=(110, 80), quality=90)
    wanted = pack_picture(data, RULES)
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", lambda _: (60_000, 60_000, "YCbCr", "420"))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    packed = pack_picture(data, RULES)
    assert (packed.reason, packed.packed_width) == ("ok", wanted.packed_width)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(2, 6))
@settings(deadline=None)
def test_whole_ratios_are_averages_of_blocks(width, height, times):
    picture = np.random.default_rng(0).integers(0, 256, (height * times, width * times, 3), dtype=np.uint8)
    blocks = picture.reshape(height, times, width, times, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(scaled_down(picture, (width, height)) - blocks).max() <= 0.51
    assert scaled_down(picture, (width * times, height * times)) is picture


@given(st.integers(0, 255), st.integers(16, 90), st.integers(16, 90), st.data())
@settings(deadline=None)
def test_one_colour_stays_one_colour(value, width, height, drawn):
    size = drawn.draw(st.integers(1, width)), drawn.draw(st.integers(1, height))
    made = scaled_down(np.full((height, width, 3), value, np.uint8), size)
    assert made.shape == (size[1], size[0], 3)
    assert np.unique(made).tolist() == [value]


@pytest.mark.parametrize("short", [239, 200, 170, 128, 121, 100, 81, 70])
def test_scaling_is_nearer_to_lanczos_than_a_box_filter(short):
    picture = grainy((320, 240))
    size = round(320 * short / 240), short
    whole = Image.fromarray(picture)
    lanczos = whole.resize(size, Image.Resampling.LANCZOS)
    ours = psnr(scaled_down(picture, size), lanczos)
    assert ours > psnr(whole.resize(size, Image.Resampling.BOX), lanczos)
    assert ours > 35


def test_stripes_that_are_too_fine_turn_grey():
    """By the sampling theorem they cannot be shown; picking pixels would leave all their contrast, 127.5 (aliasing)."""
    stripes = np.zeros((96, 300, 3), np.uint8)
    stripes[:, ::2] = 255
    for width in (80, 100, 120, 140, 150, 160):
        made = scaled_down(stripes, (width, 32 * width // 100)).astype(float)[:, 4:-4]
        assert abs(made.mean() - 127.5) < 3
        assert made.std() < 0.4 * 127.5
