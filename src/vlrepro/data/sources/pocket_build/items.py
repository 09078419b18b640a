"""The unit the builder works on: an encoded picture with what it takes to partition and de-duplicate it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256

from PIL import Image

from vlrepro.data.pack import Picture
from vlrepro.data.sources.pocket_build import drawing
from vlrepro.data.sources.pocket_build.concepts import slugify
from vlrepro.data.sources.pocket_build.designs import Drawing

_WHO = re.compile(r"\b(man|woman|men|women|person|people|facing right)\b")


@dataclass(frozen=True)
class Item:
    """A picture to be packed, the digest of its visible pixels, a thumbnail and the unit it is split with."""

    picture: Picture
    design: str
    pixels: str
    thumb: bytes
    unit: str  # pictures of one unit never stand in two splits of a set

    @property
    def content(self) -> str:
        """SHA-256 of the encoded bytes."""
        return sha256(self.picture.data).hexdigest()

    def labelled(self, label: str, unit: str | None = None) -> Item:
        """The same item with another class name and, where given, another unit."""
        return replace(self, picture=replace(self.picture, label=label), unit=unit or self.unit)


def base_name(label: str) -> str:
    """A concept without who does it: "woman cook: dark skin tone" and "man cook" -> "cook".

    Pictures that differ only in this are near copies, so they are split together.
    """
    return slugify(_WHO.sub("", label.split(": ")[0] if "skin tone" in label else label)) or slugify(label)


def make_item(image: Image.Image, fields: Picture, design: str, unit: str, lossless: bool = False) -> Item:
    """Encode `image` into the picture that `fields` describes."""
    data = drawing.encode(image, lossless)
    mask = drawing.has_mask(image)
    picture = replace(fields, data=data, width=image.width, height=image.height, mask_in_alpha=mask)
    return Item(picture, design, drawing.pixel_digest(image), drawing.thumbnail(image), unit)


def draw(task: Drawing) -> Item | None:
    """Render one drawing; None where nothing is drawn."""
    image = drawing.render_svg(task.svg)
    if drawing.is_empty(image):
        return None
    concept = task.concept
    fields = Picture(
        key=f"{task.design.name}-{concept.slug}",
        data=b"",
        suffix=".webp",
        width=0,
        height=0,
        caption=concept.label,
        captions_other=concept.captions_other,
        keywords=json.dumps(concept.keywords, ensure_ascii=False),
        label=concept.subgroup,
        concept=concept.slug,
        group=concept.subgroup,
        source=task.source,
        licence=task.design.licence,
    )
    return make_item(image, fields, task.design.name, base_name(concept.label), task.design.lossless)


def draw_all(tasks: list[Drawing], jobs: int, counts: Counter[str]) -> list[Item]:
    """Render drawings with `jobs` processes, in order; empty renders are dropped and counted."""
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            items = list(pool.map(draw, tasks, chunksize=16))
    else:
        items = [draw(task) for task in tasks]
    counts["empty renders dropped"] += sum(item is None for item in items)
    return [item for item in items if item is not None]


def without_copies(items: Iterable[Item], counts: Counter[str], seen: set[str] | None = None) -> list[Item]:
    """Keep the first of the items that show the same pixels or have the same bytes; `seen` grows over calls."""
    seen = set() if seen is None else seen
    kept = []
    for item in items:
        if item.pixels in seen or item.content in seen:
            counts["identical drawings dropped"] += 1
            continue
        seen |= {item.pixels, item.content}
        kept.append(item)
    return kept
