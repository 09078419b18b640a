"""Build the report: one HTML page with verdicts, tables, figures, examples and where everything comes from."""

import argparse
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_text
from vlrepro.reporting.gallery import picture_source
from vlrepro.reporting.inputs import count_pack, read_benchmarks, read_captions, read_pairs, read_runs
from vlrepro.reporting.page import Report, build_page
from vlrepro.reporting.provenance import git_commit, package_versions
from vlrepro.tables.study import load_study


def main() -> None:
    """Parse the arguments, read everything, write the page."""
    arguments = parse_arguments()
    style = Path(arguments.style).read_text(encoding="utf-8")
    write_text(arguments.output, build_page(read_report(arguments), style))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="the resolved configuration, JSON")
    parser.add_argument("--studies", nargs="+", required=True)
    parser.add_argument("--claims", nargs="+", required=True, help="JSON files, in the order of --studies")
    parser.add_argument("--claim-pages", nargs="+", required=True, help="HTML files, in the order of --studies")
    parser.add_argument("--tables", nargs="+", required=True, help="HTML files, in the order of the studies' tables")
    parser.add_argument("--figures", required=True, help="figures.json; the figures are beside it")
    parser.add_argument("--runs", nargs="*", default=[], help="the runs' recipes")
    parser.add_argument("--captions", nargs="*", default=[])
    parser.add_argument("--caption-recipes", nargs="*", default=[], help="in the order of --captions")
    parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--pair-summaries", nargs="*", default=[], help="in the order of --pairs")
    parser.add_argument("--pair-recipes", nargs="*", default=[], help="in the order of --pairs")
    parser.add_argument("--indexes", nargs="*", default=[], help="the packs' index.parquet")
    parser.add_argument("--rejected", nargs="*", default=[], help="the packs' rejected.csv, in the order of --indexes")
    parser.add_argument("--benchmarks", required=True, help="folder of the runs' benchmark files; they may be missing")
    parser.add_argument("--command", required=True, help="the command that runs this scale")
    parser.add_argument("--style", required=True)
    parser.add_argument("--output", required=True)
    return parser.parse_args()


def read_report(arguments: argparse.Namespace) -> Report:
    """Everything that the page shows."""
    config, runs = read_json(arguments.config), read_runs(arguments.runs)
    studies = [load_study(path) for path in arguments.studies]
    slugs = [study.slug for study in studies]
    tables = [(study.slug, table.number) for study in studies for table in study.tables]
    files = zip(arguments.captions, arguments.caption_recipes, strict=True)
    captions = {source.id: source for source in (read_captions(path, recipe) for path, recipe in files)}
    triples = zip(arguments.pairs, arguments.pair_summaries, arguments.pair_recipes, strict=True)
    packs = {Path(index).parent.name: Path(index).parent for index in arguments.indexes}
    described = {source.recipe["pack"] for source in captions.values()}
    return Report(
        config=config,
        studies=studies,
        claims=dict(zip(slugs, map(read_json, arguments.claims), strict=True)),
        claim_pages=dict(zip(slugs, map(read_text, arguments.claim_pages), strict=True)),
        tables=dict(zip(tables, map(read_text, arguments.tables), strict=True)),
        figures=read_figures(Path(arguments.figures)),
        runs=runs,
        captions=list(captions.values()),
        mined=[read_pairs(*paths, captions) for paths in triples],
        packs=[count_pack(*paths) for paths in zip(arguments.indexes, arguments.rejected, strict=True)],
        shows={name: picture_source(packs[name], config["pictures"]["canvas"]) for name in sorted(described)},
        costs=read_benchmarks(arguments.benchmarks, runs),
        versions=package_versions(),
        commit=git_commit(),
        command=arguments.command,
    )


def read_text(path: str) -> str:
    """A file that one of our rules wrote."""
    return Path(path).read_text(encoding="utf-8")


def read_figures(texts: Path) -> dict:
    """Figure name -> its texts and its file."""
    return {entry["name"]: (entry, texts.parent / f"{entry['name']}.svg") for entry in read_json(texts)}


run_command(main)
