# Which runs and files the tables, the figures and the report are made of.


def runs(train, models, seeds=config["seeds"]):
    """The folders of the runs of `models` on a dataset, over all seeds."""
    return expand(RUN, train=train, model=models, seed=seeds)


def table_metrics(name):
    """The metrics.json of every run that a table quotes."""
    table = config["tables"][name]
    paths = [
        f"{run}/{place.test}/metrics.json"
        for place in places(table)
        for run in runs(place.train, place.row["model"], table.get("seeds", config["seeds"]))
    ]
    return list(dict.fromkeys(paths))  # columns may differ in their protocol alone


def table_costs(name):
    """The costs of a table's models, where it shows them."""
    table = config["tables"][name]
    return [f"results/cost/{row['model']}.json" for row in table["rows"]] if table.get("costs") else []


def table_code(name):
    """The digest of the code that makes a table."""
    return code_digest("vreid.recognition" if config["tables"][name].get("per_attribute") else "vreid.tables")


def table_category(name):
    """Where a table stands in Snakemake's own report: those of the paper apart from S1, S2, …"""
    return "Supplement" if in_supplement(config["tables"][name]["number"]) else "Tables"


def table_labels(name):
    """What tells a table from its neighbours there."""
    return {"table": str(config["tables"][name]["number"]), "title": config["tables"][name]["title"]}


def training_of(run):
    """The record of the training that a run's weights are of."""
    run = Path(run)
    base = resolve(config, run.parent.name, 0).trained_as or run.parent.name
    return str(run.parents[1] / base / run.name / "train.json")


def figure_runs(name):
    """The runs that a figure draws: those of its pairs over all seeds, or of its models with one."""
    figure = config["figures"][name]
    if "rows" in figure:  # of the tables' runs
        return []
    if "pairs" not in figure:
        return runs(figure["train"], figure.get("models", [figure.get("model")]), [figure["seed"]])
    models = list(dict.fromkeys(pair[side] for pair in figure["pairs"] for side in ("without", "with")))
    return runs(figure["train"], models)


def points_of(name):
    """The metrics.json and the costs of the models that a figure shows, of the runs that the tables quote."""
    figure = config["figures"][name]
    models = [row["model"] for row in figure["rows"]]
    end = f"{figure['test']}/metrics.json"
    ours = [path for model in models for path in METRICS if path.startswith(f"results/runs/{figure['train']}/{model}/")]
    return {
        "metrics": [path for path in ours if path.endswith(end)],
        "costs": [f"results/cost/{model}.json" for model in models],
    }


def pretraining():
    """The run that trunks start from, where there is one."""
    train, _, model = config["budget"]["trunk"]["weights"].partition("/")
    return [RUN.format(train=train, model=model, seed=0)] if train in DATASETS else []


# The completed datasets that a table quotes.
SHOWN_COMPLETED = [
    name
    for name in DATASETS
    if "completed" in DATASETS[name]
    and any(name in (place.train, place.test) for table in config["tables"].values() for place in places(table))
]
METRICS = list(dict.fromkeys(path for table in config["tables"] for path in table_metrics(table)))
RECORDS = [f"{run}/train.json" for run in pretraining()]
RECORDS += dict.fromkeys(
    [training_of(Path(path).parents[1]) for path in METRICS]
    + [training_of(run) for figure in config["figures"] for run in figure_runs(figure)]
)
# The models of all these runs.
SHOWN_MODELS = sorted(
    {Path(path).parents[1].name for path in RECORDS} | {Path(path).parents[2].name for path in METRICS}
)


def benchmarked_runs():
    """Every run of the report: its record, and the benchmarks of its own training and of its embedding."""
    found = []
    for path in METRICS:
        run, test = Path(path).parents[1], Path(path).parent.name
        where = run.relative_to("results/runs")
        entry = {"record": path, "embedding": f"results/benchmarks/embed/{where}/{test}.tsv"}
        own = training_of(run) == str(run / "train.json")
        found.append(entry | ({"training": f"results/benchmarks/train/{where}.tsv"} if own else {}))
    tested = {Path(path).parents[1] for path in METRICS}
    for path in RECORDS:
        if Path(path).parent not in tested:
            where = Path(path).parent.relative_to("results/runs")
            found.append({"record": path, "training": f"results/benchmarks/train/{where}.tsv"})
    return found


def usage_files():
    """What the table of what every run took is made of."""
    runs = benchmarked_runs()
    return {
        "records": [run["record"] for run in runs],
        "benchmarks": list(dict.fromkeys(run[job] for run in runs for job in ("training", "embedding") if job in run)),
        "costs": [f"results/cost/{model}.json" for model in SHOWN_MODELS],
    }


def usage_spec():
    """Number and title of the table of what every run took, and what the first table to show a model calls it."""
    rows = [row for table in config["tables"].values() for row in table["rows"]]
    return config["cost"]["table"] | {"labels": {row["model"]: row["label"] for row in reversed(rows)}}


def quoted_by_claims():
    """What the ledger can quote of the tables' runs: metrics.json files, and the costs of models."""
    models = {model for claim in config["claims"]["ledger"] for model in spoken_of(claim)}
    sides = [config["claims"], *config["claims"].get("datasets", {}).values()]
    data = {own[side] for own in sides for side in ("home", "away")}
    runs = [path for path in METRICS if Path(path).parents[2].name in models]
    costs = {f"results/cost/{model}.json" for model in models}
    return {
        "metrics": [path for path in runs if {Path(path).parent.name, Path(path).parents[3].name} <= data],
        "costs": sorted(costs & {path for table in config["tables"] for path in table_costs(table)}),
    }


def premises_of_claims():
    """Section 3's premise, of the tables' runs of the models of which the ledger asks it."""
    home = config["claims"]["home"]
    asked = {claim["model"] for claim in config["claims"]["ledger"] if claim["kind"] == "correlated"}
    folders = [Path(path).parent for path in METRICS]
    return [
        f"{folder}/premise.json"
        for folder in folders
        if folder.name == folder.parents[2].name == home and folder.parents[1].name in asked
    ]


def completion_files(name):
    """What the report shows of a completed dataset."""
    folder = f"results/completion/{name}"
    return {
        "name": name,
        "from": DATASETS[name]["completed"]["from"],
        "picture": f"results/figures/completed-{name}.png",
        "dataset": f"results/data/{name}.json",
        **{part: f"{folder}/{part}.json" for part in ("occlusion", "completion", "regions")},
    }


def report_manifest():
    """What the report shows, as data: specs of tables and figures, and the files that hold their numbers."""
    return {
        "tables": [{"spec": spec, "stem": f"results/tables/{t}"} for t, spec in config["tables"].items()],
        "figures": [f"results/figures/{name}" for name in config["figures"]],
        "datasets": [
            {
                "name": name,
                "rendered": is_rendered(name),
                "index": f"results/index/{name}/annotated.csv.gz",
                "contact_sheet": f"results/figures/contact-{name}.png",
            }
            for name in config["report"]["datasets"]
        ],
        "usage": {"spec": usage_spec(), "stem": "results/tables/cost"},
        "completions": [completion_files(name) for name in SHOWN_COMPLETED],
        "claims": "results/claims.csv",
        "metrics": METRICS,
        "trainings": RECORDS,
    }
