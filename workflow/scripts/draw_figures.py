"""Draw all figures of a scale's report; `figures.json` beside them holds their titles, captions and alt texts."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from vlrepro.errors import run_command
from vlrepro.files import write_json
from vlrepro.reporting.curves import draw_accuracy, draw_loss, draw_spread
from vlrepro.reporting.drawing import Drawing, house_style, save
from vlrepro.reporting.forest import draw_differences
from vlrepro.reporting.inputs import read_captions, read_history, read_packs, read_pairs, read_runs, read_scores
from vlrepro.reporting.pair_figures import draw_captions, draw_purity
from vlrepro.reporting.score_figures import draw_scores
from vlrepro.tables.study import load_study


def main() -> None:
    """Parse the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", nargs="+", type=Path, required=True)
    parser.add_argument("--tables", nargs="+", type=Path, required=True, help="CSV files, <study>/<table>.csv")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="the runs' recipes")
    parser.add_argument("--histories", nargs="*", type=Path, default=[], help="in the order of --runs")
    parser.add_argument("--captions", nargs="*", type=Path, default=[])
    parser.add_argument("--caption-recipes", nargs="*", type=Path, default=[], help="in the order of --captions")
    parser.add_argument("--scores", nargs="*", type=Path, default=[])
    parser.add_argument("--score-recipes", nargs="*", type=Path, default=[], help="in the order of --scores")
    parser.add_argument("--pairs", nargs="*", type=Path, default=[])
    parser.add_argument("--pair-summaries", nargs="*", type=Path, default=[], help="in the order of --pairs")
    parser.add_argument("--pair-recipes", nargs="*", type=Path, default=[], help="in the order of --pairs")
    parser.add_argument("--indexes", nargs="*", type=Path, default=[], help="index.parquet of the pairs' packs")
    parser.add_argument("--texts", type=Path, required=True, help="the figures.json to write; figures go beside it")
    arguments = parser.parse_args()
    texts = []
    with house_style():
        for drawing in draw(arguments):
            save(drawing, arguments.texts.parent)
            texts.append(drawing.texts())
    write_json(arguments.texts, texts)


def draw(arguments: argparse.Namespace) -> Iterator[Drawing]:
    """Draw every figure that there is something for."""
    studies = {study.slug: study for study in map(load_study, arguments.studies)}
    for path in arguments.tables:
        table = studies[path.parent.name].table(path.stem)
        name = f"{path.parent.name}_{table.name}"
        yield draw_differences(name, table.heading(), pd.read_csv(path), summary=not table.printed)
    runs = read_runs(arguments.runs)
    histories = {run.id: read_history(path) for run, path in zip(runs, arguments.histories, strict=True)}
    for draw_log in (draw_loss, draw_accuracy, draw_spread):
        yield draw_log(runs, histories)
    captions = read_captions(arguments.captions, arguments.caption_recipes, [])
    packs = read_packs(arguments.indexes)
    triples = zip(arguments.pairs, arguments.pair_summaries, arguments.pair_recipes, strict=True)
    mined = [read_pairs(*paths, captions, packs) for paths in triples]
    if mined:
        yield draw_purity(mined)
        yield draw_captions(list(captions.values()), mined)
    if arguments.scores:
        yield draw_scores(read_scores(arguments.scores, arguments.score_recipes), captions)


run_command(main)
