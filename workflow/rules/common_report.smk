# What cells, tables, the report and the evidence are made of, as functions; holds no rule. Conventions: common.smk.
from functools import cache


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


@cache
def learnt_captions():
    """The caption sources that runs learn from, in training or as pairs; not those of galleries that are searched."""
    return PLAN.needed(PLAN.runs)["captions"]


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
    compared = [table for table in tables_of(study) if any(STUDIES[study].table(table.name).comparisons())]
    drawn = [f"differences_{study}_{table.name}" for table in compared if not table.saliency]
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


def shell_commands():
    """Rule -> its shell command as it stands: what another command made, Snakemake makes again."""
    return {rule.name: rule.shellcmd for rule in workflow.rules if rule.shellcmd and not rule.name.endswith("_json")}
