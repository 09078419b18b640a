# Before anything runs: what it costs, how far it is, why it would be made again. No inputs, so that no graph is built
# and another Snakemake may be at work here; no outputs, so that they always run. `budget_json` and so on print JSON.
for question in ("budget", "status", "why"):
    for form in ("", "_json"):

        rule:
            name:
                f"{question}{form}"
            log:
                f"logs/preflight/{question}{form}.log",
            localrule: True
            conda:
                TRAIN_ENVIRONMENT
            params:
                question=question + (" --json" if form else ""),
                given=lambda wildcards: json.dumps({"config": config, "commands": shell_commands()}),
            shell:
                "printf '%s' {params.given:q} | python workflow/scripts/preflight.py {params.question} | tee {log}"
