"""Zero-shot as the workflow runs it: class names to prompts, a ranking, a set's pictures, metrics of several runs."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_script, score_runs, shape_pictures
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import normalize

from vlrepro.data.augment import centre
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack, write_pack
from vlrepro.errors import UserError
from vlrepro.evaluation.features import load_backbone
from vlrepro.evaluation.naming import Prompts, class_names, read_prompts, write_prompts
from vlrepro.evaluation.templates import templates
from vlrepro.evaluation.zero_shot_sets import load_pictures, zero_shot_set
from vlrepro.files import digest_of, read_json, write_json
from vlrepro.frameworks import build_framework
from vlrepro.models.backbones import build_backbone
from vlrepro.training.outcome import FAILED
from vlrepro.training.writing import write_run

ENTRY = {"classes": "concept", "among": "all", "splits": ["test"]}
WIDTH = 5
RUNS = ("clip-seed0-00000000", "clip-seed1-11111111", "clip-seed2-22222222")


@pytest.fixture
def place(tmp_path, recipe, monkeypatch):
    """A pack of 64 pictures of 8 concepts, prompts of their names in two templates, three runs (the last failed)."""
    monkeypatch.chdir(tmp_path)
    write_pack("data/shapes-1", shape_pictures(64))
    generator = torch.Generator().manual_seed(0)
    for name, count in (("photo-1", 2), ("name-1", 1)):
        named = class_names(Pack("data/shapes-1").rows, "concept", "here")
        texts = torch.randn(len(named), count, WIDTH, generator=generator)
        write_prompts(f"prompts/{name}.safetensors", Prompts(tuple(named), tuple(named.values()), texts), {})
    pq.write_table(pa.table({"key": [f"p{n:04d}" for n in range(64)], "rank": list(range(64))}), "ranks-1.parquet")
    options = {"joint_width": 6, "text_tower": {"name": "sentence", "width": WIDTH}}
    recipe |= {"framework": "clip", "options": options}
    for seed, run in enumerate(RUNS):
        torch.manual_seed(seed)
        model = build_framework("clip", build_backbone("resnet_small", width=4), options)
        write_json(f"{run}.json", recipe | {"seed": seed})
        write_run(tmp_path / run, model, recipe | {"seed": seed}, [], "the loss is nan" if seed == 2 else None)
    named = {"photo": "photo-1", "name": "name-1"}
    entry = {"pack": "shapes-1", "metric": "accuracy", "prompts": named, **ENTRY}
    evaluation = {
        "sets": {
            "every": entry,
            "hard": entry | {"among": "own", "hardest": {"ranking": "ranks-1", "share": 0.05}},
            "damaged": entry | {"corrupted": {"seed": 0, "severity": 5}},
        },
        "protocols": {
            "photo": {"kind": "zero_shot", "top": 1, "templates": "photo"},
            "name": {"kind": "zero_shot", "top": 3, "templates": "name"},
        },
        "pictures": recipe["pictures"],
        "threads": 1,
    }
    write_json("evaluation.json", evaluation)
    return recipe


def scored(monkeypatch, *runs):
    return score_runs("zero_shot.py", monkeypatch, runs, data="data", prompts="prompts", rankings=".")


def nearest(recipe, run, prompts):
    """For each picture the classes from the nearest on, by the model's own encoders and plain sorting."""
    torch.manual_seed(0)
    model = build_framework("clip", build_backbone("resnet_small", width=4), recipe["options"])
    with safe_open(f"{run}/model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = {name: name.removeprefix("joint/") if name.startswith("joint/") else f"backbone.{name}" for name in stored}
    model.load_state_dict({names[name]: value for name, value in stored.items()})
    settings = recipe["pictures"]
    views = centre(
        Pictures(Pack("data/shapes-1"), settings["canvas"]).batch(range(64)),
        settings["size"],
        settings["mean"],
        settings["std"],
    )
    with torch.inference_mode():
        pictures = normalize(model.eval().projection(model.backbone(views)), dim=1)
        texts = normalize(model.captions.projection(prompts.texts), dim=2)
    classes = normalize(texts.mean(1), dim=1)
    return (pictures @ classes.T).argsort(1, descending=True)


def test_metrics_are_those_of_plain_sorting_for_each_run(place, monkeypatch):
    rows = Pack("data/shapes-1").rows
    for metrics in scored(monkeypatch, *RUNS[:2]):
        assert metrics["recipe"] == digest_of(read_json(f"{metrics['run']}.json"))
        for name, top in (("photo", 1), ("name", 3)):
            prompts = read_prompts(f"prompts/{name}-1.safetensors")
            order = nearest(place, metrics["run"], prompts)
            expected = [
                int(row.concept in [prompts.classes[c] for c in found[:top]])
                for row, found in zip(rows, order.tolist(), strict=True)
            ]
            entry = metrics["protocols"][name]["sets"]["every"]
            assert entry["examples"] == expected
            assert entry["score"] == pytest.approx(sum(expected) / 64)
            assert (entry["classes"], entry["test_pictures"], entry["chance"]) == (8, 64, top / 8)


def test_several_runs_in_one_job_score_as_alone(place, monkeypatch):
    def timeless(metrics):
        return {name: entry["sets"] for name, entry in metrics["protocols"].items()}

    together = [timeless(metrics) for metrics in scored(monkeypatch, *RUNS[:2])]
    alone = [timeless(scored(monkeypatch, run)[0]) for run in RUNS[:2]]
    assert together == alone
    assert together[0] != together[1]


def test_the_hardest_are_told_apart_from_the_classes_that_they_show(place, monkeypatch):
    # 5 % of 64 pictures is 3: the last three, which show three classes.
    entry = scored(monkeypatch, RUNS[0])[0]["protocols"]["photo"]["sets"]["hard"]
    assert (entry["classes"], entry["test_pictures"]) == (3, 3)
    assert sorted(entry["labels"]) == [0, 1, 2]


def test_corruption_changes_what_is_seen(place):
    plain = load_pictures(Pack("data/shapes-1"), ENTRY, 24, 1).batch(range(64))
    damaged = load_pictures(Pack("data/shapes-1"), ENTRY | {"corrupted": {"seed": 0, "severity": 5}}, 24, 1)
    assert (damaged.batch(range(64)) != plain).flatten(1).any(1).all()


def test_a_run_that_failed_to_train_has_no_score(place, monkeypatch):
    (metrics,) = scored(monkeypatch, RUNS[2])
    assert metrics["failed"] == "the loss is nan"
    for protocol in metrics["protocols"].values():
        for entry in protocol["sets"].values():
            assert (entry["score"], entry["examples"]) == (None, [])
    assert metrics["protocols"]["photo"]["sets"]["hard"]["test_pictures"] == 3


def test_pictures_of_the_chosen_splits(tmp_path):
    write_pack(tmp_path / "p", shape_pictures(64, labelled=True))
    pictures = Pictures(Pack(tmp_path / "p"), 24)
    prompts = Prompts(("ellipse", "rectangle"), ("an ellipse", "a rectangle"), torch.zeros(2, 1, 3))
    chosen = zero_shot_set(pictures, {**ENTRY, "classes": "label", "splits": ["val", "test"]}, prompts, None)
    assert [pictures.pack.rows[n].split for n in chosen.positions] == ["val"] * 8 + ["test"] * 8 + ["val"] * 8 + [
        "test"
    ] * 8
    assert chosen.truth.tolist() == [n % 2 for n in chosen.positions.tolist()]


def test_a_class_without_a_name_is_refused(place, tmp_path):
    pictures = Pictures(Pack("data/shapes-1"), 24)
    few = Prompts(("red-ellipse",), ("red ellipse",), torch.zeros(1, 1, 3))
    with pytest.raises(UserError, match=r"picture p0001: class 'red-rectangle' has no name among the prompts"):
        zero_shot_set(pictures, ENTRY, few, None)
    write_pack(tmp_path / "mute", [replace(picture, caption=" ") for picture in shape_pictures(8)])
    with pytest.raises(UserError, match="class 'red-ellipse' has no name: its first picture needs a caption"):
        class_names(Pack(tmp_path / "mute").rows, "concept", "here")
    write_pack(tmp_path / "bare", [replace(picture, concept="") for picture in shape_pictures(8)])
    with pytest.raises(UserError, match="no picture has a concept"):
        class_names(Pack(tmp_path / "bare").rows, "concept", "here")


def test_a_ranking_of_other_pictures_is_refused(place):
    pq.write_table(pa.table({"key": ["p0000"], "rank": [0]}), "other.parquet")
    entry = {**ENTRY, "hardest": {"ranking": "other", "share": 0.5}}
    prompts = read_prompts("prompts/photo-1.safetensors")
    with pytest.raises(UserError, match=r"other\.parquet: a ranking of other pictures"):
        zero_shot_set(Pictures(Pack("data/shapes-1"), 24), entry, prompts, "other.parquet")


def test_prompts_files_that_are_none_are_refused(tmp_path):
    save_file({"prompts": torch.zeros(2, 1, 3)}, tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match=r"bare\.safetensors: not a readable file of prompts"):
        read_prompts(tmp_path / "bare.safetensors")
    write_prompts(tmp_path / "short.safetensors", Prompts(("a",), ("an a",), torch.zeros(2, 1, 3)), {})
    with pytest.raises(UserError, match="2 rows for 1 classes"):
        read_prompts(tmp_path / "short.safetensors")


def prompts_of(monkeypatch, pack, output="made.safetensors", **changes):
    settings = {"classes": "concept", "templates": "photo", "kind": "tokens", "encoder": {}, "repeated_names": 0}
    write_json("prompts.json", settings | {"threads": 1} | changes)
    run_script("embed_prompts.py", monkeypatch, recipe="prompts.json", index=f"{pack}/index.parquet", output=output)
    return read_prompts(output)


def test_prompts_are_every_name_in_every_template(place, monkeypatch):
    from open_clip.tokenizer import tokenize

    made = prompts_of(monkeypatch, "data/shapes-1", templates="imagenet_7")
    assert made.classes == tuple(sorted({row.concept for row in Pack("data/shapes-1").rows}))
    assert made.names[0] == "blue ellipse"
    for number, template in enumerate(templates("imagenet_7")):
        assert torch.equal(made.texts[0, number], tokenize([template.replace("{}", "blue ellipse")])[0])


def test_names_that_repeat_are_refused_unless_they_may(place, monkeypatch, capsys):
    write_pack("data/twins-1", [replace(picture, caption="a thing") for picture in shape_pictures(8)])
    with pytest.raises(SystemExit):
        prompts_of(monkeypatch, "data/twins-1")
    assert "7 names repeat earlier ones where 0 may ('a thing' is there 8 times)" in capsys.readouterr().err
    assert prompts_of(monkeypatch, "data/twins-1", repeated_names=7).names == ("a thing",) * 8


def test_the_ranking_script_writes_a_rank_a_picture(place, monkeypatch):
    from tiny_checkpoints import save_clip

    save_clip(Path("scorer"))
    write_json("ranking.json", {"classes": "concept", "batch_size": 16, "threads": 1, "revision": None})
    index = "data/shapes-1/index.parquet"
    run_script(
        "rank_pictures.py",
        monkeypatch,
        recipe="ranking.json",
        index=index,
        names=index,
        model="scorer",
        output="r.parquet",
    )
    table = pq.read_table("r.parquet")
    assert table.column("key").to_pylist() == [row.key for row in Pack("data/shapes-1").rows]
    assert all(0 <= rank < 8 for rank in table.column("rank").to_pylist())


def test_failure_is_in_the_metadata_alone(place):
    with safe_open(f"{RUNS[2]}/model.safetensors", "pt") as file:
        assert file.metadata()[FAILED] == "the loss is nan"
    assert load_backbone(place, f"{RUNS[2]}/model.safetensors").feature_width == 32
