"""Mine every picture's neighbour by caption; write the pairs and a summary of what is known about them."""

import argparse

import faiss
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from vlrepro.errors import run_command
from vlrepro.files import atomic_path, digest_of, read_json, write_json
from vlrepro.pairs.encoding import embed
from vlrepro.pairs.mining import mine_pairs
from vlrepro.pairs.purity import purity, random_purity


def main() -> None:
    """Parse the arguments, embed, search, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--summary", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    torch.set_num_threads(recipe["threads"])
    faiss.omp_set_num_threads(recipe["threads"])
    columns = pq.read_table(arguments.captions).to_pydict()
    keys, captions = columns["key"], columns["caption"]
    groups = columns["group"] if recipe["scope"] == "group" else None
    pairs = mine_pairs(captions, embed(captions, recipe["encoder"]), keys, groups, recipe["minimum_cosine"])
    table = pa.table(
        {
            "source": [keys[position] for position in pairs.source],
            "neighbour": [keys[position] for position in pairs.neighbour],
            "cosine": pairs.cosine,
        }
    ).replace_schema_metadata({"recipe": digest_of(recipe)})
    truth = {name: purity(pairs, columns[name]) for name in ("concept", "label", "group")}
    summary = {
        "pictures": len(keys),
        "pairs": len(pairs.source),
        "without_neighbour": len(keys) - len(pairs.source),
        "same_caption": float((pairs.cosine > 0.999).mean()) if len(pairs.cosine) else 0.0,
        "purity": {name: dict(zip(("share", "low", "high"), values, strict=True)) for name, values in truth.items()},
        "random_purity": {name: random_purity(columns[name]) for name in truth},
    }
    with atomic_path(arguments.pairs) as part:
        pq.write_table(table, part, compression="zstd")
    write_json(arguments.summary, summary)
    shares = ", ".join(f"{name} {values[0]:.3f}" for name, values in truth.items())
    print(f"{arguments.pairs}: {len(pairs.source)} pairs, purity by {shares}")


run_command(main)
