# Published archives to folders below data/, packs of what is there, and one checklist: `snakemake fetch`.
import subprocess
import time

FETCH = f"results/{SCALE}/fetch"
FETCH_STARTED = time.time_ns()  # as a parameter: what an interrupted run has tried is tried again


rule fetch_archives:
    output:
        f"{FETCH}/archives/{{name}}.json",
    log:
        f"logs/fetch_archives/{SCALE}/{{name}}.log",
    localrule: True
    conda:
        TRAIN_ENVIRONMENT
    params:
        pack=lambda wildcards: json.dumps(pack_entries()[wildcards.name]),
        without=lambda wildcards: brought_by_others(wildcards.name),
        started=FETCH_STARTED,
    shell:
        "python workflow/scripts/fetch_archives.py --name {wildcards.name} --pack {params.pack:q}"
        " --without {params.without:q} --output {output} 2>&1 | tee {log}"


# What can be packed is known once everything automatic was tried.
checkpoint archives:
    input:
        lambda wildcards: [f"{FETCH}/archives/{name}.json" for name in packs_to_bring()],
    output:
        f"{FETCH}/packs.json",
    log:
        f"logs/archives/{SCALE}.log",
    localrule: True
    conda:
        TRAIN_ENVIRONMENT
    params:
        packs=lambda wildcards: json.dumps(pack_entries()),
        started=FETCH_STARTED,
    shell:
        "printf '%s\\n' {params.packs:q} > {output} 2> {log}"


rule fetch:
    input:
        indexes=lambda wildcards: ready_indexes(checkpoints.archives.get()),
        packs=f"{FETCH}/packs.json",
    log:
        f"logs/fetch/{SCALE}.log",
    localrule: True
    conda:
        TRAIN_ENVIRONMENT
    params:
        folder=lambda wildcards: FETCH,
    shell:
        "python workflow/scripts/write_checklist.py --packs {input.packs} --folder {params.folder} 2>&1 | tee {log}"


# A pack that could not be made stops the rule above, and must not stop the checklist. Without that table there is
# nothing to tell: what can be packed is not known, or the checklist is written.
onerror:
    if "fetch" in workflow.dag_settings.targets and os.path.exists(f"{FETCH}/packs.json"):
        command = [sys.executable, "workflow/scripts/write_checklist.py", "--packs", f"{FETCH}/packs.json"]
        subprocess.run([*command, "--folder", FETCH], check=False)
