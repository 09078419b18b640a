"""Maps that look at no model, the best of them chosen on training pictures alone, and the pictures of the gallery."""

from dataclasses import replace

import numpy as np
import pytest
import saliency_oracles as oracle
import torch
from safetensors.torch import save_file
from saliency_models import used
from saliency_sets import SETTINGS, pictures, write

from vlrepro.errors import UserError
from vlrepro.reporting.saliency_gallery import choose
from vlrepro.reporting.saliency_pictures import ShownModel, read_probe, shown_pictures
from vlrepro.saliency import priors
from vlrepro.saliency.baselines import ceiling, edges, mean_mask, noise, tuned_gaussian
from vlrepro.saliency.evaluation import load_set, score_methods
from vlrepro.saliency.masks import MaskSet
from vlrepro.saliency.probe import Probe
from vlrepro.saliency.thresholds import MEAN, Threshold, best_threshold
from vlrepro.tables.saliency_columns import BRIEF, PRIORS, SCORES

LEVEL = Threshold("value", 0.5)
SMALL = SETTINGS | {"canvas": 16, "size": 16}  # the loops' time rises with the square of the pixels


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return load_set(write(tmp_path_factory.mktemp("pack"), pictures()), SMALL)


@pytest.fixture(scope="module")
def scored(found):
    return priors.score_priors(found)


def values(entry):
    return {name: one["score"] for name, one in entry["scores"].items()}


def keys(found, masks):
    return [found.pictures.pack.rows[position].key for position in masks.positions.tolist()]


def chosen(scored):
    return {name: entry["chosen"] for name, entry in scored["best_prior"]["scores"].items()}


def maps_by_hand(found, masks):
    """Prior -> maps and published threshold, made from the baselines, not `priors`."""
    shape, tuning = masks.masks.shape, found.training.masks
    gaussian, mean = tuned_gaussian(tuning)[0], mean_mask(tuning)
    colours = found.colours(masks.positions).transpose(0, 3, 1, 2)
    return {
        "all_object": (np.ones(shape), LEVEL),
        "all_background": (np.zeros(shape), LEVEL),
        "noise": (noise(keys(found, masks), shape[1:]), MEAN),
        "coarse_noise": (noise(keys(found, masks), shape[1:], cells=7), MEAN),
        "edges": (edges(colours, shape[1] / 24), MEAN),
        "centred_gaussian": (np.broadcast_to(gaussian.map, shape), gaussian.threshold),
        "mean_mask": (np.broadcast_to(mean.map, shape), mean.threshold),
        "ceiling": (ceiling(masks.masks), MEAN),
    }


def scores_by_hand(found, masks):
    """Prior -> score -> value by the loops of `saliency_oracles`, thresholds tuned on training masks."""
    training = maps_by_hand(found, found.training)
    result = {}
    for name, (maps, published) in maps_by_hand(found, masks).items():
        fixed = published != MEAN
        tuned = published if fixed else best_threshold(training[name][0], found.training.masks)
        result[name] = oracle.all_scores(maps, masks.masks, published, tuned)
    return result


def test_priors_are_the_rows_that_tables_name(scored):
    assert set(scored) == set(PRIORS)


def test_every_score_of_every_prior_is_that_of_its_maps(found, scored):
    for name, expected in scores_by_hand(found, found.scored).items():
        assert values(scored[name]) == pytest.approx(expected), name


def test_the_best_prior_is_best_on_training_pictures_for_each_score(found, scored):
    on_training = scores_by_hand(found, found.training)
    del on_training["ceiling"]
    names = chosen(scored)
    assert set(names) == set(SCORES)
    for score, name in names.items():
        best = max(entry[score] for entry in on_training.values())
        assert on_training[name][score] == pytest.approx(best), score
        assert scored["best_prior"]["scores"][score] == scored[name]["scores"][score] | {"chosen": name}
    assert len(set(names.values())) > 1
    assert "ceiling" not in names.values()


def test_no_choice_sees_a_test_mask(found, scored):
    """With the object and the background of every test mask exchanged, what is tuned and chosen stays."""
    masks = np.where(found.scored.masks == 255, 255, 1 - found.scored.masks).astype(np.uint8)
    changed = priors.score_priors(replace(found, scored=replace(found.scored, masks=masks)))
    common = set(chosen(scored)) & set(chosen(changed))  # there may be other sizes of object
    assert len(common) >= 13
    assert {name: chosen(changed)[name] for name in common} == {name: chosen(scored)[name] for name in common}
    assert values(changed["mean_mask"])["iou"] != values(scored["mean_mask"])["iou"]


def test_all_object_has_the_object_share_as_its_iou_and_all_background_has_none(found, scored):
    counts = [(np.sum(mask == 1), np.sum(mask != 255)) for mask in found.scored.masks]
    objects, pixels = map(sum, zip(*counts, strict=True))
    assert values(scored["all_object"])["iou"] == pytest.approx(objects / pixels)
    assert values(scored["all_object"])["iou_image"] == pytest.approx(np.mean([n / of for n, of in counts]))
    assert values(scored["all_background"])["iou"] == 0
    assert values(scored["all_background"])["miou"] == pytest.approx((1 - objects / pixels) / 2)
    for name in ("all_object", "all_background"):  # constant maps rank nothing
        assert values(scored[name])["ap"] == pytest.approx(np.mean([n / of for n, of in counts]))


def test_brief_scores_of_priors_are_those_of_all(found, scored):
    brief = priors.score_priors(found, every_score=False)
    assert set(brief) == set(PRIORS)
    for name, entry in brief.items():
        assert entry["scores"] == {score: scored[name]["scores"][score] for score in BRIEF}, name


def test_a_size_that_no_training_picture_has_is_judged_by_the_whole(found):
    shares = (found.training.masks == 1).mean(axis=(1, 2))
    small = MaskSet(found.training.positions[shares < 0.5], found.training.masks[shares < 0.5], ())
    names = chosen(priors.score_priors(replace(found, training=small)))
    assert names["ap_over_50"] == names["ap"]


def test_edges_see_the_bytes_of_the_picture(found):
    """Normalisation, of another deviation in each channel, leaves no trace."""
    positions = found.scored.positions
    stored = found.pictures.batch(positions.tolist()).numpy().transpose(0, 2, 3, 1)
    assert np.array_equal(found.colours(positions), stored)
    assert np.array_equal(found.colours(positions[3]), stored[3])
    assert found.colours(positions).dtype == np.uint8


# The gallery


@pytest.fixture(scope="module")
def models(found):
    """Two backbones with random probes, and metrics files of theirs."""
    result = []
    for seed in range(2):
        backbone = used("resnet_small", {"width": 8}, seed)
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(3, backbone.feature_width, generator=generator)
        probe = Probe(weights, torch.randn(3, generator=generator))
        metrics = {"saliency": {"maps": score_methods(backbone, probe, found, ["grad_cam", "agf"])}}
        result.append(ShownModel(f"Model {seed}", backbone, probe, metrics))
    return result


def precisions(model, method):
    statistic = model.metrics["saliency"]["maps"][method]["scores"]["ap"]["statistic"]
    return np.array(statistic["numerators"])[:, 0]


def test_shown_pictures_are_chosen_by_all_maps_and_their_maps_are_those_that_were_scored(found, models):
    methods = ["agf", "grad_cam"]
    shown = shown_pictures(found, models, methods, count=2)
    means = np.mean([precisions(model, method) for model in models for method in methods], axis=0)
    places = [(place, position) for place, some in choose(means, 2).items() for position in some]
    assert [(one.place, one.key) for one in shown] == [
        (place, keys(found, found.scored)[position]) for place, position in places
    ]
    assert len(shown) == 6
    assert means[places[0][1]] == means.max()
    for one, (_, position) in zip(shown, places, strict=True):
        assert one.score == pytest.approx(means[position])
        assert np.array_equal(one.mask, found.scored.masks[position])
        assert np.array_equal(one.picture, found.colours(found.scored.positions[position]))
        assert [(m.model, m.method) for m in one.maps] == [
            (model.label, title) for model in models for title in ("AGF", "Grad-CAM")
        ]
        recorded = [precisions(model, method)[position] for model in models for method in methods]
        assert [m.score for m in one.maps] == pytest.approx(recorded, abs=1e-4)
        assert [oracle.average_precision(oracle.pixels_of(m.map, one.mask)) for m in one.maps] == pytest.approx(
            [m.score for m in one.maps]
        )


def test_a_metrics_file_without_a_method_or_of_other_pictures_is_named(found, models):
    with pytest.raises(UserError, match=r"Model 0: the metrics file has no 'layer_cam': score the run again"):
        shown_pictures(found, models, ["layer_cam"])
    fewer = MaskSet(found.scored.positions[:-1], found.scored.masks[:-1], ())
    n = len(found.scored.positions)
    with pytest.raises(UserError, match=f"Model 0: {n} pictures were scored, the set has {n - 1}"):
        shown_pictures(replace(found, scored=fewer), models, ["agf"])


def test_a_probe_is_read_as_it_was_written(tmp_path, found, models):
    probe = models[0].probe
    save_file(probe._asdict(), tmp_path / "probe.safetensors")
    again = read_probe(tmp_path / "probe.safetensors")
    assert torch.equal(again.weights, probe.weights)
    assert torch.equal(again.biases, probe.biases)
    for content in ({"weights": probe.weights}, None):
        path = tmp_path / "bad.safetensors"
        save_file(content, path) if content else path.write_bytes(b"nothing")
        with pytest.raises(UserError, match=f"{path}: no probe .*: delete it and score the run again"):
            read_probe(path)
