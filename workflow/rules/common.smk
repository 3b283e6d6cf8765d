# The few helpers of the rules. Paths stand in the rules; what a run is stands in vreid.spec.

import dataclasses
import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError

import vreid.models
from vreid.errors import InputError
from vreid.fetch.download import digest_of, is_address
from vreid.fetch.place import Source, came_from, known_of, parts_of
from vreid.files import written_whole
from vreid.provenance import code_digest
from vreid.spec import SECTIONS, canonical, resolve
from vreid.tables import places
from vreid.typeset import in_supplement

# The rules' `python` is the one that runs Snakemake, even where its environment was never activated.
os.environ |= {"PATH": os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()])}

RUN = "results/runs/{train}/{model}/seed{seed}"
RUN_LOG = RUN.removeprefix("results/runs/")
FETCHED = "results/fetched/{dataset}.json"
IMAGENET = "results/fetched/resnet50-imagenet.pth"


def is_made(name):
    """Whether the workflow makes a dataset, rendered or completed; a filmed one must be in place."""
    return "render" in DATASETS[name] or "completed" in DATASETS[name]


def is_fetched(name):
    """Whether the workflow puts the parts of a filmed dataset in place."""
    return "fetch" in DATASETS[name]


def is_rendered(name):
    """Whether a dataset's pedestrians are drawn; those of a completed one are if those of its source are."""
    dataset = DATASETS[name]
    return is_rendered(dataset["completed"]["from"]) if "completed" in dataset else "render" in dataset


def gpu_is_visible():
    """Whether jobs see a GPU here: as CUDA_VISIBLE_DEVICES says, or else the driver, which a login node may lack."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return bool(visible.strip()) and not visible.strip().startswith("-")
    if not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.startswith("GPU ")


# With a GPU, one training at a time has the machine (Snakemake caps the threads to --cores) and loads its frames in
# processes of its own. On CPUs, trainings run side by side.
GPU = gpu_is_visible()
LOADERS = 8 if GPU else 0


include: "references.smk"
include: "preflight.smk"


# An overlay takes an entry away by saying that it is null.
for section in ENTRIES:
    if isinstance(config.get(section), dict):
        config[section] = {name: entry for name, entry in config[section].items() if entry is not None}

ERRORS = schema_errors(Path(workflow.basedir, "workflow/schemas/config.schema.yaml"))
NAMES = {section: list(config[section]) for section in ENTRIES if isinstance(config.get(section), dict)}
AT_FAULT = take_out(ERRORS)  # whose names are still known
DATASETS = config["datasets"]
PLANNED = planned_models() if can_be_read(REFERRING) else []
preflight(ERRORS)


include: "reporting.smk"
include: "completed.smk"
include: "attended.smk"
include: "retrieved.smk"
include: "planned.smk"


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
    if w.model not in PLANNED and (wrong := refused([resolved(w)], [w.model])):
        raise WorkflowError("\n".join(wrong))
    return canonical(dataclasses.asdict(resolved(w)))


def training_threads(w):
    """On CPUs what the spec says, so that the bits do not depend on the number of cores."""
    return 1024 if GPU else resolved(w).training.threads


def method_code(w):
    """The digest of the code that a run of this model uses."""
    return code_digest("vreid.train", "vreid.embed", f"vreid.models.{method_of(w.model)}")


def method_of(model):
    return resolve(config, model, 0).method


def trunk_weights(w):
    """The file that the trunk of a run starts from: of ImageNet, of another run (dataset/model), or by path."""
    weights = resolved(w).trunk.weights
    if weights in ("imagenet", "none"):
        return IMAGENET if weights == "imagenet" else []
    train, _, model = weights.partition("/")
    return f"{RUN}/weights.pt".format(train=train, model=model, seed=0) if train in DATASETS else weights


def trained(w):
    """The weights of a run and their record: its own, or those of the model that its entry is trained as."""
    run = RUN.format(train=w.train, model=resolved(w).trained_as or w.model, seed=w.seed)
    return {"weights": f"{run}/weights.pt", "record": f"{run}/train.json"}


def paper_scale(model):
    """The spec of a model, as data, at the size at which costs are counted."""
    sizes = config["cost"]
    budget = config["budget"] | {name: config["budget"][name] | sizes[name] for name in ("trunk", "clips")}
    return dataclasses.asdict(resolve(config | {"budget": budget}, model, 0))


def source_files(name):
    """What says that a dataset has changed: a manifest, the record of what was fetched, or the lists of a real one."""
    dataset = DATASETS[name]
    if is_made(name):
        return f"results/data/{name}.json"
    if is_fetched(name):
        return FETCHED.format(dataset=name)
    *parts, _ = parts_of(dataset["layout"], Path(dataset["root"]), Path(dataset["attributes"]))
    lists = [part for part in parts if not part.is_folder]
    return [ancient(str(part.target)) for part in lists or parts]


@functools.cache
def lists_digest(name):
    """What a filmed dataset's lists say: they are too large for Snakemake to tell a touch from a change."""
    if is_made(name) or is_fetched(name):
        return ""  # what stands for them is small
    files = [Path(path) for path in source_files(name) if Path(path).is_file()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() if files else ""


def packs(name):
    """The files that networks read a dataset's frames from; none of one that is not packed."""
    packed = DATASETS[name].get("pack", False)
    return expand("results/packs/{name}/{split}.pack", name=name, split=["train", "test"]) if packed else []


def frames(name):
    """What says that a dataset's frames have changed, to who reads them."""
    return packs(name) or source_files(name)


def frames_root(name):
    return f"results/packs/{name}" if packs(name) else DATASETS[name]["root"]


def attribute_file(w):
    """The annotations of a dataset; of those that come with it, its manifest or record stands for them."""
    dataset = DATASETS[w.dataset]
    inside = Path(dataset["attributes"]).is_relative_to(dataset["root"])
    comes_along = (is_made(w.dataset) and inside) or is_fetched(w.dataset)
    return source_files(w.dataset) if comes_along else dataset["attributes"]


def own_attributes(w):
    """The digest of annotations that were edited after they had been fetched; else nothing."""
    record, attributes = Path(FETCHED.format(dataset=w.dataset)), Path(DATASETS[w.dataset]["attributes"])
    if not (is_fetched(w.dataset) and record.exists() and attributes.exists()):
        return ""
    digest = hashlib.sha256(attributes.read_bytes()).hexdigest()
    return "" if digest == json.loads(record.read_text()).get(attributes.name) else digest


def told(name, what):
    """The path of a file (JSON) that tells a job something which is no reason to run it again once it is done."""
    path = Path(".snakemake/told", f"{name}.json")
    if not path.exists() or path.read_text() != canonical(what):
        with written_whole(path) as aside:
            aside.write_text(canonical(what))
    return str(path)


def told_at_length(name, what):
    """The same of what is a reason, and may be too long for a command line (128 KiB): its digest is in the path."""
    return told(f"{name}-{hashlib.sha256(canonical(what).encode()).hexdigest()[:16]}", what)


def world(name):
    """What a rendered dataset is: what all share, and its own."""
    return canonical(config["world"] | DATASETS[name]["render"])


def manifest_option(name):
    """The manifest of a dataset that is made: the digest of its pixels, which its index says nothing of."""
    return f"--manifest {source_files(name)}" if is_made(name) else ""


def frame_size(dataset, option="--frame-size"):
    size = DATASETS[dataset].get("frame_size")
    return f"{option} {size[0]}x{size[1]}" if size else ""
