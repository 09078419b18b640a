"""What the scripts that score runs share: their command line, and one metrics file after another."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

from vlrepro.benchmarks import timed
from vlrepro.files import read_json, write_json

Scored = Callable[[str, Mapping[str, Any], str], Mapping[str, Any]]
"""From a run's id, its recipe and the path of its weights to the content of its metrics file."""


def parser_of_runs(description: str | None) -> argparse.ArgumentParser:
    """Lists of runs, recipes, weights and outputs in one order, an evaluation's recipe and the folder of the packs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", nargs="+", required=True, help="the runs' ids")
    parser.add_argument("--recipes", nargs="+", required=True, help="the runs' recipes")
    parser.add_argument("--models", nargs="+", required=True, help="the runs' weights")
    parser.add_argument("--evaluation", required=True, help="the evaluation's recipe: which sets and protocols")
    parser.add_argument("--data", default="results/data", help="folder of the packs")
    parser.add_argument("--outputs", nargs="+", required=True)
    parser.add_argument("--benchmarks", nargs="*", default=[], help="files for the seconds of each run, of several")
    return parser


def score_runs(arguments: argparse.Namespace, scored: Scored) -> None:
    """Write each run's metrics file, and how long it took where a file for that is named."""
    jobs = zip(arguments.runs, arguments.recipes, arguments.models, arguments.outputs, strict=True)
    for (run, recipe, model, output), benchmark in zip_longest(jobs, arguments.benchmarks):
        with timed(benchmark):
            write_json(output, scored(run, read_json(recipe), model), indent=None)
        print(f"{run}: {output}", flush=True)
