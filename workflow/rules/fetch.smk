# Image sets to verified packs.


rule fetch_pack:
    input:
        recipe=ancient("results/recipes/packs/{pack}.json"),
    output:
        index="results/data/{pack}/index.parquet",
        rejected="results/data/{pack}/rejected.csv",
    log:
        "logs/fetch_pack/{pack}.log",
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        limit=lambda wildcards, input: CONFIG.limits.bad_pictures,
    shell:
        "python workflow/scripts/fetch_pack.py --recipe {input.recipe} --limit {params.limit}"
        " --output {output.index} 2>&1 | tee {log}"
