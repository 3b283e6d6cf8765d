# What keeps this configuration from running: all of it is said at once, before any job, in a dry run too.
#
# What the schema refuses is taken out of `config`, so that the rest can be checked; the run then stops in any case.

ENTRIES = ("datasets", "recipes", "models", "tables", "figures")


def schema_errors(schema):
    """All errors of the configuration, as the schema at that path finds them."""
    with open(schema) as text:
        validator = Draft202012Validator(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return list(validator.iter_errors(config))


def take_out(errors):
    """Take what is at fault out of `config`: single entries, as (section, name), and whole sections, as (section,)."""
    faults = set()
    for error in errors:
        if path := tuple(error.absolute_path):
            faults.add(path[: 2 if path[0] in ENTRIES else 1])
        elif error.validator == "required":
            faults |= {(key,) for key in error.validator_value if key not in config}
    for section, *name in faults:
        if not name:
            config[section] = {}
        else:
            config[section].pop(name[0], None)
    return faults


def schema_faults(errors):
    for error in errors:
        yield f"config {error.json_path}: {error.schema.get('$comment', error.message)}"


@functools.cache
def resolved_models():
    """The specs of all models of which they can be made, and what is said of the others."""
    specs, found = [], []
    for model, entry in config["models"].items():
        base = config["models"].get(entry.get("trained_as"), {})
        recipe = entry.get("recipe", base.get("recipe", config["recipe"]))
        if not {("models", entry.get("trained_as")), ("recipes", recipe)} & AT_FAULT:
            try:
                specs.append(resolve(config, model, 0))
            except InputError as error:
                found.append(str(error))
    return specs, found


def planned_specs():
    return [spec for spec in resolved_models()[0] if spec.model in PLANNED]


def needed_parts(name):
    """The folders and files that a filmed dataset needs; none for one that is made, or is going to be fetched."""
    dataset, record = DATASETS[name], FETCHED.format(dataset=name)
    if is_made(name) or (is_fetched(name) and (record in sys.argv or not Path(record).exists())):
        return []
    return parts_of(dataset["layout"], Path(dataset["root"]), Path(dataset["attributes"]))


def sources(name):
    """What a dataset's parts are fetched from."""
    return map(Source.from_entry, DATASETS[name].get("fetch", []))


def users(name):
    """What needs a dataset, or one that is completed from it: tables, figures, the report."""
    needs = {key: {d for p in places(t) for d in (p.train, p.test)} for key, t in config["tables"].items()}
    needs |= {key: {f[side] for side in ("train", "test") if side in f} for key, f in config["figures"].items()}
    needs["report"] = set(config["report"].get("datasets", []))
    names = {name} | {other for other in DATASETS if DATASETS[other].get("completed", {}).get("from") == name}
    return [key for key, datasets in needs.items() if names & datasets]


def missing_data():
    """Of filmed data, which parts are not there, where they came from once, and what to do."""
    absent = {name: [part for part in needed_parts(name) if not part.target.exists()] for name in DATASETS}
    absent = {name: parts for name, parts in absent.items() if parts}
    if any(map(users, absent)):
        for name, parts in absent.items():
            wanted = f"needed by {', '.join(users(name))}" if users(name) else "no table or figure needs it yet"
            yield f"{name} ({wanted}) lacks:"
            yield from came_from(parts, DATASETS[name].get("origin", {})).splitlines()
            if is_fetched(name):
                record = FETCHED.format(dataset=name)
                yield f"They had been fetched. To fetch them again: snakemake --force {record}, with your other arguments"
        yield "Put them there; or name what holds them in datasets.<name>.fetch (archives, folders, files, addresses), or"
        yield "other places in datasets.<name>.root and datasets.<name>.attributes."


def missing_sources():
    """Paths to fetch from that are not there, while something is to be fetched; addresses are not asked here."""
    for name in filter(users, DATASETS):
        dataset = DATASETS[name]
        parts = parts_of(dataset["layout"], Path(dataset["root"]), Path(dataset["attributes"]))
        if is_fetched(name) and not all(part.is_there() for part in parts):
            for source in sources(name):
                if not is_address(source.where) and not Path(source.where).expanduser().exists():
                    yield f"datasets.{name}.fetch: {source.where}: no such archive, folder or file"


def incomplete_data():
    """Folders and files that are there and hold nothing, and files that should be published ones and are not.

    Whether every frame is there, the index looks itself.
    """
    for name in filter(users, DATASETS):
        known = known_of(DATASETS[name].get("origin", {}))
        for part in needed_parts(name):
            path, digest = part.target, known[part.name].sha256 if part.name in known else ""
            try:
                if digest and path.is_file() and not digest_of(path).startswith(digest):
                    yield f"{path}: not the published file, by its SHA-256; get it again, or correct `origin` of {name}"
                if path.is_dir() and not any(path.iterdir()):
                    yield f"{path}: the folder of {name} is empty; unpack the dataset again"
                elif path.is_file() and not path.stat().st_size:
                    yield f"{path}: the file of {name} has no bytes; unpack the dataset again"
            except OSError as error:
                yield f"{path}: {error.strerror}"


def missing_weights():
    """Files that trunks start from and that are not there; those of a run are made, those of ImageNet fetched."""
    starts = {}
    for spec in planned_specs():
        starts.setdefault(spec.trunk.weights, []).append(spec.model)
    for weights, models in starts.items():
        train, _, model = weights.partition("/")
        if weights not in ("imagenet", "none") and train not in NAMES["datasets"] and not Path(weights).is_file():
            more = f" and {len(models) - 3} more" if len(models) > 3 else ""
            yield f"{weights}: no such file; trunk.weights of {', '.join(models[:3])}{more} names it"
    where = Source.from_entry(config["imagenet"]).where
    if "imagenet" in starts and not (Path(IMAGENET).exists() or is_address(where) or Path(where).is_file()):
        yield f"{where}: no such file; imagenet.from names it"


def trunk_bytes(trunk):
    """Bytes of a trunk's convolutions in float32, which is less than any file of weights over it has."""
    small = 27 * trunk.width + 1194 * trunk.width**2  # its first convolution, and its four stages
    return 4 * {"resnet50": 23_454_912, "small": small}[trunk.name]


def too_little_disk():
    """A line where the disk cannot hold the weights of the tables' runs that are still to come.

    Of what is written this is the least: heads, features and reports come on top. A training has two checkpoints
    beside it, each of its weights and at least one moment of them.
    """
    specs = {spec.model: spec for spec in planned_specs()}
    runs = set()
    for table in config["tables"].values():
        for place in places(table):
            if spec := specs.get(place.row["model"]):
                seeds = table.get("seeds", config["seeds"])
                runs |= {(place.train, spec.trained_as or spec.model, seed) for seed in seeds}
    sizes = [
        trunk_bytes(specs[model].trunk)
        for train, model, seed in runs
        if model in specs and not Path(RUN.format(train=train, model=model, seed=seed), "weights.pt").exists()
    ]
    free = shutil.disk_usage("results" if Path("results").exists() else ".").free
    least = sum(sizes) + 4 * max(sizes, default=0)
    if least > free:
        yield (
            f"results: {len(sizes):,} runs write at least {least / 1e9:,.1f} GB, and {free / 1e9:,.1f}"
            " GB are free; free some, or let `results` be a link to a larger disk"
        )


def remarks():
    """What may be meant so, or can be seen only where jobs run."""
    trunks = {spec.trunk for spec in planned_specs()}
    where = Source.from_entry(config["imagenet"]).where
    if any(trunk.weights == "imagenet" for trunk in trunks) and is_address(where) and not Path(IMAGENET).exists():
        yield f"ImageNet weights will be fetched from {where}; imagenet.from can name a file of this machine instead"
    # Where jobs are submitted (sbatch), it is their nodes that have GPUs.
    if any(trunk.name == "resnet50" for trunk in trunks) and not GPU and not cluster_has_gpus():
        where = "on any node of this cluster, by sinfo" if shutil.which("sbatch") else "here"
        yield f"no GPU is visible {where}, and trainings of resnet50 take very long without one"


def cluster_has_gpus():
    """Whether any node that jobs can be submitted to has GPUs; True too where SLURM does not answer."""
    if not (shutil.which("sbatch") and shutil.which("sinfo")):
        return bool(shutil.which("sbatch"))
    said = subprocess.run(["sinfo", "-h", "-o", "%G"], capture_output=True, text=True)
    return bool(said.returncode) or "gpu" in said.stdout


# Each with the sections that it cannot do without: where one of these is at fault as a whole, nothing can be said. Disk
# and remarks are for who starts Snakemake, and not for each of its jobs, which read this again.
REFERRING = {*ENTRIES, "recipe"}
RUNNING = {*REFERRING, "budget", "imagenet"}
CHECKS = [
    ("Names", unknown_names, REFERRING),
    ("Entries that make no run", unsound_entries, RUNNING),
    ("The data of this configuration is not in place", missing_data, {"datasets"}),
    ("The data of this configuration is not complete", incomplete_data, {"datasets"}),
    ("The data of this configuration cannot be fetched", missing_sources, {"datasets"}),
    ("Weights", missing_weights, RUNNING),
]
AT_THE_START = [("Disk space", too_little_disk, {*RUNNING, "seeds"})]


def can_be_read(sections):
    return not {(section,) for section in sections} & AT_FAULT


def preflight(errors):
    """Raise WorkflowError with all that is wrong, under a head each; say on stderr what may be meant so."""
    starting = workflow.is_main_process
    said = {"The configuration (config/README.md has all keys)": list(schema_faults(errors))}
    for head, check, sections in CHECKS + AT_THE_START * starting:
        before = {line for lines in said.values() for line in lines}  # some names are missed by two checks
        found = dict.fromkeys(check()) if can_be_read(sections) else []
        said[head] = [line for line in found if line not in before]
    if starting and can_be_read(RUNNING):
        for remark in remarks():
            print(f"Note: {remark}.", file=sys.stderr)
    if any(said.values()):
        blocks = ["\n".join([f"{head}:", *(f"    {line}" for line in lines)]) for head, lines in said.items() if lines]
        raise WorkflowError("\n".join(["This configuration cannot run as it stands.", *blocks]))
