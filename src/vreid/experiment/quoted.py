"""Which runs the tables, the figures, the claims and the report quote. Each function names a run once."""

from collections.abc import Iterable, Mapping
from typing import Any

from vreid.experiment.datasets import Dataset, datasets_of
from vreid.experiment.references import spoken_of
from vreid.experiment.runs import Run, Tested
from vreid.experiment.trainings import start_of, training_of
from vreid.tables import places

Config = Mapping[str, Any]


def table_runs(config: Config, name: str) -> list[Tested]:
    """The runs of a table, cell by cell, over its seeds; columns may differ in their protocol alone."""
    table = config["tables"][name]
    seeds = table.get("seeds", config["seeds"])
    return _once(
        Run(place.train, place.row["model"], seed).tested_on(place.test) for place in places(table) for seed in seeds
    )


def runs_of_all_tables(config: Config) -> list[Tested]:
    return _once(run for table in config["tables"] for run in table_runs(config, table))


def figure_runs(config: Config, name: str) -> list[Run]:
    """The runs that a figure draws: those of its pairs over all seeds, or of its models with one.

    A figure with rows draws what the tables have of them, as `figure_tests` says.
    """
    figure = config["figures"][name]
    if "rows" in figure:
        return []
    if "pairs" in figure:
        models, seeds = [pair[side] for pair in figure["pairs"] for side in ("without", "with")], config["seeds"]
    else:
        models, seeds = figure["models"] if "models" in figure else [figure["model"]], [figure["seed"]]
    return _once(Run(figure["train"], model, seed) for model in models for seed in seeds)


def figure_tests(config: Config, name: str) -> list[Tested]:
    """What a figure quotes of tests: the tables' runs of its rows, or its own runs where it names a test dataset."""
    figure = config["figures"][name]
    if "rows" in figure:
        train, test = figure["train"], figure["test"]
        ours = [one for one in runs_of_all_tables(config) if (one.run.train, one.test) == (train, test)]
        return _once(one for row in figure["rows"] for one in ours if one.run.model == row["model"])
    return [run.tested_on(figure["test"]) for run in figure_runs(config, name)] if "test" in figure else []


def attended_run(config: Config) -> Tested:
    """The run whose attention Fig. 6 shows, on the dataset that it was trained on."""
    (run,) = figure_runs(config, "fig6")
    return run.tested_on(run.train)


def claim_models(config: Config) -> set[str]:
    """The models that the ledger speaks of."""
    return {model for claim in config["claims"]["ledger"] for model in spoken_of(claim)}


def claim_runs(config: Config) -> list[Tested]:
    """The tables' runs that the ledger can quote: of its models, on its datasets."""
    claims, models = config["claims"], claim_models(config)
    sides = [claims, *claims.get("datasets", {}).values()]
    data = {own[side] for own in sides for side in ("home", "away")}
    return [one for one in runs_of_all_tables(config) if one.run.model in models and {one.run.train, one.test} <= data]


def premise_runs(config: Config) -> list[Tested]:
    """The tables' runs of which the ledger asks what tells one person's tracklets apart: attributes, and DVDP."""
    return _asked_at_home(config, "correlated", "dvdp_lower_in_test")


def focus_runs(config: Config) -> list[Tested]:
    """The tables' runs of which the ledger asks where they attend, on data that says where the person is."""
    datasets = datasets_of(config)
    return [one for one in _asked_at_home(config, "attends") if datasets[one.test].has_world]


def _asked_at_home(config: Config, *kinds: str) -> list[Tested]:
    """The tables' runs, trained and tested at home, of the models that claims of these kinds speak of."""
    home = config["claims"]["home"]
    asked = {model for claim in config["claims"]["ledger"] if claim["kind"] in kinds for model in spoken_of(claim)}
    return [one for one in runs_of_all_tables(config) if one.run.train == one.test == home and one.run.model in asked]


def trainings(config: Config) -> list[Run]:
    """Every training behind tables and figures, the one that trunks start from first."""
    start = start_of(config["budget"]["trunk"]["weights"], config["datasets"])
    runs = [tested.run for tested in runs_of_all_tables(config)]
    runs += [run for figure in config["figures"] for run in figure_runs(config, figure)]
    return _once([*([start] if start else []), *(training_of(config, run) for run in runs)])


def shown_models(config: Config) -> list[str]:
    """The models of the tables' runs and of all trainings behind them, in the order of their names."""
    runs = [*trainings(config), *(tested.run for tested in runs_of_all_tables(config))]
    return sorted({run.model for run in runs})


def shown_completed(config: Config) -> list[Dataset]:
    """The completed datasets that a table quotes."""
    used = {dataset for run, test in runs_of_all_tables(config) for dataset in (run.train, test)}
    return [dataset for dataset in datasets_of(config).values() if dataset.is_completed and dataset.name in used]


def _once(runs: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(runs))
