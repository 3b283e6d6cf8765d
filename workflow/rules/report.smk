# metrics and histories → tables, figures and the report.

from vreid.experiment.quoted import (
    claim_runs,
    figure_runs,
    figure_tests,
    focus_runs,
    premise_runs,
    runs_of_all_tables,
    shown_completed,
    table_runs,
    trainings,
)
from vreid.experiment.reporting import (
    benchmarked_runs,
    claim_costs,
    completion_files,
    cost_files,
    report_manifest,
    table_costs,
    table_labels,
    usage_files,
    usage_spec,
)
from vreid.experiment.runs import files
from vreid.experiment.told import told_at_length
from vreid.provenance import code_digest
from vreid.spec import canonical
from vreid.typeset import in_supplement


rule table:
    input:
        metrics=lambda w: files(table_runs(config, w.table), "metrics.json"),
        costs=lambda w: table_costs(config, w.table),
        published="config/published.csv",
    output:
        csv=report(
            "results/tables/{table}.csv",
            caption="../report/table.rst",
            category=lambda w: "Supplement" if in_supplement(config["tables"][w.table]["number"]) else "Tables",
            labels=lambda w: table_labels(config["tables"][w.table]),
        ),
        md="results/tables/{table}.md",
        tex="results/tables/{table}.tex",
    log:
        "logs/table/{table}.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=lambda w: canonical(config["tables"][w.table]),
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=lambda w: code_digest(
            "vreid.recognition" if config["tables"][w.table].get("per_attribute") else "vreid.tables"
        ),
    shell:
        "python -m vreid table --spec {params.spec:q} --metrics {input.metrics:q} --published {input.published:q}"
        " --costs {input.costs:q} --out {params.stem:q} 2>&1 | tee {log}"


rule usage:
    input:
        **usage_files(config),
    output:
        csv=report(
            "results/tables/cost.csv",
            caption="../report/cost.rst",
            category="Supplement",
            labels=table_labels(config["cost"]["table"]),
        ),
        md="results/tables/cost.md",
        tex="results/tables/cost.tex",
    log:
        "logs/table/cost.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=canonical(usage_spec(config)),
        runs=lambda w: told_at_length("benchmarked-runs", benchmarked_runs(config)),
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.usage"),
    shell:
        "python -m vreid usage --spec {params.spec:q} --runs {params.runs:q} --costs {input.costs:q}"
        " --out {params.stem:q} 2>&1 | tee {log}"


rule curves:
    input:
        histories=lambda w: files(figure_runs(config, "fig7"), "history.csv"),
        records=lambda w: files(figure_runs(config, "fig7"), "train.json"),
    output:
        svg=report("results/figures/fig7.svg", caption="../report/fig7.rst", category="Figures"),
        png="results/figures/fig7.png",
        csv="results/figures/fig7.csv",
        said="results/figures/fig7.json",
    log:
        "logs/figures/fig7.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=canonical(config["figures"]["fig7"]),
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.figures.curves"),
    shell:
        "python -m vreid curves --spec {params.spec:q} --histories {input.histories:q} --out {params.stem:q} 2>&1 | tee {log}"


rule cost_figure:
    input:
        metrics=files(figure_tests(config, "fig8"), "metrics.json"),
        costs=cost_files(row["model"] for row in config["figures"]["fig8"]["rows"]),
        published="config/published.csv",
    output:
        svg=report("results/figures/fig8.svg", caption="../report/fig8.rst", category="Figures"),
        png="results/figures/fig8.png",
        csv="results/figures/fig8.csv",
        said="results/figures/fig8.json",
    log:
        "logs/figures/fig8.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=canonical(config["figures"]["fig8"]),
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.figures.cost"),
    shell:
        "python -m vreid cost-figure --spec {params.spec:q} --metrics {input.metrics:q} --costs {input.costs:q}"
        " --published {input.published:q} --out {params.stem:q} 2>&1 | tee {log}"


rule claims:
    input:
        metrics=files(claim_runs(config), "metrics.json"),
        costs=claim_costs(config),
        per_query=files(claim_runs(config), "per_query.csv.gz"),
        histories=rules.curves.input.histories,
        records=rules.curves.input.records,
        premises=files(premise_runs(config), "premise.json"),
        focuses=files(focus_runs(config), "focus.json"),
    output:
        report("results/claims.csv", caption="../report/claims.rst", category="Claims"),
    log:
        "logs/claims.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=canonical(config["claims"]),
        code=code_digest("vreid.claims"),
    shell:
        "python -m vreid claims --spec {params.spec:q} --metrics {input.metrics:q} --histories {input.histories:q}"
        " --costs {input.costs:q} --premises {input.premises:q}"
        " --focuses {input.focuses:q} --out {output:q} 2>&1 | tee {log}"


rule contact_sheet:
    input:
        index="results/index/{dataset}/annotated.csv.gz",
        source=lambda w: source_files(DATASETS[w.dataset]),
    output:
        "results/figures/contact-{dataset}.png",
    log:
        "logs/figures/contact-{dataset}.log",
    benchmark:
        "results/benchmarks/contact/{dataset}.tsv"
    priority: -1  # only the report waits for it
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        root=lambda w: DATASETS[w.dataset].root,
        code=code_digest("vreid.contact"),
    shell:
        "python -m vreid contact-sheet --index {input.index:q} --root {params.root:q} --out {output:q} 2>&1 | tee {log}"


rule report:
    input:
        tables=expand("results/tables/{table}.{kind}", table=[*config["tables"], "cost"], kind=["csv", "md", "tex"]),
        figures=expand("results/figures/{figure}.{kind}", figure=config["figures"], kind=["svg", "png", "csv", "json"]),
        claims=rules.claims.output,
        sheets=expand("results/figures/contact-{dataset}.png", dataset=config["report"]["datasets"]),
        indexes=expand("results/index/{dataset}/annotated.csv.gz", dataset=config["report"]["datasets"]),
        metrics=files(runs_of_all_tables(config), "metrics.json"),
        records=files(trainings(config), "train.json"),
        completions=[path for dataset in shown_completed(config) for path in completion_files(dataset).values()],
        page="src/vreid/report.html.j2",
    output:
        report("results/report/index.html", caption="../report/page.rst", category="The whole page"),
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        manifest=lambda w: told_at_length("report", report_manifest(config)),
        code=code_digest("vreid.report"),
    shell:
        "python -m vreid report --manifest {params.manifest:q} --out {output:q} 2>&1 | tee {log}"
