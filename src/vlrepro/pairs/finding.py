"""From a pairs recipe and its files to pairs and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlrepro.data.index import read_columns
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of, file_digest
from vlrepro.pairs.approximate import ApproximateSearch
from vlrepro.pairs.columns import numbered, repeated
from vlrepro.pairs.drawing import draw_pairs
from vlrepro.pairs.embeddings import map_embeddings
from vlrepro.pairs.mining import Pairs, mine_pairs
from vlrepro.pairs.purity import summarise
from vlrepro.pairs.scopes import COLUMNS, scope_numbers, scope_sizes
from vlrepro.pairs.search import MINIMUM_ROWS, Search, exact_search

_TRUTH = ("concept", "label", "group")
_ROWS = 1 << 20  # of pairs that are written at a time, each a row group


def find_pairs(
    recipe: Mapping[str, Any],
    index: str | Path,
    captions: str | Path | None,
    embeddings: str | Path | None,
    state: Path | None = None,
    seconds: float = 60.0,
) -> tuple[Pairs, pa.Array, dict[str, Any]]:
    """The pairs of `recipe`, the keys that their positions stand for, and their summary (`summarise`).

    `by` says what makes a neighbour: `caption` or `picture` (the nearest embeddings; `captions` is None for
    pictures), `label` (of the same class) or `random`. Groups, authors, dates, labels and concepts are the pack
    index's, whatever the captions are. The summary adds `k`, `scope` and `search`; with scopes `scope_sizes`; of an
    approximate search its `recall`. An exact search of many rows goes on from what the folder `state` has of it, and
    saves there every `seconds`.

    Raises:
        UserError: a file does not fit another or the recipe; no scope is large enough for an approximate search; no
            picture has a neighbour.
    """
    names = dict.fromkeys(("key", *_TRUTH, *COLUMNS[recipe["scope"]]))
    pictures, texts, uncaptioned = _captioned(read_columns(index, list(names)), captions)
    keys = pictures.column("key").combine_chunks()
    scopes = scope_numbers(pictures, recipe["scope"])
    truth = {name: numbered(pictures.column(name)) for name in _TRUTH}
    search: Search | None = None
    if recipe["by"] in ("caption", "picture"):
        vectors = map_embeddings(embeddings, len(keys), captions or index)
        search = _search(recipe, embeddings, len(keys), state, seconds)
        own = np.arange(len(keys)) if texts is None else texts
        pairs = mine_pairs(own, vectors, keys, scopes, recipe["minimum_cosine"], recipe["k"], search)
    else:
        _check_drawn(recipe)
        labels = numbered(pictures.column("label"), blank=True) if recipe["by"] == "label" else None
        pairs = draw_pairs(keys, recipe["seed"], recipe["k"], scopes, labels)
    if uncaptioned:
        pairs = replace(pairs, left_out={**pairs.left_out, "no_caption": uncaptioned})
    if not len(pairs.source):
        why = ", ".join(f"{reason} {count}" for reason, count in pairs.left_out.items())
        raise UserError(f"{index}: no picture has a neighbour ({why}): lower minimum_cosine or widen the scope")
    summary = summarise(pairs, truth, texts) | {name: recipe[name] for name in ("k", "scope", "search")}
    summary |= {} if scopes is None else {"scope_sizes": scope_sizes(scopes)}
    summary |= {"recall": _recall(search, index)} if isinstance(search, ApproximateSearch) else {}
    return pairs, keys, summary


def write_pairs(path: str | Path, pairs: Pairs, keys: pa.Array, recipe: Mapping[str, Any]) -> None:
    """Write pairs by key, by source and rank, with the digest of their recipe; a cosine that is not known is null."""
    types = {"source": pa.string(), "neighbour": pa.string(), "cosine": pa.float32(), "rank": pa.int64()}
    schema = pa.schema(types.items(), metadata={"recipe": digest_of(dict(recipe))})
    rank = pairs.rank
    with atomic_path(path) as part, pq.ParquetWriter(part, schema, compression="zstd") as file:
        for start in range(0, len(pairs.source), _ROWS):
            span = slice(start, start + _ROWS)
            columns = [keys.take(pa.array(ends[span])) for ends in (pairs.source, pairs.neighbour)]
            columns += [pa.array(pairs.cosine[span], from_pandas=True), pa.array(rank[span])]
            file.write_table(pa.Table.from_arrays(columns, schema=schema))


def _captioned(pictures: pa.Table, captions: str | Path | None) -> tuple[pa.Table, np.ndarray | None, int]:
    """The pictures in the caption file's order, a number for each one's caption, and how many have none."""
    if captions is None:
        return pictures, None, 0
    columns = read_columns(captions, ["key", "caption"], "caption file", "make it again")
    keys = columns.column("key").combine_chunks()
    if (key := repeated(keys)) is not None:
        raise UserError(
            f"{captions}: several captions of picture {key}, where one a picture is needed: choose a caption source of "
            "another method than every"
        )
    places = pc.index_in(keys, value_set=pictures.column("key").combine_chunks())
    if places.null_count:
        stranger = keys.filter(places.is_null())[0].as_py()
        raise UserError(f"{captions}: picture {stranger!r} is not in the pack's index: caption this pack again")
    return pictures.take(places), numbered(columns.column("caption")), pictures.num_rows - len(keys)


def _search(
    recipe: Mapping[str, Any], embeddings: str | Path, count: int, state: Path | None, seconds: float
) -> Search:
    approximate = recipe["search"] == "approximate"
    if state is None or count < MINIMUM_ROWS:  # no search that takes long, and reading the file twice would
        return ApproximateSearch(recipe["seed"]) if approximate else exact_search
    identity = f"{digest_of(dict(recipe))} {file_digest(embeddings)}"
    if approximate:
        return ApproximateSearch(recipe["seed"], state, identity, seconds)
    return partial(exact_search, state=state, identity=identity, seconds=seconds)


def _check_drawn(recipe: Mapping[str, Any]) -> None:
    if recipe["minimum_cosine"] > -1 or recipe["search"] != "exact":
        raise UserError(f"pairs by {recipe['by']} are drawn, not searched: leave out minimum_cosine and search")


def _recall(search: ApproximateSearch, index: str | Path) -> float:
    if search.recall is None:
        needed = f"the {MINIMUM_ROWS:,} different embeddings that an approximate search needs"
        raise UserError(f"{index}: no scope has {needed}: set search to exact")
    return search.recall
