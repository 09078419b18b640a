# Plans everything from the configuration; holds no rule. No torch, no network, no file but the study files.
import json
import os
import shlex
import sys
from pathlib import Path

import yaml

from vlrepro.config import load_config
from vlrepro.errors import UserError, one_line
from vlrepro.files import write_text
from vlrepro.plan import make_plan
from vlrepro.plan.jobs import alone, evaluation_jobs, training_jobs
from vlrepro.tables.study import load_study

try:
    CONFIG = load_config(config)
    STUDIES = {paper: load_study(f"config/papers/{paper}.yaml") for paper in CONFIG.papers}
    PLAN = make_plan(CONFIG, STUDIES)
except UserError as error:
    sys.exit(f"error: {error}")

# Jobs read the library of this checkout, installed or not (an environment of `--sdm conda` does not hold it).
# A prefix replaces Snakemake's own, without which a job whose output goes through `tee` would never fail.
shell.prefix("set -euo pipefail; export PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}}; ")

SCALE = CONFIG.scale
RESOURCES = CONFIG.resources
# Of `--sdm conda`: GPU builds where GPUs are asked for, else wheels that run anywhere. Relative to this folder.
TRAIN_ENVIRONMENT = f"../../envs/{'train-gpu' if RESOURCES.train_gpus else 'train'}.yaml"
# Without a number of its own, a training has the profile's. Jobs of a cluster run Snakemake too, which would start a
# training again within the time that is over already.
TRAIN_RETRIES = (RESOURCES.train_retries or None) if workflow.is_main_process else 0
# Conventions of all .smk files. An artefact's name holds the digest of its recipe, so its inputs are `ancient`: a
# file's time never makes anything run again. Settings that change no result (limits, seconds between checkpoints)
# are functions of the input, which Snakemake leaves out of its comparison of parameters.
TABLE_FORMATS = ("csv", "md", "tex", "html")
TABLE_FILES = [
    f"results/{SCALE}/tables/{table.study}/{table.name}.{format}"
    for table in PLAN.tables.values()
    for format in TABLE_FORMATS
]


wildcard_constraints:
    kind="packs|checkpoints|captions|scores|embeddings|pairs|parses|spotted|concepts|prompts|rankings|runs|evaluations",
    name=r"[a-z0-9_.-]+",
    pack=r"[a-z0-9_]+-[0-9a-f]{8}",
    checkpoint=r"[a-z0-9_]+-[0-9a-f]{8}",
    captions=r"[a-z0-9_]+-[0-9a-f]{8}",
    spotted=r"[a-z0-9_]+-[0-9a-f]{8}",
    scores=r"[a-z0-9_]+-[0-9a-f]{8}",
    embeddings=r"[a-z0-9_]+-[0-9a-f]{8}",
    pairs=r"[a-z0-9_]+-[0-9a-f]{8}",
    concepts=r"[a-z0-9_]+-[0-9a-f]{8}",
    prompts=r"[a-z0-9_]+-[0-9a-f]{8}",
    ranking=r"[a-z0-9_]+-[0-9a-f]{8}",
    run=r"[a-z0-9_]+-seed[0-9]+-[0-9a-f]{8}",
    evaluation=r"[a-z0-9_]+-[a-z0-9_]+-[0-9a-f]{8}",
    study="|".join(STUDIES),
    table=r"[a-z][a-z0-9_]*",


def index_of(pack):
    """A pack's index."""
    return f"results/data/{pack}/index.parquet"


def packs_from_web(wanted):
    """A pattern of the packs that are downloaded from lists of URLs, or of the others."""
    return any_of(key for key, recipe in PLAN.packs.items() if ("web" in recipe) == wanted)


def pace_of(pack):
    """JSON: how hard the network is asked for a downloaded pack."""
    return CONFIG.packs[pack.rpartition("-")[0]].web.pace.model_dump_json()


def captions_by(*methods):
    """A pattern of the ids of the caption sources made by one of the methods."""
    return "|".join(key for key, recipe in PLAN.captions.items() if recipe["method"] in methods) or "none"


def captioned_index(entry):
    """The index of the pack that a caption source (a rule's wildcards, or a recipe that names it) is about."""
    captions = entry["captions"] if isinstance(entry, dict) else entry.captions
    return index_of(PLAN.captions[captions]["pack"])


def checkpoint_of(recipe):
    """The folder of a stand-in that a captioner's or scorer's recipe names; nothing for any other model."""
    return f"results/checkpoints/{recipe['model']}" if recipe["stand_in"] else []


def refined_from(wildcards, kind, role):
    """A file that refined captions are made of: the captions (`sources`) or scores of a role."""
    folder = {"sources": "captions", "scores": "scores"}[kind]
    return f"results/{folder}/{PLAN.captions[wildcards.captions][kind][role]}.parquet"


def filtered_from(wildcards):
    """What filtered captions are made of: the captions, and what their rules look at."""
    recipe = PLAN.captions[wildcards.captions]
    files = {"original": f"results/captions/{recipe['sources']['original']}.parquet"}
    files |= {kind: f"results/{kind}/{recipe[kind]}.parquet" for kind in ("parses", "spotted") if recipe[kind]}
    return {name: ancient(path) for name, path in files.items()}


def embedded(wildcards):
    """What embeddings are made from: a pack's index, its captions where they are embedded, a stand-in's folder."""
    recipe = PLAN.embeddings[wildcards.embeddings]
    captions, stand_in = recipe["captions"], recipe["encoder"].get("stand_in")
    pack = recipe["pack"] or PLAN.captions[captions]["pack"]
    files = {"index": index_of(pack)}
    files |= {"captions": f"results/captions/{captions}.parquet"} if captions else {}
    files |= {"model": checkpoint_of(recipe["encoder"])} if stand_in else {}
    return {name: ancient(path) for name, path in files.items()}


def mined(wildcards):
    """What pairs are mined from: a pack's index, and the captions and embeddings that say what is near."""
    recipe = PLAN.pairs[wildcards.pairs]
    captions, embeddings = recipe["captions"], recipe["embeddings"]
    files = {"index": index_of(recipe["pack"])}
    files |= {"captions": f"results/captions/{captions}.parquet"} if captions else {}
    files |= {"embeddings": f"results/embeddings/{embeddings}.safetensors"} if embeddings else {}
    return {name: ancient(path) for name, path in files.items()}


def training_data(key):
    """What a run trains on: a pack's index, and the pairs, concepts and embedded captions that its recipe asks for."""
    run = PLAN.runs[key]
    files = {"index": index_of(run.pack)}
    files |= {"pairs": f"results/pairs/{run.pairs}.parquet"} if run.pairs else {}
    files |= {"concepts": f"results/concepts/{run.concepts}.parquet"} if run.concepts else {}
    if run.texts:
        files |= {
            "texts": f"results/embeddings/{run.texts}.safetensors",
            "captions": f"results/captions/{run.captions}.parquet",
        }
    return {name: ancient(path) for name, path in files.items()}


def set_indexes(evaluation):
    """The indexes of an evaluation's packs."""
    return [f"results/data/{pack}/index.parquet" for pack in PLAN.evaluations[evaluation].packs]


def naming_files(evaluation):
    """What an evaluation reads beside pictures: embedded prompts, rankings, captions and their embeddings."""
    planned = PLAN.evaluations[evaluation]
    prompts = [f"results/prompts/{name}.safetensors" for name in planned.prompts]
    rankings = [f"results/rankings/{name}.parquet" for name in planned.rankings]
    captions = [f"results/captions/{name}.parquet" for name, _ in planned.captions]
    return prompts + rankings + captions + [f"results/embeddings/{name}.safetensors" for _, name in planned.captions]


def run_files(runs):
    """Recipes and models of runs, as the inputs of a rule."""
    return {
        "recipes": [ancient(f"results/recipes/runs/{run}.json") for run in runs],
        "models": [ancient(f"results/runs/{run}/model.safetensors") for run in runs],
    }


# Where runs share jobs, what is made is an input like any other, made by no rule. Were it an output of a job whose
# runs are others than when it was made, Snakemake would make it again. Delete a file to have it made again.
def trained(run):
    """Whether a run's model is there, where runs share jobs."""
    return RESOURCES.runs_per_training > 1 and os.path.exists(f"results/runs/{run}/model.safetensors")


def scored(pair):
    """Whether a run's metrics under an evaluation are there, where runs share jobs."""
    return RESOURCES.runs_per_evaluation > 1 and os.path.exists(f"results/metrics/{'/'.join(pair)}.json")


TRAINING_JOBS = training_jobs(PLAN, RESOURCES.runs_per_training, trained)
EVALUATION_JOBS = {
    script: evaluation_jobs(PLAN, RESOURCES.runs_per_evaluation, script, scored)
    for script in ("evaluate", "zero_shot", "retrieve")
}


def any_of(names):
    """A pattern of names, and of nothing where there is none."""
    return "|".join(names) or "none"


# Snakemake goes through a pattern for each file of each job: one that lists every metrics file takes most of its time.
def runs_among(names):
    """A short pattern of runs: the digest at its end tells each from all others."""
    digests = "|".join(name.rpartition("-")[2] for name in names)
    return f"[a-z0-9_]+-seed[0-9]+-(?:{digests})" if digests else "none"


def trained_alone():
    """A pattern of the runs that have a training of their own."""
    wanted = (run for run, planned in PLAN.runs.items() if not planned.imported and not trained(run))
    return runs_among(alone(wanted, TRAINING_JOBS.values()))


def given_model(wildcards):
    """The folder of the stand-in that a run's weights are imported from; nothing for any other model."""
    return checkpoint_of(PLAN.runs[wildcards.run].recipe["dual_encoder"])


def given_from(wildcards, input):
    """Where the weights of a run that is not trained lie: a folder, a file or a name of the hub."""
    entry = CONFIG.dual_encoders[CONFIG.recipes[PLAN.runs[wildcards.run].recipe_name].dual_encoder]
    return input.model or entry.path or entry.model or CONFIG.scorers[entry.scorer].model


def scored_alone(script):
    """A pattern of <run>/<evaluation> that have a job of their own, of evaluations that `script` scores."""
    if RESOURCES.runs_per_evaluation == 1:
        evaluations = any_of(key for key, planned in PLAN.evaluations.items() if planned.script == script)
        return f"[a-z0-9_-]+/(?:{evaluations})"
    pairs = dict.fromkeys(pair for table in PLAN.tables for pair in PLAN.metrics(table))
    wanted = [
        f"{run}/{evaluation}"
        for run, evaluation in pairs
        if PLAN.evaluations[evaluation].script == script and not scored((run, evaluation))
    ]
    shared = ([f"{run}/{evaluation}" for run in runs] for evaluation, runs in EVALUATION_JOBS[script].values())
    return any_of(alone(wanted, shared))


def scored_inputs(wildcards):
    """The inputs of a job that scores <run>/<evaluation>."""
    run, evaluation = wildcards.scored.split("/")
    return evaluation_inputs(evaluation, [run])


def evaluation_inputs(evaluation, runs):
    """What scoring runs under an evaluation needs: recipes, models, the sets, and what they are named or captioned by."""
    return run_files(runs) | {
        "evaluation": ancient(f"results/recipes/evaluations/{evaluation}.json"),
        "indexes": ancient(set_indexes(evaluation)),
        "named": ancient(naming_files(evaluation)),
    }
