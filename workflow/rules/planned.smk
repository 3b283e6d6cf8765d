# What the forecast is told: which runs are needed for what, and the settings that make a run.


def grouped_runs(paths):
    """Runs from the paths of their folders or of their metrics.json, the seeds of a model together."""
    groups = {}
    for path in paths:
        train, model, seed, *tested = Path(path).relative_to("results/runs").parts
        groups.setdefault((train, model, tested[0] if tested else ""), []).append(int(seed.removeprefix("seed")))
    return [
        {"train": train, "model": model, "test": test, "seeds": seeds} for (train, model, test), seeds in groups.items()
    ]


def figure_features(name):
    """What of a figure's runs is tested: those of the gallery, and of the figures of the tables' runs."""
    if name == "gallery":
        return [Path(path).parent for path in gallery_features(None)]
    return points_of(name)["metrics"] if "rows" in config["figures"][name] else []


def expected_counts(name):
    """What is known of a dataset before it is there: the people of a rendered one, the `expect` of a filmed one."""
    dataset = DATASETS[name]
    if "completed" in dataset:
        return expected_counts(dataset["completed"]["from"])
    if "render" in dataset:
        return {"train": {"people": dataset["render"]["train_people"]}}
    return dataset.get("expect", {})


def planned_dataset(name):
    dataset = {"index": f"results/index/{name}/annotated.csv.gz", "expect": expected_counts(name)}
    if is_made(name):
        dataset["manifest"] = source_files(name)
    if "completed" in DATASETS[name]:
        completed = DATASETS[name]["completed"]
        dataset |= {"completed_from": completed["from"], "scorer": completed["scorer"]}
    return dataset


def plan_manifest():
    """Everything that needs runs, by the name that a reader knows it by: tables, figures, claims."""
    needs = [(f"Table {table['number']}", table_metrics(key)) for key, table in config["tables"].items()]
    for key, figure in config["figures"].items():
        named = f"Fig. {figure['number']}" if "number" in figure else key
        needs.append((named, [*figure_runs(key), *figure_features(key)]))
    needs.append(("claims", [*figure_runs("fig7"), *quoted_by_claims()["metrics"]]))
    return {
        "run": RUN,
        "settings": {key: config[key] for key in ("recipe", "recipes", "budget", "models")},
        "datasets": {name: planned_dataset(name) for name in DATASETS},
        "needs": [{"name": name, "runs": grouped_runs(paths)} for name, paths in needs],
        **({"throughput": config["throughput"]} if "throughput" in config else {}),
    }
