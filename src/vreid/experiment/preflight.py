"""What keeps a configuration from running: all of it is said at once, before any job, in a dry run too."""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from vreid.experiment.accepted import refused
from vreid.experiment.cluster import Asked, refused_by_slurm, traps_of_slurm
from vreid.experiment.datasets import Dataset
from vreid.experiment.gpus import cluster_has_gpus, gpu_is_visible, jobs_are_submitted
from vreid.experiment.quoted import runs_of_all_tables
from vreid.experiment.readable import REFERRING, Readable
from vreid.experiment.references import repeated_numbers, unknown_names
from vreid.experiment.trainings import IMAGENET, start_of
from vreid.fetch.download import digest_of, is_address
from vreid.fetch.parts import Part, Source, came_from, known_of
from vreid.spec import SECTIONS, Trunk
from vreid.tables import places

RUNNING = {*REFERRING, "budget", "imagenet"}


def all_faults(readable: Readable, starting: bool, asked: Iterable[Asked] = ()) -> str:
    """All that is wrong, under a head each, or "".

    Disk space, and what is `asked` of SLURM, are for who is `starting` Snakemake, and not for each of its jobs, which
    read the configuration again.
    """
    said = {"The configuration (config/README.md has all keys)": readable.faults}
    for head, check, sections in CHECKS + AT_THE_START * starting:
        before = {line for lines in said.values() for line in lines}  # some names are missed by two checks
        found = dict.fromkeys(check(readable)) if readable.has(sections) else []
        said[head] = [line for line in found if line not in before]
    said["SLURM"] = list(refused_by_slurm(asked)) if starting else []
    blocks = ["\n".join([f"{head}:", *(f"    {line}" for line in lines)]) for head, lines in said.items() if lines]
    return "\n".join(["This configuration cannot run as it stands.", *blocks]) if blocks else ""


def remarks(readable: Readable, asked: Iterable[Asked] = ()) -> Iterator[str]:
    """What may be meant so, or can be seen only where jobs run."""
    if list(asked):
        yield from traps_of_slurm()
    if not readable.has(RUNNING):
        return
    trunks = {spec.trunk for spec in readable.planned_specs}
    where = _imagenet(readable)
    if any(trunk.weights == "imagenet" for trunk in trunks) and is_address(where) and not Path(IMAGENET).exists():
        yield f"ImageNet weights will be fetched from {where}; imagenet.from can name a file of this machine instead"
    # Where jobs are submitted, it is their nodes that have GPUs.
    if any(trunk.name == "resnet50" for trunk in trunks) and not gpu_is_visible() and not cluster_has_gpus():
        here = "on any node of this cluster, by sinfo" if jobs_are_submitted() else "here"
        yield f"no GPU is visible {here}, and trainings of resnet50 take very long without one"


def strange_names(readable: Readable) -> list[str]:
    """A line for every name that no entry bears, and for every table's number that another one has."""
    return unknown_names(readable.references, readable.names) + repeated_numbers(readable.config)


def unsound_entries(readable: Readable) -> list[str]:
    """A line for every entry that makes no spec, or whose method refuses it, and for every recipe of no method."""
    specs, found = readable.resolved
    named = {(recipe, key) for recipe, entry in readable.config["recipes"].items() for key in entry.keys() - SECTIONS}
    return found + refused(specs, readable.planned, named)


def missing_data(readable: Readable) -> Iterator[str]:
    """Of filmed data, which parts are not there, where they came from once, and what to do."""
    absent: dict[str, list[Part]] = {}
    for name, dataset in readable.datasets.items():
        if parts := [part for part in needed_parts(dataset, readable.asked) if not part.target.exists()]:
            absent[name] = parts
    if not any(users(readable, name) for name in absent):
        return
    for name, parts in absent.items():
        dataset, used_by = readable.datasets[name], users(readable, name)
        wanted = f"needed by {', '.join(used_by)}" if used_by else "no table or figure needs it yet"
        yield f"{name} ({wanted}) lacks:"
        yield from came_from(parts, dataset.entry.get("origin", {})).splitlines()
        if dataset.is_fetched:
            yield (
                "They had been fetched. To fetch them again:"
                f" snakemake --force {dataset.record}, with your other arguments"
            )
    yield "Put them there; or name what holds them in datasets.<name>.fetch (archives, folders, files, addresses), or"
    yield "other places in datasets.<name>.root and datasets.<name>.attributes."


def incomplete_data(readable: Readable) -> Iterator[str]:
    """Folders and files that are there and hold nothing, and files that should be published ones and are not.

    Whether every frame is there, the index looks itself.
    """
    for dataset in _used(readable):
        known = known_of(dataset.entry.get("origin", {}))
        for part in needed_parts(dataset, readable.asked):
            digest = known[part.name].sha256 if part.name in known else ""
            try:
                yield from _faults_of(part, digest, dataset.name)
            except OSError as error:
                yield f"{part.target}: {error.strerror}"


def _faults_of(part: Part, digest: str, dataset: str) -> Iterator[str]:
    path = part.target
    if digest and path.is_file() and not digest_of(path).startswith(digest):
        yield f"{path}: not the published file, by its SHA-256; get it again, or correct `origin` of {dataset}"
    if path.is_dir() and not any(path.iterdir()):
        yield f"{path}: the folder of {dataset} is empty; unpack the dataset again"
    elif path.is_file() and not path.stat().st_size:
        yield f"{path}: the file of {dataset} has no bytes; unpack the dataset again"


def missing_sources(readable: Readable) -> Iterator[str]:
    """Paths to fetch from that are not there, while something is to be fetched; addresses are not asked here."""
    for dataset in _used(readable):
        if dataset.is_fetched and not all(part.is_there() for part in dataset.parts):
            for source in map(Source.from_entry, dataset.entry["fetch"]):
                if not is_address(source.where) and not Path(source.where).expanduser().exists():
                    yield f"datasets.{dataset.name}.fetch: {source.where}: no such archive, folder or file"


def missing_weights(readable: Readable) -> Iterator[str]:
    """Files that trunks start from and that are not there; those of a run are made, those of ImageNet fetched."""
    starts: dict[str, list[str]] = {}
    for spec in readable.planned_specs:
        starts.setdefault(spec.trunk.weights, []).append(spec.model)
    for weights, models in starts.items():
        made = weights in ("imagenet", "none") or start_of(weights, readable.names["datasets"])
        if not made and not Path(weights).is_file():
            more = f" and {len(models) - 3} more" if len(models) > 3 else ""
            yield f"{weights}: no such file; trunk.weights of {', '.join(models[:3])}{more} names it"
    where = _imagenet(readable)
    if "imagenet" in starts and not (Path(IMAGENET).exists() or is_address(where) or Path(where).is_file()):
        yield f"{where}: no such file; imagenet.from names it"


def too_little_disk(readable: Readable) -> Iterator[str]:
    """A line where the disk cannot hold the weights of the tables' runs that are still to come.

    Of what is written this is the least: heads, features and reports come on top. A training has two checkpoints
    beside it, each of its weights and at least one moment of them.
    """
    specs = {spec.model: spec for spec in readable.planned_specs}
    quoted = [tested.run for tested in runs_of_all_tables(readable.config) if tested.run.model in specs]
    trainings = {run._replace(model=specs[run.model].trained_as or run.model) for run in quoted}
    sizes = [
        trunk_bytes(specs[run.model].trunk)
        for run in trainings
        if run.model in specs and not Path(run.folder, "weights.pt").exists()
    ]
    free = shutil.disk_usage("results" if Path("results").exists() else ".").free
    least = sum(sizes) + 4 * max(sizes, default=0)
    if least > free:
        yield (
            f"results: {len(sizes):,} runs write at least {least / 1e9:,.1f} GB, and {free / 1e9:,.1f}"
            " GB are free; free some, or let `results` be a link to a larger disk"
        )


def trunk_bytes(trunk: Trunk) -> int:
    """Bytes of a trunk's convolutions in float32, which is less than any file of weights over it has."""
    small = 27 * trunk.width + 1194 * trunk.width**2  # its first convolution, and its four stages
    return 4 * {"resnet50": 23_454_912, "small": small}[trunk.name]


def needed_parts(dataset: Dataset, asked: Collection[str] = ()) -> list[Part]:
    """The folders and files that a filmed dataset needs; none for one that is made, or is going to be fetched."""
    going_to_be = dataset.is_fetched and (dataset.record in asked or not Path(dataset.record).exists())
    return [] if dataset.is_made or going_to_be else dataset.parts


def users(readable: Readable, name: str) -> list[str]:
    """What needs a dataset, or one that is completed from it: tables, figures, the report."""
    tables, figures = readable.config["tables"].items(), readable.config["figures"].items()
    needs = {key: {side for place in places(table) for side in (place.train, place.test)} for key, table in tables}
    needs |= {key: {figure[side] for side in ("train", "test") if side in figure} for key, figure in figures}
    needs["report"] = set(readable.config["report"].get("datasets", []))
    source_of = {one.name for one in readable.datasets.values() if one.is_completed and one.scorer.train == name}
    return [key for key, datasets in needs.items() if {name, *source_of} & datasets]


def _used(readable: Readable) -> Iterator[Dataset]:
    return (dataset for name, dataset in readable.datasets.items() if users(readable, name))


def _imagenet(readable: Readable) -> str:
    return Source.from_entry(readable.config["imagenet"]).where


# Each with the sections that it cannot do without: where one of these is at fault as a whole, nothing can be said.
Check = tuple[str, Callable[[Readable], Iterable[str]], set[str]]
CHECKS: list[Check] = [
    ("Names", strange_names, REFERRING),
    ("Entries that make no run", unsound_entries, RUNNING),
    ("The data of this configuration is not in place", missing_data, {"datasets"}),
    ("The data of this configuration is not complete", incomplete_data, {"datasets"}),
    ("The data of this configuration cannot be fetched", missing_sources, {"datasets"}),
    ("Weights", missing_weights, RUNNING),
]
AT_THE_START: list[Check] = [("Disk space", too_little_disk, {*RUNNING, "seeds"})]
