"""Train one run, or several that see the same batches; resume where an interrupted training stopped."""

import argparse
import sys
from pathlib import Path

from vlrepro.benchmarks import write_benchmark
from vlrepro.errors import run_command
from vlrepro.files import read_json
from vlrepro.training.launch import launch, launched, reported
from vlrepro.training.loop import Files, Job, train_together


def main() -> None:
    """Train in this process, or in several that it starts."""
    arguments = parsed()
    if arguments.processes > 1 and not launched():
        launch([sys.executable, *sys.argv], arguments.processes)
    else:
        with reported():
            run(arguments)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, nargs="+", help="of each run")
    parser.add_argument("--index", required=True, help="the training pack's index.parquet")
    parser.add_argument("--pairs", help="mined pairs; without them both views are of the same picture")
    parser.add_argument("--texts", help="embeddings of the captions, for frameworks that read them")
    parser.add_argument("--captions", help="the caption file whose rows --texts holds")
    parser.add_argument("--concepts", help="what a teacher sees in the pictures, for frameworks that distil it")
    parser.add_argument("--state", required=True, nargs="+", help="folder of the training state, of each run")
    parser.add_argument("--checkpoint-seconds", type=float, default=60)
    parser.add_argument(
        "--benchmark", nargs="+", help="files for the seconds of each run's own steps, where Snakemake cannot tell"
    )
    parser.add_argument(
        "--model", required=True, nargs="+", help="the weights to write, of each run; history.jsonl goes beside them"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="that share every batch, each with a GPU where there are GPUs"
    )
    arguments = parser.parse_args()
    if not len(arguments.recipe) == len(arguments.state) == len(arguments.model):
        parser.error("give as many --recipe as --state as --model")
    return arguments


def run(arguments: argparse.Namespace) -> None:
    """Train, and write how long each run took."""
    outputs = [Path(model).parent for model in arguments.model]
    jobs = [
        Job(read_json(recipe), state, output, output.name)
        for recipe, state, output in zip(arguments.recipe, arguments.state, outputs, strict=True)
    ]
    pack = Path(arguments.index).parent
    files = Files(pack, arguments.pairs, arguments.texts, arguments.captions, arguments.concepts)
    seconds = train_together(jobs, files, arguments.checkpoint_seconds)
    for path, spent in zip(arguments.benchmark or (), seconds, strict=False):
        write_benchmark(path, spent)


run_command(main)
