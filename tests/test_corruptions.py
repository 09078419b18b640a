"""Corrupted pictures against numpy, scipy and Pillow, picture by picture; what they depend on and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import shape_pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest, norm, truncnorm

from vlrepro.data.corruptions import KINDS, CorruptedPictures, corrupt
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.evaluation.features import extract
from vlrepro.models.backbones import build_backbone
from vlrepro.randomness import torch_generator

NOISE, BLUR, CONTRAST, PIXELATE = range(4)  # positions of each kind


def pictures(count, side=48, seed=0):
    """Random pictures with patches, so that neighbours have something in common."""
    coarse = torch.randint(0, 256, (count, 3, side // 4, side // 4), generator=torch_generator(seed, "patches"))
    fine = torch.randint(-20, 21, (count, 3, side, side), generator=torch_generator(seed, "grain"))
    grown = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return (grown + fine).clamp(0, 255).to(torch.uint8)


def one(kind, severity, side=48, seed=0):
    """A picture and what becomes of it at a position of this kind."""
    picture = pictures(1, side)
    return picture[0].numpy(), corrupt(picture, seed, severity, [kind])[0].numpy()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_noise_is_normal_of_its_strength(severity):
    grey = torch.full((1, 3, 96, 96), 128, dtype=torch.uint8)
    found = corrupt(grey, 0, severity, [NOISE])[0].double().flatten() - 128
    strength = 255 * (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    at_the_ends = ((found == -128) | (found == 127)).double().mean().item()  # what left the range
    assert at_the_ends == pytest.approx(norm.sf(126.5, scale=strength) + norm.cdf(-127.5, scale=strength), abs=0.01)
    spread = found.numpy() + np.random.default_rng(0).uniform(-0.5, 0.5, len(found))  # undoes the rounding
    inside = spread[np.abs(spread) < 120]
    assert kstest(inside, truncnorm(-120 / strength, 120 / strength, scale=strength).cdf).pvalue > 0.01


def test_noise_is_added_number_by_number():
    picture, found = one(NOISE, 2, side=16, seed=7)
    drawn = torch.randn(3, 16, 16, generator=torch_generator(7, "corruption", NOISE)).double().numpy()
    expected = np.clip(np.round(picture + 0.12 * 255 * drawn), 0, 255)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [48, 96])
def test_blur_is_that_of_scipy(severity, side):
    picture, found = one(BLUR, severity, side)
    sigma = (1, 2, 3, 4, 6)[severity - 1] * side / 224
    blurred = [gaussian_filter(c.astype(float), sigma, mode="mirror", radius=int(np.ceil(4 * sigma))) for c in picture]
    assert np.abs(found - np.stack(blurred)).max() <= 0.5 + 1e-6
    assert np.abs(found.astype(float) - picture).max() > 3 or (severity, side) == (1, 48)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_contrast_shrinks_towards_each_channels_mean(severity):
    picture, found = one(CONTRAST, severity)
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    for before, after in zip(picture.astype(float), found, strict=True):
        assert np.abs(after - (share * before + (1 - share) * before.mean())).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [48, 96, 224])
def test_pixelation_is_pillows_box(severity, side):
    picture, found = one(PIXELATE, severity, side)
    kept = int(side * (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1])
    image = Image.fromarray(picture.transpose(1, 2, 0)).resize((kept, kept), Image.Resampling.BOX)
    expected = np.asarray(image.resize((side, side), Image.Resampling.BOX)).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - expected).max() <= 1  # Pillow rounds after each axis
    assert len(np.unique(found[0], axis=0)) <= kept


def test_the_kinds_take_turns():
    batch = pictures(9, 24)
    found = corrupt(batch, 3, 4)
    for position in range(9):
        alone = corrupt(batch[position : position + 1], 3, 4, [position % 4])
        if position % 4 != NOISE:
            assert torch.equal(found[position], alone[0])
        assert not torch.equal(found[position], batch[position])
    assert list(KINDS) == ["gaussian_noise", "gaussian_blur", "contrast", "pixelate"]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 17), st.integers(0, 10**6), st.integers(1, 5), st.data())
def test_batches_and_their_order_do_not_matter(count, seed, severity, data):
    side = data.draw(st.sampled_from([8, 12, 20]))
    batch = pictures(count, side, seed)
    whole = corrupt(batch, seed, severity)
    order = torch.tensor(data.draw(st.permutations(range(count))))
    size = data.draw(st.integers(1, count))
    parts = [corrupt(batch[part], seed, severity, part) for part in order.split(size)]
    assert torch.equal(torch.cat(parts), whole[order])


def test_only_the_noise_depends_on_the_seed_and_on_the_place():
    batch = pictures(8, 24)
    first, second = corrupt(batch, 0, 3), corrupt(batch, 1, 3)
    same = (first == second).flatten(1).all(1)
    assert same.tolist() == [position % 4 != NOISE for position in range(8)]
    alike = corrupt(batch[:1].expand(2, -1, -1, -1), 0, 3, [0, 4])
    assert not torch.equal(alike[0], alike[1])


def test_a_higher_severity_does_more_damage():
    batch = torch.randint(0, 256, (4, 3, 96, 96), generator=torch_generator(0)).to(torch.uint8)
    damage = [(corrupt(batch, 0, s).double() - batch).square().mean((1, 2, 3)) for s in range(1, 6)]
    for milder, harsher in pairwise(damage):
        assert (harsher > milder).all()


def test_what_comes_in_stays_as_it_is():
    batch = pictures(8, 24)
    kept, state = batch.clone(), torch.get_rng_state()
    found = corrupt(batch, 0, 5)
    assert torch.equal(batch, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.dtype, found.shape) == (torch.uint8, batch.shape)
    assert corrupt(batch[:0], 0, 5).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_pictures_have_something_left(side):
    flat = torch.full((4, 3, side, side), 200, dtype=torch.uint8)
    assert (corrupt(flat, 0, 5)[1:] == 200).all()  # but for noise, a flat picture stays what it is


def test_a_pack_is_read_corrupted(tmp_path, recipe):
    write_pack(tmp_path / "pack", shape_pictures(12))
    pack, settings = Pack(tmp_path / "pack"), recipe["pictures"]
    corrupted, clean = CorruptedPictures(pack, 24, seed=2, severity=3), Pictures(pack, 24)
    chosen = torch.tensor([5, 0, 7])
    expected = corrupt(clean.batch(range(12)), 2, 3)
    assert torch.equal(corrupted.batch(chosen), expected[chosen])
    streamed = CorruptedPictures(pack, 24, seed=2, severity=3, cache_bytes=0)
    torch.manual_seed(0)
    model = build_backbone("resnet_small", width=4).eval()
    found = extract(model, streamed, settings, batch_size=5)
    torch.testing.assert_close(found, extract(model, corrupted, settings), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, extract(model, clean, settings), atol=1e-3)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_other_severities_are_refused(severity):
    with pytest.raises(UserError, match=f"corrupted pictures: severity {severity}: give 1, 2, 3, 4 or 5"):
        corrupt(pictures(2, 8), 0, severity)


def test_other_pictures_are_refused():
    for wrong in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="not uint8"):
            corrupt(wrong, 0, 1)
    with pytest.raises(ValueError, match=r"2 pictures, but positions \(3,\)"):
        corrupt(pictures(2, 8), 0, 1, [0, 1, 2])
