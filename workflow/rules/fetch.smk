# Image sets to verified packs.


rule fetch_pack:
    input:
        recipe=ancient("results/recipes/packs/{pack}.json"),
    output:
        index="results/data/{pack}/index.parquet",
        rejected="results/data/{pack}/rejected.csv",
    log:
        "logs/fetch_pack/{pack}.log",
    wildcard_constraints:
        pack=packs_from_web(False),
    conda:
        TRAIN_ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        limit=lambda wildcards, input: CONFIG.limits.bad_pictures,
    shell:
        "python workflow/scripts/fetch_pack.py --recipe {input.recipe} --limit {params.limit}"
        " --output {output.index} 2>&1 | tee {log}"


rule fetch_web_pack:
    input:
        recipe=ancient("results/recipes/packs/{pack}.json"),
    output:
        index="results/data/{pack}/index.parquet",
        rejected="results/data/{pack}/rejected.csv",
        ledger="results/data/{pack}/ledger.parquet",
        summary="results/data/{pack}/ledger.summary.json",
    log:
        "logs/fetch_web_pack/{pack}.log",
    wildcard_constraints:
        pack=packs_from_web(True),
    conda:
        TRAIN_ENVIRONMENT
    threads: 2
    resources:
        mem_mb=16000,
        runtime=2880,
    params:
        limit=lambda wildcards, input: CONFIG.limits.bad_pictures,
        pace=lambda wildcards, input: pace_of(wildcards.pack),
    shell:
        "python workflow/scripts/fetch_pack.py --recipe {input.recipe} --limit {params.limit}"
        " --state results/state/{wildcards.pack} --pace {params.pace:q} --output {output.index} 2>&1 | tee {log}"
