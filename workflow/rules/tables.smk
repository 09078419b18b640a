# Metrics to cells, cells to tables and verdicts.


rule collect_cells:
    input:
        lambda wildcards: metrics_of(f"{wildcards.study}_{wildcards.table}"),
    output:
        "results/{scale}/cells/{study}/{table}.parquet",
    log:
        "logs/collect_cells/{scale}/{study}_{table}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
        login=1,
    shell:
        "python workflow/scripts/collect_cells.py --metrics {input} --output {output} > {log} 2>&1"


rule build_table:
    input:
        cells="results/{scale}/cells/{study}/{table}.parquet",
        study="config/papers/{study}.yaml",
    output:
        multiext("results/{scale}/tables/{study}/{table}", ".csv", ".md", ".tex"),
        report(
            "results/{scale}/tables/{study}/{table}.html",
            category="Tables",
            caption="../../report/table.rst",
            labels={"study": "{study}", "table": "{table}"},
        ),
    log:
        "logs/build_table/{scale}/{study}_{table}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
        login=1,
    params:
        sets=lambda wildcards: set_titles(f"{wildcards.study}_{wildcards.table}"),
    shell:
        "python workflow/scripts/build_table.py --study {input.study} --table {wildcards.table} --cells {input.cells}"
        " --scale {wildcards.scale} --sets {params.sets:q} --output {output} > {log} 2>&1"


rule judge_claims:
    input:
        cells=lambda wildcards: cells_of(wildcards.study),
        summaries=ancient(lambda wildcards: pair_summaries(wildcards.study)),
        ledgers=ancient(lambda wildcards: ledgers_of(wildcards.study)),
        study="config/papers/{study}.yaml",
    output:
        multiext("results/{scale}/claims/{study}", ".json", ".md"),
        report(
            "results/{scale}/claims/{study}.html",
            category="Claims",
            caption="../../report/claims.rst",
            labels={"study": "{study}"},
        ),
    log:
        "logs/judge_claims/{scale}/{study}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        sets=set_titles(),
        runs=lambda wildcards: runs_of(wildcards.study),
        benchmarks=lambda wildcards, input: "results/benchmarks/train_model",  # files may be missing: no input
    shell:
        "python workflow/scripts/judge_claims.py --study {input.study} --cells {input.cells}"
        " --summaries {input.summaries} --ledgers {input.ledgers} --runs {params.runs} --benchmarks {params.benchmarks}"
        " --scale {wildcards.scale} --sets {params.sets:q} --output {output} > {log} 2>&1"


rule audit_study:
    input:
        study="config/papers/{study}.yaml",
    output:
        multiext("results/{scale}/audit/{study}", ".json", ".md"),
        report(
            "results/{scale}/audit/{study}.html",
            category="Claims",
            caption="../../report/audit.rst",
            labels={"study": "{study}"},
        ),
    log:
        "logs/audit_study/{scale}/{study}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
        login=1,
    shell:
        "python workflow/scripts/audit_study.py --study {input.study} --output {output} > {log} 2>&1"


# One alias a table: `snakemake language_guidance_table1`.
for alias, planned in PLAN.tables.items():

    rule:
        name:
            alias
        input:
            expand(f"results/{SCALE}/tables/{planned.study}/{planned.name}.{{format}}", format=TABLE_FORMATS),
        localrule: True
