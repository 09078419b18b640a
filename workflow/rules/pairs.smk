# Pair mining: captions or pictures to embeddings, embeddings to each picture's nearest neighbours.


rule embed:
    input:
        unpack(embedded),
        recipe=ancient("results/recipes/embeddings/{embeddings}.json"),
    output:
        "results/embeddings/{embeddings}.safetensors",
    log:
        "logs/embed/{embeddings}.log",
    benchmark:
        "results/benchmarks/embed/{embeddings}.tsv"
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.gpus,
    params:
        # Outside the outputs: Snakemake deletes the outputs of a failed job, and an interrupted one must go on.
        state=lambda wildcards, input: f"results/state/{wildcards.embeddings}",
        files=lambda wildcards, input: " ".join(f"--{name} {path}" for name, path in input.items() if name != "recipe"),
    shell:
        "python workflow/scripts/embed.py --recipe {input.recipe} {params.files}"
        " --state {params.state} --output {output} 2>&1 | tee {log}"


rule mine_pairs:
    input:
        unpack(mined),
        recipe=ancient("results/recipes/pairs/{pairs}.json"),
    output:
        pairs="results/pairs/{pairs}.parquet",
        summary="results/pairs/{pairs}.summary.json",
    log:
        "logs/mine_pairs/{pairs}.log",
    benchmark:
        "results/benchmarks/mine_pairs/{pairs}.tsv"
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.mine_memory_mb or RESOURCES.train_memory_mb,
        runtime=RESOURCES.mine_minutes or RESOURCES.train_minutes,
        gpu=RESOURCES.gpus if RESOURCES.mine_gpus is None else RESOURCES.mine_gpus,
    params:
        state=lambda wildcards, input: f"results/state/{wildcards.pairs}",
        seconds=lambda wildcards, input: RESOURCES.checkpoint_seconds,
        files=lambda wildcards, input: " ".join(f"--{name} {path}" for name, path in input.items() if name != "recipe"),
    shell:
        "python workflow/scripts/mine_pairs.py --recipe {input.recipe} {params.files}"
        " --state {params.state} --checkpoint-seconds {params.seconds}"
        " --pairs {output.pairs} --summary {output.summary} 2>&1 | tee {log}"
