"""Builds the pocket pack: archives in, packs out, bit for bit."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from vlrepro.data.pack import write_pack
from vlrepro.data.sources.pocket_build import drawing, transfer
from vlrepro.data.sources.pocket_build.archives import unpack_all
from vlrepro.data.sources.pocket_build.concepts import Concept, NameTable, read_concepts, read_shortcodes
from vlrepro.data.sources.pocket_build.designs import (
    EVALUATION,
    FLUENT_CONTRAST,
    FLUENT_FLAT,
    OPENMOJI,
    OPENMOJI_LINE,
    PRETRAIN,
    Design,
    Drawing,
    IconSet,
    file_drawings,
    icon_drawings,
    known_names,
    match_icons,
    read_icon_set,
)
from vlrepro.data.sources.pocket_build.icon_names import BY_HAND
from vlrepro.data.sources.pocket_build.items import Item, base_name, draw_all, without_copies
from vlrepro.data.sources.pocket_build.partition import MIN_TEST, MIN_TRAIN, partition, split_set, twins
from vlrepro.data.sources.pocket_build.people import Authors
from vlrepro.data.sources.pocket_build.readme import readme
from vlrepro.errors import UserError
from vlrepro.files import write_text

TOOLS = {"pillow": "13.0.0", "resvg_py": "0.5.0", "scikit-learn": "1.9.1", "numpy": "2.4.6", "pyarrow": "26.0.1"}
PARTITIONS = {"heldout": 800, "reference": 800}  # wanted pictures; pretrain keeps the rest
SETS = {
    OPENMOJI: "openmoji",
    OPENMOJI_LINE: "openmoji_line",
    FLUENT_FLAT: "fluent_flat",
    FLUENT_CONTRAST: "fluent_contrast",
}
UNMATCHED = "flags, symbols, skin tones or second drawings, or whose name matches no concept"
FACE = "face-"
ROLE_GROUP = "person-role"


def check_tools() -> None:
    """Refuse to build with other versions of the tools than the committed packs were built with.

    Another libwebp or libpng gives other bytes. Raises `UserError` that names every difference.
    """
    wrong = [f"{name} {version(name)} (wants {wanted})" for name, wanted in TOOLS.items() if version(name) != wanted]
    if wrong:
        raise UserError(f"the pocket pack's tools: {', '.join(wrong)}: install these versions, or use --any-tools")


class Sources:
    """The unpacked archives, read: concepts, icon sets and the table of icon names."""

    def __init__(self, roots: dict[str, Path]) -> None:
        self.roots = roots
        self.concepts = read_concepts(roots["emojibase-data"])
        self.toned = read_concepts(roots["emojibase-data"], tones=True)
        packages = {design.package for design in (*PRETRAIN, *EVALUATION)} - {OPENMOJI_LINE.package}
        self.sets: dict[str, IconSet] = {package: read_icon_set(roots[package]) for package in sorted(packages)}
        known = [known_names(self.sets[f"@iconify-json/{name}"]) for name in ("noto", "twemoji")]
        self.table = NameTable(self.concepts, known, read_shortcodes(roots["emojibase-data"]))

    def drawings(self, design: Design, concepts: list[Concept]) -> list[Drawing]:
        """The drawings a design has for `concepts`, in their order."""
        if design == OPENMOJI_LINE:
            return file_drawings(design, self.roots[design.package], "black/svg", concepts)
        icons = self.sets[design.package]
        by_hand = BY_HAND.get(design.name, {})
        return icon_drawings(design, icons, match_icons(icons, concepts, self.table, by_hand), concepts)


def build(sources: Path, work: Path, out: Path, jobs: int) -> tuple[dict[str, str], Counter[str]]:
    """Build every pack below `out`; return pack name -> digest, and what was dropped and why.

    `sources` holds or receives the archives, `work` the unpacked files.
    """
    read = Sources(unpack_all(sources, work))
    counts: Counter[str] = Counter()
    parts = training_partitions(read, jobs, counts) | evaluation_sets(read, jobs, counts)
    check_apart(parts)
    digests = {}
    for name in sorted(parts):
        shutil.rmtree(out / name, ignore_errors=True)
        ordered = sorted((item.picture for item in parts[name]), key=lambda picture: picture.key)
        digests[name] = write_pack(out / name, ordered)
    return digests, counts


def training_partitions(read: Sources, jobs: int, counts: Counter[str]) -> dict[str, list[Item]]:
    """`pretrain`, `reference` and `heldout`: pictures of the pretrain designs, signed by synthetic authors."""
    items: list[Item] = []
    for design in PRETRAIN:
        drawings = read.drawings(design, read.concepts)
        icons = read.sets[design.package]
        if not icons.chars:
            counts[f"icons of {design.name} that are {UNMATCHED}"] = len(icons.data["icons"]) - len(drawings)
        items += draw_all(drawings, jobs, counts)
    items = without_copies(items, counts)
    clusters = twins(items)
    counts["pictures with a near copy, kept in one partition"] = sum(n for n in Counter(clusters).values() if n > 1)
    authors = Authors(sorted({item.picture.group for item in items}))
    return partition([authors.signed(item) for item in items], clusters, PARTITIONS)


def evaluation_sets(read: Sources, jobs: int, counts: Counter[str]) -> dict[str, list[Item]]:
    """Every evaluation set, with labels and splits."""
    seen: set[str] = set()
    pools: dict[str, list[Item]] = {"faces": []}
    for design, name in SETS.items():
        items = without_copies(draw_all(read.drawings(design, read.concepts), jobs, counts), counts, seen)
        away = [item for item in items if design != OPENMOJI and item.picture.label.startswith(FACE)]
        pools["faces"] += [item.labelled(item.picture.label, item.picture.concept) for item in away]
        pools[name] = [item for item in items if item not in away]
    pools["roles"] = _roles(read, jobs, counts, seen)
    pools["openclipart"] = without_copies(transfer.clipart(read.roots["openclipart-png"], counts), counts, seen)
    pools["digits"] = without_copies(transfer.digits(version("scikit-learn")), counts, seen)
    authors = Authors(sorted({concept.subgroup for concept in read.concepts}))
    invented = {name for name in pools if name not in {"openclipart", "digits"}}
    pools = {
        name: [authors.signed(item) for item in pool] if name in invented else pool for name, pool in pools.items()
    }
    return {name: split_set(name, pool, counts) for name, pool in pools.items()}


def _roles(read: Sources, jobs: int, counts: Counter[str], seen: set[str]) -> list[Item]:
    """People by occupation in five skin tones, of two designs; a drawing's tones are one unit."""
    people = [concept for concept in read.toned if concept.subgroup == ROLE_GROUP and "-" not in concept.tone]
    items: list[Item] = []
    for design in (FLUENT_FLAT, OPENMOJI):
        items += without_copies(draw_all(read.drawings(design, people), jobs, counts), counts, seen)
    return [item.labelled(base_name(item.picture.caption), _untoned(item)) for item in items]


def _untoned(item: Item) -> str:
    return f"{item.design}:{item.picture.caption.split(': ')[0]}"


def check_apart(parts: dict[str, list[Item]]) -> None:
    """Assert that no picture (by bytes, pixels or source) is in two packs, and that heldout concepts are seen."""
    for trait in ("content", "pixels", "source"):
        home: dict[str, str] = {}
        for name, items in parts.items():
            for item in items:
                value = item.picture.source if trait == "source" else getattr(item, trait)
                if home.setdefault(value, name) != name:
                    raise UserError(f"{item.picture.key}: its {trait} is in {home[value]} and {name}: mend the builder")
    seen = {item.picture.concept for item in parts["pretrain"]}
    unseen = {item.picture.concept for name in PARTITIONS for item in parts[name]} - seen
    if unseen:
        raise UserError(f"concepts outside pretrain: {', '.join(sorted(unseen)[:5])}: mend the builder")


def write_readme(out: Path, counts: Counter[str]) -> None:
    """Write `README.md` beside the packs."""
    numbers = {"size": drawing.SIZE, "levels": drawing.ALPHA_LEVELS, "quality": drawing.QUALITY}
    text = readme(out, counts, TOOLS, min_test=MIN_TEST, min_train=MIN_TRAIN, **numbers)
    write_text(out / "README.md", text)
