"""The designs (drawing styles) of the pocket pack and the drawings each has for our concepts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vlrepro.data.sources.pocket_build.archives import BY_NAME
from vlrepro.data.sources.pocket_build.concepts import Concept, NameTable, normal_hexcode


@dataclass(frozen=True)
class Design:
    """One drawing style: where it comes from, its family, its licence (SPDX) and how it is encoded."""

    name: str
    package: str
    family: str
    licence: str
    lossless: bool = False  # one-colour drawings compress better without loss


PRETRAIN = (
    Design("emojione", "@iconify-json/emojione", "emojione", "CC-BY-4.0"),
    Design("emojione-v1", "@iconify-json/emojione-v1", "emojione", "CC-BY-SA-4.0"),
    Design("fxemoji", "@iconify-json/fxemoji", "fxemoji", "CC-BY-4.0"),
    Design("noto", "@iconify-json/noto", "noto", "Apache-2.0"),
    Design("noto-v1", "@iconify-json/noto-v1", "noto", "Apache-2.0"),
    Design("streamline", "@iconify-json/streamline-emojis", "streamline", "CC-BY-4.0"),
    Design("twemoji", "@iconify-json/twemoji", "twemoji", "CC-BY-4.0"),
)
OPENMOJI = Design("openmoji", "@iconify-json/openmoji", "openmoji", "CC-BY-SA-4.0")
OPENMOJI_LINE = Design("openmoji-line", "openmoji", "openmoji", "CC-BY-SA-4.0", lossless=True)
FLUENT_FLAT = Design("fluent-flat", "@iconify-json/fluent-emoji-flat", "fluent", "MIT")
FLUENT_CONTRAST = Design("fluent-contrast", "@iconify-json/fluent-emoji-high-contrast", "fluent", "MIT", lossless=True)
EVALUATION = (OPENMOJI, OPENMOJI_LINE, FLUENT_FLAT, FLUENT_CONTRAST)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{}">{}</svg>'


@dataclass(frozen=True)
class Drawing:
    """One SVG drawing of a concept in a design; `source` names package, version and file or icon."""

    design: Design
    concept: Concept
    source: str
    svg: str


@dataclass(frozen=True)
class IconSet:
    """An icon set in the Iconify JSON format: its `icons.json`, and name -> hexcode where `chars.json` says it."""

    data: dict
    chars: dict[str, str]


def read_icon_set(root: Path) -> IconSet:
    """Read an unpacked Iconify package."""
    data = json.loads((root / "icons.json").read_text(encoding="utf-8"))
    chars = json.loads((root / "chars.json").read_text(encoding="utf-8"))
    return IconSet(data, {name: normal_hexcode(hexcode) for hexcode, name in sorted(chars.items())})


def icon_svg(icons: IconSet, name: str) -> str:
    """The SVG of icon `name` (not an alias): its body in the set's view box."""
    icon = icons.data["icons"][name]
    box = [icon.get(key, icons.data.get(key, default)) for key, default in _BOX.items()]
    return SVG.format(" ".join(map(str, box)), icon["body"])


_BOX = {"left": 0, "top": 0, "width": 16, "height": 16}


def known_names(icons: IconSet) -> dict[str, str]:
    """Every name and alias of a set with code points -> hexcode."""
    names = dict(icons.chars)
    for alias, rule in icons.data.get("aliases", {}).items():
        if rule["parent"] in icons.chars and alias not in names:
            names[alias] = icons.chars[rule["parent"]]
    return names


def match_icons(
    icons: IconSet, concepts: list[Concept], table: NameTable, by_hand: Mapping[str, str]
) -> dict[str, str]:
    """Hexcode -> icon name: by code points where the set has them, else `by_hand`, else by `table`.

    `by_hand` maps names to slugs, or to "" for icons to leave out.
    One icon is given to one concept only, and one concept gets one icon: the one with the better tier, then the
    first by name.
    """
    if icons.chars:
        return _by_chars(icons, concepts)
    slugs = {concept.slug: concept.hexcode for concept in concepts}
    found = []
    for name, icon in icons.data["icons"].items():
        if name in by_hand:
            found += [(-1, slugs[by_hand[name]], name)] if by_hand[name] else []
        elif not icon.get("hidden") and (hit := table.find(_names_of(icons, name))):
            found.append((*hit, name))
    chosen: dict[str, str] = {}
    for _, hexcode, name in sorted(found):
        chosen.setdefault(hexcode, name)
    return chosen


def _by_chars(icons: IconSet, concepts: list[Concept]) -> dict[str, str]:
    wanted = {concept.hexcode for concept in concepts}
    chosen: dict[str, str] = {}
    for name, hexcode in sorted(icons.chars.items()):
        if hexcode in wanted and name in icons.data["icons"]:
            chosen.setdefault(hexcode, name)
    return chosen


def _names_of(icons: IconSet, name: str) -> list[str]:
    aliases = icons.data.get("aliases", {})
    named = sorted(alias for alias, rule in aliases.items() if set(rule) == {"parent"} and rule["parent"] == name)
    return [name, *named, re.sub(r"-\d$", "", name)]  # "cloud-1" and "cloud-2" are two drawings of a cloud


def icon_drawings(design: Design, icons: IconSet, matches: dict[str, str], concepts: list[Concept]) -> list[Drawing]:
    """Drawings of a design in the order of `concepts`."""
    reference = BY_NAME[design.package].reference
    drawn = [concept for concept in concepts if concept.hexcode in matches]
    return [
        Drawing(
            design,
            concept,
            f"{reference}:{matches[concept.hexcode]}",
            icon_svg(icons, matches[concept.hexcode]),
        )
        for concept in drawn
    ]


def file_drawings(design: Design, root: Path, folder: str, concepts: list[Concept]) -> list[Drawing]:
    """Drawings of a package that holds one SVG file a concept, named by its code points in capitals."""
    files = {normal_hexcode(path.stem): path for path in sorted((root / folder).glob("*.svg"), reverse=True)}
    reference = BY_NAME[design.package].reference
    return [
        Drawing(
            design,
            concept,
            f"{reference}:{folder}/{files[concept.hexcode].name}",
            files[concept.hexcode].read_text(encoding="utf-8"),
        )
        for concept in concepts
        if concept.hexcode in files
    ]
