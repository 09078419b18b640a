"""A teacher of torchvision's: features against a hook on its classifier, and weights that cannot be used.

`tiny_teacher` is a design like `vit_h_14` (patches of 14, a class token, `heads`) at a hundredth of its width.
"""

import io
import pickle

import pytest
import torch
from conftest import run_script
from PIL import Image
from safetensors.torch import load_file
from torchvision import models
from torchvision.models._api import register_model
from torchvision.transforms.functional import normalize, to_tensor

from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import file_digest, write_json
from vlrepro.pairs.torchvision_encoding import embed_by_torchvision, load_torchvision

SIZE = 28


def tiny_teacher(weights: None = None, image_size: int = 224) -> models.VisionTransformer:
    return models.VisionTransformer(image_size, 14, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5)


tiny_teacher.__module__ = "torchvision.models.tiny_teacher"  # it lists as classifiers what lies there
register_model()(tiny_teacher)


@pytest.fixture
def teacher(tmp_path):
    """Builds an encoder's entry with random weights of a design."""

    def build(name="tiny_teacher", **options):
        torch.manual_seed(0)
        model = models.get_model(name, weights=None, **options)
        with torch.no_grad():
            for parameter in model.parameters():  # torchvision starts the classifier at 0
                parameter.add_(0.05 * torch.randn_like(parameter))
        path = tmp_path / f"{name}.pth"
        torch.save(model.state_dict(), path)
        entry = {"model": name, "path": str(path), "digest": file_digest(path), "size": SIZE, "accept_licence": True}
        return model.eval(), entry

    return build


@pytest.mark.parametrize(
    ("name", "options", "head"),
    [("tiny_teacher", {"image_size": SIZE}, "heads"), ("resnet18", {}, "fc")],
)
def test_features_are_what_the_classifier_reads(shape_pack, teacher, name, options, head):
    model, entry = teacher(name, **options)
    pack = Pack(shape_pack)
    found = embed_by_torchvision(pack, entry, batch_size=7)
    read = []
    getattr(model, head).register_forward_hook(lambda module, inputs, output: read.append(inputs[0]))
    for position in range(len(pack)):
        picture = Image.open(io.BytesIO(pack.picture(position))).convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        pixels = to_tensor(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        with torch.no_grad():
            model(normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None])
    expected = torch.cat(read)
    expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.std(0).max() > 1e-4  # pictures are told apart


def test_the_command_embeds_by_it(shape_pack, teacher, tmp_path, monkeypatch):
    _, entry = teacher(image_size=SIZE)
    recipe = {"kind": "torchvision", "encoder": entry, "threads": 1}
    write_json(tmp_path / "recipe.json", recipe)
    files = {"recipe": tmp_path / "recipe.json", "index": shape_pack / "index.parquet"}
    run_script("embed.py", monkeypatch, **files, output=tmp_path / "e.safetensors")
    rows = load_file(tmp_path / "e.safetensors")["embeddings"]
    assert torch.allclose(rows, embed_by_torchvision(Pack(shape_pack), entry), atol=1e-6)
    assert torch.allclose(rows.norm(dim=1), torch.ones(64))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accept_licence": False}, "CC BY-NC 4.0, .*set accept_licence: true under the encoder's weights"),
        ({"path": "nowhere.pth"}, "no such file: download the weights yourself"),
        ({"digest": "0" * 64}, "the file is another than the digest's"),
        ({"model": "vit_h_15"}, "torchvision has no model 'vit_h_15'"),
        ({"model": "fcn_resnet50"}, "torchvision has no model 'fcn_resnet50': choose one that classifies pictures"),
        ({"model": "resnet18"}, "not weights of this model at size 28"),
        ({"size": 42}, "not weights of this model at size 42"),
        ({"size": 30}, "cannot be built for 30 pixels"),
    ],
)
def test_what_cannot_teach_is_one_line(teacher, change, words):
    _, entry = teacher(image_size=SIZE)
    with pytest.raises(UserError, match=words) as error:
        load_torchvision(entry | change)
    assert "\n" not in str(error.value)


def test_a_pickle_is_not_run(teacher, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("ran",))

    _, entry = teacher(image_size=SIZE)
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    for state in (None, {"heads.head.weight": Bomb()}, [1, 2]):
        if state is not None:
            torch.save(state, path)
        with pytest.raises(UserError, match="not weights of this model"):
            load_torchvision(entry | {"path": str(path), "digest": file_digest(path)})


def test_features_that_are_not_finite_name_the_picture(shape_pack, teacher, tmp_path):
    model, entry = teacher(image_size=SIZE)
    model.encoder.ln.weight.data.fill_(float("nan"))
    path = tmp_path / "nan.pth"
    torch.save(model.state_dict(), path)
    with pytest.raises(UserError, match="picture p0000: 64 pictures have no finite feature"):
        embed_by_torchvision(Pack(shape_pack), entry | {"path": str(path), "digest": file_digest(path)})
