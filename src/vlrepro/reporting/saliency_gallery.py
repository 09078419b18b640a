"""Saliency maps in the page: picture, mask and the map of each model and method, for the best, median and worst.

Labels, keys and names are foreign text; they reach the page through `markup`, which escapes them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from vlrepro.errors import UserError
from vlrepro.reporting.markup import Html, data_uri, element, grid, join
from vlrepro.saliency.canvas import BACKGROUND, IGNORE, OBJECT, Flags, check, extremes, rescaled

WIDTH = 96
"""Pixels of a picture's width in the page; its height follows."""

Place = Literal["best", "median", "worst"]
Colours = NDArray[np.uint8]  # (H, W, 3)

_PLACES: Mapping[Place, str] = {"best": "Best", "median": "Median", "worst": "Worst"}
_COLOURS = 255 * colormaps["viridis"](np.arange(256))[:, :3]
_OPAQUE = 0.7  # of a map's colour over the picture: what the picture shows stays recognisable
_CONTRAST = 0.6  # of the greyed picture: at full contrast its own light and dark would pass for the map's
_PERCENTILES = (2, 98)  # of a map, the ends of its colours
_WHITE, _BLACK, _NEUTRAL = 255, 0, 128


@dataclass(frozen=True)
class SaliencyMap:
    """One map of a picture: (H, W) floats of any scale, and its average precision on this picture."""

    model: str
    method: str
    map: NDArray[np.floating]
    score: float


@dataclass(frozen=True)
class SaliencyPicture:
    """A picture (H, W, 3) uint8 with its mask (H, W) uint8 of 0, 1 and 255 (see `vlrepro.saliency.canvas`) and maps.

    `score` is what put it in its `place`.
    """

    key: str
    label: str
    place: Place
    score: float
    picture: Colours
    mask: NDArray[np.uint8]
    maps: Sequence[SaliencyMap]


def choose(scores: NDArray, count: int = 3) -> dict[Place, list[int]]:
    """Positions in `scores` (n,) of the `count` best, the `count` closest in rank to the median, the `count` worst.

    Of equal scores the earlier position ranks higher. Best and median go from high to low, worst from the worst up.
    No position is in two places: of fewer than 3 * `count` pictures each place gets a third, of two there is no
    median one, and one alone is the best. Raises `UserError` where `scores` are not finite or not of one axis, and
    where `count` is not positive.
    """
    numbers = np.asarray(scores, np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise UserError(f"scores of shape {numbers.shape}: pass (n,) finite numbers, without the unscored pictures")
    if count < 1:
        raise UserError(f"{count} pictures a place: ask for 1 or more")
    ranked = np.argsort(-numbers, kind="stable").tolist()
    size = min(count, len(ranked) // 3)
    if not size:
        return {"best": ranked[:1], "median": [], "worst": ranked[1:]}
    start = (len(ranked) - size) // 2
    return {"best": ranked[:size], "median": ranked[start : start + size], "worst": ranked[-size:][::-1]}


def saliency_gallery(title: str, ordered_by: str, pictures: Sequence[SaliencyPicture]) -> Html:
    """The pictures of each place: beside each one a table of its maps, a model a row, a method a column.

    `ordered_by` continues "Pictures are ordered by". Rows, columns and the pictures of a place keep the order they
    come in. Raises `UserError` that names the picture where its place is unknown, its arrays do not fit each other, a
    map is not finite, or two maps are of the same model and method.
    """
    for picture in pictures:
        _check(picture)
    blocks = [element("h3", title), _legend(ordered_by, pictures)]
    for place, heading in _PLACES.items():
        if found := [_block(picture) for picture in pictures if picture.place == place]:
            blocks += [element("h4", heading), *found]
    return element("div", *blocks, class_="saliency")


def _legend(ordered_by: str, pictures: Sequence[SaliencyPicture]) -> Html:
    """How to read the pictures; of what occurs in none of them, nothing."""
    if not pictures:
        return element("p", "There are no maps to show.", class_="note")
    scale = _image(_scale(), "dark violet over green to yellow", "scale")
    words = [
        f"Pictures are ordered by {ordered_by}. Each map lies over the greyed picture and is scaled on its own, from "
        f"its percentile {_PERCENTILES[0]} ",
        scale,
        f" to {_PERCENTILES[1]}. The line is the outline of the mask. Below each map is its average precision on the "
        "picture.",
    ]
    if any((picture.mask == IGNORE).any() for picture in pictures):
        words.append(" Pixels that nobody labelled are striped beside the picture and without colour in the maps.")
    if any(_constant(shown.map, picture.mask) for picture in pictures for shown in picture.maps):
        words.append(" A map of one value everywhere is plain grey.")
    return element("p", *words, class_="note")


def _block(picture: SaliencyPicture) -> Html:
    images = element(
        "div",
        _image(_resized(picture.picture), f"Picture of {picture.label}"),
        _image(masked(picture.picture, picture.mask), f"The mask of {picture.label}"),
        class_="couple",
    )
    caption = element(
        "figcaption",
        element("strong", element("bdi", picture.label)),
        element("code", element("bdi", picture.key)),
        element("span", _number(picture.score, "score"), class_="numbers"),
    )
    name = f"{picture.label}, {picture.key}"
    return element("div", element("figure", images, caption), _table(picture), role="group", aria_label=name)


def _table(picture: SaliencyPicture) -> Html:
    cells = {(shown.model, shown.method): _cell(shown, picture) for shown in picture.maps}
    if len(cells) < len(picture.maps):
        raise UserError(f"picture {picture.key}: two maps are of the same model and method: pass one of each")
    # Of a dict, unlike of a set, the keys stay in the order of the maps.
    models, methods = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True)) if cells else ([], [])
    none = element("span", "none", class_="clean")
    rows = [(model, *(cells.get((model, method), none) for method in methods)) for model in models]
    return grid(("Model", *methods), rows)


def _cell(shown: SaliencyMap, picture: SaliencyPicture) -> Html:
    alt = f"{shown.model}, {shown.method}: {_number(shown.score, 'average precision')}"
    image = _image(overlaid(picture.picture, picture.mask, shown.map), alt)
    return join([image, element("span", _number(shown.score), class_="numbers")])


def _check(picture: SaliencyPicture) -> None:
    """Raise `UserError` that names the picture, and the map if it is one, where arrays do not fit each other."""
    if picture.place not in _PLACES:
        raise UserError(f"picture {picture.key}: place {picture.place!r}: pass one of {', '.join(_PLACES)}")
    shape = picture.picture.shape
    if shape != (*picture.mask.shape, 3) or picture.picture.dtype != np.uint8:
        raise UserError(
            f"picture {picture.key} is {picture.picture.dtype} of shape {shape}, its mask of {picture.mask.shape}: "
            "pass uint8 (H, W, 3) and (H, W)"
        )
    for shown in picture.maps:
        try:
            check(shown.map[None], picture.mask[None])
        except UserError as error:
            raise UserError(f"picture {picture.key}, {shown.model}, {shown.method}: {error}") from error


def _number(score: float, name: str = "") -> str:
    return f"{name} {score:.3f}".strip() if score == score else f"no {name or 'score'}"


def overlaid(picture: Colours, mask: NDArray[np.uint8], one: NDArray[np.floating]) -> Colours:
    """A map (H, W) in colour over the greyed picture (H, W, 3), with the mask's outline; `WIDTH` pixels wide.

    Ignored pixels, which no score knows of, get no colour; a constant map, which says nothing, gets grey.
    """
    ground, small = _greyed(_resized(picture)), _shrunk(mask)
    if _constant(one, mask):
        colour = np.full(ground.shape, _NEUTRAL, np.float64)
    else:
        scaled = _resized(rescaled(_without_spikes(one, mask)[None], mask[None])[0].astype(np.float32))
        colour = _COLOURS[np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)]
    opaque = np.where(small == IGNORE, 0, _OPAQUE)[..., None]
    return _outlined(opaque * colour + (1 - opaque) * ground, small)


def _without_spikes(one: NDArray[np.floating], mask: NDArray[np.uint8]) -> NDArray[np.floating]:
    """A map cut at two of its percentiles: a few pixels' peaks, as AGF has, would leave the rest one colour."""
    low, high = np.percentile(one[mask != IGNORE], _PERCENTILES)
    return np.clip(one, low, high) if high > low else one


def masked(picture: Colours, mask: NDArray[np.uint8]) -> Colours:
    """The picture with all but the object greyed, ignored pixels striped, and the outline; `WIDTH` pixels wide."""
    colours, small = _resized(picture), _shrunk(mask)
    shown = np.where((small == OBJECT)[..., None], colours, _greyed(colours))
    stripes = np.indices(small.shape).sum(axis=0) % 6 < 2
    shown[(small == IGNORE) & stripes] = _NEUTRAL
    return _outlined(shown, small)


def border(mask: NDArray[np.uint8]) -> Flags:
    """Object pixels of a mask (H, W) beside one that is none, or at the picture's edge; (H, W) bool."""
    inside = np.pad(mask == OBJECT, 1)
    around = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return inside[1:-1, 1:-1] & ~around


def _outlined(colours: NDArray[np.floating], mask: NDArray[np.uint8]) -> Colours:
    """White on the object's border, black beside it outside: one of the two stands out against every colour."""
    line = border(mask)
    near = np.pad(line, 1)
    beside = near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]
    drawn = np.rint(colours).astype(np.uint8)
    drawn[beside & (mask != OBJECT)] = _BLACK
    drawn[line] = _WHITE
    return drawn


def _constant(one: NDArray[np.floating], mask: NDArray[np.uint8]) -> bool:
    low, high = extremes(one[None], mask[None])
    return bool((high <= low).all())


def _greyed(colours: Colours) -> NDArray[np.float64]:
    """Luma of Rec. 601 as (H, W, 3), its contrast lowered."""
    grey = colours @ np.array((0.299, 0.587, 0.114))
    return np.repeat((_NEUTRAL + _CONTRAST * (grey - _NEUTRAL))[..., None], 3, axis=2)


def _scale() -> Colours:
    """The colours of maps from low to high, as they look over mid grey."""
    values = np.broadcast_to(np.linspace(0, 1, WIDTH, dtype=np.float32), (12, WIDTH))
    return overlaid(np.full((12, WIDTH, 3), _NEUTRAL, np.uint8), np.full((12, WIDTH), BACKGROUND, np.uint8), values)


def _resized(array: NDArray, resampling: Image.Resampling = Image.Resampling.BILINEAR) -> NDArray:
    """A picture or a map, `WIDTH` pixels wide."""
    height = max(1, round(WIDTH * array.shape[0] / array.shape[1]))
    if array.shape[:2] == (height, WIDTH):
        return array
    return np.asarray(Image.fromarray(array).resize((WIDTH, height), resampling))


def _shrunk(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return _resized(mask, Image.Resampling.NEAREST)


def _image(colours: Colours, alt: str, kind: str = "picture") -> Html:
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "WEBP", quality=80, method=6)
    height, width = colours.shape[:2]
    source = data_uri(stream.getvalue(), "image/webp")
    return element("img", src=source, alt=alt, width=width, height=height, class_=kind)
