# From dataset fetch to the papers' tables. Configuration: config/README.md. Targets: `snakemake --list`.
from snakemake.utils import min_version

min_version("9.14.1")


configfile: "config/config.yaml"


report: "report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/common_report.smk"
include: "workflow/rules/common_archives.smk"


rule all:
    default_target: True
    input:
        TABLE_FILES,
        f"results/{SCALE}/report/index.html",
    localrule: True


include: "workflow/rules/recipes.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/archives.smk"
include: "workflow/rules/captions.smk"
include: "workflow/rules/pairs.smk"
include: "workflow/rules/concepts.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/saliency.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/preflight.smk"


onsuccess:
    if os.path.exists(f"results/{SCALE}/report/index.html"):
        print(f"Tables:  results/{SCALE}/tables/\nReport:  results/{SCALE}/report/index.html", file=sys.stderr)
