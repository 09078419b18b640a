# Figures, the report's page, Snakemake's own report with both inside, and the folder that is committed of a long run.


rule write_config:
    output:
        f"results/{SCALE}/config.json",
    log:
        f"logs/write_config/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        config=json.dumps(config, sort_keys=True),
    shell:
        "printf '%s\\n' {params.config:q} > {output} 2> {log}"


rule draw_figures:
    input:
        studies=expand("config/papers/{study}.yaml", study=STUDIES),
        tables=report_tables(".csv"),
        cells=report_cells(),
        runs=ancient(expand("results/recipes/runs/{run}.json", run=PLAN.runs)),
        histories=ancient(expand("results/runs/{run}/history.jsonl", run=PLAN.runs)),
        captions=ancient(expand("results/captions/{captions}.parquet", captions=learnt_captions())),
        caption_recipes=ancient(expand("results/recipes/captions/{captions}.json", captions=learnt_captions())),
        scores=ancient(expand("results/scores/{scores}.parquet", scores=PLAN.scores)),
        score_recipes=ancient(expand("results/recipes/scores/{scores}.json", scores=PLAN.scores)),
        pairs=ancient(expand("results/pairs/{pairs}.parquet", pairs=PLAN.pairs)),
        pair_summaries=ancient(expand("results/pairs/{pairs}.summary.json", pairs=PLAN.pairs)),
        pair_recipes=ancient(expand("results/recipes/pairs/{pairs}.json", pairs=PLAN.pairs)),
        indexes=ancient(paired_indexes()),
    output:
        [
            report(
                f"results/{SCALE}/figures/{name}.svg",
                category="Figures",
                caption=f"../../report/{caption}.rst",
                labels={"figure": name.replace("_", " ")},
            )
            for name, caption in report_figures().items()
        ],
        texts=f"results/{SCALE}/figures/figures.json",
    log:
        f"logs/draw_figures/{SCALE}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python workflow/scripts/draw_figures.py --studies {input.studies} --tables {input.tables}"
        " --cells {input.cells} --runs {input.runs} --histories {input.histories}"
        " --captions {input.captions} --caption-recipes {input.caption_recipes}"
        " --scores {input.scores} --score-recipes {input.score_recipes}"
        " --pairs {input.pairs} --pair-summaries {input.pair_summaries} --pair-recipes {input.pair_recipes}"
        " --indexes {input.indexes} --texts {output.texts} > {log} 2>&1"


# Queries of retrieval, with recall against the size of the gallery: one job a table that shows some.
for planned in PLAN.tables.values():
    if planned.searches:

        rule:
            name:
                f"draw_retrieval_{planned.study}_{planned.name}"
            input:
                study=f"config/papers/{planned.study}.yaml",
                config=f"results/{SCALE}/config.json",
                metrics=ancient(searches_of(planned)["metrics"]),
                indexes=ancient([index_of(pack) for pack in searches_of(planned)["packs"]]),
            output:
                figures=search_figures(planned),
                page=f"results/{SCALE}/retrieval/{planned.study}/{planned.name}.html",
            log:
                f"logs/draw_retrieval/{SCALE}_{planned.study}_{planned.name}.log",
            conda:
                "../../envs/report.yaml"
            resources:
                mem_mb=2000,
                runtime=30,
            params:
                table=planned.name,
                packs=searches_of(planned)["packs"],
            shell:
                "python workflow/scripts/draw_retrieval.py --study {input.study} --table {params.table}"
                " --metrics {input.metrics} --sets {input.config} --packs {params.packs} --figures {output.figures}"
                " --output {output.page} > {log} 2>&1"


rule build_report:
    input:
        config=f"results/{SCALE}/config.json",
        studies=expand("config/papers/{study}.yaml", study=STUDIES),
        cells=report_cells(),
        claims=expand(f"results/{SCALE}/claims/{{study}}.json", study=STUDIES),
        claim_pages=expand(f"results/{SCALE}/claims/{{study}}.html", study=STUDIES),
        audits=expand(f"results/{SCALE}/audit/{{study}}.html", study=STUDIES),
        tables=report_tables(".html"),
        galleries=galleries(),
        figures=f"results/{SCALE}/figures/figures.json",
        drawings=expand(f"results/{SCALE}/figures/{{name}}.svg", name=report_figures()),
        runs=ancient(expand("results/recipes/runs/{run}.json", run=PLAN.runs)),
        models=ancient(expand("results/runs/{run}/model.safetensors", run=PLAN.runs)),
        checkpoints=ancient(expand("results/recipes/checkpoints/{checkpoint}.json", checkpoint=PLAN.checkpoints)),
        captions=ancient(expand("results/captions/{captions}.parquet", captions=learnt_captions())),
        caption_recipes=ancient(expand("results/recipes/captions/{captions}.json", captions=learnt_captions())),
        caption_summaries=ancient(counted_captions()),
        concepts=ancient(expand("results/concepts/{concepts}.summary.json", concepts=PLAN.concepts)),
        concept_recipes=ancient(expand("results/recipes/concepts/{concepts}.json", concepts=PLAN.concepts)),
        scores=ancient(expand("results/scores/{scores}.parquet", scores=PLAN.scores)),
        score_recipes=ancient(expand("results/recipes/scores/{scores}.json", scores=PLAN.scores)),
        pairs=ancient(expand("results/pairs/{pairs}.parquet", pairs=PLAN.pairs)),
        pair_summaries=ancient(expand("results/pairs/{pairs}.summary.json", pairs=PLAN.pairs)),
        pair_recipes=ancient(expand("results/recipes/pairs/{pairs}.json", pairs=PLAN.pairs)),
        indexes=ancient(expand("results/data/{pack}/index.parquet", pack=PLAN.packs)),
        rejected=ancient(expand("results/data/{pack}/rejected.csv", pack=PLAN.packs)),
        style="report/style.css",
    output:
        report(
            f"results/{SCALE}/report/index.html",
            category="Page",
            caption="../../report/page.rst",
            labels={"page": "everything on one page"},
        ),
    log:
        f"logs/build_report/{SCALE}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        benchmarks=lambda wildcards, input: "results/benchmarks",  # files may be missing: no input
        command=lambda wildcards, input: own_command(),
    shell:
        "python workflow/scripts/build_report.py --config {input.config} --studies {input.studies}"
        " --cells {input.cells} --claims {input.claims} --claim-pages {input.claim_pages} --audits {input.audits}"
        " --tables {input.tables} --galleries {input.galleries} --figures {input.figures} --runs {input.runs}"
        " --checkpoints {input.checkpoints}"
        " --captions {input.captions} --caption-recipes {input.caption_recipes}"
        " --caption-summaries {input.caption_summaries}"
        " --concepts {input.concepts} --concept-recipes {input.concept_recipes}"
        " --scores {input.scores} --score-recipes {input.score_recipes}"
        " --pairs {input.pairs} --pair-summaries {input.pair_summaries} --pair-recipes {input.pair_recipes}"
        " --indexes {input.indexes} --rejected {input.rejected} --benchmarks {params.benchmarks}"
        " --command {params.command:q} --style {input.style} --output {output} > {log} 2>&1"


# `snakemake report`: the page and Snakemake's own report around it, as one file to hand on. The nested call has the
# whole configuration of this one, whatever files and `--config` values it was merged from, and runs no job.
rule report:
    input:
        page=f"results/{SCALE}/report/index.html",
        tables=TABLE_FILES,
        words="report/workflow.rst",
        config=f"results/{SCALE}/config.json",
    output:
        f"results/{SCALE}/report.zip",
    log:
        f"logs/report/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    shell:
        "snakemake --report {output} --nolock --configfile {input.config} -- {input.page} {input.tables} > {log} 2>&1"


# `make evidence` copies this folder to docs/evidence/, so that a reader sees results before running anything.
rule write_evidence:
    input:
        study="config/papers/{study}.yaml",
        claims="results/{scale}/claims/{study}.json",
        files=lambda wildcards: evidence_files(wildcards.study),
        figures=f"results/{SCALE}/figures/figures.json",
        summaries=ancient(lambda wildcards: pair_summaries(wildcards.study)),
    output:
        directory("results/{scale}/evidence/{study}"),
    log:
        "logs/write_evidence/{scale}_{study}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        runs=lambda wildcards: runs_of(wildcards.study),
        evaluated=lambda wildcards: scored_of(wildcards.study),
        made=lambda wildcards: prepared(wildcards.study),
        benchmarks=lambda wildcards, input: "results/benchmarks",  # files may be missing: no input
        command=lambda wildcards, input: own_command(),
    shell:
        "python workflow/scripts/write_evidence.py --study {input.study} --claims {input.claims} --files {input.files}"
        " --summaries {input.summaries} --runs {params.runs} --evaluated {params.evaluated} --made {params.made}"
        " --benchmarks {params.benchmarks} --command {params.command:q} --output {output} > {log} 2>&1"


rule evidence:
    input:
        expand(f"results/{SCALE}/evidence/{{study}}", study=STUDIES),
    localrule: True
