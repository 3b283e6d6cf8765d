# Filmed data cannot be fetched. What is not in place is said at once, all of it, before any job.

PARTS = {
    "mars": [
        "bbox_train",
        "bbox_test",
        "info/train_name.txt",
        "info/test_name.txt",
        "info/tracks_train_info.mat",
        "info/tracks_test_info.mat",
        "info/query_IDX.mat",
    ],
    "duke": ["train", "query", "gallery"],
}


def missing(name):
    """The paths that a filmed dataset needs and that are not there; none for one that is made."""
    dataset = DATASETS[name]
    if is_made(name):
        return []
    needed = [dataset["attributes"], *(f"{dataset['root']}/{part}" for part in PARTS[dataset["layout"]])]
    return [path for path in needed if not Path(path).exists()]


def users(name):
    """What needs a dataset, or one that is completed from it: tables, figures, the report."""
    needs = {key: {d for p in places(t) for d in (p.train, p.test)} for key, t in config["tables"].items()}
    needs |= {key: {figure["train"]} for key, figure in config["figures"].items()}
    needs["report"] = set(config["report"]["datasets"])
    names = {name} | {other for other in DATASETS if DATASETS[other].get("completed", {}).get("from") == name}
    return [key for key, datasets in needs.items() if names & datasets]


absent = {name: paths for name in DATASETS if (paths := missing(name))}
if any(map(users, absent)):
    lines = ["The data of this configuration is not in place."]
    for name, paths in absent.items():
        wanted = f"needed by {', '.join(users(name))}" if users(name) else "no table or figure needs it yet"
        lines.append(f"{name} ({wanted}): {DATASETS[name].get('source', 'your own data')}. Missing:")
        lines += [f"    {path}" for path in paths]
    lines += ["Put them there, or name other places in datasets.<name>.root and datasets.<name>.attributes."]
    raise WorkflowError("\n".join(lines))
