"""From a pairs recipe and its files to pairs and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.captions.score_files import check_one_a_picture
from vlrepro.data.pack import Row, read_index
from vlrepro.errors import UserError
from vlrepro.files import atomic_path, digest_of
from vlrepro.pairs.drawing import draw_pairs
from vlrepro.pairs.embeddings import read_embeddings
from vlrepro.pairs.mining import Pairs, mine_pairs
from vlrepro.pairs.purity import summarise
from vlrepro.pairs.scopes import scope_names, scope_sizes
from vlrepro.pairs.search import MINIMUM_ROWS, ApproximateSearch, exact_search


def find_pairs(
    recipe: Mapping[str, Any], index: str | Path, captions: str | Path | None, embeddings: str | Path | None
) -> tuple[Pairs, list[str], dict[str, Any]]:
    """The pairs of `recipe`, the keys that their positions stand for, and their summary (`summarise`).

    `by` says what makes a neighbour: `caption` or `picture` (the nearest embeddings; `captions` is None for
    pictures), `label` (of the same class) or `random`. Groups, authors, dates, labels and concepts are the pack
    index's, whatever the captions are. The summary adds `k`, `scope` and `search`; with scopes `scope_sizes`; of an
    approximate search its `recall`.

    Raises:
        UserError: a file does not fit another or the recipe; no scope is large enough for an approximate search; no
            picture has a neighbour.
    """
    rows, texts, uncaptioned = _captioned(read_index(index), captions)
    keys = [row.key for row in rows]
    scopes = scope_names(rows, recipe["scope"])
    search = ApproximateSearch(recipe["seed"]) if recipe["search"] == "approximate" else exact_search
    if recipe["by"] in ("caption", "picture"):
        vectors = read_embeddings(embeddings, len(rows), captions or index).numpy()
        pairs = mine_pairs(texts or keys, vectors, keys, scopes, recipe["minimum_cosine"], recipe["k"], search)
    else:
        _check_drawn(recipe)
        labels = [row.label for row in rows] if recipe["by"] == "label" else None
        pairs = draw_pairs(keys, recipe["seed"], recipe["k"], scopes, labels)
    if uncaptioned:
        pairs = replace(pairs, left_out={**pairs.left_out, "no_caption": uncaptioned})
    if not len(pairs.source):
        why = ", ".join(f"{reason} {count}" for reason, count in pairs.left_out.items())
        raise UserError(f"{index}: no picture has a neighbour ({why}): lower minimum_cosine or widen the scope")
    truth = {name: [getattr(row, name) for row in rows] for name in ("concept", "label", "group")}
    summary = summarise(pairs, truth, texts) | {name: recipe[name] for name in ("k", "scope", "search")}
    summary |= {"scope_sizes": scope_sizes(scopes)} if scopes else {}
    summary |= {"recall": _recall(search, index)} if isinstance(search, ApproximateSearch) else {}
    return pairs, keys, summary


def write_pairs(path: str | Path, pairs: Pairs, keys: Sequence[str], recipe: Mapping[str, Any]) -> None:
    """Write pairs by key, by source and rank, with the digest of their recipe; a cosine that is not known is null."""
    table = pa.table(
        {
            "source": [keys[position] for position in pairs.source],
            "neighbour": [keys[position] for position in pairs.neighbour],
            "cosine": pa.array(pairs.cosine, from_pandas=True),
            "rank": pairs.rank,
        }
    ).replace_schema_metadata({"recipe": digest_of(dict(recipe))})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def _captioned(rows: Sequence[Row], captions: str | Path | None) -> tuple[list[Row], list[str] | None, int]:
    """The index's rows in the caption file's order, the captions, and how many pictures have none."""
    if captions is None:
        return list(rows), None, 0
    columns = pq.read_table(captions, columns=["key", "caption"]).to_pydict()
    check_one_a_picture(columns["key"], captions)
    by_key = {row.key: row for row in rows}
    if strangers := [key for key in columns["key"] if key not in by_key]:
        raise UserError(f"{captions}: picture {strangers[0]!r} is not in the pack's index: caption this pack again")
    chosen = [by_key[key] for key in columns["key"]]
    return chosen, columns["caption"], len(rows) - len(chosen)


def _check_drawn(recipe: Mapping[str, Any]) -> None:
    if recipe["minimum_cosine"] > -1 or recipe["search"] != "exact":
        raise UserError(f"pairs by {recipe['by']} are drawn, not searched: leave out minimum_cosine and search")


def _recall(search: ApproximateSearch, index: str | Path) -> float:
    if search.recall is None:
        needed = f"the {MINIMUM_ROWS:,} different embeddings that an approximate search needs"
        raise UserError(f"{index}: no scope has {needed}: set search to exact")
    return search.recall
