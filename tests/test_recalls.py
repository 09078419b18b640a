"""Recall as tables want it: scores, examples by picture, weights, chance; and captions read from files."""

import math
from itertools import permutations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.errors import UserError
from vlrepro.evaluation.captioned import read_captioned
from vlrepro.evaluation.galleries import DIRECTIONS, Gallery, gallery_ranks, part_of
from vlrepro.evaluation.recalls import chance, nearest, recalled
from vlrepro.pairs.embeddings import write_embeddings


def unit(rows):
    return torch.nn.functional.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=1)


@pytest.fixture(scope="module")
def gallery():
    generator = torch.Generator().manual_seed(3)
    picture_of = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 5, 5])
    pictures = unit(torch.randn(6, 4, generator=generator))
    texts = unit(pictures[picture_of] + 0.8 * torch.randn(10, 4, generator=generator))
    return Gallery(pictures, texts, picture_of)


def counts(gallery, pictures):
    return torch.tensor([int((gallery.picture_of == number).sum()) for number in pictures])


def by_loops(gallery, pictures, direction, top):
    """Recall of a range of pictures, one query after the other, on float64 similarities without ties."""
    captions = [c for c in range(len(gallery.picture_of)) if int(gallery.picture_of[c]) in pictures]
    similar = gallery.captions.double() @ gallery.pictures.double().T
    found = []
    if direction == "text_to_image":
        for c in captions:
            order = sorted(pictures, key=lambda p: -float(similar[c, p]))
            found.append(int(gallery.picture_of[c]) in order[:top])
    else:
        for p in pictures:
            order = sorted(captions, key=lambda c: -float(similar[c, p]))
            found.append(any(int(gallery.picture_of[c]) == p for c in order[:top]))
    return sum(found) / len(found)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("top", [1, 2, 4])
def test_whole_gallery_is_the_recall_of_all_queries(gallery, direction, top):
    pictures = range(6)
    found = recalled([gallery_ranks(gallery, direction)], [counts(gallery, pictures)], direction, top)
    assert found["score"] == pytest.approx(by_loops(gallery, pictures, direction, top))
    assert len(found["examples"]) == 6
    weights = found["weights"] or [1 / 6] * 6
    assert sum(weights) == pytest.approx(1)
    assert sum(w * e for w, e in zip(weights, found["examples"], strict=True)) == pytest.approx(found["score"])
    assert bool(found["weights"]) == (direction == "text_to_image")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_batches_are_averaged_as_the_paper_does(gallery, direction):
    parts = [range(0, 3), range(3, 6)]
    ranks = [gallery_ranks(part_of(gallery, part), direction) for part in parts]
    found = recalled(ranks, [counts(gallery, part) for part in parts], direction, 1)
    mean = sum(by_loops(gallery, part, direction, 1) for part in parts) / 2
    assert found["score"] == pytest.approx(mean)
    assert (
        found["score"]
        >= recalled([gallery_ranks(gallery, direction)], [counts(gallery, range(6))], direction, 1)["score"] - 1 / 6
    )  # fewer others in each batch; captions weigh otherwise where batches have not as many
    assert len(found["examples"]) == 6


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("top", [1, 2, 3, 7])
def test_chance_is_the_mean_over_all_orders(direction, top):
    captions = torch.tensor([1, 2, 2])
    owner = [0, 1, 1, 2, 2]
    found = []
    if direction == "text_to_image":
        for order in permutations(range(3)):
            found += [own in order[:top] for own in owner]
    else:
        for order in permutations(range(5)):
            first = {owner[c] for c in order[:top]}
            found += [picture in first for picture in range(3)]
    assert chance(captions, direction, top) == pytest.approx(sum(found) / len(found))


def test_nearest_are_in_order_and_the_earlier_of_equal_ones_first():
    items = unit([[1, 0], [0, 1], [1, 0], [1, 1]])
    assert nearest(unit([[1, 0], [0, 1]]), items, 3).tolist() == [[0, 2, 3], [1, 3, 0]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pack of five pictures, one of them of another split, and six captions in files."""
    folder = tmp_path_factory.mktemp("captioned")
    splits = ["test", "train", "test", "test", "test"]
    pictures = [Picture(f"p{n}", bytes([n]), "png", 1, 1, split=split) for n, split in enumerate(splits)]
    write_pack(folder / "pack", pictures)
    keys = ["p3", "p0", "p3", "p1", "p4", "p0"]
    table = pa.table({"key": keys, "caption": [f"caption {n}" for n in range(6)]})
    pq.write_table(table, folder / "c-1.parquet")
    write_embeddings(folder / "e-1.safetensors", torch.arange(12.0).reshape(6, 2), {})
    return folder


def read(files, **more):
    entry = {"captions": [["c-1", "e-1"]], "splits": ["test"]} | more
    return read_captioned(Pack(files / "pack"), entry, files, files)


def test_captions_follow_their_pictures_and_pictures_without_are_left_out(files):
    found = read(files)
    assert found.positions.tolist() == [0, 3, 4]  # p1 is of another split, p2 has no caption
    assert found.picture_of.tolist() == [0, 0, 1, 1, 2]
    assert found.captions == ("caption 1", "caption 5", "caption 0", "caption 2", "caption 4")
    assert found.rows.tolist() == [[2, 3], [10, 11], [0, 1], [4, 5], [8, 9]]
    assert found.captions_of(range(1, 3)).tolist() == [2, 1]
    assert read(files, splits=["test", "train"]).positions.tolist() == [0, 1, 3, 4]


def test_a_part_a_batch_and_the_first_pictures_are_consecutive(files):
    found = read(files, splits=["test", "train"])
    assert found.ranges({}) == [range(0, 4)]
    assert found.ranges({"first": 3}) == [range(0, 3)]
    assert found.ranges({"first": 9}) == [range(0, 4)]
    assert found.ranges({"part": [2, 2]}) == [range(2, 4)]
    assert found.ranges({"batches": 2}) == [range(0, 2), range(2, 4)]
    assert found.ranges({"batches": 3}) == [range(0, 1), range(1, 2), range(2, 3)]  # the fourth picture is in none
    with pytest.raises(UserError, match="4 pictures do not fill 5 batch"):
        found.ranges({"batches": 5})


def test_the_head_keeps_the_captions_of_its_pictures(files):
    found = read(files).head(2)
    assert found.positions.tolist() == [0, 3]
    assert found.picture_of.tolist() == [0, 0, 1, 1]
    assert found.captions == ("caption 1", "caption 5", "caption 0", "caption 2")
    assert found.rows.tolist() == [[2, 3], [10, 11], [0, 1], [4, 5]]
    assert read(files).head(9).captions == read(files).captions


def test_so_many_captions_of_each(files):
    found = read(files, captions_each=1)
    assert found.captions == ("caption 1", "caption 0", "caption 4")
    assert math.isclose(float(found.rows.sum()), 5 + 1 + 17)


def test_captions_of_another_pack_are_refused(files, tmp_path):
    pq.write_table(pa.table({"key": ["nobody"], "caption": ["x"]}), tmp_path / "c-1.parquet")
    write_embeddings(tmp_path / "e-1.safetensors", torch.zeros(1, 2), {})
    entry = {"captions": [["c-1", "e-1"]], "splits": ["test"]}
    with pytest.raises(UserError, match="picture 'nobody' is not in"):
        read_captioned(Pack(files / "pack"), entry, tmp_path, tmp_path)
    with pytest.raises(UserError, match="no picture has a caption"):
        read_captioned(Pack(files / "pack"), entry | {"splits": ["val"], "captions": []}, tmp_path, tmp_path)
