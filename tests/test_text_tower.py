"""The text transformer against transformers' CLIP with the same weights, the tokens against known ones."""

import sys

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from vlrepro.errors import UserError
from vlrepro.models.text import build_text_tower, tokenise

SMALL = {"layers": 3, "width": 24, "heads": 4, "context": 16, "vocabulary": 60}


def random_ids(count: int, length: int, vocabulary: int) -> torch.Tensor:
    """Rows that end at different places, in the largest id, with zeros after."""
    ids = torch.randint(1, vocabulary - 1, (count, length))
    ends = torch.randint(1, length, (count, 1))
    return ids.scatter(1, ends, vocabulary - 1) * (torch.arange(length) <= ends)


def oracle_of(tower: torch.nn.Module, options: dict[str, int]) -> CLIPTextModel:
    """transformers' text model with `tower`'s weights."""
    config = CLIPTextConfig(
        vocab_size=options["vocabulary"],
        hidden_size=options["width"],
        intermediate_size=4 * options["width"],
        num_hidden_layers=options["layers"],
        num_attention_heads=options["heads"],
        max_position_embeddings=options["context"],
        hidden_act="quick_gelu",
        eos_token_id=options["vocabulary"] - 1,
        attn_implementation="eager",
    )
    model = CLIPTextModel(config)
    names = {"self_attn.out_proj": "self_attn.out_proj", "norm1": "layer_norm1", "norm2": "layer_norm2"}
    names |= {"linear1": "mlp.fc1", "linear2": "mlp.fc2"}
    weights = {"embeddings.token_embedding.weight": tower.tokens.weight}
    weights |= {"embeddings.position_embedding.weight": tower.positions}
    weights |= {f"final_layer_norm.{kind}": getattr(tower.norm, kind) for kind in ("weight", "bias")}
    for number, layer in enumerate(tower.layers):
        for kind in ("weight", "bias"):
            there = f"encoder.layers.{number}"
            for ours, theirs in names.items():
                weights[f"{there}.{theirs}.{kind}"] = getattr(layer.get_submodule(ours), kind)
            thirds = getattr(layer.self_attn, f"in_proj_{kind}").chunk(3)
            weights |= {
                f"{there}.self_attn.{part}_proj.{kind}": third for part, third in zip("qkv", thirds, strict=True)
            }
    prefix = "text_model." if any(name.startswith("text_model.") for name in model.state_dict()) else ""
    model.load_state_dict({prefix + name: value.detach().clone() for name, value in weights.items()}, strict=True)
    return model.eval()


def test_equals_transformers():
    tower = build_text_tower("transformer", **SMALL)
    with torch.no_grad():
        for parameter in tower.parameters():  # biases and gains start at 0 and 1, where a wrong use would not show
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = random_ids(9, 16, 60)
    ids[0, -1] = 59  # one caption that fills the context
    oracle = oracle_of(tower, SMALL)
    assert torch.allclose(tower(ids), oracle(ids).pooler_output, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(tower.eval()(ids), oracle(ids).pooler_output, atol=1e-5)


def test_what_follows_the_end_and_other_captions_do_not_matter():
    tower = build_text_tower("transformer", **SMALL).double()
    ids = random_ids(6, 16, 60)
    expected = tower(ids)
    ends = ids.argmax(1, keepdim=True)
    noise = torch.randint(1, 59, ids.shape)
    assert torch.allclose(tower(torch.where(torch.arange(16) > ends, noise, ids)), expected, atol=1e-12)
    for row in range(6):
        assert torch.allclose(tower(ids[row : row + 1]), expected[row : row + 1], atol=1e-12)


def test_reads_order_and_every_token_before_the_end():
    tower = build_text_tower("transformer", **SMALL)
    ids = torch.tensor([[1, 5, 9, 59], [1, 9, 5, 59], [2, 5, 9, 59]])
    features = tower(ids)
    assert not torch.allclose(features[0], features[1], atol=1e-4)
    assert not torch.allclose(features[0], features[2], atol=1e-4)


def test_starts_as_clip_does():
    tower = build_text_tower("transformer", layers=2, width=256, heads=4, vocabulary=4000)
    layer = tower.layers[0]
    expected = {
        tower.tokens.weight: 0.02,
        tower.positions: 0.01,
        layer.self_attn.in_proj_weight: 256**-0.5,
        layer.self_attn.out_proj.weight: 256**-0.5 * 4**-0.5,
        layer.linear1.weight: 512**-0.5,
        layer.linear2.weight: 256**-0.5 * 4**-0.5,
    }
    for weight, deviation in expected.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.03)
        assert abs(weight.mean().item()) < 0.03 * deviation
    assert torch.equal(tower.norm.weight, torch.ones(256))


def test_the_default_is_clips_size():
    with torch.device("meta"):
        tower = build_text_tower("transformer")
    # 49,408 tokens and 77 positions of 512, 12 layers of 12 w^2 + 13 w, a last norm of 2 w.
    count = sum(parameter.numel() for parameter in tower.parameters())
    assert count == (49408 + 77) * 512 + 12 * (12 * 512**2 + 13 * 512) + 2 * 512
    assert tower.feature_width == 512


def test_sentences_pass_as_they_are():
    tower = build_text_tower("sentence", width=7)
    texts = torch.randn(3, 7)
    assert tower(texts) is texts
    assert (tower.feature_width, list(tower.parameters())) == (7, [])
    assert build_text_tower("sentence").feature_width == 384


def test_known_tokens():
    # The ids that CLIP's documentation prints for these captions.
    ids = tokenise(["a diagram", "a photo of a cat", "Hello  WORLD", ""])
    assert (ids.shape, ids.dtype) == ((4, 77), torch.int64)
    rows = [[token for token in row if token] for row in ids.tolist()]
    assert rows[0] == [49406, 320, 22697, 49407]
    assert rows[1] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert rows[2] == [49406, 3306, 1002, 49407]
    assert rows[3] == [49406, 49407]
    assert torch.equal(ids.argmax(1), torch.tensor([3, 6, 3, 1]))


def test_captions_are_repaired_and_cut():
    assert torch.equal(*tokenise(["salt &amp; pepper", "salt & pepper"]).unbind())
    assert torch.equal(*tokenise(["caf\u00c3\u00a9", "café"]).unbind())  # read in a wrong encoding, and mended
    (long,) = tokenise(["cat " * 100])
    assert long.tolist() == [49406, *[2368] * 75, 49407]
    assert tokenise([]).shape == (0, 77)


def test_a_missing_tokeniser_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    with pytest.raises(UserError, match="pip install open_clip_torch"):
        tokenise(["a cat"])


def test_the_tower_reads_what_the_tokeniser_writes():
    tower = build_text_tower("transformer", layers=1, width=8, heads=2)
    features = tower(tokenise(["a cat", "a dog", "a cat"]))
    assert torch.allclose(features[0], features[2])
    assert not torch.allclose(features[0], features[1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("roberta", {}, "text tower 'roberta' is not known: choose one of bert, sentence, transformer"),
        ("sentence", {"layers": 2}, "text tower 'sentence': .*layers.*: mend its options"),
        ("transformer", {"width": 10, "heads": 4}, "width 10 is not a multiple of heads 4"),
    ],
)
def test_unknown_names_and_options_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        build_text_tower(name, **options)


def test_unfit_texts_are_refused():
    tower = build_text_tower("transformer", **SMALL)
    with pytest.raises(UserError, match=r"at most 16 token ids a caption but got token ids \(2, 77\)"):
        tower(torch.ones(2, 77, dtype=torch.int64))
    with pytest.raises(UserError, match=r"but got embeddings \(2, 5\)"):
        tower(torch.randn(2, 5))
    with pytest.raises(UserError, match="knows 60 tokens but a caption has token 60"):
        tower(torch.tensor([[1, 60]]))
    with pytest.raises(UserError, match=r"sentence takes embeddings of width 384 but got embeddings \(2, 5\)"):
        build_text_tower("sentence")(torch.randn(2, 5))
