# The features of two models → the retrieval gallery.

from vreid.experiment.quoted import figure_tests
from vreid.experiment.runs import files
from vreid.provenance import code_digest
from vreid.spec import canonical


rule retrieval:
    input:
        features=lambda w: files(figure_tests(config, "gallery"), "features.npz"),
        index=lambda w: DATASETS[config["figures"]["gallery"]["test"]].index,
        source=lambda w: source_files(DATASETS[config["figures"]["gallery"]["test"]]),
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
        headline=lambda w: DATASETS[config["figures"]["gallery"]["test"]].headline,
        root=lambda w: DATASETS[config["figures"]["gallery"]["test"]].root,
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.figures.retrieval"),
    shell:
        "python -m vreid retrieval-figure --spec {params.spec:q} --features {input.features:q}"
        " --headline {params.headline} --index {input.index:q} --root {params.root:q} --out {params.stem:q} 2>&1 | tee {log}"
