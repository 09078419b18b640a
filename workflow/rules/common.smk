# Plans everything from the configuration; holds no rule. No torch, no network, no file but the study files.
import json
import os
import shlex
import sys

import yaml

from vlrepro.config import load_config
from vlrepro.errors import UserError
from vlrepro.plan import make_plan
from vlrepro.tables.study import load_study

try:
    CONFIG = load_config(config)
    STUDIES = {paper: load_study(f"config/papers/{paper}.yaml") for paper in CONFIG.papers}
    PLAN = make_plan(CONFIG, STUDIES)
except UserError as error:
    sys.exit(f"error: {error}")

# Jobs read the library of this checkout, installed or not (an environment of `--sdm conda` does not hold it).
shell.prefix("export PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}}; ")

SCALE = CONFIG.scale
RESOURCES = CONFIG.resources
# Conventions of all .smk files. An artefact's name holds the digest of its recipe, so its inputs are `ancient`: a
# file's time never makes anything run again. Settings that change no result (limits, seconds between checkpoints)
# are functions of the input, which Snakemake leaves out of its comparison of parameters.
TABLE_FORMATS = ("csv", "md", "tex", "html")
TABLE_FILES = [
    f"results/{SCALE}/tables/{table.study}/table{table.number}.{format}"
    for table in PLAN.tables.values()
    for format in TABLE_FORMATS
]


wildcard_constraints:
    kind="packs|captions|pairs|runs|evaluations",
    name=r"[a-z0-9_.-]+",
    pack=r"[a-z0-9_]+-[0-9a-f]{8}",
    captions=r"[a-z0-9_]+-[0-9a-f]{8}",
    pairs=r"[a-z0-9_]+-[0-9a-f]{8}",
    run=r"[a-z0-9_]+-seed[0-9]+-[0-9a-f]{8}",
    features=r"features-[a-z0-9_]+-[0-9a-f]{8}",
    evaluation=r"(linear|few_shot)-[a-z0-9_]+-[0-9a-f]{8}",
    study="|".join(STUDIES),
    number="[1-9]",


def pairs_of(run):
    """The pairs file of a run, or nothing where both views are of the same picture."""
    pairs = PLAN.runs[run].pairs
    return f"results/pairs/{pairs}.parquet" if pairs else []


def set_indexes(evaluation):
    """The indexes of an evaluation's packs."""
    return [f"results/data/{pack}/index.parquet" for pack in PLAN.evaluations[evaluation].packs]


def metrics_of(table):
    """The metrics files of a table."""
    return [f"results/metrics/{run}/{evaluation}.json" for run, evaluation in PLAN.metrics(table)]


def set_titles():
    """JSON: evaluation set -> its title and what it shows, in the tables' order."""
    return json.dumps({name: [CONFIG.sets[name].title, CONFIG.sets[name].shows] for name in CONFIG.evaluation.sets})


def report_tables(ending):
    """The tables' files of one format, in the order of the studies' tables."""
    return [
        f"results/{SCALE}/tables/{study}/table{table.number}{ending}"
        for study in STUDIES
        for table in STUDIES[study].tables
    ]


def report_figures():
    """Figure -> the name of its caption file in report/."""
    tables = [f"{study}_table{table.number}" for study in STUDIES for table in STUDIES[study].tables]
    pairs = ("purity", "captions") if PLAN.pairs else ()
    return {f"differences_{table}": "differences" for table in tables} | {name: name for name in ("curves", *pairs)}


def own_command():
    """The command that runs this scale, with the config files and values that this one was given."""
    files = [f"--configfile {os.path.relpath(path)}" for path in workflow.overwrite_configfiles]
    values = (
        [f"--config {shlex.join(workflow.config_settings.config_args)}"] if workflow.config_settings.config_args else []
    )
    return " ".join(["snakemake --cores 2", *files, *values])
