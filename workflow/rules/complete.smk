# VRSTC: a finished run scores regions → a network learns to complete them → a dataset with completed frames.

import os
import shlex

from vreid.provenance import code_digest
from vreid.spec import canonical, resolve

COMPLETION = "results/completion/{dataset}"
COMPLETED = [name for name, dataset in DATASETS.items() if dataset.is_completed]


rule score_regions:
    input:
        spec=lambda w: f"{DATASETS[w.dataset].scorer.folder}/spec.json",
        weights=lambda w: f"{DATASETS[w.dataset].scorer.folder}/weights.pt",
        record=lambda w: f"{DATASETS[w.dataset].scorer.folder}/train.json",
        index=lambda w: DATASETS[w.dataset].source.index,
        source=lambda w: frames(DATASETS[w.dataset].source),
    output:
        regions=f"{COMPLETION}/regions.csv.gz",
        record=f"{COMPLETION}/regions.json",
    log:
        "logs/completion/{dataset}/score.log",
    benchmark:
        "results/benchmarks/completion/{dataset}/score.tsv"
    wildcard_constraints:
        dataset=any_of(COMPLETED),
    conda:
        "../envs/vreid.yaml"
    threads: lambda w: threads_of(resolve(config, DATASETS[w.dataset].scorer.model, 0))
    resources:
        gpu=1,
        loaders=LOADERS,
        mem_mb=4000,
        runtime="4h",
    params:
        name=lambda w: DATASETS[w.dataset].source.name,
        root=lambda w: DATASETS[w.dataset].source.frames_root,
        frame_size=lambda w: frame_size(DATASETS[w.dataset].source),
        options=lambda w: canonical(DATASETS[w.dataset].completed.get("scoring", {})),
        out=lambda w, output: os.path.dirname(output.regions),
        code=lambda w: method_code(DATASETS[w.dataset].scorer.model, "vreid.completion.score"),
    shell:
        "python -m vreid score-regions --spec {input.spec:q} --weights {input.weights:q} --index {input.index:q}"
        " --root {params.root:q} --dataset {params.name} {params.frame_size} --options {params.options:q}"
        " --out {params.out:q} --workers {resources.loaders} 2>&1 | tee {log}"


rule train_completion:
    input:
        regions=rules.score_regions.output.regions,
        spec=rules.score_regions.input.spec,
        weights=rules.score_regions.input.weights,
        record=rules.score_regions.input.record,
        index=lambda w: DATASETS[w.dataset].source.index,
        source=lambda w: frames(DATASETS[w.dataset].source),
    output:
        weights=f"{COMPLETION}/weights.pt",
        history=f"{COMPLETION}/history.csv",
        record=f"{COMPLETION}/completion.json",
    log:
        "logs/completion/{dataset}/train.log",
    benchmark:
        "results/benchmarks/completion/{dataset}/train.tsv"
    wildcard_constraints:
        dataset=any_of(COMPLETED),
    conda:
        "../envs/vreid.yaml"
    threads: lambda w: threads_of(resolve(config, DATASETS[w.dataset].scorer.model, 0))
    resources:
        gpu=1,
        loaders=LOADERS,
        mem_mb=4000,
        runtime="24h",
    params:
        name=lambda w: DATASETS[w.dataset].source.name,
        root=lambda w: DATASETS[w.dataset].source.frames_root,
        frame_size=lambda w: frame_size(DATASETS[w.dataset].source),
        options=lambda w: canonical(DATASETS[w.dataset].completed.get("training", {})),
        manifest=lambda w: manifest_option(DATASETS[w.dataset].source),
        out=lambda w, output: os.path.dirname(output.weights),
        code=lambda w: method_code(DATASETS[w.dataset].scorer.model, "vreid.completion.train"),
    shell:  # told to end, a training saves first; the shell and tee wait for it
        "trap '' TERM; "
        "python -m vreid train-completion --regions {input.regions:q} --spec {input.spec:q} --weights {input.weights:q}"
        " --index {input.index:q} --root {params.root:q} --dataset {params.name} {params.frame_size} {params.manifest}"
        " --options {params.options:q} --out {params.out:q} --workers {resources.loaders} 2>&1 | tee {log}"


rule complete:
    input:
        regions=rules.score_regions.output.regions,
        weights=rules.train_completion.output.weights,
        record=rules.train_completion.output.record,
        index=lambda w: DATASETS[w.dataset].source.index,
        source=lambda w: source_files(DATASETS[w.dataset].source),
    output:
        "results/data/{dataset}.json",
    log:
        "logs/completion/{dataset}/complete.log",
    benchmark:
        "results/benchmarks/completion/{dataset}/complete.tsv"
    wildcard_constraints:
        dataset=any_of(COMPLETED),
    conda:
        "../envs/vreid.yaml"
    threads: lambda w: threads_of(resolve(config, DATASETS[w.dataset].scorer.model, 0))
    resources:
        gpu=1,
        loaders=LOADERS,
        mem_mb=4000,
        runtime="12h",
    params:
        name=lambda w: DATASETS[w.dataset].source.name,
        root=lambda w: DATASETS[w.dataset].source.root,
        tree=lambda w: DATASETS[w.dataset].root,
        frame_size=lambda w: frame_size(DATASETS[w.dataset].source),
        rendered=lambda w: rendered_option(DATASETS[w.dataset]),
        code=code_digest("vreid.completion.complete"),
    shell:
        "python -m vreid complete --regions {input.regions:q} --weights {input.weights:q} --index {input.index:q}"
        " --root {params.root:q} --dataset {params.name} {params.frame_size} {params.rendered} --out {params.tree:q}"
        " --workers {resources.loaders} 2>&1 | tee {log}"


rule truth:
    input:
        "src/vreid/walkers/marginals.json",
    output:
        f"{COMPLETION}/truth.csv.gz",
    log:
        "logs/completion/{dataset}/truth.log",
    benchmark:
        "results/benchmarks/completion/{dataset}/truth.tsv"
    wildcard_constraints:
        dataset=any_of(name for name in COMPLETED if DATASETS[name].is_rendered),
    priority: -1  # only the report waits for it
    conda:
        "../envs/vreid.yaml"
    params:
        world=lambda w: world(DATASETS[w.dataset].source),
        regions=lambda w: DATASETS[w.dataset].completed.get("scoring", {}).get("regions", 3),
        code=code_digest("vreid.walkers.truth"),
    shell:
        "python -m vreid truth --world {params.world:q} --regions {params.regions} --out {output:q}"
        " --workers {threads} 2>&1 | tee {log}"


rule occlusion:
    input:
        regions=rules.score_regions.output.regions,
        index=lambda w: DATASETS[w.dataset].source.index,
        truth=lambda w: f"results/completion/{w.dataset}/truth.csv.gz" if DATASETS[w.dataset].is_rendered else [],
    output:
        f"{COMPLETION}/occlusion.json",
    log:
        "logs/completion/{dataset}/occlusion.log",
    benchmark:
        "results/benchmarks/completion/{dataset}/occlusion.tsv"
    wildcard_constraints:
        dataset=any_of(COMPLETED),
    priority: -1  # only the report waits for it
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        truth=lambda w, input: f"--truth {shlex.quote(str(input.truth))}" if input.truth else "",
        above=lambda w: DATASETS[w.dataset].completed.get("hidden_above", 0.3),
        code=code_digest("vreid.occlusion"),
    shell:
        "python -m vreid occlusion --index {input.index:q} --regions {input.regions:q} {params.truth}"
        " --hidden-above {params.above} --out {output:q} 2>&1 | tee {log}"


rule before_after:
    input:
        regions=rules.score_regions.output.regions,
        index=lambda w: DATASETS[w.dataset].source.index,
        source=lambda w: source_files(DATASETS[w.dataset].source),
        completed=rules.complete.output,
    output:
        "results/figures/completed-{dataset}.png",
    log:
        "logs/figures/completed-{dataset}.log",
    benchmark:
        "results/benchmarks/completion/{dataset}/picture.tsv"
    wildcard_constraints:
        dataset=any_of(COMPLETED),
    priority: -1  # only the report waits for it
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        root=lambda w: DATASETS[w.dataset].source.root,
        tree=lambda w: DATASETS[w.dataset].root,
        code=code_digest("vreid.before_after"),
    shell:
        "python -m vreid before-after --index {input.index:q} --regions {input.regions:q} --root {params.root:q}"
        " --completed {params.tree:q} --out {output:q} 2>&1 | tee {log}"
