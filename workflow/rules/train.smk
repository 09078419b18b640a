# Pre-training: one job a run (a recipe and a seed), or several small runs that read the same data. A training that gets
# near its job's time limit saves and ends with exit code 75; started again (`retries`), it goes on from there.


rule train_model:
    input:
        unpack(lambda wildcards: training_data(wildcards.run)),
        recipe=ancient("results/recipes/runs/{run}.json"),
    output:
        model="results/runs/{run}/model.safetensors",
        history="results/runs/{run}/history.jsonl",
    log:
        "logs/train_model/{run}.log",
    benchmark:
        "results/benchmarks/train_model/{run}.tsv"
    wildcard_constraints:
        run=trained_alone(),
    retries: TRAIN_RETRIES
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads * RESOURCES.processes
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.train_gpus,
        attempt=lambda wildcards, attempt: attempt,
    params:
        # Outside the outputs: Snakemake deletes the outputs of a failed job, and an interrupted run must resume.
        state=lambda wildcards, input: f"results/state/{wildcards.run}",
        files=lambda wildcards, input: " ".join(f"--{name} {path}" for name, path in input.items() if name != "recipe"),
        seconds=lambda wildcards, input: RESOURCES.checkpoint_seconds,
        reserve=lambda wildcards, input: RESOURCES.reserve_seconds,
        processes=lambda wildcards, input: RESOURCES.processes,
    shell:
        "python workflow/scripts/train.py --processes {params.processes} --recipe {input.recipe} {params.files}"
        " --state {params.state} --checkpoint-seconds {params.seconds} --minutes {resources.runtime}"
        " --reserve-seconds {params.reserve} --attempt {resources.attempt} --model {output.model} 2>&1 | tee {log}"


# `resources.runs_per_training` runs in one job: what they load is loaded once, and each trains as if it were alone.
for job, runs in TRAINING_JOBS.items():

    rule:
        name:
            f"train_{job}"
        input:
            **training_data(runs[0]),
            recipes=[ancient(f"results/recipes/runs/{run}.json") for run in runs],
        output:
            models=[f"results/runs/{run}/model.safetensors" for run in runs],
            histories=[f"results/runs/{run}/history.jsonl" for run in runs],
        log:
            f"logs/train_models/{job}.log",
        retries: TRAIN_RETRIES
        conda:
            TRAIN_ENVIRONMENT
        threads: CONFIG.training.threads * RESOURCES.processes
        resources:
            mem_mb=RESOURCES.train_memory_mb,
            runtime=RESOURCES.train_minutes,
            gpu=RESOURCES.train_gpus,
            attempt=lambda wildcards, attempt: attempt,
        params:
            states=[f"results/state/{run}" for run in runs],
            benchmarks=[f"results/benchmarks/train_model/{run}.tsv" for run in runs],
            files=" ".join(f"--{name} {path}" for name, path in training_data(runs[0]).items()),
            seconds=lambda wildcards, input: RESOURCES.checkpoint_seconds,
            reserve=lambda wildcards, input: RESOURCES.reserve_seconds,
            processes=lambda wildcards, input: RESOURCES.processes,
        shell:
            "python workflow/scripts/train.py --processes {params.processes} --recipe {input.recipes} {params.files}"
            " --state {params.states} --benchmark {params.benchmarks} --checkpoint-seconds {params.seconds}"
            " --minutes {resources.runtime} --reserve-seconds {params.reserve} --attempt {resources.attempt}"
            " --model {output.models} 2>&1 | tee {log}"


# Weights that are given, in the place of a training: converted once to float32 in transformers' layout.
rule import_model:
    input:
        recipe=ancient("results/recipes/runs/{run}.json"),
        model=ancient(given_model),
    output:
        model="results/runs/{run}/model.safetensors",
        history="results/runs/{run}/history.jsonl",
    log:
        "logs/import_model/{run}.log",
    wildcard_constraints:
        run=runs_among(run for run, planned in PLAN.runs.items() if planned.imported and not trained(run)),
    conda:
        TRAIN_ENVIRONMENT
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
    params:
        location=given_from,
        accepted=lambda wildcards, input: (
            "--accept-licence"
            if CONFIG.dual_encoders[CONFIG.recipes[PLAN.runs[wildcards.run].recipe_name].dual_encoder].accept_licence
            else ""
        ),
    shell:
        "python workflow/scripts/import_model.py --recipe {input.recipe} --checkpoint {params.location:q}"
        " {params.accepted} --model {output.model} 2>&1 | tee {log} && : > {output.history}"
