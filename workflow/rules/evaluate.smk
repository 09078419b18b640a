# A run's frozen features of a group of sets and the protocols that score them, in one job: features cost less to make
# again for another suite than to keep. Small runs may share a job (`resources.runs_per_evaluation`), and its pictures.


# Classes by their names: prompts are embedded once for all runs that read captions by the same encoder.
rule embed_prompts:
    input:
        recipe=ancient("results/recipes/prompts/{prompts}.json"),
        index=ancient(lambda wildcards: index_of(PLAN.prompts[wildcards.prompts]["names"])),
    output:
        "results/prompts/{prompts}.safetensors",
    log:
        "logs/embed_prompts/{prompts}.log",
    benchmark:
        "results/benchmarks/embed_prompts/{prompts}.tsv"
    priority: 1
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.gpus,
    shell:
        "python workflow/scripts/embed_prompts.py --recipe {input.recipe} --index {input.index} --output {output}"
        " 2>&1 | tee {log}"


# How hard each picture is for a model that is not under test, which chooses the pictures of a set.
rule rank_pictures:
    input:
        recipe=ancient("results/recipes/rankings/{ranking}.json"),
        index=ancient(lambda wildcards: index_of(PLAN.rankings[wildcards.ranking]["pictures"])),
        names=ancient(lambda wildcards: index_of(PLAN.rankings[wildcards.ranking]["names"])),
        model=ancient(lambda wildcards: checkpoint_of(PLAN.rankings[wildcards.ranking])),
    output:
        "results/rankings/{ranking}.parquet",
    log:
        "logs/rank_pictures/{ranking}.log",
    benchmark:
        "results/benchmarks/rank_pictures/{ranking}.tsv"
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.gpus,
    params:
        model=lambda wildcards, input: input.model or PLAN.rankings[wildcards.ranking]["model"],
    shell:
        "python workflow/scripts/rank_pictures.py --recipe {input.recipe} --index {input.index} --names {input.names}"
        " --model {params.model:q} --output {output} 2>&1 | tee {log}"


# A program each for probes and few-shot on features, for class names, and for retrieval.
for script, name in {"evaluate": "evaluate_run", "zero_shot": "zero_shot", "retrieve": "retrieve"}.items():

    rule:
        name:
            name
        input:
            unpack(scored_inputs),
        output:
            "results/metrics/{scored}.json",
        log:
            f"logs/{name}/{{scored}}.log",
        benchmark:
            "results/benchmarks/evaluate_run/{scored}.tsv"
        wildcard_constraints:
            scored=scored_alone(script),
        conda:
            TRAIN_ENVIRONMENT
        threads: CONFIG.evaluation.threads
        resources:
            mem_mb=RESOURCES.evaluate_memory_mb,
            runtime=RESOURCES.evaluate_minutes,
            gpu=RESOURCES.gpus,
        params:
            script=script,
            run=lambda wildcards: wildcards.scored.split("/")[0],
        shell:
            "python workflow/scripts/{params.script}.py --runs {params.run} --recipes {input.recipes}"
            " --models {input.models} --evaluation {input.evaluation} --outputs {output} 2>&1 | tee {log}"


for script, jobs in EVALUATION_JOBS.items():
    for job, (evaluation, runs) in jobs.items():

        rule:
            name:
                f"{script}_{job}"
            input:
                **evaluation_inputs(evaluation, runs),
            output:
                [f"results/metrics/{run}/{evaluation}.json" for run in runs],
            log:
                f"logs/{script}/{job}.log",
            conda:
                TRAIN_ENVIRONMENT
            threads: CONFIG.evaluation.threads
            resources:
                mem_mb=RESOURCES.evaluate_memory_mb,
                runtime=RESOURCES.evaluate_minutes,
                gpu=RESOURCES.gpus,
            params:
                script=script,
                runs=runs,
                benchmarks=[f"results/benchmarks/evaluate_run/{run}/{evaluation}.tsv" for run in runs],
            shell:
                "python workflow/scripts/{params.script}.py --runs {params.runs} --recipes {input.recipes}"
                " --models {input.models} --evaluation {input.evaluation} --outputs {output}"
                " --benchmarks {params.benchmarks} 2>&1 | tee {log}"
