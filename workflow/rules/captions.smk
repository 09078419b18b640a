# Caption sources: which caption each training picture is known by. Clean and noisy ones come from the pack; generated
# ones from a captioner; refined ones keep, picture by picture, the better of two sources by the score of a scorer;
# filtered ones leave out those that are too plain or that their pictures spell out.


# Refinement comes first (`priority`): what waits for it is the longest way to the tables.
#
# Pocket has no BLIP-2 and no CLIP: small stand-ins are trained on a pack that pre-training never sees.
rule train_stand_in:
    input:
        recipe=ancient("results/recipes/checkpoints/{checkpoint}.json"),
        index=ancient(lambda wildcards: f"results/data/{PLAN.checkpoints[wildcards.checkpoint]['pack']}/index.parquet"),
    output:
        directory("results/checkpoints/{checkpoint}"),
    log:
        "logs/train_stand_in/{checkpoint}.log",
    benchmark:
        "results/benchmarks/train_stand_in/{checkpoint}.tsv"
    priority: 1
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
    shell:
        "python workflow/scripts/train_stand_in.py --recipe {input.recipe} --index {input.index} --output {output}"
        " 2>&1 | tee {log}"


rule make_captions:
    input:
        recipe=ancient("results/recipes/captions/{captions}.json"),
        index=ancient(captioned_index),
    output:
        "results/captions/{captions}.parquet",
    log:
        "logs/make_captions/{captions}.log",
    wildcard_constraints:
        captions=captions_by("clean", "noise", "every"),
    conda:
        TRAIN_ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        limit=lambda wildcards, input: CONFIG.limits.bad_captions,
    shell:
        "python workflow/scripts/make_captions.py --recipe {input.recipe} --index {input.index}"
        " --limit {params.limit} --output {output} 2>&1 | tee {log}"


rule generate_captions:
    input:
        recipe=ancient("results/recipes/captions/{captions}.json"),
        index=ancient(captioned_index),
        model=ancient(lambda wildcards: checkpoint_of(PLAN.captions[wildcards.captions])),
    output:
        captions="results/captions/{captions}.parquet",
        summary="results/captions/{captions}.summary.json",
    log:
        "logs/generate_captions/{captions}.log",
    benchmark:
        "results/benchmarks/generate_captions/{captions}.tsv"
    wildcard_constraints:
        captions=captions_by("generated"),
    priority: 1
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.gpus,
    params:
        model=lambda wildcards, input: input.model or PLAN.captions[wildcards.captions]["model"],
        state=lambda wildcards, input: f"results/state/{wildcards.captions}",
        limit=lambda wildcards, input: CONFIG.limits.bad_captions,
    shell:
        "python workflow/scripts/generate_captions.py --recipe {input.recipe} --index {input.index}"
        " --model {params.model:q} --state {params.state} --limit {params.limit} --output {output.captions}"
        " --summary {output.summary} 2>&1 | tee {log}"


rule score_captions:
    input:
        recipe=ancient("results/recipes/scores/{scores}.json"),
        index=ancient(lambda wildcards: captioned_index(PLAN.scores[wildcards.scores])),
        captions=ancient(lambda wildcards: f"results/captions/{PLAN.scores[wildcards.scores]['captions']}.parquet"),
        model=ancient(lambda wildcards: checkpoint_of(PLAN.scores[wildcards.scores])),
    output:
        "results/scores/{scores}.parquet",
    log:
        "logs/score_captions/{scores}.log",
    benchmark:
        "results/benchmarks/score_captions/{scores}.tsv"
    priority: 1
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
        gpu=RESOURCES.gpus,
    params:
        model=lambda wildcards, input: input.model or PLAN.scores[wildcards.scores]["model"],
        state=lambda wildcards, input: f"results/state/{wildcards.scores}",
    shell:
        "python workflow/scripts/score_captions.py --recipe {input.recipe} --index {input.index}"
        " --captions {input.captions} --model {params.model:q} --state {params.state} --output {output}"
        " 2>&1 | tee {log}"


rule refine_captions:
    input:
        recipe=ancient("results/recipes/captions/{captions}.json"),
        index=ancient(captioned_index),
        original=ancient(lambda wildcards: refined_from(wildcards, "sources", "original")),
        original_scores=ancient(lambda wildcards: refined_from(wildcards, "scores", "original")),
        generated=ancient(lambda wildcards: refined_from(wildcards, "sources", "generated")),
        generated_scores=ancient(lambda wildcards: refined_from(wildcards, "scores", "generated")),
    output:
        captions="results/captions/{captions}.parquet",
        summary="results/captions/{captions}.summary.json",
    log:
        "logs/refine_captions/{captions}.log",
    wildcard_constraints:
        captions=captions_by("refined"),
    priority: 1
    conda:
        TRAIN_ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        limit=lambda wildcards, input: CONFIG.limits.bad_captions,
    shell:
        "python workflow/scripts/refine_captions.py --recipe {input.recipe} --index {input.index}"
        " --original {input.original} --original-scores {input.original_scores} --generated {input.generated}"
        " --generated-scores {input.generated_scores} --limit {params.limit} --output {output.captions}"
        " --summary {output.summary} 2>&1 | tee {log}"


rule parse_captions:
    input:
        recipe=ancient("results/recipes/parses/{parses}.json"),
        captions=ancient(lambda wildcards: f"results/captions/{PLAN.parses[wildcards.parses]['captions']}.parquet"),
    output:
        "results/parses/{parses}.parquet",
    log:
        "logs/parse_captions/{parses}.log",
    benchmark:
        "results/benchmarks/parse_captions/{parses}.tsv"
    conda:
        "../../envs/cat.yaml"
    resources:
        mem_mb=2000,
        runtime=RESOURCES.train_minutes,
    shell:
        "python workflow/scripts/parse_captions.py --recipe {input.recipe} --captions {input.captions}"
        " --output {output} 2>&1 | tee {log}"


rule spot_text:
    input:
        recipe=ancient("results/recipes/spotted/{spotted}.json"),
        index=ancient(lambda wildcards: index_of(PLAN.spotted[wildcards.spotted]["pack"])),
    output:
        "results/spotted/{spotted}.parquet",
    log:
        "logs/spot_text/{spotted}.log",
    benchmark:
        "results/benchmarks/spot_text/{spotted}.tsv"
    conda:
        "../../envs/cat.yaml"
    resources:
        mem_mb=2000,
        runtime=RESOURCES.train_minutes,
    params:
        state=lambda wildcards, input: f"results/state/{wildcards.spotted}",
    shell:
        "python workflow/scripts/spot_text.py --recipe {input.recipe} --index {input.index} --state {params.state}"
        " --output {output} 2>&1 | tee {log}"


rule filter_captions:
    input:
        unpack(filtered_from),
        recipe=ancient("results/recipes/captions/{captions}.json"),
    output:
        captions="results/captions/{captions}.parquet",
        summary="results/captions/{captions}.summary.json",
    log:
        "logs/filter_captions/{captions}.log",
    wildcard_constraints:
        captions=captions_by("filtered"),
    conda:
        "../../envs/cat.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        files=lambda wildcards, input: " ".join(f"--{name} {path}" for name, path in input.items() if name != "recipe"),
    shell:
        "python workflow/scripts/filter_captions.py --recipe {input.recipe} {params.files}"
        " --output {output.captions} --summary {output.summary} 2>&1 | tee {log}"
