# What the rules share. What a run is stands in vreid.spec, what the configuration asks for in vreid.experiment.

import dataclasses
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from vreid.errors import InputError
from vreid.experiment.accepted import refused
from vreid.experiment.cluster import asked_of_slurm
from vreid.experiment.datasets import datasets_of
from vreid.experiment.gpus import gpu_is_visible
from vreid.experiment.preflight import all_faults, remarks
from vreid.experiment.readable import read, with_rows_of_models, without_nulls
from vreid.experiment.runs import RUN, Run
from vreid.experiment.trainings import method_of, training_of
from vreid.provenance import code_digest
from vreid.spec import canonical, resolve

# The rules' `python` is the one that runs Snakemake, even where its environment was never activated.
os.environ |= {"PATH": os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()])}

RUN_LOG = RUN.removeprefix("results/runs/")

# With a GPU, one training at a time has the machine (Snakemake caps the threads to --cores) and loads its frames in
# processes of its own. On CPUs, trainings run side by side.
GPU = gpu_is_visible()
LOADERS = min(8, os.cpu_count() or 8) if GPU else 0

if not GPU:  # else glibc gives the memory of every step back to the system and asks for it again: a tenth of the time
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 2**20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**30))

config |= without_nulls(config)
config |= with_rows_of_models(config)
READABLE = read(config, Path(workflow.basedir, "workflow/schemas/config.schema.yaml"), sys.argv)
PROFILE = workflow.resource_settings
STARTING = workflow.is_main_process
ASKED = asked_of_slurm(PROFILE.default_resources or {}, PROFILE.overwrite_resources) if STARTING else []
FAULTS = all_faults(READABLE, STARTING, ASKED)
if STARTING:
    for remark in remarks(READABLE, ASKED):
        print(f"Note: {remark}.", file=sys.stderr)
if FAULTS:
    raise WorkflowError(FAULTS)
DATASETS = datasets_of(config)


def any_of(names):
    """The pattern of a wildcard that is one of these; of none at all, if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    dataset=any_of(DATASETS),
    train=any_of(DATASETS),
    model=any_of(config["models"]),
    table=any_of(config["tables"]),
    seed=r"\d+",


def resolved(w):
    try:
        return resolve(config, w.model, int(w.seed))
    except InputError as error:
        raise WorkflowError(str(error))


def spec(w):
    """The resolved spec of a run, as one text that the order of keys does not change; its method accepts it."""
    if w.model not in READABLE.planned and (wrong := refused([resolved(w)], [w.model])):
        raise WorkflowError("\n".join(wrong))
    return canonical(dataclasses.asdict(resolved(w)))


def threads_of(spec):
    """On CPUs what the spec says, so that the bits do not depend on the number of cores."""
    return 1024 if GPU else spec.training.threads


def method_code(model, *jobs):
    """The digest of the code of these modules and of a model's method."""
    return code_digest(*jobs, f"vreid.models.{method_of(config, model)}")


def trained(w):
    """The weights of a run and their record."""
    run = training_of(config, Run(w.train, w.model, int(w.seed)))
    return {"weights": f"{run.folder}/weights.pt", "record": f"{run.folder}/train.json"}


def source_files(dataset):
    """What says that a dataset has changed; of lists put in place by hand, their digest and not their time."""
    by_hand = not (dataset.is_made or dataset.is_fetched)
    return list(map(ancient, dataset.source_files)) if by_hand else dataset.source_files


def frames(dataset):
    """What says that a dataset's frames have changed, to who reads them."""
    return dataset.packs or source_files(dataset)


def world(dataset):
    """What a rendered dataset is: what all share, and its own."""
    return canonical(config["world"] | dataset.entry["render"])


def manifest_option(dataset):
    """The manifest of a dataset that is made: the digest of its pixels, which its index says nothing of."""
    return f"--manifest {dataset.manifest}" if dataset.is_made else ""


def frame_size(dataset, option="--frame-size"):
    size = dataset.entry.get("frame_size")
    return f"{option} {size[0]}x{size[1]}" if size else ""


def rendered_option(dataset):
    return "--rendered" if dataset.is_rendered else ""
