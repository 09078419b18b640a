"""The program that builds the pocket pack, on synthetic archives, drawings and icon sets."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.data.sources.pocket_build import archives, drawing
from vlrepro.data.sources.pocket_build.build import Sources, check_apart, training_partitions
from vlrepro.data.sources.pocket_build.concepts import Concept, NameTable, slugify
from vlrepro.data.sources.pocket_build.designs import EVALUATION, OPENMOJI_LINE, PRETRAIN
from vlrepro.data.sources.pocket_build.items import Item, base_name, draw_all
from vlrepro.data.sources.pocket_build.partition import partition, split_class, twins
from vlrepro.data.sources.pocket_build.people import Authors
from vlrepro.errors import UserError


def test_rendering_keeps_aspect_centre_and_colour() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><rect width="20" height="10" fill="#f00"/></svg>'
    pixels = np.asarray(drawing.render_svg(svg))
    assert pixels.shape == (48, 48, 4)
    assert (pixels[14:34, 1:47] == [255, 0, 0, 255]).all()
    assert (pixels[:11, :, 3] == 0).all()
    assert (pixels[37:, :, 3] == 0).all()
    assert np.array_equal(pixels[:, :, 3], pixels[::-1, :, 3])


def test_alpha_levels_are_sixteen_and_the_nearest() -> None:
    levels = [drawing.alpha_level(value) for value in range(256)]
    assert sorted(set(levels)) == [17 * step for step in range(16)]
    assert all(abs(level - value) <= 8 for value, level in enumerate(levels))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_encoding_keeps_alpha_exactly(seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 4), dtype=np.uint8)
    for lossless in (False, True):
        back = Image.open(io.BytesIO(drawing.encode(Image.fromarray(pixels), lossless))).convert("RGBA")
        assert np.array_equal(np.asarray(back)[..., 3], pixels[..., 3])


def item_of(key: str, concept: str, unit: str, shade: int = 0, label: str = "a") -> Item:
    thumb = np.full((12, 12, 4), shade, np.uint8)
    picture = Picture(key=key, data=key.encode(), suffix=".webp", width=1, height=1, concept=concept, label=label)
    return Item(replace(picture, group=label), "d", key, thumb.tobytes(), unit)


def test_near_copies_share_a_cluster_also_when_mirrored() -> None:
    half = np.zeros((12, 12, 4), np.uint8)
    half[:, :6] = 255
    left, right = half.tobytes(), half[:, ::-1].tobytes()
    items = [
        replace(item_of(str(n), "c", unit), thumb=thumb)
        for n, (unit, thumb) in enumerate([("cook", left), ("cook", right), ("cook", bytes(576)), ("judge", left)])
    ]
    clusters = twins(items)
    assert clusters[0] == clusters[1]
    assert len(set(clusters)) == 3


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 30)), min_size=1, max_size=60, unique=True), st.integers(1, 20)
)
@settings(max_examples=60, deadline=None)
def test_partitions_leave_two_pictures_of_a_concept_and_tear_no_cluster(
    pairs: list[tuple[int, int]], size: int
) -> None:
    items = [item_of(f"k{concept}-{n}", f"c{concept}", "u") for concept, n in pairs]
    clusters = [n % 25 for _, n in pairs]
    parts = partition(items, clusters, {"heldout": size, "reference": size})
    assert sorted(item.picture.key for part in parts.values() for item in part) == sorted(i.picture.key for i in items)
    home = {item.picture.key: name for name, part in parts.items() for item in part}
    left = Counter(item.picture.concept for item in parts["pretrain"])
    for name in ("heldout", "reference"):
        assert all(left[item.picture.concept] >= 2 for item in parts[name])
    for cluster in set(clusters):
        assert len({home[item.picture.key] for item, own in zip(items, clusters, strict=True) if own == cluster}) == 1


@given(st.lists(st.integers(1, 6), min_size=8, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_class_is_split_by_unit_in_the_wanted_shares(sizes: list[int]) -> None:
    items = [item_of(f"{u}-{n}", "c", f"u{u}") for u, size in enumerate(sizes) for n in range(size)]
    done = split_class("set", "a", items)
    assert [item.picture.key for item in done] == [item.picture.key for item in items]
    homes = defaultdict(set)
    for item in done:
        homes[item.unit].add(item.picture.split)
    assert all(len(found) == 1 for found in homes.values())
    test = sum(item.picture.split == "test" for item in done)
    assert abs(test - max(6, 0.3 * len(items))) <= 4


def test_authors_depend_on_the_picture_alone_and_prefer_their_groups() -> None:
    groups = [f"g{n}" for n in range(40)]
    items = [item_of(f"k{n}", "c", "u", label=f"g{n % 40}") for n in range(2000)]
    authors = Authors(groups)
    signed = [authors.signed(item).picture for item in items]
    assert signed[7] == Authors(groups).signed(items[7]).picture
    seen = defaultdict(Counter)
    for picture in signed:
        seen[picture.group][picture.author] += 1
    shares = [counter.most_common(4) for counter in seen.values()]
    assert np.mean([sum(n for _, n in top) for top in shares]) > 0.5 * 2000 / 40


def concept_of(hexcode: str, label: str) -> Concept:
    return Concept(hexcode, label, slugify(label), "g", ("k",), "{}")


def test_names_that_mean_two_concepts_mean_none() -> None:
    table = NameTable(
        [concept_of("1f408", "cat"), concept_of("1f431", "cat face"), concept_of("1f415", "dog")],
        [{"kitty": "1f408"}, {"kitty": "1f431", "doggo": "1f415"}],
        {"1f415": {"hound", "cat"}},
    )
    assert table.find(["cat"]) == (0, "1f408"), "a label wins over a shortcode"
    assert table.find(["kitty"]) is None
    assert table.find(["doggo"]) == (1, "1f415")
    assert table.find(["nothing", "hound"]) == (3, "1f415")


@pytest.mark.parametrize(
    ("label", "base"),
    [
        ("woman cook: dark skin tone", "cook"),
        ("man cook", "cook"),
        ("person", "person"),
        ("family: man, boy", "family-boy"),
    ],
)
def test_base_names_forget_who_does_it(label: str, base: str) -> None:
    assert base_name(label) == base


LABELS = ("red apple", "sad dog", "tall tower", "man cook", "woman cook", "old ship", "blue car", "small bird")


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_concepts(root: Path) -> list[str]:
    codes = [f"1F{number:03X}" for number in range(len(LABELS))]
    entries = [
        {"label": label, "hexcode": code, "tags": ["tag"], "group": 0, "subgroup": 0}
        for label, code in zip(LABELS, codes, strict=True)
    ]
    for language in ("en", "de", "es", "fr", "ja"):
        write_json(root / language / "data.json", entries)
    write_json(root / "meta/groups.json", {"groups": {"0": "things"}, "subgroups": {"0": "thing"}})
    for preset in ("cldr", "emojibase", "joypixels", "github", "iamcal", "emojibase-legacy"):
        write_json(root / f"en/shortcodes/{preset}.json", {})
    return codes


def shape(design: int, number: int) -> str:
    colour = f"rgb({37 * design % 256},{71 * number % 256},{11 * design * number % 256})"
    return f'<circle cx="{5 + design}" cy="{4 + number}" r="{3 + number % 3}" fill="{colour}"/>'


def write_sources(root: Path) -> dict[str, Path]:
    """A synthetic world: every package with one simple drawing of every concept."""
    roots = {archive.name: root / str(number) for number, archive in enumerate(archives.ARCHIVES)}
    codes = write_concepts(roots["emojibase-data"])
    for number, design in enumerate((*PRETRAIN, *EVALUATION)):
        bodies = {slugify(label): {"body": shape(number, n)} for n, label in enumerate(LABELS)}
        if design == OPENMOJI_LINE:
            for code, body in zip(codes, bodies.values(), strict=True):
                path = roots[design.package] / "black/svg" / f"{code}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20">{body["body"]}</svg>')
            continue
        chars = dict(zip([code.lower() for code in codes], bodies, strict=True)) if number % 2 else {}
        write_json(roots[design.package] / "icons.json", {"icons": bodies, "width": 20, "height": 20})
        write_json(roots[design.package] / "chars.json", chars)
    roots["openclipart-png"].mkdir()
    return roots


def test_building_a_synthetic_world_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for number in range(2):
        read = Sources(write_sources(tmp_path / f"in{number}"))
        parts = training_partitions(read, 1, Counter())
        parts["line"] = draw_all(read.drawings(OPENMOJI_LINE, read.concepts), 1, Counter())
        check_apart(parts)
        assert {name: bool(part) for name, part in parts.items()} == dict.fromkeys(parts, True)
        digests.append(
            {
                name: write_pack(tmp_path / f"out{number}" / name, [item.picture for item in items])
                for name, items in parts.items()
            }
        )
    assert digests[0] == digests[1]
    both = [row for name in ("pretrain", "heldout") for row in Pack(tmp_path / "out0" / name).rows]
    assert {row.caption for row in both} == set(LABELS)


def test_a_picture_in_two_packs_is_refused() -> None:
    one = item_of("a", "c", "u")
    copy = replace(item_of("b", "c", "u"), pixels=one.pixels)
    with pytest.raises(UserError, match="b: its pixels is in pretrain and digits"):
        check_apart(
            {
                "pretrain": [replace(one, picture=replace(one.picture, source="1"))],
                "heldout": [],
                "reference": [],
                "digits": [replace(copy, picture=replace(copy.picture, source="2"))],
            }
        )
