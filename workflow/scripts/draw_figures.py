"""Draw all figures of a scale's report; `figures.json` beside them holds their titles, captions and alt texts."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from vlrepro.errors import run_command
from vlrepro.files import write_json
from vlrepro.reporting.drawing import Drawing, house_style, save
from vlrepro.reporting.figures import draw_curves, draw_differences
from vlrepro.reporting.inputs import read_captions, read_history, read_pairs, read_runs, recipe_titles
from vlrepro.reporting.pair_figures import draw_captions, draw_purity
from vlrepro.tables.study import load_study


def main() -> None:
    """Parse the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", nargs="+", required=True)
    parser.add_argument("--tables", nargs="+", required=True, help="CSV files, in the order of the studies' tables")
    parser.add_argument("--runs", nargs="*", default=[], help="the runs' recipes")
    parser.add_argument("--histories", nargs="*", default=[], help="in the order of --runs")
    parser.add_argument("--captions", nargs="*", default=[])
    parser.add_argument("--caption-recipes", nargs="*", default=[], help="in the order of --captions")
    parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--pair-summaries", nargs="*", default=[], help="in the order of --pairs")
    parser.add_argument("--pair-recipes", nargs="*", default=[], help="in the order of --pairs")
    parser.add_argument("--texts", required=True, help="the figures.json to write; figures go beside it")
    arguments = parser.parse_args()
    texts = []
    with house_style():
        for drawing in draw(arguments):
            save(drawing, Path(arguments.texts).parent)
            texts.append(drawing.texts())
    write_json(arguments.texts, texts)


def draw(arguments: argparse.Namespace) -> Iterator[Drawing]:
    """Draw every figure that there is something for."""
    studies = [load_study(path) for path in arguments.studies]
    tables = [(study.slug, table) for study in studies for table in study.tables]
    for (slug, table), path in zip(tables, arguments.tables, strict=True):
        title = f"table {table.number}: {table.title}"
        yield draw_differences(f"{slug}_table{table.number}", title, pd.read_csv(path))
    runs = read_runs(arguments.runs)
    histories = {run.id: read_history(path) for run, path in zip(runs, arguments.histories, strict=True)}
    yield draw_curves(runs, histories, recipe_titles(studies))
    files = zip(arguments.captions, arguments.caption_recipes, strict=True)
    captions = {source.id: source for source in (read_captions(path, recipe) for path, recipe in files)}
    triples = zip(arguments.pairs, arguments.pair_summaries, arguments.pair_recipes, strict=True)
    mined = [read_pairs(*paths, captions) for paths in triples]
    if mined:
        yield draw_purity(mined)
        yield draw_captions(list(captions.values()), mined)


run_command(main)
