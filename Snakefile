# From raw frames to the paper's tables, figures and report.

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/complete.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/attention.smk"
include: "workflow/rules/retrieval.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/running.smk"


rule all:
    default_target: True
    input:
        expand("results/tables/{table}.{kind}", table=[*config["tables"], "cost"], kind=["csv", "md", "tex"]),
        expand("results/figures/{figure}.{kind}", figure=config["figures"], kind=["svg", "png", "csv"]),
        "results/claims.csv",
        "results/report/index.html",
