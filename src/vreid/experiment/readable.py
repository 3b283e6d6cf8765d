"""What can be read of a configuration of which the schema refuses parts: the rest is checked, too."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from vreid.errors import InputError
from vreid.experiment.datasets import Dataset, datasets_of
from vreid.experiment.references import Reference, planned_models, references
from vreid.spec import Spec, resolve

ENTRIES = ("datasets", "recipes", "models", "tables", "figures")
REFERRING = {*ENTRIES, "recipe"}  # without these, what refers to what cannot be said


@dataclass(frozen=True)
class Readable:
    """A configuration without what is at fault.

    `faults` are the schema's, a line each; `at_fault` has what was taken out for it: single entries, as
    (section, name), and whole sections, as (section,). `names` are those of all entries, by section. `asked` are the
    arguments of the command.
    """

    config: Mapping[str, Any]
    names: Mapping[str, Collection[str]]
    faults: list[str]
    at_fault: Collection[tuple[str, ...]]
    asked: Collection[str] = ()

    def has(self, sections: Collection[str]) -> bool:
        """Whether none of these sections is at fault as a whole."""
        return not {(section,) for section in sections} & set(self.at_fault)

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        return datasets_of(self.config)

    @cached_property
    def references(self) -> list[Reference]:
        return references(self.config, self.names)

    @cached_property
    def planned(self) -> list[str]:
        """The models that something needs."""
        return planned_models(self.config, self.references) if self.has(REFERRING) else []

    @cached_property
    def resolved(self) -> tuple[list[Spec], list[str]]:
        """The specs of all models of which they can be made, and what is said of the others."""
        specs, found = [], []
        for model, entry in self.config["models"].items():
            base = self.config["models"].get(entry.get("trained_as"), {})
            recipe = entry.get("recipe", base.get("recipe", self.config["recipe"]))
            if not {("models", entry.get("trained_as")), ("recipes", recipe)} & set(self.at_fault):
                try:
                    specs.append(resolve(self.config, model, 0))
                except InputError as error:
                    found.append(str(error))
        return specs, found

    @property
    def planned_specs(self) -> list[Spec]:
        return [spec for spec in self.resolved[0] if spec.model in self.planned]


def without_nulls(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of entries, without those that an overlay takes away by saying that they are null."""
    sections = {section: config[section] for section in ENTRIES if isinstance(config.get(section), dict)}
    return {
        section: {name: entry for name, entry in entries.items() if entry is not None}
        for section, entries in sections.items()
    }


def with_rows_of_models(config: Mapping[str, Any]) -> dict[str, Any]:
    """The tables, with a row behind their own for every model whose entry names them (`tables`: table → label).

    Of a configuration that is not checked yet: what is not as it should be is left.
    """
    tables, models = (config.get(name) for name in ("tables", "models"))
    if not isinstance(tables, dict) or not isinstance(models, dict):
        return {}
    found = dict(tables)
    for model, entry in models.items():
        named = entry.get("tables") if isinstance(entry, dict) else None
        for name, label in named.items() if isinstance(named, dict) else ():
            table = found.get(name)
            if isinstance(table, dict) and isinstance(rows := table.get("rows"), list):
                found[name] = {**table, "rows": [*rows, {"model": model, "label": label}]}
    return {"tables": found}


def read(config: Mapping[str, Any], schema: Path, asked: Collection[str] = ()) -> Readable:
    """What can be read of a configuration, by the schema at that path."""
    with open(schema) as text:
        validator = Draft202012Validator(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    errors = list(validator.iter_errors(config))
    at_fault = set()
    for error in errors:
        if path := tuple(error.absolute_path):
            at_fault.add(path[: 2 if path[0] in ENTRIES else 1])
        elif error.validator == "required":
            at_fault |= {(key,) for key in error.validator_value if key not in config}
    kept = {section: {} if (section,) in at_fault else value for section, value in config.items()}
    kept |= {section: {} for section, *name in at_fault if not name}
    for section in ENTRIES:
        kept[section] = {
            name: entry for name, entry in kept.get(section, {}).items() if (section, name) not in at_fault
        }
    return Readable(
        config=kept,
        names={section: list(config[section]) for section in ENTRIES if isinstance(config.get(section), dict)},
        faults=[f"config {error.json_path}: {error.schema.get('$comment', error.message)}" for error in errors],
        at_fault=at_fault,
        asked=asked,
    )
