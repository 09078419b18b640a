"""A segmentation set made of two packs: objects with alpha masks pasted over backgrounds made of other pictures.

Emoji fill their canvas and sit at its centre, so a map that looks at no picture already scores well on them. Here an
object has a random size and place (`random`), or the same size over the same background at the centre (`centred`): the
two sets share keys, and the difference between them is what the centre is worth.

Backgrounds show nothing as a whole: an enlarged crop of a drawing, a blurred one, or a wallpaper of small ones, over a
random colour. A drawing comes from the object's own split, so that no test background is seen in training, and from a
class whose name shares no word with the object's. Edges still tell a sharp object from a smooth background;
`distractors` puts sharp drawings of other content under it. Everything drawn by lot is keyed by the object's key.

`contrast` is the share of the background that shows, the rest being white: small pretrained models have only seen
drawings on white, and a texture at full contrast buries the class. Objects and distractors stay as they are.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from vlrepro.data.decoding import OPAQUE
from vlrepro.data.fetch import bring
from vlrepro.data.pack import Pack, Picture, Row, write_pack
from vlrepro.errors import UserError
from vlrepro.randomness import numpy_generator

REVISION = 1

_SAME = {"peop": "pers", "beve": "drin", "home": "buil"}
"""Beginnings of words that mean the same in different packs."""


def fetch(recipe: Mapping[str, Any], folder: str | Path) -> None:
    """Compose the set of `recipe` (`ComposeConfig`, with the recipes of its two packs) as a pack in `folder`.

    Raises `UserError` where a pack is not as the recipe says or does not fit its part.
    """
    with tempfile.TemporaryDirectory() as scratch:
        packs = []
        for role in ("objects", "backgrounds"):
            bring(recipe[role], Path(scratch) / role)
            packs.append(Pack(Path(scratch) / role))
        write_pack(folder, compose(*packs, recipe))


def compose(objects: Pack, backgrounds: Pack, recipe: Mapping[str, Any]) -> Iterator[Picture]:
    """One picture for each object, in order, with its mask: 0 background, 1 object (alpha at least `OPAQUE`).

    Caption, label and split are the object's. Raises `UserError` where an object has no alpha mask or no background of
    other content is in its split.
    """
    subjects = [_subjects(row) for row in backgrounds.rows]
    for position, row in enumerate(objects.rows):
        mine = _subjects(row)
        others = [
            number
            for number, other in enumerate(backgrounds.rows)
            if other.split == row.split and not mine & subjects[number]
        ]
        if not others:
            raise UserError(
                f"{row.key}: no background of other content in the split {row.split!r}: choose another pack"
            )
        yield _composed(objects, position, backgrounds, others, recipe)


def _composed(objects: Pack, position: int, backgrounds: Pack, others: list[int], recipe: Mapping[str, Any]) -> Picture:
    row = objects.rows[position]
    generator = numpy_generator("composed", recipe["seed"], row.key)
    chosen = others[int(generator.integers(len(others)))]
    scene, kind = _background(_rgba(backgrounds, chosen), recipe["canvas"], generator)
    scene = _faded(scene, recipe["contrast"])
    made_of = f"{row.source} over {backgrounds.rows[chosen].source} ({kind})"
    layer = _placed(_cut_out(objects, position), recipe, generator, recipe["placement"] == "centred")
    generator = numpy_generator("composed", recipe["seed"], row.key, "distractors")  # the rest stays as without them
    for _ in range(recipe["distractors"]):
        number = others[int(generator.integers(len(others)))]
        scene = Image.alpha_composite(scene, _placed(_rgba(backgrounds, number), recipe, generator, False))
        made_of += f" with {backgrounds.rows[number].source}"
    licences = dict.fromkeys((row.licence, backgrounds.rows[chosen].licence))
    licence = " AND ".join(name for name in licences if name)
    return _picture(row, Image.alpha_composite(scene, layer), layer, made_of, licence)


def _subjects(row: Row) -> set[str]:
    """Beginnings of the words that say what a picture shows: four letters, so that plurals agree."""
    words = re.findall(r"[a-z]+", f"{row.label} {row.concept}".lower())
    return {_SAME.get(word[:4], word[:4]) for word in words if word not in ("and", "other")}


def _rgba(pack: Pack, position: int) -> Image.Image:
    with Image.open(io.BytesIO(pack.picture(position))) as picture:
        return picture.convert("RGBA")


def _cut_out(pack: Pack, position: int) -> Image.Image:
    """The object alone: the picture cropped to where its alpha is object."""
    picture = _rgba(pack, position)
    box = picture.getchannel("A").point(lambda value: 255 * (value >= OPAQUE)).getbbox()
    if pack.rows[position].mask_offset != -1 or box is None:
        raise UserError(f"{pack.rows[position].key}: no object in the alpha channel: choose a pack with alpha masks")
    return picture.crop(box)


def _scaled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resized with premultiplied colours, so that no fringe of the hidden colour appears."""
    return picture.convert("RGBa").resize(size, Image.Resampling.BICUBIC).convert("RGBA")


def _placed(
    picture: Image.Image, recipe: Mapping[str, Any], generator: np.random.Generator, centred: bool
) -> Image.Image:
    """A drawing on a transparent canvas; a place is drawn for a centred one too, so that both sets draw alike."""
    low, high = recipe["sides"]
    scale = int(generator.integers(low, high + 1)) / max(picture.size)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    free = [recipe["canvas"] - length for length in size]
    place = [int(generator.integers(length + 1)) for length in free]
    if centred:
        place = [length // 2 for length in free]
    layer = Image.new("RGBA", (recipe["canvas"],) * 2, (0, 0, 0, 0))
    layer.paste(_scaled(picture, size), tuple(place))
    return layer


def _background(picture: Image.Image, side: int, generator: np.random.Generator) -> tuple[Image.Image, str]:
    """An opaque scene of `side` x `side` pixels made of a drawing, and its kind."""
    colour = Image.new("RGBA", (side, side), (*generator.integers(64, 256, 3).tolist(), 255))
    kinds = {"enlarged": _enlarged, "blurred": _blurred, "tiled": _tiled}
    kind = sorted(kinds)[int(generator.integers(len(kinds)))]
    return Image.alpha_composite(colour, kinds[kind](picture, side, generator)), kind


def _faded(scene: Image.Image, contrast: float) -> Image.Image:
    """The opaque scene as white + contrast * (scene - white), rounded; at contrast 1 the very same bytes."""
    return scene.point([round(255 + contrast * (value - 255)) for value in range(256)] * len(scene.getbands()))


def _enlarged(picture: Image.Image, side: int, generator: np.random.Generator) -> Image.Image:
    """A crop of a quarter to half of the drawing's side around some ink of it."""
    length = max(1, int(min(picture.size) * generator.uniform(0.25, 0.5)))
    inked = np.argwhere(np.asarray(picture.getchannel("A")) >= OPAQUE)
    y, x = inked[int(generator.integers(len(inked)))].tolist() if len(inked) else (0, 0)
    left = min(max(0, x - length // 2), picture.width - length)
    top = min(max(0, y - length // 2), picture.height - length)
    return _scaled(picture.crop((left, top, left + length, top + length)), (side, side))


def _blurred(picture: Image.Image, side: int, generator: np.random.Generator) -> Image.Image:
    """The whole drawing, blurred until it shows no more than where its colours are."""
    large = _scaled(picture, (side, side)).convert("RGBa")
    return large.filter(ImageFilter.GaussianBlur(side * generator.uniform(0.04, 0.08))).convert("RGBA")


def _tiled(picture: Image.Image, side: int, generator: np.random.Generator) -> Image.Image:
    """A wallpaper of the drawing at a sixth to a third of the side, starting anywhere."""
    length = max(1, int(side * generator.uniform(1 / 6, 1 / 3)))
    tile = np.asarray(_scaled(picture, (length, length)))
    down, across = (np.arange(side) + int(generator.integers(length)) for _ in range(2))
    return Image.fromarray(tile[np.ix_(down % length, across % length)])


def _picture(row: Row, scene: Image.Image, layer: Image.Image, source: str, licence: str) -> Picture:
    mask = (np.asarray(layer.getchannel("A")) >= OPAQUE).astype(np.uint8)
    return Picture(
        key=row.key,
        data=_png(scene.convert("RGB")),
        suffix=".png",
        width=scene.width,
        height=scene.height,
        caption=row.caption,
        captions_other=row.captions_other,
        keywords=row.keywords,
        label=row.label,
        concept=row.concept,
        group=row.group,
        split=row.split,
        source=source,
        licence=licence,
        mask=_png(Image.fromarray(mask)),
    )


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
