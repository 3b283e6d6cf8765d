# bytes → tracklets: render (or find) a dataset, index its frames, join its attributes.


rule render:
    output:
        "results/data/{dataset}.json",
    log:
        "logs/render/{dataset}.log",
    benchmark:
        "results/benchmarks/render/{dataset}.tsv"
    conda:
        "../envs/vreid.yaml"
    threads: 64
    params:
        world=lambda w: canonical(DATASETS[w.dataset]["render"]),
        tree=lambda w: DATASETS[w.dataset]["root"],
        code=code_digest("vreid.walkers.write"),
    shell:
        "{PY:q} -m vreid render --world {params.world:q} --out {params.tree:q} --workers {threads} 2>&1 | tee {log}"


rule index:
    input:
        source_files,
    output:
        "results/index/{dataset}/tracklets.csv.gz",
    log:
        "logs/index/{dataset}.log",
    conda:
        "../envs/vreid.yaml"
    params:
        dataset=lambda w: DATASETS[w.dataset],
        expect=lambda w: canonical(DATASETS[w.dataset].get("expect", {})),
        code=code_digest("vreid.data.layouts"),
    shell:
        "{PY:q} -m vreid index --layout {params.dataset[layout]} --root {params.dataset[root]:q}"
        " --expect {params.expect:q} --out {output:q} 2>&1 | tee {log}"


rule annotate:
    input:
        index=rules.index.output,
        attributes=attribute_file,
    output:
        "results/index/{dataset}/annotated.csv.gz",
    log:
        "logs/annotate/{dataset}.log",
    conda:
        "../envs/vreid.yaml"
    params:
        attributes=lambda w: DATASETS[w.dataset]["attributes"],
        code=code_digest("vreid.data.attributes"),
    shell:
        "{PY:q} -m vreid annotate --index {input.index:q} --attributes {params.attributes:q}"
        " --out {output:q} 2>&1 | tee {log}"
