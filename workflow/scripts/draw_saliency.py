"""Draw the gallery of a saliency table: some pictures, their masks, and the maps of its models by every method."""

import argparse

from vlrepro.errors import run_command
from vlrepro.evaluation.features import load_backbone
from vlrepro.files import read_json, write_text
from vlrepro.randomness import fix_kernels
from vlrepro.reporting.saliency_gallery import saliency_gallery
from vlrepro.reporting.saliency_pictures import ShownModel, read_probe, shown_pictures
from vlrepro.saliency.evaluation import set_of
from vlrepro.tables.study import load_study


def main() -> None:
    """Parse the arguments, choose the pictures, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--table", required=True, help="the table's name")
    parser.add_argument("--rows", nargs="+", required=True, help="ids of the table's rows that are shown")
    parser.add_argument("--recipes", nargs="+", required=True, help="the runs' recipes, in the order of --rows")
    parser.add_argument("--models", nargs="+", required=True, help="their weights")
    parser.add_argument("--metrics", nargs="+", required=True, help="their saliency scores")
    parser.add_argument("--probes", nargs="+", required=True, help="their probes")
    parser.add_argument("--evaluation", required=True, help="the evaluation's recipe")
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--output", required=True, help="a fragment of HTML")
    arguments = parser.parse_args()
    evaluation, table = read_json(arguments.evaluation), load_study(arguments.study).table(arguments.table)
    fix_kernels(evaluation["threads"])
    found = set_of(evaluation, arguments.data)
    files = zip(arguments.rows, arguments.recipes, arguments.models, arguments.metrics, arguments.probes, strict=True)
    models = [
        ShownModel(
            table.row(row).full_label(),
            load_backbone(read_json(recipe), weights),
            read_probe(probe),
            read_json(metrics),
        )
        for row, recipe, weights, metrics, probe in files
    ]
    pictures = shown_pictures(found, models, table.saliency.maps)
    title = f"{len(pictures)} of {len(found.scored.positions)} pictures of {evaluation['set']}"
    ordered_by = "the average precision of their maps, mean over the models and methods shown"
    write_text(arguments.output, saliency_gallery(title, ordered_by, pictures))


run_command(main)
