"""Rank each picture's own class name by a scorer: how hard the picture is for a model that is not under test."""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlrepro.captions.ranking import rank_pictures
from vlrepro.data.pack import Pack
from vlrepro.errors import UserError, run_command
from vlrepro.evaluation.naming import class_names, class_of
from vlrepro.files import atomic_path, read_json


def main() -> None:
    """Parse the arguments, rank, write one row a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--index", required=True, help="index.parquet of the pictures")
    parser.add_argument("--names", required=True, help="index.parquet of the pack whose captions name the classes")
    parser.add_argument("--model", required=True, help="the scorer")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    recipe, folder = read_json(arguments.recipe), Path(arguments.index).parent
    place = Path(arguments.names).parent
    named = class_names(Pack(place).rows, recipe["classes"], place)
    rows = Pack(folder).rows
    for row in rows:
        if class_of(row, recipe["classes"]) not in named:
            raise UserError(f"{folder}: picture {row.key}: its class has no name in {place}: mend `names` of the set")
    truth = [named[class_of(row, recipe["classes"])] for row in rows]
    settings = {key: recipe[key] for key in ("batch_size", "threads", "revision")}
    ranks = rank_pictures(arguments.model, folder, list(named.values()), truth, **settings)
    with atomic_path(arguments.output) as part:
        pq.write_table(pa.table({"key": [row.key for row in rows], "rank": ranks}), part)
    print(f"{arguments.output}: {sum(rank == 0 for rank in ranks)} of {len(ranks)} right")


run_command(main)
