# The features of two models → the retrieval gallery.


rule retrieval:
    input:
        features=gallery_features,
        index=f"results/index/{gallery('test')}/annotated.csv.gz",
        source=lambda w: source_files(gallery("test")),
    output:
        svg=report("results/figures/gallery.svg", caption="../report/gallery.rst", category="Figures"),
        png="results/figures/gallery.png",
        csv="results/figures/gallery.csv",
        said="results/figures/gallery.json",
    log:
        "logs/figures/gallery.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=lambda w: canonical(config["figures"]["gallery"]),
        headline=lambda w: DATASETS[gallery("test")]["headline"],
        root=lambda w: DATASETS[gallery("test")]["root"],
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.figures.retrieval"),
    shell:
        "python -m vreid retrieval-figure --spec {params.spec:q} --features {input.features:q}"
        " --headline {params.headline} --index {input.index:q} --root {params.root:q} --out {params.stem:q} 2>&1 | tee {log}"
