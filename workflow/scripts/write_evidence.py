"""Gather a finished run's tables, claims and audits, and write a page that says what holds and what it cost."""

import argparse
import shutil
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_text
from vlrepro.reporting.evidence import evidence_page, sum_costs
from vlrepro.reporting.provenance import git_commit, machine, package_versions
from vlrepro.tables.study import load_study


def main() -> None:
    """Parse the arguments, copy the files, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--claims", required=True, help="the judged claims, JSON")
    parser.add_argument("--files", nargs="+", type=Path, required=True, help="what is kept beside the page")
    parser.add_argument("--summaries", nargs="*", type=Path, default=[], help="files <pairs>.summary.json")
    parser.add_argument(
        "--runs", nargs="+", required=True, help="ids of the runs, as in --evaluated <run>/<evaluation>"
    )
    parser.add_argument("--evaluated", nargs="+", required=True)
    parser.add_argument("--made", nargs="*", default=[], help="<rule>/<id> of the other jobs whose cost counts")
    parser.add_argument("--benchmarks", type=Path, required=True, help="<rule>/<job>.tsv; they may be missing")
    parser.add_argument("--command", required=True, help="the command that runs this scale")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    jobs: dict[str, list[str]] = {}
    for job in arguments.made:
        rule, name = job.split("/", 1)
        jobs.setdefault(rule, []).append(name)
    jobs |= {"train_model": arguments.runs, "evaluate_run": arguments.evaluated}
    facts = [
        ("Command", arguments.command),
        ("Commit", git_commit() or "not known (no git here)"),
        ("Trainings", f"{len(arguments.runs)}"),
        *machine(),
        ("Versions", ", ".join(f"{name} {version}" for name, version in package_versions())),
    ]
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in arguments.files:
        shutil.copyfile(path, arguments.output / _name(path))
    study = load_study(arguments.study)
    on_pairs = any(claim.test is not None and claim.test.kind == "purity" for claim in study.claims)
    summaries = arguments.summaries if on_pairs else []
    page = evidence_page(
        study.title,
        facts,
        read_json(arguments.claims),
        {path.name.removesuffix(".summary.json"): read_json(path) for path in summaries},
        sum_costs(arguments.benchmarks, jobs),
        sorted(_name(path) for path in arguments.files),
    )
    write_text(arguments.output / "README.md", page)


def _name(path: Path) -> str:
    """Tables and figures keep their names; what is named after the study is named after its folder."""
    folder = path.parent.name
    return f"{folder}{path.suffix}" if folder in ("claims", "audit") else path.name


run_command(main)
