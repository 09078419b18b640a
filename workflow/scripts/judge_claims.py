"""Judge a study's claims on our cells and on the paper's own."""

import argparse
import json
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import write_text
from vlrepro.tables.cells import read_cells, scores_of, sets_of
from vlrepro.tables.rendering import claims_to_html, claims_to_json, claims_to_markdown
from vlrepro.tables.study import load_study
from vlrepro.tables.verdicts import judge_claims

RENDERERS = {".json": claims_to_json, ".md": claims_to_markdown, ".html": claims_to_html}


def main() -> None:
    """Parse the arguments, judge, render by the outputs' endings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--cells", nargs="+", required=True, help="one file a table, in the tables' order")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--sets", type=json.loads, required=True, help='JSON: {set: [title, "what it shows"]}')
    parser.add_argument("--output", nargs="+", required=True)
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    titles = {name: title for name, (title, _) in arguments.sets.items()}
    cells = {table.number: read_cells(path) for table, path in zip(study.tables, arguments.cells, strict=True)}
    scores = {number: scores_of(rows) for number, rows in cells.items()}
    claims = judge_claims(study, scores, {number: sets_of(rows, titles) for number, rows in cells.items()})
    for output in arguments.output:
        write_text(output, RENDERERS[Path(output).suffix](claims, arguments.scale))


run_command(main)
