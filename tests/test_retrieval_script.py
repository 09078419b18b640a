"""Retrieval as the workflow runs it: runs that were trained and weights that were given, against plain sorting."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_script, score_runs, shape_pictures
from scipy.stats import hypergeom
from tiny_checkpoints import save_clip
from transformers import CLIPModel, CLIPProcessor

from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.training.writing import write_run

COUNT, WIDTH = 24, 5
RUNS = ("clip-seed0-00000000", "clip-seed1-11111111", "clip-seed2-22222222")
GIVEN = "given-seed0-33333333"
ONE, MORE = [["one-1", "one-1-e"]], [["one-1", "one-1-e"], ["more-1", "more-1-e"]]
SETS = {
    "whole": {"captions": ONE},
    "second": {"captions": ONE, "part": [2, 3]},
    "thirds": {"captions": ONE, "batches": 3},
    "first": {"captions": ONE, "first": 10},
    "several": {"captions": MORE},
    "each": {"captions": MORE, "captions_each": 2},
    "unequal": {"captions": [["more-1", "more-1-e"]], "batches": 2},
}
WAYS = ("text_to_image", "image_to_text")
PROTOCOLS = {
    f"{way}_{top}": {"kind": "retrieval", "direction": way, "top": top, "encoder": "minilm"}
    for way in WAYS
    for top in (1, 5)
}


def captions_of(name: str) -> list[tuple[int, str]]:
    """(picture, caption): `one` names colour and shape, so three pictures share each; `more` has up to 3, or none."""
    pictures = shape_pictures(COUNT)
    if name == "one":
        return [(number, picture.caption) for number, picture in enumerate(pictures)]
    words = ("a drawing of a", "shape of", "photo a")
    return [
        (number, f"{words[n]} {pictures[number].caption}{' shape' * (number // 8)}")
        for number in range(1, COUNT)
        for n in range(number % 4)
    ]


@pytest.fixture
def place(tmp_path, recipe, monkeypatch):
    """A pack of 24 pictures, two caption files with embeddings (equal texts have equal rows), three runs."""
    monkeypatch.chdir(tmp_path)
    write_pack("data/shapes-1", shape_pictures(COUNT))
    generator = torch.Generator().manual_seed(0)
    rows = {text: torch.randn(WIDTH, generator=generator) for name in ("one", "more") for _, text in captions_of(name)}
    Path("captions").mkdir()
    for name in ("one", "more"):
        keys, texts = zip(*((f"p{number:04d}", text) for number, text in captions_of(name)), strict=True)
        pq.write_table(pa.table({"key": keys, "caption": texts}), f"captions/{name}-1.parquet")
        write_embeddings(f"embeddings/{name}-1-e.safetensors", torch.stack([rows[text] for text in texts]), {})
    options = {"joint_width": 6, "text_tower": {"name": "sentence", "width": WIDTH}}
    recipe |= {"framework": "clip", "options": options}
    for seed, run in enumerate(RUNS):
        write_json(f"{run}.json", recipe | {"seed": seed})
        failed = "the loss is nan" if seed == 2 else None
        write_run(tmp_path / run, model_of(recipe, seed), recipe | {"seed": seed}, [], failed)
    shared = {"pack": "shapes-1", "metric": "accuracy", "splits": ["test"]}
    sets = {name: shared | entry for name, entry in SETS.items()}
    evaluation = {"sets": sets, "protocols": PROTOCOLS, "pictures": recipe["pictures"], "threads": 1}
    write_json("evaluation.json", evaluation)
    return recipe, rows


def model_of(recipe, seed):
    torch.manual_seed(seed)
    return build_framework("clip", build_backbone("resnet_small", width=4), recipe["options"]).eval()


def scored(monkeypatch, *runs):
    folders = {"data": "data", "captions": "captions", "embeddings": "embeddings"}
    return score_runs("retrieve.py", monkeypatch, runs, **folders)


def trained_cosines(recipe, rows, seed):
    """Text -> the cosines of all pictures with it, by the framework's own towers in float64."""
    framework, settings = model_of(recipe, seed), recipe["pictures"]
    pictures = Pictures(Pack("data/shapes-1"), settings["canvas"]).batch(range(COUNT))
    views = centre(pictures, settings["size"], settings["mean"], settings["std"])
    with torch.inference_mode():
        seen = framework.projection(framework.backbone(views)).double().numpy()
        said = {text: framework.captions.projection(row[None])[0].double().numpy() for text, row in rows.items()}
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    return {text: seen @ row / np.linalg.norm(row) for text, row in said.items()}


def gallery(entry):
    """Pictures of each gallery of a set, and (picture, caption) of the whole, by plain loops over the fixture's."""
    pairs = [pair for file, _ in entry["captions"] for pair in captions_of(file.removesuffix("-1"))]
    shown = sorted({number for number, _ in pairs})[: entry.get("first")]
    captions = []
    for number in shown:
        captions += [pair for pair in pairs if pair[0] == number][: entry.get("captions_each")]
    parts = entry["part"][1] if "part" in entry else entry.get("batches", 1)
    size = len(shown) // parts
    galleries = [shown[n * size : (n + 1) * size] for n in range(parts)]
    return galleries[entry["part"][0] - 1 :][:1] if "part" in entry else galleries, captions


def compared(cosines, pictures, captions, way):
    """Of each query (nearer wrong items, as near wrong ones, as near right ones)."""
    captions = [pair for pair in captions if pair[0] in pictures]
    if way == "text_to_image":
        table = [[(cosines[text][p], p == own) for p in pictures] for own, text in captions]
    else:
        table = [[(cosines[text][p], p == own) for own, text in captions] for p in pictures]
    found = []
    for items in table:
        best = max(value for value, right in items if right)
        assert all(value == best or abs(value - best) > 1e-6 for value, _ in items)  # float32 tells them apart
        level = [right for value, right in items if value == best]
        found.append((sum(value > best for value, _ in items), level.count(False), level.count(True)))
    return found


def chance_of_hit(ahead, wrong, right, top):
    """By listing which of the level items come first."""
    places = min(max(top - ahead, 0), wrong + right)
    chosen = list(combinations([False] * wrong + [True] * right, places))
    return sum(any(one) for one in chosen) / len(chosen)


def check(metrics, cosines):
    """All scores of a run's metrics against plain sorting."""
    for key, protocol in PROTOCOLS.items():
        for name, entry in SETS.items():
            galleries, captions = gallery(entry)
            recalls = []
            for pictures in galleries:
                found = compared(cosines, pictures, captions, protocol["direction"])
                recalls.append(np.mean([chance_of_hit(*one, protocol["top"]) for one in found]))
            cell = metrics["protocols"][key]["sets"][name]
            assert cell["score"] == pytest.approx(np.mean(recalls)), (key, name)
            assert cell["test_pictures"] == len(cell["examples"]) == sum(map(len, galleries))
            weights = cell["weights"] or [1 / len(cell["examples"])] * len(cell["examples"])
            assert np.dot(weights, cell["examples"]) == pytest.approx(cell["score"])


def test_recall_is_that_of_plain_sorting_in_both_directions(place, monkeypatch):
    for seed, metrics in enumerate(scored(monkeypatch, *RUNS[:2])):
        assert metrics["recipe"] == digest_of(read_json(f"{RUNS[seed]}.json"))
        check(metrics, trained_cosines(*place, seed))


def test_equal_captions_are_exactly_as_near(place, monkeypatch):
    """Three pictures share a caption, so none of the three can be sure of it."""
    (metrics,) = scored(monkeypatch, RUNS[0])
    examples = metrics["protocols"]["image_to_text_1"]["sets"]["whole"]["examples"]
    assert set(np.round(examples, 9)) <= {0, round(1 / 3, 9)}
    assert max(examples) > 0


def test_batches_are_their_parts_and_runs_score_as_alone(place, monkeypatch):
    together = scored(monkeypatch, *RUNS[:2])
    for run, metrics in zip(RUNS, together, strict=False):
        for entry in metrics["protocols"].values():
            part, thirds = entry["sets"]["second"], entry["sets"]["thirds"]
            assert part["examples"] == thirds["examples"][8:16]
            assert part["score"] == pytest.approx(np.mean(thirds["examples"][8:16]))
        alone = scored(monkeypatch, run)[0]
        assert metrics["searches"] == alone["searches"]
        assert [metrics["protocols"][key]["sets"] for key in PROTOCOLS] == [
            alone["protocols"][key]["sets"] for key in PROTOCOLS
        ]
    assert together[0]["searches"] != together[1]["searches"]


def test_whole_galleries_are_kept_query_by_query(place, monkeypatch):
    (metrics,) = scored(monkeypatch, RUNS[0])
    cosines = trained_cosines(*place, 0)
    # A part of a gallery is no gallery of its own; `unequal` is searched in halves alone.
    assert set(metrics["searches"]) == {"whole", "several", "each"}
    for name, found in metrics["searches"].items():
        (pictures,), captions = gallery(SETS[name])
        assert found["pictures"] == [f"p{number:04d}" for number in pictures]
        assert list(zip(found["picture_of"], found["captions"], strict=True)) == captions
        for way in WAYS:
            entry = found["directions"][way]
            expected = compared(cosines, pictures, captions, way)
            assert entry["ranks"] == pytest.approx([1 + a + w / (r + 1) for a, w, r in expected])
            assert entry["curve"][-1][:2] == pytest.approx(
                [COUNT, np.mean([chance_of_hit(*one, 1) for one in expected])]
            )
            rows = np.array([cosines[text] for _, text in captions])
            rows = rows if way == "text_to_image" else rows.T
            for query, shown in enumerate(entry["nearest"]):
                best = np.sort(rows[query])[::-1][:5]
                assert len(set(shown)) == 5
                np.testing.assert_allclose(rows[query][shown], best, atol=1e-6)


def test_recall_by_size_is_hypergeometric(place, monkeypatch):
    """A caption finds its picture where none of those ahead of it is among the others that are drawn."""
    (metrics,) = scored(monkeypatch, RUNS[0])
    found = metrics["searches"]["whole"]["directions"]
    assert [size for size, *_ in found["text_to_image"]["curve"]] == [1, 3, 6, 12, 24]
    for way in WAYS:
        expected = compared(trained_cosines(*place, 0), range(COUNT), captions_of("one"), way)
        for size, recall, error in found[way]["curve"]:
            hit = [
                np.mean([hypergeom.pmf(0, COUNT - 1, ahead + before, size - 1) for before in range(wrong + 1)])
                for ahead, wrong, _ in expected
            ]
            assert (recall, error) == (pytest.approx(np.mean(hit)), 0)


def test_a_run_that_failed_to_train_has_no_score(place, monkeypatch):
    (metrics,) = scored(monkeypatch, RUNS[2])
    assert metrics["failed"] == "the loss is nan"
    assert "searches" not in metrics
    for protocol in metrics["protocols"].values():
        sizes = {name: entry["test_pictures"] for name, entry in protocol["sets"].items()}
        assert sizes == {name: sum(map(len, gallery(entry)[0])) for name, entry in SETS.items()}
        assert {(entry["score"], *entry["examples"]) for entry in protocol["sets"].values()} == {(None,)}


def test_weights_that_are_given_are_searched_with_their_own_encoders(place, monkeypatch):
    """An imported checkpoint reads the captions themselves, in its prompt, and pictures as its processor cuts them."""
    clip = save_clip(Path("clip"))
    entry = {"kind": "transformers", "model": "clip", "prompt": "photo {caption} </s>"}
    write_json(f"{GIVEN}.json", {"framework": "pretrained", "options": {}, "dual_encoder": entry})
    output = f"{GIVEN}/model.safetensors"
    run_script("import_model.py", monkeypatch, recipe=f"{GIVEN}.json", checkpoint=clip, model=output)
    (metrics,) = scored(monkeypatch, GIVEN)
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    pictures = Pictures(Pack("data/shapes-1"), 24).batch(range(COUNT))
    cosines = {}
    with torch.inference_mode():
        pixels = processor(images=list(pictures), return_tensors="pt")
        seen = model.get_image_features(**pixels).pooler_output.double().numpy()
        for _, text in captions_of("one") + captions_of("more"):
            words = processor(text=f"photo {text} </s>", return_tensors="pt")
            said = model.get_text_features(**words).pooler_output[0].double().numpy()
            cosines[text] = seen @ said / np.linalg.norm(seen, axis=1) / np.linalg.norm(said)
    check(metrics, cosines)
    assert metrics["backbone"]["feature_width"] == 8
