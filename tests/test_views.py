"""What a step trains on: its pictures, neighbours, augmentations and captions, in one process and in several."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.randomness import torch_generator
from vlrepro.training import views
from vlrepro.training.views import Views, read_pairs, read_texts

STRONG = {"flip": 0.5, "jitter": (0.4, 0.4, 0.4, 0.1), "jitter_probability": 0.8, "grey_probability": 0.2}
STRONG |= {"blur_probability": 0.5, "blur_kernel": 3}
STILL = Augment(AugmentationOptions(size=24, scale=(1.0, 1.0), ratio=(1.0, 1.0), mean=(0, 0, 0), std=(1, 1, 1)))
AUGMENT = Augment(AugmentationOptions(size=16, scale=(0.3, 1.0), **STRONG))


@pytest.fixture
def pictures(shape_pack):
    return Pictures(Pack(shape_pack), 24)


def rings(width):
    """Each picture with the next `width` ones."""
    return (torch.arange(64)[:, None] + torch.arange(1 + width)) % 64


def seen(view, pictures):
    """The positions of unchanged pictures; with equal pictures, the first."""
    originals = pictures.batch(range(64)) / 255
    return [int((originals - picture).abs().amax((1, 2, 3)).argmin()) for picture in view]


def as_rank(patch, number, world):
    patch.setattr(views, "rank", lambda: number)
    patch.setattr(views, "world_size", lambda: world)


def test_two_views_are_drawn_as_ever(pictures):
    """The definition of the bits of every run so far: order, positions and augmentation."""
    pairs, step = rings(1), 5
    batch = Views(pictures, pairs, [AUGMENT, AUGMENT], 16, 7).step(step)
    order = torch.randperm(64, generator=torch_generator(7, 1, 0, "order of an epoch"))
    chosen = pairs[order[16:32]]
    for number, view in enumerate(batch.views):
        expected = AUGMENT(pictures.batch(chosen[:, number]), torch_generator(7, step, 0, f"view {number}"))
        assert torch.equal(view, expected)
    assert batch.texts is None
    assert batch.step == step


def test_views_beyond_the_second_are_of_the_picture(pictures):
    batch = Views(pictures, rings(1), [STILL] * 4, 16, 0).step(0)
    first, second, third, fourth = (seen(view, pictures) for view in batch.views)
    assert first == third == fourth
    assert second == [(position + 1) % 64 for position in first]


def test_each_view_has_its_augmentation_and_no_pairs_means_itself(pictures):
    small = Augment(AugmentationOptions(size=8, scale=(1.0, 1.0)))
    batch = Views(pictures, read_pairs(None, pictures), [STILL, STILL, small], 16, 0).step(0)
    assert [view.shape[-1] for view in batch.views] == [24, 24, 8]
    assert torch.equal(batch.views[0], batch.views[1])


def test_an_epoch_is_every_picture_once(pictures):
    source = Views(pictures, rings(1), [STILL], 16, 0, torch.arange(64.0)[:, None])
    steps = [source.step(step).texts.flatten().tolist() for step in range(8)]
    epochs = [list(itertools.chain.from_iterable(steps[start : start + 4])) for start in (0, 4)]
    assert len(source) == 64
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(64))
    assert epochs[0] != epochs[1]


def test_one_of_several_neighbours_is_drawn_each_step(pictures):
    pairs = rings(3)
    pairs[::2, 3] = -1  # every other picture has two neighbours only
    source, again = (Views(pictures, pairs, [STILL, STILL], 64, 0) for _ in range(2))
    counts = torch.zeros(64, 4)
    for step in range(300):
        neighbours = source._neighbours(torch.arange(64), step)
        counts[torch.arange(64), (neighbours - torch.arange(64)) % 64] += 1
    assert counts[:, 0].sum() == 0
    assert counts[::2, 3].sum() == 0
    assert torch.all((counts[::2, 1:3] - 150).abs() < 5 * 75**0.5)  # five standard deviations
    assert torch.all((counts[1::2, 1:] - 100).abs() < 5 * 67**0.5)
    assert torch.equal(again._neighbours(torch.arange(64), 299), neighbours)


@pytest.mark.parametrize("width", [1, 3])
def test_ranks_see_together_what_one_process_sees(pictures, monkeypatch, width):
    arguments = (pictures, rings(width), [AUGMENT] * 3, 16, 0, torch.arange(64.0)[:, None])
    whole = Views(*arguments).step(6)
    parts = []
    for number in range(4):
        as_rank(monkeypatch, number, 4)
        parts.append(Views(*arguments).step(6))
    assert torch.equal(torch.cat([part.texts for part in parts]), whole.texts)
    for number, view in enumerate(whole.views):
        joint = torch.cat([part.views[number] for part in parts])
        assert torch.allclose(joint, view, atol=1e-5)  # products of other sizes may round differently


def test_a_batch_that_the_processes_cannot_share(pictures, monkeypatch):
    as_rank(monkeypatch, 0, 3)
    with pytest.raises(UserError, match="batch_size 16 is no multiple of the 3 processes"):
        Views(pictures, rings(1), [STILL], 16, 0)


def test_pairs_keep_the_order_of_the_file(pictures, tmp_path):
    columns = {"source": ["p0003", "p0003", "p0001"], "neighbour": ["p0007", "p0002", "p0009"]}
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    assert read_pairs(tmp_path / "pairs.parquet", pictures).tolist() == [[3, 7, 2], [1, 9, -1]]
    pq.write_table(pa.table(columns).slice(0, 0), tmp_path / "none.parquet")
    assert read_pairs(tmp_path / "none.parquet", pictures).shape == (0, 2)


def write_texts(folder, rows, keys):
    pq.write_table(pa.table({"key": keys}), folder / "captions.parquet")
    write_embeddings(folder / "texts.safetensors", rows, {})
    return folder / "texts.safetensors", folder / "captions.parquet"


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
def test_captions_follow_their_pictures_and_those_without_are_left_out(pictures, tmp_path, kind):
    positions = torch.randperm(64, generator=torch_generator(0))[:40]
    rows = torch.stack((positions, positions + 100), 1).to(kind)
    texts = read_texts(*write_texts(tmp_path, rows, [f"p{number:04d}" for number in positions.tolist()]), pictures)
    assert texts.dtype == kind
    source = Views(pictures, rings(1), [STILL, STILL], 20, 0, texts)
    assert len(source) == 40
    seen_texts = torch.cat([source.step(step).texts for step in range(2)])
    assert torch.equal(seen_texts[seen_texts[:, 0].argsort()], rows[positions.argsort()])
    batch = source.step(0)
    # Drawings of one shape and colour may be equal; those that the caption names must be what is seen.
    assert torch.equal(batch.views[0], pictures.batch(batch.texts[:, 0].long()) / 255)


def test_texts_of_other_captions_or_pictures(pictures, tmp_path):
    path, captions = write_texts(tmp_path, torch.ones(2, 3), ["p0001"])
    with pytest.raises(UserError, match=r"texts.safetensors: 2 rows for the 1 of .*captions.parquet"):
        read_texts(path, captions, pictures)
    path, captions = write_texts(tmp_path, torch.ones(1, 3), ["nobody"])
    with pytest.raises(UserError, match=r"captions.parquet: picture 'nobody' is not in"):
        read_texts(path, captions, pictures)
