# Saliency maps of a run's probe against masks, and the maps that look at no model.


rule score_saliency:
    input:
        recipe=ancient("results/recipes/runs/{run}.json"),
        evaluation=ancient("results/recipes/evaluations/{evaluation}.json"),
        model=ancient("results/runs/{run}/model.safetensors"),
        indexes=ancient(lambda wildcards: set_indexes(wildcards.evaluation)),
    output:
        metrics="results/saliency/{run}/{evaluation}.json",
        probe="results/saliency/{run}/{evaluation}.safetensors",
    log:
        "logs/score_saliency/{run}/{evaluation}.log",
    benchmark:
        "results/benchmarks/score_saliency/{run}/{evaluation}.tsv"
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.evaluation.threads
    resources:
        mem_mb=RESOURCES.evaluate_memory_mb,
        runtime=RESOURCES.evaluate_minutes,
        gpu=RESOURCES.gpus,
    shell:
        "python workflow/scripts/score_saliency.py --run {wildcards.run} --recipe {input.recipe} --model {input.model}"
        " --evaluation {input.evaluation} --probe {output.probe} --output {output.metrics} 2>&1 | tee {log}"


rule score_priors:
    input:
        evaluation=ancient("results/recipes/evaluations/{evaluation}.json"),
        indexes=ancient(lambda wildcards: set_indexes(wildcards.evaluation)),
    output:
        "results/priors/{evaluation}.json",
    log:
        "logs/score_priors/{evaluation}.log",
    benchmark:
        "results/benchmarks/score_priors/{evaluation}.tsv"
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.evaluation.threads
    resources:
        mem_mb=RESOURCES.evaluate_memory_mb,
        runtime=RESOURCES.evaluate_minutes,
    shell:
        "python workflow/scripts/score_priors.py --evaluation {input.evaluation} --output {output} 2>&1 | tee {log}"


rule draw_saliency:
    input:
        study="config/papers/{study}.yaml",
        evaluation=ancient(lambda wildcards: gallery_of(wildcards)["evaluation"]),
        indexes=ancient(lambda wildcards: gallery_of(wildcards)["indexes"]),
        recipes=ancient(lambda wildcards: gallery_of(wildcards)["recipes"]),
        models=ancient(lambda wildcards: gallery_of(wildcards)["models"]),
        metrics=ancient(lambda wildcards: gallery_of(wildcards)["metrics"]),
        probes=ancient(lambda wildcards: gallery_of(wildcards)["probes"]),
    output:
        "results/{scale}/saliency/{study}/{table}.html",
    log:
        "logs/draw_saliency/{scale}/{study}_{table}.log",
    conda:
        TRAIN_ENVIRONMENT
    resources:
        mem_mb=RESOURCES.evaluate_memory_mb,
        runtime=RESOURCES.evaluate_minutes,
    params:
        rows=lambda wildcards: gallery_of(wildcards)["rows"],
    shell:
        "python workflow/scripts/draw_saliency.py --study {input.study} --table {wildcards.table} --rows {params.rows}"
        " --recipes {input.recipes} --models {input.models} --metrics {input.metrics} --probes {input.probes}"
        " --evaluation {input.evaluation} --output {output} > {log} 2>&1"
