"""What a teacher sees: vocabularies, losses and agreement against loops, heads against scikit-learn, files."""

import json
import math
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from concept_packs import RECIPE, concept_file, keys_of, named_shapes, parse_file, shape_features
from conftest import run_script
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from vlrepro.captions.concept_files import ConceptFile, Named, Seen, read_concepts, read_named, write_concepts
from vlrepro.captions.concepts import (
    HeadOptions,
    agreement,
    distil,
    fit_head,
    likeliest,
    multi_label_loss,
    targets_of,
    vocabulary_of,
)
from vlrepro.data.loader import Pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError
from vlrepro.files import read_json, write_json
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.training.views import read_targets

WORDS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), max_size=20)


@given(WORDS, st.integers(1, 4), st.integers(1, 8))
def test_a_vocabulary_is_what_enough_captions_name(words, minimum, maximum):
    counts = {}
    for word in "abcdefg":
        for named in words:
            if word in named:
                counts[word] = counts.get(word, 0) + 1
    expected = [word for word in "abcdefg" if counts.get(word, 0) >= minimum]
    expected.sort(key=lambda word: -counts[word])  # stable: equals stay in the alphabet's order
    assert vocabulary_of(words, minimum, maximum) == expected[:maximum]


@given(WORDS, st.integers(1, 3), st.integers(1, 8), st.randoms())
def test_vocabularies_and_targets_do_not_depend_on_order(words, minimum, maximum, random):
    mixed = [random.sample(named, len(named)) for named in random.sample(words, len(words))]
    vocabulary = vocabulary_of(words, minimum, maximum)
    assert vocabulary_of(mixed, minimum, maximum) == vocabulary
    assert set(vocabulary_of(words, minimum + 1, 99)) <= set(vocabulary_of(words, minimum, 99))
    targets = targets_of(words, vocabulary)
    assert targets.shape[0] == len(words)
    for row, named in zip(targets.tolist(), words, strict=True):
        there = [place for place in row if place >= 0]
        assert there == sorted(there)
        assert Counter(vocabulary[place] for place in there) == Counter(set(named) & set(vocabulary))


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=6), st.integers(0, 99))
def test_the_loss_equals_the_formula(rows, seed):
    scores = 3 * torch.randn(len(rows), 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total = 0.0
    for values, targets in zip(scores.tolist(), rows, strict=True):
        below = sum(math.exp(value) for value in values)
        total -= sum(math.log(math.exp(values[place]) / below) for place in targets) / len(targets)
    targets = targets_of([[str(place) for place in row] for row in rows], list("01234"))
    assert multi_label_loss(scores, targets).item() == pytest.approx(total / len(rows), rel=1e-9)


def test_a_head_finds_the_optimum_that_scikit_learn_finds():
    """Equal shares of a row's targets are the row once for each, weighted."""
    generator = torch.Generator().manual_seed(3)
    features = torch.nn.functional.normalize(torch.randn(300, 6, generator=generator), dim=1)
    words = [[str(number % 3)] + ["3"] * (number % 5 == 0) for number in range(300)]  # 3 stands beside the others
    targets = targets_of(words, list("0123"))
    options = HeadOptions(epochs=1500, batch_size=300, learning_rate=0.03, weight_decay=0.0)
    head = fit_head(features, targets, 4, options, "objects")
    rows = [(number, int(word), 1 / len(named)) for number, named in enumerate(words) for word in named]
    numbers, classes, shares = map(list, zip(*rows, strict=True))
    model = LogisticRegression(C=1e8, max_iter=10_000, tol=1e-10)
    model.fit(features.double().numpy()[numbers] * math.sqrt(6), classes, sample_weight=shares)
    expected = torch.from_numpy(model.predict_proba(features.double().numpy() * math.sqrt(6)))
    with torch.no_grad():
        found = head(features * math.sqrt(6)).softmax(1).double()
    assert torch.allclose(found, expected, atol=2e-3)
    places, weights = likeliest(head, features, 3)
    order = expected.argsort(1, descending=True)[:, :3]
    assert (places == order).float().mean() > 0.97  # near ties may turn
    kept = expected.gather(1, places)
    assert torch.allclose(weights.double(), kept / kept.sum(1, keepdim=True), atol=4e-3)
    assert torch.equal(weights, weights.sort(1, descending=True).values)


def test_blocks_change_nothing(monkeypatch):
    head = torch.nn.Linear(12, 5)
    whole = likeliest(head, shape_features(), 3)
    monkeypatch.setattr("vlrepro.captions.concepts._BLOCK", 7)
    parts = likeliest(head, shape_features(), 3)
    assert torch.equal(whole[0], parts[0])
    assert torch.allclose(whole[1], parts[1], atol=1e-6)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.integers(0, 5), min_size=1), st.permutations(range(6))), min_size=1, max_size=5),
    st.integers(1, 6),
)
def test_agreement_is_counted(rows, top):
    targets = targets_of([[str(place) for place in named] for named, _ in rows], list("012345"))
    places = torch.tensor([seen[:top] for _, seen in rows])
    recalls = [len(named & set(seen[:top])) / len(named) for named, seen in rows]
    firsts = [seen[0] in named for named, seen in rows]
    expected = (sum(recalls) / len(rows), sum(firsts) / len(rows), len(rows))
    assert agreement(places, targets) == pytest.approx(expected, abs=1e-6)


def test_a_teacher_that_sees_agrees_with_captions_it_never_read():
    named, features = named_shapes(256), shape_features(256)
    concepts, summary = distil(RECIPE, keys_of(256), features, named, "parses")
    assert concepts.seen["objects"].vocabulary == ["shape", "ellipse", "rectangle"]
    assert sorted(concepts.seen["attributes"].vocabulary) == ["blue", "green", "orange", "red"]
    for number, key in enumerate(concepts.keys):  # the seventh captions name nothing, and yet they are seen right
        place = concepts.seen["attributes"].places[number, 0]
        assert concepts.seen["attributes"].vocabulary[place] == ("red", "green", "blue", "orange")[number // 2 % 4], key
    assert concepts.seen["objects"].places.shape == (256, 2)
    for seen in concepts.seen.values():
        assert np.allclose(seen.weights.sum(1), 1, atol=1e-6)
    for kind, chance in (("objects", 0.8), ("attributes", 0.6)):
        found = summary[kind]["held_out"]
        assert found["teacher"]["recall"] > 0.98
        assert found["frequent"]["recall"] < chance
        assert found["shuffled"]["recall"] < chance
        assert 40 < found["pictures"] < 70  # a quarter of the 220 that name something
        assert found["pictures"] + summary[kind]["fitted"]["pictures"] == 220
    assert len(summary["examples"]) == 12
    json.dumps(summary)


def test_the_held_out_are_not_learnt_from():
    """Other words in held-out captions change what is measured and nothing that is seen."""
    named, features = named_shapes(), shape_features()
    concepts, summary = distil(RECIPE, keys_of(), features, named, "parses")
    shown = {entry["key"] for entry in summary["examples"]}
    attributes = [["blue"] if key in shown else words for key, words in zip(*_columns(named), strict=True)]
    lied = Named(named.keys, named.words | {"attributes": attributes})
    other, measured = distil(RECIPE | {"minimum_count": 1}, keys_of(), features, lied, "parses")
    ours, theirs = ([_words(seen, row) for row in range(64)] for seen in (concepts.seen, other.seen))
    assert [row["attributes"][0] for row in ours] == [row["attributes"][0] for row in theirs]
    first = [entry["attributes"]["held_out"]["teacher"]["first"] for entry in (summary, measured)]
    assert first[1] < first[0]


def _columns(named):
    return named.keys, named.words["attributes"]


def _words(seen, row):
    return {kind: [entry.vocabulary[place] for place in entry.places[row]] for kind, entry in seen.items()}


def test_twice_is_the_same_bits_and_another_seed_is_not():
    found = [
        distil(RECIPE | {"head": RECIPE["head"] | {"seed": seed}}, keys_of(), shape_features(), named_shapes(), "x")[0]
        for seed in (0, 0, 1)
    ]
    weights = [concepts.seen["objects"].weights.tobytes() for concepts in found]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize(
    ("change", "named", "words"),
    [
        ({"minimum_count": 50}, named_shapes(), "p.parquet: 1 objects are named by at least 50 captions .* but 2 are"),
        ({"top": 4}, named_shapes(), "3 objects are named by at least 2 captions .* but 4 are needed .*: lower top or"),
        ({"objects": 2, "top": 3}, named_shapes(), "no more than 2 kept.*, but 3 are needed"),
        ({}, Named([], {"objects": [], "attributes": []}), "0 objects are named"),
        ({}, Named(["zz"], {"objects": [["a"]], "attributes": [["b"]]}), "picture 'zz' is not in the pack"),
        ({"held_out": 1.0}, named_shapes(), "no caption names a word of the vocabulary of objects: lower"),
        ({"head": {"learning_rate": 1e30}}, named_shapes(), "the head of objects grows past all bounds"),
    ],
)
def test_what_cannot_be_distilled_is_one_line(change, named, words):
    with pytest.raises(UserError, match=words) as error:
        distil(RECIPE | change, keys_of(), shape_features(), named, "p.parquet")
    assert "\n" not in str(error.value)


def test_files_keep_what_is_written(tmp_path):
    named = named_shapes(9)
    assert read_named(parse_file(tmp_path / "parses.parquet", named)) == named
    seen = {
        kind: Seen(np.array([[1, 0], [0, 1]], np.int32), np.array([[0.75, 0.25], [0.5, 0.5]], np.float32), ["ä", "b"])
        for kind in ("objects", "attributes")
    }
    write_concepts(tmp_path / "c.parquet", ConceptFile(["x", "y"], seen), {"a": 1})
    schema = pq.read_schema(tmp_path / "c.parquet")
    assert [str(field.type.value_type) for field in list(schema)[1:]] == ["int32", "float"] * 2
    assert json.loads(schema.metadata[b"objects"]) == ["ä", "b"]
    found = read_concepts(tmp_path / "c.parquet")
    assert found.keys == ["x", "y"]
    for kind, entry in found.seen.items():
        assert all(np.array_equal(*pair) for pair in zip(entry, seen[kind], strict=True)), kind


def broken(path, change):
    table = pq.read_table(path)
    column, values, kind = change
    if column:
        table = table.set_column(table.column_names.index(column), column, [values])
    pq.write_table(table.replace_schema_metadata(None) if kind == "bare" else table, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((None, None, "bare"), "not readable as a concept file"),
        (("objects", [[0, 1, 99]] * 64, ""), "a place outside its vocabulary of 7"),
        (("objects", [[0, -1, 1]] * 64, ""), "a place outside its vocabulary of 7"),
        (("objects", [[0, 1]] * 64, ""), "objects and object_weights differ in length"),
        (("objects", [[0, 1, 2]] * 63 + [[0]], ""), "not readable as a concept file"),
    ],
)
def test_broken_files_are_one_line(tmp_path, change, words):
    path = concept_file(tmp_path / "c.parquet")
    broken(path, change)
    with pytest.raises(UserError, match=words) as error:
        read_concepts(path)
    assert str(path) in str(error.value)
    for read in (read_concepts, read_named):
        (tmp_path / "text").write_text("no")
        with pytest.raises(UserError, match="text: not readable as"):
            read(tmp_path / "text")


def test_targets_are_the_pictures_own(shape_pack, tmp_path):
    pictures = Pictures(Pack(shape_pack), 24)
    path = concept_file(tmp_path / "c.parquet", 70)  # more than the pack has
    found, file = read_targets(path, pictures, {"objects": 7, "attributes": 5}), read_concepts(path)
    for position, row in enumerate(pictures.pack.rows):
        there = file.keys.index(row.key)
        assert found.objects[position].tolist() == file.seen["objects"].places[there].tolist()
        assert found.attribute_weights[position].tolist() == file.seen["attributes"].weights[there].tolist()
    with pytest.raises(UserError, match="7 objects but the recipe's options say objects: 6: mend the recipe"):
        read_targets(path, pictures, {"objects": 6, "attributes": 5})
    with pytest.raises(UserError, match="no concepts of picture p0030 of "):
        read_targets(concept_file(tmp_path / "few.parquet", 30), pictures, {"objects": 7, "attributes": 5})


def test_the_command_distils(shape_pack, tmp_path, monkeypatch, capsys):
    write_json(tmp_path / "recipe.json", RECIPE | {"threads": 1})
    write_embeddings(tmp_path / "e.safetensors", shape_features(), {})
    parses = parse_file(tmp_path / "parses.parquet", named_shapes())
    files = {"parses": parses, "embeddings": tmp_path / "e.safetensors"}
    outputs = {"output": tmp_path / "concepts.parquet", "summary": tmp_path / "summary.json"}
    run_script(
        *("distil_concepts.py", monkeypatch),
        **{"recipe": tmp_path / "recipe.json", "index": shape_pack / "index.parquet"},
        **files,
        **outputs,
    )
    expected, summary = distil(RECIPE, keys_of(), shape_features(), named_shapes(), "parses")
    found = read_concepts(tmp_path / "concepts.parquet")
    assert found.keys == expected.keys == [row.key for row in Pack(shape_pack).rows]
    assert np.array_equal(found.seen["objects"].places, expected.seen["objects"].places)
    assert read_json(tmp_path / "summary.json") == summary
    assert "3 objects; of what held-out captions name, the 2 likeliest hold" in capsys.readouterr().out
