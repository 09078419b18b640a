# Plans everything from the configuration; holds no rule. No torch, no network, no file but the study files.
import json
import os
import shlex
import sys

import yaml

from vlrepro.config import load_config
from vlrepro.errors import UserError
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
shell.prefix("export PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}}; ")

SCALE = CONFIG.scale
RESOURCES = CONFIG.resources
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


def trained_alone():
    """A pattern of the runs that have a training of their own."""
    wanted = (run for run, planned in PLAN.runs.items() if not planned.imported and not trained(run))
    return any_of(alone(wanted, TRAINING_JOBS.values()))


def given_model(wildcards):
    """The folder of the stand-in that a run's weights are imported from; nothing for any other model."""
    return checkpoint_of(PLAN.runs[wildcards.run].recipe["dual_encoder"])


def given_from(wildcards, input):
    """Where the weights of a run that is not trained lie: a folder, a file or a name of the hub."""
    entry = CONFIG.dual_encoders[CONFIG.recipes[PLAN.runs[wildcards.run].recipe_name].dual_encoder]
    return input.model or entry.path or entry.model or CONFIG.scorers[entry.scorer].model


def scored_alone(script):
    """A pattern of <run>/<evaluation> that have a job of their own, of evaluations that `script` scores."""
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


def metrics_of(table):
    """The metrics files of a table: its runs' and, of a saliency table, the priors'."""
    priors = [f"results/priors/{evaluation}.json" for evaluation in PLAN.tables[table].priors]
    return [metrics_file(run, evaluation) for run, evaluation in PLAN.metrics(table)] + priors


def metrics_file(run, evaluation):
    """A run's metrics file under an evaluation."""
    folder = "saliency" if PLAN.evaluations[evaluation].saliency else "metrics"
    return f"results/{folder}/{run}/{evaluation}.json"


def tables_of(study):
    """The tables of a study that are built, in their order."""
    return [table for table in PLAN.tables.values() if table.study == study]


def cells_of(study):
    """The cells of a study's tables that are built, in the tables' order."""
    return [f"results/{SCALE}/cells/{study}/{table.name}.parquet" for table in tables_of(study)]


def set_titles(table=None):
    """JSON: evaluation set -> its title and what it shows, in the tables' order; of one table those it is about."""
    chosen = PLAN.tables[table].evaluations if table else PLAN.evaluations
    recipes = [PLAN.evaluations[key].recipe for key in chosen]
    found = {name for recipe in recipes for name in ([recipe["set"]] if "set" in recipe else recipe["sets"])}
    names = [name for name in dict.fromkeys((*CONFIG.evaluation.sets, *CONFIG.sets)) if name in found]
    return json.dumps({name: [CONFIG.sets[name].title, CONFIG.sets[name].shows] for name in names})


def report_tables(ending):
    """The tables' files of one format, in the order of the studies' tables."""
    return [f"results/{SCALE}/tables/{table.study}/{table.name}{ending}" for table in PLAN.tables.values()]


def report_cells():
    """The cells of all tables, in their order."""
    return [f"results/{SCALE}/cells/{table.study}/{table.name}.parquet" for table in PLAN.tables.values()]


def paired_indexes():
    """The indexes of the packs that pairs are of."""
    return [index_of(pack) for pack in dict.fromkeys(recipe["pack"] for recipe in PLAN.pairs.values())]


def counted_captions():
    """The summaries of the caption sources whose makers count."""
    made = [key for key, recipe in PLAN.captions.items() if recipe["method"] in ("generated", "refined", "filtered")]
    return [f"results/captions/{captions}.summary.json" for captions in made]


def galleries():
    """The galleries of saliency maps and of queries, in the tables' order."""
    shown = {"saliency": "gallery", "retrieval": "searches"}
    return [
        f"results/{SCALE}/{folder}/{table.study}/{table.name}.html"
        for table in PLAN.tables.values()
        for folder, what in shown.items()
        if getattr(table, what)
    ]


def searches_of(table):
    """What the queries of a planned table are drawn from: metrics of its runs, packs of the sets that are shown."""
    shown = [key for key in table.evaluations if set(table.searches) & set(PLAN.evaluations[key].recipe["sets"])]
    sets = {name: entry for key in shown for name, entry in PLAN.evaluations[key].recipe["sets"].items()}
    return {
        "metrics": [metrics_file(run, key) for run in table.runs for key in shown],
        "packs": [sets[name]["pack"] for name in table.searches],
    }


def search_figures(table):
    """The figures of a planned table's searches."""
    return [f"results/{SCALE}/figures/recall_{table.study}_{table.name}_{name}.svg" for name in table.searches]


def gallery_of(wildcards):
    """What a table's gallery is drawn from: the set, and for each row shown the first seed's model and probe."""
    table = PLAN.tables[f"{wildcards.study}_{wildcards.table}"]
    (evaluation,) = table.evaluations
    runs = table.gallery.values()
    return {
        "rows": list(table.gallery),
        "evaluation": f"results/recipes/evaluations/{evaluation}.json",
        "indexes": set_indexes(evaluation),
        "recipes": [f"results/recipes/runs/{run}.json" for run in runs],
        "models": [f"results/runs/{run}/model.safetensors" for run in runs],
        "metrics": [f"results/saliency/{run}/{evaluation}.json" for run in runs],
        "probes": [f"results/saliency/{run}/{evaluation}.safetensors" for run in runs],
    }


def report_figures():
    """Figure -> the name of its caption file in report/; what vlrepro's draw_figures.py draws for these tables."""
    figures = {f"differences_{name}": "differences" for name, table in PLAN.tables.items() if not table.saliency}
    figures |= {f"{log}_{study}": log for study in STUDIES for log in ("curves", "accuracy", "spread")}
    noisy = {run for run, planned in PLAN.runs.items() if "label_noise" in planned.recipe["options"]}
    figures |= {f"realised_{study}": "realised" for study in STUDIES if noisy.intersection(runs_of(study))}
    figures |= {f"rates_{table}": "rates" for table in PLAN.tables if table == "label_noise_table2"}
    figures |= {"purity": "purity", "captions": "captions"} if PLAN.pairs else {}
    return figures | ({"scores": "scores"} if PLAN.scores else {})


def evidence_files(study):
    """What is kept of a finished run: tables, claims and audit as text, the figures of what decides the claims."""
    tables = [f"results/{SCALE}/tables/{study}/{table.name}" for table in tables_of(study)]
    drawn = [f"differences_{study}_{table.name}" for table in tables_of(study) if not table.saliency]
    drawn += ["purity"] * any(PLAN.runs[run].pairs for run in runs_of(study))
    drawn += [f"recall_{study}_{table.name}_{name}" for table in tables_of(study) for name in table.searches]
    drawn += [name for name in (f"rates_{study}_table2", f"realised_{study}") if name in report_figures()]
    return [
        *(f"{table}.{format}" for table in tables for format in ("md", "csv")),
        *(f"results/{SCALE}/{kind}/{study}.{format}" for kind in ("claims", "audit") for format in ("md", "json")),
        *(f"results/{SCALE}/figures/{name}.svg" for name in drawn),
    ]


def runs_of(study):
    """The ids of the runs in a study's tables."""
    return list(dict.fromkeys(run for table in tables_of(study) for run in table.runs))


def pair_summaries(study):
    """The summaries of the mined pairs that a study's runs train on."""
    return [f"results/pairs/{pairs}.summary.json" for pairs in PLAN.needed(runs_of(study))["pairs"]]


def ledgers_of(study):
    """The summaries of the ledgers of the downloaded packs that a study's evaluations are about."""
    evaluations = [evaluation for table in tables_of(study) for evaluation in table.evaluations]
    packs = PLAN.needed([*runs_of(study), *evaluations])["packs"]
    return [f"results/data/{pack}/ledger.summary.json" for pack in packs if PLAN.packs[pack]["source"] == "web"]


def scored_of(study, saliency=False):
    """<run>/<evaluation> of all metrics of a study's tables, of frozen features or of saliency maps."""
    scored = (pair for table in tables_of(study) for pair in PLAN.metrics(f"{study}_{table.name}"))
    return list(dict.fromkeys("/".join(pair) for pair in scored if PLAN.evaluations[pair[1]].saliency == saliency))


def prepared(study):
    """<rule>/<id> of the other jobs of a study whose cost is recorded."""
    evaluations = [evaluation for table in tables_of(study) for evaluation in table.evaluations]
    needed = PLAN.needed([*runs_of(study), *evaluations])
    makers = {"train_stand_in": "checkpoints", "score_captions": "scores", "embed": "embeddings"}
    makers |= {"mine_pairs": "pairs", "generate_captions": "captions", "distil_concepts": "concepts"}
    makers |= {"embed_prompts": "prompts", "rank_pictures": "rankings"}
    makers |= {"parse_captions": "parses", "spot_text": "spotted"}
    made = [f"{rule}/{artefact}" for rule, kind in makers.items() for artefact in needed[kind]]
    return made + [f"score_saliency/{job}" for job in scored_of(study, saliency=True)]


def own_command():
    """The command that runs this scale, with the config files and values that this one was given."""
    files = [f"--configfile {os.path.relpath(path)}" for path in workflow.overwrite_configfiles]
    values = (
        [f"--config {shlex.join(workflow.config_settings.config_args)}"] if workflow.config_settings.config_args else []
    )
    return " ".join(["snakemake --cores 2", *files, *values])
