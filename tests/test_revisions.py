"""Results that change without a raised REVISION fail here.

For each module with a REVISION, a small output is reduced to a few numbers and compared with those recorded for that
revision in `revisions.json`. To change results on purpose: raise the module's REVISION and record the new numbers with
`python tests/test_revisions.py`. The numbers say that nothing moved, not that they are right: other tests do that.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shape_pictures

from vlrepro.captions.noise import noisy_captions
from vlrepro.captions.sources import original_captions
from vlrepro.data.augment import Augment, AugmentationOptions
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.evaluation.features import extract
from vlrepro.evaluation.few_shot import FewShotProtocol, draw_episodes, few_shot
from vlrepro.evaluation.linear import LabelledFeatures, linear_probe
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.pairs.mining import mine_pairs
from vlrepro.randomness import torch_generator
from vlrepro.revisions import revision_of
from vlrepro.training.loop import train

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


def simclr():
    torch.manual_seed(0)
    model = build_framework("simclr", build_backbone("resnet_small", width=4), {"hidden_width": 8, "output_width": 4})
    views = [torch.randn(16, 3, 16, 16, generator=torch_generator(number)) for number in range(2)]
    return [model(views).loss.item()]


def untrained():
    torch.manual_seed(0)
    model = build_framework("untrained", build_backbone("resnet_small", width=4), {})
    return [sum(parameter.double().abs().sum().item() for parameter in model.backbone.parameters())]


def loop():
    recipe = {
        **{"framework": "simclr", "options": {"hidden_width": 8, "output_width": 4}},
        "augmentation": {"scale": [0.5, 1.0]},
        "pictures": PICTURES,
        "backbone": {"name": "resnet_small", "width": 4},
        **{"batch_size": 16, "steps": 3, "max_epochs": 10, "threads": 1, "seed": 0},
        "optimiser": {
            **{"learning_rate": 1e-3, "reference_batch": 16, "weight_decay": 0.01, "decay_all": True},
            **{"warmup_steps": 1, "warmup_start": 1e-5, "final_rate": 1e-6},
        },
    }
    folder = Path(tempfile.mkdtemp())
    train(recipe, pack().folder, None, folder / "state", folder / "out", 60)
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


OUTPUTS = {
    "captions.noise": noise,
    "captions.sources": sources,
    "data.loader": loader,
    "data.augment": augment,
    "pairs.mining": mining,
    "frameworks.simclr": simclr,
    "frameworks.untrained": untrained,
    "training.loop": loop,
    "evaluation.features": features,
    "evaluation.linear": linear,
    "evaluation.few_shot": few,
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
        record.setdefault(f"{name}@{revision_of(name)}", reduced(output()))
    write_json(RECORD, record)
    sys.exit(0)
