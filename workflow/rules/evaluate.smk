# Frozen features of a run on a group of sets, and the protocols that score them.


rule extract_features:
    input:
        recipe=ancient("results/recipes/runs/{run}.json"),
        evaluation=ancient("results/recipes/evaluations/{features}.json"),
        model=ancient("results/runs/{run}/model.safetensors"),
        indexes=ancient(lambda wildcards: set_indexes(wildcards.features)),
    output:
        "results/features/{run}/{features}.safetensors",
    log:
        "logs/extract_features/{run}/{features}.log",
    conda:
        "../../envs/train.yaml"
    threads: CONFIG.evaluation.threads
    resources:
        mem_mb=RESOURCES.evaluate_memory_mb,
        runtime=RESOURCES.evaluate_minutes,
        gpu=RESOURCES.train_gpus,
    shell:
        "python workflow/scripts/extract_features.py --recipe {input.recipe} --evaluation {input.evaluation}"
        " --model {input.model} --output {output} 2>&1 | tee {log}"


rule evaluate_run:
    input:
        recipe=ancient("results/recipes/evaluations/{evaluation}.json"),
        indexes=ancient(lambda wildcards: set_indexes(wildcards.evaluation)),
        features=ancient(
            lambda wildcards: f"results/features/{wildcards.run}/{PLAN.features_of(wildcards.evaluation)}.safetensors"
        ),
    output:
        "results/metrics/{run}/{evaluation}.json",
    log:
        "logs/evaluate_run/{run}/{evaluation}.log",
    conda:
        "../../envs/train.yaml"
    threads: CONFIG.evaluation.threads
    resources:
        mem_mb=RESOURCES.evaluate_memory_mb,
        runtime=RESOURCES.evaluate_minutes,
    shell:
        "python workflow/scripts/evaluate.py --recipe {input.recipe} --run {wildcards.run}"
        " --features {input.features} --output {output} 2>&1 | tee {log}"
