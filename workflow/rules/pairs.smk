# Pair mining: captions to sentence embeddings to each picture's nearest neighbour.


rule mine_pairs:
    input:
        recipe=ancient("results/recipes/pairs/{pairs}.json"),
        captions=ancient(lambda wildcards: f"results/captions/{PLAN.pairs[wildcards.pairs]['captions']}.parquet"),
    output:
        pairs="results/pairs/{pairs}.parquet",
        summary="results/pairs/{pairs}.summary.json",
    log:
        "logs/mine_pairs/{pairs}.log",
    conda:
        "../../envs/train.yaml"
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.train_gpus,
    shell:
        "python workflow/scripts/mine_pairs.py --recipe {input.recipe} --captions {input.captions}"
        " --pairs {output.pairs} --summary {output.summary} 2>&1 | tee {log}"
