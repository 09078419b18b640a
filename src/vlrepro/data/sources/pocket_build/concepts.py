"""What the drawings show: concepts, captions and keywords from emojibase-data, and the names icons go by."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("de", "es", "fr", "ja")
SKIPPED_GROUPS = frozenset({"component", "symbols", "flags"})
_SHORTCODES = ("cldr", "emojibase", "joypixels", "github", "iamcal", "emojibase-legacy")


@dataclass(frozen=True)
class Concept:
    """One thing that is drawn: its code points (`hexcode`, without variation selectors) and its words."""

    hexcode: str
    label: str
    slug: str
    subgroup: str
    keywords: tuple[str, ...]
    captions_other: str  # JSON object: language code -> label
    tone: str = ""  # "" or the skin tones as in emojibase, for example "3" or "1-5"


def slugify(text: str) -> str:
    """Lower-case ASCII words of `text` joined by hyphens: "o’clock piñata" -> "oclock-pinata"."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "").replace("'", ""))
    return re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode()).strip("-")


def normal_hexcode(hexcode: str) -> str:
    """Code points in lower case without the variation selectors FE0E and FE0F, which icon sets set freely."""
    return "-".join(part for part in hexcode.lower().split("-") if part not in {"fe0e", "fe0f"})


def read_concepts(root: Path, tones: bool = False) -> list[Concept]:
    """Concepts of emojibase-data in its own order, without flags, symbols and components.

    With `tones`, the skin-tone variants instead of the neutral entries. Two entries never share a slug.
    """
    other = {language: _labels(root / language / "data.json") for language in LANGUAGES}
    meta = json.loads((root / "meta" / "groups.json").read_text(encoding="utf-8"))
    concepts = {}
    for entry, keywords in _entries(root / "en" / "data.json", tones):
        if "group" not in entry or meta["groups"][str(entry["group"])] in SKIPPED_GROUPS:
            continue
        words = {language: labels[entry["hexcode"]] for language, labels in other.items()}
        tone = entry.get("tone", "")
        concept = Concept(
            hexcode=normal_hexcode(entry["hexcode"]),
            label=entry["label"].lower(),
            slug=slugify(entry["label"]),
            subgroup=meta["subgroups"][str(entry["subgroup"])],
            keywords=tuple(keywords),
            captions_other=json.dumps(words, ensure_ascii=False, sort_keys=True),
            tone="-".join(map(str, tone)) if isinstance(tone, list) else str(tone),
        )
        concepts.setdefault(concept.slug, concept)
    return list(concepts.values())


def _entries(path: Path, tones: bool) -> Iterator[tuple[dict, list[str]]]:
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if not tones:
            yield entry, entry.get("tags", [])
        for skin in entry.get("skins", []) if tones else []:
            yield skin, entry.get("tags", [])


def _labels(path: Path) -> dict[str, str]:
    labels = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        labels |= {item["hexcode"]: item["label"] for item in (entry, *entry.get("skins", []))}
    return labels


class NameTable:
    """Finds the concept an icon name stands for, for icon sets that do not say code points.

    Names are compared without hyphens, in tiers: the concept's own label, names that sets with code points
    give it, its Unicode character name, its shortcodes. A name that means two concepts in one tier means none.
    """

    def __init__(self, concepts: list[Concept], known: list[dict[str, str]], shortcodes: dict[str, set[str]]) -> None:
        """`known`: icon name -> hexcode of sets with code points; `shortcodes`: hexcode -> names."""
        by_hexcode = {concept.hexcode: concept for concept in concepts}
        self._tiers: list[dict[str, set[str]]] = [defaultdict(set) for _ in range(4)]
        for concept in concepts:
            self._tiers[0][_squeeze(concept.slug)].add(concept.hexcode)
            if "-" not in concept.hexcode:
                name = unicodedata.name(chr(int(concept.hexcode, 16)), "")
                self._tiers[2][_squeeze(slugify(name))].add(concept.hexcode)
            for name in shortcodes.get(concept.hexcode, ()):
                self._tiers[3][_squeeze(slugify(name))].add(concept.hexcode)
        for names in known:
            for name, hexcode in names.items():
                if hexcode in by_hexcode:
                    self._tiers[1][_squeeze(name)].add(hexcode)

    def find(self, names: list[str]) -> tuple[int, str] | None:
        """The first tier (0 to 3) and hexcode that one of `names` stands for, or None."""
        for number, tier in enumerate(self._tiers):
            for name in names:
                found = tier.get(_squeeze(name), set())
                if len(found) == 1:
                    return number, next(iter(found))
        return None


def read_shortcodes(root: Path) -> dict[str, set[str]]:
    """Hexcode -> every English shortcode of emojibase-data."""
    names: dict[str, set[str]] = defaultdict(set)
    for preset in _SHORTCODES:
        table = json.loads((root / "en" / "shortcodes" / f"{preset}.json").read_text(encoding="utf-8"))
        for hexcode, codes in table.items():
            names[normal_hexcode(hexcode)] |= {codes} if isinstance(codes, str) else set(codes)
    return names


def _squeeze(name: str) -> str:
    return name.replace("-", "")
