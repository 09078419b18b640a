"""Build one table of a study from its cells: CSV, Markdown, LaTeX and HTML."""

import argparse
import json
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import write_text
from vlrepro.tables.cells import read_cells
from vlrepro.tables.layout import build_table
from vlrepro.tables.rendering import to_csv, to_html, to_latex, to_markdown
from vlrepro.tables.study import load_study

RENDERERS = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex, ".html": to_html}


def main() -> None:
    """Parse the arguments, build, render by the outputs' endings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--table", required=True, help="the table's name")
    parser.add_argument("--cells", required=True)
    parser.add_argument("--scale", required=True)
    parser.add_argument("--sets", type=json.loads, required=True, help='JSON: {set: [title, "what it shows"]}')
    parser.add_argument("--output", nargs="+", required=True)
    arguments = parser.parse_args()
    cells = read_cells([arguments.cells], {name: title for name, (title, _) in arguments.sets.items()})
    study = load_study(arguments.study)
    about = study.table(arguments.table).about
    stand_ins = [f"{title}: {shows}." for name, (title, shows) in arguments.sets.items() if about(name)]
    table = build_table(study, arguments.table, cells, arguments.scale, stand_ins)
    for output in arguments.output:
        write_text(output, RENDERERS[Path(output).suffix](table))


run_command(main)
