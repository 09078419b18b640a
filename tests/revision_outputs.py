"""Small outputs, for `test_revisions`: zero-shot, the AdamW probe, concepts, dual encoders, retrieval."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from cat_outputs import OUTPUTS as CAT
from concept_packs import RECIPE, keys_of, named_shapes, shape_features
from conftest import shape_pictures
from diht_checkpoints import TINY, random_clip, save_diht
from safetensors.torch import save_file
from tiny_checkpoints import WORDS, save_clip
from torchvision import models

from vlrepro.captions.concepts import distil
from vlrepro.captions.every import every_caption
from vlrepro.captions.ranking import rank_pictures
from vlrepro.data.corruptions import KINDS, corrupt
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.dual_encoders import filled, import_model, load_dual_encoder
from vlrepro.dual_encoders.diht import MODELS
from vlrepro.evaluation.adamw_probe import AdamWProtocol, adamw_probe
from vlrepro.evaluation.galleries import Gallery, gallery_ranks, in_batches, part_of, recall_curve
from vlrepro.evaluation.hardness import hardest
from vlrepro.evaluation.joint import load_joint, picture_features, text_features
from vlrepro.evaluation.logistic import LabelledFeatures
from vlrepro.evaluation.retrieval import expected_rank, hits, retrieval_ranks
from vlrepro.evaluation.zero_shot import class_vectors, ranks
from vlrepro.files import file_digest
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.pairs.torchvision_encoding import embed_by_torchvision
from vlrepro.randomness import torch_generator


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "revision", *shape))


def pack() -> Pack:
    folder = Path(tempfile.mkdtemp())
    write_pack(folder, shape_pictures(16))
    return Pack(folder)


def corruptions() -> list[float]:
    """Every kind's mean and spread; the pictures take all kinds in turn."""
    found = corrupt(Pictures(pack(), 20).batch(range(16)), seed=0, severity=3).double()
    return [value.item() for number in range(len(KINDS)) for value in torch.std_mean(found[number :: len(KINDS)])]


def zero_shot() -> list[float]:
    classes = class_vectors(normal(6, 3, 8))
    found = ranks(normal(30, 8), torch.cat([classes, classes[:2]]), torch.arange(30) % 8)
    return [classes.abs().sum().item(), *found.bincount(minlength=8).double().tolist()]


def probe() -> list[float]:
    labels = torch.arange(90) % 3
    parts = [LabelledFeatures(rows + torch.eye(3, 8)[labels], labels) for rows in (normal(90, 8), normal(1, 90, 8)[0])]
    result = adamw_probe(*parts, n_classes=3, protocol=AdamWProtocol(batch_size=20))
    return [result.accuracy, result.weights.double().abs().sum().item()]


def joint() -> list[float]:
    """Both sides of each framework that has a joint space, from a file of random weights."""
    values, folder = [], Path(tempfile.mkdtemp())
    for name in ("clip", "slip", "lgslip"):
        torch.manual_seed(0)
        options = {"text_tower": {"name": "sentence", "width": 6}, "joint_width": 4}
        options |= {} if name == "clip" else {"hidden_width": 8}
        backbone = {"name": "resnet_small", "width": 4}
        framework = build_framework(name, build_backbone(**backbone), options)
        weights = {f"joint/{key}".replace("joint/backbone.", ""): one for key, one in framework.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
        recipe = {"framework": name, "options": options, "backbone": backbone}
        loaded = load_joint(recipe, folder / f"{name}.safetensors")
        sides = picture_features(loaded, normal(5, 32)), text_features(loaded, normal(5, 6))
        values += [side.abs().sum().item() for side in sides]
    return values


def every() -> list[str]:
    rows = [replace(row, captions_other='{"3": "last", "2": "second", "de": "zweite"}') for row in pack().rows[:2]]
    return [caption.text for _, caption in every_caption(rows)]


def ranking() -> list[int]:
    opened, names = pack(), list(WORDS[:5])
    truth = [names[position % 5] for position in range(len(opened))]
    return rank_pictures(save_clip(Path(tempfile.mkdtemp())), opened.folder, names, truth, 7, 1)


def diht_rows() -> list[float]:
    folder = Path(tempfile.mkdtemp())
    with patch.dict(MODELS, {"diht_tiny": TINY}):
        import_model({"kind": "diht", "path": save_diht(folder, random_clip()), "accept_licence": True}, folder / "run")
    return dual_encoder_rows(folder / "run")


def transformers_rows() -> list[float]:
    folder = Path(tempfile.mkdtemp())
    import_model({"kind": "transformers", "model": str(save_clip(folder / "clip"))}, folder / "run")
    return dual_encoder_rows(folder / "run")


def dual_encoder_rows(folder: Path) -> list[float]:
    """Both sides of an imported model, and how alike they find a picture and a text."""
    encoder = load_dual_encoder({"framework": "pretrained"}, folder / "model.safetensors", {})
    seen, said = encoder.pictures(pack(), range(16)), encoder.texts(filled(encoder.prompt, WORDS))
    return [value.item() for value in (seen.abs().sum(), said.abs().sum(), (seen @ said.T).abs().sum())]


def concepts() -> list[float]:
    """How many words each kind has, which is seen first in which picture, and how sure."""
    found, _ = distil(RECIPE, keys_of(), shape_features(), named_shapes(), "parses")
    values = []
    for seen in found.seen.values():
        first, sure = seen.places[:, 0].astype(float), seen.weights[:, 0].astype(float)
        values += [float(len(seen.vocabulary)), float(first @ range(1, 65)), sure.mean().item(), sure.std().item()]
    return values


def torchvision_encoding() -> list[float]:
    """Two features by random weights of a small design of torchvision's."""
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    torch.save(models.get_model("shufflenet_v2_x0_5", weights=None).state_dict(), folder / "weights.pth")
    entry = {"model": "shufflenet_v2_x0_5", "path": folder / "weights.pth", "size": 32, "accept_licence": True}
    rows = embed_by_torchvision(pack(), entry | {"digest": file_digest(folder / "weights.pth")})
    return rows[:2, :8].double().flatten().tolist()


def retrieval() -> list[float]:
    """Queries with two right items each, among items of which some are the same."""
    rows = torch.nn.functional.normalize(normal(30, 8), dim=1)
    items = torch.cat([rows[:20], rows[:10].roll(1, 0)])
    ranks = retrieval_ranks(rows[15:], items, torch.arange(15), torch.arange(30) // 2)
    return [*expected_rank(ranks).tolist(), *hits(ranks, 5).tolist()]


def galleries() -> list[float]:
    """Both directions and both ways to the curve, of batches of a gallery with two captions a picture."""
    rows = torch.nn.functional.normalize(normal(60, 8), dim=1)
    gallery = part_of(Gallery(rows[:20], rows[20:], torch.arange(40) // 2), in_batches(20, number=2)[1])
    both = {direction: gallery_ranks(gallery, direction) for direction in ("text_to_image", "image_to_text")}
    curves = [recall_curve(gallery, direction, ranks, [3, 10], 2, draws=4) for direction, ranks in both.items()]
    return [value for curve in curves for point in curve for value in (point.recall, point.error)]


OUTPUTS: dict[str, Callable[[], list]] = {
    "data.corruptions": corruptions,
    "captions.ranking": ranking,
    **CAT,
    "captions.concepts": concepts,
    "pairs.torchvision_encoding": torchvision_encoding,
    "captions.every": every,
    "evaluation.zero_shot": zero_shot,
    "evaluation.adamw_probe": probe,
    "evaluation.hardness": lambda: hardest([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], 0.4),
    "evaluation.joint": joint,
    "dual_encoders.diht": diht_rows,
    "dual_encoders.transformers": transformers_rows,
    "evaluation.retrieval": retrieval,
    "evaluation.galleries": galleries,
}
