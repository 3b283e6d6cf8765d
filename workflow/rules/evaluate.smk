# weights → features → metrics, on any dataset: a transfer is another {dataset}.

import os

from vreid.experiment.quoted import shown_models
from vreid.experiment.runs import RUN
from vreid.experiment.told import told_at_length
from vreid.experiment.trainings import at_cost_scale, method_of
from vreid.provenance import code_digest

SHOWN_MODELS = shown_models(config)


rule embed:
    input:
        unpack(trained),
        spec=f"{RUN}/spec.json",
        index="results/index/{dataset}/annotated.csv.gz",
        source=lambda w: frames(DATASETS[w.dataset]),
        train_index="results/index/{train}/annotated.csv.gz",  # for a metric learned on its tracklets
        train_packs=lambda w: DATASETS[w.train].packs,
    output:
        f"{RUN}/{{dataset}}/features.npz",
    log:
        f"logs/embed/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/embed/{RUN_LOG}/{{dataset}}.tsv"
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
        train_root=lambda w: DATASETS[w.train].frames_root,
        train_frame_size=lambda w: frame_size(DATASETS[w.train], "--train-frame-size"),
        rendered=lambda w: rendered_option(DATASETS[w.dataset]),
        code=lambda w: method_code(w.model, "vreid.train", "vreid.embed"),
    shell:
        "python -m vreid embed --spec {input.spec:q} --weights {input.weights:q} --index {input.index:q}"
        " --root {params.root:q} --dataset {wildcards.dataset} {params.frame_size} {params.rendered}"
        " --train-index {input.train_index:q} --train-root {params.train_root:q} {params.train_frame_size}"
        " --out {output:q} --workers {resources.loaders} 2>&1 | tee {log}"


rule costs:  # one job: most of counting one model is the start of a Python
    output:
        expand("results/cost/{model}.json", model=SHOWN_MODELS),
    log:
        "logs/costs.log",
    benchmark:
        "results/benchmarks/costs.tsv"
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        specs=lambda w: told_at_length("costs", [at_cost_scale(config, model) for model in SHOWN_MODELS]),
        people=config["cost"]["people"],
        frames=config["cost"]["tracklet_frames"],
        folder=lambda w, output: os.path.dirname(output[0]),
        code=lambda w: code_digest(
            "vreid.cost", *{f"vreid.models.{method_of(config, model)}" for model in SHOWN_MODELS}
        ),
    shell:
        "python -m vreid cost --specs {params.specs:q} --people {params.people} --tracklet-frames {params.frames}"
        " --out {params.folder:q} 2>&1 | tee {log}"


rule score:
    input:
        f"{RUN}/{{dataset}}/features.npz",
    output:
        metrics=f"{RUN}/{{dataset}}/metrics.json",
        per_query=f"{RUN}/{{dataset}}/per_query.csv.gz",
    log:
        f"logs/score/{RUN_LOG}/{{dataset}}.log",
    benchmark:
        f"results/benchmarks/score/{RUN_LOG}/{{dataset}}.tsv"
    conda:
        "../envs/vreid.yaml"
    params:
        headline=lambda w: DATASETS[w.dataset].headline,
        code=code_digest("vreid.score"),
    shell:
        "python -m vreid score --features {input:q} --headline {params.headline} --out {output.metrics:q}"
        " --per-query {output.per_query:q} 2>&1 | tee {log}"
