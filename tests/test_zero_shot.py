"""Zero-shot classification against open_clip, plain loops and a hand-made encoder; ties; names and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import build_zero_shot_classifier

from vlrepro.errors import UserError
from vlrepro.evaluation.zero_shot import check_names, class_vectors, outcomes, ranks
from vlrepro.randomness import torch_generator

NAMES = ["red circle", "blue circle", "red square", "old crane", "crane", "tabby", "bow"]
TEMPLATES = ["a photo of a {}.", "a drawing of the {}.", "{}", "itap of a {}."]
WIDTH = 12


class Encoder:
    """What open_clip asks of a model: every text has an embedding of its own, of some length."""

    def encode_text(self, tokens, normalize=False):
        rows = torch.stack([embed(int(token)) for token in tokens])
        return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows


def embed(token):
    return 5 * torch.rand(1, generator=torch_generator(token)) * torch.randn(WIDTH, generator=torch_generator(token, 1))


def tokenise(texts):
    return torch.tensor([sum(ord(letter) * 31**place % 9973 for place, letter in enumerate(text)) for text in texts])


def embedded():
    """Features (C, T, d) of all names in all templates."""
    tokens = tokenise([template.format(name) for name in NAMES for template in TEMPLATES])
    return Encoder().encode_text(tokens).unflatten(0, (len(NAMES), len(TEMPLATES)))


def features(count, seed=0, width=WIDTH):
    return 10 * torch.randn(count, width, generator=torch_generator(seed, "pictures"))


def looped_rank(picture, classes, own):
    """Count class by class, in float64."""
    scores = [float(np.dot(picture, row) / np.linalg.norm(picture)) for row in classes]
    return sum(score > scores[own] or (score == scores[own] and i < own) for i, score in enumerate(scores))


def test_the_classifier_is_that_of_open_clip():
    theirs = build_zero_shot_classifier(Encoder(), tokenise, NAMES, TEMPLATES, num_classes_per_batch=3)
    torch.testing.assert_close(class_vectors(embedded()), theirs.T)


def test_the_classifier_by_hand():
    # Two templates, one of them 100 times as long: each counts the same, so the mean points between them.
    vectors = class_vectors(torch.tensor([[[3.0, 0.0], [0.0, 300.0]], [[0.0, -2.0], [0.0, -1.0]]]))
    half = 0.5**0.5
    torch.testing.assert_close(vectors, torch.tensor([[half, half], [0.0, -1.0]]))
    assert vectors.dtype == torch.float32
    assert class_vectors(embedded().double()).dtype == torch.float32


@pytest.mark.parametrize("top", [1, 3, 7])
def test_hits_are_those_of_open_clip(top):
    classes, pictures = class_vectors(embedded()), features(200)
    truth = torch.arange(200) % len(NAMES)
    logits = 100 * torch.nn.functional.normalize(pictures, dim=1) @ classes.T
    expected = (logits.topk(top, dim=1).indices == truth[:, None]).any(1)  # open_clip's accuracy counts these
    assert torch.equal(outcomes(ranks(pictures, classes, truth), top, len(NAMES)), expected)
    assert 0 < expected.sum() < 200 or top == 7


def test_ranks_against_a_loop():
    classes, pictures = class_vectors(embedded()), features(40)
    truth = torch.randint(len(NAMES), (40,), generator=torch_generator(1))
    expected = [looped_rank(*row) for row in zip(pictures.numpy(), [classes.numpy()] * 40, truth.tolist(), strict=True)]
    found = ranks(pictures, classes, truth)
    assert found.dtype == torch.int64
    assert found.tolist() == expected
    assert len(set(expected)) > 4


def test_a_hand_made_encoder_is_ranked_by_hand():
    classes = torch.eye(3)
    pictures = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1e-30, 2e-30], [1e30, 2e30, -1e30], [-1.0, -2.0, -3.0]])
    orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 1, 2]]  # class numbers from the nearest
    for number in range(3):
        expected = [order.index(number) for order in orders]
        assert ranks(pictures, classes, torch.full((4,), number)).tolist() == expected


@pytest.mark.parametrize("size", [3e38, 1e-38])
def test_features_at_the_ends_of_single_precision_are_ranked(size):
    classes, truth = class_vectors(embedded()), torch.arange(40) % len(NAMES)
    pictures = size * features(40).sign() * (0.5 + 0.5 * torch.rand(40, WIDTH, generator=torch_generator(9)))
    rows = zip(pictures.double().numpy(), [classes.double().numpy()] * 40, truth.tolist(), strict=True)
    assert ranks(pictures, classes, truth).tolist() == [looped_rank(*row) for row in rows]


def test_a_picture_that_says_nothing_of_any_class_is_right_by_chance():
    classes = class_vectors(embedded())
    for pictures in (torch.zeros(7, WIDTH), torch.ones(7, WIDTH) * classes.mean(0)):
        found = ranks(pictures, classes[:1].expand(7, -1), torch.arange(7))
        assert found.tolist() == list(range(7))


@pytest.mark.parametrize("width", [3, 7, 12, 130])
@pytest.mark.parametrize("count", [3, 5, 33])
def test_classes_of_one_name_tie_wherever_they_lie(count, width):
    # Every class twice: equal columns fall into different blocks of a matrix product, which may round them differently.
    rows = torch.nn.functional.normalize(features(count, 2, width), dim=1)
    pictures, truth = features(30, 3, width), torch.arange(30) % count
    first, second = (ranks(pictures, torch.cat([rows, rows]), truth + shift) for shift in (0, count))
    assert torch.equal(first, 2 * ranks(pictures, rows, truth))  # both copies of every class ahead
    assert torch.equal(second, first + 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6))
def test_every_place_is_some_class_for_every_picture(count, n_classes, width, seed):
    # Small whole numbers tie often: still each of a picture's classes has a rank of its own.
    drawn = [torch_generator(seed, name) for name in ("pictures", "classes")]
    pictures = torch.randint(-2, 3, (count, width), generator=drawn[0]).float()
    classes = torch.randint(-2, 3, (n_classes, width), generator=drawn[1]).float()
    found = torch.stack([ranks(pictures, classes, torch.full((count,), own)) for own in range(n_classes)])
    assert torch.equal(found.sort(0).values, torch.arange(n_classes)[:, None].expand(-1, count))


@settings(max_examples=20, deadline=None)
@given(st.integers(-60, 60), st.integers(0, 10**6))
def test_a_pictures_length_does_not_matter(exponent, seed):
    classes, pictures, truth = class_vectors(embedded()), features(30, seed), torch.arange(30) % len(NAMES)
    assert torch.equal(ranks(pictures * 2.0**exponent, classes, truth), ranks(pictures, classes, truth))


def test_many_pictures_are_ranked_as_few(monkeypatch):
    classes, pictures, truth = class_vectors(embedded()), features(100), torch.arange(100) % len(NAMES)
    whole = ranks(pictures, classes, truth)
    monkeypatch.setattr("vlrepro.evaluation.zero_shot._CHUNK", 7 * len(NAMES))
    assert torch.equal(ranks(pictures, classes, truth), whole)
    assert ranks(pictures[:0], classes, truth[:0]).tolist() == []


def test_outcomes_are_ranks_below_the_limit():
    found = torch.tensor([0, 1, 2, 4, 5])
    assert outcomes(found, 1, 6).tolist() == [True, False, False, False, False]
    assert outcomes(found, 5, 6).tolist() == [True, True, True, True, False]
    assert outcomes(found, 5, 6).dtype == torch.bool
    for top in (0, 7):
        with pytest.raises(UserError, match=f"top-{top} accuracy over 6 classes: ask for top 1 to 6"):
            outcomes(found, top, 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_named(value):
    classes, pictures, texts = class_vectors(embedded()), features(5), embedded()
    pictures[3, 2] = texts[4, 1, 0] = value
    with pytest.raises(UserError, match=r"picture features: 1 of 5 hold NaN or infinity \(first: picture 3\)"):
        ranks(pictures, classes, torch.zeros(5, dtype=torch.int64))
    with pytest.raises(UserError, match=r"text features: 1 of 7 hold NaN or infinity \(first: class 4\)"):
        class_vectors(texts)
    with pytest.raises(UserError, match=r"class vectors: 1 of 7 .*class 4"):
        ranks(features(5), texts[:, 1], torch.zeros(5, dtype=torch.int64))


def test_shapes_that_do_not_fit_are_refused():
    classes, truth = class_vectors(embedded()), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(UserError, match=r"\(5, 3\) and class vectors \(7, 12\) cannot be compared"):
        ranks(torch.zeros(5, 3), classes, truth)
    with pytest.raises(UserError, match=r"5 pictures with class numbers \(4,\)"):
        ranks(features(5), classes, truth[:4])
    for number in (-1, 7):
        with pytest.raises(UserError, match="number the 7 classes 0 to 6"):
            ranks(features(5), classes, truth + number)
    with pytest.raises(UserError, match=r"text features \(7, 0, 12\): give classes x templates x width"):
        class_vectors(embedded()[:, :0])


def test_names_are_each_there_and_repeat_only_as_allowed():
    check_names(NAMES)
    imagenet = ["missile", "sunglasses", "tench", "missile", "sunglasses"]
    check_names(imagenet, 2)
    with pytest.raises(UserError, match=r"ImageNet: 2 names repeat earlier ones where 1 may \('missile' is there 2"):
        check_names(imagenet, 1, "ImageNet")
    with pytest.raises(UserError, match=r"1 names repeat .*'red circle' is there 2 times"):
        check_names([*NAMES, " red  circle"])
    for missing in ("", "  ", None):
        with pytest.raises(UserError, match="class names: class 7 of 8 has no name: name every class"):
            check_names([*NAMES, missing], 5)
