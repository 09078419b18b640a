"""Draw what retrieval found for a table's rows: recall against the size of the gallery, and single queries."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_text
from vlrepro.reporting.drawing import house_style, save
from vlrepro.reporting.gallery import picture_source
from vlrepro.reporting.markup import join
from vlrepro.reporting.retrieval_curve import draw_recall_curve
from vlrepro.reporting.retrieval_gallery import retrieval_gallery
from vlrepro.reporting.searches import Searched, read_searches
from vlrepro.reporting.sections import figure_of
from vlrepro.tables.cells import recipe_of
from vlrepro.tables.study import load_study

SIDE = 56
"""Pixels of a picture's side."""


def main() -> None:
    """Parse the arguments; draw a curve for each row, and for the first the queries of the first model's first run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--table", required=True, help="the table's name; its `searches` are the rows that are shown")
    parser.add_argument("--metrics", nargs="+", type=Path, required=True, help="of the runs in the table, <run>/<name>")
    parser.add_argument("--sets", required=True, help="JSON with the titles of the sets: a scale's configuration")
    parser.add_argument("--data", type=Path, default=Path("results/data"), help="folder of the packs")
    parser.add_argument("--packs", nargs="+", required=True, help="ids of the packs of the rows' sets, in their order")
    parser.add_argument("--figures", nargs="+", type=Path, required=True, help="the SVG files to write, one a row")
    parser.add_argument("--output", required=True, help="a fragment of HTML")
    arguments = parser.parse_args()
    table, titles = load_study(arguments.study).table(arguments.table), read_json(arguments.sets)["sets"]
    blocks = []
    for name, pack, path in zip(table.searches, arguments.packs, arguments.figures, strict=True):
        row = table.row(name)
        title, models = titles[row.set]["title"], searched_by(table.scored_on(row), arguments.metrics, row.set)
        with house_style():
            drawing = draw_recall_curve(path.stem, title, models)
            save(drawing, path.parent)
        blocks.append(figure_of(drawing.texts(), path))
        shown = [(label, found[0]) for label, found in models.items() if found][:1]
        if name == table.searches[0]:  # pictures weigh more in the page than they tell
            show = picture_source(arguments.data / pack, SIDE)
            blocks += [retrieval_gallery(title, label, found, show) for label, found in shown]
    write_text(arguments.output, join(blocks))


def searched_by(labels: Mapping[str, str], metrics: Sequence[Path], name: str) -> dict[str, list[Searched]]:
    """Label of each recipe in `labels` -> what its runs found in the set `name`, but for those that failed to train."""
    runs: dict[str, list[Searched]] = {label: [] for label in labels.values()}
    for path in metrics:
        found = read_searches(path, name)
        if found and (label := labels.get(recipe_of(found.run))):
            runs[label].append(found)
    return runs


run_command(main)
