"""The files that the report and its tables are made of, and what they are told of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from vreid.experiment.datasets import Dataset, datasets_of
from vreid.experiment.quoted import (
    claim_models,
    runs_of_all_tables,
    shown_completed,
    shown_models,
    trainings,
)
from vreid.experiment.runs import Run, Tested, files
from vreid.experiment.trainings import training_of

Config = Mapping[str, Any]


def cost_files(models: Iterable[str]) -> list[str]:
    """Where the costs of models are counted."""
    return [f"results/cost/{model}.json" for model in models]


def table_costs(config: Config, name: str) -> list[str]:
    """The costs of a table's models, where it shows them."""
    table = config["tables"][name]
    return cost_files(row["model"] for row in table["rows"]) if table.get("costs") else []


def table_labels(spec: Mapping[str, Any]) -> dict[str, str]:
    """What tells a table from its neighbours in Snakemake's own report."""
    return {"table": str(spec["number"]), "title": spec["title"]}


def claim_costs(config: Config) -> list[str]:
    """The costs that the ledger can quote: those of its models that a table shows."""
    shown = {path for table in config["tables"] for path in table_costs(config, table)}
    return sorted(shown & set(cost_files(claim_models(config))))


def benchmarked_runs(config: Config) -> list[dict[str, str]]:
    """Every run of the report: its record, and the benchmarks of its own jobs; and every completion's."""
    found, seen = [], set()
    for tested in runs_of_all_tables(config):
        found.append({"record": f"{tested.folder}/metrics.json", "embedding": _benchmark("embed", tested)})
        if training_of(config, tested.run) == tested.run:
            found[-1]["training"] = _benchmark("train", tested.run)
        seen.add(tested.run)
    only_trained = [run for run in trainings(config) if run not in seen]
    found += [{"record": f"{run.folder}/train.json", "training": _benchmark("train", run)} for run in only_trained]
    return found + [_completion_jobs(dataset.name) for dataset in shown_completed(config)]


def _benchmark(rule: str, run: Run | Tested) -> str:
    return f"results/benchmarks/{rule}/{run.name}.tsv"


def _completion_jobs(dataset: str) -> dict[str, str]:
    jobs = {"training": "train", "scoring": "score", "completing": "complete"}
    own = {job: f"results/benchmarks/completion/{dataset}/{name}.tsv" for job, name in jobs.items()}
    return {"record": f"results/completion/{dataset}/completion.json", **own}


def usage_files(config: Config) -> dict[str, list[str]]:
    """What the table of what every run took is made of."""
    runs = benchmarked_runs(config)
    return {
        "records": [run["record"] for run in runs],
        "benchmarks": list(dict.fromkeys(path for run in runs for job, path in run.items() if job != "record")),
        "costs": cost_files(shown_models(config)),
    }


def usage_spec(config: Config) -> dict[str, Any]:
    """Number and title of the table of what every run took, and what the first table to show a model calls it."""
    rows = [row for table in config["tables"].values() for row in table["rows"]]
    return config["cost"]["table"] | {"labels": {row["model"]: row["label"] for row in reversed(rows)}}


def completion_files(dataset: Dataset) -> dict[str, str]:
    """What the report shows of a completed dataset."""
    return {
        "picture": f"results/figures/completed-{dataset.name}.png",
        "dataset": dataset.manifest,
        **{part: f"results/completion/{dataset.name}/{part}.json" for part in ("occlusion", "completion", "regions")},
    }


def report_manifest(config: Config) -> dict[str, Any]:
    """What the report shows, as data: specs of tables and figures, and the files that hold their numbers."""
    datasets = datasets_of(config)
    return {
        "tables": [{"spec": spec, "stem": f"results/tables/{name}"} for name, spec in config["tables"].items()],
        "figures": [f"results/figures/{name}" for name in config["figures"]],
        "datasets": [
            {
                "name": name,
                "rendered": datasets[name].is_rendered,
                "index": datasets[name].index,
                "contact_sheet": f"results/figures/contact-{name}.png",
            }
            for name in config["report"]["datasets"]
        ],
        "usage": {"spec": usage_spec(config), "stem": "results/tables/cost"},
        "completions": [
            {"name": dataset.name, "from": dataset.source.name, **completion_files(dataset)}
            for dataset in shown_completed(config)
        ],
        "claims": "results/claims.csv",
        "metrics": files(runs_of_all_tables(config), "metrics.json"),
        "trainings": files(trainings(config), "train.json"),
    }
