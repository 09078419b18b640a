# A run's frozen features of a group of sets and the protocols that score them, in one job: features cost less to make
# again for another suite than to keep.


rule evaluate_run:
    input:
        recipe=ancient("results/recipes/runs/{run}.json"),
        evaluation=ancient("results/recipes/evaluations/{evaluation}.json"),
        model=ancient("results/runs/{run}/model.safetensors"),
        indexes=ancient(lambda wildcards: set_indexes(wildcards.evaluation)),
    output:
        "results/metrics/{run}/{evaluation}.json",
    log:
        "logs/evaluate_run/{run}/{evaluation}.log",
    benchmark:
        "results/benchmarks/evaluate_run/{run}/{evaluation}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: CONFIG.evaluation.threads
    resources:
        mem_mb=RESOURCES.evaluate_memory_mb,
        runtime=RESOURCES.evaluate_minutes,
        gpu=RESOURCES.train_gpus,
    shell:
        "python workflow/scripts/evaluate.py --run {wildcards.run} --recipe {input.recipe} --model {input.model}"
        " --evaluation {input.evaluation} --output {output} 2>&1 | tee {log}"
