# metrics and histories → tables, figures and the report.


rule table:
    input:
        metrics=lambda w: table_metrics(w.table),
        costs=lambda w: table_costs(w.table),
        published="config/published.csv",
    output:
        csv=report(
            "results/tables/{table}.csv",
            caption="../report/table.rst",
            category=lambda w: table_category(w.table),
            labels=lambda w: table_labels(w.table),
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
        code=lambda w: table_code(w.table),
    shell:
        "python -m vreid table --spec {params.spec:q} --metrics {input.metrics:q} --published {input.published:q}"
        " --costs {input.costs:q} --out {params.stem:q} 2>&1 | tee {log}"


rule usage:
    input:
        **usage_files(),
    output:
        csv=report(
            "results/tables/cost.csv",
            caption="../report/cost.rst",
            category="Supplement",
            labels={"table": str(config["cost"]["table"]["number"]), "title": config["cost"]["table"]["title"]},
        ),
        md="results/tables/cost.md",
        tex="results/tables/cost.tex",
    log:
        "logs/table/cost.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=canonical(usage_spec()),
        runs=lambda w: told_at_length("benchmarked-runs", benchmarked_runs()),
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.usage"),
    shell:
        "python -m vreid usage --spec {params.spec:q} --runs {params.runs:q} --costs {input.costs:q}"
        " --out {params.stem:q} 2>&1 | tee {log}"


rule curves:
    input:
        histories=lambda w: [f"{run}/history.csv" for run in figure_runs("fig7")],
        records=lambda w: [f"{run}/train.json" for run in figure_runs("fig7")],
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
        unpack(lambda w: points_of("fig8")),
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
        unpack(lambda w: quoted_by_claims()),
        per_query=[path.replace("metrics.json", "per_query.csv.gz") for path in quoted_by_claims()["metrics"]],
        histories=rules.curves.input.histories,
        records=rules.curves.input.records,
        premises=premises_of_claims(),
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
        " --costs {input.costs:q} --premises {input.premises:q} --out {output:q} 2>&1 | tee {log}"


rule contact_sheet:
    input:
        index="results/index/{dataset}/annotated.csv.gz",
        source=lambda w: source_files(w.dataset),
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
        root=lambda w: DATASETS[w.dataset]["root"],
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
        metrics=METRICS,
        records=RECORDS,
        completions=[
            path
            for name in SHOWN_COMPLETED
            for key, path in completion_files(name).items()
            if key not in ("name", "from")
        ],
        page="src/vreid/report.html.j2",
    output:
        report("results/report/index.html", caption="../report/page.rst", category="The whole page"),
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        manifest=lambda w: told_at_length("report", report_manifest()),
        code=code_digest("vreid.report"),
    shell:
        "python -m vreid report --manifest {params.manifest:q} --out {output:q} 2>&1 | tee {log}"
