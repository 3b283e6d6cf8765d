# weights → attention maps → Fig. 6, and Section 5.1's claim; features → Section 3's premise.

import shlex

from vreid.experiment.quoted import attended_run
from vreid.experiment.runs import RUN
from vreid.provenance import code_digest
from vreid.spec import canonical


rule attend:
    input:
        unpack(trained),
        spec=f"{RUN}/spec.json",
        index="results/index/{dataset}/annotated.csv.gz",
        source=lambda w: frames(DATASETS[w.dataset]),
    output:
        f"{RUN}/{{dataset}}/attention.npz",
    log:
        f"logs/attend/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/attend/{RUN_LOG}/{{dataset}}.tsv"
    priority: -1  # only the report waits for it
    conda:
        "../envs/vreid.yaml"
    threads: lambda w: threads_of(resolved(w))
    resources:
        gpu=1,
        loaders=LOADERS,
        mem_mb=4000,
        runtime="2h",
    params:
        root=lambda w: DATASETS[w.dataset].frames_root,
        frame_size=lambda w: frame_size(DATASETS[w.dataset]),
        rendered=lambda w: rendered_option(DATASETS[w.dataset]),
        code=lambda w: method_code(w.model, "vreid.attend"),
    shell:
        "python -m vreid attend --spec {input.spec:q} --weights {input.weights:q} --index {input.index:q}"
        " --root {params.root:q} --dataset {wildcards.dataset} {params.frame_size} {params.rendered}"
        " --out {output:q} --workers {resources.loaders} 2>&1 | tee {log}"


rule cells:
    input:
        rules.attend.output,
    output:
        f"{RUN}/{{dataset}}/cells.npz",
    log:
        f"logs/cells/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/cells/{RUN_LOG}/{{dataset}}.tsv"
    wildcard_constraints:
        dataset=any_of(name for name, dataset in DATASETS.items() if dataset.has_world),
    priority: -1  # only the report waits for it
    conda:
        "../envs/vreid.yaml"
    params:
        world=lambda w: world(DATASETS[w.dataset]),
        code=code_digest("vreid.walkers.truth"),
    shell:
        "python -m vreid cells --world {params.world:q} --maps {input:q} --out {output:q} --workers {threads} 2>&1 | tee {log}"


rule focus:
    input:
        maps=rules.attend.output,
        cells=rules.cells.output,
    output:
        f"{RUN}/{{dataset}}/focus.json",
    log:
        f"logs/focus/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/focus/{RUN_LOG}/{{dataset}}.tsv"
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        code=code_digest("vreid.focus"),
    shell:
        "python -m vreid focus --maps {input.maps:q} --cells {input.cells:q} --out {output:q} 2>&1 | tee {log}"


rule attention:
    input:
        maps=lambda w: f"{attended_run(config).folder}/attention.npz",
        cells=lambda w: (  # known of rendered datasets as they were rendered
            f"{attended_run(config).folder}/cells.npz" if DATASETS[attended_run(config).test].has_world else []
        ),
        index=lambda w: DATASETS[attended_run(config).test].index,
        source=lambda w: source_files(DATASETS[attended_run(config).test]),
    output:
        svg=report("results/figures/fig6.svg", caption="../report/fig6.rst", category="Figures"),
        png="results/figures/fig6.png",
        csv="results/figures/fig6.csv",
        said="results/figures/fig6.json",
    log:
        "logs/figures/fig6.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        spec=lambda w: canonical(config["figures"]["fig6"]),
        root=lambda w: DATASETS[attended_run(config).test].root,
        cells=lambda w, input: f"--cells {shlex.quote(str(input.cells))}" if input.cells else "",
        stem=lambda w, output: output.csv.removesuffix(".csv"),
        code=code_digest("vreid.figures.attention"),
    shell:
        "python -m vreid attention --spec {params.spec:q} --maps {input.maps:q} {params.cells} --index {input.index:q}"
        " --root {params.root:q} --out {params.stem:q} 2>&1 | tee {log}"


rule premise:
    input:
        features=f"{RUN}/{{dataset}}/features.npz",
        index="results/index/{dataset}/annotated.csv.gz",
    output:
        f"{RUN}/{{dataset}}/premise.json",
    log:
        f"logs/premise/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/premise/{RUN_LOG}/{{dataset}}.tsv"
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        code=code_digest("vreid.premise"),
    shell:
        "python -m vreid premise --features {input.features:q} --index {input.index:q} --out {output:q} 2>&1 | tee {log}"
