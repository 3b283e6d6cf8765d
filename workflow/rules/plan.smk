# What is still to run, and the hours that it will take. Without inputs and outputs a rule runs whenever it is asked for.

from vreid.experiment.forecast import plan_manifest
from vreid.experiment.told import told


rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/vreid.yaml"
    params:
        manifest=lambda w: told("plan", plan_manifest(config)),
        stem="results/plan",
    shell:
        "python -m vreid plan --manifest {params.manifest:q} --out {params.stem:q} 2>&1 | tee {log}"
