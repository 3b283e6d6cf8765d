# weights → features → metrics, on any dataset: a transfer is another {dataset}.


rule embed:
    input:
        spec=f"{RUN}/spec.json",
        weights=f"{RUN}/weights.pt",
        record=f"{RUN}/train.json",
        index="results/index/{dataset}/annotated.csv.gz",
        source=lambda w: source_files(w.dataset),
    output:
        f"{RUN}/{{dataset}}/features.npz",
    log:
        f"logs/embed/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/embed/{RUN_LOG}/{{dataset}}.tsv"
    conda:
        "../envs/vreid.yaml"
    threads: training_threads
    resources:
        gpu=1,
        loaders=LOADERS,
        mem_mb=4000,
        runtime="2h",
    params:
        root=lambda w: DATASETS[w.dataset]["root"],
        frame_size=lambda w: frame_size(w.dataset),
        rendered=lambda w: "--rendered" if is_rendered(w.dataset) else "",
        code=method_code,
    shell:
        "python -m vreid embed --spec {input.spec:q} --weights {input.weights:q} --index {input.index:q}"
        " --root {params.root:q} --dataset {wildcards.dataset} {params.frame_size} {params.rendered}"
        " --out {output:q} --workers {resources.loaders} 2>&1 | tee {log}"


rule score:
    input:
        f"{RUN}/{{dataset}}/features.npz",
    output:
        metrics=f"{RUN}/{{dataset}}/metrics.json",
        per_query=f"{RUN}/{{dataset}}/per_query.csv.gz",
    log:
        f"logs/score/{RUN_LOG}/{{dataset}}.log",
    conda:
        "../envs/vreid.yaml"
    params:
        headline=lambda w: DATASETS[w.dataset]["headline"],
        code=code_digest("vreid.score"),
    shell:
        "python -m vreid score --features {input:q} --headline {params.headline} --out {output.metrics:q}"
        " --per-query {output.per_query:q} 2>&1 | tee {log}"
