# Pre-training: one job a run (a recipe and a seed).


rule train_model:
    input:
        unpack(training_data),
        recipe=ancient("results/recipes/runs/{run}.json"),
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
        files=lambda wildcards, input: " ".join(f"--{name} {path}" for name, path in input.items() if name != "recipe"),
        seconds=lambda wildcards, input: RESOURCES.checkpoint_seconds,
    shell:
        "python workflow/scripts/train.py --recipe {input.recipe} {params.files}"
        " --state {params.state} --checkpoint-seconds {params.seconds} --model {output.model} 2>&1 | tee {log}"
