# bytes → tracklets: render, fetch (or find) a dataset, index its frames, join its attributes.

from vreid.experiment.datasets import FETCHED
from vreid.experiment.told import told
from vreid.experiment.trainings import IMAGENET
from vreid.provenance import code_digest
from vreid.spec import canonical


rule render:
    input:
        "src/vreid/walkers/marginals.json",
    output:
        "results/data/{dataset}.json",
    log:
        "logs/render/{dataset}.log",
    benchmark:
        "results/benchmarks/render/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(name for name, dataset in DATASETS.items() if dataset.has_world),
    conda:
        "../envs/vreid.yaml"
    params:
        world=lambda w: world(DATASETS[w.dataset]),
        tree=lambda w: DATASETS[w.dataset].root,
        code=code_digest("vreid.walkers.write"),
    shell:
        "python -m vreid render --world {params.world:q} --out {params.tree:q} --workers {threads} 2>&1 | tee {log}"


rule fetch:
    output:
        FETCHED,
    log:
        "logs/fetch/{dataset}.log",
    wildcard_constraints:
        dataset=any_of(name for name, dataset in DATASETS.items() if dataset.is_fetched),
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        layout=lambda w: DATASETS[w.dataset].layout,
        root=lambda w: DATASETS[w.dataset].root,
        attributes=lambda w: DATASETS[w.dataset].attributes,
        sources=lambda w: told(f"sources-of-{w.dataset}", DATASETS[w.dataset].entry["fetch"]),
        origin=lambda w: told(f"origin-of-{w.dataset}", DATASETS[w.dataset].entry.get("origin", {})),
    shell:
        "python -m vreid fetch --layout {params.layout} --root {params.root:q} --attributes {params.attributes:q}"
        " --sources {params.sources:q} --origin {params.origin:q} --out {output:q} 2>&1 | tee {log}"


rule imagenet:
    output:
        IMAGENET,
    log:
        "logs/fetch/imagenet.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        source=lambda w: told("source-of-imagenet", config["imagenet"]),
    shell:
        "python -m vreid obtain --source {params.source:q} --key imagenet.from --out {output:q} 2>&1 | tee {log}"


rule index:
    input:
        lambda w: source_files(DATASETS[w.dataset]),
    output:
        "results/index/{dataset}/tracklets.csv.gz",
    log:
        "logs/index/{dataset}.log",
    benchmark:
        "results/benchmarks/index/{dataset}.tsv"
    conda:
        "../envs/vreid.yaml"
    params:
        layout=lambda w: DATASETS[w.dataset].layout,
        root=lambda w: DATASETS[w.dataset].root,
        expect=lambda w: canonical(DATASETS[w.dataset].entry.get("expect", {})),
        lists=lambda w: DATASETS[w.dataset].lists_digest,
        code=code_digest("vreid.data.layouts"),
    shell:
        "python -m vreid index --layout {params.layout} --root {params.root:q}"
        " --expect {params.expect:q} --out {output:q} 2>&1 | tee {log}"


rule pack:
    input:
        index=rules.index.output,
        source=lambda w: source_files(DATASETS[w.dataset]),
    output:
        "results/packs/{dataset}/{split}.pack",
    log:
        "logs/pack/{dataset}/{split}.log",
    benchmark:
        "results/benchmarks/pack/{dataset}/{split}.tsv"
    wildcard_constraints:
        split="train|test",
    conda:
        "../envs/vreid.yaml"
    params:
        root=lambda w: DATASETS[w.dataset].root,
        format="vreidpk1",  # MAGIC of vreid.data.pack, and not its code: what is in a pack does not depend on it
    shell:
        "python -m vreid pack --index {input.index:q} --root {params.root:q} --split {wildcards.split} --out {output:q}"
        " 2>&1 | tee {log}"


rule annotate:
    input:
        index=rules.index.output,
        attributes=lambda w: DATASETS[w.dataset].annotations,
    output:
        "results/index/{dataset}/annotated.csv.gz",
    log:
        "logs/annotate/{dataset}.log",
    benchmark:
        "results/benchmarks/annotate/{dataset}.tsv"
    conda:
        "../envs/vreid.yaml"
    params:
        attributes=lambda w: DATASETS[w.dataset].attributes,
        edited=lambda w: DATASETS[w.dataset].edited_attributes,
        code=code_digest("vreid.data.attributes"),
    shell:
        "python -m vreid annotate --index {input.index:q} --attributes {params.attributes:q}"
        " --out {output:q} 2>&1 | tee {log}"
