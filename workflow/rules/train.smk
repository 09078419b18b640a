# Pre-training: one job a run (a recipe and a seed).


rule train_model:
    input:
        recipe=ancient("results/recipes/runs/{run}.json"),
        index=ancient(lambda wildcards: f"results/data/{PLAN.runs[wildcards.run].pack}/index.parquet"),
        pairs=ancient(lambda wildcards: pairs_of(wildcards.run)),
    output:
        model="results/runs/{run}/model.safetensors",
        history="results/runs/{run}/history.jsonl",
    log:
        "logs/train_model/{run}.log",
    benchmark:
        "results/benchmarks/train_model/{run}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.train_gpus,
    params:
        # Outside the outputs: Snakemake deletes the outputs of a failed job, and an interrupted run must resume.
        state=lambda wildcards, input: f"results/state/{wildcards.run}",
        pairs=lambda wildcards, input: f"--pairs {input.pairs}" if input.pairs else "",
        seconds=lambda wildcards, input: RESOURCES.checkpoint_seconds,
    shell:
        "python workflow/scripts/train.py --recipe {input.recipe} --index {input.index} {params.pairs}"
        " --state {params.state} --checkpoint-seconds {params.seconds} --model {output.model} 2>&1 | tee {log}"
