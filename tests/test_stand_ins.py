"""The stand-ins: what they learn on a toy pack, that they repeat, and that they load like the real ones."""

import numpy as np
import pytest
import torch
from conftest import shape_pictures
from safetensors.torch import load_file
from tiny_checkpoints import save_bert

from vlrepro.captions.captioner import caption_pack
from vlrepro.captions.fitting import whiten
from vlrepro.captions.layout import LayoutConfig, LayoutModel, oriented_edges
from vlrepro.captions.noise import Caption
from vlrepro.captions.scorer import score_pack
from vlrepro.captions.sources import write_captions
from vlrepro.captions.stand_in_captioner import described, word_tokenizer
from vlrepro.captions.stand_in_scorer import choice_loss, look_alikes
from vlrepro.captions.stand_ins import train_stand_in
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError

ASKED = {"revision": None, "prompt": "", "max_new_tokens": 6, "num_beams": 1, "batch_size": 16, "threads": 1}


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """A pack to learn from and another with the same eight concepts at other places."""
    folder = tmp_path_factory.mktemp("packs")
    write_pack(folder / "reference", shape_pictures(48))
    write_pack(folder / "new", shape_pictures(32, seed=1))
    return Pack(folder / "reference"), Pack(folder / "new")


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    encoder = {"model": str(save_bert(tmp_path_factory.mktemp("bert")))}
    common = {"pack": "reference", "seed": 0, "threads": 1, "revision": 1}
    captioner = {"views": 2, "width": 32, "epochs": 10, "batch_size": 8, "learning_rate": 0.01}
    scorer = {"encoder": encoder, "units": 64, "width": 16, "epochs": 80, "batch_size": 24, "draws": 4}
    return {
        "captioner": common | {"kind": "captioner", "options": captioner},
        "scorer": common | {"kind": "scorer", "options": scorer},
    }


@pytest.fixture(scope="module")
def trained(packs, recipes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for kind, recipe in recipes.items():
        train_stand_in(recipe, packs[0], folder / kind)
    return folder


def test_captioner_names_new_pictures(packs, trained, tmp_path):
    captions = caption_pack(ASKED, packs[1], trained / "captioner", tmp_path / "state")
    right = [caption == f"{row.caption}, shape" for caption, row in zip(captions, packs[1].rows, strict=True)]
    assert np.mean(right) > 0.4  # chance is 1 in 8
    other = caption_pack(ASKED | {"batch_size": 5}, packs[1], trained / "captioner", tmp_path / "five")
    assert other == captions
    with pytest.raises(UserError, match=r"captioner .*: takes no prompt: leave prompt empty"):
        caption_pack(ASKED | {"prompt": "a photo of"}, packs[1], trained / "captioner", tmp_path / "prompt")


def test_scorer_prefers_the_right_caption(packs, trained, tmp_path):
    rows = packs[1].rows
    scores = []
    for name, shift in (("right", 0), ("wrong", 3)):
        path = tmp_path / f"{name}.parquet"
        write_captions(path, [(r, Caption(rows[(i + shift) % 32].caption, name)) for i, r in enumerate(rows)], {})
        found = score_pack(ASKED, packs[1], path, trained / "scorer", tmp_path / name)
        scores.append(np.array(list(found.values())))
    assert np.mean(scores[0] > scores[1]) > 0.8


@pytest.mark.parametrize("kind", ["captioner", "scorer"])
def test_training_repeats_bit_by_bit(kind, packs, recipes, trained, tmp_path):
    torch.manual_seed(123)  # the global state before must not matter
    train_stand_in(recipes[kind], packs[0], tmp_path / "again")
    first, second = (load_file(folder / "model.safetensors") for folder in (trained / kind, tmp_path / "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    train_stand_in(recipes[kind] | {"seed": 1}, packs[0], tmp_path / "again")  # takes the old one's place
    third = load_file(tmp_path / "again" / "model.safetensors")
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_only_the_scorers_own_weights_are_trained(recipes, trained):
    weights = load_file(trained / "scorer" / "model.safetensors")
    encoder = load_file(f"{recipes['scorer']['options']['encoder']['model']}/model.safetensors")
    kept = {name: tensor for name, tensor in encoder.items() if not name.startswith("pooler")}
    assert len(kept) > 10
    assert all(torch.equal(weights[f"text_model.{name}"], tensor) for name, tensor in kept.items())


def test_a_failed_training_leaves_nothing(packs, recipes, tmp_path):
    with pytest.raises(UserError, match="stand-in options: no option 'epoch': there are views"):
        train_stand_in(recipes["captioner"] | {"options": {"epoch": 3}}, packs[0], tmp_path / "out" / "model")
    bare = shape_pictures(4)
    object.__setattr__(bare[1], "caption", " ")
    write_pack(tmp_path / "bare", bare)
    with pytest.raises(UserError, match="bare: picture p0001 has no caption"):
        train_stand_in(recipes["captioner"], Pack(tmp_path / "bare"), tmp_path / "out" / "model")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_word_tokenizer_gives_captions_back():
    captions = ["red  ellipse", "t-shirt", "woman’s hat: blue"]
    tokenizer = word_tokenizer(captions)
    ids = tokenizer(captions, padding=True)["input_ids"]
    back = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert back == ["red ellipse", "t-shirt", "woman’s hat: blue"]
    assert ids[1][1] == tokenizer.eos_token_id


def test_oriented_edges_of_a_step():
    # Left half black, right half white: all edges point across, so only the first orientation's window is full.
    picture = torch.zeros(1, 3, 24, 24)
    picture[..., 12:] = 1
    edges = oriented_edges(picture, 6, 8)
    assert edges.shape == (1, 8, 3, 3)
    assert edges[0].sum((1, 2)).argmax() == 0
    turned = oriented_edges(picture.mT.contiguous(), 6, 8)
    assert turned[0].sum((1, 2)).argmax() == 4  # a quarter turn is half of the half turn that counts
    assert torch.allclose(oriented_edges(1 - picture, 6, 8), edges, atol=1e-5)  # the edge's sign does not count
    assert oriented_edges(torch.full((1, 3, 24, 24), 0.5), 6, 8).abs().max() == 0


def test_memory_hands_back_what_it_stored():
    torch.manual_seed(0)
    pictures = torch.rand(5, 3, 24, 24)
    tower = LayoutModel(
        LayoutConfig(image_size=24, units=5, activation="softmax", sharpness=200.0, hidden_size=4)
    ).eval()
    with torch.no_grad():
        tower.mean.copy_(tower.describe(pictures).mean(0))
        tower.keys.weight.copy_(tower.layout(pictures))
        output = tower(pictures)
    assert torch.allclose(output.pooler_output, tower.values.weight.T, atol=1e-2)
    assert torch.allclose(tower.layout(pictures).norm(dim=1), torch.ones(5), atol=1e-5)
    assert output.last_hidden_state.shape == (5, 1, 4)


def test_described_adds_keywords_that_say_more(packs):
    row = packs[0].rows[0]
    assert (row.caption, described(row, 0), described(row, 2)) == ("red ellipse", "red ellipse", "red ellipse, shape")


def test_whitened_layouts_have_even_variances():
    # Adding the mean variance m to a variance v leaves v / (v + m) of it; the tower whitens alike.
    torch.manual_seed(0)
    tower = LayoutModel(LayoutConfig(image_size=24, units=1)).eval()
    pictures = torch.rand(40, 3, 24, 24)
    raw = tower.layout(pictures)
    before, axes = torch.linalg.eigh(torch.cov(raw.T))
    rows = whiten(tower, raw.unsqueeze(0))[0]
    after = torch.diagonal(axes.T @ torch.cov((raw @ tower.whitening).T) @ axes)
    assert torch.allclose(after, before / (before + before.mean()), atol=1e-4)
    assert torch.allclose(tower.layout(pictures), rows, atol=1e-5)


def test_choice_loss_against_a_loop():
    torch.manual_seed(0)
    pictures, own, rivals = (
        torch.nn.functional.normalize(torch.randn(*s), dim=-1) for s in ((4, 5), (4, 5), (4, 3, 5))
    )
    expected = 0.0
    for picture, mine, others in zip(pictures, own, rivals, strict=True):
        scores = [3 * float(picture @ text) for text in (mine, *others)]
        expected -= scores[0] - np.log(np.exp(scores).sum())
    assert choice_loss(pictures, own, rivals, 3.0).item() == pytest.approx(expected / 4, rel=1e-5)


def test_look_alikes_have_other_captions():
    rows = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.2]]), dim=1)
    chance = look_alikes(rows, ["cat", "dog", "cow", "cat"], 5.0)
    others = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]])  # 0 where the caption is the same
    weights = torch.exp(5 * rows @ rows.T) * others
    assert torch.allclose(chance, weights / weights.sum(1, keepdim=True))
    assert (chance[others == 0] == 0).all()
    assert look_alikes(rows, ["cat"] * 4, 5.0).isfinite().all()


def test_scorer_rates_captions_that_tell_nothing_below_faithful_ones(packs, trained, tmp_path):
    rows = packs[1].rows
    scores = {}
    for name, text in (("faithful", None), ("empty", "what do you think?")):
        path = tmp_path / f"{name}.parquet"
        write_captions(path, [(row, Caption(text or row.caption, name)) for row in rows], {})
        scores[name] = np.array(list(score_pack(ASKED, packs[1], path, trained / "scorer", tmp_path / name).values()))
    assert np.mean(scores["faithful"] > scores["empty"]) > 0.8
