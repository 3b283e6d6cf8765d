"""Names in the configuration that must be those of its own entries."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from vreid.experiment.trainings import start_of

Config = Mapping[str, Any]
Names = Mapping[str, Collection[str]]  # of the entries, by section; those of entries at fault are still known


class Reference(NamedTuple):
    """A name, and what it must be that of."""

    at: str  # where it stands
    name: str
    section: str  # it must be an entry of this …
    among: Collection[str] | None = None  # … and where this is given, one of these

    def known(self, names: Names) -> Collection[str]:
        return names[self.section] if self.among is None else self.among


def references(config: Config, names: Names) -> list[Reference]:
    """Every name that must be an entry's."""
    return [
        *_of_tables(config),
        *_of_models(config),
        *_of_figures(config, names),
        *_of_completions(config, names),
        *_of_claims(config),
        *_of_the_report(config),
        *_of_recipes(config),
        *_of_trunks(config, names),
    ]


def unknown_names(references: Iterable[Reference], names: Names) -> list[str]:
    """A line for every name that no entry of the configuration bears."""
    wrong = [reference for reference in references if reference.name not in reference.known(names)]
    return [f"{one.at}: {one.name!r} is none of {', '.join(one.known(names))}" for one in wrong]


def repeated_numbers(config: Config) -> list[str]:
    """A line for every table that has the number of another one."""
    found, seen = [], {}
    numbered = {f"tables.{name}.number": table["number"] for name, table in config["tables"].items()}
    if table := (config.get("cost") or {}).get("table"):  # not where it is at fault
        numbered["cost.table.number"] = table["number"]
    for at, number in numbered.items():
        if (other := seen.setdefault(str(number), at)) != at:
            found.append(f"{at}: {number} is that of {other} too; number it anew")
    return found


def planned_models(config: Config, references: Iterable[Reference]) -> list[str]:
    """The models that a table, a figure, a completion or another model needs. Claims quote what is there."""
    needing = [one for one in references if one.among is None and not one.at.startswith("claims.")]
    named = {one.name for one in needing if one.section == "models"}
    models = config["models"]
    return sorted(named | {models[name]["trained_as"] for name in named if "trained_as" in models.get(name, {})})


def spoken_of(claim: Mapping[str, Any]) -> list[str]:
    """The models that a claim speaks of."""
    single = [claim["model"]] if "model" in claim else []
    pairs = [model for pair in claim.get("model_pairs", []) for model in pair]
    return [*single, *claim.get("over", []), *claim.get("models", []), *pairs]


def _of_tables(config: Config) -> Iterator[Reference]:
    for key, table in config["tables"].items():
        rows = [row["model"] for row in table["rows"]]
        for i, model in enumerate(rows):
            yield Reference(f"tables.{key}.rows[{i}].model", model, "models")
        for i, column in enumerate(table["columns"]):
            at, instead = f"tables.{key}.columns[{i}]", column.get("datasets", {})
            for side in ("train", "test"):
                yield Reference(f"{at}.{side}", column[side], "datasets")
            for model in column.get("models", []):
                yield Reference(f"{at}.models", model, "models", rows)
            for model in instead:
                yield Reference(f"{at}.datasets", model, "models", rows)
            for model, dataset in instead.items():
                yield Reference(f"{at}.datasets.{model}", dataset, "datasets")
        for one in ("reference", "floor"):
            if one in table:
                yield Reference(f"tables.{key}.{one}", table[one], "models", rows)


def _of_models(config: Config) -> Iterator[Reference]:
    for model, entry in config["models"].items():
        for table in entry.get("tables", {}):
            yield Reference(f"models.{model}.tables", table, "tables")


def _of_figures(config: Config, names: Names) -> Iterator[Reference]:
    all_are_there = set(names["tables"]) == set(config["tables"])  # of a table at fault, who knows what it quotes
    tables = config["tables"].values()
    quoted = list(dict.fromkeys(row["model"] for table in tables for row in table["rows"])) if all_are_there else None
    for key, figure in config["figures"].items():
        at = f"figures.{key}"
        for side in ("train", "test"):
            if side in figure:
                yield Reference(f"{at}.{side}", figure[side], "datasets")
        for i, row in enumerate(figure.get("rows", [])):
            yield Reference(f"{at}.rows[{i}].model", row["model"], "models", quoted)
        if "model" in figure:
            yield Reference(f"{at}.model", figure["model"], "models")
        for i, model in enumerate(figure.get("models", [])):
            yield Reference(f"{at}.models[{i}]", model, "models")
        for i, pair in enumerate(figure.get("pairs", [])):
            for side in ("without", "with"):
                yield Reference(f"{at}.pairs[{i}].{side}", pair[side], "models")


def _of_completions(config: Config, names: Names) -> Iterator[Reference]:
    completions = {name: entry["completed"] for name, entry in config["datasets"].items() if "completed" in entry}
    sources = [name for name in names["datasets"] if name not in completions]
    for name, completed in completions.items():
        at = f"datasets.{name}.completed"
        yield Reference(f"{at}.from", completed["from"], "datasets", sources)
        yield Reference(f"{at}.scorer", completed["scorer"], "models")


def _of_claims(config: Config) -> Iterator[Reference]:
    claims = config["claims"]
    for side in ("home", "away"):
        if side in claims:
            yield Reference(f"claims.{side}", claims[side], "datasets")
    for model, own in claims.get("datasets", {}).items():
        yield Reference(f"claims.datasets.{model}", model, "models")
        for side, name in own.items():
            yield Reference(f"claims.datasets.{model}.{side}", name, "datasets")
    for i, claim in enumerate(claims.get("ledger", [])):
        for model in spoken_of(claim):
            yield Reference(f"claims.ledger[{i}]", model, "models")


def _of_the_report(config: Config) -> Iterator[Reference]:
    for i, name in enumerate(config["report"].get("datasets", [])):
        yield Reference(f"report.datasets[{i}]", name, "datasets")


def _of_recipes(config: Config) -> Iterator[Reference]:
    yield Reference("recipe", config["recipe"], "recipes")
    for model, entry in config["models"].items():
        yield Reference(f"models.{model}.recipe", entry.get("recipe", config["recipe"]), "recipes")


def _of_trunks(config: Config, names: Names) -> Iterator[Reference]:
    entries = {f"models.{model}": entry for model, entry in config["models"].items()}
    for at, owner in {"budget": config["budget"], **entries}.items():
        if start := start_of(owner.get("trunk", {}).get("weights", ""), names["datasets"]):
            yield Reference(f"{at}.trunk.weights", start.model, "models")
