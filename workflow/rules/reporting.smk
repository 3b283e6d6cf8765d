# Which runs and files the tables, the figures and the report are made of.


def runs(train, models):
    """The folders of the runs of `models` on a dataset, over all seeds."""
    return expand(RUN, train=train, model=models, seed=config["seeds"])


def table_metrics(name):
    """The metrics.json of every run that a table quotes."""
    table = config["tables"][name]
    models = [row["model"] for row in table["rows"]]
    return [f"{run}/{c['test']}/metrics.json" for c in table["columns"] for run in runs(c["train"], models)]


def figure_runs(name):
    """The runs whose histories a figure draws."""
    figure = config["figures"][name]
    return runs(figure["train"], [model for pair in figure["pairs"] for model in (pair["without"], pair["with"])])


def pretraining():
    """The run that trunks start from, where there is one."""
    train, _, model = config["budget"]["trunk"]["weights"].partition("/")
    return [RUN.format(train=train, model=model, seed=0)] if train in DATASETS else []


METRICS = list(dict.fromkeys(path for table in config["tables"] for path in table_metrics(table)))
RECORDS = [f"{run}/train.json" for run in pretraining()]
RECORDS += dict.fromkeys(
    [str(Path(path).parents[1] / "train.json") for path in METRICS]
    + [f"{run}/train.json" for figure in config["figures"] for run in figure_runs(figure)]
)


def report_manifest(w):
    """What the report shows, as data: specs of tables and figures, and the files that hold their numbers."""
    return canonical(
        {
            "tables": [{"spec": spec, "stem": f"results/tables/{t}"} for t, spec in config["tables"].items()],
            "figures": [{"spec": spec, "stem": f"results/figures/{f}"} for f, spec in config["figures"].items()],
            "datasets": [
                {
                    "name": name,
                    "rendered": is_rendered(name),
                    "index": f"results/index/{name}/annotated.csv.gz",
                    "contact_sheet": f"results/figures/contact-{name}.png",
                }
                for name in config["report"]["datasets"]
            ],
            "metrics": METRICS,
            "trainings": RECORDS,
        }
    )
