"""Blocked search against products of whole numbers, which no rounding touches; interruptions, bounds on memory."""

import hashlib
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import run_script, shape_pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from vlrepro.data.pack import write_pack
from vlrepro.errors import UserError
from vlrepro.exact_products import error_bound, exact_products
from vlrepro.files import write_json
from vlrepro.pairs import blocks, finding, search
from vlrepro.pairs.blocks import BlockSearch
from vlrepro.pairs.embeddings import map_embeddings, read_embeddings, write_embeddings
from vlrepro.pairs.mining import mine_pairs
from vlrepro.pairs.nearest import Nearest
from vlrepro.pairs.search import exact_search
from vlrepro.pairs.selection import Selection


@pytest.fixture(autouse=True)
def short_strips(monkeypatch):
    """So that a few dozen rows take several steps."""
    monkeypatch.setattr(blocks, "_STRIP", 8)


def unit_rows(count, seed, width=6, spread=1.0):
    """Rows around one direction; of little spread, float32 products cannot tell which are nearest."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=width) + spread * rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def brute_force(rows, k, names):
    """(names, cosines) of each row's nearest others, (n, k): by products of whole numbers, then by name."""
    whole = np.rint(rows.astype(np.float64) * 2**26).astype(np.int64)
    products = whole @ whole.T
    found, cosines = np.full((len(rows), k), -1), np.full((len(rows), k), -np.inf)
    for row in range(len(rows)):
        others = sorted((-products[row, other], names[other]) for other in range(len(rows)) if other != row)[:k]
        found[row, : len(others)] = [name for _, name in others]
        cosines[row, : len(others)] = [-product / 2**52 for product, _ in others]
    return found, cosines


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    k=st.integers(1, 5),
    slab=st.integers(1, 30),
    tile=st.integers(1, 12),
    spread=st.sampled_from([1.0, 1e-4, 1e-7]),
    repeats=st.integers(0, 30),
    dense=st.sampled_from([1, 64, 10**9]),
    pool=st.sampled_from([4, 1 << 20]),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_find_what_whole_numbers_say(count, k, slab, tile, spread, repeats, dense, pool, seed):
    rows = unit_rows(count, seed, spread=spread)
    rows[count - min(repeats, count) :] = rows[0]
    names = np.random.default_rng(seed).permutation(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_DENSE", dense)
        patch.setattr(blocks, "_POOL", pool)
        patch.setattr(blocks, "_OPENED", 3 * tile)
        found = BlockSearch(Selection(rows), k, names, slab, tile)
        found.run()
    expected = brute_force(rows, k, names)
    assert np.array_equal(found.nearest.names, expected[0])
    assert np.array_equal(found.nearest.cosines, expected[1])
    assert found.multiplied == count * (count - 1) // 2


def test_the_error_bound_holds_and_exact_products_are_those_of_whole_numbers():
    for width in (3, 384, 768):
        left, right = unit_rows(200, 0, width), unit_rows(200, 1, width)
        whole = [np.rint(rows.astype(np.float64) * 2**26).astype(np.int64) for rows in (left, right)]
        expected = (whole[0] * whole[1]).sum(1)
        exact = exact_products(torch.from_numpy(left), torch.from_numpy(right)).numpy()
        assert np.array_equal(exact * 2.0**52, expected)
        assert np.abs((left * right).sum(1) - exact).max() < error_bound(width)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 30)), unique_by=lambda c: c[::2]))
def test_the_nearest_do_not_depend_on_the_order_of_offers(candidates):
    for order in (candidates, candidates[::-1]):
        nearest = Nearest(4, 3)
        for start in range(0, len(order), 5):
            rows, cosines, names = (np.array(part) for part in zip(*order[start : start + 5], strict=True))
            nearest.offer(rows, cosines / 5, names)
        for row in range(4):
            expected = sorted((-cosine / 5, name) for own, cosine, name in candidates if own == row)[:3]
            assert nearest.names[row].tolist() == [n for _, n in expected] + [-1] * (3 - len(expected))
            assert nearest.cosines[row][: len(expected)].tolist() == [-cosine for cosine, _ in expected]


def interrupted(rows, state, steps, identity="rows"):
    """A search that stops after some steps, each of which was saved."""
    made = BlockSearch(Selection(rows), 2, slab=16, tile=2)
    taken = iter(range(steps))
    walk = made.steps

    def some():
        for _ in walk():
            if next(taken, None) is None:
                raise KeyboardInterrupt
            yield

    made.steps = some
    with pytest.raises(KeyboardInterrupt):
        made.run(state, identity, seconds=0)


def go_on(rows, state, identity="rows"):
    """A search to its end, and how many steps it took."""
    made, steps = BlockSearch(Selection(rows), 2, slab=16, tile=2), []
    walk = made.steps
    made.steps = lambda: (steps.append(made.position) for _ in walk())
    made.run(state, identity, seconds=0)
    return made.nearest, len(steps)


@pytest.mark.parametrize("taken", [1, 4, 9])
def test_a_search_goes_on_and_finds_the_same(tmp_path, taken):
    rows = unit_rows(80, 0)
    whole, steps = go_on(rows, None)
    interrupted(rows, tmp_path, taken)
    nearest, left = go_on(rows, tmp_path)
    assert left == steps - taken > 0
    assert nearest.names.tobytes() == whole.names.tobytes()
    assert nearest.cosines.tobytes() == whole.cosines.tobytes()
    assert go_on(rows, tmp_path)[1] == 0  # all of it is kept, for the searches of other scopes


def test_a_search_starts_again_where_its_state_is_of_others_or_broken(tmp_path, capsys):
    rows = unit_rows(80, 0)
    whole, steps = go_on(rows, None)
    interrupted(rows, tmp_path, 4)
    assert go_on(rows, tmp_path, "other rows")[1] == steps
    assert len(list(tmp_path.iterdir())) == 2
    interrupted(rows, tmp_path, 4)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-50])
    nearest, left = go_on(rows, tmp_path)
    assert left == steps
    assert np.array_equal(nearest.names, whole.names)
    assert "not readable" in capsys.readouterr().out


def test_no_more_rows_are_read_at_a_time_than_a_slab_holds():
    rows, read = unit_rows(100, 0), []

    class Lying:
        shape = rows.shape

        def __len__(self):
            return len(rows)

        def __getitem__(self, part):
            read.append(len(rows[part]))
            return rows[part]

    found = BlockSearch(Selection(Lying()), 1, slab=20, tile=2)
    found.run()
    assert np.array_equal(found.nearest.names, brute_force(rows, 1, np.arange(100))[0])
    assert max(read) == 20
    assert sum(read) == 5 * 20 + sum(100 - slab for slab in range(0, 100, 20))  # all rows pass by each slab once


@settings(max_examples=25, deadline=None)
@given(count=st.integers(30, 60), k=st.integers(1, 3), seed=st.integers(0, 99))
def test_many_rows_are_searched_in_blocks_with_the_neighbours_of_few(count, k, seed):
    rows, places = unit_rows(100, seed), np.random.default_rng(seed).permutation(100)[:count]
    few = exact_search(Selection(rows, places), k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MINIMUM_ROWS", 30)
        found, cosines = exact_search(Selection(rows, places), k)
    names, expected = brute_force(rows[places], k, np.arange(count))
    assert np.array_equal(found, names)
    assert np.array_equal(found, few[0])  # no two of so few are so near that float32 takes one for the other
    assert np.allclose(cosines, few[1], atol=1e-6)
    assert np.array_equal(cosines, expected.astype(np.float32))


def test_equally_near_rows_come_in_order_wherever_they_lie(monkeypatch):
    monkeypatch.setattr(search, "MINIMUM_ROWS", 2)
    rows = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    places = np.random.default_rng(0).permutation(40)
    found, _ = exact_search(Selection(rows, places), 2)
    for row in range(40):
        same = [other for other in range(40) if other != row and places[other] // 20 == places[row] // 20]
        assert found[row].tolist() == same[:2]


def test_pairs_of_many_do_not_depend_on_the_order_of_pictures(monkeypatch):
    monkeypatch.setattr(search, "MINIMUM_ROWS", 2)
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 30, 60)
    vectors = np.repeat(unit_rows(10, 0), 3, axis=0)[numbers]  # captions that differ may have equal embeddings
    texts, keys = [f"caption {number}" for number in numbers], [f"k{number:02d}" for number in range(60)]
    first = mine_pairs(texts, vectors, keys, k=2)
    order = rng.permutation(60)
    again = mine_pairs([texts[i] for i in order], vectors[order], [keys[i] for i in order], k=2)
    named = {(keys[i], keys[j], at) for i, j, at in zip(first.source, first.neighbour, first.cosine, strict=True)}
    ends = ((keys[order[i]], keys[order[j]]) for i, j in zip(again.source, again.neighbour, strict=True))
    assert named == {(*both, at) for both, at in zip(ends, again.cosine, strict=True)}


def test_embeddings_are_mapped_where_they_lie(tmp_path):
    rows = torch.from_numpy(unit_rows(7, 0))
    write_embeddings(tmp_path / "rows.safetensors", rows, {"a": 1})
    mapped = map_embeddings(tmp_path / "rows.safetensors", 7, "captions")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, read_embeddings(tmp_path / "rows.safetensors", 7, "captions").numpy())
    with pytest.raises(UserError, match="7 rows for the 8 of captions"):
        map_embeddings(tmp_path / "rows.safetensors", 8, "captions")
    write_embeddings(tmp_path / "ids.safetensors", torch.zeros(7, 3, dtype=torch.int64), {})
    with pytest.raises(UserError, match=r"ids.safetensors: I64 of shape \[7, 3\], not float32 rows"):
        map_embeddings(tmp_path / "ids.safetensors", 7, "captions")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "rows.safetensors").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"cut.safetensors: not a readable embedding file"):
        map_embeddings(tmp_path / "cut.safetensors", 7, "captions")


def test_the_command_goes_on_after_a_kill_and_writes_the_same_bytes(tmp_path, monkeypatch):
    pictures = shape_pictures(60)
    write_pack(tmp_path / "pack", pictures)
    texts = {"key": [picture.key for picture in pictures], "caption": [f"caption {n % 50}" for n in range(60)]}
    pq.write_table(pa.table(texts), tmp_path / "captions.parquet")
    write_embeddings(tmp_path / "rows.safetensors", torch.from_numpy(unit_rows(50, 0)).repeat(2, 1)[:60], {})
    recipe = {"by": "caption", "scope": "global", "k": 2, "minimum_cosine": -1.0, "search": "exact"}
    write_json(tmp_path / "recipe.json", recipe | {"seed": 0, "threads": 1})
    for module in (search, finding):
        monkeypatch.setattr(module, "MINIMUM_ROWS", 30)
    monkeypatch.setattr(search, "BlockSearch", partial(BlockSearch, slab=8, tile=1))
    names = {"recipe": "recipe.json", "index": "pack/index.parquet", "captions": "captions.parquet"}
    files = {name: tmp_path / path for name, path in (names | {"embeddings": "rows.safetensors"}).items()}

    def mine(name):
        files["pairs"], files["summary"] = tmp_path / f"{name}.parquet", tmp_path / f"{name}.json"
        run_script("mine_pairs.py", monkeypatch, state=tmp_path / "state", **files, **{"checkpoint-seconds": 0})
        return [hashlib.sha256(files[kind].read_bytes()).hexdigest() for kind in ("pairs", "summary")]

    whole = mine("whole")
    assert not (tmp_path / "state").exists()
    save, saved = Nearest.save, []

    def dies(self, path, digest, position):
        save(self, path, digest, position)
        saved.append(position)
        if len(saved) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Nearest, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            mine("killed")
    assert not (tmp_path / "killed.parquet").exists()
    assert len(list((tmp_path / "state").iterdir())) == 1
    assert mine("resumed") == whole
    assert not (tmp_path / "state").exists()
