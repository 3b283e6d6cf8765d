# clips → weights: one frozen spec and one training a run.

import os
import shlex

from vreid.experiment.runs import RUN
from vreid.experiment.trainings import trunk_files


rule freeze:
    output:
        f"{RUN}/spec.json",
    log:
        f"logs/freeze/{RUN_LOG}.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=spec,
    shell:
        "python -m vreid freeze --checked --spec {params.spec:q} --out {output:q} 2>&1 | tee {log}"


rule train:
    input:
        spec=rules.freeze.output,
        index="results/index/{train}/annotated.csv.gz",
        source=lambda w: frames(DATASETS[w.train]),
        trunk=lambda w: trunk_files(config, resolved(w)),
    output:
        weights=f"{RUN}/weights.pt",
        history=f"{RUN}/history.csv",
        record=f"{RUN}/train.json",
    log:
        f"logs/train/{RUN_LOG}.log",
    benchmark:
        f"results/benchmarks/train/{RUN_LOG}.tsv"
    conda:
        "../envs/vreid.yaml"
    threads: lambda w: threads_of(resolved(w))
    resources:
        gpu=1,
        loaders=LOADERS,
        mem_mb=4000,
        runtime="12h",
    params:
        root=lambda w: DATASETS[w.train].frames_root,
        frame_size=lambda w: frame_size(DATASETS[w.train]),
        trunk=lambda w, input: f"--trunk-weights {shlex.quote(str(input.trunk))}" if input.trunk else "",
        headline=lambda w: DATASETS[w.train].headline,
        out=lambda w, output: os.path.dirname(output.weights),
        manifest=lambda w: manifest_option(DATASETS[w.train]),
        code=lambda w: method_code(w.model, "vreid.train", "vreid.embed"),
    shell:  # told to end, a training saves first; the shell and tee wait for it
        "trap '' TERM; "
        "python -m vreid train --spec {input.spec:q} --index {input.index:q} --root {params.root:q}"
        " --dataset {wildcards.train} {params.frame_size} {params.trunk} {params.manifest} --headline {params.headline} --out {params.out:q}"
        " --workers {resources.loaders} 2>&1 | tee {log}"
