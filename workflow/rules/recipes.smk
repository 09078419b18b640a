# A recipe is the small file that says everything an artefact's content depends on; its name holds the digest.


rule write_recipe:
    output:
        "results/recipes/{kind}/{name}.json",
    log:
        "logs/write_recipe/{kind}/{name}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        recipe=lambda wildcards: PLAN.recipe_text(wildcards.kind, wildcards.name),
    shell:
        "printf '%s\\n' {params.recipe:q} > {output} 2> {log}"
