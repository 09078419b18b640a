# Concept distillation: what a frozen teacher sees in the training pictures, in the words that captions name.


rule distil_concepts:
    input:
        recipe=ancient("results/recipes/concepts/{concepts}.json"),
        index=ancient(lambda wildcards: index_of(PLAN.concepts[wildcards.concepts]["pack"])),
        parses=ancient(lambda wildcards: f"results/parses/{PLAN.concepts[wildcards.concepts]['parses']}.parquet"),
        embeddings=ancient(
            lambda wildcards: f"results/embeddings/{PLAN.concepts[wildcards.concepts]['embeddings']}.safetensors"
        ),
    output:
        concepts="results/concepts/{concepts}.parquet",
        summary="results/concepts/{concepts}.summary.json",
    log:
        "logs/distil_concepts/{concepts}.log",
    benchmark:
        "results/benchmarks/distil_concepts/{concepts}.tsv"
    conda:
        TRAIN_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=RESOURCES.train_memory_mb,
        runtime=RESOURCES.train_minutes,
    shell:
        "python workflow/scripts/distil_concepts.py --recipe {input.recipe} --index {input.index}"
        " --parses {input.parses} --embeddings {input.embeddings} --output {output.concepts}"
        " --summary {output.summary} 2>&1 | tee {log}"
