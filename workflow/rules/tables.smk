# Metrics to cells, cells to tables and verdicts.


rule collect_cells:
    input:
        lambda wildcards: metrics_of(f"{wildcards.study}_table{wildcards.number}"),
    output:
        "results/{scale}/cells/{study}/table{number}.parquet",
    log:
        "logs/collect_cells/{scale}/{study}_table{number}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        "python workflow/scripts/collect_cells.py --metrics {input} --output {output} > {log} 2>&1"


rule build_table:
    input:
        cells="results/{scale}/cells/{study}/table{number}.parquet",
        study="config/papers/{study}.yaml",
    output:
        multiext("results/{scale}/tables/{study}/table{number}", ".csv", ".md", ".tex"),
        report(
            "results/{scale}/tables/{study}/table{number}.html",
            category="Tables",
            caption="../../report/table.rst",
            labels={"study": "{study}", "table": "{number}"},
        ),
    log:
        "logs/build_table/{scale}/{study}_table{number}.log",
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        sets=set_titles(),
    shell:
        "python workflow/scripts/build_table.py --study {input.study} --table {wildcards.number} --cells {input.cells}"
        " --scale {wildcards.scale} --sets {params.sets:q} --output {output} > {log} 2>&1"


rule judge_claims:
    input:
        cells=lambda wildcards: [
            f"results/{wildcards.scale}/cells/{wildcards.study}/table{table.number}.parquet"
            for table in STUDIES[wildcards.study].tables
        ],
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
        mem_mb=1000,
        runtime=30,
    params:
        sets=set_titles(),
    shell:
        "python workflow/scripts/judge_claims.py --study {input.study} --cells {input.cells}"
        " --scale {wildcards.scale} --sets {params.sets:q} --output {output} > {log} 2>&1"


# One alias a table: `snakemake language_guidance_table1`.
for table in PLAN.tables.values():

    rule:
        name:
            f"{table.study}_table{table.number}"
        input:
            expand(
                f"results/{SCALE}/tables/{table.study}/table{table.number}.{{format}}",
                format=TABLE_FORMATS,
            ),
        localrule: True
