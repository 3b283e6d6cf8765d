# Names in the configuration that must be those of its own entries, and entries that must make runs.


def spoken_of(claim):
    """The models that a claim speaks of."""
    single = [claim["model"]] if "model" in claim else []
    return single + claim.get("over", []) + claim.get("models", []) + sum(claim.get("model_pairs", []), [])


def references():
    """Every name that must be an entry's: where it stands, the name, the entries that it must be one of."""
    models, datasets, recipes = NAMES["models"], NAMES["datasets"], NAMES["recipes"]
    names = []
    for key, table in config["tables"].items():
        names += [(f"tables.{key}.rows[{i}].model", row["model"], models) for i, row in enumerate(table["rows"])]
        for i, column in enumerate(table["columns"]):
            at, rows = f"tables.{key}.columns[{i}]", [row["model"] for row in table["rows"]]
            names += [(f"{at}.{side}", column[side], datasets) for side in ("train", "test")]
            names += [(f"{at}.models", model, rows) for model in column.get("models", [])]
            names += [(f"{at}.datasets", model, rows) for model in column.get("datasets", {})]
            names += [(f"{at}.datasets.{m}", name, datasets) for m, name in column.get("datasets", {}).items()]
        for one in {"reference", "floor"} & table.keys():
            names.append((f"tables.{key}.{one}", table[one], [row["model"] for row in table["rows"]]))
    quoted = {row["model"] for table in config["tables"].values() for row in table["rows"]}
    quoted = quoted if set(NAMES["tables"]) == set(config["tables"]) else models  # of a table at fault, who knows
    for key, figure in config["figures"].items():
        names += [(f"figures.{key}.{side}", figure[side], datasets) for side in ("train", "test") if side in figure]
        names += [(f"figures.{key}.rows[{i}].model", r["model"], quoted) for i, r in enumerate(figure.get("rows", []))]
        if "model" in figure:
            names.append((f"figures.{key}.model", figure["model"], models))
        names += [(f"figures.{key}.models[{i}]", model, models) for i, model in enumerate(figure.get("models", []))]
        for i, pair in enumerate(figure.get("pairs", [])):
            names += [(f"figures.{key}.pairs[{i}].{side}", pair[side], models) for side in ("without", "with")]
    completions = {name: entry["completed"] for name, entry in config["datasets"].items() if "completed" in entry}
    sources = [name for name in datasets if name not in completions]
    for name, completed in completions.items():
        names.append((f"datasets.{name}.completed.from", completed["from"], sources))
        names.append((f"datasets.{name}.completed.scorer", completed["scorer"], models))
    claims = config["claims"]
    names += [(f"claims.{side}", claims[side], datasets) for side in ("home", "away") if side in claims]
    for model, own in claims.get("datasets", {}).items():
        names.append((f"claims.datasets.{model}", model, models))
        names += [(f"claims.datasets.{model}.{side}", name, datasets) for side, name in own.items()]
    for i, claim in enumerate(claims.get("ledger", [])):
        names += [(f"claims.ledger[{i}]", model, models) for model in spoken_of(claim)]
    shown = config["report"].get("datasets", [])
    names += [(f"report.datasets[{i}]", name, datasets) for i, name in enumerate(shown)]
    names.append(("recipe", config["recipe"], recipes))
    for model, entry in config["models"].items():
        names.append((f"models.{model}.recipe", entry.get("recipe", config["recipe"]), recipes))
    entries = {f"models.{model}": entry for model, entry in config["models"].items()}
    for at, owner in {"budget": config["budget"], **entries}.items():
        train, _, start = owner.get("trunk", {}).get("weights", "").partition("/")
        if train in datasets:
            names.append((f"{at}.trunk.weights", start, models))
    return names


def unknown_names():
    """A line for every name that no entry of the configuration bears."""
    return [f"{at}: {name!r} is none of {', '.join(known)}" for at, name, known in references() if name not in known]


def planned_models():
    """The models that something needs: a table, a figure, a completion, or another model. Claims quote what is there."""
    models = config["models"]
    named = {name for at, name, known in references() if known is NAMES["models"] and not at.startswith("claims.")}
    return sorted(named | {models[name]["trained_as"] for name in named if "trained_as" in models.get(name, {})})


def unsound_entries():
    """A line for every entry that makes no spec, or whose method refuses it, and for every recipe of no method."""
    specs, found = resolved_models()
    named = {(recipe, key) for recipe, entry in config["recipes"].items() for key in entry.keys() - SECTIONS}
    return found + refused(specs, PLANNED, named)


def refused(specs, planned, named=frozenset()):
    """A line for every spec that its method refuses, and for every method that a recipe (recipe, method) invents.

    Whether a network can be built is asked of what is planned, since sizes that suit some models need not suit all.
    Methods need torch, which takes seconds to load: what they accept is noted, under a digest of what was asked and of
    their code, and they are asked again when either changes.
    """
    methods = [f"vreid.models.{module.name}" for module in iter_modules(vreid.models.__path__)]
    asked = [code_digest("vreid.outline", *methods), sorted(named), planned, [spec.digest for spec in specs]]
    note = Path(".snakemake/accepted", hashlib.sha256(canonical(asked).encode()).hexdigest())
    if note.exists():
        return []
    from vreid.outline import faults, strangers

    known, unknown = ", ".join(SECTIONS), strangers({key for _, key in named})
    found = faults(specs, planned)
    for recipe, key in sorted(named):
        if key in unknown:
            found.append(f"recipes.{recipe}: {key!r} is neither a section ({known}) nor a method in src/vreid/models")
    if not found:
        with written_whole(note) as aside:
            aside.touch()
    return found
