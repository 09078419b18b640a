"""Write a caption for every picture of a pack with a captioner; resume where an interrupted job stopped."""

import argparse
from collections import Counter
from pathlib import Path

from vlrepro.captions.captioner import caption_pack
from vlrepro.captions.noise import Caption
from vlrepro.captions.sources import split_usable, write_captions
from vlrepro.data.pack import Pack
from vlrepro.errors import run_command
from vlrepro.files import read_json, write_json


def main() -> None:
    """Parse the arguments and write the captions and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="the pack's index.parquet")
    parser.add_argument("--model", required=True, help="the captioner: a folder or a hub name")
    parser.add_argument("--state", required=True, help="folder of the finished shards")
    parser.add_argument("--limit", type=float, required=True, help="share of captions that may be unusable")
    parser.add_argument("--output", required=True)
    parser.add_argument("--summary", required=True)
    arguments = parser.parse_args()
    recipe, pack = read_json(arguments.recipe), Pack(Path(arguments.index).parent)
    texts = caption_pack(recipe, pack, arguments.model, arguments.state)
    captions = [Caption(text, "generated") for text in texts]
    usable, rejected = split_usable(pack.rows, captions, arguments.limit, arguments.model)
    for key, reason in rejected:
        print(f"left out: {key}: {reason}")
    write_captions(arguments.output, usable, recipe)
    distinct = Counter(caption.text for _, caption in usable)
    counts = {"pictures": len(pack), "captions": len(usable), "rejected": len(rejected), "distinct": len(distinct)}
    write_json(arguments.summary, counts | {"most_common": distinct.most_common(10)})
    print(f"{arguments.output}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


run_command(main)
