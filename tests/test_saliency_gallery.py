"""The gallery of saliency maps: which pictures it shows, what it draws, and that foreign text cannot break it."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reporting_site import HOSTILE, Parsed
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from vlrepro.errors import UserError
from vlrepro.reporting.saliency_gallery import (
    WIDTH,
    SaliencyMap,
    SaliencyPicture,
    border,
    choose,
    masked,
    overlaid,
    saliency_gallery,
)

SCORES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from((0.0, 0.5, 1.0))), max_size=40)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def square_mask(side: int = WIDTH) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : 3 * side // 4] = 1
    return mask


def picture(side: int = WIDTH, **changes: object) -> SaliencyPicture:
    rng = np.random.default_rng(side)
    maps = [
        SaliencyMap(model, method, rng.normal(size=(side, side)), 0.25)
        for model in ("SLIP", "CLIP")
        for method in ("CAM", "AGF")
    ]
    colours = rng.integers(0, 256, (side, side, 3), np.uint8)
    whole = SaliencyPicture("a-key", "a dog", "best", 0.5, colours, square_mask(side), maps)
    return replace(whole, **changes)


def gallery(*pictures: SaliencyPicture) -> Parsed:
    return Parsed(saliency_gallery("Maps", "the mean", pictures))


@given(SCORES, st.integers(1, 6))
def test_the_chosen_are_disjoint_and_in_order(scores: list[float], count: int) -> None:
    chosen = choose(np.array(scores), count)
    assert list(chosen) == ["best", "median", "worst"]
    everything = [position for positions in chosen.values() for position in positions]
    assert len(set(everything)) == len(everything)
    assert set(everything) <= set(range(len(scores)))
    best, median, worst = ([scores[position] for position in positions] for positions in chosen.values())
    if len(scores) >= 3:
        assert len(best) == len(median) == len(worst) == min(count, len(scores) // 3)
        assert min(best) >= max(median)
        assert min(median) >= max(worst)
    else:
        assert len(everything) == len(scores)
    assert best == sorted(scores, reverse=True)[: len(best)]
    assert worst == sorted(scores)[: len(worst)]


@given(SCORES.filter(lambda scores: len(scores) >= 3), st.integers(1, 6))
def test_the_median_ones_are_closest_to_the_median_in_rank(scores: list[float], count: int) -> None:
    ranked = sorted(range(len(scores)), key=lambda position: (-scores[position], position))
    middle = (len(scores) - 1) / 2
    median = choose(np.array(scores), count)["median"]
    found = sorted(abs(ranked.index(position) - middle) for position in median)
    assert found == sorted(abs(rank - middle) for rank in range(len(scores)))[: len(median)]


def test_of_equal_scores_the_earlier_position_ranks_higher() -> None:
    assert choose(np.full(9, 0.5), 2) == {"best": [0, 1], "median": [3, 4], "worst": [8, 7]}
    assert choose(np.array([0.1, 0.9, 0.5])) == {"best": [1], "median": [2], "worst": [0]}
    assert choose(np.array([0.1, 0.9])) == {"best": [1], "median": [], "worst": [0]}
    assert choose(np.array([0.1])) == {"best": [0], "median": [], "worst": []}


@pytest.mark.parametrize("scores", [np.array([0.1, np.nan]), np.zeros((2, 2))])
def test_scores_that_cannot_be_ranked_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(UserError, match="finite"):
        choose(scores)


def test_no_pictures_a_place_are_refused() -> None:
    with pytest.raises(UserError, match="1 or more"):
        choose(np.zeros(3), 0)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_border_is_the_object_without_its_erosion(seed: int) -> None:
    mask = np.random.default_rng(seed).choice([0, 1, 255], (9, 12), p=[0.3, 0.6, 0.1]).astype(np.uint8)
    inside = mask == 1
    np.testing.assert_array_equal(border(mask), inside & ~binary_erosion(inside, CROSS))


def test_the_outline_is_white_on_the_border_black_around_it_and_nowhere_else() -> None:
    mask = square_mask()
    line = border(mask)
    around = binary_dilation(line, CROSS) & (mask == 0)
    shown = picture(picture=np.full((WIDTH, WIDTH, 3), 90, np.uint8))
    for drawn in (overlaid(shown.picture, mask, shown.maps[0].map), masked(shown.picture, mask)):
        assert (drawn[line] == 255).all()
        assert (drawn[around] == 0).all()
        rest = drawn[~line & ~around]
        assert ((rest > 0).any(axis=-1) & (rest < 255).any(axis=-1)).all()
    assert line.sum() == 2 * (WIDTH // 4) + 2 * (WIDTH // 2) - 4


def test_the_outline_survives_in_the_page() -> None:
    """The encoded pictures have the outline, too."""
    shown = picture(maps=[SaliencyMap("SLIP", "CAM", np.zeros((WIDTH, WIDTH)), 0.5)])
    source = gallery(shown).all("img")[-1]["src"]
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))).convert("L"))
    line = border(shown.mask)
    around = binary_dilation(line, CROSS) & (shown.mask == 0)
    assert decoded[line].mean() > 200
    assert decoded[around].mean() < 50


def test_low_is_dark_and_high_is_bright_whatever_the_scale() -> None:
    grey, mask = np.full((WIDTH, WIDTH, 3), 128, np.uint8), square_mask()
    ramp = np.tile(np.linspace(0, 1, WIDTH), (WIDTH, 1))
    drawn = overlaid(grey, mask, ramp)
    luma = drawn[-1] @ (0.299, 0.587, 0.114)
    assert (np.diff(luma) > -1.5).all()
    assert luma[-1] - luma[0] > 80
    np.testing.assert_array_equal(overlaid(grey, mask, 1e6 * ramp - 3), drawn)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9])
def test_a_constant_map_is_grey(value: float) -> None:
    shown = picture()
    drawn = overlaid(shown.picture, shown.mask, np.full((WIDTH, WIDTH), value))
    assert (drawn == drawn[..., :1]).all()
    page = gallery(replace(shown, maps=[SaliencyMap("SLIP", "CAM", np.full((WIDTH, WIDTH), value), 0.5)]))
    assert any("one value everywhere" in text for text in page.texts)


def test_ignored_pixels_have_no_colour_and_set_no_scale() -> None:
    shown = picture()
    mask, one = square_mask(), np.array(shown.maps[0].map)
    mask[-20:] = 255
    drawn = overlaid(shown.picture, mask, one)
    assert (drawn[-20:] == drawn[-20:, :, :1]).all()
    assert not (drawn[:20] == drawn[:20, :, :1]).all()
    one[-20:] = 1e6
    np.testing.assert_array_equal(overlaid(shown.picture, mask, one), drawn)
    assert any("striped" in text for text in gallery(picture(mask=mask)).texts)
    assert not any("striped" in text for text in gallery(picture()).texts)


@pytest.mark.parametrize("size", [(40, 40), (224, 224), (60, 120), (300, 100)])
def test_pictures_of_any_size_become_as_wide_as_they_are_shown(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.uint8)
    mask[5:20, 5:20] = 1
    one = SaliencyMap("SLIP", "CAM", rng.normal(size=size).astype(np.float32), 0.5)
    shown = picture(picture=rng.integers(0, 256, (*size, 3), np.uint8), mask=mask, maps=[one])
    for image in gallery(shown).all("img")[1:]:
        decoded = Image.open(io.BytesIO(base64.b64decode(image["src"].partition("base64,")[2])))
        assert decoded.format == "WEBP"
        assert decoded.size == (WIDTH, round(WIDTH * size[0] / size[1]))
        assert (image["width"], image["height"]) == tuple(map(str, decoded.size))


def test_each_place_has_its_pictures_and_each_map_says_what_it_is() -> None:
    page = gallery(picture(place="worst", key="last"), picture(key="first"), picture(key="second"))
    assert [text for text in page.texts if text in ("Best", "Median", "Worst")] == ["Best", "Worst"]
    keys = [text for text in page.texts if text in ("first", "second", "last")]
    assert keys == ["first", "second", "last"]
    scopes = [head["scope"] for head in page.all("th")]
    assert scopes == ["col", "col", "col", "row", "row"] * 3
    assert all(image["alt"] for image in page.all("img"))
    assert "CLIP, AGF: average precision 0.250" in [image["alt"] for image in page.all("img")]
    assert len(page.all("figure")) == len(page.all("figcaption")) == 3
    assert page.texts.count("0.250") == 12


def test_a_missing_map_and_a_missing_score_are_said() -> None:
    whole = picture()
    maps = [whole.maps[0], replace(whole.maps[3], score=float("nan"))]
    page = gallery(replace(whole, maps=maps))
    assert page.texts.count("none") == 2
    assert "no score" in page.texts
    assert gallery().texts == ["Maps", "There are no maps to show."]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    whole = picture()
    maps = [replace(whole.maps[0], model=text, method=f"{text}?")]
    parsed = Parsed(saliency_gallery(text, text, [picture(label=text, key=f"{text}!", maps=maps)]))
    assert parsed.broken == parsed.open == []
    plain = text.replace("\x00", "\ufffd")
    for expected in (plain, f"{plain}!", f"{plain}?"):
        assert expected in parsed.texts
    assert parsed.texts.count(plain) == 3
    assert f"{plain}, {plain}?: average precision 0.250" in [image["alt"] for image in parsed.all("img")]
    assert {tag for tag, _ in parsed.elements} == {tag for tag, _ in gallery(whole).elements}


def test_what_does_not_fit_is_refused_by_name() -> None:
    whole = picture()
    one = whole.maps[0]
    wrong = {
        "a-key is uint8 of shape": picture(mask=square_mask(40)),
        "a-key is float64": picture(picture=whole.picture / 255),
        "a-key, SLIP, CAM: map": picture(maps=[replace(one, map=np.full((WIDTH, WIDTH), np.nan))]),
        "a-key, SLIP, CAM: maps of shape": picture(maps=[replace(one, map=np.zeros((4, 4)))]),
        "same model and method": picture(maps=[one, one]),
        "place 'middle'": picture(place="middle"),
    }
    for words, shown in wrong.items():
        with pytest.raises(UserError, match=words):
            gallery(shown)


def test_a_whole_gallery_stays_small_and_repeats() -> None:
    """Photo-like pictures (energy falls with frequency) and maps with detail: more bytes than emoji and CAM need."""
    rng = np.random.default_rng(3)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(WIDTH), np.fft.fftfreq(WIDTH))) + 1 / WIDTH

    def photo() -> np.ndarray:
        layers = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(WIDTH, WIDTH))) / frequency).real for _ in range(3)]
        return np.clip(128 + 60 * np.stack(layers, -1) / np.std(layers), 0, 255).astype(np.uint8)

    pictures = [
        picture(
            picture=photo(),
            place=("best", "median", "worst")[number // 3],
            maps=[
                SaliencyMap(
                    f"model {model}", f"method {method}", gaussian_filter(rng.normal(size=(WIDTH, WIDTH)), 2), 0.5
                )
                for model in range(5)
                for method in range(6)
            ],
        )
        for number in range(9)
    ]
    page = saliency_gallery("Maps", "the mean", pictures)
    assert page.count("<img") == 1 + 9 * (2 + 30)
    assert len(page.encode()) < 1_500_000
    assert saliency_gallery("Maps", "the mean", pictures) == page
