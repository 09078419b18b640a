# Published archives to folders below data/, packs of what is there, and one checklist: `snakemake fetch`.


rule fetch_archive:
    output:
        f"results/{SCALE}/fetch/archives/{{archive}}.json",
    log:
        f"logs/fetch_archive/{SCALE}/{{archive}}.log",
    params:
        pack=lambda wildcards: json.dumps(archive_entry(wildcards.archive)),
    localrule: True
    shell:
        "python workflow/scripts/fetch_archive.py --pack {params.pack:q} --archive {wildcards.archive}"
        " --output {output} 2>&1 | tee {log}"


# What can be packed is known once everything automatic was tried.
checkpoint archives:
    input:
        lambda wildcards: [f"results/{SCALE}/fetch/archives/{archive}.json" for archive in archives_wanted()],
    output:
        f"results/{SCALE}/fetch/packs.json",
    params:
        packs=lambda wildcards: json.dumps(pack_entries()),
    localrule: True
    shell:
        "printf '%s\\n' {params.packs:q} > {output}"


rule fetch:
    input:
        indexes=lambda wildcards: ready_indexes(checkpoints.archives.get()),
        packs=f"results/{SCALE}/fetch/packs.json",
    params:
        folder=f"results/{SCALE}/fetch",
    localrule: True
    shell:
        "python workflow/scripts/write_checklist.py --packs {input.packs} --records {params.folder}/archives"
        " --output {params.folder}/checklist.txt"
