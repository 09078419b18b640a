"""Train one run, or several that see the same batches; resume where an interrupted training stopped."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vlrepro.benchmarks import write_benchmark
from vlrepro.errors import run_command
from vlrepro.files import read_json
from vlrepro.training.attempts import noted
from vlrepro.training.launch import launch, launched, reported
from vlrepro.training.lock import locked
from vlrepro.training.loop import Files, Job, train_together
from vlrepro.training.outcome import is_finished
from vlrepro.training.stopping import Stop, Unfinished, time_limit


def main() -> None:
    """Train in this process, or in several that it starts."""
    arguments = parsed()
    stop = Stop(time_limit(arguments.minutes), arguments.reserve_seconds)
    if launched():
        with reported():
            run(arguments, stop)
        return
    with alone(arguments, stop) as needed:
        if needed and arguments.processes > 1:
            launch([sys.executable, *sys.argv], arguments.processes)
        elif needed:
            run(arguments, stop)


@contextmanager
def alone(arguments: argparse.Namespace, stop: Stop) -> Iterator[bool]:
    """Train while nobody else trains these runs; yields whether it is still needed after waiting for another."""

    def waiting() -> None:
        if why := stop.why_here():
            raise Unfinished(why)

    with ExitStack() as stack, stop.listening():
        waited = [
            stack.enter_context(locked(state, Path(model).parent.name, waiting))
            for state, model in sorted(zip(arguments.state, arguments.model, strict=True))
        ]
        if any(waited) and all(map(is_finished, arguments.recipe, arguments.model)):
            print("finished in the meantime: nothing left to train", flush=True)
            yield False
            return
        stack.enter_context(noted(arguments.state, arguments.attempt, Path(arguments.model[0]).parent.name))
        yield True


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
    parser.add_argument("--minutes", type=float, help="the job's time limit, which counts within a Slurm job")
    parser.add_argument("--reserve-seconds", type=float, default=300, help="before the limit at which to save and end")
    parser.add_argument("--attempt", type=int, default=1, help="how often this job was started, this time included")
    arguments = parser.parse_args()
    if not len(arguments.recipe) == len(arguments.state) == len(arguments.model):
        parser.error("give as many --recipe as --state as --model")
    return arguments


def run(arguments: argparse.Namespace, stop: Stop) -> None:
    """Train, and write how long each run took."""
    outputs = [Path(model).parent for model in arguments.model]
    jobs = [
        Job(read_json(recipe), state, output, output.name)
        for recipe, state, output in zip(arguments.recipe, arguments.state, outputs, strict=True)
    ]
    pack = Path(arguments.index).parent
    files = Files(pack, arguments.pairs, arguments.texts, arguments.captions, arguments.concepts)
    seconds = train_together(jobs, files, arguments.checkpoint_seconds, stop)
    for path, spent in zip(arguments.benchmark or (), seconds, strict=False):
        write_benchmark(path, spent)


run_command(main)
