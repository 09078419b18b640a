# Caption sources: which caption each training picture is known by.


rule make_captions:
    input:
        recipe=ancient("results/recipes/captions/{captions}.json"),
        index=ancient(lambda wildcards: f"results/data/{PLAN.captions[wildcards.captions]['pack']}/index.parquet"),
    output:
        "results/captions/{captions}.parquet",
    log:
        "logs/make_captions/{captions}.log",
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        limit=lambda wildcards, input: CONFIG.limits.bad_captions,
    shell:
        "python workflow/scripts/make_captions.py --recipe {input.recipe} --index {input.index}"
        " --limit {params.limit} --output {output} 2>&1 | tee {log}"
