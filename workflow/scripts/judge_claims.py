"""Judge a study's claims on our cells and pairs, and on the paper's own cells."""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_text
from vlrepro.reporting.inputs import read_benchmarks
from vlrepro.tables.cells import read_cells
from vlrepro.tables.claim_rendering import claims_to_html, claims_to_json, claims_to_markdown
from vlrepro.tables.judging import judge_claims
from vlrepro.tables.study import load_study

RENDERERS = {".json": claims_to_json, ".md": claims_to_markdown, ".html": claims_to_html}


def main() -> None:
    """Parse the arguments, judge, render by the outputs' endings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--cells", nargs="+", required=True, help="the cells of all tables that are built")
    parser.add_argument("--summaries", nargs="*", default=[], help="files <pairs>-<digest>.summary.json")
    parser.add_argument("--ledgers", nargs="*", default=[], help="summaries of ledgers, <pack>-<digest>/<file>")
    parser.add_argument("--runs", nargs="*", default=[], help="ids of the runs whose cost is compared")
    parser.add_argument("--benchmarks", help="folder of the runs' benchmark files; those that are missing are left out")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--sets", type=json.loads, required=True, help='JSON: {set: [title, "what it shows"]}')
    parser.add_argument("--output", nargs="+", required=True)
    arguments = parser.parse_args()
    cells = read_cells(arguments.cells, {name: title for name, (title, _) in arguments.sets.items()})
    summaries = {Path(path).name.rsplit("-", 1)[0]: read_json(path) for path in arguments.summaries}
    ledgers = {Path(path).parent.name.rsplit("-", 1)[0]: read_json(path) for path in arguments.ledgers}
    timings = seconds_of(arguments.runs, arguments.benchmarks) if arguments.benchmarks else {}
    study = load_study(arguments.study)
    claims = judge_claims(study, cells, arguments.scale, summaries, timings=timings, ledgers=ledgers)
    for output in arguments.output:
        write_text(output, RENDERERS[Path(output).suffix](claims, arguments.scale))


def seconds_of(runs: list[str], folder: str) -> dict[str, list[float]]:
    """Recipe -> the seconds of each of its trainings; those that are compared take the same number of steps."""
    found: dict[str, list[float]] = defaultdict(list)
    for run, (seconds, _) in read_benchmarks(Path(folder), runs).items():
        found[run.rsplit("-", 2)[0]].append(seconds)
    return found


run_command(main)
