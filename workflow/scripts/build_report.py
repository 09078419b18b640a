"""Build the report: one HTML page with verdicts, tables, figures, examples and where everything comes from."""

import argparse
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import read_json, write_text
from vlrepro.reporting.answers import QUESTIONS, Answers, compare
from vlrepro.reporting.gallery import picture_source
from vlrepro.reporting.inputs import (
    count_pack,
    read_benchmarks,
    read_captions,
    read_concept_summaries,
    read_failures,
    read_packs,
    read_pairs,
    read_runs,
    read_scores,
)
from vlrepro.reporting.page import build_page
from vlrepro.reporting.provenance import git_commit, package_versions
from vlrepro.reporting.report import Report
from vlrepro.tables.cells import Cells, read_cells
from vlrepro.tables.study import Study, load_study


def main() -> None:
    """Parse the arguments, read everything, write the page."""
    arguments = parse_arguments()
    write_text(arguments.output, build_page(read_report(arguments), read_text(arguments.style)))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the resolved configuration, JSON")
    parser.add_argument("--studies", nargs="+", type=Path, required=True)
    parser.add_argument("--cells", nargs="+", type=Path, required=True, help="the tables' cells")
    parser.add_argument("--claims", nargs="+", type=Path, required=True, help="JSON, in the order of --studies")
    parser.add_argument("--claim-pages", nargs="+", type=Path, required=True, help="HTML, in the order of --studies")
    parser.add_argument("--audits", nargs="+", type=Path, required=True, help="HTML, in the order of --studies")
    parser.add_argument("--tables", nargs="+", type=Path, required=True, help="HTML files, <study>/<table>.html")
    parser.add_argument("--galleries", nargs="*", type=Path, default=[], help="HTML files, <study>/<table>.html")
    parser.add_argument("--figures", type=Path, required=True, help="figures.json; the figures are beside it")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="the runs' recipes")
    parser.add_argument("--checkpoints", nargs="*", type=Path, default=[], help="the stand-ins' recipes")
    parser.add_argument("--captions", nargs="*", type=Path, default=[])
    parser.add_argument("--caption-recipes", nargs="*", type=Path, default=[], help="in the order of --captions")
    parser.add_argument("--caption-summaries", nargs="*", type=Path, default=[], help="<captions>.summary.json")
    parser.add_argument("--concepts", nargs="*", type=Path, default=[], help="<concepts>.summary.json")
    parser.add_argument("--concept-recipes", nargs="*", type=Path, default=[], help="in the order of --concepts")
    parser.add_argument("--scores", nargs="*", type=Path, default=[])
    parser.add_argument("--score-recipes", nargs="*", type=Path, default=[], help="in the order of --scores")
    parser.add_argument("--pairs", nargs="*", type=Path, default=[])
    parser.add_argument("--pair-summaries", nargs="*", type=Path, default=[], help="in the order of --pairs")
    parser.add_argument("--pair-recipes", nargs="*", type=Path, default=[], help="in the order of --pairs")
    parser.add_argument("--indexes", nargs="*", type=Path, default=[], help="the packs' index.parquet")
    parser.add_argument("--rejected", nargs="*", type=Path, default=[], help="rejected.csv, in the order of --indexes")
    parser.add_argument("--benchmarks", type=Path, required=True, help="<rule>/<artefact>.tsv; they may be missing")
    parser.add_argument("--command", required=True, help="the command that runs this scale")
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def read_report(arguments: argparse.Namespace) -> Report:
    """Everything that the page shows."""
    config, runs = read_json(arguments.config), read_runs(arguments.runs)
    cells = read_cells(arguments.cells, {name: entry["title"] for name, entry in config["sets"].items()})
    studies = [load_study(path) for path in arguments.studies]
    slugs = [study.slug for study in studies]
    captions = read_captions(arguments.captions, arguments.caption_recipes, arguments.caption_summaries)
    scores = read_scores(arguments.scores, arguments.score_recipes)
    checkpoints = {path.stem: read_json(path) for path in arguments.checkpoints}
    triples = list(zip(arguments.pairs, arguments.pair_summaries, arguments.pair_recipes, strict=True))
    concepts = read_concept_summaries(arguments.concepts, arguments.concept_recipes)
    shown = {entry.recipe["pack"] for entry in (*captions.values(), *concepts)} | {
        read_json(recipe)["pack"] for *_, recipe in triples
    }
    indexes = {path.parent.name: path for path in arguments.indexes}
    packs = read_packs(indexes[name] for name in sorted(shown))
    timed = {
        "train_model": [run.id for run in runs],
        "train_stand_in": checkpoints,
        "generate_captions": captions,
        "score_captions": [entry.id for entry in scores],
    }
    return Report(
        config=config,
        studies=studies,
        answers={study.slug: read_answers(study, cells) for study in studies},
        claims=dict(zip(slugs, map(read_json, arguments.claims), strict=True)),
        claim_pages=dict(zip(slugs, map(read_text, arguments.claim_pages), strict=True)),
        audits=dict(zip(slugs, map(read_text, arguments.audits), strict=True)),
        tables={(path.parent.name, path.stem): read_text(path) for path in arguments.tables},
        galleries={(path.parent.name, path.stem): read_text(path) for path in arguments.galleries},
        figures=read_figures(arguments.figures),
        runs=runs,
        failures=read_failures(cells),
        captions=captions,
        scores=scores,
        checkpoints=checkpoints,
        mined=[read_pairs(*paths, captions, packs) for paths in triples],
        packs=[count_pack(*paths) for paths in zip(arguments.indexes, arguments.rejected, strict=True)],
        shows={name: picture_source(indexes[name].parent, config["pictures"]["canvas"]) for name in sorted(shown)},
        costs={
            k: v for rule, ids in timed.items() for k, v in read_benchmarks(arguments.benchmarks / rule, ids).items()
        },
        versions=package_versions(),
        commit=git_commit(),
        command=arguments.command,
        concepts=concepts,
    )


def read_answers(study: Study, cells: Cells) -> Answers:
    """What the cells say to a study's questions, under the evaluations of the tables that its paper prints."""
    named = dict.fromkeys(name for table in study.tables if table.printed for name in table.evaluations)
    return compare(cells, QUESTIONS.get(study.slug, ()), [name for name in named if name in cells.scores])


def read_text(path: Path) -> str:
    """A file that one of our rules wrote."""
    return path.read_text(encoding="utf-8")


def read_figures(texts: Path) -> dict:
    """Figure name -> its texts and its file."""
    return {entry["name"]: (entry, texts.parent / f"{entry['name']}.svg") for entry in read_json(texts)}


run_command(main)
