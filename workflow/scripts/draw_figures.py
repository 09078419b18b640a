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
from vlrepro.reporting.grid_forest import draw_grid_differences
from vlrepro.reporting.inputs import (
    TrainedRun,
    read_captions,
    read_chance,
    read_history,
    read_packs,
    read_pairs,
    read_runs,
    read_scores,
    recipes_of,
)
from vlrepro.reporting.noise_rates import SWEEP, draw_noise_rates
from vlrepro.reporting.pair_figures import draw_captions, draw_purity
from vlrepro.reporting.realised_noise import draw_realised
from vlrepro.reporting.score_figures import draw_scores
from vlrepro.tables.study import PaperTable, Study, load_study


def main() -> None:
    """Parse the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", nargs="+", type=Path, required=True)
    parser.add_argument("--tables", nargs="+", type=Path, required=True, help="CSV files, <study>/<table>.csv")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="the runs' recipes")
    parser.add_argument("--histories", nargs="*", type=Path, default=[], help="in the order of --runs")
    parser.add_argument("--cells", nargs="*", type=Path, default=[], help="the tables' cells, for levels of chance")
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
    runs = read_runs(arguments.runs)
    histories = {run.id: read_history(path) for run, path in zip(runs, arguments.histories, strict=True)}
    chance = read_chance(arguments.cells)
    for path in arguments.tables:
        study = studies[path.parent.name]
        yield from draw_table(study, study.table(path.stem), pd.read_csv(path), runs, chance)
    for study in studies.values():
        yield from draw_training(study, runs, histories)
    captions = read_captions(arguments.captions, arguments.caption_recipes, [])
    packs = read_packs(arguments.indexes)
    triples = zip(arguments.pairs, arguments.pair_summaries, arguments.pair_recipes, strict=True)
    mined = [read_pairs(*paths, captions, packs) for paths in triples]
    if mined:
        yield draw_purity(mined)
        yield draw_captions(list(captions.values()), mined)
    if arguments.scores:
        yield draw_scores(read_scores(arguments.scores, arguments.score_recipes), captions)


def draw_table(
    study: Study, table: PaperTable, lines: pd.DataFrame, runs: list[TrainedRun], chance: dict[tuple[str, str], float]
) -> Iterator[Drawing]:
    """Draw what the lines of a table's CSV file say."""
    name = f"{study.slug}_{table.name}"
    if (study.slug, table.name) == SWEEP:
        yield draw_noise_rates(study, lines, runs, chance)
    if table.grid or table.variants:
        titles = {key: evaluation.title for key, evaluation in study.evaluations.items()}
        yield draw_grid_differences(name, table, titles, lines)
    else:
        yield draw_differences(name, table.heading(), lines, summary=not table.printed)


def draw_training(study: Study, runs: list[TrainedRun], histories: dict[str, pd.DataFrame]) -> Iterator[Drawing]:
    """Draw the logs of the runs that fill a study's tables."""
    recipes = recipes_of(study)
    own = [run for run in runs if run.name in recipes]
    for draw_log in (draw_loss, draw_accuracy, draw_spread):
        yield draw_log(study.slug, own, histories)
    if any("label_noise" in run.recipe["options"] for run in own):
        yield draw_realised(study.slug, own, histories)


run_command(main)
