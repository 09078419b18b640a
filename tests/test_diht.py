"""DiHT's checkpoints: OpenCLIP's own CLIP with the same weights is the oracle of what conversion must keep."""

import io
import os

import numpy as np
import pytest
import torch
from conftest import run_script
from diht_checkpoints import TINY, random_clip, save_diht
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import tokenize
from PIL import Image
from safetensors import safe_open
from torch.nn.functional import normalize
from torchvision import transforms
from transformers import CLIPModel

from vlrepro.data.pack import Pack, Picture, write_pack
from vlrepro.dual_encoders import diht as module
from vlrepro.dual_encoders import filled, import_model, load_dual_encoder
from vlrepro.dual_encoders.clip_layout import Sizes, configuration, converted, sizes_of
from vlrepro.dual_encoders.diht import MODELS, PROMPT
from vlrepro.errors import UserError
from vlrepro.files import read_json, write_json
from vlrepro.models.text import tokenise

RECIPE = {"framework": "pretrained"}
ENTRY = {"kind": "diht", "digest": None, "accept_licence": True}
CAPTIONS = ["a red ship", "Two dogs &amp; a cat", "a long tale of " + "many words " * 20, "", "{braces} of {caption}"]


@pytest.fixture(scope="module")
def model():
    return random_clip()


@pytest.fixture
def file(tmp_path, model, monkeypatch):
    """A tiny checkpoint, known as one of DiHT's."""
    monkeypatch.setitem(module.MODELS, "diht_tiny", TINY)
    return save_diht(tmp_path / "given", model)


def encoded(width, height, ending, mode="RGB"):
    rows = np.random.default_rng(width).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rows).resize((width, height)).convert(mode).save(stream, ending)
    return stream.getvalue()


@pytest.fixture
def pack(tmp_path):
    """Wide, tall, odd, small and grey pictures, some of which a JPEG decoder could read at half the size."""
    drawn = [(200, 101, "JPEG"), (97, 240, "JPEG"), (48, 48, "PNG"), (31, 20, "PNG"), (333, 111, "WEBP")]
    pictures = [
        Picture(f"p{number}", encoded(*shape), f".{shape[2].lower()}", *shape[:2]) for number, shape in enumerate(drawn)
    ]
    pictures.append(Picture("grey", encoded(60, 70, "PNG", "L"), ".png", 60, 70))
    write_pack(tmp_path / "pack", pictures)
    return Pack(tmp_path / "pack")


def published(pack, model, sizes=TINY):
    """Unit rows as DiHT's published evaluation makes them: torchvision's transforms, then the model."""
    steps = [transforms.Resize(sizes.image, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(sizes.image)]
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])
    opened = (Image.open(io.BytesIO(pack.picture(position))).convert("RGB") for position in range(len(pack)))
    with torch.inference_mode():
        return model.encode_image(torch.stack([transform(picture) for picture in opened]), normalize=True)


def test_features_are_those_of_the_published_pipeline(file, tmp_path, model, pack):
    import_model(ENTRY | {"path": str(file)}, tmp_path / "run")
    encoder = load_dual_encoder(RECIPE, tmp_path / "run/model.safetensors", {})
    assert (encoder.name, encoder.prompt) == ("run", "a photo of {caption}.")
    torch.testing.assert_close(encoder.pictures(pack, range(6)), published(pack, model), atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.pictures(pack, [4, 1]), published(pack, model)[[4, 1]], atol=1e-5, rtol=0)
    sentences = filled(encoder.prompt, CAPTIONS)
    assert sentences[0] == "a photo of a red ship."
    assert sentences[4] == "a photo of {braces} of {caption}."
    with torch.inference_mode():
        expected = model.encode_text(tokenize(sentences, TINY.context), normalize=True)
        pixels, ids = torch.randn(3, 3, 48, 48), tokenize(["a", "b c"], TINY.context)
        scale = model(pixels, ids)[2].item()
    torch.testing.assert_close(encoder.texts(sentences), expected, atol=1e-5, rtol=0)
    assert encoder.scale == pytest.approx(scale)
    side = [parameter.numel() for parameter in model.visual.parameters()]
    assert encoder.size == {"parameters": sum(side), "feature_width": 24}


def test_scripts_import_and_match(file, tmp_path, model, pack, monkeypatch, capsys):
    """The check of real weights: the softmax of scaled cosines of a picture and texts as they are."""
    output = tmp_path / "run/model.safetensors"
    write_json(tmp_path / "recipe.json", RECIPE | {"dual_encoder": {"kind": "diht", "digest": None}})
    options = {"recipe": tmp_path / "recipe.json", "checkpoint": file, "model": output}
    with pytest.raises(SystemExit):
        run_script("import_model.py", monkeypatch, **options)
    assert "CC BY-NC 4.0" in capsys.readouterr().err
    run_script("import_model.py", monkeypatch, **options, **{"accept-licence": []})
    (tmp_path / "picture.jpg").write_bytes(pack.picture(0))
    capsys.readouterr()
    texts = ["a mountain", "a beach", "a desert"]
    run_script("match_texts.py", monkeypatch, model=output, picture=tmp_path / "picture.jpg", text=texts)
    with torch.inference_mode():
        said = model.encode_text(tokenize(texts, TINY.context), normalize=True)
        logits = (model.logit_scale.exp() * published(pack, model)[:1] @ said.T).double().numpy()[0]
    shares = np.exp(logits) / np.exp(logits).sum()
    printed = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [text for _, text in printed] == texts
    np.testing.assert_allclose([float(share) for share, _ in printed], shares, atol=1e-5)
    (tmp_path / "picture.jpg").write_text("no picture")
    with pytest.raises(SystemExit):
        run_script("match_texts.py", monkeypatch, model=output, picture=tmp_path / "picture.jpg", text=texts)
    assert f"error: {tmp_path}/picture.jpg: no picture: give" in capsys.readouterr().err


def test_batches_do_not_matter(file, tmp_path, pack, monkeypatch):
    import_model(ENTRY | {"path": str(file)}, tmp_path / "run")
    encoder = load_dual_encoder(RECIPE, tmp_path / "run/model.safetensors", {})
    whole = encoder.pictures(pack, range(6)), encoder.texts(CAPTIONS)
    monkeypatch.setattr(module, "_PICTURES", 4)
    monkeypatch.setattr(module, "_TEXTS", 2)
    for found, expected in zip((encoder.pictures(pack, range(6)), encoder.texts(CAPTIONS)), whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))


def test_what_is_written(file, tmp_path, model):
    for run in ("run", "again"):
        import_model(ENTRY | {"path": str(file)}, tmp_path / run)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "dual_encoder.json", "model.safetensors"]
    written = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("run", "again")]
    assert written[0] == written[1]
    with safe_open(tmp_path / "run/model.safetensors", "pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.float32"}  # noqa: SIM118
    said = read_json(tmp_path / "run/dual_encoder.json")
    assert said["prompt"] == PROMPT
    assert said["source"]["model"] == "diht_tiny"
    assert said["source"]["sha256"] in file.name


def test_half_precision_is_widened(model):
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    weights = converted(state, sizes_of(state, "here"), "here")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert torch.equal(weights["visual_projection.weight"], model.visual.proj.half().float().T)


@settings(max_examples=8, deadline=None)
@given(
    st.builds(
        Sizes,
        st.integers(1, 5).map(lambda cells: 8 * cells),
        st.just(8),
        st.sampled_from([64, 128]),
        st.integers(1, 3),
        st.sampled_from([64, 128]),
        st.integers(1, 12),
        st.integers(3, 90),
        st.integers(10, 60),
        st.integers(1, 40),
    )
)
def test_sizes_and_every_number_come_through(sizes):
    """Sizes are read from shapes; conversion moves numbers and neither loses nor adds one."""
    state = random_clip(sizes, seed=sizes.joint_width).state_dict()
    assert sizes_of(state, "here") == sizes
    weights = converted(state, sizes, "here")
    assert sum(tensor.numel() for tensor in weights.values()) == sum(tensor.numel() for tensor in state.values())
    total = sum(tensor.double().pow(2).sum() for tensor in state.values())
    torch.testing.assert_close(sum(tensor.double().pow(2).sum() for tensor in weights.values()), total)


def test_full_size_of_b32():
    """The published layout at full size, with random weights."""
    sizes = MODELS["diht_vitb32_224px"]
    model = random_clip(sizes)
    state = model.state_dict()
    assert sizes_of(state, "here") == sizes
    theirs = CLIPModel(configuration(sizes)).eval()
    theirs.load_state_dict(converted(state, sizes, "here"))
    ids = tokenise(["a photo of a beach.", "a photo of " + "sand " * 90], 77)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        seen = normalize(theirs.get_image_features(pixel_values=pixels).pooler_output)
        said = normalize(theirs.get_text_features(input_ids=ids).pooler_output)
        torch.testing.assert_close(seen, model.encode_image(pixels, normalize=True), atol=1e-5, rtol=0)
        torch.testing.assert_close(said, model.encode_text(ids, normalize=True), atol=1e-5, rtol=0)


def test_sizes_of_the_four_models_are_their_names():
    for name, sizes in MODELS.items():
        patch, side = int(name[9:11]), int(name[12:15])
        assert (sizes.patch, sizes.image) == (patch, side)
        assert sizes.image % sizes.patch == 0
        assert (sizes.joint_width, sizes.text_width) == ((768, 768) if "vitl" in name else (512, 512))


def broken(change):
    def save(folder, model):
        state = dict(model.state_dict())
        change(state)
        torch.save(state, folder / "x.ckpt")
        return folder / "x.ckpt"

    return save


def drop(name):
    return broken(lambda state: state.pop(name))


def put(name, tensor):
    return broken(lambda state: state.update({name: tensor}))


def other_file(data):
    def save(folder, model):
        (folder / "x.ckpt").write_bytes(data)
        return folder / "x.ckpt"

    return save


def saved(value):
    def save(folder, model):
        torch.save(value(model), folder / "x.ckpt")
        return folder / "x.ckpt"

    return save


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


BROKEN = {
    "cut short": (other_file(b"PK\x03\x04 not much"), "no checkpoint of tensors"),
    "empty": (other_file(b""), "no checkpoint of tensors"),
    "code": (saved(lambda model: {"logit_scale": Evil()}), "no checkpoint of tensors"),
    "nested": (saved(lambda model: {"state_dict": model.state_dict()}), "not a flat state dict"),
    "a list": (saved(lambda model: [torch.zeros(1)]), "not a flat state dict"),
    "numbered": (saved(lambda model: {1: torch.zeros(1)}), "not a flat state dict"),
    "no stem": (drop("visual.conv1.weight"), "no tensor visual.conv1.weight of rank 4"),
    "flat stem": (put("visual.conv1.weight", torch.zeros(128)), "no tensor visual.conv1.weight of rank 4"),
    "no norm": (drop("ln_final.bias"), "no weights for text_model.final_layer_norm.bias"),
    "no block part": (drop("transformer.resblocks.1.mlp.c_fc.bias"), "no weights for text_model.encoder.layers.1.mlp"),
    "unknown": (put("visual.extra", torch.zeros(1)), "visual.extra (1,) is no tensor of CLIP's"),
    "unknown part": (put("transformer.resblocks.0.gate.weight", torch.zeros(1)), "is no tensor of CLIP's"),
    "shape": (put("visual.ln_pre.bias", torch.zeros(127)), "pre_layrnorm.bias is (127,), not (128,)"),
    "fused": (put("transformer.resblocks.0.attn.in_proj_bias", torch.zeros(191)), "(191,) is no tensor of CLIP's"),
    "narrow": (put("token_embedding.weight", torch.zeros(49408, 60)), "are not both multiples of 64"),
    "another size": (put("positional_embedding", torch.zeros(13, 64)), "is none of DiHT's models"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_other_files_are_one_clear_line(case, tmp_path, model, monkeypatch):
    monkeypatch.setitem(module.MODELS, "diht_tiny", TINY)
    monkeypatch.chdir(tmp_path)
    save, message = BROKEN[case]
    path = save(tmp_path, model)
    digest = module.file_digest(path)
    with pytest.raises(UserError) as raised:
        import_model(ENTRY | {"path": str(path), "digest": digest}, tmp_path / "run")
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run/model.safetensors").exists()
    assert not (tmp_path / "pwned").exists()


def test_licence_must_be_accepted(file, tmp_path):
    entry = ENTRY | {"path": str(file)}
    for refused in (False, None, "false"):
        with pytest.raises(UserError, match=r"CC BY-NC 4.0 .*set accept_licence: true"):
            import_model(entry | {"accept_licence": refused}, tmp_path / "run")
    del entry["accept_licence"]
    with pytest.raises(UserError, match="CC BY-NC"):
        import_model(entry, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    import_model(entry, tmp_path / "run", accept_licence=True)
    assert (tmp_path / "run/model.safetensors").is_file()


def test_digest_decides(file, tmp_path):
    entry = ENTRY | {"path": str(file)}
    with pytest.raises(UserError, match=r"SHA-256 [0-9a-f]{12}, not 000000000000: download the file again"):
        import_model(entry | {"digest": "0" * 64}, tmp_path / "run")
    renamed = file.rename(file.with_name(f"diht_tiny_{'1' * 64}.ckpt"))
    with pytest.raises(UserError, match="not 111111111111"):
        import_model(entry, tmp_path / "run", location=renamed)
    plain = renamed.rename(file.with_name("model.ckpt"))
    with pytest.raises(UserError, match="no SHA-256 in the file's name"):
        import_model(entry, tmp_path / "run", location=plain)
    with pytest.raises(UserError, match="no such checkpoint"):
        import_model(entry, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    import_model(entry | {"digest": module.file_digest(plain)}, tmp_path / "run", location=plain)
    assert (tmp_path / "run/model.safetensors").is_file()


def test_folders_that_are_not_whole(file, tmp_path):
    weights = tmp_path / "run/model.safetensors"
    import_model(ENTRY | {"path": str(file)}, tmp_path / "run")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"run: cannot be loaded .*: import the model again"):
        load_dual_encoder(RECIPE, weights, {})
    weights.unlink()
    with pytest.raises(UserError, match=r"run: cannot be loaded .*: import the model again"):
        load_dual_encoder(RECIPE, weights, {})
    (tmp_path / "run/dual_encoder.json").write_text("{}")
    with pytest.raises(UserError, match=r"dual_encoder.json: no description of an imported model"):
        load_dual_encoder(RECIPE, weights, {})
