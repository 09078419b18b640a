"""Embed the captions of a caption file, or the pictures of a pack; go on where an interrupted job stopped."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlrepro.data.index import read_columns
from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.files import file_digest, read_json
from vlrepro.pairs.embeddings import write_embeddings
from vlrepro.pairs.encoding import PictureRows, SentenceBlocks, picture_rows_by, token_ids
from vlrepro.pairs.slabs import write_in_blocks
from vlrepro.pairs.torchvision_encoding import picture_rows_by_torchvision

PICTURES = 1 << 14  # of a block: whole batches


def main() -> None:
    """Parse the arguments, embed, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--captions", help="the caption file, for captions")
    parser.add_argument("--model", help="the folder of a checkpoint that was trained here; else the recipe names it")
    parser.add_argument("--state", type=Path, help="a folder that keeps what is embedded; by default beside the output")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    arguments.state = arguments.state or Path(f"{arguments.output}.state")
    recipe = read_json(arguments.recipe)
    torch.set_num_threads(recipe["threads"])
    write = {"tokens": write_tokens, "sentence": write_sentences}.get(recipe["kind"], write_pictures)
    count, width = write(recipe, arguments)
    print(f"{arguments.output}: {count} rows of {width}")


def write_tokens(recipe: dict[str, Any], arguments: argparse.Namespace) -> tuple[int, int]:
    """Write the captions' token ids at once; return the shape."""
    captions = (
        read_columns(arguments.captions, ["caption"], "caption file", "make it again").column("caption").to_pylist()
    )
    tokens = token_ids(captions, recipe["encoder"])
    print(f"{tokens.cut:,} of {len(captions):,} captions are longer than {tokens.ids.shape[1]} tokens and were cut")
    write_embeddings(arguments.output, tokens.ids, recipe)
    return tuple(tokens.ids.shape)


def write_sentences(recipe: dict[str, Any], arguments: argparse.Namespace) -> tuple[int, int]:
    """Write the captions' embeddings by blocks of captions; return the shape."""
    captions = read_columns(arguments.captions, ["caption"], "caption file", "make it again").column("caption")
    blocks = SentenceBlocks(captions, recipe["encoder"])
    kept = arguments.state, file_digest(arguments.captions)
    return write_in_blocks(arguments.output, recipe, len(captions), len(blocks), blocks.block, *kept)


def write_pictures(recipe: dict[str, Any], arguments: argparse.Namespace) -> tuple[int, int]:
    """Write the pictures' embeddings by blocks of pictures; return the shape."""
    pack = Pack(Path(arguments.index).parent)
    rows = picture_rows(pack, recipe, arguments.model)

    def block(number: int) -> tuple[slice, np.ndarray]:
        span = slice(number * PICTURES, min((number + 1) * PICTURES, len(pack)))
        return span, rows(span.start, span.stop)

    kept = arguments.state, file_digest(arguments.index)
    return write_in_blocks(arguments.output, recipe, len(pack), -(-len(pack) // PICTURES), block, *kept)


def picture_rows(pack: Pack, recipe: dict[str, Any], model: str | None) -> PictureRows:
    """What embeds some of a pack's pictures."""
    if recipe["kind"] == "torchvision":
        return picture_rows_by_torchvision(pack, recipe["encoder"])
    from vlrepro.captions.scorer import load_scorer  # seconds to import

    encoder = recipe["encoder"]
    return picture_rows_by(load_scorer(model or encoder["model"], encoder.get("revision")), pack)


run_command(main)
