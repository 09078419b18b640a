"""Label noise: its draws against the algorithms' laws, its losses against loops, and what it refuses."""

import math

import pytest
import torch
from framework_steps import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from vlrepro.errors import UserError
from vlrepro.frameworks import Batch, build_framework
from vlrepro.frameworks.clip import clip_loss, scaled_similarities
from vlrepro.frameworks.clip_label_noise import STRATEGIES, LabelNoise, Labels, draw, noisy_loss, realised_rate
from vlrepro.models.backbones import build_backbone

SENTENCES = {"text_tower": {"name": "sentence", "width": 5}, "joint_width": 6}
RATES = st.floats(0.05, 0.95)


def looped(pictures, texts, scale, captions, images):
    """The mean of both directions' cross entropies under given labels, row by row."""
    total, count = 0.0, len(pictures)
    for row in range(count):
        to_texts = [math.exp(scale * float(pictures[row] @ text)) for text in texts]
        to_pictures = [math.exp(scale * float(picture @ texts[row])) for picture in pictures]
        total -= math.log(to_texts[captions[row]] / sum(to_texts))
        total -= math.log(to_pictures[images[row]] / sum(to_pictures))
    return total / (2 * count)


@settings(deadline=None)
@given(st.integers(40, 200), RATES, st.integers(0, 5), st.integers(0, 10**6))
def test_reselection_moves_at_most_the_chosen_rows(count, rate, seed, step):
    labels = draw(LabelNoise("reselection", rate), count, seed, step).captions
    assert set(labels.tolist()) <= set(range(count))
    assert (labels != torch.arange(count)).sum() <= math.floor(rate * count + 0.5)


@settings(deadline=None)
@given(st.integers(40, 200), RATES, st.integers(0, 10**6), st.sampled_from(["permutation", "secondary"]))
def test_permutations_are_bijective_and_have_their_inverse(count, rate, step, strategy):
    captions, pictures = draw(LabelNoise(strategy, rate, "inverse"), count, 0, step)
    own = torch.arange(count)
    assert torch.equal(captions.sort().values, own)
    assert torch.equal(captions[pictures], own)
    assert torch.equal(pictures[captions], own)
    if strategy == "permutation":
        assert (captions != own).sum() <= math.floor(rate * count + 0.5)


def test_the_number_of_chosen_rows_is_the_rate_rounded():
    # What every draw leaves alone is at least N - k rows; over many draws each of k rows moves at some time.
    for rate, count, chosen in ((0.1, 64, 6), (0.3, 64, 19), (0.5, 7, 4), (0.9, 10, 9)):
        moved = [
            int((draw(LabelNoise("permutation", rate), count, 0, step).captions != torch.arange(count)).sum())
            for step in range(300)
        ]
        assert max(moved) == chosen


def test_reselection_is_uniform_over_all_labels():
    count, steps = 10, 4000
    found = torch.zeros(count, count)
    for step in range(steps):
        # At a rate of 0.95 all 10 rows are chosen.
        labels = draw(LabelNoise("reselection", 0.95), count, 7, step).captions
        found[torch.arange(count), labels] += 1
    assert all(chisquare(row).pvalue > 1e-5 for row in found.numpy())


def test_realised_rates_have_their_expected_values():
    """Re-selection: gamma (1 - 1/N); a permutation of k rows leaves one in place on average: (k - 1) / N."""
    count, steps = 32, 4000

    def mean(strategy, rate):
        noise = LabelNoise(strategy, rate)
        return sum(realised_rate(draw(noise, count, 0, step), noise) for step in range(steps)) / steps

    assert mean("reselection", 0.25) == pytest.approx(8 * (1 - 1 / count) / count, abs=2e-3)
    assert mean("permutation", 0.25) == pytest.approx((8 - 1) / count, abs=2e-3)
    assert mean("secondary", 0.25) == pytest.approx(0.25 / 1.25 * (1 - 1 / count), abs=1e-3)
    assert mean("secondary_blend", 0.25) == pytest.approx(0.25 * (1 - 1 / count), abs=1e-3)


def test_draws_depend_on_seed_and_step_alone():
    noise = LabelNoise("permutation", 0.5)
    torch.manual_seed(0)
    first = draw(noise, 64, 3, 5)
    torch.manual_seed(1)
    torch.rand(10)
    assert all(torch.equal(one, other) for one, other in zip(first, draw(noise, 64, 3, 5), strict=True))
    others = [draw(noise, 64, 3, 6), draw(noise, 64, 4, 5)]
    assert not any(torch.equal(first.captions, other.captions) for other in others)


def test_columns():
    noise = {columns: LabelNoise("reselection", 0.5, columns) for columns in ("shared", "independent", "clean")}
    labels = {columns: draw(entry, 64, 0, 0) for columns, entry in noise.items()}
    assert len({tuple(entry.captions.tolist()) for entry in labels.values()}) == 1
    assert torch.equal(labels["shared"].pictures, labels["shared"].captions)
    assert torch.equal(labels["clean"].pictures, torch.arange(64))
    assert not torch.equal(labels["independent"].pictures, labels["independent"].captions)
    # Only one direction is noisy, so half of the weight is.
    assert realised_rate(labels["clean"], noise["clean"]) == realised_rate(labels["shared"], noise["shared"]) / 2


@pytest.mark.parametrize(
    ("strategy", "true", "drawn"),
    [("reselection", 0.0, 1.0), ("permutation", 0.0, 1.0), ("secondary", 1.0, 0.3), ("secondary_blend", 0.7, 0.3)],
)
@pytest.mark.parametrize("columns", ["shared", "independent"])
def test_losses_equal_loops(strategy, true, drawn, columns):
    pictures, texts, own = unit_rows(9, 6), unit_rows(9, 6), list(range(9))
    noise = LabelNoise(strategy, 0.3, columns)
    labels = draw(noise, 9, 0, 0)
    ours = noisy_loss(scaled_similarities(pictures, texts, 5.0), labels, noise).item()
    captions, images = (part.tolist() for part in labels)
    theirs = true * looped(pictures, texts, 5.0, own, own) + drawn * looped(pictures, texts, 5.0, captions, images)
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_inverse_columns_are_captions_that_changed_places():
    """The loss under (pi, inverse of pi) is CLIP's loss on shuffled captions; under (pi, pi) it is another."""
    pictures, texts = unit_rows(12, 8), unit_rows(12, 8)
    noise = {columns: LabelNoise("permutation", 0.9, columns) for columns in ("inverse", "shared")}
    labels = {columns: draw(entry, 12, 0, 0) for columns, entry in noise.items()}
    losses = {
        columns: noisy_loss(scaled_similarities(pictures, texts, 4.0), labels[columns], entry).item()
        for columns, entry in noise.items()
    }
    shuffled = clip_loss(pictures, texts[labels["inverse"].captions], 4.0)[0].item()
    assert losses["inverse"] == pytest.approx(shuffled, abs=1e-9)
    assert abs(losses["shared"] - shuffled) > 1e-6


def test_orthonormal_pairs_have_a_closed_form():
    """A row with a wrong label costs the scale more: log(1 + (N - 1) e^-s) + s * (share of wrong labels)."""
    eye, scale, count = torch.eye(16, dtype=torch.float64), 3.0, 16
    noise = LabelNoise("reselection", 0.5)
    labels = draw(noise, count, 0, 1)
    wrong = (labels.captions != torch.arange(count)).double().mean().item()
    expected = math.log(1 + (count - 1) * math.exp(-scale)) + scale * wrong
    assert noisy_loss(scaled_similarities(eye, eye, scale), labels, noise).item() == pytest.approx(expected, abs=1e-12)


def test_true_labels_leave_clips_loss():
    pictures, texts, own = unit_rows(8, 4), unit_rows(8, 4), torch.arange(8)
    for strategy in STRATEGIES:
        noise = LabelNoise(strategy, 0.4)
        factor = sum(STRATEGIES[strategy].weights(0.4))
        ours = noisy_loss(scaled_similarities(pictures, texts, 2.0), Labels(own, own), noise).item()
        assert ours == pytest.approx(factor * clip_loss(pictures, texts, 2.0)[0].item(), abs=1e-12)


def built(**noise):
    torch.manual_seed(0)
    backbone = build_backbone("resnet_small", width=4)
    return build_framework("clip_label_noise", backbone, {**SENTENCES, "label_noise": noise})


def test_the_framework_logs_what_it_drew():
    batch = Batch((torch.randn(16, 3, 16, 16),), torch.randn(16, 5), step=4, seed=9)
    logs = built(strategy="permutation", rate=0.5)(batch).logs
    noise = LabelNoise("permutation", 0.5)
    assert logs["label_noise"] == realised_rate(draw(noise, 16, 9, 4), noise)


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"strategy": "permutation", "rate": 0.0}, "rate is 0.0: choose one between 0 and 1"),
        ({"strategy": "permutation", "rate": 1.0}, "rate is 1.0: choose one between 0 and 1"),
        ({"strategy": "permutation", "rate": float("nan")}, "between 0 and 1"),
        ({"strategy": "reversal", "rate": 0.1}, "'reversal' is not known: choose one of reselection"),
        ({"strategy": "reselection", "rate": 0.1, "columns": "inverse"}, "reselection has no inverse"),
        ({"strategy": "permutation", "rate": 0.1, "columns": "rows"}, "columns 'rows' is not known"),
        ({"rate": 0.1}, "strategy"),
        ({}, "give strategy and rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(noise, words):
    with pytest.raises(UserError, match=words):
        built(**noise)


@pytest.mark.parametrize(
    ("strategy", "count", "words"),
    [("secondary", 1, "a batch of 1"), ("permutation", 12, "chooses 1 of 12 rows"), ("reselection", 4, "0 of 4 rows")],
)
def test_batches_too_small_for_the_rate_are_refused(strategy, count, words):
    with pytest.raises(UserError, match=words):
        draw(LabelNoise(strategy, 0.1), count, 0, 0)
