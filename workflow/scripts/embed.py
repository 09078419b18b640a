"""Embed the captions of a caption file, or the pictures of a pack."""

import argparse
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.files import read_json
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.pairs.encoding import embed, embed_pictures, token_ids
from vlrepro.pairs.torchvision_encoding import embed_by_torchvision


def main() -> None:
    """Parse the arguments, embed, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--captions", help="the caption file, for captions")
    parser.add_argument("--model", help="the folder of a checkpoint that was trained here; else the recipe names it")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe = read_json(arguments.recipe)
    torch.set_num_threads(recipe["threads"])
    rows = make_rows(recipe, arguments)
    write_embeddings(arguments.output, rows, recipe)
    print(f"{arguments.output}: {len(rows)} rows of {rows.shape[1]}")


def make_rows(recipe: dict[str, Any], arguments: argparse.Namespace) -> torch.Tensor:
    """The rows of the recipe's kind, one a caption or a picture."""
    encoder = recipe["encoder"]
    if recipe["kind"] == "torchvision":
        return embed_by_torchvision(Pack(Path(arguments.index).parent), encoder)
    if recipe["kind"] == "image":
        model = arguments.model or encoder["model"]
        return torch.from_numpy(embed_pictures(Pack(Path(arguments.index).parent), model, encoder.get("revision")))
    captions = pq.read_table(arguments.captions, columns=["caption"]).column("caption").to_pylist()
    if recipe["kind"] == "tokens":
        tokens = token_ids(captions, encoder)
        print(f"{tokens.cut:,} of {len(captions):,} captions are longer than {tokens.ids.shape[1]} tokens and were cut")
        return tokens.ids
    return torch.from_numpy(embed(captions, encoder))


run_command(main)
