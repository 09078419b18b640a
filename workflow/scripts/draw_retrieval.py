"""Draw what retrieval found for a table's rows: recall against the size of the gallery, and single queries."""

import argparse
from collections import defaultdict
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_text
from vlrepro.reporting.drawing import house_style, save
from vlrepro.reporting.gallery import LARGEST, picture_source
from vlrepro.reporting.markup import join
from vlrepro.reporting.retrieval_curve import draw_recall_curve
from vlrepro.reporting.retrieval_gallery import retrieval_gallery
from vlrepro.reporting.searches import Searched, read_searches
from vlrepro.reporting.sections import figure_of
from vlrepro.tables.cells import recipe_of
from vlrepro.tables.study import load_study


def main() -> None:
    """Parse the arguments, draw the curve, then the queries of the first model's first run."""
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
    for row, pack, path in zip(table.searches, arguments.packs, arguments.figures, strict=True):
        name = table.row(row).set or ""
        runs: dict[str, list[Searched]] = defaultdict(list)
        for metrics in arguments.metrics:
            if found := read_searches(metrics, name):
                runs[recipe_of(found.run)].append(found)
        models = {label: runs[recipe] for recipe, label in table.scored_on(table.row(row)).items()}
        with house_style():
            drawing = draw_recall_curve(path.stem, titles[name]["title"], models)
            save(drawing, path.parent)
        blocks.append(figure_of(drawing.texts(), path))
        show = picture_source(arguments.data / pack, LARGEST)
        shown = [(label, found[0]) for label, found in models.items() if found][:1]
        blocks += [retrieval_gallery(titles[name]["title"], label, found, show) for label, found in shown]
    write_text(arguments.output, join(blocks))


run_command(main)
