"""The committed pocket pack: whole, disjoint, credited, large enough."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from vlrepro.data.pack import Pack, Row, read_manifest
from vlrepro.data.sources.pocket_build import icon_names
from vlrepro.data.sources.pocket_build.readme import design_of, pack_table

POCKET = Path(__file__).parents[1] / "resources/pocket"
TRAINING = ("pretrain", "reference", "heldout")
EMOJI_SETS = ("openmoji", "openmoji_line", "fluent_flat", "fluent_contrast", "roles", "faces")
SETS = (*EMOJI_SETS, "openclipart", "digits")
MB = 1_000_000


@pytest.fixture(scope="module")
def packs() -> dict[str, Pack]:
    return {name: Pack(POCKET / name) for name in (*TRAINING, *SETS)}


@pytest.fixture(scope="module")
def pictures(packs: dict[str, Pack]) -> dict[str, list[tuple[Row, bytes, Image.Image]]]:
    return {
        name: [
            (row, pack.picture(number), Image.open(io.BytesIO(pack.picture(number))))
            for number, row in enumerate(pack.rows)
        ]
        for name, pack in packs.items()
    }


def test_every_file_has_the_digest_of_its_manifest() -> None:
    manifests = sorted(POCKET.glob("*/SHA256SUMS"))
    assert [path.parent.name for path in manifests] == sorted((*TRAINING, *SETS))
    for manifest in manifests:
        sums = read_manifest(manifest.parent)
        assert {path.name for path in manifest.parent.iterdir()} == {*sums, "SHA256SUMS"}
        for name, digest in sums.items():
            assert hashlib.sha256((manifest.parent / name).read_bytes()).hexdigest() == digest, name


def test_the_whole_pack_fits_into_a_repository() -> None:
    assert sum(path.stat().st_size for path in POCKET.rglob("*") if path.is_file()) <= 40 * MB


def test_every_picture_decodes_and_shows_something(
    pictures: dict[str, list[tuple[Row, bytes, Image.Image]]],
) -> None:
    for entries in pictures.values():
        for row, _, image in entries:
            rgba = image.convert("RGBA")
            low, high = rgba.getchannel("A").getextrema()
            assert rgba.size == (48, 48) == (row.width, row.height), row.key
            assert high > 0, row.key
            assert (low == 255) == (row.mask_offset == -2), row.key


def test_no_picture_and_no_source_is_twice_in_the_packs(
    pictures: dict[str, list[tuple[Row, bytes, Image.Image]]],
) -> None:
    contents, sources = Counter(), Counter()
    for entries in pictures.values():
        contents.update(hashlib.sha256(data).hexdigest() for _, data, _ in entries)
        sources.update(row.source for row, _, _ in entries)
    assert contents.most_common(1)[0][1] == 1
    assert sources.most_common(1)[0][1] == 1


def test_no_decoded_picture_straddles_the_training_partitions(
    pictures: dict[str, list[tuple[Row, bytes, Image.Image]]],
) -> None:
    home: dict[bytes, str] = {}
    for name in TRAINING:
        for row, _, image in pictures[name]:
            assert home.setdefault(image.convert("RGBA").convert("RGBa").tobytes(), name) == name, row.key


def test_pretrain_is_large_and_has_many_designs(packs: dict[str, Pack]) -> None:
    rows = packs["pretrain"].rows
    assert len(rows) >= 5000
    assert len({design_of(row.source) for row in rows}) >= 6
    assert min(len(packs[name]) for name in ("reference", "heldout")) >= 750


def test_families_of_the_evaluation_sets_are_unseen_in_training(packs: dict[str, Pack]) -> None:
    def families(names: tuple[str, ...]) -> set[str]:
        return {
            word for name in names for row in packs[name].rows for word in ("openmoji", "fluent") if word in row.source
        }

    assert families(TRAINING) == set()
    assert families(EMOJI_SETS) == {"openmoji", "fluent"}
    trained = {row.source.split("@")[1] for name in TRAINING for row in packs[name].rows}
    assert trained.isdisjoint(row.source.split("@")[1] for name in EMOJI_SETS for row in packs[name].rows)


def test_what_is_held_out_was_seen_twice_in_other_designs(packs: dict[str, Pack]) -> None:
    seen = defaultdict(set)
    for row in packs["pretrain"].rows:
        seen[row.concept].add(design_of(row.source))
    for name in ("reference", "heldout"):
        for row in packs[name].rows:
            assert len(seen[row.concept] - {design_of(row.source)}) >= 2, row.key


def test_classes_have_enough_pictures_in_every_split(packs: dict[str, Pack]) -> None:
    for name in SETS:
        classes = defaultdict(Counter)
        for row in packs[name].rows:
            classes[row.label][row.split] += 1
        assert len(classes) >= 9, name
        for label, splits in classes.items():
            assert set(splits) == {"train", "val", "test"}, (name, label)
            assert splits["test"] >= 6, (name, label)
            assert splits["train"] >= 8, (name, label)
        total = sum(classes.values(), Counter())
        assert 0.26 <= total["test"] / total.total() <= 0.37, name
    assert len({row.label for row in packs["roles"].rows}) >= 15


def test_training_packs_have_captions_authors_and_no_split(packs: dict[str, Pack]) -> None:
    for name in TRAINING:
        for row in packs[name].rows:
            assert row.caption == row.caption.lower().strip() != ""
            assert set(json.loads(row.captions_other)) == {"de", "es", "fr", "ja"}
            assert json.loads(row.keywords)
            assert row.label == row.group != ""
            assert "2018-01-01" <= row.date <= "2020-12-31"
            assert row.author.startswith("author-")
            assert row.split == ""
    activity = Counter(row.author for row in packs["pretrain"].rows).most_common()
    assert 40 <= len(activity) <= 60
    assert activity[0][1] > 5 * activity[len(activity) // 2][1], "a heavy tail"


def test_keys_are_plain_and_json_members_fit_one_tar_block(packs: dict[str, Pack]) -> None:
    for name, pack in packs.items():
        assert all(set(row.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for row in pack.rows)
        with tarfile.open(POCKET / name / "shard-000000.tar") as tar:
            assert max(member.size for member in tar if member.name.endswith(".json")) <= 512


def test_skin_tones_are_only_in_roles_and_stay_in_one_split(packs: dict[str, Pack]) -> None:
    homes = {name for name, pack in packs.items() for row in pack.rows if "skin tone" in row.caption}
    assert homes == {"roles"}
    splits = defaultdict(set)
    for row in packs["roles"].rows:
        splits[design_of(row.source), row.caption.split(":")[0]].add(row.split)
    assert {len(found) for found in splits.values()} == {1}


def test_every_licence_and_package_is_credited(packs: dict[str, Pack]) -> None:
    lines = (POCKET / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| `")]
    for name, pack in packs.items():
        for package, licence in {(row.source.rsplit(":", 1)[0], row.licence) for row in pack.rows}:
            package = package.removesuffix(":load_digits")
            credited = [line for line in table if f"`{package}`" in line]
            assert len(credited) == 1, package
            assert f"[{licence}](" in credited[0]
            assert name in credited[0].split("|")[-2].replace(",", " ").split()


def test_the_readmes_table_is_that_of_the_packs() -> None:
    assert pack_table(POCKET) in (POCKET / "README.md").read_text(encoding="utf-8")


def test_names_read_by_hand_are_slugs_of_concepts_in_the_pack(packs: dict[str, Pack]) -> None:
    known = {row.concept for pack in packs.values() for row in pack.rows}
    wanted = {slug for names in icon_names.BY_HAND.values() for slug in names.values() if slug}
    assert wanted <= known
