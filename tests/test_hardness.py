"""The hardest pictures by a scorer's ranks, against transformers' own logits and plain sorting."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import COLOURS, SHAPES, shape_pictures
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import WORDS, save_bert, save_clip
from transformers import CLIPModel, CLIPProcessor

from vlrepro.captions.ranking import name_vectors, rank_pictures
from vlrepro.captions.scorer import load_scorer
from vlrepro.captions.stand_ins import train_stand_in
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.evaluation.hardness import hardest

CAPTIONS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
NAMES = [f"{word}{' photo' * (number % 3)}" for number, word in enumerate(WORDS[:8])]  # the tiny CLIP reads first words


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    write_pack(folder, shape_pictures(20))
    return Pack(folder)


@pytest.fixture
def truth(pack):
    return [NAMES[CAPTIONS.index(row.caption)] for row in pack.rows]


def test_the_hardest_by_hand():
    assert hardest([0, 5, 2, 5, 9], 0.4) == [1, 4]  # 9, then the first of two fives
    assert hardest([0, 5, 2, 5, 9], 0.6) == [1, 3, 4]
    assert hardest([3, 3, 3, 3], 0.5) == [0, 1]
    assert hardest([0, 1], 1.0) == [0, 1]
    assert hardest([4, 7, 1], 0.01) == [1]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.floats(0.01, 1))
def test_no_picture_left_out_is_harder(ranks, share):
    found = hardest(ranks, share)
    assert found == sorted(set(found))
    assert len(found) == max(1, round(share * len(ranks)))
    limit = min(ranks[position] for position in found)
    assert all(ranks[position] <= limit for position in set(range(len(ranks))) - set(found))
    tied = [position for position, rank in enumerate(ranks) if rank == limit]
    taken = [position for position in found if ranks[position] == limit]
    assert taken == tied[: len(taken)]


def test_other_shares_and_no_pictures_are_refused():
    for share in (0, -0.2, 1.1, float("nan")):
        with pytest.raises(UserError, match=r"a share of .*: give one above 0 and at most 1"):
            hardest([1, 2], share)
    with pytest.raises(UserError, match="there is no picture to choose from"):
        hardest([], 0.2)


def clip_logits(clip, pack):
    """CLIP's own logits (n, C) in one forward pass over everything."""
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    pixels = list(Pictures(pack, 24).batch(range(len(pack))))
    with torch.inference_mode():
        return model(**processor(images=pixels, text=NAMES, return_tensors="pt", padding=True)).logits_per_image


@pytest.mark.parametrize("batch_size", [3, 100])
def test_ranks_are_those_of_clips_logits(clip, pack, truth, batch_size):
    found = rank_pictures(clip, pack.folder, NAMES, truth, batch_size, threads=1)
    expected = []
    for scores, name in zip(clip_logits(clip, pack).tolist(), truth, strict=True):
        own = scores[NAMES.index(name)]
        expected.append(sum(score > own for score in scores))
    assert found == expected
    assert len(set(found)) > 3
    chosen = hardest(found, 0.2)
    assert sorted(found)[-4:] == sorted(found[position] for position in chosen)


def test_names_may_come_in_any_order(clip, pack, truth):
    ahead = rank_pictures(clip, pack.folder, NAMES, truth, 8, 1)
    assert rank_pictures(clip, str(pack.folder), NAMES[::-1], truth, 8, 1) == ahead


def test_name_vectors_are_unit_rows(clip):
    rows = name_vectors(load_scorer(clip), NAMES, 3)
    assert rows.shape == (8, 8)
    assert np.allclose(rows.norm(dim=1), 1, atol=1e-6)


def test_a_stand_in_ranks_the_right_names_first(pack, tmp_path):
    write_pack(tmp_path / "reference", shape_pictures(48, seed=1))
    encoder = {"model": str(save_bert(tmp_path / "bert"))}
    options = {"encoder": encoder, "units": 64, "width": 16, "epochs": 40, "batch_size": 24, "draws": 4}
    recipe = {"kind": "scorer", "options": options, "seed": 0, "threads": 1}
    train_stand_in(recipe, Pack(tmp_path / "reference"), tmp_path / "scorer")
    found = rank_pictures(tmp_path / "scorer", pack.folder, CAPTIONS, [row.caption for row in pack.rows], 8, 1)
    assert np.mean(found) < 2  # by chance 3.5


def test_names_that_do_not_fit_are_refused(clip, pack, truth):
    with pytest.raises(UserError, match=r"names to rank: 1 names repeat .*'red' is there 2 times"):
        rank_pictures(clip, pack.folder, [*NAMES, NAMES[0]], truth)
    with pytest.raises(UserError, match="names to rank: class 0 of 9 has no name"):
        rank_pictures(clip, pack.folder, ["", *NAMES], truth)
    with pytest.raises(UserError, match="19 names for 20 pictures: give each picture its own"):
        rank_pictures(clip, pack.folder, NAMES, truth[1:])
    with pytest.raises(UserError, match=r"picture p0019 is 'a cat', not among the 8 names: add it"):
        rank_pictures(clip, pack.folder, NAMES, [*truth[:-1], "a cat"])


def test_a_picture_that_does_not_decode_is_named(clip, tmp_path):
    broken = shape_pictures(4)
    broken[2] = replace(broken[2], data=b"no picture")
    write_pack(tmp_path / "broken", broken)
    with pytest.raises(UserError, match="picture p0002: does not decode"):
        rank_pictures(clip, tmp_path / "broken", CAPTIONS, [one.caption for one in broken])
