"""What the forecast (`vreid.plan`) is told: which runs are needed for what, and the settings that make a run."""

from collections.abc import Iterable, Mapping
from typing import Any

from vreid.experiment.datasets import Dataset, datasets_of
from vreid.experiment.quoted import claim_runs, figure_runs, figure_tests, table_runs
from vreid.experiment.runs import RUN, Run, Tested

Config = Mapping[str, Any]


def plan_manifest(config: Config) -> dict[str, Any]:
    """Everything that needs runs, by the name that a reader knows it by: tables, figures, claims."""
    needs = [(f"Table {table['number']}", table_runs(config, key)) for key, table in config["tables"].items()]
    for key, figure in config["figures"].items():
        named = f"Fig. {figure['number']}" if "number" in figure else key
        needs.append((named, [*figure_runs(config, key), *figure_tests(config, key)]))
    needs.append(("claims", [*figure_runs(config, "fig7"), *claim_runs(config)]))
    return {
        "run": RUN,
        "settings": {key: config[key] for key in ("recipe", "recipes", "budget", "models")},
        "datasets": {name: _told_of(dataset) for name, dataset in datasets_of(config).items()},
        "needs": [{"name": name, "runs": grouped(runs)} for name, runs in needs],
        **({"throughput": config["throughput"]} if "throughput" in config else {}),
    }


def grouped(runs: Iterable[Run | Tested]) -> list[dict[str, Any]]:
    """The seeds of a model together; `test` is empty where a run is not tested."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for one in runs:
        run, test = one if isinstance(one, Tested) else (one, "")
        groups.setdefault((run.train, run.model, test), []).append(run.seed)
    return [
        {"train": train, "model": model, "test": test, "seeds": seeds} for (train, model, test), seeds in groups.items()
    ]


def _told_of(dataset: Dataset) -> dict[str, Any]:
    told = {"index": dataset.index, "expect": dataset.expected}
    if dataset.is_made:
        told["manifest"] = dataset.manifest
    if dataset.is_completed:
        told |= {
            "completed_from": dataset.scorer.train,
            "scorer": dataset.scorer.model,
            "scoring": dataset.completed.get("scoring", {}),
            "completion": dataset.completed.get("training", {}),
            "regions": f"results/completion/{dataset.name}/regions.json",
            "record": f"results/completion/{dataset.name}/completion.json",
        }
    return told
